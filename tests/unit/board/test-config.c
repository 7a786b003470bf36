/* SPDX-License-Identifier: Apache-2.0 */
/* Machine descriptions: what is written is read, what is wrong is refused by name. */
#include "board-test.h"

#include <errno.h>
#include <string.h>

#include "board/config.h"

#define GOOD                                                                                       \
    "{\"machine\": \"riscv-virt-1\", \"memory\": 16777216, \"cpus\": 2, \"clock\": \"host\","      \
    " \"boot_bytes\": 8192, \"disks\": [{\"size\": 1048576, \"read_only\": true,"                  \
    " \"serial\": \"abc\", \"path_hint\": \"/etc/shadow\"}], \"nets\": [{\"name\": \"lan\","       \
    " \"mac\": \"02:00:00:00:0a:01\", \"queues\": 2, \"mtu\": 1500, \"features\": 9}]}"

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
    assert_int_equal(config.net_count, 1);
    assert_string_equal(config.nets[0].name, "lan");
    assert_memory_equal(config.nets[0].mac, "\x02\0\0\0\x0a\1", 6);
    assert_int_equal(config.nets[0].queues, 2);
    assert_int_equal(config.nets[0].mtu, 1500);
    assert_null(config.nets[0].back_end);
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
    {"\"nets\": [", "\"nets\": [{}, ", "nets"},
    {"\"lan\"", "\"\"", "name of a network"},
    {"\"lan\"", "\"a b\"", "name of a network"},
    {"\"lan\"", "7", "nets"},
    {"02:00:00:00:0a:01", "00:00:00:00:00:00", "address"},
    {"02:00:00:00:0a:01", "01:00:00:00:0a:01", "even"},
    {"02:00:00:00:0a:01", "02:00:00:00:0a:0", "nets"},
    {"02:00:00:00:0a:01", "02:00:00:00:0a:01:", "nets"},
    {"02:00:00:00:0a:01", "02:00:00:00:0a:0g", "nets"},
    {"\"queues\": 2", "\"queues\": 0", "queues"},
    {"\"queues\": 2", "\"queues\": 9", "nets"},
    {"\"queues\": 2", "\"queues\": -1", "nets"},
    {"\"mtu\": 1500", "\"mtu\": 67", "MTU"},
    {"\"mtu\": 1500", "\"mtu\": 65536", "nets"},
    {"\"features\": 9", "\"features\": -1", "nets"},
    {"9}]",
     "9}, {\"name\": \"lan\", \"mac\": \"02:00:00:00:0a:02\", \"queues\": 1, \"mtu\": 0, "
     "\"features\": 0}]",
     "two networks have the name 'lan'"},
    {"9}]",
     "9}, {\"name\": \"two\", \"mac\": \"02:00:00:00:0a:01\", \"queues\": 1, \"mtu\": 0, "
     "\"features\": 0}]",
     "02:00:00:00:0a:01"},
    {"\"memory\":", "\"memori\":", "memory"},
    {"{\"machine\"", "{\"vmclock\": 1, \"machine\"", "vmclock"},
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
    json_object_del(json, "nets");
    while (json_array_size(disks) < 7)
        json_array_append(disks, json_array_get(disks, 0));
    assert_int_equal(board_config_from_description(json, &config, &error), -EINVAL);
    assert_non_null(strstr(error.message, "room for 6 disks"));
    while (json_array_size(disks) <= BOARD_MAX_DISKS)
        json_array_append(disks, json_array_get(disks, 0));
    assert_int_equal(board_config_from_description(json, &config, &error), -ERANGE);
    json_decref(json);
}

static void disks_and_networks_share_the_slots(void **state)
{
    struct board_config config;
    struct gw_error error = {0};
    json_t *json = json_loads(GOOD, 0, NULL);
    json_t *disks = json_object_get(json, "disks");
    while (json_array_size(disks) < 5)
        json_array_append(disks, json_array_get(disks, 0));
    assert_int_equal(board_config_from_description(json, &config, &error), 0);
    board_config_fini(&config);
    json_array_append(disks, json_array_get(disks, 0));
    assert_int_equal(board_config_from_description(json, &config, &error), -EINVAL);
    assert_non_null(strstr(error.message, "room for 6 disks and networks together"));
    json_decref(json);
}

static void the_instruction_clock_goes_without_networks(void **state)
{
    struct board_config config;
    struct gw_error error = {0};
    json_t *json = json_loads(GOOD, 0, NULL);
    json_object_set_new(json, "cpus", json_integer(1));
    json_object_set_new(json, "clock", json_string("instructions"));
    assert_int_equal(board_config_from_description(json, &config, &error), -EINVAL);
    assert_non_null(strstr(error.message, "instruction clock has no network"));
    json_decref(json);
}

static void vmclock_is_described_only_where_there_is_one(void **state)
{
    struct board_config config;
    assert_int_equal(read_text(GOOD, &config, NULL), 0);
    assert_false(config.vmclock);
    json_t *json = board_config_describe(&config);
    assert_null(json_object_get(json, "vmclock"));
    json_object_set_new(json, "vmclock", json_true());
    board_config_fini(&config);
    assert_int_equal(board_config_from_description(json, &config, NULL), 0);
    assert_true(config.vmclock);
    json_t *again = board_config_describe(&config);
    assert_true(json_is_true(json_object_get(again, "vmclock")));
    json_decref(json);
    json_decref(again);
    board_config_fini(&config);
}

static void the_instruction_clock_goes_without_vmclock(void **state)
{
    struct board_config config;
    struct gw_error error = {0};
    json_t *json = json_loads(GOOD, 0, NULL);
    json_object_set_new(json, "cpus", json_integer(1));
    json_object_set_new(json, "clock", json_string("instructions"));
    json_object_del(json, "nets");
    json_object_set_new(json, "vmclock", json_true());
    assert_int_equal(board_config_from_description(json, &config, &error), -EINVAL);
    assert_non_null(strstr(error.message, "instruction clock has no VMClock"));
    json_decref(json);
}

static void networks_are_described_and_read_back(void **state)
{
    struct board_config config, back;
    json_t *json = json_loads(GOOD, 0, NULL);
    assert_int_equal(board_config_from_description(json, &config, NULL), 0);
    json_t *written = board_config_describe(&config);
    assert_true(json_equal(json_object_get(json, "nets"), json_object_get(written, "nets")));
    assert_int_equal(board_config_from_description(written, &back, NULL), 0);
    config.net_count = 0;
    json_t *without = board_config_describe(&config);
    assert_null(json_object_get(without, "nets"));
    config.net_count = 1;
    board_config_fini(&config);
    board_config_fini(&back);
    json_decref(json);
    json_decref(written);
    json_decref(without);
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
        cmocka_unit_test(disks_and_networks_share_the_slots),
        cmocka_unit_test(the_instruction_clock_goes_without_networks),
        cmocka_unit_test(vmclock_is_described_only_where_there_is_one),
        cmocka_unit_test(the_instruction_clock_goes_without_vmclock),
        cmocka_unit_test(networks_are_described_and_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
