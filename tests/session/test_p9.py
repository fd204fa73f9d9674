"""p9, the command line. `p9 run` is compared with the shell: the same script, once with RUN empty, once with RUN being
`p9 run`, in a shell of its own, must give the same output, statuses and files."""
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time
import xml.etree.ElementTree
from contextlib import contextmanager, suppress

import pytest

from mount import eventually, read


@pytest.fixture
def p9(mount, programs, tmp_path):
    """Runs p9 with these words on the mount under test."""
    def call(*words, **options):
        options = {"input": "", "timeout": 20, "cwd": tmp_path, "env": environment(mount, programs), **options}
        return subprocess.run(["p9", *map(str, words)], capture_output=True, text=True, **options)
    return call


@pytest.fixture
def out(p9):
    """What p9 prints when it succeeds."""
    def call(*words, **options):
        done = p9(*words, **options)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout
    return call


def environment(mount, programs, **more):
    return {**os.environ, "PROC9": mount.path, "PATH": f"{programs}:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8",
            "TERM": "dumb", **more}


# --- p9 run against the shell, not interactive ----------------------------------------------------------------------

CASES = {
    "exit 0": "RUN true",
    "exit 1": "RUN false",
    "exit 3": "RUN sh -c 'exit 3'",
    "exit 255": "RUN sh -c 'exit 255'",
    "status in && and ||": "RUN true && echo yes; RUN false || echo no",
    "not found": "RUN no-such-program",
    "not found by path": "RUN ./no-such-program",
    "the empty name": "RUN ''",
    "not executable": "echo hello > file; RUN ./file",
    "a directory": "RUN /tmp",
    "a directory on the way is a file": "echo > file; RUN ./file/x",
    "a script without interpreter line": "echo 'echo script $1; exit 4' > s; chmod +x s; RUN ./s one",
    "a script": r"printf '#!/bin/sh\necho $0 $#; exit 5\n' > s; chmod +x s; RUN ./s a b",
    "interpreter is missing": r"printf '#!/no/such\n' > s; chmod +x s; RUN ./s",
    "TERM": "RUN sh -c 'kill -TERM $$'",
    "KILL": "RUN sh -c 'kill -KILL $$'",
    "SEGV": "ulimit -c 0; RUN sh -c 'kill -SEGV $$'",
    "ABRT": "ulimit -c 0; RUN sh -c 'kill -ABRT $$'",
    "HUP": "RUN sh -c 'kill -HUP $$'",
    "QUIT": "ulimit -c 0; RUN sh -c 'kill -QUIT $$'",
    "USR1": "RUN sh -c 'kill -USR1 $$'",
    "ALRM": "RUN sh -c 'kill -ALRM $$'",
    "XCPU": "ulimit -c 0; RUN sh -c 'kill -XCPU $$'",
    "real-time signal": "RUN bash -c 'kill -RTMIN+3 $$'",
    "SIGPIPE of a writer": "RUN yes | head -n 1; echo ${PIPESTATUS[@]}",
    "SIGPIPE of the one before": "yes | RUN head -n 1; echo ${PIPESTATUS[@]}",
    "the whole pipeline": "RUN seq 1000 | RUN sort -r | RUN head -n 2; echo ${PIPESTATUS[@]}",
    "pipefail": "set -o pipefail; RUN false | RUN true",
    "stdin of a file": "seq 5 > in; RUN sort -r < in",
    "stdin of a pipe, large": "head -c 3000000 /dev/zero | RUN wc -c",
    "stdin at its end": "RUN cat < /dev/null; echo end",
    "here-document": "RUN cat <<E\none\ntwo\nE",
    "what stdin has left": "seq 5 > in; { RUN head -c 2; cat; } < in",
    "stdout to a file": "RUN echo hello > out; RUN echo more >> out; cat out",
    "stderr apart": "RUN sh -c 'echo out; echo err >&2' 2> err; cat err",
    "stderr with stdout": "RUN sh -c 'echo out; echo err >&2' > both 2>&1; cat both",
    "stdin closed": "RUN cat <&- 2>&1",
    "stdout closed": "RUN echo hello >&-",
    "stderr closed": "RUN sh -c 'echo to nobody >&2; echo $?' 2>&-",
    "all closed": "RUN sh -c 'echo a; exit 7' <&- >&- 2>&-",
    "stderr closed and not found": "RUN no-such-program 2>&-",
    "descriptor 5": "RUN sh -c 'cat <&5' 5< <(echo five)",
    "which descriptors": "RUN sh -c 'echo /proc/$$/fd/*' 7< /dev/null 9> file | sed 's,/proc/[0-9]*,,g'",
    "a pipe that the program closes": "RUN sh -c 'exec >&-; sleep 1; echo late > late' | cat; ls late 2>&1",
    "a pipe held by descriptor 3": "{ RUN sh -c 'exec 3>&-; sleep 1; echo late > late' 3>&1 >/dev/null; } | cat; wait",
    "command substitution": "x=$(RUN echo inner); echo [$x]",
    "process substitution": "cat <(RUN echo a) <(RUN echo b)",
    "arguments byte for byte": "RUN printf '[%s]' '' 'a b' $'c\\nd' '\"' \"'\" '\\' '*' ä $'\\xff' '#' '{' $'\\t' -- --x",
    "options are the program's": "RUN printf '%s ' --nice -m --help",
    "many arguments": "RUN echo $(seq 20000) | md5sum",
    "environment": "A='b c' RUN sh -c 'echo \"$A\"'",
    "environment of odd bytes": "export A=$'x\\ny\"\\'=\\xff' B=; RUN sh -c 'printf \"[%s]\" \"$A\" \"$B\"'",
    "without PATH": "unset PATH; RUN /bin/echo found",
    "no environment": "env -i PROC9=$PROC9 RUN /usr/bin/env",
    "directory": "mkdir d; cd d; RUN pwd; RUN sh -c 'cd ..; pwd'",
    "directory that was removed": "mkdir d; cd d; rmdir ../d; RUN readlink /proc/self/cwd",
    "umask": "umask 037; RUN sh -c umask; RUN touch new; stat -c %a new",
    "limits": "ulimit -n 77; ulimit -Ss 4096; RUN sh -c 'ulimit -n; ulimit -s'",
    "nice": "renice -n 4 $$ > /dev/null; RUN nice",
    "ignored signals": "trap '' HUP USR2; RUN sh -c 'grep SigIgn /proc/self/status'",
    "ignored INT by the background": "RUN grep SigIgn /proc/self/status & wait",
    "ignored CHLD": "trap '' CHLD; RUN sh -c 'exit 3'; echo $?",
    "ignored PIPE": "trap '' PIPE; RUN sh -c 'yes 2>&1 >/dev/full; echo $?'",
    "signal mask": "RUN grep SigBlk /proc/self/status",
    "trapped signals are not ignored": "trap 'echo trap' USR1; RUN grep -E 'Sig(Ign|Cgt)' /proc/self/status",
    "the name it is called by": "RUN sh -c 'tr \"\\0\" \" \" < /proc/$$/cmdline'",
    "same process group": "RUN sh -c 'ps -o pgid= -p $$' | tr -d ' ' | grep -c \"^$(ps -o pgid= -p $$ | tr -d ' ')$\"",
    "same session": "RUN sh -c 'ps -o sid= -p $$' | tr -d ' ' | grep -c \"^$(ps -o sid= -p $$ | tr -d ' ')$\"",
    "kill $!": "RUN sleep 30 & sleep 0.3; kill $!; wait $!; echo $?",
    "kill -INT $! where that is ignored": "RUN sh -c 'sleep 1; echo lives' & sleep 0.3; kill -INT $!; wait $!; echo $?",
    "kill -KILL $! ends the program": "RUN sh -c 'echo $$ > pid; exec sleep 30' & until [ -s pid ]; do sleep 0.1; done; "
                                      "kill -KILL $!; wait $! 2>/dev/null; echo $?; sleep 0.3; ps -o stat= -p $(cat pid) | grep -vc Z",
    "a trapped signal": "RUN sh -c 'trap \"echo got; exit 6\" TERM; echo > ready; while :; do sleep 0.05; done' & "
                        "until [ -e ready ]; do sleep 0.1; done; kill $!; wait $!; echo $?",
    "signals by number of times": "RUN bash -c 'trap \"echo u\" USR1; echo > ready; for i in 1 2 3 4 5 6; do sleep 0.2; done' & "
                                  "until [ -e ready ]; do sleep 0.1; done; kill -USR1 $!; sleep 0.5; kill -USR1 $!; wait $!; wait $!; echo $?",
    "timeout(1)": "timeout 0.5 RUN sleep 30; echo $?",
    "timeout(1) -s KILL": "timeout -s KILL 0.5 RUN sleep 30; echo $?",
    "alarm(2) that was set before": "perl -e 'alarm 1; exec @ARGV' RUN sleep 30; echo $?",
    "nohup": "nohup RUN sh -c 'kill -HUP $$; echo lives'",
    "xargs": "seq 6 | xargs -n 2 RUN echo item",
    "find -exec": "mkdir d; touch d/a d/b; find d -type f -exec RUN echo {} + | tr ' ' '\\n' | sort",
    "two at once": "RUN sh -c 'sleep 0.3; echo second' & RUN echo first; wait",
    "nested": "RUN RUN RUN sh -c 'exit 9'",
    "exec": "exec RUN sh -c 'exit 8'",
    "child of child that outlives it": "RUN sh -c '(sleep 0.5; echo later > late) & exit 2'; echo $?; sleep 1; cat late",
    "large output": "RUN head -c 5000000 /dev/zero | md5sum",
}


def told(text, run):
    """A script's output, so that the two ways can be compared: p9's own name taken away."""
    text = text.replace(run, "")
    text = re.sub(r"^(bash: line \d+: |bash: |p9: |nohup: )", "", text, flags=re.M)
    text = re.sub(r"^ *\d+ (Terminated|Killed|Hangup|Aborted|Quit|Segmentation fault|User defined signal 1|Alarm clock"
                  r"|CPU time limit exceeded|Real-time signal 3)\b.*", r"\1", text, flags=re.M)
    return re.sub(r"^(./s: ).*(required file not found|interpreter .* not there)$", r"\1no interpreter", text, flags=re.M)


def outcome(script, run, directory, env):
    directory.mkdir()
    done = subprocess.run(["bash", "-c", script.replace("RUN ", run)], env=env, cwd=directory, timeout=40,
                          stdin=subprocess.DEVNULL, capture_output=True)
    files = {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file() and path.name != "pid"}
    shutil.rmtree(directory)
    return (done.returncode, told(done.stdout.decode(errors="replace"), run),
            told(done.stderr.decode(errors="replace"), run), files)


@pytest.mark.parametrize("case", CASES)
def test_run_is_as_the_shell(mount, programs, tmp_path, case):
    env = environment(mount, programs)
    expected = outcome(CASES[case], "", tmp_path / "work", env)
    assert outcome(CASES[case], f"{programs}/p9 run ", tmp_path / "work", env) == expected
    assert eventually(lambda: mount.ids() == []), "it leaves nothing in the mount"


# --- p9 run against the shell, at a terminal ------------------------------------------------------------------------

CONTROL = {"^C": "\x03", "^D": "\x04", "^Z": "\x1a", "^\\": "\x1c"}
# ^Z must not come while a program is between vfork and exec: then Linux stops one half of it for good. So no shell
# that starts another program there.
READY = "sh -c 'echo rea\"\"dy; exec sleep 30'"     # the echo of the line that is typed must not look like the answer
READY_FOR_A_SECOND = "perl -e '$| = 1; print qq(rea), qq(dy\\n); sleep 1; print qq(do), qq(ne\\n); exit 4'"

# What is typed at a prompt; keys; `? text` waits for what the terminal shows; `! text` is typed for the program;
# `# ROWS COLUMNS` changes the size; `= SECONDS` lets the shell, which says fg before it does it, come to that.
TERMINAL_CASES = {
    "^C": [f"RUN {READY}", "? ready", "^C", "echo $?"],
    "^\\": ["ulimit -c 0", f"RUN {READY}", "? ready", "^\\", "echo $?"],
    "^C that the program handles": ["RUN sh -c 'trap \"echo caught; exit 5\" INT; echo rea\"\"dy; while :; do sleep 0.1; done'",
                                    "? ready", "^C", "? caught", "echo $?"],
    "^C that the program ignores": ["RUN sh -c 'trap \"\" INT; echo rea\"\"dy; sleep 1; echo sur\"\"vived'", "? ready", "^C",
                                    "? survived", "echo $?"],
    "^C that the program survives ends no loop": ["for i in 1 2; do RUN bash -c 'trap : INT; echo rea\"\"dy$1; sleep 0.7; exit 3' x $i; done; echo $?",
                                                  "? ready1", "^C", "? ready2", "echo $?"],
    "^C ends a loop": [f"for i in 1 2 3; do RUN {READY}; done", "? ready", "^C", "echo $?"],
    "^C in a pipeline": [f"RUN {READY} | RUN cat", "? ready", "^C", "echo ${PIPESTATUS[@]}"],
    "^Z and fg": [f"RUN {READY_FOR_A_SECOND}", "? ready", "^Z", "echo $?", "jobs", "fg", "? done",
                  "echo $?"],
    "^Z and bg": [f"RUN {READY_FOR_A_SECOND}", "? ready", "^Z", "echo $?", "bg", "wait %1", "echo $?"],
    "^Z twice": [f"RUN {READY}", "? ready", "^Z", "fg", "? sleep 30", "= 0.3", "^Z", "echo $?", "fg", "? sleep 30", "= 0.3", "^C", "echo $?"],
    "^Z and kill": [f"RUN {READY}", "? ready", "^Z", "kill %1; sleep 0.3", "wait %1", "echo $?"],
    "^Z and kill -KILL": [f"RUN {READY}", "? ready", "^Z", "kill -KILL %1; sleep 0.3", "wait %1", "echo $?"],
    "^Z of a program that handles it": ["RUN perl -e '$SIG{TSTP} = sub { print \"no \", \"stop\\n\"; exit 2 }; $| = 1; print \"rea\", \"dy\\n\"; sleep 9'",
                                        "? ready", "^Z", "? no stop", "echo $?"],
    "^Z in a pipeline": [f"RUN {READY} | RUN cat", "? ready", "^Z", "jobs", "fg", "? sleep 30", "= 0.3", "^C", "echo $?"],
    "it stops itself": ["RUN sh -c 'kill -STOP $$; echo wo\"\"ken; exit 6'", "echo $?", "jobs -l | cut -c 1-4,12-", "fg", "? woken", "echo $?"],
    "it stops itself by TSTP": ["RUN sh -c 'kill -TSTP $$; echo wo\"\"ken; exit 6'", "echo $?", "jobs", "fg", "? woken", "echo $?"],
    "stopped and continued by kill of the job": ["RUN sh -c 'sleep 2; exit 7' & sleep 0.5", "kill -STOP %1; sleep 0.3", "jobs", "kill -CONT %1", "wait %1",
                                                 "echo $?"],
    "continued by its pid alone": [f"RUN {READY}", "? ready", "^Z", "kill -CONT $(jobs -p)", "sleep 0.3", "jobs",
                                   "kill -TERM $(jobs -p); wait %1", "echo $?"],
    "in the background": ["RUN sh -c 'exit 3' &", "wait %1", "echo $?"],
    "kill %1": ["RUN sleep 30 &", "sleep 0.3", "kill %1; sleep 0.3", "wait %1", "echo $?"],
    "kill -HUP %1": ["RUN sleep 30 &", "sleep 0.3", "kill -HUP %1; sleep 0.3", "wait %1", "echo $?"],
    "fg of what began in the background": [f"RUN {READY} & sleep 0.5", "fg", "? sleep 30", "= 0.3", "^C", "echo $?"],
    "reading in the background stops": ["RUN cat & sleep 0.5", "jobs", "fg", "? cat", "! line", "? line\r\nline", "^D", "echo $?"],
    "writing in the background stops": ["stty tostop", "RUN sh -c 'echo wri\"\"tten' & sleep 0.5", "jobs", "stty -tostop", "fg",
                                        "? written", "echo $?"],
    "a line from the terminal": ["RUN sh -c 'echo na\"\"me; read x; echo hello $x'", "? name", "! world", "? hello world", "echo $?"],
    "^D": ["RUN cat", "! text", "? text\r\ntext", "^D", "echo $?"],
    "it is a terminal": ["RUN test -t 0; echo $?", "RUN tty | cut -c 1-9", "RUN sh -c 'test -t 1 && test -t 2; echo $?'"],
    "terminal size": ["# 33 111", "RUN stty size", "# 20 50", "RUN stty size"],
    "terminal size changes": ["RUN bash -c 'trap \"stty size; exit 2\" WINCH; echo rea\"\"dy; while :; do sleep 0.1; done'", "? ready",
                              "# 41 99", "? 41 99", "echo $?"],
    "size changes while stopped": ["RUN perl -e '$| = 1; print qq(rea), qq(dy\\n); sleep 1; system qw(stty size)'", "? ready", "^Z", "# 31 77", "fg", "? 31 77", "echo $?"],
    "raw keys": ["RUN bash -c 'stty raw -echo; echo rea\"\"dy; x=$(head -c 1 | od -An -tx1); stty sane; echo got$x'", "? ready", "^C", "? got 03",
                 "echo $?"],
    "a shell in it": ["RUN bash --norc --noprofile -i", "echo in $SHLVL", READY, "? ready", "^Z", "jobs", "kill -KILL %1; sleep 0.3", "exit 5", "? exit",
                      "echo $?"],
    "a shell in it that suspends itself": ["RUN bash --norc --noprofile -i", "echo in", "suspend", "? Stopped", "echo out", "fg", "? bash",
                                           "exit 4", "? exit", "echo $?"],
    "disowned": ["RUN sleep 30 & disown", "jobs", "kill $!", "sleep 0.2", "kill -0 $! 2>&1 | cut -d ' ' -f 4-"],
    "in the foreground group": ["RUN sh -c 'ps -o stat= -p $$' | cut -c 3-", "RUN sh -c 'ps -o tpgid=,pgid= -p $$' | awk '{ print $1 == $2 }'"],
    "time": ["time RUN true 2>&1 | cat", "echo $?"],
    "exit with stopped jobs": [f"RUN {READY}", "? ready", "^Z", "exit", "? stopped jobs", "kill %1; sleep 0.3", "wait %1", "echo $?"],
}


class Terminal:
    """An interactive bash in a terminal of its own, and all that it has shown."""

    def __init__(self, env, directory):
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.chdir(directory)
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"], {**env, "PS1": "$ ", "PROMPT_COMMAND": ""})
        self.shown, self.seen = "", 0
        self.resize(24, 200)
        self.prompt()

    def until(self, text, seconds=15):
        """What comes after the text is for the next one to wait for."""
        end = time.monotonic() + seconds
        while (at := self.shown.find(text, self.seen)) < 0:
            assert time.monotonic() < end, f"no {text!r} after {self.shown[self.seen:]!r}; all of it:\n{self.shown}"
            if select.select([self.master], [], [], 0.1)[0]:
                self.shown += os.read(self.master, 65536).decode(errors="replace")
        self.seen = at + len(text)

    def prompt(self):
        self.until("$ ")

    def send(self, text):
        os.write(self.master, text.encode())

    def resize(self, rows, columns):
        import fcntl
        import struct
        import termios
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def wait_for_a_program(self):
        """After fg the shell has said its name before it has the terminal."""
        assert eventually(lambda: os.tcgetpgrp(self.master) != self.pid), self.shown

    def close(self):
        os.close(self.master)   # hangs up: the session gets SIGHUP
        if not eventually(lambda: os.waitpid(self.pid, os.WNOHANG) != (0, 0), 3):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


@contextmanager
def terminal(env, directory):
    opened = Terminal(env, directory)
    try:
        yield opened
    finally:
        opened.close()


WAITED = ("?", "!", "^", "=")


def at_prompt(terminal, step, next_step):
    """A line; and the prompt after it, unless the next step is something that the program waits for."""
    terminal.send(step + "\n")
    if next_step is None or not next_step.startswith(WAITED):
        terminal.prompt()


def play(terminal, steps, run):
    for step, following in zip(steps, [*steps[1:], None]):
        if step in CONTROL:
            terminal.wait_for_a_program()
            terminal.send(CONTROL[step])
            if following is None or not following.startswith(WAITED):
                terminal.prompt()
        elif step.startswith("? "):
            terminal.until(step[2:])
            if following is not None and not following.startswith((*WAITED, "#")):
                terminal.prompt()
        elif step.startswith("! "):
            terminal.send(step[2:] + "\n")
        elif step.startswith("= "):
            time.sleep(float(step[2:]))
        elif step.startswith("# "):
            terminal.resize(*map(int, step[2:].split()))
        else:
            at_prompt(terminal, step.replace("RUN ", run), following)
    return terminal.shown


def screen(steps, run, directory, env):
    directory.mkdir()
    with terminal(env, directory) as opened:
        shown = play(opened, steps, run).replace(run, "")
    shutil.rmtree(directory)
    shown = re.sub(r"^\[(\d+)\] \d+", r"[\1] PID", shown, flags=re.M)
    shown = re.sub(r"^\[1\]-", "[1]+", shown, flags=re.M)   # which is the current job depends on when it ended
    return re.sub(r"(real|user|sys)\t.*", r"\1", shown)


@pytest.mark.parametrize("case", TERMINAL_CASES)
def test_run_at_a_terminal_is_as_the_shell(mount, programs, tmp_path, case):
    env = environment(mount, programs)
    expected = screen(TERMINAL_CASES[case], "", tmp_path / "work", env)
    assert screen(TERMINAL_CASES[case], f"{programs}/p9 run ", tmp_path / "work", env) == expected
    assert eventually(lambda: mount.ids() == []), "it leaves nothing in the mount"


# --- p9 run: what it builds -----------------------------------------------------------------------------------------

def test_a_building_command_of_the_mount_is_an_option(out):
    said = out("run", "--nice=5", "--limit", "NOFILE 64", "--umask", "027", "--nonewprivs", "--env", "A=two  words",
               "--sigignore=USR1", "--chdir", "/usr", "sh", "-c",
               "nice; ulimit -n; umask; grep NoNewPrivs /proc/self/status; echo \"$A\"; grep SigIgn /proc/self/status; pwd")
    assert said == "5\n64\n0027\nNoNewPrivs:\t1\ntwo  words\nSigIgn:\t0000000000000200\n/usr\n"


def test_options_are_told_in_the_order_in_which_they_are_given(out, tmp_path):
    (tmp_path / "d").mkdir()
    out("run", "--fd", "3 open one w", "--chdir", "d", "--fd=4 open two w", "sh", "-c", "echo 1 >&3; echo 2 >&4")
    assert (read(tmp_path / "one"), read(tmp_path / "d/two")) == ("1\n", "2\n")


def test_a_single_word_may_hold_any_byte(out):
    assert out("run", "--env", "A=1 \"2\" '3' \\ \n{", "printenv", "A") == "1 \"2\" '3' \\ \n{\n"


def test_a_value_that_may_be_left_out_stands_behind_an_equals_sign(out):
    assert out("run", "--sigmask", "grep", "SigBlk", "/proc/self/status").split()[1] == "0000000000000000"
    assert out("run", "--sigmask=INT USR1", "grep", "SigBlk", "/proc/self/status").split()[1] == "0000000000000202"


@pytest.mark.parametrize("words, says", [
    (["--limit", "NOFIL 64"], 'limit: unknown limit "NOFIL"'),
    (["--chdir", "/nonexistent"], "chdir: "),
    (["--stdin", "/nonexistent"], "No such file or directory"),
    (["--no-such-option"], "unrecognized option '--no-such-option'"),
    (["--timeout", "soon"], "--timeout takes a number of seconds, not soon"),
    (["--efork", "ns=nonsense"], "ns"),
])
def test_what_is_refused_says_why_and_leaves_nothing(mount, p9, words, says):
    done = p9("run", *words, "echo", "hello")
    assert (done.returncode, done.stdout) == (125, "")
    assert says in done.stderr
    assert eventually(lambda: mount.ids() == [])


def test_blank_inherits_nothing_but_the_standard_descriptors(mount, programs, tmp_path):
    script = ("exec 5< /dev/null; trap '' USR1; A=1 p9 run --blank /bin/sh -c "
              "'echo $PWD; echo /proc/$$/fd/* ; /usr/bin/tr \"\\0\" \"\\n\" < /proc/$$/environ; /bin/grep SigIgn /proc/$$/status'")
    done = subprocess.run(["bash", "-c", script], env=environment(mount, programs), cwd=tmp_path, text=True, timeout=20,
                          stdin=subprocess.DEVNULL, capture_output=True)
    said = re.sub(r"/proc/\d+/fd/", "", done.stdout)
    assert (done.returncode, done.stderr, said) == (0, "", "/\n0 1 2 3\nSigIgn:\t0000000000000000\n"), "3 is the directory"


def test_redirections(out, tmp_path):
    (tmp_path / "in").write_text("b\na\n")
    command = ["--stdin", "in", "--stdout", "out", "--stderr", "err", "sh", "-c", "sort; echo problem >&2"]
    out("run", *command)
    out("run", *command)
    assert (read(tmp_path / "out"), read(tmp_path / "err")) == ("a\nb\n", "problem\n")
    out("run", "--append", *command)
    assert (read(tmp_path / "out"), read(tmp_path / "err")) == ("a\nb\na\nb\n", "problem\nproblem\n")


def test_a_name_is_that_of_the_mount(mount, out):
    assert out("run", "--name", "worker", "sh", "-c", f"readlink {mount.path}/worker; echo $$").split()[0].isdigit()


def test_efork_arguments_make_a_child_of_the_mount(p9, mode):
    namespaces = "ns=pid" if mode == "root" else "ns=user,pid"
    done = p9("run", "--efork", namespaces, "sh", "-c", "echo $$; exit 4")
    assert (done.stdout, done.stderr, done.returncode) == ("1\n", "", 4)


def test_signals_reach_a_child_of_the_mount(mount, programs, tmp_path):
    process = subprocess.Popen(["p9", "run", "--efork", "inside", "sh", "-c", "trap 'exit 9' TERM; echo; while :; do sleep 0.1; done"],
                               env=environment(mount, programs), stdout=subprocess.PIPE)
    process.stdout.readline()
    process.terminate()
    assert process.wait(10) == 9
    process.stdout.close()


def test_timeout(p9):
    before = time.monotonic()
    assert p9("run", "--timeout", "0.3", "sleep", "30").returncode == 124
    assert p9("run", "--timeout=0.3", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done").returncode == 124
    assert time.monotonic() - before < 10
    assert p9("run", "--timeout", "20", "sh", "-c", "exit 6").returncode == 6


def test_background_is_waited_for_later(mount, p9, out):
    ids = [out("run", "--background", "--stdout", "/dev/null", "--stderr", "/dev/null", "sh", "-c", script).strip()
           for script in ("exit 7", "kill -USR1 $$")]
    assert all(eventually(lambda: "exited" in read(mount.P(one, "ctl"))) for one in ids)
    assert p9("wait", ids[0]).returncode == 7
    assert p9("wait", ids[1]).returncode == -signal.SIGUSR1
    assert mount.ids() == []


def test_there_is_no_second_core_dump(mount, programs, tmp_path):
    child = subprocess.Popen(["bash", "-c", "ulimit -c unlimited; exec p9 run sh -c 'kill -SEGV $$'"], cwd=tmp_path,
                             env=environment(mount, programs))
    _, status = os.waitpid(child.pid, 0)
    child.returncode = 0
    assert os.WTERMSIG(status) == signal.SIGSEGV and not os.WCOREDUMP(status)


def test_while_it_waits_p9_has_no_descriptors_and_no_zygote(mount, programs):
    process = subprocess.Popen(["p9", "run", "sh", "-c", "echo; exec sleep 30"], env=environment(mount, programs), stdout=subprocess.PIPE)
    process.stdout.readline()
    try:
        assert eventually(lambda: os.listdir(f"/proc/{process.pid}/fd") == [])
        assert eventually(lambda: len(mount.ids()) == 1)
    finally:
        process.terminate()
        assert process.wait(10) == -signal.SIGTERM
        process.stdout.close()


# --- the other commands ---------------------------------------------------------------------------------------------

def test_efork_tell_and_kill(mount, out, p9):
    pid = int(out("efork", "hello"))
    assert os.readlink(mount.P("hello")) == str(pid)
    assert out("tell", "hello", "env A=1", "map 0x600000 4K rw-") == ""
    assert os.listdir(mount.P("hello/env")) == ["A"] and os.listdir(mount.P("hello/mem")) == ["600000"]
    assert re.fullmatch(r"0x[0-9a-f]+\n", out("tell", "hello", "map any 4K rw-")), "what was chosen is printed"
    assert out("tell", pid, input="env B=2\nenv C=3\n") == ""
    assert sorted(os.listdir(mount.P("hello/env"))) == ["A", "B", "C"]
    done = p9("tell", "hello", "env D=4", "limit FOO 1", "env E=5")
    assert done.returncode == 1 and done.stderr.startswith("p9: limit: unknown limit")
    assert sorted(os.listdir(mount.P("hello/env"))) == ["A", "B", "C", "D"]
    assert out("kill", "hello") == "" and mount.ids() == []


def test_fork_makes_an_equal_one(mount, out):
    out("efork", "one")
    out("tell", "one", "env A=1")
    second = out("fork", "one", "two").strip()
    assert os.readlink(mount.P("two")) == second and read(mount.P("two/env/A")) == "1"
    third = out("fork", "one").strip()
    assert third.isdigit() and third != second


@pytest.mark.parametrize("spelling", ["-TERM", "-15", "-SIGTERM", "--signal=TERM"])
def test_kill_sends_the_signal_that_is_named(mount, p9, out, spelling):
    pid = out("run", "-b", "--stdout", "/dev/null", "--stderr", "/dev/null", "sleep", "30").strip()
    out("kill", spelling, pid)
    assert p9("wait", pid).returncode == -signal.SIGTERM


def test_apply(mount, p9, out, tmp_path):
    (tmp_path / "job.json").write_text('{"args": ["sh", "-c", "exit $CODE"], "env": ["CODE=9", "PATH=/bin"], "cwd": "/usr"}')
    made = out("apply", "job.json").strip()
    assert os.readlink(mount.P(made, "cwd")) == "/usr"
    out("tell", made, "exec")
    assert p9("wait", made).returncode == 9
    other = out("efork").strip()
    out("apply", "-", other, input='{"cwd": "/tmp"}')
    assert os.readlink(mount.P(other, "cwd")) == "/tmp"
    out("kill", other)
    done = p9("apply", "-", input='{"cwd": 5}')
    assert done.returncode == 1 and "process.json: /cwd" in done.stderr
    assert mount.ids() == []


def test_ps(mount, out):
    first = out("efork", "first").strip()
    second = out("run", "-b", "--stdout", "/dev/null", "--stderr", "/dev/null", "sleep", "30").strip()
    lines = [line.split() for line in out("ps").splitlines()]
    assert lines[0] == ["ID", "NAME", "STATE", "OWNER", "TIME", "COMMAND"]
    assert [line[0] for line in lines[1:]] == sorted([first, second], key=int)
    assert lines[1][:3] == [first, "first", "embryo"] and lines[2][-2:] == ["sleep", "30"]
    listed = json.loads(out("ps", "--json", second))
    assert [(one["id"], one["state"], one["command"]) for one in listed] == [(int(second), "running", "sleep 30")]


def test_ps_tells_cpu_time_and_the_end(mount, out):
    pid = out("run", "-b", "sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; exit 3").strip()
    assert eventually(lambda: json.loads(out("ps", "--json"))[0]["state"] == "exited", 20)
    one = json.loads(out("ps", "--json", pid))[0]
    assert one["status"] == "exit 3" and one["cpu_ms"] > 0
    assert "exited: exit 3" in out("ps")


def test_tree_shows_who_is_whose_child(mount, programs, out):
    process = subprocess.Popen(["p9", "run", "sh", "-c", "echo; p9 run sleep 30; true"], env=environment(mount, programs),
                               stdout=subprocess.PIPE)
    try:
        assert eventually(lambda: "sleep 30" in out("tree"))
        shown = out("tree")
        assert re.search(rf"^{process.pid} p9\n└─ \d+ sh -c .*\(running\)\n", shown, re.M), shown
        told = json.loads(out("tree", "--json"))
        assert process.pid in [root["id"] for root in told]
        assert "sleep 30" in json.dumps(told)
    finally:
        for pid in sorted(mount.ids(), reverse=True):
            with suppress(ProcessLookupError):   # it ended with its parent
                os.kill(pid, signal.SIGKILL)
        process.wait(10)
        process.stdout.close()


@pytest.fixture
def drawn(out):
    out("efork", "drawn")
    out("tell", "drawn", "map 0x600000 64K rw-", "map 0x700000 4K r-x", "map 0x710000 4K ---")


def test_show_draws_to_scale(drawn, out):
    lines = out("show", "drawn").splitlines()
    regions = [line for line in lines if "·" not in line]
    assert [line.split()[:3] for line in regions] == [["600000", "64.0K", "rw-p"], ["700000", "4.0K", "r-xp"], ["710000", "4.0K", "---p"]]
    assert [line.count("█") for line in regions] == [32, 2, 2]
    assert len(lines) == 5, "two gaps"


def test_show_as_json_and_as_an_image(drawn, out):
    told = json.loads(out("show", "--json", "drawn"))
    assert [(one["start"], one["end"] - one["start"], one["protection"]) for one in told] == [
        (0x600000, 65536, "rw-p"), (0x700000, 4096, "r-xp"), (0x710000, 4096, "---p")]
    image = xml.etree.ElementTree.fromstring(out("show", "drawn", "--svg"))
    heights = [float(box.get("height")) for box in image.iter("{http://www.w3.org/2000/svg}rect")]
    assert heights[0] == pytest.approx(16 * heights[1], rel=0.01) and heights[1] == heights[2]


def test_wait_for_several(mount, p9, out):
    ids = [out("run", "-b", "--stdout", "/dev/null", "--stderr", "/dev/null", "sh", "-c", f"exit {n}").strip() for n in (1, 2, 3)]
    done = p9("wait", "--json", *ids)
    assert [(str(one["id"]), one["exit"], one["signal"]) for one in json.loads(done.stdout)] == list(zip(ids, (1, 2, 3), (0, 0, 0)))


def test_top_once(drawn, out):
    assert re.search(r"^ *\d+ +drawn +embryo ", out("top", "--once"), re.M)
    told = json.loads(out("top", "--json"))
    assert told["counters"]["processes"] == {"embryo": 1} and told["processes"][0]["name"] == "drawn"


def test_top_refreshes_and_q_quits_and_the_terminal_is_as_before(mount, programs, tmp_path, out):
    with terminal(environment(mount, programs, TERM="xterm"), tmp_path) as opened:
        opened.send("stty -a | md5sum; p9 top --delay 0.1; stty -a | md5sum\n")
        opened.until("COMMAND")
        out("efork", "newcomer")
        opened.until("newcomer")
        opened.send("q")
        opened.prompt()
        sums = re.findall(r"[0-9a-f]{32}", opened.shown)
        assert len(sums) == 2 and sums[0] == sums[1]


def test_top_needs_a_terminal(p9):
    done = p9("top")
    assert (done.returncode, done.stderr) == (2, "p9: top needs a terminal: p9 top --once prints it once\n")


def test_colours_only_on_a_terminal_and_not_with_NO_COLOR(drawn, mount, programs, tmp_path, out):
    assert "\033[" not in out("ps")
    with terminal(environment(mount, programs), tmp_path) as opened:
        opened.send("p9 ps\n")
        opened.until("\033[34m")
        opened.prompt()
        before = len(opened.shown)
        opened.send("NO_COLOR=1 p9 ps\n")
        opened.until("drawn")
        opened.prompt()
        assert "\033[3" not in opened.shown[before:]


# --- errors and help ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("words", [["ps"], ["efork"], ["tree"], ["kill", "5"], ["top", "--once"]])
def test_without_a_mount(p9, words, tmp_path):
    done = p9("-m", tmp_path / "nothing", *words)
    assert (done.returncode, done.stderr) == (1, f"p9: no proc9 at {tmp_path}/nothing: start it with ./mount.sh, or set PROC9\n")


def test_run_without_a_mount(p9, tmp_path):
    done = p9("-m", tmp_path, "run", "true")
    assert (done.returncode, done.stderr) == (125, f"p9: no proc9 at {tmp_path}: start it with ./mount.sh, or set PROC9\n")


def test_a_daemon_that_has_died(private_mount, programs):
    private_mount.process.kill()
    private_mount.process.wait(10)
    for words, status in ((["ps"], 1), (["run", "true"], 125)):
        done = subprocess.run(["p9", *words], env=environment(private_mount, programs), capture_output=True, text=True, timeout=20)
        assert done.returncode == status
        assert done.stderr == f"p9: the proc9 at {private_mount.path} has died: ./mount.sh -u, then ./mount.sh\n"


@pytest.mark.parametrize("words, status, says", [
    (["nonsense"], 2, "p9: there is no command nonsense: p9 help lists them\n"),
    (["kill"], 2, "p9: usage: p9 kill [-SIG] N...\n"),
    (["show", "a", "b"], 2, "p9: usage: p9 show N\n"),
    (["ps", "--nonsense"], 2, "p9 ps: unrecognized option '--nonsense'\np9: try: p9 help ps\n"),
    (["run"], 125, "p9: usage: p9 run [OPTIONS] [--] PROGRAM [ARG...]\n"),
    (["apply", "/nonexistent"], 1, "p9: cannot read /nonexistent\n"),
])
def test_misuse(p9, words, status, says):
    done = p9(*words)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", says)


@pytest.mark.parametrize("words", [["show", "nobody"], ["wait", "999999999"], ["tell", "nobody", "env A=1"], ["ps", "nobody"]])
def test_no_such_process(mount, p9, words):
    done = p9(*words)
    assert (done.returncode, done.stderr) == (1, f"p9: no process {words[1]} at {mount.path}: p9 ps lists them\n")


def test_output_that_cannot_be_written_is_an_error(drawn, mount, programs):
    done = mount.sh("p9 ps > /dev/full", env=environment(mount, programs))
    assert done.returncode == 1 and "No space left" in done.stderr


def commands_of_p9(out):
    return re.findall(r"^  ([a-z]+)(?= |$)", out("help"), re.M)


def test_help_is_there_for_every_command(out):
    names = commands_of_p9(out)
    assert {"run", "efork", "fork", "apply", "ps", "tree", "show", "wait", "kill", "tell", "top", "completion"} <= set(names)
    for name in names:
        assert out("help", name) == out(name, "--help") and out("help", name).startswith(f"usage: p9 {name}")


def test_help_of_run_lists_every_building_command_of_the_mount(mount, out):
    verbs = re.search(r"^Commands of N/ctl.*?\n(.*?)^Files", read(mount.P("help")), re.M | re.S).group(1)
    listed = re.findall(r"^ {6}--([a-z]+)", out("help", "run"), re.M)
    assert [name for name in re.findall(r"^  ([a-z]+)", verbs, re.M) if name not in listed] == []


def test_version(out):
    assert re.fullmatch(r"p9 \d+\.\d+\.\d+\n", out("--version"))


# --- completion -----------------------------------------------------------------------------------------------------

def bash_completes(mount, programs, *words):
    script = ("source <(p9 completion bash); COMP_WORDS=(p9 \"$@\"); COMP_CWORD=$#; "
              "compopt() { :; }; $(complete -p p9 | sed 's/.*-F \\([^ ]*\\).*/\\1/') p9; printf '%s\\n' \"${COMPREPLY[@]}\"")
    done = subprocess.run(["bash", "-c", script, "bash", *words], env=environment(mount, programs), capture_output=True,
                          text=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_bash_completes_commands_options_and_processes(mount, programs, out):
    pid = out("efork", "hello").strip()
    assert bash_completes(mount, programs, "t") == ["tell", "top", "tree"]
    assert sorted(bash_completes(mount, programs, "")) == sorted(commands_of_p9(out))
    assert bash_completes(mount, programs, "run", "--ni") == ["--nice"]
    assert bash_completes(mount, programs, "run", "--std") == ["--stderr", "--stdin", "--stdout"]
    assert sorted(bash_completes(mount, programs, "kill", "")) == sorted([pid, "hello"])
    assert bash_completes(mount, programs, "show", "hel") == ["hello"]
    assert bash_completes(mount, programs, "help", "ap") == ["apply"]
    assert "printf" in bash_completes(mount, programs, "run", "--nice", "5", "print")
    assert bash_completes(mount, programs, "run", "cat", "--ni") == [], "they are the program's"


def test_bash_completes_at_a_terminal(mount, programs, tmp_path, out):
    out("efork", "hello")
    with terminal(environment(mount, programs), tmp_path) as opened:
        opened.send("set -o emacs; source <(p9 completion bash)\n")
        opened.prompt()
        opened.send("p9 tel\thel\t'env COMPLETED=1'\n")
        opened.prompt()
    assert os.listdir(mount.P("hello/env")) == ["COMPLETED"]


@pytest.mark.skipif(not shutil.which("fish"), reason="there is no fish")
def test_fish_completes(mount, programs, out, tmp_path):
    out("efork", "hello")
    script = "p9 completion fish | source; complete -C 'p9 tre'; complete -C 'p9 show hel'; complete -C 'p9 run --ni'"
    done = subprocess.run(["fish", "--no-config", "-c", script], capture_output=True, text=True, timeout=20,
                          env=environment(mount, programs, HOME=str(tmp_path)))
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["tree", "hello", "--nice"], done


@pytest.mark.skipif(not shutil.which("zsh"), reason="there is no zsh")
def test_zsh_completes(mount, programs, out, tmp_path):
    out("efork", "hello")
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execvpe("zsh", ["zsh", "-f"], environment(mount, programs, PS1="$ "))
    shell = Terminal.__new__(Terminal)
    shell.pid, shell.master, shell.shown, shell.seen = pid, master, "", 0
    try:
        shell.send("autoload -U compinit; compinit -D -u; source <(p9 completion zsh); echo rea''dy\n")
        shell.until("ready\r\n")
        shell.send("p9 tel\thel\t'env COMPLETED=1'\n")
        assert eventually(lambda: os.listdir(mount.P("hello/env")) == ["COMPLETED"])
    finally:
        shell.close()
