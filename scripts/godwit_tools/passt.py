# SPDX-License-Identifier: Apache-2.0
"""A passt that hands its connections over: the one that is installed, or Debian's of a later release, unpacked."""

import platform
import shlex
import shutil
import subprocess

from .foreign_apt import FetchError, ForeignApt
from .patience import PATIENCE_S
from .paths import cache_dir

SUITE = "trixie"
PACKAGES = ("passt", "libc6")
PROGRAMS = ("passt", "passt-repair")
WRAPPER = """#!/bin/sh
exec {loader} --library-path {libraries} {program} "$@"
"""


def serves_vhost_user(program):
    """Whether this passt is a vhost-user back end; older ones know no such option."""
    try:
        asked = subprocess.run([program, "--print-capabilities"], capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    except OSError:
        return False
    return asked.returncode == 0 and '"net"' in asked.stdout + asked.stderr


def write_wrappers(home):
    """Programs that run with the C library that they came with."""
    folder = home / "bin"
    folder.mkdir()
    loader = next(home.glob("root/usr/lib/*/ld-linux*.so*"))
    for name in PROGRAMS:
        file = folder / name
        words = {"loader": loader, "libraries": loader.parent, "program": home / "root/usr/bin" / name}
        file.write_text(WRAPPER.format(**{word: shlex.quote(str(path)) for word, path in words.items()}))
        file.chmod(0o755)


def _fetch(home, say):
    say(f"asking the mirror for the passt of Debian {SUITE}")
    apt = ForeignApt(cache_dir() / "apt-passt", _architecture(), SUITE)
    apt.update()
    shutil.rmtree(home, ignore_errors=True)
    (home / "root").mkdir(parents=True)
    for package in PACKAGES:
        subprocess.run(["dpkg", "-x", apt.download(package), home / "root"], check=True)
    write_wrappers(home)
    shutil.rmtree(apt.home, ignore_errors=True)


def _architecture():
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def find(say=print):
    """The folder to put in front of PATH, or None where the installed one will do; a FetchError when there is none."""
    if serves_vhost_user("passt") and shutil.which("passt-repair"):
        return None
    home = cache_dir() / f"passt-{SUITE}"
    if not (home / "bin/passt-repair").exists():
        try:
            _fetch(home, say)
        except (subprocess.CalledProcessError, StopIteration) as error:
            raise FetchError(f"the passt of Debian {SUITE} cannot be unpacked: {error}") from error
    if not serves_vhost_user(home / "bin/passt"):
        raise FetchError(f"the passt of Debian {SUITE} does not run here")
    return home / "bin"
