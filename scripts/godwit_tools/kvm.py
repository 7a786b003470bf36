# SPDX-License-Identifier: Apache-2.0
"""What this host's KVM can do for a guest, as godwit itself tells it."""

import json
import subprocess
from dataclasses import dataclass

from .paths import build_dir


@dataclass
class Kvm:
    runs_kernels: bool
    sentence: str     # for the user: what it is, or why it cannot
    tsc_khz: int = 0  # 0: it does not tell


def host_kvm():
    """Asks `godwit cpu`. Needs the built programs."""
    run = subprocess.run([build_dir() / "godwit", "cpu", "--json"], capture_output=True, text=True, timeout=30)
    try:
        host = json.loads(run.stdout)
        told, khz = host["kvm"], host.get("tsc_khz") or 0
    except (ValueError, KeyError, TypeError):
        return Kvm(False, f"godwit cpu does not tell: {run.stderr.strip() or 'it said nothing'}")
    if not told.get("usable"):
        return Kvm(False, f"this host has no KVM to use: {told.get('reason')}")
    if not told.get("runs_kernels"):
        return Kvm(False, f"this host's KVM ({told.get('module')}) runs no stock kernels: {told.get('obstacle')}", khz)
    return Kvm(True, f"this host's KVM ({told.get('module')}) runs stock kernels", khz)
