/* SPDX-License-Identifier: Apache-2.0 */
/* Building a board and taking it apart. On the loop's thread. */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/cleanup.h"
#include "board/config.h"
#include "board/machine.h"

static int refuse_resource(const char *what, int error_number, struct gw_error *error)
{
    return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_NO_RESOURCE, -error_number,
                        "cannot make %s: %s", what, strerror(error_number));
}

/* ---- Memory and boot region ---- */

static int add_boot_region(struct board *board, struct gw_error *error)
{
    struct board_config *config = &board->config;
    if (config->boot_bytes)
        return gw_memory_add_region(board->memory, BOOT_REGION_NAME, BOOT_REGION_BASE,
                                    config->boot_bytes, error);
    _cleanup_(boot_images_fini) struct boot_images images = {0};
    int r = board->kind->read_images(config, &images, error);
    config->linux_kernel = images.is_linux;
    if (r == 0 && board->kind->accept_images)
        r = board->kind->accept_images(board, error);
    if (r < 0)
        return r;
    uint64_t bytes = boot_region_bytes(&images);
    if (bytes > BOOT_REGION_MAX_BYTES)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -EFBIG,
                            "kernel, initrd and firmware together are larger than %llu MiB",
                            (unsigned long long)(BOOT_REGION_MAX_BYTES >> 20));
    r = gw_memory_add_region(board->memory, BOOT_REGION_NAME, BOOT_REGION_BASE, bytes, error);
    if (r < 0)
        return r;
    uint64_t offset;
    boot_region_fill(gw_memory_find(board->memory, BOOT_REGION_BASE, 1, &offset), &images);
    config->boot_bytes = bytes;
    return 0;
}

static int add_vmclock_page(struct board *board, struct gw_error *error)
{
    if (!board->config.vmclock)
        return 0;
    return gw_memory_add_region(board->memory, "vmclock", board->kind->vmclock_base, VMCLOCK_BYTES,
                                error);
}

static int build_memory(struct board *board, struct gw_error *error)
{
    board->memory = gw_memory_new();
    if (!board->memory)
        return refuse_resource("the machine's memory", ENOMEM, error);
    int r = board->kind->add_ram(board->memory, board->config.memory_bytes, &board->config.backing,
                                 error);
    board->config.backing.ready = NULL; /* the caller's, and used */
    if (r == 0)
        r = add_boot_region(board, error);
    return r < 0 ? r : add_vmclock_page(board, error);
}

int board_make_ready_memory(uint64_t bytes, const struct gw_memory_backing *backing,
                            struct gw_memory **ret_memory, struct gw_error *error)
{
    struct gw_memory *memory = gw_memory_new();
    if (!memory)
        return refuse_resource("a machine's memory", ENOMEM, error);
    int r = machine_kind_of_this_host()->add_ram(memory, bytes, backing, error);
    if (r < 0)
        gw_memory_free(memory);
    else
        *ret_memory = memory;
    return r;
}

/* ---- Disks ---- */

static int open_disk(struct board *board, unsigned index, bool defer, struct gw_error *error)
{
    struct board_disk *disk = &board->config.disks[index];
    if (!disk->path)
        return gw_error_set(
            error, GW_LAYER_BOARD, GW_CODE_INVALID, -EINVAL,
            "the machine has %u disk%s and no file is given for disk %u; use --disk",
            board->config.disk_count, board->config.disk_count == 1 ? "" : "s", index + 1);
    struct block_file_config file = {
        .path = disk->path,
        .read_only = disk->read_only,
        .expected_bytes = disk->size_bytes,
    };
    int r = block_file_new(&file, &board->block[index], error);
    if (r == 0 && !defer)
        r = block_acquire(board->block[index], error);
    if (r < 0)
        return r;
    disk->size_bytes = block_bytes(board->block[index]);
    if (board->config.clock == GW_CLOCK_HOST)
        r = block_attach(board->block[index], board->loop, &board->io_lock, error);
    return r;
}

static int open_disks(struct board *board, bool defer, struct gw_error *error)
{
    for (unsigned i = 0; i < board->config.disk_count; i++) {
        int r = open_disk(board, i, defer, error);
        if (r < 0)
            return r;
    }
    return 0;
}

int board_acquire_disks(struct board *board, struct gw_error *error)
{
    int r = 0;
    pthread_mutex_lock(&board->io_lock);
    for (unsigned i = 0; r == 0 && i < board->config.disk_count; i++)
        r = block_acquire(board->block[i], error);
    pthread_mutex_unlock(&board->io_lock);
    if (r < 0)
        (void)board_release_disks(board, NULL);
    return r;
}

int board_release_disks(struct board *board, struct gw_error *error)
{
    int first = 0;
    pthread_mutex_lock(&board->io_lock);
    for (unsigned i = 0; i < board->config.disk_count; i++) {
        int r = block_release(board->block[i], first < 0 ? NULL : error);
        if (first == 0)
            first = r;
    }
    pthread_mutex_unlock(&board->io_lock);
    return first;
}

int board_sync_disks(struct board *board, struct gw_error *error)
{
    int r = 0;
    for (unsigned i = 0; r == 0 && i < board->config.disk_count; i++)
        r = block_sync(board->block[i], &board->io_lock, error);
    return r;
}

/* ---- The whole ---- */

static void init_locks(struct board *board)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&board->control_lock, NULL);
    pthread_mutex_init(&board->run_lock, NULL);
    pthread_mutex_init(&board->io_lock, NULL);
    pthread_cond_init(&board->run_changed, NULL);
    pthread_cond_init(&board->timer_changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

static int attach_loop(struct board *board, struct gw_error *error)
{
    board->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (board->wake_fd < 0)
        return refuse_resource("an eventfd", errno, error);
    int r = sd_event_add_io(board->loop, &board->wake_source, board->wake_fd, EPOLLIN,
                            board_loop_woken, board);
    return r < 0 ? refuse_resource("an event source", -r, error) : 0;
}

static int build(struct board *board, bool defer_disks, struct gw_error *error)
{
    board_add_item(board, &board_time_state_type, &board->time);
    int r = attach_loop(board, error);
    if (r == 0)
        r = board->kind->prepare(board, error);
    if (r == 0)
        r = build_memory(board, error);
    if (r == 0)
        r = open_disks(board, defer_disks, error);
    if (r == 0)
        r = board_open_nets(board, defer_disks, error);
    if (r == 0)
        r = board->kind->build(board, error);
    return r;
}

int board_new(const struct board_config *config, sd_event *loop,
              const struct board_callbacks *callbacks, bool defer_disks, struct board **ret_board,
              struct gw_error *error)
{
    const struct machine_kind *kind;
    int r = board_config_check(config, &kind, error);
    if (r < 0)
        return r;
    struct board *board = calloc(1, sizeof *board);
    if (!board || board_config_copy(config, kind, &board->config) < 0) {
        free(board);
        return refuse_resource("a machine", ENOMEM, error);
    }
    board->kind = kind;
    board->loop = sd_event_ref(loop);
    board->callbacks = callbacks ? *callbacks : (struct board_callbacks){0};
    board->wake_fd = -1;
    board->target.instructions = UINT64_MAX;
    clock_init(&board->time.clock, config->clock);
    init_locks(board);
    r = board_settle_nets(&board->config, error);
    if (r == 0)
        r = build(board, defer_disks, error);
    if (r < 0) {
        board_free(board);
        return r;
    }
    *ret_board = board;
    return 0;
}

void board_free(struct board *board)
{
    if (!board)
        return;
    board_stop(board);
    cpus_join_threads(board);
    timer_thread_join(board);
    sd_event_source_disable_unref(board->wake_source);
    if (board->wake_fd >= 0)
        close(board->wake_fd);
    board_close_nets(board);
    board->kind->fini(board);
    board_fini_devices(board);
    for (unsigned i = 0; i < BOARD_MAX_DISKS; i++) {
        if (board->block[i])
            block_detach(board->block[i]);
        block_free(board->block[i]);
    }
    gw_memory_free(board->memory);
    sd_event_unref(board->loop);
    board_config_fini(&board->config);
    free(board);
}
