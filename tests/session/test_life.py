"""From efork to reaped: wait, signals, names, and how many there can be."""
import os
import select
import signal
import subprocess
import time

import pytest

from mount import WAIT_LINE, Embryo, alive, children, errno_of, eventually, kernel_status, parse_wait, write_ctl


def reader_of_wait(embryo):
    """Another process that blocks in a read of `wait`."""
    reader = subprocess.Popen(["cat", embryo.P("wait")], stdout=subprocess.PIPE, text=True)
    assert not eventually(lambda: reader.poll() is not None, 0.2), "wait answered before there was anything to say"
    return reader


# --- wait -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("how, status", [
    ("exit 0", ""), ("exit 3", "exit 3"), ("exit 255", "exit 255"),
    ("kill -9 $$", "signal 9 KILL"), ("kill -TERM $$", "signal 15 TERM"), ("kill -SEGV $$", "signal 11 SEGV")])
def test_wait_says_how_it_ended(embryo, how, status):
    embryo.tell(f"exec /bin/sh -c '{how}'")
    text = embryo.read("wait")
    assert WAIT_LINE.fullmatch(text), text
    assert (parse_wait(text).pid, parse_wait(text).status) == (embryo.pid, status)


def test_wait_tells_the_times_in_milliseconds(embryo):
    embryo.tell("exec /bin/sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; sleep 0.3'")
    wait = embryo.wait()
    assert 20 <= wait.utime <= wait.rtime
    assert 300 <= wait.rtime < 30_000


def test_wait_blocks_until_the_exit(embryo):
    embryo.tell("exec /bin/sleep 0.3")
    reader = reader_of_wait(embryo)
    assert parse_wait(reader.communicate(timeout=5)[0]).status == ""


def test_wait_of_an_embryo_blocks_and_is_answered_after_its_start_and_end(embryo):
    reader = reader_of_wait(embryo)
    embryo.tell("exec /bin/true")
    assert parse_wait(reader.communicate(timeout=5)[0]).status == ""


def test_a_blocked_read_of_wait_ends_when_the_embryo_is_removed(embryo):
    reader = reader_of_wait(embryo)
    os.rmdir(embryo.dir)
    reader.communicate(timeout=5)


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_read_of_wait_can_be_interrupted(embryo, sig):
    embryo.tell("exec /bin/sleep 1000")
    reader = reader_of_wait(embryo)
    reader.send_signal(sig)
    assert reader.wait(5) == -sig
    assert embryo.exists(), "an interrupted read reaps nobody"


def test_poll_reports_wait_readable_at_exit(embryo):
    embryo.tell("exec /bin/sleep 1000")
    fd = os.open(embryo.P("wait"), os.O_RDONLY)
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    assert poll.poll(100) == []
    killer = subprocess.Popen(["sh", "-c", f"sleep 0.2; echo kill > {embryo.P('ctl')}"])
    assert poll.poll(5000) == [(fd, select.POLLIN)]
    assert parse_wait(os.read(fd, 4096).decode()).status == "signal 9 KILL"
    os.close(fd)
    killer.wait()


def test_poll_of_many_waits_reports_the_one_that_ended(mount):
    embryos = [mount.efork() for _ in range(20)]
    for e in embryos:
        e.tell("exec /bin/sleep 1000")
    fds = {os.open(e.P("wait"), os.O_RDONLY): e for e in embryos}
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    embryos[7].tell("kill")
    (fd, _), = poll.poll(5000)
    assert fds[fd] is embryos[7]
    for fd in fds:
        os.close(fd)


# --- gone -----------------------------------------------------------------------------------------------------------

def test_reading_wait_to_the_end_and_closing_reaps(embryo):
    embryo.tell("exec /bin/true")
    embryo.wait()
    assert eventually(lambda: not embryo.exists())
    assert eventually(lambda: not os.path.exists(f"/proc/{embryo.pid}")), "no zombie"


def test_an_exited_process_stays_until_its_wait_was_read(embryo):
    embryo.tell("exec /bin/true")
    assert not eventually(lambda: not embryo.exists(), 0.5)
    assert os.path.exists(f"/proc/{embryo.pid}"), "its number cannot be used again"


def test_opening_wait_without_reading_reaps_nobody(embryo):
    embryo.tell("exec /bin/true")
    os.close(os.open(embryo.P("wait"), os.O_RDONLY))
    assert not eventually(lambda: not embryo.exists(), 0.3)
    assert embryo.wait().status == ""


def test_rmdir_reaps_an_exited_process(embryo):
    embryo.tell("exec /bin/true")
    assert eventually(lambda: errno_of(os.rmdir, embryo.dir) == "success")
    assert eventually(lambda: not os.path.exists(f"/proc/{embryo.pid}"))


def test_rmdir_of_a_running_process_is_refused(embryo):
    embryo.tell("exec /bin/sleep 1000")
    assert errno_of(os.rmdir, embryo.dir) in ("EBUSY", "EPERM")
    assert kernel_status(embryo.pid, "State")[0] in "SR"


def test_kill_removes_an_embryo(mount, embryo):
    embryo.tell("kill")
    assert eventually(lambda: not embryo.exists())
    assert eventually(lambda: not os.path.exists(f"/proc/{embryo.pid}"))


def test_the_name_goes_with_the_directory(mount):
    e = mount.efork("short")
    e.tell("exec /bin/true")
    e.wait()
    assert eventually(lambda: not os.path.islink(mount.P("short")))


def test_at_most_1024_exited_ones_are_kept_and_the_oldest_goes_first(mount):
    first = [mount.efork() for _ in range(6)]
    for e in first:
        e.tell("exec /bin/true")
        assert eventually(lambda e=e: kernel_status(e.pid, "State")[0] == "Z")
    for _ in range(1024):
        mount.efork().tell("exec /bin/true")
    assert eventually(lambda: len(mount.ids()) <= 1024, 20)
    assert not any(e.exists() for e in first)
    assert len(mount.ids()) == 1024


# --- signals --------------------------------------------------------------------------------------------------------

def test_stop_and_start(embryo):
    embryo.tell("exec /bin/sleep 1000", "stop")
    assert eventually(lambda: kernel_status(embryo.pid, "State")[0] == "T")
    embryo.tell("start")
    assert eventually(lambda: kernel_status(embryo.pid, "State")[0] == "S")


@pytest.mark.parametrize("sig", ["USR1", "10"])
@pytest.mark.parametrize("way", ["kill", "note"])
def test_a_signal_by_name_or_number(embryo, way, sig, tmp_path):
    script = f"trap \"exit 77\" USR1; : > {tmp_path}/ready; while :; do sleep 0.01; done"
    embryo.tell("env PATH=/bin", f"exec /bin/sh -c '{script}'")
    assert eventually((tmp_path / "ready").exists)
    if way == "kill":
        embryo.tell(f"kill {sig}")
    else:
        embryo.write("note", sig)
    assert embryo.wait().status == "exit 77"


@pytest.mark.parametrize("sig", ["NOSUCH", "999", "-1"])
def test_a_signal_that_is_none_is_EINVAL(embryo, sig):
    embryo.tell("exec /bin/sleep 1000")
    assert embryo.ask(f"kill {sig}") == "EINVAL"
    assert errno_of(embryo.write, "note", sig) == "EINVAL"
    assert kernel_status(embryo.pid, "State")[0] in "SR"


def test_kill_of_an_exited_process_is_ESRCH(embryo):
    embryo.tell("exec /bin/true")
    assert eventually(lambda: kernel_status(embryo.pid, "State")[0] == "Z")
    assert embryo.ask("kill") == "ESRCH"


# --- names ----------------------------------------------------------------------------------------------------------

def test_name_gives_and_changes_a_name(mount, embryo):
    embryo.tell("name first")
    assert os.readlink(mount.P("first")) == str(embryo.pid)
    embryo.tell("name second")
    assert os.readlink(mount.P("second")) == str(embryo.pid)
    assert not os.path.islink(mount.P("first"))


def test_name_in_use_is_EEXIST(mount, embryo):
    mount.efork("taken")
    assert embryo.ask("name taken") == "EEXIST"
    assert embryo.ask("name ctl") == "EEXIST"


# --- many -----------------------------------------------------------------------------------------------------------

def test_a_thousand_embryos_alive_at_once(mount):
    """Made, listed, started, reaped. no_leaks counts afterwards what is left of them."""
    embryos = [mount.efork(f"e{n}") for n in range(1000)]
    assert mount.ids() == sorted(e.pid for e in embryos)
    assert sum(name.startswith("e") and name != "error" for name in mount.ls()) == 1000
    assert all(e.read("maps") == "" for e in embryos)
    for n, e in enumerate(embryos):
        e.tell("exec /bin/sh -c 'exit 7'" if n % 100 == 0 else "exec /bin/true")
    assert [e.wait().status for e in embryos] == ["exit 7" if n % 100 == 0 else "" for n in range(1000)]
    assert eventually(lambda: mount.ids() == [])


def test_a_thousand_embryos_thrown_away(mount):
    assert write_ctl(mount.P("ctl"), "efork\n" * 1000) == 6000
    ids = mount.ids()
    assert len(ids) == 1000
    for pid in ids:
        os.rmdir(mount.P(str(pid)))
    assert mount.ids() == []
    assert eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in ids))


def test_one_after_the_other_leaves_nothing(mount):
    mount.efork()
    mount.sweep()
    before = mount.steady_counts()
    for _ in range(300):
        e = mount.efork()
        e.tell("map 0x600000 64K rw- shared", "fd 1 open /dev/null w", "env A=1", "exec /bin/true")
        e.wait()
    assert eventually(lambda: mount.ids() == [])
    after = mount.steady_counts()
    assert all(after[what] <= before[what] for what in before), (before, after)


def test_wait_does_not_take_the_processor(mount, embryo):
    """A daemon that waits by asking again and again would burn it."""
    embryo.tell("exec /bin/sleep 1000")
    reader = reader_of_wait(embryo)
    ticks = cpu_ticks(mount.pid)
    time.sleep(1)
    assert cpu_ticks(mount.pid) - ticks <= 10
    reader.kill()
    reader.wait()


def cpu_ticks(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def test_two_directories_never_share_a_number(mount):
    """An exited process that is still listed keeps its number from being used again."""
    old = mount.efork()
    old.tell("exec /bin/true")
    numbers = {mount.efork().pid for _ in range(200)}
    assert len(numbers) == 200 and old.pid not in numbers
    assert Embryo(mount, old.pid).wait().status == ""


@pytest.mark.parametrize("stop", ["stop", "note STOP", "kill STOP"])
def test_a_command_behind_a_stop_in_the_same_write_is_EBUSY(embryo, stop):
    before = f"umask 22\n{stop}\n"
    assert embryo.ask(before + "umask 23\nnice 1\n") == len(before)
    assert embryo.ask("umask 23") == "EBUSY"
    embryo.tell("start", "umask 23")


@pytest.mark.timeout(20)  # a command that reached it would wait for ever
def test_a_command_right_behind_the_signal_of_another_is_EBUSY(mount):
    """It is stopped from when the signal was sent, and not when it gets a processor to stop on."""
    embryo = mount.efork("busy")
    ctl = os.open(embryo.P("ctl"), os.O_WRONLY)
    for _ in range(300):
        os.kill(embryo.pid, signal.SIGSTOP)
        assert errno_of(os.write, ctl, b"nice 1\n") == "EBUSY"
        os.kill(embryo.pid, signal.SIGCONT)
        assert errno_of(os.write, ctl, b"nice 2\n") == "success"
    os.close(ctl)


def test_what_is_killed_at_its_birth_is_reaped(mount):
    """Whatever dies on its way into the pool, those made with it are not lost, and no zombie stays."""
    mount.efork()
    zygote, = (pid for pid in children(mount.pid) if kernel_status(pid, "Name") == "proc9-zygote")
    end = time.monotonic() + 2
    killer = os.fork()
    if killer == 0:
        while time.monotonic() < end:
            for child in set(children(mount.pid)) - {zygote}:
                try:
                    os.kill(child, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        os._exit(0)
    made = 0
    while time.monotonic() < end:
        made += write_ctl(mount.P("ctl"), "efork") == 5
    os.waitpid(killer, 0)
    mount.sweep()
    assert made > 0
    assert eventually(lambda: all(alive(pid) for pid in children(mount.pid)))
    mount.efork()  # who asks next has the pool filled again
    mount.sweep()
    assert eventually(lambda: len(children(mount.pid)) == 17)


@pytest.mark.timeout(20)
def test_behind_a_command_of_a_stopped_process_nobody_waits(embryo, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with subprocess.Popen(["sh", "-c", f"echo 'fd 0 open {tmp_path}/fifo r' > {embryo.P('ctl')}"]) as first:
        time.sleep(0.3)  # it is in open(2)
        os.kill(embryo.pid, signal.SIGSTOP)
        assert embryo.ask("nice 1") == "EBUSY"
        os.kill(embryo.pid, signal.SIGCONT)
        os.close(os.open(tmp_path / "fifo", os.O_WRONLY))
        assert first.wait() == 0
    embryo.tell("nice 1")
