// SPDX-License-Identifier: Apache-2.0
/* Room for values in one memory file: slots of address space, whose pages come when they are written and go when memory is
 * short.
 *
 * Address space costs nothing, memory does. So each power of two from a page up has a range of the file of its own, cut into
 * slots: a slot is found and given back in one step, nothing is ever fragmented, and a value takes just its pages. A slot
 * that is given back waits in limbo until no reader holds it, then in a pool with its pages, which the next value of that
 * size takes as they are, without a system call; when others need memory, pages of the pool are punched out, some at a time.
 *
 * One owner. Others map the file and read what they hold (cache/layout.h). */
#ifndef TL_CACHE_SPACE_H
#define TL_CACHE_SPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/error.h"

#define TL_SPACE_CLASSES 40u
#define TL_SPACE_STEP    (64u << 10) /* bytes that one call makes, punches or copies at most */
#ifndef TL_SPACE_TIME_NS
#define TL_SPACE_TIME_NS 150000u /* after which such a call makes no more of them; a test takes none at all */
#endif

struct tl_space_config {
    int fd;                   /* of a file to use, which becomes ours; -1: a memory file is made */
    bool adopt;               /* fd holds slots of the past: tl_space_claim says which; the rest is punched by and by */
    uint64_t limit_bytes;     /* of memory */
    uint64_t limit_max_bytes; /* the limit is never set higher */
    uint32_t slots_max;       /* of a class: values at the same time */
};

struct tl_space_stats {
    uint64_t used_bytes;  /* pages that are there */
    uint64_t pool_bytes;  /* of them in free slots */
    uint64_t limbo_bytes; /* of them in slots that were given back, and may be held */
    uint64_t held_bytes;  /* of those: that the last sweep found to be held */
    uint32_t limbo;       /* slots */
};

struct tl_space;

/* 0; -EINVAL: limits; -ENOMEM and what making or mapping the file gave. On failure a given fd is not closed. */
int tl_space_new(struct tl_space **out, const struct tl_space_config *config, struct tl_error *err) TL_MUST_CHECK;
void tl_space_free(struct tl_space *s);

/* A slot for this many bytes, 1 or more, with the pages it happens to have. 0; -EFBIG: larger than any; -ENOSPC: no slot. */
int tl_space_take(struct tl_space *s, uint64_t bytes, uint64_t *place) TL_MUST_CHECK;
/* The slot's first `bytes` are there, at most TL_SPACE_STEP more than before. 0; -EAGAIN: some more are, but the system took its
 * time: call again; -ENOSPC: over the limit; -ENOMEM: so says the system (some may have come). */
int tl_space_extend(struct tl_space *s, uint64_t place, uint64_t bytes) TL_MUST_CHECK;
/* Gives a slot back: into limbo, or at once when nobody can have seen it. place: anywhere in the slot. */
void tl_space_give(struct tl_space *s, uint64_t place, bool unseen);
/* Which slots of limbo are held: begin; then a call for each place that a reader holds, as it says, any number; then end, as often as
 * it takes: it looks at up to `slots` of those that were in limbo at begin, and gives back what nobody holds. True: that was all. All
 * of this may take its time: a reader that holds a slot of limbo has done so before it came there. */
void tl_space_sweep_begin(struct tl_space *s);
void tl_space_hold(struct tl_space *s, uint64_t place);
bool tl_space_sweep_end(struct tl_space *s, uint32_t slots);
/* Punches up to this many bytes out of the pool, at most TL_SPACE_STEP. What came free. */
uint64_t tl_space_shrink(struct tl_space *s, uint64_t bytes);

/* While adopting: this slot is in use, with these bytes. -EINVAL: it is not a slot's beginning, or claimed already. */
int tl_space_claim(struct tl_space *s, uint64_t place, uint64_t bytes) TL_MUST_CHECK;
/* While adopting, after all claims: if nothing else is there, the slot is held by a reader, with the pages that it has. */
void tl_space_claim_held(struct tl_space *s, uint64_t place);
/* The end of that: what was not claimed is free, and punched. */
int tl_space_adopted(struct tl_space *s) TL_MUST_CHECK;

void tl_space_set_limit(struct tl_space *s, uint64_t bytes);
uint64_t tl_space_limit(const struct tl_space *s);
uint64_t tl_space_slot(const struct tl_space *s, uint64_t place);  /* where the slot begins */
uint64_t tl_space_room(const struct tl_space *s, uint64_t place);  /* bytes that the slot can take */
uint64_t tl_space_pages(const struct tl_space *s, uint64_t place); /* bytes of it that are there */
void *tl_space_at(const struct tl_space *s, uint64_t place);
int tl_space_fd(const struct tl_space *s);
uint64_t tl_space_size(const struct tl_space *s);      /* of the file */
uint64_t tl_space_bytes_max(const struct tl_space *s); /* of the largest slot */
uint64_t tl_space_page(const struct tl_space *s);      /* what pages are rounded to */
void tl_space_stats(const struct tl_space *s, struct tl_space_stats *out);

#endif
