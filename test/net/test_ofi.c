// SPDX-License-Identifier: Apache-2.0
/* The conformance suite on the libfabric transport, over the provider tcp;ofi_rxm. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "net/loopback.h"
#include "net/ofi.h"
#include "net/suite.h"

enum { SKIPPED = 77 }; /* as Meson counts */

static const char provider[] = "tcp;ofi_rxm";
static bool without_fabric;

static int open_node(struct tl_net **out, const struct tl_net_config *config, struct tl_error *err)
{
    if (without_fabric)
        return tl_net_tcp_open(out, config, err);
    int rc = tl_net_ofi_open(out, config, provider, err);
    return rc == -ENOTSUP && config->encrypt ? tl_net_tcp_open(out, config, err) : rc; /* as the daemon does */
}

/* Reads have to go over the fabric from the first on, else the suite would see little of it. */
static bool settled(struct tl_net_suite_env *env, struct tl_net *net, struct tl_peer peer)
{
    (void)env;
    return tl_net_ofi_ready(net, peer);
}

static struct tl_net_stats stats_of(const struct suite *s, uint32_t rank)
{
    struct tl_net_stats out;
    s->nodes[rank].net->ops->stats(s->nodes[rank].net, &out);
    return out;
}

/* A read of node 0 from a peer, whole and right. */
static void read_one(struct suite *s, uint32_t from, uint64_t offset, uint32_t len)
{
    uint32_t had = suite_count(s, 0, TL_NET_READ);
    assert_int_equal(suite_read(s, 0, suite_peer(s, 0, from), offset, SUITE_LAND, len, 10000000000ull, had), 0);
    suite_until(s, 0, TL_NET_READ, had + 1);
    assert_int_equal(suite_seen(s, 0, TL_NET_READ, had)->status, 0);
    suite_assert_pattern(s->nodes[0].memory + SUITE_LAND, from, offset, len);
}

/* Reads start the probes. */
static void read_until_ready(struct suite *s, uint32_t from)
{
    for (int tries = 0; tries < 100 && !tl_net_ofi_ready(s->nodes[0].net, suite_peer(s, 0, from)); tries++) {
        read_one(s, from, 99, 1000);
        suite_pass(s, 10000000);
    }
    assert_true(tl_net_ofi_ready(s->nodes[0].net, suite_peer(s, 0, from)));
}

static void reads_do_not_touch_tcp(struct suite *s)
{
    suite_link(s, 2);
    read_one(s, 1, 12345, 3 << 20);
    assert_int_equal(stats_of(s, 0).read_bytes_in, 3 << 20);
    assert_int_equal(stats_of(s, 1).reads_served, 0);
    assert_int_equal(stats_of(s, 0).bulk_fallbacks, 0);
}

static void fabric_error_falls_back(struct suite *s)
{
    suite_link(s, 2);
    struct tl_net *server = s->nodes[1].net;
    /* The region is gone, and exposed anew under the same number; node 0 has not heard of it and uses the old key. */
    assert_int_equal(server->ops->retract(server, s->nodes[1].region), 0);
    int region = server->ops->expose(server, s->nodes[1].memory_fd, s->nodes[1].memory, SUITE_REGION_SIZE,
                                     TL_REGION_SERVE | TL_REGION_LAND);
    assert_int_equal(region, s->nodes[1].region);
    read_one(s, 1, 777, 200000);
    assert_int_equal(stats_of(s, 0).bulk_fallbacks, 1);
    assert_int_equal(stats_of(s, 1).reads_served, 1);
    /* TCP for a minute, then the fabric after another probe. */
    assert_false(tl_net_ofi_ready(s->nodes[0].net, suite_peer(s, 0, 1)));
    read_one(s, 1, 778, 200000);
    assert_int_equal(stats_of(s, 1).reads_served, 2);
    loopback_skew(OFI_DEMOTED_NS);
    read_until_ready(s, 1);
    uint64_t served = stats_of(s, 1).reads_served;
    read_one(s, 1, 780, 200000);
    assert_int_equal(stats_of(s, 1).reads_served, served);
}

static void a_fence_spares_other_peers(struct suite *s)
{
    suite_link(s, 3);
    suite_freeze(s, 1, true);
    assert_int_equal(suite_read(s, 0, suite_peer(s, 0, 1), 0, SUITE_LAND + (8 << 20), 1 << 20, 100000000, 1000), 0);
    suite_until(s, 0, TL_NET_READ, 1);
    assert_int_equal(suite_seen(s, 0, TL_NET_READ, 0)->status, -ETIMEDOUT);
    suite_freeze(s, 1, false);
    read_one(s, 2, 4242, 1 << 20);
    assert_int_equal(suite_count(s, 0, TL_NET_DOWN), 0);
    /* Node 0's address is another now; node 2 was told, and reads from it over the fabric again. */
    for (int i = 0; i < 200 && !tl_net_ofi_ready(s->nodes[2].net, suite_peer(s, 2, 0)); i++)
        suite_pass(s, 50000000);
    assert_true(tl_net_ofi_ready(s->nodes[2].net, suite_peer(s, 2, 0)));
    loopback_skew(OFI_DEMOTED_NS);
    read_until_ready(s, 2);
    uint64_t served = stats_of(s, 2).reads_served;
    read_one(s, 2, 4244, 1 << 20);
    assert_int_equal(stats_of(s, 2).reads_served, served);
}

static void a_node_without_fabric_is_served_over_tcp(struct suite *s)
{
    without_fabric = true; /* node 1 */
    suite_open(s, 1);
    without_fabric = false;
    suite_open(s, 0);
    struct tl_peer peer;
    assert_int_equal(s->nodes[0].net->ops->connect(s->nodes[0].net, 1, s->env->now(s->env), &peer), 0);
    suite_until(s, 0, TL_NET_UP, 1);
    suite_until(s, 1, TL_NET_UP, 1);
    suite_pass(s, 50000000);
    read_one(s, 1, 5, 1 << 20);
    assert_int_equal(stats_of(s, 1).reads_served, 1);
    assert_int_equal(stats_of(s, 1).bad_frames, 0);
}

static void providers_that_spin_or_are_not_there_are_refused(struct suite *s)
{
    static const char *const names[] = {"net", "sockets", "nonesuch", "cxi"};
    char address[LOOPBACK_ADDRESS_MAX];
    const char *const addresses[] = {address};
    struct tl_net_config config = {.node_count = 1, .addresses = addresses, .protocol_version = 1};
    (void)s;
    loopback_address(address);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct tl_net *net = NULL;
        struct tl_error err = {0};
        assert_int_equal(tl_net_ofi_open(&net, &config, names[i], &err), -ENOTSUP);
        assert_non_null(strstr(err.msg, names[i]));
    }
}

static const struct suite_case extra[] = {
    {"reads go over the fabric", reads_do_not_touch_tcp, false},
    {"a read that the fabric refuses is done over TCP, for a minute", fabric_error_falls_back, false},
    {"a fence leaves other peers' reads whole", a_fence_spares_other_peers, false},
    {"a node without fabric is served over TCP", a_node_without_fabric_is_served_over_tcp, false},
    {"providers that spin or are not there are refused", providers_that_spin_or_are_not_there_are_refused, false},
    {NULL, NULL, false},
};

int main(void)
{
    char address[LOOPBACK_ADDRESS_MAX];
    const char *const addresses[] = {address};
    struct tl_net_config config = {.node_count = 1, .addresses = addresses, .protocol_version = 1};
    struct tl_net *net = NULL;
    struct tl_error err = {0};
    loopback_address(address);
    if (open_node(&net, &config, &err) != 0) {
        printf("skipped: %s\n", err.msg);
        return SKIPPED;
    }
    net->ops->close(net);
    struct tl_net_suite_env env = {.name = "ofi", .settled = settled, .extra = extra};
    loopback_env(&env, open_node);
    return tl_net_suite_run(&env);
}
