/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/cpu-table.h"
#include "cli/launch.h"

enum { OPTION_COMMON = 256, OPTION_CHECK, OPTION_DEVICE, OPTION_FEATURES, OPTION_JSON };
static const struct option options[] = {
    {"common", no_argument, NULL, OPTION_COMMON},
    {"check", required_argument, NULL, OPTION_CHECK},
    {"device", required_argument, NULL, OPTION_DEVICE},
    {"features", no_argument, NULL, OPTION_FEATURES},
    {"json", no_argument, NULL, OPTION_JSON},
    {0},
};

struct request {
    bool common, features, json;
    const char *check, *device;
    char **files;
    int file_count;
};

/* What godwit-vmm is asked. */
static void put_question(const struct request *request, struct launch *launch)
{
    launch_add(launch, "godwit-vmm", NULL);
    if (request->common) {
        launch_add(launch, "--cpu-common", NULL);
        for (int i = 0; i < request->file_count; i++)
            launch_add(launch, request->files[i], NULL);
        return;
    }
    launch_add(launch, request->check ? "--cpu-check" : "--cpu-report", request->check);
    if (request->device)
        launch_add(launch, request->device, NULL);
}

static void print_json(const struct request *request, const json_t *answer)
{
    cli_json(request->common ? json_object_get(answer, "model") : answer);
}

static void print_table(const struct request *request, const json_t *answer)
{
    if (request->common)
        cpu_table_common(answer);
    else if (request->check)
        cpu_table_check(answer);
    else
        cpu_table_report(answer);
    if (request->features && json_object_get(answer, "features")) {
        cli_print("%s", "");
        cpu_table_features(answer);
    }
}

static int ask(const struct request *request)
{
    struct launch launch = {0};
    struct gw_error error;
    json_t *answer = NULL;
    put_question(request, &launch);
    if (launch_ask(&launch, &answer, &error) < 0)
        return cli_fail(&error);
    if (request->json)
        print_json(request, answer);
    else
        print_table(request, answer);
    json_decref(answer);
    return EXIT_DONE;
}

int cmd_cpu(const struct cli *cli, int argc, char **argv)
{
    struct request request = {0};
    int option;
    while ((option = cli_option(argc, argv, options)) != -1) {
        switch (option) {
        case OPTION_COMMON:
            request.common = true;
            break;
        case OPTION_CHECK:
            request.check = optarg;
            break;
        case OPTION_DEVICE:
            request.device = optarg;
            break;
        case OPTION_FEATURES:
            request.features = true;
            break;
        case OPTION_JSON:
            request.json = true;
            break;
        default:
            return EXIT_USAGE;
        }
    }
    request.files = argv + optind;
    request.file_count = argc - optind;
    if (request.common && request.check)
        return cli_usage("cpu", "--common and --check are two questions");
    if (request.common && request.file_count == 0)
        return cli_usage("cpu", "--common needs files that 'godwit cpu --json' has made");
    if (!request.common && request.file_count > 0)
        return cli_usage("cpu", "'%s' belongs to no option", request.files[0]);
    return ask(&request);
}
