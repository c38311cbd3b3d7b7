// SPDX-License-Identifier: Apache-2.0
/* See copies.h. */
#include "pool/copies.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOM (8u << 20)

static uint8_t room[ROOM];

/* ---- what is seen ---- */

struct digest {
    struct tl_cont *c;
    uint64_t epoch, h;
    struct tiercel_oid oid;
    struct tiercel_bytes dkey, akey;
};

static void mix(struct digest *d, const void *bytes, size_t len)
{
    d->h = tl_hash64(bytes, len, d->h);
}

static void mix_number(struct digest *d, uint64_t n)
{
    mix(d, &n, sizeof n);
}

static int fetch(struct digest *d, struct tiercel_io *io)
{
    struct tl_error err = {.code = 0};
    struct tl_pool *p = tl_cont_pool(d->c);
    io->akey = d->akey;
    tl_pool_lock(p);
    int rc = tl_cont_fetch(d->c, d->epoch, d->oid, d->dkey, 0, io, 1, &err);
    tl_pool_unlock(p);
    return rc;
}

static void digest_single(struct digest *d)
{
    struct tiercel_io io = {.buffer = room, .buffer_len = sizeof room};
    mix_number(d, (uint64_t)fetch(d, &io));
    mix(d, room, io.buffer_len < sizeof room ? io.buffer_len : 0);
}

static void digest_records(struct digest *d, struct tiercel_extent x, uint64_t size)
{
    while (x.count > 0) {
        struct tiercel_extent part = {x.first, x.count < ROOM / size ? x.count : ROOM / size};
        struct tiercel_io io = {
            .extents = &part, .extent_count = 1, .record_size = size, .buffer = room, .buffer_len = part.count * size};
        mix_number(d, (uint64_t)fetch(d, &io));
        mix(d, room, part.count * size);
        x.first += part.count;
        x.count -= part.count;
    }
}

static void digest_value(struct digest *d)
{
    struct tl_pool *p = tl_cont_pool(d->c);
    struct tiercel_anchor anchor = {.end = 0};
    struct tiercel_extent x[16];
    uint64_t size = 0;
    int rc = 0;
    while (rc == 0 && anchor.end == 0) {
        unsigned n = 16;
        tl_pool_lock(p);
        rc = tl_cont_list_extents(d->c, d->epoch, d->oid, d->dkey, d->akey, &anchor, x, &n, &size);
        tl_pool_unlock(p);
        for (unsigned i = 0; rc == 0 && i < n; i++) {
            mix(d, &x[i], sizeof x[i]);
            digest_records(d, x[i], size);
        }
    }
    mix_number(d, (uint64_t)rc);
    if (rc == -EINVAL || size == 0)
        digest_single(d);
}

static void digest_keys(struct digest *d, const struct tiercel_bytes *dkey)
{
    struct tl_pool *p = tl_cont_pool(d->c);
    struct tiercel_anchor anchor = {.end = 0};
    int rc = 0;
    while (rc == 0 && anchor.end == 0) {
        uint8_t names[2000];
        struct tiercel_bytes keys[8];
        unsigned n = 8;
        tl_pool_lock(p);
        rc = tl_cont_list_keys(d->c, d->epoch, d->oid, dkey, &anchor, names, sizeof names, keys, &n);
        tl_pool_unlock(p);
        mix_number(d, (uint64_t)rc);
        for (unsigned i = 0; rc == 0 && i < n; i++) {
            mix(d, keys[i].at, keys[i].len);
            *(dkey == NULL ? &d->dkey : &d->akey) = keys[i];
            if (dkey == NULL)
                digest_keys(d, &keys[i]);
            else
                digest_value(d);
        }
    }
}

uint64_t copies_digest(struct tl_cont *c, uint64_t epoch)
{
    struct digest d = {.c = c, .epoch = epoch};
    struct tl_pool *p = tl_cont_pool(c);
    struct tiercel_anchor anchor = {.end = 0};
    int rc = 0;
    while (rc == 0 && anchor.end == 0) {
        struct tiercel_oid oids[8];
        unsigned n = 8;
        tl_pool_lock(p);
        rc = tl_cont_list_objects(c, epoch, &anchor, oids, &n);
        tl_pool_unlock(p);
        mix_number(&d, (uint64_t)rc);
        for (unsigned i = 0; rc == 0 && i < n; i++) {
            d.oid = oids[i];
            mix(&d, &oids[i], sizeof oids[i]);
            digest_keys(&d, NULL);
        }
    }
    return d.h;
}

static int mix_change(void *ctx, const struct tiercel_change *c)
{
    struct digest *d = ctx;
    mix(d, &c->oid, sizeof c->oid);
    mix(d, c->dkey.at, c->dkey.len);
    mix(d, c->akey.at, c->akey.len);
    mix_number(d, (uint64_t)(c->array * 4 + c->before * 2 + c->after));
    mix(d, &c->extent, sizeof c->extent);
    return 0;
}

uint64_t copies_diff(struct tl_cont *c, uint64_t from, uint64_t to)
{
    struct digest d = {.c = c};
    struct tl_pool *p = tl_cont_pool(c);
    tl_pool_lock(p);
    mix_number(&d, (uint64_t)tl_cont_diff(c, from, to, mix_change, &d));
    tl_pool_unlock(p);
    return d.h;
}

bool copies_same(struct tl_cont *a, struct tl_cont *b, uint64_t top)
{
    for (uint64_t e = 1; e <= top; e++) {
        if (copies_digest(a, e) != copies_digest(b, e)) {
            printf("the two are not the same at epoch %llu\n", (unsigned long long)e);
            return false;
        }
        if (copies_diff(a, e, top) != copies_diff(b, e, top)) {
            printf("what changed between epochs %llu and %llu is not the same\n", (unsigned long long)e,
                   (unsigned long long)top);
            return false;
        }
    }
    return true;
}

/* ---- copying ---- */

struct tl_copy_config copies_config(const char *label)
{
    return (struct tl_copy_config){.label = label, .options.flush_bytes = 100000};
}

int copies_copy(struct tl_cont *from, const char *where, const struct tl_copy_config *config,
                struct tiercel_copied *done, void (*plant)(struct tl_shared *s), struct tl_error *err)
{
    struct tl_pool *to;
    int rc = tl_pool_connect(&to, where, TIERCEL_RW, err);
    if (rc != 0)
        return rc;
    copies_set_trap(to);
    if (plant != NULL)
        plant(to->shared);
    rc = tl_cont_copy(from, to, config, done, err);
    int closed = tl_pool_disconnect(to);
    return rc != 0 ? rc : closed;
}

bool copies_make_pool(char *where, size_t size, const char *base)
{
    struct tl_error err = {.code = 0};
    snprintf(where, size, "%.80s/tl-copies-XXXXXX", base);
    if (mkdtemp(where) != NULL && tl_pool_create(where, NULL, &err) == 0)
        return true;
    printf("%s: %s\n", where, err.msg);
    return false;
}

struct heard {
    char *text;
    size_t size;
};

static void hear(void *ctx, const char *finding)
{
    struct heard *h = ctx;
    size_t len = strlen(h->text);
    snprintf(h->text + len, h->size - len, "%s\n", finding);
}

static int count_one(void *ctx, const struct tiercel_cont_info *info)
{
    (void)info;
    ++*(int *)ctx;
    return 0;
}

int copies_check(const char *where, char *text, size_t size)
{
    struct heard h = {text, size};
    struct tl_error err = {.code = 0};
    struct tl_pool *p;
    int count = 0;
    text[0] = 0;
    if (tl_pool_connect(&p, where, TIERCEL_RW, &err) != 0) {
        hear(&h, err.msg);
        return -1;
    }
    tl_pool_lock(p);
    int rc = tl_pool_check(p, false, hear, &h);
    rc = rc == 0 ? tl_cont_list(p, count_one, &count, NULL) : rc;
    tl_pool_unlock(p);
    tl_pool_disconnect(p);
    return rc != 0 ? -1 : count;
}

/* ---- traps ---- */

struct copies_trap copies_trap;
static const struct tl_store_ops *real;
static struct tl_store_ops trapped;

/* Before a call: what it is to give instead; 0: it is carried out. */
static int before(bool writes)
{
    struct copies_trap *t = &copies_trap;
    t->calls++;
    if (t->kills && t->calls == t->at && t->at % 2 == 0)
        (void)raise(SIGKILL);
    return !t->kills && !t->spoils && t->at != 0 && t->calls >= t->at && (writes || t->rc != -ENOSPC) ? t->rc : 0;
}

static int after(int rc)
{
    const struct copies_trap *t = &copies_trap;
    if (t->kills && t->calls == t->at)
        (void)raise(SIGKILL);
    return rc;
}

static int trap_write(struct tl_store *s, const struct tl_store_id *id, const struct tl_record *r)
{
    int rc = before(true);
    struct tl_record other = *r;
    if (copies_trap.spoils && copies_trap.calls == copies_trap.at && r->payload.len > 0) {
        check(r->payload.len <= sizeof room);
        memcpy(room, r->payload.at, r->payload.len);
        room[r->payload.len / 2] ^= 1;
        other.payload.at = room;
    }
    return rc != 0 ? rc : after(real->write(s, id, &other));
}

static int trap_space(struct tl_store *s, struct tl_store_space *out)
{
    int rc = real->space(s, out);
    if (rc == 0 && copies_trap.small)
        out->free_bytes = 10;
    return rc;
}

static int trap_flush(struct tl_store *s)
{
    int rc = before(false);
    return rc != 0 ? rc : after(real->flush(s));
}

static int trap_change(struct tl_store *s, const struct tl_store_id *id, tl_store_tx_fn fn, void *ctx)
{
    int rc = before(false);
    return rc != 0 ? rc : after(real->change(s, id, fn, ctx));
}

static int trap_erase(struct tl_store *s, const struct tl_store_id *id, const struct tl_slice *keys, size_t count)
{
    int rc = before(false);
    return rc != 0 ? rc : after(real->erase(s, id, keys, count));
}

void copies_set_trap(struct tl_pool *pool)
{
    struct tl_store *s = pool->shared->store;
    if (copies_trap.at == 0 && !copies_trap.small)
        return;
    real = s->ops == &trapped ? real : s->ops;
    trapped = *real;
    trapped.write = trap_write;
    trapped.flush = trap_flush;
    trapped.change = trap_change;
    trapped.erase = trap_erase;
    trapped.space = trap_space;
    s->ops = &trapped;
}
