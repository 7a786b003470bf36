/* SPDX-License-Identifier: Apache-2.0 */
/* The numbers of docs/state.md, "The stream". */
#ifndef STATE_FORMAT_H
#define STATE_FORMAT_H

#include <stdint.h>

#define STATE_MAGIC "GWSTATE\n"
#define STATE_FORMAT 1

enum { STATE_HEADER_BYTES = 16, STATE_SECTION_BYTES = 32, STATE_SUBSECTION_BYTES = 8 };

/* Offsets in the stream's header and in a section's. */
enum { STATE_AT_MAGIC = 0, STATE_AT_FORMAT = 8, STATE_AT_HEADER_ZERO = 12 };
enum {
    STATE_AT_CRC = 0,
    STATE_AT_KIND = 4,
    STATE_AT_INSTANCE = 8,
    STATE_AT_VERSION = 12,
    STATE_AT_NAME_LENGTH = 16,
    STATE_AT_ZERO = 20,
    STATE_AT_PAYLOAD_LENGTH = 24,
};

enum { STATE_KIND_SECTION = 1, STATE_KIND_END = 2 };

#endif
