// SPDX-License-Identifier: Apache-2.0
/* Finding records. A scan goes through one shard, if the prefix says which, or through all of them at once and merges. One of an
 * object, or of an array, goes through that of the object, and on through all if there is a mark in it, as soon as it may matter. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "store/rados.h"

#define FIRST_PAGE 16u /* records; most scans want the first one */
#define PAGE_MAX   512u

struct cursor {
    struct tl_rados_name object;
    rados_completion_t done;
    rados_read_op_t op;
    rados_omap_iter_t page;
    unsigned char more;
    int rc_page;
    uint64_t size;                 /* of the next page */
    char last[TL_RADOS_KEY];       /* the next page begins behind it */
    uint8_t key[TL_STORE_KEY_MAX]; /* where it stands */
    size_t key_len;
    struct tl_slice value;
    bool there;  /* it stands on a record */
    bool marked; /* the object has records elsewhere */
    rados_omap_iter_t mark;
    int rc_mark;
};

/* ---- pages ---- */

static struct tl_rados_spot spot_of(struct tl_rados *r, const struct cursor *c)
{
    return (struct tl_rados_spot){r->meta, r->where.meta, c->object.text};
}

/* A page; and whether the object has this mark, if it is not NULL. */
static int ask(struct tl_rados *r, struct cursor *c, const char *prefix, const char *mark)
{
    const struct tl_rados_spot spot = spot_of(r, c);
    int rc = tl_rados_ask_begin(r, &spot, &c->done);
    if (rc != 0)
        return tl_rados_failed(r, &c->object, TL_STORE_CLASSES, rc);
    c->op = r->lib->create_read_op();
    r->lib->read_op_omap_get_vals2(c->op, c->last, prefix, c->size, &c->page, &c->more, &c->rc_page);
    size_t len = mark != NULL ? strlen(mark) : 0;
    if (mark != NULL)
        r->lib->read_op_omap_get_vals_by_keys2(c->op, &mark, 1, &len, &c->mark, &c->rc_mark);
    tl_rados_remade_guard(r, c->op); /* last: an OSD gives the results of those behind it the value of the comparison */
    rc = r->lib->aio_read_op_operate(c->op, r->meta, c->done, c->object.text, 0);
    if (rc != 0) {
        rc = tl_rados_ask_end(r, &spot, c->done, rc);
        c->done = NULL;
    }
    c->size = c->size * 4 < PAGE_MAX ? c->size * 4 : PAGE_MAX;
    return rc;
}

static void drop_page(struct tl_rados *r, struct cursor *c)
{
    if (c->done != NULL) { /* nobody wants the answer any more */
        (void)r->lib->aio_cancel(r->meta, c->done);
        r->lib->aio_wait_for_complete(c->done);
        r->lib->aio_release(c->done);
    }
    if (c->page != NULL)
        r->lib->omap_get_end(c->page);
    if (c->mark != NULL)
        r->lib->omap_get_end(c->mark);
    if (c->op != NULL)
        r->lib->release_read_op(c->op);
    c->done = NULL;
    c->page = NULL;
    c->mark = NULL;
    c->op = NULL;
}

static int answer(struct tl_rados *r, struct cursor *c)
{
    char *key, *value;
    size_t len;
    const struct tl_rados_spot spot = spot_of(r, c);
    int rc = tl_rados_ask_end(r, &spot, c->done, 0);
    c->done = NULL;
    rc = rc >= 0 ? tl_rados_error(c->rc_page != 0 ? c->rc_page : c->rc_mark) : rc;
    if (rc == 0 && c->mark != NULL && (rc = r->lib->omap_get_next2(c->mark, &key, &value, &len, &len)) == 0)
        c->marked = key != NULL;
    if (rc == -ENOENT) { /* nothing was ever written to the container; else the shard is lost */
        int lost = tl_rados_index_lost(r, &c->object);
        drop_page(r, c);
        c->more = 0;
        if (lost == 1)
            (void)tl_rados_failed(r, &c->object, TL_STORE_CLASSES, -ENOENT);
        return lost == 1 ? -EBADMSG : lost;
    }
    if (rc != 0)
        (void)tl_rados_failed(r, &c->object, TL_STORE_CLASSES, rc);
    return rc == -ECANCELED ? -EBADMSG : rc; /* it was lost, and made anew */
}

/* To the next record, with a new page if it must. 0, -errno. */
static int step(struct tl_rados *r, struct cursor *c, const char *prefix)
{
    char *k = NULL, *v = NULL;
    size_t klen = 0, vlen = 0;
    for (;;) {
        int rc = c->page != NULL ? r->lib->omap_get_next2(c->page, &k, &v, &klen, &vlen) : 0;
        if (rc != 0 || k != NULL || c->more == 0) {
            c->there = rc == 0 && k != NULL;
            if (!c->there)
                return rc;
            if (klen >= sizeof c->last)
                return -EBADMSG;
            memcpy(c->last, k, klen);
            c->last[klen] = 0;
            if (!tl_rados_is_mark(k, klen))
                break;
            continue;
        }
        drop_page(r, c);
        rc = ask(r, c, prefix, NULL);
        rc = rc == 0 ? answer(r, c) : rc;
        if (rc != 0)
            return rc;
    }
    c->value = (struct tl_slice){v, vlen};
    return tl_rados_unescape(c->key, &c->key_len, k, klen);
}

/* ---- scans ---- */

static size_t make_place(uint8_t *out, const struct tl_store_id *id, const struct cursor *c,
                         const struct tl_rados_value *v)
{
    if (v->inlined && v->len <= TL_RADOS_IN_PLACE) {
        out[0] = TL_RADOS_PLACE_HERE;
        memcpy(out + 1, v->checks.at, 8);
        memcpy(out + 9, v->bytes, v->len);
        return 9 + v->len;
    }
    memcpy(out + 1, id->bytes, 16);
    if (v->inlined) {
        out[0] = TL_RADOS_PLACE_RECORD;
        memcpy(out + 17, c->key, c->key_len);
        return 17 + c->key_len;
    }
    out[0] = TL_RADOS_PLACE_BLOB;
    tl_put_u32(out + 17, v->len);
    tl_put_u64(out + 21, v->writer);
    tl_put_u64(out + 29, v->seq);
    out[37] = v->data;
    memcpy(out + TL_RADOS_BLOB_HEAD, v->checks.at, v->checks.len);
    return TL_RADOS_BLOB_HEAD + v->checks.len;
}

static int show(const struct tl_store_id *id, const struct cursor *c, int (*fn)(void *ctx, const struct tl_found *f),
                void *ctx)
{
    uint8_t place[TL_STORE_PLACE_MAX];
    struct tl_rados_value v;
    int rc = tl_rados_value_get(c->value, &v);
    if (rc != 0)
        return rc;
    const struct tl_found f = {.key = {c->key, c->key_len},
                               .meta = v.meta,
                               .payload_len = v.len,
                               .place = {place, make_place(place, id, c, &v)}};
    return fn(ctx, &f);
}

static struct cursor *lowest(struct cursor *list, uint32_t count)
{
    struct cursor *best = NULL;
    for (uint32_t i = 0; i < count; i++) {
        struct cursor *c = &list[i];
        if (!c->there)
            continue;
        if (best != NULL) {
            size_t len = c->key_len < best->key_len ? c->key_len : best->key_len;
            int order = memcmp(c->key, best->key, len);
            if (order > 0 || (order == 0 && c->key_len > best->key_len))
                continue;
        }
        best = c;
    }
    return best;
}

/* Behind what comes first: of the prefix and `from`, the later one. */
static void make_start(char *out, struct tl_slice prefix, struct tl_slice from)
{
    size_t len = prefix.len < from.len ? prefix.len : from.len;
    int order = len > 0 ? memcmp(from.at, prefix.at, len) : 0;
    (void)tl_rados_escape(out, order > 0 || (order == 0 && from.len > prefix.len) ? from : prefix, false);
}

struct scan {
    struct tl_rados *r;
    const struct tl_store_id *id;
    struct tl_slice prefix, from;
    char escaped[TL_RADOS_KEY]; /* the prefix */
    uint32_t home;              /* the first shard; the others come behind it, and around */
    struct cursor *list;
    uint32_t count; /* of shards that were asked */
};

/* Asks so many shards, all at once. mark: of the object that is looked for, or NULL. */
static int ask_shards(struct scan *x, uint32_t count, const char *mark)
{
    struct tl_rados *r = x->r;
    struct cursor *grown =
        reallocarray(x->list, count, sizeof *grown); /* no answer is on its way to those that are there */
    uint32_t first = x->count;
    int rc = 0;
    if (grown == NULL)
        return -ENOMEM;
    x->list = grown;
    memset(grown + first, 0, (count - first) * sizeof *grown);
    x->count = count;
    for (uint32_t i = first; rc == 0 && i < count; i++) {
        grown[i].object = tl_rados_index_name(x->id, (x->home + i) % r->shards);
        grown[i].size = FIRST_PAGE;
        make_start(grown[i].last, x->prefix, x->from);
        rc = ask(r, &grown[i], x->escaped, mark);
    }
    for (uint32_t i = first; rc == 0 && i < count; i++) {
        rc = answer(r, &grown[i]);
        rc = rc == 0 ? step(r, &grown[i], x->escaped) : rc;
    }
    return rc;
}

/* Those of the first shard. */
static int ask_first(struct scan *x)
{
    char mark[TL_RADOS_KEY];
    if (x->prefix.len < TL_RADOS_OBJECT)
        return ask_shards(x, x->r->shards, NULL);
    x->home = tl_rados_shard(x->r, x->prefix);
    if (tl_rados_has_chunk(x->prefix))
        return ask_shards(x, 1, NULL);
    (void)tl_rados_mark_key(mark, x->prefix);
    return ask_shards(x, 1, mark);
}

/* If the first shard alone was asked, whether what comes next may be in another one. Of one array, the chunks of its object's shard come first. */
static bool must_ask_more(const struct scan *x)
{
    const struct cursor *c = x->list;
    bool comes_first =
        c->there && tl_rados_names_end(x->prefix) != 0 && tl_rados_group((struct tl_slice){c->key, c->key_len}) == 0;
    return x->count == 1 && c->marked && !comes_first && x->r->shards > 1;
}

/* What was asked for, in order, and what is behind it. */
static int walk(struct scan *x, int rc, int (*fn)(void *ctx, const struct tl_found *f), void *ctx)
{
    while (rc == 0) {
        if (must_ask_more(x) && (rc = ask_shards(x, x->r->shards, NULL)) != 0)
            break;
        struct cursor *c = lowest(x->list, x->count);
        if (c == NULL)
            break;
        rc = show(x->id, c, fn, ctx);
        rc = rc == 0 ? step(x->r, c, x->escaped) : rc;
    }
    for (uint32_t i = 0; i < x->count; i++)
        drop_page(x->r, &x->list[i]);
    free(x->list);
    return rc;
}

int tl_rados_scan_shard(struct tl_rados *r, const struct tl_store_id *id, uint32_t shard,
                        int (*fn)(void *ctx, const struct tl_found *f), void *ctx)
{
    struct scan x = {.r = r, .id = id, .home = shard};
    return walk(&x, ask_shards(&x, 1, NULL), fn, ctx);
}

int tl_rados_scan(struct tl_store *s, const struct tl_store_id *id, struct tl_slice prefix, struct tl_slice from,
                  int (*fn)(void *ctx, const struct tl_found *f), void *ctx)
{
    struct scan x = {.r = (struct tl_rados *)s, .id = id, .prefix = prefix, .from = from};
    if (prefix.len > TL_STORE_KEY_MAX || from.len > TL_STORE_KEY_MAX)
        return -EINVAL;
    (void)tl_rados_escape(x.escaped, prefix, false);
    return walk(&x, ask_first(&x), fn, ctx);
}
