// SPDX-License-Identifier: Apache-2.0
/* See copy.h. */
#include "pool/copy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW 1024u /* records that are held at a time */
#define LOOK   8192u /* that are looked at before others get the lock */

typedef unsigned long long ull;

static struct tl_store *store_of(const struct tl_copy_side *side)
{
    return side->pool->shared->store;
}

static struct tl_slice key_of(const struct tl_copy_side *side, const struct tl_copy_record *r)
{
    return (struct tl_slice){side->bytes + r->key, r->key_len};
}

/* ---- sentences ---- */

int tl_copy_failed(struct tl_copy *x, const struct tl_copy_side *side, int rc)
{
    const bool source = side == &x->from;
    const char *name = x->source_name, *path = side->pool->shared->path;
    if (x->err == NULL || x->err->code != 0)
        return rc;
    switch (rc) {
    case -ENOSPC:
    case -EDQUOT:
        return tl_error_set(x->err, rc,
                            "pool %s: no space is left for container %s, after %llu of %llu bytes; what was copied is "
                            "kept: make room, and "
                            "copy it again",
                            path, name, (ull)(x->done.copied_bytes + x->done.skipped_bytes), (ull)x->done.bytes);
    case -EBADF:
        return tl_error_set(
            x->err, rc,
            source ? "container %s: it was evicted, or its pool %s disconnected, while it was copied; copy it again"
                   : "container %s: its copy's pool %s was disconnected or evicted; copy it again",
            name, path);
    case -ENOENT:
        return tl_error_set(
            x->err, rc,
            source ? "container %s in pool %s was destroyed while it was copied"
                   : "container %s: its copy in pool %s was given up meanwhile, or somebody else goes on with it",
            name, path);
    case -EACCES:
        return tl_error_set(x->err, rc, "container %s cannot be copied: pool %s was connected for reading", name, path);
    case -ECANCELED:
        return tl_error_set(
            x->err, rc, "container %s: copying was ended early; what was copied is kept: copy it again to go on", name);
    default:
        return tl_error_set(x->err, rc, "container %s cannot be %s pool %s: %s", name, source ? "read in" : "copied to",
                            path, tl_store_strerror(rc));
    }
}

static void name_record(const struct tl_copy_side *side, const struct tl_copy_record *r, char *out, size_t size)
{
    struct tl_key_view v;
    if (tl_key_parse(key_of(side, r), &v) == 0)
        (void)tl_where(&v, out, size);
    else
        snprintf(out, size, "a record with a key that is none of ours");
}

int tl_copy_progress(struct tl_copy *x)
{
    const struct tiercel_copy_options *o = &x->config->options;
    bool stop = x->config->stop != NULL && *x->config->stop != 0;
    if (stop || (o->progress != NULL && o->progress(o->ctx, &x->done) != 0))
        return tl_copy_failed(x, &x->from, -ECANCELED);
    return 0;
}

/* ---- windows ---- */

int tl_copy_side_begin(struct tl_copy_side *side)
{
    size_t records = store_of(side)->ops->begin_read != NULL ? TL_COPY_AHEAD : 1;
    side->buffer = malloc(records * TL_STORE_PAYLOAD_MAX);
    return side->buffer == NULL ? -ENOMEM : 0;
}

void tl_copy_rewind(struct tl_copy_side *side)
{
    side->ahead.first = side->ahead.end = side->ahead.tried = 0;
    side->count = side->next = side->len = side->from.len = 0;
    side->ended = false;
}

void tl_copy_side_free(struct tl_copy_side *side)
{
    free(side->list);
    free(side->bytes);
    free(side->buffer);
    side->list = NULL;
    side->bytes = side->buffer = NULL;
}

static size_t append(struct tl_copy_side *side, struct tl_slice bytes)
{
    size_t at = side->len;
    if (bytes.len > 0)
        memcpy(side->bytes + at, bytes.at, bytes.len);
    side->len += bytes.len;
    return at;
}

static int add(struct tl_copy_side *side, const struct tl_found *f)
{
    size_t need = f->key.len + f->meta.len + f->place.len;
    if (side->count == side->room) {
        size_t room = side->room * 2 + 64;
        struct tl_copy_record *grown = reallocarray(side->list, room, sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        side->list = grown;
        side->room = room;
    }
    if (side->len + need > side->bytes_room) {
        size_t room = (side->len + need) * 2;
        uint8_t *grown = realloc(side->bytes, room);
        if (grown == NULL)
            return -ENOMEM;
        side->bytes = grown;
        side->bytes_room = room;
    }
    struct tl_copy_record r = {.payload_len = f->payload_len,
                               .key_len = (uint16_t)f->key.len,
                               .meta_len = (uint16_t)f->meta.len,
                               .place_len = (uint16_t)f->place.len};
    r.key = append(side, f->key);
    r.meta = append(side, f->meta);
    r.place = append(side, f->place);
    side->list[side->count++] = r;
    return 0;
}

static int see(void *ctx, const struct tl_found *f)
{
    struct tl_copy_side *side = ctx;
    struct tl_version v;
    if (side->count == WINDOW || side->looked++ == LOOK) {
        memcpy(side->from.bytes, f->key.at, f->key.len);
        side->from.len = f->key.len;
        return 1;
    }
    if (side->cont != NULL) {
        int rc = tl_key_version(f->key, &v);
        if (rc != 0 || v.epoch > side->ghce || !tl_version_counts(side->cont, &v))
            return rc;
    }
    return add(side, f);
}

/* The state is read before the records: so what it buries is not taken, and of what it buries no more, nothing is left. */
static int next_window(struct tl_copy_side *side)
{
    side->ahead.first = side->ahead.end = side->ahead.tried = 0;
    side->count = side->next = side->len = 0;
    side->looked = 0;
    tl_pool_lock(side->pool);
    int rc = side->cont != NULL ? tl_cont_refresh(side->cont) : tl_pool_alive(side->pool, true);
    if (rc == 0)
        rc = store_of(side)->ops->scan(store_of(side), &side->id, (struct tl_slice){"", 0}, tl_key_slice(&side->from),
                                       see, side);
    tl_pool_unlock(side->pool);
    side->ended = rc == 0;
    return rc < 0 ? rc : 0;
}

/* The record that comes next; NULL: that was all. */
static int head(struct tl_copy *x, struct tl_copy_side *side, const struct tl_copy_record **out)
{
    int rc = 0;
    while (rc == 0 && side->next == side->count && !side->ended)
        rc = next_window(side);
    *out = rc == 0 && side->next < side->count ? &side->list[side->next] : NULL;
    if (rc == -EBADMSG && x->err != NULL && x->err->code == 0)
        return tl_error_set(x->err, rc, "container %s: the index of pool %s is damaged; see: tiercel pool check %s",
                            x->source_name, side->pool->shared->path, side->pool->shared->path);
    return rc == 0 ? 0 : tl_copy_failed(x, side, rc);
}

int tl_copy_count(struct tl_copy *x, struct tl_copy_side *side, uint64_t *records, uint64_t *bytes)
{
    const struct tl_copy_record *r;
    tl_copy_rewind(side);
    *records = *bytes = 0;
    int rc = head(x, side, &r);
    for (; rc == 0 && r != NULL; rc = rc == 0 ? head(x, side, &r) : rc) {
        *records += 1;
        *bytes += r->payload_len;
        side->next++;
        if (side == &x->from) {
            x->done.records = *records;
            x->done.bytes = *bytes;
            rc = tl_copy_progress(x);
        }
    }
    return rc;
}

/* ---- payloads ---- */

static int see_it(void *ctx, const struct tl_found *f)
{
    size_t *len = ctx;
    *len = f->key.len;
    return 1;
}

/* 1, 0, -errno. */
static int still_there(const struct tl_copy_side *side, const struct tl_copy_record *r)
{
    const struct tl_slice key = key_of(side, r);
    size_t len = 0;
    int rc = store_of(side)->ops->scan(store_of(side), &side->id, key, key, see_it, &len);
    return rc < 0 ? rc : rc == 1 && len == key.len;
}

/* Those of the records that come next. Behind `limit` (at NULL: there is none) they may not be needed. If one of them cannot be read, none was: who reads them one
 * by one is told which. */
static void read_ahead(struct tl_copy_side *side, struct tl_slice limit)
{
    struct tl_store *s = store_of(side);
    size_t n = side->next, at = 0;
    int rc = 0;
    tl_pool_lock(side->pool);
    for (; rc == 0 && n < side->count && n < side->next + TL_COPY_AHEAD; n++) {
        const struct tl_copy_record *r = &side->list[n];
        if (limit.at != NULL && tl_key_compare(key_of(side, r), limit) >= 0)
            break;
        rc = s->ops->begin_read(s, (struct tl_slice){side->bytes + r->place, r->place_len}, 0, side->buffer + at,
                                r->payload_len);
        side->ahead.at[n - side->next] = at;
        at += r->payload_len;
    }
    int late = s->ops->end_reads(s);
    tl_pool_unlock(side->pool);
    side->ahead.first = side->next;
    side->ahead.end = rc == 0 && late == 0 ? n : side->next;
    side->ahead.tried = n;
}

static int read_now(struct tl_copy_side *side, const struct tl_copy_record *r, char *damage, size_t size)
{
    struct tl_store *s = store_of(side);
    const struct tl_slice place = {side->bytes + r->place, r->place_len};
    tl_pool_lock(side->pool);
    int rc = s->ops->read(s, place, 0, side->buffer, r->payload_len);
    if (rc == -ENOENT || rc == -EBADMSG) {
        const char *where = s->ops->damage != NULL ? s->ops->damage(s) : NULL;
        snprintf(damage, size, "%s%s", rc == -ENOENT ? "lost" : "damaged", where != NULL && *where != 0 ? ": " : "");
        if (where != NULL)
            snprintf(damage + strlen(damage), size - strlen(damage), "%s", where);
        int there = still_there(side, r);
        rc = there < 0 ? there : there == 0 ? -ENOENT : -EBADMSG;
    }
    tl_pool_unlock(side->pool);
    side->payload = side->buffer;
    return rc;
}

/* Of the next record. 0; -ENOENT: it was erased meanwhile; -EBADMSG: damaged or lost, and damage says where; -errno. */
static int read_payload(struct tl_copy_side *side, struct tl_slice limit, char *damage, size_t size)
{
    if (store_of(side)->ops->begin_read != NULL && side->next >= side->ahead.tried)
        read_ahead(side, limit);
    if (side->next < side->ahead.first || side->next >= side->ahead.end)
        return read_now(side, &side->list[side->next], damage, size);
    side->payload = side->buffer + side->ahead.at[side->next - side->ahead.first];
    return 0;
}

/* Of the source: what cannot be read ends it. */
static int read_source(struct tl_copy *x, const struct tl_copy_record *r, struct tl_slice limit)
{
    char damage[160], name[512];
    int rc = read_payload(&x->from, limit, damage, sizeof damage);
    if (rc == -EBADMSG && x->err != NULL && x->err->code == 0) {
        name_record(&x->from, r, name, sizeof name);
        return tl_error_set(x->err, rc,
                            "container %s: %s: its bytes are %s; nothing becomes of the copy. See: tiercel pool check",
                            x->source_name, name, damage);
    }
    return rc == 0 || rc == -ENOENT ? rc : tl_copy_failed(x, &x->from, rc);
}

/* ---- the destination ---- */

static int erase_doomed(struct tl_copy *x)
{
    struct tl_store *s = store_of(&x->to);
    struct tl_copy_doomed *d = x->doomed;
    if (d->count == 0)
        return 0;
    tl_pool_lock(x->to.pool);
    int rc = tl_unfinished_there(x->to.pool, &x->unfinished); /* nothing of a container that others use already */
    rc = rc == 0 ? s->ops->erase(s, &x->to.id, d->keys, d->count) : rc;
    tl_pool_unlock(x->to.pool);
    d->count = 0;
    return rc == 0 ? 0 : tl_copy_failed(x, &x->to, rc);
}

static int doom(struct tl_copy *x, const struct tl_copy_record *r)
{
    struct tl_copy_doomed *d = x->doomed;
    int rc = d->count == TL_COPY_DOOMED ? erase_doomed(x) : 0;
    if (rc != 0)
        return rc;
    memcpy(d->bytes[d->count], x->to.bytes + r->key, r->key_len);
    d->keys[d->count] = (struct tl_slice){d->bytes[d->count], r->key_len};
    d->count++;
    return 0;
}

static int nothing(void *ctx, struct tl_store_tx *tx)
{
    (void)ctx;
    (void)tx;
    return 0;
}

int tl_copy_flush(struct tl_copy *x)
{
    struct tl_pool *p = x->to.pool;
    struct tl_store *s = store_of(&x->to);
    tl_pool_lock(p);
    int rc = tl_pool_alive(p, true);
    rc = rc == 0 ? tl_shared_flush(p->shared) : rc;
    if (rc == 0 && p->shared->lost_flushes != x->lost_flushes)
        rc = -EIO; /* somebody else's flush has lost some of it, and was told */
    rc = rc == 0 ? s->ops->change(s, &x->to.id, nothing, NULL) : rc; /* takes over what was flushed */
    rc = rc == 0 ? tl_unfinished_there(p, &x->unfinished) : rc;
    tl_pool_unlock(p);
    x->unflushed = 0;
    return rc == 0 ? 0 : tl_copy_failed(x, &x->to, rc);
}

/* 0: the default, also if the destination does not offer it. Then what is written to it later may have any class, too. */
static uint16_t class_of(struct tl_copy *x, const struct tl_copy_record *r)
{
    const uint8_t *key = x->from.bytes + r->key; /* it begins with the object */
    const struct tiercel_oid oid = {.hi = (uint64_t)key[0] << 56 | (uint64_t)key[1] << 48};
    uint16_t own = (uint16_t)tiercel_oid_class(oid), wanted = own != 0 ? own : x->from.cont->state.class;
    uint16_t class = tl_class_of_copy(x->to.pool->shared, oid, x->from.cont->state.class);
    if (class != wanted) {
        x->any_class = true;
        x->done.other_class += r->payload_len > 0;
    }
    return class;
}

static int write_one(struct tl_copy *x, const struct tl_copy_record *r, uint16_t class)
{
    const struct tl_copy_side *from = &x->from;
    struct tl_store *s = store_of(&x->to);
    const struct tl_record record = {.key = key_of(from, r),
                                     .meta = {from->bytes + r->meta, r->meta_len},
                                     .payload = {from->payload, r->payload_len},
                                     .class = class};
    tl_pool_lock(x->to.pool);
    int rc = s->ops->write(s, &x->to.id, &record);
    x->to.pool->shared->unflushed = true;
    tl_pool_unlock(x->to.pool);
    if (rc != 0)
        return tl_copy_failed(x, &x->to, rc);
    x->done.copied++;
    x->done.copied_bytes += r->payload_len;
    x->unflushed += r->payload_len + r->key_len + r->meta_len;
    return x->unflushed >= x->flush_bytes ? tl_copy_flush(x) : 0;
}

/* ---- copying ---- */

static int copy_one(struct tl_copy *x, const struct tl_copy_record *r, uint16_t class)
{
    const struct tl_copy_side *to = &x->to; /* what it has from there on may be there already */
    struct tl_slice limit = {NULL, 0};
    if (to->next < to->count)
        limit = key_of(to, &to->list[to->next]);
    int rc = read_source(x, r, limit);
    return rc == 0 ? write_one(x, r, class) : rc == -ENOENT ? 0 : rc;
}

static int copy_pair(struct tl_copy *x, const struct tl_copy_record *a, const struct tl_copy_record *b)
{
    if (a == NULL) {
        x->done.erased++;
        return doom(x, b);
    }
    uint16_t class = class_of(x, a);
    if (b == NULL)
        return copy_one(x, a, class);
    x->done.skipped++;
    x->done.skipped_bytes += a->payload_len;
    return 0;
}

/* ---- verifying ---- */

static void differs(struct tl_copy *x, const struct tl_copy_record *a, const char *how)
{
    if (x->differences++ > 0)
        return;
    name_record(&x->from, a, x->difference, sizeof x->difference);
    size_t len = strlen(x->difference);
    snprintf(x->difference + len, sizeof x->difference - len, ": %s", how);
}

/* Only the source has it: it was not copied, or it was erased since we looked. */
static int verify_missing(struct tl_copy *x, const struct tl_copy_record *a)
{
    tl_pool_lock(x->from.pool);
    int there = still_there(&x->from, a);
    tl_pool_unlock(x->from.pool);
    if (there == 1)
        differs(x, a, "is not there");
    return there < 0 ? tl_copy_failed(x, &x->from, there) : 0;
}

static int verify_both(struct tl_copy *x, const struct tl_copy_record *a, const struct tl_copy_record *b)
{
    char damage[160];
    bool same = a->payload_len == b->payload_len && a->meta_len == b->meta_len &&
                memcmp(x->from.bytes + a->meta, x->to.bytes + b->meta, a->meta_len) == 0;
    const struct tl_slice none = {NULL, 0};
    int rc = read_source(x, a, none);
    if (rc == -ENOENT) {
        x->done.erased++;
        return doom(x, b);
    }
    if (rc != 0)
        return rc;
    rc = same ? read_payload(&x->to, none, damage, sizeof damage) : 0;
    if (rc != 0 && rc != -ENOENT && rc != -EBADMSG)
        return tl_copy_failed(x, &x->to, rc);
    if (rc == 0 && same && memcmp(x->from.payload, x->to.payload, a->payload_len) == 0) {
        x->done.verified++;
        x->done.verified_bytes += a->payload_len;
        return 0;
    }
    differs(x, a, rc == 0 ? "is not what the source has" : damage);
    return doom(x, b); /* so that it is copied anew */
}

static int verify_pair(struct tl_copy *x, const struct tl_copy_record *a, const struct tl_copy_record *b)
{
    if (a != NULL && b != NULL)
        return verify_both(x, a, b);
    if (b == NULL)
        return verify_missing(x, a);
    x->done.erased++;
    return doom(x, b);
}

/* ---- both ---- */

int tl_copy_merge(struct tl_copy *x, bool verify)
{
    struct tl_copy_side *from = &x->from, *to = &x->to;
    int rc = 0;
    tl_copy_rewind(from);
    tl_copy_rewind(to);
    x->doomed->count = 0;
    while (rc == 0) {
        const struct tl_copy_record *a = NULL, *b = NULL;
        rc = head(x, from, &a);
        rc = rc == 0 ? head(x, to, &b) : rc;
        if (rc != 0 || (a == NULL && b == NULL))
            break;
        int c = a == NULL ? 1 : b == NULL ? -1 : tl_key_compare(key_of(from, a), key_of(to, b));
        a = c <= 0 ? a : NULL;
        b = c >= 0 ? b : NULL;
        rc = verify ? verify_pair(x, a, b) : copy_pair(x, a, b);
        from->next += a != NULL;
        to->next += b != NULL;
        rc = rc == 0 ? tl_copy_progress(x) : rc;
    }
    int erased = erase_doomed(x);
    return rc == 0 ? erased : rc;
}
