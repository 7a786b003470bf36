# SPDX-License-Identifier: Apache-2.0
"""The control socket of a real machine: several clients, and clients that misbehave (docs/control.md)."""

import json
import socket

import pytest

from godwit_tools.machine import MachineFailed
from godwit_tools.patience import PATIENCE_S
from godwit_tools.proxy import wait_until
from godwit_tools.qmp import Qmp, QmpError

QEMU_COMMANDS = {
    "qmp_capabilities", "query-commands", "query-status", "query-version", "stop", "cont", "quit", "system_reset",
    "system_powerdown", "migrate", "migrate-incoming", "migrate_cancel", "query-migrate",
    "migrate-set-parameters", "query-migrate-parameters",
}


@pytest.fixture(scope="module")
def machine(shared_guest):
    return shared_guest.get().machine


@pytest.fixture
def control(machine):
    return machine.host.run_dir / machine.name / "control"


def raw(control):
    """A connection as it comes. A burst of them may find the queue of the listener full for a moment."""
    link = socket.socket(socket.AF_UNIX)
    link.settimeout(PATIENCE_S)
    wait_until(lambda: link.connect_ex(str(control)) == 0, "the control socket takes a connection")
    return link, link.makefile("rb")


def test_the_greeting_and_the_negotiation(control):
    link, stream = raw(control)
    with link:
        assert json.loads(stream.readline())["QMP"]["capabilities"] == []
        link.sendall(b'{"execute": "query-status", "id": 1}')
        assert json.loads(stream.readline())["error"]["class"] == "CommandNotFound"
        link.sendall(b'{"execute": "qmp_capabilities"}{"execute": "query-status", "id": [2, "x"]}')
        assert json.loads(stream.readline()) == {"return": {}}
        answer = json.loads(stream.readline())
        assert answer["id"] == [2, "x"] and answer["return"]["status"] == "running"


def test_every_command_of_qemu_that_is_promised_is_there(machine):
    assert QEMU_COMMANDS <= {c["name"] for c in machine.qmp("query-commands")}


def test_events_reach_every_client(machine, control):
    with Qmp(control) as one, Qmp(control) as two:
        one("stop")
        two.wait_event("STOP")
        two("cont")
        one.wait_event("RESUME")
        one.wait_event("STOP")


def test_an_unknown_argument_is_refused_by_name(machine):
    with pytest.raises(QmpError, match="colour"):
        machine.qmp("migrate", uri="tcp:127.0.0.1:1", colour="red")


@pytest.mark.sanitized
@pytest.mark.parametrize("noise", [b"\x00" * 4096, b"{" * 100000, b'{"execute": 7}', b"[1, 2, 3]", b'"text',
                                   b'{"execute": "' + b"x" * (2 << 20) + b'"}', b"\xff\xfe\xfd"],
                         ids=["zeroes", "nesting", "type", "list", "open string", "long", "not UTF-8"])
def test_noise_from_one_client_hurts_nobody(machine, control, noise):
    link, stream = raw(control)
    with link:
        stream.readline()
        try:
            link.sendall(noise + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert machine.status() == "running"


def test_a_client_that_does_not_read_hurts_nobody(machine, control):
    link, _ = raw(control)
    with link:
        link.settimeout(0.5)
        request = b'{"execute": "query-commands"}' * 1000
        try:
            link.sendall(b'{"execute": "qmp_capabilities"}')
            for _ in range(200):
                link.sendall(request)
        except (socket.timeout, BrokenPipeError, ConnectionResetError):
            pass
        for _ in range(20):
            assert machine.status() == "running"


def test_clients_beyond_the_limit_are_turned_away_and_places_become_free(machine, control):
    links = [raw(control) for _ in range(40)]
    greeted = [link for link, stream in links if greeting(stream)]
    assert 0 < len(greeted) < 40
    for link, stream in links:
        stream.close()
        link.close()
    wait_until(lambda: can_connect(control), "a client is served again")
    assert machine.status() == "running"


def greeting(stream):
    try:
        return stream.readline()
    except OSError:
        return b""


def can_connect(control):
    try:
        Qmp(control).close()
        return True
    except (OSError, ValueError):
        return False


def test_a_second_machine_of_the_same_name_is_refused(shared_guest, machine, image):
    guest = shared_guest.get()
    with pytest.raises(MachineFailed, match=machine.name):
        guest.receiver("tcp:127.0.0.1:0", host=machine.host)
    assert machine.status() == "running"


def test_a_disk_in_use_is_refused_by_name(boot, image):
    guest = boot(run="shell", ready="guest# ")
    with pytest.raises(MachineFailed, match="disk.img"):
        guest.boot()
