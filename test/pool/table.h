// SPDX-License-Identifier: Apache-2.0
/* What processes of a test tell each other: a page that they share, with a handle in it, and bytes in pipes to wait for. */
#ifndef TEST_POOL_TABLE_H
#define TEST_POOL_TABLE_H

#include "pool/scene.h"

struct table {
    char where[128];
    uint8_t pool[4400], cont[512]; /* global handles */
    size_t pool_len, cont_len;
    int up[2], down[2]; /* children write to up, the parent to down */
    _Atomic uint64_t done;
    unsigned number;
};

/* With a scene, of which the table has the handles. */
struct table *table_new(struct scene *x);
void table_free(struct table *t, struct scene *x);
bool tell(int fd);
bool hear(int fd); /* waits; false: nobody is left who could tell */
/* In another process: the same handle, or one of its own. False: told on stderr. */
bool attach(struct table *t, struct tl_pool **pool, struct tl_cont **c);
bool come(const struct table *t, const char *name, struct tl_pool **pool, struct tl_cont **c);
bool leave(struct tl_pool *pool, struct tl_cont *c);

/* Kills a child, and waits until the store tells of it: some learn of a death later. */
void child_kill(const struct scene *x, int pid);

#endif
