"""SPEC 8: every errno, with its line in `error`."""
import os
import re

import pytest

from mount import errno_of, read, write_ctl


def explained(embryo, line, wanted, part=""):
    """The line is refused with this errno; `error` names the command, says why, and quotes the line."""
    assert embryo.ask(line) == wanted
    text = embryo.error()
    assert re.fullmatch(re.escape(line.split()[0]) + r": .+: " + re.escape(f'"{line}"') + r"\n", text), text
    assert part in text, text


def test_the_text_of_the_contract_letter_by_letter(embryo):
    assert embryo.ask("map 0x600001 4096 rw-") == "EINVAL"
    assert embryo.error() == 'map: address 0x600001 is not a multiple of the page size 4096: "map 0x600001 4096 rw-"\n'


def test_error_is_empty_before_the_first_one(embryo):
    assert embryo.error() == ""


def test_error_stays_until_the_next_one(embryo):
    embryo.ask("chdir /nonexistent")
    embryo.tell("env A=1")
    assert "/nonexistent" in embryo.error()
    embryo.ask("chdir /also/nonexistent")
    assert "/also/nonexistent" in embryo.error()


@pytest.mark.parametrize("line", ["map", "map 0x600000", "map 0x600000 4K", "map 0x600000 4K rw- junk", "unmap",
                                  "protect 0x600000 4K", "move 0x600000", "fd", "fd 3", "fd 3 open", "fd 3 dup",
                                  "chdir", "chdir a b", "chroot", "reg rax", "entry", "name"])
def test_too_few_or_too_many_words_are_EINVAL(embryo, line):
    explained(embryo, line, "EINVAL")


@pytest.mark.parametrize("line", ["map 0x600000 4K rw", "map 0x600000 4K rwz", "map 0x600000 4K w-r",
                                  "map 0x600000 0 rw-"])
def test_a_protection_or_length_that_is_none_is_EINVAL(embryo, line):
    explained(embryo, line, "EINVAL")


@pytest.mark.parametrize("line, nearest", [("mpa 0x600000 4K rw-", "map"), ("exce /bin/true", "exec"),
                                           ("unnmap 0x600000", "unmap"), ("chdri /", "chdir")])
def test_an_unknown_word_is_EINVAL_with_the_nearest_known_one(embryo, line, nearest):
    explained(embryo, line, "EINVAL")
    assert re.search(rf"\b{nearest}\b", embryo.error())


def test_an_unknown_word_on_the_top_ctl(mount):
    assert write_ctl(mount.P("ctl"), "efrok hello") == "EINVAL"
    text = read(mount.P("error"))
    assert text.startswith("efrok: ") and "efork" in text and text.endswith(': "efrok hello"\n')


def test_EEXIST_a_mapping_in_the_way(embryo):
    embryo.tell("map 0x600000 8K rw-")
    explained(embryo, "map 0x601000 4K rw-", "EEXIST", "0x60")


def test_EEXIST_a_name_in_the_way(mount, embryo):
    mount.efork("taken")
    explained(embryo, "name taken", "EEXIST", "taken")


@pytest.mark.parametrize("line", ["chdir /nonexistent", "fd 0 open /nonexistent r", "exec /nonexistent x",
                                  "map 0x600000 4K r-- file /nonexistent", "exec nonexistent"])
def test_ENOENT(embryo, line):
    explained(embryo, line, "ENOENT")


def test_EPERM_after_start(embryo):
    embryo.tell("exec /bin/sleep 1000")
    explained(embryo, "map 0x600000 4K rw-", "EPERM")


def test_EACCES_what_the_kernel_refuses_the_child(embryo, tmp_path):
    (tmp_path / "s").touch(0o644)
    explained(embryo, f"exec {tmp_path}/s", "EACCES")


@pytest.mark.mode("user")
def test_EACCES_a_file_of_somebody_else(embryo):
    explained(embryo, "fd 0 open /etc/shadow r", "EACCES", "/etc/shadow")


@pytest.mark.mode("user")
def test_a_process_of_somebody_else_gives_no_descriptor(embryo):
    assert embryo.ask("fd 0 1:0") in ("EPERM", "EACCES")


def test_ESRCH_a_process_that_is_not_there(embryo):
    explained(embryo, "fd 0 999999:0", "ESRCH", "999999")


def test_EBADF(embryo):
    explained(embryo, "fd 3 dup 99", "EBADF", "99")
    explained(embryo, "fd 99 close", "EBADF", "99")


def test_E2BIG(embryo):
    assert embryo.ask("exec /bin/true " + "x" * 200_000) == "E2BIG"
    assert embryo.error().startswith("exec: ")


def test_EMFILE_a_number_above_the_limit(embryo):
    assert embryo.ask("fd 1000000000 open /dev/null r") in ("EMFILE", "EBADF")
    assert embryo.error().startswith("fd: ")


def test_ENOMEM_more_than_there_is(embryo):
    explained(embryo, "map 0x10000 0x1000000000000 rw-", "ENOMEM")
    assert embryo.read("maps") == ""


def test_EBUSY_or_EPERM_rmdir_of_a_running_process(embryo):
    embryo.tell("exec /bin/sleep 1000")
    assert errno_of(os.rmdir, embryo.dir) in ("EBUSY", "EPERM")
    assert embryo.error() != ""


def test_ENOEXEC(embryo, tmp_path):
    (tmp_path / "s").write_text("no program")
    (tmp_path / "s").chmod(0o755)
    explained(embryo, f"exec {tmp_path}/s", "ENOEXEC")


def test_ENOTDIR_and_EISDIR_are_the_kernels(embryo):
    explained(embryo, "chdir /bin/true", "ENOTDIR")
    explained(embryo, "fd 1 open /tmp w", "EISDIR")


def test_a_file_call_that_is_refused_is_explained_too(mount, embryo):
    assert errno_of(os.symlink, "/nonexistent", embryo.P("fd/0")) == "ENOENT"
    assert "/nonexistent" in embryo.error()
    assert errno_of(open, embryo.P("mem/600001"), "w") == "EINVAL"
    assert "600001" in embryo.error()


def test_a_refused_command_loses_nothing(mount, embryo, tmp_path):
    embryo.tell("map 0x600000 8K rw-", "fd 3 open /dev/null r", "env A=1", "args a b", f"chdir {tmp_path}")

    def state():
        return embryo.read("maps"), embryo.fds(), embryo.env(), embryo.read("args"), os.readlink(embryo.P("cwd"))

    before = state()
    for line in ("map 0x600000 4K rw-", "unmap 0x1", "protect 0x600000 64K rwx", "move 0x600000 0x600001",
                 "fd 3 dup 99", "fd 3 open /nonexistent r", "env", "args 'open", "chdir /nonexistent",
                 "exec /nonexistent", "junk",
                 "entry x", "umask 9"):
        assert isinstance(embryo.ask(line), str), line
        assert state() == before, line


def test_nothing_is_ever_EIO(mount, embryo):
    """Nonsense of every kind, by command and by file."""
    commands = ["map", "unmap", "protect", "move", "fd", "env", "exec", "entry", "\\", '"', "'", "{", "}"]
    numbers = ["0", "-1", "0xffffffffffffffff", "18446744073709551615"]
    words = ["any", "shared", "self:0", "%s", "/", "}"]
    answers = {embryo.ask(f"{a} {b} {c}")
               for a in commands for b in commands + numbers + words for c in numbers + words}
    assert answers <= {"EINVAL", "ENOENT", "EBADF", "ENOMEM", "EPERM", "EACCES", "ESRCH", "EEXIST", "EMFILE", "EFAULT",
                       "EISDIR", "ENOTDIR", "E2BIG", "EOPNOTSUPP"} | {a for a in answers if isinstance(a, int)}
    assert os.path.exists(mount.P("ctl"))
