// SPDX-License-Identifier: Apache-2.0
/* Object classes through the public interface: in a directory, and, when test/store/rados.sh runs it, in a cluster, where the RADOS pools are
 * looked into. `test_client_classes lost` takes an OSD away from that cluster, for good. */
#include "client/scene.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LARGE 300000u /* three chunks of checksums, none of which is kept with the keys */
#define SMALL 8192u

static const unsigned ec21 = TIERCEL_CLASS_EC(2u, 1u), rp3 = TIERCEL_CLASS_RP(3u), other = TIERCEL_CLASS_RP(7u);

static bool on_rados(const struct scene *x)
{
    return strncmp(x->where, "rados:", 6) == 0;
}

static struct tiercel_oid object(unsigned object_class, uint64_t number)
{
    return tiercel_oid_of_class((struct tiercel_oid){0, number}, object_class);
}

static void fill(uint8_t *bytes, size_t len, struct tiercel_oid oid, uint64_t epoch)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(i / 7 + i + oid.lo * 31 + (oid.hi >> 48) + epoch * 101);
}

static int write_bytes(struct scene *x, uint64_t epoch, struct tiercel_oid oid, size_t len)
{
    static uint8_t bytes[LARGE];
    fill(bytes, len, oid, epoch);
    return ended(x, tiercel_array_write(x->cont, epoch, oid, 0, bytes, len, ev_of(x)));
}

/* What was written in `written` is read at `epoch`. */
static void expect_bytes(struct scene *x, uint64_t epoch, struct tiercel_oid oid, size_t len, uint64_t written)
{
    static uint8_t want[LARGE], got_now[LARGE];
    uint64_t n = len;
    fill(want, len, oid, written);
    int rc = ended(x, tiercel_array_read(x->cont, epoch, oid, 0, got_now, &n, ev_of(x)));
    if (rc != 0)
        fail_msg("%s", tiercel_why(NULL));
    assert_int_equal(n, len);
    assert_memory_equal(want, got_now, len);
}

/* How many payloads a RADOS pool has in our namespace; -1: objects of all kinds. */
static int look_into(const struct scene *x, const char *pool, const char *kind)
{
    char command[256], answer[32] = "";
    const char *name = x->where + strlen("rados:///");
    snprintf(command, sizeof command, "rados -p %s -N %.*s ls | grep -c '^%s'", pool, (int)strcspn(name, "?"), name,
             kind);
    FILE *f = popen(command, "r"); // NOLINT: a test's own words
    assert_non_null(f);
    assert_non_null(fgets(answer, sizeof answer, f));
    pclose(f);
    return atoi(answer);
}

static void payloads_are(const struct scene *x, int in_data, int in_ec21)
{
    if (!on_rados(x))
        return;
    assert_int_equal(look_into(x, "data", "d\\."), in_data);
    assert_int_equal(look_into(x, "ec21", "d\\."), in_ec21);
    assert_int_equal(look_into(x, "meta", "d\\."), 0);
}

/* ---- names and numbers ---- */

static void classes_have_names(void **state)
{
    static const char *const bad[] = {"", "s", "RP_1", "RP_0", "EC_2P0", "EC_2P1 ", "RP_3,EC_2P1"};
    char name[TIERCEL_CLASS_NAME];
    unsigned number = 9;
    (void)state;
    assert_int_equal(tiercel_class_parse("EC_2P1", &number), 0);
    assert_int_equal(number, ec21);
    assert_int_equal(tiercel_class_parse("RP_3", &number), 0);
    assert_int_equal(number, rp3);
    assert_int_equal(tiercel_class_parse("S", &number), 0);
    assert_int_equal(number, TIERCEL_CLASS_S);
    assert_int_equal(tiercel_class_parse("default", &number), 0);
    assert_int_equal(number, TIERCEL_CLASS_DEFAULT);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(tiercel_class_parse(bad[i], &number), -EINVAL);
    assert_int_equal(tiercel_class_parse(NULL, &number), -EINVAL);
    assert_int_equal(tiercel_class_name(TIERCEL_CLASS_EC(16u, 2u), name), 0);
    assert_string_equal(name, "EC_16P2");
    assert_int_equal(tiercel_class_name(0x12345, name), -EINVAL);
    assert_string_equal(name, "0x12345");
}

static void a_class_is_a_part_of_an_objects_number(void **state)
{
    struct tiercel_oid oid = {0x1234567890ab, 7};
    (void)state;
    assert_int_equal(tiercel_oid_class(oid), TIERCEL_CLASS_DEFAULT);
    oid = tiercel_oid_of_class(oid, ec21);
    assert_int_equal(tiercel_oid_class(oid), ec21);
    oid = tiercel_oid_of_class(oid, rp3); /* one instead of the other */
    assert_true(oid.hi == 0x01031234567890ab && oid.lo == 7);
    oid = tiercel_oid_of_class(oid, TIERCEL_CLASS_DEFAULT);
    assert_true(oid.hi == 0x1234567890ab);
}

/* ---- writing ---- */

static void a_pool_says_what_it_offers(void **state)
{
    struct scene *x = *state;
    unsigned classes[4] = {0}, count = 0;
    assert_int_equal(tiercel_pool_classes(x->pool, NULL, &count), 0);
    assert_int_equal(count, on_rados(x) ? 2 : 1);
    count = 4;
    assert_int_equal(tiercel_pool_classes(x->pool, classes, &count), 0);
    assert_int_equal(classes[0], on_rados(x) ? rp3 : TIERCEL_CLASS_S);
    assert_int_equal(classes[1], on_rados(x) ? ec21 : 0);
    assert_int_equal(tiercel_pool_classes(x->pool, NULL, &count), -EINVAL);
}

/* All in one container; what is superseded or destroyed is gone from all RADOS pools. */
static void objects_of_all_classes_share_a_container(void **state)
{
    struct scene *x = *state;
    const struct tiercel_oid plain = object(TIERCEL_CLASS_DEFAULT, 1),
                             copied = object(on_rados(x) ? rp3 : TIERCEL_CLASS_S, 1),
                             coded = object(on_rados(x) ? ec21 : TIERCEL_CLASS_S, 2),
                             small = object(tiercel_oid_class(coded), 3);
    struct tiercel_aggregated done;
    hold(x, 1);
    for (uint64_t epoch = 1; epoch <= 2; epoch++) {
        assert_int_equal(write_bytes(x, epoch, plain, LARGE), 0);
        assert_int_equal(write_bytes(x, epoch, copied, LARGE), 0);
        assert_int_equal(write_bytes(x, epoch, coded, LARGE), 0);
        assert_int_equal(write_bytes(x, epoch, small, SMALL), 0);
        commit(x, epoch);
    }
    payloads_are(x, 4, 2);
    for (unsigned round = 0; round < 2; round++) {
        expect_bytes(x, 0, plain, LARGE, 2);
        expect_bytes(x, 0, copied, LARGE, 2);
        expect_bytes(x, 0, coded, LARGE, 2);
        expect_bytes(x, 0, small, SMALL, 2);
        if (round == 0)
            assert_int_equal(ended(x, tiercel_cont_aggregate(x->cont, &done, ev_of(x))), 0);
    }
    assert_int_equal(done.records, 4);
    payloads_are(x, 2, 1);
    assert_int_equal(tiercel_pool_check(x->pool, 0, NULL, NULL), 0);
    assert_int_equal(tiercel_cont_close(x->cont), 0);
    x->cont = NULL;
    assert_int_equal(tiercel_cont_destroy(x->pool, "c", 0, NULL), 0);
    payloads_are(x, 0, 0);
    assert_int_equal(tiercel_pool_disconnect(x->pool), 0);
    x->pool = NULL;
    assert_int_equal(tiercel_pool_destroy(x->where, 0, NULL), 0);
    if (on_rados(x))
        assert_int_equal(look_into(x, "meta", "") + look_into(x, "data", "") + look_into(x, "ec21", ""), 0);
}

static void a_class_that_is_not_offered_is_refused(void **state)
{
    struct scene *x = *state;
    const unsigned wrong[] = {other, 0x7777, on_rados(x) ? TIERCEL_CLASS_S : ec21};
    hold(x, 1);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const struct tiercel_oid oid = object(wrong[i], 1);
        char byte, name[TIERCEL_CLASS_NAME];
        uint64_t n = 1;
        (void)tiercel_class_name(wrong[i], name);
        assert_int_equal(write_bytes(x, 1, oid, 10), -EINVAL);
        if (!x->async) {
            assert_non_null(strstr(tiercel_why(NULL), name));
            assert_non_null(strstr(tiercel_why(NULL), x->where));
            assert_non_null(strstr(tiercel_why(NULL), on_rados(x) ? "RP_3, EC_2P1" : "offers S"));
        }
        assert_int_equal(ended(x, tiercel_punch(x->cont, 1, oid, NULL, NULL, 0, 0, ev_of(x))), -EINVAL);
        assert_int_equal(ended(x, tiercel_array_read(x->cont, 1, oid, 0, &byte, &n, ev_of(x))), 0);
        assert_int_equal(n, 0);
    }
    assert_int_equal(write_bytes(x, 1, object(0, 1), 10), 0);
    commit(x, 1);
    expect_bytes(x, 0, object(0, 1), 10, 1);
}

static void property_is(struct scene *x, const char *prop, const char *want)
{
    char value[64];
    assert_int_equal(tiercel_cont_get_prop(x->pool, "c", prop, value, sizeof value, NULL), 0);
    assert_string_equal(value, want);
}

static void a_containers_class_counts_for_what_is_written_from_then_on(void **state)
{
    struct scene *x = *state;
    const char *mine = on_rados(x) ? "EC_2P1" : "S";
    struct tiercel_error err = {0};
    hold(x, 1);
    property_is(x, "class", "default");
    property_is(x, "redundancy", on_rados(x) ? "2" : "0");
    assert_int_equal(write_bytes(x, 1, object(0, 1), LARGE), 0);
    commit(x, 1);
    payloads_are(x, 1, 0);
    assert_int_equal(tiercel_cont_set_prop(x->pool, "c", "class", mine, NULL), 0);
    property_is(x, "class", mine);
    property_is(x, "redundancy", on_rados(x) ? "1" : "0");
    assert_int_equal(write_bytes(x, 2, object(0, 2), LARGE), 0);
    assert_int_equal(write_bytes(x, 2, object(on_rados(x) ? rp3 : TIERCEL_CLASS_S, 3), LARGE), 0);
    commit(x, 2);
    payloads_are(x, 2, 1);
    assert_int_equal(tiercel_cont_set_prop(x->pool, "c", "class", "RP_7", &err), -EINVAL);
    assert_non_null(strstr(err.message, "RP_7"));
    assert_int_equal(tiercel_cont_set_prop(x->pool, "c", "class", "copper", &err), -EINVAL);
    assert_non_null(strstr(err.message, "copper"));
    assert_int_equal(tiercel_cont_set_prop(x->pool, "c", "redundancy", "5", &err), -EINVAL);
    property_is(x, "class", mine);
    assert_int_equal(tiercel_cont_set_prop(x->pool, "c", "class", "default", NULL), 0);
    property_is(x, "class", "default");
    assert_int_equal(write_bytes(x, 3, object(0, 3), LARGE), 0);
    commit(x, 3);
    payloads_are(x, 3, 1);
    expect_bytes(x, 0, object(0, 1), LARGE, 1);
    expect_bytes(x, 0, object(0, 2), LARGE, 2);
    expect_bytes(x, 0, object(0, 3), LARGE, 3);
}

/* ---- a lost OSD ---- */

static void what_is_coded_survives_a_lost_osd(void **state)
{
    struct scene *x = *state;
    enum { OBJECTS = 24 }; /* so that each OSD has pieces of some */
    hold(x, 1);
    for (uint64_t i = 0; i < OBJECTS; i++)
        assert_int_equal(write_bytes(x, 1, object(i % 2 == 0 ? ec21 : rp3, i), LARGE), 0);
    commit(x, 1);
    assert_int_equal(system("$RADOS_TOOL kill $RADOS_DEV osd.2"), 0); // NOLINT: a test's own words
    for (uint64_t i = 0; i < OBJECTS; i++)
        expect_bytes(x, 0, object(i % 2 == 0 ? ec21 : rp3, i), LARGE, 1);
    for (uint64_t i = 0; i < OBJECTS; i++)
        assert_int_equal(write_bytes(x, 2, object(i % 2 == 0 ? ec21 : rp3, i), LARGE), 0);
    commit(x, 2);
    for (uint64_t i = 0; i < OBJECTS; i++)
        expect_bytes(x, 0, object(i % 2 == 0 ? ec21 : rp3, i), LARGE, 2);
}

#define one(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
#define both(name)                                                                                                     \
    one(name),                                                                                                         \
    {                                                                                                                  \
#name " (events)", name, scene_setup_async, scene_teardown, NULL                                               \
    }

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_have_names),
        cmocka_unit_test(a_class_is_a_part_of_an_objects_number),
        one(a_pool_says_what_it_offers),
        both(objects_of_all_classes_share_a_container),
        both(a_class_that_is_not_offered_is_refused),
        one(a_containers_class_counts_for_what_is_written_from_then_on),
    };
    const struct CMUnitTest lost[] = {one(what_is_coded_survives_a_lost_osd)};
    if (argc > 1 && strcmp(argv[1], "lost") == 0)
        return cmocka_run_group_tests(lost, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
