// SPDX-License-Identifier: Apache-2.0
/* Pools in a temporary directory, and the few things that tests do to them again and again. Failures end the test. */
#ifndef TL_TEST_STORE_POOLS_H
#define TL_TEST_STORE_POOLS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

#include "store/store.h"

static const struct tl_store_id id = {{1}}; /* the container of most tests */

void pool_make(char *where, size_t size);
struct tl_store *pool_open(const char *where); /* NULL: it says why */
void pool_destroy(const char *where);

/* A transaction that changes nothing: what was flushed is taken over. */
int nothing(void *ctx, struct tl_store_tx *tx);
/* For scan. ctx: a slice with TL_STORE_PLACE_MAX bytes: the last record's place; a count. */
int keep_place(void *ctx, const struct tl_found *f);
int count_one(void *ctx, const struct tl_found *f);

int write_one(struct tl_store *s, const char *key, const void *bytes, size_t len);
void write_and_flush(struct tl_store *s, const char *key, const void *bytes, size_t len);
/* The record with this key: its payload, of which len bytes are read, or -errno. */
int read_one(struct tl_store *s, const char *key, void *out, uint32_t len);
/* Flips a bit of this byte of a file of the pool. */
void spoil(const char *where, const char *file, off_t offset);

#endif
