"""The grammar of SPEC 3: words, quotes, numbers, JSON, many lines in one write, long writes."""
import os

import pytest

from mount import errno_of, write_ctl


def words_of(embryo, words):
    """What a program gets as its arguments, each on a line between brackets."""
    out, status = embryo.run(f"exec /usr/bin/printf '[%s]\\n' {words}")
    assert status == ""
    return out


@pytest.mark.parametrize("words, wanted", [
    ("one two", "[one]\n[two]\n"),
    ("one \t  two ", "[one]\n[two]\n"),
    ("'one two'", "[one two]\n"),
    ("'it''s'", "[it's]\n"),
    ("''", "[]\n"),
    ("''''", "[']\n"),
    ("'a \"b\" \\n'", '[a "b" \\n]\n'),
    ('"one two"', "[one two]\n"),
    ('"a\\tb\\nc"', "[a\tb\nc]\n"),
    ('"q\\"q" "b\\\\b"', '[q"q]\n[b\\b]\n'),
    ('"\\x41\\x7e"', "[A~]\n"),
    ('"it\'s"', "[it's]\n"),
    ('""', "[]\n"),
    ("a#b", "[a#b]\n"),
    ("x #y", "[x]\n[#y]\n"),
    ("{", "[{]\n"),
    ("käse", "[käse]\n"),
    ("$HOME *", "[$HOME]\n[*]\n"),
])
def test_words_reach_a_program_as_written(embryo, words, wanted):
    assert words_of(embryo, words) == wanted


def test_carriage_return_escape_reaches_a_program(embryo):
    out = os.path.join(embryo.mount.scratch, "cr")
    embryo.output_to(out)
    embryo.tell('exec /usr/bin/printf %s "a\\rb"')
    embryo.wait()
    with open(out, "rb") as f:
        assert f.read() == b"a\rb"


@pytest.mark.parametrize("line", ["args 'open", 'args "open', 'args "\\q"', 'args "\\x4"', "args 'a''"])
def test_a_quote_that_is_not_closed_or_unknown_is_EINVAL(embryo, line):
    assert embryo.ask(line) == "EINVAL"


def test_a_comment_and_an_empty_line_do_nothing(embryo):
    embryo.tell("# map 0x600000 4096 rw-", "", "   ", "#", "env A=1", "")
    assert (embryo.read("maps"), embryo.env()) == ("", ["A"])


@pytest.mark.parametrize("number", ["65536", "0x10000", "0200000", "64K"])
def test_a_length_in_every_base(embryo, number):
    embryo.tell(f"map 0x600000 {number} rw-")
    assert embryo.ranges() == [(0x600000, 0x610000, "rw-")]


@pytest.mark.parametrize("size, length", [("4K", 4 << 10), ("3M", 3 << 20), ("1G", 1 << 30)])
def test_sizes_take_K_M_G(embryo, size, length):
    embryo.tell(f"map 0x10000000 {size} rw-")
    assert embryo.ranges() == [(0x10000000, 0x10000000 + length, "rw-")]


def test_a_decimal_address(embryo):
    embryo.tell(f"map {0x600000} 4096 rw-")
    assert embryo.ranges() == [(0x600000, 0x601000, "rw-")]


@pytest.mark.parametrize("number", ["4k5", "12x", "0x", "08", "-4096", "18446744073709551616", "99999999999G", "K",
                                    "1.5M"])
def test_a_number_that_is_none_is_EINVAL(embryo, number):
    assert embryo.ask(f"map 0x600000 {number} rw-") == "EINVAL"
    assert embryo.read("maps") == ""


def test_a_line_of_json_is_the_same_command(embryo):
    embryo.tell('{"cmd":"map","addr":"0x600000","len":"64K","prot":"rw-"}')
    assert embryo.ranges() == [(0x600000, 0x610000, "rw-")]


def test_json_and_words_mix_line_by_line(embryo):
    embryo.tell("env A=1", '{"cmd":"map","addr":"0x600000","len":4096,"prot":"r--"}', '{"cmd": "clearenv"}')
    assert (embryo.ranges(), embryo.env()) == ([(0x600000, 0x601000, "r--")], [])


@pytest.mark.parametrize("line", ['{"cmd":"map"', "{}", '{"cmd":"mpa"}', '{"cmd":3}', '{"cmd":"map","adr":"0x600000"}',
                                  '{"cmd":"map","addr":"0x600000","len":"64K","prot":"rw-"} junk'])
def test_json_that_is_no_command_is_EINVAL(embryo, line):
    assert embryo.ask(line) == "EINVAL"
    assert embryo.read("maps") == ""


# --- many lines -----------------------------------------------------------------------------------------------------

LINES = [f"env V{n}={n}\n" for n in range(1, 11)]
TEN = LINES[:6] + ["map 0x600001 4096 rw-\n"] + LINES[7:]
SIX = "".join(LINES[:6])


def test_ten_lines_whose_seventh_fails_return_the_length_of_six(embryo):
    assert embryo.ask("".join(TEN)) == len(SIX)
    assert embryo.env() == [f"V{n}" for n in range(1, 7)]
    assert embryo.error().startswith("map: address 0x600001 ")


def test_the_rest_written_again_fails_with_the_errno(embryo):
    fd = os.open(embryo.P("ctl"), os.O_WRONLY)
    rest = "".join(TEN).encode()
    rest = rest[os.write(fd, rest):]
    assert rest.startswith(b"map 0x600001")
    assert errno_of(os.write, fd, rest) == "EINVAL"
    os.close(fd)
    assert len(embryo.env()) == 6


def test_cat_of_ten_lines_reports_the_seventh_and_does_nothing_twice(mount, embryo):
    """pipe-like retry of the rest, as stdio does: a second `map` of the same range would say EEXIST."""
    lines = "".join(f"map {0x600000 + n * 0x1000:#x} 4096 rw-\n" if n != 6 else "map 0x1 1 rw-\n" for n in range(10))
    with open(os.path.join(mount.scratch, "ten"), "w") as f:
        f.write(lines)
    done = mount.sh(f"cat ten > {embryo.P('ctl')}")
    assert done.returncode != 0 and "Invalid argument" in done.stderr
    assert sum(r.end - r.start for r in embryo.maps()) == 6 * 4096


def test_a_first_line_that_fails_is_the_errno(embryo):
    assert embryo.ask("chdir /nonexistent\nenv A=1\n") == "ENOENT"
    assert embryo.env() == []


def test_success_returns_the_whole_length(embryo):
    assert embryo.ask(SIX) == len(SIX)


def test_a_last_line_needs_no_newline(embryo):
    assert embryo.ask("env A=1\nenv B=2") == 15
    assert embryo.env() == ["A", "B"]


def test_the_offset_is_ignored(embryo):
    fd = os.open(embryo.P("ctl"), os.O_WRONLY)
    assert os.pwrite(fd, b"env A=1\n", 123456) == 8
    assert os.pwrite(fd, b"env B=2\n", 3) == 8
    os.close(fd)
    assert embryo.env() == ["A", "B"]


@pytest.mark.parametrize("flags", [os.O_TRUNC, os.O_APPEND, os.O_CREAT, os.O_CREAT | os.O_TRUNC | os.O_APPEND])
def test_flags_of_open_are_harmless(embryo, flags):
    assert write_ctl(embryo.P("ctl"), "env A=1\n", os.O_WRONLY | flags) == 8
    assert write_ctl(embryo.P("ctl"), "env B=1\n", os.O_WRONLY | flags) == 8
    assert embryo.env() == ["A", "B"]


def test_truncate_is_harmless(embryo):
    embryo.tell("env A=1")
    os.truncate(embryo.P("ctl"), 0)
    assert embryo.env() == ["A"]


def test_writev_is_one_write(embryo):
    fd = os.open(embryo.P("ctl"), os.O_WRONLY)
    assert os.writev(fd, [b"env A=1\nen", b"v B=2\n"]) == 16
    os.close(fd)
    assert embryo.env() == ["A", "B"]


def test_lines_of_more_than_a_mebibyte_in_one_write(embryo):
    text = "".join(f"env V{n}={'x' * 100}\n" for n in range(14000))
    assert len(text) > 1 << 20
    assert embryo.ask(text) == len(text)
    assert len(embryo.env()) == 14000


def test_one_line_of_more_than_a_mebibyte(embryo):
    line = "args " + " ".join(["x" * 1000] * 1300) + "\n"
    assert len(line) > 1 << 20
    assert embryo.ask(line) == len(line)
    assert embryo.read("args").split() == ["x" * 1000] * 1300


def test_a_line_that_fails_behind_a_mebibyte_of_good_ones(embryo):
    good = "".join(f"env V{n}={'x' * 1000}\n" for n in range(1200))
    assert embryo.ask(good + "map 0x1 1 rw-\n" + "env LAST=1\n") == len(good)
    assert len(embryo.env()) == 1200


def test_an_empty_write_does_nothing(embryo):
    assert embryo.ask("") == 0


def test_a_zero_byte_is_EINVAL_not_the_end(embryo):
    assert embryo.ask("env A=1\0env B=2\n") == "EINVAL"
    assert embryo.env() == []
