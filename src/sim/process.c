// SPDX-License-Identifier: Apache-2.0
/* The programs on the hosts, and as much of the kernel above the tier as matters to it: which names it knows. */
#include <errno.h>
#include <string.h>

#include "base/listing.h"
#include "sim/cluster.h"
#include "sim/memory.h"

#define RETRY_NS        2000000u
#define RETRIES_MAX     60u /* of one step */
#define JITTER_PERCENT  10u
#define CANCEL_NS       300000u
#define TAG_CANCEL_BASE 0x8000u /* a PROCESS event with this bit cancels */

static void wake(struct tl_cluster *c, uint32_t rank, uint32_t process, uint64_t at_ns)
{
    uint64_t now_ns = c->world.now_ns;
    tl_world_at(&c->world, at_ns > now_ns ? at_ns : now_ns, TL_WORLD_PROCESS, rank, c->hosts[rank].epoch,
                (void *)(uintptr_t)process);
}

/* The processes of a node begin, each within the skew. */
static void set_out(struct tl_cluster *c, uint32_t rank)
{
    struct tl_host *h = &c->hosts[rank];
    const struct tl_workload *w = c->workload;
    uint32_t count = w->in_step ? 1 : w->processes;
    uint64_t first_ns = UINT64_MAX, now_ns = c->world.now_ns;
    c->running += count;
    for (uint32_t i = 0; i < w->processes; i++) {
        uint64_t skew_ns =
            tl_prng_scale(tl_world_draw(&c->world, TL_STREAM_PROCESS, rank, i, UINT64_MAX), c->config.start_skew_ns);
        if (w->in_step)
            h->times[i] = now_ns + skew_ns;
        else
            wake(c, rank, i, now_ns + skew_ns);
        if (now_ns + skew_ns < first_ns)
            first_ns = now_ns + skew_ns;
    }
    if (w->in_step)
        wake(c, rank, 0, first_ns);
}

void tl_processes_start(struct tl_cluster *c, uint32_t rank)
{
    struct tl_host *h = &c->hosts[rank];
    const struct tl_workload *w = c->workload;
    uint32_t count = w->in_step ? 1 : w->processes;
    h->processes = tl_sim_alloc(count, sizeof *h->processes);
    h->known = tl_sim_alloc(c->catalog.object_count, sizeof *h->known);
    if (w->in_step)
        h->times = tl_sim_alloc(w->processes, sizeof *h->times);
    set_out(c, rank);
}

void tl_processes_restart(struct tl_cluster *c, uint32_t rank)
{
    struct tl_host *h = &c->hosts[rank];
    memset(h->processes, 0, (c->workload->in_step ? 1 : c->workload->processes) * sizeof *h->processes);
    set_out(c, rank);
}

void tl_processes_forget(struct tl_cluster *c, uint32_t rank)
{
    struct tl_host *h = &c->hosts[rank];
    c->checker.operators_answered += h->operators_open; /* those who asked are cut off */
    h->operators_open = 0;
    if (h->processes == NULL)
        return;
    memset(h->known, 0, c->catalog.object_count * sizeof *h->known); /* the mount has gone with the daemon */
    for (uint32_t i = 0; i < (c->workload->in_step ? 1 : c->workload->processes); i++)
        if (h->processes[i].state == TL_PROCESS_WAITING) {
            h->processes[i].state = TL_PROCESS_IDLE;
            c->checker.answers++; /* nobody is left to answer it */
        }
}

void tl_processes_end(struct tl_cluster *c, uint32_t rank)
{
    struct tl_host *h = &c->hosts[rank];
    for (uint32_t i = 0; h->processes != NULL && i < (c->workload->in_step ? 1 : c->workload->processes); i++)
        if (h->processes[i].state != TL_PROCESS_DONE) {
            h->processes[i].state = TL_PROCESS_DONE;
            c->running--;
        }
}

void tl_processes_resume(struct tl_cluster *c, uint32_t rank)
{
    for (uint32_t i = 0; c->hosts[rank].processes != NULL && i < (c->workload->in_step ? 1 : c->workload->processes);
         i++)
        if (c->hosts[rank].processes[i].state == TL_PROCESS_IDLE)
            wake(c, rank, i, c->world.now_ns);
}

void tl_process_invalidate(struct tl_cluster *c, uint32_t rank, const char *path, uint16_t path_len)
{
    struct tl_host *h = &c->hosts[rank];
    if (h->known == NULL)
        return;
    if (path_len == 1)
        path_len = 0; /* below "/" is everything */
    for (uint32_t i = 0; i < c->catalog.object_count; i++) {
        const struct tl_object *o = &c->catalog.objects[i];
        bool below = o->path_len > path_len && o->path[path_len] == '/';
        if (o->path_len >= path_len && memcmp(o->path, path, path_len) == 0 && (below || o->path_len == path_len))
            h->known[i] = 0;
    }
}

/* ---- asking ---- */

/* The directory to list before `object` can be named, TL_CATALOG_NONE: all are known. */
static uint32_t unknown_directory(const struct tl_cluster *c, const struct tl_host *h, uint32_t object)
{
    uint32_t found = TL_CATALOG_NONE;
    for (uint32_t at = c->catalog.objects[object].parent; at != TL_CATALOG_NONE; at = c->catalog.objects[at].parent)
        if (h->known[at] == 0)
            found = at;
    return found;
}

static void request(struct tl_cluster *c, uint32_t rank, uint32_t process, uint32_t object, bool list)
{
    struct tl_host *h = &c->hosts[rank];
    struct tl_process *p = &h->processes[process];
    const struct tl_object *o = &c->catalog.objects[object];
    struct tl_request r = {.id = c->next_id++, .path = o->path, .path_len = o->path_len, .op = TL_OP_LIST};
    p->asked_object = object;
    p->asked_version = TL_CATALOG_NONE;
    if (!list) {
        p->asked_version = h->known[object] - 1;
        const struct tl_version *v = &c->catalog.versions[p->asked_version];
        r.op = TL_OP_READ;
        r.version = v->version;
        r.file_size_bytes = v->size_bytes;
        r.offset = p->want.offset;
        r.length = p->want.length;
    }
    p->open_id = r.id;
    p->issued_ns = c->world.now_ns;
    p->state = TL_PROCESS_WAITING;
    p->cancelled = false;
    c->checker.requests++;
    tl_fabric_cpu(&c->fabric, rank, c->config.fabric.message_cpu_ns);
    if (c->world.now_ns < c->faults.healed_ns && c->fabric.faults.until_ns > c->world.now_ns &&
        c->config.plan != NULL &&
        tl_world_chance(&c->world, TL_STREAM_CANCEL, c->config.plan->chances.cancel_ppm, rank, process,
                        c->world.now_ns))
        tl_world_at(&c->world, c->world.now_ns + p->open_id % CANCEL_NS, TL_WORLD_PROCESS, rank,
                    h->epoch | TAG_CANCEL_BASE, (void *)(uintptr_t)(p->open_id << 8 | process));
    const struct tl_event ev = {.type = TL_EV_REQUEST, .request = &r};
    tl_host_event(c, rank, &ev);
}

static void finish(struct tl_cluster *c, uint32_t rank, struct tl_process *p)
{
    struct tl_host *h = &c->hosts[rank];
    uint64_t end_ns = c->world.now_ns;
    for (uint32_t i = 0; c->workload->in_step && i < c->workload->processes; i++)
        if (h->times[i] > end_ns)
            end_ns = h->times[i];
    p->state = TL_PROCESS_DONE;
    h->finished_ns = end_ns;
    if (end_ns > c->finished_ns)
        c->finished_ns = end_ns;
    check(c->running > 0);
    c->running--;
}

/* The process computes, then comes to its next step. */
static void step_done(struct tl_cluster *c, uint32_t rank, uint32_t process, uint64_t at_ns)
{
    struct tl_host *h = &c->hosts[rank];
    struct tl_process *p = &h->processes[process];
    uint64_t gap_ns = c->workload->gap_ns(c->workload, p->step), next_ns = UINT64_MAX;
    for (uint32_t i = 0; i < c->workload->processes; i++) {
        if (!c->workload->in_step && i != process)
            continue;
        uint64_t range_ns = gap_ns * 2 * JITTER_PERCENT / 100;
        uint64_t jitter_ns =
            gap_ns == 0 ? 0 : tl_prng_scale(tl_world_draw(&c->world, TL_STREAM_PROCESS, rank, i, p->step), range_ns);
        uint64_t ready_ns = at_ns;
        if (c->workload->in_step && h->times[i] > ready_ns)
            ready_ns = h->times[i];
        ready_ns += gap_ns - range_ns / 2 + jitter_ns;
        if (c->workload->in_step)
            h->times[i] = ready_ns;
        if (ready_ns < next_ns)
            next_ns = ready_ns;
    }
    p->step++;
    p->retries = 0;
    p->first_busy_ns = 0;
    p->has_want = false;
    wake(c, rank, process, next_ns);
}

static void go_on(struct tl_cluster *c, uint32_t rank, uint32_t process)
{
    struct tl_host *h = &c->hosts[rank];
    struct tl_process *p = &h->processes[process];
    if (p->state != TL_PROCESS_IDLE || h->node == NULL)
        return;
    if (!p->has_want && !c->workload->want(c->workload, &c->catalog, rank, process, p->step, &p->want)) {
        finish(c, rank, p);
        return;
    }
    p->has_want = true;
    uint32_t directory = unknown_directory(c, h, p->want.object);
    if (directory != TL_CATALOG_NONE)
        request(c, rank, process, directory, true);
    else if (p->want.list)
        request(c, rank, process, p->want.object, true);
    else if (h->known[p->want.object] != 0)
        request(c, rank, process, p->want.object, false);
    else
        step_done(c, rank, process, c->world.now_ns); /* its directory says that it is not there */
}

static void cancel(struct tl_cluster *c, uint32_t rank, uint64_t id, uint32_t process)
{
    struct tl_process *p = &c->hosts[rank].processes[process];
    if (c->hosts[rank].node == NULL || p->state != TL_PROCESS_WAITING || p->open_id != id)
        return;
    p->cancelled = true;
    c->faults.cancels++;
    const struct tl_event ev = {.type = TL_EV_CANCEL, .id = id};
    tl_host_event(c, rank, &ev);
}

void tl_process_on_event(void *ctx, const struct tl_sim_event *ev)
{
    struct tl_cluster *c = ctx;
    uint64_t arg = (uintptr_t)ev->ptr, held_ns = tl_host_held_until_ns(c, ev->node);
    if ((ev->tag & ~TAG_CANCEL_BASE) != c->hosts[ev->node].epoch)
        return; /* of an earlier life */
    if (held_ns > c->world.now_ns)
        tl_world_at(&c->world, held_ns, TL_WORLD_PROCESS, ev->node, ev->tag, ev->ptr);
    else if (ev->tag & TAG_CANCEL_BASE)
        cancel(c, ev->node, arg >> 8, (uint32_t)(arg & 0xff));
    else
        go_on(c, ev->node, (uint32_t)arg);
}

/* ---- answers ---- */

/* A real listing shows what its descriptor says that it shows. */
static bool blob_agrees(const struct tl_cluster *c, const struct tl_content *content)
{
    struct tl_listing view;
    if (content->blob == NULL)
        return true;
    if (tl_listing_reopen(&view, content->blob, content->len) != 0)
        return false;
    const struct tl_object *o = &c->catalog.objects[content->object];
    for (uint32_t i = 0; i < o->child_count; i++) {
        const struct tl_object *child = &c->catalog.objects[o->children[i]];
        struct tl_listing_entry e;
        uint32_t version = tl_sim_catalog_listed(&c->catalog, content->version_index, i);
        int status =
            tl_listing_find(&view, child->path + child->name_at, (size_t)(child->path_len - child->name_at), &e);
        if (version == TL_CATALOG_NONE ? status != -ENOENT : status != 0)
            return false;
        if (status == 0 && !child->directory && e.attr.version != c->catalog.versions[version].version)
            return false;
    }
    return true;
}

/* The kernel knows the names of a directory now. */
static void learn(struct tl_cluster *c, uint32_t rank, const struct tl_answer *answer)
{
    struct tl_host *h = &c->hosts[rank];
    uint32_t offset = 0;
    const struct tl_content *content =
        tl_sim_arena_at(&h->arena, answer->refs[0].addr, answer->refs[0].len, &offset, "a listing");
    if (content == NULL || content->kind != TL_CONTENT_LISTING)
        return; /* the checker has seen it */
    if (!blob_agrees(c, content))
        tl_world_violation(&c->world, "node %u: the listing of %s shows other files than there are", rank,
                           c->catalog.objects[content->object].path);
    const struct tl_object *o = &c->catalog.objects[content->object];
    h->known[content->object] = content->version_index + 1;
    for (uint32_t i = 0; i < o->child_count; i++)
        if (!c->catalog.objects[o->children[i]].directory)
            h->known[o->children[i]] = tl_sim_catalog_listed(&c->catalog, content->version_index, i) + 1;
}

static void answered_ok(struct tl_cluster *c, uint32_t rank, uint32_t process, const struct tl_answer *answer,
                        uint64_t at_ns)
{
    struct tl_process *p = &c->hosts[rank].processes[process];
    bool list = c->catalog.objects[p->asked_object].directory;
    if (list)
        learn(c, rank, answer);
    if (!list || (p->want.list && p->want.object == p->asked_object))
        step_done(c, rank, process, at_ns);
    else
        wake(c, rank, process, at_ns); /* now the file */
}

static void answered_error(struct tl_cluster *c, uint32_t rank, uint32_t process, int status)
{
    struct tl_host *h = &c->hosts[rank];
    struct tl_process *p = &h->processes[process];
    const struct tl_object *o = &c->catalog.objects[p->asked_object];
    if (status != -EBUSY && status != -ENOMEM) /* limits pass; the checker of liveness sees to it */
        p->retries++;
    else if (p->first_busy_ns == 0)
        p->first_busy_ns = c->world.now_ns;
    uint64_t busy_since_ns = p->first_busy_ns > c->faults.healed_ns ? p->first_busy_ns : c->faults.healed_ns;
    if (p->retries > RETRIES_MAX || (p->first_busy_ns != 0 && c->world.now_ns > busy_since_ns + TL_LIVENESS_NS)) {
        tl_world_violation(&c->world, "node %u: %s has failed %u times in a row, last with %d (%s)", rank, o->path,
                           p->retries, status, strerror(-status));
        finish(c, rank, p);
        return;
    }
    if (status == -ECANCELED) {
        step_done(c, rank, process, c->world.now_ns);
        return;
    }
    if (!o->directory && status == -ESTALE)
        h->known[o->parent] = 0; /* ask for the listing again */
    wake(c, rank, process, c->world.now_ns + RETRY_NS);
}

void tl_process_on_answer(struct tl_cluster *c, uint32_t rank, const struct tl_answer *answer)
{
    struct tl_host *h = &c->hosts[rank];
    if (answer->id & TL_OPERATOR_BIT) {
        if (h->operators_open == 0)
            tl_world_violation(&c->world, "node %u answers an operator's command that is not open", rank);
        else
            h->operators_open--;
        c->checker.operators_answered++;
        c->checker.incomplete += answer->status != 0;
        return;
    }
    for (uint32_t i = 0; h->processes != NULL && i < (c->workload->in_step ? 1 : c->workload->processes); i++) {
        struct tl_process *p = &h->processes[i];
        if (p->state != TL_PROCESS_WAITING || p->open_id != answer->id)
            continue;
        tl_checker_answer(c, rank, p, answer);
        p->state = TL_PROCESS_IDLE;
        uint64_t at_ns = tl_fabric_cpu(&c->fabric, rank, c->config.fabric.message_cpu_ns);
        if (answer->status == 0)
            answered_ok(c, rank, i, answer, at_ns);
        else
            answered_error(c, rank, i, answer->status);
        return;
    }
    tl_world_violation(&c->world, "node %u answers request %llu, which nobody has open (answered before?)", rank,
                       (unsigned long long)answer->id);
}
