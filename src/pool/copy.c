// SPDX-License-Identifier: Apache-2.0
/* A container into another pool: what goes before and after the records (copy.h). Until the last transaction it is no container, but an entry among the unfinished
 * ones (copies.c), which whoever goes on finds by the source's UUID and the label. Who copies has a mark in the destination's store, so that there is one at a time, and a
 * handle in the source that refers to all that was readable when it was opened, so that aggregation leaves that alone. */
#include "pool/copy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLUSH_BYTES (64u << 20)

typedef unsigned long long ull;

static int fail(struct tl_copy *x, int rc, const char *what)
{
    if (x->err == NULL || x->err->code != 0)
        return rc;
    return tl_error_set(x->err, rc, "container %s: %s", x->source_name, what);
}

/* ---- the source ---- */

static int open_source(struct tl_copy *x, struct tl_cont *from)
{
    struct tl_pool *p = tl_cont_pool(from);
    char uuid[37];
    tl_pool_lock(p);
    x->from.pool = p;
    x->from.id = from->id;
    tl_uuid_text(from->id.bytes, uuid);
    int rc = tl_cont_refresh(from);
    rc = rc == 0 ? tl_cont_open_keeping(&x->from.cont, p, uuid, x->err) : tl_copy_failed(x, &x->from, rc);
    if (rc == 0) {
        const struct tl_epochs *e = &x->from.cont->state.epochs;
        x->from.ghce = x->done.epoch = e->ghce;
        x->done.readable_from = tl_epochs_readable_from(e);
    }
    tl_pool_unlock(p);
    return rc;
}

/* The snapshots that the copy would have, if it were made now; under the lock. */
static int note_snapshots(struct tl_copy *x, uint64_t **out, uint32_t *count)
{
    const struct tl_epochs *e = &x->from.cont->state.epochs;
    *count = 0;
    *out = calloc(e->snapshot_count + 1, sizeof **out);
    if (*out == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < e->snapshot_count && e->snapshots[i] <= x->from.ghce; i++)
        (*out)[(*count)++] = e->snapshots[i];
    return 0;
}

/* Of the snapshots at the beginning, how many there are no more. */
static uint32_t count_gone(const struct tl_copy *x, const uint64_t *list, uint32_t count)
{
    const struct tl_epochs *e = &x->from.cont->state.epochs;
    uint32_t gone = 0;
    for (uint32_t i = 0; i < count; i++) {
        bool there = false;
        for (uint32_t j = 0; j < e->snapshot_count; j++)
            there |= e->snapshots[j] == list[i];
        gone += !there;
    }
    return gone;
}

/* ---- the destination ---- */

static int cannot_begin(struct tl_copy *x, int rc, const char *label)
{
    const char *path = x->to.pool->shared->path;
    char uuid[37];
    if (x->err == NULL || x->err->code != 0)
        return rc;
    switch (rc) {
    case -EEXIST:
        return tl_error_set(x->err, rc, "container %s is there already in pool %s; choose another label", label, path);
    case -EALREADY:
        tl_uuid_text(x->unfinished.source.bytes, uuid);
        return tl_error_set(
            x->err, -EEXIST,
            "pool %s: label %s is that of an unfinished copy of container %s; choose another one, or give it up "
            "with: tiercel cont destroy",
            path, label, uuid);
    case -EBUSY:
        return tl_error_set(x->err, rc,
                            "container %s is being copied to pool %s by somebody else; if that has ended, wait until "
                            "its lease has, too",
                            x->source_name, path);
    default: return tl_copy_failed(x, &x->to, rc);
    }
}

/* Under the lock of the destination's pool. */
static int begin_there(struct tl_copy *x, const char *label, bool *begun)
{
    struct tl_pool *p = x->to.pool;
    struct tl_store *s = p->shared->store;
    int rc = tl_pool_alive(p, true);
    rc = rc == 0 ? tl_unfinished_begin(p, &x->from.id, label, &x->unfinished, begun) : rc;
    rc = rc == 0 ? s->ops->claim(s, tl_unfinished_mark(&x->unfinished.id), true) : rc;
    if (rc != 0) { /* a copy of another source has the label: no more than that is wrong */
        rc = rc == -EALREADY && memcmp(&x->unfinished.source, &x->from.id, sizeof x->from.id) == 0 ? -EBUSY : rc;
        return cannot_begin(x, rc, label);
    }
    x->to.id = x->unfinished.id;
    memcpy(x->done.uuid.bytes, x->to.id.bytes, sizeof x->done.uuid.bytes);
    x->lost_flushes = p->shared->lost_flushes;
    rc = tl_unfinished_own(p, &x->unfinished); /* who had the mark may have finished it */
    if (rc != 0)
        s->ops->unclaim(s, tl_unfinished_mark(&x->to.id));
    return rc == 0 ? 0 : tl_copy_failed(x, &x->to, rc);
}

static int begin_destination(struct tl_copy *x, bool *begun)
{
    struct tl_listed l;
    char uuid[37];
    const char *label = x->config->label;
    tl_uuid_text(x->from.id.bytes, uuid);
    tl_pool_lock(x->from.pool);
    int rc = tl_registry_find(x->from.pool, uuid, &l);
    tl_pool_unlock(x->from.pool);
    if (rc != 0)
        return tl_copy_failed(x, &x->from, rc);
    label = label != NULL ? label : l.label;
    if (*label == 0)
        return fail(x, -EINVAL, "it has no label; say which one its copy is to have");
    if (!tl_is_label(label))
        return fail(x, -EINVAL,
                    "no label for its copy: it has 1 to 127 letters, digits, or any of ._:-, and is no UUID");
    tl_pool_lock(x->to.pool);
    rc = begin_there(x, label, begun);
    tl_pool_unlock(x->to.pool);
    return rc;
}

/* Before anything is written: is there room? What is there of an earlier try counts. */
static int check_room(struct tl_copy *x, bool begun)
{
    struct tl_store_space space = {.total_bytes = 0};
    struct tl_store *s = x->to.pool->shared->store;
    uint64_t records, there = 0;
    int rc = begun ? tl_copy_count(x, &x->to, &records, &there) : 0;
    if (rc != 0)
        return rc;
    tl_pool_lock(x->to.pool);
    rc = s->ops->space(s, &space);
    tl_pool_unlock(x->to.pool);
    uint64_t need = x->done.bytes > there ? x->done.bytes - there : 0;
    if (rc != 0 || space.total_bytes == 0 || space.free_bytes >= need)
        return 0; /* it may not be known */
    if (x->err == NULL)
        return -ENOSPC;
    return tl_error_set(x->err, -ENOSPC,
                        "container %s needs %llu bytes more in pool %s, of which %llu are free; nothing was copied",
                        x->source_name, (ull)need, x->to.pool->shared->path, (ull)space.free_bytes);
}

/* ---- the end ---- */

static int take_state(struct tl_copy *x, const uint64_t *snapshots, uint32_t count, struct tl_state_image *image,
                      uint64_t *created_ns)
{
    struct tl_pool *p = x->from.pool;
    struct tl_listed l;
    char uuid[37];
    tl_uuid_text(x->from.id.bytes, uuid);
    tl_pool_lock(p);
    int rc = tl_cont_refresh(x->from.cont);
    if (rc == 0) /* without a handle, on storage that cannot be written, nothing has kept it */
        rc = tl_epochs_may_read(&x->from.cont->state.epochs, x->done.readable_from);
    if (rc == -ESTALE)
        rc = fail(x, rc, "epochs of it were aggregated while it was copied; copy it again");
    x->done.snapshots_gone = rc == 0 ? count_gone(x, snapshots, count) : 0;
    rc = rc == 0 ? tl_registry_find(p, uuid, &l) : rc;
    *created_ns = rc == 0 ? l.created_ns : 0;
    rc = rc == 0
             ? tl_state_take(p->shared->store, &x->from.id, x->from.ghce, x->done.readable_from, x->any_class, image)
             : rc;
    tl_pool_unlock(p);
    return rc == 0 ? 0 : tl_copy_failed(x, &x->from, rc);
}

static int make_visible(struct tl_copy *x, const struct tl_state_image *image, uint64_t created_ns)
{
    struct tl_pool *p = x->to.pool;
    tl_pool_lock(p);
    int rc = tl_pool_alive(p, true);
    rc = rc == 0 ? tl_state_put(p->shared->store, &x->to.id, image, x->unfinished.token) : rc;
    rc = rc == 0 ? tl_unfinished_finish(p, &x->unfinished, created_ns) : rc;
    tl_pool_unlock(p);
    return rc == 0 ? 0 : rc == -EEXIST ? cannot_begin(x, rc, x->unfinished.label) : tl_copy_failed(x, &x->to, rc);
}

static int finish(struct tl_copy *x, const uint64_t *snapshots, uint32_t count)
{
    struct tl_state_image image = {.list = NULL};
    uint64_t created_ns;
    int rc = take_state(x, snapshots, count, &image, &created_ns);
    x->done.snapshots = image.snapshots;
    rc = rc == 0 ? make_visible(x, &image, created_ns) : rc;
    tl_state_image_free(&image);
    return rc;
}

/* ---- all of it ---- */

static int verify(struct tl_copy *x)
{
    x->done.stage = TIERCEL_COPY_VERIFIES;
    int rc = tl_copy_merge(x, true);
    if (rc != 0 || x->differences == 0)
        return rc;
    if (x->err == NULL)
        return -EBADMSG;
    return tl_error_set(x->err, -EBADMSG,
                        "container %s: %llu records of its copy in pool %s are not the source's; the first: %s. They "
                        "were taken away: copy "
                        "it again",
                        x->source_name, (ull)x->differences, x->to.pool->shared->path, x->difference);
}

static int copy_records(struct tl_copy *x, bool begun)
{
    x->done.stage = TIERCEL_COPY_COUNTS;
    int rc = tl_copy_progress(x);
    rc = rc == 0 ? tl_copy_count(x, &x->from, &x->done.records, &x->done.bytes) : rc;
    rc = rc == 0 ? check_room(x, begun) : rc;
    if (rc != 0)
        return rc;
    x->done.stage = TIERCEL_COPY_COPIES;
    rc = tl_copy_merge(x, false);
    int flushed = tl_copy_flush(x); /* also of what there is before an error: the next one goes on from here */
    rc = rc == 0 ? flushed : rc;
    if (rc == 0 && (x->config->options.flags & TIERCEL_COPY_UNVERIFIED) == 0)
        rc = verify(x);
    return rc;
}

static int copy_claimed(struct tl_copy *x, bool begun)
{
    uint64_t *snapshots = NULL;
    uint32_t count = 0;
    tl_pool_lock(x->from.pool);
    int rc = note_snapshots(x, &snapshots, &count);
    tl_pool_unlock(x->from.pool);
    rc = rc == 0 ? copy_records(x, begun) : tl_copy_failed(x, &x->from, rc);
    rc = rc == 0 ? finish(x, snapshots, count) : rc;
    free(snapshots);
    return rc;
}

static void close_all(struct tl_copy *x)
{
    int ignored = x->from.cont != NULL ? tl_cont_close(x->from.cont) : 0;
    (void)ignored; /* if the handle could not be closed, the next who looks does it */
    tl_copy_side_free(&x->from);
    tl_copy_side_free(&x->to);
    free(x->doomed);
}

int tl_cont_copy(struct tl_cont *from, struct tl_pool *to, const struct tl_copy_config *config,
                 struct tiercel_copied *out, struct tl_error *err)
{
    struct tl_copy x = {.config = config, .err = err, .from.pool = tl_cont_pool(from), .to.pool = to};
    struct tl_store *s = to->shared->store;
    bool begun = false;
    x.flush_bytes = config->options.flush_bytes != 0 ? config->options.flush_bytes : FLUSH_BYTES;
    snprintf(x.source_name, sizeof x.source_name, "%s", tl_cont_name(from));
    x.doomed = malloc(sizeof *x.doomed);
    bool memory = x.doomed != NULL && tl_copy_side_begin(&x.from) == 0 && tl_copy_side_begin(&x.to) == 0;
    int rc = memory ? open_source(&x, from) : fail(&x, -ENOMEM, "out of memory");
    rc = rc == 0 ? begin_destination(&x, &begun) : rc;
    if (rc == 0) {
        rc = copy_claimed(&x, begun);
        tl_pool_lock(to);
        s->ops->unclaim(s, tl_unfinished_mark(&x.to.id));
        tl_pool_unlock(to);
    }
    close_all(&x);
    x.done.stage = rc == 0 ? TIERCEL_COPY_DONE : x.done.stage;
    if (rc == 0 || rc == -ECANCELED || rc == -ENOSPC)
        *out = x.done;
    return rc;
}
