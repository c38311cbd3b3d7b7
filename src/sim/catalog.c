// SPDX-License-Identifier: Apache-2.0
#include "sim/catalog.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/listing.h"
#include "core/request.h"
#include "sim/memory.h"

#define LISTING_HEADER_BYTES 128u
#define LISTING_ENTRY_BYTES  136u /* record and name: what base/listing.h needs for an average name */

void tl_sim_catalog_init(struct tl_sim_catalog *c, struct tl_world *w, bool real_listings)
{
    memset(c, 0, sizeof *c);
    c->world = w;
    c->real_listings = real_listings;
    c->content_count = 1;
}

void tl_sim_catalog_fini(struct tl_sim_catalog *c)
{
    for (uint32_t id = 1; id < c->content_count; id++)
        free(tl_sim_catalog_content(c, id)->blob);
    for (uint32_t i = 0; i << TL_CATALOG_BLOCK_SHIFT < c->content_count && c->blocks != NULL; i++)
        free(c->blocks[i]);
    for (uint32_t i = 0; i < c->object_count; i++) {
        free(c->objects[i].path);
        free(c->objects[i].children);
    }
    free(c->blocks);
    free(c->objects);
    free(c->versions);
    free(c->child_versions);
    free(c->by_path);
    memset(c, 0, sizeof *c);
}

/* Room for one more element: doubles. */
static void *grow(void *items, uint32_t count, uint32_t *capacity, size_t size)
{
    if (count < *capacity)
        return items;
    *capacity = *capacity == 0 ? 64 : *capacity * 2;
    return tl_sim_realloc(items, *capacity, size);
}

static struct tl_content *content_new(struct tl_sim_catalog *c, enum tl_content_kind kind, uint32_t len)
{
    uint32_t id = c->content_count++, block = id >> TL_CATALOG_BLOCK_SHIFT;
    if ((id & ((1u << TL_CATALOG_BLOCK_SHIFT) - 1)) == 0 || c->blocks == NULL) {
        c->blocks = tl_sim_realloc(c->blocks, block + 1, sizeof *c->blocks);
        c->blocks[block] = tl_sim_alloc(1u << TL_CATALOG_BLOCK_SHIFT, sizeof **c->blocks);
    }
    struct tl_content *content = tl_sim_catalog_content(c, id);
    content->magic = TL_CONTENT_MAGIC;
    content->id = id;
    content->kind = kind;
    content->len = len;
    return content;
}

static void digest_derive(struct tl_content *content, uint64_t version)
{
    uint64_t h =
        tl_prng_draw(version, (uint64_t)content->kind, content->object, content->version_index, content->chunk);
    content->digest = (struct tl_hash){.hi = tl_prng_mix(h ^ content->len), .lo = tl_prng_mix(h + content->id)};
}

struct tl_content *tl_sim_catalog_garbage(struct tl_sim_catalog *c, uint32_t len)
{
    struct tl_content *content = content_new(c, TL_CONTENT_GARBAGE, len);
    content->object = TL_CATALOG_NONE;
    digest_derive(content, content->id);
    return content;
}

static uint32_t version_new(struct tl_sim_catalog *c, uint32_t object, uint64_t size_bytes)
{
    c->versions = grow(c->versions, c->version_count, &c->version_capacity, sizeof *c->versions);
    uint32_t index = c->version_count++;
    struct tl_object *o = &c->objects[object];
    c->versions[index] = (struct tl_version){
        .object = object, .size_bytes = size_bytes, .older = o->newest, .since_ns = c->world->now_ns};
    o->newest = index;
    return index;
}

/* The newest version of a file: its number, and descriptors for all its chunks. */
static void file_version(struct tl_sim_catalog *c, uint32_t object, uint64_t size_bytes)
{
    uint32_t index = version_new(c, object, size_bytes);
    struct tl_version *v = &c->versions[index];
    v->version = tl_world_draw(c->world, TL_STREAM_CATALOG, object, index, 0) | 1;
    uint32_t chunks = (uint32_t)((size_bytes + TL_CHUNK_SIZE - 1) / TL_CHUNK_SIZE);
    for (uint32_t i = 0; i < chunks; i++) {
        uint64_t rest = size_bytes - (uint64_t)i * TL_CHUNK_SIZE;
        struct tl_content *content =
            content_new(c, TL_CONTENT_CHUNK, rest < TL_CHUNK_SIZE ? (uint32_t)rest : TL_CHUNK_SIZE);
        content->object = object;
        content->version_index = index;
        content->chunk = i;
        digest_derive(content, v->version);
        if (i == 0)
            v->content = content->id;
    }
}

static uint32_t object_new(struct tl_sim_catalog *c, uint32_t parent, const char *name, bool directory)
{
    c->objects = grow(c->objects, c->object_count, &c->object_capacity, sizeof *c->objects);
    uint32_t number = c->object_count++;
    struct tl_object *o = &c->objects[number];
    memset(o, 0, sizeof *o);
    o->parent = parent;
    o->directory = directory;
    o->newest = TL_CATALOG_NONE;
    char path[TL_PATH_MAX];
    int len;
    if (parent == TL_CATALOG_NONE) {
        len = snprintf(path, sizeof path, "/");
        o->name_at = 1;
    } else {
        const struct tl_object *p = &c->objects[parent];
        check(p->directory);
        len = snprintf(path, sizeof path, "%s%s%s", p->path, p->path_len == 1 ? "" : "/", name);
        o->name_at = (uint16_t)((size_t)len - strlen(name));
    }
    check(len > 0 && (size_t)len < sizeof path);
    o->path = tl_sim_alloc((size_t)len + 1, 1);
    memcpy(o->path, path, (size_t)len);
    o->path_len = (uint16_t)len;
    if (parent != TL_CATALOG_NONE) {
        struct tl_object *p = &c->objects[parent];
        o->child_index = p->child_count;
        p->children = grow(p->children, p->child_count, &p->child_capacity, sizeof *p->children);
        p->children[p->child_count++] = number;
    }
    return number;
}

uint32_t tl_sim_catalog_add_directory(struct tl_sim_catalog *c, uint32_t parent, const char *name,
                                      uint32_t extra_entries)
{
    uint32_t number = object_new(c, parent, name, true);
    c->objects[number].extra_entries = extra_entries;
    c->directory_count++;
    return number;
}

uint32_t tl_sim_catalog_add_file(struct tl_sim_catalog *c, uint32_t parent, const char *name, uint64_t size_bytes)
{
    uint32_t number = object_new(c, parent, name, false);
    file_version(c, number, size_bytes);
    c->file_count++;
    c->file_bytes += size_bytes;
    return number;
}

static struct tl_attr attr_of(const struct tl_sim_catalog *c, uint32_t object, uint32_t version_index)
{
    const struct tl_object *o = &c->objects[object];
    struct tl_attr a = {.ino = object + 1, .nlink = 1, .access = 7, .uid = 1000, .gid = 1000};
    a.mode = o->directory ? S_IFDIR | 0755u : S_IFREG | 0644u;
    a.version = 1;
    if (!o->directory) {
        a.size_bytes = c->versions[version_index].size_bytes;
        a.version = c->versions[version_index].version;
    }
    return a;
}

static void listing_blob(struct tl_sim_catalog *c, uint32_t object, uint32_t first_child_version, void **blob,
                         size_t *len)
{
    const struct tl_object *o = &c->objects[object];
    struct tl_attr self = attr_of(c, object, TL_CATALOG_NONE);
    struct tl_listing_builder *b;
    int status = tl_listing_builder_new(&b, &self);
    for (uint32_t i = 0; i < o->child_count && status == 0; i++) {
        const struct tl_object *child = &c->objects[o->children[i]];
        if (child->removed)
            continue;
        struct tl_attr a = attr_of(c, o->children[i], c->child_versions[first_child_version + i]);
        status = tl_listing_builder_add(b, child->path + child->name_at, (size_t)(child->path_len - child->name_at), &a,
                                        NULL, 0);
    }
    if (status == 0)
        status = tl_listing_builder_finish(b, blob, len);
    tl_listing_builder_free(b);
    check(status == 0);
}

/* The newest listing of a directory, as its children are now. */
static void listing_version(struct tl_sim_catalog *c, uint32_t object)
{
    uint32_t index = version_new(c, object, 0), first = c->child_version_count;
    const struct tl_object *o = &c->objects[object];
    for (uint32_t i = 0; i < o->child_count; i++) {
        c->child_versions =
            grow(c->child_versions, c->child_version_count, &c->child_version_capacity, sizeof *c->child_versions);
        const struct tl_object *child = &c->objects[o->children[i]];
        uint32_t shown = child->directory ? 0 : child->newest; /* a directory's version says nothing here */
        c->child_versions[c->child_version_count++] = child->removed ? TL_CATALOG_NONE : shown;
    }
    size_t len = LISTING_HEADER_BYTES + (size_t)(o->child_count + o->extra_entries) * LISTING_ENTRY_BYTES;
    void *blob = NULL;
    if (c->real_listings)
        listing_blob(c, object, first, &blob, &len);
    struct tl_content *content = content_new(c, TL_CONTENT_LISTING, (uint32_t)len);
    content->object = object;
    content->version_index = index;
    content->blob = blob;
    digest_derive(content, index);
    if (blob != NULL)
        content->digest = tl_hash_bytes(blob, len, 0);
    c->versions[index].content = content->id;
    c->versions[index].child_versions = first;
}

static uint32_t path_slot(const struct tl_sim_catalog *c, const char *path, uint16_t path_len)
{
    uint32_t slot = (uint32_t)tl_hash64(path, path_len, 0) & (c->by_path_size - 1);
    while (c->by_path[slot] != 0) {
        const struct tl_object *o = &c->objects[c->by_path[slot] - 1];
        if (o->path_len == path_len && memcmp(o->path, path, path_len) == 0)
            break;
        slot = (slot + 1) & (c->by_path_size - 1);
    }
    return slot;
}

void tl_sim_catalog_seal(struct tl_sim_catalog *c)
{
    check(c->by_path == NULL && c->object_count > 0);
    c->by_path_size = 64;
    while (c->by_path_size < c->object_count * 2)
        c->by_path_size *= 2;
    c->by_path = tl_sim_alloc(c->by_path_size, sizeof *c->by_path);
    for (uint32_t i = 0; i < c->object_count; i++) {
        uint32_t slot = path_slot(c, c->objects[i].path, c->objects[i].path_len);
        check(c->by_path[slot] == 0); /* paths differ */
        c->by_path[slot] = i + 1;
    }
    for (uint32_t i = 0; i < c->object_count; i++)
        if (c->objects[i].directory)
            listing_version(c, i);
}

uint32_t tl_sim_catalog_find(const struct tl_sim_catalog *c, const char *path, uint16_t path_len)
{
    return c->by_path[path_slot(c, path, path_len)] - 1; /* 0 - 1 is TL_CATALOG_NONE */
}

void tl_sim_catalog_change(struct tl_sim_catalog *c, uint32_t object, uint64_t new_size_bytes)
{
    check(!c->objects[object].directory);
    file_version(c, object, new_size_bytes);
    listing_version(c, c->objects[object].parent);
}

void tl_sim_catalog_remove(struct tl_sim_catalog *c, uint32_t object, bool removed)
{
    check(!c->objects[object].directory);
    c->objects[object].removed = removed;
    c->objects[object].was_removed = true;
    listing_version(c, c->objects[object].parent);
}

uint32_t tl_sim_catalog_version_find(const struct tl_sim_catalog *c, uint32_t object, uint64_t version)
{
    uint32_t at = c->objects[object].newest;
    while (at != TL_CATALOG_NONE && c->versions[at].version != version)
        at = c->versions[at].older;
    return at;
}

uint32_t tl_sim_catalog_listed(const struct tl_sim_catalog *c, uint32_t listing_version, uint32_t child_index)
{
    const struct tl_version *v = &c->versions[listing_version];
    check(child_index < c->objects[v->object].child_count);
    return c->child_versions[v->child_versions + child_index];
}
