// SPDX-License-Identifier: Apache-2.0
/* Extended attributes as a blob. */
#include "base/xattrs.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void *make(size_t *len)
{
    struct tl_xattrs_builder b = {.bytes = NULL};
    void *blob;
    assert_int_equal(tl_xattrs_begin(&b), 0);
    assert_int_equal(tl_xattrs_add(&b, "user.colour", "blue", 4, 0), 0);
    assert_int_equal(tl_xattrs_add(&b, "user.empty", NULL, 0, 0), 0);
    assert_int_equal(tl_xattrs_add(&b, "user.closed", NULL, 0, EACCES), 0);
    tl_xattrs_finish(&b, &blob, len);
    tl_xattrs_fini(&b);
    return blob;
}

static void what_is_put_in_comes_out(void **state)
{
    (void)state;
    size_t len, value_len;
    const void *value;
    char names[64];
    void *blob = make(&len);
    struct tl_xattrs x;
    assert_int_equal(tl_xattrs_open(&x, blob, len), 0);
    assert_int_equal(x.count, 3);
    assert_int_equal(tl_xattrs_find(&x, "user.colour", &value, &value_len), 0);
    assert_int_equal(value_len, 4);
    assert_memory_equal(value, "blue", 4);
    assert_int_equal(tl_xattrs_find(&x, "user.empty", &value, &value_len), 0);
    assert_int_equal(value_len, 0);
    assert_int_equal(tl_xattrs_find(&x, "user.closed", &value, &value_len), -EACCES);
    assert_int_equal(tl_xattrs_find(&x, "user.colou", &value, &value_len), -ENODATA);
    assert_int_equal(tl_xattrs_names(&x, NULL, 0), 35);
    assert_int_equal(tl_xattrs_names(&x, names, sizeof names), 35);
    assert_memory_equal(names, "user.colour\0user.empty\0user.closed", 35);
    free(blob);
}

static void limits_are_kept(void **state)
{
    (void)state;
    static char name[TL_XATTR_NAME_MAX + 2], value[TL_XATTR_VALUE_MAX + 1];
    memset(name, 'x', sizeof name - 1);
    struct tl_xattrs_builder b = {.bytes = NULL};
    assert_int_equal(tl_xattrs_begin(&b), 0);
    assert_int_equal(tl_xattrs_add(&b, "", "v", 1, 0), -EINVAL);
    assert_int_equal(tl_xattrs_add(&b, name, "v", 1, 0), -EINVAL);
    assert_int_equal(tl_xattrs_add(&b, "user.a", value, sizeof value, 0), -EINVAL);
    assert_int_equal(tl_xattrs_add(&b, "user.a", value, 1, EACCES), -EINVAL);
    assert_int_equal(tl_xattrs_add(&b, name + 1, value, TL_XATTR_VALUE_MAX, 0), 0);
    int rc = 0;
    for (int i = 0; i < 200 && rc == 0; i++)
        rc = tl_xattrs_add(&b, "user.a", value, TL_XATTR_VALUE_MAX, 0);
    assert_int_equal(rc, -E2BIG);
    tl_xattrs_fini(&b);
}

/* Every cut and every changed byte: refused, or read without going astray (the sanitizers watch). */
static void damaged_blobs_are_refused_or_harmless(void **state)
{
    (void)state;
    size_t len, value_len;
    const void *value;
    struct tl_xattrs x;
    uint8_t *blob = make(&len);
    for (size_t cut = 0; cut < len; cut++) {
        uint8_t *copy = malloc(cut + 1);
        memcpy(copy, blob, cut);
        assert_int_equal(tl_xattrs_open(&x, copy, cut), -EBADMSG);
        free(copy);
    }
    for (size_t at = 0; at < len; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            blob[at] ^= (uint8_t)(1u << bit);
            if (tl_xattrs_open(&x, blob, len) == 0) {
                (void)tl_xattrs_names(&x, NULL, 0);
                int rc = tl_xattrs_find(&x, "user.closed", &value, &value_len);
                assert_true(rc <= 0);
            }
            blob[at] ^= (uint8_t)(1u << bit);
        }
    }
    free(blob);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_put_in_comes_out),
        cmocka_unit_test(limits_are_kept),
        cmocka_unit_test(damaged_blobs_are_refused_or_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
