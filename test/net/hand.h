// SPDX-License-Identifier: Apache-2.0
/* A peer made by hand: it knows the job's key, or not, and says whatever a test wants it to say. */
#ifndef TL_TEST_NET_HAND_H
#define TL_TEST_NET_HAND_H

#include "net/frame.h"
#include "net/secret.h"

struct hand {
    int fd;
    bool dialler;
    struct tl_secret_draw draw;
    uint8_t ours[TL_HELLO_SIZE], theirs[TL_ANSWER_SIZE];
    struct tl_hello hello; /* theirs */
    struct tl_secret_session session;
    struct tl_secret_stream tx, rx;
};

/* A hello from rank to target as an honest node of the stage would say it, but for nonce and key. */
struct tl_hello hand_honest(uint32_t rank, uint32_t target, bool listener);

/* Connects to a node of the stage and says hello; draws nonce and key. */
void hand_dial(struct hand *h, const char *address, struct tl_hello hello);
/* Fills in and sends a listener's hello, without a proof unless `key` is given. */
void hand_answer(struct hand *h, struct tl_hello hello, const uint8_t *key);
/* Reads exactly len bytes while the stage runs. False: the other side has closed the connection. */
bool hand_read(struct hand *h, void *into, size_t len);
/* Reads the listener's answer. False: none came. */
bool hand_take_answer(struct hand *h);
/* Proves `key`, and reads the verdict. -1: the connection was closed instead. */
int hand_prove(struct hand *h, const uint8_t key[TL_JOB_KEY_SIZE]);
/* All of the above, as an honest dialler of that rank would. */
void hand_link(struct hand *h, uint32_t rank);
/* Seals and sends a frame with the head's lengths as they are given; data is not covered unless encrypted. */
void hand_frame(struct hand *h, const struct tl_frame *head, const uint8_t *body, uint32_t body_len, uint32_t data_len);
void hand_send(struct hand *h, const void *bytes, size_t len);
/* The other side closes the connection, sooner than its handshake's deadline would. */
void hand_assert_closed(struct hand *h);
void hand_close(struct hand *h);

extern const uint8_t hand_key[TL_JOB_KEY_SIZE]; /* the stage's job key */

#endif
