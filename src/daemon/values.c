// SPDX-License-Identifier: Apache-2.0
/* Life and limits of the daemon's values; see values.h.
 *
 * One limit a node: what values take is taken from the core's share. They may take a part of it (--values-share); the core gives way
 * as they grow, some chunks a step. Trees in shared memory count, too (values_trees.c). */
#include "daemon/values.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/time.h"
#include "daemon/daemon.h"

#define LIMIT_MAX      (512ull << 30) /* address space is laid out for so much at most */
#define ORPHAN_LOOK    TL_NS_PER_S
#define STEPS_PER_TURN 8u

static uint64_t memory_bytes(void)
{
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* No more than the machine has, nor the control group. */
static uint64_t node_limit_max(const struct tl_daemon *d)
{
    uint64_t memory = memory_bytes();
    bool group = d->pressure.active && d->pressure.group_limit_bytes < memory;
    return group ? d->pressure.group_limit_bytes : memory;
}

uint64_t tl_values_limit(const struct tl_daemon *d)
{
    uint64_t trees = tl_trees_bytes(d), rest = d->pressure.limit_bytes > trees ? d->pressure.limit_bytes - trees : 0;
    uint64_t bytes = rest / 100 * d->options.values_share;
    return bytes < TL_CACHE_LIMIT_LEAST ? TL_CACHE_LIMIT_LEAST : bytes;
}

uint64_t tl_values_used(const struct tl_daemon *d)
{
    struct tl_cache_stats s = {.used_bytes = 0};
    if (d->values.cache != NULL)
        tl_cache_stats(d->values.cache, &s);
    return s.used_bytes + tl_trees_bytes(d);
}

uint64_t tl_values_rest(const struct tl_daemon *d, uint64_t node_limit_bytes)
{
    uint64_t used = tl_values_used(d);
    return node_limit_bytes > used ? node_limit_bytes - used : 0;
}

/* ---- life ---- */

/* The next daemon is to find it, whatever becomes of this one. */
static void hand_to_keeper(struct tl_daemon *d)
{
    const struct tl_cache *c = d->values.cache;
    tl_kept_hold(d, TL_KEEPER_VALUES, tl_cache_values_fd(c), -1, NULL);
    tl_kept_hold(d, TL_KEEPER_DIRECTORY, tl_cache_directory_fd(c), tl_cache_uses_fd(c), NULL);
}

int tl_values_need(struct tl_daemon *d, struct tl_error *err)
{
    if (d->values.cache != NULL)
        return 0;
    if (d->options.values_share == 0)
        return tl_error_set(err, -EOPNOTSUPP,
                            "this daemon keeps no values (--values-share 0); start the tier with another share");
    uint64_t limit = tl_values_limit(d), most = memory_bytes() < LIMIT_MAX ? memory_bytes() : LIMIT_MAX;
    struct tl_cache_config config = {.limit_bytes = limit,
                                     .limit_max_bytes = most < limit ? limit : most,
                                     .evicting = tl_lower_evicting,
                                     .evicting_ctx = d,
                                     .values_fd = -1,
                                     .adopt_directory_fd = -1,
                                     .adopt_uses_fd = -1,
                                     .adopt_values_fd = -1};
    int rc = tl_cache_new(&d->values.cache, &config, err);
    while (rc == -ENOMEM && config.limit_max_bytes > limit) { /* `ulimit -v`: with less address space to grow in */
        config.limit_max_bytes = config.limit_max_bytes / 4 > limit ? config.limit_max_bytes / 4 : limit;
        rc = tl_cache_new(&d->values.cache, &config, err);
    }
    if (rc != 0)
        return rc;
    rc = tl_lower_open(d, err);
    if (rc != 0) {
        tl_cache_free(d->values.cache);
        d->values.cache = NULL;
        return rc;
    }
    hand_to_keeper(d);
    return 0;
}

/* What clients of the daemon before hold stays until they end. Holds whose pages cannot be read safely are not looked at. */
static void take_orphan(struct tl_daemon *d, uint32_t id, const struct tl_holds *orphans[], uint32_t *count)
{
    int fd = d->kept[id].fds[0], pid = d->kept[id].text != NULL ? atoi(d->kept[id].text) : 0;
    struct stat st;
    void *p = MAP_FAILED;
    if (fd < 0)
        return;
    if (pid > 0 && kill(pid, 0) == 0 && fstat(fd, &st) == 0 && st.st_size == (off_t)TL_HOLDS_BYTES)
        p = mmap(NULL, TL_HOLDS_BYTES, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    d->kept[id].fds[0] = -1;
    if (p == MAP_FAILED) {
        tl_kept_drop(d, id);
        return;
    }
    d->values.orphans[*count] =
        (struct tl_orphan){.holds = p, .pid = pid, .id = id, .reader = *count + 1, .dev = st.st_dev, .ino = st.st_ino};
    orphans[(*count)++] = p;
}

/* There are no values any more that they could hold. */
static void forget_kept(struct tl_daemon *d)
{
    for (uint32_t i = 0; i < d->values.orphan_count; i++) {
        munmap(d->values.orphans[i].holds, TL_HOLDS_BYTES);
        tl_kept_drop(d, d->values.orphans[i].id);
        d->values.orphans[i] = (struct tl_orphan){.holds = NULL};
    }
    d->values.orphan_count = 0;
    tl_kept_drop(d, TL_KEEPER_VALUES);
    tl_kept_drop(d, TL_KEEPER_DIRECTORY);
}

void tl_values_start(struct tl_daemon *d)
{
    const struct tl_holds *orphans[TL_SESSIONS_MAX];
    struct tl_error err = {0};
    struct tl_cache_stats s;
    int *directory = d->kept[TL_KEEPER_DIRECTORY].fds, *values = d->kept[TL_KEEPER_VALUES].fds;
    d->values.scrub_cursor = UINT64_MAX;
    tl_trees_open(d);
    if (d->options.keeper_fd < 0)
        return;
    for (uint32_t id = TL_KEEPER_HOLDERS; id < TL_KEEPER_HOLDERS + TL_KEEPER_HOLDERS_MAX; id++)
        take_orphan(d, id, orphans, &d->values.orphan_count);
    if (directory[0] < 0 || directory[1] < 0 || values[0] < 0) {
        forget_kept(d);
        return;
    }
    const struct tl_cache_config config = {.limit_bytes = tl_values_limit(d),
                                           .limit_max_bytes = UINT64_MAX,
                                           .evicting = tl_lower_evicting,
                                           .evicting_ctx = d,
                                           .values_fd = -1,
                                           .adopt_directory_fd = directory[0],
                                           .adopt_uses_fd = directory[1],
                                           .adopt_values_fd = values[0],
                                           .orphans = orphans,
                                           .orphan_count = d->values.orphan_count};
    directory[0] = directory[1] = values[0] = -1; /* the cache's */
    int rc = d->options.values_share == 0 ? tl_error_set(&err, -EOPNOTSUPP, "--values-share is 0 now")
                                          : tl_cache_new(&d->values.cache, &config, &err);
    if (rc != 0) {
        tl_log("warning", "values of the daemon before are lost: %s", err.msg);
        forget_kept(d);
        return;
    }
    tl_cache_stats(d->values.cache, &s);
    d->values.scrub_cursor = 0;
    if (tl_lower_open(d, &err) != 0)
        tl_log("error", "going on without values on disk: %s", err.msg);
    tl_log("info", "going on with %llu values; %llu were half written", (unsigned long long)s.adopted,
           (unsigned long long)s.not_adopted);
}

void tl_values_close(struct tl_daemon *d)
{
    for (uint32_t i = 0; i < TL_SESSIONS_MAX; i++)
        if (d->values.sessions[i] != NULL)
            tl_session_close(d, i);
    for (uint32_t i = 0; i < TL_SESSIONS_MAX; i++)
        if (d->values.orphans[i].holds != NULL)
            munmap(d->values.orphans[i].holds, TL_HOLDS_BYTES);
    tl_lower_close(d);
    tl_trees_close(d);
    tl_cache_free(d->values.cache);
    d->values.cache = NULL;
}

/* ---- time ---- */

static void look_at_orphans(struct tl_daemon *d)
{
    struct tl_values *v = &d->values;
    uint64_t now = tl_time_mono_ns();
    if (v->orphan_count == 0 || now - v->looked_ns < ORPHAN_LOOK)
        return;
    v->looked_ns = now;
    for (uint32_t i = 0; i < TL_SESSIONS_MAX; i++) {
        struct tl_orphan *o = &v->orphans[i];
        if (o->holds == NULL || (kill(o->pid, 0) == 0 || errno != ESRCH))
            continue;
        if (v->cache != NULL)
            tl_cache_remove_reader(v->cache, o->reader);
        munmap(o->holds, TL_HOLDS_BYTES);
        tl_kept_drop(d, o->id);
        *o = (struct tl_orphan){.holds = NULL};
        v->orphan_count--;
    }
}

/* The core's limit follows what values take, in steps that are worth its while. */
static void share_out(struct tl_daemon *d)
{
    struct tl_values *v = &d->values;
    uint64_t used = tl_values_used(d), step = d->options.cache_size_bytes / 256;
    uint64_t apart = used > v->taken_bytes ? used - v->taken_bytes : v->taken_bytes - used;
    if (apart < step)
        return;
    v->taken_bytes = used;
    if (v->cache != NULL)
        (void)!tl_cache_set_limit(v->cache, tl_values_limit(d), NULL); /* pins may keep more than that */
    tl_node_set_limit(d->node, tl_values_rest(d, d->pressure.limit_bytes));
}

void tl_values_tick(struct tl_daemon *d)
{
    struct tl_values *v = &d->values;
    look_at_orphans(d);
    tl_trees_tick(d);
    v->busy = false;
    if (v->cache == NULL) {
        share_out(d);
        return;
    }
    bool more = tl_lower_go_on(d);
    for (uint32_t i = 0; i < TL_SESSIONS_MAX; i++)
        if (v->sessions[i] != NULL && tl_session_go_on(d, i))
            more = true;
    v->busy |= more;
    for (uint32_t i = 0; i < STEPS_PER_TURN; i++) {
        if (!tl_cache_tick(v->cache))
            break;
        v->busy = true;
    }
    if (v->scrub_cursor != UINT64_MAX) {
        if (tl_cache_scrub(v->cache, &v->scrub_cursor))
            v->busy = true;
        else
            v->scrub_cursor = UINT64_MAX;
    }
    share_out(d);
}

uint64_t tl_values_deadline(const struct tl_daemon *d)
{
    if (d->values.busy)
        return 0;
    return d->values.orphan_count > 0 ? d->values.looked_ns + ORPHAN_LOOK : UINT64_MAX;
}

int tl_values_set_limit(struct tl_daemon *d, uint64_t bytes, struct tl_error *err)
{
    uint64_t least = 2 * tl_node_limit_min(), most = node_limit_max(d);
    if (bytes < least || bytes > most)
        return tl_error_set(
            err, -EINVAL,
            "a limit of %llu bytes is out of range: choose %llu to %llu, which is what this machine, or "
            "the job's control group, has",
            (unsigned long long)bytes, (unsigned long long)least, (unsigned long long)most);
    tl_trees_look(d);
    if (bytes < tl_trees_bytes(d) + least)
        return tl_error_set(
            err, -EBUSY,
            "trees in shared memory have %llu bytes, and %llu more are the least: remove some first (tiercel "
            "tree list, remove), or choose more than that",
            (unsigned long long)tl_trees_bytes(d), (unsigned long long)least);
    uint64_t old = d->pressure.limit_bytes, configured = d->pressure.configured_bytes;
    d->pressure.configured_bytes = d->pressure.limit_bytes = bytes;
    int rc = d->values.cache == NULL ? 0 : tl_cache_set_limit(d->values.cache, tl_values_limit(d), err);
    if (rc != 0) {
        d->pressure.limit_bytes = old;
        d->pressure.configured_bytes = configured;
        return rc;
    }
    d->options.cache_size_bytes = bytes;
    tl_arena_set_limit(d->arena, bytes);
    d->values.taken_bytes = tl_values_used(d);
    tl_node_set_limit(d->node, tl_values_rest(d, bytes));
    tl_log("info", "the cache's limit is %llu bytes now", (unsigned long long)bytes);
    return 0;
}
