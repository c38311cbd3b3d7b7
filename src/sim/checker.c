// SPDX-License-Identifier: Apache-2.0
#include "sim/checker.h"

#include <errno.h>
#include <string.h>

#include "sim/cluster.h"

#define MESSAGES_A_FLIGHT 6u /* GET, DATA, DONE, and as much again for what is repeated */
#define MESSAGES_A_LINK   8u /* HELLO and JOIN both ways, and the news that go up the tree */

void tl_checker_step(struct tl_cluster *c, uint32_t rank)
{
    struct tl_host *h = &c->hosts[rank];
    c->checker.steps++;
    if (h->arena.live_bytes > c->checker.peak_bytes)
        c->checker.peak_bytes = h->arena.live_bytes;
    if (h->arena.live_bytes > c->config.node.cache_limit_bytes)
        tl_world_violation(&c->world, "node %u holds %llu bytes, its limit is %llu", rank,
                           (unsigned long long)h->arena.live_bytes,
                           (unsigned long long)c->config.node.cache_limit_bytes);
    if (tl_world_chance(&c->world, TL_STREAM_VERIFY, c->config.verify_ppm, rank, c->checker.steps, 0))
        tl_node_verify(h->node);
}

/* May this request have failed so? */
static bool explained(const struct tl_cluster *c, const struct tl_process *p, int status)
{
    const struct tl_object *o = &c->catalog.objects[p->asked_object];
    switch (status) {
    case -EIO: return c->storage.eio_of[p->asked_object] > 0;
    case -ESTALE: return !o->directory && (o->was_removed || o->newest != p->asked_version);
    case -ECANCELED: return p->cancelled;
    case -EBUSY:
    case -ENOMEM: return true; /* counted; too many in a row are a violation (process.c) */
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
        for (uint32_t i = 0; i < (c->workload->in_step ? 1 : c->workload->processes); i++) {
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

static void check_storage(struct tl_cluster *c, const struct tl_counters *counters)
{
    uint64_t excuses = c->checker.disturbances + c->fabric.connections_lost + c->storage.errors + counters->evictions +
                       c->storage.stale + counters->invalidations + counters->digest_failures + c->checker.busy;
    for (uint32_t id = 1; id < c->catalog.content_count; id++) {
        const struct tl_content *content = tl_catalog_content(&c->catalog, id);
        if (content->reads <= 1 + excuses)
            continue;
        tl_world_violation(&c->world, "storage read chunk %u of %s %u times; %llu disturbances explain less",
                           content->chunk, c->catalog.objects[content->object].path, content->reads,
                           (unsigned long long)excuses);
        return;
    }
}

static void check_messages(struct tl_cluster *c, const struct tl_counters *counters)
{
    uint64_t flights = counters->flights_opened + counters->flights_retried;
    uint64_t links = c->config.nodes + counters->peers_lost + counters->reparented;
    uint64_t beats = c->world.now_ns / c->config.node.heartbeat_ns + 1;
    uint64_t most = MESSAGES_A_FLIGHT * flights + MESSAGES_A_LINK * links * 8 + 4 * beats * c->config.nodes +
                    4 * (uint64_t)c->config.nodes * c->checker.operators;
    if (c->fabric.messages > most)
        tl_world_violation(&c->world, "%llu messages were sent; %llu flights explain at most %llu",
                           (unsigned long long)c->fabric.messages, (unsigned long long)flights,
                           (unsigned long long)most);
}

void tl_checker_end(struct tl_cluster *c, bool timed_out)
{
    struct tl_counters counters;
    tl_cluster_counters(c, &counters);
    if (timed_out) {
        check_liveness(c);
        return;
    }
    if (c->checker.operators_answered != c->checker.operators)
        tl_world_violation(&c->world, "%llu operator commands, %llu answers", (unsigned long long)c->checker.operators,
                           (unsigned long long)c->checker.operators_answered);
    check_storage(c, &counters);
    check_messages(c, &counters);
    for (uint32_t rank = 0; rank < c->config.nodes && c->config.verify_ppm > 0; rank++)
        if (c->hosts[rank].node != NULL)
            tl_node_verify(c->hosts[rank].node);
}
