// SPDX-License-Identifier: Apache-2.0
/* What this node did and when: marks in a ring, for `tiercel timeline`. Off by default; then it costs a comparison an event.
 *
 * A span is two marks, its begin and its end, which the reader brings together by kind, id and chunk. The ring has a fixed size: a
 * long recording keeps its end. Only the loop's thread. */
#ifndef TL_DAEMON_TIMELINE_H
#define TL_DAEMON_TIMELINE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/node/node.h"

#define TL_TIMELINE_MARKS 65536u
#define TL_TIMELINE_PATH  72u   /* bytes of a path that are kept: its end */
#define TL_TIMELINE_BATCH 4096u /* marks one answer has */

enum tl_mark_kind { TL_MARK_REQUEST, TL_MARK_FLIGHT, TL_MARK_PULL, TL_MARK_FETCH };

struct tl_mark {
    uint64_t at_ns; /* CLOCK_MONOTONIC: the same for all daemons of a machine */
    uint64_t id;    /* of the request; of the GET; cookie of the pull, of the fetch */
    uint64_t get;   /* PULL: the GET that it answers, 0: not known */
    uint32_t chunk, len, peer;
    int32_t status;
    uint8_t kind, op;
    bool end;
    uint8_t path_len;
    char path[TL_TIMELINE_PATH]; /* begin of REQUEST, FLIGHT, FETCH */
};

struct tl_timeline {
    struct tl_mark *ring; /* NULL: never started */
    uint64_t count;       /* marks ever made since the start; the ring has the last ones */
    bool on;
    uint64_t get; /* of the DATA that is being handled, 0: none */
    uint32_t chunk;
};

int tl_timeline_start(struct tl_timeline *t) TL_MUST_CHECK; /* from nothing; 0, -ENOMEM */
void tl_timeline_stop(struct tl_timeline *t);               /* what is there stays, to be read */
void tl_timeline_free(struct tl_timeline *t);

/* Before the core is stepped, and for what it wants done. Only while on. */
void tl_timeline_event(struct tl_timeline *t, uint64_t now_ns, const struct tl_event *ev);
void tl_timeline_action(struct tl_timeline *t, uint64_t now_ns, const struct tl_action *a);

/* The marks from number `from` on, at most TL_TIMELINE_BATCH: {"marks": [[...]...], "next": number, "end": number, "lost": how many
 * were overwritten}. NULL: no memory. */
json_t *tl_timeline_read(const struct tl_timeline *t, uint64_t from);

#endif
