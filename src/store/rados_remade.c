// SPDX-License-Identifier: Apache-2.0
/* Shards of an index that were lost, and made anew by a repair. Such a one has the xattr lost: after which epoch. Writers go on; but what it had is not
 * known, so all scans of it fail, in the operation that reads, until somebody has accepted the loss: then the xattr is empty, as if it had never been there. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "store/rados.h"

#define LOST  "lost"
#define SHOWN 6u /* objects that are named */

void tl_rados_remade_guard(struct tl_rados *r, rados_read_op_t op)
{
    r->lib->read_op_cmpxattr(op, LOST, LIBRADOS_CMPXATTR_OP_EQ, "", 0);
}

int tl_rados_remake(struct tl_rados *r, const struct tl_store_id *id, uint32_t shard, const char *when)
{
    struct tl_rados_cont *c = tl_rados_cont(r, id);
    if (c == NULL)
        return -ENOMEM;
    rados_write_op_t op = r->lib->create_write_op();
    r->lib->write_op_create(op, LIBRADOS_CREATE_EXCLUSIVE, NULL);
    r->lib->write_op_setxattr(op, LOST, when, strlen(when));
    tl_rados_fence_raise(r, op); /* what was on its way to the one that was lost does not fit */
    tl_rados_fence_forget(c);
    return tl_rados_write_op(r, op, tl_rados_index_name(id, shard).text);
}

int tl_rados_accept(struct tl_rados *r, const struct tl_store_id *id, uint32_t shard)
{
    rados_write_op_t op = r->lib->create_write_op();
    r->lib->write_op_assert_exists(op);
    r->lib->write_op_setxattr(op, LOST, "", 0);
    return tl_rados_write_op(r, op, tl_rados_index_name(id, shard).text);
}

void tl_rados_remade_why(struct tl_rados *r, const char *shard, char *out, size_t size)
{
    char when[64];
    int rc = tl_rados_getxattr(r, shard, LOST, when, sizeof when - 1);
    when[rc > 0 ? rc : 0] = 0;
    snprintf(out, size,
             "it was lost, and made anew%s%s; what it had is unknown until the loss is accepted: tiercel pool check "
             "--accept-loss",
             rc > 0 ? " after " : "", when);
}

/* Some of the objects that the shard has, by the numbers that objects have in keys (pool/key.h). */
void tl_rados_shard_objects(const struct tl_rados *r, uint32_t shard, char *out, size_t size)
{
    unsigned shown = 0;
    size_t used = 0;
    out[0] = 0;
    for (unsigned n = 0; n < 256 && shown < SHOWN && used + 8 < size; n++) {
        const uint8_t key[TL_RADOS_OBJECT] = {[TL_RADOS_OBJECT - 1] = (uint8_t)n};
        if (tl_rados_shard(r, (struct tl_slice){key, sizeof key}) == shard)
            used += (size_t)snprintf(out + used, size - used, "%s0.%u", shown++ > 0 ? ", " : "", n);
    }
}

bool tl_rados_unknown(struct tl_store *s)
{
    const struct tl_rados *r = (const struct tl_rados *)s;
    return r->failed_rc == -ECANCELED;
}
