# SPDX-License-Identifier: Apache-2.0
"""What the tests of the tree share: which files there are and which layer each belongs to."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def _git(*arguments):
    return subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True)


def tree_files():
    """Paths below the root, as git sees them; every file when this is no git checkout."""
    listed = _git("ls-files", "--cached", "--others", "--exclude-standard")
    if listed.returncode == 0:
        names = listed.stdout.splitlines()
    else:
        names = [str(p.relative_to(ROOT)) for p in ROOT.rglob("*")
                 if not any(part.startswith(("build", ".git")) for part in p.parts)]
    return [name for name in sorted(names) if (ROOT / name).is_file()]


def c_files():
    return [name for name in tree_files() if name.endswith((".c", ".h"))]
