/* SPDX-License-Identifier: Apache-2.0 */
/* A migration as a person sees it: a live bar on a terminal, a line a round elsewhere, a summary at
 * the end. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <jansson.h>
#include <stdbool.h>

struct progress {
    bool enabled, terminal, drawn;
    double budget_us;
    json_int_t last_round;
};

void progress_init(struct progress *progress, bool enabled, double budget_us);
void progress_show(struct progress *progress, const json_t *info); /* info: query-migrate */
void progress_end(struct progress *progress);
/* A line for each network whose open connections do not follow: `what` becomes of them, and why. */
void progress_networks(const json_t *info, const char *what);
/* One paragraph on standard output about a completed migration. */
void progress_summary(const json_t *info, const char *name, const char *uri);

#endif
