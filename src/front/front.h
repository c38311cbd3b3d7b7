// SPDX-License-Identifier: Apache-2.0
/* What a front end and the daemon that hosts it say to each other. One owner thread: the daemon's loop. */
#ifndef TL_FRONT_FRONT_H
#define TL_FRONT_FRONT_H

#include <stdint.h>

#include "core/request.h"

/* Given by the host. */
struct tl_front_host {
    void *ctx;
    uint32_t rank; /* of the node */
    /* Asks the node. The answer comes through the front's answer function, never from inside this call.
     * request->id comes back unchanged; the host tells fronts apart itself. */
    void (*request)(void *ctx, uint32_t front, const struct tl_request *request);
    void (*cancel)(void *ctx, uint32_t front, uint64_t id);
    /* Pointer to the bytes of a ref; valid as long as the ref. */
    const void *(*bytes)(void *ctx, uint64_t addr);
    /* A blob if the node holds it: as tl_node_peek. */
    int (*peek)(void *ctx, enum tl_op op, const char *path, uint16_t path_len, struct tl_ref *ref);
    /* As tl_node_held. */
    void (*held)(void *ctx, const struct tl_request *object, struct tl_held *out);
    /* The front has ended (unmounted from outside, connection aborted); the host frees it later, not inside
     * this call. */
    void (*ended)(void *ctx, uint32_t front, int status);
    /* Something the operator should read in the log. May be NULL. */
    void (*note)(void *ctx, uint32_t front, const char *text);
};

#endif
