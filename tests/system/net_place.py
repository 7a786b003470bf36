# SPDX-License-Identifier: Apache-2.0
"""Guests that move between hosts on one network of namespaces (godwit_tools/netns.py), and what is seen of them there."""

import contextlib
import os
import socket
import statistics
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from godwit_tools.machine import Host
from godwit_tools.netns import CLIENT, GUEST4, GUEST6, TAP, Capture, Network, NotPermitted, Probe, inside
from godwit_tools.patience import LONG_BUDGET_MS, LONG_SILENCE_MS, PATIENCE_S
from godwit_tools.proxy import Proxy
from godwit_tools.stream import ECHO_PORT
from nested_place import IN_NESTED_HOST

# An emulated host is some twenty times as slow, and has one CPU for both hosts, the client and the guest.
PING_MS = 20 if IN_NESTED_HOST else 1
ANSWERS_A_MOVE = 40 if IN_NESTED_HOST else 100
PAUSE_LIMIT_MS = 2000 if IN_NESTED_HOST else 100    # of preferred guests
MORE_SILENCE_MS = 20     # than the pause
# In a nested host emulation makes all of it longer alike, the pause and what comes before and after it; as multiple of
# the pauses that were measured there it is as much as it is of those of a real host.
MORE_SILENCE_PAUSES = 10


def make_network(**options):
    try:
        return Network(**options)
    except NotPermitted as why:
        pytest.skip(f"no network of namespaces here: {why}")


def prefer(machine):
    """It need not wait for a CPU while other programs of this host use them all: what that costs after a move (5 to 20 ms
    until its threads get one, by /proc/PID/task/*/schedstat) is none of its affairs. Threads that it makes are the same."""
    for task in Path(f"/proc/{machine.process.pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setscheduler(int(task.name), os.SCHED_RR, os.sched_param(1))


class Place:
    """A guest on a network, and on which host it is. `start` makes one on a host."""

    def __init__(self, network, directory, start):
        self.network, self.directory, self.count = network, directory, 0
        self.preferred, self.limit_ms = False, LONG_BUDGET_MS
        self.at = network.hosts[0]
        self.guest = start(self.new_host(self.at))
        self.guest.machine.set(downtime_limit=self.limit_ms)
        self.mac = self.guest.machine.qmp("x-godwit-query-machine")["nets"][0]["mac"]

    def new_host(self, name):
        self.count += 1
        return Host(self.directory / f"{name}{self.count}", self.network.namespace(name))

    def outside(self, function):
        return inside(self.network.namespace(CLIENT), function)

    def other(self):
        """The host to which it moves next; the same one if there is no other."""
        return next((name for name in self.network.hosts if name != self.at), self.at)

    def prefer(self):
        """From now on its machines come before all else on this host, and their pauses have a limit that this can keep."""
        self.preferred = not IN_NESTED_HOST    # which has one CPU, and nothing else to do
        self.limit_ms = PAUSE_LIMIT_MS
        self.guest.machine.set(downtime_limit=self.limit_ms)
        if self.preferred:
            prefer(self.guest.machine)

    def receiver(self):
        target = self.other()
        machine = self.guest.receiver(f"tcp:{self.network.address(target)}:0", host=self.new_host(target))
        if self.preferred:
            prefer(machine)
        return machine

    def move(self):
        """The other host has the guest, and the switch knows it at once."""
        target, receiver, source = self.other(), self.receiver(), self.guest.machine
        began = time.time()
        source.migrate(receiver.uri)
        info = source.wait_migration()
        port = self.network.port_of(self.mac)
        assert info["status"] == "completed", info.get("error-desc")
        assert port == self.network.port(target), "the switch still sends the guest's frames to where it was"
        receiver.wait_status("running")
        self.guest.arrived(receiver)
        receiver.set(downtime_limit=self.limit_ms)
        self.at = target
        return began, time.time(), info["x-godwit"]["pause-us"] / 1000


def free_port():
    with socket.create_server(("", 0)) as server:
        return server.getsockname()[1]


def move(guest):
    """To a new process on this host; what the source says about it."""
    receiver = guest.receiver("tcp:127.0.0.1:0")
    guest.machine.migrate(receiver.uri)
    info = guest.machine.wait_migration()
    assert info["status"] == "completed", info.get("error-desc")
    receiver.wait_status("running")
    guest.arrived(receiver)
    return info["x-godwit"]


def linux_place(network, boot, directory, net=f"tap:{TAP}", before="", cpus=1, memory="128M"):
    """With net-keeper at work in the guest."""
    def start(host):
        guest = boot(run="shell", ready="guest# ", disk=False, nets=[net], host=host, cpus=cpus, memory=memory)
        guest.shell(f"{before}network-up {GUEST4}/24 {GUEST6}/64; net-keeper &", "net-keeper: listening")
        return guest
    return Place(network, directory, start)


# ---- Seen from outside ----

class Watch:
    """Pings the guest from the client all the while, and records what comes from it at the switch's port of each host."""

    def __init__(self, place, directory, every_ms=PING_MS):
        self.captures = [Capture(place.network, place.network.port(host), "in", f"ether src {place.mac}", directory)
                         for host in place.network.hosts]
        self.pinger = Probe(place.network, CLIENT, "pinger", every_ms, GUEST4, GUEST6)
        self.targets, self.unasked, self.seen = [], [], []

    def finish(self):
        """Nothing was answered twice."""
        pings = self.pinger.finish()
        self.targets, self.unasked = pings["targets"], pings["unasked"]
        self.seen = [capture.stop() for capture in self.captures]
        assert all(target["twice"] == 0 and target["answered"] > 0 for target in self.targets)

    def lines(self):
        return [f"{t['sent']} pings to {t['address']}, {t['lost']} not answered" for t in self.targets]

    def handoffs(self):
        """[(when the guest was last heard at one port, and first at another)]"""
        heard = sorted((when, index) for index, frames in enumerate(self.seen) for when, _ in frames)
        return [(before[0], after[0]) for before, after in zip(heard, heard[1:]) if before[1] != after[1]]

    def check_one_speaks_at_a_time(self, moves):
        """The guest spoke from one port at a time, was announced before it spoke at another, and answered nothing twice."""
        changes = len(self.handoffs())
        assert changes == moves, f"{moves} moves, but the guest's frames changed their port {changes} times"
        first_frames = [next(frame for frames in self.seen for when, frame in frames if when == first)
                        for _, first in self.handoffs()]
        assert all(map(is_announcement, first_frames)), "the guest spoke from another port before it was announced"
        answers = Counter(ping_answer(frame) for frames in self.seen for _, frame in frames)
        del answers[None]
        assert len(answers) > ANSWERS_A_MOVE * moves
        assert [answer for answer, count in answers.items() if count > 1] == []

    def length_ms(self, since, to):
        """Of a silence, without the times when nobody asked."""
        return 1000 * (to - since - sum(max(min(to, end) - max(since, begin), 0) for begin, end in self.unasked))

    def silences_ms(self):
        """The longest around each handoff."""
        return [max((self.length_ms(since, to) for target in self.targets for since, to in target["silences"]
                     if to > last and since < first), default=0) for last, first in self.handoffs()]

    def noise_ms(self):
        """The longest silence that had nothing to do with a handoff: what this host alone costs while other programs use its
        CPUs, for the network's own work in the kernel has no preference."""
        return max((self.length_ms(since, to) for target in self.targets for since, to in target["silences"]
                    if all(to < last or since > first for last, first in self.handoffs())), default=0)

    def close(self):
        self.pinger.close()
        for capture in self.captures:
            capture.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def moves_watched(place, directory, count):
    """That many moves under pings: what was seen of them, and their pauses in milliseconds."""
    pauses = []
    place.prefer()
    with Watch(place, directory) as watch:
        time.sleep(0.3)
        for _ in range(count):
            pauses.append(place.move()[2])
            time.sleep(0.1)
        time.sleep(0.3)
        watch.finish()
    return watch, pauses


def check_silences(watch, pauses):
    """No move was silent for much longer than its pause, and than the same guest was without a move. Lines that tell of them."""
    silences, noise = watch.silences_ms(), watch.noise_ms()
    allowed = noise + (MORE_SILENCE_PAUSES * statistics.median(pauses) if IN_NESTED_HOST else MORE_SILENCE_MS)
    more = [silence - pause for silence, pause in zip(silences, pauses)]
    worst = more.index(max(more))
    lines = [f"{len(pauses)} moves: the longest silence was {max(silences):.1f} ms, the longest pause {max(pauses):.1f} ms; "
             f"furthest apart in move {worst + 1}: {silences[worst]:.1f} ms of silence, {pauses[worst]:.1f} ms of pause",
             f"none may be silent for more than {allowed:.0f} ms longer than its pause; without a move it was for {noise:.1f} ms"]
    assert max(more) <= allowed, lines
    return lines


def ping_answer(frame):
    """What tells this answer from all others, or None for other frames."""
    kind = frame[12:14]
    if kind == b"\x08\x00" and frame[23] == socket.IPPROTO_ICMP and frame[34] == 0:
        return 4, frame[38:50]
    if kind == b"\x86\xdd" and frame[20] == socket.IPPROTO_ICMPV6 and frame[54] == 129:
        return 6, frame[58:70]
    return None


def is_announcement(frame):
    return frame[12:14] == b"\x80\x35"     # RARP


# ---- Migrations that do not arrive ----

def cancel(place, receiver):
    place.guest.machine.set(max_bandwidth=256 << 10)    # takes longer than any test waits
    place.guest.machine.migrate(receiver.uri)
    time.sleep(0.3)
    place.guest.machine.qmp("migrate_cancel")


def break_before(direction, record, action):
    """A migration that meets `action(receiver, proxy)` when this record is about to pass."""
    def attempt(place, receiver):
        port = int(receiver.uri.rpartition(":")[2])
        address = place.network.address(place.other())
        hook = {(direction, record): lambda proxy: action(receiver, proxy)}
        proxy = inside(place.network.namespace(place.at), lambda: Proxy((address, port), before=hook))
        place.guest.machine.set(x_godwit_peer_timeout=LONG_SILENCE_MS)
        place.guest.machine.migrate(proxy.uri)
    return attempt


def kill(receiver, _):
    receiver.kill()


def cut(_, proxy):
    proxy.cut()


def cut_for_a_moment(_, proxy):
    proxy.cut()
    time.sleep(0.2)
    proxy.restore()


# ---- Many small packets ----

SO_RCVBUFFORCE = 33


@dataclass
class Gap:
    """Packets that did not come back, one behind the other."""
    first: int
    count: int
    ended: float    # when the next came, time.time()
    windows: int    # how often as many as may be under way had been sent meanwhile


class Flood(threading.Thread):
    """Numbered datagrams that the guest echoes, so many at most under way; make it where the guest can be reached."""

    def __init__(self, count, under_way, patience_s):
        super().__init__(daemon=True)
        self.count, self.under_way = count, under_way
        self.gaps, self.out_of_order = [], 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect((GUEST4, ECHO_PORT))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)    # nothing is to be lost in it
        self.socket.settimeout(PATIENCE_S)
        self.socket.send(b"first")      # the client learns where the guest is: that does not wait for many
        self.socket.recv(64)
        self.socket.settimeout(patience_s)

    def run(self):
        sent = expected = given_up = silent = 0
        while expected < self.count and silent * self.socket.gettimeout() < PATIENCE_S:
            while sent < self.count and sent - max(expected, given_up) < self.under_way:
                self.socket.send(sent.to_bytes(8, "big"))
                sent += 1
            try:
                number = int.from_bytes(self.socket.recv(64), "big")
            except TimeoutError:
                given_up = sent
                silent += 1
                continue
            if number != expected:
                self._take_unexpected(number, expected, silent)
            expected, silent = max(number + 1, expected), 0
        if expected < self.count:
            self._take_unexpected(self.count, expected, silent)

    def _take_unexpected(self, number, expected, silent):
        if number < expected:
            self.out_of_order += 1
        else:
            self.gaps.append(Gap(expected, number - expected, time.time(), 1 + silent))

    def lost(self):
        return sum(gap.count for gap in self.gaps)


# After so long what is under way is taken for lost, and as much again is sent. Of a guest that is only slow, on a busy host, what
# waits must stay less than its queues hold.
GIVEN_UP_S = 0.5


def check_flood(place, count, under_way=64, may_lose=True):
    """So many packets while the guest moves. They come back in order, and where some are missing the guest moved then:
    those that were under way. On one host none are. A line that tells of it."""
    began, moves = time.time(), []
    flood = place.outside(lambda: Flood(count, under_way, GIVEN_UP_S if may_lose else PATIENCE_S))
    flood.start()
    while flood.is_alive():
        moves.append(place.move()[0])
        flood.join(0.3)
    took = time.time() - began
    # A busy host may tell of a gap when the next move has begun already.
    moved = [sum(one < gap.ended for one in moves) for gap in flood.gaps]
    told = (f"{count} small packets through a guest that moved {len(moves)} times: {flood.lost()} lost, in "
            f"{len(flood.gaps)} moves; {count / took:.0f} a second")
    assert flood.out_of_order == 0, told
    assert may_lose or not flood.gaps, f"{told}; first {flood.gaps[:5]}"
    assert all(gaps <= so_far for gaps, so_far in enumerate(moved, 1)), f"packets were lost where no move was: {told}; {moved}"
    assert all(gap.count <= gap.windows * under_way for gap in flood.gaps), f"more was lost than what was under way: {told}"
    assert len(moves) > 1
    return told
