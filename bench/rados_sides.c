// SPDX-License-Identifier: Apache-2.0
/* See rados.h. */
#include "rados.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/time.h"
#include "tiercel/pool.h"

#define META         "meta"
#define DATA         "data"
#define FLYING       64u /* as the store: operations, and bytes, that one process has on their way */
#define FLYING_BYTES (16u << 20)

/* ---- ours ---- */

static struct tiercel_pool *pool;
static struct tiercel_cont *cont;
static uint64_t epoch;

static void ok(int rc)
{
    if (rc < 0)
        bench_die(tiercel_why(NULL), rc);
}

static void uri_of(char out[512], const char *space)
{
    snprintf(out, 512, "rados:///%s?pool=" META "&data=" DATA, space);
}

void bench_pool_create(const char *space)
{
    char uri[512];
    struct tiercel_error err = {0};
    uri_of(uri, space);
    if (tiercel_pool_create(uri, &err) < 0)
        bench_die(err.message, err.code);
}

static void name_state(struct bench_cont *c, const struct tiercel_uuid *uuid)
{
    strcpy(c->state, "s.");
    for (unsigned i = 0; i < 16; i++)
        snprintf(c->state + 2 + 2 * i, 3, "%02x", uuid->bytes[i]);
}

static void ours_begin(const struct bench_rank *r, const char *space, struct bench_cont *c)
{
    char uri[512];
    struct tiercel_error err = {0};
    struct tiercel_uuid uuid;
    struct tiercel_epochs e;
    uri_of(uri, space);
    int rc = tiercel_pool_connect(&pool, uri, TIERCEL_RW, &err);
    if (rc == 0 && r->number == 0) {
        rc = tiercel_cont_create(pool, "c", &uuid, &err);
        rc = rc == 0 ? tiercel_cont_open(&cont, pool, "c", TIERCEL_RW, &err) : rc;
    } else if (rc == 0) {
        rc = tiercel_cont_global2local(&cont, pool, c->handle, c->handle_len, &err);
    }
    if (rc < 0)
        bench_die(err.message, rc);
    epoch = 0;
    if (r->number == 0) {
        ok(tiercel_epoch_hold(cont, &epoch, NULL, NULL));
        c->handle_len = sizeof c->handle;
        ok(tiercel_cont_local2global(cont, c->handle, &c->handle_len));
        name_state(c, &uuid);
    } else {
        ok(tiercel_epoch_query(cont, &e, NULL));
        epoch = e.lhe;
    }
}

static uint64_t ours_write(const struct bench_rank *r, uint64_t round)
{
    (void)round;
    for (size_t at = 0; at < r->len; at += r->piece == BENCH_PIECE ? r->len : r->piece)
        ok(tiercel_array_write(cont, epoch, (struct tiercel_oid){.lo = r->number}, at, r->bytes + at,
                               r->piece == BENCH_PIECE ? r->len : r->piece, NULL));
    ok(tiercel_epoch_flush(cont, epoch, NULL, NULL));
    epoch++;
    return 0;
}

static void ours_commit(void)
{
    ok(tiercel_epoch_commit(cont, epoch - 1, NULL, NULL));
}

static void ours_read(const struct bench_rank *r, uint64_t round, uint8_t *into)
{
    uint64_t len = r->len;
    (void)round;
    ok(tiercel_array_read(cont, epoch - 1, (struct tiercel_oid){.lo = r->number}, 0, into, &len, NULL));
    if (len != r->len)
        bench_die("reading", EIO);
}

/* What the epoch before had. */
static void ours_clean(const struct bench_rank *r, uint64_t round)
{
    (void)round;
    if (r->number == 0)
        ok(tiercel_cont_aggregate(cont, NULL, NULL));
}

static void ours_end(void)
{
    (void)tiercel_cont_close(cont);
    (void)tiercel_pool_disconnect(pool);
}

void bench_wait_epoch(uint64_t wanted)
{
    ok(tiercel_epoch_wait(cont, wanted, NULL, NULL));
}

const struct bench_side bench_ours = {"tiercel", ours_begin, ours_write, ours_commit, ours_read, ours_clean, ours_end};

/* ---- librados ---- */

static rados_t cluster;
static rados_ioctx_t data, meta, state; /* state: placed as the state of our container is */
static uint64_t generation;

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t landed;
    unsigned count;
    size_t bytes;
    int rc;
} flying = {.mutex = PTHREAD_MUTEX_INITIALIZER, .landed = PTHREAD_COND_INITIALIZER};

rados_t bench_connect(void)
{
    rados_t c;
    int rc = rados_create(&c, "admin");
    rc = rc == 0 ? rados_conf_read_file(c, NULL) : rc;
    rc = rc == 0 ? rados_connect(c) : rc;
    if (rc != 0)
        bench_die("the cluster", rc);
    return c;
}

static rados_ioctx_t open_io(const char *name, const char *space)
{
    rados_ioctx_t io;
    int rc = rados_ioctx_create(cluster, name, &io);
    if (rc != 0)
        bench_die(name, rc);
    rados_ioctx_set_namespace(io, space);
    return io;
}

static void set_state(uint64_t from, uint64_t to)
{
    char before[8], after[8], value[64] = {0}; /* the numbers of a handle, or as much */
    const char *const keys[] = {"gen", "handle"}, *const values[] = {after, value};
    const size_t key_lens[] = {3, 6}, lens[] = {sizeof after, sizeof value};
    tl_put_u64(before, from);
    tl_put_u64(after, to);
    rados_write_op_t op = rados_create_write_op();
    if (from > 0)
        rados_write_op_omap_cmp2(op, "gen", LIBRADOS_CMPXATTR_OP_EQ, before, 3, sizeof before, NULL);
    rados_write_op_omap_set2(op, keys, values, key_lens, lens, 2);
    int rc = rados_write_op_operate2(op, state, "raw.state", NULL, 0);
    rados_release_write_op(op);
    if (rc != 0)
        bench_die("comparing and setting", rc);
}

static void raw_begin(const struct bench_rank *r, const char *space, struct bench_cont *c)
{
    cluster = bench_connect();
    data = open_io(DATA, space);
    meta = open_io(META, space);
    state = open_io(META, space);
    rados_ioctx_locator_set_key(state, c->state);
    if (r->number == 0)
        set_state(0, generation = 1);
}

static void land(rados_completion_t done, void *arg)
{
    int rc = rados_aio_get_return_value(done);
    pthread_mutex_lock(&flying.mutex);
    flying.count--;
    flying.bytes -= (size_t)(uintptr_t)arg;
    flying.rc = rc < 0 ? rc : flying.rc; /* a read's is how much */
    pthread_cond_signal(&flying.landed);
    pthread_mutex_unlock(&flying.mutex);
}

/* Until there is room for so many bytes more; all of it: until nothing is on its way. */
static void wait_landed(size_t bytes)
{
    while (flying.count > 0 && (flying.count >= FLYING || flying.bytes + bytes > FLYING_BYTES))
        pthread_cond_wait(&flying.landed, &flying.mutex);
}

static rados_completion_t take_off(size_t bytes)
{
    rados_completion_t done;
    pthread_mutex_lock(&flying.mutex);
    wait_landed(bytes);
    flying.count++;
    flying.bytes += bytes;
    pthread_mutex_unlock(&flying.mutex);
    int rc = rados_aio_create_completion2((void *)(uintptr_t)bytes, land, &done);
    if (rc != 0)
        bench_die("a completion", rc);
    return done;
}

static void land_all(void)
{
    pthread_mutex_lock(&flying.mutex);
    wait_landed(SIZE_MAX / 2);
    int rc = flying.rc;
    pthread_mutex_unlock(&flying.mutex);
    if (rc != 0)
        bench_die("what was on its way", rc);
}

static void piece_name(char out[48], const struct bench_rank *r, uint64_t round, size_t at)
{
    snprintf(out, 48, "raw.%08llx.%u.%08zx", (unsigned long long)round, r->number, at / r->piece);
}

static void write_index(const struct bench_rank *r, uint64_t round)
{
    enum { MANY = 1024 };
    static char text[MANY][48];
    const char *keys[MANY], *values[MANY];
    size_t lens[MANY], n = 0;
    char object[24];
    snprintf(object, sizeof object, "raw.index.%u", r->number);
    for (size_t at = 0; at < r->len; at += r->piece, n++) {
        if (n == MANY)
            bench_die("more pieces than an index of the raw side takes", E2BIG);
        piece_name(text[n], r, round, at);
        keys[n] = values[n] = text[n];
        lens[n] = strlen(text[n]);
    }
    rados_write_op_t op = rados_create_write_op();
    rados_write_op_omap_set2(op, keys, values, lens, lens, n);
    int rc = rados_write_op_operate2(op, meta, object, NULL, 0);
    rados_release_write_op(op);
    if (rc != 0)
        bench_die("an index", rc);
}

static uint64_t raw_write(const struct bench_rank *r, uint64_t round)
{
    char name[48];
    for (size_t at = 0; at < r->len; at += r->piece) {
        size_t len = r->len - at < r->piece ? r->len - at : r->piece;
        rados_completion_t done = take_off(len);
        piece_name(name, r, round, at);
        int rc = rados_aio_write_full(data, name, done, (const char *)r->bytes + at, len);
        if (rc != 0)
            bench_die("writing", rc);
        rados_aio_release(done);
    }
    land_all();
    uint64_t safe = tl_time_mono_ns();
    write_index(r, round);
    return safe;
}

static void raw_commit(void)
{
    set_state(generation, generation + 1);
    generation++;
}

static void raw_read(const struct bench_rank *r, uint64_t round, uint8_t *into)
{
    char name[48];
    for (size_t at = 0; at < r->len; at += r->piece) {
        size_t len = r->len - at < r->piece ? r->len - at : r->piece;
        rados_completion_t done = take_off(len);
        piece_name(name, r, round, at);
        int rc = rados_aio_read(data, name, done, (char *)into + at, len, 0);
        if (rc != 0)
            bench_die("reading", rc);
        rados_aio_release(done);
    }
    land_all();
}

static void raw_clean(const struct bench_rank *r, uint64_t round)
{
    char name[48];
    for (size_t at = 0; at < r->len; at += r->piece) {
        rados_completion_t done = take_off(0);
        piece_name(name, r, round, at);
        int rc = rados_aio_remove(data, name, done);
        if (rc != 0)
            bench_die("removing", rc);
        rados_aio_release(done);
    }
    land_all();
}

static void raw_end(void)
{
    rados_ioctx_destroy(data);
    rados_ioctx_destroy(meta);
    rados_ioctx_destroy(state);
    rados_shutdown(cluster);
}

const struct bench_side bench_raw = {"librados", raw_begin, raw_write, raw_commit, raw_read, raw_clean, raw_end};
