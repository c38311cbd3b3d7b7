// SPDX-License-Identifier: Apache-2.0
/* Names and paths of exported containers (archive/cont.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "archive/cont.h"
#include "base/prng.h"

static void round_trip(const uint8_t *bytes, size_t len)
{
    char text[TL_CONT_NAME_SIZE];
    uint8_t back[TIERCEL_KEY_MAX];
    tl_cont_name_escape(text, (struct tiercel_bytes){bytes, len});
    assert_true(strlen(text) < sizeof text);
    assert_null(strchr(text, '/'));
    assert_int_not_equal(text[0], '.');
    assert_int_equal(tl_cont_name_parse(text, strlen(text), back), (int)len);
    assert_memory_equal(back, bytes, len);
}

static void every_name_comes_back(void **state)
{
    struct tl_prng prng;
    uint8_t bytes[TIERCEL_KEY_MAX];
    (void)state;
    tl_prng_init(&prng, 5, 0);
    for (unsigned i = 0; i < 256; i++) {
        bytes[0] = (uint8_t)i;
        round_trip(bytes, 1);
    }
    for (unsigned i = 0; i < 2000; i++) {
        size_t len = (size_t)tl_prng_below(&prng, TIERCEL_KEY_MAX + 1);
        for (size_t at = 0; at < len; at++)
            bytes[at] = (uint8_t)tl_prng_next(&prng);
        round_trip(bytes, len);
    }
}

static void what_is_no_name_is_refused(void **state)
{
    static const char *const bad[] = {"",   ".",   "..", ".a",  "a/b", "a b", "%",
                                      "%4", "%g0", "a%", "a%4", "%%",  "%2f", "\x80"};
    uint8_t out[TIERCEL_KEY_MAX];
    char longer[2 * TIERCEL_KEY_MAX];
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int n = tl_cont_name_parse(bad[i], strlen(bad[i]), out);
        if (strcmp(bad[i], "%") == 0)
            assert_int_equal(n, 0);
        else
            assert_int_equal(n, -1);
    }
    memset(longer, 'a', sizeof longer);
    assert_int_equal(tl_cont_name_parse(longer, TIERCEL_KEY_MAX, out), (int)TIERCEL_KEY_MAX);
    assert_int_equal(tl_cont_name_parse(longer, TIERCEL_KEY_MAX + 1, out), -1);
}

static void paths_are_taken_apart(void **state)
{
    struct tl_cont_path p;
    (void)state;
    assert_true(tl_cont_path_parse("epoch-21/1.7/d%2Fk/a.b.value", &p));
    assert_int_equal(p.epoch, 21);
    assert_int_equal(p.oid.hi, 1);
    assert_int_equal(p.oid.lo, 7);
    assert_int_equal(p.dkey_len, 3);
    assert_memory_equal(p.dkey, "d/k", 3);
    assert_int_equal(p.akey_len, 3);
    assert_memory_equal(p.akey, "a.b", 3);
    assert_int_equal(p.record_size, 0);
    assert_false(p.extents || p.digest);
    assert_true(tl_cont_path_parse("epoch-18446744073709551614/18446744073709551615/%/%.array-8.extents", &p));
    assert_true(p.extents);
    assert_int_equal(p.record_size, 8);
    assert_int_equal(p.dkey_len + p.akey_len, 0);
    assert_true(tl_cont_path_parse("epoch-1/2/.digest", &p));
    assert_true(p.digest);
    assert_true(tl_cont_path_parse("epoch-1/2/d/x.extents.value", &p)); /* an akey named x.extents */
    assert_false(p.extents);
}

static void other_paths_are_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "epoch-",
                                      "epoch-1",
                                      "epoch-1/2",
                                      "epoch-1/2/",
                                      "epoch-1/2/d",
                                      "epoch-1/2/d/",
                                      "epoch-1/2/d/a",
                                      "epoch-1/2/d/a.array-",
                                      "epoch-1/2/d/a.array-0",
                                      "epoch-1/2/d/a.array-08",
                                      "epoch-1/2/d/a.array-8x",
                                      "epoch-1/2/d/a.array-99999999999999999999",
                                      "epoch-1/2/d/.value",
                                      "epoch-1/2/d/a.value/x",
                                      "epoch-1/2/d/a.extents",
                                      "epoch-1/2/../a.value",
                                      "epoch-01/2/d/a.value",
                                      "epoch-1/02/d/a.value",
                                      "epoch-1/0.2/d/a.value",
                                      "epoch-1/-2/d/a.value",
                                      "epoch-1/1.2.3/d/a.value",
                                      "epoch-18446744073709551616/2/d/a.value",
                                      "/epoch-1/2/d/a.value",
                                      "../epoch-1/2/d/a.value"};
    struct tl_cont_path p;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (tl_cont_path_parse(bad[i], &p))
            fail_msg("%s was taken for a path", bad[i]);
}

static void a_digest_does_not_depend_on_the_pieces(void **state)
{
    struct tl_cont_digest d;
    char a[33], b[33], c[33];
    (void)state;
    assert_int_equal(tl_cont_digest_init(&d), 0);
    assert_int_equal(tl_cont_digest_value(&d, "x"), 0);
    tl_cont_digest_bytes(&d, 0, "abcdef", 6);
    tl_cont_digest_object(&d, "o", a);
    assert_int_equal(tl_cont_digest_value(&d, "x"), 0);
    tl_cont_digest_bytes(&d, 0, "abc", 3);
    tl_cont_digest_bytes(&d, 3, "def", 3);
    tl_cont_digest_object(&d, "o", b);
    assert_int_equal(tl_cont_digest_value(&d, "x"), 0);
    tl_cont_digest_bytes(&d, 0, "abc", 3);
    tl_cont_digest_bytes(&d, 4, "def", 3);
    tl_cont_digest_object(&d, "o", c);
    assert_string_equal(a, b);
    assert_string_not_equal(a, c);
    tl_cont_digest_fini(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_comes_back),
        cmocka_unit_test(what_is_no_name_is_refused),
        cmocka_unit_test(paths_are_taken_apart),
        cmocka_unit_test(other_paths_are_refused),
        cmocka_unit_test(a_digest_does_not_depend_on_the_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
