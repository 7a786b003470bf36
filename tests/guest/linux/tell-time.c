/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tell-time: answers each line of its input, a number, with that number and the real time in nanoseconds; "end"
 * ends. Whoever asked over the console knows when it asked and when it heard: the answer lies between.
 */
#include <stdlib.h>
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
        printf("time: %d: %lld ns\n", atoi(line), (long long)now.tv_sec * 1000000000 + now.tv_nsec);
        fflush(stdout);
    }
    printf("time: told\n");
    return 0;
}
