"""Mounts for the session tests, in two modes.

    /usr/bin/python3 -m pytest -q tests/session --mode=root|user --proc9d=PATH --programs=FOLDER

FOLDER holds the libraries for clients and the programs of tests/client and tests/bench.

root   the tests and the daemon are root, with FUSE passthrough.
user   the tests and the daemon are an ordinary user. Called as root, the whole run becomes `nobody` before the first
       test; /dev/fuse is made usable in a mount namespace of the run, so nothing outside of it changes.

Called as root, the run has a mount namespace of its own: its mounts end with it, however it ends.
"""
import ctypes
import os
import pathlib
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile

import pytest

sys.dont_write_bytecode = True  # the tree may belong to somebody else

from mount import Daemon, Watchdog, children  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
DEFAULT_DAEMON = os.path.normpath(os.path.join(HERE, "../../build/dev/daemon/proc9d"))
DEFAULT_PROGRAMS = os.path.normpath(os.path.join(HERE, "../../build/dev/client"))
USER = "nobody"
GRACE = 15  # seconds between pytest's own time-out of a test and the watchdog's


# --- options and identity -------------------------------------------------------------------------------------------

def pytest_addoption(parser):
    parser.addoption("--mode", choices=("root", "user"), default="user" if os.getuid() else "root")
    parser.addoption("--proc9d", default=DEFAULT_DAEMON, help="the daemon under test")
    parser.addoption("--programs", default=DEFAULT_PROGRAMS, help="the libraries under test, and programs that use them")
    parser.addoption("--faults", choices=("few", "all"), default="few", help="how many test_fault_points.py tries")


def reap_orphans():
    """The tests go on in a child. What they orphan is reaped by us, at once: not every machine's init hurries. What they
    leave running, as when a daemon died whose processes nobody knows then, is ended."""
    pr_set_pdeathsig, pr_set_child_subreaper, wait_for_any_kind = 1, 36, 0x40000000
    libc = ctypes.CDLL(None)
    libc.prctl(pr_set_child_subreaper, 1, 0, 0, 0)
    tests = os.fork()
    if tests == 0:
        libc.prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ended = 0
    while ended != tests:
        ended, status = os.waitpid(-1, wait_for_any_kind)
    while left := children(os.getpid()):
        for pid in left:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, wait_for_any_kind)
    os._exit(os.waitstatus_to_exitcode(status) & 0xff)


def pytest_configure(config):
    mode = config.getoption("--mode")
    program = os.path.abspath(config.getoption("--proc9d"))
    programs = os.path.abspath(config.getoption("--programs"))
    if config.getoption("collectonly") or hasattr(config, "workerinput"):
        return
    reap_orphans()
    if mode == "root" and os.getuid() != 0:
        raise pytest.UsageError("--mode=root needs root")
    if os.getuid() == 0:
        unshare_mounts()
        if mode == "user":
            go_where_everybody_may(program, programs)
            offer_dev_fuse()
            become(USER)
    if not os.access(program, os.X_OK):
        raise pytest.UsageError(f"--proc9d: user {os.getuid()} cannot execute {program}")
    config.program = program
    config.run_directory = tempfile.mkdtemp(prefix="proc9-session-")
    os.environ.update(TMPDIR=config.run_directory, HOME=config.run_directory)
    config.watchdog = Watchdog()


def pytest_unconfigure(config):
    if hasattr(config, "watchdog"):
        config.watchdog.end()
        shutil.rmtree(config.run_directory, ignore_errors=True)


def pytest_collection_modifyitems(config, items):
    mode = config.getoption("--mode")
    other = [i for i in items if (m := i.get_closest_marker("mode")) and m.args[0] != mode]
    config.hook.pytest_deselected(items=other)
    items[:] = [i for i in items if i not in other]


libc = ctypes.CDLL(None, use_errno=True)


def system_call(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def unshare_mounts():
    CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 1 << 18
    system_call(libc.unshare(CLONE_NEWNS))
    system_call(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None))


def offer_dev_fuse():
    """Puts a device node that everybody may open over /dev/fuse, in this mount namespace only."""
    MS_BIND = 4096
    place = tempfile.mkdtemp(prefix="proc9-session-dev-")
    node = os.path.join(place, "fuse")
    try:
        system_call(libc.mount(b"none", place.encode(), b"tmpfs", 0, None))
        os.mknod(node, 0o020666, os.stat("/dev/fuse").st_rdev)
        os.chmod(node, 0o666)
        system_call(libc.mount(node.encode(), b"/dev/fuse", None, MS_BIND, None))
        system_call(libc.umount2(place.encode(), 2))
    finally:
        os.rmdir(place)


def become(name):
    PR_SET_DUMPABLE = 4
    user = pwd.getpwnam(name)
    os.setgroups([])
    os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
    os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    # As after a login: a process that changed its uid is closed to others of that uid otherwise.
    system_call(libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))
    for gone in ("XDG_RUNTIME_DIR", "TMPDIR", "PYTEST_DEBUG_TEMPROOT"):
        os.environ.pop(gone, None)
    os.environ.update(USER=name, LOGNAME=name)
    tempfile.tempdir = None


def go_where_everybody_may(program, programs):
    """A checkout below a private directory is of no use to an ordinary user: the run goes on in a copy of it."""
    root = os.path.normpath(os.path.join(HERE, "../.."))
    folders = {root, os.path.dirname(program), programs}
    parents = {str(parent) for folder in folders for parent in (pathlib.Path(folder), *pathlib.Path(folder).parents)}
    if all(os.stat(parent).st_mode & stat.S_IXOTH for parent in parents):
        return
    copy = tempfile.mkdtemp(prefix="proc9-copy-", dir="/tmp")
    os.chmod(copy, 0o755)
    for part in ("README.md", "mount.sh", "client", "cmake", "daemon", "docs", "fs", "tests"):
        source = os.path.join(root, part)
        shutil.copytree(source, f"{copy}/{part}") if os.path.isdir(source) else shutil.copy(source, copy)
    shutil.copy(program, f"{copy}/proc9d")
    shutil.copy(os.path.join(os.path.dirname(program), "proc9d_faults"), copy)
    shutil.copytree(programs, f"{copy}/programs")
    os.chdir(copy)
    sys.stdout.flush()
    status = subprocess.call([sys.executable, "-m", "pytest", "-q", "tests/session", "--mode=user",
                              f"--proc9d={copy}/proc9d", f"--programs={copy}/programs",
                              *(argument for argument in sys.argv[1:] if argument.startswith("--faults"))])
    shutil.rmtree(copy, ignore_errors=True)
    os._exit(status)


# --- nothing hangs for ever -----------------------------------------------------------------------------------------

@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    marker = item.get_closest_marker("timeout")
    item.config.watchdog.tell(f"arm {(marker.args[0] if marker else 60) + GRACE}")
    yield
    item.config.watchdog.tell("off")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    report = outcome.get_result()
    for value in getattr(item, "funcargs", {}).values():
        if report.failed and isinstance(value, Daemon) and os.path.exists(value.log):
            report.sections.append(("end of proc9d's log", value.log_text()))


# --- fixtures -------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="session")
def mode(request):
    return request.config.getoption("--mode")


@pytest.fixture(scope="session")
def programs(request):
    """The folder of the libraries for clients and of the programs that use them."""
    return os.path.abspath(request.config.getoption("--programs"))


@pytest.fixture
def tmp_path(request):
    """A fresh directory that goes with the test."""
    import pathlib
    path = tempfile.mkdtemp(prefix="t-", dir=request.config.run_directory)
    yield pathlib.Path(path)
    shutil.rmtree(path, ignore_errors=True)


def new_daemon(config, *options, prefix=()):
    directory = tempfile.mkdtemp(prefix="m-", dir=config.run_directory)
    return Daemon(config.program, directory, config.watchdog, options, prefix)


class Shared:
    """The one daemon that most tests use; a new one when a test has ended the last."""

    def __init__(self, config):
        self.config, self.daemon = config, None

    def get(self):
        if self.daemon is None or not self.daemon.running():
            self.drop()
            self.daemon = new_daemon(self.config).start()
            self.daemon.efork()  # zygotes and pools are made when first needed
            self.daemon.sweep()
        return self.daemon

    def drop(self):
        if self.daemon is not None:
            self.daemon.remove()
            self.daemon = None


@pytest.fixture(scope="session")
def shared(request):
    shared = Shared(request.config)
    yield shared
    try:
        if shared.daemon:
            shared.daemon.stop()
    finally:
        shared.drop()


@pytest.fixture(scope="module")
def no_leaks(shared):
    """After a file of tests the daemon has no more of anything than before it."""
    daemon = shared.get()
    before = daemon.steady_counts()
    yield
    if shared.daemon is not daemon or not daemon.running():
        return  # ended by a test, which has failed already
    now = daemon.steady_counts()
    more = {what: f"{before[what]} before, {n} now" for what, n in now.items() if n > before[what]}
    assert not more, f"proc9d leaks: {more}"


@pytest.fixture
def mount(shared, no_leaks):
    """The shared mount. What a test leaves on it is ended and reaped."""
    daemon = shared.get()
    yield daemon
    if daemon.running():
        daemon.sweep()
    assert daemon.running(), "proc9d died"


@pytest.fixture
def private_mount(request):
    """A mount whose daemon the test may kill."""
    daemon = new_daemon(request.config)
    try:
        yield daemon.start()
        daemon.stop()
    finally:
        daemon.remove()


@pytest.fixture
def embryo(mount):
    """A fresh embryo on the shared mount."""
    return mount.efork()
