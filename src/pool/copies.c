// SPDX-License-Identifier: Apache-2.0
/* Containers that are being copied into a pool. In the pool's state: "y" and a UUID: the source's UUID, when it was begun, a token, the label that it will have.
 * What is under "y" is no container: it has records, and a state at the very end only, and nobody opens it; one transaction makes it one.
 *
 * Who copies has a mark. On storage where a mark is a lease, he may have been taken for dead, and another may have gone on, or come to the end: so each has a token of
 * his own, too, which the two transactions at the end compare. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/bytes.h"
#include "pool/internal.h"

#define ID   16u
#define HEAD (ID + 16u)

struct entry_key {
    uint8_t bytes[1 + ID];
};

static struct tl_slice key_of(struct entry_key *k, const struct tl_store_id *id)
{
    k->bytes[0] = 'y';
    memcpy(k->bytes + 1, id->bytes, ID);
    return (struct tl_slice){k->bytes, sizeof k->bytes};
}

static int parse(void *out, struct tl_slice key, struct tl_slice value)
{
    struct tl_unfinished *u = out;
    const uint8_t *v = value.at;
    if (key.len != 1 + ID || value.len <= HEAD || value.len > HEAD + TIERCEL_LABEL_MAX)
        return -EBADMSG;
    *u = (struct tl_unfinished){.begun_ns = tl_get_u64(v + ID), .token = tl_get_u64(v + ID + 8)};
    memcpy(u->id.bytes, (const uint8_t *)key.at + 1, ID);
    memcpy(u->source.bytes, v, ID);
    memcpy(u->label, v + HEAD, value.len - HEAD);
    return 0;
}

static int put(struct tl_store_tx *tx, const struct tl_unfinished *u)
{
    uint8_t v[HEAD + TIERCEL_LABEL_MAX];
    struct entry_key k;
    size_t len = strlen(u->label);
    memcpy(v, u->source.bytes, ID);
    tl_put_u64(v + ID, u->begun_ns);
    tl_put_u64(v + ID + 8, u->token);
    memcpy(v + HEAD, u->label, len);
    return tx->ops->put(tx, key_of(&k, &u->id), (struct tl_slice){v, HEAD + len});
}

uint64_t tl_unfinished_mark(const struct tl_store_id *id)
{
    return tl_hash64("copy", 4, tl_hash64(id->bytes, sizeof id->bytes, 0));
}

/* ---- looking ---- */

struct looking {
    const struct tl_store_id *id; /* NULL: by label */
    const char *label;
    struct tl_unfinished *out;
};

static int match(void *ctx, struct tl_slice key, struct tl_slice value)
{
    const struct looking *l = ctx;
    struct tl_unfinished u;
    int rc = parse(&u, key, value);
    if (rc != 0)
        return rc;
    if (l->id != NULL ? memcmp(l->id->bytes, u.id.bytes, ID) != 0 : strcmp(l->label, u.label) != 0)
        return 0;
    *l->out = u;
    return 1;
}

/* 1: it is in *l->out; 0; -errno. */
static int find(struct tl_store_tx *tx, struct looking *l)
{
    return tx->ops->each(tx, (struct tl_slice){"y", 1}, match, l);
}

static int look(void *ctx, struct tl_store_tx *tx)
{
    int rc = find(tx, ctx);
    return rc < 0 ? rc : rc == 1 ? 0 : -ENOENT;
}

int tl_unfinished_there(struct tl_pool *p, const struct tl_unfinished *u)
{
    struct tl_unfinished now;
    struct looking l = {.id = &u->id, .out = &now};
    int rc = p->shared->store->ops->look(p->shared->store, &tl_pool_state, look, &l);
    return rc == 0 && now.token != u->token ? -ENOENT : rc;
}

int tl_unfinished_list(struct tl_pool *p, struct tl_unfinished **out, unsigned *count)
{
    void *list;
    int rc = tl_registry_entries(p, 'y', sizeof **out, parse, &list, count);
    if (rc == 0)
        *out = list;
    return rc;
}

/* ---- beginning ---- */

struct beginning {
    struct tl_unfinished fresh, *out;
    bool begun;
};

static int is_listed(void *ctx, struct tl_slice key, struct tl_slice value)
{
    const char *label = ctx;
    (void)value;
    return key.len == 1 + strlen(label) && memcmp((const uint8_t *)key.at + 1, label, strlen(label)) == 0;
}

static int begin(void *ctx, struct tl_store_tx *tx)
{
    struct beginning *b = ctx;
    struct looking l = {.label = b->fresh.label, .out = b->out};
    b->begun = false;
    int rc = tx->ops->each(tx, (struct tl_slice){"l", 1}, is_listed, b->fresh.label);
    rc = rc == 1 ? -EEXIST : rc == 0 ? find(tx, &l) : rc;
    if (rc == 1) {
        b->begun = true;
        return memcmp(b->out->source.bytes, b->fresh.source.bytes, ID) == 0 ? 0 : -EALREADY;
    }
    *b->out = b->fresh;
    return rc == 0 ? put(tx, &b->fresh) : rc;
}

int tl_unfinished_begin(struct tl_pool *p, const struct tl_store_id *source, const char *label,
                        struct tl_unfinished *out, bool *begun)
{
    struct tl_store *s = p->shared->store;
    struct beginning b = {.fresh.source = *source, .out = out};
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    b.fresh.begun_ns = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
    memcpy(b.fresh.label, label, strlen(label));
    if (getrandom(b.fresh.id.bytes, ID, 0) != ID)
        return -errno;
    int rc = s->ops->change(s, &tl_pool_state, begin, &b);
    *begun = b.begun;
    return rc;
}

static int take_over(void *ctx, struct tl_store_tx *tx)
{
    struct tl_unfinished *u = ctx, now;
    struct looking l = {.id = &u->id, .out = &now};
    int rc = look(&l, tx);
    return rc == 0 ? put(tx, u) : rc;
}

int tl_unfinished_own(struct tl_pool *p, struct tl_unfinished *u)
{
    struct tl_store *s = p->shared->store;
    if (getrandom(&u->token, sizeof u->token, 0) != sizeof u->token)
        return -errno;
    int rc = s->ops->change(s, &tl_pool_state, take_over, u);
    return rc == 0 ? tl_state_claim(s, &u->id, u->token) : rc;
}

/* ---- the end ---- */

struct ending {
    const struct tl_unfinished *u;
    uint64_t created_ns;
};

static int finish(void *ctx, struct tl_store_tx *tx)
{
    const struct ending *e = ctx;
    struct entry_key k;
    struct tl_unfinished now;
    struct looking l = {.id = &e->u->id, .out = &now};
    int rc = look(&l, tx);
    if (rc == 0 && now.token != e->u->token)
        rc = -ENOENT;
    rc = rc == 0 ? tx->ops->del(tx, key_of(&k, &e->u->id)) : rc;
    return rc == 0 ? tl_registry_enter(tx, &e->u->id, e->u->label, e->created_ns) : rc;
}

int tl_unfinished_finish(struct tl_pool *p, const struct tl_unfinished *u, uint64_t created_ns)
{
    struct ending e = {u, created_ns};
    return p->shared->store->ops->change(p->shared->store, &tl_pool_state, finish, &e);
}

static int doom(void *ctx, struct tl_store_tx *tx)
{
    const struct tl_unfinished *u = ctx;
    struct entry_key k;
    int rc = tx->ops->del(tx, key_of(&k, &u->id));
    return rc == 0 ? tl_registry_doom(tx, &u->id) : rc;
}

int tl_unfinished_give_up(struct tl_pool *p, const char *name)
{
    struct tl_store *s = p->shared->store;
    struct tl_store_id id;
    struct tl_unfinished u;
    struct looking l = {.id = tl_uuid_parse(name, &id) ? &id : NULL, .label = name, .out = &u};
    int rc = s->ops->look(s, &tl_pool_state, look, &l);
    rc = rc == 0 ? s->ops->claim(s, tl_unfinished_mark(&u.id), true) : rc;
    if (rc != 0)
        return rc == -EALREADY ? -EBUSY : rc;
    rc = s->ops->change(s, &tl_pool_state, doom, &u);
    rc = rc == 0 ? tl_registry_clean(p->shared) : rc;
    s->ops->unclaim(s, tl_unfinished_mark(&u.id));
    return rc;
}
