/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A CPU model that a peer or a file sends: refused with a sentence, or read, written and read again
 * as the same; and whatever it holds, its one form is one, and can be asked and compared.
 */
#include <stdlib.h>

#include "cpu/kvm/cpu-leaves.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void work_with(const struct cpu_model *model)
{
    struct cpu_model form, hosts[2], common;
    struct gw_error error = {0};

    cpu_model_normalize(model, &form);
    check(cpu_model_check(&form, &form, &error) == 0);
    if (cpu_model_check(model, &form, &error) < 0)
        check(error.message[0] != 0);
    for (unsigned level = 1; level <= CPU_LEVELS; level++)
        if (cpu_model_by_name(cpu_level_name(level), model, &hosts[0], &error) == 0)
            check(cpu_model_check(&hosts[0], &form, &error) == 0);
    hosts[0] = *model;
    hosts[1] = form;
    check(cpu_model_common(hosts, 2, &common, &error) == 0);
    check(cpu_model_check(&common, &form, &error) == 0);
    free(cpu_model_features(model));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    json_t *json =
        json_loadb((const char *)data, length, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    struct gw_error error = {0};
    struct cpu_model model, back;

    if (!json)
        return 0;
    if (cpu_model_from_description(json, &model, &error) < 0) {
        check(error.message[0] != 0);
    } else {
        json_t *written = cpu_model_describe(&model);

        check(written && cpu_model_from_description(written, &back, NULL) == 0);
        json_t *again = cpu_model_describe(&back);
        check(json_equal(written, again));
        json_decref(written);
        json_decref(again);
        work_with(&model);
    }
    json_decref(json);
    return 0;
}
