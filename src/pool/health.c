// SPDX-License-Identifier: Apache-2.0
/* How the place is in which a pool lives: what the store says, in the words of tiercel/pool.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "pool/internal.h"

_Static_assert((int)TIERCEL_POOL_UNKNOWN == (int)TL_STORE_UNKNOWN &&
                   (int)TIERCEL_POOL_HEALTHY == (int)TL_STORE_HEALTHY &&
                   (int)TIERCEL_POOL_REBUILDING == (int)TL_STORE_REBUILDING &&
                   (int)TIERCEL_POOL_DEGRADED == (int)TL_STORE_DEGRADED &&
                   (int)TIERCEL_POOL_UNAVAILABLE == (int)TL_STORE_UNAVAILABLE,
               "the same states");

static void health(struct tl_store *s, const _Atomic int *stop, struct tiercel_pool_health *out, uint32_t *redundancy)
{
    struct tl_store_health h;
    *out = (struct tiercel_pool_health){.state = TIERCEL_POOL_UNKNOWN, .asked = 1};
    *redundancy = 0;
    if (s->ops->health(s, stop, &h) != 0)
        return;
    *out = (struct tiercel_pool_health){.asked = 1,
                                        .map_version = h.map_version,
                                        .state = (uint32_t)h.state,
                                        .known = TIERCEL_KNOWS_TARGETS,
                                        .targets = h.targets,
                                        .targets_up = h.up,
                                        .targets_in = h.in,
                                        .targets_disabled = h.disabled,
                                        .silent = (uint32_t)(h.silent + 1)};
    *redundancy = h.redundancy;
    if (!h.rebuild_known)
        return;
    const uint64_t away = h.missing + h.misplaced;
    out->known |= TIERCEL_KNOWS_REBUILD;
    out->rebuild_total = h.copies;
    out->rebuild_done = h.copies > away ? h.copies - away : 0;
    out->missing = h.missing;
}

void tl_pool_health(struct tl_pool *p, const _Atomic int *stop, struct tiercel_pool_health *out, uint32_t *redundancy)
{
    health(p->shared->store, stop, out, redundancy);
}

struct teller {
    int (*fn)(void *ctx, const struct tiercel_pool_target *target);
    void *ctx;
};

static int tell(void *ctx, const struct tl_store_target *t)
{
    const struct teller *teller = ctx;
    struct tiercel_pool_target target = {.number = t->number,
                                         .up = t->up,
                                         .in = t->in,
                                         .known = t->total_bytes > 0,
                                         .total_bytes = t->total_bytes,
                                         .used_bytes = t->used_bytes};
    snprintf(target.host, sizeof target.host, "%.63s", t->host);
    return teller->fn(teller->ctx, &target);
}

static int targets(struct tl_store *s, int (*fn)(void *ctx, const struct tiercel_pool_target *target), void *ctx)
{
    struct teller teller = {fn, ctx};
    return s->ops->targets(s, tell, &teller);
}

int tl_pool_targets(struct tl_pool *p, int (*fn)(void *ctx, const struct tiercel_pool_target *target), void *ctx)
{
    return targets(p->shared->store, fn, ctx);
}

int tl_pool_look(const char *uri, struct tiercel_pool_info *out,
                 int (*fn)(void *ctx, const struct tiercel_pool_target *target), void *ctx, struct tl_error *err)
{
    struct tl_store *s;
    int rc = tl_shared_ask(&s, uri, err);
    if (rc != 0)
        return rc;
    *out = (struct tiercel_pool_info){.containers = 0};
    snprintf(out->uri, sizeof out->uri, "%.4080s", uri);
    health(s, NULL, &out->health, &out->redundancy);
    if (fn != NULL)
        rc = targets(s, fn, ctx);
    if (rc == -ETIMEDOUT)
        tl_error_set(err, rc,
                     "pool %s: no monitor of the cluster has answered in time; are they up, and reachable from here?",
                     uri);
    else if (rc < 0)
        tl_error_set(err, rc, "pool %s: its targets cannot be listed: %s", uri, tl_store_strerror(rc));
    s->ops->close(s);
    return rc;
}

void tl_pool_rest(struct tl_pool *p)
{
    p->shared->store->ops->rest(p->shared->store);
}
