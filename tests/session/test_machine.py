"""A machine that is not the one that proc9d was compiled for."""
import os
import subprocess

PAGES = """
#include <dlfcn.h>
#include <unistd.h>
long sysconf(int name) {
    long (*real)(int) = (long (*)(int))dlsym(RTLD_NEXT, "sysconf");
    return name == _SC_PAGESIZE ? 65536 : real(name);
}
"""


def test_where_pages_are_larger_it_says_so_and_does_not_start(request, tmp_path):
    (tmp_path / "pages.c").write_text(PAGES)
    (tmp_path / "mount").mkdir()
    subprocess.run(["gcc", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", "pages.so", "pages.c"], cwd=tmp_path, check=True, timeout=60)
    done = subprocess.run([request.config.program, "--foreground", "mount"], cwd=tmp_path, text=True, timeout=30, capture_output=True,
                          env={**os.environ, "LD_PRELOAD": str(tmp_path / "pages.so")})
    assert done.returncode == 1
    assert "this kernel has pages of 65536 bytes, and proc9 is for pages of 4096" in done.stderr
    assert not os.path.ismount(tmp_path / "mount")
