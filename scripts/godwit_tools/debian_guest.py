# SPDX-License-Identifier: Apache-2.0
"""
The parts of a guest that Debian makes: a kernel, the modules that our devices need, busybox. Fetched once, unpacked into the cache with a manifest of checksums, and used from there without network.

A home has the kernel, busybox, modules/NAME.ko, and the orders in which they load: guest.order for the guest of
a godwit machine, host.order for a machine that runs godwit.
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


def _orders(architecture):
    """File name of each load order and the modules that it is for."""
    return {"guest.order": list(architecture.modules), "host.order": list(architecture.host_modules)}


def _unpack_kernel(package, architecture, files):
    compressed = {}
    for path, stream in _members(package):
        if path.startswith("./boot/vmlinu"):
            files[architecture.kernel_file] = stream.read()
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
    for order_file, wanted in _orders(architecture).items():
        order = load_order(wanted, images)
        files[order_file] = "".join(name + "\n" for name in order).encode()
        for name in order:
            files[f"modules/{name}.ko"] = images[name]


def _unpack_busybox(package, _, files):
    for path, stream in _members(package):
        if path.endswith("bin/busybox"):
            files["busybox"] = stream.read()


def is_complete(home, architecture):
    """Whether the unpacked files are there, are what the manifest says, and are what is asked for today."""
    try:
        manifest = json.loads((home / "manifest.json").read_text())
        return manifest["modules"] == _orders(architecture) and \
            all(sha256((home / name).read_bytes()) == digest
                for name, digest in manifest["files"].items())
    except (OSError, ValueError, KeyError):
        return False


def packages(home):
    """Package name to version, as they were fetched."""
    return json.loads((home / "manifest.json").read_text())["packages"]


def load_orders(home):
    """{"guest.order": names, "host.order": names}"""
    return {path.name: path.read_text().split() for path in home.glob("*.order")}


def fetch(home, architecture, say):
    """Fills `home` from the mirror. Packages of an interrupted run are used again."""
    apt = ForeignApt(home.parent / f"apt-{architecture.name}", architecture.name, SUITE)
    say(f"asking the mirror for its {architecture.name} index")
    apt.update()
    kernel = apt.field(architecture.kernel_package, "Depends").split(" ")[0]
    files, versions = {}, {}
    for package, unpack in ((kernel, _unpack_kernel), ("busybox-static", _unpack_busybox)):
        version, size = apt.field(package, "Version"), int(apt.field(package, "Size"))
        say(f"fetching {package} {version} ({size / 1e6:.0f} MB)")
        unpack(apt.download(package), architecture, files)
        versions[package] = version
    _store(home, architecture, files, versions)
    shutil.rmtree(apt.home)


def _store(home, architecture, files, versions):
    fresh = home.with_name(home.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    for name, data in files.items():
        path = fresh / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    manifest = {"packages": versions, "modules": _orders(architecture),
                "files": {name: sha256(data) for name, data in files.items()}}
    (fresh / "manifest.json").write_text(json.dumps(manifest, indent=1))
    shutil.rmtree(home, ignore_errors=True)
    fresh.rename(home)
