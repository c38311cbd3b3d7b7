// SPDX-License-Identifier: Apache-2.0
/* Drives the core: what happened becomes an event, what it wants done is done.
 *
 * A step is never entered from within a step: requests that fronts make while they are answered, and events that follow from
 * an action that failed at once, are queued and run afterwards. The queue's bound is the core's own: it never has more in
 * flight than its tables hold. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/listing.h"
#include "base/time.h"
#include "base/xattrs.h"
#include "daemon/daemon.h"

#define NET_BATCH          64
#define NO_MEMORY_PAUSE_NS (30ull * TL_NS_PER_S)

/* ---- the bytes of chunks, for the core ---- */

/* Said once a while: the core tries again and again. */
static void no_memory(struct tl_daemon *d, int rc)
{
    uint64_t now = tl_time_mono_ns();
    if (d->no_memory_said_ns != 0 && now - d->no_memory_said_ns < NO_MEMORY_PAUSE_NS)
        return;
    d->no_memory_said_ns = now;
    tl_log(
        "error",
        "this machine gives no more memory for the cache: %s; give the job more memory (see ulimit -v and -f, and the "
        "memory limit of its cgroup), or start the tier with a smaller --cache-size",
        strerror(-rc));
}

static int bytes_alloc(void *ctx, uint32_t len, uint64_t *addr)
{
    struct tl_daemon *d = ctx;
    int rc = tl_arena_alloc(d->arena, len, addr);
    if (rc != 0 && rc != -ENOSPC) /* that is our own limit: ordinary */
        no_memory(d, rc);
    return rc;
}

static void bytes_free(void *ctx, uint64_t addr, uint32_t len)
{
    tl_arena_release(((struct tl_daemon *)ctx)->arena, addr, len);
}

static int bytes_write(void *ctx, uint64_t addr, const void *src, uint32_t len, struct tl_hash *digest)
{
    if (digest != NULL)
        *digest = tl_hash_bytes(src, len, 0);
    return tl_arena_write(((struct tl_daemon *)ctx)->arena, addr, src, len);
}

static struct tl_hash bytes_digest(void *ctx, uint64_t addr, uint32_t len)
{
    return tl_hash_bytes(tl_arena_at(((struct tl_daemon *)ctx)->arena, addr), len, 0);
}

static bool bytes_blob_valid(void *ctx, enum tl_op op, uint64_t addr, uint32_t len)
{
    const void *bytes = tl_arena_at(((struct tl_daemon *)ctx)->arena, addr);
    struct tl_listing listing;
    struct tl_xattrs xattrs;
    if (op == TL_OP_XATTRS)
        return tl_xattrs_open(&xattrs, bytes, len) == 0;
    return tl_listing_open(&listing, bytes, len) == 0;
}

static int on_segment(void *ctx, uint32_t segment, int fd, void *base, size_t len)
{
    struct tl_daemon *d = ctx;
    int region = d->net->ops->expose(d->net, fd, base, len, TL_REGION_SERVE | TL_REGION_LAND);
    check(region < 0 || (uint32_t)region == segment);
    return region < 0 ? region : 0;
}

/* ---- the queue ---- */

struct queued {
    struct tl_event event;
    struct tl_request request;
    uint32_t size; /* of this record, path included */
};

static void enqueue(struct tl_daemon *d, const struct tl_event *ev, const struct tl_request *request)
{
    uint32_t path_len = request != NULL ? request->path_len : 0;
    size_t size = (sizeof(struct queued) + path_len + 15u) & ~(size_t)15;
    if (d->queue_size - d->queue_used < size) {
        size_t grown = d->queue_size == 0 ? 65536 : d->queue_size * 2;
        uint8_t *queue = realloc(d->queue, grown);
        if (queue == NULL) { /* cannot lose an event: without memory for a few bytes there is no way on */
            tl_log("error", "out of memory for %zu bytes of queue; stopping", grown);
            abort();
        }
        d->queue = queue;
        d->queue_size = grown;
    }
    struct queued *q = (struct queued *)(void *)(d->queue + d->queue_used);
    q->event = *ev;
    q->size = (uint32_t)size;
    if (request != NULL) {
        q->request = *request;
        memcpy(q + 1, request->path, path_len);
    }
    d->queue_used += size;
}

void tl_drive_queue(struct tl_daemon *d)
{
    for (size_t at = 0; at < d->queue_used;) {
        /* the queue may grow, and move, while an event runs */
        struct queued *q = (struct queued *)(void *)(d->queue + at);
        struct tl_event ev = q->event;
        struct tl_request request = q->request;
        char path[TL_PATH_MAX];
        at += q->size;
        if (ev.type == TL_EV_REQUEST) {
            memcpy(path, q + 1, request.path_len);
            request.path = path;
            ev.request = &request;
        }
        tl_drive_event(d, &ev);
    }
    d->queue_used = 0;
}

void tl_drive_request(struct tl_daemon *d, uint32_t front, const struct tl_request *request)
{
    struct tl_request r = *request;
    check(r.id < 1ull << TL_FRONT_SHIFT);
    r.id |= (uint64_t)front << TL_FRONT_SHIFT;
    const struct tl_event ev = {.type = TL_EV_REQUEST};
    enqueue(d, &ev, &r);
}

void tl_drive_profile(struct tl_daemon *d, uint32_t count)
{
    const struct tl_event ev = {.type = TL_EV_PROFILE, .len = count};
    enqueue(d, &ev, NULL);
}

void tl_drive_cancel(struct tl_daemon *d, uint32_t front, uint64_t id)
{
    const struct tl_event ev = {.type = TL_EV_CANCEL, .id = id | (uint64_t)front << TL_FRONT_SHIFT};
    enqueue(d, &ev, NULL);
}

/* ---- actions ---- */

static struct tl_net_payload payload_of(uint64_t addr, uint32_t len)
{
    return (struct tl_net_payload){.region = TL_ARENA_SEGMENT(addr), .offset = TL_ARENA_OFFSET(addr), .len = len};
}

/* One attempt. -EAGAIN: the transport is full; any other error: the event that ends it is queued, or nothing waits for it. */
static int submit(struct tl_daemon *d, uint32_t rank, const struct tl_unsent *u)
{
    struct tl_link *link = &d->links[rank];
    int rc = -ENOTCONN;
    if (link->up && u->pull)
        rc = d->net->ops->read(d->net, link->peer, TL_ARENA_SEGMENT(u->remote_addr), TL_ARENA_OFFSET(u->remote_addr),
                               TL_ARENA_SEGMENT(u->addr), TL_ARENA_OFFSET(u->addr), u->len, u->deadline_ns, u->cookie);
    else if (link->up)
        rc = d->net->ops->send(d->net, link->peer, u->header, u->header_len, u->payload.len > 0 ? &u->payload : NULL,
                               u->cookie);
    if (rc == 0 || rc == -EAGAIN)
        return rc;
    const struct tl_event ev = {
        .type = u->pull ? TL_EV_PULLED : TL_EV_SENT, .rank = rank, .status = rc, .cookie = u->cookie};
    if (u->pull || u->payload.len > 0)
        enqueue(d, &ev, NULL);
    return rc;
}

static void keep_unsent(struct tl_link *link, const struct tl_unsent *u, const uint8_t *header)
{
    struct tl_unsent *copy = malloc(sizeof *copy + u->header_len);
    if (copy == NULL) {
        tl_log("error", "out of memory for a message of %u bytes; stopping", u->header_len);
        abort();
    }
    memcpy(copy, u, sizeof *copy);
    if (u->header_len > 0)
        memcpy(copy->header, header, u->header_len);
    copy->next = NULL;
    if (link->first == NULL)
        link->first = copy;
    else
        link->last->next = copy;
    link->last = copy;
}

/* In order: what waits already goes first. */
static void submit_or_keep(struct tl_daemon *d, const struct tl_action *a)
{
    union { /* room for the header behind the record, as submit() wants it */
        struct tl_unsent u;
        uint8_t bytes[sizeof(struct tl_unsent) + TL_HEADER_MAX];
    } one;
    struct tl_link *link = &d->links[a->rank];
    one.u = (struct tl_unsent){.cookie = a->cookie,
                               .payload = payload_of(a->addr, a->type == TL_ACT_SEND ? a->len : 0),
                               .pull = a->type == TL_ACT_PULL,
                               .remote_addr = a->remote_addr,
                               .addr = a->addr,
                               .deadline_ns = a->deadline_ns,
                               .len = a->len,
                               .header_len = a->header_len};
    if (a->header_len > 0)
        memcpy(one.u.header, a->header, a->header_len);
    if (link->first != NULL || submit(d, a->rank, &one.u) == -EAGAIN)
        keep_unsent(link, &one.u, a->header);
}

static void flush_unsent(struct tl_daemon *d, uint32_t rank)
{
    struct tl_link *link = &d->links[rank];
    while (link->first != NULL && submit(d, rank, link->first) != -EAGAIN) {
        struct tl_unsent *done = link->first;
        link->first = done->next;
        free(done);
    }
}

static enum tl_source_kind source_kind(enum tl_op op)
{
    switch (op) {
    case TL_OP_READ: return TL_SOURCE_CHUNKS;
    case TL_OP_LIST: return TL_SOURCE_LIST;
    case TL_OP_ENTRY: return TL_SOURCE_ENTRY;
    case TL_OP_XATTRS: break;
    }
    return TL_SOURCE_XATTRS;
}

static void fetch(struct tl_daemon *d, const struct tl_action *a)
{
    const struct tl_fetch *f = a->fetch;
    struct tl_source_op op = {.cookie = a->cookie,
                              .kind = source_kind(f->op),
                              .path = f->path,
                              .path_len = f->path_len,
                              .version = f->version,
                              .file_size_bytes = f->file_size_bytes,
                              .first = f->first,
                              .count = f->count};
    for (uint32_t i = 0; op.kind == TL_SOURCE_CHUNKS && i < f->count; i++) {
        op.dst[i] = tl_arena_at(d->arena, f->addrs[i]);
        op.lens[i] = f->lens[i];
    }
    int rc = tl_source_submit(d->source, &op);
    if (rc == 0) {
        tl_rate_begin(&d->rate, tl_time_mono_ns());
    } else {
        const struct tl_event ev = {
            .type = TL_EV_FETCHED, .cookie = a->cookie, .status = rc, .chunk = f->first, .last = true};
        enqueue(d, &ev, NULL);
    }
}

static void connect_to(struct tl_daemon *d, uint32_t rank)
{
    struct tl_peer peer;
    int rc = d->net->ops->connect(d->net, rank, tl_time_mono_ns(), &peer);
    if (rc == 0 || rc == -EALREADY)
        return;
    const struct tl_event ev = {.type = TL_EV_PEER_DOWN, .rank = rank, .status = rc};
    enqueue(d, &ev, NULL);
}

static void answer(struct tl_daemon *d, const struct tl_answer *a)
{
    if (a->id >> TL_FRONT_SHIFT == TL_FRONT_CONTROL)
        tl_control_answer(d, a);
    else if (a->id >> TL_FRONT_SHIFT == TL_FRONT_WARM)
        tl_warm_answer(d, a);
    else if (a->id >> TL_FRONT_SHIFT == TL_FRONT_LOCAL)
        tl_local_answer(d, a);
    else
        tl_fronts_answer(d, a);
}

static void act(struct tl_daemon *d, const struct tl_action *a)
{
    switch (a->type) {
    case TL_ACT_SEND:
    case TL_ACT_PULL: submit_or_keep(d, a); break;
    case TL_ACT_FETCH: fetch(d, a); break;
    case TL_ACT_ANSWER: answer(d, &a->answer); break;
    case TL_ACT_CONNECT: connect_to(d, a->rank); break;
    case TL_ACT_DROP:
        if (d->links[a->rank].up)
            (void)d->net->ops->drop(d->net, d->links[a->rank].peer);
        break;
    case TL_ACT_INVALIDATE: tl_fronts_invalidate(d, a->path, a->path_len); break;
    case TL_ACT_WARM: tl_warm_load(d, a->path, a->path_len); break;
    case TL_ACT_REPORT: tl_control_report(d, a->answer.id, a->report); break;
    case TL_ACT_TOO_LARGE:
        tl_log("error",
               "the listing of %.*s is larger than the whole cache of this node (%" PRIu64
               " bytes), so programs get ENOMEM for it; start the tier with a larger --cache-size",
               a->path_len, a->path, d->options.cache_size_bytes);
        break;
    }
}

void tl_drive_event(struct tl_daemon *d, const struct tl_event *ev)
{
    check(!d->stepping);
    d->stepping = true;
    uint64_t now = tl_time_mono_ns();
    if (d->timeline.on)
        tl_timeline_event(&d->timeline, now, ev);
    tl_node_step(d->node, now, ev);
    for (struct tl_action a; tl_node_next(d->node, &a);) {
        if (d->timeline.on)
            tl_timeline_action(&d->timeline, tl_time_mono_ns(), &a);
        act(d, &a);
    }
    d->stepping = false;
}

/* ---- the transport's events ---- */

static void peer_up(struct tl_daemon *d, const struct tl_net_event *e)
{
    d->links[e->peer.rank].peer = e->peer;
    d->links[e->peer.rank].up = true;
    tl_log("info", "peer up rank=%u address=%s", e->peer.rank, d->options.addresses[e->peer.rank]);
    const struct tl_event ev = {.type = TL_EV_PEER_UP, .rank = e->peer.rank};
    tl_drive_event(d, &ev);
}

static void peer_down(struct tl_daemon *d, const struct tl_net_event *e)
{
    struct tl_link *link = &d->links[e->peer.rank];
    if (link->up && link->peer.gen != e->peer.gen)
        return; /* of an earlier connection; the core knows ranks only */
    bool refused = !link->up && (e->status == -ECONNREFUSED || e->status == -ETIMEDOUT);
    if (!refused) /* an absent peer at start is ordinary */
        tl_log(e->status == -EKEYREJECTED || e->status == -EPROTO ? "error" : "info",
               "peer down rank=%u address=%s why=%s", e->peer.rank, d->options.addresses[e->peer.rank],
               e->why != NULL ? e->why : strerror(-e->status));
    link->up = false;
    flush_unsent(d, e->peer.rank); /* ends them: nobody is there */
    tl_drive_queue(d);
    const struct tl_event ev = {.type = TL_EV_PEER_DOWN, .rank = e->peer.rank, .status = e->status};
    tl_drive_event(d, &ev);
}

static void message(struct tl_daemon *d, struct tl_net_event *e)
{
    const struct tl_event ev = {.type = TL_EV_MESSAGE,
                                .rank = e->peer.rank,
                                .header = e->header,
                                .header_len = e->header_len,
                                .payload = e->payload,
                                .payload_len = e->payload_len};
    tl_drive_event(d, &ev);
    d->net->ops->release(d->net, e);
}

static void net_event(struct tl_daemon *d, struct tl_net_event *e)
{
    switch (e->type) {
    case TL_NET_UP: peer_up(d, e); break;
    case TL_NET_DOWN: peer_down(d, e); break;
    case TL_NET_MESSAGE: message(d, e); break;
    case TL_NET_WRITABLE: flush_unsent(d, e->peer.rank); break;
    case TL_NET_SENT:
    case TL_NET_READ: {
        const struct tl_event ev = {.type = e->type == TL_NET_SENT ? TL_EV_SENT : TL_EV_PULLED,
                                    .rank = e->peer.rank,
                                    .status = e->status,
                                    .cookie = e->cookie};
        tl_drive_event(d, &ev);
        break;
    }
    }
    tl_drive_queue(d);
}

void tl_drive_net(struct tl_daemon *d)
{
    struct tl_net_event events[NET_BATCH];
    int count = d->net->ops->poll(d->net, events, NET_BATCH, tl_time_mono_ns());
    for (int i = 0; i < count; i++)
        net_event(d, &events[i]);
}

/* ---- the source's completions ---- */

void tl_drive_source(struct tl_daemon *d)
{
    struct tl_source_done done[NET_BATCH];
    int count = tl_source_reap(d->source, done, NET_BATCH);
    uint64_t now_ns = tl_time_mono_ns();
    for (int i = 0; i < count; i++) {
        const struct tl_event ev = {.type = TL_EV_FETCHED,
                                    .cookie = done[i].cookie,
                                    .status = done[i].status,
                                    .chunk = done[i].chunk,
                                    .len = done[i].len,
                                    .digest = done[i].digest,
                                    .payload = done[i].blob,
                                    .payload_len = done[i].blob != NULL ? done[i].len : 0,
                                    .last = done[i].last};
        if (done[i].status == 0 && done[i].blob == NULL)
            tl_rate_bytes(&d->rate, now_ns, done[i].len);
        if (done[i].last)
            tl_rate_end(&d->rate, now_ns);
        tl_drive_event(d, &ev);
        free(done[i].blob);
        tl_drive_queue(d);
    }
}

/* ---- memory ---- */

void tl_drive_memory(struct tl_daemon *d)
{
    struct tl_arena_stats arena;
    tl_arena_stats(d->arena, &arena);
    uint64_t before = d->pressure.limit_bytes;
    if (!tl_pressure_look(&d->pressure, arena.page_bytes + tl_values_used(d), tl_time_mono_ns()))
        return;
    if (d->values.cache != NULL)
        (void)!tl_cache_set_limit(d->values.cache, tl_values_limit(d), NULL); /* pins may keep more than that */
    uint64_t limit = tl_node_set_limit(d->node, tl_values_rest(d, d->pressure.limit_bytes));
    if (limit < before)
        tl_log("warning",
               "the memory of the control group is short: the cache's limit goes from %llu to %llu bytes group=%s",
               (unsigned long long)before, (unsigned long long)limit, d->pressure.dir);
}

/* ---- time ---- */

uint64_t tl_drive_deadline(struct tl_daemon *d)
{
    uint64_t at = tl_node_deadline(d->node), net = UINT64_MAX;
    if (d->net->ops->arm(d->net, &net) == 1)
        return 0;
    return net < at ? net : at;
}

void tl_drive_timers(struct tl_daemon *d)
{
    uint64_t net = UINT64_MAX, now = tl_time_mono_ns();
    if (d->net->ops->arm(d->net, &net) == 1 || net <= now)
        tl_drive_net(d);
    if (tl_node_deadline(d->node) <= now) {
        const struct tl_event ev = {.type = TL_EV_TIMER};
        tl_drive_event(d, &ev);
        tl_drive_queue(d);
    }
}

/* ---- opening and closing ---- */

static int open_net(struct tl_daemon *d, uint64_t job_id, struct tl_error *err)
{
    const struct tl_options *o = &d->options;
    int listening = -1;
    struct tl_net_config config = {.rank = o->rank,
                                   .node_count = o->node_count,
                                   .addresses = (const char *const *)o->addresses,
                                   .job_id = job_id,
                                   .protocol_version = TL_PROTOCOL_VERSION,
                                   .encrypt = o->encrypt,
                                   .epoll_fd = d->epoll_fd,
                                   .listening = &listening};
    if (d->kept[TL_KEEPER_PEERS].fds[0] >= 0)
        config.listen_fd = d->kept[TL_KEEPER_PEERS].fds[0];
    int rc = tl_keys_open(d, err);
    if (rc != 0)
        return rc;
    memcpy(config.job_key, d->keys[0].bytes, sizeof config.job_key);
    rc = -ENOTSUP;
    if (strcmp(o->bulk, "tcp") != 0) {
        rc = tl_net_ofi_open(&d->net, &config, o->bulk, err);
        if (rc == -ENOTSUP && strcmp(o->bulk, "auto") != 0)
            tl_log("warning", "bulk=%s is not to be had, using TCP: %s", o->bulk, err->msg);
    }
    if (rc == -ENOTSUP)
        rc = tl_net_tcp_open(&d->net, &config, err);
    if (rc == 0 && listening >= 0)
        tl_kept_hold(d, TL_KEEPER_PEERS, listening, -1, NULL);
    explicit_bzero(&config.job_key, sizeof config.job_key);
    if (rc == 0)
        tl_keys_apply(d);
    return rc;
}

static uint64_t job_id_of(const struct tl_options *o)
{
    uint64_t id = tl_hash64(o->tier, strlen(o->tier), (uint64_t)o->roots << 32 | o->arity);
    if (o->groups != NULL)
        id = tl_hash64(o->groups, o->node_count * sizeof *o->groups, id);
    for (uint32_t i = 0; i < o->node_count; i++)
        id = tl_hash64(o->addresses[i], strlen(o->addresses[i]), id);
    return id;
}

static int open_node(struct tl_daemon *d, uint64_t job_id, struct tl_error *err)
{
    const struct tl_options *o = &d->options;
    static const struct tl_bytes_ops bytes = {.alloc = bytes_alloc,
                                              .free = bytes_free,
                                              .write = bytes_write,
                                              .digest = bytes_digest,
                                              .blob_valid = bytes_blob_valid,
                                              .find_file = tl_warm_find_file,
                                              .profile_item = tl_warm_item};
    struct tl_node_config config = {.rank = o->rank, .node_count = o->node_count};
    tl_node_config_default(&config);
    config.roots = o->roots;
    config.arity = o->arity;
    if (o->groups != NULL && tl_topology_new(&d->topology, o->groups, o->node_count) != 0)
        return tl_error_set(err, -ENOMEM, "out of memory for the groups of %u nodes", o->node_count);
    config.topology = d->topology;
    config.incarnation = tl_time_real_ns();
    config.job_id = job_id;
    config.seed = config.incarnation;
    config.cache_limit_bytes = o->cache_size_bytes;
    config.readahead_max_bytes = o->readahead_bytes;
    config.revalidate_ns = o->revalidate_s * TL_NS_PER_S;
    config.keep_once = o->keep_once;
    config.fetch_max = o->threads * 2;
    uint64_t objects = o->cache_size_bytes >> 14; /* an entry for each 16 KiB: files are larger on the average */
    config.object_max = objects < 4096 ? 4096 : objects > 1u << 20 ? 1u << 20 : (uint32_t)objects;
    int rc = tl_node_new(&d->node, &config, &bytes, d);
    return rc == 0 ? 0 : tl_error_set(err, rc, "cannot make the node's tables: %s", strerror(-rc));
}

static void warn(const char *sentence)
{
    tl_log("warning", "%s", sentence);
}

static int open_source(struct tl_daemon *d, struct tl_error *err)
{
    const struct tl_options *o = &d->options;
    const struct tl_source_config config = {.threads = o->threads,
                                            .queue_max = o->threads * 2,
                                            .open_files_max = 256,
                                            .chunk_size_bytes = TL_CHUNK_SIZE,
                                            .warn = warn};
    return o->source != NULL ? tl_source_http_open(&d->source, &config, o->source, 0, err)
                             : tl_source_posix_open(&d->source, &config, err);
}

int tl_drive_open(struct tl_daemon *d, struct tl_error *err)
{
    const struct tl_options *o = &d->options;
    uint64_t job_id = job_id_of(o);
    d->links = calloc(o->node_count, sizeof *d->links);
    if (d->links == NULL)
        return tl_error_set(err, -ENOMEM, "out of memory for %u nodes", o->node_count);
    int rc = open_net(d, job_id, err);
    if (rc != 0)
        return rc;
    const struct tl_arena_config arena = {
        .limit_bytes = o->cache_size_bytes, .on_segment = on_segment, .on_segment_ctx = d};
    rc = tl_arena_new(&d->arena, &arena, err);
    if (rc != 0)
        return rc;
    rc = open_source(d, err);
    tl_pressure_open(&d->pressure, o->cache_size_bytes);
    return rc == 0 ? open_node(d, job_id, err) : rc;
}

/* Workers first: they write into the arena. The transport next: it reads from it. */
void tl_drive_close(struct tl_daemon *d)
{
    tl_source_close(d->source);
    if (d->net != NULL)
        d->net->ops->close(d->net);
    for (uint32_t i = 0; d->links != NULL && i < d->options.node_count; i++)
        while (d->links[i].first != NULL) {
            struct tl_unsent *next = d->links[i].first->next;
            free(d->links[i].first);
            d->links[i].first = next;
        }
    free(d->links);
    tl_node_free(d->node);
    tl_topology_free(d->topology);
    tl_arena_free(d->arena);
    tl_warm_close(d);
    tl_record_close(d);
    free(d->queue);
}
