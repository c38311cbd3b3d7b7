// SPDX-License-Identifier: Apache-2.0
/* The daemon's values: a cache manager (cache/cache.h) for the local clients of its user, made when the first one comes. All of it
 * belongs to the loop's thread. values.c: life and limits; values_session.c: clients; values_lower.c: what is on a local disk; values_trees.c: trees in shared memory; values_verbs.c:
 * the verb `cache`. */
#ifndef TL_DAEMON_VALUES_H
#define TL_DAEMON_VALUES_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "cache/cache.h"
#include "daemon/values_lower.h"

#define TL_SESSIONS_MAX     (TL_CACHE_READERS_MAX - 1)
#define TL_TREE_FOLDERS_MAX 4u

struct tl_daemon;
struct tl_control;
struct tl_session;

struct tl_orphan {
    struct tl_holds *holds; /* of a client of the daemon before; NULL: none */
    int pid;
    uint32_t reader, id;
    uint64_t dev, ino; /* of the holds' file */
};

/* What trees in shared memory take of the limit. */
struct tl_trees {
    char *folders[TL_TREE_FOLDERS_MAX]; /* in which they lie */
    uint32_t folder_count;
    uint32_t count;
    uint64_t counted_bytes; /* at the last look */
    uint64_t since_bytes;   /* that have been brought since */
    uint64_t pending_bytes; /* of files that are on their way */
    uint64_t looked_ns;
};

struct tl_values {
    struct tl_cache *cache; /* NULL: nobody wanted one yet */
    struct tl_lower *lower; /* NULL: none */
    struct tl_trees trees;
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
uint64_t tl_values_used(const struct tl_daemon *d);  /* by values and trees */
/* The core's limit: what the node has, without what values and trees take. */
uint64_t tl_values_rest(const struct tl_daemon *d, uint64_t node_limit_bytes);

/* values_trees.c */
void tl_trees_open(struct tl_daemon *d);
void tl_trees_close(struct tl_daemon *d);
void tl_trees_look(struct tl_daemon *d); /* at all of them */
void tl_trees_tick(struct tl_daemon *d); /* the same, now and then */
uint64_t tl_trees_bytes(const struct tl_daemon *d);
uint64_t tl_trees_most(const struct tl_daemon *d); /* that they may take */
/* They may take so much more. 0; -ENOSPC with a sentence. */
int tl_trees_room(struct tl_daemon *d, uint64_t bytes, struct tl_error *err) TL_MUST_CHECK;
/* The content of path is about to be written into fd, which may be a tree's file: then it counts, and *taken is for _end. 0; -ENOSPC. */
int tl_trees_begin(struct tl_daemon *d, int fd, const char *path, uint64_t bytes, uint64_t *taken) TL_MUST_CHECK;
void tl_trees_end(struct tl_daemon *d, uint64_t taken, bool whole);

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
