# SPDX-License-Identifier: Apache-2.0
"""The unit tests of KVM machines, on a KVM that runs stock kernels: another may lack what some of them are about."""

import subprocess

import pytest

from godwit_tools.patience import PATIENCE_S
from godwit_tools.paths import build_dir

pytestmark = pytest.mark.stock_kernel


@pytest.mark.parametrize("program", ["vm", "dirty", "flush", "cpu-host"])
def test_unit_tests_pass(program):
    done = subprocess.run([build_dir() / f"tests/unit/kvm/test-kvm-{program}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=2 * PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout
    assert "[  PASSED  ]" in done.stdout
    assert "[  SKIPPED ]" not in done.stdout, done.stdout
