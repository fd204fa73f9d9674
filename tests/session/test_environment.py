"""Environment and arguments: env/ as files, the commands, and what the program really gets."""
import os

import pytest

from mount import errno_of


def printed_env(embryo):
    """The environment that a program of this embryo sees, sorted lines."""
    out, status = embryo.run("exec /usr/bin/env")
    assert status == ""
    return sorted(out.splitlines())


# --- environment ----------------------------------------------------------------------------------------------------

def test_a_new_embryo_has_no_environment(embryo):
    assert embryo.env() == []
    assert printed_env(embryo) == []


def test_a_written_file_is_a_variable(mount, embryo):
    mount.out(f"cd {embryo.P('env')}; printf red > COLOUR; printf '' > EMPTY")
    assert embryo.env() == ["COLOUR", "EMPTY"]
    assert printed_env(embryo) == ["COLOUR=red", "EMPTY="]


def test_a_variable_reads_back(mount, embryo):
    embryo.tell("env A=1", "env B='two words'", "env C==", 'env "D=x\\ny"')
    values = {name: embryo.read(f"env/{name}").rstrip("\n") for name in "ABCD"}
    assert values == {"A": "1", "B": "two words", "C": "=", "D": "x\ny"}


def test_what_is_written_is_what_is_read(embryo):
    value = "a=b 'c' \"d\" käse \t end"
    embryo.write("env/A", value)
    assert embryo.read("env/A") == value
    assert printed_env(embryo) == [f"A={value}"]


def test_writing_again_replaces(mount, embryo):
    mount.out(f"cd {embryo.P('env')}; printf 'a long value' > A; printf short > A")
    assert embryo.read("env/A").rstrip("\n") == "short"


def test_appending_appends(mount, embryo):
    mount.out(f"cd {embryo.P('env')}; printf /bin > PATH; printf :/usr/bin >> PATH")
    assert embryo.read("env/PATH").rstrip("\n") == "/bin:/usr/bin"


def test_rm_unsets(mount, embryo):
    embryo.tell("env A=1", "env B=2")
    mount.out(f"rm {embryo.P('env/A')}")
    assert embryo.env() == ["B"]


def test_unset_and_clearenv(embryo):
    embryo.tell("env A=1", "env B=2", "env C=3", "unset A")
    assert embryo.env() == ["B", "C"]
    embryo.tell("clearenv")
    assert embryo.env() == []


def test_a_variable_that_is_not_there_is_ENOENT(embryo):
    assert errno_of(embryo.read, "env/NONE") == "ENOENT"
    assert errno_of(os.unlink, embryo.P("env/NONE")) == "ENOENT"


def test_env_needs_a_name_and_a_value(embryo):
    assert embryo.ask("env") == "EINVAL"
    assert embryo.ask("env A") == "EINVAL"
    assert embryo.ask("env =1") == "EINVAL"


def test_inherit_env_takes_the_writers(mount, embryo):
    mount.out(f"env -i A=1 'B=two words' sh -c 'echo inherit env > {embryo.P('ctl')}'")
    assert {"A", "B"} <= set(embryo.env())
    assert {"A=1", "B=two words"} <= set(printed_env(embryo))


def test_set_after_inherit_wins(mount, embryo):
    mount.out(f"env -i A=1 sh -c 'printf \"inherit env\\nenv A=2\\n\" > {embryo.P('ctl')}'")
    assert "A=2" in printed_env(embryo)


def test_5000_variables(embryo):
    embryo.tell(*(f"env VARIABLE_{n}={n}" for n in range(5000)))
    assert len(embryo.env()) == 5000
    assert printed_env(embryo) == sorted(f"VARIABLE_{n}={n}" for n in range(5000))


def test_environ_of_the_running_program_is_what_was_built(embryo):
    embryo.tell("env B=2", "env A=1", "exec /bin/sleep 1000")
    with open(f"/proc/{embryo.pid}/environ", "rb") as f:
        assert sorted(f.read().split(b"\0")) == [b"", b"A=1", b"B=2"]


# --- arguments ------------------------------------------------------------------------------------------------------

WORDS = ["/usr/bin/printf", "[%s]\\n", "plain", "two words", "it's", 'say "hi"', "", "tab\there", "new\nline", "käse"]


def quoted(word):
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t").replace("\n", "\\n") + '"'


def test_args_reach_the_program(embryo):
    embryo.tell("args " + " ".join(map(quoted, WORDS)))
    assert embryo.run("exec")[0] == "".join(f"[{word}]\n" for word in WORDS[2:])


def test_the_args_file_reads_as_words_that_can_be_written(mount):
    one, two = mount.efork(), mount.efork()
    one.tell("args " + " ".join(map(quoted, WORDS)))
    two.write("args", one.read("args"))
    assert two.read("args") == one.read("args")
    assert two.run("exec")[0] == "".join(f"[{word}]\n" for word in WORDS[2:])


def test_writing_the_args_file(mount, embryo):
    mount.out(f"""echo "/bin/echo 'a  b' c" > {embryo.P('args')}""")
    assert embryo.run("exec")[0] == "a  b c\n"


def test_exec_with_words_gets_those_words(embryo):
    embryo.tell("exec /bin/sleep 1000")
    with open(f"/proc/{embryo.pid}/cmdline", "rb") as f:
        assert f.read() == b"/bin/sleep\0" + b"1000\0"


def test_an_argument_vector_of_one_mebibyte(embryo, tmp_path):
    words = [f"{n:04}" + "x" * 16380 for n in range(64)]
    embryo.tell("args /usr/bin/printf %s\\n " + " ".join(words))
    out, status = embryo.run("exec")
    assert (out, status) == ("".join(word + "\n" for word in words), "")


def test_an_argument_vector_of_many_words(embryo):
    embryo.tell("args /usr/bin/printf %s\\n " + " ".join(map(str, range(50_000))))
    assert embryo.run("exec")[0].split() == list(map(str, range(50_000)))


@pytest.mark.parametrize("name", ["A=B"])
def test_a_name_that_no_variable_can_have_is_EINVAL(embryo, name):
    assert errno_of(open, embryo.P("env", name), "w") == "EINVAL"
    assert embryo.env() == []
