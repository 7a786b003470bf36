/* SPDX-License-Identifier: Apache-2.0 */
/* Which disks are refused, with which sentence, and who excludes whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "disk-file.h"

static void expect_refused(struct block *block, int expected, const char *part)
{
    struct gw_error error = {0};
    assert_int_equal(block_acquire(block, &error), expected);
    if (!strstr(error.message, part))
        fail_msg("'%s' does not say '%s'", error.message, part);
    assert_null(strchr(error.message, '\n'));
    assert_int_equal(error.layer, GW_LAYER_BLOCK);
}

static void expect_path_refused(const char *path, bool read_only, int expected, const char *part)
{
    struct block *block = disk_open(path, read_only, BLOCK_ENGINE_THREADS);
    expect_refused(block, expected, part);
    block_free(block);
}

static void a_missing_file(void **state)
{
    expect_path_refused(disk_path("none"), false, -ENOENT, "none' does not exist");
    expect_path_refused(disk_path("none"), true, -ENOENT, "none' does not exist");
}

static void a_directory(void **state)
{
    assert_int_equal(mkdir(disk_path("folder"), 0755), 0);
    expect_path_refused(disk_path("folder"), false, -EISDIR, "folder' is a directory");
    expect_path_refused(disk_path("folder"), true, -EISDIR, "folder' is a directory");
}

static void what_is_no_file(void **state)
{
    expect_path_refused("/dev/null", true, -EINVAL, "neither a file nor a block device");
    assert_int_equal(mkfifo(disk_path("fifo"), 0644), 0);
    expect_path_refused(disk_path("fifo"), true, -EINVAL, "neither a file nor a block device");
}

static void an_empty_file(void **state)
{
    expect_path_refused(disk_make("empty", 0), false, -EINVAL, "is empty");
}

static void a_size_that_is_not_in_sectors(void **state)
{
    expect_path_refused(disk_make("cut", 1000), false, -EINVAL, "1000 bytes, which is no multiple");
}

static struct block *open_expecting(const char *path, uint64_t bytes)
{
    struct block *block = NULL;
    const struct block_file_config config = {
        .path = path, .expected_bytes = bytes, .engine = BLOCK_ENGINE_THREADS};
    assert_int_equal(block_file_new(&config, &block, NULL), 0);
    assert_int_equal(block_bytes(block), bytes);
    return block;
}

static void a_file_smaller_than_the_machine_expects(void **state)
{
    struct block *block = open_expecting(disk_make("small", 4096), 8192);
    expect_refused(block, -EINVAL, "has 4096 bytes, but the machine's disk has 8192");
    block_free(block);
}

static void of_a_larger_file_the_rest_is_not_used(void **state)
{
    struct block *block = open_expecting(disk_make("large", 8192), 4096);
    assert_int_equal(block_acquire(block, NULL), 0);
    assert_int_equal(block_bytes(block), 4096);
    uint8_t sector[512];
    struct iovec iov = {sector, sizeof sector};
    struct block_request request = {
        .kind = BLOCK_READ, .offset_bytes = 4096, .bytes = 512, .iov = &iov, .iov_count = 1};
    assert_int_equal(block_execute(block, &request), -EINVAL);
    block_free(block);
}

/* Runs `body` in a child process as nobody, because root may do everything. */
static void as_nobody(void (*body)(void))
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
            _exit(3);
        body();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* In the child a failed assertion must not go on with the parent's tests. */
static void require(bool right)
{
    if (!right)
        _exit(1);
}

static void open_unwritable(void)
{
    struct gw_error error = {0};
    struct block *block = disk_open(disk_path("locked-away"), false, BLOCK_ENGINE_THREADS);
    require(block_acquire(block, &error) == -EACCES);
    require(strstr(error.message, "may not be written by this user") != NULL);
    require(strstr(error.message, "read-only") != NULL);
    block_free(block);
    block = disk_open(disk_path("locked-away"), true, BLOCK_ENGINE_THREADS);
    require(block_acquire(block, &error) == 0);
    block_free(block);
}

static void open_unreadable(void)
{
    struct gw_error error = {0};
    struct block *block = disk_open(disk_path("locked-away"), true, BLOCK_ENGINE_THREADS);
    require(block_acquire(block, &error) == -EACCES);
    require(strstr(error.message, "may not be read by this user") != NULL);
    block_free(block);
}

static void a_file_without_permission(void **state)
{
    const char *path = disk_make("locked-away", 4096);
    assert_int_equal(chmod(path, 0444), 0);
    as_nobody(open_unwritable);
    assert_int_equal(chmod(path, 0), 0);
    as_nobody(open_unreadable);
}

/* A child that holds the disk until it is told to go. */
struct holder {
    pid_t pid;
    int stop; /* closing it ends the child */
};

static struct holder hold(const char *path, bool read_only)
{
    int ready[2], stop[2];
    char byte = 0;
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(stop), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(stop[1]);
        prctl(PR_SET_NAME, "disk-holder");
        struct block *block = disk_open(path, read_only, BLOCK_ENGINE_THREADS);
        if (block_acquire(block, NULL) < 0 || write(ready[1], &byte, 1) != 1)
            _exit(1);
        (void)!read(stop[0], &byte, 1);
        _exit(0);
    }
    close(ready[1]);
    close(stop[0]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return (struct holder){child, stop[1]};
}

static void let_go(struct holder *holder)
{
    int status;
    close(holder->stop);
    assert_int_equal(waitpid(holder->pid, &status, 0), holder->pid);
    assert_int_equal(status, 0);
}

static void a_writer_excludes_other_processes_and_is_named(void **state)
{
    const char *path = disk_make("held", 4096);
    struct holder holder = hold(path, false);
    char name[64];
    snprintf(name, sizeof name, "in use by process %d (disk-holder)", holder.pid);
    expect_path_refused(path, false, -EBUSY, name);
    expect_path_refused(path, true, -EBUSY, name);
    let_go(&holder);
    struct block *block = disk_open(path, false, BLOCK_ENGINE_THREADS);
    assert_int_equal(block_acquire(block, NULL), 0);
    block_free(block);
}

static void readers_share(void **state)
{
    const char *path = disk_make("shared", 4096);
    struct holder holder = hold(path, true);
    struct block *block = disk_open(path, true, BLOCK_ENGINE_THREADS);
    assert_int_equal(block_acquire(block, NULL), 0);
    block_free(block);
    expect_path_refused(path, false, -EBUSY, "in use by process");
    let_go(&holder);
}

static void two_disks_of_one_process_exclude_each_other(void **state)
{
    const char *path = disk_make("twice", 4096);
    struct block *block = disk_open(path, false, BLOCK_ENGINE_THREADS);
    assert_int_equal(block_acquire(block, NULL), 0);
    expect_path_refused(path, false, -EBUSY, "in use by this process");
    block_free(block);
}

static void a_killed_holder_holds_nothing(void **state)
{
    const char *path = disk_make("orphan", 4096);
    struct holder holder = hold(path, false);
    kill(holder.pid, SIGKILL);
    assert_int_equal(waitpid(holder.pid, NULL, 0), holder.pid);
    close(holder.stop);
    struct block *block = disk_open(path, false, BLOCK_ENGINE_THREADS);
    assert_int_equal(block_acquire(block, NULL), 0);
    block_free(block);
}

static void release_lets_another_one_in_and_back(void **state)
{
    const char *path = disk_make("handed", 4096);
    struct block *block = disk_open(path, false, BLOCK_ENGINE_THREADS);
    assert_int_equal(block_acquire(block, NULL), 0);
    assert_int_equal(block_acquire(block, NULL), 0); /* idempotent */
    assert_int_equal(block_release(block, NULL), 0);
    assert_int_equal(block_release(block, NULL), 0);
    struct holder holder = hold(path, false);
    expect_refused(block, -EBUSY, "in use by process");
    let_go(&holder);
    assert_int_equal(block_acquire(block, NULL), 0);
    block_free(block);
}

static void release_unlocks_even_if_another_process_has_the_open_file(void **state)
{
    const char *path = disk_make("inherited", 4096);
    struct block *block = disk_open(path, false, BLOCK_ENGINE_THREADS);
    int stop[2];
    char byte;
    assert_int_equal(block_acquire(block, NULL), 0);
    assert_int_equal(pipe(stop), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(stop[1]);
        (void)!read(stop[0], &byte, 1);
        _exit(0);
    }
    assert_int_equal(block_release(block, NULL), 0);
    struct gw_error error = {0};
    int r = block_acquire(block, &error);
    close(stop[0]);
    close(stop[1]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(r, 0);
    block_free(block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_missing_file),
        cmocka_unit_test(a_directory),
        cmocka_unit_test(what_is_no_file),
        cmocka_unit_test(an_empty_file),
        cmocka_unit_test(a_size_that_is_not_in_sectors),
        cmocka_unit_test(a_file_smaller_than_the_machine_expects),
        cmocka_unit_test(of_a_larger_file_the_rest_is_not_used),
        cmocka_unit_test(a_file_without_permission),
        cmocka_unit_test(a_writer_excludes_other_processes_and_is_named),
        cmocka_unit_test(readers_share),
        cmocka_unit_test(two_disks_of_one_process_exclude_each_other),
        cmocka_unit_test(a_killed_holder_holds_nothing),
        cmocka_unit_test(release_lets_another_one_in_and_back),
        cmocka_unit_test(release_unlocks_even_if_another_process_has_the_open_file),
    };
    disk_directory_make();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    disk_directory_remove();
    return failed;
}
