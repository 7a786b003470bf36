/* SPDX-License-Identifier: Apache-2.0 */
/*
 * counter [MILLISECONDS]: a numbered line with the guest's monotonic time, again and again (default: every
 * 100 ms). A reader of the console sees from it that nothing was lost and how long the guest was silent.
 * It waits after each line rather than for a time of day, so it never prints a burst to catch up.
 */
#include <stdlib.h>

#include "pattern.h"

int main(int argc, char **argv)
{
    unsigned interval_ms = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 100;
    for (unsigned long number = 1;; number++) {
        printf("count %lu at %llu ms\n", number, (unsigned long long)now_ms());
        fflush(stdout);
        sleep_ms(interval_ms);
    }
}
