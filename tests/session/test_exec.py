"""exec: which program is found, what it inherits, what a failed one leaves, and what is over after a good one."""
import json
import os
import pty
import select
import shlex
import shutil
import time

import pytest

from mount import errno_of, eventually, kernel_status


def script(path, text, mode=0o755):
    path.write_text(text)
    path.chmod(mode)
    return path


# --- found or not ---------------------------------------------------------------------------------------------------

def test_a_program_found_by_env_PATH(embryo, tmp_path):
    script(tmp_path / "greet", "#!/bin/sh\necho found by $0\n")
    embryo.tell(f"env PATH=/nonexistent:{tmp_path}:/bin")
    assert embryo.run("exec greet")[0] == f"found by {tmp_path}/greet\n"


def test_PATH_is_searched_in_order(embryo, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        script(tmp_path / name / "prog", f"#!/bin/sh\necho {name}\n")
    embryo.tell(f"env PATH={tmp_path}/two:{tmp_path}/one")
    assert embryo.run("exec prog")[0] == "two\n"


def test_a_program_in_no_directory_of_PATH_is_ENOENT(embryo):
    embryo.tell("env PATH=/bin:/usr/bin")
    assert embryo.ask("exec no-such-program") == "ENOENT"


def test_a_script_with_an_interpreter_line(embryo, tmp_path):
    script(tmp_path / "s", "#!/bin/sh -u\necho \"$1\" and $#\n")
    assert embryo.run(f"exec {tmp_path}/s 'first one' second") == ("first one and 2\n", "")


def test_a_relative_path_with_a_slash(embryo, tmp_path):
    script(tmp_path / "s", "#!/bin/sh\necho here\n")
    embryo.tell(f"chdir {tmp_path}")
    assert embryo.run("exec ./s")[0] == "here\n"


def test_a_missing_program_is_ENOENT_and_the_same_embryo_is_then_started_properly(embryo):
    embryo.tell("env A=kept", "map 0x600000 4K rw-", "fd 3 open /dev/null r")
    state = embryo.read("maps"), embryo.fds(), embryo.env(), embryo.read("args")
    assert embryo.ask("exec /nonexistent/program x") == "ENOENT"
    assert (embryo.read("maps"), embryo.fds(), embryo.env(), embryo.read("args")) == state
    assert embryo.run("exec /bin/sh -c 'echo $A'") == ("kept\n", "")


def test_a_file_without_execute_permission_is_EACCES(embryo, tmp_path):
    assert embryo.ask(f"exec {script(tmp_path / 's', '#!/bin/sh', 0o644)}") == "EACCES"


def test_a_directory_is_EACCES(embryo):
    assert embryo.ask("exec /tmp") == "EACCES"


def test_a_file_that_is_no_program_is_ENOEXEC(embryo, tmp_path):
    assert embryo.ask(f"exec {script(tmp_path / 's', 'no interpreter line')}") == "ENOEXEC"


def test_a_script_whose_interpreter_is_missing_is_ENOENT(embryo, tmp_path):
    assert embryo.ask(f"exec {script(tmp_path / 's', '#!/nonexistent')}") == "ENOENT"


def test_a_word_of_200_kilobytes_is_E2BIG_and_the_embryo_is_started_properly(embryo):
    assert embryo.ask("exec /bin/echo " + "x" * 200_000) == "E2BIG"
    assert embryo.run("exec /bin/echo hi") == ("hi\n", "")


def test_a_hundred_failures_then_a_start(embryo):
    for _ in range(100):
        assert embryo.ask("exec /nonexistent") == "ENOENT"
    assert embryo.run("exec /bin/echo hi") == ("hi\n", "")


def test_exec_without_a_path_runs_args_as_set(embryo):
    embryo.tell("args /bin/echo 'as set'")
    assert embryo.run("exec") == ("as set\n", "")


def test_exec_with_nothing_set_is_refused(embryo):
    assert embryo.ask("exec") in ("EINVAL", "ENOENT")
    assert embryo.run("exec /bin/echo hi") == ("hi\n", "")


def test_exec_answers_when_the_program_is_running(embryo):
    embryo.tell("exec /bin/sleep 1000")
    assert os.readlink(f"/proc/{embryo.pid}/exe") == os.path.realpath("/bin/sleep")
    assert os.readlink(embryo.P("exe")) == os.path.realpath("/bin/sleep")


def test_build_and_start_in_one_write(embryo, tmp_path):
    embryo.tell(f"fd 1 open {tmp_path}/out w 0600", "env A=1", "exec /bin/sh -c 'echo $A; exit 9'")
    assert embryo.wait().status == "exit 9"
    assert (tmp_path / "out").read_text() == "1\n"


def test_memory_of_the_embryo_is_gone_after_exec(embryo):
    embryo.tell("map 0x10000000 4K rw-", "exec /bin/sleep 1000")
    assert not any(r.start == 0x10000000 for r in embryo.maps())


# --- what it inherits -----------------------------------------------------------------------------------------------

def test_chdir(embryo, tmp_path):
    embryo.tell(f"chdir {tmp_path}")
    assert os.readlink(embryo.P("cwd")) == os.readlink(f"/proc/{embryo.pid}/cwd") == str(tmp_path)
    assert embryo.run("exec /bin/pwd")[0] == f"{tmp_path}\n"


def test_ln_sfn_of_cwd_is_chdir(mount, embryo, tmp_path):
    mount.out(f"ln -sfn {tmp_path} {embryo.P('cwd')}")
    assert os.readlink(embryo.P("cwd")) == str(tmp_path)
    assert embryo.run("exec /bin/pwd")[0] == f"{tmp_path}\n"


def test_chdir_to_nowhere(embryo, tmp_path):
    before = os.readlink(embryo.P("cwd"))
    assert embryo.ask("chdir /nonexistent") == "ENOENT"
    assert embryo.ask(f"chdir {script(tmp_path / 'f', '')}") == "ENOTDIR"
    assert os.readlink(embryo.P("cwd")) == before


def test_inherit_cwd_takes_the_writers(mount, embryo, tmp_path):
    mount.out(f"cd {tmp_path} && echo 'inherit cwd' > {embryo.P('ctl')}")
    assert os.readlink(embryo.P("cwd")) == str(tmp_path)


def test_inherit_all(mount, embryo, tmp_path):
    (tmp_path / "f").touch()
    mount.out(f"cd {tmp_path}; exec > /dev/null 2>&1 7< f; exec env -i A=1 sh -c 'echo inherit all > {embryo.P('ctl')}'")
    assert os.readlink(embryo.P("cwd")) == str(tmp_path)
    assert embryo.fds()[7] == str(tmp_path / "f")
    assert "A" in embryo.env()


def test_inherit_settings_is_what_fork_passes_on(mount, embryo):
    """The ones that differ, and no others; what was said before and after."""
    def state(text):
        wanted = ("SigBlk", "SigIgn", "Umask", "NoNewPrivs", "Cpus_allowed_list")
        return [line for line in text.splitlines() if line.startswith((*wanted, "Max", "nice", "oom"))]
    show = "cat /proc/self/status /proc/self/limits; echo nice $(nice); echo oom $(cat /proc/self/oom_score_adj)"
    setup = ("umask 027; ulimit -n 100; ulimit -c 0; trap '' USR1; "
             "exec setpriv --no-new-privs nice -n 3 choom -n 300 -- taskset -c 0 /usr/bin/python3 -c ")
    script = ("import os, signal, subprocess, sys\n"
              "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])\n"
              f"os.write(os.open({embryo.P('ctl')!r}, os.O_WRONLY), b'inherit settings\\n')\n"
              f"print(subprocess.check_output(['/bin/sh', '-c', {show!r}], restore_signals=False, text=True))")
    theirs = state(mount.out(setup + shlex.quote(script)))
    mine = state(embryo.run(f"inherit env\nexec /bin/sh -c {json.dumps(show)}")[0])
    assert len(mine) >= 20 and mine == theirs
    assert "Umask:\t0027" in mine and "nice 3" in mine and "oom 300" in mine


def test_inherit_settings_that_take_a_privilege(embryo):
    embryo.tell("limit NOFILE 50:60")
    if int(kernel_status("self", "CapEff"), 16) >> 24 & 1:  # CAP_SYS_RESOURCE
        embryo.tell("inherit settings")
        assert "Max open files            60 " not in embryo.read("limits")
    else:
        assert embryo.ask("inherit settings") == "EPERM"
        assert "CAP_SYS_RESOURCE" in embryo.error()


def test_inherit_of_something_else_is_EINVAL(embryo):
    assert embryo.ask("inherit everything") == "EINVAL"
    assert embryo.ask("inherit") == "EINVAL"


@pytest.mark.parametrize("mask", ["027", "0", "77"])
def test_umask(embryo, mask):
    embryo.tell(f"umask {mask}")
    assert embryo.run("exec /bin/sh -c umask")[0] == f"{int(mask, 8):04o}\n"


@pytest.mark.parametrize("mask", ["8", "x", ""])
def test_a_umask_that_is_none_is_EINVAL(embryo, mask):
    assert embryo.ask(f"umask {mask}") == "EINVAL"


@pytest.fixture
def other_root(tmp_path):
    """A root with one static program."""
    shutil.copy("/bin/busybox", tmp_path / "busybox")
    (tmp_path / "marker").touch()
    return tmp_path


@pytest.mark.mode("root")
def test_chroot(embryo, other_root):
    embryo.tell("fd 1 open /dev/null w", f"chroot {other_root}", "chdir /")
    assert os.readlink(embryo.P("root")) == os.readlink(f"/proc/{embryo.pid}/root") == str(other_root)
    embryo.tell("fd 1 open /out w 0600", "exec /busybox ls /")
    assert embryo.wait().status == ""
    assert (other_root / "out").read_text().split() == ["busybox", "marker", "out"]


@pytest.mark.mode("root")
def test_ln_sfn_of_root_is_chroot(mount, embryo, other_root):
    mount.out(f"ln -sfn {other_root} {embryo.P('root')}")
    assert os.readlink(f"/proc/{embryo.pid}/root") == str(other_root)


@pytest.mark.mode("user")
def test_chroot_of_an_ordinary_user_is_EPERM(embryo, other_root):
    assert embryo.ask(f"chroot {other_root}") == "EPERM"


# --- an interactive program -----------------------------------------------------------------------------------------

class Terminal:
    """A pseudo terminal whose other side an embryo has as descriptors 0, 1 and 2."""

    def __init__(self, embryo):
        self.master, slave = pty.openpty()
        embryo.tell(f"fd 0 self:{slave}", f"fd 1 self:{slave}", f"fd 2 self:{slave}")
        os.close(slave)
        self.screen = ""

    def type(self, text):
        os.write(self.master, text.encode())

    def shows(self, text, seconds=10):
        end = time.monotonic() + seconds
        while text not in self.screen and time.monotonic() < end:
            if select.select([self.master], [], [], 0.1)[0]:
                self.screen += os.read(self.master, 4096).decode()
        return text in self.screen


@pytest.fixture
def terminal(embryo):
    terminal = Terminal(embryo)
    yield terminal
    os.close(terminal.master)


def test_an_interactive_shell(embryo, terminal):
    embryo.tell("env 'PS1=ready> '", "exec /bin/sh -i")
    assert terminal.shows("ready> "), terminal.screen
    terminal.type("echo $((6 * 7)) answers\n")
    assert terminal.shows("42 answers"), terminal.screen
    terminal.type("exit 3\n")
    assert embryo.wait().status == "exit 3"


def test_cat_on_a_terminal(embryo, terminal):
    embryo.tell("exec /bin/cat")
    terminal.type("to and fro\n")
    assert terminal.shows("to and fro\r\nto and fro\r\n"), terminal.screen
    terminal.type("\x04")
    assert embryo.wait().status == ""


def test_a_program_knows_that_it_is_on_a_terminal(embryo, terminal):
    embryo.tell("exec /usr/bin/tty")
    assert terminal.shows("/dev/pts/"), terminal.screen


# --- after start ----------------------------------------------------------------------------------------------------

BUILDING = ["map 0x10000000 4K rw-", "map vdso", "unmap 0x400000", "protect 0x400000 4K r--", "move 0x400000 0x500000",
            "fd 5 open /dev/null r", "fd 5 dup 0", "fd 5 self:0", "fd 0 close", "fd 0 cloexec on", "inherit env",
            "env A=1", "unset A", "clearenv", "args a b", "chdir /", "chroot /", "umask 0", "reg rax 1",
            "exec /bin/true", "entry 0x400000"]


@pytest.fixture
def running(embryo):
    embryo.tell("fd 0 open /dev/null r", "env A=1", "exec /bin/sleep 1000")
    return embryo


@pytest.mark.parametrize("line", BUILDING)
def test_after_start_building_commands_are_EPERM(running, line):
    assert running.ask(line) == "EPERM"


def test_after_start_building_files_are_EPERM(running):
    before = running.fds()
    assert errno_of(os.symlink, "/dev/null", running.P("fd/5")) == "EPERM"
    assert errno_of(os.unlink, running.P("fd/0")) == "EPERM"
    assert errno_of(os.link, running.P("fd/0"), running.P("fd/6")) == "EPERM"
    assert errno_of(open, running.P("mem/10000000"), "w") == "EPERM"
    for name, text in (("maps", "10000000-10001000 rw-p 0 00:00 0\n"), ("args", "x"), ("regs", "rax 0x1\n"),
                       ("env/B", "1"), ("env/A", "1")):
        assert errno_of(running.write, name, text) == "EPERM", name
    assert running.fds() == before


def test_after_start_cwd_and_root_cannot_be_replaced(mount, running):
    for name in ("cwd", "root"):
        assert mount.sh(f"ln -sfn /tmp {running.P(name)}").returncode != 0
    assert os.readlink(f"/proc/{running.pid}/cwd") != "/tmp"


def test_after_start_the_files_report_the_live_process(embryo, tmp_path):
    embryo.tell(f"exec /bin/sh -c 'cd {tmp_path}; exec 5</dev/zero; exec sleep 1000'")
    assert eventually(lambda: os.readlink(embryo.P("cwd")) == str(tmp_path))
    assert eventually(lambda: embryo.fds().get(5) == "/dev/zero")


def test_kill_stop_start_and_name_still_work(running, mount):
    def state():
        return kernel_status(running.pid, "State")[0]

    running.tell("stop")
    assert eventually(lambda: state() == "T")
    running.tell("start")
    assert eventually(lambda: state() == "S")
    running.tell("name sleeper")
    assert os.readlink(mount.P("sleeper")) == str(running.pid)
    running.tell("kill TERM")
    assert running.wait().status == "signal 15 TERM"


def test_hang_after_an_exec_that_failed(embryo):
    embryo.tell("hang")
    for _ in range(3):
        assert embryo.ask("exec /nonexistent") == "ENOENT"
    assert kernel_status(embryo.pid, "TracerPid") == "0"
    embryo.tell("exec /bin/true")
    assert eventually(lambda: embryo.read("ctl").split()[1] == "stopped")
    embryo.tell("start")
    assert embryo.wait().status == ""
