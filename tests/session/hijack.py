"""Takes over a stub: its link is ours too, and it does not run as long as it is held.

    with Hijacked(pid) as stub:
        batch = stub.receive()             # what the daemon asks of it
        stub.answer(batch, results=[0])    # and what it is told
"""
import contextlib
import ctypes
import os
import select
import socket
import struct
import time

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17
SYS_pidfd_getfd = 438
WALL = 0x40000000
HEADER = struct.Struct("<II")  # proc9_batch: count, reply
CALL = struct.Struct("<IHBB6Qq")  # proc9_call: number, flags, results, descriptors, arguments, result
HELLO = struct.Struct("<QQ")

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def checked(value):
    if value < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return value


def link_of(pid):
    """The number of the only socket that a stub has."""
    found = [int(n) for n in os.listdir(f"/proc/{pid}/fd") if os.readlink(f"/proc/{pid}/fd/{n}").startswith("socket:")]
    assert len(found) == 1, found
    return found[0]


class Hijacked:
    def __init__(self, pid, seconds=5):
        self.pid, self.seconds = pid, seconds

    def __enter__(self):
        checked(libc.ptrace(PTRACE_SEIZE, self.pid, None, None))
        checked(libc.ptrace(PTRACE_INTERRUPT, self.pid, None, None))
        os.waitpid(self.pid, WALL)
        pidfd = os.pidfd_open(self.pid)
        self.link = socket.socket(fileno=checked(libc.syscall(SYS_pidfd_getfd, pidfd, link_of(self.pid), 0)))
        os.close(pidfd)
        self.link.setblocking(False)
        return self

    def __exit__(self, *_):
        self.link.close()
        try:
            checked(libc.ptrace(PTRACE_DETACH, self.pid, None, None))
        except ProcessLookupError:  # it was killed: nobody else sees its end before its tracer has
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, WALL)

    def receive(self, done=None):
        """The bytes of the next batch; None if nothing comes, or there is no need for it any more."""
        end = time.monotonic() + self.seconds
        while time.monotonic() < end and not (done and done.is_set()):
            if select.select([self.link], [], [], 0.01)[0]:
                try:
                    bytes_, ancillary, _, _ = self.link.recvmsg(1 << 16, socket.CMSG_SPACE(16 * 4))
                except BlockingIOError:
                    continue
                for level, kind, data in ancillary:
                    if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                        for n in struct.unpack(f"{len(data) // 4}i", data):
                            os.close(n)
                return bytes_ or None
        return None

    def send(self, bytes_, fds=()):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if fds else []
        try:
            self.link.sendmsg([bytes_], rights)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            pass

    @staticmethod
    def calls(batch):
        count, _ = HEADER.unpack_from(batch)
        return [CALL.unpack_from(batch, HEADER.size + i * CALL.size) for i in range(count)]

    @classmethod
    def answered(cls, batch, result):
        """The bytes that a stub would send: each call's result is result(index, call)."""
        count, reply = HEADER.unpack_from(batch)
        bytes_ = bytearray(batch[:reply])
        for i, call in enumerate(cls.calls(batch)):
            at = HEADER.size + i * CALL.size
            if at + CALL.size <= len(bytes_):
                CALL.pack_into(bytes_, at, *call[:-1], result(i, call))
        return bytes(bytes_)
