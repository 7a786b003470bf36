/* SPDX-License-Identifier: Apache-2.0 */
/* The back ends that net_new() knows. `text` is what follows the word and its colon (doubled commas
 * undone) or its comma (a list), "" when nothing does. */
#ifndef NET_BACKEND_H
#define NET_BACKEND_H

#include "net/net.h"

int net_tap_new(const char *text, struct net **ret_net, struct gw_error *error);
int net_user_new(const char *text, struct net **ret_net, struct gw_error *error);
int net_socket_new(const char *text, struct net **ret_net, struct gw_error *error);
int net_datagram_new(const char *text, struct net **ret_net, struct gw_error *error); /* unix */
int net_udp_new(const char *text, struct net **ret_net, struct gw_error *error);

#define net_invalid(...) gw_error_set(error, GW_LAYER_NET, GW_CODE_INVALID, -EINVAL, __VA_ARGS__)

#endif
