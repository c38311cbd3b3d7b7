// SPDX-License-Identifier: Apache-2.0
/* net/secret.h without secrets, for the fuzzer: a proof or tag holds if its first byte is even, nothing is encrypted, and what
 * is drawn is always the same. So the fuzzer gets behind every check, and meets its failure as well. */
#include <errno.h>
#include <string.h>

#include "net/secret.h"

int tl_secret_start(void)
{
    return 0;
}

void tl_secret_random(void *out, size_t len)
{
    memset(out, 7, len);
}

void tl_secret_draw(struct tl_secret_draw *out)
{
    memset(out, 9, sizeof *out);
}

void tl_secret_wipe(void *p, size_t len)
{
    memset(p, 0, len);
}

uint32_t tl_secret_key_id(const uint8_t job_key[TL_JOB_KEY_SIZE])
{
    return job_key[0];
}

int tl_secret_agree(struct tl_secret_session *out, const uint8_t job_key[TL_JOB_KEY_SIZE],
                    const struct tl_secret_draw *draw, const uint8_t peer_public[32],
                    const uint8_t dialler_hello[TL_HELLO_SIZE], const uint8_t listener_hello[TL_HELLO_SIZE])
{
    (void)job_key;
    (void)draw;
    memset(out, 0, sizeof *out);
    out->transcript[0] = dialler_hello[20];
    out->transcript[1] = listener_hello[20];
    return peer_public[0] % 2 == 0 ? 0 : -EBADMSG;
}

void tl_secret_prove(uint8_t out[TL_PROOF_SIZE], const uint8_t job_key[TL_JOB_KEY_SIZE], enum tl_secret_role role,
                     const uint8_t transcript[32], uint32_t extra)
{
    (void)job_key;
    (void)transcript;
    memset(out, 0, TL_PROOF_SIZE);
    out[1] = (uint8_t)role;
    out[2] = (uint8_t)extra;
}

bool tl_secret_proven(const uint8_t proof[TL_PROOF_SIZE], const uint8_t job_key[TL_JOB_KEY_SIZE],
                      enum tl_secret_role role, const uint8_t transcript[32], uint32_t extra)
{
    (void)job_key;
    (void)role;
    (void)transcript;
    (void)extra;
    return proof[0] % 2 == 0;
}

void tl_secret_seal(struct tl_secret_stream *s, uint8_t *frame, uint32_t body_len)
{
    (void)body_len;
    memset(frame + TL_FRAME_HEAD_SIZE, 0, TL_FRAME_TAG_SIZE);
    s->counter++;
}

int tl_secret_check(struct tl_secret_stream *s, const uint8_t *frame, uint32_t body_len)
{
    (void)body_len;
    s->counter++;
    return frame[TL_FRAME_HEAD_SIZE] % 2 == 0 ? 0 : -EBADMSG;
}

void tl_secret_encrypt(struct tl_secret_stream *s, uint8_t *lead, uint8_t *text, uint32_t len)
{
    (void)text;
    tl_secret_seal(s, lead, len);
}

int tl_secret_decrypt(struct tl_secret_stream *s, const uint8_t *lead, uint8_t *text, uint32_t len)
{
    (void)text;
    return tl_secret_check(s, lead, len);
}
