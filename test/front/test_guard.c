// SPDX-License-Identifier: Apache-2.0
/* Requests that kill daemons are found, and given up; bystanders are not. */
#include "front/fuse/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NONE 0

static int setup(void **state)
{
    *state = calloc(1, sizeof(struct tl_keep_head));
    return *state == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static void next_daemon(struct tl_guard *g, struct tl_keep_head *head, bool crashed)
{
    tl_guard_fini(g);
    tl_guard_init(g, head);
    tl_guard_died(g, crashed);
}

/* Takes a request up as the front does: an answer comes at once if `answers`. */
static void take_up(struct tl_guard *g, uint64_t unique, bool answers)
{
    switch (tl_guard_begin(g, unique)) {
    case TL_GUARD_SERVE:
        if (answers)
            tl_guard_end(g, unique);
        break;
    case TL_GUARD_WAIT: assert_int_equal(tl_guard_defer(g, unique, &unique, sizeof unique), 0); break;
    case TL_GUARD_REFUSE: g->given_up++; tl_guard_end(g, unique);
    }
}

static uint64_t next(struct tl_guard *g)
{
    struct tl_guard_message *m = tl_guard_next(g);
    uint64_t unique = NONE;
    if (m != NULL)
        memcpy(&unique, m->bytes, sizeof unique);
    free(m);
    return unique;
}

static void the_culprit_is_found_among_bystanders(void **state)
{
    struct tl_keep_head *head = *state;
    struct tl_guard g;
    enum { CULPRIT = 42, COUNT = 100 };
    tl_guard_init(&g, head);
    for (int daemon = 0; daemon < 2; daemon++) { /* all are in work when it happens */
        for (uint64_t u = 2; u <= COUNT; u += 2)
            take_up(&g, u | (daemon > 0 ? TL_FUSE_UNIQUE_RESEND : 0), false);
        next_daemon(&g, head, true);
    }
    for (uint64_t u = 2; u <= COUNT; u += 2) /* now each alone */
        take_up(&g, u | TL_FUSE_UNIQUE_RESEND, u != CULPRIT && g.suspect == 0 && g.suspects.first == NULL);
    for (uint64_t u; g.suspect != CULPRIT && (u = next(&g)) != NONE;)
        take_up(&g, u, (u & ~TL_FUSE_UNIQUE_RESEND) != CULPRIT);
    assert_int_equal(g.suspect, CULPRIT);
    assert_int_equal(g.in_work, 1);
    assert_int_equal(next(&g), NONE);                          /* nobody else meanwhile, */
    assert_int_equal(tl_guard_begin(&g, 1000), TL_GUARD_WAIT); /* not even a new one */
    next_daemon(&g, head, true);
    for (uint64_t u = CULPRIT; u <= COUNT; u += 2)
        take_up(&g, u | TL_FUSE_UNIQUE_RESEND, true);
    for (uint64_t u; (u = next(&g)) != NONE;)
        take_up(&g, u, true);
    assert_int_equal(g.given_up, 1);
    assert_int_equal(g.in_work, 0);
    assert_null(g.suspects.first);
    tl_guard_fini(&g);
}

static void a_kill_from_outside_counts_against_nobody(void **state)
{
    struct tl_keep_head *head = *state;
    struct tl_guard g;
    tl_guard_init(&g, head);
    for (int daemon = 0; daemon < 50; daemon++) {
        assert_int_equal(tl_guard_begin(&g, 6), TL_GUARD_SERVE);
        assert_int_equal(tl_guard_begin(&g, 8), TL_GUARD_SERVE);
        next_daemon(&g, head, false);
    }
    assert_int_equal(g.given_up, 0);
    tl_guard_fini(&g);
}

static void who_waits_while_a_suspect_is_alone_keeps_its_order(void **state)
{
    struct tl_keep_head *head = *state;
    struct tl_guard g;
    tl_guard_init(&g, head);
    for (int daemon = 0; daemon < 2; daemon++) {
        take_up(&g, 2, false);
        next_daemon(&g, head, true);
    }
    take_up(&g, 4, false); /* is there before the suspect comes again */
    take_up(&g, 2, false);
    take_up(&g, 6, false);
    take_up(&g, 8, false);
    assert_int_equal(next(&g), NONE); /* 4 is still in work */
    tl_guard_end(&g, 4);
    assert_int_equal(next(&g), 2);
    take_up(&g, 2, false);
    assert_int_equal(g.suspect, 2);
    assert_int_equal(next(&g), NONE);
    tl_guard_end(&g, 2);
    assert_int_equal(next(&g), 6);
    take_up(&g, 6, false);
    assert_int_equal(next(&g), 8);
    take_up(&g, 8, false);
    assert_int_equal(g.in_work, 2);
    tl_guard_fini(&g);
}

static void more_requests_than_places_are_served_all_the_same(void **state)
{
    struct tl_keep_head *head = *state;
    struct tl_guard g;
    tl_guard_init(&g, head);
    for (uint64_t u = 2; u <= 8 * TL_KEEP_IN_WORK_MAX; u += 2)
        assert_int_equal(tl_guard_begin(&g, u), TL_GUARD_SERVE);
    for (uint64_t u = 2; u <= 8 * TL_KEEP_IN_WORK_MAX; u += 2)
        tl_guard_end(&g, u);
    assert_int_equal(g.in_work, 0);
    for (uint32_t i = 0; i < TL_KEEP_IN_WORK_MAX; i++)
        assert_int_equal(head->work[i].unique, 0);
    tl_guard_fini(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_culprit_is_found_among_bystanders, setup, teardown),
        cmocka_unit_test_setup_teardown(a_kill_from_outside_counts_against_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(who_waits_while_a_suspect_is_alone_keeps_its_order, setup, teardown),
        cmocka_unit_test_setup_teardown(more_requests_than_places_are_served_all_the_same, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
