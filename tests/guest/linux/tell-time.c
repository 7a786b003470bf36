/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tell-time: answers each line of its input with the real time, in nanoseconds; an empty input line is enough,
 * "end" ends. Whoever asked over the console knows when it asked and when it heard: the answer lies between.
 */
#include <string.h>

#include "pattern.h"

int main(void)
{
    char line[64];
    printf("time: asked\n");
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin) && strncmp(line, "end", 3) != 0) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        printf("time: %lld\n", (long long)now.tv_sec * 1000000000 + now.tv_nsec);
        fflush(stdout);
    }
    return 0;
}
