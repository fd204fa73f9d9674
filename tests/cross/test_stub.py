"""The stub of another architecture, under an emulator: what it says and does over its link.

    pytest tests/cross --build build/arm64 --emulator qemu-aarch64-static

caller.c calls its pages as one who asks to be adopted. What is not tried here: children and threads, for the emulator has
no clone3(2); a zygote's first steps, for to unmap the whole address space takes it for ever; what ptrace(2) shows of a
process, for this is no kernel of that architecture.
"""
import errno
import os
import platform
import signal
import socket
import struct
import subprocess

import pytest

LINK = 63
BASE, TEXT, BUFFER, SIZE = 0x3C9000000000, 0x1000, 0xD000, 0x10000
ELSEWHERE = BASE + (1 << 30)
INSTALL, MOVE_LINK, MOVE_STUB, RETURN = 0x10000, 0x10001, 0x10002, 0x10009
CALL = struct.Struct("<IHBB6Qq")
HEADER = struct.Struct("<II")

# The generic numbers, and those of x86-64, with which this test itself can be tried.
NUMBERS = {"aarch64": {"write": 64, "close": 57, "getpid": 172, "dup3": 24, "munmap": 215},
           "x86_64": {"write": 1, "close": 3, "getpid": 39, "dup3": 292, "munmap": 11}}


class Stub:
    def __init__(self, command, numbers):
        self.numbers = numbers
        self.end, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.end.settimeout(20)
        self.child = subprocess.Popen(command, close_fds=False, preexec_fn=lambda: os.dup2(theirs.fileno(), LINK))
        theirs.close()

    def hello(self):
        return struct.unpack("<QQ", self.end.recv(64))

    def run(self, *calls, data=b"", descriptors=()):
        """Each call is (number or name, arguments...); answers the results."""
        size = HEADER.size + len(calls) * CALL.size
        batch = HEADER.pack(len(calls), size)
        for number, *arguments in calls:
            sent = 0
            for i, argument in enumerate(arguments):
                if isinstance(argument, Sent):
                    arguments[i], sent = argument.index, sent | 1 << i
            arguments = [a & (1 << 64) - 1 for a in arguments] + [0] * (6 - len(arguments))
            batch += CALL.pack(self.numbers.get(number, number), 0, 0, sent, *arguments, 0)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(descriptors)}i", *descriptors))]
        self.end.sendmsg([batch + data], rights if descriptors else [])
        answer = self.end.recv(BUFFER)
        return [CALL.unpack_from(answer, HEADER.size + i * CALL.size)[-1] for i in range(len(calls))]

    def finish(self):
        self.end.close()
        try:
            return self.child.wait(20)
        finally:
            self.child.kill()
            self.child.wait()


class Sent:
    def __init__(self, index):
        self.index = index


@pytest.fixture
def command(request):
    """How a program of that architecture calls pages at an address."""
    emulator = request.config.getoption("--emulator")
    build = request.config.getoption("--build")
    program = [emulator] if emulator else []
    return lambda base: [*program, os.path.join(build, "cross_caller"), os.path.join(build, "proc9_stub"), hex(base)]


@pytest.fixture
def numbers(request):
    return NUMBERS["aarch64" if request.config.getoption("--emulator") else platform.machine()]


@pytest.fixture
def stub(command, numbers):
    stub = Stub(command(BASE), numbers)
    yield stub
    stub.end.close()
    stub.child.kill()
    stub.child.wait()


def text_at(calls, base=BASE):
    """Where the data is that follows so many calls."""
    return base + TEXT + HEADER.size + calls * CALL.size


def test_says_where_it_is_and_ends_with_its_link(stub):
    assert stub.hello() == (LINK, BASE)
    assert stub.finish() == 0, "it does not return, but exits"


def test_runs_system_calls_with_all_that_came_along(stub):
    stub.hello()
    reader, writer = os.pipe()
    text = b"from the stub\n"
    results = stub.run(("getpid",), (INSTALL, Sent(0), 5, 0), ("write", 5, text_at(4), len(text)), ("close", 5),
                       data=text, descriptors=[writer])
    os.close(writer)
    assert results == [stub.child.pid, 5, len(text), 0]
    assert os.read(reader, 100) == text and os.read(reader, 1) == b""
    os.close(reader)


def test_a_call_that_fails_ends_the_batch(stub):
    stub.hello()
    assert stub.run(("close", 77), ("getpid",)) == [-errno.EBADF, -1 << 63]


def test_moves_and_goes_on_there(stub):
    stub.hello()
    assert stub.run((MOVE_LINK, 20)) == [20]
    assert stub.run((MOVE_STUB, ELSEWHERE)) == [ELSEWHERE]
    assert stub.run(("getpid",)) == [stub.child.pid]
    assert stub.run(("munmap", BASE, SIZE)) == [0], "that it was there before is nothing any more"
    assert stub.finish() == 0


# caller.c: 0, if every register that belongs to a caller was as before.
@pytest.mark.parametrize("base", [BASE, ELSEWHERE])
def test_returns_to_who_called_its_pages(command, numbers, base):
    stub = Stub(command(base), numbers)
    assert stub.hello() == (LINK, base)
    assert stub.run(("getpid",)) == [stub.child.pid]
    assert stub.run((RETURN, 0)) == [0]
    assert stub.end.recv(1) == b"", "the link is closed"
    assert stub.finish() == 0


def test_returns_from_where_it_has_moved_to(stub):
    stub.hello()
    assert stub.run((MOVE_STUB, ELSEWHERE)) == [ELSEWHERE]
    assert stub.run((RETURN, 0)) == [0]
    assert stub.finish() == 0
