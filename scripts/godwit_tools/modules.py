# SPDX-License-Identifier: Apache-2.0
"""
The order in which kernel modules load. A distribution's package has no modules.dep (depmod writes it on the
installed machine), so dependencies are read from the modules themselves: their .modinfo section is a list of
NUL-terminated "key=value" strings.
"""

import re


def module_name(path):
    """drivers/char/hw_random/virtio-rng.ko.xz -> virtio_rng: file names and module names differ in dashes."""
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def module_depends(image):
    """Names of the modules that this one (bytes of its ELF file) needs."""
    match = re.search(rb"\0depends=([^\0]*)\0", image)
    names = match.group(1).decode().split(",") if match else []
    return [name.replace("-", "_") for name in names if name]


def load_order(wanted, images):
    """`wanted` and all they need, dependencies first. `images` maps module name to ELF bytes; a dependency
    that is not in it is built into the kernel's image or missing, which the guest would tell."""
    order = []

    def visit(name):
        if name in order or name not in images:
            return
        for needed in module_depends(images[name]):
            visit(needed)
        order.append(name)

    for name in wanted:
        visit(name)
    return order
