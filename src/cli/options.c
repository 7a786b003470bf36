/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/options.h"

#include <stdio.h>
#include <string.h>
#include <sys/types.h>

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

int machine_options_start(const struct cli *cli, const struct machine_options *options,
                          struct launch *launch)
{
    struct gw_error error;
    pid_t pid;
    json_t *ready = NULL;
    if (launch_start(cli, launch, &pid, &ready, &error) < 0)
        return cli_fail(&error);
    const char *uri = json_string_value(json_object_get(ready, "uri"));
    bool on_terminal = !options->serial || strcmp(options->serial, "stdio") == 0;
    if (uri)
        cli_say("machine '%s' waits at %s (process %d)", options->name, uri, (int)pid);
    else if (options->detach)
        cli_say("machine '%s' runs (process %d); 'godwit console %s' attaches", options->name, (int)pid,
                options->name);
    json_decref(ready);
    return options->detach ? EXIT_DONE : launch_attend(cli, options->name, pid, on_terminal);
}
