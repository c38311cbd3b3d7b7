// SPDX-License-Identifier: Apache-2.0
/* What lies on the simulated storage: directories and files, their versions, and what each of their bytes is.
 *
 * No bytes are stored. The contents of a chunk or of a listing is a descriptor (struct tl_content): which object,
 * which version, which chunk, how long, and a digest derived from these. Simulated arenas and messages hold pointers to
 * descriptors in place of bytes, so that "right bytes" is one comparison. Listings can carry a real blob besides
 * (base/listing.h), so that validation and parsing are exercised too.
 *
 * Objects are numbered; object 0 is the root directory. Each object has a chain of versions, newest first. A listing's
 * version also records which version of each child it shows. Descriptors live as long as the catalog. One owner
 * thread. */
#ifndef TL_SIM_CATALOG_H
#define TL_SIM_CATALOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "sim/world.h"

#define TL_CATALOG_NONE  UINT32_MAX
#define TL_CONTENT_MAGIC 0x434f4e54u

enum tl_content_kind { TL_CONTENT_CHUNK = 1, TL_CONTENT_LISTING, TL_CONTENT_GARBAGE };

struct tl_content {
    uint32_t magic;
    uint32_t id; /* 0 is never given out */
    enum tl_content_kind kind;
    uint32_t len;
    uint32_t object, version_index, chunk;
    uint32_t reads; /* how often storage handed it over */
    struct tl_hash digest;
    void *blob; /* of a listing: len bytes, or NULL */
};

struct tl_version {
    uint64_t version; /* tl_attr.version; 0 for directories */
    uint64_t size_bytes;
    uint32_t object;
    uint32_t older;          /* version index, TL_CATALOG_NONE: the first */
    uint32_t content;        /* id of chunk 0, or of the listing */
    uint32_t child_versions; /* listings: index into catalog.child_versions of the first child's */
    uint64_t since_ns;
};

struct tl_object {
    char *path;
    uint16_t path_len;
    uint16_t name_at; /* the last component starts here */
    bool directory;
    bool removed, was_removed; /* now; at any time */
    uint32_t parent;
    uint32_t newest;      /* version index */
    uint32_t child_index; /* its place among its parent's children */
    uint32_t *children;   /* objects; directories only */
    uint32_t child_count, child_capacity;
    uint32_t extra_entries; /* names in the listing that nobody opens: they only make it longer */
};

struct tl_sim_catalog {
    struct tl_world *world;
    bool real_listings;
    struct tl_object *objects;
    uint32_t object_count, object_capacity;
    struct tl_version *versions;
    uint32_t version_count, version_capacity;
    uint32_t *child_versions;
    uint32_t child_version_count, child_version_capacity;
    struct tl_content **blocks; /* descriptors never move */
    uint32_t content_count;     /* ids given out, plus one */
    uint32_t *by_path;          /* open addressing: object + 1, 0 empty */
    uint32_t by_path_size;
    uint64_t file_bytes;
    uint32_t file_count, directory_count;
};

void tl_sim_catalog_init(struct tl_sim_catalog *c, struct tl_world *w, bool real_listings);
void tl_sim_catalog_fini(struct tl_sim_catalog *c);

/* Adds an object below `parent` (the root: path "/" with TL_CATALOG_NONE). Files get their first version at once;
 * directories when tl_sim_catalog_seal is called. Returns the object's number. */
uint32_t tl_sim_catalog_add_directory(struct tl_sim_catalog *c, uint32_t parent, const char *name,
                                      uint32_t extra_entries);
uint32_t tl_sim_catalog_add_file(struct tl_sim_catalog *c, uint32_t parent, const char *name, uint64_t size_bytes);
/* All objects are there: makes the listings and the look-up by path. */
void tl_sim_catalog_seal(struct tl_sim_catalog *c);

/* The object at a path, TL_CATALOG_NONE: no such. */
uint32_t tl_sim_catalog_find(const struct tl_sim_catalog *c, const char *path, uint16_t path_len);
/* A file gets new contents (of new_size_bytes) and its directory a new listing. */
void tl_sim_catalog_change(struct tl_sim_catalog *c, uint32_t object, uint64_t new_size_bytes);
/* A file goes away, or comes back as it was; its directory's listing changes. */
void tl_sim_catalog_remove(struct tl_sim_catalog *c, uint32_t object, bool removed);

/* Version of an object by its number; TL_CATALOG_NONE: it never had it. */
uint32_t tl_sim_catalog_version_find(const struct tl_sim_catalog *c, uint32_t object, uint64_t version);
/* Which version of child number `child_index` a listing's version shows; TL_CATALOG_NONE: it shows none. */
uint32_t tl_sim_catalog_listed(const struct tl_sim_catalog *c, uint32_t listing_version, uint32_t child_index);

/* Bytes that are nobody's: what a torn or stale read brings. */
struct tl_content *tl_sim_catalog_garbage(struct tl_sim_catalog *c, uint32_t len);

#define TL_CATALOG_BLOCK_SHIFT 12u
static inline struct tl_content *tl_sim_catalog_content(const struct tl_sim_catalog *c, uint32_t id)
{
    return &c->blocks[id >> TL_CATALOG_BLOCK_SHIFT][id & ((1u << TL_CATALOG_BLOCK_SHIFT) - 1)];
}

#endif
