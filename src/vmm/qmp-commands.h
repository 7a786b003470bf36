/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of the control interface (docs/control.md); their backend is a struct machine. */
#ifndef VMM_QMP_COMMANDS_H
#define VMM_QMP_COMMANDS_H

#include "vmm/qmp-dispatch.h"

extern const struct qmp_command qmp_commands[];
extern const size_t qmp_command_count;

#endif
