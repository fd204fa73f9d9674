#!/usr/bin/env python3
"""Runs clang-tidy over the C++ sources of the product, as compile_commands.json says they are compiled.

    tests/lint/tidy.py BUILD_DIRECTORY [FILE...]     all files when none is named

A file that was clean is not looked at again until it, a header of ours that it reaches, the way it is compiled, or
.clang-tidy changes.
"""
import hashlib
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import rooms

CLANG_TIDY = "clang-tidy-19"
ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("fs", "daemon", "client")
SECONDS_A_FILE = 240
FINDING = re.compile(r"^(?=\S+:\d+:\d+: (?:error|warning): )", re.MULTILINE)   # the place where one begins


def commands(build):
    """file, named from the root -> the command that compiles it; the C++ sources of the product."""
    entries = json.loads((build / "compile_commands.json").read_text())
    named = {os.path.relpath(entry["file"], ROOT): entry["command"] for entry in entries}
    return {name: command for name, command in named.items()
            if name.endswith(".cpp") and any(rooms.within(name, folder) for folder in FOLDERS)}


def reached(name, seen):
    """Adds to `seen` the file and all files of ours that it includes."""
    if name not in seen:
        seen.add(name)
        for _, header, _ in rooms.includes(ROOT, name):
            for file in rooms.resolved(ROOT, rooms.room_of(name), header):
                reached(file, seen)
    return seen


def fingerprint(name, command, version):
    digest = hashlib.sha256()
    for part in (version, command, (ROOT / ".clang-tidy").read_text()):
        digest.update(part.encode() + b"\0")
    for file in sorted(reached(name, set())):
        digest.update(file.encode() + b"\0" + (ROOT / file).read_bytes() + b"\0")
    return digest.hexdigest()


def complaint(name, build):
    """What clang-tidy says of a file; nothing if it is clean."""
    try:
        run = subprocess.run([CLANG_TIDY, "--quiet", "-p", build, name], cwd=ROOT, text=True, timeout=SECONDS_A_FILE,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except subprocess.TimeoutExpired:
        return f"{name}: {CLANG_TIDY} is not done after {SECONDS_A_FILE} s\n"
    if run.returncode == 0:
        return ""
    return run.stdout or run.stderr or f"{name}: {CLANG_TIDY} ended with {run.returncode}\n"


def main():
    build = Path(sys.argv[1]).resolve()
    known = commands(build)
    chosen = [os.path.relpath(file, ROOT) for file in sys.argv[2:]] or sorted(known)
    version = subprocess.run([CLANG_TIDY, "--version"], capture_output=True, text=True, check=True).stdout
    cache = build / "tidy-cache"
    cache.mkdir(exist_ok=True)
    marks = {name: cache / fingerprint(name, known[name], version) for name in chosen}
    stale = [name for name in chosen if not marks[name].exists()]

    failed, told = 0, set()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, said in zip(stale, pool.map(lambda name: complaint(name, build), stale)):
            if said:
                failed += 1
                new = [finding for finding in FINDING.split(said) if finding not in told]
                told.update(new)   # that of a header comes with every file that reaches it
                print(*new, sep="", end="", flush=True)
            else:
                marks[name].touch()
    print(f"{len(chosen)} files, {len(stale)} looked at, {failed} with findings")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
