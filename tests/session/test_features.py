"""What a builder must be able to set: the rows of docs/features.md that test_settings.py does not read back from a program,
or reads only for one of their words. Programs started by `exec` are Python, those started by `entry` a few bytes."""
import contextlib
import os
import re
import select
import shutil
import signal
import struct
import subprocess
from pathlib import Path

import pytest

import machine_code as code
from mount import alive, errno_of, eventually, kernel_status, read

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs/features.md"
ROOT = pytest.mark.mode("root")
USER = pytest.mark.mode("user")
KINDS = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")


def python(embryo, tmp_path, program, *commands):
    """What a Python program prints in a process with these settings, and STATUS. libc and prctl() are there."""
    (tmp_path / "program.py").write_text(
        "import ctypes, os, signal, sys\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "def prctl(*words): return libc.prctl(*map(ctypes.c_ulong, (*words, 0, 0, 0, 0)[:5]))\n" + program)
    embryo.tell(f"fd 1 open {tmp_path}/out w", "fd 2 dup 1", *commands)
    embryo.tell(f"exec /usr/bin/python3 -I -S {tmp_path}/program.py")
    status = embryo.wait().status
    return (tmp_path / "out").read_text().rstrip("\n"), status


def ask_kernel(number, *arguments):
    """Machine code that makes a system call and exits with the low byte of its result."""
    move = {0: 0xBF, 1: 0xBE, 2: 0xBA}  # mov edi / esi / edx
    text = struct.pack("<BI", 0xB8, number)
    for n, value in enumerate((*arguments, 0, 0, 0)[:3]):
        text += struct.pack("<BI", move[n], value)
    return text + bytes.fromhex("4d31d2 4d31c0 0f05 89c7 b8e7000000 0f05")  # r10 = r8 = 0; exit_group(rax)


PRCTL, MPROTECT = 157, 10
RDTSC = bytes.fromhex("0f31 31ff b8e7000000 0f05")  # rdtsc; exit_group(0)


def entry(embryo, text, *commands):
    """STATUS of a process made of this machine code and started with these settings."""
    code.load(embryo, text)
    embryo.tell(*commands, f"entry {code.CODE:#x}")
    return embryo.wait().status


def paused(embryo, *commands):
    """An entry-started process that does nothing, to be looked at from outside."""
    code.load(embryo, code.PAUSE_FOR_EVER)
    embryo.tell(*commands, f"entry {code.CODE:#x}")
    return embryo.pid


def has_capability(number):
    return int(kernel_status("self", "CapEff"), 16) >> number & 1


def user_first(mode):
    """What an ordinary user says first to be allowed what needs privilege."""
    if mode == "root":
        return ()
    return "ns new user", f"idmap uid 0 {os.getuid()} 1", f"idmap gid 0 {os.getgid()} 1"


# --- programs and directories ---------------------------------------------------------------------------------------

def test_argv0_may_differ_from_the_path(embryo):
    embryo.tell("args other-name 1000", "exec /bin/sleep")
    assert read(f"/proc/{embryo.pid}/cmdline") == "other-name\x001000\x00"
    assert os.path.basename(os.readlink(f"/proc/{embryo.pid}/exe")) in ("sleep", "coreutils")


def test_exec_by_descriptor_of_a_file_that_has_no_name_any_more(embryo, tmp_path):
    shutil.copy("/bin/echo", tmp_path / "program")
    embryo.tell(f"fd 5 open {tmp_path}/program r")
    (tmp_path / "program").unlink()
    assert embryo.run("exec fd:5 unlinked") == ("unlinked\n", "")


def test_cwd_by_descriptor_follows_the_directory_not_its_name(embryo, tmp_path):
    (tmp_path / "before").mkdir()
    fd = os.open(tmp_path / "before", os.O_RDONLY | os.O_DIRECTORY)
    embryo.tell(f"fd 3 self:{fd}")
    os.close(fd)
    (tmp_path / "before").rename(tmp_path / "after")
    embryo.tell("chdir /proc/self/fd/3", "fd 3 close")
    assert embryo.run("exec /bin/pwd")[0] == f"{tmp_path}/after\n"


def test_chroot_is_the_root_of_the_program(embryo, tmp_path, mode):
    shutil.copy("/bin/busybox", tmp_path / "sh")
    embryo.tell(*user_first(mode))
    assert embryo.ask(f"fd 1 open {tmp_path}/out w") > 0
    embryo.tell(f"chroot {tmp_path}", "exec /sh -c 'cd ..; echo /*'")
    assert embryo.wait().status == ""
    assert (tmp_path / "out").read_text() == "/out /sh\n"


# --- namespaces -----------------------------------------------------------------------------------------------------

def namespaces(pid):
    return {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in KINDS}


def test_all_eight_namespaces_are_new(mount):
    mount.out(f"echo 'efork all ns={','.join(KINDS)}' > $PROC9/ctl")
    box = mount.embryo("all")
    box.tell("exec /bin/sleep 1000")
    ours, theirs = namespaces("self"), namespaces(box.pid)
    assert [kind for kind in KINDS if ours[kind] == theirs[kind]] == []
    assert kernel_status(box.pid, "NSpid").split()[1:] == ["1"]


def test_every_namespace_but_pid_can_be_joined(mount):
    host, guest = mount.efork(), mount.efork()
    kinds = [kind for kind in KINDS if kind not in ("user", "pid", "mnt")]
    host.tell("ns new user", "ns new mnt," + ",".join(kinds), "exec /bin/sleep 1000")
    guest.tell(*(f"ns join {kind} /proc/{host.pid}/ns/{kind}" for kind in ("user", *kinds, "mnt")), "exec /bin/sleep 1000")
    theirs = namespaces(host.pid)
    assert namespaces(guest.pid) == theirs | {"pid": os.readlink("/proc/self/ns/pid")}


def test_a_pid_namespace_cannot_be_joined_and_it_says_why(mount, embryo):
    other = mount.efork()
    assert embryo.ask(f"ns join pid /proc/{other.pid}/ns/pid") == "EINVAL"
    assert "at birth" in embryo.error()


# --- scheduling and memory ------------------------------------------------------------------------------------------

@ROOT
def test_a_deadline_policy(embryo, tmp_path):
    said, _ = python(embryo, tmp_path, """
import struct
text = ctypes.create_string_buffer(48)
libc.syscall(315, 0, text, 48, 0)  # sched_getattr
_, policy, _, _, _, *times = struct.unpack("=IIQiIQQQ", text.raw)
print(policy, *times)
""", "sched deadline runtime=1000000 deadline=20000000 period=30000000")
    assert said == "6 1000000 20000000 30000000"


@ROOT
def test_ioprio_realtime(embryo):
    embryo.tell("ioprio realtime 3")
    assert embryo.run("exec /usr/bin/ionice")[0] == "realtime: prio 3\n"


@USER
def test_ioprio_realtime_of_a_user_says_what_is_missing(embryo):
    assert embryo.ask("ioprio realtime 3") == "EPERM"
    assert "CAP_SYS_NICE" in embryo.error()


def test_oom_below_what_it_was_needs_a_capability(embryo):
    before = read(f"/proc/{embryo.pid}/oom_score_adj")
    answer = embryo.ask("oom -500")
    if has_capability(24):
        assert (answer, read(f"/proc/{embryo.pid}/oom_score_adj")) == (len("oom -500"), "-500\n")
    else:
        assert (answer, read(f"/proc/{embryo.pid}/oom_score_adj")) == ("EACCES", before)
        assert "oom" in embryo.error()


# --- signals, groups, terminals -------------------------------------------------------------------------------------

def test_the_parent_death_signal_is_the_programs(embryo, tmp_path):
    said, _ = python(embryo, tmp_path, "n = ctypes.c_int(); libc.prctl(2, ctypes.byref(n)); print(n.value)", "pdeathsig TERM")
    assert said == str(int(signal.SIGTERM))


def test_the_parent_death_signal_comes_when_the_daemon_dies(private_mount):
    mortal, other = private_mount.efork(), private_mount.efork()
    mortal.tell("pdeathsig KILL", "exec /bin/sleep 1000")
    other.tell("exec /bin/sleep 1000")
    try:
        private_mount.kill()
        assert eventually(lambda: not alive(mortal.pid))
        assert alive(other.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(other.pid, signal.SIGKILL)


@pytest.fixture
def terminal():
    master, slave = os.openpty()
    yield master, slave, os.ttyname(slave)
    os.close(master)
    os.close(slave)


def test_a_controlling_terminal_in_whose_foreground_the_program_is(embryo, terminal):
    master, slave, name = terminal
    embryo.tell("session", f"tty {name} foreground", f"fd 0 open {name} r+", "exec /bin/sleep 1000")
    group, session, tty, foreground = map(int, read(f"/proc/{embryo.pid}/stat").rsplit(")", 1)[1].split()[2:6])
    device = os.fstat(slave).st_rdev
    assert (group, session, foreground) == (embryo.pid,) * 3
    assert tty == (os.major(device) << 8 | os.minor(device) & 0xff | (os.minor(device) & ~0xff) << 12)
    os.write(master, b"\x03")  # goes to who is in the foreground
    assert embryo.wait().status == "signal 2 INT"


def test_a_terminal_without_a_session_is_refused(embryo, terminal):
    assert embryo.ask(f"tty {terminal[2]}") == "EPERM"
    assert "session" in embryo.error()


# --- prctl ----------------------------------------------------------------------------------------------------------

def test_dumpable_is_what_entry_starts_with(mount):
    get_dumpable = ask_kernel(PRCTL, 3)
    assert entry(mount.efork(), get_dumpable) == "exit 1"
    closed = mount.efork()
    code.load(closed, get_dumpable)
    closed.tell("prctl dumpable off")
    closed.tell(f"entry {code.CODE:#x}")
    assert closed.wait().status == ""


def test_mdwe_refuses_memory_that_becomes_executable(mount):
    make_writable_code = ask_kernel(MPROTECT, code.CODE, 4096, 7)
    assert entry(mount.efork(), make_writable_code) == ""
    forbidden = mount.efork()
    code.load(forbidden, make_writable_code)
    forbidden.tell("prctl mdwe on", "map 0x600000 4K rw-")
    assert forbidden.ask("protect 0x600000 4K r-x") == "EACCES"  # of the embryo, too
    forbidden.tell(f"entry {code.CODE:#x}")
    assert forbidden.wait().status == f"exit {256 - 13}"  # EACCES


def test_mdwe_survives_exec(embryo, tmp_path):
    assert python(embryo, tmp_path, "print(prctl(66))", "prctl mdwe on") == ("1", "")


def test_ksm_or_the_errno_that_says_why_not(mount):
    """Some kernels have none, some want CAP_SYS_RESOURCE for it."""
    embryo = mount.efork()
    answer = embryo.ask("prctl ksm on")
    if answer == len("prctl ksm on"):
        assert entry(embryo, ask_kernel(PRCTL, 68)) == "exit 1"
        assert entry(mount.efork(), ask_kernel(PRCTL, 68)) == ""
    else:
        assert answer == ("EPERM" if os.path.exists("/sys/kernel/mm/ksm") else "EINVAL")
        assert "prctl" in embryo.error()


# prctl(PR_GET_TSC, DATA); exit_group(*DATA)
GET_TSC = bytes.fromhex("b89d000000 bf19000000 be00006000 0f05 8b3c2500006000 b8e7000000 0f05")
READ_TSC_ALONE = """
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex("0f31 c3"))  # rdtsc; ret
read = ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
ctypes.CDLL(None).prctl(26, 2, 0, 0, 0)
read()
"""


def test_tsc_off_is_a_fault_to_who_reads_it(mount):
    """Some hypervisors let the instruction pass all the same; then any process that asked for the fault has none."""
    fault = {-11: "signal 11 SEGV", 0: ""}[subprocess.run(["/usr/bin/python3", "-c", READ_TSC_ALONE]).returncode]
    for commands, mode, outcome in ((), 1, ""), (("prctl tsc off",), 2, fault), (("prctl tsc off", "prctl tsc on"), 1, ""):
        map_data = f"map {code.DATA:#x} 4K rw-"
        assert entry(mount.efork(), GET_TSC, map_data, *commands) == f"exit {mode}"
        assert entry(mount.efork(), RDTSC, *commands) == outcome


def test_subreaper(embryo, tmp_path):
    # A grandchild whose parent has gone is the program's own.
    said, _ = python(embryo, tmp_path, """
end, other = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        os.read(end, 1)
        os.write(1, str(os.getppid()).encode())
        os._exit(0)
    os._exit(0)
os.wait()
os.write(other, b"x")
os.wait()
""", "prctl subreaper on")
    assert said == str(embryo.pid)


def test_the_session_keyring_is_the_programs(embryo, tmp_path):
    said, _ = python(embryo, tmp_path, """
text = ctypes.create_string_buffer(200)
libc.syscall(250, 6, -3, text, 200)  # KEYCTL_DESCRIBE of the session keyring
print(text.value.decode())
""", "keyring proc9-features")
    kind, uid, _, _, name = said.split(";")
    assert (kind, int(uid), name) == ("keyring", os.getuid(), "proc9-features")


def test_a_label_or_ENOTSUP_where_no_security_module_has_labels(embryo):
    try:
        with open("/proc/self/attr/current") as file:
            has_labels = bool(file.read())
    except OSError:
        has_labels = False
    answer = embryo.ask("label proc9-nonsense")
    if has_labels:
        assert answer in ("EINVAL", "EACCES", "EPERM", len("label proc9-nonsense"))
    else:
        assert answer in ("ENOTSUP", "EOPNOTSUPP")
        assert "no security module" in embryo.error()


# --- names, pids, starting ------------------------------------------------------------------------------------------

def test_comm_of_a_process_started_by_entry(embryo):
    assert read(f"/proc/{paused(embryo, 'comm worker-1')}/comm") == "worker-1\n"


def test_exe_of_a_process_started_by_entry(embryo, tmp_path, mode):
    shutil.copy("/bin/true", tmp_path / "looks-like-this")
    pid = paused(embryo, *user_first(mode), f"exe {tmp_path}/looks-like-this")
    assert os.readlink(f"/proc/{pid}/exe") == f"{tmp_path}/looks-like-this"
    assert os.readlink(embryo.P("exe")) == f"{tmp_path}/looks-like-this"


@USER
def test_exe_of_a_user_says_what_is_missing(embryo):
    assert embryo.ask("exe /bin/true") == "EPERM"
    assert "CAP_CHECKPOINT_RESTORE" in embryo.error()


@ROOT
def test_a_chosen_pid_is_what_the_program_has(mount):
    wanted = next(n for n in range(29000, 31000) if not os.path.exists(f"/proc/{n}"))
    mount.out(f"echo 'efork chosen pid={wanted}' > $PROC9/ctl")
    assert mount.embryo("chosen").run("exec /bin/sh -c 'echo $$'") == (f"{wanted}\n", "")


def test_a_pid_in_use_is_EEXIST_and_one_of_a_user_is_EPERM(mount, mode):
    answer = errno_of(Path(mount.P("ctl")).write_text, f"efork pid={os.getpid()}")
    assert answer == ("EEXIST" if mode == "root" else "EPERM")
    assert "pid" in read(mount.P("error"))


def test_hang_before_the_first_instruction_of_an_entry(embryo):
    code.load(embryo, code.hello(b"", 7))
    embryo.tell("hang", f"entry {code.CODE:#x}")
    assert eventually(lambda: kernel_status(embryo.pid, "State")[0] == "T")
    pointer = read(f"/proc/{embryo.pid}/syscall").split()[-1]
    assert int(pointer, 16) == code.CODE
    embryo.tell("start")
    assert embryo.wait().status == "exit 7"


def test_a_pidfd_of_the_number_of_the_directory(embryo):
    fd = os.pidfd_open(int(os.path.basename(embryo.dir)))
    try:
        embryo.tell("exec /bin/sleep 1000")
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        assert poll.poll(0) == []
        signal.pidfd_send_signal(fd, signal.SIGTERM)
        assert poll.poll(5000) == [(fd, select.POLLIN)]
        assert embryo.wait().status == "signal 15 TERM"
    finally:
        os.close(fd)


# --- the page ---------------------------------------------------------------------------------------------------------

def page_rows():
    """The cells of each row of the table; a bar inside a cell is written \\|."""
    rows = [line for line in PAGE.read_text().splitlines() if re.match(r"\| \d", line)]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def test_the_page_has_36_rows_with_a_test_and_a_state_each():
    rows = page_rows()
    assert [int(row[0]) for row in rows] == list(range(1, 37))
    assert [row[0] for row in rows if len(row) != 6 or "::" not in row[4] or not row[5]] == []


def test_every_test_that_the_page_names_exists():
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`(?: \(([^)]*)\))?", PAGE.read_text())
    texts = {file: (HERE / file).read_text() for file in {file for file, _, _ in named}}
    assert [f"{f}::{test}" for f, test, _ in named if not re.search(rf"^def {test}\(", texts[f], re.M)] == []
    cases = [(f, case) for f, _, list_ in named for case in filter(None, list_.split(", "))]
    assert [case for f, case in cases if not re.search(rf'^    "{case}": \(', texts[f], re.M)] == []


@pytest.mark.mode("root")
@pytest.mark.parametrize("way", ["efork a ns=mnt", "efork a\nns new mnt"])
def test_what_is_mounted_in_a_new_namespace_stays_there_where_mounts_are_shared(mount, tmp_path, way):
    (tmp_path / "target").mkdir()
    script = f"""
        mount --make-rshared /
        printf '%s\\n' 'efork a{way[7:]}' > $PROC9/ctl
        echo 'mount none {tmp_path}/target tmpfs' > $PROC9/a/ctl
        grep -c {tmp_path}/target /proc/self/mountinfo
        grep -c {tmp_path}/target /proc/$(readlink $PROC9/a)/mountinfo"""
    done = subprocess.run(["unshare", "-m", "--propagation", "private", "sh", "-c", f"""
        mkdir -p {tmp_path}/m && mount --make-rshared / && {mount.program} {tmp_path}/m || exit
        PROC9={tmp_path}/m; {script}; umount -l {tmp_path}/m"""], capture_output=True, text=True, timeout=20)
    assert done.stdout == "0\n1\n", done


def test_cwd_is_a_directory_that_the_caller_has_open(embryo, tmp_path):
    (tmp_path / "old").mkdir()
    directory = os.open(tmp_path / "old", os.O_RDONLY)
    (tmp_path / "old").rename(tmp_path / "new")
    os.unlink(embryo.P("cwd"))
    os.symlink(f"/proc/self/fd/{directory}", embryo.P("cwd"))
    os.close(directory)
    assert os.readlink(f"/proc/{embryo.pid}/cwd") == str(tmp_path / "new")
