// SPDX-License-Identifier: Apache-2.0
/* Which containers a pool has. In the pool's state: "c" and a UUID: time of making, label; "l" and a label: UUID; "x" and a UUID: it was
 * destroyed, and what it held is being taken away; "y" and a UUID: see copies.c. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/bytes.h"
#include "pool/internal.h"

#define ID          16u
#define ERASE_BATCH 512u

void tl_uuid_text(const uint8_t *b, char out[37])
{
    snprintf(out, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2], b[3],
             b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

static int digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

bool tl_uuid_parse(const char *text, struct tl_store_id *out)
{
    char again[37];
    size_t n = 0;
    if (strlen(text) != 36)
        return false;
    for (size_t i = 0; i < 36 && n < ID; i++) {
        if (text[i] == '-')
            continue;
        int high = digit(text[i]), low = digit(text[i + 1]);
        if (high < 0 || low < 0)
            return false;
        out->bytes[n++] = (uint8_t)(high << 4 | low);
        i++;
    }
    if (n < ID)
        return false;
    tl_uuid_text(out->bytes, again);
    return strcasecmp(again, text) == 0;
}

bool tl_is_label(const char *text)
{
    struct tl_store_id id;
    size_t len = strlen(text);
    if (len == 0 || len > TIERCEL_LABEL_MAX || tl_uuid_parse(text, &id))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)text[i]) && strchr("._:-", text[i]) == NULL)
            return false;
    return true;
}

/* ---- keys and values ---- */

struct name_key {
    uint8_t bytes[1 + TIERCEL_LABEL_MAX];
    size_t len;
};

static struct tl_slice key_of(struct name_key *k, char kind, const void *bytes, size_t len)
{
    k->bytes[0] = (uint8_t)kind;
    memcpy(k->bytes + 1, bytes, len);
    k->len = 1 + len;
    return (struct tl_slice){k->bytes, k->len};
}

static int read_listed(struct tl_slice value, struct tl_listed *out)
{
    if (value.len < 8 || value.len - 8 > TIERCEL_LABEL_MAX)
        return -EBADMSG;
    out->created_ns = tl_get_u64(value.at);
    memset(out->label, 0, sizeof out->label);
    memcpy(out->label, (const uint8_t *)value.at + 8, value.len - 8);
    return 0;
}

/* ---- looking ---- */

struct finding {
    const char *name;
    struct tl_listed *out;
};

static int find(void *ctx, struct tl_store_tx *tx)
{
    struct finding *f = ctx;
    struct name_key k;
    struct tl_slice value;
    if (tl_is_label(f->name)) {
        int rc = tx->ops->get(tx, key_of(&k, 'l', f->name, strlen(f->name)), &value);
        if (rc != 0 || value.len != ID)
            return rc != 0 ? rc : -EBADMSG;
        memcpy(f->out->id.bytes, value.at, ID);
    } else if (!tl_uuid_parse(f->name, &f->out->id)) {
        return -ENOENT;
    }
    int rc = tx->ops->get(tx, key_of(&k, 'c', f->out->id.bytes, ID), &value);
    return rc == 0 ? read_listed(value, f->out) : rc;
}

int tl_registry_find(struct tl_pool *p, const char *name, struct tl_listed *out)
{
    struct finding f = {name, out};
    return p->shared->store->ops->look(p->shared->store, &tl_pool_state, find, &f);
}

static int parse_listed(void *out, struct tl_slice key, struct tl_slice value)
{
    struct tl_listed *l = out;
    if (key.len != 1 + ID)
        return -EBADMSG;
    memcpy(l->id.bytes, (const uint8_t *)key.at + 1, ID);
    return read_listed(value, l);
}

struct listing {
    char kind;
    size_t size; /* of what parse makes of an entry */
    tl_entry_parse parse;
    uint8_t *list;
    unsigned count, room;
};

static int list_one(void *ctx, struct tl_slice key, struct tl_slice value)
{
    struct listing *l = ctx;
    if (l->count == l->room) {
        unsigned room = l->room * 2 + 16;
        uint8_t *grown = reallocarray(l->list, room, l->size);
        if (grown == NULL)
            return -ENOMEM;
        l->list = grown;
        l->room = room;
    }
    return l->parse(l->list + l->size * l->count++, key, value);
}

static int list_all(void *ctx, struct tl_store_tx *tx)
{
    struct listing *l = ctx;
    l->count = 0; /* it may run more than once */
    return tx->ops->each(tx, (struct tl_slice){&l->kind, 1}, list_one, l);
}

int tl_registry_entries(struct tl_pool *p, char kind, size_t size, tl_entry_parse parse, void **out, unsigned *count)
{
    struct listing l = {.kind = kind, .size = size, .parse = parse};
    int rc = p->shared->store->ops->look(p->shared->store, &tl_pool_state, list_all, &l);
    if (rc != 0) {
        free(l.list);
        return rc;
    }
    *out = l.list;
    *count = l.count;
    return 0;
}

int tl_registry_list(struct tl_pool *p, struct tl_listed **out, unsigned *count)
{
    void *list;
    int rc = tl_registry_entries(p, 'c', sizeof **out, parse_listed, &list, count);
    if (rc == 0)
        *out = list;
    return rc;
}

/* ---- taking away ---- */

struct batch {
    struct tl_slice keys[ERASE_BATCH];
    size_t count;
    uint8_t bytes[ERASE_BATCH][TL_STORE_KEY_MAX];
};

static int collect(struct batch *b, struct tl_slice key)
{
    if (b->count == ERASE_BATCH)
        return 1;
    memcpy(b->bytes[b->count], key.at, key.len);
    b->keys[b->count] = (struct tl_slice){b->bytes[b->count], key.len};
    b->count++;
    return 0;
}

static int collect_record(void *ctx, const struct tl_found *f)
{
    return collect(ctx, f->key);
}

static int collect_state(void *ctx, struct tl_slice key, struct tl_slice value)
{
    (void)value;
    return collect(ctx, key);
}

static int drop_state(void *ctx, struct tl_store_tx *tx)
{
    struct batch *b = ctx;
    b->count = 0;
    int rc = tx->ops->each(tx, (struct tl_slice){"", 0}, collect_state, b);
    for (size_t i = 0; rc >= 0 && i < b->count; i++) {
        int failed = tx->ops->del(tx, b->keys[i]);
        rc = failed != 0 ? failed : rc;
    }
    return rc < 0 ? rc : 0;
}

static int forget(void *ctx, struct tl_store_tx *tx)
{
    struct name_key k;
    int rc = tx->ops->del(tx, key_of(&k, 'x', ctx, ID));
    return rc == -ENOENT ? 0 : rc; /* another has done it with us */
}

static int take_all(struct tl_store *s, struct tl_store_id *id, struct batch *b)
{
    const struct tl_slice none = {"", 0};
    int rc = 0;
    while (rc == 0) { /* the state first: who has it open writes nothing any more */
        rc = s->ops->change(s, id, drop_state, b);
        if (rc == 0 && b->count == 0)
            break;
    }
    while (rc == 0) {
        b->count = 0;
        rc = s->ops->scan(s, id, none, none, collect_record, b);
        rc = rc >= 0 ? s->ops->erase(s, id, b->keys, b->count) : rc;
        if (rc == 0 && b->count == 0)
            break;
    }
    return rc;
}

/* What is left of a container that is not listed any more. May be interrupted, and done again by anybody. */
static int take_away(struct tl_store *s, struct tl_store_id *id)
{
    struct batch *b = malloc(sizeof *b);
    int rc = b == NULL ? -ENOMEM : take_all(s, id, b);
    if (rc == -EBADMSG && s->ops->abandon != NULL) { /* nobody will miss what of it is lost */
        rc = s->ops->abandon(s, id);
        rc = rc == 0 ? take_all(s, id, b) : rc;
    }
    free(b);
    return rc;
}

static int first_left(void *ctx, struct tl_slice key, struct tl_slice value)
{
    struct tl_store_id *id = ctx;
    (void)value;
    if (key.len != 1 + ID)
        return -EBADMSG;
    memcpy(id->bytes, (const uint8_t *)key.at + 1, ID);
    return 1;
}

static int find_left(void *ctx, struct tl_store_tx *tx)
{
    return tx->ops->each(tx, (struct tl_slice){"x", 1}, first_left, ctx);
}

int tl_registry_clean(struct tl_shared *s)
{
    struct tl_store_id id;
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < 1u << 20; i++) {
        int found = s->store->ops->look(s->store, &tl_pool_state, find_left, &id);
        if (found <= 0)
            return found;
        rc = take_away(s->store, &id);
        rc = rc == 0 ? s->store->ops->change(s->store, &tl_pool_state, forget, id.bytes) : rc;
    }
    return rc;
}

int tl_registry_doom(struct tl_store_tx *tx, const struct tl_store_id *id)
{
    struct name_key k;
    return tx->ops->put(tx, key_of(&k, 'x', id->bytes, ID), (struct tl_slice){"", 0});
}

static int note_left(void *ctx, struct tl_store_tx *tx)
{
    return tl_registry_doom(tx, ctx);
}

int tl_registry_sweep(struct tl_shared *s, const struct tl_store_id *id)
{
    struct tl_store_id gone = *id;
    int rc = tl_shared_flush(s); /* what is on its way arrives, to be taken away */
    rc = rc == 0 ? s->store->ops->change(s->store, &tl_pool_state, note_left, &gone) : rc;
    return rc == 0 ? tl_registry_clean(s) : rc;
}

/* ---- making ---- */

struct making {
    const char *label;
    struct tl_store_id id;
    uint64_t created_ns;
};

int tl_registry_enter(struct tl_store_tx *tx, const struct tl_store_id *id, const char *label, uint64_t created_ns)
{
    struct name_key k;
    struct tl_slice value;
    size_t len = label == NULL ? 0 : strlen(label);
    uint8_t listed[8 + TIERCEL_LABEL_MAX];
    if (len > 0) {
        struct tl_slice key = key_of(&k, 'l', label, len);
        int rc = tx->ops->get(tx, key, &value);
        if (rc != -ENOENT)
            return rc == 0 ? -EEXIST : rc;
        rc = tx->ops->put(tx, key, (struct tl_slice){id->bytes, ID});
        if (rc != 0)
            return rc;
        memcpy(listed + 8, label, len);
    }
    tl_put_u64(listed, created_ns);
    return tx->ops->put(tx, key_of(&k, 'c', id->bytes, ID), (struct tl_slice){listed, 8 + len});
}

static int enter(void *ctx, struct tl_store_tx *tx)
{
    const struct making *m = ctx;
    return tl_registry_enter(tx, &m->id, m->label, m->created_ns);
}

int tl_cont_create(struct tl_pool *p, const char *label, struct tiercel_uuid *uuid, struct tl_error *err)
{
    struct tl_store *s = p->shared->store;
    struct making m = {.label = label};
    struct timespec t;
    const char *name = label == NULL ? "without a label" : label;
    int rc = tl_pool_alive(p, true);
    if (rc == -EACCES)
        return tl_error_set(err, rc, "container %s cannot be made: pool %s was connected for reading", name,
                            p->shared->path);
    if (rc != 0)
        return tl_error_set(err, rc, "container %s: pool %s is not connected any more; connect anew", name,
                            p->shared->path);
    if (label != NULL && !tl_is_label(label))
        return tl_error_set(err, -EINVAL, "\"%s\" is no label: 1 to %u letters, digits, or any of ._:-, and no UUID",
                            label, TIERCEL_LABEL_MAX);
    if (getrandom(m.id.bytes, sizeof m.id.bytes, 0) != sizeof m.id.bytes)
        return tl_error_set(err, -errno, "container %s: no random numbers: %s", name, strerror(errno));
    clock_gettime(CLOCK_REALTIME, &t);
    m.created_ns = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
    rc = tl_state_create(s, &m.id); /* first what it is, then its name: nobody meets half of it */
    rc = rc == 0 ? s->ops->change(s, &tl_pool_state, enter, &m) : rc;
    if (rc != 0) {
        int left = take_away(s, &m.id); /* a few bytes that nobody sees, if that fails, too */
        (void)left;
    }
    if (rc == -EEXIST)
        return tl_error_set(err, rc, "container %s is there already in pool %s; choose another label", name,
                            p->shared->path);
    if (rc != 0)
        return tl_error_set(err, rc, "container %s cannot be made in pool %s: %s", name, p->shared->path,
                            tl_store_strerror(rc));
    if (uuid != NULL)
        memcpy(uuid->bytes, m.id.bytes, ID);
    return 0;
}

struct renaming {
    const struct tl_listed *old;
    const char *label;
};

static int rename_it(void *ctx, struct tl_store_tx *tx)
{
    const struct renaming *r = ctx;
    struct making m = {.label = *r->label == 0 ? NULL : r->label, .id = r->old->id, .created_ns = r->old->created_ns};
    struct name_key k;
    size_t len = strlen(r->old->label);
    int rc = len > 0 ? tx->ops->del(tx, key_of(&k, 'l', r->old->label, len)) : 0;
    return rc == 0 ? enter(&m, tx) : rc;
}

int tl_registry_rename(struct tl_pool *p, const struct tl_listed *l, const char *label, struct tl_error *err)
{
    struct renaming r = {l, label};
    struct tl_store *s = p->shared->store;
    if (*label != 0 && !tl_is_label(label))
        return tl_error_set(err, -EINVAL, "\"%s\" is no label: 1 to %u letters, digits, or any of ._:-, and no UUID",
                            label, TIERCEL_LABEL_MAX);
    int rc = s->ops->change(s, &tl_pool_state, rename_it, &r);
    if (rc == -EEXIST)
        return tl_error_set(err, rc, "container %s is there already in pool %s; choose another label", label,
                            p->shared->path);
    return rc == 0 ? 0 : tl_error_set(err, rc, "container %s cannot be renamed: %s", l->label, tl_store_strerror(rc));
}

/* ---- destroying ---- */

static int strike(void *ctx, struct tl_store_tx *tx)
{
    const struct tl_listed *l = ctx;
    struct name_key k;
    size_t len = strlen(l->label);
    int rc = tx->ops->del(tx, key_of(&k, 'c', l->id.bytes, ID));
    rc = rc == 0 && len > 0 ? tx->ops->del(tx, key_of(&k, 'l', l->label, len)) : rc;
    return rc == 0 ? tl_registry_doom(tx, &l->id) : rc;
}

/* It is no container; perhaps it was to become one. */
static int give_up(struct tl_pool *p, const char *name, struct tl_error *err)
{
    const char *path = p->shared->path;
    int rc = tl_unfinished_give_up(p, name);
    if (rc == -ENOENT)
        return tl_error_set(err, rc, "there is no container %s in pool %s; see: tiercel cont list %s", name, path,
                            path);
    if (rc == -EBUSY)
        return tl_error_set(
            err, rc, "container %s is being copied into pool %s right now; end the process that does it", name, path);
    return rc == 0 ? 0
                   : tl_error_set(err, rc, "container %s, which was being copied, cannot be given up in pool %s: %s",
                                  name, path, tl_store_strerror(rc));
}

int tl_cont_destroy(struct tl_pool *p, const char *name, unsigned flags, struct tl_error *err)
{
    struct tl_shared *s = p->shared;
    struct tl_listed l;
    struct tl_state state = {.epochs.handles = NULL};
    struct tl_lost_text why;
    int rc = tl_pool_alive(p, true);
    if (rc != 0)
        return tl_error_set(err, rc, "container %s cannot be destroyed: pool %s %s", name, s->path,
                            rc == -EACCES ? "was connected for reading" : "is not connected any more");
    rc = tl_registry_find(p, name, &l);
    if (rc == -ENOENT)
        return give_up(p, name, err);
    if (rc == -EBADMSG || rc == -ETIMEDOUT)
        return tl_lost_pool(s, rc, err);
    const bool force =
        (flags & TIERCEL_FORCE) != 0; /* then handles go with the state, so that who waits learns of its end */
    if (rc == 0 && !force)
        rc = tl_handles_close(s, &l.id, true);
    rc = rc >= 0 ? tl_lost_load(&state, s, &l.id) : rc;
    if (rc == 0 && state.epochs.handle_count > 0 && !force)
        rc = tl_error_set(err, -EBUSY, "container %s is open: %u handle%s; close them, or destroy it with --force",
                          name, state.epochs.handle_count, state.epochs.handle_count == 1 ? "" : "s");
    else if (rc == 0 || rc == -ENOENT || (rc == -EBADMSG && force)) { /* ENOENT: another has done it */
        rc = s->store->ops->change(s->store, &tl_pool_state, strike, &l);
        rc = rc == 0 ? tl_registry_clean(s) : rc;
        if (rc != 0)
            tl_error_set(err, rc, "container %s in pool %s cannot be destroyed: %s", name, s->path,
                         tl_store_strerror(rc));
    } else {
        tl_error_set(err, rc, "container %s in pool %s cannot be destroyed: %s", name, s->path,
                     tl_lost_why(s, rc, &why));
    }
    tl_state_fini(&state);
    return rc;
}

/* ---- listing ---- */

void tl_cont_info_of(const struct tl_listed *l, const struct tl_epochs *e, struct tiercel_cont_info *out)
{
    struct tl_epoch_numbers n;
    tl_epochs_numbers(e, 0, &n);
    *out = (struct tiercel_cont_info){.created_ns = l->created_ns,
                                      .ghce = n.ghce,
                                      .glre = n.glre,
                                      .ghpce = n.ghpce,
                                      .readable_from = tl_epochs_readable_from(e),
                                      .handles = e->handle_count,
                                      .snapshots = e->snapshot_count};
    memcpy(out->uuid.bytes, l->id.bytes, ID);
    memcpy(out->label, l->label, sizeof out->label);
}

/* One whose state cannot be read hides none of the others. */
static bool is_hurt(int rc)
{
    return rc == -EBADMSG || rc == -ETIMEDOUT;
}

static int name_hurt(const struct tl_shared *s, const struct tl_listed *l, int rc, struct tl_error *err)
{
    struct tl_lost_text why;
    char uuid[37];
    tl_uuid_text(l->id.bytes, uuid);
    return tl_error_set(err, rc, "container %s: %s", l->label[0] != 0 ? l->label : uuid, tl_lost_why(s, rc, &why));
}

int tl_cont_list(struct tl_pool *p, int (*fn)(void *ctx, const struct tiercel_cont_info *info), void *ctx,
                 struct tl_error *err)
{
    struct tl_listed *list = NULL;
    struct tl_state state = {.epochs.handles = NULL};
    struct tiercel_cont_info info;
    unsigned count = 0;
    int hurt = 0, rc = tl_pool_alive(p, false);
    rc = rc == 0 ? tl_registry_list(p, &list, &count) : rc;
    if (is_hurt(rc))
        tl_lost_pool(p->shared, rc, err);
    for (unsigned i = 0; rc == 0 && i < count; i++) {
        rc = tl_lost_load(&state, p->shared, &list[i].id);
        if (rc == 0) {
            tl_cont_info_of(&list[i], &state.epochs, &info);
            rc = fn(ctx, &info);
        } else if (rc == -ENOENT) {
            rc = 0; /* destroyed meanwhile */
        } else if (is_hurt(rc)) {
            hurt = hurt == 0 ? name_hurt(p->shared, &list[i], rc, err) : hurt;
            rc = 0;
        }
    }
    tl_state_fini(&state);
    free(list);
    return rc != 0 ? rc : hurt;
}

int tl_cont_list_handles(struct tl_pool *p, const char *name,
                         int (*fn)(void *ctx, const struct tiercel_handle_info *info), void *ctx)
{
    struct tl_listed l;
    struct tl_state state = {.epochs.handles = NULL};
    int rc = tl_pool_alive(p, false);
    rc = rc == 0 ? tl_registry_find(p, name, &l) : rc;
    rc = rc == 0 ? tl_lost_load(&state, p->shared, &l.id) : rc;
    for (uint32_t i = 0; rc == 0 && i < state.epochs.handle_count; i++) {
        const struct tl_epoch_handle *h = &state.epochs.handles[i];
        struct tiercel_handle_info info = {.hce = h->hce, .lhe = h->lhe, .lre = h->lre};
        info.flags = ((h->capas & TL_EPOCH_WRITE) != 0 ? TIERCEL_RW : TIERCEL_RO) |
                     ((h->capas & TL_EPOCH_NOSLIP) != 0 ? TIERCEL_NOSLIP : 0);
        memcpy(info.uuid.bytes, h->uuid, sizeof info.uuid.bytes);
        info.ended = tl_handle_ended(p->shared, h->uuid);
        rc = info.ended < 0 ? info.ended : fn(ctx, &info);
    }
    tl_state_fini(&state);
    return rc;
}
