/* SPDX-License-Identifier: Apache-2.0 */
#include "base/unix-socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"

int unix_address(const char *path, struct sockaddr_un *ret_address, struct gw_error *error)
{
    size_t length = strlen(path);
    if (length >= sizeof ret_address->sun_path)
        return gw_error_set(error, GW_LAYER_BASE, GW_CODE_INVALID, -ENAMETOOLONG,
                            "the socket path '%s' is longer than the %zu characters that the system allows; "
                            "choose a shorter directory",
                            path, sizeof ret_address->sun_path - 1);
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(ret_address->sun_path, path, length);
    return 0;
}

int unix_connect(const char *path, struct gw_error *error)
{
    struct sockaddr_un address;
    int r = unix_address(path, &address, error);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        enum gw_code code = errno == ENOENT ? GW_CODE_DISCONNECTED : gw_code_from_errno(errno);
        return gw_error_set(error, GW_LAYER_BASE, code, -errno, "cannot connect to '%s': %s", path,
                            strerror(errno));
    }
    return TAKE_FD(fd);
}
