/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/options.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/machine.h"

bool machine_option(int option, struct machine_options *options, struct launch *launch)
{
    switch (option) {
    case OPTION_NAME:
        options->name = optarg;
        return true;
    case OPTION_DISK:
        launch_add(launch, "--disk", optarg);
        return true;
    case OPTION_NET:
        launch_add(launch, "--net", optarg);
        return true;
    case OPTION_SERIAL:
        options->serial = optarg;
        return true;
    case OPTION_BACKING:
        launch_add(launch, "--memory-backing", optarg);
        return true;
    case OPTION_TRACKING:
        launch_add(launch, "--dirty-tracking", optarg);
        return true;
    case OPTION_DETACH:
        options->detach = true;
        return true;
    }
    return false;
}

int machine_options_finish(const struct cli *cli, const char *verb, struct machine_options *options,
                           struct launch *launch)
{
    if (!options->name)
        return cli_usage(verb, "--name is missing");
    bool on_terminal = !options->serial || strcmp(options->serial, "stdio") == 0;
    if (options->detach && options->serial && on_terminal)
        return cli_usage(verb, "--serial stdio needs the foreground; leave out --detach, or use "
                               "'godwit console' later");
    if (!on_terminal && strncmp(options->serial, "unix:", 5) != 0 &&
        strncmp(options->serial, "file:", 5) != 0)
        return cli_usage(verb, "--serial '%s' is not stdio, unix:PATH or file:PATH", options->serial);
    launch_add(launch, "--name", options->name);
    launch_add(launch, "--run-dir", cli->run_dir);
    if (!on_terminal)
        launch_add(launch, "--serial", options->serial);
    return 0;
}

/* Only a process that ended without a sentence may have said more in its log: the sentence says all
 * there is, and a name in use has somebody else's log. */
static void hint_at_log(const struct cli *cli, const char *name, const struct gw_error *error)
{
    if (error->layer != GW_LAYER_CLI ||
        (error->code != GW_CODE_DISCONNECTED && error->code != GW_CODE_INTERNAL))
        return;
    _cleanup_free_ char *path = machine_path(cli, name, "vmm.log");
    struct stat log;
    if (path && stat(path, &log) == 0 && log.st_size > 0)
        cli_hint("its process may have written more into '%s'", path);
}

/* An address that stands for all of this host's is none to connect to: the host's name takes its
 * place. */
static void say_waits(const char *name, const char *uri, pid_t pid)
{
    static const char *const any[] = {"tcp::", "tcp:0.0.0.0:", "tcp:[::]:"};
    char host[128] = "";
    cli_say("machine '%s' waits at %s (process %d)", name, uri, (int)pid);
    for (size_t i = 0; i < ARRAY_COUNT(any); i++)
        if (strncmp(uri, any[i], strlen(any[i])) == 0 && gethostname(host, sizeof host - 1) == 0) {
            cli_hint("'godwit migrate NAME tcp:%s:%s' on the other side sends one here", host,
                     uri + strlen(any[i]));
            return;
        }
    if (strncmp(uri, "tcp:", 4) == 0 || strncmp(uri, "unix:", 5) == 0)
        cli_hint("'godwit migrate NAME %s' on the other side sends one here", uri);
}

int machine_options_start(const struct cli *cli, const struct machine_options *options,
                          struct launch *launch)
{
    struct gw_error error;
    pid_t pid;
    json_t *ready = NULL;
    if (launch_start(cli, launch, &pid, &ready, &error) < 0) {
        int code = cli_fail(&error);
        hint_at_log(cli, options->name, &error);
        return code;
    }
    const char *uri = json_string_value(json_object_get(ready, "uri"));
    bool on_terminal = !options->serial || strcmp(options->serial, "stdio") == 0;
    if (uri)
        say_waits(options->name, uri, pid);
    else if (options->detach)
        cli_say("machine '%s' runs (process %d); 'godwit console %s' attaches", options->name, (int)pid,
                options->name);
    enum viewer_kind kind = !on_terminal ? VIEWER_SILENT : uri ? VIEWER_RECEIVER : VIEWER_CONSOLE;
    json_decref(ready);
    return options->detach ? EXIT_DONE : launch_attend(cli, options->name, pid, kind);
}
