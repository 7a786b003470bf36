# SPDX-License-Identifier: Apache-2.0
"""Debian's stock x86-64 kernel on microvm-1: it boots, works, moves, and ends in every way."""

import re
import time

import pytest

pytestmark = pytest.mark.stock_kernel

MOVES = 20
MS = 1_000_000
HOLE_BYTES = 1 << 30    # below 4 GiB (docs/machine.md)


def move(guest, verify=True):
    """Moves the guest to a new process; what the source says about it."""
    receiver = guest.receiver("tcp:127.0.0.1:0")
    source = guest.machine
    source.set(x_godwit_verify_ram=verify)
    source.migrate(receiver.uri)
    info = source.wait_migration()
    assert info["status"] == "completed", info.get("error-desc")
    assert receiver.wait_status("running") == "running"
    guest.arrived(receiver)
    return info


class ClockWatch:
    """The guest's real-time clock against the host's. Where it stands when Linux is up is Linux's affair (timer
    interrupts that an emulated CPU misses during its boot are lost to it); from then on it must stay there."""

    def __init__(self, guest):
        self.guest = guest
        self.home = guest.console.clock_offset_ns()

    def check(self, when):
        """No move, and not all of them together, may have shifted it by more than 1 ms."""
        least, most = self.guest.console.clock_offset_ns()
        assert least - self.home[1] <= MS and most - self.home[0] >= -MS, \
            f"{when} the guest's clock is {least / 1e6:.3f} to {most / 1e6:.3f} ms ahead of the host's; " \
            f"before it was {self.home[0] / 1e6:.3f} to {self.home[1] / 1e6:.3f} ms"
        return least - self.home[1], most - self.home[0]


def finish(guest):
    since = guest.console.position()
    guest.shell("finish", "godwit: finished")
    for said in ("memory: swept .*all good", "disk: swept .*all good", "vectors: compared .*all good",
                 "clock: .*none stepped back", "dmesg: .*nothing wrong"):
        guest.console.wait(said, since=since)
    assert guest.console.bad_lines() == []


def test_boots_and_finds_its_devices_by_acpi(boot_amd64):
    guest = boot_amd64(run="shell", ready="guest# ")
    assert guest.shell("echo $((6 * 7)) cpus $(nproc)", r"^42 cpus 2")
    assert guest.shell("blockdev --getsize64 /dev/vda", r"^67108864")
    assert guest.shell("cat /sys/class/misc/hw_random/rng_current", r"^virtio_rng")
    assert guest.shell("ls -d /sys/bus/acpi/devices/LNRO0005:0*/physical_node", "LNRO0005:00")
    assert guest.shell("grep -c virtio_mmio.device /proc/cmdline", "^0")
    assert guest.shell("cat /sys/devices/system/clocksource/clocksource0/current_clocksource", "^(kvm-clock|tsc)")
    assert guest.shell("check-dmesg", "dmesg: .*nothing wrong")


def test_moves_again_and_again_while_all_of_it_works(boot_amd64):
    guest = boot_amd64(append="godwit.memory=32 godwit.rate=2 godwit.keepers=1", memory="192M")
    console = guest.console
    console.wait(r"memory: \d+ visits")
    console.wait(r"disk: \d+ visits")
    console.wait(r"clock: \d+ reads")
    clock = ClockWatch(guest)
    since = console.position()
    for number in range(1, MOVES + 1):
        move(guest)
        console.wait_count(2)
        clock.check(f"after move {number}")
    finish(guest)
    numbers = [number for _, number, _ in console.counts(since)]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def sleep_across_a_move(guest, seconds):
    """How late the guest woke by its own clock; None if it did before the move ended. By the host's clock it was not early."""
    since, began = guest.console.position(), time.monotonic()
    up = "$(cut -d' ' -f1 /proc/uptime)"
    first = guest.shell(f"first={up}; (sleep {seconds}; echo slept until {up}) & echo sleeps from $first",
                        r"sleeps from ([\d.]+)").group(1)
    move(guest)
    guest.console.settle()
    slept_through = any(re.search(r"slept until \d", line.text) for line in guest.console.lines[since:])
    woke = guest.console.wait(r"slept until ([\d.]+)", since=since).group(1)
    assert time.monotonic() - began >= 0.99 * seconds
    return None if slept_through else float(woke) - float(first) - seconds


def test_timers_that_wait_across_a_move_fire_after_it(boot_amd64):
    """A host may be too busy to wake a guest in time, and not each time; a timer that is lost is late each time."""
    guest = boot_amd64(run="shell", ready="guest# ", disk=False)
    late = []
    for seconds in (4, 8, 16, 32):
        late.append(sleep_across_a_move(guest, seconds))
        if late[-1] is not None and late[-1] <= 2:
            break
    assert late[-1] is not None and -0.02 <= late[-1] <= 2, late


def test_a_stopped_guest_arrives_stopped_and_its_clock_is_right_when_it_runs(boot_amd64):
    guest = boot_amd64(run="shell", ready="guest# ", disk=False)
    clock = ClockWatch(guest)
    guest.machine.qmp("stop")
    receiver = guest.receiver("tcp:127.0.0.1:0")
    guest.machine.migrate(receiver.uri)
    assert guest.machine.wait_migration()["status"] == "completed"
    receiver.wait_status("paused")
    guest.arrived(receiver)
    time.sleep(2)
    receiver.qmp("cont")
    clock.check("after 2 s at a stop")
    assert guest.shell("check-dmesg", "dmesg: .*nothing wrong")


def boots_again(guest, since):
    guest.console.wait("godwit: user space", since=since)
    guest.console.wait("guest# ", since=since)
    assert guest.shell("echo again $(nproc)", "^again 2")
    assert guest.shell("for cpu in 1 2; do taskset $cpu sleep 0.1; done; echo timers fire", "^timers fire")


@pytest.mark.parametrize("moved", [False, True], ids=["at home", "after a move"])
@pytest.mark.parametrize("way", ["", "reboot=t"], ids=["by acpi", "by triple fault"])
def test_reboot(boot_amd64, way, moved):
    guest = boot_amd64(run="shell", ready="guest# ", append=way)
    if moved:
        move(guest)
    since = guest.console.position()
    guest.console.send("reboot -f\n")
    assert guest.machine.qmp.wait_event("RESET")["data"]["guest"] is True
    boots_again(guest, since)


def test_reset_by_the_host(boot_amd64):
    guest = boot_amd64(run="shell", ready="guest# ")
    since = guest.console.position()
    guest.machine.qmp("system_reset")
    assert guest.machine.qmp.wait_event("RESET")["data"]["guest"] is False
    boots_again(guest, since)


@pytest.mark.parametrize("cpu", [0, 1])
def test_a_panic_that_asks_for_a_reboot_gets_one(boot_amd64, cpu):
    """On either CPU: the second one must come up again also when it is the one that fell."""
    guest = boot_amd64(run="shell", ready="guest# ", append="panic=1", disk=False)
    since = guest.console.position()
    guest.console.send(f"exec taskset {1 << cpu} sh -c 'echo c >/proc/sysrq-trigger'\n")
    guest.console.wait("Kernel panic - not syncing: sysrq triggered crash", since=since)
    boots_again(guest, guest.console.position())


@pytest.mark.parametrize("moved", [False, True], ids=["at home", "after a move"])
def test_the_power_button(boot_amd64, moved):
    guest = boot_amd64(run="shell", ready="guest# ", disk=False)
    if moved:
        move(guest)
    guest.machine.qmp("system_powerdown")
    guest.console.wait("godwit: power button")
    assert guest.machine.qmp.wait_event("SHUTDOWN")["data"] == {"guest": True, "reason": "guest-shutdown"}
    assert guest.machine.wait_exit() == 0


def test_memory_on_both_sides_of_the_hole(boot_amd64):
    guest = boot_amd64(memory="5G", disk=False, append="godwit.memory=64 godwit.rate=32")
    guest.console.wait(r"memory: \d+ visits")
    kilobytes = guest.shell("grep MemTotal /proc/meminfo", r"MemTotal: +(\d+) kB").group(1)
    assert 4.7 * 2**20 <= int(kilobytes) <= 5 * 2**20
    top = guest.shell("grep 'System RAM' /proc/iomem | tail -n 1", r"100000000-([0-9a-f]+) : System RAM").group(1)
    assert int(top, 16) + 1 == (5 << 30) + HOLE_BYTES
    guest.shell("finish", "memory: swept .*all good")
    assert guest.console.bad_lines() == []
    assert not any(re.search("out of memory", line.text, re.I) for line in guest.console.lines)
