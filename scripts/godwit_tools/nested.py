# SPDX-License-Identifier: Apache-2.0
"""
A Linux host with KVM where this machine has none that runs stock kernels: Debian's cloud kernel in a QEMU that
emulates the CPU, SVM included, so that kvm_amd works in it. Its root file system is in memory: the tree's programs
and tests with all that they need. The machine runs one command and ends; what the command writes comes line by line.

What QEMU (seen in 7.2) emulates wrongly is kept out of the way:
- cmpxchg16b computes the flags that it leaves from stale ones, and kernels that use it die: cx16=off;
- XSETBV of a nested guest does not reach kvm_amd, which loads another XCR0 behind the guest's back: the guest's
  kernel is told to do without XSAVE (GUEST_APPEND);
- code that one CPU changes while another runs it (Linux patches its own, host and guest alike) may be run as it was:
  there is one CPU, and what the guest has are threads on it;
- what it measures of its TSC, which is this host's, depends on what else this host does: it is told;
- reading a clock takes it half a millisecond and more when this host is busy, and so much may the guest's TSC and kvmclock
  differ after a move: the guest's kernel is told not to compare them (GUEST_APPEND); its clocks are watched by clock-keeper;
- the thread of the emulated CPU and the one of the timers both change which interrupts are pending, the former without a lock where a nested
  guest begins and ends; seen: a CPU halted for ever, with interrupts on and the timer's waiting in its APIC. The next interrupt of
  any device wakes it, so one comes a few times a second: a byte on a serial line, whose answers tell that the machine lives;
- protection keys and five-level paging cost time and add nothing here.
"""

import collections
import contextlib
import dataclasses
import os
import queue
import select
import shlex
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

from . import architectures
from .guest_image import READY_IMAGES, prepare
from .host_root import HostRoot
from .kvm import host_kvm
from .paths import TREE, build_dir, temporary_dir
from .programs import absence, option_value
from .qmp import Qmp

QEMU = "qemu-system-x86_64"
INIT = TREE / "tests" / "nested" / "init"
MEMORY_MIB = 3072
CPUS = 1
CPU = "max,la57=off,pku=off,cx16=off"
GUEST_APPEND = "noxsave tsc=nowatchdog"
ENDED = "nested: ended with "
POKE_S = 0.25
STILL_S = 120     # without an answer: the emulation has come to a standstill
# Of the host, where it has them: what tests there start. netns.py tells what it misses.
PROGRAMS = ("setpriv", "nsenter", "ip", "bridge", "tcpdump")
TREE_PARTS = ("scripts", "tests/system", "tests/guest/linux", "tests/nested")


class NestedFailed(Exception):
    """One sentence for the user."""


class NestedStill(NestedFailed):
    """The emulated machine stands still, its kernel included: nothing that runs in it can be blamed for that."""


def obstacle():
    """Why a nested host cannot be had here; None if it can."""
    if architectures.AMD64 not in architectures.of_this_host():
        return "this is no x86-64 machine: its programs do not run in an emulated one"
    return absence(QEMU)


def _images_there(image):
    """What prepare() is told there."""
    there = dataclasses.replace(image, append=GUEST_APPEND, host_modules=[])
    return '{"amd64": ' + there.as_json() + '}'


def _build_root(command, environment, programs, image, path):
    root = HostRoot()
    root.add(INIT, "init")
    root.add_python()
    units = (file for file in (build_dir() / "tests/unit/kvm").glob("test-kvm-*") if file.is_file())
    root.add_programs(*filter(None, map(shutil.which, PROGRAMS)), build_dir() / "godwit", build_dir() / "godwit-vmm", *units,
                      *programs)
    root.add_text("etc/passwd", "root:x:0:0::/root:/bin/sh\n")   # tcpdump asks who it is
    root.archive.file("usr/bin/busybox", (image.kernel.parent / "busybox").read_bytes(), 0o755)
    root.archive.symlink("usr/bin/sh", "busybox")
    for part in TREE_PARTS:
        root.add_tree(TREE / part, lambda p: "__pycache__" not in p.parts)
    for file in (image.kernel, image.initramfs, image.disk):
        root.add(file)
    for number, module in enumerate(image.host_modules):
        root.add(module, f"etc/nested/modules/{number:02}-{module.name}")
    settings = {**environment, READY_IMAGES: _images_there(image), "GODWIT_BUILD": str(build_dir()),
                "PYTHONDONTWRITEBYTECODE": "1"}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in settings.items()]
    root.add_text("etc/nested/command", "\n".join([*lines, f"cd {shlex.quote(str(TREE))}", shlex.join(command), ""]))
    root.write(path)


def _kernel_options():
    khz = host_kvm().tsc_khz
    return "console=ttyS0 panic=-1 quiet tsc=reliable" + (f" tsc_early_khz={khz}" if khz else "")


class NestedHost:
    """Runs `command` (a list of words) in a nested host. Iterate for its lines; then `status` is how it ended.
    Always close() it; with `with` that is done."""

    def __init__(self, command, environment=None, programs=(), timeout_s=900):
        if obstacle():
            raise NestedFailed(obstacle())
        self.status = None
        self.directory = temporary_dir("godwit-nested-")
        self.console = self.directory / "console"
        self.monitor = self.directory / "monitor"
        self._deadline = time.monotonic() + timeout_s
        self._timeout_s = timeout_s
        self._lines = queue.Queue()
        image = prepare(architectures.AMD64)
        _build_root(command, environment or {}, programs, image, self.directory / "root.cpio")
        self._log = open(self.directory / "qemu.stderr", "wb")
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", QEMU, "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", CPU,
             "-smp", str(CPUS), "-m", str(MEMORY_MIB), "-nodefaults", "-no-user-config", "-display", "none",
             "-no-reboot", "-kernel", image.kernel, "-initrd", self.directory / "root.cpio",
             "-append", _kernel_options(), "-serial", f"file:{self.console}", "-serial", "chardev:pulse",
             "-chardev", f"socket,id=pulse,path={option_value(self.directory / 'pulse')},server=on,wait=off",
             "-qmp", f"unix:{option_value(self.monitor)},server=on,wait=off",
             "-device", "virtio-serial-pci", "-device", "virtconsole,chardev=lines",
             "-chardev", "stdio,id=lines,signal=off"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._log, start_new_session=True)
        self._answered = time.monotonic()
        for thread in (self._read, self._poke):
            threading.Thread(target=thread, daemon=True).start()

    def _poke(self):
        """Begins after the first word, which tests/nested/init says: a kernel that looks for its serial lines is let alone."""
        while self._process.poll() is None:
            with socket.socket(socket.AF_UNIX) as line, contextlib.suppress(OSError):
                line.connect(str(self.directory / "pulse"))
                while line.recv(4096):
                    self._answered = time.monotonic()
                    while not select.select([line], [], [], POKE_S)[0]:
                        line.sendall(b"\n")
            time.sleep(POKE_S)

    def _read(self):
        for line in self._process.stdout:
            self._lines.put(line.decode(errors="replace").rstrip("\r\n"))
        self._lines.put(None)

    def __iter__(self):
        while True:
            line = self._next()
            if line is None:
                raise NestedFailed(f"the nested host died; {self.last_words()}")
            if line.startswith(ENDED):
                self.status = int(line[len(ENDED):])
                return
            yield line

    def _next(self):
        while True:
            try:
                return self._lines.get(timeout=1)
            except queue.Empty:
                now = time.monotonic()
            if now - self._answered > STILL_S:
                raise NestedStill(f"the nested host stood still for {STILL_S} s; {self.last_words()}\n{self._registers()}")
            if now > self._deadline:
                raise NestedFailed(f"the nested host was not done in {self._timeout_s} s; {self.last_words()}")

    def _registers(self):
        """What its CPU does, twice, as QEMU tells it."""
        try:
            with Qmp(self.monitor) as monitor:
                return "\n".join(monitor("human-monitor-command", command_line=f"info {what}")
                                 for what in ("registers", "lapic", "pic", "registers"))
        except (OSError, ValueError) as error:
            return f"QEMU's monitor says no more: {error}"

    def last_words(self, count=30):
        """The end of its kernel's console and of what QEMU said."""
        text = []
        for file in (self.console, self.directory / "qemu.stderr"):
            if file.exists():
                text += collections.deque(file.read_text(errors="replace").splitlines(), count)
        return "its console ended with:\n" + "\n".join(f"  | {line}" for line in text)

    def close(self):
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._log.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
