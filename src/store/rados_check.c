// SPDX-License-Identifier: Apache-2.0
/* Looking whether all fits together: the payload of every record is read, and what no record names is counted. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "store/rados.h"

struct checking {
    struct tl_rados *r;
    void (*tell)(void *ctx, const char *finding);
    void *ctx;
    int damage;
    struct tl_store_id *ids; /* containers that have an index */
    size_t id_count, id_room;
    uint64_t *named; /* hashes of the names of payloads that records name */
    size_t named_count, named_room;
    const struct tl_store_id *id; /* that is being looked at */
    uint8_t *payload;
    unsigned data;           /* the RADOS pool that is being looked at */
    uint64_t orphans, bytes; /* bytes: of all records */
    uint64_t interrupts;
    bool blind; /* not all records were seen: then nobody can say what belongs to none */
    bool repair;
};

enum { AGAIN = 1 };

static void say(struct checking *x, const char *text)
{
    x->tell(x->ctx, text);
}

static bool unhex(const char *text, uint8_t out[16])
{
    for (int i = 0; i < 16; i++) {
        unsigned byte;
        if (sscanf(text + 2 * i, "%2x", &byte) != 1)
            return false;
        out[i] = (uint8_t)byte;
    }
    return true;
}

static int note_cont(struct checking *x, const struct tl_store_id *known)
{
    const struct tl_store_id id = *known;
    for (size_t i = 0; i < x->id_count; i++)
        if (memcmp(x->ids[i].bytes, id.bytes, sizeof id.bytes) == 0)
            return 0;
    if (x->id_count == x->id_room) {
        size_t room = x->id_room * 2 + 64;
        struct tl_store_id *grown = reallocarray(x->ids, room, sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        x->ids = grown;
        x->id_room = room;
    }
    x->ids[x->id_count++] = id;
    return 0;
}

static int note_index(void *ctx, const char *name)
{
    struct tl_store_id id;
    if (strncmp(name, "i.", 2) != 0 || strlen(name) < 35 || !unhex(name + 2, id.bytes))
        return 0;
    return note_cont(ctx, &id);
}

/* Those that its user knows, and those that have an index: all of them can be listed only if all placement groups are there. */
static int note_all(struct checking *x)
{
    struct tl_rados *r = x->r;
    const struct tl_store_namer *n = r->store.namer;
    int rc = 0;
    tl_rados_look_at_pool(r, r->where.meta);
    for (unsigned i = 0; i < r->classes.count; i++)
        if (strcmp(r->data[i].name, r->where.meta) != 0)
            tl_rados_look_at_pool(r, r->data[i].name);
    for (unsigned i = 0; rc == 0 && n != NULL && i < n->count; i++)
        rc = note_cont(x, &n->ids[i]);
    x->blind = tl_rados_any_away(r, r->where.meta);
    return rc == 0 && !x->blind ? tl_rados_each_object(r, r->meta, note_index, x) : rc;
}

/* What tells a payload from all others, those of other RADOS pools, too. */
static uint64_t hash_of(const char *name, unsigned data)
{
    return tl_hash64(name, strlen(name), data);
}

static int note_named(struct checking *x, struct tl_rados_name name, unsigned data)
{
    if (x->named_count == x->named_room) {
        size_t room = x->named_room * 2 + 1024;
        uint64_t *grown = reallocarray(x->named, room, sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        x->named = grown;
        x->named_room = room;
    }
    x->named[x->named_count++] = hash_of(name.text, data);
    return 0;
}

__attribute__((format(printf, 2, 3))) static void found(struct checking *x, const char *fmt, ...)
{
    char text[1400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    x->damage++;
    say(x, text);
}

/* Each that is lost or damaged is told by its name. */
static int check_record(void *ctx, const struct tl_found *f)
{
    struct checking *x = ctx;
    struct tl_store *s = &x->r->store;
    const uint8_t *place = f->place.at;
    char name[700];
    int rc = 0, failed = tl_rados_read(s, f->place, 0, x->payload, f->payload_len);
    x->bytes += tl_rados_record_bytes(f);
    if (place[0] == TL_RADOS_PLACE_BLOB)
        rc = note_named(x, tl_rados_blob_name(x->id, tl_get_u64(place + 21), tl_get_u64(place + 29)), place[37]);
    if (failed == 0)
        return rc;
    snprintf(name, sizeof name, "container %s: a record", tl_rados_state_name(x->id).text + 2);
    if (s->namer != NULL)
        s->namer->name(s->namer->ctx, x->id, f->key, name, sizeof name);
    found(x, "%s: %u bytes %s: %s", name, f->payload_len,
          failed == -ENOENT      ? "are lost"
          : failed == -EBADMSG   ? "are damaged"
          : failed == -ETIMEDOUT ? "cannot be read now"
                                 : tl_store_strerror(failed),
          tl_rados_damage(s));
    return rc;
}

/* What is unknown of a container, and what is to be done about it. */
static void tell_loss(struct checking *x, const struct tl_store_id *id, uint32_t shard, const char *label,
                      const char *when, bool accepted)
{
    char objects[96], text[800];
    tl_rados_shard_objects(x->r, shard, objects, sizeof objects);
    snprintf(text, sizeof text,
             accepted
                 ? "container %s: shard %u of %u of its index, %s, was lost: that is accepted, and what objects %s "
                   "and all others of this shard had up to then is as if it had never been written"
                 : "container %s: shard %u of %u of its index, %s, was lost, and is made anew: it can be written "
                   "again; what it had up to %s is given up: that of objects %s and of all others of this shard, and "
                   "parts of arrays "
                   "beyond 4 GiB. They cannot be read until that is accepted: tiercel pool check --accept-loss",
             label, shard, x->r->shards, tl_rados_index_name(id, shard).text, accepted ? objects : when, objects);
    say(x, text);
}

/* A shard that could not be read, because it is lost, or was. AGAIN: it can be read now. */
static int mend(struct checking *x, const struct tl_store_id *id, uint32_t shard)
{
    struct tl_rados *r = x->r;
    const struct tl_store_namer *n = r->store.namer;
    const struct tl_rados_name name = tl_rados_index_name(id, shard);
    char label[200], when[64] = "now";
    bool gone = r->failed_rc == -ENOENT, remade = r->failed_rc == -ECANCELED, accept = n != NULL && n->accept;
    if (!x->repair || strcmp(r->failed.text, name.text) != 0 || !(gone || (remade && accept)))
        return 0;
    snprintf(label, sizeof label, "%s", tl_rados_state_name(id).text + 2);
    if (n != NULL && n->about != NULL)
        n->about(n->ctx, id, label, sizeof label, when, sizeof when);
    int rc = tl_rados_lease_unbroken(r, x->interrupts);
    rc = rc == 0 && gone ? tl_rados_remake(r, id, shard, when) : rc;
    if (rc == 0 && gone)
        tell_loss(x, id, shard, label, when, false);
    rc = rc == 0 && accept ? tl_rados_accept(r, id, shard) : rc;
    if (rc == 0 && accept)
        tell_loss(x, id, shard, label, when, true);
    return rc == 0 && accept ? AGAIN : rc;
}

/* Shard by shard: one that is away hides nothing of the others. What its records name is not known then. */
static int check_index(struct checking *x, const struct tl_store_id *id)
{
    const char *cont = tl_rados_state_name(id).text + 2;
    int rc = 0;
    x->id = id;
    for (uint32_t i = 0; rc == 0 && i < x->r->shards; i++) {
        rc = tl_rados_scan_shard(x->r, id, i, check_record, x);
        int mended = rc == -EBADMSG ? mend(x, id, i) : 0;
        if (mended == AGAIN)
            rc = tl_rados_scan_shard(x->r, id, i, check_record, x);
        if (mended < 0)
            return mended;
        if (rc != -EBADMSG && rc != -ETIMEDOUT)
            continue;
        found(x, "container %s: what shard %u of its index says %s: %s%s", cont, i,
              rc == -EBADMSG ? "is damaged" : "cannot be read now", tl_rados_damage(&x->r->store),
              x->r->failed_rc == -ENOENT && !x->repair ? "; nothing of it can be read or written: tiercel pool check "
                                                         "--repair makes it anew, without what it had"
                                                       : "");
        x->blind = true;
        rc = 0;
    }
    return rc;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static int check_blob(void *ctx, const char *name)
{
    struct checking *x = ctx;
    uint64_t hash = hash_of(name, x->data);
    if (strncmp(name, "d.", 2) != 0 ||
        (x->named_count > 0 && bsearch(&hash, x->named, x->named_count, sizeof hash, compare) != NULL))
        return 0;
    x->orphans++;
    if (!x->repair)
        return 0;
    /* It was there while we were alone, so nobody writes its record any more, whatever becomes of our lease from here on. */
    int rc = tl_rados_lease_unbroken(x->r, x->interrupts);
    rc = rc == 0 ? tl_rados_error(x->r->lib->remove(x->r->data[x->data].io, name)) : rc;
    return rc == -ENOENT ? 0 : rc;
}

static int check_blobs(struct checking *x)
{
    char text[256];
    int rc = 0;
    if (x->named_count > 0)
        qsort(x->named, x->named_count, sizeof *x->named, compare);
    for (x->data = 0; rc == 0 && !x->blind && x->data < x->r->classes.count; x->data++) {
        x->blind = tl_rados_any_away(x->r, x->r->data[x->data].name);
        rc = x->blind ? 0 : tl_rados_each_object(x->r, x->r->data[x->data].io, check_blob, x);
    }
    if (x->blind || rc == -ETIMEDOUT) {
        say(x, "not all can be read: whether there are payloads that belong to no record was not looked at");
        return 0;
    }
    if (rc == 0 && x->orphans > 0) {
        snprintf(text, sizeof text, "%llu payloads belong to no record: %s", (unsigned long long)x->orphans,
                 x->repair ? "their space was given back"
                           : "they were being written, or are left by processes that ended while they wrote");
        say(x, text);
    }
    return rc;
}

/* Nobody else has it open: our lease becomes an exclusive one for as long. */
static int be_alone(struct tl_rados *r, bool alone)
{
    tl_rados_lease_end(r, &r->open);
    int rc = tl_rados_open_begin(r, alone);
    if (rc == 0 || !alone)
        return rc;
    int back = tl_rados_open_begin(r, false);
    return back != 0 ? back : rc;
}

/* Processes that were killed have not counted the last that they wrote. */
static int recount(struct checking *x)
{
    char text[256];
    uint64_t before = 0;
    if (x->blind)
        return 0;
    int rc = tl_rados_recount(x->r, x->bytes, &before);
    if (rc == 0 && before != x->bytes) {
        snprintf(text, sizeof text, "%llu bytes were counted as used: it is %llu", (unsigned long long)before,
                 (unsigned long long)x->bytes);
        say(x, text);
    }
    return rc;
}

int tl_rados_check_all(struct tl_store *s, bool repair, void (*tell)(void *ctx, const char *finding), void *ctx)
{
    struct tl_rados *r = (struct tl_rados *)s;
    struct checking x = {.r = r, .tell = tell, .ctx = ctx, .repair = repair};
    if (repair && r->read_only)
        return -EROFS;
    x.payload = malloc(TL_STORE_PAYLOAD_MAX);
    if (x.payload == NULL)
        return -ENOMEM;
    int rc = tl_rados_flush(s);
    rc = rc == 0 && repair ? be_alone(r, true) : rc;
    bool alone = repair && rc == 0;
    x.interrupts = atomic_load(&r->interrupts);
    rc = rc == 0 ? note_all(&x) : rc;
    if (rc == 0 && repair && x.blind)
        rc = -ETIMEDOUT; /* what cannot be read now is not to be taken away */
    for (size_t i = 0; rc == 0 && i < x.id_count; i++) {
        if (alone) /* who has lost his lease adds no records of what is taken away here */
            rc = tl_rados_fence(s, &x.ids[i]);
        rc = rc == 0 || rc == -EBADMSG ? check_index(&x, &x.ids[i]) : rc; /* which tells what is lost */
    }
    rc = rc == 0 ? check_blobs(&x) : rc;
    rc = rc == 0 && alone ? recount(&x) : rc;
    if (alone) {
        int back = be_alone(r, false);
        rc = rc == 0 ? back : rc;
    }
    free(x.payload);
    free(x.ids);
    free(x.named);
    return rc == 0 ? x.damage : rc;
}
