// SPDX-License-Identifier: Apache-2.0
/* What the tests of copying share: two containers are the same, and a store that fails or kills at a call. */
#ifndef TEST_POOL_COPIES_H
#define TEST_POOL_COPIES_H

#include "pool/internal.h"

/* Everything that a container shows at an epoch through the calls for reading, errors too, as one number. */
uint64_t copies_digest(struct tl_cont *c, uint64_t epoch);
/* What is different between two epochs, likewise. */
uint64_t copies_diff(struct tl_cont *c, uint64_t from, uint64_t to);
/* Both show the same at all epochs up to `top`, and between them. False: told on stdout. */
bool copies_same(struct tl_cont *a, struct tl_cont *b, uint64_t top);

struct tl_copy_config copies_config(const char *label);
/* With a connection of its own to `where`; plant (NULL: none) is put into its store. */
int copies_copy(struct tl_cont *from, const char *where, const struct tl_copy_config *config,
                struct tiercel_copied *done, void (*plant)(struct tl_shared *s), struct tl_error *err);
/* A pool in a new directory below `base`. */
bool copies_make_pool(char *where, size_t size, const char *base);
/* How many containers a pool has; *findings of its check go to `text`. -1: damage. */
int copies_check(const char *where, char *text, size_t size);

/* Calls of a store that changes something: which of them does what. */
struct copies_trap {
    unsigned calls; /* so far */
    unsigned at;    /* the first is 1; 0: none */
    bool kills;     /* SIGKILL, before it is carried out (even numbers) or after (odd ones) */
    int rc;         /* else: this is what it gives, and all that follow; -ENOSPC: if they write records */
    bool small;     /* there are 10 bytes left */
    bool spoils;    /* instead: a byte of this call's payload is another one */
};
extern struct copies_trap copies_trap;
void copies_set_trap(struct tl_pool *pool);

#endif
