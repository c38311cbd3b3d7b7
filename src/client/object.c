// SPDX-License-Identifier: Apache-2.0
/* Objects (tiercel/pool.h): values under two keys, and on top of them
 *
 *   flat key-value objects   key -> the single value under dkey = key, akey = ""
 *   byte arrays              the array of records of 1 byte under dkey = "", akey = ""; its size is the end of the last byte that is there
 *
 * so that a flat object is read with tiercel_fetch, and the other way round, if one knows this. */
#include <errno.h>
#include <stdlib.h>

#include "client/engine.h"

#define CONDITIONS (TIERCEL_IF_MISSING | TIERCEL_IF_THERE)

static const struct tiercel_bytes no_key = {.at = "", .len = 0};

static int fail(const struct tl_call *call, int rc)
{
    const struct tl_about about = {.verb = call->verb,
                                   .kind = "container",
                                   .name = call->cont != NULL ? tl_cont_name(call->cont->inner) : NULL,
                                   .epoch = call->epoch};
    return tl_why_failed(NULL, &about, rc, NULL);
}

static bool is_key(struct tiercel_bytes key)
{
    return key.at != NULL || key.len == 0;
}

/* `good`: its parameters make sense. */
static int make(struct tl_call *call, struct tiercel_cont *cont, bool good, struct tiercel_event *ev)
{
    call->cont = cont;
    if (cont == NULL || !good)
        return fail(call, cont == NULL ? -EBADF : -EINVAL);
    call->pool = cont->pool;
    if (call->epoch == TIERCEL_EPOCH_NOW && (call->verb == TL_DO_READ || call->verb == TL_DO_LIST))
        call->epoch = cont->snapshot; /* if it was opened at one */
    return tl_call_make(call, ev);
}

/* ---- values under two keys ---- */

static bool ios_make_sense(const struct tiercel_io *ios, unsigned count, bool writes)
{
    if (ios == NULL || count == 0)
        return false;
    for (unsigned i = 0; i < count; i++) {
        const struct tiercel_io *io = &ios[i];
        if (!is_key(io->akey) || (io->extents != NULL && io->extent_count == 0))
            return false;
        if (writes && io->buffer == NULL && io->buffer_len > 0)
            return false;
    }
    return true;
}

static int run_update(struct tl_call *call, struct tl_error *err)
{
    return tl_cont_update(call->cont->inner, call->epoch, call->oid, call->dkey, call->flags, call->args.io.ios,
                          call->args.io.count, err);
}

int tiercel_update(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                   unsigned flags, const struct tiercel_io *ios, unsigned count, struct tiercel_event *ev)
{
    struct tl_call call = {.run = run_update,
                           .verb = TL_DO_WRITE,
                           .epoch = epoch,
                           .oid = oid,
                           .dkey = dkey,
                           .flags = flags,
                           .args.io = {.ios = ios, .count = count}};
    return make(&call, cont, is_key(dkey) && (flags & ~CONDITIONS) == 0 && ios_make_sense(ios, count, true), ev);
}

static int run_fetch(struct tl_call *call, struct tl_error *err)
{
    return tl_cont_fetch(call->cont->inner, call->epoch, call->oid, call->dkey, call->flags, call->args.io.results,
                         call->args.io.count, err);
}

int tiercel_fetch(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                  unsigned flags, struct tiercel_io *ios, unsigned count, struct tiercel_event *ev)
{
    const unsigned known = TIERCEL_IF_THERE | TIERCEL_COMMITTED;
    struct tl_call call = {.run = run_fetch,
                           .verb = TL_DO_READ,
                           .epoch = epoch,
                           .oid = oid,
                           .dkey = dkey,
                           .flags = flags,
                           .args.io = {.results = ios, .count = count}};
    return make(&call, cont, is_key(dkey) && (flags & ~known) == 0 && ios_make_sense(ios, count, false), ev);
}

static int run_punch(struct tl_call *call, struct tl_error *err)
{
    return tl_cont_punch(call->cont->inner, call->epoch, call->oid, call->args.punch.dkey, call->args.punch.akeys,
                         call->args.punch.count, call->flags, err);
}

int tiercel_punch(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid, const struct tiercel_bytes *dkey,
                  const struct tiercel_bytes *akeys, unsigned count, unsigned flags, struct tiercel_event *ev)
{
    bool good = (flags & ~TIERCEL_IF_THERE) == 0 && (dkey == NULL || is_key(*dkey)) &&
                (akeys == NULL) == (count == 0) && (akeys == NULL || dkey != NULL);
    for (unsigned i = 0; good && i < count; i++)
        good = is_key(akeys[i]);
    struct tl_call call = {.run = run_punch,
                           .verb = TL_DO_PUNCH,
                           .epoch = epoch,
                           .oid = oid,
                           .flags = flags,
                           .args.punch = {.dkey = dkey, .akeys = akeys, .count = count}};
    return make(&call, cont, good, ev);
}

/* ---- listing ---- */

static int run_list_objects(struct tl_call *call, struct tl_error *err)
{
    (void)err;
    return tl_cont_list_objects(call->cont->inner, call->epoch, call->args.list.anchor, call->args.list.oids,
                                call->args.list.count);
}

int tiercel_list_objects(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_anchor *anchor,
                         struct tiercel_oid *oids, unsigned *count, struct tiercel_event *ev)
{
    struct tl_call call = {.run = run_list_objects,
                           .verb = TL_DO_LIST,
                           .epoch = epoch,
                           .args.list = {.anchor = anchor, .oids = oids, .count = count}};
    return make(&call, cont, anchor != NULL && oids != NULL && count != NULL && *count > 0, ev);
}

static int run_list_dkeys(struct tl_call *call, struct tl_error *err)
{
    (void)err;
    return tl_cont_list_keys(call->cont->inner, call->epoch, call->oid, NULL, call->args.list.anchor,
                             call->args.list.buf, call->args.list.room, call->args.list.keys, call->args.list.count);
}

int tiercel_list_dkeys(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid, struct tiercel_anchor *anchor,
                       void *buf, size_t room, struct tiercel_bytes *keys, unsigned *count, struct tiercel_event *ev)
{
    struct tl_call call = {.run = run_list_dkeys,
                           .verb = TL_DO_LIST,
                           .epoch = epoch,
                           .oid = oid,
                           .args.list = {.anchor = anchor, .buf = buf, .room = room, .keys = keys, .count = count}};
    return make(&call, cont, anchor != NULL && buf != NULL && keys != NULL && count != NULL && *count > 0, ev);
}

static int run_list_akeys(struct tl_call *call, struct tl_error *err)
{
    (void)err;
    return tl_cont_list_keys(call->cont->inner, call->epoch, call->oid, &call->dkey, call->args.list.anchor,
                             call->args.list.buf, call->args.list.room, call->args.list.keys, call->args.list.count);
}

int tiercel_list_akeys(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                       struct tiercel_anchor *anchor, void *buf, size_t room, struct tiercel_bytes *keys,
                       unsigned *count, struct tiercel_event *ev)
{
    const bool good = is_key(dkey) && anchor != NULL && buf != NULL && keys != NULL && count != NULL && *count > 0;
    struct tl_call call = {.run = run_list_akeys,
                           .verb = TL_DO_LIST,
                           .epoch = epoch,
                           .oid = oid,
                           .dkey = dkey,
                           .args.list = {.anchor = anchor, .buf = buf, .room = room, .keys = keys, .count = count}};
    return make(&call, cont, good, ev);
}

static int run_list_extents(struct tl_call *call, struct tl_error *err)
{
    (void)err;
    return tl_cont_list_extents(call->cont->inner, call->epoch, call->oid, call->dkey, call->akey,
                                call->args.list.anchor, call->args.list.extents, call->args.list.count,
                                call->args.list.record_size);
}

int tiercel_list_extents(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                         struct tiercel_bytes akey, struct tiercel_anchor *anchor, struct tiercel_extent *extents,
                         unsigned *count, uint64_t *record_size, struct tiercel_event *ev)
{
    const bool good = is_key(dkey) && is_key(akey) && anchor != NULL && extents != NULL && count != NULL &&
                      *count > 0 && record_size != NULL;
    struct tl_call call = {
        .run = run_list_extents,
        .verb = TL_DO_LIST,
        .epoch = epoch,
        .oid = oid,
        .dkey = dkey,
        .akey = akey,
        .args.list = {.anchor = anchor, .extents = extents, .count = count, .record_size = record_size}};
    return make(&call, cont, good, ev);
}

/* ---- flat key-value objects ---- */

static int run_kv_put(struct tl_call *call, struct tl_error *err)
{
    struct tiercel_io io = {.akey = no_key,
                            .record_size = call->args.value.len,
                            .buffer = (void *)(uintptr_t)call->args.value.value, /* only read */
                            .buffer_len = call->args.value.len};
    return tl_cont_update(call->cont->inner, call->epoch, call->oid, call->dkey, call->flags, &io, 1, err);
}

int tiercel_kv_put(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes key,
                   const void *value, uint64_t len, unsigned flags, struct tiercel_event *ev)
{
    struct tl_call call = {.run = run_kv_put,
                           .verb = TL_DO_WRITE,
                           .epoch = epoch,
                           .oid = oid,
                           .dkey = key,
                           .flags = flags,
                           .args.value = {.value = value, .len = len}};
    return make(&call, cont, is_key(key) && (value != NULL || len == 0) && (flags & ~CONDITIONS) == 0, ev);
}

static int run_kv_get(struct tl_call *call, struct tl_error *err)
{
    uint64_t *size = call->args.value.size;
    struct tiercel_io io = {.akey = no_key, .buffer = call->args.value.room, .buffer_len = *size};
    int rc = tl_cont_fetch(call->cont->inner, call->epoch, call->oid, call->dkey, call->flags | TIERCEL_IF_THERE, &io,
                           1, err);
    if (rc == 0 || rc == -ENOBUFS)
        *size = io.buffer_len;
    return rc;
}

int tiercel_kv_get(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes key,
                   void *value, uint64_t *len, unsigned flags, struct tiercel_event *ev)
{
    const unsigned known = TIERCEL_IF_THERE | TIERCEL_COMMITTED;
    struct tl_call call = {.run = run_kv_get,
                           .verb = TL_DO_READ,
                           .epoch = epoch,
                           .oid = oid,
                           .dkey = key,
                           .flags = flags,
                           .args.value = {.room = value, .size = len}};
    return make(&call, cont, is_key(key) && len != NULL && (flags & ~known) == 0, ev);
}

static int run_kv_remove(struct tl_call *call, struct tl_error *err)
{
    return tl_cont_punch(call->cont->inner, call->epoch, call->oid, &call->dkey, NULL, 0, call->flags, err);
}

int tiercel_kv_remove(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes key,
                      unsigned flags, struct tiercel_event *ev)
{
    struct tl_call call = {
        .run = run_kv_remove, .verb = TL_DO_PUNCH, .epoch = epoch, .oid = oid, .dkey = key, .flags = flags};
    return make(&call, cont, is_key(key) && (flags & ~TIERCEL_IF_THERE) == 0, ev);
}

int tiercel_kv_list(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid, struct tiercel_anchor *anchor,
                    void *buf, size_t room, struct tiercel_bytes *keys, unsigned *count, struct tiercel_event *ev)
{
    return tiercel_list_dkeys(cont, epoch, oid, anchor, buf, room, keys, count, ev);
}

/* ---- byte arrays ---- */

static int run_array_write(struct tl_call *call, struct tl_error *err)
{
    const struct tiercel_extent extent = {.first = call->args.array.offset, .count = call->args.array.len};
    struct tiercel_io io = {.akey = no_key,
                            .extents = &extent,
                            .extent_count = 1,
                            .record_size = 1,
                            .buffer = (void *)(uintptr_t)call->args.array.from, /* only read */
                            .buffer_len = extent.count};
    return tl_cont_update(call->cont->inner, call->epoch, call->oid, no_key, 0, &io, 1, err);
}

int tiercel_array_write(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid, uint64_t offset,
                        const void *bytes, uint64_t len, struct tiercel_event *ev)
{
    struct tl_call call = {.run = run_array_write,
                           .verb = TL_DO_WRITE,
                           .epoch = epoch,
                           .oid = oid,
                           .args.array = {.offset = offset, .len = len, .from = bytes}};
    if (cont != NULL && len > UINT64_MAX - offset)
        return call.cont = cont, fail(&call, -EOVERFLOW);
    return make(&call, cont, bytes != NULL && len > 0, ev);
}

static int run_array_read(struct tl_call *call, struct tl_error *err)
{
    return tl_cont_array_read(call->cont->inner, call->epoch, call->oid, no_key, no_key, call->args.array.offset,
                              call->args.array.to, call->args.array.result, err);
}

int tiercel_array_read(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid, uint64_t offset, void *bytes,
                       uint64_t *len, struct tiercel_event *ev)
{
    struct tl_call call = {.run = run_array_read,
                           .verb = TL_DO_READ,
                           .epoch = epoch,
                           .oid = oid,
                           .args.array = {.offset = offset, .to = bytes, .result = len}};
    return make(&call, cont, len != NULL && (bytes != NULL || *len == 0), ev);
}

static int array_end(const struct tl_call *call, uint64_t *end)
{
    return tl_cont_array_end(call->cont->inner, call->epoch, call->oid, no_key, no_key, end);
}

static int run_array_size(struct tl_call *call, struct tl_error *err)
{
    (void)err;
    return array_end(call, call->args.array.result);
}

int tiercel_array_size(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid, uint64_t *size,
                       struct tiercel_event *ev)
{
    struct tl_call call = {
        .run = run_array_size, .verb = TL_DO_READ, .epoch = epoch, .oid = oid, .args.array = {.result = size}};
    return make(&call, cont, size != NULL, ev);
}

static int clear(struct tl_call *call, uint64_t first, uint64_t count, struct tl_error *err)
{
    const struct tiercel_extent extent = {.first = first, .count = count};
    return tl_cont_array_clear(call->cont->inner, call->epoch, call->oid, no_key, no_key, extent, err);
}

static int write_byte(struct tl_call *call, uint64_t at, uint8_t byte, struct tl_error *err)
{
    const struct tiercel_extent extent = {.first = at, .count = 1};
    struct tiercel_io io = {
        .akey = no_key, .extents = &extent, .extent_count = 1, .record_size = 1, .buffer = &byte, .buffer_len = 1};
    return tl_cont_update(call->cont->inner, call->epoch, call->oid, no_key, 0, &io, 1, err);
}

static int read_byte(struct tl_call *call, uint64_t at, uint8_t *byte, struct tl_error *err)
{
    const struct tiercel_extent extent = {.first = at, .count = 1};
    struct tiercel_io io = {
        .akey = no_key, .extents = &extent, .extent_count = 1, .record_size = 1, .buffer = byte, .buffer_len = 1};
    return tl_cont_fetch(call->cont->inner, call->epoch, call->oid, no_key, 0, &io, 1, err);
}

/* An array ends behind the last of its records that is there. So the last byte is always there: where it would not be, it is written, and
 * everything before it may be a hole. */
static int run_array_set_size(struct tl_call *call, struct tl_error *err)
{
    const uint64_t size = call->args.array.len;
    uint64_t end = 0;
    uint8_t byte = 0;
    int rc = clear(call, 0, 0, err); /* nothing, if that may be written */
    rc = rc == 0 ? array_end(call, &end) : rc;
    if (rc != 0 || size == end)
        return rc;
    if (size < end && size > 0)
        rc = read_byte(call, size - 1, &byte, err);
    if (size < end && rc == 0)
        rc = clear(call, size, UINT64_MAX - size, err);
    return rc == 0 && size > 0 ? write_byte(call, size - 1, byte, err) : rc;
}

int tiercel_array_set_size(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid, uint64_t size,
                           struct tiercel_event *ev)
{
    struct tl_call call = {
        .run = run_array_set_size, .verb = TL_DO_WRITE, .epoch = epoch, .oid = oid, .args.array = {.len = size}};
    return make(&call, cont, true, ev);
}

static int run_array_punch(struct tl_call *call, struct tl_error *err)
{
    const uint64_t offset = call->args.array.offset;
    uint64_t end = 0, len = call->args.array.len;
    int rc = clear(call, 0, 0, err); /* nothing, if that may be written */
    rc = rc == 0 ? array_end(call, &end) : rc;
    if (rc != 0 || offset >= end)
        return rc;
    if (len < end - offset)
        return clear(call, offset, len, err);
    if (end - offset > 1)
        rc = clear(call, offset, end - offset - 1, err);
    return rc == 0 ? write_byte(call, end - 1, 0, err) : rc;
}

int tiercel_array_punch(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid, uint64_t offset,
                        uint64_t len, struct tiercel_event *ev)
{
    struct tl_call call = {.run = run_array_punch,
                           .verb = TL_DO_PUNCH,
                           .epoch = epoch,
                           .oid = oid,
                           .args.array = {.offset = offset, .len = len}};
    return make(&call, cont, len > 0, ev);
}
