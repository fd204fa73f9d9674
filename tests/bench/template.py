#!/usr/bin/python3
"""What an instance of a template costs, beside fork(2) of a process that holds as much.

    tests/bench/template.py --mount /proc9                        # the table of docs/performance.md, about a minute
    tests/bench/template.py --mount /proc9 --sizes 1M --rounds 5

Both sides hold SIZE of memory in 4 KiB pages, all of it written. They take turns in one run, so that what disturbs one
disturbs the other:

    proc9     one write of `fork` to the template's open ctl, from before the call to after it
    fork(2)   the call alone, in a small C program, from before it to after it in the parent; the child ends at once

Prints a Markdown table of medians. It mounts nothing, and leaves nothing behind on the mount.
"""
import argparse
import mmap
import os
import statistics
import subprocess
import tempfile
import time

UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
ADDRESS = 0x100000000
PIECE = 1 << 20

FORKER = r"""
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char** argv)
{
    const size_t size = argc == 2 ? strtoull(argv[1], NULL, 0) : 0;
    char* const memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || madvise(memory, size, MADV_NOHUGEPAGE) != 0) return 1;
    memset(memory, 0x55, size);
    puts("ready");
    fflush(stdout);
    for (char c; read(0, &c, 1) == 1;) {
        const long long before = now();
        const pid_t child = fork();
        if (child == 0) _exit(0);
        const long long after = now();
        if (child < 0 || waitpid(child, NULL, 0) != child) return 1;
        printf("%lld\n", after - before);
        fflush(stdout);
    }
}
"""


def size_of(text):
    return int(text[:-1]) * UNITS[text[-1]]


class Forker:
    """A process of that size that calls fork(2) when asked."""

    def __init__(self, program, size):
        self.process = subprocess.Popen([program, str(size)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"ready\n"

    def once(self):
        self.process.stdin.write(b".")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Template:
    """An embryo with a filled region of that size."""

    def __init__(self, mount, size):
        self.mount = mount
        ctl = os.open(f"{mount}/ctl", os.O_RDWR)
        os.write(ctl, b"efork\n")
        self.path = f"{mount}/{int(os.pread(ctl, 64, 0))}"
        os.close(ctl)
        self.ctl = os.open(f"{self.path}/ctl", os.O_RDWR)
        os.write(self.ctl, f"map {ADDRESS:#x} {size} rw-\n".encode())
        region = os.open(f"{self.path}/mem/{ADDRESS:x}", os.O_RDWR)
        with mmap.mmap(region, size) as view:
            os.close(region)
            for start in range(0, size, PIECE):
                length = min(PIECE, size - start)
                view[start:start + length] = b"\x55" * length

    def once(self):
        before = time.perf_counter_ns()
        os.write(self.ctl, b"fork\n")
        after = time.perf_counter_ns()
        os.rmdir(f"{self.mount}/{os.pread(self.ctl, 64, 0).split()[2].decode()}")
        return after - before

    def end(self):
        os.close(self.ctl)
        os.rmdir(self.path)


def compare(mount, program, size, rounds):
    """The times of both, in ns."""
    sides = Template(mount, size), Forker(program, size)
    try:
        for side in sides:
            side.once()  # the first of each pays for what is made once
        pairs = [[side.once() for side in sides] for _ in range(rounds)]
    finally:
        for side in sides:
            side.end()
    return zip(*pairs)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--mount", required=True, help="a mount of proc9d")
    arguments.add_argument("--sizes", default="1M,1G", help="with K, M or G, separated by commas")
    arguments.add_argument("--rounds", type=int, default=41)
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        program = f"{directory}/forker"
        subprocess.run(["cc", "-O2", "-x", "c", "-", "-o", program], input=FORKER.encode(), check=True)
        print("| template | `fork` in proc9 | fork(2) | ratio |\n|---|---|---|---|")
        for text in chosen.sizes.split(","):
            ours, theirs = map(statistics.median, compare(chosen.mount, program, size_of(text), chosen.rounds))
            print(f"| {text[:-1]} {text[-1]}iB | {ours / 1000:.0f} us | {theirs / 1000:.0f} us | {theirs / ours:.2g} |", flush=True)


if __name__ == "__main__":
    main()
