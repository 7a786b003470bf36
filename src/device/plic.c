/* SPDX-License-Identifier: Apache-2.0 */
#include "device/plic.h"

#include <assert.h>

enum {
    PRIORITY = 0x0,
    PENDING = 0x1000,
    ENABLE = 0x2000,
    ENABLE_STRIDE = 0x80,
    CONTEXT = 0x200000,
    CONTEXT_STRIDE = 0x1000,
};

static bool bit_get(const uint32_t *words, unsigned bit)
{
    return words[bit / 32] >> bit % 32 & 1;
}

static void bit_put(uint32_t *words, unsigned bit, bool value)
{
    words[bit / 32] = (words[bit / 32] & ~(1u << bit % 32)) | (uint32_t)value << bit % 32;
}

/* The pending and enabled source of the highest priority, lowest number first among equals; 0 for
 * none. Priority 0 means "never". A loaded state may have bits of source 0 set: they change
 * nothing. */
static unsigned best_source(const struct plic *plic, const struct plic_context *context)
{
    unsigned best = 0;
    for (unsigned word = 0; word < PLIC_WORDS; word++) {
        uint32_t candidates = plic->pending[word] & context->enable[word];
        for (; candidates; candidates &= candidates - 1) {
            unsigned source = word * 32 + (unsigned)__builtin_ctz(candidates);
            if (plic->priority[source] > (best ? plic->priority[best] : 0))
                best = source;
        }
    }
    return best;
}

static void update_outputs(struct plic *plic)
{
    for (unsigned i = 0; i < plic->context_count; i++) {
        struct plic_context *context = &plic->context[i];
        unsigned best = best_source(plic, context);
        bool raise = best && plic->priority[best] > context->threshold;
        bit_put(&plic->raised, i, raise);
        irq_line_set(&context->output, raise);
    }
}

void plic_set_level(void *opaque, unsigned number, bool level)
{
    struct plic *plic = opaque;
    assert(number > 0 && number < PLIC_SOURCES);
    if (bit_get(plic->level, number) == level)
        return;
    bit_put(plic->level, number, level);
    if (!level || bit_get(plic->claimed, number) || bit_get(plic->pending, number))
        return;
    bit_put(plic->pending, number, true);
    update_outputs(plic);
}

static uint32_t claim(struct plic *plic, struct plic_context *context)
{
    unsigned source = best_source(plic, context);
    if (source) {
        bit_put(plic->pending, source, false);
        bit_put(plic->claimed, source, true);
        update_outputs(plic);
    }
    return source;
}

/* A completion of a source that the context has not enabled, or that is not served, is ignored
 * (§9). */
static void complete(struct plic *plic, struct plic_context *context, uint64_t source)
{
    if (source == 0 || source >= PLIC_SOURCES || !bit_get(context->enable, (unsigned)source) ||
        !bit_get(plic->claimed, (unsigned)source))
        return;
    bit_put(plic->claimed, (unsigned)source, false);
    bit_put(plic->pending, (unsigned)source, bit_get(plic->level, (unsigned)source));
    update_outputs(plic);
}

static void plic_reset(void *device)
{
    struct plic *plic = device;
    for (unsigned i = 0; i < PLIC_SOURCES; i++)
        plic->priority[i] = 0;
    for (unsigned i = 0; i < PLIC_WORDS; i++) {
        plic->claimed[i] = 0;
        plic->pending[i] = plic->level[i];
        for (unsigned c = 0; c < plic->context_count; c++)
            plic->context[c].enable[i] = 0;
    }
    for (unsigned c = 0; c < plic->context_count; c++)
        plic->context[c].threshold = 0;
    update_outputs(plic);
}

void plic_init(struct plic *plic, unsigned hart_count)
{
    unsigned contexts = hart_count * 2;
    assert(contexts >= 2 && contexts <= PLIC_MAX_CONTEXTS);
    *plic = (struct plic){.context_count = contexts};
}

int plic_loaded(struct plic *plic, struct gw_error *error)
{
    update_outputs(plic);
    return 0;
}

static uint32_t *enable_word(struct plic *plic, uint64_t offset)
{
    uint64_t context = (offset - ENABLE) / ENABLE_STRIDE;
    uint64_t word = (offset - ENABLE) % ENABLE_STRIDE / 4;
    if (context >= plic->context_count || word >= PLIC_WORDS)
        return NULL;
    return &plic->context[context].enable[word];
}

static struct plic_context *context_at(struct plic *plic, uint64_t offset)
{
    uint64_t context = (offset - CONTEXT) / CONTEXT_STRIDE;
    return context < plic->context_count ? &plic->context[context] : NULL;
}

static uint64_t plic_read(void *device, uint64_t offset, unsigned size)
{
    struct plic *plic = device;
    if (size != 4)
        return 0;
    if (offset >= CONTEXT) {
        struct plic_context *context = context_at(plic, offset);
        switch (context ? offset % CONTEXT_STRIDE : UINT64_MAX) {
        case 0:
            return context->threshold;
        case 4:
            return claim(plic, context);
        default:
            return 0;
        }
    }
    if (offset >= ENABLE) {
        uint32_t *word = enable_word(plic, offset);
        return word ? *word : 0;
    }
    if (offset >= PENDING)
        return offset < PENDING + 4 * PLIC_WORDS ? plic->pending[(offset - PENDING) / 4] : 0;
    return offset < PRIORITY + 4 * PLIC_SOURCES ? plic->priority[offset / 4] : 0;
}

static void write_context(struct plic *plic, uint64_t offset, uint64_t value)
{
    struct plic_context *context = context_at(plic, offset);
    if (!context)
        return;
    if (offset % CONTEXT_STRIDE == 0) {
        context->threshold = value & PLIC_MAX_PRIORITY;
        update_outputs(plic);
    } else if (offset % CONTEXT_STRIDE == 4) {
        complete(plic, context, value);
    }
}

static void plic_write(void *device, uint64_t offset, uint64_t value, unsigned size)
{
    struct plic *plic = device;
    if (size != 4)
        return;
    if (offset >= CONTEXT) {
        write_context(plic, offset, value);
        return;
    }
    if (offset >= ENABLE) {
        uint32_t *word = enable_word(plic, offset);
        if (!word)
            return;
        *word = (uint32_t)value;
        if ((offset - ENABLE) % ENABLE_STRIDE == 0)
            *word &= ~1u;
    } else if (offset >= 4 && offset < PRIORITY + 4 * PLIC_SOURCES) {
        plic->priority[offset / 4] = value & PLIC_MAX_PRIORITY;
    }
    update_outputs(plic);
}

const struct device_ops plic_ops = {
    .read = plic_read,
    .write = plic_write,
    .reset = plic_reset,
};
