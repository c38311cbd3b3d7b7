// SPDX-License-Identifier: Apache-2.0
/* Connections: both at once, dropped, killed, renewed; and peers that must not get in. */
#include <errno.h>
#include <string.h>

#include "base/prng.h"
#include "net/suite.h"

#define SECOND 1000000000ull

static struct tl_peer dial(struct suite *s, uint32_t from, uint32_t to)
{
    struct tl_net *net = s->nodes[from].net;
    struct tl_peer peer;
    assert_int_equal(net->ops->connect(net, to, s->env->now(s->env), &peer), 0);
    assert_int_equal(peer.rank, to);
    return peer;
}

static void assert_talk(struct suite *s, uint32_t a, uint32_t b)
{
    uint32_t had = suite_count(s, b, TL_NET_MESSAGE);
    assert_int_equal(suite_send(s, a, suite_peer(s, a, b), "hello", 5), 0);
    suite_until(s, b, TL_NET_MESSAGE, had + 1);
    had = suite_count(s, a, TL_NET_MESSAGE);
    assert_int_equal(suite_send(s, b, suite_peer(s, b, a), "hello", 5), 0);
    suite_until(s, a, TL_NET_MESSAGE, had + 1);
}

static void wrong_ranks_are_refused(struct suite *s)
{
    suite_link(s, 2);
    struct tl_net *net = s->nodes[0].net;
    struct tl_peer peer;
    uint64_t now = s->env->now(s->env);
    assert_int_equal(net->ops->connect(net, 0, now, &peer), -EINVAL);
    assert_int_equal(net->ops->connect(net, TL_NET_SUITE_NODES, now, &peer), -EINVAL);
    assert_int_equal(net->ops->connect(net, 1, now, &peer), -EALREADY);
    assert_int_equal(net->ops->drop(net, (struct tl_peer){.rank = 2, .gen = 1}), -ENOTCONN);
}

static void both_dial_at_once(struct suite *s)
{
    for (uint32_t i = 0; i < 3; i++)
        suite_open(s, i);
    struct tl_peer handles[3][3];
    for (uint32_t a = 0; a < 3; a++)
        for (uint32_t b = 0; b < 3; b++)
            if (a != b)
                handles[a][b] = dial(s, a, b);
    for (uint32_t i = 0; i < 3; i++)
        suite_until(s, i, TL_NET_UP, 2);
    suite_pass(s, SECOND / 5);
    for (uint32_t a = 0; a < 3; a++) {
        assert_int_equal(suite_count(s, a, TL_NET_UP), 2);
        assert_int_equal(suite_count(s, a, TL_NET_DOWN), 0);
        for (uint32_t b = 0; b < 3; b++)
            if (a != b)
                assert_int_equal(suite_peer(s, a, b).gen, handles[a][b].gen);
    }
    assert_talk(s, 0, 1);
    assert_talk(s, 1, 2);
    assert_talk(s, 2, 0);
}

/* Steps of single nodes in an order drawn by the round. */
static void stagger(struct suite *s, uint32_t round, uint32_t from, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t rank = (uint32_t)tl_prng_scale(tl_prng_draw(1, round, from, i, 0), 2);
        uint64_t next;
        suite_poll(s, rank);
        s->nodes[rank].net->ops->arm(s->nodes[rank].net, &next);
    }
}

static void dials_cross_in_every_order(struct suite *s)
{
    enum { ROUNDS = 60 };
    suite_open(s, 0);
    suite_open(s, 1);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct tl_net *nets[2] = {s->nodes[0].net, s->nodes[1].net};
        struct tl_peer handles[2];
        uint32_t first = round % 2;
        handles[first] = dial(s, first, 1 - first);
        stagger(s, round, 0, round / 2 % 6);
        int rc = nets[1 - first]->ops->connect(nets[1 - first], first, s->env->now(s->env), &handles[1 - first]);
        assert_true(rc == 0 || rc == -EALREADY);
        stagger(s, round, 1, 12);
        for (uint32_t i = 0; i < 2; i++)
            suite_until(s, i, TL_NET_UP, round + 1);
        suite_pass(s, SECOND / 500);
        for (uint32_t i = 0; i < 2; i++) {
            assert_int_equal(suite_count(s, i, TL_NET_UP), round + 1);
            assert_int_equal(suite_count(s, i, TL_NET_DOWN), round);
            if (i == first || rc == 0)
                assert_int_equal(suite_peer(s, i, 1 - i).gen, handles[i].gen);
        }
        assert_talk(s, 0, 1);
        assert_int_equal(nets[0]->ops->drop(nets[0], suite_peer(s, 0, 1)), 0);
        for (uint32_t i = 0; i < 2; i++)
            suite_until(s, i, TL_NET_DOWN, round + 1);
    }
}

static void nobody_listens(struct suite *s)
{
    suite_open(s, 0);
    struct tl_peer peer = dial(s, 0, 1);
    suite_until(s, 0, TL_NET_DOWN, 1);
    const struct seen *down = suite_seen(s, 0, TL_NET_DOWN, 0);
    assert_true(down->status < 0);
    assert_int_equal(down->peer.gen, peer.gen);
    assert_int_equal(suite_count(s, 0, TL_NET_UP), 0);
    suite_open(s, 1);
    assert_int_not_equal(dial(s, 0, 1).gen, peer.gen);
    suite_until(s, 0, TL_NET_UP, 1);
    suite_until(s, 1, TL_NET_UP, 1);
    assert_talk(s, 0, 1);
}

/* Node 0 has reads and payloads outstanding at the stopped node 1. Returns how many of each. */
static uint32_t load_up(struct suite *s, struct tl_peer peer)
{
    enum { COUNT = 20 };
    struct node *n = &s->nodes[0];
    suite_freeze(s, 1, true);
    for (uint32_t i = 0; i < COUNT; i++) {
        struct tl_net_payload payload = {.region = n->region, .offset = i, .len = 1000};
        assert_int_equal(n->net->ops->send(n->net, peer, "x", 1, &payload, 100 + i), 0);
        uint64_t to = SUITE_LAND + (uint64_t)i * 70000;
        assert_int_equal(suite_read(s, 0, peer, 0, to, 70000, 15 * SECOND, 200 + i), 0);
    }
    return COUNT;
}

/* All of it ended, once each, before the one DOWN. */
static void assert_all_ended(const struct suite *s, uint32_t count)
{
    const struct node *n = &s->nodes[0];
    uint32_t ended[400] = {0};
    assert_int_equal(suite_count(s, 0, TL_NET_SENT), count);
    assert_int_equal(suite_count(s, 0, TL_NET_READ), count);
    assert_int_equal(suite_count(s, 0, TL_NET_DOWN), 1);
    for (uint32_t i = 0; i < n->seen_count; i++) {
        const struct seen *e = &n->seen[i];
        if (e->type == TL_NET_DOWN)
            assert_int_equal(i, n->seen_count - 1);
        if (e->type != TL_NET_SENT && e->type != TL_NET_READ)
            continue;
        assert_in_range(e->cookie, 100, 399);
        assert_int_equal(ended[e->cookie]++, 0);
        if (e->type == TL_NET_READ)
            assert_true(e->status < 0);
    }
}

static void drop_cancels_everything(struct suite *s)
{
    suite_link(s, 2);
    struct tl_peer peer = suite_peer(s, 0, 1);
    uint32_t count = load_up(s, peer);
    struct tl_net *net = s->nodes[0].net;
    assert_int_equal(net->ops->drop(net, peer), 0);
    assert_int_equal(net->ops->drop(net, peer), -ENOTCONN);
    suite_until(s, 0, TL_NET_DOWN, 1);
    assert_all_ended(s, count);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(suite_seen(s, 0, TL_NET_READ, i)->status, -ECANCELED);
    assert_int_equal(net->ops->retract(net, s->nodes[0].region), 0);
    suite_freeze(s, 1, false);
    suite_until(s, 1, TL_NET_DOWN, 1);
}

static void dead_peer_ends_everything(struct suite *s)
{
    suite_link(s, 2);
    uint32_t count = load_up(s, suite_peer(s, 0, 1));
    suite_pass(s, SECOND / 50);
    suite_kill(s, 1);
    suite_until(s, 0, TL_NET_DOWN, 1);
    assert_all_ended(s, count);
    suite_pass(s, SECOND / 20);
    assert_all_ended(s, count);
    assert_int_equal(s->nodes[0].net->ops->retract(s->nodes[0].net, s->nodes[0].region), 0);
}

static void restarted_peer_is_a_new_one(struct suite *s)
{
    suite_link(s, 2);
    struct tl_peer old = suite_peer(s, 0, 1);
    assert_int_equal(suite_send(s, 1, suite_peer(s, 1, 0), "last words", 10), 0);
    suite_kill(s, 1);
    s->nodes[1].seen_count = 0;
    suite_open(s, 1);
    struct tl_peer zero = dial(s, 1, 0);
    suite_until(s, 1, TL_NET_UP, 1);
    suite_until(s, 0, TL_NET_UP, 2);
    assert_int_equal(suite_peer(s, 1, 0).gen, zero.gen);
    struct tl_peer renewed = suite_peer(s, 0, 1);
    assert_int_not_equal(renewed.gen, old.gen);
    assert_int_equal(suite_count(s, 0, TL_NET_DOWN), 1);
    assert_int_equal(suite_seen(s, 0, TL_NET_DOWN, 0)->peer.gen, old.gen);
    assert_int_equal(suite_send(s, 0, old, "x", 1), -ENOTCONN);
    assert_int_equal(suite_read(s, 0, old, 0, SUITE_LAND, 1, SECOND, 1), -ENOTCONN);
    assert_talk(s, 0, 1);
}

static void old_events_never_come_late(struct suite *s)
{
    suite_link(s, 2);
    struct tl_net *net = s->nodes[0].net;
    for (uint32_t round = 0; round < 5; round++) {
        struct tl_peer peer = suite_peer(s, 0, 1), back = suite_peer(s, 1, 0);
        for (uint32_t i = 0; i < 10; i++) {
            assert_int_equal(suite_send(s, 0, peer, "a", 1), 0);
            assert_int_equal(suite_send(s, 1, back, "b", 1), 0);
            assert_int_equal(suite_read(s, 0, peer, 0, SUITE_LAND, 50000, 10 * SECOND, i), 0);
        }
        for (uint32_t i = 0; i < round; i++)
            suite_turn(s, s->env->now(s->env));
        assert_int_equal(net->ops->drop(net, peer), 0);
        suite_until(s, 1, TL_NET_DOWN, round + 1);
        dial(s, 0, 1);
        suite_until(s, 0, TL_NET_UP, round + 2);
        suite_until(s, 1, TL_NET_UP, round + 2);
    }
    for (uint32_t rank = 0; rank < 2; rank++) {
        const struct node *n = &s->nodes[rank];
        uint32_t live = 0; /* gen that is up, 0: none */
        for (uint32_t i = 0; i < n->seen_count; i++) {
            const struct seen *e = &n->seen[i];
            if (e->type == TL_NET_UP)
                assert_int_equal(live, 0);
            else
                assert_int_equal(live, e->peer.gen);
            live = e->type == TL_NET_DOWN ? 0 : e->peer.gen;
        }
    }
}

static void idle_nodes_sleep(struct suite *s)
{
    suite_link(s, 3);
    suite_pass(s, SECOND / 10);
    for (uint32_t i = 0; i < 3; i++) {
        struct tl_net *net = s->nodes[i].net;
        struct tl_net_event ev;
        uint64_t next = 0;
        assert_int_equal(net->ops->poll(net, &ev, 1, s->env->now(s->env)), 0);
        assert_int_equal(net->ops->arm(net, &next), 0);
        assert_true(next >= s->env->now(s->env) + SECOND / 2);
    }
}

const struct suite_case suite_life_cases[] = {
    {"connecting to oneself, to nobody, or twice is refused", wrong_ranks_are_refused, false},
    {"when all dial each other at once exactly one connection a pair survives", both_dial_at_once, false},
    {"dials that cross in any order leave exactly one connection", dials_cross_in_every_order, false},
    {"a peer that does not listen gives DOWN, and UP later", nobody_listens, false},
    {"drop ends everything outstanding before DOWN", drop_cancels_everything, false},
    {"a dead peer ends everything outstanding before DOWN", dead_peer_ends_everything, false},
    {"a restarted peer comes with a new gen", restarted_peer_is_a_new_one, false},
    {"events of an old gen never come after its DOWN", old_events_never_come_late, false},
    {"idle nodes have nothing to do", idle_nodes_sleep, false},
    {NULL, NULL, false},
};

/* ---- identity ---- */

/* Node 1 is open with another config; node 0's dial, then node 1's, is refused like this. */
static void assert_refused(struct suite *s, int status, const char *word)
{
    for (uint32_t a = 0; a < 2; a++) {
        struct tl_peer peer = dial(s, a, 1 - a);
        suite_until(s, a, TL_NET_DOWN, 1);
        const struct seen *down = suite_seen(s, a, TL_NET_DOWN, 0);
        assert_int_equal(down->status, status);
        assert_int_equal(down->peer.gen, peer.gen);
        assert_non_null(strstr(down->why, word));
    }
    suite_pass(s, SECOND / 10);
    for (uint32_t a = 0; a < 2; a++) {
        assert_int_equal(suite_count(s, a, TL_NET_UP), 0);
        assert_int_equal(suite_count(s, a, TL_NET_DOWN), 1);
    }
}

static void wrong_key(struct suite *s)
{
    suite_open(s, 0);
    s->config.job_key[31] ^= 1;
    suite_open(s, 1);
    assert_refused(s, -EKEYREJECTED, "key");
    struct tl_net_stats a, b;
    s->nodes[0].net->ops->stats(s->nodes[0].net, &a);
    s->nodes[1].net->ops->stats(s->nodes[1].net, &b);
    assert_true(a.auth_failures > 0 && b.auth_failures > 0);
}

static void other_version(struct suite *s)
{
    suite_open(s, 0);
    s->config.protocol_version = 7;
    suite_open(s, 1);
    assert_refused(s, -EPROTO, "version");
    assert_non_null(strstr(suite_seen(s, 0, TL_NET_DOWN, 0)->why, "7"));
    struct tl_net_stats a;
    s->nodes[0].net->ops->stats(s->nodes[0].net, &a);
    assert_true(a.version_mismatches > 0);
}

static void other_job(struct suite *s)
{
    suite_open(s, 0);
    s->config.job_id = 43;
    suite_open(s, 1);
    assert_refused(s, -EPROTO, "node list");
}

static void encrypt_mismatch(struct suite *s)
{
    suite_open(s, 0);
    s->config.encrypt = !s->config.encrypt;
    suite_open(s, 1);
    assert_refused(s, -EPROTO, "encrypt");
}

const struct suite_case suite_identity_cases[] = {
    {"a peer with another key is refused, both ways, with a sentence", wrong_key, true},
    {"a peer of another version is refused, both ways, with both versions", other_version, true},
    {"a peer of another job is refused", other_job, true},
    {"a peer that encrypts and one that does not refuse each other", encrypt_mismatch, true},
    {NULL, NULL, false},
};
