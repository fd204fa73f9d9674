#!/usr/bin/env python3
"""rooms.py on small made-up trees: what it must find, and what it must leave alone."""
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import rooms

def findings(tree):
    with tempfile.TemporaryDirectory() as root:
        for name, text in tree.items():
            path = Path(root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return list(rooms.findings(root))


class Arrows(unittest.TestCase):
    """Each row: who includes whom, and whether that is allowed."""

    ROWS = (
        ("fs/ctl/a.cpp", "fs/core/x.hpp", True),
        ("fs/node/a.cpp", "fs/ctl/x.hpp", True),
        ("fs/fuse/a.cpp", "fs/node/x.hpp", True),
        ("fs/fuse/a.cpp", "fs/fuse/x.hpp", True),
        ("daemon/os/a.cpp", "fs/core/x.hpp", True),
        ("daemon/os/x86_64/a.cpp", "daemon/os/x.hpp", True),
        ("daemon/os/a.cpp", "daemon/stub/wire.h", True),
        ("daemon/main.cpp", "daemon/os/x.hpp", True),
        ("tests/unit/os/a.cpp", "daemon/os/x.hpp", True),
        ("fs/core/a.cpp", "fs/ctl/x.hpp", False),
        ("fs/core/a.hpp", "daemon/os/x.hpp", False),
        ("fs/ctl/a.cpp", "fs/node/x.hpp", False),
        ("fs/node/a.cpp", "fs/fuse/x.hpp", False),
        ("fs/fuse/a.cpp", "daemon/os/x.hpp", False),
        ("daemon/os/a.cpp", "fs/ctl/x.hpp", False),
        ("daemon/os/x86_64/a.cpp", "fs/node/x.hpp", False),
        ("daemon/os/a.cpp", "daemon/stub/other.h", False),
        ("daemon/stub/a.c", "fs/core/x.hpp", False),
        ("client/a.cpp", "fs/core/x.hpp", False),
        ("client/a.cpp", "daemon/stub/wire.h", False),
        ("fs/core/a.cpp", "tests/unit/x.hpp", False),
    )

    def test_rows(self):
        for who, whom, allowed in self.ROWS:
            with self.subTest(who=who, whom=whom):
                found = findings({who: f'// first line\n#include "{whom}"\n', whom: ""})
                self.assertEqual(found == [], allowed, found)
                self.assertTrue(all(f.startswith(f"{who}:2: ") for f in found), found)

    def test_angle_brackets_are_no_way_round(self):
        self.assertTrue(findings({"fs/core/a.cpp": "#include <fs/ctl/x.hpp>\n", "fs/ctl/x.hpp": ""}))

    def test_a_path_relative_to_the_file_is_refused(self):
        self.assertTrue(findings({"fs/core/a.cpp": '#include "x.hpp"\n', "fs/core/x.hpp": ""}))

    def test_the_architecture_chooses_among_headers(self):
        tree = {"daemon/stub/a.c": '#include "arch.h"\n',
                "daemon/stub/x86_64/arch.h": "", "daemon/stub/riscv64/arch.h": ""}
        self.assertEqual([], findings(tree))
        self.assertTrue(findings({"daemon/os/a.cpp": '#include "arch.h"\n', **tree}))

    def test_a_file_outside_all_rooms_is_refused(self):
        self.assertTrue(findings({"fs/core/a.cpp": '#include "util/x.hpp"\n', "util/x.hpp": ""}))


class SystemHeaders(unittest.TestCase):
    ROWS = (
        ("fs/core/a.cpp", "vector", True),
        ("fs/node/a.cpp", "sys/stat.h", True),
        ("fs/fuse/a.cpp", "fuse_lowlevel.h", True),
        ("daemon/os/a.cpp", "sys/ptrace.h", True),
        ("daemon/stub/a.c", "linux/sched.h", True),
        ("daemon/stub/a.c", "sys/mman.h", True),
        ("daemon/main.cpp", "unistd.h", True),
        ("fs/core/a.cpp", "unistd.h", False),
        ("fs/core/a.hpp", "sys/stat.h", False),
        ("fs/ctl/a.cpp", "fuse_lowlevel.h", False),
        ("fs/ctl/a.cpp", "fuse3/fuse.h", False),
        ("fs/node/a.cpp", "sys/wait.h", False),
        ("fs/fuse/a.cpp", "sys/ptrace.h", False),
        ("daemon/os/a.cpp", "fuse.h", False),
        ("daemon/stub/a.c", "string.h", False),
        ("daemon/stub/x86_64/a.S", "unistd.h", False),
        ("daemon/stub/a.c", "cstdint", False),
    )

    def test_rows(self):
        for who, header, allowed in self.ROWS:
            with self.subTest(who=who, header=header):
                found = findings({who: f"  #  include <{header}>\n"})
                self.assertEqual(found == [], allowed, found)


class Circles(unittest.TestCase):
    def test_a_tree_without_any(self):
        self.assertEqual([], findings({"fs/core/a.hpp": '#include "fs/core/b.hpp"\n#include "fs/core/c.hpp"\n',
                                       "fs/core/b.hpp": '#include "fs/core/c.hpp"\n',
                                       "fs/core/c.hpp": ""}))

    def test_of_three(self):
        found = findings({"fs/core/a.hpp": '#include "fs/core/b.hpp"\n',
                          "fs/core/b.hpp": '\n#include "fs/core/c.hpp"\n',
                          "fs/core/c.hpp": '\n\n#include "fs/core/a.hpp"\n'})
        self.assertEqual(found, ["fs/core/c.hpp:3: circle of includes: "
                                 "fs/core/a.hpp -> fs/core/b.hpp -> fs/core/c.hpp -> fs/core/a.hpp"])

    def test_of_one(self):
        self.assertEqual(1, len(findings({"fs/core/a.hpp": '#include "fs/core/a.hpp"\n'})))

    def test_two_that_share_a_file(self):
        self.assertEqual(2, len(findings({"fs/core/a.hpp": '#include "fs/core/b.hpp"\n#include "fs/core/c.hpp"\n',
                                          "fs/core/b.hpp": '#include "fs/core/a.hpp"\n',
                                          "fs/core/c.hpp": '#include "fs/core/a.hpp"\n'})))


class Program(unittest.TestCase):
    def run_on(self, text):
        with tempfile.TemporaryDirectory() as root:
            Path(root, "fs/core").mkdir(parents=True)
            Path(root, "fs/core/a.cpp").write_text(text)
            return subprocess.run([sys.executable, rooms.__file__, root], capture_output=True, text=True, timeout=30)

    def test_exit_status_and_output(self):
        clean, dirty = self.run_on("#include <vector>\n"), self.run_on("#include <unistd.h>\n")
        self.assertEqual((clean.returncode, clean.stdout), (0, ""))
        self.assertEqual((dirty.returncode, dirty.stdout),
                         (1, "fs/core/a.cpp:1: fs/core may not include <unistd.h>\n"))


if __name__ == "__main__":
    unittest.main()
