/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transparency in one process: runs a guest by the instruction clock, hashes its state every
 * `stride` instructions, then runs it again, moved to a new board at random counts, and tells the
 * first count where they differ. Faster than the system test and able to say in which field; a tool
 * for finding, no test.
 *
 *     run-moves [-s seed] [-n moves] [-e end] [-t stride] kernel initrd disk append
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "board/board.h"

#include "../shell-word.h"

static sd_event *loop;
static bool ended, at_target;
static FILE *console;

static void got_event(void *opaque, enum board_event event, const char *failure)
{
    ended = event != BOARD_EVENT_RESET;
}

static void got_output(void *opaque, const uint8_t *bytes, size_t length)
{
    fwrite(bytes, 1, length, console);
}

static void got_target(void *opaque, uint64_t instructions)
{
    at_target = true;
}

static void die(const struct gw_error *error)
{
    fprintf(stderr, "run-moves: %s\n", error->message);
    exit(2);
}

static struct board *make(const struct board_config *config, bool defer)
{
    struct board_callbacks callbacks = {.event = got_event, .serial_output = got_output};
    struct board *board;
    struct gw_error error;
    if (board_new(config, loop, &callbacks, defer, &board, &error) < 0)
        die(&error);
    return board;
}

static bool run_to(struct board *board, uint64_t count)
{
    struct gw_error error;
    at_target = ended = false;
    if (board_run_until(board, count, got_target, NULL, &error) < 0 ||
        board_start(board, &error) < 0)
        die(&error);
    while (!at_target && !ended)
        sd_event_run(loop, UINT64_MAX);
    return at_target;
}

static struct board *move(struct board *from, const char *disk)
{
    struct board_config config;
    struct gw_error error;
    struct gw_buf state = {0};
    json_t *description = board_describe(from);
    if (board_config_from_description(description, &config, &error) < 0)
        die(&error);
    config.disks[0].path = strdup(disk);
    struct board *to = make(&config, true);
    for (unsigned i = 0; i < gw_memory_region_count(board_memory(from)); i++) {
        struct gw_memory_region *source = gw_memory_region(board_memory(from), i);
        memcpy(gw_memory_region(board_memory(to), i)->host, source->host, source->bytes);
    }
    if (board_save(from, &state, &error) < 0)
        die(&error);
    (void)board_release_disks(from, NULL);
    if (board_load(to, state.data, state.length, &error) < 0 || board_acquire_disks(to, &error) < 0)
        die(&error);
    gw_buf_fini(&state);
    json_decref(description);
    board_config_fini(&config);
    board_free(from);
    return to;
}

static void copy_file(const char *from, const char *to)
{
    char command[8192], from_word[4000], to_word[4000];
    snprintf(command, sizeof command, "cp --sparse=always %s %s",
             shell_word(from_word, sizeof from_word, from),
             shell_word(to_word, sizeof to_word, to));
    if (system(command) != 0)
        exit(2);
}

static char *print_of(struct board *board)
{
    struct gw_buf text = {0};
    board_print(board, &text, NULL);
    gw_buf_append(&text, "", 1);
    return (char *)text.data;
}

static void save_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    fputs(text, file);
    fclose(file);
}

static int by_value(const void *one, const void *other)
{
    uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;
    return a < b ? -1 : a > b;
}

int main(int argc, char **argv)
{
    uint64_t seed = (uint64_t)getpid(), moves = 50, end = 1500000000, stride = 10000000;
    for (int c; (c = getopt(argc, argv, "s:n:e:t:")) != -1;) {
        uint64_t value = strtoull(optarg, NULL, 0);
        *(c == 's' ? &seed : c == 'n' ? &moves : c == 'e' ? &end : &stride) = value;
    }
    if (argc - optind != 4)
        return 2;
    char disk[64];
    snprintf(disk, sizeof disk, "/tmp/run-moves-%d.img", getpid());
    struct board_config config = {
        .memory_bytes = 128u << 20, .cpus = 1, .clock = GW_CLOCK_INSTRUCTIONS, .disk_count = 1};
    config.kernel = argv[optind];
    config.initrd = argv[optind + 1];
    config.append = argv[optind + 3];
    config.disks[0].path = disk;
    config.seed = 7;
    sd_event_new(&loop);

    size_t marks = end / stride, reached = 0;
    uint64_t *hash = calloc(marks, sizeof *hash);
    char **text = calloc(marks, sizeof *text);
    console = fopen("/tmp/run-moves-reference.log", "w");
    copy_file(argv[optind + 2], disk);
    struct board *board = make(&config, false);
    board_boot(board, NULL);
    while (reached < marks && run_to(board, (reached + 1) * stride)) {
        hash[reached] = board_state_hash(board);
        text[reached++] = print_of(board);
    }
    uint64_t end_hash = board_state_hash(board), last = board_instructions(board);
    printf("reference: %" PRIu64 " instructions, %zu marks, seed %" PRIu64 "\n", last, reached,
           seed);
    board_free(board);
    fclose(console);

    uint64_t *cut = calloc(moves, sizeof *cut);
    srand48((long)seed);
    for (size_t i = 0; i < moves; i++) {
        cut[i] = (uint64_t)(drand48() * (double)last);
        if (i % 4 == 1)
            cut[i] = cut[i - 1] + 1; /* neighbours */
    }
    qsort(cut, moves, sizeof *cut, by_value);
    console = fopen("/tmp/run-moves-moved.log", "w");
    copy_file(argv[optind + 2], disk);
    board = make(&config, false);
    board_boot(board, NULL);
    size_t next_cut = 0, next_mark = 0, moved = 0;
    int result = 0;
    while (next_cut < moves || next_mark < reached) {
        uint64_t mark = next_mark < reached ? (next_mark + 1) * stride : UINT64_MAX;
        uint64_t here = next_cut < moves && cut[next_cut] < mark ? cut[next_cut] : mark;
        if (!run_to(board, here)) {
            printf("powered off before %" PRIu64 "\n", here);
            result = 1;
            break;
        }
        if (here != mark) {
            board = move(board, disk);
            moved++;
            while (next_cut < moves && cut[next_cut] == here)
                next_cut++;
            continue;
        }
        if (board_state_hash(board) != hash[next_mark]) {
            printf("differs at %" PRIu64 " after %zu moves, the last at %" PRIu64
                   "; see /tmp/run-moves-{one,other}.json\n",
                   here, moved, next_cut ? cut[next_cut - 1] : 0);
            save_text("/tmp/run-moves-one.json", text[next_mark]);
            save_text("/tmp/run-moves-other.json", print_of(board));
            result = 1;
            break;
        }
        next_mark++;
    }
    if (result == 0 && reached < marks) {
        at_target = ended = false;
        board_start(board, NULL);
        while (!ended)
            sd_event_run(loop, UINT64_MAX);
        result = board_state_hash(board) != end_hash;
    }
    printf("%zu moves, %zu hashes: %s\n", moved, next_mark, result ? "DIFFERENT" : "equal");
    board_free(board);
    unlink(disk);
    return result;
}
