// SPDX-License-Identifier: Apache-2.0
/* Profiles for the core: reads the one that a WARM command names through the tier itself, as a program would, and hands its items
 * out. What is wrong with a profile is said in the log, and costs nothing else. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/listing.h"
#include "base/profile.h"
#include "daemon/daemon.h"

#define LOADS_MAX 8u /* profiles that wait to be loaded */
#define TRIES_MAX 4u /* of one that changes meanwhile */

struct load {
    char *path;
    char *text;
    uint64_t version, size_bytes, got_bytes;
    uint32_t tries;
};

struct tl_warmer {
    struct load loads[LOADS_MAX]; /* the first is being loaded */
    uint32_t load_count;
    uint32_t open; /* number of the request under way, 0: none */
    uint32_t requests;
    struct tl_profile profiles[LOADS_MAX]; /* whose items the core is at */
    uint32_t profile_count;
};

static uint16_t dir_len(const char *path)
{
    size_t len = (size_t)(strrchr(path, '/') - path);
    return len == 0 ? 1 : (uint16_t)len;
}

/* Asks for what is missing next: the listing that holds its name, then its bytes. */
static void ask(struct tl_daemon *d)
{
    struct tl_warmer *w = d->warmer;
    const struct load *l = &w->loads[0];
    if (w->load_count == 0 || w->open != 0)
        return;
    w->open = ++w->requests == 0 ? ++w->requests : w->requests;
    struct tl_request r = {.id = w->open, .op = TL_OP_LIST, .path = l->path, .path_len = dir_len(l->path)};
    if (l->version != 0) {
        uint64_t left = l->size_bytes - l->got_bytes;
        r.op = TL_OP_READ;
        r.path_len = (uint16_t)strlen(l->path);
        r.version = l->version;
        r.file_size_bytes = l->size_bytes;
        r.offset = l->got_bytes;
        r.length = left < TL_READ_SIZE_MAX ? (uint32_t)left : TL_READ_SIZE_MAX;
    }
    tl_drive_request(d, TL_FRONT_WARM, &r);
}

/* Items: what the core shall know of; why: not NULL, it was in vain. */
static void end_load(struct tl_daemon *d, uint32_t items, const char *why)
{
    struct tl_warmer *w = d->warmer;
    tl_drive_profile(d, items);
    if (why != NULL)
        tl_log("warning", "not warmed by profile=%s: %s", w->loads[0].path, why);
    free(w->loads[0].path);
    free(w->loads[0].text);
    memmove(w->loads, w->loads + 1, (LOADS_MAX - 1) * sizeof *w->loads);
    w->load_count--;
    ask(d);
}

/* The core is through with the profiles before: their numbers are free. */
static void forget_done(struct tl_daemon *d)
{
    struct tl_warmer *w = d->warmer;
    if (tl_node_warm_left(d->node) != 0)
        return;
    for (uint32_t i = 0; i < w->profile_count; i++)
        tl_profile_fini(&w->profiles[i]);
    w->profile_count = 0;
}

static void loaded(struct tl_daemon *d)
{
    struct tl_warmer *w = d->warmer;
    struct tl_error err;
    struct load *l = &w->loads[0];
    forget_done(d);
    if (w->profile_count == LOADS_MAX) {
        end_load(d, 0, "too many profiles at once");
        return;
    }
    struct tl_profile *p = &w->profiles[w->profile_count];
    if (tl_profile_parse(p, l->text, l->size_bytes, &err) != 0) {
        end_load(d, 0, err.msg);
        return;
    }
    w->profile_count++;
    tl_log("info", "warming profile=%s items=%u program=%s", l->path, p->line_count, p->program);
    end_load(d, p->line_count, NULL);
}

static void listed(struct tl_daemon *d, const struct tl_answer *a)
{
    struct load *l = &d->warmer->loads[0];
    struct tl_listing view;
    struct tl_listing_entry e;
    const char *name = strrchr(l->path, '/') + 1;
    if (tl_listing_reopen(&view, tl_arena_at(d->arena, a->refs[0].addr), a->refs[0].len) != 0 ||
        tl_listing_find(&view, name, strlen(name), &e) != 0 || e.attr.version == 0 || e.attr.status != 0) {
        end_load(d, 0, "no such file on the storage that the root reads; keep profiles where all nodes see them");
        return;
    }
    if (e.attr.size_bytes == 0 || e.attr.size_bytes > TL_PROFILE_SIZE_MAX) {
        end_load(d, 0, "empty, or too large for a profile");
        return;
    }
    l->version = e.attr.version;
    l->size_bytes = e.attr.size_bytes;
    l->text = malloc(l->size_bytes);
    if (l->text == NULL)
        end_load(d, 0, "out of memory");
    else
        ask(d);
}

static void read_some(struct tl_daemon *d, const struct tl_answer *a)
{
    struct load *l = &d->warmer->loads[0];
    for (uint32_t i = 0; i < a->ref_count; i++) {
        check(l->got_bytes + a->refs[i].len <= l->size_bytes);
        memcpy(l->text + l->got_bytes, tl_arena_at(d->arena, a->refs[i].addr), a->refs[i].len);
        l->got_bytes += a->refs[i].len;
    }
    if (l->got_bytes < l->size_bytes)
        ask(d);
    else
        loaded(d);
}

void tl_warm_answer(struct tl_daemon *d, const struct tl_answer *a)
{
    struct tl_warmer *w = d->warmer;
    if (w == NULL || w->load_count == 0 || (a->id & UINT32_MAX) != w->open)
        return;
    struct load *l = &w->loads[0];
    w->open = 0;
    if (a->status == -ESTALE && l->tries++ < TRIES_MAX) { /* it has been written anew */
        free(l->text);
        *l = (struct load){.path = l->path, .tries = l->tries};
        ask(d);
    } else if (a->status != 0) {
        end_load(d, 0, strerror(-a->status));
    } else if (l->version == 0) {
        listed(d, a);
    } else {
        read_some(d, a);
    }
}

void tl_warm_load(struct tl_daemon *d, const char *path, uint16_t path_len)
{
    if (d->warmer == NULL)
        d->warmer = calloc(1, sizeof *d->warmer);
    struct tl_warmer *w = d->warmer;
    char *copy = w == NULL || w->load_count == LOADS_MAX ? NULL : strndup(path, path_len);
    if (copy == NULL) {
        tl_log("warning", "not warmed by profile=%.*s: too many at once, or out of memory", (int)path_len, path);
        tl_drive_profile(d, 0);
        return;
    }
    w->loads[w->load_count++] = (struct load){.path = copy};
    if (w->load_count == 1)
        ask(d);
}

void tl_warm_close(struct tl_daemon *d)
{
    struct tl_warmer *w = d->warmer;
    for (uint32_t i = 0; w != NULL && i < w->load_count; i++) {
        free(w->loads[i].path);
        free(w->loads[i].text);
    }
    for (uint32_t i = 0; w != NULL && i < w->profile_count; i++)
        tl_profile_fini(&w->profiles[i]);
    free(w);
    d->warmer = NULL;
}

/* ---- for the core ---- */

bool tl_warm_item(void *ctx, uint32_t i, struct tl_profile_item *out)
{
    struct tl_warmer *w = ((struct tl_daemon *)ctx)->warmer;
    uint32_t at = 0;
    while (w != NULL && at < w->profile_count && i >= w->profiles[at].line_count)
        i -= w->profiles[at++].line_count;
    if (w == NULL || at == w->profile_count)
        return false;
    const struct tl_profile *p = &w->profiles[at];
    const struct tl_profile_line *l = &p->lines[i];
    enum tl_op op = l->kind == TL_PROFILE_LIST    ? TL_OP_LIST
                    : l->kind == TL_PROFILE_ENTRY ? TL_OP_ENTRY
                    : l->kind == TL_PROFILE_FILE  ? TL_OP_READ
                                                  : TL_OP_XATTRS;
    *out = (struct tl_profile_item){
        .op = op, .path = p->paths + l->path_at, .path_len = l->path_len, .first = l->first, .count = l->count};
    return true;
}

int tl_warm_find_file(void *ctx, uint64_t addr, uint32_t len, const char *name, uint16_t name_len, uint64_t *version,
                      uint64_t *size_bytes)
{
    const void *bytes = tl_arena_at(((struct tl_daemon *)ctx)->arena, addr);
    struct tl_listing view;
    struct tl_listing_entry e;
    if (tl_listing_reopen(&view, bytes, len) != 0 || tl_listing_find(&view, name, name_len, &e) != 0 ||
        e.attr.status != 0 || e.attr.version == 0 || (e.attr.mode & 0170000u) != 0100000u)
        return -ENOENT;
    *version = e.attr.version;
    *size_bytes = e.attr.size_bytes;
    return 0;
}
