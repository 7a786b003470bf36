/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The instruction clock: guest time is 10 ns for each retired instruction plus the idle time that
 * was skipped. The hart's budgets end exactly where the next timer is due and where
 * board_run_until() wants to stop, and the clock is brought up to date before each device access,
 * so nothing depends on how a run is cut.
 */
#include "board/riscv-machine.h"

/* Only a kick ends a run that nothing else limits. */
#define UNLIMITED (UINT64_C(1) << 40)

/* Device access of the running hart, or work of the loop: the hart comes back for a new budget. */
static void deadline_changed(void *opaque, uint64_t deadline_ns)
{
    struct riscv_hart *hart = opaque;
    if (hart->in_run)
        rv_hart_kick(hart->cpu);
    else
        hart_wake(hart);
}

void instruction_clock_attach(struct board *board)
{
    clock_set_notify(&board->time.clock, deadline_changed, &riscv_virt_of(board)->hart[0]);
}

uint64_t instruction_clock_budget(struct riscv_hart *hart)
{
    struct board *board = hart->board;
    const struct clock *clock = &board->time.clock;
    uint64_t deadline_ns = clock_deadline_ns(clock);
    uint64_t budget = UNLIMITED;
    if (deadline_ns != CLOCK_NEVER) {
        uint64_t wait_ns = deadline_ns - clock_now_ns(clock);
        uint64_t until = wait_ns / INSTRUCTION_NS + (wait_ns % INSTRUCTION_NS != 0);
        budget = until < budget ? until : budget;
    }
    uint64_t left = atomic_load(&board->target.instructions) - rv_hart_instructions(hart->cpu);
    return left < budget ? left : budget;
}

void instruction_clock_account(struct riscv_hart *hart, uint64_t retired)
{
    clock_advance_ns(&hart->board->time.clock, (retired - hart->accounted) * INSTRUCTION_NS);
    hart->accounted = retired;
}

uint64_t instruction_clock_now_ns(const struct riscv_hart *hart, uint64_t retired)
{
    return clock_now_ns(&hart->board->time.clock) + (retired - hart->accounted) * INSTRUCTION_NS;
}
