/* SPDX-License-Identifier: Apache-2.0 */
/* relay PATH: joins stdin and stdout with the Unix socket at PATH, as a command behind exec: does. */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int pump(int from, int to)
{
    char bytes[65536];
    ssize_t got = read(from, bytes, sizeof bytes);
    for (ssize_t done = 0; done < got;) {
        ssize_t put = write(to, bytes + done, (size_t)(got - done));
        if (put < 0)
            return -1;
        done += put;
    }
    return got > 0 ? 0 : -1;
}

int main(int count, char **arguments)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int peer = socket(AF_UNIX, SOCK_STREAM, 0);
    if (count != 2 || strlen(arguments[1]) >= sizeof address.sun_path)
        return 2;
    strcpy(address.sun_path, arguments[1]);
    if (connect(peer, (struct sockaddr *)&address, sizeof address) < 0)
        return 1;
    struct pollfd polled[2] = {{STDIN_FILENO, POLLIN, 0}, {peer, POLLIN, 0}};
    while (polled[1].fd >= 0 && poll(polled, 2, -1) > 0) {
        if (polled[0].revents && pump(STDIN_FILENO, peer) < 0) {
            shutdown(peer, SHUT_WR);
            polled[0].fd = -1;
        }
        if (polled[1].revents && pump(peer, STDOUT_FILENO) < 0)
            polled[1].fd = -1;
    }
    return 0;
}
