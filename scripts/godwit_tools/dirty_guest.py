# SPDX-License-Identifier: Apache-2.0
"""The bare x86-64 guest of tests/guest/dirty, which writes memory and knows what every page must hold."""

import os
import re

from .console import Console
from .machine import Host, Machine
from .paths import build_dir

REPORT = re.compile(r"dirty: t_ms=(\d+) visits=(\d+) gap_us=(\d+) bad=0")


def dirty_elf():
    return build_dir() / "tests" / "guest" / "dirty" / "dirty.elf"


def why_no_kvm():
    """A sentence if machines on KVM cannot run here, else None."""
    if os.uname().machine != "x86_64":
        return f"machines on KVM need an x86-64 host, this is {os.uname().machine}"
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR))
    except OSError as error:
        return f"/dev/kvm does not open here: {error.strerror}"
    return None


class DirtyGuest:
    """Moves from process to process; its serial line stays one text."""

    def __init__(self, directory, append, memory="32M", cpus=1, options=()):
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self.memory, self.cpus, self.options = directory, memory, cpus, list(options)
        self.append = f"cpus={cpus} {append}"
        self.console = Console(directory / "console")
        self.machine = None
        self.boots = 1   # that there may have been by now
        self._hosts = 0

    def new_host(self):
        self._hosts += 1
        return Host(self.directory / f"host{self._hosts}")

    def boot(self, timeout_s=60):
        self.machine = Machine(
            self.new_host(), "guest", "--kernel", dirty_elf(), "--append", self.append, "--memory", self.memory,
            "--cpus", self.cpus, "--serial", self.console.serial, *self.options)
        self.wait("dirty: ready", timeout_s)
        return self

    def receiver(self, uri="tcp:127.0.0.1:0", options=None):
        return Machine(self.new_host(), "guest", "--incoming", uri, "--serial", self.console.serial,
                       *(self.options if options is None else options))

    def arrived(self, machine):
        old, self.machine = self.machine, machine
        old.close()

    def wait(self, pattern, timeout_s=30, since=0):
        """The match of a line; at once an error if the guest found something wrong."""
        found = self.console.wait(f"({pattern})|BAD .*", timeout_s, since)
        if found.group(0).startswith("BAD"):
            raise AssertionError(f"the guest found: {found.group(0)}; before that:\n{self.console.tail()}")
        return found

    def bad_lines(self):
        """What went wrong, a start that nobody asked for included."""
        bad = [line.text for line in self.console.lines if "BAD" in line.text]
        boots = sum(line.text.startswith("dirty: ready") for line in self.console.lines)
        if boots > self.boots:
            bad.append(f"the guest has started {boots} times instead of {self.boots}")
        return bad

    def restart(self, key):
        """The guest starts over, as the key asks it to."""
        self.boots += 1
        self.press(key, "dirty: ready")

    def reports(self, since=0):
        """(t_ms, visits, gap_us) of each report."""
        found = (REPORT.search(line.text) for line in self.console.lines[since:])
        return [tuple(map(int, match.groups())) for match in found if match]

    def wait_report(self, timeout_s=30):
        return self.press("r", REPORT.pattern, timeout_s)

    def verify(self, timeout_s=60):
        """The guest compares all its pages that no other of its CPUs is writing."""
        self.press("v", r"dirty: verified pages=\d+ bad=0", timeout_s)

    def press(self, key, pattern, timeout_s=30):
        since = self.console.position()
        self.console.send(key)
        return self.wait(pattern, timeout_s, since)

    def close(self):
        if self.machine:
            self.machine.close()
        self.console.close()
