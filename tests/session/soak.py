"""What a long run may not leave behind, and who ends things at random meanwhile."""
import contextlib
import os
import random
import re
import signal
import time
from dataclasses import dataclass

from mount import birth, children, errno_of, eventually, kernel_fds, kernel_status, read

SLACK = 1024  # kB of the daemon's own memory; after a first round that was the same
OWN_FILES = {"clone", "ctl", "error", "help", "stats.json"}  # of the root, besides processes


# --- before and after -----------------------------------------------------------------------------------------------

def state(pid):
    """A letter, as ps has it; "" of one that has gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return kernel_status(pid, "State")[0]
    return ""


def parent_of(pid):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return int(kernel_status(pid, "PPid"))
    return 0


def kilobytes(path, key):
    """Of a file like /proc/meminfo."""
    return int(re.search(rf"^{key}:\s+(\d+) kB$", read(path), re.M)[1])


def own_memory(pid):
    """What nobody shares with it, in kB."""
    return kilobytes(f"/proc/{pid}/status", "RssAnon")


def relatives():
    """Our children, and what was orphaned below us: conftest.py adopts that."""
    return {(pid, birth(pid)) for parent in (os.getpid(), os.getppid()) for pid in children(parent)}


def files(folder):
    """Below it, mounts left out."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not os.path.ismount(os.path.join(place, name))]
        found += (os.path.join(place, name) for name in folders + names)
    return sorted(found)


class Counts:
    """Of everything that could be left behind. `users` have processes too: what is made ahead for them is there before and
    after."""

    def __init__(self, mount, users=(), slack=SLACK):
        self.mount, self.users, self.slack = mount, users, slack
        self.before = self.memory = None

    def look(self):
        kids = children(self.mount.pid)
        descriptors = {}
        for target in kernel_fds(self.mount.pid).values():
            kind = target.split(":")[0] if target.startswith(("/memfd", "socket", "pipe")) else target
            descriptors[kind] = descriptors.get(kind, 0) + 1
        return {"children": len(kids), "zombies": sum(state(pid) == "Z" for pid in kids), "descriptors": descriptors,
                "in the mount": sorted(set(self.mount.ls()) - OWN_FILES), "files": files(os.environ["TMPDIR"]),
                "processes": relatives()}

    def nudge(self):
        """What is made ahead is made when somebody asks."""
        for do in (lambda call: call(), *(user.do for user in self.users)):
            with contextlib.suppress(OSError):
                do(self.pass_through)

    def pass_through(self):
        with open(self.mount.P("clone"), "rb", buffering=0) as file:
            file.read(64)

    def begin(self):
        """When nothing has changed for a while."""
        self.mount.sweep()
        looks = []
        while looks[-1:] != looks[-2:-1] or not looks:
            assert len(looks) < 40, f"the daemon does not come to rest: {looks[-2:]}"
            self.nudge()
            time.sleep(0.7)
            looks.append(self.look())
        self.before, self.memory = looks[-1], own_memory(self.mount.pid)

    def is_as_before(self):
        self.nudge()
        return eventually(lambda: self.look() == self.before, 1)

    def check(self, is_warm=True):
        """All is as it was at `begin`; the memory too, if the daemon had done the same before. What there is to tell of it."""
        self.mount.sweep()
        eventually(self.is_as_before, 40)
        now = self.look()
        differs = {what: (self.before[what], now[what]) for what in now if now[what] != self.before[what]}
        assert not differs, f"before and after: {differs}"
        memory = own_memory(self.mount.pid)
        assert memory <= self.memory + self.slack or not is_warm, f"the daemon's own memory: {self.memory} kB, then {memory} kB"
        assert "[error]" not in (log := self.mount.log_text()), log
        descriptors = sum(now["descriptors"].values())
        return f"children {now['children']}, descriptors {descriptors}, own memory {self.memory} -> {memory} kB"


# --- who kills ------------------------------------------------------------------------------------------------------

@dataclass
class Kill:
    what: str
    pid: int
    parent: int
    at: float


class Killer:
    """Ends what a mount and its clients have, and remembers it. A pid is held while it is looked at: nobody else's
    process is hit."""

    def __init__(self, mount, seed):
        self.mount, self.random, self.kills, self.stopped = mount, random.Random(seed), [], []

    def signal(self, what, pid, parents, number):
        """If it is a child of these."""
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        parent = parent_of(pid)
        if parent not in parents:
            os.close(fd)
            return
        self.kills.append(Kill(what, pid, parent, time.monotonic()))  # before anybody can notice
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, number)
        if number == signal.SIGSTOP:
            self.stopped.append((time.monotonic() + self.random.choice((0.03, 0.03, 0.7)), fd))
        else:
            os.close(fd)

    def let_go(self, everything=False):
        for when, fd in list(self.stopped):
            if everything or when < time.monotonic():
                self.stopped.remove((when, fd))
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(fd, signal.SIGCONT)
                os.close(fd)

    def helpers(self):
        """Zygotes, and what they have made ahead."""
        return sorted(set(children(self.mount.pid)) - set(self.mount.ids()))

    def strike(self, clients):
        """Once. `clients` are pids of ours."""
        ours = {self.mount.pid, *clients}
        kind = self.random.choices(("process", "stop", "helper", "all helpers", "client"), (50, 20, 15, 5, 10))[0]
        if kind == "client" and clients:
            self.signal(kind, self.random.choice(clients), {os.getpid()}, signal.SIGKILL)
        elif kind == "all helpers":
            for pid in self.helpers():
                self.signal(kind, pid, ours, signal.SIGKILL)
        elif among := self.helpers() if kind == "helper" else self.mount.ids():
            number = signal.SIGSTOP if kind == "stop" else signal.SIGKILL
            self.signal(kind, self.random.choice(among), ours, number)

    def explains(self, way, begin, end, client, came, took_part):
        """Whether that is what a kill in time leads to: of who took part or of its child; if none was made, of who makes them,
        the daemon's zygote or the client's own. Nobody else's death is an excuse."""
        if (reason := re.match(r"[A-Z]+(?=_|$)|'signal_9_KILL'|-9_|(1|12[567])_", came)) is None:
            return False
        is_stop = reason[0] in ("EBUSY", "EINTR")
        pids = set(map(int, took_part))
        is_unmade = len(pids) <= (way == "fork")  # the template takes part
        return any(begin - 60 < kill.at <= end and (kill.what == "stop") == is_stop and (
            kill.pid in pids or kill.parent in pids
            or (is_unmade and ("helper" in kill.what or kill.parent == client) and kill.at > begin - 0.2))
            for kill in self.kills)

    def about(self, pids):
        return [kill for kill in self.kills if str(kill.pid) in pids or str(kill.parent) in pids]

    def summary(self):
        counts = {}
        for kill in self.kills:
            counts[kill.what] = counts.get(kill.what, 0) + 1
        return ", ".join(f"{n} {what}" for what, n in sorted(counts.items()))


# --- a control group ------------------------------------------------------------------------------------------------

def hierarchy(controller):
    """Where groups with this controller can be made, and of which version of control groups; or None."""
    for line in read("/proc/self/mountinfo").splitlines():
        place, (kind, _, options) = line.split()[4], line.split(" - ")[1].split()
        with contextlib.suppress(OSError):
            if kind == "cgroup2" and controller in read(f"{place}/cgroup.subtree_control").split() and os.access(place, os.W_OK):
                return place, 2
            if kind == "cgroup" and controller in options.split(",") and os.access(place, os.W_OK):
                return place, 1
    return None


class Group:
    """A new control group that may have so much."""

    def __init__(self, controller, limits):
        place, self.version = hierarchy(controller)
        self.path = f"{place}/proc9-soak-{os.getpid()}"
        os.mkdir(self.path)
        for name, value in limits.items():
            self.set(name, value)

    @classmethod
    def of_memory(cls, most):
        if hierarchy("memory")[1] == 1:
            return cls("memory", {"memory.limit_in_bytes": most, "memory.memsw.limit_in_bytes": most})
        return cls("memory", {"memory.max": most, "memory.swap.max": 0})

    def set(self, name, value):
        with open(f"{self.path}/{name}", "w") as file:
            file.write(str(value))

    def enter(self, pid):
        self.set("cgroup.procs", pid)

    def used(self):
        return int(read(f"{self.path}/{'memory.current' if self.version == 2 else 'memory.usage_in_bytes'}"))

    def statistic(self, name):
        file = {"oom_kill": {2: "memory.events", 1: "memory.oom_control"}[self.version]}.get(name, "memory.stat")
        return int(re.search(rf"^{name} (\d+)$", read(f"{self.path}/{file}"), re.M)[1])

    def remove(self):
        """Who is in it has ended."""
        assert eventually(lambda: errno_of(os.rmdir, self.path) == "success", 10), read(f"{self.path}/cgroup.procs")
