"""Load and soak: many at once and for long, with everything being killed meanwhile. Afterwards the daemon has as many
descriptors, processes, directories and as much memory as before.

The long forms (docs/reliability.md has their figures); PROC9_SOAK_SEED repeats a run:

    PROC9_SOAK_SPAWNS=100000 pytest -s tests/session/test_soak.py -k spawns
"""
import contextlib
import errno
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time

import pytest

from conftest import new_daemon
from mount import Embryo, alive, children, errno_of, eventually, read
from soak import Counts, Group, Killer, hierarchy, kilobytes, own_memory, relatives
from soak_mixed import Mixed
from test_users import for_all
from user import User

HERE = os.path.dirname(os.path.abspath(__file__))


def number(name, short):
    return int(os.environ.get(f"PROC9_SOAK_{name}", short))


SEED = number("SEED", random.randrange(1 << 32))
SPAWNS = number("SPAWNS", 600)


pytestmark = pytest.mark.timeout(240)


@pytest.fixture(autouse=True)
def seed_is_told():
    print(f"PROC9_SOAK_SEED={SEED}")  # pytest shows it when something fails


# --- spawns ---------------------------------------------------------------------------------------------------------

CLIENTS = 8
WAYS = ["ctl", "files", "clone", "entry", "fork", "libproc9", "p9"]
PRELOADED = ["ctl", "fork", "posix_spawn", "os_fork"]


A_STRIKE_EACH = 350  # bytes of results: seven spawns, however long they take


class Storm:
    """Clients that spawn, and who kills them and what they make."""

    def __init__(self, mount, programs, folder, seed):
        self.mount, self.programs, self.folder = mount, programs, folder
        self.random, self.killer = random.Random(seed), Killer(mount, seed)
        self.clients = {}  # number -> process

    def results(self, number):
        """Whole lines: who is killed while it writes has written all or nothing."""
        try:
            with open(self.folder / f"results-{number}") as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []

    def written(self):
        return sum(file.stat().st_size for file in self.folder.glob("results-*"))

    def start(self, number, count):
        preloaded = number >= CLIENTS - 2
        environment = {**os.environ, "PROC9": self.mount.path, "PYTHONDONTWRITEBYTECODE": "1"}
        if preloaded:
            environment["LD_PRELOAD"] = f"{self.programs}/libproc9_preload.so"
        with open(self.folder / f"log-{number}", "ab") as log:
            self.clients[number] = subprocess.Popen(
                [sys.executable, f"{HERE}/soak_client.py", self.programs, self.folder / f"results-{number}", str(count),
                 str(self.random.randrange(1 << 32)), *(PRELOADED if preloaded else WAYS)], env=environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def look_after(self, number, share):
        """One that was killed has a successor, which does what is left."""
        client = self.clients[number]
        if client.poll() is None:
            return
        del self.clients[number]
        done = len(self.results(number))
        if client.returncode == 0:
            assert done == share, f"client {number} ends after {done} of {share} spawns"
            return
        log = (self.folder / f"log-{number}").read_text()
        assert client.returncode == -9 and log == "", f"client {number} ends with {client.returncode}: {log}"
        self.remove_left_by(client.pid)
        self.start(number, share - done)

    def remove_left_by(self, client):
        """It had them in the making, or had not waited for them yet."""
        for pid in self.mount.ids():
            embryo = Embryo(self.mount, pid)
            with contextlib.suppress(OSError):
                if f"Creator:\t{client}\n" in embryo.read("status"):
                    embryo.ask("kill")
                    os.rmdir(embryo.dir)

    def run(self, spawns):
        share = spawns // CLIENTS
        for number in range(CLIENTS):
            self.start(number, share)
        end, struck_at = time.monotonic() + 100 + spawns / 20, 0
        try:
            while self.clients:
                assert time.monotonic() < end, f"these have not come to their end: {self.clients}"
                time.sleep(0.01)
                self.killer.let_go()
                if self.written() > struck_at + A_STRIKE_EACH:
                    struck_at = self.written()
                    self.killer.strike([client.pid for client in self.clients.values()])
                for number in list(self.clients):
                    self.look_after(number, share)
        finally:
            self.killer.let_go(everything=True)
            for client in self.clients.values():
                client.kill()
                client.wait()

    def judge(self):
        """Every spawn came to what it should, or a kill explains why not. How many of each way, right and not."""
        counts, unexplained = {}, []
        for number in range(CLIENTS):
            for line in self.results(number):
                way, begin, end, client, came, *took_part = line.split()
                right, wrong = counts.get(way, (0, 0))
                counts[way] = (right + (came == "right"), wrong + (came != "right"))
                if came != "right" and not self.killer.explains(way, float(begin), float(end), int(client), came, took_part):
                    unexplained.append((line, self.killer.about({client, *took_part})))
        assert not unexplained, f"{len(unexplained)} of {counts}: {unexplained[:9]}"
        return counts


@pytest.mark.timeout(300 + SPAWNS // 10)
def test_spawns_of_eight_clients_while_all_are_killed(private_mount, programs, tmp_path):
    counts = Counts(private_mount)
    for turn, spawns in enumerate((min(SPAWNS, 2000) // 2, SPAWNS)):
        folder = tmp_path / str(turn)
        counts.begin()
        folder.mkdir()
        storm = Storm(private_mount, programs, folder, SEED + turn)
        storm.run(spawns)
        came = storm.judge()
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
        figures = counts.check(turn > 0)
    right, wrong = (sum(column) for column in zip(*came.values()))
    print(f"{right} came to what they should, {wrong} to what a kill explains: {came}\n"
          f"killed: {storm.killer.summary()}\nbefore and after: {figures}")
    assert right + wrong == SPAWNS // CLIENTS * CLIENTS
    assert right > SPAWNS // 2


# --- a crowd --------------------------------------------------------------------------------------------------------

EMBRYOS = number("EMBRYOS", 500)
TAKEN = 200  # descriptors of a daemon that has no embryos, and some more


@pytest.fixture
def mounts(request):
    """As many daemons as it takes to have all the embryos: each of them takes two descriptors."""
    most = (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - TAKEN) // 2
    started = [new_daemon(request.config) for _ in range(-(-EMBRYOS // most))]
    try:
        yield [daemon.start() for daemon in started]
        for daemon in started:
            daemon.stop()
    finally:
        for daemon in started:
            daemon.remove()


def furnished(mount):
    """An embryo with a region and a descriptor."""
    fd = os.open(mount.P("ctl"), os.O_RDWR)
    try:
        text = b"efork\nmap 0x600000 64K rw-\nfd 3 open /dev/null r\n"
        assert os.write(fd, text) == len(text), read(mount.P("error"))
        return Embryo(mount, int(os.read(fd, 64)))
    finally:
        os.close(fd)


def look_at(embryo):
    status = embryo.read("status")
    assert "State:\tembryo\n" in status and "Regions:\t1\n" in status and "Fds:\t1\n" in status
    assert embryo.maps()[0][:3] == (0x600000, 0x610000, "rw-p")
    assert embryo.fds() == {3: "/dev/null"}


@pytest.mark.timeout(240 + EMBRYOS // 10)
def test_a_crowd_of_embryos_alive_at_once(mounts):
    counts = [Counts(mount) for mount in mounts]
    for turn in range(2):
        for one in counts:
            one.begin()
        available = kilobytes("/proc/meminfo", "MemAvailable")
        crowd = [furnished(mounts[n % len(mounts)]) for n in range(EMBRYOS)]
        if turn == 0:
            own = sum(own_memory(one.mount.pid) - one.memory for one in counts)
        machine = available - kilobytes("/proc/meminfo", "MemAvailable")
        assert {(e.mount, e.pid) for e in crowd} == {(mount, pid) for mount in mounts for pid in mount.ids()}
        for embryo in crowd:
            look_at(embryo)
        assert all(alive(embryo.pid) for embryo in crowd)
        for embryo in crowd[::100]:
            assert embryo.run("exec /bin/echo started") == ("started\n", "")
            os.unlink(os.path.join(embryo.mount.scratch, f"out-{embryo.pid}"))
        for embryo in [e for n, e in enumerate(crowd) if n % 100]:
            os.rmdir(embryo.dir)
        figures = [one.check(turn > 0) for one in counts]
    print(f"{EMBRYOS} embryos of {len(mounts)} daemons: {own / EMBRYOS:.1f} kB of the daemon's own memory each, "
          f"{machine / EMBRYOS:.1f} kB of the machine's\nbefore and after: {figures}")
    assert own / EMBRYOS < 10


def until_refused(mount, most):
    """Embryos, and the errno of the first that could not be made."""
    crowd = []
    with pytest.raises(OSError) as refused:
        for _ in range(most):
            crowd.append(furnished(mount))
    return crowd, errno.errorcode[refused.value.errno]


def goes_on_at_a_limit(mount, limit, wanted):
    """Not one more, but those that are there go on, and where one goes there is room again."""
    counts = Counts(mount)
    for turn in range(2):
        counts.begin()
        with limit():
            crowd, refused = until_refused(mount, 2000)
            assert refused == wanted and len(crowd) > 20
            os.rmdir(crowd.pop().dir)
            os.rmdir(crowd.pop().dir)
            for embryo in crowd:
                look_at(embryo)
            assert crowd.pop().run("exec /bin/echo started") == ("started\n", "")
            os.unlink(next(os.scandir(mount.scratch)))
            assert eventually(lambda: errno_of(lambda: crowd.append(furnished(mount))) == "success")
            assert "EIO" not in {errno_of(lambda: furnished(mount)) for _ in range(5)}
            mount.sweep()
        counts.check(turn > 0)


def test_a_daemon_that_has_no_descriptors_left_goes_on(private_mount):
    own = resource.prlimit(private_mount.pid, resource.RLIMIT_NOFILE)

    @contextlib.contextmanager
    def few():
        resource.prlimit(private_mount.pid, resource.RLIMIT_NOFILE, (400, own[1]))
        yield
        resource.prlimit(private_mount.pid, resource.RLIMIT_NOFILE, own)
    goes_on_at_a_limit(private_mount, few, "EMFILE")


def processes_of_mine():
    found = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            found += os.stat(f"/proc/{pid}").st_uid == os.getuid()
    return found


@contextlib.contextmanager
def limit_of_the_user(mount):
    """Of those who make processes."""
    makers = children(mount.pid)
    own = resource.prlimit(makers[0], resource.RLIMIT_NPROC)
    for pid in makers:
        resource.prlimit(pid, resource.RLIMIT_NPROC, (processes_of_mine() + 200, own[1]))
    yield
    for pid in filter(alive, makers):
        resource.prlimit(pid, resource.RLIMIT_NPROC, own)


if os.getuid() != 0:  # root is not limited so
    def test_a_user_who_may_have_no_more_processes_goes_on(private_mount):
        goes_on_at_a_limit(private_mount, lambda: limit_of_the_user(private_mount), "EAGAIN")

if os.getuid() == 0 and hierarchy("pids"):
    @pytest.fixture
    def group_of_few(private_mount):
        group = Group("pids", {"pids.max": 120})
        group.enter(private_mount.pid)
        yield group
        private_mount.kill()
        group.remove()

    def test_a_control_group_that_may_have_no_more_processes_goes_on(private_mount, group_of_few):
        goes_on_at_a_limit(private_mount, contextlib.nullcontext, "EAGAIN")


# --- little memory --------------------------------------------------------------------------------------------------

MB = 1 << 20
MEMORY = 64 * MB
PRESSURE = number("PRESSURE", 2)
READILY = "echo 1000 > /proc/self/oom_score_adj"  # to be ended before all others
TOO_MUCH = "exec /bin/dd if=/dev/zero of=/dev/null bs=512M count=1"


def fill(mount, name, group):
    """A client in the group writes to a region until it cannot go on, and how that ended. What it wrote is there."""
    write = f"mkdir $PROC9/{name}; exec head -c 1G /dev/zero > $PROC9/{name}/mem/600000"
    done = mount.sh(f"echo $$ > {group.path}/cgroup.procs; {READILY}; {write}", timeout=60)
    assert done.returncode == -signal.SIGKILL or "Cannot allocate memory" in done.stderr, done
    assert os.stat(mount.embryo(name).P("mem/600000")).st_size > MEMORY // 2
    return done.returncode


if os.getuid() == 0 and hierarchy("memory"):
    @pytest.fixture
    def group(private_mount):
        group = Group.of_memory(MEMORY)
        yield group
        private_mount.kill()
        group.remove()

    @pytest.mark.timeout(240 + PRESSURE)
    @pytest.mark.parametrize("who", ["client", "client and daemon"])
    def test_who_builds_more_than_the_control_group_may_have_is_ended(private_mount, group, who):
        """By the kernel, or refused. The daemon goes on, and what is removed is given back."""
        if who == "client and daemon":
            group.enter(private_mount.pid)
        counts, ends = Counts(private_mount), {}
        for turn in range(PRESSURE):
            if turn < 2:
                counts.begin()
            used = group.used()
            end = fill(private_mount, "full", group)
            ends[end] = ends.get(end, 0) + 1
            os.rmdir(private_mount.embryo("full").dir)
            assert eventually(lambda: group.used() < used + 2 * MB, 30), f"{group.used()} bytes are used, {used} before"
            program = private_mount.efork()
            program.tell("oom 1000", f"cgroup {group.path}")
            assert program.run(TOO_MUCH) == ("", "signal 9 KILL")
            assert private_mount.efork().run("exec /bin/echo here") == ("here\n", "")
            for name in os.listdir(private_mount.scratch):
                os.unlink(os.path.join(private_mount.scratch, name))
            figures = counts.check(turn > 0) if turn in (0, PRESSURE - 1) else None
        print(f"{who}: ends {ends}, ended by the kernel {group.statistic('oom_kill')}\nbefore and after: {figures}")
        assert group.statistic("oom_kill") >= PRESSURE

    def test_a_daemon_that_the_kernel_ends_for_memory_leaves_nothing(private_mount, group):
        """When its group is full of regions, and nobody in it has more than the daemon has."""
        others, used = relatives(), group.used()
        group.enter(private_mount.pid)
        crowd = [furnished(private_mount) for _ in range(10)]
        fill(private_mount, "full", group)
        with contextlib.suppress(OSError, AssertionError):
            crowd[0].run(TOO_MUCH)
        assert eventually(lambda: not private_mount.running(), 30)
        assert private_mount.process.returncode == -signal.SIGKILL
        assert errno_of(os.stat, private_mount.P("ctl")) == "ENOTCONN"
        assert eventually(lambda: not any(alive(embryo.pid) for embryo in crowd), 30)
        private_mount.kill()
        assert eventually(lambda: group.used() < used + 2 * MB, 30)
        assert eventually(lambda: relatives() <= others, 30)
        private_mount.start()
        assert private_mount.efork().run("exec /bin/echo back") == ("back\n", "")


def flood(mount, answers):
    """Lines of many megabytes, in one embryo after the other."""
    for _ in range(10):
        fd = os.open(mount.P("ctl"), os.O_RDWR)
        try:
            os.write(fd, b"efork\n")
            for _ in range(12):
                os.write(fd, b"args " + b"x" * MB)
        except OSError as problem:
            answers.append(errno.errorcode[problem.errno])
        finally:
            os.close(fd)


@pytest.mark.parametrize("room", [1, 2, 12])
def test_a_daemon_with_little_address_space_refuses_and_goes_on(private_mount, room):
    counts = Counts(private_mount, slack=12 * 1024)  # what lines of a megabyte leave of the heap varies, up to the limit
    own = resource.prlimit(private_mount.pid, resource.RLIMIT_AS)
    little = kilobytes(f"/proc/{private_mount.pid}/status", "VmSize") * 1024 + room * MB
    for turn in range(2):
        counts.begin()
        resource.prlimit(private_mount.pid, resource.RLIMIT_AS, (little, own[1]))
        answers = []
        clients = [threading.Thread(target=flood, args=(private_mount, answers)) for _ in range(4)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        assert len(answers) > 10 and set(answers) == {"ENOMEM"}
        assert private_mount.efork().run("exec /bin/echo here") == ("here\n", "")
        os.unlink(next(os.scandir(private_mount.scratch)))
        private_mount.sweep()
        resource.prlimit(private_mount.pid, resource.RLIMIT_AS, own)
        counts.check(turn > 0)


def test_an_embryo_that_may_not_have_more_address_space_is_as_it_was(mount):
    """The limit is the embryo's own."""
    embryo = mount.efork()
    embryo.tell("map 0x10000000 32M rw-", "limit AS 64M")
    before = embryo.maps()
    assert embryo.ask("map 0x20000000 64M rw-") == "ENOMEM"
    assert embryo.maps() == before
    embryo.tell("map 0x20000000 16M rw-", "unmap 0x20000000", "limit AS 64M")
    assert embryo.run(TOO_MUCH)[1] == "exit 1"


# --- everything, at random ------------------------------------------------------------------------------------------

OPERATIONS = number("OPERATIONS", 400)


@pytest.fixture
def place(request, mode):
    """A mount, and another user of it where there can be one."""
    daemon = for_all(request) if mode == "root" else new_daemon(request.config)
    try:
        yield daemon.start(), User(23001) if mode == "root" else None
        daemon.stop()
    finally:
        daemon.remove()


@pytest.mark.timeout(240 + OPERATIONS // 10)
def test_mixed_operations_at_random(place, tmp_path):
    mount, user = place
    counts = Counts(mount, [user] if user else [])
    for turn in range(2):
        counts.begin()
        mixed = Mixed(mount, SEED, tmp_path, user)
        mixed.run(OPERATIONS)
        figures = counts.check(turn > 0)
    print(f"{OPERATIONS} operations: {mixed.answers}\nbefore and after: {figures}")
    assert mixed.answers["done"] > OPERATIONS // 2
