# SPDX-License-Identifier: Apache-2.0
"""The run directory in any state: links, odd files, half of a machine; and what godwit itself puts there."""

import fcntl
import json
import os
import signal
import stat
import subprocess
import time

import pytest
from cli_place import cli  # noqa: F401
from test_remove import ended, names
from test_start import programs  # noqa: F401


def tree(folder):
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*"))


# Links lead nowhere


@pytest.fixture
def elsewhere(tmp_path):
    """Files of somebody that have the names of a machine's."""
    folder = tmp_path / "elsewhere"
    (folder / "flights").mkdir(parents=True)
    for file in "a.json", "lock", "status.json", "vmm.log", "flights/a.json":
        (folder / file).write_text("{}")
    return folder


@pytest.mark.parametrize("how", ["x", "--ended"], ids=["by name", "all"])
def test_remove_does_not_follow_a_link_to_migration_logs(cli, elsewhere, how):  # noqa: F811
    before = tree(elsewhere)
    folder = ended(cli, "x", status={"verdict": "ended"})
    (folder / "flights").rmdir()
    (folder / "flights").symlink_to(elsewhere)
    cli("remove", how, code=1)
    assert "holds 'flights', which is not the machine's" in cli.errors
    assert tree(elsewhere) == before and (folder / "status.json").exists()
    cli("log", "x", code=1)
    assert "cannot read the flight logs" in cli.errors


def test_remove_takes_a_link_of_a_file_s_name_and_not_the_file(cli, elsewhere):  # noqa: F811
    before = tree(elsewhere)
    folder = ended(cli, "x")
    (folder / "status.json").symlink_to(elsewhere / "status.json")
    (folder / "flights/b.json").symlink_to(elsewhere / "a.json")
    cli("remove", "x")
    assert tree(elsewhere) == before and names(cli) == []


@pytest.mark.parametrize("command", [["remove", "x"], ["status", "x"], ["log", "x"], ["explain", "x"], ["console", "x"],
                                     ["stop", "x"], ["migrate", "x", "tcp:127.0.0.1:1"]], ids=lambda command: command[0])
def test_a_link_is_not_a_machine(cli, elsewhere, command):  # noqa: F811
    before = tree(elsewhere)
    cli.run_dir.mkdir()
    (cli.run_dir / "x").symlink_to(elsewhere)
    cli(*command, code=3)
    assert f"'{cli.run_dir}/x' is not a machine's directory" in cli.errors
    cli("remove", "--ended")
    assert names(cli) == [] and tree(elsewhere) == before


# A removal that is refused changes nothing


@pytest.mark.parametrize("odd", ["flights/notes.txt", "flights/more.json/x", "status.json/x", "disk.img"])
@pytest.mark.parametrize("locked", [True, False], ids=["with a lock", "without a lock"])
def test_what_is_not_the_machine_s_keeps_it_whole(cli, odd, locked):  # noqa: F811
    folder = ended(cli, "x", log="", config={})
    (folder / "flights/a.json").write_text("{}")
    (folder / odd).parent.mkdir(exist_ok=True)
    (folder / odd).write_text("")
    if not locked:
        (folder / "lock").unlink()
    before = tree(folder)
    cli("remove", "x", code=1)
    assert "which is not the machine's: move it elsewhere first" in cli.errors
    assert tree(folder) == before
    (folder / odd).unlink()
    if odd.count("/") and odd.endswith("x"):
        (folder / odd).parent.rmdir()
    cli("remove", "x")
    assert list(cli.run_dir.iterdir()) == []


@pytest.mark.parametrize("rest", [[], ["flights"], ["status.json"], ["config.json.new", "owner.json.tmp", "flights/a.json.tmp"]])
@pytest.mark.parametrize("how", ["x", "--ended"], ids=["by name", "all"])
def test_half_of_a_machine_is_removed(cli, rest, how):  # noqa: F811
    folder = cli.run_dir / "x"
    folder.mkdir(parents=True)
    for file in rest:
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).mkdir() if file == "flights" else (folder / file).write_text("")
    cli("remove", how)
    assert cli.errors == "godwit: machine 'x' is removed\n" and list(cli.run_dir.iterdir()) == []


@pytest.mark.parametrize("how, code", [("x", 3), ("--ended", 0)], ids=["by name", "all"])
def test_a_machine_that_goes_meanwhile_is_not_there(cli, how, code):  # noqa: F811
    """As a start that fails takes its directory with it."""
    folder = ended(cli, "x")
    with open(folder / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        removing = subprocess.Popen(cli.command("remove", how), stderr=subprocess.PIPE, text=True)
        while not any(os.readlink(file) == str(folder / "lock") for file in descriptors(removing.pid)):
            time.sleep(0.01)
        (folder / "flights").rmdir()
        (folder / "lock").unlink()
        folder.rmdir()
    said = removing.communicate(timeout=60)[1]
    assert removing.returncode == code, said
    assert (f"there is no machine 'x' in {cli.run_dir}" in said) == (code == 3)


def descriptors(pid):
    """The files of a process, as links; of one that ended, none."""
    try:
        return [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd") if os.path.lexists(f"/proc/{pid}/fd/{fd}")]
    except FileNotFoundError:
        return []


# A start that does not come to its end


PASST = """
import time
if "--fd" not in sys.argv:
    print("{}" if "capabilities" in sys.argv[1] else "passt 0")
    raise SystemExit
open("FOLDER/waits", "w").close()
while not os.path.exists("FOLDER/go"):
    time.sleep(0.01)
print(os.getpid(), flush=True)
os.read(3, 1)
"""


def start_halfway(cli, programs):  # noqa: F811
    """A start that waits for its passt; the command, and its process, which is stopped."""
    programs.add("passt", PASST)
    command = cli.command("run", "--name", "a", "--kernel", cli.image.kernel, "--net", "user", "--detach")
    godwit = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not (programs.seen / "waits").exists():
        assert godwit.poll() is None
        time.sleep(0.01)
    pid = int((cli.run_dir / "a/pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    return godwit, pid


def wait_end(pid):
    while True:
        try:
            os.kill(pid, 0)
            with open(f"/proc/{pid}/stat") as status:
                if status.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return
        except (ProcessLookupError, FileNotFoundError):
            return
        time.sleep(0.01)


def has_pending(pid, number):
    with open(f"/proc/{pid}/status") as status:
        return any(int(line.split()[1], 16) >> (number - 1) & 1 for line in status if line.startswith("ShdPnd"))


def earlier(cli):
    """The last status of a machine 'a', which ended before."""
    record = {"verdict": "the guest powered off", "status": "shutdown"}
    ended(cli, "a", status=record)
    (cli.run_dir / "a").chmod(0o700)
    return record


@pytest.mark.parametrize("past", [False, True], ids=["new", "used before"])
def test_a_start_that_is_killed_leaves_nothing(cli, programs, past):  # noqa: F811
    record = earlier(cli) if past else None
    godwit, pid = start_halfway(cli, programs)
    godwit.send_signal(signal.SIGTERM)
    while not has_pending(pid, signal.SIGTERM):     # the first one has come
        time.sleep(0.01)
    godwit.send_signal(signal.SIGTERM)
    assert godwit.wait(60) == 5
    (programs.seen / "go").touch()
    if past:
        assert json.loads((cli.run_dir / "a/status.json").read_text()) == record
        assert not (cli.run_dir / "a/pid").exists()
    else:
        assert list(cli.run_dir.iterdir()) == []


@pytest.mark.parametrize("past", [False, True], ids=["new", "used before"])
def test_a_start_whose_command_is_killed_leaves_nothing(cli, programs, past):  # noqa: F811
    record = earlier(cli) if past else None
    godwit, pid = start_halfway(cli, programs)
    godwit.kill()
    godwit.wait()
    (programs.seen / "go").touch()
    os.kill(pid, signal.SIGCONT)
    wait_end(pid)
    if past:
        assert json.loads((cli.run_dir / "a/status.json").read_text()) == record
    else:
        assert list(cli.run_dir.iterdir()) == []


# Files that are none


def make_fifo(file, _):
    os.mkfifo(file)


def make_endless(file, _):
    file.symlink_to("/dev/zero")


def make_link(file, folder):
    (folder / "other").write_text('{"verdict": "of somebody else"}')
    file.symlink_to(folder / "other")


def make_long(file, _):
    with open(file, "w") as out:
        out.write('{"verdict": "')
        for _ in range(32):
            out.write("x" * (1 << 20))
        out.write('"}')


@pytest.mark.parametrize("make", [make_fifo, make_endless, make_link, make_long], ids=["fifo", "endless", "link", "long"])
@pytest.mark.parametrize("file", ["status.json", "vmm.log", "owner.json", "lock"])
def test_a_file_that_is_none_is_as_if_it_were_not_there(cli, tmp_path, file, make):  # noqa: F811
    folder = ended(cli, "x")
    (folder / file).unlink(missing_ok=True)
    make(folder / file, tmp_path)
    assert names(cli) == ["x"]
    assert "x" in cli("list") and "no last" in cli("status", "x") and "somebody else" not in cli("status", "x")
    cli("log", "x")
    cli("stop", "x", code=4)


def test_the_end_of_a_long_log_is_read(cli):  # noqa: F811
    folder = ended(cli, "x")
    with open(folder / "vmm.log", "w") as log:
        log.write("2026-11-21 10:00:01.456 a line\n" * 100000 + "2026-11-21 10:00:01.456 the last words\n")
    assert cli("status", "x").rstrip().endswith("its log ends with: the last words")


@pytest.mark.parametrize("file", ["vmm.log", "pid", "status.json", "owner.json", "config.json.new", "status.json.new"])
@pytest.mark.parametrize("make", [make_fifo, make_link], ids=["fifo", "link"])
def test_a_machine_neither_waits_for_such_a_file_nor_writes_through_it(cli, tmp_path, file, make):  # noqa: F811
    folder = ended(cli, "x")
    folder.chmod(0o700)
    make(folder / file, tmp_path)
    subprocess.run(cli.command("run", "--name", "x", "--kernel", cli.image.kernel, "--memory", "128M", "--detach"),
                   timeout=60, check=False, stdin=subprocess.DEVNULL, capture_output=True)
    if make is make_link:
        assert (tmp_path / "other").read_text() == '{"verdict": "of somebody else"}'


# What godwit puts there


def test_files_of_a_machine_are_its_user_s_alone(cli):  # noqa: F811
    before = os.umask(0)
    try:
        cli.boot("a")
        uri = cli.receive("b")
        cli("migrate", "a", uri)
        cli("stop", "--force", "b")
    finally:
        os.umask(before)
    found = {str(file.relative_to(cli.run_dir)): stat.S_IMODE(file.lstat().st_mode) for file in cli.run_dir.rglob("*")}
    assert {"a/config.json", "a/status.json", "a/owner.json", "a/vmm.log", "a/flights", "a/lock"} <= set(found)
    assert {name: oct(mode) for name, mode in found.items() if mode & 0o077} == {}


# Lost output


@pytest.mark.parametrize("command", [["list"], ["list", "--json"], ["status", "x"], ["log", "x"], ["cpu"], ["--help"], ["--version"],
                                     ["run", "--help"]], ids=" ".join)
def test_output_that_is_lost_is_told(cli, command):  # noqa: F811
    ended(cli, "x", status={"verdict": "ended"})
    with open("/dev/full", "w") as full:
        done = subprocess.run(cli.command(*command), stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.stderr.endswith("godwit: cannot write to standard output: No space left on device\n")
    assert done.returncode == 1


def test_nobody_is_told_that_nobody_reads(cli):  # noqa: F811
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(cli.command("--help"), stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writer)
    assert done.stderr == ""
    assert subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *cli.command("list")], timeout=60).returncode == 0
