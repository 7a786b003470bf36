/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Figures for people: three digits at most and a unit ("41 MiB", "3.9 GiB", "37 ms"). Bytes are
 * counted as the options count them: --memory 1G is 1.0 GiB everywhere.
 */
#ifndef BASE_WORDS_H
#define BASE_WORDS_H

struct words {
    char text[16];
};

struct words bytes_in_words(double bytes);
struct words time_in_words(double microseconds);

#endif
