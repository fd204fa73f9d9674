"""SIGHUP: a new proc9d takes the place of the one that runs, and nobody loses anything."""
import contextlib
import mmap
import os
import resource
import shutil
import signal
import subprocess
import threading
import time

import pytest

from conftest import new_daemon
from mount import Embryo, birth, children, errno_of, eventually, kernel_status, read
from test_keeper import Clients, server, who_waits_goes_on
from test_users import limited  # noqa: F401: a fixture
from user import User

REPLACEMENTS = int(os.environ.get("PROC9_REPLACEMENTS", 20))


@pytest.fixture(params=["alone", "kept"])
def place(request):
    """A mount whose daemon is replaced."""
    daemon = new_daemon(request.config, *(["--keep"] if request.param == "kept" else []))
    daemon.is_kept = request.param == "kept"
    try:
        yield daemon.start()
        daemon.stop()
    finally:
        daemon.remove()


def generation(daemon):
    """Differs from that of the next one."""
    return read(daemon.log).count(" serves ")


def replace(daemon, patience=15):
    before = generation(daemon)
    daemon.process.send_signal(signal.SIGHUP)
    assert eventually(lambda: generation(daemon) > before, patience), daemon.log_text()


@pytest.fixture(autouse=True)
def log_all(monkeypatch):
    monkeypatch.setenv("PROC9_LOG", "info")


def rich(mount):
    """An embryo that has something of everything."""
    e = mount.efork("rich")
    e.tell("env A=1", "env 'B=two words'", "args a 'b c'", "map 0x600000 16K rw-", "map 0x700000 4K rw- shared",
           "map 0x800000 4K r-- file /bin/true", "fd 1 open /dev/null w", "fd 5 open /dev/null r", "fd 5 cloexec on",
           "umask 027", "nice 5", "chdir /tmp", "limit NOFILE 64", "sigmask USR1", "thread 0x600000 sp=0x601000",
           "reg r12 0x77", "nonewprivs", "pdeathsig TERM")
    e.write("env/AS_FILE", "line\n")
    with open(e.P("mem/600000"), "r+b") as f:
        f.write(b"private")
    with open(e.P("mem/700000"), "r+b") as f:
        f.write(b"shared")
    e.ask("no such command")
    return e


def picture(e):
    """What can be seen of it, but for what changes by itself."""
    texts = {name: e.read(name) for name in ("process.json", "maps", "args", "error", "regs", "limits")}
    tasks = sorted(os.listdir(e.P("task")))
    memory = {name: open(e.P("mem", name), "rb").read() for name in e.mem()}
    names = {name: os.readlink(e.mount.P(name)) for name in e.mount.ls() if os.path.islink(e.mount.P(name))}
    return texts, e.fds(), e.env(), tasks, memory, names, os.readlink(e.P("cwd")), e.read("env/AS_FILE")


def test_a_new_daemon_has_the_memory_to_be_asked(place):
    """Libfuse takes a mebibyte for requests: not only when the first one comes."""
    replace(place)
    pid = server(place) if place.is_kept else place.pid
    size = int(kernel_status(pid, "VmSize").split()[0]) * 1024
    own = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (size + (512 << 10), own[1]))
    assert "ctl" in place.ls()
    resource.prlimit(pid, resource.RLIMIT_AS, own)


def test_an_embryo_is_what_it_was(place):
    e = rich(place)
    picture(e)  # what is opened as a file is memory of its own from then on
    before = picture(e)
    for _ in range(3):
        replace(place)
        after = picture(e)
        for one, other in zip(before[0].items(), after[0].items()):
            assert one == other
        assert after == before
    e.tell("env C=3", "map 0x900000 4K rw-", "fd 5 close", "umask 022", "env D=4")
    assert e.env() == ["A", "AS_FILE", "B", "C", "D"]
    assert e.run("exec /bin/sh -c 'echo $A $C; pwd; umask; ulimit -n'") == ("1 3\n/tmp\n0022\n64\n", "")


def test_by_entry_with_threads(place):
    e = place.efork()
    e.tell("map 0x600000 64K rwx")
    with open(e.P("mem/600000"), "r+b") as f:
        f.write(bytes.fromhex("31ff b83c000000 0f05"))  # exit(0)
    e.tell("thread 0x600000 sp=0x608000")
    replace(place)
    e.tell("thread 0x600000 sp=0x609000", "entry 0x600000 sp=0x610000")
    assert e.wait().status == ""


def test_templates_and_those_who_share(place):
    e = place.efork()
    e.tell("map 0x600000 64K rw-", "fd 1 open /dev/null w")
    fd = os.open(e.P("ctl"), os.O_RDWR)

    def made(line):
        os.write(fd, line.encode())
        return Embryo(place, int(os.pread(fd, 64, 0).split()[-1]))
    first = made("fork\n")
    replace(place)
    second = made("fork\n")
    assert first.ranges() == second.ranges() == e.ranges()
    with open(e.P("mem/600000"), "r+b") as f:
        f.write(b"mine")
    assert open(first.P("mem/600000"), "rb").read(4) == bytes(4)
    os.close(fd)
    for each in (first, second, e):
        each.tell("exec /bin/true")
        assert each.wait().status == ""


def test_who_waits_and_who_polls(place):
    who_waits_goes_on(place, replace)


def test_who_waits_can_be_interrupted_afterwards(place):
    e = place.efork()
    reader = subprocess.Popen(["cat", e.P("wait")], stdout=subprocess.DEVNULL)
    assert eventually(lambda: kernel_status(reader.pid, "State")[0] in "SD")
    time.sleep(0.2)
    replace(place)
    reader.send_signal(signal.SIGTERM)
    assert reader.wait(5) == -signal.SIGTERM


def test_open_files_stay_open(place):
    e = rich(place)
    ctl = os.open(e.P("ctl"), os.O_RDWR)
    memory = os.open(e.P("mem/600000"), os.O_RDWR)
    view = mmap.mmap(os.open(e.P("mem/700000"), os.O_RDWR), 4096)
    maps = os.open(e.P("maps"), os.O_RDONLY)
    start = os.read(maps, 10)
    variable = os.open(e.P("env/A"), os.O_RDWR)
    clone = os.open(place.P("clone"), os.O_RDWR)
    made = int(os.read(clone, 64))
    gone = place.efork()
    kept_open = os.open(gone.P("wait"), os.O_RDONLY)
    os.rmdir(gone.dir)
    replace(place)
    os.write(ctl, b"env Z=1\n")
    assert os.pread(ctl, 64, 0).split()[0] == str(e.pid).encode()
    assert os.pwrite(memory, b"x" * 5000, 100) == 5000 and os.pread(memory, 1, 5000) == b"x"
    view[0:4] = b"seen"
    assert open(e.P("mem/700000"), "rb").read(4) == b"seen"
    assert (start + os.read(maps, 1 << 16)).decode() == e.read("maps")
    os.pwrite(variable, b"2", 0)
    assert e.read("env/A") == "2"
    assert "signal 9 KILL" in os.read(kept_open, 256).decode()
    assert made in place.ids()
    for fd in (ctl, memory, maps, variable, clone, kept_open):
        os.close(fd)
    assert eventually(lambda: made not in place.ids())


def test_what_runs_and_what_has_ended(place):
    running, ended, killed = place.efork("running"), place.efork(), place.efork()
    running.tell("exec /bin/sleep 1000")
    ended.tell("exec /bin/sh -c 'exit 7'")
    assert eventually(lambda: "exited" in ended.read("status"))
    killed.tell("exec /bin/sleep 1000")
    replace(place)
    assert kernel_status(running.pid, "PPid") == str(place.pid)
    assert ended.wait().status == "exit 7"
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait().status == "signal 9 KILL"
    running.tell("kill TERM")
    assert running.wait().status == "signal 15 TERM"
    assert eventually(lambda: not any(birth(each.pid) for each in (running, ended, killed)))


def test_nothing_is_left_behind(place):
    place.efork().run("exec /bin/true")
    place.sweep()
    before = place.steady_counts()
    for _ in range(5):
        replace(place)
        place.efork().run("exec /bin/true")
        place.sweep()

    def more():
        return {what: n for what, n in place.counts().items() if n > before[what]}
    assert eventually(lambda: not more(), 10), more()


@pytest.mark.timeout(60 + 2 * REPLACEMENTS)
def test_under_load(place):
    """And killed meanwhile, where that is survived."""
    with Clients(place, 3) as clients:
        for number in range(REPLACEMENTS):
            replace(place, 30)
            if place.is_kept and number % 2:
                with contextlib.suppress(OSError, TypeError):
                    os.kill(server(place), signal.SIGKILL)
            time.sleep(0.05)
    assert clients.wrong == []
    assert clients.done > 0
    print(f"{REPLACEMENTS} replacements, {clients.done} processes built meanwhile")


# --- programs -------------------------------------------------------------------------------------------------------

@pytest.fixture
def copied(request, tmp_path):
    """A daemon that is started from a file of its own."""
    program = tmp_path / "proc9d"
    shutil.copy(request.config.program, program)
    daemon = new_daemon(request.config, "--keep")
    daemon.program = str(program)
    try:
        yield daemon.start()
        daemon.stop()
    finally:
        daemon.remove()


def test_the_new_file_is_started(copied, tmp_path):
    e = copied.efork()
    shutil.copy(copied.program, tmp_path / "new")
    os.replace(tmp_path / "new", copied.program)
    assert os.readlink(f"/proc/{copied.pid}/exe").endswith(" (deleted)")
    replace(copied)
    assert os.readlink(f"/proc/{copied.pid}/exe") == copied.program
    assert e.run("exec /bin/echo hi") == ("hi\n", "")


def test_one_that_cannot_be_started_takes_nobodys_place(copied, tmp_path):
    e = copied.efork()
    before = generation(copied)
    for content in (b"\x7fELF of another machine", b"#!/bin/false\n"):
        (tmp_path / "new").write_bytes(content)
        os.chmod(tmp_path / "new", 0o755)
        os.replace(tmp_path / "new", copied.program)
        refusals = copied.log_text().count("does not start")
        copied.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: copied.log_text().count("does not start") > refusals)
    assert generation(copied) == before
    assert e.run("exec /bin/echo hi") == ("hi\n", "")


class Hanging:
    """A command that ends when somebody writes to a FIFO."""

    def __init__(self, mount, tmp_path):
        self.fifo, self.answers = str(tmp_path / "fifo"), []
        os.mkfifo(self.fifo)
        self.e, self.line = mount.efork(), f"fd 3 open {self.fifo} r"
        self.writer = threading.Thread(target=lambda: self.answers.append(self.e.ask(self.line)), daemon=True)
        self.writer.start()
        time.sleep(0.3)


@pytest.mark.timeout(90)
def test_a_command_that_does_not_end_is_not_lost(place, tmp_path):
    hanging = Hanging(place, tmp_path)
    before = generation(place)
    place.process.send_signal(signal.SIGHUP)
    assert eventually(lambda: "not replaced" in place.log_text(), 30)
    assert generation(place) == before and hanging.answers == []
    os.close(os.open(hanging.fifo, os.O_WRONLY))
    hanging.writer.join(5)
    assert hanging.answers == [len(hanging.line)]
    replace(place)
    assert 3 in hanging.e.fds()


def test_its_children_are_still_its_own(place):
    for _ in range(3):
        place.efork()
    replace(place)
    assert set(place.ids()) <= set(children(place.pid))
    assert errno_of(os.stat, place.P("ctl")) == "success"


@pytest.mark.parametrize("moment", range(6))
def test_sigterm_while_it_is_replaced(place, moment):
    for _ in range(30):
        place.efork()
    place.process.send_signal(signal.SIGHUP)
    time.sleep(moment * 0.004)
    place.process.send_signal(signal.SIGTERM)
    assert place.process.wait(20) == 0
    assert not place.mounted()


def test_an_embryo_that_is_stopped_meanwhile_is_let_go(place, tmp_path):
    hanging = Hanging(place, tmp_path)
    e = hanging.e
    place.process.send_signal(signal.SIGHUP)
    os.kill(e.pid, signal.SIGSTOP)
    hanging.writer.join(10)
    assert hanging.answers == ["EBUSY"]
    assert eventually(lambda: kernel_status(e.pid, "TracerPid") == "0")
    os.kill(e.pid, signal.SIGCONT)
    assert eventually(lambda: kernel_status(e.pid, "State")[0] == "S")
    e.tell("env A=1", "fd 3 open /dev/null r")


@pytest.mark.mode("root")
def test_what_is_mounted_below_stays(request):
    daemon = new_daemon(request.config)
    os.makedirs(daemon.path)
    below = ["mount", "-t", "tmpfs", "below", daemon.path]
    subprocess.run(below, check=True, timeout=10)
    try:
        daemon.start()
        replace(daemon)
        subprocess.run(["umount", daemon.path], check=True, timeout=10)
        assert daemon.process.wait(10) == 0
        assert f"{daemon.path} " in read("/proc/self/mountinfo")
    finally:
        daemon.remove()


# --- many users -----------------------------------------------------------------------------------------------------

@pytest.mark.mode("root")
@pytest.mark.parametrize("options", [[], ["--keep"]], ids=["alone", "kept"])
def test_each_user_keeps_what_is_theirs(limited, options):
    alice, bob = User(23001), User(23002)
    daemon = limited(*options, "--user-processes", "2")
    made = alice.sh(daemon, "echo 'efork hers' > $PROC9/ctl; echo 'map 0x600000 4K rw-' > $PROC9/hers/ctl")
    assert made.returncode == 0, made.stderr
    replace(daemon)
    assert bob.sh(daemon, "echo 'env A=1' > $PROC9/hers/ctl").returncode != 0
    done = alice.sh(daemon, "cd $PROC9/hers; echo 'env A=1' > ctl && ls env && echo fork > ctl && echo 'exec /bin/sleep 1000' > ctl")
    assert (done.returncode, done.stdout) == (0, "A\n"), done.stderr
    running = daemon.embryo("hers")
    assert kernel_status(running.pid, "Uid").split() == ["23001"] * 4
    assert alice.sh(daemon, "echo efork > $PROC9/ctl").returncode != 0, "the limit is what it was"
    assert "23001" in kernel_status(children_of_hers(daemon, running), "Uid")
    running.tell("kill KILL")


def children_of_hers(daemon, running):
    """The copy that was made of it, by the next daemon."""
    copy, = (pid for pid in daemon.ids() if pid != running.pid)
    return copy
