/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bare loops for the CPU benchmark, one program for each LOOP: RAM at 0x80000000, M-mode at the
 * start, the finisher at 0x100000 ends it. They run on the software CPU and on qemu-system-riscv64
 * -bios none alike.
 */
#include <stddef.h>
#include <stdint.h>

enum { LOOP_INTEGER, LOOP_MEMORY, LOOP_FLOAT, LOOP_CALL };

__attribute__((naked, section(".start"), used)) void _start(void)
{
    __asm__ volatile("li sp, 0x80100000\n"
                     "li t0, 0x6000\n"
                     "csrs mstatus, t0\n" /* floating point on */
                     "li t0, -1\n"
                     "csrw pmpaddr0, t0\n"
                     "li t0, 0x1f\n"
                     "csrw pmpcfg0, t0\n"
                     "la t0, handler\n"
                     "csrw mtvec, t0\n"
                     "li t0, 0x1800\n"
                     "csrc mstatus, t0\n" /* down to user mode */
                     "la t0, 1f\n"
                     "csrw mepc, t0\n"
                     "mret\n"
                     "1: call work\n"
                     "li a7, 1\n"
                     "ecall\n");
}

/* a7 = 1 ends; anything else counts in a0 and returns, with the work of a small kernel entry. */
__attribute__((naked, aligned(4), used)) void handler(void)
{
    __asm__ volatile("csrrw sp, mscratch, sp\n"
                     "li sp, 0x80180000\n"
                     "addi sp, sp, -128\n"
                     "sd t0, 0(sp)\nsd t1, 8(sp)\nsd t2, 16(sp)\nsd ra, 24(sp)\n"
                     "li t0, 1\n"
                     "beq a7, t0, 1f\n"
                     "addi a0, a0, 1\n"
                     "csrr t1, mepc\n"
                     "addi t1, t1, 4\n"
                     "csrw mepc, t1\n"
                     "ld t0, 0(sp)\nld t1, 8(sp)\nld t2, 16(sp)\nld ra, 24(sp)\n"
                     "csrrw sp, mscratch, sp\n"
                     "mret\n"
                     "1: li t0, 0x100000\n"
                     "li t1, 0x5555\n"
                     "sw t1, 0(t0)\n"
                     "2: j 2b\n");
}

static uint64_t integer_loop(void)
{
    uint64_t sum = 0;
    for (uint32_t start = 1; start < 700000; start++) {
        uint64_t value = start;
        unsigned steps = 0;
        while (value != 1 && steps < 60) {
            value = value & 1 ? 3 * value + 1 : value >> 1;
            steps++;
        }
        sum = sum * 31 + steps;
    }
    return sum;
}

static uint64_t memory_loop(void)
{
    uint64_t *from = (uint64_t *)0x80200000, *to = (uint64_t *)0x80300000;
    for (unsigned i = 0; i < 1500; i++) {
        for (size_t at = 0; at < 65536 / 8; at += 8) {
            uint64_t a = from[at], b = from[at + 1], c = from[at + 2], d = from[at + 3];
            uint64_t e = from[at + 4], f = from[at + 5], g = from[at + 6], h = from[at + 7];
            to[at] = a;
            to[at + 1] = b;
            to[at + 2] = c;
            to[at + 3] = d;
            to[at + 4] = e;
            to[at + 5] = f;
            to[at + 6] = g;
            to[at + 7] = h;
        }
        __asm__ volatile("" ::: "memory");
    }
    return to[0];
}

static uint64_t float_loop(void)
{
    uint64_t inside = 0;
    for (int y = 0; y < 300; y++)
        for (int x = 0; x < 300; x++) {
            double cr = x * (3.0 / 300) - 2.2, ci = y * (2.4 / 300) - 1.2, r = 0, i = 0;
            int n = 0;
            for (; n < 100 && r * r + i * i < 4; n++) {
                double next = r * r - i * i + cr;
                i = 2 * r * i + ci;
                r = next;
            }
            inside += (uint64_t)n;
        }
    return inside;
}

static uint64_t call_loop(void)
{
    register uint64_t count __asm__("a0") = 0;
    register uint64_t number __asm__("a7") = 2;
    for (unsigned i = 0; i < 2000000; i++)
        __asm__ volatile("ecall" : "+r"(count) : "r"(number) : "memory");
    return count;
}

volatile uint64_t result;

__attribute__((used)) void work(void)
{
    switch (LOOP) {
    case LOOP_INTEGER:
        result = integer_loop();
        break;
    case LOOP_MEMORY:
        result = memory_loop();
        break;
    case LOOP_FLOAT:
        result = float_loop();
        break;
    case LOOP_CALL:
        result = call_loop();
        break;
    }
}
