# SPDX-License-Identifier: Apache-2.0
"""godwit with a run directory of its own, in a pipe and on a terminal; and machines that are only pretended."""

import codecs
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import termios
import threading
import time

import pytest
from godwit_tools.paths import build_dir
from godwit_tools.patience import PATIENCE_S

GODWIT = build_dir() / "godwit"


class Cli:
    """godwit with a run directory of its own; everything that it started ends with the test."""

    def __init__(self, directory, image=None):
        self.run_dir, self.image = directory / "run", image
        if image:
            self.disk = directory / "disk.img"
            shutil.copy(image.disk, self.disk)

    def command(self, *arguments):
        return [str(GODWIT), "--run-dir", str(self.run_dir), *map(str, arguments)]

    def __call__(self, *arguments, code=0, **options):
        """Runs one command to its end; its standard output. The exit code must be `code`."""
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=PATIENCE_S,
                              stdin=subprocess.DEVNULL, **options)
        self.errors = done.stderr
        assert done.returncode == code, f"{arguments}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def boot(self, name, run="shell", *options):
        self("run", "--name", name, "--kernel", self.image.kernel, "--initrd", self.image.initramfs,
             "--append", f"console=ttyS0 quiet godwit.run={run}", "--memory", "128M", "--disk", self.disk,
             "--detach", *options)

    def receive(self, name, uri="tcp:127.0.0.1:0"):
        """A waiting machine; the address that it names."""
        self("receive", "--name", name, uri, "--disk", self.disk, "--detach")
        return re.search(r"waits at (\S+)", self.errors).group(1)

    def status(self, name):
        return json.loads(self("status", name, "--json"))

    def close(self):
        for pid in self.run_dir.glob("*/pid"):
            try:
                os.kill(int(pid.read_text()), signal.SIGKILL)
            except (ProcessLookupError, ValueError, FileNotFoundError):
                pass


@pytest.fixture
def cli(tmp_path, image):
    made = Cli(tmp_path, image)
    yield made
    made.close()


class Terminal:
    """A command on a pseudo-terminal."""

    def __init__(self, command, columns=80, **environment):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
            kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
            os.execve(command[0], command, kept | {"TERM": "xterm", "LC_ALL": "C.UTF-8"} | environment)
        self.text, self.decoder = "", codecs.getincrementaldecoder("utf-8")("replace")

    def type(self, text):
        os.write(self.fd, text.encode())

    def wait(self, pattern):
        deadline = time.monotonic() + PATIENCE_S
        while not re.search(pattern, self.text):
            assert time.monotonic() < deadline, f"no {pattern!r} in {self.text[-2000:]!r}"
            if select.select([self.fd], [], [], 0.1)[0]:
                self.text += self.decoder.decode(os.read(self.fd, 65536))

    def answer(self):
        """A terminal that answers would do it here."""

    def exit_code(self):
        """Reads what is left; the exit code."""
        while True:
            try:
                piece = os.read(self.fd, 65536)
            except OSError:  # the other end is closed
                piece = b""
            if not piece:
                break
            self.text += self.decoder.decode(piece)
            self.answer()
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


class PretendedMachine:
    """A directory that looks like a machine's, with a control socket that answers whatever it is told to."""

    def __init__(self, run_dir, name, answers):
        self.directory, self.answers = run_dir / name, answers
        self.directory.mkdir(parents=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.directory / "control"))
        self.listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client):
        with client, client.makefile("rw", encoding="utf-8", errors="surrogateescape") as lines:
            lines.write('{"QMP": {"version": {}, "capabilities": []}}\n')
            lines.flush()
            try:
                for line in lines:
                    request = json.loads(line)
                    answer = self.answers.get(request["execute"], {"return": {}})
                    lines.write(json.dumps(answer | {"id": request["id"]}) + "\n")
                    lines.flush()
            except (OSError, ValueError):
                pass

    def close(self):
        self.listener.close()
