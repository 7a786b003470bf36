# SPDX-License-Identifier: Apache-2.0
"""A client of the control socket (docs/control.md); QEMU's monitor speaks the same."""

import json
import socket
import threading
import time

from .patience import PATIENCE_S


class QmpError(Exception):
    """The server's own sentence."""

    def __init__(self, error):
        super().__init__(error.get("desc", "error without a sentence"))
        self.error = error


class Qmp:
    """One connection. A reader thread sorts replies from events, so events keep their time of arrival."""

    def __init__(self, path, timeout_s=PATIENCE_S):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout_s)
        self._socket.connect(str(path))
        self._socket.settimeout(None)
        self._timeout_s = timeout_s
        self._changed = threading.Condition()
        self._replies, self.events, self._number, self._closed = {}, [], 0, False
        self._stream = self._socket.makefile("rb")
        self.greeting = json.loads(self._stream.readline())["QMP"]
        threading.Thread(target=self._read, daemon=True).start()
        self("qmp_capabilities")

    def _read(self):
        try:
            for line in self._stream:
                message = json.loads(line)
                message["arrived"] = time.monotonic()
                with self._changed:
                    if "event" in message:
                        self.events.append(message)
                    else:
                        self._replies[message.get("id")] = message
                    self._changed.notify_all()
        except (OSError, ValueError):
            pass
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __call__(self, command, timeout_s=None, **arguments):
        """Sends a command, underscores for dashes in argument names; returns what it returned."""
        with self._changed:
            self._number += 1
            number = self._number
        request = {"execute": command, "id": number}
        if arguments:
            request["arguments"] = {name.replace("_", "-"): value for name, value in arguments.items()}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        with self._changed:
            ready = self._changed.wait_for(lambda: number in self._replies or self._closed,
                                           timeout_s or self._timeout_s)
            if number not in self._replies:
                raise ConnectionError(f"{command}: the connection ended" if ready else
                                      f"{command}: no reply in {timeout_s or self._timeout_s:.0f} s")
            reply = self._replies.pop(number)
        if "error" in reply:
            raise QmpError(reply["error"])
        return reply["return"]

    def wait_event(self, name, matches=lambda data: True, timeout_s=PATIENCE_S, since=0):
        """The first event of that name, from position `since` of the events on, whose data match."""
        def find():
            return next((e for e in self.events[since:]
                         if e["event"] == name and matches(e.get("data", {}))), None)
        with self._changed:
            self._changed.wait_for(lambda: find() or self._closed, timeout_s)
            event = find()
        if event is None:
            seen = [(e["event"], e.get("data")) for e in self.events[since:]]
            raise TimeoutError(f"no event {name} in {timeout_s:.0f} s; seen: {seen}")
        return event

    def close(self):
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
