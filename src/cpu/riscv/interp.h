/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CPU_RISCV_INTERP_H
#define CPU_RISCV_INTERP_H

#include "cpu/riscv/hart.h"

/* Runs from state.pc until `left` is used up or another exit; leaves state and `left` exact. */
enum rv_exit rv_interpret(struct rv_hart *hart);

#endif
