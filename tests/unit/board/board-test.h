/* SPDX-License-Identifier: Apache-2.0 */
/* A board under test: a bare program on its own event loop, what it printed, how it ended. */
#ifndef BOARD_TEST_H
#define BOARD_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "board/board.h"

#define MIB ((uint64_t)1 << 20)
#define NOTES 0x80100000u /* as in bare/machine.inc */
#define COUNTERS 0x80200000u

struct machine {
    sd_event *loop;
    struct board *board;
    char printed[4096]; /* complete once the machine stands still */
    _Atomic size_t printed_length;
    _Atomic unsigned events[3]; /* by enum board_event */
    bool success;               /* of the last event */
    _Atomic unsigned rooms;
    uint64_t reached; /* where board_run_until() stopped last */
};

/* A config for bare/NAME.S with 16 MiB and one CPU. */
struct board_config bare_config(const char *program);

void machine_new(struct machine *machine, const struct board_config *config);
void machine_boot(struct machine *machine, const char *program); /* new and booted, host clock */
void machine_free(struct machine *machine);
void machine_start(struct machine *machine);

/* Turns the loop until `count` events of this kind have come; fails after twenty seconds. */
void machine_wait(struct machine *machine, enum board_event event, unsigned count);
void machine_wait_printed(struct machine *machine, size_t length);
/* Instruction clock: runs to exactly `instructions`. False if the guest powered off before. */
bool machine_run_to(struct machine *machine, uint64_t instructions);

/* A second machine from the first one's description, memory and state, as a migration would make
 * it. */
void machine_move(struct machine *from, struct machine *ret_to);

uint64_t guest_word(struct machine *machine, uint64_t address);

#endif
