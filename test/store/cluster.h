// SPDX-License-Identifier: Apache-2.0
/* What the tests of the RADOS store share: pools in the cluster that `tools/rados-dev run` has started for them, and simple things to do in one. */
#ifndef TL_TEST_STORE_CLUSTER_H
#define TL_TEST_STORE_CLUSTER_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/store.h"

#define CLUSTER_LEASE_S 3

extern const struct tl_store_id cluster_id; /* a container */

/* A new pool, with these RADOS pools for payloads; its uri. */
void cluster_make(char *where, size_t size, const char *data);
struct tl_store *cluster_open(const char *where); /* NULL, and told: it failed */
/* Processes that were killed have it open until their leases end. */
void cluster_destroy(const char *where);
bool cluster_is_there(void); /* else that is told: exit code 77 */
/* A command of the shell, in which $NS is the pool's namespace. */
void cluster_sh(const char *where, const char *command);

/* ---- in a pool ---- */

int cluster_put_number(void *ctx, struct tl_store_tx *tx); /* changes the state: 4 bytes at ctx */
/* A record with a payload of up to CLUSTER_PAYLOAD_MAX bytes. */
#define CLUSTER_PAYLOAD_MAX 100000u
int cluster_write(struct tl_store *s, const void *key, size_t key_len, size_t len);
struct cluster_found {
    uint8_t place[TL_STORE_PLACE_MAX]; /* of the last one */
    size_t place_len;
    unsigned count;
};
/* How many records begin so. */
unsigned cluster_find(struct tl_store *s, struct cluster_found *x, const void *prefix, size_t len);
/* The payload of the last one is the longest that can be written so. */
void cluster_compare(struct tl_store *s, const struct cluster_found *x);
uint64_t cluster_used(struct tl_store *s);

/* A thread that changes the state again and again, and tells of it. */
struct cluster_changer {
    struct tl_store *s;
    _Atomic int stop;
    pthread_t thread;
};
void cluster_change_begin(struct cluster_changer *x, struct tl_store *s);
void cluster_change_end(struct cluster_changer *x);

#endif
