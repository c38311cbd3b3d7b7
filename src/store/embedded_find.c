// SPDX-License-Identifier: Apache-2.0
/* Finding, reading and erasing records. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "store/embedded.h"

#define MAP_MIN (64u << 20) /* bytes of a file that are mapped at first */

struct whole_key {
    uint8_t bytes[16 + TL_STORE_KEY_MAX];
    size_t len;
};

static bool join(struct whole_key *k, const struct tl_store_id *id, struct tl_slice key)
{
    if (key.len > TL_STORE_KEY_MAX)
        return false;
    memcpy(k->bytes, id->bytes, 16);
    if (key.len > 0)
        memcpy(k->bytes + 16, key.at, key.len);
    k->len = 16 + key.len;
    return true;
}

static bool begins_with(const MDB_val *v, const struct whole_key *prefix)
{
    return v->mv_size >= prefix->len && memcmp(v->mv_data, prefix->bytes, prefix->len) == 0;
}

int tl_embedded_show(const MDB_val *k, const MDB_val *v, struct tl_found *out)
{
    const uint8_t *value = v->mv_data;
    struct tl_place_view p;
    if (v->mv_size < 1 || v->mv_size < 1u + value[0])
        return -EBADMSG;
    out->key = (struct tl_slice){(const uint8_t *)k->mv_data + 16, k->mv_size - 16};
    out->meta = (struct tl_slice){value + 1, value[0]};
    out->place = (struct tl_slice){value + 1 + value[0], v->mv_size - 1 - value[0]};
    int rc = tl_place_get(out->place, &p);
    out->payload_len = p.len;
    return rc;
}

int tl_embedded_scan(struct tl_store *s, const struct tl_store_id *id, struct tl_slice prefix, struct tl_slice from,
                     int (*fn)(void *ctx, const struct tl_found *f), void *ctx)
{
    struct tl_embedded *e = (struct tl_embedded *)s;
    struct whole_key first, start;
    MDB_txn *txn;
    MDB_cursor *cursor = NULL;
    if (!join(&first, id, prefix) || !join(&start, id, from))
        return -EINVAL;
    const struct whole_key *begin =
        memcmp(start.bytes, first.bytes, start.len < first.len ? start.len : first.len) > 0 || (start.len > first.len)
            ? &start
            : &first;
    int rc = tl_embedded_begin(e, &txn);
    if (rc != 0)
        return rc;
    rc = tl_embedded_cursor(e, txn, &cursor);
    MDB_val k = {begin->len, (void *)(uintptr_t)begin->bytes}, v;
    int found = rc == 0 ? mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE) : MDB_NOTFOUND;
    while (rc == 0 && found == 0 && begins_with(&k, &first)) {
        struct tl_found f;
        rc = tl_embedded_show(&k, &v, &f);
        rc = rc == 0 ? fn(ctx, &f) : rc;
        found = rc == 0 ? mdb_cursor_get(cursor, &k, &v, MDB_NEXT) : 0;
    }
    if (rc == 0 && found != 0 && found != MDB_NOTFOUND)
        rc = tl_embedded_error(found);
    tl_embedded_end(e, txn, cursor);
    return rc;
}

/* ---- payloads ---- */

/* The bytes of a payload are not what they were: -ENOENT if they may have been given back, as nothing refers to them any more. */
static int why_differs(struct tl_embedded *e, const struct tl_place_view *p)
{
    MDB_txn *txn;
    int live = tl_embedded_begin(e, &txn);
    if (live != 0)
        return live;
    live = 1;
    for (uint64_t segment = p->offset / TL_EMBEDDED_SEGMENT;
         live == 1 && segment <= (p->offset + p->len - 1) / TL_EMBEDDED_SEGMENT; segment++)
        live = tl_embedded_is_live(e, txn, p->file, segment);
    tl_embedded_end(e, txn, NULL);
    return live < 0 ? live : live == 0 ? -ENOENT : -EBADMSG;
}

/* These bytes of a file in memory; NULL: they cannot be had so. Only bytes that the file has are touched: what a file is cut short by
 * while it is in use ends the process, as it does with the index. */
static const uint8_t *map_bytes(struct tl_embedded *e, uint32_t file, int fd, uint64_t offset, uint32_t len)
{
    struct tl_mapped *m = &e->mapped[file];
    struct stat st;
    if (offset + len <= m->size)
        return m->at + offset;
    if (fstat(fd, &st) != 0 || offset + len > (uint64_t)st.st_size)
        return NULL;
    if ((uint64_t)st.st_size > m->len) {
        uint64_t room = m->len > 0 ? m->len : MAP_MIN;
        while (room < (uint64_t)st.st_size)
            room *= 2; /* addresses cost nothing */
        void *at = mmap(NULL, room, PROT_READ, MAP_SHARED, fd, 0);
        if (at == MAP_FAILED)
            return NULL;
        if (m->len > 0)
            munmap((void *)(uintptr_t)m->at, m->len);
        *m = (struct tl_mapped){.at = at, .len = room};
    }
    m->size = (uint64_t)st.st_size;
    return m->at + offset;
}

static int read_bytes(int fd, uint8_t *out, uint32_t len, uint64_t offset)
{
    for (uint32_t at = 0; at < len;) {
        ssize_t n = pread(fd, out + at, len - at, (off_t)(offset + at));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EBADMSG; /* the file is shorter than it was */
        at += (uint32_t)n;
    }
    return 0;
}

struct piece { /* that has a checksum of its own */
    uint64_t offset;
    uint32_t len;
    uint64_t check;
};

/* It is copied first, and checked then: who erases it may give its space back at any time. */
static bool copy_piece(struct tl_embedded *e, uint32_t file, int fd, const struct piece *p, uint8_t *into)
{
    const uint8_t *from = map_bytes(e, file, fd, p->offset, p->len);
    if (from == NULL)
        return false;
    memcpy(into, from, p->len);
    return tl_place_check(into, p->len) == p->check;
}

/* Bytes from..to-1 of a piece. */
static int read_piece(struct tl_embedded *e, uint32_t file, int fd, const struct piece *p, uint32_t from, uint32_t to,
                      uint8_t *out)
{
    uint8_t *into = from == 0 && to == p->len ? out : e->scratch;
    if (p->len > TL_EMBEDDED_SMALL || !copy_piece(e, file, fd, p, into)) {
        int rc = read_bytes(fd, into, p->len, p->offset);
        if (rc != 0 || tl_place_check(into, p->len) != p->check)
            return rc != 0 ? rc : -EBADMSG;
    }
    if (into != out)
        memcpy(out, into + from, to - from);
    return 0;
}

const char *tl_embedded_damage(struct tl_store *s)
{
    struct tl_embedded *e = (struct tl_embedded *)s;
    const struct tl_place_view *p = &e->read_place;
    if (p->inlined)
        snprintf(e->damage, sizeof e->damage, "meta.mdb: its checksum differs");
    else
        snprintf(e->damage, sizeof e->damage,
                 tl_embedded_read_fd(e, p->file) < 0 ? "ext.%u, which is not there"
                                                     : "ext.%u, offset %llu: its checksum differs",
                 p->file, (unsigned long long)p->offset + e->read_offset);
    return e->damage;
}

static int read_pieces(struct tl_embedded *e, const struct tl_place_view *p, uint32_t offset, uint8_t *out,
                       uint32_t len)
{
    int fd = tl_embedded_read_fd(e, p->file), rc = fd < 0 ? fd : 0;
    if (e->scratch == NULL)
        e->scratch = malloc(TL_EMBEDDED_CHECK);
    if (e->scratch == NULL)
        return -ENOMEM;
    for (uint32_t done = 0; rc == 0 && done < len;) {
        uint32_t at = offset + done, number = at / TL_EMBEDDED_CHECK, from = at % TL_EMBEDDED_CHECK;
        uint32_t start = number * TL_EMBEDDED_CHECK;
        struct piece piece = {.offset = p->offset + start,
                              .len = p->len - start < TL_EMBEDDED_CHECK ? p->len - start : TL_EMBEDDED_CHECK,
                              .check = tl_get_u64(p->checks + 8ull * number)};
        uint32_t to = piece.len - from < len - done ? piece.len : from + (len - done);
        rc = read_piece(e, p->file, fd, &piece, from, to, out + done);
        done += to - from;
    }
    return rc;
}

int tl_embedded_read(struct tl_store *s, struct tl_slice place, uint32_t offset, void *out, uint32_t len)
{
    struct tl_embedded *e = (struct tl_embedded *)s;
    struct tl_place_view *p = &e->read_place;
    int rc = tl_place_get(place, p);
    if (rc != 0)
        *p = (struct tl_place_view){.inlined = true};
    if (rc != 0 || offset > p->len || len > p->len - offset)
        return rc != 0 ? rc : -EINVAL;
    e->read_offset = offset;
    if (p->inlined) {
        if (tl_place_check(p->bytes, p->len) != tl_get_u64(p->checks))
            return -EBADMSG;
        if (len > 0)
            memcpy(out, p->bytes + offset, len);
        return 0;
    }
    rc = read_pieces(e, p, offset, out, len);
    return rc == -EBADMSG ? why_differs(e, p) : rc;
}

/* ---- erasing ---- */

static int erase_one(struct tl_embedded *e, MDB_txn *txn, const struct tl_store_id *id, struct tl_slice key)
{
    struct whole_key whole;
    struct tl_found f;
    if (!join(&whole, id, key))
        return -EINVAL;
    MDB_val k = {whole.len, whole.bytes}, v;
    int rc = mdb_get(txn, e->index, &k, &v);
    if (rc == MDB_NOTFOUND)
        return 0;
    rc = rc == 0 ? tl_embedded_show(&k, &v, &f) : tl_embedded_error(rc);
    rc = rc == 0 ? tl_embedded_count(e, txn, f.place, -1) : rc;
    return rc == 0 ? tl_embedded_error(mdb_del(txn, e->index, &k, NULL)) : rc;
}

int tl_embedded_erase(struct tl_store *s, const struct tl_store_id *id, const struct tl_slice *keys, size_t count)
{
    struct tl_embedded *e = (struct tl_embedded *)s;
    MDB_txn *txn;
    if (e->config.read_only)
        return -EROFS;
    int rc = tl_embedded_error(mdb_txn_begin(e->env, NULL, 0, &txn));
    if (rc != 0)
        return rc;
    rc = tl_embedded_take_over(e, txn);
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = erase_one(e, txn, id, keys[i]);
    return tl_embedded_finish(e, txn, rc);
}
