// SPDX-License-Identifier: Apache-2.0
/* libtiercel: values that all processes of a user on a machine share, in memory: key -> bytes.
 *
 * The daemon of a tier keeps them within its limit, and gives up what is least used. Looking one up takes no lock and no message, and its
 * bytes are shown where they are, not copied; they stay as they are until they are let go, whatever becomes of the
 * value. Filling is all or nothing, and one at a time for a key. A key is 128 bits, of whatever makes a value what it is; tiercel_key
 * makes one of bytes, a name for example.
 *
 * It is a cache: what was put may be gone at any time, except what is pinned.
 *
 * Threads: tiercel_cache_get, _has and _release may be called by any number of threads at once; the others by one at a time. After
 * fork, a child may do the former, and parent and child share what they hold.
 *
 * When the daemon goes away, what was there can still be read, and what is held stays. The call during which it went gives -ECONNRESET,
 * and so do all that need it until the next one is there (its keeper starts it within a second; `tiercel restart`): then they go on by
 * themselves, with the values that it adopted. Fills that were on their way are lost: each of them has to be told so first, by
 * -ECONNRESET of its commit or abort. After eight daemons that began with nothing: open another one. Conventions as in tiercel.h. */
#ifndef TIERCEL_CACHE_H
#define TIERCEL_CACHE_H

#include <stdint.h>

#include "tiercel/tiercel.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TIERCEL_CACHE_UNKNOWN   UINT64_MAX   /* a size that shows when the fill is committed */
#define TIERCEL_CACHE_PUT_MAX   (128u << 10) /* bytes of a value that is put in one call */
#define TIERCEL_CACHE_LABEL_MAX 4095

struct tiercel_key {
    uint64_t hi, lo;
};

enum tiercel_class {
    TIERCEL_ORDINARY,
    TIERCEL_VOLATILE, /* given up before all others */
    TIERCEL_PINNED    /* never given up, within the quota for pins (half of the limit, and of the number of values) */
};

#define TIERCEL_CACHE_REPLACE 1u /* else a key that is there gives -EEXIST */
#define TIERCEL_CACHE_CHECK   2u /* the bytes must have this digest, else -EBADMSG */
#define TIERCEL_CACHE_WAIT    4u /* of begin: while another fills this key, wait for the end of that */

/* What to fill. Zeros are fine for all but the key. */
struct tiercel_put {
    struct tiercel_key key;
    struct tiercel_key digest; /* XXH3-128 with seed 0 of all bytes, as tiercel_key gives it */
    enum tiercel_class cls;
    unsigned flags;
    const char *label;  /* for people, such as a path; NULL: none */
    const void *bytes;  /* of put and put_many */
    uint64_t size;      /* of put and put_many */
    uint64_t bytes_max; /* of a fill of unknown size, 0: 64 MiB */
};

/* A value that is held. */
struct tiercel_value {
    const void *bytes;
    uint64_t size;
    struct tiercel_key digest;
    enum tiercel_class cls;
    uint64_t reserved[6]; /* the library's */
};

struct tiercel_cache;

/* XXH3-128 with seed 0. */
TIERCEL_API struct tiercel_key tiercel_key(const void *bytes, size_t len);

/* The values of the daemon behind t, which is not needed afterwards. job: what is filled counts for it; NULL: $TIERCEL_JOB, else
 * slurm-$SLURM_JOB_ID, else pbs-$PBS_JOBID, else none.
 * 0; -EOPNOTSUPP: that daemon keeps none; -EPROTO: it is of another version; -EMFILE: too many clients; and the errors of tiercel_call. */
TIERCEL_API int tiercel_cache_open(struct tiercel_cache **out, struct tiercel *t, const char *job,
                                   struct tiercel_error *err) TIERCEL_MUST_CHECK;
/* Lets go of everything that is held, and aborts the fills that are on their way. NULL is fine. */
TIERCEL_API void tiercel_cache_close(struct tiercel_cache *c);

/* Looks up and holds. 0, -ENOENT, -EMFILE (some 2,000 are held), -ENOMEM. */
TIERCEL_API int tiercel_cache_get(struct tiercel_cache *c, struct tiercel_key key,
                                  struct tiercel_value *out) TIERCEL_MUST_CHECK;
/* The end of that; its bytes must not be looked at any more. */
TIERCEL_API void tiercel_cache_release(struct tiercel_cache *c, struct tiercel_value *value);
/* After -ENOENT of get: brings the value back to memory if the daemon has it on a local disk (tierceld --values-dir). Blocks. 0: now it is
 * there, unless it is given up again; -ENOENT; -ECONNRESET. */
TIERCEL_API int tiercel_cache_fetch(struct tiercel_cache *c, struct tiercel_key key) TIERCEL_MUST_CHECK;
/* 1: it is there, 0: not. */
TIERCEL_API int tiercel_cache_has(struct tiercel_cache *c, struct tiercel_key key);

/* Puts a value of up to TIERCEL_CACHE_PUT_MAX bytes. 0; -EEXIST; -EALREADY: another fills it now; -EBADMSG: digest; -EDQUOT: pins, or the
 * job's quota; -ENOSPC: all that is left is pinned, held or being filled; -EFBIG; -EINVAL; -ECONNRESET. */
TIERCEL_API int tiercel_cache_put(struct tiercel_cache *c, const struct tiercel_put *put) TIERCEL_MUST_CHECK;
/* Puts many, which takes far less time than one by one. results (may be NULL): what became of each, as above. The number that was put,
 * or -ECONNRESET. */
TIERCEL_API int64_t tiercel_cache_put_many(struct tiercel_cache *c, const struct tiercel_put *puts, size_t count,
                                           int *results) TIERCEL_MUST_CHECK;

/* A value of any size, in pieces. *fill is a number above 0. The errors of put; -EBUSY: too many fills at a time. With TIERCEL_CACHE_WAIT:
 * blocks until nobody else fills it: -EEXIST: now it is there; 0: it is ours to fill. */
TIERCEL_API int tiercel_cache_begin(struct tiercel_cache *c, const struct tiercel_put *put, uint64_t size,
                                    unsigned *fill) TIERCEL_MUST_CHECK;
/* All of the bytes, or an error; after -ENOSPC the fill can only be aborted. */
TIERCEL_API int tiercel_cache_write(struct tiercel_cache *c, unsigned fill, const void *bytes,
                                    uint64_t len) TIERCEL_MUST_CHECK;
/* Shows it to all, or gives it up: -EBADMSG (digest, or not the size that was said), -EDQUOT, -ENOSPC. */
TIERCEL_API int tiercel_cache_commit(struct tiercel_cache *c, unsigned fill) TIERCEL_MUST_CHECK;
TIERCEL_API int tiercel_cache_abort(struct tiercel_cache *c, unsigned fill);

/* 0, -ENOENT. */
TIERCEL_API int tiercel_cache_drop(struct tiercel_cache *c, struct tiercel_key key) TIERCEL_MUST_CHECK;
/* 0, -ENOENT, -EDQUOT. */
TIERCEL_API int tiercel_cache_set_class(struct tiercel_cache *c, struct tiercel_key key,
                                        enum tiercel_class cls) TIERCEL_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
