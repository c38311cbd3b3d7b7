// SPDX-License-Identifier: Apache-2.0
/* Locks of a container, with a value that goes from holder to holder: the store's. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pool/internal.h"

struct tl_lock {
    struct tl_shared *shared;
    struct tl_store_lock *lock;
    bool exclusive;
};

/* Whoever held the lock may have died with it. What it wrote and did not commit has to be gone before the next one looks. */
static int bury(struct tl_cont *c)
{
    tl_pool_lock(c->pool);
    int rc = tl_cont_reap(c);
    tl_pool_unlock(c->pool);
    return rc < 0 ? rc : 0;
}

int tl_cont_lock(struct tl_cont *c, const char *name, bool exclusive, int timeout_ms, const _Atomic int *stop,
                 struct tl_lock **out, struct tiercel_lock_value *value)
{
    struct tl_shared *s = c->pool->shared;
    struct tl_store_lock_value v;
    struct tl_lock *l = malloc(sizeof *l);
    if (l == NULL)
        return -ENOMEM;
    *l = (struct tl_lock){.shared = s, .exclusive = exclusive};
    int rc = exclusive && (c->flags & TIERCEL_RW) == 0 ? -EACCES : 0;
    if (rc == 0)
        rc = s->store->ops->lock(s->store, &c->id, (struct tl_slice){name, strlen(name)}, exclusive, timeout_ms, stop,
                                 &l->lock, &v);
    if (rc == 0 && !v.valid) {
        rc = bury(c);
        if (rc != 0)
            (void)s->store->ops->unlock(s->store, l->lock, NULL);
    }
    if (rc != 0) {
        free(l);
        return rc;
    }
    s->refs++;
    *out = l;
    if (value != NULL) {
        *value = (struct tiercel_lock_value){.valid = v.valid, .epoch = v.epoch};
        memcpy(value->user, v.user, sizeof value->user);
    }
    return 0;
}

int tl_cont_unlock(struct tl_lock *l, const struct tiercel_lock_value *value)
{
    struct tl_store *s = l->shared->store;
    struct tl_store_lock_value v = {.valid = value != NULL && value->valid, .epoch = value != NULL ? value->epoch : 0};
    if (value != NULL)
        memcpy(v.user, value->user, sizeof v.user);
    int rc = s->ops->unlock(s, l->lock, value != NULL && l->exclusive ? &v : NULL);
    pthread_mutex_lock(&l->shared->mutex);
    tl_shared_release(l->shared);
    free(l);
    return rc;
}
