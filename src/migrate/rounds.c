/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A page is due when its bit is set in `due` (never sent, or left over from a round that was abandoned) or in
 * the tracker. A sender claims a chunk, moves both kinds of bits of that chunk into its own bitmap, and only
 * then reads the pages: a write after that is seen by the tracker, so the page comes again. What a sender
 * has not sent when a round is abandoned goes back into `due`. Chunks are whole words of `due`, and one
 * sender has a chunk at a time, so the words need no lock.
 *
 * Pages go to the network straight from guest memory, in batches of one write: heads from the batch, pages
 * from where they are. The CRC of a page is taken just before, while it is in the cache anyway; if the guest
 * writes to the page in between, the CRC is wrong, the page is dirty, and a later copy is right.
 */
#include "migrate/rounds.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crc32c.h"

#define CHUNK_WORDS (ROUNDS_CHUNK_PAGES / 64)
#define BATCH_PAGES 64u
#define BATCH_EXTENTS 64u
#define HEAD_BYTES (WIRE_HEADER_BYTES + WIRE_EXTENT_FIXED_BYTES)

/* Extents that go out in one write. */
struct batch {
    struct wire_extent extents[BATCH_EXTENTS];
    unsigned extent_count, page_count;
    uint32_t crcs[BATCH_PAGES];
    uint8_t heads[BATCH_EXTENTS * (HEAD_BYTES + 4) + BATCH_PAGES * 4 + 4];
    struct iovec vectors[2 * BATCH_EXTENTS];
};

struct sender {
    /* set once */
    struct rounds *rounds;
    struct channel *channel;
    pthread_t thread;
    bool started;
    /* this thread only */
    struct batch batch;
    uint64_t due[CHUNK_WORDS]; /* of the chunk being sent */
    unsigned known_region;     /* first round: [known_from, known_to) of this region is hole or data */
    uint64_t known_from, known_to;
    bool known_hole;
};

struct rounds {
    /* set once */
    struct rounds_config config;
    unsigned region_count;
    uint64_t chunk_count;
    uint64_t first_chunk[GW_MEMORY_MAX_REGIONS + 1]; /* of each region */
    struct sender *senders;
    /* whoever has claimed the chunk; between rounds the coordinator */
    uint64_t *due;
    /* any thread */
    _Atomic uint64_t cursor, due_pages;
    _Atomic uint64_t raw_pages, zero_pages, sent_bytes; /* since the beginning */
    _Atomic uint64_t collected;                         /* dirty pages found in this round */
    _Atomic bool abandoned;
    /* under the monitor */
    uint32_t number, attempt;
    unsigned busy;
    bool stopping;
    struct gw_round result;
    uint64_t raw_before, zero_before, sent_before;
    uint64_t ended_ns;
};

static uint64_t region_pages(const struct gw_memory_region *region)
{
    return region->bytes >> GW_PAGE_SHIFT;
}

/* ---- One chunk ---- */

struct chunk {
    uint64_t index;
    unsigned region;
    uint64_t first; /* page in the region */
    unsigned pages;
};

static bool claim_chunk(struct rounds *rounds, struct chunk *chunk)
{
    if (rounds->abandoned)
        return false;
    uint64_t index = atomic_fetch_add(&rounds->cursor, 1);
    if (index >= rounds->chunk_count)
        return false;
    unsigned region = 0;
    while (index >= rounds->first_chunk[region + 1])
        region++;
    uint64_t first = (index - rounds->first_chunk[region]) * ROUNDS_CHUNK_PAGES;
    uint64_t left = region_pages(gw_memory_region(rounds->config.memory, region)) - first;
    *chunk = (struct chunk){index, region, first,
                            left < ROUNDS_CHUNK_PAGES ? (unsigned)left : ROUNDS_CHUNK_PAGES};
    return true;
}

static unsigned count_bits(const uint64_t *words)
{
    unsigned bits = 0;
    for (unsigned i = 0; i < CHUNK_WORDS; i++)
        bits += (unsigned)__builtin_popcountll(words[i]);
    return bits;
}

/* Moves the chunk's bits to the sender. */
static int collect_chunk(struct sender *sender, const struct chunk *chunk, struct gw_error *error)
{
    struct rounds *rounds = sender->rounds;
    uint64_t *due = rounds->due + chunk->index * CHUNK_WORDS;
    memcpy(sender->due, due, sizeof sender->due);
    memset(due, 0, sizeof sender->due);
    rounds->due_pages -= count_bits(sender->due);
    const struct gw_tracker *tracker = &rounds->config.tracker;
    int64_t found = tracker->ops->collect(tracker->opaque, chunk->region, chunk->first,
                                          chunk->pages, sender->due);
    if (found < 0)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_INTERNAL, (int)found,
                            "the dirty tracker '%s' failed: %s", tracker->ops->name,
                            strerror((int)-found));
    rounds->collected += (uint64_t)found;
    return 0;
}

static void give_back(struct sender *sender, const struct chunk *chunk)
{
    uint64_t *due = sender->rounds->due + chunk->index * CHUNK_WORDS;
    for (unsigned i = 0; i < CHUNK_WORDS; i++)
        due[i] |= sender->due[i];
    sender->rounds->due_pages += count_bits(sender->due);
}

/* First round only: whether the page was never written, so that it need not be read (which would make the
 * host allocate it). The answer for a whole stretch is remembered. */
static bool page_is_hole(struct sender *sender, unsigned index, uint64_t page)
{
    const struct gw_memory_region *region = gw_memory_region(sender->rounds->config.memory, index);
    uint64_t offset = page << GW_PAGE_SHIFT;
    if (sender->known_region != index || offset < sender->known_from || offset >= sender->known_to) {
        uint64_t data = gw_memory_next_data(region, offset);
        sender->known_region = index;
        sender->known_from = offset;
        sender->known_hole = data > offset;
        sender->known_to = data > offset ? data : gw_memory_next_hole(region, offset);
    }
    return sender->known_hole;
}

/* ---- Batches ---- */

static void *page_address(struct sender *sender, const struct wire_extent *extent)
{
    return gw_memory_region(sender->rounds->config.memory, extent->region)->host +
           (extent->first_page << GW_PAGE_SHIFT);
}

/* With the channel's turn: the heads get their sequence numbers. Returns the bytes to be written. */
static uint64_t lay_out(struct sender *sender, unsigned *ret_vectors)
{
    struct batch *batch = &sender->batch;
    uint8_t *head = batch->heads;
    const uint32_t *crcs = batch->crcs;
    uint64_t bytes = 0;
    unsigned vectors = 0;
    for (unsigned i = 0; i < batch->extent_count; i++) {
        const struct wire_extent *extent = &batch->extents[i];
        size_t length = wire_extent_encode(extent, crcs, sender->channel->next_out++, head);
        batch->vectors[vectors++] = (struct iovec){head, length};
        if (extent->data_bytes > 0) {
            batch->vectors[vectors++] =
                (struct iovec){page_address(sender, extent), extent->data_bytes};
            crcs += extent->page_count;
        }
        head += length;
        bytes += length + extent->data_bytes;
    }
    *ret_vectors = vectors;
    return bytes;
}

static int flush_batch(struct sender *sender, struct gw_error *error)
{
    struct batch *batch = &sender->batch;
    if (batch->extent_count == 0)
        return 0;
    unsigned vectors = 0;
    channel_begin(sender->channel);
    uint64_t bytes = lay_out(sender, &vectors);
    int r = transport_writev(sender->channel->transport, batch->vectors, vectors, error);
    channel_end(sender->channel);
    sender->rounds->sent_bytes += bytes;
    batch->extent_count = 0;
    batch->page_count = 0;
    return r;
}

/* Appends one page, to the last extent where it continues that. */
static void add_page(struct sender *sender, const struct chunk *chunk, unsigned i, bool zero)
{
    struct batch *batch = &sender->batch;
    struct wire_extent *last =
        batch->extent_count > 0 ? &batch->extents[batch->extent_count - 1] : NULL;
    uint32_t kind = zero ? WIRE_EXTENT_ZERO : WIRE_EXTENT_RAW;
    uint64_t page = chunk->first + i;
    if (!last || last->kind != kind || last->region != chunk->region ||
        last->first_page + last->page_count != page) {
        last = &batch->extents[batch->extent_count++];
        *last = (struct wire_extent){.region = chunk->region, .kind = kind, .first_page = page};
    }
    last->page_count++;
    if (zero)
        return;
    last->data_bytes += GW_PAGE_BYTES;
    const uint8_t *host = gw_memory_region(sender->rounds->config.memory, chunk->region)->host;
    batch->crcs[batch->page_count++] = crc32c(0, host + (page << GW_PAGE_SHIFT), GW_PAGE_BYTES);
}

static bool page_is_zero(struct sender *sender, const struct chunk *chunk, unsigned i)
{
    uint64_t page = chunk->first + i;
    if (sender->rounds->number == 1 && page_is_hole(sender, chunk->region, page))
        return true;
    const uint8_t *host = gw_memory_region(sender->rounds->config.memory, chunk->region)->host;
    return gw_memory_is_zero(host + (page << GW_PAGE_SHIFT), GW_PAGE_BYTES);
}

/* A batch of a slow channel is small, so that small records find a gap and an abandoned round ends soon. */
static unsigned batch_pages(const struct sender *sender)
{
    uint64_t limit = ratelimit_get(sender->rounds->config.limiter);
    uint64_t pages = limit / 50 / GW_PAGE_BYTES;
    return limit == 0 || pages > BATCH_PAGES ? BATCH_PAGES : pages < 1 ? 1 : (unsigned)pages;
}

static int send_page(struct sender *sender, const struct chunk *chunk, unsigned i,
                     struct gw_error *error)
{
    bool zero = page_is_zero(sender, chunk, i);
    add_page(sender, chunk, i, zero);
    sender->due[i / 64] &= ~((uint64_t)1 << i % 64);
    if (zero)
        sender->rounds->zero_pages++;
    else
        sender->rounds->raw_pages++;
    const struct batch *batch = &sender->batch;
    bool full = batch->extent_count == BATCH_EXTENTS || batch->page_count >= batch_pages(sender);
    return full ? flush_batch(sender, error) : 0;
}

static int send_chunk(struct sender *sender, const struct chunk *chunk, struct gw_error *error)
{
    int r = collect_chunk(sender, chunk, error);
    for (unsigned word = 0; word < CHUNK_WORDS && r == 0; word++) {
        while (sender->due[word] && r == 0 && !sender->rounds->abandoned)
            r = send_page(sender, chunk,
                          word * 64 + (unsigned)__builtin_ctzll(sender->due[word]), error);
    }
    give_back(sender, chunk);
    return r;
}

/* ---- The thread ---- */

static int send_round(struct sender *sender, uint32_t number, uint32_t attempt,
                      struct gw_error *error)
{
    struct chunk chunk;
    int r = 0;
    while (r == 0 && claim_chunk(sender->rounds, &chunk))
        r = send_chunk(sender, &chunk, error);
    if (r == 0)
        r = flush_batch(sender, error);
    if (r < 0)
        return r;
    union wire_body body = {
        .barrier = {.round = number, .attempt = sender->rounds->abandoned ? 0 : attempt}};
    return channel_send(sender->channel, WIRE_BARRIER, &body, NULL, 0, error);
}

/* Inside the monitor, by the last sender of a round. */
static void end_round(struct rounds *rounds)
{
    struct gw_round *result = &rounds->result;
    uint64_t now = host_monotonic_ns();
    rounds->ended_ns = now;
    result->duration_ns = now - rounds->config.began_ns - result->started_ns;
    result->raw_pages = rounds->raw_pages - rounds->raw_before;
    result->zero_pages = rounds->zero_pages - rounds->zero_before;
    result->wire_bytes = rounds->sent_bytes - rounds->sent_before;
    result->skipped_pages = rounds->due_pages;
}

static void *sender_main(void *opaque)
{
    struct sender *sender = opaque;
    struct rounds *rounds = sender->rounds;
    struct monitor *monitor = rounds->config.session->monitor;
    uint32_t done = 0;
    for (;;) {
        monitor_enter(monitor);
        while (!rounds->stopping && rounds->number == done)
            monitor_wait(monitor, UINT64_MAX);
        bool stop = rounds->stopping;
        uint32_t attempt = rounds->attempt;
        done = rounds->number;
        monitor_leave(monitor);
        if (stop)
            return NULL;

        struct gw_error error = {0};
        int r = send_round(sender, done, attempt, &error);
        if (r < 0)
            session_link_failed(rounds->config.session, &error);
        monitor_enter(monitor);
        if (--rounds->busy == 0)
            end_round(rounds);
        monitor_notify(monitor);
        monitor_leave(monitor);
        if (r < 0)
            return NULL;
    }
}

/* ---- For the coordinator ---- */

static int start_senders(struct rounds *rounds, struct gw_error *error)
{
    for (unsigned i = 0; i < rounds->config.channel_count; i++) {
        struct sender *sender = &rounds->senders[i];
        sender->rounds = rounds;
        sender->channel = rounds->config.channels[i];
        int r = pthread_create(&sender->thread, NULL, sender_main, sender);
        if (r != 0)
            return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, -r,
                                "no thread for a channel: %s", strerror(r));
        sender->started = true;
    }
    return 0;
}

/* Every page of every region; the bits past a region's last page stay clear. */
static void make_all_due(struct rounds *rounds)
{
    for (unsigned i = 0; i < rounds->region_count; i++) {
        uint64_t pages = region_pages(gw_memory_region(rounds->config.memory, i));
        uint64_t *words = rounds->due + rounds->first_chunk[i] * CHUNK_WORDS;
        memset(words, 0xff, pages / 64 * 8);
        if (pages % 64)
            words[pages / 64] = ((uint64_t)1 << pages % 64) - 1;
        rounds->due_pages += pages;
    }
}

static void count_chunks(struct rounds *rounds)
{
    for (unsigned i = 0; i < rounds->region_count; i++) {
        uint64_t pages = region_pages(gw_memory_region(rounds->config.memory, i));
        rounds->first_chunk[i] = rounds->chunk_count;
        rounds->chunk_count += (pages + ROUNDS_CHUNK_PAGES - 1) / ROUNDS_CHUNK_PAGES;
    }
    for (unsigned i = rounds->region_count; i <= GW_MEMORY_MAX_REGIONS; i++)
        rounds->first_chunk[i] = rounds->chunk_count;
}

int rounds_new(const struct rounds_config *config, struct rounds **ret_rounds,
               struct gw_error *error)
{
    struct rounds *rounds = calloc(1, sizeof *rounds);
    if (rounds) {
        rounds->config = *config;
        rounds->region_count = gw_memory_region_count(config->memory);
        count_chunks(rounds);
        rounds->due = calloc(rounds->chunk_count, CHUNK_WORDS * 8);
        rounds->senders = calloc(config->channel_count, sizeof *rounds->senders);
    }
    if (!rounds || !rounds->due || !rounds->senders) {
        rounds_free(rounds);
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, -ENOMEM,
                            "no memory for the bitmap of %llu MiB of guest memory",
                            (unsigned long long)gw_memory_total_bytes(config->memory) >> 20);
    }
    make_all_due(rounds);
    int r = start_senders(rounds, error);
    if (r < 0)
        rounds_free(rounds);
    else
        *ret_rounds = rounds;
    return r;
}

void rounds_free(struct rounds *rounds)
{
    if (!rounds)
        return;
    struct monitor *monitor = rounds->config.session->monitor;
    monitor_enter(monitor);
    rounds->stopping = true;
    monitor_notify(monitor);
    monitor_leave(monitor);
    rounds->abandoned = true;
    for (unsigned i = 0; rounds->senders && i < rounds->config.channel_count; i++)
        if (rounds->senders[i].started)
            pthread_join(rounds->senders[i].thread, NULL);
    free(rounds->senders);
    free(rounds->due);
    free(rounds);
}

static uint64_t dirty_pages(struct rounds *rounds)
{
    const struct gw_tracker *tracker = &rounds->config.tracker;
    return rounds->due_pages + tracker->ops->count(tracker->opaque);
}

int rounds_begin(struct rounds *rounds, uint32_t attempt, struct gw_error *error)
{
    const struct gw_tracker *tracker = &rounds->config.tracker;
    int r = tracker->ops->sync ? tracker->ops->sync(tracker->opaque, error) : 0;
    if (r < 0)
        return r;
    uint64_t dirty = dirty_pages(rounds);
    monitor_enter(rounds->config.session->monitor);
    rounds->number++;
    rounds->attempt = attempt;
    rounds->busy = rounds->config.channel_count;
    rounds->cursor = 0;
    rounds->collected = 0;
    rounds->abandoned = false;
    rounds->raw_before = rounds->raw_pages;
    rounds->zero_before = rounds->zero_pages;
    rounds->sent_before = rounds->sent_bytes;
    rounds->result =
        (struct gw_round){.number = rounds->number,
                          .started_ns = host_monotonic_ns() - rounds->config.began_ns,
                          .dirty_pages = dirty};
    monitor_notify(rounds->config.session->monitor);
    monitor_leave(rounds->config.session->monitor);
    return 0;
}

void rounds_abandon(struct rounds *rounds)
{
    rounds->abandoned = true;
}

bool rounds_busy(struct rounds *rounds)
{
    return rounds->busy > 0;
}

/* Pages dirtied during the round: those dirty at its end, and those sent, less those dirty at its start. */
struct gw_round rounds_result(struct rounds *rounds)
{
    uint64_t remaining = dirty_pages(rounds);
    monitor_enter(rounds->config.session->monitor);
    struct gw_round result = rounds->result;
    uint64_t since_ns = host_monotonic_ns() - rounds->config.began_ns - result.started_ns;
    monitor_leave(rounds->config.session->monitor);
    result.remaining_bytes = remaining << GW_PAGE_SHIFT;
    uint64_t seen = remaining + result.raw_pages + result.zero_pages;
    uint64_t dirtied = seen > result.dirty_pages ? seen - result.dirty_pages : 0;
    if (since_ns > 0)
        result.dirty_rate = (uint64_t)((double)dirtied * 1e9 / (double)since_ns);
    if (result.duration_ns > 1000000)
        result.bandwidth = (uint64_t)((double)result.wire_bytes * 1e9 / (double)result.duration_ns);
    return result;
}

uint64_t rounds_remaining_bytes(struct rounds *rounds)
{
    return dirty_pages(rounds) << GW_PAGE_SHIFT;
}

uint64_t rounds_sent_bytes(struct rounds *rounds)
{
    return rounds->sent_bytes;
}

uint64_t rounds_raw_pages(struct rounds *rounds)
{
    return rounds->raw_pages;
}

uint64_t rounds_zero_pages(struct rounds *rounds)
{
    return rounds->zero_pages;
}

uint32_t rounds_number(struct rounds *rounds)
{
    return rounds->number;
}
