// SPDX-License-Identifier: Apache-2.0
/* The cache manager as a back end. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache/backend.h"
#include "cache/cache.h"

#define AGAIN_MAX 100000u /* each -EAGAIN made some room */
#define ITEMS     32u

struct memory {
    struct tl_backend base;
    struct tl_cache *cache;
    uint64_t gets, misses;
};

static int write_all(struct tl_cache *c, uint32_t fill, const uint8_t *bytes, uint64_t size)
{
    uint64_t done = 0;
    for (uint32_t i = 0; done < size; i++) {
        int64_t n = tl_cache_write(c, fill, bytes + done, size - done);
        if (n < 0 && (n != -EAGAIN || i > AGAIN_MAX))
            return (int)n;
        done += n > 0 ? (uint64_t)n : 0;
    }
    return 0;
}

static int put(struct tl_backend *b, const struct tl_stored *what, const void *bytes)
{
    struct tl_cache *c = ((struct memory *)b)->cache;
    const struct tl_cache_attr a = {.key = what->key,
                                    .class = what->class,
                                    .replace = true,
                                    .check = true,
                                    .digest = what->digest,
                                    .label = what->label[0] != 0 ? what->label : NULL};
    uint32_t fill;
    int rc = -EAGAIN;
    for (uint32_t i = 0; i < AGAIN_MAX && rc == -EAGAIN; i++)
        rc = tl_cache_begin(c, &a, what->size, &fill);
    if (rc != 0)
        return rc;
    rc = write_all(c, fill, bytes, what->size);
    if (rc != 0) {
        tl_cache_abort(c, fill);
        return rc;
    }
    rc = -EAGAIN;
    for (uint32_t i = 0; i < AGAIN_MAX && rc == -EAGAIN; i++)
        rc = tl_cache_commit(c, fill);
    if (rc == -EAGAIN)
        tl_cache_abort(c, fill);
    return rc;
}

static struct tl_stored stored_of(const struct tl_cache_item *item)
{
    struct tl_stored s = {.key = item->key, .digest = item->digest, .size = item->size, .class = item->class};
    size_t len = item->label_len < sizeof s.label ? item->label_len : sizeof s.label - 1;
    memcpy(s.label, item->label, len);
    return s;
}

static int look(struct tl_backend *b, struct tl_hash key, struct tl_stored *out)
{
    struct tl_cache_item item;
    int rc = tl_cache_look(((struct memory *)b)->cache, key, &item);
    if (rc == 0)
        *out = stored_of(&item);
    return rc;
}

static int get(struct tl_backend *b, struct tl_hash key, struct tl_stored *out, void *bytes, uint64_t room)
{
    struct memory *m = (struct memory *)b;
    struct tl_reader *reader = tl_cache_reader(m->cache);
    struct tl_value v;
    struct tl_stored s;
    int rc = look(b, key, &s);
    m->gets++;
    m->misses += rc != 0;
    if (rc == 0)
        rc = tl_reader_get(reader, key, &v);
    if (rc != 0)
        return rc;
    if (v.size > room)
        rc = -ENOBUFS;
    else if (!tl_hash_equal(tl_hash_bytes(v.bytes, v.size, 0), s.digest))
        rc = -EBADMSG;
    else if (v.size > 0)
        memcpy(bytes, v.bytes, v.size);
    tl_reader_let_go(reader, &v);
    if (rc == -EBADMSG)
        (void)!tl_cache_drop(m->cache, key);
    if (rc == 0)
        *out = s;
    return rc;
}

static int drop(struct tl_backend *b, struct tl_hash key)
{
    return tl_cache_drop(((struct memory *)b)->cache, key);
}

static void each(struct tl_backend *b, bool (*fn)(void *ctx, const struct tl_stored *what), void *ctx)
{
    const struct tl_cache *c = ((struct memory *)b)->cache;
    struct tl_cache_item items[ITEMS];
    bool more = true;
    for (uint64_t cursor = 0; cursor != UINT64_MAX && more;) {
        uint32_t n = tl_cache_list(c, &cursor, items, ITEMS);
        for (uint32_t i = 0; i < n && more; i++) {
            struct tl_stored s = stored_of(&items[i]);
            more = fn(ctx, &s);
        }
    }
}

static void stats(struct tl_backend *b, struct tl_backend_stats *out)
{
    const struct memory *m = (struct memory *)b;
    struct tl_cache_stats s;
    tl_cache_stats(m->cache, &s);
    *out = (struct tl_backend_stats){.limit_bytes = s.limit_bytes,
                                     .used_bytes = s.used_bytes,
                                     .values = s.classes[0].values + s.classes[1].values + s.classes[2].values,
                                     .puts = s.puts,
                                     .gets = m->gets,
                                     .misses = m->misses,
                                     .evictions = s.evictions,
                                     .damaged = s.damaged};
}

static void close_memory(struct tl_backend *b)
{
    free(b);
}

int tl_backend_memory(struct tl_backend **out, struct tl_cache *cache)
{
    static const struct tl_backend_ops ops = {.name = "memory",
                                              .put = put,
                                              .look = look,
                                              .get = get,
                                              .drop = drop,
                                              .each = each,
                                              .stats = stats,
                                              .close = close_memory};
    struct memory *m = calloc(1, sizeof *m);
    if (m == NULL)
        return -ENOMEM;
    m->base.ops = &ops;
    m->cache = cache;
    *out = &m->base;
    return 0;
}
