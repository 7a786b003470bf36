/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of struct board, for the files of this folder. board.c tells how threads and locks go
 * together. */
#ifndef BOARD_MACHINE_H
#define BOARD_MACHINE_H

#include <pthread.h>
#include <stdatomic.h>

#include "block/block.h"
#include "board/board-time.h"
#include "board/board.h"
#include "board/boot-images.h"
#include "board/riscv-virt.h"
#include "cpu/riscv/cpu.h"
#include "device/clint.h"
#include "device/goldfish-rtc.h"
#include "device/plic.h"
#include "device/test-finisher.h"
#include "device/uart16550.h"
#include "virtio/blk.h"
#include "virtio/input.h"
#include "virtio/rng.h"

#define BOARD_MAX_EXTRA_ITEMS 8
#define BOARD_MAX_ITEMS (1 + BOARD_MAX_HARTS + PART_COUNT + BOARD_MAX_EXTRA_ITEMS)

struct board_hart {
    /* set once */
    struct board *board;
    struct rv_hart *cpu;
    unsigned index;
    struct rv_platform platform;
    pthread_t thread;
    bool has_thread;
    /* the hart's thread only */
    uint64_t
        accounted; /* instruction clock: retired instructions of this run that the clock has seen */
    bool in_run;   /* instruction clock; under the I/O lock: a budget is being used up */
    /* A hart in WFI sleeps here. Its partner is hart_wake(): each side writes its own flag, fences,
     * and then reads the other's, so that one of them sees the other. */
    pthread_mutex_t sleep_lock; /* protects `woken` */
    pthread_cond_t sleep_wake;
    bool woken;
    _Atomic bool sleeping;
};

/* A boundary that board_run_until() asked for. Under the control lock, but `target` and
 * `reached_target`. */
struct board_target {
    _Atomic uint64_t instructions; /* UINT64_MAX: none; read by hart 0's thread */
    _Atomic bool hit;              /* hart 0 has parked there */
    void (*reached)(void *opaque, uint64_t instructions);
    void *opaque;
};

struct board {
    /* set once, by board_new() */
    struct board_config config;
    sd_event *loop;
    struct board_callbacks callbacks;
    struct gw_memory *memory;
    struct gw_bytemap_tracker *tracker;
    struct board_hart hart[BOARD_MAX_HARTS];
    struct device device[PART_COUNT]; /* as riscv_virt_map */
    struct block *block[BOARD_MAX_DISKS];
    int wake_fd; /* eventfd: a hart has something for the loop */
    sd_event_source *wake_source;
    bool blocks_attached;

    /* before the machine first runs */
    struct gw_state_item item[BOARD_MAX_ITEMS];
    unsigned item_count;

    /* control lock: start, stop, reset, watching, save and load exclude each other */
    pthread_mutex_t control_lock;
    bool threads_started;
    struct board_target target;
    _Atomic bool running; /* written under the control lock */

    /* run lock: parking of harts */
    pthread_mutex_t run_lock;
    pthread_cond_t run_changed;
    bool run_wanted, exiting;
    unsigned parked;
    _Atomic bool halt; /* harts leave their loops; cleared under the run lock */

    /* I/O lock: everything below, and all that devices own */
    pthread_mutex_t io_lock;
    struct board_time time;
    struct clint clint;
    struct plic plic;
    struct uart16550 uart;
    struct goldfish_rtc rtc;
    struct test_finisher finisher;
    struct virtio_rng rng;
    struct virtio_input button;
    struct virtio_blk blk[BOARD_MAX_DISKS];
    bool rng_ready, button_ready, blk_ready[BOARD_MAX_DISKS];
    /* host clock only: the thread that fires timers waits on this, with the I/O lock */
    pthread_cond_t timer_changed;
    pthread_t timer_thread;
    bool has_timer_thread, timer_exiting;
    uint64_t timer_wakes_ns; /* guest time at which it looks again */
};

/* riscv-virt.c: devices on the caller's board, whose memory and clock are there. */
int riscv_virt_build(struct board *board, struct gw_error *error);
void riscv_virt_fini(struct board *board);
void riscv_virt_list_items(struct board *board); /* fills item[] */

/* bus.c: what the harts see outside RAM. */
extern const struct rv_platform bus_platform; /* opaque: struct board_hart */

/* hart-thread.c */
int harts_start_threads(struct board *board, struct gw_error *error);
void harts_join_threads(struct board *board);
void harts_unpark(struct board *board);
void harts_park(struct board *board); /* returns when no hart runs */
void harts_halt(struct board *board); /* asks them to stop, does not wait; any lock may be held */
void harts_kick(struct board *board);
void hart_wake(struct board_hart *hart);                 /* from WFI; any lock may be held */
void hart_set_irq(void *hart, unsigned irq, bool level); /* for irq_line */
void board_notify_loop(struct board *board);

/* board.c */
void board_set_watching(void *board, bool on); /* for the tracker */
int board_loop_woken(sd_event_source *source, int fd, uint32_t revents, void *board);

/* timer-thread.c: host clock only; the instruction clock's timers are fired by hart 0. */
int timer_thread_start(struct board *board, struct gw_error *error);
void timer_thread_join(struct board *board);

/* instruction-clock.c: hart 0's thread, in instruction-clock mode. Nanoseconds of guest time. */
#define INSTRUCTION_NS 10
void instruction_clock_attach(
    struct board *board); /* shortens a run when an earlier timer is armed */
/* What to run before the next timer or target; I/O lock held, no timer is due. 0: at the target. */
uint64_t instruction_clock_budget(struct board_hart *hart);
/* Moves the clock to where the hart is, `retired` instructions after the run began; I/O lock held.
 */
void instruction_clock_account(struct board_hart *hart, uint64_t retired);
uint64_t instruction_clock_now_ns(const struct board_hart *hart, uint64_t retired);

#endif
