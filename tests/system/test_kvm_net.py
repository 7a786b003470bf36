# SPDX-License-Identifier: Apache-2.0
"""A bare guest with a network card on this host's KVM; hosts, switch and client as in test_net_move.py."""

import socket

import pytest

from godwit_tools.net_guest import NetGuest
from godwit_tools.netns import CLIENT, GUEST4, GUEST6, TAP, Network, NotPermitted, Probe, inside
from godwit_tools.patience import PATIENCE_S
from godwit_tools.stream import ECHO_PORT

ROUNDS, UNDER_WAY = 5000, 32


@pytest.fixture
def network(kvm):
    try:
        with Network() as made:
            yield made
    except NotPermitted as why:
        pytest.skip(f"no network of namespaces here: {why}")


@pytest.fixture
def guest(network, tmp_path):
    with_net = NetGuest(tmp_path, f"ip={GUEST4} ip6={GUEST6}", options=["--net", f"tap:{TAP}"])
    with_net.boot(host=with_net.new_host(network.namespace("a")))
    yield with_net
    with_net.close()
    assert with_net.bad_lines() == []


def echo(address, payload):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(PATIENCE_S)
        one.connect((address, ECHO_PORT))
        one.send(payload)
        return one.recv(65536) == payload


def flood(count):
    """How many of so many numbered datagrams came back, and how many came twice."""
    seen = [0] * count
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(PATIENCE_S)
        one.connect((GUEST4, ECHO_PORT))
        for number in range(count + UNDER_WAY):
            if number >= UNDER_WAY:
                seen[int.from_bytes(one.recv(64), "big")] += 1
            if number < count:
                one.send(number.to_bytes(8, "big"))
    return sum(map(bool, seen)), sum(times > 1 for times in seen)


def outside(network, function):
    return inside(network.namespace(CLIENT), function)


def move(network, guest, target):
    receiver = guest.receiver(f"tcp:{network.address(target)}:0", host=guest.new_host(network.namespace(target)))
    guest.machine.migrate(receiver.uri)
    info = guest.machine.wait_migration()
    assert info["status"] == "completed", info.get("error-desc")
    receiver.wait_status("running")
    guest.arrived(receiver)


@pytest.mark.parametrize("address", [GUEST4, GUEST6])
@pytest.mark.parametrize("size", [8, 1400, 9000])
def test_datagrams_of_all_sizes_come_back_before_and_after_a_move(network, guest, address, size):
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert outside(network, lambda: echo(address, payload))
    move(network, guest, "b")
    assert outside(network, lambda: echo(address, payload))


def test_pings_are_answered_through_a_move(network, guest):
    with Probe(network, CLIENT, "pinger", "2", GUEST4, GUEST6) as pinger:
        for target in ("b", "a"):
            move(network, guest, target)
        pings = pinger.finish()
    for target in pings["targets"]:
        assert target["twice"] == 0
        assert target["answered"] > target["sent"] / 2


def test_numbered_datagrams_come_back_once(network, guest):
    for target in ("b", "a"):
        assert outside(network, lambda: flood(ROUNDS)) == (ROUNDS, 0)
        move(network, guest, target)
    report = guest.wait_report()
    assert report["all_in"] >= 2 * ROUNDS and report["too_long"] == 0


def test_the_guest_announces_itself_when_its_card_asks(network, guest):
    sent = guest.wait_report()["all_out"]
    move(network, guest, "b")
    assert network.port_of(guest.mac) == network.port("b")
    assert guest.wait_report()["all_out"] >= sent + 2, "no ARP and no neighbour advertisement after the move"
