// SPDX-License-Identifier: Apache-2.0
/* Bulk: reads of all sizes, refusals, deadlines, regions. */
#include <errno.h>
#include <string.h>

#include "net/suite.h"

#define SECOND 1000000000ull

static void reads_of_all_sizes(struct suite *s)
{
    suite_link(s, 2);
    struct tl_peer from = suite_peer(s, 0, 1);
    static const uint32_t sizes[] = {
        1,      2,      31,     4095,    4096,    4097,    16383,         16384,   16385,        65536,
        262143, 262144, 262145, 1000001, 1 << 20, 3 << 20, (3 << 20) + 7, 8 << 20, (8 << 20) - 1};
    uint8_t *land = s->nodes[0].memory + SUITE_LAND;
    for (uint32_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint32_t len = sizes[i], offset = 4093 * i + 1, to = 13 * i;
        memset(land, 0xee, to + len + 16);
        assert_int_equal(suite_read(s, 0, from, offset, SUITE_LAND + to, len, 10 * SECOND, i), 0);
        suite_until(s, 0, TL_NET_READ, i + 1);
        const struct seen *r = suite_seen(s, 0, TL_NET_READ, i);
        assert_int_equal(r->status, 0);
        assert_int_equal(r->cookie, i);
        suite_assert_pattern(land + to, 1, offset, len);
        for (uint32_t k = 0; k < to; k++)
            assert_int_equal(land[k], 0xee);
        for (uint32_t k = to + len; k < to + len + 16; k++)
            assert_int_equal(land[k], 0xee);
    }
}

static void many_reads_at_once(struct suite *s)
{
    suite_link(s, 3);
    enum { EACH = 60, LEN = 40000 };
    /* Node 0 reads from both others while node 1 reads from it. */
    for (uint32_t i = 0; i < EACH; i++) {
        uint64_t to = SUITE_LAND + (uint64_t)i * LEN;
        assert_int_equal(suite_read(s, 0, suite_peer(s, 0, 1), i * 777, to, LEN, 10 * SECOND, i), 0);
        to += (uint64_t)EACH * LEN;
        assert_int_equal(suite_read(s, 0, suite_peer(s, 0, 2), i * 999, to, LEN, 10 * SECOND, 1000 + i), 0);
        assert_int_equal(suite_read(s, 1, suite_peer(s, 1, 0), i * 555, to, LEN, 10 * SECOND, i), 0);
    }
    suite_until(s, 0, TL_NET_READ, 2 * EACH);
    suite_until(s, 1, TL_NET_READ, EACH);
    bool done[2000] = {false};
    for (uint32_t i = 0; i < 2 * EACH; i++) {
        const struct seen *r = suite_seen(s, 0, TL_NET_READ, i);
        assert_int_equal(r->status, 0);
        assert_true(r->cookie < 2000 && !done[r->cookie]);
        done[r->cookie] = true;
    }
    for (uint32_t i = 0; i < EACH; i++) {
        size_t at = SUITE_LAND + (size_t)i * LEN, second = at + (size_t)EACH * LEN;
        suite_assert_pattern(s->nodes[0].memory + at, 1, i * 777, LEN);
        suite_assert_pattern(s->nodes[0].memory + second, 2, i * 999, LEN);
        suite_assert_pattern(s->nodes[1].memory + second, 0, i * 555, LEN);
    }
}

static void messages_pass_bulk(struct suite *s)
{
    suite_link(s, 2);
    struct tl_peer one = suite_peer(s, 0, 1), zero = suite_peer(s, 1, 0);
    assert_int_equal(suite_read(s, 0, one, 0, SUITE_LAND, 8 << 20, 10 * SECOND, 1), 0);
    for (uint32_t i = 0; i < 30; i++) {
        assert_int_equal(suite_send(s, 1, zero, "down", 4), 0);
        assert_int_equal(suite_send(s, 0, one, "up", 2), 0);
        suite_turn(s, s->env->now(s->env));
    }
    suite_until(s, 0, TL_NET_READ, 1);
    suite_until(s, 0, TL_NET_MESSAGE, 30);
    suite_until(s, 1, TL_NET_MESSAGE, 30);
    suite_assert_pattern(s->nodes[0].memory + SUITE_LAND, 1, 0, 8 << 20);
}

static void out_of_bounds_is_refused(struct suite *s)
{
    suite_link(s, 2);
    struct node *n = &s->nodes[0];
    struct tl_peer from = suite_peer(s, 0, 1);
    uint64_t deadline = s->env->now(s->env) + 10 * SECOND;
    /* Ours: at once. */
    assert_int_equal(suite_read(s, 0, from, 0, SUITE_REGION_SIZE - 10, 11, SECOND, 0), -EINVAL);
    assert_int_equal(suite_read(s, 0, from, 0, SUITE_LAND, 0, SECOND, 0), -EINVAL);
    assert_int_equal(n->net->ops->read(n->net, from, 0, 0, 77, 0, 1, deadline, 0), -EINVAL);
    /* Theirs: by its answer. */
    assert_int_equal(suite_read(s, 0, from, SUITE_REGION_SIZE - 10, SUITE_LAND, 11, 10 * SECOND, 1), 0);
    assert_int_equal(suite_read(s, 0, from, UINT64_MAX - 5, SUITE_LAND, 11, 10 * SECOND, 2), 0);
    assert_int_equal(n->net->ops->read(n->net, from, 99, 0, n->region, SUITE_LAND, 1, deadline, 3), 0);
    suite_until(s, 0, TL_NET_READ, 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(suite_seen(s, 0, TL_NET_READ, i)->status, -EINVAL);
    assert_int_equal(suite_read(s, 0, from, SUITE_REGION_SIZE - 10, SUITE_LAND, 10, 10 * SECOND, 4), 0);
    suite_until(s, 0, TL_NET_READ, 4);
    assert_int_equal(suite_seen(s, 0, TL_NET_READ, 3)->status, 0);
    assert_int_equal(suite_count(s, 0, TL_NET_DOWN), 0);
}

static void flags_of_a_region_are_kept(struct suite *s)
{
    suite_link(s, 2);
    struct node *n = &s->nodes[0];
    struct tl_peer from = suite_peer(s, 0, 1);
    uint64_t deadline = s->env->now(s->env) + 10 * SECOND;
    int fd;
    void *base;
    s->env->memory(s->env, 65536, &fd, &base);
    struct tl_net *other = s->nodes[1].net;
    int land = other->ops->expose(other, fd, base, 65536, TL_REGION_LAND);
    int serve = n->net->ops->expose(n->net, fd, base, 65536, TL_REGION_SERVE);
    assert_true(land > 0 && serve > 0);
    assert_int_equal(n->net->ops->read(n->net, from, n->region, 0, (uint32_t)serve, 0, 1, deadline, 0), -EINVAL);
    assert_int_equal(n->net->ops->read(n->net, from, (uint32_t)land, 0, n->region, SUITE_LAND, 1, deadline, 7), 0);
    suite_until(s, 0, TL_NET_READ, 1);
    assert_int_equal(suite_seen(s, 0, TL_NET_READ, 0)->status, -EACCES);
    assert_int_equal(suite_count(s, 0, TL_NET_DOWN), 0);
}

static void deadline_of_a_stopped_peer(struct suite *s)
{
    suite_link(s, 2);
    struct tl_peer from = suite_peer(s, 0, 1);
    suite_freeze(s, 1, true);
    uint64_t start = s->env->now(s->env);
    assert_int_equal(suite_read(s, 0, from, 0, SUITE_LAND, 8 << 20, SECOND / 5, 5), 0);
    suite_until(s, 0, TL_NET_READ, 1);
    assert_int_equal(suite_seen(s, 0, TL_NET_READ, 0)->status, -ETIMEDOUT);
    assert_true(s->env->now(s->env) >= start + SECOND / 5);
    assert_true(s->env->now(s->env) < start + 10 * SECOND);
    /* The landing bytes are ours again, whatever the peer does when it wakes. */
    memset(s->nodes[0].memory + SUITE_LAND, 0xee, 8 << 20);
    suite_freeze(s, 1, false);
    suite_pass(s, SECOND / 5);
    for (uint32_t i = 0; i < 8 << 20; i++)
        if (s->nodes[0].memory[SUITE_LAND + i] != 0xee)
            fail_msg("byte %u was written after the READ had failed", i);
    if (suite_count(s, 0, TL_NET_DOWN) > 0)
        return; /* allowed: the transport closed the connection to be sure */
    assert_int_equal(suite_read(s, 0, from, 12345, SUITE_LAND, 100000, 10 * SECOND, 6), 0);
    suite_until(s, 0, TL_NET_READ, 2);
    assert_int_equal(suite_seen(s, 0, TL_NET_READ, 1)->status, 0);
    suite_assert_pattern(s->nodes[0].memory + SUITE_LAND, 1, 12345, 100000);
}

static void region_in_use_stays(struct suite *s)
{
    suite_link(s, 2);
    struct node *n = &s->nodes[0];
    suite_freeze(s, 1, true);
    assert_int_equal(suite_read(s, 0, suite_peer(s, 0, 1), 0, SUITE_LAND, 1 << 20, 10 * SECOND, 5), 0);
    assert_int_equal(n->net->ops->retract(n->net, n->region), -EBUSY);
    suite_freeze(s, 1, false);
    suite_until(s, 0, TL_NET_READ, 1);
    assert_int_equal(n->net->ops->retract(n->net, n->region), 0);
    assert_int_equal(n->net->ops->retract(n->net, n->region), -EINVAL);
    /* A peer that still reads it is told so. */
    assert_int_equal(suite_read(s, 1, suite_peer(s, 1, 0), 0, SUITE_LAND, 4096, 10 * SECOND, 6), 0);
    suite_until(s, 1, TL_NET_READ, 1);
    assert_int_equal(suite_seen(s, 1, TL_NET_READ, 0)->status, -EINVAL);
}

static void a_slow_peer_does_not_hold_up_another(struct suite *s)
{
    suite_link(s, 3);
    suite_freeze(s, 1, true);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(suite_read(s, 0, suite_peer(s, 0, 1), 0, SUITE_LAND + i * 100000, 100000, 15 * SECOND, i), 0);
    assert_int_equal(suite_read(s, 0, suite_peer(s, 0, 2), 1, SUITE_LAND + (5 << 20), 1 << 20, 15 * SECOND, 99), 0);
    suite_until(s, 0, TL_NET_READ, 1);
    assert_int_equal(suite_seen(s, 0, TL_NET_READ, 0)->cookie, 99);
    suite_freeze(s, 1, false);
    suite_until(s, 0, TL_NET_READ, 9);
    for (uint32_t i = 0; i < 9; i++)
        assert_int_equal(suite_seen(s, 0, TL_NET_READ, i)->status, 0);
}

const struct suite_case suite_read_cases[] = {
    {"reads of 1 byte to 8 MiB at odd offsets land exactly", reads_of_all_sizes, false},
    {"many reads at once end once each, with the right bytes", many_reads_at_once, false},
    {"messages and bulk share a connection", messages_pass_bulk, false},
    {"a read out of bounds is refused and the connection stays", out_of_bounds_is_refused, false},
    {"a region is read and landed in only as its flags allow", flags_of_a_region_are_kept, false},
    {"a read of a stopped peer ends at its deadline and never lands later", deadline_of_a_stopped_peer, false},
    {"a region in use is not retracted", region_in_use_stays, false},
    {"a stopped peer does not hold up reads of another", a_slow_peer_does_not_hold_up_another, false},
    {NULL, NULL, false},
};
