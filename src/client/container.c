// SPDX-License-Identifier: Apache-2.0
/* Containers and their attributes (tiercel/pool.h). What calls back is collected first, so that callbacks may call the library. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "client/engine.h"

#define ATTR_NAME_MAX 255u

/* Of a container that is not open: `name` is what the caller calls it. */
static int fail(struct tiercel_error *err, enum tl_verb verb, const char *name, int rc, const struct tl_error *inner)
{
    const struct tl_about about = {.verb = verb, .kind = "container", .name = name};
    return tl_why_failed(err, &about, rc, inner);
}

static int fail_attr(struct tiercel_cont *cont, enum tl_verb verb, const char *thing, int rc)
{
    const struct tl_about about = {
        .verb = verb, .kind = "container", .name = cont != NULL ? tl_cont_name(cont->inner) : NULL, .thing = thing};
    return tl_why_failed(NULL, &about, rc, NULL);
}

/* 0, -EBADF: no pool, -EINVAL: no name. */
static int check_named(struct tiercel_error *err, enum tl_verb verb, struct tiercel_pool *pool, const char *name)
{
    if (pool == NULL)
        return fail(err, verb, name, -EBADF, NULL);
    return name != NULL && *name != 0 ? 0 : fail(err, verb, NULL, -EINVAL, NULL);
}

int tiercel_cont_create(struct tiercel_pool *pool, const char *label, struct tiercel_uuid *uuid,
                        struct tiercel_error *err)
{
    struct tl_error inner = {.code = 0};
    if (pool == NULL)
        return fail(err, TL_DO_CONT_CREATE, label, -EBADF, NULL);
    int rc = tl_enter(pool);
    if (rc == 0) {
        rc = tl_cont_create(pool->inner, label, uuid, &inner);
        tl_leave(pool);
    }
    return rc == 0 ? 0 : fail(err, TL_DO_CONT_CREATE, label, rc, &inner);
}

int tiercel_cont_destroy(struct tiercel_pool *pool, const char *name, unsigned flags, struct tiercel_error *err)
{
    struct tl_error inner = {.code = 0};
    int rc = check_named(err, TL_DO_CONT_DESTROY, pool, name);
    if (rc == 0 && (flags & ~TIERCEL_FORCE) != 0)
        return tl_why_fail(err, -EINVAL, "container %s: destroy it with TIERCEL_FORCE or 0", name);
    if (rc != 0)
        return rc;
    rc = tl_enter(pool);
    if (rc == 0) {
        rc = tl_cont_destroy(pool->inner, name, flags, &inner);
        tl_leave(pool);
    }
    return rc == 0 ? 0 : fail(err, TL_DO_CONT_DESTROY, name, rc, &inner);
}

int tiercel_cont_evict(struct tiercel_pool *pool, const char *name, struct tiercel_error *err)
{
    struct tl_error inner = {.code = 0};
    int rc = check_named(err, TL_DO_CONT_EVICT, pool, name);
    if (rc != 0)
        return rc;
    rc = tl_enter(pool);
    if (rc == 0) {
        rc = tl_cont_evict(pool->inner, name, &inner);
        tl_leave(pool);
    }
    return rc >= 0 ? rc : fail(err, TL_DO_CONT_EVICT, name, rc, &inner);
}

/* ---- listing ---- */

/* What a list has, one after the other. */
struct collected {
    uint8_t *list;
    size_t count, room;
};

static int collect(struct collected *x, const void *entry, size_t size)
{
    if (x->count == x->room) {
        size_t room = x->room > 0 ? x->room * 2 : 16;
        uint8_t *list = reallocarray(x->list, room, size);
        if (list == NULL)
            return -ENOMEM;
        x->list = list;
        x->room = room;
    }
    memcpy(x->list + x->count++ * size, entry, size);
    return 0;
}

static int collect_info(void *ctx, const struct tiercel_cont_info *info)
{
    return collect(ctx, info, sizeof *info);
}

static int collect_handle(void *ctx, const struct tiercel_handle_info *info)
{
    return collect(ctx, info, sizeof *info);
}

int tiercel_cont_list(struct tiercel_pool *pool, int (*fn)(void *ctx, const struct tiercel_cont_info *info), void *ctx)
{
    struct collected x = {.list = NULL};
    struct tl_error inner = {.code = 0};
    int stopped = 0;
    const struct tl_about about = {.verb = TL_DO_CONT_LIST, .kind = "pool", .name = pool != NULL ? pool->name : NULL};
    if (pool == NULL || fn == NULL)
        return tl_why_failed(NULL, &about, pool == NULL ? -EBADF : -EINVAL, NULL);
    int rc = tl_enter(pool);
    if (rc == 0) {
        rc = tl_cont_list(pool->inner, collect_info, &x, &inner);
        tl_leave(pool);
    }
    for (size_t i = 0; stopped == 0 && i < x.count; i++)
        stopped = fn(ctx, &((const struct tiercel_cont_info *)(const void *)x.list)[i]);
    if (stopped == 0 && rc < 0)
        tl_why_failed(NULL, &about, rc, &inner);
    free(x.list);
    return stopped != 0 ? stopped : rc;
}

int tiercel_cont_list_handles(struct tiercel_pool *pool, const char *name,
                              int (*fn)(void *ctx, const struct tiercel_handle_info *info), void *ctx)
{
    struct collected x = {.list = NULL};
    int rc = check_named(NULL, TL_DO_HANDLE_LIST, pool, name);
    if (rc != 0)
        return rc;
    if (fn == NULL)
        return fail(NULL, TL_DO_HANDLE_LIST, name, -EINVAL, NULL);
    rc = tl_enter(pool);
    if (rc == 0) {
        rc = tl_cont_list_handles(pool->inner, name, collect_handle, &x);
        tl_leave(pool);
    }
    if (rc < 0)
        fail(NULL, TL_DO_HANDLE_LIST, name, rc, NULL);
    for (size_t i = 0; rc == 0 && i < x.count; i++)
        rc = fn(ctx, &((const struct tiercel_handle_info *)(const void *)x.list)[i]);
    free(x.list);
    return rc;
}

/* ---- opening and closing ---- */

/* From here on `inner` is the new struct's, or gone. */
static int wrap(struct tiercel_cont **out, struct tl_cont *inner, struct tiercel_pool *pool, const char *name,
                struct tiercel_error *err)
{
    *out = tl_cont_wrap(inner, pool);
    if (*out != NULL)
        return 0;
    int rc = tl_cont_close(inner);
    (void)rc;
    return fail(err, TL_DO_CONT_OPEN, name, -ENOMEM, NULL);
}

int tiercel_cont_open(struct tiercel_cont **out, struct tiercel_pool *pool, const char *name, unsigned flags,
                      struct tiercel_error *err)
{
    struct tl_error why = {.code = 0};
    struct tl_cont *inner = NULL;
    const unsigned rights = flags & ~TIERCEL_NOSLIP;
    int rc = check_named(err, TL_DO_CONT_OPEN, pool, name);
    if (rc != 0)
        return rc;
    if (out == NULL || (rights != TIERCEL_RO && rights != TIERCEL_RW))
        return tl_why_fail(err, -EINVAL,
                           "container %s: open it with TIERCEL_RO or TIERCEL_RW, and TIERCEL_NOSLIP or nothing", name);
    rc = tl_enter(pool);
    if (rc == 0) {
        rc = tl_cont_open(&inner, pool->inner, name, flags, &why);
        tl_leave(pool);
    }
    return rc == 0 ? wrap(out, inner, pool, name, err) : fail(err, TL_DO_CONT_OPEN, name, rc, &why);
}

int tiercel_cont_open_snapshot(struct tiercel_cont **out, struct tiercel_pool *pool, const char *name, uint64_t epoch,
                               struct tiercel_error *err)
{
    struct tl_error why = {.code = 0};
    struct tl_cont *inner = NULL;
    const struct tl_about about = {.verb = TL_DO_CONT_OPEN_SNAPSHOT, .kind = "container", .name = name, .epoch = epoch};
    int rc = check_named(err, TL_DO_CONT_OPEN_SNAPSHOT, pool, name);
    if (rc != 0)
        return rc;
    if (out == NULL)
        return tl_why_failed(err, &about, -EINVAL, NULL);
    rc = tl_enter(pool);
    if (rc == 0) {
        rc = tl_cont_open_snapshot(&inner, pool->inner, name, epoch, &why);
        tl_leave(pool);
    }
    if (rc != 0)
        return tl_why_failed(err, &about, rc, &why);
    rc = wrap(out, inner, pool, name, err);
    if (rc == 0)
        (*out)->snapshot = epoch;
    return rc;
}

int tiercel_cont_close(struct tiercel_cont *cont)
{
    char name[TIERCEL_LABEL_MAX + 1];
    if (cont == NULL)
        return 0;
    snprintf(name, sizeof name, "%s", tl_cont_name(cont->inner));
    tl_cont_end_calls(cont);
    int rc = tl_cont_close(cont->inner);
    tl_cont_free(cont);
    return rc == 0 ? 0 : fail(NULL, TL_DO_CONT_CLOSE, name, rc, NULL);
}

static int run_query(struct tl_call *call, struct tl_error *err)
{
    (void)err;
    return tl_cont_query(call->cont->inner, call->args.info);
}

int tiercel_cont_query(struct tiercel_cont *cont, struct tiercel_cont_info *out, struct tiercel_event *ev)
{
    if (cont == NULL || out == NULL)
        return fail(NULL, TL_DO_CONT_QUERY, NULL, cont == NULL ? -EBADF : -EINVAL, NULL);
    const struct tl_call call = {
        .run = run_query, .pool = cont->pool, .cont = cont, .verb = TL_DO_CONT_QUERY, .args.info = out};
    return tl_call_make(&call, ev);
}

/* ---- sharing: the inner handle's bytes, and behind them the snapshot at which it was opened ---- */

#define SNAPSHOT_BYTES 8u

static int share(struct tiercel_cont *cont, uint8_t *buf, size_t *len)
{
    size_t room = *len > SNAPSHOT_BYTES ? *len - SNAPSHOT_BYTES : 0;
    int rc = tl_cont_local2global(cont->inner, buf, &room);
    if (rc == 0 || rc == -ENOBUFS)
        *len = room + SNAPSHOT_BYTES;
    if (rc == 0 && buf != NULL)
        tl_put_u64(buf + room, cont->snapshot);
    return rc;
}

int tiercel_cont_local2global(struct tiercel_cont *cont, void *buf, size_t *len)
{
    if (cont == NULL || len == NULL)
        return fail(NULL, TL_DO_SHARE, NULL, cont == NULL ? -EBADF : -EINVAL, NULL);
    int rc = tl_enter(cont->pool);
    if (rc == 0) {
        rc = share(cont, buf, len);
        tl_leave(cont->pool);
    }
    return rc == 0 ? 0 : fail(NULL, TL_DO_SHARE, tl_cont_name(cont->inner), rc, NULL);
}

int tiercel_cont_global2local(struct tiercel_cont **out, struct tiercel_pool *pool, const void *buf, size_t len,
                              struct tiercel_error *err)
{
    struct tl_error why = {.code = 0};
    struct tl_cont *inner = NULL;
    if (pool == NULL || out == NULL || buf == NULL || len < SNAPSHOT_BYTES)
        return fail(err, TL_DO_ATTACH, NULL, pool == NULL ? -EBADF : -EINVAL, NULL);
    len -= SNAPSHOT_BYTES;
    int rc = tl_enter(pool);
    if (rc == 0) {
        rc = tl_cont_global2local(&inner, pool->inner, buf, len, &why);
        tl_leave(pool);
    }
    if (rc != 0)
        return fail(err, TL_DO_ATTACH, NULL, rc, &why);
    rc = wrap(out, inner, pool, "from another process", err);
    if (rc == 0)
        (*out)->snapshot = tl_get_u64((const uint8_t *)buf + len);
    return rc;
}

/* ---- properties ---- */

int tiercel_cont_get_prop(struct tiercel_pool *pool, const char *name, const char *prop, char *out, size_t room,
                          struct tiercel_error *err)
{
    struct tl_error inner = {.code = 0};
    int rc = check_named(err, TL_DO_PROP_GET, pool, name);
    if (rc == 0 && (prop == NULL || out == NULL))
        rc = fail(err, TL_DO_PROP_GET, name, -EINVAL, NULL);
    if (rc != 0)
        return rc;
    rc = tl_enter(pool);
    if (rc == 0) {
        rc = tl_cont_get_prop(pool->inner, name, prop, out, room, &inner);
        tl_leave(pool);
    }
    return rc == 0 ? 0 : fail(err, TL_DO_PROP_GET, name, rc, &inner);
}

int tiercel_cont_set_prop(struct tiercel_pool *pool, const char *name, const char *prop, const char *value,
                          struct tiercel_error *err)
{
    struct tl_error inner = {.code = 0};
    int rc = check_named(err, TL_DO_PROP_SET, pool, name);
    if (rc == 0 && (prop == NULL || value == NULL))
        rc = fail(err, TL_DO_PROP_SET, name, -EINVAL, NULL);
    if (rc != 0)
        return rc;
    rc = tl_enter(pool);
    if (rc == 0) {
        rc = tl_cont_set_prop(pool->inner, name, prop, value, &inner);
        tl_leave(pool);
    }
    return rc == 0 ? 0 : fail(err, TL_DO_PROP_SET, name, rc, &inner);
}

/* ---- attributes ---- */

static int check_attr(struct tiercel_cont *cont, enum tl_verb verb, const char *name)
{
    if (cont == NULL)
        return fail_attr(NULL, verb, name, -EBADF);
    if (name == NULL || *name == 0)
        return fail_attr(cont, verb, name, -EINVAL);
    return strlen(name) <= ATTR_NAME_MAX ? 0 : fail_attr(cont, verb, name, -ENAMETOOLONG);
}

int tiercel_cont_set_attr(struct tiercel_cont *cont, const char *name, const void *value, size_t len)
{
    int rc = check_attr(cont, TL_DO_ATTR_SET, name);
    if (rc == 0 && ((value == NULL && len > 0) || len > TIERCEL_ATTR_MAX))
        rc = fail_attr(cont, TL_DO_ATTR_SET, name, -EINVAL);
    if (rc != 0)
        return rc;
    rc = tl_enter(cont->pool);
    if (rc == 0) {
        rc = tl_cont_set_attr(cont->inner, name, value, len);
        tl_leave(cont->pool);
    }
    return rc == 0 ? 0 : fail_attr(cont, TL_DO_ATTR_SET, name, rc);
}

int tiercel_cont_get_attr(struct tiercel_cont *cont, const char *name, void *value, size_t *len)
{
    int rc = check_attr(cont, TL_DO_ATTR_GET, name);
    if (rc == 0 && len == NULL)
        rc = fail_attr(cont, TL_DO_ATTR_GET, name, -EINVAL);
    if (rc != 0)
        return rc;
    rc = tl_enter(cont->pool);
    if (rc == 0) {
        rc = tl_cont_get_attr(cont->inner, name, value, len);
        tl_leave(cont->pool);
    }
    return rc == 0 ? 0 : fail_attr(cont, TL_DO_ATTR_GET, name, rc);
}

struct attr {
    struct attr *next;
    size_t len;
    char name[];
};
struct attrs {
    struct attr *first, **end;
};

static int collect_attr(void *ctx, const char *name, size_t len)
{
    struct attrs *x = ctx;
    const size_t size = strlen(name) + 1;
    struct attr *a = malloc(sizeof *a + size);
    if (a == NULL)
        return -ENOMEM;
    a->next = NULL;
    a->len = len;
    memcpy(a->name, name, size);
    *x->end = a;
    x->end = &a->next;
    return 0;
}

int tiercel_cont_list_attrs(struct tiercel_cont *cont, int (*fn)(void *ctx, const char *name, size_t len), void *ctx)
{
    struct attrs x = {.first = NULL, .end = &x.first};
    if (cont == NULL || fn == NULL)
        return fail_attr(cont, TL_DO_ATTR_LIST, NULL, cont == NULL ? -EBADF : -EINVAL);
    int rc = tl_enter(cont->pool);
    if (rc == 0) {
        rc = tl_cont_list_attrs(cont->inner, collect_attr, &x);
        tl_leave(cont->pool);
    }
    if (rc < 0)
        fail_attr(cont, TL_DO_ATTR_LIST, NULL, rc);
    for (struct attr *a = x.first, *next; a != NULL; a = next) {
        next = a->next;
        if (rc == 0)
            rc = fn(ctx, a->name, a->len);
        free(a);
    }
    return rc;
}

/* ---- object numbers, and what changed ---- */

int tiercel_oid_allocate(struct tiercel_cont *cont, uint64_t count, uint64_t *first)
{
    if (cont == NULL || first == NULL || count == 0)
        return fail_attr(cont, TL_DO_OID, NULL, cont == NULL ? -EBADF : -EINVAL);
    int rc = tl_enter(cont->pool);
    if (rc == 0) {
        rc = tl_cont_oid_allocate(cont->inner, count, first);
        tl_leave(cont->pool);
    }
    return rc == 0 ? 0 : fail_attr(cont, TL_DO_OID, NULL, rc);
}

struct differ {
    int (*fn)(void *ctx, const struct tiercel_change *change);
    void *ctx;
};

/* There may be more changes than memory, so these are told while the pool is locked. */
static int show_change(void *ctx, const struct tiercel_change *change)
{
    const struct differ *d = ctx;
    tl_callback_begin();
    int rc = d->fn(d->ctx, change);
    tl_callback_end();
    return rc;
}

int tiercel_cont_diff(struct tiercel_cont *cont, uint64_t from, uint64_t to,
                      int (*fn)(void *ctx, const struct tiercel_change *change), void *ctx)
{
    struct differ d = {.fn = fn, .ctx = ctx};
    struct tl_about about = {.verb = TL_DO_DIFF, .kind = "container", .epoch = from, .last = to};
    if (cont == NULL || fn == NULL)
        return tl_why_failed(NULL, &about, cont == NULL ? -EBADF : -EINVAL, NULL);
    about.name = tl_cont_name(cont->inner);
    int rc = tl_enter(cont->pool);
    if (rc == 0) {
        rc = tl_cont_diff(cont->inner, from, to, show_change, &d);
        tl_leave(cont->pool);
    }
    return rc >= 0 ? rc : tl_why_failed(NULL, &about, rc, NULL);
}
