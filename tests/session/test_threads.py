"""thread: more threads, each with its registers, started together with the first."""
import os
import signal
import struct
import time

import pytest

import machine_code as code
from mount import errno_of, eventually, kernel_maps, kernel_status, read

FLAGS = code.DATA

# [arg1 + 8 * arg0] = value at tls; [arg2] += 1, atomically; exit, of this thread only
WORKER = bytes.fromhex("64488b042500000000" "488904fe" "f0 48ff02" "b83c000000 31ff 0f05")


def wait_for(address, number):
    """Until the number at the address is that; exit_group(0)."""
    return (b"\x48\x81\x3c\x25" + struct.pack("<II", address, number)     # cmp qword [address], number
            + bytes.fromhex("75f2" "31ff b8e7000000 0f05"))              # jne to the start; exit_group(0)


def thread(embryo, line):
    """Through one open ctl: the command, then the id of the new thread."""
    fd = os.open(embryo.P("ctl"), os.O_RDWR)
    try:
        os.write(fd, f"thread {line}\n".encode())
        return int(os.pread(fd, 64, 0).split()[2])
    finally:
        os.close(fd)


def tasks(embryo):
    return sorted(map(int, os.listdir(embryo.P("task"))))


def numbers(embryo, address, count):
    with open(embryo.P("mem", f"{address:x}"), "rb") as f:
        return struct.unpack(f"<{count}Q", f.read(8 * count))


def test_eight_threads_of_machine_code(embryo):
    """Seven store what their tls points to and count up; the first one ends the process when all have."""
    embryo.tell(f"map {FLAGS:#x} 4K rw- shared", "map 0x700000 4K rw-")
    with open(embryo.P("mem", "700000"), "r+b") as f:
        f.write(struct.pack("<8Q", *range(100, 108)))
    code.load(embryo, wait_for(FLAGS, 7))
    code.load(embryo, WORKER, 0x500000)
    made = [thread(embryo, f"0x500000 tls={0x700000 + 8 * n:#x} arg0={n} arg1={FLAGS:#x} arg2={FLAGS:#x}") for n in range(1, 8)]
    assert tasks(embryo) == sorted([embryo.pid, *made]) == sorted(map(int, os.listdir(f"/proc/{embryo.pid}/task")))
    view = os.open(embryo.P("mem", f"{FLAGS:x}"), os.O_RDONLY)
    embryo.tell(f"entry {code.CODE:#x}")
    assert embryo.wait().status == ""
    assert struct.unpack("<8Q", os.pread(view, 64, 0)) == (7, *range(101, 108))
    os.close(view)


def test_killed_amid_entry_nothing_hangs_and_no_thread_is_left(mount):
    for n in range(6):
        e = mount.efork()
        code.load(e, code.PAUSE_FOR_EVER)
        for _ in range(20):
            e.tell(f"thread {code.CODE:#x}")
        killer = os.fork()
        if killer == 0:
            time.sleep(n * 0.002)
            os.kill(e.pid, signal.SIGKILL)
            os._exit(0)
        start = time.monotonic()
        e.ask(f"entry {code.CODE:#x}")
        assert time.monotonic() - start < 20
        os.waitpid(killer, 0)
        assert eventually(lambda: not os.path.exists(f"/proc/{e.pid}/task") or len(os.listdir(f"/proc/{e.pid}/task")) == 1)
        assert eventually(lambda: "embryo" not in read(e.P("ctl")) if e.exists() else True)


@pytest.mark.parametrize("what, status", [("exit_group", "exit 7"), ("fault", "signal 11 SEGV")])
def test_who_ends_at_once_with_all_threads_was_started(mount, what, status):
    """The first thread may have ended the others before they are let go."""
    exit_group = bytes.fromhex("bf07000000 b8e7000000 0f05")
    for n in (1, 2, 4, 8, 8, 8):
        e = mount.efork()
        code.load(e, exit_group)
        if what == "fault":
            e.tell(f"protect {code.CODE:#x} 4K r--")
        e.tell(*[f"thread {code.CODE:#x}"] * n)
        e.tell(f"entry {code.CODE:#x}")
        assert e.wait().status == status


def test_killed_while_threads_are_made_the_daemon_lives(mount):
    for n in range(15):
        e = mount.efork()
        killer = os.fork()
        if killer == 0:
            time.sleep(n * 0.0004)
            os.kill(e.pid, signal.SIGKILL)
            os._exit(0)
        fd = os.open(e.P("ctl"), os.O_WRONLY)
        assert errno_of(os.write, fd, f"thread {code.CODE:#x}\n".encode() * 100) in ("success", "ESRCH")
        os.close(fd)
        os.waitpid(killer, 0)
    assert mount.running()


def test_nothing_of_proc9_is_left_with_threads(embryo):
    code.load(embryo, code.PAUSE_FOR_EVER)
    for _ in range(3):
        thread(embryo, f"{code.CODE:#x}")
    embryo.tell(f"entry {code.CODE:#x}")
    assert [(r.start, r.prot) for r in kernel_maps(embryo.pid)] == [(code.CODE, "r-xp")]
    for task in os.listdir(f"/proc/{embryo.pid}/task"):
        assert eventually(lambda: read(f"/proc/{embryo.pid}/task/{task}/syscall").startswith("34 "))
        assert kernel_status(f"{embryo.pid}/task/{task}", "TracerPid") == "0"
    assert kernel_status(embryo.pid, "Threads") == "4"
    assert "Threads:\t4" in embryo.read("status")


def test_regs_of_a_thread_are_its_own(embryo):
    tid = thread(embryo, "0x500000 sp=0x700000 tls=0x800000 arg0=1")
    first = embryo.read("regs")
    regs = dict(line.split() for line in embryo.read(f"task/{tid}/regs").splitlines())
    assert (regs["rip"], regs["rsp"], regs["fs_base"], regs["rdi"]) == ("0x500000", "0x700000", "0x800000", "0x1")
    embryo.write(f"task/{tid}/regs", "rdi 0x2\nrbx 3\n")
    assert "rdi 0x2\n" in embryo.read(f"task/{tid}/regs")
    assert embryo.read("regs") == first == embryo.read(f"task/{embryo.pid}/regs")
    assert f"Pid:\t{tid}" in embryo.read(f"task/{tid}/status")
    assert errno_of(embryo.write, f"task/{tid}/regs", "rzz 1\n") == "EINVAL"


@pytest.mark.parametrize("line", ["thread", "thread x", "thread 0x400000 arg9=1", "thread 0x800000000000"])
def test_words_that_are_none_are_EINVAL_and_make_no_thread(embryo, line):
    assert embryo.ask(line) == "EINVAL"
    assert tasks(embryo) == [embryo.pid]


# --- settings concern all threads -----------------------------------------------------------------------------------

def test_a_setting_after_the_thread_reaches_it_too(embryo):
    code.load(embryo, code.PAUSE_FOR_EVER)
    embryo.tell(f"thread {code.CODE:#x} arg0=5", "sigmask USR1", "nice 7", "nonewprivs", "umask 027", "sched batch")
    tid = max(set(tasks(embryo)) - {embryo.pid})
    assert "rdi 0x5\n" in embryo.read(f"task/{tid}/regs")
    embryo.tell(f"entry {code.CODE:#x}")
    for key in ("SigBlk", "NoNewPrivs", "Umask", "Seccomp", "CapEff", "Uid"):
        assert kernel_status(f"{embryo.pid}/task/{tid}", key) == kernel_status(embryo.pid, key), key
    assert kernel_status(f"{embryo.pid}/task/{tid}", "SigBlk") == "0000000000000200"
    assert os.getpriority(os.PRIO_PROCESS, tid) == 7
    assert os.sched_getscheduler(tid) == os.SCHED_BATCH


def test_a_filter_holds_for_all_threads(embryo):
    code.load(embryo, code.PAUSE_FOR_EVER)
    embryo.tell(f"thread {code.CODE:#x}", "nonewprivs", "seccomp deny mkdir", f"entry {code.CODE:#x}")
    for task in os.listdir(f"/proc/{embryo.pid}/task"):
        assert kernel_status(f"{embryo.pid}/task/{task}", "Seccomp") == "2"


@pytest.mark.mode("root")
def test_the_user_of_all_threads_changes(embryo):
    code.load(embryo, code.PAUSE_FOR_EVER)
    embryo.tell(f"thread {code.CODE:#x}", "ns new mnt,uts", "gid 1000", "uid 1000", f"entry {code.CODE:#x}")
    for task in os.listdir(f"/proc/{embryo.pid}/task"):
        assert kernel_status(f"{embryo.pid}/task/{task}", "Uid").split() == ["1000"] * 4
        assert os.readlink(f"/proc/{embryo.pid}/task/{task}/ns/uts") != os.readlink("/proc/self/ns/uts")


@pytest.mark.mode("root")
def test_in_a_pid_namespace_of_its_own(mount):
    embryo = mount.efork("ns=pid")
    code.load(embryo, code.PAUSE_FOR_EVER)
    embryo.tell(f"thread {code.CODE:#x}", "nice 3")
    assert len(tasks(embryo)) == 2
    embryo.tell(f"entry {code.CODE:#x}")
    assert kernel_status(embryo.pid, "Threads") == "2"


# --- the rest of life -----------------------------------------------------------------------------------------------

def test_hang_holds_all_threads(embryo):
    embryo.tell(f"map {FLAGS:#x} 4K rw- shared", "map 0x700000 4K rw-")
    code.load(embryo, wait_for(FLAGS, 3))
    code.load(embryo, WORKER, 0x500000)
    for n in range(1, 4):
        thread(embryo, f"0x500000 tls=0x700000 arg0={n} arg1={FLAGS:#x} arg2={FLAGS:#x}")
    embryo.tell("hang", f"entry {code.CODE:#x}")
    assert eventually(lambda: embryo.read("ctl").split()[1] == "stopped")
    assert numbers(embryo, FLAGS, 1) == (0,)
    embryo.tell("start")
    assert embryo.wait().status == ""


def test_exec_ends_the_others(embryo):
    for _ in range(3):
        thread(embryo, "0x500000")
    assert embryo.run("exec /bin/sh -c 'ls /proc/$$/task | wc -l'") == ("1\n", "")


def test_an_exec_that_fails_keeps_them(embryo):
    thread(embryo, "0x500000")
    assert embryo.ask("exec /nonexistent") == "ENOENT"
    assert len(tasks(embryo)) == 2


def test_a_fork_has_as_many_with_the_same_registers(embryo):
    tid = thread(embryo, "0x500000 arg0=9")
    embryo.tell("fork twin")
    twin = embryo.mount.embryo("twin")
    other = max(set(tasks(twin)) - {twin.pid})
    assert other != tid
    assert twin.read(f"task/{other}/regs") == embryo.read(f"task/{tid}/regs")


def test_the_hidden_pages_move_with_threads(embryo):
    thread(embryo, "0x500000")
    hidden = {r.start for r in kernel_maps(embryo.pid)}
    embryo.tell(f"map {min(hidden):#x} 4K rw-")
    assert embryo.ranges() == [(min(hidden), min(hidden) + 4096, "rw-")]
    assert len(tasks(embryo)) == 2


def test_kill_ends_all(embryo):
    thread(embryo, "0x500000")
    pid = embryo.pid
    embryo.tell("kill")
    assert eventually(lambda: not os.path.exists(f"/proc/{pid}"))


@pytest.mark.mode("root")
def test_threads_that_a_limit_forbids_are_made_when_it_is_lifted(embryo):
    """After a setting they are made anew, which the setting itself may forbid. What starts them needs them all."""
    code.load(embryo, code.PAUSE_FOR_EVER)
    thread(embryo, f"{code.CODE:#x}")
    embryo.tell("uid 1000")
    assert embryo.ask("limit NPROC 0:4096") == "EAGAIN"
    assert embryo.error().startswith("limit: ")
    embryo.tell("umask 22")
    assert tasks(embryo) == [embryo.pid]
    assert [embryo.ask(line) for line in (f"thread {code.CODE:#x}", f"entry {code.CODE:#x}")] == ["EAGAIN"] * 2
    embryo.tell("limit NPROC 4096")
    assert len(tasks(embryo)) == 2
    embryo.tell(f"entry {code.CODE:#x}")
    assert kernel_status(embryo.pid, "Threads") == "2"
