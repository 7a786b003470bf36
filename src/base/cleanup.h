/* SPDX-License-Identifier: Apache-2.0 */
/* The one cleanup form: a variable frees what it owns when it leaves its scope; TAKE_* hands it on. */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free(void *pointer)
{
    free(*(void **)pointer);
}

/* Closes and keeps errno; a negative descriptor is nobody's. */
static inline void cleanup_close(const int *descriptor)
{
    if (*descriptor >= 0) {
        int saved = errno;
        close(*descriptor);
        errno = saved;
    }
}

static inline void cleanup_fclose(FILE **file)
{
    if (*file)
        fclose(*file);
}

#define _cleanup_(function) __attribute__((cleanup(function)))
#define _cleanup_free_ _cleanup_(cleanup_free)
#define _cleanup_close_ _cleanup_(cleanup_close)
#define _cleanup_fclose_ _cleanup_(cleanup_fclose)

/* The value, leaving NULL (or -1) behind: ownership moves to the receiver. */
#define TAKE_PTR(pointer)                                                                          \
    ({                                                                                             \
        __auto_type taken_ = (pointer);                                                            \
        (pointer) = NULL;                                                                          \
        taken_;                                                                                    \
    })
#define TAKE_FD(descriptor)                                                                        \
    ({                                                                                             \
        int taken_ = (descriptor);                                                                 \
        (descriptor) = -1;                                                                         \
        taken_;                                                                                    \
    })

#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define container_of(pointer, type, member)                                                        \
    ((type *)((char *)(pointer)-offsetof(type, member)))

#endif
