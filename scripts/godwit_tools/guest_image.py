# SPDX-License-Identifier: Apache-2.0
"""
Builds what a guest boots from: Debian's kernel, an initramfs (busybox, modules, our init and test programs of
tests/guest/linux/) and an ext4 disk. The result is kept in the cache under a hash of everything that went in.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import random
import shutil
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path

from . import debian_guest
from .architectures import RISCV64
from .cpio import Archive
from .paths import GUEST_SOURCES, TREE, cache_dir

COMPILE = ["-O2", "-std=gnu17", "-D_GNU_SOURCE", "-static", "-pthread", "-Wall", "-Wextra", "-Werror"]
DISK_BYTES = 64 << 20
DISK_FILES = 24
DISK_FILE_BYTES = 512 << 10
KEPT_IMAGES = 3
# Where there is neither a compiler nor a mirror, this tells the images: JSON, architecture to GuestImage.
READY_IMAGES = "GODWIT_GUEST_IMAGES"


@dataclass
class GuestImage:
    architecture: str
    kernel: Path
    initramfs: Path
    disk: Path       # a template: copy it, never write to it
    firmware: Path | None
    version: str     # of the kernel's package
    append: str = ""  # what the kernel must be told where it runs
    host_modules: list = field(default_factory=list)   # files, in the order in which they load

    def __post_init__(self):
        self.kernel, self.initramfs, self.disk = map(Path, (self.kernel, self.initramfs, self.disk))

    def as_json(self):
        return json.dumps(asdict(self), default=str)


def _sources():
    tools = Path(__file__).parent
    return sorted(p for p in GUEST_SOURCES.rglob("*") if p.is_file()) + \
        [tools / "guest_image.py", tools / "cpio.py"]


def _recipe_hash(debian, architecture):
    digest = hashlib.sha256((debian / "manifest.json").read_bytes())
    digest.update(subprocess.run([architecture.compiler, "--version"], capture_output=True, check=True).stdout)
    for path in _sources():
        digest.update(str(path.relative_to(TREE)).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _add_programs(archive, compiler, home):
    for source in sorted(GUEST_SOURCES.glob("*.c")):
        program = home / source.stem
        subprocess.run([compiler, *COMPILE, "-s", source, "-o", program, "-lm"], check=True)
        archive.file(f"bin/{source.stem}", program.read_bytes(), 0o755)
        program.unlink()


def _build_initramfs(debian, architecture, home):
    archive = Archive()
    for directory in ("proc", "sys", "dev", "tmp", "mnt"):
        archive.directory(directory)
    archive.character_device("dev/console", 5, 1)
    archive.character_device("dev/null", 1, 3)
    archive.file("bin/busybox", (debian / "busybox").read_bytes(), 0o755)
    archive.symlink("bin/sh", "busybox")
    archive.file("etc/modules.order", (debian / "guest.order").read_bytes())
    for name in debian_guest.load_orders(debian)["guest.order"]:
        archive.file(f"lib/modules/{name}.ko", (debian / "modules" / f"{name}.ko").read_bytes())
    archive.file("init", (GUEST_SOURCES / "init").read_bytes(), 0o755)
    for folder, place in (("bin", "bin"), ("run", "etc/run")):
        for script in sorted((GUEST_SOURCES / folder).iterdir()):
            archive.file(f"{place}/{script.name}", script.read_bytes(), 0o755)
    _add_programs(archive, architecture.compiler, home)
    with open(home / "initramfs.cpio", "wb") as stream:
        archive.write(stream)


def _build_disk(home):
    """An ext4 file system with files to be summed up, and their sums."""
    content = home / "disk"
    (content / "files").mkdir(parents=True)
    generator = random.Random(20070829)
    sums = []
    for number in range(DISK_FILES):
        data = generator.randbytes(DISK_FILE_BYTES)
        name = f"files/{number:02}"
        (content / name).write_bytes(data)
        sums.append(f"{hashlib.sha256(data).hexdigest()}  {name}\n")
    (content / "SHA256SUMS").write_text("".join(sums))
    disk = home / "disk.ext4"
    with open(disk, "wb") as stream:
        stream.truncate(DISK_BYTES)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-E", "root_owner=0:0", "-d", content, disk],
                   check=True)
    shutil.rmtree(content)


def _forget_old_images(guests, architecture, keep):
    images = sorted(guests.glob(f"image-{architecture.name}-*"), key=lambda p: p.stat().st_mtime, reverse=True)
    for image in images[KEPT_IMAGES:]:
        if image != keep:
            shutil.rmtree(image, ignore_errors=True)


@contextlib.contextmanager
def _lock(path):
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def prepare(architecture=RISCV64, say=lambda sentence: None, refresh=False):
    """The guest image, built if it is not in the cache. Safe against two runs at once."""
    if os.environ.get(READY_IMAGES):
        return GuestImage(**json.loads(os.environ[READY_IMAGES])[architecture.name])
    guests = cache_dir() / "guest"
    guests.mkdir(exist_ok=True)
    debian = guests / f"debian-{architecture.name}"
    with _lock(guests / f"lock-{architecture.name}"):
        if refresh or not debian_guest.is_complete(debian, architecture):
            debian_guest.fetch(debian, architecture, say)
        home = guests / f"image-{architecture.name}-{_recipe_hash(debian, architecture)}"
        if not home.exists():
            say(f"building the {architecture.name} guest's initramfs and disk")
            fresh = guests / f"image-{architecture.name}.new"
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            _build_initramfs(debian, architecture, fresh)
            _build_disk(fresh)
            fresh.rename(home)
        home.touch()
        _forget_old_images(guests, architecture, home)
    packages = debian_guest.packages(debian)
    version = next(v for name, v in packages.items() if name.startswith("linux-image"))
    return GuestImage(
        architecture=architecture.name, kernel=debian / architecture.kernel_file,
        initramfs=home / "initramfs.cpio", disk=home / "disk.ext4", firmware=architecture.firmware, version=version,
        host_modules=[debian / "modules" / f"{name}.ko"
                      for name in debian_guest.load_orders(debian)["host.order"]])
