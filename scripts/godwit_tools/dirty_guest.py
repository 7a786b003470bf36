# SPDX-License-Identifier: Apache-2.0
"""The bare guest of tests/guest/dirty, which writes memory and knows what every page must hold."""

import re

from .bare_guest import BareGuest
from .patience import PATIENCE_S

REPORT = re.compile(r"dirty: t_ms=(\d+) visits=(\d+) gap_us=(\d+) bad=0")


class DirtyGuest(BareGuest):
    program = "dirty"

    def __init__(self, directory, append, cpus=1, **options):
        super().__init__(directory, f"cpus={cpus} {append}", cpus=cpus, **options)

    def reports(self, since=0):
        """(t_ms, visits, gap_us) of each report."""
        found = (REPORT.search(line.text) for line in self.console.lines[since:])
        return [tuple(map(int, match.groups())) for match in found if match]

    def wait_report(self, timeout_s=PATIENCE_S):
        return self.press("r", REPORT.pattern, timeout_s)

    def verify(self, timeout_s=PATIENCE_S):
        """The guest compares all its pages that no other of its CPUs is writing."""
        self.press("v", r"dirty: verified pages=\d+ bad=0", timeout_s)
