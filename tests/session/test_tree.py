"""What is where: listings, modes, links, the files at the top, and how directories come and go."""
import errno
import json
import os
import re
import stat

import pytest

from mount import Embryo, errno_of, eventually, read, write_ctl

TOP = {"ctl", "clone", "help", "self", "stats.json", "error"}
FILES = {"ctl", "status", "status.json", "maps", "args", "regs", "note", "wait", "error"}
DIRECTORIES = {"mem", "fd", "env"}
LINKS = {"cwd", "root", "exe"}
LATER = {"process.json", "ns", "limits", "task"}  # of SPEC 2, made by later work

STATUS_KEYS = "Name Id State Pid PPid Creator Uid Gid Groups Exit Threads Regions Fds".split()


# --- the top --------------------------------------------------------------------------------------------------------

def test_the_top_lists_its_files_and_nothing_else(mount):
    assert set(mount.ls()) | {"self"} == TOP


def test_the_top_lists_processes_and_names(mount):
    one, two = mount.efork(), mount.efork("greeter")
    assert set(mount.ls()) | {"self"} == TOP | {str(one.pid), str(two.pid), "greeter"}


def test_ls_of_everything_has_no_error(mount, embryo):
    embryo.tell("map 0x600000 4K rw-", "fd 0 open /dev/null r", "env A=1")
    assert "Input/output" not in mount.sh("ls -lR $PROC9").stderr
    assert mount.sh(f"ls -lR {embryo.dir}").stderr == ""


def test_find_sees_the_same_files_as_ls(mount, embryo):
    found = mount.out(f"cd $PROC9/{embryo.pid} && find . -mindepth 1 -maxdepth 1").split()
    assert {name[2:] for name in found} == set(os.listdir(embryo.dir))


def test_help_has_one_line_for_every_command_and_file(mount):
    lines = read(mount.P("help")).splitlines()
    words = {word for line in lines for word in re.findall(r"[\w.]+", line)}
    commands = ("efork pipe map unmap protect move fd inherit env unset clearenv args chdir chroot umask reg exec entry"
                " kill stop start name persist").split()
    assert not set(commands) - words
    assert not (FILES | DIRECTORIES | LINKS | TOP) - words
    assert all(line.strip() for line in lines), "no empty lines"


def test_stats_json_is_one_object(mount):
    assert isinstance(json.loads(read(mount.P("stats.json"))), dict)
    assert mount.requests() > 0


def test_stats_json_counts_requests(mount):
    before = mount.requests()
    for _ in range(50):
        read(mount.P("help"))
    assert mount.requests() > before


def test_self_is_ENOENT_for_a_stranger(mount):
    assert errno_of(os.readlink, mount.P("self")) == "ENOENT"
    assert errno_of(os.stat, mount.P("self")) == "ENOENT"


def test_self_is_the_directory_of_a_process_that_proc9_made(mount, embryo):
    out, _ = embryo.run(f"exec /bin/readlink {mount.P('self')}")
    assert out == f"{embryo.pid}\n"


def test_a_missing_name_is_ENOENT(mount, embryo):
    assert errno_of(os.stat, mount.P("nobody-made-this")) == "ENOENT"
    assert errno_of(os.stat, mount.P("999999")) == "ENOENT"
    assert errno_of(os.stat, embryo.P("nobody-made-this")) == "ENOENT"
    assert errno_of(os.stat, mount.P(f"0{embryo.pid}")) == "ENOENT"


def test_a_process_that_proc9_did_not_make_is_not_there(mount):
    assert errno_of(os.stat, mount.P(str(os.getpid()))) == "ENOENT"
    assert errno_of(os.stat, mount.P(str(mount.pid))) == "ENOENT"


def test_files_cannot_be_made_or_removed_where_there_are_none(mount, embryo):
    for directory in (mount.path, embryo.dir):
        assert errno_of(open, os.path.join(directory, "junk"), "w") in ("EPERM", "EACCES", "EINVAL", "EOPNOTSUPP")
        assert errno_of(os.mkfifo, os.path.join(directory, "junk")) == "EPERM"
    for name in ("mem", "env"):
        assert errno_of(os.unlink, embryo.P(name)) == "EISDIR"
    assert set(os.listdir(embryo.dir)) >= FILES


# --- N/ -------------------------------------------------------------------------------------------------------------

def test_an_embryos_directory_lists_what_the_contract_says(embryo):
    listed = set(os.listdir(embryo.dir))
    wanted = FILES | DIRECTORIES | LINKS
    assert wanted <= listed <= wanted | LATER


def test_modes_and_owner(embryo):
    def mode(name=""):
        st = os.lstat(embryo.P(name))
        assert (st.st_uid, st.st_gid) == (os.getuid(), os.getgid()), name
        return st.st_mode

    assert mode() == stat.S_IFDIR | 0o555
    assert {name: oct(mode(name)) for name in FILES - {"note"}} == {
        name: oct(stat.S_IFREG | (0o600 if name in ("ctl", "maps", "args", "regs") else 0o400))
        for name in FILES - {"note"}}
    assert mode("note") in (stat.S_IFREG | 0o200, stat.S_IFREG | 0o600)
    assert all(stat.S_ISDIR(mode(name)) for name in DIRECTORIES)
    assert all(stat.S_ISLNK(mode(name)) for name in LINKS)


def test_status_has_its_keys_in_the_form_of_proc(embryo):
    lines = embryo.read("status").splitlines()
    assert [re.match(r"(\w+):\t", line).group(1) for line in lines] == STATUS_KEYS


def test_status_says_who_and_what(mount):
    e = mount.efork("somebody")
    e.tell("map 0x600000 4K rw-", "map 0x700000 4K rw-", "fd 5 open /dev/null r")
    status = dict(line.split(":\t", 1) for line in e.read("status").splitlines())
    assert status["Name"] == "somebody"
    assert status["Id"] == status["Pid"] == str(e.pid)
    assert status["Uid"].split()[0] == str(os.getuid())
    assert status["Gid"].split()[0] == str(os.getgid())
    assert (status["Regions"], status["Fds"]) == ("2", "1")


def test_status_json_says_the_same(embryo):
    assert json.loads(embryo.read("status.json")), "one JSON object, not empty"
    assert str(embryo.pid) in embryo.read("status.json")


def test_the_state_differs_between_embryo_running_and_exited(embryo):
    def state():
        return re.search(r"^State:\t(.*)$", embryo.read("status"), re.M).group(1)

    states = [state()]
    embryo.tell("exec /bin/sleep 1000")
    states.append(state())
    embryo.tell("kill")
    assert eventually(lambda: state() not in states), states


def test_ctl_of_an_embryo_reads_id_and_state_in_one_line(embryo):
    id_, state = embryo.read("ctl").split("\n")[0].split(" ", 1)
    assert id_ == str(embryo.pid)
    assert state in re.search(r"^State:\t(.*)$", embryo.read("status"), re.M).group(1)


def test_reading_in_small_pieces_gives_the_same_text(embryo):
    embryo.tell(*(f"map {0x600000 + n * 0x2000:#x} 4K rw-" for n in range(50)))
    whole = embryo.read("maps")
    fd = os.open(embryo.P("maps"), os.O_RDONLY)
    pieces = b""
    while piece := os.read(fd, 7):
        pieces += piece
    os.close(fd)
    assert pieces.decode() == whole
    assert whole.count("\n") == 50


# --- made and gone --------------------------------------------------------------------------------------------------

def test_ctl_reads_the_id_of_the_embryo_made_through_it(mount):
    fd = os.open(mount.P("ctl"), os.O_RDWR)
    os.write(fd, b"efork\n")
    assert mount.ids() == [int(os.read(fd, 64))]
    os.close(fd)


def test_a_shell_makes_builds_and_reads_through_one_open_ctl(mount):
    """The open file is also the new embryo's ctl. A shell reads byte by byte."""
    out = mount.out("exec 3<>$PROC9/ctl; echo efork >&3; read id <&3; echo 'env A=1' >&3; cat $PROC9/$id/env/A; echo;"
                    "[ -d /proc/$id ] && echo real")
    assert out.split() == ["1", "real"]


def test_cat_of_ctl_ends(mount):
    assert mount.out("exec 3<>$PROC9/ctl; echo efork >&3; cat <&3").strip().isdigit()


def test_closing_ctl_does_not_end_the_embryo(mount):
    e = mount.efork()
    assert not eventually(lambda: not e.exists(), 0.3)


def test_opening_clone_makes_an_embryo_and_its_ctl(mount):
    fd = os.open(mount.P("clone"), os.O_RDWR)
    try:
        e = Embryo(mount, int(os.read(fd, 64)))
        os.write(fd, b"env A=1\n")
        assert e.env() == ["A"]
    finally:
        os.close(fd)


def test_clone_is_destroyed_at_the_last_close(mount):
    fd = os.open(mount.P("clone"), os.O_RDWR)
    e = Embryo(mount, int(os.read(fd, 64)))
    again = os.dup(fd)
    os.close(fd)
    assert not eventually(lambda: not e.exists(), 0.3), "one descriptor is still open"
    os.close(again)
    assert eventually(lambda: not e.exists())
    assert eventually(lambda: not os.path.exists(f"/proc/{e.pid}"))


def test_clone_told_to_persist_stays(mount):
    fd = os.open(mount.P("clone"), os.O_RDWR)
    e = Embryo(mount, int(os.read(fd, 64)))
    os.write(fd, b"persist\n")
    os.close(fd)
    assert not eventually(lambda: not e.exists(), 0.5)


def test_a_started_clone_outlives_its_open_file(mount):
    fd = os.open(mount.P("clone"), os.O_RDWR)
    e = Embryo(mount, int(os.read(fd, 64)))
    os.write(fd, b"exec /bin/sh -c 'exit 5'\n")
    os.close(fd)
    assert e.wait().status == "exit 5"


def test_clone_in_a_shell(mount):
    out = mount.out("exec 3<>$PROC9/clone; read id <&3; echo \"exec /bin/sh -c 'exit 3'\" >&3; cat $PROC9/$id/wait")
    assert out.endswith(" 'exit 3'\n")


def test_mkdir_is_efork_with_a_name(mount):
    os.mkdir(mount.P("made"))
    assert re.fullmatch(r"\d+", os.readlink(mount.P("made")))
    assert mount.embryo("made").read("maps") == ""


def test_mkdir_of_a_name_in_use_is_EEXIST(mount):
    os.mkdir(mount.P("made"))
    assert errno_of(os.mkdir, mount.P("made")) == "EEXIST"
    assert errno_of(os.mkdir, mount.P("ctl")) == "EEXIST"


def test_rmdir_destroys_an_embryo(mount, embryo):
    os.rmdir(embryo.dir)
    assert not embryo.exists()
    assert eventually(lambda: not os.path.exists(f"/proc/{embryo.pid}"))
    assert mount.ids() == []


def test_rmdir_takes_the_name_away(mount):
    e = mount.efork("short")
    os.rmdir(e.dir)
    assert errno_of(os.readlink, mount.P("short")) == "ENOENT"
    mount.efork("short")


def test_a_directory_held_open_by_somebody_is_ENOENT_when_its_process_is_gone(mount, embryo):
    directory = os.open(embryo.dir, os.O_RDONLY | os.O_DIRECTORY)
    os.rmdir(embryo.dir)
    assert errno_of(os.stat, "ctl", dir_fd=directory) in ("ENOENT", "ESRCH")
    os.close(directory)


def test_an_open_ctl_of_a_removed_embryo_is_ESRCH(embryo):
    fd = os.open(embryo.P("ctl"), os.O_WRONLY)
    os.rmdir(embryo.dir)
    assert errno_of(os.write, fd, b"env A=1\n") == "ESRCH"
    os.close(fd)


# --- efork, names ---------------------------------------------------------------------------------------------------

def test_a_name_is_a_link_to_the_number(mount):
    e = mount.efork("worker")
    assert os.readlink(mount.P("worker")) == str(e.pid)


def test_efork_with_a_name_in_use_is_EEXIST(mount):
    mount.efork("worker")
    assert write_ctl(mount.P("ctl"), "efork worker") == "EEXIST"
    assert write_ctl(mount.P("ctl"), "efork help") == "EEXIST"


@pytest.mark.parametrize("name", ["a/b", ".", "..", "123", "x" * 256])
def test_efork_with_a_name_that_cannot_be_one_is_refused(mount, name):
    assert write_ctl(mount.P("ctl"), f"efork {name}") in ("EINVAL", "EEXIST", "ENAMETOOLONG")
    assert mount.ids() == []


def test_a_name_may_hold_blanks_and_any_letters(mount):
    assert write_ctl(mount.P("ctl"), "efork 'zwei Wörter'") > 0
    assert os.path.isdir(mount.P("zwei Wörter"))


def test_many_eforks_in_one_write(mount):
    assert write_ctl(mount.P("ctl"), "efork a\nefork b\nefork c\n") == 24
    assert len(mount.ids()) == 3


def test_error_of_the_top_is_the_text_of_the_callers_last_error(mount):
    mount.efork("worker")
    write_ctl(mount.P("ctl"), "efork worker")
    text = read(mount.P("error"))
    assert text.startswith("efork: ") and text.endswith(': "efork worker"\n')


@pytest.mark.mode("root")
def test_another_user_is_refused_with_EACCES(mount, embryo):
    probe = f"import os\nfor p in ('ctl', '{embryo.pid}/ctl', '{embryo.pid}/status'):\n" \
            f" try: os.open('{mount.path}/' + p, os.O_RDONLY)\n except OSError as e: print(e.errno)"
    for directory in (mount.directory, os.path.dirname(mount.directory)):
        os.chmod(directory, 0o755)
    out = mount.sh(f'/usr/bin/python3 -c "{probe}"', user=65534, group=65534, extra_groups=[], cwd="/").stdout
    assert out.split() == [str(errno.EACCES)] * 3


@pytest.mark.mode("root")
def test_a_write_of_another_user_through_a_passed_descriptor_is_EACCES(mount, embryo):
    """Who can be made to write to stderr, a set-user-id program say, must not become a tool."""
    for path in (mount.P("ctl"), embryo.P("ctl")):
        fd = os.open(path, os.O_RDWR)
        out = mount.sh(f"echo 'env A=1' >&{fd}", pass_fds=[fd], user=65534, group=65534, extra_groups=[], cwd="/",
                       shell="bash")
        os.close(fd)
        assert "Permission denied" in out.stderr
    assert embryo.env() == []
