/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole glue with a real board that runs a three-instruction program (an endless loop, or a
 * write to the test device), driven through the command table as a client would.
 */
#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "vmm/machine.h"
#include "vmm/qmp-commands.h"

/* lui t0, 0x100; lui t1, 5; addi t1, t1, 0x555; sw t1, 0(t0); j . */
static const uint32_t power_off_program[] = {0x001002b7, 0x00005337, 0x55530313, 0x0062a023,
                                             0x0000006f};
static const uint32_t endless_program[] = {0x0000006f};

struct fixture {
    char base[64], firmware[96];
    sd_event *loop;
    struct vmm_options options;
    struct rundir rundir;
    struct machine *machine;
    struct qmp_session session;
    char events[1000]; /* names, each with a space behind it */
    int exit_status;   /* -1 while it lives */
};

static void note_event(void *opaque, const char *name, json_t *data)
{
    struct fixture *fixture = opaque;
    size_t length = strlen(fixture->events);

    snprintf(fixture->events + length, sizeof fixture->events - length, "%s ", name);
    json_decref(data);
}

static void note_end(void *opaque, int exit_status)
{
    ((struct fixture *)opaque)->exit_status = exit_status;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *at)
{
    return remove(path);
}

static void write_firmware(struct fixture *fixture, const uint32_t *program, size_t words)
{
    FILE *file = fopen(fixture->firmware, "w");

    assert_non_null(file);
    for (size_t i = 0; i < words; i++) {
        uint8_t bytes[4];

        put_le32(bytes, program[i]);
        fwrite(bytes, 1, sizeof bytes, file);
    }
    fclose(file);
}

/* A fixture with a directory of its own and nothing in it yet. */
static struct fixture *make_fixture(sd_event *loop)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);

    if (!fixture)
        abort();
    snprintf(fixture->base, sizeof fixture->base, "/tmp/godwit-test-XXXXXX");
    assert_non_null(mkdtemp(fixture->base));
    snprintf(fixture->firmware, sizeof fixture->firmware, "%s/firmware", fixture->base);
    fixture->options = (struct vmm_options){
        .name = strdup("vm"), .run_dir = strdup(fixture->base), .ready_fd = -1};
    fixture->exit_status = -1;
    qmp_session_init(&fixture->session);
    fixture->session.negotiated = true;
    fixture->loop = sd_event_ref(loop);
    assert_int_equal(rundir_open(fixture->base, "vm", &fixture->rundir, NULL), 0);
    return fixture;
}

static void begin(struct fixture *fixture)
{
    struct machine_callbacks callbacks = {
        .opaque = fixture, .event = note_event, .ended = note_end};
    struct gw_error error = {0};

    if (machine_new(&fixture->options, &fixture->rundir, fixture->loop, &callbacks,
                    &fixture->machine, &error) < 0 ||
        machine_begin(fixture->machine, &error) < 0)
        fail_msg("%s", error.message);
}

static struct fixture *make_source(sd_event *loop, const uint32_t *program, size_t words,
                                   bool paused, enum clock_mode clock)
{
    struct fixture *fixture = make_fixture(loop);

    write_firmware(fixture, program, words);
    fixture->options.paused = paused;
    fixture->options.config = (struct board_config){
        .memory_bytes = 16 << 20, .cpus = 1, .clock = clock, .firmware = strdup(fixture->firmware)};
    return fixture;
}

static struct fixture *set_up(const uint32_t *program, size_t words, bool paused,
                              enum clock_mode clock)
{
    struct fixture *fixture;
    sd_event *loop;

    assert_int_equal(sd_event_new(&loop), 0);
    fixture = make_source(loop, program, words, paused, clock);
    sd_event_unref(loop);
    begin(fixture);
    return fixture;
}

/* Turns the loop until the process would end. */
static void wait_end(struct fixture *fixture)
{
    while (fixture->exit_status < 0)
        assert_true(sd_event_run(fixture->loop, 5000000) > 0);
}

static void tear_down(struct fixture *fixture)
{
    if (fixture->exit_status < 0) {
        machine_end(fixture->machine, "host-qmp-quit", 0, "the test is over");
        wait_end(fixture);
    }
    machine_free(fixture->machine);
    rundir_close(&fixture->rundir);
    options_fini(&fixture->options);
    sd_event_unref(fixture->loop);
    nftw(fixture->base, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(fixture);
}

/* The reply to a command without an id, compact, keys sorted; the caller frees it. */
static char *ask(struct fixture *fixture, const char *command, const char *arguments)
{
    struct qmp_dispatch dispatch = {qmp_commands, qmp_command_count, fixture->machine};
    char request[500];
    json_t *reply;
    char *text;

    snprintf(request, sizeof request, "{\"execute\":\"%s\",\"arguments\":%s}", command, arguments);
    reply = qmp_dispatch(&dispatch, &fixture->session, request, strlen(request));
    text = json_dumps(reply, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(reply);
    return text;
}

static void assert_reply(struct fixture *fixture, const char *command, const char *arguments,
                         const char *expected)
{
    char *text = ask(fixture, command, arguments);

    assert_string_equal(text, expected);
    free(text);
}

static void assert_in_reply(struct fixture *fixture, const char *command, const char *arguments,
                            const char *part)
{
    char *text = ask(fixture, command, arguments);

    if (!strstr(text, part))
        fail_msg("'%s' is not in %s", part, text);
    free(text);
}

#define NOTHING "{\"return\":{}}"
#define STATUS(name, running) "{\"return\":{\"running\":" running ",\"status\":\"" name "\"}}"
#define SET_UP(program, paused, clock) set_up(program, sizeof program / 4, paused, clock)

static void operator_stops_and_continues(void **state)
{
    struct fixture *fixture = SET_UP(endless_program, true, GW_CLOCK_HOST);

    assert_reply(fixture, "query-status", "{}", STATUS("prelaunch", "false"));
    assert_reply(fixture, "cont", "{}", NOTHING);
    assert_reply(fixture, "query-status", "{}", STATUS("running", "true"));
    assert_reply(fixture, "cont", "{}", NOTHING);
    assert_reply(fixture, "stop", "{}", NOTHING);
    assert_reply(fixture, "stop", "{}", NOTHING);
    assert_reply(fixture, "query-status", "{}", STATUS("paused", "false"));
    assert_string_equal(fixture->events, "RESUME STOP ");
    tear_down(fixture);
}

static void guest_that_powers_off_ends_the_process(void **state)
{
    struct fixture *fixture = SET_UP(power_off_program, false, GW_CLOCK_HOST);

    wait_end(fixture);
    assert_int_equal(fixture->exit_status, EXIT_STATUS_DONE);
    assert_string_equal(fixture->events, "RESUME SHUTDOWN ");
    assert_reply(fixture, "query-status", "{}", STATUS("shutdown", "false"));
    assert_in_reply(fixture, "cont", "{}", "shutting down");
    tear_down(fixture);
}

static void end_leaves_verdict_and_record(void **state)
{
    struct fixture *fixture = SET_UP(endless_program, false, GW_CLOCK_HOST);
    char *path = rundir_path(&fixture->rundir, "status.json");
    char *owner = rundir_path(&fixture->rundir, "owner.json");
    struct gw_ownership record;
    json_t *status;

    assert_int_equal(gw_ownership_read(owner, &record, NULL), 0);
    assert_int_equal(record.state, GW_OWNER_OWNER);
    assert_int_equal(record.epoch, 1);
    assert_reply(fixture, "quit", "{}", NOTHING);
    wait_end(fixture);
    status = json_load_file(path, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(status, "verdict")),
                        "ended by request (quit)");
    assert_string_equal(json_string_value(json_object_get(status, "status")), "shutdown");
    json_decref(status);
    assert_int_equal(gw_ownership_read(owner, &record, NULL), 0);
    assert_int_equal(record.state, GW_OWNER_NOBODY);
    free(path);
    free(owner);
    tear_down(fixture);
}

static void hash_needs_a_stopped_machine(void **state)
{
    struct fixture *fixture = SET_UP(endless_program, false, GW_CLOCK_HOST);

    assert_in_reply(fixture, "x-godwit-hash", "{}", "needs a stopped machine");
    assert_reply(fixture, "stop", "{}", NOTHING);
    assert_in_reply(fixture, "x-godwit-hash", "{}", "{\"return\":{\"instructions\":");
    assert_in_reply(fixture, "x-godwit-query-state", "{}", "\"riscv-hart/0\"");
    tear_down(fixture);
}

static void run_until_stops_exactly_there(void **state)
{
    struct fixture *fixture = SET_UP(endless_program, true, GW_CLOCK_INSTRUCTIONS);

    assert_reply(fixture, "x-godwit-run-until", "{\"instructions\":1000003}", NOTHING);
    while (!strstr(fixture->events, "X_GODWIT_REACHED"))
        assert_true(sd_event_run(fixture->loop, 5000000) > 0);
    assert_string_equal(fixture->events, "RESUME STOP X_GODWIT_REACHED ");
    assert_in_reply(fixture, "x-godwit-hash", "{}", "\"instructions\":1000003,");
    assert_reply(fixture, "query-status", "{}", STATUS("paused", "false"));
    assert_in_reply(fixture, "x-godwit-run-until", "{\"instructions\":5}", "past 5");
    tear_down(fixture);
}

static void reset_is_told(void **state)
{
    struct fixture *fixture = SET_UP(endless_program, false, GW_CLOCK_HOST);

    assert_reply(fixture, "system_reset", "{}", NOTHING);
    assert_string_equal(fixture->events, "RESUME RESET ");
    assert_reply(fixture, "query-status", "{}", STATUS("running", "true"));
    tear_down(fixture);
}

static void bad_parameter_changes_nothing(void **state)
{
    struct fixture *fixture = SET_UP(endless_program, true, GW_CLOCK_HOST);

    assert_reply(fixture, "migrate-set-parameters", "{\"max-bandwidth\":5000000}", NOTHING);
    assert_in_reply(fixture, "migrate-set-parameters", "{\"max-bandwidth\":7,\"downtime-limit\":0}",
                    "Parameter 'downtime-limit' must be 1 to 2000000");
    assert_in_reply(fixture, "query-migrate-parameters", "{}", "\"max-bandwidth\":5000000,");
    tear_down(fixture);
}

static void what_makes_no_sense_now_is_refused(void **state)
{
    struct fixture *fixture = SET_UP(endless_program, true, GW_CLOCK_HOST);

    assert_reply(fixture, "query-migrate", "{}", NOTHING);
    assert_reply(fixture, "migrate_cancel", "{}", NOTHING);
    assert_reply(fixture, "x-godwit-query-flights", "{}", "{\"return\":[]}");
    assert_in_reply(fixture, "x-godwit-query-flights", "{\"session\":\"../x\"}", "no migration log");
    assert_in_reply(fixture, "migrate-incoming", "{\"uri\":\"tcp::1\"}", "--incoming defer");
    assert_in_reply(fixture, "x-godwit-reclaim", "{\"fenced\":true}", "was not given away");
    assert_in_reply(fixture, "migrate", "{\"uri\":\"fd:x\"}", "named 'x' not found");
    assert_in_reply(fixture, "system_powerdown", "{}", "does not listen to its power button");
    tear_down(fixture);
}

static void record_of_a_killed_process_is_taken_over(void **state)
{
    struct fixture *fixture = SET_UP(endless_program, true, GW_CLOCK_HOST);
    struct machine_callbacks callbacks = {
        .opaque = fixture, .event = note_event, .ended = note_end};
    struct gw_error error;
    struct machine *second;
    char *owner = rundir_path(&fixture->rundir, "owner.json");
    struct gw_ownership record = {.state = GW_OWNER_RELEASED, .epoch = 9, .peer = "tcp:b:1"};

    assert_int_equal(gw_ownership_write(owner, &record, NULL), 0);
    assert_true(machine_new(&fixture->options, &fixture->rundir, fixture->loop, &callbacks, &second,
                            &error) < 0);
    assert_non_null(strstr(error.message, "given away to tcp:b:1 (epoch 9)"));
    record.state = GW_OWNER_OWNER;
    assert_int_equal(gw_ownership_write(owner, &record, NULL), 0);
    assert_int_equal(machine_new(&fixture->options, &fixture->rundir, fixture->loop, &callbacks,
                                 &second, &error),
                     0);
    assert_int_equal(machine_begin(second, &error), 0);
    assert_int_equal(gw_ownership_read(owner, &record, NULL), 0);
    assert_int_equal(record.epoch, 10);
    machine_free(second);
    free(owner);
    tear_down(fixture);
}

/* ---- Two machines on one loop ---- */

struct pair {
    struct fixture *source, *destination;
    char arguments[128]; /* of migrate */
};

/* A source and a destination that listens; their disks are files of these sizes, 0: no disk. */
static struct pair make_pair(off_t source_bytes, off_t destination_bytes, bool paused)
{
    struct pair pair;
    sd_event *loop;

    assert_int_equal(sd_event_new(&loop), 0);
    pair.source = make_source(loop, endless_program, 1, paused, GW_CLOCK_HOST);
    pair.destination = make_fixture(loop);
    sd_event_unref(loop);
    for (unsigned i = 0; i < 2; i++) {
        struct fixture *fixture = i == 0 ? pair.source : pair.destination;
        off_t bytes = i == 0 ? source_bytes : destination_bytes;
        struct board_disk *disk = &fixture->options.config.disks[0];

        if (bytes == 0)
            continue;
        assert_true(asprintf(&disk->path, "%s/disk", fixture->base) > 0);
        fclose(fopen(disk->path, "w"));
        assert_int_equal(truncate(disk->path, bytes), 0);
        fixture->options.config.disk_count = 1;
    }
    assert_true(asprintf(&pair.destination->options.incoming, "unix:%s/in", pair.source->base) > 0);
    snprintf(pair.arguments, sizeof pair.arguments, "{\"uri\":\"unix:%s/in\"}", pair.source->base);
    begin(pair.source);
    begin(pair.destination);
    return pair;
}

static void free_pair(struct pair *pair)
{
    tear_down(pair->destination);
    tear_down(pair->source);
}

/* Turns the loop until query-migrate of the source holds `part`. */
static void wait_migration(struct pair *pair, const char *part)
{
    for (unsigned i = 0; i < 100000; i++) {
        char *text = ask(pair->source, "query-migrate", "{}");
        bool found = strstr(text, part);

        free(text);
        if (found)
            return;
        sd_event_run(pair->source->loop, 10000);
    }
    fail_msg("the migration never said '%s'", part);
}

static void running_machine_moves(void **state)
{
    struct pair pair = make_pair(1 << 20, 1 << 20, false);

    assert_reply(pair.destination, "query-status", "{}", STATUS("inmigrate", "false"));
    assert_in_reply(pair.destination, "cont", "{}", "no machine has arrived");
    assert_reply(pair.source, "migrate", pair.arguments, NOTHING);
    assert_in_reply(pair.source, "migrate", pair.arguments, "under way already");
    wait_migration(&pair, "\"status\":\"completed\"");
    assert_reply(pair.source, "query-status", "{}", STATUS("postmigrate", "false"));
    assert_reply(pair.destination, "query-status", "{}", STATUS("running", "true"));
    assert_in_reply(pair.source, "cont", "{}", "and runs there");
    assert_in_reply(pair.source, "x-godwit-reclaim", "{\"fenced\":true}", "out of date");
    assert_non_null(strstr(pair.source->events, "STOP MIGRATION "));
    assert_non_null(strstr(pair.destination->events, "RESUME "));
    free_pair(&pair);
}

static void stopped_machine_arrives_stopped(void **state)
{
    struct pair pair = make_pair(0, 0, true);

    assert_reply(pair.source, "migrate", pair.arguments, NOTHING);
    wait_migration(&pair, "\"status\":\"completed\"");
    assert_reply(pair.destination, "query-status", "{}", STATUS("paused", "false"));
    assert_reply(pair.destination, "cont", "{}", NOTHING);
    free_pair(&pair);
}

static void end_of_the_source_leaves_the_record_of_a_given_away_machine(void **state)
{
    struct pair pair = make_pair(0, 0, false);
    char *owner = rundir_path(&pair.source->rundir, "owner.json");
    struct gw_ownership record;

    assert_reply(pair.source, "migrate", pair.arguments, NOTHING);
    wait_migration(&pair, "\"status\":\"completed\"");
    assert_reply(pair.source, "quit", "{}", NOTHING);
    wait_end(pair.source);
    assert_int_equal(gw_ownership_read(owner, &record, NULL), 0);
    assert_int_equal(record.state, GW_OWNER_RELEASED);
    free(owner);
    free_pair(&pair);
}

static void assert_refused(off_t source_bytes, off_t destination_bytes, const char *sentence)
{
    struct pair pair = make_pair(source_bytes, destination_bytes, false);

    assert_reply(pair.source, "migrate", pair.arguments, NOTHING);
    wait_migration(&pair, sentence);
    wait_migration(&pair, "\"status\":\"failed\"");
    assert_reply(pair.source, "query-status", "{}", STATUS("running", "true"));
    assert_reply(pair.destination, "query-status", "{}", STATUS("inmigrate", "false"));
    assert_null(strstr(pair.source->events, "STOP"));
    free_pair(&pair);
}

static void disks_that_do_not_match_are_refused(void **state)
{
    assert_refused(2 << 20, 1 << 20, "disk 0 of the machine has 2097152 bytes, but");
    assert_refused(0, 1 << 20, "the machine has 0 disk(s), but --disk was given 1 time(s) here");
}

static void disk_of_the_source_is_used_without_any_of_our_own(void **state)
{
    struct pair pair = make_pair(1 << 20, 0, false);

    assert_reply(pair.source, "migrate", pair.arguments, NOTHING);
    wait_migration(&pair, "\"status\":\"completed\"");
    assert_in_reply(pair.destination, "x-godwit-query-machine", "{}",
                    pair.source->options.config.disks[0].path);
    free_pair(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operator_stops_and_continues),
        cmocka_unit_test(guest_that_powers_off_ends_the_process),
        cmocka_unit_test(end_leaves_verdict_and_record),
        cmocka_unit_test(hash_needs_a_stopped_machine),
        cmocka_unit_test(run_until_stops_exactly_there),
        cmocka_unit_test(reset_is_told),
        cmocka_unit_test(bad_parameter_changes_nothing),
        cmocka_unit_test(what_makes_no_sense_now_is_refused),
        cmocka_unit_test(record_of_a_killed_process_is_taken_over),
        cmocka_unit_test(running_machine_moves),
        cmocka_unit_test(stopped_machine_arrives_stopped),
        cmocka_unit_test(end_of_the_source_leaves_the_record_of_a_given_away_machine),
        cmocka_unit_test(disks_that_do_not_match_are_refused),
        cmocka_unit_test(disk_of_the_source_is_used_without_any_of_our_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
