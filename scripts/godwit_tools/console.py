# SPDX-License-Identifier: Apache-2.0
"""
The console of a guest that moves. Each machine process connects to a socket of ours; what they write is joined
to one text in the order of arrival, so that a line that began on one host and ended on another is one line.
"""

import fcntl
import math
import re
import selectors
import socket
import struct
import termios
import threading
import time
from dataclasses import dataclass

from .patience import PATIENCE_S

COUNT = re.compile(r"count (\d+) at (\d+) ms")


@dataclass
class Line:
    arrived: float   # of its last byte, monotonic seconds
    text: str


class Console:
    def __init__(self, path):
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(16)
        self._changed = threading.Condition()
        self._connections = []
        self._partial = b""
        self.lines = []
        self.last_byte = time.monotonic()
        self._taking = threading.Lock()    # what was read from a connection is not in `lines` yet
        self.on_line = None      # called with each Line, on the reader's thread
        self._wake_reader, self._wake = socket.socketpair()
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def serial(self):
        """The value for --serial."""
        return f"unix:{self.path}"

    def _run(self):
        selector = selectors.DefaultSelector()
        selector.register(self._listener, selectors.EVENT_READ)
        selector.register(self._wake_reader, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if self._wake_reader in ready:
                return
            if self._listener in ready:
                connection = self._listener.accept()[0]
                self._connections.append(connection)
                selector.register(connection, selectors.EVENT_READ)
            # Oldest first: at a handoff the source wrote its bytes before the destination wrote any.
            for connection in [c for c in self._connections if c in ready]:
                if not self._take(connection):
                    selector.unregister(connection)
                    self._connections.remove(connection)
                    connection.close()

    def _take(self, connection):
        """False at its end."""
        with self._taking:
            try:
                data = connection.recv(65536)
            except OSError:
                data = b""
            if data:
                self._append(data)
        return bool(data)

    def _append(self, data):
        now = time.monotonic()
        with self._changed:
            self.last_byte = now
            *ended, self._partial = (self._partial + data).split(b"\n")
            fresh = [Line(now, text.decode(errors="replace").rstrip("\r")) for text in ended]
            self.lines += fresh
            self._changed.notify_all()
        for line in fresh if self.on_line else []:
            self.on_line(line)

    def send(self, text):
        """Types into the guest. All connected machines get it: those that do not run the guest drop it."""
        for connection in list(self._connections):
            try:
                connection.sendall(text.encode())
            except OSError:
                pass

    def settle(self, timeout_s=PATIENCE_S):
        """Until all that the machines have written by now is in `lines`."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with self._taking:
                if not any(self._unread_bytes(connection) for connection in list(self._connections)):
                    return
            time.sleep(0.01)
        raise TimeoutError(f"the console was not read for {timeout_s:.0f} s")

    @staticmethod
    def _unread_bytes(connection):
        try:
            return struct.unpack("i", fcntl.ioctl(connection, termios.FIONREAD, bytes(4)))[0]
        except (OSError, ValueError):    # closed meanwhile
            return 0

    def position(self):
        return len(self.lines)

    def wait(self, pattern, timeout_s=PATIENCE_S, since=0):
        """The match of `pattern` in a line from position `since` on, or in the line that is being written."""
        expression = re.compile(pattern)
        state = {"next": since}

        def find():
            while state["next"] < len(self.lines):
                match = expression.search(self.lines[state["next"]].text)
                state["next"] += 1
                if match:
                    return match
            return expression.search(self._partial.decode(errors="replace"))

        found = []
        with self._changed:
            self._changed.wait_for(lambda: found.append(find()) or found[-1], timeout_s)
        if not found or not found[-1]:
            raise TimeoutError(f"the console did not show '{pattern}' in {timeout_s:.0f} s; what was bad: "
                               f"{self.bad_lines()}; it ended with:\n" + self.tail())
        return found[-1]

    def tail(self, lines=15):
        return "\n".join("  | " + line.text for line in self.lines[-lines:]) + \
            "\n  | " + self._partial.decode(errors="replace")

    def counts(self, since=0):
        """(arrived, number, guest's ms) of each line of the counter."""
        found = []
        for line in self.lines[since:]:
            match = COUNT.search(line.text)
            if match:
                found.append((line.arrived, int(match.group(1)), int(match.group(2))))
        return found

    def wait_count(self, more=3, timeout_s=PATIENCE_S):
        """Waits until the counter has gone on by `more` lines: the guest runs and can be seen to."""
        since, deadline = self.position(), time.monotonic() + timeout_s
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.counts(since)) >= more,
                                          deadline - time.monotonic()):
                raise TimeoutError(f"the counter stood still for {timeout_s:.0f} s; the console ended with:\n"
                                   + self.tail())

    def clock_offset_ns(self, asks=20, timeout_s=PATIENCE_S):
        """(least, most) that the guest's real-time clock can be ahead of ours. It is asked over a shell at its
        prompt, again and again: its answer lies between our asking and our hearing it."""
        ours = time.time_ns() - time.monotonic_ns()
        since = self.position()
        self.send("tell-time\n")
        self.wait("time: asked", timeout_s, since)
        least, most = -math.inf, math.inf
        for number in range(asks):
            asked = time.monotonic_ns()
            self.send(f"{number}\n")
            told = int(self.wait(rf"time: {number}: (\d+) ns", timeout_s, since).group(1)) - ours
            least, most = max(least, told - time.monotonic_ns()), min(most, told - asked)
        self.send("end\n")
        self.wait("time: told", timeout_s, since)
        return least, most

    def bad_lines(self):
        return [line.text for line in self.lines
                if "godwit: BAD" in line.text or "Kernel panic" in line.text or "Oops" in line.text]

    def close(self):
        self._wake.send(b"x")
        self._listener.close()


def counter_problems(counts):
    """Sentences for numbers of the counter that are missing, came twice or came in the wrong order."""
    problems = []
    for (_, before, _), (_, after, _) in zip(counts, counts[1:]):
        if after != before + 1:
            problems.append(f"the counter went from {before} to {after}")
    return problems
