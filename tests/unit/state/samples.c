/* SPDX-License-Identifier: Apache-2.0 */
#include "samples.h"

#include <errno.h>
#include <stdlib.h>

int sample_queue_loaded(struct sample_queue *queue, struct gw_error *error)
{
    queue->total = 0;
    for (unsigned i = 0; i < queue->in_use; i++)
        queue->total += queue->entries[i].length;
    return 0;
}

/* The one combination that ranges cannot forbid. */
int sample_loaded(struct sample *sample, struct gw_error *error)
{
    if (sample->mode == SAMPLE_OFF && sample->ranged == 9 && sample->u8 == 0xfe)
        return gw_error_set(error, GW_LAYER_DEVICE, GW_CODE_CORRUPT, -EBADMSG,
                            "it is off and runs at level 9");
    sample->times_loaded++;
    return 0;
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

void sample_fini(struct sample *sample)
{
    free(sample->log);
    sample->log = NULL;
}
