# SPDX-License-Identifier: Apache-2.0
"""QEMU, to be compared with or talked to: the newest that Debian has for this release, and machines of it."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from .foreign_apt import FetchError, ForeignApt
from .patience import PATIENCE_S
from .paths import cache_dir
from .programs import option_value
from .qmp import Qmp

WANTED = 10   # the major version that is worth a download
PACKAGES = ("qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios")
VERSION = re.compile(r"version (\d+)\.(\d+)\.(\d+)")
MISSING = re.compile(r"(\S+) => not found")


def version_of(program, environment=None):
    """(10, 0, 2); None if it does not run."""
    try:
        printed = subprocess.run([program, "--version"], capture_output=True, text=True, env=environment, check=True).stdout
        return tuple(map(int, VERSION.search(printed).groups()))
    except (OSError, subprocess.CalledProcessError, AttributeError):
        return None


def _codename():
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    raise FetchError("this is no Debian: /etc/os-release names no release")


class Qemu:
    """A program and what it needs around it."""

    def __init__(self, program, arguments=(), environment=None, origin="the distribution's own"):
        self.program, self.arguments, self.environment, self.origin = program, list(arguments), environment, origin
        self.version = version_of(program, environment)

    def __str__(self):
        return f"QEMU {'.'.join(map(str, self.version))} ({self.origin})"


def _unpacked(home):
    programs = list(home.glob("usr/bin/qemu-system-x86_64"))
    if not programs:
        return None
    libraries = ":".join(str(home / part) for part in ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"))
    qemu = Qemu(programs[0], ["-L", home / "usr/share/seabios", "-L", home / "usr/share/qemu"],
                {**os.environ, "LD_LIBRARY_PATH": libraries}, f"{_codename()}-backports, unpacked")
    return qemu if qemu.version else None


def _fetch_backports(home, say):
    apt = ForeignApt(cache_dir() / "apt-qemu", "amd64", f"{_codename()}-backports")
    say("asking the mirror for a newer QEMU")
    apt.update()
    fresh = home.with_name(home.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    for package in PACKAGES:
        try:
            file = apt.download(package)
        except FetchError:
            if package == PACKAGES[0]:
                raise
            continue   # not in backports: the one that is installed serves
        subprocess.run(["dpkg", "-x", file, fresh], check=True)
    shutil.rmtree(home, ignore_errors=True)
    fresh.rename(home)
    shutil.rmtree(apt.home, ignore_errors=True)


def find(say=print):
    """The newest QEMU that can be had; a FetchError when there is none at all."""
    own = shutil.which("qemu-system-x86_64")
    installed = Qemu(own) if own else None
    if installed and installed.version and installed.version[0] >= WANTED:
        return installed
    home = cache_dir() / "qemu-backports"
    qemu = _unpacked(home)
    if qemu:
        return qemu
    try:
        _fetch_backports(home, say)
        qemu = _unpacked(home)
        reason = "it lacks libraries of this machine"
    except (FetchError, subprocess.CalledProcessError) as error:
        reason = str(error)
    if qemu:
        return qemu
    if not installed or not installed.version:
        raise FetchError(f"there is no QEMU to compare with ({reason}): scripts/install-dependencies installs one")
    say(f"no QEMU {WANTED} here ({reason}); taking {installed}")
    return installed


def start_riscv_linux(image, console, append, options=()):
    """The prepared guest on QEMU's own software CPU (the installed QEMU); a process, which ends with this one."""
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "qemu-system-riscv64", "-machine", "virt", "-m", "512", "-display", "none",
         "-monitor", "none", "-bios", "default", "-kernel", image.kernel, "-initrd", image.initramfs,
         "-append", f"console=ttyS0 quiet {append}", "-serial", option_value(console.serial), *options],
        stdin=subprocess.DEVNULL)


class QemuProcess:
    """A QEMU that answers QMP. Always close() it."""

    def __init__(self, program, arguments, directory, name, enter=(), environment=None):
        self.control, self.log = directory / f"{name}.qmp", directory / f"{name}.stderr"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*enter, "setpriv", "--pdeathsig", "KILL", program, "-name", f"{name},debug-threads=on", "-nodefaults",
                 "-no-user-config", "-display", "none", "-qmp", f"unix:{option_value(self.control)},server=on,wait=off", *map(str, arguments)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=environment)
        self.qmp = self._connect()

    def _connect(self):
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                return Qmp(self.control)
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.02)
        raise RuntimeError(f"QEMU did not start: {self.log.read_text(errors='replace').strip()[-500:]}")

    def close(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


class QemuMachine(QemuProcess):
    """One QEMU with KVM and a PVH kernel."""

    def __init__(self, qemu, directory, name, kernel, append, memory_mib, cpus, serial_path, incoming=None, extra=(), enter=()):
        backend = f"memory-backend-memfd,id=ram,size={memory_mib}M,share=on,prealloc={'on' if incoming else 'off'}"
        super().__init__(
            qemu.program,
            [*qemu.arguments, "-accel", "kvm", "-cpu", "host,-arch-capabilities",
             "-M", "microvm,x-option-roms=off,ioapic2=off,memory-backend=ram", "-m", f"{memory_mib}M",
             "-object", backend, "-smp", cpus, "-no-reboot", "-bios", "qboot.rom", "-kernel", kernel, "-append", append,
             "-chardev", f"socket,id=serial,path={option_value(serial_path)}", "-serial", "chardev:serial",
             *(["-incoming", incoming] if incoming else []), *extra],
            directory, name, enter, qemu.environment)
