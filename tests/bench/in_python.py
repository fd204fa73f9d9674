"""Ways to start a child from Python: ROUNDS, and the folder of the programs. Prints {way: [microseconds]} as JSON."""
import ctypes
import os
import subprocess
import sys

from turns import print_samples

rounds, folder = int(sys.argv[1]), sys.argv[2]
program = f"{folder}/nothing"
mount = os.environ["PROC9"]
ctl = os.open(f"{mount}/ctl", os.O_RDWR)
library = ctypes.CDLL(f"{folder}/libproc9.so")
words = (ctypes.c_char_p * 2)(b"nothing", None)


def by_subprocess():
    subprocess.run([program], check=True)


def by_posix_spawn():
    os.waitpid(os.posix_spawn(program, ["nothing"], {}), 0)


def by_files():
    os.write(ctl, f"efork\nexec {program}\n".encode())
    with open(f"{mount}/{int(os.pread(ctl, 32, 0))}/wait") as wait:
        wait.read()


def by_library():
    os.waitpid(library.proc9_spawn(None, program.encode(), words, None), 0)


print_samples({"subprocess": by_subprocess, "posix_spawn": by_posix_spawn, "files": by_files, "libproc9": by_library}, rounds)
