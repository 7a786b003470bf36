/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "machine.h"

static int device_read(void *opaque, uint64_t address, unsigned size, uint64_t retired,
                       uint64_t *ret_value)
{
    struct machine *machine = opaque;
    if (address - DEVICE >= 4096)
        return -EFAULT;
    machine->reads++;
    machine->retired_at_access = retired;
    *ret_value = machine->device_value;
    return 0;
}

static int device_write(void *opaque, uint64_t address, unsigned size, uint64_t retired,
                        uint64_t value)
{
    struct machine *machine = opaque;
    if (address - DEVICE >= 4096)
        return -EFAULT;
    machine->writes++;
    machine->retired_at_access = retired;
    machine->written_address = address;
    machine->written_value = value;
    if (machine->raise_on_write)
        rv_hart_set_irq(machine->hart, machine->raise_on_write, true);
    if (machine->kick_on_write)
        rv_hart_kick(machine->hart);
    return 0;
}

static uint64_t device_time(void *opaque, uint64_t retired)
{
    return 1000000 + retired;
}

void machine_init(struct machine *machine)
{
    *machine = (struct machine){.memory = gw_memory_new(), .emit_at = CODE};
    assert_non_null(machine->memory);
    assert_int_equal(gw_memory_add_region(machine->memory, "ram", RAM, RAM_BYTES, NULL), 0);
    machine->ram = gw_memory_region(machine->memory, 0);
    machine->tracker = gw_bytemap_tracker_new(machine->memory, NULL, NULL);
    assert_non_null(machine->ram->dirty);
    const struct rv_platform platform = {
        .opaque = machine, .read = device_read, .write = device_write, .time = device_time};
    machine->hart = rv_hart_new(machine->memory, &platform, 7);
    assert_non_null(machine->hart);
    rv_hart_reset(machine->hart, CODE, 0, 0, 0);
    STATE.pmpcfg[0] = 0x1f;
    STATE.pmpaddr[0] = 0x3fffffffffffff;
    STATE.mtvec = HANDLER;
    STATE.stvec = S_HANDLER;
    rv_hart_flush_later(machine->hart);
    emit_at(machine, HANDLER);
    emit(machine, WFI);
    emit_at(machine, S_HANDLER);
    emit(machine, WFI);
    emit_at(machine, CODE);
}

void machine_fini(struct machine *machine)
{
    rv_hart_free(machine->hart);
    gw_bytemap_tracker_free(machine->tracker);
    gw_memory_free(machine->memory);
}

void emit_at(struct machine *machine, uint64_t address)
{
    machine->emit_at = address;
}

void emit(struct machine *machine, uint32_t instruction)
{
    assert_int_equal(gw_memory_write(machine->memory, machine->emit_at, &instruction, 4), 0);
    machine->emit_at += 4;
}

void put64(struct machine *machine, uint64_t address, uint64_t value)
{
    assert_int_equal(gw_memory_write(machine->memory, address, &value, 8), 0);
}

uint64_t get64(struct machine *machine, uint64_t address)
{
    uint64_t value = 0;
    assert_int_equal(gw_memory_read(machine->memory, address, &value, 8), 0);
    return value;
}

enum rv_exit run_exit(struct machine *machine, uint64_t budget)
{
    uint64_t retired;
    return rv_hart_run(machine->hart, budget, &retired);
}

uint64_t run(struct machine *machine, uint64_t budget)
{
    uint64_t retired;
    rv_hart_run(machine->hart, budget, &retired);
    return retired;
}

uint64_t state_hash(struct machine *machine)
{
    struct gw_state_item item = {&rv_hart_state_type, 0, rv_hart_state_object(machine->hart)};
    return gw_state_hash(&item, 1) ^ gw_memory_hash(machine->memory);
}

void paging(struct machine *machine, unsigned mode)
{
    memset(machine->ram->host + (TABLES - RAM), 0, RAM + RAM_BYTES - TABLES);
    STATE.satp = (uint64_t)mode << 60 | TABLES >> 12;
    rv_hart_flush_later(machine->hart);
}

/* Tables below the root: one page each, found by what they map. */
static uint64_t next_table(struct machine *machine, uint64_t entry)
{
    uint64_t pte = get64(machine, entry);
    if (!pte) {
        uint64_t count = get64(machine, RAM + RAM_BYTES - 8) + 1;
        put64(machine, RAM + RAM_BYTES - 8, count);
        pte = (TABLES + count * 4096) >> 12 << 10 | PTE_V;
        put64(machine, entry, pte);
    }
    return pte >> 10 << 12;
}

uint64_t set_page(struct machine *machine, unsigned mode, uint64_t address, uint64_t physical,
                  uint64_t flags, unsigned level)
{
    uint64_t table = TABLES, entry;
    for (unsigned at = mode == 8 ? 2 : 3;; at--) {
        entry = table + (address >> (12 + 9 * at) & 511) * 8;
        if (at == level)
            break;
        table = next_table(machine, entry);
    }
    put64(machine, entry, physical >> 12 << 10 | flags);
    rv_hart_flush_later(machine->hart);
    return entry;
}

void enter(struct machine *machine, unsigned priv, uint64_t pc)
{
    STATE.priv = (uint8_t)priv;
    STATE.pc = pc;
    STATE.waiting = false;
    rv_hart_flush_later(machine->hart);
}
