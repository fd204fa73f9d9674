"""Ends what a test run started, whatever happens to the run.

A system call on a FUSE mount whose daemon never answers cannot be killed; only the end of the daemon frees it.
This process reads orders from the test run on its standard input and holds a pidfd of every daemon:

    daemon PID MOUNTPOINT     watch this one            gone PID    it ended by itself
    arm SECONDS               kill all if not `off` by then         off

End of input means that the run is over or dead: whatever is still there is killed and unmounted.
"""
import contextlib
import os
import select
import signal
import subprocess
import sys
import time


def kill(daemons):
    for pidfd, _ in daemons.values():
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass


def unmount(daemons):
    for _, mountpoint in daemons.values():
        tool = ["umount", "-l"] if os.getuid() == 0 else ["fusermount3", "-uz"]
        subprocess.run([*tool, mountpoint], stderr=subprocess.DEVNULL, timeout=10)


def orders():
    """Yields the words of each order, and None whenever a second went by."""
    text = b""
    while True:
        if not select.select([0], [], [], 1)[0]:
            yield None
            continue
        piece = os.read(0, 4096)
        if not piece:
            return
        *lines, text = (text + piece).split(b"\n")
        for line in lines:
            yield line.decode().split(" ", 2)


def main():
    daemons, deadline = {}, None
    for order in orders():
        match order:
            case ["daemon", pid, mountpoint]:
                with contextlib.suppress(ProcessLookupError):  # one that could not start
                    daemons[pid] = (os.pidfd_open(int(pid)), mountpoint)
            case ["gone", pid] if pid in daemons:
                os.close(daemons.pop(pid)[0])
            case ["arm", seconds]:
                deadline = time.monotonic() + float(seconds)
            case ["off"]:
                deadline = None
        if deadline and time.monotonic() > deadline:
            print("watchdog: a call on the mount never came back; proc9d is killed", file=sys.stderr)
            kill(daemons)
            deadline = None
    kill(daemons)
    unmount(daemons)


if __name__ == "__main__":
    main()
