/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/cpu-report.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cpu/kvm/kvm.h"
#include "vmm/json-text.h"
#include "vmm/machine.h"

#define MAX_HOSTS 64

/* ---- Pieces ---- */

/* "a b c" as ["a", "b", "c"]; takes `list` over, NULL gives null. */
static json_t *words(char *list)
{
    json_t *array = list ? json_array() : NULL;
    char *rest = list;

    for (char *word; rest && (word = strsep(&rest, " "));)
        if (*word)
            json_array_append_new(array, json_string(word));
    free(list);
    return array ? array : json_null();
}

/* The words of one list that another does not have. */
static json_t *words_beyond(json_t *all, const json_t *known)
{
    json_t *rest = json_array(), *word, *other;
    size_t i, k;

    json_array_foreach(all, i, word)
    {
        bool found = false;

        json_array_foreach((json_t *)known, k, other) found |= json_equal(word, other);
        if (!found)
            json_array_append(rest, word);
    }
    return rest;
}

static json_t *processor(const struct cpu_model *model)
{
    struct cpu_signature signature = cpu_model_signature(model);
    char vendor[13], brand[49];

    cpu_model_vendor(model, vendor);
    cpu_model_brand(model, brand);
    return json_pack("{s:s, s:s, s:i, s:i, s:i}", "vendor", vendor, "brand", brand, "family",
                     (int)signature.family, "model", (int)signature.model, "stepping",
                     (int)signature.stepping);
}

static json_t *level(const struct cpu_model *model)
{
    const char *name = cpu_level_name(cpu_model_level(model));

    return name ? json_string(name) : json_null();
}

/* What a model says about itself, in the members that all answers share. */
static json_t *summary(const struct cpu_model *model)
{
    return json_pack("{s:o, s:o, s:I, s:b, s:i, s:o}", "processor", processor(model), "level",
                     level(model), "tsc_khz", (json_int_t)model->tsc_khz, "tsc_scaling",
                     model->tsc_scaling, "address_bits", (int)cpu_model_address_bits(model),
                     "features", words(cpu_model_features(model)));
}

/* ---- This host ---- */

#ifdef GW_HAVE_KVM
static json_t *named_models(const struct cpu_model *supported)
{
    json_t *all = json_array();

    for (unsigned i = 1; i <= CPU_LEVELS; i++) {
        struct gw_error error;
        struct cpu_model model;
        bool given = cpu_model_by_name(cpu_level_name(i), supported, &model, &error) == 0;

        json_array_append_new(all, json_pack("{s:s, s:b, s:o, s:o}", "name", cpu_level_name(i),
                                             "given", given, "lacks",
                                             words(cpu_model_lacks(supported, i)), "sentence",
                                             given ? json_null() : json_text(error.message)));
    }
    return all;
}

static json_t *kind(struct kvm_host *host)
{
    struct gw_error error;
    struct kvm_kind kind;

    if (kvm_host_kind(host, &kind, &error) < 0)
        return json_pack("{s:b, s:o}", "usable", 0, "reason", json_text(error.message));
    return json_pack("{s:b, s:n, s:o, s:b, s:o}", "usable", 1, "reason", "module",
                     json_text(kind.name), "runs_kernels", kind.runs_kernels, "obstacle",
                     json_text(kind.obstacle[0] ? kind.obstacle : NULL));
}

/* What guests of the smallest model see besides it: nothing where KVM does as it is told. */
static json_t *added(struct kvm_host *host, const struct cpu_model *supported)
{
    struct cpu_model least, more;

    if (cpu_model_by_name(cpu_level_name(1), supported, &least, NULL) < 0 ||
        cpu_model_added_by_host(host, &least, &more, NULL) < 0)
        return json_array();
    return words(cpu_model_features(&more));
}

/* What KVM can give; or why it can give nothing. */
static json_t *gifts(const char *device)
{
    struct kvm_host *host = NULL;
    struct cpu_model model;
    struct gw_error error;
    json_t *answer;

    if (kvm_host_open(device, &host, &error) < 0 || cpu_model_of_host(host, &model, &error) < 0) {
        kvm_host_close(host);
        return json_pack("{s:{s:b, s:o}}", "kvm", "usable", 0, "reason", json_text(error.message));
    }
    answer = summary(&model);
    json_object_set_new(answer, "kvm", kind(host));
    json_object_set_new(answer, "named", named_models(&model));
    json_object_set_new(answer, "added", added(host, &model));
    json_object_set_new(answer, "host_model", cpu_model_describe(&model));
    kvm_host_close(host);
    return answer;
}

static int report(const char *device, json_t **ret_answer, struct gw_error *error)
{
    struct cpu_model own;

    cpu_model_of_processor(&own);
    *ret_answer = gifts(device);
    json_object_set_new(*ret_answer, "processor", processor(&own));
    json_object_set_new(*ret_answer, "processor_level", level(&own));
    return 0;
}
#else
static int report(const char *device, json_t **ret_answer, struct gw_error *error)
{
    *ret_answer = json_pack("{s:{s:b, s:s}}", "kvm", "usable", 0, "reason",
                            "this godwit was built without KVM, which it uses on x86-64 only");
    return 0;
}
#endif

static int answer_report(int count, char **arguments, json_t **ret_answer, struct gw_error *error)
{
    return report(count ? arguments[0] : NULL, ret_answer, error);
}

/* ---- Several hosts ---- */

static json_t *host_row(const char *path, const struct cpu_model *host, const json_t *common)
{
    json_t *row = summary(host);
    json_t *beyond = words_beyond(json_object_get(row, "features"), common);

    json_object_set_new(row, "file", json_text(path));
    json_object_set_new(row, "beyond", beyond);
    json_object_del(row, "features");
    return row;
}

static int answer_common(int count, char **files, json_t **ret_answer, struct gw_error *error)
{
    _cleanup_free_ struct cpu_model *hosts = calloc((size_t)count + 1, sizeof *hosts);
    struct cpu_model model;
    json_t *answer, *rows;
    int r = 0;

    if (!hosts)
        return gw_error_set(error, GW_LAYER_VMM, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    for (int i = 0; i < count && r == 0; i++)
        r = cpu_model_read(files[i], &hosts[i], error);
    if (r == 0)
        r = cpu_model_common(hosts, (unsigned)count, &model, error);
    if (r < 0)
        return r;
    answer = summary(&model);
    rows = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(rows,
                              host_row(files[i], &hosts[i], json_object_get(answer, "features")));
    json_object_set_new(answer, "hosts", rows);
    json_object_set_new(answer, "model", cpu_model_describe(&model));
    *ret_answer = answer;
    return 0;
}

/* ---- Check ---- */

#ifdef GW_HAVE_KVM
static int answer_check(int count, char **arguments, json_t **ret_answer, struct gw_error *error)
{
    struct kvm_host *host = NULL;
    struct cpu_model supported, model;
    int r = kvm_host_open(count > 1 ? arguments[1] : NULL, &host, error);

    if (r == 0)
        r = cpu_model_of_host(host, &supported, error);
    if (r == 0)
        r = cpu_model_from_text(arguments[0], &supported, &model, error);
    kvm_host_close(host);
    if (r < 0)
        return r;
    *ret_answer = summary(&model);
    json_object_set_new(*ret_answer, "name", json_text(model.name));
    return 0;
}
#else
static int answer_check(int count, char **arguments, json_t **ret_answer, struct gw_error *error)
{
    return gw_error_set(error, GW_LAYER_VMM, GW_CODE_UNSUPPORTED, -EOPNOTSUPP,
                        "this godwit was built without KVM, which it uses on x86-64 only");
}
#endif

/* ---- The questions ---- */

static const struct question {
    const char *option;
    int least, most; /* arguments */
    int (*answer)(int count, char **arguments, json_t **ret_answer, struct gw_error *error);
} questions[] = {
    {"--cpu-report", 0, 1, answer_report},
    {"--cpu-common", 1, MAX_HOSTS, answer_common},
    {"--cpu-check", 1, 2, answer_check},
};

static const struct question *find_question(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < ARRAY_COUNT(questions); i++)
        if (strcmp(argv[1], questions[i].option) == 0)
            return &questions[i];
    return NULL;
}

bool cpu_report_asked(int argc, char **argv)
{
    return find_question(argc, argv);
}

int cpu_report_answer(int argc, char **argv)
{
    const struct question *question = find_question(argc, argv);
    struct gw_error error = {.layer = GW_LAYER_VMM, .code = GW_CODE_INTERNAL};
    json_t *answer = NULL;
    int r;

    if (argc - 2 < question->least || argc - 2 > question->most)
        r = gw_error_set(&error, GW_LAYER_VMM, GW_CODE_INVALID, -EINVAL,
                         "%s takes %d to %d arguments", question->option, question->least,
                         question->most);
    else
        r = question->answer(argc - 2, argv + 2, &answer, &error);
    if (r < 0)
        answer = json_pack("{s:{s:s, s:s, s:o}}", "error", "layer", gw_layer_name(error.layer),
                           "code", gw_code_name(error.code), "sentence", json_text(error.message));
    if (json_dumpf(answer, stdout, JSON_COMPACT) < 0 || putchar('\n') < 0 || fflush(stdout) != 0)
        r = -EIO;
    json_decref(answer);
    return r < 0 ? EXIT_STATUS_FAILED : EXIT_STATUS_DONE;
}
