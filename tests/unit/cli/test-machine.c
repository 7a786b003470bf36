/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/words.h"
#include "cli/machine.h"

static char run_dir[] = "/tmp/godwit-cli-XXXXXX";
static struct cli cli = {.run_dir = run_dir, .program = "godwit"};

static int make_run_dir(void **state)
{
    return mkdtemp(run_dir) ? 0 : -1;
}

static int remove_run_dir(void **state)
{
    return rmdir(run_dir);
}

static void names_that_leave_the_directory_are_refused(void **state)
{
    static const char *const bad[] = {"", ".", "..", "../x", "a/b", "-x", "a b", "ä",
                                      "a123456789a123456789a123456789a123456789a123456789a123456789abcde"};
    struct gw_error error;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        assert_int_equal(machine_check(&cli, bad[i], &error), -EINVAL);
        assert_int_equal(error.code, GW_CODE_INVALID);
    }
}

static void a_missing_machine_is_named_with_its_directory(void **state)
{
    struct gw_error error;
    assert_int_equal(machine_check(&cli, "web", &error), -ENOENT);
    assert_non_null(strstr(error.message, "'web'"));
    assert_non_null(strstr(error.message, run_dir));
}

static void a_machine_without_a_process_tells_its_last_words(void **state)
{
    struct gw_error error;
    struct qmp_client *client = NULL;
    _cleanup_free_ char *directory = machine_path(&cli, "web", NULL);
    _cleanup_free_ char *status = machine_path(&cli, "web", "status.json");
    assert_int_equal(mkdir(directory, 0700), 0);
    FILE *file = fopen(status, "w");
    fputs("{\"verdict\": \"the guest powered off\"}", file);
    fclose(file);
    assert_true(machine_connect(&cli, "web", &client, &error) < 0);
    assert_int_equal(error.code, GW_CODE_DISCONNECTED);
    assert_non_null(strstr(error.message, "the guest powered off"));
    unlink(status);
    rmdir(directory);
}

static void a_machine_without_a_status_tells_the_end_of_its_log(void **state)
{
    static const struct {
        const char *log, *words;
    } cases[] = {
        {"", "its process is gone and left no last words"},
        {"2026-11-21 10:00:00.123 first\n2026-11-21 10:00:01.456 cannot open disk 'a'\n",
         "its log ends with: cannot open disk 'a'"},
        {"2026-11-21 10:00:01.456 \033[31mred\xc2\x9b\t\x7f\n", "its log ends with: \\x1b[31mred\\x9b\\x09\\x7f"},
        {"2026-11-21 10:00:01.456 n\xc3\xa4her\n", "its log ends with: n\xc3\xa4her"},
        {"2026-11-21 10:00:01.456 no UTF-8 \xe4\n", "its log ends with: no UTF-8 \\xe4"},
        {"a line that has no time", "its log ends with: a line that has no time"},
    };
    _cleanup_free_ char *directory = machine_path(&cli, "web", NULL);
    _cleanup_free_ char *path = machine_path(&cli, "web", "vmm.log");
    assert_int_equal(mkdir(directory, 0700), 0);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        FILE *file = fopen(path, "w");
        fputs(cases[i].log, file);
        fclose(file);
        _cleanup_free_ char *words = machine_last_words(&cli, "web");
        assert_non_null(strstr(words, cases[i].words));
    }
    unlink(path);
    rmdir(directory);
}

static void names_come_sorted_and_without_files(void **state)
{
    struct gw_error error;
    char **names;
    size_t count;
    _cleanup_free_ char *b = machine_path(&cli, "b", NULL), *a = machine_path(&cli, "a", NULL);
    _cleanup_free_ char *file = machine_path(&cli, "c", NULL);
    mkdir(b, 0700);
    mkdir(a, 0700);
    fclose(fopen(file, "w"));
    assert_int_equal(machine_names(&cli, &names, &count, &error), 0);
    assert_int_equal(count, 2);
    assert_string_equal(names[0], "a");
    assert_string_equal(names[1], "b");
    machine_names_free(names, count);
    rmdir(a);
    rmdir(b);
    unlink(file);
}

static void bytes_read_well(void **state)
{
    assert_string_equal(bytes_in_words(0).text, "0 B");
    assert_string_equal(bytes_in_words(999).text, "999 B");
    assert_string_equal(bytes_in_words(1536).text, "1.5 KiB");
    assert_string_equal(bytes_in_words(512.0 * 1024 * 1024).text, "512 MiB");
    assert_string_equal(bytes_in_words(1e9).text, "954 MiB");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_that_leave_the_directory_are_refused),
        cmocka_unit_test(a_missing_machine_is_named_with_its_directory),
        cmocka_unit_test(a_machine_without_a_process_tells_its_last_words),
        cmocka_unit_test(a_machine_without_a_status_tells_the_end_of_its_log),
        cmocka_unit_test(names_come_sorted_and_without_files),
        cmocka_unit_test(bytes_read_well),
    };
    return cmocka_run_group_tests(tests, make_run_dir, remove_run_dir);
}
