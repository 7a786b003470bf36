# SPDX-License-Identifier: Apache-2.0
"""The user network of somebody without rights: the connections follow where passt-repair has the one that it takes."""

import dataclasses
import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

import pytest

from conftest import GuestFactory
from godwit_tools import passt
from godwit_tools.machine import Host
from godwit_tools.paths import build_dir
from godwit_tools.stream import Stream
from net_place import free_port, move
from user_place import Ticker, goes_on, lend_passt, link_breaks_in_the_pause, start

pytestmark = pytest.mark.usefixtures("network_driver")
SOMEBODY = 61234    # has no name
NET_ADMIN = struct.pack("<5I", 0x02000001, 1 << 12, 0, 0, 0)    # struct vfs_cap_data, version 2: effective


class HostOfSomebody(Host):
    """Its machines run without any capability."""

    def __init__(self, run_dir, namespace=None):
        super().__init__(run_dir, namespace)
        os.chown(run_dir, SOMEBODY, SOMEBODY)

    def enter(self):
        return [*super().enter(), "setpriv", f"--reuid={SOMEBODY}", f"--regid={SOMEBODY}", "--clear-groups"]


def lend_programs(home):
    """Copies of what is needed, where everybody can read."""
    shutil.copy(build_dir() / "godwit-vmm", home)
    root = Path(shutil.which("passt")).parents[1] / "root"
    if root.exists():
        shutil.copytree(root, home / "root", symlinks=True)
        passt.write_wrappers(home)
    else:
        (home / "bin").mkdir()
        for program in passt.PROGRAMS:
            shutil.copy(shutil.which(program), home / "bin")


@pytest.fixture
def home(monkeypatch):
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    lend_passt(monkeypatch)
    with tempfile.TemporaryDirectory(prefix="godwit-", dir="/tmp") as name:
        home = Path(name)
        home.chmod(0o755)
        lend_programs(home)
        monkeypatch.setenv("PATH", f"{home}/bin:{os.environ['PATH']}")
        monkeypatch.setenv("GODWIT_BUILD", name)
        before = os.umask(0)
        yield home
        os.umask(before)


@pytest.fixture
def right(home):
    """passt-repair has it before a guest begins; where that is a script that starts it by a loader, one of its own has."""
    program = home / "bin/passt-repair"
    carrier = program
    if program.read_bytes().startswith(b"#!"):
        text = program.read_text()
        loader = next(word.strip("'") for word in text.split() if "/ld-linux" in word)
        carrier = Path(shutil.copy(loader, program.parent / "loader-with-a-right"))
        program.write_text(text.replace(loader, str(carrier), 1))
    os.setxattr(carrier, "security.capability", NET_ADMIN)


@pytest.fixture
def guest_and_connections(home, image):
    """As somebody: a guest, a checked stream into it, and a connection that it has opened itself."""
    there = dataclasses.replace(image, kernel=shutil.copy(image.kernel, home), initramfs=shutil.copy(image.initramfs, home))
    factory, port, ticker = GuestFactory(home, there), free_port(), Ticker()
    guest = start(factory.boot, port, ticker, "10.0.2.2", host=HostOfSomebody(home / "first"))
    guest.new_host = lambda: HostOfSomebody(Path(tempfile.mkdtemp(dir=home)))
    stream = Stream("127.0.0.1", port=port)
    yield guest, stream, ticker
    stream.socket.close()
    factory.close()


def test_connections_follow_with_a_passt_repair_that_may(right, guest_and_connections):
    guest, stream, ticker = guest_and_connections
    for _ in range(2):
        assert "broken-networks" not in move(guest)
        goes_on(guest, stream, ticker)


def test_they_go_on_at_the_source_when_the_link_breaks_in_the_pause(right, guest_and_connections):
    link_breaks_in_the_pause(*guest_and_connections)


@pytest.fixture
def right_once(right, home):
    """passt-repair works when godwit asks whether there is one, and never again."""
    program, asked = home / "bin/passt-repair", home / "asked"
    asked.mkdir()
    real = program.rename(home / "bin/real-passt-repair")
    program.write_text(f"#!/bin/sh\nmkdir {asked}/once && exec {real} \"$@\"\n")
    program.chmod(0o755)


@pytest.mark.parametrize("signal", ["KILL", "STOP"])
def test_what_fails_in_the_pause_is_said(right_once, home, guest_and_connections, signal):
    subprocess.run(["pkill", f"-{signal}", "-f", f"^{home}/.*/passt-repair "], check=True)
    told = move(guest_and_connections[0])
    assert "they could not be taken out of passt" in str(told["broken-networks"]), told


def test_without_the_right_it_is_said_that_they_end(guest_and_connections):
    guest, stream, ticker = guest_and_connections
    told = move(guest)
    assert "CAP_NET_ADMIN" in str(told["broken-networks"]), told
