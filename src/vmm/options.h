/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of godwit-vmm (docs/control.md). */
#ifndef VMM_OPTIONS_H
#define VMM_OPTIONS_H

#include <jansson.h>
#include <stdbool.h>

#include <godwit/error.h>
#include "board/board.h"

enum options_result { OPTIONS_RUN, OPTIONS_SHOWN, OPTIONS_WRONG }; /* SHOWN: --help or --version */

struct vmm_options {
    char *name, *run_dir, *serial, *incoming; /* owned; NULL where not given */
    struct board_config config;               /* for --incoming: only disks and networks count */
    uint64_t ready_bytes;                     /* --incoming: memory to have ready; 0: none */
    bool paused;
    int ready_fd; /* -1: none */
};

/* Fills `ret_options` in any case; on OPTIONS_WRONG `error` holds the sentence. Prints help and
 * version. */
enum options_result options_parse(int argc, char **argv, struct vmm_options *ret_options,
                                  struct gw_error *error);
void options_fini(struct vmm_options *options);

/* FILE[,readonly][,serial=TEXT], a comma of FILE doubled. Fills *ret_disk only on success. */
int options_parse_disk(const char *text, struct board_disk *ret_disk, struct gw_error *error);

/* TEXT[,name=…][,mac=…][,mtu=…][,queues=…], TEXT being the back end's. Fills *ret_net only on
 * success. In net-option.c. */
int options_parse_net(const char *text, struct board_net *ret_net, struct gw_error *error);
int options_add_net(struct board_config *config, const char *text, struct gw_error *error);
json_t *options_nets_json(const struct board_config *config);

/* What config.json says. */
json_t *options_json(const struct vmm_options *options);

#endif
