# SPDX-License-Identifier: Apache-2.0
"""Times each loop on the software CPU and on qemu-system-riscv64, alternating, and prints medians and ratios.

usage: compare.py CPU_LOOP ELF... IMAGE...
"""
import shutil
import statistics
import subprocess
import sys
import time

ROUNDS = 5


def seconds_of(command):
    begin = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=20)
    return time.monotonic() - begin


def main():
    program, files = sys.argv[1], sys.argv[2:]
    elves = [name for name in files if name.endswith(".elf")]
    images = [name for name in files if name.endswith(".bin")]
    qemu = shutil.which("qemu-system-riscv64")
    if not qemu:
        print("qemu-system-riscv64 is missing: only our own times")
    print(f"{'loop':10} {'here s':>8} {'watched':>8} {'qemu s':>8} {'ratio':>6} {'watching':>9}")
    for elf, image in zip(elves, images):
        here, watched, there = [], [], []
        for _ in range(ROUNDS):
            here.append(seconds_of([program, image]))
            watched.append(seconds_of([program, "--watch", image]))
            if qemu:
                there.append(seconds_of([qemu, "-machine", "virt", "-m", "32", "-bios", "none", "-kernel", elf,
                                         "-display", "none", "-monitor", "none", "-serial", "none"]))
        ours, theirs = statistics.median(here), statistics.median(there) if there else float("nan")
        name = image.rsplit("/", 1)[-1].removesuffix(".bin")
        print(f"{name:10} {ours:8.3f} {statistics.median(watched):8.3f} {theirs:8.3f} {ours / theirs:6.2f}"
              f" {100 * (statistics.median(watched) / ours - 1):+8.1f}%")


if __name__ == "__main__":
    main()
