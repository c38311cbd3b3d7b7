// SPDX-License-Identifier: Apache-2.0
/* The cache manager, measured (bench/run cache): bench-cachebench [--mib N] [--seconds S] [--slow US]. JSON, an object a line.
 *
 * The cache is filled to its limit, with big and small values mixed, so that 95 % of it is values; from then on each operation has to
 * make its own room. Every one is timed: puts of 4 KiB, of small values, of a megabyte in pieces, replacements, drops, a lower limit.
 * A second process looks up and maps. Each call into the kernel for memory is timed by itself (the build wraps them), so that a call
 * that took long (--slow: more than so many us of processor time, told on standard error) can be taken apart. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/time.h"
#include "cache/cache.h"

#define MIB       (1ull << 20)
#define PAGE      4096u
#define BUCKETS   64u
#define BATCH     1000u
#define AGAIN_MAX 100000u
#define MACHINE   (64 * MIB)
#define TURN_NS   (20 * TL_NS_PER_MS)

static uint8_t bytes[1 << 20];

/* Times of single calls: buckets of powers of two nanoseconds, in quarters. */
struct times {
    uint64_t count, sum_ns, sum_cpu_ns, max_ns, over_ms;
    uint64_t max_cpu_ns, cpu_over_ms; /* of the processor's time: without what others took */
    uint64_t buckets[BUCKETS * 4];
};

/* What the kernel was asked for within one call. */
struct kernel {
    uint64_t sum_ns, longest_ns, longest_bytes;
    const char *longest;
    uint32_t calls;
};

struct watch {
    uint64_t cpu_ns, ns;
    long faults, preempted;
};

static struct kernel kernel;
static const char *phase = "start";

/* The machine's own stalls, in turns with the calls of the full cache and for as long: copies of 4 KiB to memory that is there. */
static struct {
    uint8_t *base; /* NULL: not now */
    struct times times;
    uint64_t debt_ns; /* of the processor's time that the cache had and this has not */
    uint64_t next;
} machine;
static uint64_t slow_ns = UINT64_MAX;

static uint64_t cpu_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * TL_NS_PER_S + (uint64_t)ts.tv_nsec;
}

static void count_kernel(const char *what, uint64_t len, uint64_t began_ns)
{
    uint64_t ns = cpu_ns() - began_ns;
    kernel.sum_ns += ns;
    kernel.calls++;
    if (ns > kernel.longest_ns) {
        kernel.longest_ns = ns;
        kernel.longest_bytes = len;
        kernel.longest = what;
    }
}

/* The linker sends the cache's calls here (-Wl,--wrap). */
int __real_fallocate64(int fd, int mode, off_t offset, off_t len);
int __real_madvise(void *at, size_t len, int advice);
int __wrap_fallocate64(int fd, int mode, off_t offset, off_t len);
int __wrap_madvise(void *at, size_t len, int advice);

int __wrap_fallocate64(int fd, int mode, off_t offset, off_t len)
{
    uint64_t began = cpu_ns();
    int rc = __real_fallocate64(fd, mode, offset, len), error = errno;
    count_kernel(mode == 0 ? "fallocate" : "punch", (uint64_t)len, began);
    errno = error;
    return rc;
}

int __wrap_madvise(void *at, size_t len, int advice)
{
    uint64_t began = cpu_ns();
    int rc = __real_madvise(at, len, advice), error = errno;
    count_kernel("populate", len, began);
    errno = error;
    return rc;
}

static struct watch start(void)
{
    struct watch w = {0};
    if (slow_ns != UINT64_MAX) {
        struct rusage u;
        getrusage(RUSAGE_THREAD, &u);
        w.faults = u.ru_minflt;
        w.preempted = u.ru_nivcsw;
    }
    kernel = (struct kernel){.longest = "nothing"};
    w.cpu_ns = cpu_ns();
    w.ns = tl_time_mono_ns();
    return w;
}

static void tell_slow(const struct watch *w, uint64_t ns, uint64_t cpu)
{
    struct rusage u;
    getrusage(RUSAGE_THREAD, &u);
    fprintf(
        stderr,
        "%s: %.0f us of processor time, %.0f by the clock; kernel: %u calls, %.0f us, longest %s of %llu KiB %.0f us; "
        "faults %ld, preempted %ld\n",
        phase, (double)cpu / 1e3, (double)ns / 1e3, kernel.calls, (double)kernel.sum_ns / 1e3, kernel.longest,
        (unsigned long long)kernel.longest_bytes >> 10, (double)kernel.longest_ns / 1e3, u.ru_minflt - w->faults,
        u.ru_nivcsw - w->preempted);
}

static void owe(const struct times *t, uint64_t cpu);

static void add(struct times *t, struct watch w)
{
    uint64_t ns = tl_time_mono_ns() - w.ns, cpu = cpu_ns() - w.cpu_ns;
    uint32_t log = 63u - (uint32_t)__builtin_clzll(ns | 1), quarter = log < 2 ? 0 : (uint32_t)(ns >> (log - 2)) & 3;
    t->buckets[log * 4 + quarter]++;
    t->count++;
    t->sum_ns += ns;
    t->max_ns = ns > t->max_ns ? ns : t->max_ns;
    t->over_ms += ns > TL_NS_PER_MS;
    t->sum_cpu_ns += cpu;
    t->max_cpu_ns = cpu > t->max_cpu_ns ? cpu : t->max_cpu_ns;
    t->cpu_over_ms += cpu > TL_NS_PER_MS;
    if (cpu > slow_ns)
        tell_slow(&w, ns, cpu);
    owe(t, cpu);
}

/* Takes as long as the cache did. */
static void pay(void)
{
    const char *was = phase;
    phase = "nothing but copies";
    while (machine.debt_ns > 0) {
        uint64_t before = machine.times.sum_cpu_ns;
        struct watch w = start();
        memcpy(machine.base + tl_prng_mix(machine.next++) % (MACHINE / PAGE) * PAGE, bytes, PAGE);
        add(&machine.times, w);
        uint64_t took = machine.times.sum_cpu_ns - before;
        machine.debt_ns -= took < machine.debt_ns ? took : machine.debt_ns;
    }
    phase = was;
}

static void owe(const struct times *t, uint64_t cpu)
{
    if (machine.base == NULL || t == &machine.times)
        return;
    machine.debt_ns += cpu;
    if (machine.debt_ns > TURN_NS)
        pay();
}

static double percentile_us(const struct times *t, double share)
{
    uint64_t seen = 0;
    for (uint32_t i = 0; i < BUCKETS * 4; i++) {
        seen += t->buckets[i];
        if ((double)seen >= share * (double)t->count)
            return (double)((4ull + i % 4 + 1) << (i / 4 < 2 ? 0 : i / 4 - 2)) / 1e3;
    }
    return 0;
}

static void show(const char *what, const struct times *t)
{
    printf("{\"what\": \"%s\", \"calls\": %llu, \"per_s\": %.0f, \"per_cpu_s\": %.0f, \"p50_us\": %.2f, \"p99_us\": "
           "%.2f, \"p9999_us\": %.2f, "
           "\"max_us\": %.1f, \"over_1ms\": %llu, \"max_cpu_us\": %.1f, \"cpu_over_1ms\": %llu}\n",
           what, (unsigned long long)t->count, (double)t->count * 1e9 / (double)t->sum_ns,
           (double)t->count * 1e9 / (double)t->sum_cpu_ns, percentile_us(t, 0.5), percentile_us(t, 0.99),
           percentile_us(t, 0.9999), (double)t->max_ns / 1e3, (unsigned long long)t->over_ms,
           (double)t->max_cpu_ns / 1e3, (unsigned long long)t->cpu_over_ms);
    fflush(stdout);
}

static uint64_t next_key;

static struct tl_hash key_of(uint64_t n)
{
    return (struct tl_hash){.hi = tl_prng_mix(n), .lo = n};
}

static void must(int rc, const char *what)
{
    if (rc != 0) {
        fprintf(stderr, "cachebench: %s: %s\n", what, strerror(-rc));
        exit(1);
    }
}

/* Each call is timed, those that say -EAGAIN too. */
static void put_one(struct tl_cache *c, struct tl_cache_attr *a, uint64_t size, struct times *t)
{
    int rc = -EAGAIN;
    memcpy(bytes, &a->key, sizeof a->key);
    for (uint32_t i = 0; i < AGAIN_MAX && rc == -EAGAIN; i++) {
        struct watch w = start();
        rc = tl_cache_put(c, a, bytes, size);
        add(t, w);
    }
    must(rc, "put");
}

static void puts_of(struct tl_cache *c, uint64_t size, uint64_t count, struct times *t)
{
    for (uint64_t i = 0; i < count; i++) {
        struct tl_cache_attr a = {.key = key_of(next_key++)};
        put_one(c, &a, size, t);
    }
}

/* The newest ones anew. */
static void replace_of(struct tl_cache *c, uint64_t size, uint64_t count, struct times *t)
{
    for (uint64_t i = 0; i < count; i++) {
        struct tl_cache_attr a = {.key = key_of(next_key - 1 - i % 1000), .replace = true};
        put_one(c, &a, size, t);
    }
}

static void fill_of(struct tl_cache *c, uint64_t size, struct times *t)
{
    const struct tl_cache_attr a = {.key = key_of(next_key++)};
    uint32_t fill;
    struct watch w = start();
    must(tl_cache_begin(c, &a, size, &fill), "begin");
    add(t, w);
    for (uint64_t done = 0; done < size;) {
        uint64_t n = size - done < sizeof bytes ? size - done : sizeof bytes;
        w = start();
        int64_t took = tl_cache_write(c, fill, bytes, n);
        add(t, w);
        if (took < 0 && took != -EAGAIN)
            must((int)took, "write");
        done += took > 0 ? (uint64_t)took : 0;
    }
    int rc = -EAGAIN;
    while (rc == -EAGAIN) {
        w = start();
        rc = tl_cache_commit(c, fill);
        add(t, w);
    }
    must(rc, "commit");
}

static double share_used(const struct tl_cache *c)
{
    struct tl_cache_stats s;
    tl_cache_stats(c, &s);
    uint64_t live = s.classes[0].cost_bytes + s.classes[1].cost_bytes + s.classes[2].cost_bytes;
    return (double)live / (double)s.limit_bytes;
}

/* What the machine needs for a page that was not there, be it who it may that wants one: pages of a file in memory, made and written one
 * by one, with the same watch, in turns with the cache. */
struct floor {
    uint8_t *base;
    uint64_t done, size;
    int fd;
    struct times times;
};

static void floor_start(struct floor *f, uint64_t size)
{
    *f = (struct floor){.size = size, .fd = memfd_create("floor", MFD_CLOEXEC)};
    void *p = MAP_FAILED;
    if (f->fd >= 0 && ftruncate(f->fd, (off_t)size) == 0)
        p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, f->fd, 0);
    if (p == MAP_FAILED)
        must(-errno, "memory to compare with");
    f->base = p;
}

static void floor_some(struct floor *f, uint64_t count)
{
    const char *was = phase;
    phase = "floor";
    for (uint64_t i = 0; i < count && f->done < f->size; i++, f->done += PAGE) {
        struct watch w = start();
        if (fallocate(f->fd, 0, (off_t)f->done, PAGE) != 0)
            must(-errno, "memory to compare with");
        memcpy(f->base + f->done, bytes, PAGE);
        add(&f->times, w);
    }
    phase = was;
}

static void floor_end(struct floor *f)
{
    show("a page that was not there, without the cache", &f->times);
    munmap(f->base, f->size);
    close(f->fd);
}

/* A quarter of each: small records, pages, 128 KiB, a megabyte and more. */
static void fill_up(struct tl_cache *c, uint64_t limit)
{
    struct times t = {0};
    struct floor floor;
    struct tl_cache_stats s;
    floor_start(&floor, limit / 4);
    tl_cache_stats(c, &s);
    while (s.evictions == 0) {
        puts_of(c, 500, limit / (1u << 20), &t);
        puts_of(c, 4096, limit / (4096 * 256), &t);
        puts_of(c, 128 << 10, limit / (4096 * 256) / 32, &t);
        fill_of(c, limit / 256, &t);
        floor_some(&floor, limit / 256 / PAGE);
        tl_cache_stats(c, &s);
    }
    floor_end(&floor);
    show("fill up", &t);
}

/* ---- the second process ---- */

static void look_up(const struct tl_cache *c, int holds_fd, uint64_t from, uint64_t count, double seconds)
{
    struct tl_reader r;
    struct tl_prng prng;
    struct tl_error err = {0};
    uint64_t hits = 0, looked = 0, sum = 0, began, now;
    if (tl_reader_map(&r, tl_cache_directory_fd(c), tl_cache_values_fd(c), tl_cache_uses_fd(c), holds_fd, &err) != 0) {
        fprintf(stderr, "cachebench: %s\n", err.msg);
        exit(1);
    }
    tl_prng_init(&prng, 1, 2);
    for (int warm = 0; warm < 2; warm++) {
        hits = looked = 0;
        began = now = tl_time_mono_ns();
        while ((double)(now - began) < seconds * 1e9) {
            for (uint32_t i = 0; i < BATCH; i++, looked++) {
                struct tl_value h;
                if (tl_reader_get(&r, key_of(from + tl_prng_below(&prng, count)), &h) != 0)
                    continue;
                sum += ((const uint8_t *)h.bytes)[0];
                hits++;
                tl_reader_let_go(&r, &h);
            }
            now = tl_time_mono_ns();
        }
    }
    printf(
        "{\"what\": \"hit from a second process\", \"calls\": %llu, \"per_s\": %.0f, \"hits\": %.4f, \"sum\": %llu}\n",
        (unsigned long long)looked, (double)looked * 1e9 / (double)(now - began), (double)hits / (double)looked,
        (unsigned long long)sum % 10);
    fflush(stdout);
}

static void second_process(struct tl_cache *c, double seconds)
{
    int fd = memfd_create("holds", MFD_CLOEXEC);
    uint32_t id;
    if (fd < 0 || ftruncate(fd, TL_HOLDS_BYTES) != 0)
        exit(1);
    void *holds = mmap(NULL, TL_HOLDS_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    must(tl_cache_add_reader(c, holds, &id), "reader");
    struct times t = {0};
    uint64_t from = next_key;
    puts_of(c, 4096, 10000, &t);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        look_up(c, fd, from, 10000, seconds);
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    tl_cache_remove_reader(c, id);
}

/* ---- many clients that hold much ---- */

#define HOLDERS      60u
#define HOLDS_OF_ONE 1000u

/* Puts while values are held that are given up one after another: each piece of room is found by looking at all holds. */
static void put_while_held(struct tl_cache *c, uint64_t count)
{
    static struct tl_holds holds[HOLDERS];
    struct tl_reader readers[HOLDERS];
    struct times t = {0};
    uint32_t ids[HOLDERS];
    uint64_t first = next_key;
    puts_of(c, 4096, (uint64_t)HOLDERS * HOLDS_OF_ONE, &t);
    for (uint32_t i = 0; i < HOLDERS; i++) {
        const struct tl_reader *own = tl_cache_reader(c);
        tl_reader_init(&readers[i], own->head, own->values, own->uses, &holds[i]);
        must(tl_cache_add_reader(c, &holds[i], &ids[i]), "reader");
        for (uint32_t k = 0; k < HOLDS_OF_ONE; k++) {
            struct tl_value v;
            (void)!tl_reader_get(&readers[i], key_of(first + i * HOLDS_OF_ONE + k), &v);
        }
    }
    t = (struct times){0};
    puts_of(c, 4096, count, &t);
    show("put 4 KiB while 60,000 values are held", &t);
    for (uint32_t i = 0; i < HOLDERS; i++)
        tl_cache_remove_reader(c, ids[i]);
}

/* ---- one after another ---- */

/* What the same watch says of a copy of 4 KiB: what this machine's other work and its host add to each figure. */
static void noise(void)
{
    static uint8_t to[4096];
    struct times t = {0};
    for (uint32_t i = 0; i < 1000000; i++) {
        struct watch w = start();
        memcpy(to, bytes + i % 1000 * 64, sizeof to);
        add(&t, w);
        next_key += to[i % sizeof to] & 1;
    }
    show("nothing but a copy of 4 KiB", &t);
    next_key = 0;
}

static void lower_the_limit(struct tl_cache *c, uint64_t limit)
{
    struct times t = {0};
    struct tl_error err = {0};
    if (tl_cache_set_limit(c, limit / 2, &err) != 0) {
        fprintf(stderr, "cachebench: %s\n", err.msg);
        exit(1);
    }
    bool more = true;
    while (more) {
        struct watch w = start();
        more = tl_cache_tick(c);
        add(&t, w);
    }
    show("half the limit", &t);
}

static void machine_start(void)
{
    void *p = mmap(NULL, MACHINE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (p == MAP_FAILED)
        must(-errno, "memory to compare with");
    machine.base = p;
}

int main(int argc, char **argv)
{
    uint64_t mib = 256;
    double seconds = 1;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--mib") == 0)
            mib = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--seconds") == 0)
            seconds = strtod(argv[i + 1], NULL);
        else if (strcmp(argv[i], "--slow") == 0)
            slow_ns = strtoull(argv[i + 1], NULL, 10) * 1000;
    }
    const struct tl_cache_config config = {.limit_bytes = mib * MIB,
                                           .limit_max_bytes = mib * MIB,
                                           .values_fd = -1,
                                           .adopt_directory_fd = -1,
                                           .adopt_uses_fd = -1,
                                           .adopt_values_fd = -1};
    struct tl_cache *c;
    struct tl_error err = {0};
    struct times t = {0};
    if (tl_cache_new(&c, &config, &err) != 0) {
        fprintf(stderr, "cachebench: %s\n", err.msg);
        return 1;
    }
    memset(bytes, 7, sizeof bytes);
    noise();
    phase = "fill up";
    fill_up(c, mib * MIB);
    printf("{\"what\": \"share of the limit that is values\", \"share\": %.4f}\n", share_used(c));
    machine_start();
    uint64_t n = mib * MIB / 4096 / 8;
    phase = "put 4 KiB where others were";
    puts_of(c, 4096, 5 * n, &t); /* large values make way for them */
    show("put 4 KiB where others were", &t);
    t = (struct times){0};
    phase = "put 4 KiB";
    puts_of(c, 4096, 8 * n, &t);
    show("put 4 KiB", &t);
    printf("{\"what\": \"share of the limit that is values\", \"share\": %.4f}\n", share_used(c));
    t = (struct times){0};
    phase = "replace 4 KiB";
    replace_of(c, 4096, 4 * n, &t);
    show("replace 4 KiB", &t);
    t = (struct times){0};
    phase = "put 500 B";
    puts_of(c, 500, 8 * n, &t);
    show("put 500 B", &t);
    t = (struct times){0};
    phase = "fill 4 MiB";
    for (uint64_t i = 0; i < mib / 8; i++)
        fill_of(c, 4 * MIB, &t);
    show("fill 4 MiB", &t);
    t = (struct times){0};
    phase = "mixed";
    puts_of(c, 4096, 2 * n, &t);
    puts_of(c, 2000, 2 * n, &t);
    show("mixed", &t);
    printf("{\"what\": \"share of the limit that is values\", \"share\": %.4f}\n", share_used(c));
    second_process(c, seconds);
    phase = "put 4 KiB while values are held";
    put_while_held(c, 2 * n);
    phase = "half the limit";
    lower_the_limit(c, mib * MIB);
    show("nothing but copies, for as long", &machine.times);
    tl_cache_free(c);
    return 0;
}
