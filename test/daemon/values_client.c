// SPDX-License-Identifier: Apache-2.0
/* A client of a daemon's values, for values_test.py and bench/run cache: values_client WHAT [N]. Prints "ok", or what is wrong. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tiercel/cache.h>
#include <time.h>
#include <unistd.h>

#define SIZE  4096u
#define LARGE (40u << 20)
#define BATCH 1024u
#define COUNT 2000u

static struct tiercel_cache *cache;
static unsigned char bytes[LARGE];

static void must(int ok, const char *what, int code)
{
    if (ok)
        return;
    printf("%s: %s\n", what, tiercel_strerror(code));
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void open_cache(const char *job)
{
    struct tiercel *t;
    struct tiercel_error err = {.message = ""};
    int rc = tiercel_open(&t, NULL, TIERCEL_ANY_RANK, 20000, &err);
    must(rc == 0, err.message, rc);
    rc = tiercel_cache_open(&cache, t, job, &err);
    must(rc == 0, err.message, rc);
    tiercel_close(t);
}

static struct tiercel_key key_of(unsigned n)
{
    return tiercel_key(&n, sizeof n);
}

static void make(unsigned n, size_t size)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)(n * 31 + i * 7 + (i >> 9));
}

static size_t size_of(unsigned n)
{
    return n % 3 == 0 ? 100 + n % 700 : n % 3 == 1 ? SIZE : 20000;
}

static int is_right(const struct tiercel_value *v, unsigned n)
{
    make(n, size_of(n));
    return v->size == size_of(n) && memcmp(v->bytes, bytes, v->size) == 0;
}

static void put(unsigned n, unsigned flags)
{
    make(n, size_of(n));
    const struct tiercel_put p = {
        .key = key_of(n), .bytes = bytes, .size = size_of(n), .label = "/values/some", .flags = flags};
    int rc = tiercel_cache_put(cache, &p);
    must(rc == 0, "put", rc);
}

static void put_and_get(void)
{
    struct tiercel_value v;
    open_cache("test-job");
    for (unsigned n = 0; n < 300; n++)
        put(n, 0);
    for (unsigned n = 0; n < 300; n++) {
        int rc = tiercel_cache_get(cache, key_of(n), &v);
        must(rc == 0 && is_right(&v, n), "get", rc);
        tiercel_cache_release(cache, &v);
    }
    must(tiercel_cache_get(cache, key_of(9999), &v) == -ENOENT, "absent", 0);
    struct tiercel_put p = {.key = key_of(1), .bytes = "x", .size = 1};
    must(tiercel_cache_put(cache, &p) == -EEXIST, "again", 0);
    p.flags = TIERCEL_CACHE_CHECK | TIERCEL_CACHE_REPLACE;
    must(tiercel_cache_put(cache, &p) == -EBADMSG, "digest", 0);
    p.digest = tiercel_key("x", 1);
    must(tiercel_cache_put(cache, &p) == 0, "right digest", 0);
    must(tiercel_cache_drop(cache, key_of(1)) == 0 && tiercel_cache_has(cache, key_of(1)) == 0, "drop", 0);
    must(tiercel_cache_set_class(cache, key_of(2), TIERCEL_PINNED) == 0, "pin", 0);
    must(tiercel_cache_set_class(cache, key_of(1), TIERCEL_PINNED) == -ENOENT, "pin absent", 0);
    p.size = TIERCEL_CACHE_PUT_MAX + 1;
    p.bytes = bytes;
    must(tiercel_cache_put(cache, &p) == -EFBIG, "too large", 0);
}

static void large(void)
{
    struct tiercel_value v;
    unsigned fill, second;
    open_cache(NULL);
    make(5, LARGE);
    struct tiercel_put p = {.key = key_of(70000), .flags = TIERCEL_CACHE_CHECK, .digest = tiercel_key(bytes, LARGE)};
    must(tiercel_cache_begin(cache, &p, LARGE, &fill) == 0, "begin", 0);
    must(tiercel_cache_begin(cache, &p, LARGE, &second) == -EALREADY, "begin twice", 0);
    int rc = tiercel_cache_write(cache, fill, bytes, LARGE);
    must(rc == 0, "write", rc);
    must(tiercel_cache_get(cache, p.key, &v) == -ENOENT, "half filled", 0);
    rc = tiercel_cache_commit(cache, fill);
    must(rc == 0, "commit", rc);
    rc = tiercel_cache_get(cache, p.key, &v);
    must(rc == 0 && v.size == LARGE && memcmp(v.bytes, bytes, LARGE) == 0, "get", rc);
    must(tiercel_cache_commit(cache, fill) == -EINVAL, "commit twice", 0);
}

/* Holds values until its input ends; then they are still right. */
static void hold(unsigned count)
{
    struct tiercel_value *held = calloc(count, sizeof *held);
    open_cache(NULL);
    for (unsigned n = 0; n < count; n++) {
        put(n, TIERCEL_CACHE_REPLACE);
        int rc = tiercel_cache_get(cache, key_of(n), &held[n]);
        must(rc == 0, "hold", rc);
    }
    printf("held\n");
    fflush(stdout);
    (void)!getchar();
    for (unsigned n = 0; n < count; n++) {
        must(is_right(&held[n], n), "no longer what it was", 0);
        tiercel_cache_release(cache, &held[n]);
    }
    free(held);
}

/* Is in the middle of a fill until its input ends. */
static void fill_and_wait(void)
{
    unsigned fill;
    open_cache(NULL);
    const struct tiercel_put p = {.key = key_of(80000)};
    must(tiercel_cache_begin(cache, &p, LARGE, &fill) == 0, "begin", 0);
    must(tiercel_cache_write(cache, fill, bytes, LARGE / 2) == 0, "write", 0);
    printf("filling\n");
    fflush(stdout);
    (void)!getchar();
}

/* Waits for the fill of another; when that one dies, it is ours. */
static void wait_and_fill(void)
{
    unsigned fill;
    open_cache(NULL);
    struct tiercel_put p = {.key = key_of(80000)};
    must(tiercel_cache_begin(cache, &p, 3, &fill) == -EALREADY, "begin", 0);
    p.flags = TIERCEL_CACHE_WAIT;
    printf("waiting\n");
    fflush(stdout);
    int rc = tiercel_cache_begin(cache, &p, 3, &fill);
    must(rc == 0, "begin after the other died", rc);
    must(tiercel_cache_write(cache, fill, "abc", 3) == 0 && tiercel_cache_commit(cache, fill) == 0, "fill", 0);
}

/* How many of hold's values are there, each right. */
static void count(unsigned most)
{
    struct tiercel_value v;
    unsigned found = 0;
    open_cache(NULL);
    for (unsigned n = 0; n < most; n++)
        if (tiercel_cache_get(cache, key_of(n), &v) == 0) {
            must(is_right(&v, n), "wrong bytes", 0);
            tiercel_cache_release(cache, &v);
            found++;
        }
    printf("%u found\n", found);
}

/* Daemons come and go, one with each line of input: what is held stays, gets and puts go on, fills are lost and say so. */
static void outlive(unsigned count)
{
    static struct tiercel_value held[50];
    unsigned fill;
    int c;
    open_cache("outlives");
    for (unsigned n = 0; n < 50; n++) {
        put(n, 0);
        must(tiercel_cache_get(cache, key_of(n), &held[n]) == 0, "hold", 0);
    }
    for (unsigned turn = 0; turn < count; turn++) {
        struct tiercel_put p = {.key = key_of(70000 + turn), .bytes = "abc", .size = 3};
        const struct tiercel_put large = {.key = key_of(60000 + turn)};
        struct tiercel_value v;
        must(tiercel_cache_begin(cache, &large, LARGE / 2, &fill) == 0, "begin", 0);
        printf("ready\n");
        fflush(stdout);
        while ((c = getchar()) != '\n' && c != EOF)
            continue;
        int rc = tiercel_cache_get(cache, key_of(1), &v); /* others have pushed it out by now */
        must(rc == 0 ? is_right(&v, 1) : rc == -ENOENT, "get without a session", rc);
        if (rc == 0)
            tiercel_cache_release(cache, &v);
        must(tiercel_cache_write(cache, fill, bytes, 10) == -ECONNRESET, "a fill goes on", 0);
        rc = tiercel_cache_put(cache, &p);
        must(rc == -ECONNRESET, "a put while a fill is lost", rc);
        rc = tiercel_cache_commit(cache, fill);
        must(rc == -ECONNRESET, "commit of a lost fill", rc);
        rc = tiercel_cache_put(cache, &p);
        must(rc == 0, "put to the next daemon", rc);
        must(tiercel_cache_get(cache, p.key, &v) == 0 && memcmp(v.bytes, "abc", 3) == 0, "get of that", 0);
        tiercel_cache_release(cache, &v);
        for (unsigned n = 0; n < 50; n++)
            must(is_right(&held[n], n), "no longer what it was", 0);
        put(1, TIERCEL_CACHE_REPLACE); /* for the next turn: the daemon may have begun with nothing */
    }
    for (unsigned n = 0; n < 50; n++)
        tiercel_cache_release(cache, &held[n]);
}

static void wash(unsigned mib)
{
    open_cache(NULL);
    for (unsigned n = 0; n < mib * 50; n++)
        put(100000 + n * 3 + 1, TIERCEL_CACHE_REPLACE);
}

static void rates(void)
{
    static struct tiercel_put puts[BATCH];
    struct tiercel_value v;
    unsigned long done = 0, sum = 0;
    unsigned n = (unsigned)getpid() % 500 * 8000000; /* other keys than those of the run before */
    open_cache(NULL);
    double start = now();
    while (now() - start < 1.5) {
        for (unsigned i = 0; i < BATCH; i++)
            puts[i] = (struct tiercel_put){.key = key_of(1000000 + n++), .bytes = bytes + i * 64, .size = SIZE};
        int64_t put_now = tiercel_cache_put_many(cache, puts, BATCH, NULL);
        must(put_now >= 0, "put many", (int)put_now);
        done += (unsigned long)put_now;
    }
    printf("{\"what\": \"put 4 KiB, batched\", \"per_s\": %.0f}\n", (double)done / (now() - start));
    unsigned first = 1000000 + n - COUNT;
    done = 0;
    start = now();
    while (now() - start < 1)
        for (unsigned i = 0; i < COUNT; i++) {
            if (tiercel_cache_get(cache, key_of(first + i), &v) != 0)
                continue;
            sum += ((const unsigned char *)v.bytes)[0];
            tiercel_cache_release(cache, &v);
            done++;
        }
    printf("{\"what\": \"hit, look up and map\", \"per_s\": %.0f, \"sum\": %lu}\n", (double)done / (now() - start),
           sum % 10);
    done = 0;
    start = now();
    while (now() - start < 1) {
        const struct tiercel_put p = {.key = key_of(1000000 + n++), .bytes = bytes, .size = SIZE};
        must(tiercel_cache_put(cache, &p) == 0, "put", 0);
        done++;
    }
    printf("{\"what\": \"put 4 KiB, one by one\", \"per_s\": %.0f}\n", (double)done / (now() - start));
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    unsigned n = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 1;
    if (strcmp(what, "put-and-get") == 0)
        put_and_get();
    else if (strcmp(what, "large") == 0)
        large();
    else if (strcmp(what, "hold") == 0)
        hold(n);
    else if (strcmp(what, "fill-and-wait") == 0)
        fill_and_wait();
    else if (strcmp(what, "wait-and-fill") == 0)
        wait_and_fill();
    else if (strcmp(what, "count") == 0)
        count(n);
    else if (strcmp(what, "wash") == 0)
        wash(n);
    else if (strcmp(what, "outlive") == 0)
        outlive(n);
    else if (strcmp(what, "rates") == 0)
        rates();
    else
        return 2;
    tiercel_cache_close(cache);
    if (strcmp(what, "rates") != 0)
        printf("ok\n");
    return 0;
}
