// SPDX-License-Identifier: Apache-2.0
#include "daemon/timeline.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/wire/wire.h"
#include "daemon/daemon.h"

int tl_timeline_start(struct tl_timeline *t)
{
    if (t->ring == NULL)
        t->ring = calloc(TL_TIMELINE_MARKS, sizeof *t->ring);
    if (t->ring == NULL)
        return -ENOMEM;
    t->count = t->get = 0;
    t->on = true;
    return 0;
}

void tl_timeline_stop(struct tl_timeline *t)
{
    t->on = false;
}

void tl_timeline_free(struct tl_timeline *t)
{
    free(t->ring);
    *t = (struct tl_timeline){0};
}

/* ---- making marks ---- */

static struct tl_mark *mark(struct tl_timeline *t, uint64_t now_ns, enum tl_mark_kind kind, bool end, uint64_t id)
{
    struct tl_mark *m = &t->ring[t->count++ % TL_TIMELINE_MARKS];
    *m = (struct tl_mark){.at_ns = now_ns, .id = id, .kind = (uint8_t)kind, .end = end, .peer = UINT32_MAX};
    return m;
}

/* Its end says most. What is no plain text would be no JSON either. */
static void put_path(struct tl_mark *m, enum tl_op op, const char *path, size_t len)
{
    size_t skip = len > TL_TIMELINE_PATH ? len - TL_TIMELINE_PATH : 0;
    m->op = (uint8_t)op;
    m->path_len = (uint8_t)(len - skip);
    for (size_t i = skip; i < len; i++)
        m->path[i - skip] = path[i] >= ' ' && path[i] <= '~' ? path[i] : '?';
}

static void message(struct tl_timeline *t, uint64_t now_ns, const struct tl_event *ev)
{
    struct tl_wire w;
    if (ev->header_len < 2 || ev->header[1] != TL_WIRE_DATA || tl_wire_decode(&w, ev->header, ev->header_len) != 0)
        return;
    struct tl_mark *m = mark(t, now_ns, TL_MARK_FLIGHT, true, w.data.req);
    m->chunk = w.data.chunk;
    m->len = w.data.len;
    m->peer = ev->rank;
    m->status = w.data.status;
    t->get = w.data.req;
    t->chunk = w.data.chunk;
}

void tl_timeline_event(struct tl_timeline *t, uint64_t now_ns, const struct tl_event *ev)
{
    struct tl_mark *m;
    t->get = 0;
    switch (ev->type) {
    case TL_EV_REQUEST:
        m = mark(t, now_ns, TL_MARK_REQUEST, false, ev->request->id);
        m->len = ev->request->length;
        put_path(m, ev->request->op, ev->request->path, ev->request->path_len);
        break;
    case TL_EV_MESSAGE: message(t, now_ns, ev); break;
    case TL_EV_PULLED:
        m = mark(t, now_ns, TL_MARK_PULL, true, ev->cookie);
        m->status = ev->status;
        break;
    case TL_EV_FETCHED:
        if (!ev->last)
            break;
        m = mark(t, now_ns, TL_MARK_FETCH, true, ev->cookie);
        m->status = ev->status;
        break;
    default: break;
    }
}

static void get(struct tl_timeline *t, uint64_t now_ns, const struct tl_action *a)
{
    struct tl_wire w;
    if (a->header_len < 2 || a->header[1] != TL_WIRE_GET || tl_wire_decode(&w, a->header, a->header_len) != 0)
        return;
    for (uint32_t i = 0; i < w.get.count; i++) { /* at most TL_WIRE_GET_CHUNKS_MAX: each is answered on its own */
        struct tl_mark *m = mark(t, now_ns, TL_MARK_FLIGHT, false, w.get.req);
        m->chunk = w.get.first + i;
        m->peer = a->rank;
        put_path(m, w.get.op, w.get.path, w.get.path_len);
    }
}

void tl_timeline_action(struct tl_timeline *t, uint64_t now_ns, const struct tl_action *a)
{
    struct tl_mark *m;
    switch (a->type) {
    case TL_ACT_SEND: get(t, now_ns, a); break;
    case TL_ACT_PULL:
        m = mark(t, now_ns, TL_MARK_PULL, false, a->cookie);
        m->get = t->get;
        m->chunk = t->chunk;
        m->peer = a->rank;
        m->len = a->len;
        break;
    case TL_ACT_FETCH:
        m = mark(t, now_ns, TL_MARK_FETCH, false, a->cookie);
        m->chunk = a->fetch->first;
        m->len = a->fetch->count;
        put_path(m, a->fetch->op, a->fetch->path, a->fetch->path_len);
        break;
    case TL_ACT_ANSWER:
        if (a->answer.id >> TL_FRONT_SHIFT == TL_FRONT_CONTROL)
            break;
        m = mark(t, now_ns, TL_MARK_REQUEST, true, a->answer.id);
        m->status = a->answer.status;
        break;
    default: break;
    }
}

/* ---- reading ---- */

/* [begin or end, kind, time, id, peer or -1, chunk, length, status], and of a begin [operation, GET, path]. */
static json_t *mark_json(const struct tl_mark *m)
{
    static const char *const kinds[] = {"request", "flight", "pull", "fetch"};
    static const char *const ops[] = {"", "list", "read", "entry", "xattrs"};
    json_t *j = json_pack("[s, s, I, I, I, I, I, i]", m->end ? "e" : "b", kinds[m->kind], (json_int_t)m->at_ns,
                          (json_int_t)m->id, m->peer == UINT32_MAX ? (json_int_t)-1 : (json_int_t)m->peer,
                          (json_int_t)m->chunk, (json_int_t)m->len, m->status);
    if (j == NULL || m->end)
        return j;
    json_array_append_new(j, json_string(m->op < sizeof ops / sizeof ops[0] ? ops[m->op] : ""));
    json_array_append_new(j, json_integer((json_int_t)m->get));
    json_array_append_new(j, json_stringn(m->path, m->path_len));
    return j;
}

json_t *tl_timeline_read(const struct tl_timeline *t, uint64_t from)
{
    uint64_t oldest = t->count > TL_TIMELINE_MARKS ? t->count - TL_TIMELINE_MARKS : 0;
    uint64_t at = from < oldest ? oldest : from, end = at;
    json_t *marks = json_array();
    for (; t->ring != NULL && end < t->count && end - at < TL_TIMELINE_BATCH; end++)
        json_array_append_new(marks, mark_json(&t->ring[end % TL_TIMELINE_MARKS]));
    return json_pack("{s:o, s:I, s:I, s:I, s:b}", "marks", marks, "next", (json_int_t)end, "end", (json_int_t)t->count,
                     "lost", (json_int_t)oldest, "on", t->on);
}
