#!/usr/bin/env python3
"""Makes the pages of docs/ that stand partly in the daemon's tables: NAME.md from NAME.in.

    docs/generate.py PROC9D           writes them
    docs/generate.py --check PROC9D   says which are not up to date, and exits with 1 if there is any

In an .in file a line `@NAME` stands for the command NAME: its forms and what it does, from the tables. Every setting has to
be told by some page.
"""
import json
import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent


def told(forms):
    usages = " ".join(f"`{form['usage']}`" for form in forms)
    return f"- **{usages}** {'; '.join(dict.fromkeys(form['summary'] for form in forms))}."


def page(source, commands, seen):
    lines = [f"<!-- Made by docs/generate.py from {source.name} and the tables of the daemon. -->"]
    for line in source.read_text().splitlines():
        if named := re.fullmatch(r"@(\w+)", line):
            seen.add(named[1])
            lines.append(told([c for c in commands if c["name"] == named[1]]))
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def main(arguments):
    check, daemon = "--check" in arguments, arguments[-1]
    commands = json.loads(subprocess.run([daemon, "--tables"], check=True, capture_output=True, timeout=20).stdout)["commands"]
    seen, wrong = set(), []
    for source in sorted(DOCS.glob("*.in")):
        made, text = source.with_suffix(".md"), page(source, commands, seen)
        if check and (not made.exists() or made.read_text() != text):
            wrong.append(f"{made.name} is not what docs/generate.py makes of {source.name}")
        elif not check:
            made.write_text(text)
    settings = {c["name"] for c in commands if c["setting"]}
    wrong += [f"the setting {name} is told by no page" for name in sorted(settings - seen)]
    print("\n".join(wrong), end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
