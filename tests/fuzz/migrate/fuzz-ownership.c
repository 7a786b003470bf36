/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as an ownership record: refused, or written back and read the same. */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <godwit/migrate.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(const struct gw_ownership *record)
{
    char path[64];
    struct gw_ownership again;
    snprintf(path, sizeof path, "/tmp/fuzz-ownership-%d.json", getpid());
    assert(gw_ownership_write(path, record, NULL) == 0);
    assert(gw_ownership_read(path, &again, NULL) == 0);
    assert(again.state == record->state && again.epoch == record->epoch);
    assert(strcmp(again.session, record->session) == 0 && strcmp(again.peer, record->peer) == 0);
    unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    struct gw_ownership record;
    struct gw_error error;
    int fd = memfd_create("record", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        return -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (gw_ownership_read(path, &record, &error) == 0)
        check_round_trip(&record);
    close(fd);
    return 0;
}
