# SPDX-License-Identifier: Apache-2.0
"""The nested host itself: an emulation that comes to a standstill is found out and is no test's fault."""

import json

import pytest

import nested_place
from godwit_tools import nested
from godwit_tools.qmp import Qmp


def test_a_host_that_stands_still_is_found_out(monkeypatch):
    if nested.obstacle():
        pytest.skip(nested.obstacle())
    with nested.NestedHost(["sh", "-c", "echo here; sleep 600"], timeout_s=300) as host:
        lines = iter(host)
        assert next(lines) == "here"
        with Qmp(host.monitor) as monitor:
            monitor("stop")
        monkeypatch.setattr(nested, "STILL_S", 15)      # only now: until here a busy host may take its time
        with pytest.raises(nested.NestedStill, match=r"stood still for 15 s; its console ended with:(?s:.*)RIP="):
            next(lines)


class Host:
    """Says what it was given: lines, or an exception."""

    said = []

    def __init__(self, command, environment, timeout_s):
        self.words = self.said.pop(0)

    def __iter__(self):
        for word in self.words:
            if isinstance(word, Exception):
                raise word
            yield word

    def last_words(self):
        return "nothing"

    def close(self):
        pass


@pytest.fixture
def borrowed(request, monkeypatch):
    """(place, test, lines of its passing, what people are shown): where hosts are what Host.said tells."""
    monkeypatch.setattr(nested, "NestedHost", Host)
    place = nested_place.Place(request.config)
    place.lent = [request.node]
    lines, shown = [], []
    monkeypatch.setattr(place, "show", shown.append)
    for when in ("setup", "call", "teardown"):
        report = pytest.TestReport(request.node.nodeid, request.node.location, {}, "passed", None, when)
        lines.append(json.dumps(request.config.hook.pytest_report_to_serializable(config=request.config, report=report)))
    return place, request.node, lines, shown


def test_a_test_whose_host_stood_still_gets_another_one_and_it_is_said(borrowed):
    place, test, lines, shown = borrowed
    Host.said = [[lines[0], nested.NestedStill("the first one stood still")], lines]
    reports = place.reports_of(test)
    assert [(report.when, report.outcome) for report in reports] == \
        [("setup", "passed"), ("call", "passed"), ("teardown", "passed")]
    assert Host.said == []
    assert len(shown) == 1 and f"{test.nodeid} starts again in another nested host: the first one" in shown[0]


@pytest.mark.parametrize("ends", [
    [nested.NestedStill("stands still"), nested.NestedStill("stands still again")],
    [nested.NestedStill("stands still"), nested.NestedFailed("it died again")],
    [nested.NestedFailed("it died again")],
], ids=["still twice", "still and dead", "dead"])
def test_a_host_that_dies_or_stands_still_twice_fails_the_test(borrowed, ends):
    place, test, lines, shown = borrowed
    Host.said = [[lines[0], end] for end in ends] + [lines]
    reports = place.reports_of(test)
    assert [report.outcome for report in reports] == ["failed"]
    assert "again" in reports[0].longrepr
    assert len(Host.said) == 1
