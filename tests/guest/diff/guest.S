/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Static program for qemu-riscv64, linked to begin at DIFF_DONE (diff.h): reads a count, the code and the states
 * from its input, runs each sequence, writes the results to its output.
 */
#define SYS_READ 63
#define SYS_WRITE 64
#define SYS_EXIT 93
#define SYS_MMAP 222

#define CODE 0x10000000
#define STATES 0x12000000
#define RESULTS 0x14000000
#define SCRATCH 0x18000000
#define CODE_BYTES 256
#define STATE_BYTES (65 * 8)
#define SCRATCH_BYTES 512
#define RESULT_BYTES (STATE_BYTES + SCRATCH_BYTES)

    .option norvc
    .option norelax
    .text

/* A sequence has ended: its registers go to the next result, x31 is free. */
done:
    la x31, result_at
    ld x31, 0(x31)
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    sd x\n, \n * 8(x31)
    .endr
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    fsd f\n, (32 + \n) * 8(x31)
    .endr
    frcsr t0
    sd t0, 64 * 8(x31)
    addi t1, x31, STATE_BYTES
    li t2, SCRATCH
    li t3, SCRATCH + SCRATCH_BYTES
1:  ld t4, 0(t2)
    sd t4, 0(t1)
    addi t1, t1, 8
    addi t2, t2, 8
    bltu t2, t3, 1b
    la t0, result_at
    sd t1, 0(t0)

next:
    la t0, left
    ld t1, 0(t0)
    beqz t1, finish
    addi t1, t1, -1
    sd t1, 0(t0)
    la t0, state_at
    ld x30, 0(t0)
    addi t1, x30, STATE_BYTES
    sd t1, 0(t0)
    la t0, code_at
    ld x31, 0(t0)
    addi t1, x31, CODE_BYTES
    sd t1, 0(t0)

    ld t0, 64 * 8(x30)
    fscsr t0
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    fld f\n, (32 + \n) * 8(x30)
    .endr
    .irp n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29
    ld x\n, \n * 8(x30)
    .endr
    ld x30, 30 * 8(x30)
    jr x31

finish:
    la t0, count
    ld s3, 0(t0)
    li s1, RESULTS
    li t1, RESULT_BYTES
    mul s2, s3, t1
2:  li a0, 1
    mv a1, s1
    mv a2, s2
    li a7, SYS_WRITE
    ecall
    blez a0, fail
    add s1, s1, a0
    sub s2, s2, a0
    bnez s2, 2b
    li a0, 0
    li a7, SYS_EXIT
    ecall

/* s2 bytes to s1. */
read_all:
    beqz s2, 3f
    li a0, 0
    mv a1, s1
    mv a2, s2
    li a7, SYS_READ
    ecall
    blez a0, fail
    add s1, s1, a0
    sub s2, s2, a0
    j read_all
3:  ret

fail:
    li a0, 1
    li a7, SYS_EXIT
    ecall

/* a0, a1: fresh memory that may hold code. */
map:
    li a2, 7
    li a3, 0x32
    li a4, -1
    li a5, 0
    li a7, SYS_MMAP
    ecall
    bltz a0, fail
    ret

    .globl _start
_start:
    li a0, CODE
    li a1, 0x6000000
    call map
    li a0, SCRATCH
    li a1, 0x1000
    call map
    la s1, count
    li s2, 8
    call read_all
    la t0, count
    ld s3, 0(t0)
    la t0, left
    sd s3, 0(t0)
    li s1, CODE
    li t1, CODE_BYTES
    mul s2, s3, t1
    call read_all
    li s1, STATES
    li t1, STATE_BYTES
    mul s2, s3, t1
    call read_all
    fence.i
    j next

    .data
    .balign 8
count:      .dword 0
left:       .dword 0
code_at:    .dword CODE
state_at:   .dword STATES
result_at:  .dword RESULTS
