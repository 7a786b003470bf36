# SPDX-License-Identifier: Apache-2.0
"""
pinger.py INTERVAL_MS ADDRESS...: pings each address, of either family, at an even pace until its standard input ends.
Then it prints, as JSON, what was not as it should be: silences, losses, answers that came twice. Times are of the
kernel, when the answer came in, in seconds of CLOCK_REALTIME. While the pinger itself got no CPU and asked nothing there
is no silence either: those times are told as well.
"""

import contextlib
import json
import os
import select
import socket
import struct
import sys
import time

SILENCE_S = 0.005            # shorter ones are not told
LATE_S = 0.002
ECHO = {socket.AF_INET: (8, 0), socket.AF_INET6: (128, 129)}    # request, answer
SO_TIMESTAMPNS = 35
ICMP6_FILTER = 1


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xffff) + (total >> 16)
    return ~(total + (total >> 16)) & 0xffff


class Target:
    def __init__(self, address):
        self.address = address
        self.family = socket.getaddrinfo(address, None)[0][0]
        self.request, self.answer = ECHO[self.family]
        ip6 = self.family == socket.AF_INET6
        self.header_bytes = 0 if ip6 else 20
        self.socket = socket.socket(self.family, socket.SOCK_RAW,
                                    socket.IPPROTO_ICMPV6 if ip6 else socket.IPPROTO_ICMP)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        if ip6:
            allowed = bytearray(b"\xff" * 32)
            allowed[self.answer // 8] &= ~(1 << self.answer % 8) & 0xff
            self.socket.setsockopt(socket.IPPROTO_ICMPV6, ICMP6_FILTER, bytes(allowed))
        self.socket.setblocking(False)
        self.identity = os.getpid() & 0xffff
        self.sent, self.answered, self.twice, self.alien = 0, set(), 0, 0
        self.last, self.silences, self.slowest = None, [], 0

    def send(self):
        number = self.sent
        body = struct.pack("!HHQQ", self.identity, number & 0xffff, number, time.time_ns())
        head = struct.pack("!BBH", self.request, 0, 0)
        if self.family == socket.AF_INET:
            head = struct.pack("!BBH", self.request, 0, checksum(head + body))
        self.sent += 1
        with contextlib.suppress(OSError):       # counts as lost
            self.socket.sendto(head + body, (self.address, 0))

    def receive(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                data, extra, _, _ = self.socket.recvmsg(256, 128)
                self._take(data[self.header_bytes:], extra)

    def _take(self, data, extra):
        if len(data) < 24 or data[0] != self.answer:
            return
        identity, _, number, sent_ns = struct.unpack_from("!HHQQ", data, 4)
        if identity != self.identity:
            return
        if number in self.answered or number >= self.sent:
            self.twice += 1
        self.answered.add(number)
        seconds, nano = struct.unpack_from("qq", extra[0][2])
        now = seconds + nano / 1e9
        if self.last is not None and now - self.last > SILENCE_S:
            self.silences.append((self.last, now))
        self.last = now
        self.slowest = max(self.slowest, now - sent_ns / 1e9)

    def report(self):
        lost = sorted(set(range(self.sent)) - self.answered)
        return {"address": self.address, "sent": self.sent, "answered": len(self.answered), "twice": self.twice,
                "lost": len(lost), "silences": self.silences, "slowest_ms": self.slowest * 1000}


def main():
    interval, targets = float(sys.argv[1]) / 1000, [Target(address) for address in sys.argv[2:]]
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    print("begun", flush=True)
    due, unasked, asked = time.monotonic(), [], time.time()
    while True:
        wait = max(due - time.monotonic(), 0)
        ready = select.select([sys.stdin, *(t.socket for t in targets)], [], [], wait)[0]
        if sys.stdin in ready:
            break
        now = time.monotonic()
        if now >= due:
            before, asked = asked, time.time()
            if asked - before > interval + LATE_S:
                unasked.append((before, asked))
            for target in targets:
                target.send()
            due = max(due + interval, now - 10 * interval)
        for target in targets:
            if target.socket in ready:
                target.receive()
    time.sleep(0.2)
    for target in targets:
        target.receive()
    print(json.dumps({"unasked": unasked, "targets": [target.report() for target in targets]}))


if __name__ == "__main__":
    main()
