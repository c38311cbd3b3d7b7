// SPDX-License-Identifier: Apache-2.0
/* Profiles as text, and merged. */
#include "base/profile.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char good[] = "tiercel-profile 1\nprogram /usr/bin/python3 -m app\nmerged 2\nL /lus\nE /lus/closed/name\n"
                           "F 0 4 /lus/a\nF 9 1 /lus/a\nX /lus/a\nF 0 0 /lus/with\\nline\\\\end\n";

static void parse(struct tl_profile *p, const char *text)
{
    struct tl_error err = {0};
    int rc = tl_profile_parse(p, text, strlen(text), &err);
    if (rc != 0)
        print_error("%s\n", err.msg);
    assert_int_equal(rc, 0);
}

static void assert_written(const struct tl_profile *p, const char *expected)
{
    char *text;
    size_t len;
    assert_int_equal(tl_profile_write(p, &text, &len), 0);
    assert_int_equal(len, strlen(expected));
    assert_memory_equal(text, expected, len);
    free(text);
}

static void what_is_written_comes_back(void **state)
{
    (void)state;
    struct tl_profile p;
    parse(&p, good);
    assert_string_equal(p.program, "/usr/bin/python3 -m app");
    assert_int_equal(p.merged, 2);
    assert_int_equal(p.line_count, 6);
    assert_memory_equal(p.paths + p.lines[5].path_at, "/lus/with\nline\\end", p.lines[5].path_len);
    assert_written(&p, good);
    tl_profile_fini(&p);
}

static void assert_refused(const char *text, int code, const char *says)
{
    struct tl_profile p;
    struct tl_error err = {0};
    assert_int_equal(tl_profile_parse(&p, text, strlen(text), &err), code);
    assert_non_null(strstr(err.msg, says));
    assert_null(p.lines);
}

static void what_is_not_a_profile_is_refused_with_a_sentence(void **state)
{
    (void)state;
    assert_refused("", -EPROTO, "not a profile");
    assert_refused("\x7f"
                   "ELF",
                   -EPROTO, "not a profile");
    assert_refused("tiercel-profile 2\nprogram x\nmerged 1\n", -EPROTO, "version 2");
    assert_refused("tiercel-profile 1\nprogram x\n", -EBADMSG, "line 3");
    assert_refused("tiercel-profile 1\nprogram x\nmerged -1\n", -EBADMSG, "line 3");
    static const char *const bad[] = {"L lus\n",
                                      "L /lus/\n",
                                      "L  /lus\n",
                                      "L /lus",
                                      "F 0 /lus\n",
                                      "F 00 1 /lus\n",
                                      "F 1 4294967295 /lus\n",
                                      "F 4294967296 1 /lus\n",
                                      "Q /lus\n",
                                      "\n",
                                      "L /a\\x\n",
                                      "L /a\\\n",
                                      "L /a\nL /a\n",
                                      "F 0 4 /a\nF 1 2 /a\n",
                                      "L /a\nF 0 1 /b"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[200];
        snprintf(text, sizeof text, "tiercel-profile 1\nprogram x\nmerged 1\n%s", bad[i]);
        assert_refused(text, -EBADMSG, "damaged");
    }
}

static void damaged_text_never_does_harm(void **state)
{
    (void)state;
    for (size_t at = 0; at < sizeof good - 1; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            char text[sizeof good];
            struct tl_profile p;
            memcpy(text, good, sizeof good);
            text[at] = (char)(text[at] ^ (char)(1u << bit));
            if (tl_profile_parse(&p, text, sizeof good - 1, NULL) != 0)
                continue;
            char *again;
            size_t len;
            assert_int_equal(tl_profile_write(&p, &again, &len), 0); /* what is let through is canonical */
            assert_int_equal(len, sizeof good - 1);
            assert_memory_equal(again, text, len);
            free(again);
            tl_profile_fini(&p);
        }
}

static void merging_keeps_the_newest_order_and_all_names(void **state)
{
    (void)state;
    struct tl_profile now, before;
    parse(&now, "tiercel-profile 1\nprogram x\nmerged 1\nL /b\nF 0 4 /b/x\n");
    parse(&before, "tiercel-profile 1\nprogram x\nmerged 7\nL /a\nL /b\nF 1 2 /b/x\nF 3 2 /b/x\n");
    assert_int_equal(tl_profile_merge(&now, &before), 0);
    assert_written(&now, "tiercel-profile 1\nprogram x\nmerged 8\nL /b\nF 0 4 /b/x\nL /a\nF 3 2 /b/x\n");
    tl_profile_fini(&now);
    tl_profile_fini(&before);
}

static void a_profile_has_limits(void **state)
{
    (void)state;
    struct tl_profile p = {.lines = NULL};
    char path[32];
    int rc = 0;
    uint32_t added = 0;
    for (; rc == 0; added++) {
        snprintf(path, sizeof path, "/%u", added);
        rc = tl_profile_add(&p, TL_PROFILE_LIST, path, strlen(path), 0, 0);
    }
    assert_int_equal(rc, -EFBIG);
    assert_in_range(p.line_count, TL_PROFILE_LINES_MAX / 2, TL_PROFILE_LINES_MAX);
    assert_int_equal(tl_profile_add(&p, TL_PROFILE_LIST, "no", 2, 0, 0), -EINVAL);
    assert_int_equal(tl_profile_add(&p, TL_PROFILE_LIST, "/no", 3, 0, 1), -EINVAL);
    tl_profile_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_comes_back),
        cmocka_unit_test(what_is_not_a_profile_is_refused_with_a_sentence),
        cmocka_unit_test(damaged_text_never_does_harm),
        cmocka_unit_test(merging_keeps_the_newest_order_and_all_names),
        cmocka_unit_test(a_profile_has_limits),
    };
    return cmocka_run_group_tests_name("profiles", tests, NULL, NULL);
}
