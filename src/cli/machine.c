/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/machine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/machine-name.h"
#include "base/run-dir.h"
#include "base/text.h"

#define FAIL(code, number, ...) gw_error_set(error, GW_LAYER_CLI, code, number, __VA_ARGS__)

char *machine_path(const struct cli *cli, const char *name, const char *file)
{
    char *path = NULL;
    int r = file ? asprintf(&path, "%s/%s/%s", cli->run_dir, name, file)
                 : asprintf(&path, "%s/%s", cli->run_dir, name);
    return r < 0 ? NULL : path;
}

int machine_check(const struct cli *cli, const char *name, struct gw_error *error)
{
    int r = machine_name_check(name, GW_LAYER_CLI, error);
    if (r < 0)
        return r;
    _cleanup_free_ char *directory = machine_path(cli, name, NULL);
    struct stat found;
    if (directory && stat(directory, &found) < 0 && errno == EACCES)
        return run_dir_fail(error, GW_LAYER_CLI, "use", cli->run_dir, errno);
    if (!directory || stat(directory, &found) < 0 || !S_ISDIR(found.st_mode))
        return FAIL(GW_CODE_NOT_FOUND, -ENOENT,
                    "there is no machine '%s' in %s; 'godwit list' shows those that there are",
                    name, cli->run_dir);
    return 0;
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

json_t *machine_file(const struct cli *cli, const char *name, const char *file)
{
    _cleanup_free_ char *path = machine_path(cli, name, file);
    return path ? json_load_file(path, JSON_REJECT_DUPLICATES, NULL) : NULL;
}

bool machine_has_process(const struct cli *cli, const char *name)
{
    _cleanup_free_ char *path = machine_path(cli, name, "lock");
    _cleanup_close_ int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0;
}

/* The last line of a log, without its time; NULL when there is none. */
static char *last_line(FILE *log)
{
    char *line = NULL, *last = NULL;
    size_t room = 0;
    ssize_t length;
    while ((length = getline(&line, &room, log)) > 0) {
        int stamp = 0;
        if (line[length - 1] == '\n')
            line[length - 1] = '\0';
        if (sscanf(line, "%*4d-%*2d-%*2d %*2d:%*2d:%*2d.%*3d %n", &stamp) < 0 || !line[stamp])
            continue;
        free(last);
        last = strdup(line + stamp);
    }
    free(line);
    return last;
}

char *machine_last_words(const struct cli *cli, const char *name)
{
    _cleanup_free_ char *path = machine_path(cli, name, "vmm.log");
    json_t *status = machine_file(cli, name, "status.json");
    const char *verdict = json_string_value(json_object_get(status, "verdict"));
    _cleanup_fclose_ FILE *log = verdict || !path ? NULL : fopen(path, "re");
    _cleanup_free_ char *line = log ? last_line(log) : NULL;
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
           (entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN);
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
        if (names && (names[used] = strdup(entries[i]->d_name)))
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
