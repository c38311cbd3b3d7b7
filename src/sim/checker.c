// SPDX-License-Identifier: Apache-2.0
#include "sim/checker.h"

#include <errno.h>
#include <string.h>

#include "base/time.h"
#include "core/wire/wire.h"
#include "sim/cluster.h"

#define MESSAGES_A_FLIGHT 6u   /* GET, DATA, DONE, and as much again for what is repeated */
#define MESSAGES_A_LINK   8u   /* HELLO and JOIN both ways, and the news that go up the tree */
#define MESSAGES_EVERY    100u /* steps of each node */
#define CHILDREN_SPARE    29u  /* docs/protocol.md, P-23 */
#define DAMAGED_MAX       8u   /* P-7 */

static struct tl_forest forest(const struct tl_cluster *c)
{
    const struct tl_node_config *n = &c->config.node;
    return (struct tl_forest){
        .node_count = c->config.nodes, .roots = n->roots, .arity = n->arity, .topology = n->topology};
}

/* Following who asks whom comes to an end, in each tree. */
static void check_cycles(struct tl_cluster *c, uint32_t rank, uint32_t tree)
{
    uint32_t first = tl_node_parent(c->hosts[rank].node, tree), at = first;
    for (uint32_t hops = 0; at != UINT32_MAX && c->hosts[at].node != NULL; hops++) {
        if (at == rank || hops > c->config.nodes) {
            tl_world_violation(&c->world,
                               "node %u asks node %u in tree %u, and that one in the end asks node %u: a cycle", rank,
                               first, tree, rank);
            return;
        }
        uint32_t above = tl_node_parent(c->hosts[at].node, tree);
        at = c->config.plant == TL_PLANT_CYCLE && above == UINT32_MAX ? rank : above;
    }
}

/* Those whom the node may ask in another tree have places of their own, and may be its children in tree 0 (P-23). At most so
 * many: whoever is a candidate in several trees is counted in each. */
static uint32_t candidates_below(const struct tl_forest *f, uint32_t rank)
{
    uint32_t count = 0, place = tl_forest_place(f, 0, rank);
    for (uint32_t tree = 1; tree < tl_forest_trees(f); tree++) {
        uint32_t list[TL_FOREST_CANDIDATES_MAX], length = tl_forest_candidates(f, tree, rank, list);
        for (uint32_t i = 0; i < length; i++)
            count += tl_forest_place(f, 0, list[i]) > place;
    }
    return count;
}

static void check_trees(struct tl_cluster *c, uint32_t rank)
{
    const struct tl_forest f = forest(c);
    struct tl_report report;
    tl_node_report(c->hosts[rank].node, &report);
    uint32_t most = CHILDREN_SPARE + 4 * c->config.node.arity;
    if (report.children > most)
        most += candidates_below(&f, rank);
    if (report.children > c->checker.children_most)
        c->checker.children_most = report.children;
    if (report.children > most)
        tl_world_violation(&c->world, "node %u has %u children, at most %u are allowed", rank, report.children, most);
    for (uint32_t tree = 0; tree < tl_forest_trees(&f); tree++)
        check_cycles(c, rank, tree);
}

/* May this node ask storage for this? It is the root of its tree, has nobody to ask there, or was not helped. */
static bool may_ask(struct tl_cluster *c, uint32_t rank, uint32_t object, const struct tl_fetch *fetch)
{
    const struct tl_forest f = forest(c);
    struct tl_hash key = tl_object_key(fetch->op, fetch->path, fetch->path_len, fetch->version);
    uint32_t tree = tl_forest_tree_of(&f, key, fetch->file_size_bytes);
    struct tl_report report;
    struct tl_host *h = &c->hosts[rank];
    tl_node_report(h->node, &report);
    if (tl_forest_place(&f, tree, rank) == 0)
        return true;
    c->checker.alone++;
    bool not_helped =
        report.counters.digest_failures >= DAMAGED_MAX || (object != TL_CATALOG_NONE && c->storage.eio_of[object] > 0);
    return not_helped || tl_node_parent(h->node, tree) == UINT32_MAX;
}

/* What the node holds already. Forgotten by a flush, it may stay while it is lent (P-42). */
static bool holds(struct tl_cluster *c, uint32_t rank, const struct tl_fetch *f, uint32_t object)
{
    if (object == TL_CATALOG_NONE || f->op == TL_OP_LIST || c->checker.flushes > 0)
        return false;
    uint32_t version = tl_sim_catalog_version_find(&c->catalog, object, f->version);
    for (uint32_t i = 0; version != TL_CATALOG_NONE && i < f->count; i++)
        if (tl_sim_arena_holds(&c->hosts[rank].arena, c->catalog.versions[version].content + f->first + i))
            return true;
    return false;
}

void tl_checker_fetch(struct tl_cluster *c, uint32_t rank, const struct tl_fetch *f)
{
    uint32_t object = tl_sim_catalog_find(&c->catalog, f->path, f->path_len);
    if (tl_storage_fetches_of(&c->storage, rank, c->hosts[rank].epoch) >= c->config.node.fetch_max)
        tl_world_violation(&c->world, "node %u has more than %u fetches under way", rank, c->config.node.fetch_max);
    if (!may_ask(c, rank, object, f))
        tl_world_violation(&c->world, "node %u asks storage for %.*s, though it has somebody to ask", rank,
                           (int)f->path_len, f->path);
    if (holds(c, rank, f, object))
        tl_world_violation(&c->world, "node %u asks storage for a chunk of %.*s that it holds", rank, (int)f->path_len,
                           f->path);
    if (object == TL_CATALOG_NONE || c->catalog.objects[object].directory != (f->op == TL_OP_LIST))
        return;
    if (f->op == TL_OP_LIST)
        c->checker.hand_overs++;
    else if (tl_sim_catalog_version_find(&c->catalog, object, f->version) != TL_CATALOG_NONE)
        c->checker.hand_overs += f->count;
}

static void check_messages(struct tl_cluster *c)
{
    struct tl_counters counters;
    tl_cluster_counters(c, &counters);
    uint64_t flights = counters.flights_opened + counters.flights_retried;
    uint64_t beats = c->world.now_ns / c->config.node.heartbeat_ns + 1;
    const struct tl_forest f = forest(c);
    uint64_t links = (uint64_t)c->config.nodes * tl_forest_trees(&f) + counters.peers_lost + counters.reparented;
    /* To the parent in each tree a JOIN and a PING, which is answered; a flood goes along every edge, and reports come back. */
    uint64_t each = 1 + 3 * (uint64_t)tl_forest_trees(&f);
    uint64_t depth =
        tl_forest_depth(&f, 0, tl_forest_at(&f, 0, c->config.nodes - 1)); /* news of a subtree go up so far */
    uint64_t most = MESSAGES_A_FLIGHT * flights + (MESSAGES_A_LINK * 8 + depth) * links +
                    each * beats * c->config.nodes + each * (uint64_t)c->config.nodes * c->checker.operators;
    if (c->fabric.messages > most)
        tl_world_violation(&c->world, "%llu messages were sent; %llu flights explain at most %llu",
                           (unsigned long long)c->fabric.messages, (unsigned long long)flights,
                           (unsigned long long)most);
}

void tl_checker_step(struct tl_cluster *c, uint32_t rank)
{
    struct tl_host *h = &c->hosts[rank];
    c->checker.steps++;
    if (c->checker.steps % (MESSAGES_EVERY * c->config.nodes) == 0)
        check_messages(c);
    if (h->arena.live_bytes > c->checker.peak_bytes)
        c->checker.peak_bytes = h->arena.live_bytes;
    if (h->arena.live_bytes > c->config.node.cache_limit_bytes)
        tl_world_violation(&c->world, "node %u holds %llu bytes, its limit is %llu", rank,
                           (unsigned long long)h->arena.live_bytes,
                           (unsigned long long)c->config.node.cache_limit_bytes);
    if (!tl_world_chance(&c->world, TL_STREAM_VERIFY, c->config.verify_ppm, rank, c->checker.steps, 0))
        return;
    tl_node_verify(h->node);
    check_trees(c, rank);
}

/* May this request have failed so? */
static bool explained(const struct tl_cluster *c, const struct tl_process *p, int status)
{
    const struct tl_object *o = &c->catalog.objects[p->asked_object];
    switch (status) {
    case -EIO: return c->storage.eio_of[p->asked_object] > 0;
    case -ESTALE: return !o->directory && (o->was_removed || o->newest != p->asked_version);
    case -ECANCELED: return p->cancelled;
    default: return false;
    }
}

static void check_read(struct tl_cluster *c, uint32_t rank, const struct tl_process *p, const struct tl_answer *answer)
{
    const struct tl_version *v = &c->catalog.versions[p->asked_version];
    struct tl_sim_arena *arena = &c->hosts[rank].arena;
    const char *path = c->catalog.objects[p->asked_object].path;
    uint64_t at = p->want.offset;
    uint64_t end = at + p->want.length < v->size_bytes ? at + p->want.length : v->size_bytes;
    for (uint32_t i = 0; i < answer->ref_count; i++) {
        uint32_t offset = 0;
        const struct tl_ref *ref = &answer->refs[i];
        const struct tl_content *content = tl_sim_arena_at(arena, ref->addr, ref->len, &offset, "an answer");
        if (content == NULL)
            return;
        if (at >= end || content->id != v->content + at / TL_CHUNK_SIZE || offset != at % TL_CHUNK_SIZE) {
            tl_world_violation(&c->world, "node %u: wrong bytes for %s at offset %llu: ref %u is chunk %u of object %d",
                               rank, path, (unsigned long long)at, i, content->chunk, (int)content->object);
            return;
        }
        at += ref->len;
    }
    if (at != end && !(at == p->want.offset && end < at))
        tl_world_violation(&c->world, "node %u: %s answered up to offset %llu, wanted up to %llu", rank, path,
                           (unsigned long long)at, (unsigned long long)end);
}

static void check_list(struct tl_cluster *c, uint32_t rank, const struct tl_process *p, const struct tl_answer *answer)
{
    uint32_t offset = 0;
    const struct tl_content *content = NULL;
    if (answer->ref_count == 1)
        content =
            tl_sim_arena_at(&c->hosts[rank].arena, answer->refs[0].addr, answer->refs[0].len, &offset, "a listing");
    bool right = content != NULL && content->kind == TL_CONTENT_LISTING && content->object == p->asked_object &&
                 offset == 0 && content->len == answer->refs[0].len;
    if (!right)
        tl_world_violation(&c->world, "node %u: wrong bytes for the listing of %s", rank,
                           c->catalog.objects[p->asked_object].path);
}

void tl_checker_answer(struct tl_cluster *c, uint32_t rank, const struct tl_process *p, const struct tl_answer *answer)
{
    c->checker.answers++;
    if (c->world.now_ns - p->issued_ns > c->checker.longest_wait_ns)
        c->checker.longest_wait_ns = c->world.now_ns - p->issued_ns;
    uint64_t healed_ns = c->faults.healed_ns, since_ns = p->issued_ns > healed_ns ? p->issued_ns : healed_ns;
    if (c->world.now_ns > since_ns + TL_LIVENESS_NS)
        tl_world_violation(&c->world, "node %u: %s was answered only after %llu ms", rank,
                           c->catalog.objects[p->asked_object].path,
                           (unsigned long long)(c->world.now_ns - p->issued_ns) / 1000000);
    if (answer->status > 0 || (answer->status < 0 && !explained(c, p, answer->status))) {
        tl_world_violation(&c->world, "node %u: %s failed with %d (%s), and nothing explains it", rank,
                           c->catalog.objects[p->asked_object].path, answer->status, strerror(-answer->status));
        return;
    }
    c->checker.errors += answer->status < 0;
    c->checker.busy += answer->status == -EBUSY || answer->status == -ENOMEM;
    c->checker.stale += answer->status == -ESTALE;
    c->checker.cancelled += answer->status == -ECANCELED;
    if (answer->status < 0)
        return;
    if (c->catalog.objects[p->asked_object].directory)
        check_list(c, rank, p, answer);
    else
        check_read(c, rank, p, answer);
}

static void check_liveness(struct tl_cluster *c)
{
    for (uint32_t rank = 0; rank < c->config.nodes; rank++)
        for (uint32_t i = 0;
             c->hosts[rank].processes != NULL && i < (c->workload->in_step ? 1 : c->workload->processes); i++) {
            const struct tl_process *p = &c->hosts[rank].processes[i];
            if (p->state == TL_PROCESS_WAITING) {
                tl_world_violation(&c->world, "node %u: process %u has waited %llu ms for %s (step %u)", rank, i,
                                   (unsigned long long)(c->world.now_ns - p->issued_ns) / 1000000,
                                   c->catalog.objects[p->asked_object].path, p->step);
                return;
            }
        }
    tl_world_violation(&c->world, "%u processes have not finished", c->running);
}

/* Every hand-over belongs to a fetch that the nodes have made. */
static void check_storage(struct tl_cluster *c)
{
    uint64_t reads = 0;
    for (uint32_t id = 1; id < c->catalog.content_count; id++)
        reads += tl_sim_catalog_content(&c->catalog, id)->reads;
    if (reads > c->checker.hand_overs)
        tl_world_violation(&c->world, "storage handed over %llu chunks and listings, nodes have asked for %llu",
                           (unsigned long long)reads, (unsigned long long)c->checker.hand_overs);
}

void tl_checker_end(struct tl_cluster *c, bool timed_out)
{
    if (timed_out) {
        check_liveness(c);
        return;
    }
    if (c->checker.operators_answered != c->checker.operators)
        tl_world_violation(&c->world, "%llu operator commands, %llu answers", (unsigned long long)c->checker.operators,
                           (unsigned long long)c->checker.operators_answered);
    check_storage(c);
    check_messages(c);
    for (uint32_t rank = 0; rank < c->config.nodes && c->config.verify_ppm > 0; rank++)
        if (c->hosts[rank].node != NULL)
            tl_node_verify(c->hosts[rank].node);
}
