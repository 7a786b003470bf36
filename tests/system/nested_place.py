# SPDX-License-Identifier: Apache-2.0
"""
Where tests run that need a KVM that runs stock kernels (marker stock_kernel): here if the host has one, else in
a nested host (godwit_tools/nested.py), where the same test code runs and from where its reports come line by
line. Where neither can be had they are skipped with the reason.
"""

import json
import os
import shlex

import pytest

from godwit_tools import nested
from godwit_tools.kvm import host_kvm

REPORTS_TO = "GODWIT_REPORTS"      # in the nested host: the file that reports go to
START_S, EACH_TEST_S = 120, 600
MARKER = "stock_kernel"
SHOWN = "shown: "                   # begins a line there that is for people
IN_NESTED_HOST = REPORTS_TO in os.environ


def on_software_cpu(*values, name="software-cpu", marks=()):
    """The first value is for the fixture `boot`, which makes the guests."""
    return pytest.param("boot_riscv64", *values, id=name, marks=marks)


def on_kvm(*values, name="kvm", marks=()):
    return pytest.param("boot_amd64", *values, id=name, marks=(getattr(pytest.mark, MARKER), *marks))


on_machines = pytest.mark.parametrize("boot", [on_software_cpu(), on_kvm()], indirect=True)


def show(lines):
    """Prints them, on the real host at the end."""
    if not IN_NESTED_HOST:
        print("", *lines, sep="\n", flush=True)
        return
    with open(os.environ[REPORTS_TO], "w", encoding="utf-8") as stream:
        stream.writelines(f"{SHOWN}{line}\n" for line in lines)


class Reporter:
    """In the nested host: every report as one line of JSON."""

    def __init__(self, config):
        self.config, self.stream = config, open(os.environ[REPORTS_TO], "w", buffering=1)

    def pytest_runtest_logreport(self, report):
        data = self.config.hook.pytest_report_to_serializable(config=self.config, report=report)
        self.stream.write(json.dumps(data, default=str) + "\n")


class Place:
    """On the real host: lends the marked tests to a nested host and gives back what it reported."""

    def __init__(self, config):
        self.config, self.host, self.lines, self.lent = config, None, None, []

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        """Last: what -k and -m leave out is not run there either."""
        marked = [item for item in items if item.get_closest_marker(MARKER)]
        if not marked or host_kvm().runs_kernels:
            return
        if nested.obstacle():
            reason = f"{host_kvm().sentence}; and for a nested host {nested.obstacle()}"
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=reason))
            return
        self.lent = marked

    def pytest_runtest_protocol(self, item, nextitem):
        if item not in self.lent:
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self.reports_of(item):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        if nextitem not in self.lent:
            self._end()
        return True

    def pytest_sessionfinish(self):
        self._end()

    def _start(self, first):
        """A nested host for this test and all that follow it."""
        tests = self.lent[self.lent.index(first):]
        words = ["/usr/bin/python3", "-B", "-m", "pytest", "-p", "no:cacheprovider", f"--rootdir={self.config.rootpath}",
                 *(str(self.config.rootpath / test.nodeid) for test in tests)]
        self.host = nested.NestedHost(
            ["sh", "-c", f"{shlex.join(words)} >/dev/console 2>&1"],
            {REPORTS_TO: "/dev/hvc0", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            timeout_s=START_S + EACH_TEST_S * len(tests))
        self.lines = iter(self.host)

    def _end(self):
        if self.host:
            self.host.close()
            self.host = None

    def show(self, line):
        terminal = self.config.pluginmanager.getplugin("terminalreporter")
        terminal.ensure_newline()
        terminal.write_line(line)

    def reports_of(self, item):
        """Reports of one test; one that failed stands for those that did not come. An emulated machine that stands still
        is not the test's fault: it is said, and the test gets another machine, once."""
        try:
            try:
                return self._run(item)
            except nested.NestedStill as error:
                self.show(f"{item.nodeid} starts again in another nested host: {error}")
                self._end()
                return self._run(item)
        except nested.NestedFailed as error:
            self._end()
            return [pytest.TestReport(item.nodeid, item.location, {}, "failed", str(error), "call")]

    def _run(self, item):
        if self.host is None:
            self._start(item)
        reports = []
        for line in self.lines:
            if line.startswith(SHOWN):
                self.show(line.removeprefix(SHOWN))
            if not line.startswith("{"):
                continue
            report = self.config.hook.pytest_report_from_serializable(config=self.config, data=json.loads(line))
            if report is None or report.nodeid != item.nodeid:
                continue
            if isinstance(report.longrepr, list):    # a skip's place and reason: JSON has no tuples
                report.longrepr = tuple(report.longrepr)
            reports.append(report)
            if report.when == "teardown":
                return reports
        raise nested.NestedFailed(f"pytest ended there without a word on this test; {self.host.last_words()}")


def register(config):
    config.addinivalue_line("markers", f"{MARKER}: needs a KVM that runs stock kernels, here or in a nested host")
    plugin = Reporter(config) if os.environ.get(REPORTS_TO) else Place(config)
    config.pluginmanager.register(plugin, "godwit-place")
