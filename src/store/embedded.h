// SPDX-License-Identifier: Apache-2.0
/* What the files of the embedded store share. A pool is a directory:
 *
 *   pool       one line: the format's name and version
 *   meta.mdb   LMDB (and meta.mdb-lock). Tables: state (id, key), index (id, key -> meta and place of the payload),
 *              files (number -> how far its index blocks have been taken over), live (file, segment -> bytes that records refer to)
 *   ext.N      what processes append to, one each: payloads, and index blocks that name them (stream.h)
 *   page       shared memory: how far each ext.N was flushed, and change counters to sleep on
 *
 * Writing appends payloads; a flush appends one index block, and syncs the file: one device sync. The next transaction, of whichever
 * process, takes all flushed index blocks over into LMDB, and does its own work in the same LMDB transaction. So what a
 * commit costs does not grow with the number of processes that have flushed, and no flush waits for another. */
#ifndef TL_STORE_EMBEDDED_H
#define TL_STORE_EMBEDDED_H

#include <lmdb.h>
#include <stdatomic.h>

#include "store/store.h"
#include "store/stream.h"

#define TL_EMBEDDED_FILES   1024u       /* processes that write at the same time */
#define TL_EMBEDDED_SEGMENT (1u << 20)  /* bytes of a file that are given back together */
#define TL_EMBEDDED_INLINE  512u        /* bytes of a payload that is kept in the index itself */
#define TL_EMBEDDED_CHECK   (64u << 10) /* bytes of a payload that have one checksum */

/* ---- page.c ---- */

#define TL_PAGE_COUNTERS 4096u

struct tl_page_file {
    _Atomic uint64_t end;   /* all index blocks below are on the device */
    _Atomic uint64_t block; /* the last of them; 0: none that was not taken over */
};

struct tl_page {
    char magic[8];
    struct tl_page_file files[TL_EMBEDDED_FILES];
    _Atomic uint32_t counters[TL_PAGE_COUNTERS];
};

/* Maps the page. *first: nobody else has the pool open, and its numbers mean nothing yet; others wait until
 * tl_page_ready(*lock). 0 or -errno. */
int tl_page_open(const char *directory, bool read_only, struct tl_page **out, int *lock, bool *first) TL_MUST_CHECK;
int tl_page_ready(int lock) TL_MUST_CHECK;
void tl_page_close(struct tl_page *page, int lock);
void tl_page_wake(struct tl_page *page, const struct tl_store_id *id);
_Atomic uint32_t *tl_page_counter(struct tl_page *page, const struct tl_store_id *id);
int tl_page_wait(struct tl_page *page, const struct tl_store_id *id, uint32_t seen, unsigned timeout_ms);

/* ---- embedded.c ---- */

struct tl_embedded {
    struct tl_store store;
    char directory[4096];
    struct tl_store_config config;
    MDB_env *env;
    MDB_dbi state, index, files, live;
    struct tl_page *page;
    int page_lock;
    int read_fds[TL_EMBEDDED_FILES]; /* of ext.N, through the page cache; -1: not open yet */
    struct tl_stream *stream;        /* ours to append to; NULL: nothing was written yet */
    uint32_t file;                   /* its number */
    uint64_t last_block;
    uint8_t *pending; /* records for the next index block */
    size_t pending_len, pending_room;
    uint32_t pending_count;
    int broken; /* a write failed: told by the next flush, too */
    /* Segments that nobody refers to any more, to be given back when the transaction is over. */
    struct tl_dead {
        uint32_t file, segment;
    } * dead;
    size_t dead_count, dead_room;
};

int tl_embedded_error(int lmdb_error); /* as -errno */
void tl_embedded_path(const struct tl_embedded *e, uint32_t file, char *out, size_t size);
int tl_embedded_read_fd(struct tl_embedded *e, uint32_t file); /* or -errno */

/* ---- embedded_blocks.c: appending, index blocks, taking them over ---- */

int tl_embedded_write(struct tl_store *s, const struct tl_store_id *id, const struct tl_record *r);
int tl_embedded_flush(struct tl_store *s);
/* All flushed index blocks become part of the index. 0 or -errno. */
int tl_embedded_take_over(struct tl_embedded *e, MDB_txn *txn) TL_MUST_CHECK;
/* After tl_page_open said `first`. */
int tl_embedded_reset_page(struct tl_embedded *e) TL_MUST_CHECK;

/* ---- embedded_space.c: which bytes records refer to ---- */

/* The payload at this place has come (sign 1) or gone (-1). */
int tl_embedded_count(struct tl_embedded *e, MDB_txn *txn, struct tl_slice place, int sign) TL_MUST_CHECK;
/* Nothing in from..to of a file is of use but what records refer to. */
int tl_embedded_sweep(struct tl_embedded *e, MDB_txn *txn, uint32_t file, uint64_t from, uint64_t to) TL_MUST_CHECK;
/* Gives back what was found dead (after the transaction), or forgets it. */
void tl_embedded_give_back(struct tl_embedded *e, bool committed);

/* ---- embedded_find.c ---- */

int tl_embedded_scan(struct tl_store *s, const struct tl_store_id *id, struct tl_slice prefix, struct tl_slice from,
                     int (*fn)(void *ctx, const struct tl_found *f), void *ctx);
int tl_embedded_read(struct tl_store *s, struct tl_slice place, uint32_t offset, void *out, uint32_t len);
int tl_embedded_erase(struct tl_store *s, const struct tl_store_id *id, const struct tl_slice *keys, size_t count);

/* ---- place.c: where a payload is ---- */

struct tl_place_view {
    bool inlined;
    uint32_t len;
    uint32_t file;
    uint64_t offset;
    const uint8_t *bytes;  /* inlined */
    const uint8_t *checks; /* one of 8 bytes for each TL_EMBEDDED_CHECK, the last may be shorter; at least one */
};

/* Writes a place for a payload; out has TL_STORE_PLACE_MAX bytes. Its length. */
size_t tl_place_put(uint8_t *out, const void *payload, uint32_t len, uint32_t file, uint64_t offset);
int tl_place_get(struct tl_slice place, struct tl_place_view *out) TL_MUST_CHECK; /* 0, -EBADMSG */
uint64_t tl_place_check(const void *bytes, size_t len);

#endif
