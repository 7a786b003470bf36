/* SPDX-License-Identifier: Apache-2.0 */
#include "net.h"

#define BURST 64 /* frames between looks at anything else */
#define KEYS_MS 20

static const char *unknown_word;
static uint64_t start_tick;
static bool must_announce;

void guest_prepare(void)
{
    const char *word;
    if (!options_read(command_line, &word))
        unknown_word = word;
}

void while_saying(void)
{
}

static void report(uint64_t now)
{
    static struct counts before;
    struct counts c = counts;
    say("net: t_ms=%u in=%u in_bytes=%u out=%u out_bytes=%u all_in=%u all_in_bytes=%u all_out=%u all_out_bytes=%u",
        (now - start_tick) / ticks_per_ms, c.in - before.in, c.in_bytes - before.in_bytes, c.out - before.out,
        c.out_bytes - before.out_bytes, c.in, c.in_bytes, c.out, c.out_bytes);
    say(" too_long=%u lost=%u late=%u\n", c.too_long, numbers_seen.lost, numbers_seen.late);
    before = c;
}

static void obey(int key, uint64_t now)
{
    if (key == 'r') {
        report(now);
    } else if (key == 'q') {
        say("net: power off\n");
        power_off();
    } else if (key == 'R') {
        say("net: reset\n");
        reset();
    }
}

/* What has come in, as far as there is room for answers; *ret_blocked: there is none. True: there may be more. */
static bool receive(bool *ret_blocked)
{
    struct frame in;
    for (uint32_t i = 0; i < BURST; i++) {
        struct frame *out = card_room();
        *ret_blocked = out == NULL;
        if (out == NULL || !card_receive(&in))
            return false;
        traffic_count(&in);
        if (!answer(in.bytes, &in.count))
            continue;
        *out->header = (struct header){.flags = in.header->flags & HEADER_NEEDS_CHECKSUM,
            .checksum_start = in.header->checksum_start, .checksum_offset = in.header->checksum_offset};
        out->count = in.count;
        copy(out->bytes, in.bytes, in.count);
        card_send(out);
    }
    return true;
}

/* Halts until an interrupt, but not beyond `until`. */
static void rest(uint64_t now, uint64_t until, bool for_frames, bool for_room)
{
    static uint64_t timer_at; /* 0: it has rung */
    if (timer_at <= now || until < timer_at) {
        timer_at = until;
        timer_set(until > now ? until - now : 1);
    }
    card_rest(for_frames, for_room);
    must_announce |= card_attend();
}

static uint64_t earlier(uint64_t one, uint64_t other)
{
    return one < other ? one : other;
}

static _Noreturn void run(void)
{
    uint64_t report_ticks = (options.report_ms > 0 ? options.report_ms : 1000) * ticks_per_ms;
    uint64_t report_at = start_tick + report_ticks, keys_at = start_tick;
    for (;;) {
        uint64_t now = read_tsc(), due = UINT64_MAX;
        bool blocked, more = receive(&blocked);
        if (options.mode == MODE_SEND)
            due = traffic_send(now);
        if (must_announce && announce()) {
            must_announce = false;
            card_announced();
        }
        card_flush();
        if (now >= report_at) {
            if (options.report_ms > 0)
                report(now);
            report_at = now + report_ticks;
        }
        if (now >= keys_at) {
            obey(serial_read(), now);
            keys_at = now + KEYS_MS * ticks_per_ms;
        }
        if (!more && (due == 0 || due > now))
            rest(now, earlier(earlier(report_at, keys_at), due > 0 ? due : UINT64_MAX), !blocked, blocked || due == 0);
    }
}

static _Noreturn void stop(const char *why, const char *word)
{
    say("net: %s%s\n", why, word);
    for (;;)
        obey(serial_read(), read_tsc());
}

void cpu_main(uint32_t number)
{
    (void)number;
    clock_find(options.tsc_khz);
    if (unknown_word != NULL)
        stop("not understood: ", unknown_word);
    const char *trouble = card_start();
    if (trouble != NULL)
        stop(trouble, "");
    timer_start();
    start_tick = read_tsc();
    announce();
    say("net: ready mac=%x:%x:%x:%x:%x:%x\n", (uint64_t)card_mac[0], (uint64_t)card_mac[1], (uint64_t)card_mac[2],
        (uint64_t)card_mac[3], (uint64_t)card_mac[4], (uint64_t)card_mac[5]);
    run();
}
