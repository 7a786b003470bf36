/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Traffic for a guest, made outside of it, at little cost:
 *
 *   net-load frames INTERFACE MAC BYTES SECONDS [tso]   frames into a tap, so many at most waiting
 * in it net-load echo ADDRESS PORT BYTES WINDOW SECONDS     numbered datagrams and their answers
 *   net-load datagrams PORT SECONDS                     counts datagrams that come
 *   net-load tcp-in ADDRESS PORT SECONDS                what a stream brings
 *   net-load tcp-out ADDRESS PORT SECONDS               what a stream takes
 *
 * Prints a line of words: frames=, bytes=, seconds=, and for an echo lost=, median_us=, slow_us=
 * (99 %).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/clock.h"

#define BURST 64u
#define FRAME_MAX 65550u
#define TAP_WINDOW 512u /* of the 1000 that a tap keeps by default */
#define WINDOW_MAX 1024u
#define TIMES_MAX (1u << 20)
#define SECOND_NS UINT64_C(1000000000)
#define ETHERTYPE_IP 0x0800
#define NUMBER_AT_UDP 42u
#define NUMBER_AT_TCP 54u
#define SEGMENT_BYTES 1448u

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "net-load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t number_of(const char *text)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (*end != 0 || end == text || errno != 0) {
        fprintf(stderr, "net-load: '%s' is no number\n", text);
        exit(2);
    }
    return value;
}

static void put16(uint8_t *to, unsigned value)
{
    to[0] = (uint8_t)(value >> 8);
    to[1] = (uint8_t)value;
}

static void put64(uint8_t *to, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        to[i] = (uint8_t)(value >> (56 - 8 * i));
}

static uint64_t get64(const uint8_t *from)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value = value << 8 | from[i];
    return value;
}

/* ---- Frames into a tap ---- */

struct tap {
    int socket, counter; /* /proc/net/dev tells how many frames the reader has taken */
    const char *name;
    uint64_t before;
};

/* A line "NAME: " with eight numbers of what came out of it and eight of what went in, packets
 * second. */
static uint64_t tap_taken(const struct tap *tap)
{
    char text[8192], name[IF_NAMESIZE + 1];
    ssize_t n = pread(tap->counter, text, sizeof text - 1, 0);
    snprintf(name, sizeof name, "%s:", tap->name);
    if (n <= 0)
        die("/proc/net/dev");
    text[n] = 0;
    uint64_t taken;
    const char *line = strstr(text, name);
    if (!line ||
        sscanf(line + strlen(name), "%*u %*u %*u %*u %*u %*u %*u %*u %*u %lu", &taken) != 1)
        die(tap->name);
    return taken - tap->before;
}

static struct tap tap_open(const char *interface, bool tso)
{
    struct tap tap = {.name = interface, .socket = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)};
    struct sockaddr_ll where = {.sll_family = AF_PACKET,
                                .sll_ifindex = (int)if_nametoindex(interface)};
    int on = 1, room = 16 << 20;
    /* Sent around the queueing discipline: the tap's own queue is the only one. */
    if (tap.socket < 0 || bind(tap.socket, (struct sockaddr *)&where, sizeof where) < 0 ||
        setsockopt(tap.socket, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on) < 0 ||
        setsockopt(tap.socket, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room) < 0 ||
        (tso && setsockopt(tap.socket, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) < 0))
        die(interface);
    tap.counter = open("/proc/net/dev", O_RDONLY | O_CLOEXEC);
    if (tap.counter < 0)
        die("/proc/net/dev");
    tap.before = tap_taken(&tap);
    return tap;
}

struct load {
    struct virtio_net_hdr header; /* with tso only */
    uint8_t frame[NUMBER_AT_TCP + 16];
    size_t bytes, number_at;
};

/* A datagram or a TCP segment from nobody to the guest's card. Checksums: none, or left to the
 * guest. */
static struct load make_load(const char *mac, size_t bytes, bool tso)
{
    struct load load = {.bytes = bytes, .number_at = tso ? NUMBER_AT_TCP : NUMBER_AT_UDP};
    uint8_t *frame = load.frame, *ip = frame + 14;
    unsigned to[6];
    if (sscanf(mac, "%x:%x:%x:%x:%x:%x", &to[0], &to[1], &to[2], &to[3], &to[4], &to[5]) != 6 ||
        bytes < NUMBER_AT_TCP + 6 || bytes > FRAME_MAX - 14) {
        fprintf(stderr, "net-load: no address or no length of a frame\n");
        exit(2);
    }
    for (int i = 0; i < 6; i++)
        frame[i] = (uint8_t)to[i];
    frame[6] = 2;
    put16(frame + 12, ETHERTYPE_IP);
    ip[0] = 0x45;
    put16(ip + 2, (unsigned)(bytes - 14));
    ip[8] = 64;
    ip[9] = tso ? IPPROTO_TCP : IPPROTO_UDP;
    put16(ip + 22, 9);
    put16(ip + 24, (unsigned)(bytes - 34));
    if (tso) {
        put16(ip + 24, 0);
        ip[32] = 0x50;
        ip[33] = 0x10;
        load.header = (struct virtio_net_hdr){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                              .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
                                              .hdr_len = NUMBER_AT_TCP,
                                              .gso_size = SEGMENT_BYTES,
                                              .csum_start = 34,
                                              .csum_offset = 16};
    }
    memcpy(frame + load.number_at, "godwit1\n", 8);
    return load;
}

static uint64_t send_burst(const struct tap *tap, const struct load *load, bool tso,
                           uint64_t number)
{
    static uint8_t rest[FRAME_MAX];
    static struct load copies[BURST];
    struct mmsghdr messages[BURST];
    struct iovec pieces[BURST][3];
    size_t head = load->number_at + 16 < load->bytes ? load->number_at + 16 : load->bytes;
    memset(messages, 0, sizeof messages);
    if (rest[0] == 0)
        memset(rest, 'x', sizeof rest); /* not all one page of zeroes */
    for (unsigned i = 0; i < BURST; i++) {
        copies[i] = *load;
        if (head == load->number_at + 16)
            put64(copies[i].frame + load->number_at + 8, number + i);
        pieces[i][0] = (struct iovec){&copies[i].header, sizeof load->header};
        pieces[i][1] = (struct iovec){copies[i].frame, head};
        pieces[i][2] = (struct iovec){rest, load->bytes - head};
        messages[i].msg_hdr.msg_iov = tso ? pieces[i] : pieces[i] + 1;
        messages[i].msg_hdr.msg_iovlen = (tso ? 1u : 0u) + (load->bytes > head ? 2u : 1u);
    }
    int sent = sendmmsg(tap->socket, messages, BURST, 0);
    if (sent < 0 && errno != ENOBUFS && errno != EAGAIN)
        die("sendmmsg");
    return sent < 0 ? 0 : (uint64_t)sent;
}

static int frames(char **words, bool tso)
{
    struct tap tap = tap_open(words[0], tso);
    struct load load = make_load(words[1], number_of(words[2]), tso);
    uint64_t began = host_monotonic_ns(), end = began + number_of(words[3]) * SECOND_NS, sent = 0,
             window = tso ? 64 : TAP_WINDOW;
    while (host_monotonic_ns() < end) {
        if (sent - tap_taken(&tap) <= window - BURST)
            sent += send_burst(&tap, &load, tso, sent);
        else
            usleep(50);
    }
    double seconds = (double)(host_monotonic_ns() - began) / 1e9;
    usleep(20000);
    uint64_t taken = tap_taken(&tap);
    printf("frames=%lu bytes=%lu seconds=%.3f lost=%ld\n", taken, taken * load.bytes, seconds,
           (long)(sent - taken));
    return 0;
}

/* ---- Sockets ---- */

static int open_to(const char *address, const char *port, int type)
{
    struct sockaddr_in there = {.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)number_of(port))};
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), room = 4 << 20;
    if (fd < 0 || inet_pton(AF_INET, address, &there.sin_addr) != 1)
        die(address);
    if (type == SOCK_DGRAM)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    if (connect(fd, (struct sockaddr *)&there, sizeof there) < 0)
        die(address);
    return fd;
}

static void limit_waits(int fd, unsigned ms)
{
    const struct timeval wait = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
}

struct echo {
    int fd;
    size_t bytes;
    uint64_t next; /* number of the next datagram */
    uint64_t answered, lost, under_way;
    uint64_t *times_ns; /* of answers, TIMES_MAX at most */
    size_t times;
    uint64_t sent_ns[WINDOW_MAX * 2]; /* by number */
    uint8_t out[BURST][FRAME_MAX], in[BURST][FRAME_MAX];
    struct mmsghdr messages[BURST];
    struct iovec pieces[BURST];
};

static void prepare_messages(struct echo *echo, uint8_t (*buffers)[FRAME_MAX], size_t bytes)
{
    memset(echo->messages, 0, sizeof echo->messages);
    for (unsigned i = 0; i < BURST; i++) {
        echo->pieces[i] = (struct iovec){buffers[i], bytes};
        echo->messages[i].msg_hdr.msg_iov = &echo->pieces[i];
        echo->messages[i].msg_hdr.msg_iovlen = 1;
    }
}

static void ask(struct echo *echo, uint64_t window)
{
    while (echo->under_way < window) {
        unsigned count =
            window - echo->under_way < BURST ? (unsigned)(window - echo->under_way) : BURST;
        uint64_t now = host_monotonic_ns();
        prepare_messages(echo, echo->out, echo->bytes);
        for (unsigned i = 0; i < count; i++) {
            put64(echo->out[i], echo->next + i);
            echo->sent_ns[(echo->next + i) % (WINDOW_MAX * 2)] = now;
        }
        int sent = sendmmsg(echo->fd, echo->messages, count, 0);
        if (sent <= 0 && errno != EAGAIN && errno != ENOBUFS && errno != ECONNREFUSED)
            die("sendmmsg");
        if (sent <= 0)
            return;
        echo->next += (uint64_t)sent;
        echo->under_way += (uint64_t)sent;
    }
}

static void take_answers(struct echo *echo)
{
    prepare_messages(echo, echo->in, FRAME_MAX);
    int count = recvmmsg(echo->fd, echo->messages, BURST, MSG_WAITFORONE, NULL);
    uint64_t now = host_monotonic_ns();
    if (count < 0) { /* nothing for a while: what is under way is lost */
        echo->lost += echo->under_way;
        echo->under_way = 0;
    }
    for (int i = 0; i < count; i++) {
        uint64_t number = get64(echo->in[i]);
        if (number + WINDOW_MAX * 2 <= echo->next || echo->under_way == 0)
            continue; /* it was given up */
        echo->under_way--;
        echo->answered++;
        if (echo->times < TIMES_MAX)
            echo->times_ns[echo->times++] = now - echo->sent_ns[number % (WINDOW_MAX * 2)];
    }
}

static int compare(const void *one, const void *other)
{
    uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;
    return a < b ? -1 : a > b;
}

static int echo(char **words)
{
    static struct echo echo;
    uint64_t window = number_of(words[3]);
    echo.bytes = number_of(words[2]);
    echo.times_ns = calloc(TIMES_MAX, sizeof *echo.times_ns);
    if (window < 1 || window > WINDOW_MAX || echo.bytes < 8 || echo.bytes > FRAME_MAX ||
        !echo.times_ns) {
        fprintf(stderr, "net-load: 1 to %u datagrams of 8 to %u bytes\n", WINDOW_MAX, FRAME_MAX);
        return 2;
    }
    echo.fd = open_to(words[0], words[1], SOCK_DGRAM);
    limit_waits(echo.fd, 100);
    uint64_t began = host_monotonic_ns(), end = began + number_of(words[4]) * SECOND_NS;
    while (host_monotonic_ns() < end) {
        ask(&echo, window);
        take_answers(&echo);
    }
    double seconds = (double)(host_monotonic_ns() - began) / 1e9;
    qsort(echo.times_ns, echo.times, sizeof *echo.times_ns, compare);
    size_t last = echo.times ? echo.times - 1 : 0;
    printf("frames=%lu bytes=%lu seconds=%.3f lost=%lu median_us=%.1f slow_us=%.1f\n",
           echo.answered, echo.answered * echo.bytes, seconds, echo.lost,
           (double)echo.times_ns[last / 2] / 1e3, (double)echo.times_ns[last * 99 / 100] / 1e3);
    return 0;
}

static int datagrams(char **words)
{
    static uint8_t buffers[BURST][FRAME_MAX];
    struct mmsghdr messages[BURST] = {0};
    struct iovec pieces[BURST];
    struct sockaddr_in here = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)number_of(words[0]))};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), room = 4 << 20;
    if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof here) < 0)
        die("socket");
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    limit_waits(fd, 100);
    for (unsigned i = 0; i < BURST; i++) {
        pieces[i] = (struct iovec){buffers[i], FRAME_MAX};
        messages[i].msg_hdr.msg_iov = &pieces[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    uint64_t began = host_monotonic_ns(), end = began + number_of(words[1]) * SECOND_NS, count = 0,
             bytes = 0;
    while (host_monotonic_ns() < end) {
        int got = recvmmsg(fd, messages, BURST, MSG_WAITFORONE, NULL);
        for (int i = 0; i < got; i++, count++)
            bytes += messages[i].msg_len;
    }
    printf("frames=%lu bytes=%lu seconds=%.3f\n", count, bytes,
           (double)(host_monotonic_ns() - began) / 1e9);
    return 0;
}

static int tcp(char **words, ssize_t (*move)(int fd, void *bytes, size_t count))
{
    static uint8_t bytes[256 << 10];
    int fd = open_to(words[0], words[1], SOCK_STREAM);
    const struct timeval wait = {.tv_usec = 100000};
    limit_waits(fd, 100);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    if (send(fd, bytes, 1, MSG_NOSIGNAL) !=
        1) /* asks for the stream: some proxies wait for the client's first word */
        die("send");
    uint64_t began = host_monotonic_ns(), end = began + number_of(words[2]) * SECOND_NS, total = 0;
    while (host_monotonic_ns() < end) {
        ssize_t n = move(fd, bytes, sizeof bytes);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK))
            die("the stream ended");
        total += n > 0 ? (uint64_t)n : 0;
    }
    printf("frames=0 bytes=%lu seconds=%.3f\n", total, (double)(host_monotonic_ns() - began) / 1e9);
    return 0;
}

static ssize_t take(int fd, void *bytes, size_t count)
{
    return recv(fd, bytes, count, 0);
}

static ssize_t give(int fd, void *bytes, size_t count)
{
    return send(fd, bytes, count, MSG_NOSIGNAL);
}

int main(int count, char **words)
{
    const char *what = count > 1 ? words[1] : "";
    if (strcmp(what, "frames") == 0 && (count == 6 || (count == 7 && strcmp(words[6], "tso") == 0)))
        return frames(words + 2, count == 7);
    if (strcmp(what, "echo") == 0 && count == 7)
        return echo(words + 2);
    if (strcmp(what, "datagrams") == 0 && count == 4)
        return datagrams(words + 2);
    if (strcmp(what, "tcp-in") == 0 && count == 5)
        return tcp(words + 2, take);
    if (strcmp(what, "tcp-out") == 0 && count == 5)
        return tcp(words + 2, give);
    fprintf(stderr, "net-load: its first lines tell what it wants\n");
    return 2;
}
