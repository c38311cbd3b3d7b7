// SPDX-License-Identifier: Apache-2.0
/* The cryptography of a connection, on libsodium: who proves what, and how frames are sealed.
 *
 * Both sides draw a nonce and an X25519 key pair for each connection. Each proves that it has the job's key by a MAC
 * over both hellos; session keys come from the job's key, the X25519 secret and the hellos, so that a job key that
 * leaks later does not open what was recorded. Each direction has its own key and counter: a frame that is replayed,
 * reordered, left out or sent back fails.
 *
 * A frame is sealed either by a keyed BLAKE2b-128 over counter, head and body (data is not covered: the owner checks
 * it against a digest), or, with encryption, by ChaCha20-Poly1305 over all of it, the counter being the nonce.
 * No state but the structs; one owner thread each. */
#ifndef TL_NET_SECRET_H
#define TL_NET_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "net/frame.h"

/* What one side keeps between its hello and the end of the handshake. */
struct tl_secret_draw {
    uint8_t nonce[32];
    uint8_t public_key[32];
    uint8_t private_key[32];
};

/* One direction of a live connection. */
struct tl_secret_stream {
    uint8_t key[32];
    uint64_t counter; /* frames sealed or opened so far */
};

struct tl_secret_session {
    uint8_t transcript[32]; /* hash of both hellos */
    struct tl_secret_stream from_dialler, from_listener;
};

enum tl_secret_role {
    TL_SECRET_LISTENER = 1,
    TL_SECRET_DIALLER = 2,
    TL_SECRET_VERDICT = 3,
    TL_SECRET_AGAIN_LISTENER = 4, /* on a connection that is up */
    TL_SECRET_AGAIN_DIALLER = 5,
};

/* Once a process, before anything else here; any number of times. 0, -EIO (no randomness). */
int tl_secret_start(void) TL_MUST_CHECK;
void tl_secret_random(void *out, size_t len);
void tl_secret_draw(struct tl_secret_draw *out);
void tl_secret_wipe(void *p, size_t len);

/* A key's name on the wire: tells it from the others that a job has at the time, and nothing about its bytes. */
uint32_t tl_secret_key_id(const uint8_t job_key[TL_JOB_KEY_SIZE]);

/* Transcript and session keys from our draw and both hellos as they were sent. 0, -EBADMSG: the peer's public key is
 * one that gives away the secret. */
int tl_secret_agree(struct tl_secret_session *out, const uint8_t job_key[TL_JOB_KEY_SIZE],
                    const struct tl_secret_draw *draw, const uint8_t peer_public[32],
                    const uint8_t dialler_hello[TL_HELLO_SIZE],
                    const uint8_t listener_hello[TL_HELLO_SIZE]) TL_MUST_CHECK;

/* The MAC by which one role proves the job's key; extra is the verdict's refusal, the key's name
 * for a proof on a connection that is up, 0 for hellos. */
void tl_secret_prove(uint8_t out[TL_PROOF_SIZE], const uint8_t job_key[TL_JOB_KEY_SIZE], enum tl_secret_role role,
                     const uint8_t transcript[32], uint32_t extra);
bool tl_secret_proven(const uint8_t proof[TL_PROOF_SIZE], const uint8_t job_key[TL_JOB_KEY_SIZE],
                      enum tl_secret_role role, const uint8_t transcript[32], uint32_t extra);

/* Fills in the tag of a frame whose head and body lie at frame, TL_FRAME_LEAD apart from the body. */
void tl_secret_seal(struct tl_secret_stream *s, uint8_t *frame, uint32_t body_len);
/* 0, -EBADMSG. */
int tl_secret_check(struct tl_secret_stream *s, const uint8_t *frame, uint32_t body_len) TL_MUST_CHECK;

/* The same with encryption; len bytes of body and data lie at text and are changed in place. head and tag are the
 * frame's first TL_FRAME_LEAD bytes. */
void tl_secret_encrypt(struct tl_secret_stream *s, uint8_t *lead, uint8_t *text, uint32_t len);
int tl_secret_decrypt(struct tl_secret_stream *s, const uint8_t *lead, uint8_t *text, uint32_t len) TL_MUST_CHECK;

#endif
