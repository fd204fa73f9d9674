"""entry: a process made by hand, without a compiler and without a file to execute."""
import os
import struct

import pytest

import machine_code as code
from mount import Embryo

HELLO = code.hello(b"made by hand\n", 42)
OCTAL = "".join(f"\\{byte:03o}" for byte in HELLO)
DATA = code.DATA


# --- by hand, in four languages -------------------------------------------------------------------------------------

@pytest.mark.parametrize("shell", ["dash", "bash", "busybox sh"])
def test_by_hand_with_printf_and_cp(mount, shell):
    out = mount.out(f"""
        mkdir $PROC9/byhand; cd $PROC9/byhand
        printf '{OCTAL}' > $OLDPWD/code
        cp $OLDPWD/code mem/400000
        chmod 500 mem/400000
        ln -s /dev/stdout fd/1
        echo 'entry 0x400000' > ctl
        cat wait
    """, shell=shell)
    said, wait = out.splitlines()
    assert said == "made by hand"
    assert wait.endswith(" 'exit 42'")


def test_by_hand_in_python(mount, tmp_path):
    program = f"""
import os
proc9 = os.environ["PROC9"]
os.mkdir(proc9 + "/byhand")
os.chdir(proc9 + "/byhand")
with open("mem/400000", "wb") as f: f.write(bytes.fromhex("{HELLO.hex()}"))
os.chmod("mem/400000", 0o500)
os.symlink("/dev/stdout", "fd/1")
with open("ctl", "w") as f: f.write("entry 0x400000\\n")
print(open("wait").read(), end="")
"""
    (tmp_path / "byhand.py").write_text(program)
    said, wait = mount.out(f"/usr/bin/python3 {tmp_path}/byhand.py").splitlines()
    assert (said, wait.split(" ", 4)[4]) == ("made by hand", "'exit 42'")


def test_by_hand_in_perl(mount, tmp_path):
    program = f"""
use strict; use autodie;
mkdir "$ENV{{PROC9}}/byhand"; chdir "$ENV{{PROC9}}/byhand";
open my $mem, ">:raw", "mem/400000"; print $mem pack("H*", "{HELLO.hex()}"); close $mem;
chmod 0500, "mem/400000";
symlink "/dev/stdout", "fd/1";
open my $ctl, ">", "ctl"; print $ctl "entry 0x400000\\n"; close $ctl;
open my $wait, "<", "wait"; print <$wait>;
"""
    (tmp_path / "byhand.pl").write_text(program)
    said, wait = mount.out(f"perl {tmp_path}/byhand.pl").splitlines()
    assert (said, wait.split(" ", 4)[4]) == ("made by hand", "'exit 42'")


def test_by_hand_in_awk(mount, tmp_path):
    """awk has neither chmod nor symlink: it says `protect` and `fd 1 open` instead."""
    numbers = " ".join(map(str, HELLO))
    program = f"""BEGIN {{
        proc9 = ENVIRON["PROC9"]
        print "efork byhand" > (proc9 "/ctl"); close(proc9 "/ctl")
        dir = proc9 "/byhand/"
        n = split("{numbers}", byte, " ")
        for (i = 1; i <= n; i++) printf "%c", byte[i] + 0 > (dir "mem/400000")
        close(dir "mem/400000")
        printf "protect 0x400000 4096 r-x\\nfd 1 open {tmp_path}/out w 0600\\nentry 0x400000\\n" > (dir "ctl")
        close(dir "ctl")
        getline line < (dir "wait"); print line
    }}"""
    (tmp_path / "byhand.awk").write_text(program)
    wait = mount.out(f"LC_ALL=C gawk -f {tmp_path}/byhand.awk")
    assert wait.endswith(" 'exit 42'\n")
    assert (tmp_path / "out").read_text() == "made by hand\n"


# --- registers ------------------------------------------------------------------------------------------------------

def registers_at_start(embryo, how=""):
    """Starts code that stores every register into a shared page, and reads that page."""
    embryo.tell(f"map {DATA:#x} 4K rw- shared")
    code.load(embryo, code.store_all_registers(DATA))
    with open(embryo.P("mem", f"{DATA:x}"), "rb", buffering=0) as page:
        embryo.tell(f"entry {code.CODE:#x} {how}".rstrip())
        assert embryo.wait().status == ""
        page.seek(0)
        values = struct.unpack("<16Q", page.read(128))
    return {name: value for name, value in zip(code.REGISTERS, values) if value}


def test_all_registers_are_zero_unless_set(embryo):
    assert registers_at_start(embryo) == {}


def test_arguments_are_those_of_the_c_calling_convention(embryo):
    assert registers_at_start(embryo, "arg0=1 arg1=2 arg2=3 arg3=4 arg4=5 arg5=0xffffffffffffffff") == {
        "rdi": 1, "rsi": 2, "rdx": 3, "rcx": 4, "r8": 5, "r9": 0xffffffffffffffff}


def test_sp(embryo):
    embryo.tell("map 0x7f0000000000 64K rw-")
    assert registers_at_start(embryo, "sp=0x7f0000010000") == {"rsp": 0x7f0000010000}


def test_reg_sets_registers(embryo):
    embryo.tell("reg rax 1", "reg rbx 0x10", "reg r15 0xfedcba9876543210")
    assert registers_at_start(embryo) == {"rax": 1, "rbx": 0x10, "r15": 0xfedcba9876543210}


def test_the_regs_file_reads_and_writes_lines_of_name_and_value(embryo):
    embryo.write("regs", "rax 0x1\nrbp 0x22\n")
    lines = dict(line.split(" ") for line in embryo.read("regs").splitlines())
    assert (lines["rax"], lines["rbp"]) == ("0x1", "0x22")
    assert {int(value, 16) for name, value in lines.items() if name not in ("rax", "rbp")} == {0}
    assert set(code.REGISTERS) | {"rip"} <= set(lines)
    assert registers_at_start(embryo) == {"rax": 1, "rbp": 0x22}


def test_a_register_that_is_none_is_EINVAL(embryo):
    assert embryo.ask("reg rzz 1") == "EINVAL"
    assert embryo.ask("reg rax x") == "EINVAL"


# --- how it goes wrong ----------------------------------------------------------------------------------------------

def test_entry_where_nothing_is_mapped(embryo):
    """Refused, or the process dies of it: but the tests of the mount go on."""
    answer = embryo.ask(f"entry {code.CODE:#x}")
    if isinstance(answer, int):
        assert embryo.wait().status == "signal 11 SEGV"
    else:
        assert answer in ("EFAULT", "EINVAL", "ENOENT", "ENOMEM")


@pytest.mark.parametrize("line", ["entry", "entry x", "entry 0x400000 arg9=1", "entry 0x400000 sp"])
def test_entry_with_words_that_are_none_is_EINVAL(embryo, line):
    code.load(embryo, code.PAUSE_FOR_EVER)
    assert embryo.ask(line) == "EINVAL"


def test_a_crash_is_the_signal_it_died_of(embryo):
    code.load(embryo, b"\x0f\x0b")  # ud2
    embryo.tell(f"entry {code.CODE:#x}")
    assert embryo.wait().status == "signal 4 ILL"


def test_a_busy_loop_is_stopped_and_killed(embryo):
    code.load(embryo, code.LOOP)
    embryo.tell(f"entry {code.CODE:#x}", "stop", "start", "kill")
    assert embryo.wait().status == "signal 9 KILL"


def test_code_shared_by_a_hundred_processes(mount):
    """Each one is given a link to the same pages and an argument of its own."""
    first = mount.efork()
    code.load(first, code.EXIT_WITH_RDI)
    others = [mount.efork() for _ in range(100)]
    for other in others:
        link_code(first, other)
    for n, other in enumerate(others):
        other.tell(f"entry {code.CODE:#x} arg0={n}")
    assert [other.wait().status for other in others] == [f"exit {n}" if n else "" for n in range(100)]


def link_code(source: Embryo, target: Embryo):
    os.link(source.P("mem", f"{code.CODE:x}"), target.P("mem", f"{code.CODE:x}"))
