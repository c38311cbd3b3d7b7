// SPDX-License-Identifier: Apache-2.0
/* Messages: order, sizes, payloads, back-pressure. */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "net/suite.h"

static void order_is_kept(struct suite *s)
{
    suite_link(s, 2);
    enum { COUNT = 600 };
    struct tl_peer to[2] = {suite_peer(s, 0, 1), suite_peer(s, 1, 0)};
    uint32_t sent[2] = {0, 0};
    uint8_t header[2000] = {0};
    while (sent[0] < COUNT || sent[1] < COUNT) {
        for (uint32_t from = 0; from < 2; from++) {
            for (int burst = 0; burst < 37 && sent[from] < COUNT; burst++) {
                tl_put_u32(header, sent[from]);
                int rc = suite_send(s, from, to[from], header, 4 + sent[from] * 7 % 1990);
                assert_true(rc == 0 || rc == -EAGAIN);
                if (rc != 0)
                    break;
                sent[from]++;
            }
        }
        suite_turn(s, s->env->now(s->env) + 1000000);
    }
    for (uint32_t at = 0; at < 2; at++) {
        suite_until(s, at, TL_NET_MESSAGE, COUNT);
        for (uint32_t i = 0; i < COUNT; i++) {
            const struct seen *m = suite_seen(s, at, TL_NET_MESSAGE, i);
            assert_int_equal(m->header_len, 4 + i * 7 % 1990);
            assert_int_equal(tl_get_u32(m->bytes), i);
            assert_int_equal(m->peer.rank, 1 - at);
            assert_int_equal(m->peer.gen, to[at].gen);
        }
    }
}

/* Sends header_len and payload_len bytes from node 0 to node 1 and compares what arrives as message number i. */
static void one_size(struct suite *s, uint32_t i, uint32_t header_len, uint32_t payload_len)
{
    struct node *n = &s->nodes[0];
    static uint8_t header[TL_MSG_HEADER_MAX];
    suite_pattern(header, 9, i, header_len);
    struct tl_net_payload payload = {.region = n->region, .offset = i, .len = payload_len};
    struct tl_peer to = suite_peer(s, 0, 1);
    assert_int_equal(n->net->ops->send(n->net, to, header, header_len, &payload, 1000 + i), 0);
    suite_until(s, 0, TL_NET_SENT, i + 1);
    suite_until(s, 1, TL_NET_MESSAGE, i + 1);
    const struct seen *sent = suite_seen(s, 0, TL_NET_SENT, i), *m = suite_seen(s, 1, TL_NET_MESSAGE, i);
    assert_int_equal(sent->status, 0);
    assert_int_equal(sent->cookie, 1000 + i);
    assert_int_equal(m->header_len, header_len);
    assert_int_equal(m->payload_len, payload_len);
    suite_assert_pattern(m->bytes, 9, i, header_len);
    suite_assert_pattern(m->bytes + header_len, 0, i, payload_len);
}

static void all_sizes_pass(struct suite *s)
{
    suite_link(s, 2);
    static const uint32_t sizes[][2] = {
        {1, 0},
        {0, 1},
        {0, 0},
        {1, 1},
        {31, 33},
        {100, 4096},
        {4095, 0},
        {8192, 0},
        {8192, 1},
        {8191, 57345},
        {0, 65535},
        {0, 65536},
        {8192, 65536 - 8192},
        {64, 49152},
        {17, 16384},
        {3, 8193},
        {1, 65535},
        {5, 262},
        {200, 65336},
        {2, 2},
    };
    for (uint32_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        one_size(s, i, sizes[i][0], sizes[i][1]);
    assert_int_equal(suite_count(s, 0, TL_NET_SENT), sizeof sizes / sizeof sizes[0]);
}

static void too_much_is_refused(struct suite *s)
{
    suite_link(s, 2);
    struct node *n = &s->nodes[0];
    struct tl_peer to = suite_peer(s, 0, 1), stale = to;
    static uint8_t header[TL_MSG_HEADER_MAX + 1];
    struct tl_net_payload payload = {.region = n->region, .len = TL_MSG_SIZE_MAX};
    assert_int_equal(suite_send(s, 0, to, header, TL_MSG_HEADER_MAX + 1), -EMSGSIZE);
    assert_int_equal(n->net->ops->send(n->net, to, header, 1, &payload, 0), -EMSGSIZE);
    stale.gen += 1;
    assert_int_equal(suite_send(s, 0, stale, header, 1), -ENOTCONN);
    stale = (struct tl_peer){.rank = 2, .gen = 1};
    assert_int_equal(suite_send(s, 0, stale, header, 1), -ENOTCONN);
    stale.rank = 1000000;
    assert_int_equal(suite_send(s, 0, stale, header, 1), -ENOTCONN);
    assert_int_equal(suite_send(s, 0, to, header, 1), 0);
    suite_until(s, 1, TL_NET_MESSAGE, 1);
}

static void full_queue_asks_to_wait(struct suite *s)
{
    suite_link(s, 2);
    struct tl_peer to = suite_peer(s, 0, 1);
    suite_freeze(s, 1, true);
    enum { TRIES = 100000 };
    static uint8_t header[TL_MSG_HEADER_MAX];
    uint32_t sent = 0;
    int rc = 0;
    /* What the network itself can hold comes to the queue's limit, too. */
    for (; sent < TRIES; sent++) {
        tl_put_u32(header, sent);
        rc = suite_send(s, 0, to, header, sizeof header);
        if (rc != 0)
            break;
        suite_turn(s, s->env->now(s->env));
    }
    assert_int_equal(rc, -EAGAIN);
    suite_pass(s, 10000000);
    uint32_t writable = suite_count(s, 0, TL_NET_WRITABLE);
    suite_freeze(s, 1, false);
    suite_until(s, 0, TL_NET_WRITABLE, writable + 1);
    tl_put_u32(header, sent++);
    assert_int_equal(suite_send(s, 0, to, header, 4), 0);
    suite_until(s, 1, TL_NET_MESSAGE, sent);
    for (uint32_t i = 0; i < sent; i++)
        assert_int_equal(tl_get_u32(suite_seen(s, 1, TL_NET_MESSAGE, i)->bytes), i);
}

static void senders_do_not_mix(struct suite *s)
{
    suite_link(s, 3);
    enum { COUNT = 50 };
    for (uint32_t i = 0; i < COUNT; i++) {
        for (uint32_t from = 1; from < 3; from++) {
            uint8_t header[8];
            tl_put_u32(header, from);
            tl_put_u32(header + 4, i);
            assert_int_equal(suite_send(s, from, suite_peer(s, from, 0), header, 8), 0);
        }
    }
    suite_until(s, 0, TL_NET_MESSAGE, 2 * COUNT);
    uint32_t next[3] = {0};
    for (uint32_t i = 0; i < 2 * COUNT; i++) {
        const struct seen *m = suite_seen(s, 0, TL_NET_MESSAGE, i);
        assert_int_equal(m->peer.rank, tl_get_u32(m->bytes));
        assert_int_equal(tl_get_u32(m->bytes + 4), next[m->peer.rank]++);
    }
}

static void one_event_at_a_time(struct suite *s)
{
    s->nodes[0].poll_max = s->nodes[1].poll_max = 1;
    suite_link(s, 2);
    for (uint32_t i = 0; i < 20; i++) {
        uint8_t header[4];
        tl_put_u32(header, i);
        assert_int_equal(suite_send(s, 0, suite_peer(s, 0, 1), header, 4), 0);
    }
    suite_until(s, 1, TL_NET_MESSAGE, 20);
    for (uint32_t i = 0; i < 20; i++)
        assert_int_equal(tl_get_u32(suite_seen(s, 1, TL_NET_MESSAGE, i)->bytes), i);
}

static void counters_count(struct suite *s)
{
    suite_link(s, 2);
    one_size(s, 0, 10, 90);
    struct tl_net_stats a, b;
    s->nodes[0].net->ops->stats(s->nodes[0].net, &a);
    s->nodes[1].net->ops->stats(s->nodes[1].net, &b);
    assert_int_equal(a.messages_sent, 1);
    assert_int_equal(a.bytes_sent, 100);
    assert_int_equal(b.messages_received, 1);
    assert_int_equal(b.bytes_received, 100);
    assert_int_equal(a.connects, 1);
    assert_int_equal(b.auth_failures + b.bad_frames + b.version_mismatches, 0);
}

const struct suite_case suite_message_cases[] = {
    {"messages arrive in order, both ways", order_is_kept, false},
    {"messages of all sizes arrive whole, each payload is given back once", all_sizes_pass, false},
    {"messages that are too large, and unknown peers, are refused", too_much_is_refused, false},
    {"a full queue says EAGAIN, then WRITABLE, and loses nothing", full_queue_asks_to_wait, false},
    {"messages of two peers keep apart", senders_do_not_mix, false},
    {"a poll for one event at a time loses nothing", one_event_at_a_time, false},
    {"counters count messages and bytes", counters_count, false},
    {NULL, NULL, false},
};
