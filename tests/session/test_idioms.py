"""Every line of the tables in docs/idioms.md is run as it stands there, and the kernel is asked what came of it.

A row has a check here, named by its first column. A check calls case.say(), which runs the lines of the row, and then looks.
And each check is run once more with nothing said: it must notice.

The tables are read with these rules: a cell "in proc9" holds lines in backticks, run in order, and perhaps the mark (root);
where there is no line the last cell tells why. What stands for something else is replaced: SUBSTITUTES, and `user,` is left
out once more for root.
"""
import ctypes
import functools
import os
import re
import select
import signal
import struct
import subprocess
from collections import namedtuple

import pytest

import machine_code as code
from mount import errno_of, eventually, kernel_fds, kernel_maps, kernel_status, parse_wait, read, write_ctl
from test_docs import MOUNT, ROOT

PAGE = ROOT / "docs/idioms.md"
HEADER = re.compile(r"\| [\w ]+ \| there \| in proc9 \| mind \|")
CODE, DATA, STACK = code.CODE, code.DATA, 0x710000
CODE_2 = 0x500000
CGROUP = "/sys/fs/cgroup/pids/job"
PATIENCE, SHORT = 10, 0.3  # seconds; the short one for a check that is to fail

libc = ctypes.CDLL(None, use_errno=True)

# --- the tables -----------------------------------------------------------------------------------------------------

Row = namedtuple("Row", "name lines root why")


def tables():
    rows, inside = [], False
    for line in PAGE.read_text().splitlines():
        if not line.startswith("|"):
            inside = False
        elif HEADER.fullmatch(line):
            inside = True
        elif inside and not set(line) <= set("|- "):
            cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            assert len(cells) == 4, f"not four cells: {line}"
            name, _, said, why = cells
            rows.append(Row(name, re.findall(r"`([^`]+)`", said), said.endswith("(root)"), why or said))
    return rows


ROWS = tables()
CHECKS = {}


def check(*names):
    def enter(function):
        for name in names:
            assert name not in CHECKS, f"two checks of {name}"
            CHECKS[name] = function
        return function
    return enter


# --- a row being run ------------------------------------------------------------------------------------------------

class Case:
    """Says the lines of a row, with `job` and `other` there before; or, when silent, says nothing but `efork job`."""

    def __init__(self, mount, row, directory, substitutes, silent):
        self.mount, self.row, self.silent, self.said = mount, row, silent, False
        self.tmp = directory
        self.lines = [functools.reduce(lambda text, pair: text.replace(*pair), substitutes.items(), line) for line in row.lines]
        self.patience = SHORT if silent else PATIENCE
        self.other = mount.efork("other")
        self.makes_job = any("efork job" in line for line in row.lines)
        if not self.makes_job:
            mount.efork("job")

    @functools.cached_property
    def job(self):
        return self.mount.embryo("job")

    @property
    def pid(self):
        return self.job.pid

    def say(self, **shell):
        """The lines of the row; what the shell printed."""
        assert not self.said, "a row is said once"
        self.said = True
        if self.silent:
            if self.makes_job:
                self.mount.efork("job")
            return ""
        return "".join(self.run_line(line, **shell) for line in self.lines)

    def run_line(self, line, **shell):
        if line.startswith("$ "):
            return self.mount.out(MOUNT.sub(lambda _: self.mount.path, line[2:]), **shell)
        place = self.mount.path if line.startswith("efork") else self.job.dir
        answer = write_ctl(f"{place}/ctl", line + "\n")
        assert answer == len(line) + 1, f"{line}: {answer}: {read(place + '/error')}"
        return ""

    # what a check needs

    def eventually(self, condition):
        return eventually(condition, self.patience)

    def load(self, text=code.PAUSE_FOR_EVER, address=CODE):
        code.load(self.job, text, address)

    def enter(self, text=code.PAUSE_FOR_EVER):
        """Starts it with this machine code, away from where the rows have theirs."""
        self.load(text, CODE_2)
        self.job.tell(f"entry {CODE_2:#x}")

    def output(self):
        self.job.output_to(self.tmp / "out")

    def printed(self):
        return (self.tmp / "out").read_text()

    def program(self, script):
        """What a shell prints that runs in the job."""
        self.output()
        self.job.tell(f"exec /bin/sh -c '{script}'")
        assert self.status() == ""
        return self.printed()

    def status(self):
        with open(self.job.P("wait")) as wait:
            poll = select.poll()
            poll.register(wait, select.POLLIN)
            assert poll.poll(self.patience * 1000), "it does not end"
            return parse_wait(wait.read()).status

    def word(self, address, pid=None):
        with open(f"/proc/{pid or self.pid}/mem", "rb", buffering=0) as memory:
            memory.seek(address)
            data = memory.read(8)
        assert len(data) == 8, "the process has ended"
        return struct.unpack("<Q", data)[0]

    def runs(self, program):
        """Whether the job runs this program. Where /bin is merged, /usr/bin/X is /bin/X."""
        return os.path.realpath(f"/proc/{self.pid}/exe") == os.path.realpath(program)

    def ends_as(self, text):
        """The lines started it: its output and its end."""
        assert (self.status(), self.printed()) == ("", text)


@pytest.fixture
def try_row(mount, mode, tmp_path):
    tidy = []

    def run(name, silent=False, without_user=False):
        row = next(row for row in ROWS if row.name == name)
        substitutes = {"29111": str(next(n for n in range(29111, 32000) if not os.path.exists(f"/proc/{n}")))}
        if any(CGROUP in line for line in row.lines):
            substitutes[CGROUP] = new_cgroup()
            tidy.append(substitutes[CGROUP])
        if without_user:
            substitutes |= {"user,": "", "ns=user,": "ns="}
        case = Case(mount, row, tmp_path, substitutes, silent)
        CHECKS[name](case)
        assert case.said, "the check did not run the row's lines"
    yield run
    mount.sweep()
    for directory in tidy:
        assert eventually(lambda: errno_of(os.rmdir, directory) == "success")  # when its last process has gone


def new_cgroup():
    parent = next(p for p in ("/sys/fs/cgroup/pids", "/sys/fs/cgroup") if os.path.exists(f"{p}/cgroup.procs"))
    directory = f"{parent}/proc9-idioms-{os.getpid()}"
    os.makedirs(directory, exist_ok=True)
    return directory


def params(rows):
    return [pytest.param(row.name, id=row.name.replace(" ", "-"), marks=[pytest.mark.mode("root")] * row.root) for row in rows]


@pytest.mark.parametrize("name", params([row for row in ROWS if row.lines]))
def test_row(try_row, name):
    try_row(name)


@pytest.mark.mode("root")
@pytest.mark.parametrize("name", params([row for row in ROWS if "user," in "".join(row.lines)]))
def test_row_of_root_without_a_user_namespace(try_row, name):
    try_row(name, without_user=True)


@pytest.mark.parametrize("name", params([row for row in ROWS if row.lines and row.lines != ["efork job"]]))
def test_a_check_notices_that_nothing_was_said(try_row, name):
    with pytest.raises((AssertionError, OSError, ValueError, StopIteration)):
        try_row(name, silent=True)


# --- the tables are whole -------------------------------------------------------------------------------------------

def test_every_row_has_a_check_and_every_check_a_row():
    assert sorted(row.name for row in ROWS if row.lines) == sorted(CHECKS)


def test_a_row_without_a_line_says_why():
    assert [row.name for row in ROWS if not row.lines and len(row.why) < 5] == []


def names_in(pattern, *headers):
    text = "".join(open(f"/usr/include/{header}").read() for header in headers)
    found = set(re.findall(pattern, text, re.M))
    assert len(found) > 5, f"{headers} has nothing of that kind"
    return found


def test_every_flag_there_is_has_a_row():
    have = {name for row in ROWS for name in row.name.split(", ")}
    rfork = set("RFPROC RFNOWAIT RFNAMEG RFCNAMEG RFENVG RFCENVG RFNOTEG RFFDG RFCFDG RFREND RFMEM".split())
    clone = names_in(r"^#define (CLONE_\w+)", "linux/sched.h") - {f"CLONE_ARGS_SIZE_VER{n}" for n in range(9)}
    fields = names_in(r"^\t__aligned_u64 (\w+);", "linux/sched.h")
    spawn = names_in(r"define (POSIX_SPAWN_\w+)", "spawn.h")
    actions = names_in(r"posix_spawn_file_actions_(add\w+)", "spawn.h")
    assert (rfork | clone | fields | spawn | actions) - have == set()


# --- oracles --------------------------------------------------------------------------------------------------------

FILE, VM, FILES, FS, SIGHAND, IO, SYSVSEM = range(7)  # what kcmp(2) compares


def same(kind, one, two, first=0, second=0):
    """Whether two processes or threads have the very same object, as kcmp(2) says."""
    KCMP = 312
    answer = libc.syscall(KCMP, *map(ctypes.c_long, (one, two, kind, first, second)))
    if answer < 0:
        raise OSError(ctypes.get_errno(), "kcmp")
    return answer == 0


def namespace(case, kind):
    return os.readlink(f"/proc/{case.pid}/ns/{kind}") != os.readlink(f"/proc/{case.other.pid}/ns/{kind}")


def parent(pid):
    return int(kernel_status(pid, "PPid"))


def tasks(pid):
    return sorted(map(int, os.listdir(f"/proc/{pid}/task")))


# --- rfork ----------------------------------------------------------------------------------------------------------

@check("RFPROC")
def _(case):
    case.say()
    assert kernel_status(case.pid, "Tgid") == str(case.pid)
    assert case.job.read("ctl") == f"{case.pid} embryo\n"
    case.enter()
    assert [(r.start, r.prot) for r in kernel_maps(case.pid)] == [(CODE_2, "r-xp")]


@check("RFNOWAIT", "CLONE_PARENT")
def _(case):
    case.say()
    assert parent(case.pid) == parent(case.other.pid) == case.mount.pid
    with pytest.raises(ChildProcessError):
        os.waitpid(case.pid, os.WNOHANG)


@check("RFNAMEG", "CLONE_NEWNS")
def _(case):
    case.say()
    assert namespace(case, "mnt")
    before = read(f"/proc/{case.other.pid}/mountinfo")
    case.job.tell("mount none /mnt tmpfs")
    assert " /mnt " in read(f"/proc/{case.pid}/mountinfo")
    assert read(f"/proc/{case.other.pid}/mountinfo") == before


@check("RFCNAMEG")
def _(case):
    case.say()
    assert os.listdir(f"/proc/{case.pid}/root/") == []
    assert len(read(f"/proc/{case.pid}/mountinfo").splitlines()) == 1


@check("RFNOMNT")
def _(case):
    """Each call with wrong arguments: whatever it would answer, it is not EPERM."""
    numbers = {"mount": 165, "umount2": 166, "pivot_root": 155, "move_mount": 429, "fsmount": 432, "open_tree": 428,
               "mount_setattr": 442}
    case.say()
    script = ("import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
              f"for n in {sorted(numbers.values())}:\n"
              "    libc.syscall(*map(ctypes.c_long, (n, -1, 0, -1, 0, 0, 0)))\n    print(ctypes.get_errno())\n")
    (case.tmp / "program.py").write_text(script)
    case.output()
    case.job.tell(f"exec /usr/bin/python3 -I -S {case.tmp}/program.py")
    assert case.status() == ""
    assert case.printed().split() == ["1"] * len(numbers)


@check("RFENVG")
def _(case):
    case.say()
    case.job.tell("exec /bin/sleep 1000")
    assert read(f"/proc/{case.pid}/environ").split("\0")[:-1]
    assert sorted(read(f"/proc/{case.pid}/environ").split("\0")) == sorted(read("/proc/self/environ").split("\0"))


@check("RFCENVG")
def _(case):
    case.job.tell("env A=1", "env B=2")
    case.say()
    case.job.tell("exec /bin/sleep 1000")
    assert read(f"/proc/{case.pid}/environ") == ""


@check("RFNOTEG", "POSIX_SPAWN_SETPGROUP")
def _(case):
    case.say()
    assert os.getpgid(case.pid) == case.pid != os.getpgid(case.other.pid)


@check("RFFDG")
def _(case):
    (case.tmp / "file").touch()
    fd = os.open(case.tmp / "file", os.O_RDONLY)
    closed = os.open(case.tmp / "file", os.O_RDONLY)  # close-on-exec, as Python opens
    try:
        os.set_inheritable(fd, True)
        case.say()
        assert same(FILE, case.pid, os.getpid(), fd, fd)
        case.enter()
        assert kernel_fds(case.pid).get(fd) == str(case.tmp / "file")
        assert closed not in kernel_fds(case.pid)
        assert not same(FILES, case.pid, os.getpid()), "a copy"
    finally:
        os.close(fd)
        os.close(closed)


@check("RFCFDG")
def _(case):
    case.say()
    case.job.tell("exec /bin/sleep 1000")
    assert case.eventually(lambda: kernel_fds(case.pid) == {})


@check("RFREND", "CLONE_NEWIPC")
def _(case):
    case.say()
    assert namespace(case, "ipc")


@check("RFMEM", "CLONE_VM")
def _(case):
    """What one stores the other has."""
    case.say()
    case.other.tell(f"map {DATA:#x} 4K rw-")
    code.load(case.other, bytes.fromhex("48893e") + code.PAUSE_FOR_EVER)  # mov [rsi], rdi
    assert same(VM, case.pid, case.other.pid)
    case.other.tell(f"entry {CODE:#x} arg0=77 arg1={DATA:#x}")
    case.job.tell(f"entry {CODE:#x} arg0=78 arg1={DATA + 8:#x}")
    assert case.eventually(lambda: (case.word(DATA), case.word(DATA + 8, case.other.pid)) == (77, 78))


# --- clone ----------------------------------------------------------------------------------------------------------

@check("CLONE_FS")
def _(case):
    case.say()
    case.other.tell("chdir /usr", "umask 0123")
    assert same(FS, case.pid, case.other.pid)
    assert (os.readlink(f"/proc/{case.pid}/cwd"), kernel_status(case.pid, "Umask")) == ("/usr", "0123")


@check("CLONE_FILES")
def _(case):
    case.say()
    case.other.tell("fd 5 open /dev/null r")
    assert same(FILES, case.pid, case.other.pid)
    assert kernel_fds(case.pid).get(5) == "/dev/null"


@check("CLONE_SIGHAND")
def _(case):
    case.say()
    case.other.tell("sigignore HUP")
    assert same(SIGHAND, case.pid, case.other.pid)
    assert kernel_status(case.pid, "SigIgn") == "0000000000000001"


@check("CLONE_CLEAR_SIGHAND")
def _(case):
    """The writer ignores HUP and handles INT."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        case.say()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert [int(kernel_status(case.pid, key), 16) for key in ("SigIgn", "SigCgt", "SigBlk")] == [0, 0, 0]
    assert int(kernel_status("self", "SigCgt"), 16) != 0


@check("CLONE_THREAD")
def _(case):
    case.load()
    case.say()
    case.enter()
    assert kernel_status(case.pid, "Threads") == "2"
    thread = max(set(tasks(case.pid)) - {case.pid})
    assert kernel_status(thread, "Tgid") == str(case.pid)
    assert case.eventually(lambda: read(f"/proc/{case.pid}/task/{thread}/syscall").startswith("34 ")), "it pauses"


@check("CLONE_SYSVSEM")
def _(case):
    """clone(2) with that flag makes the list if there is none; one without any is not the same."""
    case.say()
    assert len(tasks(case.pid)) == 2
    assert same(SYSVSEM, *tasks(case.pid))
    assert not same(SYSVSEM, case.pid, case.other.pid)


@check("CLONE_VFORK")
def _(case):
    case.say()
    assert case.runs("/bin/sleep"), "at once"
    assert case.other.ask("exec /nonexistent") == "ENOENT"


PTRACE_SEIZE, PTRACE_DETACH, PTRACE_O_TRACECLONES = 0x4206, 17, 0x2 | 0x4 | 0x8  # fork, vfork, clone


def ptrace(request, pid, data=0):
    libc.ptrace.argtypes = [ctypes.c_long] * 4
    if libc.ptrace(request, pid, 0, data) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")


@check("CLONE_PTRACE")
def _(case):
    case.output()
    case.say()
    case.job.tell("exec /bin/echo ran")
    assert case.eventually(lambda: kernel_status(case.pid, "State")[0] == "T")
    assert (case.printed(), kernel_status(case.pid, "TracerPid")) == ("", "0")
    ptrace(PTRACE_SEIZE, case.pid)
    assert kernel_status(case.pid, "TracerPid") == str(os.getpid())
    assert case.eventually(lambda: kernel_status(case.pid, "State")[0] == "t"), "it can be examined"
    ptrace(PTRACE_DETACH, case.pid)
    case.job.tell("start")
    case.ends_as("ran\n")


@check("CLONE_UNTRACED")
def _(case):
    """Said by a shell all of whose children its tracer would get."""
    line, = case.lines
    shell = subprocess.Popen(["/bin/sh", "-c", f"read go; echo '{line}' > {case.mount.P('ctl')}; read go"], stdin=subprocess.PIPE)
    try:
        assert case.eventually(lambda: case_runs_shell(shell.pid))
        ptrace(PTRACE_SEIZE, shell.pid, PTRACE_O_TRACECLONES)
        case.said = True
        shell.stdin.write(b"\n")
        shell.stdin.flush()
        assert case.eventually(lambda: os.path.islink(case.mount.P("job")))
        assert kernel_status(shell.pid, "TracerPid") == str(os.getpid())
        assert kernel_status(case.pid, "TracerPid") == "0"
    finally:
        shell.kill()
        shell.stdin.close()
        shell.wait()


def case_runs_shell(pid):
    return not os.path.realpath(f"/proc/{pid}/exe").endswith(os.path.basename(os.path.realpath("/proc/self/exe")))


@check("CLONE_PIDFD", "pidfd_spawn, pidfd_spawnp")
def _(case):
    number = int(case.say())
    case.load(code.EXIT_WITH_RDI)
    fd = os.pidfd_open(number)
    try:
        assert select.select([fd], [], [], 0)[0] == []
        case.job.tell(f"entry {CODE:#x} arg0=3")
        assert select.select([fd], [], [], case.patience)[0] == [fd]
    finally:
        os.close(fd)
    assert case.status() == "exit 3"


@check("CLONE_PARENT_SETTID")
def _(case):
    assert case.say() == f"{case.pid}\n"


@check("CLONE_CHILD_SETTID")
def _(case):
    case.job.tell(f"map {DATA:#x} 4K rw-")
    case.say()
    case.enter()
    assert case.word(DATA) == case.pid


@check("CLONE_CHILD_CLEARTID")
def _(case):
    case.job.tell("exec /bin/sleep 0.2")
    pid = case.pid
    assert parse_wait(case.say())[::4] == (pid, "")
    assert case.eventually(lambda: not os.path.exists(f"/proc/{pid}"))


LOAD_TLS = bytes.fromhex("64488b042500000000") + code.store("rax", DATA + 8) + code.PAUSE_FOR_EVER  # mov rax, fs:[0]


def word_at_tls(case):
    case.job.tell(f"map {DATA:#x} 4K rw-")
    with open(case.job.P("mem", f"{DATA:x}"), "r+b") as f:
        f.write(struct.pack("<Q", 77))
    case.load(LOAD_TLS)
    case.say()


@check("CLONE_SETTLS")
def _(case):
    word_at_tls(case)
    case.enter()
    assert case.eventually(lambda: case.word(DATA + 8) == 77)


@check("tls")
def _(case):
    word_at_tls(case)
    case.job.tell(f"entry {CODE:#x}")
    assert case.eventually(lambda: case.word(DATA + 8) == 77)


@check("CLONE_NEWUTS")
def _(case):
    case.say()
    assert namespace(case, "uts")
    case.job.tell("hostname proc9-idiom")
    assert os.uname().nodename != "proc9-idiom"


@check("CLONE_NEWUSER")
def _(case):
    case.say()
    assert namespace(case, "user")
    case.job.tell(f"idmap uid 0 {os.getuid()} 1")
    assert read(f"/proc/{case.pid}/uid_map").split() == ["0", str(os.getuid()), "1"]


@check("CLONE_NEWPID")
def _(case):
    case.say()
    assert kernel_status(case.pid, "NSpid").split() == [str(case.pid), "1"]
    assert case.program("echo $$") == "1\n"


@check("CLONE_NEWNET")
def _(case):
    case.say()
    assert namespace(case, "net")
    case.enter()
    assert len(read(f"/proc/{case.pid}/net/route").splitlines()) <= 1, "a heading and no route"


@check("CLONE_NEWCGROUP")
def _(case):
    case.say()
    assert namespace(case, "cgroup")


@check("CLONE_NEWTIME")
def _(case):
    case.say()
    case.job.tell("exec /bin/sleep 1000")
    assert namespace(case, "time")


@check("CLONE_INTO_CGROUP", "POSIX_SPAWN_SETCGROUP", "cgroup")
def _(case):
    case.say()
    line, = case.lines
    place = line.split("/")[-1]
    assert re.search(rf":/{place}$", read(f"/proc/{case.pid}/cgroup"), re.M)
    assert case.program("cat /proc/self/cgroup").count(f"/{place}\n") == 1


@check("CLONE_AUTOREAP")
def _(case):
    case.job.tell("exec /bin/true")
    pid = case.pid
    assert eventually(lambda: case.job.read("ctl") == f"{pid} exited\n")
    assert os.path.exists(f"/proc/{pid}"), "a zombie"
    case.say()
    assert case.eventually(lambda: not os.path.exists(f"/proc/{pid}"))
    assert not os.path.lexists(case.mount.P("job"))


@check("CLONE_NNP")
def _(case):
    case.say()
    assert case.program("grep ^NoNewPrivs: /proc/self/status") == "NoNewPrivs:\t1\n"


@check("CLONE_PIDFD_AUTOKILL")
def _(case):
    case.say()
    assert case.status() == "signal 9 KILL"


# --- the arguments of clone -----------------------------------------------------------------------------------------

@check("fn, arg")
def _(case):
    case.load(code.EXIT_WITH_RDI)
    case.say()
    assert case.status() == "exit 7"


@check("pidfd")
def _(case):
    case.enter()
    case.say()
    assert case.status() == "signal 9 KILL"


@check("child_tid")
def _(case):
    case.job.tell(f"map {DATA:#x} 4K rw-")
    case.load(code.store("rdi", DATA) + code.PAUSE_FOR_EVER)
    case.say()
    assert case.eventually(lambda: case.word(DATA) == case.pid)


@check("parent_tid")
def _(case):
    thread = int(case.say())
    assert tasks(case.pid) == sorted([case.pid, thread])


@check("exit_signal")
def _(case):
    """The shell gets a signal, and then the process is at its end."""
    case.job.tell("exec /bin/sleep 0.2")
    pid = case.pid
    assert case.say() == "ended\n"
    assert case.eventually(lambda: not os.path.exists(f"/proc/{pid}"))


@check("stack")
def _(case):
    case.job.tell(f"map {DATA:#x} 4K rw-")
    case.load(b"\x6a\x05" + code.store("rsp", DATA) + code.PAUSE_FOR_EVER)  # push 5
    case.say()
    assert case.eventually(lambda: case.word(DATA) == STACK - 8)
    assert case.word(STACK - 8) == 5


@check("stack_size")
def _(case):
    case.say()
    case.enter()
    assert (STACK - 0x10000, STACK, "rw-p") in [(r.start, r.end, r.prot) for r in kernel_maps(case.pid)]


@check("set_tid")
def _(case):
    case.say()
    line, = case.lines
    assert case.pid == int(line.split("=")[1])
    assert kernel_status(case.pid, "NSpid") == str(case.pid)
    assert write_ctl(case.mount.P("ctl"), f"efork pid={case.pid}\n") == "EEXIST"


@check("set_tid_size")
def _(case):
    case.say()
    line, = case.lines
    assert kernel_status(case.pid, "NSpid").split() == [line.split("=")[2], "1"]


# --- fork, vfork, exec ----------------------------------------------------------------------------------------------

@check("fork(2)")
def _(case):
    marked = ctypes.create_string_buffer(os.urandom(64), 1 << 20)
    at, was = ctypes.addressof(marked), marked.raw
    fd = os.open(case.tmp, os.O_RDONLY)
    os.set_inheritable(fd, True)
    try:
        case.say()
        with open(f"/proc/{case.pid}/mem", "rb", buffering=0) as memory:
            ctypes.memset(marked, 0, 64)
            memory.seek(at)
            assert memory.read(len(was)) == was, "its own, as it was"
        assert os.readlink(f"/proc/{case.pid}/cwd") == os.getcwd()
        assert same(FILE, case.pid, os.getpid(), fd, fd)
    finally:
        os.close(fd)
    assert sorted(f"{name}={case.job.read('env/' + name)}".rstrip("\n") for name in case.job.env()) == \
        sorted(filter(None, read("/proc/self/environ").split("\0")))


@check("fork(2) of an embryo")
def _(case):
    case.job.tell(f"map {DATA:#x} 4K rw-", "fd 5 open /dev/null r", "nice 3")
    case.say()
    second = case.mount.embryo("second")
    for e, number in ((case.job, 1), (second, 2)):
        with open(e.P("mem", f"{DATA:x}"), "r+b") as f:
            f.write(struct.pack("<Q", number))
    assert (case.word(DATA), case.word(DATA, second.pid)) == (1, 2)
    assert kernel_fds(second.pid)[5] == "/dev/null"
    assert os.getpriority(os.PRIO_PROCESS, second.pid) == 3


@check("vfork(2), then exec")
def _(case):
    case.say()
    assert case.status() == ""


@check("execv, execl", "execvp, execlp", "fexecve, execveat")
def _(case):
    case.output()
    case.say()
    case.ends_as("hello\n")


@check("execve, execle")
def _(case):
    case.say()
    assert read(f"/proc/{case.pid}/environ") == "A=1\0"
    assert case.runs("/bin/sleep")


@check("execvpe")
def _(case):
    case.say()
    assert sorted(read(f"/proc/{case.pid}/environ").split("\0")) == ["", "A=1", "PATH=/usr/bin:/bin"]
    assert case.runs("/bin/sleep")


@check("argv[0]")
def _(case):
    case.say()
    assert read(f"/proc/{case.pid}/cmdline") == "other-name\x001000\0"
    assert case.runs("/bin/sleep")


# --- posix_spawn ----------------------------------------------------------------------------------------------------

@check("posix_spawn")
def _(case):
    case.say()
    assert case.runs("/bin/sleep")
    assert sorted(read(f"/proc/{case.pid}/environ").split("\0")) == sorted(read("/proc/self/environ").split("\0"))
    assert os.readlink(f"/proc/{case.pid}/cwd") == os.getcwd()


@check("posix_spawnp")
def _(case):
    case.say()
    assert case.runs("/bin/sleep")
    assert read(f"/proc/{case.pid}/cmdline") == "sleep\x001000\0"


@check("POSIX_SPAWN_RESETIDS")
def _(case):
    case.say()
    case.job.tell("exec /bin/sleep 1000")
    assert [kernel_status(case.pid, key).split() for key in ("Uid", "Gid")] == [["1000"] * 4] * 2


@check("POSIX_SPAWN_SETSIGDEF")
def _(case):
    case.job.tell("sigignore HUP INT")
    case.say()
    case.job.tell("exec /bin/sleep 1000")
    assert kernel_status(case.pid, "SigIgn") == "0000000000000000"


@check("POSIX_SPAWN_SETSIGMASK")
def _(case):
    case.say()
    case.job.tell("exec /bin/sleep 1000")
    assert int(kernel_status(case.pid, "SigBlk"), 16) == 1 << signal.SIGUSR1 - 1 | 1 << signal.SIGTERM - 1


@check("POSIX_SPAWN_SETSCHEDPARAM")
def _(case):
    case.say()
    assert (os.sched_getscheduler(case.pid), os.sched_getparam(case.pid).sched_priority) == (os.SCHED_FIFO, 7)


@check("POSIX_SPAWN_SETSCHEDULER")
def _(case):
    case.say()
    assert os.sched_getscheduler(case.pid) == os.SCHED_BATCH


@check("POSIX_SPAWN_SETSID")
def _(case):
    case.say()
    assert os.getsid(case.pid) == os.getpgid(case.pid) == case.pid


@check("addopen")
def _(case):
    case.say()
    assert kernel_fds(case.pid).get(5) == "/etc/hostname"
    assert case.program("cat <&5") == read("/etc/hostname")


@check("addclose")
def _(case):
    case.job.tell("fd 4 open /dev/null r", "fd 5 open /dev/null r")
    case.say()
    case.enter()
    assert kernel_fds(case.pid) == {4: "/dev/null"}


@check("adddup2")
def _(case):
    case.job.tell("fd 5 open /dev/null r")
    case.say()
    assert same(FILE, case.pid, case.pid, 5, 6)


@check("addchdir_np", "addfchdir_np")
def _(case):
    case.say()
    assert case.program("pwd") == "/usr\n"


@check("addclosefrom_np")
def _(case):
    case.job.tell(*(f"fd {n} open /dev/null r" for n in (0, 1, 3, 7, 12)))
    case.say()
    case.enter()
    assert sorted(kernel_fds(case.pid)) == [0, 1]


@check("addtcsetpgrp_np")
def _(case):
    leader, terminal = os.openpty()
    try:
        case.say(stdin=terminal)
        assert os.getsid(case.pid) == case.pid
        fields = read(f"/proc/{case.pid}/stat").rsplit(")", 1)[1].split()
        assert (int(fields[4]), int(fields[5])) == (os.fstat(terminal).st_rdev, case.pid), "its terminal, and who is in front"
    finally:
        os.close(leader)
        os.close(terminal)


# --- system, popen, daemon ------------------------------------------------------------------------------------------

@check("system(3)")
def _(case):
    assert parse_wait(case.say()).status == "exit 3"


@check('popen(3), "r"')
def _(case):
    assert case.say() == "hello\n"
    assert case.status() == ""


@check('popen(3), "w"')
def _(case):
    case.output()
    case.say()
    case.ends_as("hello\n")


@check("daemon(3)")
def _(case):
    case.job.tell("chdir /usr")
    case.say()
    case.job.tell("exec /bin/sleep 1000")
    assert os.getsid(case.pid) == case.pid
    assert os.readlink(f"/proc/{case.pid}/cwd") == "/"
    assert case.eventually(lambda: kernel_fds(case.pid) == dict.fromkeys(range(3), "/dev/null"))
