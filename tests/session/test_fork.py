"""fork: an embryo as a template. Memory that is the same until somebody writes, descriptors, settings, everything.
A hundred of them: test_scale.py."""
import mmap
import os
import signal
import time

import pytest

import machine_code as code
from mount import alive, children, errno_of, eventually, kernel_fds, kernel_maps, kernel_status, read

A, B = 0x600000, 0x700000
PAGE = 4096


def fork(embryo, name=""):
    """Through one open ctl: the command, then the id of the new one."""
    fd = os.open(embryo.P("ctl"), os.O_RDWR)
    try:
        os.write(fd, f"fork {name}\n".encode())
        made = int(os.pread(fd, 64, 0).split()[2])
    finally:
        os.close(fd)
    return type(embryo)(embryo.mount, made, name)


def mem(embryo, address):
    return embryo.P("mem", f"{address:x}")


def put(embryo, address, data):
    with open(mem(embryo, address), "r+b") as f:
        f.write(data)


def content(embryo, address, length=None):
    with open(mem(embryo, address), "rb") as f:
        return f.read(length)


# --- equal ----------------------------------------------------------------------------------------------------------

def test_a_fork_is_equal(embryo, tmp_path):
    (tmp_path / "file").write_text("0123456789")
    embryo.tell(f"map {A:#x} 8K rw-", f"map {B:#x} 4K r-- file /bin/true", "map vdso", "env A=1", "env B=2",
                "args one 'two words'", f"fd 3 open {tmp_path}/file r", "fd 4 dup 3", "fd 4 cloexec on", "reg rbx 7",
                f"chdir {tmp_path}", "umask 027", "limit NOFILE 50:60", "nice 5", "sigignore HUP", "sigmask USR1")
    put(embryo, A, b"filled")
    other = fork(embryo)
    assert other.read("maps") == embryo.read("maps")
    assert other.mem() == embryo.mem()
    assert content(other, A) == content(embryo, A)
    assert (other.env(), other.read("args"), other.read("regs")) == (embryo.env(), embryo.read("args"), embryo.read("regs"))
    assert other.fds() == embryo.fds()
    for name in ("cwd", "root"):
        assert os.readlink(other.P(name)) == os.readlink(embryo.P(name))
    for key in ("Umask", "SigIgn", "SigBlk", "Uid", "Gid", "CapEff", "NoNewPrivs"):
        assert kernel_status(other.pid, key) == kernel_status(embryo.pid, key)
    assert other.read("limits") == embryo.read("limits")
    assert "flags:\t02100000" in read(f"/proc/{other.pid}/fdinfo/4")
    assert len(kernel_fds(other.pid)) == 3, "3, 4 and the link"


def test_a_template_killed_amid_fork_leaves_no_zombie_of_the_daemon(mount):
    """What it had made by then is nobody's but the daemon's."""
    for n in range(60):
        template = mount.efork()
        fd = os.open(template.P("ctl"), os.O_WRONLY)
        killer = os.fork()
        if killer == 0:
            time.sleep(n % 12 * 0.0003)
            os.kill(template.pid, signal.SIGKILL)
            os._exit(0)
        while errno_of(os.write, fd, b"fork\n") == "success":
            pass
        os.close(fd)
        os.waitpid(killer, 0)
        mount.sweep()
    assert eventually(lambda: all(alive(pid) for pid in children(mount.pid)))

def test_a_region_opened_for_writing_is_the_instances_own_file(embryo):
    """While it is open for reading, too: that may keep showing what was common to both."""
    with open(mem(embryo, A), "wb") as f:
        f.write(b"template" * 1024)
    other = fork(embryo)
    with open(mem(other, A), "rb") as old, open(mem(other, A), "r+b") as new:
        assert (os.fstat(new.fileno()).st_size, new.seek(0, os.SEEK_END)) == (8192, 8192)
        new.truncate(4096)
        assert os.pwrite(new.fileno(), b"instance", 0) == 8
        assert os.pread(new.fileno(), 8, 0) == b"instance"
        assert os.pread(old.fileno(), 8, 0) in (b"template", b"instance")
    assert read(mem(embryo, A))[:8] == "template" and read(mem(other, A))[:8] == "instance"
    assert (os.stat(mem(embryo, A)).st_size, os.stat(mem(other, A)).st_size) == (8192, 4096)


def test_descriptors_are_duplicates(embryo, tmp_path):
    embryo.tell(f"fd 1 open {tmp_path}/out w")
    other = fork(embryo)
    embryo.tell("exec /bin/echo one")
    embryo.wait()
    other.tell("exec /bin/echo two")
    other.wait()
    assert (tmp_path / "out").read_text() == "one\ntwo\n", "one offset"


def test_both_run(embryo):
    embryo.tell("env WHO=both")
    other = fork(embryo, "second")
    assert os.readlink(embryo.mount.P("second")) == str(other.pid)
    assert other.run("exec /bin/sh -c 'echo $WHO; exit 3'") == ("both\n", "exit 3")
    assert embryo.run("exec /bin/sh -c 'echo $WHO; exit 4'") == ("both\n", "exit 4")


def test_what_the_kernel_does_not_hand_down_is_set_again(embryo):
    embryo.tell("session", "prctl subreaper 1", "sched batch reset-on-fork")
    other = fork(embryo)
    assert (os.getsid(other.pid), os.getpgid(other.pid)) == (other.pid, other.pid)
    assert os.sched_getscheduler(other.pid) == os.sched_getscheduler(embryo.pid)
    assert '"subreaper"' not in other.read("error")


def test_a_fork_of_a_fork_outlives_the_first(embryo):
    code.load(embryo, code.EXIT_WITH_RDI)
    second = fork(embryo)
    third = fork(second)
    os.rmdir(embryo.dir)
    os.rmdir(second.dir)
    third.tell(f"entry {code.CODE:#x} arg0=9")
    assert third.wait().status == "exit 9"


# --- copy on write --------------------------------------------------------------------------------------------------

def test_neither_sees_what_the_other_writes(embryo):
    embryo.tell(f"map {A:#x} 8K rw-")
    put(embryo, A, b"same")
    other = fork(embryo)
    put(embryo, A, b"mine")
    assert content(other, A, 4) == b"same"
    put(other, A, b"your")
    assert (content(embryo, A, 4), content(other, A, 4)) == (b"mine", b"your")


def test_a_handle_that_was_open_writes_to_the_first_only(embryo):
    embryo.tell(f"map {A:#x} 4K rw-")
    fd = os.open(mem(embryo, A), os.O_RDWR)
    view = mmap.mmap(fd, PAGE)
    os.close(fd)
    view[:4] = b"same"
    other = fork(embryo)
    view[:4] = b"mine"
    assert (content(embryo, A, 4), content(other, A, 4)) == (b"mine", b"same")


def test_chmod_truncate_move_and_cut_are_each_ones_own(embryo):
    embryo.tell(f"map {A:#x} 16K rw-")
    put(embryo, A, b"a" * PAGE + b"b" * PAGE + b"c" * PAGE + b"d" * PAGE)
    first, second, third, fourth = (fork(embryo) for _ in range(4))
    os.chmod(mem(first, A), 0o400)
    os.truncate(mem(second, A), PAGE)
    os.rename(mem(third, A), mem(third, B))
    fourth.tell(f"unmap {A + PAGE:#x} 4K")
    assert [(r.start, r.end, r.prot) for r in kernel_maps(embryo.pid)][0] == (A, A + 4 * PAGE, "rw-p")
    assert first.ranges() == [(A, A + 4 * PAGE, "r--")]
    assert second.ranges() == [(A, A + PAGE, "rw-")]
    assert third.ranges() == [(B, B + 4 * PAGE, "rw-")]
    assert fourth.ranges() == [(A, A + PAGE, "rw-"), (A + 2 * PAGE, A + 4 * PAGE, "rw-")]
    assert content(fourth, A) == b"a" * PAGE
    assert content(fourth, A + 2 * PAGE) == b"c" * PAGE + b"d" * PAGE
    put(fourth, A, b"A")
    put(fourth, A + 2 * PAGE, b"C")
    assert content(embryo, A, 1) + content(embryo, A)[2 * PAGE:2 * PAGE + 1] == b"ac"


def test_a_shared_region_stays_shared(embryo):
    embryo.tell(f"map {A:#x} 4K rw- shared")
    other = fork(embryo)
    put(other, A, b"ours")
    assert content(embryo, A, 4) == b"ours"


# --- refused --------------------------------------------------------------------------------------------------------

def test_a_name_in_use_is_EEXIST_and_nothing_is_left(embryo):
    before = embryo.mount.steady_counts()
    embryo.tell("name taken")
    assert embryo.ask("fork taken") == "EEXIST"
    assert embryo.mount.steady_counts() == before


def test_what_was_started_is_not_forked(embryo):
    code.load(embryo, code.PAUSE_FOR_EVER)
    embryo.tell(f"entry {code.CODE:#x}")
    assert embryo.ask("fork") == "EPERM"


@pytest.mark.mode("root")
def test_the_first_process_of_a_pid_namespace_cannot_be_forked(mount):
    embryo = mount.efork("ns=pid")
    assert embryo.ask("fork") in ("EOPNOTSUPP", "ENOTSUP")
    assert "first of its namespace" in embryo.error()


# --- copies that were made ahead -------------------------------------------------------------------------------------

def hidden(mount):
    """The daemon's children that are not in the tree: its zygote, and what is made ahead."""
    return set(children(mount.pid)) - set(mount.ids())


def made_ahead(mount, embryo):
    """Asks for copies until some are kept, and answers which."""
    assert eventually(lambda: len(hidden(mount)) == 17), "the zygote, and its own pool"
    own = hidden(mount)
    for _ in range(4):
        fork(embryo)
    assert eventually(lambda: hidden(mount) - own)
    return hidden(mount) - own


CHANGES = {
    "setting": (lambda e: e.tell("umask 077"), lambda e: kernel_status(e.pid, "Umask") == "0077"),
    "setting of the start": (lambda e: e.tell("pdeathsig TERM"), lambda e: "TERM" in e.read("process.json")),
    "variable": (lambda e: e.tell("env LATE=1"), lambda e: e.env() == ["LATE"]),
    "descriptor": (lambda e: e.tell("fd 7 open /dev/zero r"), lambda e: e.fds().get(7) == "/dev/zero"),
    "mapping": (lambda e: e.tell(f"map {B:#x} 4K rw-"), lambda e: e.mem() == [f"{A:x}", f"{B:x}"]),
    "protection": (lambda e: e.tell(f"protect {A:#x} 4K r--"), lambda e: e.ranges()[0][2] == "r--"),
    "bytes": (lambda e: put(e, A, b"late"), lambda e: content(e, A, 4) == b"late"),
    "length": (lambda e: os.truncate(mem(e, A), 2 * PAGE), lambda e: e.ranges()[0][:2] == (A, A + 2 * PAGE)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_of_what_is_there_now(mount, embryo, change):
    embryo.tell(f"map {A:#x} 4K rw-")
    put(embryo, A, b"then")
    made_ahead(mount, embryo)
    make, holds = CHANGES[change]
    make(embryo)
    for _ in range(3):
        assert holds(fork(embryo))
        time.sleep(0.01)  # more are made meanwhile


@pytest.mark.mode("root")  # without passthrough the daemon does not see who has it open: a fork ends that
def test_bytes_that_others_have_open_for_writing_are_in_every_copy(mount, embryo):
    embryo.tell(f"map {A:#x} 4K rw-")
    fd = os.open(mem(embryo, A), os.O_RDWR)
    for turn in range(8):
        os.pwrite(fd, b"%d" % turn, 0)
        assert content(fork(embryo), A, 1) == b"%d" % turn
        time.sleep(0.005)
    os.close(fd)


@pytest.mark.parametrize("end", ["kill", "exec /bin/true", "rmdir"])
def test_what_was_made_ahead_goes_with_the_original(mount, embryo, end):
    made_ahead(mount, embryo)
    if end == "rmdir":
        os.rmdir(embryo.dir)
    else:
        embryo.tell(end)
    assert eventually(lambda: len(hidden(mount)) == 17)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_one_that_was_made_ahead_and_killed_or_stopped_is_not_handed_out(mount, embryo, number):
    made = made_ahead(mount, embryo)
    for pid in made:
        os.kill(pid, number)
    if number == signal.SIGKILL:
        assert eventually(lambda: not made & hidden(mount))
    time.sleep(0.2)  # until the daemon has heard of it
    for _ in range(10):
        assert fork(embryo).run("exec /bin/echo hello")[0] == "hello\n"


def test_nobody_sees_in_a_template_that_copies_are_made(embryo):
    embryo.tell("fd 0 open /dev/null r")
    link, = set(kernel_fds(embryo.pid)) - {0}
    ctl = os.open(embryo.P("ctl"), os.O_WRONLY)
    for _ in range(50):
        assert errno_of(os.write, ctl, b"fork\n") == "success"
        for _ in range(20):
            assert set(kernel_fds(embryo.pid)) == {0, link}
    os.close(ctl)
