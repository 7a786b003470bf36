#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks docs/handoff.pml with spin: the claims hold, and each mutant breaks the claim that it is about."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

MODEL = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "..", "docs", "handoff.pml"))


def errors(claim, *defines):
    """Number of errors that an exhaustive search for `claim` finds."""
    with tempfile.TemporaryDirectory() as folder:
        def run(*command):
            return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True,
                                  timeout=600).stdout
        shutil.copy(MODEL, folder)      # spin hands the path to a shell
        run("spin", "-a", *(f"-D{name}" for name in defines), os.path.basename(MODEL))
        run("cc", "-O1", "-w", "-o", "pan", "pan.c")
        printed = run("./pan", "-a", "-f", "-m100000", "-N", claim)
    counts = [line for line in printed.splitlines() if "errors:" in line]
    found = int(counts[-1].rsplit("errors:", 1)[1])
    if found == 0 and ("Search not completed" in printed or "max search depth too small" in printed):
        raise AssertionError("the search was not exhaustive:\n" + printed)
    return found


class Handoff(unittest.TestCase):
    def test_never_two_owners(self):
        self.assertEqual(0, errors("never_two"))

    def test_never_two_owners_when_the_destination_may_die(self):
        self.assertEqual(0, errors("never_two", "DEATHS"))

    def test_one_side_runs_when_the_link_comes_back(self):
        self.assertEqual(0, errors("one_runs"))

    def test_a_source_that_resumes_unasked_is_caught(self):
        self.assertLess(0, errors("never_two", "MUTANT_RESUME_UNASKED"))

    def test_an_answer_that_was_not_recorded_is_caught(self):
        self.assertLess(0, errors("never_two", "MUTANT_ANSWER_UNRECORDED"))
