// SPDX-License-Identifier: Apache-2.0
/* Fences: what a process that was taken for dead still sends is refused by the cluster.
 *
 * A process that stood still, or was cut off from the cluster, for longer than its lease is dead to the others: its handles are closed, what it had not
 * committed is erased, and nothing remembers it any more. But it may come back, and with it operations that librados has kept for it. So each shard of
 * an index has the xattr fence, which whoever erases changes first; every operation that adds records compares it with what its process knows, and
 * fails if that is old.
 *
 * A process that is alive, and whose operation fails, reads the fence anew. Then it makes sure that its marks have never been interrupted since before
 * the records that wait were written: so nobody can have taken it for dead. If it cannot, what waits is lost. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/rados.h"

#define FENCE "fence"
#define MADE  "made" /* of i.CONT */

struct tl_rados_fence {
    bool known;
    size_t len; /* 0: there never was one */
    char text[40];
};

static struct tl_rados_fence *fence_of(struct tl_rados_cont *c, uint32_t shard)
{
    if (c->fences == NULL)
        c->fences = calloc(c->r->shards, sizeof *c->fences);
    return c->fences == NULL ? NULL : &c->fences[shard];
}

void tl_rados_fence_raise(struct tl_rados *r, rados_write_op_t op)
{
    char text[40];
    int len = snprintf(text, sizeof text, "%016llx.%llx", (unsigned long long)r->writer,
                       (unsigned long long)atomic_fetch_add(&r->cookies, 1));
    r->lib->write_op_setxattr(op, FENCE, text, (size_t)len);
}

/* Sends one operation on each shard, and waits for all. made: they are there; -ENOENT: one is lost. */
static int on_all_shards(struct tl_rados_cont *c, bool raise, bool made)
{
    struct tl_rados *r = c->r;
    rados_completion_t *done = calloc(r->shards, sizeof(rados_completion_t));
    uint32_t started = 0;
    int rc = done == NULL ? -ENOMEM : 0;
    for (; rc == 0 && started < r->shards; started += rc == 0) {
        rc = r->lib->aio_create_completion2(NULL, NULL, &done[started]);
        if (rc != 0)
            break;
        rados_write_op_t op = r->lib->create_write_op();
        if (made)
            r->lib->write_op_assert_exists(op);
        else
            r->lib->write_op_create(op, LIBRADOS_CREATE_IDEMPOTENT, NULL); /* else who comes back would make it */
        if (raise)
            tl_rados_fence_raise(r, op);
        rc = r->lib->aio_write_op_operate(op, r->meta, done[started], tl_rados_index_name(&c->id, started).text, NULL,
                                          0);
        r->lib->release_write_op(op);
        if (rc != 0)
            r->lib->aio_release(done[started]);
    }
    for (uint32_t i = 0; i < started; i++) {
        r->lib->aio_wait_for_complete(done[i]);
        int one = r->lib->aio_get_return_value(done[i]);
        rc = rc == 0 ? tl_rados_error(one) : rc;
        r->lib->aio_release(done[i]);
    }
    free(done);
    return rc;
}

/* Whether all shards of an index were made. 1, 0, -errno. */
static int is_made(struct tl_rados *r, const char *made)
{
    char text[2];
    int rc = tl_rados_getxattr(r, made, MADE, text, sizeof text);
    return rc > 0 ? 1 : rc == -ENOENT ? 0 : rc;
}

/* All shards are there before the first record is written, and then it is said that they are: one that is not there later on was lost, and
 * cannot be taken for one to which nothing was ever written. */
static int make_shards(struct tl_rados_cont *c)
{
    struct tl_rados *r = c->r;
    struct tl_rados_name made = tl_rados_made_name(&c->id);
    int rc = is_made(r, made.text);
    if (rc != 0)
        return rc < 0 ? rc : 0; /* another process was faster */
    rc = on_all_shards(c, false, false);
    rados_write_op_t op = r->lib->create_write_op();
    r->lib->write_op_create(op, LIBRADOS_CREATE_IDEMPOTENT, NULL);
    r->lib->write_op_setxattr(op, MADE, "1", 1);
    if (rc == 0)
        return tl_rados_write_op(r, op, made.text);
    r->lib->release_write_op(op);
    return rc;
}

int tl_rados_index_lost(struct tl_rados *r, const struct tl_rados_name *shard)
{
    struct tl_rados_name made = *shard;
    uint64_t size;
    time_t when;
    *strrchr(made.text, '.') = 0;
    int rc = is_made(r, made.text);
    if (rc != 1)
        return rc;
    rc = r->lib->stat(r->meta, shard->text, &size, &when); /* all may have been made since it was not there */
    return rc == -ENOENT ? 1 : tl_rados_error(rc);
}

int tl_rados_fence_ask(struct tl_rados_cont *c, uint32_t shard, bool *asked)
{
    struct tl_rados_fence *f = fence_of(c, shard);
    const struct tl_rados_name object = tl_rados_index_name(&c->id, shard);
    if (f == NULL)
        return -ENOMEM;
    if (f->known)
        return 0;
    *asked = true;
    int rc = c->r->lib->getxattr(c->r->meta, object.text, FENCE, f->text, sizeof f->text);
    if (rc == -ENOENT) {
        rc = make_shards(c);
        rc = rc == 0 ? c->r->lib->getxattr(c->r->meta, object.text, FENCE, f->text, sizeof f->text) : rc;
        rc = rc == -ENOENT ? -EBADMSG : rc; /* it was lost */
    }
    if (rc < 0 && rc != -ENODATA)
        return tl_rados_error(rc);
    f->known = true;
    f->len = rc > 0 ? (size_t)rc : 0;
    return 0;
}

void tl_rados_fence_guard(struct tl_rados_cont *c, uint32_t shard, rados_write_op_t op)
{
    struct tl_rados_fence *f = fence_of(c, shard);
    check(f != NULL && f->known);
    c->r->lib->write_op_cmpxattr(op, FENCE, LIBRADOS_CMPXATTR_OP_EQ, f->text, f->len);
}

bool tl_rados_fence_refused(int rc)
{
    return rc == -ECANCELED || rc == -ENOENT;
}

void tl_rados_fence_forget(struct tl_rados_cont *c)
{
    free(c->fences);
    c->fences = NULL;
}

int tl_rados_fence(struct tl_store *s, const struct tl_store_id *id)
{
    struct tl_rados *r = (struct tl_rados *)s;
    struct tl_rados_cont *c = tl_rados_cont(r, id);
    if (c == NULL || r->read_only)
        return c == NULL ? -ENOMEM : -EROFS;
    int made = is_made(r, tl_rados_made_name(id).text);
    int rc = made < 0 ? made : on_all_shards(c, true, made == 1);
    return rc == -ENOENT ? -EBADMSG : rc; /* what is lost is not made anew: nobody would know of it any more */
}
