// SPDX-License-Identifier: Apache-2.0
/* Writing: every call becomes records of its own, each with the epoch, the handle and its era, and when it was written. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pool/internal.h"

#define EXTENTS_MAX (1u << 20)

struct writing {
    struct tl_cont *c;
    struct tiercel_oid oid;
    struct tiercel_bytes dkey;
    struct tl_version version;
    uint16_t class;
    struct tl_error *err;
};

static uint64_t next_seq(struct tl_shared *s)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME,
                  &t); /* to the nanosecond: who writes after having heard of another's write has a later one */
    uint64_t now = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
    s->last_seq = now > s->last_seq ? now : s->last_seq + 1;
    return s->last_seq;
}

/* May this handle write at this epoch? Then w is what its records have in common. */
static int begin(struct writing *w, struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, struct tl_error *err)
{
    struct tl_lost_text why;
    *w = (struct writing){.c = c, .oid = oid, .err = err};
    int rc = tl_cont_refresh(c);
    if (rc == 0)
        rc = c->handle == 0 ? -EACCES : tl_epochs_may_write(&c->state.epochs, c->handle, epoch);
    const struct tl_epoch_handle *h = rc == 0 ? tl_epochs_handle(&c->state.epochs, c->handle) : NULL;
    unsigned long long e = epoch;
    switch (rc) {
    case 0: break;
    case -EBADF: return tl_error_set(err, rc, "container %s: the handle was closed or evicted; open it anew", c->name);
    case -ENOENT: return tl_error_set(err, rc, "container %s was destroyed", c->name);
    case -EACCES: return tl_error_set(err, rc, "container %s was opened for reading; open it for writing", c->name);
    case -EOVERFLOW: return tl_error_set(err, rc, "container %s: %llu is no epoch to write at", c->name, e);
    case -EROFS: {
        struct tl_epoch_numbers n;
        tl_epochs_numbers(&c->state.epochs, c->handle, &n);
        if (n.lhe == TL_EPOCH_MAX)
            return tl_error_set(err, rc, "container %s: epoch %llu cannot be written, nothing is held; hold it first",
                                c->name, e);
        return tl_error_set(err, rc, "container %s: epoch %llu cannot be written, only %llu and above are held",
                            c->name, e, (unsigned long long)n.lhe);
    }
    default:
        return tl_error_set(err, rc, "container %s cannot be read: %s", c->name,
                            tl_lost_why(c->pool->shared, rc, &why));
    }
    struct tl_shared *s = c->pool->shared;
    w->version = (struct tl_version){
        .epoch = epoch, .handle = c->handle, .era = h->era, .seq = next_seq(s), .writer = s->writer};
    return tl_class_of_write(c, oid, &w->class, err);
}

static int failed(const struct writing *w, int rc)
{
    if (rc == 0 || (w->err != NULL && w->err->code != 0))
        return rc;
    const char *name = w->c->name;
    switch (rc) {
    case -ENOSPC:
    case -EDQUOT:
        return tl_error_set(
            w->err, rc,
            "container %s: no space is left for a write in pool %s; aggregate, or free some, and write it again", name,
            w->c->pool->shared->path);
    case -ENAMETOOLONG:
        return tl_error_set(w->err, rc, "container %s: a key is longer than %u bytes (a byte of value 0 counts twice)",
                            name, TIERCEL_KEY_MAX);
    case -EEXIST: return tl_error_set(w->err, rc, "container %s: there is something under this key already", name);
    case -ENOENT: return tl_error_set(w->err, rc, "container %s: there is nothing under this key", name);
    default: return tl_error_set(w->err, rc, "container %s: a write failed: %s", name, tl_store_strerror(rc));
    }
}

static int write_record(struct writing *w, struct tl_key *k, const struct tl_meta *meta, const void *payload,
                        size_t len)
{
    uint8_t about[TL_META_BYTES];
    struct tl_store *s = w->c->pool->shared->store;
    tl_key_add_version(k, &w->version);
    struct tl_record r = {.key = tl_key_slice(k),
                          .meta = {about, tl_meta_put(about, meta)},
                          .payload = {payload, len},
                          .class = w->class};
    return s->ops->write(s, &w->c->id, &r);
}

static int value_key(const struct writing *w, struct tl_key *k, enum tl_tag tag, struct tiercel_bytes akey)
{
    tl_key_begin(k, w->oid, tag);
    int rc = tl_key_add_name(k, w->dkey);
    return rc == 0 ? tl_key_add_name(k, akey) : rc;
}

/* ---- single values ---- */

static int write_single(struct writing *w, const struct tiercel_io *io)
{
    struct tl_key base;
    int rc = value_key(w, &base, TL_TAG_VALUE, io->akey);
    w->version.seq = next_seq(w->c->pool->shared);
    uint64_t pieces = io->record_size / TL_STORE_PAYLOAD_MAX + (io->record_size % TL_STORE_PAYLOAD_MAX != 0);
    /* The beginning comes last: without it the rest is not looked at. */
    for (uint64_t i = pieces > 0 ? pieces : 1; rc == 0 && i-- > 0;) {
        struct tl_key k = base;
        uint64_t at = i * TL_STORE_PAYLOAD_MAX, left = io->record_size - at;
        const struct tl_meta meta = {.kind = i == 0 ? TL_KIND_SINGLE : TL_KIND_REST, .size = io->record_size};
        tl_key_add_chunk(&k, i);
        rc = write_record(w, &k, &meta, (const uint8_t *)io->buffer + at,
                          left < TL_STORE_PAYLOAD_MAX ? left : TL_STORE_PAYLOAD_MAX);
    }
    return rc;
}

/* ---- arrays ---- */

static int write_extent(struct writing *w, const struct tiercel_io *io, struct tiercel_extent x, const uint8_t *bytes)
{
    uint32_t size = (uint32_t)io->record_size;
    uint64_t per = tl_chunk_records(size);
    int rc = 0;
    w->version.seq = next_seq(w->c->pool->shared); /* several extents may lie in one chunk: each has a key of its own */
    while (rc == 0 && x.count > 0) {
        struct tl_key k;
        uint64_t in = x.first % per, n = per - in < x.count ? per - in : x.count;
        const struct tl_meta meta = {.kind = TL_KIND_ARRAY, .record_size = size, .first = in, .count = n};
        rc = value_key(w, &k, TL_TAG_VALUE, io->akey);
        tl_key_add_chunk(&k, x.first / per);
        rc = rc == 0 ? write_record(w, &k, &meta, bytes, n * size) : rc;
        bytes += n * size;
        x.first += n;
        x.count -= n;
    }
    return rc;
}

static int by_first(const void *a, const void *b)
{
    const struct tiercel_extent *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

/* Extents inside a call must not overlap: which of the two would count? */
static int check_overlaps(const struct tiercel_io *io)
{
    if (io->extent_count == 1)
        return 0;
    struct tiercel_extent *sorted = reallocarray(NULL, io->extent_count, sizeof *sorted);
    if (sorted == NULL)
        return -ENOMEM;
    memcpy(sorted, io->extents, io->extent_count * sizeof *sorted);
    qsort(sorted, io->extent_count, sizeof *sorted, by_first);
    int rc = 0;
    for (unsigned i = 1; i < io->extent_count; i++)
        if (sorted[i - 1].first + sorted[i - 1].count > sorted[i].first)
            rc = -EINVAL;
    free(sorted);
    return rc;
}

/* The size in bytes of all extents; -EINVAL, -EOVERFLOW. */
int tl_extents_bytes(const struct tiercel_io *io, uint64_t record_size, uint64_t *out)
{
    uint64_t bytes = 0, each;
    for (unsigned i = 0; i < io->extent_count; i++) {
        struct tiercel_extent x = io->extents[i];
        if (x.count == 0)
            return -EINVAL;
        if (x.count > UINT64_MAX - x.first || __builtin_mul_overflow(x.count, record_size, &each) ||
            __builtin_add_overflow(bytes, each, &bytes))
            return -EOVERFLOW;
    }
    *out = bytes;
    return 0;
}

static int check_io(const struct writing *w, const struct tiercel_io *io)
{
    const char *name = w->c->name;
    uint64_t bytes = io->record_size;
    if (io->extents == NULL && io->record_size > TIERCEL_VALUE_MAX)
        return tl_error_set(w->err, -EFBIG, "container %s: a single value has up to %llu bytes; write an array", name,
                            (unsigned long long)TIERCEL_VALUE_MAX);
    if (io->extents != NULL) {
        if (io->record_size == 0 || io->extent_count == 0 || io->extent_count > EXTENTS_MAX)
            return tl_error_set(w->err, -EINVAL,
                                "container %s: an array is written in 1 to %u extents of records of 1 byte or more",
                                name, EXTENTS_MAX);
        if (io->record_size > TL_STORE_PAYLOAD_MAX)
            return tl_error_set(w->err, -EFBIG,
                                "container %s: a record of an array has up to %u bytes; use more records", name,
                                TL_STORE_PAYLOAD_MAX);
        int rc = tl_extents_bytes(io, io->record_size, &bytes);
        rc = rc == 0 ? check_overlaps(io) : rc;
        if (rc != 0)
            return tl_error_set(w->err, rc, "container %s: %s", name,
                                rc == -EINVAL      ? "extents of one call overlap, or are empty"
                                : rc == -EOVERFLOW ? "an extent ends behind what 64 bits can count"
                                                   : tl_store_strerror(rc));
    }
    if (bytes != io->buffer_len || (bytes > 0 && io->buffer == NULL))
        return tl_error_set(w->err, -EINVAL,
                            "container %s: the buffer has %llu bytes, but what is to be written has %llu", name,
                            (unsigned long long)io->buffer_len, (unsigned long long)bytes);
    struct tl_key k;
    return failed(w, value_key(w, &k, TL_TAG_VALUE, io->akey));
}

/* The size of the records of an array as it is seen by now; 0: of a single value. 0, -ENOENT, -errno. */
static int seen_size(const struct writing *w, const struct tiercel_io *io, uint32_t *size)
{
    struct tl_clears clears;
    uint64_t chunk = 0;
    int rc = tl_clears_gather(w->c, w->version.epoch, w->oid, w->dkey, io->akey, 1, &clears);
    if (rc != 0)
        return rc;
    rc = tl_next_chunk(w->c, w->version.epoch, w->oid, w->dkey, io->akey, &clears, &chunk, size);
    tl_clears_free(&clears);
    return rc;
}

/* An array keeps the size of its records until it is punched. */
static int check_record_size(struct writing *w, const struct tiercel_io *io)
{
    struct tl_store *s = w->c->pool->shared->store;
    uint32_t size = 0;
    if (io->extents == NULL)
        return 0;
    int rc = tl_cont_settle_kind(w->c, w->oid, w->dkey, io);
    rc = rc == 0 ? seen_size(w, io, &size) : rc;
    if (rc == 0 && size != io->record_size) { /* perhaps it has just been punched */
        rc = tl_cont_settle_for(w->c, w->version.epoch, tl_thing_hash(w->oid, &w->dkey));
        rc = rc == 0 ? seen_size(w, io, &size) : rc;
    }
    if (rc == 0 && size != io->record_size)
        return tl_error_set(
            w->err, -EINVAL,
            size == 0 ? "container %s: there is a single value under this key; punch it before an array is written"
                      : "container %s: the records of this array have %u bytes; punch it before it gets others",
            w->c->name, size);
    /* Of what was lost nobody knows; who writes anew says what it is from now on. */
    bool unknown = rc == -EBADMSG && s->ops->unknown != NULL && s->ops->unknown(s);
    return rc == -ENOENT || unknown ? 0 : failed(w, rc);
}

static int check_condition(struct writing *w, unsigned flags, struct tiercel_bytes akey)
{
    if ((flags & (TIERCEL_IF_MISSING | TIERCEL_IF_THERE)) == 0)
        return 0;
    int rc = tl_akey_there(w->c, w->version.epoch, w->oid, w->dkey, akey);
    if (rc < 0)
        return failed(w, rc);
    if (rc == 1 && (flags & TIERCEL_IF_MISSING) != 0)
        return failed(w, -EEXIST);
    return rc == 0 && (flags & TIERCEL_IF_THERE) != 0 ? failed(w, -ENOENT) : 0;
}

int tl_cont_update(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey, unsigned flags,
                   const struct tiercel_io *ios, unsigned count, struct tl_error *err)
{
    struct writing w;
    int rc = begin(&w, c, epoch, oid, err);
    w.dkey = dkey;
    for (unsigned i = 0; rc == 0 && i < count; i++)
        rc = check_io(&w, &ios[i]);
    if (rc == 0 && (flags & ~(TIERCEL_IF_MISSING | TIERCEL_IF_THERE)) != 0)
        rc = tl_error_set(err, -EINVAL, "container %s: flags 0x%x are not for writing", c->name, flags);
    if (rc == 0 && (flags & (TIERCEL_IF_MISSING | TIERCEL_IF_THERE)) != 0)
        rc = failed(&w, tl_cont_settle_for(c, epoch, tl_thing_hash(oid, &dkey)));
    for (unsigned i = 0; rc == 0 && i < count; i++) {
        rc = check_condition(&w, flags, ios[i].akey);
        rc = rc == 0 ? check_record_size(&w, &ios[i]) : rc;
    }
    for (unsigned i = 0; rc == 0 && i < count; i++) {
        tl_cont_wrote_kind(c, oid, dkey, &ios[i]);
        tl_cont_wrote(c, epoch, oid, &dkey); /* before: part of it may be there after a failure, too */
        int failure = ios[i].extents == NULL ? write_single(&w, &ios[i]) : 0;
        const uint8_t *bytes = ios[i].buffer;
        for (unsigned x = 0; failure == 0 && x < ios[i].extent_count && ios[i].extents != NULL; x++) {
            failure = write_extent(&w, &ios[i], ios[i].extents[x], bytes);
            bytes += ios[i].extents[x].count * ios[i].record_size;
        }
        rc = failed(&w, failure);
    }
    return rc;
}

/* ---- punching ---- */

static int punch_one(struct writing *w, struct tl_key *k, const struct tl_meta *meta)
{
    return write_record(w, k, meta, "", 0);
}

/* TIERCEL_IF_THERE: of all that is to be punched there is something. */
static int punch_condition(struct writing *w, const struct tiercel_bytes *dkey, const struct tiercel_bytes *akeys,
                           unsigned count)
{
    struct tl_name name;
    int rc = tl_cont_settle(w->c);
    if (rc == 0 && akeys == NULL)
        rc = dkey == NULL ? tl_next_name(w->c, w->version.epoch, w->oid, NULL, NULL, &name)
                          : tl_next_name(w->c, w->version.epoch, w->oid, dkey, NULL, &name);
    for (unsigned i = 0; rc == 0 && akeys != NULL && i < count; i++)
        rc = check_condition(w, TIERCEL_IF_THERE, akeys[i]);
    return rc;
}

int tl_cont_punch(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, const struct tiercel_bytes *dkey,
                  const struct tiercel_bytes *akeys, unsigned count, unsigned flags, struct tl_error *err)
{
    const struct tl_meta all = {.kind = TL_KIND_PUNCH}, hole = {.kind = TL_KIND_HOLE, .count = UINT64_MAX};
    struct writing w;
    struct tl_key k;
    int rc = begin(&w, c, epoch, oid, err);
    if (rc == 0 && ((flags & ~TIERCEL_IF_THERE) != 0 || (dkey == NULL && akeys != NULL)))
        rc = tl_error_set(err, -EINVAL, "container %s: an object, a dkey, or akeys of a dkey can be punched", c->name);
    if (rc != 0)
        return rc;
    if (dkey != NULL)
        w.dkey = *dkey;
    rc = (flags & TIERCEL_IF_THERE) != 0 ? punch_condition(&w, dkey, akeys, count) : 0;
    if (rc == 0)
        tl_cont_wrote(c, epoch, oid, dkey);
    if (rc == 0 && akeys == NULL) {
        tl_key_begin(&k, oid, dkey == NULL ? TL_TAG_OBJECT : TL_TAG_DKEY);
        rc = dkey == NULL ? 0 : tl_key_add_name(&k, *dkey);
        rc = rc == 0 ? punch_one(&w, &k, &all) : rc;
    }
    for (unsigned i = 0; rc == 0 && akeys != NULL && i < count; i++) {
        rc = value_key(&w, &k, TL_TAG_RANGE, akeys[i]);
        rc = rc == 0 ? punch_one(&w, &k, &hole) : rc;
    }
    return failed(&w, rc);
}

int tl_cont_array_clear(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                        struct tiercel_bytes akey, struct tiercel_extent x, struct tl_error *err)
{
    const struct tl_meta hole = {.kind = TL_KIND_HOLE, .first = x.first, .count = x.count};
    struct writing w;
    struct tl_key k;
    int rc = begin(&w, c, epoch, oid, err);
    if (rc != 0 || x.count == 0)
        return rc;
    if (x.count > UINT64_MAX - x.first)
        return tl_error_set(err, -EOVERFLOW, "container %s: an extent ends behind what 64 bits can count", c->name);
    w.dkey = dkey;
    tl_cont_wrote(c, epoch, oid, &dkey);
    rc = value_key(&w, &k, TL_TAG_RANGE, akey);
    rc = rc == 0 ? punch_one(&w, &k, &hole) : rc;
    return failed(&w, rc);
}
