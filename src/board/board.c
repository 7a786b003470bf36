/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A board's life: start, stop, reset, save, load. Building it is in board-build.c.
 *
 * Threads: the loop's; one per hart (hart-thread.c); one for timers with a host clock
 * (timer-thread.c); and any others that stop, save, load or watch (the migration engine's).
 *
 * Locks, in the order in which they are taken:
 *
 *   control lock  start, stop, reset, watch, save, load: one at a time
 *   I/O lock      all device state, the clock and its timers
 *   run lock, a hart's sleep lock: innermost, nothing else is taken with them
 *
 * The control lock may be held for long, by any thread but a hart's; no callback of the board's
 * owner is called with it held, except serial_room. The I/O lock is held shortly, by all threads.
 *
 * Why stopping cannot deadlock: the stopper holds the control lock only while it waits for the
 * harts to park. A hart parks as soon as it gets the I/O lock that it may wait for, and whoever has
 * that lock (timers, the loop's completions) waits for nobody. Work that a hart gives to the loop
 * (power off, reset, a target that was reached) is a note in an eventfd; the hart parks without
 * waiting for it. Draining then happens on the stopper's own thread: with the I/O lock it reaps
 * completions from the disks itself, so it works whether the loop is busy, or is the stopper.
 *
 * A power-off or reset that the guest has asked for is device state (the test device's request). If
 * the machine is stopped before the loop has acted on it, it stays there, may travel, and is acted
 * on at the next start.
 */
#include <errno.h>
#include <string.h>
#include <xxhash.h>

#include "base/cleanup.h"
#include "board/config.h"
#include "board/machine.h"

static int refuse_running(const char *what, struct gw_error *error)
{
    return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_STATE, -EBUSY,
                        "the machine must be stopped to %s it", what);
}

/* ---- Start and stop, control lock held ---- */

static void each_device(struct board *board, bool resume)
{
    for (unsigned i = 0; i < PART_COUNT; i++) {
        const struct device *device = &board->device[i];
        void (*op)(void *) = resume ? device->ops->resume : device->ops->drain;
        if (op && device->object)
            op(device->object);
    }
}

/* Whether the loop has something to do before the harts may run. I/O lock held. */
static bool loop_must_act(const struct board *board)
{
    return board->finisher.request != TEST_FINISHER_NONE || atomic_load(&board->target.hit);
}

static int check_disks(const struct board *board, struct gw_error *error)
{
    for (unsigned i = 0; i < board->config.disk_count; i++)
        if (!board->block[i]->held)
            return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_STATE, -EBUSY,
                                "disk '%s' is not open: the machine cannot run without it",
                                board->config.disks[i].path);
    return 0;
}

static int start_threads(struct board *board, struct gw_error *error)
{
    if (board->config.clock == GW_CLOCK_INSTRUCTIONS) {
        instruction_clock_attach(board);
    } else {
        int r = timer_thread_start(board, error);
        if (r < 0)
            return r;
    }
    return harts_start_threads(board, error);
}

static int start(struct board *board, struct gw_error *error)
{
    if (board->running)
        return 0;
    int r = check_disks(board, error);
    if (r == 0)
        r = start_threads(board, error);
    if (r < 0)
        return r;
    pthread_mutex_lock(&board->io_lock);
    board->running = true;
    clock_start(&board->time.clock);
    each_device(board, true);
    bool wait_for_loop = loop_must_act(board);
    pthread_mutex_unlock(&board->io_lock);
    if (wait_for_loop)
        board_notify_loop(board);
    else
        harts_unpark(board);
    return 0;
}

static void stop(struct board *board)
{
    if (!board->running)
        return;
    harts_park(board);
    pthread_mutex_lock(&board->io_lock);
    each_device(board, false);
    clock_stop(&board->time.clock);
    board->running = false;
    pthread_mutex_unlock(&board->io_lock);
}

/* Boot images into RAM, every hart to their entry. Stopped. */
static int enter_images(struct board *board, struct gw_error *error)
{
    struct boot_entry entry;
    int r = boot_region_apply(board->memory, &entry, error);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < board->config.cpus; i++) {
        rv_hart_reset(board->hart[i].cpu, entry.pc, i, entry.tree, entry.dynamic);
        rv_hart_flush_later(board->hart[i].cpu);
        board->time.waiting[i] = false;
    }
    return 0;
}

static int reset(struct board *board, struct gw_error *error)
{
    int r = enter_images(board, error);
    if (r < 0)
        return r;
    pthread_mutex_lock(&board->io_lock);
    for (unsigned i = 0; i < PART_COUNT; i++) {
        const struct device *device = &board->device[i];
        if (device->ops->reset && device->object)
            device->ops->reset(device->object);
    }
    pthread_mutex_unlock(&board->io_lock);
    return 0;
}

/* ---- The same for others ---- */

int board_boot(struct board *board, struct gw_error *error)
{
    pthread_mutex_lock(&board->control_lock);
    int r = board->running ? refuse_running("boot", error) : reset(board, error);
    pthread_mutex_unlock(&board->control_lock);
    return r;
}

int board_start(struct board *board, struct gw_error *error)
{
    pthread_mutex_lock(&board->control_lock);
    int r = start(board, error);
    pthread_mutex_unlock(&board->control_lock);
    return r;
}

void board_stop(struct board *board)
{
    pthread_mutex_lock(&board->control_lock);
    stop(board);
    pthread_mutex_unlock(&board->control_lock);
}

bool board_running(const struct board *board)
{
    return atomic_load(&board->running);
}

int board_reset(struct board *board, struct gw_error *error)
{
    pthread_mutex_lock(&board->control_lock);
    bool run = board->running;
    stop(board);
    int r = reset(board, error);
    if (r == 0 && run)
        r = start(board, error);
    pthread_mutex_unlock(&board->control_lock);
    return r;
}

int board_power_button(struct board *board, struct gw_error *error)
{
    pthread_mutex_lock(&board->io_lock);
    bool pressed = virtio_input_press(&board->button);
    pthread_mutex_unlock(&board->io_lock);
    if (pressed)
        return 0;
    return gw_error_set(
        error, GW_LAYER_BOARD, GW_CODE_STATE, -ENOTCONN,
        "the guest does not listen to its power button: it is still starting, or it has "
        "no driver for it (virtio_input); try again later, power it off from inside, or "
        "end the machine without asking it");
}

/* ---- What the harts leave to the loop ---- */

static void act_on_target(struct board *board)
{
    struct board_target target = {.reached = board->target.reached, .opaque = board->target.opaque};
    stop(board);
    atomic_store(&board->target.hit, false);
    atomic_store(&board->target.instructions, UINT64_MAX);
    uint64_t instructions = rv_hart_instructions(board->hart[0].cpu);
    pthread_mutex_unlock(&board->control_lock);
    target.reached(target.opaque, instructions);
}

static void act_on_request(struct board *board, enum test_finisher_request request)
{
    enum board_event event = BOARD_EVENT_SHUTDOWN;
    bool success = request == TEST_FINISHER_PASS;
    stop(board);
    if (request == TEST_FINISHER_RESET) {
        success = reset(board, NULL) == 0 && start(board, NULL) == 0;
        event = success ? BOARD_EVENT_RESET : BOARD_EVENT_PANIC;
    }
    pthread_mutex_unlock(&board->control_lock);
    if (board->callbacks.event)
        board->callbacks.event(board->callbacks.opaque, event, success);
}

int board_loop_woken(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
    struct board *board = opaque;
    uint64_t count;
    if (read(fd, &count, sizeof count) < 0)
        return 0;
    pthread_mutex_lock(&board->control_lock);
    pthread_mutex_lock(&board->io_lock);
    enum test_finisher_request request = board->finisher.request;
    pthread_mutex_unlock(&board->io_lock);
    if (board->running && atomic_load(&board->target.hit))
        act_on_target(board);
    else if (board->running && request != TEST_FINISHER_NONE)
        act_on_request(board, request);
    else /* stopped meanwhile: the next start tells again */
        pthread_mutex_unlock(&board->control_lock);
    return 0;
}

int board_run_until(struct board *board, uint64_t instructions,
                    void (*reached)(void *opaque, uint64_t instructions), void *opaque,
                    struct gw_error *error)
{
    if (board->config.clock != GW_CLOCK_INSTRUCTIONS)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_STATE, -EINVAL,
                            "only a machine with the instruction clock stops at an instruction");
    int r = 0;
    pthread_mutex_lock(&board->control_lock);
    harts_park(board);
    uint64_t now = rv_hart_instructions(board->hart[0].cpu);
    if (instructions < now) {
        r = gw_error_set(error, GW_LAYER_BOARD, GW_CODE_STATE, -EINVAL,
                         "the machine has run %llu instructions already, past %llu",
                         (unsigned long long)now, (unsigned long long)instructions);
    } else {
        board->target.reached = reached;
        board->target.opaque = opaque;
        atomic_store(&board->target.hit, false);
        atomic_store(&board->target.instructions, instructions);
    }
    if (board->running) {
        pthread_mutex_lock(&board->io_lock);
        bool wait_for_loop = loop_must_act(board);
        pthread_mutex_unlock(&board->io_lock);
        if (!wait_for_loop)
            harts_unpark(board);
    }
    pthread_mutex_unlock(&board->control_lock);
    return r;
}

uint64_t board_instructions(struct board *board)
{
    return rv_hart_instructions(board->hart[0].cpu);
}

/* ---- Watching ---- */

void board_set_watching(void *opaque, bool on)
{
    struct board *board = opaque;
    pthread_mutex_lock(&board->control_lock);
    harts_park(board);
    for (unsigned i = 0; i < board->config.cpus; i++)
        rv_hart_set_watching(board->hart[i].cpu, on);
    pthread_mutex_lock(&board->io_lock);
    bool unpark = board->running && !loop_must_act(board);
    pthread_mutex_unlock(&board->io_lock);
    if (unpark)
        harts_unpark(board);
    pthread_mutex_unlock(&board->control_lock);
}

struct gw_tracker board_tracker(struct board *board)
{
    return gw_bytemap_tracker_interface(board->tracker);
}

struct gw_memory *board_memory(struct board *board)
{
    return board->memory;
}

json_t *board_describe(struct board *board)
{
    return board_config_describe(&board->config);
}

/* ---- State ---- */

int board_add_state_item(struct board *board, const struct gw_state_type *type, void *object)
{
    if (board->item_count == BOARD_MAX_ITEMS)
        return -ENOSPC;
    uint32_t instance = 0;
    for (unsigned i = 0; i < board->item_count; i++)
        instance += board->item[i].type == type;
    board->item[board->item_count++] = (struct gw_state_item){type, instance, object};
    return 0;
}

int board_save(struct board *board, struct gw_buf *out, struct gw_error *error)
{
    pthread_mutex_lock(&board->control_lock);
    pthread_mutex_lock(&board->io_lock);
    int r = board->running ? refuse_running("save", error)
                           : gw_state_save(board->item, board->item_count, out, error);
    pthread_mutex_unlock(&board->io_lock);
    pthread_mutex_unlock(&board->control_lock);
    return r;
}

int board_load(struct board *board, const void *stream, size_t length, struct gw_error *error)
{
    pthread_mutex_lock(&board->control_lock);
    pthread_mutex_lock(&board->io_lock);
    int r = board->running ? refuse_running("load", error)
                           : gw_state_load(board->item, board->item_count, stream, length, error);
    for (unsigned i = 0; i < board->config.cpus && !board->running; i++)
        rv_hart_flush_later(board->hart[i].cpu);
    pthread_mutex_unlock(&board->io_lock);
    pthread_mutex_unlock(&board->control_lock);
    return r;
}

uint64_t board_state_hash(struct board *board)
{
    pthread_mutex_lock(&board->io_lock);
    uint64_t hashes[2] = {gw_state_hash(board->item, board->item_count),
                          gw_memory_hash(board->memory)};
    pthread_mutex_unlock(&board->io_lock);
    return XXH64(hashes, sizeof hashes, 0);
}

int board_print(struct board *board, struct gw_buf *out, struct gw_error *error)
{
    pthread_mutex_lock(&board->io_lock);
    int r = gw_state_print(board->item, board->item_count, out, error);
    pthread_mutex_unlock(&board->io_lock);
    return r;
}

size_t board_serial_input(struct board *board, const uint8_t *bytes, size_t length)
{
    size_t taken = 0;
    pthread_mutex_lock(&board->io_lock);
    if (board->running)
        taken = uart16550_receive(&board->uart, bytes, length);
    else
        board->uart.room_wanted = true;
    pthread_mutex_unlock(&board->io_lock);
    return taken;
}
