// SPDX-License-Identifier: Apache-2.0
/* The cache manager, part by part. */
#include "cache/cache.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB (1ull << 20)

static struct tl_cache *cache_of(uint64_t limit, uint32_t entries)
{
    const struct tl_cache_config config = {.limit_bytes = limit,
                                           .entries_max = entries,
                                           .values_fd = -1,
                                           .adopt_directory_fd = -1,
                                           .adopt_uses_fd = -1,
                                           .adopt_values_fd = -1};
    struct tl_cache *c = NULL;
    struct tl_error err = {0};
    int rc = tl_cache_new(&c, &config, &err);
    if (rc != 0)
        fail_msg("%s", err.msg);
    return c;
}

static struct tl_hash key_of(uint64_t n)
{
    return (struct tl_hash){.hi = tl_prng_mix(n), .lo = n};
}

/* Bytes that say whose they are. */
static void fill_bytes(uint8_t *to, uint64_t n, uint64_t size)
{
    for (uint64_t i = 0; i < size; i++)
        to[i] = (uint8_t)(tl_prng_mix(n) >> (i % 8 * 8) ^ i);
}

static int put_as(struct tl_cache *c, uint64_t n, uint64_t size, struct tl_cache_attr attr)
{
    static uint8_t bytes[TL_CACHE_PUT_MAX];
    int rc = -EAGAIN;
    fill_bytes(bytes, n, size);
    attr.key = key_of(n);
    for (int i = 0; i < 1000 && rc == -EAGAIN; i++)
        rc = tl_cache_put(c, &attr, bytes, size);
    return rc;
}

static int put(struct tl_cache *c, uint64_t n, uint64_t size)
{
    return put_as(c, n, size, (struct tl_cache_attr){.class = TL_VALUE_ORDINARY});
}

static void assert_value(struct tl_cache *c, uint64_t n, uint64_t size)
{
    static uint8_t bytes[TL_CACHE_PUT_MAX];
    struct tl_value held;
    assert_int_equal(tl_reader_get(tl_cache_reader(c), key_of(n), &held), 0);
    assert_int_equal(held.size, size);
    fill_bytes(bytes, n, size);
    assert_memory_equal(held.bytes, bytes, size);
    struct tl_hash digest = tl_hash_bytes(bytes, size, 0);
    assert_true(tl_hash_equal(digest, held.digest));
    tl_reader_let_go(tl_cache_reader(c), &held);
}

static void assert_within_limit(const struct tl_cache *c)
{
    struct tl_cache_stats s;
    tl_cache_stats(c, &s);
    assert_true(s.used_bytes <= s.limit_bytes);
}

static void values_of_all_sizes_come_back(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0,    1,    15,   16,    17,    100,   4000,   4095,
                                     4096, 4097, 9000, 16384, 20000, 65536, 120000, TL_CACHE_PUT_MAX};
    struct tl_cache *c = cache_of(16 * MIB, 0);
    for (uint64_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        assert_int_equal(put(c, i, sizes[i]), 0);
    for (uint64_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        assert_value(c, i, sizes[i]);
    assert_false(tl_cache_has(c, key_of(99)));
    assert_int_equal(put(c, 3, 16), -EEXIST);
    assert_int_equal(tl_cache_drop(c, key_of(3)), 0);
    assert_int_equal(tl_cache_drop(c, key_of(3)), -ENOENT);
    assert_false(tl_cache_has(c, key_of(3)));
    tl_cache_free(c);
}

static void the_limit_is_never_passed(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {300, 4096, 5000, 100000};
    for (size_t k = 0; k < 4; k++) {
        struct tl_cache *c = cache_of(8 * MIB, 0);
        for (uint64_t i = 0; i < 3 * 8 * MIB / sizes[k]; i++) {
            assert_int_equal(put(c, i, sizes[k]), 0);
            assert_within_limit(c);
        }
        struct tl_cache_stats s;
        tl_cache_stats(c, &s);
        assert_true(s.classes[TL_VALUE_ORDINARY].bytes > s.limit_bytes / 2 || s.classes[0].values >= s.entries_max - 1);
        assert_true(s.evictions > 0);
        tl_cache_free(c);
    }
}

static void a_held_value_stays_readable_after_it_was_evicted(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {500, 4096, 100000};
    for (size_t k = 0; k < 3; k++) {
        struct tl_cache *c = cache_of(6 * MIB, 0);
        uint8_t bytes[100000];
        struct tl_value held;
        assert_int_equal(put(c, 7, sizes[k]), 0);
        assert_int_equal(tl_reader_get(tl_cache_reader(c), key_of(7), &held), 0);
        assert_int_equal(tl_cache_drop(c, key_of(7)), 0);
        for (uint64_t i = 100; i < 100 + 20 * MIB / sizes[k]; i++)
            assert_int_equal(put(c, i, sizes[k]), 0);
        fill_bytes(bytes, 7, sizes[k]);
        assert_memory_equal(held.bytes, bytes, sizes[k]);
        assert_within_limit(c);
        tl_reader_let_go(tl_cache_reader(c), &held);
        tl_cache_free(c);
    }
}

static void what_is_pinned_or_held_is_not_given_up(void **state)
{
    (void)state;
    struct tl_cache *c = cache_of(8 * MIB, 0);
    uint64_t pinned = 0;
    while (put_as(c, pinned, 100000, (struct tl_cache_attr){.class = TL_VALUE_PINNED}) == 0)
        pinned++;
    assert_int_equal(put_as(c, pinned, 100000, (struct tl_cache_attr){.class = TL_VALUE_PINNED}), -EDQUOT);
    assert_int_equal(pinned, 4 * MIB / 102400);
    for (uint64_t i = 1000; i < 1500; i++)
        assert_int_equal(put(c, i, 100000), 0);
    for (uint64_t i = 0; i < pinned; i++)
        assert_value(c, i, 100000);
    struct tl_error err;
    assert_int_equal(tl_cache_set_limit(c, 5 * MIB, &err), -EBUSY);
    assert_int_equal(tl_cache_set_class(c, key_of(0), TL_VALUE_ORDINARY), 0);
    assert_int_equal(tl_cache_set_class(c, key_of(0), TL_VALUE_PINNED), 0);
    /* All that is left is held: then nothing more fits, and nothing breaks. */
    struct tl_value held[200];
    uint32_t n = 0;
    for (uint64_t i = 1000; i < 1500; i++)
        if (tl_reader_get(tl_cache_reader(c), key_of(i), &held[n]) == 0)
            n++;
    assert_true(n > 20 && n < 200);
    int rc = 0;
    for (uint64_t i = 2000; i < 2000 + 2 * n && rc == 0; i++)
        rc = put(c, i, 100000);
    assert_int_equal(rc, -ENOSPC);
    assert_within_limit(c);
    for (uint32_t i = 0; i < n; i++)
        tl_reader_let_go(tl_cache_reader(c), &held[i]);
    assert_int_equal(put(c, 5000, 100000), 0);
    tl_cache_free(c);
}

static void volatile_values_go_first(void **state)
{
    (void)state;
    struct tl_cache *c = cache_of(8 * MIB, 0);
    for (uint64_t i = 0; i < 20; i++)
        assert_int_equal(put(c, i, 100000), 0);
    for (uint64_t i = 100; i < 300; i++)
        assert_int_equal(put_as(c, i, 100000, (struct tl_cache_attr){.class = TL_VALUE_VOLATILE}), 0);
    for (uint64_t i = 0; i < 20; i++)
        assert_value(c, i, 100000);
    tl_cache_free(c);
}

static void a_job_stays_within_its_quota(void **state)
{
    (void)state;
    struct tl_cache *c = cache_of(8 * MIB, 0);
    struct tl_cache_usage use;
    uint64_t quota;
    int job = tl_cache_job(c, "slurm-17");
    assert_true(job > 0);
    assert_int_equal(tl_cache_job(c, "slurm-17"), job);
    assert_int_equal(tl_cache_set_quota(c, (uint16_t)job, MIB), 0);
    for (uint64_t i = 0; i < 20; i++)
        assert_int_equal(put(c, i, 100000), 0);
    for (uint64_t i = 100; i < 200; i++) {
        assert_int_equal(put_as(c, i, 100000, (struct tl_cache_attr){.job = (uint16_t)job}), 0);
        tl_cache_job_usage(c, (uint16_t)job, &use, &quota);
        assert_true(use.cost_bytes <= quota);
    }
    assert_int_equal(put_as(c, 300, 130000, (struct tl_cache_attr){.job = (uint16_t)job}), 0);
    assert_int_equal(tl_cache_set_quota(c, (uint16_t)job, 100000), 0);
    assert_int_equal(put_as(c, 301, 130000, (struct tl_cache_attr){.job = (uint16_t)job}), -EDQUOT);
    for (uint64_t i = 0; i < 20; i++)
        assert_value(c, i, 100000);
    tl_cache_free(c);
}

static int write_all(struct tl_cache *c, uint32_t fill, const uint8_t *bytes, uint64_t size)
{
    for (uint64_t done = 0, tries = 0; done < size && tries < 10000; tries++) {
        int64_t n = tl_cache_write(c, fill, bytes + done, size - done);
        if (n < 0 && n != -EAGAIN)
            return (int)n;
        done += n > 0 ? (uint64_t)n : 0;
    }
    return 0;
}

static int commit(struct tl_cache *c, uint32_t fill)
{
    int rc = -EAGAIN;
    for (int i = 0; i < 1000 && rc == -EAGAIN; i++)
        rc = tl_cache_commit(c, fill);
    return rc;
}

static void a_fill_is_seen_when_it_is_whole(void **state)
{
    (void)state;
    struct tl_cache *c = cache_of(32 * MIB, 0);
    static uint8_t bytes[10 << 20];
    uint32_t fill, second;
    struct tl_value held;
    fill_bytes(bytes, 1, sizeof bytes);
    struct tl_cache_attr a = {.key = key_of(1), .check = true, .digest = tl_hash_bytes(bytes, sizeof bytes, 0)};
    assert_int_equal(tl_cache_begin(c, &a, sizeof bytes, &fill), 0);
    assert_int_equal(tl_cache_begin(c, &a, sizeof bytes, &second), -EALREADY);
    assert_int_equal(tl_cache_put(c, &a, bytes, 10), -EALREADY);
    assert_int_equal(write_all(c, fill, bytes, sizeof bytes), 0);
    assert_false(tl_reader_has(tl_cache_reader(c), a.key));
    assert_int_equal(tl_cache_write(c, fill, bytes, 1), -EFBIG);
    assert_int_equal(commit(c, fill), 0);
    assert_int_equal(tl_reader_get(tl_cache_reader(c), a.key, &held), 0);
    assert_memory_equal(held.bytes, bytes, sizeof bytes);
    tl_reader_let_go(tl_cache_reader(c), &held);
    assert_int_equal(tl_cache_begin(c, &a, 5, &fill), -EEXIST);
    /* Too short, another digest, aborted: the old value stays. */
    a.replace = true;
    assert_int_equal(tl_cache_begin(c, &a, 100, &fill), 0);
    assert_int_equal(write_all(c, fill, bytes, 99), 0);
    assert_int_equal(commit(c, fill), -EBADMSG);
    assert_int_equal(tl_cache_begin(c, &a, 100, &fill), 0);
    assert_int_equal(write_all(c, fill, bytes, 100), 0);
    assert_int_equal(commit(c, fill), -EBADMSG);
    assert_int_equal(tl_cache_begin(c, &a, 100, &fill), 0);
    tl_cache_abort(c, fill);
    assert_int_equal(tl_reader_get(tl_cache_reader(c), a.key, &held), 0);
    assert_int_equal(held.size, sizeof bytes);
    tl_reader_let_go(tl_cache_reader(c), &held);
    tl_cache_free(c);
}

static void a_fill_of_unknown_size_takes_what_it_needs(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0, 1, 5000, 300000, 3 << 20};
    struct tl_cache *c = cache_of(32 * MIB, 0);
    static uint8_t bytes[3 << 20];
    struct tl_cache_stats s;
    for (uint64_t i = 0; i < 5; i++) {
        uint32_t fill;
        struct tl_value held;
        const struct tl_cache_attr a = {.key = key_of(i), .label = "/some/where"};
        fill_bytes(bytes, i, sizes[i]);
        assert_int_equal(tl_cache_begin(c, &a, TL_CACHE_UNKNOWN, &fill), 0);
        assert_int_equal(write_all(c, fill, bytes, sizes[i]), 0);
        assert_int_equal(commit(c, fill), 0);
        assert_int_equal(tl_reader_get(tl_cache_reader(c), a.key, &held), 0);
        assert_int_equal(held.size, sizes[i]);
        assert_memory_equal(held.bytes, bytes, sizes[i]);
        tl_reader_let_go(tl_cache_reader(c), &held);
    }
    tl_cache_stats(c, &s);
    assert_int_equal(s.fills, 0);
    struct tl_cache_attr a = {.key = key_of(50), .bytes_max = 1000};
    uint32_t fill;
    assert_int_equal(tl_cache_begin(c, &a, TL_CACHE_UNKNOWN, &fill), 0);
    assert_int_equal(tl_cache_write(c, fill, bytes, 1001), -EFBIG);
    tl_cache_abort(c, fill);
    assert_int_equal(tl_cache_begin(c, &a, 100 * MIB, &fill), -EFBIG);
    tl_cache_free(c);
}

static void a_lowered_limit_is_reached_in_steps(void **state)
{
    (void)state;
    struct tl_cache *c = cache_of(32 * MIB, 0);
    struct tl_cache_stats s;
    struct tl_error err;
    for (uint64_t i = 0; i < 4000; i++)
        assert_int_equal(put(c, i, i % 2 == 0 ? 300 : 10000), 0);
    assert_int_equal(tl_cache_set_limit(c, 8 * MIB, &err), 0);
    uint32_t ticks = 0;
    while (tl_cache_tick(c) && ticks < 10000)
        ticks++;
    tl_cache_stats(c, &s);
    assert_true(s.used_bytes <= 8 * MIB && ticks > 10 && ticks < 10000);
    assert_int_equal(tl_cache_set_limit(c, 0, &err), -EINVAL);
    assert_non_null(strstr(err.msg, "out of range"));
    assert_int_equal(tl_cache_set_limit(c, 1ull << 50, &err), -EINVAL);
    assert_int_equal(tl_cache_set_limit(c, 32 * MIB, &err), 0);
    for (uint64_t i = 10000; i < 12000; i++)
        assert_int_equal(put(c, i, 10000), 0);
    assert_within_limit(c);
    tl_cache_free(c);
}

/* The directory has room for as many values as the first limit was worth: then more memory is no use to small values, and they go. */
static void a_limit_that_grows_sixteen_fold_gives_up_values_when_the_directory_is_full(void **state)
{
    (void)state;
    const struct tl_cache_config config = {.limit_bytes = 8 * MIB,
                                           .limit_max_bytes = 128 * MIB,
                                           .values_fd = -1,
                                           .adopt_directory_fd = -1,
                                           .adopt_uses_fd = -1,
                                           .adopt_values_fd = -1};
    const struct tl_cache_attr pin = {.class = TL_VALUE_PINNED};
    struct tl_cache *c = NULL;
    struct tl_cache_stats s;
    struct tl_error err;
    assert_int_equal(tl_cache_new(&c, &config, &err), 0);
    assert_int_equal(tl_cache_set_limit(c, 128 * MIB, &err), 0);
    uint64_t n = 0, pinned = 0;
    for (; n < 20000; n++) {
        assert_int_equal(put_as(c, n, 200 + n % 500, (struct tl_cache_attr){.label = "/a/label"}), 0);
        assert_value(c, n, 200 + n % 500);
    }
    tl_cache_stats(c, &s);
    assert_true(s.classes[TL_VALUE_ORDINARY].values + 64 > s.entries_max); /* two buckets may be full before all are */
    assert_true(s.evictions > 15000 && s.refused == 0 && s.used_bytes < 16 * MIB);
    while (put_as(c, n, 300, pin) == 0) /* values that can be given up stay possible */
        n++, pinned++;
    assert_int_equal(put_as(c, n, 300, pin), -EDQUOT);
    assert_int_equal(pinned, s.entries_max / 2);
    for (; n < 40000; n++)
        assert_int_equal(put(c, n, 300), 0);
    for (uint64_t k = 0; k < 3000; k++) /* and large ones have all of the memory */
        assert_int_equal(put(c, 50000 + k, 100000), 0);
    tl_cache_stats(c, &s);
    assert_true(s.used_bytes > 120 * MIB && s.used_bytes <= 128 * MIB);
    tl_cache_free(c);
}

static void limits_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    static const uint64_t limits[] = {0, 1, 1000000};
    struct tl_cache *c = NULL;
    struct tl_error err;
    struct tl_cache_config config = {
        .values_fd = -1, .adopt_directory_fd = -1, .adopt_uses_fd = -1, .adopt_values_fd = -1};
    for (size_t i = 0; i < 3; i++) {
        config.limit_bytes = limits[i];
        assert_int_equal(tl_cache_new(&c, &config, &err), -EINVAL);
        assert_non_null(strstr(err.msg, "out of range"));
    }
    config.limit_bytes = 64 * MIB;
    config.limit_max_bytes = 32 * MIB;
    assert_int_equal(tl_cache_new(&c, &config, &err), -EINVAL);
    config.limit_max_bytes = 1ull << 60;
    assert_true(tl_cache_new(&c, &config, &err) < 0);
    config.limit_max_bytes = 0;
    config.pin_quota_bytes = 65 * MIB;
    assert_int_equal(tl_cache_new(&c, &config, &err), -EINVAL);
}

static void labels_and_lists(void **state)
{
    (void)state;
    struct tl_cache *c = cache_of(8 * MIB, 0);
    char label[64];
    for (uint64_t i = 0; i < 500; i++) {
        snprintf(label, sizeof label, "/data/set%u/file%u", (unsigned)(i % 5), (unsigned)i);
        assert_int_equal(put_as(c, i, 4096, (struct tl_cache_attr){.label = label}), 0);
    }
    struct tl_cache_item items[64];
    uint64_t cursor = 0, seen = 0;
    while (cursor != UINT64_MAX) {
        uint32_t n = tl_cache_list(c, &cursor, items, 64);
        for (uint32_t i = 0; i < n; i++) {
            snprintf(label, sizeof label, "/data/set%u/file%u", (unsigned)(items[i].key.lo % 5),
                     (unsigned)items[i].key.lo);
            assert_int_equal(items[i].label_len, strlen(label));
            assert_memory_equal(items[i].label, label, strlen(label));
            assert_int_equal(items[i].size, 4096);
        }
        seen += n;
    }
    assert_int_equal(seen, 500);
    /* Labels live where they are moved to. */
    for (uint64_t i = 1000; i < 60000; i++)
        assert_int_equal(put(c, i, 200), 0);
    assert_within_limit(c);
    tl_cache_free(c);
}

static void notes_stay(void **state)
{
    (void)state;
    struct tl_cache *c = cache_of(8 * MIB, 0);
    char name[32];
    assert_null(tl_cache_crumb(c, "root"));
    assert_int_equal(tl_cache_crumb_set(c, "root", "revision 17"), 0);
    assert_int_equal(tl_cache_crumb_set(c, "root", "revision 18"), 0);
    assert_string_equal(tl_cache_crumb(c, "root"), "revision 18");
    assert_int_equal(tl_cache_crumb_set(c, "", "x"), -EINVAL);
    assert_int_equal(tl_cache_crumb_set(c, "gone", NULL), -ENOENT);
    int rc = 0;
    for (uint32_t i = 0; rc == 0; i++) {
        snprintf(name, sizeof name, "note %u", i);
        rc = tl_cache_crumb_set(c, name, "");
    }
    assert_int_equal(rc, -ENOSPC);
    assert_int_equal(tl_cache_crumb_set(c, "root", NULL), 0);
    assert_null(tl_cache_crumb(c, "root"));
    assert_null(tl_cache_crumb(c, ""));
    tl_cache_free(c);
}

static void what_is_damaged_is_found(void **state)
{
    (void)state;
    struct tl_cache *c = cache_of(16 * MIB, 0);
    struct tl_value held;
    struct tl_cache_stats s;
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(put(c, i, i * 100), 0);
    assert_int_equal(tl_reader_get(tl_cache_reader(c), key_of(50), &held), 0);
    ((uint8_t *)(uintptr_t)held.bytes)[17] ^= 1;
    tl_reader_let_go(tl_cache_reader(c), &held);
    uint64_t cursor = 0;
    for (uint32_t i = 0; i < 1000 && tl_cache_scrub(c, &cursor); i++) {
    }
    tl_cache_stats(c, &s);
    assert_int_equal(s.damaged, 1);
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(tl_cache_has(c, key_of(i)), i != 50);
    tl_cache_free(c);
}

/* As a daemon that is killed leaves it: the files, held by somebody else. */
static void another_manager_goes_on_with_what_is_valid(void **state)
{
    (void)state;
    struct tl_cache *c = cache_of(16 * MIB, 0);
    static const uint64_t sizes[] = {0, 100, 3000, 4096, 100000};
    struct tl_cache_stats s;
    struct tl_error err = {0};
    struct tl_value held;
    for (uint64_t i = 0; i < 400; i++)
        assert_int_equal(put_as(c, i, sizes[i % 5],
                                (struct tl_cache_attr){.label = i % 3 == 0 ? "/l" : NULL,
                                                       .class = i == 9 ? TL_VALUE_PINNED : TL_VALUE_ORDINARY}),
                         0);
    uint32_t there = 0;
    bool has[400];
    for (uint64_t i = 0; i < 400; i++)
        there += has[i] = tl_cache_has(c, key_of(i));
    assert_true(has[398]);
    assert_int_equal(tl_reader_get(tl_cache_reader(c), key_of(398), &held), 0); /* damaged, of 4096 bytes or so */
    ((uint8_t *)(uintptr_t)held.bytes)[1] ^= 1;
    struct tl_entry *half = (struct tl_entry *)(uintptr_t)&tl_cache_reader(c)->entries[held.entry];
    tl_reader_let_go(tl_cache_reader(c), &held);
    assert_int_equal(tl_reader_get(tl_cache_reader(c), key_of(397), &held), 0); /* being changed */
    half = (struct tl_entry *)(uintptr_t)&tl_cache_reader(c)->entries[held.entry];
    tl_reader_let_go(tl_cache_reader(c), &held);
    atomic_fetch_add(&half->turn, 1);
    assert_int_equal(tl_cache_crumb_set(c, "note", "lasts"), 0);
    const struct tl_cache_config config = {.limit_bytes = 16 * MIB,
                                           .values_fd = -1,
                                           .adopt_directory_fd = dup(tl_cache_directory_fd(c)),
                                           .adopt_uses_fd = dup(tl_cache_uses_fd(c)),
                                           .adopt_values_fd = dup(tl_cache_values_fd(c))};
    tl_cache_free(c);
    int rc = tl_cache_new(&c, &config, &err);
    if (rc != 0)
        fail_msg("%s", err.msg);
    tl_cache_stats(c, &s);
    assert_int_equal(s.adopted, there - 1);
    assert_int_equal(s.not_adopted, 1);
    for (uint64_t i = 0; i < 400; i++) {
        if (i == 397 || i == 398)
            assert_int_equal(tl_reader_get(tl_cache_reader(c), key_of(i), &held), -ENOENT);
        else if (has[i])
            assert_value(c, i, sizes[i % 5]);
    }
    assert_int_equal(s.classes[TL_VALUE_PINNED].values, has[9]);
    assert_string_equal(tl_cache_crumb(c, "note"), "lasts");
    uint64_t cursor = 0;
    while (tl_cache_scrub(c, &cursor)) {
    }
    tl_cache_stats(c, &s);
    assert_int_equal(s.damaged, 1);
    for (uint64_t i = 1000; i < 60000; i++)
        assert_int_equal(put(c, i, sizes[i % 5]), 0);
    assert_within_limit(c);
    tl_cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_all_sizes_come_back),
        cmocka_unit_test(the_limit_is_never_passed),
        cmocka_unit_test(a_held_value_stays_readable_after_it_was_evicted),
        cmocka_unit_test(what_is_pinned_or_held_is_not_given_up),
        cmocka_unit_test(volatile_values_go_first),
        cmocka_unit_test(a_job_stays_within_its_quota),
        cmocka_unit_test(a_fill_is_seen_when_it_is_whole),
        cmocka_unit_test(a_fill_of_unknown_size_takes_what_it_needs),
        cmocka_unit_test(a_lowered_limit_is_reached_in_steps),
        cmocka_unit_test(a_limit_that_grows_sixteen_fold_gives_up_values_when_the_directory_is_full),
        cmocka_unit_test(limits_that_make_no_sense_are_refused),
        cmocka_unit_test(labels_and_lists),
        cmocka_unit_test(notes_stay),
        cmocka_unit_test(what_is_damaged_is_found),
        cmocka_unit_test(another_manager_goes_on_with_what_is_valid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
