/* SPDX-License-Identifier: Apache-2.0 */
/* Programs that a back end starts. */
#ifndef NET_CHILD_H
#define NET_CHILD_H

#include <spawn.h>
#include <sys/types.h>

/* By the name in arguments[0], looked for in PATH; with no signal blocked or handled, and in a
 * process group of its own, so that a terminal's signals reach us alone. `files` is destroyed.
 * -errno. */
int child_spawn(posix_spawn_file_actions_t *files, char *const *arguments, pid_t *ret_pid);

#endif
