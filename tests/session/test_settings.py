"""What is set before the start is what the kernel says of the program that runs then."""
import json
import os
import re
import subprocess

import pytest

ROOT = pytest.mark.mode("root")


def show(script):
    return f"exec /bin/sh -c '{script}'"


STATUS = "exec /bin/grep -E {} /proc/self/status"

# name: commands, how it is started, what must stand in its output
SETTINGS = {
    "groups": (["groups 4 24"], STATUS.format("^Groups"), r"Groups:\s4 24\s"),
    "gid": (["gid 1000 1001 1002"], STATUS.format("^Gid"), r"Gid:\s1000\s1001\s1001"),
    "uid": (["uid 1000"], STATUS.format("^Uid"), r"Uid:\s1000\s1000\s1000"),
    "caps-bounding": (["caps bounding -all +net_raw"], STATUS.format("^CapBnd"), r"CapBnd:\s0000000000002000"),
    "caps-effective": (["securebits noroot", "caps inheritable +CAP_CHOWN", "caps permitted,effective -all +chown",
                        "caps ambient +chown"], STATUS.format("^Cap(Eff|Amb)"),
                       r"CapEff:\s0000000000000001\nCapAmb:\s0000000000000001"),
    "cgroup": (["cgroup {cgroup}"], "exec /bin/cat /proc/self/cgroup", r":pids:/proc9-test"),
    "sched": (["sched fifo 7"], "exec /usr/bin/cut -d ' ' -f 40,41 /proc/self/stat", r"^7 1$"),
    "hostname": (["ns new uts", "hostname box", "domainname lab"], show("hostname; cat /proc/sys/kernel/domainname"),
                 r"^box\nlab$"),
    "mount": (["ns new mnt", "mount none /mnt tmpfs size=64k,nosuid,mode=0711"], "exec /bin/grep /mnt /proc/self/mounts",
              r"none /mnt tmpfs rw,nosuid,relatime,size=64k,mode=711"),
    "bind-ro": (["ns new mnt", "mount /etc /mnt bind ro"], show("cat /mnt/hostname && ! : > /mnt/x"), r""),
    "pivot": (["ns new mnt", "mount {tmp} {tmp} bind", "pivot {tmp}"], "exec /sh -c 'echo /*'", r"^/sh$"),
    "ns-join": (["ns join net {ns}"], "exec /bin/readlink /proc/self/ns/net", r"^{net}$"),
    "ns-time": (["ns new time"], show("readlink /proc/self/ns/time"), r"^time:\[(?!{time})"),
}
UNPRIVILEGED = {
    "cwd": (["chdir /usr"], "exec /bin/pwd", r"^/usr$"),
    "umask": (["umask 027"], STATUS.format("^Umask"), r"0027"),
    "limit": (["limit NOFILE 64:100", "limit core 0"], show("ulimit -Sn; ulimit -Hn; ulimit -Sc"), r"^64\n100\n0$"),
    "nice": (["nice 7"], "exec /usr/bin/nice", r"^7$"),
    "sched-batch": (["nice 3", "sched batch"], "exec /usr/bin/cut -d ' ' -f 19,41 /proc/self/stat", r"^3 3$"),
    "affinity": (["affinity 0"], STATUS.format("^Cpus_allowed_list"), r"\s0$"),
    "ioprio": (["ioprio best-effort 6"], "exec /usr/bin/ionice", r"best-effort: prio 6"),
    "oom": (["oom 500"], "exec /bin/cat /proc/self/oom_score_adj", r"^500$"),
    "coredump": (["coredump 0x11"], "exec /bin/cat /proc/self/coredump_filter", r"^00000011$"),
    "mempolicy": (["mempolicy bind 0"], "exec /bin/cat /proc/self/numa_maps", r" bind(=\S+)?:0 "),
    "nonewprivs": (["nonewprivs"], STATUS.format("^NoNewPrivs"), r"\s1$"),
    "seccomp-deny": (["nonewprivs", "seccomp deny mkdir mkdirat"], show("mkdir {tmp}/x; grep ^Seccomp: /proc/self/status"),
                     r"Seccomp:\s2$"),
    "seccomp-file": (["nonewprivs", "seccomp {filter}"], show("exec mkdir {tmp}/y"), r"", "exit 1"),
    "landlock": (["nonewprivs", "landlock ro / rw {tmp}"], show("echo in > {tmp}/in; echo > /tmp/proc9-out || cat {tmp}/in"),
                 r"^in$"),
    "sigmask": (["sigmask USR1 TERM"], STATUS.format("^SigBlk"), r"0000000000004200$"),
    "sigignore": (["sigignore HUP 2"], STATUS.format("^SigIgn"), r"0000000000000003$"),
    "session": (["session"], show("cut -d\" \" -f 1,5,6 /proc/$$/stat"), r"^(\d+) \1 \1$"),
    "pgrp": (["pgrp new"], show("cut -d\" \" -f 1,5 /proc/$$/stat"), r"^(\d+) \1$"),
    "personality": (["personality addr-no-randomize"], "exec /bin/cat /proc/self/personality", r"^00040000$"),
    "linux32": (["personality linux32"], "exec /bin/uname -m", r"^i[36]86$"),
    "timerslack": (["prctl timerslack 12345"], "exec /bin/cat /proc/self/timerslack_ns", r"^12345$"),
    "thp": (["prctl thp off"], STATUS.format("^THP_enabled"), r"\s0$"),
    "keyring": (["keyring proc9-test"], "exec /bin/cat /proc/keys", r"keyring\s+proc9-test"),
    "exec-fd": (["fd 5 open /bin/echo r"], "exec fd:5 by descriptor", r"^by descriptor$"),
    "argv0": (["args not-cat -"], "exec /bin/readlink /proc/self/exe", r"/readlink$"),
    "user-namespace": (["ns new user", "idmap uid 0 {uid} 1", "idmap gid 0 {gid} 1"],
                       show("id -u; id -g; tr -s \" \" < /proc/self/uid_map"), r"^0\n0\n 0 {uid} 1$"),
}


@pytest.fixture
def names(tmp_path, mode):
    """What the commands of the tables may name."""
    # One instruction that allows everything would prove nothing: this is mkdir and mkdirat -> EPERM, on x86-64.
    load, jeq, ret = 0x20, 0x15, 0x06
    code = [(load, 0, 0, 0), (jeq, 1, 0, 83), (jeq, 0, 1, 258), (ret, 0, 0, 0x00050001), (ret, 0, 0, 0x7fff0000)]
    (tmp_path / "filter").write_bytes(b"".join(
        op.to_bytes(2, "little") + bytes((yes, no)) + value.to_bytes(4, "little") for op, yes, no, value in code))
    found = {"tmp": str(tmp_path), "filter": str(tmp_path / "filter"), "uid": os.getuid(), "gid": os.getgid(),
             "time": re.escape(os.readlink("/proc/self/ns/time")[len("time:["):])}
    if mode == "root":
        found["cgroup"] = next((p for p in ("/sys/fs/cgroup/pids", "/sys/fs/cgroup") if os.path.exists(p + "/cgroup.procs")))
        found["cgroup"] += "/proc9-test"
    return found


def try_it(embryo, tmp_path, names, row):
    commands, start, wanted, *status = row
    fill = lambda text: re.sub(r"\{(\w+)\}", lambda m: str(names[m[1]]), text)  # noqa: E731
    with open(tmp_path / "out", "w"):
        pass
    embryo.tell(f"fd 1 open {tmp_path}/out w", "fd 2 open /dev/null w", "env PATH=/usr/bin:/bin")
    embryo.tell(*(fill(command) for command in commands))
    embryo.tell(fill(start))
    ended = embryo.wait()
    output = (tmp_path / "out").read_text()
    assert re.search(fill(wanted), output.rstrip("\n"), re.M), f"{commands}: {output!r}, {ended}"
    assert not status or status[0] in str(ended), ended


@ROOT
@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_of_root(mount, embryo, tmp_path, names, name):
    other = None
    if name == "cgroup":
        os.makedirs(names["cgroup"], exist_ok=True)
    if name == "pivot":
        import shutil
        for file in ("filter",):
            (tmp_path / file).unlink()
        shutil.copy("/bin/busybox", tmp_path / "sh")
    if name == "ns-join":
        other = mount.efork()
        other.tell("ns new net")
        names["ns"] = f"/proc/{other.pid}/ns/net"
        names["net"] = re.escape(os.readlink(names["ns"]))
    row = SETTINGS[name]
    if name == "pivot":  # its output is opened before, outside
        embryo.tell(f"fd 1 open {tmp_path}.out w", *(c.replace("{tmp}", str(tmp_path)) for c in row[0]))
        embryo.tell(row[1])
        embryo.wait()
        with open(f"{tmp_path}.out") as out:
            assert re.search(row[2], out.read().rstrip("\n"))
        os.unlink(f"{tmp_path}.out")
        return
    try:
        try_it(embryo, tmp_path, names, row)
    finally:
        if name == "cgroup":
            os.rmdir(names["cgroup"])


@pytest.mark.parametrize("name", UNPRIVILEGED)
def test_a_setting_of_anybody(embryo, tmp_path, names, name):
    try_it(embryo, tmp_path, names, UNPRIVILEGED[name])


REFUSED = [
    ("limit FILES 3", "EINVAL", "unknown limit"),
    ("limit NOFILE 10:5", "EINVAL", "above the hard one"),
    ("nice 20", "EINVAL", "not from -20 to 19"),
    ("sched fast", "EINVAL", "unknown policy"),
    ("affinity 3-1", "EINVAL", "runs backwards"),
    ("caps effective net_raw", "EINVAL", "does not begin with"),
    ("caps effective +net_rwa", "EINVAL", "did you mean net_raw"),
    ("caps everything +net_raw", "EINVAL", "is not effective"),
    ("securebits root", "EINVAL", "did you mean noroot"),
    ("uid -1", "EINVAL", "not a number"),
    ("ns new pid", "EINVAL", "efork NAME ns=pid"),
    ("ns new ipx", "EINVAL", "did you mean ipc"),
    ("ns join net /nothing", "ENOENT", "open"),
    ("idmap uid 0 1000", "EINVAL", "usage"),
    ("sigignore KILL", "EINVAL", "cannot be ignored"),
    ("seccomp deny frobnicate", "EINVAL", "no system call"),
    ("seccomp /nothing", "ENOENT", "open"),
    ("landlock ro", "EINVAL", "usage"),
    ("landlock xx /", "EINVAL", "unknown right"),
    ("prctl colour on", "EINVAL", "unknown property"),
    ("personality funny", "EINVAL", "unknown flag"),
    ("comm a-name-of-sixteen", "EINVAL", "more than 15"),
    ("mempolicy near 0", "EINVAL", "unknown policy"),
    ("ioprio idle 9", "EINVAL", "more than 7"),
    ("oom 1001", "EINVAL", "not from -1000 to 1000"),
    ("cgroup /nothing", "ENOENT", "open"),
    ("mount none /nothing tmpfs", "ENOENT", "mount"),
    ("tty /dev/null", "ENOTTY", "TIOCSCTTY"),
    ("exec fd:9", "EBADF", "exec"),
    ("chdir /etc/hostname", "ENOTDIR", "chdir"),
    ("umask 01000", "EINVAL", "more than 0777"),
    ("coredump many", "EINVAL", "not a number"),
    ("gid x", "EINVAL", "not a number"),
    ("groups x", "EINVAL", "not a number"),
    ("session now", "EINVAL", "usage: session"),
    ("pgrp 999999", "EPERM", "setpgid.*its own session"),
    ("pdeathsig NONE", "EINVAL", "unknown signal"),
    ("sigmask NONE", "EINVAL", "unknown signal"),
    ("hang now", "EINVAL", "usage: hang"),
    ("nonewprivs yes", "EINVAL", "usage: nonewprivs"),
    ("keyring", "EINVAL", "usage: keyring NAME"),
    ("label", "EINVAL", "usage: label LABEL"),
    ("exe /nothing", "ENOENT", "open"),
    ("hostname", "EINVAL", "usage: hostname NAME"),
    ("domainname", "EINVAL", "usage: domainname NAME"),
    ("umount /nothing", "ENOENT", "umount2"),
    ("pivot /nothing", "ENOENT", "chdir"),
    ("prctl thp maybe", "EINVAL", "there are on off"),
    ("idmap pid 0 1 1", "EINVAL", "unknown kind"),
    ("ns join net /etc/hostname", "EINVAL", "setns"),
    ("seccomp /etc/hostname", "EINVAL", "instructions"),
]


def test_every_setting_has_a_wrong_form_here(mount):
    tables = json.loads(subprocess.run([mount.program, "--tables"], check=True, capture_output=True, timeout=20).stdout)
    said = {line.split()[0] for line, *_ in REFUSED + MISSING}
    assert {c["name"] for c in tables["commands"] if c["setting"]} - said == set()


MISSING = [
    ("nice -5", "EACCES", "CAP_SYS_NICE"),
    ("oom -1", "EACCES", "CAP_SYS_RESOURCE"),
    ("uid 1", "EPERM", "CAP_SETUID.*ns new user"),
    ("gid 1", "EPERM", "CAP_SETGID.*ns new user"),
    ("groups 1", "EPERM", "CAP_SETGID"),
    ("caps bounding -chown", "EPERM", "CAP_SETPCAP"),
    ("caps permitted +chown", "EPERM", "capability itself"),
    ("securebits noroot", "EPERM", "CAP_SETPCAP"),
    ("chroot /", "EPERM", "CAP_SYS_CHROOT.*ns new user"),
    ("mount none /mnt tmpfs", "EPERM", "CAP_SYS_ADMIN.*ns new user,mnt"),
    ("umount /mnt", "EPERM", "CAP_SYS_ADMIN"),
    ("pivot /", "EPERM", "CAP_SYS_ADMIN"),
    ("ns new net", "EPERM", "CAP_SYS_ADMIN.*ns new user"),
    ("hostname box", "EPERM", "CAP_SYS_ADMIN.*ns new user,uts"),
    ("domainname lab", "EPERM", "CAP_SYS_ADMIN.*ns new user,uts"),
    ("sched fifo 5", "EPERM", "CAP_SYS_NICE"),
    ("ioprio realtime 0", "EPERM", "CAP_SYS_"),
    ("landlock ro /", "EPERM", "nonewprivs"),
    ("seccomp deny mkdir", "EACCES", "nonewprivs"),
    ("limit NOFILE 1:900000000", "EPERM", "CAP_SYS_RESOURCE"),
    ("exe /bin/true", "EPERM", "CAP_"),
]


@pytest.mark.mode("user")
@pytest.mark.parametrize("line, errno, why", MISSING)
def test_a_missing_privilege_is_named_with_the_way_that_works(embryo, line, errno, why):
    assert embryo.ask(line) == errno
    assert re.search(why, embryo.error()), embryo.error()
    assert embryo.ask("umask 022") == len("umask 022")


@pytest.mark.parametrize("line, errno, why", REFUSED)
def test_a_wrong_setting_is_refused_with_a_reason(embryo, line, errno, why):
    assert embryo.ask(line) == errno
    assert re.search(why, embryo.error()), embryo.error()
    assert embryo.ask("nice 1") == len("nice 1")


@pytest.mark.mode("user")
@pytest.mark.parametrize("line, needs", [
    ("uid 0", "CAP_SETUID"), ("gid 0", "CAP_SETGID"), ("groups 0", "CAP_SETGID"), ("chroot /", "CAP_SYS_CHROOT"),
    ("ns new net", "ns new user"), ("hostname x", "CAP_SYS_ADMIN"), ("mount none /mnt tmpfs", "CAP_SYS_ADMIN"), ("caps permitted +chown", "capability"),
    ("limit NOFILE 64:100M", "CAP_SYS_RESOURCE"), ("sched fifo 1", "CAP_SYS_NICE"), ("securebits noroot", "CAP_SETPCAP"),
    ("landlock ro /", "nonewprivs"),
])
def test_what_a_user_may_not_do_says_what_is_missing(embryo, line, needs):
    assert embryo.ask(line) == "EPERM"
    assert needs in embryo.error()


def test_a_filter_needs_nonewprivs_or_privilege(embryo, mode):
    answer = embryo.ask("seccomp deny mkdir")
    assert answer == ("EACCES" if mode == "user" else len("seccomp deny mkdir"))


def test_a_program_that_is_not_there_leaves_an_embryo_with_filters_as_it_was(embryo):
    embryo.tell("nonewprivs", "seccomp deny mkdir")
    assert embryo.ask("exec /nothing") == "ENOENT"
    assert embryo.run("exec /bin/echo still")[0] == "still\n"


@ROOT
def test_namespaces_of_birth(mount):
    mount.out("echo 'efork box ns=pid,user,mnt' > $PROC9/ctl")
    embryo = mount.out("readlink $PROC9/box").strip()
    with open(f"/proc/{embryo}/status") as status:
        assert re.search(r"^NSpid:\s\d+\s1$", status.read(), re.M)
    assert os.readlink(f"/proc/{embryo}/ns/user") != os.readlink("/proc/self/ns/user")


@ROOT
def test_the_pid_can_be_chosen(mount):
    wanted = next(n for n in range(29000, 31000) if not os.path.exists(f"/proc/{n}"))
    mount.out(f"echo 'efork pid={wanted}' > $PROC9/ctl")
    assert mount.out(f"cat $PROC9/{wanted}/ctl").startswith(f"{wanted} embryo")


def test_hang_stops_before_the_first_instruction(embryo, tmp_path):
    embryo.tell(f"fd 1 open {tmp_path}/out w", "hang", "exec /bin/echo started")
    assert embryo.read("ctl").split()[1] == "stopped"
    assert (tmp_path / "out").read_text() == ""
    embryo.tell("start")
    embryo.wait()
    assert (tmp_path / "out").read_text() == "started\n"


def test_kill_on_close_dies_with_the_open_file(mount, embryo):
    with open(embryo.P("ctl"), "wb", buffering=0) as ctl:
        for line in (b"pdeathsig kill-on-close", b"exec /bin/sleep 1000"):
            ctl.write(line)
    assert "signal 9 KILL" in str(embryo.wait())


def test_limits_file_is_the_kernels_and_takes_lines(embryo):
    embryo.write("limits", "NOFILE 32:64\nCORE 0\n")
    assert re.search(r"Max open files\s+32\s+64", embryo.read("limits"))
    assert re.search(r"Max core file size\s+0 ", embryo.read("limits"))


def test_ns_shows_the_kernels_links(embryo):
    assert sorted(os.listdir(embryo.P("ns"))) == ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"]
    assert os.readlink(embryo.P("ns", "net")) == os.readlink(f"/proc/{embryo.pid}/ns/net")


@ROOT
def test_ln_joins_a_namespace(mount, embryo):
    other = mount.efork()
    other.tell("ns new uts")
    mount.out(f"ln -sfn /proc/{other.pid}/ns/uts {embryo.P('ns', 'uts')}")
    assert os.readlink(f"/proc/{embryo.pid}/ns/uts") == os.readlink(f"/proc/{other.pid}/ns/uts")


def test_task_lists_the_threads(embryo):
    assert os.listdir(embryo.P("task")) == [str(embryo.pid)]
    assert f"Pid:\t{embryo.pid}\n" in embryo.read(f"task/{embryo.pid}/status")
    assert embryo.read(f"task/{embryo.pid}/regs") == embryo.read("regs")


def lines_of(*lines):
    return "".join(line + "\n" for line in lines)


def test_settings_and_the_exec_behind_them_are_one_step(embryo):
    taken = embryo.ask(lines_of("umask 027", "nice 5", "limit NOFILE 99:50", "oom 300", "exec /bin/true"))
    assert taken == len(lines_of("umask 027", "nice 5"))
    assert "limit NOFILE 99:50" in embryo.error()
    assert embryo.run("exec /bin/sh -c 'umask; nice'")[0] == "0027\n5\n"


@pytest.mark.parametrize("more", [[], ["comm x"], ["hang", "umask 027"], ["env A=" + "x" * 100000]])
def test_settings_before_an_exec_that_is_refused_are_in_force(embryo, more):
    lines = lines_of("umask 027", "nice 5", *more)
    assert embryo.ask(lines + "exec /missing\n") == len(lines)
    assert "exec: " in embryo.error()
    if "hang" not in more:
        assert embryo.run("exec /bin/sh -c 'umask; nice'")[0] == "0027\n5\n"
