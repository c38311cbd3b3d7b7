// SPDX-License-Identifier: Apache-2.0
/* Look-up of values by those who only read: no lock, no message (cache/layout.h). For clients of a manager in another process,
 * and for the manager's own. Any number of threads may use one reader. */
#ifndef TL_CACHE_READER_H
#define TL_CACHE_READER_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/error.h"
#include "base/hash.h"
#include "cache/layout.h"

struct tl_reader {
    const struct tl_directory_head *head;
    const struct tl_bucket *buckets;
    const struct tl_entry *entries;
    const uint8_t *values; /* NULL: address space is short, each value is mapped for itself */
    int values_fd;
    _Atomic uint8_t *uses;
    struct tl_holds *holds;
    size_t head_bytes, values_bytes;
    int mapped; /* by tl_reader_map */
};

/* A value that is held: its bytes stay as they are until it is let go, whatever becomes of it in the cache. */
struct tl_value {
    const void *bytes;
    uint64_t size;
    struct tl_hash digest;
    enum tl_value_class class;
    uint32_t entry;
    uint32_t hold;     /* UINT32_MAX: none is needed */
    uint64_t map_skip; /* of a mapping of its own: bytes before the value; UINT64_MAX: no such */
};

/* Over memory that is mapped already. holds: this reader's own. */
void tl_reader_init(struct tl_reader *r, const struct tl_directory_head *head, const void *values,
                    _Atomic uint8_t *uses, struct tl_holds *holds);
/* Maps what a manager has sent; the descriptors stay the caller's, but values_fd must stay open. 0; -EPROTO: another version, or no directory; -errno of mmap. */
int tl_reader_map(struct tl_reader *r, int directory_fd, int values_fd, int uses_fd, int holds_fd,
                  struct tl_error *err) TL_MUST_CHECK;
void tl_reader_unmap(struct tl_reader *r);

/* Looks the key up and holds its value. 0; -ENOENT; -EMFILE: TL_HOLDS_MAX are held; -ENOMEM: it could not be mapped. */
int tl_reader_get(struct tl_reader *r, struct tl_hash key, struct tl_value *out) TL_MUST_CHECK;
/* True if the key is there. */
int tl_reader_has(const struct tl_reader *r, struct tl_hash key);
void tl_reader_let_go(struct tl_reader *r, struct tl_value *held);

#endif
