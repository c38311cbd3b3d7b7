// SPDX-License-Identifier: Apache-2.0
/* How a pool in a Ceph cluster is: what a program is told, by queries and by events, while an OSD is stalled, killed and revived. Runs
 * inside `tools/rados-dev run --osds 4 --hosts 4`. One story: each part begins where the one before has ended. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "tiercel/pool.h"

#define URI     "rados:///health?pool=meta&data=data,ec21&lease=5"
#define OBJECTS 60u
#define BYTES   20000u
#define LONG_MS 60000 /* never reached, unless something hangs */

static struct tiercel_pool *pool;
static struct tiercel_cont *cont;
static struct tiercel_queue *queue;

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void run(const char *command)
{
    int rc = system(command); // NOLINT: a test's own words
    if (rc != 0)
        fail_msg("%s: %d", command, rc);
}

static void rados_dev(const char *verb, const char *what)
{
    char text[256];
    snprintf(text, sizeof text, "$RADOS_TOOL %s $RADOS_DEV %s", verb, what);
    run(text);
}

static struct tiercel_pool_info ask(double within_s)
{
    struct tiercel_pool_info info;
    double begin = seconds();
    if (tiercel_pool_query(pool, &info) != 0)
        fail_msg("%s", tiercel_why(NULL));
    double took = seconds() - begin;
    printf("query: %s, map %llu, %u of %u up, %.2f s\n", tiercel_pool_state_name(info.health.state),
           (unsigned long long)info.health.map_version, info.health.targets_up, info.health.targets, took);
    if (took > within_s)
        fail_msg("the query took %.1f s", took);
    return info;
}

/* Each change comes as an event, until one says what is wanted. */
static struct tiercel_pool_health wait_until(bool (*wanted)(const struct tiercel_pool_health *h))
{
    struct tiercel_pool_health now = {.state = 0};
    double begin = seconds();
    do {
        struct tiercel_event ev, *ended = NULL;
        assert_int_equal(tiercel_event_init(&ev, queue, NULL), 0);
        assert_int_equal(tiercel_pool_wait(pool, &now, &ev), 0);
        if (tiercel_queue_poll(queue, LONG_MS, &ended, 1) != 1 || ev.error != 0)
            fail_msg("%s after %.0f s", tiercel_pool_state_name(now.state), seconds() - begin);
        printf("event after %.2f s: %s, map %llu, %u up, %u in, %llu of %llu copies in place\n", seconds() - begin,
               tiercel_pool_state_name(now.state), (unsigned long long)now.map_version, now.targets_up, now.targets_in,
               (unsigned long long)now.rebuild_done, (unsigned long long)now.rebuild_total);
        assert_int_equal(tiercel_event_fini(&ev), 0);
    } while (!wanted(&now));
    return now;
}

static bool is_degraded(const struct tiercel_pool_health *h)
{
    return h->state == TIERCEL_POOL_DEGRADED || h->state == TIERCEL_POOL_REBUILDING;
}

static bool is_whole(const struct tiercel_pool_health *h)
{
    return h->state == TIERCEL_POOL_HEALTHY && h->targets_disabled == 0;
}

static void write_objects(uint64_t epoch)
{
    static uint8_t bytes[BYTES];
    memset(bytes, (int)epoch, sizeof bytes);
    assert_int_equal(tiercel_epoch_hold(cont, &epoch, NULL, NULL), 0);
    for (uint64_t i = 0; i < OBJECTS; i++) {
        const struct tiercel_oid oid = {0, i};
        assert_int_equal(tiercel_array_write(cont, epoch, oid, 0, bytes, BYTES, NULL), 0);
    }
    assert_int_equal(tiercel_epoch_commit(cont, epoch, NULL, NULL), 0);
}

static void begin(void **state)
{
    struct tiercel_error err;
    (void)state;
    if (tiercel_pool_create(URI, &err) != 0 || tiercel_pool_connect(&pool, URI, TIERCEL_RW, &err) != 0)
        fail_msg("%s", err.message);
    assert_int_equal(tiercel_cont_create(pool, "c", NULL, NULL), 0);
    assert_int_equal(tiercel_cont_open(&cont, pool, "c", TIERCEL_RW, NULL), 0);
    assert_int_equal(tiercel_queue_create(&queue), 0);
    write_objects(1);
    struct tiercel_pool_health now = wait_until(is_whole);
    assert_true(now.targets == 4 && now.targets_up == 4 && now.targets_in == 4 && now.map_version > 1);
    struct tiercel_pool_info info = ask(6);
    assert_int_equal(info.redundancy, 1); /* of the erasure code */
    assert_true((info.health.known & TIERCEL_KNOWS_CONTENT) != 0 && info.containers == 1);
    assert_true((info.health.known & TIERCEL_KNOWS_REBUILD) != 0 && info.health.missing == 0);
    assert_true(info.health.rebuild_done == info.health.rebuild_total && info.health.rebuild_total > 3 * OBJECTS);
}

static void who_may_ask_the_monitors_only_learns_what_they_know(void **state)
{
    struct tiercel_pool_info info;
    struct tiercel_error err;
    (void)state;
    run("ceph auth get-or-create client.low mon 'allow r' osd 'allow rwx pool=meta, allow rwx pool=data' "
        ">>$RADOS_DEV/keyring 2>/dev/null");
    if (tiercel_pool_look("rados:///health?pool=meta&data=data&user=low", &info, NULL, NULL, &err) != 0)
        fail_msg("%s", err.message);
    assert_int_equal(info.health.state, TIERCEL_POOL_HEALTHY);
    assert_int_equal(info.health.known, TIERCEL_KNOWS_TARGETS); /* there is no manager, who would know of rebuilds */
    assert_true(info.health.targets_up == 4 && info.redundancy == 2);
}

/* The question does not wait for it, nor does a command that has yet to connect. */
static void a_stalled_osd_stops_no_question(void **state)
{
    (void)state;
    rados_dev("stall", "osd.3");
    double begin = seconds();
    run("timeout 30 $TIERCEL pool query --json '" URI "' >$RADOS_DEV/query.json");
    printf("command: %.2f s\n", seconds() - begin);
    struct tiercel_pool_info info = ask(12);
    assert_true(info.health.state >= TIERCEL_POOL_REBUILDING);
    run("jq -e '.state != \"healthy\" and .state != \"unknown\" and .targets == 4' $RADOS_DEV/query.json >/dev/null");
    if (seconds() - begin > 25)
        fail_msg("both took %.0f s", seconds() - begin);
    rados_dev("cont", "osd.3");
    wait_until(is_whole);
}

static int look_at_target(void *ctx, const struct tiercel_pool_target *t)
{
    unsigned *disabled = ctx;
    if (!t->up || !t->in)
        *disabled |= 1u << t->number;
    char host[16];
    snprintf(host, sizeof host, "h%u", t->number);
    assert_string_equal(t->host, host);
    return 0;
}

static void a_killed_osd_degrades_it(void **state)
{
    uint8_t bytes[BYTES];
    uint64_t len = sizeof bytes;
    unsigned disabled = 0;
    (void)state;
    rados_dev("kill", "osd.1");
    struct tiercel_pool_health now = wait_until(is_degraded);
    assert_true(now.targets_up == 3 && now.targets_disabled == 1);
    struct tiercel_pool_info info = ask(6);
    assert_true((info.health.known & TIERCEL_KNOWS_REBUILD) != 0 && info.health.missing > 0);
    assert_true(info.health.rebuild_done < info.health.rebuild_total);
    assert_int_equal(tiercel_pool_targets(pool, look_at_target, &disabled), 0);
    assert_int_equal(disabled, 2);
    run("$TIERCEL pool query '" URI "' | grep -q 'disabled: osd.1 on host h1'");
    assert_int_equal(tiercel_array_read(cont, 1, (struct tiercel_oid){0, 7}, 0, bytes, &len, NULL), 0);
    assert_true(len == BYTES && bytes[0] == 1);
    write_objects(2); /* which the OSD has to be told of */
}

static void it_is_whole_again_when_the_osd_is_back(void **state)
{
    (void)state;
    rados_dev("revive", "osd.1");
    struct tiercel_pool_health now = wait_until(is_whole);
    assert_true(now.rebuild_done == now.rebuild_total && now.missing == 0 && now.targets_up == 4);
}

static void end(void **state)
{
    (void)state;
    assert_int_equal(tiercel_cont_close(cont), 0);
    assert_int_equal(tiercel_pool_disconnect(pool), 0);
    assert_int_equal(tiercel_queue_destroy(queue, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(begin),
        cmocka_unit_test(who_may_ask_the_monitors_only_learns_what_they_know),
        cmocka_unit_test(a_stalled_osd_stops_no_question),
        cmocka_unit_test(a_killed_osd_degrades_it),
        cmocka_unit_test(it_is_whole_again_when_the_osd_is_back),
        cmocka_unit_test(end),
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (getenv("CEPH_CONF") == NULL) {
        puts("no cluster: run by tools/rados-dev");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
