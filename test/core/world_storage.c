// SPDX-License-Identifier: Apache-2.0
/* The storage of a world, what is asked of its nodes, and whether the answers are right. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "core/world.h"

#define LISTING_MAX (TL_INLINE_MAX + 1000)

/* ---- storage ---- */

static uint32_t add_file(struct world *w, const char *path, bool directory, uint64_t size_bytes)
{
    assert_true(w->file_count < FILES_MAX && strlen(path) < TL_PATH_MAX);
    struct file *f = &w->files[w->file_count];
    *f = (struct file){.directory = directory, .size_bytes = size_bytes, .version = directory ? 0 : 1};
    memcpy(f->path, path, strlen(path) + 1);
    return w->file_count++;
}

uint32_t world_file(struct world *w, const char *path, uint64_t size_bytes)
{
    return add_file(w, path, false, size_bytes);
}

uint32_t world_directory(struct world *w, const char *path)
{
    return add_file(w, path, true, 0);
}

static uint32_t find_file(const struct world *w, const char *path, uint16_t len)
{
    for (uint32_t i = 0; i < w->file_count; i++)
        if (strlen(w->files[i].path) == len && memcmp(w->files[i].path, path, len) == 0)
            return i;
    return UINT32_MAX;
}

static uint8_t byte_of(uint32_t file, uint64_t version, uint64_t offset)
{
    return (uint8_t)(tl_prng_mix(file * 1000003ull + version * 7919 + offset / 64) + offset);
}

static void fill(uint8_t *out, uint32_t file, uint64_t version, uint64_t offset, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++)
        out[i] = byte_of(file, version, offset + i);
}

/* A listing: "LIST", the file's number and generation, and more bytes. */
static uint32_t make_listing(const struct world *w, uint32_t file, uint8_t out[LISTING_MAX])
{
    memset(out, (int)file, LISTING_MAX);
    memcpy(out, "LIST", 4);
    memcpy(out + 4, &file, 4);
    memcpy(out + 8, &w->files[file].generation, 4);
    return strcmp(w->files[file].path, "/large") == 0 ? LISTING_MAX : 100 + file % 100;
}

static int storage_status(struct file *f, const struct tl_fetch *fetch)
{
    if (f == NULL)
        return -ENOENT;
    if (f->fail_next > 0) {
        f->fail_next--;
        return -EIO;
    }
    if (f->status != 0)
        return f->status;
    if (fetch->op == TL_OP_ENTRY || fetch->op == TL_OP_XATTRS)
        return 0;
    if ((fetch->op == TL_OP_LIST) != f->directory)
        return -ENOTDIR;
    return f->directory || (f->version == fetch->version && f->size_bytes == fetch->file_size_bytes) ? 0 : -ESTALE;
}

bool world_storage_read(struct world *w, uint32_t rank, uint64_t cookie, const struct tl_fetch *fetch,
                        uint32_t *progress)
{
    struct host *h = &w->hosts[rank];
    uint32_t number = find_file(w, fetch->path, fetch->path_len);
    struct file *f = number == UINT32_MAX ? NULL : &w->files[number];
    struct tl_event ev = {.type = TL_EV_FETCHED, .cookie = cookie, .last = true, .chunk = fetch->first};
    uint8_t blob[LISTING_MAX];
    ev.status = storage_status(f, fetch);
    if (f != NULL && ev.status == 0 && fetch->op != TL_OP_READ) {
        uint32_t *times = fetch->op == TL_OP_LIST ? &f->lists : &f->entries;
        *times += w->plant == PLANT_FETCH_TWICE ? 2 : 1;
        ev.payload = blob;
        ev.payload_len = make_listing(w, number, blob);
        ev.digest = tl_hash_bytes(blob, ev.payload_len, 0);
    } else if (f != NULL && ev.status == 0) {
        uint32_t i = (*progress)++;
        ev.chunk = fetch->first + i;
        ev.len = fetch->lens[i];
        if (ev.chunk < CHUNKS_MAX)
            f->reads[ev.chunk] += w->plant == PLANT_FETCH_TWICE ? 2 : 1;
        uint8_t *at = world_bytes(h, fetch->addrs[i], ev.len);
        assert_non_null(at);
        fill(at, number, f->version, ev.chunk * CHUNK, ev.len);
        ev.digest = tl_hash_bytes(at, ev.len, 0);
        ev.last = *progress == fetch->count;
    }
    world_step(w, rank, &ev);
    return !ev.last;
}

/* ---- checks ---- */

static void check_bytes(struct world *w, const struct asked *q, const struct tl_answer *a)
{
    struct host *h = &w->hosts[q->rank];
    uint64_t end = q->offset + q->length < q->size_bytes ? q->offset + q->length : q->size_bytes;
    uint64_t at = q->offset < end ? q->offset : end;
    for (uint32_t i = 0; i < a->ref_count; i++) {
        uint8_t *bytes = world_bytes(h, a->refs[i].addr, a->refs[i].len);
        if (bytes == NULL) {
            world_violation(w, "node %u answers %s with memory that it does not hold", q->rank, w->files[q->file].path);
            return;
        }
        if (w->plant == PLANT_WRONG_BYTES)
            bytes[a->refs[i].len / 2] ^= 1;
        for (uint32_t k = 0; k < a->refs[i].len; k++)
            if (at + k >= end || bytes[k] != byte_of(q->file, q->version, at + k)) {
                world_violation(w, "node %u: wrong byte at %llu of %s", q->rank, (unsigned long long)(at + k),
                                w->files[q->file].path);
                return;
            }
        at += a->refs[i].len;
    }
    if (at != end && q->offset < end)
        world_violation(w, "node %u: %s ends at %llu instead of %llu", q->rank, w->files[q->file].path,
                        (unsigned long long)at, (unsigned long long)end);
}

static void check_listing(struct world *w, struct asked *q, const struct tl_answer *a)
{
    uint8_t expected[LISTING_MAX];
    uint32_t len = make_listing(w, q->file, expected);
    uint8_t *bytes = a->ref_count == 1 ? world_bytes(&w->hosts[q->rank], a->refs[0].addr, a->refs[0].len) : NULL;
    if (bytes == NULL || a->refs[0].len != len || memcmp(bytes, expected, 8) != 0) {
        world_violation(w, "node %u: %s is answered with something else", q->rank, w->files[q->file].path);
        return;
    }
    memcpy(&q->generation, bytes + 8, 4);
}

void world_take_answer(struct world *w, uint32_t rank, const struct tl_answer *a)
{
    struct asked *q = a->id < w->asked_count ? &w->asked[a->id] : NULL;
    if (q == NULL || q->rank != rank || q->lost) {
        world_violation(w, "node %u answers what nobody asked", rank);
        return;
    }
    if (++q->answers > 1)
        world_violation(w, "node %u answers %s %u times", rank, w->files[q->file].path, q->answers);
    q->status = a->status;
    if (a->status != 0 || q->operator_) {
        if (a->ref_count != 0)
            world_violation(w, "node %u answers an error with bytes", rank);
        return;
    }
    if (tl_op_is_blob(q->op))
        check_listing(w, q, a);
    else
        check_bytes(w, q, a);
}

void world_check_answered(struct world *w)
{
    for (uint32_t i = 0; i < w->asked_count; i++)
        if (w->asked[i].answers != 1 && !w->asked[i].lost)
            world_violation(w, "node %u has answered %s, offset %llu, %u times", w->asked[i].rank,
                            w->files[w->asked[i].file].path, (unsigned long long)w->asked[i].offset,
                            w->asked[i].answers);
}

void world_check_read_once(struct world *w)
{
    for (uint32_t i = 0; i < w->file_count; i++) {
        const struct file *f = &w->files[i];
        if (f->lists > 1 || f->entries > 1)
            world_violation(w, "%s was listed %u times", f->path, f->lists + f->entries);
        for (uint32_t k = 0; k < CHUNKS_MAX; k++)
            if (f->reads[k] > 1)
                world_violation(w, "chunk %u of %s was read %u times", k, f->path, f->reads[k]);
    }
}

/* ---- asking ---- */

static struct asked *new_asked(struct world *w, uint32_t rank, uint32_t file)
{
    assert_true(w->asked_count < REQUESTS_MAX);
    struct asked *q = &w->asked[w->asked_count];
    *q = (struct asked){.id = w->asked_count, .rank = rank, .file = file};
    w->asked_count++;
    return q;
}

static uint32_t ask(struct world *w, struct asked *q, enum tl_op op)
{
    const struct file *f = &w->files[q->file];
    q->op = op;
    q->version = f->version;
    q->size_bytes = f->size_bytes;
    const struct tl_request r = {.id = q->id,
                                 .op = op,
                                 .path = f->path,
                                 .path_len = (uint16_t)strlen(f->path),
                                 .version = op == TL_OP_READ ? f->version : 0,
                                 .file_size_bytes = op == TL_OP_READ ? f->size_bytes : 0,
                                 .offset = q->offset,
                                 .length = q->length};
    world_step(w, q->rank, &(struct tl_event){.type = TL_EV_REQUEST, .request = &r});
    return (uint32_t)q->id;
}

uint32_t ask_read(struct world *w, uint32_t rank, uint32_t file, uint64_t offset, uint32_t length)
{
    struct asked *q = new_asked(w, rank, file);
    q->offset = offset;
    q->length = length;
    return ask(w, q, TL_OP_READ);
}

uint32_t ask_list(struct world *w, uint32_t rank, uint32_t file)
{
    return ask(w, new_asked(w, rank, file), TL_OP_LIST);
}

uint32_t ask_about(struct world *w, uint32_t rank, uint32_t file, enum tl_op op)
{
    return ask(w, new_asked(w, rank, file), op);
}

uint32_t ask_flush(struct world *w, uint32_t rank, const char *path)
{
    struct asked *q = new_asked(w, rank, 0);
    q->operator_ = true;
    const struct tl_event ev = {
        .type = TL_EV_FLUSH, .id = q->id, .path = path, .path_len = path == NULL ? 0 : (uint16_t)strlen(path)};
    world_step(w, rank, &ev);
    return (uint32_t)q->id;
}

uint32_t ask_warm(struct world *w, uint32_t rank)
{
    struct asked *q = new_asked(w, rank, 0);
    q->operator_ = true;
    world_step(w, rank, &(struct tl_event){.type = TL_EV_WARM, .id = q->id, .path = "/profiles/it", .path_len = 12});
    return (uint32_t)q->id;
}

uint32_t ask_gather(struct world *w, uint32_t rank)
{
    struct asked *q = new_asked(w, rank, 0);
    q->operator_ = true;
    world_step(w, rank, &(struct tl_event){.type = TL_EV_GATHER, .id = q->id});
    return (uint32_t)q->id;
}

void cancel(struct world *w, uint32_t asked)
{
    world_step(w, w->asked[asked].rank, &(struct tl_event){.type = TL_EV_CANCEL, .id = w->asked[asked].id});
}

static int wait_for(struct world *w, uint32_t asked)
{
    world_run_answered(w, 60 * S);
    if (w->asked[asked].answers == 0)
        world_violation(w, "%s was not answered in a minute", w->files[w->asked[asked].file].path);
    return w->asked[asked].status;
}

int read_now(struct world *w, uint32_t rank, uint32_t file, uint64_t offset, uint32_t length)
{
    return wait_for(w, ask_read(w, rank, file, offset, length));
}

int list_now(struct world *w, uint32_t rank, uint32_t file)
{
    return wait_for(w, ask_list(w, rank, file));
}

struct tl_counters world_counters(struct world *w, uint32_t rank)
{
    struct tl_report r;
    tl_node_report(w->hosts[rank].node, &r);
    return r.counters;
}

uint32_t world_parent(struct world *w, uint32_t rank)
{
    struct tl_report r;
    tl_node_report(w->hosts[rank].node, &r);
    return r.parent;
}

uint32_t world_reads(const struct world *w, uint32_t file)
{
    uint32_t reads = w->files[file].lists;
    for (uint32_t i = 0; i < CHUNKS_MAX; i++)
        reads += w->files[file].reads[i];
    return reads;
}
