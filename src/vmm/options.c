/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/options.h"

#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/help.h"
#include "base/machine-name.h"
#include "base/parse.h"
#include "base/run-dir.h"
#include "vmm/json-text.h"

#define DEFAULT_MEMORY_BYTES ((uint64_t)512 << 20)
#define MAX_MEMORY_BYTES ((uint64_t)1 << 40)
#define DISK_SERIAL_MAX 20

/* A text of base/help.h. */
static const char help[] =
    "usage: godwit-vmm --name NAME [--run-dir DIR] (--kernel FILE | --firmware FILE) [OPTION]...\n"
    "       godwit-vmm --name NAME [--run-dir DIR] --incoming URI [OPTION]...\n"
    "       godwit-vmm --cpu-report | --cpu-common FILE... | --cpu-check MODEL\n"
    "\n"
    "Runs one virtual machine, or receives one. Usually started by godwit(1).\n"
    "\n"
    "  --name NAME\tname of the machine\n"
    "  --run-dir DIR\tits files are in DIR/NAME; $XDG_RUNTIME_DIR/godwit, else /run/godwit\n"
    "  --kernel FILE\tkernel: a riscv64 Image, or an x86-64 bzImage or PVH ELF\n"
    "  --firmware FILE\tELF or raw image that starts in M-mode; OpenSBI where there is a kernel\n"
    "  --initrd FILE\tinitial RAM disk\n"
    "  --append TEXT\tkernel command line\n"
    "  --memory SIZE\t512M by default\n"
    "  --memory-backing KIND[,thp=off][,populate[=THREADS]][,ready=SIZE]\twhere RAM comes from: "
    "memfd (the default), anonymous, hugetlb[:2M|:1G] or file:DIR. ready: with --incoming, made "
    "now\n"
    "  --cpus N\t1 by default\n"
    "  --machine NAME\triscv-virt or microvm; by default what the kernel is for\n"
    "  --cpu MODEL\tof a microvm: host (the default), x86-64-v2 to -v4, or FILE.json\n"
    "  --dirty-tracking HOW\tof a microvm: auto (the default), bitmap or ring\n"
    "  --disk FILE[,readonly][,serial=TEXT]\tmay be given several times; a comma in FILE is "
    "doubled\n"
    "  --net NETWORK[,name=NAME][,mac=MAC][,mtu=N][,queues=N]\ttap, user or socket, for instance "
    "user,tcp=8080:80 (udp= takes the same form); may be given several times (docs/control.md). "
    "With user (passt) open connections follow a move only from a passt that hands them over, and "
    "with CAP_NET_ADMIN (docs/network.md)\n"
    "  --serial WHERE\tstdio, unix:PATH (somebody listens there) or file:PATH\n"
    "  --incoming URI\treceive a machine: tcp:HOST:PORT, unix:PATH, fd:N, exec:COMMAND, or defer\n"
    "  --clock SOURCE\thost, or instructions: deterministic, with one CPU\n"
    "  --seed N\tof the guest's random numbers with --clock instructions\n"
    "  --no-vmclock\twithout the device by which the guest learns of moves\n"
    "  --paused\tdo not run before it is told to\n"
    "  --ready-fd N\twrite one line of JSON to descriptor N when set up or failed\n"
    "  --version\twhich godwit this is\n"
    "  --help\tthis\n"
    "\n"
    "Exit status: 0 the guest powered off, was given away, or was ended by request; 1 failed; 2 "
    "usage; 3 the name is in use or may not run here; 4 the guest reported failure.\n";

static void print_help(void)
{
    struct gw_buf lines = {0};
    help_put(&lines, help, help_width(stdout), false);
    fwrite(lines.data, 1, lines.length, stdout);
    gw_buf_fini(&lines);
}

enum option_key {
    OPTION_NAME = 256,
    OPTION_RUN_DIR,
    OPTION_KERNEL,
    OPTION_FIRMWARE,
    OPTION_INITRD,
    OPTION_APPEND,
    OPTION_MEMORY,
    OPTION_CPUS,
    OPTION_MACHINE,
    OPTION_MEMORY_BACKING,
    OPTION_CPU,
    OPTION_DIRTY_TRACKING,
    OPTION_DISK,
    OPTION_NET,
    OPTION_SERIAL,
    OPTION_INCOMING,
    OPTION_CLOCK,
    OPTION_SEED,
    OPTION_NO_VMCLOCK,
    OPTION_PAUSED,
    OPTION_READY_FD,
    OPTION_VERSION,
    OPTION_HELP,
};

static const struct option long_options[] = {
    {"name", required_argument, NULL, OPTION_NAME},
    {"run-dir", required_argument, NULL, OPTION_RUN_DIR},
    {"kernel", required_argument, NULL, OPTION_KERNEL},
    {"firmware", required_argument, NULL, OPTION_FIRMWARE},
    {"initrd", required_argument, NULL, OPTION_INITRD},
    {"append", required_argument, NULL, OPTION_APPEND},
    {"memory", required_argument, NULL, OPTION_MEMORY},
    {"cpus", required_argument, NULL, OPTION_CPUS},
    {"memory-backing", required_argument, NULL, OPTION_MEMORY_BACKING},
    {"machine", required_argument, NULL, OPTION_MACHINE},
    {"cpu", required_argument, NULL, OPTION_CPU},
    {"dirty-tracking", required_argument, NULL, OPTION_DIRTY_TRACKING},
    {"disk", required_argument, NULL, OPTION_DISK},
    {"net", required_argument, NULL, OPTION_NET},
    {"serial", required_argument, NULL, OPTION_SERIAL},
    {"incoming", required_argument, NULL, OPTION_INCOMING},
    {"clock", required_argument, NULL, OPTION_CLOCK},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"no-vmclock", no_argument, NULL, OPTION_NO_VMCLOCK},
    {"paused", no_argument, NULL, OPTION_PAUSED},
    {"ready-fd", required_argument, NULL, OPTION_READY_FD},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, OPTION_HELP},
    {0},
};

#define invalid(...) gw_error_set(error, GW_LAYER_VMM, GW_CODE_INVALID, -EINVAL, __VA_ARGS__)

static int set_text(char **field, const char *value)
{
    char *copy = strdup(value);

    if (!copy)
        return -ENOMEM;
    free(*field);
    *field = copy;
    return 0;
}

static int set_disk_property(struct board_disk *disk, const char *property, struct gw_error *error)
{
    if (strcmp(property, "readonly") == 0) {
        disk->read_only = true;
        return 0;
    }
    if (strncmp(property, "serial=", 7) != 0)
        return invalid("--disk: '%s' is not readonly or serial=TEXT (a comma in a file's name is "
                       "doubled)",
                       property);
    if (!property[7] || strlen(property + 7) > DISK_SERIAL_MAX)
        return invalid("--disk: the serial '%s' must have 1 to %d characters", property + 7,
                       DISK_SERIAL_MAX);
    return set_text(&disk->serial, property + 7);
}

int options_parse_disk(const char *text, struct board_disk *ret_disk, struct gw_error *error)
{
    struct board_disk disk = {.path = parse_part(&text)};
    int r = 0;

    if (!disk.path)
        return -ENOMEM;
    if (!disk.path[0])
        r = invalid("--disk needs a file's name first");
    while (r == 0 && text) {
        _cleanup_free_ char *property = parse_part(&text);

        r = property ? set_disk_property(&disk, property, error) : -ENOMEM;
    }
    if (r < 0) {
        free(disk.path);
        free(disk.serial);
        return r;
    }
    *ret_disk = disk;
    return 0;
}

static int add_disk(struct board_config *config, const char *text, struct gw_error *error)
{
    int r;

    if (config->disk_count == BOARD_MAX_DISKS)
        return invalid("--disk: a machine has at most %d disks", BOARD_MAX_DISKS);
    r = options_parse_disk(text, &config->disks[config->disk_count], error);
    if (r == 0)
        config->disk_count++;
    return r;
}

static int set_memory(struct board_config *config, const char *text, struct gw_error *error)
{
    uint64_t bytes;

    if (parse_size(text, &bytes) < 0 || bytes == 0 || bytes > MAX_MEMORY_BYTES ||
        bytes % GW_PAGE_BYTES)
        return invalid("--memory '%s' is not a size such as 512M or 2G, a multiple of 4K", text);
    config->memory_bytes = bytes;
    return 0;
}

static int set_memory_kind(struct gw_memory_backing *backing, const char *text,
                           struct gw_error *error)
{
    if (strcmp(text, "memfd") == 0)
        backing->kind = GW_MEMORY_MEMFD;
    else if (strcmp(text, "anonymous") == 0)
        backing->kind = GW_MEMORY_ANONYMOUS;
    else if (strcmp(text, "hugetlb") == 0 || strcmp(text, "hugetlb:2M") == 0 ||
             strcmp(text, "hugetlb:1G") == 0) {
        backing->kind = GW_MEMORY_HUGETLB;
        backing->huge_page_bytes = UINT64_C(1) << (strchr(text, 'G') ? 30 : 21);
    } else if (strncmp(text, "file:", 5) == 0 && text[5]) {
        backing->kind = GW_MEMORY_FILE;
        return set_text((char **)&backing->path, text + 5);
    } else {
        return invalid("--memory-backing: '%s' is not memfd, anonymous, hugetlb[:2M|:1G] or "
                       "file:DIR",
                       text);
    }
    return 0;
}

static int set_memory_property(struct vmm_options *options, const char *property,
                               struct gw_error *error)
{
    struct gw_memory_backing *backing = &options->config.backing;
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t threads = online > 0 ? (uint64_t)online : 1;
    if (strcmp(property, "thp=off") == 0 || strcmp(property, "thp=on") == 0) {
        backing->no_huge_pages = strcmp(property, "thp=off") == 0;
        return 0;
    }
    if (strncmp(property, "ready=", 6) == 0) {
        if (parse_size(property + 6, &options->ready_bytes) < 0 || options->ready_bytes == 0 ||
            options->ready_bytes % GW_PAGE_BYTES)
            return invalid("--memory-backing: '%s' is not ready=SIZE, such as ready=2G", property);
        return 0;
    }
    if (strcmp(property, "populate") != 0 &&
        (strncmp(property, "populate=", 9) != 0 || parse_number(property + 9, 64, &threads) < 0 ||
         threads == 0))
        return invalid(
            "--memory-backing: '%s' is not thp=on, thp=off, populate, populate=THREADS (1 to 64) "
            "or ready=SIZE",
            property);
    backing->populate_threads = (unsigned)threads;
    return 0;
}

static int set_memory_backing(struct vmm_options *options, const char *text, struct gw_error *error)
{
    _cleanup_free_ char *kind = parse_part(&text);
    int r = kind ? set_memory_kind(&options->config.backing, kind, error) : -ENOMEM;
    while (r == 0 && text) {
        _cleanup_free_ char *property = parse_part(&text);

        r = property ? set_memory_property(options, property, error) : -ENOMEM;
    }
    return r;
}

static int set_clock(struct board_config *config, const char *text, struct gw_error *error)
{
    if (strcmp(text, "host") == 0)
        config->clock = GW_CLOCK_HOST;
    else if (strcmp(text, "instructions") == 0)
        config->clock = GW_CLOCK_INSTRUCTIONS;
    else
        return invalid("--clock '%s' is not host or instructions", text);
    return 0;
}

static int set_tracking(struct board_config *config, const char *text, struct gw_error *error)
{
    for (size_t i = 0; i < BOARD_TRACKINGS; i++)
        if (strcmp(text, board_tracking_names[i]) == 0) {
            config->tracking = (enum board_tracking)i;
            return 0;
        }
    return invalid("--dirty-tracking '%s' is not auto, bitmap or ring", text);
}

static int set_number(const char *option, const char *text, uint64_t maximum, uint64_t *ret_number,
                      struct gw_error *error)
{
    if (parse_number(text, maximum, ret_number) < 0)
        return invalid("%s '%s' is not a number up to %llu", option, text,
                       (unsigned long long)maximum);
    return 0;
}

static int set_option(struct vmm_options *options, int option, const char *value,
                      struct gw_error *error)
{
    struct board_config *config = &options->config;
    uint64_t number = 0;
    int r;

    switch ((enum option_key)option) {
    case OPTION_NAME:
        return set_text(&options->name, value);
    case OPTION_RUN_DIR:
        return set_text(&options->run_dir, value);
    case OPTION_KERNEL:
        return set_text(&config->kernel, value);
    case OPTION_FIRMWARE:
        return set_text(&config->firmware, value);
    case OPTION_INITRD:
        return set_text(&config->initrd, value);
    case OPTION_APPEND:
        return set_text(&config->append, value);
    case OPTION_MEMORY:
        return set_memory(config, value, error);
    case OPTION_CPUS:
        r = set_number("--cpus", value, BOARD_MAX_CPUS, &number, error);
        config->cpus = (unsigned)number;
        return r < 0 || number > 0 ? r : invalid("--cpus must be at least 1");
    case OPTION_MEMORY_BACKING:
        return set_memory_backing(options, value, error);
    case OPTION_MACHINE:
        return set_text(&config->machine, value);
    case OPTION_CPU:
        return set_text(&config->cpu_name, value);
    case OPTION_DIRTY_TRACKING:
        return set_tracking(config, value, error);
    case OPTION_DISK:
        return add_disk(config, value, error);
    case OPTION_NET:
        return options_add_net(config, value, error);
    case OPTION_SERIAL:
        return set_text(&options->serial, value);
    case OPTION_INCOMING:
        return set_text(&options->incoming, value);
    case OPTION_CLOCK:
        return set_clock(config, value, error);
    case OPTION_SEED:
        return set_number("--seed", value, UINT64_MAX, &config->seed, error);
    case OPTION_NO_VMCLOCK:
        config->vmclock = false;
        return 0;
    case OPTION_PAUSED:
        options->paused = true;
        return 0;
    case OPTION_READY_FD:
        r = set_number("--ready-fd", value, INT32_MAX, &number, error);
        options->ready_fd = r < 0 ? -1 : (int)number;
        (void)fcntl(options->ready_fd, F_SETFD, FD_CLOEXEC);
        return r;
    case OPTION_VERSION:
    case OPTION_HELP:
        return 0;
    }
    return -EINVAL;
}

/* What belongs together and what does not. */
static int check(const struct vmm_options *options, struct gw_error *error)
{
    const struct board_config *config = &options->config;

    if (!options->name)
        return invalid("--name is missing");
    if (machine_name_check(options->name, GW_LAYER_VMM, error) < 0)
        return -EINVAL;
    if (options->incoming && (config->kernel || config->firmware || config->initrd ||
                              config->append || config->machine || config->cpu_name))
        return invalid(
            "--incoming receives a whole machine: leave out --kernel, --firmware, --initrd, "
            "--append, --machine and --cpu");
    if (options->ready_bytes && !options->incoming)
        return invalid("--memory-backing ready=… is for --incoming: here --memory says it");
    if (!options->incoming && !config->kernel && !config->firmware)
        return invalid("--kernel or --firmware is missing (or --incoming, to receive a machine)");
    if (!config->kernel && (config->initrd || config->append))
        return invalid("--initrd and --append need --kernel");
    if (config->clock == GW_CLOCK_INSTRUCTIONS && config->cpus != 1)
        return invalid("--clock instructions needs --cpus 1");
    if (config->clock == GW_CLOCK_INSTRUCTIONS && config->net_count)
        return invalid("--clock instructions goes without --net: what arrives from outside would "
                       "make each run another one");
    return 0;
}

static void set_defaults(struct vmm_options *options)
{
    *options = (struct vmm_options){.config = {.memory_bytes = DEFAULT_MEMORY_BYTES,
                                               .cpus = 1,
                                               .clock = GW_CLOCK_HOST,
                                               .vmclock = true},
                                    .ready_fd = -1};
}

enum options_result options_parse(int argc, char **argv, struct vmm_options *ret_options,
                                  struct gw_error *error)
{
    int option;

    set_defaults(ret_options);
    optind = 0; /* the parser of glibc begins afresh */
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
        gw_error_set(error, GW_LAYER_VMM, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
        if (option == '?' || option == ':') {
            invalid(option == ':' ? "%s needs a value" : "%s is not an option (see --help)",
                    argv[optind - 1]);
            return OPTIONS_WRONG;
        }
        if (option == OPTION_HELP || option == OPTION_VERSION) {
            if (option == OPTION_HELP)
                print_help();
            else
                puts("godwit-vmm " GW_VERSION);
            return OPTIONS_SHOWN;
        }
        if (set_option(ret_options, option, optarg, error) < 0)
            return OPTIONS_WRONG;
    }
    if (optind < argc) {
        invalid("'%s' belongs to no option", argv[optind]);
        return OPTIONS_WRONG;
    }
    if (ret_options->config.clock == GW_CLOCK_INSTRUCTIONS)
        ret_options->config.vmclock = false; /* its guest is never told of moves */
    if (!ret_options->run_dir)
        ret_options->run_dir = run_dir_default();
    return check(ret_options, error) < 0 ? OPTIONS_WRONG : OPTIONS_RUN;
}

void options_fini(struct vmm_options *options)
{
    free(options->name);
    free(options->run_dir);
    free(options->serial);
    free(options->incoming);
    board_config_fini(&options->config);
}

static json_t *disks_json(const struct board_config *config)
{
    json_t *disks = json_array();

    for (unsigned i = 0; i < config->disk_count; i++) {
        const struct board_disk *disk = &config->disks[i];

        json_array_append_new(disks, json_pack("{s:o, s:b, s:o}", "path", json_text(disk->path),
                                               "read-only", disk->read_only, "serial",
                                               json_text(disk->serial)));
    }
    return disks;
}

json_t *options_json(const struct vmm_options *options)
{
    const struct board_config *config = &options->config;
    json_t *all = json_pack("{s:s, s:o, s:o, s:o, s:o, s:o}", "version", GW_VERSION, "name",
                            json_text(options->name), "run-dir", json_text(options->run_dir),
                            "serial", json_text(options->serial), "disks", disks_json(config),
                            "nets", options_nets_json(config));

    if (!all)
        return NULL;
    if (options->incoming) {
        json_object_set_new(all, "incoming", json_text(options->incoming));
        return all;
    }
    json_object_set_new(all, "kernel", json_text(config->kernel));
    json_object_set_new(all, "firmware", json_text(config->firmware));
    json_object_set_new(all, "initrd", json_text(config->initrd));
    json_object_set_new(all, "append", json_text(config->append));
    json_object_set_new(all, "memory-bytes", json_integer((json_int_t)config->memory_bytes));
    json_object_set_new(all, "cpus", json_integer(config->cpus));
    json_object_set_new(all, "machine", json_text(config->machine));
    json_object_set_new(all, "cpu", json_text(config->cpu_name));
    json_object_set_new(all, "dirty-tracking", json_string(board_tracking_names[config->tracking]));
    json_object_set_new(all, "clock",
                        json_string(config->clock == GW_CLOCK_HOST ? "host" : "instructions"));
    json_object_set_new(all, "vmclock", json_boolean(config->vmclock));
    json_object_set_new(all, "paused", json_boolean(options->paused));
    return all;
}
