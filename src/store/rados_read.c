// SPDX-License-Identifier: Apache-2.0
/* Reading payloads. A place is: HERE, one checksum, the payload itself; RECORD, container, key: it is in the index, and too large to be shown; BLOB,
 * container, length, writer, number, RADOS pool, checksums.
 *
 * Of the last kind several may be on their way, so that reading much waits for the cluster once, and not for each object. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "store/rados.h"

#define ON_WAY       16u
#define ON_WAY_BYTES (16u << 20) /* one more may begin if there are less */
#define CHECKS       (TL_STORE_PAYLOAD_MAX / TL_RADOS_CHECK)

struct blob { /* on its way: the checked pieces that the wanted bytes lie in, whole */
    rados_completion_t done;
    struct tl_rados_name name;
    unsigned data;
    uint32_t from, to, offset, len;
    char *into;
    void *out; /* may be the same */
    uint64_t checks[CHECKS];
};

struct tl_rados_reads { /* a ring */
    struct blob list[ON_WAY];
    unsigned first, count;
    size_t bytes;
    int rc; /* of the first that failed */
};

int tl_rados_failed(struct tl_rados *r, const struct tl_rados_name *object, unsigned data, int rc)
{
    r->failed = *object;
    r->failed_data = data;
    r->failed_rc = rc;
    return rc;
}

/* ---- in the index ---- */

static int read_here(struct tl_slice place, uint32_t offset, void *out, uint32_t len)
{
    const uint8_t *p = place.at;
    size_t all = place.len - 9;
    if (offset > all || len > all - offset)
        return -EINVAL;
    if (tl_rados_check(p + 9, all) != tl_get_u64(p + 1))
        return -EBADMSG;
    if (len > 0)
        memcpy(out, p + 9 + offset, len);
    return 0;
}

static int copy_value(struct tl_slice value, uint32_t offset, void *out, uint32_t len)
{
    struct tl_rados_value v;
    int rc = tl_rados_value_get(value, &v);
    if (rc != 0 || !v.inlined || tl_rados_check(v.bytes, v.len) != tl_get_u64(v.checks.at))
        return -EBADMSG;
    if (offset > v.len || len > v.len - offset)
        return -EINVAL;
    if (len > 0)
        memcpy(out, v.bytes + offset, len);
    return 0;
}

static int read_record(struct tl_rados *r, struct tl_slice place, uint32_t offset, void *out, uint32_t len)
{
    const uint8_t *p = place.at;
    const struct tl_slice key = {p + 17, place.len - 17};
    struct tl_store_id id;
    char escaped[TL_RADOS_KEY], *k = NULL, *v = NULL;
    const char *keys = escaped;
    rados_omap_iter_t found = NULL;
    size_t klen, vlen;
    int rc_found = 0;
    memcpy(id.bytes, p + 1, sizeof id.bytes);
    size_t key_len = tl_rados_escape(escaped, key, true);
    struct tl_rados_name shard = tl_rados_index_name(&id, tl_rados_shard(r, key));
    rados_read_op_t op = r->lib->create_read_op();
    r->lib->read_op_omap_get_vals_by_keys2(op, &keys, 1, &key_len, &found, &rc_found);
    int rc = tl_rados_read_meta(r, op, shard.text);
    rc = rc == 0 ? tl_rados_error(rc_found) : rc;
    rc = rc == 0 ? r->lib->omap_get_next2(found, &k, &v, &klen, &vlen) : rc;
    if (rc == 0)
        rc = k == NULL ? -ENOENT : copy_value((struct tl_slice){v, vlen}, offset, out, len);
    if (found != NULL)
        r->lib->omap_get_end(found);
    r->lib->release_read_op(op);
    return rc == 0 ? 0 : tl_rados_failed(r, &shard, TL_STORE_CLASSES, rc);
}

/* ---- objects ---- */

static struct tl_rados_spot spot_of(const struct tl_rados *r, const struct blob *b)
{
    return (struct tl_rados_spot){r->data[b->data].io, r->data[b->data].name, b->name.text};
}

/* What a place says; -EBADMSG, -EINVAL. */
static int parse(const struct tl_rados *r, struct tl_slice place, uint32_t offset, uint32_t len, struct blob *b)
{
    const uint8_t *p = place.at;
    struct tl_store_id id;
    if (place.len < TL_RADOS_BLOB_HEAD + 8 || p[0] != TL_RADOS_PLACE_BLOB)
        return -EBADMSG;
    uint32_t all = tl_get_u32(p + 17), pieces = (all + TL_RADOS_CHECK - 1) / TL_RADOS_CHECK;
    if (all > TL_STORE_PAYLOAD_MAX || place.len != TL_RADOS_BLOB_HEAD + 8ull * (pieces > 0 ? pieces : 1) ||
        p[37] >= r->classes.count)
        return -EBADMSG;
    if (offset > all || len > all - offset)
        return -EINVAL;
    memcpy(id.bytes, p + 1, sizeof id.bytes);
    uint32_t end = (offset + len + TL_RADOS_CHECK - 1) / TL_RADOS_CHECK * TL_RADOS_CHECK;
    *b = (struct blob){.name = tl_rados_blob_name(&id, tl_get_u64(p + 21), tl_get_u64(p + 29)),
                       .data = p[37],
                       .from = offset / TL_RADOS_CHECK * TL_RADOS_CHECK,
                       .to = end < all ? end : all,
                       .offset = offset,
                       .len = len};
    for (uint32_t i = 0; i < pieces; i++)
        b->checks[i] = tl_get_u64(p + TL_RADOS_BLOB_HEAD + 8ull * i);
    return 0;
}

/* 0: it is on its way, and needs an end. */
static int begin(struct tl_rados *r, struct blob *b, void *out)
{
    const struct tl_rados_spot spot = spot_of(r, b);
    bool whole = b->from == b->offset && b->to == b->offset + b->len;
    b->out = out;
    b->into = whole ? out : malloc(b->to - b->from);
    int rc = b->into == NULL ? -ENOMEM : tl_rados_ask_begin(r, &spot, &b->done);
    if (rc == 0) {
        rc = r->lib->aio_read(spot.io, spot.object, b->done, b->into, b->to - b->from, b->from);
        if (rc == 0)
            return 0;
        rc = tl_rados_ask_end(r, &spot, b->done, rc);
    }
    if (!whole)
        free(b->into);
    return rc;
}

static int end(struct tl_rados *r, struct blob *b)
{
    const struct tl_rados_spot spot = spot_of(r, b);
    const uint32_t len = b->to - b->from;
    int rc = tl_rados_ask_end(r, &spot, b->done, 0);
    rc = rc < 0 ? rc : rc == (int)len ? 0 : -EBADMSG;
    for (uint32_t at = 0; rc == 0 && at < len; at += TL_RADOS_CHECK) {
        uint32_t part = len - at < TL_RADOS_CHECK ? len - at : TL_RADOS_CHECK;
        if (tl_rados_check(b->into + at, part) != b->checks[(b->from + at) / TL_RADOS_CHECK])
            rc = -EBADMSG;
    }
    if (b->into != b->out) {
        if (rc == 0)
            memcpy(b->out, b->into + (b->offset - b->from), b->len);
        free(b->into);
    }
    return rc;
}

/* ---- those on their way ---- */

static void end_first(struct tl_rados *r)
{
    struct tl_rados_reads *w = r->reads;
    struct blob *b = &w->list[w->first];
    const struct tl_rados_spot spot = spot_of(r, b);
    if (w->rc != 0 && tl_rados_may_read(r, &spot) != 0) /* it would wait for what the one before has waited for */
        (void)r->lib->aio_cancel(spot.io, b->done);
    int rc = end(r, b);
    w->first = (w->first + 1) % ON_WAY;
    w->count--;
    w->bytes -= b->to - b->from;
    if (rc != 0 && w->rc == 0)
        w->rc = tl_rados_failed(r, &b->name, b->data, rc);
}

int tl_rados_end_reads(struct tl_store *s)
{
    struct tl_rados *r = (struct tl_rados *)s;
    struct tl_rados_reads *w = r->reads;
    while (w != NULL && w->count > 0)
        end_first(r);
    int rc = w != NULL ? w->rc : 0;
    if (w != NULL)
        w->rc = 0;
    return rc;
}

int tl_rados_begin_read(struct tl_store *s, struct tl_slice place, uint32_t offset, void *out, uint32_t len)
{
    struct tl_rados *r = (struct tl_rados *)s;
    struct blob b;
    if (r->reads == NULL)
        r->reads = calloc(1, sizeof *r->reads);
    struct tl_rados_reads *w = r->reads;
    if (w == NULL || len == 0 || parse(r, place, offset, len, &b) != 0)
        return tl_rados_read(s, place, offset, out, len);
    while (w->count == ON_WAY || (w->count > 0 && w->bytes >= ON_WAY_BYTES))
        end_first(r);
    if (w->rc != 0)
        return w->rc;
    int rc = begin(r, &b, out);
    if (rc != 0)
        return w->rc = tl_rados_failed(r, &b.name, b.data, rc);
    w->list[(w->first + w->count++) % ON_WAY] = b;
    w->bytes += b.to - b.from;
    return 0;
}

int tl_rados_read(struct tl_store *s, struct tl_slice place, uint32_t offset, void *out, uint32_t len)
{
    struct tl_rados *r = (struct tl_rados *)s;
    const uint8_t *p = place.at;
    struct blob b;
    r->failed_rc = 0;
    if (place.len >= 9 && p[0] == TL_RADOS_PLACE_HERE)
        return read_here(place, offset, out, len);
    if (place.len > 17 && place.len <= 17 + TL_STORE_KEY_MAX && p[0] == TL_RADOS_PLACE_RECORD)
        return read_record(r, place, offset, out, len);
    int rc = parse(r, place, offset, len, &b);
    if (rc != 0 || len == 0)
        return rc;
    rc = begin(r, &b, out);
    rc = rc == 0 ? end(r, &b) : rc;
    return rc == 0 ? 0 : tl_rados_failed(r, &b.name, b.data, rc);
}
