"""efork share=: embryos that have one descriptor table, one address space, one root and directory, one set of handlers."""
import os
import struct

import pytest

import machine_code as code
from mount import Embryo, eventually, kernel_fds, kernel_maps, kernel_status

A, B = 0x600000, 0x700000
PAGE = 4096

# [rsi] = rdi, then for ever
STORE_AND_STAY = bytes.fromhex("48893e") + code.PAUSE_FOR_EVER


def sharing(mount, other, contexts):
    return mount.efork(f"share={other.pid}:{contexts}")


def pages(pid):
    return [(r.start, r.end, r.prot) for r in kernel_maps(pid)]


# --- descriptors ----------------------------------------------------------------------------------------------------

def test_two_with_one_descriptor_table_see_each_others_files(mount, embryo, tmp_path):
    embryo.tell(f"fd 3 open {tmp_path} r")
    other = sharing(mount, embryo, "fd")
    assert other.fds() == embryo.fds() == {3: str(tmp_path)}
    other.tell("fd 5 open /dev/null r")
    embryo.tell("fd 3 close")
    assert other.fds() == embryo.fds() == {5: "/dev/null"}
    assert other.maps() == []


def test_the_links_get_out_of_the_way(mount, embryo):
    other = sharing(mount, embryo, "fd")
    links = sorted(kernel_fds(embryo.pid))
    for n in links:
        assert embryo.ask(f"fd 0 dup {n}") == "EBADF"
        other.tell(f"fd {n} open /dev/null r")
    assert sorted(embryo.fds()) == sorted(other.fds()) == links


def test_a_file_that_one_opens_while_running_is_the_others(mount, embryo, tmp_path):
    """The first is started and opens a file; the second, started later, reads it under the same number."""
    (tmp_path / "file").write_text("!")
    other = sharing(mount, embryo, "fd")
    # open(rdi, O_RDONLY); then for ever
    code.load(embryo, bytes.fromhex("b802000000 31f6 31d2 0f05") + code.PAUSE_FOR_EVER)
    with open(embryo.P("mem", f"{A:x}"), "wb") as f:
        f.write(str(tmp_path / "file").encode() + b"\0")
    embryo.tell(f"entry {code.CODE:#x} arg0={A:#x}")
    assert eventually(lambda: 0 in other.fds())
    # read(0, rsi, 1); exit_group([rsi])
    code.load(other, bytes.fromhex("31c0 31ff ba01000000 0f05 0fb63e b8e7000000 0f05"))
    other.tell("map 0x800000 4K rw-", f"entry {code.CODE:#x} arg1=0x800000")
    assert other.wait().status == f"exit {ord('!')}"
    assert kernel_fds(embryo.pid) == {0: str(tmp_path / "file")}


def test_exec_of_one_is_noticed_and_leaves_the_others_table(mount, embryo, tmp_path):
    other = sharing(mount, embryo, "fd")
    embryo.tell(f"fd 1 open {tmp_path}/out w", "fd 4 open /dev/null r")
    other.tell("exec /bin/echo from the second")
    assert other.wait().status == ""
    embryo.tell("fd 4 close", "exec /bin/echo from the first")
    assert embryo.wait().status == ""
    assert (tmp_path / "out").read_text() == "from the second\nfrom the first\n"


def test_an_exec_that_fails_can_be_tried_again(mount, embryo, tmp_path):
    other = sharing(mount, embryo, "fd")
    for _ in range(3):
        assert other.ask("exec /nonexistent") == "ENOENT"
    assert other.run("exec /bin/echo again") == ("again\n", "")


def test_hang_works_in_a_common_table(mount, embryo):
    other = sharing(mount, embryo, "fd")
    other.tell("hang", "exec /bin/true")
    assert eventually(lambda: other.read("ctl").split()[1] == "stopped")
    other.tell("start")
    assert other.wait().status == ""


# --- memory ---------------------------------------------------------------------------------------------------------

def test_one_address_space_is_built_by_both(mount, embryo):
    embryo.tell(f"map {A:#x} 4K rw-")
    other = sharing(mount, embryo, "mem")
    other.tell(f"map {B:#x} 4K r--")
    assert other.read("maps") == embryo.read("maps")
    assert other.mem() == embryo.mem() == [f"{A:x}", f"{B:x}"]
    with open(other.P("mem", f"{A:x}"), "r+b") as f:
        f.write(b"both")
    with open(embryo.P("mem", f"{A:x}"), "rb") as f:
        assert f.read(4) == b"both"
    os.unlink(embryo.P("mem", f"{B:x}"))
    assert other.ranges() == [(A, A + PAGE, "rw-")]
    assert other.fds() == {}


@pytest.mark.parametrize("contexts", ["mem", "mem,fd", "mem,fd,fs,sig"])
@pytest.mark.parametrize("first", [0, 1])
def test_started_in_turn_they_leave_nothing_hidden(mount, embryo, contexts, first):
    both = [embryo, sharing(mount, embryo, contexts)]
    embryo.tell(f"map {A:#x} 4K rw-")
    code.load(embryo, STORE_AND_STAY)
    one, two = both[first], both[1 - first]
    one.tell(f"entry {code.CODE:#x} arg0=1 arg1={A:#x}")
    assert eventually(lambda: peek(one.pid, A) == 1)
    two.tell(f"entry {code.CODE:#x} arg0=2 arg1={A + 8:#x}")
    assert eventually(lambda: peek(one.pid, A + 8) == 2), "one memory"
    for e in both:
        assert pages(e.pid) == [(code.CODE, code.CODE + PAGE, "r-xp"), (A, A + PAGE, "rw-p")]
        assert kernel_fds(e.pid) == {}
        assert kernel_status(e.pid, "TracerPid") == "0"


def peek(pid, address):
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as f:
        f.seek(address)
        return struct.unpack("<Q", f.read(8))[0]


def test_three_and_one_of_them_is_killed(mount, embryo):
    code.load(embryo, code.PAUSE_FOR_EVER)
    second = sharing(mount, embryo, "mem,fd")
    third = sharing(mount, second, "mem,fd")
    embryo.tell("kill")
    assert third.mem() == [f"{code.CODE:x}"]
    second.tell(f"entry {code.CODE:#x}")
    third.tell(f"entry {code.CODE:#x}")
    for e in (second, third):
        assert pages(e.pid) == [(code.CODE, code.CODE + PAGE, "r-xp")]
        assert kernel_fds(e.pid) == {}


def test_one_that_is_removed_tidies_up_in_the_one_that_runs(mount, embryo):
    code.load(embryo, code.PAUSE_FOR_EVER)
    other = sharing(mount, embryo, "mem,fd")
    embryo.tell(f"entry {code.CODE:#x}")
    os.rmdir(other.dir)
    assert eventually(lambda: pages(embryo.pid) == [(code.CODE, code.CODE + PAGE, "r-xp")])
    assert eventually(lambda: kernel_fds(embryo.pid) == {})


def test_exec_before_entry_and_not_after(mount, embryo):
    code.load(embryo, code.PAUSE_FOR_EVER)
    second, third = (sharing(mount, embryo, "mem") for _ in range(2))
    assert second.run("exec /bin/echo gone its way") == ("gone its way\n", "")
    embryo.tell(f"entry {code.CODE:#x}")
    assert third.ask("exec /bin/true") == "EBUSY"
    assert "entry" in third.error()
    third.tell(f"entry {code.CODE:#x}")
    assert pages(third.pid) == [(code.CODE, code.CODE + PAGE, "r-xp")]


def test_memory_that_runs_is_not_built_any_more(mount, embryo):
    code.load(embryo, code.PAUSE_FOR_EVER)
    other = sharing(mount, embryo, "mem")
    embryo.tell(f"entry {code.CODE:#x}")
    for line in (f"map {B:#x} 4K rw-", f"unmap {code.CODE:#x} 4K", f"protect {code.CODE:#x} 4K rwx"):
        assert other.ask(line) == "EPERM"
    assert other.mem() == []


# --- the rest -------------------------------------------------------------------------------------------------------

def test_one_directory_and_one_mask(mount, embryo, tmp_path):
    other = sharing(mount, embryo, "fs")
    other.tell(f"chdir {tmp_path}", "umask 027")
    assert os.readlink(embryo.P("cwd")) == str(tmp_path)
    assert kernel_status(embryo.pid, "Umask") == "0027"


def test_one_set_of_handlers(mount, embryo):
    other = sharing(mount, embryo, "mem,sig")
    other.tell("sigignore HUP")
    assert kernel_status(embryo.pid, "SigIgn") == "0000000000000001"


def test_what_is_not_shared_is_blank(mount, embryo):
    embryo.tell(f"map {A:#x} 4K rw-", "fd 3 open /dev/null r", "env A=1", "args a", "nice 3")
    other = sharing(mount, embryo, "fs")
    assert (other.maps(), other.fds(), other.env(), other.read("args")) == ([], {}, [], "")
    assert os.getpriority(os.PRIO_PROCESS, other.pid) == 3, "its settings are the other's, as after clone"


def test_a_fork_shares_nothing(mount, embryo):
    code.load(embryo, code.EXIT_WITH_RDI)
    sharing(mount, embryo, "mem,fd")
    embryo.tell("fd 3 open /dev/null r", "fork alone")
    alone = mount.embryo("alone")
    embryo.tell("fd 3 close")
    assert alone.fds() == {3: "/dev/null"}
    alone.tell(f"entry {code.CODE:#x} arg0=4")
    assert alone.wait().status == "exit 4"


@pytest.mark.parametrize("share", ["sig", "mem,bad", "", "fd,sig"])
def test_contexts_that_cannot_be_shared_are_EINVAL(mount, embryo, share):
    fd = os.open(mount.P("ctl"), os.O_WRONLY)
    with pytest.raises(OSError, match="Errno 22"):
        os.write(fd, f"efork share={embryo.pid}:{share}\n".encode())
    os.close(fd)


def test_only_with_an_embryo_that_is_there(mount, embryo):
    for who, errno in (("nobody", "ENOENT"), (str(embryo.pid), "EPERM")):
        if errno == "EPERM":
            code.load(embryo, code.PAUSE_FOR_EVER)
            embryo.tell(f"entry {code.CODE:#x}")
        fd = os.open(mount.P("ctl"), os.O_WRONLY)
        with pytest.raises(OSError) as refused:
            os.write(fd, f"efork share={who}:fd\n".encode())
        os.close(fd)
        assert refused.value.errno == getattr(__import__("errno"), errno)


def test_threads_in_a_common_memory(mount, embryo):
    code.load(embryo, code.PAUSE_FOR_EVER)
    other = sharing(mount, embryo, "mem")
    embryo.tell(f"thread {code.CODE:#x}", "nice 2", f"entry {code.CODE:#x}")
    other.tell(f"thread {code.CODE:#x}", "nice 3", f"entry {code.CODE:#x}")
    for e in (embryo, other):
        assert pages(e.pid) == [(code.CODE, code.CODE + PAGE, "r-xp")]
        assert kernel_status(e.pid, "Threads") == "2"
    assert isinstance(other, Embryo)
