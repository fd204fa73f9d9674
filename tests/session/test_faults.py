"""kill -9 of everything, at every moment: an errno, never a hang, never an orphan; what was started lives on."""
import contextlib
import os
import signal
import threading
import time

import pytest

from mount import alive, birth, children, errno_of, eventually, kernel_status, write_ctl

COMMANDS = ["map 0x600000 4K rw-", "map 0x700000 4K rw- shared", "map 0x700000 4K r-- file /bin/true", "map vdso",
            "unmap 0x10000", "protect 0x10000 4K r--", "move 0x10000 0x20000", "fd 5 open /dev/null r", "fd 5 self:0",
            "fd 5 dup 3", "fd 5 mem 0x10000", "fd 3 close", "fd 3 cloexec on", "inherit fd", "chdir /tmp", "chroot /",
            "umask 022", "nice 5", "limit NOFILE 64",
            "affinity 0", "oom 500", "sigmask USR1", "caps inheritable -all", "nonewprivs", "landlock ro /", "ns new user",
            "personality addr-no-randomize", "thread 0x10000", "prctl thp off", "session", "exec /bin/true", "exec /nonexistent", "entry 0x10000"]

GONE = ("ESRCH", "ENOENT")


def prepared(mount):
    e = mount.efork()
    e.tell("map 0x10000 4K rwx", "fd 3 open /dev/null r")
    return e


# --- an embryo ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_to_an_embryo_that_was_killed_is_ESRCH(mount, line):
    e = prepared(mount)
    fd = os.open(e.P("ctl"), os.O_WRONLY)
    os.kill(e.pid, signal.SIGKILL)
    assert eventually(lambda: not alive(e.pid))
    assert errno_of(os.write, fd, line.encode()) == "ESRCH"
    os.close(fd)


@pytest.mark.parametrize("line", COMMANDS)
def test_an_embryo_killed_during_a_command_gives_ESRCH(mount, line):
    """Killed at ten different moments of a loop of the command."""
    for n in range(10):
        e = prepared(mount)
        fd = os.open(e.P("ctl"), os.O_WRONLY)
        killer = threading.Timer(n * 0.0003, lambda e=e: alive(e.pid) and os.kill(e.pid, signal.SIGKILL))
        killer.start()
        answers = set()
        end = time.monotonic() + 5
        while not answers & {*GONE, "EPERM"}:  # EPERM: it was started before it was killed
            answers.add(errno_of(os.write, fd, line.encode()))
            assert time.monotonic() < end, f"killed, but the answers are {answers}"
        killer.join()
        os.close(fd)
        assert "EIO" not in answers
        assert eventually(lambda e=e: not alive(e.pid))


def test_files_of_an_embryo_that_was_killed_answer(mount):
    e = prepared(mount)
    os.kill(e.pid, signal.SIGKILL)
    assert eventually(lambda: not alive(e.pid))
    for call in (lambda: os.symlink("/dev/null", e.P("fd/9")), lambda: os.listdir(e.P("mem")),
                 lambda: open(e.P("mem/600000"), "w").close(), lambda: e.read("maps"), lambda: e.read("status"),
                 lambda: os.readlink(e.P("cwd")), lambda: os.unlink(e.P("fd/3"))):
        assert errno_of(call) in ("success", *GONE)
    assert eventually(lambda: errno_of(os.rmdir, e.dir) in ("success", "ENOENT"))


def test_wait_of_an_embryo_that_was_killed_says_so(mount):
    e = prepared(mount)
    os.kill(e.pid, signal.SIGKILL)
    try:
        assert e.wait().status == "signal 9 KILL"
    except FileNotFoundError:
        pass  # an embryo that is killed may go at once, as with `kill`


def test_a_stopped_embryo_delays_only_itself(mount):
    e = prepared(mount)
    os.kill(e.pid, signal.SIGSTOP)
    assert eventually(lambda: kernel_status(e.pid, "State")[0] in "Tt")
    begin = time.monotonic()
    mount.efork().run("exec /bin/true")
    assert time.monotonic() - begin < 3
    os.kill(e.pid, signal.SIGCONT)
    e.tell("env A=1", "map 0x600000 4K rw-")


def test_signals_from_outside_do_not_make_an_embryo_run(mount):
    """It never runs user code: a signal may kill it, or wait for its start, but everybody gets an answer."""
    for sig in (signal.SIGUSR1, signal.SIGTERM, signal.SIGCHLD, signal.SIGSEGV):
        e = prepared(mount)
        os.kill(e.pid, sig)
        time.sleep(0.02)
        assert e.ask("map 0x600000 4K rw-") in (19, *GONE)


# --- the zygotes and the pool ---------------------------------------------------------------------------------------

def test_zygotes_killed(private_mount):
    """Whatever helper processes the daemon has: after their death it answers, and works again."""
    running = private_mount.efork()
    running.tell("exec /bin/sleep 1000")
    for _ in range(3):
        helpers = [pid for pid in children(private_mount.pid) if pid != running.pid]
        for pid in helpers:
            with contextlib.suppress(ProcessLookupError):  # reaped since it was listed
                os.kill(pid, signal.SIGKILL)
        answer = write_ctl(private_mount.P("ctl"), "efork")
        assert answer in (5, "ESRCH", "EAGAIN"), answer
        assert eventually(lambda: write_ctl(private_mount.P("ctl"), "efork") == 5)
        assert eventually(lambda: not any(alive(pid) for pid in helpers)), "on a busy machine that takes time"
        assert private_mount.efork().run("exec /bin/echo again") == ("again\n", "")
    assert alive(running.pid)
    private_mount.sweep()


def test_zygotes_killed_while_embryos_are_made(private_mount):
    stop = time.monotonic() + 2
    answers = set()

    def kill_them():
        while time.monotonic() < stop:
            for pid in children(private_mount.pid):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.05)

    killer = threading.Thread(target=kill_them)
    killer.start()
    while time.monotonic() < stop:
        answers.add(write_ctl(private_mount.P("ctl"), "efork"))
    killer.join()
    assert answers <= {5, "ESRCH", "EAGAIN"}, answers
    assert eventually(lambda: write_ctl(private_mount.P("ctl"), "efork") == 5)
    private_mount.sweep()


# --- the daemon -----------------------------------------------------------------------------------------------------

def kill_daemon(mount):
    os.kill(mount.pid, signal.SIGKILL)
    mount.process.wait(10)


@pytest.fixture
def births():
    """Remembers processes; afterwards those that are still there are ended."""
    seen = {}
    yield seen
    for pid, born in seen.items():
        if birth(pid) == born:
            os.kill(pid, signal.SIGKILL)


def test_a_killed_daemon_leaves_no_embryo_and_no_helper(private_mount, births):
    for _ in range(20):
        prepared(private_mount)
    births.update({pid: birth(pid) for pid in children(private_mount.pid)})
    assert len(births) >= 20
    kill_daemon(private_mount)
    assert eventually(lambda: not [pid for pid, born in births.items() if birth(pid) == born and alive(pid)])


def test_started_processes_live_on_without_the_daemon(private_mount, births):
    executed, entered = private_mount.efork(), private_mount.efork()
    executed.tell("exec /bin/sleep 1000")
    entered.tell("map 0x10000 4K rwx")
    with open(entered.P("mem/10000"), "r+b") as f:
        f.write(bytes.fromhex("b822000000 0f05 ebf7"))  # pause for ever
    entered.tell("entry 0x10000")
    births.update({pid: birth(pid) for pid in (executed.pid, entered.pid)})
    kill_daemon(private_mount)
    time.sleep(0.3)
    assert [alive(pid) for pid in births] == [True, True]


def test_a_mount_without_its_daemon_is_ENOTCONN(private_mount):
    e = private_mount.efork()
    fd = os.open(e.P("ctl"), os.O_WRONLY)
    kill_daemon(private_mount)
    assert errno_of(os.stat, private_mount.P("ctl")) == "ENOTCONN"
    assert errno_of(os.write, fd, b"env A=1\n") == "ENOTCONN"
    assert write_ctl(private_mount.P("ctl"), "efork") == "ENOTCONN"
    os.close(fd)


@pytest.mark.parametrize("line", ["efork", *COMMANDS[:4], "fd 5 open /dev/null r", "exec /nonexistent"])
def test_a_daemon_killed_during_a_command_gives_an_errno(private_mount, line):
    """ECONNABORTED is what the kernel says to the call that was under way."""
    e = prepared(private_mount)
    fd = os.open(e.P("ctl") if line != "efork" else private_mount.P("ctl"), os.O_WRONLY)
    killer = threading.Timer(0.05, os.kill, (private_mount.pid, signal.SIGKILL))
    killer.start()
    end = time.monotonic() + 5
    answers = []
    while "ENOTCONN" not in answers[-1:]:
        answers.append(errno_of(os.write, fd, line.encode()))
        assert time.monotonic() < end
    assert set(answers[-3:]) <= {"success", "ENOTCONN", "ECONNABORTED", "EEXIST", "ENOENT"}
    killer.join()
    os.close(fd)


def test_a_daemon_killed_while_somebody_reads_wait(private_mount):
    e = private_mount.efork()
    answers = []
    reader = threading.Thread(target=lambda: answers.append(errno_of(e.read, "wait")), daemon=True)
    reader.start()
    time.sleep(0.2)
    kill_daemon(private_mount)
    reader.join(5)
    assert answers in (["ECONNABORTED"], ["ENOTCONN"])


def test_sigterm_unmounts_and_leaves_nothing(private_mount):
    for _ in range(5):
        prepared(private_mount)
    private_mount.stop()  # asserts it
    assert os.listdir(private_mount.path) == []


def test_a_new_daemon_where_the_dead_one_was(private_mount):
    private_mount.efork()
    kill_daemon(private_mount)
    private_mount.kill()
    private_mount.start()
    assert private_mount.efork().run("exec /bin/echo back") == ("back\n", "")
