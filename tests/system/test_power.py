# SPDX-License-Identifier: Apache-2.0
"""The power button: the guest is asked to end, and ends by itself."""

import json
import subprocess

import pytest

from godwit_tools.console import Console
from godwit_tools.patience import PATIENCE_S
from godwit_tools.paths import build_dir
from godwit_tools.qmp import QmpError


def godwit(run_dir, *arguments):
    return subprocess.run([build_dir() / "godwit", "--run-dir", run_dir, *map(str, arguments)],
                          capture_output=True, text=True, timeout=PATIENCE_S)


def ended_by_itself(run_dir, name):
    return json.loads((run_dir / name / "status.json").read_text())["verdict"] == "the guest powered off"


@pytest.mark.sanitized
def test_stop_powers_a_detached_guest_off(tmp_path, image):
    console = Console(tmp_path / "console")
    started = godwit(tmp_path, "run", "--detach", "--name", "guest", "--kernel", image.kernel, "--initrd",
                     image.initramfs, "--append", "console=ttyS0 quiet godwit.run=shell", "--memory", "128M",
                     "--serial", console.serial)
    try:
        assert started.returncode == 0, started.stderr
        console.wait("guest# ")
        stopped = godwit(tmp_path, "stop", "guest")
        assert stopped.returncode == 0, stopped.stderr
        console.wait("godwit: power button")
        assert ended_by_itself(tmp_path, "guest")
    finally:
        godwit(tmp_path, "stop", "--force", "guest")
        console.close()


def test_a_press_is_told_to_every_client(boot):
    guest = boot(run="shell", ready="guest# ", disk=False)
    guest.machine.qmp("system_powerdown")
    guest.machine.qmp.wait_event("POWERDOWN")
    assert guest.machine.qmp.wait_event("SHUTDOWN")["data"] == {"guest": True, "reason": "guest-shutdown"}
    assert guest.machine.wait_exit() == 0


def test_the_button_works_with_the_instruction_clock(boot):
    guest = boot(run="shell", ready="guest# ", disk=False, options=("--clock", "instructions"))
    guest.machine.qmp("system_powerdown")
    assert guest.machine.wait_exit() == 0


def test_a_guest_that_does_not_listen_yet_is_not_asked(boot):
    guest = boot(run="shell", ready=None, disk=False)
    with pytest.raises(QmpError, match="does not listen to its power button"):
        guest.machine.qmp("system_powerdown")
    guest.console.wait("guest# ")
    assert guest.machine.status() == "running"


def test_a_stopped_guest_sees_the_press_when_it_runs(boot):
    guest = boot(run="shell", ready="guest# ", disk=False)
    guest.machine.qmp("stop")
    guest.machine.qmp("system_powerdown")
    assert godwit(guest.machine.host.run_dir, "stop", "--timeout", "1s", guest.name).returncode == 1
    assert guest.machine.status() == "paused"
    guest.machine.qmp("cont")
    assert guest.machine.wait_exit() == 0


@pytest.mark.parametrize("paused", [False, True], ids=["running", "with the press on its way"])
def test_the_button_works_where_the_guest_has_moved(boot, paused):
    guest = boot(run="shell", ready="guest# ", disk=False)
    source, receiver = guest.machine, guest.receiver("tcp:127.0.0.1:0")
    if paused:
        source.qmp("stop")
        source.qmp("system_powerdown")
    source.migrate(receiver.uri)
    info = source.wait_migration()
    assert info["status"] == "completed", info.get("error-desc")
    receiver.wait_migration()
    guest.arrived(receiver)
    if paused:
        receiver.qmp("cont")
        assert receiver.wait_exit() == 0
    else:
        stopped = godwit(receiver.host.run_dir, "stop", guest.name)
        assert stopped.returncode == 0, stopped.stderr
    assert ended_by_itself(receiver.host.run_dir, guest.name)
