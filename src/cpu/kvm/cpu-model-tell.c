/* SPDX-License-Identifier: Apache-2.0 */
/* What a model is, in words. */
#include <stdlib.h>
#include <string.h>

#include <godwit/buf.h>

#include "base/bytes.h"
#include "cpu/kvm/cpu-leaves.h"

/* A peer or a file may have written it: what is not printable ASCII shows as '?'. */
static void make_printable(char *text)
{
    for (; *text; text++)
        if (*text < 0x20 || *text > 0x7e)
            *text = '?';
}

void cpu_model_vendor(const struct cpu_model *model, char ret_vendor[13])
{
    put_le32(ret_vendor, cpu_model_get(model, 0, 0, CPU_EBX));
    put_le32(ret_vendor + 4, cpu_model_get(model, 0, 0, CPU_EDX));
    put_le32(ret_vendor + 8, cpu_model_get(model, 0, 0, CPU_ECX));
    ret_vendor[12] = 0;
    make_printable(ret_vendor);
}

void cpu_model_brand(const struct cpu_model *model, char ret_brand[49])
{
    char text[49] = {0};
    const char *begin = text;

    for (unsigned i = 0; i < 12; i++)
        put_le32(text + 4 * i,
                 cpu_model_get(model, 0x80000002 + i / 4, 0, (enum cpu_register)(i % 4)));
    make_printable(text);
    for (size_t end = strlen(text); end > 0 && text[end - 1] == ' '; end--)
        text[end - 1] = 0;
    begin += strspn(text, " ");
    memset(ret_brand, 0, 49);
    memcpy(ret_brand, begin, strlen(begin));
}

/* SDM volume 2A, CPUID, figure 3-6; the APM counts the same way. */
struct cpu_signature cpu_model_signature(const struct cpu_model *model)
{
    uint32_t eax = cpu_model_get(model, 0x1, 0, CPU_EAX);
    struct cpu_signature signature = {
        .family = eax >> 8 & 0xf, .model = eax >> 4 & 0xf, .stepping = eax & 0xf};

    if (signature.family == 0xf || signature.family == 6)
        signature.model |= (eax >> 16 & 0xf) << 4;
    if (signature.family == 0xf)
        signature.family += eax >> 20 & 0xff;
    return signature;
}

unsigned cpu_model_address_bits(const struct cpu_model *model)
{
    return cpu_model_get(model, 0x80000008, 0, CPU_EAX) & 0xff;
}

const char *cpu_level_name(unsigned level)
{
    return level >= 1 && level <= CPU_LEVELS ? cpu_levels[level - 1].name : NULL;
}

/* Adds those of `list` that the model lacks to `names`; whether it has them all. */
static bool add_lacking(const struct cpu_model *model, const char *list, struct gw_buf *names)
{
    struct cpu_place place;
    const char *name;
    size_t length;
    bool all = true;

    while ((name = cpu_list_next(&list, &length))) {
        if (cpu_bit_find(name, length, &place) && cpu_model_has(model, &place))
            continue;
        all = false;
        if (names)
            gw_buf_printf(names, "%s%.*s", names->length ? " " : "", (int)length, name);
    }
    return all;
}

unsigned cpu_model_level(const struct cpu_model *model)
{
    unsigned level = 0;

    while (level < CPU_LEVELS && add_lacking(model, cpu_levels[level].abi, NULL))
        level++;
    return level;
}

/* The text of a buffer as a string of its own, also where the buffer ran out of memory. */
static char *take_text(struct gw_buf *names)
{
    char *text = gw_buf_append(names, "", 1) == 0 ? (char *)names->data : NULL;

    if (!text)
        gw_buf_fini(names);
    return text;
}

char *cpu_model_lacks(const struct cpu_model *model, unsigned level)
{
    struct gw_buf names = {0};

    for (unsigned i = 0; i < level && i < CPU_LEVELS; i++) {
        add_lacking(model, cpu_levels[i].abi, &names);
        add_lacking(model, cpu_levels[i].kernel, &names);
    }
    return take_text(&names);
}

char *cpu_model_features(const struct cpu_model *model)
{
    struct gw_buf names = {0};

    for (size_t i = 0; i < cpu_word_count; i++) {
        const struct cpu_word *word = &cpu_words[i];
        uint32_t value = cpu_model_get(model, word->function, word->index, word->reg);

        for (unsigned bit = 0; bit < 32; bit++)
            if (value & 1U << bit && word->bit[bit])
                gw_buf_printf(&names, "%s%s", names.length ? " " : "", word->bit[bit]);
    }
    return take_text(&names);
}
