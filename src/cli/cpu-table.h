/* SPDX-License-Identifier: Apache-2.0 */
/* CPU models as a person reads them: what godwit-vmm answers to --cpu-report, --cpu-common and --cpu-check. */
#ifndef CLI_CPU_TABLE_H
#define CLI_CPU_TABLE_H

#include <jansson.h>

void cpu_table_report(const json_t *answer);
void cpu_table_common(const json_t *answer);
void cpu_table_check(const json_t *answer);
void cpu_table_features(const json_t *answer);

#endif
