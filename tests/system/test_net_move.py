# SPDX-License-Identifier: Apache-2.0
"""
A guest moves between two hosts on one network while clients outside talk to it. Hosts, switch and client are network
namespaces (godwit_tools/netns.py), where these are permitted.
"""

import math
import re
import socket
import subprocess
import time

import pytest

from godwit_tools.netns import CLIENT, GUEST4, GUEST6, TAP, Capture, Probe
from godwit_tools.patience import PATIENCE_S
from godwit_tools.paths import build_dir
from godwit_tools.proxy import TO_DESTINATION, TO_SOURCE, wait_until
from godwit_tools.stream import ECHO_PORT, Session, Stream
from nested_place import IN_NESTED_HOST, on_kvm, on_machines, on_software_cpu
from net_place import (PING_MS, Watch, break_before, cancel, check_flood, check_silences, cut, cut_for_a_moment,
                       is_announcement, kill, linux_place, make_network, moves_watched)

MOVES = 10 if IN_NESTED_HOST else 50
STREAM_S = 0.05 if IN_NESTED_HOST else 0.01
PACKETS = 100_000


@pytest.fixture
def network():
    with make_network() as made:
        yield made


@pytest.fixture
def place(network, boot, tmp_path):
    return linux_place(network, boot, tmp_path)


@on_machines
def test_fifty_moves_and_nobody_outside_notices_more_than_the_pause(place, tmp_path, show):
    session, stream = place.outside(lambda: (Session(GUEST4), Stream(GUEST4, piece_s=STREAM_S)))
    assert session.type(b"who\n") == b"who\n"
    watch, pauses = moves_watched(place, tmp_path, MOVES)
    assert stream.finish() is None
    assert session.type(b"still here\n") == b"still here\n"
    session.close()
    place.guest.console.wait(rf"stream: {stream.sent} bytes, all good")
    watch.check_one_speaks_at_a_time(MOVES)
    show(*check_silences(watch, pauses), *watch.lines(), f"{stream.sent} bytes each way in one connection")
    assert place.guest.console.bad_lines() == []


TRIES = 5    # of what a busy host may disturb: not each time, and what is wrong is so each time


def silence_told_and_heard(place):
    """One move: (the silence by its flight log, those that were heard outside) in milliseconds, and whether the log's times are
    in order: they are read one after the other, and what the host does between two readings is in both."""
    began = time.time()
    with Probe(place.network, CLIENT, "pinger", "1", GUEST4) as pinger:
        time.sleep(0.2)
        place.move()
        host = place.guest.machine.host
        wait_until(lambda: host.flights("guest")[-1].get("networks"), "the destination's view of the network")
        (target,) = pinger.finish()["targets"]
    flight = host.flights("guest")[-1]
    (here,), (there,) = flight["networks"], flight["other_side"]["networks"]
    assert here["name"] == there["name"] == "net0"
    began_there, pause = flight["other_side"]["pause"]["began_ns"], flight["pause"]["pause_us"] * 1000
    ran_here = flight["pause"]["began_ns"] + pause
    started = ran_here - flight["pause"]["parts"]["start_us"] * 1000    # devices begin to work before the first instruction
    in_order = 0 < there["last_out_ns"] <= began_there + flight["other_side"]["pause"]["parts"]["stop_us"] * 1000 and \
        started <= here["first_in_ns"] <= here["first_out_ns"]
    silent_ms = (began_there - there["last_out_ns"] + pause + here["first_out_ns"] - ran_here) / 1e6
    return silent_ms, [(to - since) * 1000 for since, to in target["silences"] if to > began], in_order


def test_the_flight_log_tells_what_the_network_saw(place):
    seen, agreed = [], False
    while len(seen) < TRIES and not agreed:
        silent_ms, heard_ms, in_order = silence_told_and_heard(place)
        seen.append(f"the log says {silent_ms:.1f} ms of silence, {heard_ms} ms were seen outside; in order: {in_order}")
        agreed = in_order and (silent_ms < 8 or any(abs(silent_ms - one) < 5 for one in heard_ms))
    assert agreed, seen
    host = place.guest.machine.host
    told = subprocess.run([build_dir() / "godwit", "--run-dir", host.run_dir, "explain", "guest"], capture_output=True,
                          text=True, timeout=PATIENCE_S, check=True).stdout
    assert re.search(r"net0  the guest's last frame left .* (before|into) the pause", told)
    assert re.search(r"net0  so nothing was heard of the guest for \d", told)


# ---- Migrations that do not arrive ----

# How, the status at the end, and whether the guest had been given away: then the source announces it again.
ENDINGS = {
    "cancelled-while-memory-goes": (cancel, "cancelled", False),
    "destination-dies-while-memory-goes": (break_before(TO_DESTINATION, "BARRIER", kill), "failed", False),
    "destination-dies-in-the-pause": (break_before(TO_DESTINATION, "SWITCH", kill), "failed", False),
    "link-breaks-in-the-pause": (break_before(TO_SOURCE, "READY", cut), "failed", False),
    "link-breaks-when-the-guest-was-given-away": (break_before(TO_DESTINATION, "COMMIT", cut_for_a_moment), "failed", True),
}


ENDINGS_ON_KVM = ("cancelled-while-memory-goes", "destination-dies-in-the-pause", "link-breaks-when-the-guest-was-given-away")


@pytest.mark.parametrize("boot, attempt, status, given_away", [
    *(on_software_cpu(*ending, name=name, marks=pytest.mark.sanitized if ending[2] else ()) for name, ending in ENDINGS.items()),
    *(on_kvm(*ENDINGS[name], name=f"{name}-on-kvm") for name in ENDINGS_ON_KVM)], indirect=["boot"])
def test_connections_go_on_at_the_source(place, tmp_path, attempt, status, given_away):
    stream = place.outside(lambda: Stream(GUEST6, piece_s=STREAM_S))
    stream.wait_more(10000)
    with place.receiver() as receiver, Watch(place, tmp_path, 2 * PING_MS) as watch:
        attempt(place, receiver)
        assert place.guest.machine.wait_migration()["status"] == status
        assert place.guest.machine.running()
        assert place.network.port_of(place.mac) == place.network.port(place.at)
        stream.wait_more(50000)
        place.guest.machine.set(max_bandwidth=0)
        place.move()
        stream.wait_more(50000)
        watch.finish()
    assert stream.finish() is None
    watch.check_one_speaks_at_a_time(1)
    assert any(is_announcement(frame) for _, frame in watch.seen[0]) == given_away
    assert any(is_announcement(frame) for _, frame in watch.seen[1])


# ---- Many small packets ----

def test_numbered_packets_come_back_once_through_a_moving_guest(place, show):
    show(check_flood(place, PACKETS))


# ---- Other kinds of networks ----

def move_with_traffic(place, address):
    """There and back with a stream in large pieces."""
    stream = place.outside(lambda: Stream(address, piece_bytes=32768))
    for _ in range(2):
        stream.wait_more(500000)
        place.move()
    stream.wait_more(500000)
    assert stream.finish() is None
    net = place.guest.machine.qmp("x-godwit-query-machine")["nets"][0]
    assert net["dropped-in"] == net["dropped-out"] == 0


def echo_datagram(address, count):
    """Whether a datagram of so many bytes of payload comes back, in one piece where the network takes it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.setsockopt(socket.IPPROTO_IP, 10, 2)     # IP_MTU_DISCOVER: never in fragments
        one.settimeout(PATIENCE_S)
        one.connect((address, ECHO_PORT))
        one.send(bytes(range(256)) * (count // 256) + bytes(count % 256))
        return len(one.recv(65536)) == count


@pytest.mark.parametrize("boot, mtu", [
    on_software_cpu(1500, name="1500"), on_software_cpu(9000, name="9000"), on_kvm(9000, name="9000-on-kvm")],
    indirect=["boot"])
def test_the_largest_packets_pass_before_and_after_a_move(boot, tmp_path, mtu):
    with make_network(mtu=mtu) as network:
        place = linux_place(network, boot, tmp_path)
        place.guest.shell("cat /sys/class/net/eth0/mtu", f"^{mtu}")
        assert place.outside(lambda: echo_datagram(GUEST4, mtu - 28))
        move_with_traffic(place, GUEST4)
        assert place.outside(lambda: echo_datagram(GUEST4, mtu - 28))


@on_machines
def test_a_guest_with_four_queues_moves(boot, tmp_path):
    with make_network(queues=4) as network:
        place = linux_place(network, boot, tmp_path, net=f"tap:{TAP},queues=4", cpus=4)
        place.guest.shell("ls -d /sys/class/net/eth0/queues/tx-* | wc -l", "^4")
        session = place.outside(lambda: Session(GUEST4))
        move_with_traffic(place, GUEST4)
        assert session.type(b"still here\n") == b"still here\n"
        session.close()


def join_vlan(guest, address):
    guest.shell("load-modules 8021q; ip link add link eth0 name eth0.7 type vlan id 7; "
                f"ip addr add {address}/24 dev eth0.7; ip link set eth0.7 up; echo vlan=$?", "^vlan=0")


def in_vlan(frame, number):
    """Without its tag, or None if it has another one or none."""
    tagged = frame[12:14] == b"\x81\x00" and int.from_bytes(frame[14:16], "big") & 0xfff == number
    return frame[:12] + frame[16:] if tagged else None


def test_a_guest_in_a_vlan_moves(place, boot, tmp_path):
    """Another guest is the client: not every host's kernel knows VLANs. The guest is announced there as well, first of all."""
    place.network.add_tap("a", "vm1")
    other = boot(run="shell", ready="guest# ", disk=False, nets=["tap:vm1"], host=place.new_host("a"))
    other.shell("network-up", "^network: up")
    join_vlan(place.guest, "10.77.7.2")
    join_vlan(other, "10.77.7.3")
    there, moves_s = place.network.hosts.index(place.other()), []
    since = other.console.position()
    with Watch(place, tmp_path) as watch:
        other.console.send("ping -s 1472 -c 100 -i 0.05 10.77.7.2\n")
        for number in (5, 45, 85):
            other.console.wait(f"seq={number} ", since=since)
            began, ended, _ = place.move()
            moves_s.append(ended - began)
        lost = 100 - int(other.console.wait(r"(\d+) packets received", since=since).group(1))
        watch.finish()
    assert lost <= sum(math.ceil(seconds / 0.05) + 1 for seconds in moves_s), \
        f"{lost} pings were lost, more than may be under way in moves of {moves_s} s"
    first = next(untagged for _, frame in watch.seen[there] if (untagged := in_vlan(frame, 7)))
    assert is_announcement(first), "the guest spoke in its VLAN before it was announced there"


@pytest.mark.parametrize("on", [True, False], ids=["on", "off"])
def test_offloads(network, boot, tmp_path, on):
    """With them, frames larger than the network's pass in both directions unsplit; without them none does."""
    network.set_offloads(on)
    before = "" if on else "load-modules net_failover; insmod /lib/modules/virtio_net.ko csum=0 gso=0; "
    place = linux_place(network, boot, tmp_path, before=before)
    large = [Capture(network, port, "in", "greater 1600", tmp_path) for port in ("to_client", "to_a")]
    move_with_traffic(place, GUEST4)
    to_guest, from_guest = (capture.stop() for capture in large)
    from_guest = [frame for _, frame in from_guest if frame[6:12].hex(":") == place.mac]
    assert (len(to_guest) > 0, len(from_guest) > 0) == (on, on)
