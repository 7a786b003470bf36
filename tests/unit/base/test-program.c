/* SPDX-License-Identifier: Apache-2.0 */
/* What a program that is started has: descriptors, signals, session. */
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
#include <sys/wait.h>
#include <unistd.h>

#include "base/program.h"

/* A shell that prints the numbers of its descriptors, but not of one that it opens itself. */
#define LIST "for fd in /proc/$$/fd/*; do [ -e $fd ] && printf '%s ' ${fd##*/}; done; true"

/* Runs it with our write end of a pipe as its standard output; all that it prints. */
static void run(struct program *program, const char *script, char *text, size_t room)
{
    char *const arguments[] = {"sh", "-c", (char *)script, NULL};
    int ends[2], status = -1;
    size_t length = 0;
    ssize_t n;
    pid_t pid;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    program->arguments = arguments;
    program->files[STDIN_FILENO] = PROGRAM_NULL;
    program->files[STDOUT_FILENO] = ends[1];
    program->files[STDERR_FILENO] = STDERR_FILENO;
    assert_int_equal(program_start(program, &pid), 0);
    close(ends[1]);
    while ((n = read(ends[0], text + length, room - 1 - length)) > 0)
        length += (size_t)n;
    text[length] = 0;
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void it_has_the_standard_descriptors_alone(void **state)
{
    char text[200];
    int low = open("/dev/null", O_RDONLY), high = fcntl(low, F_DUPFD, 200); /* both inheritable */
    struct program program = {.file_count = 3};
    run(&program, LIST, text, sizeof text);
    assert_string_equal(text, "0 1 2 ");
    close(low);
    close(high);
}

static void it_has_what_is_named(void **state)
{
    char text[200];
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC), kept = fcntl(null, F_DUPFD_CLOEXEC, 77);
    struct program program = {.files = {[3] = null, [4] = kept}, .file_count = 5, .kept = {kept}};
    run(&program, LIST, text, sizeof text);
    assert_string_equal(text, "0 1 2 3 4 77 ");
    assert_int_equal(fcntl(kept, F_GETFD), FD_CLOEXEC); /* still ours */
    close(null);
    close(kept);
}

/* Each becomes the other's number. */
static void no_descriptor_is_lost_to_another_one(void **state)
{
    char text[200];
    int three = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    int four = open("/dev/full", O_RDONLY | O_CLOEXEC);
    assert_true(dup3(three, 13, O_CLOEXEC) == 13 && dup3(four, 14, O_CLOEXEC) == 14);
    close(three);
    close(four);
    if (dup3(14, 3, O_CLOEXEC) != 3 || dup3(13, 4, O_CLOEXEC) != 4)
        fail();
    struct program program = {.files = {[3] = 4, [4] = 3}, .file_count = 5};
    run(&program, "readlink /proc/$$/fd/3 /proc/$$/fd/4", text, sizeof text);
    assert_string_equal(text, "/dev/zero\n/dev/full\n");
    for (int fd = 3; fd <= 14; fd++)
        if (fd == 3 || fd == 4 || fd == 13 || fd == 14)
            close(fd);
}

/* Fields of /proc/PID/stat after the name: state, parent, process group, session. */
static void read_groups(enum program_group group, int *ret_group, int *ret_session)
{
    char text[400];
    struct program program = {.file_count = 3, .group = group};
    run(&program, "cat /proc/$$/stat", text, sizeof text);
    assert_int_equal(sscanf(strrchr(text, ')'), ") %*c %*d %d %d", ret_group, ret_session), 2);
}

static void a_group_or_a_session_is_its_own(void **state)
{
    int group, session;
    read_groups(PROGRAM_GROUP_OURS, &group, &session);
    assert_true(group == getpgrp() && session == getsid(0));
    read_groups(PROGRAM_GROUP_OWN, &group, &session);
    assert_true(group != getpgrp() && session == getsid(0));
    read_groups(PROGRAM_SESSION, &group, &session);
    assert_true(group == session && session != getsid(0));
}

static void no_signal_is_blocked_or_ignored(void **state)
{
    char text[400];
    sigset_t set, before;
    struct program program = {.file_count = 3};
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, &before);
    void (*was)(int) = signal(SIGPIPE, SIG_IGN);
    run(&program, "grep -E 'Sig(Blk|Ign)' /proc/self/status", text, sizeof text);
    signal(SIGPIPE, was);
    sigprocmask(SIG_SETMASK, &before, NULL);
    unsigned long long blocked, ignored;
    assert_int_equal(sscanf(text, "SigBlk: %llx SigIgn: %llx", &blocked, &ignored), 2);
    assert_int_equal(blocked, 0);
    assert_int_equal(ignored & 0x7fffffff, 0); /* those from 32 on are the C library's own */
}

static void one_that_is_not_there_is_told(void **state)
{
    char *const arguments[] = {"godwit-no-such-program", NULL};
    struct program program = {.arguments = arguments, .file_count = 3};
    pid_t pid;
    assert_int_equal(program_start(&program, &pid), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_has_the_standard_descriptors_alone),
        cmocka_unit_test(it_has_what_is_named),
        cmocka_unit_test(no_descriptor_is_lost_to_another_one),
        cmocka_unit_test(a_group_or_a_session_is_its_own),
        cmocka_unit_test(no_signal_is_blocked_or_ignored),
        cmocka_unit_test(one_that_is_not_there_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
