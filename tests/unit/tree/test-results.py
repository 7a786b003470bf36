# SPDX-License-Identifier: Apache-2.0
"""The counts of a check come from what the runners write for machines, whatever their release prints for people."""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from tree import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
from godwit_tools.results import Counts, from_meson, from_pytest, from_report, report_file  # noqa: E402

REPORTED = ROOT / "scripts/godwit_tools/reported.py"
CMOCKA = """#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
static void good(void **state) { (void) state; }
static void bad(void **state) { (void) state; printf("[  PASSED  ] 99 test(s).\\n"); assert_string_equal("a<b\\x01", "]]>"); }
static void away(void **state) { (void) state; print_message("skipped: no tea\\n"); skip(); }
static void gone(void **state) { (void) state; print_message("skipped: no milk\\n"); skip(); }
static void crash(void **state) { (void) state; abort(); }
int main(int count, char **words)
{
    const struct CMUnitTest first[] = {cmocka_unit_test(good), cmocka_unit_test(away), cmocka_unit_test(gone)};
    const struct CMUnitTest second[] = {cmocka_unit_test(good), cmocka_unit_test(bad)};
    const struct CMUnitTest third[] = {cmocka_unit_test(good), cmocka_unit_test(crash)};
    if (count > 1 && words[1][0] == 'q')
        _exit(0);
    int failed = cmocka_run_group_tests(first, NULL, NULL);
    if (count > 1 && words[1][0] == 'b')
        failed += cmocka_run_group_tests(second, NULL, NULL);
    if (count > 1 && words[1][0] == 'c')
        failed += cmocka_run_group_tests(third, NULL, NULL);
    return failed;
}
"""
PYTEST = """import pytest, unittest
class Cases(unittest.TestCase):
    def test_good(self): pass
    def test_bad(self): self.assertEqual(1, 2)
    def test_away(self): self.skipTest("no coffee")
def test_known(): pytest.xfail("known fault: it rains (docs/weather.md)")
"""


class Results(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="godwit results ")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def run_reported(self, *command):
        """As `meson test --wrapper` does; the line of meson's log for it."""
        wrapped = [sys.executable, "-B", str(REPORTED), str(self.directory), "--", *map(str, command)]
        done = subprocess.run(wrapped, capture_output=True, text=True, env={**os.environ, "CMOCKA_TEST_ABORT": "0"})
        return {"name": "x", "result": "OK" if done.returncode == 0 else "FAIL", "command": wrapped,
                "stdout": done.stdout, "stderr": done.stderr}

    def count(self, *lines):
        log = self.directory / "testlog.json"
        log.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return from_meson(log, self.directory)

    def cmocka_program(self):
        source, program = self.directory / "cases.c", self.directory / "cases"
        source.write_text(CMOCKA)
        subprocess.run(["cc", "-o", program, source, "-lcmocka"], check=True)
        return program

    def test_cases_of_cmocka_are_counted_whatever_they_print(self):
        program = self.cmocka_program()
        counts = self.count(self.run_reported(program))
        self.assertEqual(("1 passed, 0 failed, 2 skipped", [["x", "away", "no tea"], ["x", "gone", "no milk"]]),
                         (str(counts), counts.reasons))
        counts = self.count(self.run_reported(program, "bad"))
        self.assertEqual("2 passed, 1 failed, 2 skipped", str(counts))
        self.assertIn("x: bad\n", counts.failures[0])
        self.assertIn("a<b", counts.failures[0])

    def test_a_crash_after_good_cases_is_a_failure(self):
        counts = self.count(self.run_reported(self.cmocka_program(), "crash"))
        self.assertEqual((1, ["x\nended as FAIL"]), (counts.failed, counts.failures))

    def test_cases_of_pytest_are_counted_and_known_faults_are_seen(self):
        cases = self.directory / "test-cases.py"
        cases.write_text(PYTEST)
        counts = self.count(self.run_reported(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", cases))
        self.assertEqual("1 passed, 1 failed, 2 skipped", str(counts))
        self.assertEqual([["x", "test_away", "no coffee"]], counts.reasons)
        self.assertEqual(["x: test_known: it rains (docs/weather.md)"], counts.known_faults)

    def test_a_program_without_cases_is_one(self):
        self.assertEqual("1 passed, 0 failed, 0 skipped", str(self.count(self.run_reported("/bin/true"))))
        self.assertEqual("0 passed, 1 failed, 0 skipped", str(self.count(self.run_reported("/bin/false"))))
        skipped = {**self.run_reported("/bin/echo", "no KVM here"), "result": "SKIP"}
        self.assertEqual([["x", "", "no KVM here"]], self.count(skipped).reasons)

    def test_a_program_that_fails_after_good_cases_fails(self):
        line = {**self.run_reported(self.cmocka_program()), "result": "TIMEOUT"}
        self.assertEqual("1 passed, 1 failed, 2 skipped", str(self.count(line)))

    def test_failed_cases_are_failures_whatever_the_status_says(self):
        line = {**self.run_reported(self.cmocka_program(), "bad"), "result": "OK"}
        self.assertEqual(1, self.count(line).failed)

    def test_one_that_leaves_before_its_report_fails(self):
        self.assertEqual("0 passed, 1 failed, 0 skipped", str(self.count(self.run_reported(self.cmocka_program(), "quit"))))
        cases = self.directory / "test-leaves.py"
        cases.write_text("import os\ndef test_leaves(): os._exit(0)\ndef test_bad(): assert 0\n")
        line = self.run_reported(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", cases)
        self.assertEqual("0 passed, 1 failed, 0 skipped", str(self.count(line)))

    def test_failed_cases_are_not_skipped_by_a_status(self):
        line = {**self.run_reported(self.cmocka_program(), "bad"), "result": "SKIP"}
        self.assertEqual(1, self.count(line).failed)

    def test_a_pytest_that_ends_early_fails(self):
        for body in ("pytest.exit('enough', returncode=3)", "os.kill(os.getpid(), 2)", "os._exit(0)"):
            cases, report = self.directory / "test-early.py", self.directory / "early.xml"
            cases.write_text(f"import os, pytest\ndef test_good(): pass\ndef test_ends(): {body}\ndef test_bad(): assert 0\n")
            report.unlink(missing_ok=True)
            done = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}", cases],
                                  capture_output=True)
            self.assertEqual(1, from_pytest(report, "x", done.returncode).failed, body)
        self.assertEqual(1, from_pytest(report, "none was collected", 5).failed)

    def test_a_report_of_an_earlier_run_is_not_counted(self):
        report_file(self.directory, ["/bin/true"]).write_text('<testsuite><testcase name="old"/><testcase name="older"/></testsuite>')
        self.assertEqual(1, self.count(self.run_reported("/bin/true")).passed)

    def test_two_tests_do_not_share_a_report(self):
        line = self.run_reported("/bin/true")
        self.assertEqual(1, self.count(line, line).failed)

    def test_a_torn_report_is_a_failure(self):
        line = self.run_reported("/bin/true")
        report_file(self.directory, ["/bin/true"]).write_text("<testsuite><testcase")
        self.assertEqual("0 passed, 1 failed, 0 skipped", str(self.count(line)))

    def test_counts_add_up(self):
        total = Counts(1, 0, 1, ["a"])
        total.add(Counts(2, 1, 0, [], ["b"], ["c"]))
        self.assertEqual(Counts(3, 1, 1, ["a"], ["b"], ["c"]), total)
        report = self.directory / "r.xml"
        report.write_text('<testsuites><testsuite><testcase name="t"><error message="m"/></testcase></testsuite></testsuites>')
        self.assertEqual(["y: t\nm"], from_report(report, "y").failures)
