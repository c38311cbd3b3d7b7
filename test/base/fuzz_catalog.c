// SPDX-License-Identifier: Apache-2.0
/* libFuzzer's way into catalogs. Their digest is made right, or nothing would get behind it; what is let through can be walked through
 * from end to end. See test/core/fuzz_wire.c for how to run it. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/catalog.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(const struct tl_catalog *c)
{
    uint64_t digests = 0;
    for (uint32_t i = 0; i < c->listing.count; i++) {
        struct tl_listing_entry e, same;
        char name[TL_NAME_MAX + 1];
        uint32_t first = 0;
        tl_listing_at(&c->listing, i, &e);
        memcpy(name, e.name, e.name_len);
        name[e.name_len] = '\0';
        check(tl_catalog_find(c, name, &same, &first) == 0 && same.name == e.name && first == digests);
        for (uint64_t n = tl_catalog_chunks(&e.attr, c->chunk_size); n > 0; n--)
            (void)tl_catalog_digest(c, (uint32_t)digests++);
    }
    check(digests == c->digest_count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tl_catalog c;
    uint8_t *bytes = malloc(size + 1);
    check(bytes != NULL);
    memcpy(bytes, data, size);
    if (size >= TL_CATALOG_HEAD) {
        struct tl_hash digest = tl_hash_bytes(bytes + TL_CATALOG_HEAD, size - TL_CATALOG_HEAD, tl_hash64(bytes, 16, 0));
        tl_put_u64(bytes + 16, digest.hi);
        tl_put_u64(bytes + 24, digest.lo);
    }
    if (tl_catalog_open(&c, bytes, size) == 0) {
        walk(&c);
        tl_catalog_fini(&c);
    }
    free(bytes);
    return 0;
}
