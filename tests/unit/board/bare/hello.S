# SPDX-License-Identifier: Apache-2.0
# Prints a line and powers off.
.include "machine.inc"
    la a0, text
    li a1, UART
1:  lbu a2, 0(a0)
    beqz a2, 2f
    sb a2, 0(a1)
    addi a0, a0, 1
    j 1b
2:  finish PASS
text: .asciz "hello\n"
