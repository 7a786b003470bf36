# SPDX-License-Identifier: Apache-2.0
"""Guests with network cards, on one socket network: they reach each other, also while one moves."""

import re
import time

import pytest

from godwit_tools.proxy import wait_until
from net_place import move

PINGS, MOVES = 200, 3


@pytest.fixture
def network(tmp_path, network_driver):
    """For one guest that listens, and for the others."""
    return f"socket:listen:unix:{tmp_path}/net", f"socket:unix:{tmp_path}/net"


def configure(guest, number):
    guest.shell(f"load-modules virtio_net; ip addr add 10.0.0.{number}/24 dev eth0; ip link set eth0 up; echo up=$?",
                r"^up=0")


@pytest.fixture
def pair(boot, network):
    guests = [boot(run="shell", ready="guest# ", disk=False, nets=[net]) for net in network]
    for number, guest in enumerate(guests, 1):
        configure(guest, number)
    return guests


def net_of(machine):
    return machine.qmp("x-godwit-query-machine")["nets"][0]


@pytest.mark.sanitized
def test_two_guests_reach_each_other(pair):
    one, other = pair
    one.shell("ping -c 3 10.0.0.2", "3 packets received")
    other.shell("ping -c 3 -s 1400 10.0.0.1", "3 packets received")
    assert net_of(one.machine)["dropped-in"] == net_of(one.machine)["dropped-out"] == 0


def unanswered(console, since, count):
    """[(when the ping before it was answered, when the one behind it was)] of each that was not."""
    answered = {int(match[1]): line.arrived for line in console.lines[since:] if (match := re.search(r" seq=(\d+) ", line.text))}
    assert 0 in answered and count - 1 in answered
    return [(max(at for seq, at in answered.items() if seq < lost), min(at for seq, at in answered.items() if seq > lost))
            for lost in range(count) if lost not in answered]


def test_a_move_costs_the_ping_that_is_under_way_and_no_other(pair):
    """What is in the old process's socket at the pause goes with it, as frames may."""
    one, other = pair
    address = net_of(other.machine)["mac"]
    since = other.console.position()
    other.console.send(f"ping -c {PINGS} -i 0.1 10.0.0.1\n")
    other.console.wait("seq=5 ", since=since)
    moves = []
    for _ in range(MOVES):
        began = time.monotonic()
        move(other)
        answered = other.console.position()
        for _ in range(2):    # so that all before them have been heard
            other.console.wait(r" seq=\d+ ", since=answered)
            answered = other.console.position()
        moves.append((began, time.monotonic()))
    other.console.wait(r"\d+ packets received", since=since)
    lost = unanswered(other.console, since, PINGS)
    during = [[move for move in moves if move[0] < after and move[1] > before] for before, after in lost]
    assert all(len(one) == 1 for one in during), "a ping was lost where no move was"
    assert len({one[0] for one in during}) == len(lost), "a move cost more than the ping under way"
    assert net_of(other.machine)["mac"] == address
    other.shell("cat /sys/class/net/eth0/address", re.escape(address))


def test_a_guest_that_has_moved_announces_itself(pair):
    other = pair[1]
    other.shell("echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6; echo off=$?", "^off=0")
    move(other)
    wait_until(lambda: net_of(other.machine)["frames-out"] > 0, "a frame of it")


def test_a_guest_sees_its_link_go_and_come(pair, boot, network):
    one, other = pair
    one.machine.kill()
    other.shell("while grep -q 1 /sys/class/net/eth0/carrier; do sleep 0.1; done; echo carrier=gone", "^carrier=gone")
    assert "network 'net0' is down" in other.machine.stderr()
    again = boot(run="shell", ready="guest# ", disk=False, nets=[network[0]])
    configure(again, 1)
    other.shell("until grep -q 1 /sys/class/net/eth0/carrier; do sleep 0.1; done; echo carrier=there",
                "^carrier=there")
    other.shell("ping -c 3 10.0.0.1", "3 packets received")


def test_a_destination_without_the_network_refuses_before_any_memory(pair):
    other = pair[1]
    with other.receiver("tcp:127.0.0.1:0", nets=[]) as receiver:
        other.machine.migrate(receiver.uri)
        info = other.machine.wait_migration()
        assert info["status"] == "failed"
        assert "the machine has a network 'net0', which is not given here" in info["error-desc"]
        assert info.get("ram", {}).get("transferred", 0) < 1 << 20
    other.shell("ping -c 3 10.0.0.1", "3 packets received")
