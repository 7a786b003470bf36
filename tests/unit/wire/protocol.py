#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
A second reader of the migration protocol, written from docs/protocol.md alone.

    protocol.py DIRECTORY

reads a recorded session (N.source and N.destination for each connection) and checks every rule of the page that
can be seen in a recording. Prints one line of JSON; exits with 1 and a sentence at the first violation.
"""

import json
import struct
import sys
from pathlib import Path

MAGIC = bytes.fromhex("676f647769740d0a")
PAGE = 4096
ROLES = {1: "control", 2: "data", 3: "fault", 4: "query"}


class Violation(Exception):
    pass


def make_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = make_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


assert crc32c(b"123456789") == 0xE3069283

# Section 5: name, directions, channels, maximum, fields ("z" is a field that must be zero).
S, D = "source", "destination"
RECORDS = {
    0x01: ("OFFER", {S}, {1}, 2097152, None),
    0x02: ("ACCEPT", {D}, {1}, 24, "features:Q record_ns:Q data_channels:I z:I"),
    0x03: ("REFUSE", {D}, {1}, 528, "layer:I code:I text_bytes:I z:I"),
    0x04: ("ERROR", {S, D}, {1, 4}, 528, "layer:I code:I text_bytes:I z:I"),
    0x05: ("CANCEL", {S}, {1}, 0, ""),
    0x06: ("END", {S, D}, {1, 2, 4}, 0, ""),
    0x07: ("PING", {S, D}, {1}, 16, "id:Q sent:Q"),
    0x08: ("PONG", {S, D}, {1}, 32, "id:Q sent:Q received:Q answered:Q"),
    0x09: ("PARAMETERS", {S}, {1}, 24, "bandwidth:Q budget_ms:Q timeout_ms:Q"),
    0x8000000A: ("PROGRESS", {D}, {1}, 24, "round:I zero:I raw:Q zero_pages:Q"),
    0x8000000B: ("RESIDENT", {S}, {1}, 65528, "count:I z:I"),
    0x8000000C: ("PEER", {S, D}, {1}, 536, "boot_high:Q boot_low:Q text_bytes:I z:I"),
    0x10: ("EXTENT", {S}, {1, 2}, 1049624, None),
    0x11: ("BARRIER", {S}, {1, 2}, 8, "round:I attempt:I"),
    0x20: ("STATE", {S}, {1}, 1048608, "attempt:I part_bytes:I offset:Q total:Q serial:Q"),
    0x21: ("REHEARSED", {D}, {1}, 544, "serial:Q load_ns:Q layer:I code:I text_bytes:I z:I"),
    0x22: ("SWITCH", {S}, {1}, 24, "attempt:I verify:I budget:Q stopped:Q"),
    0x23: ("READY", {D}, {1}, 24, "attempt:I z:I ram:Q load:Q"),
    0x24: ("CANCEL_SWITCH", {S}, {1}, 8, "attempt:I z:I"),
    0x25: ("VERIFY", {S}, {1}, 16, "attempt:I z:I hash:Q"),
    0x26: ("VERIFIED", {D}, {1}, 24, "attempt:I equal:I hash:Q hash_ns:Q"),
    0x30: ("COMMIT", {S}, {1}, 16, "epoch:Q attempt:I run:I"),
    0x31: ("RUNNING", {D}, {1}, 40, "epoch:Q started:Q record:Q acquire:Q start:Q"),
    0x32: ("CONFIRM", {S}, {1, 4}, 8, "epoch:Q"),
    0x80000033: ("FLIGHT", {S}, {1}, 1048584, "bytes:I z:I"),
    0x40: ("QUERY_OWNER", {S}, {4}, 8, "epoch:Q"),
    0x41: ("OWNER", {D}, {4}, 8, "epoch:Q"),
    0x42: ("REFUSED", {D}, {1, 4}, 536, "epoch:Q layer:I code:I text_bytes:I z:I"),
}
TAILS = {"text_bytes": 1, "part_bytes": 1, "bytes": 1, "count": 16}


def require(holds, sentence):
    if not holds:
        raise Violation(sentence)


def padded(length):
    return (length + 7) // 8 * 8


def read_preamble(data, side):
    require(len(data) >= 48, "a channel without a preamble")
    magic, low, high, role, index, session, zero, flags, crc = struct.unpack("<8sHHHH16sQII", data[:48])
    require(magic == MAGIC, "wrong magic")
    require(crc == crc32c(data[:44]), "CRC of a preamble")
    require(zero == 0 and flags == (1 if side == D else 0), "zero fields or the answer flag of a preamble")
    require(1 <= low <= high and role in ROLES, "versions or role of a preamble")
    if side == D:
        require(low == high == 1, "the answer does not choose version 1")
    return role, index, session


def read_fields(name, layout, body):
    fields, at = {}, 0
    for item in layout.split():
        field, kind = item.split(":")
        size = 8 if kind == "Q" else 4
        require(at + size <= len(body), f"{name} is too short")
        value = int.from_bytes(body[at:at + size], "little")
        require(field != "z" or value == 0, f"{name} has a zero field that is not zero")
        fields[field] = value
        at += size
    tail = next((fields[field] * unit for field, unit in TAILS.items() if field in fields), 0)
    require(len(body) == at + padded(tail), f"the length of {name} does not fit its fields")
    require(not any(body[at + tail:]), f"the padding of {name} is not zero")
    fields["tail"] = body[at:at + tail]
    return fields


def read_offer(body):
    require(len(body) >= 120, "OFFER is too short")
    names = "features epoch timeout_ms page_bytes regions data_channels running description schema flights zero machine"
    offer = dict(zip(names.split(), struct.unpack("<QQQIIIIIIII64s", body[:120])))
    require(offer["page_bytes"] == PAGE and offer["zero"] == 0 and 1 <= offer["regions"] <= 16, "fields of OFFER")
    at, regions = 120, []
    for _ in range(offer["regions"]):
        name, base, size = struct.unpack("<32sQQ", body[at:at + 48])
        regions.append((name.rstrip(b"\0").decode(), base, size))
        at += 48
    description = body[at:at + offer["description"]]
    json.loads(description)
    for part in ("description", "schema", "flights"):
        end = at + padded(offer[part])
        require(not any(body[at + offer[part]:end]), "padding in OFFER")
        at = end
    require(at == len(body), "the length of OFFER")
    return offer | {"regions": regions}


def read_extent(body):
    region, kind, first, count, data = struct.unpack("<IIQII", body[:24])
    table = padded(4 * count) if kind == 1 else 0
    require(kind in (0, 1) and count > 0, "kind or count of an EXTENT")
    require(data == (count * PAGE if kind == 1 else 0), "data bytes of an EXTENT")
    require(kind == 0 or count <= 256, "an EXTENT of too many pages")
    require(len(body) == 24 + table + data, "the length of an EXTENT")
    crcs = struct.unpack(f"<{count}I", body[24:24 + 4 * count]) if kind == 1 else ()
    return {"region": region, "kind": kind, "first": first, "count": count, "crcs": crcs, "data": body[24 + table:]}, 24 + table


def read_records(data, side, role):
    """Every record of one direction of a channel: name and fields."""
    at, sequence, records = 48, 0, []
    while at < len(data):
        require(at + 24 <= len(data), "a record's header is cut")
        kind, flags, length, number, body_crc, head_crc = struct.unpack("<IIIIII", data[at:at + 24])
        require(head_crc == crc32c(data[at:at + 20]), "CRC of a header")
        require(kind in RECORDS, f"unknown type {kind:#x}")
        name, sides, roles, maximum, layout = RECORDS[kind]
        require(flags == 0 and length % 8 == 0 and length <= maximum, f"flags or length of {name}")
        require(number == sequence, f"{name} has number {number}, {sequence} was due")
        require(side in sides and role in roles, f"{name} from the {side} on a {ROLES[role]} channel")
        body = data[at + 24:at + 24 + length]
        require(len(body) == length, f"{name} is cut")
        checked = length
        if name == "OFFER":
            fields = read_offer(body)
        elif name == "EXTENT":
            fields, checked = read_extent(body)
        else:
            fields = read_fields(name, layout, body)
        require(body_crc == crc32c(body[:checked]), f"CRC of {name}")
        records.append((name, fields))
        at += 24 + length
        sequence += 1
    return records


def check_memory(records, regions):
    """Section 6 and the ordering rules 3 and 4. One channel carries all memory here."""
    pages, suspect, seen = {}, set(), set()
    rounds = last_attempt = raw = zero = 0
    for name, fields in records:
        if name == "BARRIER":
            rounds += 1
            require(fields["round"] == rounds, "rounds count without gaps")
            if rounds == 1:
                wanted = sum(size // PAGE for _, _, size in regions)
                require(len(seen) <= wanted, "the first round has more pages than there are")
            if fields["attempt"]:
                last_attempt = fields["attempt"]
            seen = set()
        elif name == "EXTENT":
            require(fields["region"] < len(regions), "an EXTENT of no region")
            size = regions[fields["region"]][2] // PAGE
            require(fields["first"] + fields["count"] <= size, "an EXTENT outside its region")
            for i in range(fields["count"]):
                page = (fields["region"], fields["first"] + i)
                require(page not in seen, f"page {page} twice in round {rounds + 1}")
                seen.add(page)
                suspect.discard(page)
                if fields["kind"] == 0:
                    zero += 1
                    pages.pop(page, None)
                else:
                    raw += 1
                    data = fields["data"][i * PAGE:(i + 1) * PAGE]
                    pages[page] = data
                    if crc32c(data) != fields["crcs"][i]:
                        suspect.add(page)
    require(last_attempt > 0, "no BARRIER names an attempt")
    require(not suspect, f"pages that stayed damaged: {sorted(suspect)[:3]}")
    return {"rounds": rounds, "raw": raw, "zero": zero, "pages": len(pages), "attempt": last_attempt}


def order(records, *names):
    positions = [next((i for i, (name, _) in enumerate(records) if name == wanted), None) for wanted in names]
    require(None not in positions and positions == sorted(positions), f"order of {' '.join(names)}: {positions}")


def read_session(directory):
    channels = {}
    for path in sorted(directory.glob("*.source")):
        source, destination = path.read_bytes(), path.with_suffix(".destination").read_bytes()
        role, index, session = read_preamble(source, S)
        require(read_preamble(destination, D) == (role, index, session), "an answer for another channel")
        channels[role, index] = (session, read_records(source, S, role), read_records(destination, D, role))
    require((1, 0) in channels, "no control channel")
    require(len({session for session, _, _ in channels.values()}) == 1, "channels of more than one session")
    return channels


def check_session(directory):
    channels = read_session(directory)
    _, sent, received = channels[1, 0]
    require(sent[0][0] == "OFFER", "the first record is no OFFER")
    offer = sent[0][1]
    order(sent, "OFFER", "STATE", "SWITCH", "COMMIT", "CONFIRM", "END")
    order(received, "ACCEPT", "REHEARSED", "READY", "RUNNING", "END")
    memory = check_memory(channels[2, 0][1] if (2, 0) in channels else sent, offer["regions"])
    commit = next(fields for name, fields in sent if name == "COMMIT")
    require(commit["epoch"] == offer["epoch"] + 1, "the epoch of COMMIT")
    require(commit["attempt"] == memory["attempt"], "COMMIT of an attempt whose pages were not sent")
    require([f["attempt"] for n, f in received if n == "READY"][-1] == commit["attempt"], "READY of another attempt")
    return memory | {"records": sum(len(a) + len(b) for _, a, b in channels.values()), "epoch": commit["epoch"]}


def main():
    try:
        print(json.dumps(check_session(Path(sys.argv[1]))))
    except Violation as violation:
        sys.exit(f"protocol.py: {violation}")


if __name__ == "__main__":
    main()
