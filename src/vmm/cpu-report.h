/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions about CPU models, which need no machine: godwit-vmm --cpu-report [DEVICE], --cpu-common
 * FILE…, --cpu-check FILE. One JSON object on standard output answers each (docs/cpu-models.md), or
 * {"error": {"layer", "code", "sentence"}}.
 */
#ifndef VMM_CPU_REPORT_H
#define VMM_CPU_REPORT_H

#include <stdbool.h>

bool cpu_report_asked(int argc, char **argv);
int cpu_report_answer(int argc, char **argv); /* an exit status */

#endif
