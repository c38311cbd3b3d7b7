// SPDX-License-Identifier: Apache-2.0
/* What the storage has lost of a pool for good, and what is said of it.
 *
 * A container that is listed has a state: it is made before it is listed, and goes after it is listed no more. So one that is listed and has none has lost
 * it. It is not made anew: nobody would know any more which of its records count. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "pool/internal.h"

int tl_lost_missing(struct tl_shared *s, const struct tl_store_id *id)
{
    struct tl_pool p = {.shared = s};
    struct tl_listed l;
    char uuid[37];
    tl_uuid_text(id->bytes, uuid);
    int rc = tl_registry_find(&p, uuid, &l);
    return rc == 0 ? -EBADMSG : rc;
}

int tl_lost_load(struct tl_state *state, struct tl_shared *s, const struct tl_store_id *id)
{
    int rc = tl_state_load(state, s->store, id);
    return rc == -ENOENT ? tl_lost_missing(s, id) : rc;
}

int tl_lost_look(struct tl_shared *s, const struct tl_store_id *id, tl_store_tx_fn fn, void *ctx)
{
    int rc = tl_state_look(s->store, id, fn, ctx);
    return rc == -ENOENT ? tl_lost_missing(s, id) : rc;
}

int tl_lost_change(struct tl_shared *s, const struct tl_store_id *id, tl_store_tx_fn fn, void *ctx)
{
    int rc = tl_state_change(s->store, id, fn, ctx);
    return rc == -ENOENT ? tl_lost_missing(s, id) : rc;
}

static const char *damage_of(const struct tl_shared *s)
{
    return s->store->ops->damage != NULL ? s->store->ops->damage(s->store) : "it is not what was written";
}

const char *tl_cont_damage(struct tl_cont *c)
{
    return damage_of(c->pool->shared);
}

const char *tl_lost_why(const struct tl_shared *s, int rc, struct tl_lost_text *out)
{
    switch (rc) {
    case -EBADMSG:
        snprintf(
            out->text, sizeof out->text,
            "its state is lost or damaged: %s; bring back what has held it, or give the container up with: tiercel "
            "cont destroy --force",
            damage_of(s));
        break;
    case -ETIMEDOUT:
        snprintf(out->text, sizeof out->text, "its state cannot be read now: %s; try again when that is back",
                 damage_of(s));
        break;
    default: snprintf(out->text, sizeof out->text, "%s", tl_store_strerror(rc));
    }
    return out->text;
}

int tl_lost_pool(const struct tl_shared *s, int rc, struct tl_error *err)
{
    switch (rc) {
    case -EBADMSG:
        return tl_error_set(err, rc,
                            "pool %s: its state, the list of its containers, is lost or damaged: %s; bring back what "
                            "has held it, or give "
                            "up all that is in the pool with: tiercel pool destroy --force",
                            s->path, damage_of(s));
    case -ETIMEDOUT:
        return tl_error_set(err, rc, "pool %s: its state cannot be read now: %s; try again when that is back", s->path,
                            damage_of(s));
    default: return tl_error_set(err, rc, "pool %s cannot be read: %s", s->path, tl_store_strerror(rc));
    }
}
