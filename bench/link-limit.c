/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host's sockets can carry at most: a plain loop of send() from populated memory in one
 * process, recv() into populated memory in another. The engine's speed is told as a share of it.
 *
 *     link-limit [MIB [PIECE-KIB]]
 *
 * Prints one line for each link: "tcp 2.71 GB/s".
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

struct job {
    size_t total, piece;
    uint8_t *memory; /* private to each process after the fork; both touch all of it beforehand */
};

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void make_unix_pair(int *fds)
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        fail("socketpair");
}

static void make_tcp_pair(int *fds)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) < 0 ||
        listen(listener, 1) < 0 || getsockname(listener, (struct sockaddr *)&address, &length) < 0)
        fail("listen");
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fds[0] < 0 || connect(fds[0], (struct sockaddr *)&address, length) < 0)
        fail("connect");
    fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fds[1] < 0 || setsockopt(fds[0], IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) < 0)
        fail("accept");
    close(listener);
}

static size_t piece_at(const struct job *job, size_t at)
{
    return job->total - at < job->piece ? job->total - at : job->piece;
}

static void receive_all(const struct job *job, int fd)
{
    for (size_t at = 0; at < job->total;) {
        ssize_t n = recv(fd, job->memory + at, piece_at(job, at), 0);
        if (n <= 0)
            fail("recv");
        at += (size_t)n;
    }
    if (send(fd, "", 1, MSG_NOSIGNAL) != 1)
        fail("send");
}

static void send_all(const struct job *job, int fd)
{
    char done;
    for (size_t at = 0; at < job->total;) {
        ssize_t n = send(fd, job->memory + at, piece_at(job, at), MSG_NOSIGNAL);
        if (n < 0)
            fail("send");
        at += (size_t)n;
    }
    if (recv(fd, &done, 1, 0) != 1)
        fail("recv");
}

static uint8_t *map_populated(size_t bytes)
{
    uint8_t *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        fail("mmap");
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t value = (i + 1) * 0x9e3779b97f4a7c15u;
        memcpy(memory + i, &value, sizeof value);
    }
    return memory;
}

/* Waits until the other process has touched its memory, so that first touch is not measured. */
static void run(const char *name, void (*make_pair)(int *), size_t total, size_t piece)
{
    int fds[2];
    char ready;
    make_pair(fds);
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    struct job job = {total, piece, map_populated(total)};
    if (child == 0) {
        if (send(fds[1], "", 1, MSG_NOSIGNAL) != 1)
            fail("send");
        receive_all(&job, fds[1]);
        _exit(0);
    }
    close(fds[1]);
    if (recv(fds[0], &ready, 1, 0) != 1)
        fail("recv");
    uint64_t began = host_monotonic_ns();
    send_all(&job, fds[0]);
    double seconds = (double)(host_monotonic_ns() - began) / 1e9;
    waitpid(child, NULL, 0);
    printf("%s %.2f GB/s\n", name, (double)total / 1e9 / seconds);
    close(fds[0]);
    munmap(job.memory, total);
}

/* A number of `unit` bytes, from 1 to `most`; 0 when the text is something else. */
static size_t parse_size(const char *text, size_t unit, unsigned long most)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0' && value <= most ? value * unit : 0;
}

int main(int argument_count, char **arguments)
{
    size_t total = argument_count > 1 ? parse_size(arguments[1], 1 << 20, 65536) : 1024u << 20;
    size_t piece = argument_count > 2 ? parse_size(arguments[2], 1 << 10, 1 << 20) : 1024u << 10;
    if (total == 0 || piece == 0 || argument_count > 3) {
        fprintf(stderr, "usage: link-limit [MIB [PIECE-KIB]]\n");
        return 2;
    }
    run("tcp", make_tcp_pair, total, piece);
    run("unix", make_unix_pair, total, piece);
    return 0;
}
