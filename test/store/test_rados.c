// SPDX-License-Identifier: Apache-2.0
/* The RADOS store: what every store must do, and what only a cluster can suffer. Runs inside `tools/rados-dev run`, which starts one. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/time.h"
#include "store/suite.h"

#define LEASE_S 3

static unsigned pools;

static void make_in(char *where, size_t size, const char *data)
{
    const struct tl_store_config config = {.create = true};
    struct tl_store *s;
    struct tl_error err = {.code = 0};
    snprintf(where, size, "rados:///test-%d-%u?pool=meta&data=%s&timeout=30&lease=%d", (int)getpid(), pools++, data,
             LEASE_S);
    if (tl_store_rados_open(&s, where, &config, &err) != 0)
        fail_msg("%s", err.msg);
    s->ops->close(s);
}

static void make(char *where, size_t size)
{
    make_in(where, size, "data");
}

static struct tl_store *open_pool(const char *where)
{
    const struct tl_store_config config = {.create = false};
    struct tl_store *s = NULL;
    struct tl_error err = {.code = 0};
    if (tl_store_rados_open(&s, where, &config, &err) != 0)
        fprintf(stderr, "%s\n", err.msg);
    return s;
}

/* Processes that were killed have it open until their leases end. */
static void destroy(const char *where)
{
    struct tl_error err = {.code = 0};
    uint64_t end = tl_time_mono_ns() + 10 * LEASE_S * TL_NS_PER_S;
    int rc;
    while ((rc = tl_store_rados_destroy(where, &err)) == -EBUSY && tl_time_mono_ns() < end)
        usleep(100000);
    if (rc != 0)
        fail_msg("%s", err.msg);
    assert_null(open_pool(where));
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct suite_store rados = {"rados", make, open_pool, destroy};
    if (getenv("CEPH_CONF") == NULL) {
        puts("no cluster: run by tools/rados-dev");
        return 77;
    }
    return suite_run(&rados);
}
