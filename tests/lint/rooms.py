#!/usr/bin/env python3
"""Checks that the includes follow the arrows between the rooms, and that no files include each other in a circle.

    tests/lint/rooms.py [ROOT]

Prints one line `file:line: what is wrong` for each finding and exits with 1 if there is any.
"""
import fnmatch
import re
import sys
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = {".c", ".cpp", ".h", ".hpp", ".S"}
INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')
LIBFUSE = ("fuse*", "fuse3/*")


@dataclass(frozen=True)
class Room:
    folder: str
    may: tuple = ()               # rooms, or single files, it may include; itself always
    never: tuple = ()             # patterns of system headers it may not include
    only: tuple = ()              # patterns of the only system headers it may include; empty: all
    by_architecture: tuple = ()   # headers of its own that each architecture has in a folder of its name


ROOMS = (
    Room("fs/core", never=("unistd.h", "sys/*", *LIBFUSE)),
    Room("fs/ctl", may=("fs/core",), never=("unistd.h", "sys/*", *LIBFUSE)),
    Room("fs/recipe", may=("fs/core", "fs/ctl"), never=("unistd.h", "sys/*", *LIBFUSE)),
    Room("fs/node", may=("fs/core", "fs/ctl", "fs/recipe"),
         never=("unistd.h", "sched.h", "spawn.h", "pthread.h", "syscall.h", "sys/clone.h", "sys/mman.h", "sys/pidfd.h",
                "sys/prctl.h", "sys/ptrace.h", "sys/resource.h", "sys/syscall.h", "sys/wait.h", *LIBFUSE)),
    Room("fs/fuse", may=("fs/core", "fs/ctl", "fs/node"),
         never=("sched.h", "spawn.h", "sys/pidfd.h", "sys/ptrace.h", "sys/socket.h", "sys/un.h", "sys/wait.h")),
    Room("daemon/keeper", never=LIBFUSE),
    Room("daemon/os", may=("fs/core", "daemon/keeper", "daemon/stub/wire.h"), never=LIBFUSE),
    # Of libc only what declares numbers and structures; nothing of C++, whose headers have no suffix.
    Room("daemon/stub", only=("*.h",), by_architecture=("arch.h",),
         never=("assert.h", "dlfcn.h", "malloc.h", "pthread.h", "stdio.h", "stdlib.h", "string.h", "time.h", "unistd.h",
                "wchar.h", *LIBFUSE)),
    # Stands in the place of the C library, for tests: proc9d_faults.
    Room("daemon/faults", may=("daemon/stub/wire.h",), never=LIBFUSE),
    Room("daemon", may=("fs/core", "fs/ctl", "fs/node", "fs/fuse", "daemon/keeper", "daemon/os")),
    Room("client", by_architecture=("machine.h",)),
    Room("tests", may=("fs/core", "fs/ctl", "fs/recipe", "fs/node", "fs/fuse", "daemon/keeper", "daemon/os", "daemon/stub", "daemon", "client")),
)


def within(path, folder):
    return path == folder or path.startswith(folder + "/")


def room_of(path):
    """The innermost room that a path, relative to the root, lies in."""
    found = [room for room in ROOMS if within(path, room.folder)]
    return max(found, key=lambda room: len(room.folder), default=None)


def matches(header, patterns):
    return any(fnmatch.fnmatchcase(header, pattern) for pattern in patterns)


def sources(root):
    for room in ROOMS:
        for path in sorted((root / room.folder).rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.suffix in SUFFIXES and path.is_file() and room_of(name) is room:
                yield name


def resolved(root, room, header):
    """The files of ours that a header is, named from the root; several if each architecture has one."""
    if header in room.by_architecture:
        return [path.relative_to(root).as_posix() for path in sorted((root / room.folder).glob(f"*/{header}"))]
    return [header] if (root / header).is_file() else []


def includes(root, name):
    """(line number, header, is it in quotes) of each include of a file."""
    for number, line in enumerate((root / name).read_text(errors="replace").splitlines(), 1):
        if match := INCLUDE.match(line):
            yield number, match[2], match[1] == '"'


def allowed(room, name):
    target = room_of(name)
    return target is room or name in room.may or (target is not None and target.folder in room.may)


def objection(room, header, quoted, files):
    """What is wrong with this include, of these files, in this room; None if nothing is."""
    if quoted and not files:
        return f'"{header}" is no file; our own are named from the root of the repository'
    if files:
        return None if all(allowed(room, f) for f in files) else f'{room.folder} may not include "{header}"'
    if matches(header, room.never) or (room.only and not matches(header, room.only)):
        return f"{room.folder} may not include <{header}>"
    return None


def cycle_findings(graph):
    """One finding for each include that closes a circle. graph: file -> [(line, included file)]."""
    state = {}  # absent: not seen, True: on the way, False: done

    def visit(name, way):
        state[name] = True
        for number, target in graph.get(name, ()):
            if state.get(target) is None:
                yield from visit(target, way + [target])
            elif state[target]:
                circle = way[way.index(target):] + [target]
                yield f"{name}:{number}: circle of includes: {' -> '.join(circle)}"
        state[name] = False

    for name in graph:
        if name not in state:
            yield from visit(name, [name])


def findings(root):
    root = Path(root)
    graph = {}
    for name in sources(root):
        room, graph[name] = room_of(name), []
        for number, header, quoted in includes(root, name):
            files = resolved(root, room, header)
            graph[name] += [(number, file) for file in files]
            if wrong := objection(room, header, quoted, files):
                yield f"{name}:{number}: {wrong}"
    yield from cycle_findings(graph)


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parents[2]
    found = list(findings(root))
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
