#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The scripts themselves: shell passes shellcheck, Python compiles, the small formats are right."""

import io
import random
import shutil
import struct
import subprocess
import sys
import unittest

from tree import ROOT, tree_files

sys.path.insert(0, str(ROOT / "scripts"))
from godwit_tools.cpio import Archive  # noqa: E402
from godwit_tools.console import counter_problems  # noqa: E402
from godwit_tools.modules import load_order, module_name  # noqa: E402
from godwit_tools.proxy import TO_SOURCE, Framer, flip_bit  # noqa: E402


def scripts(interpreter):
    for path in tree_files():
        first = (ROOT / path).read_bytes()[:80].partition(b"\n")[0]
        if first.startswith(b"#!") and interpreter in first:
            yield path


class Scripts(unittest.TestCase):
    def test_shell_scripts_pass_shellcheck(self):
        if shutil.which("shellcheck") is None:
            self.skipTest("shellcheck is not installed")
        paths = [path for path in scripts(b"sh") if not path.startswith("tests/guest/")]
        run = subprocess.run(["shellcheck", *paths], cwd=ROOT, capture_output=True, text=True)
        self.assertEqual(0, run.returncode, run.stdout)

    def test_python_compiles(self):
        for path in {*scripts(b"python"), *(p for p in tree_files() if p.endswith(".py"))}:
            with self.subTest(path):
                compile((ROOT / path).read_text(), path, "exec")


class Cpio(unittest.TestCase):
    def test_another_reader_sees_the_same_files(self):
        if shutil.which("cpio") is None:
            self.skipTest("cpio is not installed")
        archive = Archive()
        archive.file("a/b/file", b"12345", 0o755)
        archive.symlink("a/link", "b/file")
        archive.character_device("dev/console", 5, 1)
        stream = io.BytesIO()
        archive.write(stream)
        run = subprocess.run(["cpio", "-tv", "--quiet"], input=stream.getvalue(), capture_output=True)
        listing = run.stdout.decode().split("\n")
        self.assertEqual(b"", run.stderr)
        self.assertEqual(["a", "a/b", "a/b/file", "b/file", "dev", "dev/console"],
                         sorted(line.split()[-1] for line in listing if line))
        self.assertTrue(any(line.startswith("crw") and "5,   1" in line for line in listing))


class Modules(unittest.TestCase):
    def test_dependencies_load_first_and_once(self):
        images = {"a": b"\0depends=b,c-d\0", "b": b"\0depends=c-d\0", "c_d": b"\0depends=\0"}
        self.assertEqual(["c_d", "b", "a"], load_order(["a", "b"], images))

    def test_dashes_in_file_names_are_underscores_in_names(self):
        self.assertEqual("virtio_rng", module_name("drivers/virtio-rng.ko.xz"))


class ProxyParts(unittest.TestCase):
    STREAM = b"p" * 48 + struct.pack("<IIIIII", 0x01, 0, 16, 0, 0, 0) + b"o" * 16 + \
        struct.pack("<IIIIII", 0x06, 0, 0, 1, 0, 0)

    def test_records_are_found_however_the_stream_is_cut(self):
        generator = random.Random(7)
        for _ in range(50):
            framer, out, begun, left = Framer(), b"", [], self.STREAM
            while left:
                cut = generator.randrange(1, 40)
                for piece, begins, ends in framer.pieces(left[:cut]):
                    out += piece
                    begun += [framer.record] if begins else []
                left = left[cut:]
            self.assertEqual(["PREAMBLE", "OFFER", "END"], begun)
            self.assertEqual(self.STREAM, out)
            self.assertTrue(ends)

    def test_one_bit_is_flipped_in_one_direction(self):
        mangle = flip_bit(TO_SOURCE, 5)
        self.assertEqual(b"ab\x10de", mangle(TO_SOURCE, 3, b"ab\0de"))
        self.assertEqual(b"abcde", mangle("to destination", 3, b"abcde"))
        self.assertEqual(b"abcde", mangle(TO_SOURCE, 6, b"abcde"))


class Counter(unittest.TestCase):
    def test_a_counter_that_jumps_is_told(self):
        self.assertEqual([], counter_problems([(0, 1, 0), (1, 2, 100)]))
        self.assertEqual(["the counter went from 2 to 4"],
                         counter_problems([(0, 1, 0), (1, 2, 100), (2, 4, 200)]))
        self.assertEqual(["the counter went from 2 to 2"], counter_problems([(0, 2, 0), (1, 2, 0)]))
