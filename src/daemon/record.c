// SPDX-License-Identifier: Apache-2.0
/* What a start reads: each object that a front needs is noted at its first use, while somebody records. One recording at a time,
 * of all mounts of this node; a bounded table; programs that find everything in the kernel's cache never come here. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/profile.h"
#include "daemon/daemon.h"

#define ENTRIES_MAX   (1u << 15)
#define BUCKETS       (1u << 14)
#define GROUP_CHUNKS  64u /* chunks whose use one entry notes */
#define PATHS_MAX     (4u << 20)
#define PATHS_INITIAL (64u << 10)

struct entry {
    uint32_t path_at;
    uint32_t group; /* of a file: its chunks from group * 64 on */
    uint32_t next;  /* in its bucket, plus one */
    uint16_t path_len;
    uint8_t op;
    uint64_t used; /* bit i: chunk i of the group */
};

struct tl_recorder {
    int owner; /* process that records */
    struct entry entries[ENTRIES_MAX];
    uint32_t buckets[BUCKETS];
    uint32_t entry_count;
    char *paths;
    uint32_t path_bytes, path_room;
};

static void forget(struct tl_daemon *d)
{
    if (d->recorder != NULL)
        free(d->recorder->paths);
    free(d->recorder);
    d->recorder = NULL;
}

void tl_record_close(struct tl_daemon *d)
{
    forget(d);
}

/* The entry for this object and group; NULL: there is no room. */
static struct entry *find_or_add(struct tl_recorder *r, enum tl_op op, const char *path, uint16_t path_len,
                                 uint32_t group)
{
    uint32_t *bucket = &r->buckets[tl_hash64(path, path_len, (uint64_t)group << 8 | (uint64_t)op) % BUCKETS];
    for (uint32_t at = *bucket; at != 0; at = r->entries[at - 1].next) {
        struct entry *e = &r->entries[at - 1];
        if (e->op == op && e->group == group && e->path_len == path_len &&
            memcmp(r->paths + e->path_at, path, path_len) == 0)
            return e;
    }
    if (r->entry_count == ENTRIES_MAX || r->path_bytes + path_len > PATHS_MAX)
        return NULL;
    if (r->path_bytes + path_len > r->path_room) {
        uint32_t room = r->path_room == 0 ? PATHS_INITIAL : r->path_room * 2;
        char *paths = realloc(r->paths, room);
        if (paths == NULL)
            return NULL;
        r->paths = paths;
        r->path_room = room;
    }
    memcpy(r->paths + r->path_bytes, path, path_len);
    struct entry *e = &r->entries[r->entry_count++];
    *e = (struct entry){
        .path_at = r->path_bytes, .group = group, .next = *bucket, .path_len = path_len, .op = (uint8_t)op};
    r->path_bytes += path_len;
    *bucket = r->entry_count;
    return e;
}

void tl_record_blob(struct tl_daemon *d, enum tl_op op, const char *path, uint16_t path_len)
{
    if (d->recorder != NULL)
        find_or_add(d->recorder, op, path, path_len, 0);
}

void tl_record_request(struct tl_daemon *d, const struct tl_request *q)
{
    if (d->recorder == NULL || (q->op == TL_OP_READ && q->offset >= q->file_size_bytes))
        return;
    if (q->op != TL_OP_READ) {
        tl_record_blob(d, q->op, q->path, q->path_len);
        return;
    }
    uint64_t first = q->offset / TL_CHUNK_SIZE, end = (q->offset + q->length + TL_CHUNK_SIZE - 1) / TL_CHUNK_SIZE;
    for (uint64_t chunk = first; chunk < end; chunk++) { /* at most TL_ANSWER_REFS_MAX */
        struct entry *e = find_or_add(d->recorder, q->op, q->path, q->path_len, (uint32_t)(chunk / GROUP_CHUNKS));
        if (e != NULL)
            e->used |= 1ull << chunk % GROUP_CHUNKS;
    }
}

bool tl_record_begin(struct tl_daemon *d, int owner)
{
    struct tl_recorder *r = d->recorder;
    bool taken = r != NULL && r->owner != owner && (kill(r->owner, 0) == 0 || errno != ESRCH);
    if (taken || d->options.rank != 0)
        return false;
    forget(d);
    d->recorder = calloc(1, sizeof *d->recorder);
    if (d->recorder != NULL)
        d->recorder->owner = owner;
    return d->recorder != NULL;
}

/* ---- as a profile ---- */

static int add_entry(struct tl_profile *p, const struct tl_recorder *r, const struct entry *e)
{
    static const enum tl_profile_kind kinds[] = {[TL_OP_LIST] = TL_PROFILE_LIST,
                                                 [TL_OP_READ] = TL_PROFILE_FILE,
                                                 [TL_OP_ENTRY] = TL_PROFILE_ENTRY,
                                                 [TL_OP_XATTRS] = TL_PROFILE_XATTRS};
    const char *path = r->paths + e->path_at;
    if (e->op != TL_OP_READ)
        return tl_profile_add(p, kinds[e->op], path, e->path_len, 0, 0);
    for (uint32_t i = 0; i < GROUP_CHUNKS; i++) {
        uint32_t count = 0;
        while (i + count < GROUP_CHUNKS && (e->used >> (i + count) & 1) != 0)
            count++;
        int rc =
            count == 0 ? 0 : tl_profile_add(p, TL_PROFILE_FILE, path, e->path_len, e->group * GROUP_CHUNKS + i, count);
        if (rc != 0)
            return rc;
        i += count;
    }
    return 0;
}

int tl_record_end(struct tl_daemon *d, int owner, int fd, uint32_t *items)
{
    struct tl_profile p = {.merged = 1};
    struct tl_recorder *r = d->recorder;
    char *text = NULL;
    size_t len = 0;
    int rc = 0;
    if (r == NULL || r->owner != owner)
        return -ENOENT;
    for (uint32_t i = 0; rc == 0 && i < r->entry_count; i++)
        rc = add_entry(&p, r, &r->entries[i]);
    if (rc == -EFBIG)
        rc = 0; /* what has room is good, too */
    if (rc == 0)
        rc = tl_profile_write(&p, &text, &len);
    for (size_t done = 0; rc == 0 && done < len;) {
        ssize_t n = write(fd, text + done, len - done);
        if (n <= 0)
            rc = n < 0 ? -errno : -EIO;
        else
            done += (size_t)n;
    }
    *items = p.line_count;
    free(text);
    tl_profile_fini(&p);
    forget(d);
    return rc;
}
