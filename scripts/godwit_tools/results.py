# SPDX-License-Identifier: Apache-2.0
"""
Counts of test cases, read from what each runner writes for machines: cmocka's XML and pytest's JUnit, which have the same
elements. What runners print for people changes from release to release and is never counted.
"""

import hashlib
import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

KNOWN_FAULT = "known fault: "
UNSAID = "skipped itself and did not say why"
# Characters that XML forbids (XML 1.0 §2.2); cmocka writes messages as they come.
FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")
DECLARATION = re.compile(r"<\?xml[^>]*\?>")
# A message of cmocka's, which may have the end of a CDATA section in it.
MESSAGE = re.compile(r"(?<=<failure><!\[CDATA\[).*?(?=\]\]></failure>)", re.DOTALL)


@dataclass
class Counts:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    reasons: list = field(default_factory=list)       # of skips: [program, case or "", why], for people
    failures: list = field(default_factory=list)      # what failed cases said, for people
    known_faults: list = field(default_factory=list)  # cases that met a documented fault; counted as skipped

    def add(self, other):
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def report_file(directory, command):
    """Where a test program that is run by this command leaves its report."""
    return directory / (hashlib.sha256("\0".join(map(str, command)).encode()).hexdigest()[:24] + ".xml")


def _cases(path):
    """The testcase elements of a report. A cmocka program with several groups writes one document for each."""
    text = FORBIDDEN.sub("\ufffd", DECLARATION.sub("", path.read_text(errors="replace")))
    text = MESSAGE.sub(lambda message: message[0].replace("]]>", "]]]]><![CDATA[>"), text)
    return list(ElementTree.fromstring(f"<reports>{text}</reports>").iter("testcase"))


def _outcome(case, name, why_skipped):
    """Counts of one case; `why_skipped` where it does not say so itself."""
    label = f"{name}: {case.get('name')}"
    problem = next((case.find(kind) for kind in ("failure", "error") if case.find(kind) is not None), None)
    skip = case.find("skipped")
    if problem is not None:
        said = (problem.text or problem.get("message") or "").strip()
        return Counts(failed=1, failures=[f"{label}\n{said}"])
    if skip is not None:
        reason = skip.get("message") or why_skipped
        if reason.startswith(KNOWN_FAULT):
            return Counts(skipped=1, known_faults=[f"{label}: {reason[len(KNOWN_FAULT):]}"])
        return Counts(skipped=1, reasons=[[name, case.get("name"), reason]])
    return Counts(passed=1)


def from_report(path, name, reasons=()):
    """Counts of a report's cases. `reasons`: those of skipped cases that give none in the report, in their order; or
    those of all of them together, if there is not one for each."""
    counts, cases = Counts(), _cases(path)
    silent = [case for case in cases if case.find("skipped") is not None and not case.find("skipped").get("message")]
    if len(silent) != len(reasons):
        reasons = ["; ".join(dict.fromkeys(reasons)) or UNSAID] * len(silent)
    why = {id(case): reason for case, reason in zip(silent, reasons)}
    for case in cases:
        counts.add(_outcome(case, name, why.get(id(case))))
    return counts


def from_pytest(path, name, status):
    """Counts of a pytest run, which ended with this status: 0, or 1 after failed cases; all else is no whole run."""
    counts = from_report(path, name) if path.exists() else Counts()
    if not path.exists() or status not in (0, 1) or (status == 1) != (counts.failed > 0):
        counts.add(Counts(failed=1, failures=[f"{name}\npytest ended with status {status}, and not all was run"]))
    return counts


def _leaves_report(command):
    """Whether the program is one of cmocka's or pytest's. That it left none means that it did not come to its end."""
    if "pytest" in command:
        return True
    try:
        return b"libcmocka" in Path(command[0]).read_bytes()
    except OSError:
        return False


def _broken(name, result, counts, reported):
    """Why a program of meson's log is not counted as it says; None if it is."""
    if counts.failed:
        return f"{name}\nhas failed cases, and yet ended as {result}" if result in ("OK", "EXPECTEDFAIL", "SKIP") else None
    if result not in ("OK", "EXPECTEDFAIL", "SKIP"):      # it crashed, ran out of time, or failed outside its cases
        return f"{name}\nended as {result}"
    if reported and counts.passed + counts.skipped == 0:
        return f"{name}\nended well, and left no report of its cases"
    return None


def _count_program(test, reports):
    """One program of meson's log: the cases of its report if it leaves one, else itself as one."""
    # With a wrapper meson puts the suites before the name.
    result, name = test["result"], test["name"].rpartition(" / ")[2]
    said = [line.strip() for line in (test.get("stdout", "") + "\n" + test.get("stderr", "")).splitlines() if line.strip()]
    # cmocka has no reasons in its report: a program prints them, one each.
    reasons = [line[len("skipped: "):] for line in said if line.startswith("skipped: ")]
    command = test["command"][test["command"].index("--") + 1:]
    path, reported = report_file(reports, command), _leaves_report(command)
    counts = Counts()
    if path.exists():
        try:
            counts = from_report(path, name, reasons)
        except ElementTree.ParseError as error:
            counts = Counts(failed=1, failures=[f"{name}\nits report cannot be read: {error}"])
    elif result == "SKIP":
        return Counts(skipped=1, reasons=[[name, "", said[-1] if said else UNSAID]])
    why = _broken(name, result, counts, reported)
    if why:
        counts.add(Counts(failed=0 if counts.failed else 1, failures=[why]))
    elif not path.exists():
        counts.passed = 1
    return counts


def from_meson(log, reports):
    """Counts of a `meson test` with reported.py as its wrapper, from its log in JSON."""
    counts, commands = Counts(), set()
    for line in log.read_text().splitlines():
        test = json.loads(line)
        command = tuple(test["command"])
        if command in commands:
            counts.add(Counts(failed=1, failures=[f"{test['name']}\nshares its command, and so its report, with another"]))
        commands.add(command)
        counts.add(_count_program(test, reports))
    return counts
