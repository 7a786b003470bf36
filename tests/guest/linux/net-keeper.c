/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net-keeper: what a client outside needs to find out whether a network follows its guest.
 *
 * TCP port 7000: a checked stream. Bytes that come must be those of the stream to the guest, each is answered by
 * one of the stream from the guest (both follow from the position alone), so the client sets the pace.
 * TCP port 7001: an echo, for a session that is mostly idle. UDP port 7001: the same for datagrams.
 * TCP port 7002 takes what comes, 7003 sends, asked by a byte, as much as is taken: to measure how fast that goes.
 * A wrong byte and a connection that does not end in order are told on the console.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pattern.h"

#define STREAM_PORT 7000
#define ECHO_PORT 7001
#define SINK_PORT 7002
#define SOURCE_PORT 7003
#define DATAGRAM_BYTES 65536
#define PIECE_BYTES 16384
#define LOAD_BYTES 65536

enum { TO_GUEST = 1, FROM_GUEST = 2 }; /* which stream: the count of its pattern */

static int failed(const char *what)
{
    printf("godwit: BAD net-keeper: %s: %s\n", what, strerror(errno));
    fflush(stdout);
    return 1;
}

static uint8_t stream_byte(int stream, uint64_t position)
{
    return (uint8_t)(pattern_base(position / 8, (uint64_t)stream) >> (position % 8 * 8));
}

static bool stream_verify(const uint8_t *bytes, size_t count, uint64_t position)
{
    for (size_t i = 0; i < count; i++)
        if (bytes[i] != stream_byte(TO_GUEST, position + i)) {
            printf("godwit: BAD stream byte %llu is %02x\n", (unsigned long long)(position + i), bytes[i]);
            fflush(stdout);
            return false;
        }
    return true;
}

static bool write_all(int fd, const uint8_t *bytes, size_t count)
{
    for (ssize_t n; count > 0; bytes += n, count -= (size_t)n) {
        n = write(fd, bytes, count);
        if (n < 0)
            return false;
    }
    return true;
}

static int serve_stream(int fd)
{
    uint8_t bytes[PIECE_BYTES];
    uint64_t position = 0;
    for (ssize_t n; (n = read(fd, bytes, sizeof(bytes))) != 0; position += (uint64_t)n) {
        if (n < 0)
            return failed("the stream broke");
        if (!stream_verify(bytes, (size_t)n, position))
            return 1;
        for (ssize_t i = 0; i < n; i++)
            bytes[i] = stream_byte(FROM_GUEST, position + (uint64_t)i);
        if (!write_all(fd, bytes, (size_t)n))
            return failed("the stream broke");
    }
    printf("stream: %llu bytes, all good\n", (unsigned long long)position);
    fflush(stdout);
    return 0;
}

static int serve_echo(int fd)
{
    uint8_t bytes[PIECE_BYTES];
    for (ssize_t n; (n = read(fd, bytes, sizeof(bytes))) != 0;)
        if (n < 0 || !write_all(fd, bytes, (size_t)n))
            return failed("the echo broke");
    return 0;
}

static int serve_sink(int fd)
{
    static uint8_t bytes[LOAD_BYTES];
    while (read(fd, bytes, sizeof(bytes)) > 0) {
    }
    return 0;
}

static int serve_source(int fd)
{
    static uint8_t bytes[LOAD_BYTES];
    if (read(fd, bytes, 1) != 1)
        return 0;
    while (write_all(fd, bytes, sizeof(bytes))) {
    }
    return 0;
}

static int serve_datagrams(int fd)
{
    static uint8_t bytes[DATAGRAM_BYTES];
    for (;;) {
        struct sockaddr_in6 from;
        socklen_t length = sizeof(from);
        ssize_t n = recvfrom(fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&from, &length);
        if (n >= 0)
            (void)sendto(fd, bytes, (size_t)n, 0, (struct sockaddr *)&from, length);
        else if (errno != EINTR)
            return failed("receiving datagrams");
    }
}

/* Of both families. */
static int open_socket(int type, uint16_t port)
{
    struct sockaddr_in6 here = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    int fd = socket(AF_INET6, type | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof(here)) < 0 ||
        (type == SOCK_STREAM && listen(fd, 16) < 0))
        exit(failed("a socket"));
    return fd;
}

static int serve_connections(int listener, int (*serve)(int fd))
{
    for (int on = 1;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            return failed("accepting a connection");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if (fork() == 0)
            exit(serve(fd));
        close(fd);
    }
}

static const struct {
    uint16_t port;
    int (*serve)(int fd);
} services[] = {
    {STREAM_PORT, serve_stream}, {ECHO_PORT, serve_echo}, {SINK_PORT, serve_sink}, {SOURCE_PORT, serve_source}};
#define SERVICES (sizeof(services) / sizeof(services[0]))

int main(void)
{
    int listeners[SERVICES];
    signal(SIGCHLD, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    int datagrams = open_socket(SOCK_DGRAM, ECHO_PORT);
    for (size_t i = 0; i < SERVICES; i++)
        listeners[i] = open_socket(SOCK_STREAM, services[i].port);
    printf("net-keeper: listening\n");
    fflush(stdout);
    for (size_t i = 0; i < SERVICES; i++)
        if (fork() == 0)
            return serve_connections(listeners[i], services[i].serve);
    return serve_datagrams(datagrams);
}
