"""Many users and one root daemon: each gets processes of its own kind, and reaches nobody else's."""
import json
import os
import resource
import shutil
import multiprocessing
import signal
import socket
import subprocess
import textwrap
import threading
import time

import pytest

from conftest import new_daemon
from mount import alive, birth, children, errno_of, eventually, kernel_status, write_ctl
from user import User

pytestmark = pytest.mark.mode("root")

ALICE, BOB = User(23001), User(23002)


def for_all(request, *options):
    """A daemon that everybody can get at."""
    daemon = new_daemon(request.config, "--allow-other", *options)
    os.chmod(request.config.run_directory, 0o711)
    os.chmod(daemon.directory, 0o711)
    return daemon


@pytest.fixture(scope="module")
def place(request):
    daemon = for_all(request)
    try:
        daemon.start()
        os.chmod(daemon.scratch, 0o1777)
        yield daemon
        daemon.stop()
    finally:
        daemon.remove()


@pytest.fixture
def mount(place):
    yield place
    place.sweep()
    assert place.running(), "proc9d died"


@pytest.fixture
def limited(request):
    started = []

    def start(*options):
        started.append(for_all(request, *options))
        return started[-1].start()
    try:
        yield start
        for daemon in started:
            daemon.sweep()
            daemon.stop()
    finally:
        for daemon in started:
            daemon.remove()


def efork(mount, *lines, words=""):
    """To be done as a user: the pid of a new embryo."""
    fd = os.open(mount.P("ctl"), os.O_RDWR)
    try:
        os.write(fd, "\n".join([f"efork {words}", *lines]).encode())
        return int(os.read(fd, 64))
    finally:
        os.close(fd)


def last_error(mount):
    with open(mount.P("error")) as file:
        return file.read()


# --- what a child is ------------------------------------------------------------------------------------------------

COMPARE = textwrap.dedent("""
    import ctypes, os, sys, time
    mount = sys.argv[1]
    fd = os.open(mount + "/ctl", os.O_RDWR)
    try:
        os.write(fd, b"efork")
    except OSError as problem:
        sys.exit(f"{problem.strerror}: {open(mount + '/error').read()}")
    embryo = int(os.read(fd, 64))
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    def facts(pid):
        told = {}
        for line in open(f"/proc/{pid}/status"):
            key, _, value = line.partition(":")
            if key in ("Umask", "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs",
                       "Seccomp", "Cpus_allowed_list", "NSpid"):
                told[key] = len(value.split()) if key == "NSpid" else value.split()
        for name in ("limits", "cgroup", "oom_score_adj", "personality"):
            told[name] = open(f"/proc/{pid}/{name}").read()
        for kind in ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"):
            told[kind] = os.readlink(f"/proc/{pid}/ns/{kind}")
        told["root"] = os.stat(f"/proc/{pid}/root").st_ino, os.readlink(f"/proc/{pid}/root")
        told["sched"] = os.sched_getscheduler(pid), os.getpriority(os.PRIO_PROCESS, pid)
        told["ioprio"] = ctypes.CDLL(None).syscall(252, 1, pid)
        told["ioprio"] -= told["ioprio"] & 7 if told["ioprio"] >> 13 == 3 else 0  # the class idle has no levels
        return told
    try:
        mine, its = facts(child), facts(embryo)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    for key in mine:
        if mine[key] != its[key]:
            print(key, "of a child:", mine[key], "of the embryo:", its[key])
    os.close(fd)
    sys.exit(open(f"{mount}/{embryo}/ctl", "w").write("kill") != 4)
""")

AS_ALICE = ALICE.argv()
KINDS = {
    "a user": AS_ALICE,
    "a user of groups": User(23001, [23005, 23006, 7]).argv(),
    "root": [],
    "root without CAP_SYS_ADMIN": ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"],
    "no new privileges": [*AS_ALICE[:-1], "--clear-groups", "--no-new-privs"],
    "a smaller bounding set": [*AS_ALICE, "--bounding-set=-net_raw,-chown"],
    "an ambient capability": [*AS_ALICE, "--inh-caps=+net_raw", "--ambient-caps=+net_raw"],
    "another umask": ["sh", "-c", 'umask 077; exec "$@"', "sh", *AS_ALICE],
    "limits": ["prlimit", "--nofile=200:300", "--stack=1000000:2000000", "--core=0:0", *AS_ALICE],
    "nice": ["nice", "-n", "7", *AS_ALICE],
    "batch": ["chrt", "--batch", "0", *AS_ALICE],
    "idle disks": ["ionice", "-c", "3", *AS_ALICE],
    "one processor": ["taskset", "-c", "0", *AS_ALICE],
    "oom": ["sh", "-c", 'echo 300 > /proc/self/oom_score_adj; exec "$@"', "sh", *AS_ALICE],
    "no random layout": ["setarch", "-R", *AS_ALICE],
    "a network of its own": ["unshare", "--net", *AS_ALICE],
    "a name of its own": ["unshare", "--uts", *AS_ALICE],
    "ipc of its own": ["unshare", "--ipc", *AS_ALICE],
    "mounts of its own": ["unshare", "--mount", *AS_ALICE],
    "cgroups of its own": ["unshare", "--cgroup", *AS_ALICE],
    "a time of its own": ["unshare", "--time", *AS_ALICE],
    "root of a user namespace": [*AS_ALICE, "unshare", "--user", "--map-root-user"],
    "all in a user namespace": [*AS_ALICE, "unshare", "--user", "--map-root-user", "--net", "--mount", "--uts"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_embryo_is_what_a_child_of_the_caller_is(mount, kind):
    done = subprocess.run([*KINDS[kind], "/usr/bin/python3", "-c", COMPARE, mount.path], text=True, cwd="/", timeout=30,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert (done.returncode, done.stdout) == (0, "")


def test_an_embryo_is_in_the_control_group_of_the_caller(mount):
    for top in ("/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"):
        if os.path.exists(f"{top}/cgroup.procs"):
            break
    box = f"{top}/proc9-{os.getpid()}"
    os.mkdir(box)
    try:
        enter = ["sh", "-c", f'echo $$ > {box}/cgroup.procs; exec "$@"', "sh", *AS_ALICE]
        done = subprocess.run([*enter, "/usr/bin/python3", "-c", COMPARE, mount.path], text=True, cwd="/", timeout=30,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert (done.returncode, done.stdout) == (0, "")
    finally:
        assert eventually(lambda: errno_of(os.rmdir, box) in ("success", "ENOENT"), 40), "the zygote rests after a while"


def test_an_embryo_has_the_root_of_the_caller(mount, tmp_path):
    os.chmod(tmp_path, 0o755)
    for name in ("usr", "lib", "lib64", "proc", "bin"):
        os.mkdir(tmp_path / name)
    setup = " && ".join(f"mount --bind /{name} {tmp_path}/{name}" for name in ("usr", "lib", "lib64", "proc", "bin"))
    script = f'{setup} && mkdir {tmp_path}/m && mount --bind {mount.path} {tmp_path}/m && exec chroot {tmp_path} "$@"'
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script, "sh", *AS_ALICE, "/usr/bin/python3", "-c", COMPARE,
                           "/m"], text=True, cwd="/", timeout=30, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_runs_runs_as_its_user(mount):
    script = "echo efork x > $PROC9/ctl; ln -s /dev/stdout $PROC9/x/fd/1; echo exec /usr/bin/id -u > $PROC9/x/ctl; cat $PROC9/x/wait"
    done = ALICE.sh(mount, script)
    assert done.stderr == ""
    assert done.stdout.splitlines()[0] == "23001"
    assert done.stdout.endswith("''\n")


def test_a_user_cannot_become_another(mount):
    def attempt():
        pid = efork(mount)
        with open(mount.P(str(pid), "ctl"), "w") as ctl:
            return [errno_of(os.write, ctl.fileno(), line.encode())
                    for line in ("uid 0", "gid 0", "groups 0", "caps permitted +all", "chroot /", "limit NOFILE 1000000:1000000",
                                 "nice -5", "oom -500", "ns new net", "hostname x", "mount /tmp /mnt none bind")]
    assert set(ALICE.do(attempt)) <= {"EPERM", "EACCES"}


def test_an_id_map_is_written_with_the_rights_of_the_caller(mount):
    def attempt():
        pid = efork(mount, "ns new user")
        with open(mount.P(str(pid), "ctl"), "w") as ctl:
            theirs = [errno_of(os.write, ctl.fileno(), line.encode())
                      for line in ("idmap uid 0 0 1", "idmap uid 0 23002 1", "idmap uid 0 0 65536", "idmap gid 0 0 1")]
            own = [errno_of(os.write, ctl.fileno(), line.encode())
                   for line in ("idmap uid 0 23001 1", "idmap gid 0 23001 1", "uid 0", "gid 0")]
        return theirs, own, kernel_status(pid, "Uid").split()
    theirs, own, users = ALICE.do(attempt)
    assert set(theirs) == {"EPERM"}
    assert set(own) == {"success"}
    assert set(users) == {"23001"}


# --- who gets none --------------------------------------------------------------------------------------------------

SECCOMP = textwrap.dedent("""
    import ctypes, os, sys
    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
    allow = (ctypes.c_uint64 * 1)(0x7fff000000000006)
    libc = ctypes.CDLL(None)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, ctypes.byref(Program(1, ctypes.addressof(allow))), 0, 0) == 0
    os.execv(sys.argv[1], sys.argv[1:])
""")


@pytest.mark.parametrize("prefix, reason", [
    (["/usr/bin/python3", "-c", SECCOMP], "under seccomp"),
    (["unshare", "--pid", "--fork"], "pid namespace"),
])
def test_who_cannot_be_matched_is_refused_with_the_reason(mount, prefix, reason):
    theirs = ALICE.do(efork, mount)
    script = f"echo efork > $PROC9/ctl; cat $PROC9/error; echo kill > $PROC9/{theirs}/ctl; mkdir $PROC9/x"
    done = subprocess.run([*prefix, *map(lambda word: shutil.which(word) if word == "setpriv" else word,
                                         ALICE.argv("/bin/sh", "-c", script))],
                          env={"PROC9": mount.path, "PATH": "/usr/bin:/bin", "LC_ALL": "C"}, text=True, timeout=20,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert reason in done.stdout
    assert "echo: I/O error" in done.stderr  # so dash says it
    assert done.stderr.count("Operation not permitted") == 2, done.stderr
    assert alive(theirs)


def test_who_may_do_less_does_not_command_what_may_do_more(mount):
    """The same uid, but confined: as it could not trace such a process."""
    pid = ALICE.do(efork, mount)
    script = f"echo 'env A=1' > $PROC9/{pid}/ctl; cat $PROC9/{pid}/status; ln -s /dev/null $PROC9/{pid}/fd/3"
    done = ALICE.sh(mount, f"exec setpriv --no-new-privs sh -c '{script}'".replace("'env A=1'", '"env A=1"'))
    assert done.stderr.count("Operation not permitted") == 3, done.stderr
    in_namespace = ALICE.sh(mount, f"unshare --user --map-root-user sh -c 'cat $PROC9/{pid}/status'")
    assert "Operation not permitted" in in_namespace.stderr


# --- what another user cannot do ------------------------------------------------------------------------------------

def attempts(mount, pid, name, running):
    """As Bob, on what is Alice's."""
    own = efork(mount, "map 0x600000 4K rw-", "fd 3 open /dev/null r")
    P = lambda *names: mount.P(str(pid), *names)  # noqa: E731
    Q = lambda *names: mount.P(str(own), *names)  # noqa: E731
    ctl = lambda line: write_ctl(mount.P("ctl"), line)  # noqa: E731
    own_ctl = lambda line: write_ctl(Q("ctl"), line)  # noqa: E731
    get = lambda path: errno_of(lambda: os.close(os.open(path, os.O_RDONLY)))  # noqa: E731
    put = lambda path: errno_of(lambda: os.close(os.open(path, os.O_WRONLY)))  # noqa: E731
    made = lambda path: errno_of(lambda: os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)))  # noqa: E731
    told = {f"read {name}": get(P(name)) for name in ("ctl", "status", "status.json", "process.json", "maps", "args", "limits",
                                                       "regs", "wait", "error", "mem/600000", "env/A")}
    told |= {f"write {name}": put(P(name)) for name in ("ctl", "process.json", "maps", "args", "limits", "regs", "note",
                                                        "mem/600000", "env/A")}
    told |= {f"list {name}": errno_of(os.listdir, P(name)) for name in ("mem", "fd", "env", "ns", "task")}
    told |= {f"readlink {name}": errno_of(os.readlink, P(name)) for name in ("cwd", "root", "exe", "fd/3", "ns/net")}
    told |= {f"create {name}": made(P(name)) for name in ("mem/700000", "env/B")}
    told |= {f"symlink {name}": errno_of(os.symlink, "/dev/null", P(name)) for name in ("fd/5", "mem/800000", "cwd.new", "ns/net")}
    told |= {f"unlink {name}": errno_of(os.unlink, P(name)) for name in ("fd/3", "mem/600000", "env/A", "cwd")}
    told["rename"] = errno_of(os.rename, P("mem/600000"), P("mem/900000"))
    told["rename to own"] = errno_of(os.rename, P("mem/600000"), Q("mem/900000"))
    told["rename from own"] = errno_of(os.rename, Q("mem/600000"), P("mem/900000"))
    told["link to own"] = errno_of(os.link, P("mem/600000"), Q("mem/a00000"))
    told["link from own"] = errno_of(os.link, Q("mem/600000"), P("mem/a00000"))
    told["link fd"] = errno_of(os.link, P("fd/3"), Q("fd/7"), follow_symlinks=False)
    told["chmod"] = errno_of(os.chmod, P("mem/600000"), 0o777)
    told["truncate"] = errno_of(os.truncate, P("mem/600000"), 0)
    told["chown"] = errno_of(os.chown, P("ctl"), 23002, 23002)
    told["rmdir"] = errno_of(os.rmdir, mount.P(str(pid)))
    told["unlink name"] = errno_of(os.unlink, mount.P(name))
    told["rename name"] = errno_of(os.rename, mount.P(name), mount.P("mine"))
    told["share"] = ctl(f"efork share={pid}:mem")
    told["copy of it"] = ctl(f"efork from={pid}")
    told["pipe"] = ctl(f"pipe {own} 8 {pid} 8")
    told["pipe back"] = ctl(f"pipe {pid} 8 {own} 8")
    told["its descriptor"] = own_ctl(f"fd 9 {pid}:3")
    told["a program's descriptor"] = own_ctl(f"fd 9 {running}:0")
    told["a program's link"] = errno_of(os.symlink, f"/proc/{running}/fd/0", Q("fd/9"))
    told["its memory"] = own_ctl(f"copy {pid}")
    told["a program's memory"] = own_ctl(f"copy {running}")
    told["the daemon's descriptor"] = own_ctl(f"fd 9 {mount.pid}:0")
    told["the daemon's memory"] = own_ctl(f"copy {mount.pid}")
    told["its namespace"] = own_ctl(f"ns join net /proc/{running}/ns/net")
    recipe = {"proc9": {"regions": [{"addr": "0x700000", "len": "4K", "prot": "rw-", "from": f"{pid}:0x600000"}]}}
    told["its memory by a recipe"] = write_ctl(Q("process.json"), json.dumps(recipe))
    for line in ("kill", "stop", "start", "exec /bin/true", "name mine"):
        told[line] = write_ctl(mount.P(str(running), "ctl"), line)
    told |= {f"kill {n}": errno_of(os.kill, n, signal.SIGKILL) for n in (pid, running, mount.pid)}
    told |= {f"/proc {file}": get(f"/proc/{pid}/{file}") for file in ("mem", "environ", "maps")}
    return told


def test_another_user_gets_at_nothing(mount):
    pid = ALICE.do(efork, mount, "map 0x600000 4K rw-", "fd 3 open /dev/null r", "env A=1", "thread 0x600000", "name hers")
    running = ALICE.do(efork, mount, "fd 0 open /dev/null r", "exec /bin/sleep 1000")
    before = ALICE.do(mount.out, f"cat {mount.P(str(pid), 'process.json')}")
    told = BOB.do(attempts, mount, pid, "hers", running)
    assert len(told) >= 60
    # What is not there for anybody is not refused first: Alice's mem/ and fd/ are not searched for Bob.
    wrong = {what: answer for what, answer in told.items() if answer not in ("EACCES", "EPERM")}
    assert wrong == {}
    assert alive(pid) and alive(running)
    assert ALICE.do(mount.out, f"cat {mount.P(str(pid), 'process.json')}") == before


def test_a_descriptor_that_was_passed_on_is_of_no_use(mount):
    pid = ALICE.do(efork, mount)

    def try_writing(fds):
        return [errno_of(os.write, fd, line.encode()) for fd, line in zip(fds, ("#", "env A=1", "{}"))]

    def passes():
        fds = [os.open(path, os.O_RDWR) for path in (mount.P("ctl"), mount.P(str(pid), "ctl"), mount.P(str(pid), "process.json"))]
        return fds
    fds = opened_by(ALICE, passes)
    try:
        assert BOB.do(try_writing, fds) == ["EACCES"] * 3
        assert try_writing(fds) == ["EACCES"] * 3, "nor to root"
        assert User(23001, [5]).do(try_writing, fds)[:2] == ["success"] * 2, "to herself it is"
    finally:
        for fd in fds:
            os.close(fd)


def opened_by(user, function):
    """Open files of the user's, in this process."""
    here, there = socket.socketpair()

    def send():
        socket.send_fds(there, [b"x"], function())
    user.do(send)
    _, fds, _, _ = socket.recv_fds(here, 1, 8)
    here.close()
    there.close()
    return list(fds)


def test_a_line_that_is_left_is_not_run_as_root(mount):
    """A write that the kernel cuts leaves its last line to the close, which nobody asks for."""
    pid = ALICE.do(efork, mount)
    secret = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL)
    try:
        for path, last in ((mount.P("ctl"), "efork left"), (mount.P(str(pid), "ctl"), f"fd 5 {secret.pid}:0")):
            def attempt(path=path, last=last):
                fd = os.open(path, os.O_WRONLY)
                filler = b"#" * 4000 + b"\n"
                whole = filler * 400 + last.encode()
                os.write(fd, whole)
                os.close(fd)
            ALICE.do(attempt)
        time.sleep(0.2)
        assert not os.path.lexists(mount.P("left")) or os.stat(mount.P("left")).st_uid == 23001
        assert ALICE.do(os.listdir, mount.P(str(pid), "fd")) == []
    finally:
        secret.kill()
        secret.wait()


def test_a_number_that_is_used_again_is_another_process(mount):
    def keep():
        pid = efork(mount, "map 0x600000 4K rw-")
        tops = [os.open(mount.P(str(pid), name), os.O_RDONLY) for name in (".", "mem", "env")]
        ctl = os.open(mount.P(str(pid), "ctl"), os.O_WRONLY)
        os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: errno_of(os.rmdir, mount.P(str(pid))) in ("success", "ENOENT"))
        assert errno_of(os.write, ctl, b"env A=1") == "ESRCH"
        time.sleep(0.1)
        assert birth(pid), "the number is not given again as long as somebody has its ctl open"
        os.close(ctl)
        return pid, tops

    def probe():
        pid, (top, mem, env) = keep()
        write_end.send(pid)
        write_end.recv()
        return [errno_of(os.open, "ctl", os.O_WRONLY, dir_fd=top), errno_of(os.open, "status", os.O_RDONLY, dir_fd=top),
                errno_of(os.open, "600000", os.O_RDWR, dir_fd=mem),
                errno_of(os.open, "A", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=env)]
    read_end, write_end = multiprocessing.Pipe()
    answers = []
    thread = threading.Thread(target=lambda: answers.extend(ALICE.do(probe)))
    thread.start()
    assert read_end.poll(20)
    pid = read_end.recv()
    assert eventually(lambda: birth(pid) is None), "reaped"
    fresh = efork(mount, "map 0x600000 4K rw-", words=f"pid={pid}")
    assert fresh == pid
    read_end.send("go")
    thread.join(20)
    assert answers == ["ENOENT"] * 4, answers
    assert errno_of(os.open, mount.P(str(pid), "ctl"), os.O_RDONLY) == "success"
    with open(mount.P(str(pid), "mem/600000"), "rb") as file:
        assert file.read(1) == b"\0", "the old file is the old memory"
    assert os.listdir(mount.P(str(pid), "env")) == []


# --- set-user-id ----------------------------------------------------------------------------------------------------

def copy_with_rights(source, target, mode=None, capability=None, group=None):
    shutil.copyfile(os.path.realpath(shutil.which(source)), target)
    os.chown(target, 0, group or 0)
    os.chmod(target, mode or 0o755)
    if capability:
        subprocess.run([shutil.which("setcap"), capability, target], check=True, timeout=10)
    return str(target)


def test_a_set_user_id_program_starts_as_by_execve_and_is_closed_to_its_user(mount):
    sleep = copy_with_rights("sleep", os.path.join(mount.scratch, "sleep"), 0o4755)
    pid = ALICE.do(efork, mount, "map 0x600000 4K rw- shared", f"exec {sleep} 1000")
    assert kernel_status(pid, "Uid").split() == ["23001", "0", "0", "0"]

    def look():
        P = lambda name: mount.P(str(pid), name)  # noqa: E731
        told = {name: errno_of(lambda name=name: mount_read(P(name))) for name in ("maps", "wait.json")}
        told |= {name: errno_of(os.readlink, P(name)) for name in ("cwd", "root", "exe", "fd/0", "ns/net")}
        told |= {name: errno_of(os.listdir, P(name)) for name in ("fd",)}
        told["its descriptor"] = write_ctl(mount.P(str(efork(mount)), "ctl"), f"fd 3 {pid}:0")
        told["its memory"] = write_ctl(mount.P(str(efork(mount)), "ctl"), f"copy {pid}")
        told["build"] = write_ctl(P("ctl"), "map 0x700000 4K rw-")
        return told
    told = ALICE.do(look)
    del told["wait.json"]
    assert set(told.values()) <= {"EACCES", "EPERM"}, told
    assert ALICE.do(write_ctl, mount.P(str(pid), "ctl"), "kill") == 4, "as kill(2) would: its real user is hers"


def mount_read(path):
    with open(path, "rb", buffering=0) as file:
        return file.read(1 << 16)


def test_a_program_that_is_wholly_root_is_not_signalled(mount):
    python = copy_with_rights("/usr/bin/python3", os.path.join(mount.scratch, "python"), 0o4755)
    script = "import os, time; os.setgid(0); os.setuid(0); time.sleep(1000)"
    pid = ALICE.do(efork, mount, f"exec {python} -I -c '{script}'")
    try:
        assert eventually(lambda: kernel_status(pid, "Uid").split() == ["0"] * 4)
        for line in ("kill", "kill TERM", "stop", "start"):
            assert ALICE.do(write_ctl, mount.P(str(pid), "ctl"), line) == "EPERM"
        assert alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("preset, users", [
    (["nonewprivs"], {"23001"}),
    (["ns new user"], {"23001"}),
    (["hang"], {"23001", "0"}),
    (["limit NOFILE 20"], {"23001", "0"}),
])
def test_what_was_set_before_gives_nothing_to_a_set_user_id_program(mount, preset, users):
    """Either it starts without its rights, or nothing can be done to it."""
    sleep = copy_with_rights("sleep", os.path.join(mount.scratch, "sleep2"), 0o4755)
    pid = ALICE.do(efork, mount, *preset, f"exec {sleep} 1000")
    assert set(kernel_status(pid, "Uid").split()) == users
    if users != {"23001"}:
        assert ALICE.do(errno_of, os.listdir, mount.P(str(pid), "fd")) == "EACCES"
        assert ALICE.do(write_ctl, mount.P(str(pid), "ctl"), "reg rip 0x1000") == "EPERM"


def test_memory_in_common_does_not_reach_a_set_user_id_program(mount):
    sleep = copy_with_rights("sleep", os.path.join(mount.scratch, "sleep3"), 0o4755)
    first = ALICE.do(efork, mount, "map 0x600000 4K rw- shared")
    second = ALICE.do(lambda: efork(mount, words=f"share={first}:mem,fs,fd"))
    ALICE.do(write_ctl, mount.P(str(second), "ctl"), f"exec {sleep} 1000")
    users = set(kernel_status(second, "Uid").split())
    assert users == {"23001"} or "600000" not in open(f"/proc/{second}/maps").read()


@pytest.mark.parametrize("mode, capability, group", [(0o4755, None, None), (0o2755, None, 23099), (0o755, "cap_net_raw+ep", None)])
def test_a_program_with_rights_is_no_deputy(mount, mode, capability, group):
    """It writes what its user wants where its user wants it: to a ctl that it was given as its standard error."""
    python = copy_with_rights("/usr/bin/python3", os.path.join(mount.scratch, "deputy"), mode, capability, group)
    pid = ALICE.do(efork, mount)
    script = "import os\nfor fd, line in ((3, b'efork deputy'), (4, b'fd 5 self:0'), (4, b'inherit fd')):\n" \
             "    try: os.write(fd, line); print('written')\n    except OSError as e: print(e.errno)"
    with open(os.path.join(mount.scratch, "deputy.py"), "w") as file:
        file.write(script)
    done = ALICE.sh(mount, f"{python} -I {mount.scratch}/deputy.py 3> $PROC9/ctl 4> $PROC9/{pid}/ctl")
    assert done.stdout.split() == ["13"] * 3, done
    assert not os.path.lexists(mount.P("deputy"))


# --- none takes what the others need --------------------------------------------------------------------------------

def test_a_user_has_so_many_processes_and_no_more(limited):
    daemon = limited("--user-processes=3")
    pids = [ALICE.do(efork, daemon) for _ in range(3)]
    assert ALICE.do(errno_of, efork, daemon) == "EAGAIN"
    assert "user 23001 has 3 processes, which is the limit" in ALICE.do(last_error, daemon)
    assert ALICE.do(errno_of, os.mkdir, daemon.P("x")) == "EAGAIN"
    assert ALICE.do(write_ctl, daemon.P(str(pids[0]), "ctl"), "fork") == "EAGAIN"
    assert ALICE.do(write_ctl, daemon.P("ctl"), f"efork share={pids[0]}:mem") == "EAGAIN"
    BOB.do(efork, daemon)
    for _ in range(5):
        efork(daemon)
    ALICE.do(os.rmdir, daemon.P(str(pids[0])))
    assert eventually(lambda: ALICE.do(errno_of, efork, daemon) == "success")


def test_a_user_has_so_many_regions_and_bytes_and_no_more(limited):
    daemon = limited("--user-regions=4", "--user-bytes=1M")

    def fill():
        pid = efork(daemon)
        P = lambda n: daemon.P(str(pid), "mem", f"{n * 0x1000000:x}")  # noqa: E731
        answers = []
        for n in range(1, 6):
            answers.append(errno_of(lambda n=n: os.close(os.open(P(n), os.O_RDWR | os.O_CREAT, 0o600))))
        answers.append(errno_of(os.truncate, P(1), 1 << 20))
        answers.append(errno_of(os.truncate, P(2), 4096))
        answers.append(errno_of(os.truncate, P(1), 4096))
        answers.append(errno_of(os.truncate, P(2), 4096))
        return answers
    assert ALICE.do(fill) == ["success"] * 4 + ["ENOMEM", "success", "ENOMEM", "success", "success"]
    assert BOB.do(fill) == ["success"] * 4 + ["ENOMEM", "success", "ENOMEM", "success", "success"]


def test_a_user_who_takes_all_that_he_may_leaves_descriptors_to_the_others(request, tmp_path):
    """Whatever the limits are: half of what the daemon may have."""
    program = tmp_path / "proc9d"
    program.write_text(f"#!/bin/sh\nexec prlimit --nofile=400:400 {os.path.abspath(request.config.getoption('--proc9d'))} \"$@\"\n")
    program.chmod(0o755)
    daemon = for_all(request, "--user-processes=1000", "--user-regions=1000")
    daemon.program = str(program)

    def take():
        P = lambda n: daemon.P(str(pid), "mem", f"{n * 0x1000000:x}")  # noqa: E731
        resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400))  # not more than the daemon can give
        pid = efork(daemon)
        regions = next(n for n in range(1, 400) if errno_of(lambda: os.close(os.open(P(n), os.O_RDWR | os.O_CREAT))) != "success")
        return regions - 1, next(n for n in range(1, 400) if errno_of(efork, daemon) != "success")
    try:
        daemon.start()
        assert ALICE.do(take) == (100, 50)
        assert BOB.do(take)[0] > 20
        daemon.stop()
    finally:
        daemon.remove()


def test_the_limit_of_a_users_processes_counts(mount):
    done = subprocess.run(["prlimit", "--nproc=1:1", *AS_ALICE, "/usr/bin/python3", "-c", COMPARE, mount.path], text=True, cwd="/",
                          timeout=30, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode != 0
    assert "Resource temporarily unavailable" in done.stdout, done.stdout


def test_a_crowd_of_one_user_does_not_keep_another_waiting(mount):
    """Sixteen of Alice's ask without a break, one of Bob's: he gets more than one of her many does."""
    stop = time.monotonic() + 3

    def ask(times):
        count = 0
        while time.monotonic() < stop and count < times:
            write_ctl(mount.P("ctl"), "efork\nkill-on-close\n#" + "x" * 100)
            count += 1
        return count
    counts = {}
    crowd = [threading.Thread(target=lambda n=n: counts.update({n: ALICE.do(ask, 10**6)})) for n in range(16)]
    for thread in crowd:
        thread.start()
    his = BOB.do(ask, 10**6)
    for thread in crowd:
        thread.join(30)
    assert his > 1.5 * sorted(counts.values())[8], (his, counts)


def test_children_that_nobody_knows_are_reaped(mount):
    """clone(CLONE_PARENT) in a program makes children of the daemon."""
    script = "import ctypes; libc = ctypes.CDLL(None)\nfor _ in range(20):\n" \
             "    if libc.syscall(56, 0x8000 | 17, 0, 0, 0, 0) == 0: libc._exit(0)"
    with open(os.path.join(mount.scratch, "parent.py"), "w") as file:
        file.write(script)
    before = len(children(mount.pid))
    pid = ALICE.do(efork, mount, f"exec /usr/bin/python3 {mount.scratch}/parent.py")
    assert eventually(lambda: not alive(pid))
    assert eventually(lambda: len(children(mount.pid)) <= before + 1 + 6, 6), children(mount.pid)


def test_a_zygote_that_was_killed_or_stopped_is_replaced(mount):
    for sig in (signal.SIGKILL, signal.SIGSTOP):
        ALICE.do(efork, mount)
        for pid in children(mount.pid):
            if kernel_status(pid, "Uid").split()[0] == "23001":
                os.kill(pid, sig)
        assert eventually(lambda: ALICE.do(errno_of, efork, mount) == "success")
        assert BOB.do(errno_of, efork, mount) == "success"

