"""Exported memory: another program maps a region of a running process; no daemon is between them."""
import json
import mmap
import os
import struct
import time

import pytest

import machine_code as code
from mount import eventually, read

SHARED = code.DATA


@pytest.fixture
def counting(embryo):
    """Started, counting in a shared region which this process has mapped."""
    embryo.tell(f"map {SHARED:#x} 4K rw- shared")
    code.load(embryo, code.count_until_told(SHARED))
    fd = os.open(embryo.P("mem", f"{SHARED:x}"), os.O_RDWR)
    view = mmap.mmap(fd, 4096, mmap.MAP_SHARED)
    os.close(fd)
    embryo.tell(f"entry {code.CODE:#x}")
    return embryo, view


def count(view):
    return struct.unpack_from("<Q", view)[0]


def test_python_sees_the_stores_of_a_running_process(counting):
    _, view = counting
    first = count(view)
    assert eventually(lambda: count(view) > first + 1000)


def test_a_running_process_sees_the_stores_of_python(counting):
    embryo, view = counting
    struct.pack_into("<Q", view, 8, 42)
    assert embryo.wait().status == "exit 42"


def test_the_pages_outlive_the_process(counting):
    embryo, view = counting
    struct.pack_into("<Q", view, 8, 1)
    embryo.wait()
    before = count(view)
    time.sleep(0.05)
    assert count(view) == before > 0


def test_a_region_is_mapped_after_start_too(counting):
    embryo, _ = counting
    fd = os.open(embryo.P("mem", f"{SHARED:x}"), os.O_RDWR)
    view = mmap.mmap(fd, 4096, mmap.MAP_SHARED)
    os.close(fd)
    first = count(view)
    assert eventually(lambda: count(view) > first)


def test_accesses_cost_the_daemon_no_request(counting, mount):
    """100,000 loads and stores, 2,000 reads and writes. What is left is the price of asking for the counter."""
    embryo, view = counting
    fd = os.open(embryo.P("mem", f"{SHARED:x}"), os.O_RDWR)
    before = mount.requests()
    for n in range(100_000):
        struct.pack_into("<Q", view, 64, count(view))
    for n in range(1000):
        os.pwrite(fd, b"x", 100)
        os.pread(fd, 1, 100)
    after = mount.requests()
    os.close(fd)
    assert after - before < 200


@pytest.mark.mode("root")
def test_root_has_passthrough(embryo):
    """A region is a regular file of the mount, not a link."""
    embryo.tell(f"map {SHARED:#x} 4K rw- shared")
    assert not os.path.islink(embryo.P("mem", f"{SHARED:x}"))


def test_stats_json_is_cheap_to_read(mount):
    """Else the counter could not be used to count."""
    before = mount.requests()
    after = mount.requests()
    assert after - before < 50
    assert json.loads(read(mount.P("stats.json")))
