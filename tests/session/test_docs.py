"""Every example of the documentation is run, and what the documentation names exists.

A block fenced as ```console holds commands (`$ command`, continued with `> `) and what they print, on standard output
and standard error alike. Each block runs in a bash of its own, in an empty directory, with /proc9 replaced by the mount
under test, proc9d the one under test, $SOURCE the checkout and $LIB the folder of the libraries. In the expected output

    ...          stands for anything; alone on a line, for any number of lines
    4242         stands for the pid of some process
    4242 0 1 2 ''   a line of `wait`: the times are not compared

A block that needs root is fenced as ```console root, one that needs another machine as ```console hosts: test_hosts.py runs it. One that
goes on where the one before it has ended is fenced as ```console on: the same bash runs both. Blocks that are not to be run are fenced as ```sh or ```text.
"""
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LANGUAGES = ("console", "console root", "console on", "console hosts", "sh", "text")
MOUNT = re.compile(r"(?<![\w.])/proc9(?![\w.-])")


def blocks(page):
    """(language, number of the first line, text) of each fenced block."""
    language, start, lines = None, 0, []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if language is None and line.startswith("```"):
            language, start, lines = line[3:].strip(), number + 1, []
        elif language is not None and line == "```":
            yield language, start, "".join(f"{text}\n" for text in lines)
            language = None
        elif language is not None:
            lines.append(line)
    assert language is None, f"{page}:{start}: the block has no end"


def name(page):
    return page.relative_to(ROOT).as_posix()


def dialogues(page):
    """(language, number of the first line, text) of what is run, with what goes on behind it."""
    found = []
    for language, start, text in blocks(page):
        if language == "console on":
            found[-1] = (*found[-1][:2], found[-1][2] + text)
        elif language.startswith("console"):
            found.append((language, start, text))
    return found


def examples():
    return [pytest.param(text, id=f"{name(page)}:{start}", marks=[pytest.mark.mode("root")] * ("root" in language))
            for page in PAGES for language, start, text in dialogues(page) if language != "console hosts"]


def dialogue(text):
    """The commands of a block and the output expected of all of them together."""
    commands, output, in_command = [], [], False
    for line in text.splitlines():
        if line.startswith("$ "):
            commands.append(line[2:])
            in_command = True
        elif in_command and (line == ">" or line.startswith("> ")):
            commands.append(line[2:])
        else:
            output.append(line)
            in_command = False
    return "".join(f"{line}\n" for line in commands), output


def pattern(lines):
    """A regular expression that matches what the expected lines allow."""
    whole = ""
    for line in lines:
        if line == "...":
            whole += r"(?s:.*)"
            continue
        part = re.escape(line).replace(re.escape("..."), ".*").replace("4242", r"\d+")
        whole += re.sub(r"^\\d\+(\\ \d+){3}\\ (?=')", lambda _: r"\d+ \d+ \d+ \d+ ", part) + "\n"
    return whole


def run_example(mount, programs, block):
    commands, expected = dialogue(MOUNT.sub(lambda _: mount.path, block))
    assert commands, "a console block without a command"
    path = os.path.dirname(mount.program) + ":" + os.environ["PATH"]
    done = mount.sh(f"cd \"$(mktemp -d)\"\nexec 2>&1\n{commands}", shell="bash", timeout=30,
                    env={"SOURCE": str(ROOT), "LIB": programs, "PATH": path})
    assert re.fullmatch(pattern(expected), done.stdout), done.stdout


@pytest.mark.parametrize("block", examples())
def test_example(mount, programs, block):
    run_example(mount, programs, block)


def test_pattern():
    """The matching itself: an example must not pass because everything matches."""
    wait = pattern(["4242 0 1 2 ''"])
    assert re.fullmatch(wait, "17 5 66 700 ''\n")
    assert not re.fullmatch(wait, "17 5 66 700 'exit 1'\n")
    assert not re.fullmatch(wait, "17 5 66 ''\n")
    assert re.fullmatch(pattern(["a", "...", "b"]), "a\nx\ny\nb\n")
    assert re.fullmatch(pattern(["4242 a ... c"]), "7 a b c\n")
    assert not re.fullmatch(pattern(["a"]), "a\nb\n")
    assert re.fullmatch(pattern([]), "")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_says_what_it_is(page):
    assert [f"{name(page)}:{start}" for language, start, _ in blocks(page) if language not in LANGUAGES] == []


def test_the_readme_begins_with_the_transcript():
    import test_transcript
    page = ROOT / "README.md"
    language, start, text = next(blocks(page))
    assert (language, text) == ("console", test_transcript.TRANSCRIPT)
    before = [line for line in page.read_text().splitlines()[:start - 2] if line]
    assert len(before) <= 1, f"before the transcript there is more than a title: {before}"


# --- what the pages name exists -------------------------------------------------------------------------------------

LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
SOURCE = re.compile(r"`((?:fs|daemon|cmake|tests|docs)/[\w./*-]*)`")


def prose(page):
    text = page.read_text()
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    targets = [t for t in LINK.findall(prose(page)) if "://" not in t]
    assert [t for t in targets if not (page.parent / t).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_source_files_that_are_named_exist(page):
    assert [s for s in SOURCE.findall(prose(page)) if not any(ROOT.glob(s.rstrip("/")))] == []


def test_the_contents_page_leads_to_every_page():
    contents = ROOT / "docs/README.md"
    named = {(contents.parent / target).resolve() for target in LINK.findall(contents.read_text())}
    assert [name(page) for page in PAGES[1:] if page.parent.name != "adr" and page not in {*named, contents}] == []


def test_decisions_are_numbered_without_gaps_and_listed():
    records = sorted(p.name for p in (ROOT / "docs/adr").glob("[0-9]*.md"))
    assert [r[:4] for r in records] == [f"{n:04}" for n in range(1, len(records) + 1)]
    index = (ROOT / "docs/adr/README.md").read_text()
    assert [r for r in records if f"]({r})" not in index] == []


# --- the reference against `help` -----------------------------------------------------------------------------------

def helped(mount):
    """The usages and the files that `help` lists, each with its summary."""
    commands, files, into = {}, {}, None
    for line in mount.out("cat $PROC9/help").splitlines():
        if not line.startswith("  "):
            into = files if line.startswith("Files") else commands
        elif len(line) > 48 and line[48] == " " and line[:48].rstrip() != line[:48]:
            into[line[2:48].rstrip()] = line[49:].strip()
        else:  # a usage that is longer than its column ends with a bracket
            usage, summary = re.fullmatch(r"  (.*\]) (.*)", line).groups()
            into[usage] = summary
    return commands, files


def rows(page, heading):
    """The first column of the tables under a heading, which stands in backticks."""
    section = re.search(rf"^## {heading}$(.*?)(?=^## |\Z)", page.read_text(), re.M | re.S).group(1)
    return [row.replace("\\|", "|") for row in re.findall(r"^\| `([^`]+)` \|", section, re.M)]


def test_the_reference_has_exactly_the_commands_of_help(mount):
    commands, _ = helped(mount)
    assert sorted(rows(ROOT / "docs/reference.md", "Commands")) == sorted(commands)


def test_the_reference_has_exactly_the_files_of_help(mount):
    _, files = helped(mount)
    inside = ("N/mem/ADDR", "N/fd/N", "N/ns/KIND", "N/env/NAME", "NAME", "N/")
    assert sorted(set(rows(ROOT / "docs/reference.md", "The tree")) - set(inside)) == sorted(files)
