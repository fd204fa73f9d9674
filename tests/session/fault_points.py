"""A walk along the fault points of proc9d_faults (daemon/faults/points.hpp).

    points = Points(path)                       # before the daemon starts: it finds the file by $PROC9_FAULTS
    with points.armed("open", 2, ENFILE): ...   # the second open from now on fails

A Scene is one step that a user takes, with what has to be there before and what has to be true when it has succeeded.
Walk tries it with each fault at each call that it makes, every time on fresh embryos, and looks after each:

    the answer    success, and then it is true; or the fault's own errno, or one that ANSWERS has for it. Never EIO.
    the embryos   as before, and the same step succeeds now; or gone, which every file says.
    the daemon    has no more descriptors, processes, memfds and directories than before, and logs no bug.
"""
import contextlib
import ctypes
import errno
import json
import mmap
import os
import signal
import struct
import time
import zlib
from dataclasses import dataclass, field

from mount import Embryo, alive, children, eventually, kernel_fds, kernel_maps, kernel_status, read, write_ctl

SHORT = -1                          # points.hpp: less
PATIENCE = 12                       # seconds: then it hangs
ORDER = struct.Struct("=IIiIII")    # point, countdown, fault, lasts, fired, rows
ROW = struct.Struct("=28s7iI")      # name, answers, calls
GONE = {"ESRCH", "ENOENT"}

# What else than its own errno a fault may be answered with.
LINK = GONE if os.getuid() == 0 else GONE | {"EACCES"}  # a zombie is closed to its own user
ANSWERS = {
    "recvmsg": LINK,                        # nobody is there, or nobody that can be understood
    ("sendmsg", "EPIPE"): LINK,
    ("write", "short"): {"ENOSPC"},         # of a program, which is of no use in part
    ("sendmsg", "ECONNRESET"): LINK,
    ("open", "ENOENT"): {"ESRCH", "EBADF"},  # of /proc/PID, and of its descriptor
    ("pidfd_getfd", "EPERM"): {"EACCES", "ENXIO"},  # then it is opened by its name in /proc, which may be refused
    ("pread", "ESRCH"): {"EBADF"},
    ("readlink", "ENOENT"): {"EBADF"},
    ("opendir", "ENOENT"): {"ESRCH"},
    ("readdir", "ENOENT"): {"ESRCH"},
}


def name_of(fault):
    return "short" if fault == SHORT else errno.errorcode[fault]


@dataclass(frozen=True)
class Fault:
    point: str
    call: int
    answer: int
    lasts: bool = False

    def __str__(self):
        return f"{self.point} #{self.call} {name_of(self.answer)}{' from then on' if self.lasts else ''}"

    def answers(self):
        name = name_of(self.answer)
        return {"success", name, *ANSWERS.get(self.point, ()), *ANSWERS.get((self.point, name), ())}


class Points:
    """The file that daemon and test have mapped."""

    def __init__(self, path):
        self.path = path
        with open(path, "wb+") as f:
            f.truncate(1 << 16)
            self.memory = mmap.mmap(f.fileno(), 1 << 16)

    def rows(self):
        """name -> its answers, in the table's order; known when a daemon has started."""
        count = ORDER.unpack_from(self.memory)[5]
        rows = [ROW.unpack_from(self.memory, ORDER.size + i * ROW.size) for i in range(count)]
        return {row[0].rstrip(b"\0").decode(): [a for a in row[1:8] if a] for row in rows}

    def calls(self):
        return [ROW.unpack_from(self.memory, ORDER.size + i * ROW.size)[8] for i in range(len(self.rows()))]

    def counted(self, step):
        """How often each point is passed in a step: only those that are."""
        before = self.calls()
        step()
        return {name: n - b for name, n, b in zip(self.rows(), self.calls(), before) if n > b}

    @property
    def fired(self):
        return ORDER.unpack_from(self.memory)[4]

    @contextlib.contextmanager
    def armed(self, fault):
        rows = list(self.rows())
        ORDER.pack_into(self.memory, 0, rows.index(fault.point), fault.call, fault.answer, fault.lasts, 0, len(rows))
        try:
            yield
        finally:
            struct.pack_into("=I", self.memory, 4, 0)  # the countdown


# --- scenes ---------------------------------------------------------------------------------------------------------

@dataclass
class Case:
    """What one run of a scene works on."""
    mount: object
    e: Embryo = None
    other: Embryo = None
    made: Embryo = None
    said: object = None
    ours: object = None
    open: list = field(default_factory=list)
    library: object = None            # libproc9
    broken: bool = False              # its link was
    fault: object = None

    def lost(self):
        """By this fault a thing that is listed seems to have gone meanwhile, or to be closed: then it is left out."""
        return self.fault and self.fault.answer in (errno.ESRCH, errno.ENOENT, errno.EBADF, errno.EACCES)

    def embryos(self):
        return [e for e in (self.e, self.other) if e]


@dataclass(frozen=True)
class Scene:
    name: str
    act: object                       # may raise OSError
    check: object = lambda c: True    # after it succeeded
    lines: tuple = ()                 # the embryo is told these before; None: there is no embryo
    prepare: object = lambda c: None
    ends: bool = False                # the embryo is none any more when it has succeeded
    mode: str = ""                    # root: as root only
    parts: bool = False               # those before the one that was refused are done
    shares: bool = False              # sharing is for good, and comes first: it stays when the rest is refused

    def seen_as(self, old):
        if not self.shares:
            return old
        seen = json.loads(json.dumps(old["recipe"]))
        for region in seen["proc9"]["regions"]:
            region["shared"] = True
        return {**old, "recipe": seen}


def tell(e, *lines):
    """One write of all lines, as a user's; raises what it answers. Less than all written: what the next would answer."""
    fd = os.open(e.P("ctl"), os.O_WRONLY)
    try:
        rest = "".join(line + "\n" for line in lines).encode()
        while rest:
            rest = rest[os.write(fd, rest):]
    finally:
        os.close(fd)


def line(text, check=lambda c: True, **more):
    return Scene(text, lambda c: tell(c.e, text), check, **more)


def make(c, command="efork"):
    fd = os.open(c.mount.P("ctl"), os.O_RDWR)
    try:
        os.write(fd, command.encode() + b"\n")
        c.made = Embryo(c.mount, int(os.pread(fd, 64, 0)))
    finally:
        os.close(fd)


def mkdir(c):
    os.mkdir(c.mount.P("named"))
    c.made = c.mount.embryo("named")


def clone(c):
    fd = os.open(c.mount.P("clone"), os.O_RDWR)
    try:
        e = Embryo(c.mount, int(os.pread(fd, 64, 0)))
        os.write(fd, b"env A=1\n")
        assert e.env() == ["A"]
    finally:
        os.close(fd)


def fork(c):
    fd = os.open(c.e.P("ctl"), os.O_RDWR)
    try:
        os.write(fd, b"fork\n")
        c.made = Embryo(c.mount, int(os.pread(fd, 64, 0).split()[2]))
    finally:
        os.close(fd)


def put(c, name, data, flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC, at=0):
    fd = os.open(c.e.P(name), flags)
    try:
        while data:
            done = os.pwrite(fd, data, at)
            data, at = data[done:], at + done
    finally:
        os.close(fd)


def get(c, *names):
    c.said = [read(c.e.P(name)) for name in names]


def listing(c, *names):
    c.said = [sorted(os.listdir(c.e.P(name))) for name in names]


def links(c, *names):
    c.said = [os.readlink(c.e.P(name)) for name in names]


def memory(e, name, count=5):
    with open(e.P("mem", name), "rb", buffering=0) as f:
        return f.read(count)


def fill(c):
    put(c, "mem/10000", b"bytes", os.O_RDWR)


def a_second(c):
    c.other = c.mount.efork()


def wait(c):
    """A link that breaks is the sign that a program runs: of what was killed instead, `wait` says so."""
    status = c.e.wait().status
    assert status == "" or c.broken and status.startswith("signal"), status


def exec_and_wait(c, *lines):
    tell(c.e, *lines)
    c.said = "started"


def refused(c, text, name):
    try:
        tell(c.e, text)
    except OSError as e:
        if errno.errorcode[e.errno] != name:
            raise
    else:
        assert eventually(lambda: not alive(c.e.pid)), f"{text} succeeded"


def running(c):
    """A program that has opened and mapped all that it will."""
    c.e.tell("exec /bin/sleep 1000")
    assert eventually(lambda: "libc" in read(f"/proc/{c.e.pid}/maps") and list(kernel_fds(c.e.pid)) == [3]
                      and kernel_status(c.e.pid, "State")[0] == "S")


def entered(c):
    """A process that runs, with a shared region."""
    c.e.tell("map 0x30000 4K rw- shared", "map 0x40000 4K r-x")
    with open(c.e.P("mem/30000"), "r+b") as f:
        f.write(b"bytes")
    os.chmod(c.e.P("mem/40000"), 0o600)
    with open(c.e.P("mem/40000"), "r+b") as f:
        f.write(PAUSE)
    os.chmod(c.e.P("mem/40000"), 0o500)
    c.e.tell("entry 0x40000")


def file_region(c):
    """A shared file, which is reached through the embryo's own mapping."""
    path = os.path.join(c.mount.scratch, "file")
    with open(path, "wb") as f:
        f.write(b"bytes" + bytes(4091))
    c.e.tell(f"map 0x50000 4K rw- shared file {path}")


def adopt(c):
    """A fork by way of the mount; the child ends at once."""
    pid = c.library.proc9_fork()
    if pid == 0:
        os._exit(7)
    if pid < 0:
        raise OSError(ctypes.get_errno(), "proc9_fork")
    c.said = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


PAUSE = bytes.fromhex("b822000000 0f05 ebf7")  # pause for ever


def code(c):
    c.e.tell("map 0x40000 4K rw-")
    with open(c.e.P("mem/40000"), "r+b") as f:
        f.write(PAUSE)
    os.chmod(c.e.P("mem/40000"), 0o500)


def runs_bare(c):
    """Nothing of proc9 is left in it."""
    assert not [r for r in kernel_maps(c.e.pid) if r.start >= 0x3c9000000000 and r.start < 0x3ca000000000]
    assert list(kernel_fds(c.e.pid)) == [3]


def has_fd(n, target="/dev/null"):
    return lambda c: c.e.fds()[n] == target


def has_range(*range):
    def check(c):
        assert range in c.e.ranges(), c.e.ranges()
    return check


def have(c, flags):
    """Memory of ours to be copied, for as long as the case."""
    c.ours = mmap.mmap(-1, 1 << 16, flags | mmap.MAP_ANONYMOUS)
    c.ours.write(b"ours")


def copy_ours(c):
    start = ctypes.addressof(ctypes.c_char.from_buffer(c.ours))
    tell(c.e, f"copy {os.getpid()}:{start:#x}-{start + (1 << 16):#x} 0x50000")


def recipe(c):
    put(c, "process.json", json.dumps({
        "args": ["/bin/true"], "env": ["B=2"], "cwd": "/tmp", "noNewPrivileges": True, "oomScoreAdj": 300,
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 80, "hard": 90}], "scheduler": {"nice": 4}}).encode())


def recipe_holds(c):
    now = json.loads(c.e.read("process.json"))
    assert now["env"] == ["B=2"] and now["cwd"] == "/tmp" and now["oomScoreAdj"] == 300, now


BLANK = ("map 0x10000 8K rw-", "fd 3 open /dev/null r", "env A=1", "args /bin/true x")
LONG = "x" * 30000

SCENES = [
    Scene("efork", make, lambda c: c.made.maps() == [] and not c.made.fds(), None),
    Scene("efork ns=user", lambda c: make(c, "efork ns=user"), lambda c: c.made.maps() == [], None),
    Scene("mkdir", mkdir, lambda c: c.made.maps() == [], None),
    Scene("clone", clone, lines=None),
    Scene("fork", fork, lambda c: (c.made.ranges(), c.made.fds(), c.made.env()) == (c.e.ranges(), c.e.fds(), c.e.env())),
    Scene("fork of what has settings and threads", fork, lambda c: len(os.listdir(c.made.P("task"))) == 2,
          ("thread 0x10000", "oom 300", "sigmask USR1", "limit NOFILE 90")),
    Scene("share", lambda c: make(c, f"efork share={c.e.pid}:mem,fd"), lambda c: c.made.ranges() == c.e.ranges()),
    Scene("thread", lambda c: tell(c.e, "thread 0x10000"), lambda c: len(os.listdir(c.e.P("task"))) == 2),

    line("map any 8K rw-", lambda c: len(c.e.ranges()) == 2),
    line("map 0x20000 8K rw- shared", has_range(0x20000, 0x22000, "rw-")),
    line("map 0x20000 4K r-- file /bin/true", has_range(0x20000, 0x21000, "r--")),
    line("map vdso", lambda c: "[vdso]" in c.e.read("maps")),
    line("map 0x3c9000000000 4K rw-", has_range(0x3c9000000000, 0x3c9000001000, "rw-")),
    line("unmap 0x10000", lambda c: c.e.ranges() == []),
    line("protect 0x10000 4K r--", has_range(0x10000, 0x11000, "r--")),
    line("move 0x10000 0x20000", has_range(0x20000, 0x22000, "rw-")),
    Scene("copy ours", copy_ours, lambda c: memory(c.e, "50000", 4) == b"ours", prepare=lambda c: have(c, mmap.MAP_PRIVATE)),
    Scene("copy ours, shared", copy_ours, lambda c: memory(c.e, "50000", 4) == b"ours", prepare=lambda c: have(c, mmap.MAP_SHARED),
          mode="root"),
    Scene("copy of an embryo", lambda c: tell(c.other, f"copy {c.e.pid}"), lambda c: memory(c.other, "10000") == b"bytes",
          prepare=lambda c: (fill(c), a_second(c))),
    Scene("a write into a region", fill, lambda c: memory(c.e, "10000") == b"bytes"),
    Scene("a region from a file", lambda c: put(c, "mem/20000", b"b" * 5000),
          lambda c: memory(c.e, "20000", 5000) == b"b" * 5000, parts=True),  # open made it
    Scene("truncate", lambda c: os.truncate(c.e.P("mem/10000"), 4096), has_range(0x10000, 0x11000, "rw-"), prepare=fill),
    Scene("chmod", lambda c: os.chmod(c.e.P("mem/10000"), 0o500), has_range(0x10000, 0x12000, "r-x"), prepare=fill),
    Scene("mv of a region", lambda c: os.rename(c.e.P("mem/10000"), c.other.P("mem/20000")),
          lambda c: memory(c.other, "20000") == b"bytes" and c.e.mem() == [], prepare=lambda c: (fill(c), a_second(c))),
    Scene("ln of a region", lambda c: os.link(c.e.P("mem/10000"), c.other.P("mem/20000")),
          lambda c: memory(c.other, "20000") == b"bytes", prepare=lambda c: (fill(c), a_second(c)), shares=True),
    Scene("ln -s of a file", lambda c: os.symlink("/bin/true", c.e.P("mem/20000")), lambda c: len(c.e.ranges()) == 2),
    Scene("rm of a region", lambda c: os.unlink(c.e.P("mem/10000")), lambda c: c.e.mem() == [], prepare=fill),
    Scene("a region read", lambda c: memory(c.e, "10000"), lambda c: memory(c.e, "10000") == b"bytes", prepare=fill),

    Scene("a shared file read", lambda c: memory(c.e, "50000"), lambda c: memory(c.e, "50000") == b"bytes", prepare=file_region),
    Scene("a shared file written", lambda c: put(c, "mem/50000", b"other", os.O_RDWR),
          lambda c: memory(c.e, "50000") == b"other", prepare=file_region),

    line("fd 5 open /dev/null r", has_fd(5)),
    line("fd 63 open /dev/null r", has_fd(63)),
    Scene("fd 5 self:", lambda c: tell(c.e, f"fd 5 self:{c.open[0]}"), has_fd(5),
          prepare=lambda c: c.open.append(os.open("/dev/null", os.O_RDONLY))),
    Scene("fd of another", lambda c: tell(c.other, f"fd 5 {c.e.pid}:3"), lambda c: c.other.fds()[5] == "/dev/null",
          prepare=a_second),
    line("fd 5 dup 3", has_fd(5)),
    line("fd 5 mem 0x10000", lambda c: 5 in c.e.fds(), prepare=fill, shares=True),
    line("fd 3 cloexec on"),
    line("fd 3 close", lambda c: c.e.fds() == {}),
    Scene("ln -s fd", lambda c: os.symlink("/dev/null", c.e.P("fd/5")), has_fd(5)),
    Scene("ln -s /dev/fd", lambda c: os.symlink(f"/proc/self/fd/{c.open[0]}", c.e.P("fd/5")), has_fd(5),
          prepare=lambda c: c.open.append(os.open("/dev/null", os.O_RDONLY))),
    Scene("ln of an fd", lambda c: os.link(c.e.P("fd/3"), c.other.P("fd/7")), lambda c: c.other.fds()[7] == "/dev/null",
          prepare=a_second),
    Scene("mv of an fd", lambda c: os.rename(c.e.P("fd/3"), c.e.P("fd/8")), has_fd(8)),
    Scene("pipe", lambda c: write_root(c, f"pipe {c.e.pid} 1 {c.other.pid} 0"),
          lambda c: c.e.fds()[1] == c.other.fds()[0], prepare=a_second),

    line("inherit fd", lambda c: {0, 1, 2} <= set(c.e.fds()) or c.lost()),
    line("inherit env", lambda c: len(c.e.env()) > 2),
    line("inherit cwd", lambda c: os.readlink(c.e.P("cwd")) == os.getcwd()),
    line("inherit all", lambda c: os.readlink(c.e.P("cwd")) == os.getcwd(), parts=True),
    line("inherit settings", parts=True),
    line("env B=2", lambda c: c.e.env() == ["A", "B"]),
    Scene("env file", lambda c: put(c, "env/B", b"2"), lambda c: c.e.env() == ["A", "B"]),

    line("chdir /tmp", lambda c: os.readlink(c.e.P("cwd")) == "/tmp"),
    line("umask 027"),
    line("limit NOFILE 90", lambda c: "90" in c.e.read("limits")),
    line("nice 4"),
    # A setting that is in force may forbid what makes the threads again.
    line("nice 5", lambda c: len(os.listdir(c.e.P("task"))) == 2, lines=("thread 0x10000",), parts=True),
    line("oom 300", lambda c: read(f"/proc/{c.e.pid}/oom_score_adj") == "300\n"),
    line("sigmask USR1"),
    line("sched batch"),
    line("ioprio best-effort 6"),
    line("affinity 0"),
    line("personality addr-no-randomize"),
    line("nonewprivs"),
    line("landlock ro /", lines=("nonewprivs",)),
    line("seccomp deny mkdir", lines=("nonewprivs",)),
    line("keyring proc9-test"),
    line("ns new user", mode="user"),
    line("ns new uts", mode="root"),
    line("ns join uts /proc/self/ns/uts", mode="root"),
    line("hostname box", lines=("ns new uts",), mode="root"),
    Scene("idmap", lambda c: tell(c.e, f"idmap uid 0 {os.getuid()} 1"),
          lambda c: read(f"/proc/{c.e.pid}/uid_map").split() == ["0", str(os.getuid()), "1"], ("ns new user",)),
    line("caps effective -all"),
    Scene("several in one write", lambda c: tell(c.e, "nice 4", "oom 300", "sigmask USR1", "limit NOFILE 90", "chdir /tmp"),
          lambda c: os.readlink(c.e.P("cwd")) == "/tmp", parts=True),

    Scene("exec", lambda c: tell(c.e, "exec /bin/true"), wait, ends=True),
    Scene("exec with settings", lambda c: tell(c.e, "nice 4", "limit NOFILE 90", "exec /bin/true"), wait, ends=True),
    Scene("exec with long arguments", lambda c: tell(c.e, f"args /bin/true {LONG} {LONG}", "exec"), wait, ends=True),
    Scene("exec of what is not there", lambda c: refused(c, "exec /nonexistent", "ENOENT")),
    Scene("exec under seccomp", lambda c: tell(c.e, "exec /bin/true"), wait, ("nonewprivs", "seccomp deny mkdir"), ends=True),
    Scene("exec hanging", lambda c: tell(c.e, "exec /bin/true"), lambda c: (c.e.tell("start"), wait(c)), ("hang",), ends=True),
    Scene("exec of one that shares", lambda c: tell(c.e, "exec /bin/true"), wait, ends=True,
          prepare=lambda c: make_other(c, f"efork share={c.e.pid}:fd")),
    Scene("entry", lambda c: tell(c.e, "entry 0x40000"), runs_bare, prepare=code, ends=True),
    Scene("entry with a thread", lambda c: tell(c.e, "entry 0x40000"), runs_bare, ("thread 0x40000",), prepare=code, ends=True),
    Scene("wait", wait, prepare=lambda c: c.e.tell("exec /bin/true"), ends=True),
    Scene("kill", lambda c: tell(c.e, "kill"), lambda c: eventually(lambda: not alive(c.e.pid)), ends=True),
    Scene("rmdir", lambda c: os.rmdir(c.e.dir), lambda c: eventually(lambda: not alive(c.e.pid)), ends=True),
    Scene("stop and start", lambda c: tell(c.e, "stop", "start")),

    Scene("process.json written", recipe, recipe_holds, parts=True),
    Scene("process.json", lambda c: get(c, "process.json"), lambda c: json.loads(c.said[0])["args"] == ["/bin/true", "x"]),
    *[Scene(name, lambda c, name=name: get(c, name), lambda c, name=name: c.lost() or c.said[0] == c.e.read(name))
      for name in ("ctl", "status", "status.json", "maps", "limits", "regs", "error")],
    *[Scene(name + "/", lambda c, name=name: listing(c, name), lambda c, name=name: c.lost() or c.said[0] == sorted(os.listdir(c.e.P(name))))
      for name in ("mem", "fd", "env", "ns", "task", ".")],
    Scene("links", lambda c: links(c, "cwd", "root", "ns/net", "fd/3"), lambda c: c.said[3] == "/dev/null"),
    Scene("the root", lambda c: c.mount.ls(), lambda c: str(c.e.pid) in c.mount.ls()),
    Scene("files of a program", lambda c: get(c, "status", "maps", "limits"), lambda c: "sleep" in c.said[1], prepare=running, ends=True),
    Scene("links of a program", lambda c: links(c, "cwd", "exe", "fd/3"), lambda c: c.said[2] == "/dev/null", prepare=running, ends=True),
    Scene("fds of a program", lambda c: listing(c, "fd"), lambda c: c.said == [["3"]], prepare=running, ends=True),
    Scene("shared memory of a program", lambda c: memory(c.e, "30000"), lambda c: memory(c.e, "30000") == b"bytes",
          prepare=entered, ends=True),
    Scene("memory of a program written", lambda c: put(c, "mem/30000", b"other", os.O_RDWR), lambda c: memory(c.e, "30000") == b"other",
          prepare=entered, ends=True),
    Scene("adopt", adopt, lambda c: c.said == 7 or c.broken, lines=None),
    Scene("a program killed", lambda c: tell(c.e, "kill"), lambda c: eventually(lambda: not alive(c.e.pid)), prepare=running, ends=True),
]


def write_root(c, text):
    fd = os.open(c.mount.P("ctl"), os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def make_other(c, command):
    make(c, command)
    c.other, c.made = c.made, None


# --- the walk -------------------------------------------------------------------------------------------------------

def state(e):
    return {"recipe": json.loads(e.read("process.json")), "maps": e.ranges(), "fds": e.fds(), "env": e.env()}


class Hangs(Exception):
    pass


@contextlib.contextmanager
def patience():
    def stop(*_):
        raise Hangs
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Walk:
    def __init__(self, mount, points, library=None):
        self.mount, self.points, self.library = mount, points, library
        self.tried = self.not_reached = 0
        self.outcomes = {}      # point -> answer -> how often
        self.findings = []
        self.slow = []

    def case(self, scene):
        c = Case(self.mount, library=self.library)
        if scene.lines is not None:
            c.e = self.mount.efork()
            c.e.tell(*BLANK, *scene.lines)
        scene.prepare(c)
        return c

    def end(self, c):
        for fd in c.open:
            os.close(fd)
        self.mount.sweep()

    def plain(self, scene):
        """Without a fault; answers how often each point is passed."""
        c = self.case(scene)
        counts = self.points.counted(lambda: self.succeed(scene, c))
        assert scene.check(c) is not False, f"{scene.name}: did not happen"
        self.end(c)
        return counts

    def succeed(self, scene, c):
        with patience():
            scene.act(c)

    def answer_of(self, scene, c):
        try:
            with patience():
                scene.act(c)
        except OSError as e:
            return errno.errorcode[e.errno]
        except Hangs:
            return "a hang"
        return "success"

    def attempt(self, scene, fault):
        """What is wrong with how it goes with this fault; nothing if all is well."""
        c = self.case(scene)
        c.fault = fault
        before = [None if scene.ends else state(e) for e in c.embryos()]
        began = time.monotonic()
        with self.points.armed(fault):
            answer = self.answer_of(scene, c)
            fired = self.points.fired
        c.broken = fault.point == "recvmsg" or fault.point == "sendmsg" and fault.answer in (errno.EPIPE, errno.ECONNRESET)
        took = time.monotonic() - began
        wrong = []
        try:
            if took > 1:
                self.slow.append((scene.name, fault, round(took, 1), answer))
            self.tried += 1
            self.not_reached += not fired
            if fired:
                tally = self.outcomes.setdefault(fault.point, {})
                tally[answer] = tally.get(answer, 0) + 1
            if answer not in fault.answers():
                wrong.append(f"answers {answer}")
            kills = fault.point in ("recvmsg", "ptrace", "ptrace seize")
            wrong += self.judged(scene, c, answer, before, kills)
        finally:
            self.end(c)
        return wrong

    def judged(self, scene, c, answer, before, kills):
        try:
            if answer == "success":
                try:
                    return [] if scene.check(c) is not False else ["says success, but it did not happen"]
                except (OSError, AssertionError):
                    if not kills or not self.dies(c.e):
                        raise
                    return []
            gone = [e for e in c.embryos() if self.is_gone(e)]
            if gone:
                return [f"{e.pid} is gone, but lives" for e in gone if not self.dies(e)]
            for e, old in zip(c.embryos(), before):
                if scene.ends or scene.parts:
                    continue
                now = state(e)
                if now not in (old, scene.seen_as(old)) and not self.dies(e):
                    return [f"answers {answer}, and has changed: {difference(old, now)}"]
            again = self.answer_of(scene, c)
            if again != "success":
                return [f"answers {answer}, and then again {again}"] if not self.dies(c.e) else []
            return [] if scene.check(c) is not False else ["the second time it did not happen"]
        except (OSError, AssertionError, ValueError, KeyError) as e:
            if answer != "success" and any(self.dies(one) for one in c.embryos()):
                return []
            return [f"answers {answer}, then {type(e).__name__}: {e}"]

    def is_gone(self, e):
        return bool(GONE & {e.ask("env PROBE=1"), e.ask("unset PROBE")})

    def dies(self, e):
        return e and eventually(lambda: not alive(e.pid), 1)

    def walk(self, scene, faults):
        """`faults`, from the counts of a plain run, makes the list of what to try."""
        counts = self.plain(scene)
        self.plain(scene)
        base = self.mount.steady_counts(0.05)
        groups = {}
        for fault in faults(scene, counts, self.points.rows()):
            groups.setdefault(fault.point, []).append(fault)
        for group in groups.values():
            for fault in group:
                self.found(scene, fault, self.attempt(scene, fault))
                assert self.mount.running(), f"proc9d died: {scene.name}: {fault}\n{self.mount.log_text()}"
        self.plain(scene)
        if self.leaks(base):
            self.who_leaks(scene, [fault for group in groups.values() for fault in group])

    def leaks(self, base):
        more = {}

        def is_back():
            now = self.mount.counts()
            more.clear()
            more.update({what: n - base[what] for what, n in now.items() if n > base[what]})
            return not more
        return {} if eventually(is_back, 3) else dict(more)

    def who_leaks(self, scene, faults):
        for fault in faults:
            self.plain(scene)
            base = self.mount.steady_counts(0.05)
            self.attempt(scene, fault)
            self.plain(scene)
            if more := self.leaks(base):
                self.found(scene, fault, [f"leaks {more}"])

    def found(self, scene, fault, wrong):
        self.findings += [f"{scene.name}: {fault}: {one}" for one in wrong]


def difference(old, new):
    if isinstance(old, dict) and isinstance(new, dict):
        return {k: difference(old.get(k), new.get(k)) for k in {*old, *new} if old.get(k) != new.get(k)}
    return f"{old} -> {new}"


LASTING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.ENOBUFS)


def every_fault(scene, counts, rows):
    """Each answer at each call, and the same from the first call on; of many calls the first seven and the last."""
    for point, count in counts.items():
        calls = range(1, count + 1) if count <= 8 else [*range(1, 8), count]
        for answer in rows[point]:
            yield from (Fault(point, call, answer) for call in calls)
            if answer in LASTING and point != "watch":
                yield Fault(point, 1, answer, True)


def one_of_each(scene, counts, rows):
    """One answer at one call of each point; which, differs from scene to scene, and is the same in each run."""
    for point, count in counts.items():
        turn = zlib.crc32(f"{scene.name} {point}".encode())
        yield Fault(point, 1 + turn % count, rows[point][turn % len(rows[point])])


def settled(scene):
    """The scene, and then a while in which the pool may be filled."""
    def act(c):
        try:
            scene.act(c)
        finally:
            time.sleep(0.03)
    return Scene(scene.name, act, scene.check, scene.lines, scene.prepare)
