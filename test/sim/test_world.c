// SPDX-License-Identifier: Apache-2.0
/* Queue, virtual time, chance, storage and arena of the simulator, one by one. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/time.h"
#include "core/request.h"
#include "sim/arena.h"
#include "sim/storage.h"
#include "sim/workload.h"

#define EVENTS 20000u

static void events_come_in_order_of_time_then_of_insertion(void **state)
{
    struct tl_queue q;
    struct tl_sim_event ev = {0}, last = {0};
    (void)state;
    tl_queue_init(&q);
    for (uint32_t i = 0; i < EVENTS; i++) {
        ev.time_ns = tl_prng_draw(1, 2, i, 0, 0) % 997;
        ev.node = i;
        tl_queue_push(&q, &ev);
        if (i % 3 == 0) /* never earlier than what is out */
            assert_true(tl_queue_pop(&q, &ev));
    }
    uint32_t left = (uint32_t)q.count;
    assert_true(tl_queue_pop(&q, &last));
    for (uint32_t i = 1; i < left; i++) {
        assert_int_equal(tl_queue_next_ns(&q) >= last.time_ns, 1);
        assert_true(tl_queue_pop(&q, &ev));
        assert_true(ev.time_ns > last.time_ns || (ev.time_ns == last.time_ns && ev.seq > last.seq));
        last = ev;
    }
    assert_false(tl_queue_pop(&q, &ev));
    assert_true(tl_queue_next_ns(&q) == UINT64_MAX);
    tl_queue_fini(&q);
}

/* Written down once: the same on every machine and with every compiler. */
static void chance_is_the_same_everywhere(void **state)
{
    struct tl_world w;
    (void)state;
    tl_world_init(&w, 42);
    uint64_t all = 0;
    for (uint64_t i = 0; i < 100; i++) {
        w.now_ns = i;
        all ^= tl_world_draw(&w, TL_STREAM_LATENCY, i, i * i, 7) + i;
        tl_world_trace(&w, i, all, i);
    }
    assert_true(all == 0x635bc8a8cf4597a6ull);
    assert_true(w.trace == 0x13aa8c213ed5f453ull);
    uint32_t hits = 0;
    for (uint64_t i = 0; i < 100000; i++)
        hits += tl_world_chance(&w, TL_STREAM_DELAY, 250000, i, 0, 0);
    assert_in_range(hits, 24500, 25500);
    assert_false(tl_world_chance(&w, TL_STREAM_DELAY, 0, 1, 2, 3));
    tl_world_fini(&w);
}

static void the_import_workload_is_the_papers(void **state)
{
    struct tl_world w;
    struct tl_sim_catalog c;
    struct tl_workload imports;
    (void)state;
    tl_world_init(&w, 1);
    tl_sim_catalog_init(&c, &w, false);
    assert_true(tl_workload_by_name(&imports, "imports"));
    imports.build(&imports, &c);
    tl_sim_catalog_seal(&c);
    assert_int_equal(c.file_count, 728);
    assert_int_equal(c.directory_count, 150);
    assert_int_equal(c.file_bytes, 36300000);
    for (uint32_t i = 0; i < c.object_count; i++)
        assert_true(c.versions[c.objects[i].newest].size_bytes <= 10000000);
    assert_int_equal(tl_sim_catalog_find(&c, "/lus", 4), 1);
    assert_int_equal(tl_sim_catalog_find(&c, "/luS", 4), TL_CATALOG_NONE);
    tl_workload_fini(&imports);
    tl_sim_catalog_fini(&c);
    tl_world_fini(&w);
}

/* ---- storage ---- */

static struct fixture {
    struct tl_world w;
    struct tl_sim_catalog c;
    struct tl_storage s;
    uint32_t file;
    struct tl_storage_done done[32];
    uint32_t count;
} f;

static void note(void *ctx, const struct tl_storage_done *done)
{
    (void)ctx;
    assert_true(f.count < 32);
    f.done[f.count++] = *done;
}

static int setup(void **state)
{
    struct tl_storage_config config;
    (void)state;
    memset(&f, 0, sizeof f);
    tl_world_init(&f.w, 1);
    tl_sim_catalog_init(&f.c, &f.w, true);
    uint32_t root = tl_sim_catalog_add_directory(&f.c, TL_CATALOG_NONE, "", 0);
    f.file = tl_sim_catalog_add_file(&f.c, root, "file", 3 * TL_CHUNK_SIZE + 5);
    tl_sim_catalog_seal(&f.c);
    tl_storage_config_default(&config);
    config.md_ops_per_s = 1000;
    config.md_concurrency = 2;
    config.md_latency_ns = 5 * TL_NS_PER_MS;
    tl_storage_init(&f.s, &f.w, &f.c, &config);
    tl_storage_set_handler(&f.s, note, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tl_storage_fini(&f.s);
    tl_sim_catalog_fini(&f.c);
    tl_world_fini(&f.w);
    return 0;
}

static struct tl_fetch *fetch_of(enum tl_op op, const char *path, uint64_t version, uint32_t first, uint32_t count)
{
    static struct tl_fetch fetch;
    fetch = (struct tl_fetch){.op = op, .version = version, .first = first, .count = count};
    fetch.path_len = (uint16_t)strlen(path);
    memcpy(fetch.path, path, fetch.path_len);
    return &fetch;
}

static void metadata_is_limited_by_rate_and_by_concurrency(void **state)
{
    (void)state;
    /* Two at once, 5 ms each: 400 a second. */
    uint64_t end_ns = 0;
    for (int i = 0; i < 400; i++)
        end_ns = tl_storage_metadata(&f.s, 0, 1);
    assert_in_range(end_ns, 990 * TL_NS_PER_MS, 1010 * TL_NS_PER_MS);
    f.s.config.md_latency_ns = 0; /* now the rate is what limits */
    uint64_t start_ns = end_ns;
    for (int i = 0; i < 500; i++)
        end_ns = tl_storage_metadata(&f.s, start_ns, 1);
    assert_in_range(end_ns - start_ns, 490 * TL_NS_PER_MS, 510 * TL_NS_PER_MS);
}

static void chunks_come_one_by_one_and_are_counted(void **state)
{
    (void)state;
    uint64_t version = f.c.versions[f.c.objects[f.file].newest].version;
    tl_storage_fetch(&f.s, 3, 7, 99, fetch_of(TL_OP_READ, "/file", version, 1, 3));
    while (tl_world_step(&f.w)) {
    }
    assert_int_equal(f.count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(f.done[i].rank, 3);
        assert_int_equal(f.done[i].tag, 7);
        assert_int_equal(f.done[i].cookie, 99);
        assert_int_equal(f.done[i].status, 0);
        assert_int_equal(f.done[i].chunk, 1 + i);
        assert_int_equal(f.done[i].last, i == 2);
        assert_int_equal(f.done[i].content->reads, 1);
        assert_int_equal(f.done[i].content->len, i == 2 ? 5 : TL_CHUNK_SIZE);
    }
    assert_int_equal(f.s.opens, 1);
    assert_int_equal(f.s.doubles, 0);
    tl_storage_fetch(&f.s, 3, 7, 100, fetch_of(TL_OP_READ, "/file", version, 3, 1));
    assert_int_equal(f.s.opens, 1); /* still open */
    assert_int_equal(f.s.doubles, 1);
}

static void an_entry_comes_in_its_directorys_listing(void **state)
{
    (void)state;
    tl_storage_fetch(&f.s, 0, 1, 1, fetch_of(TL_OP_ENTRY, "/file", 0, 0, 0));
    tl_storage_fetch(&f.s, 0, 1, 2, fetch_of(TL_OP_ENTRY, "/nothing", 0, 0, 0));
    while (tl_world_step(&f.w)) {
    }
    assert_int_equal(f.count, 2);
    for (uint32_t i = 0; i < 2; i++) {
        assert_true(f.done[i].last);
        assert_int_equal(f.done[i].status, f.done[i].cookie == 1 ? 0 : -ENOENT);
        assert_true(f.done[i].cookie != 1 || f.done[i].content->kind == TL_CONTENT_LISTING);
    }
}

static void what_is_not_there_or_has_changed_says_so(void **state)
{
    (void)state;
    uint64_t version = f.c.versions[f.c.objects[f.file].newest].version;
    tl_storage_fetch(&f.s, 0, 1, 1, fetch_of(TL_OP_LIST, "/nothing", 0, 0, 0));
    tl_storage_fetch(&f.s, 0, 1, 2, fetch_of(TL_OP_LIST, "/file", 0, 0, 0));
    tl_storage_fetch(&f.s, 0, 1, 3, fetch_of(TL_OP_READ, "/file", version, 0, 1));
    tl_sim_catalog_change(&f.c, f.file, 10);
    while (tl_world_step(&f.w)) {
    }
    assert_int_equal(f.count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(f.done[i].last);
        int expected = f.done[i].cookie == 1 ? -ENOENT : f.done[i].cookie == 2 ? -ENOTDIR : -ESTALE;
        assert_int_equal(f.done[i].status, expected);
    }
}

static void the_same_chunk_twice_at_once_is_a_violation(void **state)
{
    (void)state;
    uint64_t version = f.c.versions[f.c.objects[f.file].newest].version;
    tl_storage_fetch(&f.s, 0, 1, 1, fetch_of(TL_OP_READ, "/file", version, 0, 2));
    tl_storage_fetch(&f.s, 1, 1, 2, fetch_of(TL_OP_READ, "/file", version, 1, 1)); /* another node may */
    assert_int_equal(f.w.violations, 0);
    tl_storage_fetch(&f.s, 0, 1, 3, fetch_of(TL_OP_READ, "/file", version, 1, 1));
    assert_int_equal(f.w.violations, 1);
    while (tl_world_step(&f.w)) {
    }
}

static void an_arena_finds_misuse(void **state)
{
    (void)state;
    struct tl_sim_arena a;
    uint64_t x = 0, y = 0;
    uint32_t offset = 0;
    const struct tl_content *chunk = tl_sim_catalog_content(&f.c, f.c.versions[f.c.objects[f.file].newest].content);
    tl_sim_arena_init(&a, &f.w, &f.c, 0, 600000);
    assert_int_equal(tl_sim_arena_ops.alloc(&a, chunk->len, &x), 0);
    assert_int_equal(tl_sim_arena_ops.alloc(&a, chunk->len, &y), 0);
    assert_int_equal(tl_sim_arena_ops.alloc(&a, chunk->len, &y), -ENOSPC);
    assert_null(tl_sim_arena_peek(&a, x, chunk->len)); /* zeros: nobody's fault */
    tl_sim_arena_ops.write(&a, x, chunk, chunk->len, NULL);
    assert_true(tl_hash_equal(tl_sim_arena_ops.digest(&a, x, chunk->len), chunk->digest));
    assert_ptr_equal(tl_sim_arena_at(&a, x + 100, 50, &offset, "test"), chunk);
    assert_int_equal(offset, 100);
    assert_int_equal(f.w.violations, 0);
    tl_sim_arena_ops.write(&a, x, chunk, chunk->len, NULL);
    assert_int_equal(f.w.violations, 1); /* overwritten */
    tl_sim_arena_ops.free(&a, x, chunk->len);
    assert_int_equal(f.w.violations, 1);
    tl_sim_arena_ops.free(&a, x, chunk->len);
    assert_int_equal(f.w.violations, 2); /* freed twice */
    assert_null(tl_sim_arena_at(&a, x, 1, &offset, "test"));
    assert_int_equal(f.w.violations, 3); /* used after free */
    assert_null(tl_sim_arena_at(&a, y, 1, &offset, "test"));
    assert_int_equal(f.w.violations, 4); /* never filled */
    tl_sim_arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_come_in_order_of_time_then_of_insertion),
        cmocka_unit_test(chance_is_the_same_everywhere),
        cmocka_unit_test(the_import_workload_is_the_papers),
        cmocka_unit_test_setup_teardown(metadata_is_limited_by_rate_and_by_concurrency, setup, teardown),
        cmocka_unit_test_setup_teardown(chunks_come_one_by_one_and_are_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(an_entry_comes_in_its_directorys_listing, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_there_or_has_changed_says_so, setup, teardown),
        cmocka_unit_test_setup_teardown(the_same_chunk_twice_at_once_is_a_violation, setup, teardown),
        cmocka_unit_test_setup_teardown(an_arena_finds_misuse, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
