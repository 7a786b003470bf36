# SPDX-License-Identifier: Apache-2.0
"""Bare x86-64 guests (tests/guest/), which say lines on their serial port and obey keys."""

import os

from .console import Console
from .machine import Host, Machine
from .patience import LONG_BUDGET_MS, LONG_SILENCE_MS, PATIENCE_S
from .paths import build_dir


def bare_elf(name):
    return build_dir() / "tests" / "guest" / name / f"{name}.elf"


def why_no_kvm():
    """A sentence if machines on KVM cannot run here, else None."""
    if os.uname().machine != "x86_64":
        return f"machines on KVM need an x86-64 host, this is {os.uname().machine}"
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR))
    except OSError as error:
        return f"/dev/kvm does not open here: {error.strerror}"
    return None


class BareGuest:
    """Moves from process to process; its serial line stays one text."""

    program = None

    def __init__(self, directory, append, memory="32M", cpus=1, options=()):
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self.memory, self.cpus, self.options = directory, memory, cpus, list(options)
        self.append = append
        self.console = Console(directory / "console")
        self.machine = None
        self.boots = 1   # that there may have been by now
        self._hosts = 0

    def new_host(self, namespace=None):
        self._hosts += 1
        return Host(self.directory / f"host{self._hosts}", namespace)

    def boot(self, timeout_s=PATIENCE_S, host=None):
        kernel = bare_elf(self.program)
        if not kernel.exists():
            raise FileNotFoundError(f"there is no {kernel}: build first")
        self.machine = Machine(
            host or self.new_host(), "guest", "--kernel", kernel, "--append", self.append,
            "--memory", self.memory, "--cpus", self.cpus, "--serial", self.console.serial, *self.options)
        self.machine.set(downtime_limit=LONG_BUDGET_MS, x_godwit_peer_timeout=LONG_SILENCE_MS)
        self.wait(f"{self.program}: ready", timeout_s)
        return self

    def receiver(self, uri="tcp:127.0.0.1:0", options=None, host=None):
        return Machine(host or self.new_host(), "guest", "--incoming", uri, "--serial", self.console.serial,
                       *(self.options if options is None else options))

    def arrived(self, machine):
        old, self.machine = self.machine, machine
        machine.set(downtime_limit=LONG_BUDGET_MS, x_godwit_peer_timeout=LONG_SILENCE_MS)
        old.close()

    def wait(self, pattern, timeout_s=PATIENCE_S, since=0):
        """The match of a line; at once an error if the guest found something wrong."""
        found = self.console.wait(f"({pattern})|BAD .*", timeout_s, since)
        if found.group(0).startswith("BAD"):
            raise AssertionError(f"the guest found: {found.group(0)}; before that:\n{self.console.tail()}")
        return found

    def bad_lines(self):
        """What went wrong, a start that nobody asked for included."""
        bad = [line.text for line in self.console.lines if "BAD" in line.text]
        boots = sum(line.text.startswith(f"{self.program}: ready") for line in self.console.lines)
        if boots > self.boots:
            bad.append(f"the guest has started {boots} times instead of {self.boots}")
        return bad

    def press(self, key, pattern, timeout_s=PATIENCE_S):
        since = self.console.position()
        self.console.send(key)
        return self.wait(pattern, timeout_s, since)

    def restart(self, key):
        """The guest starts over, as the key asks it to."""
        self.boots += 1
        self.press(key, f"{self.program}: ready")

    def close(self):
        if self.machine:
            self.machine.close()
        self.console.close()
