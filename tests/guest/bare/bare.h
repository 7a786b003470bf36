/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What bare x86-64 guests have in common: the way from the PVH entry to ring 3, where all of a guest runs with
 * interrupts off, its command line, the serial port, the clock and halting.
 */
#ifndef BARE_H
#define BARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_BYTES 4096u
#define MAX_CPUS 64 /* entry.S has room for so many */
#define WAKE_VECTOR 0x20 /* any interrupt with it ends a halt, and does nothing else */
#define MiB (UINT64_C(1) << 20)
#define GiB (UINT64_C(1) << 30)

/* ---- The guest's own ---- */

/* Once, in ring 0, where a KVM without hardware below it is slow: what must be read before memory is written. */
void guest_prepare(void);
/* In ring 3, on each CPU. */
_Noreturn void cpu_main(uint32_t number);
/* Again and again while a line is sent. */
void while_saying(void);

/* ---- start.c ---- */

struct memory_range {
    uint64_t address, bytes;
};
#define MAX_RAM 8
extern struct memory_range ram[MAX_RAM];
extern uint32_t ram_count;
extern char command_line[512];
extern uint32_t wants_ymm; /* set by guest_prepare() */
extern volatile uint32_t cpu_to_start; /* the CPU that comes through the entry next */
extern const char trampoline[], trampoline_end[]; /* where it begins; cpus.c of dirty */

void power_off(void);
void reset(void);

/* ---- words.c: the command line ---- */

struct word {
    const char *name;
    void *to;
    size_t (*read)(const char *text, void *to); /* how much of the text it was; 0: not understood */
};
/* "name=value name=value …". False with what is not understood in ret_word. */
bool words_read(const struct word *words, size_t count, const char *line, const char **ret_word);
/* How much of `text` is `word`, up to a character that ends a word; 0 if it is another word. */
size_t word_length(const char *text, const char *word);
bool word_ends(char c);
/* Into a uint64_t; a size may end in K, M or G. */
size_t read_number(const char *text, void *to);
size_t read_size(const char *text, void *to);

/* ---- clock.c ---- */

extern uint64_t ticks_per_ms; /* units of the time stamp counter */
/* Sets ticks_per_ms; khz = 0: find out. How it is known. */
const char *clock_find(uint64_t khz);
/* On each CPU once, before its first sleep. */
void timer_start(void);
/* One interrupt after about that long, instead of one that was asked for before. */
void timer_set(uint64_t ticks);
/* Halts until an interrupt has come since the last halt. */
void cpu_halt(void);
/* Halts for about that long. */
void sleep_ticks(uint64_t ticks);

/* ---- say.c: the serial line ---- */

/* %s text, %u a uint64_t, %x two digits of one. */
void say(const char *format, ...);
/* -1 if nobody typed. */
int serial_read(void);

/* ---- Instructions ---- */

static inline uint8_t in8(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline void out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint64_t read_tsc(void)
{
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

struct cpuid {
    uint32_t a, b, c, d;
};
static inline struct cpuid read_cpuid(uint32_t leaf)
{
    struct cpuid r;
    __asm__ volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(0));
    return r;
}

#endif
