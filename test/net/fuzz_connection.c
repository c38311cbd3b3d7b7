// SPDX-License-Identifier: Apache-2.0
/* libFuzzer's way into a connection's state machine: the bytes of a peer, in the pieces in which they come, before, in and
 * after the handshake. The cryptography is fuzz_secret.c's.
 *
 * The first byte chooses: bit 0: encrypted; bits 1 and 2: where the connection stands (accepted, dialled, up); bits 3 to 7:
 * the size of the pieces. Whatever comes, all memory and every table is as before once the connection has ended, each read
 * has ended once, and nothing was written beside the place of a read. */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "net/loopback.h"
#include "net/tcp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NODES = 3, MEMORY = 1 << 20, PLACE = 1 << 19, READS = 3, READ_LEN = 500, APART = READ_LEN + 64 };

static struct tcp *nets[2]; /* clear, encrypted */
static char addresses[2][NODES][LOOPBACK_ADDRESS_MAX];
static uint8_t *memory;

static void open_net(uint32_t which)
{
    const char *list[NODES];
    for (uint32_t i = 0; i < NODES; i++) {
        loopback_address(addresses[which][i]);
        list[i] = addresses[which][i];
    }
    struct tl_net_config config = {
        .rank = 1, .node_count = NODES, .addresses = list, .job_id = 1, .protocol_version = 1, .encrypt = which == 1};
    struct tl_net *net = NULL;
    struct tl_error err;
    check(tl_net_tcp_open(&net, &config, &err) == 0);
    check(net->ops->expose(net, -1, memory, MEMORY, TL_REGION_SERVE | TL_REGION_LAND) == 0);
    nets[which] = tcp_of(net);
    tcp_side_enable(net);
}

static void start(void)
{
    memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(memory != MAP_FAILED);
    open_net(0);
    open_net(1);
}

/* Everything that is ready; the bytes for the peer are thrown away. Returns how many reads have ended. */
static uint32_t settle(struct tcp *t, int peer_fd)
{
    struct tl_net_event events[16];
    uint32_t reads = 0;
    uint8_t sink[65536];
    for (int quiet = 0, rounds = 0; quiet < 2 && rounds < 200; rounds++) {
        int n = t->base.ops->poll(&t->base, events, 16, 1);
        for (int i = 0; i < n; i++) {
            reads += events[i].type == TL_NET_READ;
            if (events[i].type == TL_NET_MESSAGE || (int)events[i].type == TCP_EVENT_SIDE)
                t->base.ops->release(&t->base, &events[i]);
        }
        ssize_t taken = peer_fd < 0 ? -1 : recv(peer_fd, sink, sizeof sink, MSG_DONTWAIT);
        quiet = n == 0 && taken <= 0 ? quiet + 1 : 0;
    }
    return reads;
}

/* The connection, standing where the input wants it. */
static struct tcp_conn *begin(struct tcp *t, int fd, uint32_t where)
{
    struct tcp_conn *c = tcp_conn_new(t, where == 1);
    check(c != NULL);
    c->fd = fd;
    c->state = TCP_HELLO;
    if (where == 1) {
        tcp_conn_own(c, 0, ++t->peers[0].gen);
        tcp_handshake_dial(c);
        return c;
    }
    check(tcp_conn_watch(c) == 0);
    if (where == 0)
        return c;
    c->shake = calloc(1, sizeof *c->shake);
    check(c->shake != NULL);
    tcp_conn_own(c, 0, ++t->peers[0].gen);
    tcp_conn_up(c);
    for (uint32_t i = 0; i < READS; i++)
        check(tcp_read(&t->base, c->peer, 0, 0, 0, PLACE + i * APART, READ_LEN, UINT64_MAX, i) == 0);
    return c;
}

static void assert_as_before(struct tcp *t)
{
    check(t->conns == NULL && t->queue.first == NULL && t->dirty == NULL);
    check(t->stranger_count == 0 && t->inbound_count == 0 && t->regions[0].holds == 0);
    for (uint32_t i = 0; i < 64; i++) {
        check(memory[PLACE - 1 - i] == 0);
        for (uint32_t k = 0; k < READS; k++)
            check(memory[PLACE + k * APART + READ_LEN + i] == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (nets[0] == NULL)
        start();
    if (size < 2)
        return 0;
    struct tcp *t = nets[data[0] & 1];
    uint32_t where = (data[0] >> 1 & 3) % 3;
    size_t piece = (size_t)1 << (data[0] >> 3) % 17;
    piece = piece < size / 32 ? size / 32 + 1 : piece; /* 32 pieces at most */
    int fds[2];
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    t->next_read_id = UINT64_MAX; /* the first read is number 0 */
    t->peers[0].known = 0;
    begin(t, fds[0], where);
    uint32_t reads = settle(t, fds[1]);
    for (size_t at = 1; at < size; at += piece) {
        size_t len = size - at < piece ? size - at : piece;
        if (send(fds[1], data + at, len, MSG_NOSIGNAL) < 0)
            break;
        reads += settle(t, fds[1]);
    }
    close(fds[1]);
    reads += settle(t, -1);
    while (t->conns != NULL)
        tcp_conn_fail(t->conns, -ECANCELED, -ECANCELED, "closed");
    reads += settle(t, -1);
    check(where != 2 || reads == READS);
    assert_as_before(t);
    return 0;
}
