#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Each header compiles alone: public ones as C and C++ with two compilers, internal ones as C."""

import shutil
import subprocess
import unittest

from tree import ROOT, c_files

# --std is what an embedding program may use: the public API needs no GNU extensions of the language.
PUBLIC_COMPILERS = [
    ["gcc", "-x", "c", "-std=c11"], ["clang", "-x", "c", "-std=c11"],
    ["g++", "-x", "c++", "-std=c++17"], ["clang++", "-x", "c++", "-std=c++17"],
]
INTERNAL_COMPILER = ["gcc", "-x", "c", "-std=gnu17", "-D_GNU_SOURCE", f"-I{ROOT}/src"]
FLAGS = ["-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter",
         "-Wno-unused-function", f"-I{ROOT}/include"]


def headers(folder):
    return [path for path in c_files() if path.startswith(folder) and path.endswith(".h")]


class HeadersAlone(unittest.TestCase):
    def compiles(self, compiler, header):
        source = f'#include "{header}"\n'      # in quotes, which no path that has some may be in
        run = subprocess.run([*compiler, *FLAGS, "-"], cwd=ROOT, input=source, capture_output=True, text=True)
        with self.subTest(header=header, compiler=compiler[0]):
            self.assertEqual(0, run.returncode, run.stderr)

    def test_public_headers(self):
        for compiler in PUBLIC_COMPILERS:
            if shutil.which(compiler[0]) is None:
                self.skipTest(f"{compiler[0]} is not installed")
            for header in headers("include/"):
                self.compiles(compiler, header)

    def test_internal_headers(self):
        for header in headers("src/"):
            self.compiles(INTERNAL_COMPILER, header)
