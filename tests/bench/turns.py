"""Ways that take turns, in Python."""
import json
import time

WARM_UP = 3


def timed(way):
    before = time.perf_counter()
    way()
    return (time.perf_counter() - before) * 1e6


def print_samples(ways, rounds):
    """{name: function, or nothing where it does not run}; as JSON, {name: [microseconds]}."""
    samples = {name: [] for name in ways}
    for turn in range(-WARM_UP, rounds):
        for name, way in ways.items():
            if not way:
                continue
            sample = timed(way)
            if turn >= 0:
                samples[name].append(sample)
    print(json.dumps(samples))
