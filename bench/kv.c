// SPDX-License-Identifier: Apache-2.0
/* Small values under keys, for bench/run kv: Tiercel's, and the same in an LMDB of its own.
 *
 *   kv tiercel|lmdb DIR COUNT VALUE_BYTES
 *
 * Puts COUNT values under keys of 16 bytes in one epoch, or one transaction, until they are durable and final; then gets COUNT of them, by random keys,
 * several times, with a copy of each into memory of the caller. Prints JSON: the seconds of both, of the commit alone, and the largest resident set.
 * LMDB's gets are in one transaction, which is the fastest it has. */
#include <errno.h>
#include <inttypes.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/prng.h"
#include "base/time.h"
#include "tiercel/pool.h"

#define MAP    (16ull << 30)
#define ROUNDS 6 /* of gets; the first one warms */

struct run {
    const char *dir;
    unsigned long count;
    size_t len;
    uint8_t *value, *copy;
    uint64_t put_ns, commit_ns, get_ns[ROUNDS];
    uint64_t found;
    long anon_kb; /* memory that is not a mapped file's */
};

static void die(const char *what, int code)
{
    fprintf(stderr, "kv: %s: %s\n", what, strerror(code < 0 ? -code : code));
    exit(1);
}

static long anon_kb(void)
{
    char line[256];
    long kb = 0;
    FILE *f = fopen("/proc/self/status", "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "RssAnon:", 8) == 0)
            kb = strtol(line + 8, NULL, 10);
    if (f != NULL)
        fclose(f);
    return kb;
}

static void key_of(unsigned long i, char out[17])
{
    snprintf(out, 17, "%016lx", (unsigned long)tl_prng_mix(i));
}

/* ---- Tiercel ---- */

static void check(int rc)
{
    if (rc < 0)
        die(tiercel_why(NULL), rc);
}

static void run_tiercel(struct run *r)
{
    char path[4096], key[17];
    struct tiercel_pool *pool = NULL;
    struct tiercel_cont *cont = NULL;
    struct tiercel_error err = {0};
    const struct tiercel_oid oid = {.lo = 1};
    struct tl_prng prng;
    uint64_t epoch = 0;
    snprintf(path, sizeof path, "%s/pool", r->dir);
    if (tiercel_pool_create(path, &err) < 0 || tiercel_pool_connect(&pool, path, TIERCEL_RW, &err) < 0 ||
        tiercel_cont_create(pool, "c", NULL, &err) < 0 || tiercel_cont_open(&cont, pool, "c", TIERCEL_RW, &err) < 0)
        die(err.message, err.code);
    check(tiercel_epoch_hold(cont, &epoch, NULL, NULL));
    uint64_t start = tl_time_mono_ns();
    for (unsigned long i = 0; i < r->count; i++) {
        key_of(i, key);
        memcpy(r->value, &i, sizeof i);
        check(tiercel_kv_put(cont, epoch, oid, (struct tiercel_bytes){key, 16}, r->value, r->len, 0, NULL));
    }
    check(tiercel_epoch_flush(cont, epoch, NULL, NULL));
    uint64_t flushed = tl_time_mono_ns();
    check(tiercel_epoch_commit(cont, epoch, NULL, NULL));
    r->commit_ns = tl_time_mono_ns() - flushed;
    r->put_ns = tl_time_mono_ns() - start;
    for (int round = 0; round < ROUNDS; round++) {
        tl_prng_init(&prng, 1, 0);
        start = tl_time_mono_ns();
        for (unsigned long i = 0; i < r->count; i++) {
            uint64_t len = r->len;
            key_of((unsigned long)(tl_prng_next(&prng) % r->count), key);
            check(tiercel_kv_get(cont, epoch, oid, (struct tiercel_bytes){key, 16}, r->copy, &len, 0, NULL));
            r->found += len == r->len;
        }
        r->get_ns[round] = tl_time_mono_ns() - start;
    }
    r->anon_kb = anon_kb();
    check(tiercel_cont_close(cont));
    check(tiercel_pool_disconnect(pool));
}

/* ---- LMDB ---- */

static void lmdb_check(int rc)
{
    if (rc != 0)
        die(mdb_strerror(rc), rc > 0 ? rc : EIO);
}

static void run_lmdb(struct run *r)
{
    char path[4096], key[17];
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    struct tl_prng prng;
    snprintf(path, sizeof path, "%s/lmdb", r->dir);
    lmdb_check(mdb_env_create(&env));
    lmdb_check(mdb_env_set_mapsize(env, MAP));
    lmdb_check(mdb_env_open(env, path, MDB_NOSUBDIR, 0600));
    uint64_t start = tl_time_mono_ns();
    lmdb_check(mdb_txn_begin(env, NULL, 0, &txn));
    lmdb_check(mdb_dbi_open(txn, NULL, 0, &dbi));
    for (unsigned long i = 0; i < r->count; i++) {
        key_of(i, key);
        memcpy(r->value, &i, sizeof i);
        MDB_val k = {16, key}, v = {r->len, r->value};
        lmdb_check(mdb_put(txn, dbi, &k, &v, 0));
    }
    uint64_t written = tl_time_mono_ns();
    lmdb_check(mdb_txn_commit(txn));
    r->commit_ns = tl_time_mono_ns() - written;
    r->put_ns = tl_time_mono_ns() - start;
    for (int round = 0; round < ROUNDS; round++) {
        tl_prng_init(&prng, 1, 0);
        start = tl_time_mono_ns();
        lmdb_check(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn));
        for (unsigned long i = 0; i < r->count; i++) {
            key_of((unsigned long)(tl_prng_next(&prng) % r->count), key);
            MDB_val k = {16, key}, v;
            lmdb_check(mdb_get(txn, dbi, &k, &v));
            memcpy(r->copy, v.mv_data, v.mv_size);
            r->found += v.mv_size == r->len;
        }
        mdb_txn_abort(txn);
        r->get_ns[round] = tl_time_mono_ns() - start;
    }
    r->anon_kb = anon_kb();
    mdb_env_close(env);
}

static int compare(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static uint64_t median(uint64_t *ns)
{
    qsort(ns, ROUNDS - 1, sizeof *ns, compare);
    return ns[(ROUNDS - 1) / 2];
}

int main(int argc, char **argv)
{
    struct run r = {.dir = argc == 5 ? argv[2] : NULL};
    r.count = argc == 5 ? strtoul(argv[3], NULL, 10) : 0;
    r.len = argc == 5 ? strtoul(argv[4], NULL, 10) : 0;
    if (r.count == 0 || r.len < sizeof r.count) {
        fputs("kv: see the head of bench/kv.c\n", stderr);
        return 2;
    }
    r.value = malloc(r.len);
    r.copy = malloc(r.len);
    if (r.value == NULL || r.copy == NULL)
        die("memory", ENOMEM);
    struct tl_prng prng;
    tl_prng_init(&prng, 7, 0);
    for (size_t i = 0; i < r.len; i++)
        r.value[i] = (uint8_t)tl_prng_next(&prng);
    if (strcmp(argv[1], "lmdb") == 0)
        run_lmdb(&r);
    else
        run_tiercel(&r);
    if (r.found != ROUNDS * r.count)
        die("a value has another size", EIO);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"way\": \"%s\", \"puts\": %.6f, \"commit\": %.6f, \"gets\": %.6f, \"rss_kb\": %ld, \"anon_kb\": %ld}\n",
           argv[1], (double)r.put_ns / 1e9, (double)r.commit_ns / 1e9, (double)median(&r.get_ns[1]) / 1e9,
           usage.ru_maxrss, r.anon_kb);
    return 0;
}
