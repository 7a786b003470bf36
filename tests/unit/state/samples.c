/* SPDX-License-Identifier: Apache-2.0 */
#include "samples.h"
#include "grow-3.h"

#include <errno.h>
#include <stdlib.h>

int sample_queue_loaded(struct sample_queue *queue, struct gw_error *error)
{
    queue->total = 0;
    for (unsigned i = 0; i < queue->in_use; i++)
        queue->total += queue->entries[i].length;
    return 0;
}

int sample_loaded(struct sample *sample, struct gw_error *error)
{
    if (sample->refuse)
        return gw_error_set(error, GW_LAYER_DEVICE, GW_CODE_CORRUPT, -EDOM,
                            "it was told to refuse");
    sample->times_loaded++;
    return 0;
}

int sample_count_totals(struct sample *sample, struct gw_error *error)
{
    sample->total_seen = 0;
    for (unsigned i = 0; i < 3; i++)
        sample->total_seen += sample->queues[i].total;
    return 0;
}

void sample_settle(void *sample)
{
    ((struct sample *)sample)->refuse = false;
}

void sample_saving(struct sample *sample)
{
    if (sample->clock_ns)
        sample->now_ns = sample->clock_ns;
}

bool sample_line_break_needed(const struct sample *sample)
{
    return sample->breaking;
}

bool sample_tuning_needed(const struct sample *sample)
{
    return sample->tuning[0] || sample->tuning[1] || sample->tuning[2];
}

bool sample_waiting_needed(const struct sample *sample)
{
    return sample->waiting_count > 0;
}

void sample_fini(struct sample *sample)
{
    free(sample->log);
    free(sample->waiting);
    sample->log = sample->waiting = NULL;
}

bool grow_3_rare_needed(const struct grow_3 *grow)
{
    return grow->on;
}

bool grow_3_odd_needed(const struct grow_3 *grow)
{
    return grow->odd[0] || grow->odd[1] || grow->odd[2];
}
