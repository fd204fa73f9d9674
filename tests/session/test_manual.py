"""The manual pages of docs/man: clean, and complete beside the tables, the help of the programs and the header.

Pages are compared as they are read: formatted by mandoc, in plain text.
"""
import json
import re
import subprocess
import textwrap
from pathlib import Path

import pytest

from test_docs import helped, run_example

ROOT = Path(__file__).resolve().parents[2]
MAN = ROOT / "docs/man"
PAGES = sorted(MAN.glob("*.[1-8]"))
TOLD = [page for page in PAGES if not page.read_text().startswith(".so ")]
LEADS = [page for page in PAGES if page not in TOLD]


def mandoc(*words):
    return subprocess.run(["mandoc", *map(str, words)], capture_output=True, text=True, timeout=20)


def formatted(page):
    text = mandoc("-T", "ascii", "-O", "width=400", MAN / page).stdout
    return re.sub(".\b", "", text)


def section(text, name):
    return re.search(rf"^{name}\n(.*?)(?=^\S)", text, re.M | re.S)[1]


def lines(text):
    return [line.strip() for line in text.splitlines()]


def asked(*words, **options):
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, **options)
    assert done.returncode == 0, done
    return done.stdout


@pytest.mark.parametrize("page", TOLD, ids=lambda page: page.name)
def test_a_page_has_no_finding(page):
    done = mandoc("-T", "lint", "-W", "warning", page)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("page", TOLD, ids=lambda page: page.name)
def test_pages_of_ours_that_are_named_exist(page):
    named = re.findall(r"^\.(?:It )?Xr (\S*(?:proc9|p9)\S*) (\d)", page.read_text(), re.M)
    assert [f"{name}.{number}" for name, number in named if not (MAN / f"{name}.{number}").exists()] == []


# --- examples -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("page", ["proc9.5", "p9.1"])
def test_the_dialogues_of_a_page_are_what_happens(mount, programs, page):
    shown = re.findall(r"(?:^ {11}.*\n)+", section(formatted(page), "EXAMPLES"), re.M)
    assert shown
    for block in shown:
        run_example(mount, programs, "$ export PATH=$LIB:$PATH\n" + textwrap.dedent(block))


def test_the_program_of_libproc9_runs_as_it_stands(mount, programs, tmp_path):
    (tmp_path / "greet.c").write_text(section(formatted("libproc9.3"), "EXAMPLES"))
    asked("cc", f"-I{ROOT}/client", f"{tmp_path}/greet.c", f"{programs}/libproc9.a", "-o", f"{tmp_path}/greet")
    assert mount.out(f"{tmp_path}/greet") == "hello\nit ended with 3\n"


# --- proc9(5) against the tables ------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def tables(request):
    return json.loads(asked(request.config.getoption("--proc9d"), "--tables"))


def test_help_says_what_the_tables_say(mount, tables):
    commands, files = helped(mount)
    assert commands == {c["usage"]: c["summary"] for c in tables["commands"]}
    assert files == {f["name"]: f["summary"] for f in tables["files"]}


def test_every_command_is_told_as_it_is_written(tables):
    told = lines(section(formatted("proc9.5"), "COMMANDS"))
    heads = [re.split(r"  +", line)[0] for line in told]
    assert [c["usage"] for c in tables["commands"] if c["usage"] not in heads] == []


def test_every_file_is_told_with_its_mode(tables):
    heads = [re.split(r"  +", line)[0] for line in lines(section(formatted("proc9.5"), "THE TREE"))]
    wanted = [f"{f['name']} ({'link' if f['mode'] == '0777' else f['mode']})" for f in tables["files"]]
    assert [head for head in wanted if head not in heads] == []


# --- p9(1) and proc9d(8) against the programs -----------------------------------------------------------------------

@pytest.fixture
def p9(mount, programs):
    return lambda *words: asked(f"{programs}/p9", "-m", mount.path, *words)


def spelled_options(helped):
    """-s, --signal SIG as help has them; a summary stands far to the right, or on a line of its own."""
    return [re.split(r"  +", line.strip())[0] for line in re.findall(r"^  +-.*", helped, re.M)]


def commands_told():
    """The text of each sub-command in p9(1), by its first line."""
    text = section(formatted("p9.1"), "COMMANDS")
    pieces = re.split(r"^ {5}(?=\S)", text, flags=re.M)[1:]
    return {re.split(r"  +|\n", piece)[0]: piece for piece in pieces}


def test_every_command_of_p9_is_told_with_its_options(p9):
    told = commands_told()
    usages = re.findall(r"^  ([a-z].*?)(?:  |$)", p9("help"), re.M)
    assert sorted(usages) == sorted(told)
    for usage in usages:
        own = [o for o in spelled_options(p9("help", usage.split()[0])) if o != "-h, --help"]
        if usage.split()[0] != "run":
            assert [o for o in own if not re.search(rf"^ +{re.escape(o)}(  |$)", told[usage], re.M)] == [], usage


def test_the_page_in_docs_names_every_command_of_p9(p9):
    told = (ROOT / "docs/p9.md").read_text()
    assert [name for name in re.findall(r"^  ([a-z]+)(?= |$)", p9("help"), re.M) if f"`p9 {name}" not in told] == []


def test_every_option_of_p9_and_of_run_is_told_and_no_other(p9):
    text = formatted("p9.1")
    own = [re.split(r"  +", line)[0] for line in lines(section(text, "DESCRIPTION")) if line.startswith("-")]
    assert sorted(own) == sorted(spelled_options(p9("help")))
    told = [re.split(r"  +", line)[0] for line in lines(section(text, "OPTIONS OF RUN")) if line.startswith("-")]
    assert sorted(told) == sorted(o for o in spelled_options(p9("help", "run")) if o != "-h, --help")


def test_every_option_of_proc9d_is_told_with_its_default(request):
    told = section(formatted("proc9d.8"), "OPTIONS")
    helped = asked(request.config.getoption("--proc9d"), "--help").partition("Options:")[2]
    options = re.findall(r"^  (-\S+)(?: \S.*?=(\S+?))?(?:  |$)", helped, re.M)
    assert len(options) >= 10
    for names, default in options:
        entry = re.search(rf"^ +{re.escape(names.replace(',', ', '))}(?: \w+)?(?:  |$)(.*?)(?=^ +-|\Z)", told, re.M | re.S)
        assert entry, f"proc9d.8 does not tell {names}"
        assert default in entry[1], f"{names}: the default is {default}"


# --- section 3 against the header -----------------------------------------------------------------------------------

def prototypes():
    """Each function of proc9.h as it is declared, without blanks."""
    text = re.sub(r"/\*.*?\*/|__attribute__\(\(.*?\)\)\) ", "", (ROOT / "client/proc9.h").read_text(), flags=re.S)
    return {name: re.sub(r"\s", "", whole) for whole, name in re.findall(r"^(\w+\*? (proc9_\w+)\([^;]*;)", text, re.M)}


def test_every_function_is_declared_in_a_page_as_in_the_header():
    declared = prototypes()
    exported = re.findall(r"^ +(proc9_\w+);", (ROOT / "client/libproc9.map").read_text(), re.M)
    assert sorted(declared) == sorted(exported)
    synopses = "".join(re.sub(r"\s", "", section(formatted(page.name), "SYNOPSIS")) for page in TOLD if page.suffix == ".3")
    assert [name for name, whole in declared.items() if whole not in synopses] == []


def test_the_page_in_docs_names_every_function():
    told = (ROOT / "docs/libproc9.md").read_text()
    assert [name for name in prototypes() if not re.search(rf"\b{name}\b", told)] == []


def test_every_function_has_a_page_of_its_name():
    assert [name for name in prototypes() if not (MAN / f"{name}.3").exists()] == []


@pytest.mark.parametrize("page", LEADS, ids=lambda page: page.name)
def test_a_page_that_leads_leads_to_one_that_tells_it(page):
    target = MAN.parent / page.read_text().removeprefix(".so ").strip().replace("man3/", "man/")
    assert target in TOLD
    assert page.stem in re.split(r"[,\s]+", section(formatted(target.name), "NAME"))


def test_the_page_of_the_preload_library_names_all_that_it_replaces():
    replaced = re.findall(r"^ +([a-z]\w+\*?);", (ROOT / "client/preload/preload.map").read_text(), re.M)
    told = formatted("libproc9_preload.7")
    assert [name for name in replaced if name != "proc9_*" and f"{name}()" not in told] == []
