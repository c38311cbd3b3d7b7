// SPDX-License-Identifier: Apache-2.0
/* A build without librados: pools in directories are all there, those in a Ceph cluster say what to install. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "store/pools.h"
#include "store/suite.h"

static void a_cluster_is_refused_with_what_to_install(void **state)
{
    (void)state;
    const struct tl_store_config config = {.create = true};
    const struct tl_store_wish wish = {.size_bytes = 1};
    const char *uri = "rados:///x?pool=meta";
    struct tl_store *s = NULL;
    struct tl_error err = {.code = 0};
    assert_int_equal(tl_store_rados_open(&s, uri, &config, &err), -ENOTSUP);
    assert_non_null(strstr(err.msg, "librados-dev"));
    assert_non_null(strstr(err.msg, uri));
    assert_int_equal(tl_store_rados_make(uri, &wish, &err), -ENOTSUP);
    assert_int_equal(tl_store_rados_destroy(uri, &err), -ENOTSUP);
    assert_null(s);
}

int main(void)
{
    const struct suite_store embedded = {"embedded", pool_make, pool_open, pool_destroy};
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_cluster_is_refused_with_what_to_install)};
    return suite_run(&embedded) + cmocka_run_group_tests(tests, NULL, NULL);
}
