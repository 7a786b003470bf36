# SPDX-License-Identifier: Apache-2.0
"""
A writer for the "newc" cpio format that the kernel unpacks as an initramfs. Written here because device nodes
must go in without root, and because equal input has to give an equal archive.
"""

import stat

ALIGNMENT = 4


def _pad(data):
    return data + b"\0" * (-len(data) % ALIGNMENT)


class Archive:
    """Collects entries by path (relative, no leading slash); parents are made as needed."""

    def __init__(self):
        self._entries = {}

    def _add(self, path, mode, data=b"", device=(0, 0), modified=0):
        parent = path.rpartition("/")[0]
        if parent and parent not in self._entries:
            self.directory(parent)
        self._entries[path] = (mode, data, device, modified)

    def directory(self, path):
        self._add(path, stat.S_IFDIR | 0o755)

    def file(self, path, data, mode=0o644, modified=0):
        """`modified`: seconds since 1970."""
        self._add(path, stat.S_IFREG | mode, data, modified=modified)

    def symlink(self, path, target):
        self._add(path, stat.S_IFLNK | 0o777, target.encode())

    def character_device(self, path, major, minor):
        self._add(path, stat.S_IFCHR | 0o600, device=(major, minor))

    def __contains__(self, path):
        return path in self._entries

    def write(self, stream):
        for number, (path, entry) in enumerate(self._entries.items(), 1):
            stream.write(self._record(number, path, *entry))
        stream.write(self._record(0, "TRAILER!!!", 0, b"", (0, 0), 0))

    @staticmethod
    def _record(inode, path, mode, data, device, modified):
        name = path.encode() + b"\0"
        links = 2 if stat.S_ISDIR(mode) else 1
        fields = (inode, mode, 0, 0, links, modified, len(data), 0, 0, *device, len(name), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        return _pad(header + name) + _pad(data)
