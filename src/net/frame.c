// SPDX-License-Identifier: Apache-2.0
#include "net/frame.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

static const uint8_t magic[8] = {'T', 'I', 'E', 'R', 'C', 'E', 'L', 0};

void tl_hello_prefix_put(uint8_t out[TL_HELLO_PREFIX_SIZE], const struct tl_hello_prefix *prefix)
{
    memcpy(out, magic, sizeof magic);
    tl_put_u32(out + 8, prefix->version);
    tl_put_u16(out + 12, prefix->wire);
    tl_put_u16(out + 14, prefix->len);
}

int tl_hello_prefix_get(const uint8_t *bytes, size_t len, struct tl_hello_prefix *out)
{
    /* Garbage is known for what it is by its first byte. */
    size_t compare = len < sizeof magic ? len : sizeof magic;
    if (memcmp(bytes, magic, compare) != 0)
        return -EBADMSG;
    if (len < TL_HELLO_PREFIX_SIZE)
        return 0;
    struct tl_hello_prefix prefix = {
        .version = tl_get_u32(bytes + 8), .wire = tl_get_u16(bytes + 12), .len = tl_get_u16(bytes + 14)};
    if (prefix.len < TL_HELLO_PREFIX_SIZE)
        return -EBADMSG;
    *out = prefix;
    return (int)TL_HELLO_PREFIX_SIZE;
}

void tl_hello_put(uint8_t out[TL_HELLO_SIZE], const struct tl_hello *hello)
{
    tl_hello_prefix_put(out, &hello->prefix);
    tl_put_u8(out + 16, hello->listener);
    tl_put_u8(out + 17, hello->encrypt);
    tl_put_u16(out + 18, (uint16_t)hello->refusal);
    tl_put_u32(out + 20, hello->rank);
    tl_put_u32(out + 24, hello->target);
    tl_put_u32(out + 28, hello->key_id);
    tl_put_u64(out + 32, hello->job_id);
    tl_put_u64(out + 40, hello->instance);
    tl_put_u64(out + 48, hello->known);
    memcpy(out + 56, hello->nonce, 32);
    memcpy(out + 88, hello->public_key, 32);
}

int tl_hello_get(const uint8_t *bytes, size_t len, struct tl_hello *out)
{
    struct tl_hello hello = {0};
    int used = tl_hello_prefix_get(bytes, len, &hello.prefix);
    if (used <= 0)
        return used;
    if (hello.prefix.wire != TL_WIRE_VERSION || hello.prefix.len < TL_HELLO_SIZE)
        return -EBADMSG;
    if (len < TL_HELLO_SIZE)
        return 0;
    uint8_t listener = tl_get_u8(bytes + 16), encrypt = tl_get_u8(bytes + 17);
    uint16_t refusal = tl_get_u16(bytes + 18);
    if (listener > 1 || encrypt > 1 || refusal > TL_REFUSE_LAST)
        return -EBADMSG;
    if (hello.prefix.len != (listener ? TL_ANSWER_SIZE : TL_HELLO_SIZE))
        return -EBADMSG;
    hello.listener = listener;
    hello.encrypt = encrypt;
    hello.refusal = (enum tl_refusal)refusal;
    hello.rank = tl_get_u32(bytes + 20);
    hello.target = tl_get_u32(bytes + 24);
    hello.key_id = tl_get_u32(bytes + 28);
    hello.job_id = tl_get_u64(bytes + 32);
    hello.instance = tl_get_u64(bytes + 40);
    hello.known = tl_get_u64(bytes + 48);
    memcpy(hello.nonce, bytes + 56, 32);
    memcpy(hello.public_key, bytes + 88, 32);
    *out = hello;
    return (int)TL_HELLO_SIZE;
}

void tl_verdict_put(uint8_t out[TL_VERDICT_SIZE], enum tl_refusal refusal)
{
    tl_put_u32(out, (uint32_t)refusal);
    memset(out + 4, 0, TL_PROOF_SIZE);
}

int tl_verdict_get(const uint8_t *bytes, size_t len, struct tl_verdict *out)
{
    if (len < TL_VERDICT_SIZE)
        return 0;
    uint32_t refusal = tl_get_u32(bytes);
    if (refusal > TL_REFUSE_LAST)
        return -EBADMSG;
    *out = (struct tl_verdict){.refusal = (enum tl_refusal)refusal, .proof = bytes + 4};
    return (int)TL_VERDICT_SIZE;
}

void tl_frame_head_put(uint8_t out[TL_FRAME_HEAD_SIZE], const struct tl_frame *frame)
{
    tl_put_u32(out, frame->body_len);
    tl_put_u32(out + 4, frame->data_len);
    tl_put_u32(out + 8, (uint32_t)frame->type);
    tl_put_u32(out + 12, 0);
}

static bool frame_fits(const struct tl_frame *frame, bool encrypted)
{
    uint32_t slice_max = encrypted ? TL_SLICE_CRYPT_MAX : TL_SLICE_MAX;
    switch (frame->type) {
    case TL_FRAME_MESSAGE:
        return frame->body_len <= TL_MSG_HEADER_MAX && frame->data_len <= TL_MSG_SIZE_MAX - frame->body_len;
    case TL_FRAME_READ: return frame->body_len == TL_READ_BODY_SIZE && frame->data_len == 0;
    case TL_FRAME_BULK: return frame->body_len == TL_BULK_BODY_SIZE && frame->data_len <= slice_max;
    case TL_FRAME_SIDE: return frame->body_len <= TL_SIDE_BODY_MAX && frame->data_len == 0;
    case TL_FRAME_AGAIN: return frame->body_len == TL_AGAIN_BODY_SIZE && frame->data_len == 0;
    }
    return false;
}

int tl_frame_head_get(const uint8_t *bytes, size_t len, bool encrypted, struct tl_frame *out)
{
    if (len < TL_FRAME_HEAD_SIZE)
        return 0;
    uint32_t type = tl_get_u32(bytes + 8);
    if (type < TL_FRAME_MESSAGE || type > TL_FRAME_AGAIN || tl_get_u32(bytes + 12) != 0)
        return -EBADMSG;
    struct tl_frame frame = {
        .type = (enum tl_frame_type)type, .body_len = tl_get_u32(bytes), .data_len = tl_get_u32(bytes + 4)};
    if (!frame_fits(&frame, encrypted))
        return -EBADMSG;
    *out = frame;
    return (int)TL_FRAME_HEAD_SIZE;
}

void tl_frame_read_put(uint8_t out[TL_READ_BODY_SIZE], const struct tl_frame_read *read)
{
    tl_put_u64(out, read->id);
    tl_put_u64(out + 8, read->offset);
    tl_put_u32(out + 16, read->region);
    tl_put_u32(out + 20, read->len);
}

int tl_frame_read_get(const uint8_t *body, size_t len, struct tl_frame_read *out)
{
    if (len != TL_READ_BODY_SIZE || tl_get_u32(body + 20) == 0)
        return -EBADMSG;
    *out = (struct tl_frame_read){.id = tl_get_u64(body),
                                  .offset = tl_get_u64(body + 8),
                                  .region = tl_get_u32(body + 16),
                                  .len = tl_get_u32(body + 20)};
    return (int)TL_READ_BODY_SIZE;
}

/* Error numbers of the wire: errno differs between systems. */
static const int wire_status[] = {0, -EINVAL, -EACCES, -EIO};
enum { WIRE_STATUS_COUNT = sizeof wire_status / sizeof wire_status[0] };

void tl_frame_bulk_put(uint8_t out[TL_BULK_BODY_SIZE], const struct tl_frame_bulk *bulk)
{
    uint32_t code = WIRE_STATUS_COUNT - 1;
    for (uint32_t i = 0; i < WIRE_STATUS_COUNT; i++)
        if (wire_status[i] == bulk->status)
            code = i;
    tl_put_u64(out, bulk->id);
    tl_put_u64(out + 8, bulk->offset);
    tl_put_u32(out + 16, code);
}

int tl_frame_bulk_get(const uint8_t *body, size_t len, uint32_t data_len, struct tl_frame_bulk *out)
{
    if (len != TL_BULK_BODY_SIZE)
        return -EBADMSG;
    uint32_t code = tl_get_u32(body + 16);
    if (code >= WIRE_STATUS_COUNT || (code == 0) != (data_len > 0))
        return -EBADMSG;
    *out = (struct tl_frame_bulk){.id = tl_get_u64(body), .offset = tl_get_u64(body + 8), .status = wire_status[code]};
    return (int)TL_BULK_BODY_SIZE;
}

void tl_frame_again_put(uint8_t out[TL_AGAIN_BODY_SIZE], const struct tl_frame_again *again)
{
    tl_put_u32(out, again->key_id);
    memcpy(out + 4, again->proof, TL_PROOF_SIZE);
}

int tl_frame_again_get(const uint8_t *body, size_t len, struct tl_frame_again *out)
{
    if (len != TL_AGAIN_BODY_SIZE)
        return -EBADMSG;
    out->key_id = tl_get_u32(body);
    memcpy(out->proof, body + 4, TL_PROOF_SIZE);
    return (int)TL_AGAIN_BODY_SIZE;
}
