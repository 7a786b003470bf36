/* SPDX-License-Identifier: Apache-2.0 */
/* Taps, in a network namespace of this program: made, found, refused, removed, handed over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../patience.h"
#include "net-bench.h"

static const char *why_not; /* taps cannot be tried here */
static bool has_one_user;   /* the namespace: there is no other to whom a tap could belong */

static void need_taps(void)
{
    if (why_not) {
        print_message("skipped: %s\n", why_not);
        skip();
    }
}

/* So that the host's side sends nothing by itself. */
static void silence_ipv6(void)
{
    int fd = open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    assert_int_equal(write(fd, "1", 1), 1);
    close(fd);
}

static void write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

/* Who is not root becomes root of a user namespace (user_namespaces(7)), where the host has these.
 */
static int unshare_network(void)
{
    char users[32], groups[32];
    snprintf(users, sizeof users, "0 %u 1", geteuid());
    snprintf(groups, sizeof groups, "0 %u 1", getegid());
    if (unshare(CLONE_NEWNET) == 0)
        return 0;
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        return -1;
    has_one_user = true;
    write_text("/proc/self/setgroups", "deny");
    write_text("/proc/self/uid_map", users);
    write_text("/proc/self/gid_map", groups);
    return 0;
}

static void enter_namespace(void)
{
    if (unshare_network() < 0)
        why_not = "this user may make neither a network namespace nor a user namespace";
    else if (access("/dev/net/tun", R_OK | W_OK) < 0)
        why_not = "/dev/net/tun cannot be opened";
    else
        silence_ipv6();
}

/* ---- The host's side ---- */

/* An open tap, as others make it; kept when `persists`. */
static int make_tap(const char *name, unsigned flags, bool persists)
{
    struct ifreq request = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | flags)};
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    snprintf(request.ifr_name, IFNAMSIZ, "%s", name);
    assert_int_equal(ioctl(fd, TUNSETIFF, &request), 0);
    assert_int_equal(ioctl(fd, TUNSETPERSIST, persists), 0);
    return fd;
}

static int interface_flags(const char *name, int set, int clear)
{
    struct ifreq request = {0};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    snprintf(request.ifr_name, IFNAMSIZ, "%s", name);
    assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &request), 0);
    request.ifr_flags = (short)((request.ifr_flags | set) & ~clear);
    assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
    close(fd);
    return request.ifr_flags;
}

static void set_mtu(const char *name, int mtu)
{
    struct ifreq request = {.ifr_mtu = mtu};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    snprintf(request.ifr_name, IFNAMSIZ, "%s", name);
    assert_int_equal(ioctl(fd, SIOCSIFMTU, &request), 0);
    close(fd);
}

static void remove_interface(const char *name)
{
    struct {
        struct nlmsghdr header;
        struct ifinfomsg info;
    } request = {
        .header = {sizeof request, RTM_DELLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0},
        .info = {.ifi_index = (int)if_nametoindex(name)},
    };
    char answer[512];
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    assert_int_equal(send(fd, &request, sizeof request, 0), sizeof request);
    assert_true(recv(fd, answer, sizeof answer, 0) > 0);
    close(fd);
    assert_int_equal(if_nametoindex(name), 0);
}

/* A packet socket with virtio headers on the host's side of the tap. */
static int host_socket(const char *name)
{
    const int yes = 1;
    struct sockaddr_ll address = {.sll_family = AF_PACKET,
                                  .sll_protocol = htons(ETH_P_ALL),
                                  .sll_ifindex = (int)if_nametoindex(name)};
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &yes, sizeof yes), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void host_send(int fd, const struct virtio_net_hdr *header, const uint8_t *frame,
                      size_t bytes)
{
    static const struct virtio_net_hdr plain;
    struct iovec iov[] = {{(void *)(header ? header : &plain), sizeof plain},
                          {(void *)frame, bytes}};
    const struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};
    assert_int_equal(sendmsg(fd, &message, 0), sizeof plain + bytes);
}

/* The next frame that came out of the tap. */
static size_t host_receive(int fd, struct virtio_net_hdr *header, uint8_t *frame, size_t room)
{
    struct iovec iov[] = {{header, sizeof *header}, {frame, room}};
    struct sockaddr_ll from;
    struct msghdr message = {
        .msg_iov = iov, .msg_iovlen = 2, .msg_name = &from, .msg_namelen = sizeof from};
    for (;;) {
        struct pollfd poll_for = {fd, POLLIN, 0};
        assert_int_equal(poll(&poll_for, 1, patience_ms()), 1);
        message.msg_namelen = sizeof from;
        ssize_t n = recvmsg(fd, &message, 0);
        assert_true(n > 0);
        if (from.sll_pkttype != PACKET_OUTGOING)
            return (size_t)n - sizeof *header;
    }
}

static void host_sends_seed(int fd, size_t bytes, unsigned seed)
{
    static uint8_t frame[NET_FRAME_BYTES];
    bench_fill(frame, bytes, seed);
    host_send(fd, NULL, frame, bytes);
}

/* ---- Names ---- */

static void what_is_no_name_is_refused(void **state)
{
    bench_expect_refused("tap:a/b", -EINVAL, "'a/b' cannot be the name");
    bench_expect_refused("tap:vm%d", -EINVAL, "cannot be the name");
    bench_expect_refused("tap:sixteen-letters-", -EINVAL, "1 to 15 characters");
    bench_expect_refused("tap:..", -EINVAL, "cannot be the name");
    bench_expect_refused("tap:vm0,x", -EINVAL, "'x' is no option");
    bench_expect_refused("tap:fd=", -EINVAL, "needs a descriptor");
    bench_expect_refused("tap:fd=x", -EINVAL, "is not fd=N");
    bench_expect_refused("tap:fd=2000", -EINVAL, "descriptor 2000 is not that of a tap");
    int file = open("/dev/null", O_RDWR | O_CLOEXEC);
    char text[32];
    snprintf(text, sizeof text, "tap:fd=%d", file);
    bench_expect_refused(text, -EINVAL, "is not that of a tap");
    close(file);
}

/* ---- Open ---- */

static void one_that_does_not_exist_is_made_and_goes_with_us(void **state)
{
    struct bench bench;
    need_taps();
    bench_new(&bench, "tap:vm0");
    assert_int_equal(if_nametoindex("vm0"), 0);
    bench_acquire(&bench);
    bench_expect_up(&bench);
    assert_true(interface_flags("vm0", 0, 0) & IFF_UP);
    bench_free(&bench);
    assert_int_equal(if_nametoindex("vm0"), 0);
}

static void without_a_name_the_next_free_one_is_made(void **state)
{
    struct bench a, b;
    need_taps();
    bench_new(&a, "tap");
    bench_acquire(&a);
    bench_new(&b, "tap");
    bench_acquire(&b);
    assert_string_equal(a.net->what, "tap 'godwit0'");
    assert_string_equal(b.net->what, "tap 'godwit1'");
    bench_free(&a);
    bench_free(&b);
}

static void one_that_exists_is_used_and_stays(void **state)
{
    struct bench bench;
    need_taps();
    close(make_tap("vm1", 0, true));
    set_mtu("vm1", 9000);
    interface_flags("vm1", IFF_UP, 0);
    bench_new(&bench, "tap:vm1");
    assert_int_equal(bench.net->mtu, 9000);
    bench_acquire(&bench);
    bench_expect_up(&bench);
    bench_free(&bench);
    assert_int_not_equal(if_nametoindex("vm1"), 0);
    remove_interface("vm1");
}

static void frames_go_both_ways(void **state)
{
    static uint8_t got[NET_FRAME_BYTES], expected[9014];
    struct virtio_net_hdr header;
    struct bench bench;
    need_taps();
    bench_new(&bench, "tap:vm0");
    bench_acquire(&bench);
    set_mtu("vm0", 9000);
    int host = host_socket("vm0");
    assert_int_equal(bench_send(&bench, 0, 9014, 1), 0);
    assert_int_equal(host_receive(host, &header, got, sizeof got), 9014);
    bench_fill(expected, 9014, 1);
    assert_memory_equal(got, expected, 9014);
    host_sends_seed(host, 1514, 2);
    host_sends_seed(host, 9014, 3);
    bench_expect_frame(&bench, 0, 1514, 2);
    bench_expect_frame(&bench, 0, 9014, 3);
    close(host);
    bench_free(&bench);
}

static void a_frame_without_room_is_lost_and_the_next_is_not(void **state)
{
    uint8_t small[60];
    struct bench bench;
    need_taps();
    bench_new(&bench, "tap:vm0");
    bench_acquire(&bench);
    int host = host_socket("vm0");
    host_sends_seed(host, 61, 1);
    host_sends_seed(host, 60, 2);
    assert_int_equal(bench_receive(&bench, 0, small, sizeof small), -EMSGSIZE);
    assert_int_equal(bench_receive(&bench, 0, small, sizeof small), 60);
    close(host);
    bench_free(&bench);
}

/* ---- Offloads ---- */

#define TCP_HEADERS_BYTES 54u
#define SEGMENT_BYTES 1000u
#define PAYLOAD_BYTES 4000u

static const struct virtio_net_hdr segments = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                               .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
                                               .hdr_len = TCP_HEADERS_BYTES,
                                               .gso_size = SEGMENT_BYTES,
                                               .csum_start = 34,
                                               .csum_offset = 16};

/* Four segments in one frame; only what the kernel looks at is filled in. */
static void fill_segments(uint8_t frame[TCP_HEADERS_BYTES + PAYLOAD_BYTES])
{
    static const uint8_t headers[TCP_HEADERS_BYTES] = {
        2,    0, 0,    0,    0, 1,  2,    0,  0,  0, 0, 2, 8,   0,       /* Ethernet */
        0x45, 0, 0x0f, 0xc8, 0, 0,  0x40, 0,  64, 6, 0, 0, 192, 0, 2, 1, /* IPv4, 4040 bytes */
        192,  0, 2,    2,    0, 80, 0,    81, 0,  0, 0, 0, 0,   0, 0, 0, 0x50, 0x10, 1, /* TCP */
    };
    memcpy(frame, headers, sizeof headers);
    memset(frame + sizeof headers, 7, PAYLOAD_BYTES);
}

static void the_guest_sends_segments_in_one_frame(void **state)
{
    static uint8_t frame[TCP_HEADERS_BYTES + PAYLOAD_BYTES], got[NET_FRAME_BYTES];
    struct virtio_net_hdr_v1 out = {.flags = segments.flags,
                                    .gso_type = segments.gso_type,
                                    .hdr_len = segments.hdr_len,
                                    .gso_size = segments.gso_size,
                                    .csum_start = segments.csum_start,
                                    .csum_offset = segments.csum_offset};
    struct virtio_net_hdr header;
    struct bench bench;
    need_taps();
    bench_new(&bench, "tap:vm0");
    assert_int_equal(bench.net->offloads & ~(unsigned)NET_USO,
                     NET_CHECKSUM | NET_TSO4 | NET_TSO6 | NET_ECN);
    bench_acquire(&bench);
    int host = host_socket("vm0");
    fill_segments(frame);
    const struct iovec iov[] = {{&out, sizeof out}, {frame, sizeof frame}};
    assert_int_equal(net_send(bench.net, 0, iov, 2), 0);
    assert_int_equal(host_receive(host, &header, got, sizeof got), sizeof frame);
    assert_int_equal(header.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
    assert_int_equal(header.gso_size, SEGMENT_BYTES);
    close(host);
    bench_free(&bench);
}

static void expect_received(struct bench *bench, size_t bytes, unsigned gso_type)
{
    static uint8_t frame[NET_FRAME_BYTES];
    struct virtio_net_hdr_v1 in = {0};
    const struct iovec iov[] = {{&in, sizeof in}, {frame, sizeof frame}};
    assert_int_equal(net_receive(bench->net, 0, iov, 2), sizeof in + bytes);
    assert_int_equal(in.gso_type, gso_type);
}

static void the_guest_gets_segments_in_one_frame_only_if_it_takes_them(void **state)
{
    static uint8_t frame[TCP_HEADERS_BYTES + PAYLOAD_BYTES];
    struct bench bench;
    need_taps();
    bench_new(&bench, "tap:vm0");
    bench_acquire(&bench);
    int host = host_socket("vm0");
    fill_segments(frame);
    host_send(host, &segments, frame, sizeof frame);
    for (unsigned i = 0; i < PAYLOAD_BYTES / SEGMENT_BYTES; i++)
        expect_received(&bench, TCP_HEADERS_BYTES + SEGMENT_BYTES, VIRTIO_NET_HDR_GSO_NONE);
    assert_int_equal(net_set_offloads(bench.net, NET_CHECKSUM | NET_TSO4), 0);
    host_send(host, &segments, frame, sizeof frame);
    expect_received(&bench, sizeof frame, VIRTIO_NET_HDR_GSO_TCPV4);
    assert_int_equal(net_set_offloads(bench.net, 0), 0);
    host_send(host, &segments, frame, sizeof frame);
    expect_received(&bench, TCP_HEADERS_BYTES + SEGMENT_BYTES, VIRTIO_NET_HDR_GSO_NONE);
    close(host);
    bench_free(&bench);
}

static void each_set_of_offloads_is_taken_by_the_kernel(void **state)
{
    struct bench bench;
    need_taps();
    bench_new(&bench, "tap:vm0");
    bench_acquire(&bench);
    for (unsigned offloads = 0; offloads < 32; offloads++)
        assert_int_equal(net_set_offloads(bench.net, offloads),
                         offloads & ~bench.net->offloads ? -EOPNOTSUPP : 0);
    bench_free(&bench);
}

/* ---- Several queues ---- */

static void only_the_queues_in_use_get_frames(void **state)
{
    struct bench bench;
    unsigned got[4] = {0};
    uint8_t frame[2000];
    need_taps();
    bench_new(&bench, "tap:vm0");
    assert_int_equal(net_acquire(bench.net, 4, NULL), 0);
    bench_expect_up(&bench);
    int host = host_socket("vm0");
    for (unsigned round = 0; round < 3; round++) {
        unsigned in_use = round == 1 ? 4 : 1;
        if (round > 0)
            assert_int_equal(net_set_queues(bench.net, in_use), 0);
        memset(got, 0, sizeof got);
        for (unsigned flow = 0; flow < 64; flow++) {
            static uint8_t tcp[TCP_HEADERS_BYTES + PAYLOAD_BYTES];
            fill_segments(tcp);
            tcp[37] = (uint8_t)flow;
            host_send(host, NULL, tcp, 200);
        }
        for (unsigned i = 0; i < in_use; i++)
            while (bench_receive(&bench, i, frame, sizeof frame) > 0)
                got[i]++;
        unsigned sum = 0, used = 0;
        for (unsigned i = 0; i < 4; i++) {
            struct pollfd poll_for = {bench.net->receive_fd[i], POLLIN, 0};
            assert_int_equal(poll(&poll_for, 1, 0), 0);
            sum += got[i];
            used += got[i] > 0;
        }
        assert_int_equal(sum, 64);
        assert_true(in_use == 1 ? used == 1 : used > 1);
    }
    close(host);
    bench_free(&bench);
}

static void too_many_queues_are_refused(void **state)
{
    struct gw_error error = {0};
    struct bench bench;
    need_taps();
    close(make_tap("vm1", 0, true));
    bench_new(&bench, "tap:vm1");
    assert_int_equal(net_acquire(bench.net, 2, &error), -EOPNOTSUPP);
    assert_non_null(strstr(error.message, "ip tuntap add vm1 mode tap multi_queue"));
    assert_int_equal(net_acquire(bench.net, 9, &error), -EOPNOTSUPP);
    bench_acquire(&bench);
    assert_int_equal(net_set_queues(bench.net, 2), -EOPNOTSUPP);
    bench_free(&bench);
    remove_interface("vm1");
}

static void one_queue_of_a_tap_with_several_is_enough(void **state)
{
    struct bench bench;
    need_taps();
    close(make_tap("vm1", IFF_MULTI_QUEUE, true));
    interface_flags("vm1", IFF_UP, 0);
    bench_new(&bench, "tap:vm1");
    bench_acquire(&bench);
    bench_expect_up(&bench);
    bench_free(&bench);
    remove_interface("vm1");
}

/* ---- Refused ---- */

static void expect_acquire_refused(const char *text, int expected, const char *part)
{
    struct gw_error error = {0};
    struct bench bench;
    bench_new(&bench, text);
    assert_int_equal(net_acquire(bench.net, 1, &error), expected);
    if (!strstr(error.message, part))
        fail_msg("'%s' does not say '%s'", error.message, part);
    bench_free(&bench);
}

static void one_in_use_is_refused(void **state)
{
    need_taps();
    int other = make_tap("vm1", 0, false);
    expect_acquire_refused("tap:vm1", -EBUSY, "in use by another process");
    close(other);
}

static void an_interface_that_is_no_tap_is_refused(void **state)
{
    need_taps();
    expect_acquire_refused("tap:lo", -EINVAL, "is no tap");
    interface_flags("lo", IFF_UP, 0);
    expect_acquire_refused("tap:lo", -EINVAL, "is no tap");
}

static void forget_to_administer_networks(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &header, data) < 0)
        _exit(2);
    data[0].effective &= ~(1u << CAP_NET_ADMIN);
    if (syscall(SYS_capset, &header, data) < 0)
        _exit(3);
}

/* In the child a failed assertion must not go on with the parent's tests. */
static void as_plain_user(const char *text, int expected, const char *part)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        struct gw_error error = {0};
        struct net *net = NULL;
        forget_to_administer_networks();
        if (net_new(text, &net, &error) < 0)
            _exit(4);
        if (net_acquire(net, 1, &error) == expected && strstr(error.message, part))
            _exit(0);
        fprintf(stderr, "'%s' does not say '%s'\n", error.message, part);
        _exit(1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void who_may_not_is_told_how(void **state)
{
    need_taps();
    as_plain_user("tap:vm9", -ENOENT, "ip tuntap add vm9 mode tap user 0");
    as_plain_user("tap", -ENOENT, "ip tuntap add NAME mode tap user 0");
    if (has_one_user)
        return;
    int other = make_tap("vm1", 0, true);
    assert_int_equal(ioctl(other, TUNSETOWNER, 12345), 0);
    close(other);
    as_plain_user("tap:vm1", -EPERM, "belongs to another user");
    remove_interface("vm1");
}

/* ---- Passed descriptors ---- */

static void a_passed_descriptor_works(unsigned flags)
{
    static uint8_t got[NET_FRAME_BYTES];
    struct virtio_net_hdr header;
    struct bench bench;
    char text[32];
    int fd = make_tap("vm1", flags, false);
    interface_flags("vm1", IFF_UP, 0);
    set_mtu("vm1", 4000);
    snprintf(text, sizeof text, "tap:fd=%d", fd);
    bench_new(&bench, text);
    assert_string_equal(bench.net->what, "tap 'vm1'");
    assert_int_equal(bench.net->mtu, 4000);
    assert_int_equal(!!(bench.net->offloads & NET_CHECKSUM), !!(flags & IFF_VNET_HDR));
    bench_acquire(&bench);
    bench_expect_up(&bench);
    int host = host_socket("vm1");
    host_sends_seed(host, 1000, 1);
    bench_expect_frame(&bench, 0, 1000, 1);
    assert_int_equal(bench_send(&bench, 0, 300, 2), 0);
    assert_int_equal(host_receive(host, &header, got, sizeof got), 300);
    net_release(bench.net);
    host_sends_seed(host, 500, 3);
    bench_acquire(&bench);
    bench_expect_frame(&bench, 0, 500, 3);
    close(host);
    bench_free(&bench);
    assert_int_equal(if_nametoindex("vm1"), 0);
}

static void a_passed_descriptor_with_headers(void **state)
{
    need_taps();
    a_passed_descriptor_works(IFF_VNET_HDR);
}

static void a_passed_descriptor_without_headers(void **state)
{
    need_taps();
    a_passed_descriptor_works(0);
}

static void a_passed_tun_is_refused(void **state)
{
    struct ifreq request = {.ifr_name = "tun1", .ifr_flags = IFF_TUN | IFF_NO_PI};
    char text[32];
    need_taps();
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    assert_int_equal(ioctl(fd, TUNSETIFF, &request), 0);
    snprintf(text, sizeof text, "tap:fd=%d", fd);
    bench_expect_refused(text, -EINVAL, "is not that of a tap");
    close(fd);
}

/* ---- The interface goes, comes, is down ---- */

static void a_removed_interface_takes_the_link_down_until_it_is_back(void **state)
{
    uint8_t frame[60];
    struct bench bench;
    need_taps();
    bench_new(&bench, "tap:vm0");
    bench_acquire(&bench);
    bench_expect_up(&bench);
    assert_int_equal(net_set_offloads(bench.net, NET_CHECKSUM | NET_TSO4), 0);
    int number = bench.net->receive_fd[0];
    remove_interface("vm0");
    bench_expect_down(&bench, "the interface was removed");
    assert_int_equal(bench_send(&bench, 0, 60, 1), -ENETDOWN);
    assert_int_equal(bench_receive(&bench, 0, frame, sizeof frame), -EAGAIN);
    struct pollfd poll_for = {number, POLLIN, 0};
    assert_int_equal(poll(&poll_for, 1, 0), 0);
    bench_run_for(&bench, 100);
    assert_int_equal(if_nametoindex("vm0"), 0); /* whoever removed it meant it */
    close(make_tap("vm0", 0, true));
    interface_flags("vm0", IFF_UP, 0);
    bench_expect_up(&bench);
    assert_int_equal(bench.net->receive_fd[0], number);
    int host = host_socket("vm0");
    host_sends_seed(host, 200, 5);
    bench_expect_frame(&bench, 0, 200, 5);
    static uint8_t segmented[TCP_HEADERS_BYTES + PAYLOAD_BYTES];
    fill_segments(segmented);
    host_send(host, &segments, segmented, sizeof segmented);
    expect_received(&bench, sizeof segmented, VIRTIO_NET_HDR_GSO_TCPV4);
    close(host);
    bench_free(&bench);
    remove_interface("vm0");
}

static void an_interface_that_is_set_down_takes_the_link_down(void **state)
{
    struct bench bench;
    need_taps();
    bench_new(&bench, "tap:vm0");
    bench_acquire(&bench);
    bench_expect_up(&bench);
    interface_flags("vm0", 0, IFF_UP);
    bench_expect_down(&bench, "'ip link set vm0 up' mends it");
    interface_flags("vm0", IFF_UP, 0);
    bench_expect_up(&bench);
    bench_free(&bench);
}

static void one_that_is_set_down_and_removed_is_told_of_as_removed(void **state)
{
    struct bench bench;
    need_taps();
    bench_new(&bench, "tap:vm0");
    bench_acquire(&bench);
    bench_expect_up(&bench);
    interface_flags("vm0", 0, IFF_UP);
    bench_expect_down(&bench, "the interface is down");
    remove_interface("vm0");
    bench_run_for(&bench, 100);
    bench_expect_down(&bench, "the interface was removed");
    bench_free(&bench);
}

/* ---- To another process of the same host ---- */

static void what_comes_while_nobody_holds_it_waits(void **state)
{
    struct bench bench;
    need_taps();
    bench_new(&bench, "tap:vm0");
    bench_acquire(&bench);
    int host = host_socket("vm0");
    net_release(bench.net);
    for (unsigned i = 0; i < 20; i++)
        host_sends_seed(host, 100 + i, i);
    bench_acquire(&bench);
    for (unsigned i = 0; i < 20; i++)
        bench_expect_frame(&bench, 0, 100 + i, i);
    close(host);
    bench_free(&bench);
}

static void who_takes_over_gets_what_waits_and_the_same_interface(void **state)
{
    struct bench source, destination;
    need_taps();
    bench_new(&source, "tap:vm0");
    assert_int_equal(net_acquire(source.net, 2, NULL), 0);
    bench_new(&destination, "tap:vm0");
    unsigned index = if_nametoindex("vm0");
    int host = host_socket("vm0");
    struct gw_error error = {0};
    assert_int_equal(net_acquire(destination.net, 2, &error), -EBUSY);
    net_release(source.net);
    host_sends_seed(host, 100, 1);
    if (net_acquire(destination.net, 2, &error) < 0)
        fail_msg("%s", error.message);
    bench_expect_up(&destination);
    bench_expect_frame(&destination, 0, 100, 1);
    bench_free(&source);
    assert_int_equal(if_nametoindex("vm0"), index);
    host_sends_seed(host, 200, 2);
    bench_expect_frame(&destination, 0, 200, 2);
    assert_int_equal(net_set_queues(destination.net, 2), 0);
    bench_free(&destination);
    assert_int_equal(if_nametoindex("vm0"), 0);
    close(host);
}

struct sender {
    int host;
    atomic_bool ending;
};

/* Frames whose checksum is left to whoever takes them, without a rest. */
static void *send_all_the_time(void *opaque)
{
    struct sender *sender = opaque;
    uint8_t frame[TCP_HEADERS_BYTES + PAYLOAD_BYTES];
    struct virtio_net_hdr header = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                    .csum_start = segments.csum_start,
                                    .csum_offset = segments.csum_offset};
    struct iovec iov[] = {{&header, sizeof header}, {frame, TCP_HEADERS_BYTES + 100}};
    const struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};
    fill_segments(frame);
    while (!sender->ending)
        (void)sendmsg(sender->host, &message, MSG_DONTWAIT); /* the tap may be full */
    return NULL;
}

/* How many frames there are; none leaves its checksum to the guest. */
static unsigned receive_whole_frames(struct net *net)
{
    uint8_t frame[2000];
    const struct iovec iov = {frame, sizeof frame};
    unsigned count = 0;
    for (ssize_t n; count < 500 && (n = net_receive(net, 0, &iov, 1)) >= 0; count++)
        assert_int_equal(frame[0] & VIRTIO_NET_HDR_F_NEEDS_CSUM, 0);
    return count;
}

static void no_frame_asks_for_what_the_guest_does_not_take_while_it_is_handed_over(void **state)
{
    struct bench sides[2];
    pthread_t thread;
    unsigned received = 0;
    need_taps();
    bench_new(&sides[0], "tap:vm0");
    bench_acquire(&sides[0]);
    bench_new(&sides[1], "tap:vm0");
    struct sender sender = {.host = host_socket("vm0")};
    assert_int_equal(pthread_create(&thread, NULL, send_all_the_time, &sender), 0);
    for (unsigned i = 0; i < 300 || received < 10000; i++) {
        net_release(sides[i % 2].net);
        bench_acquire(&sides[(i + 1) % 2]);
        received += receive_whole_frames(sides[(i + 1) % 2].net);
    }
    sender.ending = true;
    pthread_join(thread, NULL);
    bench_free(&sides[1]);
    bench_free(&sides[0]);
    close(sender.host);
}

static void one_that_was_given_away_can_be_taken_back(void **state)
{
    struct bench source, destination;
    need_taps();
    bench_new(&source, "tap:vm0");
    bench_acquire(&source);
    bench_new(&destination, "tap:vm0");
    int host = host_socket("vm0");
    net_release(source.net);
    bench_acquire(&destination);
    net_release(destination.net);
    host_sends_seed(host, 100, 1);
    bench_acquire(&source);
    bench_expect_up(&source);
    bench_expect_frame(&source, 0, 100, 1);
    bench_free(&destination);
    host_sends_seed(host, 200, 2);
    bench_expect_frame(&source, 0, 200, 2);
    close(host);
    bench_free(&source);
}

/* ---- At a destination ---- */

static void a_prepared_tap_has_its_port_and_drops_what_came_before(void **state)
{
    struct bench bench;
    need_taps();
    bench_new(&bench, "tap:vm0");
    assert_int_equal(net_preopen(bench.net, 2, NULL), 0);
    assert_int_equal(net_preopen(bench.net, 2, NULL), 0);
    assert_true(interface_flags("vm0", 0, 0) & IFF_UP);
    int host = host_socket("vm0");
    for (unsigned i = 0; i < 50; i++)
        host_sends_seed(host, 100, i);
    assert_int_equal(net_acquire(bench.net, 2, NULL), 0);
    bench_expect_up(&bench);
    host_sends_seed(host, 200, 7);
    bench_expect_frame(&bench, 0, 200, 7);
    close(host);
    bench_free(&bench);
    assert_int_equal(if_nametoindex("vm0"), 0);
}

enum { OPERATION_UP = 6, MODE_DORMANT = 1 }; /* of linux/if.h, which does not go with net/if.h */

static void set_link_byte(const char *name, unsigned short type, uint8_t value)
{
    struct {
        struct nlmsghdr header;
        struct ifinfomsg info;
        struct rtattr attribute;
        uint8_t value, padding[3];
    } request = {
        .header = {sizeof request, RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0},
        .info = {.ifi_index = (int)if_nametoindex(name)},
        .attribute = {RTA_LENGTH(1), type},
        .value = value,
    };
    struct {
        struct nlmsghdr header;
        struct nlmsgerr error;
        char rest[256];
    } answer;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    assert_int_equal(send(fd, &request, sizeof request, 0), sizeof request);
    assert_true(recv(fd, &answer, sizeof answer, 0) > 0);
    assert_int_equal(answer.error.error, 0);
    close(fd);
}

/* As the kernel does when it gets round to it. */
static void *tell_of_carrier_later(void *opaque)
{
    usleep(100000);
    set_link_byte(opaque, IFLA_OPERSTATE, OPERATION_UP);
    return NULL;
}

static void a_prepared_tap_is_one_to_which_a_bridge_forwards(void **state)
{
    static char name[] = "vm1";
    struct bench bench;
    pthread_t thread;
    need_taps();
    close(make_tap(name, IFF_VNET_HDR, true));
    set_link_byte(name, IFLA_LINKMODE, MODE_DORMANT);
    interface_flags(name, IFF_UP, 0);
    bench_new(&bench, "tap:vm1");
    assert_int_equal(pthread_create(&thread, NULL, tell_of_carrier_later, name), 0);
    assert_int_equal(net_preopen(bench.net, 1, NULL), 0);
    assert_true(interface_flags(name, 0, 0) & IFF_RUNNING);
    pthread_join(thread, NULL);
    bench_free(&bench);
    remove_interface(name);
}

static void one_in_use_can_be_prepared_but_no_other_interface(void **state)
{
    struct gw_error error = {0};
    struct bench bench;
    need_taps();
    int other = make_tap("vm1", 0, false);
    bench_new(&bench, "tap:vm1");
    assert_int_equal(net_preopen(bench.net, 1, NULL), 0);
    assert_int_equal(net_acquire(bench.net, 1, NULL), -EBUSY);
    close(other);
    bench_acquire(&bench);
    bench_free(&bench);
    bench_new(&bench, "tap:lo");
    assert_int_equal(net_preopen(bench.net, 1, &error), -EINVAL);
    assert_non_null(strstr(error.message, "is no tap"));
    bench_free(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_name_is_refused),
        cmocka_unit_test(one_that_does_not_exist_is_made_and_goes_with_us),
        cmocka_unit_test(without_a_name_the_next_free_one_is_made),
        cmocka_unit_test(one_that_exists_is_used_and_stays),
        cmocka_unit_test(frames_go_both_ways),
        cmocka_unit_test(a_frame_without_room_is_lost_and_the_next_is_not),
        cmocka_unit_test(the_guest_sends_segments_in_one_frame),
        cmocka_unit_test(the_guest_gets_segments_in_one_frame_only_if_it_takes_them),
        cmocka_unit_test(each_set_of_offloads_is_taken_by_the_kernel),
        cmocka_unit_test(only_the_queues_in_use_get_frames),
        cmocka_unit_test(too_many_queues_are_refused),
        cmocka_unit_test(one_queue_of_a_tap_with_several_is_enough),
        cmocka_unit_test(one_in_use_is_refused),
        cmocka_unit_test(an_interface_that_is_no_tap_is_refused),
        cmocka_unit_test(who_may_not_is_told_how),
        cmocka_unit_test(a_passed_descriptor_with_headers),
        cmocka_unit_test(a_passed_descriptor_without_headers),
        cmocka_unit_test(a_passed_tun_is_refused),
        cmocka_unit_test(a_removed_interface_takes_the_link_down_until_it_is_back),
        cmocka_unit_test(an_interface_that_is_set_down_takes_the_link_down),
        cmocka_unit_test(one_that_is_set_down_and_removed_is_told_of_as_removed),
        cmocka_unit_test(what_comes_while_nobody_holds_it_waits),
        cmocka_unit_test(who_takes_over_gets_what_waits_and_the_same_interface),
        cmocka_unit_test(no_frame_asks_for_what_the_guest_does_not_take_while_it_is_handed_over),
        cmocka_unit_test(one_that_was_given_away_can_be_taken_back),
        cmocka_unit_test(a_prepared_tap_has_its_port_and_drops_what_came_before),
        cmocka_unit_test(a_prepared_tap_is_one_to_which_a_bridge_forwards),
        cmocka_unit_test(one_in_use_can_be_prepared_but_no_other_interface),
    };
    enter_namespace();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
