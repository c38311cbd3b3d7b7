// SPDX-License-Identifier: Apache-2.0
/* Segments of records; see log.h. A record: its head, then its bytes, rounded up to 16. Segments are found by the place of their
 * slot in a small hash table, so that their number has no limit but memory's. */
#include "cache/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ALIGN      16u
#define MAGIC      0x544c5243u
#define LOOK_MAX   128u        /* records that one step of compaction looks at */
#define GROW       (32u << 10) /* pages are made so many bytes ahead */
#define NO_SEGMENT UINT32_MAX

struct head {
    uint32_t magic, owner, len, dead;
};

struct segment {
    uint64_t at;   /* its slot; TL_LOG_NOWHERE: no segment */
    uint32_t end;  /* records lie below */
    uint32_t live; /* bytes */
};

struct tl_log {
    struct tl_space *space;
    const struct tl_log_ops *ops;
    void *ctx;
    struct segment *segments; /* open addressing by place; room is a power of two, at most half of it used */
    uint32_t room;
    uint64_t head;   /* the segment that is filled; TL_LOG_NOWHERE: none */
    uint64_t victim; /* the segment that is emptied */
    uint32_t cursor; /* in it */
    struct tl_log_stats stats;
};

/* ---- the table of segments ---- */

static uint32_t home(const struct tl_log *l, uint64_t at)
{
    return (uint32_t)((at >> 20) * 0x9e3779b97f4a7c15ull >> 32) & (l->room - 1);
}

static struct segment *find(const struct tl_log *l, uint64_t at)
{
    for (uint32_t i = home(l, at);; i = (i + 1) & (l->room - 1)) { /* ends: half of the table is free */
        if (l->segments[i].at == at)
            return &l->segments[i];
        if (l->segments[i].at == TL_LOG_NOWHERE)
            return NULL;
    }
}

static void put(struct tl_log *l, struct segment s)
{
    uint32_t i = home(l, s.at);
    while (l->segments[i].at != TL_LOG_NOWHERE)
        i = (i + 1) & (l->room - 1);
    l->segments[i] = s;
}

static bool grow_table(struct tl_log *l)
{
    uint32_t room = l->room == 0 ? 64 : l->room * 2, old_room = l->room;
    struct segment *old = l->segments, *grown = malloc(room * sizeof *grown);
    if (grown == NULL)
        return false;
    for (uint32_t i = 0; i < room; i++)
        grown[i] = (struct segment){.at = TL_LOG_NOWHERE};
    l->segments = grown;
    l->room = room;
    for (uint32_t i = 0; i < old_room; i++)
        if (old[i].at != TL_LOG_NOWHERE)
            put(l, old[i]);
    free(old);
    return true;
}

static bool add(struct tl_log *l, struct segment s)
{
    if ((l->stats.segments + 1) * 2 > l->room && !grow_table(l))
        return false;
    put(l, s);
    l->stats.segments++;
    return true;
}

/* Takes it out, and those behind it closer to where they belong. */
static void remove_segment(struct tl_log *l, uint64_t at)
{
    uint32_t mask = l->room - 1, hole = home(l, at);
    while (l->segments[hole].at != at)
        hole = (hole + 1) & mask;
    l->segments[hole].at = TL_LOG_NOWHERE;
    for (uint32_t i = (hole + 1) & mask; l->segments[i].at != TL_LOG_NOWHERE; i = (i + 1) & mask) {
        struct segment s = l->segments[i];
        l->segments[i].at = TL_LOG_NOWHERE;
        put(l, s);
    }
    l->stats.segments--;
}

static struct segment *segment_of(const struct tl_log *l, uint64_t place)
{
    struct segment *s = find(l, tl_space_slot(l->space, place));
    check(s != NULL && place >= s->at + sizeof(struct head) && place < s->at + s->end);
    return s;
}

static struct head *head_of(const struct tl_log *l, uint64_t place)
{
    return (struct head *)tl_space_at(l->space, place - sizeof(struct head));
}

/* ---- appending ---- */

int tl_log_new(struct tl_log **out, struct tl_space *space, const struct tl_log_ops *ops, void *ctx)
{
    struct tl_log *l = calloc(1, sizeof *l);
    if (l == NULL || !grow_table(l)) {
        free(l);
        return -ENOMEM;
    }
    l->space = space;
    l->ops = ops;
    l->ctx = ctx;
    l->head = l->victim = TL_LOG_NOWHERE;
    *out = l;
    return 0;
}

void tl_log_free(struct tl_log *l)
{
    if (l != NULL)
        free(l->segments);
    free(l);
}

uint32_t tl_log_record_size(uint32_t len)
{
    return (uint32_t)sizeof(struct head) + (len + ALIGN - 1) / ALIGN * ALIGN;
}

static void give_if_empty(struct tl_log *l, uint64_t at)
{
    const struct segment *s = find(l, at);
    if (s->live > 0 || at == l->head)
        return;
    l->stats.total_bytes -= tl_space_pages(l->space, at);
    remove_segment(l, at);
    if (l->victim == at)
        l->victim = TL_LOG_NOWHERE;
    tl_space_give(l->space, at, false);
}

static int open_segment(struct tl_log *l)
{
    uint64_t at, old = l->head;
    int rc = tl_space_take(l->space, TL_LOG_SEGMENT, &at);
    if (rc != 0)
        return rc;
    if (!add(l, (struct segment){.at = at})) {
        tl_space_give(l->space, at, true);
        return -ENOMEM;
    }
    l->stats.total_bytes += tl_space_pages(l->space, at);
    l->head = at;
    if (old != TL_LOG_NOWHERE)
        give_if_empty(l, old);
    return 0;
}

/* The head's pages reach up to `end`. */
static int make_room(struct tl_log *l, uint32_t end)
{
    uint64_t have = tl_space_pages(l->space, l->head);
    if (have >= end)
        return 0;
    uint32_t ahead = (end + GROW - 1) / GROW * GROW;
    int rc = tl_space_extend(l->space, l->head, ahead > TL_LOG_SEGMENT ? TL_LOG_SEGMENT : ahead);
    have = tl_space_pages(l->space, l->head) - have;
    l->stats.total_bytes += have;
    return tl_space_pages(l->space, l->head) >= end ? 0 : rc;
}

int tl_log_append(struct tl_log *l, uint32_t owner, uint32_t len, uint64_t *place)
{
    check(len > 0 && len <= TL_LOG_RECORD_MAX);
    uint32_t size = tl_log_record_size(len);
    const struct segment *now = l->head == TL_LOG_NOWHERE ? NULL : find(l, l->head);
    int rc = now == NULL || now->end + size > TL_LOG_SEGMENT ? open_segment(l) : 0;
    if (rc != 0)
        return rc;
    struct segment *s = find(l, l->head);
    rc = make_room(l, s->end + size);
    if (rc != 0)
        return rc;
    uint64_t at = s->at + s->end + sizeof(struct head);
    *head_of(l, at) = (struct head){.magic = MAGIC, .owner = owner, .len = len};
    s->end += size;
    s->live += size;
    l->stats.live_bytes += size;
    *place = at;
    return 0;
}

void tl_log_kill(struct tl_log *l, uint64_t place)
{
    struct segment *s = segment_of(l, place);
    struct head *h = head_of(l, place);
    check(h->magic == MAGIC && h->dead == 0);
    uint32_t size = tl_log_record_size(h->len);
    check(s->live >= size && l->stats.live_bytes >= size);
    h->dead = 1;
    s->live -= size;
    l->stats.live_bytes -= size;
    if (s->at != l->victim)
        give_if_empty(l, s->at);
}

/* ---- compaction ---- */

static bool choose_victim(struct tl_log *l, uint32_t share)
{
    const struct segment *worst = NULL;
    for (uint32_t i = 0; i < l->room; i++) {
        const struct segment *s = &l->segments[i];
        if (s->at != TL_LOG_NOWHERE && s->at != l->head && (worst == NULL || s->live < worst->live))
            worst = s;
    }
    if (worst == NULL || (uint64_t)worst->live * 256 > (uint64_t)share * TL_LOG_SEGMENT)
        return false;
    l->victim = worst->at;
    l->cursor = 0;
    return true;
}

/* The record at the cursor. Bytes copied; -ENOSPC: there is no room to move it; -EAGAIN: not now. */
static int compact_one(struct tl_log *l, const struct head *h, uint64_t place)
{
    uint32_t owner = h->owner, len = h->len;
    enum tl_log_verdict verdict = h->dead != 0 ? TL_LOG_DEAD : l->ops->judge(l->ctx, owner, place);
    if (verdict != TL_LOG_MOVE) {
        if (verdict == TL_LOG_DEAD && h->dead == 0)
            tl_log_kill(l, place);
        return 0;
    }
    uint64_t to;
    int rc = tl_log_append(l, owner, len, &to);
    if (rc != 0)
        return rc;
    memcpy(tl_space_at(l->space, to), tl_space_at(l->space, place), len);
    l->ops->moved(l->ctx, owner, place, to);
    tl_log_kill(l, place);
    l->stats.moved_bytes += len;
    return (int)len;
}

bool tl_log_compact(struct tl_log *l, uint32_t bytes, uint32_t share)
{
    if (l->victim == TL_LOG_NOWHERE && !choose_victim(l, share))
        return false;
    uint64_t at = l->victim;
    uint32_t copied = 0, end = find(l, at)->end;
    for (uint32_t i = 0; i < LOOK_MAX && copied < bytes && l->cursor < end; i++) {
        uint64_t place = at + l->cursor + sizeof(struct head);
        const struct head *h = head_of(l, place);
        if (h->magic != MAGIC || h->len == 0 || h->len > TL_LOG_RECORD_MAX) {
            l->cursor = end; /* the end of what an earlier daemon wrote */
            break;
        }
        uint32_t size = tl_log_record_size(h->len);
        int rc = compact_one(l, h, place);
        if (rc < 0)
            return rc == -EAGAIN; /* pages for it are on their way */
        copied += (uint32_t)rc;
        l->cursor += size;
    }
    if (l->cursor >= end || find(l, at)->live == 0) {
        l->victim = TL_LOG_NOWHERE;
        give_if_empty(l, at);
    }
    return true;
}

/* ---- after a crash ---- */

int tl_log_claim(struct tl_log *l, uint32_t owner, uint64_t place, uint32_t len)
{
    uint64_t at = place & ~(uint64_t)(TL_LOG_SEGMENT - 1);
    uint64_t end = place - at + (tl_log_record_size(len) - sizeof(struct head));
    if (len == 0 || len > TL_LOG_RECORD_MAX || place % ALIGN != 0 || place < at + sizeof(struct head) ||
        end > TL_LOG_SEGMENT || place >= tl_space_size(l->space))
        return -EINVAL;
    const struct head *h = head_of(l, place);
    if (h->magic != MAGIC || h->owner != owner || h->len != len || h->dead != 0)
        return -EINVAL;
    struct segment *s = find(l, at);
    if (s == NULL) {
        if (tl_space_claim(l->space, at, TL_LOG_SEGMENT) != 0 || !add(l, (struct segment){.at = at}))
            return -EINVAL;
        l->stats.total_bytes += TL_LOG_SEGMENT;
        s = find(l, at);
    }
    s->end = end > s->end ? (uint32_t)end : s->end;
    s->live += tl_log_record_size(len);
    l->stats.live_bytes += tl_log_record_size(len);
    return 0;
}

void tl_log_stats(const struct tl_log *l, struct tl_log_stats *out)
{
    *out = l->stats;
}
