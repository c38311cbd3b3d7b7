// SPDX-License-Identifier: Apache-2.0
/* Opening, making and destroying pools in a Ceph cluster; see rados.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/bytes.h"
#include "store/rados.h"

#define POOL    "pool" /* the object that says what the namespace is */
#define FORMAT  "tiercel-rados 1"
#define RUINED  "destroyed" /* as its format: what is there is waiting to be taken away */
#define SHARDS  16u
#define CONNECT "pool %s: the cluster cannot be reached: "

int tl_rados_error(int rc)
{
    switch (rc) {
    case -EDQUOT: return -ENOSPC; /* the RADOS pool has a quota */
    case -ENODATA: return -ENOENT;
    case -ESHUTDOWN: return -EIO; /* an administrator has shut this client out */
    default: return rc;
    }
}

int tl_rados_write_op(struct tl_rados *r, rados_write_op_t op, const char *object)
{
    int rc = r->lib->write_op_operate2(op, r->meta, object, NULL, 0);
    r->lib->release_write_op(op);
    return tl_rados_error(rc);
}

int tl_rados_read_op(struct tl_rados *r, rados_read_op_t op, const char *object)
{
    int rc = r->lib->read_op_operate(op, r->meta, object, 0);
    r->lib->release_read_op(op);
    return tl_rados_error(rc);
}

struct tl_rados_cont *tl_rados_cont(struct tl_rados *r, const struct tl_store_id *id)
{
    pthread_mutex_lock(&r->mutex);
    struct tl_rados_cont *c = r->conts;
    while (c != NULL && memcmp(c->id.bytes, id->bytes, sizeof id->bytes) != 0)
        c = c->next;
    if (c == NULL && (c = calloc(1, sizeof *c)) != NULL) {
        c->r = r;
        c->id = *id;
        c->name = tl_rados_state_name(id);
        c->next = r->conts;
        r->conts = c;
    }
    pthread_mutex_unlock(&r->mutex);
    return c;
}

int tl_rados_each_object(struct tl_rados *r, rados_ioctx_t io, int (*fn)(void *ctx, const char *name), void *ctx)
{
    rados_list_ctx_t list;
    const char *name;
    size_t len;
    int rc = tl_rados_error(r->lib->nobjects_list_open(io, &list));
    if (rc != 0)
        return rc;
    while (rc == 0 && (rc = r->lib->nobjects_list_next2(list, &name, NULL, NULL, &len, NULL, NULL)) == 0)
        rc = fn(ctx, name);
    r->lib->nobjects_list_close(list);
    return rc == -ENOENT ? 0 : tl_rados_error(rc); /* the end */
}

/* ---- bytes ---- */

static void used_name(uint64_t n, char out[16])
{
    snprintf(out, 16, "u.%u", (unsigned)(n % TL_RADOS_USED));
}

static size_t put_text(char *out, const char *text)
{
    size_t len = strlen(text);
    tl_put_u32(out, (uint32_t)len);
    memcpy(out + 4, text, len);
    return 4 + len;
}

/* By the object class `numops`, which adds decimal numbers in an omap. */
rados_completion_t tl_rados_count(struct tl_rados *r, int64_t bytes, int64_t from)
{
    char args[64], number[24], object[16];
    rados_completion_t done = NULL;
    r->uncounted += bytes;
    if (r->uncounted == 0 || llabs(r->uncounted) < from)
        return NULL;
    if (r->lib->aio_create_completion2(NULL, NULL, &done) != 0)
        return NULL;
    snprintf(number, sizeof number, "%lld", (long long)r->uncounted);
    used_name(r->writer, object);
    size_t len = put_text(args, "bytes");
    len += put_text(args + len, number);
    rados_write_op_t op = r->lib->create_write_op();
    r->lib->write_op_create(op, LIBRADOS_CREATE_IDEMPOTENT, NULL);
    r->lib->write_op_exec(op, "numops", "add", args, len, NULL);
    if (r->lib->aio_write_op_operate(op, r->meta, done, object, NULL, 0) != 0) {
        r->lib->aio_release(done);
        done = NULL;
    }
    r->lib->release_write_op(op);
    if (done != NULL)
        r->uncounted = 0;
    return done;
}

void tl_rados_counted(struct tl_rados *r, rados_completion_t done)
{
    if (done == NULL)
        return;
    r->lib->aio_wait_for_complete(done);
    r->lib->aio_release(done);
}

static int add_used(struct tl_rados *r, unsigned n, double *sum)
{
    char object[16], number[64], *key = NULL, *value = NULL;
    rados_omap_iter_t iter = NULL;
    unsigned char more;
    int rc_iter = 0;
    size_t key_len, len;
    used_name(n, object);
    rados_read_op_t op = r->lib->create_read_op();
    r->lib->read_op_omap_get_vals2(op, "", "", 4, &iter, &more, &rc_iter);
    int rc = tl_rados_error(r->lib->read_op_operate(op, r->meta, object, 0));
    while (rc == 0 && (rc = r->lib->omap_get_next2(iter, &key, &value, &key_len, &len)) == 0 && key != NULL) {
        snprintf(number, sizeof number, "%.*s", (int)(len < 60 ? len : 60), value);
        *sum += strtod(number, NULL);
    }
    if (iter != NULL)
        r->lib->omap_get_end(iter);
    r->lib->release_read_op(op);
    return rc == -ENOENT ? 0 : rc;
}

static int rados_space(struct tl_store *s, struct tl_store_space *out)
{
    struct tl_rados *r = (struct tl_rados *)s;
    struct rados_cluster_stat_t stat = {.kb = 0};
    double used = 0;
    tl_rados_counted(r, tl_rados_count(r, 0, 0));
    int rc = tl_rados_error(r->lib->cluster_stat(r->cluster, &stat)); /* zeros without a manager */
    for (unsigned i = 0; rc == 0 && i < TL_RADOS_USED; i++)
        rc = add_used(r, i, &used);
    if (rc == 0)
        *out = (struct tl_store_space){.total_bytes = stat.kb * 1024,
                                       .free_bytes = stat.kb_avail * 1024,
                                       .used_bytes = used > 0 ? (uint64_t)used : 0};
    return rc;
}

/* ---- connecting ---- */

static int configure(struct tl_rados *r, struct tl_error *err)
{
    const char *conf = r->where.conf[0] != 0 ? r->where.conf : NULL;
    char name[80], seconds[16];
    snprintf(name, sizeof name, "client.%s", r->where.user);
    snprintf(seconds, sizeof seconds, "%u", r->where.timeout_s);
    int rc = r->lib->create2(&r->cluster, "ceph", name, 0);
    if (rc != 0)
        return tl_error_set(err, rc, CONNECT "librados could not begin: %s", r->where.uri, strerror(-rc));
    rc = r->lib->conf_read_file(r->cluster, conf);
    if (rc != 0)
        return tl_error_set(err, rc == -ENOENT ? -ENOTCONN : rc,
                            CONNECT "%s cannot be read: %s; name the cluster's ceph.conf with conf=", r->where.uri,
                            conf != NULL ? conf : "ceph.conf", strerror(-rc));
    const char *const options[][2] = {{"rados_osd_op_timeout", seconds},
                                      {"rados_mon_op_timeout", seconds},
                                      {"client_mount_timeout", seconds},
                                      {"log_to_stderr", "false"},
                                      {"err_to_stderr", "false"},
                                      {"log_file", ""},
                                      {"admin_socket", ""}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        (void)r->lib->conf_set(r->cluster, options[i][0], options[i][1]); /* those that this release knows */
    return 0;
}

static void *connect_there(void *arg)
{
    struct tl_rados *r = arg;
    return (void *)(intptr_t)r->lib->connect(r->cluster);
}

/* In a thread of its own. librados draws the number that tells a client from others on its host from a generator of the thread: forked
 * processes, whose parent has used librados, would all draw the same one, and the cluster would take them for one client. */
static int connect_now(struct tl_rados *r)
{
    pthread_t thread;
    void *result;
    int rc = -pthread_create(&thread, NULL, connect_there, r);
    if (rc == 0 && (rc = -pthread_join(thread, &result)) == 0)
        rc = (int)(intptr_t)result;
    return rc;
}

static int refused(const struct tl_rados *r, int rc, struct tl_error *err)
{
    const struct tl_rados_where *w = &r->where;
    if (rc == -ETIMEDOUT)
        return tl_error_set(err, rc, CONNECT "no monitor has answered within %u s; is it up, and reachable from here?",
                            w->uri, w->timeout_s);
    if (rc == -ENOENT)
        return tl_error_set(err, -ENOKEY, CONNECT "there is no keyring for client.%s; look at keyring= in %s", w->uri,
                            w->user, w->conf);
    if (rc == -EACCES || rc == -EPERM || rc == -EINVAL)
        return tl_error_set(err, -EKEYREJECTED, CONNECT "the key of client.%s was refused (%s)", w->uri, w->user,
                            strerror(-rc));
    return tl_error_set(err, rc, CONNECT "%s", w->uri, strerror(-rc));
}

static int open_rados_pool(struct tl_rados *r, const char *name, rados_ioctx_t *out, struct tl_error *err)
{
    int rc = r->lib->ioctx_create(r->cluster, name, out);
    if (rc == -ENOENT)
        return tl_error_set(err, -ENODEV, "pool %s: the cluster has no RADOS pool '%s'", r->where.uri, name);
    if (rc != 0)
        return tl_error_set(err, rc, "pool %s: RADOS pool '%s' cannot be used: %s", r->where.uri, name, strerror(-rc));
    r->lib->ioctx_set_namespace(*out, r->where.space);
    r->lib->set_pool_full_try(*out); /* a full cluster refuses, instead of keeping us waiting for ever */
    return 0;
}

static void rados_close(struct tl_store *s)
{
    struct tl_rados *r = (struct tl_rados *)s;
    if (r->meta != NULL) {
        tl_rados_counted(r, tl_rados_count(r, 0, 0));
        tl_rados_keeper_stop(r);
    }
    tl_rados_batch_free(r);
    tl_rados_unwatch_all(r);
    if (r->meta != NULL)
        (void)r->lib->watch_flush(r->cluster);
    if (r->data != NULL)
        r->lib->ioctx_destroy(r->data);
    if (r->meta != NULL)
        r->lib->ioctx_destroy(r->meta);
    if (r->cluster != NULL)
        r->lib->shutdown(r->cluster);
    while (r->conts != NULL) {
        struct tl_rados_cont *c = r->conts;
        r->conts = c->next;
        tl_rados_base_free(r, c->base);
        free(c);
    }
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->mutex);
    free(r);
}

static const struct tl_store_ops ops = {
    .name = "rados",
    .close = rados_close,
    .space = rados_space,
    .change = tl_rados_change,
    .look = tl_rados_look,
    .write = tl_rados_write,
    .flush = tl_rados_flush,
    .scan = tl_rados_scan,
    .read = tl_rados_read,
    .erase = tl_rados_erase,
    .changes = tl_rados_changes,
    .wait = tl_rados_wait,
    .wake = tl_rados_wake,
    .claim = tl_rados_claim,
    .unclaim = tl_rados_unclaim,
    .claimed = tl_rados_claimed,
    .lock = tl_rados_lock,
    .unlock = tl_rados_unlock,
    .check = tl_rados_check_all,
};

/* Connected, with the RADOS pool for state and index. */
static int begin(struct tl_rados **out, const char *uri, const struct tl_store_config *config, struct tl_error *err)
{
    struct tl_rados *r = calloc(1, sizeof *r);
    pthread_condattr_t monotonic;
    if (r == NULL)
        return tl_error_set(err, -ENOMEM, "pool %.256s: out of memory", uri);
    r->store.ops = &ops;
    r->read_only = config->read_only;
    check(pthread_mutex_init(&r->mutex, NULL) == 0 && pthread_condattr_init(&monotonic) == 0);
    check(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0 &&
          pthread_cond_init(&r->changed, &monotonic) == 0);
    pthread_condattr_destroy(&monotonic);
    int rc = tl_rados_where_parse(&r->where, uri, err);
    rc = rc == 0 ? tl_rados_lib_load(&r->lib, err) : rc;
    if (rc == 0 && getrandom(&r->writer, sizeof r->writer, 0) != sizeof r->writer)
        rc = tl_error_set(err, -EIO, "pool %.256s: no random numbers", uri);
    rc = rc == 0 && tl_rados_batch_new(r, config->buffer_bytes) != 0
             ? tl_error_set(err, -ENOMEM, "pool %.256s: out of memory", uri)
             : rc;
    rc = rc == 0 ? configure(r, err) : rc;
    if (rc == 0 && (rc = connect_now(r)) != 0) {
        rc = refused(r, rc, err);
        r->lib->shutdown(r->cluster);
        r->cluster = NULL;
    }
    rc = rc == 0 ? open_rados_pool(r, r->where.meta, &r->meta, err) : rc;
    if (rc == 0)
        *out = r;
    else
        rados_close(&r->store);
    return rc;
}

/* ---- the object that says what it is ---- */

/* One operation: it is there as a whole, or not at all. The omap entry is there to be refused by an erasure-coded pool. */
static int make_pool(struct tl_rados *r, struct tl_error *err)
{
    const struct tl_rados_where *w = &r->where;
    const char *key = "format", *value = FORMAT, *data = w->data[0] != 0 ? w->data : w->meta;
    size_t key_len = strlen(key), value_len = strlen(value);
    char shards[8];
    int rc = open_rados_pool(r, data, &r->data, err);
    if (rc != 0)
        return rc;
    snprintf(shards, sizeof shards, "%u", SHARDS);
    rados_write_op_t op = r->lib->create_write_op();
    r->lib->write_op_create(op, LIBRADOS_CREATE_EXCLUSIVE, NULL);
    r->lib->write_op_setxattr(op, "format", FORMAT, strlen(FORMAT));
    r->lib->write_op_setxattr(op, "shards", shards, strlen(shards));
    r->lib->write_op_setxattr(op, "data", data, strlen(data));
    r->lib->write_op_omap_set2(op, &key, &value, &key_len, &value_len, 1);
    rc = tl_rados_write_op(r, op, POOL);
    r->lib->ioctx_destroy(r->data);
    r->data = NULL;
    if (rc == -EEXIST)
        return tl_error_set(err, rc, "pool %s is there already in RADOS pool '%s'; choose another name", w->uri,
                            w->meta);
    if (rc == -EOPNOTSUPP)
        return tl_error_set(err, rc,
                            "pool %s cannot be made: RADOS pool '%s' is erasure-coded, and cannot hold an index; "
                            "name a replicated one with pool=, and this one with data=",
                            w->uri, w->meta);
    return rc == 0 ? 0 : tl_error_set(err, rc, "pool %s cannot be made: %s", w->uri, strerror(-rc));
}

static int get_text(struct tl_rados *r, const char *name, char *out, size_t size)
{
    int rc = tl_rados_error(r->lib->getxattr(r->meta, POOL, name, out, size - 1));
    out[rc < 0 ? 0 : rc] = 0;
    return rc < 0 ? rc : 0;
}

static int load_pool(struct tl_rados *r, bool to_destroy, struct tl_error *err)
{
    const struct tl_rados_where *w = &r->where;
    char format[64], shards[8], data[64];
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
    if (rc != 0)
        return tl_error_set(err, rc, "pool %s cannot be read: %s", w->uri, strerror(-rc));
    r->shards = (uint32_t)strtoul(shards, NULL, 10);
    if (r->shards == 0 || r->shards > 1024)
        return tl_error_set(err, -EBADMSG, "pool %s says that its index has %.8s shards", w->uri, shards);
    if (w->data[0] != 0 && strcmp(w->data, data) != 0)
        return tl_error_set(err, -EINVAL, "pool %s has its data in RADOS pool '%s', not in '%s'", w->uri, data,
                            w->data);
    return open_rados_pool(r, data, &r->data, err);
}

static int have_open(struct tl_rados *r, bool exclusive, struct tl_error *err)
{
    r->open = (struct tl_rados_lease){.object = {POOL}, .exclusive = exclusive, .again = true};
    snprintf(r->open.cookie, sizeof r->open.cookie, "%016llx", (unsigned long long)r->writer);
    int rc = tl_rados_lease_begin(r, &r->open);
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
    return rc == 0 ? 0 : tl_error_set(err, rc, "pool %s: %s", r->where.uri, strerror(-rc));
}

int tl_store_rados_open(struct tl_store **out, const char *uri, const struct tl_store_config *config,
                        struct tl_error *err)
{
    struct tl_rados *r;
    int rc = begin(&r, uri, config, err);
    if (rc != 0)
        return rc;
    rc = config->create ? make_pool(r, err) : 0;
    rc = rc == 0 ? load_pool(r, false, err) : rc;
    rc = rc == 0 ? have_open(r, false, err) : rc;
    if (rc == 0)
        *out = &r->store;
    else
        rados_close(&r->store);
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

int tl_store_rados_destroy(const char *uri, struct tl_error *err)
{
    const struct tl_store_config config = {.create = false};
    struct tl_rados *r;
    int rc = begin(&r, uri, &config, err);
    if (rc != 0)
        return rc;
    rc = load_pool(r, true, err);
    rc = rc == 0 ? have_open(r, true, err) : rc;
    if (rc == 0) {
        struct removal data = {r, r->data}, meta = {r, r->meta};
        rc = tl_rados_error(r->lib->setxattr(r->meta, POOL, "format", RUINED, strlen(RUINED)));
        rc = rc == 0 ? tl_rados_each_object(r, r->data, remove_one, &data) : rc;
        rc = rc == 0 ? tl_rados_each_object(r, r->meta, remove_one, &meta) : rc;
        rc = rc == 0 ? tl_rados_error(r->lib->remove(r->meta, POOL)) : rc;
        if (rc != 0)
            tl_error_set(err, rc, "pool %s was not destroyed to its end: %s; destroy it again", r->where.uri,
                         strerror(-rc));
    }
    rados_close(&r->store);
    return rc;
}
