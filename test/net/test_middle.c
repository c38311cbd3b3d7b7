// SPDX-License-Identifier: Apache-2.0
/* The TCP transport with a man in the middle, who flips, repeats, swaps, cuts and pretends.
 * `test_net_middle encrypt`: with encryption. */
#include "base/bytes.h"
#include "net/secret.h"
#include "net/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static int flip(struct proxy *p, int direction, uint64_t at, uint8_t *bytes, int len, int out)
{
    (void)out;
    if (direction == p->done && p->where >= at && p->where < at + (uint64_t)len) {
        bytes[p->where - at] ^= (uint8_t)(1 << p->bit);
        p->meddle = NULL;
    }
    return len;
}

/* Flips one bit at a position of a direction; p->done holds the direction. */
static void flip_at(int direction, uint64_t where, int bit)
{
    stage.proxy.meddle = flip;
    stage.proxy.done = direction;
    stage.proxy.where = where;
    stage.proxy.bit = bit;
}

static void no_changed_handshake_comes_up(void **state)
{
    (void)state;
    uint32_t bit = 0;
    for (int direction = 0; direction < 2; direction++) {
        for (uint64_t where = 0; where < (direction == PROXY_UP ? UP_SHAKE : DOWN_SHAKE); where++, bit += 3) {
            uint32_t downs = stage.downs[0];
            flip_at(direction, where, (int)(bit % 8));
            dial();
            for (uint64_t end = tl_time_mono_ns() + STAGE_BOUND_NS;
                 stage.downs[0] == downs && tl_time_mono_ns() < end;) {
                turn();
                if (stage.proxy.meddle == NULL && stage.skew_ns < 3600 * TL_NS_PER_S)
                    stage.skew_ns += TL_NS_PER_S / 10; /* a length that grew is waited for until the deadline */
            }
            assert_int_equal(stage.downs[0], downs + 1);
            assert_int_equal(stage.ups[0], 0);
            proxy_cut(&stage.proxy);
            turns(2);
        }
    }
    assert_sound();
}

static void a_flipped_bit_in_a_frame_closes(void **state)
{
    (void)state;
    const uint32_t lead = TL_FRAME_LEAD + 5;
    for (uint32_t where = 0; where < lead; where++) {
        link_up();
        uint32_t downs = stage.downs[1], messages = stage.messages[1];
        uint64_t bad = stats_of(1).bad_frames;
        flip_at(PROXY_UP, UP_SHAKE + where, (int)(where % 8));
        say(0, "hello");
        /* A length that grew makes the receiver wait for more: there is more, and then it does not fit. */
        for (uint64_t end = tl_time_mono_ns() + STAGE_BOUND_NS; stage.downs[1] == downs && tl_time_mono_ns() < end;
             turn()) {
            uint8_t filler[2000] = {0};
            stage.nets[0]->ops->send(stage.nets[0], stage.peers[0], filler, sizeof filler, NULL, 0);
        }
        assert_int_equal(stage.downs[1], downs + 1);
        assert_int_equal(stage.down_status[1], -EPROTO);
        assert_int_equal(stats_of(1).bad_frames, bad + 1);
        assert_int_equal(stage.messages[1], messages);
        turn_until(&stage.downs[0], stage.ups[0]);
        proxy_cut(&stage.proxy);
    }
    assert_sound();
}

/* Frames here are said one at a time, so that each comes to the proxy alone. */
static int repeat(struct proxy *p, int direction, uint64_t at, uint8_t *bytes, int len, int out)
{
    (void)p;
    if (direction == PROXY_UP && at >= UP_SHAKE)
        assert_int_equal(send(out, bytes, (size_t)len, MSG_NOSIGNAL), len);
    return len;
}

static int leave_out(struct proxy *p, int direction, uint64_t at, uint8_t *bytes, int len, int out)
{
    (void)bytes;
    (void)out;
    bool first = direction == PROXY_UP && at >= UP_SHAKE && p->done == 0;
    p->done += first;
    return first ? 0 : len;
}

static uint8_t kept[256];
static int swap_two(struct proxy *p, int direction, uint64_t at, uint8_t *bytes, int len, int out)
{
    if (direction != PROXY_UP || at < UP_SHAKE || p->done > 1)
        return len;
    if (p->done++ == 0) {
        memcpy(kept, bytes, (size_t)len);
        p->bit = len;
        return 0;
    }
    assert_int_equal(send(out, bytes, (size_t)len, MSG_NOSIGNAL), len);
    memcpy(bytes, kept, (size_t)p->bit);
    return p->bit;
}

static int cut_short(struct proxy *p, int direction, uint64_t at, uint8_t *bytes, int len, int out)
{
    (void)p;
    if (direction != PROXY_UP || at < UP_SHAKE)
        return len;
    assert_int_equal(send(out, bytes, (size_t)len / 2, MSG_NOSIGNAL), len / 2);
    return -1;
}

static int send_back(struct proxy *p, int direction, uint64_t at, uint8_t *bytes, int len, int out)
{
    (void)out;
    if (direction == PROXY_UP && at >= UP_SHAKE)
        assert_int_equal(send(p->fds[0], bytes, (size_t)len, MSG_NOSIGNAL), len);
    return len;
}

/* Two messages with a meddler; node `victim` loses the connection after `delivered` of them reached node 1. */
static void meddled(int (*meddle)(struct proxy *, int, uint64_t, uint8_t *, int, int), uint32_t victim, int status,
                    uint32_t delivered_max)
{
    link_up();
    uint32_t downs = stage.downs[victim], messages = stage.messages[1];
    stage.proxy.done = 0;
    stage.proxy.meddle = meddle;
    say(0, "one");
    turns(5);
    if (stage.live[0])
        say(0, "two");
    turn_until(&stage.downs[victim], downs + 1);
    assert_int_equal(stage.down_status[victim], status);
    assert_true(stage.messages[1] - messages <= delivered_max);
    stage.proxy.meddle = NULL;
    turn_until(&stage.downs[0], stage.ups[0]);
    turn_until(&stage.downs[1], stage.ups[1]);
    proxy_cut(&stage.proxy);
    assert_sound();
    stage.nets[0]->ops->drop(stage.nets[0], stage.peers[0]);
    turn_until(&stage.downs[1], stage.ups[1]);
    turn_until(&stage.downs[0], stage.ups[0]);
}

static void repeated_swapped_missing_frames_close(void **state)
{
    (void)state;
    meddled(repeat, 1, -EPROTO, 1);
    meddled(leave_out, 1, -EPROTO, 0);
    meddled(swap_two, 1, -EPROTO, 0);
    meddled(send_back, 0, -EPROTO, 2);
    meddled(cut_short, 1, -ECONNRESET, 0);
}

static void a_recorded_session_opens_nothing(void **state)
{
    (void)state;
    link_up();
    say(0, "secret order");
    turn_until(&stage.messages[1], 1);
    uint64_t len = stage.proxy.passed[PROXY_UP];
    uint8_t *recorded = malloc(len);
    assert_non_null(recorded);
    memcpy(recorded, stage.proxy.recorded[PROXY_UP], len);
    int fd = proxy_dial(stage.text[1]);
    assert_true(send(fd, recorded, len, MSG_NOSIGNAL) > 0);
    turns(20);
    shutdown(fd, SHUT_WR);
    uint8_t back[512];
    read_to_end(fd, back, sizeof back);
    close(fd);
    free(recorded);
    assert_int_equal(stage.ups[1], 1);
    assert_int_equal(stage.downs[1], 0);
    assert_int_equal(stage.messages[1], 1);
    assert_int_equal(stats_of(1).auth_failures, 1);
    assert_sound();
}

static void a_flipped_bit_of_bulk(void **state)
{
    (void)state;
    link_up();
    const uint32_t len = 100000;
    flip_at(PROXY_DOWN, DOWN_SHAKE + TL_FRAME_LEAD + TL_BULK_BODY_SIZE + 777, 3);
    assert_int_equal(stage.nets[0]->ops->read(stage.nets[0], stage.peers[0], 0, 0, 0, STAGE_REGION_SIZE / 2, len,
                                              stage_now_ns() + STAGE_BOUND_NS, 1),
                     0);
    turn_until(&stage.reads[0], 1);
    if (stage_encrypt) { /* caught here */
        assert_true(stage.read_status[0] < 0);
        turn_until(&stage.downs[0], 1);
        assert_int_equal(stage.down_status[0], -EPROTO);
    } else { /* the owner's digest has to catch it: exactly this one byte is wrong */
        assert_int_equal(stage.read_status[0], 0);
        const uint8_t *land = stage.memory + STAGE_REGION_SIZE / 2;
        for (uint32_t i = 0; i < len; i++)
            assert_int_equal(land[i], i == 777 ? 0x11 ^ 8 : 0x11);
    }
}

static void nothing_of_a_message_is_readable_when_encrypted(void **state)
{
    (void)state;
    link_up();
    static const char text[] = "a sentence that must not be seen";
    memcpy(stage.memory, text, sizeof text);
    struct tl_net_payload payload = {.region = 0, .offset = 0, .len = 4096};
    assert_int_equal(stage.nets[0]->ops->send(stage.nets[0], stage.peers[0], text, sizeof text, &payload, 0), 0);
    assert_int_equal(stage.nets[0]->ops->read(stage.nets[0], stage.peers[0], 0, 0, 0, STAGE_REGION_SIZE / 2, 50000,
                                              stage_now_ns() + STAGE_BOUND_NS, 1),
                     0);
    turn_until(&stage.reads[0], 1);
    turn_until(&stage.messages[1], 1);
    bool up = memmem(stage.proxy.recorded[PROXY_UP], stage.proxy.passed[PROXY_UP], text, sizeof text) != NULL;
    bool down = memmem(stage.proxy.recorded[PROXY_DOWN], stage.proxy.passed[PROXY_DOWN], text, sizeof text) != NULL;
    assert_int_equal(up, !stage_encrypt);
    assert_int_equal(down, !stage_encrypt);
}

/* Cuts the connection at stage.proxy.where of the direction stage.proxy.done. */
static int cut_at(struct proxy *p, int direction, uint64_t at, uint8_t *bytes, int len, int out)
{
    if (direction != p->done || at + (uint64_t)len <= p->where)
        return len;
    send(out, bytes, (size_t)(p->where - at), MSG_NOSIGNAL);
    p->meddle = NULL;
    return -1;
}

static void no_cut_handshake_comes_up(void **state)
{
    (void)state;
    for (int direction = 0; direction < 2; direction++) {
        for (uint64_t where = 0; where < (direction == PROXY_UP ? UP_SHAKE : DOWN_SHAKE); where++) {
            uint32_t downs = stage.downs[0];
            stage.proxy.meddle = cut_at;
            stage.proxy.done = direction;
            stage.proxy.where = where;
            dial();
            turn_until(&stage.downs[0], downs + 1);
            assert_int_equal(stage.ups[0], 0);
            turn_until(&stage.downs[1], stage.ups[1]); /* the listener is up as soon as it has said so */
        }
    }
    assert_sound();
}

static void nothing_of_a_cut_frame_is_delivered(void **state)
{
    (void)state;
    for (uint32_t where = 0; where < TL_FRAME_LEAD + 5; where++) {
        link_up();
        uint32_t downs = stage.downs[1], messages = stage.messages[1];
        stage.proxy.meddle = cut_at;
        stage.proxy.done = PROXY_UP;
        stage.proxy.where = UP_SHAKE + where;
        say(0, "hello");
        turn_until(&stage.downs[1], downs + 1);
        turn_until(&stage.downs[0], stage.ups[0]);
        assert_int_equal(stage.messages[1], messages);
    }
    assert_sound();
}

/* ---- pretending ---- */

/* A record of the handshake comes in one piece here, and is changed whole. */
static bool is_hello(int direction, uint64_t at, int len)
{
    return at == 0 && len == (int)(direction == PROXY_UP ? TL_HELLO_SIZE : TL_ANSWER_SIZE);
}

static int tell_each_what_it_wants(struct proxy *p, int direction, uint64_t at, uint8_t *bytes, int len, int out)
{
    (void)out;
    if (is_hello(direction, at, len)) {
        bytes[17] ^= 1; /* encrypt */
        p->done++;
    }
    return len;
}

static int speak_the_others_version(struct proxy *p, int direction, uint64_t at, uint8_t *bytes, int len, int out)
{
    (void)out;
    if (is_hello(direction, at, len)) {
        tl_put_u32(bytes + 8, direction == PROXY_UP ? 2 : 1);
        p->done++;
    }
    return len;
}

/* Its own key in place of both: it would then share a secret with each side. */
static int put_own_key(struct proxy *p, int direction, uint64_t at, uint8_t *bytes, int len, int out)
{
    (void)out;
    if (is_hello(direction, at, len)) {
        struct tl_secret_draw mine;
        tl_secret_draw(&mine);
        memcpy(bytes + 88, mine.public_key, sizeof mine.public_key);
        p->done++;
    }
    return len;
}

static void assert_rejected(int (*meddle)(struct proxy *, int, uint64_t, uint8_t *, int, int))
{
    stage.proxy.meddle = meddle;
    stage.proxy.done = 0;
    uint32_t downs = stage.downs[0], ups = stage.ups[0] + stage.ups[1];
    dial();
    turn_until(&stage.downs[0], downs + 1);
    turns(5);
    assert_int_equal(stage.down_status[0], -EKEYREJECTED);
    assert_int_equal(stage.ups[0] + stage.ups[1], ups);
    assert_int_equal(stage.proxy.done, 2); /* both hellos passed: it was the proof that failed */
    stage.proxy.meddle = NULL;
    proxy_cut(&stage.proxy);
}

static void nobody_is_talked_out_of_encryption(void **state)
{
    (void)state;
    stage_reopen(1, !stage_encrypt, 1);
    assert_rejected(tell_each_what_it_wants);
    stage_reopen(1, stage_encrypt, 1);
    assert_rejected(put_own_key);
    assert_sound();
}

static void nobody_is_talked_into_an_older_version(void **state)
{
    (void)state;
    stage_reopen(1, stage_encrypt, 2);
    assert_rejected(speak_the_others_version);
    stage_reopen(1, stage_encrypt, 1);
    assert_sound();
}

static uint8_t old_answer[DOWN_SHAKE], old_frame[256];
static int old_frame_len;

static int answer_as_before(struct proxy *p, int direction, uint64_t at, uint8_t *bytes, int len, int out)
{
    (void)out;
    if (direction == PROXY_DOWN && at + (uint64_t)len <= sizeof old_answer)
        memcpy(bytes, old_answer + at, (size_t)len);
    p->done += is_hello(direction, at, len);
    return len;
}

static int say_as_before(struct proxy *p, int direction, uint64_t at, uint8_t *bytes, int len, int out)
{
    (void)out;
    if (direction != PROXY_UP || at != UP_SHAKE)
        return len;
    assert_int_equal(len, old_frame_len);
    memcpy(bytes, old_frame, (size_t)len);
    p->done++;
    return len;
}

static void what_was_recorded_fits_no_later_connection(void **state)
{
    (void)state;
    link_up();
    say(0, "order");
    turn_until(&stage.messages[1], 1);
    memcpy(old_answer, stage.proxy.recorded[PROXY_DOWN], sizeof old_answer);
    old_frame_len = (int)(stage.proxy.passed[PROXY_UP] - UP_SHAKE);
    memcpy(old_frame, stage.proxy.recorded[PROXY_UP] + UP_SHAKE, (size_t)old_frame_len);
    proxy_cut(&stage.proxy);
    turn_until(&stage.downs[0], 1);
    turn_until(&stage.downs[1], 1);
    assert_rejected(answer_as_before);
    link_up();
    stage.proxy.done = 0;
    stage.proxy.meddle = say_as_before;
    say(0, "words");
    turn_until(&stage.downs[1], 2);
    assert_int_equal(stage.proxy.done, 1);
    assert_int_equal(stage.down_status[1], -EPROTO);
    assert_int_equal(stage.messages[1], 1);
    turn_until(&stage.downs[0], 3); /* one of them was rejected */
    proxy_cut(&stage.proxy);
    assert_sound();
}

int main(int argc, char **argv)
{
    stage_encrypt = argc > 1 && strcmp(argv[1], "encrypt") == 0;
    const struct CMUnitTest tests[] = {
        STAGE_CASE(no_changed_handshake_comes_up),
        STAGE_CASE(a_flipped_bit_in_a_frame_closes),
        STAGE_CASE(repeated_swapped_missing_frames_close),
        STAGE_CASE(a_recorded_session_opens_nothing),
        STAGE_CASE(a_flipped_bit_of_bulk),
        STAGE_CASE(nothing_of_a_message_is_readable_when_encrypted),
        STAGE_CASE(no_cut_handshake_comes_up),
        STAGE_CASE(nothing_of_a_cut_frame_is_delivered),
        STAGE_CASE(nobody_is_talked_out_of_encryption),
        STAGE_CASE(nobody_is_talked_into_an_older_version),
        STAGE_CASE(what_was_recorded_fits_no_later_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
