/* SPDX-License-Identifier: Apache-2.0 */
#include "fake-vmm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"

#define RAM_BASE 0x80000000ull
#define HIGH_BASE 0x200000000ull
#define HIGH_PAGES 16
#define MAX_PAGES (1u << 20)

static void nap_ms(unsigned ms)
{
    if (ms > 0)
        usleep(ms * 1000);
}

static int injected(const char *why, enum gw_code code, struct gw_error *error)
{
    return why ? gw_error_set(error, GW_LAYER_VMM, code, -EIO, "%s", why) : 0;
}

/* ---- Memory ---- */

static uint64_t address_of(const struct fake_vmm *vmm, uint64_t page)
{
    return page < vmm->pages ? RAM_BASE + page * GW_PAGE_BYTES
                             : HIGH_BASE + (page - vmm->pages) * GW_PAGE_BYTES;
}

static uint64_t all_pages(const struct fake_vmm *vmm)
{
    return vmm->pages + HIGH_PAGES;
}

/* Two places of a page get the value, so that half a copy is noticed. Value 0 makes a zero page. */
static void write_page(struct fake_vmm *vmm, uint64_t page, uint64_t value)
{
    uint8_t bytes[8];
    put_le64(bytes, value);
    vmm->notes[page] = value;
    gw_memory_write(vmm->memory, address_of(vmm, page), bytes, sizeof bytes);
    gw_memory_write(vmm->memory, address_of(vmm, page) + GW_PAGE_BYTES - 8, bytes, sizeof bytes);
}

static bool page_is_right(const struct fake_vmm *vmm, uint64_t page)
{
    uint8_t first[8], last[8];
    gw_memory_read(vmm->memory, address_of(vmm, page), first, sizeof first);
    gw_memory_read(vmm->memory, address_of(vmm, page) + GW_PAGE_BYTES - 8, last, sizeof last);
    return get_le64(first) == vmm->notes[page] && get_le64(last) == vmm->notes[page];
}

uint64_t fake_vmm_check(struct fake_vmm *vmm)
{
    uint64_t wrong = 0;
    for (uint64_t page = 0; page < all_pages(vmm); page++)
        if (vmm->notes[page] != 0 && !page_is_right(vmm, page))
            wrong++;
    return wrong;
}

static int make_memory(struct fake_vmm *vmm, struct gw_error *error)
{
    vmm->memory = gw_memory_new();
    vmm->notes = calloc(all_pages(vmm), sizeof *vmm->notes);
    int r = gw_memory_add_region(vmm->memory, "ram", RAM_BASE, vmm->pages * GW_PAGE_BYTES, error);
    if (r == 0)
        r = gw_memory_add_region(vmm->memory, "ram-high", HIGH_BASE, HIGH_PAGES * GW_PAGE_BYTES,
                                 error);
    if (r == 0)
        vmm->tracker = gw_bytemap_tracker_new(vmm->memory, NULL, NULL);
    return r;
}

/* ---- Writers ---- */

/* Each writer has its own pages: those that leave its number as the rest. */
static void *writer_main(void *opaque)
{
    struct fake_vmm *vmm = opaque;
    pthread_mutex_lock(&vmm->lock);
    unsigned me = vmm->born++, steps = 0;
    uint64_t seed = me * 7919 + 1;
    for (;;) {
        while (vmm->stop && !vmm->quit) {
            pthread_cond_broadcast(&vmm->changed);
            pthread_cond_wait(&vmm->changed, &vmm->lock);
        }
        if (vmm->quit)
            break;
        vmm->busy++;
        pthread_mutex_unlock(&vmm->lock);
        while (!vmm->stop && !vmm->quit) {
            seed = seed * 6364136223846793005ull + 1442695040888963407ull;
            uint64_t page = (seed >> 33) % vmm->hot_pages;
            page -= page % vmm->writers;
            page += me;
            if (page < all_pages(vmm))
                write_page(vmm, page, ++steps % 64 == 0 ? 0 : ++vmm->writes);
            if (vmm->nap_us > 0)
                usleep(vmm->nap_us);
        }
        pthread_mutex_lock(&vmm->lock);
        vmm->busy--;
    }
    pthread_mutex_unlock(&vmm->lock);
    return NULL;
}

void fake_vmm_run(struct fake_vmm *vmm)
{
    pthread_mutex_lock(&vmm->lock);
    vmm->stop = false;
    vmm->running = true;
    pthread_cond_broadcast(&vmm->changed);
    pthread_mutex_unlock(&vmm->lock);
    vmm->start_ns = host_monotonic_ns();
    while (vmm->thread_count < vmm->writers)
        pthread_create(&vmm->threads[vmm->thread_count++], NULL, writer_main, vmm);
}

void fake_vmm_stop(struct fake_vmm *vmm)
{
    pthread_mutex_lock(&vmm->lock);
    vmm->stop = true;
    while (vmm->busy > 0)
        pthread_cond_wait(&vmm->changed, &vmm->lock);
    vmm->running = false;
    pthread_mutex_unlock(&vmm->lock);
    vmm->stop_ns = host_monotonic_ns();
}

/* ---- Birth and death ---- */

struct fake_vmm *fake_vmm_new_empty(void)
{
    struct fake_vmm *vmm = calloc(1, sizeof *vmm);
    pthread_mutex_init(&vmm->lock, NULL);
    pthread_cond_init(&vmm->changed, NULL);
    vmm->stop = true;
    return vmm;
}

struct fake_vmm *fake_vmm_new(uint64_t pages, uint64_t filled_pages)
{
    struct fake_vmm *vmm = fake_vmm_new_empty();
    vmm->pages = pages;
    vmm->writers = 2;
    vmm->hot_pages = pages < 64 ? pages : 64;
    vmm->nap_us = 200;
    vmm->state_bytes = 1000;
    if (make_memory(vmm, NULL) < 0)
        abort();
    for (uint64_t page = 0; page < filled_pages; page++)
        write_page(vmm, page, ++vmm->writes);
    for (uint64_t page = pages; page < all_pages(vmm); page += 3)
        write_page(vmm, page, ++vmm->writes);
    return vmm;
}

static void drop_memory(struct fake_vmm *vmm)
{
    pthread_mutex_lock(&vmm->lock);
    vmm->quit = true;
    pthread_cond_broadcast(&vmm->changed);
    pthread_mutex_unlock(&vmm->lock);
    for (unsigned i = 0; i < vmm->thread_count; i++)
        pthread_join(vmm->threads[i], NULL);
    vmm->thread_count = vmm->born = 0;
    vmm->quit = false;
    vmm->running = false;
    gw_bytemap_tracker_free(vmm->tracker);
    gw_memory_free(vmm->memory);
    free(vmm->notes);
    vmm->tracker = NULL;
    vmm->memory = NULL;
    vmm->notes = NULL;
}

void fake_vmm_free(struct fake_vmm *vmm)
{
    if (!vmm)
        return;
    drop_memory(vmm);
    pthread_cond_destroy(&vmm->changed);
    pthread_mutex_destroy(&vmm->lock);
    free(vmm);
}

/* ---- Source ---- */

static int fake_prepare_pause(void *opaque, struct gw_error *error)
{
    struct fake_vmm *vmm = opaque;
    nap_ms(vmm->prepare_pause_ms);
    if (vmm->fail_prepare_pause)
        return injected(vmm->fail_prepare_pause, GW_CODE_IO, error);
    vmm->pauses_prepared += vmm->running;
    return 0;
}

static int fake_pause(void *opaque, struct gw_error *error)
{
    struct fake_vmm *vmm = opaque;
    nap_ms(vmm->pause_ms);
    if (vmm->fail_pause)
        return injected(vmm->fail_pause, GW_CODE_STATE, error);
    fake_vmm_stop(vmm);
    vmm->pauses++;
    return 0;
}

static int fake_resume(void *opaque, struct gw_error *error)
{
    struct fake_vmm *vmm = opaque;
    vmm->resumes++;
    if (vmm->left)
        abort(); /* the guest would run without what it has left behind */
    fake_vmm_run(vmm);
    return 0;
}

static void fake_leave(void *opaque)
{
    struct fake_vmm *vmm = opaque;
    if (vmm->running || vmm->left)
        abort();
    vmm->leaves++;
    vmm->left = true;
}

static void fake_stay(void *opaque)
{
    struct fake_vmm *vmm = opaque;
    vmm->stays++;
    vmm->left = false;
}

static int fake_save(void *opaque, struct gw_buf *out, struct gw_error *error)
{
    struct fake_vmm *vmm = opaque;
    vmm->saves++;
    vmm->saved_left = vmm->left;
    gw_buf_append_le(out, vmm->writes, 8);
    gw_buf_append(out, vmm->notes, all_pages(vmm) * sizeof *vmm->notes);
    if (vmm->state_bytes > 0)
        memset(gw_buf_extend(out, vmm->state_bytes), 0x5a, vmm->state_bytes);
    return injected(vmm->fail_save, GW_CODE_STATE, error);
}

static int fake_describe(void *opaque, struct gw_buf *out, struct gw_error *error)
{
    struct fake_vmm *vmm = opaque;
    return gw_buf_printf(
        out, "{\"fake\": 1, \"pages\": %llu, \"writers\": %u, \"hot\": %llu, \"nap\": %u}",
        (unsigned long long)vmm->pages, vmm->writers, (unsigned long long)vmm->hot_pages,
        vmm->nap_us);
}

static int fake_release(void *opaque, struct gw_error *error)
{
    struct fake_vmm *vmm = opaque;
    int r = injected(vmm->fail_release, GW_CODE_IO, error);
    vmm->releases += r == 0;
    return r;
}

static int fake_reacquire(void *opaque, struct gw_error *error)
{
    struct fake_vmm *vmm = opaque;
    vmm->reacquires++;
    vmm->left = false;
    return injected(vmm->fail_reacquire, GW_CODE_BUSY, error);
}

static bool fake_is_running(void *opaque)
{
    return ((struct fake_vmm *)opaque)->running;
}

const struct gw_source_ops fake_source_ops = {
    .prepare = fake_prepare_pause,
    .pause = fake_pause,
    .resume = fake_resume,
    .leave = fake_leave,
    .stay = fake_stay,
    .save_state = fake_save,
    .describe = fake_describe,
    .release = fake_release,
    .reacquire = fake_reacquire,
    .is_running = fake_is_running,
};

/* ---- Destination ---- */

static int fake_prepare(void *opaque, const char *description, size_t length,
                        struct gw_memory **ret_memory, struct gw_error *error)
{
    struct fake_vmm *vmm = opaque;
    char text[256];
    unsigned long long pages, hot;
    unsigned nap_us;
    nap_ms(vmm->prepare_ms);
    if (vmm->refuse_prepare)
        return injected(vmm->refuse_prepare, GW_CODE_REFUSED, error);
    snprintf(text, sizeof text, "%.*s", (int)(length < 255 ? length : 255), description);
    if (sscanf(text, "{\"fake\": 1, \"pages\": %llu, \"writers\": %u, \"hot\": %llu, \"nap\": %u}",
               &pages, &vmm->writers, &hot, &nap_us) != 4 ||
        pages == 0 || pages > MAX_PAGES || vmm->writers > FAKE_MAX_WRITERS || hot == 0)
        return gw_error_set(error, GW_LAYER_VMM, GW_CODE_REFUSED, -EINVAL,
                            "this is no fake machine's description");
    vmm->pages = pages;
    vmm->hot_pages = hot;
    vmm->nap_us = nap_us;
    vmm->prepares++;
    vmm->loads_before = vmm->loads;
    int r = make_memory(vmm, error);
    if (r == 0 && vmm->populate)
        r = gw_memory_populate(gw_memory_region(vmm->memory, 0), 0, pages * GW_PAGE_BYTES);
    *ret_memory = vmm->memory;
    return r;
}

static int load_notes(struct fake_vmm *vmm, const uint8_t *stream, size_t length,
                      struct gw_error *error)
{
    size_t notes = all_pages(vmm) * sizeof *vmm->notes;
    if (length < 8 + notes)
        return gw_error_set(error, GW_LAYER_VMM, GW_CODE_CORRUPT, -EINVAL,
                            "the device state is too short");
    vmm->writes = get_le64(stream);
    memcpy(vmm->notes, stream + 8, notes);
    return 0;
}

static int fake_load(void *opaque, const void *stream, size_t length, struct gw_error *error)
{
    struct fake_vmm *vmm = opaque;
    bool final = ++vmm->loads - vmm->loads_before > 1;
    bool slow = final && (vmm->slow_final_loads == 0 ||
                          vmm->loads - vmm->loads_before <= 1 + vmm->slow_final_loads);
    nap_ms(slow ? vmm->final_load_ms : vmm->load_ms);
    if (vmm->fail_load || (final && vmm->fail_final_load))
        return injected(vmm->fail_load ? vmm->fail_load : vmm->fail_final_load, GW_CODE_CORRUPT,
                        error);
    if (final && vmm->damage_memory)
        gw_memory_region(vmm->memory, 1)->host[5 * GW_PAGE_BYTES + 77] = 1;
    return load_notes(vmm, stream, length, error);
}

static int fake_acquire(void *opaque, struct gw_error *error)
{
    struct fake_vmm *vmm = opaque;
    vmm->acquires++;
    nap_ms(vmm->acquire_ms);
    return injected(vmm->fail_acquire, GW_CODE_BUSY, error);
}

static int fake_start(void *opaque, bool run, struct gw_error *error)
{
    struct fake_vmm *vmm = opaque;
    nap_ms(vmm->start_ms);
    if (vmm->fail_start)
        return injected(vmm->fail_start, GW_CODE_IO, error);
    vmm->wrong_pages = fake_vmm_check(vmm);
    vmm->starts++;
    if (run)
        fake_vmm_run(vmm);
    return 0;
}

static void fake_discard(void *opaque)
{
    struct fake_vmm *vmm = opaque;
    vmm->discards++;
    drop_memory(vmm);
}

static uint64_t fake_expect_acquire_us(void *opaque)
{
    return ((struct fake_vmm *)opaque)->expect_acquire_us;
}

const struct gw_destination_ops fake_destination_ops = {
    .prepare = fake_prepare,
    .load_state = fake_load,
    .acquire = fake_acquire,
    .expect_acquire_us = fake_expect_acquire_us,
    .start = fake_start,
    .discard = fake_discard,
};
