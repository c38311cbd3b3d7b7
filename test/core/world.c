// SPDX-License-Identifier: Apache-2.0
#include "core/world.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"

#define EVENTS_MAX 4000000u /* of one run: more is a livelock */

enum item_kind { ITEM_MESSAGE = 1, ITEM_UP, ITEM_DOWN, ITEM_SENT, ITEM_PULL, ITEM_FETCH };

struct item {
    struct item *next, *prev;
    enum item_kind kind;
    uint32_t rank, from; /* whom it happens to; the other side */
    uint64_t incarnation;
    uint32_t link_gen;
    uint64_t cookie, addr, remote_addr;
    uint32_t len;
    int status;
    const struct tl_fetch *fetch;
    uint32_t progress; /* FETCH: chunks done */
    uint32_t header_len, payload_len;
    uint8_t bytes[]; /* MESSAGE: header, payload */
};

void world_violation(struct world *w, const char *format, ...)
{
    if (w->violation[0] != 0)
        return;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(w->violation, sizeof w->violation, format, args);
    va_end(args);
}

/* ---- the queue ---- */

static struct item *enqueue(struct world *w, enum item_kind kind, uint32_t rank, uint32_t from, size_t extra)
{
    struct item *it = calloc(1, sizeof *it + extra);
    assert_non_null(it);
    it->kind = kind;
    it->rank = rank;
    it->from = from;
    it->incarnation = w->hosts[rank].incarnation;
    it->link_gen = from == TL_RANK_NONE ? 0 : w->link_gen[rank][from];
    it->prev = w->tail;
    if (w->tail != NULL)
        w->tail->next = it;
    else
        w->head = it;
    w->tail = it;
    return it;
}

static void unlink_item(struct world *w, struct item *it)
{
    if (it->prev != NULL)
        it->prev->next = it->next;
    else
        w->head = it->next;
    if (it->next != NULL)
        it->next->prev = it->prev;
    else
        w->tail = it->prev;
    it->next = it->prev = NULL;
}

static bool held(const struct world *w, const struct item *it)
{
    switch (it->kind) {
    case ITEM_MESSAGE: return w->hosts[it->rank].hold_messages;
    case ITEM_PULL: return w->hold_pulls && it->status == 0;
    case ITEM_FETCH: return w->hold_storage;
    default: return false;
    }
}

/* ---- memory of chunks ---- */

static int mem_alloc(void *ctx, uint32_t len, uint64_t *addr)
{
    struct host *h = ctx;
    if (h->allocs_fail > 0) {
        h->allocs_fail--;
        return -ENOMEM;
    }
    if (h->extent_count == h->extent_max) {
        h->extent_max = h->extent_max == 0 ? 64 : h->extent_max * 2;
        h->extents = realloc(h->extents, h->extent_max * sizeof *h->extents);
        assert_non_null(h->extents);
    }
    uint8_t *bytes = calloc(1, len);
    assert_non_null(bytes);
    h->extents[h->extent_count] = (struct extent){.bytes = bytes, .len = len};
    *addr = (uint64_t)h->extent_count++ << 40;
    h->live_bytes += len;
    return 0;
}

uint8_t *world_bytes(struct host *h, uint64_t addr, uint32_t len)
{
    uint64_t number = addr >> 40, offset = addr & ((1ull << 40) - 1);
    bool there = number < h->extent_count && h->extents[number].bytes != NULL && offset + len <= h->extents[number].len;
    return there ? h->extents[number].bytes + offset : NULL;
}

static void mem_free(void *ctx, uint64_t addr, uint32_t len)
{
    struct host *h = ctx;
    uint64_t number = addr >> 40;
    assert_true(world_bytes(h, addr, len) != NULL && h->extents[number].len == len);
    free(h->extents[number].bytes);
    h->extents[number].bytes = NULL;
    h->live_bytes -= len;
}

static struct tl_hash mem_digest(void *ctx, uint64_t addr, uint32_t len)
{
    const uint8_t *at = world_bytes(ctx, addr, len);
    assert_non_null(at);
    return tl_hash_bytes(at, len, 0);
}

static int mem_write(void *ctx, uint64_t addr, const void *src, uint32_t len, struct tl_hash *digest)
{
    uint8_t *at = world_bytes(ctx, addr, len);
    assert_non_null(at);
    memcpy(at, src, len);
    if (digest != NULL)
        *digest = mem_digest(ctx, addr, len);
    return 0;
}

static bool mem_blob_valid(void *ctx, enum tl_op op, uint64_t addr, uint32_t len)
{
    const uint8_t *at = world_bytes(ctx, addr, len);
    assert_non_null(at);
    assert_true(tl_op_is_blob(op));
    return len > 8 && memcmp(at, "LIST", 4) == 0;
}

static uint32_t file_at(const struct world *w, const char *path, size_t len)
{
    uint32_t i = 0;
    while (i < w->file_count && (strlen(w->files[i].path) != len || memcmp(w->files[i].path, path, len) != 0))
        i++;
    return i;
}

/* A listing begins with "LIST" and its directory's number: world_storage.c. */
static int mem_find_file(void *ctx, uint64_t addr, uint32_t len, const char *name, uint16_t name_len, uint64_t *version,
                         uint64_t *size_bytes)
{
    const struct host *h = ctx;
    uint32_t directory;
    char path[2 * TL_PATH_MAX];
    const uint8_t *at = world_bytes(ctx, addr, len);
    assert_non_null(at);
    memcpy(&directory, at + 4, sizeof directory);
    const char *top = h->world->files[directory].path;
    int path_len = snprintf(path, sizeof path, "%s/%.*s", strcmp(top, "/") == 0 ? "" : top, (int)name_len, name);
    uint32_t file = file_at(h->world, path, (size_t)path_len);
    if (file == h->world->file_count || h->world->files[file].directory)
        return -ENOENT;
    *version = h->world->files[file].version;
    *size_bytes = h->world->files[file].size_bytes;
    return 0;
}

static bool mem_profile_item(void *ctx, uint32_t i, struct tl_profile_item *out)
{
    const struct world *w = ((struct host *)ctx)->world;
    if (i >= w->profile_count)
        return false;
    uint32_t file = file_at(w, w->profile[i], strlen(w->profile[i]));
    bool directory = file < w->file_count && w->files[file].directory;
    *out = (struct tl_profile_item){
        .op = directory ? TL_OP_LIST : TL_OP_READ, .path = w->profile[i], .path_len = (uint16_t)strlen(w->profile[i])};
    return true;
}

void world_load_profiles(struct world *w)
{
    for (uint32_t rank = 0; rank < HOSTS_MAX; rank++) {
        if (w->hosts[rank].node == NULL || !w->hosts[rank].wants_profile)
            continue;
        w->hosts[rank].wants_profile = false;
        world_step(w, rank, &(struct tl_event){.type = TL_EV_PROFILE, .len = w->profile_count});
    }
}

static const struct tl_bytes_ops MEMORY = {.find_file = mem_find_file,
                                           .profile_item = mem_profile_item,
                                           .alloc = mem_alloc,
                                           .free = mem_free,
                                           .write = mem_write,
                                           .digest = mem_digest,
                                           .blob_valid = mem_blob_valid};

/* ---- the network ---- */

static void set_link(struct world *w, uint32_t a, uint32_t b, bool up)
{
    w->link_up[a][b] = w->link_up[b][a] = up;
    w->link_gen[a][b]++;
    w->link_gen[b][a] = w->link_gen[a][b];
}

/* What was on its way is lost, pulls end with an error, then both sides hear of it. */
static void close_link(struct world *w, uint32_t a, uint32_t b)
{
    if (!w->link_up[a][b])
        return;
    for (struct item *it = w->head, *next; it != NULL; it = next) {
        next = it->next;
        bool there = (it->rank == a && it->from == b) || (it->rank == b && it->from == a);
        if (!there || it->link_gen != w->link_gen[a][b])
            continue;
        if (it->kind == ITEM_PULL) {
            it->status = -ECANCELED;
        } else if (it->kind == ITEM_MESSAGE) {
            unlink_item(w, it);
            free(it);
        }
    }
    set_link(w, a, b, false);
    enqueue(w, ITEM_DOWN, a, b, 0)->status = -ECONNRESET;
    enqueue(w, ITEM_DOWN, b, a, 0)->status = -ECONNRESET;
}

void world_cut(struct world *w, uint32_t a, uint32_t b)
{
    close_link(w, a, b);
}

static void act_connect(struct world *w, uint32_t rank, uint32_t to)
{
    const struct host *h = &w->hosts[rank], *other = &w->hosts[to];
    bool one = w->config.roots == 1;
    if (w->link_up[rank][to] && one)
        world_violation(w, "node %u connects to %u, to which it is connected", rank, to);
    if (w->link_up[rank][to])
        return; /* the other one has been quicker: UP is on its way */
    if (to >= rank && one)
        world_violation(w, "node %u connects to %u, which is not above it", rank, to);
    if (other->node == NULL || other->unreachable || h->unreachable) {
        enqueue(w, ITEM_DOWN, rank, to, 0)->status = -ECONNREFUSED;
        return;
    }
    set_link(w, rank, to, true);
    enqueue(w, ITEM_UP, rank, to, 0);
    enqueue(w, ITEM_UP, to, rank, 0);
}

static void deliver(struct world *w, uint32_t from, uint32_t to, const uint8_t *header, uint32_t header_len,
                    const uint8_t *payload, uint32_t payload_len)
{
    struct item *it = enqueue(w, ITEM_MESSAGE, to, from, (size_t)header_len + payload_len);
    it->header_len = header_len;
    it->payload_len = payload_len;
    memcpy(it->bytes, header, header_len);
    if (payload_len > 0)
        memcpy(it->bytes + header_len, payload, payload_len);
    struct tl_wire m;
    if (tl_wire_decode(&m, it->bytes, header_len) != 0) {
        world_violation(w, "node %u sends what cannot be decoded", from);
        return;
    }
    w->sent[m.type]++;
    if (w->lose != NULL && w->lose(w, from, to, &m, it->bytes + header_len)) {
        unlink_item(w, it);
        free(it);
    }
}

static void act_send(struct world *w, uint32_t rank, const struct tl_action *a)
{
    const uint8_t *payload = NULL;
    if (a->len > 0) {
        payload = world_bytes(&w->hosts[rank], a->addr, a->len);
        assert_non_null(payload);
        enqueue(w, ITEM_SENT, rank, TL_RANK_NONE, 0)->cookie = a->cookie;
    }
    if (w->link_up[rank][a->rank])
        deliver(w, rank, a->rank, a->header, a->header_len, payload, a->len);
}

void world_message(struct world *w, uint32_t from, uint32_t to, const struct tl_wire *m)
{
    uint8_t header[TL_HEADER_MAX], payload[TL_INLINE_MAX] = {0};
    int len = tl_wire_encode(m, header, sizeof header);
    assert_true(len > 0 && w->link_up[from][to]);
    bool carries = m->type == TL_WIRE_DATA && m->data.mode == TL_DATA_INLINE;
    deliver(w, from, to, header, (uint32_t)len, payload, carries ? m->data.len : 0);
}

static void act_pull(struct world *w, uint32_t rank, const struct tl_action *a)
{
    struct item *it = enqueue(w, ITEM_PULL, rank, a->rank, 0);
    it->cookie = a->cookie;
    it->addr = a->addr;
    it->remote_addr = a->remote_addr;
    it->len = a->len;
    if (!w->link_up[rank][a->rank])
        it->status = -ENOTCONN;
}

static int pull(struct world *w, const struct item *it)
{
    if (it->status != 0)
        return it->status;
    uint8_t *to = world_bytes(&w->hosts[it->rank], it->addr, it->len);
    const uint8_t *from = world_bytes(&w->hosts[it->from], it->remote_addr, it->len);
    assert_non_null(to);
    if (from != NULL)
        memcpy(to, from, it->len);
    else
        memset(to, 0, it->len); /* it has been punched out */
    return w->pulled == NULL ? 0 : w->pulled(w, it->from, it->rank, to, it->len);
}

/* ---- nodes ---- */

static void act(struct world *w, uint32_t rank, const struct tl_action *a)
{
    struct host *h = &w->hosts[rank];
    switch (a->type) {
    case TL_ACT_SEND: act_send(w, rank, a); break;
    case TL_ACT_PULL: act_pull(w, rank, a); break;
    case TL_ACT_FETCH: {
        struct item *it = enqueue(w, ITEM_FETCH, rank, TL_RANK_NONE, 0);
        it->cookie = a->cookie;
        it->fetch = a->fetch;
        break;
    }
    case TL_ACT_ANSWER:
        for (int i = w->plant == PLANT_ANSWER_NEVER ? 1 : 0; i < (w->plant == PLANT_ANSWER_TWICE ? 2 : 1); i++)
            world_take_answer(w, rank, &a->answer);
        break;
    case TL_ACT_CONNECT: act_connect(w, rank, a->rank); break;
    case TL_ACT_DROP: close_link(w, rank, a->rank); break;
    case TL_ACT_INVALIDATE:
        h->invalidations++;
        memcpy(h->invalidated, a->path, a->path_len);
        h->invalidated[a->path_len] = 0;
        break;
    case TL_ACT_WARM: h->wants_profile = true; break;
    case TL_ACT_REPORT: h->reports[a->report->rank]++; break;
    case TL_ACT_TOO_LARGE: h->too_large++; break;
    }
}

void world_step(struct world *w, uint32_t rank, const struct tl_event *ev)
{
    struct host *h = &w->hosts[rank];
    tl_node_step(h->node, w->now_ns, ev);
    struct tl_action a;
    while (tl_node_next(h->node, &a))
        act(w, rank, &a);
    tl_node_verify(h->node);
    struct tl_report r;
    tl_node_report(h->node, &r);
    if (h->live_bytes > w->config.cache_limit_bytes || r.counters.cached_bytes < h->live_bytes)
        world_violation(w, "node %u holds %llu bytes and says %llu", rank, (unsigned long long)h->live_bytes,
                        (unsigned long long)r.counters.cached_bytes);
}

static void happen(struct world *w, struct item *it)
{
    struct tl_event ev = {.rank = it->from, .cookie = it->cookie, .status = it->status};
    switch (it->kind) {
    case ITEM_MESSAGE:
        ev.type = TL_EV_MESSAGE;
        ev.header = it->bytes;
        ev.header_len = it->header_len;
        ev.payload = it->bytes + it->header_len;
        ev.payload_len = it->payload_len;
        break;
    case ITEM_UP: ev.type = TL_EV_PEER_UP; break;
    case ITEM_DOWN: ev.type = TL_EV_PEER_DOWN; break;
    case ITEM_SENT: ev.type = TL_EV_SENT; break;
    case ITEM_PULL:
        ev.type = TL_EV_PULLED;
        ev.status = pull(w, it);
        break;
    case ITEM_FETCH: return;
    }
    world_step(w, it->rank, &ev);
}

/* The next thing that is not held. False: nothing. */
static bool happen_next(struct world *w)
{
    struct item *it = w->head;
    while (it != NULL && held(w, it))
        it = it->next;
    if (it == NULL)
        return false;
    bool gone = w->hosts[it->rank].node == NULL || w->hosts[it->rank].incarnation != it->incarnation;
    bool late = it->kind == ITEM_UP && it->link_gen != w->link_gen[it->rank][it->from];
    if (it->kind == ITEM_FETCH && !gone) {
        bool more = world_storage_read(w, it->rank, it->cookie, it->fetch,
                                       &it->progress); /* it stays where it is: others may be read in between */
        if (more)
            return true;
    }
    unlink_item(w, it);
    if (!gone && !late)
        happen(w, it);
    free(it);
    return true;
}

void world_settle(struct world *w)
{
    for (uint32_t i = 0; happen_next(w); i++)
        if (i > EVENTS_MAX) {
            world_violation(w, "the nodes find no end");
            return;
        }
}

static bool all_answered(const struct world *w)
{
    for (uint32_t i = 0; i < w->asked_count; i++)
        if (w->asked[i].answers == 0 && !w->asked[i].lost)
            return false;
    return true;
}

static void run(struct world *w, uint64_t for_ns, bool until_answered)
{
    uint64_t end_ns = w->now_ns + for_ns;
    for (uint32_t i = 0; i < EVENTS_MAX; i++) {
        world_settle(w);
        if (w->violation[0] != 0 || (until_answered && all_answered(w)))
            return;
        uint64_t next_ns = UINT64_MAX;
        for (uint32_t rank = 0; rank < w->config.node_count; rank++) {
            uint64_t at = w->hosts[rank].node == NULL ? UINT64_MAX : tl_node_deadline(w->hosts[rank].node);
            next_ns = at < next_ns ? at : next_ns;
        }
        if (next_ns > end_ns) {
            w->now_ns = end_ns;
            return;
        }
        w->now_ns = next_ns > w->now_ns ? next_ns : w->now_ns;
        for (uint32_t rank = 0; rank < w->config.node_count; rank++)
            if (w->hosts[rank].node != NULL && tl_node_deadline(w->hosts[rank].node) <= w->now_ns)
                world_step(w, rank, &(struct tl_event){.type = TL_EV_TIMER});
    }
    world_violation(w, "timers find no end");
}

void world_run(struct world *w, uint64_t for_ns)
{
    run(w, for_ns, false);
}

void world_run_answered(struct world *w, uint64_t for_ns)
{
    run(w, for_ns, true);
}

void world_start(struct world *w, uint32_t rank)
{
    struct host *h = &w->hosts[rank];
    assert_null(h->node);
    struct tl_node_config c = w->config;
    c.rank = rank;
    c.incarnation = ++h->incarnation;
    h->world = w;
    assert_int_equal(tl_node_new(&h->node, &c, &MEMORY, h), 0);
    world_step(w, rank, &(struct tl_event){.type = TL_EV_TIMER});
}

static void free_memory(struct host *h)
{
    for (uint32_t i = 0; i < h->extent_count; i++)
        free(h->extents[i].bytes);
    free(h->extents);
    h->extents = NULL;
    h->extent_count = h->extent_max = 0;
    h->live_bytes = 0;
}

void world_crash(struct world *w, uint32_t rank)
{
    struct host *h = &w->hosts[rank];
    for (uint32_t other = 0; other < w->config.node_count; other++)
        close_link(w, rank, other);
    tl_node_free(h->node);
    h->node = NULL;
    free_memory(h);
    for (uint32_t i = 0; i < w->asked_count; i++)
        w->asked[i].lost |= w->asked[i].rank == rank && w->asked[i].answers == 0;
}

void world_start_all(struct world *w)
{
    for (uint32_t rank = 0; rank < w->config.node_count; rank++)
        world_start(w, rank);
    world_run(w, 2 * S);
    for (uint32_t rank = 0; rank < w->config.node_count; rank++)
        assert_true(tl_node_ready(w->hosts[rank].node));
}

struct world *world_new(uint32_t count, uint32_t arity)
{
    assert_true(count <= HOSTS_MAX);
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    tl_node_config_default(&w->config);
    w->config.node_count = count;
    w->config.arity = arity;
    w->config.job_id = 77;
    w->config.cache_limit_bytes = 64ull << 20;
    w->config.object_max = 1024;
    w->config.flight_max = 256;
    w->config.waiter_max = 1024;
    w->now_ns = 1000 * S;
    return w;
}

void world_free(struct world *w)
{
    for (struct item *it = w->head, *next; it != NULL; it = next) {
        next = it->next;
        free(it);
    }
    for (uint32_t rank = 0; rank < HOSTS_MAX; rank++) {
        tl_node_free(w->hosts[rank].node);
        free_memory(&w->hosts[rank]);
    }
    free(w);
}

void world_end(struct world *w)
{
    world_check_answered(w);
    if (w->violation[0] != 0)
        fail_msg("%s", w->violation);
    world_free(w);
}
