"""What an operator has: checks, messages, counters, traces, and what a service manager is told."""
import json
import os
import re
import resource
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from conftest import new_daemon
from mount import eventually, read

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "operation.md").read_text()
LINE = re.compile(r"(ok|less|missing) +([a-z]+) +(\S.*)")
CHECKED = ["machine", "fuse", "mounting", "place", "users", "tracing", "calls", "filter", "passthrough", "descriptors", "processes", "namespaces"]


def check(program, place, *before, options=(), **more):
    """The exit status, and of each line what it is about: (grade, text)."""
    done = subprocess.run([*before, program, "--check", *options, place], text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=20, **more)
    found = {m[2]: (m[1], m[3]) for m in map(LINE.fullmatch, done.stdout.splitlines()) if m}
    assert list(found) == CHECKED, done.stdout
    return done.returncode, found


@pytest.fixture
def daemon(request):
    daemon = new_daemon(request.config)
    try:
        yield daemon
        daemon.stop()
    finally:
        daemon.remove()


# --- proc9d --check -------------------------------------------------------------------------------------------------

def test_a_machine_that_can_is_said_to(mount, tmp_path):
    status, found = check(mount.program, tmp_path)
    assert status == 0 and not [what for what, (grade, _) in found.items() if grade == "missing"]
    assert found["place"] == ("ok", str(tmp_path))
    assert found["passthrough"][0] == ("ok" if os.getuid() == 0 and kernel() >= (6, 9) else "less")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert found["descriptors"][1].startswith(f"hard limit {hard}: ")


def kernel():
    return tuple(map(int, re.match(r"(\d+)\.(\d+)", os.uname().release).groups()))


def told_on_the_page(text):
    """Whether the table of what goes wrong has a row that begins like it."""
    rows = re.findall(r"^\| `([^`]+)`", PAGE, re.M)
    return any(re.match(re.escape(row).replace("DIR", ".*"), text) for row in rows)


def test_no_directory(mount, tmp_path):
    status, found = check(mount.program, tmp_path / "nowhere")
    assert status == 1 and found["place"] == ("missing", f"{tmp_path}/nowhere: No such file or directory; mkdir {tmp_path}/nowhere")
    assert told_on_the_page(f"place: {found['place'][1]}")


def test_a_place_that_is_taken_is_not_touched(mount):
    status, found = check(mount.program, mount.path)
    assert status == 0 and found["place"][0] == "less" and found["place"][1].startswith(f"something is mounted at {mount.path}")
    assert told_on_the_page(f"place: {found['place'][1]}")


@pytest.mark.parametrize("spelling", ["{}/", "{}/.", "{}/../{last}", "."])
def test_however_it_is_spelt(mount, spelling):
    place = spelling.format(mount.path, last=os.path.basename(mount.path))
    cwd = os.path.dirname(mount.path) if place == "." else None
    _, found = check(os.path.abspath(mount.program), os.path.basename(mount.path) if cwd else place, cwd=cwd)
    assert found["place"][0] == "less", found["place"]


def test_nothing_is_mounted_over_it(mount):
    done = subprocess.run([mount.program, mount.path], text=True, stderr=subprocess.PIPE, timeout=20)
    assert done.returncode == 1 and "something is mounted at" in done.stderr


def test_a_directory_that_holds_others_is_not_hidden(mount, tmp_path):
    (tmp_path / "etc").mkdir()
    status, found = check(mount.program, tmp_path)
    assert status == 1 and "holds directories" in found["place"][1]
    done = subprocess.run([mount.program, tmp_path], text=True, stderr=subprocess.PIPE, timeout=20)
    assert done.returncode == 1 and "Directory not empty" in done.stderr


def test_few_descriptors(mount, tmp_path):
    status, found = check(mount.program, tmp_path, "prlimit", "--nofile=64:64")
    assert status == 1 and found["descriptors"] == ("missing", "hard limit 64: about 0 embryos at once")
    assert told_on_the_page(f"descriptors: {found['descriptors'][1]}")


@pytest.mark.mode("user")
def test_what_an_ordinary_user_lacks(mount, tmp_path):
    status, found = check(mount.program, tmp_path, env={"PATH": "/nowhere"})
    assert status == 1 and found["mounting"][0] == "missing" and told_on_the_page(f"mounting: {found['mounting'][1]}")
    status, found = check(mount.program, tmp_path, options=["--allow-other"])
    assert status == 1 and found["users"][0] == "missing" and told_on_the_page(f"users: {found['users'][1]}")
    status, found = check(mount.program, "/usr")
    assert status == 1 and "is not yours" in found["place"][1]




@pytest.mark.mode("root")
def test_no_device(mount, tmp_path):
    status, found = check(mount.program, tmp_path, "unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /dev && exec "$@"', "sh")
    assert status == 1 and found["fuse"][0] == "missing" and told_on_the_page(f"fuse: {found['fuse'][1]}")


def test_no_tracing_and_no_pidfds(mount, tmp_path):
    """A filter says what Yama says, and nearly what an old kernel does."""
    for call, what in (("ptrace", "tracing"), ("pidfd_open", "calls")):
        filtered = mount.efork()
        log = tmp_path / call
        filtered.tell("nonewprivs", f"seccomp deny {call}", f"fd 1 open {log} w 0600", "fd 2 dup 1", "env PATH=/usr/bin:/bin",
                      f"exec {os.path.abspath(mount.program)} --check {tmp_path}")
        assert filtered.wait().status == "exit 1"
        line = next(line for line in log.read_text().splitlines() if f" {what} " in line)
        grade, text = LINE.fullmatch(line)[1], LINE.fullmatch(line)[3]
        assert grade == "missing"
        if what == "tracing":
            assert told_on_the_page(f"tracing: {text}")


def test_a_mount_that_fails_says_why(mount, tmp_path):
    done = subprocess.run([mount.program, "-f", tmp_path / "nowhere"], text=True, stderr=subprocess.PIPE, timeout=20)
    assert done.returncode == 1 and f"place: {tmp_path}/nowhere: No such file or directory; mkdir" in done.stderr


# --- messages -------------------------------------------------------------------------------------------------------

def test_lines_have_the_time_or_in_a_journal_the_priority(daemon, monkeypatch):
    monkeypatch.setenv("PROC9_LOG", "info")
    daemon.start()
    assert re.search(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ proc9d: \S+ serves ", daemon.log_text(), re.M)
    daemon.stop()
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    daemon.start()
    assert re.search(r"^<6>proc9d: \S+ serves ", daemon.log_text(), re.M)


def test_a_renewal_is_told_without_being_asked_for(daemon):
    daemon.start()
    daemon.process.send_signal(signal.SIGHUP)
    assert eventually(lambda: " serves " in daemon.log_text()), daemon.log_text()
    assert re.search(r"process \d+ is replaced by /", daemon.log_text())
    words = read(f"/proc/{daemon.pid}/cmdline").split("\0")
    assert words[1:-1] == ["-f", daemon.path], "it can be found by the same words"


def test_a_defect_is_told(request):
    daemon = new_daemon(request.config, "--keep")
    try:
        daemon.start()
        child = int(read(f"/proc/{daemon.pid}/task/{daemon.pid}/children").split()[0])
        os.kill(child, signal.SIGSEGV)
        assert daemon.process.wait(10) == 128 + signal.SIGSEGV
        assert "proc9d: ended by signal 11 SEGV\n" in daemon.log_text()
    finally:
        daemon.remove()


# --- one request ----------------------------------------------------------------------------------------------------

def test_what_becomes_of_a_request_is_told_by_its_number(daemon, monkeypatch):
    monkeypatch.setenv("PROC9_LOG", "debug")
    daemon.start()
    e = daemon.efork()
    assert e.ask("env A=1\nfd 77 close\nenv B=2") == len("env A=1\n")
    number = re.search(r"request (\d+) refused, fd: .*\"fd 77 close\"", daemon.log_text())[1]
    story = [line.split(" proc9d: ")[1] for line in daemon.log_text().splitlines() if re.search(rf"request {number}\b", line)]
    assert [re.sub(r"\d+ us", "N us", line) for line in story] == [
        f'request {number}: {e.pid}: "env A=1"', f'request {number}: {e.pid}: "fd 77 close"', story[2],
        f"request {number}: write by thread {os.getpid()} of user {os.getuid()}: done in N us"], story


@pytest.mark.mode("root")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("line", [line for line in PAGE.splitlines() if line.startswith("bpftrace -e")])
def test_the_probes_are_heard_as_the_page_says(daemon, line, tmp_path):
    daemon.start()
    program = re.search(r"-e '(.*)'", line)[1].replace("/usr/sbin/proc9d", os.path.abspath(daemon.program)).replace("arg0 == 42", "arg0 > 0")
    log = tmp_path / "log"
    with open(log, "w") as out:
        tracer = subprocess.Popen(["bpftrace", "-p", str(daemon.pid), "-e", f'BEGIN {{ printf("ready\\n"); }} {program}'], stdout=out,
                                  stderr=subprocess.STDOUT)
    try:
        assert eventually(lambda: "ready" in log.read_text(), 60), log.read_text()

        def heard():
            daemon.efork("x").run("exec /bin/true")
            return daemon.sweep() or True
        heard()
        os.path.exists(daemon.P("no such file"))
        tracer.send_signal(signal.SIGINT)
        assert tracer.wait(30) == 0
        said = log.read_text().split("ready", 1)[1]
        assert re.search(r"^@.*\n?.*\d|^open \d+$", said, re.M), log.read_text()
    finally:
        tracer.kill()
        tracer.wait()


# --- counters -------------------------------------------------------------------------------------------------------

def test_the_page_tells_every_counter(mount):
    table = PAGE.split("## What it counts")[1].split("##")[0]
    told = set(re.findall(r"`(\w+)`", "".join(row.split(" | ")[0] for row in table.splitlines() if row.startswith("| `"))))
    assert told == set(json.loads(read(mount.P("stats.json"))))


def test_prometheus_gets_every_counter(mount, programs):
    mount.efork()
    text = subprocess.run([os.path.join(programs, "p9"), "-m", mount.path, "metrics"], text=True, check=True, stdout=subprocess.PIPE,
                          timeout=20).stdout
    samples = dict(re.findall(r"^(proc9_\w+(?:\{state=\"\w+\"\})?) (\d+)$", text, re.M))
    assert len(samples) == len([line for line in text.splitlines() if not line.startswith("#")])
    assert int(samples['proc9_processes{state="embryo"}']) >= 1 and int(samples["proc9_eforks_total"]) >= 1
    bare = {re.sub(r"^proc9_|_total$|\{.*", "", name) for name in samples}
    assert bare == set(json.loads(read(mount.P("stats.json"))))
    helps, types = re.findall(r"^# HELP (\w+) .", text, re.M), re.findall(r"^# TYPE (\w+) (?:counter|gauge)$", text, re.M)
    assert helps == types and {name.split("{")[0] for name in samples} == set(helps)


# --- a service manager ----------------------------------------------------------------------------------------------

class Manager:
    """systemd, as far as a service sees it."""
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(15)

    def hear(self):
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().splitlines())


@pytest.fixture(params=["alone", "kept"])
def managed(request, tmp_path, monkeypatch):
    manager = Manager(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    daemon = new_daemon(request.config, *(["--keep"] if request.param == "kept" else []))
    daemon.manager = manager
    try:
        yield daemon
        daemon.stop()
    finally:
        daemon.remove()
        manager.socket.close()


def test_a_service_manager_is_told(managed):
    managed.start()
    assert managed.manager.hear() == {"READY": "1", "STATUS": f"serves {managed.path}"}
    managed.process.send_signal(signal.SIGHUP)
    reloading = managed.manager.hear()
    assert reloading["RELOADING"] == "1" and int(reloading["MONOTONIC_USEC"]) > 0
    assert managed.manager.hear()["READY"] == "1"
    managed.process.send_signal(signal.SIGTERM)
    assert managed.manager.hear() == {"STOPPING": "1"}
    managed.process.wait(10)
    managed.start()


def test_a_watchdog_gets_signs_of_life(managed, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    managed.start()
    assert "READY" in managed.manager.hear()
    assert [managed.manager.hear() for _ in range(5)] == [{"WATCHDOG": "1"}] * 5
