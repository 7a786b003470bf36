/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_GUEST_DIFF_GENERATE_H
#define TESTS_GUEST_DIFF_GENERATE_H

#include "diff.h"

/* What a run may contain. */
enum diff_kind { DIFF_ALL, DIFF_INTEGER, DIFF_FLOAT };

/* Random code and registers for one sequence; equal seeds give equal sequences. */
void diff_generate(uint64_t seed, enum diff_kind kind, uint8_t code[DIFF_CODE_BYTES],
                   struct diff_state *ret_state);

#endif
