# SPDX-License-Identifier: Apache-2.0
"""What demo, check and the tests share."""

import os

# Debian gives ordinary users no sbin, where ip, bridge and mke2fs are. Whatever imports a module of this folder finds
# programs there too, by shutil.which() and by running them, and so do the processes that it starts.
SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def with_sbin(path):
    """A PATH, with the folders of SBIN that it lacks behind all others."""
    folders = path.split(":") if path else list(os.defpath.split(":"))
    return ":".join([*folders, *(folder for folder in SBIN if folder not in folders)])


os.environ["PATH"] = with_sbin(os.environ.get("PATH", ""))
