/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading goes through a small buffer: one recvmsg() takes the rest of the present payload straight
 * to where it belongs and whatever follows, usually the next record's head, into the buffer. So
 * small records cost no system call of their own and pages are not copied.
 */
#include "migrate/channel.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/clock.h"
#include "migrate/monitor.h"

struct channel *channel_new(struct transport *transport, enum wire_role role, unsigned index,
                            enum wire_direction peer)
{
    struct channel *channel = calloc(1, sizeof *channel);
    if (!channel)
        return NULL;
    channel->transport = transport;
    channel->role = role;
    channel->index = index;
    channel->peer = peer;
    channel->last_heard_ns = host_monotonic_ns();
    pthread_mutex_init(&channel->turn_lock, NULL);
    monotonic_cond_init(&channel->turn_changed);
    return channel;
}

void channel_free(struct channel *channel)
{
    if (!channel)
        return;
    transport_free(channel->transport);
    pthread_cond_destroy(&channel->turn_changed);
    pthread_mutex_destroy(&channel->turn_lock);
    free(channel);
}

/* ---- Reading ---- */

static int fail(struct gw_error *error, enum gw_code code, int r, const char *what)
{
    return gw_error_set(error, GW_LAYER_MIGRATE, code, r, "%s", what);
}

static const char *peer_name(const struct channel *channel)
{
    return channel->peer == WIRE_FROM_SOURCE ? "source" : "destination";
}

/* One recvmsg() that moved at least a byte. */
static int read_some(struct channel *channel, struct iovec *vectors, int count, size_t *ret_bytes,
                     struct gw_error *error)
{
    struct msghdr message = {.msg_iov = vectors, .msg_iovlen = (size_t)count};
    for (;;) {
        ssize_t got = recvmsg(transport_fd(channel->transport), &message, MSG_DONTWAIT);
        if (got > 0) {
            channel->last_heard_ns = host_monotonic_ns();
            channel->bytes_in += (uint64_t)got;
            *ret_bytes = (size_t)got;
            return 0;
        }
        if (got == 0)
            return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_DISCONNECTED, -ECONNRESET,
                                "the %s closed the connection", peer_name(channel));
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return gw_error_set(error, GW_LAYER_MIGRATE, gw_code_from_errno(errno), -errno,
                                "the connection to the %s broke: %s", peer_name(channel),
                                strerror(errno));
        int r = transport_wait_readable(channel->transport, CHANNEL_TICK_MS, error);
        if (r == -ETIMEDOUT)
            r = channel->tick ? channel->tick(channel->opaque, error) : 0;
        if (r < 0)
            return r;
    }
}

static size_t take_buffered(struct channel *channel, void *to, size_t length)
{
    size_t have = channel->end - channel->begin;
    size_t taken = have < length ? have : length;
    memcpy(to, channel->buffer + channel->begin, taken);
    channel->begin += taken;
    return taken;
}

int channel_read(struct channel *channel, void *to, size_t length, struct gw_error *error)
{
    size_t done = take_buffered(channel, to, length);
    while (done < length) {
        struct iovec vectors[2] = {{(uint8_t *)to + done, length - done},
                                   {channel->buffer, sizeof channel->buffer}};
        size_t got = 0;
        int r = read_some(channel, vectors, 2, &got, error);
        if (r < 0)
            return r;
        size_t wanted = length - done;
        done += got < wanted ? got : wanted;
        channel->begin = 0;
        channel->end = got > wanted ? got - wanted : 0;
    }
    return 0;
}

static int skip(struct channel *channel, uint32_t length, struct gw_error *error)
{
    uint8_t scratch[4096];
    while (length > 0) {
        uint32_t step = length < sizeof scratch ? length : (uint32_t)sizeof scratch;
        int r = channel_read(channel, scratch, step, error);
        if (r < 0)
            return r;
        length -= step;
    }
    return 0;
}

static int check_place(struct channel *channel, const struct wire_header *header,
                       struct gw_error *error)
{
    if (header->sequence != channel->next_in)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EBADMSG,
                            "the stream is damaged: record %u came where %u was due",
                            header->sequence, channel->next_in);
    channel->next_in++;
    if (!wire_type_allowed(header->type, channel->peer, channel->role))
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EBADMSG,
                            "the %s sent a record %s where it has no place", peer_name(channel),
                            wire_type_name(header->type));
    return 0;
}

int channel_read_header(struct channel *channel, struct wire_header *ret_header,
                        struct gw_error *error)
{
    for (;;) {
        uint8_t bytes[WIRE_HEADER_BYTES];
        int r = channel_read(channel, bytes, sizeof bytes, error);
        if (r == 0)
            r = wire_header_decode(bytes, ret_header, error);
        if (r == 0)
            r = check_place(channel, ret_header, error);
        if (r < 0 || wire_type_known(ret_header->type))
            return r;
        r = skip(channel, ret_header->length, error);
        if (r < 0)
            return r;
    }
}

int channel_read_body(struct channel *channel, const struct wire_header *header,
                      struct gw_buf *body, struct gw_error *error)
{
    gw_buf_clear(body);
    if (header->length > 0) {
        void *to = gw_buf_extend(body, header->length);
        if (!to)
            return fail(error, GW_CODE_NO_RESOURCE, -ENOMEM, "no memory for a record of the peer");
        int r = channel_read(channel, to, header->length, error);
        if (r < 0)
            return r;
    }
    return wire_body_check(header, body->data, header->length, error);
}

/* ---- Writing ---- */

void channel_begin(struct channel *channel)
{
    channel_begin_within(channel, -1);
}

/* Gives the ticket back: only the last one may, others wait until it is served and pass it on. */
bool channel_begin_within(struct channel *channel, int timeout_ms)
{
    uint64_t until = host_monotonic_ns() + (uint64_t)(timeout_ms < 0 ? 0 : timeout_ms) * 1000000;
    bool served = true;
    pthread_mutex_lock(&channel->turn_lock);
    if (timeout_ms < 0) {
        uint64_t ticket = channel->next_ticket++;
        while (channel->now_serving != ticket)
            pthread_cond_wait(&channel->turn_changed, &channel->turn_lock);
    } else {
        while (channel->now_serving != channel->next_ticket && served)
            served = monotonic_cond_wait(&channel->turn_changed, &channel->turn_lock, until);
        if (channel->now_serving == channel->next_ticket)
            channel->next_ticket++, served = true;
    }
    pthread_mutex_unlock(&channel->turn_lock);
    return served;
}

void channel_end(struct channel *channel)
{
    pthread_mutex_lock(&channel->turn_lock);
    channel->now_serving++;
    pthread_cond_broadcast(&channel->turn_changed);
    pthread_mutex_unlock(&channel->turn_lock);
}

/* With the turn: the encoded record in one write. */
static int write_record(struct channel *channel, struct gw_buf *record, int made,
                        struct gw_error *error)
{
    if (made < 0)
        return fail(error, GW_CODE_NO_RESOURCE, made, "no memory for a record");
    channel->next_out++;
    return transport_write(channel->transport, record->data, record->length, error);
}

int channel_send(struct channel *channel, uint32_t type, const union wire_body *body,
                 const void *tail, size_t tail_bytes, struct gw_error *error)
{
    struct gw_buf record = {0};
    channel_begin(channel);
    int r = wire_record_append(&record, type, channel->next_out, body, tail, tail_bytes);
    r = write_record(channel, &record, r, error);
    channel_end(channel);
    gw_buf_fini(&record);
    return r;
}

int channel_send_raw(struct channel *channel, uint32_t type, const void *body, size_t length,
                     struct gw_error *error)
{
    struct gw_buf record = {0};
    channel_begin(channel);
    int r = wire_raw_append(&record, type, channel->next_out, body, length);
    r = write_record(channel, &record, r, error);
    channel_end(channel);
    gw_buf_fini(&record);
    return r;
}

int channel_send_error(struct channel *channel, uint32_t type, const struct gw_error *what,
                       int timeout_ms)
{
    if (!channel_begin_within(channel, timeout_ms))
        return -ETIMEDOUT;
    struct gw_buf record = {0};
    size_t length = strlen(what->message);
    union wire_body body = {.error = {.layer = (uint32_t)what->layer,
                                      .code = (uint32_t)what->code,
                                      .text_bytes = (uint32_t)length}};
    int r = wire_record_append(&record, type, channel->next_out, &body, what->message, length);
    transport_set_limiter(channel->transport, NULL);
    transport_set_timeout(channel->transport, timeout_ms);
    r = write_record(channel, &record, r, NULL);
    channel_end(channel);
    gw_buf_fini(&record);
    return r;
}

void channel_close_write(struct channel *channel)
{
    shutdown(transport_fd(channel->transport), SHUT_WR);
}

/* ---- Preambles ---- */

int channel_open(struct channel *channel, const uint8_t session[WIRE_SESSION_BYTES], int timeout_ms,
                 int cancel_fd, struct gw_error *error)
{
    struct wire_preamble mine = {.version_min = WIRE_VERSION_MIN,
                                 .version_max = WIRE_VERSION_MAX,
                                 .role = (uint16_t)channel->role,
                                 .index = (uint16_t)channel->index};
    memcpy(mine.session, session, WIRE_SESSION_BYTES);
    uint8_t bytes[WIRE_PREAMBLE_BYTES];
    wire_preamble_encode(&mine, bytes);
    struct wire_preamble answer;
    transport_set_timeout(channel->transport, timeout_ms);
    int r = transport_write(channel->transport, bytes, sizeof bytes, error);
    if (r == 0)
        r = channel_greet(channel->transport, timeout_ms, cancel_fd, &answer, error);
    if (r == 0)
        r = wire_version_choose(&answer, error);
    if (r < 0)
        return r;
    if (!answer.answer || answer.role != mine.role || answer.index != mine.index ||
        memcmp(answer.session, session, WIRE_SESSION_BYTES) != 0)
        return fail(error, GW_CODE_CORRUPT, -EBADMSG,
                    "the destination answered for another session or channel");
    channel->last_heard_ns = host_monotonic_ns();
    return 0;
}

/* Waits for bytes until `until_ns`: 0, -ETIMEDOUT, -ECANCELED. */
static int wait_until(int fd, int cancel_fd, uint64_t until_ns)
{
    struct pollfd polled[2] = {{.fd = fd, .events = POLLIN}, {.fd = cancel_fd, .events = POLLIN}};
    uint64_t now = host_monotonic_ns();
    int left_ms = now >= until_ns ? 0 : (int)((until_ns - now + 999999) / 1000000);
    int n = poll(polled, 2, left_ms);
    if (n > 0 && polled[1].revents)
        return -ECANCELED;
    return n == 0 ? -ETIMEDOUT : 0;
}

static int greet_failed(struct transport *transport, int r, struct gw_error *error)
{
    if (r == -ECANCELED)
        return fail(error, GW_CODE_CANCELLED, r, "cancelled");
    if (r == -ETIMEDOUT)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_TIMEOUT, r,
                            "%s did not say what it wants in time", transport_name(transport));
    return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_DISCONNECTED, r,
                        "%s closed the connection before the conversation began",
                        transport_name(transport));
}

/* Reads not one byte beyond the preamble: what follows belongs to the channel. */
int channel_greet(struct transport *transport, int timeout_ms, int cancel_fd,
                  struct wire_preamble *ret_preamble, struct gw_error *error)
{
    uint8_t bytes[WIRE_PREAMBLE_BYTES];
    uint64_t until = host_monotonic_ns() + (uint64_t)timeout_ms * 1000000;
    size_t done = 0;
    while (done < sizeof bytes) {
        ssize_t got =
            recv(transport_fd(transport), bytes + done, sizeof bytes - done, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
            return greet_failed(transport, -ECONNRESET, error);
        done += got > 0 ? (size_t)got : 0;
        if (!wire_preamble_begins(bytes, done))
            break;
        int r = got > 0 ? 0 : wait_until(transport_fd(transport), cancel_fd, until);
        if (r == 0 && host_monotonic_ns() > until)
            r = -ETIMEDOUT;
        if (r < 0 && done < sizeof bytes)
            return greet_failed(transport, r, error);
    }
    memset(bytes + done, 0, sizeof bytes - done);
    return wire_preamble_decode(bytes, ret_preamble, error);
}

int channel_answer(struct transport *transport, const struct wire_preamble *peer,
                   struct gw_error *error)
{
    int version = wire_version_choose(peer, error);
    struct wire_preamble mine = *peer;
    mine.answer = true;
    mine.version_min = version < 0 ? WIRE_VERSION_MIN : (uint16_t)version;
    mine.version_max = version < 0 ? WIRE_VERSION_MAX : (uint16_t)version;
    uint8_t bytes[WIRE_PREAMBLE_BYTES];
    wire_preamble_encode(&mine, bytes);
    int r = transport_write(transport, bytes, sizeof bytes, version < 0 ? NULL : error);
    return version < 0 ? version : r;
}
