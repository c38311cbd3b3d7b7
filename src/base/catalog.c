// SPDX-License-Identifier: Apache-2.0
#include "base/catalog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"

#define MAGIC 0x31434c54u /* "TLC1" */

uint64_t tl_catalog_chunks(const struct tl_attr *attr, uint32_t chunk_size)
{
    if (attr->status != 0 || !S_ISREG(attr->mode))
        return 0;
    return attr->size_bytes / chunk_size + (attr->size_bytes % chunk_size != 0);
}

static struct tl_hash digest_of(const uint8_t *bytes, size_t len)
{
    uint64_t seed = tl_hash64(bytes, 16, 0);
    return tl_hash_bytes(bytes + TL_CATALOG_HEAD, len - TL_CATALOG_HEAD, seed);
}

int tl_catalog_make(const void *listing, size_t listing_len, uint32_t chunk_size, const struct tl_hash *digests,
                    size_t digest_count, void **out, size_t *out_len)
{
    if (listing_len > TL_LISTING_SIZE_MAX ||
        digest_count > (TL_CATALOG_SIZE_MAX - TL_CATALOG_HEAD - listing_len) / sizeof(struct tl_hash))
        return -EFBIG;
    size_t len = TL_CATALOG_HEAD + listing_len + digest_count * 16;
    uint8_t *bytes = malloc(len);
    if (bytes == NULL)
        return -ENOMEM;
    tl_put_u32(bytes, MAGIC);
    tl_put_u32(bytes + 4, chunk_size);
    tl_put_u32(bytes + 8, (uint32_t)listing_len);
    tl_put_u32(bytes + 12, (uint32_t)digest_count);
    memcpy(bytes + TL_CATALOG_HEAD, listing, listing_len);
    for (size_t i = 0; i < digest_count; i++) {
        tl_put_u64(bytes + TL_CATALOG_HEAD + listing_len + i * 16, digests[i].hi);
        tl_put_u64(bytes + TL_CATALOG_HEAD + listing_len + i * 16 + 8, digests[i].lo);
    }
    struct tl_hash digest = digest_of(bytes, len);
    tl_put_u64(bytes + 16, digest.hi);
    tl_put_u64(bytes + 24, digest.lo);
    *out = bytes;
    *out_len = len;
    return 0;
}

/* Where each entry's digests begin. 0, -EBADMSG: there are others than the files have chunks. */
static int index_digests(struct tl_catalog *c)
{
    uint64_t next = 0;
    for (uint32_t i = 0; i < c->listing.count; i++) {
        struct tl_listing_entry e;
        tl_listing_at(&c->listing, i, &e);
        c->firsts[i] = (uint32_t)next;
        next += tl_catalog_chunks(&e.attr, c->chunk_size);
        if (next > c->digest_count)
            return -EBADMSG;
    }
    return next == c->digest_count ? 0 : -EBADMSG;
}

int tl_catalog_open(struct tl_catalog *out, const void *bytes, size_t len)
{
    const uint8_t *head = bytes;
    if (len < TL_CATALOG_HEAD || tl_get_u32(head) != MAGIC)
        return -EBADMSG;
    struct tl_catalog c = {.chunk_size = tl_get_u32(head + 4), .digest_count = tl_get_u32(head + 12)};
    uint64_t listing_len = tl_get_u32(head + 8);
    if (c.chunk_size == 0 || TL_CATALOG_HEAD + listing_len + 16ull * c.digest_count != len)
        return -EBADMSG;
    struct tl_hash want = {.hi = tl_get_u64(head + 16), .lo = tl_get_u64(head + 24)};
    if (!tl_hash_equal(want, digest_of(head, len)))
        return -EBADMSG;
    int rc = tl_listing_open(&c.listing, head + TL_CATALOG_HEAD, listing_len);
    if (rc != 0)
        return rc;
    c.digests = head + TL_CATALOG_HEAD + listing_len;
    c.firsts = calloc((size_t)c.listing.count + 1, sizeof *c.firsts);
    rc = c.firsts != NULL ? index_digests(&c) : -ENOMEM;
    if (rc == 0)
        *out = c;
    else
        free(c.firsts);
    return rc;
}

void tl_catalog_fini(struct tl_catalog *c)
{
    free(c->firsts);
    c->firsts = NULL;
}

int tl_catalog_find(const struct tl_catalog *c, const char *name, struct tl_listing_entry *out, uint32_t *first)
{
    struct tl_listing_entry e;
    uint32_t low = 0, high = c->listing.count;
    size_t len = strlen(name);
    while (low < high) { /* halves each turn */
        uint32_t middle = low + (high - low) / 2;
        tl_listing_at(&c->listing, middle, &e);
        int order = memcmp(e.name, name, e.name_len < len ? e.name_len : len);
        if (order == 0 && e.name_len == len) {
            *out = e;
            *first = c->firsts[middle];
            return 0;
        }
        if (order < 0 || (order == 0 && e.name_len < len))
            low = middle + 1;
        else
            high = middle;
    }
    return -ENOENT;
}

struct tl_hash tl_catalog_digest(const struct tl_catalog *c, uint32_t i)
{
    check(i < c->digest_count);
    return (struct tl_hash){.hi = tl_get_u64(c->digests + (size_t)i * 16),
                            .lo = tl_get_u64(c->digests + (size_t)i * 16 + 8)};
}
