// SPDX-License-Identifier: Apache-2.0
/* Listings and entries that have proven outdated. A file may travel in another tree than the listing that names it: who hears that
 * the file has changed drops the listing, and the nodes from which it came still hold it. So the next GET for it says which one
 * is outdated, and they drop it, too (docs/protocol.md, P-11). */
#include <errno.h>

#include "core/node/internal.h"

#define MARK_ANY   1u        /* whoever says so no longer has the outdated one */
#define SETTLED_NS 50000000u /* 50 ms: a listing that was just read again is not doubted */

static struct tl_outdated *find(struct tl_node *n, struct tl_hash key)
{
    for (uint32_t i = 0; i < OUTDATED_MAX; i++)
        if (n->outdated[i].mark != 0 && tl_hash_equal(n->outdated[i].key, key))
            return &n->outdated[i];
    return NULL;
}

/* One that is forgotten for want of room is found out again. */
static void add(struct tl_node *n, struct tl_hash key, uint64_t mark)
{
    struct tl_outdated *o = find(n, key);
    if (o == NULL)
        o = &n->outdated[n->outdated_next++ % OUTDATED_MAX];
    *o = (struct tl_outdated){.key = key, .mark = mark};
}

/* Short for the listing's bytes; neither 0 nor MARK_ANY. */
static uint64_t mark_of(const struct tl_chunk *c)
{
    return c->digest.lo > MARK_ANY ? c->digest.lo : ~c->digest.lo;
}

static uint32_t blob_chunk(const struct tl_node *n, struct tl_hash key)
{
    uint32_t object = tl_index_find_object(n->index, key);
    return object == TL_SLOT_NONE ? TL_SLOT_NONE : tl_index_find_chunk(n->index, object, 0);
}

/* The listing that is held or asked for goes, and the next GET for it says what was wrong with it. */
static void drop(struct tl_node *n, struct tl_hash key, uint32_t chunk, uint64_t mark)
{
    const struct tl_chunk *c = chunk == TL_SLOT_NONE ? NULL : &n->index->chunks[chunk];
    add(n, key, c != NULL && c->state == TL_CHUNK_PRESENT ? mark_of(c) : mark);
    if (c != NULL)
        tl_forget_chunk(n, chunk);
}

static bool is_held(const struct tl_node *n, uint32_t chunk)
{
    return chunk != TL_SLOT_NONE && n->index->chunks[chunk].state == TL_CHUNK_PRESENT;
}

void tl_stale_file(struct tl_node *n, const char *path, uint16_t path_len)
{
    struct tl_hash list = tl_object_key(TL_OP_LIST, path, tl_path_parent_len(path, path_len), 0);
    struct tl_hash entry = tl_object_key(TL_OP_ENTRY, path, path_len, 0);
    struct tl_hash xattrs = tl_object_key(TL_OP_XATTRS, path, path_len, 0);
    uint32_t list_chunk = blob_chunk(n, list), entry_chunk = blob_chunk(n, entry), xattr_chunk = blob_chunk(n, xattrs);
    bool unlistable = list_chunk != TL_SLOT_NONE && n->index->chunks[list_chunk].state == TL_CHUNK_NEGATIVE;
    const struct tl_outdated *o = find(n, list);
    if (is_held(n, list_chunk) || o == NULL || o->settled_ns != 0) /* else it is being asked for with a mark already */
        drop(n, list, list_chunk, MARK_ANY);
    if (entry_chunk != TL_SLOT_NONE || unlistable)
        drop(n, entry, entry_chunk, MARK_ANY);
    if (xattr_chunk != TL_SLOT_NONE)
        drop(n, xattrs, xattr_chunk, MARK_ANY);
    tl_invalidate(n, path, path_len);
}

void tl_stale_listing(struct tl_node *n, const struct tl_wire *m)
{
    struct tl_hash key = tl_object_key(m->get.op, m->get.path, m->get.path_len, 0);
    const struct tl_outdated *o = find(n, key);
    bool any = m->get.outdated == MARK_ANY;
    if (o != NULL && (any || o->mark == m->get.outdated) &&
        (o->settled_ns == 0 || n->now_ns - o->settled_ns < SETTLED_NS))
        return; /* it is being asked for again, or has just been, and this is what there is */
    uint32_t chunk = blob_chunk(n, key);
    if (is_held(n, chunk) && !any && mark_of(&n->index->chunks[chunk]) != m->get.outdated)
        return; /* ours is another one */
    drop(n, key, chunk, m->get.outdated);
    tl_invalidate(n, m->get.path, m->get.path_len);
}

uint64_t tl_stale_mark(struct tl_node *n, struct tl_hash key)
{
    const struct tl_outdated *o = find(n, key);
    return o == NULL || o->settled_ns != 0 ? 0 : o->mark;
}

void tl_stale_settled(struct tl_node *n, struct tl_hash key)
{
    struct tl_outdated *o = find(n, key);
    if (o != NULL && o->settled_ns == 0)
        o->settled_ns = n->now_ns > 0 ? n->now_ns : 1;
}
