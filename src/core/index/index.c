// SPDX-License-Identifier: Apache-2.0
#include "core/index/index.h"

#include <errno.h>
#include <stdlib.h>

#define SLOTS_A_BUCKET                                                                                                 \
    8u /* in a full index: hashes touch the whole table soon, so it must not be larger than it need be */
#define VICTIM_SEARCH_MAX 512u /* chunks in use passed over before we say that nothing can go */
#define WEIGHT_UNIT       4096u

static uint32_t bucket_count(uint32_t slots)
{
    uint32_t count = 16;
    while (count < slots && count < (1u << 30))
        count *= 2;
    return count;
}

/* Buckets and hash_next hold links: a slot plus one, so that 0 ends a chain, and a table that is never touched costs no memory.
 * UINT32_MAX is TL_SLOT_NONE: link 0 is slot "none", too. */
static uint32_t slot_of(uint32_t link)
{
    return link - 1;
}

static uint32_t link_to(uint32_t slot)
{
    return slot + 1;
}

int tl_index_new(struct tl_index **out, uint32_t object_max, uint32_t path_blocks)
{
    check(object_max > 0 && object_max < TL_SLOT_NONE);
    struct tl_index *x = calloc(1, sizeof *x);
    if (x == NULL)
        return -ENOMEM;
    uint32_t buckets = bucket_count(object_max / SLOTS_A_BUCKET);
    x->object_max = x->chunk_max = object_max;
    x->bucket_mask = buckets - 1;
    x->objects = calloc(object_max, sizeof *x->objects);
    x->chunks = calloc(object_max, sizeof *x->chunks);
    x->object_buckets = calloc(buckets, sizeof *x->object_buckets);
    x->chunk_buckets = calloc(buckets, sizeof *x->chunk_buckets);
    x->object_free = x->chunk_free = TL_SLOT_NONE;
    int rc = tl_paths_new(&x->paths, path_blocks);
    if (rc == 0)
        rc = tl_evict_new(&x->evict, object_max, 1, NULL);
    if (rc != 0 || x->objects == NULL || x->chunks == NULL || x->object_buckets == NULL || x->chunk_buckets == NULL) {
        tl_index_free(x);
        return -ENOMEM;
    }
    *out = x;
    return 0;
}

void tl_index_free(struct tl_index *x)
{
    if (x == NULL)
        return;
    tl_paths_free(x->paths);
    tl_evict_free(x->evict);
    free(x->objects);
    free(x->chunks);
    free(x->object_buckets);
    free(x->chunk_buckets);
    free(x);
}

/* ---- objects ---- */

static uint32_t *object_bucket(const struct tl_index *x, struct tl_hash key)
{
    return &x->object_buckets[(uint32_t)key.lo & x->bucket_mask];
}

uint32_t tl_index_find_object(const struct tl_index *x, struct tl_hash key)
{
    uint32_t at = slot_of(*object_bucket(x, key));
    while (at != TL_SLOT_NONE && !tl_hash_equal(x->objects[at].key, key))
        at = slot_of(x->objects[at].hash_next);
    return at;
}

uint32_t tl_index_add_object(struct tl_index *x, struct tl_hash key, enum tl_op op)
{
    check(op != 0);
    check(tl_index_find_object(x, key) == TL_SLOT_NONE);
    uint32_t at = x->object_free;
    if (at != TL_SLOT_NONE)
        x->object_free = x->objects[at].hash_next;
    else if (x->object_fresh < x->object_max)
        at = x->object_fresh++;
    else
        return TL_SLOT_NONE;
    uint32_t *bucket = object_bucket(x, key);
    x->objects[at] = (struct tl_object){
        .key = key, .op = (uint8_t)op, .chunks = TL_SLOT_NONE, .path = TL_PATH_NONE, .hash_next = *bucket};
    *bucket = link_to(at);
    x->object_count++;
    return at;
}

int tl_index_set_path(struct tl_index *x, uint32_t object, const char *path, uint16_t len)
{
    struct tl_object *o = &x->objects[object];
    check(o->op != 0);
    if (o->path != TL_PATH_NONE)
        return 0;
    o->path = tl_paths_put(x->paths, path, len);
    o->path_len = len;
    return o->path == TL_PATH_NONE ? -EBUSY : 0;
}

static void drop_path(struct tl_index *x, struct tl_object *o)
{
    tl_paths_drop(x->paths, o->path, o->path_len);
    o->path = TL_PATH_NONE;
}

static void unlink_object(struct tl_index *x, uint32_t object)
{
    uint32_t *link = object_bucket(x, x->objects[object].key);
    while (slot_of(*link) != object)
        link = &x->objects[slot_of(*link)].hash_next;
    *link = x->objects[object].hash_next;
}

void tl_index_disown_object(struct tl_index *x, uint32_t object)
{
    struct tl_object *o = &x->objects[object];
    check(o->op != 0 && o->flights == 0);
    unlink_object(x, object);
    do /* a key that no name has: the old one, hashed with its own slot */
        o->key = tl_hash_bytes(&o->key, sizeof o->key, object + 1);
    while (tl_index_find_object(x, o->key) != TL_SLOT_NONE);
    uint32_t *bucket = object_bucket(x, o->key);
    o->hash_next = *bucket;
    *bucket = link_to(object);
}

void tl_index_settle_object(struct tl_index *x, uint32_t object)
{
    struct tl_object *o = &x->objects[object];
    check(o->op != 0);
    if (o->holds > 0)
        return;
    if (o->chunks != TL_SLOT_NONE) {
        if (o->flights == 0 && o->op == TL_OP_READ)
            drop_path(x, o);
        return;
    }
    check(o->flights == 0);
    drop_path(x, o);
    unlink_object(x, object);
    o->op = 0;
    o->hash_next = x->object_free;
    x->object_free = object;
    x->object_count--;
}

/* ---- chunks ---- */

static uint32_t *chunk_bucket(const struct tl_index *x, uint32_t object, uint32_t number)
{
    uint64_t mix = ((uint64_t)object << 32 | number) * 0x9e3779b97f4a7c15u;
    return &x->chunk_buckets[(uint32_t)(mix >> 32) & x->bucket_mask];
}

uint32_t tl_index_find_chunk(const struct tl_index *x, uint32_t object, uint32_t number)
{
    uint32_t at = slot_of(*chunk_bucket(x, object, number));
    while (at != TL_SLOT_NONE && (x->chunks[at].object != object || x->chunks[at].number != number))
        at = slot_of(x->chunks[at].hash_next);
    return at;
}

uint32_t tl_index_add_chunk(struct tl_index *x, uint32_t object, uint32_t number)
{
    check(x->objects[object].op != 0);
    check(tl_index_find_chunk(x, object, number) == TL_SLOT_NONE);
    uint32_t at = x->chunk_free;
    if (at != TL_SLOT_NONE)
        x->chunk_free = x->chunks[at].hash_next;
    else if (x->chunk_fresh < x->chunk_max)
        at = x->chunk_fresh++;
    else
        return TL_SLOT_NONE;
    uint32_t *bucket = chunk_bucket(x, object, number);
    struct tl_object *o = &x->objects[object];
    x->chunks[at] = (struct tl_chunk){.object = object,
                                      .number = number,
                                      .state = TL_CHUNK_FLIGHT,
                                      .flight = TL_SLOT_NONE,
                                      .hash_next = *bucket,
                                      .object_next = o->chunks,
                                      .object_prev = TL_SLOT_NONE};
    *bucket = link_to(at);
    if (o->chunks != TL_SLOT_NONE)
        x->chunks[o->chunks].object_prev = at;
    o->chunks = at;
    o->flights++;
    x->chunk_count++;
    return at;
}

/* Joins those that may be evicted. */
static void line_up(struct tl_index *x, uint32_t chunk)
{
    const struct tl_chunk *c = &x->chunks[chunk];
    uint64_t key = x->objects[c->object].key.lo + c->number * 0x9e3779b97f4a7c15ull;
    tl_evict_insert(x->evict, 0, chunk, c->len / WEIGHT_UNIT + 1, key);
}

void tl_index_land_chunk(struct tl_index *x, uint32_t chunk, enum tl_chunk_state state)
{
    struct tl_chunk *c = &x->chunks[chunk];
    check(c->state == TL_CHUNK_FLIGHT);
    check(state == TL_CHUNK_PRESENT || state == TL_CHUNK_NEGATIVE);
    c->state = (uint8_t)state;
    c->flight = TL_SLOT_NONE;
    check(x->objects[c->object].flights > 0);
    x->objects[c->object].flights--;
    line_up(x, chunk);
}

void tl_index_remove_chunk(struct tl_index *x, uint32_t chunk)
{
    struct tl_chunk *c = &x->chunks[chunk];
    check(c->state != TL_CHUNK_FREE && c->pins == 0);
    struct tl_object *o = &x->objects[c->object];
    if (c->state == TL_CHUNK_FLIGHT)
        o->flights--;
    else
        tl_evict_remove(x->evict, chunk);
    if (c->object_prev != TL_SLOT_NONE)
        x->chunks[c->object_prev].object_next = c->object_next;
    else
        o->chunks = c->object_next;
    if (c->object_next != TL_SLOT_NONE)
        x->chunks[c->object_next].object_prev = c->object_prev;
    uint32_t *link = chunk_bucket(x, c->object, c->number);
    while (slot_of(*link) != chunk)
        link = &x->chunks[slot_of(*link)].hash_next;
    *link = c->hash_next;
    c->state = TL_CHUNK_FREE;
    c->hash_next = x->chunk_free;
    x->chunk_free = chunk;
    x->chunk_count--;
    tl_index_settle_object(x, c->object);
}

void tl_index_touch(struct tl_index *x, uint32_t chunk)
{
    check(x->chunks[chunk].state == TL_CHUNK_PRESENT || x->chunks[chunk].state == TL_CHUNK_NEGATIVE);
    tl_evict_touch(x->evict, chunk);
}

void tl_index_keep(struct tl_index *x, uint32_t chunk, bool keep)
{
    struct tl_chunk *c = &x->chunks[chunk];
    check(c->state == TL_CHUNK_PRESENT || c->state == TL_CHUNK_NEGATIVE);
    if (keep && !c->kept)
        tl_evict_remove(x->evict, chunk);
    else if (!keep && c->kept)
        line_up(x, chunk);
    c->kept = keep;
}

uint32_t tl_index_victim(struct tl_index *x, uint64_t step)
{
    uint32_t passed[VICTIM_SEARCH_MAX], count = 0, victim = TL_SLOT_NONE;
    while (count < VICTIM_SEARCH_MAX) {
        uint32_t at = tl_evict_victim(x->evict, 0);
        if (at == TL_EVICT_NONE)
            break;
        if (x->chunks[at].pins == 0 && x->chunks[at].answered_step != step) {
            victim = at;
            break;
        }
        passed[count++] = at;
    }
    for (uint32_t i = 0; i < count; i++) /* remembered as having left: they come back as what is in use */
        line_up(x, passed[i]);
    return victim;
}

void tl_index_verify(const struct tl_index *x)
{
    uint32_t listed = 0, flights = 0, used = 0;
    for (uint32_t i = 0; i < x->chunk_fresh; i++) {
        const struct tl_chunk *c = &x->chunks[i];
        if (c->state == TL_CHUNK_FREE)
            continue;
        used++;
        flights += c->state == TL_CHUNK_FLIGHT || c->kept;
        listed += tl_evict_listed(x->evict, i) != 0;
        check((tl_evict_listed(x->evict, i) != 0) == (c->state != TL_CHUNK_FLIGHT && !c->kept));
        check(!c->kept || c->state != TL_CHUNK_FLIGHT);
        check((c->flight != TL_SLOT_NONE) == (c->state == TL_CHUNK_FLIGHT));
        check(tl_index_find_chunk(x, c->object, c->number) == i);
        check(x->objects[c->object].op != 0);
    }
    check(used == x->chunk_count);
    check(listed + flights == used && listed == tl_evict_count(x->evict, 0));
    uint32_t objects = 0;
    for (uint32_t i = 0; i < x->object_fresh; i++) {
        const struct tl_object *o = &x->objects[i];
        objects += o->op != 0;
        check(o->op == 0 || (o->chunks != TL_SLOT_NONE && o->holds == 0));
        check(o->op == 0 || o->flights == 0 || o->path != TL_PATH_NONE);
    }
    check(objects == x->object_count);
}
