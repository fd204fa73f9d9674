"""Nothing that one embryo waits for stalls another, or anybody else; and whatever waits can be ended."""
import contextlib
import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from mount import eventually, kernel_status


def build_others(mount, count=50):
    """The time that it takes to make, build and start this many others while something is stuck."""
    begin = time.monotonic()
    for _ in range(count):
        e = mount.efork()
        e.tell("map 0x600000 64K rw-", "fd 1 open /dev/null w", "env A=1", "exec /bin/true")
        assert e.wait().status == ""
    return time.monotonic() - begin


@contextlib.contextmanager
def stuck(*command):
    """A process that is expected to wait in a call on the mount."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert not eventually(lambda: process.poll() is not None, 0.3), process.communicate()
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def fifo(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    return str(tmp_path / "fifo")


def openers(embryo, fifo):
    """Two ways to open a FIFO: with a file, and with a command."""
    return {"ln": ["ln", "-s", fifo, embryo.P("fd/0")],
            "ctl": ["sh", "-c", f"echo 'fd 0 open {fifo} r' > {embryo.P('ctl')}"]}


@pytest.mark.parametrize("way", ["ln", "ctl"])
def test_a_fifo_with_nobody_at_the_other_end_stalls_nobody_else(mount, embryo, fifo, way):
    with stuck(*openers(embryo, fifo)[way]):
        assert build_others(mount) < 10


@pytest.mark.parametrize("way", ["ln", "ctl"])
def test_a_stop_amid_a_command_breaks_it_off(embryo, fifo, way):
    with stuck(*openers(embryo, fifo)[way]) as opener:
        os.kill(embryo.pid, signal.SIGSTOP)
        assert opener.wait(10) != 0
    assert embryo.ask("map 0x600000 4K rw-") == "EBUSY"
    assert eventually(lambda: kernel_status(embryo.pid, "State")[0] == "T"), "and it is still stopped"
    embryo.tell("start")
    embryo.tell("fd 3 open /dev/null r")
    assert embryo.fds() == {3: "/dev/null"}


@pytest.mark.parametrize("way", ["ln", "ctl"])
def test_the_open_of_a_fifo_ends_when_somebody_comes(embryo, fifo, way):
    with stuck(*openers(embryo, fifo)[way]) as opener:
        with open(fifo, "w"):
            assert opener.wait(5) == 0
    assert embryo.fds() == {0: fifo}


@pytest.mark.parametrize("way", ["ln", "ctl"])
def test_an_embryo_stuck_on_a_fifo_can_be_killed_from_another_shell(mount, embryo, fifo, way):
    with stuck(*openers(embryo, fifo)[way]) as opener:
        mount.out(f"echo kill > {embryo.P('ctl')}", timeout=5)
        assert opener.wait(5) != 0
    assert eventually(lambda: not os.path.exists(f"/proc/{embryo.pid}"))


@pytest.mark.parametrize("way", ["ln", "ctl"])
def test_ctrl_c_ends_the_open_of_a_fifo_and_the_embryo_goes_on(embryo, fifo, way):
    embryo.tell("env A=kept")
    with stuck(*openers(embryo, fifo)[way]) as opener:
        opener.send_signal(signal.SIGINT)
        opener.wait(5)
    assert eventually(lambda: isinstance(embryo.ask("env B=1"), int))
    assert embryo.env() == ["A", "B"]
    assert embryo.run("exec /bin/echo on")[0] == "on\n"


def test_a_kill_from_outside_ends_the_open_of_a_fifo(embryo, fifo):
    with stuck(*openers(embryo, fifo)["ln"]) as opener:
        os.kill(embryo.pid, signal.SIGKILL)
        assert opener.wait(5) != 0


def test_a_fifo_opened_nonblocking_waits_for_nobody(embryo, fifo):
    embryo.tell(f"fd 0 open {fifo} rn")
    assert embryo.fds() == {0: fifo}


# --- the mount itself -----------------------------------------------------------------------------------------------

def test_chdir_into_the_mount(mount, embryo):
    embryo.tell(f"chdir {mount.path}")
    assert os.readlink(embryo.P("cwd")) == mount.path
    assert build_others(mount, 5) < 5
    out, _ = embryo.run(f"exec /bin/cat {embryo.pid}/status")
    assert f"Pid:\t{embryo.pid}\n" in out


def test_chdir_into_its_own_directory(embryo):
    embryo.tell(f"chdir {embryo.dir}")
    assert os.readlink(embryo.P("cwd")) == embryo.dir


def test_a_descriptor_of_a_file_of_the_mount(mount, embryo):
    embryo.tell(f"fd 0 open {mount.P('help')} r")
    assert "efork" in embryo.run("exec /bin/cat")[0]


def test_an_embryo_may_hold_its_own_ctl_and_wait(mount, embryo):
    embryo.tell(f"fd 3 open {embryo.P('ctl')} w", f"fd 4 open {embryo.P('wait')} r", "exec /bin/sleep 0.2")
    assert embryo.wait().status == ""


def test_exec_of_a_file_of_the_mount_is_EACCES(mount, embryo):
    assert embryo.ask(f"exec {mount.P('ctl')}") == "EACCES"
    assert embryo.ask(f"exec {embryo.P('maps')}") == "EACCES"
    assert build_others(mount, 5) < 5


def test_a_program_that_uses_the_mount(mount, embryo):
    """Started by proc9, it makes another one by proc9."""
    script = f"cd {mount.path}; mkdir inner; ln -s /dev/stdout inner/fd/1; echo exec /bin/echo inner > inner/ctl;" \
             " cat inner/wait"
    embryo.tell("env PATH=/bin:/usr/bin")
    out, status = embryo.run(f"exec /bin/sh -c '{script}'")
    assert out.startswith("inner\n") and out.endswith(" ''\n") and status == ""


# --- a thousand readers ---------------------------------------------------------------------------------------------

THOUSAND = """
import sys, threading
path = sys.argv[1]
answers, opened = [], threading.Semaphore(0)
def read():
    with open(path, "rb", buffering=0) as f:
        opened.release()
        answers.append(f.read(4096))
threading.stack_size(1 << 16)
threads = [threading.Thread(target=read, daemon=True) for _ in range(1000)]
for t in threads: t.start()
for t in threads: opened.acquire()
print("blocked", flush=True)
for t in threads: t.join()
print(len(answers), len(set(answers)), flush=True)
"""


@pytest.fixture
def thousand(embryo):
    embryo.tell("exec /bin/sleep 1000")
    readers = subprocess.Popen([sys.executable, "-c", THOUSAND, embryo.P("wait")], stdout=subprocess.PIPE, text=True)
    assert readers.stdout.readline() == "blocked\n"
    yield readers
    readers.kill()
    readers.communicate()


def test_a_thousand_readers_of_wait_stall_nobody(mount, thousand):
    assert build_others(mount) < 10


def test_a_thousand_readers_of_wait_are_all_answered_alike(embryo, thousand):
    embryo.tell("kill")
    assert thousand.communicate(timeout=20)[0] == "1000 1\n"


def test_a_thousand_readers_of_wait_are_ended_by_ctrl_c(mount, embryo, thousand):
    thousand.send_signal(signal.SIGINT)
    thousand.wait(10)
    assert kernel_status(embryo.pid, "State")[0] == "S"
    assert build_others(mount, 5) < 5


def test_cat_wait_into_the_pipe_that_the_process_writes_to(mount):
    """sendfile(2), which busybox's cat uses, keeps everybody else out of the pipe until it is answered."""
    shown = mount.out("""
        echo 'efork late' > $PROC9/ctl
        ln -s /dev/stdout $PROC9/late/fd/1
        echo 'exec /bin/sh -c "sleep 0.3; echo written late"' > $PROC9/late/ctl
        cat $PROC9/late/wait""", shell="busybox sh")
    assert shown.startswith("written late\n") and shown.endswith(" ''\n")


def test_sendfile_of_wait_works_after_the_exit_and_is_refused_before(embryo):
    reader, writer = os.pipe()
    embryo.tell("exec /bin/sleep 1000")
    with open(embryo.P("wait"), "rb") as wait:
        with pytest.raises(OSError) as refusal:
            os.sendfile(writer, wait.fileno(), 0, 4096)
        assert refusal.value.errno == errno.EINVAL
        embryo.tell("kill")
        assert wait.read().startswith(b"%d " % embryo.pid)
        assert os.sendfile(writer, wait.fileno(), 0, 4096) > 0
    os.close(writer)
    with open(reader, "rb") as end:
        assert end.read().endswith(b"'signal 9 KILL'\n")
