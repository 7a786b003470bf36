/* SPDX-License-Identifier: Apache-2.0 */
/* Paths in commands for a shell: the tree may be anywhere, quotes and spaces in its path included.
 */
#ifndef SHELL_WORD_H
#define SHELL_WORD_H

#include <assert.h>
#include <stddef.h>

/* The text as one word of a shell's command, written to `word`, which has room for `bytes`. Returns
 * `word`. */
static inline char *shell_word(char *word, size_t bytes, const char *text)
{
    static const char quote[] = "'\\''";
    size_t n = 0;
    word[n++] = '\'';
    for (; *text; text++) {
        const char *piece = *text == '\'' ? quote : text;
        size_t length = *text == '\'' ? sizeof quote - 1 : 1;
        assert(n + length + 2 <= bytes);
        while (length--)
            word[n++] = *piece++;
    }
    word[n++] = '\'';
    word[n] = 0;
    return word;
}

#endif
