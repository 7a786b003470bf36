/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A board's life: start, stop, reset, save, load. Building it is in board-build.c.
 *
 * Threads: the loop's; one per CPU (cpu-threads.c); one for timers with a host clock
 * (timer-thread.c); one for each network card; and any others that stop, save, load or watch (the
 * migration engine's).
 *
 * Locks, in the order in which they are taken:
 *
 *   control lock  start, stop, reset, watch, save, load: one at a time
 *   I/O lock      all device state, the clock and its timers
 *   path lock     of each network card: its rings and the network behind (virtio/net.c)
 *   run lock, a CPU's own locks: innermost, nothing else is taken with them
 *
 * The control lock may be held for long, by any thread but a CPU's; no callback of the board's
 * owner is called with it held, except serial_room. The I/O lock is held shortly, by all threads.
 *
 * Why stopping cannot deadlock: the stopper holds the control lock only while it waits for the
 * CPUs to park. A CPU parks as soon as it gets the I/O lock that it may wait for, and whoever has
 * that lock (timers, the loop's completions) waits for nobody. Work that a CPU gives to the loop
 * (power off, reset, a target that was reached) is a note in an eventfd; the CPU parks without
 * waiting for it. Draining then happens on the stopper's own thread: with the I/O lock it reaps
 * completions from the disks itself, so it works whether the loop is busy, or is the stopper.
 *
 * A power-off or reset that the guest has asked for is device state (a request of the test device
 * or the GED). If the machine is stopped before the loop has acted on it, it stays there, may
 * travel, and is acted on at the next start.
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
    for (unsigned i = 0; i < board->device_count; i++) {
        const struct device *device = &board->device[i];
        void (*op)(void *) = resume ? device->ops->resume : device->ops->drain;
        if (op && device->object)
            op(device->object);
    }
}

/* Whether the loop has something to do before the CPUs may run. I/O lock held. */
static bool loop_must_act(const struct board *board)
{
    return board->kind->request(board) != BOARD_REQUEST_NONE || atomic_load(&board->target.hit);
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
    int r = board->config.clock == GW_CLOCK_HOST ? timer_thread_start(board, error) : 0;
    return r < 0 ? r : cpus_start_threads(board, error);
}

static int start(struct board *board, struct gw_error *error)
{
    if (board->running)
        return 0;
    int r = check_disks(board, error);
    if (r == 0)
        r = board_check_nets(board, error);
    if (r == 0)
        r = start_threads(board, error);
    if (r == 0)
        r = board->kind->resume(board, error);
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
        cpus_unpark(board);
    return 0;
}

static void stop(struct board *board)
{
    if (!board->running)
        return;
    cpus_park(board);
    pthread_mutex_lock(&board->io_lock);
    if (board->kind->quiesce)
        board->kind->quiesce(board);
    each_device(board, false);
    clock_stop(&board->time.clock);
    board->running = false;
    pthread_mutex_unlock(&board->io_lock);
}

/* Boot images into RAM, CPUs to their entry, devices as after power-on. Stopped. */
static int reset(struct board *board, struct gw_error *error)
{
    struct boot_entry entry;
    int r = boot_region_apply(board->memory, &entry, error);
    if (r == 0)
        r = board->kind->enter(board, &entry, error);
    if (r < 0)
        return r;
    pthread_mutex_lock(&board->io_lock);
    board->failure[0] = 0;
    for (unsigned i = 0; i < board->device_count; i++) {
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
    int r = board->kind->press_power(board, error);
    pthread_mutex_unlock(&board->io_lock);
    return r;
}

/* ---- What the CPUs leave to the loop ---- */

static void act_on_target(struct board *board)
{
    struct board_target target = {.reached = board->target.reached, .opaque = board->target.opaque};
    stop(board);
    atomic_store(&board->target.hit, false);
    atomic_store(&board->target.instructions, UINT64_MAX);
    uint64_t instructions = board_instructions(board);
    pthread_mutex_unlock(&board->control_lock);
    target.reached(target.opaque, instructions);
}

/* What comes of a request, and whether the guest or its machine failed: a sentence, or NULL. */
static enum board_event serve(struct board *board, enum board_request request, const char **failure,
                              struct gw_error *error)
{
    *failure = NULL;
    switch (request) {
    case BOARD_REQUEST_NONE:
    case BOARD_REQUEST_POWER_OFF:
        return BOARD_EVENT_SHUTDOWN;
    case BOARD_REQUEST_FAIL:
        *failure = "the guest reported failure";
        return BOARD_EVENT_SHUTDOWN;
    case BOARD_REQUEST_RESET:
        if (reset(board, error) == 0 && start(board, error) == 0)
            return BOARD_EVENT_RESET;
        *failure = error->message;
        return BOARD_EVENT_PANIC;
    case BOARD_REQUEST_CRASH:
        *failure = board->failure;
        return BOARD_EVENT_PANIC;
    }
    return BOARD_EVENT_SHUTDOWN;
}

static void act_on_request(struct board *board, enum board_request request)
{
    struct gw_error error = {0};
    const char *failure;
    stop(board);
    enum board_event event = serve(board, request, &failure, &error);
    pthread_mutex_unlock(&board->control_lock);
    if (board->callbacks.event)
        board->callbacks.event(board->callbacks.opaque, event, failure);
}

int board_loop_woken(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
    struct board *board = opaque;
    uint64_t count;
    if (read(fd, &count, sizeof count) < 0)
        return 0;
    pthread_mutex_lock(&board->control_lock);
    pthread_mutex_lock(&board->io_lock);
    enum board_request request = board->kind->request(board);
    pthread_mutex_unlock(&board->io_lock);
    if (board->running && atomic_load(&board->target.hit))
        act_on_target(board);
    else if (board->running && request != BOARD_REQUEST_NONE)
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
    cpus_park(board);
    uint64_t now = board_instructions(board);
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
            cpus_unpark(board);
    }
    pthread_mutex_unlock(&board->control_lock);
    return r;
}

uint64_t board_instructions(struct board *board)
{
    return board->kind->instructions ? board->kind->instructions(board) : 0;
}

/* ---- Watching ---- */

void board_while_parked(struct board *board, void (*act)(void *opaque), void *opaque)
{
    pthread_mutex_lock(&board->control_lock);
    cpus_park(board);
    act(opaque);
    pthread_mutex_lock(&board->io_lock);
    bool unpark = board->running && !loop_must_act(board);
    pthread_mutex_unlock(&board->io_lock);
    if (unpark)
        cpus_unpark(board);
    pthread_mutex_unlock(&board->control_lock);
}

struct gw_tracker board_tracker(struct board *board)
{
    return board->kind->tracker(board);
}

struct gw_memory *board_memory(struct board *board)
{
    return board->memory;
}

const struct board_config *board_settled_config(const struct board *board)
{
    return &board->config;
}

json_t *board_describe(struct board *board)
{
    for (unsigned i = 0; i < board->config.net_count; i++) {
        struct virtio_net_view view;
        board_look_net(board, i, &view);
        board->config.nets[i].features = view.features;
    }
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

/* Both locks held. */
static int fetch(struct board *board, struct gw_error *error)
{
    return board->kind->fetch ? board->kind->fetch(board, error) : 0;
}

static void lock_state(struct board *board)
{
    pthread_mutex_lock(&board->control_lock);
    pthread_mutex_lock(&board->io_lock);
}

static void unlock_state(struct board *board)
{
    pthread_mutex_unlock(&board->io_lock);
    pthread_mutex_unlock(&board->control_lock);
}

int board_save(struct board *board, struct gw_buf *out, struct gw_error *error)
{
    lock_state(board);
    int r = board->running ? refuse_running("save", error) : fetch(board, error);
    if (r == 0)
        r = gw_state_save(board->item, board->item_count, out, error);
    if (r == 0)
        r = board_append_packed(board, out, error);
    unlock_state(board);
    return r;
}

int board_load(struct board *board, const void *stream, size_t length, struct gw_error *error)
{
    lock_state(board);
    int r = board->running ? refuse_running("load", error)
                           : board_give_packed(board, stream, &length, error);
    if (r == 0)
        r = gw_state_load(board->item, board->item_count, stream, length, error);
    if (!board->running && board->kind->loaded)
        board->kind->loaded(board);
    unlock_state(board);
    return r;
}

uint64_t board_state_hash(struct board *board)
{
    lock_state(board);
    bool fetched = fetch(board, NULL) == 0;
    uint64_t hashes[2] = {fetched ? gw_state_hash(board->item, board->item_count) : 0,
                          gw_memory_hash(board->memory)};
    unlock_state(board);
    return XXH64(hashes, sizeof hashes, 0);
}

int board_print(struct board *board, struct gw_buf *out, struct gw_error *error)
{
    lock_state(board);
    int r = fetch(board, error);
    if (r == 0)
        r = gw_state_print(board->item, board->item_count, out, error);
    unlock_state(board);
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
