/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block device as a machine has it: a thread that is a hart, a loop thread that completes, and
 * an engine thread that stops the machine again and again. Run it with ThreadSanitizer too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../patience.h"
#include "../block/disk-file.h"
#include "base/cleanup.h"
#include "blk-driver.h"
#include "virtio/blk.h"

#define SLOTS 32u
#define DISK_BYTES (1u << 20)
#define READ_BYTES 4096u
#define STOPS 100u

static enum block_engine engine;

struct machine {
    pthread_mutex_t io_lock;
    sd_event *loop;
    pthread_t loop_thread, hart_thread;
    /* under the I/O lock */
    struct driver driver;
    struct virtio_blk blk;
    struct block *block;
    bool paused, ending;
    unsigned published, collected;
    unsigned free_slots[SLOTS], free_count;
    unsigned slot_of_head[256];
    uint64_t sector_of_slot[SLOTS];
    /* set by the loop thread, read after it was joined */
    bool drained_on_loop;
};

static void *run_loop(void *opaque)
{
    struct machine *machine = opaque;
    sd_event_loop(machine->loop);
    return NULL;
}

static void publish_reads(struct machine *machine)
{
    unsigned before = machine->published;
    while (machine->free_count > 0) {
        unsigned slot = machine->free_slots[--machine->free_count];
        uint64_t sector = machine->published * 8 % (DISK_BYTES / 512 - 8);
        uint16_t head = blk_add(&machine->driver, slot, T_IN, sector, READ_BYTES);
        machine->slot_of_head[head] = slot;
        machine->sector_of_slot[slot] = sector;
        machine->published++;
    }
    if (machine->published != before)
        driver_kick(&machine->driver);
}

static void collect_reads(struct machine *machine)
{
    uint32_t head, bytes;
    while (driver_collect(&machine->driver, &head, &bytes)) {
        unsigned slot = machine->slot_of_head[head];
        uint8_t data[READ_BYTES];
        assert_int_equal(bytes, READ_BYTES + 1);
        assert_int_equal(blk_status(&machine->driver, slot), S_OK);
        driver_fetch(&machine->driver, slot_data(slot), data, sizeof data);
        for (unsigned i = 0; i < READ_BYTES; i += 511)
            assert_int_equal(data[i], (machine->sector_of_slot[slot] + i / 512) & 0xff);
        machine->free_slots[machine->free_count++] = slot;
        machine->collected++;
    }
}

static void *run_hart(void *opaque)
{
    struct machine *machine = opaque;
    bool ending = false;
    while (!ending) {
        pthread_mutex_lock(&machine->io_lock);
        ending = machine->ending;
        if (!machine->paused) {
            driver_set(&machine->driver, R_ACK, 1);
            collect_reads(machine);
            publish_reads(machine);
        }
        pthread_mutex_unlock(&machine->io_lock);
        nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
    }
    return NULL;
}

static int setup(void **state)
{
    struct machine *machine = calloc(1, sizeof *machine);
    pthread_mutex_init(&machine->io_lock, NULL);
    if (sd_event_new(&machine->loop) < 0)
        return -1;
    machine->block = disk_open(disk_make("disk", DISK_BYTES), false, engine);
    if (block_acquire(machine->block, NULL) < 0 ||
        block_attach(machine->block, machine->loop, &machine->io_lock, NULL) < 0)
        return -1;
    driver_init(&machine->driver, GW_CLOCK_HOST);
    if (virtio_blk_init(&machine->blk, &machine->driver.host, machine->block, NULL, NULL) < 0)
        return -1;
    machine->driver.device = &machine->blk;
    driver_start(&machine->driver, BLK_FEATURES, 256);
    for (unsigned i = 0; i < SLOTS; i++)
        machine->free_slots[machine->free_count++] = i;
    *state = machine;
    return 0;
}

static int teardown(void **state)
{
    struct machine *machine = *state;
    virtio_blk_fini(&machine->blk);
    block_free(machine->block);
    driver_fini(&machine->driver);
    sd_event_unref(machine->loop);
    pthread_mutex_destroy(&machine->io_lock);
    free(machine);
    return 0;
}

static void start_threads(struct machine *machine)
{
    assert_int_equal(pthread_create(&machine->loop_thread, NULL, run_loop, machine), 0);
    assert_int_equal(pthread_create(&machine->hart_thread, NULL, run_hart, machine), 0);
}

static int exit_loop(sd_event_source *source, void *opaque)
{
    return sd_event_exit(sd_event_source_get_event(source), 0);
}

static int on_exit_time(sd_event_source *source, int fd, uint32_t events, void *opaque)
{
    return exit_loop(source, opaque);
}

/* Nothing may change while the machine stands still: not the used ring, not the memory. */
static void expect_still(struct machine *machine)
{
    assert_int_equal(machine->block->in_flight, 0);
    uint64_t before = gw_memory_hash(machine->driver.memory);
    nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    assert_int_equal(gw_memory_hash(machine->driver.memory), before);
}

static void stop_and_go(struct machine *machine)
{
    pthread_mutex_lock(&machine->io_lock);
    machine->paused = true;
    virtio_mmio_ops.drain(&machine->blk);
    pthread_mutex_unlock(&machine->io_lock);
    expect_still(machine);
    pthread_mutex_lock(&machine->io_lock);
    virtio_mmio_ops.resume(&machine->blk);
    machine->paused = false;
    pthread_mutex_unlock(&machine->io_lock);
}

static unsigned has_collected(struct machine *machine)
{
    pthread_mutex_lock(&machine->io_lock);
    unsigned collected = machine->collected;
    pthread_mutex_unlock(&machine->io_lock);
    return collected;
}

static void an_engine_thread_drains_while_harts_and_loop_run(void **state)
{
    struct machine *machine = *state;
    int stop[2];
    assert_int_equal(pipe(stop), 0);
    assert_true(sd_event_add_io(machine->loop, NULL, stop[0], EPOLLIN, on_exit_time, NULL) >= 0);
    start_threads(machine);
    uint64_t end_ns = patience_end_ns();
    for (unsigned i = 0; i < STOPS || has_collected(machine) <= STOPS; i++) {
        assert_true(host_monotonic_ns() < end_ns);
        stop_and_go(machine);
        nanosleep(&(struct timespec){.tv_nsec = (i % 7) * 100000}, NULL);
    }
    pthread_mutex_lock(&machine->io_lock);
    machine->ending = true;
    pthread_mutex_unlock(&machine->io_lock);
    pthread_join(machine->hart_thread, NULL);
    pthread_mutex_lock(&machine->io_lock);
    virtio_mmio_ops.drain(&machine->blk);
    collect_reads(machine);
    pthread_mutex_unlock(&machine->io_lock);
    assert_int_equal(write(stop[1], "", 1), 1);
    pthread_join(machine->loop_thread, NULL);
    close(stop[0]);
    close(stop[1]);
    assert_int_equal(machine->collected, machine->published);
    assert_true(machine->collected > STOPS);
}

static int drain_on_loop(sd_event_source *source, void *opaque)
{
    struct machine *machine = opaque;
    pthread_mutex_lock(&machine->io_lock);
    publish_reads(machine);
    machine->drained_on_loop = machine->block->in_flight > 0;
    virtio_mmio_ops.drain(&machine->blk);
    machine->drained_on_loop &= machine->block->in_flight == 0;
    collect_reads(machine);
    pthread_mutex_unlock(&machine->io_lock);
    return exit_loop(source, machine);
}

static void the_loop_thread_can_drain_itself(void **state)
{
    struct machine *machine = *state;
    sd_event_source *source = NULL;
    assert_true(sd_event_add_defer(machine->loop, &source, drain_on_loop, machine) >= 0);
    assert_true(sd_event_loop(machine->loop) >= 0);
    sd_event_source_unref(source);
    assert_true(machine->drained_on_loop);
    assert_int_equal(machine->collected, SLOTS);
}

static void completions_come_through_the_loop(void **state)
{
    struct machine *machine = *state;
    publish_reads(machine);
    for (unsigned i = 0; i < 1000 && machine->block->in_flight > 0; i++)
        assert_true(sd_event_run(machine->loop, 100000) >= 0);
    collect_reads(machine);
    assert_int_equal(machine->collected, SLOTS);
    assert_true(machine->driver.irq);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(completions_come_through_the_loop),
        T(the_loop_thread_can_drain_itself),
        T(an_engine_thread_drains_while_harts_and_loop_run),
    };
    static const enum block_engine engines[] = {BLOCK_ENGINE_THREADS, BLOCK_ENGINE_AUTO};
    int failed = 0;
    disk_directory_make();
    for (unsigned i = 0; i < ARRAY_COUNT(engines); i++) {
        engine = engines[i];
        failed += cmocka_run_group_tests_name(i ? "auto" : "threads", tests, NULL, NULL);
    }
    disk_directory_remove();
    return failed;
}
