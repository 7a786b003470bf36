/* SPDX-License-Identifier: Apache-2.0 */
/* Figures for people: three digits at most and a unit ("41 MB", "3.9 GB", "37 ms"). */
#ifndef MIGRATE_WORDS_H
#define MIGRATE_WORDS_H

struct words {
    char text[16];
};

struct words bytes_in_words(double bytes);
struct words time_in_words(double microseconds);

#endif
