"""What is measured, and what is aimed at."""
import collections
import contextlib
import resource


def most_embryos(wanted, spare=200):
    """The daemon has two descriptors for each of them. What it may have is raised where we may do that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2 * wanted + spare:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, 2 * wanted + spare))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, (hard - spare) // 2)


MANY = most_embryos(10000)

# A part of the program `bench`, or a method of Bench in run: its name, rounds, and what else it is told.
Part = collections.namedtuple("Part", "name rounds words", defaults=[[]])
PARTS = [
    Part("spawn", 81, ["0", "64", "1024", "4096"]), Part("preload", 101, ["0", "64"]), Part("efork", 201), Part("settings", 101),
    Part("shell", 61), Part("python", 61), Part("throughput", 11, ["1", "2", "8"]), Part("region", 5, ["64", "5"]), Part("copy", 9, ["1024"]),
    Part("fork", 31, ["1", "64", "1024"]), Part("template", 31, ["1", "64", "1024"]), Part("crowd", 21, ["0", "10", "1000", str(MANY)]),
    Part("container", 15),
]

# What is aimed at: the work, a figure, its peer (None: an absolute figure), the limit, and whether more is better.
Goal = collections.namedtuple("Goal", "work figure peer limit more", defaults=[False])
GOALS = [
    Goal("spawn and wait, small parent, beside posix_spawn", ("spawn 0 MiB", "proc9_spawn"), ("spawn 0 MiB", "posix_spawn"), 1.0),
    Goal("the same from 1 GiB, beside fork+exec", ("spawn 1024 MiB", "proc9_spawn"), ("spawn 1024 MiB", "fork+exec"), 1 / 200),
    Goal("the same from 1 GiB, beside itself from a small parent", ("spawn 1024 MiB", "proc9_spawn"), ("spawn 0 MiB", "proc9_spawn"), 1.05),
    Goal("efork on an open ctl, beside vfork+_exit+wait", ("efork", "efork"), ("efork", "vfork+_exit+wait"), 0.5),
    Goal("12 settings in one write, beside none", ("settings", "12 in one write"), ("settings", "none"), 1.3),
    Goal("bash, builtins alone, beside its own fork+exec", ("shell", "files"), ("shell", "fork+exec"), 2.0),
    Goal("throughput of 2 clients, beside posix_spawn", ("throughput 2", "proc9_spawn"), ("throughput 2", "posix_spawn"), 0.95, True),
    Goal(f"with {MANY:,} other embryos, beside with 10", (f"crowd {MANY}", "proc9_spawn"), ("crowd 10", "proc9_spawn"), 1.2),
    Goal("stores to an exported region, beside a memfd", ("stores", "region"), ("stores", "memfd"), 0.98, True),
    Goal("loads from an exported region, beside a memfd", ("loads", "region"), ("loads", "memfd"), 0.98, True),
    Goal("requests that a mapped region makes", ("requests", "of a warm region"), None, 0),
    Goal("cp of 1 GiB into mem/, beside tmpfs", ("cp", "mem/"), ("cp", "tmpfs"), 0.9, True),
    Goal("instance of a template of 1 GiB, beside fork(2)", ("template 1024 MiB", "instance"), ("template 1024 MiB", "fork(2)"), 0.02),
    Goal("proc9_fork of 64 MiB, beside fork(2)", ("fork 64 MiB", "proc9_fork"), ("fork 64 MiB", "fork(2)"), 1.1),
    Goal("proc9_fork of 1 GiB, beside fork(2)", ("fork 1024 MiB", "proc9_fork"), ("fork 1024 MiB", "fork(2)"), 1.1),
    Goal(f"memory of a blank embryo of {MANY:,}, KiB", (f"memory {MANY}", "KiB of an embryo"), None, 100),
]
