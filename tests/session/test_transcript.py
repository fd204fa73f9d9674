"""The transcript of SPEC 1, in real shells. What differs from run to run is put back to what the page shows."""
import os
import pty
import re
import subprocess

import pytest

TRANSCRIPT = """\
$ echo 'efork hello' > /proc9/ctl          # a blank process: no memory, no descriptors, not runnable
$ cat /proc9/hello/maps                    # nothing
$ ln -s /dev/stdout /proc9/hello/fd/1      # give it my standard output
$ echo 'exec /bin/echo hello, world' > /proc9/hello/ctl
hello, world
$ cat /proc9/hello/wait
4242 0 1 2 ''
"""

SHELLS = ["bash", "dash", "busybox sh"]
COMMANDS = [line[2:] for line in TRANSCRIPT.splitlines() if line.startswith("$ ")]
OUTPUT = "".join(line + "\n" for line in TRANSCRIPT.splitlines() if not line.startswith("$ "))


def script(mount):
    return "\n".join(COMMANDS).replace("/proc9", mount.path)


def normal(text):
    return re.sub(r"^\d+ \d+ \d+ \d+ ", "4242 0 1 2 ", text, flags=re.M)


@pytest.mark.parametrize("shell", SHELLS)
def test_transcript_into_a_pipe(mount, shell):
    assert normal(mount.out(script(mount), shell=shell)) == OUTPUT


@pytest.mark.parametrize("shell", SHELLS)
def test_transcript_into_a_file_does_not_overwrite_itself(mount, shell, tmp_path):
    with open(tmp_path / "out", "w") as out:
        mount.sh(script(mount), shell=shell, stdout=out, stderr=out)
    assert normal((tmp_path / "out").read_text()) == OUTPUT


@pytest.mark.parametrize("shell", SHELLS)
def test_transcript_on_a_terminal(mount, shell):
    master, slave = pty.openpty()
    try:
        mount.sh(script(mount), shell=shell, stdout=slave, stderr=slave)
        os.close(slave)
        screen = b""
        while piece := read_terminal(master):
            screen += piece
    finally:
        os.close(master)
    assert normal(screen.decode().replace("\r\n", "\n")) == OUTPUT


def read_terminal(master):
    try:
        return os.read(master, 4096)
    except OSError:  # EIO: the last descriptor of the other side is closed
        return b""


def test_transcript_typed_into_an_interactive_bash(mount):
    """Typed line by line. The prompt may come before or after the program's output, so prompts are taken away."""
    env = {**os.environ, "PS1": "", "PS2": "", "PROMPT_COMMAND": "", "TERM": "dumb"}
    done = subprocess.run(["bash", "--norc", "--noediting", "-i"], input=script(mount) + "\n", env=env, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=20, start_new_session=True)
    assert normal(done.stdout) == OUTPUT


def test_wait_names_the_pid_that_the_directory_had(mount):
    out = mount.out("echo 'efork hello' > $PROC9/ctl; readlink $PROC9/hello;"
                    "echo 'exec /bin/true' > $PROC9/hello/ctl; cat $PROC9/hello/wait")
    directory, wait = out.splitlines()
    assert wait.split()[0] == directory


def test_after_the_transcript_the_directory_and_the_name_are_gone(mount):
    mount.out(script(mount))
    assert mount.sh('for i in 1 2 3 4 5; do ls -d $PROC9/hello && sleep 0.2; done').returncode != 0
    assert mount.ids() == []
