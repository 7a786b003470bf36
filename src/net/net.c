/* SPDX-License-Identifier: Apache-2.0 */
/* What is the same for every back end: which one is meant, and whether it is held. */
#include "net/net.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "net/backend.h"

static const struct {
    const char *name;
    char separator; /* between the name and the rest: ':' one word, ',' a list */
    int (*make)(const char *text, struct net **ret_net, struct gw_error *error);
} kinds[] = {
    {"tap", ':', net_tap_new},
    {"user", ',', net_user_new},
    {"socket", ':', net_socket_new},
};

static int make(size_t kind, const char *rest, struct net **ret_net, struct gw_error *error)
{
    if (*rest)
        rest++;
    if (kinds[kind].separator == ',')
        return kinds[kind].make(rest, ret_net, error);
    _cleanup_free_ char *word = parse_part(&rest);
    if (!word)
        return gw_error_set(error, GW_LAYER_NET, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    if (rest)
        return net_invalid("--net %s: '%s' is no option of it (a comma in a name is doubled)",
                           kinds[kind].name, rest);
    return kinds[kind].make(word, ret_net, error);
}

int net_new(const char *text, struct net **ret_net, struct gw_error *error)
{
    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++) {
        size_t length = strlen(kinds[i].name);
        if (strncmp(text, kinds[i].name, length) == 0 &&
            (text[length] == 0 || text[length] == kinds[i].separator))
            return make(i, text + length, ret_net, error);
    }
    return net_invalid("--net: '%s' does not begin with tap, user or socket", text);
}

void net_free(struct net *net)
{
    if (!net)
        return;
    net_detach(net);
    net_release(net);
    net->ops->free(net);
}

static int check_queues(const struct net *net, unsigned queues, struct gw_error *error)
{
    if (queues > 0 && queues <= net->queues_max)
        return 0;
    return gw_error_set(error, GW_LAYER_NET, GW_CODE_UNSUPPORTED, -EOPNOTSUPP,
                        "%s has at most %u pairs of queues, not %u", net->what, net->queues_max,
                        queues);
}

int net_preopen(struct net *net, unsigned queues, struct gw_error *error)
{
    if (net->held)
        return 0;
    int r = check_queues(net, queues, error);
    return r < 0 || !net->ops->preopen ? r : net->ops->preopen(net, queues, error);
}

int net_acquire(struct net *net, unsigned queues, struct gw_error *error)
{
    if (net->held)
        return 0;
    int r = check_queues(net, queues, error);
    if (r < 0)
        return r;
    net->queues = queues;
    r = net->ops->acquire(net, error);
    if (r == 0)
        net->held = true;
    return r;
}

void net_release(struct net *net)
{
    if (!net->held)
        return;
    net->held = false;
    net->ops->release(net);
}

int net_pack(struct net *net, struct gw_error *error)
{
    return net->held && net->follows && net->ops->pack ? net->ops->pack(net, error) : 0;
}

int net_unpack(struct net *net, struct gw_error *error)
{
    return net->held && net->ops->unpack ? net->ops->unpack(net, error) : 0;
}

void net_packed(const struct net *net, const void **ret_bytes, size_t *ret_length)
{
    *ret_bytes = NULL;
    *ret_length = 0;
    if (net->ops->packed)
        net->ops->packed(net, ret_bytes, ret_length);
}

int net_give_packed(struct net *net, const void *bytes, size_t length)
{
    return net->ops->give_packed && !net->held ? net->ops->give_packed(net, bytes, length) : 0;
}

int net_attach(struct net *net, sd_event *loop, net_link_changed *changed, void *opaque,
               struct gw_error *error)
{
    net->link_changed = changed;
    net->link_opaque = opaque;
    return net->ops->attach ? net->ops->attach(net, loop, error) : 0;
}

void net_detach(struct net *net)
{
    if (net->ops->detach)
        net->ops->detach(net);
}

int net_set_offloads(struct net *net, unsigned offloads)
{
    if (net->ops->set_offloads)
        return net->ops->set_offloads(net, offloads);
    return offloads == 0 ? 0 : -EOPNOTSUPP;
}

int net_set_queues(struct net *net, unsigned queues)
{
    if (net->ops->set_queues)
        return net->ops->set_queues(net, queues);
    return queues == 1 ? 0 : -EOPNOTSUPP;
}

int net_send(struct net *net, unsigned queue, const struct iovec *iov, unsigned count)
{
    if (!net->held)
        return -ENETDOWN;
    ssize_t r = net->ops->send(net, queue, iov, count);
    return r < 0 ? (int)r : 0;
}

ssize_t net_receive(struct net *net, unsigned queue, const struct iovec *iov, unsigned count)
{
    return net->held ? net->ops->receive(net, queue, iov, count) : -ENETDOWN;
}
