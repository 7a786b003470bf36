# SPDX-License-Identifier: Apache-2.0
"""What ./check, ./demo, the system tests and the benchmarks share. Standard library only."""
