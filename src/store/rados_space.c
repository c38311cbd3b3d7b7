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
    int rc = tl_rados_error(r->lib->read_op_operate(op, r->meta, object, 0));
    while (rc == 0 && (rc = r->lib->omap_get_next2(iter, &key, &value, &key_len, &len)) == 0 && key != NULL) {
        snprintf(number, sizeof number, "%.*s", (int)(len < 60 ? len : 60), value);
        *sum += strtod(number, NULL);
    }
    if (iter != NULL)
        r->lib->omap_get_end(iter);
    r->lib->release_read_op(op);
    return rc == -ENOENT ? 0 : rc;
}

int tl_rados_space(struct tl_store *s, struct tl_store_space *out)
{
    struct tl_rados *r = (struct tl_rados *)s;
    struct rados_cluster_stat_t stat = {.kb = 0};
    double used = 0;
    tl_rados_counted(r, tl_rados_count(r, 0, 0));
    int rc = tl_rados_error(r->lib->cluster_stat(r->cluster, &stat)); /* zeros without a manager */
    for (unsigned i = 0; rc == 0 && i < TL_RADOS_USED; i++)
        rc = add_used(r, i, &used);
    if (rc == 0)
        *out = (struct tl_store_space){.total_bytes = stat.kb * 1024,
                                       .free_bytes = stat.kb_avail * 1024,
                                       .used_bytes = used > 0 ? (uint64_t)used : 0};
    return rc;
}
