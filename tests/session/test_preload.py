"""libproc9_preload.so: whatever a program does with it comes out as without it, and all of its children go through
proc9."""
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mount import eventually, read

SOURCE = Path(__file__).resolve().parents[1] / "client/spawn_cases.c"
CASES = re.findall(r"^\s+SHOW\((\w+)\)", SOURCE.read_text(), re.M)
SUITE = ("test_subprocess", "test_posix")


@pytest.fixture
def library(programs):
    return f"{programs}/libproc9_preload.so"


@pytest.fixture
def place(tmp_path):
    """An empty directory of always the same name."""
    folder = tmp_path / "place"

    def anew():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder
    return anew


def environment(folder, **more):
    kept = {name: os.environ[name] for name in ("PATH", "USER", "LOGNAME") if name in os.environ}
    return {**kept, "LC_ALL": "C", "HOME": str(folder), "TMPDIR": str(folder), **more}


def run(words, folder, timeout=50, **variables):
    done = subprocess.run([str(word) for word in words], cwd=folder, env=environment(folder, **variables),
                          timeout=timeout, text=True, errors="surrogateescape", stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


def figure(mount, name):
    return json.loads(read(mount.P("stats.json")))[name]


def both_ways(words, place, mount, library, **options):
    """What came of it without the library, and with it."""
    plain = run(words, place(), **options)
    return plain, run(words, place(), PROC9=mount.path, LD_PRELOAD=library, **options)


# --- one call at a time ---------------------------------------------------------------------------------------------

def test_the_cases_are_those_of_the_program(programs):
    listed = subprocess.run([f"{programs}/spawn_cases"], capture_output=True, text=True, check=True).stdout.split()
    assert listed == CASES


@pytest.mark.parametrize("case", CASES)
def test_case(mount, programs, library, place, case):
    before = figure(mount, "starts")
    plain, preloaded = both_ways([f"{programs}/spawn_cases", case], place, mount, library)
    assert preloaded == plain
    assert plain[0] == 0 and plain[1] != ""
    assert figure(mount, "starts") > before or "exit" not in plain[1], "no child went through proc9"
    assert eventually(lambda: mount.ids() == []), "something is left of a child"


# --- without a mount ------------------------------------------------------------------------------------------------

ALL = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def outcome(call):
    try:
        return call()
    except OSError as problem:
        return errno.errorcode[problem.errno]
def spawn():
    actions = [(os.POSIX_SPAWN_OPEN, 5, "/dev/null", os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, 5, 6),
               (os.POSIX_SPAWN_CLOSE, 5)]
    script = "exit $(ls /proc/self/fd | grep -c -e ^5$ -e ^6$)"
    return os.waitpid(os.posix_spawn("/bin/sh", ["sh", "-c", script], os.environ, file_actions=actions), 0)[1]
def fork():
    child = os.fork()
    if child == 0: os._exit(4)
    return os.waitpid(child, 0)[1]
def system():
    status = libc.system(b"exit 5")
    return errno.errorcode[ctypes.get_errno()] if status == -1 else status
def popen():
    libc.popen.restype = ctypes.c_void_p
    stream = libc.popen(b"exit 6", b"r")
    return libc.pclose(ctypes.c_void_p(stream)) if stream else errno.errorcode[ctypes.get_errno()]
print(outcome(spawn), outcome(fork), system(), popen())
"""


def test_without_a_mount_every_call_fails(library, place):
    done = run(["/usr/bin/python3", "-c", ALL], place(), PROC9="/nonexistent", LD_PRELOAD=library)
    assert done == (0, "ENOENT ENOENT ENOENT ENOENT\n")


def test_without_a_mount_the_library_of_c_does_it_if_that_is_wanted(library, place):
    wanted = run(["/usr/bin/python3", "-c", ALL], place())
    done = run(["/usr/bin/python3", "-c", ALL], place(), PROC9="/nonexistent", LD_PRELOAD=library, PROC9_FALLBACK="1")
    assert done == wanted == (0, "256 1024 1280 1536\n")


def test_where_there_is_a_mount_nothing_falls_back(mount, library, place):
    before = figure(mount, "starts")
    run(["/usr/bin/python3", "-c", ALL], place(), PROC9=mount.path, LD_PRELOAD=library, PROC9_FALLBACK="1")
    assert figure(mount, "starts") == before + 7  # the four, and three of the script's own


def test_every_action_is_translated_for_the_library_of_c(programs, library, place):
    for case in ("directories", "directories_of_descriptors", "closed_from", "foreground", "duplicates", "open_refused"):
        words = [f"{programs}/spawn_cases", case]
        plain = run(words, place())
        assert run(words, place(), PROC9="/nonexistent", LD_PRELOAD=library, PROC9_FALLBACK="1") == plain


# --- real programs --------------------------------------------------------------------------------------------------

C_PROJECT = r"""
printf 'int one(void);\nint main(void) { return one() - 1; }\n' >main.c
printf 'int one(void) { return 1; }\n' >one.c
"""
PYTHON = r"""
import os, pwd, subprocess, sys
def tell(*words, **options):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    print(done.returncode, done.stdout)
kept = os.open("/dev/null", os.O_RDONLY)
os.dup2(kept, 40)
fds = "ls -1 /proc/self/fd | sort -n | grep -v -e '^3$' -e '^4$' | tr '\n' ' '"
tell("sh", "-c", fds, close_fds=True)
tell("sh", "-c", fds, close_fds=False)
tell("sh", "-c", fds, pass_fds=(40,))
tell("sh", "-c", "umask; pwd", umask=0o27, cwd="/")
tell("sh", "-c", "echo $A", env={"A": "b", "PATH": os.environ["PATH"]})
tell("sh", "-c", "exit 3", preexec_fn=lambda: os.write(1, b"before exec\n"))
tell("sh", "-c", "ps -o sid= -p $$ | tr -d ' ' | grep -qx $$", start_new_session=True)
if os.getuid() == 0:
    tell("id", "-un", user="nobody", group="nogroup", extra_groups=[])
for wrong in ("/nonexistent", "/etc/passwd"):
    try:
        tell(wrong)
    except OSError as problem:
        print(problem)
a = subprocess.Popen(["seq", "9"], stdout=subprocess.PIPE)
b = subprocess.Popen(["sort", "-r"], stdin=a.stdout, stdout=subprocess.PIPE)
print(b.communicate()[0], a.wait())
print(subprocess.getstatusoutput("echo both; exit 2"), os.system("exit 4"))
with os.popen("cat >written", "w") as stream:
    stream.write("text")
print(open("written").read())
"""
PERL = r"""
$| = 1;
print "system ", system("exit 3") >> 8, " ", system("true", "word"), " ", system("/nonexistent"), "\n";
print "backticks ", `echo out; exit 2`, $? >> 8, "\n";
open(my $from, "-|", "seq", "3") or die; print <$from>; close $from;
open(my $to, "|-", "sort -r") or die; print $to "$_\n" for 1..3; close $to;
for my $code (1..5) { my $child = fork(); if ($child == 0) { exit $code } }
my $sum = 0; while ((my $child = wait()) > 0) { $sum += $? >> 8 }
print "sum $sum ", $!{ECHILD} ? "ECHILD" : "other", "\n";
"""
NODE = r"""
const { execSync, spawnSync, exec, spawn, fork, execFileSync } = require("child_process");
const fs = require("fs");
console.log(execSync("echo exec").toString(), spawnSync("sh", ["-c", "exit 3"]).status);
console.log(spawnSync("/nonexistent").error.code);
console.log(execFileSync("cat", { input: "through cat" }).toString());
console.log(spawnSync("sh", ["-c", "echo $A; pwd"], { env: { A: "b" }, cwd: "/" }).stdout.toString());
fs.writeFileSync("child.js", "process.on('message', m => { process.send(m + 1); process.disconnect(); })");
exec("exit 4", (problem) => {
  console.log("exec", problem.code);
  const child = spawn("sort", ["-r"], { stdio: ["pipe", "inherit", "inherit"] });
  child.stdin.end("1\n2\n3\n");
  child.on("exit", (code) => {
    console.log("sort", code);
    const other = fork("./child.js");
    other.on("message", (message) => console.log("message", message));
    other.on("exit", (end) => console.log("fork", end));
    other.send(41);
  });
});
"""

PROGRAMS = {
    "bash: pipelines, substitutions": r"""
seq 9 | sort -r | head -n 3 | tr '\n' ' '; (exit 4); echo $?; echo "$(echo inner; exit 3)" $?
cat <(echo of a process); coproc cat; echo through >&${COPROC[1]}; read -u ${COPROC[0]} line; echo $line
ended=$COPROC_PID; eval "exec ${COPROC[1]}>&-"; wait $ended; false | true; echo "${PIPESTATUS[@]}"; exec {n}>&1; echo shown >&$n
/nonexistent; echo $?; nonesuch; echo $?; trap 'echo ended' EXIT
for i in 1 2 3; do (sleep 0.$i; exit $i) & done; wait -n; echo $?; wait; echo $?""",

    "bash: job control": r"""
set -m; sleep 60 & kill -STOP %1; sleep 0.1; jobs -s | cut -c 1-14; kill -CONT %1; kill %1; wait %1; echo $?
(exit 5) & wait $!; echo $?; sleep 0.1 | cat; echo "${PIPESTATUS[@]}"
ps -o pgid= -p $$ | tr -d ' ' | grep -cx $$""",

    "dash": r"""dash -c '
echo $(echo a; exit 3) $?; seq 5 | tail -n 1; (exit 4) || echo $?; /nonexistent; echo $?
/bin/true & wait $!; echo $?'""",

    "gcc": C_PROJECT + r"""
gcc -o main main.c one.c && ./main; echo $?; gcc -pipe -O2 -flto -o main main.c one.c && ./main; echo $?
gcc -c nothing.c; echo $?; echo 'int x' >bad.c; gcc -c bad.c; echo $?; gcc -x c -E - <one.c | wc -l""",

    "make": C_PROJECT + r"""
printf 'main: main.o one.o\n\t$(CC) -o $@ $^\n%%.o: %%.c\n\t$(CC) -c $<\nwrong:\n\t@exit 3\n' >Makefile
printf 'all: main\n\t@echo $(shell echo of a shell)\n\t+@$(MAKE) -s wrong\n' >>Makefile
make -j2 -s main && ./main; echo $?; make -s all; echo $?""",

    "ninja": C_PROJECT + r"""
printf 'rule cc\n command = gcc -c $in -o $out\nrule ld\n command = gcc $in -o $out\n' >build.ninja
printf 'build main.o: cc main.c\nbuild one.o: cc one.c\nbuild main: ld main.o one.o\n' >>build.ninja
ninja -j2 >/dev/null && ./main; echo $?; ninja""",

    "git": r"""
export GIT_AUTHOR_DATE='2020-01-01 00:00 +0000' GIT_COMMITTER_DATE='2020-01-01 00:00 +0000'
git init -q -b main . && git config user.name A && git config user.email a@b
echo text >file && git add file && git commit -q -m one
printf '#!/bin/sh\necho hook\n' >.git/hooks/pre-commit && chmod 700 .git/hooks/pre-commit
echo more >>file && git commit -qam two; git log --oneline | cat; git diff HEAD~1 --stat
git clone -q . copy && git -C copy log -1 --format=%H; git gc -q; git fsck""",

    "perl": "perl -e " + shlex.quote(PERL),
    "python": "/usr/bin/python3 -c " + shlex.quote(PYTHON),
    "node": "node -e " + shlex.quote(NODE),

    "tar": r"""
mkdir in && seq 1000 >in/a && for f in z j J; do tar -c${f}f x.tar.$f in && tar -t${f}f x.tar.$f; done
rm in/a; tar -xf x.tar.z && wc -l <in/a; tar -cf x.tar --use-compress-program='gzip -9' in
tar -xf x.tar --to-command='wc -l'; tar -xf nothing.tar.gz; echo $?""",

    "xargs": r"""
seq 6 | xargs -n 2 echo; seq 4 | xargs -P 2 -n 1 sh -c 'exit 0'; echo $?
echo a | xargs sh -c 'exit 3'; echo $?; echo a | xargs /nonexistent; echo $?""",

    "find": r"""
touch a b c; find . -type f -name '[abc]' -exec echo {} \; | sort; find . -type f -exec sh -c 'echo $#' sh {} +
find . -name a -execdir pwd \;; find . -name a -exec false \; -print; find a -exec /nonexistent \;""",

    "awk": r"""for awk in gawk mawk; do $awk 'BEGIN {
    print system("exit 3"); "echo read" | getline x; print x; print "b\na" | "sort"; close("sort")
    while (("seq 3" | getline y) > 0) s += y; print s }'; done""",

    "gdb": r"""
gdb -nx -batch -ex 'shell echo from a shell' -ex 'file /bin/true' -ex 'starti' -ex 'continue' 2>&1 |
    grep -o -e 'from a.*' -e 'exited normally'""",

    "tclsh": r"""tclsh <<'END'
puts [exec seq 3 | tail -n 1]
puts [catch {exec false} x]
set f [open "|cat" r+]; puts $f through; flush $f; puts [gets $f]; close $f
END""",

    "vim": r"""vim -u NONE -N -es -c 'r !echo from a shell' -c 'w out' -c 'q!' </dev/null >/dev/null 2>&1; cat out""",

    "timeout, env, nice, nohup, setsid, flock": r"""
timeout 5 sh -c 'exit 3'; echo $?; timeout 0.1 sleep 5; echo $?; env A=b sh -c 'echo $A'; nice -n 3 nice
nohup echo yes; setsid -w sh -c 'exit 6'; echo $?; flock . sh -c 'exit 7'; echo $?""",
}
# They cannot trace what strace traces, so it does not see what they do otherwise.
TRACERS = {"gdb"}


def births(script, folder):
    """How many processes the script makes, as the kernel is asked for them; threads are none."""
    trace = folder.parent / "trace"
    tracer = ["strace", "-f", "-qq", "-e", "trace=clone,clone3,fork,vfork", "-o", trace]
    run([*tracer, "bash", "-c", script], folder, timeout=100)
    made = re.findall(r"(?:clone3?|v?fork)(?:\((.*)|.* resumed>.*)\) += \d+$", trace.read_text(errors="replace"), re.M)
    threads = len(re.findall(r"clone3?\(.*CLONE_THREAD", trace.read_text(errors="replace")))
    return len(made) - threads


@pytest.mark.timeout(200)
@pytest.mark.parametrize("name", PROGRAMS)
def test_program(mount, library, place, name):
    script = PROGRAMS[name]
    plain = run(["bash", "-c", script], place(), timeout=60)
    made = births(script, place())
    before = figure(mount, "starts")
    preloaded = run(["bash", "-c", script], place(), timeout=60, PROC9=mount.path, LD_PRELOAD=library)
    assert preloaded == plain
    assert plain[1] != ""
    started = figure(mount, "starts") - before
    assert started > 0 if name in TRACERS else started == made > 0, "children that did not go through proc9"
    assert eventually(lambda: mount.ids() == []), "something is left of a child"


def test_a_static_program_is_beyond_reach(mount, library, place):
    script = "busybox sh -c 'seq 4 | tail -n 1; echo $(echo sub); (exit 3); echo $?'"
    plain = run(["bash", "-c", script], place())
    before = figure(mount, "starts")
    assert run(["bash", "-c", script], place(), PROC9=mount.path, LD_PRELOAD=library) == plain == (0, "4\nsub\n3\n")
    assert figure(mount, "starts") == before


# --- the suite of Python --------------------------------------------------------------------------------------------

@pytest.mark.mode("user")  # long, and the same to root
@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", SUITE)
def test_the_suite_of_python_passes(mount, library, place, part):
    before = figure(mount, "starts")
    code, said = run(["/usr/bin/python3", "-m", "test", "-q", part], place(), timeout=280, PROC9=mount.path,
                     LD_PRELOAD=library)
    assert code == 0, said[-4000:]
    assert figure(mount, "starts") > before


# --- odd callers ----------------------------------------------------------------------------------------------------

@pytest.mark.mode("root")
def test_a_caller_of_many_groups(mount, library, place):
    """What the kernel says of such a process is long."""
    code = """
import os
os.setgroups(list(range(4000000000, 4000003000)))
for make in os.fork, lambda: os.posix_spawn("/bin/true", ["true"], os.environ):
    child = make()
    if child == 0: os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    plain, preloaded = both_ways([sys.executable, "-c", code], place, mount, library)
    assert preloaded == plain == (0, "0\n0\n")
