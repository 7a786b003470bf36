/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine: built from a description, booted or loaded, run, stopped, saved.
 *
 * Threads: the loop thread owns the board and calls everything here unless a comment says
 * otherwise. CPUs have a thread each, between board_start() and board_stop(). The I/O lock
 * (board_lock) protects all device state and the clock's timers; "stopped" means that no thread of
 * the process writes guest memory.
 */
#ifndef BOARD_BOARD_H
#define BOARD_BOARD_H

#include <jansson.h>
#include <stdbool.h>
#include <systemd/sd-event.h>

#include <godwit/buf.h>
#include <godwit/error.h>
#include <godwit/memory.h>
#include <godwit/state.h>

#include "base/clock.h"
#include "cpu/kvm/cpu-model.h"

#define BOARD_MAX_CPUS 64 /* of any kind of machine */
#define BOARD_MAX_DISKS 7
#define BOARD_MAX_NETS 6
#define BOARD_MAC_BYTES 6

struct board_disk {
    char *path;
    uint64_t size_bytes; /* what the guest sees; 0: as long as the file */
    bool read_only;
    char *serial; /* what the guest reads, at most 20 characters; NULL: "godwit-N" */
};

/* A network card. All but `back_end` is guest ABI, fixed when the machine is made, and travels. */
struct board_net {
    char *name;     /* by which both sides of a move know it; NULL: "netN" */
    char *back_end; /* what net_new() takes, this host's own affair; NULL: not given here */
    uint8_t mac[BOARD_MAC_BYTES]; /* all zero: one is chosen, locally administered */
    unsigned queues;              /* pairs; 0: one */
    unsigned mtu;      /* what the guest is told; 0: what the network behind says, if it says it */
    uint64_t features; /* that its driver used when it was described (virtio 1.2 §5.1.3); 0: none */
};

#define BOARD_MAC_TEXT 18 /* bytes of "52:54:00:12:34:56" */
#define BOARD_MAC_FORMAT "%02x:%02x:%02x:%02x:%02x:%02x"
#define BOARD_MAC_ARGUMENTS(mac) (mac)[0], (mac)[1], (mac)[2], (mac)[3], (mac)[4], (mac)[5]
int board_parse_mac(const char *text, uint8_t ret_mac[BOARD_MAC_BYTES]); /* -EINVAL */

/* How dirty pages are found, where the machine leaves a choice (KVM). Not part of the description.
 */
enum board_tracking {
    BOARD_TRACKING_AUTO,
    BOARD_TRACKING_BITMAP,
    BOARD_TRACKING_RING,
    BOARD_TRACKINGS
};
extern const char *const board_tracking_names[BOARD_TRACKINGS]; /* "auto", "bitmap", "ring" */

/* What a user says. Strings are owned by the config; board_config_fini() frees them. */
struct board_config {
    char *machine;         /* "riscv-virt-1", "microvm-1"; NULL: what the kernel is for */
    uint64_t memory_bytes; /* page multiple */
    unsigned cpus;
    enum clock_mode clock;
    char *cpu_name;              /* microvm: the model's name; NULL: "host" */
    struct cpu_model *cpu_model; /* of a machine that arrives; NULL: by its name, on this host */
    enum board_tracking tracking;
    struct gw_memory_backing backing;          /* of RAM; this host's own affair. `path` is owned */
    char *kernel, *firmware, *initrd, *append; /* files; NULL where not given */
    struct board_disk disks[BOARD_MAX_DISKS];
    unsigned disk_count;
    struct board_net nets[BOARD_MAX_NETS];
    unsigned net_count;
    bool vmclock;        /* the guest is told of moves (device/vmclock.h); guest ABI, travels */
    bool linux_kernel;   /* microvm: settled by the kernel's image */
    uint64_t boot_bytes; /* of a machine that arrives: its boot region; 0 where images are given */
    uint64_t seed;       /* of rng in instruction-clock mode */
};

void board_config_fini(struct board_config *config);

struct board;

/*
 * The machine description that travels in OFFER (docs/machine.md): guest ABI and sizes (machine,
 * memory, cpus, CPU model, clock, boot region, disks by slot with size, read-only and serial,
 * networks with name, MAC, queues and MTU), and what the guest's drivers use of networks. A disk's
 * "path_hint" is where the source has it. Reading a description is hostile input: unknown keys,
 * types and ranges are refused. The destination gives its disk files by --disk in slot order;
 * board_config_from_description() leaves paths NULL and the caller fills them, or follows the hint
 * if its policy allows. It leaves back ends of networks NULL, which the caller fills by name. Any
 * thread.
 *
 * The images of --kernel, --firmware and --initrd live in a memory region of their own ("boot"),
 * which travels like RAM: a machine that has moved can be reset without the files.
 */
json_t *board_describe(struct board *board); /* new reference; NULL without memory. On the loop */
int board_config_from_description(const json_t *description, struct board_config *ret_config,
                                  struct gw_error *error);

enum board_event { BOARD_EVENT_SHUTDOWN, BOARD_EVENT_RESET, BOARD_EVENT_PANIC };

struct board_callbacks {
    void *opaque;
    /* On the loop thread. SHUTDOWN: the guest powered off, CPUs are stopped. RESET: the guest
     * rebooted, the board already runs again. PANIC: its CPUs cannot go on, they are stopped.
     * `failure` is NULL when all is well, or a sentence that ends with this call: why it cannot go
     * on, or that the guest reported failure with its power-off. */
    void (*event)(void *opaque, enum board_event event, const char *failure);
    /* Bytes that the guest wrote to its serial port. On a CPU's thread, I/O lock held: must not
     * block. */
    void (*serial_output)(void *opaque, const uint8_t *bytes, size_t length);
    /* The serial port has room for input again. On any thread, I/O lock held. */
    void (*serial_room)(void *opaque);
    /* The link of the network `name` went or came; `why` is a sentence for people; both end with
     * the call. On the loop thread, perhaps while the board is being built; may be NULL. */
    void (*link)(void *opaque, const char *name, bool up, const char *why);
};

/* Builds the machine: memory, devices, opened and locked disks, opened networks. `defer_disks`:
 * open disks only in board_acquire_disks() and networks in board_acquire_nets() (a migration
 * destination, before it owns them). Does not run anything. */
int board_new(const struct board_config *config, sd_event *loop,
              const struct board_callbacks *callbacks, bool defer_disks, struct board **ret_board,
              struct gw_error *error);
void board_free(struct board *board); /* stops first */

/*
 * RAM for a machine of `bytes` that is still to come, so that it need not be made then: what goes
 * into config.backing.ready. Of the kind that this host is likely to receive; for up to 3 GiB it
 * fits any. The caller frees it, after a machine was built or without.
 */
int board_make_ready_memory(uint64_t bytes, const struct gw_memory_backing *backing,
                            struct gw_memory **ret_memory, struct gw_error *error);

/* What the machine is, all that was left open filled in: its kind, CPU model, sizes. Any thread. */
const struct board_config *board_settled_config(const struct board *board);

/* Opens and locks the disks of a deferred board; -EBUSY with a sentence when somebody holds them.
 */
int board_acquire_disks(struct board *board, struct gw_error *error);
/* Writes all disks out and gives the locks up (source before COMMIT); the board can only be freed
 * or acquire again afterwards. All are given up also when one could not be written out, which is
 * the error. */
int board_release_disks(struct board *board, struct gw_error *error);
/* Writes out what the guest has written so far, while it runs on, so that releasing is quick. Any
 * thread. */
int board_sync_disks(struct board *board, struct gw_error *error);

/*
 * Opens the networks of a deferred board, or those that were released; each refusal is a sentence
 * (net/net.h), also when one lacks what the guest already uses. None is open after a failure. The
 * machine must be stopped. The loop's.
 */
int board_acquire_nets(struct board *board, struct gw_error *error);
/* What that will take of a deferred board's time, where it was measured. The loop's. */
uint64_t board_expect_acquire_us(const struct board *board);
/* Closes them: nothing is sent or answered from here any more (source before COMMIT). The board
 * can only be freed or acquire again afterwards. The machine must be stopped. The loop's. */
void board_release_nets(struct board *board);
/* After a move: tells the networks from here where the cards' addresses are now, at once and some
 * times again, and asks each guest driver that can to announce all of its addresses; how many were
 * asked. The networks are open; running or not. The loop's. */
unsigned board_announce_nets(struct board *board);
/*
 * For a move that is under way, the machine standing still: the networks' back ends give up the
 * connections that they have open, which the next board_save() has behind the state; and back. What
 * one of them cannot give (board_net_stays()) or open is no error: its guest sees them end. The
 * loop's.
 */
void board_pack_nets(struct board *board);
void board_unpack_nets(struct board *board, void (*refused)(void *opaque, const char *sentence),
                       void *opaque);
/* Why connections that are open on the network end when the machine moves: what follows "because"
 * in a sentence; NULL when they go on. */
const char *board_net_stays(const struct board *board, unsigned index);
struct virtio_net_view; /* virtio/net.h */
void board_look_net(struct board *board, unsigned index, struct virtio_net_view *ret_view);

/* Images into RAM, CPUs and devices as after power-on. Does not run them. */
int board_boot(struct board *board, struct gw_error *error);
int board_start(struct board *board, struct gw_error *error); /* CPUs run; idempotent */
void board_stop(struct board *board); /* any thread but a CPU's; drains; idempotent */
bool board_running(const struct board *board);
int board_reset(struct board *board,
                struct gw_error *error); /* as power-on, booted again from its boot region; keeps
                                            running or stopped */
/* Asks the guest to shut down; -ENOTCONN while no driver of it listens to the power button. */
int board_power_button(struct board *board, struct gw_error *error);

struct gw_memory *board_memory(struct board *board);
struct gw_tracker board_tracker(struct board *board); /* start/stop/collect from any thread */

/* While stopped. State is a stream of gw_state sections; extra items of the VMM may be added by it.
 */
int board_save(struct board *board, struct gw_buf *out, struct gw_error *error); /* any thread */
int board_load(struct board *board, const void *stream, size_t length, struct gw_error *error);
/* Extra saved items (console scrollback, …) that board_save/board_load carry after the devices. */
int board_add_state_item(struct board *board, const struct gw_state_type *type, void *object);

/* Serial input: returns how many bytes were accepted (the rest waits for serial_room). Any thread.
 */
size_t board_serial_input(struct board *board, const uint8_t *bytes, size_t length);

/* Instruction-clock mode, one hart. Asks the running machine to stop when exactly `instructions`
 * have retired since power-on; `reached` is then called on the loop thread, the board stopped. */
int board_run_until(struct board *board, uint64_t instructions,
                    void (*reached)(void *opaque, uint64_t instructions), void *opaque,
                    struct gw_error *error);
uint64_t board_instructions(struct board *board); /* retired by CPU 0; 0 where nobody counts */

/* While stopped: hashes of device state and of RAM. */
uint64_t board_state_hash(struct board *board);
/* While stopped: the state as JSON text (gw_state_print). */
int board_print(struct board *board, struct gw_buf *out, struct gw_error *error);

#endif
