"""libproc9: what programs may expect of it, one case a run of tests/client/*_cases.c; the parts of Python's own test suite that
fork, under the preload library; and what the tree shows of such a child."""
import errno
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from mount import eventually, read

FOLDER = Path(__file__).resolve().parents[1] / "client"
CASES = [(source.stem, case) for source in sorted(FOLDER.glob("*_cases.c"))
         for case in re.findall(r"^\s+CASE\((\w+)\)", source.read_text(), re.M)]
SUITE = ("test_fork1", "test_wait3", "test_wait4", "test_posix", "test_os", "test_mailbox", "test_threading")


def environment(mount, **more):
    return {**os.environ, "PROC9": mount.path, "LC_ALL": "C", **more}


def run_case(mount, programs, program, case):
    return subprocess.run([f"{programs}/{program}", case], env=environment(mount), timeout=30, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def figure(mount, name):
    return json.loads(read(mount.P("stats.json")))[name]


@pytest.mark.parametrize("program", sorted({program for program, _ in CASES}))
def test_the_cases_are_those_of_the_program(programs, program):
    listed = subprocess.run([f"{programs}/{program}"], capture_output=True, text=True, check=True).stdout.split()
    assert listed == [case for name, case in CASES if name == program]


@pytest.mark.parametrize("program, case", [case for case in CASES if "daemon" not in case[1]])
def test_case(mount, programs, program, case):
    done = run_case(mount, programs, program, case)
    assert (done.returncode, done.stdout) == (0, "")
    assert eventually(lambda: mount.ids() == []), "the directory goes when the parent has waited, the zygote's with the parent"


def test_a_dead_daemon_is_ENOTCONN(private_mount, programs):
    private_mount.process.kill()
    private_mount.process.wait(10)
    done = run_case(private_mount, programs, "fork_cases", "a_dead_daemon_is_ENOTCONN")
    assert (done.returncode, done.stdout) == (0, "")


def test_it_survives_a_restart_of_the_daemon(private_mount, programs):
    """The zygote went with the old daemon: the next call makes one with the new one."""
    script = (f"import ctypes, os\nlibrary = ctypes.CDLL('{programs}/libproc9.so', use_errno=True)\n"
              "def start(code):\n"
              "    context = library.proc9_efork()\n"
              "    if context < 0: return os.strerror(ctypes.get_errno())\n"
              "    words = (ctypes.c_char_p * 4)(b'sh', b'-c', b'exit %d' % code, None)\n"
              "    assert library.proc9_exec(context, b'/bin/sh', words, None) == 0\n"
              "    return os.waitstatus_to_exitcode(os.waitpid(library.proc9_pid(context), 0)[1])\n"
              "while True: print(start(int(input())), flush=True)\n")
    with subprocess.Popen(["/usr/bin/python3", "-c", script], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, env=environment(private_mount)) as program:
        def start(code):
            program.stdin.write(f"{code}\n")
            program.stdin.flush()
            return program.stdout.readline().strip()
        assert [start(3), start(4)] == ["3", "4"]
        private_mount.process.kill()
        private_mount.process.wait(10)
        assert start(5) == os.strerror(errno.ENOTCONN)
        private_mount.kill()
        private_mount.start()
        assert [start(6), start(7)] == ["6", "7"]
        program.stdin.close()


def test_fork_under_strace_which_traces_the_children(mount, programs, tmp_path):
    """A tracer that follows the child must not be in the way: nothing of the start needs ptrace."""
    done = subprocess.run(["strace", "-f", "-o", tmp_path / "trace", f"{programs}/fork_cases", "children_fork_too"],
                          env=environment(mount), timeout=60, text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_tree_tells_of_the_child_until_it_is_reaped(mount, programs, tmp_path):
    script = (f"import os\nchild = os.fork()\n"
              f"if child == 0: os._exit(3)\n"
              f"wait = open('{mount.path}/%d/wait' % child)\n"
              f"status = open('{mount.path}/%d/status' % child).read()\n"
              f"print(wait.read().split(' ', 4)[4], end='')\n"
              f"print(os.waitpid(child, 0) == (child, 3 << 8), 'Creator:\\t%d' % os.getpid() in status)\n")
    done = subprocess.run(["/usr/bin/python3", "-c", script], text=True, timeout=20, capture_output=True,
                          env=environment(mount, LD_PRELOAD=f"{programs}/libproc9_preload.so"))
    assert (done.stdout, done.stderr) == ("'exit 3'\nTrue True\n", "")
    assert eventually(lambda: mount.ids() == [])


@pytest.mark.mode("user")  # long, and the same to root
@pytest.mark.timeout(240)
@pytest.mark.parametrize("part", SUITE)
def test_the_suite_of_python_passes_under_the_preload_library(mount, programs, tmp_path, part):
    """Its parts that fork. All of their forks, and no fewer than one, go through proc9."""
    before = figure(mount, "eforks")
    done = subprocess.run(["/usr/bin/python3", "-m", "test", "-q", part], cwd=tmp_path, text=True, timeout=200,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=environment(mount, LD_PRELOAD=f"{programs}/libproc9_preload.so", HOME=str(tmp_path)))
    assert done.returncode == 0, done.stdout[-3000:]
    assert figure(mount, "eforks") > before
