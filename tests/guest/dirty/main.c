/* SPDX-License-Identifier: Apache-2.0 */
#include "dirty.h"

#define MAPPED_END (8 * GiB) /* entry.S maps that much */
#define SET_BASE (16 * MiB)
#define CATCH_UP_MS 10
#define KEYS_MS 5
#define SLEEPS_PER_MS 2
#define SHORTEST_PER_MS 20 /* spans below are not worth a sleep */

struct options options;
static const char *unknown_word;
static struct trouble trouble;
static volatile uint32_t running;
static uint64_t start_tick;

static void find_room(void)
{
    for (uint32_t i = 0; i < ram_count; i++) {
        uint64_t end = ram[i].address + ram[i].bytes;
        if (ram[i].address < SET_BASE + 1 && end > SET_BASE)
            place.low_pages = (end - SET_BASE) / PAGE_BYTES;
        if (ram[i].address == 4 * GiB)
            place.pages = ((end < MAPPED_END ? end : MAPPED_END) - 4 * GiB) / PAGE_BYTES;
    }
    place.pages += place.low_pages;
}

void guest_prepare(void)
{
    find_room();
    const char *word;
    if (!options_read(command_line, &word))
        unknown_word = word;
    wants_ymm = options.ymm != 0;
}

void while_saying(void)
{
    tick(&cpus[0]);
}

uint64_t tick(struct cpu *cpu)
{
    uint64_t now = read_tsc();
    if (now < cpu->last_tick)
        trouble_tell((uint64_t)(cpu - cpus), "clock", cpu->next, now, cpu->last_tick);
    else if (now - cpu->last_tick > cpu->gap_ticks)
        cpu->gap_ticks = now - cpu->last_tick;
    cpu->last_tick = now;
    return now;
}

void trouble_tell(uint64_t cpu, const char *what, uint64_t number, uint64_t value, uint64_t expected)
{
    static volatile uint32_t taken;
    if (__atomic_exchange_n(&taken, 1, __ATOMIC_SEQ_CST) != 0)
        return;
    trouble.what = what;
    trouble.cpu = cpu;
    trouble.number = number;
    trouble.value = value;
    trouble.expected = expected;
    __atomic_store_n(&trouble.seen, 1, __ATOMIC_SEQ_CST);
}

static void end(void)
{
    say("dirty: power off\n");
    power_off();
}

static void start_over(void)
{
    say("dirty: reset\n");
    reset();
}

static void triple_fault(void)
{
    say("dirty: triple fault\n");
    __asm__ volatile("ud2");
}

/* Says no more than what is wrong, and obeys only what ends the machine. */
static _Noreturn void stop(void)
{
    say("BAD %s %u counter %u expected %u cpu %u\n", trouble.what, trouble.number, trouble.value,
        trouble.expected, trouble.cpu);
    for (;;) {
        int key = serial_read();
        if (key == 'q')
            end();
        if (key == 'R')
            start_over();
    }
}

static void write_once(struct cpu *cpu, uint64_t page, uint64_t number)
{
    uint64_t found;
    if (!page_check(page, page_counts[page], &found))
        trouble_tell(number, "page", page, found, page_counts[page]);
    page_counts[page]++;
    page_write(page, page_counts[page]);
    cpu->visits++;
}

static void fill(struct cpu *cpu, uint64_t first, uint64_t end)
{
    for (uint64_t page = first; page < end; page++) {
        page_counts[page] = 1;
        page_write(page, 1);
        tick(cpu);
    }
}

static void visit(struct cpu *cpu, uint64_t number)
{
    write_once(cpu, cpu->next, number);
    if (++cpu->next == cpu->end)
        cpu->next = cpu->first;
}

/* What each CPU keeps in its vector registers; the rest of the program does not touch them. */
static void vector_values(uint64_t *values, uint64_t number)
{
    for (uint64_t i = 0; i < 64; i++)
        values[i] = mix(options.seed + number * 64 + i);
}

static void vectors_check(uint64_t number)
{
    uint64_t expected[64], found[64];
    vector_values(expected, number);
    vectors_store(found, wants_ymm);
    for (uint64_t i = 0; i < 64; i++)
        if (found[i] != expected[i] && (wants_ymm || i % 4 < 2))
            trouble_tell(number, "vector word", i, found[i], expected[i]);
}

/* Until `until` at most, and never so long that a pause would not be told from it. */
static void rest(uint64_t now, uint64_t until)
{
    uint64_t longest = ticks_per_ms / SLEEPS_PER_MS;
    uint64_t ticks = until <= now ? 0 : until - now < longest ? until - now : longest;
    if (options.spin || ticks < ticks_per_ms / SHORTEST_PER_MS)
        __asm__ volatile("pause");
    else
        sleep_ticks(ticks);
}

/* One turn of any CPU: a page if one is due, and the registers from time to time. Takes the time. */
static uint64_t turn(struct cpu *cpu, uint64_t number, uint64_t ticks_per_page, uint64_t wake_at)
{
    uint64_t now = tick(cpu);
    if (cpu->first == cpu->end || options.rate == 0) {
        rest(now, wake_at);
    } else if (options.rate == RATE_MAX) {
        visit(cpu, number);
    } else if (now >= cpu->due_tick) {
        visit(cpu, number);
        cpu->due_tick += ticks_per_page;
        if (cpu->due_tick + CATCH_UP_MS * ticks_per_ms < now)
            cpu->due_tick = now - CATCH_UP_MS * ticks_per_ms;
    } else {
        rest(now, cpu->due_tick < wake_at ? cpu->due_tick : wake_at);
    }
    if (now >= cpu->vector_tick) {
        vectors_check(number);
        cpu->vector_tick = now + 100 * ticks_per_ms;
    }
    return now;
}

static void report(uint64_t now)
{
    uint64_t visits = 0, gap = 0;
    for (uint64_t i = 0; i < options.cpus; i++) {
        uint64_t ticks = __atomic_exchange_n(&cpus[i].gap_ticks, 0, __ATOMIC_SEQ_CST);
        visits += cpus[i].visits;
        gap = ticks > gap ? ticks : gap;
    }
    say("dirty: t_ms=%u visits=%u gap_us=%u bad=0\n", (now - start_tick) / ticks_per_ms, visits,
        gap * 1000 / ticks_per_ms);
}

/* Every page of the set, those that are written once too; the pages of other CPUs may be in the writing. */
static void verify(void)
{
    uint64_t pages = (options.memory + options.fill) / PAGE_BYTES, checked = 0, found;
    for (uint64_t page = 0; page < pages; page++) {
        tick(&cpus[0]);
        if (page >= cpus[0].end && page < options.memory / PAGE_BYTES)
            continue;
        if (!page_check(page, page_counts[page], &found))
            trouble_tell(0, "page", page, found, page_counts[page]);
        checked++;
    }
    if (!trouble.seen)
        say("dirty: verified pages=%u bad=0\n", checked);
}

static void obey(int key, uint64_t now)
{
    if (key == 'q')
        end();
    else if (key == 'R')
        start_over();
    else if (key == 'z')
        triple_fault();
    else if (key == 'r')
        report(now);
    else if (key == 'v')
        verify();
}

static _Noreturn void run(struct cpu *cpu, uint64_t number)
{
    uint64_t ticks_per_page = 0, beats = 0, now = tick(cpu), keys_at = now;
    uint64_t beat_at = now, report_at = now + options.report_ms * ticks_per_ms;
    if (options.rate > 0 && options.rate != RATE_MAX)
        ticks_per_page = ticks_per_ms * 1000 * PAGE_BYTES / options.rate * options.cpus;
    bool beats_here = number == 0 && options.heartbeat_ms > 0;
    timer_start();
    cpu->gap_ticks = 0;
    cpu->due_tick = cpu->vector_tick = now;
    for (;;) {
        now = turn(cpu, number, ticks_per_page, beats_here ? beat_at : UINT64_MAX);
        if (number != 0)
            continue;
        if (trouble.seen)
            stop();
        if (beats_here && now >= beat_at) {
            say("h %u\n", beats++);
            beat_at += options.heartbeat_ms * ticks_per_ms;
            if (beat_at < now)
                beat_at = now;
        }
        if (options.report_ms > 0 && now >= report_at) {
            report(now);
            report_at = now + options.report_ms * ticks_per_ms;
        }
        if (now >= keys_at) {
            obey(serial_read(), now);
            keys_at = now + KEYS_MS * ticks_per_ms;
        }
    }
}

static void refuse_what_does_not_fit(void)
{
    uint64_t pages = (options.memory + options.fill) / PAGE_BYTES;
    if (unknown_word != NULL) {
        say("dirty: not understood: %s\n", unknown_word);
        trouble_tell(0, "option", (uint64_t)(unknown_word - command_line), 0, 0);
    } else if (options.stride < 1 || pages > place.pages / options.stride || pages > MAX_PAGES) {
        trouble_tell(0, "set has too many pages", pages, pages, place.pages);
    } else if (options.cpus < 1 || options.cpus > MAX_CPUS) {
        trouble_tell(0, "cpus", options.cpus, options.cpus, MAX_CPUS);
    }
    if (trouble.seen)
        stop();
}

static void share_out(void)
{
    uint64_t pages = options.memory / PAGE_BYTES, n = options.cpus;
    for (uint64_t i = 0; i < n; i++) {
        cpus[i].first = cpus[i].next = pages * i / n;
        cpus[i].end = pages * (i + 1) / n;
    }
}

static void start_everything(void)
{
    static const char *const pattern_names[] = {"random", "zero", "text", "delta"};
    const char *source = clock_find(options.tsc_khz);
    cpus[0].last_tick = start_tick = read_tsc();
    say("dirty: memory=%u fill=%u pattern=%s cpus=%u tsc_khz=%u (%s)\n", options.memory, options.fill,
        pattern_names[options.pattern], options.cpus, ticks_per_ms, source);
    refuse_what_does_not_fit();
    share_out();
    uint32_t missing;
    if (!cpus_start((uint32_t)options.cpus, &missing)) {
        trouble_tell(0, "cpu does not start", missing, 0, 0);
        stop();
    }
    fill(&cpus[0], 0, (options.memory + options.fill) / PAGE_BYTES);
    say("dirty: ready\n");
    __atomic_store_n(&running, 1, __ATOMIC_SEQ_CST);
}

void cpu_main(uint32_t number)
{
    uint64_t values[64];
    struct cpu *cpu = &cpus[number];
    vector_values(values, number);
    vectors_load(values, wants_ymm);
    if (number == 0) {
        start_everything();
    } else {
        __atomic_store_n(&cpu->online, 1, __ATOMIC_SEQ_CST);
        while (!running)
            __asm__ volatile("pause");
        cpu->last_tick = read_tsc();
    }
    run(cpu, number);
}
