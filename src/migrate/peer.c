/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/peer.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

/* The kernel's random name of this boot as two numbers; 0 and 0 where it does not tell. */
static void read_boot_id(uint64_t *ret_high, uint64_t *ret_low)
{
    _cleanup_fclose_ FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    unsigned long long half[2] = {0, 0};
    unsigned digits = 0;
    for (int c; file && digits < 32 && (c = getc(file)) != EOF;) {
        static const char hex[] = "0123456789abcdef";
        const char *found = c ? strchr(hex, c) : NULL;
        if (found) {
            half[digits / 16] = half[digits / 16] << 4 | (unsigned long long)(found - hex);
            digits++;
        }
    }
    *ret_high = digits == 32 ? half[0] : 0;
    *ret_low = digits == 32 ? half[1] : 0;
}

void peer_post(struct session *session)
{
    char host[128] = "";
    union wire_body body = {0};
    (void)gethostname(host, sizeof host - 1);
    read_boot_id(&body.peer.boot_high, &body.peer.boot_low);
    body.peer.text_bytes = (uint32_t)strlen(host);
    session_post(session, WIRE_PEER, &body, host, strlen(host));
}

void peer_take(const struct message *message, struct flightlog *log)
{
    const struct wire_peer *peer = &message->body.peer;
    char host[WIRE_TEXT_MAX_BYTES + 1];
    uint64_t high, low;
    memcpy(host, message->tail, peer->text_bytes);
    host[peer->text_bytes] = '\0';
    read_boot_id(&high, &low);
    flightlog_set_peer(log, host,
                       (high | low) != 0 && high == peer->boot_high && low == peer->boot_low);
}
