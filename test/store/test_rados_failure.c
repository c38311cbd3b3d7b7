// SPDX-License-Identifier: Apache-2.0
/* Two writers beside each other in one cluster: one through the store, one straight through librados, which writes the same bytes in the same
 * order. An OSD is killed, revived, and stalled meanwhile. What was acknowledged must be there. For how long each of the two stood still is
 * printed, to be compared. Runs inside `tools/rados-dev run`. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/prng.h"
#include "base/time.h"
#include "store/rados.h"

#define PIECES     8u /* of a round */
#define PIECE      (64u << 10)
#define ROUNDS_MAX 20000u
#define URI        "rados:///failure?pool=meta&data=data&timeout=60&lease=20"

struct writer {
    const char *name;
    int (*round)(struct writer *w, uint64_t n);
    struct tl_store *s;
    struct tl_rados *r; /* the same, or another connection */
    uint8_t bytes[PIECE];
    _Atomic uint64_t acknowledged;
    uint64_t ends_ns[ROUNDS_MAX]; /* when each was */
    _Atomic int stop, rc;
    pthread_t thread;
};

static const struct tl_store_id id = {{1}};

static void fill(uint8_t *out, uint64_t number)
{
    for (uint32_t i = 0; i < PIECE; i += 8)
        tl_put_u64(out + i, tl_prng_draw(1, number, i, 0, 0));
}

/* ---- through the store ---- */

static int count_up(void *ctx, struct tl_store_tx *tx)
{
    uint8_t value[8];
    tl_put_u64(value, *(const uint64_t *)ctx);
    return tx->ops->put(tx, (struct tl_slice){"n", 1}, (struct tl_slice){value, sizeof value});
}

static int store_round(struct writer *w, uint64_t n)
{
    int rc = 0;
    for (uint64_t i = 0; rc == 0 && i < PIECES; i++) {
        char key[32];
        fill(w->bytes, n * PIECES + i);
        snprintf(key, sizeof key, "%010llu.%u", (unsigned long long)n, (unsigned)i);
        struct tl_record r = {.key = {key, strlen(key)}, .meta = {"m", 1}, .payload = {w->bytes, PIECE}};
        rc = w->s->ops->write(w->s, &id, &r);
    }
    rc = rc == 0 ? w->s->ops->flush(w->s) : rc;
    return rc == 0 ? w->s->ops->change(w->s, &id, count_up, &n) : rc;
}

/* ---- straight ---- */

static int raw_write(struct writer *w, uint64_t n)
{
    rados_completion_t done[PIECES];
    const struct tl_rados_lib *lib = w->r->lib;
    int rc = 0;
    for (unsigned i = 0; i < PIECES; i++) {
        char name[32];
        fill(w->bytes, n * PIECES + i);
        snprintf(name, sizeof name, "raw.%llu.%u", (unsigned long long)n, i);
        assert_int_equal(lib->aio_create_completion2(NULL, NULL, &done[i]), 0);
        assert_int_equal(lib->aio_write_full(w->r->data[0].io, name, done[i], (const char *)w->bytes, PIECE), 0);
    }
    for (unsigned i = 0; i < PIECES; i++) {
        lib->aio_wait_for_complete(done[i]);
        int one = lib->aio_get_return_value(done[i]);
        rc = rc == 0 ? one : rc;
        lib->aio_release(done[i]);
    }
    return rc;
}

/* Names of 8 pieces into one object, then the comparing and setting of another. */
static int raw_round(struct writer *w, uint64_t n)
{
    const struct tl_rados_lib *lib = w->r->lib;
    char names[PIECES][32], before[8], after[8];
    const char *keys[PIECES], *values[PIECES];
    size_t lens[PIECES], value_lens[PIECES], one = 1;
    int rc = raw_write(w, n);
    for (unsigned i = 0; i < PIECES; i++) {
        snprintf(names[i], sizeof names[i], "%010llu.%u", (unsigned long long)n, i);
        keys[i] = values[i] = names[i];
        lens[i] = value_lens[i] = strlen(names[i]);
    }
    rados_write_op_t op = lib->create_write_op();
    lib->write_op_omap_set2(op, keys, values, lens, value_lens, PIECES);
    rc = rc == 0 ? lib->write_op_operate2(op, w->r->meta, "raw.index", NULL, 0) : rc;
    lib->release_write_op(op);
    tl_put_u64(before, n);
    tl_put_u64(after, n + 1);
    const char *key = "n", *value = after;
    op = lib->create_write_op();
    if (n > 0)
        lib->write_op_cmpxattr(op, "gen", LIBRADOS_CMPXATTR_OP_EQ, before, sizeof before);
    lib->write_op_setxattr(op, "gen", after, sizeof after);
    value_lens[0] = sizeof after;
    lib->write_op_omap_set2(op, &key, &value, &one, value_lens, 1);
    rc = rc == 0 ? lib->write_op_operate2(op, w->r->meta, "raw.state", NULL, 0) : rc;
    lib->release_write_op(op);
    return rc;
}

/* ---- both ---- */

static void *run(void *arg)
{
    struct writer *w = arg;
    for (uint64_t n = 0; n < ROUNDS_MAX && atomic_load(&w->stop) == 0; n++) {
        int rc = w->round(w, n);
        if (rc != 0) {
            atomic_store(&w->rc, rc);
            break;
        }
        w->ends_ns[n] = tl_time_mono_ns();
        atomic_store(&w->acknowledged, n + 1);
    }
    return NULL;
}

static void open_writer(struct writer *w, bool create)
{
    const struct tl_store_config config = {.create = create};
    struct tl_error err = {.code = 0};
    if (tl_store_rados_open(&w->s, URI, &config, &err) != 0)
        fail_msg("%s", err.msg);
    w->r = (struct tl_rados *)w->s;
}

static void rados_dev(const char *verb, const char *what)
{
    char text[256];
    snprintf(text, sizeof text, "$RADOS_TOOL %s $RADOS_DEV %s", verb, what);
    assert_int_equal(system(text), 0); // NOLINT: a test's own words
}

/* The longest time without an acknowledgement, and how long a round takes usually, between two times. */
static double stall_s(const struct writer *w, uint64_t from_ns, uint64_t to_ns)
{
    uint64_t last = from_ns, longest = 0, rounds = atomic_load(&w->acknowledged);
    for (uint64_t i = 0; i < rounds; i++) {
        uint64_t at = w->ends_ns[i];
        if (at > last && last < to_ns) {
            longest = at - last > longest ? at - last : longest;
            last = at;
        }
    }
    return (double)(to_ns > last && to_ns - last > longest ? to_ns - last : longest) / 1e9;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static double median_ms(const struct writer *w, uint64_t to_ns)
{
    static uint64_t took[ROUNDS_MAX];
    uint64_t n = 0, rounds = atomic_load(&w->acknowledged);
    for (uint64_t i = 1; i < rounds && w->ends_ns[i] < to_ns; i++)
        took[n++] = w->ends_ns[i] - w->ends_ns[i - 1];
    qsort(took, n, sizeof *took, compare);
    return n == 0 ? 0 : (double)took[n / 2] / 1e6;
}

/* Until both have written for so long, without a gap of a second at the end. */
static uint64_t go_on(struct writer *const w[2], unsigned seconds)
{
    uint64_t begin = tl_time_mono_ns();
    for (int i = 0; i < 600; i++) {
        usleep(100000);
        uint64_t now = tl_time_mono_ns();
        bool both = true;
        for (int k = 0; k < 2; k++) {
            uint64_t n = atomic_load(&w[k]->acknowledged);
            both = both && n > 0 && w[k]->ends_ns[n - 1] + TL_NS_PER_S > now;
            assert_int_equal(atomic_load(&w[k]->rc), 0);
        }
        if (both && now - begin > seconds * TL_NS_PER_S)
            return now;
    }
    fail_msg("%s", "the writers stand still");
    return 0;
}

struct finding {
    uint64_t next;
    struct tl_store *s;
};

static int check_one(void *ctx, const struct tl_found *f)
{
    static uint8_t is[PIECE], should[PIECE];
    struct finding *x = ctx;
    char key[32];
    snprintf(key, sizeof key, "%010llu.%u", (unsigned long long)(x->next / PIECES), (unsigned)(x->next % PIECES));
    assert_int_equal(f->key.len, strlen(key));
    assert_memory_equal(f->key.at, key, f->key.len);
    assert_int_equal(x->s->ops->read(x->s, f->place, 0, is, PIECE), 0);
    fill(should, x->next);
    assert_memory_equal(is, should, PIECE);
    x->next++;
    return 0;
}

static void report(const char *what, struct writer *const w[2], uint64_t from_ns, uint64_t to_ns)
{
    double through = stall_s(w[0], from_ns, to_ns), straight = stall_s(w[1], from_ns, to_ns);
    printf("%s: no acknowledgement for %.2f s through the store, %.2f s straight\n", what, through, straight);
}

static void what_is_acknowledged_outlives_osds(void **state)
{
    (void)state;
    struct writer *w[2];
    for (int i = 0; i < 2; i++) {
        w[i] = calloc(1, sizeof *w[i]);
        assert_non_null(w[i]);
        w[i]->round = i == 0 ? store_round : raw_round;
        open_writer(w[i], i == 0);
        assert_int_equal(pthread_create(&w[i]->thread, NULL, run, w[i]), 0);
    }
    uint64_t calm = go_on(w, 4);
    rados_dev("kill", "osd.1");
    uint64_t killed = go_on(w, 5);
    rados_dev("revive", "osd.1");
    uint64_t revived = go_on(w, 6);
    rados_dev("stall", "osd.2");
    uint64_t stalled = go_on(w, 10);
    rados_dev("cont", "osd.2");
    (void)go_on(w, 3);
    for (int i = 0; i < 2; i++) {
        atomic_store(&w[i]->stop, 1);
        assert_int_equal(pthread_join(w[i]->thread, NULL), 0);
        assert_int_equal(atomic_load(&w[i]->rc), 0);
    }
    double through = median_ms(w[0], calm), straight = median_ms(w[1], calm);
    printf("a round of %u x %u KiB, index, state: %.1f ms through the store, %.1f ms straight (%.2f x)\n", PIECES,
           PIECE >> 10, through, straight, through / straight);
    report("killed", w, calm, killed);
    report("revived", w, killed, revived);
    report("stalled", w, revived, stalled);
    struct finding x = {.s = w[0]->s};
    const struct tl_slice none = {"", 0};
    assert_int_equal(x.s->ops->scan(x.s, &id, none, none, check_one, &x), 0);
    printf("%llu rounds acknowledged, %llu found\n", (unsigned long long)atomic_load(&w[0]->acknowledged),
           (unsigned long long)x.next / PIECES);
    assert_true(x.next >= atomic_load(&w[0]->acknowledged) * PIECES);
    for (int i = 0; i < 2; i++) {
        w[i]->s->ops->close(w[i]->s);
        free(w[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_acknowledged_outlives_osds)};
    if (getenv("CEPH_CONF") == NULL) {
        puts("no cluster: run by tools/rados-dev");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
