// SPDX-License-Identifier: Apache-2.0
/* A job's keys change while its nodes are connected, and expire. `test_net_keys encrypt`: with encryption. */
#include "net/stage.h"

#include <errno.h>
#include <string.h>

#include "net/hand.h"

static const struct tl_net_key first, second = {.bytes = {2}};

static void give(uint32_t i, struct tl_net_key used, const struct tl_net_key *accepted)
{
    struct tl_net_key keys[2] = {used};
    if (accepted != NULL)
        keys[1] = *accepted;
    stage.nets[i]->ops->keys(stage.nets[i], keys, accepted != NULL ? 2 : 1);
}

/* The connection is cut, and node `from` makes another. */
static void connect_anew(uint32_t from)
{
    if (stage.live[0])
        stage.nets[0]->ops->drop(stage.nets[0], stage.peers[0]);
    turn_until(&stage.downs[0], stage.ups[0]);
    turn_until(&stage.downs[1], stage.ups[1]);
    proxy_cut(&stage.proxy);
    uint32_t ups[2] = {stage.ups[0], stage.ups[1]};
    struct tl_peer peer;
    assert_int_equal(stage.nets[from]->ops->connect(stage.nets[from], 1 - from, stage_now_ns(), &peer), 0);
    turn_until(&stage.ups[0], ups[0] + 1);
    turn_until(&stage.ups[1], ups[1] + 1);
}

static void step(uint32_t i, uint32_t which)
{
    if (which == 0)
        give(i, first, &second);
    else if (which == 1)
        give(i, second, &first);
    else
        give(i, second, NULL);
}

static void a_new_key_comes_in_steps_and_nobody_is_shut_out(void **state)
{
    (void)state;
    link_up();
    for (uint32_t which = 0; which < 3; which++) {
        for (uint32_t i = 0; i < 2; i++) { /* one node is ahead of the other for a while */
            step(i, which);
            connect_anew(0);
            connect_anew(1);
        }
    }
    assert_int_equal(stats_of(0).auth_failures + stats_of(1).auth_failures, 0);
    assert_sound();
}

static void what_is_up_stays_up(void **state)
{
    (void)state;
    link_up();
    for (uint32_t which = 0; which < 3; which++) {
        for (uint32_t i = 0; i < 2; i++) {
            uint32_t had = stage.messages[1];
            step(1 - i, which);
            say(0, "meanwhile");
            turn_until(&stage.messages[1], had + 1);
        }
    }
    stage.skew_ns = 60 * TL_NS_PER_S; /* nobody is asked for more than it has said */
    turns(20);
    say(1, "and for ever");
    turn_until(&stage.messages[0], 1);
    assert_int_equal(stage.downs[0] + stage.downs[1], 0);
    assert_int_equal(stats_of(0).connects, 1);
}

static struct tl_frame_again proof_of(const struct hand *h, const struct tl_net_key *key, enum tl_secret_role role)
{
    struct tl_frame_again again = {.key_id = tl_secret_key_id(key->bytes)};
    tl_secret_prove(again.proof, key->bytes, role, h->session.transcript, again.key_id);
    return again;
}

static void hand_prove_again(struct hand *h, const struct tl_frame_again *again)
{
    uint8_t body[TL_AGAIN_BODY_SIZE];
    tl_frame_again_put(body, again);
    struct tl_frame head = {.type = TL_FRAME_AGAIN, .body_len = sizeof body};
    hand_frame(h, &head, body, sizeof body, 0);
}

static void who_is_up_and_never_proves_the_new_key_is_cut_off(void **state)
{
    (void)state;
    struct hand h;
    hand_link(&h, 0);
    give(1, second, &first);
    stage.skew_ns = 20 * TL_NS_PER_S;
    turns(20);
    assert_int_equal(stage.downs[1], 0); /* the old key still counts */
    give(1, second, NULL);
    struct tl_frame_again old = proof_of(&h, &first, TL_SECRET_AGAIN_DIALLER);
    hand_prove_again(&h, &old); /* proves nothing any more */
    stage.skew_ns = 29 * TL_NS_PER_S;
    turns(20);
    assert_int_equal(stage.downs[1], 0);
    stage.skew_ns = 31 * TL_NS_PER_S;
    turn_until(&stage.downs[1], 1);
    assert_int_equal(stage.down_status[1], -EKEYREJECTED);
    assert_non_null(strstr(stage.why[1], "tiercel rekey"));
    hand_assert_closed(&h);
    hand_close(&h);
    give(0, second, NULL);
    assert_sound();
}

static void who_proves_it_in_time_stays(void **state)
{
    (void)state;
    struct hand h;
    hand_link(&h, 0);
    give(1, second, NULL);
    struct tl_frame_again now = proof_of(&h, &second, TL_SECRET_AGAIN_DIALLER);
    hand_prove_again(&h, &now);
    turns(20);
    stage.skew_ns = 60 * TL_NS_PER_S;
    turns(20);
    assert_int_equal(stage.downs[1], 0);
    hand_close(&h);
    turn_until(&stage.downs[1], 1);
}

static void a_false_proof_ends_a_connection(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct hand h;
        give(1, first, NULL);
        hand_link(&h, 0);
        give(1, second, &first);
        struct tl_frame_again bad = proof_of(&h, &second, TL_SECRET_AGAIN_DIALLER);
        if (i == 0)
            bad.proof[31] ^= 1;
        else if (i == 1) /* the node's own words */
            bad = proof_of(&h, &second, TL_SECRET_AGAIN_LISTENER);
        else if (i == 2) /* a handshake's */
            bad = proof_of(&h, &second, TL_SECRET_DIALLER);
        else /* of another connection */
            tl_secret_prove(bad.proof, second.bytes, TL_SECRET_AGAIN_DIALLER, (const uint8_t[32]){0}, bad.key_id);
        hand_prove_again(&h, &bad);
        turn_until(&stage.downs[1], (uint32_t)i + 1);
        assert_int_equal(stage.down_status[1], -EPROTO);
        hand_close(&h);
    }
    assert_int_equal(stats_of(1).bad_frames, 4);
    give(1, first, NULL);
    assert_sound();
}

static void the_key_before_is_refused(void **state)
{
    (void)state;
    struct hand h;
    give(1, second, &first);
    hand_link(&h, 0);
    hand_close(&h);
    turn_until(&stage.downs[1], 1);
    hand_dial(&h, stage.text[1], hand_honest(0, 1, false));
    assert_true(hand_take_answer(&h)); /* a handshake that has begun is seen through */
    give(1, second, NULL);
    assert_int_equal(hand_prove(&h, first.bytes), TL_REFUSE_NONE);
    hand_close(&h);
    turn_until(&stage.downs[1], 2);
    hand_dial(&h, stage.text[1], hand_honest(0, 1, false)); /* says that it has the old one */
    assert_true(hand_take_answer(&h));
    assert_int_equal(h.hello.refusal, TL_REFUSE_KEY);
    hand_close(&h);
    struct tl_hello lies = hand_honest(0, 1, false); /* says that it has the new one */
    lies.key_id = tl_secret_key_id(second.bytes);
    hand_dial(&h, stage.text[1], lies);
    assert_true(hand_take_answer(&h));
    assert_int_equal(hand_prove(&h, first.bytes), TL_REFUSE_KEY);
    hand_close(&h);
    dial(); /* node 0 has not heard of it */
    turn_until(&stage.downs[0], 1);
    assert_int_equal(stage.down_status[0], -EKEYREJECTED);
    assert_int_equal(stats_of(1).auth_failures, 3);
}

static void assert_expired(void)
{
    uint32_t downs = stage.downs[0];
    dial();
    turn_until(&stage.downs[0], downs + 1);
    assert_int_equal(stage.down_status[0], -EKEYEXPIRED);
    assert_non_null(strstr(stage.why[0], "tiercel rekey"));
    proxy_cut(&stage.proxy);
}

static void a_key_that_has_expired_connects_nobody(void **state)
{
    (void)state;
    struct tl_net_key brief = first;
    brief.expires_ns = stage_now_ns() + 20 * TL_NS_PER_S;
    give(0, brief, NULL);
    give(1, brief, NULL);
    link_up();
    stage.skew_ns = 30 * TL_NS_PER_S;
    say(0, "up before, up now");
    turn_until(&stage.messages[1], 1);
    stage.nets[0]->ops->drop(stage.nets[0], stage.peers[0]);
    turn_until(&stage.downs[0], 1);
    turn_until(&stage.downs[1], 1);
    proxy_cut(&stage.proxy);
    assert_expired();                                  /* by the dialler itself */
    assert_int_equal(stage.proxy.passed[PROXY_UP], 0); /* not a word was said */
    give(0, first, NULL);
    assert_expired(); /* by the listener */
    give(1, second, &brief);
    give(0, second, NULL);
    assert_sound();
}

int main(int argc, char **argv)
{
    stage_encrypt = argc > 1 && strcmp(argv[1], "encrypt") == 0;
    const struct CMUnitTest tests[] = {
        STAGE_CASE(a_new_key_comes_in_steps_and_nobody_is_shut_out),
        STAGE_CASE(what_is_up_stays_up),
        STAGE_CASE(who_is_up_and_never_proves_the_new_key_is_cut_off),
        STAGE_CASE(who_proves_it_in_time_stays),
        STAGE_CASE(a_false_proof_ends_a_connection),
        STAGE_CASE(the_key_before_is_refused),
        STAGE_CASE(a_key_that_has_expired_connects_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
