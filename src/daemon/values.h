// SPDX-License-Identifier: Apache-2.0
/* The daemon's values: a cache manager (cache/cache.h) for the local clients of its user, made when the first one comes. All of it
 * belongs to the loop's thread. values.c: life and limits; values_session.c: clients; values_lower.c: what is on a local disk; values_verbs.c: the verb `cache`. */
#ifndef TL_DAEMON_VALUES_H
#define TL_DAEMON_VALUES_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "cache/cache.h"
#include "daemon/values_lower.h"

#define TL_SESSIONS_MAX (TL_CACHE_READERS_MAX - 1)

struct tl_daemon;
struct tl_control;
struct tl_session;

struct tl_orphan {
    struct tl_holds *holds; /* of a client of the daemon before; NULL: none */
    int pid;
    uint32_t reader, id;
};

struct tl_values {
    struct tl_cache *cache; /* NULL: nobody wanted one yet */
    struct tl_lower *lower; /* NULL: none */
    struct tl_session *sessions[TL_SESSIONS_MAX];
    struct tl_orphan orphans[TL_SESSIONS_MAX];
    uint32_t orphan_count;
    uint64_t looked_ns;    /* at the orphans */
    uint64_t fills_ended;  /* who waits for a fill looks again when this has changed */
    uint64_t taken_bytes;  /* of the node's limit, as the core was told */
    uint64_t scrub_cursor; /* UINT64_MAX: nothing is checked now */
    bool busy;             /* there is more to do at once */
};

/* values.c */
void tl_values_start(struct tl_daemon *d); /* goes on with what the daemon before left, if it did */
void tl_values_close(struct tl_daemon *d);
int tl_values_need(struct tl_daemon *d, struct tl_error *err) TL_MUST_CHECK; /* makes the cache if there is none */
void tl_values_tick(struct tl_daemon *d);
uint64_t tl_values_deadline(const struct tl_daemon *d);
/* The node's limit, for chunks and values: 0, -EINVAL with a sentence. */
int tl_values_set_limit(struct tl_daemon *d, uint64_t bytes, struct tl_error *err) TL_MUST_CHECK;
uint64_t tl_values_limit(const struct tl_daemon *d); /* what values may take */
uint64_t tl_values_used(const struct tl_daemon *d);
/* The core's limit: what the node has, without what values take. */
uint64_t tl_values_rest(const struct tl_daemon *d, uint64_t node_limit_bytes);

/* values_session.c */
int tl_session_open(struct tl_daemon *d, int fd,
                    struct tl_error *err) TL_MUST_CHECK; /* takes the descriptor in any case */
void tl_session_ready(struct tl_daemon *d, uint32_t index, uint32_t events);
bool tl_session_go_on(struct tl_daemon *d,
                      uint32_t index); /* with the request that is on its way. True: more to do at once */
void tl_session_close(struct tl_daemon *d, uint32_t index);

/* values_verbs.c */
void tl_verb_cache(struct tl_daemon *d, struct tl_control *c);

#endif
