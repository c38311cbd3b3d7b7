// SPDX-License-Identifier: Apache-2.0
/* Encoding and decoding. One pair of small functions a message, over a cursor that remembers failure. */
#include "core/wire/wire.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

#define WIRE_MAGIC 0x54u /* first byte of every message */
#define STATUS_MIN (-4095)

/* ---- cursors: out of room or out of bytes makes them fail for good, and reads then give 0 ---- */

struct writer {
    uint8_t *buf;
    size_t used, max;
    bool failed;
};

struct reader {
    const uint8_t *buf;
    size_t used, len;
    bool failed;
};

static void put_bytes(struct writer *w, const void *src, size_t len)
{
    if (w->failed || w->max - w->used < len) {
        w->failed = true;
        return;
    }
    if (len > 0)
        memcpy(w->buf + w->used, src, len);
    w->used += len;
}

static void put(struct writer *w, uint64_t value, size_t width)
{
    uint8_t le[8];
    for (size_t i = 0; i < width; i++)
        le[i] = (uint8_t)(value >> (8 * i));
    put_bytes(w, le, width);
}

static const uint8_t *take_bytes(struct reader *r, size_t len)
{
    if (r->failed || r->len - r->used < len) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *at = r->buf + r->used;
    r->used += len;
    return at;
}

static uint64_t take(struct reader *r, size_t width)
{
    const uint8_t *at = take_bytes(r, width);
    uint64_t value = 0;
    for (size_t i = 0; at != NULL && i < width; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

static uint32_t take32(struct reader *r)
{
    return (uint32_t)take(r, 4);
}

static void put_hash(struct writer *w, struct tl_hash h)
{
    put(w, h.hi, 8);
    put(w, h.lo, 8);
}

static struct tl_hash take_hash(struct reader *r)
{
    struct tl_hash h;
    h.hi = take(r, 8);
    h.lo = take(r, 8);
    return h;
}

static void put_path(struct writer *w, const char *path, uint16_t len)
{
    check(len < TL_PATH_MAX);
    put(w, len, 2);
    put_bytes(w, path, len);
}

/* A path is empty only where `empty_ok`; else absolute; never holds NUL. */
static const char *take_path(struct reader *r, uint16_t *len, bool empty_ok)
{
    *len = (uint16_t)take(r, 2);
    const char *path = (const char *)take_bytes(r, *len);
    if (path == NULL || *len >= TL_PATH_MAX || memchr(path, 0, *len) != NULL)
        r->failed = true;
    else if (*len == 0 ? !empty_ok : path[0] != '/')
        r->failed = true;
    return path;
}

/* ---- keys and chunks ---- */

/* P-2. The version alone tells a listing from a file; what else has no version is told apart by a hash of the hash. */
struct tl_hash tl_object_key(enum tl_op op, const char *path, uint16_t path_len, uint64_t version)
{
    check(tl_op_is_known(op) && tl_op_is_blob(op) == (version == 0));
    struct tl_hash key = tl_hash_bytes(path, path_len, version);
    if (op == TL_OP_LIST || op == TL_OP_READ)
        return key;
    uint8_t bytes[16];
    tl_put_u64(bytes, key.hi);
    tl_put_u64(bytes + 8, key.lo);
    return tl_hash_bytes(bytes, sizeof bytes, (uint64_t)op);
}

uint32_t tl_chunk_count(uint64_t file_size_bytes)
{
    uint64_t count = file_size_bytes / TL_CHUNK_SIZE + (file_size_bytes % TL_CHUNK_SIZE != 0);
    return count > UINT32_MAX ? UINT32_MAX : (uint32_t)count;
}

uint32_t tl_chunk_len(uint64_t file_size_bytes, uint32_t chunk)
{
    uint64_t start = (uint64_t)chunk * TL_CHUNK_SIZE;
    check(start < file_size_bytes);
    uint64_t left = file_size_bytes - start;
    return left < TL_CHUNK_SIZE ? (uint32_t)left : TL_CHUNK_SIZE;
}

/* ---- each message ---- */

static void encode_hello(struct writer *w, const struct tl_wire *m)
{
    put(w, m->hello.protocol, 4);
    put(w, m->hello.rank, 4);
    put(w, m->hello.node_count, 4);
    put(w, m->hello.arity, 4);
    put(w, m->hello.roots, 4);
    put(w, m->hello.job_id, 8);
    put(w, m->hello.incarnation, 8);
}

static bool decode_hello(struct reader *r, struct tl_wire *m)
{
    m->hello.protocol = take32(r);
    m->hello.rank = take32(r);
    m->hello.node_count = take32(r);
    m->hello.arity = take32(r);
    m->hello.roots = take32(r);
    m->hello.job_id = take(r, 8);
    m->hello.incarnation = take(r, 8);
    return true;
}

static void encode_join(struct writer *w, const struct tl_wire *m)
{
    check(m->join.tree < TL_FOREST_TREES_MAX);
    put(w, m->join.tree, 1);
    put(w, m->join.subtree, 4);
}

static bool decode_join(struct reader *r, struct tl_wire *m)
{
    m->join.tree = (uint32_t)take(r, 1);
    m->join.subtree = take32(r);
    return m->join.tree < TL_FOREST_TREES_MAX;
}

static void encode_get(struct writer *w, const struct tl_wire *m)
{
    check(m->get.count > 0 && m->get.count <= TL_WIRE_GET_CHUNKS_MAX && m->get.path_len > 0);
    put(w, m->get.req, 8);
    put(w, (uint64_t)m->get.op, 1);
    put(w, tl_op_is_blob(m->get.op) ? m->get.outdated : m->get.version, 8);
    put(w, m->get.file_size_bytes, 8);
    put(w, m->get.first, 4);
    put(w, m->get.count, 4);
    put_path(w, m->get.path, m->get.path_len);
}

static bool decode_get(struct reader *r, struct tl_wire *m)
{
    m->get.req = take(r, 8);
    m->get.op = (enum tl_op)take(r, 1);
    m->get.version = take(r, 8);
    m->get.file_size_bytes = take(r, 8);
    m->get.first = take32(r);
    m->get.count = take32(r);
    m->get.path = take_path(r, &m->get.path_len, false);
    if (r->failed || m->get.count == 0 || m->get.count > TL_WIRE_GET_CHUNKS_MAX)
        return false;
    if (tl_op_is_blob(m->get.op)) {
        m->get.outdated = m->get.version;
        m->get.version = 0;
        return m->get.first == 0 && m->get.count == 1 && m->get.file_size_bytes == 0;
    }
    m->get.outdated = 0;
    if (m->get.op != TL_OP_READ || m->get.version == 0)
        return false;
    return (uint64_t)m->get.first + m->get.count <= tl_chunk_count(m->get.file_size_bytes);
}

/* What a mode has no use for is 0. */
static bool data_fields_fit(const struct tl_wire *m)
{
    const struct tl_hash none = {0, 0};
    bool error = m->data.status < 0 && m->data.status >= STATUS_MIN;
    switch (m->data.mode) {
    case TL_DATA_ERROR:
        return error && m->data.len == 0 && tl_hash_equal(m->data.digest, none) && m->data.addr == 0 &&
               m->data.loan == 0;
    case TL_DATA_INLINE:
        return m->data.status == 0 && m->data.len > 0 && m->data.len <= TL_INLINE_MAX && m->data.addr == 0 &&
               m->data.loan == 0;
    case TL_DATA_PULL:
        return m->data.status == 0 && m->data.len > 0 && m->data.len <= TL_WIRE_PULL_MAX && m->data.loan != 0;
    }
    return false;
}

static void encode_data(struct writer *w, const struct tl_wire *m)
{
    check(data_fields_fit(m));
    put(w, m->data.req, 8);
    put_hash(w, m->data.key);
    put(w, m->data.chunk, 4);
    put(w, (uint32_t)m->data.status, 4);
    put(w, (uint64_t)m->data.mode, 1);
    put(w, m->data.len, 4);
    put_hash(w, m->data.digest);
    put(w, m->data.addr, 8);
    put(w, m->data.loan, 8);
}

static bool decode_data(struct reader *r, struct tl_wire *m)
{
    m->data.req = take(r, 8);
    m->data.key = take_hash(r);
    m->data.chunk = take32(r);
    m->data.status = (int32_t)take32(r);
    m->data.mode = (enum tl_data_mode)take(r, 1);
    m->data.len = take32(r);
    m->data.digest = take_hash(r);
    m->data.addr = take(r, 8);
    m->data.loan = take(r, 8);
    return data_fields_fit(m);
}

static void encode_report(struct writer *w, const struct tl_wire *m)
{
    const struct tl_report *report = &m->report.report;
    put(w, m->report.id, 8);
    put(w, report->rank, 4);
    put(w, report->parent, 4);
    put(w, report->children, 4);
    put(w, report->subtree, 4);
    put(w, report->incarnation, 8);
    put(w, sizeof report->counters / 8, 2);
    const uint64_t *counter = (const uint64_t *)&report->counters;
    for (size_t i = 0; i < sizeof report->counters / 8; i++)
        put(w, counter[i], 8);
}

static bool decode_report(struct reader *r, struct tl_wire *m)
{
    struct tl_report *report = &m->report.report;
    m->report.id = take(r, 8);
    report->rank = take32(r);
    report->parent = take32(r);
    report->children = take32(r);
    report->subtree = take32(r);
    report->incarnation = take(r, 8);
    if (take(r, 2) != sizeof report->counters / 8)
        return false;
    uint64_t *counter = (uint64_t *)&report->counters;
    for (size_t i = 0; i < sizeof report->counters / 8; i++)
        counter[i] = take(r, 8);
    return true;
}

static void encode_flood(struct writer *w, const struct tl_wire *m)
{
    put(w, (uint64_t)m->flood.kind, 1);
    put(w, m->flood.id, 8);
    put(w, m->flood.hops, 1);
    put_path(w, m->flood.path, m->flood.path_len);
}

static bool decode_flood(struct reader *r, struct tl_wire *m)
{
    m->flood.kind = (enum tl_flood_kind)take(r, 1);
    m->flood.id = take(r, 8);
    m->flood.hops = (uint8_t)take(r, 1);
    m->flood.path = take_path(r, &m->flood.path_len, true);
    switch (m->flood.kind) {
    case TL_FLOOD_FLUSH: return true;
    case TL_FLOOD_GATHER: return m->flood.path_len == 0;
    case TL_FLOOD_PIN:
    case TL_FLOOD_UNPIN:
    case TL_FLOOD_WARM: return m->flood.path_len > 0;
    }
    return false;
}

static void encode_flooded(struct writer *w, const struct tl_wire *m)
{
    put(w, m->flooded.id, 8);
    put(w, m->flooded.nodes, 4);
    put(w, m->flooded.complete, 1);
}

static bool decode_flooded(struct reader *r, struct tl_wire *m)
{
    m->flooded.id = take(r, 8);
    m->flooded.nodes = take32(r);
    uint64_t complete = take(r, 1);
    m->flooded.complete = complete == 1;
    return complete <= 1;
}

int tl_wire_encode(const struct tl_wire *m, uint8_t *buf, size_t max)
{
    check(m->type >= TL_WIRE_HELLO && m->type <= TL_WIRE_FLOODED);
    struct writer w = {.buf = buf, .max = max};
    put(&w, WIRE_MAGIC, 1);
    put(&w, (uint64_t)m->type, 1);
    switch (m->type) {
    case TL_WIRE_HELLO: encode_hello(&w, m); break;
    case TL_WIRE_JOIN: encode_join(&w, m); break;
    case TL_WIRE_GET: encode_get(&w, m); break;
    case TL_WIRE_DATA: encode_data(&w, m); break;
    case TL_WIRE_DONE: put(&w, m->done.loan, 8); break;
    case TL_WIRE_PING:
    case TL_WIRE_PONG: break;
    case TL_WIRE_FLOOD: encode_flood(&w, m); break;
    case TL_WIRE_REPORT: encode_report(&w, m); break;
    case TL_WIRE_FLOODED: encode_flooded(&w, m); break;
    }
    return w.failed ? -EMSGSIZE : (int)w.used;
}

static bool decode_body(struct reader *r, struct tl_wire *m)
{
    switch (m->type) {
    case TL_WIRE_HELLO: return decode_hello(r, m);
    case TL_WIRE_JOIN: return decode_join(r, m);
    case TL_WIRE_GET: return decode_get(r, m);
    case TL_WIRE_DATA: return decode_data(r, m);
    case TL_WIRE_DONE: m->done.loan = take(r, 8); return true;
    case TL_WIRE_PING:
    case TL_WIRE_PONG: return true;
    case TL_WIRE_FLOOD: return decode_flood(r, m);
    case TL_WIRE_REPORT: return decode_report(r, m);
    case TL_WIRE_FLOODED: return decode_flooded(r, m);
    }
    return false;
}

/* P-31 */
int tl_wire_decode(struct tl_wire *out, const uint8_t *buf, size_t len)
{
    if (len > TL_HEADER_MAX)
        return -EBADMSG;
    struct reader r = {.buf = buf, .len = len};
    bool magic = take(&r, 1) == WIRE_MAGIC;
    out->type = (enum tl_wire_type)take(&r, 1);
    if (!magic || r.failed || !decode_body(&r, out) || r.failed || r.used != r.len)
        return -EBADMSG;
    return 0;
}
