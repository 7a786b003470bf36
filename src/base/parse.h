/* SPDX-License-Identifier: Apache-2.0 */
/* What people write: numbers, strict, whole string, no silent wrap-around; and lists. */
#ifndef BASE_PARSE_H
#define BASE_PARSE_H

#include <stdint.h>

/* Decimal digits only. -EINVAL, or -ERANGE above `maximum`. */
int parse_number(const char *text, uint64_t maximum, uint64_t *ret_value);

/* "4096", "64K", "512M", "1.5G", "2T": binary multiples; "MiB" and "MB" are read as "M". -EINVAL, -ERANGE. */
int parse_size(const char *text, uint64_t *ret_bytes);

/* "100ms", "2s", "1.5s", "3m"; a bare number has the unit of `default_unit_ns`. Nanoseconds. -EINVAL, -ERANGE. */
int parse_duration(const char *text, uint64_t default_unit_ns, uint64_t *ret_ns);

/* The next part of a comma list, doubled commas undone; *at moves behind it, to NULL at the end. The
 * caller frees it; NULL without memory. */
char *parse_part(const char **at);

#endif
