# SPDX-License-Identifier: Apache-2.0
"""Programs that are started, by godwit and by a machine's process: what they have, and what a start that fails leaves."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from godwit_tools.paths import build_dir
from cli_place import cli  # noqa: F401

# A program that writes the numbers of its descriptors to NAME.PID, and goes on as the rest of it says. Of the
# listing's own descriptor nothing is left when the link is read.
PRELUDE = """#!/usr/bin/python3 -BIS
import os, sys
def file_of(fd):
    try: return os.readlink(f"/proc/self/fd/{fd}")
    except OSError: return ""
found = {int(fd): file_of(fd) for fd in os.listdir("/proc/self/fd")}
name = f"FOLDER/{os.path.basename(sys.argv[0])}.{os.getpid()}"
with open(name + ".new", "w") as out:
    out.write(" ".join(str(fd) for fd, file in sorted(found.items()) if file))
os.rename(name + ".new", name)
"""
PASST = """
if "--fd" not in sys.argv:
    print("{}" if "capabilities" in sys.argv[1] else "passt 0")
    raise SystemExit
print(os.getpid(), flush=True)
os.read(3, 1)
"""
PASST_REPAIR = """
import socket, time
peer = socket.socket(socket.AF_UNIX)
peer.connect(sys.argv[1])
peer.recv(1)
"""
VMM = """
ready = next(int(word[len("--ready-fd="):]) for word in sys.argv if word.startswith("--ready-fd="))
error = b'{"error": {"layer": "vmm", "code": "invalid", "sentence": "a sentence"}}\\n'
tail = os.fork()
if tail == 0:                       # has the pipe for as long as it likes
    import time
    time.sleep(600)
with open("FOLDER/tail", "w") as out:
    out.write(str(tail))
os.write(ready, error)
"""


class Programs:
    """Programs of a test's own, first in PATH, and what they wrote."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.seen = folder / "bin", folder / "seen"
        self.folder.mkdir()
        self.seen.mkdir()
        monkeypatch.setenv("PATH", f"{self.folder}:{os.environ['PATH']}")

    def add(self, name, rest=""):
        file = self.folder / name
        file.write_text((PRELUDE + rest).replace("FOLDER", str(self.seen)))
        file.chmod(0o755)
        return file

    def descriptors(self, name, count=1, timeout_s=60):
        """Of each time that it ran, as a list of numbers."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = [file for file in self.seen.glob(f"{name}.*") if file.suffix != ".new"]
            if len(found) >= count:
                return [[int(fd) for fd in file.read_text().split()] for file in found]
            assert time.monotonic() < deadline, f"{name} ran {len(found)} times, not {count}"
            time.sleep(0.01)


@pytest.fixture
def programs(tmp_path, monkeypatch):
    return Programs(tmp_path, monkeypatch)


# A shell that has files open, as one may that runs a script.
SHELL = ["bash", "-c", 'exec 9</dev/null 10</dev/zero 123</dev/null; exec "$@"', "bash"]


def run(command, code=0):
    """From that shell; what it said."""
    done = subprocess.run([*SHELL, *map(str, command)], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr


def start(cli, *options):  # noqa: F811
    return cli.command("run", "--name", "a", "--kernel", cli.image.kernel, "--memory", "128M", "--detach", *options)


# What a program has


def test_godwit_vmm_has_nothing_of_the_shell_s(cli):  # noqa: F811
    run(start(cli))
    files = Path(f"/proc/{cli.status('a')['machine']['pid']}/fd").iterdir()
    assert "/dev/zero" not in [os.readlink(link) for link in files]


@pytest.mark.parametrize("how", [["--detach"], []], ids=["detached", "in the foreground"])
@pytest.mark.parametrize("command", ["run", "receive"])
def test_godwit_vmm_begins_with_the_ready_descriptor(tmp_path, programs, command, how):
    """And the command comes back at its ready line, though somebody else has the pipe as well."""
    program = programs.add("godwit-vmm", VMM)
    beside = shutil.copy(build_dir() / "godwit", tmp_path / "godwit")
    rest = {"run": ["--kernel", "/dev/null"], "receive": ["tcp:127.0.0.1:0"]}[command]
    said = run([beside, "--run-dir", tmp_path / "run", command, "--name", "a", *rest, *how], 1)
    [[*standard, ready]] = programs.descriptors(program.name)
    os.kill(int((programs.seen / "tail").read_text()), signal.SIGKILL)
    assert said == "godwit: a sentence\n"
    assert standard == [0, 1, 2] and ready not in (9, 10, 123)


def test_the_descriptor_of_an_address_is_named(tmp_path, programs):
    program = programs.add("godwit-vmm", VMM)
    beside = shutil.copy(build_dir() / "godwit", tmp_path / "godwit")
    run([beside, "--run-dir", tmp_path / "run", "receive", "--name", "a", "fd:123", "--detach"], 1)
    [[*standard, ready, named]] = programs.descriptors(program.name)
    os.kill(int((programs.seen / "tail").read_text()), signal.SIGKILL)
    assert standard == [0, 1, 2] and ready not in (9, 10) and named == 123


def test_a_descriptor_that_is_not_open_is_told(cli):  # noqa: F811
    cli("receive", "--name", "a", "fd:77", "--detach", code=1)
    assert "descriptor 77 of 'fd:77' is not open" in cli.errors


def test_passt_has_its_stream(cli, programs):  # noqa: F811
    programs.add("passt", PASST)
    run(start(cli, "--net", "user"))
    assert sorted(programs.descriptors("passt", 3)) == [[0, 1, 2], [0, 1, 2], [0, 1, 2, 3]]


def test_passt_repair_has_the_standard_ones(cli, programs):  # noqa: F811
    """It is asked for by a passt that hands connections over, where this process has no right of its own."""
    programs.add("passt", """
if "--print-capabilities" in sys.argv:
    print('{"type": "net"}')
elif "--version" in sys.argv:
    print("passt 1")
""")
    programs.add("passt-repair", PASST_REPAIR)
    no_right = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"] if os.geteuid() == 0 else []
    run([*no_right, *start(cli, "--net", "user")], 1)
    assert programs.descriptors("passt-repair")[0] == [0, 1, 2]
    assert programs.descriptors("passt", 3) == [[0, 1, 2]] * 3


def test_commands_of_addresses_have_the_standard_ones(cli, programs):  # noqa: F811
    programs.add("dial")
    programs.add("answer")
    run(start(cli))
    cli("migrate", "a", "exec:exec dial", code=1)
    assert programs.descriptors("dial") == [[0, 1, 2]]
    run(cli.command("receive", "--name", "b", "exec:exec answer", "--detach"))
    assert programs.descriptors("answer")[0] == [0, 1, 2]


def test_closed_standard_descriptors_are_nobody_else_s(cli):  # noqa: F811
    """Else a disk could become descriptor 2, on which words of the process are written."""
    command = cli.command("run", "--name", "a", "--kernel", cli.image.kernel, "--memory", "128M", "--disk", cli.disk, "--detach")
    subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command], timeout=60, check=True)
    pid = cli.status("a")["machine"]["pid"]
    assert [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in range(3)] == ["/dev/null"] * 3


# A start that does not come to its end


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.mark.parametrize("how, number", [(["--detach"], signal.SIGTERM), ([], signal.SIGINT)], ids=["detached", "in the foreground"])
def test_an_interrupted_start_takes_everything_with_it(cli, programs, how, number):  # noqa: F811
    """Here it waits for a passt that does not say that it serves; the port is that passt's."""
    port = free_port()
    programs.add("passt", """
import socket, time
if "--fd" not in sys.argv:
    print("passt 0")
    raise SystemExit
server = socket.create_server(("127.0.0.1", PORT))
open("FOLDER/waits", "w").close()
os.read(3, 1)
""".replace("PORT", str(port)))
    godwit = subprocess.Popen(cli.command("run", "--name", "a", "--kernel", cli.image.kernel, "--net", "user", *how),
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not (programs.seen / "waits").exists():
        assert godwit.poll() is None
        time.sleep(0.01)
    godwit.send_signal(number)
    assert godwit.wait(60) == 5
    assert "interrupted: the machine was not started" in godwit.stderr.read()
    socket.create_server(("127.0.0.1", port)).close()
    assert list(cli.run_dir.iterdir()) == []


@pytest.mark.parametrize("options, words", [
    (["run", "--kernel", "/no/such/Image"], "/no/such/Image"),
    (["run", "--kernel", "KERNEL", "--disk", "/no/such/disk"], "/no/such/disk"),
    (["run", "--kernel", "KERNEL", "--net", "tap:/"], "tap"),
    (["receive", "tcp:127.0.0.1:PORT"], "Address already in use"),
    (["receive", "tcp:nohostport"], "tcp:HOST:PORT"),
])
@pytest.mark.parametrize("how", [["--detach"], []], ids=["detached", "in the foreground"])
def test_a_start_that_fails_leaves_nothing(cli, options, words, how):  # noqa: F811
    with socket.create_server(("127.0.0.1", 0)) as server:
        known = {"KERNEL": str(cli.image.kernel), "tcp:127.0.0.1:PORT": f"tcp:127.0.0.1:{server.getsockname()[1]}"}
        cli(*(known.get(word, word) for word in options), "--name", "a", *how, code=1)
    assert words in cli.errors
    assert cli("list") == f"no machines in {cli.run_dir}\n"


def test_a_start_that_fails_leaves_the_earlier_machine_s_record(cli):  # noqa: F811
    cli.boot("a")
    uri = cli.receive("b")
    cli("migrate", "a", uri)
    cli("stop", "--force", "b")
    before = {name: cli.status(name) for name in "ab"}
    cli("run", "--name", "b", "--kernel", "/no/such/Image", "--detach", code=1)
    cli("receive", "--name", "a", "tcp:nohostport", "--detach", code=1)
    assert {name: cli.status(name) for name in "ab"} == before
    assert cli("log", "a") and "completed" in cli("log", "b")


# No run directory


@pytest.fixture
def of_somebody():
    """A folder that somebody who is not root may enter, with the programs; calls them without XDG_RUNTIME_DIR."""
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    with tempfile.TemporaryDirectory(prefix="godwit-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for program in ("godwit", "godwit-vmm"):
            shutil.copy(build_dir() / program, folder)

        def said(*arguments):
            done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "-u", "XDG_RUNTIME_DIR",
                                   folder / "godwit", *arguments], capture_output=True, text=True, timeout=60)
            assert done.returncode == 1, done.stdout + done.stderr
            return done.stderr
        yield folder, said


WAYS = "Permission denied; choose another one with --run-dir DIR, or set XDG_RUNTIME_DIR\n"


@pytest.mark.parametrize("command", [["run", "--kernel", "/dev/null"], ["receive", "tcp:127.0.0.1:0"]])
def test_a_run_directory_that_cannot_be_made_is_told_with_the_ways_out(of_somebody, command):
    where = "/run/godwit/a" if Path("/run/godwit").exists() else "/run/godwit"      # of root, then
    assert of_somebody[1](*command, "--name", "a") == f"godwit: cannot make the run directory '{where}': {WAYS}"


@pytest.mark.parametrize("command", [
    ["run", "--kernel", "/dev/null", "--name", "a"], ["receive", "tcp:127.0.0.1:0", "--name", "a"], ["list"], ["status", "a"],
    ["console", "a"], ["stop", "a"], ["log", "a"], ["explain", "a"], ["migrate", "a", "tcp:127.0.0.1:1"],
    ["reclaim", "a", "--fenced"]], ids=lambda command: command[0])
def test_a_run_directory_of_others_is_told_with_the_ways_out(of_somebody, command):
    folder, said = of_somebody
    (folder / "run").mkdir(mode=0o700)
    assert f"the run directory '{folder}/run" in (words := said("--run-dir", folder / "run", *command)) and words.endswith(WAYS)
