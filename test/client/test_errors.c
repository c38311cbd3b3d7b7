// SPDX-License-Identifier: Apache-2.0
/* Every error that pool.h names, once. */
#include "client/scene.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct tiercel_oid oid = {3, 4};

/* ---- errors ---- */

static int nobody(void *ctx, const struct tiercel_handle_info *info)
{
    (void)ctx;
    (void)info;
    return 0;
}

struct result {
    const char *what;
    int got, expected;
};

static void check_results(const struct result *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (rows[i].got != rows[i].expected)
            fail_msg("%s: %d instead of %d", rows[i].what, rows[i].got, rows[i].expected);
}

static void what_makes_no_sense_is_refused(void **state)
{
    struct scene *x = *state;
    struct tiercel_cont *c = x->cont, *out_c = NULL;
    struct tiercel_pool *out_p = NULL;
    size_t size = 0;
    char buf[8];
    const struct result rows[] = {
        {"create without a place", tiercel_pool_create("", NULL), -EINVAL},
        {"connect to nothing", tiercel_pool_connect(&out_p, NULL, TIERCEL_RW, NULL), -EINVAL},
        {"connect for nothing", tiercel_pool_connect(&out_p, x->where, 0, NULL), -EINVAL},
        {"connect for all", tiercel_pool_connect(&out_p, x->where, TIERCEL_RO | TIERCEL_EX, NULL), -EINVAL},
        {"connect into nothing", tiercel_pool_connect(NULL, x->where, TIERCEL_RW, NULL), -EINVAL},
        {"destroy a pool somehow", tiercel_pool_destroy(x->where, 64, NULL), -EINVAL},
        {"query no pool", tiercel_pool_query(NULL, NULL), -EBADF},
        {"query into nothing", tiercel_pool_query(x->pool, NULL), -EINVAL},
        {"check no pool", tiercel_pool_check(NULL, 0, NULL, NULL), -EBADF},
        {"a label of blanks", tiercel_cont_create(x->pool, "a b", NULL, NULL), -EINVAL},
        {"a label like a UUID", tiercel_cont_create(x->pool, "01234567-89ab-cdef-0123-456789abcdef", NULL, NULL),
         -EINVAL},
        {"create in no pool", tiercel_cont_create(NULL, "x", NULL, NULL), -EBADF},
        {"destroy nothing", tiercel_cont_destroy(x->pool, "", 0, NULL), -EINVAL},
        {"destroy somehow", tiercel_cont_destroy(x->pool, "c", TIERCEL_RW, NULL), -EINVAL},
        {"list for nobody", tiercel_cont_list(x->pool, NULL, NULL), -EINVAL},
        {"open for nothing", tiercel_cont_open(&out_c, x->pool, "c", TIERCEL_NOSLIP, NULL), -EINVAL},
        {"open for all", tiercel_cont_open(&out_c, x->pool, "c", TIERCEL_RW | TIERCEL_RO, NULL), -EINVAL},
        {"open exclusively", tiercel_cont_open(&out_c, x->pool, "c", TIERCEL_EX, NULL), -EINVAL},
        {"open in no pool", tiercel_cont_open(&out_c, NULL, "c", TIERCEL_RW, NULL), -EBADF},
        {"query no container", tiercel_cont_query(NULL, NULL, NULL), -EBADF},
        {"an attribute without a name", tiercel_cont_set_attr(c, "", "x", 1), -EINVAL},
        {"an attribute of nothing", tiercel_cont_set_attr(c, "x", NULL, 1), -EINVAL},
        {"too large an attribute", tiercel_cont_set_attr(c, "x", c, TIERCEL_ATTR_MAX + 1), -EINVAL},
        {"an attribute into nothing", tiercel_cont_get_attr(c, "x", buf, NULL), -EINVAL},
        {"a property of no name", tiercel_cont_get_prop(x->pool, "c", NULL, buf, 8, NULL), -EINVAL},
        {"an unknown property", tiercel_cont_set_prop(x->pool, "c", "colour", "red", NULL), -EINVAL},
        {"share into nothing", tiercel_cont_local2global(c, buf, NULL), -EINVAL},
        {"share nothing", tiercel_pool_local2global(NULL, buf, &size), -EBADF},
        {"attach nothing", tiercel_pool_global2local(&out_p, NULL, 8, NULL), -EINVAL},
        {"attach rubbish", tiercel_pool_global2local(&out_p, "rubbish!", 8, NULL), -EINVAL},
    };
    check_results(rows, sizeof rows / sizeof *rows);
}

static void calls_that_make_no_sense_are_refused(void **state)
{
    struct scene *x = *state;
    struct tiercel_cont *c = x->cont;
    struct tiercel_anchor anchor = {.end = 0};
    struct tiercel_io io = {.akey = {.at = NULL, .len = 3}, .buffer_len = 1};
    const struct tiercel_bytes bad = {.at = NULL, .len = 3}, d = text("d");
    uint64_t len = 3, n = 1;
    unsigned count = 0;
    char buf[8];
    const struct result rows[] = {
        {"hold nothing", tiercel_epoch_hold(c, NULL, NULL, NULL), -EINVAL},
        {"commit nothing", tiercel_epoch_commit(NULL, 1, NULL, NULL), -EBADF},
        {"list snapshots into nothing", tiercel_snap_list(c, NULL, NULL, NULL), -EINVAL},
        {"update of nothing", tiercel_update(c, 1, oid, d, 0, NULL, 1, NULL), -EINVAL},
        {"update of none", tiercel_update(c, 1, oid, d, 0, &io, 0, NULL), -EINVAL},
        {"update with a flag of reading", tiercel_update(c, 1, oid, d, TIERCEL_COMMITTED, &io, 1, NULL), -EINVAL},
        {"a key of nothing", tiercel_update(c, 1, oid, d, 0, &io, 1, NULL), -EINVAL},
        {"fetch with a flag of writing", tiercel_fetch(c, 1, oid, d, TIERCEL_IF_MISSING, &io, 1, NULL), -EINVAL},
        {"a dkey of nothing", tiercel_fetch(c, 1, oid, bad, 0, &io, 1, NULL), -EINVAL},
        {"punch akeys without a dkey", tiercel_punch(c, 1, oid, NULL, &d, 1, 0, NULL), -EINVAL},
        {"punch no akeys", tiercel_punch(c, 1, oid, &d, &d, 0, 0, NULL), -EINVAL},
        {"list into nothing", tiercel_list_dkeys(c, 1, oid, &anchor, NULL, 0, NULL, &count, NULL), -EINVAL},
        {"list objects for none", tiercel_list_objects(c, 1, &anchor, NULL, &count, NULL), -EINVAL},
        {"a put of nothing", tiercel_kv_put(c, 1, oid, d, NULL, 1, 0, NULL), -EINVAL},
        {"a get without a length", tiercel_kv_get(c, 1, oid, d, buf, NULL, 0, NULL), -EINVAL},
        {"a write of nothing", tiercel_array_write(c, 1, oid, 0, NULL, 1, NULL), -EINVAL},
        {"a write of no bytes", tiercel_array_write(c, 1, oid, 0, buf, 0, NULL), -EINVAL},
        {"a read into nothing", tiercel_array_read(c, 1, oid, 0, NULL, &len, NULL), -EINVAL},
        {"a size into nothing", tiercel_array_size(c, 1, oid, NULL, NULL), -EINVAL},
        {"a punch of no bytes", tiercel_array_punch(c, 1, oid, 0, 0, NULL), -EINVAL},
        {"no object numbers", tiercel_oid_allocate(c, 0, &n), -EINVAL},
        {"a difference for nobody", tiercel_cont_diff(c, 1, 2, NULL, NULL), -EINVAL},
        {"aggregate nothing", tiercel_cont_aggregate(NULL, NULL, NULL), -EBADF},
    };
    check_results(rows, sizeof rows / sizeof *rows);
    assert_true(strlen(tiercel_why(NULL)) > 20);
}

static void errors_have_their_codes(void **state)
{
    struct scene *x = *state;
    struct tiercel_pool *reader = NULL, *none = NULL;
    struct tiercel_cont *c = NULL, *r = NULL;
    struct tiercel_lock *l = NULL;
    char nowhere[128], no_folder[128], long_key[TIERCEL_KEY_MAX + 1], byte = 1;
    const char *options = strchr(x->where, '?'); /* of a pool in a cluster */
    snprintf(nowhere, sizeof nowhere, options != NULL ? "rados:///not-there%s" : "%s/not/there",
             options != NULL ? options : x->where);
    snprintf(no_folder, sizeof no_folder, "%s", options != NULL ? "rados:///x?pool=not-there" : nowhere);
    memset(long_key, 'k', sizeof long_key);
    assert_int_equal(tiercel_pool_connect(&reader, x->where, TIERCEL_RO, NULL), 0);
    assert_int_equal(tiercel_cont_open(&r, reader, "c", TIERCEL_RO, NULL), 0);
    uint64_t epoch = 1;
    assert_int_equal(tiercel_epoch_hold(x->cont, &epoch, NULL, NULL), 0);
    const struct result rows[] = {
        {"a pool is there", tiercel_pool_create(x->where, NULL), -EEXIST},
        {"no folder for it", tiercel_pool_create(no_folder, NULL), options != NULL ? -ENODEV : -ENOENT},
        {"no pool", tiercel_pool_connect(&none, nowhere, TIERCEL_RW, NULL), -ENOENT},
        {"no pool to evict", tiercel_pool_evict(nowhere, NULL), -ENOENT},
        {"no pool to destroy", tiercel_pool_destroy(nowhere, 0, NULL), -ENOENT},
        {"a pool in use", tiercel_pool_destroy(x->where, 0, NULL), -EBUSY},
        {"somebody is connected", tiercel_pool_connect(&none, x->where, TIERCEL_EX, NULL), -EBUSY},
        {"a container is there", tiercel_cont_create(x->pool, "c", NULL, NULL), -EEXIST},
        {"create through a reader", tiercel_cont_create(reader, "n", NULL, NULL), -EACCES},
        {"destroy through a reader", tiercel_cont_destroy(reader, "c", 0, NULL), -EACCES},
        {"write through a reader", tiercel_cont_open(&c, reader, "c", TIERCEL_RW, NULL), -EACCES},
        {"no container to open", tiercel_cont_open(&c, x->pool, "n", TIERCEL_RW, NULL), -ENOENT},
        {"no container to destroy", tiercel_cont_destroy(x->pool, "n", 0, NULL), -ENOENT},
        {"no container to evict", tiercel_cont_evict(x->pool, "n", NULL), -ENOENT},
        {"no handles of it", tiercel_cont_list_handles(x->pool, "n", nobody, NULL), -ENOENT},
        {"a container in use", tiercel_cont_destroy(x->pool, "c", 0, NULL), -EBUSY},
        {"no snapshot to open", tiercel_cont_open_snapshot(&c, x->pool, "c", 5, NULL), -ENOENT},
        {"no snapshot to destroy", tiercel_snap_destroy(x->cont, 5, NULL), -ENOENT},
        {"a snapshot of what is not final", tiercel_snap_create(x->cont, 5, NULL), -ENOENT},
        {"an attribute of a reader's", tiercel_cont_set_attr(r, "x", "y", 1), -EACCES},
        {"hold of a reader", tiercel_epoch_hold(r, &epoch, NULL, NULL), -EACCES},
        {"lock of a reader", tiercel_lock(r, "l", TIERCEL_LOCK_EXCLUSIVE, 0, &l, NULL, NULL), -EACCES},
        {"a long key",
         tiercel_kv_put(x->cont, 1, oid, (struct tiercel_bytes){long_key, sizeof long_key}, &byte, 1, 0, NULL),
         -ENAMETOOLONG},
        {"a large value", tiercel_kv_put(x->cont, 1, oid, text("k"), &byte, TIERCEL_VALUE_MAX + 1, 0, NULL), -EFBIG},
        {"beyond 64 bits", tiercel_array_write(x->cont, 1, oid, UINT64_MAX, &byte, 1, NULL), -EOVERFLOW},
        {"at no epoch", tiercel_array_write(x->cont, MAX, oid, 0, &byte, 1, NULL), -EOVERFLOW},
        {"below the hold", tiercel_array_write(x->cont, 0, oid, 0, &byte, 1, NULL), -EROFS},
        {"wait for ever", tiercel_epoch_wait(x->cont, MAX, NULL, NULL), -EOVERFLOW},
        {"slip nowhere", tiercel_epoch_slip(x->cont, MAX, NULL, NULL), -EOVERFLOW},
    };
    check_results(rows, sizeof rows / sizeof *rows);
    assert_int_equal(tiercel_cont_close(r), 0);
    assert_int_equal(tiercel_pool_disconnect(reader), 0);
}

/* Changes a byte of every payload file, or object of a cluster, behind the library's back. */
static void damage(struct scene *x, const char *pattern)
{
    char command[512], space[64], data[64];
    if (sscanf(x->where, "rados:///%63[^?]?pool=%*[^&]&data=%63[^&]", space, data) == 2)
        snprintf(command, sizeof command,
                 "rados='rados -p %s -N %s' f=$(mktemp); for o in $($rados ls); do $rados get $o $f && "
                 "LC_ALL=C sed -i 's/%s/X/' $f && $rados put $o $f; done; rm $f",
                 data, space, pattern);
    else
        snprintf(
            command, sizeof command,
            "for f in '%s'/*; do case $f in *.mdb*|*/page|*/pool) ;; *) LC_ALL=C sed -i 's/%s/X/' \"$f\";; esac; done",
            x->where, pattern);
    assert_int_equal(system(command), 0);
}

static void damage_is_noticed_and_named(void **state)
{
    struct scene *x = *state;
    static char bytes[65536];
    uint64_t len = sizeof bytes;
    memset(bytes, 'a', sizeof bytes);
    hold(x, 1);
    assert_int_equal(tiercel_array_write(x->cont, 1, oid, 0, bytes, sizeof bytes, NULL), 0);
    commit(x, 1);
    assert_int_equal(tiercel_cont_close(x->cont), 0);
    assert_int_equal(tiercel_pool_disconnect(x->pool), 0);
    damage(x, "a");
    assert_int_equal(tiercel_pool_connect(&x->pool, x->where, TIERCEL_RW, NULL), 0);
    x->cont = scene_open(x, "c", TIERCEL_RW);
    int rc = ended(x, tiercel_array_read(x->cont, 1, oid, 0, bytes, &len, ev_of(x)));
    assert_int_equal(rc, -EBADMSG);
    if (!x->async)
        assert_non_null(strstr(tiercel_why(NULL), "damaged"));
    assert_true(tiercel_pool_check(x->pool, 0, NULL, NULL) > 0);
}

#define one(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
#define both(name)                                                                                                     \
    one(name),                                                                                                         \
    {                                                                                                                  \
#name " (events)", name, scene_setup_async, scene_teardown, NULL                                               \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        one(what_makes_no_sense_is_refused),
        one(calls_that_make_no_sense_are_refused),
        one(errors_have_their_codes),
        both(damage_is_noticed_and_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
