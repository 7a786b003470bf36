/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/rundir.h"

static char base[64];

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *at)
{
    return remove(path);
}

static int set_up(void **state)
{
    snprintf(base, sizeof base, "/tmp/godwit-test-XXXXXX");
    assert_non_null(mkdtemp(base));
    return 0;
}

static int tear_down(void **state)
{
    return nftw(base, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static bool exists(const char *relative)
{
    char path[200];
    struct stat status;

    snprintf(path, sizeof path, "%s/%s", base, relative);
    return lstat(path, &status) == 0;
}

static void touch(const char *relative)
{
    char path[200];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", base, relative);
    file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
}

static void directory_is_private(void **state)
{
    struct rundir rundir;
    struct stat status;

    assert_int_equal(rundir_open(base, "one", &rundir, NULL), 0);
    assert_int_equal(stat(rundir.path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
    rundir_close(&rundir);
}

static void directory_open_to_others_is_refused_and_left_alone(void **state)
{
    struct rundir rundir;
    struct gw_error error;
    struct stat status;
    char path[128];

    snprintf(path, sizeof path, "%s/shared", base);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(chmod(path, 0777), 0);
    assert_int_equal(rundir_open(base, "shared", &rundir, &error), -EPERM);
    assert_non_null(strstr(error.message, path));
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0777);
    rmdir(path);
}

static void second_process_is_refused_and_told_the_first(void **state)
{
    struct rundir first, second;
    struct gw_error error;
    char pid[32];

    assert_int_equal(rundir_open(base, "one", &first, NULL), 0);
    assert_int_equal(rundir_open(base, "one", &second, &error), -EBUSY);
    assert_int_equal(error.code, GW_CODE_BUSY);
    snprintf(pid, sizeof pid, "process %d", (int)getpid());
    assert_non_null(strstr(error.message, pid));
    assert_true(exists("one/pid")); /* the refused one removed nothing */
    rundir_close(&first);
    assert_int_equal(rundir_open(base, "one", &second, NULL), 0);
    rundir_close(&second);
}

static void leftovers_of_a_killed_process_are_replaced(void **state)
{
    struct rundir rundir;

    assert_int_equal(rundir_open(base, "one", &rundir, NULL), 0);
    rundir_close(&rundir);
    touch("one/control");
    touch("one/console");
    touch("one/status.json");
    touch("one/owner.json");
    assert_int_equal(rundir_open(base, "one", &rundir, NULL), 0);
    assert_false(exists("one/control"));
    assert_false(exists("one/console"));
    assert_true(exists("one/owner.json"));
    rundir_begin(&rundir);
    assert_false(exists("one/status.json"));
    rundir_close(&rundir);
}

static void a_machine_that_was_never_set_up_leaves_nothing(void **state)
{
    struct rundir rundir;

    assert_int_equal(rundir_open(base, "one", &rundir, NULL), 0);
    touch("one/vmm.log");
    touch("one/control");
    touch("one/owner.json");
    rundir_abandon(&rundir);
    assert_false(exists("one"));
}

static void what_an_earlier_machine_left_stays(void **state)
{
    static const char *const left[] = {"one/status.json", "one/owner.json", "one/flights/log"};

    for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
        struct rundir rundir;
        char path[200];

        assert_int_equal(rundir_open(base, "one", &rundir, NULL), 0);
        rundir_close(&rundir);
        touch(left[i]);
        assert_int_equal(rundir_open(base, "one", &rundir, NULL), 0);
        rundir_abandon(&rundir);
        assert_true(exists(left[i]));
        assert_false(exists("one/pid"));
        snprintf(path, sizeof path, "%s/%s", base, left[i]);
        unlink(path);
    }
}

static void end_leaves_what_tells_the_story(void **state)
{
    struct rundir rundir;
    json_t *document = json_pack("{s:s}", "verdict", "powered off");

    assert_int_equal(rundir_open(base, "one", &rundir, NULL), 0);
    touch("one/control");
    rundir_write_json(&rundir, "status.json", document);
    json_decref(document);
    rundir_close(&rundir);
    assert_false(exists("one/control"));
    assert_false(exists("one/pid"));
    assert_true(exists("one/status.json"));
    assert_true(exists("one/flights"));
    assert_false(exists("one/status.json.new"));
}

static void symbolic_link_is_no_machine_directory(void **state)
{
    struct rundir rundir;
    char path[200];

    snprintf(path, sizeof path, "%s/one", base);
    assert_int_equal(symlink("/tmp", path), 0);
    assert_true(rundir_open(base, "one", &rundir, NULL) < 0);
}

static void base_that_cannot_be_made_is_named(void **state)
{
    struct rundir rundir;
    struct gw_error error;

    assert_true(rundir_open("/proc/godwit", "one", &rundir, &error) < 0);
    assert_non_null(strstr(error.message, "'/proc/godwit'"));
    assert_non_null(strstr(error.message, "--run-dir DIR, or set XDG_RUNTIME_DIR"));
}

static void only_a_released_machine_may_not_be_run_again(void **state)
{
    struct gw_error error;

    for (int owner = GW_OWNER_OWNER; owner <= GW_OWNER_NOBODY; owner++) {
        struct gw_ownership record = {
            .state = (enum gw_owner_state)owner, .epoch = 4, .peer = "tcp:b:1"};

        assert_int_equal(rundir_check_record("vm", "/r/owner.json", &record, true, NULL), 0);
        assert_int_equal(rundir_check_record("vm", "/r/owner.json", &record, false, &error) < 0,
                         owner == GW_OWNER_RELEASED);
    }
    assert_non_null(strstr(error.message, "given away to tcp:b:1 (epoch 4)"));
    assert_non_null(strstr(error.message, "remove '/r/owner.json'"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(directory_is_private),
        TEST(directory_open_to_others_is_refused_and_left_alone),
        TEST(second_process_is_refused_and_told_the_first),
        TEST(leftovers_of_a_killed_process_are_replaced),
        TEST(a_machine_that_was_never_set_up_leaves_nothing),
        TEST(what_an_earlier_machine_left_stays),
        TEST(end_leaves_what_tells_the_story),
        TEST(symbolic_link_is_no_machine_directory),
        cmocka_unit_test(base_that_cannot_be_made_is_named),
        cmocka_unit_test(only_a_released_machine_may_not_be_run_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
