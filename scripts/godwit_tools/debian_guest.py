# SPDX-License-Identifier: Apache-2.0
"""
The parts of a guest that Debian makes: its riscv64 kernel, the modules that our devices need, busybox.
Fetched once, unpacked into the cache with a manifest of checksums, and used from there without network.
"""

import hashlib
import json
import lzma
import shutil
import subprocess
import tarfile

from .foreign_apt import ForeignApt
from .modules import load_order, module_name

SUITE = "trixie"
ARCHITECTURE = "riscv64"
KERNEL_PACKAGE = "linux-image-riscv64"
MODULES = ["virtio_mmio", "virtio_blk", "virtio_rng", "virtio_input", "evdev", "crc32c_generic", "ext4"]


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def _members(package):
    """(path, bytes) of each regular file in a .deb."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as unpack:
        with tarfile.open(fileobj=unpack.stdout, mode="r|") as tar:
            for member in tar:
                if member.isreg():
                    yield member.name, tar.extractfile(member)
    if unpack.returncode != 0:
        raise RuntimeError(f"dpkg-deb cannot unpack {package}")


def _decompress(path, data):
    if path.endswith(".xz"):
        return lzma.decompress(data)
    if path.endswith(".zst"):
        return subprocess.run(["zstd", "-dc"], input=data, capture_output=True, check=True).stdout
    return data


def _unpack_kernel(package, files):
    compressed = {}
    for path, stream in _members(package):
        if path.startswith("./boot/vmlinu"):
            files["Image"] = stream.read()
        elif ".ko" in path:
            compressed[module_name(path)] = (path, stream.read())

    class Images(dict):
        """Decompresses a module when it is asked for: the package has thousands, we need ten."""

        def __missing__(self, name):
            self[name] = _decompress(*compressed[name])
            return self[name]

        def __contains__(self, name):
            return name in compressed

    images = Images()
    order = load_order(MODULES, images)
    files["modules.order"] = "".join(name + "\n" for name in order).encode()
    for name in order:
        files[f"modules/{name}.ko"] = images[name]


def _unpack_busybox(package, files):
    for path, stream in _members(package):
        if path.endswith("bin/busybox"):
            files["busybox"] = stream.read()


def is_complete(home):
    """Whether the unpacked files are there, are what the manifest says, and are what is asked for today."""
    try:
        manifest = json.loads((home / "manifest.json").read_text())
        return manifest["modules"] == MODULES and \
            all(sha256((home / name).read_bytes()) == digest
                for name, digest in manifest["files"].items())
    except (OSError, ValueError, KeyError):
        return False


def packages(home):
    """Package name to version, as they were fetched."""
    return json.loads((home / "manifest.json").read_text())["packages"]


def fetch(home, say):
    """Fills `home` from the mirror. Packages of an interrupted run are used again."""
    apt = ForeignApt(home.parent / "apt", ARCHITECTURE, SUITE)
    say("asking the mirror for its riscv64 index")
    apt.update()
    kernel = apt.field(KERNEL_PACKAGE, "Depends").split(" ")[0]
    files, versions = {}, {}
    for package, unpack in ((kernel, _unpack_kernel), ("busybox-static", _unpack_busybox)):
        version, size = apt.field(package, "Version"), int(apt.field(package, "Size"))
        say(f"fetching {package} {version} ({size / 1e6:.0f} MB)")
        unpack(apt.download(package), files)
        versions[package] = version
    _store(home, files, versions)
    shutil.rmtree(apt.home)


def _store(home, files, versions):
    fresh = home.with_name(home.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    for name, data in files.items():
        path = fresh / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    manifest = {"packages": versions, "modules": MODULES,
                "files": {name: sha256(data) for name, data in files.items()}}
    (fresh / "manifest.json").write_text(json.dumps(manifest, indent=1))
    shutil.rmtree(home, ignore_errors=True)
    fresh.rename(home)
