/* SPDX-License-Identifier: Apache-2.0 */
/* A machine as this host's files show it: RUN-DIR/NAME with control, console, owner.json, status.json, flights/. */
#ifndef CLI_MACHINE_H
#define CLI_MACHINE_H

#include <jansson.h>

#include <godwit/error.h>
#include "cli/cli.h"
#include "cli/qmp-client.h"

/* RUN-DIR/NAME, or RUN-DIR/NAME/FILE when `file` is not NULL. NULL without memory; the caller frees it. */
char *machine_path(const struct cli *cli, const char *name, const char *file);

/* 0, or an error that says what is wrong with the name, or NOT_FOUND when there is no such machine. */
int machine_check(const struct cli *cli, const char *name, struct gw_error *error);
/* The same, and a descriptor of its directory for base/machine-dir.h. */
int machine_open(const struct cli *cli, const char *name, struct gw_error *error);
/* NOT_FOUND, with its sentence. */
int machine_not_found(const struct cli *cli, const char *name, struct gw_error *error);

/* The control socket of a machine that must exist. A machine whose process has ended gives
 * DISCONNECTED and a sentence with its last words. */
int machine_connect(const struct cli *cli, const char *name, struct qmp_client **ret_client,
                    struct gw_error *error);

/* All names, sorted; *ret_names is freed with machine_names_free(). A missing run directory has none. */
int machine_names(const struct cli *cli, char ***ret_names, size_t *ret_count, struct gw_error *error);
void machine_names_free(char **names, size_t count);

/* Whether a process has the machine's lock: after its sockets, that is the last that it gives up. */
bool machine_has_process(const struct cli *cli, const char *name);

/* Whether the lock that was opened is still that of the name: a start that fails takes its
 * directory with it, and another may have made it anew. */
bool machine_has_lock(const struct cli *cli, const char *name, int lock_fd);

/* How a machine whose process is gone ended, in a sentence: from its last status, or else the last
 * line of its log. Escaped, in UTF-8. From malloc, NULL without memory. */
char *machine_last_words(const struct cli *cli, const char *name);

/* Where the guest moved to and runs, as `last`, its status.json, says; NULL when it does not. */
const char *machine_moved_to(const json_t *last);

/* NAME/FILE as JSON, or NULL: missing, damaged, larger than MACHINE_FILE_MAX_BYTES, not a regular
 * file. The caller frees it. */
json_t *machine_file(const struct cli *cli, const char *name, const char *file);

#endif
