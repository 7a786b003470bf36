# SPDX-License-Identifier: Apache-2.0
"""Guests whose network is a passt that hands its connections over, and what goes through such connections."""

import contextlib
import os
import socket
import threading
import time

import pytest

from conftest import known_fault
from godwit_tools import passt
from godwit_tools.foreign_apt import FetchError
from godwit_tools.patience import PATIENCE_S
from godwit_tools.proxy import TO_SOURCE, Proxy
from godwit_tools.stream import STREAM_PORT
from net_place import move

TICK_S = 0.05


def lend_passt(monkeypatch):
    """In front of the one that is installed."""
    with socket.socket() as probe:
        try:
            probe.setsockopt(socket.IPPROTO_TCP, 19, 1)   # TCP_REPAIR
        except PermissionError:
            pytest.skip("TCP_REPAIR may not be set here: that needs CAP_NET_ADMIN")
    try:
        folder = passt.find()
    except FetchError as error:
        pytest.skip(f"no passt that hands connections over: {error}")
    if folder:
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


class Ticker:
    """A server on the host to which the guest connects and sends numbers, one a line: none may be missing."""

    def __init__(self, address="127.0.0.1"):
        self.server = socket.create_server((address, 0))
        self.port = self.server.getsockname()[1]
        self.last, self.problem = 0, None
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        connection = self.server.accept()[0]
        with connection.makefile() as lines:
            try:
                for line in lines:
                    if int(line) != self.last + 1:
                        self.problem = f"{line.strip()} came after {self.last}"
                        return
                    self.last += 1
                self.problem = f"the connection ended after {self.last}"
            except OSError as error:
                self.problem = f"{error} after {self.last}"

    def wait_for(self, number):
        deadline = time.monotonic() + PATIENCE_S
        while self.last < number and not self.problem and time.monotonic() < deadline:
            time.sleep(0.01)
        assert self.problem is None and self.last >= number, f"{self.problem}; at {self.last}, {number} was expected"


def start(boot, port, ticker, where, **options):
    """A guest whose keeper has that port of the host, and that sends the ticker numbers."""
    guest = boot(run="shell", ready="guest# ", disk=False, nets=[f"user,tcp={port}:7000"], **options)
    guest.shell("network-up 10.0.2.15/24; ip route add default via 10.0.2.2; net-keeper &", "net-keeper: listening")
    guest.shell(f"(i=0; while :; do i=$((i+1)); echo $i; sleep {TICK_S}; done | nc {where} {ticker.port}) & echo nc=on", "^nc=on")
    ticker.wait_for(3)
    return guest


STILL_S, STILL_TICKS, RETRANSMISSIONS = 20, 100, 3


def is_never_acknowledged(guest):
    """The guest sends what it has in the stream again and again: nobody tells it that it arrived."""
    port, since = f"{STREAM_PORT:04X}", guest.console.position()
    guest.shell(f"cat /proc/net/tcp /proc/net/tcp6 | grep ':{port} [0-9A-F]*:[0-9A-F]* 01 '; echo connections=told",
                "^connections=told")
    for words in (line.text.split() for line in guest.console.lines[since:]):
        # local address, remote one, state, what is queued, the timer and when, retransmissions
        if len(words) > 6 and words[1].endswith(f":{port}") and words[5].startswith("01:"):
            return int(words[4].partition(":")[0], 16) > 0 and int(words[6], 16) >= RETRANSMISSIONS
    return False


def goes_on(guest, stream, ticker):
    """Both connections carry what they did not carry yet. One that passt does not acknowledge any more is a known fault; it is
    told from a host that is busy by the other connection, which goes on, and by what the guest's kernel knows."""
    wanted = stream.received + 20000
    ticker.wait_for(ticker.last + 5)
    deadline = time.monotonic() + PATIENCE_S
    at, since, ticks = stream.received, time.monotonic(), ticker.last
    while stream.received < wanted and not stream.problem:
        assert time.monotonic() < deadline, f"the stream stands still at byte {stream.received}"
        if stream.received != at:
            at, since, ticks = stream.received, time.monotonic(), ticker.last
        elif time.monotonic() - since > STILL_S and ticker.last > ticks + STILL_TICKS and ticker.problem is None:
            if is_never_acknowledged(guest):
                known_fault("passt acknowledges nothing of a connection that followed", "docs/network.md, Known faults",
                            f"the stream stands still at byte {at}")
            time.sleep(1)
        time.sleep(0.01)
    assert stream.problem is None, stream.problem


@contextlib.contextmanager
def proxied(guest, hook):
    """(receiver, URI): behind a proxy that does something before it passes READY on, while the guest stands still."""
    with guest.receiver("tcp:127.0.0.1:0") as receiver:
        proxy = Proxy(("127.0.0.1", int(receiver.uri.rpartition(":")[2])), before={(TO_SOURCE, "READY"): hook})
        with contextlib.closing(proxy):
            yield receiver, proxy.uri


def link_breaks_in_the_pause(guest, stream, ticker):
    """The connections go on at the source, and follow later."""
    with proxied(guest, lambda proxy: proxy.cut()) as (_, uri):
        guest.machine.migrate(uri)
        assert guest.machine.wait_migration()["status"] == "failed"
    guest.machine.wait_status("running")
    goes_on(guest, stream, ticker)
    move(guest)
    goes_on(guest, stream, ticker)
