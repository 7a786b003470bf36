/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting programs: the one way for all of them. The rule: a program has the descriptors 0, 1, 2
 * and those that are named for it, and no others: also none that was open, without close-on-exec,
 * when this process began. No signal is blocked, ignored or handled in it.
 */
#ifndef BASE_PROGRAM_H
#define BASE_PROGRAM_H

#include <sys/types.h>

enum { PROGRAM_MAX_FILES = 8, PROGRAM_MAX_KEPT = 2 };

#define PROGRAM_NULL (-1) /* /dev/null */

/* Which signals of a terminal reach the program. */
enum program_group {
    PROGRAM_GROUP_OURS, /* those that reach us */
    PROGRAM_GROUP_OWN,  /* none */
    PROGRAM_SESSION,    /* none, and the program has no terminal */
};

struct program {
    const char *path;             /* NULL: arguments[0], which is looked for in PATH */
    char *const *arguments;       /* ended by NULL */
    int files[PROGRAM_MAX_FILES]; /* files[n]: our descriptor, or PROGRAM_NULL, that becomes its n
                                   */
    unsigned file_count;          /* at least 3 */
    int kept[PROGRAM_MAX_KEPT];   /* keep their numbers, from file_count on; 0: none */
    enum program_group group;
};

/* Descriptors stay the caller's. Returns 0, or -errno when the program did not begin. */
int program_start(const struct program *program, pid_t *ret_pid);

/* Opens /dev/null as those of 0, 1 and 2 that are closed, so that no other file gets their numbers.
 * To be called first. */
void program_open_standard(void);

#endif
