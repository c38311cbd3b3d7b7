// SPDX-License-Identifier: Apache-2.0
/* Writing: a payload that is too large for the index goes to the cluster at once, as an object of its own; so many bytes may be on their
 * way. Records wait here until a flush, which first waits for the payloads, then writes the index, all shards at the same
 * time: so no record is ever found without its payload. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "store/rados.h"

#define IN_FLIGHT       64u         /* operations */
#define IN_FLIGHT_BYTES (16u << 20) /* the default */
#define PENDING_BYTES   (32u << 20) /* of records that wait; then they are flushed early */
#define OP_KEYS         1000u       /* of one operation on an index */
#define OP_BYTES        (2u << 20)
#define COUNT_BYTES     (64u << 20) /* of records that are not counted yet: not with every flush */
#define TRIES           8u          /* when fences are raised meanwhile */
#define MARKED          64u         /* objects of which is known that they have a mark */

struct pending {
    struct tl_store_id id;
    uint32_t shard;
    uint32_t order;
    uint32_t key_len, value_len;
    char *bytes; /* escaped key, then value */
};

struct tl_rados_batch {
    struct tl_rados *r;
    pthread_mutex_t mutex; /* of what librados' threads change, too */
    pthread_cond_t landed;
    struct flight {
        struct tl_rados_batch *batch;
        struct flight *next; /* of those that are free */
        size_t bytes;
    } flights[IN_FLIGHT], *idle;
    unsigned count;
    size_t in_flight;
    int failed;             /* what an operation ended with */
    bool indexing, refused; /* what lands now is of the index; some of it was refused by a fence */

    size_t limit;
    struct pending *list;
    uint32_t pending, room;
    size_t pending_bytes;
    int broken;          /* a write failed: told by the next flush, too */
    uint64_t interrupts; /* of marks, before the first of what waits was written */
    bool named;          /* records of what waits may be in the index already */
    rados_completion_t counted;
    uint64_t marked[MARKED]; /* hashes; what waits may be it */
    uint8_t value[TL_RADOS_VALUE];
};

int tl_rados_batch_new(struct tl_rados *r, uint32_t buffer_bytes)
{
    struct tl_rados_batch *b = calloc(1, sizeof *b);
    if (b == NULL)
        return -ENOMEM;
    check(pthread_mutex_init(&b->mutex, NULL) == 0 && pthread_cond_init(&b->landed, NULL) == 0);
    for (unsigned i = 0; i < IN_FLIGHT; i++) {
        b->flights[i] = (struct flight){b, b->idle, 0};
        b->idle = &b->flights[i];
    }
    b->limit = buffer_bytes > 0 ? buffer_bytes : IN_FLIGHT_BYTES;
    b->r = r;
    r->batch = b;
    return 0;
}

/* ---- operations on their way ---- */

static void land(struct flight *f, int rc)
{
    struct tl_rados_batch *b = f->batch;
    pthread_mutex_lock(&b->mutex);
    b->count--;
    b->in_flight -= f->bytes;
    f->next = b->idle;
    b->idle = f;
    if (rc < 0 && b->indexing && tl_rados_fence_refused(rc))
        b->refused = true;
    else if (rc < 0 && b->failed == 0)
        b->failed = rc;
    pthread_cond_signal(&b->landed);
    pthread_mutex_unlock(&b->mutex);
}

static void on_landed(rados_completion_t done, void *arg)
{
    struct flight *f = arg;
    land(f, tl_rados_error(f->batch->r->lib->aio_get_return_value(done)));
}

/* Waits while there is no room for so many bytes more; each operation ends by itself: the timeout. SIZE_MAX: until all have landed. */
static void make_room(struct tl_rados_batch *b, size_t bytes)
{
    size_t rest = bytes < b->limit ? b->limit - bytes : 0;
    while (b->count > 0 && (b->count == IN_FLIGHT || b->in_flight > rest || bytes == SIZE_MAX))
        pthread_cond_wait(&b->landed, &b->mutex);
    b->broken = b->broken == 0 ? b->failed : b->broken;
    b->failed = 0;
}

static void land_all(struct tl_rados *r)
{
    pthread_mutex_lock(&r->batch->mutex);
    make_room(r->batch, SIZE_MAX);
    pthread_mutex_unlock(&r->batch->mutex);
}

/* An operation with so many bytes, which is on its way from now on, and its completion; NULL: no memory. */
static struct flight *take_off(struct tl_rados *r, size_t bytes, rados_completion_t *done)
{
    struct tl_rados_batch *b = r->batch;
    pthread_mutex_lock(&b->mutex);
    make_room(b, bytes);
    struct flight *f = b->idle;
    b->idle = f->next;
    f->bytes = bytes;
    b->count++;
    b->in_flight += bytes;
    pthread_mutex_unlock(&b->mutex);
    if (r->lib->aio_create_completion2(f, on_landed, done) == 0)
        return f;
    land(f, -ENOMEM);
    return NULL;
}

/* It has been sent; or it was refused at once, and nothing is on its way. */
static int sent(struct tl_rados *r, struct flight *f, rados_completion_t done, int rc)
{
    if (rc != 0)
        land(f, rc);
    r->lib->aio_release(done);
    return rc;
}

static int operate(struct tl_rados *r, rados_write_op_t op, const char *object, size_t bytes)
{
    rados_completion_t done;
    struct flight *f = take_off(r, bytes, &done);
    int rc = f == NULL ? -ENOMEM : sent(r, f, done, r->lib->aio_write_op_operate(op, r->meta, done, object, NULL, 0));
    r->lib->release_write_op(op);
    return rc;
}

/* ---- writing ---- */

/* With the value that is in b->value. */
static int add_pending(struct tl_rados *r, const struct tl_store_id *id, uint32_t shard, const char *escaped,
                       size_t key_len, size_t value_len)
{
    struct tl_rados_batch *b = r->batch;
    if (b->pending == b->room) {
        uint32_t room = b->room * 2 + 256;
        struct pending *grown = reallocarray(b->list, room, sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        b->list = grown;
        b->room = room;
    }
    char *bytes = malloc(key_len + value_len);
    if (bytes == NULL)
        return -ENOMEM;
    memcpy(bytes, escaped, key_len);
    memcpy(bytes + key_len, b->value, value_len);
    b->list[b->pending] = (struct pending){.id = *id,
                                           .shard = shard,
                                           .order = b->pending,
                                           .key_len = (uint32_t)key_len,
                                           .value_len = (uint32_t)value_len,
                                           .bytes = bytes};
    b->pending++;
    b->pending_bytes += key_len + value_len;
    return 0;
}

/* The object of the key gets its mark, with the same flush. */
static int add_mark(struct tl_rados *r, const struct tl_store_id *id, struct tl_slice key)
{
    struct tl_slice object = {key.at, TL_RADOS_OBJECT};
    char escaped[TL_RADOS_KEY];
    uint64_t hash = tl_hash64(object.at, object.len, tl_hash64(id->bytes, sizeof id->bytes, 1));
    uint64_t *marked = &r->batch->marked[hash % MARKED];
    if (*marked == hash)
        return 0;
    int rc = add_pending(r, id, tl_rados_shard(r, object), escaped, tl_rados_mark_key(escaped, object), 0);
    *marked = rc == 0 ? hash : 0;
    return rc;
}

static int write_blob(struct tl_rados *r, const struct tl_store_id *id, uint64_t seq, struct tl_slice payload,
                      rados_ioctx_t io)
{
    struct tl_rados_name name = tl_rados_blob_name(id, r->writer, seq);
    rados_completion_t done;
    struct flight *f = take_off(r, payload.len, &done);
    if (f == NULL)
        return -ENOMEM;
    return sent(r, f, done, r->lib->aio_write_full(io, name.text, done, payload.at, payload.len));
}

static int flush_some(struct tl_rados *r);

int tl_rados_write(struct tl_store *s, const struct tl_store_id *id, const struct tl_record *rec)
{
    struct tl_rados *r = (struct tl_rados *)s;
    struct tl_rados_batch *b = r->batch;
    char escaped[TL_RADOS_KEY];
    if (r->read_only)
        return -EROFS;
    if (rec->key.len == 0 || rec->key.len > TL_STORE_KEY_MAX || rec->meta.len > TL_STORE_META_MAX ||
        rec->payload.len > TL_STORE_PAYLOAD_MAX)
        return -EINVAL;
    if (b->broken != 0)
        return b->broken;
    int data = tl_rados_data_of(r, rec->class);
    if (data < 0)
        return data;
    uint64_t seq = ++r->last_seq;
    size_t value_len = tl_rados_value_put(b->value, rec, r->writer, seq, (uint8_t)data);
    size_t key_len = tl_rados_escape(escaped, rec->key, true);
    int rc = add_pending(r, id, tl_rados_shard(r, rec->key), escaped, key_len, value_len);
    if (rc == 0 && tl_rados_group(rec->key) != 0)
        rc = add_mark(r, id, rec->key);
    if (rc == 0 && rec->payload.len > TL_RADOS_INLINE)
        rc = write_blob(r, id, seq, rec->payload, r->data[data].io);
    if (rc == 0 && b->pending_bytes > PENDING_BYTES)
        rc = flush_some(r);
    if (rc != 0)
        b->broken = rc;
    return rc;
}

/* ---- flushing ---- */

static int compare(const void *a, const void *b)
{
    const struct pending *x = a, *y = b;
    int c = memcmp(x->id.bytes, y->id.bytes, sizeof x->id.bytes);
    if (c == 0)
        c = x->shard < y->shard ? -1 : x->shard > y->shard;
    return c != 0 ? c : x->order < y->order ? -1 : 1;
}

struct lists {
    const char *keys[OP_KEYS], *values[OP_KEYS];
    size_t key_lens[OP_KEYS], value_lens[OP_KEYS];
};

/* As many as go into one operation; how many, or -errno. */
static int64_t put_some(struct tl_rados *r, const struct pending *p, uint32_t left, struct lists *l)
{
    uint32_t n = 0;
    size_t bytes = 0;
    for (; n < left && n < OP_KEYS && bytes < OP_BYTES; n++) {
        if (p[n].shard != p->shard || memcmp(p[n].id.bytes, p->id.bytes, sizeof p->id.bytes) != 0)
            break;
        l->keys[n] = p[n].bytes;
        l->key_lens[n] = p[n].key_len;
        l->values[n] = p[n].bytes + p[n].key_len;
        l->value_lens[n] = p[n].value_len;
        bytes += p[n].key_len + p[n].value_len;
    }
    struct tl_rados_cont *c = tl_rados_cont(r, &p->id);
    if (c == NULL)
        return -ENOMEM;
    rados_write_op_t op = r->lib->create_write_op();
    tl_rados_fence_guard(c, p->shard, op);
    r->lib->write_op_omap_set2(op, l->keys, l->values, l->key_lens, l->value_lens, n);
    int rc = operate(r, op, tl_rados_index_name(&p->id, p->shard).text, bytes);
    return rc == 0 ? (int64_t)n : rc;
}

static int64_t bytes_of(const struct pending *p)
{
    struct tl_rados_value v;
    if (tl_rados_is_mark(p->bytes, p->key_len))
        return 0;
    check(tl_rados_value_get((struct tl_slice){p->bytes + p->key_len, p->value_len}, &v) == 0);
    return (int64_t)p->key_len + p->value_len + (v.inlined ? 0 : v.len);
}

/* What waits is in the order of containers and shards. */
static bool begins_shard(const struct pending *list, uint32_t i)
{
    const struct pending *p = &list[i];
    return i == 0 || p->shard != p[-1].shard || memcmp(p->id.bytes, p[-1].id.bytes, sizeof p->id.bytes) != 0;
}

/* All fences that will be compared are known. Those that had to be asked for are those of now: if anybody has taken us for dead before, comparing
 * with them says nothing. */
static int ask_fences(struct tl_rados *r)
{
    struct tl_rados_batch *b = r->batch;
    bool asked = false;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < b->pending; i++) {
        if (!begins_shard(b->list, i))
            continue;
        struct tl_rados_cont *c = tl_rados_cont(r, &b->list[i].id);
        rc = c == NULL ? -ENOMEM : tl_rados_fence_ask(c, b->list[i].shard, &asked);
    }
    return rc == 0 && asked ? tl_rados_lease_unbroken(r, b->interrupts) : rc;
}

static void forget_fences(struct tl_rados *r)
{
    for (struct tl_rados_cont *c = r->conts; c != NULL; c = c->next)
        tl_rados_fence_forget(c);
}

static void put_shards(struct tl_rados *r, struct lists *l)
{
    struct tl_rados_batch *b = r->batch;
    int64_t n = ask_fences(r);
    b->refused = false;
    b->indexing = true;
    for (uint32_t i = 0; n >= 0 && i < b->pending; i += (uint32_t)n)
        n = put_some(r, b->list + i, b->pending - i, l);
    if (n < 0 && b->broken == 0)
        b->broken = (int)n;
    land_all(r);
    b->indexing = false;
}

static void put_index(struct tl_rados *r)
{
    struct tl_rados_batch *b = r->batch;
    struct lists *l = malloc(sizeof *l);
    int64_t total = 0;
    b->broken = l == NULL ? -ENOMEM : b->broken;
    qsort(b->list, b->pending, sizeof *b->list, compare);
    for (uint32_t i = 0; i < b->pending; i++)
        total += bytes_of(&b->list[i]);
    tl_rados_counted(r, b->counted); /* of an earlier flush */
    b->counted = b->broken == 0 ? tl_rados_count(r, total, COUNT_BYTES) : NULL;
    b->refused = true;
    for (unsigned tries = 0; b->broken == 0 && b->refused && tries < TRIES; tries++) {
        put_shards(r, l);
        if (b->refused || b->broken != 0)
            forget_fences(r);
    }
    if (b->broken == 0 && b->refused)
        b->broken = -ESTALE; /* fences are not raised that often */
    free(l);
}

/* Payloads that no record will name; best effort, a check finds what is left. */
static void take_back(struct tl_rados *r)
{
    struct tl_rados_batch *b = r->batch;
    struct tl_rados_value v;
    for (uint32_t i = 0; b->broken != -ETIMEDOUT && !b->named && i < b->pending; i++) {
        const struct pending *p = &b->list[i];
        if (tl_rados_value_get((struct tl_slice){p->bytes + p->key_len, p->value_len}, &v) != 0 || v.inlined)
            continue;
        struct tl_rados_name name = tl_rados_blob_name(&p->id, v.writer, v.seq);
        rados_completion_t done;
        struct flight *f = take_off(r, 0, &done);
        if (f != NULL)
            (void)sent(r, f, done, r->lib->aio_remove(r->data[v.data].io, name.text, done));
    }
    land_all(r);
}

static void forget_pending(struct tl_rados_batch *b)
{
    for (uint32_t i = 0; i < b->pending; i++)
        free(b->list[i].bytes);
    b->pending = 0;
    b->pending_bytes = 0;
}

/* What waits is in the index, or `broken` says why not. */
static int flush_some(struct tl_rados *r)
{
    struct tl_rados_batch *b = r->batch;
    land_all(r);
    if (b->broken != 0)
        return b->broken;
    if (b->pending > 0) {
        b->named = true;
        put_index(r);
    }
    if (b->broken == 0) {
        forget_pending(b);
        b->named = false;
    }
    return b->broken;
}

int tl_rados_flush(struct tl_store *s)
{
    struct tl_rados *r = (struct tl_rados *)s;
    struct tl_rados_batch *b = r->batch;
    if (r->read_only)
        return 0;
    int rc = flush_some(r);
    if (rc != 0) {
        take_back(r);
        forget_pending(b);
        memset(b->marked, 0, sizeof b->marked);
    }
    b->broken = 0;
    b->named = false;
    return rc;
}

void tl_rados_batch_begin(struct tl_rados *r)
{
    if (r->batch->pending == 0)
        r->batch->interrupts = atomic_load(&r->interrupts);
}

void tl_rados_batch_free(struct tl_rados *r)
{
    struct tl_rados_batch *b = r->batch;
    if (b == NULL)
        return;
    land_all(r);
    tl_rados_counted(r, b->counted);
    forget_pending(b);
    free(b->list);
    pthread_cond_destroy(&b->landed);
    pthread_mutex_destroy(&b->mutex);
    free(b);
    r->batch = NULL;
}
