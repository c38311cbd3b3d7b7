// SPDX-License-Identifier: Apache-2.0
/* Keys of omaps, values of the index, names of objects; see rados.h. Numbers are little-endian. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "store/rados.h"

size_t tl_rados_escape(char *out, struct tl_slice key, bool end)
{
    const uint8_t *from = key.at;
    size_t n = 0;
    for (size_t i = 0; i < key.len; i++) {
        if (from[i] <= 1) {
            out[n++] = 1;
            out[n++] = (char)(from[i] + 1);
        } else {
            out[n++] = (char)from[i];
        }
    }
    if (end)
        out[n++] = 1;
    out[n] = 0;
    return n;
}

int tl_rados_unescape(uint8_t *out, size_t *len, const char *in, size_t in_len)
{
    size_t n = 0;
    if (in_len == 0 || in[in_len - 1] != 1)
        return -EBADMSG;
    for (size_t i = 0; i + 1 < in_len; i++) {
        if (n == TL_STORE_KEY_MAX || in[i] == 0)
            return -EBADMSG;
        if (in[i] != 1) {
            out[n++] = (uint8_t)in[i];
            continue;
        }
        i++;
        if (i + 1 >= in_len || (in[i] != 1 && in[i] != 2))
            return -EBADMSG;
        out[n++] = (uint8_t)(in[i] - 1);
    }
    *len = n;
    return 0;
}

/* ---- which shard ---- */

size_t tl_rados_names_end(struct tl_slice key)
{
    const uint8_t *k = key.at;
    size_t at = TL_RADOS_OBJECT + 1;
    if (key.len < at || k[TL_RADOS_OBJECT] != 'V')
        return 0;
    for (unsigned names = 0; names < 2; names++) { /* each ends with 0 1; a 0 in it has something else behind it */
        while (at + 1 < key.len && (k[at] != 0 || k[at + 1] != 1))
            at += k[at] == 0 ? 2 : 1;
        if (at + 1 >= key.len)
            return 0;
        at += 2;
    }
    return at;
}

bool tl_rados_has_chunk(struct tl_slice key)
{
    size_t at = tl_rados_names_end(key);
    return at != 0 && key.len - at >= 8;
}

uint64_t tl_rados_group(struct tl_slice key)
{
    const uint8_t *k = key.at;
    uint64_t chunk = 0;
    if (!tl_rados_has_chunk(key))
        return 0;
    for (size_t at = tl_rados_names_end(key), i = 0; i < 8; i++)
        chunk = chunk << 8 | k[at + i];
    return chunk / TL_RADOS_GROUP;
}

uint32_t tl_rados_shard(const struct tl_rados *r, struct tl_slice key)
{
    uint64_t group = tl_rados_group(key);
    size_t len = group != 0 ? tl_rados_names_end(key) : key.len < TL_RADOS_OBJECT ? key.len : TL_RADOS_OBJECT;
    return (uint32_t)(tl_hash64(key.at, len, group) % r->shards);
}

size_t tl_rados_mark_key(char *out, struct tl_slice key)
{
    check(key.len >= TL_RADOS_OBJECT);
    memcpy(out, "\1\3", 2);
    return 2 + tl_rados_escape(out + 2, (struct tl_slice){key.at, TL_RADOS_OBJECT}, false);
}

bool tl_rados_is_mark(const char *key, size_t len)
{
    return len >= 2 && key[0] == 1 && key[1] == 3;
}

/* ---- values ---- */

enum { INLINED = 1, BLOB = 2 };
#define REFERENCE 17u /* what names a blob: writer, number, and in which RADOS pool it is */

uint64_t tl_rados_check(const void *bytes, size_t len)
{
    return tl_hash64(bytes, len, 0x7261646f);
}

static uint32_t checks_of(uint32_t len)
{
    return len == 0 ? 1 : (len + TL_RADOS_CHECK - 1) / TL_RADOS_CHECK;
}

size_t tl_rados_value_put(uint8_t *out, const struct tl_record *r, uint64_t writer, uint64_t seq, uint8_t data)
{
    uint32_t len = (uint32_t)r->payload.len;
    uint8_t *at = out;
    *at++ = (uint8_t)r->meta.len;
    if (r->meta.len > 0)
        memcpy(at, r->meta.at, r->meta.len);
    at += r->meta.len;
    *at++ = len <= TL_RADOS_INLINE ? INLINED : BLOB;
    tl_put_u32(at, len);
    at += 4;
    for (uint32_t i = 0; i < checks_of(len); i++, at += 8) {
        uint32_t start = i * TL_RADOS_CHECK, part = len - start < TL_RADOS_CHECK ? len - start : TL_RADOS_CHECK;
        tl_put_u64(at, tl_rados_check((const uint8_t *)r->payload.at + start, part));
    }
    if (len > TL_RADOS_INLINE) {
        tl_put_u64(at, writer);
        tl_put_u64(at + 8, seq);
        at[16] = data;
        return (size_t)(at - out) + REFERENCE;
    }
    if (len > 0)
        memcpy(at, r->payload.at, len);
    return (size_t)(at - out) + len;
}

int tl_rados_value_get(struct tl_slice in, struct tl_rados_value *out)
{
    const uint8_t *p = in.at;
    size_t meta = in.len > 0 ? p[0] : 0, fixed = 1 + meta + 5;
    if (in.len < fixed)
        return -EBADMSG;
    *out = (struct tl_rados_value){.meta = {p + 1, meta}, .len = tl_get_u32(p + 1 + meta + 1)};
    uint8_t kind = p[1 + meta];
    if (out->len > TL_STORE_PAYLOAD_MAX || (kind != INLINED && kind != BLOB))
        return -EBADMSG;
    out->inlined = kind == INLINED;
    out->checks = (struct tl_slice){p + fixed, 8ull * checks_of(out->len)};
    if (in.len != fixed + out->checks.len + (out->inlined ? out->len : REFERENCE))
        return -EBADMSG;
    const uint8_t *rest = p + fixed + out->checks.len;
    if (out->inlined) {
        out->bytes = rest;
        return 0;
    }
    out->writer = tl_get_u64(rest);
    out->seq = tl_get_u64(rest + 8);
    out->data = rest[16];
    return 0;
}

uint64_t tl_rados_record_bytes(const struct tl_found *f)
{
    const uint8_t *key = f->key.at;
    uint64_t bytes = f->key.len + 1 + 1 + f->meta.len + 5 + 8ull * checks_of(f->payload_len) + f->payload_len;
    for (size_t i = 0; i < f->key.len; i++)
        bytes += key[i] <= 1;
    return bytes + (f->payload_len > TL_RADOS_INLINE ? REFERENCE : 0);
}

/* ---- names ---- */

static void hex(char *out, const uint8_t *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * len] = 0;
}

struct tl_rados_name tl_rados_state_name(const struct tl_store_id *id)
{
    struct tl_rados_name n = {"s."};
    hex(n.text + 2, id->bytes, sizeof id->bytes);
    return n;
}

struct tl_rados_name tl_rados_made_name(const struct tl_store_id *id)
{
    struct tl_rados_name n = tl_rados_state_name(id);
    n.text[0] = 'i';
    return n;
}

struct tl_rados_name tl_rados_index_name(const struct tl_store_id *id, uint32_t shard)
{
    struct tl_rados_name n = {"i."};
    hex(n.text + 2, id->bytes, sizeof id->bytes);
    snprintf(n.text + 34, sizeof n.text - 34, ".%u", shard);
    return n;
}

struct tl_rados_name tl_rados_blob_name(const struct tl_store_id *id, uint64_t writer, uint64_t seq)
{
    struct tl_rados_name n = {"d."};
    hex(n.text + 2, id->bytes, sizeof id->bytes);
    snprintf(n.text + 34, sizeof n.text - 34, ".%016llx.%llx", (unsigned long long)writer, (unsigned long long)seq);
    return n;
}
