// SPDX-License-Identifier: Apache-2.0
#include "net/secret.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "base/bytes.h"

/* Labels keep the uses of the job's key apart; they are hashed with their terminating NUL. */
static const char proof_label[] = "tiercel proof 1", keys_label[] = "tiercel keys 1", id_label[] = "tiercel key id 1";

int tl_secret_start(void)
{
    return sodium_init() < 0 ? -EIO : 0;
}

void tl_secret_random(void *out, size_t len)
{
    randombytes_buf(out, len);
}

void tl_secret_draw(struct tl_secret_draw *out)
{
    randombytes_buf(out->nonce, sizeof out->nonce);
    crypto_box_keypair(out->public_key, out->private_key); /* X25519 */
}

void tl_secret_wipe(void *p, size_t len)
{
    sodium_memzero(p, len);
}

uint32_t tl_secret_key_id(const uint8_t job_key[TL_JOB_KEY_SIZE])
{
    uint8_t id[crypto_generichash_BYTES_MIN];
    crypto_generichash(id, sizeof id, (const uint8_t *)id_label, sizeof id_label, job_key, TL_JOB_KEY_SIZE);
    return tl_get_u32(id);
}

int tl_secret_agree(struct tl_secret_session *out, const uint8_t job_key[TL_JOB_KEY_SIZE],
                    const struct tl_secret_draw *draw, const uint8_t peer_public[32],
                    const uint8_t dialler_hello[TL_HELLO_SIZE], const uint8_t listener_hello[TL_HELLO_SIZE])
{
    uint8_t shared[crypto_scalarmult_BYTES], keys[64];
    if (crypto_scalarmult(shared, draw->private_key, peer_public) != 0)
        return -EBADMSG;
    crypto_generichash_state h;
    crypto_generichash_init(&h, NULL, 0, sizeof out->transcript);
    crypto_generichash_update(&h, dialler_hello, TL_HELLO_SIZE);
    crypto_generichash_update(&h, listener_hello, TL_HELLO_SIZE);
    crypto_generichash_final(&h, out->transcript, sizeof out->transcript);

    crypto_generichash_init(&h, job_key, TL_JOB_KEY_SIZE, sizeof keys);
    crypto_generichash_update(&h, (const uint8_t *)keys_label, sizeof keys_label);
    crypto_generichash_update(&h, shared, sizeof shared);
    crypto_generichash_update(&h, out->transcript, sizeof out->transcript);
    crypto_generichash_final(&h, keys, sizeof keys);
    memcpy(out->from_dialler.key, keys, 32);
    memcpy(out->from_listener.key, keys + 32, 32);
    out->from_dialler.counter = 0;
    out->from_listener.counter = 0;
    sodium_memzero(shared, sizeof shared);
    sodium_memzero(keys, sizeof keys);
    return 0;
}

void tl_secret_prove(uint8_t out[TL_PROOF_SIZE], const uint8_t job_key[TL_JOB_KEY_SIZE], enum tl_secret_role role,
                     const uint8_t transcript[32], uint32_t extra)
{
    uint8_t tail[8];
    tl_put_u32(tail, (uint32_t)role);
    tl_put_u32(tail + 4, extra);
    crypto_generichash_state h;
    crypto_generichash_init(&h, job_key, TL_JOB_KEY_SIZE, TL_PROOF_SIZE);
    crypto_generichash_update(&h, (const uint8_t *)proof_label, sizeof proof_label);
    crypto_generichash_update(&h, transcript, 32);
    crypto_generichash_update(&h, tail, sizeof tail);
    crypto_generichash_final(&h, out, TL_PROOF_SIZE);
}

bool tl_secret_proven(const uint8_t proof[TL_PROOF_SIZE], const uint8_t job_key[TL_JOB_KEY_SIZE],
                      enum tl_secret_role role, const uint8_t transcript[32], uint32_t extra)
{
    uint8_t want[TL_PROOF_SIZE];
    tl_secret_prove(want, job_key, role, transcript, extra);
    return sodium_memcmp(want, proof, sizeof want) == 0;
}

static void frame_mac(uint8_t out[TL_FRAME_TAG_SIZE], const struct tl_secret_stream *s, const uint8_t *frame,
                      uint32_t body_len)
{
    uint8_t counter[8];
    tl_put_u64(counter, s->counter);
    crypto_generichash_state h;
    crypto_generichash_init(&h, s->key, sizeof s->key, TL_FRAME_TAG_SIZE);
    crypto_generichash_update(&h, counter, sizeof counter);
    crypto_generichash_update(&h, frame, TL_FRAME_HEAD_SIZE);
    crypto_generichash_update(&h, frame + TL_FRAME_LEAD, body_len);
    crypto_generichash_final(&h, out, TL_FRAME_TAG_SIZE);
}

void tl_secret_seal(struct tl_secret_stream *s, uint8_t *frame, uint32_t body_len)
{
    frame_mac(frame + TL_FRAME_HEAD_SIZE, s, frame, body_len);
    s->counter++;
}

int tl_secret_check(struct tl_secret_stream *s, const uint8_t *frame, uint32_t body_len)
{
    uint8_t want[TL_FRAME_TAG_SIZE];
    frame_mac(want, s, frame, body_len);
    if (sodium_memcmp(want, frame + TL_FRAME_HEAD_SIZE, sizeof want) != 0)
        return -EBADMSG;
    s->counter++;
    return 0;
}

/* A key lives for one direction of one connection, so a counter never meets the same key twice. */
static void counter_nonce(uint8_t out[crypto_aead_chacha20poly1305_ietf_NPUBBYTES], uint64_t counter)
{
    memset(out, 0, crypto_aead_chacha20poly1305_ietf_NPUBBYTES);
    tl_put_u64(out, counter);
}

void tl_secret_encrypt(struct tl_secret_stream *s, uint8_t *lead, uint8_t *text, uint32_t len)
{
    uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];
    counter_nonce(nonce, s->counter);
    crypto_aead_chacha20poly1305_ietf_encrypt_detached(text, lead + TL_FRAME_HEAD_SIZE, NULL, text, len, lead,
                                                       TL_FRAME_HEAD_SIZE, NULL, nonce, s->key);
    s->counter++;
}

int tl_secret_decrypt(struct tl_secret_stream *s, const uint8_t *lead, uint8_t *text, uint32_t len)
{
    uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];
    counter_nonce(nonce, s->counter);
    if (crypto_aead_chacha20poly1305_ietf_decrypt_detached(text, NULL, text, len, lead + TL_FRAME_HEAD_SIZE, lead,
                                                           TL_FRAME_HEAD_SIZE, nonce, s->key) != 0)
        return -EBADMSG;
    s->counter++;
    return 0;
}
