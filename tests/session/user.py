"""Other users than the one who runs the tests.

    alice = User(23001)
    alice.do(os.listdir, "/proc9")     # in a process of hers: what it returns, or its OSError
    alice.sh("echo efork > $PROC9/ctl")
"""
import ctypes
import os
import pickle
import select
import signal
import subprocess

PR_SET_DUMPABLE = 4


class User:
    def __init__(self, uid, groups=()):
        self.uid, self.groups = uid, list(groups)

    def become(self):
        os.setgroups(self.groups)
        os.setresgid(self.uid, self.uid, self.uid)
        os.setresuid(self.uid, self.uid, self.uid)
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # as after a login, whose shell was exec'd

    def do(self, function, *args, timeout=20):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                self.become()
                try:
                    answer = (True, function(*args))
                except OSError as problem:
                    answer = (False, problem)
                os.write(writer, pickle.dumps(answer))
                status = 0
            finally:
                os._exit(status)
        os.close(writer)
        try:
            if not select.select([reader], [], [], timeout)[0]:
                os.kill(child, signal.SIGKILL)
                raise TimeoutError(f"user {self.uid}: {function} takes more than {timeout} s")
            with os.fdopen(reader, "rb", closefd=False) as pipe:
                worked, value = pickle.load(pipe)
        finally:
            os.close(reader)
            os.waitpid(child, 0)
        if not worked:
            raise value
        return value

    def argv(self, *command):
        groups = ["--groups", ",".join(map(str, self.groups))] if self.groups else ["--clear-groups"]
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", *groups, *command]

    def sh(self, mount, script, prefix=(), timeout=30, **options):
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PROC9": mount.path, "LC_ALL": "C", "HOME": "/"}
        return subprocess.run([*prefix, *self.argv("sh", "-c", script)], env=env, timeout=timeout, cwd="/", text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
