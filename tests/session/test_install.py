"""An installed copy: programs outside of the tree find it with pkg-config and with find_package, and their children are as any."""
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from mount import eventually

OUTSIDE = Path(__file__).resolve().parents[1] / "client" / "outside"

pytestmark = [pytest.mark.mode("root"), pytest.mark.timeout(120)]  # who builds may write to the build directory


def done(*command, **more):
    ran = subprocess.run(command, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=90, **more)
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


@pytest.fixture(scope="module")
def installed(programs, tmp_path_factory):
    prefix = tmp_path_factory.mktemp("installed")
    done("cmake", "--install", str(Path(programs).parent), "--prefix", str(prefix))
    return prefix


@pytest.fixture(scope="module")
def by_pkg_config(installed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("by-pkg-config")
    found = next(installed.glob("**/pkgconfig"))
    flags = done("pkg-config", "--cflags", "--libs", "proc9", env={**os.environ, "PKG_CONFIG_PATH": str(found)}).split()
    rpath = f"-Wl,-rpath,{found.parent}"
    done("cc", str(OUTSIDE / "spawn.c"), *flags, rpath, "-o", str(folder / "spawn_c"))
    done("c++", "-std=c++20", str(OUTSIDE / "spawn.cpp"), *flags, rpath, "-o", str(folder / "spawn_cpp"))
    return folder


@pytest.fixture(scope="module")
def by_cmake(installed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("by-cmake")
    done("cmake", "-S", str(OUTSIDE), "-B", str(folder), f"-DCMAKE_PREFIX_PATH={installed}")
    done("cmake", "--build", str(folder))
    return folder


@pytest.fixture(params=["by_pkg_config", "by_cmake"])
def folder(request):
    return request.getfixturevalue(request.param)


def said(mount, *command):
    return done(*map(str, command), env={**os.environ, "PROC9": mount.path})


def test_what_is_installed(installed):
    names = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    wanted = ("sbin/proc9d", "include/proc9.h", "include/proc9.hpp", "libproc9.a", "libproc9.so.1", "libproc9_preload.so", "proc9.pc",
              "proc9-config.cmake", "proc9-config-version.cmake")
    assert [name for name in wanted if not any(found.endswith(name) for found in names)] == []


def test_symbols_are_versioned_and_no_others_are_visible(installed):
    library = next(installed.rglob("libproc9.so"))
    symbols = [line.split()[-1] for line in done("nm", "-D", "--defined-only", str(library)).splitlines() if " T " in line]
    header = (installed / "include" / "proc9.h").read_text()
    assert len(symbols) > 25
    assert all(symbol.startswith("proc9_") and symbol.endswith("@@PROC9_1") for symbol in symbols)
    assert [symbol for symbol in symbols if symbol.split("@")[0] + "(" not in header] == []


def test_a_c_program_spawns_waits_and_gets_SIGCHLD(mount, folder):
    assert said(mount, folder / "spawn_c", "/bin/sh", "-c", "echo $PPID >/dev/null; exit 5") == "exit 5, 1 notice\n"
    assert said(mount, folder / "spawn_c", "/bin/sh", "-c", "kill -9 $$") == "signal 9, 1 notice\n"
    assert eventually(lambda: mount.ids() == [])


def test_a_cpp_program_is_told_why(mount, folder):
    assert said(mount, folder / "spawn_cpp", "/bin/sh", "-c", "echo $GREETING $(ulimit -n); exit 3") == "hello 64\nexit 3\n"
    assert said(mount, folder / "spawn_cpp", "/bin/sh", "-c", "kill -15 $$") == "signal 15\n"
    refused = said(mount, folder / "spawn_cpp", "/nonexistent")
    assert refused.startswith("2: ") and "exec" in refused and "/nonexistent" in refused
    assert eventually(lambda: mount.ids() == [])


@pytest.fixture
def terminal(mount, tmp_path):
    """A shell in tmux: (type keys, read the screen)."""
    if not shutil.which("tmux"):
        pytest.fail("no tmux: cmake/install-dependencies.sh --test installs it")
    socket = ["tmux", "-S", str(tmp_path / "socket"), "-f", "/dev/null"]
    environment = {**os.environ, "PROC9": mount.path, "PS1": "ready$ ", "TERM": "xterm"}
    subprocess.run([*socket, "new-session", "-d", "-x", "200", "-y", "50", "/bin/bash --norc --noprofile -i"], env=environment, check=True, timeout=20)

    def keys(*words):
        subprocess.run([*socket, "send-keys", *words], check=True, timeout=20)

    def screen():
        return subprocess.run([*socket, "capture-pane", "-p"], check=True, timeout=20, capture_output=True, text=True).stdout
    yield keys, screen
    subprocess.run([*socket, "kill-server"], timeout=20, check=True)


def states(mount):
    return [line.split()[1] for name in mount.ids() for line in mount.out(f"cat {mount.P(str(name), 'ctl')} || true").splitlines()]


def test_control_c_and_control_z_in_a_terminal(mount, folder, terminal):
    keys, screen = terminal
    keys(f"{folder}/spawn_c /bin/sleep 1000; echo ended with $?", "Enter")
    assert eventually(lambda: "running" in states(mount))
    keys("C-z")
    assert eventually(lambda: "Stopped" in screen() and "stopped" in states(mount)), "both of them"
    keys("fg", "Enter")
    assert eventually(lambda: "running" in states(mount))
    keys("C-c")
    assert eventually(lambda: mount.ids() == [])
    keys("echo last $?", "Enter")
    assert eventually(lambda: "last 130" in screen()), screen()
