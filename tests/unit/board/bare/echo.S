# SPDX-License-Identifier: Apache-2.0
# Echoes the serial port by interrupts, asleep between them; 'q' powers off.
.include "machine.inc"
    li s0, UART
    li t0, 1
    sb t0, 2(s0)                # FIFO on
    sb t0, 1(s0)                # receive interrupt
    li s1, PLIC
    sw t0, 40(s1)               # priority of source 10
    li t0, 1 << 10
    li t1, PLIC + 0x2000
    sw t0, 0(t1)
    li s2, PLIC + 0x200000
    li t0, 1 << 11              # MEIE; interrupts stay off globally, WFI wakes all the same
    csrw mie, t0
    li t0, '>'
    sb t0, 0(s0)
1:  wfi
    lw s3, 4(s2)                # claim
    beqz s3, 1b
2:  lbu t0, 5(s0)
    andi t0, t0, 1
    beqz t0, 3f
    lbu t0, 0(s0)
    sb t0, 0(s0)
    li t1, 'q'
    bne t0, t1, 2b
    finish PASS
3:  sw s3, 4(s2)                # complete
    j 1b
