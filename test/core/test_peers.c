// SPDX-License-Identifier: Apache-2.0
/* Neighbours that are silent, slow, or break the rules; lost messages; clocks that jump; floods that meet them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "core/world.h"

/* ---- messages ---- */

static bool lose_type(struct world *w, uint32_t from, uint32_t to, const struct tl_wire *m, uint8_t *payload)
{
    (void)from;
    (void)to;
    (void)payload;
    return w->hook_left >> (uint32_t)m->type & 1 && tl_prng_mix(w->sent[m->type]) % 3 == 0;
}

static void any_message_may_be_lost(void **state)
{
    (void)state;
    for (uint32_t type = TL_WIRE_HELLO; type <= TL_WIRE_FLOODED + 1u; type++) {
        struct world *w = world_new(7, 2);
        w->lose = lose_type;
        w->hook_left = type <= TL_WIRE_FLOODED ? 1u << type : UINT32_MAX; /* the last time: of all kinds */
        uint32_t f = world_file(w, "/a", 5 * CHUNK), d = world_directory(w, "/");
        for (uint32_t rank = 0; rank < 7; rank++)
            world_start(w, rank);
        world_run(w, 5 * S);
        for (uint32_t i = 0; i < 60; i++) {
            ask_read(w, i % 7, f, i * 999 % 5 * CHUNK, TL_CHUNK_SIZE);
            ask_list(w, i % 7, d);
            world_run(w, 3 * S);
            if (i % 20 == 10)
                ask_flush(w, 3, NULL);
        }
        world_run(w, 120 * S);
        world_check_answered(w);
        for (uint32_t i = 0; i < w->asked_count; i++)
            assert_true(w->asked[i].operator_ || w->asked[i].status == 0);
        w->hook_left = 0;
        world_run(w, 120 * S);
        for (uint32_t rank = 0; rank < 7; rank++)
            assert_true(tl_node_ready(w->hosts[rank].node));
        world_end(w);
    }
}

static bool lose_first_join(struct world *w, uint32_t from, uint32_t to, const struct tl_wire *m, uint8_t *payload)
{
    (void)from;
    (void)to;
    (void)payload;
    return m->type == TL_WIRE_JOIN && w->hook_left > 0 && w->hook_left-- > 0;
}

static void a_join_that_was_lost_is_said_again(void **state)
{
    (void)state;
    struct world *w = world_new(2, 2);
    w->lose = lose_first_join;
    w->hook_left = 1;
    world_start(w, 0);
    world_start(w, 1);
    world_run(w, S);
    assert_false(tl_node_ready(w->hosts[0].node));
    world_run(w, 2 * w->config.heartbeat_ns);
    assert_true(tl_node_ready(w->hosts[0].node));
    world_end(w);
}

static void a_parent_slower_than_the_time_out_is_believed(void **state)
{
    (void)state;
    struct world *w = world_new(2, 2);
    w->config.heartbeat_ns = 1000 * S;
    uint32_t f = world_file(w, "/a", 2 * CHUNK), small = world_file(w, "/b", 10);
    world_start_all(w);
    w->hold_storage = true; /* storage takes longer than the time-out */
    ask_read(w, 1, f, 0, 10);
    world_run(w, 4 * w->config.request_timeout_ns);
    assert_int_equal(world_counters(w, 0).open_flights, 2);
    w->hold_storage = false;
    world_run_answered(w, MS);
    world_check_answered(w);
    world_check_read_once(w);
    w->hosts[1].hold_messages = true; /* the network does, too: each answer comes after the next question */
    ask_read(w, 1, small, 0, 10);
    world_run(w, 3 * w->config.request_timeout_ns / 2);
    w->hosts[1].hold_messages = false;
    world_run_answered(w, MS);
    world_check_answered(w);
    world_end(w);
}

static void a_silent_neighbour_is_asked_and_then_given_up(void **state)
{
    (void)state;
    struct world *w = world_new(3, 2);
    uint32_t f = world_file(w, "/a", 10);
    world_start_all(w);
    world_run(w, 10 * S);
    assert_int_equal(world_counters(w, 1).peers_lost, 0); /* quiet is not dead */
    w->hosts[0].hold_messages = true;                     /* the root hangs; its connections stay */
    ask_read(w, 2, f, 0, 10);
    world_run_answered(w, 60 * S);
    world_check_answered(w);
    assert_true(world_counters(w, 2).peers_lost >= 1);
    world_end(w);
}

static void a_node_that_was_stopped_does_not_take_the_others_for_dead(void **state)
{
    (void)state;
    struct world *w = world_new(3, 2);
    world_start_all(w);
    for (int i = 0; i < 3; i++) {
        w->now_ns += 100 * S; /* nobody ran; now all timers are long due */
        world_run(w, S);
        for (uint32_t rank = 0; rank < 3; rank++)
            assert_int_equal(world_counters(w, rank).peers_lost, 0);
    }
    world_end(w);
}

static void a_clock_that_jumps_back_stands_still(void **state)
{
    (void)state;
    struct world *w = world_new(3, 2);
    uint32_t f = world_file(w, "/a", 3 * CHUNK);
    world_start_all(w);
    w->hold_storage = true;
    ask_read(w, 2, f, 0, 10);
    world_settle(w);
    w->now_ns -= 500 * S;
    w->hold_storage = false;
    world_run_answered(w, S);
    world_check_answered(w);
    ask_read(w, 1, f, 2 * CHUNK, 10);
    world_run_answered(w, S);
    w->now_ns += 600 * S;
    world_run(w, 20 * S);
    for (uint32_t rank = 0; rank < 3; rank++)
        assert_true(tl_node_ready(w->hosts[rank].node));
    world_end(w);
}

/* ---- peers that break rules ---- */

static void hello_of(const struct world *w, uint32_t rank, struct tl_wire *m)
{
    *m = (struct tl_wire){.type = TL_WIRE_HELLO,
                          .hello = {.protocol = TL_PROTOCOL_VERSION,
                                    .rank = rank,
                                    .node_count = w->config.node_count,
                                    .arity = w->config.arity,
                                    .job_id = w->config.job_id,
                                    .incarnation = 1}};
}

/* Says m to node `to` as if `from` had, and expects that this ends the connection. */
static void assert_dropped(uint32_t from, uint32_t to, const struct tl_wire *m, const char *what)
{
    struct world *w = world_new(3, 1); /* a chain: 0 - 1 - 2 */
    world_start_all(w);
    uint64_t lost = world_counters(w, to).peers_lost, bad = world_counters(w, to).bad_messages;
    world_message(w, from, to, m);
    world_settle(w);
    if (world_counters(w, to).peers_lost != lost + 1 || world_counters(w, to).bad_messages != bad + 1)
        fail_msg("%s was let through", what);
    world_run(w, 60 * S);
    assert_true(tl_node_ready(w->hosts[0].node)); /* and all is well again */
    world_end(w);
}

static void peers_that_break_a_rule_are_dropped(void **state)
{
    (void)state;
    struct world *w = world_new(3, 1);
    struct tl_wire m;
    hello_of(w, 2, &m);
    world_free(w);
    assert_dropped(2, 1, &m, "a second HELLO");
    m = (struct tl_wire){.type = TL_WIRE_JOIN, .join = {.subtree = 1}};
    assert_dropped(1, 2, &m, "JOIN from above");
    m = (struct tl_wire){.type = TL_WIRE_GET, .get = {.op = TL_OP_LIST, .path = "/", .path_len = 1, .count = 1}};
    assert_dropped(1, 2, &m, "GET from above");
}

static void bytes_that_are_no_message_end_the_connection(void **state)
{
    (void)state;
    struct world *w = world_new(2, 2);
    world_start_all(w);
    static const uint8_t junk[] = {0x54, 99, 1, 2, 3}, ping[] = {0x54, TL_WIRE_PING};
    struct tl_event ev = {.type = TL_EV_MESSAGE, .rank = 1, .header = junk, .header_len = sizeof junk};
    world_step(w, 0, &ev);
    uint64_t heard = world_counters(w, 0).messages_in;
    ev.header = ping;
    ev.header_len = sizeof ping;
    world_step(w, 0, &ev); /* not heard any more */
    assert_int_equal(world_counters(w, 0).messages_in, heard);
    world_settle(w);
    assert_int_equal(world_counters(w, 0).bad_messages, 1);
    world_run(w, 10 * S);
    ev.payload = junk; /* only DATA brings a payload */
    ev.payload_len = sizeof junk;
    world_step(w, 0, &ev);
    world_settle(w);
    assert_int_equal(world_counters(w, 0).bad_messages, 2);
    ev.rank = 77; /* from nobody we know: nothing happens */
    world_step(w, 0, &ev);
    assert_int_equal(world_counters(w, 0).bad_messages, 2);
    world_end(w);
}

static bool change_hello(struct world *w, uint32_t from, uint32_t to, const struct tl_wire *m, uint8_t *payload)
{
    if (m->type != TL_WIRE_HELLO || from == 0 || w->hook_left == 0)
        return false;
    struct tl_wire other = *m;
    (void)payload;
    switch (w->hook_left) {
    case 1: other.hello.protocol++; break;
    case 2: other.hello.rank++; break;
    case 3: other.hello.node_count++; break;
    case 4: other.hello.arity++; break;
    case 5: other.hello.roots++; break;
    default: other.hello.job_id++; break;
    }
    uint32_t kind = w->hook_left;
    w->hook_left = 0;
    world_message(w, from, to, &other);
    w->hook_left = kind;
    return true;
}

static void peers_of_another_job_version_or_tree_are_refused(void **state)
{
    (void)state;
    for (uint32_t kind = 1; kind <= 6; kind++) {
        struct world *w = world_new(2, 2);
        uint32_t f = world_file(w, "/a", 10);
        w->lose = change_hello;
        w->hook_left = kind;
        world_start(w, 0);
        world_start(w, 1);
        world_run(w, S);
        assert_true(world_counters(w, 0).bad_messages > 0);
        assert_false(tl_node_ready(w->hosts[0].node));
        assert_int_equal(read_now(w, 1, f, 0, 10), 0); /* it goes on alone */
        world_end(w);
    }
}

static void a_new_connection_means_that_the_old_one_is_gone(void **state)
{
    (void)state;
    struct world *w = world_new(3, 2);
    uint32_t f = world_file(w, "/a", 3 * CHUNK);
    world_start_all(w);
    w->hold_pulls = true;
    ask_read(w, 1, f, 0, 10);
    world_settle(w);
    uint32_t flood = ask_gather(w, 0);
    world_step(w, 0, &(struct tl_event){.type = TL_EV_PEER_UP, .rank = 1}); /* DOWN was never told */
    world_settle(w);
    assert_int_equal(w->asked[flood].status, -EHOSTUNREACH);
    w->hold_pulls = false;
    world_run_answered(w, 60 * S);
    world_check_answered(w);
    world_run(w, 60 * S);
    assert_true(tl_node_ready(w->hosts[0].node));
    world_end(w);
}

static void too_many_children_are_turned_away_and_those_above_never(void **state)
{
    (void)state;
    struct world *w = world_new(HOSTS_MAX, 1);
    world_start(w, 1);
    for (uint32_t rank = 2; rank < HOSTS_MAX; rank++) { /* 38 at once, where 33 have a place */
        w->link_up[1][rank] = w->link_up[rank][1] = true;
        world_step(w, 1, &(struct tl_event){.type = TL_EV_PEER_UP, .rank = rank});
    }
    uint32_t kept = 0;
    for (uint32_t rank = 2; rank < HOSTS_MAX; rank++)
        kept += w->link_up[1][rank];
    assert_int_equal(kept, 1 * 4 + 29);
    world_start(w, 0);
    world_run(w, 5 * S);
    assert_int_equal(world_parent(w, 1), 0);
    world_end(w);
}

/* ---- floods ---- */

static void a_flood_ends_without_those_who_are_silent_and_says_so(void **state)
{
    (void)state;
    struct world *w = world_new(15, 2);
    w->config.heartbeat_ns = 1000 * S; /* nobody is given up meanwhile */
    world_start_all(w);
    w->hosts[7].hold_messages = true;
    uint32_t asked = ask_gather(w, 2);
    world_run_answered(w, 20 * S);
    assert_int_equal(w->asked[asked].status, -EHOSTUNREACH);
    for (uint32_t rank = 0; rank < 15; rank++)
        assert_int_equal(w->hosts[2].reports[rank], rank != 7);
    w->hosts[7].hold_messages = false;
    world_run(w, S);
    asked = ask_flush(w, 9, "/x");
    world_run_answered(w, S);
    assert_int_equal(w->asked[asked].status, 0);
    world_end(w);
}

static void a_flood_waits_for_those_who_are_slow(void **state)
{
    (void)state;
    struct world *w = world_new(15, 2);
    w->config.heartbeat_ns = 1000 * S;
    world_start_all(w);
    w->hosts[7].hold_messages = true;
    uint32_t asked = ask_gather(w, 2);
    world_run(w, 7 * S);
    w->hosts[7].hold_messages = false;
    world_run_answered(w, S);
    assert_int_equal(w->asked[asked].status, 0);
    world_end(w);
}

static void floods_end_when_a_neighbour_is_lost(void **state)
{
    (void)state;
    struct world *w = world_new(7, 2);
    world_start_all(w);
    w->hosts[5].hold_messages = true;
    uint32_t asked = ask_gather(w, 0), other = ask_flush(w, 6, "/x");
    world_settle(w);
    assert_int_equal(w->asked[asked].answers, 0);
    world_crash(w, 5);
    world_crash(w, 6); /* it had asked: nobody wants to hear about its flush */
    world_settle(w);
    assert_int_equal(w->asked[asked].status, -EHOSTUNREACH);
    assert_true(w->asked[other].lost);
    world_end(w);
}

static void more_floods_than_the_table_holds_are_told_so(void **state)
{
    (void)state;
    struct world *w = world_new(3, 2);
    world_start_all(w);
    w->hosts[2].hold_messages = true;
    uint32_t busy = 0, asked[20];
    for (uint32_t i = 0; i < 20; i++)
        asked[i] = i % 2 == 0 ? ask_gather(w, 0) : ask_flush(w, 0, "/x");
    world_settle(w);
    for (uint32_t i = 0; i < 20; i++)
        busy += w->asked[asked[i]].status == -EBUSY;
    assert_int_equal(busy, 4);
    uint32_t wrong = ask_flush(w, 1, "relative");
    assert_int_equal(w->asked[wrong].status, -EINVAL);
    w->hosts[2].hold_messages = false;
    world_run_answered(w, S);
    world_end(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_message_may_be_lost),
        cmocka_unit_test(a_join_that_was_lost_is_said_again),
        cmocka_unit_test(a_parent_slower_than_the_time_out_is_believed),
        cmocka_unit_test(a_silent_neighbour_is_asked_and_then_given_up),
        cmocka_unit_test(a_node_that_was_stopped_does_not_take_the_others_for_dead),
        cmocka_unit_test(a_clock_that_jumps_back_stands_still),
        cmocka_unit_test(peers_that_break_a_rule_are_dropped),
        cmocka_unit_test(bytes_that_are_no_message_end_the_connection),
        cmocka_unit_test(peers_of_another_job_version_or_tree_are_refused),
        cmocka_unit_test(a_new_connection_means_that_the_old_one_is_gone),
        cmocka_unit_test(too_many_children_are_turned_away_and_those_above_never),
        cmocka_unit_test(a_flood_ends_without_those_who_are_silent_and_says_so),
        cmocka_unit_test(a_flood_waits_for_those_who_are_slow),
        cmocka_unit_test(floods_end_when_a_neighbour_is_lost),
        cmocka_unit_test(more_floods_than_the_table_holds_are_told_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
