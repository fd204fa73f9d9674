"""docs/languages: one program in ten languages, run as the table of docs/languages.md says, wherever the language is on the machine."""
import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mount import eventually, read

DOCS = Path(__file__).resolve().parents[2] / "docs"
FOLDER = DOCS / "languages"
ROW = re.compile(r"^\| ([^|]+) \| \[([^]]+)\]\(languages/\2\) \| (.*) \|$", re.M)
ROWS = ROW.findall((DOCS / "languages.md").read_text())
COMMANDS = [(program, command) for _, program, cell in ROWS for command in re.findall("`([^`]+)`", cell)]

OUTPUT = "ended: 'exit 3'\nletter: good morning, world\nmemory: thanks\n"
CHILDS_OWN = "limit 64\n"
REFUSAL = 'fd: open: Is a directory: "fd 1 open letter w"\n'


def on_this_machine(command):
    return shutil.which(command.split()[0]) is not None


@pytest.fixture(params=COMMANDS, ids=lambda row: row[1])
def run(request, mount, tmp_path):
    """Runs one of the commands in a directory that has the program."""
    program, command = request.param
    if not on_this_machine(command):
        pytest.skip("the language is not on this machine, or not for this user")
    shutil.copy(FOLDER / program, tmp_path)
    # Compilers that are installed in a home look for it there; Go keeps what it has compiled.
    surroundings = {"HOME": pwd.getpwuid(os.getuid()).pw_dir, "GOCACHE": f"{request.config.run_directory}/go"}
    return lambda **env: mount.sh(command, cwd=tmp_path, timeout=120, env=surroundings | env)


@pytest.mark.timeout(150)
def test_it_prints_what_all_print(run, mount, tmp_path):
    done = run()
    assert (done.stdout, done.stderr, done.returncode) == (OUTPUT, CHILDS_OWN, 0)
    assert read(tmp_path / "letter") == "good morning, world\n"
    assert eventually(lambda: mount.ids() == []), "it leaves something in the mount"


@pytest.mark.timeout(150)
def test_a_refused_line_is_its_end_and_the_reason_is_printed(run, mount, tmp_path):
    (tmp_path / "letter").mkdir()
    done = run()
    assert done.stdout == "" and REFUSAL in done.stderr and done.returncode != 0, done
    assert eventually(lambda: mount.ids() == []), "it leaves something in the mount"


@pytest.mark.timeout(150)
def test_without_a_mount_it_fails(run):
    done = run(PROC9="/nonexistent")
    assert done.stdout == "" and done.stderr != "" and done.returncode != 0, done


def test_the_table_has_every_program():
    assert sorted(program for _, program, _ in ROWS) == sorted(os.listdir(FOLDER))
    assert len(ROWS) == 10


@pytest.mark.parametrize("program", sorted(os.listdir(FOLDER)))
def test_it_has_less_than_40_lines(program):
    lines = (FOLDER / program).read_text().splitlines()
    assert len(lines) < 40 and max(map(len, lines)) <= 120


def test_the_one_in_C_is_plain_posix():
    done = subprocess.run(["cc", "-std=c11", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-pedantic", "-Werror", "-O2",
                           "-o", "/dev/null", FOLDER / "letter.c"], timeout=30, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_program_in_the_page_is_the_file():
    page = re.search(r"^\$ cat > letter.sh <<'SCRIPT'\n(.*?)^> SCRIPT$", (DOCS / "languages.md").read_text(), re.M | re.S)
    assert re.sub("^> ?", "", page.group(1), flags=re.M) == (FOLDER / "letter.sh").read_text()


def test_eight_languages_or_more_are_on_this_machine():
    here = {program for program, command in COMMANDS if on_this_machine(command)}
    assert len(here) >= 8, f"cmake/install-dependencies.sh --test installs what is missing; there are {sorted(here)}"
