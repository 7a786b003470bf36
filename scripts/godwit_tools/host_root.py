# SPDX-License-Identifier: Apache-2.0
"""
A root file system for a Linux host that runs our programs and tests: taken from the host that we are on, file by
file, each at its own path: programs with their shared libraries, Python with pytest.
"""

import os
import re
import subprocess
import sysconfig
from importlib.util import find_spec
from pathlib import Path

from .cpio import Archive

LIBRARY = re.compile(r"(?:=> )?(/\S+) \(0x")
MERGED = ("bin", "sbin", "lib", "lib64")   # names that /usr has taken over
PYTEST = ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "attr", "py", "exceptiongroup", "tomli", "pygments")
STDLIB_LEFT_OUT = re.compile(r"/(config-.*|test|idlelib|lib2to3|distutils|ensurepip|pydoc_data|site-packages|dist-packages)/")


class HostRoot:
    def __init__(self):
        self.archive = Archive()
        for name in MERGED:
            self.archive.directory(f"usr/{name}")
            self.archive.symlink(name, f"usr/{name}")
        for directory in ("proc", "sys", "dev", "tmp", "root", "etc"):
            self.archive.directory(directory)
        self.archive.character_device("dev/console", 5, 1)
        self.archive.character_device("dev/null", 1, 3)

    @staticmethod
    def _place(path):
        """The path in the archive; its directory resolved, for /lib and the like are links."""
        path = Path(os.path.abspath(path))
        place = str(path.parent.resolve() / path.name).lstrip("/")
        return f"usr/{place}" if place.split("/")[0] in MERGED else place

    def add(self, path, place=None):
        """One file, with its time: compiled Python is only believed when its source has the time it had."""
        place = place or self._place(path)
        if place not in self.archive:
            status = os.stat(path)
            self.archive.file(place, Path(path).read_bytes(), status.st_mode & 0o777, int(status.st_mtime))

    def add_text(self, place, text, mode=0o644):
        self.archive.file(place.lstrip("/"), text.encode(), mode)

    def add_tree(self, directory, wanted=lambda path: True):
        for path in sorted(Path(directory).rglob("*")):
            if path.is_file() and wanted(path):
                self.add(path)

    def add_programs(self, *paths):
        """Programs or shared objects, and the libraries that they are linked with."""
        for path in paths:
            self.add(path)
        listed = subprocess.run(["ldd", *paths], capture_output=True, text=True, check=False).stdout
        for library in set(LIBRARY.findall(listed)):
            self.add(library)

    def add_python(self):
        """The interpreter that runs this, its standard library and pytest."""
        stdlib = Path(sysconfig.get_path("stdlib"))
        self.add_tree(stdlib, lambda path: not STDLIB_LEFT_OUT.search(str(path)))
        self.add_programs("/usr/bin/python3", *sorted((stdlib / "lib-dynload").glob("*.so")))
        for name in PYTEST:
            spec = find_spec(name)
            if spec is None or spec.origin in (None, "built-in", "frozen"):
                continue
            if spec.submodule_search_locations:
                self.add_tree(spec.submodule_search_locations[0])
            else:
                self.add(spec.origin)

    def write(self, path):
        with open(path, "wb") as stream:
            self.archive.write(stream)
