"""A container by hand: the script of docs/container.md, and what the kernel says of the process that it makes."""
import os
import re
from pathlib import Path

import pytest

from mount import eventually, read
from test_docs import blocks

pytestmark = pytest.mark.mode("root")  # control groups; test_docs.py runs the page's other example in both modes

PAGE = Path(__file__).resolve().parents[2] / "docs/container.md"
SCRIPT = next(text for language, _, text in blocks(PAGE) if language == "sh")
PROGRAM = re.search(r"exec sh -c \".*\"", SCRIPT)[0]
BUSYBOX = "/bin/busybox"


@pytest.fixture
def box():
    """A name of our own, whose control groups and what runs in them go with the test."""
    name = f"proc9-box-{os.getpid()}"
    parents = [p for p in ("memory", "pids", "") if os.path.exists(f"/sys/fs/cgroup/{p}/cgroup.procs")]
    groups = [f"/sys/fs/cgroup/{parent}/{name}" for parent in parents]
    yield name
    for group in filter(os.path.isdir, groups):
        for pid in read(f"{group}/cgroup.procs").split():
            os.kill(int(pid), 9)
        assert eventually(lambda group=group: read(f"{group}/cgroup.procs") == "")
        os.rmdir(group)


def run(mount, box, tmp_path, program=None):
    """Runs the script of the page, with another program if one is given: (output before `wait`, STATUS)."""
    assert b"/ld-linux" not in Path(BUSYBOX).read_bytes()[:4096], f"{BUSYBOX} is not static: install-dependencies.sh --test"
    script = SCRIPT if program is None else SCRIPT.replace(PROGRAM, f"exec sh -c \"{program}\"")
    (tmp_path / "container.sh").write_text(script)
    mount.sh(f"exec >out 2>&1; timeout 20 sh container.sh {box}", cwd=tmp_path, timeout=25)
    output = (tmp_path / "out").read_text()
    said, _, wait = output.rstrip("\n").rpartition("\n")
    match = re.fullmatch(r"\d+ \d+ \d+ \d+ '(.*)'", wait)
    assert match, output + (mount.embryo(box).error() if os.path.exists(mount.P(box)) else "")
    return said, match[1]


def memory_events(box):
    """What the kernel counted in the control group."""
    old, new = f"/sys/fs/cgroup/memory/{box}/memory.oom_control", f"/sys/fs/cgroup/{box}/memory.events"
    return dict(line.split() for line in read(old if os.path.exists(old) else new).splitlines())


def test_the_script_has_twenty_lines_of_plain_tools():
    assert len(SCRIPT.splitlines()) <= 20
    words = {line.split()[0] for line in SCRIPT.splitlines() if "=" not in line.split()[0]}
    assert words <= {"set", "[", "for", "echo", "ln", "cat", "printf", "mkdir"}


def test_a_container_sees_itself_alone_and_its_hog_is_killed_by_the_memory_limit(mount, box, tmp_path):
    said, status = run(mount, box, tmp_path)
    lines = said.splitlines()
    assert [line.split()[:2] for line in lines[:3]] == [["PID", "USER"], ["1", "0"], ["2", "0"]], said
    assert lines[3] == box
    assert sorted(lines[4:]) == ["CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"]
    assert status == "signal 9 KILL"
    assert int(memory_events(box)["oom_kill"]) == 1


def test_a_container_cannot_fork_beyond_its_limit(mount, box, tmp_path):
    said, status = run(mount, box, tmp_path, " | ".join(["sleep 1"] * 9))
    assert (said, status) == ("sh: can't fork: Resource temporarily unavailable", "exit 2")


def test_a_container_cannot_leave_through_another_user_namespace(mount, box, tmp_path):
    """Which needs no capability: it is the filter that refuses."""
    said, _ = run(mount, box, tmp_path, "unshare -U true; echo /*; echo /dev/*")
    assert said.splitlines() == ["unshare: unshare(0x10000000): Operation not permitted", "/bin /dev /proc", "/dev/zero"]


def test_every_namespace_of_a_container_is_its_own(mount, box, tmp_path):
    kinds = ("user", "pid", "mnt", "net", "uts", "ipc", "cgroup")
    said, _ = run(mount, box, tmp_path, f"for kind in {' '.join(kinds)}; do busybox readlink /proc/self/ns/$kind; done")
    inside = dict(line.split(":") for line in said.splitlines())
    assert list(inside) == list(kinds)
    assert [k for k in kinds if f"{k}:{inside[k]}" == os.readlink(f"/proc/self/ns/{k}")] == []
