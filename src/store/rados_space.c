// SPDX-License-Identifier: Apache-2.0
/* How much a pool in a Ceph cluster takes, and how much there is; see rados.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "store/rados.h"

static void used_name(uint64_t n, char out[16])
{
    snprintf(out, 16, "u.%u", (unsigned)(n % TL_RADOS_USED));
}

static size_t put_text(char *out, const char *text)
{
    size_t len = strlen(text);
    tl_put_u32(out, (uint32_t)len);
    memcpy(out + 4, text, len);
    return 4 + len;
}

/* By the object class `numops`, which adds decimal numbers in an omap. */
rados_completion_t tl_rados_count(struct tl_rados *r, int64_t bytes, int64_t from)
{
    char args[64], number[24], object[16];
    rados_completion_t done = NULL;
    r->uncounted += bytes;
    if (r->uncounted == 0 || llabs(r->uncounted) < from)
        return NULL;
    if (r->lib->aio_create_completion2(NULL, NULL, &done) != 0)
        return NULL;
    snprintf(number, sizeof number, "%lld", (long long)r->uncounted);
    used_name(r->writer, object);
    size_t len = put_text(args, "bytes");
    len += put_text(args + len, number);
    rados_write_op_t op = r->lib->create_write_op();
    r->lib->write_op_create(op, LIBRADOS_CREATE_IDEMPOTENT, NULL);
    r->lib->write_op_exec(op, "numops", "add", args, len, NULL);
    if (r->lib->aio_write_op_operate(op, r->meta, done, object, NULL, 0) != 0) {
        r->lib->aio_release(done);
        done = NULL;
    }
    r->lib->release_write_op(op);
    if (done != NULL)
        r->uncounted = 0;
    return done;
}

void tl_rados_counted(struct tl_rados *r, rados_completion_t done)
{
    if (done == NULL)
        return;
    r->lib->aio_wait_for_complete(done);
    r->lib->aio_release(done);
}

static int add_used(struct tl_rados *r, unsigned n, double *sum)
{
    char object[16], number[64], *key = NULL, *value = NULL;
    rados_omap_iter_t iter = NULL;
    unsigned char more;
    int rc_iter = 0;
    size_t key_len, len;
    used_name(n, object);
    rados_read_op_t op = r->lib->create_read_op();
    r->lib->read_op_omap_get_vals2(op, "", "", 4, &iter, &more, &rc_iter);
    int rc = tl_rados_read_meta(r, op, object);
    while (rc == 0 && (rc = r->lib->omap_get_next2(iter, &key, &value, &key_len, &len)) == 0 && key != NULL) {
        snprintf(number, sizeof number, "%.*s", (int)(len < 60 ? len : 60), value);
        *sum += strtod(number, NULL);
    }
    if (iter != NULL)
        r->lib->omap_get_end(iter);
    r->lib->release_read_op(op);
    return rc == -ENOENT ? 0 : rc;
}

/* ---- how much there is ---- */

struct room {
    uint64_t total, free; /* of payloads, without their copies */
    bool known;
};

static const json_t *named(const json_t *list, const char *key, const char *name)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *is = json_string_value(json_object_get(json_array_get(list, i), key));
        if (is != NULL && strcmp(is, name) == 0)
            return json_array_get(list, i);
    }
    return NULL;
}

static uint64_t number(const json_t *object, const char *key)
{
    double value = json_number_value(json_object_get(object, key));
    return value > 0 ? (uint64_t)value : 0;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Of one RADOS pool: what its quota leaves, and what the OSDs under it have, whichever is less. used: what we know to be in it. */
static struct room room_of(const json_t *dump, const json_t *df, const char *name, uint64_t used)
{
    uint64_t quota = number(named(json_object_get(dump, "pools"), "pool_name", name), "quota_max_bytes");
    const json_t *stats = json_object_get(named(json_object_get(df, "pools"), "name", name), "stats");
    uint64_t there = number(stats, "max_avail"), stored = number(stats, "stored");
    const json_t *all = json_object_get(df, "stats");
    /* By a manager; who does not know a new RADOS pool at once. */
    bool counted = number(all, "total_bytes") > 0 && (there > 0 || stored > 0 || number(all, "total_avail_bytes") == 0);
    if (!counted)
        return (struct room){.total = quota, .free = quota > used ? quota - used : 0, .known = quota > 0};
    if (quota == 0)
        return (struct room){.total = stored + there, .free = there, .known = true};
    return (struct room){.total = least(quota, stored + there),
                         .free = least(quota > stored ? quota - stored : 0, there),
                         .known = true};
}

/* Quotas are of a class, and add up; else all classes share what there is, and the default's is told. */
static struct room room_in(struct tl_rados *r, uint64_t used)
{
    json_t *dump = NULL, *df = NULL;
    struct room sum = {.known = false};
    bool quotas = true;
    int rc = tl_rados_mon(r, json_pack("{s:s}", "prefix", "osd dump"), &dump, NULL);
    rc = rc == 0 ? tl_rados_mon(r, json_pack("{s:s, s:s}", "prefix", "df", "detail", "detail"), &df, NULL) : rc;
    for (unsigned i = 0; rc == 0 && i < r->classes.count && quotas; i++) {
        const json_t *pool = named(json_object_get(dump, "pools"), "pool_name", r->data[i].name);
        quotas = number(pool, "quota_max_bytes") > 0;
        struct room one = room_of(dump, df, r->data[i].name, i == 0 ? used : 0);
        if (quotas || i == 0)
            sum = (struct room){sum.total + one.total, sum.free + one.free, one.known};
    }
    json_decref(dump);
    json_decref(df);
    return sum;
}

static int get_used(struct tl_rados *r, uint64_t *out)
{
    double used = 0;
    int rc = 0;
    tl_rados_counted(r, tl_rados_count(r, 0, 0));
    for (unsigned i = 0; rc == 0 && i < TL_RADOS_USED; i++)
        rc = add_used(r, i, &used);
    *out = used > 0 ? (uint64_t)used : 0;
    return rc;
}

int tl_rados_recount(struct tl_rados *r, uint64_t bytes, uint64_t *before)
{
    char object[16], number[24];
    const char *key = "bytes", *value = number;
    size_t key_len = strlen(key), len;
    int rc = get_used(r, before);
    for (unsigned i = 0; rc == 0 && i < TL_RADOS_USED; i++) {
        len = (size_t)snprintf(number, sizeof number, "%llu", (unsigned long long)(i == 0 ? bytes : 0));
        used_name(i, object);
        rados_write_op_t op = r->lib->create_write_op();
        r->lib->write_op_create(op, LIBRADOS_CREATE_IDEMPOTENT, NULL);
        r->lib->write_op_omap_set2(op, &key, &value, &key_len, &len, 1);
        rc = tl_rados_write_op(r, op, object);
    }
    return rc;
}

int tl_rados_space(struct tl_store *s, struct tl_store_space *out)
{
    struct tl_rados *r = (struct tl_rados *)s;
    uint64_t used;
    int rc = get_used(r, &used);
    if (rc != 0)
        return rc;
    struct room room = room_in(r, used);
    *out = (struct tl_store_space){
        .total_bytes = room.known ? room.total : 0, .free_bytes = room.known ? room.free : 0, .used_bytes = used};
    return 0;
}
