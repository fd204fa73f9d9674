"""What a file system promises, call by call. Where the two modes differ, `mode` says how: a user's mem/ADDR is a link to
the memory itself, and only a file that was just created is served by the daemon."""
import contextlib
import ctypes
import fcntl
import mmap
import os
import select
import signal
import stat
import struct
import subprocess
import threading
import time

import pytest

from mount import errno_of, eventually

PAGE = 4096
A, B, C = "mem/600000", "mem/700000", "mem/800000"
NOREPLACE, EXCHANGE = 1, 2
KEEP_SIZE, PUNCH_HOLE = 1, 2
libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def opened(path, flags=os.O_RDWR, mode=0o600):
    fd = os.open(path, flags, mode)
    try:
        yield fd
    finally:
        os.close(fd)


def created(path):
    return opened(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)


def touched(path, flags=os.O_RDWR):
    """What open(2) answers."""
    def call():
        with opened(path, flags):
            pass
    return errno_of(call)


def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def renamed(old, new, flags):
    return errno_of(lambda: checked(libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags)))


def allocated(fd, mode, offset, length):
    return errno_of(lambda: checked(libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length))))


# --- mem/: contents -------------------------------------------------------------------------------------------------

def test_reads_and_writes_at_any_offset(embryo):
    with created(embryo.P(A)) as fd:
        assert (os.pwrite(fd, b"x" * 10, 100), os.fstat(fd).st_size, os.stat(embryo.P(A)).st_size) == (10, 110, 110)
        assert os.pread(fd, 20, 95) == bytes(5) + b"x" * 10
        assert (os.pread(fd, 10, 110), os.pread(fd, 10, 1 << 40)) == (b"", b"")
        assert (os.writev(fd, [b"ab", b"", b"cd"]), os.lseek(fd, 0, os.SEEK_CUR)) == (4, 4)
        pieces = [bytearray(1), bytearray(3)]
        assert (os.preadv(fd, pieces, 0), pieces) == (4, [b"a", b"bcd"])
        again = os.dup(fd)
        assert (os.lseek(again, 50, os.SEEK_SET), os.write(fd, b"!"), os.lseek(again, 0, os.SEEK_CUR)) == (50, 1, 51)
        os.close(again)
        for where in ((-1, os.SEEK_SET), (-111, os.SEEK_END)):
            assert errno_of(os.lseek, fd, *where) == "EINVAL"
        assert (errno_of(os.fsync, fd), errno_of(os.fdatasync, fd)) == ("success", "success")


def test_holes_are_found_and_take_no_memory(embryo):
    with created(embryo.P(A)) as fd:
        os.pwrite(fd, b"data", 0)
        os.pwrite(fd, b"data", 100 * PAGE)
        assert os.fstat(fd).st_blocks == os.stat(embryo.P(A)).st_blocks == 2 * PAGE // 512
        end = 100 * PAGE + 4
        for offset, data, hole in ((0, 0, PAGE), (50, 50, PAGE), (PAGE, 100 * PAGE, PAGE), (end - 1, end - 1, end)):
            assert (os.lseek(fd, offset, os.SEEK_DATA), os.lseek(fd, offset, os.SEEK_HOLE)) == (data, hole)
        for whence in (os.SEEK_DATA, os.SEEK_HOLE):
            assert errno_of(os.lseek, fd, end, whence) == "ENXIO"


def test_truncation(embryo):
    with created(embryo.P(A)) as fd:
        os.write(fd, b"x" * 3 * PAGE)
        for size in (10000, 20000, PAGE + 1, PAGE, 1, 0, 5 * PAGE):
            os.ftruncate(fd, size)
            assert os.stat(embryo.P(A)).st_size == size
            assert [r.end - r.start for r in embryo.maps()] == [-(-size // PAGE) * PAGE] * bool(size)
        assert os.pread(fd, 5 * PAGE, 0) == bytes(5 * PAGE), "what was cut off comes back as zeros"
        assert errno_of(os.ftruncate, fd, -1) == "EINVAL"
        for size in (1 << 47, 1 << 62, (1 << 63) - 1):
            assert errno_of(os.ftruncate, fd, size) in ("ENOMEM", "EFBIG")
        assert os.fstat(fd).st_size == 5 * PAGE


def test_a_write_behind_the_end_of_the_address_space_does_no_harm(embryo):
    with created(embryo.P(A)) as fd:
        os.write(fd, b"kept")
    with opened(embryo.P(A)) as fd:
        assert os.pwrite(fd, b"x", 1 << 50) == 1
        embryo.tell("env A=1")
        assert [r.end - r.start for r in embryo.maps()] == [PAGE] and "0x600000" in embryo.error()
        os.ftruncate(fd, 2 * PAGE)
        assert ([r.end - r.start for r in embryo.maps()], os.pread(fd, 4, 0)) == ([2 * PAGE], b"kept")


def test_mappings(embryo, mode):
    with created(embryo.P(A)) as fd:
        os.ftruncate(fd, 2 * PAGE)
        shared = errno_of(lambda: mmap.mmap(fd, PAGE).close())
        assert shared == ("success" if mode == "root" else "ENODEV")
    with opened(embryo.P(A)) as fd, mmap.mmap(fd, 2 * PAGE) as shared, \
            mmap.mmap(fd, 2 * PAGE, mmap.MAP_PRIVATE) as private, mmap.mmap(fd, 2 * PAGE, prot=mmap.PROT_READ) as seen:
        shared[:3] = b"abc"
        assert (os.pread(fd, 3, 0), private[:3], seen[:3]) == (b"abc", b"abc", b"abc")
        private[:3] = b"own"
        assert (os.pread(fd, 3, 0), shared[:3]) == (b"abc", b"abc")
        shared[PAGE:PAGE + 3] = b"cut"
        os.ftruncate(fd, PAGE)
        os.ftruncate(fd, 2 * PAGE)
        assert (shared[:3], shared[PAGE:PAGE + 3]) == (b"abc", bytes(3))
        shared.flush()


def test_times_follow_the_contents_and_can_be_set(embryo):
    with created(embryo.P(A)):
        pass
    with opened(embryo.P(A)) as fd:
        os.utime(embryo.P(A), (1000, 2000))
        assert [(st.st_atime, st.st_mtime) for st in (os.stat(embryo.P(A)), os.fstat(fd))] == [(1000, 2000)] * 2
        os.write(fd, b"x")
        assert abs(os.fstat(fd).st_mtime - time.time()) < 60
        os.utime(fd, ns=(5, 6))
        assert os.stat(embryo.P(A)).st_mtime_ns == 6
        os.utime(fd)
        assert abs(os.stat(embryo.P(A)).st_atime - time.time()) < 60


def test_append(embryo):
    with created(embryo.P(A)) as fd, opened(embryo.P(A), os.O_WRONLY | os.O_APPEND) as end:
        os.write(fd, b"0123456789")
        assert (os.write(end, b"ab"), os.lseek(end, 0, os.SEEK_CUR)) == (2, 12)
        os.pwrite(end, b"cd", 0)  # Linux appends then, too
        assert os.pread(fd, 20, 0) == b"0123456789abcd"
        assert errno_of(os.read, end, 1) == "EBADF"


@pytest.mark.parametrize("flags, root, user", [
    (os.O_RDWR | os.O_DIRECTORY, "ENOTDIR", "ENOTDIR"),
    (os.O_RDWR | os.O_NOFOLLOW, "success", "ELOOP"),
    (os.O_RDWR | os.O_CREAT, "success", "success"),
    (os.O_RDWR | os.O_CREAT | os.O_EXCL, "EEXIST", "EEXIST"),
    (os.O_RDWR | os.O_DIRECT, "success", "success"),
    (os.O_PATH, "success", "success"),
    (os.O_RDONLY | os.O_TRUNC, "success", "success")])
def test_flags_of_open(embryo, mode, flags, root, user):
    embryo.tell("map 0x600000 4K rw-")
    assert touched(embryo.P(A), flags) == (root if mode == "root" else user)
    assert os.stat(embryo.P(A)).st_size == (0 if flags & os.O_TRUNC else PAGE)


def test_fallocate(embryo):
    with created(embryo.P(A)) as fd:
        os.write(fd, b"x" * 100)
        assert allocated(fd, 0, 0, 4 * PAGE) == "success"
        assert (os.fstat(fd).st_size, embryo.ranges()) == (4 * PAGE, [(0x600000, 0x604000, "rw-")])
        assert os.pread(fd, 101, 0) == b"x" * 100 + b"\0"
        assert (allocated(fd, KEEP_SIZE, 4 * PAGE, PAGE), os.fstat(fd).st_size) == ("ENOTSUP", 4 * PAGE)
        os.pwrite(fd, b"x" * 4 * PAGE, 0)
        before = os.fstat(fd).st_blocks
        assert allocated(fd, PUNCH_HOLE | KEEP_SIZE, PAGE, 2 * PAGE) == "success"
        assert os.pread(fd, 4 * PAGE, 0) == b"x" * PAGE + bytes(2 * PAGE) + b"x" * PAGE
        assert os.fstat(fd).st_blocks < before
        assert (allocated(fd, 0, -1, 10), allocated(fd, 0, 0, 0)) == ("EINVAL", "EINVAL")
        assert (allocated(fd, 0, 1 << 62, PAGE), os.fstat(fd).st_size) == ("ENOMEM", 4 * PAGE)
        embryo.tell("map 0x605000 4K r--")
        assert (allocated(fd, 0, 0, 6 * PAGE), os.fstat(fd).st_size) == ("EEXIST", 4 * PAGE)
    embryo.tell("env A=1")
    with opened(embryo.P("env/A")) as fd:
        assert allocated(fd, 0, 0, 1) == "ENOTSUP"


def test_copies_inside_the_kernel(embryo, tmp_path):
    (tmp_path / "file").write_bytes(b"0123456789" * 1000)
    with created(embryo.P(A)) as a, created(embryo.P(B)) as b, opened(tmp_path / "file") as file:
        assert os.sendfile(a, file, 0, 10000) == 10000
        assert os.copy_file_range(a, b, 5000, 10, 0) == 5000
        assert os.copy_file_range(a, a, 100, 0, 20000) == 100
        assert os.sendfile(file, b, 0, 10000) == 5000
        assert (tmp_path / "file").read_bytes()[:5] == b"01234"
        reader, writer = os.pipe()
        assert os.splice(a, writer, 1000, 5) == 1000
        assert os.splice(reader, b, 1000, offset_dst=7000) == 1000
        os.close(reader), os.close(writer)
        assert os.pread(b, 9000, 4995) == b"56789" + bytes(2000) + (b"5678901234" * 100)
    assert [r.end - r.start for r in embryo.maps()] == [5 * PAGE, 2 * PAGE]


def test_locks(embryo):
    embryo.tell("map 0x600000 4K rw-", "env A=1")
    wanted = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 10, 0)
    for path in (embryo.P(A), embryo.P("env/A")):
        with opened(path) as one, opened(path) as two:
            for lock in (lambda fd: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB),
                         lambda fd: fcntl.fcntl(fd, 37, wanted)):  # F_OFD_SETLK
                assert (errno_of(lock, one), errno_of(lock, two)) == ("success", "EAGAIN")


# --- mem/: names ----------------------------------------------------------------------------------------------------

def test_a_removed_file_is_a_file_without_a_name(embryo, mode):
    embryo.tell("map 0x600000 8K rw-")
    with opened(embryo.P(A)) as fd:
        os.unlink(embryo.P(A))
        assert errno_of(os.stat, embryo.P(A)) == "ENOENT"
        assert (os.fstat(fd).st_nlink, os.fstat(fd).st_size) == (0, 2 * PAGE)
        os.ftruncate(fd, PAGE)
        os.pwrite(fd, b"grown", PAGE)
        with mmap.mmap(fd, 0) as view:
            assert (len(view), view[PAGE:]) == (PAGE + 5, b"grown")
        assert (errno_of(os.fchmod, fd, 0o400), errno_of(os.utime, fd, (1, 2))) == ("success", "success")
        assert (stat.S_IMODE(os.fstat(fd).st_mode), os.fstat(fd).st_mtime) == (0o400, 2)
        os.fchmod(fd, 0o600)
        assert allocated(fd, PUNCH_HOLE | KEEP_SIZE, 0, PAGE) == allocated(fd, 0, 0, 3 * PAGE) == "success"
        assert (os.fstat(fd).st_size, os.pread(fd, PAGE, 0)) == (3 * PAGE, bytes(PAGE))
        assert touched(f"/proc/self/fd/{fd}") == ("ENOENT" if mode == "root" else "success")


def test_a_linked_file_is_one_memory_and_two_files(embryo, tmp_path):
    embryo.tell("map 0x600000 4K rw-")
    os.link(embryo.P(A), embryo.P(B))
    assert os.lstat(embryo.P(A)).st_nlink == os.lstat(embryo.P(B)).st_nlink == 1
    assert os.lstat(embryo.P(A)).st_ino != os.lstat(embryo.P(B)).st_ino
    assert errno_of(os.link, embryo.P(A), embryo.P(B)) == "EEXIST"
    assert errno_of(os.link, embryo.P(A), tmp_path / "there") == "EXDEV"
    assert errno_of(os.link, __file__, embryo.P(C)) == "EXDEV"
    os.unlink(embryo.P(A))
    os.truncate(embryo.P(B), 3)
    assert embryo.ranges() == [(0x700000, 0x701000, "rw-")]


def test_renaming(mount, embryo, tmp_path):
    other = mount.efork()
    embryo.tell("map 0x600000 4K rw-", "map 0x700000 8K rw-")
    for to, flags, wanted in (
            (A, 0, "success"), (A, NOREPLACE, "EEXIST"), (B, NOREPLACE, "EEXIST"), (B, EXCHANGE, "EINVAL"),
            ("mem/x", 0, "EINVAL"), ("mem/601000", 0, "success"), ("env/A", 0, "EXDEV"), ("x", 0, "EXDEV"),
            ("../x", 0, "EXDEV"), (str(tmp_path / "x"), 0, "EXDEV")):
        assert renamed(embryo.P(A), embryo.P(to), flags) == wanted, to
        if to == "mem/601000":
            os.rename(embryo.P(to), embryo.P(A))
    assert errno_of(os.rename, embryo.P(C), embryo.P(A)) == "ENOENT"
    with opened(embryo.P(B)) as fd:
        os.rename(embryo.P(A), embryo.P(B))
        assert (os.fstat(fd).st_size, os.pwrite(fd, b"old", 0), os.fstat(fd).st_nlink) == (2 * PAGE, 3, 0)
    assert embryo.ranges() == [(0x700000, 0x701000, "rw-")]
    other.tell("map 0x600000 64K rw-")
    assert renamed(embryo.P(B), other.P(A), NOREPLACE) == "EEXIST"
    os.rename(embryo.P(B), other.P(A))
    assert (embryo.ranges(), other.ranges()) == ([], [(0x600000, 0x601000, "rw-")])


def test_mode_and_owner(embryo):
    embryo.tell("map 0x600000 4K rw-")
    for mode, seen in ((0o4755, 0o700), (0o644, 0o600), (0o1400, 0o1400), (0o777, 0o1700), (0o600, 0o1600)):
        os.chmod(embryo.P(A), mode)
        assert embryo.ranges()[0][2] == "".join(c if seen & bit else "-" for c, bit in zip("rwx", (256, 128, 64)))
        assert os.stat(embryo.P(A)).st_mode & 0o1700 == seen
    for uid, gid, wanted in ((os.getuid(), os.getgid(), "success"), (-1, -1, "success"), (12345, -1, "EPERM"),
                             (-1, 12345, "EPERM")):
        assert errno_of(os.chown, embryo.P(A), uid, gid) == wanted


@pytest.mark.parametrize("name, root, user", [
    ("status", "r", "r"), ("ctl", "rw", "rw"), ("mem", "rwx", "rwx"), (".", "rwx", "rx"), ("env/A", "rw", "rw"),
    (A, "rwx", "rx"), (B, "rw", "w"), ("../help", "r", "r"), ("../ctl", "rw", "rw")])
def test_access_says_what_the_mode_says(embryo, mode, name, root, user):
    embryo.tell("map 0x600000 4K r-x", "map 0x700000 4K -w-", "env A=1")
    may = "".join(letter for letter, bit in zip("rwx", (os.R_OK, os.W_OK, os.X_OK)) if os.access(embryo.P(name), bit))
    assert may == (root if mode == "root" else user)
    assert os.access(embryo.P(name), os.F_OK) and not os.access(embryo.P(name + "x"), os.F_OK)


# --- env/ -----------------------------------------------------------------------------------------------------------

def environment_of(embryo):
    out, status = embryo.run("exec /usr/bin/env -0")
    assert status == ""
    return dict(entry.split("=", 1) for entry in out.split("\0")[:-1])


def test_names_and_values_reach_the_process_as_they_are(embryo):
    names = ["two words", "käse", "new\nline", ".hidden", "-", 'quo"te', "x" * 255]
    values = ["", " ", "a=b", "käse\n\n", "x" * (64 << 10), "x" * 131072]
    wanted = {}
    for n, name in enumerate(names):
        value = values[n] if n < 4 else values[4] if n == 4 else "v"
        embryo.write(f"env/{name}", value)
        wanted[name] = value[:-1] if value.endswith("\n") else value
    assert embryo.env() == sorted(names)
    assert environment_of(embryo) == wanted


@pytest.mark.parametrize("name, wanted", [("x" * 256, "ENAMETOOLONG"), ("x" * 1000, "ENAMETOOLONG"), ("A=B", "EINVAL"),
                                          (".", "EISDIR"), ("..", "EISDIR")])
def test_a_name_that_cannot_be_a_files(embryo, name, wanted):
    assert touched(embryo.P("env", name), os.O_RDWR | os.O_CREAT) == wanted
    embryo.tell("env A=1")
    assert errno_of(os.rename, embryo.P("env/A"), embryo.P("env", name)) in (wanted, "EBUSY", "ENOTEMPTY")
    assert embryo.env() == ["A"]


def test_a_variable_that_cannot_be_a_file_is_one_all_the_same(embryo):
    names = [".", "..", "a/b", "x" * 256, "x" * 2000]
    embryo.tell(*(f"env '{name}=1'" for name in names), "env A=1")
    with os.scandir(embryo.P("env")) as entries:
        assert [entry.name for entry in entries] == ["A"]
    assert environment_of(embryo) == dict.fromkeys([*names, "A"], "1")


def test_a_variable_is_at_most_a_mebibyte(embryo):
    path = embryo.P("env/A")
    with created(path) as fd:
        for size in (0, 1, PAGE, 1 << 20):
            os.ftruncate(fd, 0)
            assert (os.pwrite(fd, b"v" * size, 0), os.fstat(fd).st_size) == (size, size)
        assert errno_of(os.pwrite, fd, b"v", 1 << 20) == "E2BIG"
        assert embryo.ask("exec /bin/true") == "E2BIG", "the kernel takes 128 KiB"


def test_a_variable_is_written_in_parts_but_has_no_holes(embryo):
    with created(embryo.P("env/A")) as fd, opened(embryo.P("env/A"), os.O_WRONLY | os.O_APPEND) as end:
        os.write(fd, b"0123456789")
        os.pwrite(fd, b"AB", 3)
        os.write(end, b"x")
        os.write(end, b"y")
        assert os.pread(fd, 20, 0) == b"012AB56789xy"
        os.ftruncate(fd, 3)
        assert (os.pread(fd, 20, 0), os.pread(fd, 5, 3), os.stat(embryo.P("env/A")).st_size) == (b"012", b"", 3)
        for call in ((os.pwrite, fd, b"x", 4), (os.ftruncate, fd, 4), (os.ftruncate, fd, -1), (os.pwrite, fd, b"\0", 0)):
            assert errno_of(*call) == "EINVAL"
        assert errno_of(mmap.mmap, fd, 3) == "ENODEV"
        with mmap.mmap(fd, 3, mmap.MAP_PRIVATE) as view:
            assert view[:] == b"012"
        os.truncate(embryo.P("env/A"), 0)
        assert touched(embryo.P("env/A"), os.O_RDWR | os.O_CREAT | os.O_EXCL) == "EEXIST"
    assert embryo.read("env/A") == ""


def test_an_open_variable_is_renamed_along_and_ends_with_its_removal(mount, embryo):
    other = mount.efork()
    path = embryo.P("env/A")
    embryo.tell("env A=1", "env B=2")
    with opened(path) as fd, opened(embryo.P("env/B")) as replaced:
        number = os.fstat(fd).st_ino
        os.rename(path, embryo.P("env/B"))
        assert (os.pwrite(fd, b"3", 0), os.fstat(fd).st_ino, embryo.read("env/B")) == (1, number, "3")
        assert errno_of(os.pread, replaced, 1, 0) == "ENOENT"
        os.unlink(embryo.P("env/B"))
        embryo.tell("env B=new")
        for call in ((os.pread, fd, 1, 0), (os.pwrite, fd, b"x", 0), (os.fstat, fd), (os.ftruncate, fd, 0)):
            assert errno_of(*call) == "ENOENT", "the new one is another file"
    assert embryo.read("env/B") == "new"
    embryo.tell("env C=3")
    for to, flags, wanted in (("B", 0, "success"), ("B", NOREPLACE, "EEXIST"), ("C", NOREPLACE, "EEXIST"),
                              ("C", EXCHANGE, "EINVAL"), ("A=B", 0, "EINVAL")):
        assert renamed(embryo.P("env/B"), embryo.P("env", to), flags) == wanted
    os.rename(embryo.P("env/B"), other.P("env/R"))
    assert (embryo.env(), other.env(), other.read("env/R")) == (["C"], ["R"], "new")


# --- fd/ ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name, wanted", [
    ("x", "EINVAL"), ("01", "EINVAL"), ("+1", "EINVAL"), (" 1", "EINVAL"), ("1 ", "EINVAL"), ("1.0", "EINVAL"),
    ("1048576", "EBADF"), ("99999999", "EMFILE"), ("2147483648", "EINVAL"), ("4294967297", "EINVAL"),
    ("1" * 256, "ENAMETOOLONG")])
def test_a_name_that_is_no_number_of_a_descriptor(embryo, name, wanted):
    os.symlink("/dev/null", embryo.P("fd/3"))
    made = [errno_of(os.symlink, "/dev/null", embryo.P("fd", name)), errno_of(os.link, embryo.P("fd/3"), embryo.P("fd", name)),
            errno_of(os.rename, embryo.P("fd/3"), embryo.P("fd", name))]
    assert made == [wanted] * 3
    missing = "ENOENT" if wanted != "ENAMETOOLONG" else wanted
    assert (errno_of(os.lstat, embryo.P("fd", name)), errno_of(os.unlink, embryo.P("fd", name))) == (missing, missing)
    assert embryo.fds() == {3: "/dev/null"}


def test_descriptors_are_links(embryo, tmp_path):
    fd = [embryo.P("fd", str(n)) for n in range(10)]
    os.symlink("/dev/null", fd[3])
    os.symlink("/dev/zero", fd[4])
    assert stat.S_ISLNK(os.lstat(fd[3]).st_mode) and os.stat(fd[3]).st_rdev == os.stat("/dev/null").st_rdev
    assert (touched(fd[3]), touched(fd[3], os.O_RDONLY | os.O_NOFOLLOW)) == ("success", "ELOOP")
    for call, wanted in (((os.link, fd[3], fd[4]), "EEXIST"), ((os.link, fd[8], fd[9]), "ENOENT"),
                         ((os.rename, fd[8], fd[9]), "ENOENT"), ((os.rename, fd[3], fd[3]), "success"),
                         ((os.unlink, fd[8]), "ENOENT"), ((os.rmdir, fd[3]), "ENOTDIR"), ((os.mkdir, fd[8]), "EPERM"),
                         ((touched, fd[8], os.O_RDWR | os.O_CREAT), None), ((os.symlink, "", fd[8]), "ENOENT"),
                         ((os.link, fd[3], tmp_path / "x"), "EXDEV"), ((os.rename, fd[3], embryo.P("env/A")), "EXDEV")):
        assert wanted in (errno_of(*call), None), call
    assert touched(fd[8], os.O_RDWR | os.O_CREAT) == "EPERM"
    assert (renamed(fd[3], fd[4], NOREPLACE), renamed(fd[3], fd[4], EXCHANGE)) == ("EEXIST", "EINVAL")
    os.rename(fd[3], fd[4])
    assert embryo.fds() == {4: "/dev/null"}
    os.symlink("/", fd[5])
    assert os.listdir(fd[5]) == os.listdir("/")


@pytest.mark.parametrize("link, target", [("fd/3", "fd/3"), ("fd/3", "fd/4/x"), (A, B), ("cwd", "cwd/x"), ("cwd", "none")])
def test_a_target_in_the_directory_of_the_link_is_ELOOP(mount, embryo, link, target):
    """The kernel keeps that directory locked, and whoever opens the target there waits deaf to signals."""
    embryo.tell("name here")
    for way in (embryo.dir, mount.P("here")):
        done = mount.sh(f"ln -sfn {way}/{target} {embryo.P(link)}", timeout=10)
        assert "Too many levels of symbolic links" in done.stderr
    assert "ln: " in embryo.error() and embryo.fds() == {}


def test_a_link_that_can_never_be_made_ends_when_interrupted(mount, embryo, tmp_path):
    """As above, by a way round that nobody can see."""
    (tmp_path / "round").symlink_to(embryo.dir)
    making = subprocess.Popen(["ln", "-s", tmp_path / "round/fd/4", embryo.P("fd/3")])
    try:
        time.sleep(0.2)
        making.send_signal(signal.SIGTERM)
        assert making.wait(20) != 0
    finally:
        making.kill()
    assert eventually(lambda: errno_of(os.rmdir, embryo.dir) in ("success", "ENOENT"))
    assert mount.efork().exists()


# --- the tree -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name, wanted", [
    ("two words", "success"), ("käse", "success"), ("new\nline", "success"), (".hidden", "success"), ("12a", "success"),
    ("x" * 255, "success"), ("x" * 256, "ENAMETOOLONG"), ("x" * 5000, "ENAMETOOLONG"), ("123", "EINVAL"), ("0", "EINVAL"),
    ("ctl", "EEXIST"), ("self", "EEXIST"), ("error", "EEXIST"), ("none/x", "ENOENT"), ("help/x", "ENOTDIR")])
def test_names_of_processes(mount, name, wanted):
    mount.efork("old")
    assert errno_of(os.mkdir, mount.P(name)) == wanted
    if wanted == "success":
        assert name in os.listdir(mount.path) and os.path.isdir(mount.P(name))
        assert (errno_of(os.mkdir, mount.P(name)), errno_of(os.rmdir, mount.P(name))) == ("EEXIST", "ENOTDIR")
        assert errno_of(os.rename, mount.P("old"), mount.P(name)) == "EEXIST"
        os.rmdir(mount.P(os.readlink(mount.P(name))))
    assert errno_of(os.rename, mount.P("old"), mount.P(name)) == wanted


def test_what_belongs_to_the_tree_stays(mount, embryo):
    embryo.tell("name old", "env A=1")
    root, old, number = mount.path, mount.P("old"), embryo.dir
    before = sorted(os.listdir(number))
    for call, wanted in (
            ((os.rmdir, mount.P("ctl")), "ENOTDIR"), ((os.rmdir, mount.P("none")), "ENOENT"), ((os.rmdir, root), "EBUSY"),
            ((os.rmdir, embryo.P("mem")), "EPERM"), ((os.rmdir, embryo.P(".")), "EINVAL"), ((os.unlink, number), "EISDIR"),
            ((os.unlink, mount.P("help")), "EPERM"), ((os.unlink, embryo.P("mem")), "EISDIR"),
            ((os.mkdir, number), "EEXIST"), ((os.rename, number, mount.P("x")), "EPERM"),
            ((os.rename, mount.P("ctl"), mount.P("x")), "EPERM"), ((os.rename, old, number), "EISDIR"),
            ((os.rename, old, mount.P("ctl")), "EEXIST"), ((os.rename, old, mount.P("77")), "EINVAL"),
            ((os.rename, old, embryo.P("x")), "EXDEV"), ((os.rename, old, old), "success"),
            ((os.rename, embryo.P("status"), embryo.P("maps")), "EPERM"), ((os.link, mount.P("help"), mount.P("x")), "EPERM"),
            ((os.link, embryo.P("args"), embryo.P("x")), "EPERM"), ((os.link, embryo.P("args"), embryo.P(A)), "EXDEV"),
            ((os.link, embryo.P("env/A"), embryo.P("fd/3")), "EXDEV"), ((os.stat, embryo.P("status/")), "ENOTDIR"),
            ((os.stat, embryo.P("status/x")), "ENOTDIR"), ((os.stat, mount.P("x/" * 2100)), "ENAMETOOLONG"),
            ((touched, embryo.P("none")), None)):
        assert wanted in (errno_of(*call), None), call
    assert renamed(old, mount.P("ctl"), EXCHANGE) == "EINVAL"
    for name in (mount.P("help"), mount.P("error"), embryo.P("status"), embryo.P("wait")):
        assert touched(name, os.O_WRONLY) == touched(name) == "EACCES"
    assert sorted(os.listdir(number)) == before


@pytest.mark.parametrize("directory", [".", "N", "N/mem", "N/env", "N/fd", "N/ns", "N/task", "N/task/N"])
def test_nothing_foreign_is_made_in_a_directory(mount, embryo, directory):
    path = mount.P(directory.replace("N", str(embryo.pid)))
    # A socket's address is short.
    bind = "import os, socket, sys; os.chdir(sys.argv[1]); socket.socket(socket.AF_UNIX).bind('x')"
    assert "Operation not permitted" in subprocess.run(["/usr/bin/python3", "-c", bind, path], stderr=-1, text=True).stderr
    x = os.path.join(path, "x")
    for call in ((os.mkfifo, x), (os.mknod, x), (os.symlink, "y", x), (os.mkdir, x)):
        allowed = ("EPERM", "EINVAL") if call[0] is os.symlink else ("EPERM",)
        is_made = call[0] is os.mkdir and directory in (".", "N/task")  # a process, room for an image's thread
        assert is_made or errno_of(*call) in allowed, call
    if directory != "N/env":
        assert touched(x, os.O_RDWR | os.O_CREAT) in ("EPERM", "EINVAL")
    assert touched(path, os.O_RDWR | os.O_TMPFILE) == "ENOTSUP"
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_CREAT):
        assert touched(path, flags) == "EISDIR"
    assert (errno_of(os.unlink, x), errno_of(os.truncate, path, 0)) == ("ENOENT", "EISDIR")
    assert (errno_of(os.getxattr, path, "user.x"), errno_of(os.setxattr, path, "user.x", b"")) == ("ENOTSUP", "ENOTSUP")
    assert os.stat(path).st_nlink == 1, "find(1) and others then do not count on a number"
    assert os.statvfs(path).f_namemax == 255
    with opened(path, os.O_RDONLY | os.O_DIRECTORY) as fd:
        assert (errno_of(os.read, fd, 1), errno_of(os.fsync, fd)) == ("EISDIR", "success")
        assert errno_of(fcntl.flock, fd, fcntl.LOCK_SH) == "success"


def whole_tree(mount):
    for directory, _, _ in os.walk(mount.path):
        with os.scandir(directory) as entries:
            yield from entries


def test_every_file_is_what_its_directory_says(mount, embryo):
    embryo.tell("map 0x600000 4K rw-", "fd 3 open /dev/null r", "env A=1", "map vdso", "name named")
    numbers = {}
    for entry in whole_tree(mount):
        st = os.lstat(entry.path)
        assert entry.inode() == st.st_ino, entry.path
        assert (entry.is_symlink(), entry.is_dir(follow_symlinks=False)) == (stat.S_ISLNK(st.st_mode), stat.S_ISDIR(st.st_mode))
        assert numbers.setdefault(st.st_ino, entry.path) == entry.path
    assert numbers == {os.lstat(path).st_ino: path for path in numbers.values()}, "and stays it"
    for name in ("mem", "task", f"task/{embryo.pid}"):
        assert os.stat(embryo.P(name, "..")).st_ino == os.stat(os.path.dirname(embryo.P(name))).st_ino


def test_every_file_can_be_asked_everything(mount, embryo):
    """Polled, sought, mapped, read in pieces, touched."""
    embryo.tell("map 0x600000 4K rw-", "env A=1", "args one two")
    asked = 0
    for entry in whole_tree(mount):
        if not entry.is_file(follow_symlinks=False) or entry.name in ("clone", "stats.json"):
            continue
        asked += 1
        with opened(entry.path, os.O_RDONLY | os.O_NONBLOCK) as fd:
            is_wait = entry.name == "wait"
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            assert [bool(poll.poll(0)), bool(select.select([fd], [], [], 0)[0])] == [not is_wait] * 2, entry.path
            with select.epoll() as epoll:
                epoll.register(fd, select.EPOLLIN)
                assert bool(epoll.poll(0)) == (not is_wait)
            assert errno_of(os.lseek, fd, -1, os.SEEK_SET) == "EINVAL"
            assert errno_of(os.pread, fd, 10, 1 << 40) == ("EAGAIN" if is_wait else "success")
            assert touched(entry.path, os.O_RDONLY | os.O_DIRECTORY) == "ENOTDIR"
            assert errno_of(os.utime, entry.path) == errno_of(os.fsync, fd) == "success"
            assert errno_of(os.getxattr, entry.path, "user.x") == "ENOTSUP"
            if is_wait:
                continue
            whole = os.pread(fd, 1 << 20, 0)
            for size in (1, 100, PAGE):
                if len(whole) // size < 200:
                    assert b"".join(os.pread(fd, size, n) for n in range(0, len(whole), size)) == whole, entry.path
            if entry.name not in ("status", "ctl"):  # of a thread, counts the page faults
                assert len(whole) == os.fstat(fd).st_size == os.lseek(fd, 0, os.SEEK_END), entry.path
            if whole and "/mem/" not in entry.path:
                with mmap.mmap(fd, len(whole), mmap.MAP_PRIVATE, mmap.PROT_READ) as view:
                    assert len(view[:]) == len(whole)
    assert asked > 15


def test_a_directory_can_be_watched_and_named_by_handle(embryo):
    queue = libc.inotify_init1(os.O_NONBLOCK)
    try:
        assert libc.inotify_add_watch(queue, os.fsencode(embryo.P("env")), 0x100) > 0  # IN_CREATE
        embryo.write("env/A", "1")
        assert b"A\0" in os.read(queue, 4096)
    finally:
        os.close(queue)
    handle, where = ctypes.create_string_buffer(struct.pack("I", 128), 200), ctypes.c_int()
    answer = errno_of(lambda: checked(libc.name_to_handle_at(-100, os.fsencode(embryo.P("args")), handle, ctypes.byref(where), 0)))
    assert answer in ("success", "EOPNOTSUPP", "ENOTSUP")


def test_a_listing_misses_nothing_that_stays_and_says_nothing_twice(embryo):
    embryo.tell(*(f"env STAYS_{n:04}={n}" for n in range(2000)), "env GOES_0=1")
    libc.opendir.restype = libc.readdir.restype = ctypes.c_void_p
    libc.telldir.restype = ctypes.c_long
    directory = ctypes.c_void_p(libc.opendir(os.fsencode(embryo.P("env"))))

    def entries():
        while entry := libc.readdir(directory):
            yield ctypes.string_at(entry + 19).decode()

    seen, places = [], {}
    for n, name in enumerate(entries()):
        seen.append(name)
        if n % 50 == 0:
            embryo.tell(f"env GOES_{n + 50}=1", f"unset GOES_{n}")
            places[len(seen)] = libc.telldir(directory)
    assert len(seen) == len(set(seen))
    assert [name for name in seen if name.startswith("STAYS")] == [f"STAYS_{n:04}" for n in range(2000)]
    for count, place in list(places.items())[::10]:
        libc.seekdir(directory, ctypes.c_long(place))
        assert list(entries()) == seen[count:]
    libc.closedir(directory)
    assert "GOES_0" in seen and "GOES_0" not in embryo.env() and embryo.env()[0] == "GOES_2050"


# --- several at once ------------------------------------------------------------------------------------------------

def at_once(*steps, seconds=1.0):
    """Each in a thread, again and again; the errnos that they had."""
    end, answers = time.monotonic() + seconds, []

    def repeat(step):
        while time.monotonic() < end:
            answers.append(errno_of(step))

    threads = [threading.Thread(target=repeat, args=[step], daemon=True) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive(), "hangs"
    return set(answers)


@pytest.mark.parametrize("path", [A, "env/A"])
def test_appending_and_truncating_at_once(embryo, path):
    file = embryo.P(path)
    with created(file):
        pass

    def append():
        with opened(file, os.O_WRONLY | os.O_APPEND) as fd:
            os.write(fd, b"x" * 100)

    def look():
        with opened(file) as fd:
            assert not os.pread(fd, 1 << 20, 0).strip(b"x\0")

    # Where the kernel has not seen the other's truncation, what it appends would be after the end.
    wanted = {"success"} if path == A else {"success", "EINVAL"}
    assert at_once(append, append, lambda: os.truncate(file, 0), look, lambda: embryo.tell("umask 022")) <= wanted
    size = os.stat(file).st_size
    embryo.tell("umask 022")
    assert [r.end - r.start for r in embryo.maps()] == ([-(-size // PAGE) * PAGE] if size and path == A else [])


@pytest.mark.parametrize("one, two", [(A, B), ("env/A", "env/B"), ("fd/3", "fd/4")])
def test_opening_renaming_and_removing_at_once(embryo, one, two):
    one, two = embryo.P(one), embryo.P(two)

    def make():
        if one.endswith("fd/3"):
            os.symlink("/dev/null", one)
        else:
            with opened(one, os.O_RDWR | os.O_CREAT) as fd:
                os.write(fd, b"x" * 100)

    def look():
        with opened(two, os.O_RDONLY) as fd:
            os.read(fd, 100)
            os.fstat(fd)

    answers = at_once(make, lambda: os.rename(one, two), look, lambda: os.unlink(two), lambda: os.listdir(os.path.dirname(one)))
    assert answers <= {"success", "ENOENT", "EEXIST", "ESTALE", "EBADF"}, answers
    embryo.tell("umask 022")
