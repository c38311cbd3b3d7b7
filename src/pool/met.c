// SPDX-License-Identifier: Apache-2.0
/* Records that a scan met by the way. Whether anything was ever punched in an object is asked of its first records; often they are already what is
 * looked for next, and each question to a cluster takes as long as a small payload does. */
#include <string.h>

#include "pool/internal.h"

static struct tl_found found(const struct tl_met *met, unsigned i)
{
    const struct tl_met_record *r = &met->list[i];
    const uint8_t *at = met->bytes + r->at;
    return (struct tl_found){.key = {at, r->key_len},
                             .meta = {at + r->key_len, r->meta_len},
                             .payload_len = r->payload_len,
                             .place = {at + r->key_len + r->meta_len, r->place_len}};
}

static void copy_behind(struct tl_met *met, struct tl_slice bytes)
{
    if (bytes.len > 0)
        memcpy(met->bytes + met->len, bytes.at, bytes.len);
    met->len += bytes.len;
}

bool tl_met_add(struct tl_met *met, const struct tl_found *f)
{
    if (met->count == TL_MET_MAX || f->key.len + f->meta.len + f->place.len > sizeof met->bytes - met->len)
        return false;
    met->list[met->count++] = (struct tl_met_record){.at = met->len,
                                                     .payload_len = f->payload_len,
                                                     .key_len = (uint16_t)f->key.len,
                                                     .meta_len = (uint16_t)f->meta.len,
                                                     .place_len = (uint16_t)f->place.len};
    copy_behind(met, f->key);
    copy_behind(met, f->meta);
    copy_behind(met, f->place);
    return true;
}

int tl_met_scan(struct tl_cont *c, const struct tl_met *met, struct tl_slice prefix, struct tl_slice from,
                int (*fn)(void *ctx, const struct tl_found *f), void *ctx)
{
    struct tl_store *s = c->pool->shared->store;
    struct tl_key behind = {.len = 0};
    for (unsigned i = 0; met->known && i < met->count; i++) {
        const struct tl_found f = found(met, i);
        if (tl_key_compare(f.key, prefix) < 0 || tl_key_compare(f.key, from) < 0)
            continue;
        int rc = tl_begins_with(f.key, prefix) ? fn(ctx, &f) : 0;
        if (rc != 0 || !tl_begins_with(f.key, prefix))
            return rc;
        if (i == met->count - 1) {
            memcpy(behind.bytes, f.key.at, f.key.len);
            behind.len = f.key.len;
            tl_key_behind(&behind);
        }
    }
    if (met->known && met->all)
        return 0;
    return s->ops->scan(s, &c->id, prefix, behind.len > 0 ? tl_key_slice(&behind) : from, fn, ctx);
}
