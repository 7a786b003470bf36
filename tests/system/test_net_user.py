# SPDX-License-Identifier: Apache-2.0
"""The user network with a passt that hands its connections over: a guest moves, and they go on."""

import contextlib
import os
import socket
import subprocess
import time

import pytest

from godwit_tools.machine import Host
from godwit_tools.netns import NotPermitted, inside
from godwit_tools.proxy import TO_SOURCE, Proxy
from godwit_tools.stream import Stream
from net_place import free_port, move
from user_place import Ticker, goes_on, lend_passt, link_breaks_in_the_pause, proxied, start

pytestmark = pytest.mark.usefixtures("network_driver")


@pytest.fixture(autouse=True)
def new_passt(monkeypatch):
    lend_passt(monkeypatch)


@pytest.fixture
def networked(boot):
    """A guest with a checked stream into it, and a connection that it has opened itself."""
    port, ticker = free_port(), Ticker()
    guest = start(boot, port, ticker, "10.0.2.2")
    stream = Stream("127.0.0.1", port=port)
    yield guest, stream, ticker
    stream.socket.close()


def test_the_start_of_passt_is_in_the_prediction_where_it_is_in_the_pause(networked):
    """On one host its ports are in use until the source has given them up."""
    guest, _, _ = networked
    told = []
    while len(told) < 5 and not any(predicted > 0.5 * took for predicted, took in told):    # a busy host takes longer than it did
        info = move(guest)
        told.append((info["predicted-pause-us"], info["pause"]["start"]))
    assert any(predicted > 0.5 * took for predicted, took in told), told
    assert max(took for _, took in told) > 1000, "passt was not started in the pause: this has shown nothing"


def test_connections_in_both_directions_follow_the_guest(networked):
    guest, stream, ticker = networked
    goes_on(guest, stream, ticker)
    for _ in range(3):
        told = move(guest)
        assert "broken-networks" not in told
        print(f"pause {told['pause-us'] / 1000:.1f} ms: {told['pause']}")
        goes_on(guest, stream, ticker)


def taken_back(machine):
    """How often the guest was paused in vain, by the flight log."""
    return sum("taken back" in event["text"] for event in machine.host.flights(machine.name)[-1]["events"])


def test_connections_outlive_a_pause_that_took_too_long(networked):
    guest, stream, ticker = networked
    source = guest.machine
    source.set(downtime_limit=2000)
    with proxied(guest, lambda _: time.sleep(3)) as (receiver, uri):
        source.migrate(uri)
        assert source.wait_migration()["status"] == "completed"
        assert taken_back(source) > 0
        receiver.wait_status("running")
        goes_on(guest, stream, ticker)


def test_connections_go_on_at_the_source_when_the_link_breaks_in_the_pause(networked):
    link_breaks_in_the_pause(*networked)


@pytest.fixture
def crowded_host(networked, tmp_path):
    """A host of its own network on which somebody has the port of the guest already."""
    guest, name = networked[0], f"godwit-{os.getpid()}-user"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no network namespace can be made here: {made.stderr.strip()}")
    port = int(guest.nets[0].partition("tcp=")[2].partition(":")[0])
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        bystander = inside(name, lambda: socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True))
        yield Host(tmp_path / "crowded", name)
        bystander.close()
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def test_connections_go_on_at_the_source_when_the_destination_refuses_in_the_pause(networked, crowded_host, tmp_path):
    guest, stream, ticker = networked
    with guest.receiver(f"unix:{tmp_path}/away", host=crowded_host) as receiver:
        for failures in (1, 2):
            guest.machine.migrate(receiver.uri)
            info = guest.machine.wait_migration()
            assert info["status"] == "failed" and "passt" in info["error-desc"], info
            receiver.wait_receiver(failures)
            guest.machine.wait_status("running")
            goes_on(guest, stream, ticker)


class TwoHosts:
    """Two hosts that have the same address in turn, and a client; each in a namespace, at a switch that knows who has it."""

    ADDRESS, CLIENT, MAC = "10.79.0.1", "10.79.0.100", "02:00:0a:4f:00:01"

    def __init__(self):
        self.names = {role: f"godwit-{os.getpid()}-{role}" for role in ("usera", "userb", "client", "switch")}
        self.at = "usera"
        for name in self.names.values():
            self._run("ip", "netns", "add", name)
            self._run("ip", "-n", name, "link", "set", "lo", "up")
        self._run("ip", "-n", self.names["switch"], "link", "add", "br0", "up", "type", "bridge", "forward_delay", "0")
        for role, address in (("usera", self.ADDRESS), ("userb", self.ADDRESS), ("client", self.CLIENT)):
            self._plug_in(role, address)
        self._run("ip", "-n", self.names["switch"], "link", "set", "to-userb", "nomaster")

    def _run(self, *command):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotPermitted(f"'{' '.join(command)}' failed: {done.stderr.strip()}")

    def _plug_in(self, role, address):
        name, switch = self.names[role], self.names["switch"]
        self._run("ip", "-n", switch, "link", "add", f"to-{role}", "type", "veth", "peer", "name", "eth0", "netns", name)
        if role != "client":
            self._run("ip", "-n", name, "link", "set", "eth0", "address", self.MAC)
        self._run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
        self._run("ip", "-n", name, "link", "set", "eth0", "up")
        self._run("ip", "-n", name, "route", "add", "default", "via", self.CLIENT)
        self._run("ip", "-n", switch, "link", "set", f"to-{role}", "up", "master", "br0")

    def other(self):
        return "userb" if self.at == "usera" else "usera"

    def turn(self):
        """The address is the other's."""
        switch = self.names["switch"]
        self._run("ip", "-n", switch, "link", "set", f"to-{self.at}", "nomaster")
        self.at = self.other()
        self._run("ip", "-n", switch, "link", "set", f"to-{self.at}", "master", "br0")

    def close(self):
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.fixture
def two_hosts():
    hosts = None
    try:
        hosts = TwoHosts()
        yield hosts
    except NotPermitted as why:
        pytest.skip(f"no network of two hosts can be made here: {why}")
    finally:
        if hosts:
            hosts.close()


def test_connections_follow_to_another_host_that_gets_the_address(boot, two_hosts, tmp_path):
    client = two_hosts.names["client"]
    ticker = inside(client, lambda: Ticker(two_hosts.CLIENT))
    guest = start(boot, 7000, ticker, two_hosts.CLIENT, host=Host(tmp_path / "usera", two_hosts.names["usera"]))
    stream = inside(client, lambda: Stream(two_hosts.ADDRESS))
    goes_on(guest, stream, ticker)
    for number in range(4):
        there = Host(tmp_path / f"move{number}", two_hosts.names[two_hosts.other()])
        source, receiver = guest.machine, guest.receiver(f"unix:{tmp_path}/to{number}", host=there)
        # The address goes when the destination has the connections already and the source has them still: a host that has
        # the address and not the connections answers with a reset.
        with contextlib.closing(Proxy(f"{tmp_path}/to{number}", before={(TO_SOURCE, "RUNNING"): lambda _: two_hosts.turn()})) as proxy:
            source.migrate(proxy.uri)
            info = source.wait_migration()
        assert info["status"] == "completed", info.get("error-desc")
        receiver.wait_status("running")
        goes_on(guest, stream, ticker)
        guest.arrived(receiver)
        print(f"pause {info['x-godwit']['pause-us'] / 1000:.1f} ms: {info['x-godwit']['pause']}")
    stream.socket.close()
