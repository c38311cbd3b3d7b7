// SPDX-License-Identifier: Apache-2.0
/* Random operations on a container, carried out on the real thing and on the oracle. */
#ifndef TEST_POOL_OBJECTS_H
#define TEST_POOL_OBJECTS_H

#include "base/prng.h"
#include "pool/internal.h"
#include "pool/oracle.h"

enum { OBJECTS_DRAWS = 8 };

/* What an operation means depends on the state that it meets, so that any of them may be left out. */
struct objects_op {
    unsigned type;
    uint64_t r[OBJECTS_DRAWS];
};

struct objects_run {
    struct oracle o;
    struct tl_pool *pool;
    struct tl_cont *conts[ORACLE_HANDLES];
    char where[128];
    bool trace;                         /* tells of each operation on stdout */
    void (*plant)(struct tl_shared *s); /* called for each store that is opened; NULL: nothing */
    char did[256];                      /* the operation that is being done */
    char why[512];                      /* what was wrong */
    struct oracle_seen seen;
    uint64_t fetches, listings, bytes; /* that were compared */
};

/* A pool in a directory of its own below `base`. */
bool objects_begin(struct objects_run *x, const char *base);
/* A pool that is there, in x->where, with a container that x->o knows. */
bool objects_adopt(struct objects_run *x);
void objects_draw(struct tl_prng *p, struct objects_op *op);
/* It leaves the pool connected. */
bool objects_keeps_pool(const struct objects_op *op);
/* Does it and compares; false: x->why. */
bool objects_do(struct objects_run *x, const struct objects_op *op);
/* Compares all there is, at several epochs. */
bool objects_compare_all(struct objects_run *x, unsigned h);
/* The pool finds nothing wrong with itself. */
bool objects_check(struct objects_run *x);
void objects_end(struct objects_run *x);

/* ---- what its files share ---- */

bool objects_wrong(struct objects_run *x, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void objects_say(struct objects_run *x, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
struct tiercel_oid objects_oid(unsigned object);
struct tiercel_bytes objects_key(unsigned key);
/* Compares a slot, a listing, with what the oracle says. */
bool objects_compare(struct objects_run *x, unsigned h, struct oracle_slot slot, uint64_t epoch, uint64_t r);
bool objects_compare_listing(struct objects_run *x, unsigned h, struct oracle_slot slot, uint64_t epoch, uint64_t r);

#endif
