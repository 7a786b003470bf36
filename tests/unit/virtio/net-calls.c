/* SPDX-License-Identifier: Apache-2.0 */
/* The calls of net/net.h that the device makes, where the tree has no back ends. */
#include "net/net.h"

int net_set_offloads(struct net *net, unsigned offloads)
{
    return net->ops->set_offloads(net, offloads);
}

int net_set_queues(struct net *net, unsigned queues)
{
    return net->ops->set_queues(net, queues);
}

int net_send(struct net *net, unsigned queue, const struct iovec *iov, unsigned count)
{
    return (int)net->ops->send(net, queue, iov, count);
}

ssize_t net_receive(struct net *net, unsigned queue, const struct iovec *iov, unsigned count)
{
    return net->ops->receive(net, queue, iov, count);
}
