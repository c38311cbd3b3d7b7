// SPDX-License-Identifier: Apache-2.0
/* Transactions of a container's state: read it (or know it from the last time), let the function change a copy, write what has changed
 * on condition that the generation is still the same. One operation of RADOS for a change, if nobody else has changed it since. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/prng.h"
#include "base/time.h"
#include "store/rados.h"

#define GENERATION "gen"
#define SUM        "sum" /* the generation again, and the sum of all entries: what is lost of a state is noticed */
#define PAGE       1024u /* entries that a read gives at most */
#define GROWTH     64u   /* entries that may come into a page before it is read again */

struct entry {
    struct tl_slice key, value; /* in memory of its own, key first; value.at NULL: deleted, in a transaction */
};

struct table { /* sorted */
    struct entry *list;
    size_t count, room;
};

struct tl_rados_base {
    bool exists;
    uint64_t generation;
    uint64_t sum;   /* of the table */
    bool is_summed; /* who wrote this generation has said what the sum is: */
    uint64_t said;
    struct table table;
};

struct transaction {
    struct tl_store_tx tx;
    const struct tl_rados_base *base;
    struct table over; /* what differs from base */
    bool writes;
};

/* ---- tables ---- */

static int compare(struct tl_slice a, struct tl_slice b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int c = len > 0 ? memcmp(a.at, b.at, len) : 0;
    return c != 0 ? c : a.len < b.len ? -1 : a.len > b.len;
}

/* The first that is not before key. */
static size_t position(const struct table *t, struct tl_slice key)
{
    size_t low = 0, high = t->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (compare(t->list[middle].key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct entry *find(const struct table *t, struct tl_slice key)
{
    size_t at = position(t, key);
    return at < t->count && compare(t->list[at].key, key) == 0 ? &t->list[at] : NULL;
}

static void entry_free(struct entry *e)
{
    free((void *)(uintptr_t)e->key.at);
}

static void table_free(struct table *t)
{
    for (size_t i = 0; i < t->count; i++)
        entry_free(&t->list[i]);
    free(t->list);
    *t = (struct table){.list = NULL};
}

/* value.at NULL is kept as that. 0, -ENOMEM. */
static int table_put(struct table *t, struct tl_slice key, struct tl_slice value)
{
    uint8_t *bytes = malloc(key.len + value.len + 1);
    if (bytes != NULL && t->count == t->room) {
        size_t room = t->room * 2 + 16;
        struct entry *grown = reallocarray(t->list, room, sizeof *grown);
        if (grown != NULL) {
            t->list = grown;
            t->room = room;
        }
    }
    size_t at = position(t, key);
    bool there = at < t->count && compare(t->list[at].key, key) == 0;
    if (bytes == NULL || (!there && t->count == t->room)) {
        free(bytes);
        return -ENOMEM;
    }
    if (key.len > 0)
        memcpy(bytes, key.at, key.len);
    if (value.len > 0)
        memcpy(bytes + key.len, value.at, value.len);
    struct entry e = {{bytes, key.len}, {value.at == NULL ? NULL : bytes + key.len, value.len}};
    if (there) {
        entry_free(&t->list[at]);
    } else {
        memmove(t->list + at + 1, t->list + at, (t->count - at) * sizeof *t->list);
        t->count++;
    }
    t->list[at] = e;
    return 0;
}

static void table_remove(struct table *t, struct tl_slice key)
{
    struct entry *e = find(t, key);
    if (e == NULL)
        return;
    entry_free(e);
    t->count--;
    memmove(e, e + 1, (size_t)(t->list + t->count - e) * sizeof *e);
}

static uint64_t sum_of(struct tl_slice key, struct tl_slice value)
{
    return tl_hash64(value.at, value.len, tl_hash64(key.at, key.len, 1));
}

/* The sum of what there is when this has changed. */
static uint64_t sum_after(const struct tl_rados_base *b, const struct table *over)
{
    uint64_t sum = b->sum;
    for (size_t i = 0; i < over->count; i++) {
        const struct entry *e = &over->list[i], *was = find(&b->table, e->key);
        sum -= was != NULL ? sum_of(was->key, was->value) : 0;
        sum += e->value.at != NULL ? sum_of(e->key, e->value) : 0;
    }
    return sum;
}

void tl_rados_base_free(struct tl_rados *r, struct tl_rados_base *b)
{
    (void)r;
    if (b == NULL)
        return;
    table_free(&b->table);
    free(b);
}

/* ---- reading it ---- */

/* The generation, and the sum: who changes a state without saying its sum, as an earlier release does, leaves one of an earlier generation. */
static int take_xattrs(struct tl_rados *r, rados_xattrs_iter_t iter, uint64_t *generation, struct tl_rados_base *b)
{
    const char *name, *value;
    size_t len;
    uint64_t summed = 0;
    bool any = false, said = false;
    while (r->lib->getxattrs_next(iter, &name, &value, &len) == 0 && name != NULL) {
        if (strcmp(name, GENERATION) == 0 && len == 8) {
            *generation = tl_get_u64(value);
            any = true;
        } else if (strcmp(name, SUM) == 0 && len == 16) {
            summed = tl_get_u64(value);
            b->said = tl_get_u64(value + 8);
            said = true;
        }
    }
    b->is_summed = said && summed == *generation;
    return any ? 0 : -EBADMSG;
}

static int take_page(struct tl_rados *r, rados_omap_iter_t iter, struct table *t, char *last)
{
    uint8_t key[TL_STORE_KEY_MAX];
    char *k, *v;
    size_t klen, vlen, len;
    int rc = 0;
    while (rc == 0 && (rc = r->lib->omap_get_next2(iter, &k, &v, &klen, &vlen)) == 0 && k != NULL) {
        rc = klen < TL_RADOS_KEY ? tl_rados_unescape(key, &len, k, klen) : -EBADMSG;
        rc = rc == 0 ? table_put(t, (struct tl_slice){key, len}, (struct tl_slice){vlen > 0 ? v : "", vlen}) : rc;
        if (rc == 0) {
            memcpy(last, k, klen);
            last[klen] = 0;
        }
    }
    return rc;
}

/* Where the pages of a state begin: behind these keys. Found one after the other; but a state that somebody changes all the time would never be
 * the same for as long as that takes. So those that were found are asked for in one operation the next time. */
struct pages {
    char (*behind)[TL_RADOS_KEY];
    size_t count;
};

static int add_page(struct pages *p, const char *behind)
{
    char(*grown)[TL_RADOS_KEY] = reallocarray(p->behind, p->count + 1, sizeof *grown);
    if (grown == NULL)
        return -ENOMEM;
    p->behind = grown;
    snprintf(p->behind[p->count++], sizeof *p->behind, "%s", behind);
    return 0;
}

struct asked {
    rados_omap_iter_t omap;
    unsigned char more;
    int rc;
};

/* All pages in the order of their keys. -EAGAIN: between two there may be something. */
static int take_pages(struct tl_rados *r, struct tl_rados_base *b, struct pages *p, size_t from,
                      const struct asked *asked, bool *more)
{
    char last[TL_RADOS_KEY];
    size_t n = p->count - from;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        memcpy(last, p->behind[from + i], sizeof last);
        rc = take_page(r, asked[i].omap, &b->table, last);
        if (rc == 0 && i + 1 < n && asked[i].more != 0 && strcmp(last, p->behind[from + i + 1]) < 0) {
            p->count = from + i + 1;
            rc = -EAGAIN;
        }
    }
    *more = rc == 0 && asked[n - 1].more != 0;
    return *more ? add_page(p, last) : rc;
}

/* The pages from `from` on, in one operation. known: may be NULL; -ECANCELED: this is what there is. -EAGAIN: the generation is another one than
 * that of the pages before. */
static int ask_pages(struct tl_rados *r, const struct tl_rados_cont *c, const struct tl_rados_base *known,
                     struct tl_rados_base *b, struct pages *p, size_t from, struct asked *asked, bool *more)
{
    char was[8];
    rados_xattrs_iter_t xattrs = NULL;
    int rc_xattrs = 0;
    uint64_t generation = 0;
    rados_read_op_t op = r->lib->create_read_op();
    if (known != NULL && known->exists && !b->exists) {
        tl_put_u64(was, known->generation);
        r->lib->read_op_cmpxattr(op, GENERATION, LIBRADOS_CMPXATTR_OP_NE, was, sizeof was);
    }
    r->lib->read_op_getxattrs(op, &xattrs, &rc_xattrs);
    for (size_t i = from; i < p->count; i++) {
        struct asked *one = &asked[i - from];
        r->lib->read_op_omap_get_vals2(op, p->behind[i], "", i + 1 < p->count ? PAGE : PAGE - GROWTH, &one->omap,
                                       &one->more, &one->rc);
    }
    int rc = tl_rados_read_meta(r, op, c->name.text);
    rc = rc == 0 ? tl_rados_error(rc_xattrs) : rc;
    for (size_t i = from; rc == 0 && i < p->count; i++)
        rc = tl_rados_error(asked[i - from].rc);
    rc = rc == 0 ? take_xattrs(r, xattrs, &generation, b) : rc;
    if (rc == 0 && b->exists && b->generation != generation)
        rc = -EAGAIN;
    if (rc == 0) {
        b->exists = true;
        b->generation = generation;
        rc = take_pages(r, b, p, from, asked, more);
    }
    if (xattrs != NULL)
        r->lib->getxattrs_end(xattrs);
    r->lib->release_read_op(op);
    return rc;
}

static int load_pages(struct tl_rados *r, const struct tl_rados_cont *c, const struct tl_rados_base *known,
                      struct tl_rados_base *b, struct pages *p, size_t from, bool *more)
{
    size_t n = p->count - from;
    struct asked *asked = calloc(n, sizeof *asked);
    if (asked == NULL)
        return -ENOMEM;
    int rc = ask_pages(r, c, known, b, p, from, asked, more);
    for (size_t i = 0; i < n; i++)
        if (asked[i].omap != NULL)
            r->lib->omap_get_end(asked[i].omap);
    free(asked);
    return rc;
}

/* All of it was read: is it what was written? */
static int check_sum(struct tl_rados_base *b)
{
    for (size_t i = 0; i < b->table.count; i++)
        b->sum += sum_of(b->table.list[i].key, b->table.list[i].value);
    return b->is_summed && b->said != b->sum ? -EBADMSG : 0;
}

static int is_of_container(void *ctx, const char *name)
{
    const struct tl_rados_cont *c = ctx;
    return (strncmp(name, "s.", 2) == 0 || strncmp(name, "i.", 2) == 0) && strcmp(name, c->name.text) != 0;
}

static bool is_pools(const struct tl_rados_cont *c)
{
    const struct tl_store_id pool = {{0}};
    return memcmp(c->id.bytes, pool.bytes, sizeof pool.bytes) == 0;
}

/* There is no such object: then its state is empty. But a pool whose containers are there had a state, and lost it: what it is to have now,
 * nobody can say. */
static int not_there(struct tl_rados *r, struct tl_rados_cont *c)
{
    (void)tl_rados_failed(r, &c->name, TL_STORE_CLASSES, -ENOENT);
    if (!is_pools(c) || (r->is_new && c->base == NULL))
        return 0;
    int rc = tl_rados_each_object(r, r->meta, is_of_container, c);
    return rc > 0 ? -EBADMSG : rc;
}

/* c->base is what there is; if it was, nothing but that is asked for. */
static int refresh(struct tl_rados *r, struct tl_rados_cont *c, uint64_t end_ns)
{
    struct pages p = {.count = 0};
    int rc = add_page(&p, "");
    if (rc != 0)
        return rc;
    tl_rados_batch_begin(r);
    do {
        struct tl_rados_base *b = calloc(1, sizeof *b);
        size_t from = 0;
        bool more = true;
        rc = b == NULL ? -ENOMEM : 0;
        while (rc == 0 && more) {
            size_t next = p.count;
            rc = load_pages(r, c, c->base, b, &p, from, &more);
            from = next;
        }
        bool missing = rc == -ENOENT && !b->exists;
        rc = missing ? 0 : rc == -ENOENT ? -EAGAIN : rc == 0 ? check_sum(b) : rc;
        if (rc != 0 && rc != -EAGAIN && rc != -ECANCELED)
            (void)tl_rados_failed(r, &c->name, TL_STORE_CLASSES, rc);
        rc = missing ? not_there(r, c) : rc;
        tl_rados_base_free(r, rc == 0 ? c->base : b);
        if (rc == 0)
            c->base = b;
    } while (rc == -EAGAIN && tl_time_mono_ns() < end_ns);
    free(p.behind);
    return rc == -ECANCELED ? 0 : rc == -EAGAIN ? -ETIMEDOUT : rc;
}

/* ---- inside a transaction ---- */

static int tx_get(struct tl_store_tx *tx, struct tl_slice key, struct tl_slice *value)
{
    struct transaction *t = (struct transaction *)tx;
    struct entry *e = find(&t->over, key);
    e = e == NULL ? find(&t->base->table, key) : e;
    if (e == NULL || e->value.at == NULL)
        return -ENOENT;
    *value = e->value;
    return 0;
}

static int tx_put(struct tl_store_tx *tx, struct tl_slice key, struct tl_slice value)
{
    struct transaction *t = (struct transaction *)tx;
    if (!t->writes)
        return -EROFS;
    if (key.len > TL_STORE_KEY_MAX || value.len > TL_STORE_VALUE_MAX)
        return -EINVAL;
    return table_put(&t->over, key, value.len > 0 ? value : (struct tl_slice){"", 0});
}

static int tx_del(struct tl_store_tx *tx, struct tl_slice key)
{
    struct transaction *t = (struct transaction *)tx;
    struct tl_slice before;
    int rc = !t->writes ? -EROFS : tx_get(tx, key, &before);
    return rc == 0 ? table_put(&t->over, key, (struct tl_slice){NULL, 0}) : rc;
}

static bool begins(struct tl_slice key, struct tl_slice prefix)
{
    return key.len >= prefix.len && (prefix.len == 0 || memcmp(key.at, prefix.at, prefix.len) == 0);
}

static int tx_each(struct tl_store_tx *tx, struct tl_slice prefix,
                   int (*fn)(void *ctx, struct tl_slice key, struct tl_slice value), void *ctx)
{
    struct transaction *t = (struct transaction *)tx;
    const struct table *under = &t->base->table, *over = &t->over;
    size_t u = position(under, prefix), o = position(over, prefix);
    int rc = 0;
    while (rc == 0) {
        const struct entry *a = u < under->count && begins(under->list[u].key, prefix) ? &under->list[u] : NULL;
        const struct entry *b = o < over->count && begins(over->list[o].key, prefix) ? &over->list[o] : NULL;
        if (a == NULL && b == NULL)
            break;
        int c = a == NULL ? 1 : b == NULL ? -1 : compare(a->key, b->key);
        const struct entry *e = c < 0 ? a : b;
        u += c <= 0;
        o += c >= 0;
        if (e->value.at != NULL)
            rc = fn(ctx, e->key, e->value);
    }
    return rc;
}

static const struct tl_store_tx_ops tx_ops = {.get = tx_get, .put = tx_put, .del = tx_del, .each = tx_each};

/* ---- writing it ---- */

struct lists { /* of escaped keys, as librados takes them */
    char *bytes;
    const char **keys, **values;
    size_t *key_lens, *value_lens;
    size_t puts, dels; /* dels come behind puts */
};

static void lists_free(struct lists *l)
{
    free(l->bytes);
    free(l->keys);
    free(l->values);
    free(l->key_lens);
    free(l->value_lens);
}

static int lists_make(struct lists *l, const struct table *over)
{
    size_t n = over->count;
    *l = (struct lists){.bytes = malloc(n * TL_RADOS_KEY),
                        .keys = calloc(n, sizeof *l->keys),
                        .values = calloc(n, sizeof *l->values),
                        .key_lens = calloc(n, sizeof *l->key_lens),
                        .value_lens = calloc(n, sizeof *l->value_lens)};
    if (l->bytes == NULL || l->keys == NULL || l->values == NULL || l->key_lens == NULL || l->value_lens == NULL) {
        lists_free(l);
        return -ENOMEM;
    }
    for (size_t i = 0; i < n; i++)
        l->puts += over->list[i].value.at != NULL;
    l->dels = n - l->puts;
    for (size_t i = 0, put = 0, del = l->puts; i < n; i++) {
        const struct entry *e = &over->list[i];
        size_t at = e->value.at != NULL ? put++ : del++;
        char *key = l->bytes + i * TL_RADOS_KEY;
        l->key_lens[at] = tl_rados_escape(key, e->key, true);
        l->keys[at] = key;
        l->values[at] = e->value.at;
        l->value_lens[at] = e->value.len;
    }
    return 0;
}

/* One operation. -ECANCELED: somebody was faster. */
static int write_changes(struct tl_rados *r, const struct tl_rados_cont *c, const struct table *over)
{
    const struct tl_rados_base *b = c->base;
    char before[8], after[8], sum[16];
    struct lists l;
    int rc = lists_make(&l, over);
    if (rc != 0)
        return rc;
    tl_put_u64(before, b->generation);
    tl_put_u64(after, b->generation + 1);
    tl_put_u64(sum, b->generation + 1);
    tl_put_u64(sum + 8, sum_after(b, over));
    rados_write_op_t op = r->lib->create_write_op();
    if (b->exists)
        r->lib->write_op_cmpxattr(op, GENERATION, LIBRADOS_CMPXATTR_OP_EQ, before, sizeof before);
    else
        r->lib->write_op_create(op, LIBRADOS_CREATE_EXCLUSIVE, NULL);
    r->lib->write_op_setxattr(op, GENERATION, after, sizeof after);
    r->lib->write_op_setxattr(op, SUM, sum, sizeof sum);
    if (l.puts > 0)
        r->lib->write_op_omap_set2(op, l.keys, l.values, l.key_lens, l.value_lens, l.puts);
    if (l.dels > 0)
        r->lib->write_op_omap_rm_keys2(op, l.keys + l.puts, l.key_lens + l.puts, l.dels);
    rc = tl_rados_write_op(r, op, c->name.text);
    lists_free(&l);
    bool missed = rc == -EEXIST || (b->exists && rc == -ENOENT);
    return missed ? -ECANCELED : rc;
}

/* What was written is what we know now; if there is no memory for it, we know nothing. */
static void take_over(struct tl_rados *r, struct tl_rados_cont *c, const struct table *over)
{
    int rc = 0;
    c->base->sum = sum_after(c->base, over);
    for (size_t i = 0; rc == 0 && i < over->count; i++) {
        const struct entry *e = &over->list[i];
        if (e->value.at != NULL)
            rc = table_put(&c->base->table, e->key, e->value);
        else
            table_remove(&c->base->table, e->key);
    }
    c->base->exists = true;
    c->base->generation++;
    tl_rados_seen(c, c->base->generation);
    if (rc != 0) {
        tl_rados_base_free(r, c->base);
        c->base = NULL;
    }
}

/* So that those who were too late do not come back all at once. */
static void back_off(struct tl_rados *r, unsigned tries)
{
    uint64_t most = TL_NS_PER_MS << (tries < 5 ? tries : 5);
    struct timespec t = {.tv_nsec = (long)tl_prng_scale(tl_prng_draw(r->writer, tries, tl_time_mono_ns(), 0, 0), most)};
    if (tries > 1)
        nanosleep(&t, NULL);
}

/* Tries once. *again: what we knew was old, and is known anew. */
static int try(struct tl_rados *r, struct tl_rados_cont *c, bool fresh, uint64_t end_ns, tl_store_tx_fn fn, void *ctx,
               bool *again)
{
    struct transaction t = {.tx = {&tx_ops}, .base = c->base, .writes = true};
    uint64_t generation = c->base->generation;
    int rc = fn(ctx, &t.tx), failed = 0;
    *again = false;
    if (rc == 0 && t.over.count > 0) {
        rc = write_changes(r, c, &t.over);
        *again = rc == -ECANCELED;
        if (*again)
            failed = refresh(r, c, end_ns);
        else if (rc == 0)
            take_over(r, c, &t.over);
        else { /* it may have happened, or may still */
            tl_rados_base_free(r, c->base);
            c->base = NULL;
        }
    } else if (!fresh) {
        failed = refresh(r, c, end_ns);
        *again = failed == 0 && c->base->generation != generation;
    }
    table_free(&t.over);
    *again = *again && failed == 0;
    return failed != 0 ? failed : rc;
}

int tl_rados_change(struct tl_store *s, const struct tl_store_id *id, tl_store_tx_fn fn, void *ctx)
{
    struct tl_rados *r = (struct tl_rados *)s;
    uint64_t end_ns = tl_time_mono_ns() + r->where.timeout_s * TL_NS_PER_S;
    if (r->read_only)
        return -EROFS;
    struct tl_rados_cont *c = tl_rados_cont(r, id);
    if (c == NULL)
        return -ENOMEM;
    bool fresh = c->base == NULL, again = true;
    int rc = fresh ? refresh(r, c, end_ns) : 0;
    if (rc != 0)
        return rc;
    uint64_t before = c->base->generation;
    for (unsigned tries = 0; again; tries++) {
        before = c->base->generation;
        rc = try(r, c, fresh, end_ns, fn, ctx, &again);
        if (again && tl_time_mono_ns() >= end_ns)
            return -ETIMEDOUT;
        fresh = true;
        if (again)
            back_off(r, tries);
    }
    if (rc == 0 && c->base != NULL && c->base->generation != before) {
        uint8_t generation[8];
        tl_put_u64(generation, c->base->generation);
        tl_rados_tell(r, c->name.text, generation, sizeof generation);
    }
    return rc;
}

int tl_rados_look(struct tl_store *s, const struct tl_store_id *id, tl_store_tx_fn fn, void *ctx)
{
    struct tl_rados *r = (struct tl_rados *)s;
    struct tl_rados_cont *c = tl_rados_cont(r, id);
    int rc = c == NULL ? -ENOMEM : refresh(r, c, tl_time_mono_ns() + r->where.timeout_s * TL_NS_PER_S);
    if (rc != 0)
        return rc;
    struct transaction t = {.tx = {&tx_ops}, .base = c->base};
    return fn(ctx, &t.tx);
}

int tl_rados_look_again(struct tl_store *s, const struct tl_store_id *id, uint32_t *changes, bool must,
                        tl_store_tx_fn fn, void *ctx)
{
    struct tl_rados *r = (struct tl_rados *)s;
    struct tl_rados_cont *c = tl_rados_cont(r, id);
    uint32_t wakes = c == NULL ? 0 : atomic_load(&c->wakes); /* before: what comes meanwhile is looked at once more */
    int rc = c == NULL ? -ENOMEM : refresh(r, c, tl_time_mono_ns() + r->where.timeout_s * TL_NS_PER_S);
    if (rc != 0)
        return rc;
    tl_rados_seen(c, c->base->generation);
    uint32_t now = (uint32_t)c->base->generation + wakes;
    if (!must && now == *changes)
        return 1;
    struct transaction t = {.tx = {&tx_ops}, .base = c->base};
    *changes = now;
    return fn(ctx, &t.tx);
}
