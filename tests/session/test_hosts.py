"""Two hosts: network namespaces `near`, where the files are used, and `far`, where proc9 is. Between them sshfs, and a 9P server."""
import contextlib
import errno
import itertools
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import pytest

import test_docs
from conftest import libc, new_daemon, offer_dev_fuse, system_call
from mount import alive, children, errno_of, eventually, read
from nine import Nine

pytestmark = [pytest.mark.mode("root"), pytest.mark.timeout(150)]

NEAR, FAR = "10.99.0.1", "10.99.0.2"
DIOD_PORT = 10564
PATIENCE = 60  # seconds for what takes a moment where nothing else runs
RIGHT = "direct_io,dir_cache=no,entry_timeout=0,attr_timeout=0,sshfs_sync"  # as docs/howto/other-machines.md says
# Some releases refuse to read a link to an absolute path, unless told.
IF_KNOWN = "no_contain_symlinks"
PAGE = test_docs.ROOT / "docs/howto/other-machines.md"


# --- two hosts ------------------------------------------------------------------------------------------------------

def must(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, **options)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


class Network:
    """Two namespaces with a cable between them. The names are those of the run: others may be under way."""

    made = itertools.count()

    def __init__(self):
        number = next(self.made)
        self.names = {host: f"proc9-{host}-{os.getpid()}-{number}" for host in ("near", "far")}
        try:
            for name in self.names.values():
                must("ip", "netns", "add", name)
        except (AssertionError, FileNotFoundError) as problem:
            self.remove()
            pytest.fail(f"this machine cannot make network namespaces, which stand for the two hosts here: {problem}")
        near, far = self.names["near"], self.names["far"]
        must("ip", "-n", near, "link", "add", "v0", "type", "veth", "peer", "name", "v0", "netns", far)
        for name, address in ((near, NEAR), (far, FAR)):
            must("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "v0")
            for device in ("lo", "v0"):
                must("ip", "-n", name, "link", "set", device, "up")

    def on(self, host):
        """What a command is to begin with: nsenter becomes it."""
        return ("/usr/bin/nsenter", f"--net=/run/netns/{self.names[host]}", "--")

    def remove(self):
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=PATIENCE)


SSHD = """
ListenAddress {far}
HostKey {directory}/hostkey
AuthorizedKeysFile {directory}/authorized
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
Subsystem sftp {server}
"""

SSH = """
Host far far-user
    HostName {far}
    User root
    IdentityFile {directory}/key
    IdentitiesOnly yes
    UserKnownHostsFile {directory}/known
    StrictHostKeyChecking accept-new
    BatchMode yes
    LogLevel ERROR
"""


class Sshd:
    """With a configuration, keys and an ssh of its own; `user` is who logs in."""

    def __init__(self, network, directory, user="root", server="/usr/lib/openssh/sftp-server"):
        self.directory = directory
        os.makedirs("/run/sshd", exist_ok=True)
        for name in ("hostkey", "key"):
            must("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{directory}/{name}")
        shutil.copy(f"{directory}/key.pub", f"{directory}/authorized")
        self.write("sshd_config", SSHD.format(far=FAR, directory=directory, server=server))
        self.write("ssh_config", SSH.format(far=FAR, directory=directory).replace("User root", f"User {user}"))
        os.mkdir(f"{directory}/bin")  # in PATH, ssh knows the host far
        self.write("bin/ssh", f'#!/bin/sh\nexec /usr/bin/ssh -F {directory}/ssh_config "$@"\n')
        os.chmod(f"{directory}/bin/ssh", 0o755)
        self.log = open(f"{directory}/sshd.log", "wb")
        self.process = subprocess.Popen([*network.on("far"), "/usr/sbin/sshd", "-D", "-e", "-f", f"{directory}/sshd_config"],
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        assert eventually(lambda: "Server listening" in read(f"{directory}/sshd.log"), PATIENCE)

    def write(self, name, text):
        with open(f"{self.directory}/{name}", "w") as file:
            file.write(text)

    def end(self):
        sessions = children(self.process.pid)
        self.process.terminate()
        self.process.wait(PATIENCE)
        eventually(lambda: not any(map(alive, sessions)), 5)
        for pid in filter(alive, sessions):
            os.kill(pid, signal.SIGKILL)
        self.log.close()


class Hosts:
    def __init__(self, config, user="root", server="/usr/lib/openssh/sftp-server"):
        self.config = config
        self.directory = tempfile.mkdtemp(prefix="h-", dir=config.run_directory)
        for path in (config.run_directory, self.directory):
            os.chmod(path, 0o711)
        self.ends = contextlib.ExitStack()
        try:
            self.network = Network()
            self.ends.callback(self.network.remove)
            as_user = ()
            if user != "root":
                account = pwd.getpwnam(user)
                as_user = ("setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups")
            self.daemon = new_daemon(config, prefix=(*self.network.on("far"), *as_user))
            self.ends.callback(self.daemon.remove)
            if user != "root":
                for path in (self.daemon.path, self.daemon.scratch):
                    os.mkdir(path)
                    os.chown(path, account.pw_uid, account.pw_gid)
                os.chmod(self.daemon.directory, 0o711)
                self.daemon.program = shutil.copy(config.program, self.directory)  # a checkout may be out of sight
            self.daemon.start()
            self.sshd = Sshd(self.network, self.directory, user, server)
            self.ends.callback(self.sshd.end)
        except BaseException:
            self.ends.close()
            raise

    def near(self, *command, timeout=PATIENCE, **options):
        return subprocess.run([*self.network.on("near"), *command], timeout=timeout, text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)

    def environment(self, programs="", **more):
        return {**os.environ, "PATH": f"{self.directory}/bin:{programs}:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C", **more}

    def sh(self, script, **options):
        return self.near("bash", "-c", script, env=self.environment(), **options)

    @contextlib.contextmanager
    def sshfs(self, options=RIGHT):
        """far's proc9, as files of near."""
        place = tempfile.mkdtemp(prefix="far-", dir=self.directory)
        before = os.stat(place).st_dev
        server = subprocess.Popen([*self.network.on("near"), "sshfs", "-f", "-F", f"{self.directory}/ssh_config", "-o", options,
                                   f"far:{self.daemon.path}", place], stdin=subprocess.DEVNULL)
        self.config.watchdog.tell(f"daemon {server.pid} {place}")

        def answers():
            assert server.poll() is None, f"sshfs ended: {read(f'{self.directory}/sshd.log')}"
            return self.near("stat", "-c", "%d", place).stdout.strip() not in ("", str(before))
        try:
            assert eventually(answers, PATIENCE)
            yield place
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(10)
            self.config.watchdog.tell(f"gone {server.pid}")
            subprocess.run(["umount", "-l", place], capture_output=True, timeout=PATIENCE)


@pytest.fixture(scope="module")
def both(request):
    hosts = Hosts(request.config)
    yield hosts
    hosts.daemon.stop()
    hosts.ends.close()


@pytest.fixture
def hosts(both):
    yield both
    both.daemon.sweep()
    assert both.daemon.running(), "proc9d died"


@pytest.fixture
def far(hosts):
    known = subprocess.run(["sshfs", "--help"], capture_output=True, text=True, timeout=PATIENCE).stdout
    with hosts.sshfs(f"{RIGHT},{IF_KNOWN}" if IF_KNOWN in known else RIGHT) as place:
        yield place


def net_of(network, host):
    return must(*network.on(host), "readlink", "/proc/self/ns/net").strip()


def refused(hosts, far, script, error="error"):
    """A command that must fail; why, as `error` has it."""
    done = hosts.sh(script, cwd=far)
    assert done.returncode != 0, done
    return done.stderr, read(f"{hosts.daemon.path}/{error}")


# --- by sshfs -------------------------------------------------------------------------------------------------------

def test_a_process_is_built_started_and_waited_for_and_its_output_read_with_file_calls(hosts, far):
    done = hosts.sh("""set -e
        printf 'efork out\\nefork job\\n' > ctl
        : > out/mem/600000
        echo 'fd 1 mem 0x600000' > out/ctl
        printf 'fd 1 out:1\\nenv GREETING=hello\\nchdir /usr\\n' > job/ctl
        printf 'good morning' > job/env/OTHER
        echo 'NOFILE 100:200' > job/limits
        cat job/ctl
        echo 'exec /bin/sh -c "readlink /proc/self/ns/net; pwd; ulimit -n; echo $GREETING $OTHER; exit 3"' > job/ctl
        cat job/wait out/mem/600000
        ls
        echo kill > out/ctl
        """, cwd=far)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"\d+ embryo", lines[0])
    assert re.fullmatch(r"\d+ \d+ \d+ \d+ 'exit 3'", lines[1])
    assert lines[2:6] == [net_of(hosts.network, "far"), "/usr", "100", "hello good morning"]
    assert lines[2] != net_of(hosts.network, "near")
    assert "job" not in lines[6:] and "out" in lines[6:], "who reads wait there reaps"


def test_a_process_is_made_by_hand(hosts, far):
    done = hosts.sh(r"""set -e
        echo 'efork byhand' > ctl; cd byhand
        printf '\270\1\0\0\0\277\1\0\0\0\276\42\0\100\0\272\15\0\0\0\17\5' >> mem/400000
        printf '\277\52\0\0\0\270\74\0\0\0\17\5' >> mem/400000
        printf 'made by hand\n' >> mem/400000
        chmod 500 mem/400000
        cut -c 1-22 maps
        : > mem/600000; ln mem/600000 mem/800000; rm mem/600000; mv mem/800000 mem/700000
        echo 'fd 1 mem 0x700000' > ctl
        ln -s /dev/null fd/5; readlink fd/5; ln fd/5 fd/6; mv fd/6 fd/7; rm fd/5; ls fd
        echo 'entry 0x400000' > ctl
        until grep -q '^State:.*exited' status; do sleep 0.1; done
        cat wait
        """, cwd=far)
    assert done.stderr == ""
    assert re.fullmatch(r"00400000-00401000 r-xp\n/dev/null\n1\n7\n\d+ \d+ \d+ \d+ 'exit 42'\n", done.stdout)


def test_cat_of_ctl_ends(hosts, far):
    done = hosts.sh("echo 'efork job' > ctl; cat job/ctl; exec 3<> ctl; echo efork >&3; read id <&3; cat $id/ctl", cwd=far)
    assert re.fullmatch(r"(\d+ embryo\n){2}", done.stdout), done


def test_a_clone_goes_when_it_is_closed(hosts, far):
    done = hosts.sh("exec 3<> clone; read id <&3; cat $id/ctl; exec 3>&-; echo $id", cwd=far)
    line, pid = done.stdout.splitlines()
    assert line == f"{pid} embryo", done
    assert eventually(lambda: not hosts.daemon.ids())


def test_wait_does_not_hold_up_others_where_there_are_more_connections(hosts):
    with hosts.sshfs(f"{RIGHT},max_conns=3") as far:
        script = """printf 'efork one\\nexec /bin/sleep 1000\\n' > ctl; printf 'efork two\\nexec /bin/sleep 1000\\n' > ctl
                    cat one/wait & cat two/wait & sleep 0.5
                    sed -n 's/^State:.//p' one/status two/status; echo kill > one/ctl; echo kill > two/ctl; wait"""
        done = hosts.sh(script, cwd=far)
        assert done.stderr == ""
        assert done.stdout.startswith("running\nrunning\n")
        assert done.stdout.count("'signal 9 KILL'") == 2


def test_wait_holds_up_others_on_one_connection(hosts, far):
    """Why the page says max_conns: were this not so any more, it could say less."""
    hosts.sh("printf 'efork one\\nexec /bin/sleep 1000\\n' > ctl", cwd=far)
    one = hosts.daemon.embryo("one")
    readers = []
    try:
        for name in ("one/wait", "stats.json"):
            readers.append(subprocess.Popen([*hosts.network.on("near"), "cat", f"{far}/{name}"], stdout=subprocess.PIPE))
            time.sleep(1)
        assert [reader.poll() for reader in readers] == [None, None]
    finally:
        one.tell("kill")  # nothing else frees them, not even SIGKILL
        told = [reader.communicate(timeout=PATIENCE)[0] for reader in readers]
    assert b"KILL" in told[0]
    assert b"requests" in told[1]


# --- what does not cross --------------------------------------------------------------------------------------------

NOT_YOURS = "carries the requests of another machine"


@pytest.mark.parametrize("attempt", [
    "ln -s /dev/stdout job/fd/1", "ln -s /dev/fd/0 job/fd/0", "ln -s /proc/self/fd/1 job/fd/1", "echo 'fd 1 self:1' > job/ctl",
    "echo 'inherit fd' > job/ctl", "echo 'inherit env' > job/ctl", "echo 'inherit cwd' > job/ctl", "echo 'inherit all' > job/ctl",
    "echo 'inherit settings' > job/ctl", "echo 'copy self' > job/ctl", "rm job/cwd && ln -s /dev/fd/0 job/cwd"])
def test_what_is_the_servers_own_is_not_taken(hosts, far, attempt):
    assert hosts.sh("echo 'efork job' > ctl", cwd=far).stderr == ""
    words, why = refused(hosts, far, attempt, "job/error")
    assert "Permission denied" in words or "Input/output error" in words
    assert NOT_YOURS in why and "sftp-server" in why
    assert hosts.daemon.embryo("job").fds() == {}


def test_nobody_is_adopted(hosts, far):
    _, why = refused(hosts, far, "echo 'adopt 3' > ctl")
    assert NOT_YOURS in why


@pytest.mark.parametrize("line, reason", [
    ("nonsense", "unknown command"), ("map 0x600001 4K rw-", "multiple of the page size"), ("fd 3 open /no/such r", "No such file"),
    ("exec /no/such", "No such file")])
def test_a_refused_line_is_an_error_of_write_and_the_reason_is_in_error(hosts, far, line, reason):
    hosts.sh("echo 'efork job' > ctl", cwd=far)
    words, why = refused(hosts, far, f"echo '{line}' > job/ctl", "job/error")
    assert "Input/output error" in words
    assert reason in why


def test_without_sshfs_sync_a_refusal_is_told_at_close_only(hosts):
    with hosts.sshfs("direct_io,dir_cache=no") as far:
        def told():
            fd = os.open(f"{far}/ctl", os.O_WRONLY)
            return errno_of(os.write, fd, b"nonsense\n"), errno_of(os.close, fd)
        assert told() == ("success", "EIO")


def test_mkdir_makes_the_embryo_and_says_eio(hosts, far):
    """The name is a link there, and the kernel here wants a directory."""
    assert errno_of(os.mkdir, f"{far}/job") == "EIO"
    assert os.readlink(f"{far}/job") == str(hosts.daemon.embryo("job").pid)


def test_memory_is_not_shared_by_mmap(hosts, far):
    hosts.sh("echo 'efork job' > ctl; head -c 4096 /dev/zero > job/mem/600000", cwd=far)
    done = hosts.near(sys.executable, "-S", "-c", "import mmap, os, sys\nfd = os.open(sys.argv[1], 2)\n"
                      "try:\n  mmap.mmap(fd, 4096)\nexcept OSError as problem: print(problem.errno)", f"{far}/job/mem/600000")
    assert done.stdout == f"{errno.ENODEV}\n", done


def test_a_line_longer_than_a_request_of_sftp_is_cut(hosts, far):
    hosts.sh("echo 'efork job' > ctl", cwd=far)
    fd = os.open(f"{far}/job/ctl", os.O_WRONLY)
    try:
        os.write(fd, b"env A=" + b"a" * 30000 + b"\n")
        with pytest.raises(OSError):
            os.write(fd, b"env A=" + b"b" * 300000 + b"\n")
    finally:
        with contextlib.suppress(OSError):
            os.close(fd)
    assert "unknown command" in hosts.daemon.embryo("job").error()


def test_self_is_nobody(far):
    assert errno_of(os.readlink, f"{far}/self") == "ENOENT"


def test_poll_does_not_wait(hosts, far):
    hosts.sh("printf 'efork one\\nexec /bin/sleep 1000\\n' > ctl", cwd=far)
    done = hosts.near(sys.executable, "-S", "-c", "import os, select, sys\np = select.poll()\np.register(os.open(sys.argv[1], 0), 1)\n"
                      "print(p.poll(5000) != [])", f"{far}/one/wait")
    assert done.stdout == "True\n"


# --- an ordinary user's daemon --------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def ordinary(request):
    """nobody's proc9 on far, and nobody logs in. It has no shell: sshd itself serves the files."""
    offer_dev_fuse()
    try:
        hosts = Hosts(request.config, "nobody", "internal-sftp")
        try:
            yield hosts
            hosts.daemon.stop()
        finally:
            hosts.ends.close()
    finally:
        system_call(libc.umount2(b"/dev/fuse", 2))


def test_an_ordinary_users_memory_is_reached_where_links_are_followed_there(ordinary):
    with ordinary.sshfs(f"{RIGHT},follow_symlinks") as far:
        done = ordinary.sh("""set -e
            printf 'efork out\\nefork job\\n' > ctl
            : > out/mem/600000
            echo 'fd 1 mem 0x600000' > out/ctl
            printf 'fd 1 out:1\\nexec /bin/sh -c "id -un"\\n' > job/ctl
            cat job/wait out/mem/600000
            mkdir more; cat more/ctl
            """, cwd=far)
        assert done.stderr == ""
        assert re.fullmatch(r"\d+ \d+ \d+ \d+ ''\nnobody\n\d+ embryo\n", done.stdout), done.stdout
        told = ordinary.sh("echo 'inherit fd' > more/ctl; cat more/error; echo kill > more/ctl; echo kill > out/ctl", cwd=far)
        assert NOT_YOURS in told.stdout and "sshd" in told.stdout


def test_p9_on_an_ordinary_users_host(ordinary, programs):
    done = p9(ordinary, programs, "run", "sh", "-c", "id -un; exit 4")
    assert (done.returncode, done.stdout, done.stderr) == (4, "nobody\n", "")


# --- p9 -H ----------------------------------------------------------------------------------------------------------

def p9(hosts, programs, *words, host=None, **more):
    env = hosts.environment(programs, PROC9_SSH=f"{hosts.directory}/ssh_config", TMPDIR=hosts.directory, **more)
    return hosts.near("p9", "-H", host or f"far:{hosts.daemon.path}", *words, env=env)


def nothing_is_left(hosts):
    return not [name for name in os.listdir(hosts.directory) if name.startswith("p9-")] and "/p9-" not in read("/proc/self/mountinfo")


@pytest.fixture
def on_far(hosts, programs):
    yield lambda *words, **more: p9(hosts, programs, *words, **more)
    assert nothing_is_left(hosts)


def test_p9_runs_a_program_there(hosts, on_far):
    done = on_far("run", "--env", "A=b c", "sh", "-c", "echo $A; readlink /proc/self/ns/net; echo no >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, f"b c\n{net_of(hosts.network, 'far')}\n", "no\n")
    assert eventually(lambda: not hosts.daemon.ids())


def test_what_the_options_say_of_its_descriptors_holds(hosts, on_far):
    out = f"{hosts.daemon.scratch}/there"
    done = on_far("run", "--fd", f"1 open {out} w", "sh", "-c", "echo there; echo here >&2")
    assert (done.stdout, done.stderr, read(out)) == ("", "here\n", "there\n")
    pid = on_far("run", "-b", "--stdout", out, "sh", "-c", "echo behind; exec sleep 1000").stdout.strip()
    assert eventually(lambda: read(out) == "behind\n")
    assert alive(int(pid)), "it stays"
    assert on_far("kill", pid).returncode == 0
    assert "no process no-such" in on_far("wait", "no-such").stderr


def test_p9_brings_all_that_it_writes(on_far):
    done = on_far("run", "seq", "60000")
    assert done.stdout == "".join(f"{n}\n" for n in range(1, 60001))


def test_p9_ends_as_the_program_there(on_far):
    assert on_far("run", "sh", "-c", "kill -TERM $$").returncode == -signal.SIGTERM
    assert on_far("run", "--timeout", "0.5", "sleep", "1000").returncode == 124
    missing = on_far("run", "no-such-program")
    assert (missing.returncode, "No such file" in missing.stderr) == (127, True)
    assert on_far("run", "/etc/passwd").returncode == 126


def test_every_command_works_there(hosts, on_far):
    pid = on_far("efork", "job").stdout.strip()
    assert hosts.daemon.ids() == [int(pid)]
    assert on_far("tell", "job", "map any 4K rw-").stdout.startswith("0x")
    assert on_far("show", "job").stdout != ""
    assert "job" in on_far("ps").stdout
    assert f"{pid} job" in on_far("tree").stdout
    assert on_far("tell", "job", f"fd 1 open {hosts.daemon.scratch}/out w", 'exec /bin/sh -c "echo done; exit 6"').stderr == ""
    assert on_far("wait", "job").returncode == 6
    assert read(f"{hosts.daemon.scratch}/out") == "done\n"
    assert "that of the other host" in on_far("load", "job", "/bin/true").stderr


def test_p9_says_what_is_missing(on_far, hosts, programs, tmp_path):
    nowhere = on_far("ps", host="far:/no/such")
    assert (nowhere.returncode, "no proc9 came from far:/no/such" in nowhere.stderr) == (1, True)
    refused = on_far("run", "true", host="nobody-there.invalid")
    assert (refused.returncode, "no proc9 came from nobody-there.invalid:/proc9" in refused.stderr) == (125, True)
    done = hosts.near(f"{programs}/p9", "-H", "far", "ps", env={"PATH": str(tmp_path), "TMPDIR": hosts.directory})
    assert (done.returncode, "-H needs sshfs" in done.stderr) == (1, True), done


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, -15), (signal.SIGINT, -2), (signal.SIGHUP, -1)])
def test_a_signal_reaches_the_program_there(hosts, on_far, programs, number, status):
    env = hosts.environment(programs, PROC9_SSH=f"{hosts.directory}/ssh_config", TMPDIR=hosts.directory)
    process = subprocess.Popen([*hosts.network.on("near"), "p9", "-H", f"far:{hosts.daemon.path}", "run", "sh", "-c",
                                "echo ready; exec sleep 1000"], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    assert process.wait(PATIENCE) == status
    process.stdout.close()
    assert eventually(lambda: not hosts.daemon.ids())


def test_the_program_there_ends_with_a_p9_that_is_killed(hosts, programs):
    env = hosts.environment(programs, PROC9_SSH=f"{hosts.directory}/ssh_config", TMPDIR=hosts.directory)
    process = subprocess.Popen([*hosts.network.on("near"), "p9", "-H", f"far:{hosts.daemon.path}", "run", "sh", "-c",
                                "echo $$; exec sleep 1000"], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    pid = int(process.stdout.readline())
    process.kill()
    process.wait(PATIENCE)
    process.stdout.close()
    assert eventually(lambda: not alive(pid), PATIENCE)
    assert eventually(lambda: "/p9-" not in read("/proc/self/mountinfo"), PATIENCE)
    for name in os.listdir(hosts.directory):
        if name.startswith("p9-"):
            os.rmdir(f"{hosts.directory}/{name}")  # that is all it leaves


# --- by 9P ----------------------------------------------------------------------------------------------------------

@pytest.fixture
def diod(hosts, tmp_path):
    """It asks for the name of who connects: there is no name server in the namespace, so /etc/hosts has to know it."""
    (tmp_path / "hosts").write_text(f"127.0.0.1 localhost\n{NEAR} near\n{FAR} far\n")
    system_call(libc.mount(str(tmp_path / "hosts").encode(), b"/etc/hosts", None, 4096, None))
    log = tmp_path / "diod.log"
    try:
        server = subprocess.Popen([*hosts.network.on("far"), "diod", "-f", "-n", "-N", "-l", f"{FAR}:{DIOD_PORT}", "-e",
                                   hosts.daemon.path, "-c", "/dev/null", "-L", str(log)], stdin=subprocess.DEVNULL)
        try:
            assert eventually(lambda: hosts.near("diodls", "-s", f"{FAR}:{DIOD_PORT}", "-a", hosts.daemon.path, "/").returncode == 0,
                              PATIENCE), log.read_text()
            yield lambda tool, *words: hosts.near(tool, "-s", f"{FAR}:{DIOD_PORT}", "-a", hosts.daemon.path, *words)
        finally:
            server.terminate()
            server.wait(PATIENCE)
    finally:
        system_call(libc.umount2(b"/etc/hosts", 2))


@pytest.fixture
def nine(hosts, diod):
    """A connection from near: a socket stays in the namespace that it was made in."""
    with open(f"/run/netns/{hosts.network.names['near']}") as near, open("/proc/self/ns/net") as own:
        system_call(libc.setns(near.fileno(), 0x40000000))
        try:
            connection = socket.create_connection((FAR, DIOD_PORT), PATIENCE)
        finally:
            system_call(libc.setns(own.fileno(), 0x40000000))
    with connection:
        yield Nine(connection, hosts.daemon.path)


def test_9p_builds_starts_waits_and_reads(hosts, nine):
    nine.write("ctl", b"efork out\n")
    nine.write("ctl", b"efork job\n")
    out, job = nine.readlink("out"), nine.readlink("job")
    nine.write(f"{out}/ctl", b"map 0x600000 4K rw-\nfd 1 mem 0x600000\n")
    nine.write(f"{job}/ctl", b"fd 1 out:1\n")
    nine.write(f"{job}/limits", b"NOFILE 100:200\n")
    assert nine.read(f"{job}/ctl") == f"{job} embryo\n"
    nine.write(f"{job}/ctl", b'exec /bin/sh -c "readlink /proc/self/ns/net; ulimit -n; exit 3"\n')
    assert re.fullmatch(r"\d+ \d+ \d+ \d+ 'exit 3'\n", nine.read(f"{job}/wait"))
    text = nine.read(f"{out}/mem/600000").rstrip("\0")
    assert text == f"{net_of(hosts.network, 'far')}\n100\n"
    assert hosts.daemon.ids() == [int(out)], "who reads wait there reaps"


def test_9p_tells_the_errno(hosts, nine):
    nine.write("ctl", b"efork job\n")
    job = nine.readlink("job")
    assert errno_of(nine.write, f"{job}/ctl", b"map 0x600001 4K rw-\n") == "EINVAL"
    assert errno_of(nine.write, f"{job}/ctl", b"exec /no/such\n") == "ENOENT"
    for attempt in (b"inherit fd\n", b"fd 1 self:1\n", b"inherit all\n", b"copy self\n"):
        assert errno_of(nine.write, f"{job}/ctl", attempt) == "EPERM"
        assert "diod, which carries the requests" in nine.read(f"{job}/error")
    assert errno_of(nine.symlink, "/dev/stdout", f"{job}/fd", "1") == "EPERM"
    nine.symlink("/dev/null", f"{job}/fd", "5")
    assert nine.readlink(f"{job}/fd/5") == "/dev/null"


def test_diods_own_tools_list_read_and_wait(hosts, diod):
    e = hosts.daemon.efork("job")
    assert {"ctl", "clone", "help", str(e.pid), "job"} <= set(diod("diodls", "/").stdout.split())
    assert diod("diodcat", f"{e.pid}/ctl").stdout == f"{e.pid} embryo\n"
    e.tell("exec /bin/sh -c 'exit 3'")
    assert diod("diodcat", f"{e.pid}/wait").stdout.endswith("'exit 3'\n")
    assert not e.exists()
    assert diod("diodcat", "clone").stdout.strip().isdigit()
    assert eventually(lambda: not hosts.daemon.ids()), "a clone goes when it is closed"


def test_the_kernels_9p_client_or_its_absence(hosts, diod, tmp_path):
    """Where the kernel has one the same by its mount; else mount(2) says ENODEV, which is all there is to say."""
    place = tmp_path / "nine"
    place.mkdir()
    done = hosts.near("mount", "-t", "9p", "-o", f"trans=tcp,port={DIOD_PORT},aname={hosts.daemon.path},version=9p2000.L,cache=none",
                      FAR, str(place))
    if not re.search(r"^nodev\t9p$", read("/proc/filesystems"), re.M):
        assert "unknown filesystem type '9p'" in done.stderr
        assert libc.mount(FAR.encode(), str(place).encode(), b"9p", 0, b"trans=tcp") == -1
        return
    assert done.returncode == 0, done.stderr
    try:
        done = hosts.sh("echo 'efork job' > ctl; echo 'exec /bin/sh -c \"exit 3\"' > job/ctl; cat job/wait", cwd=place)
        assert done.stdout.endswith("'exit 3'\n"), done
    finally:
        must("umount", str(place))


# --- the page -------------------------------------------------------------------------------------------------------

def page_blocks():
    return [pytest.param(text, id=str(start)) for language, start, text in test_docs.blocks(PAGE) if language == "console hosts"]


@pytest.mark.parametrize("block", page_blocks())
def test_example_of_the_page(hosts, programs, tmp_path, block):
    commands, expected = test_docs.dialogue(test_docs.MOUNT.sub(lambda _: hosts.daemon.path, block))
    done = hosts.near("bash", "-c", f"exec 2>&1\n{commands}", cwd=tmp_path, env=hosts.environment(programs))
    left = [line.split()[4] for line in read("/proc/self/mountinfo").splitlines() if f" {tmp_path}/" in line]
    for place in left:
        must("umount", "-l", place)
    assert re.fullmatch(test_docs.pattern(expected), done.stdout), done.stdout
    assert left == []
