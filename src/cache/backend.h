// SPDX-License-Identifier: Apache-2.0
/* A store of values below or beside the cache manager: what any back end can do. Two are here: memory (a cache manager) and a directory
 * on a local disk; test/cache/conformance.c holds for both, and for whoever writes a third.
 *
 * A store has a limit of its own and gives up what it likes to stay within it. A value is there as a whole, with the digest it was
 * put with, or it is not there. One thread at a time. */
#ifndef TL_CACHE_BACKEND_H
#define TL_CACHE_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/error.h"
#include "base/hash.h"
#include "cache/layout.h"

struct tl_stored {
    struct tl_hash key, digest; /* digest: XXH3-128, seed 0, of the bytes */
    uint64_t size;
    enum tl_value_class class;
    char label[1024]; /* "": none; longer ones are cut */
};

struct tl_backend_stats {
    uint64_t limit_bytes, used_bytes, values;
    uint64_t puts, gets, misses, evictions, damaged;
};

struct tl_backend {
    const struct tl_backend_ops *ops;
};

struct tl_backend_ops {
    const char *name;
    /* Keeps it, in the place of what the key had. 0; -EBADMSG: the bytes do not have that digest; -EFBIG: it can never fit;
     * -ENOSPC, -EIO and others of the system: it is not kept, and what was there may be gone. */
    int (*put)(struct tl_backend *b, const struct tl_stored *what, const void *bytes);
    /* What is known of it. 0, -ENOENT. */
    int (*look)(struct tl_backend *b, struct tl_hash key, struct tl_stored *out);
    /* Its bytes, checked, into `room` bytes. 0; -ENOENT; -ENOBUFS: more than room; -EBADMSG: damaged, and dropped. */
    int (*get)(struct tl_backend *b, struct tl_hash key, struct tl_stored *out, void *bytes, uint64_t room);
    int (*drop)(struct tl_backend *b, struct tl_hash key); /* 0, -ENOENT */
    /* Calls fn for each; false from it ends that. fn does nothing with the store. */
    void (*each)(struct tl_backend *b, bool (*fn)(void *ctx, const struct tl_stored *what), void *ctx);
    void (*stats)(struct tl_backend *b, struct tl_backend_stats *out);
    void (*close)(struct tl_backend *b); /* what is on disk stays there */
};

struct tl_cache;

/* The values of a cache manager, which stays the caller's. 0, -ENOMEM. */
int tl_backend_memory(struct tl_backend **out, struct tl_cache *cache) TL_MUST_CHECK;

/* A directory, which must be there, ours (owner), mode 0700 and no link; below: a name in it, which is made with that mode if it is not
 * there, and is what is used; NULL: the directory itself. Files that a crash left half written are removed; values of
 * earlier are found again. 0; -ENOENT, -ENOTDIR, -EPERM (owner, mode), -EINVAL (limit below 1 MiB), -ENOMEM, or what the system said: with a sentence. */
int tl_backend_disk(struct tl_backend **out, const char *path, const char *below, uint64_t limit_bytes,
                    struct tl_error *err) TL_MUST_CHECK;

#endif
