"""Everything that a user may do, in random order, on a few embryos at a time; with a model of what should have come of it.

Whatever is asked for is done or refused, with an errno that is not the daemon's own fault; variables, and the region at A,
are at any time what was written to them.
"""
import contextlib
import errno
import json
import mmap
import os
import random
import select
import signal
import subprocess
import time
from dataclasses import dataclass, field

import machine_code as code
from mount import Embryo, alive, errno_of, eventually, read

A, B = 0x10000000, 0x20000000
PAGE = 4096
MOST = 12
FAULTS = {"EIO", "ENOTCONN", "ECONNABORTED", "ENOSYS", "EFAULT", "EPROTO"}  # of the daemon, not of the caller

COMMANDS = [
    "map 0x600000 4K rw-", "map 0x700000 64K r-x shared", "map 0x800000 4K r-- file /bin/true", "map any 1M rw-",
    "map vdso", "unmap 0x600000", "unmap 0x601000 4K", "protect 0x700000 4K r--", "move 0x600000 0x900000",
    "move 0x900000 0x600000", "fd 5 open /dev/null r", "fd 6 open /etc/passwd rn", "fd 5 dup 6", "fd 7 mem 0x700000",
    "fd 5 close", "fd 6 seek 10", "fd 5 cloexec on", "fd 8 self:0", "inherit fd", "inherit cwd", "inherit settings",
    "args a 'b c' d", "chdir /tmp", "chdir /nowhere", "chroot /", "umask 022", "nice 5", "limit NOFILE 64",
    "limit CORE 0", "affinity 0", "oom 500", "sigmask USR1 HUP", "sigignore INT", "caps inheritable -all", "nonewprivs",
    "landlock ro /", "ns new uts", "ns new user", "hostname soak", "personality addr-no-randomize", "prctl thp off",
    "session", "pgrp new", "comm soak", "coredump 3", "ioprio best-effort 3", "sched batch", "mempolicy default",
    "thread 0x400000", "reg pc 0x400000", "keyring", "seccomp deny reboot", "hang", "persist", "tty /dev/null",
    "pdeathsig HUP", '{"cmd":"map","addr":"0x600000","len":"64K","prot":"rw-"}', '{"cmd":', "# nothing",
    "no-such-command", "map", "exec /nowhere/at-all",
]
RECIPES = [
    {"args": ["sh", "-c", "exit 3"], "cwd": "/usr", "user": {"umask": 18}},
    {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 100}], "noNewPrivileges": True},
    {"cwd": "/usr", "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 4}]},
    {"proc9": {"regions": [{"addr": "0x30000000", "len": 65536, "prot": "rw-"}],
               "fds": [{"fd": 9, "path": "/dev/null", "mode": "r"}]}},
    {"proc9": {"fds": [{"fd": 9, "path": "/nowhere", "mode": "r"}], "sigignore": ["HUP"], "session": True}},
    {"proc9": {"namespaces": [{"type": "uts"}], "hostname": "soak"}, "scheduler": {"policy": "SCHED_BATCH"}},
    {"cwd": 3}, {"nothing": []}, {"user": {"uid": 0}},
]


def differing(there, wanted):
    at = next((n for n, (a, b) in enumerate(zip(there, wanted)) if a != b), min(len(there), len(wanted)))
    return f"of {len(there)} bytes, {len(wanted)} wanted, the first other one is {at}"


@dataclass
class Known:
    """An embryo, and what is in it."""
    embryo: Embryo
    name: str = None
    env: dict = field(default_factory=dict)
    memory: bytearray = None  # of the region at A
    held: int = None          # the open `clone` that it lives by

    def P(self, *names):
        return self.embryo.P(*names)

    @property
    def region(self):
        return self.P("mem", f"{A:x}")


class Mixed:
    def __init__(self, mount, seed, folder, user=None):
        self.mount, self.random, self.folder, self.user = mount, random.Random(seed), folder, user
        self.known, self.running, self.done, self.answers, self.names = [], [], [], {}, 0

    def run(self, count):
        operations, weights = zip(*self.operations)
        try:
            for n in range(count):
                operation = self.random.choices(operations, weights)[0]
                self.done.append([operation.__name__])
                try:
                    operation(self)
                    came = "done"
                except OSError as problem:
                    came = errno.errorcode[problem.errno]
                self.done[-1].append(came)
                self.answers[came] = self.answers.get(came, 0) + 1
                assert came not in FAULTS
                if n % 100 == 99:
                    self.check()
            self.check()
        except BaseException:
            pids = [word for word in self.done[-1] if isinstance(word, int)]
            print(f"at the end of: {self.done[-12:]}\nwith {pids}: {[each for each in self.done if set(pids) & set(each)]}")
            raise
        finally:
            for process in (*self.known, *self.running):
                with contextlib.suppress(OSError):
                    self.drop(process)
            self.known, self.running = [], []

    # choices

    def note(self, *what):
        self.done[-1] += what
        return what if len(what) > 1 else what[0]

    def one(self):
        if not self.known:
            self.make()
        known = self.random.choice(self.known)
        self.note(known.embryo.pid)
        return known

    def two(self):
        return self.one(), self.one()

    def new_name(self):
        self.names += 1
        return f"n{self.names}"

    def bytes(self, most):
        return self.random.randbytes(self.random.randint(1, most))

    def tell(self, known, *lines):
        """All of them are done, or it is an OSError; then `error` says why."""
        text = "".join(line + "\n" for line in lines).encode()
        fd = os.open(known.P("ctl"), os.O_RDWR)
        try:
            while text:
                text = text[os.write(fd, text):]
            return os.read(fd, 200).decode().split()
        except OSError:
            assert known.embryo.error() != ""
            raise
        finally:
            os.close(fd)

    # making and removing

    def make(self):
        if len(self.known) >= MOST:
            return self.remove()
        way = self.note(self.random.choice(("efork", "mkdir", "clone", "namespaces", "contexts")))
        held = name = None
        if way == "mkdir":
            name = self.new_name()
            os.mkdir(self.mount.P(name))
            pid = int(os.readlink(self.mount.P(name)))
        else:
            held = os.open(self.mount.P("clone" if way == "clone" else "ctl"), os.O_RDWR)
            try:
                words = {"efork": "", "clone": "", "namespaces": "ns=uts,ipc",
                         "contexts": f"share={self.one().embryo.pid}:fs" if self.known else ""}[way]
                if way != "clone":
                    os.write(held, f"efork {words}".encode())
                pid = int(os.read(held, 64))
            except OSError:
                os.close(held)
                raise
            if way != "clone":
                os.close(held)
                held = None
        self.known.append(Known(Embryo(self.mount, pid), name, held=held))

    def drop(self, process):
        if isinstance(process, Known):
            if process.held is not None:
                os.close(process.held)
            process = process.embryo
        if alive(process.pid):
            process.ask("kill")
        return eventually(lambda: errno_of(os.rmdir, process.dir) in ("success", "ENOENT"))

    def remove(self):
        known = self.one()
        self.known.remove(known)
        way = self.note(self.random.choice(("rmdir", "kill", "signal")))
        if way == "rmdir":
            os.rmdir(known.P())
        elif way == "signal":
            os.kill(known.embryo.pid, signal.SIGKILL)
        assert self.drop(known), f"{known.embryo.pid} does not go"

    def fork(self):
        if len(self.known) < MOST:
            known = self.one()
            pid = int(self.tell(known, f"fork {(name := self.new_name())}")[-1])
            self.known.append(Known(Embryo(self.mount, pid), name, dict(known.env), known.memory and bytearray(known.memory)))

    # commands and recipes

    def command(self):
        self.tell(self.one(), self.note(self.random.choice(COMMANDS)))

    def commands(self):
        self.tell(self.one(), *self.note(*self.random.sample(COMMANDS, 4)))

    def mistyped(self):
        line = self.random.choice(COMMANDS)
        at = self.random.randrange(len(line))
        self.tell(self.one(), self.note(line[:at] + self.random.choice(("", "'", " ", "9", "\\")) + line[at + 1:]))

    def recipe(self):
        text = self.note(json.dumps(self.random.choice(RECIPES)))
        with open(self.one().P("process.json"), "wb", buffering=0) as file:
            file.write(text.encode())

    def equal(self):
        """What is read from one makes an equal one of a new one."""
        if len(self.known) < MOST:
            known, other = self.one(), Known(self.mount.efork())
            self.known.append(other)
            text = known.embryo.read("process.json").encode()
            with open(other.P("process.json"), "wb", buffering=0) as file:
                while text:
                    text = text[file.write(text):]
            other.env = dict(known.env)
            if known.memory is not None:
                other.memory = bytearray(known.memory)

    def look(self):
        """Whatever is there can be read; a file may be what the embryo's limits let nobody read."""
        known = self.one()
        for name in ("status", "status.json", "process.json", "maps", "args", "limits", "regs", "error", "ctl"):
            if (came := errno_of(known.embryo.read, name)) in FAULTS:
                raise AssertionError(f"{name}: {came}")
        for name in ("mem", "fd", "env", "ns", "task"):
            os.listdir(known.P(name))

    # memory

    def place(self, known, offset, data):
        known.memory = known.memory or bytearray()
        known.memory.extend(bytes(max(0, offset + len(data) - len(known.memory))))
        known.memory[offset:offset + len(data)] = data

    def write_memory(self):
        known, data = self.one(), self.bytes(5000)
        offset = self.note(self.random.randrange(2 * PAGE))
        fd = os.open(known.region, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            known.memory = bytearray() if known.memory is None else known.memory
            assert os.pwrite(fd, data, offset) == len(data)
            self.place(known, offset, data)
        finally:
            os.close(fd)

    def map_memory(self):
        known = self.one()
        if known.memory:
            fd = os.open(known.region, os.O_RDWR)
            try:
                with mmap.mmap(fd, len(known.memory)) as view:
                    data = self.bytes(len(known.memory))
                    view[:len(data)] = data
                    known.memory[:len(data)] = data
            finally:
                os.close(fd)

    def resize_memory(self):
        known, size = self.one(), self.note(self.random.randint(1, 3 * PAGE))
        if known.memory is not None:
            os.truncate(known.region, size)
            known.memory[size:] = bytes(max(0, size - len(known.memory)))

    def move_memory(self):
        known, other = self.two()
        if known is not other and known.memory is not None and other.memory is None:
            os.rename(known.region, other.region)
            known.memory, other.memory = None, known.memory

    def share_memory(self):
        known, other = self.two()
        os.close(os.open(known.P("mem", f"{B:x}"), os.O_RDWR | os.O_CREAT, 0o600))
        os.link(known.P("mem", f"{B:x}"), other.P("mem", f"{B:x}"))

    def unmap(self):
        known = self.one()
        name = self.random.choice(os.listdir(known.P("mem")) or ["nothing"])
        os.unlink(known.P("mem", self.note(name)))
        if name == f"{A:x}":
            known.memory = None

    def copy(self):
        if len(self.known) < MOST:
            known, other = self.one(), Known(self.mount.efork())
            self.known.append(other)
            self.tell(other, f"copy {known.embryo.pid}")
            other.memory = known.memory and bytearray(known.memory)

    # variables and descriptors

    def set_variable(self):
        known, name, value = self.one(), self.random.choice("XYZ"), f"{self.random.getrandbits(2000):x}"
        if self.random.random() < 0.5:
            self.tell(known, f"env {name}={value}")
        else:
            with open(known.P("env", name), "wb", buffering=0) as file:
                file.write(value.encode())
        known.env[name] = value

    def move_variable(self):
        known = self.one()
        name, other = self.random.sample("XYZ", 2)
        os.rename(known.P("env", name), known.P("env", other))
        known.env[other] = known.env.pop(name)

    def unset_variable(self):
        known, name = self.one(), self.random.choice("XYZ")
        os.unlink(known.P("env", name))
        del known.env[name]

    def descriptors(self):
        (known, other), number = self.two(), self.random.randint(0, 9)
        call = self.note(self.random.choice(("open", "hand over", "dup", "move", "close")))
        {"open": lambda: os.symlink("/dev/null", known.P("fd", str(number))),
         "hand over": lambda: os.symlink("/dev/stdin", known.P("fd", str(number))),
         "dup": lambda: os.link(known.P("fd", str(number)), other.P("fd", "20")),
         "move": lambda: os.rename(known.P("fd", str(number)), other.P("fd", "21")),
         "close": lambda: os.unlink(known.P("fd", str(number)))}[call]()

    def pipe(self):
        known, other = self.two()
        fd = os.open(self.mount.P("ctl"), os.O_WRONLY)
        try:
            os.write(fd, f"pipe {known.embryo.pid} 1 {other.embryo.pid} 0\n".encode())
        finally:
            os.close(fd)

    # names and images

    def rename(self):
        known, name = self.one(), self.new_name()
        if known.name:
            os.rename(self.mount.P(known.name), self.mount.P(name))
        else:
            self.tell(known, f"name {name}")
        known.name = name

    def unname(self):
        known = self.one()
        if known.name:
            os.unlink(self.mount.P(known.name))
            known.name = None

    def image(self):
        """What of it cannot be restored, tar says; the variables always can."""
        if len(self.known) == MOST:
            return
        known, image = self.one(), os.path.join(self.folder, "image")
        if os.getuid() == 0:
            self.tar(known, "-cf", image, ".")
        else:
            self.tar(known, "--exclude=./mem", "-cf", image, ".")
            self.tar(known, "-rhf", image, "./mem")
        other = Known(self.mount.efork())
        self.known.append(other)
        self.tar(other, "-xpf", image)
        os.unlink(image)
        other.env = dict(known.env)
        with contextlib.suppress(FileNotFoundError):
            other.memory = bytearray(self.contents(other))

    def tar(self, known, *words):
        done = subprocess.run(["tar", "-C", known.P(), *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
        assert done.returncode in (0, 1, 2)

    # starting, waiting, leaving

    def start(self):
        known = self.one()
        way = self.note(self.random.choice(("exec", "entry", "wait")))
        if way == "entry":
            self.tell(known, f"map {code.CODE:#x} 4K rwx")
            with open(known.P("mem", f"{code.CODE:x}"), "r+b", buffering=0) as file:
                file.write(code.PAUSE_FOR_EVER)
        self.tell(known, {"exec": "exec /bin/sleep 1000", "entry": f"entry {code.CODE:#x}", "wait": "exec /bin/true"}[way])
        self.known.remove(known)
        if known.held is not None:
            os.close(known.held)
        if way == "wait":
            known.embryo.ask("start")  # it may have been told to hang
            self.ended(known.embryo)
        else:
            self.running.append(known.embryo)

    def end(self):
        if self.running:
            process = self.running.pop(self.random.randrange(len(self.running)))
            self.note(process.pid)
            way = self.note(self.random.choice(("note", "kill", "signal")))
            if way == "note":
                process.write("note", "KILL")
            elif way == "kill":
                process.ask("kill")
            else:
                os.kill(process.pid, signal.SIGKILL)
            assert self.ended(process) != "", "by that, or by what its limits and threads had come to before"

    def ended(self, process):
        """The status, in time."""
        fd = os.open(process.P("wait"), os.O_RDONLY)
        try:
            ready = select.poll()
            ready.register(fd, select.POLLIN)
            assert ready.poll(20000), f"{process.pid} does not end"
        finally:
            os.close(fd)
        return process.wait().status

    def stop(self):
        known = self.one()
        os.kill(known.embryo.pid, signal.SIGSTOP)
        try:
            came = errno_of(self.tell, known, "umask 022")
            assert came not in FAULTS
        finally:
            os.kill(known.embryo.pid, signal.SIGCONT)

    def in_a_client(self, act, seconds=20):
        """Done by a process of its own; its exit status."""
        client = os.fork()
        if client == 0:
            status = 99
            with contextlib.suppress(BaseException):
                status = act() or 0
            os._exit(status)
        end = time.monotonic() + seconds
        while (found := os.waitpid(client, os.WNOHANG)) == (0, 0) and time.monotonic() < end:
            time.sleep(0.002)
        if found == (0, 0):
            os.kill(client, signal.SIGKILL)
            os.waitpid(client, 0)
            raise AssertionError("a client is not answered")
        return os.waitstatus_to_exitcode(found[1])

    def interrupted_wait(self):
        known = self.one()

        def act():
            signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(InterruptedError))
            fd = os.open(known.P("wait"), os.O_RDONLY)
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.005)
                os.read(fd, 100)
            except InterruptedError:
                return 5
        assert self.in_a_client(act) == 5

    def killed_client(self):
        """With files open and memory mapped, amid a read that is not answered."""
        known = self.one()

        def act():
            ctl, wait = os.open(known.P("ctl"), os.O_RDWR), os.open(known.P("wait"), os.O_RDONLY)
            os.open(self.mount.P("clone"), os.O_RDWR)
            view = known.memory and mmap.mmap(os.open(known.region, os.O_RDWR), len(known.memory))
            os.write(ctl, b"# half a li")
            if os.fork() == 0:
                time.sleep(0.003)
                os.kill(os.getppid(), signal.SIGKILL)
                os._exit(0)
            os.read(wait, 100)
            return view
        assert self.in_a_client(act) in (-signal.SIGKILL, 99)  # 99: a limit of the embryo's is in the way

    def other_user(self):
        if not self.user:
            return
        known = self.one()

        def act():
            assert errno_of(os.listdir, known.P("mem")) == "EACCES"
            assert errno_of(known.embryo.ask, "kill") == "success" and known.embryo.ask("kill") == "EACCES"
            fd = os.open(self.mount.P("ctl"), os.O_RDWR)
            os.write(fd, b"efork\nmap 0x600000 4K rw-\n")
            own = Embryo(self.mount, int(os.read(fd, 64)))
            os.close(fd)
            own.tell(self.random.choice(("env A=1", "umask 022", "fd 3 open /dev/null r", "fork")))
            own.tell("exec /bin/true")
            return own.wait().status
        assert self.user.do(act) == ""

    operations = [
        (make, 8), (remove, 4), (fork, 3), (command, 12), (commands, 4), (mistyped, 5), (recipe, 3), (equal, 1), (look, 2),
        (write_memory, 6), (map_memory, 3), (resize_memory, 3), (move_memory, 2), (share_memory, 2), (unmap, 2), (copy, 2),
        (set_variable, 6), (move_variable, 2), (unset_variable, 2), (descriptors, 6), (pipe, 1), (rename, 2), (unname, 1),
        (image, 0.5), (start, 3), (end, 3), (stop, 1), (interrupted_wait, 1), (killed_client, 1), (other_user, 1)]

    # what should be there; copies are as long as their pages

    def contents(self, known):
        with open(known.region, "rb") as file:
            return file.read()

    def check(self):
        pids = {known.embryo.pid for known in self.known} | {process.pid for process in self.running}
        assert pids <= set(self.mount.ids()), "some have gone"
        for known in self.known:
            assert alive(known.embryo.pid)
            assert known.embryo.env() == sorted(known.env), known
            for name, value in known.env.items():
                assert known.embryo.read(f"env/{name}") == value
            assert (os.path.exists(known.region)) == (known.memory is not None), known
            if known.memory is not None:
                there, wanted = (bytes(memory).rstrip(b"\0") for memory in (self.contents(known), known.memory))
                assert there == wanted, f"{known.embryo.pid}: {differing(there, wanted)}"
