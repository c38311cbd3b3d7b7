// SPDX-License-Identifier: Apache-2.0
/* storebench DIRECTORY [ROUNDS [values|small|large|get]]: the embedded store beside the same work done by hand (raw.h), in turns; medians. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/prng.h"
#include "raw.h"
#include "store/store.h"

#define VALUES     10000u
#define VALUE      4096u
#define ROUNDS_MAX 101u

static const struct tl_store_id id = {{1}};
static char pool[4096];

static struct tl_store *open_pool(bool create)
{
    const struct tl_store_config config = {.create = create};
    struct tl_store *s;
    struct tl_error err;
    if (tl_store_embedded_open(&s, pool, &config, &err) == 0)
        return s;
    fprintf(stderr, "%s\n", err.msg);
    exit(1);
}

static void ok(int rc, const char *what)
{
    errno = -rc;
    raw_check(rc == 0, what);
}

static int put_something(void *ctx, struct tl_store_tx *tx)
{
    (void)ctx;
    return tx->ops->put(tx, (struct tl_slice){"k", 1}, (struct tl_slice){"v", 1});
}

static void destroy(void)
{
    struct tl_error err;
    if (tl_store_embedded_destroy(pool, &err) != 0)
        fprintf(stderr, "%s\n", err.msg);
}

/* ---- keys and values ---- */

static void write_values(struct tl_store *s, const uint8_t *value)
{
    char key[24];
    for (uint32_t i = 0; i < VALUES; i++) {
        snprintf(key, sizeof key, "key-%016u", i);
        struct tl_record r = {.key = {key, 20}, .meta = {"", 0}, .payload = {value, VALUE}};
        ok(s->ops->write(s, &id, &r), "write");
    }
    ok(s->ops->flush(s), "flush");
}

static double put_values(bool with_change)
{
    struct tl_store *s = open_pool(true);
    uint8_t *value = raw_data(0, VALUE);
    double start = raw_now();
    write_values(s, value);
    if (with_change)
        ok(s->ops->change(s, &id, put_something, NULL), "change");
    double seconds = raw_now() - start;
    s->ops->close(s);
    destroy();
    free(value);
    return seconds;
}

struct got {
    struct tl_store *s;
    uint8_t *into;
    int rc;
};

static int get_one(void *ctx, const struct tl_found *f)
{
    struct got *g = ctx;
    g->rc = g->s->ops->read(g->s, f->place, 0, g->into, f->payload_len);
    return 1;
}

static double get_values(uint32_t gets)
{
    struct tl_store *s = open_pool(true);
    uint8_t *value = raw_data(0, VALUE);
    struct tl_prng p;
    char key[24];
    write_values(s, value);
    ok(s->ops->change(s, &id, put_something, NULL), "change");
    struct got g = {s, value, 0};
    double start = 0;
    for (int warm = 1; warm >= 0; warm--) {
        tl_prng_init(&p, 2, 0);
        start = raw_cpu();
        for (uint32_t i = 0; i < gets; i++) {
            snprintf(key, sizeof key, "key-%016u", (unsigned)tl_prng_below(&p, VALUES));
            struct tl_slice prefix = {key, 20};
            ok(s->ops->scan(s, &id, prefix, prefix, get_one, &g) - 1, "scan");
            ok(g.rc, "read");
        }
    }
    double seconds = raw_cpu() - start;
    s->ops->close(s);
    destroy();
    free(value);
    return seconds;
}

/* ---- checkpoints ---- */

struct rank {
    struct tl_store *s;
    uint8_t *data;
    uint32_t number;
};

static size_t rank_bytes;

static void work(void *ctx, uint32_t number, void *own)
{
    static unsigned times;
    struct rank *r = own;
    (void)ctx;
    times++;
    for (size_t at = 0; at < rank_bytes; at += 1 << 20) {
        char key[32];
        snprintf(key, sizeof key, "%u.%u.%zu", times, number, at);
        struct tl_record record = {.key = {key, strlen(key)}, .meta = {"", 0}, .payload = {r->data + at, 1 << 20}};
        ok(r->s->ops->write(r->s, &id, &record), "write");
    }
    ok(r->s->ops->flush(r->s), "flush");
}

static void *begin(void *ctx, uint32_t number)
{
    struct rank *r = calloc(1, sizeof *r);
    (void)ctx;
    raw_check(r != NULL, "memory");
    r->s = open_pool(false);
    r->data = raw_data(number, rank_bytes);
    r->number = number;
    work(ctx, number, r); /* the first of many checkpoints is not timed: the next one finds its file open */
    ok(r->s->ops->change(r->s, &id, put_something, NULL), "change");
    return r;
}

static void commit(void *ctx, void *own)
{
    struct rank *r = own;
    (void)ctx;
    ok(r->s->ops->change(r->s, &id, put_something, NULL), "change");
}

static void end(void *ctx, uint32_t number, void *own)
{
    (void)ctx, (void)number;
    ((struct rank *)own)->s->ops->close(((struct rank *)own)->s);
}

static double checkpoint(uint32_t ranks, size_t bytes)
{
    const struct raw_ranks what = {begin, work, commit, end, NULL};
    struct tl_store *s = open_pool(true);
    s->ops->close(s);
    rank_bytes = bytes;
    double seconds = raw_run_ranks(ranks, &what);
    destroy();
    return seconds;
}

/* ---- in turns ---- */

static void compare_checkpoints(const char *directory, size_t bytes, uint32_t rounds)
{
    double ours[ROUNDS_MAX], direct[ROUNDS_MAX], files[ROUNDS_MAX];
    for (uint32_t i = 0; i < rounds; i++) {
        direct[i] = raw_direct(directory, 4, bytes);
        ours[i] = checkpoint(4, bytes);
        files[i] = raw_files(directory, 4, bytes);
    }
    double a = raw_median(ours, rounds), b = raw_median(direct, rounds), c = raw_median(files, rounds);
    printf("4 x %3zu MiB: store %7.2f ms, raw %7.2f ms (%.2f of its speed), files %7.2f ms (%.2f)\n", bytes >> 20,
           a * 1e3, b * 1e3, b / a, c * 1e3, c / a);
}

static void compare_values(const char *directory, uint32_t rounds)
{
    enum { GETS = 200000 };
    double put[ROUNDS_MAX], put_commit[ROUNDS_MAX], raw_put[ROUNDS_MAX], get[ROUNDS_MAX], raw_one[ROUNDS_MAX],
        raw_each[ROUNDS_MAX];
    for (uint32_t i = 0; i < rounds; i++) {
        raw_put[i] = raw_lmdb_put(directory, VALUES, VALUE);
        put[i] = put_values(false);
        put_commit[i] = put_values(true);
        raw_one[i] = raw_lmdb_get(directory, VALUES, VALUE, GETS, false);
        raw_each[i] = raw_lmdb_get(directory, VALUES, VALUE, GETS, true);
        get[i] = get_values(GETS);
    }
    double a = raw_median(put, rounds), b = raw_median(put_commit, rounds), c = raw_median(raw_put, rounds);
    printf("put %u x %u bytes: store %.1f ms flushed, %.1f ms committed; LMDB %.1f ms (%.2f, %.2f of its speed)\n",
           VALUES, VALUE, a * 1e3, b * 1e3, c * 1e3, c / a, c / b);
    a = raw_median(get, rounds), b = raw_median(raw_one, rounds), c = raw_median(raw_each, rounds);
    printf("get: store %.2f us; LMDB %.2f us (%.2f of its speed), a snapshot each %.2f us (%.2f)\n", a / GETS * 1e6,
           b / GETS * 1e6, b / a, c / GETS * 1e6, c / a);
}

int main(int argc, char **argv)
{
    uint32_t rounds = argc > 2 ? (uint32_t)atoi(argv[2]) : 5;
    if (argc < 2 || rounds == 0 || rounds > ROUNDS_MAX) {
        fprintf(stderr, "storebench DIRECTORY [ROUNDS up to %u [values|small|large|get]]\n", ROUNDS_MAX);
        return 2;
    }
    snprintf(pool, sizeof pool, "%s/pool", argv[1]);
    const char *part = argc > 3 ? argv[3] : "all";
    bool all = strcmp(part, "all") == 0;
    if (all || strcmp(part, "values") == 0)
        compare_values(argv[1], rounds);
    if (all || strcmp(part, "small") == 0)
        compare_checkpoints(argv[1], 1 << 20, rounds * 2 <= ROUNDS_MAX ? rounds * 2 : rounds);
    if (all || strcmp(part, "large") == 0)
        compare_checkpoints(argv[1], 64 << 20, rounds);
    if (strcmp(part, "get") == 0)
        printf("get: %.2f us\n", get_values(1000000));
    return 0;
}
