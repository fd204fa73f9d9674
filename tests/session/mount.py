"""A proc9 mount as a test uses it: a Daemon that serves it, and the Embryos made on it.

    e = mount.efork()                      # a blank process
    e.tell("env A=1", "map 0x600000 4K rw-")   # must succeed
    e.ask("map 0x600001 4K rw-")           # -> "EINVAL"; a number of bytes when it succeeded
    out, status = e.run("exec /bin/echo hi")   # its output, and what `wait` says: ("hi\\n", "")

Everything goes through the files of the mount; what the kernel says about a process comes from /proc.
"""
import contextlib
import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple

Region = namedtuple("Region", "start end prot line")
Wait = namedtuple("Wait", "pid utime stime rtime status")

WAIT_LINE = re.compile(r"(\d+) (\d+) (\d+) (\d+) '(.*)'\n")


# --- small questions ------------------------------------------------------------------------------------------------

def write_ctl(path, data, flags=os.O_WRONLY):
    """One open, one write, one close: the number of bytes that write(2) returned, or the errno's name."""
    data = data.encode() if isinstance(data, str) else data
    try:
        fd = os.open(path, flags)
        try:
            return os.write(fd, data)
        finally:
            os.close(fd)
    except OSError as e:
        return errno.errorcode[e.errno]


def errno_of(call, *args, **kwargs):
    """The name of the errno that a file call fails with; "success" if it does not."""
    try:
        call(*args, **kwargs)
    except OSError as e:
        return errno.errorcode[e.errno]
    return "success"


def eventually(condition, seconds=5.0):
    """Whether the condition becomes true in time. What the kernel does after close(2) or exit is not at once."""
    end = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        if time.monotonic() > end:
            return value
        time.sleep(0.01)


def read(path, limit=1 << 22):
    with open(path, "rb", buffering=0) as f:
        text = b""
        while len(text) < limit and (piece := f.read(1 << 16)):
            text += piece
    return text.decode()


def parse_maps(text):
    regions = []
    for line in text.splitlines():
        start, end, prot = re.match(r"([0-9a-f]+)-([0-9a-f]+) ([-rwxsp]{4}) ", line).groups()
        regions.append(Region(int(start, 16), int(end, 16), prot, line))
    return regions


def parse_wait(text):
    match = WAIT_LINE.fullmatch(text)
    assert match, f"not the form PID UTIME STIME RTIME 'STATUS': {text!r}"
    return Wait(*map(int, match.groups()[:4]), match.group(5))


# --- what the kernel says -------------------------------------------------------------------------------------------

def kernel_status(pid, key):
    return re.search(rf"^{key}:\s*(.*)$", read(f"/proc/{pid}/status"), re.M).group(1)


def alive(pid):
    """Exists and is not a zombie."""
    try:
        return kernel_status(pid, "State")[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def birth(pid):
    """With the pid, this tells a process from a later one of the same number. None: no such process."""
    try:
        return read(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return None


def children(parent):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if int(read(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()[1]) == parent:
                found.append(int(pid))
    return found


def kernel_maps(pid):
    return [r for r in parse_maps(read(f"/proc/{pid}/maps")) if not r.line.endswith("[vsyscall]")]


def kernel_fds(pid):
    fds = {}
    for n in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            fds[int(n)] = os.readlink(f"/proc/{pid}/fd/{n}")
    return fds


# --- an embryo ------------------------------------------------------------------------------------------------------

class Embryo:
    def __init__(self, mount, pid, name=None):
        self.mount, self.pid, self.name = mount, pid, name
        self.dir = mount.P(str(pid))

    def P(self, *names):
        return os.path.join(self.dir, *names)

    def ask(self, text):
        """Writes to ctl: the count or the errno's name."""
        return write_ctl(self.P("ctl"), text)

    def tell(self, *lines):
        """Writes lines to ctl that must succeed."""
        text = "".join(line + "\n" for line in lines)
        answer = self.ask(text)
        assert answer == len(text.encode()), f"{answer}: {self.error()}"

    def error(self):
        return read(self.P("error"))

    def read(self, name):
        return read(self.P(name))

    def write(self, name, data):
        data = data.encode() if isinstance(data, str) else data
        with open(self.P(name), "wb", buffering=0) as f:
            done = 0
            while done < len(data):
                done += f.write(data[done:])

    def maps(self):
        return parse_maps(self.read("maps"))

    def ranges(self):
        return [(r.start, r.end, r.prot[:3]) for r in self.maps()]

    def mem(self):
        return sorted(os.listdir(self.P("mem")), key=lambda name: int(name, 16))

    def fds(self):
        found = {}
        for n in os.listdir(self.P("fd")):
            with contextlib.suppress(FileNotFoundError):  # a running program closes what it likes
                found[int(n)] = os.readlink(self.P("fd", n))
        return found

    def env(self):
        return sorted(os.listdir(self.P("env")))

    def exists(self):
        return os.path.isdir(self.dir)

    def wait(self):
        """Reads `wait` to the end, which reaps."""
        return parse_wait(self.read("wait"))

    def output_to(self, path):
        self.tell(f"fd 1 open {path} w 0600", "fd 2 dup 1")

    def run(self, line):
        """Starts it with its output in a file; the output and the STATUS of `wait`."""
        out = os.path.join(self.mount.scratch, f"out-{self.pid}")
        self.output_to(out)
        self.tell(line)
        status = self.wait().status
        with open(out, errors="surrogateescape") as f:
            return f.read(), status


# --- a daemon, and what ends it -------------------------------------------------------------------------------------

class Watchdog:
    """Ends the daemons that it was told of, whatever happens to us; see watchdog.py."""

    def __init__(self):
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "watchdog.py")
        self.process = subprocess.Popen([sys.executable, program], stdin=subprocess.PIPE, start_new_session=True)

    def tell(self, order):
        self.process.stdin.write(order.encode() + b"\n")
        self.process.stdin.flush()

    def end(self):
        self.process.stdin.close()
        self.process.wait(15)


class Daemon:
    """A proc9d in the foreground on a private mount point. start() returns when the mount answers."""

    def __init__(self, program, directory, watchdog, options=(), prefix=()):
        """prefix: what runs the daemon elsewhere and becomes it, as nsenter and setpriv do."""
        self.program, self.directory, self.watchdog, self.options = program, directory, watchdog, options
        self.prefix = prefix
        self.path = os.path.join(directory, "mnt")
        self.scratch = os.path.join(directory, "scratch")
        self.log = os.path.join(directory, "log")
        self.process = None

    # files and shells

    def P(self, *names):
        return os.path.join(self.path, *names)

    def ls(self):
        return sorted(os.listdir(self.path))

    def ids(self):
        return sorted(int(n) for n in self.ls() if n.isdigit())

    def efork(self, name=None):
        fd = os.open(self.P("ctl"), os.O_RDWR)
        try:
            os.write(fd, f"efork {name or ''}".rstrip().encode() + b"\n")
            text = os.read(fd, 64) or os.pread(fd, 64, 0)
        finally:
            os.close(fd)
        return Embryo(self, int(text), name)

    def embryo(self, name):
        """The one that a script made by name."""
        return Embryo(self, int(os.readlink(self.P(name))), name)

    def sh(self, script, timeout=20, shell="sh", **options):
        """Runs a script in a real shell with $PROC9 set, in the scratch directory. Anything on stderr is in .stderr."""
        env = {**os.environ, "PROC9": self.path, "LC_ALL": "C", **options.pop("env", {})}
        options = {"cwd": self.scratch, "text": True, "stdin": subprocess.DEVNULL, **options}
        if "stdout" not in options:
            options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.run([*shell.split(), "-c", script], env=env, timeout=timeout, **options)

    def out(self, script, **options):
        """The output of a script that must succeed without a word on stderr."""
        done = self.sh(script, **options)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def requests(self):
        """The daemon's count of requests: every number in stats.json under a key that speaks of requests, summed."""
        import json

        def numbers(value, counted):
            if isinstance(value, dict):
                return sum(numbers(v, counted or "request" in k.lower()) for k, v in value.items())
            return value if counted and isinstance(value, (int, float)) else 0

        total = numbers(json.loads(read(self.P("stats.json"))), False)
        assert total > 0, "stats.json has no count of requests"
        return total

    # life

    @property
    def pid(self):
        return self.process.pid

    def running(self):
        return self.process is not None and self.process.poll() is None

    def start(self):
        os.makedirs(self.path, exist_ok=True)
        os.makedirs(self.scratch, exist_ok=True)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*self.prefix, self.program, "-f", *self.options, self.path], cwd=self.directory,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.watchdog.tell(f"daemon {self.pid} {self.path}")
        try:
            assert eventually(self.answers, 10), f"proc9d does not answer; its log:\n{self.log_text()}"
        except BaseException:
            self.kill()
            raise
        return self

    def answers(self):
        """Asked from another process: a mount that does not answer must not hang the tests."""
        assert self.running(), f"proc9d ended with {self.process.returncode}; its log:\n{self.log_text()}"
        if not self.mounted():
            return False
        probe = subprocess.Popen([*self.prefix, "stat", self.P("ctl")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return probe.wait(2) == 0
        return False

    def mounted(self):
        return f" {self.path} " in read("/proc/self/mountinfo")

    def sweep(self):
        """Ends and reaps every process that a test left."""
        for pid in self.ids():
            e = Embryo(self, pid)
            if errno_of(os.rmdir, e.dir) not in ("success", "ENOENT"):
                e.ask("kill KILL")
                eventually(lambda: errno_of(os.rmdir, e.dir) in ("success", "ENOENT"))
        assert eventually(lambda: not self.ids()), f"rmdir and kill do not remove {self.ids()}"

    def counts(self):
        """What may leak: processes, descriptors, memfds, directories."""
        kids = children(self.pid)
        own = kernel_fds(self.pid)
        memfds = list(own.values())
        for pid in kids:
            # A zombie, and one that is told not to be dumpable, is closed to its own user.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                memfds += kernel_fds(pid).values()
        return {"children": len(kids), "descriptors": len(own), "directories": len(self.ids()),
                "memfds": sum(t.startswith("/memfd:") for t in memfds)}

    def steady_counts(self, pause=0.15):
        """The counts when they have not changed for a while (a pool may be being refilled)."""
        before = None
        for _ in range(20):
            now = self.counts()
            if now == before:
                return now
            before = now
            time.sleep(pause)
        return before

    def stop(self):
        """SIGTERM; then nothing may be left: no mount, no child."""
        if not self.running():
            return self.kill()
        kids = {pid: birth(pid) for pid in children(self.pid)}
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("proc9d did not end within 10 s of SIGTERM") from None
        was_mounted = self.mounted()
        status = self.process.returncode
        killed_before = status == -signal.SIGKILL  # by the test, and not yet reaped when we looked
        self.kill()

        def left():
            return [pid for pid, born in kids.items() if birth(pid) == born and alive(pid)]
        eventually(lambda: not left(), 3)
        orphans = left()
        for pid in orphans:
            os.kill(pid, signal.SIGKILL)
        assert not orphans, f"proc9d left its children {orphans} behind"
        assert killed_before or not was_mounted, f"proc9d ended by SIGTERM, {status}, and left its mount: {self.log_text()}"
        return None

    def kill(self):
        """The hard end, safe to call at any time: kill -9, reap, unmount."""
        if self.process is not None:
            if self.running():
                self.process.kill()
                self.process.wait(10)
            self.watchdog.tell(f"gone {self.pid}")
            self.process = None
        self.unmount()

    def unmount(self):
        tool = ["umount", "-l"] if os.getuid() == 0 else ["fusermount3", "-uz"]
        while self.mounted():
            done = subprocess.run([*tool, self.path], capture_output=True, text=True, timeout=10)
            assert done.returncode == 0 or not self.mounted(), done.stderr  # the daemon may be quicker

    def log_text(self):
        with open(self.log, errors="replace") as f:
            return f.read()[-4000:]

    def remove(self):
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
