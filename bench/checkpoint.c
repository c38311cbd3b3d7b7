// SPDX-License-Identifier: Apache-2.0
/* Checkpoints of several processes, one after the other, for bench/run checkpoint: with Tiercel, and with what one would do instead.
 *
 *   checkpoint tiercel|raw|files|lmdb|sqlite DIR PROCESSES BYTES COUNT
 *   checkpoint wake DIR COUNT             microseconds from the end of a commit to the return of a waiting process
 *
 * Each process has BYTES of its own, which do not compress; a checkpoint is over when all is durable and marked as complete. Prints JSON: the
 * seconds of each of COUNT checkpoints, behind one that is not counted, those of the commit step, and the largest resident set.
 *
 *   tiercel  an epoch of one container: every process writes an array and flushes, the first one commits
 *   raw      the same device syncs and nothing else: every process appends to a file of its own, allocated before, with O_DIRECT and
 *            io_uring, and syncs; then the first writes 4 KiB into another file and syncs that
 *   files    a file each: write, fsync, rename
 *   lmdb     one environment: a transaction each with values of 1 MiB, and one that marks the checkpoint
 *   sqlite   one database in WAL mode, synchronous=FULL: likewise with blobs of 1 MiB */
#include "checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/prng.h"
#include "base/time.h"

enum { COUNT_MAX = 1000, PROCESSES_MAX = 64 };

struct shared { /* by all processes */
    pthread_barrier_t barrier;
    int64_t whole_ns[COUNT_MAX], commit_ns[COUNT_MAX];
    long rss_kb[PROCESSES_MAX];
    _Atomic uint64_t committed_ns;
    uint8_t handle[4096]; /* of the container */
    size_t handle_len;
};

void bench_die(const char *what, int code)
{
    fprintf(stderr, "checkpoint: %s: %s\n", what, strerror(code < 0 ? -code : code));
    exit(1);
}

static struct shared *share(unsigned processes)
{
    struct shared *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_barrierattr_t attr;
    if (s == MAP_FAILED)
        bench_die("memory", errno);
    pthread_barrierattr_init(&attr);
    pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(&s->barrier, &attr, processes);
    return s;
}

/* ---- Tiercel ---- */

static struct tiercel_pool *pool;
static struct tiercel_cont *cont;
static uint64_t epoch;

static void connect_pool(const char *dir)
{
    char path[4096];
    struct tiercel_error err = {0};
    snprintf(path, sizeof path, "%s/pool", dir);
    if (tiercel_pool_connect(&pool, path, TIERCEL_RW, &err) < 0)
        bench_die(err.message, err.code);
}

static void tiercel_begin(struct bench_rank *r, uint8_t *handle, size_t *len)
{
    char path[4096];
    struct tiercel_error err = {0};
    snprintf(path, sizeof path, "%s/pool", r->dir);
    if (tiercel_pool_create(path, &err) < 0)
        bench_die(err.message, err.code);
    connect_pool(r->dir);
    if (tiercel_cont_create(pool, "c", NULL, &err) < 0 || tiercel_cont_open(&cont, pool, "c", TIERCEL_RW, &err) < 0)
        bench_die(err.message, err.code);
    int rc = tiercel_epoch_hold(cont, &epoch, NULL, NULL);
    if (rc == 0)
        rc = tiercel_cont_local2global(cont, handle, len);
    if (rc < 0)
        bench_die("tiercel", rc);
}

static void tiercel_join(struct bench_rank *r, const uint8_t *handle, size_t len)
{
    struct tiercel_error err = {0};
    struct tiercel_epochs e;
    connect_pool(r->dir);
    if (tiercel_cont_global2local(&cont, pool, handle, len, &err) < 0 || tiercel_epoch_query(cont, &e, NULL) < 0)
        bench_die(err.message, err.code);
    epoch = e.lhe;
}

static void tiercel_write(struct bench_rank *r)
{
    int rc = tiercel_array_write(cont, epoch, (struct tiercel_oid){.lo = r->rank}, 0, r->bytes, r->len, NULL);
    if (rc == 0)
        rc = tiercel_epoch_flush(cont, epoch, NULL, NULL);
    if (rc < 0)
        bench_die(tiercel_why(NULL), rc);
    epoch++;
}

static void tiercel_commit(struct bench_rank *r)
{
    (void)r;
    int rc = tiercel_epoch_commit(cont, epoch - 1, NULL, NULL);
    if (rc < 0)
        bench_die(tiercel_why(NULL), rc);
}

static void tiercel_end(struct bench_rank *r)
{
    (void)r;
    (void)tiercel_cont_close(cont);
    (void)tiercel_pool_disconnect(pool);
}

/* ---- running ---- */

static void begin(struct bench_rank *r, const struct bench_way *way, struct shared *s)
{
    if (way == NULL && r->rank == 0) {
        s->handle_len = sizeof s->handle;
        tiercel_begin(r, s->handle, &s->handle_len);
    } else if (way != NULL && r->rank == 0) {
        way->begin(r);
    }
    pthread_barrier_wait(&s->barrier);
    if (way == NULL && r->rank != 0)
        tiercel_join(r, s->handle, s->handle_len);
    else if (way != NULL)
        way->join(r);
}

static void run_rank(struct bench_rank *r, const struct bench_way *way, struct shared *s, unsigned count)
{
    struct tl_prng prng;
    tl_prng_init(&prng, 1, r->rank);
    r->bytes = mmap(NULL, r->len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (r->bytes == MAP_FAILED)
        bench_die("memory", errno);
    (void)!madvise(r->bytes, r->len,
                   MADV_HUGEPAGE); /* raw is twice as fast with it here: fewer, larger parts for the device */
    for (size_t i = 0; i + 8 <= r->len; i += 8) {
        uint64_t word = tl_prng_next(&prng);
        memcpy(r->bytes + i, &word, 8);
    }
    begin(r, way, s);
    for (unsigned i = 0; i <= count; i++) { /* the first one is not counted */
        memcpy(r->bytes, &i, sizeof i);
        pthread_barrier_wait(&s->barrier);
        uint64_t start = tl_time_mono_ns();
        way == NULL ? tiercel_write(r) : way->write(r);
        pthread_barrier_wait(&s->barrier);
        uint64_t written = tl_time_mono_ns();
        if (r->rank == 0) {
            way == NULL ? tiercel_commit(r) : way->commit(r);
            if (i > 0) {
                uint64_t now = tl_time_mono_ns();
                s->whole_ns[i - 1] = (int64_t)(now - start);
                s->commit_ns[i - 1] = (int64_t)(now - written);
            }
        }
    }
    pthread_barrier_wait(&s->barrier);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    s->rss_kb[r->rank] = usage.ru_maxrss;
    way == NULL ? tiercel_end(r) : way->end(r);
}

static void wait_for_all(unsigned processes)
{
    for (unsigned i = 0; i < processes; i++) {
        int status = 0;
        if (wait(&status) < 0 || status != 0)
            exit(1); /* it has said why; the others wait at a barrier and are ended with us */
    }
}

static void print_list(const char *name, const int64_t *ns, unsigned count)
{
    printf("\"%s\": [", name);
    for (unsigned i = 0; i < count; i++)
        printf("%s%.6f", i == 0 ? "" : ", ", (double)ns[i] / 1e9);
    printf("], ");
}

static int run(const char *name, const char *dir, unsigned processes, size_t len, unsigned count)
{
    const struct bench_way *way = bench_way_find(name);
    struct shared *s = share(processes);
    if (way == NULL && strcmp(name, "tiercel") != 0)
        bench_die(name, EINVAL);
    for (unsigned i = 0; i < processes; i++) {
        pid_t pid = fork();
        if (pid < 0)
            bench_die("fork", errno);
        if (pid == 0) {
            struct bench_rank r = {.dir = dir, .rank = i, .len = len};
            bench_with_parent();
            run_rank(&r, way, s, count);
            _exit(0);
        }
    }
    wait_for_all(processes);
    long rss = 0;
    for (unsigned i = 0; i < processes; i++)
        rss = s->rss_kb[i] > rss ? s->rss_kb[i] : rss;
    printf("{\"way\": \"%s\", ", name);
    print_list("seconds", s->whole_ns, count);
    print_list("commit_seconds", s->commit_ns, count);
    printf("\"rss_kb\": %ld, \"data_kb\": %zu}\n", rss, len >> 10);
    return 0;
}

/* ---- a consumer that waits ---- */

static void consume(const char *dir, struct shared *s, unsigned count)
{
    struct tiercel_error err = {0};
    connect_pool(dir);
    if (tiercel_cont_open(&cont, pool, "c", TIERCEL_RO, &err) < 0)
        bench_die(err.message, err.code);
    for (unsigned i = 0; i < count; i++) {
        pthread_barrier_wait(&s->barrier);
        int rc = tiercel_epoch_wait(cont, i + 1, NULL, NULL);
        uint64_t now = tl_time_mono_ns();
        if (rc < 0)
            bench_die(tiercel_why(NULL), rc);
        pthread_barrier_wait(&s->barrier);                 /* the producer has left its time */
        s->whole_ns[i] = (int64_t)(now - s->committed_ns); /* below 0: it was awake before commit had returned */
    }
}

static int wake(const char *dir, unsigned count)
{
    struct shared *s = share(2);
    struct bench_rank r = {.dir = dir};
    size_t len = sizeof s->handle;
    uint8_t value[64] = {0};
    pid_t pid = fork(); /* before anything is open */
    if (pid < 0)
        bench_die("fork", errno);
    if (pid == 0) {
        bench_with_parent();
        pthread_barrier_wait(&s->barrier);
        consume(dir, s, count);
        _exit(0);
    }
    tiercel_begin(&r, s->handle, &len);
    pthread_barrier_wait(&s->barrier);
    for (unsigned i = 0; i < count; i++) {
        pthread_barrier_wait(&s->barrier);
        const struct timespec pause = {.tv_nsec =
                                           5000000}; /* the consumer sleeps by then; if not, its time is only shorter */
        nanosleep(&pause, NULL);
        int rc = tiercel_kv_put(cont, epoch, (struct tiercel_oid){.lo = 1}, (struct tiercel_bytes){"k", 1}, value,
                                sizeof value, 0, NULL);
        if (rc == 0)
            rc = tiercel_epoch_commit(cont, epoch, NULL, NULL);
        s->committed_ns = tl_time_mono_ns();
        if (rc < 0)
            bench_die(tiercel_why(NULL), rc);
        epoch++;
        pthread_barrier_wait(&s->barrier);
    }
    wait_for_all(1);
    printf("{\"way\": \"wake\", ");
    print_list("seconds", s->whole_ns, count);
    printf("\"count\": %u}\n", count);
    tiercel_end(&r);
    return 0;
}

int main(int argc, char **argv)
{
    unsigned long count = argc > 1 ? strtoul(argv[argc - 1], NULL, 10) : 0;
    unsigned long processes = argc == 6 ? strtoul(argv[3], NULL, 10) : 1;
    unsigned long long len = argc == 6 ? strtoull(argv[4], NULL, 10) : 1;
    if (count == 0 || count > COUNT_MAX || processes == 0 || processes > PROCESSES_MAX || len == 0 ||
        (argc != 6 && (argc != 4 || strcmp(argv[1], "wake") != 0))) {
        fputs("checkpoint: see the head of bench/checkpoint.c\n", stderr);
        return 2;
    }
    return argc == 4 ? wake(argv[2], (unsigned)count)
                     : run(argv[1], argv[2], (unsigned)processes, (size_t)len, (unsigned)count);
}
