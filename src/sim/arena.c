// SPDX-License-Identifier: Apache-2.0
#include "sim/arena.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/listing.h"
#include "sim/memory.h"

/* Slot i lies at i * 64 MiB of a flat space, which is cut into regions of 2^39 bytes. */
#define SLOT_SHIFT   26u
#define REGION_SHIFT 13u
#define REGION_SLOTS (1u << REGION_SHIFT)

void tl_sim_arena_init(struct tl_sim_arena *a, struct tl_world *w, struct tl_sim_catalog *c, uint32_t rank,
                       uint64_t limit_bytes)
{
    memset(a, 0, sizeof *a);
    a->world = w;
    a->catalog = c;
    a->rank = rank;
    a->limit_bytes = limit_bytes;
}

void tl_sim_arena_fini(struct tl_sim_arena *a)
{
    free(a->slots);
    a->slots = NULL;
    a->slot_count = a->slot_capacity = 0;
}

static uint64_t slot_addr(uint32_t slot)
{
    return (uint64_t)(slot >> REGION_SHIFT) << 40 | (uint64_t)(slot & (REGION_SLOTS - 1)) << SLOT_SHIFT;
}

/* The live slot that holds addr, or NULL; *offset is addr's place in it. */
static struct tl_arena_slot *slot_at(const struct tl_sim_arena *a, uint64_t addr, uint32_t *offset)
{
    uint64_t region = addr >> 40, in_region = addr & ((1ull << 40) - 1);
    uint64_t slot = region * REGION_SLOTS + (in_region >> SLOT_SHIFT);
    if (in_region >> SLOT_SHIFT >= REGION_SLOTS || slot >= a->slot_count || a->slots[slot].len == 0)
        return NULL;
    *offset = (uint32_t)(in_region & ((1u << SLOT_SHIFT) - 1));
    return &a->slots[slot];
}

static int arena_alloc(void *ctx, uint32_t len, uint64_t *addr)
{
    struct tl_sim_arena *a = ctx;
    check(len > 0 && len <= 1u << SLOT_SHIFT);
    if (a->live_bytes + len > a->limit_bytes)
        return -ENOSPC;
    uint32_t slot;
    if (a->free_slot != 0) {
        slot = a->free_slot - 1;
        a->free_slot = a->slots[slot].content;
    } else {
        if (a->slot_count == a->slot_capacity) {
            a->slot_capacity = a->slot_capacity == 0 ? 32 : a->slot_capacity * 2;
            a->slots = tl_sim_realloc(a->slots, a->slot_capacity, sizeof *a->slots);
        }
        slot = a->slot_count++;
    }
    a->slots[slot] = (struct tl_arena_slot){.content = 0, .len = len};
    a->allocs++;
    a->live_bytes += len;
    if (a->live_bytes > a->peak_bytes)
        a->peak_bytes = a->live_bytes;
    *addr = slot_addr(slot);
    return 0;
}

static void arena_free(void *ctx, uint64_t addr, uint32_t len)
{
    struct tl_sim_arena *a = ctx;
    uint32_t offset = 0;
    struct tl_arena_slot *s = slot_at(a, addr, &offset);
    if (s == NULL || offset != 0) {
        tl_world_violation(a->world, "node %u frees %#llx, where nothing lives (double free?)", a->rank,
                           (unsigned long long)addr);
        return;
    }
    if (s->len != len)
        tl_world_violation(a->world, "node %u frees %u bytes of an allocation of %u", a->rank, len, s->len);
    a->live_bytes -= s->len;
    a->frees++;
    s->len = 0;
    s->content = a->free_slot;
    a->free_slot = (uint32_t)(s - a->slots) + 1;
}

void tl_sim_arena_land(struct tl_sim_arena *a, uint64_t addr, uint32_t len, const struct tl_content *content,
                       const char *who)
{
    uint32_t offset = 0;
    struct tl_arena_slot *s = slot_at(a, addr, &offset);
    if (s == NULL || offset != 0 || s->len != len || content->len != len) {
        tl_world_violation(a->world, "node %u: %s writes %u bytes at %#llx, which is not such an allocation", a->rank,
                           who, len, (unsigned long long)addr);
        return;
    }
    /* Garbage may be replaced: the digest has shown that the extent was never filled. */
    if (s->content != 0 && tl_sim_catalog_content(a->catalog, s->content)->kind != TL_CONTENT_GARBAGE)
        tl_world_violation(a->world, "node %u: %s overwrites filled bytes at %#llx", a->rank, who,
                           (unsigned long long)addr);
    s->content = content->id;
}

const struct tl_content *tl_sim_arena_at(struct tl_sim_arena *a, uint64_t addr, uint32_t len, uint32_t *offset,
                                         const char *who)
{
    struct tl_arena_slot *s = slot_at(a, addr, offset);
    if (s == NULL || s->content == 0 || (uint64_t)*offset + len > s->len) {
        tl_world_violation(a->world, "node %u: %s uses %u bytes at %#llx, which are %s", a->rank, who, len,
                           (unsigned long long)addr, s == NULL ? "free" : "not filled");
        return NULL;
    }
    return tl_sim_catalog_content(a->catalog, s->content);
}

const struct tl_content *tl_sim_arena_peek(const struct tl_sim_arena *a, uint64_t addr, uint32_t len)
{
    uint32_t offset = 0;
    const struct tl_arena_slot *s = slot_at(a, addr, &offset);
    if (s == NULL || s->content == 0 || offset != 0 || len != s->len)
        return NULL;
    return tl_sim_catalog_content(a->catalog, s->content);
}

static struct tl_hash arena_digest(void *ctx, uint64_t addr, uint32_t len)
{
    uint32_t offset = 0;
    const struct tl_content *content = tl_sim_arena_at(ctx, addr, len, &offset, "digest");
    if (content == NULL || offset != 0 || content->len != len)
        return (struct tl_hash){.hi = 0, .lo = addr};
    return content->digest;
}

static int arena_write(void *ctx, uint64_t addr, const void *src, uint32_t len, struct tl_hash *digest)
{
    const struct tl_content *content = src; /* payloads are descriptors in this world */
    check(content->magic == TL_CONTENT_MAGIC);
    tl_sim_arena_land(ctx, addr, len, content, "a payload");
    if (digest != NULL)
        *digest = arena_digest(ctx, addr, len);
    return 0;
}

static bool arena_blob_valid(void *ctx, enum tl_op op, uint64_t addr, uint32_t len)
{
    (void)op;
    uint32_t offset = 0;
    const struct tl_content *content = tl_sim_arena_at(ctx, addr, len, &offset, "listing check");
    if (content == NULL || offset != 0 || content->len != len || content->kind != TL_CONTENT_LISTING)
        return false;
    struct tl_listing view;
    return content->blob == NULL || tl_listing_open(&view, content->blob, len) == 0;
}

static int arena_find_file(void *ctx, uint64_t addr, uint32_t len, const char *name, uint16_t name_len,
                           uint64_t *version, uint64_t *size_bytes)
{
    struct tl_sim_arena *a = ctx;
    uint32_t offset = 0;
    const struct tl_content *content = tl_sim_arena_at(a, addr, len, &offset, "a profile");
    if (content == NULL || content->kind != TL_CONTENT_LISTING)
        return -ENOENT;
    const struct tl_object *o = &a->catalog->objects[content->object];
    for (uint32_t i = 0; i < o->child_count; i++) {
        const struct tl_object *child = &a->catalog->objects[o->children[i]];
        uint32_t at = tl_sim_catalog_listed(a->catalog, content->version_index, i);
        if (child->directory || at == TL_CATALOG_NONE || child->path_len - child->name_at != name_len ||
            memcmp(child->path + child->name_at, name, name_len) != 0)
            continue;
        *version = a->catalog->versions[at].version;
        *size_bytes = a->catalog->versions[at].size_bytes;
        return 0;
    }
    return -ENOENT;
}

/* Everything there is, in the order in which the workload has made it, which is that of `imports`. */
static bool arena_profile_item(void *ctx, uint32_t i, struct tl_profile_item *out)
{
    struct tl_sim_arena *a = ctx;
    const struct tl_object *o = &a->catalog->objects[i % a->catalog->object_count];
    *out = (struct tl_profile_item){
        .op = o->directory ? TL_OP_LIST : TL_OP_READ, .path = o->path, .path_len = o->path_len};
    return true;
}

const struct tl_bytes_ops tl_sim_arena_ops = {
    .find_file = arena_find_file,
    .profile_item = arena_profile_item,
    .alloc = arena_alloc,
    .free = arena_free,
    .write = arena_write,
    .digest = arena_digest,
    .blob_valid = arena_blob_valid,
};

bool tl_sim_arena_holds(const struct tl_sim_arena *a, uint32_t content)
{
    for (uint32_t i = 0; i < a->slot_count; i++)
        if (a->slots[i].len != 0 && a->slots[i].content == content)
            return true;
    return false;
}
