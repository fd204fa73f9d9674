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
from contextlib import contextmanager

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
READY = "sh -c 'echo rea\"\"dy; exec sleep 30'"     # the echo of the line that is typed must not look like the answer

# What is typed at a prompt; keys; `? text` waits for what the terminal shows; `# ROWS COLUMNS` changes its size.
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
    "^Z and fg": ["RUN sh -c 'echo rea\"\"dy; sleep 1; echo do\"\"ne; exit 4'", "? ready", "^Z", "echo $?", "jobs", "fg", "? done",
                  "echo $?"],
    "^Z and bg": ["RUN sh -c 'echo rea\"\"dy; sleep 1; exit 4'", "? ready", "^Z", "echo $?", "bg", "wait %1", "echo $?"],
    "^Z twice": [f"RUN {READY}", "? ready", "^Z", "fg", "? sleep 30", "^Z", "echo $?", "fg", "? sleep 30", "^C", "echo $?"],
    "^Z and kill": [f"RUN {READY}", "? ready", "^Z", "kill %1", "sleep 0.3", "wait %1", "echo $?"],
    "^Z and kill -KILL": [f"RUN {READY}", "? ready", "^Z", "kill -KILL %1", "sleep 0.3", "wait %1", "echo $?"],
    "^Z of a program that handles it": ["RUN perl -e '$SIG{TSTP} = sub { print \"no \", \"stop\\n\"; exit 2 }; $| = 1; print \"rea\", \"dy\\n\"; sleep 9'",
                                        "? ready", "^Z", "? no stop", "echo $?"],
    "^Z in a pipeline": [f"RUN {READY} | RUN cat", "? ready", "^Z", "jobs", "fg", "? sleep 30", "^C", "echo $?"],
    "it stops itself": ["RUN sh -c 'kill -STOP $$; echo wo\"\"ken; exit 6'", "echo $?", "jobs -l | cut -c 1-4,12-", "fg", "? woken", "echo $?"],
    "it stops itself by TSTP": ["RUN sh -c 'kill -TSTP $$; echo wo\"\"ken; exit 6'", "echo $?", "jobs", "fg", "? woken", "echo $?"],
    "continued by its pid alone": [f"RUN {READY}", "? ready", "^Z", "kill -CONT $(jobs -p)", "sleep 0.3", "jobs", "kill -TERM $(jobs -p)",
                                   "sleep 0.3", "wait %1", "echo $?"],
    "in the background": ["RUN sh -c 'exit 3' &", "wait %1", "echo $?"],
    "kill %1": ["RUN sleep 30 &", "sleep 0.3", "kill %1", "sleep 0.3", "wait %1", "echo $?"],
    "kill -HUP %1": ["RUN sleep 30 &", "sleep 0.3", "kill -HUP %1", "sleep 0.3", "wait %1", "echo $?"],
    "fg of what began in the background": [f"RUN sleep 30 &", "fg", "? sleep 30", "^C", "echo $?"],
    "reading in the background stops": ["RUN cat &", "sleep 0.5", "jobs", "fg", "? cat", "! line", "? line\r\nline", "^D", "echo $?"],
    "writing in the background stops": ["stty tostop", "RUN sh -c 'echo wri\"\"tten' &", "sleep 0.5", "jobs", "stty -tostop", "fg",
                                        "? written", "echo $?"],
    "a line from the terminal": ["RUN sh -c 'echo na\"\"me; read x; echo hello $x'", "? name", "! world", "? hello world", "echo $?"],
    "^D": ["RUN cat", "! text", "? text\r\ntext", "^D", "echo $?"],
    "it is a terminal": ["RUN test -t 0; echo $?", "RUN tty | cut -c 1-9", "RUN sh -c 'test -t 1 && test -t 2; echo $?'"],
    "terminal size": ["# 33 111", "RUN stty size", "# 20 50", "RUN stty size"],
    "terminal size changes": ["RUN bash -c 'trap \"stty size; exit 2\" WINCH; echo rea\"\"dy; while :; do sleep 0.1; done'", "? ready",
                              "# 41 99", "? 41 99", "echo $?"],
    "size changes while stopped": ["RUN sh -c 'echo rea\"\"dy; sleep 0.7; stty size'", "? ready", "^Z", "# 31 77", "fg", "? 31 77", "echo $?"],
    "raw keys": ["RUN bash -c 'stty raw -echo; echo rea\"\"dy; x=$(head -c 1 | od -An -tx1); stty sane; echo got$x'", "? ready", "^C", "? got 03",
                 "echo $?"],
    "a shell in it": ["RUN bash --norc --noprofile -i", "echo in $SHLVL", "sleep 30", "^Z", "jobs", "kill %1", "sleep 0.3", "exit 5",
                      "echo $?"],
    "a shell in it that suspends itself": ["RUN bash --norc --noprofile -i", "echo in", "suspend", "? Stopped", "echo out", "fg", "? bash",
                                           "exit 4", "? exit", "echo $?"],
    "disowned": ["RUN sleep 30 & disown", "jobs", "kill $!", "sleep 0.2", "kill -0 $! 2>&1 | cut -d ' ' -f 4-"],
    "in the foreground group": ["RUN sh -c 'ps -o stat= -p $$' | cut -c 3-", "RUN sh -c 'ps -o tpgid=,pgid= -p $$' | awk '{ print $1 == $2 }'"],
    "time": ["time RUN true 2>&1 | cat", "echo $?"],
    "exit with stopped jobs": [f"RUN {READY}", "? ready", "^Z", "exit", "? stopped jobs", "kill %1", "sleep 0.3", "wait %1", "echo $?"],
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
        """After fg the shell has said its name before it has the terminal; and who has just said something may not be
        waiting yet. Whom a key finds then differs from run to run, without p9 as well."""
        time.sleep(0.3)
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


def at_prompt(terminal, step, next_step):
    """A line; and the prompt after it, unless the next step is something that the program waits for."""
    terminal.send(step + "\n")
    if next_step is None or next_step[0] not in "?!^":
        terminal.prompt()


def play(terminal, steps, run):
    for step, following in zip(steps, [*steps[1:], None]):
        if step in CONTROL:
            terminal.wait_for_a_program()
            terminal.send(CONTROL[step])
            if following is None or following[0] not in "?!^":
                terminal.prompt()
        elif step.startswith("? "):
            terminal.until(step[2:])
            if following is not None and following[0] not in "?!^#":
                terminal.prompt()
        elif step.startswith("! "):
            terminal.send(step[2:] + "\n")
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
    shown = re.sub(r"^(\[\d+\])[-+ ]", r"\1", shown, flags=re.M)   # which job bash calls the current one
    return re.sub(r"(real|user|sys)\t.*", r"\1", shown)


@pytest.mark.parametrize("case", TERMINAL_CASES)
def test_run_at_a_terminal_is_as_the_shell(mount, programs, tmp_path, case):
    env = environment(mount, programs)
    expected = screen(TERMINAL_CASES[case], "", tmp_path / "work", env)
    assert screen(TERMINAL_CASES[case], f"{programs}/p9 run ", tmp_path / "work", env) == expected
    assert eventually(lambda: mount.ids() == []), "it leaves nothing in the mount"


# --- the other commands ---------------------------------------------------------------------------------------------

@pytest.fixture
def job(out):
    """A blank process of that name, made by p9."""
    out("efork", "job")
    return "job"


def test_efork_tell_wait(mount, out, p9, job, tmp_path):
    out("tell", job, f"fd 1 open {tmp_path}/answer w", "exec /bin/sh -c 'echo $$; exit 3'")
    assert (p9("wait", job).returncode, mount.ids()) == (3, [])
    assert (tmp_path / "answer").read_text().strip().isdigit()


def test_tell_of_standard_input_stops_at_a_refused_line(mount, p9, job):
    done = p9("tell", job, input="env A=1\nmap 0x600001 4K rw-\nenv B=2\n")
    assert done.returncode == 1 and "not a multiple of the page size" in done.stderr
    assert os.listdir(mount.P(job, "env")) == ["A"]


def test_fork_makes_an_equal_one(mount, out, job):
    out("tell", job, "env A=1")
    made = out("fork", job, "other").strip()
    assert (os.readlink(mount.P("other")), os.listdir(mount.P("other", "env"))) == (made, ["A"])


def test_apply_makes_a_process_or_furnishes_one(mount, out, p9, job):
    made = out("apply", "-", input='{"process": {"env": ["A=1"], "cwd": "/usr"}}').strip()
    assert os.readlink(mount.P(made, "cwd")) == "/usr"
    out("apply", "-", job, input='{"process": {"env": ["B=1"]}}')
    assert os.listdir(mount.P(job, "env")) == ["B"]
    refused = p9("apply", "-", job, input="nonsense")
    assert refused.returncode == 1 and refused.stderr.startswith("p9: ")


def test_ps_and_tree_tell_of_all(mount, out, job):
    other = mount.efork("other")
    other.tell("exec /bin/sleep 1000")
    rows = {row["name"]: row for row in json.loads(out("ps", "--json"))}
    assert (rows["job"]["state"], rows["other"]["state"], rows["other"]["id"]) == ("embryo", "running", other.pid)
    assert [line.split()[1:3] for line in out("ps").splitlines()[1:]] == [["job", "embryo"], ["other", "running"]]
    assert re.search(r"─ \d+ other /bin/sleep", out("tree")), "below the daemon"
    out("kill", "other")
    assert eventually(lambda: json.loads(out("ps", "--json", "other"))[0]["state"] == "exited")


def test_kill_takes_a_signal_by_name_and_number(mount, out, p9):
    for signal_, word in ((15, "-TERM"), (15, "-15"), (9, None)):
        embryo = mount.efork()
        embryo.tell("exec /bin/sleep 1000")
        out("kill", *filter(None, [word]), embryo.pid)
        assert embryo.wait().status.startswith(f"signal {signal_} ")
    assert "nobody" in p9("kill", "nobody").stderr


def test_show_draws_the_address_space_to_scale(mount, out, job):
    out("tell", job, "map 0x600000 64K rw-", "map 0x700000 32K r-x")
    wide, narrow = (line for line in out("show", job).splitlines() if "K  r" in line)
    assert wide.split()[:3] == ["600000", "64.0K", "rw-p"] and narrow.split()[:3] == ["700000", "32.0K", "r-xp"]
    assert wide.count("█") > narrow.count("█") > 0
    regions = json.loads(out("show", "--json", job))
    assert [(region["start"], region["protection"]) for region in regions] == [(0x600000, "rw-p"), (0x700000, "r-xp")]
    picture = xml.etree.ElementTree.fromstring(out("show", "--svg", job))
    assert picture.tag.endswith("svg") and len(list(picture.iter())) > 4


def test_top_once(mount, out, job):
    assert "job" in out("top", "--once")


def test_background_prints_the_id_and_its_end_is_kept(mount, out, p9):
    made = out("run", "--background", "sh", "-c", "exit 4").strip()
    assert p9("wait", made).returncode == 4


def test_timeout_ends_it(p9):
    assert p9("run", "--timeout", "0.3", "sleep", "30").returncode == 124


def test_settings_are_options(out, tmp_path):
    script = "nice; ulimit -n; echo $A; umask; echo more >&3"
    assert out("run", "--nice", "5", "--limit=NOFILE 33", "--env", "A=b c", "--umask", "027", "--fd", f"3 open {tmp_path}/log w",
               "sh", "-c", script) == "5\n33\nb c\n0027\n"
    assert (tmp_path / "log").read_text() == "more\n"


def test_blank_inherits_nothing(out):
    assert out("run", "--blank", "/usr/bin/env") == ""


def test_namespaces_of_a_child_of_the_mount(out):
    assert out("run", "--efork", "ns=user,pid", "sh", "-c", "echo $$") == "1\n"


def test_messages_say_what_to_do(p9, tmp_path):
    assert "PROC9" in p9("-m", tmp_path, "ps").stderr
    assert "p9 help" in p9("nonsense").stderr
    assert p9("run", "--nice", "cold", "true").returncode in (1, 125, 126)
    assert "cold" in p9("run", "--nice", "cold", "true").stderr


def test_completion_in_bash(mount, programs, out, job):
    script = ("source <(p9 completion bash); COMP_WORDS=(p9 %s); COMP_CWORD=%d; COMP_LINE=\"p9 %s\"; COMP_POINT=${#COMP_LINE}; "
              "f=$(complete -p p9 | grep -o -- '-F [^ ]*' | cut -c 4-); $f p9; printf '%%s\\n' \"${COMPREPLY[@]}\"")

    def completed(words):
        many = len(words.split(" "))
        done = subprocess.run(["bash", "-c", script % (words, many, words)], env=environment(mount, programs), timeout=20,
                              capture_output=True, text=True)
        return [word.strip() for word in done.stdout.splitlines()]
    assert "efork" in completed("ef")
    assert "job" in completed("wait jo")
    assert "--nonewprivs" in completed("run --nonew")


@pytest.mark.parametrize("command", ["run", "ps", "show", "wait", "load"])
def test_help_of_a_command(out, command):
    assert out("help", command).startswith("usage: p9 " + command)
    assert out(command, "--help") == out("help", command)
