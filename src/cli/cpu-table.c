/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cpu-table.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"

enum { LABEL_WIDTH = 16 };

/* ---- Text in columns ---- */

#define row(label, indent, ...) cli_item(2, indent, label, __VA_ARGS__)

static void heading(const char *text)
{
    cli_print("%s", "");
    cli_print("%s", text);
}

/* ["a", "b"] as "a b", with `between` for the space; "" for anything else. The caller frees it. */
static char *join(const json_t *words, const char *between)
{
    size_t size = 1, i;
    json_t *word;
    json_array_foreach((json_t *)words, i, word) size +=
        (json_string_value(word) ? json_string_length(word) : 1) + strlen(between);
    char *text = calloc(1, size), *end = text;
    if (!text)
        return NULL;
    json_array_foreach((json_t *)words, i, word)
    {
        if (end != text)
            end = stpcpy(end, between);
        end = stpcpy(end, json_string_value(word) ?: "?");
    }
    return text;
}

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key)) ?: "";
}

static json_int_t number_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static bool is_set(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

/* ---- Rows that several tables have ---- */

static void print_processor(const json_t *answer)
{
    const json_t *processor = json_object_get(answer, "processor");
    if (processor)
        row("processor", LABEL_WIDTH, "%s%s%s, family %lld, model %lld, stepping %lld",
            text_of(processor, "brand"), *text_of(processor, "brand") ? ": " : "",
            text_of(processor, "vendor"), (long long)number_of(processor, "family"),
            (long long)number_of(processor, "model"), (long long)number_of(processor, "stepping"));
}

static void print_tsc(const json_t *answer, const char *remark)
{
    double mhz = (double)number_of(answer, "tsc_khz") / 1000;
    if (mhz > 0)
        row("TSC", LABEL_WIDTH, "%.3f MHz%s", mhz, remark);
    else
        row("TSC", LABEL_WIDTH, "as the host's");
}

static const char *level_of(const json_t *object, const char *key)
{
    const char *level = text_of(object, key);
    return *level ? level : "less than x86-64";
}

static void print_features_count(const json_t *answer)
{
    row("features", LABEL_WIDTH, "%zu, and %lld-bit physical addresses",
        json_array_size(json_object_get(answer, "features")),
        (long long)number_of(answer, "address_bits"));
}

static void print_level(const json_t *answer)
{
    row("level", LABEL_WIDTH, "%s", level_of(answer, "level"));
    print_features_count(answer);
}

/* What the processor has, and what KVM makes of it. */
static void print_levels(const json_t *answer)
{
    const char *own = level_of(answer, "processor_level"), *given = level_of(answer, "level");
    if (!json_object_get(answer, "named"))
        row("level", LABEL_WIDTH, "%s", own);
    else if (strcmp(own, given) == 0)
        row("level", LABEL_WIDTH, "%s, to guests as well", own);
    else
        row("level", LABEL_WIDTH, "%s; to guests KVM gives %s of it", own, given);
}

void cpu_table_features(const json_t *answer)
{
    _cleanup_free_ char *features = join(json_object_get(answer, "features"), " ");
    row("features", LABEL_WIDTH, "%s", features ?: "");
}

/* ---- This host ---- */

static void print_kvm(const json_t *kvm)
{
    if (!is_set(kvm, "usable"))
        row("KVM", LABEL_WIDTH, "no: %s", text_of(kvm, "reason"));
    else if (is_set(kvm, "runs_kernels"))
        row("KVM", LABEL_WIDTH, "%s: stock kernels run", text_of(kvm, "module"));
    else
        row("KVM", LABEL_WIDTH, "%s: bare programs run, stock kernels do not: %s",
            text_of(kvm, "module"), text_of(kvm, "obstacle"));
}

static void print_named(const json_t *named)
{
    json_t *level;
    size_t i;
    json_array_foreach((json_t *)named, i, level)
    {
        _cleanup_free_ char *lacks = join(json_object_get(level, "lacks"), ", ");
        if (is_set(level, "given"))
            row(text_of(level, "name"), LABEL_WIDTH, "yes");
        else if (json_array_size(json_object_get(level, "lacks")) == 0)
            row(text_of(level, "name"), LABEL_WIDTH, "no: %s", text_of(level, "sentence"));
        else
            row(text_of(level, "name"), LABEL_WIDTH, "no, lacks %s", lacks ?: "");
    }
}

void cpu_table_report(const json_t *answer)
{
    const json_t *kvm = json_object_get(answer, "kvm"), *named = json_object_get(answer, "named");
    cli_print("%s", "This host");
    print_processor(answer);
    if (json_object_get(answer, "processor_level"))
        print_levels(answer);
    print_kvm(kvm);
    if (named) {
        print_features_count(answer);
        print_tsc(answer, is_set(answer, "tsc_scaling")
                              ? ", scalable to that of another host"
                              : ", fixed: guests move between hosts with the same");
        heading("CPU models for 'godwit run --cpu'");
        row("host", LABEL_WIDTH, "yes: all that this host's KVM can give");
        print_named(named);
        if (json_array_size(json_object_get(answer, "added")) > 0)
            row("note", LABEL_WIDTH,
                "this KVM cannot hide what the processor has: a guest of x86-64 sees %zu "
                "features more",
                json_array_size(json_object_get(answer, "added")));
    }
    heading("Machines");
    row("microvm-1", LABEL_WIDTH, "%s",
        !is_set(kvm, "usable")         ? "no: it needs KVM"
        : is_set(kvm, "runs_kernels") ? "yes: KVM on x86-64"
                                      : "bare programs only: this KVM runs no kernels");
    row("riscv-virt-1", LABEL_WIDTH, "yes: a RISC-V CPU in software, which runs anywhere");
}

/* ---- Several hosts ---- */

static void print_hosts(const json_t *hosts)
{
    json_t *host;
    size_t i;
    cli_print("%s", "Hosts");
    json_array_foreach((json_t *)hosts, i, host)
    {
        const json_t *processor = json_object_get(host, "processor");
        _cleanup_free_ char *beyond = join(json_object_get(host, "beyond"), " ");
        row(text_of(host, "file"), LABEL_WIDTH, "%s", "");
        row("", 4, "%s, %s, TSC %.3f MHz%s", text_of(processor, "brand"), level_of(host, "level"),
            (double)number_of(host, "tsc_khz") / 1000,
            is_set(host, "tsc_scaling") ? ", scalable" : "");
        if (beyond && *beyond)
            row("", 4, "not used: %s", beyond);
    }
}

void cpu_table_common(const json_t *answer)
{
    print_hosts(json_object_get(answer, "hosts"));
    heading("The largest CPU model that all of them can give");
    print_processor(answer);
    print_tsc(answer, "");
    print_level(answer);
    heading("With --json it is printed for a file, which 'godwit run --cpu FILE.json' takes.");
}

void cpu_table_check(const json_t *answer)
{
    cli_print("This host can give the CPU model '%s'.", text_of(answer, "name"));
    print_processor(answer);
    print_tsc(answer, "");
    print_level(answer);
}
