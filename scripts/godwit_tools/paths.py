# SPDX-License-Identifier: Apache-2.0
"""Where things are: the tree, the cache outside it."""

import os
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
GUEST_SOURCES = TREE / "tests" / "guest" / "linux"


def cache_dir():
    """$XDG_CACHE_HOME/godwit, created on first use. Everything in it can be deleted at any time."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(base) / "godwit"
    path.mkdir(parents=True, exist_ok=True)
    return path


def build_dir():
    return Path(os.environ.get("GODWIT_BUILD") or TREE / "build")
