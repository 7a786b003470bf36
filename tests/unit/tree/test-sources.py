#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What every file of the tree keeps to: licence line, no foreign names, no banned functions, no tabs."""

import re
import unittest

from tree import ROOT, c_files, tree_files

WITHOUT_LICENCE = {"LICENSE", ".gitignore", ".clang-format"}
DATA = re.compile(r"\.(json|jsonl|md|svg|png|bin|hex|gz|zst|stream|golden)$|^tests/golden/")
# Spelled in halves, so that this file does not find itself. The tree names no package mirror and nothing
# of the machine it was written on.
FORBIDDEN = ["deb.deb" + "ian.org", "snapshot.deb" + "ian.org", "/tmp" + "/wt", "/work" + "/"]
BANNED_CALLS = re.compile(r"(?<![\w.>])(atoi|atol|sprintf|vsprintf|strcpy|strcat|gets|strtok)\s*\(")
# Python starts programs with a list of words. C has system() and popen(): a path in their commands is one quoted word.
SHELLS = re.compile(r"shell\s*=\s*True|os\.system\(|os\.popen\(|getoutput\(")
C_SHELLS = re.compile(r"(?<![\w.>])(system|popen)\s*\(")
WITHOUT_PATHS = {"tests/unit/board/images-test.h", "tests/unit/net/test-qemu.c"}    # names that they make themselves
# Ways to a terminal past the place that makes text harmless and fits it to the width.
PRINTING = re.compile(r"\b(printf|vprintf|puts|putchar|perror|json_dumpf)\s*\("
                      r"|\b(fputs|fputc|putc|fprintf|vfprintf|fwrite)\s*\(.*\bstd(out|err)\b|\bwrite(_all)?\s*\(STD")
PRINTS = {"src/cli/say.c", "src/cli/viewer.c"}  # the latter is the guest's terminal
CONFLICT = re.compile(r"^(<{7}|>{7}|\|{7}) ")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


def read(path):
    return (ROOT / path).read_text(errors="replace")


def lines_matching(pattern, paths):
    return [f"{path}:{number}: {line.strip()}" for path in paths
            for number, line in enumerate(read(path).splitlines(), 1) if pattern.search(line)]


class Sources(unittest.TestCase):
    def test_licence_line_is_first(self):
        bare = [path for path in tree_files()
                if path not in WITHOUT_LICENCE and not DATA.search(path)
                and "SPDX-License-Identifier: Apache-2.0" not in "\n".join(read(path).splitlines()[:4])]
        self.assertEqual([], bare)

    def test_no_foreign_names(self):
        pattern = re.compile("|".join(map(re.escape, FORBIDDEN)))
        self.assertEqual([], lines_matching(pattern, tree_files()))

    def test_no_banned_calls(self):
        self.assertEqual([], lines_matching(BANNED_CALLS, [path for path in c_files() if not path.startswith("tests/")]))

    def test_no_path_is_read_by_a_shell(self):
        self.assertEqual([], lines_matching(SHELLS, [path for path in tree_files() if path != "tests/unit/tree/test-sources.py"
                                                     and (path.endswith(".py") or "python3" in read(path)[:80])]))
        for path in c_files():
            if C_SHELLS.search(read(path)) and path not in WITHOUT_PATHS:
                self.assertIn("shell_word(", read(path), f"{path}: {C_SHELLS.search(read(path))[0]}")

    def test_the_tool_prints_in_one_place(self):
        others = [path for path in c_files() if path.startswith("src/cli/") and path not in PRINTS]
        self.assertEqual([], lines_matching(PRINTING, others))

    def test_nothing_unfinished(self):
        self.assertEqual([], lines_matching(UNFINISHED, c_files()))
        self.assertEqual([], lines_matching(CONFLICT, tree_files()))

    def test_no_tabs(self):
        self.assertEqual([], lines_matching(re.compile(r"\t"), c_files()))
