/* SPDX-License-Identifier: Apache-2.0 */
/* Small files that are replaced whole: a reader sees the old contents or the new, never a part. */
#ifndef MIGRATE_FILE_H
#define MIGRATE_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include <godwit/buf.h>
#include <godwit/error.h>

/* Appends the file's contents. Only a regular file, not a link, of at most `limit` bytes; `what`
 * names it in errors. */
int file_read(const char *path, const char *what, size_t limit, struct gw_buf *out,
              struct gw_error *error);

/* Writes PATH.tmp with mode 0600 and renames it to PATH. `durable`: file and directory are synced
 * first and last, so that after success a crash of the host does not bring the old contents back.
 * One writer. */
int file_replace(const char *path, const char *what, const void *bytes, size_t length, bool durable,
                 struct gw_error *error);

#endif
