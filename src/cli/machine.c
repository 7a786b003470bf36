/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/machine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/machine-dir.h"
#include "base/machine-name.h"
#include "base/run-dir.h"
#include "base/text.h"

enum { LOG_END_BYTES = 64 << 10 };

#define FAIL(code, number, ...) gw_error_set(error, GW_LAYER_CLI, code, number, __VA_ARGS__)

char *machine_path(const struct cli *cli, const char *name, const char *file)
{
    char *path = NULL;
    int r = file ? asprintf(&path, "%s/%s/%s", cli->run_dir, name, file)
                 : asprintf(&path, "%s/%s", cli->run_dir, name);
    return r < 0 ? NULL : path;
}

int machine_open(const struct cli *cli, const char *name, struct gw_error *error)
{
    int r = machine_name_check(name, GW_LAYER_CLI, error);
    if (r < 0)
        return r;
    _cleanup_free_ char *directory = machine_path(cli, name, NULL);
    int fd = directory ? machine_dir_open(AT_FDCWD, directory) : -ENOMEM;
    if (fd == -EACCES)
        return run_dir_fail(error, GW_LAYER_CLI, "use", cli->run_dir, -fd);
    if (fd == -ENOTDIR && faccessat(AT_FDCWD, directory, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return FAIL(GW_CODE_NOT_FOUND, fd,
                    "'%s' is not a machine's directory; 'godwit list' shows the machines that "
                    "there are",
                    directory);
    if (fd < 0)
        return machine_not_found(cli, name, error);
    return fd;
}

int machine_not_found(const struct cli *cli, const char *name, struct gw_error *error)
{
    return FAIL(GW_CODE_NOT_FOUND, -ENOENT,
                "there is no machine '%s' in %s; 'godwit list' shows those that there are", name,
                cli->run_dir);
}

int machine_check(const struct cli *cli, const char *name, struct gw_error *error)
{
    _cleanup_close_ int fd = machine_open(cli, name, error);
    return fd < 0 ? fd : 0;
}

int machine_connect(const struct cli *cli, const char *name, struct qmp_client **ret_client,
                    struct gw_error *error)
{
    int r = machine_check(cli, name, error);
    if (r < 0)
        return r;
    _cleanup_free_ char *socket_path = machine_path(cli, name, "control");
    r = qmp_client_open(socket_path, ret_client, error);
    if (r == -ENOENT || r == -ECONNREFUSED) {
        _cleanup_free_ char *words = machine_last_words(cli, name);
        FAIL(GW_CODE_DISCONNECTED, r, "machine '%s' has no process (%s)", name, words);
    }
    return r;
}

/* Of a file that is larger, its last `limit` bytes when `end_only`, else nothing; as text, from
 * malloc, NULL without a regular file. */
static char *read_file(const struct cli *cli, const char *name, const char *file, size_t limit,
                       bool end_only)
{
    _cleanup_close_ int dir = machine_open(cli, name, NULL);
    struct gw_buf text = {0};
    if (dir >= 0 && machine_dir_read(dir, file, limit, end_only, &text) == 0 &&
        gw_buf_append(&text, "", 1) == 0)
        return (char *)text.data;
    gw_buf_fini(&text);
    return NULL;
}

json_t *machine_file(const struct cli *cli, const char *name, const char *file)
{
    _cleanup_free_ char *text = read_file(cli, name, file, MACHINE_FILE_MAX_BYTES, false);
    return text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
}

bool machine_has_process(const struct cli *cli, const char *name)
{
    _cleanup_close_ int dir = machine_open(cli, name, NULL);
    _cleanup_close_ int fd = dir < 0 ? -1 : machine_dir_open_file(dir, "lock");
    return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0;
}

bool machine_has_lock(const struct cli *cli, const char *name, int lock_fd)
{
    struct stat ours, there;
    _cleanup_close_ int dir = machine_open(cli, name, NULL);
    return dir >= 0 && fstat(lock_fd, &ours) == 0 &&
           fstatat(dir, "lock", &there, AT_SYMLINK_NOFOLLOW) == 0 && ours.st_dev == there.st_dev &&
           ours.st_ino == there.st_ino;
}

/* The last line of a log, without its time; NULL when there is none. */
static char *last_line(const struct cli *cli, const char *name)
{
    _cleanup_free_ char *log = read_file(cli, name, "vmm.log", LOG_END_BYTES, true);
    char *rest = log, *last = NULL;
    for (char *line; (line = strsep(&rest, "\n"));) {
        int stamp = 0;
        if (sscanf(line, "%*4d-%*2d-%*2d %*2d:%*2d:%*2d.%*3d %n", &stamp) >= 0 && line[stamp])
            last = line + stamp;
    }
    return last ? strdup(last) : NULL;
}

char *machine_last_words(const struct cli *cli, const char *name)
{
    json_t *status = machine_file(cli, name, "status.json");
    const char *verdict = json_string_value(json_object_get(status, "verdict"));
    _cleanup_free_ char *line = verdict ? NULL : last_line(cli, name);
    struct gw_buf words = {0}; /* escaped: a log may have bytes that no JSON can */
    if (verdict)
        text_escape(&words, verdict, strlen(verdict));
    else if (!line)
        gw_buf_printf(&words, "its process is gone and left no last words");
    else if (gw_buf_printf(&words,
                           "its process is gone and left no last status; its log ends with: ") == 0)
        text_escape(&words, line, strlen(line));
    json_decref(status);
    gw_buf_append(&words, "", 1);
    return (char *)words.data;
}

const char *machine_moved_to(const json_t *last)
{
    const char *status = "", *migration = "", *uri = NULL;
    json_unpack((json_t *)last, "{s:s, s:{s:s, s?:{s?:s}}}", "status", &status, "migration", "status",
                &migration, "x-godwit", "uri", &uri);
    if (strcmp(status, "postmigrate") != 0 || strcmp(migration, "completed") != 0)
        return NULL;
    return uri ? uri : "another process";
}

static int is_machine(const struct dirent *entry)
{
    return machine_name_check(entry->d_name, GW_LAYER_CLI, NULL) == 0 &&
           (entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN); /* checked later */
}

int machine_names(const struct cli *cli, char ***ret_names, size_t *ret_count,
                  struct gw_error *error)
{
    struct dirent **entries = NULL;
    int count = scandir(cli->run_dir, &entries, is_machine, alphasort);
    if (count < 0 && errno != ENOENT)
        return run_dir_fail(error, GW_LAYER_CLI, "use", cli->run_dir, errno);
    if (count < 0)
        count = 0;
    char **names = calloc((size_t)count + 1, sizeof *names);
    size_t used = 0;
    for (int i = 0; i < count; i++) {
        bool unknown = entries[i]->d_type == DT_UNKNOWN;
        if (names && (!unknown || machine_check(cli, entries[i]->d_name, NULL) == 0) &&
            (names[used] = strdup(entries[i]->d_name)))
            used++;
        free(entries[i]);
    }
    free(entries);
    if (!names)
        return FAIL(GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    *ret_names = names;
    *ret_count = used;
    return 0;
}

void machine_names_free(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
}
