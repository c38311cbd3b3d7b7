// SPDX-License-Identifier: Apache-2.0
/* What the node holds or is fetching: objects, and their chunks, and which of those are first in line to go (base/evict.h).
 *
 * An object is a listing or one version of a file; it is here while any of its chunks is. A chunk is in flight, present, or
 * negative (an errno that is worth keeping). All tables are allocated once, in tl_index_new, and addressed by slot;
 * a slot costs memory only once it has been used. One owner thread; the node's other files reach into the structures, so their
 * fields are the interface, and tl_index_verify says what must hold between them. */
#ifndef TL_CORE_INDEX_INDEX_H
#define TL_CORE_INDEX_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "base/evict.h"
#include "base/hash.h"
#include "core/index/paths.h"
#include "core/request.h"

#define TL_SLOT_NONE UINT32_MAX

enum tl_chunk_state { TL_CHUNK_FREE = 0, TL_CHUNK_FLIGHT, TL_CHUNK_PRESENT, TL_CHUNK_NEGATIVE };

struct tl_object {
    struct tl_hash key;
    uint64_t version, file_size_bytes;
    uint32_t hash_next; /* link (index.c); free: next free slot */
    uint32_t chunks;    /* first of its chunks */
    uint32_t path;      /* TL_PATH_NONE for a file without chunks in flight: a request brings its path along */
    uint16_t path_len;
    uint8_t op;   /* enum tl_op; 0: slot is free */
    uint8_t tree; /* in which it travels; the owner's */
    uint32_t flights;
    uint32_t hits;                  /* the owner's */
    uint32_t holds;                 /* keeps it while it may have no chunks */
    uint32_t seq_next;              /* the chunk after the last one asked for here: is the reader sequential? */
    uint32_t window;                /* chunks to read ahead */
    uint32_t ahead_next, ahead_end; /* read-ahead still to be asked for */
};

struct tl_chunk {
    uint32_t object, number;
    uint32_t hash_next, object_next, object_prev;
    uint32_t flight;        /* while in flight */
    uint32_t pins;          /* present: loans and requests that need it; not evicted while > 0 */
    uint64_t answered_step; /* the step in which its address was last handed out: not evicted within it (P-15) */
    uint64_t read_ns;       /* when it came; the owner's */
    uint32_t served;        /* bytes of it that programs here have been given; the owner's */
    uint64_t addr;
    uint32_t len;
    int32_t status; /* negative: the errno */
    struct tl_hash digest;
    uint8_t state; /* enum tl_chunk_state */
    bool kept;     /* present or negative, but not among those that may be evicted */
};

struct tl_index {
    struct tl_object *objects;
    struct tl_chunk *chunks;
    uint32_t *object_buckets, *chunk_buckets;
    uint32_t bucket_mask;
    uint32_t object_max, chunk_max;
    uint32_t object_free, object_fresh, object_count;
    uint32_t chunk_free, chunk_fresh, chunk_count;
    struct tl_evict *evict; /* present and negative chunks, but for those that are kept */
    struct tl_paths *paths;
};

int tl_index_new(struct tl_index **out, uint32_t object_max, uint32_t path_blocks) TL_MUST_CHECK; /* 0, -ENOMEM */
void tl_index_free(struct tl_index *x);

uint32_t tl_index_find_object(const struct tl_index *x, struct tl_hash key); /* slot, TL_SLOT_NONE */
/* A new object without chunks; the caller adds one or drops it. TL_SLOT_NONE: full. */
uint32_t tl_index_add_object(struct tl_index *x, struct tl_hash key, enum tl_op op);
/* Keeps the path with the object if it is not there yet. 0, -EBUSY. */
int tl_index_set_path(struct tl_index *x, uint32_t object, const char *path, uint16_t len) TL_MUST_CHECK;
/* Frees the object if it has no chunks; forgets a file's path if nothing is in flight. */
void tl_index_settle_object(struct tl_index *x, uint32_t object);

/* From now on look-ups do not find the object under its key: its chunks go when nobody needs them. Not while in flight. */
void tl_index_disown_object(struct tl_index *x, uint32_t object);

uint32_t tl_index_find_chunk(const struct tl_index *x, uint32_t object, uint32_t number);
/* A new chunk in state FLIGHT, not among those that may be evicted. TL_SLOT_NONE: full. */
uint32_t tl_index_add_chunk(struct tl_index *x, uint32_t object, uint32_t number);
/* Moves a chunk from FLIGHT to PRESENT or NEGATIVE, last in line to go. Its len is set. */
void tl_index_land_chunk(struct tl_index *x, uint32_t chunk, enum tl_chunk_state state);
/* Takes the slot out of every table. Its bytes are the caller's to free. The object is settled. */
void tl_index_remove_chunk(struct tl_index *x, uint32_t chunk);
void tl_index_touch(struct tl_index *x, uint32_t chunk);
/* Takes a chunk that is present or negative out of those that may be evicted, or puts it back among them. */
void tl_index_keep(struct tl_index *x, uint32_t chunk, bool keep);
/* The next chunk that may go now (P-16), TL_SLOT_NONE if there is none within a bounded search. It is for the caller to remove
 * it, at once. */
uint32_t tl_index_victim(struct tl_index *x, uint64_t step) TL_MUST_CHECK;

void tl_index_verify(const struct tl_index *x);

#endif
