// SPDX-License-Identifier: Apache-2.0
/* Connecting to a Ceph cluster; see rados.h. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/bytes.h"
#include "store/rados.h"

#define CONNECT "pool %s: the cluster cannot be reached: "

int tl_rados_error(int rc)
{
    switch (rc) {
    case -EDQUOT: return -ENOSPC; /* the RADOS pool has a quota */
    case -ENODATA: return -ENOENT;
    default: return rc;
    }
}

int tl_rados_write_op(struct tl_rados *r, rados_write_op_t op, const char *object)
{
    int rc = r->lib->write_op_operate2(op, r->meta, object, NULL, 0);
    r->lib->release_write_op(op);
    return tl_rados_error(rc);
}

int tl_rados_read_meta(struct tl_rados *r, rados_read_op_t op, const char *object)
{
    const struct tl_rados_spot spot = {r->meta, r->where.meta, object};
    rados_completion_t done;
    int rc = tl_rados_ask_begin(r, &spot, &done);
    return rc != 0 ? rc : tl_rados_ask_end(r, &spot, done, r->lib->aio_read_op_operate(op, r->meta, done, object, 0));
}

int tl_rados_read_op(struct tl_rados *r, rados_read_op_t op, const char *object)
{
    int rc = tl_rados_read_meta(r, op, object);
    r->lib->release_read_op(op);
    return rc;
}

int tl_rados_getxattr(struct tl_rados *r, const char *object, const char *name, char *out, size_t size)
{
    const struct tl_rados_spot spot = {r->meta, r->where.meta, object};
    rados_completion_t done;
    int rc = tl_rados_ask_begin(r, &spot, &done);
    return rc != 0 ? rc
                   : tl_rados_ask_end(r, &spot, done, r->lib->aio_getxattr(r->meta, object, done, name, out, size));
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
    const char *const options[][2] = {
        {"rados_osd_op_timeout", seconds},
        {"rados_mon_op_timeout", seconds},
        {"client_mount_timeout", seconds},
        {"objecter_tick_interval", "1"}, /* an operation that waits for an OSD that hangs */
        {"objecter_timeout", "2"},       /* asks for a newer map after 2 s; else after 10 */
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
    sigset_t all, before;
    sigfillset(&all); /* its threads inherit that: a program's signals are for its own */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = -pthread_create(&thread, NULL, connect_there, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0 && (rc = -pthread_join(thread, &result)) == 0)
        rc = (int)(intptr_t)result;
    return rc;
}

static int refused(const struct tl_rados *r, int rc, struct tl_error *err)
{
    const struct tl_rados_where *w = &r->where;
    char host[256] = "";
    if (rc == -ETIMEDOUT)
        return tl_error_set(err, rc, CONNECT "no monitor has answered within %u s; is it up, and reachable from here?",
                            w->uri, w->timeout_s);
    if (rc == -ENOENT && r->lib->conf_get(r->cluster, "mon_host", host, sizeof host) == 0 && host[0] == 0)
        return tl_error_set(err, -ENOTCONN, CONNECT "%s names no monitor; it needs a line \"mon host = ...\"", w->uri,
                            w->conf[0] != 0 ? w->conf : "ceph.conf");
    if (rc == -ENOENT)
        return tl_error_set(err, -ENOKEY, CONNECT "there is no keyring for client.%s; look at keyring= in %s", w->uri,
                            w->user, w->conf);
    if (rc == -EACCES || rc == -EPERM || rc == -EINVAL)
        return tl_error_set(err, -EKEYREJECTED,
                            CONNECT "the key of client.%s was refused (%s); compare it with `ceph auth get client.%s`",
                            w->uri, w->user, strerror(-rc), w->user);
    return tl_error_set(err, rc, CONNECT "%s", w->uri, strerror(-rc));
}

int tl_rados_connect(struct tl_rados *r, struct tl_error *err)
{
    int rc = configure(r, err);
    if (rc == 0 && (rc = connect_now(r)) != 0)
        rc = refused(r, rc, err);
    if (rc != 0 && r->cluster != NULL) {
        r->lib->shutdown(r->cluster);
        r->cluster = NULL;
    }
    return rc;
}

int tl_rados_open_io(struct tl_rados *r, const char *name, rados_ioctx_t *out, struct tl_error *err)
{
    int rc = r->lib->ioctx_create(r->cluster, name, out);
    if (rc == -ENOENT)
        return tl_error_set(err, -ENODEV, "pool %s: the cluster has no RADOS pool '%s'", r->where.uri, name);
    if (rc != 0)
        return tl_error_set(err, rc, "pool %s: RADOS pool '%s' cannot be used: %s", r->where.uri, name,
                            tl_store_strerror(rc));
    r->lib->ioctx_set_namespace(*out, r->where.space);
    r->lib->set_pool_full_try(*out); /* a full cluster refuses, instead of keeping us waiting for ever */
    return 0;
}

void tl_rados_close(struct tl_store *s)
{
    struct tl_rados *r = (struct tl_rados *)s;
    tl_rados_asker_free(r->asker);
    tl_rados_doctor_stop(r);
    if (r->meta != NULL) {
        tl_rados_counted(r, tl_rados_count(r, 0, 0));
        tl_rados_keeper_stop(r);
    }
    (void)tl_rados_end_reads(&r->store);
    free(r->reads);
    tl_rados_batch_free(r);
    bool answered = tl_rados_unwatch_all(r);
    if (r->meta != NULL)
        (void)r->lib->watch_flush(r->cluster);
    /* librados uses the ioctx of a question when its answer comes: without one these are left to it. */
    tl_rados_data_close(r);
    if (r->meta != NULL && answered)
        r->lib->ioctx_destroy(r->meta);
    if (r->cluster != NULL)
        r->lib->shutdown(r->cluster);
    tl_rados_watches_free(r);
    while (r->conts != NULL) {
        struct tl_rados_cont *c = r->conts;
        r->conts = c->next;
        tl_rados_base_free(r, c->base);
        tl_rados_fence_forget(c);
        free(c);
    }
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->mutex);
    free(r);
}

static const struct tl_store_ops ops = {
    .name = "rados",
    .close = tl_rados_close,
    .space = tl_rados_space,
    .health = tl_rados_health,
    .targets = tl_rados_targets,
    .rest = tl_rados_rest,
    .classes = tl_rados_classes,
    .change = tl_rados_change,
    .look = tl_rados_look,
    .look_again = tl_rados_look_again,
    .write = tl_rados_write,
    .flush = tl_rados_flush,
    .scan = tl_rados_scan,
    .read = tl_rados_read,
    .begin_read = tl_rados_begin_read,
    .end_reads = tl_rados_end_reads,
    .damage = tl_rados_damage,
    .unknown = tl_rados_unknown,
    .erase = tl_rados_erase,
    .abandon = tl_rados_abandon,
    .changes = tl_rados_changes,
    .wait = tl_rados_wait,
    .wake = tl_rados_wake,
    .claim = tl_rados_claim,
    .unclaim = tl_rados_unclaim,
    .claimed = tl_rados_claimed,
    .fence = tl_rados_fence,
    .lock = tl_rados_lock,
    .unlock = tl_rados_unlock,
    .check = tl_rados_check_all,
};

/* Connected, unless with ask_only; no RADOS pool is open yet. */
int tl_rados_begin(struct tl_rados **out, const char *uri, const struct tl_store_config *config, struct tl_error *err)
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
    if (rc == 0 && !config->ask_only)
        rc = tl_rados_connect(r, err);
    if (rc == 0 && !config->ask_only && (rc = tl_rados_doctor_start(r)) != 0)
        tl_error_set(err, rc, "pool %s: %s", r->where.uri, strerror(-rc));
    if (rc == 0)
        *out = r;
    else
        tl_rados_close(&r->store);
    return rc;
}
