# SPDX-License-Identifier: Apache-2.0
"""
Things that break in every phase of a migration. Whatever happens, never do two sides run the guest; either one side
runs it, or the side that still lives says in a sentence why nobody does. The guest checks itself throughout.
"""

import threading
import time

import pytest

from godwit_tools.patience import LONG_SILENCE_MS, PATIENCE_S
from godwit_tools.proxy import TO_DESTINATION, TO_SOURCE, Proxy, wait_until
from godwit_tools.qmp import QmpError

PEER_TIMEOUT_MS = 1000    # of a link that has frozen

# (phase, direction, record): what happens, happens before that record passes.
POINTS = [
    ("setup", TO_DESTINATION, "OFFER"),
    ("setup", TO_SOURCE, "ACCEPT"),
    ("rounds", TO_DESTINATION, "BARRIER"),
    ("rounds", TO_SOURCE, "REHEARSED"),
    ("pause", TO_DESTINATION, "SWITCH"),
    ("pause", TO_SOURCE, "READY"),
    ("pause", TO_SOURCE, "VERIFIED"),
    ("handoff", TO_DESTINATION, "COMMIT"),
    ("handoff", TO_SOURCE, "RUNNING"),
    ("after", TO_DESTINATION, "CONFIRM"),
]
BEFORE_COMMIT = ("setup", "rounds", "pause")


def points(*phases):
    return pytest.mark.parametrize(
        "phase, direction, record",
        [pytest.param(*p, id=f"{p[0]}-{p[2]}") for p in POINTS if not phases or p[0] in phases])


class Flight:
    """One migration through a proxy that does `action` when the record is about to pass."""

    def __init__(self, guest, direction, record, action):
        self.guest, self.source = guest, guest.machine
        self.receiver = guest.receiver("tcp:127.0.0.1:0")
        self.happened = threading.Event()
        self.doubles = []
        self.since = guest.console.position()
        host, _, port = self.receiver.uri.removeprefix("tcp:").rpartition(":")
        self.proxy = Proxy((host, int(port)), before={(direction, record): self._hook(action)})
        self.source.set(x_godwit_verify_ram=True, x_godwit_peer_timeout=LONG_SILENCE_MS)
        self.source.migrate(self.proxy.uri)
        assert self.happened.wait(PATIENCE_S), \
            f"no {record} passed; source: {self.describe(self.source)}; seen: {self.proxy.seen}"

    def _hook(self, action):
        def act(proxy):
            action(self)
            self.happened.set()
        return act

    def freeze(self):
        """From now on the source waits no longer than a test wants to: before, a busy host is not to be taken for silence."""
        self.proxy.freeze()
        self.source.set(x_godwit_peer_timeout=PEER_TIMEOUT_MS)

    def running(self):
        """The machines that run the guest now, of those that live."""
        found = [m for m in (self.source, self.receiver) if m.alive() and self._runs(m)]
        assert len(found) < 2, "two sides run the guest"
        return found

    @staticmethod
    def _runs(machine):
        try:
            return machine.running()
        except (ConnectionError, BrokenPipeError, OSError):
            return False

    def settled(self, expected):
        """Waits until exactly these machines run the guest."""
        wait_until(lambda: self.running() == expected,
                   lambda: f"running: {[m.name for m in expected]}; source: {self.describe(self.source)}; "
                           f"destination: {self.describe(self.receiver)}")

    @staticmethod
    def describe(machine):
        if not machine.alive():
            return "dead"
        try:
            return f"{machine.status()}, {machine.migration().get('error-desc')}"
        except (ConnectionError, OSError):
            return "ended"

    def runs_on(self, machine):
        """That machine runs the guest, and the guest is well."""
        self.settled([machine])
        self.guest.arrived(machine) if machine is not self.guest.machine else None
        self.guest.console.wait_count(5)
        assert self.guest.console.bad_lines() == []

    def explains(self, machine):
        """Nobody runs the guest and this machine, which lives, says why."""
        self.settled([])
        sentence = wait_until(lambda: self.why(machine), "a sentence that says why nobody runs it")
        assert len(sentence.split()) >= 4, sentence

    @staticmethod
    def why(machine):
        info = machine.migration()
        return info.get("error-desc") or info.get("x-godwit", {}).get("verdict") or \
            info.get("x-godwit", {}).get("decision")

    def close(self):
        self.proxy.close()
        for machine in (self.source, self.receiver):
            if machine is not self.guest.machine:
                machine.close()


@pytest.fixture
def fly(guest):
    flights = []

    def start(direction, record, action):
        flight = Flight(guest, direction, record, action)
        flights.append(flight)
        return flight

    yield start
    for flight in flights:
        flight.close()


@points()
def test_the_link_is_cut_and_comes_back(fly, phase, direction, record):
    flight = fly(direction, record, lambda f: f.proxy.cut())
    time.sleep(0.3)
    flight.running()
    flight.proxy.restore()
    committed = phase == "after" or record == "RUNNING"
    flight.runs_on(flight.receiver if committed else flight.source)


@points()
def test_the_link_freezes_and_thaws(fly, phase, direction, record):
    flight = fly(direction, record, Flight.freeze)
    time.sleep(PEER_TIMEOUT_MS / 1000 + 1)
    flight.running()
    flight.proxy.restore()
    wait_until(flight.running, "one side runs the guest after the link is back")
    flight.runs_on(flight.running()[0])


@points(*BEFORE_COMMIT)
def test_the_link_is_frozen_for_good(fly, phase, direction, record):
    flight = fly(direction, record, Flight.freeze)
    flight.runs_on(flight.source)


def test_the_link_is_cut_for_good_in_the_handoff(fly):
    flight = fly(TO_DESTINATION, "COMMIT", lambda f: f.proxy.cut())
    flight.explains(flight.source)
    flight.proxy.restore()
    flight.runs_on(flight.source)


@points()
def test_the_destination_is_killed(fly, phase, direction, record):
    flight = fly(direction, record, lambda f: (f.receiver.kill(), f.proxy.cut()))
    if phase in BEFORE_COMMIT:
        flight.runs_on(flight.source)
    elif phase == "handoff":
        flight.explains(flight.source)
        flight.guest.machine = None
    else:
        assert flight.running() == []
        flight.guest.machine = None


@points()
def test_the_source_is_killed(fly, phase, direction, record):
    flight = fly(direction, record, lambda f: (f.source.kill(), f.proxy.cut()))
    if record in ("RUNNING", "CONFIRM"):
        flight.runs_on(flight.receiver)
        return
    flight.settled([])
    wait_until(lambda: flight.receiver.status() == "inmigrate", "the destination waits on")
    flight.guest.machine = None


@points("setup", "rounds", "pause")
def test_cancel(fly, phase, direction, record):
    flight = fly(direction, record, lambda f: f.source.qmp("migrate_cancel"))
    info = flight.source.wait_migration()
    assert info["status"] == "cancelled", info
    flight.runs_on(flight.source)
    wait_until(lambda: flight.receiver.status() == "inmigrate", "the destination waits on")


def test_cancel_after_commit_changes_nothing(fly):
    flight = fly(TO_SOURCE, "RUNNING", lambda f: f.source.qmp("migrate_cancel"))
    assert flight.source.wait_migration()["status"] == "completed"
    flight.runs_on(flight.receiver)


def test_after_a_failure_the_next_attempt_moves_the_guest(fly):
    flight = fly(TO_DESTINATION, "SWITCH", lambda f: f.proxy.cut())
    flight.runs_on(flight.source)
    flight.proxy.restore()
    flight.receiver.wait_receiver(1)
    flight.source.migrate(flight.proxy.uri)
    assert flight.source.wait_migration()["status"] == "completed"
    flight.runs_on(flight.receiver)


def test_a_guest_that_nobody_answers_for_can_be_reclaimed(fly):
    flight = fly(TO_DESTINATION, "COMMIT", lambda f: f.receiver.kill())
    flight.explains(flight.source)
    with pytest.raises(QmpError, match="fenced"):
        flight.source.qmp("x-godwit-reclaim", fenced=False)
    with pytest.raises(QmpError, match="given away"):
        flight.source.qmp("cont")
    flight.source.qmp("x-godwit-reclaim", fenced=True)
    assert flight.source.status() == "paused"
    assert flight.source.host.owner(flight.source.name)["state"] == "owner"
    flight.source.qmp("cont")
    flight.runs_on(flight.source)


def test_a_guest_that_runs_elsewhere_cannot_be_reclaimed(fly):
    flight = fly(TO_SOURCE, "RUNNING", lambda f: None)
    flight.settled([flight.receiver])
    flight.source.wait_migration()
    with pytest.raises(QmpError, match="out of date"):
        flight.source.qmp("x-godwit-reclaim", fenced=True)
    flight.runs_on(flight.receiver)
