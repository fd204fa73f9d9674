"""An embryo is blank, and a started `entry` is nobody's but its own: both proved by the kernel."""
import os

import pytest

import machine_code as code
from mount import eventually, kernel_fds, kernel_maps, kernel_status


def test_a_new_embryo_is_a_real_process_of_its_creator(mount, embryo):
    assert os.path.isdir(f"/proc/{embryo.pid}")
    assert kernel_status(embryo.pid, "Uid").split() == [str(os.getuid())] * 4
    assert kernel_status(embryo.pid, "PPid") == str(mount.pid)


def test_a_new_embryo_has_no_memory_but_the_hidden_pages(embryo):
    regions = kernel_maps(embryo.pid)
    assert sum(r.end - r.start for r in regions) <= 64 << 10, regions
    assert all(a.end == b.start for a, b in zip(regions, regions[1:])), "the hidden pages are one group"
    assert not any(name in r.line for r in regions for name in ("[heap]", "[stack]", "[vdso]", "[vvar]", ".so"))


def test_a_new_embryo_has_no_descriptor_but_the_link(embryo):
    fds = kernel_fds(embryo.pid)
    assert len(fds) == 1 and all(target.startswith("socket:") for target in fds.values()), fds


def test_a_new_embryo_looks_empty_on_the_mount(embryo):
    assert embryo.read("maps") == ""
    assert embryo.fds() == {}
    assert embryo.mem() == []
    assert embryo.env() == []
    assert embryo.read("args").strip() == ""


def test_a_new_embryo_never_runs_user_code(embryo):
    """Asleep in the kernel, without having used the processor for the user."""
    assert eventually(lambda: kernel_status(embryo.pid, "State")[0] in "St"), kernel_status(embryo.pid, "State")


def test_blank_again_after_the_user_removed_all_that_was_built(embryo):
    embryo.tell("map 0x600000 64K rw-", "fd 0 open /dev/null r", "fd 7 open /dev/null r", "env A=1")
    embryo.tell("unmap 0x600000", "fd 0 close", "fd 7 close", "clearenv")
    assert (embryo.read("maps"), embryo.fds(), embryo.env()) == ("", {}, [])
    assert sum(r.end - r.start for r in kernel_maps(embryo.pid)) <= 64 << 10
    assert len(kernel_fds(embryo.pid)) == 1


@pytest.fixture
def started(embryo):
    """Started by entry with three regions and two descriptors; sleeps for ever."""
    code.load(embryo, code.PAUSE_FOR_EVER)
    embryo.tell("map 0x600000 8K rw-", "map 0x700000 4K r-- shared", "fd 3 open /dev/null r", "fd 9 open /dev/zero r")
    embryo.tell(f"entry {code.CODE:#x}")
    return embryo


def test_after_entry_the_process_has_exactly_the_users_regions(started):
    regions = [(r.start, r.end, r.prot[:3]) for r in kernel_maps(started.pid)]
    assert regions == [(0x400000, 0x401000, "r-x"), (0x600000, 0x602000, "rw-"), (0x700000, 0x701000, "r--")]


def test_after_entry_the_process_has_exactly_the_users_descriptors(started):
    assert kernel_fds(started.pid) == {3: "/dev/null", 9: "/dev/zero"}


def test_after_entry_nobody_traces_the_process(started):
    assert kernel_status(started.pid, "TracerPid") == "0"
    assert eventually(lambda: kernel_status(started.pid, "State")[0] == "S"), "it sleeps in pause(2)"


def test_after_entry_no_signal_is_blocked_ignored_or_caught(started):
    for key in ("SigBlk", "SigIgn", "SigCgt"):
        assert int(kernel_status(started.pid, key), 16) == 0, key


def test_the_mount_reports_what_the_kernel_reports(started):
    assert [r.line for r in started.maps()] == [r.line for r in kernel_maps(started.pid)]
    assert started.fds() == kernel_fds(started.pid)


def test_after_exec_only_the_users_descriptors_are_open(embryo):
    embryo.tell("fd 0 open /dev/null r", "fd 5 open /dev/zero r", "exec /bin/sleep 1000")
    only = {0: "/dev/null", 5: "/dev/zero"}
    assert eventually(lambda: kernel_fds(embryo.pid) == only), "the dynamic loader has closed its own"
    assert kernel_status(embryo.pid, "TracerPid") == "0"


def test_after_exec_no_signal_is_blocked_or_ignored(embryo):
    embryo.tell("exec /bin/sleep 1000")
    assert [int(kernel_status(embryo.pid, key), 16) for key in ("SigBlk", "SigIgn")] == [0, 0]


def test_the_hidden_link_gives_way_to_every_number_the_user_wants(embryo):
    """Whatever number the link has, the user can have it."""
    link, = kernel_fds(embryo.pid)
    wanted = sorted({0, 1, 2, 3, 4, 99, link})
    embryo.tell(*(f"fd {n} open /dev/null r" for n in wanted))
    assert embryo.fds() == {n: "/dev/null" for n in wanted}
    embryo.tell("exec /bin/sleep 1000")
    assert eventually(lambda: kernel_fds(embryo.pid) == {n: "/dev/null" for n in wanted}), "its loader has files of its own open"


def test_the_hidden_page_gives_way_to_every_address_the_user_wants(embryo):
    page = kernel_maps(embryo.pid)[0]
    embryo.tell(f"map {page.start:#x} 4096 rw-")
    assert embryo.ranges() == [(page.start, page.start + 4096, "rw-")]
    code.load(embryo, code.EXIT_WITH_RDI)
    embryo.tell("reg rdi 7", f"entry {code.CODE:#x}")
    assert embryo.wait().status == "exit 7"
