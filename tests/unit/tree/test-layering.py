#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The layering law of docs/architecture.md: no include may point to a layer that stands higher."""

import re
import unittest

from tree import ROOT, c_files

LIBRARY = {"base", "state", "wire", "memory", "migrate"}
MACHINE = {"base", "state", "memory", "cpu", "device", "block", "net"}
MAY_SEE = {
    "base": {"base"},
    "state": {"base", "state"},
    "wire": {"base", "wire"},
    "memory": {"base", "state", "wire", "memory"},
    "migrate": LIBRARY,
    "cpu": {"base", "state", "memory", "cpu"},
    "device": {"base", "state", "memory", "device"},
    "block": {"base", "state", "memory", "block"},
    "net": {"base", "state", "memory", "net"},
    "virtio": MACHINE | {"virtio"},
    "board": MACHINE | {"virtio", "board"},
    "vmm": LIBRARY | MACHINE | {"virtio", "board", "vmm"},
    "cli": {"base", "cli", "public"},
    "host": {"base", "host", "public"},
}
# Layer of each public header. Programs that use only the library see all of them.
PUBLIC = {"error.h": "base", "buf.h": "base", "state.h": "state", "memory.h": "memory",
          "migrate.h": "migrate", "flight-log.h": "migrate"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def layer_of(path):
    """src/cpu/riscv/decode.c -> cpu; include/godwit/state.h -> state"""
    parts = path.split("/")
    return PUBLIC.get(parts[2], "?") if parts[0] == "include" else parts[1]


def included_layer(quote, target):
    """The layer an include reaches into; None for the system's headers."""
    if target.startswith("godwit/"):
        return PUBLIC.get(target.partition("/")[2], "?")
    return target.partition("/")[0] if quote == '"' and "/" in target else None


def violations(path, text):
    layer = layer_of(path)
    may_see = MAY_SEE.get(layer, set())
    for match in INCLUDE.finditer(text):
        target = match.group(2)
        reached = included_layer(match.group(1), target)
        public = target.startswith("godwit/") and "public" in may_see
        if reached is not None and reached not in may_see and not public:
            yield f"{path}: layer {layer} must not include {target} of layer {reached}"


class Layering(unittest.TestCase):
    def test_no_include_points_up(self):
        found = [line for path in c_files() if path.startswith(("src/", "include/"))
                 for line in violations(path, (ROOT / path).read_text())]
        self.assertEqual([], found)

    def test_every_public_header_has_a_layer(self):
        headers = {path.rpartition("/")[2] for path in c_files() if path.startswith("include/")}
        self.assertEqual(set(), headers - set(PUBLIC), "give the header its layer in PUBLIC")

    def test_every_folder_is_a_layer(self):
        folders = {path.split("/")[1] for path in c_files() if path.startswith("src/")}
        self.assertEqual(set(), folders - set(MAY_SEE), "give the folder its place in MAY_SEE")

    def test_an_upward_include_is_found(self):
        for path, line in [("src/base/x.c", '#include "wire/wire.h"'),
                           ("src/wire/x.c", '#include <godwit/memory.h>'),
                           ("src/device/x.c", '#include "virtio/queue.h"'),
                           ("src/board/x.c", '# include <godwit/migrate.h>'),
                           ("src/migrate/x.c", '#include "cpu/riscv/cpu.h"'),
                           ("src/cli/x.c", '#include "vmm/qmp.h"')]:
            self.assertEqual(1, len(list(violations(path, line + "\n"))), f"{path} {line}")

    def test_a_downward_include_is_allowed(self):
        for path, line in [("src/vmm/x.c", '#include "board/board.h"'),
                           ("src/virtio/x.c", '#include "device/device.h"'),
                           ("src/cli/x.c", '#include <godwit/migrate.h>')]:
            self.assertEqual([], list(violations(path, line + "\n")))
