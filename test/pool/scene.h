// SPDX-License-Identifier: Apache-2.0
/* What the tests of src/pool share: a pool in a directory of its own, and its functions with the lock around them. */
#ifndef TEST_POOL_SCENE_H
#define TEST_POOL_SCENE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pool/pool.h"

struct scene {
    char where[128]; /* the pool's directory, or uri */
    struct tl_pool *pool;
    struct tl_cont *cont; /* "c", for writing, 1 is held */
};
void scene_new(struct scene *x);
void scene_free(struct scene *x);

struct tl_pool *scene_connect(const char *where, unsigned flags); /* NULL: told on stderr */
struct tl_cont *scene_open(struct tl_pool *pool, const char *name, unsigned flags);

struct tiercel_bytes text(const char *t);
struct tiercel_oid oid_of(uint64_t lo);

int hold(struct tl_cont *c, uint64_t epoch, uint64_t *held); /* held: NULL is fine */
int flush(struct tl_cont *c, uint64_t epoch);
int commit(struct tl_cont *c, uint64_t epoch);
int discard(struct tl_cont *c, uint64_t first, uint64_t last);
int slip(struct tl_cont *c, uint64_t epoch);
int snapshot(struct tl_cont *c, uint64_t epoch, bool create);
struct tiercel_epochs epochs(struct tl_cont *c);

/* Objects: dkey "d" and akey "a" where none is named. */
int update(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey, unsigned flags,
           const struct tiercel_io *ios, unsigned count);
int fetch(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey, unsigned flags,
          struct tiercel_io *ios, unsigned count);
int put_single(struct tl_cont *c, uint64_t epoch, uint64_t oid, const char *akey, const char *value);
/* Compares a single value; NULL: there is none. */
bool is_single(struct tl_cont *c, uint64_t epoch, uint64_t oid, const char *akey, const char *value);
int put_array(struct tl_cont *c, uint64_t epoch, uint64_t oid, uint64_t record_size, uint64_t first, uint64_t count,
              const void *bytes);
/* Reads count records of an array into out. */
int get_array(struct tl_cont *c, uint64_t epoch, uint64_t oid, uint64_t record_size, uint64_t first, uint64_t count,
              void *out);
int punch(struct tl_cont *c, uint64_t epoch, uint64_t oid, const char *dkey, const char *akey);
int clear(struct tl_cont *c, uint64_t epoch, uint64_t oid, uint64_t first, uint64_t count);
int array_end(struct tl_cont *c, uint64_t epoch, uint64_t oid, uint64_t *end);
/* All extents, count at a time: *found of them, up to room. */
int list_extents(struct tl_cont *c, uint64_t epoch, uint64_t oid, unsigned count, struct tiercel_extent *out,
                 unsigned room, unsigned *found, uint64_t *record_size);

/* Runs fn in a child of its own, which ends with what it returns; -1 in the parent on failure. */
int child_begin(int (*fn)(void *ctx), void *ctx);
/* Waits for it: what it returned, or -signal. */
int child_end(int pid);

#endif
