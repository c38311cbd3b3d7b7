// SPDX-License-Identifier: Apache-2.0
/* A container in a Ceph cluster beside librados by itself, for bench/run rados. CEPH_CONF names the cluster; NAME is that of a new pool.
 *
 *   rados rounds NAME both|ours RANKS COUNT BYTES...
 *                             checkpoints of that many processes, each with BYTES of its own, COUNT of each size, in turns: all write until it is
 *                             safe, then the first commits. both: librados takes turns with us; ours: it only commits, behind what we have written. Seconds: data: until all payloads are
 *                             safe, ours with their index; commit: that step; round: all of it; read: all of it once more
 *   rados commits NAME COUNT  one process: an empty epoch is committed, then librados compares and sets an omap once, in turns. Seconds of each
 *   rados wake NAME COUNT     seconds from the end of a commit until another process that waits for it goes on
 *   rados stall NAME KILLS    see rados_stall.c
 *
 * Prints JSON. What is not counted: the first of everything, which finds nothing connected yet. */
#include "rados.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/prng.h"
#include "base/time.h"

enum { COUNT_MAX = 1000, RANKS_MAX = 64, SIZES_MAX = 8, SIDES = 2 };

void bench_die(const char *what, int code)
{
    fprintf(stderr, "bench-rados: %s: %s\n", what, strerror(code < 0 ? -code : code));
    exit(1);
}

/* ---- processes ---- */

void *bench_share(size_t size)
{
    void *s = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (s == MAP_FAILED)
        bench_die("memory", errno);
    return s;
}

void bench_barrier_init(pthread_barrier_t *b, unsigned count)
{
    pthread_barrierattr_t attr;
    pthread_barrierattr_init(&attr);
    pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(b, &attr, count);
    pthread_barrierattr_destroy(&attr);
}

void bench_fork(void (*run)(void *arg, unsigned number), void *arg, unsigned number)
{
    pid_t parent = getpid(), pid = fork();
    if (pid < 0)
        bench_die("fork", errno);
    if (pid > 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    run(arg, number);
    _exit(0);
}

void bench_wait_children(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        int status = 0;
        if (wait(&status) < 0 || status != 0)
            exit(1); /* it has said why; the others wait at a barrier and are ended with us */
    }
}

void bench_print(const char *name, const double *values, unsigned count, const char *behind)
{
    printf("\"%s\": [", name);
    for (unsigned i = 0; i < count; i++)
        printf("%s%.6f", i == 0 ? "" : ", ", values[i]);
    printf("]%s", behind);
}

static double seconds(uint64_t from_ns, uint64_t to_ns)
{
    return ((double)to_ns - (double)from_ns) / 1e9;
}

/* ---- rounds ---- */

struct rounds {
    const char *space;
    unsigned ranks, count, sizes, sides;
    size_t bytes[SIZES_MAX];
    pthread_barrier_t barrier;
    struct bench_cont cont;
    uint64_t start_ns[RANKS_MAX], safe_ns[RANKS_MAX];
    struct {
        double data[COUNT_MAX], commit[COUNT_MAX], round[COUNT_MAX], read[COUNT_MAX];
    } of[SIZES_MAX][SIDES];
};

static const struct bench_side *const sides[SIDES] = {&bench_ours, &bench_raw};

static uint8_t *random_bytes(unsigned rank, size_t len)
{
    struct tl_prng prng;
    uint8_t *bytes = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (bytes == MAP_FAILED)
        bench_die("memory", errno);
    tl_prng_init(&prng, 1, rank);
    for (size_t i = 0; i + 8 <= len; i += 8) {
        uint64_t word = tl_prng_next(&prng);
        memcpy(bytes + i, &word, 8);
    }
    return bytes;
}

static size_t most_bytes(const struct rounds *s)
{
    size_t most = 0;
    for (unsigned i = 0; i < s->sizes; i++)
        most = s->bytes[i] > most ? s->bytes[i] : most;
    return most;
}

/* By rank 0, when all are behind the barrier. */
static void note(struct rounds *s, unsigned size, unsigned side, unsigned n, uint64_t commit_ns, uint64_t end_ns)
{
    uint64_t start = UINT64_MAX, safe = 0;
    for (unsigned i = 0; i < s->ranks; i++) {
        start = s->start_ns[i] < start ? s->start_ns[i] : start;
        safe = s->safe_ns[i] > safe ? s->safe_ns[i] : safe;
    }
    s->of[size][side].data[n] = seconds(start, safe);
    s->of[size][side].commit[n] = seconds(commit_ns, end_ns);
    s->of[size][side].round[n] = seconds(start, end_ns);
}

/* All at the same time; into memory that has been touched. */
static void read_again(struct rounds *s, const struct bench_rank *r, unsigned size, unsigned side, unsigned n)
{
    static uint8_t *into;
    if (into == NULL)
        into = random_bytes(r->number, most_bytes(s));
    pthread_barrier_wait(&s->barrier);
    uint64_t start = tl_time_mono_ns();
    sides[side]->read(r, (uint64_t)n * SIZES_MAX + size, into);
    pthread_barrier_wait(&s->barrier);
    if (r->number == 0 && n > 0)
        s->of[size][side].read[n - 1] = seconds(start, tl_time_mono_ns());
    if (memcmp(into, r->bytes, r->len) != 0)
        bench_die("what was read is not what was written", EIO);
}

static void one_round(struct rounds *s, const struct bench_rank *r, unsigned size, unsigned side, unsigned n)
{
    uint64_t number = (uint64_t)n * SIZES_MAX + size;
    pthread_barrier_wait(&s->barrier);
    s->start_ns[r->number] = tl_time_mono_ns();
    uint64_t safe = sides[side]->write(r, number);
    s->safe_ns[r->number] = safe != 0 ? safe : tl_time_mono_ns();
    pthread_barrier_wait(&s->barrier);
    /* If only ours writes, both are timed behind that; in turns, either is the first. */
    for (unsigned turn = 0; r->number == 0 && turn < SIDES; turn++) {
        unsigned which = (turn + n) % SIDES;
        if (which != side && s->sides == SIDES)
            continue;
        uint64_t commit = tl_time_mono_ns();
        sides[which]->commit();
        if (n > 0)
            note(s, size, which, n - 1, commit, tl_time_mono_ns());
    }
    pthread_barrier_wait(&s->barrier);
    if (s->sides == SIDES)
        read_again(s, r, size, side, n);
    sides[side]->clean(r, number);
}

static void run_rank(void *arg, unsigned number)
{
    struct rounds *s = arg;
    struct bench_rank r = {.number = number, .bytes = random_bytes(number, most_bytes(s)), .piece = BENCH_PIECE};
    for (unsigned first = 0; first < 2; first++) { /* rank 0, then the others */
        for (unsigned side = 0; (number > 0) == (first > 0) && side < SIDES; side++)
            sides[side]->begin(&r, s->space, &s->cont);
        pthread_barrier_wait(&s->barrier);
    }
    for (unsigned n = 0; n <= s->count; n++) {
        for (unsigned size = 0; size < s->sizes; size++) {
            r.len = s->bytes[size];
            for (unsigned turn = 0; turn < s->sides; turn++)
                one_round(s, &r, size, (turn + n) % s->sides, n);
        }
    }
    pthread_barrier_wait(&s->barrier);
    for (unsigned side = 0; side < SIDES; side++)
        sides[side]->end();
}

static int rounds(char **args, unsigned count)
{
    struct rounds *s = bench_share(sizeof *s);
    s->space = args[0];
    s->sides = strcmp(args[1], "both") == 0 ? 2 : 1;
    s->ranks = (unsigned)strtoul(args[2], NULL, 10);
    s->count = (unsigned)strtoul(args[3], NULL, 10);
    s->sizes = count - 4;
    if (s->ranks == 0 || s->ranks > RANKS_MAX || s->count == 0 || s->count > COUNT_MAX || s->sizes > SIZES_MAX)
        bench_die("rounds", EINVAL);
    for (unsigned i = 0; i < s->sizes; i++)
        s->bytes[i] = strtoull(args[4 + i], NULL, 10);
    bench_barrier_init(&s->barrier, s->ranks);
    for (unsigned i = 0; i < s->ranks; i++)
        bench_fork(run_rank, s, i);
    bench_wait_children(s->ranks);
    printf("{\"sizes\": [");
    for (unsigned i = 0; i < s->sizes; i++) {
        printf("%s{\"bytes\": %zu", i == 0 ? "" : ", ", s->bytes[i] * s->ranks);
        for (unsigned side = 0; side < SIDES; side++) {
            printf(", \"%s\": {", sides[side]->name);
            bench_print("data", s->of[i][side].data, s->count, ", ");
            bench_print("commit", s->of[i][side].commit, s->count, ", ");
            bench_print("read", s->of[i][side].read, s->count, ", ");
            bench_print("round", s->of[i][side].round, s->count, "}");
        }
        printf("}");
    }
    printf("]}\n");
    return 0;
}

/* ---- commits by themselves ---- */

static int commits(const char *space, unsigned count)
{
    const struct bench_rank r = {.piece = BENCH_PIECE};
    struct bench_cont c;
    static double took[SIDES][COUNT_MAX];
    for (unsigned side = 0; side < SIDES; side++)
        sides[side]->begin(&r, space, &c);
    for (unsigned n = 0; n <= count; n++) {
        for (unsigned turn = 0; turn < SIDES; turn++) {
            unsigned side = (turn + n) % SIDES;
            if (side == 0)
                (void)bench_ours.write(&r, n); /* nothing; the next epoch */
            uint64_t start = tl_time_mono_ns();
            sides[side]->commit();
            if (n > 0)
                took[side][n - 1] = seconds(start, tl_time_mono_ns());
        }
    }
    for (unsigned side = 0; side < SIDES; side++) {
        printf("%s", side == 0 ? "{" : "");
        bench_print(sides[side]->name, took[side], count, side + 1 < SIDES ? ", " : "}\n");
        sides[side]->end();
    }
    return 0;
}

/* ---- a consumer that waits ---- */

struct wake {
    const char *space;
    unsigned count;
    pthread_barrier_t barrier;
    struct bench_cont cont;
    _Atomic uint64_t committed_ns;
    double seconds[COUNT_MAX];
};

static void consume(void *arg, unsigned number)
{
    struct wake *s = arg;
    const struct bench_rank r = {.number = number, .piece = BENCH_PIECE};
    pthread_barrier_wait(&s->barrier);
    bench_ours.begin(&r, s->space, &s->cont);
    for (unsigned n = 0; n <= s->count; n++) {
        pthread_barrier_wait(&s->barrier);
        bench_wait_epoch(n + 1);
        uint64_t now = tl_time_mono_ns();
        pthread_barrier_wait(&s->barrier); /* the producer has left its time */
        s->seconds[n > 0 ? n - 1 : 0] =
            seconds(s->committed_ns, now); /* below 0: it went on before commit had returned */
    }
    bench_ours.end();
}

static int wake(const char *space, unsigned count)
{
    struct wake *s = bench_share(sizeof *s);
    uint8_t bytes[64] = {1};
    const struct bench_rank r = {.bytes = bytes, .len = sizeof bytes, .piece = BENCH_PIECE};
    s->space = space;
    s->count = count;
    bench_barrier_init(&s->barrier, 2);
    bench_fork(consume, s, 1); /* before anything is open */
    bench_ours.begin(&r, space, &s->cont);
    pthread_barrier_wait(&s->barrier);
    for (unsigned n = 0; n <= count; n++) {
        const struct timespec pause = {.tv_nsec = 5000000}; /* it sleeps by then; if not, its time is only shorter */
        pthread_barrier_wait(&s->barrier);
        nanosleep(&pause, NULL);
        (void)bench_ours.write(&r, n);
        bench_ours.commit();
        s->committed_ns = tl_time_mono_ns();
        pthread_barrier_wait(&s->barrier);
    }
    bench_wait_children(1);
    printf("{");
    bench_print("seconds", s->seconds, count, "}\n");
    bench_ours.end();
    return 0;
}

/* In a child: what librados leaves of itself in a process that forks is no one's business here. */
static void create(void *arg, unsigned number)
{
    (void)number;
    bench_pool_create(arg);
}

int main(int argc, char **argv)
{
    const char *what = argc >= 4 ? argv[1] : "";
    unsigned long count = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
    bool one = argc == 4 && count > 0 && count <= COUNT_MAX;
    if (argc >= 4) {
        bench_fork(create, argv[2], 0);
        bench_wait_children(1);
    }
    if (strcmp(what, "rounds") == 0 && argc >= 7)
        return rounds(argv + 2, (unsigned)argc - 2);
    if (strcmp(what, "commits") == 0 && one)
        return commits(argv[2], (unsigned)count);
    if (strcmp(what, "wake") == 0 && one)
        return wake(argv[2], (unsigned)count);
    if (strcmp(what, "stall") == 0 && one)
        return bench_stall(argv[2], (unsigned)count);
    fputs("bench-rados: see the head of bench/rados.c\n", stderr);
    return 2;
}
