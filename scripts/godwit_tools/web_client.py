# SPDX-License-Identifier: Apache-2.0
"""
web_client.py INTERVAL_MS ADDRESS: asks a web server at an even pace, until its standard input ends, over one
connection that is kept alive and over a new one each time. Then it prints, as JSON, for both kinds every request that
was answered, as [when it was due, how long after that it was answered] in seconds (CLOCK_REALTIME), and a sentence for
every one that failed. What is due while an answer is still awaited counts from when it was due.
"""

import contextlib
import json
import os
import re
import resource
import select
import socket
import sys
import time
from collections import deque

PATIENCE_S = 10
PAGE = re.compile(rb"HTTP/1\.1 200 OK\r\n(?s:.*?)\r\n\r\nrequest (\d+) at \d+ ms\n")


class Kept:
    """One connection for all requests."""

    def __init__(self, address):
        self.socket = socket.create_connection((address, 80), PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.request = f"GET / HTTP/1.1\r\nHost: {address}\r\n\r\n".encode()
        self.due, self.awaited, self.asked, self.text = deque(), None, 0, b""
        self.answers, self.failures = [], []

    def ask(self, due):
        self.due.append(due)
        self._next()

    def _next(self):
        if self.socket and self.awaited is None and self.due:
            self.awaited = self.due.popleft()
            self.asked += 1
            with self._noting():
                self.socket.send(self.request)

    @contextlib.contextmanager
    def _noting(self):
        """The end of this connection is the end of all."""
        try:
            yield
        except OSError as error:
            self.failures.append(f"the kept connection broke at request {self.asked}: {error}")
            self.socket.close()
            self.socket = None

    def reading(self):
        return [self.socket] if self.socket else []

    def writing(self):
        return []

    def ready(self, _, now):
        with self._noting():
            data = self.socket.recv(4096)
            if not data:
                raise ConnectionError("the server has ended it")
            self.text += data
            answer = PAGE.fullmatch(self.text)
            if not answer:
                return
            if int(answer[1]) != self.asked:
                raise ConnectionError(f"the answer is that to request {int(answer[1])}")
            self.answers.append((self.awaited, now - self.awaited))
            self.awaited, self.text = None, b""
        self._next()

    def outstanding(self):
        return len(self.due) + (self.awaited is not None)

    def give_up(self):
        if self.outstanding():
            self.failures.append(f"{self.outstanding()} requests of the kept connection were not answered")


class Fresh:
    """A connection for each request."""

    def __init__(self, address):
        self.address, self.open = address, {}     # socket: [due, whether it was asked, text]
        self.request = f"GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode()
        self.answers, self.failures = [], []

    def ask(self, due):
        one = socket.socket()
        one.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            one.connect((self.address, 80))
        self.open[one] = [due, False, b""]

    def reading(self):
        return [one for one, (_, asked, _) in self.open.items() if asked]

    def writing(self):
        return [one for one, (_, asked, _) in self.open.items() if not asked]

    def ready(self, one, now):
        state = self.open[one]
        try:
            if not state[1]:
                one.send(self.request)
                state[1] = True
                return
            data = one.recv(4096)
            state[2] += data
            if data:
                return
            answer = PAGE.fullmatch(state[2])
            if not answer or int(answer[1]) != 1:
                raise ConnectionError("the answer is not whole")
            self.answers.append((state[0], now - state[0]))
        except OSError as error:
            self.failures.append(f"a new connection failed: {error}")
        del self.open[one]
        one.close()

    def outstanding(self):
        return len(self.open)

    def give_up(self):
        self.failures += [f"a new connection had no answer after {PATIENCE_S} s"] * len(self.open)


def serve(clients, timeout_s, until=()):
    """Waits for the network; whether `until`, a list of one file, has ended."""
    reading, writing = ({one: client for client in clients for one in getattr(client, way)()}
                        for way in ("reading", "writing"))
    waiting, files = select.poll(), {}    # not select(): a slow guest has more than 1024 connections open
    for events, group in ((select.POLLIN, [*until, *reading]), (select.POLLOUT, writing)):
        for one in group:
            files[one.fileno()] = (one, files.get(one.fileno(), (one, 0))[1] | events)
    for number, (_, events) in files.items():
        waiting.register(number, events)
    told = [(*files[number], events) for number, events in waiting.poll(timeout_s * 1000)]
    failed = select.POLLERR | select.POLLHUP
    can_read = [one for one, wanted, events in told if wanted & select.POLLIN and events & (select.POLLIN | failed)]
    can_write = [one for one, wanted, events in told if wanted & select.POLLOUT and events & (select.POLLOUT | failed)]
    now = time.time()
    for one in can_write:
        writing[one].ready(one, now)
    for one in can_read:
        if one in reading:
            reading[one].ready(one, now)
    return any(one in until for one in can_read)


def main():
    interval, address = float(sys.argv[1]) / 1000, sys.argv[2]
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    clients = [Kept(address), Fresh(address)]
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    print("begun", flush=True)
    due, ended = time.time(), False
    while not ended:
        ended = serve(clients, max(due - time.time(), 0), [sys.stdin])
        while time.time() >= due and not ended:
            for client in clients:
                client.ask(due)
            due += interval
    patience = time.monotonic() + PATIENCE_S
    while any(client.outstanding() for client in clients) and time.monotonic() < patience:
        serve(clients, 0.01)
    for client in clients:
        client.give_up()
    print(json.dumps({name: {"answers": client.answers, "failures": client.failures}
                      for name, client in zip(("kept", "fresh"), clients)}))


if __name__ == "__main__":
    main()
