/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The framings are QEMU's: a QEMU without a machine joins one of its stream sockets, one of its
 * datagram sockets and a hub, and what goes in at one comes out at the other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net-bench.h"

static const char *const programs[] = {"qemu-system-riscv64", "qemu-system-x86_64"};

static bool is_installed(const char *program)
{
    char command[96];
    snprintf(command, sizeof command, "command -v %s >/dev/null 2>&1", program);
    return system(command) == 0;
}

static pid_t start_qemu(const char *program, const char *stream, const char *local,
                        const char *remote)
{
    char from[300], to[300];
    snprintf(from, sizeof from, "stream,id=s,server=%s,addr.type=unix,addr.path=%s",
             strstr(stream, "listened") ? "off" : "on", stream);
    snprintf(to, sizeof to,
             "dgram,id=d,local.type=unix,local.path=%s,remote.type=unix,remote.path=%s", local,
             remote);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execlp(program, program, "-M", "none", "-display", "none", "-monitor", "none", "-serial",
               "none", "-netdev", from, "-netdev", to, "-netdev", "hubport,id=a,hubid=0,netdev=s",
               "-netdev", "hubport,id=b,hubid=0,netdev=d", (char *)NULL);
        _exit(127);
    }
    return child;
}

static void exchange(struct bench *stream, struct bench *datagram)
{
    static const size_t sizes[] = {60, 61, 1514, 9014, 65000};
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_int_equal(bench_send(stream, 0, sizes[i], i), 0);
        bench_expect_frame(datagram, 0, sizes[i], i);
        assert_int_equal(bench_send(datagram, 0, sizes[i], 100 + i), 0);
        bench_expect_frame(stream, 0, sizes[i], 100 + i);
    }
}

static void frames_pass_through_qemu(bool we_listen)
{
    struct bench stream, datagram;
    char stream_at[96], ours[96], theirs[96], text[300];
    const char *program = is_installed(programs[0]) ? programs[0] : programs[1];
    if (!is_installed(program)) {
        print_message("skipped: neither %s nor %s is installed\n", programs[0], programs[1]);
        skip();
    }
    snprintf(stream_at, sizeof stream_at, "%s", bench_path(we_listen ? "listened" : "dialled"));
    snprintf(ours, sizeof ours, "%s", bench_path("ours"));
    snprintf(theirs, sizeof theirs, "%s", bench_path("theirs"));
    snprintf(text, sizeof text, "socket:%sunix:%s", we_listen ? "listen:" : "", stream_at);
    bench_new(&stream, text);
    bench_acquire(&stream);
    snprintf(text, sizeof text, "socket:dgram:%s:%s", ours, theirs);
    bench_new(&datagram, text);
    bench_acquire(&datagram);
    pid_t qemu = start_qemu(program, stream_at, theirs, ours);
    for (unsigned i = 0; i < 1000 && !(stream.net->link_up && datagram.net->link_up); i++) {
        bench_run_for(&stream, 5);
        bench_run_for(&datagram, 5);
        assert_int_equal(waitpid(qemu, NULL, WNOHANG), 0);
    }
    bench_expect_up(&stream);
    bench_expect_up(&datagram);
    exchange(&stream, &datagram);
    kill(qemu, SIGKILL);
    waitpid(qemu, NULL, 0);
    bench_expect_down(&stream, "closed the connection");
    bench_free(&stream);
    bench_free(&datagram);
}

static void we_dial(void **state)
{
    frames_pass_through_qemu(false);
}

static void qemu_dials(void **state)
{
    frames_pass_through_qemu(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(we_dial),
        cmocka_unit_test(qemu_dials),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    bench_remove_folder();
    return failed;
}
