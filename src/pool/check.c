// SPDX-License-Identifier: Apache-2.0
/* Looks whether a pool is what it should be: the store by itself, then what containers mean by its records. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool/internal.h"

struct checking {
    struct tl_shared *shared;
    const struct tl_listed *cont;
    struct tl_state state;
    void (*tell)(void *ctx, const char *finding);
    void *ctx;
    int damage;
    /* the record before this one, of the same thing */
    struct tl_key_view last;
    struct tl_meta last_meta;
    bool has_last;
};

static void __attribute__((format(printf, 2, 3))) tell(struct checking *k, const char *fmt, ...)
{
    char text[1024], name[40];
    va_list args;
    tl_uuid_text(k->cont->id.bytes, name);
    int n = snprintf(text, sizeof text, "container %s: ", k->cont->label[0] != 0 ? k->cont->label : name);
    va_start(args, fmt);
    vsnprintf(text + n, sizeof text - (size_t)n, fmt, args);
    va_end(args);
    k->tell(k->ctx, text);
}

const char *tl_where(const struct tl_key_view *v, char *out, size_t size)
{
    char dkey[64], akey[64];
    tl_name_text((struct tiercel_bytes){v->dkey.bytes, v->dkey.len}, dkey, sizeof dkey);
    tl_name_text((struct tiercel_bytes){v->akey.bytes, v->akey.len}, akey, sizeof akey);
    snprintf(out, size, "object %llu.%llu, dkey \"%s\", akey \"%s\", chunk %llu, epoch %llu, handle %u",
             (unsigned long long)v->oid.hi, (unsigned long long)v->oid.lo, dkey, akey, (unsigned long long)v->chunk,
             (unsigned long long)v->version.epoch, v->version.handle);
    return out;
}

static bool same_thing(const struct tl_key_view *a, const struct tl_key_view *b)
{
    return a->oid.hi == b->oid.hi && a->oid.lo == b->oid.lo && a->tag == b->tag && a->chunk == b->chunk &&
           a->dkey.len == b->dkey.len && memcmp(a->dkey.bytes, b->dkey.bytes, a->dkey.len) == 0 &&
           a->akey.len == b->akey.len && memcmp(a->akey.bytes, b->akey.bytes, a->akey.len) == 0;
}

/* Two handles have written the same in one epoch: a mistake of the program, which is told, but no damage. */
static void check_conflict(struct checking *k, const struct tl_key_view *v, const struct tl_meta *m)
{
    char text[512];
    const struct tl_epochs *e = &k->state.epochs;
    if (!k->has_last || k->last.version.epoch != v->version.epoch || k->last.version.handle == v->version.handle ||
        !same_thing(&k->last, v) || m->kind == TL_KIND_REST ||
        !tl_epochs_counts(e, v->version.handle, v->version.era, v->version.epoch) ||
        !tl_epochs_counts(e, k->last.version.handle, k->last.version.era, k->last.version.epoch))
        return;
    if (m->kind == TL_KIND_ARRAY && k->last_meta.kind == TL_KIND_ARRAY &&
        (m->first + m->count <= k->last_meta.first || k->last_meta.first + k->last_meta.count <= m->first))
        return;
    tell(k, "%s: handle %u wrote the same in the same epoch, and counts; use a lock", tl_where(v, text, sizeof text),
         k->last.version.handle);
}

static int check_record(void *ctx, const struct tl_found *f)
{
    struct checking *k = ctx;
    struct tl_key_view v;
    struct tl_meta m;
    char text[512];
    if (tl_key_parse(f->key, &v) != 0) {
        k->damage++;
        tell(k, "a record has a key of %zu bytes that is none of ours", f->key.len);
        k->has_last = false;
        return 0;
    }
    if (tl_meta_get(f->meta, &m) != 0) {
        k->damage++;
        tell(k, "%s: what is said about this record makes no sense", tl_where(&v, text, sizeof text));
        k->has_last = false;
        return 0;
    }
    uint64_t bytes = m.kind == TL_KIND_ARRAY ? m.count * m.record_size : f->payload_len;
    if (m.kind == TL_KIND_SINGLE)
        bytes = m.size < TL_STORE_PAYLOAD_MAX ? m.size : TL_STORE_PAYLOAD_MAX;
    if (bytes != f->payload_len || ((m.kind == TL_KIND_PUNCH || m.kind == TL_KIND_HOLE) && f->payload_len != 0)) {
        k->damage++;
        tell(k, "%s: %u bytes are there, %llu should be", tl_where(&v, text, sizeof text), f->payload_len,
             (unsigned long long)bytes);
    }
    if (v.version.handle == 0 ||
        (k->state.epochs.next_handle != 0 && v.version.handle >= k->state.epochs.next_handle)) {
        k->damage++;
        tell(k, "%s: this handle was never opened", tl_where(&v, text, sizeof text));
    }
    check_conflict(k, &v, &m);
    k->last = v;
    k->last_meta = m;
    k->has_last = true;
    return 0;
}

static int check_cont(struct checking *k)
{
    struct tl_store *s = k->shared->store;
    const struct tl_slice none = {"", 0};
    struct tl_lost_text why;
    int rc = tl_lost_load(&k->state, k->shared, &k->cont->id);
    if (rc == -EBADMSG || rc == -ETIMEDOUT) {
        k->damage++;
        tell(k, "%s", tl_lost_why(k->shared, rc, &why));
    }
    if (rc == -EBADMSG || rc == -ETIMEDOUT || rc == -ENOENT) /* destroyed meanwhile */
        return 0;
    k->has_last = false;
    rc = rc == 0 ? s->ops->scan(s, &k->cont->id, none, none, check_record, k) : rc;
    if (rc == -ETIMEDOUT || (rc == -EBADMSG && k->damage > 0)) { /* the store has told of it */
        tell(k, "not all of its index can be read: what its records mean was not looked at to the end");
        rc = 0;
    }
    return rc;
}

/* ---- names for what the store finds ---- */

struct names {
    struct tl_shared *shared;
    struct tl_listed *list;
    struct tl_store_id *ids;
    unsigned count;
};

static void name_record(void *ctx, const struct tl_store_id *id, struct tl_slice key, char *out, size_t size)
{
    const struct names *n = ctx;
    char text[512] = "a record", cont[40];
    struct tl_key_view v;
    const char *label = cont;
    tl_uuid_text(id->bytes, cont);
    for (unsigned i = 0; i < n->count; i++)
        if (memcmp(n->list[i].id.bytes, id->bytes, sizeof id->bytes) == 0 && n->list[i].label[0] != 0)
            label = n->list[i].label;
    if (tl_key_parse(key, &v) == 0)
        tl_where(&v, text, sizeof text);
    snprintf(out, size, "container %s: %s", label, text);
}

static void name_cont(void *ctx, const struct tl_store_id *id, char *label, size_t size, char *when, size_t when_size)
{
    const struct names *n = ctx;
    struct tl_state state = {.epochs.handles = NULL};
    for (unsigned i = 0; i < n->count; i++)
        if (memcmp(n->list[i].id.bytes, id->bytes, sizeof id->bytes) == 0 && n->list[i].label[0] != 0)
            snprintf(label, size, "%s", n->list[i].label);
    if (tl_state_load(&state, n->shared->store, id) == 0)
        snprintf(when, when_size, "epoch %llu", (unsigned long long)state.epochs.ghpce);
    tl_state_fini(&state);
}

static int names_load(struct names *n, struct tl_pool *p)
{
    int rc = tl_registry_list(p, &n->list, &n->count);
    if (rc == 0 && (n->ids = calloc(n->count + 1, sizeof *n->ids)) == NULL)
        rc = -ENOMEM;
    for (unsigned i = 0; rc == 0 && i < n->count; i++)
        n->ids[i] = n->list[i].id;
    return rc;
}

/* No damage: somebody copies it now, or has to go on. */
static int tell_of_unfinished(struct tl_pool *p, void (*tell_it)(void *ctx, const char *finding), void *ctx)
{
    struct tl_store *s = p->shared->store;
    struct tl_unfinished *list = NULL;
    unsigned count = 0;
    char text[6000], source[37];
    int rc = tl_unfinished_list(p, &list, &count);
    for (unsigned i = 0; rc == 0 && i < count; i++) {
        tl_uuid_text(list[i].source.bytes, source);
        int busy = s->ops->claimed(s, tl_unfinished_mark(&list[i].id));
        rc = busy < 0 ? busy : 0;
        snprintf(
            text, sizeof text,
            busy == 1
                ? "container %s: it is being copied from container %s"
                : "container %s: its copying from container %s was interrupted; copy it again to go on, or give it up "
                  "with: tiercel cont destroy %s/%s",
            list[i].label, source, p->shared->path, list[i].label);
        tell_it(ctx, text);
    }
    free(list);
    return rc;
}

int tl_pool_check(struct tl_pool *p, int how, void (*tell_it)(void *ctx, const char *finding), void *ctx)
{
    struct checking k = {.shared = p->shared, .tell = tell_it, .ctx = ctx};
    struct tl_store *s = p->shared->store;
    struct names n = {.shared = p->shared};
    const bool repair = how != 0;
    int rc = tl_pool_alive(p, repair);
    rc = rc == 0 ? tl_shared_flush(p->shared) : rc;
    rc = rc == 0 && repair ? tl_registry_clean(p->shared) : rc;
    rc = rc == 0 ? names_load(&n, p) : rc;
    const struct tl_store_namer namer = {.name = name_record,
                                         .about = name_cont,
                                         .accept = how == TIERCEL_ACCEPT_LOSS,
                                         .ctx = &n,
                                         .ids = n.ids,
                                         .count = n.count};
    s->namer = &namer;
    rc = rc == 0 ? (s->ops->check)(s, repair, tell_it, ctx) : rc;
    s->namer = NULL;
    k.damage = rc;
    rc = rc < 0 ? rc : tell_of_unfinished(p, tell_it, ctx);
    for (unsigned i = 0; rc == 0 && i < n.count; i++) {
        k.cont = &n.list[i];
        rc = check_cont(&k);
    }
    tl_state_fini(&k.state);
    free(n.list);
    free(n.ids);
    return rc < 0 ? rc : k.damage;
}
