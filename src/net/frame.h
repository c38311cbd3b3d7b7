// SPDX-License-Identifier: Apache-2.0
/* Bytes on a connection: the handshake's records and the frames after it.
 *
 * Decoders are pure functions over bytes: no state, no allocation, nothing read beyond what they were given. They
 * return the bytes used (> 0), 0 when more are needed, or -EBADMSG. What they return has been checked against the
 * limits here; whether a MAC is right is net/secret's.
 *
 * A connection, in order:
 *
 *     dialler -> listener   hello   (prefix, who, nonce, ephemeral key)
 *     listener -> dialler   hello   (the same, and a proof that it has the job's key)
 *     dialler -> listener   verdict (its proof)
 *     listener -> dialler   verdict (accepted or not, with a MAC)
 *     then frames, both ways: head, MAC or AEAD tag, body, data.
 *
 * The first TL_HELLO_PREFIX_SIZE bytes of a hello keep their layout in every future version, so that any two versions
 * can tell each other which they are. All integers are little-endian. Any thread. */
#ifndef TL_NET_FRAME_H
#define TL_NET_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "net/transport.h"

/* The layout of everything after the prefix; a change here is a change of version, too. */
#define TL_WIRE_VERSION 3u

#define TL_HELLO_PREFIX_SIZE 16u
#define TL_HELLO_SIZE        120u /* prefix included */
#define TL_PROOF_SIZE        32u
#define TL_ANSWER_SIZE       (TL_HELLO_SIZE + TL_PROOF_SIZE) /* the listener's hello */
#define TL_VERDICT_SIZE      (4u + TL_PROOF_SIZE)

#define TL_FRAME_HEAD_SIZE 16u
#define TL_FRAME_TAG_SIZE  16u
#define TL_FRAME_LEAD      (TL_FRAME_HEAD_SIZE + TL_FRAME_TAG_SIZE) /* what is before the body */
#define TL_FRAME_BODY_MAX  TL_MSG_HEADER_MAX
#define TL_READ_BODY_SIZE  24u
#define TL_BULK_BODY_SIZE  20u
#define TL_SIDE_BODY_MAX   4096u
#define TL_AGAIN_BODY_SIZE (4u + TL_PROOF_SIZE)
#define TL_SLICE_MAX       (256u << 10) /* bytes of a read that travel in one frame */
#define TL_SLICE_CRYPT_MAX (64u << 10)  /* the same on an encrypted connection */

/* Why a connection is refused; numbers of the wire. */
enum tl_refusal {
    TL_REFUSE_NONE = 0,
    TL_REFUSE_VERSION = 1,   /* said by the prefix alone */
    TL_REFUSE_JOB = 2,       /* another tier, or another node list */
    TL_REFUSE_ENCRYPT = 3,   /* one side encrypts, the other does not */
    TL_REFUSE_RANK = 4,      /* rank outside the node list, or our own */
    TL_REFUSE_TARGET = 5,    /* the dialler wanted another rank than the one that listens here */
    TL_REFUSE_KEY = 6,       /* the proof is wrong: another job key */
    TL_REFUSE_DUPLICATE = 7, /* another connection between the two lives, or is about to */
    TL_REFUSE_EXPIRED = 8,   /* the key's time is over */
    TL_REFUSE_LAST = TL_REFUSE_EXPIRED,
};

struct tl_hello_prefix {
    uint32_t version; /* of the protocol that the owner speaks */
    uint16_t wire;    /* TL_WIRE_VERSION of the sender */
    uint16_t len;     /* of the whole hello */
};

struct tl_hello {
    struct tl_hello_prefix prefix;
    bool listener; /* which side says it: a hello cannot be sent back to its author */
    bool encrypt;
    enum tl_refusal refusal; /* the listener's, not authenticated */
    uint32_t rank, target;   /* the sender's, and the one it believes to talk to */
    uint32_t key_id;         /* which of the job's keys the dialler proves (secret.h); the listener says it again */
    uint64_t job_id;
    uint64_t instance; /* drawn at open: tells a restarted process from the same one */
    uint64_t known;    /* the dialler's last live connection to this peer, 0: none (see tcp_handshake.c) */
    uint8_t nonce[32];
    uint8_t public_key[32];
};

struct tl_verdict {
    enum tl_refusal refusal;
    const uint8_t *proof; /* TL_PROOF_SIZE bytes within the input */
};

enum tl_frame_type {
    TL_FRAME_MESSAGE = 1, /* body: the message's header, data: its payload */
    TL_FRAME_READ = 2,    /* body: struct tl_frame_read */
    TL_FRAME_BULK = 3,    /* body: struct tl_frame_bulk, data: the slice */
    TL_FRAME_SIDE = 4,    /* body: for a transport stacked on this one; ignored where there is none */
    TL_FRAME_AGAIN = 5,   /* body: struct tl_frame_again */
};

struct tl_frame {
    enum tl_frame_type type;
    uint32_t body_len, data_len;
};

struct tl_frame_read {
    uint64_t id;
    uint64_t offset;
    uint32_t region, len;
};

struct tl_frame_bulk {
    uint64_t id;
    uint64_t offset; /* within the read; slices of a read come in order */
    int status;      /* 0, or the negative errno that ends the read: then there is no data */
};

/* The sender proves another of the job's keys, on a connection that is up. */
struct tl_frame_again {
    uint32_t key_id;
    uint8_t proof[TL_PROOF_SIZE];
};

void tl_hello_prefix_put(uint8_t out[TL_HELLO_PREFIX_SIZE], const struct tl_hello_prefix *prefix);
int tl_hello_prefix_get(const uint8_t *bytes, size_t len, struct tl_hello_prefix *out) TL_MUST_CHECK;

/* Without the listener's proof, which follows the hello. prefix.wire must be TL_WIRE_VERSION to decode. */
void tl_hello_put(uint8_t out[TL_HELLO_SIZE], const struct tl_hello *hello);
int tl_hello_get(const uint8_t *bytes, size_t len, struct tl_hello *out) TL_MUST_CHECK;

/* The proof's bytes are the caller's to fill in. */
void tl_verdict_put(uint8_t out[TL_VERDICT_SIZE], enum tl_refusal refusal);
int tl_verdict_get(const uint8_t *bytes, size_t len, struct tl_verdict *out) TL_MUST_CHECK;

void tl_frame_head_put(uint8_t out[TL_FRAME_HEAD_SIZE], const struct tl_frame *frame);
int tl_frame_head_get(const uint8_t *bytes, size_t len, bool encrypted, struct tl_frame *out) TL_MUST_CHECK;

void tl_frame_read_put(uint8_t out[TL_READ_BODY_SIZE], const struct tl_frame_read *read);
int tl_frame_read_get(const uint8_t *body, size_t len, struct tl_frame_read *out) TL_MUST_CHECK;

void tl_frame_bulk_put(uint8_t out[TL_BULK_BODY_SIZE], const struct tl_frame_bulk *bulk);
/* data_len: the frame's; a refusal with data, or a slice without, is malformed. */
int tl_frame_bulk_get(const uint8_t *body, size_t len, uint32_t data_len, struct tl_frame_bulk *out) TL_MUST_CHECK;

void tl_frame_again_put(uint8_t out[TL_AGAIN_BODY_SIZE], const struct tl_frame_again *again);
int tl_frame_again_get(const uint8_t *body, size_t len, struct tl_frame_again *out) TL_MUST_CHECK;

#endif
