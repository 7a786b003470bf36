/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "migrate/uri.h"

static void every_form_is_understood_and_written_back(void **state)
{
    static const struct {
        const char *text;
        enum gw_uri_kind kind;
        const char *inner;
        int port, fd;
    } forms[] = {
        {"tcp:example.org:4444", GW_URI_TCP, "example.org", 4444, -1},
        {"tcp:127.0.0.1:0", GW_URI_TCP, "127.0.0.1", 0, -1},
        {"tcp:[::1]:65535", GW_URI_TCP, "::1", 65535, -1},
        {"tcp:[fe80::1%eth0]:1", GW_URI_TCP, "fe80::1%eth0", 1, -1},
        {"tcp::4444", GW_URI_TCP, "", 4444, -1},
        {"unix:/run/a b:c", GW_URI_UNIX, "/run/a b:c", 0, -1},
        {"fd:0", GW_URI_FD, "", 0, 0},
        {"fd:2147483647", GW_URI_FD, "", 0, 2147483647},
        {"exec:ssh host nc -U /x", GW_URI_EXEC, "ssh host nc -U /x", 0, -1},
    };
    for (size_t i = 0; i < ARRAY_COUNT(forms); i++) {
        struct gw_uri uri;
        struct gw_buf back = {0};
        assert_int_equal(gw_uri_parse(forms[i].text, &uri, NULL), 0);
        assert_int_equal(uri.kind, forms[i].kind);
        assert_string_equal(uri.text, forms[i].inner);
        assert_int_equal(uri.port, forms[i].port);
        assert_int_equal(uri.fd, forms[i].fd);
        assert_int_equal(gw_uri_format(&uri, &back), 0);
        assert_int_equal(back.length, strlen(forms[i].text));
        assert_memory_equal(back.data, forms[i].text, back.length);
        gw_buf_fini(&back);
    }
}

static void a_wrong_address_gets_the_right_form_as_an_answer(void **state)
{
    static const char *const wrong[][2] = {
        {"", "write tcp:HOST:PORT, unix:PATH"},
        {"host:4444", "write tcp:HOST:PORT, unix:PATH"},
        {"tcp:host", "'tcp:host' has no port; write tcp:HOST:PORT"},
        {"tcp:", "has no port"},
        {"tcp:host:", "no valid port"},
        {"tcp:host:65536", "no valid port"},
        {"tcp:host:99999999999999999999", "no valid port"},
        {"tcp:host:-1", "no valid port"},
        {"tcp:host:4444,to=5", "no valid port"},
        {"tcp:host: 44", "no valid port"},
        {"tcp:::1:4444", "tcp:[ADDRESS]:PORT"},
        {"tcp:[::1]", "tcp:[IPV6-ADDRESS]:PORT"},
        {"tcp:[::1", "tcp:[IPV6-ADDRESS]:PORT"},
        {"tcp:[]:1", "tcp:[IPV6-ADDRESS]:PORT"},
        {"tcp:[host]:1", "tcp:[IPV6-ADDRESS]:PORT"},
        {"tcp:[[::1]:1", "tcp:[IPV6-ADDRESS]:PORT"},
        {"tcp:a[b:1", "tcp:[ADDRESS]:PORT"},
        {"unix:", "has no path"},
        {"fd:", "fd:N"},
        {"fd:-1", "fd:N"},
        {"fd:2147483648", "fd:N"},
        {"fd:7x", "fd:N"},
        {"exec:", "has no command"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        struct gw_uri uri;
        struct gw_error error = {0};
        assert_int_equal(gw_uri_parse(wrong[i][0], &uri, &error), -EINVAL);
        assert_int_equal(error.code, GW_CODE_INVALID);
        if (!strstr(error.message, wrong[i][1]))
            fail_msg("for '%s': %s", wrong[i][0], error.message);
    }
}

static void overlong_parts_are_refused(void **state)
{
    static const struct {
        const char *before;
        size_t most;
        const char *after;
    } parts[] = {{"tcp:", 253, ":1"}, {"unix:", 107, ""}, {"exec:", 4095, ""}};
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++) {
        for (size_t over = 0; over < 2; over++) {
            char filler[5000] = {0}, text[5100];
            memset(filler, 'a', parts[i].most + over);
            snprintf(text, sizeof text, "%s%s%s", parts[i].before, filler, parts[i].after);
            struct gw_uri uri;
            assert_int_equal(gw_uri_parse(text, &uri, NULL), over ? -EINVAL : 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_is_understood_and_written_back),
        cmocka_unit_test(a_wrong_address_gets_the_right_form_as_an_answer),
        cmocka_unit_test(overlong_parts_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
