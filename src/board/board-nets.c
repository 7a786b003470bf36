/* SPDX-License-Identifier: Apache-2.0 */
/* The networks of a machine: what the user left open, back ends, devices. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "board/board-connections.h"
#include "board/machine.h"

static int refuse(enum gw_code code, int number, struct gw_error *error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static int refuse(enum gw_code code, int number, struct gw_error *error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char text[256];
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return gw_error_set(error, GW_LAYER_BOARD, code, number, "%s", text);
}

/* ---- What was left open ---- */

static int choose_name(struct board_net *net, unsigned index, struct gw_error *error)
{
    if (!net->name && asprintf(&net->name, "net%u", index) < 0) {
        net->name = NULL;
        return refuse(GW_CODE_NO_RESOURCE, -ENOMEM, error, "no memory for a network's name");
    }
    return 0;
}

/* Locally administered, of one card (IEEE 802 §8.2.2). */
static int choose_mac(struct board_net *net, struct gw_error *error)
{
    for (unsigned i = 0; i < sizeof net->mac; i++)
        if (net->mac[i])
            return 0;
    if (getrandom(net->mac, sizeof net->mac, 0) != sizeof net->mac)
        return refuse(GW_CODE_NO_RESOURCE, -EIO, error,
                      "the host gives no random numbers for the address of network '%s'",
                      net->name);
    net->mac[0] = (uint8_t)((net->mac[0] & ~1u) | 2u);
    return 0;
}

int board_settle_nets(struct board_config *config, struct gw_error *error)
{
    int r = 0;
    for (unsigned i = 0; r == 0 && i < config->net_count; i++) {
        struct board_net *net = &config->nets[i];
        if (net->queues == 0)
            net->queues = 1;
        r = choose_name(net, i, error);
        if (r == 0)
            r = choose_mac(net, error);
    }
    return r;
}

/* ---- Back ends ---- */

static void link_changed(void *opaque, bool up, const char *why)
{
    struct board_link *link = opaque;
    struct board *board = link->board;
    pthread_mutex_lock(&board->io_lock);
    if (link->ready)
        virtio_net_link_changed(&link->device);
    pthread_mutex_unlock(&board->io_lock);
    if (board->callbacks.link)
        board->callbacks.link(board->callbacks.opaque, board->config.nets[link->index].name, up,
                              why);
}

/* What the guest was told must pass here too; a machine that is made here is told what passes. */
static int settle_mtu(struct board_link *link, struct gw_error *error)
{
    struct board_net *net = &link->board->config.nets[link->index];
    unsigned behind = link->back_end->mtu;
    if (!net->mtu && !link->ready)
        net->mtu = behind;
    if (!net->mtu || !behind || net->mtu <= behind)
        return 0;
    return refuse(GW_CODE_UNSUPPORTED, -EMSGSIZE, error,
                  "network '%s': the guest sends packets of %u bytes, and %s here takes %u; raise "
                  "its MTU (ip link set … mtu %u)",
                  net->name, net->mtu, link->back_end->what, behind, net->mtu);
}

static int acquire(struct board_link *link, struct gw_error *error)
{
    int r = net_acquire(link->back_end, link->board->config.nets[link->index].queues, error);
    if (r == 0)
        r = settle_mtu(link, error);
    if (r < 0 || !link->ready)
        return r;
    pthread_mutex_lock(&link->board->io_lock);
    r = virtio_net_acquired(&link->device, error);
    pthread_mutex_unlock(&link->board->io_lock);
    return r;
}

static struct virtio_net_config card_of(const struct board_link *link)
{
    const struct board_net *net = &link->board->config.nets[link->index];
    struct virtio_net_config card = {
        .net = link->back_end, .name = net->name, .pairs = net->queues, .mtu = (uint16_t)net->mtu};
    memcpy(card.mac, net->mac, sizeof card.mac);
    return card;
}

/* For a machine that arrives: what cannot work here is refused before it comes. */
static int prepare(struct board_link *link, struct gw_error *error)
{
    const struct board_net *net = &link->board->config.nets[link->index];
    int r = net_preopen(link->back_end, net->queues, error);
    if (r == 0 && net->mtu)
        r = settle_mtu(link, error);
    if (r < 0)
        return r;
    const struct virtio_net_config card = card_of(link);
    return virtio_net_check_features(&card, net->features, error);
}

static int open_net(struct board *board, unsigned index, bool defer, struct gw_error *error)
{
    struct board_link *link = &board->link[index];
    const struct board_net *net = &board->config.nets[index];
    link->board = board;
    link->index = index;
    if (!net->back_end)
        return refuse(GW_CODE_INVALID, -EINVAL, error,
                      "the machine has a network '%s' and none is given for it here; use --net "
                      "…,name=%s",
                      net->name, net->name);
    int r = net_new(net->back_end, &link->back_end, error);
    if (r == 0 && net->queues > link->back_end->queues_max)
        r = refuse(GW_CODE_UNSUPPORTED, -EOPNOTSUPP, error,
                   "network '%s' has %u queues, and %s has at most %u", net->name, net->queues,
                   link->back_end->what, link->back_end->queues_max);
    if (r == 0)
        r = net_attach(link->back_end, board->loop, link_changed, link, error);
    if (r == 0)
        r = net_announcer_new(link->back_end, board->loop, &link->announcer, error);
    if (r < 0)
        return r;
    return defer ? prepare(link, error) : acquire(link, error);
}

int board_open_nets(struct board *board, bool defer, struct gw_error *error)
{
    int r = 0;
    for (unsigned i = 0; r == 0 && i < board->config.net_count; i++)
        r = open_net(board, i, defer, error);
    return r;
}

int board_acquire_nets(struct board *board, struct gw_error *error)
{
    int r = 0;
    for (unsigned i = 0; r == 0 && i < board->config.net_count; i++)
        r = acquire(&board->link[i], error);
    if (r < 0)
        board_release_nets(board);
    return r;
}

void board_release_nets(struct board *board)
{
    for (unsigned i = 0; i < board->config.net_count; i++) {
        net_announcer_stop(board->link[i].announcer);
        net_release(board->link[i].back_end);
    }
}

int board_check_nets(const struct board *board, struct gw_error *error)
{
    for (unsigned i = 0; i < board->config.net_count; i++)
        if (!board->link[i].back_end->held)
            return refuse(GW_CODE_STATE, -EBUSY, error,
                          "network '%s' is not open: the machine cannot run without it",
                          board->config.nets[i].name);
    return 0;
}

uint64_t board_expect_acquire_us(const struct board *board)
{
    uint64_t us = 0;
    for (unsigned i = 0; i < board->config.net_count; i++)
        us += board->link[i].back_end->acquire_us;
    return us;
}

/* ---- Connections ---- */

void board_pack_nets(struct board *board)
{
    struct gw_error error;
    for (unsigned i = 0; i < board->config.net_count; i++)
        (void)net_pack(board->link[i].back_end, &error); /* net->stays tells what failed */
}

void board_unpack_nets(struct board *board, void (*refused)(void *opaque, const char *sentence),
                       void *opaque)
{
    struct gw_error error;
    for (unsigned i = 0; i < board->config.net_count; i++)
        if (net_unpack(board->link[i].back_end, &error) < 0)
            refused(opaque, error.message);
}

int board_append_packed(struct board *board, struct gw_buf *out, struct gw_error *error)
{
    struct board_connections all[BOARD_MAX_NETS];
    for (unsigned i = 0; i < board->config.net_count; i++) {
        all[i].name = board->config.nets[i].name;
        net_packed(board->link[i].back_end, &all[i].bytes, &all[i].length);
    }
    return connections_append(all, board->config.net_count, out, error);
}

int board_give_packed(struct board *board, const void *stream, size_t *length,
                      struct gw_error *error)
{
    struct board_connections all[BOARD_MAX_NETS];
    for (unsigned i = 0; i < board->config.net_count; i++)
        all[i].name = board->config.nets[i].name;
    int r = connections_find(stream, *length, all, board->config.net_count, length, error);
    for (unsigned i = 0; i < board->config.net_count && r == 0; i++)
        if (net_give_packed(board->link[i].back_end, all[i].bytes, all[i].length) < 0)
            r = refuse(GW_CODE_NO_RESOURCE, -ENOMEM, error,
                       "no memory for the connections of network '%s'", all[i].name);
    return r;
}

/* ---- Devices ---- */

int board_add_net(struct board *board, unsigned index, const struct board_window *window,
                  struct irq_line irq, struct gw_error *error)
{
    struct board_link *link = &board->link[index];
    struct virtio_host host = {board->memory, &board->time.clock, irq};
    const struct virtio_net_config card = card_of(link);
    int r = virtio_net_init(&link->device, &host, &card, &board->io_lock, error);
    if (r < 0)
        return r;
    link->ready = true;
    board_add_device(board, window, &virtio_mmio_ops, &virtio_net_state_type, &link->device);
    return 0;
}

unsigned board_announce_nets(struct board *board)
{
    unsigned asked = 0;
    for (unsigned i = 0; i < board->config.net_count; i++) {
        struct board_link *link = &board->link[i];
        struct net_station stations[ANNOUNCE_STATIONS];
        pthread_mutex_lock(&board->io_lock);
        unsigned count = virtio_net_stations(&link->device, stations, ARRAY_COUNT(stations));
        pthread_mutex_unlock(&board->io_lock);
        net_announcer_start(link->announcer, stations, count);
        pthread_mutex_lock(&board->io_lock);
        asked += virtio_net_announce(&link->device);
        pthread_mutex_unlock(&board->io_lock);
    }
    return asked;
}

const char *board_net_stays(const struct board *board, unsigned index)
{
    const struct net *net = board->link[index].back_end;
    return net->follows ? NULL : net->stays;
}

void board_look_net(struct board *board, unsigned index, struct virtio_net_view *ret_view)
{
    pthread_mutex_lock(&board->io_lock);
    virtio_net_look(&board->link[index].device, ret_view);
    pthread_mutex_unlock(&board->io_lock);
}

void board_close_nets(struct board *board)
{
    for (unsigned i = 0; i < BOARD_MAX_NETS; i++) {
        if (board->link[i].ready)
            virtio_net_fini(&board->link[i].device);
        board->link[i].ready = false;
        net_announcer_free(board->link[i].announcer);
        net_free(board->link[i].back_end);
        board->link[i].back_end = NULL;
    }
}
