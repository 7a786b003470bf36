/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration (§5.8.4) is a window of 128 bytes below two selectors. Each answer that is not
 * empty is a row of a table; a write to a selector copies its row into the window.
 *
 * What is still to be delivered is a number: a press is always the same events, so how many are
 * left tells which come next.
 */
#include "virtio/input.h"

#include <assert.h>
#include <linux/input.h>
#include <stddef.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"

#define QUEUE_SIZE 64
#define EVENT_BYTES 8u

enum { EVENT_QUEUE, STATUS_QUEUE };

/* §5.8.4: fields of the configuration, and what can be selected. */
enum { CONFIG_SELECT = 0, CONFIG_SUBSELECT = 1, CONFIG_SIZE = 2, CONFIG_ANSWER = 8 };
enum { ASK_NAME = 0x01, ASK_IDS = 0x03, ASK_EVENTS = 0x11 };

static const char name[] = "godwit power button";
static const uint8_t ids[8] = {BUS_VIRTUAL, 0, 'G', 'W',
                               1,           0, 1,   0}; /* bus, vendor, product, version */
static const uint8_t keys[KEY_POWER / 8 + 1] = {[KEY_POWER / 8] = 1 << KEY_POWER % 8};
static const uint8_t reports[1] = {1 << SYN_REPORT};

static const struct {
    uint8_t select, subselect, bytes;
    const void *answer;
} answers[] = {
    {ASK_NAME, 0, sizeof name - 1, name},
    {ASK_IDS, 0, sizeof ids, ids},
    {ASK_EVENTS, EV_KEY, sizeof keys, keys},
    {ASK_EVENTS, EV_SYN, sizeof reports, reports},
};

static const struct {
    uint16_t type, code;
    uint32_t value;
} press_events[VIRTIO_INPUT_PRESS_EVENTS] = {
    {EV_KEY, KEY_POWER, 1},
    {EV_SYN, SYN_REPORT, 0},
    {EV_KEY, KEY_POWER, 0},
    {EV_SYN, SYN_REPORT, 0},
};

static_assert(offsetof(struct virtio_input, transport) == 0, "virtio_mmio_ops gets the transport");

/* ---- Configuration ---- */

static void fill_config(struct virtio_input *input)
{
    memset(input->config, 0, sizeof input->config);
    input->config[CONFIG_SELECT] = input->select;
    input->config[CONFIG_SUBSELECT] = input->subselect;
    for (size_t i = 0; i < ARRAY_COUNT(answers); i++) {
        if (answers[i].select != input->select || answers[i].subselect != input->subselect)
            continue;
        input->config[CONFIG_SIZE] = answers[i].bytes;
        memcpy(input->config + CONFIG_ANSWER, answers[i].answer, answers[i].bytes);
    }
}

int virtio_input_loaded(struct virtio_input *input, struct gw_error *error)
{
    fill_config(input);
    return 0;
}

static void input_write_config(struct virtio_mmio *device, uint64_t offset, uint8_t value)
{
    struct virtio_input *input = (struct virtio_input *)device;
    if (offset == CONFIG_SELECT)
        input->select = value;
    else if (offset == CONFIG_SUBSELECT)
        input->subselect = value;
    else
        return;
    fill_config(input);
}

/* ---- Queues ---- */

static struct virtio_chain *input_room(struct virtio_mmio *device, unsigned index)
{
    struct virtio_input *input = (struct virtio_input *)device;
    if (index == EVENT_QUEUE && input->pending == 0)
        return NULL;
    input->chain = (struct virtio_chain){.segments = input->segments,
                                         .segments_max = ARRAY_COUNT(input->segments)};
    return &input->chain;
}

static void deliver_event(struct virtio_input *input, const struct virtio_chain *chain)
{
    unsigned next =
        VIRTIO_INPUT_PRESS_EVENTS - 1 - (input->pending - 1) % VIRTIO_INPUT_PRESS_EVENTS;
    uint8_t event[EVENT_BYTES];
    put_le16(event, press_events[next].type);
    put_le16(event + 2, press_events[next].code);
    put_le32(event + 4, press_events[next].value);
    if (!virtio_chain_write(chain, input->transport.host.memory, 0, event, sizeof event)) {
        virtio_mmio_break(&input->transport);
        return;
    }
    input->pending--;
    virtio_mmio_push(&input->transport, &input->queue[EVENT_QUEUE], chain->head, sizeof event);
}

/* A button has no light: what the driver tells it is taken and forgotten. */
static void input_handle(struct virtio_mmio *device, unsigned index, struct virtio_chain *chain)
{
    struct virtio_input *input = (struct virtio_input *)device;
    if (index == EVENT_QUEUE)
        deliver_event(input, chain);
    else
        virtio_mmio_push(device, &input->queue[index], chain->head, 0);
}

/* A driver that starts anew has not seen the button go down. */
static void input_reset(struct virtio_mmio *device)
{
    struct virtio_input *input = (struct virtio_input *)device;
    input->select = 0;
    input->subselect = 0;
    input->pending = 0;
    fill_config(input);
}

static const struct virtio_device_ops input_ops = {
    .id = VIRTIO_ID_INPUT,
    .room = input_room,
    .handle = input_handle,
    .reset = input_reset,
    .write_config = input_write_config,
};

bool virtio_input_press(struct virtio_input *input)
{
    if (!virtio_mmio_live(&input->transport))
        return false;
    if (input->pending <= VIRTIO_INPUT_PENDING_MAX - VIRTIO_INPUT_PRESS_EVENTS)
        input->pending += VIRTIO_INPUT_PRESS_EVENTS;
    virtio_mmio_notify(&input->transport);
    return true;
}

void virtio_input_init(struct virtio_input *input, const struct virtio_host *host)
{
    *input = (struct virtio_input){0};
    const struct virtio_mmio_config config = {
        .ops = &input_ops,
        .space = input->config,
        .space_bytes = sizeof input->config,
        .queues = input->queue,
        .queue_count = ARRAY_COUNT(input->queue),
    };
    virtio_mmio_init(&input->transport, host, &config);
    for (size_t i = 0; i < ARRAY_COUNT(input->queue); i++)
        virtio_queue_init(&input->queue[i], host->memory, &input->transport.negotiated, QUEUE_SIZE);
}

void virtio_input_fini(struct virtio_input *input)
{
    virtio_mmio_fini(&input->transport);
}
