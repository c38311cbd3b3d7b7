// SPDX-License-Identifier: Apache-2.0
/* Pools: making, connecting, evicting, destroying. The pool's own state has, under "pool": generation, time of making, UUID; what else is in it is
 * registry.c's.
 *
 * Who is connected shows in marks (store.h) that processes have, one for each generation: shared, or exclusive. An eviction begins a new
 * generation, so that those who come after it do not meet the marks of those who were there before. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/bytes.h"
#include "pool/internal.h"

const struct tl_store_id tl_pool_state = {{0}};

#define ABOUT_BYTES 36u
#define VERSION     1u

struct about {
    uint64_t generation, created_ns;
    struct tiercel_uuid uuid;
};

static const struct tl_slice about_key = {"pool", 4};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int put_about(struct tl_store_tx *tx, const struct about *a)
{
    uint8_t v[ABOUT_BYTES];
    tl_put_u32(v, VERSION);
    tl_put_u64(v + 4, a->generation);
    tl_put_u64(v + 12, a->created_ns);
    memcpy(v + 20, a->uuid.bytes, 16);
    return tx->ops->put(tx, about_key, (struct tl_slice){v, sizeof v});
}

static int get_about(void *ctx, struct tl_store_tx *tx)
{
    struct about *a = ctx;
    struct tl_slice value;
    int rc = tx->ops->get(tx, about_key, &value);
    if (rc != 0)
        return rc;
    const uint8_t *v = value.at;
    if (value.len != ABOUT_BYTES || tl_get_u32(v) != VERSION)
        return value.len >= 4 && tl_get_u32(v) > VERSION ? -EPROTO : -EBADMSG;
    a->generation = tl_get_u64(v + 4);
    a->created_ns = tl_get_u64(v + 12);
    memcpy(a->uuid.bytes, v + 20, 16);
    return 0;
}

static int init_about(void *ctx, struct tl_store_tx *tx)
{
    return put_about(tx, ctx);
}

static int next_generation(void *ctx, struct tl_store_tx *tx)
{
    struct about *a = ctx;
    int rc = get_about(a, tx);
    a->generation++;
    return rc == 0 ? put_about(tx, a) : rc;
}

static int load_about(struct tl_shared *s, struct about *a, struct tl_error *err)
{
    int rc = s->store->ops->look(s->store, &tl_pool_state, get_about, a);
    if (rc == -ENOENT) /* a store that has containers would have said that its state is lost */
        return tl_error_set(err, -ENOENT, "pool %s was not made to its end; destroy it, and make it anew", s->path);
    if (rc == -EPROTO)
        return tl_error_set(err, rc, "pool %s was made by a newer release, which is needed to use it", s->path);
    return rc == 0 ? 0 : tl_lost_pool(s, rc, err);
}

/* made: whether there was something to be made before the pool itself. */
static int make_place(const char *uri, const struct tiercel_pool_options *o, bool *made, struct tl_error *err)
{
    *made = false;
    if (o == NULL || (o->size_bytes == 0 && o->nodes == NULL && o->classes == NULL))
        return 0;
    if (!tl_shared_is_rados(uri))
        return tl_error_set(err, -EOPNOTSUPP,
                            "pool %s: a pool in a directory has no size, nodes or object classes of its own; it takes "
                            "what its file system has (for more, use rados:///NAME)",
                            uri);
    struct tl_store_wish wish = {.size_bytes = o->size_bytes, .nodes = o->nodes, .classes = o->classes};
    int rc = tl_store_rados_make(uri, &wish, err);
    *made = rc == 0;
    return rc;
}

static int create_place(struct tl_shared **out, const char *uri, const struct tiercel_pool_options *options,
                        struct tl_error *err)
{
    bool made;
    int rc = make_place(uri, options, &made, err);
    rc = rc == 0 ? tl_shared_open(out, uri, !made, err) : rc;
    if (rc != 0 && made)
        (void)!tl_shared_destroy(uri, NULL);
    return rc;
}

int tl_pool_create(const char *uri, const struct tiercel_pool_options *options, struct tl_error *err)
{
    struct about a = {.created_ns = now_ns()};
    struct tl_shared *s;
    char path[4096];
    if (getrandom(a.uuid.bytes, sizeof a.uuid.bytes, 0) != sizeof a.uuid.bytes)
        return tl_error_set(err, -errno, "pool %s: no random numbers: %s", uri, strerror(errno));
    int rc = create_place(&s, uri, options, err);
    if (rc != 0)
        return rc;
    memcpy(path, s->path, sizeof path);
    rc = s->store->ops->change(s->store, &tl_pool_state, init_about, &a);
    if (rc != 0)
        tl_error_set(err, rc, "pool %s cannot be made: %s", uri, tl_store_strerror(rc));
    tl_shared_release(s);
    if (rc != 0)
        (void)!tl_shared_destroy(path, NULL);
    return rc;
}

/* ---- connecting ---- */

static uint64_t connection_mark(uint64_t generation)
{
    return tl_hash64("connection", 10, generation);
}

static int claim_connection(struct tl_pool *p, struct tl_error *err)
{
    struct tl_shared *s = p->shared;
    bool exclusive = (p->flags & TIERCEL_EX) != 0;
    if (!p->guest && (s->exclusive > 0 || (exclusive && s->connections > 0)))
        return tl_error_set(err, -EBUSY, "pool %s: this process is connected to it already; EX allows nobody else",
                            s->path);
    int rc = s->read_only || p->guest ? 0 : tl_shared_claim(s, connection_mark(p->generation), exclusive);
    if (rc == -EBUSY)
        return tl_error_set(err, rc,
                            "pool %s: %s; wait until it has disconnected, or evict it with: tiercel pool evict %s",
                            s->path, exclusive ? "others are connected" : "somebody is connected exclusively", s->path);
    if (rc != 0)
        return tl_error_set(err, rc, "pool %s: cannot be claimed: %s", s->path, tl_store_strerror(rc));
    s->connections++;
    s->exclusive += exclusive;
    return 0;
}

static const char *no_rights(const struct tl_shared *s)
{
    return tl_shared_is_rados(s->path) ? "look at the user's rights; it needs osd 'allow rwx' on its RADOS pools"
                                       : "look at the directory's rights";
}

/* guest: part of another process's connection, which has the mark. */
static int connect_as(struct tl_pool **out, const char *uri, unsigned flags, bool guest, struct tl_error *err)
{
    struct about a;
    if (flags != TIERCEL_RO && flags != TIERCEL_RW && flags != TIERCEL_EX)
        return tl_error_set(err, -EINVAL, "pool %s: connect for reading, for writing, or exclusively", uri);
    struct tl_pool *p = calloc(1, sizeof *p);
    if (p == NULL)
        return tl_error_set(err, -ENOMEM, "pool %s: out of memory", uri);
    int rc = tl_shared_open(&p->shared, uri, false, err);
    if (rc != 0) {
        free(p);
        return rc;
    }
    struct tl_shared *s = p->shared;
    p->flags = flags;
    p->guest = guest;
    s->store->ops->changes(s->store, &tl_pool_state, &p->seen);
    rc = load_about(s, &a, err);
    p->generation = a.generation;
    p->uuid = a.uuid;
    if (rc == 0 && s->read_only && flags != TIERCEL_RO)
        rc = tl_error_set(err, -EROFS, "pool %s cannot be written: connect for reading, or %s", s->path, no_rights(s));
    rc = rc == 0 ? claim_connection(p, err) : rc;
    if (rc != 0) {
        tl_shared_release(s);
        free(p);
        return rc;
    }
    if (!s->read_only && flags != TIERCEL_RO)
        (void)!tl_registry_clean(s); /* if it fails, the next one does it */
    p->connected = true;
    p->refs = 1;
    pthread_mutex_unlock(&s->mutex);
    *out = p;
    return 0;
}

int tl_pool_connect(struct tl_pool **out, const char *uri, unsigned flags, struct tl_error *err)
{
    return connect_as(out, uri, flags, false, err);
}

void tl_pool_lock(struct tl_pool *pool)
{
    pthread_mutex_lock(&pool->shared->mutex);
}

void tl_pool_unlock(struct tl_pool *pool)
{
    pthread_mutex_unlock(&pool->shared->mutex);
}

int tl_pool_alive(struct tl_pool *p, bool writes)
{
    struct tl_store *s = p->shared->store;
    struct about a;
    uint32_t now = p->seen;
    int rc = s->ops->changes(s, &tl_pool_state, &now);
    if (rc == 0 && p->connected && now != p->seen) {
        rc = s->ops->look(s, &tl_pool_state, get_about, &a);
        if (rc == 0 && a.generation != p->generation)
            p->connected = false;
        p->seen = rc == 0 ? now : p->seen;
    }
    if (rc != 0 || !p->connected)
        return rc != 0 ? rc : -EBADF;
    return writes && (p->flags & TIERCEL_RO) != 0 ? -EACCES : 0;
}

void tl_pool_unref(struct tl_pool *p)
{
    if (--p->refs == 0)
        free(p);
}

int tl_pool_disconnect(struct tl_pool *p)
{
    if (p == NULL)
        return 0;
    struct tl_shared *s = p->shared;
    int rc = 0;
    pthread_mutex_lock(&s->mutex);
    for (struct tl_cont *c = s->conts; c != NULL; c = c->next) {
        int failed = c->pool == p ? tl_cont_revoke(c) : 0;
        rc = rc == 0 ? failed : rc;
    }
    if (!s->read_only && !p->guest)
        tl_shared_unclaim(s, connection_mark(p->generation));
    s->connections--;
    s->exclusive -= (p->flags & TIERCEL_EX) != 0;
    p->connected = false;
    tl_pool_unref(p);
    tl_shared_release(s);
    return rc;
}

/* ---- the connection for other processes ---- */

#define GLOBAL_MAGIC 0x314c4f4f504c5400ull /* "\0TLPOOL1" */

int tl_pool_local2global(struct tl_pool *p, void *buf, size_t *len)
{
    size_t path = strlen(p->shared->path) + 1, need = 8 + 4 + 16 + path, room = *len;
    int rc = tl_pool_alive(p, false);
    if (rc != 0)
        return rc;
    *len = need;
    if (buf == NULL || room < need)
        return buf == NULL ? 0 : -ENOBUFS;
    uint8_t *b = buf;
    tl_put_u64(b, GLOBAL_MAGIC);
    tl_put_u32(b + 8, p->flags);
    memcpy(b + 12, p->uuid.bytes, 16);
    memcpy(b + 28, p->shared->path, path);
    return 0;
}

int tl_pool_global2local(struct tl_pool **out, const void *buf, size_t len, struct tl_error *err)
{
    const uint8_t *b = buf;
    struct tl_pool *p;
    if (len < 30 || tl_get_u64(b) != GLOBAL_MAGIC || b[len - 1] != 0 || strlen((const char *)b + 28) != len - 29)
        return tl_error_set(err, -EINVAL, "these bytes are no pool's global handle");
    uint32_t flags = tl_get_u32(b + 8); /* who shares an exclusive connection is part of it */
    int rc = connect_as(&p, (const char *)b + 28, flags, (flags & TIERCEL_EX) != 0, err);
    if (rc != 0)
        return rc;
    if (memcmp(p->uuid.bytes, b + 12, 16) == 0) {
        *out = p;
        return 0;
    }
    rc = tl_error_set(err, -ENOENT, "pool %s is another one than the global handle names", p->shared->path);
    return tl_pool_disconnect(p) == 0 ? rc : rc;
}

/* ---- for all of a pool ---- */

static int evict_all(struct tl_shared *s)
{
    struct tl_pool all = {.shared = s, .flags = TIERCEL_RW, .refs = 2, .connected = true};
    struct tl_listed *list = NULL;
    struct about a;
    unsigned count = 0;
    int failed = 0; /* of one container: the others' are closed */
    int rc = s->store->ops->change(s->store, &tl_pool_state, next_generation, &a);
    all.generation = a.generation;
    rc = rc == 0 ? tl_registry_list(&all, &list, &count) : rc;
    for (unsigned i = 0; rc == 0 && i < count; i++) {
        int closed = tl_handles_close(s, &list[i].id, false);
        failed = failed == 0 && closed < 0 && closed != -ENOENT ? closed : failed;
    }
    free(list);
    return rc != 0 ? rc : failed;
}

int tl_pool_evict(const char *uri, struct tl_error *err)
{
    struct tl_shared *s;
    struct about a;
    int rc = tl_shared_open(&s, uri, false, err);
    if (rc != 0)
        return rc;
    rc = load_about(s, &a, err);
    if (rc == 0 && (rc = evict_all(s)) != 0)
        tl_error_set(err, rc, "pool %s: not all could be evicted: %s", uri, tl_store_strerror(rc));
    tl_shared_release(s);
    return rc;
}

/* What was not made, or not destroyed, to its end has nobody in it. */
static int destroy_rest(const char *path, const struct tl_error *why, struct tl_error *err)
{
    int rc = tl_shared_destroy(path, err);
    return rc == -ENOENT ? tl_error_set(err, rc, "%s", why->msg) : rc;
}

int tl_pool_destroy(const char *uri, unsigned flags, struct tl_error *err)
{
    struct tl_error why = {.code = 0};
    struct tl_shared *s;
    struct about a = {.generation = 0};
    char path[4096];
    int rc = tl_shared_open(&s, uri, false, &why);
    if (rc == -ENOENT && tl_shared_is_rados(uri))
        return destroy_rest(uri, &why, err);
    if (rc != 0)
        return tl_error_set(err, rc, "%s", why.msg);
    memcpy(path, s->path, sizeof path);
    rc = load_about(s, &a, &why);
    if (rc == -ENOENT && s->connections == 0) {
        tl_shared_release(s);
        return destroy_rest(path, &why, err);
    }
    if (rc != 0)
        tl_error_set(err, rc, "%s", why.msg);
    if (rc == 0 && s->connections > 0)
        rc = tl_error_set(err, -EBUSY, "pool %s: this process is connected to it; disconnect first", uri);
    if (rc == 0 && s->read_only)
        rc = tl_error_set(err, -EROFS, "pool %s cannot be destroyed: %s", uri, no_rights(s));
    if (rc == 0 && (flags & TIERCEL_FORCE) != 0 && (rc = evict_all(s)) != 0 && rc != -EBADMSG)
        tl_error_set(err, rc, "pool %s: not all could be evicted: %s", uri, tl_store_strerror(rc));
    if (rc == -EBADMSG && (flags & TIERCEL_FORCE) != 0 && s->connections == 0 && !s->read_only)
        rc = 0; /* what is lost is given up, too; who has the pool open keeps it from being taken away */
    int claimed =
        rc == 0 && (flags & TIERCEL_FORCE) == 0 ? s->store->ops->claimed(s->store, connection_mark(a.generation)) : 0;
    if (claimed < 0)
        rc = tl_error_set(err, claimed, "pool %s cannot be destroyed: who is connected is not known: %s", uri,
                          tl_store_strerror(claimed));
    else if (claimed > 0)
        rc = tl_error_set(err, -EBUSY, "pool %s: somebody is connected to it; evict them with --force", uri);
    tl_shared_release(s);
    return rc == 0 ? tl_shared_destroy(path, err) : rc;
}

void tl_pool_identity(const struct tl_pool *p, struct tiercel_pool_info *out)
{
    const char *scheme = p->shared->path[0] == '/' ? "file://" : "";
    snprintf(out->uri, sizeof out->uri, "%s%.4080s", scheme, p->shared->path);
    out->uuid = p->uuid;
}

bool tl_pool_is_here(const struct tl_pool *p)
{
    return p->shared->path[0] == '/';
}

int tl_pool_query(struct tl_pool *p, struct tiercel_pool_info *out)
{
    struct tl_store_space space = {.total_bytes = 0};
    struct tl_listed *list = NULL;
    unsigned count = 0;
    int rc = tl_pool_alive(p, false);
    rc = rc == 0 ? p->shared->store->ops->space(p->shared->store, &space) : rc;
    rc = rc == 0 ? tl_registry_list(p, &list, &count) : rc;
    free(list);
    if (rc != 0)
        return rc;
    *out = (struct tiercel_pool_info){.total_bytes = space.total_bytes,
                                      .free_bytes = space.free_bytes,
                                      .used_bytes = space.used_bytes,
                                      .containers = count,
                                      .health.known = TIERCEL_KNOWS_CONTENT};
    if (space.total_bytes > 0)
        out->health.known |= TIERCEL_KNOWS_SPACE;
    tl_pool_identity(p, out);
    return 0;
}
