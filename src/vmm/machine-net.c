/* SPDX-License-Identifier: Apache-2.0 */
/* The machine's networks: those of a machine that arrives are found by name; disks and networks are
 * taken and given up together. */
#include <string.h>

#include "base/cleanup.h"
#include "vmm/json-text.h"
#include "vmm/log.h"
#include "virtio/net.h"
#include "vmm/machine-internal.h"

/* Whether what was given is called `name`; without a name of its own it has that of its place. */
static bool is_called(const struct board_net *given, unsigned index, const char *name)
{
    char own[16];

    snprintf(own, sizeof own, "net%u", index);
    return strcmp(given->name ? given->name : own, name) == 0;
}

static const struct board_net *find_given(const struct board_config *given, const char *name)
{
    for (unsigned i = 0; i < given->net_count; i++)
        if (is_called(&given->nets[i], i, name))
            return &given->nets[i];
    return NULL;
}

/* What is said here of the card must be what the guest knows. */
static int check_given(const struct board_net *net, const struct board_net *given,
                       struct gw_error *error)
{
    static const uint8_t none[BOARD_MAC_BYTES];
    const char *differs = NULL;

    if (memcmp(given->mac, none, sizeof none) != 0 &&
        memcmp(given->mac, net->mac, sizeof net->mac) != 0)
        differs = "mac";
    else if (given->mtu && given->mtu != net->mtu)
        differs = "mtu";
    else if (given->queues && given->queues != net->queues)
        differs = "queues";
    if (!differs)
        return 0;
    return machine_fail(error, GW_CODE_INVALID, -EINVAL,
                        "network '%s' of the machine has another %s than --net says here; leave "
                        "out %s=",
                        net->name, differs, differs);
}

static int match_net(const struct board_config *given, struct board_net *net,
                     struct gw_error *error)
{
    const struct board_net *here = find_given(given, net->name);
    int r;

    if (!here)
        return machine_fail(error, GW_CODE_NOT_FOUND, -ENOENT,
                            "the machine has a network '%s', which is not given here: use --net "
                            "…,name=%s",
                            net->name, net->name);
    r = check_given(net, here, error);
    if (r < 0)
        return r;
    net->back_end = strdup(here->back_end);
    return net->back_end ? 0 : machine_fail(error, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
}

int machine_match_nets(const struct board_config *given, struct board_config *config,
                       struct gw_error *error)
{
    int r = 0;

    for (unsigned i = 0; i < config->net_count && r == 0; i++)
        r = match_net(given, &config->nets[i], error);
    if (r == 0 && given->net_count > config->net_count)
        r = machine_fail(error, GW_CODE_INVALID, -EINVAL,
                         "the machine has %u network(s), but --net was given %u time(s) here",
                         config->net_count, given->net_count);
    return r;
}

int machine_acquire(struct machine *machine, struct gw_error *error)
{
    int r = board_acquire_disks(machine->board, error);

    if (r < 0)
        return r;
    r = board_acquire_nets(machine->board, error);
    if (r < 0)
        (void)board_release_disks(machine->board, NULL);
    return r;
}

int machine_release(struct machine *machine, struct gw_error *error)
{
    int r = board_release_disks(machine->board, error);

    board_release_nets(machine->board);
    return r;
}

static bool is_told(const json_t *broken, const char *name)
{
    size_t index;
    const json_t *network;

    json_array_foreach(broken, index,
                       network) if (strcmp(json_string_value(json_object_get(network, "name")),
                                           name) == 0) return true;
    return false;
}

void machine_tell_broken_networks(struct machine *machine)
{
    const struct board_config *config = board_settled_config(machine->board);

    for (unsigned i = 0; i < config->net_count; i++) {
        const char *name = config->nets[i].name, *why = board_net_stays(machine->board, i);

        if (!why || is_told(machine->broken_networks, name))
            continue;
        log_line("machine '%s': connections that are open on network '%s' end with this move, "
                 "because %s",
                 machine->options->name, name, why);
        if (!machine->broken_networks)
            machine->broken_networks = json_array();
        json_array_append_new(
            machine->broken_networks,
            json_pack("{s:o, s:o}", "name", json_text(name), "why", json_text(why)));
    }
}

struct look {
    struct machine *machine;
    struct gw_network_times *networks;
    unsigned maximum;
};

static int look_on_loop(void *argument)
{
    const struct look *look = argument;
    struct board *board = look->machine->board;
    const struct board_config *config = board ? board_settled_config(board) : NULL;
    unsigned count =
        config && config->net_count < look->maximum ? config->net_count : look->maximum;

    if (!board)
        return 0;
    for (unsigned i = 0; i < count; i++) {
        struct virtio_net_view view;
        board_look_net(board, i, &view);
        look->networks[i] = (struct gw_network_times){.last_out_ns = view.counters.last_out_ns,
                                                      .first_out_ns = view.counters.first_out_ns,
                                                      .first_in_ns = view.counters.first_in_ns,
                                                      .waited = view.counters.waited};
        const char *stays = board_net_stays(board, i);
        snprintf(look->networks[i].name, sizeof look->networks[i].name, "%s", config->nets[i].name);
        snprintf(look->networks[i].stays, sizeof look->networks[i].stays, "%s", stays ? stays : "");
    }
    return (int)count;
}

unsigned machine_look_networks(void *opaque, struct gw_network_times *ret_networks,
                               unsigned maximum)
{
    struct machine *machine = opaque;

    return (unsigned)loop_calls_run(
        machine->calls, look_on_loop,
        &(struct look){.machine = machine, .networks = ret_networks, .maximum = maximum});
}

void machine_link_changed(void *opaque, const char *name, bool up, const char *why)
{
    const struct machine *machine = opaque;

    log_line("machine '%s': network '%s' is %s: %s", machine->options->name, name,
             up ? "up" : "down", why);
}
