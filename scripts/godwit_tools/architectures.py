# SPDX-License-Identifier: Apache-2.0
"""The guests' architectures: what Debian calls their parts, what compiles for them, which machine runs them."""

import platform
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Architecture:
    name: str             # Debian's
    machine: str          # godwit's
    kernel_package: str
    kernel_file: str      # how the unpacked kernel is called
    modules: tuple        # what a guest needs of our devices, in the order in which it loads them
    compiler: str
    firmware: Path | None = None
    host_modules: tuple = ()   # what makes this kernel a host of virtual machines


RISCV64 = Architecture(
    name="riscv64", machine="riscv-virt", kernel_package="linux-image-riscv64", kernel_file="Image",
    modules=("virtio_mmio", "virtio_blk", "virtio_rng", "virtio_input", "evdev", "crc32c_generic", "ext4",
             "virtio_net", "8021q"),
    compiler="riscv64-linux-gnu-gcc",
    firmware=Path("/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin"))

AMD64 = Architecture(
    name="amd64", machine="microvm", kernel_package="linux-image-cloud-amd64", kernel_file="vmlinuz",
    modules=("virtio_mmio", "virtio_blk", "virtio_rng", "button", "evdev", "ext4", "virtio_net", "8021q"),
    compiler="x86_64-linux-gnu-gcc", host_modules=("kvm_amd", "tun", "veth", "bridge"))

ALL = {architecture.name: architecture for architecture in (RISCV64, AMD64)}


def of_this_host():
    """The guests that some machine of a godwit built here can run: the software CPU's anywhere, KVM's where
    the host has the guest's architecture."""
    return [RISCV64, AMD64] if platform.machine() == "x86_64" else [RISCV64]
