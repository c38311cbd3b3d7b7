// SPDX-License-Identifier: Apache-2.0
/* Whole containers beside an oracle: random operations from seeds, everything compared.
 *
 *   test_pool_objects                      what `make test` runs
 *   test_pool_objects SEED [COUNT [OPS]]   these seeds; a failing one is shrunk, and told of operation by operation
 *   test_pool_objects --minutes M          seeds from the time of day on, for so long: what `make soak` runs */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/time.h"
#include "pool/objects.h"
#include "pool/plant.h"

#define OPS_MAX 2000u

static const char *base_of(void)
{
    const char *base = getenv("TMPDIR");
    return base != NULL ? base : access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
}

struct sequence {
    struct objects_op ops[OPS_MAX];
    unsigned count;
    void (*plant)(struct tl_shared *s);
};

static void sequence_draw(struct sequence *s, uint64_t seed, unsigned count)
{
    struct tl_prng p;
    tl_prng_init(&p, seed, 0);
    s->count = count < OPS_MAX ? count : OPS_MAX;
    for (unsigned i = 0; i < s->count; i++)
        objects_draw(&p, &s->ops[i]);
}

/* Does them all; true: nothing was wrong. */
static bool sequence_run(const struct sequence *s, bool trace, struct objects_run *x)
{
    memset(x, 0, sizeof *x);
    x->trace = trace;
    x->plant = s->plant;
    bool ok = objects_begin(x, base_of());
    for (unsigned i = 0; ok && i < s->count; i++)
        ok = objects_do(x, &s->ops[i]);
    for (unsigned h = 0; ok && h < ORACLE_HANDLES; h++)
        if (x->conts[h] != NULL)
            ok = objects_compare_all(x, h);
    ok = ok && objects_check(x);
    objects_end(x);
    return ok;
}

/* Leaves out what can be left out without it coming right. */
static void shrink(struct sequence *s, struct objects_run *x)
{
    static struct sequence less;
    unsigned runs = 0;
    for (unsigned size = s->count / 2; size > 0; size = size > 1 && runs < 200 ? size / 2 : 0) {
        for (unsigned at = 0; at + size <= s->count && runs < 200;) {
            less = *s;
            memmove(&less.ops[at], &less.ops[at + size], (less.count - at - size) * sizeof *less.ops);
            less.count -= size;
            runs++;
            if (!sequence_run(&less, false, x))
                *s = less;
            else
                at += size;
        }
    }
}

static bool seed_passes(uint64_t seed, unsigned ops, struct objects_run *x)
{
    static struct sequence s;
    sequence_draw(&s, seed, ops);
    if (sequence_run(&s, false, x))
        return true;
    printf("seed %llu: %s\n", (unsigned long long)seed, x->why);
    shrink(&s, x);
    printf("the same in %u operations:\n", s.count);
    sequence_run(&s, true, x);
    printf("%s\nagain: test_pool_objects %llu 1 %u\n", x->why, (unsigned long long)seed, ops);
    return false;
}

static void a_container_is_what_the_oracle_says(void **state)
{
    (void)state;
    static struct objects_run x;
    uint64_t fetches = 0, bytes = 0, listings = 0;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        assert_true(seed_passes(seed, 150, &x));
        fetches += x.fetches;
        bytes += x.bytes;
        listings += x.listings;
    }
    assert_true(seed_passes(1795274203027u, 700, &x)); /* records that were cleared hid a value below them */
    assert_true(fetches > 4000 && bytes > 1 << 20 && listings > 4000);
}

/* An oracle that never finds anything would be no use. */
static void planted_bugs_are_found(void **state)
{
    (void)state;
    static struct sequence s;
    static struct objects_run x;
    for (unsigned i = 0; i < plant_count; i++) {
        uint64_t seed = 0;
        s.plant = plants[i].in;
        do
            sequence_draw(&s, ++seed, 150);
        while (seed <= 30 && sequence_run(&s, false, &x));
        printf("%s: seed %llu\n", plants[i].what, (unsigned long long)seed);
        assert_true(seed <= 30);
    }
}

static int for_minutes(unsigned minutes)
{
    static struct objects_run x;
    uint64_t end_ns = tl_time_mono_ns() + minutes * 60 * TL_NS_PER_S, first = (uint64_t)time(NULL) * 1000, seeds = 0;
    bool ok = true;
    for (; ok && tl_time_mono_ns() < end_ns; seeds++)
        ok = seed_passes(first + seeds, 100 + (unsigned)(seeds % 4) * 200, &x);
    printf("containers: %llu seeds\n", (unsigned long long)seeds);
    return ok ? 0 : 1;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_container_is_what_the_oracle_says),
        cmocka_unit_test(planted_bugs_are_found),
    };
    static struct objects_run x;
    if (argc > 2 && strcmp(argv[1], "--minutes") == 0)
        return for_minutes((unsigned)strtoul(argv[2], NULL, 10));
    if (argc > 1) {
        uint64_t seed = strtoull(argv[1], NULL, 10), count = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
        unsigned ops = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 150;
        for (uint64_t i = 0; i < count; i++)
            if (!seed_passes(seed + i, ops, &x))
                return 1;
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
