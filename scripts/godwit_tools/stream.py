# SPDX-License-Identifier: Apache-2.0
"""Connections to a guest's net-keeper (tests/guest/linux/net-keeper.c): a stream that both ends check, and a session."""

import socket
import struct
import threading
import time

from .patience import PATIENCE_S

STREAM_PORT, ECHO_PORT = 7000, 7001
TO_GUEST, FROM_GUEST = 1, 2
PIECE_BYTES, PIECE_S = 2048, 0.01
MASK = (1 << 64) - 1


def stream_bytes(stream, position, count):
    """As pattern.h has it; both numbers are multiples of 8."""
    words = []
    for page in range(position // 8, (position + count) // 8):
        x = (page << 32) + stream + 0x9e3779b97f4a7c15 & MASK
        x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9 & MASK
        words.append(x ^ x >> 27)
    return struct.pack(f"<{len(words)}Q", *words)


class Stream:
    """Sends at an even pace and checks what comes back, on threads of its own, until finish(). Connect it where the
    guest can be reached: netns.inside()."""

    def __init__(self, address, piece_bytes=PIECE_BYTES, piece_s=PIECE_S, port=STREAM_PORT):
        self.piece_bytes, self.piece_s = piece_bytes, piece_s
        self.socket = socket.create_connection((address, port), PATIENCE_S)
        self.socket.settimeout(None)
        self.sent = self.received = 0
        self.problem = None
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=one, daemon=True) for one in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self):
        try:
            while not self._ending.wait(self.piece_s):
                self.socket.sendall(stream_bytes(TO_GUEST, self.sent, self.piece_bytes))
                self.sent += self.piece_bytes
            self.socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.problem = self.problem or f"sending at byte {self.sent}: {error}"

    def _receive(self):
        expected = b""
        try:
            while data := self.socket.recv(65536):
                while len(expected) < len(data):
                    at = self.received + len(expected)
                    expected += stream_bytes(FROM_GUEST, at, 8 * PIECE_BYTES)
                if data != expected[:len(data)]:
                    self.problem = f"a wrong byte between {self.received} and {self.received + len(data)}"
                    return
                expected = expected[len(data):]
                self.received += len(data)
        except OSError as error:
            self.problem = self.problem or f"receiving at byte {self.received}: {error}"

    def wait_more(self, count, timeout_s=PATIENCE_S):
        """Until so many more bytes have come back; the connection lives."""
        wanted, deadline = self.received + count, time.monotonic() + timeout_s
        while self.received < wanted:
            if self.problem or time.monotonic() > deadline:
                raise AssertionError(self.problem or f"the stream stands still at byte {self.received}")
            time.sleep(0.01)

    def finish(self, timeout_s=PATIENCE_S):
        """Everything that was sent has been paid back; what was wrong, as a sentence, or None."""
        self._ending.set()
        for thread in self._threads:
            thread.join(timeout_s)
        if any(thread.is_alive() for thread in self._threads):
            self.problem = self.problem or f"the stream did not end: {self.sent} bytes sent, {self.received} received"
        elif self.received != self.sent:
            self.problem = self.problem or f"{self.sent} bytes were sent, {self.received} came back"
        self.socket.close()
        return self.problem


class Session:
    """Somebody who is logged in and seldom types."""

    def __init__(self, address):
        self.socket = socket.create_connection((address, ECHO_PORT), PATIENCE_S)

    def type(self, line):
        """What the guest answers."""
        self.socket.sendall(line)
        answer = b""
        while len(answer) < len(line):
            data = self.socket.recv(4096)
            if not data:
                raise ConnectionError("the guest has ended the session")
            answer += data
        return answer

    def close(self):
        self.socket.close()
