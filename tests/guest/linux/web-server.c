/* SPDX-License-Identifier: Apache-2.0 */
/*
 * web-server [PORT]: answers every GET with a small page, over HTTP/1.1 connections that are kept alive (which
 * busybox's httpd does not do). The page tells which request of its connection it answers and how long the guest has
 * been up, so that a client notices an answer that is missing or came twice.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pattern.h"

#define MAX_CONNECTIONS 128
#define REQUEST_BYTES 2048

struct connection {
    unsigned long answered;
    size_t length;
    char request[REQUEST_BYTES + 1];
};

/* Entry 0 is the listener's. */
static struct pollfd polled[MAX_CONNECTIONS + 1];
static struct connection connections[MAX_CONNECTIONS + 1];
static nfds_t count = 1;

static bool answer(int fd, struct connection *connection, bool last)
{
    char page[128], text[384];
    int length = snprintf(page, sizeof(page), "request %lu at %llu ms\n", ++connection->answered,
                          (unsigned long long)now_ms());
    length = snprintf(text, sizeof(text),
                      "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: %s\r\n\r\n%s",
                      length, last ? "close" : "keep-alive", page);
    return write(fd, text, (size_t)length) == length;
}

/* Answers all requests that are whole; whether the connection goes on. */
static bool serve(int fd, struct connection *connection)
{
    ssize_t n = read(fd, connection->request + connection->length, REQUEST_BYTES - connection->length);
    char *end;
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    connection->length += (size_t)n;
    connection->request[connection->length] = 0;
    while ((end = strstr(connection->request, "\r\n\r\n"))) {
        *end = 0;
        bool last = strstr(connection->request, "Connection: close") != NULL;
        if (strncmp(connection->request, "GET ", 4) != 0 || !answer(fd, connection, last) || last)
            return false;
        connection->length -= (size_t)(end + 4 - connection->request);
        memmove(connection->request, end + 4, connection->length + 1);
    }
    return connection->length < REQUEST_BYTES;
}

static void accept_connection(void)
{
    int on = 1, fd = accept4(polled[0].fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    if (count > MAX_CONNECTIONS) {
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    polled[count] = (struct pollfd){.fd = fd, .events = POLLIN};
    connections[count].answered = connections[count].length = 0;
    count++;
}

static void forget(nfds_t index)
{
    close(polled[index].fd);
    count--;
    polled[index] = polled[count];
    connections[index] = connections[count];
}

int main(int argc, char **argv)
{
    struct sockaddr_in6 here = {.sin6_family = AF_INET6,
                                .sin6_port = htons(argc > 1 ? (uint16_t)strtoul(argv[1], NULL, 10) : 80)};
    int on = 1, fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    signal(SIGPIPE, SIG_IGN);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof(here)) < 0 || listen(fd, MAX_CONNECTIONS) < 0) {
        printf("godwit: BAD web-server: %s\n", strerror(errno));
        return 1;
    }
    printf("web-server: listening\n");
    fflush(stdout);
    polled[0] = (struct pollfd){.fd = fd, .events = POLLIN};
    for (;;) {
        if (poll(polled, count, -1) < 0)
            continue;
        for (nfds_t i = count; --i > 0;)
            if (polled[i].revents && !serve(polled[i].fd, &connections[i]))
                forget(i);
        if (polled[0].revents)
            accept_connection();
    }
}
