"""The Debian packages: lintian takes them, the same build makes the same bytes, and on a bare Debian 12 and 13 they install, serve and go."""
import filecmp
import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from test_docs import dialogue, dialogues, pattern

ROOT = Path(__file__).resolve().parents[2]
SUITES = {"12": "bookworm", "13": "trixie"}
# What the packages depend on, as dpkg alone installs them; what the tests and the tutorial run.
NEEDED = "fuse3,libseccomp2,libstdc++6,mount,python3-minimal,procps,busybox-static"
CACHE = Path(pwd.getpwuid(os.getuid()).pw_dir) / ".cache" / "proc9"  # outlives a checkout, and $HOME of a test

pytestmark = [pytest.mark.mode("root"), pytest.mark.timeout(600)]


def done(*command, limit=300, **more):
    ran = subprocess.run(list(map(str, command)), text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         timeout=limit, **more)
    assert ran.returncode == 0, f"{command}: {ran.returncode}\n{ran.stdout}"
    return ran.stdout


def pack(programs, folder):
    done("cpack", "--config", Path(programs).resolve().parent / "CPackConfig.cmake", "-B", folder, cwd=folder)
    return {path.name.split("_")[0]: path for path in folder.glob("*.deb")}


@pytest.fixture(scope="module")
def packages(programs, tmp_path_factory):
    found = pack(programs, tmp_path_factory.mktemp("packages"))
    assert set(found) == {"proc9", "libproc9-1", "libproc9-dev"}
    return found


def test_lintian_has_nothing_to_say(packages):
    assert done("lintian", "--allow-root", "--fail-on=error,warning", *packages.values()) == ""


def test_the_same_build_makes_the_same_bytes(packages, programs, tmp_path):
    again = pack(programs, tmp_path)
    assert [name for name, path in packages.items() if not filecmp.cmp(path, again[name], shallow=False)] == []


def test_no_path_of_the_build_is_in_the_programs(packages, tmp_path):
    for path in packages.values():
        done("dpkg-deb", "--extract", path, tmp_path)
    holding = [path for path in tmp_path.rglob("*") if path.is_file() and str(ROOT).encode() in path.read_bytes()]
    assert holding == []


def test_systemd_takes_the_units(packages, tmp_path):
    done("dpkg-deb", "--extract", packages["proc9"], tmp_path)
    for manager in ("system", "user"):
        unit = tmp_path / f"usr/lib/systemd/{manager}/proc9.service"
        text = unit.read_text().replace("ExecStart=proc9d", f"ExecStart={tmp_path}/usr/sbin/proc9d")
        unit.write_text("".join(f"{line}\n" for line in text.splitlines() if not line.startswith("Documentation=")))
        assert done("systemd-analyze", "verify", "--man=no", f"--{manager}", unit, env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}) == ""


def mirror():
    lines = done("apt-get", "indextargets", "--format", "$(REPO_URI) $(LABEL) $(COMPONENT)", "Created-By: Packages").splitlines()
    return next(line.split()[0] for line in lines if line.split()[1:] == ["Debian", "main"])


@pytest.fixture(scope="module", params=SUITES)
def machine(request, tmp_path_factory):
    """A bare Debian, unpacked: made once, and kept as an archive."""
    suite = SUITES[request.param]
    archive = CACHE / f"debian-{suite}.tar"
    folder = tmp_path_factory.mktemp(suite)
    if not archive.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
        done("debootstrap", "--variant=minbase", f"--keyring={keys}", f"--include={NEEDED}", suite, folder, mirror(), limit=500)
        done("tar", "-C", folder, "--one-file-system", "-cf", f"{archive}.{os.getpid()}", ".")
        os.rename(f"{archive}.{os.getpid()}", archive)
    else:
        done("tar", "-C", folder, "-xpf", archive)
    folder.chmod(0o755)  # its root
    yield folder
    shutil.rmtree(folder)


def run_there(machine, script):
    """As root of that machine: processes, mounts and what runs in the background end with it."""
    before = f"""set -e
        mount --bind {machine} {machine}
        mount -t proc proc {machine}/proc
        mount -t tmpfs tmpfs {machine}/run
        mount --rbind /dev {machine}/dev
        cd {machine}; mkdir -p run/before; pivot_root . run/before; umount --lazy /run/before
        exec /bin/bash -ec "$SCRIPT" """
    return done("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", before, limit=120,
                env={"SCRIPT": script, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"})


def files_of(machine):
    """All but what dpkg and ldconfig write for themselves."""
    own = ("var/lib/dpkg", "var/log", "var/cache", "etc/ld.so.cache", "run", "proc", "dev", "tmp")
    return {str(path.relative_to(machine)) for path in machine.rglob("*") if not str(path.relative_to(machine)).startswith(own)}


TRANSCRIPT = """
echo 'efork hello' > /proc9/ctl
test -z "$(cat /proc9/hello/maps)"
ln -s /dev/stdout /proc9/hello/fd/1
echo 'exec /bin/echo hello, world' > /proc9/hello/ctl
cat /proc9/hello/wait > /dev/null
p9 run echo and p9
"""


def test_it_is_installed_serves_and_goes_without_trace(machine, packages):
    before = files_of(machine)
    for package in packages.values():
        shutil.copy(package, machine / "tmp")
    names = " ".join(f"/tmp/{path.name}" for name, path in packages.items() if name != "libproc9-dev")  # which wants libc6-dev
    assert "Setting up proc9" in run_there(machine, f"dpkg -i {names}")

    served = run_there(machine, f"mkdir /proc9; proc9d --check; proc9d --keep --allow-other /proc9; {TRANSCRIPT} umount /proc9; rmdir /proc9")
    assert "\nhello, world\nand p9\n" in served and "missing" not in served.replace("/proc9: No such", "")

    by_mount = run_there(machine, f"""mkdir /proc9
        mount -t fuse.proc9 -o allow_other,pool=4 proc9 /proc9; {TRANSCRIPT} umount /proc9
        echo 'proc9 /proc9 fuse.proc9 allow_other,nofail 0 0' > /etc/fstab; mount /proc9
        {TRANSCRIPT}
        setpriv --reuid=1000 --regid=1000 --clear-groups p9 run id -u
        umount /proc9; rmdir /proc9; rm /etc/fstab
        mkdir /proc9; mount -t fuse.proc9 -o nokeep,sync,noatime,user=root proc9 /proc9; {TRANSCRIPT} umount /proc9; rmdir /proc9
        mount -t fuse.proc9 -o ro proc9 / 2>&1 || echo "exit $?"
        mount -t fuse.proc9 -o nonsense proc9 / 2>&1 || echo "exit $?" """)
    assert [line for line in by_mount.splitlines() if "proc9d: " not in line][:5] == ["hello, world", "and p9", "hello, world", "and p9", "1000"]
    assert "ro is not possible\nexit 1\n" in by_mount and "unknown option nonsense" in by_mount and by_mount.endswith("exit 1\n")

    (_, _, tutorial), = dialogues(ROOT / "docs" / "tutorial.md")
    commands, expected = dialogue(tutorial)
    told = run_there(machine, f"""mkdir /proc9; proc9d --keep --log /tmp/log /proc9
        cd "$(mktemp -d)"; set +e
        {commands}
        cd /; umount /proc9; rmdir /proc9""")
    assert re.fullmatch(pattern(expected), told), told

    preloaded = run_there(machine, """mkdir /proc9; proc9d --keep /proc9
        LD_PRELOAD=libproc9_preload.so python3 -c 'import os; print(os.system("exit 3") >> 8)'
        grep -c '"starts": [1-9]' /proc9/stats.json; umount /proc9; rmdir /proc9""")
    assert preloaded == "3\n1\n"

    run_there(machine, "dpkg -P proc9 libproc9-1")
    for package in packages.values():
        (machine / "tmp" / package.name).unlink()
    assert files_of(machine) ^ before <= {"etc/fstab"}
