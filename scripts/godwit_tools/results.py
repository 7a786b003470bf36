# SPDX-License-Identifier: Apache-2.0
"""Counts of test cases, read from what each runner leaves behind."""

import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field


@dataclass
class Counts:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    reasons: list = field(default_factory=list)   # of skips, for people

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.reasons += other.reasons

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def _sum(pattern, text):
    return sum(int(number) for number in re.findall(pattern, text, re.MULTILINE))


def _cmocka(text):
    return Counts(passed=_sum(r"\[  PASSED  \] (\d+) test", text),
                  failed=_sum(r"\[  FAILED  \] (\d+) test", text),
                  skipped=_sum(r"\[  SKIPPED \] (\d+) test", text))


def _unittest(text):
    ran = _sum(r"^Ran (\d+) tests? in", text)
    failed = _sum(r"(?:failures|errors)=(\d+)", text)
    skipped = _sum(r"skipped=(\d+)", text)
    return Counts(max(ran - failed - skipped, 0), failed, skipped)


def _count_program(test):
    """One program of meson's log: its cases if it tells them, else itself as one."""
    result, name = test["result"], test["name"]
    text = test.get("stdout", "") + "\n" + test.get("stderr", "")
    if result == "SKIP":
        return Counts(skipped=1, reasons=[f"{name}: {text.strip().splitlines()[-1] if text.strip() else 'skipped itself'}"])
    counts = _cmocka(text) if "[==========]" in text else _unittest(text)
    if counts.skipped:
        told = re.findall(r"^skipped: (.*)", text, re.MULTILINE)
        counts.reasons.append(f"{name}: {'; '.join(told) or f'{counts.skipped} cases skipped themselves'}")
    if result not in ("OK", "EXPECTEDFAIL"):
        counts.failed = max(counts.failed, 1)
    elif counts.passed + counts.failed + counts.skipped == 0:
        counts.passed = 1
    elif counts.failed:
        # A program that reports failed cases and still exits with 0 has failed.
        counts.reasons.append(f"{name}: failed cases, yet exit status 0")
    return counts


def from_meson(build):
    """Counts of the last `meson test` in this build directory."""
    counts = Counts()
    for line in (build / "meson-logs" / "testlog.json").read_text().splitlines():
        counts.add(_count_program(json.loads(line)))
    return counts


def from_junit(path):
    """Counts of a pytest run with --junitxml."""
    counts = Counts()
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            counts.failed += 1
        elif skip is not None:
            counts.skipped += 1
            counts.reasons.append(f"{case.get('name')}: {skip.get('message')}")
        else:
            counts.passed += 1
    return counts
