"""Images: tar of an embryo's directory, extracted into a new embryo, makes an equal one."""
import json
import os
import random
import re
import subprocess

import pytest

import machine_code
from mount import kernel_maps, kernel_status, read
from test_recipe import own

ROOT = pytest.mark.mode("root")
CODE, DATA, SHARED = 0x400000, 0x600000, 0x700000


def tar(*words, status=0):
    """Runs it; what it says on stderr. Nothing of it may hang."""
    done = subprocess.run(["tar", *words], capture_output=True, text=True, timeout=30, env={**os.environ, "LC_ALL": "C"},
                          stdin=subprocess.DEVNULL)
    assert done.returncode == status, done.stderr
    return done.stderr


def dump(embryo, image, *options):
    """As docs/reference.md says it, for each mode."""
    if os.getuid() == 0:
        tar(*options, "-C", embryo.dir, "-cf", image, ".")
    else:
        tar(*options, "-C", embryo.dir, "--exclude=./mem", "-cf", image, ".")
        tar(*options, "-C", embryo.dir, "-rhf", image, "./mem")
    return str(image)


def extract(image, embryo, *words, status=0):
    """Words are options, and the members that are wanted."""
    return tar("-C", embryo.dir, "-xpf", str(image), *words, status=status)


def put(embryo, address, data):
    with open(embryo.P("mem", f"{address:x}"), "r+b") as region:
        region.write(data)


def get(embryo, name):
    with open(embryo.P("mem", name), "rb") as region:
        return region.read()


def opened(pid, number):
    """How the kernel says that a descriptor was opened: flags and offset."""
    text = read(f"/proc/{pid}/fdinfo/{number}")
    return re.search(r"flags:\t(\d+)", text)[1], re.search(r"pos:\t(\d+)", text)[1]


def state(embryo):
    """All that an image restores, as files and kernel tell it."""
    recipe = own(json.loads(embryo.read("process.json")), embryo)
    return {
        "recipe": recipe,
        "memory": {name: (os.stat(embryo.P("mem", name)).st_mode, get(embryo, name)) for name in embryo.mem()},
        "maps": [(r.start, r.end, r.prot) for r in kernel_maps(embryo.pid) if r.end <= 0x10000000],
        "files": {n: (path, opened(embryo.pid, n)) for n, path in embryo.fds().items()},
        "env": {name: embryo.read(f"env/{name}") for name in embryo.env()},
        "links": [os.readlink(embryo.P(name)) for name in ("cwd", "root")],
        **{name: embryo.read(name) for name in ("args", "limits", "regs")},
        "threads": [read(embryo.P("task", t, "regs")) for t in sorted(os.listdir(embryo.P("task")), key=int)],
        "status": [kernel_status(embryo.pid, key) for key in ("Umask", "SigIgn", "SigBlk", "NoNewPrivs", "Threads")],
    }


SETTINGS = ["umask 027", "limit NOFILE 200:300", "limit CORE 0:0", "nice 3", "sigignore HUP USR1", "sigmask TERM",
            "chdir /usr", "coredump 0x11", "oom 500", "prctl timerslack 12345"]


@pytest.fixture
def files(tmp_path):
    for name in ("in", "out", "log", "both"):
        (tmp_path / name).write_text(f"what was in {name} before\n")
    return tmp_path


def furnish(embryo, files):
    """Three regions, four descriptors, environment, settings."""
    embryo.tell(f"map {DATA:#x} 8K rw-", f"map {SHARED:#x} 4K rw- shared",
                f"fd 0 open {files}/in r", "fd 0 seek 5", f"fd 1 open {files}/out r+", "fd 1 seek 9",
                f"fd 2 open {files}/log a", f"fd 7 open {files}/both wkn", "fd 7 cloexec on",
                "env A=1", "env 'B=two words'", "args cat 'a b'", *SETTINGS)
    machine_code.load(embryo, machine_code.hello(b"hello", 7), CODE)
    put(embryo, DATA, b"private data".ljust(5000, b"."))
    put(embryo, SHARED, b"shared data")
    with open(embryo.P("env", "C"), "w") as variable:
        variable.write("of several\nlines\n")


@pytest.fixture
def one(embryo, files):
    furnish(embryo, files)
    return embryo


def without_source(recipe):
    return {**recipe, "proc9": {k: v for k, v in recipe["proc9"].items() if k != "source"}}


def test_an_image_makes_an_equal_process_and_leaves_the_first_alone(mount, one, tmp_path):
    before = state(one)
    image = dump(one, tmp_path / "image.tar")
    assert state(one) == before
    two = mount.efork()
    extract(image, two)
    assert state(two) == before
    assert two.error() == ""
    assert len(before["memory"]) == 3 and len(before["files"]) == 4


def test_through_the_link_of_a_name_and_without_options_as_root(mount, one, tmp_path):
    before = state(one)
    image = dump(one, tmp_path / "image.tar")
    os.mkdir(mount.P("two"))
    tar("-C", mount.P("two"), "-xpf" if os.getuid() else "-xf", image)
    assert state(mount.embryo("two")) == before


def test_what_is_restored_runs_by_entry_as_the_first_does(mount, one, files, tmp_path):
    image = dump(one, tmp_path / "image.tar")
    results = []
    for process in (one, mount.efork()):
        (files / "out").write_text("what was in out before\n")
        if process is not one:
            extract(image, process)
        process.tell(f"entry {CODE:#x}")
        results.append((process.wait().status, (files / "out").read_text()))
    assert results[0] == results[1] == ("exit 7", "what was hellot before\n")


def test_what_is_restored_runs_by_exec_as_the_first_does(mount, one, files, tmp_path):
    script = "echo $A $B; pwd; umask; ulimit -n; cat; echo error >&2; test ! -e /proc/self/fd/7"
    one.tell("args /bin/sh -c " + "'" + script.replace("'", "''") + "'", "env PATH=/bin:/usr/bin")
    image = dump(one, tmp_path / "image.tar")
    results = []
    for process in (one, mount.efork()):
        for name in ("out", "log"):
            (files / name).write_text(f"what was in {name} before\n")
        if process is not one:
            extract(image, process)
        else:
            one.tell("fd 0 seek 5")
        process.tell("exec")
        results.append((process.wait().status, (files / "out").read_text(), (files / "log").read_text()))
        # The first one's offset has moved, and the second one's has not.
    assert results[0] == results[1]
    status, out, log = results[0]
    assert (status, log) == ("", "what was in log before\nerror\n")
    assert out == "what was 1 two words\n/usr\n0027\n200\nwas in in before\n"


@pytest.mark.parametrize("seed", range(6))
def test_the_order_of_the_members_does_not_matter(mount, one, tmp_path, seed):
    before = state(one)
    image = dump(one, tmp_path / "image.tar")
    members = subprocess.run(["tar", "-tf", image], capture_output=True, text=True, check=True).stdout.split("\n")
    members = [m for m in members if m and not m.endswith("/")]
    random.Random(seed).shuffle(members)
    two = mount.efork()
    if seed % 2:  # each by itself, so that links are made at once
        for member in members:
            extract(image, two, "--no-recursion", member)
    else:
        reordered = str(tmp_path / "reordered.tar")
        (tmp_path / "x").mkdir()
        tar("-C", str(tmp_path / "x"), "-xpf", image)
        (tmp_path / "list").write_text("".join(m + "\n" for m in members))
        tar("-C", str(tmp_path / "x"), "--no-recursion", "-cf", reordered, "-T", str(tmp_path / "list"))
        extract(reordered, two)
    assert state(two) == before
    assert two.error() == ""


def test_the_recipe_may_be_taken_first_or_last(mount, one, tmp_path):
    before = state(one)
    image = dump(one, tmp_path / "image.tar")
    for first, second in ((["./process.json"], ["--exclude=./process.json"]),
                          (["--exclude=./process.json"], ["./process.json"])):
        two = mount.efork()
        extract(image, two, *first)
        extract(image, two, *second)
        assert state(two) == before, first


def test_an_image_outlives_the_process_and_the_daemon(private_mount, files, tmp_path):
    one = private_mount.efork()
    furnish(one, files)
    before = state(one)
    image = dump(one, tmp_path / "image.tar")
    one.tell("kill")
    private_mount.stop()
    private_mount.start()
    two = private_mount.efork()
    extract(image, two)
    assert state(two) == before


def test_shared_memory_is_made_anew(mount, one, tmp_path):
    image = dump(one, tmp_path / "image.tar")
    two = mount.efork()
    extract(image, two)
    put(one, SHARED, b"changed")
    assert get(two, f"{SHARED:x}").startswith(b"shared data")
    put(two, SHARED, b"second")
    assert get(one, f"{SHARED:x}").startswith(b"changed")


@pytest.mark.parametrize("members", [("./process.json", "."), (".",)], ids=["recipe first", "as archived"])
def test_what_is_shared_is_so_again_though_modes_are_not_kept(mount, one, tmp_path, members):
    """An ordinary user's tar drops the sticky bit unless told -p; the recipe says it too."""
    image = dump(one, tmp_path / "image.tar")
    two = mount.efork()
    for member in members:
        tar("-C", two.dir, "--no-same-permissions", "-xf", image, member)
    assert [r.prot for r in two.maps() if r.start == SHARED] == ["rw-s"]


def test_what_cannot_be_restored_is_reported_and_the_rest_is_there(mount, one, files, tmp_path):
    reader, writer = os.pipe()
    one.tell(f"fd 8 self:{writer}", f"fd 9 open {files}/gone w", "fd 10 mem 0x700000")
    os.close(reader)
    os.close(writer)
    os.unlink(files / "gone")
    image = dump(one, tmp_path / "image.tar")
    two = mount.efork()
    said = extract(image, two, status=2)
    for number in (8, 9, 10):
        assert f"./fd/{number}: Cannot create symlink" in said, said
    assert len(said.splitlines()) == 4, said
    assert re.fullmatch(r'ln: .* has no path that could be opened.*: "\d+ -> .*"\n', two.error())
    for number in (8, 9, 10):
        one.tell(f"fd {number} close")
    first = state(one)
    assert state(two) == first


@ROOT
def test_another_namespace_is_reported(mount, one, tmp_path):
    one.tell("ns new uts")
    image = dump(one, tmp_path / "image.tar")
    two = mount.efork()
    said = extract(image, two, status=2)
    assert "./ns/uts: Cannot create symlink" in said and len(said.splitlines()) == 2, said
    assert re.match(r"ln: the process is not in uts:\[\d+\], and can join it only by a path", two.error())
    assert os.readlink(two.P("ns/uts")) == os.readlink("/proc/self/ns/uts")
    assert two.read("args") == one.read("args")


def test_threads_and_their_registers(mount, one, tmp_path):
    one.tell("thread 0x400000 sp=0x700000 arg0=1", "thread 0x400000 arg0=2", "reg rbx 77")
    before = state(one)
    assert before["status"][-1] == "3"
    image = dump(one, tmp_path / "image.tar")
    for seed in range(3):
        members = ["./process.json", "./task", "./regs", "./limits", "./cwd", "./mem", "./env", "./fd", "./args"]
        random.Random(seed).shuffle(members)
        two = mount.efork()
        for member in members:
            extract(image, two, member)
        assert state(two) == before


def test_a_large_recipe_comes_in_pieces(mount, one, tmp_path):
    one.tell(*(f"env LONG{i}={'x' * 200}" for i in range(100)))
    assert len(one.read("process.json")) > 20000 and len(one.read("maps")) > 0
    before = state(one)
    image = dump(one, tmp_path / "image.tar")
    two = mount.efork()
    extract(image, two)
    assert state(two) == before


def test_many_regions(mount, embryo, tmp_path):
    embryo.tell(*(f"map {DATA + i * 0x2000:#x} 4K {'r-x' if i % 2 else 'rw-'}" for i in range(300)))
    assert len(embryo.read("maps")) > 10240
    before = state(embryo)
    image = dump(embryo, tmp_path / "image.tar")
    two = mount.efork()
    extract(image, two)
    assert state(two) == before


def test_holes_stay_holes(mount, embryo, tmp_path):
    embryo.tell("map 0x100000000 1G rw-")
    with open(embryo.P("mem/100000000"), "r+b") as region:
        region.seek(512 << 20)
        region.write(b"in the middle")
    image = dump(embryo, tmp_path / "image.tar", "-S")
    assert os.stat(image).st_size < 1 << 20
    two = mount.efork()
    extract(image, two)
    for process in (embryo, two):
        found = os.stat(process.P("mem/100000000"))
        assert (found.st_size, found.st_blocks * 512 <= 1 << 20) == (1 << 30, True)
        with open(process.P("mem/100000000"), "rb") as region:
            assert os.lseek(region.fileno(), 0, os.SEEK_DATA) == 512 << 20
            region.seek(512 << 20)
            assert region.read(13) == b"in the middle"


def test_the_vdso_and_a_region_without_any_protection(mount, embryo, tmp_path):
    embryo.tell("map vdso 0x7fff0000", "map 0x600000 8K ---", "map 0x610000 4K r--")
    image = dump(embryo, tmp_path / "image.tar") if os.getuid() == 0 else None
    if image is None:  # nobody but root can read such a region
        embryo.tell("protect 0x600000 8K r--")
        image = dump(embryo, tmp_path / "image.tar")
    lines = [line.split()[:2] + line.split()[5:] for line in embryo.read("maps").splitlines()]
    for options in ([], ["--exclude=./maps"], ["--exclude=./process.json"]):
        two = mount.efork()
        extract(image, two, *options)
        assert [line.split()[:2] + line.split()[5:] for line in two.read("maps").splitlines()] == lines, options
        assert two.mem() == ["600000", "610000"]


@ROOT
def test_a_changed_root_and_a_user_who_may_less(mount, embryo, tmp_path):
    root = tmp_path / "root"
    (root / "place").mkdir(parents=True)
    (root / "file").write_text("contents")
    (root / "secret").write_text("secret")
    os.chmod(root / "secret", 0o600)
    os.chmod(tmp_path, 0o755)
    embryo.tell(f"fd 3 open {root}/file r", "fd 3 seek 3", f"fd 4 open {root}/secret r+", f"chroot {root}", "chdir /place",
                "limit NOFILE 100:100", "gid 1000", "uid 1000")
    before = state(embryo)
    image = dump(embryo, tmp_path / "image.tar")
    two = mount.efork()
    extract(image, two)
    assert state(two) == before
    for members in (["./root", "./cwd"], ["./cwd", "./root"]):
        three = mount.efork()
        for member in members:
            extract(image, three, member)
        assert [os.readlink(three.P(n)) for n in ("root", "cwd")] == [str(root), str(root / "place")]


@ROOT
def test_the_program_that_is_shown(mount, embryo, tmp_path):
    embryo.tell("exe /bin/true")
    image = dump(embryo, tmp_path / "image.tar")
    two = mount.efork()
    extract(image, two)
    assert os.readlink(two.P("exe")) == os.readlink(embryo.P("exe"))


@pytest.mark.mode("user")
def test_an_ordinary_images_links_to_memory_are_refused(mount, one, tmp_path):
    image = str(tmp_path / "image.tar")
    tar("-C", one.dir, "-cf", image, ".")
    two = mount.efork()
    said = extract(image, two, status=2)
    assert f"./mem/{DATA:x}: Cannot create symlink" in said
    assert "make it by tar -h" in two.error()
    assert two.mem() == []


def test_an_image_never_meets_a_later_process_of_the_same_number(mount, one, tmp_path):
    """A recipe that was read says of whom, and refuses everybody else."""
    recipe = json.loads(one.read("process.json"))
    other = mount.efork()
    text = json.dumps(recipe).replace(f'"{one.pid}:', f'"{other.pid}:')
    changed = json.loads(text)
    changed["proc9"]["source"]["pid"] = other.pid
    two = mount.efork()
    with pytest.raises(OSError) as refusal:
        two.write("process.json", json.dumps(changed))
    assert refusal.value.errno == 2
    assert f"is of process {other.pid}, which has gone since" in two.error()
    assert two.mem() == [] and two.fds() == {}
    del changed["proc9"]["regions"]
    two.write("process.json", json.dumps(changed))  # what has a path is opened there
    assert {n: (path, opened(two.pid, n)) for n, path in two.fds().items()} == \
        {n: (path, opened(one.pid, n)) for n, path in one.fds().items()}


def test_a_file_is_opened_as_it_is(embryo, files):
    """Mode k neither makes nor empties; seek says where."""
    embryo.tell(f"fd 3 open {files}/out wk", "fd 3 seek 4K")
    assert opened(embryo.pid, 3)[1] == "4096" and (files / "out").read_text() == "what was in out before\n"
    assert embryo.ask(f"fd 4 open {files}/none ak") == "ENOENT" and not (files / "none").exists()
    assert embryo.ask("fd 9 seek 0") == "EBADF"
    embryo.tell(f"fd 5 open {files}/out w")
    assert (files / "out").read_text() == ""


# --- by hand --------------------------------------------------------------------------------------------------------

STATES = {"args": "a 'b c'\n", "limits": "NOFILE 50:60\n", "regs": "rax 0x5\n",
          "maps": "00500000-00501000 rw-p 00000000 00:00 0\n", "process.json": '{"user": {"umask": 63}}\n'}
TOLD = ["status", "status.json", "wait", "error", "note", "ctl"]


@pytest.mark.parametrize("how", ["x", "w"])
@pytest.mark.parametrize("name", STATES)
def test_a_state_is_removed_and_made_again(embryo, name, how):
    os.unlink(embryo.P(name))
    assert not os.path.exists(embryo.P(name)) and name not in os.listdir(embryo.dir)
    with open(embryo.P(name), how) as file:
        file.write(STATES[name])
    assert name in os.listdir(embryo.dir)
    happened = {"args": lambda: embryo.read("args") == STATES["args"],
                "limits": lambda: re.search(r"Max open files +50 +60 ", embryo.read("limits")),
                "regs": lambda: "rax 0x5\n" in embryo.read("regs"),
                "maps": lambda: embryo.ranges() == ([(0x500000, 0x501000, "rw-")] if how == "w" else []),
                "process.json": lambda: kernel_status(embryo.pid, "Umask") == "0077"}
    assert happened[name](), embryo.error()


@pytest.mark.parametrize("name", TOLD)
def test_what_only_tells_takes_the_bytes_of_an_image_and_goes_on_telling(embryo, name):
    before = embryo.read(name) if name != "wait" else None
    os.unlink(embryo.P(name))
    assert name not in os.listdir(embryo.dir)
    with open(embryo.P(name), "x") as file:
        file.write("kill\n")
    assert name in os.listdir(embryo.dir) and kernel_status(embryo.pid, "State")[0] == "S"
    if before is not None:
        assert embryo.read(name) == before


def test_a_ctl_that_a_shell_makes_again_is_a_ctl(embryo):
    os.unlink(embryo.P("ctl"))
    embryo.mount.out(f"echo 'env A=1' > {embryo.P('ctl')}")
    assert embryo.env() == ["A"]
    os.unlink(embryo.P("status"))
    with pytest.raises(PermissionError):
        open(embryo.P("status"), "w")
    assert embryo.read("status")


def test_lines_of_an_image_are_all_tried(embryo):
    """A refused one does not take those after it along; the file's close says so."""
    os.unlink(embryo.P("limits"))
    file = os.open(embryo.P("limits"), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.write(file, b"NOFILE 70:60\nCORE 5:")
    os.write(file, b"6\n")
    with pytest.raises(OSError) as refusal:
        os.close(file)
    assert refusal.value.errno == 22 and "the soft limit is above" in embryo.error()
    assert re.search(r"Max core file size +5 +6 ", embryo.read("limits"))


def test_what_is_so_already_is_no_error(embryo):
    embryo.tell("map 0x600000 4K rw-", "map 0x700000 4K r-- file /bin/true", "map 0x800000 4K rw- shared", "map vdso")
    for name in ("maps", "limits", "regs", "args"):
        before = embryo.read(name)
        embryo.write(name, before)
        assert embryo.read(name) == before
    for name in ("cwd", "root", *(f"ns/{kind}" for kind in os.listdir(embryo.P("ns")))):
        target = os.readlink(embryo.P(name))
        os.unlink(embryo.P(name))
        os.symlink(target, embryo.P(name))
        assert os.readlink(embryo.P(name)) == target
    for line in ("00600000-00601000 r--p 00000000 00:00 0\n", "00600000-00602000 rw-p 00000000 00:00 0\n",
                 "00600000-00601000 rw-s 00000000 00:00 0\n", "00700000-00701000 r--p 00000000 00:00 1 /bin/false\n"):
        with pytest.raises(FileExistsError):
            embryo.write("maps", line)


def test_modes_and_owners_may_be_set_to_what_they_are(embryo):
    embryo.tell("map 0x600000 4K rw-", "env A=1", f"fd 3 open /dev/null r")
    for name in ("", "args", "status", "mem", "fd", "env/A", "mem/600000"):
        found = os.stat(embryo.P(name))
        os.chmod(embryo.P(name), found.st_mode & 0o7777)
        os.chown(embryo.P(name), found.st_uid, found.st_gid)
        os.utime(embryo.P(name))
    for name in ("", "args", "status", "mem", "env/A"):
        with pytest.raises(PermissionError):
            os.chmod(embryo.P(name), 0o640)
    os.utime(embryo.P("fd/3"), follow_symlinks=False)


def test_a_link_by_hand_opens_anew(mount, one, files, tmp_path):
    image = dump(one, tmp_path / "image.tar")
    two = mount.efork()
    extract(image, two)
    mount.out(f"ln -sfn {files}/in {two.P('fd/0')}")
    assert opened(two.pid, 0)[1] == "0"


def test_after_the_start_nothing_is_replaced(mount, one, tmp_path):
    image = dump(one, tmp_path / "image.tar")
    one.tell("exec /bin/sleep 1000")
    for name in [*STATES, *TOLD, "cwd", "root", "exe", "ns/net", "fd/0", "env/A"]:
        with pytest.raises(PermissionError):
            os.unlink(one.P(name))
    with pytest.raises(PermissionError):
        os.mkdir(one.P("task/1"))
    assert "Cannot" in extract(image, one, status=2)


def test_the_running_one_can_be_read_without_waiting_for_its_end(one, tmp_path):
    """It is no image, but nothing hangs: tar opens without waiting."""
    one.tell("exec /bin/sleep 1000")
    subprocess.run(["tar", "-C", one.dir, "-cf", str(tmp_path / "x.tar"), "./wait", "./status"], timeout=10,
                   capture_output=True)
