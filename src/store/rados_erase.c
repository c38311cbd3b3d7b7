// SPDX-License-Identifier: Apache-2.0
/* Erasing records: from the index first, then the payloads that they named. A crash in between leaves payloads without records, which a check
 * finds; never a record without its payload. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/rados.h"

#define AT_ONCE 256u /* keys */

struct some { /* keys of one shard */
    struct tl_rados_name object;
    size_t count;
    char escaped[AT_ONCE][TL_RADOS_KEY];
    const char *keys[AT_ONCE];
    size_t lens[AT_ONCE];
    struct tl_rados_name blobs[AT_ONCE];
    uint8_t in[AT_ONCE]; /* which RADOS pool */
    size_t blob_count;
    int64_t bytes;
};

static int note_blobs(struct tl_rados *r, struct some *x, const struct tl_store_id *id, rados_omap_iter_t found)
{
    struct tl_rados_value v;
    char *key, *value;
    size_t key_len, len;
    int rc = 0;
    x->blob_count = 0;
    x->bytes = 0;
    while (rc == 0 && (rc = r->lib->omap_get_next2(found, &key, &value, &key_len, &len)) == 0 && key != NULL) {
        x->bytes += (int64_t)(key_len + len);
        if (tl_rados_value_get((struct tl_slice){value, len}, &v) != 0 || v.inlined)
            continue; /* a damaged one goes, too */
        x->bytes += v.len;
        if (x->blob_count == AT_ONCE || v.data >= r->classes.count)
            continue;
        x->in[x->blob_count] = v.data;
        x->blobs[x->blob_count++] = tl_rados_blob_name(id, v.writer, v.seq);
    }
    return rc;
}

static int look_up(struct tl_rados *r, struct some *x, const struct tl_store_id *id)
{
    rados_omap_iter_t found = NULL;
    int rc_found = 0;
    rados_read_op_t op = r->lib->create_read_op();
    r->lib->read_op_omap_get_vals_by_keys2(op, x->keys, x->count, x->lens, &found, &rc_found);
    int rc = tl_rados_error(r->lib->read_op_operate(op, r->meta, x->object.text, 0));
    rc = rc == 0 ? tl_rados_error(rc_found) : rc;
    rc = rc == 0 ? note_blobs(r, x, id, found) : rc;
    if (found != NULL)
        r->lib->omap_get_end(found);
    r->lib->release_read_op(op);
    return rc;
}

static int remove_blobs(struct tl_rados *r, const struct some *x)
{
    rados_completion_t done[AT_ONCE];
    size_t started = 0;
    int rc = 0;
    for (; rc == 0 && started < x->blob_count; started += rc == 0) {
        rados_ioctx_t io = r->data[x->in[started]].io;
        rc = r->lib->aio_create_completion2(NULL, NULL, &done[started]);
        if (rc == 0 && (rc = r->lib->aio_remove(io, x->blobs[started].text, done[started])) != 0)
            r->lib->aio_release(done[started]);
    }
    for (size_t i = 0; i < started; i++) {
        r->lib->aio_wait_for_complete(done[i]);
        int one = tl_rados_error(r->lib->aio_get_return_value(done[i]));
        rc = rc == 0 && one < 0 && one != -ENOENT ? one : rc;
        r->lib->aio_release(done[i]);
    }
    return rc;
}

static int erase_some(struct tl_rados *r, struct some *x, const struct tl_store_id *id)
{
    int rc = look_up(r, x, id);
    if (rc == -ENOENT) /* no such shard */
        return 0;
    if (rc != 0 || x->bytes == 0)
        return rc;
    rados_write_op_t op = r->lib->create_write_op();
    r->lib->write_op_omap_rm_keys2(op, x->keys, x->lens, x->count);
    rc = tl_rados_write_op(r, op, x->object.text);
    if (rc != 0)
        return rc;
    rados_completion_t counted = tl_rados_count(r, -x->bytes, 0);
    rc = remove_blobs(r, x);
    tl_rados_counted(r, counted);
    return rc;
}

/* Those keys of from..count-1 that are in this shard, as many as fit; where to go on. */
static size_t gather(struct tl_rados *r, struct some *x, uint32_t shard, const struct tl_slice *keys, size_t from,
                     size_t count)
{
    x->count = 0;
    for (; from < count && x->count < AT_ONCE; from++) {
        if (tl_rados_shard(r, keys[from]) != shard)
            continue;
        x->lens[x->count] = tl_rados_escape(x->escaped[x->count], keys[from], true);
        x->keys[x->count] = x->escaped[x->count];
        x->count++;
    }
    return from;
}

int tl_rados_erase(struct tl_store *s, const struct tl_store_id *id, const struct tl_slice *keys, size_t count)
{
    struct tl_rados *r = (struct tl_rados *)s;
    if (r->read_only)
        return -EROFS;
    for (size_t i = 0; i < count; i++)
        if (keys[i].len == 0 || keys[i].len > TL_STORE_KEY_MAX)
            return -EINVAL;
    struct some *x = malloc(sizeof *x);
    int rc = x == NULL ? -ENOMEM : 0;
    for (uint32_t shard = 0; rc == 0 && shard < r->shards; shard++) {
        for (size_t at = 0; rc == 0 && at < count;) {
            at = gather(r, x, shard, keys, at, count);
            x->object = tl_rados_index_name(id, shard);
            rc = x->count > 0 ? erase_some(r, x, id) : 0;
        }
    }
    free(x);
    return rc;
}

int tl_rados_abandon(struct tl_store *s, const struct tl_store_id *id)
{
    struct tl_rados *r = (struct tl_rados *)s;
    struct tl_rados_cont *c = tl_rados_cont(r, id);
    if (c == NULL || r->read_only)
        return c == NULL ? -ENOMEM : -EROFS;
    tl_rados_base_free(r, c->base);
    c->base = NULL;
    tl_rados_fence_forget(c);
    int rc = 0;
    for (uint32_t i = 0; (rc == 0 || rc == -ENOENT) && i < r->shards; i++)
        rc = tl_rados_accept(r, id, i);
    rc = rc == 0 || rc == -ENOENT ? tl_rados_error(r->lib->remove(r->meta, tl_rados_made_name(id).text)) : rc;
    rc = rc == 0 || rc == -ENOENT ? tl_rados_error(r->lib->remove(r->meta, c->name.text)) : rc;
    return rc == -ENOENT ? 0 : rc;
}
