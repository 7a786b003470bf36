# SPDX-License-Identifier: Apache-2.0
"""Streams that are not what they should be: refused with a sentence; nobody aborts, hangs or grows."""

import random
import socket
import struct
import time

import pytest

from godwit_tools.patience import PATIENCE_S
from godwit_tools.proxy import TO_DESTINATION, TO_SOURCE, Proxy, flip_bit, wait_until

MAGIC = b"godwit\r\n"
GROWTH_LIMIT_BYTES = 48 << 20


def address(uri):
    host, _, port = uri.removeprefix("tcp:").rpartition(":")
    return host, int(port)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def preamble(low=1, high=1, role=1, magic=MAGIC):
    body = magic + struct.pack("<HHHH16sQI", low, high, role, 0, bytes(range(16)), 0, 0)
    return body + struct.pack("<I", crc32c(body))


def record(kind, body, length=None):
    head = struct.pack("<IIIII", kind, 0, len(body) if length is None else length, 0, crc32c(body))
    return head + struct.pack("<I", crc32c(head)) + body


FOREIGN = {
    "nothing": b"",
    "http": b"GET / HTTP/1.1\r\nHost: example\r\n\r\n",
    "zeroes": bytes(1 << 20),
    "random": random.Random(1).randbytes(1 << 20),
    "qemu": b"QEVM\0\0\0\3" + bytes(4096),
    "half a preamble": preamble()[:20],
    "a damaged preamble": preamble()[:-1] + b"\xff",
    "another version": preamble(77, 99),
    "a backward version range": preamble(9, 1),
    "an unknown role": preamble(role=4711),
    "an unknown record": preamble() + record(0x7777, bytes(8)),
    "an endless offer": preamble() + record(1, b"", length=0xFFFFFFF8),
    "an offer of zeroes": preamble() + record(1, bytes(4096)),
    "extents before an offer": preamble() + record(0x10, bytes(64)),
    "a commit before an offer": preamble() + record(0x30, bytes(16)),
}


@pytest.fixture(scope="module")
def waiting(shared_guest):
    """A machine that waits for a guest, and must still wait for one after every test."""
    machine = shared_guest.get().receiver("tcp:127.0.0.1:0")
    yield machine
    machine.close()


@pytest.mark.sanitized
@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_bytes_do_not_disturb_a_waiting_destination(waiting, name):
    before = waiting.memory_bytes()
    with socket.create_connection(address(waiting.uri), timeout=PATIENCE_S) as link:
        try:
            link.sendall(FOREIGN[name])
            link.shutdown(socket.SHUT_WR)
            while link.recv(65536):
                pass
        except OSError:  # closed already, at whichever of the three calls
            pass
    wait_until(lambda: waiting.status() == "inmigrate", "the destination waits on")
    assert waiting.memory_bytes() - before < GROWTH_LIMIT_BYTES


def test_many_silent_connections_do_not_keep_a_guest_out(guest):
    receiver = guest.receiver("tcp:127.0.0.1:0")
    silent = [socket.create_connection(address(receiver.uri)) for _ in range(40)]
    time.sleep(3)
    source = guest.machine
    source.migrate(receiver.uri)
    assert source.wait_migration()["status"] == "completed"
    for link in silent:
        link.close()
    receiver.wait_status("running")
    guest.arrived(receiver)


def test_a_peer_of_another_version_is_told_so(guest):
    """A listener that answers with a version we do not speak."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE_S)
        guest.machine.migrate("tcp:127.0.0.1:%d" % listener.getsockname()[1])
        link = listener.accept()[0]
        asked = link.recv(48, socket.MSG_WAITALL)
        body = MAGIC + struct.pack("<HHHH16sQI", 50, 60, 1, 0, asked[16:32], 0, 1)
        link.sendall(body + struct.pack("<I", crc32c(body)))
        info = guest.machine.wait_migration()
        link.close()
    assert info["status"] == "failed"
    assert "version" in info["error-desc"]
    assert guest.machine.wait_status("running") == "running"


def test_a_listener_that_is_no_godwit_is_told_so(guest):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE_S)
        guest.machine.migrate("tcp:127.0.0.1:%d" % listener.getsockname()[1])
        link = listener.accept()[0]
        link.sendall(b"SSH-2.0-something that is not a migration peer at all, long enough\r\n")
        info = guest.machine.wait_migration()
        link.close()
    assert info["status"] == "failed"
    assert len(info["error-desc"].split()) > 4


def test_nobody_listens(guest):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    guest.machine.migrate(f"tcp:127.0.0.1:{port}")
    info = guest.machine.wait_migration()
    assert info["status"] == "failed"
    assert str(port) in info["error-desc"]


class BrokenLink:
    """Migrates through a proxy that damages the stream; the guest must stay, and both sides must explain."""

    def __init__(self, guest, mangle):
        self.guest, self.source = guest, guest.machine
        self.receiver = guest.receiver("tcp:127.0.0.1:0")
        self.proxy = Proxy(address(self.receiver.uri), mangle=mangle(self))

    def run(self):
        self.source.set(x_godwit_verify_ram=True, x_godwit_peer_timeout=1500)
        self.source.migrate(self.proxy.uri)
        info = self.source.wait_migration()
        assert info["status"] == "failed", info
        assert len(info["error-desc"].split()) > 3, info["error-desc"]
        self.source.wait_status("running")
        self.receiver.wait_status("inmigrate")
        assert self.receiver.memory_bytes() < GROWTH_LIMIT_BYTES + (160 << 20)

    def close(self):
        self.proxy.close()
        self.receiver.close()


def offsets(count, low, high, seed):
    generator = random.Random(seed)
    return sorted(generator.randrange(low, high) for _ in range(count))


SEED = random.SystemRandom().randrange(1 << 32)


@pytest.mark.parametrize("number", range(8))
def test_a_flipped_bit_on_its_way_to_the_destination_is_noticed(guest, number):
    at_byte = [3, 60, 200, *offsets(5, 400, 4_000_000, SEED)][number]
    print(f"seed {SEED}: bit of byte {at_byte}")
    broken = BrokenLink(guest, lambda link: flip_bit(TO_DESTINATION, at_byte))
    try:
        broken.run()
    finally:
        broken.close()


@pytest.mark.parametrize("number", range(3))
def test_a_flipped_bit_on_its_way_to_the_source_is_noticed(guest, number):
    at_byte = [9, 50, 80][number]
    broken = BrokenLink(guest, lambda link: flip_bit(TO_SOURCE, at_byte))
    try:
        broken.run()
    finally:
        broken.close()


@pytest.mark.parametrize("number", range(5))
def test_a_truncated_stream_is_noticed(guest, number):
    at_byte = [20, 60, *offsets(3, 400, 4_000_000, SEED + 1)][number]
    print(f"seed {SEED}: cut at byte {at_byte}")

    def truncating(link):
        def mangle(direction, offset, data):
            if direction == TO_DESTINATION and offset + len(data) > at_byte:
                link.proxy.cut()
            return data
        return mangle

    broken = BrokenLink(guest, truncating)
    try:
        broken.run()
    finally:
        broken.close()
