"""A client that does nothing but spawn, each time another way, and looks at what comes of it.

    soak_client.py PROGRAMS RESULTS COUNT SEED WAY...      the mount is $PROC9

appends a line to RESULTS for each: WAY, begin, end, who did it, what came of it, and the processes that had to do with it.
"""
import ctypes
import errno
import faulthandler
import os
import random
import signal
import subprocess
import sys
import time

import machine_code as code

MOUNT = os.environ.get("PROC9", "")
BUILD = "env A=1\nmap 0x600000 64K rw-\nfd 1 open /dev/null w\n"
DATA = os.urandom(5000)


class Wrong(Exception):
    """It went on, but something else came of it than should have."""


def tell(fd, text):
    """Writes lines; what the first that is refused says."""
    left = text.encode()
    while left:
        left = left[os.write(fd, left):]


def path(*names):
    return os.path.join(MOUNT, *map(str, names))


def expect(what, wanted):
    if what != wanted:
        raise Wrong(f"{what} instead of {wanted}"[:200])


def write(name, data):
    with open(name, "r+b", buffering=0) as file:
        expect(file.write(data), len(data))


class Spawn:
    """One spawn: what it has to come to, and which processes take part in it."""

    def __init__(self, client, way):
        self.client, self.way, self.status, self.took_part = client, way, client.random.randrange(200), []
        if client.random.random() < 0.05:
            self.status, self.words = 0, ["/bin/sleep", "0.03"]  # so that there is something to kill
        else:
            self.words = ["/bin/sh", "-c", f"exit {self.status}"]

    def line(self):
        return f"exec {self.words[0]} " + " ".join(f"'{word}'" for word in self.words[1:]) + "\n"

    def of(self, pid):
        self.took_part.append(int(pid))
        return int(pid)

    def ended(self, pid):
        """Reads `wait`, which reaps."""
        with open(path(pid, "wait"), "rb", buffering=0) as file:
            text = file.read(200).decode()
            expect(file.read(200), b"")
        expect(text.split(" ", 4)[4].strip(), f"'exit {self.status}'" if self.status else "''")

    def waited(self, pid):
        expect(os.waitstatus_to_exitcode(os.waitpid(self.of(pid), 0)[1]), self.status)

    # the ways

    def ctl(self):
        fd = os.open(path("ctl"), os.O_RDWR)
        try:
            tell(fd, "efork\n")
            pid = self.of(os.read(fd, 64))
            tell(fd, BUILD + self.line())
        finally:
            os.close(fd)
        self.ended(pid)

    def files(self):
        name = path(f"c{os.getpid()}")
        os.mkdir(name)
        try:
            pid = self.of(os.readlink(name))
            with open(path(pid, "env/A"), "w") as file:
                file.write("1")
            region = path(pid, "mem/600000")
            with open(region, "wb") as file:
                file.write(DATA)
            with open(region, "rb") as file:
                expect(file.read(5000) == DATA, True)
            os.symlink("/dev/null", path(pid, "fd/1"))
            fd = os.open(path(pid, "ctl"), os.O_WRONLY)
            try:
                tell(fd, self.line())
            finally:
                os.close(fd)
        finally:
            os.unlink(name)
        self.ended(pid)

    def clone(self):
        with open(path("clone"), "r+b", buffering=0) as file:
            pid = self.of(file.read(64))
            tell(file.fileno(), BUILD + self.line())
            self.ended(pid)

    def entry(self):
        fd = os.open(path("ctl"), os.O_RDWR)
        try:
            tell(fd, "efork\n")
            pid = self.of(os.read(fd, 64))
            tell(fd, f"map {code.CODE:#x} 4K rwx\n")
            write(path(pid, f"mem/{code.CODE:x}"), code.EXIT_WITH_RDI)
            tell(fd, f"entry {code.CODE:#x} arg0={self.status}\n")
        finally:
            os.close(fd)
        self.ended(pid)

    def template(self):
        """Made when first needed, and again when a spawn of it failed."""
        known = self.client.template
        if known is None:
            os.mkdir(path(f"t{os.getpid()}"))
            known = self.of(os.readlink(path(f"t{os.getpid()}")))
            os.unlink(path(f"t{os.getpid()}"))
            fd = os.open(path(known, "ctl"), os.O_WRONLY)
            try:
                tell(fd, BUILD)
            finally:
                os.close(fd)
            write(path(known, "mem/600000"), DATA)
            self.client.template = known
        return self.of(known)

    def fork(self):
        fd = os.open(path(self.template(), "ctl"), os.O_RDWR)
        try:
            tell(fd, "fork\n")
            pid = self.of(os.read(fd, 200).split()[-1])
        finally:
            os.close(fd)
        with open(path(pid, "mem/600000"), "rb") as file:
            expect(file.read(5000) == DATA, True)
        fd = os.open(path(pid, "ctl"), os.O_WRONLY)
        try:
            tell(fd, self.line())
        finally:
            os.close(fd)
        self.ended(pid)

    def p9(self):
        run = subprocess.Popen([f"{self.client.programs}/p9", "run", "--umask", "027", "--", *self.words],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.of(run.pid)
        expect(run.wait(), self.status)

    def libproc9(self):
        words = [word.encode() for word in self.words]
        argv, envp = (ctypes.c_char_p * 4)(*words), (ctypes.c_char_p * 1)()
        pid = self.client.library.proc9_spawn(b"umask 027\nfd 1 open /dev/null w\n", words[0], argv, envp)
        if pid < 0:
            raise OSError(ctypes.get_errno(), "proc9_spawn")
        self.waited(pid)

    def posix_spawn(self):
        action = (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)
        self.waited(os.posix_spawn(self.words[0], self.words, {}, file_actions=[action]))

    def os_fork(self):
        pid = os.fork()
        if pid == 0:
            os._exit(self.status)
        self.waited(pid)


class Client:
    def __init__(self, programs, seed):
        self.programs, self.random, self.template = programs, random.Random(seed), None
        self.library = ctypes.CDLL(f"{programs}/libproc9.so", use_errno=True)

    def spawn(self, way):
        """What came of it: `right`, an errno's name, or what was wrong; and who took part."""
        spawn = Spawn(self, way)
        try:
            getattr(spawn, way)()
            return "right", spawn.took_part
        except OSError as problem:
            came = f"{errno.errorcode[problem.errno]} {os.path.basename(str(problem.filename or ''))}"
        except Wrong as problem:
            came = str(problem)
        for pid in spawn.took_part:
            self.remove(pid)
            if pid == self.template:
                self.template = None
        return "_".join(came.split()), spawn.took_part

    def remove(self, pid):
        for attempt in (lambda: os.rmdir(path(pid)), lambda: write(path(pid, "ctl"), b"kill\n")):
            try:
                attempt()
            except OSError:
                pass


def main():
    programs, results, count, seed, *ways = sys.argv[1:]
    faulthandler.register(signal.SIGUSR1)
    client = Client(programs, int(seed))
    out = os.open(results, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for _ in range(int(count)):
        way = client.random.choice(ways)
        begin = time.monotonic()
        came, who = client.spawn(way)
        os.write(out, f"{way} {begin:.4f} {time.monotonic():.4f} {os.getpid()} {came} {' '.join(map(str, who))}\n".encode())
    if client.template:
        client.remove(client.template)


if __name__ == "__main__":
    main()
