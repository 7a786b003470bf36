/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages are read from the network straight into guest memory. Two bits a page are kept: `touched`,
 * for a page that has been written here (a zero extent must clear it; an untouched page is zero
 * already and stays unallocated), and `suspect`, for a page whose last copy had the wrong CRC.
 * Honest channels never share a word of these bitmaps within a round; the bits are atomic so that
 * dishonest ones do no harm either.
 *
 * First touch of memory is slower than the network on many hosts, so helper threads populate the
 * ranges that the source says are in use, in the order in which they will arrive.
 */
#include "migrate/receiver.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/crc32c.h"

#define POPULATE_STEP_PAGES 256u
#define MAX_HELPERS 4

typedef _Atomic uint64_t atomic_word;

struct receiver {
    /* set once */
    struct gw_memory *memory;
    struct session *session;
    unsigned region_count, channel_count;
    uint64_t region_pages[GW_MEMORY_MAX_REGIONS];
    atomic_word *touched[GW_MEMORY_MAX_REGIONS], *suspect[GW_MEMORY_MAX_REGIONS];
    /* any thread */
    _Atomic uint64_t suspects, raw_pages, zero_pages;
    _Atomic uint64_t populate_next; /* step of the expected ranges, all counted together */
    _Atomic bool stopping;
    /* under the monitor */
    struct wire_barrier met[SESSION_MAX_DATA_CHANNELS];
    uint32_t rounds;
    uint32_t complete_attempt;
    uint64_t complete_ns;
    /* set before the helpers start */
    struct wire_range *expected;
    uint32_t expected_count;
    pthread_t helpers[MAX_HELPERS];
    unsigned helper_count;
};

static bool test_bit(const atomic_word *bits, uint64_t page)
{
    return atomic_load_explicit(&bits[page / 64], memory_order_relaxed) >> page % 64 & 1;
}

/* The bit's value before. */
static bool set_bit(atomic_word *bits, uint64_t page)
{
    uint64_t bit = (uint64_t)1 << page % 64;
    return atomic_fetch_or_explicit(&bits[page / 64], bit, memory_order_relaxed) & bit;
}

static bool clear_bit(atomic_word *bits, uint64_t page)
{
    uint64_t bit = (uint64_t)1 << page % 64;
    return atomic_fetch_and_explicit(&bits[page / 64], ~bit, memory_order_relaxed) & bit;
}

/* ---- Extents ---- */

static void set_suspect(struct receiver *receiver, unsigned region, uint64_t page, bool suspect)
{
    if (suspect) {
        if (!set_bit(receiver->suspect[region], page))
            receiver->suspects++;
    } else if (receiver->suspects > 0 && test_bit(receiver->suspect[region], page) &&
               clear_bit(receiver->suspect[region], page)) {
        receiver->suspects--;
    }
}

/* The first page from `page` to `end` that something was written to, or whose last contents are
 * doubtful; `end` if there is none. */
static uint64_t next_written(const struct receiver *receiver, unsigned region, uint64_t page,
                             uint64_t end)
{
    while (page < end) {
        uint64_t word =
            atomic_load_explicit(&receiver->touched[region][page / 64], memory_order_relaxed) |
            atomic_load_explicit(&receiver->suspect[region][page / 64], memory_order_relaxed);
        word >>= page % 64;
        if (word) {
            page += (unsigned)__builtin_ctzll(word);
            return page < end ? page : end;
        }
        page += 64 - page % 64;
    }
    return end;
}

/* Most zero pages are of memory that nobody has ever written: it is zero as it is. */
static void take_zero(struct receiver *receiver, const struct wire_extent *extent)
{
    uint8_t *host = gw_memory_region(receiver->memory, extent->region)->host;
    uint64_t end = extent->first_page + extent->page_count, page = extent->first_page;
    while ((page = next_written(receiver, extent->region, page, end)) < end) {
        uint8_t *at = host + (page << GW_PAGE_SHIFT);
        set_suspect(receiver, extent->region, page, false);
        if (!gw_memory_is_zero(at, GW_PAGE_BYTES))
            memset(at, 0, GW_PAGE_BYTES);
        page++;
    }
    receiver->zero_pages += extent->page_count;
}

static int take_raw(struct receiver *receiver, struct channel *channel,
                    const struct wire_extent *extent, const uint8_t *table, struct gw_error *error)
{
    uint8_t *at = gw_memory_region(receiver->memory, extent->region)->host +
                  (extent->first_page << GW_PAGE_SHIFT);
    for (uint32_t i = 0; i < extent->page_count; i++)
        set_bit(receiver->touched[extent->region], extent->first_page + i);
    int r = channel_read(channel, at, extent->data_bytes, error);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < extent->page_count; i++) {
        uint32_t crc = crc32c(0, at + (size_t)i * GW_PAGE_BYTES, GW_PAGE_BYTES);
        set_suspect(receiver, extent->region, extent->first_page + i,
                    crc != get_le32(table + (size_t)4 * i));
    }
    receiver->raw_pages += extent->page_count;
    return 0;
}

static int take_extent(struct receiver *receiver, struct channel *channel,
                       const struct wire_header *header, struct gw_error *error)
{
    uint8_t head[WIRE_EXTENT_HEAD_MAX_BYTES];
    struct wire_extent extent;
    if (header->length < WIRE_EXTENT_FIXED_BYTES)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EBADMSG,
                            "a record EXTENT is too short");
    int r = channel_read(channel, head, WIRE_EXTENT_FIXED_BYTES, error);
    if (r == 0)
        r = wire_extent_decode(head, header->length, receiver->region_pages, receiver->region_count,
                               &extent, error);
    if (r < 0)
        return r;
    size_t table = wire_extent_table_bytes(&extent);
    r = channel_read(channel, head + WIRE_EXTENT_FIXED_BYTES, table, error);
    if (r == 0)
        r = wire_body_check(header, head, WIRE_EXTENT_FIXED_BYTES + table, error);
    if (r < 0)
        return r;
    if (extent.kind == WIRE_EXTENT_RAW)
        return take_raw(receiver, channel, &extent, head + WIRE_EXTENT_FIXED_BYTES, error);
    take_zero(receiver, &extent);
    return 0;
}

/* ---- Barriers ---- */

/* Inside the monitor: whether all channels have met the barrier of this round. */
static bool all_have_met(const struct receiver *receiver, uint32_t round)
{
    for (unsigned i = 0; i < receiver->channel_count; i++)
        if (receiver->met[i].round < round)
            return false;
    return true;
}

static void end_round(struct receiver *receiver, uint32_t round)
{
    uint32_t attempt = receiver->met[0].attempt;
    for (unsigned i = 1; i < receiver->channel_count; i++)
        if (receiver->met[i].attempt != attempt)
            attempt = 0;
    receiver->rounds = round;
    if (attempt != 0) {
        receiver->complete_attempt = attempt;
        receiver->complete_ns = host_monotonic_ns();
    }
    monitor_notify(receiver->session->monitor);
}

static int meet_barrier(struct receiver *receiver, unsigned index,
                        const struct wire_barrier *barrier, struct gw_error *error)
{
    struct session *session = receiver->session;
    monitor_enter(session->monitor);
    int r = 0;
    if (barrier->round != receiver->met[index].round + 1) {
        r = gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EBADMSG,
                         "the barrier of round %u came where %u was due", barrier->round,
                         receiver->met[index].round + 1);
    } else {
        receiver->met[index] = *barrier;
        if (all_have_met(receiver, barrier->round))
            end_round(receiver, barrier->round);
        while (receiver->rounds < barrier->round && !session->failed && !session->stopping &&
               !receiver->stopping)
            monitor_wait(session->monitor, UINT64_MAX);
    }
    monitor_leave(session->monitor);
    return r;
}

int receiver_record(struct receiver *receiver, struct channel *channel,
                    const struct wire_header *header, struct gw_error *error)
{
    if (header->type == WIRE_EXTENT)
        return take_extent(receiver, channel, header, error);
    struct gw_buf bytes = {0};
    union wire_body body;
    int r = channel_read_body(channel, header, &bytes, error);
    if (r == 0)
        r = wire_body_decode(header->type, bytes.data, bytes.length, &body, NULL, error);
    gw_buf_fini(&bytes);
    if (r == 0)
        r = meet_barrier(receiver, channel->index, &body.barrier, error);
    return r;
}

uint32_t receiver_complete_attempt(struct receiver *receiver, uint64_t *ret_at_ns)
{
    *ret_at_ns = receiver->complete_ns;
    return receiver->complete_attempt;
}

uint32_t receiver_rounds(struct receiver *receiver)
{
    return receiver->rounds;
}

static int name_suspect(struct receiver *receiver, unsigned index, struct gw_error *error)
{
    for (uint64_t page = 0; page < receiver->region_pages[index]; page++)
        if (test_bit(receiver->suspect[index], page))
            return gw_error_set(
                error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EBADMSG,
                "the stream is damaged: %llu pages arrived with a wrong CRC and did "
                "not come again, the first is page %llu of '%s'",
                (unsigned long long)receiver->suspects, (unsigned long long)page,
                gw_memory_region(receiver->memory, index)->name);
    return 0;
}

int receiver_check(struct receiver *receiver, struct gw_error *error)
{
    int r = 0;
    for (unsigned i = 0; receiver->suspects > 0 && i < receiver->region_count && r == 0; i++)
        r = name_suspect(receiver, i, error);
    return r;
}

/* ---- Populating ahead ---- */

static uint64_t steps_of(const struct wire_range *range)
{
    return (range->page_count + POPULATE_STEP_PAGES - 1) / POPULATE_STEP_PAGES;
}

/* The step with this number, and the range that it is in; false past the last. */
static bool find_step(const struct receiver *receiver, uint64_t number, uint32_t *range,
                      uint64_t *range_begins)
{
    while (*range < receiver->expected_count &&
           number - *range_begins >= steps_of(&receiver->expected[*range])) {
        *range_begins += steps_of(&receiver->expected[*range]);
        ++*range;
    }
    return *range < receiver->expected_count;
}

static void *helper_main(void *opaque)
{
    struct receiver *receiver = opaque;
    uint32_t index = 0;
    uint64_t begins = 0;
    while (!receiver->stopping) {
        uint64_t number = atomic_fetch_add(&receiver->populate_next, 1);
        if (!find_step(receiver, number, &index, &begins))
            break;
        const struct wire_range *range = &receiver->expected[index];
        uint64_t skip = (number - begins) * POPULATE_STEP_PAGES;
        uint64_t left = range->page_count - skip;
        uint64_t pages = left < POPULATE_STEP_PAGES ? left : POPULATE_STEP_PAGES;
        if (gw_memory_populate(gw_memory_region(receiver->memory, range->region),
                               (range->first_page + skip) << GW_PAGE_SHIFT,
                               pages << GW_PAGE_SHIFT) < 0)
            break;
    }
    return NULL;
}

static unsigned wanted_helpers(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN) / 2;
    return cpus < 1 ? 1 : cpus > MAX_HELPERS ? MAX_HELPERS : (unsigned)cpus;
}

int receiver_expect(struct receiver *receiver, const uint8_t *ranges, uint32_t count,
                    struct gw_error *error)
{
    if (receiver->expected || count == 0)
        return 0;
    struct wire_range *expected = calloc(count, sizeof *expected);
    if (!expected)
        return 0; /* only slower */
    int r = 0;
    for (uint32_t i = 0; i < count && r == 0; i++)
        r = wire_range_decode(ranges + (size_t)i * WIRE_RANGE_BYTES, receiver->region_pages,
                              receiver->region_count, &expected[i], error);
    if (r < 0) {
        free(expected);
        return r;
    }
    receiver->expected = expected;
    receiver->expected_count = count;
    for (unsigned wanted = wanted_helpers(); receiver->helper_count < wanted;)
        if (pthread_create(&receiver->helpers[receiver->helper_count], NULL, helper_main, receiver))
            break;
        else
            receiver->helper_count++;
    return 0;
}

/* ---- Beginning and end ---- */

/* What the VMM put there while it built the machine counts as touched. */
static void mark_present(struct receiver *receiver, unsigned index)
{
    const struct gw_memory_region *region = gw_memory_region(receiver->memory, index);
    if (region->pristine)
        return; /* the host holds all of it, and there is nothing in it */
    for (uint64_t at = gw_memory_next_data(region, 0); at < region->bytes;) {
        uint64_t end = gw_memory_next_hole(region, at);
        for (; at < end; at += GW_PAGE_BYTES)
            set_bit(receiver->touched[index], at >> GW_PAGE_SHIFT);
        at = gw_memory_next_data(region, at);
    }
}

static int allocate_bitmaps(struct receiver *receiver)
{
    for (unsigned i = 0; i < receiver->region_count; i++) {
        uint64_t pages = gw_memory_region(receiver->memory, i)->bytes >> GW_PAGE_SHIFT;
        receiver->region_pages[i] = pages;
        receiver->touched[i] = calloc(pages / 64 + 1, 8);
        receiver->suspect[i] = calloc(pages / 64 + 1, 8);
        if (!receiver->touched[i] || !receiver->suspect[i])
            return -ENOMEM;
        mark_present(receiver, i);
    }
    return 0;
}

int receiver_new(struct gw_memory *memory, struct session *session, unsigned channel_count,
                 struct receiver **ret_receiver, struct gw_error *error)
{
    struct receiver *receiver = calloc(1, sizeof *receiver);
    if (receiver) {
        receiver->memory = memory;
        receiver->session = session;
        receiver->channel_count = channel_count;
        receiver->region_count = gw_memory_region_count(memory);
    }
    if (!receiver || allocate_bitmaps(receiver) < 0) {
        receiver_free(receiver);
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, -ENOMEM,
                            "no memory for the bitmaps of %llu MiB of guest memory",
                            (unsigned long long)gw_memory_total_bytes(memory) >> 20);
    }
    *ret_receiver = receiver;
    return 0;
}

void receiver_free(struct receiver *receiver)
{
    if (!receiver)
        return;
    receiver->stopping = true;
    for (unsigned i = 0; i < receiver->helper_count; i++)
        pthread_join(receiver->helpers[i], NULL);
    for (unsigned i = 0; i < receiver->region_count; i++) {
        free(receiver->touched[i]);
        free(receiver->suspect[i]);
    }
    free(receiver->expected);
    free(receiver);
}

uint64_t receiver_raw_pages(struct receiver *receiver)
{
    return receiver->raw_pages;
}

uint64_t receiver_zero_pages(struct receiver *receiver)
{
    return receiver->zero_pages;
}
