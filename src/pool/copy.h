// SPDX-License-Identifier: Apache-2.0
/* Copying a container, record by record. Both sides have their records in one order, that of their keys, so copying is a merge: what only the source
 * has is written, what only the destination has is erased, what both have is there already. So whoever goes on with what another has begun
 * needs to know nothing of how far it came, and it does not matter what the source has gained or lost since. Verifying is the same merge, in which
 * what both have is compared, byte by byte.
 *
 * Records go with their keys, so with their epochs and who wrote them. Those that count at or below the source's GHCE: what tombstones cover, and what is not final, is
 * left out, so the destination needs no tombstones and no handles.
 *
 * What of it is copied may come from before and after a step of an aggregation of the source. That does no harm: aggregation erases what is hidden before it erases
 * what hides it, and that is earlier in the order of the keys. */
#ifndef TL_POOL_COPY_H
#define TL_POOL_COPY_H

#include "pool/internal.h"

struct tl_copy_record { /* its bytes lie in those of the window */
    size_t key, meta, place;
    uint32_t payload_len;
    uint16_t key_len, meta_len, place_len;
};

#define TL_COPY_AHEAD 16u

/* One of the two containers, and the records of it that come next. */
struct tl_copy_side {
    struct tl_pool *pool;
    struct tl_store_id id;
    struct tl_cont *cont; /* of the source, with a handle of our own; of the destination: NULL */
    uint64_t ghce;        /* of the source: the highest epoch that counts */
    struct tl_copy_record *list;
    size_t count, room, next;
    uint8_t *bytes;
    size_t len, bytes_room;
    struct tl_key from; /* where the next window begins */
    unsigned looked;
    bool ended; /* there is no next window */
    uint8_t *buffer;
    const uint8_t *payload; /* in it: of the record that was read last */
    struct {                /* several are read at once, where the store can do that */
        size_t first, end;  /* of the list: their payloads are in the buffer */
        size_t tried;       /* up to there it was tried, at least */
        size_t at[TL_COPY_AHEAD];
    } ahead;
};

#define TL_COPY_DOOMED 512u

struct tl_copy_doomed { /* records of the destination that will be erased */
    size_t count;
    struct tl_slice keys[TL_COPY_DOOMED];
    uint8_t bytes[TL_COPY_DOOMED][TL_STORE_KEY_MAX];
};

struct tl_copy {
    struct tl_copy_side from, to;
    const struct tl_copy_config *config;
    struct tl_unfinished unfinished;
    struct tiercel_copied done;
    uint64_t flush_bytes, unflushed;
    unsigned lost_flushes; /* of the destination's store, when this began */
    struct tl_copy_doomed *doomed;
    uint64_t differences; /* that verifying found */
    char difference[512]; /* the first one */
    bool any_class;       /* something has a class that the destination does not offer */
    char source_name[TIERCEL_LABEL_MAX + 1];
    struct tl_error *err;
};

/* ---- copy_merge.c; all take the locks by themselves, and fill x->err ---- */

int tl_copy_side_begin(struct tl_copy_side *side) TL_MUST_CHECK; /* 0, -ENOMEM */
void tl_copy_rewind(struct tl_copy_side *side);
void tl_copy_side_free(struct tl_copy_side *side);
/* How much a side has from its beginning on. source: shows it as progress. 0, -errno. */
int tl_copy_count(struct tl_copy *x, struct tl_copy_side *side, uint64_t *records, uint64_t *bytes) TL_MUST_CHECK;
/* Goes through both, from the beginning. 0, -errno. */
int tl_copy_merge(struct tl_copy *x, bool verify) TL_MUST_CHECK;
/* What was written so far is durable, and found. 0, -ENOENT: given up by another, -errno. */
int tl_copy_flush(struct tl_copy *x) TL_MUST_CHECK;
int tl_copy_progress(struct tl_copy *x) TL_MUST_CHECK; /* 0, -ECANCELED */
/* A sentence, if there is none yet. Returns rc. */
int tl_copy_failed(struct tl_copy *x, const struct tl_copy_side *side, int rc);

#endif
