// SPDX-License-Identifier: Apache-2.0
/* Sentences of pools, containers and epochs: the thing, the cause, the remedy. All that libtiercel says about an error of pool.h and event.h is
 * made here. Any thread. */
#ifndef TL_CLIENT_WHY_H
#define TL_CLIENT_WHY_H

#include <stddef.h>

#include "base/error.h"
#include "tiercel/pool.h"

#define TL_WHY_MAX 1024u /* bytes of a sentence; that of struct tiercel_error */

/* What a call does: a row in the table of why.c. */
enum tl_verb {
    TL_DO_ANY,
    TL_DO_POOL_CREATE,
    TL_DO_POOL_CONNECT,
    TL_DO_POOL_QUERY,
    TL_DO_POOL_TARGETS,
    TL_DO_POOL_WAIT,
    TL_DO_POOL_EVICT,
    TL_DO_POOL_DESTROY,
    TL_DO_POOL_DISCONNECT,
    TL_DO_POOL_CHECK,
    TL_DO_CONT_CREATE,
    TL_DO_CONT_DESTROY,
    TL_DO_CONT_LIST,
    TL_DO_HANDLE_LIST,
    TL_DO_CONT_OPEN,
    TL_DO_CONT_OPEN_SNAPSHOT,
    TL_DO_CONT_CLOSE,
    TL_DO_CONT_QUERY,
    TL_DO_CONT_EVICT,
    TL_DO_PROP_GET,
    TL_DO_PROP_SET,
    TL_DO_ATTR_SET,
    TL_DO_ATTR_GET,
    TL_DO_ATTR_LIST,
    TL_DO_SHARE,
    TL_DO_ATTACH,
    TL_DO_EPOCH_QUERY,
    TL_DO_HOLD,
    TL_DO_FLUSH,
    TL_DO_COMMIT,
    TL_DO_DISCARD,
    TL_DO_SLIP,
    TL_DO_WAIT,
    TL_DO_SNAP_CREATE,
    TL_DO_SNAP_DESTROY,
    TL_DO_SNAP_LIST,
    TL_DO_AGGREGATE,
    TL_DO_WRITE,
    TL_DO_READ,
    TL_DO_PUNCH,
    TL_DO_LIST,
    TL_DO_OID,
    TL_DO_DIFF,
    TL_DO_COPY,
    TL_DO_LOCK,
    TL_DO_UNLOCK,
    TL_DO_COUNT
};

/* What a sentence may speak of. */
struct tl_about {
    enum tl_verb verb;
    const char *kind;                     /* "container" or "pool" */
    const char *name;                     /* NULL: unknown */
    const char *thing;                    /* of a lock or an attribute: its name; NULL */
    uint64_t epoch, last;                 /* that were asked for; last: of a range */
    const struct tiercel_epochs *numbers; /* how things stand; NULL: unknown */
    const char *damage;                   /* what is lost or damaged, and where; NULL: unknown */
};

/* Makes the sentence of an error: the one in `inner` (may be NULL, or empty) if there is one, else one from the table. */
void tl_why_make(char out[TL_WHY_MAX], const struct tl_about *about, int code, const struct tl_error *inner);

/* The sentence is that of the last error in this thread, and goes into err, which may be NULL. Returns code, which is negative. */
int tl_why_fail(struct tiercel_error *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int tl_why_failed(struct tiercel_error *err, const struct tl_about *about, int code, const struct tl_error *inner);
const char *tl_why_last(void);

#endif
