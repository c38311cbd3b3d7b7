// SPDX-License-Identifier: Apache-2.0
/* A directory as a web server has it: its listing (base/listing.h) and the digests of its files' chunks, in one file of
 * that directory, TL_CATALOG_NAME. `tiercel export --http` writes it, the HTTP source reads it.
 *
 * All integers little-endian:
 *
 *   header, 32 bytes   u32 magic "TLC1" | u32 bytes of a chunk | u32 bytes of the listing | u32 count of digests
 *                      16 bytes: XXH3-128 of what follows, seeded with the three numbers before
 *   listing
 *   digests            16 bytes each (upper 8 first): of every chunk of every regular file, in the order of the listing
 *
 * Bytes come from a network: tl_catalog_open validates what the accessors rely on. A view may be read by any thread. */
#ifndef TL_BASE_CATALOG_H
#define TL_BASE_CATALOG_H

#include "base/hash.h"
#include "base/listing.h"

#define TL_CATALOG_NAME     ".tiercel-list"
#define TL_CATALOG_SIZE_MAX (256u << 20) /* bytes */
#define TL_CATALOG_HEAD     32u

/* Chunks of a file of that size; 0 for what is no regular file. */
uint64_t tl_catalog_chunks(const struct tl_attr *attr, uint32_t chunk_size);

/* *out: malloc'd, the caller's. digests: as above, one after the other. 0, -EFBIG, -ENOMEM. */
int tl_catalog_make(const void *listing, size_t listing_len, uint32_t chunk_size, const struct tl_hash *digests,
                    size_t digest_count, void **out, size_t *out_len) TL_MUST_CHECK;

struct tl_catalog {
    struct tl_listing listing;
    uint32_t chunk_size, digest_count;
    const uint8_t *digests;
    uint32_t *firsts; /* by entry: its first digest; malloc'd, see tl_catalog_fini */
};

/* A view of bytes, which stay the caller's. 0, -EBADMSG (cut, altered, or none), -ENOMEM. */
int tl_catalog_open(struct tl_catalog *out, const void *bytes, size_t len) TL_MUST_CHECK;
void tl_catalog_fini(struct tl_catalog *c);
/* The entry of a name, and the number of its first digest. 0, -ENOENT. */
int tl_catalog_find(const struct tl_catalog *c, const char *name, struct tl_listing_entry *out,
                    uint32_t *first) TL_MUST_CHECK;
struct tl_hash tl_catalog_digest(const struct tl_catalog *c, uint32_t i);

#endif
