// SPDX-License-Identifier: Apache-2.0
/* What cannot be read, and why. A read waits for a placement group that is not there, since it may come back: one that has lost some of its OSDs
 * does within seconds. But where all who have its data are gone, each read would wait for its whole timeout. So a thread, the doctor, looks
 * at reads that take long: it asks the monitors where the object lies, and the placement group what it waits for. If nobody who has the data is there, it calls the
 * read off, and remembers the placement group: other reads of it fail at once, with the same words, until the doctor sees that it is back.
 *
 * Writes are not called off: they wait, each for as long as its timeout lets it. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/time.h"
#include "store/rados.h"

#define PATIENCE_S 10u /* of a read that waits for a placement group that is down, or a quarter of the timeout */
#define AGAIN_S    3u  /* later a placement group that was away is looked at again */
#define WHY        200u

struct tl_rados_away { /* a placement group that is not there */
    struct tl_rados_away *next;
    char pool[64], pg[24];
    uint32_t pg_num, seed;
    uint64_t looked_ns;
    char why[WHY];
};

struct tl_rados_wait { /* a read that somebody waits for */
    struct tl_rados_wait *next;
    struct tl_rados_spot spot;
    rados_completion_t done;
    uint64_t since_ns;
    bool called_off;
};

/* ---- in which placement group an object lies: Jenkins' hash of 1997, as Ceph takes it of a namespace, 31, and a name ---- */

static void mix(uint32_t v[3])
{
    static const uint8_t shifts[9] = {13, 8, 13, 12, 16, 5, 3, 10, 15};
    for (unsigned i = 0; i < 9; i++) {
        uint32_t a = v[i % 3], b = v[(i + 1) % 3], c = v[(i + 2) % 3];
        v[i % 3] = (a - b - c) ^ (i % 3 == 1 ? c << shifts[i] : c >> shifts[i]);
    }
}

uint32_t tl_rados_pg_hash(const char *bytes, size_t len)
{
    uint32_t v[3] = {0x9e3779b9, 0x9e3779b9, 0};
    const uint8_t *at = (const uint8_t *)bytes;
    for (size_t left = len; left >= 12; left -= 12, at += 12) {
        for (unsigned i = 0; i < 3; i++)
            v[i] += tl_get_u32(at + 4 * i);
        mix(v);
    }
    v[2] += (uint32_t)len;
    for (unsigned i = 0; i < len % 12; i++) { /* the lowest byte of the last word is the length's */
        unsigned byte = i < 8 ? i % 4 : i % 4 + 1;
        v[i / 4] += (uint32_t)at[i] << 8 * byte;
    }
    mix(v);
    return v[2];
}

static uint32_t hash_of(const struct tl_rados *r, const char *object)
{
    char text[sizeof r->where.space + TL_RADOS_NAME + 1];
    int len = snprintf(text, sizeof text, "%s\x1f%s", r->where.space, object);
    return tl_rados_pg_hash(text, (size_t)len);
}

/* Numbers of placement groups double one after the other. */
static uint32_t seed_of(uint32_t hash, uint32_t pg_num)
{
    uint32_t mask = 1;
    while (mask < pg_num)
        mask *= 2;
    return (hash & (mask - 1)) < pg_num ? hash & (mask - 1) : hash & (mask / 2 - 1);
}

/* ---- asking ---- */

static void add_osds(char *out, size_t size, const json_t *list, const char *key)
{
    size_t i;
    json_t *one;
    json_array_foreach(list, i, one)
    {
        const json_t *number = key != NULL ? json_object_get(one, key) : one;
        char name[24];
        const char *text = json_string_value(number); /* some lists have them as text */
        snprintf(name, sizeof name, "osd.%.12s", text != NULL ? text : "");
        if (text == NULL)
            snprintf(name, sizeof name, "osd.%lld", (long long)json_integer_value(number));
        const char *there = strstr(out, name);
        if (there != NULL && (there[strlen(name)] == ',' || there[strlen(name)] == 0))
            continue;
        size_t used = strlen(out);
        snprintf(out + used, size - used, "%s%s", used > 0 ? ", " : "", name);
    }
}

/* All that are down: which of them a placement group needs that has nobody left, there is nobody to ask. */
static void add_down(struct tl_rados *r, char *out, size_t size)
{
    json_t *dump = NULL, *down = json_array(), *one;
    size_t i;
    if (tl_rados_mon(r, json_pack("{s:s}", "prefix", "osd dump"), &dump, NULL) == 0) {
        json_array_foreach(json_object_get(dump, "osds"), i, one) if (json_integer_value(json_object_get(one, "up")) ==
                                                                      0)(void) json_array_append(down, one);
    }
    add_osds(out, size, down, "osd");
    json_decref(down);
    json_decref(dump);
}

/* What it waits for. */
static void add_needed(const json_t *query, char *out, size_t size)
{
    size_t i;
    json_t *state;
    json_array_foreach(json_object_get(query, "recovery_state"), i, state)
    {
        add_osds(out, size, json_object_get(state, "down_osds_we_would_probe"), NULL);
        add_osds(out, size, json_object_get(state, "peering_blocked_by"), "osd");
    }
}

static void add_unfound(const json_t *query, char *out, size_t size)
{
    size_t i, k;
    json_t *state, *one, *down = json_array();
    json_array_foreach(json_object_get(query, "recovery_state"), i, state)
        json_array_foreach(json_object_get(state, "might_have_unfound"), k, one)
    {
        const char *status = json_string_value(json_object_get(one, "status"));
        if (status != NULL && strcmp(status, "already probed") != 0)
            (void)json_array_append(down, one);
    }
    add_osds(out, size, down, "osd");
    json_decref(down);
}

static bool explain_query(const json_t *query, char why[WHY])
{
    const char *state = json_string_value(json_object_get(query, "state")), *word = NULL;
    const json_t *stats = json_object_get(json_object_get(query, "info"), "stats");
    const json_t *sum = json_object_get(stats, "stat_sum");
    char osds[120] = "";
    if (state != NULL && strstr(state, "incomplete") != NULL)
        word = "is incomplete";
    else if (state != NULL && strstr(state, "down") != NULL)
        word = "is down";
    if (word != NULL)
        add_needed(query, osds, sizeof osds);
    if (word == NULL && json_integer_value(json_object_get(sum, "num_objects_unfound")) > 0) {
        word = "has objects without their newest copy";
        add_unfound(query, osds, sizeof osds);
    }
    if (word != NULL)
        snprintf(why, WHY, "%s%s%s", word, osds[0] != 0 ? ", and needs " : "", osds);
    return word != NULL;
}

/* Whether a placement group is not there, and why. */
static bool explain_pg(struct tl_rados *r, const char *pg, const json_t *acting, char why[WHY])
{
    json_t *query = NULL, *one;
    bool any = false, away = false;
    size_t i;
    json_array_foreach(acting, i, one) any =
        any || (json_integer_value(one) >= 0 && json_integer_value(one) < INT32_MAX);
    if (!any) {
        char osds[120] = "";
        add_down(r, osds, sizeof osds);
        snprintf(why, WHY, "has no OSD that is up%s%s", osds[0] != 0 ? "; down: " : "", osds);
        return true;
    }
    if (tl_rados_pg_query(r, pg, &query) == 0)
        away = explain_query(query, why);
    json_decref(query);
    return away;
}

static uint32_t pg_num_of(struct tl_rados *r, const char *pool)
{
    json_t *answer = NULL;
    uint32_t n = 0;
    if (tl_rados_mon(r, json_pack("{s:s, s:s, s:s}", "prefix", "osd pool get", "pool", pool, "var", "pg_num"), &answer,
                     NULL) == 0)
        n = (uint32_t)json_integer_value(json_object_get(answer, "pg_num"));
    json_decref(answer);
    return n;
}

/* ---- what is remembered; with the mutex ---- */

static struct tl_rados_away *find_away(struct tl_rados *r, const struct tl_rados_spot *spot)
{
    uint32_t hash = r->away != NULL ? hash_of(r, spot->object) : 0;
    struct tl_rados_away *a = r->away;
    while (a != NULL && (strcmp(a->pool, spot->pool) != 0 || seed_of(hash, a->pg_num) != a->seed))
        a = a->next;
    return a;
}

static void note(struct tl_rados *r, const struct tl_rados_spot *spot, const char *text)
{
    snprintf(r->why, sizeof r->why, "%s in RADOS pool '%s', %s", spot->object, spot->pool, text);
}

static void note_away(struct tl_rados *r, const struct tl_rados_spot *spot)
{
    const struct tl_rados_away *a = find_away(r, spot);
    char text[sizeof a->why + 64];
    if (a == NULL)
        return;
    snprintf(text, sizeof text, "placement group %s, which %s", a->pg, a->why);
    note(r, spot, text);
}

static void remember(struct tl_rados *r, const struct tl_rados_away *found)
{
    struct tl_rados_away *a = malloc(sizeof *a);
    if (a == NULL)
        return;
    *a = *found;
    a->looked_ns = tl_time_mono_ns();
    pthread_mutex_lock(&r->mutex);
    a->next = r->away;
    r->away = a;
    pthread_mutex_unlock(&r->mutex);
}

static bool is_known(struct tl_rados *r, const char *pool, const char *pg)
{
    pthread_mutex_lock(&r->mutex);
    const struct tl_rados_away *a = r->away;
    while (a != NULL && (strcmp(a->pool, pool) != 0 || strcmp(a->pg, pg) != 0))
        a = a->next;
    pthread_mutex_unlock(&r->mutex);
    return a != NULL;
}

/* ---- the doctor ---- */

/* Of an object of which a read takes long. */
static void look_at(struct tl_rados *r, const char *pool, const char *object)
{
    struct tl_rados_away a = {.pg_num = 0};
    json_t *map = NULL;
    if (tl_rados_pg_map(r, pool, object, &map) == 0) {
        const char *pg = json_string_value(json_object_get(map, "pgid"));
        snprintf(a.pool, sizeof a.pool, "%s", pool);
        snprintf(a.pg, sizeof a.pg, "%s", pg != NULL ? pg : "");
        a.pg_num = pg_num_of(r, pool);
        a.seed = a.pg_num > 0 ? seed_of(hash_of(r, object), a.pg_num) : 0;
        char as_we_say[24];
        const char *point = strchr(a.pg, '.');
        snprintf(as_we_say, sizeof as_we_say, ".%x", a.seed);
        /* A pool with another hash: then nothing is remembered. */
        if (a.pg_num > 0 && point != NULL && strcmp(point, as_we_say) == 0 &&
            explain_pg(r, a.pg, json_object_get(map, "acting"), a.why) && !is_known(r, a.pool, a.pg))
            remember(r, &a);
    }
    json_decref(map);
}

void tl_rados_look_at_pool(struct tl_rados *r, const char *pool)
{
    uint32_t pg_num = pg_num_of(r, pool);
    json_t *map = NULL;
    long long number = -1;
    if (tl_rados_pg_map(r, pool, "pool", &map) == 0) /* any object: for the number of the RADOS pool */
        number = json_integer_value(json_object_get(map, "pool_id"));
    json_decref(map);
    for (uint32_t seed = 0; number >= 0 && seed < pg_num; seed++) {
        struct tl_rados_away a = {.pg_num = pg_num, .seed = seed};
        snprintf(a.pool, sizeof a.pool, "%s", pool);
        snprintf(a.pg, sizeof a.pg, "%lld.%x", number, seed);
        json_t *one = NULL;
        if (tl_rados_mon(r, json_pack("{s:s, s:s}", "prefix", "pg map", "pgid", a.pg), &one, NULL) == 0 &&
            explain_pg(r, a.pg, json_object_get(one, "acting"), a.why) && !is_known(r, a.pool, a.pg))
            remember(r, &a);
        json_decref(one);
    }
}

bool tl_rados_any_away(struct tl_rados *r, const char *pool)
{
    pthread_mutex_lock(&r->mutex);
    const struct tl_rados_away *a = r->away;
    while (a != NULL && strcmp(a->pool, pool) != 0)
        a = a->next;
    pthread_mutex_unlock(&r->mutex);
    return a != NULL;
}

/* Whether it is back. */
static bool look_again(struct tl_rados *r, struct tl_rados_away *copy)
{
    json_t *map = NULL;
    int rc = tl_rados_mon(r, json_pack("{s:s, s:s}", "prefix", "pg map", "pgid", copy->pg), &map, NULL);
    bool away = rc != 0 || explain_pg(r, copy->pg, json_object_get(map, "acting"), copy->why);
    json_decref(map);
    return !away;
}

/* One that was not looked at for a while; false: there is none. */
static bool take_old(struct tl_rados *r, struct tl_rados_away *copy)
{
    uint64_t now = tl_time_mono_ns();
    pthread_mutex_lock(&r->mutex);
    struct tl_rados_away *a = r->away;
    while (a != NULL && now - a->looked_ns < AGAIN_S * TL_NS_PER_S)
        a = a->next;
    if (a != NULL) {
        a->looked_ns = now;
        *copy = *a;
    }
    pthread_mutex_unlock(&r->mutex);
    return a != NULL;
}

static void forget_or_renew(struct tl_rados *r, const struct tl_rados_away *copy, bool back)
{
    pthread_mutex_lock(&r->mutex);
    for (struct tl_rados_away **at = &r->away; *at != NULL; at = &(*at)->next) {
        struct tl_rados_away *a = *at;
        if (strcmp(a->pool, copy->pool) != 0 || strcmp(a->pg, copy->pg) != 0)
            continue;
        memcpy(a->why, copy->why, sizeof a->why);
        if (back) {
            *at = a->next;
            free(a);
        }
        break;
    }
    pthread_mutex_unlock(&r->mutex);
}

static uint64_t patience_ns(const struct tl_rados *r)
{
    uint64_t quarter = r->where.timeout_s * TL_NS_PER_S / 4;
    return r->away != NULL ? TL_NS_PER_S : quarter < PATIENCE_S * TL_NS_PER_S ? quarter : PATIENCE_S * TL_NS_PER_S;
}

/* Calls off reads of what is known to be away. One that takes long, and of which nothing is known: copies its spot; false: there is none. */
static bool triage(struct tl_rados *r, char pool[64], char object[TL_RADOS_NAME])
{
    uint64_t now = tl_time_mono_ns();
    bool found = false;
    for (struct tl_rados_wait *w = r->waits; w != NULL; w = w->next) {
        if (w->called_off || now - w->since_ns < patience_ns(r))
            continue;
        if (find_away(r, &w->spot) != NULL) {
            w->called_off = true;
            note_away(r, &w->spot);
            (void)r->lib->aio_cancel(w->spot.io, w->done);
        } else if (!found) {
            found = true;
            snprintf(pool, 64, "%s", w->spot.pool);
            snprintf(object, TL_RADOS_NAME, "%s", w->spot.object);
        }
    }
    return found;
}

static void *doctor(void *arg)
{
    struct tl_rados *r = arg;
    char pool[64], object[TL_RADOS_NAME];
    struct tl_rados_away old;
    pthread_mutex_lock(&r->mutex);
    while (!r->closing) {
        struct timespec t = tl_time_to_timespec((int64_t)(tl_time_mono_ns() + TL_NS_PER_S));
        while (!r->closing && pthread_cond_timedwait(&r->changed, &r->mutex, &t) == 0)
            ;
        bool found = triage(r, pool, object);
        pthread_mutex_unlock(&r->mutex);
        if (found)
            look_at(r, pool, object);
        if (take_old(r, &old))
            forget_or_renew(r, &old, look_again(r, &old));
        pthread_mutex_lock(&r->mutex);
        if (found)
            (void)triage(r, pool, object);
    }
    pthread_mutex_unlock(&r->mutex);
    return NULL;
}

int tl_rados_doctor_start(struct tl_rados *r)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* as the keeper's */
    int rc = -pthread_create(&r->doctor, NULL, doctor, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    r->doctor_runs = rc == 0;
    return rc;
}

void tl_rados_doctor_stop(struct tl_rados *r)
{
    pthread_mutex_lock(&r->mutex);
    r->closing = true;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->mutex);
    if (r->doctor_runs)
        pthread_join(r->doctor, NULL);
    r->doctor_runs = false;
    while (r->away != NULL) {
        struct tl_rados_away *a = r->away;
        r->away = a->next;
        free(a);
    }
}

/* ---- reads ---- */

int tl_rados_may_read(struct tl_rados *r, const struct tl_rados_spot *spot)
{
    pthread_mutex_lock(&r->mutex);
    bool away = find_away(r, spot) != NULL;
    if (away)
        note_away(r, spot);
    pthread_mutex_unlock(&r->mutex);
    return away ? -ETIMEDOUT : 0;
}

static int await(struct tl_rados *r, const struct tl_rados_spot *spot, rados_completion_t done)
{
    struct tl_rados_wait w = {.spot = *spot, .done = done, .since_ns = tl_time_mono_ns()};
    pthread_mutex_lock(&r->mutex);
    w.next = r->waits;
    r->waits = &w;
    pthread_mutex_unlock(&r->mutex);
    r->lib->aio_wait_for_complete(done);
    int rc = tl_rados_error(r->lib->aio_get_return_value(done));
    pthread_mutex_lock(&r->mutex);
    struct tl_rados_wait **at = &r->waits;
    while (*at != &w)
        at = &(*at)->next;
    *at = w.next;
    if (rc == -ETIMEDOUT && !w.called_off)
        note(r, spot, "which did not answer in time");
    pthread_mutex_unlock(&r->mutex);
    return rc == -ECANCELED && w.called_off ? -ETIMEDOUT : rc;
}

int tl_rados_ask_begin(struct tl_rados *r, const struct tl_rados_spot *spot, rados_completion_t *done)
{
    int rc = tl_rados_may_read(r, spot);
    return rc == 0 ? r->lib->aio_create_completion2(NULL, NULL, done) : rc;
}

int tl_rados_ask_end(struct tl_rados *r, const struct tl_rados_spot *spot, rados_completion_t done, int sent)
{
    int rc = sent == 0 ? await(r, spot, done) : tl_rados_error(sent);
    r->lib->aio_release(done);
    return rc;
}

/* For what is not there, or not what it was: where it should be. */
static void blame(struct tl_rados *r, const struct tl_rados_spot *spot, const char *what)
{
    json_t *map = NULL;
    char text[360], osds[120] = "";
    const char *pg = NULL;
    if (tl_rados_pg_map(r, spot->pool, spot->object, &map) == 0)
        pg = json_string_value(json_object_get(map, "pgid"));
    if (pg != NULL)
        add_osds(osds, sizeof osds, json_object_get(map, "acting"), NULL);
    snprintf(text, sizeof text, "placement group %s (%s): %s", pg != NULL ? pg : "unknown", osds, what);
    pthread_mutex_lock(&r->mutex);
    note(r, spot, text);
    pthread_mutex_unlock(&r->mutex);
    json_decref(map);
}

const char *tl_rados_damage(struct tl_store *s)
{
    struct tl_rados *r = (struct tl_rados *)s;
    const char *pool = r->failed_data < r->classes.count ? r->data[r->failed_data].name : r->where.meta;
    const struct tl_rados_spot spot = {NULL, pool, r->failed.text};
    if (r->failed_rc == -ENOENT)
        blame(r, &spot, "it is lost, there is no such object");
    else if (r->failed_rc == -EBADMSG)
        blame(r, &spot, "its checksum differs");
    else if (r->failed_rc == -ECANCELED) {
        char why[240];
        tl_rados_remade_why(r, r->failed.text, why, sizeof why);
        blame(r, &spot, why);
    }
    pthread_mutex_lock(&r->mutex);
    snprintf(r->damage, sizeof r->damage, "%s", r->failed_rc != 0 ? r->why : "its checksum differs");
    pthread_mutex_unlock(&r->mutex);
    return r->damage;
}
