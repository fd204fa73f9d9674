"""copy: mappings of another process. What came over is compared byte by byte with what the kernel says of the source."""
import mmap
import os
import signal
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import machine_code as code
from mount import alive, eventually, kernel_maps, kernel_status, read

A, B = 0x600000, 0x700000
PAGE = 4096
MB = 1 << 20


def memory_of(pid, start, length):
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as f:
        f.seek(start)
        data = b""
        while len(data) < length and (piece := f.read(length - len(data))):
            data += piece
    return data


def source_lines(pid):
    return [r for r in kernel_maps(pid) if "[vvar" not in r.line and "[vdso]" not in r.line]


@pytest.fixture
def program():
    """Starts Python programs that say when they are ready; they end with the test."""
    started = []

    def start(script, *args):
        p = subprocess.Popen([sys.executable, "-c", script, *args], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        started.append(p)
        p.said = p.stdout.readline().split()
        return p
    yield start
    for p in started:
        p.kill()
        p.wait()
        p.stdout.close()


BUSY = """
import ctypes, sys, threading, time
objects = [bytearray(b'%08d' % n * 128) for n in range(int(sys.argv[1]) << 10)]
text = {n: str(n) * 20 for n in range(10000)}
pair = (ctypes.c_uint64 * (2 << 17))()
def count():                      # first one, then the other; never more than one apart
    for n in range(1 << 60):
        pair[0] = n
        pair[-1] = n
threading.Thread(target=count, daemon=True).start()
print(hex(ctypes.addressof(pair)), hex(ctypes.addressof(pair) + ctypes.sizeof(pair) - 8), flush=True)
while True:
    time.sleep(0.001)
"""


# --- a running program ----------------------------------------------------------------------------------------------

def test_a_running_interpreter_is_copied_while_it_goes_on(embryo, program):
    """200 MB of objects, two threads. One moment of it: two counters that are never two apart, and all that does not change."""
    source = program(BUSY, "200")
    first, second = (int(word, 16) for word in source.said)
    embryo.tell(f"copy {source.pid}")
    before = struct.unpack("<Q", memory_of(source.pid, first, 8))
    assert eventually(lambda: struct.unpack("<Q", memory_of(source.pid, first, 8)) > before), "it goes on"
    one, two = (struct.unpack("<Q", memory_of(embryo.pid, at, 8))[0] for at in (first, second))
    assert one - two in (0, 1)
    mine = {(r.start, r.end, r.prot) for r in embryo.maps()}
    assert {(r.start, r.end, r.prot) for r in source_lines(source.pid) if "heap" not in r.line and "stack" not in r.line} <= mine
    os.kill(source.pid, signal.SIGSTOP)
    assert eventually(lambda: kernel_status(source.pid, "State")[0] == "T")
    same = total = 0
    for r in source_lines(source.pid):
        if r.prot[0] == "r":
            ours, theirs = memory_of(embryo.pid, r.start, r.end - r.start), memory_of(source.pid, r.start, r.end - r.start)
            pages = range(0, len(theirs), PAGE)
            total += len(pages)
            same += sum(ours[p:p + PAGE] == theirs[p:p + PAGE] for p in pages)
    assert total > 200 * MB // PAGE
    assert same >= total - 500, "some pages were written to since"


def test_a_stopped_program_is_copied_exactly(embryo, program):
    source = program(BUSY, "4")
    os.kill(source.pid, signal.SIGSTOP)
    assert eventually(lambda: kernel_status(source.pid, "State")[0] == "T")
    embryo.tell(f"copy {source.pid}")
    for r in source_lines(source.pid):
        if r.prot[0] == "r":
            assert memory_of(embryo.pid, r.start, r.end - r.start) == memory_of(source.pid, r.start, r.end - r.start), r.line
    assert kernel_status(source.pid, "State")[0] == "T", "as it was"
    assert kernel_status(source.pid, "TracerPid") == "0"


def test_files_are_mapped_and_not_read(embryo, program):
    source = program(BUSY, "1")
    embryo.tell(f"copy {source.pid}")
    theirs = {r.start: r.line for r in source_lines(source.pid) if r.line.split()[4] != "0"}
    ours = {r.start: r.line for r in kernel_maps(embryo.pid)}
    assert len(theirs) > 10
    for start, line in theirs.items():
        assert ours[start] == line


def test_the_copy_has_its_own_pages(embryo, program):
    source = program(BUSY, "1")
    heap = next(r for r in kernel_maps(source.pid) if r.line.endswith("[heap]"))
    embryo.tell(f"copy {source.pid}:{heap.start:#x}")
    path = embryo.P("mem", f"{heap.start:x}")
    was = memory_of(source.pid, heap.start + PAGE, 8)
    with open(path, "r+b") as f:
        f.seek(PAGE)
        f.write(b"ours now")
    assert memory_of(source.pid, heap.start + PAGE, 8) == was
    assert memory_of(embryo.pid, heap.start + PAGE, 8) == b"ours now"


def test_shared_memory_is_shared(embryo, tmp_path):
    path = tmp_path / "shared"
    path.write_bytes(b"\0" * PAGE)
    with open(path, "r+b") as f, mmap.mmap(f.fileno(), PAGE) as view:
        place = next(r for r in kernel_maps(os.getpid()) if r.line.endswith(str(path)))
        embryo.tell(f"copy self:{place.start:#x} {A:#x}")
        view[:4] = b"both"
        assert memory_of(embryo.pid, A, 4) == b"both"
        assert embryo.maps()[0].prot == "rw-s"


def test_the_writer_itself_is_copied(embryo):
    view = mmap.mmap(-1, 4 * PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    view[PAGE:PAGE + 4] = b"mine"
    import ctypes
    at = ctypes.addressof(ctypes.c_char.from_buffer(view))
    embryo.tell(f"copy self:{at:#x}-{at + 4 * PAGE:#x} {A:#x}")
    view[PAGE:PAGE + 4] = b"more"
    assert memory_of(embryo.pid, A, 4 * PAGE) == b"\0" * PAGE + b"mine" + b"\0" * (3 * PAGE - 4)


def test_what_was_never_touched_costs_nothing(embryo, program):
    source = program("import mmap, time, ctypes\nv = mmap.mmap(-1, 8 << 30, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)\n"
                     "v[4 << 30] = 1\nprint(hex(ctypes.addressof(ctypes.c_char.from_buffer(v))), flush=True)\ntime.sleep(60)")
    at = int(source.said[0], 16)
    before = int(read("/proc/meminfo").split("Shmem:")[1].split()[0])
    embryo.tell(f"copy {source.pid}:{at:#x}-{at + (8 << 30):#x} {A:#x}")
    assert memory_of(embryo.pid, A + (4 << 30), 2) == b"\1\0"
    assert int(read("/proc/meminfo").split("Shmem:")[1].split()[0]) - before < 16384


# --- embryos --------------------------------------------------------------------------------------------------------

def test_an_embryo_is_copied_without_copying(mount, embryo):
    """A sealed object is common to both until somebody changes it."""
    other = mount.efork()
    other.tell(f"map {A:#x} 64M rw-", f"map {B + 64 * MB:#x} 4K rw- shared", "map 0x400000 4K r-- file /bin/true")
    with open(other.P("mem", f"{A:x}"), "r+b") as f:
        f.write(b"x" * (64 * MB))
    before = int(read("/proc/meminfo").split("Shmem:")[1].split()[0])
    embryo.tell(f"copy {other.pid}")
    assert int(read("/proc/meminfo").split("Shmem:")[1].split()[0]) - before < 16384
    assert embryo.read("maps") == other.read("maps")
    with open(other.P("mem", f"{A:x}"), "r+b") as f:
        f.write(b"y")
    assert memory_of(embryo.pid, A, 2) == b"xx"
    with open(other.P("mem", f"{B + 64 * MB:x}"), "r+b") as f:
        f.write(b"s")
    assert memory_of(embryo.pid, B + 64 * MB, 1) == b"s"


def test_a_part_of_an_embryo_by_name(mount, embryo):
    other = mount.efork("origin")
    with open(other.P("mem", f"{A:x}"), "wb") as f:
        f.write(b"a" * PAGE + b"b" * PAGE + b"c" * PAGE)
    embryo.tell(f"copy origin:{A + PAGE:#x}-{A + 2 * PAGE:#x} {B:#x}")
    assert embryo.ranges() == [(B, B + PAGE, "rw-")]
    with open(embryo.P("mem", f"{B:x}"), "rb") as f:
        assert f.read() == b"b" * PAGE


def test_within_itself(embryo):
    with open(embryo.P("mem", f"{A:x}"), "wb") as f:
        f.write(b"again")
    embryo.tell(f"copy {embryo.pid}:{A:#x} {B:#x}")
    with open(embryo.P("mem", f"{B:x}"), "r+b") as f:
        assert f.read(5) == b"again"
        f.write(b"other")
    assert memory_of(embryo.pid, A, 5) == b"again"


def test_a_copy_of_code_runs(mount, embryo):
    other = mount.efork()
    code.load(other, code.EXIT_WITH_RDI)
    embryo.tell(f"copy {other.pid}:{code.CODE:#x}", f"entry {code.CODE:#x} arg0=6")
    assert embryo.wait().status == "exit 6"


def test_a_started_process_is_copied(mount, embryo):
    other = mount.efork()
    other.tell(f"map {A:#x} 4K rw- shared", f"map {B:#x} 8K rw-")
    code.load(other, code.count_until_told(B))
    other.tell(f"entry {code.CODE:#x}")
    assert eventually(lambda: memory_of(other.pid, B, 2) > b"\1\0")
    embryo.tell(f"copy {other.pid}")
    assert embryo.ranges() == [(code.CODE, code.CODE + PAGE, "r-x"), (A, A + PAGE, "rw-"), (B, B + 2 * PAGE, "rw-")]
    count = memory_of(embryo.pid, B, 8)
    assert struct.unpack("<Q", count)[0] > 0
    assert alive(other.pid)
    embryo.tell(f"entry {code.CODE:#x}")
    assert eventually(lambda: memory_of(embryo.pid, B, 8) != count), "it counts on"


# --- refused --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("line,errno", [
    ("copy", "EINVAL"), ("copy nobody", "ENOENT"), ("copy 1:0x1001", "EINVAL"), ("copy self:0x5000-0x5000", "EINVAL"),
    ("copy self:0x1000", "ENOENT"), ("copy self:0x1000-0x2000", "ENOMEM"), ("copy 4000000", "ESRCH"),
])
def test_what_cannot_be_copied(embryo, line, errno):
    assert embryo.ask(line) == errno
    assert embryo.maps() == []


def test_something_in_the_way_is_EEXIST_and_changes_nothing(mount, embryo):
    other = mount.efork()
    other.tell(f"map {A:#x} 4K rw-", f"map {B:#x} 4K rw-")
    embryo.tell(f"map {B:#x} 4K r--")
    assert embryo.ask(f"copy {other.pid}") == "EEXIST"
    assert embryo.ranges() == [(B, B + PAGE, "r--")]


def test_the_daemon_is_not_copied(mount, embryo):
    assert embryo.ask(f"copy {mount.pid}") == "EPERM"


@pytest.mark.mode("user")
def test_somebody_elses_process_is_not_copied(embryo):
    assert embryo.ask("copy 1") in ("EACCES", "EPERM")


def test_two_copies_at_a_time_of_a_running_program(mount, program):
    """The first would let it go on amid the second."""
    source = program(BUSY, "50")
    made = [mount.efork() for _ in range(4)]
    with ThreadPoolExecutor(len(made)) as writers:
        said = list(writers.map(lambda one: one.ask(f"copy {source.pid}"), made))
    assert "EBUSY" in said or len(set(said)) == 1
    assert set(said) - {"EBUSY"} == {len(f"copy {source.pid}")}
    whole = max(len(one.maps()) for one in made)
    assert [len(one.maps()) for one in made] == [0 if word == "EBUSY" else whole for word in said]
    assert eventually(lambda: kernel_status(source.pid, "TracerPid") == "0" and kernel_status(source.pid, "State")[0] in "RS")


def test_a_source_that_is_killed_meanwhile_leaves_no_zombie_thread(embryo, program):
    source = program(BUSY, "100")
    writer = subprocess.Popen(["sh", "-c", f"echo 'copy {source.pid}' > {embryo.P('ctl')}"], stderr=subprocess.DEVNULL)
    time.sleep(0.02)
    source.kill()
    writer.wait(20)
    source.wait(5)
    assert not os.path.exists(f"/proc/{source.pid}")
