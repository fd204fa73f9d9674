#!/usr/bin/env python3
"""Makes the pages of docs/ that stand partly in the daemon's tables: NAME from NAME.in, Markdown and manual pages (mdoc(7)).

    docs/generate.py PROC9D           writes them
    docs/generate.py --check PROC9D   says which are not up to date, and exits with 1 if there is any

In an .in file a line `@NAME` stands for the command or the file NAME of the tables: its forms, and what it does. `@options` stands
for all commands of a process as options of p9. Every setting has to be told by settings.md, every command and every file by proc9.5.

A manual page of section 3 tells a family of functions; for each of them but the first a page is written that leads there.
"""
import json
import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent


# --- what a row of the tables looks like ----------------------------------------------------------------------------

def markdown(rows):
    usages = " ".join(f"`{row['usage']}`" for row in rows)
    return f"- **{usages}** {'; '.join(dict.fromkeys(row['summary'] for row in rows))}."


def arguments_in_mdoc(text):
    """[PATH] [perm=N] as macros: what is in capitals is to be replaced, all else is said as it stands."""
    words = []
    for word in text.split():
        pieces = re.findall(r"[A-Z]+\d*|[a-z][a-z-]*\d*|[^A-Za-z]+", word)
        spelled = [f"Ar {p}" if p[0].isupper() else f"Cm {p}" if p[0].islower() else f"No \\&{p}" for p in pieces]
        words.append(" Ns ".join(spelled))
    return " ".join(words)


def head_in_mdoc(row):
    if "usage" in row:
        name, _, rest = row["usage"].partition(" ")
        return f".It Ic {name} {arguments_in_mdoc(rest)}".rstrip()
    return f".It Pa {row['name']} No ({'link' if row['mode'] == '0777' else row['mode']})"


def mdoc(rows):
    return "\n".join(f"{head_in_mdoc(row)}\n{row['summary'][0].upper()}{row['summary'][1:]}." for row in rows)


def options_in_mdoc(commands):
    """As p9 takes them: one word as it is, more than one in quotes, and behind a = what may be left out."""
    lines = []
    for row in (c for c in commands if not c["of_root"]):
        name, _, rest = row["usage"].partition(" ")
        value = arguments_in_mdoc(rest)
        if re.search(r"[ \[]", rest):
            quoted = f"No \\(aq Ns {value} Ns No \\(aq"
            value = f"Ns = Ns {quoted}" if rest[0] == "[" else quoted
        lines.append(f".It Fl -{name} {value}".rstrip())
    return "\n".join(lines)


# --- pages ----------------------------------------------------------------------------------------------------------

def page(source, tables):
    """Its text, and the names that it tells."""
    is_markdown = ".md" in source.suffixes
    begin, end = ("<!--", " -->") if is_markdown else ('.\\"', "")
    lines, seen = [f"{begin} Made by docs/generate.py from {source.name} and the tables of the daemon.{end}"], set()
    for line in source.read_text().splitlines():
        if not (named := re.fullmatch(r"@([\w./]+)", line)):
            lines.append(line)
        elif named[1] == "options":
            lines.append(options_in_mdoc(tables["commands"]))
        else:
            seen.add(named[1])
            rows = [row for row in tables["commands"] + tables["files"] if row["name"] == named[1]]
            lines.append((markdown if is_markdown else mdoc)(rows))
    return "\n".join(lines) + "\n", seen


def functions_told(text):
    """The names in the section NAME of a manual page."""
    return re.findall(r"^\.Nm (\w+)", re.search(r"^\.Sh NAME\n(.*?)^\.Sh", text, re.M | re.S)[1], re.M)


def leads(text):
    return text.startswith(".so ")


def pages_that_lead():
    made = {}
    for told in (DOCS / "man").glob("*.3"):
        if not leads(text := told.read_text()):
            made |= {told.with_name(f"{name}.3"): f".so man3/{told.name}\n" for name in functions_told(text)[1:]}
    return made


def main(arguments):
    check, daemon = "--check" in arguments, arguments[-1]
    tables = json.loads(subprocess.run([daemon, "--tables"], check=True, capture_output=True, timeout=20).stdout)
    texts, seen, wrong = pages_that_lead(), {}, []
    for source in sorted(DOCS.rglob("*.in")):
        made = source.with_suffix("")
        texts[made], seen[made.name] = page(source, tables)
    for made, text in texts.items():
        if check and (not made.exists() or made.read_text() != text):
            wrong.append(f"{made.name} is not what docs/generate.py makes")
        elif not check:
            made.write_text(text)
    wanted = {"settings.md": {c["name"] for c in tables["commands"] if c["setting"]},
              "proc9.5": {row["name"] for row in tables["commands"] + tables["files"]}}
    wrong += [f"{name} does not tell {row}" for name, rows in wanted.items() for row in sorted(rows - seen[name])]
    print("\n".join(wrong), end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
