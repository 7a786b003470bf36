/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Differential test of the software CPU: what the host program and the one that qemu-riscv64 runs
 * agree on.
 *
 * A sequence is some instructions at a fixed place, ended by a jump to DIFF_DONE through x31, and
 * the registers that it begins with. x2 and x8 point to the start of the scratch memory and x30 to
 * its middle; a sequence leaves these and x31 alone, and x31 is not compared.
 */
#ifndef TESTS_GUEST_DIFF_H
#define TESTS_GUEST_DIFF_H

#include <stdint.h>

#define DIFF_CODE 0x10000000ul    /* sequences, DIFF_CODE_BYTES each */
#define DIFF_STATES 0x12000000ul  /* struct diff_state, in */
#define DIFF_RESULTS 0x14000000ul /* struct diff_result, out */
#define DIFF_DONE 0x16000000ul    /* code that ends a sequence */
#define DIFF_SCRATCH 0x18000000ul
#define DIFF_CODE_BYTES 256
#define DIFF_SCRATCH_BYTES 512
#define DIFF_MOST 8192 /* sequences in one run */

struct diff_state {
    uint64_t x[32], f[32], fcsr;
};

struct diff_result {
    struct diff_state state;
    uint64_t scratch[DIFF_SCRATCH_BYTES / 8];
};

#endif
