// SPDX-License-Identifier: Apache-2.0
#include "sim/storage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/time.h"
#include "sim/memory.h"

#define ATTRIBUTES_A_BATCH 32u /* statahead: a listing's attributes come so many an operation */

struct tl_storage_op {
    struct tl_storage_op *next, **link_to_me;
    uint64_t cookie, version;
    uint32_t rank, object;
    uint16_t tag;
    bool list, entry; /* entry: about a name in the directory `object` */
    uint32_t first, count, left;
    uint64_t addrs[TL_FETCH_CHUNKS_MAX];
};

/* Targets and their bandwidth are the paper's. The rates are chosen: with them 2,048 nodes that go straight to storage
 * take about as long as the paper saw (120 s). */
void tl_storage_config_default(struct tl_storage_config *c)
{
    *c = (struct tl_storage_config){
        .md_ops_per_s = 20000, /* one of the metadata targets serves one directory tree */
        .md_concurrency = 128,
        .md_latency_ns = 500000,
        .targets = 160,                      /* the paper's */
        .target_bytes_per_s = 4062500000ull, /* the paper's 650 GB/s over 160 targets */
        .target_reads_per_s = 40000,
        .stream_bytes_per_s = 2000000000ull,
        .read_latency_ns = 500000,
    };
}

void tl_storage_init(struct tl_storage *s, struct tl_world *w, struct tl_sim_catalog *c,
                     const struct tl_storage_config *config)
{
    memset(s, 0, sizeof *s);
    s->world = w;
    s->catalog = c;
    s->config = *config;
    check(config->md_ops_per_s > 0 && config->md_concurrency > 0 && config->targets > 0);
    s->md_slots = tl_sim_alloc(config->md_concurrency, sizeof *s->md_slots);
    s->target_free_ns = tl_sim_alloc(config->targets, sizeof *s->target_free_ns);
    s->eio_of = tl_sim_alloc(c->object_count, sizeof *s->eio_of);
    s->eio_capacity = c->object_count;
}

void tl_storage_fini(struct tl_storage *s)
{
    while (s->ops != NULL) {
        struct tl_storage_op *op = s->ops;
        s->ops = op->next;
        free(op);
    }
    free(s->md_slots);
    free(s->target_free_ns);
    free(s->eio_of);
    memset(s, 0, sizeof *s);
}

static uint64_t slowed(const struct tl_storage *s, uint64_t at_ns, uint64_t ns)
{
    bool slow = at_ns >= s->faults.slow_from_ns && at_ns < s->faults.slow_until_ns;
    return slow ? ns * s->faults.slow_factor : ns;
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* The slots are a heap, smallest first: takes the first one until end_ns. */
static void slot_take(struct tl_storage *s, uint64_t end_ns)
{
    uint32_t at = 0, count = s->config.md_concurrency;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= count)
            break;
        if (child + 1 < count && s->md_slots[child + 1] < s->md_slots[child])
            child++;
        if (s->md_slots[child] >= end_ns)
            break;
        s->md_slots[at] = s->md_slots[child];
        at = child;
    }
    s->md_slots[at] = end_ns;
}

uint64_t tl_storage_metadata(struct tl_storage *s, uint64_t at_ns, uint32_t ops)
{
    uint64_t share_ns = ops * (TL_NS_PER_S / s->config.md_ops_per_s);
    uint64_t start_ns = later(later(at_ns, s->md_slots[0]), s->md_free_ns);
    s->md_free_ns = start_ns + share_ns;
    at_ns = start_ns + later(share_ns, ops * slowed(s, start_ns, s->config.md_latency_ns));
    slot_take(s, at_ns);
    s->md_ops += ops;
    return at_ns;
}

uint64_t tl_storage_read(struct tl_storage *s, uint64_t at_ns, uint32_t object, uint32_t len)
{
    uint64_t *free_ns = &s->target_free_ns[tl_prng_mix(object) % s->config.targets];
    uint64_t bytes_ns = (uint64_t)len * TL_NS_PER_S / s->config.target_bytes_per_s;
    uint64_t start_ns = later(at_ns, *free_ns);
    *free_ns = start_ns + later(bytes_ns, TL_NS_PER_S / s->config.target_reads_per_s);
    uint64_t stream_ns = (uint64_t)len * TL_NS_PER_S / s->config.stream_bytes_per_s;
    s->reads++;
    s->bytes += len;
    return start_ns + slowed(s, start_ns, later(bytes_ns, stream_ns) + s->config.read_latency_ns);
}

uint32_t tl_storage_list_ops(const struct tl_sim_catalog *c, uint32_t object)
{
    const struct tl_object *o = &c->objects[object];
    return 2 + (o->child_count + o->extra_entries + ATTRIBUTES_A_BATCH - 1) / ATTRIBUTES_A_BATCH;
}

/* True when this node has the file open from an earlier read. */
static bool kept_open(struct tl_storage *s, const struct tl_storage_op *op)
{
    for (uint32_t i = 0; i < TL_STORAGE_OPEN_FILES; i++)
        if (s->open_files[i].version == op->version && s->open_files[i].object == op->object &&
            s->open_files[i].rank == op->rank)
            return true;
    s->open_files[s->open_next].version = op->version;
    s->open_files[s->open_next].object = op->object;
    s->open_files[s->open_next].rank = op->rank;
    s->open_next = (s->open_next + 1) % TL_STORAGE_OPEN_FILES;
    return false;
}

/* One fetch a key and node (docs/design): the node has no such chunk under way yet. */
static void check_single(struct tl_storage *s, const struct tl_storage_op *op)
{
    for (const struct tl_storage_op *o = op->entry ? NULL : s->ops; o != NULL; o = o->next)
        if (!o->entry && o->rank == op->rank && o->tag == op->tag && o->object == op->object && o->list == op->list &&
            o->version == op->version && o->first + (o->count - o->left) < op->first + op->count && /* not yet over */
            op->first < o->first + o->count)
            tl_world_violation(s->world, "node %u fetches chunk %u of %s twice at the same time", op->rank, op->first,
                               s->catalog->objects[op->object].path);
}

static void count_hand_over(struct tl_storage *s, uint32_t content)
{
    struct tl_content *c = tl_sim_catalog_content(s->catalog, content);
    s->doubles += c->reads > 0;
    c->reads++;
}

uint32_t tl_storage_fetches_of(const struct tl_storage *s, uint32_t rank, uint16_t tag)
{
    uint32_t count = 0;
    for (const struct tl_storage_op *op = s->ops; op != NULL; op = op->next)
        count += op->rank == rank && op->tag == tag;
    return count;
}

static void schedule(struct tl_storage *s, struct tl_storage_op *op)
{
    uint64_t at_ns = s->world->now_ns;
    if (op->list) {
        s->lists++;
        at_ns = tl_storage_metadata(s, at_ns, op->entry ? 2 : tl_storage_list_ops(s->catalog, op->object));
        if (!op->entry)
            count_hand_over(s, s->catalog->versions[s->catalog->objects[op->object].newest].content);
        tl_world_at(s->world, at_ns, TL_WORLD_STORAGE, op->rank, 0, op);
        return;
    }
    if (!kept_open(s, op)) {
        s->opens++;
        at_ns = tl_storage_metadata(s, at_ns, 1);
    }
    uint32_t version = tl_sim_catalog_version_find(s->catalog, op->object, op->version);
    uint64_t end_ns = at_ns;
    for (uint32_t i = 0; i < op->count; i++) {
        if (version != TL_CATALOG_NONE) {
            uint32_t content = s->catalog->versions[version].content + op->first + i;
            count_hand_over(s, content);
            end_ns =
                later(end_ns, tl_storage_read(s, at_ns, op->object, tl_sim_catalog_content(s->catalog, content)->len));
        }
        tl_world_at(s->world, end_ns, TL_WORLD_STORAGE, op->rank, (uint16_t)i, op);
    }
}

void tl_storage_fetch(struct tl_storage *s, uint32_t rank, uint16_t tag, uint64_t cookie, const struct tl_fetch *fetch)
{
    struct tl_storage_op *op = tl_sim_alloc(1, sizeof *op);
    op->cookie = cookie;
    op->rank = rank;
    op->tag = tag;
    op->list = fetch->op != TL_OP_READ;
    op->entry = fetch->op == TL_OP_ENTRY || fetch->op == TL_OP_XATTRS;
    op->object = tl_sim_catalog_find(s->catalog, fetch->path, fetch->path_len);
    /* What belongs to a name comes in its directory's listing, whole: a descriptor has no parts. */
    if (op->entry && op->object != TL_CATALOG_NONE && !s->catalog->objects[op->object].removed)
        op->object = s->catalog->objects[op->object].parent;
    else if (op->entry)
        op->object = TL_CATALOG_NONE;
    op->version = op->list ? 0 : fetch->version;
    op->first = op->list ? 0 : fetch->first;
    op->count = op->left = op->list ? 1 : fetch->count;
    check(op->count >= 1 && op->count <= TL_FETCH_CHUNKS_MAX);
    memcpy(op->addrs, fetch->addrs, sizeof op->addrs);
    tl_world_trace(s->world, 0x4645544348ull, (uint64_t)rank << 32 | op->object, op->first);
    check_single(s, op);
    if (++s->under_way > s->under_way_most)
        s->under_way_most = s->under_way;
    op->next = s->ops;
    if (op->next != NULL)
        op->next->link_to_me = &op->next;
    op->link_to_me = &s->ops;
    s->ops = op;
    bool wrong_kind = op->object != TL_CATALOG_NONE && s->catalog->objects[op->object].directory != op->list;
    if (op->object != TL_CATALOG_NONE && !wrong_kind) {
        schedule(s, op);
        return;
    }
    op->left = 1; /* one completion says it all */
    tl_world_at(s->world, tl_storage_metadata(s, s->world->now_ns, 1), TL_WORLD_STORAGE, rank, 0, op);
}

/* What the file system says to chunk `at` of the operation now. */
static int outcome(struct tl_storage *s, const struct tl_storage_op *op, uint32_t at, const struct tl_content **content)
{
    if (op->object == TL_CATALOG_NONE)
        return -ENOENT;
    const struct tl_object *o = &s->catalog->objects[op->object];
    if (o->directory != op->list)
        return op->list ? -ENOTDIR : -EISDIR;
    if (o->removed)
        return -ENOENT;
    const struct tl_version *v = &s->catalog->versions[o->newest];
    if (!op->list && v->version != op->version) {
        s->stale++;
        return -ESTALE;
    }
    if (s->faults.sticky && s->eio_of[op->object] > 0)
        return -EIO;
    uint32_t content_id = v->content + (op->list ? 0 : op->first + at);
    uint64_t attempt = tl_sim_catalog_content(s->catalog, content_id)->reads;
    if (s->world->now_ns < s->faults.until_ns &&
        tl_world_chance(s->world, TL_STREAM_STORAGE_ERROR, s->faults.eio_ppm, op->object, op->first + at, attempt)) {
        s->eio_of[op->object]++;
        s->errors++;
        return -EIO;
    }
    *content = tl_sim_catalog_content(s->catalog, content_id);
    return 0;
}

static void handle(void *ctx, const struct tl_sim_event *ev)
{
    struct tl_storage *s = ctx;
    struct tl_storage_op *op = ev->ptr;
    uint64_t held_ns = s->held_until_ns != NULL ? s->held_until_ns(s->done_ctx, op->rank) : 0;
    if (held_ns > s->world->now_ns) {
        tl_world_at(s->world, held_ns, TL_WORLD_STORAGE, ev->node, ev->tag, op);
        return;
    }
    check(op->left > 0);
    op->left--;
    struct tl_storage_done done = {.rank = op->rank,
                                   .tag = op->tag,
                                   .cookie = op->cookie,
                                   .chunk = op->list ? 0 : op->first + ev->tag,
                                   .addr = op->addrs[ev->tag],
                                   .last = op->left == 0};
    done.status = outcome(s, op, ev->tag, &done.content);
    if (done.last) {
        s->under_way--;
        *op->link_to_me = op->next;
        if (op->next != NULL)
            op->next->link_to_me = op->link_to_me;
        free(op);
    }
    s->done(s->done_ctx, &done);
}

void tl_storage_set_handler(struct tl_storage *s, void (*done)(void *ctx, const struct tl_storage_done *done),
                            void *ctx)
{
    s->done = done;
    s->done_ctx = ctx;
    tl_world_handle(s->world, TL_WORLD_STORAGE, handle, s);
}
