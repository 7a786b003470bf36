/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <godwit/migrate.h>
#include "base/cleanup.h"

#define SESSION "0123456789abcdef0123456789abcdef"

static char folder[64], path[96];

static int set_up(void **state)
{
    snprintf(folder, sizeof folder, "/tmp/test-ownership-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/owner.json", folder);
    return 0;
}

static int tear_down(void **state)
{
    unlink(path);
    return rmdir(folder);
}

static void put(const char *text, size_t length)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, length, file), length);
    fclose(file);
}

static void a_record_is_read_back_as_it_was_written(void **state)
{
    for (int i = GW_OWNER_OWNER; i <= GW_OWNER_NOBODY; i++) {
        struct gw_ownership written = {.state = (enum gw_owner_state)i,
                                       .epoch = INT64_MAX - i,
                                       .session = SESSION,
                                       .peer = "tcp:höst:4444 \"x\""},
                            got = {0};
        assert_int_equal(gw_ownership_write(path, &written, NULL), 0);
        assert_int_equal(gw_ownership_read(path, &got, NULL), 0);
        assert_int_equal(got.state, written.state);
        assert_true(got.epoch == written.epoch);
        assert_string_equal(got.session, written.session);
        assert_string_equal(got.peer, written.peer);
    }
}

static void the_file_is_private_and_leaves_no_temporary(void **state)
{
    struct gw_ownership record = {.epoch = 1};
    assert_int_equal(gw_ownership_write(path, &record, NULL), 0);
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    char temporary[128];
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    assert_int_equal(access(temporary, F_OK), -1);
}

static void a_missing_record_is_told_from_a_damaged_one(void **state)
{
    struct gw_ownership record;
    struct gw_error error = {0};
    assert_int_equal(gw_ownership_read(path, &record, &error), -ENOENT);
    assert_int_equal(error.code, GW_CODE_NOT_FOUND);
}

static void anything_but_an_exact_record_is_refused(void **state)
{
    static const char *const wrong[] = {
        "",
        "null",
        "[]",
        "{}",
        "{\"version\":1,\"state\":\"owner\",\"epoch\":1,\"session\":\"\"}",
        "{\"version\":2,\"state\":\"owner\",\"epoch\":1,\"session\":\"\",\"peer\":\"\"}",
        "{\"version\":1,\"state\":\"king\",\"epoch\":1,\"session\":\"\",\"peer\":\"\"}",
        "{\"version\":1,\"state\":\"owner\",\"epoch\":-1,\"session\":\"\",\"peer\":\"\"}",
        "{\"version\":1,\"state\":\"owner\",\"epoch\":1.5,\"session\":\"\",\"peer\":\"\"}",
        "{\"version\":1,\"state\":\"owner\",\"epoch\":9223372036854775808,\"session\":\"\","
        "\"peer\":\"\"}",
        "{\"version\":1,\"state\":\"owner\",\"epoch\":1,\"session\":\"xyz\",\"peer\":\"\"}",
        "{\"version\":1,\"state\":\"owner\",\"epoch\":1,\"session\":\"\",\"peer\":\"a\\u001bb\"}",
        "{\"version\":1,\"state\":\"owner\",\"epoch\":1,\"session\":\"\",\"peer\":\"\",\"more\":1}",
        "{\"version\":1,\"state\":\"owner\",\"epoch\":1,\"epoch\":2,\"session\":\"\",\"peer\":"
        "\"\"}",
        "{\"version\":1,\"state\":\"owner\",\"epoch\":1,\"session\":\"\",\"peer\":\"\"} x",
        "{\"version\":1,\"state\":\"owner\",\"epoch\":1,\"session\":\"\",\"peer\":\"\"",
    };
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        struct gw_ownership record = {.epoch = 77};
        struct gw_error error = {0};
        put(wrong[i], strlen(wrong[i]));
        if (gw_ownership_read(path, &record, &error) != -EINVAL)
            fail_msg("accepted: %s", wrong[i]);
        assert_int_equal(error.code, GW_CODE_CORRUPT);
        assert_non_null(strstr(error.message, path));
        assert_int_equal(record.epoch, 77);
    }
}

static void an_oversized_file_is_refused(void **state)
{
    static char text[5000];
    memset(text, ' ', sizeof text);
    static const char good[] =
        "{\"version\":1,\"state\":\"owner\",\"epoch\":1,\"session\":\"\",\"peer\":\"\"}";
    memcpy(text, good, strlen(good));
    struct gw_ownership record;
    put(text, 4096);
    assert_int_equal(gw_ownership_read(path, &record, NULL), 0);
    put(text, 4097);
    assert_int_equal(gw_ownership_read(path, &record, NULL), -EINVAL);
}

static void a_pipe_in_its_place_does_not_hang(void **state)
{
    struct gw_ownership record;
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(gw_ownership_read(path, &record, NULL), -EINVAL);
}

static void a_record_that_could_not_be_read_back_is_not_written(void **state)
{
    struct gw_ownership good = {.epoch = 1}, bad = {.epoch = 2, .session = "short"}, got;
    assert_int_equal(gw_ownership_write(path, &good, NULL), 0);
    assert_int_equal(gw_ownership_write(path, &bad, NULL), -EINVAL);
    bad = (struct gw_ownership){.epoch = 2, .peer = "\xff\xfe"};
    assert_int_equal(gw_ownership_write(path, &bad, NULL), -EINVAL);
    assert_int_equal(gw_ownership_read(path, &got, NULL), 0);
    assert_int_equal(got.epoch, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_record_is_read_back_as_it_was_written, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_file_is_private_and_leaves_no_temporary, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_missing_record_is_told_from_a_damaged_one, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(anything_but_an_exact_record_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_oversized_file_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_pipe_in_its_place_does_not_hang, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_record_that_could_not_be_read_back_is_not_written, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
