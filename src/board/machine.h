/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of struct board, for the files of this folder: what all kinds of machines share, and
 * the table of operations by which each kind adds its own. board.c tells how threads and locks go
 * together.
 */
#ifndef BOARD_MACHINE_H
#define BOARD_MACHINE_H

#include <pthread.h>
#include <stdatomic.h>

#include "block/block.h"
#include "board/board-time.h"
#include "board/board.h"
#include "board/boot-images.h"
#include "board/image-file.h"
#include "device/device.h"
#include "device/uart16550.h"
#include "device/vmclock.h"
#include "net/announce.h"
#include "net/net.h"
#include "virtio/blk.h"
#include "virtio/net.h"
#include "virtio/rng.h"

#define BOARD_MAX_DEVICES 16
#define BOARD_MAX_EXTRA_ITEMS 8
#define BOARD_MAX_ITEMS (2 + BOARD_MAX_CPUS + BOARD_MAX_DEVICES + BOARD_MAX_EXTRA_ITEMS)

/* What the guest has asked for, or come to. It stays until a reset. */
enum board_request {
    BOARD_REQUEST_NONE,
    BOARD_REQUEST_POWER_OFF,
    BOARD_REQUEST_FAIL, /* power off, and tell that the guest failed */
    BOARD_REQUEST_RESET,
    BOARD_REQUEST_CRASH, /* its CPUs cannot go on; board->failure says why */
};

/*
 * A kind of machine: guest ABI under a name. One const table each, in the file of that name. What
 * may be NULL is marked; the others are called without asking.
 */
struct machine_kind {
    const char *name;
    const char *short_name;               /* what people may say: without the version */
    enum image_architecture architecture; /* of its kernels */
    unsigned max_cpus;
    unsigned max_disks;     /* disks and networks together */
    bool instruction_clock; /* its CPUs can be stopped at an instruction */
    bool cpu_models;        /* runs on the host's CPU: has a CPU model, and KVM's ways to track */
    uint64_t vmclock_base;  /* of its page */

    /* Building, on the loop's thread, in this order. After a failure fini() is called. */
    int (*check)(const struct board_config *config, struct gw_error *error); /* may be NULL */
    int (*prepare)(struct board *board, struct gw_error *error); /* makes board->machine */
    int (*add_ram)(struct gw_memory *memory, uint64_t bytes,
                   const struct gw_memory_backing *backing,
                   struct gw_error *error); /* also without a board */
    int (*read_images)(const struct board_config *config, struct boot_images *ret_images,
                       struct gw_error *error);
    int (*accept_images)(struct board *board, struct gw_error *error); /* may be NULL */
    /* CPUs, tracker, devices and state items; memory is complete and disks are there. */
    int (*build)(struct board *board, struct gw_error *error);
    void (*fini)(struct board *board); /* board->machine may be NULL */

    /* Under the control lock, CPUs parked. */
    int (*enter)(struct board *board, const struct boot_entry *entry,
                 struct gw_error *error); /* CPUs as after power-on, the first one at the entry */
    int (*fetch)(struct board *board, struct gw_error *error); /* before saving; may be NULL */
    void (*loaded)(struct board *board); /* after loading, well or not; may be NULL */
    int (*resume)(struct board *board, struct gw_error *error); /* CPUs will run */
    void (*quiesce)(struct board *board); /* before devices drain, I/O lock held; may be NULL */

    /* On each CPU's thread: once, may be NULL; and again and again until board->halt. */
    void (*cpu_begin)(struct board *board, unsigned index);
    void (*cpu_step)(struct board *board, unsigned index);
    /* A step ends soon; also the next one if none is on. Any thread, any lock. */
    void (*cpu_kick)(struct board *board, unsigned index);

    enum board_request (*request)(const struct board *board);        /* I/O lock held */
    int (*press_power)(struct board *board, struct gw_error *error); /* I/O lock held */
    struct gw_tracker (*tracker)(struct board *board);
    uint64_t (*instructions)(struct board *board); /* retired by CPU 0; NULL: nobody counts */
};

extern const struct machine_kind riscv_virt_kind, microvm_kind;

/* The kind that `config` names, or that its kernel is for; refuses with a sentence. */
int machine_kind_choose(const struct board_config *config, const struct machine_kind **ret_kind,
                        struct gw_error *error);
/* The one that a machine without more said is likely to be: with KVM if that is there. */
const struct machine_kind *machine_kind_of_this_host(void);

struct board_cpu {
    /* set once */
    struct board *board;
    unsigned index;
    pthread_t thread;
    bool has_thread;
};

/* A boundary that board_run_until() asked for. Under the control lock, but the atomic
 * ones. */
struct board_target {
    _Atomic uint64_t instructions; /* UINT64_MAX: none; read by CPU 0's thread */
    _Atomic bool hit;              /* CPU 0 has parked there */
    void (*reached)(void *opaque, uint64_t instructions);
    void *opaque;
};

/* A network of the board. */
struct board_link {
    /* set once */
    struct board *board;
    unsigned index;
    struct net *back_end;
    struct net_announcer *announcer;
    bool ready; /* the device has been made */
    /* I/O lock, and what it says of its own threads */
    struct virtio_net device;
};

struct board {
    /* set once, by board_new() */
    struct board_config config;
    const struct machine_kind *kind;
    void *machine; /* the kind's own struct */
    sd_event *loop;
    struct board_callbacks callbacks;
    struct gw_memory *memory;
    struct board_cpu cpu[BOARD_MAX_CPUS];
    struct device device[BOARD_MAX_DEVICES]; /* in the order of the saved state */
    unsigned device_count;
    struct block *block[BOARD_MAX_DISKS];
    int wake_fd; /* eventfd: a CPU has something for the loop */
    sd_event_source *wake_source;

    /* before the machine first runs */
    struct gw_state_item item[BOARD_MAX_ITEMS];
    unsigned item_count;

    /* control lock: start, stop, reset, watching, save and load exclude each other */
    pthread_mutex_t control_lock;
    bool threads_started;
    struct board_target target;
    _Atomic bool running; /* written under the control lock */

    /* run lock: parking of CPUs */
    pthread_mutex_t run_lock;
    pthread_cond_t run_changed;
    bool run_wanted, exiting;
    unsigned parked;
    _Atomic bool halt; /* CPUs leave their loops; cleared under the run lock */

    /* I/O lock: everything below, and all that devices own */
    pthread_mutex_t io_lock;
    struct board_time time;
    struct uart16550 uart;
    struct virtio_rng rng;
    struct virtio_blk blk[BOARD_MAX_DISKS];
    struct board_link link[BOARD_MAX_NETS];
    struct vmclock vmclock;
    bool rng_ready, blk_ready[BOARD_MAX_DISKS];
    char failure[512]; /* of BOARD_REQUEST_CRASH */
    /* host clock only: the thread that fires timers waits on this, with the I/O lock */
    pthread_cond_t timer_changed;
    pthread_t timer_thread;
    bool has_timer_thread, timer_exiting;
    uint64_t timer_wakes_ns; /* guest time at which it looks again */
};

/* board-devices.c: devices that every kind has; each adds its row and state item. */
struct board_window {
    enum device_space space;
    uint64_t base, bytes;
    unsigned irq; /* number on the kind's interrupt controller; 0: none */
};
void board_add_device(struct board *board, const struct board_window *window,
                      const struct device_ops *ops, const struct gw_state_type *state,
                      void *object);
void board_add_item(struct board *board, const struct gw_state_type *type, void *object);
void board_add_uart(struct board *board, const struct board_window *window, struct irq_line irq);
void board_add_rng(struct board *board, const struct board_window *window, struct irq_line irq);
int board_add_disk(struct board *board, unsigned index, const struct board_window *window,
                   struct irq_line irq, struct gw_error *error);
/* If the machine has one; its page is there. */
void board_add_vmclock(struct board *board, struct irq_line irq);
void board_fini_devices(struct board *board);

/* board-nets.c */
/* Names, addresses and sizes that were left open, for a machine that is made here. */
int board_settle_nets(struct board_config *config, struct gw_error *error);
int board_open_nets(struct board *board, bool defer, struct gw_error *error);
int board_add_net(struct board *board, unsigned index, const struct board_window *window,
                  struct irq_line irq, struct gw_error *error);
/* What the back ends carry along, behind a saved stream; and out of one, whose length is then that of
 * the state alone. */
int board_append_packed(struct board *board, struct gw_buf *out, struct gw_error *error);
int board_give_packed(struct board *board, const void *stream, size_t *length,
                      struct gw_error *error);
int board_check_nets(const struct board *board, struct gw_error *error); /* all are open */
void board_close_nets(struct board *board); /* devices and back ends; I/O lock not held */
/* The device that answers for all of the access, or NULL. */
struct device *board_find_device(struct board *board, enum device_space space, uint64_t address,
                                 unsigned size);
/* For a device by which the guest asks for something: CPUs stop, the loop does the rest. I/O lock
 * held, any thread. */
void board_request_made(void *board);

/* cpu-threads.c */
int cpus_start_threads(struct board *board, struct gw_error *error);
void cpus_join_threads(struct board *board);
void cpus_unpark(struct board *board);
void cpus_park(struct board *board); /* returns when no CPU runs */
void cpus_halt(struct board *board); /* asks them to stop, does not wait; any lock may be held */
void board_notify_loop(struct board *board);

/* board.c */
/* Calls `act` while no CPU runs; they run on afterwards if they did. Any thread but a CPU's. */
void board_while_parked(struct board *board, void (*act)(void *opaque), void *opaque);
int board_loop_woken(sd_event_source *source, int fd, uint32_t revents, void *board);

/* timer-thread.c: host clock only; the instruction clock's timers are fired by hart 0. */
int timer_thread_start(struct board *board, struct gw_error *error);
void timer_thread_join(struct board *board);

#endif
