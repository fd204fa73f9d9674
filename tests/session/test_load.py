"""p9 load: a program that is mapped and started by way of the files runs as one that exec started."""
import os
import random
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from mount import alive, eventually, kernel_maps, read

SOURCES = Path(__file__).resolve().parents[1] / "load"
KINDS = {"dynamic": [], "no-pie": ["-no-pie"], "static": ["-static"], "static-pie": ["-static-pie"]}
PAGE = 4096
AT_PHDR = 3


def compiled(tmp_path_factory_dir, source, name, *options):
    program = f"{tmp_path_factory_dir}/{name}"
    compiler = "g++" if source.endswith("cpp") else "gcc"
    subprocess.run([compiler, "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", f"{SOURCES}/{source}",
                    "-o", program, *options], check=True, timeout=60)
    return program


@pytest.fixture(scope="session")
def compile_program(request):
    """compile_program(SOURCE, OPTION...): where the program is."""
    made = {}

    def compile_once(source, *options):
        key = (source, *options)
        if key not in made:
            made[key] = compiled(request.config.run_directory, source, f"program-{len(made)}", *options)
        return made[key]
    return compile_once


@pytest.fixture(params=KINDS)
def program(request, compile_program):
    return compile_program("program.c", *KINDS[request.param])


@pytest.fixture
def load(mount, programs):
    """load(EMBRYO, WORD...): what `p9 load` says on standard error; "" when it did it. Its output is in .output."""
    def run(embryo, *words, options=()):
        done = subprocess.run([f"{programs}/p9", "load", *options, str(embryo.pid), *map(str, words)], text=True,
                              timeout=30, stdin=subprocess.DEVNULL, capture_output=True,
                              env={**os.environ, "PROC9": mount.path})
        assert done.returncode == (1 if done.stderr else 0), done
        run.output = done.stdout
        return done.stderr
    return run


def prepared(mount, *lines):
    """An embryo with its output in a file, and that file."""
    embryo = mount.efork()
    out = f"{mount.scratch}/load-{embryo.pid}"
    embryo.output_to(out)
    embryo.tell("env PATH=/usr/bin:/bin", "env LC_ALL=C", *lines)
    return embryo, Path(out)


def loaded(mount, load, words, *lines):
    embryo, out = prepared(mount, *lines)
    assert load(embryo, *words) == ""
    return embryo.wait().status, out.read_text()


def executed(mount, words, *lines):
    embryo, out = prepared(mount, *lines)
    embryo.tell("exec " + " ".join("'{}'".format(str(word).replace("'", "''")) for word in words))
    return embryo.wait().status, out.read_text()


# --- as exec does it ------------------------------------------------------------------------------------------------

GREETING = "env 'GREETING=good morning'"
CASES = ("arguments a 'b", "title x", "auxiliary", "memory", "heap", "threads", "signals", "children", "replaced",
         "vdso", "stack", "deep 1000", "deep 3000", "aborted", "descriptors 1", "descriptors 9")


@pytest.mark.parametrize("case", CASES)
def test_a_program_does_the_same_as_after_exec(mount, load, program, case):
    words = [program, *case.split()]
    status, output = loaded(mount, load, words, GREETING)
    assert (status, output) == executed(mount, words, GREETING)
    assert output or status.startswith("signal"), "a case that finds nothing"


@pytest.mark.parametrize("kind", KINDS)
def test_cpp_with_constructors_exceptions_and_threads(mount, load, compile_program, kind):
    words = [compile_program("modern.cpp", *KINDS[kind])]
    status, output = loaded(mount, load, words)
    assert (status, output) == executed(mount, words)
    assert (status, output.splitlines()[-1]) == ("exit 3", "gone program")


BASH = """
trap 'echo trapped' USR1
kill -USR1 $$
words=(one two three); echo ${#words[@]} "$(printf '%s-' "${words[@]}")" | tr a-z A-Z
diff <(seq 3) <(seq 4)
cat /etc/hostname > /dev/null & wait $!
exit $((40 + $?))
"""

PYTHON = """
import json, math, sqlite3, subprocess, sys, threading, time
base = sqlite3.connect(":memory:")
base.execute("create table t (n)")
base.executemany("insert into t values (?)", [(n,) for n in range(1000)])
print(json.dumps({"sum": base.execute("select sum(n) from t").fetchone()}))
sums = []
threads = [threading.Thread(target=lambda n=n: sums.append(sum(range(n * 10000)))) for n in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sum(sums), math.sin(1), time.monotonic() > 0)
print(subprocess.run(["/bin/echo", "a child"], capture_output=True, text=True).stdout, sys.executable)
def recurse(n): return n and 1 + recurse(n - 1)
print(recurse(900))
sys.exit(3)
"""


@pytest.mark.parametrize("interpreter, script, status", [
    ("/bin/bash", BASH, "exit 40"), ("/usr/bin/python3", PYTHON, "exit 3"),
    ("/usr/bin/perl", "print 6 * 7; exit 2", "exit 2")])
def test_an_interpreter_with_a_script(mount, load, tmp_path, interpreter, script, status):
    (tmp_path / "script").write_text(script)
    words = [interpreter, tmp_path / "script"]
    result = loaded(mount, load, words)
    assert result == executed(mount, words)
    assert result[0] == status, result


@pytest.mark.parametrize("words", [["seq", "3"],
                                   ["sh", "-c", "echo $0 | while read name; do echo $name; done; exit 4"]])
def test_static_busybox(mount, load, words):
    words = [shutil.which("busybox"), *words]
    result = loaded(mount, load, words)
    assert result == executed(mount, words)
    assert result[1] != ""


def test_who_starts_itself_again_by_its_exe_link_needs_that_link(mount, load, mode):
    """It is set by `exe`, which not everybody may say."""
    words = [shutil.which("busybox"), "sh", "-c", "busybox echo again"]
    assert executed(mount, words)[1] == "again\n"
    assert loaded(mount, load, words)[1] == ("again\n" if mode == "root" else "")


@pytest.mark.parametrize("options, protection", [
    (["-Wl,-z,max-page-size=0x200000"], "rw-"), (["-Wl,-z,noseparate-code"], "rw-"), (["-Wl,-z,execstack"], "rwx"),
    (["-Wl,-z,norelro"], "rw-"), (["-static", "-Wl,-z,max-page-size=0x200000"], "rw-")])
def test_ways_to_link(mount, load, compile_program, options, protection):
    words = [compile_program("program.c", *options), "memory"]
    assert loaded(mount, load, words) == executed(mount, words) == ("", "0 others, 1 2 3\n")
    embryo, _ = prepared(mount)
    assert load(embryo, *words, options=["--hold"]) == ""
    assert [prot for start, _, prot in embryo.ranges() if start > 0x7ffb00000000][-1] == protection
    if "max-page-size" in options[-1]:
        assert embryo.maps()[0].start % 0x200000 == 0


def test_time_comes_from_the_vdso_without_a_system_call(mount, load, compile_program):
    """Whether it can at all is up to the machine's clock, so exec is asked first."""
    words = [compile_program("program.c"), "vdso"]
    forbidden = ("nonewprivs", "seccomp deny clock_gettime")
    assert loaded(mount, load, words, *forbidden) == executed(mount, words, *forbidden)
    without, _ = prepared(mount)
    assert load(without, *words, options=["--hold"]) == ""
    code = next(region for region in without.maps() if region.line.endswith("[vdso]"))
    assert code.prot == "r-xp"


def test_random_bytes_and_places_are_others_each_time(mount, load, compile_program):
    words = [compile_program("program.c"), "random"]
    assert len({loaded(mount, load, words)[1] for _ in range(3)}) == 3
    plans = []
    for _ in range(3):
        assert load(mount.efork(), *words, options=["--plan"]) == ""
        plans.append(re.findall(r"^(?:map|map vdso|entry|reg \w+) (0x[0-9a-f]+)", load.output, re.M))
    assert all(len(set(addresses)) == 3 for addresses in zip(*plans)), plans


def test_a_path_with_everything_that_must_be_quoted(mount, load, compile_program, tmp_path):
    odd = tmp_path / "a \"b\" 'c' \\ #\n\t\xe9"
    shutil.copy(compile_program("program.c", "-static"), odd)
    embryo, out = prepared(mount)
    assert load(embryo, odd, "arguments") == ""
    assert embryo.wait().status == ""
    assert out.read_text().startswith(f"2\n{odd}\narguments\n(end)\n")


def test_a_relative_path_begins_where_load_is_called(mount, programs, compile_program):
    """And the embryo's own working directory is what it was."""
    embryo, out = prepared(mount)
    folder, name = os.path.split(compile_program("program.c", "-static"))
    subprocess.run([f"{programs}/p9", "load", str(embryo.pid), name, "arguments"], cwd=folder, check=True, timeout=10,
                   env={**os.environ, "PROC9": mount.path})
    assert (embryo.wait().status, out.read_text().splitlines()[1]) == ("", name)


# --- what it is told ------------------------------------------------------------------------------------------------

def test_the_limit_of_the_stack_is_its_size(mount, load, compile_program):
    words = [compile_program("program.c"), "stack"]
    assert loaded(mount, load, words, "limit STACK 2M")[1] == "2 MiB\n"
    assert loaded(mount, load, words, "limit STACK unlimited:unlimited")[1] == "1024 MiB\n"


def test_arguments_that_do_not_fit_are_refused(mount, load):
    embryo, _ = prepared(mount, "limit STACK 128K")
    assert load(embryo, "/bin/echo", "x" * 40000) == \
        "p9: arguments and environment do not fit into 32768 bytes of stack\n"
    assert embryo.ranges() == []


def test_the_environment_is_that_of_the_embryo(mount, load):
    lines = ("env EMPTY=", "env A=b=c", "env 'LINES=one\"two'", "env 'SPACE= x '")
    words = ["/usr/bin/env", "-0"]
    status, output = loaded(mount, load, words, *lines)
    expected = executed(mount, words, *lines)
    assert sorted(output.split("\0")) == sorted(expected[1].split("\0"))
    assert (status, "A=b=c" in output.split("\0")) == ("", True)


def test_hold_builds_it_and_entry_starts_it(mount, load):
    embryo, out = prepared(mount)
    assert load(embryo, "/bin/echo", "held", options=["--hold"]) == ""
    assert embryo.read("ctl").split()[1] == "embryo"
    assert len(embryo.ranges()) > 10
    embryo.tell("entry")
    assert (embryo.wait().status, out.read_text()) == ("", "held\n")


def test_what_is_held_is_a_template(mount, load):
    embryo, out = prepared(mount)
    assert load(embryo, "/bin/echo", "again", options=["--hold"]) == ""
    embryo.tell("fork second")
    second = mount.embryo("second")
    for each in (embryo, second):
        each.tell("entry")
        assert each.wait().status == ""
    assert out.read_text() == "again\nagain\n"


def test_plan_changes_nothing_and_is_what_ctl_takes(mount, load):
    embryo, _ = prepared(mount)
    assert load(embryo, "/bin/echo", "x", options=["--plan"]) == ""
    assert (embryo.ranges(), embryo.read("ctl").split()[1]) == ([], "embryo")
    plan = load.output.splitlines()
    assert plan[-1] == "entry"
    assert sum(line.startswith("# ") for line in plan) == 3, "two last pages of data, and the stack"
    embryo.tell(*[line for line in plan[:-1] if not line.startswith("exe ")])
    mapped = {int(start, 16) for start in re.findall(r"^map (?:vdso )?(0x[0-9a-f]+)", load.output, re.M)}
    assert mapped <= {region.start for region in embryo.maps()}


def test_what_is_mapped_already_stays(mount, load):
    embryo, out = prepared(mount, "map 0x600000 4K rw-")
    assert load(embryo, "/bin/echo", "beside") == ""
    assert (embryo.wait().status, out.read_text()) == ("", "beside\n")


def test_something_in_the_way_is_refused_before_anything_is_built(mount, load, compile_program):
    embryo, _ = prepared(mount, "map 0x401000 4K rw-")
    program = compile_program("program.c", "-no-pie")
    assert re.fullmatch(rf"p9: {program}: something is at 0x400000-0x[0-9a-f]+ already\n", load(embryo, program))
    assert embryo.ranges() == [(0x401000, 0x402000, "rw-")]


@pytest.mark.mode("root")
def test_the_program_is_that_of_the_embryos_root(mount, load, compile_program, tmp_path):
    """Also where a link in it is absolute."""
    (tmp_path / "bin").mkdir()
    shutil.copy(compile_program("program.c", "-static"), tmp_path / "bin/real")
    (tmp_path / "bin/link").symlink_to("/bin/real")
    embryo, out = prepared(mount, f"chroot {tmp_path}")
    assert load(embryo, "/bin/link", "arguments") == ""
    assert (embryo.wait().status, out.read_text().splitlines()[:2]) == ("", ["2", "/bin/link"])


# --- what exec does and this does not -------------------------------------------------------------------------------

def asleep(mount, load, *lines):
    """A loaded program that waits for its end."""
    embryo, _ = prepared(mount, *lines)
    assert load(embryo, "/bin/sleep", "1000") == ""
    assert eventually(lambda: "libc.so.6" in read(f"/proc/{embryo.pid}/maps"))
    return embryo


def test_what_the_kernel_shows_of_it(mount, load, mode):
    embryo = asleep(mount, load)
    of = f"/proc/{embryo.pid}"
    assert read(f"{of}/comm") == "sleep\n"
    assert (read(f"{of}/cmdline"), read(f"{of}/environ")) == ("", "")
    exe = os.readlink(f"{of}/exe")
    assert exe == "/usr/bin/sleep" if mode == "root" else exe.startswith("/memfd:proc9-stub")
    assert not [region for region in kernel_maps(embryo.pid) if region.line.endswith("[stack]")]
    pairs = dict(struct.iter_unpack("<QQ", Path(f"{of}/auxv").read_bytes()))
    assert pairs[AT_PHDR] == 0, "the kernel goes on telling of the blank process"


def test_what_the_kernel_places_is_where_it_is_in_all_processes_of_a_daemon(mount, load):
    """The places of libraries were drawn when the first blank process was made."""
    def libc():
        return min(region.start for region in kernel_maps(asleep(mount, load).pid) if "libc.so.6" in region.line)
    assert libc() == libc()


def test_what_load_places_is_random_without_randomisation_too(mount, load):
    def linker():
        embryo = asleep(mount, load, "personality addr-no-randomize")
        return min(region.start for region in kernel_maps(embryo.pid) if "ld-linux" in region.line)
    assert linker() != linker()


@pytest.mark.mode("root")
def test_a_page_of_stack_that_is_used_takes_two(mount, load):
    """One in the memfd, where it was empty, and the process's own."""
    embryo = asleep(mount, load)
    stack = max(kernel_maps(embryo.pid), key=lambda region: region.start)
    place = stack.line.split()[0]
    assert "/memfd:" in stack.line

    def in_memfd_and_own():
        own = re.search(r"^Anonymous: +(\d+) kB", read(f"/proc/{embryo.pid}/smaps").split(place)[1], re.M)
        return os.stat(f"/proc/{embryo.pid}/map_files/{place}").st_blocks * 512, int(own.group(1)) * 1024
    assert eventually(lambda: len(set(in_memfd_and_own())) == 1), in_memfd_and_own()
    assert in_memfd_and_own()[0] >= PAGE


def test_descriptors_that_are_close_on_exec_stay_open(mount, load, compile_program):
    lines = ("fd 7 open /dev/null w", "fd 7 cloexec on")
    words = [compile_program("program.c"), "descriptors", "7"]
    assert loaded(mount, load, words, *lines)[1] == "0\n"
    assert executed(mount, words, *lines)[1] == "9\n"


@pytest.mark.mode("root")
def test_the_set_user_id_bit_is_not_heeded(mount, load, compile_program, tmp_path):
    os.chmod(tmp_path, 0o755)
    program = shutil.copy(compile_program("program.c"), tmp_path / "program")
    os.chown(program, 1, 1)
    os.chmod(program, 0o4755)
    effective = re.compile(r"^12: (\w+)$", re.M)  # AT_EUID
    assert effective.search(loaded(mount, load, [program, "auxiliary"])[1]).group(1) == "0"
    assert effective.search(executed(mount, [program, "auxiliary"])[1]).group(1) == "1"


@pytest.mark.mode("root")
def test_rights_that_differ_are_told_as_by_exec(mount, load, compile_program):
    words = [compile_program("program.c"), "auxiliary"]
    output = loaded(mount, load, words, "gid 0 7 0")[1]
    assert output == executed(mount, words, "gid 0 7 0")[1]
    assert "\n23: 1\n" in output


@pytest.mark.mode("root")
def test_capabilities_stay_where_exec_computes_them(mount, load):
    words = ["/bin/grep", "CapEff", "/proc/self/status"]
    assert loaded(mount, load, words, "caps effective -all")[1] == "CapEff:\t0000000000000000\n"
    assert executed(mount, words, "caps effective -all")[1] != "CapEff:\t0000000000000000\n"


def test_the_right_to_read_is_needed_and_the_right_to_execute_is_not(mount, load, compile_program, tmp_path, mode):
    program = shutil.copy(compile_program("program.c", "-static"), tmp_path / "program")
    os.chmod(program, 0o600)
    assert loaded(mount, load, [program, "vdso"]) == ("", "0 1\n")
    os.chmod(program, 0o111)
    embryo, _ = prepared(mount)
    assert load(embryo, program) == ("" if mode == "root" else f"p9: {program}: Permission denied\n")


@pytest.mark.mode("root")
def test_a_mount_without_exec_is_refused_as_by_exec(mount, load, compile_program, tmp_path):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec,mode=755", "none", tmp_path], check=True, timeout=10)
    try:
        program = shutil.copy(compile_program("program.c", "-static"), tmp_path / "program")
        embryo, _ = prepared(mount)
        assert "Operation not permitted" in load(embryo, program)
        mount.sweep()
    finally:
        subprocess.run(["umount", tmp_path], check=True, timeout=10)


# --- what is refused ------------------------------------------------------------------------------------------------

TYPE, MACHINE, ENTRY, TABLE, HEADER_SIZE, HEADERS = 16, 18, 24, 32, 54, 56
FIRST = 64  # the program headers of the file below: PT_LOAD r-x, PT_LOAD rw- with zeros behind, PT_INTERP
OFFSET, ADDRESS, IN_FILE, IN_MEMORY, ALIGN = 8, 16, 32, 40, 48


def small_elf():
    """A program of two segments, and room for an interpreter's name."""
    header = b"\x7fELF\2\1\1" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x400100, 64, 0, 0, 64, 56, 3, 0, 0, 0)
    segments = struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, 0x1000, 0x1000, 0x1000)
    segments += struct.pack("<IIQQQQQQ", 1, 6, 0x1000, 0x401000, 0x401000, 0x80, 0x3000, 0x1000)
    segments += struct.pack("<IIQQQQQQ", 0, 4, 0x1000, 0x401000, 0x401000, 0x20, 0x20, 1)
    code = b"\xbf\x2a\0\0\0\xb8\x3c\0\0\0\x0f\x05"  # exit(42)
    return (header + segments).ljust(0x100, b"\0") + code.ljust(0xf00, b"\0") + b"/nonexistent".ljust(0x80, b"\0")


def changed(*changes):
    elf = bytearray(small_elf())
    for offset, form, value in changes:
        struct.pack_into("<" + form, elf, offset, value)
    return bytes(elf)


def segment(number, field):
    return FIRST + 56 * number + field


DISORDER = "segments overlap, or are not in the order of their addresses"
TOO_FAR = "a segment does not fit into the address space"
INTERPRETER = (segment(2, 0), "I", 3)
HOSTILE = {
    "empty": (b"", "not an ELF file"),
    "a script": (b"#!/bin/sh\n", "a script: load its interpreter, with the script as an argument"),
    "text": (b"hello\n" * 100, "not an ELF file"),
    "header cut": (small_elf()[:40], "truncated, the header is not there"),
    "table cut": (small_elf()[:100], "truncated, the program header table is not there"),
    "table far away": (changed((TABLE, "Q", 2**64 - 8)), "truncated, the program header table is not there"),
    "segment cut": (small_elf()[:0x1010], "truncated, a segment goes on beyond the end of the file"),
    "32 bits": (changed((4, "B", 1)), "not a 64-bit file"),
    "big-endian": (changed((5, "B", 2)), "not little-endian"),
    "version": (changed((6, "B", 9)), "of an unknown version of ELF"),
    "another machine": (changed((MACHINE, "H", 183)), "not for x86-64"),
    "an object file": (changed((TYPE, "H", 1)), "not a program"),
    "size of headers": (changed((HEADER_SIZE, "H", 32)), "program headers of a wrong size"),
    "no headers": (changed((HEADERS, "H", 0)), "no program headers"),
    "many headers": (changed((HEADERS, "H", 0xffff)), "too many program headers"),
    "nothing to load": (changed((segment(0, 0), "I", 0), (segment(1, 0), "I", 0)), "nothing in it is to be loaded"),
    "file larger": (changed((segment(1, IN_MEMORY), "Q", 0x10)), "a segment is larger in the file than in memory"),
    "wraps": (changed((segment(1, IN_MEMORY), "Q", 2**64 - 1)), TOO_FAR),
    "the kernel's": (changed((segment(1, ADDRESS), "Q", 0xffffffff80000000)), TOO_FAR),
    "offset wraps": (changed((segment(1, OFFSET), "Q", 2**64 - 0x1000)),
                     "truncated, a segment goes on beyond the end of the file"),
    "alignment": (changed((segment(1, ALIGN), "Q", 3)), "the alignment of a segment is not a power of two"),
    "within a page": (changed((segment(1, ADDRESS), "Q", 0x401010)),
                      "address and file offset of a segment differ within a page"),
    "overlap": (changed((segment(1, ADDRESS), "Q", 0x400000)), DISORDER),
    "order": (changed((segment(1, ADDRESS), "Q", 0x3f0000)), DISORDER),
    "entry": (changed((ENTRY, "Q", 0x401000)), "its entry 0x401000 is not in executable memory"),
    "interpreter empty": (changed(INTERPRETER, (segment(2, IN_FILE), "Q", 0)),
                          "the name of its interpreter is empty"),
    "interpreter long": (changed(INTERPRETER, (segment(2, IN_FILE), "Q", 2**40)),
                         "the name of its interpreter is too long"),
    "interpreter without end": (changed(INTERPRETER, (segment(2, IN_FILE), "Q", 4)),
                                "the name of its interpreter has no end"),
    "interpreter relative": (changed(INTERPRETER, (0x1000, "B", 65)), "its interpreter has no absolute path"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_is_no_program_is_refused(mount, load, tmp_path, name):
    contents, reason = HOSTILE[name]
    (tmp_path / "program").write_bytes(contents)
    embryo, _ = prepared(mount)
    assert load(embryo, tmp_path / "program") == f"p9: {tmp_path}/program: {reason}\n"
    assert (embryo.ranges(), embryo.read("ctl").split()[1]) == ([], "embryo")


def test_the_file_that_these_are_made_of_is_a_program(mount, load, tmp_path):
    (tmp_path / "program").write_bytes(small_elf())
    assert loaded(mount, load, [tmp_path / "program"]) == ("exit 42", "")


def test_a_segment_that_is_all_zeros(mount, load, tmp_path):
    """Also at an address and an offset that do not agree: nothing is taken from the file."""
    zeros = changed((segment(1, IN_FILE), "Q", 0), (segment(1, ADDRESS), "Q", 0x401234),
                    (segment(1, IN_MEMORY), "Q", 0x1000))
    (tmp_path / "program").write_bytes(zeros)
    embryo, _ = prepared(mount)
    assert load(embryo, tmp_path / "program", options=["--hold"]) == ""
    assert embryo.ranges()[:2] == [(0x400000, 0x401000, "r-x"), (0x401000, 0x403000, "rw-")]
    assert Path(embryo.P("mem", "401000")).read_bytes() == bytes(0x2000)


def test_the_page_where_the_file_ends_is_zero_behind_it(mount, load, tmp_path):
    """Also where it may not be written, and where the file goes on."""
    (tmp_path / "program").write_bytes(changed((segment(1, 4), "I", 4)) + b"more" * 1000)
    embryo, _ = prepared(mount)
    assert load(embryo, tmp_path / "program", options=["--hold"]) == ""
    assert embryo.ranges()[1:3] == [(0x401000, 0x402000, "r--"), (0x402000, 0x404000, "r--")]
    assert Path(embryo.P("mem", "401000")).read_bytes() == b"/nonexistent".ljust(PAGE, b"\0")


@pytest.mark.parametrize("what, reason", [("directory", "not a regular file"), ("fifo", "not a regular file"),
                                          ("nothing", "No such file or directory")])
def test_what_is_no_file(mount, load, tmp_path, what, reason):
    path = tmp_path / "program"
    {"directory": path.mkdir, "fifo": lambda: os.mkfifo(path), "nothing": lambda: None}[what]()
    assert load(prepared(mount)[0], path) == f"p9: {path}: {reason}\n"


def test_an_interpreter_that_is_not_there_or_is_none(mount, load, tmp_path):
    path = tmp_path / "program"
    path.write_bytes(changed(INTERPRETER))
    embryo, _ = prepared(mount)
    assert load(embryo, path) == "p9: /nonexistent: No such file or directory\n"
    path.write_bytes(changed(INTERPRETER)[:0x1000] + b"/etc/passwd".ljust(0x80, b"\0"))
    assert load(embryo, path) == "p9: /etc/passwd: not an ELF file\n"
    assert embryo.ranges() == []


def test_a_line_that_is_refused_later_leaves_what_was_built(mount, load):
    embryo, _ = prepared(mount, "limit AS 6M")
    reason = load(embryo, "/bin/echo", "x")
    assert re.match(r"p9: map: mmap: Cannot allocate memory: \"map 0x7ff[0-9a-f]+ 0x800000 rw-\"\n", reason), reason
    assert len(embryo.ranges()) > 10
    assert embryo.read("ctl").split()[1] == "embryo"


def test_an_embryo_that_is_none(mount, load, programs):
    gone = mount.efork()
    os.rmdir(gone.dir)
    assert load(gone, "/bin/true") == f"p9: {gone.pid}/ctl: No such file or directory\n"


def test_a_process_that_was_started_is_refused(mount, load):
    embryo = asleep(mount, load)
    assert "started" in load(embryo, "/bin/true")
    assert alive(embryo.pid)


@pytest.mark.parametrize("words", [[], ["1"], ["--what", "1", "/bin/true"]])
def test_usage(programs, words):
    done = subprocess.run([f"{programs}/p9", "load", *words], capture_output=True, text=True, timeout=10)
    assert (done.returncode, done.stdout) == (2, "")
    assert "p9 load" in done.stderr


@pytest.mark.timeout(120)
def test_mutated_headers_never_crash_the_loader_or_the_daemon(mount, load, compile_program, tmp_path):
    """Built, and not started: what such a program does is its own affair."""
    dice = random.Random(9)
    originals = [Path(compile_program("program.c", *options)).read_bytes() for options in KINDS.values()]
    originals.append(small_elf())
    path, refused, daemon = tmp_path / "program", 0, mount.pid
    values = [0, 1, 0xff, 0xfff, 0x1000, 0x7fffffff, 0xffffffff, 2**47 - 4096, 2**63, 2**64 - 1]
    for n in range(200):
        elf = bytearray(originals[n % len(originals)])
        size = 64 + 56 * struct.unpack_from("<H", elf, HEADERS)[0]
        for _ in range(dice.choice((1, 1, 2, 4))):
            if dice.random() < 0.5:
                elf[dice.randrange(4, size)] = dice.randrange(256)
            else:
                struct.pack_into("<Q", elf, dice.randrange(16, size // 8 * 8, 8), dice.choice(values))
        path.write_bytes(elf[:dice.randrange(size)] if dice.random() < 0.1 else elf)
        embryo = mount.efork()
        refused += load(embryo, path, options=["--hold"]) != ""  # that it ends with 0 or 1 is checked there
        embryo.tell("kill")
        assert mount.running() and mount.pid == daemon
    assert 50 < refused < 200
