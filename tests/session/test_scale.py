"""Many at once, and much memory: a hundred embryos in one region, a hundred instances of one template, copies of a program
that never stands still. What memory it took is asked of the kernel; nothing here depends on how fast it went."""
import mmap
import os
import re
import struct
import subprocess
import sys

import pytest

import machine_code as code
from mount import alive, eventually, kernel_maps, read

COUNT = 100
BIG, OWN, COUNTER = 0x100000000, 0x600000, 0x700000
PAGE = 4096
MB, GB = 1 << 20, 1 << 30
FILL = b"\x55" * 8
FILLED = int.from_bytes(FILL, "little")
SLACK = 50 * 1024  # kB; what others on the machine may do meanwhile
LATE = 4 * 1024  # kB; what was given back late, after the first look

# arg0 a number, arg1 where to store it, arg2 a common counter, arg3 how many pages to read, arg4 an own page, arg5 the slots
#   [arg1] = arg0; [arg2] += 1, atomically; until [arg2] is 100: nanosleep
#   [arg4] = the sum of the words at arg5, arg5 + 4096 ... (100 of them); read a byte of arg3 pages from arg5 on
#   [arg4 + 8] = 1; for ever: pause
STORE_MEET_AND_LOOK = bytes.fromhex(
    "4989cc 4889d3 48893e f048ff03"
    "48833b64 7312 b823000000 488d3d48000000 31f6 0f05 ebe8"
    "31c0 4c89ca b964000000 480302 4881c200100000 ffc9 75f2 498900"
    "4c89ca 4d85e4 740e 8a02 4881c200100000 49ffcc ebed"
    "49c7400801000000 b822000000 0f05 ebf7"
    "0000000000000000 404b4c0000000000")
assert STORE_MEET_AND_LOOK[3 + 3 + 3 + 4 + 3] == COUNT


def mem(embryo, address):
    return embryo.P("mem", f"{address:x}")


def fill(embryo, size):
    """A region full of 0x55, as a mapping of its file."""
    embryo.tell(f"map {BIG:#x} {size} rw-")
    fd = os.open(mem(embryo, BIG), os.O_RDWR)
    with mmap.mmap(fd, size) as view:
        os.close(fd)
        for start in range(0, size, MB):
            view[start:start + MB] = FILL * (MB // 8)


def words(pid, addresses):
    """The words at these addresses of a process, as the kernel sees them."""
    fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    try:
        return [struct.unpack("<Q", os.pread(fd, 8, address))[0] for address in addresses]
    finally:
        os.close(fd)


def kilobytes(path, *keys):
    found = dict(re.findall(r"^(\w+):\s+(\d+) kB", read(path), re.M))
    return [int(found[key]) for key in keys]


def shared_memory():
    return kilobytes("/proc/meminfo", "Shmem")[0]


def start(instances, pages_to_read, counter):
    """Each stores its number, 1 to 100, into a page of its own and waits for the others; returns what each has added up."""
    for n, instance in enumerate(instances):
        instance.tell(f"entry {code.CODE:#x} arg0={n + 1} arg1={BIG + n * PAGE:#x} arg2={counter:#x} arg3={pages_to_read} "
                      f"arg4={OWN:#x} arg5={BIG:#x}")
    sums = []
    for instance in instances:
        assert eventually(lambda: words(instance.pid, [OWN + 8]) == [1], 20), f"{instance.pid} does not come to its end"
        sums += words(instance.pid, [OWN])
    return sums


SLOTS = range(BIG, BIG + COUNT * PAGE, PAGE)


def of_each(instances, *keys):
    """The sums over the processes of these keys of smaps_rollup, and of their page tables; in kB."""
    rollups = [kilobytes(f"/proc/{e.pid}/smaps_rollup", *keys) for e in instances]
    tables = sum(kilobytes(f"/proc/{e.pid}/status", "VmPTE")[0] for e in instances)
    return [*map(sum, zip(*rollups)), tables]


def undisturbed(mount, scenario):
    """What the system's shared memory grew by, in kB, and the processes that are there then. Others on the machine use such
    memory as well: what is too much is tried again, and a defect is there each time."""
    for _ in range(3):
        mount.sweep()
        before = shared_memory()
        least, processes = scenario(mount)
        grown = shared_memory() - before
        if least - LATE < grown < least + SLACK:
            break
    assert least - LATE < grown < least + SLACK
    return grown, processes


# --- one region -----------------------------------------------------------------------------------------------------

def one_region(mount):
    first = mount.efork()
    fill(first, 64 * MB)
    counter = BIG + 64 * MB - PAGE
    with open(mem(first, BIG), "r+b") as f:
        for address in (*SLOTS, counter):
            f.seek(address - BIG)
            f.write(bytes(8))
    everybody = [first, *(mount.efork() for _ in range(COUNT - 1))]
    for other in everybody[1:]:
        os.link(mem(first, BIG), mem(other, BIG))
    for embryo in everybody:
        embryo.tell(f"map {OWN:#x} 4K rw-")
        code.load(embryo, STORE_MEET_AND_LOOK)
    sums = start(everybody, 64 * MB // PAGE, counter)
    assert sums == [sum(range(1, COUNT + 1))] * COUNT, "each has seen the stores of all"
    for embryo in everybody:
        assert words(embryo.pid, SLOTS) == list(range(1, COUNT + 1))
        assert alive(embryo.pid)
    return 64 * 1024, everybody


@pytest.mark.timeout(120)
def test_a_hundred_embryos_in_one_region_of_64_MiB_take_it_once(mount):
    grown, everybody = undisturbed(mount, one_region)
    pss, rss, anonymous, tables = of_each(everybody, "Pss", "Rss", "Anonymous")
    print(f"Shmem +{grown} kB, Rss {rss} kB, Pss {pss} kB, Anonymous {anonymous} kB, page tables {tables} kB")
    assert rss > COUNT * 60 * 1024, "each has all of it mapped"
    assert 60 * 1024 < pss < 64 * 1024 + SLACK
    assert 64 * 1024 + anonymous + tables < 64 * 1024 + SLACK


# --- one template ---------------------------------------------------------------------------------------------------

def one_template(mount):
    template = mount.efork()
    fill(template, GB)
    template.tell(f"map {OWN:#x} 4K rw-", f"map {COUNTER:#x} 4K rw- shared")
    code.load(template, STORE_MEET_AND_LOOK)
    template.tell(*(f"fork i{n}" for n in range(COUNT)))
    instances = [mount.embryo(f"i{n}") for n in range(COUNT)]
    sums = start(instances, 0, COUNTER)
    assert sums == [((COUNT - 1) * FILLED + n + 1) % 2**64 for n in range(COUNT)], "nobody has seen another's store"
    for n, instance in enumerate(instances):
        assert words(instance.pid, SLOTS) == [n + 1 if k == n else FILLED for k in range(COUNT)]
    assert words(template.pid, SLOTS) == [FILLED] * COUNT, "the template is what it was"
    return GB // 1024, instances


@pytest.mark.timeout(120)
def test_a_hundred_instances_of_a_template_of_a_gibibyte_take_what_they_write(mount):
    """Two pages each: its slot, and the page for what it saw. It sees its own number and ninety-nine times the template's."""
    grown, instances = undisturbed(mount, one_template)
    dirty, anonymous, tables = of_each(instances, "Private_Dirty", "Anonymous")
    print(f"Shmem +{grown} kB, Private_Dirty {dirty} kB, Anonymous {anonymous} kB, page tables {tables} kB")
    assert COUNT * 8 <= anonymous <= COUNT * 8 + COUNT * 4, "two pages, and one that the kernel may want"
    assert dirty <= COUNT * 16
    assert anonymous + tables < SLACK


# --- copies of a program that goes on -------------------------------------------------------------------------------

# Constant objects of 200 MB, and what changes all the time: a chain of words, each in a page of its own, that are set one after
# the other to the number of the round; and objects that come and go.
RESTLESS = """
import array, ctypes, sys
count = int(sys.argv[1])
objects = [b'%08d' % n * 125 for n in range(count)]
chain = (ctypes.c_uint64 * (512 * 1000))()
with open(sys.argv[2], 'wb') as f:
    array.array('Q', [id(o) + bytes.__basicsize__ - 1 for o in objects]).tofile(f)
print(hex(ctypes.addressof(chain)), flush=True)
passing, places = {}, range(0, 512 * 1000, 512)
for turn in range(1, 1 << 60):
    passing[turn % 1000] = [str(turn)] * 20
    for place in places:
        chain[place] = turn
"""


@pytest.fixture
def restless(tmp_path):
    count = 200 * MB // 1000
    program = subprocess.Popen([sys.executable, "-c", RESTLESS, str(count), tmp_path / "places"], stdout=subprocess.PIPE, text=True)
    try:
        program.chain = int(program.stdout.readline(), 16)
        places = (tmp_path / "places").read_bytes()
        program.objects = {at: b"%08d" % n * 125 for n, (at,) in enumerate(struct.iter_unpack("<Q", places))}
        yield program
    finally:
        program.kill()
        program.wait()
        program.stdout.close()


def objects_of(pid, places, length):
    """The bytes at these places, which ascend. Read a mapping at a time."""
    regions, end, fd = iter(kernel_maps(pid)), 0, os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    for place in places:
        while place >= end:
            r = next(regions)
            start, end, data = r.start, r.end, b""
        if not data:
            data = os.pread(fd, end - start, start)
            assert len(data) == end - start
        yield data[place - start:place - start + length]
    os.close(fd)


@pytest.mark.timeout(120)
def test_copies_of_a_restless_interpreter_are_each_of_one_moment(mount, restless):
    """In a picture of one moment a chain that is set in order has one step of one at most. Three pictures, while it goes on."""
    chain = [restless.chain + n * PAGE for n in range(1000)]
    turns = []

    def torn(numbers):
        return numbers != sorted(numbers, reverse=True)
    assert eventually(lambda: torn(words(restless.pid, chain)), 20), "read without standing still it is of many moments"
    for _ in range(3):
        embryo = mount.efork()
        embryo.tell(f"copy {restless.pid}")
        picture = words(embryo.pid, chain)
        assert not torn(picture)
        assert picture[0] - picture[-1] in (0, 1), "two words set one after the other are never two apart"
        turns.append(picture[0])
        assert eventually(lambda: words(restless.pid, chain[:1])[0] > turns[-1]), "it goes on"
    assert turns == sorted(set(turns)), "each picture is of a later moment"
    places = sorted(restless.objects)
    same = 0
    ours, theirs = (objects_of(pid, places, 1000) for pid in (embryo.pid, restless.pid))
    for place, mine, its in zip(places, ours, theirs, strict=True):
        assert mine == its == restless.objects[place]
        same += len(mine)
    print(f"{same} bytes of objects are equal; turns {turns}")
    assert same >= 200 * MB - 1000
