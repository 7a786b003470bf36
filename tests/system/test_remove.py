# SPDX-License-Identifier: Apache-2.0
"""What ended machines leave, how it is told, and how it is removed."""

import fcntl
import json
import os
import re
import signal
import subprocess

import pytest
from godwit_tools.paths import build_dir
from cli_place import Terminal, cli  # noqa: F401


def names(cli):  # noqa: F811
    return sorted(machine["name"] for machine in json.loads(cli("list", "--json")))


def ended(cli, name, **files):  # noqa: F811
    """A machine as its process left it; files are objects, or text."""
    folder = cli.run_dir / name
    (folder / "flights").mkdir(parents=True)
    (folder / "lock").touch()
    for file, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / ("vmm.log" if file == "log" else f"{file}.json")).write_text(text)
    return folder


def owner(state, peer=""):
    return {"version": 1, "state": state, "epoch": 4, "session": "0" * 32, "peer": peer}


def test_ended_machines_are_removed_and_others_stay(cli):  # noqa: F811
    cli.boot("runs")
    for name in "a", "b", "c":
        ended(cli, name, status={"verdict": "the guest powered off"}, owner=owner("nobody"), config={}, log="")
    (cli.run_dir / "a/flights" / ("0" * 32 + ".json")).write_text("{}")
    cli("remove", "a")
    assert cli.errors == "godwit: machine 'a' is removed\n"
    assert names(cli) == ["b", "c", "runs"]
    cli("remove", "--ended")
    assert names(cli) == ["runs"]
    assert cli.status("runs")["machine"]["status"] == "running"


def test_a_machine_that_runs_is_not_removed(cli):  # noqa: F811
    cli.boot("a")
    pid = cli.status("a")["machine"]["pid"]
    cli("remove", "a", code=1)
    assert cli.errors == f"godwit: machine 'a' runs (process {pid}): 'godwit stop a' ends it\n"
    assert cli.status("a")["machine"]["status"] == "running"


def test_a_stopped_machine_can_be_removed_and_its_name_used_again_at_once(cli):  # noqa: F811
    for _ in range(3):
        cli.boot("a")
        cli("stop", "a", "--force")
        cli("remove", "a")


def test_a_machine_that_is_just_ending_is_waited_for(cli):  # noqa: F811
    folder = ended(cli, "a", owner=owner("nobody"), status={"verdict": "ended"})
    with open(folder / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        removing = subprocess.Popen(cli.command("remove", "--ended"), stderr=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            removing.wait(1)
    assert removing.communicate(timeout=60)[1] == "godwit: machine 'a' is removed\n"


@pytest.mark.parametrize("state, last, goes", [
    ("owner", {}, True),            # killed, and the guest with it
    ("nobody", {}, True),
    ("incoming", {}, True),
    ("refused", {}, True),
    ("released", {"status": "postmigrate", "migration": {"status": "completed"}, "verdict": "moved to tcp:b:1"}, True),
    ("released", {"status": "postmigrate", "migration": {"status": "x-godwit-committing"}, "verdict": "?"}, False),
    ("released", {}, False),
])
@pytest.mark.parametrize("how", ["x", "--ended"], ids=["by name", "all"])
def test_only_what_is_decided_is_removed(cli, state, last, goes, how):  # noqa: F811
    ended(cli, "x", owner=owner(state, "tcp:b:1"), **({"status": last} if last else {}))
    cli("remove", how, code=0 if goes else 1)
    said = cli.errors
    assert names(cli) == ([] if goes else ["x"])
    if not goes:
        assert "not known whether machine 'x' runs at tcp:b:1" in said
        assert "'godwit status x' on both hosts" in said and "'godwit reclaim'" in said
        (cli.run_dir / "x/owner.json").unlink()      # as the sentence says
        cli("remove", how)
        assert names(cli) == []


def test_a_damaged_record_keeps_its_machine(cli):  # noqa: F811
    ended(cli, "x", owner="{")
    cli("remove", "x", code=1)
    assert "is damaged" in cli.errors and names(cli) == ["x"]


def test_a_file_of_somebody_s_own_keeps_the_directory_as_it_is(cli):  # noqa: F811
    folder = ended(cli, "x", owner=owner("nobody"), status={"verdict": "ended"})
    (folder / "disk.img").touch()
    cli("remove", "x", code=1)
    assert "holds 'disk.img', which is not the machine's" in cli.errors
    assert (folder / "status.json").exists() and (folder / "owner.json").exists()


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["a", "--ended"], ["--all"]])
def test_wrong_use_of_remove_is_told(cli, arguments):  # noqa: F811
    cli("remove", *arguments, code=2)
    assert "remove" in cli.errors


def test_a_machine_that_was_killed_tells_the_end_of_its_log(cli):  # noqa: F811
    cli.boot("a")
    os.kill(cli.status("a")["machine"]["pid"], signal.SIGKILL)
    (cli.run_dir / "a/vmm.log").write_text("2026-11-21 10:00:01.456 cannot go on\x1b[2J\n")
    assert re.search(r"^a +ended +its process is gone and left no last status; its log ends with: cannot go on\S*\[2J$", cli("list"), re.M)
    assert re.search(r"no process; its process is gone .*: cannot go on", cli("status", "a"))
    assert "\x1b" not in cli("list") + cli("status", "a")


def test_a_machine_that_moved_tells_where_to(cli):  # noqa: F811
    """The terminal that it ran on, and list and status."""
    terminal = Terminal(cli.command("run", "--name", "a", "--kernel", cli.image.kernel, "--initrd", cli.image.initramfs,
                                    "--append", "console=ttyS0 quiet godwit.run=shell", "--memory", "128M", "--disk", cli.disk))
    terminal.wait(r"# ")
    uri = cli.receive("b")
    cli("migrate", "a", uri)
    assert terminal.exit_code() == 0
    assert f"godwit: machine 'a' has moved to {uri} (this terminal is free again)" in " ".join(terminal.text.split())
    assert re.search(rf"^a +ended +moved to {uri}$", cli("list"), re.M)
    assert f"moved to {uri}\n" in cli("status", "a")
    cli("remove", "a")
    assert names(cli) == ["b"]


def test_completion_offers_remove_and_its_machines(cli):  # noqa: F811
    (cli.run_dir / "web").mkdir(parents=True)
    script = f"""source {build_dir().parent}/completion/godwit.bash
        COMP_WORDS=(godwit rem); COMP_CWORD=1; _godwit; echo "${{COMPREPLY[@]}}"
        COMP_WORDS=(godwit --run-dir {cli.run_dir} remove we); COMP_CWORD=4; _godwit; echo "${{COMPREPLY[@]}}"
        COMP_WORDS=(godwit remove --e); COMP_CWORD=2; _godwit; echo "${{COMPREPLY[@]}}" """
    printed = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["remove", "web", "--ended"]
