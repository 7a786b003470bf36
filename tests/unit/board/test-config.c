/* SPDX-License-Identifier: Apache-2.0 */
/* Machine descriptions: what is written is read, what is wrong is refused by name. */
#include "board-test.h"

#include <errno.h>
#include <string.h>

#include "board/config.h"

#define GOOD                                                                                       \
    "{\"machine\": \"riscv-virt-1\", \"memory\": 16777216, \"cpus\": 2, \"clock\": \"host\","      \
    " \"boot_bytes\": 8192, \"disks\": [{\"size\": 1048576, \"read_only\": true,"                  \
    " \"serial\": \"abc\", \"path_hint\": \"/etc/shadow\"}]}"

static int read_text(const char *text, struct board_config *ret_config, struct gw_error *error)
{
    json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(json);
    int r = board_config_from_description(json, ret_config, error);
    json_decref(json);
    return r;
}

static void good_description_is_read(void **state)
{
    struct board_config config;
    assert_int_equal(read_text(GOOD, &config, NULL), 0);
    assert_string_equal(config.machine, "riscv-virt-1");
    assert_int_equal(config.memory_bytes, 16777216);
    assert_int_equal(config.cpus, 2);
    assert_int_equal(config.clock, GW_CLOCK_HOST);
    assert_int_equal(config.boot_bytes, 8192);
    assert_int_equal(config.disk_count, 1);
    assert_int_equal(config.disks[0].size_bytes, 1048576);
    assert_true(config.disks[0].read_only);
    assert_string_equal(config.disks[0].serial, "abc");
    board_config_fini(&config);
}

static void path_of_the_source_is_not_followed(void **state)
{
    struct board_config config;
    assert_int_equal(read_text(GOOD, &config, NULL), 0);
    assert_null(config.disks[0].path);
    board_config_fini(&config);
}

static void what_is_described_is_read_back(void **state)
{
    struct board_config config = {
        .machine = "riscv-virt-1", .memory_bytes = 64 * MIB, .cpus = 1, .boot_bytes = 4096};
    config.clock = GW_CLOCK_INSTRUCTIONS;
    config.disk_count = 2;
    config.disks[0] = (struct board_disk){.path = "/tmp/a", .size_bytes = 512, .serial = "x"};
    config.disks[1] = (struct board_disk){.path = "/tmp/\xff", .size_bytes = 1024};
    json_t *json = board_config_describe(&config);
    struct board_config back;
    assert_int_equal(board_config_from_description(json, &back, NULL), 0);
    json_t *again = board_config_describe(&back);
    json_object_del(json_array_get(json_object_get(json, "disks"), 0), "path_hint");
    assert_true(json_equal(json, again));
    json_decref(json);
    json_decref(again);
    board_config_fini(&back);
}

/* One thing wrong in each: `from` of the good description replaced by `to`, and a word of the
 * refusal. */
static const struct {
    const char *from, *to, *word;
} wrong[] = {
    {"riscv-virt-1", "riscv-virt-2", "riscv-virt-2"},
    {"\"riscv-virt-1\"", "7", "machine"},
    {"\"riscv-virt-1\"", "null", "machine"},
    {"16777216", "0", "memory"},
    {"16777216", "-4096", "memory"},
    {"16777216", "16777217", "memory"},
    {"16777216", "9223372036854775807", "memory"},
    {"16777216", "1.5e9", "memory"},
    {"16777216", "\"512M\"", "memory"},
    {"\"cpus\": 2", "\"cpus\": 0", "cpus"},
    {"\"cpus\": 2", "\"cpus\": 9", "CPUs"},
    {"\"cpus\": 2", "\"cpus\": 4294967298", "cpus"},
    {"\"cpus\": 2", "\"cpus\": true", "cpus"},
    {"\"host\"", "\"moon\"", "clock"},
    {"\"host\"", "\"instructions\"", "one CPU"},
    {"8192", "8191", "boot region"},
    {"8192", "1099511627776", "boot region"},
    {"8192", "-8192", "boot_bytes"},
    {"\"disks\": [", "\"disks\": 1, \"x\": [", "disks"},
    {"\"disks\": [", "\"disks\": [{}, ", "disks"},
    {"\"disks\": [", "\"disks\": [[], ", "disks"},
    {"1048576", "1048577", "sectors"},
    {"1048576", "-512", "disks"},
    {"\"read_only\": true", "\"read_only\": 1", "disks"},
    {"\"abc\"", "\"abcdefghijklmnopqrstuvwxyz\"", "serial"},
    {"\"abc\"", "\"a\\nb\"", "serial"},
    {"\"memory\":", "\"memori\":", "memory"},
    {"{\"machine\"", "{\"extra\": 1, \"machine\"", "does not know"},
};

static void wrong_descriptions_are_refused_by_name(void **state)
{
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char text[1024];
        struct board_config config;
        struct gw_error error = {0};
        const char *at = strstr(GOOD, wrong[i].from);
        assert_non_null(at);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - GOOD), GOOD, wrong[i].to,
                 at + strlen(wrong[i].from));
        if (read_text(text, &config, &error) >= 0)
            fail_msg("%s was taken", wrong[i].to);
        if (!strstr(error.message, wrong[i].word))
            fail_msg("%s: \"%s\" does not say %s", wrong[i].to, error.message, wrong[i].word);
    }
}

static void what_is_no_object_is_refused(void **state)
{
    static const char *const texts[] = {"[]", "null", "7", "\"machine\"", "{}"};
    struct board_config config;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_true(read_text(texts[i], &config, NULL) < 0);
}

static void more_disks_than_slots_are_refused(void **state)
{
    struct board_config config;
    struct gw_error error = {0};
    json_t *json = json_loads(GOOD, 0, NULL);
    json_t *disks = json_object_get(json, "disks");
    while (json_array_size(disks) < 7)
        json_array_append(disks, json_array_get(disks, 0));
    assert_int_equal(board_config_from_description(json, &config, &error), -EINVAL);
    assert_non_null(strstr(error.message, "room for 6 disks"));
    while (json_array_size(disks) <= BOARD_MAX_DISKS)
        json_array_append(disks, json_array_get(disks, 0));
    assert_int_equal(board_config_from_description(json, &config, &error), -ERANGE);
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_description_is_read),
        cmocka_unit_test(path_of_the_source_is_not_followed),
        cmocka_unit_test(what_is_described_is_read_back),
        cmocka_unit_test(wrong_descriptions_are_refused_by_name),
        cmocka_unit_test(what_is_no_object_is_refused),
        cmocka_unit_test(more_disks_than_slots_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
