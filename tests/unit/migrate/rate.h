/* SPDX-License-Identifier: Apache-2.0 */
/* What a limit of bytes per second owes on a real clock: never more, and about as much. How exactly
 * it is kept, test-ratelimit.c shows on a clock of its own. */
#ifndef TESTS_RATE_H
#define TESTS_RATE_H

#define RATE_TRIES 5
#define RATE_LEAST 0.5

/*
 * Measures up to RATE_TRIES times, in bytes per second. Above the limit fails at once: no load of
 * the host excuses that. Far below it fails only when every try was, as a busy host can be slow at
 * any time but is not all the time.
 */
static inline void assert_rate_is_kept(double (*measure)(void *), void *argument, double limit)
{
    double best = 0;
    for (unsigned try = 0; try < RATE_TRIES && best < RATE_LEAST * limit; try++) {
        double rate = measure(argument);
        print_message("%.3f of the limit\n", rate / limit);
        if (rate > 1.1 * limit)
            fail_msg("%.0f bytes per second under a limit of %.0f", rate, limit);
        best = rate > best ? rate : best;
    }
    if (best < RATE_LEAST * limit)
        fail_msg("no more than %.0f bytes per second under a limit of %.0f", best, limit);
}

#endif
