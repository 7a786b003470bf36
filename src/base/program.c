/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The new program's descriptors are put in place from copies with numbers above all of its own, so
 * that no copy is overwritten before its turn. What is left then is closed.
 */
#include "base/program.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>

#include "base/cleanup.h"

extern char **environ;

struct copies {
    int fds[PROGRAM_MAX_FILES]; /* -1: none */
};

static void close_copies(struct copies *copies)
{
    for (unsigned i = 0; i < PROGRAM_MAX_FILES; i++)
        cleanup_close(&copies->fds[i]);
}

static int make_copies(const struct program *program, struct copies *copies)
{
    for (unsigned i = 0; i < program->file_count; i++) {
        if (program->files[i] == PROGRAM_NULL)
            continue;
        copies->fds[i] = fcntl(program->files[i], F_DUPFD_CLOEXEC, (int)program->file_count);
        if (copies->fds[i] < 0 && (errno != EBADF || program->files[i] != (int)i))
            return -errno; /* else ours is closed, and a library does not open it */
    }
    return 0;
}

static int add_files(const struct program *program, const struct copies *copies,
                     posix_spawn_file_actions_t *actions)
{
    int r = 0;
    for (int i = 0; r == 0 && i < (int)program->file_count; i++)
        r = copies->fds[i] >= 0
                ? posix_spawn_file_actions_adddup2(actions, copies->fds[i], i)
                : posix_spawn_file_actions_addopen(actions, i, "/dev/null", O_RDWR, 0);
    return r;
}

static bool is_kept(const struct program *program, int fd)
{
    for (unsigned i = 0; i < PROGRAM_MAX_KEPT; i++)
        if (program->kept[i] == fd)
            return true;
    return false;
}

static int close_others(const struct program *program, posix_spawn_file_actions_t *actions)
{
    int first_free = (int)program->file_count, r = 0;
    for (unsigned i = 0; i < PROGRAM_MAX_KEPT; i++) {
        assert(program->kept[i] == 0 || program->kept[i] >= (int)program->file_count);
        if (program->kept[i] >= first_free)
            first_free = program->kept[i] + 1;
    }
    for (int fd = (int)program->file_count; r == 0 && fd < first_free; fd++)
        r = is_kept(program, fd) ? posix_spawn_file_actions_adddup2(actions, fd, fd) /* inherited */
                                 : posix_spawn_file_actions_addclose(actions, fd);
    return r ? r : posix_spawn_file_actions_addclosefrom_np(actions, first_free);
}

static void set_attributes(enum program_group group, posix_spawnattr_t *attributes)
{
    static const short flags[] = {
        [PROGRAM_GROUP_OURS] = 0,
        [PROGRAM_GROUP_OWN] = POSIX_SPAWN_SETPGROUP,
        [PROGRAM_SESSION] = POSIX_SPAWN_SETSID,
    };
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(attributes, &none);
    posix_spawnattr_setsigdefault(attributes, &all);
    posix_spawnattr_setflags(
        attributes, (short)(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | flags[group]));
}

int program_start(const struct program *program, pid_t *ret_pid)
{
    _cleanup_(close_copies) struct copies copies = {{-1, -1, -1, -1, -1, -1, -1, -1}};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    assert(program->file_count >= 3 && program->file_count <= PROGRAM_MAX_FILES);
    int r = make_copies(program, &copies);
    if (r < 0)
        return r;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    set_attributes(program->group, &attributes);
    r = add_files(program, &copies, &actions);
    if (r == 0)
        r = close_others(program, &actions);
    if (r == 0)
        r = posix_spawnp(ret_pid, program->path ? program->path : program->arguments[0], &actions,
                         &attributes, program->arguments, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return -r;
}

void program_open_standard(void)
{
    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void)!open("/dev/null", O_RDWR); /* takes the lowest free number: this one */
}
