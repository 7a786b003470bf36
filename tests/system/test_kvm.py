# SPDX-License-Identifier: Apache-2.0
"""Machines on this host's KVM, with a guest that knows what every page of its memory must hold."""

import pytest

from godwit_tools.dirty_guest import DirtyGuest

MOVES = 100


@pytest.fixture
def start(kvm, tmp_path):
    """start(append, memory=…, cpus=…): a guest that is ready. At the end it must have found nothing wrong."""
    guests = []

    def start(append, **options):
        guest = DirtyGuest(tmp_path / f"guest{len(guests)}", append, **options)
        guests.append(guest)
        return guest.boot()

    yield start
    for guest in guests:
        guest.close()
    assert [line for guest in guests for line in guest.bad_lines()] == []


def move(guest, status="running"):
    receiver = guest.receiver()
    guest.machine.set(x_godwit_verify_ram=True)
    guest.machine.migrate(receiver.uri)
    info = guest.machine.wait_migration()
    assert info["status"] == "completed", info.get("error-desc")
    receiver.wait_status(status)
    guest.arrived(receiver)
    assert guest.bad_lines() == []
    return info


@pytest.mark.parametrize("cpus", [1, 4])
@pytest.mark.parametrize("tracking", ["bitmap", "ring"])
def test_a_hundred_moves_in_a_row_lose_no_write(start, tracking, cpus):
    guest = start("memory=4M rate=100M report=0", memory="24M", cpus=cpus, options=["--dirty-tracking", tracking])
    before = int(guest.wait_report().group(3))
    for _ in range(MOVES):
        move(guest)
    guest.verify()
    assert int(guest.wait_report().group(3)) > before


@pytest.mark.parametrize("pattern", ["zero", "text", "delta"])
def test_pages_of_every_kind_arrive(start, pattern):
    guest = start(f"memory=16M rate=200M pattern={pattern}", memory="40M")
    for _ in range(5):
        move(guest)
    guest.verify()


def test_wide_registers_arrive(start):
    guest = start("memory=4M rate=10M ymm=1", memory="24M", cpus=2)
    for _ in range(5):
        move(guest)
        guest.wait_report()


def test_memory_on_both_sides_of_the_hole_arrives(start):
    """Every 320th page of 5 GiB is written."""
    guest = start("memory=15M stride=320 rate=50M", memory="5G")
    for _ in range(2):
        info = move(guest)
        assert info["ram"]["total"] > 5 << 30
    guest.verify()


def test_a_stopped_guest_moves_twice_and_goes_on(start):
    guest = start("memory=4M", memory="24M")
    guest.machine.qmp("stop")
    move(guest, "paused")
    move(guest, "paused")
    guest.machine.qmp("cont")
    guest.wait_report()
    guest.verify()


def test_a_reset_begins_from_the_start_where_the_guest_is_now(start):
    guest = start("memory=4M", memory="24M", cpus=2)
    move(guest)
    guest.restart("R")
    guest.verify()
    move(guest)
    guest.wait_report()


def test_a_triple_fault_is_a_reset(start):
    guest = start("memory=4M", memory="24M")
    guest.restart("z")
    move(guest)
    guest.restart("z")


def test_the_guest_powers_off(start):
    guest = start("memory=4M", memory="24M")
    move(guest)
    guest.console.send("q")
    assert guest.machine.wait_exit() == 0
