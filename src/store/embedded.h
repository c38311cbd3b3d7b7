// SPDX-License-Identifier: Apache-2.0
/* What the files of the embedded store share. A pool is a directory:
 *
 *   pool       one line: the format's name and version
 *   meta.mdb   LMDB (and meta.mdb-lock). Tables: state (id, key), index (id, key -> meta and place of the payload),
 *              files (number -> how far its index blocks have been taken over), live (file, segment -> bytes that records refer to)
 *   ext.N      what processes append to, one each: payloads, and index blocks that name them (stream.h)
 *   page       shared memory: how far each ext.N was flushed, counters to sleep on, and what goes with locks
 *   owners     nothing in it: its bytes are locked, as marks of processes
 *   locks      likewise, as locks of containers
 *
 * Writing appends payloads; a flush appends one index block, and syncs the file: one device sync. The next transaction, of whichever
 * process, takes all flushed index blocks over into LMDB, and does its own work in the same LMDB transaction. So what a
 * commit costs does not grow with the number of processes that have flushed, and no flush waits for another. */
#ifndef TL_STORE_EMBEDDED_H
#define TL_STORE_EMBEDDED_H

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/hash.h"
#include "store/store.h"
#include "store/stream.h"

#define TL_EMBEDDED_FILES   1024u       /* processes that write at the same time */
#define TL_EMBEDDED_SEGMENT (1u << 20)  /* bytes of a file that are given back together */
#define TL_EMBEDDED_INLINE  512u        /* bytes of a payload that is kept in the index itself */
#define TL_EMBEDDED_CHECK   (64u << 10) /* bytes of a payload that have one checksum */

#define TL_EMBEDDED_SMALL                                                                                              \
    (16u << 10) /* bytes of a payload that is read from a mapping: larger ones are worth a system call */
#define TL_EMBEDDED_TABLES 4u

/* ---- page.c ---- */

#define TL_PAGE_COUNTERS 4096u
#define TL_PAGE_VALUES   4096u /* locks that have a value, or are held exclusively */

struct tl_page_file {
    _Atomic uint64_t end;   /* all index blocks below are on the device */
    _Atomic uint64_t block; /* the last of them; 0: none that was not taken over */
};

struct tl_page_value { /* of a lock; see locks.c */
    _Atomic uint32_t state;
    uint32_t spare;
    struct tl_hash name; /* container and name */
    uint64_t epoch;
    uint8_t user[48];
};

struct tl_page {
    char magic[8];
    struct tl_page_file files[TL_EMBEDDED_FILES];
    _Atomic uint32_t counters[TL_PAGE_COUNTERS]; /* changes of containers */
    _Atomic uint32_t let_go[TL_PAGE_COUNTERS];   /* locks of containers that were let go */
    struct tl_page_locks {
        _Atomic uint32_t used; /* values beyond are free */
        uint32_t spare;
        struct tl_page_value values[TL_PAGE_VALUES];
    } locks;
};

struct tl_page_access {
    struct tl_page *page;
    int fd;        /* -1: a page of our own */
    bool writable; /* shared with others, and ours to change */
    bool first;    /* nobody else has the pool open for writing, and the page's numbers mean nothing yet */
};

/* Maps the page. Whoever is `first` gets the numbers right and calls tl_page_ready; others wait for that. 0; -ESTALE: destroyed
 * meanwhile; -errno. */
int tl_page_open(const char *directory, bool read_only, struct tl_page_access *out) TL_MUST_CHECK;
int tl_page_ready(struct tl_page_access *a) TL_MUST_CHECK;
void tl_page_close(struct tl_page_access *a);
/* Nobody else has the pool open (-EBUSY), and until tl_page_share nobody opens it. */
int tl_page_alone(struct tl_page_access *a) TL_MUST_CHECK;
void tl_page_share(struct tl_page_access *a);
/* The same without having it open, until fd is closed. */
int tl_page_seize(const char *directory, int *fd) TL_MUST_CHECK;
bool tl_page_has_writer(const struct tl_page_access *a); /* another one than us */

_Atomic uint32_t *tl_page_counter(struct tl_page *page, const struct tl_store_id *id);
/* Those who wait on it, and have a bit in common with `whom`, wake. */
void tl_page_wake(struct tl_page_access *a, _Atomic uint32_t *counter, uint32_t whom);
/* Until it is woken, or it is that late by tl_time_mono_ns. 0, -ETIMEDOUT, -EINTR. */
int tl_page_wait(const _Atomic uint32_t *counter, uint32_t seen, uint64_t until_ns, uint32_t who);

/* ---- owners.c: marks, which go with the process ---- */

struct tl_owners {
    int fd;         /* -1: there is no such file, and it cannot be made */
    bool writable;  /* or for reading only: then marks cannot be exclusive */
    int pid;        /* whose the marks are */
    uint64_t *mine; /* the kernel does not tell a process of its own */
    size_t count, room;
};

/* Opening cannot fail: claiming does. One a process and a pool: closing any descriptor of the file drops the process's marks. */
void tl_owners_open(struct tl_owners *o, const char *directory);
void tl_owners_close(struct tl_owners *o);
int tl_owners_claim(struct tl_owners *o, uint64_t mark, bool exclusive);
void tl_owners_unclaim(struct tl_owners *o, uint64_t mark);
int tl_owners_claimed(struct tl_owners *o, uint64_t mark);

/* ---- locks.c ---- */

struct tl_locks {
    int fd; /* -1: no locks here */
    struct tl_page_access *page;
    pthread_mutex_t mutex; /* all below */
    int pid;
    struct tl_held *held; /* by threads of this process */
};

/* As above; the page is the one that has the values, and outlives it. */
void tl_locks_open(struct tl_locks *l, const char *directory, struct tl_page_access *page);
void tl_locks_close(struct tl_locks *l);
int tl_locks_lock(struct tl_locks *l, const struct tl_store_id *id, struct tl_slice name, bool exclusive,
                  int timeout_ms, const _Atomic int *stop, struct tl_store_lock **out,
                  struct tl_store_lock_value *value);
int tl_locks_unlock(struct tl_locks *l, struct tl_store_lock *lock, const struct tl_store_lock_value *value);
/* Those who wait for locks of this container look at *stop. */
void tl_locks_wake(struct tl_locks *l, const struct tl_store_id *id);

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
/* The same in steps, for what is not inlined: the checksum of each piece, and the rest. */
void tl_place_put_check(uint8_t *out, uint32_t piece, uint64_t sum);
size_t tl_place_put_end(uint8_t *out, uint32_t len, uint32_t file, uint64_t offset);
int tl_place_get(struct tl_slice place, struct tl_place_view *out) TL_MUST_CHECK; /* 0, -EBADMSG */
uint64_t tl_place_check(const void *bytes, size_t len);

/* ---- embedded.c ---- */

struct tl_embedded {
    struct tl_store store;
    char directory[4096];
    struct tl_store_config config;
    MDB_env *env;
    MDB_dbi state, index, files, live;
    bool lockless; /* LMDB cannot lock here: nobody may write meanwhile */
    struct tl_page_access access;
    struct tl_page *page; /* its */
    struct tl_owners owners;
    struct tl_locks locks;
    int read_fds[TL_EMBEDDED_FILES]; /* of ext.N, through the page cache; -1: not open yet */
    struct tl_mapped {
        const uint8_t *at;
        uint64_t len, size;      /* that is mapped; that the file had when it was last looked at */
    } mapped[TL_EMBEDDED_FILES]; /* for small payloads */
    struct tl_stream *stream;    /* ours to append to; NULL: nothing was written yet */
    uint32_t file;               /* its number */
    uint64_t last_block;
    uint8_t *pending; /* records for the next index block */
    size_t pending_len, pending_room;
    uint32_t pending_count;
    int broken; /* a write failed: told by the next flush, too */
    /* A snapshot that was let go, to be taken again, and its cursor: much cheaper than new ones. */
    MDB_txn *idle;
    MDB_cursor *cursor;
    bool idle_taken;
    uint8_t *scratch; /* TL_EMBEDDED_CHECK bytes of a payload of which not all are wanted; NULL: not needed yet */
    char damage[96];  /* what the last read could not read, as a sentence; made of: */
    struct tl_place_view read_place;
    uint32_t read_offset;
    /* Segments that nobody refers to any more, to be given back when the transaction is over. */
    struct tl_dead {
        uint32_t file, segment;
    } * dead;
    size_t dead_count, dead_room;
};

extern const char *const tl_embedded_tables[TL_EMBEDDED_TABLES]; /* of LMDB */
int tl_embedded_error(int lmdb_error);                           /* as -errno */
void tl_embedded_path(const struct tl_embedded *e, uint32_t file, char *out, size_t size);
int tl_embedded_read_fd(struct tl_embedded *e, uint32_t file); /* or -errno */

/* A snapshot for reading; a cursor on its index; and the end of both (cursor may be NULL). */
int tl_embedded_begin(struct tl_embedded *e, MDB_txn **out) TL_MUST_CHECK;
int tl_embedded_cursor(struct tl_embedded *e, MDB_txn *txn, MDB_cursor **out) TL_MUST_CHECK;
void tl_embedded_end(struct tl_embedded *e, MDB_txn *txn, MDB_cursor *cursor);

/* ---- embedded_blocks.c: appending, index blocks, taking them over ---- */

int tl_embedded_write(struct tl_store *s, const struct tl_store_id *id, const struct tl_record *r);
int tl_embedded_flush(struct tl_store *s);
struct tl_taken {
    uint64_t end;   /* nothing below it waits to be taken over */
    uint64_t block; /* the last one that was; 0: none */
};

/* How far a file has been taken over, as of this transaction; and how far it has been flushed: its last index block (0: none) and
 * the end of that. */
int tl_embedded_taken(struct tl_embedded *e, MDB_txn *txn, uint32_t file, struct tl_taken *out) TL_MUST_CHECK;
int tl_embedded_flushed(struct tl_embedded *e, uint32_t file, uint64_t *block, uint64_t *end) TL_MUST_CHECK;
/* The records of the index blocks of a file behind `from` up to `to`, oldest first: they are found from the last one backwards. */
int tl_embedded_each_block(struct tl_embedded *e, uint32_t file, uint64_t from, uint64_t to,
                           int (*fn)(void *ctx, uint8_t *records, size_t len), void *ctx) TL_MUST_CHECK;
/* All flushed index blocks become part of the index. 0 or -errno. */
int tl_embedded_take_over(struct tl_embedded *e, MDB_txn *txn) TL_MUST_CHECK;
/* After tl_page_open said `first`. */
int tl_embedded_reset_page(struct tl_embedded *e) TL_MUST_CHECK;

/* ---- embedded_space.c: which bytes records refer to ---- */

/* The payload at this place has come (sign 1) or gone (-1). */
int tl_embedded_count(struct tl_embedded *e, MDB_txn *txn, struct tl_slice place, int sign) TL_MUST_CHECK;
/* Nothing in from..to of a file is of use but what records refer to. */
int tl_embedded_sweep(struct tl_embedded *e, MDB_txn *txn, uint32_t file, uint64_t from, uint64_t to) TL_MUST_CHECK;
/* Ends a transaction for writing: commits it if rc is 0, and gives back what it has left dead. rc, or -errno of the commit. */
int tl_embedded_finish(struct tl_embedded *e, MDB_txn *txn, int rc) TL_MUST_CHECK;
/* 1: records refer to bytes of this segment; 0: none; -errno. */
int tl_embedded_is_live(struct tl_embedded *e, MDB_txn *txn, uint32_t file, uint64_t segment) TL_MUST_CHECK;

int tl_embedded_set_live(struct tl_embedded *e, MDB_txn *txn, uint32_t file, uint32_t segment,
                         uint64_t bytes) TL_MUST_CHECK;

/* ---- embedded_find.c ---- */

/* What LMDB has under a key, as a found record. 0, -EBADMSG. */
int tl_embedded_show(const MDB_val *k, const MDB_val *v, struct tl_found *out) TL_MUST_CHECK;

int tl_embedded_scan(struct tl_store *s, const struct tl_store_id *id, struct tl_slice prefix, struct tl_slice from,
                     int (*fn)(void *ctx, const struct tl_found *f), void *ctx);
int tl_embedded_read(struct tl_store *s, struct tl_slice place, uint32_t offset, void *out, uint32_t len);
const char *tl_embedded_damage(struct tl_store *s);
int tl_embedded_erase(struct tl_store *s, const struct tl_store_id *id, const struct tl_slice *keys, size_t count);

/* ---- embedded_walk.c, embedded_check.c ---- */

/* LMDB's pages can all be read: 0, -EBADMSG, -errno. */
int tl_embedded_walk(const struct tl_embedded *e) TL_MUST_CHECK;
int tl_embedded_check(struct tl_store *s, bool repair, void (*tell)(void *ctx, const char *finding), void *ctx);

#endif
