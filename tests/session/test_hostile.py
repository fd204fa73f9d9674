"""Who takes over a stub or a zygote gets nothing but errors for his own processes."""
import contextlib
import os
import random
import signal
import threading
import time

import pytest

from hijack import CALL, HEADER, HELLO, Hijacked
from mount import alive, children, errno_of, eventually, kernel_fds, write_ctl

# Not `copy self`: that stops the caller, who is the one that answers here.
COMMANDS = ["map 0x600000 4K rw-", "map any 64K r-- file /bin/true", "map vdso", "unmap 0x10000", "protect 0x10000 4K r--",
            "move 0x10000 0x20000", "fd 5 open /dev/null r", "fd 5 self:0", "fd 5 dup 3", "fd 5 mem 0x10000", "inherit all",
            "chdir /tmp", "umask 022", "limit NOFILE 64", "landlock ro /usr", "nonewprivs", "seccomp deny reboot",
            "thread 0x10000", "fork", "exec /bin/true", "exec /nonexistent", "entry 0x10000"]


def numbers(seed):
    """Results that no kernel gives, and some that it may."""
    choice = random.Random(seed)
    absurd = (0, 1, -1, -2, -4095, -4096, -(1 << 63), (1 << 63) - 1, 0x600000, 0x3c9000000000, 0x7ffffffff000, 63, 1 << 40)
    return lambda _i, _call: choice.choice(absurd)


def with_flags(batch, choice):
    """The calls themselves changed: what was asked is not for the answer to say."""
    bytes_ = bytearray(batch)
    for i in range(HEADER.size, min(len(bytes_), HEADER.size + 4 * CALL.size)):
        bytes_[i] = choice.randrange(256)
    return bytes(bytes_)


def lies(seed):
    """Name -> what is sent instead of the answer to a batch, as [(bytes, descriptors)]."""
    choice = random.Random(seed)

    def right(batch):
        return Hijacked.answered(batch, lambda _i, _call: 0)
    return {
        "one byte": lambda batch: [(b"x", 0)],
        "only a header": lambda batch: [(batch[:HEADER.size], 0)],
        "a piece": lambda batch: [(right(batch)[:choice.randrange(1, 200)], 0)],
        "all zero": lambda batch: [(bytes(len(batch)), 0)],
        "all ones": lambda batch: [(b"\xff" * len(batch), 0)],
        "more than fits": lambda batch: [(os.urandom(60000), 0)],
        "the question": lambda batch: [(batch, 0)],
        "zeros for results": lambda batch: [(right(batch), 0)],
        "absurd results": lambda batch: [(Hijacked.answered(batch, numbers(seed)), 0)],
        "another question": lambda batch: [(with_flags(right(batch), choice), 0)],
        "descriptors": lambda batch: [(right(batch), 100)],
        "a flood": lambda batch: [(os.urandom(choice.randrange(1, 3000)), 2) for _ in range(300)],
        "twice": lambda batch: [(right(batch), 0)] * 2,
        "a hello": lambda batch: [(HELLO.pack(1 << 50, 1 << 60), 0)],
    }


LIES = list(lies(0))


def play(stub, lie, done):
    """Answers all that is asked with the lie, until the command has its answer."""
    while not done.is_set():
        batch = stub.receive(done)
        if batch is None:
            return
        for bytes_, count in lie(batch):
            fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(count)]
            stub.send(bytes_, fds)
            for fd in fds:
                os.close(fd)


def told(path, line, answers, done):
    answers.append(write_ctl(path, line))
    done.set()


def lied_to(e, line, lie):
    """The answer to a command whose stub is not ours; None if there is none before the embryo is killed."""
    answers, done = [], threading.Event()
    with Hijacked(e.pid, seconds=1) as stub:
        writer = threading.Thread(target=told, args=(e.P("ctl"), line, answers, done))
        writer.start()
        play(stub, lie, done)
        if not done.wait(2):
            os.kill(e.pid, signal.SIGKILL)
    writer.join(15)
    assert answers, f"{line}: no answer, though the embryo was killed"
    return answers[0]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("lie", LIES)
def test_a_stub_that_lies_harms_its_own_process_only(mount, lie):
    choice = random.Random(lie)
    for line in choice.sample(COMMANDS, 8):
        e = mount.efork()
        e.tell("map 0x10000 4K rwx", "fd 3 open /dev/null r")
        answer = lied_to(e, line, lies(choice.random())[lie])
        assert answer != "EIO" and (isinstance(answer, str) or answer <= len(line)), (line, answer)
        assert mount.efork().run("exec /bin/echo others") == ("others\n", "")
        for name in ("maps", "status", "process.json"):
            assert errno_of(e.read, name) != "EIO"
        assert eventually(lambda e=e: e.ask("kill KILL") in (9, "ESRCH", "ENOENT")), "it can still be ended"
        mount.sweep()


def test_a_stub_that_is_silent_is_waited_for_by_its_writer_only(mount):
    e = mount.efork()
    answers, done = [], threading.Event()
    with Hijacked(e.pid) as stub:
        writer = threading.Thread(target=told, args=(e.P("ctl"), "map 0x600000 4K rw-", answers, done))
        writer.start()
        assert stub.receive()
        assert mount.efork().run("exec /bin/echo others") == ("others\n", "")
        assert not done.is_set()
        os.kill(e.pid, signal.SIGKILL)
    writer.join(10)
    assert answers == ["ESRCH"]


def test_descriptors_that_a_stub_sends_are_not_kept(mount):
    e = mount.efork()
    before = len(kernel_fds(mount.pid))
    with Hijacked(e.pid) as stub:
        for _ in range(50):
            fd = os.open("/dev/null", os.O_RDONLY)
            stub.send(b"take this", [fd] * 20)
            os.close(fd)
        time.sleep(0.1)
        assert len(kernel_fds(mount.pid)) <= before + 2


def leave_only(mount, wanted):
    """What was made ahead would be handed out before the zygote is asked."""
    def left():
        others = [pid for pid in children(mount.pid) if pid not in wanted and alive(pid)]
        for pid in others:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return others
    assert eventually(lambda: not left())


def zygote_of(mount):
    found = [pid for pid in children(mount.pid) if open(f"/proc/{pid}/comm").read() == "proc9-zygote\n"]
    assert found
    return found[0]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("whom", ["nobody", "init", "the test", "the daemon", "an embryo", "a program", "itself"])
def test_a_zygote_that_shows_the_wrong_child_is_not_believed(private_mount, whom):
    mount = private_mount
    embryo, program = mount.efork(), mount.efork()
    program.tell("exec /bin/sleep 1000")
    others = {e.pid for e in (embryo, program)}
    zygote = zygote_of(mount)
    number = {"nobody": 4194303, "init": 1, "the test": os.getpid(), "the daemon": mount.pid, "an embryo": embryo.pid,
              "a program": program.pid, "itself": zygote}[whom]
    leave_only(mount, others | {zygote})
    answers, done = [], threading.Event()
    with Hijacked(zygote) as stub:
        writer = threading.Thread(target=told, args=(mount.P("ctl"), "efork", answers, done))
        writer.start()
        play(stub, lambda batch: [(Hijacked.answered(batch, lambda _i, _call: number), 0)], done)
    writer.join(30)
    assert answers and answers[0] != "EIO"
    assert alive(embryo.pid) and alive(program.pid), "those of others live on"
    assert embryo.ask("env A=1") == 7
    assert mount.efork().run("exec /bin/echo again") == ("again\n", "")
    program.tell("kill")
    mount.sweep()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("lie", LIES)
def test_a_zygote_that_lies_is_replaced(private_mount, lie):
    mount = private_mount
    mount.efork()
    zygote = zygote_of(mount)
    mount.sweep()
    leave_only(mount, {zygote})
    answers, done = [], threading.Event()
    with Hijacked(zygote, seconds=3) as stub:
        writer = threading.Thread(target=told, args=(mount.P("ctl"), "efork", answers, done))
        writer.start()
        play(stub, lies(7)[lie], done)
    writer.join(30)
    assert answers and answers[0] != "EIO"
    assert eventually(lambda: errno_of(mount.efork) == "success", 10)
    mount.sweep()
