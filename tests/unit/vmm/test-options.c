/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "vmm/options.h"

#define MAX_WORDS 64

static struct vmm_options options;
static struct gw_error error;

/* Parses a command line whose words are separated by single spaces. */
static enum options_result parse(const char *line)
{
    char *copy = strdup(line), *words[MAX_WORDS], *rest = copy;
    enum options_result result;
    int count = 0;

    words[count++] = "godwit-vmm";
    for (char *word; (word = strsep(&rest, " ")) && count < MAX_WORDS - 1;)
        words[count++] = word;
    words[count] = NULL;
    result = options_parse(count, words, &options, &error);
    free(copy);
    return result;
}

static void assert_wrong(const char *line, const char *sentence)
{
    assert_int_equal(parse(line), OPTIONS_WRONG);
    assert_string_equal(error.message, sentence);
    options_fini(&options);
}

static void defaults_are_small(void **state)
{
    assert_int_equal(parse("--name a --kernel k"), OPTIONS_RUN);
    assert_int_equal(options.config.memory_bytes, 512 << 20);
    assert_int_equal(options.config.cpus, 1);
    assert_int_equal(options.config.clock, GW_CLOCK_HOST);
    assert_int_equal(options.ready_fd, -1);
    assert_false(options.paused);
    assert_true(options.config.vmclock);
    options_fini(&options);
}

static void guest_is_not_told_of_moves_where_it_must_not_be(void **state)
{
    assert_int_equal(parse("--name a --kernel k --no-vmclock"), OPTIONS_RUN);
    assert_false(options.config.vmclock);
    options_fini(&options);
    assert_int_equal(parse("--name a --kernel k --clock instructions"), OPTIONS_RUN);
    assert_false(options.config.vmclock);
    options_fini(&options);
}

static void everything_is_taken(void **state)
{
    assert_int_equal(parse("--name a --run-dir d --kernel k --firmware f --initrd i --append x=1 "
                           "--memory 1G --disk one,readonly --disk two,serial=S --serial unix:p "
                           "--clock instructions --seed 7 --paused --ready-fd 5"),
                     OPTIONS_RUN);
    assert_string_equal(options.run_dir, "d");
    assert_string_equal(options.config.append, "x=1");
    assert_int_equal(options.config.memory_bytes, 1 << 30);
    assert_int_equal(options.config.disk_count, 2);
    assert_true(options.config.disks[0].read_only);
    assert_string_equal(options.config.disks[1].serial, "S");
    assert_int_equal(options.config.clock, GW_CLOCK_INSTRUCTIONS);
    assert_int_equal(options.config.seed, 7);
    assert_int_equal(options.ready_fd, 5);
    assert_true(options.paused);
    options_fini(&options);
}

static void comma_in_a_file_name_is_doubled(void **state)
{
    struct board_disk disk;

    assert_int_equal(options_parse_disk("a,,b,,,readonly,serial=x,,y", &disk, &error), 0);
    assert_string_equal(disk.path, "a,b,");
    assert_string_equal(disk.serial, "x,y");
    assert_true(disk.read_only);
    free(disk.path);
    free(disk.serial);
}

static void disks_are_limited(void **state)
{
    assert_wrong(
        "--name a --kernel k --disk 1 --disk 2 --disk 3 --disk 4 --disk 5 --disk 6 --disk 7 "
        "--disk 8",
        "--disk: a machine has at most 7 disks");
}

static void a_network_is_split_from_its_card(void **state)
{
    struct board_net net;

    assert_int_equal(options_parse_net("user,tcp=8080:80,name=lan,mac=02:00:00:00:0A:fF,a,,b,mtu="
                                       "9000,queues=4",
                                       &net, &error),
                     0);
    assert_string_equal(net.back_end, "user,tcp=8080:80,a,,b");
    assert_string_equal(net.name, "lan");
    assert_memory_equal(net.mac, "\x02\0\0\0\x0a\xff", 6);
    assert_int_equal(net.mtu, 9000);
    assert_int_equal(net.queues, 4);
    free(net.back_end);
    free(net.name);
}

static void networks_are_taken_in_their_order(void **state)
{
    assert_int_equal(parse("--name a --kernel k --net tap --net user,name=x"), OPTIONS_RUN);
    assert_int_equal(options.config.net_count, 2);
    assert_string_equal(options.config.nets[0].back_end, "tap");
    assert_null(options.config.nets[0].name);
    assert_string_equal(options.config.nets[1].name, "x");
    options_fini(&options);
}

static void mistakes_in_a_network_are_named(void **state)
{
    assert_wrong("--name a --kernel k --net ,name=x",
                 "--net needs a network first: tap, user or socket");
    assert_wrong("--name a --kernel k --net tap,mtu=67",
                 "--net: mtu='67' is not a number from 68 to 65535");
    assert_wrong("--name a --kernel k --net tap,queues=9",
                 "--net: queues='9' is not a number from 1 to 8");
    assert_wrong("--name a --kernel k --net tap,mac=01:00:00:00:00:01",
                 "--net: mac='01:00:00:00:00:01' is not the address of a card, such as "
                 "02:00:00:00:00:01 (the first byte is even)");
    assert_wrong("--name a --kernel k --net tap,mac=02:00:00:00:00",
                 "--net: mac='02:00:00:00:00' is not the address of a card, such as "
                 "02:00:00:00:00:01 (the first byte is even)");
    assert_wrong("--name a --kernel k --net tap,name=../x",
                 "--net: the name '../x' must be letters, digits, '.', '_' and '-', not beginning "
                 "with '.' or '-'");
    assert_wrong("--name a --kernel k --clock instructions --net tap",
                 "--clock instructions goes without --net: what arrives from outside would make "
                 "each run another one");
    assert_wrong("--name a --kernel k --net 1 --net 2 --net 3 --net 4 --net 5 --net 6 --net 7",
                 "--net: a machine has at most 6 networks");
}

static void mistakes_are_named(void **state)
{
    assert_wrong("--kernel k", "--name is missing");
    assert_wrong("--name a",
                 "--kernel or --firmware is missing (or --incoming, to receive a machine)");
    assert_wrong("--name a --kernel k --memory 5x",
                 "--memory '5x' is not a size such as 512M or 2G, a multiple of 4K");
    assert_wrong("--name a --kernel k --cpus 0", "--cpus must be at least 1");
    assert_wrong("--name a --kernel k --cpus 65", "--cpus '65' is not a number up to 64");
    assert_wrong("--name a --kernel k --cpus two", "--cpus 'two' is not a number up to 64");
    assert_wrong("--name a --kernel k --disk ,readonly", "--disk needs a file's name first");
    assert_wrong("--name a --kernel k --clock sun", "--clock 'sun' is not host or instructions");
    assert_wrong("--name a --kernel k --memory-backing disk",
                 "--memory-backing: 'disk' is not memfd, anonymous, hugetlb[:2M|:1G] or file:DIR");
    assert_wrong("--name a --kernel k --memory-backing memfd,populate=0",
                 "--memory-backing: 'populate=0' is not thp=on, thp=off, populate, "
                 "populate=THREADS (1 to 64) or ready=SIZE");
    assert_wrong("--name a --kernel k --memory-backing memfd,ready=1000",
                 "--memory-backing: 'ready=1000' is not ready=SIZE, such as ready=2G");
    assert_wrong("--name a --kernel k --memory-backing memfd,ready=2M",
                 "--memory-backing ready=… is for --incoming: here --memory says it");
    assert_wrong("--name a --kernel k --dirty-tracking log",
                 "--dirty-tracking 'log' is not auto, bitmap or ring");
    assert_wrong("--name a --incoming unix:/s --cpu host",
                 "--incoming receives a whole machine: leave out --kernel, --firmware, --initrd, "
                 "--append, --machine and --cpu");
    assert_wrong("--name a --kernel k --clock instructions --cpus 2",
                 "--clock instructions needs --cpus 1");
    assert_wrong("--name a --firmware f --append x", "--initrd and --append need --kernel");
    assert_wrong("--name a --kernel k extra", "'extra' belongs to no option");
    assert_wrong("--name a --kernel k --frobnicate", "--frobnicate is not an option (see --help)");
    assert_wrong("--name a --kernel", "--kernel needs a value");
    assert_wrong("--name a --incoming tcp::1 --kernel k",
                 "--incoming receives a whole machine: leave out --kernel, --firmware, --initrd, "
                 "--append, --machine and --cpu");
}

static void bad_name_is_refused(void **state)
{
    assert_int_equal(parse("--name ../a --kernel k"), OPTIONS_WRONG);
    assert_non_null(strstr(error.message, "'../a' is no machine name"));
    options_fini(&options);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_small),
        cmocka_unit_test(guest_is_not_told_of_moves_where_it_must_not_be),
        cmocka_unit_test(everything_is_taken),
        cmocka_unit_test(comma_in_a_file_name_is_doubled),
        cmocka_unit_test(disks_are_limited),
        cmocka_unit_test(a_network_is_split_from_its_card),
        cmocka_unit_test(networks_are_taken_in_their_order),
        cmocka_unit_test(mistakes_in_a_network_are_named),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(bad_name_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
