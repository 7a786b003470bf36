# SPDX-License-Identifier: Apache-2.0
"""Real machines: godwit-vmm processes on pretended hosts, each host a run directory of its own."""

import json
import os
import select
import signal
import subprocess
import time

from .patience import PATIENCE_S
from .paths import build_dir
from .qmp import Qmp

ENDED = ("completed", "failed", "cancelled")
COPY_BYTES = 64 << 10


class MachineFailed(Exception):
    """The process's own sentence."""


def copy_disk(template, path):
    """Copies a disk image and leaves out what is zero."""
    with open(template, "rb") as source, open(path, "wb") as target:
        while chunk := source.read(COPY_BYTES):
            if chunk.strip(b"\0"):
                target.write(chunk)
            else:
                target.seek(len(chunk), os.SEEK_CUR)
        target.truncate()


class Host:
    """One side of a migration. Its machines run in a network namespace of their own if one is named."""

    def __init__(self, run_dir, namespace=None):
        self.run_dir, self.namespace = run_dir, namespace
        run_dir.mkdir(parents=True, exist_ok=True)

    def enter(self):
        """What a command begins with that is to run on this host."""
        return ["nsenter", f"--net=/run/netns/{self.namespace}"] if self.namespace else []

    def owner(self, name):
        """The ownership record of a machine, {} if there is none."""
        try:
            return json.loads((self.run_dir / name / "owner.json").read_text())
        except OSError:
            return {}

    def flights(self, name):
        """The flight logs kept for a machine, oldest first."""
        files = (self.run_dir / name / "flights").glob("*.json")
        return [json.loads(p.read_text()) for p in sorted(files, key=lambda p: p.stat().st_mtime)]


class Machine:
    """One godwit-vmm process. Always close() it; with `with` that is done."""

    def __init__(self, host, name, *options, pass_fds=(), program="godwit-vmm"):
        self.host, self.name = host, name
        self.qmp = None
        self.uri = None
        self.log = host.run_dir / f"{name}.stderr"
        ready, ready_in_child = os.pipe()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                # setpriv: no machine outlives whoever started it, however that one ended.
                [*host.enter(), "setpriv", "--pdeathsig", "KILL", build_dir() / program, "--name", name, "--run-dir", host.run_dir, "--ready-fd",
                 str(ready_in_child), *map(str, options)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(ready_in_child, *pass_fds),
                start_new_session=True)
        os.close(ready_in_child)
        try:
            self._wait_ready(ready)
            self.qmp = Qmp(host.run_dir / name / "control")
        except BaseException:
            self.close()
            raise
        finally:
            os.close(ready)

    def _wait_ready(self, ready):
        if not select.select([ready], [], [], PATIENCE_S)[0]:
            raise MachineFailed(f"{self.name} said nothing for {PATIENCE_S:.0f} s")
        line = os.read(ready, 65536)
        if not line:
            raise MachineFailed(f"{self.name} ended without a word; its log: {self.stderr()[-2000:]}")
        answer = json.loads(line)
        if not answer.get("ok"):
            raise MachineFailed(answer["error"]["sentence"])
        self.uri = answer.get("uri")

    # What it says

    def stderr(self):
        return self.log.read_text(errors="replace")

    def ask(self, command, **arguments):
        """A command whose failure to arrive is told with the way the process ended."""
        try:
            return self.qmp(command, **arguments)
        except (ConnectionError, BrokenPipeError) as error:
            try:
                ending = f"ended with status {self.process.wait(2)}"
            except subprocess.TimeoutExpired:
                ending = "lives on"
            raise ConnectionError(f"{command}: {error}; the process {ending}; it said last:\n"
                                  f"{self.stderr()[-3000:]}") from None

    def status(self):
        return self.ask("query-status")["status"]

    def running(self):
        return self.ask("query-status")["running"]

    def migration(self):
        return self.ask("query-migrate")

    def memory_bytes(self):
        """Resident memory of the process."""
        with open(f"/proc/{self.process.pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def alive(self):
        return self.process.poll() is None

    # What it does

    def set(self, **parameters):
        self.qmp("migrate-set-parameters", **parameters)

    def migrate(self, uri):
        self.qmp("migrate", uri=uri)

    def wait_migration(self, timeout_s=PATIENCE_S, statuses=ENDED):
        """query-migrate once its status is one of these."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            info = self.migration()
            if info.get("status") in statuses:
                return info
            time.sleep(0.01)
        raise TimeoutError(f"{self.name}: migration still {info.get('status')} after {timeout_s:.0f} s: {info}")

    def wait_status(self, *statuses, timeout_s=PATIENCE_S):
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            status = self.status()
            if status in statuses:
                return status
            time.sleep(0.01)
        raise TimeoutError(f"{self.name} is {status} after {timeout_s:.0f} s, not {' or '.join(statuses)}")

    def wait_receiver(self, failures, timeout_s=PATIENCE_S):
        """Until it waits for the next source, so many having failed: between two it does not listen for a moment."""
        deadline = time.monotonic() + timeout_s
        while self.stderr().count(": nothing arrived: ") < failures:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} has not ended {failures} attempts after {timeout_s:.0f} s")
            time.sleep(0.01)
        self.status()    # answered behind that

    # How it ends

    def wait_exit(self, timeout_s=PATIENCE_S):
        return self.process.wait(timeout_s)

    def quit(self, timeout_s=PATIENCE_S):
        """Asks it to end; returns its exit status."""
        try:
            self.qmp("quit")
        except (ConnectionError, BrokenPipeError):
            pass
        return self.wait_exit(timeout_s)

    def kill(self):
        """kill -9"""
        if self.alive():
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self):
        if self.qmp:
            self.qmp.close()
        self.kill()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Guest:
    """A Linux guest that moves: its console stays the same, the machine under it changes."""

    def __init__(self, directory, image, console, name="guest", memory="128M", cpus=1, disk=None,
                 append="", options=(), nets=(), budget_ms=None):
        self.directory, self.image, self.console, self.name = directory, image, console, name
        self.disk = disk
        self.memory, self.cpus, self.append, self.options = memory, cpus, append, options
        self.nets = nets    # for --net, on every host
        self.budget_ms = budget_ms    # of the pause, on every host; None: the program's own
        self.machine = None
        self._hosts = 0

    def new_host(self):
        self._hosts += 1
        return Host(self.directory / f"host{self._hosts}")

    def _devices(self, nets=None):
        disks = ["--disk", self.disk] if self.disk else []
        words = [word for net in (self.nets if nets is None else nets) for word in ("--net", net)]
        return ["--serial", self.console.serial, *disks, *words]

    def boot(self, host=None):
        image = self.image
        self.machine = Machine(
            host or self.new_host(), self.name, "--kernel", image.kernel, "--initrd", image.initramfs,
            "--append", f"console=ttyS0 quiet {image.append} {self.append}", "--memory", self.memory, "--cpus", self.cpus,
            *self._devices(), *self.options)
        self._set_budget()
        return self

    def _set_budget(self):
        if self.budget_ms is not None:
            self.machine.set(downtime_limit=self.budget_ms)

    def receiver(self, uri, host=None, nets=None, pass_fds=()):
        """A machine on another host that waits for this guest; with the same networks if there are no others for it."""
        return Machine(host or self.new_host(), self.name, "--incoming", uri, *self._devices(nets),
                       pass_fds=pass_fds)

    def arrived(self, machine):
        """Makes this machine the guest's; the one that gave it away ends."""
        old, self.machine = self.machine, machine
        self._set_budget()
        if old:
            old.close()

    def shell(self, command, pattern, timeout_s=PATIENCE_S):
        """Types a command at the guest's prompt and waits for a line of its output."""
        since = self.console.position()
        self.console.send(command + "\n")
        return self.console.wait(pattern, timeout_s, since)

    def close(self):
        if self.machine:
            self.machine.close()
        self.console.close()
