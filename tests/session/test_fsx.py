"""Random reads, writes, truncations, mappings of one file against a model in memory.

    PROC9_FSX_OPERATIONS=100000 PROC9_FSX_SEED=7 pytest tests/session/test_fsx.py
"""
import mmap
import os
import random

import pytest

from mount import errno_of

OPERATIONS = int(os.environ.get("PROC9_FSX_OPERATIONS", 1500))
SEED = int(os.environ.get("PROC9_FSX_SEED", random.randrange(1 << 32)))
PAGE = 4096
A, B = 0x10000000, 0x20000000


class Modelled:
    """A file, and what should be in it. An operation is a method; what was done is told when something differs."""
    largest = 40 * PAGE
    has_holes = True

    def __init__(self, embryo, path):
        self.embryo, self.path, self.model, self.random, self.done = embryo, path, bytearray(), random.Random(SEED), []
        self.fds = [os.open(path, os.O_RDWR | os.O_CREAT, 0o600)]

    def close(self):
        for fd in self.fds:
            os.close(fd)

    def run(self):
        for _ in range(OPERATIONS):
            operation = self.random.choice(self.operations)
            self.done.append([operation.__name__])
            assert operation(self) in (True, None), f"seed {SEED}, at the end of: {self.done[-20:]}"
        self.check()

    def pick(self, *numbers):
        self.done[-1] += numbers
        return numbers if len(numbers) > 1 else numbers[0]

    def fd(self):
        return self.random.choice(self.fds)

    def extent(self, end):
        """An offset and a length before `end`, often at the edges of pages."""
        offset, length = self.random.randint(0, end), self.random.choice((1, 7, PAGE, self.random.randint(1, 3 * PAGE)))
        if self.random.random() < 0.3:
            offset -= offset % PAGE
        return self.pick(offset, min(length, end - offset))

    def bytes(self, length):
        return self.random.randbytes(length).replace(b"\0", b"0")

    def place(self, offset, data):
        self.model.extend(bytes(max(0, offset + len(data) - len(self.model))))
        self.model[offset:offset + len(data)] = data

    def read(self):
        offset, length = self.extent(len(self.model) + PAGE)
        return os.pread(self.fd(), length, offset) == self.model[offset:offset + length]

    def write(self):
        offset, length = self.extent(self.largest if self.has_holes else len(self.model) + PAGE)
        if not self.has_holes:
            offset = min(offset, len(self.model))
        data = self.bytes(length)
        if data:
            self.place(offset, data)
        return os.pwrite(self.fd(), data, offset) == length

    def append(self):
        data = self.bytes(self.random.randint(1, PAGE))
        if len(self.model) + len(data) <= self.largest:
            fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)
            os.write(fd, data)
            os.close(fd)
            self.place(len(self.model), data)

    def truncate(self):
        size = self.pick(self.random.randint(0, self.largest if self.has_holes else len(self.model)))
        self.random.choice((lambda: os.ftruncate(self.fd(), size), lambda: os.truncate(self.path, size)))()
        self.model[size:] = bytes(max(0, size - len(self.model)))

    def reopen(self):
        if len(self.fds) > 3:
            os.close(self.fds.pop(0))
        self.fds.append(os.open(self.path, os.O_RDWR))

    def check(self):
        with open(self.path, "rb") as f:
            same = f.read() == self.model
        return same and all(os.fstat(fd).st_size == len(self.model) for fd in self.fds)

    operations = [read, read, write, write, write, append, truncate, reopen, check]


class Region(Modelled):
    """The file that was created stays open: in the user's mode the daemon serves that itself."""

    def view(self):
        fd = os.open(self.path, os.O_RDWR)
        try:
            return mmap.mmap(fd, len(self.model))
        finally:
            os.close(fd)

    def read_mapped(self):
        if self.model:
            offset, length = self.extent(len(self.model))
            with self.view() as view:
                return view[offset:offset + length] == self.model[offset:offset + length]

    def write_mapped(self):
        if self.model:
            offset, length = self.extent(len(self.model))
            data = self.bytes(length)
            with self.view() as view:
                view[offset:offset + length] = data
                if self.random.random() < 0.5:
                    view.flush()
            self.place(offset, data)

    def copy_range(self):
        offset, length = self.extent(len(self.model) // 2)
        if length:
            fd, to = self.fd(), len(self.model) // 2 + offset
            os.fstat(fd)  # the kernel copies up to the length that it knows
            assert os.copy_file_range(fd, fd, length, offset, to) == length
            self.place(to, self.model[offset:offset + length])

    def command(self):
        """Whatever was written by whatever way, the mapping has its length."""
        self.embryo.tell("umask 022")
        pages = -(-len(self.model) // PAGE) * PAGE
        start = int(os.path.basename(self.path), 16)
        return self.embryo.ranges() == ([(start, start + pages, "rw-")] if pages else [])

    def move(self):
        directory, name = os.path.split(self.path)
        to = os.path.join(directory, f"{A if name == f'{B:x}' else B:x}")
        os.rename(self.path, to)
        self.path = to

    def protect(self):
        os.chmod(self.path, 0o400)
        os.chmod(self.path, 0o600)

    operations = Modelled.operations + [read_mapped, write_mapped, write_mapped, copy_range, command, move, protect]


class Variable(Modelled):
    largest = 1 << 20
    has_holes = False

    def move(self):
        os.rename(self.path, self.path + "_")
        self.path += "_"
        if len(os.path.basename(self.path)) == 255:
            self.path = self.path[:-200]
            os.rename(self.path + 200 * "_", self.path)

    operations = Modelled.operations + [move]


pytestmark = pytest.mark.timeout(60 + OPERATIONS // 100)


@pytest.mark.parametrize("kind, path", [(Region, f"mem/{A:x}"), (Variable, "env/A")])
def test_random_operations_on(embryo, kind, path):
    file = kind(embryo, embryo.P(path))
    try:
        file.run()
    finally:
        file.close()


def test_random_operations_on_memory_that_two_have(mount, embryo):
    """And what was done to it here is what the other one sees."""
    other = mount.efork()
    file = Region(embryo, embryo.P(f"mem/{A:x}"))
    try:
        os.ftruncate(file.fds[0], PAGE)
        file.model = bytearray(PAGE)
        os.link(file.path, other.P(f"mem/{A:x}"))
        file.run()
        with open(other.P(f"mem/{A:x}"), "rb") as f:
            assert f.read() == file.model
    finally:
        file.close()
    assert errno_of(os.unlink, other.P(f"mem/{A:x}")) == "success"
