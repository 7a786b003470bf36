# SPDX-License-Identifier: Apache-2.0
"""
A guest on this host's KVM moves between hosts on one network, at full speed: a bare one, which answers pings and echoes
datagrams. The stock kernel's connections are test_net_move's.
"""

import time

import pytest

from godwit_tools.net_guest import NetGuest
from godwit_tools.netns import GUEST4, GUEST6, TAP
from godwit_tools.proxy import TO_DESTINATION
from net_place import (Place, Watch, break_before, check_flood, check_silences, cut_for_a_moment, is_announcement,
                       make_network, moves_watched)

MOVES = 50
PACKETS = 1_000_000
LONG_QUEUE = 700      # more than a ring has, less than a tap


@pytest.fixture
def hosts():
    return ("a", "b")


@pytest.fixture
def place(kvm, hosts, tmp_path):
    guest = NetGuest(tmp_path / "guest", f"mode=echo ip={GUEST4} ip6={GUEST6}", options=["--net", f"tap:{TAP}"])
    with make_network(hosts=hosts) as network:
        try:
            yield Place(network, tmp_path, lambda host: guest.boot(host=host))
            assert guest.bad_lines() == []
        finally:
            guest.close()


def test_fifty_moves_and_nobody_outside_notices_more_than_the_pause(place, tmp_path, show):
    watch, pauses = moves_watched(place, tmp_path, MOVES)
    watch.check_one_speaks_at_a_time(MOVES)
    show(*check_silences(watch, pauses), *watch.lines())


def test_a_million_numbered_packets_come_back_once_through_a_moving_guest(place, show):
    show(check_flood(place, PACKETS))


@pytest.mark.parametrize("hosts", [("a",)], ids=["one host"])
def test_on_one_host_no_packet_is_lost(place, show):
    """They wait in the tap, which the two processes hand over; more than a ring has, and less than the tap."""
    show(check_flood(place, PACKETS, LONG_QUEUE, may_lose=False))


def give_away_and_take_back(place):
    with place.receiver() as receiver:
        break_before(TO_DESTINATION, "COMMIT", cut_for_a_moment)(place, receiver)
        assert place.guest.machine.wait_migration()["status"] == "failed"
    assert place.guest.machine.running()


@pytest.mark.sanitized
def test_moves_with_one_between_them_that_is_taken_back(place, tmp_path):
    with Watch(place, tmp_path, every_ms=2) as watch:
        for step in (place.move, place.move, lambda: give_away_and_take_back(place), place.move):
            step()
            time.sleep(0.2)
        watch.finish()
    watch.check_one_speaks_at_a_time(3)
    assert all(any(is_announcement(frame) for _, frame in frames) for frames in watch.seen)
