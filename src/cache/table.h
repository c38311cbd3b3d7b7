// SPDX-License-Identifier: Apache-2.0
/* The directory's writer (cache/layout.h): entries, and where keys find them. One owner thread; readers are anywhere. */
#ifndef TL_CACHE_TABLE_H
#define TL_CACHE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/error.h"
#include "cache/layout.h"

#define TL_ENTRY_NONE UINT32_MAX

struct tl_table {
    int fd, uses_fd;
    struct tl_directory_head *head;
    struct tl_bucket *buckets;
    struct tl_entry *entries;
    struct tl_extra *extras;
    struct tl_job_row *jobs;
    struct tl_crumb *crumbs;
    _Atomic uint8_t *uses;
    uint32_t *next; /* free entries */
    uint32_t free, fresh;
    uint32_t ready; /* entries whose pages are there */
    uint32_t used;  /* entries */
    uint64_t bytes; /* of memory */
    size_t uses_bytes;
};

/* A new one, empty. seed 0: a random one. 0, -errno. */
int tl_table_init(struct tl_table *t, uint32_t entries, uint64_t seed, uint64_t limit_max_bytes, uint64_t values_bytes,
                  struct tl_error *err) TL_MUST_CHECK;
/* One that an earlier manager left; the descriptors become ours in any case. Its buckets are empty, all entries are in their
 * places: keep or forget each of [0, fresh). 0; -EPROTO: not a directory of this version; -errno. */
int tl_table_adopt(struct tl_table *t, int fd, int uses_fd, struct tl_error *err) TL_MUST_CHECK;
void tl_table_fini(struct tl_table *t);

uint32_t tl_table_find(const struct tl_table *t, struct tl_hash key);
/* Bytes that the next reservation adds. */
uint64_t tl_table_growth(const struct tl_table *t);
/* An entry that no key leads to. 0; -ENOSPC: all are used; -ENOMEM. */
int tl_table_reserve(struct tl_table *t, uint32_t *entry) TL_MUST_CHECK;
void tl_table_release(struct tl_table *t, uint32_t entry); /* reserved, not published */
/* Fills the entry and lets its key lead to it, in the place of `old` (TL_ENTRY_NONE: there is none). 0; -EXFULL: both buckets of the
 * key are full (tl_table_rivals). */
int tl_table_publish(struct tl_table *t, uint32_t entry, const struct tl_entry_view *view, uint32_t old) TL_MUST_CHECK;
/* The entries in the buckets of a key. */
uint32_t tl_table_rivals(const struct tl_table *t, struct tl_hash key, uint32_t out[2 * TL_BUCKET_WAYS]);
/* Readers see all of the change or nothing. The key stays. */
void tl_table_change(struct tl_table *t, uint32_t entry, const struct tl_entry_view *view);
/* No key leads to it any more, and it is free. */
void tl_table_remove(struct tl_table *t, uint32_t entry);
/* While adopting: [0, fresh) that was not kept. */
void tl_table_forget(struct tl_table *t, uint32_t entry);
bool tl_table_keep(struct tl_table *t, uint32_t entry); /* false: cannot be */

static inline struct tl_entry_view tl_table_view(const struct tl_table *t, uint32_t entry)
{
    struct tl_entry_view v;
    (void)tl_entry_read(&t->entries[entry], &v); /* we are the only one who changes it */
    return v;
}

#endif
