// SPDX-License-Identifier: Apache-2.0
/* Asking the placement groups of a pool, each at the OSD that leads it; see rados_health.h.
 *
 * librados' C interface asks one at a time and waits, so a few threads ask. An OSD that hangs costs each of them one timeout: who leads other
 * groups, too, is not asked again. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/time.h"
#include "store/rados_health.h"

#define ASKERS 6u

struct asking {
    struct tl_rados *asks;
    struct tl_rados_group *groups;
    uint32_t count;
    pthread_mutex_t mutex; /* of all that follows, and of the groups */
    const _Atomic int *stop;
    uint32_t next;
    int32_t *silent; /* OSDs that did not answer */
    uint32_t silent_count;
    bool denied; /* we have not the right to ask */
    bool old;    /* somebody is not who our map says he is */
};

static int place(struct tl_rados *asks, struct tl_rados_group *g)
{
    json_t *answer = NULL;
    int rc = tl_rados_mon(asks, json_pack("{s:s, s:s}", "prefix", "pg map", "pgid", g->name), &answer, NULL);
    rc = rc == 0 ? tl_rados_group_place(g, answer) : rc;
    json_decref(answer);
    return rc;
}

/* The groups of all RADOS pools, each with its place in the map. 0, -ENOMEM, -errno. */
static int place_all(struct tl_rados *asks, const struct tl_rados_map *map, uint32_t count, const _Atomic int *stop,
                     struct tl_rados_group **out)
{
    struct tl_rados_group *groups = calloc(count + 1, sizeof *groups);
    uint32_t n = 0;
    int rc = groups != NULL ? 0 : -ENOMEM;
    for (uint32_t i = 0; i < map->kind_count; i++)
        for (uint32_t k = 0; rc == 0 && k < map->kinds[i].groups && n < count; k++) {
            groups[n].kind = &map->kinds[i];
            snprintf(groups[n].name, sizeof groups[n].name, "%lld.%x", (long long)map->kinds[i].number, (unsigned)k);
            rc = stop != NULL && *stop != 0 ? -ECANCELED : place(asks, &groups[n++]);
        }
    if (rc == 0)
        *out = groups;
    else
        free(groups);
    return rc;
}

/* ---- their own word ---- */

static int ask(struct tl_rados *asks, const char *name, json_t **answer)
{
    char text[96], *out = NULL;
    const char *lines[] = {text};
    size_t out_len = 0;
    snprintf(text, sizeof text, "{\"prefix\": \"query\", \"pgid\": \"%s\", \"format\": \"json\"}", name);
    int rc = asks->lib->pg_command(asks->cluster, name, lines, 1, "", 0, &out, &out_len, NULL, NULL);
    if (rc == 0 && (*answer = json_loadb(out, out_len, 0, NULL)) == NULL)
        rc = -EBADMSG;
    if (out != NULL)
        asks->lib->buffer_free(out);
    return rc;
}

static bool is_silent(const struct asking *a, int32_t osd)
{
    for (uint32_t i = 0; i < a->silent_count; i++)
        if (a->silent[i] == osd)
            return true;
    return false;
}

/* With the mutex. NULL: there is nothing more to be asked. */
static struct tl_rados_group *next_group(struct asking *a)
{
    while (a->next < a->count && !a->denied && !a->old && (a->stop == NULL || *a->stop == 0)) {
        struct tl_rados_group *g = &a->groups[a->next++];
        if (g->primary >= 0 && !is_silent(a, g->primary))
            return g;
    }
    return NULL;
}

/* With the mutex. */
static void take_answer(struct asking *a, struct tl_rados_group *g, int rc, const json_t *answer)
{
    rc = rc == 0 ? tl_rados_group_said(g, answer) : rc;
    if (rc == -EACCES || rc == -EPERM)
        a->denied = true;
    else if (rc == -ENOENT || rc == -ENXIO)
        a->old = true;
    else if (rc == -ETIMEDOUT && !is_silent(a, g->primary))
        a->silent[a->silent_count++] = g->primary;
}

static void *ask_some(void *arg)
{
    struct asking *a = arg;
    pthread_mutex_lock(&a->mutex);
    for (struct tl_rados_group *g; (g = next_group(a)) != NULL;) {
        json_t *answer = NULL;
        pthread_mutex_unlock(&a->mutex);
        int rc = ask(a->asks, g->name, &answer);
        pthread_mutex_lock(&a->mutex);
        take_answer(a, g, rc, answer);
        json_decref(answer);
    }
    pthread_mutex_unlock(&a->mutex);
    return NULL;
}

static void ask_all(struct asking *a)
{
    pthread_t threads[ASKERS];
    unsigned running = 0;
    pthread_mutex_init(&a->mutex, NULL);
    while (running < ASKERS && running + 1 < a->count && pthread_create(&threads[running], NULL, ask_some, a) == 0)
        running++;
    ask_some(a);
    for (unsigned i = 0; i < running; i++)
        pthread_join(threads[i], NULL);
    pthread_mutex_destroy(&a->mutex);
}

static void add_up(const struct asking *a, struct tl_rados_groups *out)
{
    *out = (struct tl_rados_groups){.silent = a->silent_count > 0 ? a->silent[0] : -1};
    for (uint32_t i = 0; i < a->count; i++) {
        struct tl_rados_group *g = &a->groups[i];
        if (g->primary >= 0 && is_silent(a, g->primary))
            g->state = TL_GROUP_STUCK;
        tl_rados_groups_add(out, g);
        if (g->said && (out->version == 0 || g->version < out->version))
            out->version = g->version;
    }
}

int tl_rados_groups_ask(struct tl_rados *asks, const struct tl_rados_map *map, const _Atomic int *stop,
                        struct tl_rados_groups *out)
{
    struct asking a = {.asks = asks, .stop = stop};
    for (uint32_t i = 0; i < map->kind_count; i++)
        a.count += map->kinds[i].groups < TL_RADOS_GROUPS ? map->kinds[i].groups : TL_RADOS_GROUPS + 1;
    if (a.count > TL_RADOS_GROUPS)
        return -E2BIG;
    int rc = place_all(asks, map, a.count, stop, &a.groups);
    if (rc != 0)
        return rc;
    a.silent = calloc(a.count + 1, sizeof *a.silent);
    if (a.silent != NULL)
        ask_all(&a);
    rc = a.silent == NULL ? -ENOMEM : a.old ? -ESTALE : stop != NULL && *stop != 0 ? -ECANCELED : 0;
    if (a.silent != NULL)
        add_up(&a, out);
    free(a.silent);
    free(a.groups);
    return rc;
}
