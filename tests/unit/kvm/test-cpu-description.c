/* SPDX-License-Identifier: Apache-2.0 */
/* CPU models as JSON and in files: what comes back is what was written, anything else is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cpu/kvm/cpu-leaves.h"

static struct cpu_model sample(void)
{
    struct cpu_model raw = {.name = "sample", .tsc_khz = 2400000}, form;

    cpu_model_set(&raw, 0, 0, CPU_EBX, 0x756e6547); /* "GenuineIntel" */
    cpu_model_set(&raw, 0, 0, CPU_EDX, 0x49656e69);
    cpu_model_set(&raw, 0, 0, CPU_ECX, 0x6c65746e);
    cpu_model_set(&raw, 0x80000008, 0, CPU_EAX, 0x3027);
    cpu_model_set(&raw, 1, 0, CPU_EBX, 0x0800);
    cpu_model_put(&raw, cpu_levels[0].abi, true);
    cpu_model_put(&raw, cpu_levels[0].kernel, true);
    cpu_model_put(&raw, "bmi1 arch_capabilities avx512_bf16", true);
    raw.arch_capabilities = UINT64_C(1) << 62 | 0x2b;
    cpu_model_normalize(&raw, &form);
    return form;
}

static void what_is_written_is_read_again(void **state)
{
    struct cpu_model model = sample(), back;
    model.tsc_scaling = true;
    json_t *written = cpu_model_describe(&model);
    struct gw_error error = {0};

    assert_int_equal(0, cpu_model_from_description(written, &back, &error));
    assert_string_equal("sample", back.name);
    assert_int_equal(2400000, back.tsc_khz);
    assert_true(back.tsc_scaling);
    assert_true(back.arch_capabilities == model.arch_capabilities);
    json_t *again = cpu_model_describe(&back);
    assert_true(json_equal(written, again));
    assert_int_equal(0, cpu_model_check(&back, &model, &error));
    json_decref(written);
    json_decref(again);
}

static void what_is_not_a_model_is_refused(void **state)
{
    static const struct {
        const char *json, *said;
    } cases[] = {
        {"[]", "must be a JSON object"},
        {"{}", "\"model\" is missing"},
        {"{'model': 3}", "\"model\" must be"},
        {"{'model': ''}", "\"model\" must be"},
        {"{'model': 'a b'}", "\"model\" must be"},
        {"{'model': '12345678901234567890123456789012'}", "1 to 31 letters"},
        {"{'model': 'm', 'tsc_khz': -1}", "\"tsc_khz\" must be"},
        {"{'model': 'm', 'tsc_khz': 4294967296}", "\"tsc_khz\" must be"},
        {"{'model': 'm', 'tsc_khz': 1.5}", "\"tsc_khz\" must be"},
        {"{'model': 'm', 'tsc_khz': 0}", "\"cpuid\" is missing"},
        {"{'model': 'm', 'tsc_khz': 0, 'cpuid': {}}", "list of 1 to 128"},
        {"{'model': 'm', 'tsc_khz': 0, 'cpuid': []}", "list of 1 to 128"},
        {"{'model': 'm', 'tsc_khz': 0, 'cpuid': [[0,null,0,0,0]]}", "entry 0"},
        {"{'model': 'm', 'tsc_khz': 0, 'cpuid': [[0,null,0,0,0,-1]]}", "entry 0"},
        {"{'model': 'm', 'tsc_khz': 0, 'cpuid': [[0,null,0,0,0,4294967296]]}", "entry 0"},
        {"{'model': 'm', 'tsc_khz': 0, 'cpuid': [[null,null,0,0,0,0]]}", "entry 0"},
        {"{'model': 'm', 'tsc_khz': 0, 'cpuid': [[0,0,'0',0,0,0]]}", "entry 0"},
        {"{'model': 'm', 'tsc_khz': 0, 'cpuid': [[1,null,0,0,0,0],[0,null,0,0,0,0]]}",
         "entry 1 of a CPU model's \"cpuid\", leaf 0x0.0, is out of order or there twice"},
        {"{'model': 'm', 'tsc_khz': 0, 'cpuid': [[7,1,0,0,0,0],[7,1,0,0,0,0]]}", "leaf 0x7.1"},
        {"{'model': 'm', 'tsc_khz': 0, 'cpuid': [[7,null,0,0,0,0],[7,1,0,0,0,0]]}", "leaf 0x7.1"},
        {"{'model': 'm', 'tsc_khz': 0, 'cpuid': [[0,null,0,0,0,0]], 'x': 1}", "has no \"x\""},
        {"{'model': 'm', 'tsc_khz': 0, 'tsc_scaling': 1, 'cpuid': [[0,null,0,0,0,0]]}",
         "\"tsc_scaling\" must be"},
        {"{'model': 'm', 'tsc_khz': 0, 'arch_capabilities': -1, 'cpuid': [[0,null,0,0,0,0]]}",
         "\"arch_capabilities\" must be"},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char text[512];
        struct cpu_model model;
        struct gw_error error = {0};

        snprintf(text, sizeof text, "%s", cases[i].json);
        for (char *c = text; *c; c++)
            *c = *c == '\'' ? '"' : *c;
        json_t *json = json_loads(text, 0, NULL);
        assert_non_null(json);
        assert_int_equal(-EINVAL, cpu_model_from_description(json, &model, &error));
        if (!strstr(error.message, cases[i].said))
            fail_msg("%s: '%s' does not say '%s'", text, error.message, cases[i].said);
        json_decref(json);
    }
}

static void more_leaves_than_a_model_has_are_refused(void **state)
{
    json_t *leaves = json_array(), *json;
    struct gw_error error = {0};
    struct cpu_model model;

    for (int i = 0; i <= CPU_MODEL_MAX_LEAVES; i++)
        json_array_append_new(leaves, json_pack("[i, n, i, i, i, i]", i, 1, 1, 1, 1));
    json = json_pack("{s:s, s:i, s:o}", "model", "m", "tsc_khz", 0, "cpuid", leaves);
    assert_int_equal(-EINVAL, cpu_model_from_description(json, &model, &error));
    json_array_remove(leaves, CPU_MODEL_MAX_LEAVES);
    assert_int_equal(0, cpu_model_from_description(json, &model, &error));
    json_decref(json);
}

/* ---- Files ---- */

/* A file with this text, for one test at a time; its path. */
static const char *file_with(const char *text)
{
    static char path[64];
    FILE *file;

    snprintf(path, sizeof path, "/tmp/test-cpu-model-%d.json", (int)getpid());
    file = fopen(path, "we");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    return path;
}

static void expect_unreadable(const char *path, const char *said)
{
    struct gw_error error = {0};
    struct cpu_model model;

    assert_true(cpu_model_read(path, &model, &error) < 0);
    if (!strstr(error.message, said))
        fail_msg("'%s' does not say '%s'", error.message, said);
    assert_non_null(strstr(error.message, path));
    assert_null(strchr(error.message, '\n'));
}

static void a_saved_model_can_be_run(void **state)
{
    struct cpu_model model = sample(), taken, host = model;
    json_t *plain = cpu_model_describe(&model);
    json_t *report = json_pack("{s:O, s:s}", "host_model", plain, "more", "of it");
    json_t *forms[] = {plain, report};
    struct gw_error error = {0};

    for (unsigned i = 0; i < 2; i++) {
        _cleanup_free_ char *text = json_dumps(forms[i], 0);
        const char *path = file_with(text);

        host = model;
        assert_int_equal(0, cpu_model_from_text(path, &host, &taken, &error));
        assert_string_equal("sample", taken.name);
        cpu_model_put(&host, "bmi1", false);
        assert_int_equal(-EOPNOTSUPP, cpu_model_from_text(path, &host, &taken, &error));
        assert_non_null(strstr(error.message, "it lacks bmi1"));
    }
    unlink(file_with(""));
    json_decref(plain);
    json_decref(report);
}

static void a_name_without_a_path_is_no_file(void **state)
{
    struct cpu_model host = sample(), model;
    struct gw_error error = {0};

    assert_int_equal(0, cpu_model_from_text("x86-64", &host, &model, &error));
    assert_string_equal("x86-64", model.name);
    assert_int_equal(-EINVAL, cpu_model_from_text("missing", &host, &model, &error));
    assert_int_equal(-ENOENT, cpu_model_from_text("missing.json", &host, &model, &error));
    assert_int_equal(-ENOENT, cpu_model_from_text("./missing", &host, &model, &error));
}

static void files_that_are_no_model_are_refused(void **state)
{
    expect_unreadable("/no/such/model.json", "No such file");
    expect_unreadable("/tmp", "Is a directory");
    expect_unreadable("/dev/zero", "too long for a CPU model");
    expect_unreadable(file_with("{]"), "is not JSON");
    expect_unreadable(file_with("{\"a\": 1, \"a\": 2}"), "is not JSON");
    expect_unreadable(file_with("{}"), "\"model\" is missing");
    expect_unreadable(file_with("{\"host_model\": {}}"), "\"model\" is missing");
    unlink(file_with(""));
}

#define TEST(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_written_is_read_again),
        TEST(what_is_not_a_model_is_refused),
        TEST(more_leaves_than_a_model_has_are_refused),
        TEST(a_saved_model_can_be_run),
        TEST(a_name_without_a_path_is_no_file),
        TEST(files_that_are_no_model_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
