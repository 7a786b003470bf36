# SPDX-License-Identifier: Apache-2.0
"""The godwit program as a person and a script use it."""

import dataclasses
import fcntl
import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import termios
import time
import xml.etree.ElementTree

import pytest
from cli_place import GODWIT, Cli, PretendedMachine, Terminal, cli  # noqa: F401 (a fixture)
from godwit_tools.paths import TREE, build_dir
from godwit_tools.patience import PATIENCE_S
from godwit_tools.proxy import wait_until


# What goes wrong is said, with the thing and the remedy


def test_a_typo_gets_the_nearest_command(cli):
    cli("migarte", code=2)
    assert "did you mean 'migrate'" in cli.errors


@pytest.mark.parametrize("arguments, code, words", [
    ((), 2, ""),
    (("run",), 2, "--kernel is missing"),
    (("run", "--kernel", "x"), 2, "--name is missing"),
    (("run", "--name", "a", "--kernel", "x", "--serial", "tcp:1"), 2, "not stdio, unix:PATH or file:PATH"),
    (("run", "--name", "a", "--kernel", "x", "--serial", "stdio", "--detach"), 2, "needs the foreground"),
    (("run", "--name", "a", "--kernel", "/no/such/Image", "--detach"), 1, "/no/such/Image"),
    (("run", "--name", "a", "--kernel", str(TREE / "README.md"), "--detach"), 1, "riscv64 Image"),
    (("run", "--name", "a/b", "--kernel", "x", "--detach"), 1, "a/b"),
    (("run", "--name", "a", "--kernel", "x", "--cpus", "0", "--detach"), 1, "--cpus"),
    (("run", "--name", "a", "--kernel", "x", "--memory", "much", "--detach"), 1, "'much'"),
    (("run", "--name", "a", "--kernel", "x", "--net", "user,mac=01:00:00:00:00:00", "--detach"), 1, "not the address of a card"),
    (("receive", "--name", "a"), 2, "address"),
    (("receive", "--name", "a", "tcp:nohostport", "--detach"), 1, "tcp:HOST:PORT"),
    (("status", "nobody"), 3, "no machine 'nobody'"),
    (("migrate", "nobody", "tcp:127.0.0.1:1"), 3, "no machine 'nobody'"),
    (("migrate", "nobody"), 2, "address"),
    (("migrate", "a", "b", "--max-bandwidth", "fast"), 2, "'fast'"),
    (("migrate", "a", "b", "--downtime-limit", "0"), 2, "100ms"),
    (("console", "../etc"), 1, "no machine name"),
    (("log", "nobody"), 3, "no machine 'nobody'"),
    (("reclaim", "nobody"), 2, "--fenced"),
])
def test_mistakes_are_named(cli, arguments, code, words):
    cli(*arguments, code=code)
    assert words in cli.errors
    assert "Assert" not in cli.errors


def test_every_command_has_help(cli):
    overview = cli("--help")
    for verb in re.findall(r"^  ([a-z]+) ", overview, re.M):
        assert cli(verb, "--help").startswith(f"godwit {verb}: ")


def test_completion_offers_commands_and_machines(cli):
    (cli.run_dir / "web").mkdir(parents=True)
    script = f"""source {shlex.quote(str(TREE))}/completion/godwit.bash
        COMP_WORDS=(godwit --run-dir {shlex.quote(str(cli.run_dir))} migrate we); COMP_CWORD=4; _godwit; echo "${{COMPREPLY[@]}}"
        COMP_WORDS=(godwit sta); COMP_CWORD=1; _godwit; echo "${{COMPREPLY[@]}}" """
    printed = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["web", "status"]


# Machines


def test_the_foreground_shows_the_console_and_ends_with_the_guest(cli):
    printed = cli("run", "--name", "a", "--kernel", cli.image.kernel, "--initrd", cli.image.initramfs,
                  "--append", "console=ttyS0 godwit.run=poweroff", "--memory", "128M")
    assert "Run /init as init process" in printed
    assert "powered off" in cli.errors
    assert "powered off" in cli("status", "a")


def test_several_viewers_and_the_key_that_leaves(cli):
    cli.boot("a")
    one, two = (Terminal(cli.command("console", "a")) for _ in range(2))
    one.wait(r"# ")
    one.type("echo $((6*7))-answer\n")
    one.wait("42-answer")
    two.wait("42-answer")
    one.type("\x1d")
    assert one.exit_code() == 0
    late = Terminal(cli.command("console", "a"))
    late.wait("42-answer")  # from the scrollback
    late.type("\x1d")
    assert late.exit_code() == 0
    assert cli.status("a")["machine"]["status"] == "running"
    cli("stop", "a", "--force")
    assert two.exit_code() == 0
    assert re.search(r"^a +ended", cli("list"), re.M)


def test_a_second_machine_of_the_name_is_refused(cli):
    cli.boot("a")
    cli("run", "--name", "a", "--kernel", cli.image.kernel, "--detach", code=1)
    assert "'a'" in cli.errors


def test_a_locked_disk_is_named(cli):
    cli.boot("a")
    cli("run", "--name", "b", "--kernel", cli.image.kernel, "--disk", cli.disk, "--detach", code=1)
    assert str(cli.disk) in cli.errors and "in use" in cli.errors


# Moving


def test_a_machine_moves_and_its_console_with_it(cli):
    cli.boot("a")
    viewer = Terminal(cli.command("console", "a"))
    viewer.wait(r"# ")
    viewer.type("echo before-$((1+1))\n")
    viewer.wait("before-2")
    uri = cli.receive("b")
    result = json.loads(cli("migrate", "a", uri, "--verify", "--json"))
    assert result["ok"] and result["status"] == "completed"
    assert result["x-godwit"]["pause-us"] > 0
    assert viewer.exit_code() == 0
    after = Terminal(cli.command("console", "b"))
    after.wait("before-2")
    after.type("echo after-$((1+1))\n")
    after.wait("after-2")
    after.type("\x1d")
    assert after.exit_code() == 0
    assert cli.status("a")["ownership"]["state"] == "released"
    owner = cli.status("b")["ownership"]
    assert owner["state"] == "owner" and owner["peer"] == uri  # the port that it was, not 0
    for name, role in ("a", "source"), ("b", "destination"):
        told = " ".join(cli("explain", name).split())
        assert f"from one process to another on {socket.gethostname()} ({uri}), told by the {role}" in told


def test_a_flight_is_listed_told_and_drawn(cli, tmp_path):
    cli.boot("a")
    uri = cli.receive("b", f"unix:{tmp_path}/s")
    printed = cli("migrate", "a", uri)
    assert re.search(r"the guest was paused for [0-9.]+ ms", printed)
    for name in "a", "b":
        flights = json.loads(cli("log", name, "--json"))
        assert [flight["status"] for flight in flights] == ["completed"]
        session = flights[0]["session"]
        assert session[:8] in cli("log", name)
        assert "pause" in cli("explain", name)
        assert cli("explain", name, session[:6]) == cli("explain", name)
        cli("explain", name, "--svg", tmp_path / "flight.svg")
        assert xml.etree.ElementTree.parse(tmp_path / "flight.svg").getroot().tag.endswith("svg")
    cli("explain", "b", "ffffffffffffffffff", code=1)
    assert "godwit log b" in cli.errors


def test_a_failed_move_leaves_the_guest_running(cli):
    cli.boot("a")
    cli("migrate", "a", "tcp:127.0.0.1:1", code=1)
    assert "goes on here" in cli.errors
    assert cli.status("a")["machine"]["status"] == "running"


def test_an_interrupt_cancels(cli):
    cli.boot("a")
    uri = cli.receive("b")
    moving = subprocess.Popen(cli.command("migrate", "a", uri, "--max-bandwidth", "1M"),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: (cli.status("a").get("migration") or {}).get("status") == "active", "memory is on its way")
    moving.send_signal(signal.SIGINT)
    _, errors = moving.communicate(timeout=PATIENCE_S)
    assert moving.returncode == 5
    assert "cancelled" in errors
    assert cli.status("a")["machine"]["status"] == "running"


def test_a_passed_descriptor_is_the_link(cli):
    here, there = socket.socketpair()
    cli.boot("a")
    cli("receive", "--name", "b", f"fd:{there.fileno()}", "--disk", cli.disk, "--detach",
        pass_fds=(there.fileno(),))
    there.close()
    cli("migrate", "a", f"fd:{here.fileno()}", pass_fds=(here.fileno(),))
    here.close()
    assert cli.status("b")["machine"]["status"] == "running"


# Where things are


def test_paths_may_have_spaces_quotes_dollars_and_any_letters(tmp_path, image):
    place = tmp_path / "it's \"my\" $HOME stüff"
    place.mkdir()
    cli = Cli(place, dataclasses.replace(image, kernel=place / "the kernel's", initramfs=place / 'the "initramfs"'))
    for path, source in (("kernel", image.kernel), ("initramfs", image.initramfs)):
        getattr(cli.image, path).symlink_to(source)
    try:
        cli.boot("a")
        assert cli.status("a")["machine"]["status"] == "running"
        cli.receive("b", f"unix:{place}/the socket's")
        relay = shlex.join([str(build_dir() / "tests/unit/migrate/relay"), f"{place}/the socket's"])
        assert json.loads(cli("migrate", "a", f"exec:{relay}", "--json"))["status"] == "completed"
        cli("explain", "b", "--svg", place / "a picture's.svg")
        assert cli.status("b")["machine"]["status"] == "running"
    finally:
        cli.close()


# A machine that is waited for


def test_stop_ends_a_wait(cli):
    cli.receive("r")
    cli("remove", "r", code=1)
    assert "'godwit stop r' ends it" in cli.errors
    cli("stop", "r")
    assert cli.errors == "godwit: machine 'r' has ended\n"
    assert "ended by request before a machine arrived" in cli("status", "r")


def test_stop_does_not_end_a_migration_that_arrives(cli):
    cli.boot("a")
    uri = cli.receive("r")
    moving = subprocess.Popen(cli.command("migrate", "a", uri, "--max-bandwidth", "1M"),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: (cli.status("r").get("migration") or {}).get("status") == "active", "memory is on its way")
    cli("stop", "r", code=1)
    assert cli.errors == ("godwit: a migration is arriving; 'godwit stop --force r' ends it, and the guest stays at its source\n")
    cli("stop", "--force", "r")
    assert moving.wait(PATIENCE_S) == 1
    assert cli.status("a")["machine"]["status"] == "running"


def receive_on_terminal(cli):
    """A receiver in the foreground, when its terminal is raw; and its address."""
    terminal = Terminal(cli.command("receive", "--name", "r", "tcp:127.0.0.1:0", "--disk", cli.disk))
    terminal.wait(r"Ctrl-C ends the wait")
    wait_until(lambda: not termios.tcgetattr(terminal.fd)[3] & termios.ISIG, "the terminal is raw")
    return terminal, re.search(r"waits at (\S+)", terminal.text).group(1)


def test_ctrl_c_ends_a_wait(cli):
    terminal, _ = receive_on_terminal(cli)
    terminal.type("\x03")
    assert terminal.exit_code() == 1
    assert "cancelled before a machine arrived" in " ".join(terminal.text.split())


def test_ctrl_c_is_the_guest_s_when_it_has_arrived(cli):
    terminal, uri = receive_on_terminal(cli)
    cli.boot("a")
    cli("migrate", "a", uri)
    terminal.wait(r"# ")
    terminal.type("a line")
    terminal.wait("a line")
    terminal.type("\x03")
    terminal.wait(r"a line(\^C)?\s+\S*# ")
    terminal.type("echo arrived-$((1+1))\n")
    terminal.wait("arrived-2")
    cli("stop", "--force", "r")
    assert terminal.exit_code() == 0


# A process that has given its guest away


def test_an_old_process_is_ended_and_never_reclaimed_from(cli):
    cli.boot("a")
    uri = cli.receive("b")
    cli("migrate", "a", uri, "--keep")
    for command in ("remove", "a"), ("stop", "a"):
        cli(*command, code=1)
        assert f"machine 'a' has moved to {uri} and runs there" in cli.errors
        assert "'godwit stop --force a' ends" in cli.errors and "reclaim" not in cli.errors
    cli("stop", "--force", "a")
    cli("remove", "a")
    assert cli.status("b")["machine"]["status"] == "running"


@pytest.mark.parametrize("answer, words", [
    ({"return": {"status": "x-godwit-committing", "x-godwit": {"direction": "outgoing", "uri": "tcp:b:1"}}},
     "its process here does not know whether it runs there"),
    ({"error": {"class": "GenericError", "desc": "no"}}, "its process here does not answer"),
])
def test_where_the_guest_runs_is_not_known_both_ways_are_named(tmp_path, answer, words):
    places = Cli(tmp_path)
    server = PretendedMachine(places.run_dir, "a", {"query-migrate": answer})
    folder = places.run_dir / "a"
    (folder / "owner.json").write_text(json.dumps({"version": 1, "state": "released", "epoch": 2, "session": "0" * 32, "peer": "tcp:b:1"}))
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        places("remove", "a", code=1)
    server.close()
    for piece in "given away to tcp:b:1", words, "'godwit stop --force a'", "'godwit reclaim a --fenced'":
        assert piece in places.errors


# What else there may be to read


def test_the_console_of_an_ended_machine_only_says_that_it_ended(cli):
    cli.receive("r")
    cli("stop", "r")
    terminal = Terminal(cli.command("console", "r"))
    assert terminal.exit_code() == 4
    assert "Ctrl-]" not in terminal.text and "has no process" in terminal.text


@pytest.mark.parametrize("arguments", [
    ("run", "--name", "r", "--kernel", "x", "--detach"), ("receive", "--name", "r", "tcp:nohostport", "--detach")])
def test_a_failure_with_a_sentence_names_no_log(cli, arguments):
    cli.receive("r")
    if arguments[0] == "receive":
        cli("stop", "r")
    (cli.run_dir / "r/vmm.log").write_text("a line\n")
    terminal = Terminal(cli.command(*arguments))
    assert terminal.exit_code() == 1
    assert "vmm.log" not in terminal.text


def test_a_failure_without_a_sentence_names_the_log(tmp_path):
    places = Cli(tmp_path)
    (places.run_dir / "r").mkdir(parents=True)
    (places.run_dir / "r/vmm.log").write_text("a line\n")
    beside = shutil.copy(GODWIT, tmp_path / "godwit")
    (tmp_path / "godwit-vmm").symlink_to("/bin/false")
    terminal = Terminal([beside, *places.command("run", "--name", "r", "--kernel", "x", "--detach")[1:]], 200)
    assert terminal.exit_code() == 4
    assert f"may have written more into '{places.run_dir}/r/vmm.log'" in " ".join(terminal.text.split())
