# SPDX-License-Identifier: Apache-2.0
"""Debian's kernel on the board."""

import time

import pytest


@pytest.mark.sanitized
def test_boots_to_a_shell_prompt_with_one_hart(boot):
    guest = boot(run="shell", ready="guest# ")
    assert guest.shell("echo $((6 * 7)) harts $(nproc)", r"^42 harts 1")


def test_boots_to_a_shell_prompt_with_four_harts(boot):
    guest = boot(run="shell", ready="guest# ", cpus=4)
    assert guest.shell("echo $((6 * 7)) harts $(nproc)", r"^42 harts 4")


def test_the_guest_sees_its_devices(boot):
    guest = boot(run="shell", ready="guest# ")
    assert guest.shell("blockdev --getsize64 /dev/vda", r"^67108864")
    assert guest.shell("cat /sys/class/misc/hw_random/rng_current", r"^virtio_rng")
    assert guest.shell("date +%s", r"^\d{10}")


def test_the_clock_of_the_guest_is_that_of_the_host(boot):
    guest = boot(run="shell", ready="guest# ", disk=False)
    asked = time.time()
    told = int(guest.shell("date +%s", r"^(\d{10})").group(1))
    assert asked - 3 <= told <= time.time() + 3


def test_leaving_the_shell_powers_off(boot):
    guest = boot(run="shell", ready="guest# ", disk=False)
    guest.console.send("exit\n")
    assert guest.machine.wait_exit() == 0


def test_reset_boots_again(boot):
    guest = boot(run="shell", ready="guest# ", disk=False)
    since = guest.console.position()
    guest.machine.qmp("system_reset")
    guest.console.wait("guest# ", since=since)
    assert guest.machine.qmp.wait_event("RESET")["data"]["guest"] is False


def test_a_stopped_guest_is_silent_and_goes_on(boot):
    guest = boot(append="godwit.memory=0", disk=False)
    guest.console.wait_count()
    guest.machine.qmp("stop")
    guest.console.settle()
    since = guest.console.position()
    time.sleep(0.7)
    assert guest.console.counts(since) == []
    guest.machine.qmp("cont")
    guest.console.wait_count()


def test_the_guest_notices_a_damaged_disk(boot):
    """The check that the migration tests rely on can fail."""
    guest = boot(append="godwit.memory=0")
    guest.console.wait(r"disk: \d+ visits")
    guest.console.send("dd if=/dev/zero of=/dev/vda bs=4096 count=2048 conv=fsync\n")
    guest.console.wait("godwit: BAD disk page")


def test_the_state_of_the_disk_survives_the_process(boot, image):
    guest = boot(run="shell", ready="guest# ")
    guest.shell("mount-disk; echo mounted", "^mounted")
    guest.shell("echo kept >/mnt/note; umount /mnt && echo unmounted", "^unmounted")
    guest.console.send("exit\n")
    assert guest.machine.wait_exit() == 0
    assert b"kept\n" in guest.disk.read_bytes()
