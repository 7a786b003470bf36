# SPDX-License-Identifier: Apache-2.0
"""
A move changes nothing. Under the instruction clock a reference run of a kernel boot and a workload (floating point,
atomics, timer signals, disk) tells a hash of harts, devices and RAM at fixed instruction counts. A second run, moved
to a fresh process at hundreds of other counts, must tell the same hash at every one of them.
"""

import os
import random
import shutil

import pytest

from godwit_tools.console import Console
from godwit_tools.machine import Guest
from godwit_tools.patience import LONG_BUDGET_MS

MOVES = int(os.environ.get("GODWIT_TRANSPARENCY_MOVES", 220))
STEP = 20_000_000           # instructions between two hashes
BURST = 12                  # moves one instruction apart, at several places
END = int(os.environ.get("GODWIT_TRANSPARENCY_END", 0))   # 0: where the workload ends
LIMIT = 4_000_000_000


def run_until(machine, instructions):
    """Runs to the count; False when the guest powered off before."""
    since = len(machine.qmp.events)
    try:
        machine.qmp("x-godwit-run-until", instructions=instructions)
        machine.qmp.wait_event("X_GODWIT_REACHED", lambda d: d["instructions"] == instructions, since=since)
        return True
    except (TimeoutError, ConnectionError):
        if any(e["event"] == "SHUTDOWN" for e in machine.qmp.events):
            return False
        raise


def state_of(machine):
    answer = machine.qmp("x-godwit-hash")
    return answer["instructions"], answer["state"], answer["ram"]


class Run:
    """One life of the deterministic guest."""

    def __init__(self, directory, image):
        directory.mkdir()
        disk = directory / "disk.img"
        shutil.copy(image.disk, disk)
        self.guest = Guest(
            directory, image, Console(directory / "console"), disk=disk, memory="128M",
            append="godwit.run=workload godwit.rounds=12",
            options=["--clock", "instructions", "--seed", "7", "--paused"], budget_ms=LONG_BUDGET_MS).boot()

    @property
    def machine(self):
        return self.guest.machine

    def move(self):
        # A path of its own for each: a machine that has just arrived may still listen on the last one.
        host = self.guest.new_host()
        uri = f"unix:{host.run_dir}/wire"
        receiver = self.guest.receiver(uri, host=host)
        self.machine.set(x_godwit_verify_ram=True)
        self.machine.migrate(uri)
        info = self.machine.wait_migration()
        assert info["status"] == "completed", info.get("error-desc")
        receiver.wait_status("paused", "prelaunch")
        self.guest.arrived(receiver)

    def digests(self):
        return [line.text for line in self.guest.console.lines if line.text.startswith("workload:")]

    def close(self):
        self.guest.close()


@pytest.fixture(scope="module")
def reference(tmp_path_factory, image):
    """Hashes of a run that never moves: {instructions: (instructions, state, ram)}, and what it printed."""
    run = Run(tmp_path_factory.mktemp("reference") / "run", image)
    hashes, count = {}, STEP
    try:
        while count <= (END or LIMIT) and run_until(run.machine, count):
            hashes[count] = state_of(run.machine)
            count += STEP
        yield hashes, run.digests()
    finally:
        run.close()


def choose_moves(last, seed):
    """Counts to move at: spread over the run, random, bursts of neighbours; more of them late, where the
    workload's disk requests and timer interrupts are."""
    generator = random.Random(seed)
    burst_starts = [generator.randrange(last // 2, last) for _ in range(4)]
    chosen = {start + i for start in burst_starts for i in range(BURST)}
    while len(chosen) < MOVES:
        low = 0 if generator.random() < 0.4 else last * 3 // 4
        chosen.add(generator.randrange(low + 1, last))
    return sorted(chosen)


def test_two_runs_are_equal(reference, tmp_path, image):
    hashes, _ = reference
    counts = sorted(hashes)
    run = Run(tmp_path / "run", image)
    try:
        for count in (counts[0], counts[len(counts) // 2]):
            assert run_until(run.machine, count)
            assert state_of(run.machine) == hashes[count]
    finally:
        run.close()


def test_a_run_that_moves_is_the_run_that_never_moved(reference, tmp_path, image):
    hashes, digests = reference
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    last = max(hashes)
    stops = sorted({*hashes, *(moves := set(choose_moves(last, seed)))})
    run, moved = Run(tmp_path / "run", image), 0
    try:
        for count in stops:
            assert run_until(run.machine, count), f"powered off before {count}"
            if count in moves:
                run.move()
                moved += 1
            if count in hashes:
                assert state_of(run.machine) == hashes[count], f"after {moved} moves, seed {seed}"
        printed = run.digests()
    finally:
        run.close()
    assert moved >= min(200, MOVES)
    assert printed == digests[:len(printed)] and printed
