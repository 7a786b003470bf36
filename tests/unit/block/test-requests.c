/* SPDX-License-Identifier: Apache-2.0 */
/* Requests on a real file, once with io_uring and once with threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "disk-file.h"

#define DISK_BYTES (1u << 20)
#define SECTORS (DISK_BYTES / 512)

static enum block_engine engine;

struct fixture {
    const char *path;
    struct block *block;
    sd_event *loop;
    pthread_mutex_t lock;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fixture->path = disk_make("disk", DISK_BYTES);
    fixture->block = disk_open(fixture->path, false, engine);
    pthread_mutex_init(&fixture->lock, NULL);
    if (sd_event_new(&fixture->loop) < 0 ||
        block_attach(fixture->block, fixture->loop, &fixture->lock, NULL) < 0 ||
        block_acquire(fixture->block, NULL) < 0)
        return -1;
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    block_free(fixture->block);
    sd_event_unref(fixture->loop);
    pthread_mutex_destroy(&fixture->lock);
    free(fixture);
    return 0;
}

struct transfer {
    struct block_request request;
    struct iovec iov[2];
    uint8_t data[8192];
    bool ended;
    int result;
};

static void ended(struct block_request *request, int result)
{
    struct transfer *transfer = container_of(request, struct transfer, request);
    transfer->ended = true;
    transfer->result = result;
}

/* In two pieces, the cut in the middle of a sector. */
static void prepare(struct transfer *transfer, enum block_kind kind, uint64_t sector, size_t bytes)
{
    transfer->ended = false;
    transfer->iov[0] = (struct iovec){transfer->data, 100};
    transfer->iov[1] = (struct iovec){transfer->data + 100, bytes - 100};
    transfer->request = (struct block_request){
        .kind = kind,
        .offset_bytes = sector * 512,
        .bytes = bytes,
        .iov = transfer->iov,
        .iov_count = 2,
        .done = ended,
    };
}

/* Submits as a device does and lets the loop complete it. */
static int run(struct fixture *fixture, struct transfer *transfer)
{
    pthread_mutex_lock(&fixture->lock);
    block_submit(fixture->block, &transfer->request);
    block_kick(fixture->block);
    assert_false(transfer->ended);
    pthread_mutex_unlock(&fixture->lock);
    for (unsigned i = 0; i < 100 && !transfer->ended; i++)
        assert_true(sd_event_run(fixture->loop, 100000) >= 0);
    assert_true(transfer->ended);
    return transfer->result;
}

static int run_one(struct fixture *fixture, struct transfer *transfer, enum block_kind kind,
                   uint64_t sector, size_t bytes)
{
    prepare(transfer, kind, sector, bytes);
    return run(fixture, transfer);
}

static uint64_t blocks_of(const char *path)
{
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    return (uint64_t)status.st_blocks;
}

static void what_is_written_is_read_back(void **state)
{
    static struct transfer write, read;
    memset(write.data, 0xa5, sizeof write.data);
    assert_int_equal(run_one(*state, &write, BLOCK_WRITE, 3, 1024), 0);
    assert_int_equal(run_one(*state, &read, BLOCK_READ, 2, 2048), 0);
    assert_int_equal(read.data[511], 2);
    assert_memory_equal(read.data + 512, write.data, 1024);
    assert_int_equal(read.data[1536], 5);
}

static void a_durable_write_is_a_write(void **state)
{
    static struct transfer write, read;
    memset(write.data, 0x3c, sizeof write.data);
    prepare(&write, BLOCK_WRITE, 1, 512);
    write.request.durable = true;
    assert_int_equal(run(*state, &write), 0);
    assert_int_equal(run_one(*state, &read, BLOCK_READ, 1, 512), 0);
    assert_memory_equal(read.data, write.data, 512);
}

static void flush_succeeds(void **state)
{
    static struct transfer flush;
    assert_int_equal(run_one(*state, &flush, BLOCK_FLUSH, 0, 512), 0);
}

static void expect_zeroes(struct fixture *fixture, uint64_t sector)
{
    static struct transfer read;
    static const uint8_t zeroes[8192];
    assert_int_equal(run_one(fixture, &read, BLOCK_READ, sector, sizeof zeroes), 0);
    assert_memory_equal(read.data, zeroes, sizeof zeroes);
}

static void zeroes_are_zeroes_and_keep_their_space(void **state)
{
    static struct transfer zero;
    struct fixture *fixture = *state;
    assert_int_equal(run_one(fixture, &zero, BLOCK_ZERO, 16, 8192), 0);
    expect_zeroes(fixture, 16);
    struct stat status;
    assert_int_equal(stat(fixture->path, &status), 0);
    assert_int_equal(status.st_size, DISK_BYTES);
}

static void zeroes_that_may_unmap_give_space_back(void **state)
{
    static struct transfer zero;
    struct fixture *fixture = *state;
    uint64_t before = blocks_of(fixture->path);
    prepare(&zero, BLOCK_ZERO, 0, DISK_BYTES / 2);
    zero.request.may_unmap = true;
    assert_int_equal(run(fixture, &zero), 0);
    expect_zeroes(fixture, 0);
    expect_zeroes(fixture, SECTORS / 2 - 16);
    if (blocks_of(fixture->path) >= before)
        print_message("not checked: this file system has no holes\n");
}

static void discard_gives_space_back(void **state)
{
    static struct transfer discard, read;
    struct fixture *fixture = *state;
    uint64_t before = blocks_of(fixture->path);
    assert_int_equal(run_one(fixture, &discard, BLOCK_DISCARD, 0, DISK_BYTES / 2), 0);
    assert_int_equal(run_one(fixture, &read, BLOCK_READ, SECTORS / 2, 512), 0);
    assert_int_equal(read.data[0], (SECTORS / 2) & 0xff);
    if (blocks_of(fixture->path) >= before)
        print_message("not checked: this file system has no holes\n");
}

static void a_file_that_was_cut_is_an_io_error(void **state)
{
    static struct transfer read;
    struct fixture *fixture = *state;
    assert_int_equal(truncate(fixture->path, 4096), 0);
    assert_int_equal(run_one(fixture, &read, BLOCK_READ, 7, 1024), -EIO);
    assert_int_equal(run_one(fixture, &read, BLOCK_READ, 7, 512), 0);
    assert_int_equal(read.data[0], 7);
}

static void outside_the_disk_is_refused(void **state)
{
    static struct transfer read;
    assert_int_equal(run_one(*state, &read, BLOCK_READ, SECTORS, 512), -EINVAL);
    assert_int_equal(run_one(*state, &read, BLOCK_READ, SECTORS - 1, 1024), -EINVAL);
    assert_int_equal(run_one(*state, &read, BLOCK_READ, UINT64_MAX / 512, 512), -EINVAL);
    assert_int_equal(run_one(*state, &read, BLOCK_READ, 0, 500), -EINVAL);
}

static void a_disk_that_is_not_held_is_refused(void **state)
{
    static struct transfer read;
    struct fixture *fixture = *state;
    assert_int_equal(block_release(fixture->block, NULL), 0);
    assert_int_equal(run_one(fixture, &read, BLOCK_READ, 0, 512), -EBADF);
    assert_int_equal(block_acquire(fixture->block, NULL), 0);
    assert_int_equal(run_one(fixture, &read, BLOCK_READ, 0, 512), 0);
}

static void writing_to_a_read_only_disk_is_refused(void **state)
{
    static struct transfer transfer;
    struct fixture *fixture = *state;
    block_free(fixture->block);
    fixture->block = disk_open(fixture->path, true, engine);
    assert_int_equal(block_attach(fixture->block, fixture->loop, &fixture->lock, NULL), 0);
    assert_int_equal(block_acquire(fixture->block, NULL), 0);
    for (unsigned kind = BLOCK_READ; kind <= BLOCK_ZERO; kind++) {
        bool writes = kind != BLOCK_READ && kind != BLOCK_FLUSH;
        assert_int_equal(run_one(fixture, &transfer, kind, 0, 512), writes ? -EROFS : 0);
    }
}

static void execute_is_synchronous(void **state)
{
    static struct transfer read;
    struct fixture *fixture = *state;
    prepare(&read, BLOCK_READ, 9, 1024);
    assert_int_equal(block_execute(fixture->block, &read.request), 0);
    assert_false(read.ended);
    assert_int_equal(read.data[0], 9);
    assert_int_equal(read.data[1023], 10);
}

static void as_many_as_the_depth_are_in_flight_at_once(void **state)
{
    static struct transfer reads[BLOCK_DEPTH];
    struct fixture *fixture = *state;
    pthread_mutex_lock(&fixture->lock);
    for (unsigned i = 0; i < BLOCK_DEPTH; i++) {
        prepare(&reads[i], BLOCK_READ, i, 512);
        block_submit(fixture->block, &reads[i].request);
    }
    block_drain(fixture->block);
    pthread_mutex_unlock(&fixture->lock);
    for (unsigned i = 0; i < BLOCK_DEPTH; i++) {
        assert_true(reads[i].ended);
        assert_int_equal(reads[i].result, 0);
        assert_int_equal(reads[i].data[511], i);
    }
}

/* A hart's thread may end while what it submitted is in flight. */
static void *submit_and_end(void *opaque)
{
    static struct transfer reads[BLOCK_DEPTH];
    struct fixture *fixture = opaque;
    pthread_mutex_lock(&fixture->lock);
    for (unsigned i = 0; i < BLOCK_DEPTH; i++) {
        prepare(&reads[i], i % 8 == 7 ? BLOCK_FLUSH : BLOCK_WRITE, i * 16, 8192);
        memset(reads[i].data, (int)i, 8192);
        block_submit(fixture->block, &reads[i].request);
    }
    block_kick(fixture->block);
    pthread_mutex_unlock(&fixture->lock);
    return reads;
}

static void requests_outlive_the_thread_that_submitted_them(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned round = 0; round < 20; round++) {
        pthread_t thread;
        void *result;
        assert_int_equal(pthread_create(&thread, NULL, submit_and_end, fixture), 0);
        assert_int_equal(pthread_join(thread, &result), 0);
        struct transfer *transfers = result;
        pthread_mutex_lock(&fixture->lock);
        block_drain(fixture->block);
        pthread_mutex_unlock(&fixture->lock);
        for (unsigned i = 0; i < BLOCK_DEPTH; i++) {
            assert_true(transfers[i].ended);
            assert_int_equal(transfers[i].result, 0);
        }
    }
}

/* Denies io_uring_setup() to this process, as container runtimes do. */
static int forbid_uring(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = ARRAY_COUNT(filter), .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -errno : 0;
}

static int use_disk_without_uring(const char *path)
{
    struct block *block = NULL;
    struct block_file_config config = {.path = path, .engine = BLOCK_ENGINE_URING};
    struct gw_error error = {0};
    if (forbid_uring() < 0)
        return 77;
    if (block_file_new(&config, &block, &error) != -EPERM || !strstr(error.message, "io_uring"))
        return 1;
    config.engine = BLOCK_ENGINE_AUTO;
    if (block_file_new(&config, &block, NULL) < 0 || block_acquire(block, NULL) < 0)
        return 2;
    static struct transfer read;
    prepare(&read, BLOCK_READ, 4, 512);
    block_submit(block, &read.request);
    block_drain(block);
    block_free(block);
    return read.ended && read.result == 0 && read.data[0] == 4 ? 0 : 3;
}

static void where_uring_is_forbidden_threads_do_it(void **state)
{
    const char *path = disk_make("other", 4096);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(use_disk_without_uring(path));
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message("skipped: this host allows no seccomp filter\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_is_written_is_read_back),
        T(a_durable_write_is_a_write),
        T(flush_succeeds),
        T(zeroes_are_zeroes_and_keep_their_space),
        T(zeroes_that_may_unmap_give_space_back),
        T(discard_gives_space_back),
        T(a_file_that_was_cut_is_an_io_error),
        T(outside_the_disk_is_refused),
        T(a_disk_that_is_not_held_is_refused),
        T(writing_to_a_read_only_disk_is_refused),
        T(execute_is_synchronous),
        T(as_many_as_the_depth_are_in_flight_at_once),
        T(requests_outlive_the_thread_that_submitted_them),
    };
    const struct CMUnitTest fallback[] = {
        cmocka_unit_test(where_uring_is_forbidden_threads_do_it),
    };
    static const enum block_engine engines[] = {BLOCK_ENGINE_THREADS, BLOCK_ENGINE_URING};
    disk_directory_make();
    int failed = cmocka_run_group_tests_name("fallback", fallback, NULL, NULL);
    for (unsigned i = 0; i < ARRAY_COUNT(engines); i++) {
        struct block *probe = NULL;
        const struct block_file_config config = {.path = "none", .engine = engines[i]};
        engine = engines[i];
        if (block_file_new(&config, &probe, NULL) < 0) {
            print_message("skipped: this host gives no io_uring\n");
            continue;
        }
        block_free(probe);
        failed += cmocka_run_group_tests_name(i ? "io_uring" : "threads", tests, NULL, NULL);
    }
    disk_directory_remove();
    return failed;
}
