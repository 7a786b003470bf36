/* SPDX-License-Identifier: Apache-2.0 */
/* The connections of a user network: taken out of one passt, opened in another. */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "net/user-internal.h"

static int serve_repair(void *opaque)
{
    struct net_user *user = container_of((struct repair *)opaque, struct net_user, repair);
    int r = repair_serve(&user->repair);
    user->vhost.user.other_fd = user->repair.fd;
    return r;
}

/* passt's side of net/repair.h is heard while the state is transferred. */
static int begin_repair(struct net_user *user)
{
    int r = repair_begin(&user->repair, TAKE_FD(user->repair_fd), &user->helper);
    user->vhost.user.other_fd = user->repair.fd;
    user->vhost.user.serve_other = serve_repair;
    user->vhost.user.opaque = &user->repair;
    return r;
}

static void end_repair(struct net_user *user)
{
    user->vhost.user.other_fd = -1;
    repair_end(&user->repair);
}

/* ---- Out ---- */

static int encode(struct net_user *user, const struct gw_buf *state)
{
    const struct gw_buf *frames = &user->vhost.waiting;
    struct packed packed = {.state = state->data,
                            .state_bytes = state->length,
                            .frames = frames->data,
                            .frames_bytes = frames->length,
                            .places = user->repair.places.data,
                            .places_bytes = user->repair.places.length};
    memcpy(packed.token, repair_keep_token(user->keep), sizeof packed.token);
    gw_buf_clear(&user->packed);
    return packed_encode(&packed, &user->packed);
}

static int save(struct net_user *user)
{
    struct gw_buf state = {.limit = VHOST_NET_STATE_MAX_BYTES + (1 << 20)};
    user->keep = repair_keep_new();
    int r = user->keep ? begin_repair(user) : -ENOMEM;
    user->repair.saving = true;
    user->repair.keep = user->keep;
    if (r == 0)
        r = vhost_net_save(&user->vhost, &state);
    if (r == 0)
        r = encode(user, &state);
    end_repair(user);
    gw_buf_fini(&state);
    return r;
}

static void drop_keep(struct net_user *user)
{
    repair_keep_free(user->keep);
    user->keep = NULL;
}

/* What took all of its time would take it in each pause to come: it is not tried again. */
static int refuse(struct net_user *user, int r, struct gw_error *error)
{
    const char *why = user->vhost.fault[0] ? user->vhost.fault
                      : r == -ECHILD       ? "passt-repair ended"
                                           : strerror(-r);
    struct net *net = &user->peer.link.net;
    net->follows = false;
    snprintf(net->stays, sizeof net->stays, "they could not be taken out of passt: %s", why);
    if (r == -ETIMEDOUT) {
        user->may_repair = false;
        snprintf(user->may_not, sizeof user->may_not, "%s", net->stays);
    }
    return gw_error_set(error, GW_LAYER_NET, GW_CODE_UNSUPPORTED, r,
                        "%s: its connections could not be taken out: %s", net->what, why);
}

/* One that has saved ends by itself. */
static int pack_locked(struct net_user *user, struct gw_error *error)
{
    char why[256];
    int r = vhost_net_stop(&user->vhost);
    if (r == 0)
        r = save(user);
    if (r < 0) {
        refuse(user, r, error);
        drop_keep(user);
        user_mourn(user, error->message);
        return r;
    }
    user->is_packed = true;
    user_stop(user, why, sizeof why);
    gw_buf_clear(&user->vhost.waiting);
    return 0;
}

int user_pack(struct net *net, struct gw_error *error)
{
    struct net_user *user = user_from_net(net);
    pthread_mutex_lock(&user->peer.link.lock);
    int r = user->is_packed || !user->vhost.running ? 0 : pack_locked(user, error);
    pthread_mutex_unlock(&user->peer.link.lock);
    return r;
}

void user_packed(const struct net *net, const void **ret_bytes, size_t *ret_length)
{
    const struct net_user *user = container_of(net, struct net_user, peer.link.net);
    if (!user->is_packed)
        return;
    *ret_bytes = user->packed.data;
    *ret_length = user->packed.length;
}

/* ---- In ---- */

int user_give_packed(struct net *net, const void *bytes, size_t length)
{
    struct net_user *user = user_from_net(net);
    pthread_mutex_lock(&user->peer.link.lock);
    gw_buf_clear(&user->packed);
    int r = length > 0 ? gw_buf_append(&user->packed, bytes, length) : 0;
    user->is_packed = r == 0 && length > 0;
    pthread_mutex_unlock(&user->peer.link.lock);
    return r;
}

static int load(struct net_user *user, const struct packed *packed)
{
    int r = passt_connect_repair(&user->passt, &user->repair_fd);
    if (r == 0)
        r = begin_repair(user);
    user->repair.keep = user->keep;
    memcpy(user->repair.token, packed->token, sizeof packed->token);
    if (r == 0)
        r = gw_buf_append(&user->repair.places, packed->places, packed->places_bytes);
    if (r == 0)
        r = vhost_net_load(&user->vhost, packed->state, packed->state_bytes);
    end_repair(user);
    return r;
}

static void keep_frames(struct net_user *user, const struct packed *packed)
{
    gw_buf_clear(&user->vhost.waiting);
    (void)gw_buf_append(&user->vhost.waiting, packed->frames, packed->frames_bytes);
}

static int open_packed(struct net_user *user, char *lost, size_t room)
{
    struct packed packed;
    int r = packed_decode(user->packed.data, user->packed.length, &packed);
    if (r < 0)
        snprintf(lost, room, "what came of them is no state of connections");
    else if (!user_uses_vhost(user) || !user->vhost.can_migrate)
        snprintf(lost, room, "the passt here (%s) takes none over", user->kind.version);
    else if (!user->may_repair)
        snprintf(lost, room, "%s", user->may_not);
    if (lost[0])
        return 0;
    r = load(user, &packed);
    if (r < 0) {
        snprintf(lost, room, "passt could not open them: %s", user->vhost.fault);
        return -ECHILD;
    }
    keep_frames(user, &packed);
    return 0;
}

int user_open_connections(struct net_user *user, char *lost, size_t room)
{
    int r = 0;
    lost[0] = 0;
    if (user->is_packed)
        r = open_packed(user, lost, room);
    user->is_packed = false;
    gw_buf_clear(&user->packed);
    drop_keep(user);
    return r;
}

int user_unpack(struct net *net, struct gw_error *error)
{
    struct net_user *user = user_from_net(net);
    int r = 0;
    pthread_mutex_lock(&user->peer.link.lock);
    if (user->is_packed) {
        r = user_launch(user, error);
        if (r == 0)
            r = user_serve(user, error);
        if (r < 0)
            user_mourn(user, error->message);
    }
    pthread_mutex_unlock(&user->peer.link.lock);
    return r;
}
