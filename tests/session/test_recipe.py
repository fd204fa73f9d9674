"""process.json: the whole recipe of a process, read and written, checked before anything is done."""
import errno
import json
import os
import re
import shutil

import jsonschema
import pytest

from mount import eventually, kernel_fds, kernel_status
from test_settings import ROOT, SETTINGS, UNPRIVILEGED, names  # noqa: F401 (a fixture)

HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, "../../fs/recipe/process.schema.json")) as text:
    SCHEMA = json.load(text)

NONE = []
ALL_BUT = {"bounding", "effective", "inheritable", "permitted", "ambient"}

# The rows of test_settings.py, said in process.json.
RECIPES = {
    "groups": {"user": {"additionalGids": [4, 24]}},
    "gid": {"proc9": {"gid": [1000, 1001, 1002]}},
    "uid": {"user": {"uid": 1000}},
    "caps-bounding": {"capabilities": {"bounding": ["CAP_NET_RAW"]}},
    "caps-effective": {"capabilities": {s: ["CAP_CHOWN"] for s in ALL_BUT - {"bounding"}},
                       "proc9": {"securebits": ["noroot"]}},
    "cgroup": {"proc9": {"cgroup": "{cgroup}"}},
    "sched": {"scheduler": {"policy": "SCHED_FIFO", "priority": 7}},
    "hostname": {"hostname": "box", "domainname": "lab", "linux": {"namespaces": [{"type": "uts"}]}},
    "mount": {"linux": {"namespaces": [{"type": "mount"}]},
              "mounts": [{"source": "none", "destination": "/mnt", "type": "tmpfs",
                          "options": ["size=64k", "nosuid", "mode=0711"]}]},
    "bind-ro": {"proc9": {"namespaces": [{"type": "mount"}],
                          "mounts": [{"source": "/etc", "destination": "/mnt", "type": "bind", "options": ["ro"]}]}},
    "pivot": {"proc9": {"namespaces": [{"type": "mount"}], "pivot": "{tmp}",
                        "mounts": [{"source": "{tmp}", "destination": "{tmp}"}]}},
    "ns-join": {"proc9": {"namespaces": [{"type": "network", "path": "{ns}"}]}},
    "ns-time": {"proc9": {"namespaces": [{"type": "time"}]}},
    "cwd": {"cwd": "/usr"},
    "umask": {"user": {"umask": 0o27}},
    "limit": {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 100}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]},
    "nice": {"scheduler": {"nice": 7}},
    "sched-batch": {"scheduler": {"policy": "SCHED_BATCH", "nice": 3}},
    "affinity": {"execCPUAffinity": {"final": "0"}},
    "ioprio": {"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 6}},
    "oom": {"oomScoreAdj": 500},
    "coredump": {"proc9": {"coredump": "0x11"}},
    "mempolicy": {"proc9": {"mempolicy": ["bind", "0"]}},
    "nonewprivs": {"noNewPrivileges": True},
    "seccomp-deny": {"noNewPrivileges": True, "linux": {"seccomp": {
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]}}},
    "seccomp-file": {"noNewPrivileges": True, "proc9": {"seccomp": {"file": "{filter}"}}},
    "landlock": {"noNewPrivileges": True, "proc9": {"landlock": ["ro", "/", "rw", "{tmp}"]}},
    "sigmask": {"proc9": {"sigmask": ["USR1", "TERM"]}},
    "sigignore": {"proc9": {"sigignore": ["HUP", 2]}},
    "session": {"proc9": {"session": True}},
    "pgrp": {"proc9": {"pgrp": "new"}},
    "personality": {"proc9": {"personality": ["addr-no-randomize"]}},
    "linux32": {"proc9": {"personality": ["linux32"]}},
    "timerslack": {"proc9": {"prctl": {"timerslack": 12345}}},
    "thp": {"proc9": {"prctl": {"thp": "off"}}},
    "keyring": {"proc9": {"keyring": "proc9-test"}},
    "exec-fd": {"proc9": {"fds": [{"fd": 5, "path": "/bin/echo"}]}},
    "argv0": {"args": ["not-cat", "-"]},
    "user-namespace": {"linux": {"namespaces": [{"type": "user"}],
                                 "uidMappings": [{"containerID": 0, "hostID": "{uid}", "size": 1}],
                                 "gidMappings": [{"containerID": 0, "hostID": "{gid}", "size": 1}]}},
}


def read(embryo):
    return json.loads(embryo.read("process.json"))


def write(embryo, recipe):
    """Writes it; answers the errno or None."""
    try:
        with open(embryo.P("process.json"), "w") as file:
            file.write(json.dumps(recipe))
    except OSError as refusal:
        return refusal.errno
    return None


def put(embryo, recipe):
    assert write(embryo, recipe) is None, embryo.error()


def filled(value, names):  # noqa: F811
    """The recipe with what the names stand for."""
    if isinstance(value, dict):
        return {key: filled(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, names) for item in value]
    if isinstance(value, str) and (whole := re.fullmatch(r"\{(\w+)\}", value)):
        return names[whole[1]]
    return value


@pytest.mark.parametrize("name", [pytest.param(n, marks=ROOT) if n in SETTINGS else n for n in RECIPES])
def test_a_setting(mount, embryo, tmp_path, names, name):  # noqa: F811
    _, start, wanted, *status = (SETTINGS | UNPRIVILEGED)[name]
    if name == "cgroup":
        os.makedirs(names["cgroup"], exist_ok=True)
    if name == "pivot":
        shutil.copy("/bin/busybox", tmp_path / "sh")
        os.unlink(tmp_path / "filter")
    if name == "ns-join":
        other = mount.efork()
        other.tell("ns new net")
        names["ns"] = f"/proc/{other.pid}/ns/net"
        names["net"] = re.escape(os.readlink(names["ns"]))
    fill = lambda text: re.sub(r"\{(\w+)\}", lambda m: str(names[m[1]]), text)  # noqa: E731
    out = f"{tmp_path}.out"
    recipe = filled(RECIPES[name], names)
    jsonschema.Draft202012Validator(SCHEMA).validate(recipe)
    embryo.tell(f"fd 1 open {out} w", "fd 2 open /dev/null w", "env PATH=/usr/bin:/bin")
    try:
        put(embryo, recipe)
        embryo.tell(fill(start))
        ended = embryo.wait()
        with open(out) as file:
            output = file.read()
    finally:
        os.unlink(out)
        if name == "cgroup":
            assert eventually(lambda: not open(names["cgroup"] + "/cgroup.procs").read())
            os.rmdir(names["cgroup"])
    assert re.search(fill(wanted), output.rstrip("\n"), re.M), f"{recipe}: {output!r}, {ended}"
    assert not status or status[0] in str(ended), ended


def test_every_row_of_the_settings_is_said_here():
    assert set(RECIPES) == set(SETTINGS) | set(UNPRIVILEGED)


def test_the_schema_is_one_of_draft_2020_12_and_what_is_read_follows_it(embryo):
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    embryo.tell("map 0x600000 4K rw-", "map vdso", "fd 1 open /dev/null w", "fd 1 cloexec on", "reg pc 0x600000",
                "env A=1", "args one two", "limit CORE 0:0", "sigmask USR1")
    recipe = read(embryo)
    jsonschema.Draft202012Validator(SCHEMA).validate(recipe)
    assert recipe["args"] == ["one", "two"] and recipe["env"] == ["A=1"] and recipe["cwd"] == os.readlink(embryo.P("cwd"))
    assert [fd["fd"] for fd in recipe["proc9"]["fds"]] == [1] and recipe["proc9"]["fds"][0]["cloexec"] is True
    assert {"type": "RLIMIT_CORE", "soft": 0, "hard": 0} in recipe["rlimits"]
    assert recipe["proc9"]["sigmask"] == ["USR1"]


FURNITURE = ["map 0x600000 8K rw-", "map 0x700000 4K rw- shared", "map 0x800000 4K r-x", "fd 0 open /dev/null r",
             "fd 7 open /dev/zero r+", "fd 7 cloexec on", "env A=1", "env 'B=two words'", "args cat 'a b'", "chdir /usr",
             "umask 027", "limit NOFILE 64:100", "nice 3", "oom 500", "coredump 0x11", "sigmask USR1 TERM", "sigignore HUP",
             "personality addr-no-randomize", "prctl thp off", "affinity 0", "ioprio best-effort 6", "nonewprivs",
             "session", "reg rdi 42"]


def own(recipe, embryo):
    """Without what must differ: where it was read."""
    told = json.loads(re.sub(rf'"{embryo.pid}:', '"N:', json.dumps(recipe)))
    assert told["proc9"].pop("source")["pid"] == embryo.pid
    return told


def test_what_was_read_from_one_and_written_to_another_makes_an_equal_one(mount, embryo):
    embryo.tell(*FURNITURE)
    with open(embryo.P("mem/600000"), "r+b") as region:
        region.seek(5000)
        region.write(b"contents")
    twin = mount.efork()
    put(twin, read(embryo))
    assert own(read(twin), twin) == own(read(embryo), embryo)
    assert kernel_fds(twin.pid).keys() - {63} == kernel_fds(embryo.pid).keys() - {63}
    for key in ("SigBlk", "SigIgn", "NoNewPrivs", "Umask", "Cpus_allowed", "Uid", "CapBnd"):
        assert kernel_status(twin.pid, key) == kernel_status(embryo.pid, key), key
    with open(twin.P("mem/600000"), "rb") as region:
        assert region.read()[5000:5008] == b"contents"
    with open(embryo.P("mem/700000"), "r+b") as region:
        region.write(b"shared")
    with open(twin.P("mem/700000"), "rb") as region:
        assert region.read(6) == b"shared", "a shared region is the same region"


def test_its_own_recipe_changes_nothing(embryo):
    embryo.tell(*FURNITURE)
    before = read(embryo)
    del before["proc9"]["session"]  # it leads one already
    put(embryo, before)
    after = read(embryo)
    del after["proc9"]["session"]
    assert after == before


def test_a_program_by_recipe_alone(embryo, tmp_path):
    put(embryo, {"args": ["sh", "-c", "echo $GREETING from $(pwd)"], "env": ["GREETING=hello", "PATH=/usr/bin:/bin"],
                 "cwd": "/usr", "proc9": {"fds": [{"fd": 1, "path": str(tmp_path / "out"), "mode": "w"},
                                                  {"fd": 2, "dup": 1}]}})
    embryo.tell("exec")
    assert embryo.wait().status == ""
    assert (tmp_path / "out").read_text() == "hello from /usr\n"


def test_an_entry_by_recipe(embryo):
    code = b"\xb8\x3c\x00\x00\x00\x0f\x05"  # mov $60, %eax; syscall: exit(rdi)
    put(embryo, {"proc9": {"regions": [{"addr": "0x400000", "len": "4K", "prot": "rwx"}],
                           "entry": {"addr": "0x400000", "arg0": 7}}})
    with open(embryo.P("mem/400000"), "r+b") as region:
        region.write(code)
    embryo.tell("entry")
    assert embryo.wait().status == "exit 7"


REFUSED = [
    ({"cwd": 5}, "EINVAL", "/cwd"),
    ({"colour": "red"}, "EINVAL", "colour"),
    ({"user": {"uid": -1}}, "EINVAL", "/user/uid"),
    ({"process": {"user": {"uid": 1, "sid": 2}}}, "EINVAL", "/process/user"),
    ({"rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}, {"type": "RLIMIT_CORE", "soft": 0}]}, "EINVAL", "/rlimits/1"),
    ({"rlimits": [{"type": "RLIMIT_COER", "soft": 0, "hard": 0}]}, "EINVAL", "/rlimits.*unknown limit"),
    ({"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 4}]}, "EINVAL", "/rlimits.*above the hard one"),
    ({"env": ["A"]}, "EINVAL", "/env/0"),
    ({"oomScoreAdj": 1001}, "EINVAL", "/oomScoreAdj"),
    ({"capabilities": {"bounding": ["CAP_FLY"]}}, "EINVAL", "/capabilities/bounding.*unknown capability"),
    ({"scheduler": {"policy": "SCHED_FAST"}}, "EINVAL", "/scheduler/policy"),
    ({"process": []}, "EINVAL", "/process"),
    ({"linux": [[]], "process": 5}, "EINVAL", "/"),
    ({"terminal": True}, "EOPNOTSUPP", "/terminal.*tty"),
    ({"process": {"consoleSize": {"height": 25, "width": 80}}}, "EOPNOTSUPP", "/process/consoleSize"),
    ({"user": {"username": "me"}}, "EOPNOTSUPP", "/user/username.*uid"),
    ({"hooks": {}}, "EOPNOTSUPP", "/hooks"),
    ({"linux": {"resources": {"pids": {"limit": 5}}}}, "EOPNOTSUPP", "/linux/resources.*cgroup"),
    ({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ERRNO"}]}}}, "EOPNOTSUPP", "syscalls.*defaultAction"),
    ({"proc9": {"fds": [{"fd": 1}]}}, "EINVAL", "/proc9/fds.*descriptor 1"),
    ({"proc9": {"fds": [{"fd": 1, "path": "/nonexistent"}]}}, "ENOENT", "/proc9/fds"),
    ({"proc9": {"regions": [{"addr": "0x600001", "len": 1, "prot": "rw-"}]}}, "EINVAL", "/proc9/regions.*multiple"),
    ({"proc9": {"regions": [{"addr": "0x500000", "len": 4096, "prot": "rw-"}]}}, "EEXIST", "/proc9/regions"),
    ({"proc9": {"namespaces": [{"type": "pid"}]}}, "EINVAL", "/proc9/namespaces.*efork"),
    ({"proc9": {"registers": {"raxx": 5}}}, "EINVAL", "/proc9/registers.*rax"),
    ({"cwd": "/nonexistent"}, "ENOENT", "/cwd"),
    ({"cwd": "/usr", "user": {"umask": 0}, "env": ["A=1"], "args": ["x"], "noNewPrivileges": True,
      "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}], "proc9": {
        "session": True, "sigmask": ["USR1"], "regions": [{"addr": "0x700000", "len": 4096, "prot": "rw-"}],
        "fds": [{"fd": 3, "path": "/dev/null"}], "landlock": ["ro", "/nonexistent"]}}, "ENOENT", "/proc9/landlock"),
]


def kernels_view(pid):
    """What the kernel says of a process, but for what its running changes, or others do: SigQ counts a user's signals,
    and mounts of other tests come and go."""
    ignored = re.compile(r"ctxt_switches|^State|^Vm(HWM|RSS|PTE|Peak)|^Rss|^(Seccomp_filters|Speculation|SigQ)")
    view = [line for line in open(f"/proc/{pid}/status") if not ignored.search(line)]
    for file in ("maps", "limits", "oom_score_adj", "coredump_filter", "personality", "cgroup", "uid_map"):
        view.append(open(f"/proc/{pid}/{file}").read())
    view += [line for line in open(f"/proc/{pid}/mountinfo") if "proc9" not in line]
    stat = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    view += [stat[2:6], stat[15:17], kernel_fds(pid), os.readlink(f"/proc/{pid}/cwd"), os.readlink(f"/proc/{pid}/root"),
             [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in sorted(os.listdir(f"/proc/{pid}/ns"))]]
    return view


@pytest.mark.parametrize("recipe, number, why", REFUSED)
def test_a_refused_recipe_names_the_field_and_changes_nothing(embryo, recipe, number, why):
    embryo.tell("map 0x500000 4K rw-", "fd 0 open /dev/null r", "env OLD=1", "args old")
    before, ours = kernels_view(embryo.pid), read(embryo)
    assert write(embryo, recipe) == getattr(errno, number), embryo.error()
    assert re.search(why, embryo.error()), embryo.error()
    assert embryo.error().startswith("process.json: /"), embryo.error()
    assert kernels_view(embryo.pid) == before
    assert read(embryo) == ours


@pytest.mark.parametrize("text", ["[]", "5", "{]", '{"cwd": }', "not json", '{"cwd":"/"} more'])
def test_what_is_no_object_is_EINVAL(embryo, text):
    with pytest.raises(OSError) as refusal, open(embryo.P("process.json"), "w") as file:
        file.write(text)
    assert refusal.value.errno == errno.EINVAL
    assert embryo.error().startswith("process.json: ")


def test_an_object_may_come_in_pieces_and_be_large(embryo):
    recipe = json.dumps({"env": [f"V{i}=" + "{\"x" * 100 for i in range(2000)], "cwd": "/usr"}, indent=1) + "\n"
    with open(embryo.P("process.json"), "w", buffering=1) as file:
        for start in range(0, len(recipe), 10_000):
            file.write(recipe[start:start + 10_000])
            file.flush()
    assert len(embryo.env()) == 2000 and os.readlink(embryo.P("cwd")) == "/usr", embryo.error()


def test_an_object_that_does_not_end_does_nothing(embryo):
    with open(embryo.P("process.json"), "w") as file:
        file.write('{"cwd": "/usr"')
    assert eventually(lambda: "does not end" in embryo.error())
    assert os.readlink(embryo.P("cwd")) != "/usr"


def test_after_the_start_it_can_be_read_and_not_written(embryo):
    embryo.tell("umask 027", "fd 1 open /dev/null w", "exec /bin/sleep 1000")
    assert read(embryo)["user"]["umask"] == 0o27
    assert write(embryo, {"cwd": "/usr"}) == errno.EPERM


def test_a_rehearsal_leaves_nobody_behind(mount, embryo):
    children = lambda: open(f"/proc/{mount.pid}/task/{mount.pid}/children").read().split()  # noqa: E731
    put(embryo, {"cwd": "/usr"})
    zygote_and_pool = 17
    assert eventually(lambda: len(children()) == zygote_and_pool + 1), children()
    for _ in range(20):
        assert write(embryo, {"cwd": "/nonexistent"}) == errno.ENOENT
    embryo.tell("kill")  # and with it go the copies that were made ahead of it
    assert eventually(lambda: len(children()) == zygote_and_pool), children()


@ROOT
def test_what_is_mounted_in_a_rehearsal_is_seen_nowhere_else(embryo, tmp_path):
    (tmp_path / "here").mkdir()
    where = str(tmp_path / "here")
    assert write(embryo, {"proc9": {"mounts": [{"source": "none", "destination": where, "type": "tmpfs"}],
                                    "landlock": ["ro", "/nonexistent"]}}) == errno.ENOENT
    assert where not in open("/proc/self/mountinfo").read() + open(f"/proc/{embryo.pid}/mountinfo").read()


# The example of the runtime specification (config.md, "process" for Linux), field by field.
EXAMPLE = {
    "cwd": "/usr",
    "user": {"uid": 1, "gid": 1, "additionalGids": [5, 6]},
    "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
    "args": ["sh"],
    "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 4},
    "noNewPrivileges": True,
    "capabilities": {"bounding": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
                     "permitted": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
                     "inheritable": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
                     "effective": ["CAP_KILL"],
                     "ambient": ["CAP_NET_BIND_SERVICE"]},
    "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
    "execCPUAffinity": {"initial": "0", "final": "0"},
}


@ROOT
def test_the_example_of_the_runtime_specification(embryo):
    put(embryo, {"ociVersion": "1.2.0", "process": EXAMPLE})
    caps = {key: int(kernel_status(embryo.pid, f"Cap{key}"), 16) for key in ("Bnd", "Prm", "Inh", "Eff", "Amb")}
    kill, bind, audit = 1 << 5, 1 << 10, 1 << 29
    assert caps == {"Bnd": audit | kill | bind, "Prm": kill | bind, "Inh": kill | bind, "Eff": kill, "Amb": bind}
    assert kernel_status(embryo.pid, "Uid").split() == ["1"] * 4
    assert kernel_status(embryo.pid, "Groups").split() == ["5", "6"]
    shown = read(embryo)
    for key in ("cwd", "env", "args", "noNewPrivileges"):
        assert shown[key] == EXAMPLE[key]
    assert {key: set(value) for key, value in shown["capabilities"].items()} == {
        key: set(value) for key, value in EXAMPLE["capabilities"].items()}


# --- an embryo's own settings must not get in its builder's way ------------------------------------------------------

def test_a_limit_of_file_size_does_not_hit_the_filesystem(embryo):
    embryo.tell("limit FSIZE 0", "map 0x600000 8K rw- file /bin/true")
    with open(embryo.P("mem", "600000"), "rb") as file:
        assert file.read(4) == b"\x7fELF"
    assert kernel_status(embryo.pid, "State")[0] not in "ZX"


def test_a_limit_of_descriptors_does_not_hit_the_recipe(embryo):
    embryo.tell("fd 1 open /dev/null w", "limit NOFILE 3")
    put(embryo, {"cwd": "/usr"})
    assert os.readlink(embryo.P("cwd")) == "/usr"
    embryo.tell("exec /bin/true")
    assert embryo.wait().status == ""


@ROOT
def test_a_recipe_for_the_first_process_of_a_pid_namespace(mount):
    embryo = mount.efork("ns=pid")
    put(embryo, {"cwd": "/usr", "user": {"umask": 0o27}})
    assert os.readlink(f"/proc/{embryo.pid}/cwd") == "/usr"
