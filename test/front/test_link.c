// SPDX-License-Identifier: Apache-2.0
/* Link targets of a tree that is shown at another place than its own. */
#include "front/fuse/link.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

struct link_case {
    uint32_t depth;
    const char *target, *want;
};

static void expect(const char *root, const struct link_case *c)
{
    const struct tl_link_place place = {.root = root, .mountpoint = "/mnt/view", .depth = c->depth};
    char out[TL_LINK_MAX + 1];
    int len = tl_link_inside(&place, c->target, strlen(c->target), out);
    assert_true(len > 0);
    out[len] = '\0';
    assert_string_equal(out, c->want);
}

static void absolute_targets_stay_inside(void **state)
{
    (void)state;
    static const struct link_case cases[] = {
        {2, "/x/y", "../../x/y"},
        {0, "/x/y", "x/y"},
        {1, "///x//y/", "../x//y/"},
        {3, "/", "../../.."},
        {0, "/", "."},
        {1, "/../..", ".."},
        {1, "/../../x", "../x"},
        {1, "/./x/../y", "../x/../y"},
        {1, "/..x", "../..x"},
        {1, "/...", "../..."},
        {1, "/.x", "../.x"},
        {1, "/x", "../x"},
        {1, "/process/x", "../process/x"},
        {1, "/mnt/viewer", "../mnt/viewer"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect("/", &cases[i]);
}

static void relative_targets_are_cut_at_the_top_only(void **state)
{
    (void)state;
    static const struct link_case cases[] = {
        {2, "x", "x"},
        {2, "../x", "../x"},
        {2, "../../x", "../../x"},
        {2, "../../../x", "../../x"},
        {0, "../x", "x"},
        {0, "..", "."},
        {1, ".././../x/../y", "../x/../y"},
        {1, "x/../../../y", "x/../../../y"}, /* where x leads is not known here */
        {2, ".", "."},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect("/", &cases[i]);
}

static void what_the_mount_shows_empty_is_left(void **state)
{
    (void)state;
    static const struct link_case cases[] = {
        {1, "/proc/self/mounts", "/proc/self/mounts"},
        {1, "/proc", "/proc"},
        {1, "//proc//self", "//proc//self"},
        {1, "/sys/class", "/sys/class"},
        {1, "/dev/null", "/dev/null"},
        {1, "/mnt/view", "/mnt/view"},
        {1, "/mnt/view/x", "/mnt/view/x"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect("/", &cases[i]);
}

static void a_part_of_the_source_keeps_only_its_own_inside(void **state)
{
    (void)state;
    static const struct link_case cases[] = {
        {1, "/lus/app/x", "../x"},
        {1, "/lus/app", ".."},
        {0, "/lus/app/", "."},
        {1, "/lus/application/x", "/lus/application/x"},
        {1, "/lus/app/../x", "/lus/app/../x"},
        {1, "/usr/x", "/usr/x"},
        {1, "../../x", "../../x"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect("/lus/app", &cases[i]);
}

static void a_target_that_grows_too_long_is_an_error(void **state)
{
    (void)state;
    char target[TL_LINK_MAX], out[TL_LINK_MAX];
    memset(target, 'x', sizeof target);
    target[0] = '/';
    struct tl_link_place place = {.root = "/", .mountpoint = "/mnt", .depth = 0};
    assert_int_equal(tl_link_inside(&place, target, sizeof target, out), TL_LINK_MAX - 1);
    place.depth = 1;
    assert_int_equal(tl_link_inside(&place, target, sizeof target, out), -ENAMETOOLONG);
    place.depth = UINT32_MAX;
    assert_int_equal(tl_link_inside(&place, "/x", 2, out), -ENAMETOOLONG);
    target[0] = 'x'; /* not ours to change */
    assert_int_equal(tl_link_inside(&place, target, sizeof target, out), TL_LINK_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(absolute_targets_stay_inside),
        cmocka_unit_test(relative_targets_are_cut_at_the_top_only),
        cmocka_unit_test(what_the_mount_shows_empty_is_left),
        cmocka_unit_test(a_part_of_the_source_keeps_only_its_own_inside),
        cmocka_unit_test(a_target_that_grows_too_long_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
