/* SPDX-License-Identifier: Apache-2.0 */
/* Disk images in a directory of the test's own. */
#ifndef TEST_DISK_FILE_H
#define TEST_DISK_FILE_H

#include <stdint.h>

#include "block/block.h"

void disk_directory_make(void);   /* a new one below $TMPDIR or /tmp */
void disk_directory_remove(void); /* with all in it */
/* The path of `name` in it; valid until the eighth next call. */
const char *disk_path(const char *name);
/* A new file whose sector n is full of byte n. */
const char *disk_make(const char *name, uint64_t bytes);

/* A block on `path`, not acquired; the test fails if that fails. */
struct block *disk_open(const char *path, bool read_only, enum block_engine engine);

#endif
