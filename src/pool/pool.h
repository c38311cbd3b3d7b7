// SPDX-License-Identifier: Apache-2.0
/* Pools and containers as libtiercel shows them (tiercel/pool.h), without events and threads: these functions do their work and
 * return. Parameters and errors are those of the functions of like names there; where there is an `err`, it gets a sentence.
 *
 * Whoever calls anything with a struct tl_pool or tl_cont holds tl_pool_lock, except where another rule is said. All connections of
 * a process to one pool share its store, and one lock. */
#ifndef TL_POOL_POOL_H
#define TL_POOL_POOL_H

#include <stdbool.h>

#include "base/check.h"
#include "base/error.h"
#include "pool/state.h"
#include "tiercel/pool.h"

struct tl_pool;
struct tl_cont;

/* ---- pools; connecting and what takes a uri take the lock by themselves ---- */

/* options: NULL for none. */
int tl_pool_create(const char *uri, const struct tiercel_pool_options *options, struct tl_error *err) TL_MUST_CHECK;
int tl_pool_connect(struct tl_pool **out, const char *uri, unsigned flags, struct tl_error *err) TL_MUST_CHECK;
/* Revokes the containers that are open through it; the pool's memory goes with the last of them. */
int tl_pool_disconnect(struct tl_pool *pool);
int tl_pool_evict(const char *uri, struct tl_error *err) TL_MUST_CHECK;
int tl_pool_destroy(const char *uri, unsigned flags, struct tl_error *err) TL_MUST_CHECK;
int tl_pool_local2global(struct tl_pool *pool, void *buf, size_t *len) TL_MUST_CHECK;
int tl_pool_global2local(struct tl_pool **out, const void *buf, size_t len, struct tl_error *err) TL_MUST_CHECK;

void tl_pool_lock(struct tl_pool *pool);
void tl_pool_unlock(struct tl_pool *pool);

bool tl_pool_is_here(const struct tl_pool *pool); /* on this machine: nothing waits for others. Without the lock */
void tl_pool_identity(const struct tl_pool *pool, struct tiercel_pool_info *out); /* uri and uuid. Without the lock */
/* Without out->health and out->redundancy, */
int tl_pool_query(struct tl_pool *pool, struct tiercel_pool_info *out) TL_MUST_CHECK;
/* which are this one's; without the lock: it asks others than those who keep the data, and answers within seconds. *stop (may be NULL): != 0 ends
 * it early. What is not known is 0. */
void tl_pool_health(struct tl_pool *pool, const _Atomic int *stop, struct tiercel_pool_health *out,
                    uint32_t *redundancy);
int tl_pool_targets(struct tl_pool *pool, int (*fn)(void *ctx, const struct tiercel_pool_target *target),
                    void *ctx) TL_MUST_CHECK; /* without the lock */
int tl_pool_look(const char *uri, struct tiercel_pool_info *out,
                 int (*fn)(void *ctx, const struct tiercel_pool_target *target), void *ctx,
                 struct tl_error *err) TL_MUST_CHECK;
void tl_pool_rest(struct tl_pool *pool); /* nobody asks for a while. Without the lock */
int tl_pool_classes(struct tl_pool *pool, unsigned *classes, unsigned *count) TL_MUST_CHECK;
int tl_pool_check(struct tl_pool *pool, int repair, void (*tell)(void *ctx, const char *finding),
                  void *ctx) TL_MUST_CHECK;

/* ---- containers ---- */

int tl_cont_create(struct tl_pool *pool, const char *label, struct tiercel_uuid *uuid,
                   struct tl_error *err) TL_MUST_CHECK;
int tl_cont_destroy(struct tl_pool *pool, const char *name, unsigned flags, struct tl_error *err) TL_MUST_CHECK;
/* -EBADMSG, -ETIMEDOUT: the state of one (err: of which) cannot be read; all others were shown. */
int tl_cont_list(struct tl_pool *pool, int (*fn)(void *ctx, const struct tiercel_cont_info *info), void *ctx,
                 struct tl_error *err) TL_MUST_CHECK;
int tl_cont_open(struct tl_cont **out, struct tl_pool *pool, const char *name, unsigned flags,
                 struct tl_error *err) TL_MUST_CHECK;
int tl_cont_open_snapshot(struct tl_cont **out, struct tl_pool *pool, const char *name, uint64_t epoch,
                          struct tl_error *err) TL_MUST_CHECK;
int tl_cont_close(struct tl_cont *cont); /* takes the lock by itself */
int tl_cont_evict(struct tl_pool *pool, const char *name, struct tl_error *err) TL_MUST_CHECK;
int tl_cont_list_handles(struct tl_pool *pool, const char *name,
                         int (*fn)(void *ctx, const struct tiercel_handle_info *info), void *ctx) TL_MUST_CHECK;
int tl_cont_query(struct tl_cont *cont, struct tiercel_cont_info *out) TL_MUST_CHECK;
int tl_cont_set_attr(struct tl_cont *cont, const char *name, const void *value, size_t len) TL_MUST_CHECK;
int tl_cont_get_attr(struct tl_cont *cont, const char *name, void *value, size_t *len) TL_MUST_CHECK;
int tl_cont_list_attrs(struct tl_cont *cont, int (*fn)(void *ctx, const char *name, size_t len),
                       void *ctx) TL_MUST_CHECK;
int tl_cont_get_prop(struct tl_pool *pool, const char *name, const char *prop, char *out, size_t room,
                     struct tl_error *err) TL_MUST_CHECK;
int tl_cont_set_prop(struct tl_pool *pool, const char *name, const char *prop, const char *value,
                     struct tl_error *err) TL_MUST_CHECK;
int tl_cont_local2global(struct tl_cont *cont, void *buf, size_t *len) TL_MUST_CHECK;
int tl_cont_global2local(struct tl_cont **out, struct tl_pool *pool, const void *buf, size_t len,
                         struct tl_error *err) TL_MUST_CHECK;
int tl_cont_oid_allocate(struct tl_cont *cont, uint64_t count, uint64_t *first) TL_MUST_CHECK;
struct tl_pool *tl_cont_pool(const struct tl_cont *cont); /* any thread, without the lock */
const char *tl_cont_damage(struct tl_cont *cont);     /* for sentences, after -EBADMSG: what is damaged, and where */
const char *tl_cont_name(const struct tl_cont *cont); /* for sentences: the name it was opened by. Likewise */

/* ---- epochs ---- */

int tl_cont_epochs(struct tl_cont *cont, struct tiercel_epochs *out) TL_MUST_CHECK;
int tl_cont_hold(struct tl_cont *cont, uint64_t *epoch, struct tiercel_epochs *out) TL_MUST_CHECK;
int tl_cont_flush(struct tl_cont *cont, uint64_t epoch, struct tiercel_epochs *out) TL_MUST_CHECK;
int tl_cont_commit(struct tl_cont *cont, uint64_t epoch, struct tiercel_epochs *out) TL_MUST_CHECK;
int tl_cont_discard(struct tl_cont *cont, uint64_t first, uint64_t last, struct tiercel_epochs *out) TL_MUST_CHECK;
int tl_cont_slip(struct tl_cont *cont, uint64_t epoch, struct tiercel_epochs *out) TL_MUST_CHECK;
int tl_cont_snapshot(struct tl_cont *cont, uint64_t epoch, bool create) TL_MUST_CHECK;
int tl_cont_snapshots(struct tl_cont *cont, uint64_t *epochs, unsigned *count) TL_MUST_CHECK;

/* Waiting for what others do: look at tl_cont_epochs, then sleep until the container has changed since, or for timeout_ms, and look again; at
 * least once a second, with tl_cont_reap. */
uint32_t tl_cont_changes(struct tl_cont *cont); /* take it before looking */
int tl_cont_sleep(struct tl_cont *cont, uint32_t seen,
                  unsigned timeout_ms);  /* without the lock. 0, -ETIMEDOUT, -EINTR */
void tl_cont_wake(struct tl_cont *cont); /* whoever sleeps, in this process or others, looks again. Without the lock */
/* Closes handles whose processes have all ended. How many, or -errno. */
int tl_cont_reap(struct tl_cont *cont);

/* ---- objects ---- */

int tl_cont_update(struct tl_cont *cont, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                   unsigned flags, const struct tiercel_io *ios, unsigned count, struct tl_error *err) TL_MUST_CHECK;
int tl_cont_fetch(struct tl_cont *cont, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                  unsigned flags, struct tiercel_io *ios, unsigned count, struct tl_error *err) TL_MUST_CHECK;
int tl_cont_punch(struct tl_cont *cont, uint64_t epoch, struct tiercel_oid oid, const struct tiercel_bytes *dkey,
                  const struct tiercel_bytes *akeys, unsigned count, unsigned flags,
                  struct tl_error *err) TL_MUST_CHECK;

int tl_cont_list_objects(struct tl_cont *cont, uint64_t epoch, struct tiercel_anchor *anchor, struct tiercel_oid *oids,
                         unsigned *count) TL_MUST_CHECK;
/* dkey NULL: the dkeys of the object, else the akeys of the dkey. */
int tl_cont_list_keys(struct tl_cont *cont, uint64_t epoch, struct tiercel_oid oid, const struct tiercel_bytes *dkey,
                      struct tiercel_anchor *anchor, void *buf, size_t room, struct tiercel_bytes *keys,
                      unsigned *count) TL_MUST_CHECK;
int tl_cont_list_extents(struct tl_cont *cont, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                         struct tiercel_bytes akey, struct tiercel_anchor *anchor, struct tiercel_extent *extents,
                         unsigned *count, uint64_t *record_size) TL_MUST_CHECK;
int tl_cont_diff(struct tl_cont *cont, uint64_t from, uint64_t to,
                 int (*fn)(void *ctx, const struct tiercel_change *change), void *ctx) TL_MUST_CHECK;
/* Bytes of an array of bytes, holes as zeros; *len: how many there are, which is less at its end. */
int tl_cont_array_read(struct tl_cont *cont, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                       struct tiercel_bytes akey, uint64_t offset, void *bytes, uint64_t *len,
                       struct tl_error *err) TL_MUST_CHECK;
/* The first record behind the last one of an array that there is. 0: none. */
int tl_cont_array_end(struct tl_cont *cont, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                      struct tiercel_bytes akey, uint64_t *end) TL_MUST_CHECK;
/* Records of an array are there no more. */
int tl_cont_array_clear(struct tl_cont *cont, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                        struct tiercel_bytes akey, struct tiercel_extent extent, struct tl_error *err) TL_MUST_CHECK;

/* A piece of the work of aggregation: some thousand records, so that others get the lock in between. 1: there is more; 0: done; -EBUSY: another
 * process does it; -errno. Who stops before the end calls tl_cont_aggregate_end. */
struct tl_aggregation { /* all 0 at first */
    struct tiercel_aggregated done;
    int stage;
    bool punches; /* there are some */
    uint8_t at[TL_STORE_KEY_MAX];
    uint32_t at_len;
    struct tl_epoch_tomb *tombs; /* to be forgotten at the end */
    uint32_t tomb_count;
};
int tl_cont_aggregate(struct tl_cont *cont, struct tl_aggregation *a) TL_MUST_CHECK;
void tl_cont_aggregate_end(struct tl_cont *cont, struct tl_aggregation *a);

/* ---- copying: without tl_pool_lock, which is taken for each step ---- */

struct tl_copy_config {
    const char *label; /* NULL: the source's */
    struct tiercel_copy_options options;
    const _Atomic int *stop; /* != 0: -ECANCELED; NULL: never */
};
int tl_cont_copy(struct tl_cont *from, struct tl_pool *to, const struct tl_copy_config *config,
                 struct tiercel_copied *out, struct tl_error *err) TL_MUST_CHECK;

/* ---- locks: without tl_pool_lock, since they wait ---- */

struct tl_lock;
/* stop: looked at from time to time; *stop != 0 gives -ECANCELED. NULL: never. */
int tl_cont_lock(struct tl_cont *cont, const char *name, bool exclusive, int timeout_ms, const _Atomic int *stop,
                 struct tl_lock **out, struct tiercel_lock_value *value) TL_MUST_CHECK;
int tl_cont_unlock(struct tl_lock *lock, const struct tiercel_lock_value *value);

#endif
