# SPDX-License-Identifier: Apache-2.0
"""Programs of this host that may be missing, and which Debian package has each."""

import shutil

PACKAGES = {
    "ip": "iproute2", "bridge": "iproute2", "nsenter": "util-linux", "setpriv": "util-linux", "mount": "mount",
    "mke2fs": "e2fsprogs", "tcpdump": "tcpdump", "passt": "passt", "passt-repair": "passt", "dpkg-deb": "dpkg", "zstd": "zstd",
    "apt-get": "apt", "meson": "meson", "ninja": "ninja-build", "gcc": "gcc", "clang": "clang",
    "qemu-system-x86_64": "qemu-system-x86", "qemu-system-riscv64": "qemu-system-riscv or qemu-system-misc",
    "riscv64-linux-gnu-gcc": "gcc-riscv64-linux-gnu", "x86_64-linux-gnu-gcc": "gcc",
}


def absence(*names):
    """A sentence on the first of these programs that is not there; None when all are."""
    for name in names:
        if not shutil.which(name):
            package = PACKAGES.get(name)
            return f"there is no program '{name}'" + (f": Debian's package {package} has it" if package else "")
    return None


def option_value(text):
    """A value in a list of options with commas, as QEMU reads it: a comma of its own is written twice."""
    return str(text).replace(",", ",,")
