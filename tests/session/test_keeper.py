"""proc9d --keep: kill -9 of the daemon at any moment is a short wait for everybody, and nothing else."""
import contextlib
import os
import random
import select
import signal
import threading
import time

import pytest

from conftest import new_daemon
from mount import Embryo, alive, birth, children, errno_of, eventually, kernel_status, read, write_ctl
from test_faults import COMMANDS, prepared

KILLS = int(os.environ.get("PROC9_KEEPER_KILLS", 200))
SEED = int(os.environ.get("PROC9_KEEPER_SEED", 9))
ENDS = bytes.fromhex("31ff b83c000000 0f05")  # exit(0)


@pytest.fixture
def kept(request):
    daemon = new_daemon(request.config, "--keep")
    try:
        yield daemon.start()
        daemon.stop()
    finally:
        daemon.remove()


def server(kept):
    """The process that can be killed: its keeper is the one that was started."""
    for pid in children(kept.pid):
        with contextlib.suppress(OSError):
            if read(f"/proc/{pid}/comm") == "proc9d\n":
                return pid
    return None


def seen(kept, victim):
    """What there is instead of a new daemon."""
    def told(pid):
        with contextlib.suppress(OSError):
            return read(f"/proc/{pid}/stat").split(")")[0] + ") " + kernel_status(pid, "State")
    return f"victim {victim}", told(kept.pid), [told(pid) for pid in children(kept.pid)], kept.log_text()


def kill_server(kept):
    """Kills it, and waits for the next one."""
    victim = eventually(lambda: server(kept))
    os.kill(victim, signal.SIGKILL)
    assert eventually(lambda: server(kept) not in (victim, None), 15), seen(kept, victim)


@pytest.mark.mode("root")  # an ordinary user's fusermount3 is a child of the one that is killed
@pytest.mark.parametrize("moment", [0, 0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.03])
def test_kill_9_amid_the_first_mount(request, moment):
    daemon = new_daemon(request.config, "--keep")

    def kill_it():
        assert eventually(lambda: daemon.process and children(daemon.pid))
        time.sleep(moment)
        os.kill(children(daemon.pid)[0], signal.SIGKILL)
    killer = threading.Thread(target=kill_it)
    try:
        killer.start()
        daemon.start()
        killer.join()
        assert daemon.efork().run("exec /bin/echo here") == ("here\n", "")
        assert eventually(lambda: server(daemon)) and "cannot be kept" not in daemon.log_text()
        daemon.stop()
    finally:
        daemon.remove()


# --- under load -----------------------------------------------------------------------------------------------------

def executed(e):
    e.tell("fd 1 open /dev/null w", "umask 027", "env A=1", "exec /bin/true")


def entered(e):
    e.tell("map 0x600000 64K rwx")
    with open(e.P("mem/600000"), "r+b") as f:
        f.write(ENDS)
    assert open(e.P("mem/600000"), "rb").read(len(ENDS)) == ENDS
    e.tell("entry 0x600000 sp=0x610000")


def threaded(e):
    e.tell("map 0x600000 64K rwx")
    with open(e.P("mem/600000"), "r+b") as f:
        f.write(ENDS)
    e.tell("thread 0x600000 sp=0x608000", "thread 0x600000 sp=0x609000", "limit NOFILE 64", "entry 0x600000 sp=0x610000")


def by_files(e):
    e.write("env/HOME", "/")
    e.tell("chdir /tmp")
    e.write("args", "true\n")
    assert e.env() == ["HOME"] and os.readlink(e.P("cwd")) == "/tmp"
    e.tell("exec /bin/true")


def forked(e):
    """A template, and two that are made of it."""
    e.tell("map 0x600000 64K rw-", "map 0x700000 4K rw- shared", "fd 1 open /dev/null w")
    for _ in range(2):
        fd = os.open(e.P("ctl"), os.O_RDWR)
        try:
            os.write(fd, b"fork\n")
            copy = Embryo(e.mount, int(os.pread(fd, 64, 0).split()[-1]))
        finally:
            os.close(fd)
        assert copy.ranges() == e.ranges()
        copy.tell("exec /bin/true")
        assert copy.wait().status == ""
    e.tell("exec /bin/true")


BUILDS = [executed, entered, threaded, by_files, forked]


class Clients:
    """Each builds one process after the other, in all ways, and says what was not as it has to be."""

    def __init__(self, mount, count):
        self.mount, self.done, self.wrong, self.is_over = mount, 0, [], False
        self.threads = [threading.Thread(target=self.build, args=[n], daemon=True) for n in range(count)]

    def build(self, number):
        turn = number
        while not self.is_over:
            turn += 1
            way = BUILDS[turn % len(BUILDS)]
            try:
                e = self.mount.efork(f"c{number}x{turn}")
                way(e)
                assert e.wait().status == ""
                self.done += 1
            except Exception as problem:  # noqa: BLE001: whatever it is, it is what the test is about
                said = ""
                with contextlib.suppress(Exception):
                    said = e.error()
                self.wrong.append((way.__name__, repr(problem), said))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.is_over = True
        for thread in self.threads:
            thread.join(20)
        assert not any(thread.is_alive() for thread in self.threads), "a client hangs"


@pytest.mark.timeout(60 + KILLS // 5)
def test_kill_9_under_load(kept):
    moments = random.Random(SEED)
    kept.efork().run("exec /bin/true")
    before = kept.steady_counts()
    kills = 0
    with Clients(kept, 4) as clients:
        while kills < KILLS:
            time.sleep(moments.uniform(0.001, 0.03))
            if (victim := server(kept)) is None:
                continue
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                kills += 1
    assert clients.wrong == [], f"seed {SEED}"
    assert clients.done > KILLS / 10, "what was load?"
    kept.sweep()
    after = kept.steady_counts()
    assert {what: n for what, n in after.items() if n > before[what]} == {}
    assert '"kills": ' in read(kept.P("stats.json")) and "was killed, and goes on as" in kept.log_text()
    print(f"{kills} kills, {clients.done} processes built meanwhile")


@pytest.mark.parametrize("line", ["efork", *COMMANDS])
def test_a_command_during_which_the_daemon_is_killed(kept, line):
    """Killed at ten moments of a loop of the command: it answers what it answers in peace."""
    def asked(kill_after):
        e = prepared(kept)
        target = kept.P("ctl") if line == "efork" else e.P("ctl")
        victim = server(kept)
        killer = threading.Timer(kill_after, os.kill, (victim, signal.SIGKILL)) if kill_after else None
        if killer:
            killer.start()
        answer = write_ctl(target, line)
        if killer:
            killer.join()
            assert eventually(lambda: server(kept) not in (None, victim), 15), seen(kept, victim)
        e.ask("kill")
        return answer
    expected = asked(None)
    assert {asked(0.0001 + n * 0.00025) for n in range(10)} == {expected}


@pytest.mark.timeout(120)
def test_a_long_write_to_a_daemon_that_has_read_nothing_long_yet(request):
    """The kernel would end a request that it cannot copy to memory which is not there yet."""
    text = b"# a comment\n" * (1 << 16)
    moments = random.Random(SEED)
    for _ in range(12):
        daemon = new_daemon(request.config, "--keep")
        try:
            daemon.start()
            fd = os.open(daemon.P("ctl"), os.O_WRONLY)
            killer = threading.Timer(moments.uniform(0, 0.0005), os.kill, (server(daemon), signal.SIGKILL))
            killer.start()
            assert os.write(fd, text) == len(text)
            killer.join()
            os.close(fd)
            daemon.stop()
        finally:
            daemon.remove()


# --- what is open, and who waits ------------------------------------------------------------------------------------

def who_waits_goes_on(mount, happens):
    """A reader and a poller of `wait`, while something happens to the daemon."""
    e = mount.efork()
    answers = []
    reader = threading.Thread(target=lambda: answers.append(e.wait().status), daemon=True)
    reader.start()
    fd = os.open(e.P("wait"), os.O_RDONLY)
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    assert poller.poll(100) == []
    for _ in range(3):
        happens(mount)
    assert poller.poll(100) == [] and answers == []
    e.tell("exec /bin/sh -c 'exit 3'")
    assert poller.poll(5000) == [(fd, select.POLLIN)]
    reader.join(5)
    assert answers == ["exit 3"]
    os.close(fd)


def test_who_waits_goes_on_waiting(kept):
    who_waits_goes_on(kept, kill_server)


def test_open_files_stay_what_they_are(kept):
    e = kept.efork()
    e.tell("map 0x600000 8K rw-", "kill 0")
    ctl = os.open(e.P("ctl"), os.O_WRONLY)
    memory = os.open(e.P("mem/600000"), os.O_RDWR)
    maps = os.open(e.P("maps"), os.O_RDONLY)
    clone = os.open(kept.P("clone"), os.O_RDWR)
    os.write(ctl, b"env A=1\n")
    kill_server(kept)
    os.write(ctl, b"env B=2\n")
    assert e.env() == ["A", "B"]
    assert os.pwrite(memory, b"x" * 5000, 100) == 5000 and os.pread(memory, 1, 5000) == b"x"
    assert os.read(maps, 13) == b"00600000-0060"
    made = int(os.read(clone, 64))
    assert made in kept.ids()
    for fd in (ctl, memory, maps, clone):
        os.close(fd)
    assert eventually(lambda: made not in kept.ids())


def test_what_runs_is_seen_and_reaped(kept):
    running, ended = kept.efork(), kept.efork()
    running.tell("exec /bin/sleep 1000")
    ended.tell("exec /bin/true")
    kill_server(kept)
    assert kernel_status(running.pid, "PPid") == str(kept.pid)
    assert ended.wait().status == ""
    running.tell("kill TERM")
    assert running.wait().status == "signal 15 TERM"
    assert eventually(lambda: not birth(running.pid) and not birth(ended.pid))


def test_a_zygote_that_dies_with_the_daemon(kept):
    kept.efork()
    for _ in range(5):
        victims = [pid for pid in children(kept.pid) if pid not in kept.ids()]
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: not any(alive(pid) for pid in victims)), "a blank process that dies just now may be given away"
        assert kept.efork().run("exec /bin/echo hi") == ("hi\n", "")


# --- other ends -----------------------------------------------------------------------------------------------------

def test_a_stopped_daemon_goes_on_when_continued(kept):
    victim = server(kept)
    os.kill(victim, signal.SIGSTOP)
    answers = []
    asker = threading.Thread(target=lambda: answers.append(kept.efork()), daemon=True)
    asker.start()
    asker.join(0.3)
    assert answers == []
    os.kill(victim, signal.SIGCONT)
    asker.join(5)
    assert len(answers) == 1 and server(kept) == victim


@pytest.mark.parametrize("who", ["keeper", "daemon"])
def test_sigterm_ends_both(kept, who):
    e = kept.efork()
    kill_server(kept)
    os.kill(kept.pid if who == "keeper" else server(kept), signal.SIGTERM)
    assert kept.process.wait(10) == 0
    assert not kept.mounted() and not alive(e.pid)


def test_a_killed_keeper_takes_the_mount_and_the_embryos_along(kept):
    e, running = kept.efork(), kept.efork()
    running.tell("exec /bin/sleep 1000")
    daemon, born = server(kept), birth(running.pid)
    kept.process.kill()
    kept.process.wait(10)
    assert eventually(lambda: not alive(daemon) and not kept.mounted() and not alive(e.pid))
    assert alive(running.pid) and birth(running.pid) == born
    os.kill(running.pid, signal.SIGKILL)


def test_a_daemon_that_fails_is_not_continued(kept):
    e = kept.efork()
    os.kill(server(kept), signal.SIGSEGV)
    assert kept.process.wait(10) == 128 + signal.SIGSEGV
    assert eventually(lambda: not alive(e.pid))
    assert errno_of(os.stat, kept.P("ctl")) == "ENOTCONN"
