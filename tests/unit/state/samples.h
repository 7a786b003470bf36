/* SPDX-License-Identifier: Apache-2.0 */
/* Structs that use every mark, for the tests of the state layer. */
#ifndef TEST_STATE_SAMPLES_H
#define TEST_STATE_SAMPLES_H

#include <stdatomic.h>

#include <godwit/state.h>

enum sample_mode { SAMPLE_OFF, SAMPLE_SLOW, SAMPLE_FAST };

#define SAMPLE_QUEUE_SIZE 8

struct sample_entry {
    GW_SAVED(1) uint64_t address;
    GW_SAVED(1) GW_MAX(4096) uint32_t length;
    GW_HOST void *mapping;
} GW_PART;

struct sample_queue {
    GW_SAVED(1) GW_MASK(0x8001) uint16_t flags;
    GW_SAVED(1) uint8_t in_use;
    GW_SAVED(1) GW_COUNT(in_use) struct sample_entry entries[SAMPLE_QUEUE_SIZE];
    GW_SAVED(2) GW_MIN(-3) GW_MAX(3) int8_t balance;
    GW_DERIVED(sample_queue_loaded) unsigned total;
} GW_PART;

/* Every kind of field and mark. */
struct sample {
    GW_SAVED(1) uint8_t u8;
    GW_SAVED(1) uint16_t u16;
    GW_SAVED(1) uint32_t u32;
    GW_SAVED(1) uint64_t u64;
    GW_SAVED(1) int8_t s8;
    GW_SAVED(1) int16_t s16;
    GW_SAVED(1) int32_t s32;
    GW_SAVED(1) int64_t s64;
    GW_SAVED(1) bool flag;
    GW_SAVED(1) enum sample_mode mode;
    GW_SAVED(1) _Atomic uint32_t counter;
    GW_SAVED(1) atomic_bool pending;
    GW_SAVED(1) char serial[20];
    GW_SAVED(1) GW_MAX(1000) uint16_t levels[4];
    GW_SAVED(1) GW_MIN(2) GW_MAX(9) uint32_t ranged;
    GW_SAVED(1) uint16_t fifo_count;
    GW_SAVED(1) GW_COUNT(fifo_count) uint8_t fifo[16];
    GW_SAVED(1) struct sample_queue queues[3];
    GW_SAVED(1) uint32_t log_length;
    GW_SAVED(1) GW_ARRAY(log_length, 32) struct sample_entry *log;
    GW_SAVED(1) GW_SAVING(sample_saving) uint64_t now_ns;
    GW_HOST uint64_t clock_ns;
    GW_DERIVED(sample_loaded) unsigned times_loaded;
    GW_DERIVED(sample_count_totals) unsigned total_seen; /* of all queues */
    GW_SAVED(1) bool refuse;                             /* makes sample_loaded() refuse */
    GW_SAVED(2) uint32_t added_in_2;
    GW_SAVED(1) GW_SUBSECTION("line-break") GW_MIN(5) uint32_t break_length;
    GW_SAVED(1) GW_SUBSECTION("line-break") bool breaking;
    GW_SAVED(2) GW_SUBSECTION("tuning") uint8_t tuning[3];
    GW_SAVED(1) GW_SUBSECTION("waiting") uint32_t waiting_count;
    GW_SAVED(1) GW_SUBSECTION("waiting") GW_ARRAY(waiting_count, 6) struct sample_entry *waiting;
} GW_DEVICE("sample", 2, 1);

int sample_queue_loaded(struct sample_queue *queue, struct gw_error *error);
int sample_count_totals(struct sample *sample, struct gw_error *error);
int sample_loaded(struct sample *sample, struct gw_error *error);
void sample_saving(struct sample *sample);
bool sample_line_break_needed(const struct sample *sample);
bool sample_tuning_needed(const struct sample *sample);
bool sample_waiting_needed(const struct sample *sample);
void sample_settle(void *sample); /* a random one will not refuse */
void sample_fini(struct sample *sample);
extern const struct gw_state_type sample_state_type;

#endif
