// SPDX-License-Identifier: Apache-2.0
/* See state.h. */
#include "pool/state.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define KEY_MAX   24u
#define NUMBERS   32u /* bytes of the value: version, GHCE, GHPCE, swept, next handle */
#define HANDLE    56u
#define VERSION   1u
#define COUNT_MAX (1u << 20) /* of handles, tombstones, snapshots: more is damage */

struct key {
    uint8_t bytes[KEY_MAX];
    size_t len;
};

static struct tl_slice slice(const struct key *k)
{
    return (struct tl_slice){k->bytes, k->len};
}

static struct key key_of(char kind)
{
    struct key k = {.len = 1};
    k.bytes[0] = (uint8_t)kind;
    return k;
}

static void add_u32(struct key *k, uint32_t v)
{
    v = htobe32(v);
    memcpy(k->bytes + k->len, &v, sizeof v);
    k->len += sizeof v;
}

static void add_u64(struct key *k, uint64_t v)
{
    v = htobe64(v);
    memcpy(k->bytes + k->len, &v, sizeof v);
    k->len += sizeof v;
}

static uint32_t u32_at(struct tl_slice key, size_t at)
{
    uint32_t v;
    memcpy(&v, (const uint8_t *)key.at + at, sizeof v);
    return be32toh(v);
}

static uint64_t u64_at(struct tl_slice key, size_t at)
{
    uint64_t v;
    memcpy(&v, (const uint8_t *)key.at + at, sizeof v);
    return be64toh(v);
}

/* ---- reading ---- */

void tl_state_fini(struct tl_state *s)
{
    free(s->epochs.handles);
    free(s->epochs.tombs);
    free(s->epochs.snapshots);
    *s = (struct tl_state){.epochs.handles = NULL};
}

/* Room for count + 1 things of a size. */
static int make_room(void **array, uint32_t *max, uint32_t count, size_t size)
{
    if (count + 1 <= *max)
        return 0;
    uint32_t more = *max * 2 > 8 ? *max * 2 : 8;
    void *grown = more > COUNT_MAX ? NULL : reallocarray(*array, more, size);
    if (grown == NULL)
        return more > COUNT_MAX ? -EBADMSG : -ENOMEM;
    *array = grown;
    *max = more;
    return 0;
}

/* What every operation may need. */
static int make_all_room(struct tl_epochs *e)
{
    int rc = make_room((void **)&e->handles, &e->handle_max, e->handle_count, sizeof *e->handles);
    rc = rc == 0 ? make_room((void **)&e->tombs, &e->tomb_max, e->tomb_count, sizeof *e->tombs) : rc;
    return rc == 0 ? make_room((void **)&e->snapshots, &e->snapshot_max, e->snapshot_count, sizeof *e->snapshots) : rc;
}

static int read_numbers(struct tl_epochs *e, struct tl_slice value)
{
    const uint8_t *v = value.at;
    if (value.len != NUMBERS || tl_get_u32(v) != VERSION)
        return -EBADMSG;
    e->next_handle = tl_get_u32(v + 4);
    e->ghce = tl_get_u64(v + 8);
    e->ghpce = tl_get_u64(v + 16);
    e->swept = tl_get_u64(v + 24);
    return 0;
}

static int read_handle(struct tl_epochs *e, struct tl_slice key, struct tl_slice value)
{
    const uint8_t *v = value.at;
    if (key.len != 5 || value.len != HANDLE)
        return -EBADMSG;
    e->handles[e->handle_count++] = (struct tl_epoch_handle){.id = u32_at(key, 1),
                                                             .era = tl_get_u32(v),
                                                             .capas = tl_get_u32(v + 4),
                                                             .uuid = {tl_get_u64(v + 8), tl_get_u64(v + 16)},
                                                             .hce = tl_get_u64(v + 24),
                                                             .lhe = tl_get_u64(v + 32),
                                                             .lre = tl_get_u64(v + 40),
                                                             .failed = tl_get_u64(v + 48)};
    return 0;
}

/* Of the user's properties, those that are needed here. */
static int read_property(struct tl_state *s, struct tl_slice key, struct tl_slice value)
{
    if (key.len != strlen(TL_STATE_CLASS) || memcmp(key.at, TL_STATE_CLASS, key.len) != 0)
        return 0;
    if (value.len != 2)
        return -EBADMSG;
    s->class = tl_get_u16(value.at);
    return 0;
}

static int read_one(void *ctx, struct tl_slice key, struct tl_slice value)
{
    struct tl_state *s = ctx;
    struct tl_epochs *e = &s->epochs;
    int rc = make_all_room(e);
    if (rc != 0 || key.len == 0)
        return rc != 0 ? rc : -EBADMSG;
    switch (*(const char *)key.at) {
    case 'n': return read_numbers(e, value);
    case 'h': return read_handle(e, key, value);
    case 's':
        if (key.len != 9)
            return -EBADMSG;
        e->snapshots[e->snapshot_count++] = u64_at(key, 1);
        return 0;
    case 'k':
        if (key.len != 1 || value.len != 8)
            return -EBADMSG;
        e->kept = tl_get_u64(value.at);
        return 0;
    case 't':
        if (key.len != 17 || value.len != 8)
            return -EBADMSG;
        e->tombs[e->tomb_count++] = (struct tl_epoch_tomb){
            .handle = u32_at(key, 1), .era = u32_at(key, 5), .first = u64_at(key, 9), .last = tl_get_u64(value.at)};
        return 0;
    case 'p': return read_property(s, key, value);
    case 'u': s->any_class = true; return 0;
    default: return 0; /* what else there is about a container */
    }
}

static int load(void *ctx, struct tl_store_tx *tx)
{
    struct tl_state *s = ctx;
    struct tl_epochs *e = &s->epochs;
    e->handle_count = e->tomb_count = e->snapshot_count = 0;
    e->next_handle = 0;
    e->kept = TL_EPOCH_MAX;
    s->class = 0;
    s->any_class = false;
    struct key numbers = key_of('n');
    struct tl_slice value;
    int rc = tx->ops->get(tx, slice(&numbers), &value); /* -ENOENT: no such container */
    rc = rc == 0 ? tx->ops->each(tx, (struct tl_slice){"", 0}, read_one, s) : rc;
    rc = rc == 0 ? make_all_room(e) : rc;
    return rc == 0 && tl_epochs_verify(e) != NULL ? -EBADMSG : rc;
}

int tl_state_load(struct tl_state *s, struct tl_store *store, const struct tl_store_id *id)
{
    return store->ops->look(store, id, load, s);
}

int tl_state_refresh(struct tl_state *s, struct tl_store *store, const struct tl_store_id *id, uint32_t *changes,
                     bool must)
{
    uint32_t now;
    if (store->ops->look_again != NULL)
        return store->ops->look_again(store, id, changes, must, load, s);
    int rc = store->ops->changes(store, id, &now);
    if (rc != 0)
        return rc;
    if (!must && now == *changes)
        return 1;
    *changes = now;
    return tl_state_load(s, store, id);
}

struct guarded {
    tl_store_tx_fn fn;
    void *ctx;
};

static int if_there(void *ctx, struct tl_store_tx *tx)
{
    const struct guarded *g = ctx;
    struct key numbers = key_of('n');
    struct tl_slice value;
    int rc = tx->ops->get(tx, slice(&numbers), &value);
    return rc == 0 ? g->fn(g->ctx, tx) : rc;
}

int tl_state_change(struct tl_store *store, const struct tl_store_id *id, tl_store_tx_fn fn, void *ctx)
{
    struct guarded g = {fn, ctx};
    return store->ops->change(store, id, if_there, &g);
}

int tl_state_look(struct tl_store *store, const struct tl_store_id *id, tl_store_tx_fn fn, void *ctx)
{
    struct guarded g = {fn, ctx};
    return store->ops->look(store, id, if_there, &g);
}

/* ---- writing ---- */

static void put_numbers(const struct tl_epochs *e, uint8_t *v)
{
    tl_put_u32(v, VERSION);
    tl_put_u32(v + 4, e->next_handle);
    tl_put_u64(v + 8, e->ghce);
    tl_put_u64(v + 16, e->ghpce);
    tl_put_u64(v + 24, e->swept);
}

static int write_numbers(const struct tl_epochs *e, struct tl_store_tx *tx)
{
    uint8_t v[NUMBERS];
    struct key k = key_of('n');
    put_numbers(e, v);
    return tx->ops->put(tx, slice(&k), (struct tl_slice){v, sizeof v});
}

static int write_handle(const struct tl_epochs *e, struct tl_store_tx *tx, uint32_t id)
{
    const struct tl_epoch_handle *h = tl_epochs_handle(e, id);
    struct key k = key_of('h');
    add_u32(&k, id);
    if (h == NULL)
        return tx->ops->del(tx, slice(&k));
    uint8_t v[HANDLE];
    tl_put_u32(v, h->era);
    tl_put_u32(v + 4, h->capas);
    tl_put_u64(v + 8, h->uuid[0]);
    tl_put_u64(v + 16, h->uuid[1]);
    tl_put_u64(v + 24, h->hce);
    tl_put_u64(v + 32, h->lhe);
    tl_put_u64(v + 40, h->lre);
    tl_put_u64(v + 48, h->failed);
    return tx->ops->put(tx, slice(&k), (struct tl_slice){v, sizeof v});
}

/* present: it is there from now on; else it is gone. */
static int write_tomb(struct tl_store_tx *tx, const struct tl_epoch_tomb *t, bool present)
{
    uint8_t v[8];
    struct key k = key_of('t');
    add_u32(&k, t->handle);
    add_u32(&k, t->era);
    add_u64(&k, t->first);
    tl_put_u64(v, t->last);
    return present ? tx->ops->put(tx, slice(&k), (struct tl_slice){v, sizeof v}) : tx->ops->del(tx, slice(&k));
}

static int write_snapshot(struct tl_store_tx *tx, uint64_t epoch, bool present)
{
    struct key k = key_of('s');
    add_u64(&k, epoch);
    return present ? tx->ops->put(tx, slice(&k), (struct tl_slice){"", 0}) : tx->ops->del(tx, slice(&k));
}

static int write_kept(struct tl_store_tx *tx, uint64_t epoch)
{
    uint8_t v[8];
    struct key k = key_of('k');
    tl_put_u64(v, epoch);
    return epoch == TL_EPOCH_MAX ? tx->ops->del(tx, slice(&k))
                                 : tx->ops->put(tx, slice(&k), (struct tl_slice){v, sizeof v});
}

struct change {
    struct tl_state *state;
    const struct tl_epoch_op *wanted;
    struct tl_epoch_op *op;
    struct tl_epoch_effects *effects;
};

static int apply(void *ctx, struct tl_store_tx *tx)
{
    struct change *c = ctx;
    struct tl_epochs *e = &c->state->epochs;
    int rc = load(c->state, tx);
    *c->op = *c->wanted; /* it may run more than once */
    rc = rc == 0 ? tl_epochs_apply(e, c->op, c->effects) : rc;
    if (rc != 0)
        return rc;
    const struct tl_epoch_effects *x = c->effects;
    const struct tl_epoch_tomb gone = {c->op->handle, c->op->era, c->op->epoch, c->op->last};
    rc = write_numbers(e, tx);
    if (rc == 0 && x->handle != 0)
        rc = write_handle(e, tx, x->handle);
    if (rc == 0 && x->tomb_added)
        rc = write_tomb(tx, &e->tombs[e->tomb_count - 1], true);
    if (rc == 0 && x->tomb_gone)
        rc = write_tomb(tx, &gone, false);
    if (rc == 0 && (x->snapshot_added || x->snapshot_gone))
        rc = write_snapshot(tx, c->op->epoch, x->snapshot_added);
    if (rc == 0 && x->kept_gone)
        rc = write_kept(tx, TL_EPOCH_MAX);
    return rc;
}

int tl_state_apply(struct tl_state *s, struct tl_store *store, const struct tl_store_id *id, struct tl_epoch_op *op,
                   struct tl_epoch_effects *effects)
{
    const struct tl_epoch_op wanted = *op;
    struct change c = {.state = s, .wanted = &wanted, .op = op, .effects = effects};
    return store->ops->change(store, id, apply, &c);
}

static int create(void *ctx, struct tl_store_tx *tx)
{
    struct tl_epochs e = {.ghce = 0};
    struct key k = key_of('n');
    struct tl_slice value;
    (void)ctx;
    int rc = tx->ops->get(tx, slice(&k), &value);
    if (rc != -ENOENT)
        return rc == 0 ? -EEXIST : rc;
    tl_epochs_init(&e);
    return write_numbers(&e, tx);
}

int tl_state_create(struct tl_store *store, const struct tl_store_id *id)
{
    return store->ops->change(store, id, create, NULL);
}

/* ---- copies ---- */

void tl_state_image_free(struct tl_state_image *image)
{
    for (size_t i = 0; i < image->count; i++)
        free(image->list[i].bytes);
    free(image->list);
    *image = (struct tl_state_image){.list = NULL};
}

static int add_entry(struct tl_state_image *image, struct tl_slice key, struct tl_slice value)
{
    if (image->count == image->room) {
        size_t room = image->room * 2 + 16;
        struct tl_state_entry *grown = reallocarray(image->list, room, sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        image->list = grown;
        image->room = room;
    }
    struct tl_state_entry e = {malloc(key.len + value.len + 1), key.len, value.len};
    if (e.bytes == NULL)
        return -ENOMEM;
    memcpy(e.bytes, key.at, key.len);
    if (value.len > 0)
        memcpy(e.bytes + key.len, value.at, value.len);
    image->list[image->count++] = e;
    return 0;
}

struct taking {
    uint64_t ghce, kept;
    struct tl_state_image *image;
};

static int take_one(void *ctx, struct tl_slice key, struct tl_slice value)
{
    const struct taking *t = ctx;
    struct tl_epochs numbers;
    int rc = 0;
    switch (key.len == 0 ? 0 : *(const char *)key.at) {
    case 'h':
    case 'k':
    case 't':
    case 'u':
    case 'y': return 0;
    case 'n':
        rc = read_numbers(&numbers, value);
        t->image->next_handle = rc == 0 ? numbers.next_handle : 0;
        return rc;
    case 's':
        if (key.len != 9 || u64_at(key, 1) > t->ghce)
            return key.len != 9 ? -EBADMSG : 0;
        t->image->snapshots++;
        break;
    default: break;
    }
    return add_entry(t->image, key, value);
}

static int take(void *ctx, struct tl_store_tx *tx)
{
    const struct taking *t = ctx;
    struct key k = key_of('n');
    struct tl_slice value;
    tl_state_image_free(t->image); /* it may run more than once */
    int rc = tx->ops->get(tx, slice(&k), &value);
    return rc == 0 ? tx->ops->each(tx, (struct tl_slice){"", 0}, take_one, ctx) : rc;
}

int tl_state_take(struct tl_store *store, const struct tl_store_id *id, uint64_t ghce, uint64_t kept, bool any_class,
                  struct tl_state_image *out)
{
    uint8_t numbers[NUMBERS], epoch[8];
    struct key n = key_of('n'), k = key_of('k'), u = key_of('u');
    struct taking t = {ghce, kept, out};
    *out = (struct tl_state_image){.list = NULL};
    int rc = store->ops->look(store, id, take, &t);
    put_numbers(&(struct tl_epochs){.next_handle = out->next_handle, .ghce = ghce, .ghpce = ghce, .swept = kept},
                numbers);
    tl_put_u64(epoch, kept);
    rc = rc == 0 ? add_entry(out, slice(&n), (struct tl_slice){numbers, sizeof numbers}) : rc;
    rc = rc == 0 ? add_entry(out, slice(&k), (struct tl_slice){epoch, sizeof epoch}) : rc;
    rc = rc == 0 && any_class ? add_entry(out, slice(&u), (struct tl_slice){"", 0}) : rc;
    if (rc != 0)
        tl_state_image_free(out);
    return rc;
}

static int note_key(void *ctx, struct tl_slice key, struct tl_slice value)
{
    (void)value;
    return add_entry(ctx, key, (struct tl_slice){"", 0});
}

struct putting {
    const struct tl_state_image *image;
    uint64_t token;
};

static int put_token(void *ctx, struct tl_store_tx *tx)
{
    uint8_t v[8];
    struct key k = key_of('y');
    tl_put_u64(v, *(const uint64_t *)ctx);
    return tx->ops->put(tx, slice(&k), (struct tl_slice){v, sizeof v});
}

int tl_state_claim(struct tl_store *store, const struct tl_store_id *id, uint64_t token)
{
    return store->ops->change(store, id, put_token, &token);
}

static int put_all(void *ctx, struct tl_store_tx *tx)
{
    const struct putting *p = ctx;
    const struct tl_state_image *image = p->image;
    struct tl_state_image old = {.list = NULL};
    struct key k = key_of('y');
    struct tl_slice value;
    int rc = tx->ops->get(tx, slice(&k), &value);
    if (rc == 0 && (value.len != 8 || tl_get_u64(value.at) != p->token))
        rc = -ENOENT;
    rc = rc != 0 ? rc : tx->ops->each(tx, (struct tl_slice){"", 0}, note_key, &old);
    for (size_t i = 0; rc == 0 && i < old.count; i++)
        rc = tx->ops->del(tx, (struct tl_slice){old.list[i].bytes, old.list[i].key_len});
    for (size_t i = 0; rc == 0 && i < image->count; i++) {
        const struct tl_state_entry *e = &image->list[i];
        rc = tx->ops->put(tx, (struct tl_slice){e->bytes, e->key_len},
                          (struct tl_slice){e->bytes + e->key_len, e->value_len});
    }
    tl_state_image_free(&old);
    return rc;
}

int tl_state_put(struct tl_store *store, const struct tl_store_id *id, const struct tl_state_image *image,
                 uint64_t token)
{
    struct putting p = {image, token};
    return store->ops->change(store, id, put_all, &p);
}
