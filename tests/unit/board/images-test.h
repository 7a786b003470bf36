/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of boot images share: files in a directory of the test, and a look at what was
 * placed. */
#ifndef IMAGES_TEST_H
#define IMAGES_TEST_H

#include "board-test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "board/boot-images.h"

static char directory[64];

static inline int set_up(void **state)
{
    strcpy(directory, "/tmp/godwit-images-XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static inline int tear_down(void **state)
{
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", directory);
    return system(command);
}

/* A file of the test's directory; the path is good until the next but seven calls. */
static inline char *make_file(const char *name, const void *bytes, size_t length)
{
    static char paths[8][128];
    static unsigned turn;
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    fclose(file);
    return path;
}

static inline const struct boot_segment *segment_at(const struct boot_images *images,
                                                    uint64_t guest)
{
    for (unsigned i = 0; i < images->count; i++)
        if (images->segment[i].guest == guest)
            return &images->segment[i];
    fail_msg("nothing at 0x%llx", (unsigned long long)guest);
    return NULL;
}

typedef int images_read(const struct board_config *config, struct boot_images *ret_images,
                        struct gw_error *error);

static inline void check_refused(images_read *read, const struct board_config *config,
                                 const char *sentence)
{
    struct boot_images images;
    struct gw_error error = {0};
    assert_true(read(config, &images, &error) < 0);
    if (!strstr(error.message, sentence))
        fail_msg("\"%s\" does not say \"%s\"", error.message, sentence);
}

#endif
