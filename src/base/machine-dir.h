/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory of a machine, RUN-DIR/NAME: which files it has, and the one way to reach them.
 *
 * The rule: its files are reached from its descriptor, and no link is followed, neither in the
 * place of the directory nor below it. RUN-DIR itself may be a link.
 */
#ifndef BASE_MACHINE_DIR_H
#define BASE_MACHINE_DIR_H

#include <stdbool.h>
#include <stddef.h>

#include <godwit/buf.h>
#include <godwit/error.h>

/* A limit for each of its files that is read whole. */
#define MACHINE_FILE_MAX_BYTES (1u << 20)

/* A descriptor (O_PATH) of the directory `path`, relative to `at`; -ENOTDIR when it is something
 * else, a link among others. */
int machine_dir_open(int at, const char *path);

/* A file of it for reading; it does not block. -EINVAL or -ELOOP when it is not a regular file. */
int machine_dir_open_file(int dir, const char *file);
/* Appends all of the file, or what is in its last `limit` bytes when `end_only`; else a larger one
 * is -EFBIG. Returns 0 or -errno. */
int machine_dir_read(int dir, const char *file, size_t limit, bool end_only, struct gw_buf *out);
/* Process of the machine, as its pid file says; 0 when that does not. */
long machine_dir_pid(int dir);

/* Whether an earlier machine left its record there. */
bool machine_dir_has_record(int dir);

/*
 * -ENOTEMPTY with a sentence when something is there that is not the machine's: then nothing of it
 * is to be removed. `path` is for sentences.
 */
int machine_dir_check(int dir, const char *path, struct gw_error *error);
/* Removes sockets and pid file: what only a process leaves there. */
void machine_dir_remove_living(int dir);
/*
 * Removes the directory and all in it that is a machine's, after machine_dir_check(), by the holder
 * of its lock. The lock goes last: who waits for it finds that it is not this name's any more.
 */
int machine_dir_remove(int dir, const char *path, struct gw_error *error);

/*
 * A start under way, as a word in the lock file that its process holds: as long as it is there, no
 * machine got ready and no earlier one left its record. The process takes it back with `begins`
 * false.
 */
void machine_dir_mark_start(int lock_fd, bool begins);
/* Whether a start ended before it took its word back, or before it wrote anything. */
bool machine_dir_is_unfinished(int dir, int lock_fd);
/*
 * After a start that did not come to its end, by the holder of the lock: removes the directory, or
 * only what a process leaves when it `has_past`: an earlier machine's record is there.
 */
void machine_dir_abandon(int dir, const char *path, bool has_past);

#endif
