// SPDX-License-Identifier: Apache-2.0
/* URIs of pools in RADOS: what they mean, and that nonsense is refused with a sentence. Needs no cluster. */
#include <ctype.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "store/rados.h"

static int parse(const char *uri, struct tl_rados_where *w)
{
    struct tl_error err = {.code = 0};
    int rc = tl_rados_where_parse(w, uri, &err);
    if (rc != 0 && (rc != -EINVAL || err.code != rc || strlen(err.msg) < 20))
        fail_msg("%s: %d: %s", uri, rc, err.msg);
    return rc;
}

static void what_is_said_counts_and_what_is_not_has_defaults(void **state)
{
    (void)state;
    struct tl_rados_where w;
    assert_int_equal(parse("rados:///a.b_c-1?conf=/x/y.conf&user=u&pool=m&data=d,e&timeout=7&lease=86400", &w), 0);
    assert_string_equal(w.space, "a.b_c-1");
    assert_string_equal(w.conf, "/x/y.conf");
    assert_string_equal(w.user, "u");
    assert_string_equal(w.meta, "m");
    assert_string_equal(w.data, "d,e");
    assert_true(w.timeout_s == 7 && w.lease_s == 86400 && !w.own);
    assert_int_equal(parse("rados:///ckpt", &w), 0);
    assert_string_equal(w.meta, "tiercel.ckpt.meta");
    assert_string_equal(w.user, "admin");
    assert_true(w.own && w.timeout_s == 60 && w.lease_s == 30 && w.conf[0] == 0 && w.data[0] == 0);
    assert_int_equal(parse("rados:///?conf=/x", &w), 0);
    assert_string_equal(w.space, "default");
    assert_string_equal(w.meta, "tiercel.default.meta");
}

static void nonsense_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "rados",
        "rados:",
        "rados:/a",
        "rados://a",
        "rados://host/a",
        "RADOS:///a",
        "rados:///a/b",
        "rados:///a b",
        "rados:///a%20b",
        "rados:///\xc3\xa4",
        "rados:///a?",
        "rados:///a?&",
        "rados:///a?pool",
        "rados:///a?pool=",
        "rados:///a?=m",
        "rados:///a?pool=m&",
        "rados:///a?pool=m&&user=u",
        "rados:///a?pools=m",
        "rados:///a?poo=m",
        "rados:///a?POOL=m",
        "rados:///a?pool=m&timeout=-1",
        "rados:///a?pool=m&timeout=1.5",
        "rados:///a?pool=m&timeout=0",
        "rados:///a?pool=m&timeout=99999999999999999999",
        "rados:///a?pool=m&lease=86401",
        "rados:///a?pool=m&lease= 1",
    };
    struct tl_rados_where w;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (parse(bad[i], &w) == 0)
            fail_msg("%s is taken for a pool", bad[i]);
}

static void parts_of_any_length_are_kept_whole_or_refused(void **state)
{
    (void)state;
    static const char *const parts[] = {"rados:///%s", "rados:///a?pool=%s", "rados:///a?pool=m&data=%s",
                                        "rados:///a?conf=%s", "rados:///a?user=%s"};
    struct tl_rados_where w;
    char text[2048], uri[2100];
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
        for (size_t len = 1; len < sizeof text; len++) {
            const char *const kept[] = {w.space, w.meta, w.data, w.conf, w.user};
            memset(text, 'x', len);
            text[len] = 0;
            snprintf(uri, sizeof uri, parts[k], text); // NOLINT: the formats are above
            if (parse(uri, &w) == 0)
                assert_string_equal(kept[k], text);
            if (len == sizeof text - 1)
                break;
        }
    }
}

/* Pieces of URIs in any order: no answer but yes, with all within their bounds, or no with a sentence. */
static void pieces_in_any_order_are_never_more_than_refused(void **state)
{
    (void)state;
    static const char *const pieces[] = {"rados:///", "a",       "?",      "&",       "=",       "pool=",
                                         "data=",     "conf=",   "user=",  "timeout", "lease=1", "timeout=5",
                                         "/",         ",",       "..",     "meta",    "\xff",    "%00",
                                         "\n",        "9999999", "rados:", "-",       "#",       " "};
    unsigned good = 0;
    for (uint64_t n = 0; n < 200000; n++) {
        struct tl_rados_where w;
        char uri[256] = "rados:///";
        unsigned count = (unsigned)(tl_prng_draw(7, n, 0, 0, 0) % 12);
        if (n % 16 == 0)
            uri[0] = 0;
        for (unsigned i = 0; i < count; i++)
            strcat(uri,
                   pieces[tl_prng_draw(7, n, 1, i, 0) % (sizeof pieces / sizeof *pieces)]); // NOLINT: 12 short ones
        if (parse(uri, &w) != 0)
            continue;
        good++;
        assert_true(w.space[0] != 0 && w.meta[0] != 0 && w.user[0] != 0);
        assert_true(w.timeout_s > 0 && w.timeout_s <= 86400 && w.lease_s > 0 && w.lease_s <= 86400);
        for (const char *c = w.space; *c != 0; c++)
            assert_true(isalnum((unsigned char)*c) || strchr("._-", *c) != NULL);
        assert_true(strlen(w.meta) < sizeof w.meta && strlen(w.conf) < sizeof w.conf);
    }
    assert_true(good > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_said_counts_and_what_is_not_has_defaults),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(parts_of_any_length_are_kept_whole_or_refused),
        cmocka_unit_test(pieces_in_any_order_are_never_more_than_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
