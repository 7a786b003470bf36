/* SPDX-License-Identifier: Apache-2.0 */
/* The generated tests over every device; with a name, over that one. */
#include <stdio.h>
#include <string.h>

#include "device-suite.h"

int main(int argc, char **argv)
{
    int failed = 0, run = 0;
    for (const struct suite_device *device = all_devices; device->type; device++) {
        if (argc > 1 && strcmp(argv[1], gw_state_type_name(device->type)) != 0)
            continue;
        failed += suite_run(device);
        run++;
    }
    if (run == 0)
        fprintf(stderr, "no device has the name '%s'\n", argc > 1 ? argv[1] : "");
    return failed || run == 0;
}
