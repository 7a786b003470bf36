# SPDX-License-Identifier: Apache-2.0
# Works between timer interrupts, sometimes longer than a tick, sleeps the rest, and powers off after 300 ticks. Memory and
# registers depend on when each interrupt came.
.include "machine.inc"
    la t0, tick
    csrw mtvec, t0
    li s0, MTIME
    li s1, MTIMECMP
    li s2, 300                  # ticks to go
    li s3, 0x12345              # random state
    li s4, COUNTERS
    li s5, 0x5851f42d4c957f2d
    ld t0, 0(s0)
    addi t0, t0, 100
    sd t0, 0(s1)
    li t0, 1 << 7               # MTIE
    csrw mie, t0
    csrsi mstatus, 8            # MIE
work:
    mul s3, s3, s5
    addi s3, s3, 11
    srli s6, s3, 54             # up to 1023 rounds
1:  srli t0, s3, 45
    slli t0, t0, 50
    srli t0, t0, 47             # a word in 128 KiB
    add t0, t0, s4
    ld t1, 0(t0)
    csrr t2, time
    add t1, t1, t2
    add t1, t1, s6
    sd t1, 0(t0)
    mul s3, s3, s5
    addi s3, s3, 11
    addi s6, s6, -1
    bgtz s6, 1b
    wfi
    j work

    .balign 4
tick:
    addi s2, s2, -1
    beqz s2, 3f
    ld t3, 0(s0)
    csrr t4, mepc
    xor s3, s3, t4
    xor s3, s3, t3
    andi t4, s3, 0x7f
    addi t4, t4, 1
    add t3, t3, t4
    sd t3, 0(s1)
    andi t4, s2, 15
    addi t4, t4, 'a'
    li t5, UART
    sb t4, 0(t5)
    mret
3:  finish PASS
