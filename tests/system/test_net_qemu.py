# SPDX-License-Identifier: Apache-2.0
"""A guest of godwit and one of QEMU on one socket network, each Linux with its own virtio-net: they reach each other."""

import shutil
import subprocess

import pytest

from godwit_tools.console import Console
from godwit_tools.programs import option_value
from godwit_tools.qemu import start_riscv_linux

OURS, THEIRS = "10.0.0.1", "10.0.0.2"
PINGS = 60
FILE = "/bin/busybox"
# --net NETWORK here, -netdev NETWORK there. A QEMU that connects must find somebody, and before 8.0 it does so once: it
# cannot follow a guest to another process.
WIRES = {
    "we-connect": ("socket:unix:{0}/net", "stream,server=on,addr.type=unix,addr.path={0}/net"),
    "we-listen": ("socket:listen:unix:{0}/net", "stream,server=off,addr.type=unix,addr.path={0}/net"),
    "datagrams": ("socket:dgram:{0}/ours:{0}/theirs",
                  "dgram,local.type=unix,local.path={0}/theirs,remote.type=unix,remote.path={0}/ours"),
}


class QemuGuest:
    def __init__(self, directory, image, netdev):
        self.console = Console(directory / "qemu-console")
        self.process = start_riscv_linux(image, self.console, "godwit.run=shell", [
            "-global", "virtio-mmio.force-legacy=false", "-netdev", f"{netdev},id=net",
            "-device", "virtio-net-device,netdev=net,mac=02:00:00:00:00:02"])

    def ready(self):
        self.console.wait("guest# ")
        self.shell(f"network-up {THEIRS}/24", "^network: up")

    def shell(self, command, pattern):
        since = self.console.position()
        self.console.send(f"{command}\n")
        return self.console.wait(pattern, since=since)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.console.close()


@pytest.fixture
def pair(request, boot, tmp_path, image):
    """(our guest, QEMU's), each with its address."""
    if not shutil.which("qemu-system-riscv64"):
        pytest.skip("there is no qemu-system-riscv64: scripts/install-dependencies installs one")
    known = subprocess.run(["qemu-system-riscv64", "-netdev", "help"], capture_output=True, text=True, check=False)
    if "stream" not in known.stdout.split():
        pytest.skip("this QEMU has no -netdev stream (it came with 7.2)")
    net, netdev = (one.format(place) for one, place in zip(WIRES[request.param], (tmp_path, option_value(tmp_path))))
    ours = boot(run="shell", ready="guest# ", disk=False, nets=[net])
    ours.shell(f"network-up {OURS}/24", "^network: up")
    theirs = QemuGuest(tmp_path, image, netdev)
    try:
        theirs.ready()
        for guest in (ours, theirs):
            guest.shell(f"mkdir -p /tmp/www; cp {FILE} /tmp/www/file; httpd -p 8000 -h /tmp/www; echo web=$?", "^web=0")
        yield ours, theirs
    finally:
        theirs.close()


def fetch(server, client, address):
    """The client gets a file from the server, over TCP, and both have the same sum of it."""
    theirs = server.shell(f"sha256sum <{FILE}", r"^([0-9a-f]{64})").group(1)
    client.shell(f"wget -q -O - http://{address}:8000/file | sha256sum", f"^{theirs}")


@pytest.mark.parametrize("pair", WIRES, indirect=True)
def test_they_reach_each_other(pair):
    ours, theirs = pair
    ours.shell(f"ping -c 3 -s 1400 {THEIRS}", "3 packets received")
    theirs.shell(f"ping -c 3 -s 1400 {OURS}", "3 packets received")
    fetch(ours, theirs, OURS)
    fetch(theirs, ours, THEIRS)


@pytest.mark.parametrize("pair", ["we-connect", "datagrams"], indirect=True)
def test_they_reach_each_other_while_ours_moves(pair):
    ours, theirs = pair
    since = theirs.console.position()
    theirs.console.send(f"ping -c {PINGS} -i 0.1 {OURS}\n")
    theirs.console.wait("seq=5 ", since=since)
    receiver = ours.receiver("tcp:127.0.0.1:0")
    ours.machine.migrate(receiver.uri)
    assert ours.machine.wait_migration()["status"] == "completed"
    receiver.wait_status("running")
    ours.arrived(receiver)
    received = int(theirs.console.wait(r"(\d+) packets received", since=since).group(1))
    assert received >= PINGS - 1, "more was lost than what is under way at a move"
    fetch(theirs, ours, THEIRS)
