// SPDX-License-Identifier: Apache-2.0
/* Checking a pool: everything that LMDB says is compared with everything that is there.
 *
 * What is found is either damage, or a note: space that nothing refers to, and what the next transaction will put right, are no damage.
 * All is looked at as of one LMDB snapshot, while others go on working; what they erase meanwhile is not told. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "store/embedded.h"

#define TOLD_MAX 1000u /* findings that are told one by one */

struct part { /* what the records refer to in one ext.N */
    struct tl_taken taken;
    bool there;
    uint64_t size, used;
    uint64_t end;   /* of the last byte that is referred to */
    uint32_t *live; /* bytes of each segment below taken.end */
};

struct audit {
    struct tl_embedded *e;
    MDB_txn *txn;
    void (*tell)(void *ctx, const char *finding);
    void *ctx;
    bool repair;
    bool unsure; /* records cannot be made sense of: what they refer to is not given back */
    bool counts_wrong;
    uint32_t told;
    int damage;
    struct part parts[TL_EMBEDDED_FILES];
    uint8_t piece[TL_EMBEDDED_CHECK];
};

__attribute__((format(printf, 3, 4))) static void found(struct audit *a, bool damage, const char *format, ...)
{
    char text[1024] = "note: ";
    va_list args;
    if (damage && a->damage < INT_MAX)
        a->damage++;
    if (a->told++ >= TOLD_MAX)
        return;
    size_t used = damage ? 0 : strlen(text);
    va_start(args, format);
    vsnprintf(text + used, sizeof text - used, format, args);
    va_end(args);
    if (a->tell != NULL)
        a->tell(a->ctx, text);
}

/* "container 0102..., key abc\x00": what a record or a value of the state is called. */
static const char *name_of(const MDB_val *k, char *out, size_t size)
{
    const uint8_t *bytes = k->mv_data;
    size_t used = (size_t)snprintf(out, size, "container ");
    for (size_t i = 0; i < 16 && i < k->mv_size; i++)
        used += (size_t)snprintf(out + used, size - used, "%02x", bytes[i]);
    used += (size_t)snprintf(out + used, size - used, ", key ");
    for (size_t i = 16; i < k->mv_size && used + 8 < size; i++)
        used += (size_t)snprintf(out + used, size - used,
                                 bytes[i] >= ' ' && bytes[i] < 127 && bytes[i] != '\\' ? "%c" : "\\x%02x", bytes[i]);
    return out;
}

/* ---- files ---- */

static int begin_parts(struct audit *a)
{
    char path[4200];
    struct stat st;
    for (uint32_t i = 0; i < TL_EMBEDDED_FILES; i++) {
        struct part *p = &a->parts[i];
        int rc = tl_embedded_taken(a->e, a->txn, i, &p->taken);
        if (rc == -EBADMSG || p->taken.end > INT64_MAX - 2 * TL_EMBEDDED_SEGMENT || p->taken.block > p->taken.end) {
            found(a, true, "meta.mdb: what it says of ext.%u makes no sense", i);
            p->taken = (struct tl_taken){0, 0};
            a->unsure = true;
        } else if (rc != 0) {
            return rc;
        }
        tl_embedded_path(a->e, i, path, sizeof path);
        p->there = stat(path, &st) == 0;
        p->size = p->there ? (uint64_t)st.st_size : 0;
        if (p->taken.end == 0)
            continue;
        p->live = calloc(p->taken.end / TL_EMBEDDED_SEGMENT + 1, sizeof *p->live);
        if (p->live == NULL)
            return -ENOMEM;
    }
    return 0;
}

static void tell_of_missing_files(struct audit *a)
{
    for (uint32_t i = 0; i < TL_EMBEDDED_FILES; i++) {
        const struct part *p = &a->parts[i];
        if (p->used > 0 && !p->there)
            found(a, true, "ext.%u is missing; records refer to %llu bytes of it", i, (unsigned long long)p->used);
        else if (p->size < p->end)
            found(a, true, "ext.%u was cut short: it has %llu of %llu bytes", i, (unsigned long long)p->size,
                  (unsigned long long)p->end);
    }
}

/* ---- the state, and records ---- */

static void look_at_value(struct audit *a, const MDB_val *k, const MDB_val *v)
{
    char name[300];
    if (k->mv_size < 16 || k->mv_size > 16 + TL_STORE_KEY_MAX || v->mv_size > TL_STORE_VALUE_MAX)
        found(a, true, "meta.mdb: no such value can have been put into the state: %s", name_of(k, name, sizeof name));
}

/* It may have been erased, or written anew, since our snapshot. */
static bool still_there(struct audit *a, const MDB_val *k, const MDB_val *v)
{
    MDB_txn *txn;
    MDB_val key = *k, now;
    if (tl_embedded_begin(a->e, &txn) != 0)
        return true;
    bool same = mdb_get(txn, a->e->index, &key, &now) == 0 && now.mv_size == v->mv_size &&
                memcmp(now.mv_data, v->mv_data, v->mv_size) == 0;
    tl_embedded_end(a->e, txn, NULL);
    return same;
}

static void count_bytes(struct part *part, const struct tl_place_view *p)
{
    part->used += p->len;
    part->end = part->end > p->offset + p->len ? part->end : p->offset + p->len;
    for (uint64_t at = p->offset, end = p->offset + p->len; at < end;) {
        uint64_t segment = at / TL_EMBEDDED_SEGMENT, next = (segment + 1) * TL_EMBEDDED_SEGMENT;
        uint64_t upto = next < end ? next : end;
        part->live[segment] += (uint32_t)(upto - at);
        at = upto;
    }
}

static void look_at_payload(struct audit *a, const MDB_val *k, const MDB_val *v, const struct tl_found *f,
                            const struct tl_place_view *p)
{
    char name[300], where[64] = "in meta.mdb";
    for (uint32_t at = 0, len; at < p->len || at == 0; at += len) {
        len = p->len - at < TL_EMBEDDED_CHECK ? p->len - at : TL_EMBEDDED_CHECK;
        if (!p->inlined)
            snprintf(where, sizeof where, "ext.%u, offset %llu", p->file, (unsigned long long)p->offset + at);
        int rc = tl_embedded_read(&a->e->store, f->place, at, a->piece, len);
        if (rc != 0 && still_there(a, k, v)) {
            found(a, true, "%s: %s: %s", where,
                  rc == -EBADMSG  ? "these bytes are not what was written"
                  : rc == -ENOENT ? (a->parts[p->file].there ? "these bytes are gone" : "the file is missing")
                                  : strerror(-rc),
                  name_of(k, name, sizeof name));
            return;
        }
        if (len == 0)
            return;
    }
}

static void look_at_record(struct audit *a, const MDB_val *k, const MDB_val *v)
{
    char name[300];
    struct tl_found f;
    struct tl_place_view p;
    if (k->mv_size <= 16 || k->mv_size > 16 + TL_STORE_KEY_MAX || tl_embedded_show(k, v, &f) != 0 ||
        tl_place_get(f.place, &p) != 0) {
        found(a, true, "meta.mdb: the record makes no sense: %s", name_of(k, name, sizeof name));
        a->unsure = true;
        return;
    }
    if (!p.inlined && p.offset + p.len > a->parts[p.file].taken.end) {
        found(a, true, "ext.%u, offset %llu: nothing was written there: %s", p.file, (unsigned long long)p.offset,
              name_of(k, name, sizeof name));
        a->unsure = true;
        return;
    }
    if (!p.inlined)
        count_bytes(&a->parts[p.file], &p);
    look_at_payload(a, k, v, &f, &p);
}

static int each(struct audit *a, MDB_dbi table, void (*fn)(struct audit *a, const MDB_val *k, const MDB_val *v))
{
    MDB_cursor *cursor;
    MDB_val k, v;
    int rc = mdb_cursor_open(a->txn, table, &cursor);
    if (rc != 0)
        return tl_embedded_error(rc);
    for (rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST); rc == 0; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT))
        fn(a, &k, &v);
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : tl_embedded_error(rc);
}

/* ---- counts ---- */

static void look_at_count(struct audit *a, const MDB_val *k, const MDB_val *v)
{
    uint32_t file = k->mv_size == 8 ? tl_get_u32(k->mv_data) : UINT32_MAX;
    uint32_t segment = k->mv_size == 8 ? tl_get_u32((const uint8_t *)k->mv_data + 4) : 0;
    if (file >= TL_EMBEDDED_FILES || v->mv_size != 8 ||
        segment * (uint64_t)TL_EMBEDDED_SEGMENT >= a->parts[file].taken.end) {
        found(a, true, "meta.mdb: a count of live bytes makes no sense: file %u, segment %u", file, segment);
        a->counts_wrong = true;
        return;
    }
    uint64_t says = tl_get_u64(v->mv_data);
    if (says == a->parts[file].live[segment])
        return;
    a->counts_wrong = true;
    found(a, true, "ext.%u, offset %llu: %llu bytes are said to be live, and records refer to %u%s", file,
          (unsigned long long)segment * TL_EMBEDDED_SEGMENT, (unsigned long long)says, a->parts[file].live[segment],
          a->repair && !a->unsure ? "; put right" : "");
}

/* What has no count at all. */
static int look_for_counts(struct audit *a)
{
    int rc = 0;
    for (uint32_t i = 0; i < TL_EMBEDDED_FILES; i++)
        for (uint64_t s = 0; rc >= 0 && s * TL_EMBEDDED_SEGMENT < a->parts[i].taken.end; s++) {
            if (a->parts[i].live[s] == 0)
                continue;
            rc = tl_embedded_is_live(a->e, a->txn, i, s);
            if (rc != 0)
                continue;
            a->counts_wrong = true;
            found(a, true, "ext.%u, offset %llu: no bytes are said to be live, and records refer to %u%s", i,
                  (unsigned long long)s * TL_EMBEDDED_SEGMENT, a->parts[i].live[s],
                  a->repair && !a->unsure ? "; put right" : "");
        }
    return rc < 0 && rc != -EBADMSG ? rc : 0; /* which look_at_count has told of */
}

static int put_counts_right(struct audit *a)
{
    MDB_txn *txn;
    int rc = tl_embedded_error(mdb_txn_begin(a->e->env, NULL, 0, &txn));
    if (rc != 0)
        return rc;
    rc = tl_embedded_error(mdb_drop(txn, a->e->live, 0));
    for (uint32_t i = 0; i < TL_EMBEDDED_FILES; i++)
        for (uint64_t s = 0; rc == 0 && s * TL_EMBEDDED_SEGMENT < a->parts[i].taken.end; s++)
            if (a->parts[i].live[s] > 0)
                rc = tl_embedded_set_live(a->e, txn, i, (uint32_t)s, a->parts[i].live[s]);
    return tl_embedded_finish(a->e, txn, rc);
}

/* ---- space ---- */

/* Bytes of a file that take space on the disk, from..to. */
static uint64_t allocated(int fd, uint64_t from, uint64_t to)
{
    uint64_t sum = 0;
    while (from < to) {
        off_t data = lseek(fd, (off_t)from, SEEK_DATA);
        if (data < 0 || (uint64_t)data >= to)
            break;
        off_t hole = lseek(fd, data, SEEK_HOLE);
        uint64_t upto = hole < 0 || (uint64_t)hole > to ? to : (uint64_t)hole;
        sum += upto - (uint64_t)data;
        from = upto;
    }
    return sum;
}

/* Nobody appends to it. */
static bool is_idle(int fd)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_UNLCK;
}

static bool gives_back(const struct audit *a)
{
    return a->repair && !a->unsure;
}

static void look_at_tail(struct audit *a, uint32_t file, int fd)
{
    const struct part *p = &a->parts[file];
    if (p->size <= p->taken.end || !is_idle(fd))
        return;
    found(a, false, "ext.%u: %llu bytes behind its end%s", file, (unsigned long long)(p->size - p->taken.end),
          gives_back(a) ? ": given back" : "");
    if (gives_back(a))
        (void)!ftruncate(fd, (off_t)p->taken.end);
}

static void look_at_space(struct audit *a, uint32_t file)
{
    const struct part *p = &a->parts[file];
    uint64_t whole = p->taken.end / TL_EMBEDDED_SEGMENT;
    int fd = p->there ? tl_embedded_read_fd(a->e, file) : -1;
    if (fd < 0)
        return;
    for (uint64_t s = 0, upto; s < whole; s = upto + 1) {
        for (upto = s; upto < whole && p->live[upto] == 0; upto++)
            ;
        uint64_t from = s * TL_EMBEDDED_SEGMENT, to = upto * TL_EMBEDDED_SEGMENT, bytes = allocated(fd, from, to);
        if (bytes == 0)
            continue;
        found(a, false, "ext.%u, offset %llu: nothing refers to %llu bytes%s", file, (unsigned long long)from,
              (unsigned long long)bytes, gives_back(a) ? ": given back" : "");
        if (gives_back(a))
            (void)!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)(to - from));
    }
    look_at_tail(a, file, fd);
}

/* ---- what was flushed, and is not in the index yet ---- */

static int count_block(void *ctx, uint8_t *records, size_t len)
{
    (void)records, (void)len;
    ++*(unsigned *)ctx;
    return 0;
}

static int look_at_pending(struct audit *a, uint32_t file)
{
    uint64_t block = atomic_load(&a->e->page->files[file].block), end;
    unsigned count = 0;
    if (block <= a->parts[file].taken.block)
        return 0;
    int rc = tl_embedded_flushed(a->e, file, &block, &end);
    if (rc == 0)
        rc = tl_embedded_each_block(a->e, file, a->parts[file].taken.block, block, count_block, &count);
    if (rc == -EBADMSG || rc == -ENOENT)
        found(a, true, "ext.%u: of the index blocks up to offset %llu one is damaged or missing", file,
              (unsigned long long)block);
    else if (rc == 0)
        found(a, false, "ext.%u: %u index blocks wait for the next transaction", file, count);
    return rc == -EBADMSG || rc == -ENOENT ? 0 : rc;
}

/* ---- all of it ---- */

static int look_at_all(struct audit *a)
{
    int rc = tl_embedded_walk(a->e);
    if (rc == -EBADMSG) {
        found(a, true, "meta.mdb cannot be read to its end: nothing else was looked at");
        return 0;
    }
    rc = rc == 0 ? begin_parts(a) : rc;
    rc = rc == 0 ? each(a, a->e->state, look_at_value) : rc;
    rc = rc == 0 ? each(a, a->e->index, look_at_record) : rc;
    if (rc != 0)
        return rc;
    tell_of_missing_files(a);
    rc = each(a, a->e->live, look_at_count);
    rc = rc == 0 ? look_for_counts(a) : rc;
    /* The page means something only while somebody writes. */
    bool pending = !a->e->config.read_only || tl_page_has_writer(&a->e->access);
    for (uint32_t i = 0; rc == 0 && i < TL_EMBEDDED_FILES; i++) {
        rc = pending ? look_at_pending(a, i) : 0;
        if (rc == 0)
            look_at_space(a, i);
    }
    return rc;
}

static int nothing(void *ctx, struct tl_store_tx *tx)
{
    (void)ctx, (void)tx;
    return 0;
}

static int run(struct audit *a)
{
    const struct tl_store_id none = {{0}};
    if (a->repair) /* what was flushed is taken over; why it cannot be is told below */
        (void)!a->e->store.ops->change(&a->e->store, &none, nothing, NULL);
    int rc = tl_embedded_begin(a->e, &a->txn);
    if (rc != 0)
        return rc;
    rc = look_at_all(a);
    tl_embedded_end(a->e, a->txn, NULL);
    if (rc == 0 && a->repair && a->counts_wrong && !a->unsure)
        rc = put_counts_right(a);
    if (rc == 0 && a->told > TOLD_MAX) {
        uint32_t more = a->told - TOLD_MAX;
        a->told = 0;
        found(a, false, "and %u findings more", more);
    }
    return rc;
}

int tl_embedded_check(struct tl_store *s, bool repair, void (*tell)(void *ctx, const char *finding), void *ctx)
{
    struct tl_embedded *e = (struct tl_embedded *)s;
    if (repair && e->config.read_only)
        return -EROFS;
    struct audit *a = calloc(1, sizeof *a);
    int rc = a == NULL ? -ENOMEM : repair ? tl_page_alone(&e->access) : 0;
    if (rc == 0) {
        a->e = e;
        a->tell = tell;
        a->ctx = ctx;
        a->repair = repair;
        rc = run(a);
        rc = rc == 0 ? a->damage : rc;
        if (repair)
            tl_page_share(&e->access);
    }
    for (uint32_t i = 0; a != NULL && i < TL_EMBEDDED_FILES; i++)
        free(a->parts[i].live);
    free(a);
    return rc;
}
