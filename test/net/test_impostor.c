// SPDX-License-Identifier: Apache-2.0
/* The TCP transport among peers that have the job's key and lie, or claim to be whom they are not.
 * `test_net_impostor encrypt`: with encryption. */
#include "net/stage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "net/hand.h"

static const uint8_t other_key[TL_JOB_KEY_SIZE] = {1};

/* ---- dialling node 1 ---- */

static void assert_answered(struct tl_hello hello, enum tl_refusal refusal)
{
    struct hand h;
    uint64_t failures = stats_of(1).auth_failures;
    hand_dial(&h, stage.text[1], hello);
    assert_true(hand_take_answer(&h));
    assert_int_equal(h.hello.refusal, refusal);
    static const uint8_t none[TL_PROOF_SIZE];
    assert_memory_equal(h.theirs + TL_HELLO_SIZE, none, TL_PROOF_SIZE); /* no proof for whoever is refused */
    hand_assert_closed(&h);
    hand_close(&h);
    assert_int_equal(stats_of(1).auth_failures, failures + 1);
    assert_int_equal(stage.ups[1], 0);
}

static void who_is_not_in_the_list_is_refused_key_or_not(void **state)
{
    (void)state;
    struct tl_hello h = hand_honest(STAGE_NODES, 1, false);
    assert_answered(h, TL_REFUSE_RANK);
    h.rank = UINT32_MAX;
    assert_answered(h, TL_REFUSE_RANK);
    assert_answered(hand_honest(1, 1, false), TL_REFUSE_RANK); /* ours */
    assert_answered(hand_honest(0, 2, false), TL_REFUSE_TARGET);
    h = hand_honest(0, 1, false);
    h.job_id = 2;
    assert_answered(h, TL_REFUSE_JOB);
    h = hand_honest(0, 1, false);
    h.encrypt = !h.encrypt;
    assert_answered(h, TL_REFUSE_ENCRYPT);
    assert_sound();
}

static void older_and_newer_versions_are_refused_key_or_not(void **state)
{
    (void)state;
    const struct tl_hello_prefix others[] = {
        {.version = 0, .wire = TL_WIRE_VERSION, .len = TL_HELLO_SIZE},
        {.version = 2, .wire = TL_WIRE_VERSION, .len = TL_HELLO_SIZE},
        {.version = 1, .wire = TL_WIRE_VERSION - 1, .len = TL_HELLO_SIZE},
        {.version = 1, .wire = TL_WIRE_VERSION + 1, .len = TL_HELLO_SIZE},
    };
    for (uint32_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct tl_hello hello = hand_honest(0, 1, false);
        struct hand h;
        uint8_t back[TL_ANSWER_SIZE];
        hello.prefix = others[i];
        hand_dial(&h, stage.text[1], hello);
        assert_int_equal(read_to_end(h.fd, back, sizeof back), TL_HELLO_PREFIX_SIZE);
        hand_close(&h);
        assert_int_equal(stats_of(1).version_mismatches, i + 1);
    }
    assert_sound();
}

static void without_the_key_nobody_is_disturbed(void **state)
{
    (void)state;
    link_up();
    struct hand h;
    hand_dial(&h, stage.text[1], hand_honest(0, 1, false)); /* claims to be node 0, started anew */
    assert_true(hand_take_answer(&h));
    assert_int_equal(hand_prove(&h, other_key), TL_REFUSE_KEY);
    hand_close(&h);
    assert_int_equal(stats_of(1).auth_failures, 1);
    say(0, "still here");
    turn_until(&stage.messages[1], 1);
    assert_int_equal(stage.downs[0] + stage.downs[1], 0);
}

/* What does not hold: the key is the job's, not a node's. Who has it may say that it is any other node, started anew. */
static void who_has_the_key_may_be_any_node(void **state)
{
    (void)state;
    link_up();
    struct hand h;
    hand_link(&h, 0);
    assert_int_equal(stage.downs[1], 1);
    assert_non_null(strstr(stage.why[1], "connected anew"));
    turn_until(&stage.downs[0], 1); /* the real one learns of it, and comes back */
    assert_sound();
    hand_close(&h);
}

static void a_key_that_gives_the_secret_away_is_refused(void **state)
{
    (void)state;
    struct hand h = {.fd = proxy_dial(stage.text[1]), .dialler = true};
    struct tl_hello zero = hand_honest(0, 1, false); /* public key 0: every shared secret would be 0 */
    tl_hello_put(h.ours, &zero);
    hand_send(&h, h.ours, sizeof h.ours);
    uint8_t back[TL_ANSWER_SIZE];
    assert_int_equal(read_to_end(h.fd, back, sizeof back), 0); /* not even an answer */
    hand_close(&h);
    assert_int_equal(stats_of(1).auth_failures, 1);
    assert_sound();
}

/* ---- dialled by node 1 ---- */

/* Node 1 dials node 2, which is a hand; its hello is in h->theirs. */
static void be_dialled(struct hand *h)
{
    struct sockaddr_in a = proxy_sockaddr(stage.text[2]);
    struct tl_peer peer;
    int one = 1;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(stage.nets[1]->ops->connect(stage.nets[1], 2, stage_now_ns(), &peer), 0);
    *h = (struct hand){.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)};
    assert_true(h->fd >= 0);
    close(listener);
    assert_true(hand_read(h, h->theirs, TL_HELLO_SIZE));
}

static void assert_not_taken_for_node_2(struct hand *h, int status)
{
    uint32_t downs = stage.downs[1];
    turn_until(&stage.downs[1], downs + 1);
    assert_int_equal(stage.down_status[1], status);
    assert_true(strlen(stage.why[1]) > 20);
    assert_int_equal(stage.ups[1], 0);
    hand_close(h);
}

static void who_answers_must_be_who_was_dialled(void **state)
{
    (void)state;
    struct hand h;
    be_dialled(&h);
    hand_answer(&h, hand_honest(0, 1, true), hand_key); /* a node of the job, but another one: relayed, perhaps */
    assert_not_taken_for_node_2(&h, -EPROTO);
    be_dialled(&h);
    hand_answer(&h, hand_honest(2, 0, true), hand_key); /* takes us for another */
    assert_not_taken_for_node_2(&h, -EPROTO);
    be_dialled(&h);
    hand_answer(&h, hand_honest(2, 1, true), NULL);
    assert_not_taken_for_node_2(&h, -EKEYREJECTED);
    be_dialled(&h);
    hand_answer(&h, hand_honest(2, 1, true), other_key);
    assert_not_taken_for_node_2(&h, -EKEYREJECTED);
    be_dialled(&h);
    struct tl_hello lies = hand_honest(2, 1, true);
    lies.encrypt = !lies.encrypt;
    hand_answer(&h, lies, hand_key);
    assert_not_taken_for_node_2(&h, -EPROTO);
    be_dialled(&h);
    hand_answer(&h, hand_honest(2, 1, true), hand_key); /* and now the truth */
    uint8_t proof[TL_VERDICT_SIZE];
    assert_true(hand_read(&h, proof, sizeof proof));
    uint8_t verdict[TL_VERDICT_SIZE] = {0}; /* whoever it is has seen our proof now, but cannot give its own verdict */
    hand_send(&h, verdict, sizeof verdict);
    assert_not_taken_for_node_2(&h, -EKEYREJECTED);
}

static void nobody_is_answered_with_his_own_words(void **state)
{
    (void)state;
    struct hand h, back;
    be_dialled(&h);
    uint8_t answer[TL_ANSWER_SIZE] = {0};
    memcpy(answer, h.theirs, TL_HELLO_SIZE);
    hand_send(&h, answer, sizeof answer);
    assert_not_taken_for_node_2(&h, -EPROTO);
    /* His own hello, brought to his own door, for him to prove the key to himself. */
    be_dialled(&h);
    back = (struct hand){.fd = proxy_dial(stage.text[1])};
    hand_send(&back, h.theirs, TL_HELLO_SIZE);
    assert_true(hand_take_answer(&back));
    assert_int_equal(back.hello.refusal, TL_REFUSE_RANK);
    hand_assert_closed(&back);
    hand_close(&back);
    hand_send(&h, back.theirs, sizeof back.theirs);
    assert_not_taken_for_node_2(&h, -EPROTO);
    assert_sound();
}

/* ---- frames of a peer that has the key ---- */

static void assert_offence(struct hand *h)
{
    uint32_t downs = stage.downs[1];
    uint64_t bad = stats_of(1).bad_frames;
    turn_until(&stage.downs[1], downs + 1);
    assert_int_equal(stage.down_status[1], -EPROTO);
    assert_int_equal(stats_of(1).bad_frames, bad + 1);
    hand_close(h);
}

static void lengths_and_types_out_of_range_close(void **state)
{
    (void)state;
    const struct tl_frame heads[] = {
        {.type = TL_FRAME_MESSAGE, .body_len = TL_MSG_HEADER_MAX + 1},
        {.type = TL_FRAME_MESSAGE, .body_len = UINT32_MAX},
        {.type = TL_FRAME_MESSAGE, .body_len = 16, .data_len = TL_MSG_SIZE_MAX},
        {.type = TL_FRAME_MESSAGE, .body_len = 16, .data_len = UINT32_MAX - 8},
        {.type = TL_FRAME_READ, .body_len = TL_READ_BODY_SIZE - 1},
        {.type = TL_FRAME_READ, .body_len = TL_READ_BODY_SIZE, .data_len = 1},
        {.type = TL_FRAME_BULK, .body_len = TL_BULK_BODY_SIZE, .data_len = TL_SLICE_MAX + 1},
        {.type = TL_FRAME_SIDE, .body_len = TL_SIDE_BODY_MAX + 1},
        {.type = (enum tl_frame_type)0, .body_len = 4},
        {.type = (enum tl_frame_type)5, .body_len = 4},
        {.type = (enum tl_frame_type)UINT32_MAX, .body_len = 4},
    };
    for (uint32_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        struct hand h;
        uint8_t body[64] = {0};
        hand_link(&h, 0);
        hand_frame(&h, &heads[i], body, sizeof body, 0);
        assert_offence(&h);
    }
    assert_int_equal(stage.messages[1], 0);
    assert_sound();
}

static void hand_ask(struct hand *h, uint64_t id, uint32_t region, uint64_t offset, uint32_t len)
{
    uint8_t body[TL_READ_BODY_SIZE];
    tl_frame_read_put(body, &(struct tl_frame_read){.id = id, .offset = offset, .region = region, .len = len});
    hand_frame(h, &(struct tl_frame){.type = TL_FRAME_READ, .body_len = sizeof body}, body, sizeof body, 0);
}

static void only_what_was_exposed_can_be_read(void **state)
{
    (void)state;
    struct hand h;
    hand_link(&h, 0);
    int secret = stage.nets[1]->ops->expose(stage.nets[1], -1, stage.memory, 4096, TL_REGION_LAND);
    const struct tl_frame_read asks[] = {
        {.region = 0, .offset = STAGE_REGION_SIZE, .len = 1},
        {.region = 0, .offset = STAGE_REGION_SIZE - 1, .len = 2},
        {.region = 0, .offset = UINT64_MAX, .len = UINT32_MAX},
        {.region = 999, .offset = 0, .len = 1},
        {.region = UINT32_MAX, .offset = 0, .len = 1},
        {.region = (uint32_t)secret, .offset = 0, .len = 1},
    };
    for (uint32_t i = 0; i < sizeof asks / sizeof asks[0]; i++) {
        uint8_t answer[TL_FRAME_LEAD + TL_BULK_BODY_SIZE];
        hand_ask(&h, i, asks[i].region, asks[i].offset, asks[i].len);
        assert_true(hand_read(&h, answer, sizeof answer));
        assert_int_equal(tl_get_u32(answer + 4), 0); /* an answer without bytes */
    }
    assert_int_equal(stage.downs[1], 0);
    assert_int_equal(stats_of(1).read_bytes_out, 0);
    hand_close(&h);
}

static void more_reads_than_agreed_close(void **state)
{
    (void)state;
    struct hand h;
    hand_link(&h, 0);
    for (uint64_t i = 0; i < 520; i++) /* nobody takes the answers, so all of them stay open */
        hand_ask(&h, i, 0, 0, STAGE_REGION_SIZE);
    assert_offence(&h);
    assert_sound();
}

static void hand_slice(struct hand *h, uint64_t id, uint64_t offset, uint32_t len)
{
    uint8_t body[TL_BULK_BODY_SIZE];
    tl_frame_bulk_put(body, &(struct tl_frame_bulk){.id = id, .offset = offset});
    hand_frame(h, &(struct tl_frame){.type = TL_FRAME_BULK, .body_len = sizeof body, .data_len = len}, body,
               sizeof body, len);
}

/* Node 1 asks for 1,000 bytes of node 0, a hand that answers something else. */
static void slices_land_where_they_were_asked_for_or_nowhere(void **state)
{
    (void)state;
    const struct {
        uint64_t id, offset;
        uint32_t len;
    } lies[] = {{0, 0, 1001}, {0, 1, 500}, {0, UINT64_MAX - 10, 500}, {1, 0, 1000}, {UINT64_MAX, 0, 1000}};
    const uint32_t place = STAGE_REGION_SIZE / 2;
    struct hand h;
    hand_link(&h, 0);
    hand_slice(&h, 0, 0, 10); /* nobody asked */
    assert_offence(&h);
    memset(stage.memory + place, 0x22, 4096);
    for (uint32_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        uint8_t ask[TL_FRAME_LEAD + TL_READ_BODY_SIZE];
        uint32_t reads = stage.reads[1];
        hand_link(&h, 0);
        struct tl_net *net = stage.nets[1];
        assert_int_equal(net->ops->read(net, stage.peers[1], 0, 0, 0, place, 1000, stage_now_ns() + STAGE_BOUND_NS, i),
                         0);
        assert_true(hand_read(&h, ask, sizeof ask));
        if (stage_encrypt)
            assert_int_equal(tl_secret_decrypt(&h.rx, ask, ask + TL_FRAME_LEAD, TL_READ_BODY_SIZE), 0);
        hand_slice(&h, tl_get_u64(ask + TL_FRAME_LEAD) + lies[i].id, lies[i].offset, lies[i].len);
        assert_offence(&h);
        assert_int_equal(stage.reads[1], reads + 1);
        assert_true(stage.read_status[1] < 0);
    }
    for (uint32_t i = 0; i < 4096; i++)
        assert_int_equal(stage.memory[place + i], 0x22);
    assert_sound();
}

int main(int argc, char **argv)
{
    stage_encrypt = argc > 1 && strcmp(argv[1], "encrypt") == 0;
    const struct CMUnitTest tests[] = {
        STAGE_CASE(who_is_not_in_the_list_is_refused_key_or_not),
        STAGE_CASE(older_and_newer_versions_are_refused_key_or_not),
        STAGE_CASE(without_the_key_nobody_is_disturbed),
        STAGE_CASE(who_has_the_key_may_be_any_node),
        STAGE_CASE(a_key_that_gives_the_secret_away_is_refused),
        STAGE_CASE(who_answers_must_be_who_was_dialled),
        STAGE_CASE(nobody_is_answered_with_his_own_words),
        STAGE_CASE(lengths_and_types_out_of_range_close),
        STAGE_CASE(only_what_was_exposed_can_be_read),
        STAGE_CASE(more_reads_than_agreed_close),
        STAGE_CASE(slices_land_where_they_were_asked_for_or_nowhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
