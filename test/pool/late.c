// SPDX-License-Identifier: Apache-2.0
#include "pool/late.h"

#include <errno.h>
#include <string.h>

#define MOST 64u

struct late_counts late;

static const struct tl_store_ops *real;
static struct tl_store_ops ops;
static struct waiting {
    uint8_t place[TL_STORE_PLACE_MAX];
    size_t place_len;
    uint32_t offset, len;
    void *out;
} list[MOST];
static unsigned count;

static int end_reads(struct tl_store *s)
{
    int rc = 0;
    for (unsigned i = 0; i < count; i++) {
        const struct waiting *w = &list[i];
        int one = real->read(s, (struct tl_slice){w->place, w->place_len}, w->offset, w->out, w->len);
        rc = rc == 0 ? one : rc;
    }
    if (count > 0 && late.lost > 0) {
        late.lost--;
        rc = -ENOENT;
    }
    count = 0;
    return rc;
}

static int begin_read(struct tl_store *s, struct tl_slice place, uint32_t offset, void *out, uint32_t len)
{
    int rc = count == MOST ? end_reads(s) : 0;
    struct waiting *w = &list[count++];
    w->place_len = place.len;
    w->offset = offset;
    w->len = len;
    w->out = out;
    memcpy(w->place, place.at, place.len);
    memset(out, 0x55, len);
    late.begun++;
    return rc;
}

static int scan(struct tl_store *s, const struct tl_store_id *id, struct tl_slice prefix, struct tl_slice from,
                int (*fn)(void *ctx, const struct tl_found *f), void *ctx)
{
    late.scans++;
    return real->scan(s, id, prefix, from, fn, ctx);
}

static int changes(struct tl_store *s, const struct tl_store_id *id, uint32_t *out)
{
    late.looks++;
    return real->changes(s, id, out);
}

void late_begin(struct tl_pool *pool)
{
    struct tl_store *s = pool->shared->store;
    real = s->ops;
    ops = *real;
    ops.begin_read = begin_read;
    ops.end_reads = end_reads;
    ops.scan = scan;
    ops.changes = changes;
    count = 0;
    memset(&late, 0, sizeof late);
    s->ops = &ops;
}

void late_end(struct tl_pool *pool)
{
    pool->shared->store->ops = real;
}
