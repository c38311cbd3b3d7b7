// SPDX-License-Identifier: Apache-2.0
/* Reading. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pool/internal.h"

#define TRIES 4 /* aggregation may take a record away between finding it and reading it: then there is a newer state */

struct reading {
    struct tl_cont *c;
    uint64_t epoch;
    struct tiercel_oid oid;
    struct tiercel_bytes dkey;
    bool to_end; /* of an array: what is behind its end is not asked for */
    struct tl_error *err;
};

/* Names what is damaged. */
static int failed(const struct reading *r, const struct tiercel_io *io, int rc)
{
    struct tl_store *store = r->c->pool->shared->store;
    const char *name = r->c->name, *path = r->c->pool->shared->path, *where;
    if (rc == 0 || (r->err != NULL && r->err->code != 0))
        return rc;
    char dkey[64] = "", akey[64] = "";
    tl_name_text(r->dkey, dkey, sizeof dkey);
    if (io != NULL)
        tl_name_text(io->akey, akey, sizeof akey);
    unsigned long long hi = r->oid.hi, lo = r->oid.lo, epoch = r->epoch;
    switch (rc) {
    case -EBADMSG:
        where = store->ops->damage != NULL ? store->ops->damage(store) : "its checksum differs";
        return tl_error_set(
            r->err, rc,
            "container %s: object %llu.%llu, dkey \"%s\", akey \"%s\" is damaged at epoch %llu: %s; see: tiercel pool "
            "check %s",
            name, hi, lo, dkey, akey, epoch, where, path);
    case -ETIMEDOUT:
        where = store->ops->damage != NULL ? store->ops->damage(store) : "the storage does not answer";
        return tl_error_set(r->err, rc,
                            "container %s: object %llu.%llu, dkey \"%s\", akey \"%s\" cannot be read now at epoch "
                            "%llu: %s; try again when that is back",
                            name, hi, lo, dkey, akey, epoch, where);
    case -ESTALE:
        return tl_error_set(
            r->err, rc, "container %s: epoch %llu cannot be read any more: it was aggregated; see: tiercel cont epochs",
            name, epoch);
    case -EBADF: return tl_error_set(r->err, rc, "container %s: the handle was closed or evicted; open it anew", name);
    case -ENAMETOOLONG:
        return tl_error_set(r->err, rc, "container %s: a key is longer than %u bytes (a byte of value 0 counts twice)",
                            name, TIERCEL_KEY_MAX);
    case -ENOENT:
        return tl_error_set(r->err, rc,
                            "container %s: object %llu.%llu has nothing under dkey \"%s\", akey \"%s\" at epoch %llu",
                            name, hi, lo, dkey, akey, epoch);
    case -ENOBUFS: return tl_error_set(r->err, rc, "container %s: the value is larger than the buffer", name);
    case -EINVAL:
        return tl_error_set(
            r->err, rc, "container %s: object %llu.%llu, dkey \"%s\", akey \"%s\" is of another kind or record size",
            name, hi, lo, dkey, akey);
    default:
        return tl_error_set(r->err, rc, "container %s: object %llu.%llu, dkey \"%s\", akey \"%s\" cannot be read: %s",
                            name, hi, lo, dkey, akey, tl_store_strerror(rc));
    }
}

/* ---- payloads, several at once where the store can do that ---- */

static int begin_read(struct tl_store *s, struct tl_slice place, uint32_t offset, void *out, uint32_t len)
{
    int rc = s->ops->begin_read != NULL ? s->ops->begin_read(s, place, offset, out, len)
                                        : s->ops->read(s, place, offset, out, len);
    return rc == -ENOENT ? -EAGAIN : rc; /* the payload went while we looked */
}

/* Those that were begun. What has gone wrong so far is told, or what goes wrong now. */
static int end_reads(struct tl_store *s, int rc)
{
    int late = s->ops->end_reads != NULL ? s->ops->end_reads(s) : 0;
    return rc != 0 ? rc : late == -ENOENT ? -EAGAIN : late;
}

/* ---- single values ---- */

struct rest_look {
    struct tl_store *store;
    uint8_t *out;
    uint64_t len;
};

static int see_rest(void *ctx, const struct tl_found *f)
{
    struct rest_look *l = ctx;
    if (f->payload_len < l->len)
        return -EBADMSG;
    int rc = begin_read(l->store, f->place, 0, l->out, (uint32_t)l->len);
    return rc == 0 ? 1 : rc;
}

/* Pieces 1 and up of a large value: their keys are known to the last byte. */
static int read_rest(const struct reading *r, const struct tiercel_io *io, const struct tl_single *v)
{
    struct tl_store *s = r->c->pool->shared->store;
    int rc = 0;
    for (uint64_t at = TL_STORE_PAYLOAD_MAX; rc == 0 && at < v->size; at += TL_STORE_PAYLOAD_MAX) {
        uint64_t left = v->size - at;
        struct rest_look l = {s, (uint8_t *)io->buffer + at, left < TL_STORE_PAYLOAD_MAX ? left : TL_STORE_PAYLOAD_MAX};
        struct tl_key k;
        tl_key_begin(&k, r->oid, TL_TAG_VALUE);
        rc = tl_key_add_name(&k, r->dkey);
        rc = rc == 0 ? tl_key_add_name(&k, io->akey) : rc;
        tl_key_add_chunk(&k, at / TL_STORE_PAYLOAD_MAX);
        tl_key_add_version(&k, &v->version);
        rc = rc == 0 ? s->ops->scan(s, &r->c->id, tl_key_slice(&k), tl_key_slice(&k), see_rest, &l) : rc;
        rc = rc == 1 ? 0 : rc == 0 ? -EAGAIN : rc;
    }
    return rc;
}

static int fetch_single(const struct reading *r, struct tiercel_io *io, const struct tl_clears *clears, bool must)
{
    struct tl_store *s = r->c->pool->shared->store;
    struct tl_single v;
    uint64_t room = io->buffer_len;
    int rc = tl_single_find(r->c, r->epoch, r->oid, r->dkey, io->akey, clears, &v);
    if (rc == -ENOENT && !must) {
        io->buffer_len = io->record_size = 0;
        return 0;
    }
    if (rc != 0)
        return rc;
    if (v.payload_len != (v.size < TL_STORE_PAYLOAD_MAX ? v.size : TL_STORE_PAYLOAD_MAX))
        return -EBADMSG;
    io->record_size = v.size;
    if (io->buffer == NULL || v.size > room) {
        io->buffer_len = v.size;
        return io->buffer == NULL ? 0 : -ENOBUFS;
    }
    io->buffer_len = v.size;
    rc = begin_read(s, (struct tl_slice){v.place, v.place_len}, 0, io->buffer, v.payload_len);
    return rc == 0 ? read_rest(r, io, &v) : rc;
}

/* ---- arrays ---- */

struct array_read {
    const struct reading *r;
    struct tl_store *store;
    uint8_t *out;        /* of record `first`; NULL: nobody wants the bytes */
    uint64_t first, end; /* of the extent */
    uint64_t known;      /* all before this record is being read, or is zeros */
    uint64_t chunk;
    struct tiercel_extent *seen; /* behind it, in one chunk, in any order */
    size_t count, room;
    uint32_t record_size;
    bool any;
};

static int by_first(const void *a, const void *b)
{
    const struct tiercel_extent *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

/* Nothing was seen up to there. */
static void zeros(struct array_read *a, uint64_t to)
{
    if (to > a->known && a->out != NULL)
        memset(a->out + (a->known - a->first) * a->record_size, 0, (to - a->known) * a->record_size);
    a->known = to > a->known ? to : a->known;
}

/* All of the chunk was seen: what lies between is zeros. */
static void end_chunk(struct array_read *a)
{
    if (a->count > 1)
        qsort(a->seen, a->count, sizeof *a->seen, by_first);
    for (size_t i = 0; i < a->count; i++) {
        zeros(a, a->seen[i].first);
        a->known += a->seen[i].count;
    }
    a->count = 0;
}

static int note_piece(struct array_read *a, const struct tl_piece *p)
{
    uint64_t chunk = p->first / tl_chunk_records(a->record_size);
    if (a->count > 0 && chunk != a->chunk)
        end_chunk(a);
    if (a->count == 0 && p->first == a->known) {
        a->known += p->count;
        return 0;
    }
    if (a->count == a->room) {
        size_t room = a->room * 2 + 16;
        struct tiercel_extent *grown = reallocarray(a->seen, room, sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        a->seen = grown;
        a->room = room;
    }
    a->seen[a->count++] = (struct tiercel_extent){p->first, p->count};
    a->chunk = chunk;
    return 0;
}

static int read_piece(void *ctx, const struct tl_piece *p)
{
    struct array_read *a = ctx;
    int rc = note_piece(a, p);
    a->any = true;
    if (rc != 0 || a->out == NULL)
        return rc;
    return begin_read(a->store, p->found->place, (uint32_t)(p->skip * a->record_size),
                      a->out + (p->first - a->first) * a->record_size, (uint32_t)(p->count * a->record_size));
}

static int read_extents(struct array_read *a, const struct tiercel_io *io, const struct tl_clears *clears)
{
    const struct reading *r = a->r;
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < io->extent_count; i++) {
        struct tiercel_extent x = io->extents[i];
        a->first = a->known = x.first;
        a->end = x.first + x.count;
        rc = tl_array_look(r->c, r->epoch, r->oid, r->dkey, io->akey, clears, a->record_size, x.first, x.count,
                           read_piece, a);
        end_chunk(a);
        if (rc != 0 || r->to_end)
            break;
        zeros(a, a->end);
        a->out = a->out == NULL ? NULL : a->out + x.count * a->record_size;
    }
    return rc;
}

/* Where the array ends is asked for only if it may be before the end of what is wanted. */
static int find_end(struct array_read *a, const struct tiercel_io *io, const struct tl_clears *clears)
{
    const struct reading *r = a->r;
    uint64_t end = a->end;
    int rc = a->known < a->end ? tl_array_end(r->c, r->epoch, r->oid, r->dkey, io->akey, clears, &end) : 0;
    if (rc == 0)
        zeros(a, end < a->end ? end : a->end);
    return rc;
}

/* The size of its records; *there: whether there is any. */
static int ask_size(struct array_read *a, const struct tiercel_io *io, const struct tl_clears *clears, bool *there)
{
    const struct reading *r = a->r;
    uint64_t chunk = 0;
    uint32_t size = 0;
    int rc = tl_next_chunk(r->c, r->epoch, r->oid, r->dkey, io->akey, clears, &chunk, &size);
    *there = rc == 0;
    if (rc == 0 && (size == 0 || (io->record_size != 0 && io->record_size != size)))
        return -EINVAL; /* a single value; records of another size */
    a->record_size = size;
    return rc == -ENOENT ? 0 : rc;
}

static int fetch_array_of(struct array_read *a, struct tiercel_io *io, const struct tl_clears *clears, bool must)
{
    const uint64_t size = io->record_size;
    uint64_t bytes = 0;
    /* Who says the size of the records is believed: where any are seen, they have it. */
    bool there = true, said = size > 0 && size <= TL_STORE_PAYLOAD_MAX && tl_extents_bytes(io, size, &bytes) == 0 &&
                              (io->buffer == NULL || io->buffer_len >= bytes);
    a->record_size = said ? (uint32_t)size : 0;
    int rc = said ? read_extents(a, io, clears) : 0;
    if (rc == 0 && !a->any)
        rc = ask_size(a, io, clears, &there);
    if (rc == 0 && !there && must)
        rc = -ENOENT;
    if (rc == 0 && !said)
        rc = tl_extents_bytes(io, there ? a->record_size : size, &bytes);
    if (rc == 0 && io->buffer != NULL && io->buffer_len < bytes)
        rc = -ENOBUFS;
    if (rc == 0 && !said && there)
        rc = read_extents(a, io, clears);
    else if (rc == 0 && !said && io->buffer != NULL)
        memset(io->buffer, 0, bytes);
    if (rc == 0 && a->r->to_end) {
        rc = there ? find_end(a, io, clears) : 0;
        bytes = (a->known - a->first) * size;
    }
    if (rc != 0)
        return rc;
    io->record_size = there ? a->record_size : 0;
    io->buffer_len = bytes;
    return must && !a->any ? -ENOENT : 0;
}

static int fetch_array(const struct reading *r, struct tiercel_io *io, const struct tl_clears *clears, bool must)
{
    struct array_read a = {.r = r, .store = r->c->pool->shared->store, .out = io->buffer};
    int rc = fetch_array_of(&a, io, clears, must);
    free(a.seen);
    return rc;
}

/* How many records it may be seen from: in each chunk one, and one that it has replaced. What is met before payloads are on their way is not waited for behind
 * them. */
static unsigned worth_meeting(const struct tiercel_io *io)
{
    uint64_t chunks = io->extents == NULL ? 0 : io->buffer_len / TL_STORE_PAYLOAD_MAX + 1;
    return chunks == 0 ? 1 : chunks < TL_MET_MAX / 2 ? 2 * (unsigned)chunks : TL_MET_MAX;
}

/* One of the ios, at r->epoch. */
static int fetch_one(const struct reading *r, struct tiercel_io *io, bool must)
{
    const struct tiercel_io asked = *io;
    int rc = -EAGAIN;
    for (int tries = 0; rc == -EAGAIN && tries < TRIES; tries++) {
        struct tl_clears clears;
        *io = asked;
        rc = tl_clears_gather(r->c, r->epoch, r->oid, r->dkey, io->akey, worth_meeting(io), &clears);
        if (rc != 0)
            break;
        rc = io->extents == NULL ? fetch_single(r, io, &clears, must) : fetch_array(r, io, &clears, must);
        tl_clears_free(&clears);
        /* If it was aggregated while we looked, what was found may be less than there was. Payloads are whole or gone; so this is asked while they
         * are on their way. */
        int stale = tl_cont_still_readable(r->c, r->epoch);
        rc = end_reads(r->c->pool->shared->store, rc);
        rc = stale != 0 ? stale : rc;
    }
    if (rc != 0 && rc != -ENOBUFS)
        *io = asked;
    return rc == -EAGAIN ? -EBADMSG : rc;
}

/* All of them, at one epoch, whatever is committed meanwhile. */
static int fetch_all(const struct reading *r, struct tiercel_io *ios, unsigned count, bool must)
{
    int rc = tl_cont_settle_for(r->c, r->epoch, tl_thing_hash(r->oid, &r->dkey));
    for (unsigned i = 0; rc == 0 && i < count; i++) {
        rc = fetch_one(r, &ios[i], must);
        if (rc != -ESTALE)
            rc = failed(r, &ios[i], rc);
    }
    return rc;
}

#define IOS_KEPT 8u

static void copy_ios(struct tiercel_io *to, const struct tiercel_io *from, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        to[i] = from[i];
}

static int fetch(struct reading *r, uint64_t epoch, unsigned flags, struct tiercel_io *ios, unsigned count)
{
    struct tiercel_io kept[IOS_KEPT], *asked = kept;
    if (count > IOS_KEPT && (asked = reallocarray(NULL, count, sizeof *asked)) == NULL)
        return failed(r, NULL, -ENOMEM);
    copy_ios(asked, ios, count);
    int rc = -ESTALE;
    /* What is the newest epoch may be one that nobody refers to any more when the next is committed: then that one is read. */
    for (int tries = 0; rc == -ESTALE && tries < (epoch == TIERCEL_EPOCH_NOW ? TRIES : 1); tries++) {
        rc = tl_cont_read_epoch(r->c, epoch, flags, &r->epoch);
        copy_ios(ios, asked, count);
        rc = rc == 0 ? fetch_all(r, ios, count, (flags & TIERCEL_IF_THERE) != 0) : rc;
    }
    if (asked != kept)
        free(asked);
    return failed(r, NULL, rc);
}

int tl_cont_fetch(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey, unsigned flags,
                  struct tiercel_io *ios, unsigned count, struct tl_error *err)
{
    struct reading r = {.c = c, .epoch = epoch, .oid = oid, .dkey = dkey, .err = err};
    if ((flags & ~(TIERCEL_IF_THERE | TIERCEL_COMMITTED)) != 0)
        return tl_error_set(err, -EINVAL, "container %s: flags 0x%x are not for reading", c->name, flags);
    return fetch(&r, epoch, flags, ios, count);
}

int tl_cont_array_read(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                       struct tiercel_bytes akey, uint64_t offset, void *bytes, uint64_t *len, struct tl_error *err)
{
    struct reading r = {.c = c, .epoch = epoch, .oid = oid, .dkey = dkey, .to_end = true, .err = err};
    const struct tiercel_extent x = {offset, *len < UINT64_MAX - offset ? *len : UINT64_MAX - offset};
    struct tiercel_io io = {
        .akey = akey, .extents = &x, .extent_count = 1, .record_size = 1, .buffer = bytes, .buffer_len = x.count};
    uint64_t end;
    int rc = x.count > 0 ? fetch(&r, epoch, 0, &io, 1) : tl_cont_array_end(c, epoch, oid, dkey, akey, &end);
    if (rc == 0)
        *len = x.count > 0 ? io.buffer_len : 0;
    return rc;
}
