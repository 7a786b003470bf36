/* SPDX-License-Identifier: Apache-2.0 */
#include "../patience.h"
#include "board-test.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

struct board_config bare_config(const char *program)
{
    static char path[PATH_MAX]; /* the programs are where the test is */
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    assert_in_range(length, 1, sizeof path - 2);
    path[length] = 0;
    char *end = strrchr(path, '/') + 1;
    snprintf(end, sizeof path - (size_t)(end - path), "%s.elf", program);
    return (struct board_config){.memory_bytes = 16 * MIB, .cpus = 1, .firmware = path};
}

static void got_event(void *opaque, enum board_event event, const char *failure)
{
    struct machine *machine = opaque;
    machine->events[event]++;
    machine->success = !failure;
}

static void got_output(void *opaque, const uint8_t *bytes, size_t length)
{
    struct machine *machine = opaque;
    for (size_t i = 0; i < length && machine->printed_length < sizeof machine->printed - 1; i++)
        machine->printed[machine->printed_length++] = (char)bytes[i];
}

static void got_room(void *opaque)
{
    ((struct machine *)opaque)->rooms++;
}

void machine_new(struct machine *machine, const struct board_config *config)
{
    struct board_callbacks callbacks = {.opaque = machine,
                                        .event = got_event,
                                        .serial_output = got_output,
                                        .serial_room = got_room};
    struct gw_error error = {0};
    memset(machine, 0, sizeof *machine);
    assert_int_equal(sd_event_new(&machine->loop), 0);
    if (board_new(config, machine->loop, &callbacks, false, &machine->board, &error) < 0)
        fail_msg("%s", error.message);
}

void machine_boot(struct machine *machine, const char *program)
{
    struct board_config config = bare_config(program);
    struct gw_error error = {0};
    machine_new(machine, &config);
    if (board_boot(machine->board, &error) < 0)
        fail_msg("%s", error.message);
}

void machine_free(struct machine *machine)
{
    board_free(machine->board);
    sd_event_unref(machine->loop);
}

void machine_start(struct machine *machine)
{
    struct gw_error error = {0};
    if (board_start(machine->board, &error) < 0)
        fail_msg("%s", error.message);
}

static void turn(struct machine *machine, uint64_t deadline_ns)
{
    if (host_monotonic_ns() > deadline_ns)
        fail_msg("nothing happens any more");
    sd_event_run(machine->loop, 1000);
}

void machine_wait(struct machine *machine, enum board_event event, unsigned count)
{
    uint64_t deadline_ns = patience_end_ns();
    while (machine->events[event] < count)
        turn(machine, deadline_ns);
}

void machine_wait_printed(struct machine *machine, size_t length)
{
    uint64_t deadline_ns = patience_end_ns();
    while (machine->printed_length < length)
        turn(machine, deadline_ns);
}

static void reached(void *opaque, uint64_t instructions)
{
    ((struct machine *)opaque)->reached = instructions;
}

bool machine_run_to(struct machine *machine, uint64_t instructions)
{
    uint64_t deadline_ns = patience_end_ns();
    unsigned ends = machine->events[BOARD_EVENT_SHUTDOWN];
    machine->reached = UINT64_MAX;
    assert_int_equal(board_run_until(machine->board, instructions, reached, machine, NULL), 0);
    machine_start(machine);
    while (machine->reached == UINT64_MAX && machine->events[BOARD_EVENT_SHUTDOWN] == ends)
        turn(machine, deadline_ns);
    return machine->reached != UINT64_MAX;
}

void machine_move(struct machine *from, struct machine *ret_to)
{
    struct gw_buf state = {0};
    struct gw_error error = {0};
    struct board_config config;
    json_t *description = board_describe(from->board);
    assert_int_equal(board_config_from_description(description, &config, &error), 0);
    json_decref(description);
    machine_new(ret_to, &config);
    board_config_fini(&config);
    struct gw_memory *source = board_memory(from->board), *target = board_memory(ret_to->board);
    assert_int_equal(gw_memory_region_count(source), gw_memory_region_count(target));
    for (unsigned i = 0; i < gw_memory_region_count(source); i++)
        memcpy(gw_memory_region(target, i)->host, gw_memory_region(source, i)->host,
               gw_memory_region(source, i)->bytes);
    if (board_save(from->board, &state, &error) < 0 ||
        board_load(ret_to->board, state.data, state.length, &error) < 0)
        fail_msg("%s", error.message);
    gw_buf_fini(&state);
}

uint64_t guest_word(struct machine *machine, uint64_t address)
{
    uint64_t word;
    assert_int_equal(gw_memory_read(board_memory(machine->board), address, &word, sizeof word), 0);
    return word;
}
