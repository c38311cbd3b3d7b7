// SPDX-License-Identifier: Apache-2.0
/* Which bytes of the files records refer to, counted by segment; and giving back those that nobody refers to.
 *
 * A segment is given back by punching a hole, after the transaction in which its count came to nothing: a crash in between leaves
 * space unused until the pool is checked, never a record without its payload. Only what has been taken over into the index is
 * looked at: above, a payload may be there before its record. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/bytes.h"
#include "store/embedded.h"

#define ROOM (16u << 20) /* bytes: a disk that has less is full to LMDB */

static void live_key(uint8_t key[8], uint32_t file, uint32_t segment)
{
    tl_put_u32(key, file);
    tl_put_u32(key + 4, segment);
}

static int get_live(struct tl_embedded *e, MDB_txn *txn, uint8_t key[8], uint64_t *out)
{
    MDB_val k = {8, key}, v;
    int rc = mdb_get(txn, e->live, &k, &v);
    *out = 0;
    if (rc == MDB_NOTFOUND)
        return 0;
    if (rc != 0 || v.mv_size != 8)
        return rc != 0 ? tl_embedded_error(rc) : -EBADMSG;
    *out = tl_get_u64(v.mv_data);
    return 0;
}

/* Segments of which nothing has to be given back after all are few, and are found again when the pool is checked. */
static void add_dead(struct tl_embedded *e, uint32_t file, uint32_t segment)
{
    if (e->dead_count == e->dead_room) {
        size_t room = e->dead_room * 2 + 64;
        struct tl_dead *grown = reallocarray(e->dead, room, sizeof *grown);
        if (grown == NULL)
            return;
        e->dead = grown;
        e->dead_room = room;
    }
    e->dead[e->dead_count++] = (struct tl_dead){.file = file, .segment = segment};
}

int tl_embedded_set_live(struct tl_embedded *e, MDB_txn *txn, uint32_t file, uint32_t segment, uint64_t bytes)
{
    uint8_t key[8], value[8];
    live_key(key, file, segment);
    MDB_val k = {sizeof key, key}, v = {sizeof value, value};
    tl_put_u64(value, bytes);
    return tl_embedded_error(bytes > 0 ? mdb_put(txn, e->live, &k, &v, 0) : mdb_del(txn, e->live, &k, NULL));
}

static int count_segment(struct tl_embedded *e, MDB_txn *txn, uint32_t file, uint32_t segment, uint32_t bytes, int sign)
{
    uint8_t key[8];
    uint64_t live;
    live_key(key, file, segment);
    int rc = get_live(e, txn, key, &live);
    if (rc != 0 || (sign < 0 && live < bytes))
        return rc != 0 ? rc : -EBADMSG;
    live = sign > 0 ? live + bytes : live - bytes;
    if (live == 0)
        add_dead(e, file, segment);
    return tl_embedded_set_live(e, txn, file, segment, live);
}

int tl_embedded_count(struct tl_embedded *e, MDB_txn *txn, struct tl_slice place, int sign)
{
    struct tl_place_view p;
    int rc = tl_place_get(place, &p);
    if (rc != 0 || p.inlined)
        return rc;
    for (uint64_t at = p.offset, end = p.offset + p.len; rc == 0 && at < end;) {
        uint32_t segment = (uint32_t)(at / TL_EMBEDDED_SEGMENT);
        uint64_t next = (segment + 1ull) * TL_EMBEDDED_SEGMENT, upto = next < end ? next : end;
        rc = count_segment(e, txn, p.file, segment, (uint32_t)(upto - at), sign);
        at = upto;
    }
    return rc;
}

int tl_embedded_sweep(struct tl_embedded *e, MDB_txn *txn, uint32_t file, uint64_t from, uint64_t to)
{
    int rc = 0;
    for (uint64_t segment = from / TL_EMBEDDED_SEGMENT; rc == 0 && (segment + 1) * TL_EMBEDDED_SEGMENT <= to;
         segment++) {
        uint8_t key[8];
        uint64_t live;
        live_key(key, file, (uint32_t)segment);
        rc = get_live(e, txn, key, &live);
        if (rc == 0 && live == 0)
            add_dead(e, file, (uint32_t)segment);
    }
    return rc;
}

int tl_embedded_is_live(struct tl_embedded *e, MDB_txn *txn, uint32_t file, uint64_t segment)
{
    uint8_t key[8];
    uint64_t live;
    live_key(key, file, (uint32_t)segment);
    int rc = get_live(e, txn, key, &live);
    return rc == 0 ? live > 0 : rc;
}

/* Of what came to nothing at some time during the transaction, what is still so at its end, and lies wholly below what was taken over:
 * above, a flush may have put payloads whose records nobody knows yet. */
static int settle(struct tl_embedded *e, MDB_txn *txn)
{
    size_t kept = 0;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < e->dead_count; i++) {
        struct tl_taken taken;
        rc = tl_embedded_taken(e, txn, e->dead[i].file, &taken);
        if (rc != 0 || (e->dead[i].segment + 1ull) * TL_EMBEDDED_SEGMENT > taken.end)
            continue;
        rc = tl_embedded_is_live(e, txn, e->dead[i].file, e->dead[i].segment);
        if (rc == 0)
            e->dead[kept++] = e->dead[i];
        rc = rc > 0 ? 0 : rc;
    }
    e->dead_count = kept;
    return rc;
}

/* LMDB takes a write that was cut short, as a full disk does it, for an error of the disk. */
static int why_failed(const struct tl_embedded *e, int rc)
{
    struct statvfs fs;
    bool full = rc == -EIO && statvfs(e->directory, &fs) == 0 && fs.f_bavail * fs.f_frsize < ROOM;
    return full ? -ENOSPC : rc;
}

int tl_embedded_finish(struct tl_embedded *e, MDB_txn *txn, int rc)
{
    rc = rc == 0 ? settle(e, txn) : rc;
    if (rc == 0)
        rc = why_failed(e, tl_embedded_error(mdb_txn_commit(txn)));
    else
        mdb_txn_abort(txn);
    for (size_t i = 0; rc == 0 && i < e->dead_count; i++) {
        off_t start = (off_t)e->dead[i].segment * TL_EMBEDDED_SEGMENT;
        int fd = tl_embedded_read_fd(e, e->dead[i].file);
        if (fd >= 0)
            (void)!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, start, TL_EMBEDDED_SEGMENT);
    }
    e->dead_count = 0;
    return rc;
}
