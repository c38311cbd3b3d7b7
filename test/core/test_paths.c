// SPDX-License-Identifier: Apache-2.0
/* The pool of paths: random operations against plain copies, a full pool, every allocation failed once. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/failing_alloc.h"
#include "base/prng.h"
#include "core/index/paths.h"

#define SLOTS   64u
#define LEN_MAX 4095u
#define BLOCKS  200u /* what the slots would like to hold on average */
#define STEPS   20000u

struct model {
    uint32_t handle[SLOTS]; /* TL_PATH_NONE: empty */
    uint16_t len[SLOTS];
    char bytes[SLOTS][LEN_MAX];
};

static uint32_t blocks_of(uint16_t len)
{
    return len == 0 ? 1 : (len + 59u) / 60u;
}

static uint16_t random_len(struct tl_prng *p)
{
    static const uint16_t borders[] = {0, 1, 59, 60, 61, 119, 120, 121, LEN_MAX};
    if (tl_prng_below(p, 3) == 0)
        return borders[tl_prng_below(p, sizeof borders / sizeof *borders)];
    return (uint16_t)tl_prng_below(p, tl_prng_below(p, 8) == 0 ? LEN_MAX : 150);
}

static void assert_all_kept(const struct tl_paths *paths, const struct model *m)
{
    char out[LEN_MAX];
    for (uint32_t i = 0; i < SLOTS; i++) {
        if (m->handle[i] == TL_PATH_NONE)
            continue;
        tl_paths_get(paths, m->handle[i], out, m->len[i]);
        assert_memory_equal(out, m->bytes[i], m->len[i]);
    }
}

static void random_operations_agree_with_plain_copies(void **state)
{
    (void)state;
    static struct model m;
    memset(m.handle, 0xff, sizeof m.handle);
    struct tl_prng p;
    tl_prng_init(&p, 1, 0);
    struct tl_paths *paths = NULL;
    assert_int_equal(tl_paths_new(&paths, BLOCKS), 0);
    uint32_t used = 0, refused = 0;
    for (uint32_t step = 0; step < STEPS; step++) {
        uint32_t i = (uint32_t)tl_prng_below(&p, SLOTS);
        if (m.handle[i] != TL_PATH_NONE) {
            tl_paths_drop(paths, m.handle[i], m.len[i]);
            used -= blocks_of(m.len[i]);
            m.handle[i] = TL_PATH_NONE;
        } else {
            m.len[i] = random_len(&p);
            for (uint16_t k = 0; k < m.len[i]; k++)
                m.bytes[i][k] = (char)tl_prng_next(&p);
            m.handle[i] = tl_paths_put(paths, m.bytes[i], m.len[i]);
            bool fits = used + blocks_of(m.len[i]) <= BLOCKS;
            assert_int_equal(m.handle[i] != TL_PATH_NONE, fits);
            used += fits ? blocks_of(m.len[i]) : 0;
            refused += !fits;
        }
        assert_int_equal(tl_paths_used(paths), used);
        if (step % 64 == 0)
            assert_all_kept(paths, &m);
    }
    assert_true(refused > 0); /* the pool was full at times */
    tl_paths_drop(paths, TL_PATH_NONE, 0);
    tl_paths_free(paths);
}

static void a_pool_without_memory_is_not_made(void **state)
{
    (void)state;
    int rc = -ENOMEM;
    for (long nth = 0; rc != 0 && nth < 10; nth++) {
        struct tl_paths *paths = NULL;
        tl_failing_alloc_at(nth);
        rc = tl_paths_new(&paths, 8);
        bool failed = tl_failing_alloc_hit();
        tl_failing_alloc_at(-1);
        assert_int_equal(rc, failed ? -ENOMEM : 0);
        tl_paths_free(paths);
    }
    assert_int_equal(rc, 0);
    tl_paths_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations_agree_with_plain_copies),
        cmocka_unit_test(a_pool_without_memory_is_not_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
