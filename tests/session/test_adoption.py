"""adopt: a child of the caller becomes an embryo. Here Python plays the caller and the child, honest or not; the real ones are in
test_client_fork.py."""
import contextlib
import ctypes
import mmap
import os
import signal
import socket
import struct
import time

import pytest

from mount import alive, errno_of, eventually, kernel_maps, write_ctl

PAGES = struct.Struct("=QQQ")
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def park(link):
    """What docs/reference.md says of the child: takes the pages, calls them, and takes them away when that returns."""
    message = link.recv(1 << 16)
    if not message:
        os._exit(0)
    base, size, text = PAGES.unpack_from(message)
    MAP_FIXED_NOREPLACE = 0x100000
    pages = libc.mmap(base, size, mmap.PROT_READ | mmap.PROT_WRITE,
                      mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0)
    assert pages == base
    ctypes.memmove(pages, message[PAGES.size:], text)
    assert libc.mprotect(pages, (text + 4095) & ~4095, mmap.PROT_READ | mmap.PROT_EXEC) == 0
    call = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long)(pages)
    libc.munmap(call(pages, link.detach()), size)


class Parent:
    """A child that runs `story` with its end of a link, and the ctl file that it is to be adopted through."""

    def __init__(self, mount, story):
        self.mount = mount
        self.ctl = os.open(mount.P("ctl"), os.O_RDWR)
        self.link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            status = 99
            with contextlib.suppress(BaseException):
                os.close(self.ctl)
                self.link.close()
                status = story(theirs) or 0
            os._exit(status)
        theirs.close()

    def tell(self, text):
        return errno_of(os.write, self.ctl, text.encode())

    def adopt(self, name=""):
        return self.tell(f"adopt {self.link.fileno()} {name}".rstrip() + "\n")

    def wait(self):
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def end(self):
        os.close(self.ctl)
        self.link.close()
        with contextlib.suppress(ChildProcessError, ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


@pytest.fixture
def parent(mount):
    made = []

    def make(story):
        made.append(Parent(mount, story))
        return made[-1]
    yield make
    for one in made:
        one.end()


# --- as it should be ------------------------------------------------------------------------------------------------

def test_an_adopted_process_is_an_embryo_with_what_it_had(mount, parent):
    def story(link):
        park(link)
        return 3
    one = parent(story)
    assert one.adopt("child") == "success"
    child = mount.embryo("child")
    assert child.pid == one.pid
    assert child.read("ctl").split()[1] == "embryo"
    assert child.fds()[0] == os.readlink(f"/proc/{one.pid}/fd/0")
    assert [r.line for r in child.maps()] == [r.line for r in kernel_maps(one.pid) if not 0x3c9 << 36 <= r.start < 0x3ca << 36]
    kernels = [r for r in child.maps() if r.line.endswith(("[vdso]", "[vvar]", "[vvar_vclock]"))]
    assert len(child.mem()) == len(child.maps()) - len(kernels)
    child.tell("resume")
    assert one.wait() == 3
    assert eventually(lambda: not child.exists())


def test_its_memory_is_changed_before_it_goes_on(mount, parent):
    page = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    page.write(b"mine")
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))

    def story(link):
        park(link)
        return 0 if page[:5] == b"yours" else 1
    one = parent(story)
    one.adopt("child")
    child = mount.embryo("child")
    region = next(r for r in child.maps() if r.start <= address < r.end)
    with open(child.P("mem", f"{region.start:x}"), "r+b") as file:
        file.seek(address - region.start)
        file.write(b"yours")
    child.tell("resume")
    assert one.wait() == 0
    assert page[:4] == b"mine"


def test_its_settings_are_changed_and_a_program_is_its_parents_child(mount, parent, tmp_path):
    one = parent(park)
    one.adopt("child")
    child = mount.embryo("child")
    child.tell("nice 7", "env A=1", f"fd 1 open {tmp_path}/out w", "exec /bin/sh -c 'nice; echo $A; exit 6'")
    assert one.wait() == 6
    assert (tmp_path / "out").read_text() == "7\n1\n"


def test_it_starts_at_an_address_too(mount, parent):
    import machine_code as code
    one = parent(park)
    one.adopt("child")
    child = mount.embryo("child")
    address = 0x10000000
    code.load(child, bytes.fromhex("bf05000000") + bytes.fromhex("b8e7000000 0f05"), address)
    child.tell(f"entry {address:#x}")
    assert one.wait() == 5


def test_wait_tells_its_end_while_its_parent_has_not_reaped_it(mount, parent):
    def story(link):
        park(link)
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass
        os.kill(os.getpid(), signal.SIGTERM)
    one = parent(story)
    one.adopt("child")
    child = mount.embryo("child")
    child.tell("resume")
    status = child.wait()
    assert (status.status, status.pid) == ("signal 15 TERM", one.pid)
    assert status.utime + status.stime >= 40
    assert one.wait() == -15


def test_who_waits_is_told_though_the_parent_reaps_at_once(mount, parent):
    for n in range(20):
        one = parent(lambda link, n=n: park(link) or n)
        one.adopt(f"child{n}")
        child = mount.embryo(f"child{n}")
        wait = os.open(child.P("wait"), os.O_RDONLY)
        child.tell("resume")
        assert one.wait() == n
        expected = f"'exit {n}'\n" if n else "''\n"
        assert os.read(wait, 100).decode().split(" ", 4)[4] == expected
        os.close(wait)


@pytest.mark.mode("user")
def test_the_end_of_a_set_user_id_program_is_told_when_it_was_reaped(mount, parent):
    """The kernel hides it from others before; 0 is what it shows then."""
    one = parent(park)
    one.adopt("child")
    child = mount.embryo("child")
    wait = os.open(child.P("wait"), os.O_RDONLY)
    child.tell("fd 2 open /dev/null w", "exec /usr/bin/chage -x")
    assert one.wait() == 2
    assert os.read(wait, 100).decode().split(" ", 4)[4] == "'exit 2'\n"
    os.close(wait)


def test_hang_stops_it_before_it_goes_on(mount, parent):
    one = parent(lambda link: park(link) or 4)
    one.adopt("child")
    mount.embryo("child").tell("hang", "resume")
    assert os.WIFSTOPPED(os.waitpid(one.pid, os.WUNTRACED)[1])
    mount.embryo("child").tell("start")
    assert one.wait() == 4


# --- refused --------------------------------------------------------------------------------------------------------

def test_what_is_no_link_is_EINVAL_or_EBADF(mount):
    reader, writer = os.pipe()
    stream, other = socket.socketpair()
    for number, answer in ((reader, "EINVAL"), (stream.fileno(), "EINVAL"), (9999, "EBADF"), ("x", "EINVAL")):
        assert write_ctl(mount.P("ctl"), f"adopt {number}") == answer
    os.close(reader)
    os.close(writer)
    stream.close()
    other.close()


def test_its_forks_are_children_of_its_parent_and_go_on_from_the_same_place(mount, parent):
    """A program that has run for a while is a template, too."""
    def story(link):
        park(link)
        return os.getpid() % 100
    one = parent(story)
    one.adopt("template")
    made = []
    for n in range(3):
        fd = os.open(mount.P("ctl"), os.O_RDWR)
        os.write(fd, f"efork copy{n} from=template\n".encode())
        made.append(int(os.read(fd, 20) or os.pread(fd, 20, 0)))
        os.write(fd, b"resume\n")
        os.close(fd)
    for pid in made:
        ended, status = os.waitpid(pid, 0)
        assert (ended, os.waitstatus_to_exitcode(status)) == (pid, pid % 100)
    mount.embryo("template").tell("resume")
    assert one.wait() == one.pid % 100


def test_stopped_it_takes_no_commands(mount, parent):
    one = parent(lambda link: park(link) or 4)
    one.adopt("child")
    child = mount.embryo("child")
    assert child.ask("stop\nresume\n") == len("stop\n")
    assert child.ask("resume") == "EBUSY"
    child.tell("start", "resume")
    assert one.wait() == 4
    two = parent(lambda link: park(link) or 5)
    two.adopt("other")
    os.kill(two.pid, signal.SIGSTOP)
    assert eventually(lambda: mount.embryo("other").ask("nice 1") == "EBUSY")
    os.kill(two.pid, signal.SIGCONT)
    assert eventually(lambda: mount.embryo("other").ask("resume") == len("resume"))
    assert two.wait() == 5


def test_it_does_not_share(mount, parent):
    one = parent(park)
    one.adopt("child")
    child = mount.embryo("child")
    assert write_ctl(mount.P("ctl"), "efork share=child:mem") == "ENOTSUP"
    child.tell("thread 0x1000")
    assert child.ask("resume") == "EBUSY"


def test_resume_is_for_adopted_processes(embryo):
    assert embryo.ask("resume") == "EINVAL"
    assert "not adopted" in embryo.error()


def test_a_second_adoption_leaves_the_first_as_it_was(mount, parent):
    def story(link):
        park(link)
        return 4
    one = parent(story)
    assert one.adopt("child") == "success"
    assert write_ctl(mount.P("ctl"), f"adopt {one.link.fileno()}") in ("EEXIST", "ESRCH", "EPERM")
    mount.embryo("child").tell("nice 1", "resume")
    assert one.wait() == 4


def test_a_process_of_several_threads_is_EBUSY(mount, parent):
    def story(link):
        import threading
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        park(link)
    assert parent(story).adopt() == "EBUSY"


def test_a_name_in_use_leaves_the_child_unadopted(mount, parent):
    mount.efork("taken")
    one = parent(park)
    assert one.adopt("taken") == "EEXIST"
    assert one.adopt("free") == "success"


# --- dishonest ------------------------------------------------------------------------------------------------------

def test_silence_is_ESRCH_after_a_while_and_others_do_not_wait_for_it(mount, parent):
    one = parent(lambda link: time.sleep(60))
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        os._exit(0 if write_ctl(mount.P("ctl"), "efork other") == len("efork other") else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert one.adopt() == "ESRCH"
    assert time.monotonic() - start < 20
    assert alive(one.pid)


@pytest.mark.parametrize("message", [b"", b"x", b"\0" * 8, b"\xff" * 16, b"\0" * 17, b"\xff" * 60000], ids=lambda m: f"{len(m)}-{m[:1].hex()}")
def test_a_wrong_hello_is_refused(mount, parent, message):
    def story(link):
        link.recv(1 << 16)
        link.send(message)
        time.sleep(60)
    assert parent(story).adopt() in ("ESRCH", "ENOMEM")
    assert mount.ids() == []


def hello(link):
    link.send(struct.pack("=QQ", link.fileno(), 0x3c9000000000))


def test_a_grandchild_is_not_adopted(mount, parent):
    def story(link):
        if os.fork() == 0:
            link.recv(1 << 16)
            hello(link)
            link.recv(1)  # until the daemon, who still has to look, has closed it
            os._exit(0)
        os.wait()
        time.sleep(60)
    assert parent(story).adopt() == "EPERM"


def test_the_writer_is_not_adopted(mount):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    before = open("/proc/self/status").read().count("TracerPid:\t0")
    hello(theirs)
    # Said before the daemon asked the kernel who says it.
    assert write_ctl(mount.P("ctl"), f"adopt {ours.fileno()}") in ("EPERM", "EINVAL", "ESRCH")
    assert before == 1 and alive(os.getpid())
    ours.close()
    theirs.close()


def test_a_child_that_answers_nonsense_hurts_itself_alone(mount, parent):
    def story(link):
        link.recv(1 << 16)
        hello(link)
        while link.recv(1 << 16):
            link.send(b"\xee" * 500)
    one = parent(story)
    assert one.adopt("liar") == "success"
    child = mount.embryo("liar")
    for line in ("map 0x10000000 4K rw-", "fd 5 open /dev/null r", "nice 1", "resume"):
        child.ask(line)
    assert mount.efork().read("maps") == ""


def test_an_adopted_process_dies_with_its_parent(mount):
    ready, told = os.pipe()
    middle = os.fork()
    if middle == 0:
        one = Parent(mount, park)
        one.adopt("orphan")
        os.write(told, str(one.pid).encode())
        time.sleep(60)
    pid = int(os.read(ready, 20))
    os.kill(middle, signal.SIGKILL)
    os.waitpid(middle, 0)
    assert eventually(lambda: not alive(pid))
    assert eventually(lambda: not os.path.lexists(mount.P("orphan")))
    os.close(ready)
    os.close(told)


def test_an_adopted_process_ends_with_the_daemon(private_mount):
    one = Parent(private_mount, park)
    try:
        assert one.adopt() == "success"
        one.link.close()
        private_mount.process.kill()
        private_mount.process.wait(10)
        assert one.wait() == 0
    finally:
        one.end()


def test_an_adopted_process_that_is_killed_is_reaped_by_its_parent(mount, parent):
    one = parent(park)
    one.adopt("child")
    assert mount.embryo("child").ask("kill") == len("kill")
    assert one.wait() == -9
    assert eventually(lambda: mount.ids() == [])


def test_one_that_has_died_has_no_memory_to_be_looked_at(mount, parent):
    one = parent(park)
    one.adopt("child")
    child = mount.embryo("child")
    os.kill(one.pid, signal.SIGKILL)
    assert eventually(lambda: "exited" in child.read("ctl"))
    assert child.mem() == []
    assert one.wait() == -9


def test_killed_at_any_moment_nothing_hangs(mount, parent):
    for n in range(15):
        one = parent(park)
        killer = os.fork()
        if killer == 0:
            time.sleep(n * 0.0003)
            os.kill(one.pid, signal.SIGKILL)
            os._exit(0)
        answer = one.tell(f"adopt {one.link.fileno()}\nnice 1\nresume\n")
        os.waitpid(killer, 0)
        assert one.wait() in (-9, 0), answer
    assert eventually(lambda: mount.ids() == [])
