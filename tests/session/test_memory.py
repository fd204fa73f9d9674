"""Memory: the commands map, unmap, protect, move, and mem/ as files. Which pages there are is asked of the kernel."""
import mmap
import os
import stat
import struct

import pytest

import machine_code as code
from mount import errno_of, eventually, kernel_maps, parse_maps, read

A, B, C = 0x600000, 0x700000, 0x800000
PAGE = 4096


def mem(embryo, address):
    return embryo.P("mem", f"{address:x}")


def create(embryo, address, content=b"", mode=0o600):
    fd = os.open(mem(embryo, address), os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
    with open(fd, "wb") as f:
        f.write(content)


def content(embryo, address, length=None):
    with open(mem(embryo, address), "rb") as f:
        return f.read(length)


def put(embryo, address, data):
    with open(mem(embryo, address), "r+b") as f:
        f.write(data)


def shared_map(path):
    """A mapping of this process; it lives longer than its descriptor."""
    fd = os.open(path, os.O_RDWR)
    try:
        return mmap.mmap(fd, 0, mmap.MAP_SHARED)
    finally:
        os.close(fd)


def regions_of_kernel(embryo):
    """What /proc says, without the hidden pages: those that do not start where a region of the mount starts."""
    mine = {r.start for r in embryo.maps()}
    return [r.line for r in kernel_maps(embryo.pid) if r.start in mine]


# --- commands -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("prot", ["rw-", "r--", "r-x", "---", "rwx", "--x"])
def test_map_makes_pages_of_that_protection(embryo, prot):
    embryo.tell(f"map {A:#x} 8K {prot}")
    assert embryo.ranges() == [(A, A + 2 * PAGE, prot)]


def test_maps_says_what_the_kernel_says(embryo):
    embryo.tell(f"map {A:#x} 4K rw-", f"map {B:#x} 4K r-- file /bin/true", f"map {C:#x} 4K rw- shared")
    assert [r.line for r in embryo.maps()] == regions_of_kernel(embryo)
    assert len(embryo.maps()) == 3


def test_map_is_real_at_once_for_the_kernel(embryo):
    before = {r.start for r in kernel_maps(embryo.pid)}
    embryo.tell(f"map {A:#x} 1M rw-")
    assert [(r.start, r.end) for r in kernel_maps(embryo.pid) if r.start not in before] == [(A, A + (1 << 20))]


def test_mem_has_one_file_per_region_named_by_its_address(embryo):
    embryo.tell(f"map {A:#x} 4K rw-", f"map {B:#x} 8K r-x", "map 0x7f0000000000 4K r--")
    assert embryo.mem() == ["600000", "700000", "7f0000000000"]
    assert os.stat(mem(embryo, B)).st_size == 2 * PAGE


@pytest.mark.parametrize("prot, mode", [("rw-", 0o600), ("r-x", 0o500), ("---", 0), ("rwx", 0o700)])
def test_mode_bits_of_a_region_are_its_protection(embryo, prot, mode):
    embryo.tell(f"map {A:#x} 4K {prot}")
    assert stat.S_IMODE(os.stat(mem(embryo, A)).st_mode) & 0o700 == mode


def test_map_any_finds_a_free_place(embryo):
    embryo.tell("map any 64K rw-", "map any 64K r--")
    (start, end, _), (start2, end2, _) = embryo.ranges()
    assert (end - start, end2 - start2) == (1 << 16, 1 << 16)
    assert start % PAGE == 0 and end <= start2


def test_map_shared_is_shared_for_the_kernel(embryo):
    embryo.tell(f"map {A:#x} 4K rw- shared")
    assert embryo.maps()[0].prot == "rw-s"


def test_map_file_shows_the_file(embryo, tmp_path):
    (tmp_path / "data").write_bytes(b"a" * PAGE + b"b" * PAGE)
    embryo.tell(f"map {A:#x} 4K r-- file {tmp_path}/data 4096")
    assert embryo.maps()[0].line.endswith(f"{tmp_path}/data")
    assert " 00001000 " in embryo.maps()[0].line
    assert content(embryo, A, 4) == b"bbbb"


def test_map_file_is_private_unless_shared(embryo, tmp_path):
    file = tmp_path / "data"
    file.write_bytes(b"a" * PAGE)
    embryo.tell(f"map {A:#x} 4K rw- file {file}", f"map {B:#x} 4K rw- shared file {file}")
    put(embryo, A, b"private")
    assert file.read_bytes()[:7] == b"aaaaaaa"
    put(embryo, B, b"shared")
    assert file.read_bytes()[:7] == b"shareda"


def test_map_vdso_maps_the_kernels_own(embryo):
    embryo.tell("map vdso 0x7fff0000")
    vdso = [r for r in embryo.maps() if r.line.endswith("[vdso]")]
    assert len(vdso) == 1 and vdso[0].prot[:3] == "r-x"
    assert 0x7fff0000 == min(r.start for r in embryo.maps())


def test_map_vdso_without_an_address(embryo):
    embryo.tell("map vdso")
    assert any(r.line.endswith("[vdso]") for r in embryo.maps())


def test_unmap_takes_the_region_away(embryo):
    embryo.tell(f"map {A:#x} 4K rw-", f"map {B:#x} 4K rw-", f"unmap {A:#x}")
    assert embryo.ranges() == [(B, B + PAGE, "rw-")]
    assert embryo.mem() == ["700000"]


def test_unmap_with_a_length_takes_a_part(embryo):
    embryo.tell(f"map {A:#x} 16K rw-", f"unmap {A + PAGE:#x} 4K")
    assert embryo.ranges() == [(A, A + PAGE, "rw-"), (A + 2 * PAGE, A + 4 * PAGE, "rw-")]


def test_protect_splits_a_region(embryo):
    embryo.tell(f"map {A:#x} 12K rw-", f"protect {A + PAGE:#x} 4K r--")
    assert [r[2] for r in embryo.ranges()] == ["rw-", "r--", "rw-"]


def test_move_keeps_the_content(embryo):
    embryo.tell(f"map {A:#x} 8K rw-")
    put(embryo, A, b"carried")
    embryo.tell(f"move {A:#x} {B:#x}")
    assert embryo.ranges() == [(B, B + 2 * PAGE, "rw-")]
    assert content(embryo, B, 7) == b"carried"


def test_overlaps_are_EEXIST_and_change_nothing(embryo):
    embryo.tell(f"map {A:#x} 12K rw-", f"map {B:#x} 4K r--")
    before = embryo.read("maps")
    for line in (f"map {A:#x} 4K r--", f"map {A + PAGE:#x} 4K r--", f"map {A - PAGE:#x} 8K r--",
                 f"map {A - PAGE:#x} 64K r--", f"move {B:#x} {A + PAGE:#x}"):
        assert embryo.ask(line) == "EEXIST", line
    assert embryo.read("maps") == before


def test_unmap_protect_and_move_of_nothing_are_refused(embryo):
    for line in (f"unmap {A:#x}", f"protect {A:#x} 4K r--", f"move {A:#x} {B:#x}"):
        assert embryo.ask(line) in ("ENOENT", "ENOMEM", "EINVAL", "EFAULT"), line


# --- the maps file --------------------------------------------------------------------------------------------------

def test_one_processs_maps_fed_to_another(mount, tmp_path):
    (tmp_path / "data").write_bytes(b"d" * PAGE)
    one, two = mount.efork(), mount.efork()
    one.tell(f"map {A:#x} 4K rw-", f"map {B:#x} 64K r-x", f"map {C:#x} 4K r-- file {tmp_path}/data")
    assert mount.out(f"cat {one.P('maps')} > {two.P('maps')}") == ""
    assert two.ranges() == one.ranges()
    assert content(two, C, 4) == b"dddd"


def test_a_line_of_maps_maps_it(embryo):
    embryo.write("maps", "00600000-00602000 rw-p 00000000 00:00 0 \n")
    assert embryo.ranges() == [(A, A + 2 * PAGE, "rw-")]


def test_a_line_of_maps_in_the_way_is_EEXIST(embryo):
    line = "00600000-00602000 rw-p 00000000 00:00 0\n"
    embryo.write("maps", line)
    embryo.write("maps", line)  # which is so already
    assert errno_of(embryo.write, "maps", line.replace("rw-p", "r--p")) == "EEXIST"


@pytest.mark.parametrize("line", ["junk", "00600000-00500000 rw-p 00000000 00:00 0",
                                  "00600001-00601000 rw-p 0 00:00 0"])
def test_a_line_that_maps_never_shows_is_EINVAL(embryo, line):
    assert errno_of(embryo.write, "maps", line + "\n") == "EINVAL"
    assert embryo.read("maps") == ""


# --- mem/ as files --------------------------------------------------------------------------------------------------

def test_creating_and_writing_a_file_maps_it(embryo):
    create(embryo, A, b"x" * PAGE)
    assert embryo.ranges() == [(A, A + PAGE, "rw-")]
    assert content(embryo, A) == b"x" * PAGE


def test_ftruncate_is_the_length(embryo):
    fd = os.open(mem(embryo, A), os.O_RDWR | os.O_CREAT, 0o600)
    os.ftruncate(fd, 1 << 20)
    os.close(fd)
    assert embryo.ranges() == [(A, A + (1 << 20), "rw-")]


def test_truncate_grows_and_shrinks(mount, embryo):
    create(embryo, A, b"keep" + bytes(PAGE - 4))
    mount.out(f"truncate -s 64K {mem(embryo, A)}")
    assert embryo.ranges() == [(A, A + (64 << 10), "rw-")]
    mount.out(f"truncate -s 8K {mem(embryo, A)}")
    assert embryo.ranges() == [(A, A + (8 << 10), "rw-")]
    assert content(embryo, A, 4) == b"keep"


def test_cp_of_a_file_that_is_no_multiple_of_a_page(mount, embryo):
    """Mapped are whole pages; what follows the file is zero."""
    mount.out(f"printf 'short' > short; cp short {mem(embryo, A)}")
    assert embryo.ranges() == [(A, A + PAGE, "rw-")]
    assert content(embryo, A).rstrip(b"\0") == b"short"


def test_cp_keeps_the_protection_of_the_mode_bits(mount, embryo):
    mount.out(f"head -c 4096 /dev/zero > page; chmod 500 page; cp page {mem(embryo, A)}; rm -f page")
    assert embryo.ranges() == [(A, A + PAGE, "r-x")]


@pytest.mark.parametrize("mode, prot", [("500", "r-x"), ("400", "r--"), ("700", "rwx"), ("0", "---"), ("u=rw", "rw-")])
def test_chmod_is_protect(mount, embryo, mode, prot):
    create(embryo, A, b"x" * PAGE)
    mount.out(f"chmod {mode} {mem(embryo, A)}")
    assert embryo.ranges() == [(A, A + PAGE, prot)]


def test_rm_is_unmap(mount, embryo):
    create(embryo, A, b"x" * PAGE)
    create(embryo, B, b"y" * PAGE)
    mount.out(f"rm -f {mem(embryo, A)}")
    assert embryo.ranges() == [(B, B + PAGE, "rw-")]


@pytest.mark.parametrize("goes", ["region", "process"])
def test_what_was_removed_is_a_file_as_long_as_it_is_open(embryo, goes):
    embryo.tell(f"map {A:#x} 8K rw-")
    path = embryo.P("mem", f"{A:x}")
    with open(path, "r+b", buffering=0) as f:
        f.write(b"kept")
        if goes == "region":
            os.remove(path)
        else:
            os.rmdir(embryo.dir)
        assert (os.fstat(f.fileno()).st_size, f.seek(0, os.SEEK_END), os.pread(f.fileno(), 4, 0)) == (8192, 8192, b"kept")
        os.ftruncate(f.fileno(), 4096)
        assert os.fstat(f.fileno()).st_size == 4096


def test_mv_is_move(mount, embryo):
    create(embryo, A, b"carried" + bytes(PAGE - 7))
    mount.out(f"mv {mem(embryo, A)} {mem(embryo, B)}")
    assert embryo.ranges() == [(B, B + PAGE, "rw-")]
    assert content(embryo, B, 7) == b"carried"


def test_mv_into_another_embryo(mount):
    one, two = mount.efork(), mount.efork()
    create(one, A, b"carried" + bytes(PAGE - 7))
    mount.out(f"mv {mem(one, A)} {mem(two, B)}")
    assert (one.ranges(), two.ranges()) == ([], [(B, B + PAGE, "rw-")])
    assert content(two, B, 7) == b"carried"


def test_ln_shares_a_region_between_embryos(mount):
    one, two = mount.efork(), mount.efork()
    create(one, A, bytes(PAGE))
    mount.out(f"ln {mem(one, A)} {mem(two, B)}")
    put(one, A, b"seen by both")
    assert content(two, B, 12) == b"seen by both"
    put(two, B, b"SEEN")
    assert content(one, A, 12) == b"SEEN by both"


def test_ln_s_maps_a_file_privately(mount, embryo, tmp_path):
    file = tmp_path / "data"
    file.write_bytes(b"original" + bytes(PAGE))
    mount.out(f"ln -s {file} {mem(embryo, A)}")
    assert [(r.start, r.end) for r in embryo.maps()] == [(A, A + 2 * PAGE)]
    assert content(embryo, A, 8) == b"original"
    if embryo.maps()[0].prot[1] == "w":
        put(embryo, A, b"changed!")
    assert file.read_bytes()[:8] == b"original"


def test_cp_between_embryos_is_a_copy(mount):
    one, two = mount.efork(), mount.efork()
    create(one, A, b"first" + bytes(PAGE - 5))
    mount.out(f"cp {mem(one, A)} {mem(two, A)}")
    put(one, A, b"later")
    assert content(two, A, 5) == b"first"


def test_creating_in_the_way_of_a_region_is_EEXIST(embryo):
    embryo.tell(f"map {A:#x} 12K rw-")
    assert errno_of(create, embryo, A + PAGE, b"x" * PAGE) == "EEXIST"
    assert errno_of(create, embryo, A) == "EEXIST"
    assert embryo.ranges() == [(A, A + 3 * PAGE, "rw-")]


def test_growing_into_a_neighbour_is_EEXIST(embryo, mode):
    create(embryo, A, bytes(PAGE))
    embryo.tell(f"map {A + 4 * PAGE:#x} 4K r--")
    answer = errno_of(os.truncate, mem(embryo, A), 5 * PAGE)
    # A user's call goes past the daemon to the memory itself; what does not fit is cut off when proc9 next looks.
    assert answer == ("EEXIST" if mode == "root" else "success")
    end = A + (PAGE if mode == "root" else 4 * PAGE)
    assert embryo.ranges() == [(A, end, "rw-"), (A + 4 * PAGE, A + 5 * PAGE, "r--")]


@pytest.mark.parametrize("name", ["600001", "0x600000", "60000G", "hello", "fffffffffffff000", "00600000", "7C0000"])
def test_a_name_that_is_no_page_address_is_refused(embryo, name):
    call = errno_of(os.open, embryo.P("mem", name), os.O_RDWR | os.O_CREAT, 0o600)
    assert call in ("EINVAL", "ENOMEM")
    assert embryo.mem() == []


def test_an_address_that_is_not_there_is_ENOENT(embryo):
    assert errno_of(open, mem(embryo, A)) == "ENOENT"
    assert errno_of(os.unlink, mem(embryo, A)) == "ENOENT"


def test_two_mappers_see_each_others_stores(embryo):
    embryo.tell(f"map {A:#x} 64K rw-")
    one, two = shared_map(mem(embryo, A)), shared_map(mem(embryo, A))
    assert len(one) == 64 << 10
    one[10:15] = b"there"
    assert two[10:15] == b"there"
    two[40000:40004] = b"back"
    assert one[40000:40004] == b"back"


def test_mmap_read_and_write_are_of_one_memory(embryo):
    embryo.tell(f"map {A:#x} 4K rw-")
    view = shared_map(mem(embryo, A))
    put(embryo, A, b"by write")
    assert view[:8] == b"by write"
    view[:8] = b"by store"
    view.flush()  # msync
    assert content(embryo, A, 8) == b"by store"


def test_what_was_stored_is_what_the_started_process_has(embryo):
    embryo.tell(f"map {A:#x} 4K rw-")
    shared_map(mem(embryo, A))[:8] = struct.pack("<Q", 23)
    code.load(embryo, bytes.fromhex("488b3c25") + struct.pack("<I", A) + code.EXIT_WITH_RDI)  # mov rdi, [A]
    embryo.tell(f"entry {code.CODE:#x}")
    assert embryo.wait().status == "exit 23"


def test_content_survives_protect_chmod_and_a_change_of_length(embryo):
    create(embryo, A, b"kept" + bytes(PAGE - 4))
    os.chmod(mem(embryo, A), 0o400)
    os.chmod(mem(embryo, A), 0o600)
    embryo.tell(f"protect {A:#x} 4K r--", f"protect {A:#x} 4K rw-")
    assert content(embryo, A, 4) == b"kept"


def test_256_mebibytes_copied_in_with_cp_compare_equal(mount, embryo):
    block = os.urandom(1 << 20)
    with open(os.path.join(mount.scratch, "big"), "wb") as f:
        for n in range(256):
            f.write(struct.pack("<Q", n) + block[8:])
    try:
        mount.out(f"cp big {mem(embryo, 0x10000000)} && cmp big {mem(embryo, 0x10000000)}", timeout=50)
    finally:
        os.unlink(os.path.join(mount.scratch, "big"))
    assert embryo.ranges() == [(0x10000000, 0x20000000, "rw-")]


def test_a_thousand_regions(embryo):
    embryo.tell(*(f"map {0x10000000 + n * 0x2000:#x} 4K rw-" for n in range(1000)))
    assert len(embryo.maps()) == len(embryo.mem()) == 1000


# --- after start ----------------------------------------------------------------------------------------------------

def start(embryo):
    code.load(embryo, code.PAUSE_FOR_EVER)
    embryo.tell(f"entry {code.CODE:#x}")


def test_after_start_mem_lists_only_shared_regions(embryo):
    embryo.tell(f"map {A:#x} 4K rw-", f"map {B:#x} 4K rw- shared")
    start(embryo)
    assert embryo.mem() == ["700000"]


def test_chmod_t_exports_a_private_region(mount, embryo):
    embryo.tell(f"map {A:#x} 4K rw-")
    mount.out(f"chmod +t {mem(embryo, A)}")
    start(embryo)
    assert embryo.mem() == ["600000"]
    shared_map(mem(embryo, A))[:2] = b"ok"
    assert content(embryo, A, 2) == b"ok"


def test_a_private_region_held_open_cannot_reach_the_started_process(embryo):
    """The child gets its own copy; the old handle keeps the old pages."""
    embryo.tell(f"map {A:#x} 4K rw-")
    view = shared_map(mem(embryo, A))
    view[:8] = struct.pack("<Q", 5)
    # Waits for the second number, which nobody can store any more: it is still running after our store.
    code.load(embryo, code.count_until_told(A))
    embryo.tell(f"entry {code.CODE:#x}")
    view[8:16] = struct.pack("<Q", 9)
    embryo.tell("stop")
    assert struct.unpack("<Q", view[:8]) == (5,), "the old pages do not count"
    with open(f"/proc/{embryo.pid}/mem", "rb") as f:
        f.seek(A)
        count, told = struct.unpack("<QQ", f.read(16))
    assert count >= 5 and told == 0


def test_a_linked_region_stays_shared_after_start(mount):
    one, two = mount.efork(), mount.efork()
    create(one, A, bytes(PAGE))
    os.link(mem(one, A), mem(two, A))
    code.load(one, code.count_until_told(A))
    one.tell(f"entry {code.CODE:#x}")
    put(two, A, struct.pack("<QQ", 0, 6))
    assert one.wait().status == "exit 6"


def test_maps_of_a_running_program_are_the_kernels(embryo):
    embryo.tell("exec /bin/sleep 1000")

    def equal():  # once the loader has done its work
        kernels = [line for line in read(f"/proc/{embryo.pid}/maps").splitlines() if "[vsyscall]" not in line]
        return embryo.read("maps").splitlines() == kernels
    assert eventually(equal)
    assert any("[stack]" in r.line for r in parse_maps(embryo.read("maps")))


def test_protecting_a_shared_region_in_one_embryo_leaves_the_others_alone(mount, embryo):
    other = mount.efork()
    embryo.tell(f"map {A:#x} 4K rw- shared")
    os.link(mem(embryo, A), mem(other, B))
    embryo.tell(f"protect {A:#x} 4K r--")
    other.tell("umask 022")
    assert [prot for _, _, prot in embryo.ranges()] == ["r--"]
    assert [prot for _, _, prot in other.ranges()] == ["rw-"]
