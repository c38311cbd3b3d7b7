// SPDX-License-Identifier: Apache-2.0
/* The object that says what a namespace is: making, reading and destroying pools; see rados.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/rados_plan.h"

#define POOL   "pool" /* the object that says what the namespace is */
#define FORMAT "tiercel-rados 1"
#define RUINED "destroyed" /* as its format: what is there is waiting to be taken away */
#define SHARDS 16u

#define OWN_MAX (64u << 10) /* bytes of the list of what was made for a pool */

/* The RADOS pool of state and index. */
static int open_meta(struct tl_rados *r, bool create, struct tl_error *err)
{
    const struct tl_rados_where *w = &r->where;
    struct tl_error why = {.code = 0};
    int rc = tl_rados_open_io(r, w->meta, &r->meta, &why);
    if (rc != -ENODEV || !w->own)
        return rc == 0 ? 0 : tl_error_set(err, rc, "%s", why.msg);
    if (create)
        return tl_error_set(
            err, -EINVAL,
            "pool %s: name the replicated RADOS pool that it is to be in with pool=, or have RADOS pools "
            "made for it: tiercel pool create --size BYTES",
            w->uri);
    return tl_error_set(
        err, -ENOENT,
        "pool %s is not there: the cluster has no RADOS pool '%s'; if it is in another one, say so with "
        "pool=",
        w->uri, w->meta);
}

/* One operation: it is there as a whole, or not at all. The omap entry is there to be refused by an erasure-coded pool. own: what was made
 * for it; NULL: nothing. */
static int make_pool(struct tl_rados *r, const char *own, struct tl_error *err)
{
    const struct tl_rados_where *w = &r->where;
    const char *key = "format", *value = FORMAT;
    size_t key_len = strlen(key), value_len = strlen(value);
    char shards[8], data[TL_RADOS_TEXT];
    int rc = tl_rados_data_find(r, err);
    if (rc != 0)
        return rc;
    tl_rados_data_text(r, data);
    snprintf(shards, sizeof shards, "%u", SHARDS);
    rados_write_op_t op = r->lib->create_write_op();
    r->lib->write_op_create(op, LIBRADOS_CREATE_EXCLUSIVE, NULL);
    r->lib->write_op_setxattr(op, "format", FORMAT, strlen(FORMAT));
    r->lib->write_op_setxattr(op, "shards", shards, strlen(shards));
    r->lib->write_op_setxattr(op, "data", data, strlen(data));
    if (own != NULL)
        r->lib->write_op_setxattr(op, "own", own, strlen(own));
    r->lib->write_op_omap_set2(op, &key, &value, &key_len, &value_len, 1);
    rc = tl_rados_write_op(r, op, POOL);
    tl_rados_data_close(r);
    if (rc == -EEXIST)
        return tl_error_set(err, rc, "pool %s is there already in RADOS pool '%s'; choose another name", w->uri,
                            w->meta);
    if (rc == -EPERM || rc == -EACCES)
        return tl_error_set(
            err, -EACCES,
            "pool %s cannot be made: client.%s may not write to RADOS pool '%s'; it needs osd 'allow rwx "
            "pool=%s'",
            w->uri, w->user, w->meta, w->meta);
    if (rc == -EOPNOTSUPP)
        return tl_error_set(err, rc,
                            "pool %s cannot be made: RADOS pool '%s' is erasure-coded, and cannot hold an index; "
                            "name a replicated one with pool=, and this one with data=",
                            w->uri, w->meta);
    return rc == 0 ? 0 : tl_error_set(err, rc, "pool %s cannot be made: %s", w->uri, tl_store_strerror(rc));
}

static int get_text(struct tl_rados *r, const char *name, char *out, size_t size)
{
    int rc = tl_rados_getxattr(r, POOL, name, out, size - 1);
    out[rc < 0 ? 0 : rc] = 0;
    return rc < 0 ? rc : 0;
}

static int load_pool(struct tl_rados *r, bool to_destroy, struct tl_error *err)
{
    const struct tl_rados_where *w = &r->where;
    char format[64], shards[8], data[TL_RADOS_TEXT];
    int rc = get_text(r, "format", format, sizeof format);
    bool ruined = rc == 0 && strcmp(format, RUINED) == 0;
    if (rc == -ENOENT || (ruined && !to_destroy))
        return tl_error_set(err, -ENOENT, "%s in RADOS pool '%s' is no pool%s", w->uri, w->meta,
                            ruined ? ": it was being destroyed; destroy it again"
                                   : "; make one with: tiercel pool create URI");
    if (rc == 0 && !ruined && strcmp(format, FORMAT) != 0)
        return tl_error_set(err, -EPROTO,
                            "pool %s has the format \"%s\", which this release does not know; it needs a newer "
                            "one",
                            w->uri, format);
    rc = rc == 0 ? get_text(r, "shards", shards, sizeof shards) : rc;
    rc = rc == 0 ? get_text(r, "data", data, sizeof data) : rc;
    if (rc == -ETIMEDOUT) {
        pthread_mutex_lock(&r->mutex);
        tl_error_set(err, rc,
                     "pool %s cannot be read now: object %s; see what is down with `tiercel pool query`, and try again",
                     w->uri, r->why);
        pthread_mutex_unlock(&r->mutex);
        return rc;
    }
    if (rc != 0)
        return tl_error_set(err, rc, "pool %s cannot be read: %s", w->uri, tl_store_strerror(rc));
    r->shards = (uint32_t)strtoul(shards, NULL, 10);
    if (r->shards == 0 || r->shards > 1024)
        return tl_error_set(err, -EBADMSG, "pool %s says that its index has %.8s shards", w->uri, shards);
    return tl_rados_data_open(r, data, err);
}

static int have_open(struct tl_rados *r, bool exclusive, struct tl_error *err)
{
    r->open = (struct tl_rados_lease){.object = {POOL}, .again = true};
    snprintf(r->open.cookie, sizeof r->open.cookie, "%016llx", (unsigned long long)r->writer);
    int rc = tl_rados_open_begin(r, exclusive);
    if (r->read_only && (rc == -EPERM || rc == -EACCES))
        return 0;
    rc = rc == 0 ? tl_rados_keeper_start(r) : rc;
    if (rc == -EBUSY)
        return tl_error_set(err, rc, "pool %s %s", r->where.uri,
                            exclusive ? "cannot be destroyed: a process has it open, or died less than its lease ago"
                                      : "is being destroyed, or repaired");
    if (rc == -EPERM || rc == -EACCES)
        return tl_error_set(err, -EROFS, "pool %s: client.%s may not write to RADOS pool '%s'", r->where.uri,
                            r->where.user, r->where.meta);
    return rc == 0 ? 0 : tl_error_set(err, rc, "pool %s: %s", r->where.uri, tl_store_strerror(rc));
}

static int open_pool(struct tl_rados *r, bool create, struct tl_error *err)
{
    int rc = open_meta(r, create, err);
    rc = rc == 0 && create ? make_pool(r, NULL, err) : rc;
    bool made = rc == 0 && create;
    r->is_new = made;
    rc = rc == 0 ? load_pool(r, false, err) : rc;
    rc = rc == 0 ? have_open(r, false, err) : rc;
    if (rc != 0 && made)
        (void)!r->lib->remove(r->meta, POOL);
    return rc;
}

int tl_store_rados_open(struct tl_store **out, const char *uri, const struct tl_store_config *config,
                        struct tl_error *err)
{
    struct tl_rados *r;
    int rc = tl_rados_begin(&r, uri, config, err);
    if (rc != 0)
        return rc;
    rc = config->ask_only ? 0 : open_pool(r, config->create, err);
    if (rc == 0 && tl_rados_asker_new(&r->asker, r) != 0)
        rc = tl_error_set(err, -ENOMEM, "pool %s: out of memory", r->where.uri);
    if (rc == 0)
        *out = &r->store;
    else
        tl_rados_close(&r->store);
    return rc;
}

/* ---- with RADOS pools of its own ---- */

static int make_own(struct tl_rados *r, const struct tl_rados_plan *p, struct tl_error *err)
{
    json_t *made = NULL;
    struct tl_error left = {.code = 0};
    int rc = tl_rados_plan_make(p, &made, err);
    if (rc != 0)
        return rc;
    char name[TL_RADOS_OWN], *own = json_dumps(made, JSON_COMPACT);
    for (unsigned i = 0; i < p->class_count; i++) {
        size_t len = strlen(r->where.data);
        tl_rados_plan_name(p, i, name);
        check(len + strlen(name) + 2 <= sizeof r->where.data);
        snprintf(r->where.data + len, sizeof r->where.data - len, "%s%s", i > 0 ? "," : "", name);
    }
    rc = own == NULL || strlen(own) >= OWN_MAX ? tl_error_set(err, -E2BIG, "pool %s: too many hosts", r->where.uri) : 0;
    rc = rc == 0 ? open_meta(r, true, err) : rc;
    rc = rc == 0 ? make_pool(r, own, err) : rc;
    if (rc != 0 && r->meta != NULL) {
        r->lib->ioctx_destroy(r->meta);
        r->meta = NULL;
    }
    if (rc != 0 && tl_rados_unmake(r, made, &left) != 0 && err != NULL)
        snprintf(err->msg + strlen(err->msg), sizeof err->msg - strlen(err->msg), "; %s", left.msg);
    free(own);
    json_decref(made);
    return rc;
}

int tl_store_rados_make(const char *uri, const struct tl_store_wish *wish, struct tl_error *err)
{
    const struct tl_store_config config = {.create = true};
    struct tl_rados_plan plan;
    struct tl_rados *r;
    int rc = tl_rados_begin(&r, uri, &config, err);
    if (rc != 0)
        return rc;
    if (!r->where.own || r->where.data[0] != 0)
        rc = tl_error_set(err, -EINVAL,
                          "pool %s: a size, nodes and object classes are for RADOS pools that are made for it; leave "
                          "pool= and data= out, which name some that are there",
                          r->where.uri);
    rc = rc == 0 ? tl_rados_plan(&plan, r, wish, err) : rc;
    if (rc == 0) {
        rc = make_own(r, &plan, err);
        tl_rados_plan_fini(&plan);
    }
    tl_rados_close(&r->store);
    return rc;
}

/* ---- destroying ---- */

struct removal {
    struct tl_rados *r;
    rados_ioctx_t io;
};

static int remove_one(void *ctx, const char *name)
{
    const struct removal *x = ctx;
    int rc = strcmp(name, POOL) == 0 ? 0 : tl_rados_error(x->r->lib->remove(x->io, name));
    return rc == -ENOENT ? 0 : rc;
}

static int remove_contents(struct tl_rados *r)
{
    struct removal meta = {r, r->meta};
    int rc = tl_rados_error(r->lib->setxattr(r->meta, POOL, "format", RUINED, strlen(RUINED)));
    for (unsigned i = 0; rc == 0 && i < r->classes.count; i++) {
        struct removal data = {r, r->data[i].io};
        rc = tl_rados_each_object(r, data.io, remove_one, &data);
    }
    return rc == 0 ? tl_rados_each_object(r, r->meta, remove_one, &meta) : rc;
}

/* The RADOS pools with it, if it has its own; the one of state and index, in which the list is, comes last of them. */
static int remove_own(struct tl_rados *r, const char *own, struct tl_error *err)
{
    json_t *made = json_loads(own, 0, NULL);
    if (made == NULL)
        return tl_error_set(err, -EBADMSG, "pool %s: the list of what was made for it is damaged", r->where.uri);
    tl_rados_keeper_stop(r);
    tl_rados_data_close(r);
    r->lib->ioctx_destroy(r->meta);
    r->meta = NULL;
    struct tl_error why = {.code = 0};
    int rc = tl_rados_unmake(r, made, &why);
    json_decref(made);
    return rc == 0 ? 0 : tl_error_set(err, rc, "%s; its contents are gone; then destroy it again", why.msg);
}

/* There is no pool of this name; but if one was made halfway by a process that was killed, that is taken away. why: that there is none. */
static int remove_left(struct tl_rados *r, const struct tl_error *why, struct tl_error *err)
{
    json_t *left = NULL;
    if (!r->where.own)
        return tl_error_set(err, why->code, "%s", why->msg);
    if (r->meta != NULL) {
        r->lib->ioctx_destroy(r->meta);
        r->meta = NULL;
    }
    int rc = tl_rados_left(r, &left, err);
    if (rc == 0 && json_array_size(left) == 0)
        rc = tl_error_set(err, why->code, "%s", why->msg);
    rc = rc == 0 ? tl_rados_unmake(r, left, err) : rc;
    json_decref(left);
    return rc;
}

static int destroy_pool(struct tl_rados *r, char *own, struct tl_error *err)
{
    struct tl_error why = {.code = 0};
    int rc = open_meta(r, false, &why);
    rc = rc == 0 ? load_pool(r, true, &why) : rc;
    if (rc == -ENOENT)
        return remove_left(r, &why, err);
    if (rc != 0)
        return tl_error_set(err, rc, "%s", why.msg);
    rc = have_open(r, true, err);
    if (rc != 0)
        return rc;
    rc = remove_contents(r);
    int has = rc == 0 ? get_text(r, "own", own, OWN_MAX) : rc;
    if (has == 0)
        return remove_own(r, own, err);
    rc = has == -ENOENT ? tl_rados_error(r->lib->remove(r->meta, POOL)) : has;
    if (rc != 0)
        tl_error_set(err, rc, "pool %s was not destroyed to its end: %s; destroy it again", r->where.uri,
                     tl_store_strerror(rc));
    return rc;
}

int tl_store_rados_destroy(const char *uri, struct tl_error *err)
{
    const struct tl_store_config config = {.create = false};
    struct tl_rados *r;
    char *own = calloc(1, OWN_MAX);
    int rc = own != NULL ? tl_rados_begin(&r, uri, &config, err) : tl_error_set(err, -ENOMEM, "out of memory");
    if (rc == 0) {
        rc = destroy_pool(r, own, err);
        tl_rados_close(&r->store);
    }
    free(own);
    return rc;
}
