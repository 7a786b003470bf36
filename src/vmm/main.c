/* SPDX-License-Identifier: Apache-2.0 */
/*
 * godwit-vmm: one process is one machine. Order of birth: options, signals, directory and lock,
 * log, machine, control and console sockets, guest (or listening address), and only then the word
 * on --ready-fd: whoever reads it finds everything in place. A birth that fails before it, or whose
 * word has no reader any more, leaves nothing in the run directory; an earlier machine's record
 * there stays as it was. When this process is killed before, the command line cleans up
 * (cli/launch.c).
 */
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>

#include "base/cleanup.h"
#include "base/program.h"
#include "vmm/cpu-report.h"
#include "vmm/json-text.h"
#include "vmm/listener.h"
#include "vmm/log.h"
#include "vmm/machine.h"
#include "vmm/qmp-commands.h"
#include "vmm/qmp-server.h"

struct process {
    struct vmm_options options;
    struct rundir rundir;
    sd_event *loop;
    struct qmp_server *server;
    struct listener *control, *console;
    struct machine *machine;
};

/* Steals `word`. False when whoever asked for it is not there any more. */
static bool tell_ready(struct process *process, json_t *word)
{
    _cleanup_free_ char *text = word ? json_dumps(word, 0) : NULL;
    _cleanup_close_ int fd = TAKE_FD(process->options.ready_fd);

    json_decref(word);
    if (fd < 0 || !text || dprintf(fd, "%s\n", text) >= 0)
        return true;
    log_line("cannot write to --ready-fd: %s", strerror(errno));
    return errno != EPIPE;
}

static int tell_failure(struct process *process, const struct gw_error *error, int exit_status)
{
    log_line("%s", error->message);
    tell_ready(process,
               json_pack("{s:{s:s, s:s, s:o}}", "error", "layer", gw_layer_name(error->layer),
                         "code", gw_code_name(error->code), "sentence", json_text(error->message)));
    return exit_status;
}

static bool tell_success(struct process *process)
{
    json_t *word = json_pack("{s:b, s:i}", "ok", 1, "pid", (int)getpid());
    const char *uri = machine_incoming_uri(process->machine);

    if (uri)
        json_object_set_new(word, "uri", json_text(uri));
    return tell_ready(process, word);
}

static void on_event(void *opaque, const char *name, json_t *data)
{
    struct process *process = opaque;

    if (process->server)
        qmp_server_event(process->server, name, data);
    else
        json_decref(data);
}

static void on_ended(void *opaque, int exit_status)
{
    struct process *process = opaque;

    qmp_server_flush(process->server);
    sd_event_exit(process->loop, exit_status);
}

static void on_control(void *opaque, int fd)
{
    struct process *process = opaque;

    qmp_server_add_client(process->server, fd);
}

static void on_console(void *opaque, int fd)
{
    struct process *process = opaque;

    machine_add_viewer(process->machine, fd);
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *opaque)
{
    struct process *process = opaque;
    char verdict[64];

    snprintf(verdict, sizeof verdict, "ended by signal %u", info->ssi_signo);
    machine_end(process->machine, "host-signal", EXIT_STATUS_DONE, verdict);
    return 0;
}

static int listen_in(struct process *process, const char *file, void (*connected)(void *, int),
                     struct listener **ret_listener, struct gw_error *error)
{
    _cleanup_free_ char *path = rundir_path(&process->rundir, file);

    if (!path)
        return gw_error_set(error, GW_LAYER_VMM, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    return listener_new(process->loop, path, connected, process, ret_listener, error);
}

static const int end_signals[] = {SIGTERM, SIGINT, SIGHUP};

static int watch_signals(struct process *process, struct gw_error *error)
{
    for (size_t i = 0; i < ARRAY_COUNT(end_signals); i++) {
        int r = sd_event_add_signal(process->loop, NULL, end_signals[i] | SD_EVENT_SIGNAL_PROCMASK,
                                    on_signal, process);

        if (r < 0)
            return gw_error_set(error, GW_LAYER_VMM, GW_CODE_INTERNAL, r,
                                "cannot watch signals: %s", strerror(-r));
    }
    return 0;
}

/* Before there are threads, which inherit the mask, and anything that a signal would leave behind.
 */
static int open_loop(struct process *process, struct gw_error *error)
{
    int r = sd_event_default(&process->loop);

    if (r < 0)
        return gw_error_set(error, GW_LAYER_VMM, GW_CODE_NO_RESOURCE, r,
                            "cannot set up the event loop: %s", strerror(-r));
    return watch_signals(process, error);
}

/* A signal that came before the machine was set up: the loop is not there yet to handle it. */
static int check_interrupt(struct gw_error *error)
{
    sigset_t pending;

    sigpending(&pending);
    for (size_t i = 0; i < ARRAY_COUNT(end_signals); i++)
        if (sigismember(&pending, end_signals[i]))
            return gw_error_set(error, GW_LAYER_VMM, GW_CODE_CANCELLED, -EINTR,
                                "interrupted by signal %d before the machine was set up",
                                end_signals[i]);
    return 0;
}

static void write_config(struct process *process)
{
    json_t *config = options_json(&process->options);

    rundir_write_json(&process->rundir, "config.json", config);
    json_decref(config);
}

static int set_up(struct process *process, struct gw_error *error)
{
    struct machine_callbacks callbacks = {.opaque = process, .event = on_event, .ended = on_ended};
    int r = machine_new(&process->options, &process->rundir, process->loop, &callbacks,
                        &process->machine, error);
    if (r == 0)
        r = qmp_server_new(process->loop, qmp_commands, qmp_command_count, process->machine,
                           &process->server, error);
    if (r == 0)
        r = listen_in(process, "control", on_control, &process->control, error);
    if (r == 0)
        r = listen_in(process, "console", on_console, &process->console, error);
    if (r == 0)
        r = check_interrupt(error);
    if (r == 0)
        r = machine_begin(process->machine, error);
    if (r == 0 && !process->options.incoming) /* a guest that is arriving is not ours to drop */
        r = check_interrupt(error);
    if (r == 0)
        write_config(process);
    return r;
}

static void tear_down(struct process *process)
{
    listener_free(process->control);
    listener_free(process->console);
    qmp_server_free(process->server);
    machine_free(process->machine);
}

static int failure_status(const struct gw_error *error)
{
    bool taken = error->layer == GW_LAYER_VMM &&
                 (error->code == GW_CODE_BUSY || error->code == GW_CODE_STATE);

    return taken ? EXIT_STATUS_TAKEN : EXIT_STATUS_FAILED;
}

/* Whether a guest may have come, or been promised to run nowhere: that record has to stay. */
static bool has_arrived(const struct process *process)
{
    _cleanup_free_ char *path = rundir_path(&process->rundir, "owner.json");
    struct gw_ownership record;
    int r = path ? gw_ownership_read(path, &record, NULL) : -ENOMEM;

    return process->options.incoming && r != -ENOENT &&
           (r < 0 || record.state != GW_OWNER_INCOMING);
}

/* Of a machine whose starter is gone: nobody knows of it. A guest that arrives meanwhile is refused
 * in order. */
static int end_unwanted(struct process *process)
{
    if (process->options.incoming) {
        machine_end(process->machine, "host-signal", EXIT_STATUS_FAILED,
                    "ended: the command that started it was gone before it was set up");
        (void)sd_event_loop(process->loop);
    }
    tear_down(process);
    if (has_arrived(process))
        rundir_close(&process->rundir);
    else
        rundir_abandon(&process->rundir);
    return EXIT_STATUS_FAILED;
}

static int run_in_directory(struct process *process)
{
    struct gw_error error = {.layer = GW_LAYER_VMM, .code = GW_CODE_INTERNAL};
    _cleanup_free_ char *log_path = rundir_path(&process->rundir, "vmm.log");
    int status;

    if (log_path)
        log_open(log_path);
    if (set_up(process, &error) < 0) {
        status = tell_failure(process, &error, failure_status(&error));
        tear_down(process);
        rundir_abandon(&process->rundir);
        return status;
    }
    if (!tell_success(process))
        return end_unwanted(process);
    rundir_begin(&process->rundir);
    status = sd_event_loop(process->loop);
    tear_down(process);
    rundir_close(&process->rundir);
    return status < 0 ? EXIT_STATUS_FAILED : status;
}

static int run(struct process *process)
{
    struct gw_error error = {.layer = GW_LAYER_VMM, .code = GW_CODE_INTERNAL};
    int r = open_loop(process, &error);

    if (r == 0)
        r = rundir_open(process->options.run_dir, process->options.name, &process->rundir, &error);
    if (r == 0)
        r = run_in_directory(process);
    else
        r = tell_failure(process, &error, failure_status(&error));
    sd_event_unref(process->loop);
    return r;
}

int main(int argc, char **argv)
{
    struct process process = {.rundir.lock_fd = -1};
    struct gw_error error;
    int status = EXIT_STATUS_DONE;

    program_open_standard();
    signal(SIGPIPE, SIG_IGN);
    if (cpu_report_asked(argc, argv))
        return cpu_report_answer(argc, argv);
    switch (options_parse(argc, argv, &process.options, &error)) {
    case OPTIONS_RUN:
        status = run(&process);
        break;
    case OPTIONS_SHOWN:
        break;
    case OPTIONS_WRONG:
        status = tell_failure(&process, &error, EXIT_STATUS_USAGE);
        break;
    }
    options_fini(&process.options);
    return status;
}
