// SPDX-License-Identifier: Apache-2.0
#include "net/suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"

static uint64_t now(const struct suite *s)
{
    return s->env->now(s->env);
}

void suite_pattern(uint8_t *out, uint32_t rank, uint64_t offset, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        uint64_t at = offset + i;
        out[i] = (uint8_t)((at * 31 + (at >> 8) * 7 + (at >> 16)) ^ (rank * 85));
    }
}

void suite_assert_pattern(const uint8_t *bytes, uint32_t rank, uint64_t offset, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        uint8_t want;
        suite_pattern(&want, rank, offset + i, 1);
        if (bytes[i] != want)
            fail_msg("byte %zu of %zu is %u, not %u", i, len, bytes[i], want);
    }
}

void suite_open(struct suite *s, uint32_t rank)
{
    struct node *n = &s->nodes[rank];
    struct tl_net_config config = s->config;
    struct tl_error err = {0};
    config.rank = rank;
    int rc = s->env->open(s->env, &config, &n->net, &err);
    if (rc != 0)
        fail_msg("node %u does not open: %d %s", rank, rc, err.msg);
    n->rank = rank;
    n->frozen = false;
    if (n->memory == NULL) {
        void *base = NULL;
        s->env->memory(s->env, SUITE_REGION_SIZE, &n->memory_fd, &base);
        n->memory = base;
        suite_pattern(n->memory, rank, 0, SUITE_LAND);
    }
    rc = n->net->ops->expose(n->net, n->memory_fd, n->memory, SUITE_REGION_SIZE, TL_REGION_SERVE | TL_REGION_LAND);
    assert_true(rc >= 0);
    n->region = (uint32_t)rc;
}

void suite_close(struct suite *s, uint32_t rank)
{
    struct node *n = &s->nodes[rank];
    if (n->net != NULL)
        n->net->ops->close(n->net);
    n->net = NULL;
}

void suite_kill(struct suite *s, uint32_t rank)
{
    struct node *n = &s->nodes[rank];
    s->env->kill(s->env, rank, n->net);
    n->net = NULL;
}

void suite_freeze(struct suite *s, uint32_t rank, bool frozen)
{
    s->nodes[rank].frozen = frozen;
    s->env->freeze(s->env, rank, frozen);
}

static void note(struct node *n, struct tl_net_event *ev)
{
    if (n->seen_count == n->seen_room) {
        n->seen_room = n->seen_room == 0 ? 64 : 2 * n->seen_room;
        n->seen = realloc(n->seen, n->seen_room * sizeof *n->seen);
        assert_non_null(n->seen);
    }
    struct seen *to = &n->seen[n->seen_count++];
    *to = (struct seen){.type = ev->type, .status = ev->status, .peer = ev->peer, .cookie = ev->cookie};
    if (ev->why != NULL)
        snprintf(to->why, sizeof to->why, "%s", ev->why);
    if (ev->type != TL_NET_MESSAGE)
        return;
    to->header_len = ev->header_len;
    to->payload_len = ev->payload_len;
    to->bytes = malloc(ev->header_len + ev->payload_len + 1);
    assert_non_null(to->bytes);
    if (ev->header_len > 0)
        memcpy(to->bytes, ev->header, ev->header_len);
    if (ev->payload_len > 0)
        memcpy(to->bytes + ev->header_len, ev->payload, ev->payload_len);
    n->net->ops->release(n->net, ev);
}

bool suite_poll(struct suite *s, uint32_t rank)
{
    struct node *n = &s->nodes[rank];
    if (n->net == NULL || n->frozen)
        return false;
    struct tl_net_event events[16];
    int count = n->net->ops->poll(n->net, events, n->poll_max, now(s));
    assert_in_range(count, 0, n->poll_max);
    for (int k = 0; k < count; k++)
        note(n, &events[k]);
    return count > 0;
}

void suite_turn(struct suite *s, uint64_t until_ns)
{
    bool again = false;
    for (uint32_t i = 0; i < TL_NET_SUITE_NODES; i++)
        again = suite_poll(s, i) || again; /* the case may have been waiting for just that event */
    for (uint32_t i = 0; i < TL_NET_SUITE_NODES; i++) {
        struct node *n = &s->nodes[i];
        uint64_t next;
        if (n->net == NULL || n->frozen)
            continue;
        again = n->net->ops->arm(n->net, &next) != 0 || again;
        until_ns = next < until_ns ? next : until_ns;
    }
    if (!again && until_ns > now(s))
        s->env->wait(s->env, until_ns);
}

void suite_pass(struct suite *s, uint64_t ns)
{
    uint64_t end = now(s) + ns;
    while (now(s) < end)
        suite_turn(s, end);
}

uint32_t suite_count(const struct suite *s, uint32_t rank, enum tl_net_event_type type)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->nodes[rank].seen_count; i++)
        count += s->nodes[rank].seen[i].type == type;
    return count;
}

void suite_until(struct suite *s, uint32_t rank, enum tl_net_event_type type, uint32_t count)
{
    uint64_t end = now(s) + SUITE_BOUND_NS;
    while (suite_count(s, rank, type) < count) {
        if (now(s) >= end)
            fail_msg("node %u saw %u of %u events of type %d", rank, suite_count(s, rank, type), count, (int)type);
        suite_turn(s, end);
    }
}

const struct seen *suite_seen(const struct suite *s, uint32_t rank, enum tl_net_event_type type, uint32_t i)
{
    const struct node *n = &s->nodes[rank];
    for (uint32_t k = 0; k < n->seen_count; k++)
        if (n->seen[k].type == type && i-- == 0)
            return &n->seen[k];
    fail_msg("node %u has not seen that event of type %d", rank, (int)type);
    return NULL;
}

struct tl_peer suite_peer(const struct suite *s, uint32_t rank, uint32_t of)
{
    const struct node *n = &s->nodes[rank];
    for (uint32_t k = n->seen_count; k > 0; k--)
        if (n->seen[k - 1].type == TL_NET_UP && n->seen[k - 1].peer.rank == of)
            return n->seen[k - 1].peer;
    fail_msg("node %u has not seen node %u up", rank, of);
    return (struct tl_peer){0};
}

static void settle(struct suite *s, uint32_t rank, uint32_t of)
{
    uint64_t end = now(s) + SUITE_BOUND_NS;
    if (s->env->settled == NULL)
        return;
    while (!s->env->settled(s->env, s->nodes[rank].net, suite_peer(s, rank, of))) {
        if (now(s) >= end)
            fail_msg("nodes %u and %u do not settle", rank, of);
        suite_turn(s, now(s) + 1000000); /* no event tells */
    }
}

void suite_link(struct suite *s, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        suite_open(s, i);
    for (uint32_t i = 1; i < count; i++) {
        struct tl_peer peer;
        assert_int_equal(s->nodes[0].net->ops->connect(s->nodes[0].net, i, now(s), &peer), 0);
        assert_int_equal(peer.rank, i);
    }
    suite_until(s, 0, TL_NET_UP, count - 1);
    for (uint32_t i = 1; i < count; i++)
        suite_until(s, i, TL_NET_UP, 1);
    for (uint32_t i = 1; i < count; i++) {
        settle(s, 0, i);
        settle(s, i, 0);
    }
}

int suite_send(struct suite *s, uint32_t rank, struct tl_peer to, const void *header, uint32_t header_len)
{
    struct tl_net *net = s->nodes[rank].net;
    return net->ops->send(net, to, header, header_len, NULL, 0);
}

int suite_read(struct suite *s, uint32_t rank, struct tl_peer from, uint64_t offset, uint64_t dst_offset, uint32_t len,
               uint64_t timeout_ns, uint64_t cookie)
{
    struct node *n = &s->nodes[rank];
    return n->net->ops->read(n->net, from, s->nodes[from.rank].region, offset, n->region, dst_offset, len,
                             now(s) + timeout_ns, cookie);
}

/* ---- running ---- */

struct running {
    struct tl_net_suite_env *env;
    const struct suite_case *what;
    struct suite s;
};

static int case_setup(void **state)
{
    struct running *r = *state;
    memset(&r->s, 0, sizeof r->s);
    r->s.env = r->env;
    r->s.config = (struct tl_net_config){
        .node_count = TL_NET_SUITE_NODES, .job_id = 42, .protocol_version = 1, .encrypt = r->env->encrypt};
    memset(r->s.config.job_key, 0x5a, sizeof r->s.config.job_key);
    for (uint32_t i = 0; i < TL_NET_SUITE_NODES; i++)
        r->s.nodes[i].poll_max = 16;
    r->env->setup(r->env);
    return 0;
}

static void case_run(void **state)
{
    struct running *r = *state;
    r->what->run(&r->s);
}

static int case_teardown(void **state)
{
    struct running *r = *state;
    for (uint32_t i = 0; i < TL_NET_SUITE_NODES; i++) {
        struct node *n = &r->s.nodes[i];
        suite_close(&r->s, i);
        for (uint32_t k = 0; k < n->seen_count; k++)
            free(n->seen[k].bytes);
        free(n->seen);
    }
    r->env->teardown(r->env);
    return 0;
}

int tl_net_suite_run(struct tl_net_suite_env *env)
{
    enum { CASES_MAX = 64, NAME_MAX_LEN = 160 };
    static struct CMUnitTest tests[CASES_MAX];
    static struct running running[CASES_MAX];
    static char names[CASES_MAX][NAME_MAX_LEN];
    const struct suite_case none = {0}, *extra = env->extra != NULL ? env->extra : &none;
    const struct suite_case *groups[] = {suite_message_cases, suite_read_cases, suite_life_cases, suite_identity_cases,
                                         extra};
    size_t count = 0;
    for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++) {
        for (const struct suite_case *c = groups[g]; c->name != NULL; c++) {
            if (c->identity && !env->checks_identity)
                continue;
            assert_true(count < CASES_MAX);
            snprintf(names[count], NAME_MAX_LEN, "%s: %s", env->name, c->name);
            running[count] = (struct running){.env = env, .what = c};
            tests[count] = (struct CMUnitTest){.name = names[count],
                                               .test_func = case_run,
                                               .setup_func = case_setup,
                                               .teardown_func = case_teardown,
                                               .initial_state = &running[count]};
            count++;
        }
    }
    return _cmocka_run_group_tests(env->name, tests, count, NULL, NULL);
}
