// SPDX-License-Identifier: Apache-2.0
/* Pools (tiercel/pool.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/engine.h"

static int fail(struct tiercel_error *err, enum tl_verb verb, const char *uri, int rc, const struct tl_error *inner)
{
    const struct tl_about about = {.verb = verb, .kind = "pool", .name = uri};
    return tl_why_failed(err, &about, rc, inner);
}

/* Parameters that all have: 0 or -EINVAL. */
static int check_uri(struct tiercel_error *err, enum tl_verb verb, const char *uri)
{
    if (uri == NULL || *uri == 0)
        return fail(err, verb, NULL, -EINVAL, NULL);
    return 0;
}

int tiercel_pool_create_with(const char *uri, const struct tiercel_pool_options *options, struct tiercel_error *err)
{
    struct tl_error inner = {.code = 0};
    int rc = check_uri(err, TL_DO_POOL_CREATE, uri);
    if (rc != 0)
        return rc;
    for (size_t i = 0; options != NULL && i < sizeof options->reserved / sizeof *options->reserved; i++)
        if (options->reserved[i] != 0)
            return tl_why_fail(err, -EINVAL, "pool %s: options.reserved must be 0", uri);
    rc = tl_pool_create(uri, options, &inner);
    return rc == 0 ? 0 : fail(err, TL_DO_POOL_CREATE, uri, rc, &inner);
}

int tiercel_pool_create(const char *uri, struct tiercel_error *err)
{
    return tiercel_pool_create_with(uri, NULL, err);
}

/* From here on `inner` is the new struct's, or gone. */
static int wrap(struct tiercel_pool **out, struct tl_pool *inner, const char *name, struct tiercel_error *err)
{
    *out = tl_pool_wrap(inner, name);
    if (*out != NULL)
        return 0;
    int rc = tl_pool_disconnect(inner);
    (void)rc;
    return fail(err, TL_DO_POOL_CONNECT, name, -ENOMEM, NULL);
}

int tiercel_pool_connect(struct tiercel_pool **out, const char *uri, unsigned flags, struct tiercel_error *err)
{
    struct tl_error why = {.code = 0};
    struct tl_pool *inner = NULL;
    int rc = check_uri(err, TL_DO_POOL_CONNECT, uri);
    if (rc != 0)
        return rc;
    if (out == NULL || (flags != TIERCEL_RO && flags != TIERCEL_RW && flags != TIERCEL_EX))
        return tl_why_fail(err, -EINVAL, "pool %s: connect with TIERCEL_RO, TIERCEL_RW or TIERCEL_EX", uri);
    rc = tl_pool_connect(&inner, uri, flags, &why);
    return rc == 0 ? wrap(out, inner, uri, err) : fail(err, TL_DO_POOL_CONNECT, uri, rc, &why);
}

int tiercel_pool_disconnect(struct tiercel_pool *pool)
{
    if (pool == NULL)
        return 0;
    const struct tl_about about = {.verb = TL_DO_POOL_DISCONNECT, .kind = "pool", .name = pool->name};
    tl_pool_end_calls(pool);
    int rc = tl_pool_disconnect(pool->inner);
    if (rc < 0)
        tl_why_failed(NULL, &about, rc, NULL);
    tl_pool_unref_public(pool);
    return rc;
}

int tiercel_pool_classes(struct tiercel_pool *pool, unsigned *classes, unsigned *count)
{
    if (pool == NULL || count == NULL || (classes == NULL && *count > 0))
        return fail(NULL, TL_DO_POOL_QUERY, NULL, pool == NULL ? -EBADF : -EINVAL, NULL);
    int rc = tl_enter(pool);
    if (rc == 0) {
        rc = tl_pool_classes(pool->inner, classes, count);
        tl_leave(pool);
    }
    return rc >= 0 ? rc : fail(NULL, TL_DO_POOL_QUERY, pool->name, rc, NULL);
}

int tiercel_pool_evict(const char *uri, struct tiercel_error *err)
{
    struct tl_error inner = {.code = 0};
    int rc = check_uri(err, TL_DO_POOL_EVICT, uri);
    if (rc != 0)
        return rc;
    rc = tl_pool_evict(uri, &inner);
    return rc >= 0 ? rc : fail(err, TL_DO_POOL_EVICT, uri, rc, &inner);
}

int tiercel_pool_destroy(const char *uri, unsigned flags, struct tiercel_error *err)
{
    struct tl_error inner = {.code = 0};
    int rc = check_uri(err, TL_DO_POOL_DESTROY, uri);
    if (rc != 0)
        return rc;
    if ((flags & ~TIERCEL_FORCE) != 0)
        return tl_why_fail(err, -EINVAL, "pool %s: destroy it with TIERCEL_FORCE or 0", uri);
    rc = tl_pool_destroy(uri, flags, &inner);
    return rc == 0 ? 0 : fail(err, TL_DO_POOL_DESTROY, uri, rc, &inner);
}

/* The user's function, called while the pool is locked. */
struct teller {
    void (*tell)(void *ctx, const char *finding);
    void *ctx;
};

static void tell(void *ctx, const char *finding)
{
    const struct teller *t = ctx;
    if (t->tell == NULL)
        return;
    tl_callback_begin();
    t->tell(t->ctx, finding);
    tl_callback_end();
}

int tiercel_pool_check(struct tiercel_pool *pool, int repair, void (*fn)(void *ctx, const char *finding), void *ctx)
{
    struct teller t = {.tell = fn, .ctx = ctx};
    if (pool == NULL)
        return fail(NULL, TL_DO_POOL_CHECK, NULL, -EBADF, NULL);
    int rc = tl_enter(pool);
    if (rc == 0) {
        rc = tl_pool_check(pool->inner, repair, tell, &t);
        tl_leave(pool);
    }
    return rc >= 0 ? rc : fail(NULL, TL_DO_POOL_CHECK, pool->name, rc, NULL);
}

int tiercel_pool_local2global(struct tiercel_pool *pool, void *buf, size_t *len)
{
    if (pool == NULL || len == NULL)
        return fail(NULL, TL_DO_SHARE, NULL, pool == NULL ? -EBADF : -EINVAL, NULL);
    int rc = tl_enter(pool);
    if (rc == 0) {
        rc = tl_pool_local2global(pool->inner, buf, len);
        tl_leave(pool);
    }
    return rc == 0 ? 0 : fail(NULL, TL_DO_SHARE, pool->name, rc, NULL);
}

int tiercel_pool_global2local(struct tiercel_pool **out, const void *buf, size_t len, struct tiercel_error *err)
{
    struct tl_error why = {.code = 0};
    struct tl_pool *inner = NULL;
    if (out == NULL || buf == NULL)
        return fail(err, TL_DO_ATTACH, NULL, -EINVAL, NULL);
    int rc = tl_pool_global2local(&inner, buf, len, &why);
    if (rc != 0)
        return fail(err, TL_DO_ATTACH, NULL, rc, &why);
    struct tiercel_pool_info *info = malloc(sizeof *info); /* for its name only: it is large */
    tl_pool_lock(inner);
    rc = info != NULL ? tl_pool_query(inner, info) : -ENOMEM;
    tl_pool_unlock(inner);
    rc = wrap(out, inner, rc == 0 ? info->uri : "from another process", err);
    free(info);
    return rc;
}
