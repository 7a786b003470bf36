/* SPDX-License-Identifier: Apache-2.0 */
/* --net TEXT[,mac=…][,mtu=N][,queues=N][,name=…]: what is the card's is taken out, the rest is the
 * back end's. */
#include <string.h>

#include "base/cleanup.h"
#include "base/machine-name.h"
#include "base/parse.h"
#include "net/net.h"
#include "vmm/json-text.h"
#include "vmm/options.h"

#define invalid(...) gw_error_set(error, GW_LAYER_VMM, GW_CODE_INVALID, -EINVAL, __VA_ARGS__)

static int set_name(struct board_net *net, const char *value, struct gw_error *error)
{
    if (machine_name_check(value, GW_LAYER_VMM, NULL) < 0)
        return invalid("--net: the name '%s' must be letters, digits, '.', '_' and '-', not "
                       "beginning with '.' or '-'",
                       value);
    free(net->name);
    net->name = strdup(value);
    return net->name ? 0 : -ENOMEM;
}

static int set_mac(struct board_net *net, const char *value, struct gw_error *error)
{
    static const uint8_t none[BOARD_MAC_BYTES];
    if (board_parse_mac(value, net->mac) < 0 || net->mac[0] & 1 ||
        memcmp(net->mac, none, sizeof none) == 0)
        return invalid("--net: mac='%s' is not the address of a card, such as 02:00:00:00:00:01 "
                       "(the first byte is even)",
                       value);
    return 0;
}

static int set_mtu(struct board_net *net, const char *value, struct gw_error *error)
{
    uint64_t number;
    if (parse_number(value, NET_MTU_MAX, &number) < 0 || number < NET_MTU_MIN)
        return invalid("--net: mtu='%s' is not a number from %u to %u", value, NET_MTU_MIN,
                       NET_MTU_MAX);
    net->mtu = (unsigned)number;
    return 0;
}

static int set_queues(struct board_net *net, const char *value, struct gw_error *error)
{
    uint64_t number;
    if (parse_number(value, NET_MAX_QUEUES, &number) < 0 || number == 0)
        return invalid("--net: queues='%s' is not a number from 1 to %u", value, NET_MAX_QUEUES);
    net->queues = (unsigned)number;
    return 0;
}

static const struct {
    const char *key;
    int (*set)(struct board_net *net, const char *value, struct gw_error *error);
} properties[] = {
    {"name=", set_name},
    {"mac=", set_mac},
    {"mtu=", set_mtu},
    {"queues=", set_queues},
};

/* The back end reads a list of its own, so a comma within a part is doubled again. */
static int add_to_back_end(struct board_net *net, const char *part)
{
    size_t before = net->back_end ? strlen(net->back_end) : 0;
    char *longer = malloc(before + 1 + 2 * strlen(part) + 1), *to = longer;
    if (!longer)
        return -ENOMEM;
    if (net->back_end) {
        to = mempcpy(to, net->back_end, before);
        *to++ = ',';
    }
    for (; *part; part++) {
        *to++ = *part;
        if (*part == ',')
            *to++ = ',';
    }
    *to = 0;
    free(net->back_end);
    net->back_end = longer;
    return 0;
}

static int add_part(struct board_net *net, const char *part, struct gw_error *error)
{
    for (size_t i = 0; i < ARRAY_COUNT(properties); i++) {
        size_t length = strlen(properties[i].key);
        if (net->back_end && strncmp(part, properties[i].key, length) == 0)
            return properties[i].set(net, part + length, error);
    }
    return add_to_back_end(net, part);
}

int options_parse_net(const char *text, struct board_net *ret_net, struct gw_error *error)
{
    struct board_net net = {0};
    int r = 0;

    while (r == 0 && text) {
        _cleanup_free_ char *part = parse_part(&text);

        r = part ? add_part(&net, part, error) : -ENOMEM;
    }
    if (r == 0 && !net.back_end[0])
        r = invalid("--net needs a network first: tap, user or socket");
    if (r < 0) {
        free(net.name);
        free(net.back_end);
        return r;
    }
    *ret_net = net;
    return 0;
}

int options_add_net(struct board_config *config, const char *text, struct gw_error *error)
{
    if (config->net_count == BOARD_MAX_NETS)
        return invalid("--net: a machine has at most %d networks", BOARD_MAX_NETS);
    int r = options_parse_net(text, &config->nets[config->net_count], error);
    if (r == 0)
        config->net_count++;
    return r;
}

json_t *options_nets_json(const struct board_config *config)
{
    json_t *nets = json_array();
    for (unsigned i = 0; i < config->net_count; i++) {
        const struct board_net *net = &config->nets[i];
        char mac[BOARD_MAC_TEXT];
        snprintf(mac, sizeof mac, BOARD_MAC_FORMAT, BOARD_MAC_ARGUMENTS(net->mac));
        json_array_append_new(nets,
                              json_pack("{s:o, s:o, s:s, s:i, s:i}", "name", json_text(net->name),
                                        "network", json_text(net->back_end), "mac", mac, "queues",
                                        (int)net->queues, "mtu", (int)net->mtu));
    }
    return nets;
}
