// SPDX-License-Identifier: Apache-2.0
/* Writing, flushing, and taking over what was flushed.
 *
 * An index block starts at a block of the stream: magic, offset of the index block before it (0: none), bytes and number of its records,
 * a checksum over all of that; then the records: length of key, length of value, key (with the container's id), value (as in
 * LMDB). All numbers little-endian. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/class.h"
#include "store/embedded.h"

#define MAGIC       0x31584449434c5431ull
#define HEADER      40u
#define PENDING_MAX (1u << 20) /* bytes of records: then an index block is appended before the flush */

/* ---- reading index blocks ---- */

static int read_exactly(int fd, void *out, size_t len, uint64_t offset)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = pread(fd, (uint8_t *)out + at, len - at, (off_t)(offset + at));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EBADMSG;
        at += (size_t)n;
    }
    return 0;
}

struct header {
    uint64_t prev, bytes;
    uint64_t check; /* of the records */
};

static int load_header(int fd, uint64_t offset, struct header *out)
{
    uint8_t header[HEADER];
    int rc = read_exactly(fd, header, HEADER, offset);
    if (rc != 0)
        return rc;
    *out = (struct header){.prev = tl_get_u64(header + 8),
                           .bytes = tl_get_u64(header + 16),
                           .check = tl_get_u64(header + 32) ^ tl_place_check(header, 32)};
    return tl_get_u64(header) == MAGIC && out->bytes <= 4 * PENDING_MAX && out->prev < offset ? 0 : -EBADMSG;
}

/* The block's records, malloc'd. 0, -EBADMSG, -errno. */
static int load_block(int fd, uint64_t offset, uint8_t **records, size_t *len)
{
    struct header h;
    int rc = load_header(fd, offset, &h);
    if (rc != 0)
        return rc;
    *records = malloc(h.bytes + 1);
    if (*records == NULL)
        return -ENOMEM;
    rc = read_exactly(fd, *records, h.bytes, offset + HEADER);
    if (rc == 0 && tl_place_check(*records, h.bytes) != h.check)
        rc = -EBADMSG;
    if (rc != 0)
        free(*records);
    *len = h.bytes;
    return rc;
}

/* A flush tells of its last block first, and of the end after that: between the two, or if it is killed there, the end is where the
 * block ends. */
int tl_embedded_flushed(struct tl_embedded *e, uint32_t file, uint64_t *block, uint64_t *end)
{
    struct header h;
    *end = atomic_load(&e->page->files[file].end); /* before the block: never a later flush's than that */
    *block = atomic_load(&e->page->files[file].block);
    if (*block < *end || *block == 0)
        return 0;
    int fd = tl_embedded_read_fd(e, file);
    int rc = fd < 0 ? fd : load_header(fd, *block, &h);
    if (rc == 0)
        *end = (*block + HEADER + h.bytes + TL_STREAM_BLOCK - 1) / TL_STREAM_BLOCK * TL_STREAM_BLOCK;
    return rc;
}

/* ---- writing ---- */

/* A file that no other process appends to. */
static int open_stream(struct tl_embedded *e)
{
    struct tl_stream_config config;
    struct tl_error err;
    char path[4200];
    int rc = -EBUSY;
    tl_stream_config_default(&config);
    if (e->config.buffer_bytes != 0)
        config.buffers =
            e->config.buffer_bytes / config.buffer_bytes < 2 ? 2 : e->config.buffer_bytes / config.buffer_bytes;
    config.buffers = config.buffers > 64 ? 64 : config.buffers;
    for (uint32_t i = 0; i < TL_EMBEDDED_FILES && rc == -EBUSY; i++) {
        tl_embedded_path(e, i, path, sizeof path);
        rc = tl_stream_open(&e->stream, path, 0, &config, &err);
        e->file = i;
    }
    uint64_t end = 0;
    rc = rc == 0 ? tl_embedded_flushed(e, e->file, &e->last_block, &end) : rc; /* not sure before it was ours */
    if (rc == 0) {
        tl_stream_begin_at(e->stream, end > 0 ? end : TL_STREAM_BLOCK); /* an offset of 0 means none */
    } else {
        tl_stream_close(e->stream);
        e->stream = NULL;
    }
    return rc;
}

static int append_pending(struct tl_embedded *e, const void *bytes, size_t len)
{
    if (e->pending_len + len > e->pending_room) {
        size_t room = (e->pending_len + len) * 2;
        uint8_t *grown = realloc(e->pending, room);
        if (grown == NULL)
            return -ENOMEM;
        e->pending = grown;
        e->pending_room = room;
    }
    memcpy(e->pending + e->pending_len, bytes, len);
    e->pending_len += len;
    return 0;
}

/* The index block begins with its header: room for it is kept where records are collected. */
static int write_block(struct tl_embedded *e)
{
    uint64_t at;
    uint8_t *header = e->pending;
    size_t bytes = e->pending_len - HEADER;
    tl_put_u64(header, MAGIC);
    tl_put_u64(header + 8, e->last_block);
    tl_put_u64(header + 16, bytes);
    tl_put_u64(header + 24, e->pending_count);
    tl_put_u64(header + 32, tl_place_check(header, 32) ^ tl_place_check(header + HEADER, bytes));
    int rc = tl_stream_append_cached(e->stream, e->pending, e->pending_len, &at);
    if (rc != 0)
        return rc; /* it stays pending */
    e->last_block = at;
    e->pending_len = e->pending_count = 0;
    return 0;
}

static int add_record(struct tl_embedded *e, const struct tl_store_id *id, const struct tl_record *r,
                      const uint8_t *place, size_t place_len)
{
    uint8_t lens[4], meta_len = (uint8_t)r->meta.len;
    tl_put_u16(lens, (uint16_t)(sizeof id->bytes + r->key.len));
    tl_put_u16(lens + 2, (uint16_t)(1 + r->meta.len + place_len));
    static const uint8_t header[HEADER];
    size_t before = e->pending_len;
    int rc = before == 0 ? append_pending(e, header, HEADER) : 0;
    rc = rc == 0 ? append_pending(e, lens, sizeof lens) : rc;
    rc = rc == 0 ? append_pending(e, id->bytes, sizeof id->bytes) : rc;
    rc = rc == 0 ? append_pending(e, r->key.at, r->key.len) : rc;
    rc = rc == 0 ? append_pending(e, &meta_len, 1) : rc;
    rc = rc == 0 && r->meta.len > 0 ? append_pending(e, r->meta.at, r->meta.len) : rc;
    rc = rc == 0 ? append_pending(e, place, place_len) : rc;
    if (rc != 0)
        e->pending_len = before;
    else
        e->pending_count++;
    return rc;
}

/* Piece by piece, each while it is near: its checksum, then the copy. */
static int append_payload(struct tl_embedded *e, struct tl_slice payload, uint8_t *place, size_t *place_len)
{
    const uint8_t *from = payload.at;
    uint64_t first = 0, at;
    int rc = tl_stream_reserve(e->stream, payload.len);
    for (size_t done = 0, len; rc == 0 && done < payload.len; done += len) {
        len = payload.len - done < TL_EMBEDDED_CHECK ? payload.len - done : TL_EMBEDDED_CHECK;
        uint64_t sum = tl_place_check(from + done, len);
        rc = tl_stream_append(e->stream, from + done, len, &at);
        first = done == 0 ? at : first;
        check(rc != 0 || at == first + done);
        tl_place_put_check(place, (uint32_t)(done / TL_EMBEDDED_CHECK), sum);
    }
    *place_len = tl_place_put_end(place, (uint32_t)payload.len, e->file, first);
    return rc;
}

int tl_embedded_write(struct tl_store *s, const struct tl_store_id *id, const struct tl_record *r)
{
    struct tl_embedded *e = (struct tl_embedded *)s;
    uint8_t place[TL_STORE_PLACE_MAX];
    if (r->key.len == 0 || r->key.len > TL_STORE_KEY_MAX || r->meta.len > TL_STORE_META_MAX ||
        r->payload.len > TL_STORE_PAYLOAD_MAX || (r->class != 0 && r->class != TL_CLASS_S))
        return -EINVAL;
    if (e->config.read_only)
        return -EROFS;
    if (e->broken != 0)
        return e->broken;
    int rc = e->stream == NULL ? open_stream(e) : 0;
    if (rc != 0)
        return rc;
    if (e->pending_len >= PENDING_MAX)
        rc = write_block(e);
    size_t place_len = 0;
    if (rc == 0 && r->payload.len > TL_EMBEDDED_INLINE)
        rc = append_payload(e, r->payload, place, &place_len);
    else if (rc == 0)
        place_len = tl_place_put(place, r->payload.at, (uint32_t)r->payload.len, 0, 0);
    rc = rc == 0 ? add_record(e, id, r, place, place_len) : rc;
    if (rc != 0 && rc != -ENOSPC && rc != -EDQUOT && rc != -ENOMEM)
        e->broken = rc;
    return rc;
}

int tl_embedded_flush(struct tl_store *s)
{
    struct tl_embedded *e = (struct tl_embedded *)s;
    if (e->stream == NULL)
        return e->broken;
    int rc = e->broken;
    if (rc == 0 && e->pending_count > 0)
        rc = write_block(e);
    if (rc == 0)
        rc = tl_stream_sync(e->stream);
    if (rc == 0) {
        struct tl_page_file *f = &e->page->files[e->file];
        atomic_store(&f->block, e->last_block);
        atomic_store(&f->end, tl_stream_end(e->stream));
        return 0;
    }
    tl_stream_begin_anew(e->stream);
    e->last_block = atomic_load(&e->page->files[e->file].block);
    e->pending_len = e->pending_count = 0;
    e->broken = 0;
    return rc;
}

/* ---- taking over ---- */

int tl_embedded_taken(struct tl_embedded *e, MDB_txn *txn, uint32_t file, struct tl_taken *out)
{
    uint8_t key[4];
    MDB_val k = {sizeof key, key}, v;
    tl_put_u32(key, file);
    *out = (struct tl_taken){0, 0};
    int rc = mdb_get(txn, e->files, &k, &v);
    if (rc == MDB_NOTFOUND)
        return 0;
    if (rc != 0 || v.mv_size != 16)
        return rc != 0 ? tl_embedded_error(rc) : -EBADMSG;
    out->end = tl_get_u64(v.mv_data);
    out->block = tl_get_u64((const uint8_t *)v.mv_data + 8);
    return 0;
}

static int put_taken(struct tl_embedded *e, MDB_txn *txn, uint32_t file, const struct tl_taken *t)
{
    uint8_t key[4], value[16];
    MDB_val k = {sizeof key, key}, v = {sizeof value, value};
    tl_put_u32(key, file);
    tl_put_u64(value, t->end);
    tl_put_u64(value + 8, t->block);
    return tl_embedded_error(mdb_put(txn, e->files, &k, &v, 0));
}

static int put_records(struct tl_embedded *e, MDB_txn *txn, uint8_t *records, size_t len)
{
    for (size_t at = 0; at < len;) {
        if (len - at < 4)
            return -EBADMSG;
        size_t key_len = tl_get_u16(records + at), value_len = tl_get_u16(records + at + 2);
        if (len - at - 4 < key_len + value_len || value_len < 1)
            return -EBADMSG;
        MDB_val k = {key_len, records + at + 4}, v = {value_len, records + at + 4 + key_len}, old;
        size_t meta_len = 1 + (size_t) * (const uint8_t *)v.mv_data;
        if (value_len < meta_len)
            return -EBADMSG;
        int rc = 0;
        if (mdb_get(txn, e->index, &k, &old) == 0 && old.mv_size > 0) { /* written twice: the later counts */
            size_t skip = 1 + (size_t) * (const uint8_t *)old.mv_data;
            rc = tl_embedded_count(e, txn, (struct tl_slice){(const uint8_t *)old.mv_data + skip, old.mv_size - skip},
                                   -1);
        }
        if (rc == 0)
            rc = tl_embedded_error(mdb_put(txn, e->index, &k, &v, 0));
        if (rc == 0)
            rc = tl_embedded_count(e, txn,
                                   (struct tl_slice){records + at + 4 + key_len + meta_len, value_len - meta_len}, 1);
        if (rc != 0)
            return rc;
        at += 4 + key_len + value_len;
    }
    return 0;
}

struct offsets {
    uint64_t *at;
    size_t count, room;
};

static int add_offset(struct offsets *o, uint64_t offset)
{
    if (o->count == o->room) {
        uint64_t *grown = reallocarray(o->at, o->room * 2 + 64, sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        o->at = grown;
        o->room = o->room * 2 + 64;
    }
    o->at[o->count++] = offset;
    return 0;
}

int tl_embedded_each_block(struct tl_embedded *e, uint32_t file, uint64_t from, uint64_t to,
                           int (*fn)(void *ctx, uint8_t *records, size_t len), void *ctx)
{
    struct offsets o = {NULL, 0, 0};
    struct header h;
    int fd = tl_embedded_read_fd(e, file), rc = fd < 0 ? fd : 0;
    for (uint64_t at = to; rc == 0 && at > from; at = h.prev) {
        rc = load_header(fd, at, &h);
        rc = rc == 0 ? add_offset(&o, at) : rc;
    }
    while (rc == 0 && o.count > 0) {
        uint8_t *records;
        size_t len;
        rc = load_block(fd, o.at[--o.count], &records, &len);
        if (rc == 0) {
            rc = fn(ctx, records, len);
            free(records);
        }
    }
    free(o.at);
    return rc;
}

struct taking {
    struct tl_embedded *e;
    MDB_txn *txn;
};

static int take_block(void *ctx, uint8_t *records, size_t len)
{
    struct taking *t = ctx;
    return put_records(t->e, t->txn, records, len);
}

int tl_embedded_take_over(struct tl_embedded *e, MDB_txn *txn)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < TL_EMBEDDED_FILES; i++) {
        struct taking taking = {e, txn};
        struct tl_taken taken, now;
        if (atomic_load(&e->page->files[i].block) == 0)
            continue;
        rc = tl_embedded_taken(e, txn, i, &taken);
        if (rc != 0 || taken.block == atomic_load(&e->page->files[i].block))
            continue;
        rc = tl_embedded_flushed(e, i, &now.block, &now.end);
        if (rc == 0)
            rc = tl_embedded_each_block(e, i, taken.block, now.block, take_block, &taking);
        if (rc == 0)
            rc = tl_embedded_sweep(e, txn, i, taken.end, now.end);
        if (rc == 0)
            rc = put_taken(e, txn, i, &now);
    }
    return rc;
}

int tl_embedded_reset_page(struct tl_embedded *e)
{
    MDB_txn *txn;
    int rc = tl_embedded_error(mdb_txn_begin(e->env, NULL, MDB_RDONLY, &txn));
    if (rc != 0)
        return rc;
    for (uint32_t i = 0; rc == 0 && i < TL_EMBEDDED_FILES; i++) {
        struct tl_taken taken;
        rc = tl_embedded_taken(e, txn, i, &taken);
        atomic_store(&e->page->files[i].end, taken.end);
        atomic_store(&e->page->files[i].block, taken.block);
    }
    mdb_txn_abort(txn);
    return rc;
}
