# SPDX-License-Identifier: Apache-2.0
# Resets the machine the first time, powers off the second time.
.include "machine.inc"
    li a0, NOTES
    lw a1, 0(a0)
    bnez a1, 1f
    li a1, 1
    sw a1, 0(a0)
    finish RESET
1:  finish PASS
