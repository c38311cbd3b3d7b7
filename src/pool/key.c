// SPDX-License-Identifier: Apache-2.0
/* See key.h. */
#include "pool/key.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "base/bytes.h"

/* Two names of full length, a chunk and a version fit. */
_Static_assert(16 + 1 + 2 * (TIERCEL_KEY_MAX + 2) + 8 + TL_VERSION_BYTES <= TL_STORE_KEY_MAX, "keys fit");

static void add(struct tl_key *k, const void *bytes, size_t len)
{
    check(k->len + len <= sizeof k->bytes);
    memcpy(k->bytes + k->len, bytes, len);
    k->len += len;
}

static void add_u32(struct tl_key *k, uint32_t v)
{
    v = htobe32(v);
    add(k, &v, sizeof v);
}

static void add_u64(struct tl_key *k, uint64_t v)
{
    v = htobe64(v);
    add(k, &v, sizeof v);
}

static uint32_t u32_at(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return be32toh(v);
}

static uint64_t u64_at(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return be64toh(v);
}

void tl_key_begin(struct tl_key *k, struct tiercel_oid oid, enum tl_tag tag)
{
    k->len = 0;
    add_u64(k, oid.hi);
    add_u64(k, oid.lo);
    k->bytes[k->len++] = (uint8_t)tag;
}

int tl_key_add_name(struct tl_key *k, struct tiercel_bytes name)
{
    const uint8_t *from = name.at, *zero;
    size_t left = name.len, start = k->len;
    if (name.len > TIERCEL_KEY_MAX)
        return -ENAMETOOLONG;
    while (left > 0 && (zero = memchr(from, 0, left)) != NULL) {
        size_t n = (size_t)(zero - from) + 1;
        if (k->len - start + n + 1 > TIERCEL_KEY_MAX)
            return -ENAMETOOLONG;
        add(k, from, n);
        k->bytes[k->len++] = 255;
        from += n;
        left -= n;
    }
    if (k->len - start + left > TIERCEL_KEY_MAX)
        return -ENAMETOOLONG;
    if (left > 0)
        add(k, from, left);
    add(k, "\0\1", 2);
    return 0;
}

void tl_key_add_chunk(struct tl_key *k, uint64_t chunk)
{
    add_u64(k, chunk);
}

void tl_key_add_version(struct tl_key *k, const struct tl_version *v)
{
    add_u64(k, ~v->epoch);
    add_u32(k, ~v->handle);
    add_u32(k, ~v->era);
    add_u64(k, ~v->seq);
    add_u32(k, ~v->writer);
}

void tl_key_behind(struct tl_key *k)
{
    while (k->len > 0 && k->bytes[k->len - 1] == 255)
        k->len--;
    if (k->len > 0)
        k->bytes[k->len - 1]++;
}

/* ---- reading ---- */

static int parse_name(const uint8_t **at, const uint8_t *end, struct tl_name *out)
{
    const uint8_t *p = *at;
    out->len = 0;
    while (end - p >= 2) {
        if (p[0] == 0 && p[1] == 1) {
            *at = p + 2;
            return 0;
        }
        if ((p[0] == 0 && p[1] != 255) || p - *at + (p[0] == 0) >= TIERCEL_KEY_MAX)
            return -EBADMSG;
        out->bytes[out->len++] = p[0];
        p += p[0] == 0 ? 2 : 1;
    }
    return -EBADMSG;
}

static void parse_version(const uint8_t *p, struct tl_version *out)
{
    *out = (struct tl_version){.epoch = ~u64_at(p),
                               .handle = ~u32_at(p + 8),
                               .era = ~u32_at(p + 12),
                               .seq = ~u64_at(p + 16),
                               .writer = ~u32_at(p + 24)};
}

int tl_key_version(struct tl_slice key, struct tl_version *out)
{
    if (key.len < 17 + TL_VERSION_BYTES)
        return -EBADMSG;
    parse_version((const uint8_t *)key.at + key.len - TL_VERSION_BYTES, out);
    return 0;
}

int tl_key_parse(struct tl_slice key, struct tl_key_view *out)
{
    if (key.len < 17 + TL_VERSION_BYTES)
        return -EBADMSG;
    const uint8_t *at = key.at, *end = at + key.len - TL_VERSION_BYTES;
    parse_version(end, &out->version);
    out->thing_len = key.len - TL_VERSION_BYTES;
    out->oid = (struct tiercel_oid){.hi = u64_at(at), .lo = u64_at(at + 8)};
    out->tag = at[16];
    out->dkey.len = out->akey.len = 0;
    out->chunk = 0;
    at += 17;
    int rc = out->tag == TL_TAG_OBJECT ? 0 : parse_name(&at, end, &out->dkey);
    if (rc == 0 && (out->tag == TL_TAG_RANGE || out->tag == TL_TAG_VALUE))
        rc = parse_name(&at, end, &out->akey);
    if (rc == 0 && out->tag == TL_TAG_VALUE) {
        if (end - at != 8)
            return -EBADMSG;
        out->chunk = u64_at(at);
        at += 8;
    }
    switch (out->tag) {
    case TL_TAG_OBJECT:
    case TL_TAG_DKEY:
    case TL_TAG_RANGE:
    case TL_TAG_VALUE: return rc == 0 && at == end ? 0 : -EBADMSG;
    }
    return -EBADMSG;
}

/* ---- what is said about a record ---- */

size_t tl_meta_put(uint8_t *out, const struct tl_meta *m)
{
    out[0] = (uint8_t)m->kind;
    switch (m->kind) {
    case TL_KIND_PUNCH:
    case TL_KIND_REST: return 1;
    case TL_KIND_SINGLE: tl_put_u64(out + 1, m->size); return 9;
    case TL_KIND_ARRAY:
        tl_put_u32(out + 1, m->record_size);
        tl_put_u32(out + 5, (uint32_t)m->first);
        tl_put_u32(out + 9, (uint32_t)m->count);
        return 13;
    case TL_KIND_HOLE:
        tl_put_u64(out + 1, m->first);
        tl_put_u64(out + 9, m->count);
        return 17;
    }
    return 0;
}

int tl_meta_get(struct tl_slice meta, struct tl_meta *out)
{
    const uint8_t *m = meta.at;
    if (meta.len < 1)
        return -EBADMSG;
    *out = (struct tl_meta){.kind = m[0]};
    switch (out->kind) {
    case TL_KIND_PUNCH:
    case TL_KIND_REST: return meta.len == 1 ? 0 : -EBADMSG;
    case TL_KIND_SINGLE: out->size = meta.len == 9 ? tl_get_u64(m + 1) : 0; return meta.len == 9 ? 0 : -EBADMSG;
    case TL_KIND_ARRAY:
        if (meta.len != 13)
            return -EBADMSG;
        out->record_size = tl_get_u32(m + 1);
        out->first = tl_get_u32(m + 5);
        out->count = tl_get_u32(m + 9);
        if (out->record_size == 0 || out->record_size > TL_STORE_PAYLOAD_MAX || out->count == 0 ||
            out->first + out->count > tl_chunk_records(out->record_size))
            return -EBADMSG;
        return 0;
    case TL_KIND_HOLE:
        if (meta.len != 17)
            return -EBADMSG;
        out->first = tl_get_u64(m + 1);
        out->count = tl_get_u64(m + 9);
        return out->count <= UINT64_MAX - out->first ? 0 : -EBADMSG;
    }
    return -EBADMSG;
}
