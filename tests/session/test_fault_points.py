"""Each system call of the daemon fails, and each byte that it moves does not arrive: what fault_points.py walks along.

Among the tests is the short form, one fault at each point of each scene. --faults=all, by hand, tries every fault at every call, of many
calls the first seven and the last; -s shows what was tried."""
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time

import pytest

import fault_points
from fault_points import SCENES, Fault, Points, Walk, every_fault, name_of, one_of_each
from mount import Daemon, eventually, write_ctl


@pytest.fixture
def faulty(request, tmp_path, monkeypatch):
    """Makes daemons with fault points; each has its own file."""
    program = os.path.join(os.path.dirname(request.config.program), "proc9d_faults")
    daemons = []

    def make(*options):
        directory = tmp_path / f"faulty-{len(daemons)}"
        directory.mkdir()
        daemon = Daemon(program, str(directory), request.config.watchdog, options)
        daemons.append(daemon)
        monkeypatch.setenv("PROC9_FAULTS", str(directory / "points"))
        monkeypatch.setenv("PROC9", daemon.path)  # for libproc9
        return daemon, Points(str(directory / "points"))
    yield make
    for daemon in daemons:
        daemon.remove()


def told(walk):
    """For those who want to know what was tried: pytest -s."""
    print(f"\n{walk.tried} faults in {len(walk.outcomes)} points, {walk.not_reached} not reached", file=sys.stderr)
    for point, answers in sorted(walk.outcomes.items()):
        print(f"    {point:18} {answers}", file=sys.stderr)
    for name, fault, seconds, answer in walk.slow:
        print(f"    {seconds} s: {name}: {fault}: {answer}", file=sys.stderr)


def walk_along(request, daemon, points, scenes, mode):
    faults = every_fault if request.config.getoption("--faults") == "all" else one_of_each
    programs = os.path.abspath(request.config.getoption("--programs"))
    daemon.start()
    daemon.efork()
    daemon.sweep()
    walk = Walk(daemon, points, ctypes.PyDLL(f"{programs}/libproc9.so", use_errno=True))
    for scene in scenes:
        if scene.mode in ("", mode):
            walk.walk(scene, faults)
    told(walk)
    assert not walk.findings, "\n".join([f"{len(walk.findings)} findings:", *walk.findings])
    assert "not answered" not in daemon.log_text() and "answered twice" not in daemon.log_text(), daemon.log_text()
    daemon.stop()
    return walk


@pytest.mark.timeout(3000)
def test_every_command_and_file_while_a_system_call_fails(request, faulty, mode):
    """Without a pool: everything that a command needs is made by it, and always in the same order."""
    walk = walk_along(request, *faulty("--pool=0"), SCENES, mode)
    assert walk.tried > 500 and walk.not_reached < walk.tried / 20


@pytest.mark.timeout(600)
def test_processes_from_the_pool_while_its_filling_fails(request, faulty, mode):
    makers = [scene for scene in SCENES if scene.name in ("efork", "mkdir", "clone", "fork", "share")]
    settled = [fault_points.settled(scene) for scene in makers]
    walk_along(request, *faulty("--pool=2"), settled, mode)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("point", ["pidfd_open", "memfd_create", "socketpair", "sendmsg", "recvmsg", "posix_spawn", "watch", "write", "fcntl"])
def test_the_first_process_of_all(faulty, point):
    """The zygote does not come up: an errno, and the next one is made."""
    daemon, points = faulty()
    daemon.start()
    for answer in points.rows()[point]:
        fault = Fault(point, 1, answer)
        with points.armed(fault):
            assert write_ctl(daemon.P("ctl"), "efork") in {5, *fault.answers()}, str(fault)
        assert eventually(lambda: write_ctl(daemon.P("ctl"), "efork") == 5), f"not again after {fault}"
        daemon.sweep()
        for pid in fault_points.children(daemon.pid):  # the zygote, too
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    daemon.stop()


@pytest.mark.timeout(120)
def test_a_daemon_that_cannot_start_says_so(faulty):
    """It ends with a message, and leaves no mount and no process; or it starts all the same."""
    daemon, points = faulty()
    daemon.start()
    counts = {name: n for name, n in zip(points.rows(), points.calls()) if n}
    daemon.stop()
    tried = 0
    for point, count in counts.items():
        for answer in points.rows()[point][:2]:
            for call in {1, count}:
                with points.armed(Fault(point, call, answer)):
                    outcome = start_of(daemon)
                    assert outcome, f"{point} #{call} {name_of(answer)}"
                    tried += 1
    assert tried > 5


def start_of(daemon):
    """How it ended, or "serves"; empty if it says nothing, or hangs."""
    with open(daemon.log, "wb") as log:
        daemon.process = subprocess.Popen([daemon.program, "-f", daemon.path], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    daemon.watchdog.tell(f"daemon {daemon.pid} {daemon.path}")
    end = time.monotonic() + 10
    while daemon.running() and time.monotonic() < end:
        if daemon.mounted() and os.path.exists(daemon.P("ctl")):
            daemon.stop()
            return "serves"
        time.sleep(0.01)
    status = daemon.process.poll()
    said = daemon.log_text()
    was_mounted = daemon.mounted()
    daemon.kill()
    assert not was_mounted, f"left its mount; status {status}: {said}"
    return f"{status}: {said}" if status and status > 0 and said else ""
