# SPDX-License-Identifier: Apache-2.0
"""
Root without being root: a user namespace of this process's own (user_namespaces(7)), in which it has all rights over the
network namespaces that it makes, and none elsewhere. Files are still those of the user; the only network is a loopback.
"""

import ctypes
import os
import subprocess
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x20000, 0x10000000, 0x40000000


# What an administrator forbids them with; Debian's kernels have the second.
LIMITS = {"user.max_user_namespaces": "0", "kernel.unprivileged_userns_clone": "0",
          "kernel.apparmor_restrict_unprivileged_userns": "1"}


class Refused(Exception):
    """Why not, as a sentence."""


def _why_not(number):
    """What forbids user namespaces here, as the kernel's settings tell."""
    for name, forbidding in LIMITS.items():
        try:
            if Path("/proc/sys", name.replace(".", "/")).read_text().strip() == forbidding:
                return f"{name} is {forbidding}"
        except OSError:
            continue
    return os.strerror(number)


def become_root():
    """For this process and those that it starts. It must not have started a thread yet, and there is no way back."""
    user, group = os.geteuid(), os.getegid()
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET) != 0:
        raise Refused(f"user namespaces are not permitted here: {_why_not(ctypes.get_errno())}")
    try:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
        # Where ip(8) keeps the names of network namespaces; only this process sees it.
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"], check=True, capture_output=True)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Refused(f"a user namespace could not be set up: {error}") from error


def is_rootless():
    """Whether this process is root of a user namespace only."""
    return os.geteuid() == 0 and Path("/proc/self/uid_map").read_text().split() != ["0", "0", str((1 << 32) - 1)]
