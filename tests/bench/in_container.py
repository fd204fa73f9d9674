"""A child in namespaces of its own: ROUNDS, and the folder of the programs. Prints {way: [microseconds]} as JSON; of those that do
not run here an empty list."""
import os
import subprocess
import sys

from turns import print_samples

rounds, folder = int(sys.argv[1]), sys.argv[2]
program = f"{folder}/nothing"
mount = os.environ["PROC9"]
ctl = os.open(f"{mount}/ctl", os.O_RDWR)

COMMANDS = {
    "unshare": "unshare --pid --fork --mount --uts --ipc --net",
    "bubblewrap": "bwrap --unshare-pid --unshare-uts --unshare-ipc --unshare-net --bind / /",
    "systemd-run": "systemd-run --quiet --wait --collect -p PrivateMounts=yes -p PrivateNetwork=yes -p PrivateIPC=yes",
}


def by_command(words):
    return os.waitpid(os.posix_spawnp(words[0], [*words, program], os.environ), 0)[1] == 0


def by_proc9():
    os.write(ctl, f"efork ns=pid\nns new mnt,uts,ipc,net\nexec {program}\n".encode())
    with open(f"{mount}/{int(os.pread(ctl, 32, 0))}/wait") as wait:
        return wait.read().endswith(" ''\n")


def runs(command):
    try:
        return subprocess.run([*command.split(), program], capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def checked(way):
    assert way()


ways = {name: runs(command) and (lambda words=command.split(): checked(lambda: by_command(words))) for name, command in COMMANDS.items()}
print_samples({**ways, "proc9": lambda: checked(by_proc9)}, rounds)
