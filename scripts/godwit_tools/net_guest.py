# SPDX-License-Identifier: Apache-2.0
"""The bare guest of tests/guest/net, which answers, sends or counts frames."""

import re

from .bare_guest import BareGuest
from .patience import PATIENCE_S

READY = re.compile(r"net: ready mac=([0-9a-f:]{17})")
REPORT = re.compile(r"^net: (t_ms=.* late=\d+)$")


def numbers(match):
    """The words of a report line as a dict: in, in_bytes, out, out_bytes since the last; all_in, … since the start."""
    return {key: int(value) for key, value in (word.split("=") for word in match.group(1).split())}


class NetGuest(BareGuest):
    """Its reports come when asked for, unless `append` says report=MS."""

    program = "net"

    def __init__(self, directory, append, **options):
        super().__init__(directory, f"report=0 {append}", **{"memory": "64M", **options})

    @property
    def mac(self):
        return self.console.wait(READY.pattern).group(1)

    def wait_report(self, timeout_s=PATIENCE_S):
        since = self.console.position()
        self.console.send("r")
        return numbers(self.console.wait(REPORT.pattern, timeout_s, since))
