/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtual machine without CPU and devices, for the engine's tests. Writer threads play the vCPUs:
 * they write numbered values into guest memory and note what they wrote, page by page. The notes
 * are the device state, so the destination can tell for every single page whether the copy that it
 * has is the last one.
 */
#ifndef TESTS_FAKE_VMM_H
#define TESTS_FAKE_VMM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <godwit/memory.h>
#include <godwit/migrate.h>

#define FAKE_MAX_WRITERS 4

struct fake_vmm {
    /* what it is; the destination learns it from the description */
    uint64_t pages;     /* of region "ram"; a second region "ram-high" of 16 pages always follows */
    unsigned writers;   /* threads */
    uint64_t hot_pages; /* the writers' working set */
    _Atomic unsigned nap_us; /* between two writes of one writer */
    uint64_t state_bytes;    /* besides the notes */
    uint64_t expect_acquire_us;
    bool populate; /* destination: all memory, before the source is accepted */
    /* what is to go wrong */
    const char *refuse_prepare, *fail_save, *fail_load, *fail_final_load, *fail_acquire,
        *fail_start, *fail_release, *fail_reacquire, *fail_pause, *fail_prepare_pause;
    unsigned load_ms;       /* how long loading takes */
    unsigned final_load_ms; /* ... after the rehearsal */
    unsigned pause_ms, start_ms, acquire_ms, prepare_ms, prepare_pause_ms;
    unsigned slow_final_loads; /* how many final loads take final_load_ms; 0: all */
    bool damage_memory;        /* one byte changes while the final state is loaded */
    /* what happened */
    _Atomic unsigned pauses, resumes, releases, reacquires, loads, saves, starts, discards,
        prepares, acquires, leaves, stays, pauses_prepared; /* the last: with the guest running */
    _Atomic bool running;
    _Atomic bool left; /* what can be taken out only once has been */
    bool saved_left;   /* the last state that was saved has it */
    _Atomic uint64_t writes;
    uint64_t wrong_pages; /* found by start() */
    uint64_t stop_ns;     /* CLOCK_MONOTONIC of the last pause and the last start */
    uint64_t start_ns;
    /* inside */
    struct gw_memory *memory;
    struct gw_bytemap_tracker *tracker;
    uint64_t *notes; /* last value of each page; 0: never written */
    pthread_t threads[FAKE_MAX_WRITERS];
    unsigned thread_count, born; /* born: under the lock */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned busy; /* writers that are not parked; under the lock */
    _Atomic bool stop, quit;
    uint64_t loads_before; /* of the present session */
};

/* A machine with memory; `filled_pages` of it hold something. Paused. */
struct fake_vmm *fake_vmm_new(uint64_t pages, uint64_t filled_pages);
/* A machine to be: memory comes with prepare(). */
struct fake_vmm *fake_vmm_new_empty(void);
void fake_vmm_free(struct fake_vmm *vmm);

void fake_vmm_run(struct fake_vmm *vmm);
void fake_vmm_stop(struct fake_vmm *vmm);
/* Pages whose content is not the last that was written, while the machine is stopped. */
uint64_t fake_vmm_check(struct fake_vmm *vmm);

extern const struct gw_source_ops fake_source_ops;
extern const struct gw_destination_ops fake_destination_ops;

#endif
