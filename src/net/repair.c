/* SPDX-License-Identifier: Apache-2.0 */
#include "net/repair.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "net/repair-keep.h"

#define HELPER_MS 500

union control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(REPAIR_ORDER_SOCKETS * sizeof(int))];
};

/* What passt asks for: the option's value, and of which sockets. */
struct order {
    int8_t value;
    int sockets[REPAIR_ORDER_SOCKETS];
    unsigned count;
};

/* ---- Orders ---- */

static void close_sockets(struct order *order)
{
    for (unsigned i = 0; i < order->count; i++)
        close(order->sockets[i]);
    order->count = 0;
}

static int unpack(struct msghdr *message, struct order *order)
{
    const struct cmsghdr *header = CMSG_FIRSTHDR(message);
    if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
        return -EPROTO;
    order->count = (unsigned)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    memcpy(order->sockets, CMSG_DATA(header), order->count * sizeof(int)); /* has room for all */
    return message->msg_flags & MSG_CTRUNC ? -EMFILE : 0;
}

/* 1: one came; 0: nobody is there any more. */
static int receive_order(int fd, struct order *order)
{
    union control control;
    struct iovec iov = {&order->value, 1};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    order->count = 0;
    ssize_t n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n == 0)
        return 0;
    if (n < 0)
        return errno == ECONNRESET ? 0 : -errno;
    int r = unpack(&message, order);
    if (r == 0 && order->value != TCP_REPAIR_ON && order->value != TCP_REPAIR_OFF &&
        order->value != TCP_REPAIR_OFF_NO_WP)
        r = -EPROTO;
    return r < 0 ? r : 1;
}

static int send_order(int fd, int8_t value, const int *sockets, unsigned count)
{
    union control control = {.bytes = {0}};
    struct iovec iov = {&value, 1};
    const size_t bytes = count * sizeof *sockets;
    const struct msghdr message = {.msg_iov = &iov,
                                   .msg_iovlen = 1,
                                   .msg_control = control.bytes,
                                   .msg_controllen = CMSG_SPACE(bytes)};
    control.header = (struct cmsghdr){
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(bytes)};
    memcpy(CMSG_DATA(&control.header), sockets, bytes);
    return sendmsg(fd, &message, MSG_NOSIGNAL) == 1 ? 0 : -EIO;
}

static int let_helper(int fd, int8_t value, const int *sockets, unsigned count)
{
    struct pollfd wait = {fd, POLLIN, 0};
    int8_t answer;
    int r = send_order(fd, value, sockets, count);
    if (r < 0)
        return r;
    if (poll(&wait, 1, HELPER_MS) != 1)
        return -ETIMEDOUT;
    return recv(fd, &answer, 1, MSG_DONTWAIT) == 1 && answer == value ? 0 : -EPERM;
}

int repair_set(struct repair_helper *helper, int8_t value, const int *sockets, unsigned count)
{
    const int option = value;
    if (helper->needed) {
        int r = let_helper(helper->fd, value, sockets, count);
        if (r < 0)
            repair_helper_end(helper);
        return r;
    }
    for (unsigned i = 0; i < count; i++)
        if (setsockopt(sockets[i], IPPROTO_TCP, TCP_REPAIR, &option, sizeof option) < 0)
            return -errno;
    return 0;
}

static int carry_out(const struct repair *repair, const struct order *order)
{
    return repair_set(repair->helper, order->value, order->sockets, order->count);
}

/* ---- Sockets that go ---- */

static int silence(const struct order *order)
{
    int r = 0;
    for (unsigned i = 0; r == 0 && i < order->count; i++)
        r = repair_deafen(order->sockets[i]);
    return r;
}

static void unsilence(const struct order *order)
{
    for (unsigned i = 0; i < order->count; i++)
        repair_undeafen(order->sockets[i]);
}

/* passt takes all back when one fails: what is kept by then has to hear again. */
static int send_away(struct repair *repair, struct order *order)
{
    if (order->value != TCP_REPAIR_ON) {
        unsilence(order);
        repair_drop(repair->keep);
        gw_buf_clear(&repair->places);
        return carry_out(repair, order);
    }
    int r = silence(order);
    if (r == 0)
        r = carry_out(repair, order);
    if (r < 0) {
        unsilence(order);
        return r;
    }
    for (unsigned i = 0; i < order->count; i++)
        shield_note(&repair->places, order->sockets[i]);
    repair->sockets += order->count;
    order->count -= repair_keep_add(repair->keep, order->sockets, order->count);
    return 0;
}

/* ---- Sockets that come ---- */

static int let_in(struct repair *repair, struct order *order)
{
    if (!repair->asked) {
        repair->asked = true;
        shield_raise(&repair->shield, repair->helper, repair->places.data, repair->places.length);
        if (repair->keep)
            repair_drop(repair->keep);
        else
            repair_keep_ask(repair->token);
    }
    repair->sockets += order->value == TCP_REPAIR_ON ? order->count : 0;
    return carry_out(repair, order);
}

/* ---- Serving ---- */

int repair_serve(struct repair *repair)
{
    struct order order;
    int r = receive_order(repair->fd, &order);
    if (r == 0) {
        close(TAKE_FD(repair->fd));
        return 0;
    }
    if (r > 0)
        r = repair->saving ? send_away(repair, &order) : let_in(repair, &order);
    close_sockets(&order);
    if (r == 0 && send(repair->fd, &order.value, 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1)
        r = -EIO;
    return r;
}

int repair_begin(struct repair *repair, int fd, struct repair_helper *helper)
{
    *repair = (struct repair){.fd = fd, .helper = helper};
    repair->places.limit = SHIELD_MAX_PLACES * SHIELD_PLACE_BYTES;
    return helper->needed ? repair_helper_start(helper) : 0;
}

void repair_end(struct repair *repair)
{
    if (repair->fd >= 0)
        close(TAKE_FD(repair->fd));
    shield_lower(&repair->shield);
    gw_buf_fini(&repair->places);
}

/* ---- The right ---- */

/* On a socket of our own. */
static int try_right(struct repair_helper *helper)
{
    _cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd < 0 ? -errno : repair_set(helper, TCP_REPAIR_ON, &fd, 1);
}

int repair_find_right(struct repair_helper *ret_helper, char *why, size_t room)
{
    *ret_helper = (struct repair_helper){.needed = false};
    int r = try_right(ret_helper);
    if (r == 0)
        return 0;
    if (r != -EPERM) {
        snprintf(why, room, "the kernel does not let their state be read (TCP_REPAIR): %s",
                 strerror(-r));
        return r;
    }
    ret_helper->needed = true;
    r = repair_helper_start(ret_helper);
    if (r == 0)
        r = try_right(ret_helper);
    if (r == -ENOENT)
        snprintf(why, room,
                 "to read their state needs CAP_NET_ADMIN, which godwit does not have, and "
                 "passt-repair, which could have it, is not installed");
    else if (r < 0)
        snprintf(why, room,
                 "to read their state needs CAP_NET_ADMIN, which neither godwit nor passt-repair "
                 "has (sudo setcap cap_net_admin+ep \"$(command -v passt-repair)\")");
    return r;
}
