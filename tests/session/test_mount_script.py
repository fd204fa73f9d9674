"""./mount.sh as a newcomer uses it."""
import os
import pwd
import re
import shutil
import signal
import subprocess
import time

import pytest

from mount import eventually

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
pytestmark = [pytest.mark.mode("root"), pytest.mark.timeout(600)]  # the first call may have to build


def script(*arguments, timeout=580):
    home = pwd.getpwuid(os.getuid()).pw_dir  # not the test's: libfuse is kept there
    return subprocess.run([f"{ROOT}/mount.sh", *arguments], capture_output=True, text=True, timeout=timeout,
                          env=dict(os.environ, HOME=home))


def daemons(where):
    found = subprocess.run(["pgrep", "-f", f"proc9d .*{where}$"], capture_output=True, text=True, timeout=10)
    return [int(pid) for pid in found.stdout.split()]


@pytest.fixture
def place(tmp_path):
    where = str(tmp_path / "proc9")
    yield where
    script("-u", where)
    assert not os.path.exists(where) and not daemons(where)


def test_mount_says_how_to_go_on_and_the_second_call_is_quick(place):
    first = script(place)
    assert first.returncode == 0, first.stderr
    assert f"echo 'efork hello' > {place}/ctl" in first.stdout
    start = time.monotonic()
    assert "already" in script(place).stdout
    assert time.monotonic() - start < 10, "a call with nothing to do builds again"


def test_the_demonstration_is_the_transcript(place):
    shown = script("--demo", place).stdout
    assert "hello, world\n" in shown
    assert re.search(r"\n\d+ \d+ \d+ \d+ ''\n", shown), shown


def test_a_new_build_takes_the_place_of_the_daemon(place):
    assert script(place).returncode == 0
    with open(f"{place}/ctl", "w") as ctl:
        ctl.write("efork kept\n")
    program = f"{ROOT}/build/release/daemon/proc9d"
    for _ in range(2):
        shutil.copy2(program, f"{program}.new")
        os.replace(f"{program}.new", program)
        again = script(place)
        assert again.returncode == 0 and "replaced by the new build" in again.stdout, again.stdout + again.stderr
        assert os.path.isdir(f"{place}/kept")


def test_a_dead_mount_is_mounted_again_by_itself(place):
    assert script(place).returncode == 0
    keeper, daemon = sorted(daemons(place))
    for pid in (daemon, keeper):
        os.kill(pid, signal.SIGSTOP)  # neither sees to anything any more
    for pid in (daemon, keeper):
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not daemons(place))
    again = script(place)
    assert again.returncode == 0, again.stderr
    assert os.path.exists(f"{place}/ctl")


def test_unmount_of_what_is_not_mounted_is_no_error(place):
    assert script("-u", place).returncode == 0
