"""What was measured, {"free": {group: {way: samples}}, "pinned": the same}, as tables beside the goals and as pictures."""
import datetime
import math
import os
import platform
import statistics

import drawing
from plan import GOALS

# What a group is in, by the first word of its name; else microseconds.
UNITS = {"throughput": "children/s", "stores": "MB/s", "loads": "MB/s", "first": "MB/s", "writes": "MB/s", "cp": "MB/s", "memory": "KiB",
         "requests": "requests", "readdir": "µs each", "readdir+stat": "µs each"}
EXTERNAL = {"bubblewrap", "systemd-run"}   # not on every machine


def median(found, figure):
    group, way = figure
    samples = found.get(group, {}).get(way)
    return statistics.median(samples) if samples else None


def reached(found, goal):
    """The figure as the goal counts it, or None."""
    value = median(found, goal.figure)
    if value is None or goal.peer is None:
        return value
    peer = median(found, goal.peer)
    return value / peer if peer else None


def missing(runs):
    """What is not there, or not a number."""
    for name, found in runs.items():
        yield from (f"{name}: not measured: {goal.work}" for goal in GOALS if reached(found, goal) is None)
        for group, ways in found.items():
            for way, samples in ways.items():
                if not all(map(math.isfinite, samples)) or not (samples or way in EXTERNAL):
                    yield f"{name}: {group}: {way}: {samples}"


# --- tables ---------------------------------------------------------------------------------------------------------

def number(value):
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def verdict(goal, value):
    if value is None:
        return "-"
    good = value >= goal.limit if goal.more else value <= goal.limit
    return f"**{number(value)}** reached" if good else f"{number(value)} short"


def table_of_goals(runs):
    yield f"| work | goal | {' | '.join(NAMES[name] for name in runs)} |"
    yield f"|---|---|{'---|' * len(runs)}"
    for goal in GOALS:
        verdicts = (verdict(goal, reached(found, goal)) for found in runs.values())
        yield f"| {goal.work} | {'≥' if goal.more else '≤'} {number(goal.limit)} | {' | '.join(verdicts)} |"


def row(group, way, samples, peer):
    if not samples:
        return f"| {group} | {way} | | does not run here | | | |"
    quartiles = statistics.quantiles(samples, n=4, method="inclusive") if len(samples) > 1 else samples * 3
    low, middle, high = map(number, quartiles)
    ratio = f"{quartiles[1] / peer:.2f}" if peer else ""
    return f"| {group} | {way} | {low} | {middle} | {high} | {UNITS.get(group.split()[0], 'µs')} | {ratio} |"


def table_of_all(found):
    yield "| | | quarter | median | quarter | | ratio |"
    yield "|---|---|---|---|---|---|---|"
    for group, ways in found.items():
        peer = median(found, (group, next(iter(ways))))
        yield from (row(group, way, samples, peer) for way, samples in ways.items())


NAMES = {"free": "all processors", "pinned": "one processor"}


def machine():
    with open("/proc/cpuinfo") as info:
        model = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), platform.machine())
    return f"{datetime.date.today()}, Linux {platform.release()}, {os.cpu_count()} processors ({model})"


ORIGIN = "Written by `tests/bench/run` on {machine}. What they mean stands in [performance.md](performance.md)."
QUICK = "Of `tests/bench/run --quick`: whether it works. The sizes are small and the rounds few, so the figures mean nothing."


def report(runs, quick=False):
    lines = ["# Figures", "", QUICK if quick else ORIGIN.format(machine=machine()), "",
             "## Goals", "", "Ratios of medians, but for requests and KiB.", "", *table_of_goals(runs)]
    for name, found in runs.items():
        lines += ["", f"## {NAMES[name].capitalize()}", "", "The ratio is to the first of the group.", "", *table_of_all(found)]
    return "\n".join([*lines, ""])


# --- pictures -------------------------------------------------------------------------------------------------------

def by_size(found, group, way, sizes):
    return [(max(size, 1), median(found, (f"{group} {size} MiB", way))) for size in sizes]


def pictures(found, directory):
    ways = ["fork+exec", "proc9_efork+proc9_exec", "proc9_spawn", "posix_spawn", "vfork+exec"]
    lines = {way: by_size(found, "spawn", way, [0, 64, 1024, 4096]) for way in ways}
    drawing.lines(directory / "spawn.svg", "A child, from its start to the end of its wait", "memory of the parent, MiB", "µs", lines,
                  {1: "small"})
    lines = {f"{way}, and wait": by_size(found, "fork", way, [1, 64, 1024]) for way in ("fork(2)", "proc9_fork")}
    lines |= {way: by_size(found, "template", way, [1, 64, 1024]) for way in ("fork(2)", "instance")}
    drawing.lines(directory / "fork.svg", "Copies of a process", "memory, MiB", "µs", lines)
    bars = {way: median(found, ("spawn 0 MiB", way)) for way in found["spawn 0 MiB"]}
    bars["preloaded posix_spawn"] = median(found, ("preload 0 MiB", "preloaded posix_spawn"))
    bars |= {f"{place}: {way}": median(found, (place.lower(), way)) for place in ("Shell", "Python") for way in found[place.lower()]}
    ours = {way for way in bars if "proc9" in way or "files" in way or "preloaded" in way}
    drawing.bars(directory / "ways.svg", "Ways to start a child, from a small parent", "µs", bars, ours)


def write(runs, directory):
    (directory / "pictures").mkdir(parents=True, exist_ok=True)
    (directory / "figures.md").write_text(report(runs))
    pictures(runs["free"], directory / "pictures")
