# SPDX-License-Identifier: Apache-2.0
"""Software in the guest learns of every move, and of nothing else (docs/vmclock.md)."""

import time

import pytest

from godwit_tools.patience import LONG_SILENCE_MS
from godwit_tools.proxy import TO_DESTINATION, TO_SOURCE, Proxy, wait_until

LOOKS_MS = 10
SETTLE_S = 0.5    # many looks of the guest's program
MOVED = r"vmclock: moved, marker (\d+), sequence (\d+)"


def watch(guest):
    """Starts the program in the guest: (marker, how it reaches the page)."""
    found = guest.shell(f"watch-vmclock {LOOKS_MS} &", r"vmclock: marker (\d+), by (.*), counter 255, notification yes")
    return int(found.group(1)), found.group(2)


def moves_seen(guest, since=0):
    time.sleep(SETTLE_S)
    return [line.text for line in guest.console.lines[since:] if "vmclock: moved" in line.text]


def move(guest):
    receiver = guest.receiver("tcp:127.0.0.1:0")
    guest.machine.migrate(receiver.uri)
    info = guest.machine.wait_migration()
    assert info["status"] == "completed", info.get("error-desc")
    receiver.wait_status("running")
    guest.arrived(receiver)


def move_that_fails_at_the_last_moment(guest):
    """The guest stands still and the destination has loaded it when the link breaks; it goes on where it was."""
    receiver = guest.receiver("tcp:127.0.0.1:0")
    port = int(receiver.uri.rpartition(":")[2])
    proxy = Proxy(("127.0.0.1", port), before={(TO_SOURCE, "READY"): lambda proxy: proxy.cut()})
    guest.machine.set(x_godwit_peer_timeout=LONG_SILENCE_MS)
    guest.machine.migrate(proxy.uri)
    info = guest.machine.wait_migration()
    assert info["status"] == "failed"
    assert (TO_DESTINATION, "SWITCH") in proxy.seen, f"{info['error-desc']}; seen: {proxy.seen}"
    wait_until(guest.machine.running, "the guest goes on at the source")
    proxy.close()
    receiver.close()


def check_moves(guest):
    marker, _ = watch(guest)
    guest.machine.qmp("stop")
    guest.machine.qmp("cont")
    move_that_fails_at_the_last_moment(guest)
    assert moves_seen(guest) == []
    for number in (1, 2):
        since = guest.console.position()
        move(guest)
        assert guest.console.wait(MOVED, since=since).group(1) == str(marker + number)
        guest.machine.qmp("stop")
        guest.machine.qmp("cont")
        assert len(moves_seen(guest, since)) == 1


@pytest.mark.sanitized
def test_each_move_is_seen_once_and_nothing_else(boot):
    check_moves(boot(run="shell", ready="guest# ", disk=False))


def test_interrupt_comes_with_the_move(boot):
    """Nobody in Debian's kernel listens to it, so the interrupt controller's own account is asked."""
    guest = boot(run="shell", ready="guest# ", disk=False)
    pending = 0x0c001000
    assert guest.shell(f"devmem {pending} 32", r"^0x([0-9A-F]{8})").group(1) == "00000000"
    move(guest)
    assert int(guest.shell(f"devmem {pending} 32", r"^0x([0-9A-F]{8})").group(1), 16) == 1 << 12


def test_machine_without_it_says_so(boot):
    guest = boot(run="shell", ready="guest# ", disk=False, options=["--no-vmclock"])
    guest.shell("watch-vmclock", "vmclock: this machine has none")


def events_taken(guest):
    """Interrupts of ACPI's event device that the guest has served."""
    found = guest.shell("grep ACPI:Ged /proc/interrupts", r"^ *\d+:((?: +\d+)+) .*ACPI:Ged")
    return sum(map(int, found.group(1).split()))


@pytest.mark.stock_kernel
def test_each_move_is_seen_once_under_kvm_and_comes_with_an_event(boot_amd64):
    guest = boot_amd64(run="shell", ready="guest# ", disk=False)
    before = events_taken(guest)
    check_moves(guest)
    assert events_taken(guest) == before + 2
    guest.shell("check-dmesg", "dmesg: .*nothing wrong")
