# SPDX-License-Identifier: Apache-2.0
"""Guests on the host's own networks, while they move on it: the user network, and one tap for both sides."""

import http.server
import os
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from godwit_tools import passt
from godwit_tools.patience import PATIENCE_S
from godwit_tools.proxy import wait_until
from net_place import free_port, move

pytestmark = pytest.mark.usefixtures("network_driver")
PINGS = 60


def start(boot, net, address):
    guest = boot(run="shell", ready="guest# ", disk=False, nets=[net])
    guest.shell(f"network-up {address}; echo up=$?", r"^up=0")
    return guest


def ask(port):
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: guest\r\n\r\n")
        return connection.recv(1000).decode()


def test_a_forwarded_port_is_the_guests_before_and_after_a_move(boot):
    if not shutil.which("passt"):
        pytest.skip("passt is not installed")
    if passt.serves_vhost_user("passt"):
        pytest.skip("the passt that is installed may hand connections over, which test_net_user.py is about")
    port = free_port()
    guest = start(boot, f"user,tcp={port}:80", "10.0.2.15/24")
    guest.shell("ip link set lo up; ip route add default via 10.0.2.2; ping -c 1 10.0.2.2; echo route=$?", r"^route=")
    guest.shell("web-server & until wget -q -O /dev/null http://10.0.2.15/; do sleep 0.1; done; echo web=up", r"^web=up")
    assert ask(port).startswith("HTTP/1.1 200 OK")
    source = guest.machine
    broken = move(guest).get("broken-networks")
    assert [network["name"] for network in broken] == ["net0"], "passt cannot hand open connections over, and that is told"
    assert "passt" in broken[0]["why"]
    said = f"connections that are open on network 'net0' end with this move, because {broken[0]['why']}"
    assert said in source.stderr()
    assert said in [event["text"] for event in source.host.flights(source.name)[-1]["events"]]
    assert ask(port).startswith("HTTP/1.1 200 OK")


@pytest.fixture
def tap():
    """An interface of the host that stays when a process ends; its name."""
    name = f"gw{os.getpid()}"
    made = subprocess.run(["ip", "tuntap", "add", name, "mode", "tap"], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no tap can be made here: {made.stderr.strip()}")
    try:
        subprocess.run(["ip", "addr", "add", "10.99.0.1/24", "dev", name], check=True)
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
        yield name
    finally:
        subprocess.run(["ip", "link", "del", name], capture_output=True, check=False)


def wait_carrier(guest, up):
    """Until the guest's own driver says so."""
    word = "there" if up else "gone"
    guest.shell(f"until grep -q {int(up)} /sys/class/net/eth0/carrier; do sleep 0.1; done; echo carrier={word}", f"^carrier={word}")


def test_a_tap_that_is_removed_takes_the_link_down_and_one_that_is_made_again_brings_it_back(boot, tap):
    guest = start(boot, f"tap:{tap}", "10.99.0.2/24")
    guest.shell("ping -c 1 10.99.0.1", "1 packets received")
    subprocess.run(["ip", "link", "del", tap], check=True)
    wait_carrier(guest, False)
    told = f"network 'net0' is down: tap '{tap}': the interface was removed"     # the kernel sets it down first
    wait_until(lambda: told in guest.machine.stderr(), "the sentence that says why")
    subprocess.run(["ip", "tuntap", "add", tap, "mode", "tap"], check=True)
    subprocess.run(["ip", "addr", "add", "10.99.0.1/24", "dev", tap], check=True)
    subprocess.run(["ip", "link", "set", tap, "up"], check=True)
    wait_carrier(guest, True)
    guest.shell("ping -c 3 10.99.0.1", "3 packets received")


class Greeting(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"the host is here\n")

    def log_message(self, *_):
        pass


@pytest.fixture
def ask_host():
    """The guest's command that gets a greeting from a server on this host's loopback."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Greeting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"wget -q -O - http://10.0.2.2:{server.server_port}/"
        server.shutdown()


def children(pid, name):
    """Processes that this one has started, by what they are called."""
    found = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    return [child for child in found if Path(f"/proc/{child}/comm").read_text().startswith(name)]


def test_a_passt_that_is_killed_takes_the_link_down_until_the_next_serves(boot, ask_host):
    if not shutil.which("passt"):
        pytest.skip("passt is not installed")
    guest = start(boot, "user", "10.0.2.15/24")
    (child,) = children(guest.machine.process.pid, "passt")
    guest.shell(ask_host, "^the host is here")
    guest.shell("changes() { cat /sys/class/net/eth0/carrier_down_count; }; before=$(changes); echo down=$before", r"^down=\d")
    os.kill(child, signal.SIGKILL)
    guest.shell("until [ $(changes) -gt $before ]; do sleep 0.1; done; echo went=down", "^went=down")
    assert "network 'net0' is down: user network (passt): passt was ended by signal 9" in guest.machine.stderr()
    wait_carrier(guest, True)
    guest.shell(ask_host, "^the host is here")


def carrier_changes(name):
    with open(f"/sys/class/net/{name}/carrier_changes", encoding="ascii") as file:
        return int(file.read())


def test_both_sides_of_a_move_share_a_tap_and_it_never_loses_its_carrier(boot, tap):
    guest = start(boot, f"tap:{tap}", "10.99.0.2/24")
    before = carrier_changes(tap)
    since = guest.console.position()
    guest.console.send(f"ping -c {PINGS} -i 0.05 10.99.0.1\n")
    guest.console.wait("seq=5 ", since=since)
    for _ in range(3):
        assert move(guest).get("broken-networks") is None  # connections go on
    assert guest.console.wait(r"(\d+) packets received", since=since).group(1) == str(PINGS)
    assert carrier_changes(tap) == before


def test_a_network_without_the_offloads_in_use_is_refused_before_any_memory(boot, tap):
    guest = start(boot, f"tap:{tap}", "10.99.0.2/24")
    with guest.receiver("tcp:127.0.0.1:0", nets=["user"]) as receiver:
        guest.machine.migrate(receiver.uri)
        info = guest.machine.wait_migration()
        assert info["status"] == "failed"
        assert "the guest uses checksum offload, TCP segmentation offload" in info["error-desc"]
        assert info.get("ram", {}).get("transferred", 0) < 1 << 20
    guest.shell("ping -c 3 10.99.0.1", "3 packets received")
