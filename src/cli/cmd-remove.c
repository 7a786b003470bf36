/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Removing what ended machines left. Only files of a machine's own are removed, and only under the
 * lock that a machine's process holds while it lives. All is checked before the first is removed.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#include <godwit/migrate.h>
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/machine-dir.h"
#include "cli/cli.h"
#include "cli/machine.h"

#define FAIL(code, number, ...) gw_error_set(error, GW_LAYER_BASE, code, number, __VA_ARGS__)

enum { ENDING_MS = 10000 };

/* What the process of a guest that was given away says of it: where it runs for certain, "" while
 * that is not known, NULL without an answer. The caller's. */
static char *ask_confirmed(const struct cli *cli, const char *name)
{
    _cleanup_qmp_ struct qmp_client *client = NULL;
    struct gw_error error;
    json_t *info = NULL;
    const char *status = "", *direction = "", *uri = NULL;
    if (machine_connect(cli, name, &client, &error) < 0 ||
        qmp_client_call(client, "query-migrate", NULL, &info, &error) < 0)
        return NULL;
    json_unpack(info, "{s:s, s:{s:s, s?:s}}", "status", &status, "x-godwit", "direction",
                &direction, "uri", &uri);
    bool confirmed = strcmp(status, "completed") == 0 && strcmp(direction, "outgoing") == 0;
    char *answer = strdup(!confirmed ? "" : uri ? uri : "another process");
    json_decref(info);
    return answer;
}

/* Reclaiming is advice only where the other side has not confirmed that it runs the guest. */
static int refuse_given_away(const struct cli *cli, const char *name, const char *peer,
                             struct gw_error *error)
{
    _cleanup_free_ char *at = ask_confirmed(cli, name);
    if (at && *at)
        return FAIL(GW_CODE_STATE, -EPERM,
                    "machine '%s' has moved to %s and runs there; what is here is its old process: "
                    "'godwit stop --force %s' ends it",
                    name, at, name);
    return FAIL(GW_CODE_STATE, -EPERM,
                "machine '%s' was given away to %s, and its process here %s: 'godwit status %s' on "
                "both hosts tells whether it runs there; if so, 'godwit stop --force %s' ends the "
                "old process; if that host cannot run it, 'godwit reclaim %s --fenced' takes it "
                "back",
                name, peer, at ? "does not know whether it runs there" : "does not answer", name,
                name, name);
}

/* Whether it is known who owns the guest: then nobody needs the record any more. */
static int check_decided(const struct cli *cli, const char *name, bool has_process,
                         struct gw_error *error)
{
    _cleanup_free_ char *path = machine_path(cli, name, "owner.json");
    struct gw_ownership record;
    int r = gw_ownership_read(path, &record, error);
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return r;
    json_t *last = machine_file(cli, name, "status.json");
    bool has_moved = machine_moved_to(last) != NULL;
    json_decref(last);
    if (record.state != GW_OWNER_RELEASED || has_moved)
        return 0;
    const char *peer = record.peer[0] ? record.peer : "its destination";
    if (has_process)
        return refuse_given_away(cli, name, peer, error);
    return FAIL(GW_CODE_STATE, -EPERM,
                "it is not known whether machine '%s' runs at %s: 'godwit status %s' on both hosts "
                "tells more, and 'godwit reclaim' is too late, since its process is gone; once you "
                "know where it runs, or that it runs nowhere, remove '%s' first",
                name, peer, name, path);
}

/* False when a process has it that does not end: it still answers at its socket. */
static bool lock_when_ended(const struct cli *cli, const char *name, int fd)
{
    _cleanup_free_ char *control = machine_path(cli, name, "control");
    uint64_t deadline = host_monotonic_ns() + ENDING_MS * 1000000ull;
    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (!control || access(control, F_OK) == 0 || host_monotonic_ns() >= deadline)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    return true;
}

/* The lock file; a directory without one, made by hand or half removed, gets one unless it is to be
 * refused. */
static int open_lock(const struct cli *cli, const char *name, int dir, const char *path,
                     struct gw_error *error)
{
    const int flags = O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(dir, "lock", flags);
    if (fd < 0 && errno == ENOENT) {
        int r = machine_dir_check(dir, path, error);
        if (r < 0)
            return r;
        fd = openat(dir, "lock", flags | O_CREAT, 0600);
    }
    if (fd < 0 && errno == ENOENT)
        return machine_not_found(cli, name, error);
    if (fd < 0)
        return FAIL(gw_code_from_errno(errno), -errno,
                    "cannot open '%s/lock', the lock of machine '%s': %s", path, name,
                    strerror(errno));
    return fd;
}

/* The lock of an ended machine; *ret_fd keeps it. */
static int take_lock(const struct cli *cli, const char *name, int dir, const char *path,
                     int *ret_fd, struct gw_error *error)
{
    _cleanup_close_ int fd = open_lock(cli, name, dir, path, error);
    if (fd < 0)
        return fd;
    bool has_process = !lock_when_ended(cli, name, fd);
    if (!machine_has_lock(cli, name, fd))
        return machine_not_found(cli, name, error);
    int r = check_decided(cli, name, has_process, error);
    if (r < 0)
        return r;
    if (has_process)
        return FAIL(GW_CODE_BUSY, -EBUSY,
                    "machine '%s' runs (process %ld): 'godwit stop %s' ends it", name,
                    machine_dir_pid(dir), name);
    *ret_fd = TAKE_FD(fd);
    return 0;
}

static int remove_machine(const struct cli *cli, const char *name, struct gw_error *error)
{
    _cleanup_free_ char *path = machine_path(cli, name, NULL);
    _cleanup_close_ int dir = machine_open(cli, name, error);
    _cleanup_close_ int lock = -1;
    if (dir < 0)
        return dir;
    int r = take_lock(cli, name, dir, path, &lock, error);
    if (r == 0)
        r = machine_dir_check(dir, path, error);
    if (r == 0)
        r = machine_dir_remove(dir, path, error);
    if (r == 0)
        cli_say("machine '%s' is removed", name);
    return r;
}

static int remove_ended(const struct cli *cli)
{
    struct gw_error error;
    char **names;
    size_t count;
    int code = EXIT_DONE;
    if (machine_names(cli, &names, &count, &error) < 0)
        return cli_fail(&error);
    for (size_t i = 0; i < count; i++)
        if (remove_machine(cli, names[i], &error) < 0 && error.code != GW_CODE_BUSY &&
            error.code != GW_CODE_NOT_FOUND)
            code = cli_fail(&error);
    machine_names_free(names, count);
    return code;
}

int cmd_remove(const struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = {{"ended", no_argument, NULL, 'e'}, {0}};
    bool ended = false;
    for (int option; (option = cli_option(argc, argv, options)) != -1; ended = true)
        if (option == '?')
            return EXIT_USAGE;
    if (argc - optind != (ended ? 0 : 1))
        return cli_usage("remove", "one machine name, or --ended, is needed");
    const char *name = argv[optind];
    struct gw_error error;
    if (ended)
        return remove_ended(cli);
    return remove_machine(cli, name, &error) < 0 ? cli_fail(&error) : EXIT_DONE;
}
