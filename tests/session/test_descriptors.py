"""Descriptors: `fd N ...`, `pipe`, and fd/ as files. Which description a number stands for is asked of kcmp(2)."""
import ctypes
import os
import stat
import subprocess

import pytest

from mount import errno_of, eventually, kernel_fds, read, write_ctl

KCMP, KCMP_FILE = 312, 0
libc = ctypes.CDLL(None, use_errno=True)


def same(pid1, fd1, pid2, fd2):
    """Whether two descriptors are of one open file description."""
    result = libc.syscall(KCMP, pid1, pid2, KCMP_FILE, fd1, fd2)
    assert result >= 0, os.strerror(ctypes.get_errno())
    return result == 0


def flags(pid, fd):
    return int(dict(line.split(":\t") for line in read(f"/proc/{pid}/fdinfo/{fd}").splitlines())["flags"], 8)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_text("0123456789")
    return path


@pytest.fixture
def pipe_ends():
    ends = os.pipe()
    yield ends
    for end in ends:
        if os.path.exists(f"/proc/self/fd/{end}"):
            os.close(end)


# --- fd N open ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("mode, wanted", [
    ("r", os.O_RDONLY), ("r+", os.O_RDWR), ("w", os.O_WRONLY), ("w+", os.O_RDWR),
    ("a", os.O_WRONLY | os.O_APPEND), ("a+", os.O_RDWR | os.O_APPEND), ("rn", os.O_RDONLY | os.O_NONBLOCK)])
def test_open_modes_are_those_of_fopen(embryo, file, mode, wanted):
    embryo.tell(f"fd 5 open {file} {mode}")
    assert flags(embryo.pid, 5) & (os.O_ACCMODE | os.O_APPEND | os.O_NONBLOCK) == wanted
    assert embryo.fds() == {5: str(file)}


@pytest.mark.parametrize("mode, left", [("w", ""), ("w+", ""), ("a", "0123456789"), ("r+", "0123456789")])
def test_w_truncates_and_a_does_not(embryo, file, mode, left):
    embryo.tell(f"fd 5 open {file} {mode}")
    assert file.read_text() == left


def test_w_creates_with_the_permissions_asked_for(embryo, tmp_path):
    embryo.tell("umask 0", f"fd 5 open {tmp_path}/new w 0640")
    assert stat.S_IMODE(os.stat(tmp_path / "new").st_mode) == 0o640


def test_w_creates_under_the_embryos_umask(embryo, tmp_path):
    embryo.tell("umask 077", f"fd 5 open {tmp_path}/new w 0666")
    assert stat.S_IMODE(os.stat(tmp_path / "new").st_mode) == 0o600


def test_x_refuses_a_file_that_exists(embryo, file, tmp_path):
    assert embryo.ask(f"fd 5 open {file} wx") == "EEXIST"
    embryo.tell(f"fd 5 open {tmp_path}/new wx")


def test_r_refuses_a_file_that_does_not_exist(embryo, tmp_path):
    for mode in ("r", "r+"):
        assert embryo.ask(f"fd 5 open {tmp_path}/new {mode}") == "ENOENT"
    assert not (tmp_path / "new").exists() and embryo.fds() == {}


@pytest.mark.parametrize("mode", ["q", "rw", "", "x"])
def test_a_mode_that_fopen_does_not_know_is_EINVAL(embryo, file, mode):
    assert embryo.ask(f"fd 5 open {file} '{mode}'") == "EINVAL"


def test_a_relative_path_is_relative_to_the_embryos_directory(embryo, file):
    embryo.tell(f"chdir {file.parent}", "fd 5 open file r")
    assert embryo.fds() == {5: str(file)}


def test_opening_on_a_number_in_use_replaces_it(embryo, file):
    embryo.tell("fd 5 open /dev/null r", f"fd 5 open {file} r")
    assert embryo.fds() == {5: str(file)}


def test_fd_lists_what_the_kernel_lists(embryo, file):
    embryo.tell("fd 0 open /dev/null r", f"fd 3 open {file} r", "fd 17 open /dev/zero r")
    assert embryo.fds() == {0: "/dev/null", 3: str(file), 17: "/dev/zero"}
    assert embryo.fds().items() <= kernel_fds(embryo.pid).items()


# --- fd N self:M, PID:M, dup, mem, close, cloexec -------------------------------------------------------------------

def test_self_hands_over_the_writers_own_description(embryo, file):
    with open(file, "rb", buffering=0) as mine:
        embryo.tell(f"fd 0 self:{mine.fileno()}")
        assert same(os.getpid(), mine.fileno(), embryo.pid, 0)
        embryo.run("exec /bin/dd bs=4 count=1 status=none")
        assert mine.tell() == 4, "one offset for both"


def test_self_of_a_pipe(embryo, pipe_ends):
    reader, writer = pipe_ends
    embryo.tell(f"fd 1 self:{writer}")
    os.close(writer)
    embryo.tell("exec /bin/echo through the pipe")
    with open(reader, closefd=False) as f:
        assert f.read() == "through the pipe\n"  # to the end: nobody else holds the writing end


def test_pid_m_hands_over_the_description_of_another_process(embryo, file):
    with open(file) as f, subprocess.Popen(["sleep", "1000"], stdin=f) as other:
        try:
            embryo.tell(f"fd 4 {other.pid}:0")
            assert same(other.pid, 0, embryo.pid, 4)
        finally:
            other.kill()


def test_pid_m_of_another_embryo(mount, file):
    one, two = mount.efork(), mount.efork()
    one.tell(f"fd 3 open {file} r")
    two.tell(f"fd 8 {one.pid}:3")
    assert same(one.pid, 3, two.pid, 8)


def test_dup(embryo, file):
    embryo.tell(f"fd 3 open {file} r", "fd 9 dup 3")
    assert same(embryo.pid, 3, embryo.pid, 9)
    embryo.tell("fd 3 close")
    assert embryo.fds() == {9: str(file)}


def test_mem_makes_a_descriptor_of_a_region(embryo):
    embryo.tell("map 0x600000 4K rw- shared")
    with open(embryo.P("mem/600000"), "r+b") as f:
        f.write(b"hello")
    embryo.tell("fd 0 mem 0x600000")
    assert embryo.run("exec /usr/bin/head -c 5") == ("hello", "")


def test_cloexec_on_is_closed_by_exec_and_off_is_not(embryo):
    embryo.tell("fd 3 open /dev/null r", "fd 4 open /dev/null r", "fd 5 open /dev/null r",
                "fd 3 cloexec on", "fd 4 cloexec on", "fd 4 cloexec off", "exec /bin/sleep 1000")
    assert eventually(lambda: sorted(kernel_fds(embryo.pid)) == [4, 5])  # its loader has files open for a moment


def test_descriptors_of_nothing_are_EBADF(embryo):
    for line in ("fd 3 dup 99", "fd 99 close", "fd 3 self:999", "fd 99 cloexec on", f"fd 3 {os.getpid()}:999"):
        assert embryo.ask(line) == "EBADF", line
    assert embryo.fds() == {}


@pytest.mark.parametrize("n", ["-1", "x", "3.0", "99999999999"])
def test_a_number_that_is_no_descriptor_is_EINVAL(embryo, n):
    assert embryo.ask(f"fd {n} open /dev/null r") in ("EINVAL", "EBADF")


def test_many_descriptors(embryo):
    embryo.tell(*(f"fd {n} open /dev/null r" for n in range(500)))
    assert sorted(embryo.fds()) == list(range(500))
    embryo.tell("exec /bin/sleep 1000")
    assert sorted(kernel_fds(embryo.pid)) == list(range(500))


def test_inherit_fd_takes_the_writers_descriptors(mount, embryo, file):
    # Not the pipes of this test: it would wait until the embryo, too, has closed them.
    mount.out(f"exec > /dev/null 2>&1; echo 'inherit fd' > {embryo.P('ctl')} 7< {file}")
    assert embryo.fds()[7] == str(file)
    assert 0 in embryo.fds()


# --- fd/ as files ---------------------------------------------------------------------------------------------------

def test_ln_s_opens_the_target_in_the_child(mount, embryo, file):
    mount.out(f"ln -s {file} {embryo.P('fd/0')}")
    assert embryo.fds() == {0: str(file)}
    assert embryo.run("exec /bin/cat")[0] == "0123456789"


def test_ln_s_of_a_missing_target_is_ENOENT_and_said_so(mount, embryo):
    done = mount.sh(f"ln -s /nonexistent {embryo.P('fd/0')}")
    assert "No such file" in done.stderr
    assert embryo.fds() == {} and "/nonexistent" in embryo.error()


@pytest.mark.parametrize("target", ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"])
def test_ln_s_of_standard_input_hands_over_that_very_description(mount, embryo, file, target):
    with open(file) as f:
        mount.out(f"ln -s {target} {embryo.P('fd/6')}", stdin=f)
        assert same(os.getpid(), f.fileno(), embryo.pid, 6)


@pytest.mark.parametrize("target, n", [("/dev/stdout", 1), ("/dev/stderr", 2), ("/dev/fd/1", 1),
                                       ("/proc/self/fd/2", 2)])
def test_ln_s_of_standard_output_and_error(mount, embryo, tmp_path, target, n):
    with open(tmp_path / "1", "w") as out, open(tmp_path / "2", "w") as err:
        mount.sh(f"ln -s {target} {embryo.P('fd/1')}", stdout=out, stderr=err)
        assert same(os.getpid(), (out, err)[n - 1].fileno(), embryo.pid, 1)


def test_ln_s_of_any_descriptor_of_the_caller(mount, embryo, pipe_ends):
    os.symlink(f"/dev/fd/{pipe_ends[1]}", embryo.P("fd/1"))
    assert same(os.getpid(), pipe_ends[1], embryo.pid, 1)


def test_ln_s_of_a_descriptor_that_is_not_open_is_EBADF_or_ENOENT(embryo):
    assert errno_of(os.symlink, "/dev/fd/998", embryo.P("fd/1")) in ("EBADF", "ENOENT")


def test_ln_s_in_the_way_is_EEXIST(embryo):
    os.symlink("/dev/null", embryo.P("fd/1"))
    assert errno_of(os.symlink, "/dev/zero", embryo.P("fd/1")) == "EEXIST"
    assert embryo.fds() == {1: "/dev/null"}


def test_ln_is_dup(mount, embryo, file):
    embryo.tell(f"fd 3 open {file} r")
    mount.out(f"cd {embryo.dir} && ln fd/3 fd/4")
    assert same(embryo.pid, 3, embryo.pid, 4)


def test_ln_between_embryos_is_dup(mount, file):
    one, two = mount.efork(), mount.efork()
    one.tell(f"fd 3 open {file} r")
    mount.out(f"ln {one.P('fd/3')} {two.P('fd/7')}")
    assert same(one.pid, 3, two.pid, 7)


def test_mv_moves_a_descriptor(mount, embryo, file):
    embryo.tell(f"fd 3 open {file} r")
    mount.out(f"cd {embryo.dir} && mv fd/3 fd/8")
    assert embryo.fds() == {8: str(file)}


def test_rm_is_close(mount, embryo, pipe_ends):
    reader, writer = pipe_ends
    embryo.tell(f"fd 1 self:{writer}")
    os.close(writer)
    mount.out(f"rm {embryo.P('fd/1')}")
    assert embryo.fds() == {}
    assert os.read(reader, 1) == b"", "the last writing end is closed"


@pytest.mark.parametrize("name", ["x", "-1", "01", "1x"])
def test_a_name_that_is_no_descriptor_is_refused(embryo, name):
    assert errno_of(os.symlink, "/dev/null", embryo.P("fd", name)) in ("EINVAL", "EBADF")
    assert embryo.fds() == {}


# --- pipe -----------------------------------------------------------------------------------------------------------

def test_pipe_connects_two_embryos(mount):
    one, two = mount.efork("one"), mount.efork("two")
    assert write_ctl(mount.P("ctl"), "pipe one 1 two 0") > 0
    one.tell("exec /bin/echo hello")
    assert two.run("exec /bin/cat") == ("hello\n", "")
    assert one.wait().status == ""


def test_pipe_takes_numbers_for_names(mount):
    one, two = mount.efork(), mount.efork()
    assert write_ctl(mount.P("ctl"), f"pipe {one.pid} 1 {two.pid} 0") > 0
    assert one.fds()[1] == two.fds()[0]
    assert one.fds()[1].startswith("pipe:")


def test_pipe_takes_many_pairs(mount):
    one, two, three = mount.efork("one"), mount.efork("two"), mount.efork("three")
    assert write_ctl(mount.P("ctl"), "pipe one 1 two 0 two 1 three 0") > 0
    assert one.fds()[1] == two.fds()[0] != two.fds()[1] == three.fds()[0]


def test_pipe_to_nobody_is_refused_and_changes_nothing(mount):
    one = mount.efork("one")
    assert write_ctl(mount.P("ctl"), "pipe one 1 nobody 0") == "ENOENT"
    assert one.fds() == {}


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_ls_sort_wc_as_three_embryos_from_a_plain_script(mount, shell):
    script = """
        cd $PROC9
        mkdir ls sort wc
        echo 'pipe ls 1 sort 0' > ctl
        echo 'pipe sort 1 wc 0' > ctl
        ln -s /dev/stdout wc/fd/1
        echo 'exec /bin/ls /usr/bin' > ls/ctl
        echo 'exec /usr/bin/sort'    > sort/ctl
        echo 'exec /usr/bin/wc -l'   > wc/ctl
        cat ls/wait sort/wait wc/wait > /dev/null
        cd /
        ls /usr/bin | sort | wc -l
    """
    ours, shells = mount.out(script, shell=shell).split()
    assert ours == shells != "0"
