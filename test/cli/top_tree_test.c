// SPDX-License-Identifier: Apache-2.0
/* Rows in the shape of a tree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/top_tree.h"

#define COUNT_MAX 400u

static void draw(const int *parents, size_t count, char *out, size_t out_size)
{
    struct top_place places[COUNT_MAX];
    out[0] = 0;
    size_t used = 0;
    assert_int_equal(top_tree_order(parents, count, places), 0);
    for (size_t i = 0; i < count; i++) {
        char text[TOP_TREE_WIDTH + 1];
        top_tree_text(&places[i], (unsigned)places[i].row, text);
        int n = snprintf(out + used, out_size - used, "%s\n", text);
        assert_true(n > 0 && (size_t)n < out_size - used);
        used += (size_t)n;
    }
}

static void assert_drawn(const int *parents, size_t count, const char *expected)
{
    char text[COUNT_MAX * 16];
    draw(parents, count, text, sizeof text);
    assert_string_equal(text, expected);
}

static void children_are_below_their_parent_in_order(void **state)
{
    (void)state;
    const int parents[] = {-1, 0, 0, 1, 1, 2};
    assert_drawn(parents, 6, "0\n+- 1\n|  +- 3\n|  `- 4\n`- 2\n   `- 5\n");
}

static void those_that_nobody_leads_to_are_roots(void **state)
{
    (void)state;
    const int parents[] = {-1, 0, -1, 5, 3, 4, 6, 2}; /* 3, 4 and 5 in a circle; 6 its own parent */
    assert_drawn(parents, 8, "0\n`- 1\n2\n`- 7\n3\n`- 4\n   `- 5\n6\n");
    assert_drawn(parents, 0, "");
}

static void deep_trees_keep_their_width(void **state)
{
    (void)state;
    int parents[COUNT_MAX];
    char text[COUNT_MAX * 16];
    for (int i = 0; i < (int)COUNT_MAX; i++)
        parents[i] = i - 1;
    draw(parents, COUNT_MAX, text, sizeof text);
    size_t lines = 0;
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"), lines++)
        assert_true(strlen(line) <= TOP_TREE_WIDTH);
    assert_int_equal(lines, COUNT_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(children_are_below_their_parent_in_order),
        cmocka_unit_test(those_that_nobody_leads_to_are_roots),
        cmocka_unit_test(deep_trees_keep_their_width),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
