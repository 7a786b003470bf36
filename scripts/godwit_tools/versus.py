# SPDX-License-Identifier: Apache-2.0
"""What measurements side by side with a peer have in common: CPU time, medians with their spread, tables, headings."""

import datetime
import json
import os
import platform
import statistics
import subprocess
from pathlib import Path

from .paths import TREE, build_dir


def _ticks(stat):
    fields = stat.read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _vcpus(process):
    """Both monitors call these threads "cpu N" or "CPU N/…"."""
    return [task for task in (process / "task").iterdir() if (task / "comm").read_text().lower().startswith("cpu ")]


def cpu_seconds(pid):
    """Of the process, threads that have ended included, without its vCPUs."""
    process = Path(f"/proc/{pid}")
    ticks = _ticks(process / "stat") - sum(_ticks(task / "stat") for task in _vcpus(process))
    return ticks / os.sysconf("SC_CLK_TCK")


def thread_seconds(pid):
    """(of the vCPUs, of all other threads), to the nanosecond, of threads that live."""
    process = Path(f"/proc/{pid}")
    vcpus, sums = {task.name for task in _vcpus(process)}, [0, 0]
    for task in (process / "task").iterdir():
        sums[task.name not in vcpus] += int((task / "schedstat").read_text().split()[0])
    return sums[0] / 1e9, sums[1] / 1e9


def cell(values):
    """The median, and in brackets the smallest and the largest."""
    middle = statistics.median(values)
    digits = 2 if middle < 10 else 1 if middle < 100 else 0
    return f"{middle:.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def table(first, titles, rows):
    """Markdown. `rows` are lists of words."""
    lines = [f"| {first} | " + " | ".join(titles) + " |", "|---" * (len(titles) + 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def commit():
    printed = subprocess.run(["git", "-C", TREE, "describe", "--always", "--dirty"], capture_output=True, text=True).stdout
    return printed.strip() or "unknown"


def host_words():
    model = next((line.partition(":")[2].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown CPU")
    return f"{model}, {os.cpu_count()} CPUs"


def host():
    """What `godwit cpu` tells, as JSON."""
    return json.loads(subprocess.run([build_dir() / "godwit", "cpu", "--json"], capture_output=True, text=True, check=True).stdout)


def heading(title, *peers):
    """The first lines of a file of results."""
    return f"# {title}\n\n{datetime.date.today()}, godwit {commit()}, {', '.join(map(str, peers))}, Linux {platform.release()}, {host_words()}."


def result_path(name):
    return TREE / "bench" / "results" / f"{name}-{datetime.date.today()}.md"
