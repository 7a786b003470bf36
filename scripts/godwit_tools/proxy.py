# SPDX-License-Identifier: Apache-2.0
"""
A network between two hosts that breaks on command: a TCP proxy that reads the migration protocol's records
(docs/protocol.md, sections 2 and 3) as they pass, so that a test can act exactly before or after one.
"""

import socket
import struct
import threading
import time

from .patience import PATIENCE_S

PREAMBLE_BYTES, HEADER_BYTES = 48, 24
TO_DESTINATION, TO_SOURCE = "to destination", "to source"
RECORDS = {
    0x01: "OFFER", 0x02: "ACCEPT", 0x03: "REFUSE", 0x04: "ERROR", 0x05: "CANCEL", 0x06: "END", 0x07: "PING",
    0x08: "PONG", 0x09: "PARAMETERS", 0x8000000a: "PROGRESS", 0x10: "EXTENT", 0x11: "BARRIER", 0x20: "STATE",
    0x21: "REHEARSED", 0x22: "SWITCH", 0x23: "READY", 0x24: "CANCEL_SWITCH", 0x25: "VERIFY",
    0x26: "VERIFIED", 0x30: "COMMIT", 0x31: "RUNNING", 0x32: "CONFIRM", 0x80000033: "FLIGHT",
    0x40: "QUERY_OWNER", 0x41: "OWNER", 0x42: "REFUSED",
}


class Cut(Exception):
    """Unwinds a pump whose link is gone."""


class Framer:
    """Splits a byte stream into pieces that lie in one record each: (piece, record begins, record ends).
    A header is held back until it is whole, so a piece that begins a record always tells which."""

    def __init__(self):
        self.record = "PREAMBLE"
        self._begins = True
        self._left = PREAMBLE_BYTES
        self._header = b""

    def pieces(self, data):
        while data:
            if self._left:
                piece, data = data[:self._left], data[self._left:]
                self._left -= len(piece)
                begins, self._begins = self._begins, False
                yield piece, begins, self._left == 0
                continue
            missing = HEADER_BYTES - len(self._header)
            self._header, data = self._header + data[:missing], data[missing:]
            if len(self._header) == HEADER_BYTES:
                header, self._header = self._header, b""
                kind, _, self._left = struct.unpack_from("<III", header)
                self.record = RECORDS.get(kind, hex(kind))
                yield header, True, self._left == 0


class Proxy:
    """
    Forwards connections to `target`, (host, port) or the path of a Unix socket, beside which it listens then. Hooks: `before` and `after` map (direction, record) to a
    function, called with the proxy once, at the first such record, before it is forwarded or right after its last
    byte; it may cut(), freeze() or kill something. `mangle(direction, offset, data)` returns what is sent in
    data's place; the offset counts the bytes of that direction of the connection.
    """

    def __init__(self, target, before=None, after=None, mangle=None):
        self.target = target
        self.before, self.after = dict(before or {}), dict(after or {})
        self.mangle = mangle
        self.seen = []            # (direction, record) in order, extents left out
        self.bytes = {TO_DESTINATION: 0, TO_SOURCE: 0}
        self._flow = threading.Event()
        self._flow.set()
        self._up = True
        self._lock = threading.Lock()
        self._sockets = []
        if isinstance(target, tuple):
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.uri = "tcp:127.0.0.1:%d" % self._listener.getsockname()[1]
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(f"{target}.proxy")
            self._listener.listen()
            self.uri = f"unix:{target}.proxy"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near = self._listener.accept()[0]
            except OSError:
                return
            if not self._up:
                self._reset(near)
                continue
            try:
                far = self._connect()
            except OSError:
                self._reset(near)
                continue
            far.settimeout(None)
            if isinstance(self.target, tuple):
                for one in (near, far):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets += [near, far]
            for source, sink, direction in ((near, far, TO_DESTINATION), (far, near, TO_SOURCE)):
                threading.Thread(target=self._pump, args=(source, sink, direction), daemon=True).start()

    def _connect(self):
        if isinstance(self.target, tuple):
            return socket.create_connection(self.target, timeout=PATIENCE_S)
        far = socket.socket(socket.AF_UNIX)
        far.connect(str(self.target))
        return far

    def _pump(self, source, sink, direction):
        framer, offset = Framer(), 0
        try:
            while data := source.recv(262144):
                for piece, begins, ends in framer.pieces(data):
                    self._flow.wait()
                    if begins:
                        self._note(direction, framer.record)
                        self._call(self.before, direction, framer.record)
                        self._flow.wait()
                    self._check_up()
                    sink.sendall(self.mangle(direction, offset, piece) if self.mangle else piece)
                    offset += len(piece)
                    self.bytes[direction] += len(piece)
                    if ends:
                        self._call(self.after, direction, framer.record)
            self._flow.wait()
            sink.shutdown(socket.SHUT_WR)
        except (OSError, Cut):
            pass

    def _note(self, direction, record):
        if record != "EXTENT":
            self.seen.append((direction, record))

    def _call(self, hooks, direction, record):
        with self._lock:
            hook = hooks.pop((direction, record), None)
        if hook:
            hook(self)

    def _check_up(self):
        if not self._up:
            raise Cut

    @staticmethod
    def _reset(connection):
        try:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        connection.close()

    def cut(self):
        """Resets every connection; new ones are reset too until restore()."""
        self._up = False
        self._flow.set()
        for one in self._sockets:
            self._reset(one)
        self._sockets = []

    def freeze(self):
        """Nothing moves any more, and nobody is told: connections stay open."""
        self._flow.clear()

    def restore(self):
        self._up = True
        self._flow.set()

    def close(self):
        self._listener.close()
        self.cut()


def flip_bit(direction, at_byte):
    """A mangle function that turns one bit of one direction's stream."""
    def mangle(this, offset, data):
        index = at_byte - offset
        if this != direction or not 0 <= index < len(data):
            return data
        return data[:index] + bytes([data[index] ^ 0x10]) + data[index + 1:]
    return mangle


def wait_until(condition, what, timeout_s=PATIENCE_S):
    """Polls a condition that has no event; fails with a sentence, which `what` is or returns when it is needed."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise TimeoutError(f"not in {timeout_s:.0f} s: {what() if callable(what) else what}")
