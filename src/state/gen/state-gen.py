#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the state tables of the devices in one C header (docs/state.md, "Marks").

    state-gen.py [-I DIR]... [--depfile FILE] HEADER OUTPUT

How it works: libclang parses the header with GW_STATE_GENERATOR defined, so that the marks are annotate
attributes. Values in marks are C expressions; a second parse puts each into an enumerator and reads its
value. model.py holds what a struct says and checks it; emit.py writes the C file. Every mistake is one line
"file:line: struct x: field y: what is wrong", and no output is written.
"""

import argparse
import os
import re
import sys

sys.dont_write_bytecode = True  # a build leaves nothing in the source tree
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import emit  # noqa: E402
import model  # noqa: E402
import parse  # noqa: E402


def parse_arguments():
    parser = argparse.ArgumentParser(description="generate device state tables")
    parser.add_argument("-I", dest="include", action="append", default=[], metavar="DIR")
    parser.add_argument("--depfile", metavar="FILE")
    parser.add_argument("header")
    parser.add_argument("output")
    return parser.parse_args()


def write_depfile(path, output, headers):
    here = os.path.dirname(os.path.abspath(__file__))
    scripts = [os.path.join(here, name) for name in ("state-gen.py", "parse.py", "model.py", "emit.py")]
    escaped = [re.sub(r"[ #]", r"\\\g<0>", name).replace("$", "$$") for name in list(headers) + scripts]
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{output}: " + " ".join(escaped) + "\n")


def main():
    arguments = parse_arguments()
    try:
        header = parse.parse_header(arguments.header, arguments.include)
        devices = model.build(header)
    except parse.Mistakes as mistakes:
        for line in mistakes.lines:
            print(line, file=sys.stderr)
        return 1
    text = emit.emit(devices, parse.include_name(arguments.header, arguments.include))
    if arguments.depfile:
        write_depfile(arguments.depfile, arguments.output, header.includes)
    with open(arguments.output, "w", encoding="utf-8") as file:
        file.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
