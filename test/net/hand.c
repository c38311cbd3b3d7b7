// SPDX-License-Identifier: Apache-2.0
#include "net/hand.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/stage.h"

const uint8_t hand_key[TL_JOB_KEY_SIZE];

struct tl_hello hand_honest(uint32_t rank, uint32_t target, bool listener)
{
    return (struct tl_hello){
        .prefix = {.version = 1, .wire = TL_WIRE_VERSION, .len = listener ? TL_ANSWER_SIZE : TL_HELLO_SIZE},
        .listener = listener,
        .encrypt = stage_encrypt,
        .rank = rank,
        .target = target,
        .key_id = tl_secret_key_id(hand_key),
        .job_id = 1,
        .instance = 77,
    };
}

void hand_send(struct hand *h, const void *bytes, size_t len)
{
    assert_int_equal(send(h->fd, bytes, len, MSG_NOSIGNAL), len);
}

static void fill_hello(struct hand *h, struct tl_hello *hello)
{
    tl_secret_draw(&h->draw);
    memcpy(hello->nonce, h->draw.nonce, sizeof hello->nonce);
    memcpy(hello->public_key, h->draw.public_key, sizeof hello->public_key);
    tl_hello_put(h->ours, hello);
}

void hand_dial(struct hand *h, const char *address, struct tl_hello hello)
{
    *h = (struct hand){.fd = proxy_dial(address), .dialler = true};
    fill_hello(h, &hello);
    hand_send(h, h->ours, sizeof h->ours);
}

void hand_answer(struct hand *h, struct tl_hello hello, const uint8_t *key)
{
    uint8_t answer[TL_ANSWER_SIZE] = {0};
    fill_hello(h, &hello);
    memcpy(answer, h->ours, TL_HELLO_SIZE);
    assert_int_equal(tl_hello_get(h->theirs, TL_HELLO_SIZE, &h->hello), TL_HELLO_SIZE);
    if (key != NULL) {
        assert_int_equal(tl_secret_agree(&h->session, key, &h->draw, h->hello.public_key, h->theirs, h->ours), 0);
        tl_secret_prove(answer + TL_HELLO_SIZE, key, TL_SECRET_LISTENER, h->session.transcript, 0);
    }
    hand_send(h, answer, sizeof answer);
}

bool hand_read(struct hand *h, void *into, size_t len)
{
    uint8_t *at = into;
    for (uint64_t end = tl_time_mono_ns() + STAGE_BOUND_NS; tl_time_mono_ns() < end;) {
        ssize_t n = recv(h->fd, at, len, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            return false;
        at += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
        if (len == 0)
            return true;
        turn();
    }
    fail_msg("neither bytes nor an end");
    return false;
}

bool hand_take_answer(struct hand *h)
{
    return hand_read(h, h->theirs, sizeof h->theirs) &&
           tl_hello_get(h->theirs, sizeof h->theirs, &h->hello) == (int)TL_HELLO_SIZE;
}

int hand_prove(struct hand *h, const uint8_t key[TL_JOB_KEY_SIZE])
{
    uint8_t mine[TL_VERDICT_SIZE], theirs[TL_VERDICT_SIZE];
    struct tl_verdict v;
    assert_int_equal(tl_secret_agree(&h->session, key, &h->draw, h->hello.public_key, h->ours, h->theirs), 0);
    tl_verdict_put(mine, TL_REFUSE_NONE);
    tl_secret_prove(mine + 4, key, TL_SECRET_DIALLER, h->session.transcript, 0);
    hand_send(h, mine, sizeof mine);
    if (!hand_read(h, theirs, sizeof theirs) || tl_verdict_get(theirs, sizeof theirs, &v) <= 0)
        return -1;
    h->tx = h->session.from_dialler;
    h->rx = h->session.from_listener;
    return (int)v.refusal;
}

void hand_link(struct hand *h, uint32_t rank)
{
    uint32_t ups = stage.ups[1];
    hand_dial(h, stage.text[1], hand_honest(rank, 1, false));
    assert_true(hand_take_answer(h));
    assert_int_equal(hand_prove(h, hand_key), TL_REFUSE_NONE);
    turn_until(&stage.ups[1], ups + 1);
}

void hand_frame(struct hand *h, const struct tl_frame *head, const uint8_t *body, uint32_t body_len, uint32_t data_len)
{
    size_t size = TL_FRAME_LEAD + body_len + data_len;
    uint8_t *frame = calloc(1, size);
    assert_non_null(frame);
    tl_frame_head_put(frame, head);
    if (body_len > 0)
        memcpy(frame + TL_FRAME_LEAD, body, body_len);
    if (stage_encrypt)
        tl_secret_encrypt(&h->tx, frame, frame + TL_FRAME_LEAD, body_len + data_len);
    else
        tl_secret_seal(&h->tx, frame, body_len);
    hand_send(h, frame, size);
    free(frame);
}

void hand_assert_closed(struct hand *h)
{
    uint8_t rest[4096];
    uint64_t began = stage_now_ns();
    read_to_end(h->fd, rest, sizeof rest);
    assert_true(stage_now_ns() - began < 3 * TL_NS_PER_S);
}

void hand_close(struct hand *h)
{
    close(h->fd);
    h->fd = -1;
}
