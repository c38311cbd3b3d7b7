// SPDX-License-Identifier: Apache-2.0
/* The table of waiting kernel requests. */
#include "front/fuse/pending.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void an_op_comes_back_once_as_it_was_put(void **state)
{
    (void)state;
    struct tl_pending p;
    assert_int_equal(tl_pending_init(&p), 0);
    struct tl_fuse_op op = {.kind = TL_FUSE_LOOKUP, .inode = 17, .name_len = 3, .name = "abc"}, out;
    uint64_t id, some;
    assert_int_equal(tl_pending_put(&p, &op, &id), 0);
    assert_true(tl_pending_any(&p, &some));
    assert_int_equal(some, id);
    assert_false(tl_pending_take(&p, id + 65536, &out));
    assert_true(tl_pending_take(&p, id, &out));
    assert_int_equal(out.inode, 17);
    assert_string_equal(out.name, "abc");
    assert_false(tl_pending_take(&p, id, &out));
    assert_false(tl_pending_any(&p, &some));
    tl_pending_fini(&p);
}

static void a_full_table_refuses_and_late_answers_find_nothing(void **state)
{
    (void)state;
    struct tl_pending p;
    assert_int_equal(tl_pending_init(&p), 0);
    static uint64_t ids[TL_PENDING_MAX];
    struct tl_fuse_op op = {.kind = TL_FUSE_READ}, out;
    uint64_t id;
    for (uint32_t i = 0; i < TL_PENDING_MAX; i++) {
        assert_false(tl_pending_full(&p));
        op.inode = i;
        assert_int_equal(tl_pending_put(&p, &op, &ids[i]), 0);
    }
    assert_true(tl_pending_full(&p));
    assert_int_equal(tl_pending_put(&p, &op, &id), -EBUSY);
    for (uint32_t i = 0; i < TL_PENDING_MAX; i += 2)
        assert_true(tl_pending_take(&p, ids[i], &out) && out.inode == i);
    for (uint32_t i = 0; i < TL_PENDING_MAX; i += 2) {
        assert_int_equal(tl_pending_put(&p, &op, &id), 0);
        assert_false(tl_pending_take(&p, ids[i], &out));
        assert_true(tl_pending_take(&p, id, &out));
    }
    for (uint32_t i = 1; i < TL_PENDING_MAX; i += 2)
        assert_true(tl_pending_take(&p, ids[i], &out) && out.inode == i);
    assert_false(tl_pending_take(&p, UINT64_MAX, &out));
    tl_pending_fini(&p);
}

static void a_new_table_does_not_know_the_ids_of_an_old_one(void **state)
{
    (void)state;
    struct tl_pending old, fresh;
    struct tl_fuse_op op = {.kind = TL_FUSE_READ}, out;
    uint64_t id, other;
    assert_int_equal(tl_pending_init(&old), 0);
    assert_int_equal(tl_pending_put(&old, &op, &id), 0);
    assert_true(tl_pending_take(&old, id, &out));
    tl_pending_fini(&old);
    assert_int_equal(tl_pending_init(&fresh), 0);
    assert_int_equal(tl_pending_put(&fresh, &op, &other), 0);
    assert_int_equal(id & UINT16_MAX, other & UINT16_MAX); /* the same place */
    assert_false(tl_pending_take(&fresh, id, &out));
    assert_true(tl_pending_take(&fresh, other, &out));
    tl_pending_fini(&fresh);
}

static void ids_leave_room_for_the_number_of_the_front(void **state)
{
    (void)state;
    struct tl_pending p;
    assert_int_equal(tl_pending_init(&p), 0);
    struct tl_fuse_op op = {.kind = TL_FUSE_READ}, out;
    uint64_t id;
    p.slots[p.free_head].use_count = UINT32_MAX - 1; /* nearly a day of requests, one after the other */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(tl_pending_put(&p, &op, &id), 0);
        assert_int_equal(id >> 48, 0);
        assert_true(tl_pending_take(&p, id, &out));
    }
    tl_pending_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_op_comes_back_once_as_it_was_put),
        cmocka_unit_test(a_full_table_refuses_and_late_answers_find_nothing),
        cmocka_unit_test(a_new_table_does_not_know_the_ids_of_an_old_one),
        cmocka_unit_test(ids_leave_room_for_the_number_of_the_front),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
