// SPDX-License-Identifier: Apache-2.0
/* One process of a load on a pool, whose content says what it should be: what is read at an epoch follows from the container and the
 * epoch alone. A driver (failure_test.py) starts many, and breaks what is below them.
 *
 *   load make   POOL CONT...               makes the pool, if it is not there, and containers
 *   load anchor POOL CONT...               has them open, so that all their epochs stay readable
 *   load write  POOL CONT SEED [PLANT]     commits one epoch after the other, and says so
 *   load read   POOL CONT SEED [PLANT]     reads committed epochs and snapshots, compares every byte
 *   load wait   POOL CONT                  waits for one epoch after the other, and reads it
 *   load count  POOL CONT NAME [PLANT]     adds one to a number, and to its own, under a lock, again and again
 *   load sum    POOL CONT NAME...          the number is the sum of what these have counted
 *   load watch  POOL CONT                  tells how the pool is, each time that changes
 *   load verify POOL CONT SEED FROM HIGHEST SNAP...
 *                                          all epochs from FROM up to GHCE, which is HIGHEST at least, and the snapshots
 *   load survey POOL CONT SEED FROM TO     what these epochs have written, one after the other, whatever cannot be read
 *
 * Lines on stdout: `state NAME MS`; `good EPOCH MS`, `lost EPOCH MS CODE SENTENCE` of a survey; `ready`; `commit EPOCH MS`, `snap EPOCH`, `saw EPOCH MS`; at the end `done COUNT`. `wrong SENTENCE`: what was read is not
 * what it should be; `failed SENTENCE`: a call gave an error. All but make, verify, survey and sum go on until stdin ends.
 *
 * PLANT, to see that this is noticed: a writer that tells of a commit without one (ack), leaves one object of an epoch out (object), or
 * has one byte wrong (byte), or discards nothing (calm); a reader that is shown what nobody has committed (uncommitted); a counter that does without the lock
 * (unlocked). */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tiercel/pool.h"

#define OBJECTS   5u       /* arrays, one of which an epoch writes whole, each in its turn */
#define RING      16u      /* values under names, one of which an epoch writes */
#define VALUE     300u     /* bytes of a value */
#define LARGEST   1100000u /* of an array */
#define SNAP_EACH 20u
#define PAUSE_MS  300u

static const uint32_t sizes[OBJECTS] = {2048, 20000, 70000, 200000, LARGEST};
static const struct tiercel_oid table = {.lo = 1000};

struct load {
    const char *cont_name, *plant;
    struct tiercel_pool *pool;
    struct tiercel_cont *cont;
    uint64_t state; /* of the random numbers */
    uint64_t count;
    uint8_t is[LARGEST], should[LARGEST];
};

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *fmt, ...)
{
    char line[1400];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(line, sizeof line - 1, fmt, args);
    va_end(args);
    n = n < (int)sizeof line - 2 ? n : (int)sizeof line - 2;
    line[n++] = '\n';
    if (write(1, line, (size_t)n) != n)
        exit(3); /* nobody listens */
}

static void must(const char *what, int rc)
{
    if (rc >= 0)
        return;
    say("failed %s: %s (%d)", what, tiercel_why(NULL), rc);
    exit(1);
}

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t mix(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdull;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ull;
    return x ^ x >> 33;
}

static uint64_t draw(struct load *l, uint64_t below)
{
    l->state += 0x9e3779b97f4a7c15ull;
    return mix(l->state) % below;
}

/* The driver lets go of stdin, or ends. */
static bool goes_on(int wait_ms)
{
    struct pollfd p = {.fd = 0, .events = POLLIN};
    char byte;
    return poll(&p, 1, wait_ms) <= 0 || read(0, &byte, 1) > 0;
}

/* ---- what should be there ---- */

static void fill(const struct load *l, uint8_t *out, uint32_t len, uint64_t epoch, uint64_t thing)
{
    uint64_t seed = mix(epoch * 1000003 + thing);
    for (const char *c = l->cont_name; *c != 0; c++)
        seed = mix(seed + (uint8_t)*c);
    for (uint32_t i = 0; i < len; i += 8) {
        uint64_t word = mix(seed + i);
        memcpy(out + i, &word, len - i < 8 ? len - i : 8);
    }
}

/* The newest epoch at or below this one that has written object or ring place n of `of`; 0: none. */
static uint64_t last_of(uint64_t epoch, uint64_t n, uint64_t of)
{
    uint64_t back = (epoch + of - n) % of;
    return epoch > back ? epoch - back : 0;
}

static struct tiercel_bytes word(const char *text)
{
    return (struct tiercel_bytes){text, strlen(text)};
}

static struct tiercel_bytes ring_key(uint64_t n, char out[8])
{
    return (struct tiercel_bytes){out, (size_t)snprintf(out, 8, "k%02u", (unsigned)(n % RING))};
}

static void value_of(const struct load *l, uint8_t out[VALUE], uint64_t epoch)
{
    fill(l, out, VALUE, epoch, 500);
    memcpy(out, &epoch, sizeof epoch);
}

/* ---- looking ---- */

static void wrong(const struct load *l, uint64_t epoch, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void wrong(const struct load *l, uint64_t epoch, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    say("wrong container %s, epoch %" PRIu64 ": %s", l->cont_name, epoch, text);
    exit(2);
}

static void compare(struct load *l, uint64_t epoch, const char *what, uint64_t n, uint64_t len, uint64_t want)
{
    if (len != want)
        wrong(l, epoch, "%s %" PRIu64 " has %" PRIu64 " bytes instead of %" PRIu64, what, n, len, want);
    if (memcmp(l->is, l->should, len) == 0)
        return;
    uint64_t at = 0;
    while (l->is[at] == l->should[at])
        at++;
    wrong(l, epoch, "%s %" PRIu64 ", byte %" PRIu64 ": %u instead of %u", what, n, at, l->is[at], l->should[at]);
}

static int read_object(struct load *l, uint64_t epoch, uint64_t n)
{
    uint64_t from = last_of(epoch, n, OBJECTS);
    struct tiercel_extent all = {0, sizes[n]};
    struct tiercel_io io = {
        .akey = word("a"), .extents = &all, .extent_count = 1, .buffer = l->is, .buffer_len = sizes[n]};
    int rc = tiercel_fetch(l->cont, epoch, (struct tiercel_oid){.lo = n}, word("d"), 0, &io, 1, NULL);
    if (rc != 0)
        return rc;
    fill(l, l->should, sizes[n], from, n);
    compare(l, epoch, "array", n, io.record_size == 0 ? 0 : sizes[n], from == 0 ? 0 : sizes[n]);
    return 0;
}

static void look_at_object(struct load *l, uint64_t epoch, uint64_t n)
{
    must("reading an array", read_object(l, epoch, n));
}

static void look_at_value(struct load *l, uint64_t epoch, uint64_t n)
{
    char name[8];
    uint64_t from = last_of(epoch, n, RING), len = VALUE;
    int rc = tiercel_kv_get(l->cont, epoch, table, ring_key(n, name), l->is, &len, 0, NULL);
    if (from == 0 && rc == -ENOENT)
        return;
    must("reading a value", rc);
    value_of(l, l->should, from);
    compare(l, epoch, "value", n, len, from == 0 ? 0 : VALUE);
}

static void look_at_names(struct load *l, uint64_t epoch)
{
    struct tiercel_anchor anchor = {.end = 0};
    struct tiercel_bytes keys[2 * RING];
    uint64_t want = epoch < RING ? epoch : RING;
    unsigned count = 2 * RING;
    must("listing", tiercel_kv_list(l->cont, epoch, table, &anchor, l->is, sizeof l->is, keys, &count, NULL));
    if (count != want)
        wrong(l, epoch, "%u values are listed instead of %" PRIu64, count, want);
}

/* What it has written. */
static void look_at_own(struct load *l, uint64_t epoch)
{
    look_at_object(l, epoch, epoch % OBJECTS);
    look_at_value(l, epoch, epoch % RING);
    l->count++;
}

/* And some of what it has not. */
static void look_at(struct load *l, uint64_t epoch)
{
    look_at_own(l, epoch);
    look_at_object(l, epoch, draw(l, OBJECTS));
    look_at_value(l, epoch, draw(l, RING));
    if (draw(l, 8) == 0)
        look_at_names(l, epoch);
}

static struct tiercel_epochs epochs_of(struct load *l)
{
    struct tiercel_epochs e;
    must("asking for epochs", tiercel_epoch_query(l->cont, &e, NULL));
    return e;
}

/* The newest value that is shown without naming an epoch is that of an epoch which was committed between before and after. */
static void look_at_newest(struct load *l)
{
    uint64_t newest = 0, after = 0;
    struct tiercel_epochs before = epochs_of(l);
    bool planted = l->plant != NULL && strcmp(l->plant, "uncommitted") == 0;
    if (planted) { /* what is committed too late for what is asked below */
        after = before.ghce;
        must("waiting", tiercel_epoch_wait(l->cont, after + 1, NULL, NULL));
    }
    for (uint64_t n = 0; n < RING; n++) {
        char name[8];
        uint64_t len = VALUE, epoch;
        int rc = tiercel_kv_get(l->cont, TIERCEL_EPOCH_NOW, table, ring_key(n, name), l->is, &len, 0, NULL);
        if (rc == -ENOENT)
            continue;
        must("reading the newest value", rc);
        memcpy(&epoch, l->is, sizeof epoch);
        newest = epoch > newest ? epoch : newest;
    }
    after = planted ? after : epochs_of(l).ghce;
    if (newest < before.ghce || newest > after)
        wrong(l, newest, "this is shown, while committed was %" PRIu64 ", then %" PRIu64, before.ghce, after);
}

/* ---- writing ---- */

static void write_epoch(struct load *l, uint64_t epoch, uint64_t as)
{
    uint64_t n = epoch % OBJECTS;
    struct tiercel_extent all = {0, sizes[n]};
    struct tiercel_io io = {.akey = word("a"),
                            .extents = &all,
                            .extent_count = 1,
                            .record_size = 1,
                            .buffer = l->should,
                            .buffer_len = sizes[n]};
    char name[8];
    fill(l, l->should, sizes[n], as, n);
    if (l->plant != NULL && strcmp(l->plant, "byte") == 0 && epoch == 12)
        l->should[sizes[n] / 2] ^= 1;
    if (l->plant == NULL || strcmp(l->plant, "object") != 0 || epoch != 12)
        must("writing an array",
             tiercel_update(l->cont, epoch, (struct tiercel_oid){.lo = n}, word("d"), 0, &io, 1, NULL));
    value_of(l, l->should, as);
    must("writing a value", tiercel_kv_put(l->cont, epoch, table, ring_key(epoch, name), l->should, VALUE, 0, NULL));
    must("flushing", tiercel_epoch_flush(l->cont, epoch, NULL, NULL));
}

static void write_all(struct load *l)
{
    uint64_t epoch = 0;
    bool calm = l->plant != NULL && strcmp(l->plant, "calm") == 0;
    must("holding", tiercel_epoch_hold(l->cont, &epoch, NULL, NULL));
    say("ready");
    for (; goes_on((int)draw(l, PAUSE_MS)); epoch++, l->count++) {
        if (!calm && draw(l, 8) == 0) { /* what was flushed, and given up, is not there */
            write_epoch(l, epoch, epoch + 1000000);
            must("discarding", tiercel_epoch_discard(l->cont, epoch, epoch, NULL, NULL));
        }
        write_epoch(l, epoch, epoch);
        (void)goes_on((int)draw(l, 10)); /* for readers, to see what they must not */
        if (l->plant != NULL && strcmp(l->plant, "ack") == 0 && epoch == 12) {
            say("commit %" PRIu64 " %" PRIu64, epoch, now_ms());
            return;
        }
        must("committing", tiercel_epoch_commit(l->cont, epoch, NULL, NULL));
        say("commit %" PRIu64 " %" PRIu64, epoch, now_ms());
        if (epoch % SNAP_EACH == 0 && epochs_of(l).ghce >= epoch) { /* else the hold of one who died is still there */
            must("making a snapshot", tiercel_snap_create(l->cont, epoch, NULL));
            say("snap %" PRIu64, epoch);
        }
    }
}

/* ---- counting, as examples/counter.c does ---- */

static uint64_t count_at(struct load *l, uint64_t epoch, const char *name)
{
    uint64_t count = 0, len = sizeof count;
    int rc = tiercel_kv_get(l->cont, epoch, table, word(name), &count, &len, 0, NULL);
    if (rc != -ENOENT)
        must("reading a count", rc);
    return count;
}

/* The last epoch that was committed under the lock. */
static uint64_t last_count(struct load *l, const struct tiercel_lock_value *value)
{
    return value->valid ? value->epoch : epochs_of(l).ghpce;
}

static void count_one(struct load *l, const char *name, bool locked)
{
    struct tiercel_lock *lock = NULL;
    struct tiercel_lock_value value = {.valid = 0};
    if (locked)
        must("locking", tiercel_lock(l->cont, "count", TIERCEL_LOCK_EXCLUSIVE, TIERCEL_FOREVER, &lock, &value, NULL));
    uint64_t last = last_count(l, &value), lhe = epochs_of(l).lhe, epoch = last + 1 > lhe ? last + 1 : lhe;
    uint64_t all = count_at(l, last, "all") + 1, mine = count_at(l, last, name) + 1;
    if (mine != l->count + 1)
        wrong(l, last, "%s has counted to %" PRIu64 " here, and %" PRIu64 " was acknowledged", name, mine - 1,
              l->count);
    if (!locked)
        (void)goes_on((int)draw(l, 30)); /* for the others */
    must("writing a count", tiercel_kv_put(l->cont, epoch, table, word("all"), &all, sizeof all, 0, NULL));
    must("writing a count", tiercel_kv_put(l->cont, epoch, table, word(name), &mine, sizeof mine, 0, NULL));
    must("flushing", tiercel_epoch_flush(l->cont, epoch, NULL, NULL));
    must("committing", tiercel_epoch_commit(l->cont, epoch, NULL, NULL));
    value = (struct tiercel_lock_value){.valid = 1, .epoch = epoch};
    if (locked)
        must("unlocking", tiercel_unlock(lock, &value));
    l->count++;
    say("commit %" PRIu64 " %" PRIu64, epoch, now_ms());
}

static void count_all(struct load *l, const char *name)
{
    uint64_t epoch = 0;
    bool locked = l->plant == NULL;
    must("holding", tiercel_epoch_hold(l->cont, &epoch, NULL, NULL));
    l->state = mix(strlen(name) + (uint8_t)name[0]);
    say("ready");
    while (goes_on((int)draw(l, PAUSE_MS / 4)))
        count_one(l, name, locked);
}

static void sum_all(struct load *l, char **names, int count)
{
    struct tiercel_lock *lock;
    struct tiercel_lock_value value;
    must("locking", tiercel_lock(l->cont, "count", TIERCEL_LOCK_SHARED, TIERCEL_FOREVER, &lock, &value, NULL));
    uint64_t last = last_count(l, &value), sum = 0;
    for (int i = 0; i < count; i++)
        sum += count_at(l, last, names[i]);
    l->count = count_at(l, last, "all");
    must("unlocking", tiercel_unlock(lock, NULL));
    if (l->count != sum)
        wrong(l, last, "the number is %" PRIu64 ", and all together have counted to %" PRIu64, l->count, sum);
}

/* ---- reading ---- */

static void read_all(struct load *l)
{
    uint64_t snaps[64];
    say("ready");
    while (goes_on((int)draw(l, PAUSE_MS / 4))) {
        struct tiercel_epochs e = epochs_of(l);
        unsigned count = 64;
        must("listing snapshots", tiercel_snap_list(l->cont, snaps, &count, NULL));
        count = count < 64 ? count : 64;
        uint64_t first = e.lre > 0 ? e.lre : 1; /* 0 is no epoch */
        if (count > 0 && draw(l, 4) == 0)
            look_at(l, snaps[draw(l, count)]);
        else if (e.ghce >= first)
            look_at(l, first + draw(l, e.ghce - first + 1));
        look_at_newest(l);
    }
}

static void wait_all(struct load *l)
{
    struct tiercel_event ev;
    uint64_t next = epochs_of(l).ghce + 1;
    say("ready");
    for (;; next++) {
        must("an event", tiercel_event_init(&ev, NULL, NULL));
        must("waiting", tiercel_epoch_wait(l->cont, next, NULL, &ev));
        while (tiercel_event_wait(&ev, 100) == 0)
            if (!goes_on(0))
                (void)tiercel_event_abort(&ev);
        if (ev.error == -ECANCELED)
            break;
        if (ev.error != 0)
            say("failed waiting: %s (%d)", tiercel_why(&ev), ev.error);
        if (ev.error != 0)
            exit(1);
        must("an event", tiercel_event_fini(&ev));
        say("saw %" PRIu64 " %" PRIu64, next, now_ms());
        look_at(l, next);
    }
    must("an event", tiercel_event_fini(&ev));
}

/* How the pool is, each time that changes. */
static void watch_all(struct load *l)
{
    struct tiercel_pool_health h = {.map_version = 0};
    struct tiercel_event ev;
    uint32_t before = UINT32_MAX;
    say("ready");
    for (bool more = true; more;) {
        must("an event", tiercel_event_init(&ev, NULL, NULL));
        must("waiting", tiercel_pool_wait(l->pool, &h, &ev));
        while (tiercel_event_wait(&ev, 100) == 0)
            if (!goes_on(0))
                (void)tiercel_event_abort(&ev);
        more = ev.error != -ECANCELED;
        if (more && ev.error != 0)
            say("failed watching: %s (%d)", tiercel_why(&ev), ev.error);
        if (more && ev.error != 0)
            exit(1);
        must("an event", tiercel_event_fini(&ev));
        if (more && h.state != before)
            say("state %s %" PRIu64, tiercel_pool_state_name(h.state), now_ms());
        before = h.state;
        l->count++;
    }
}

static void verify_all(struct load *l, char **args, int count)
{
    uint64_t from = strtoull(args[0], NULL, 10), highest = strtoull(args[1], NULL, 10), ghce = epochs_of(l).ghce;
    if (ghce < highest)
        wrong(l, highest, "its commit was acknowledged, and the highest that there is is %" PRIu64, ghce);
    for (uint64_t e = from > 0 ? from : 1; e <= ghce; e++)
        look_at_own(l, e);
    for (int i = 2; i < count; i++)
        look_at(l, strtoull(args[i], NULL, 10));
}

/* What each epoch has written: what can be read of it is what it should be. */
static void survey(struct load *l, char **args)
{
    uint64_t to = strtoull(args[1], NULL, 10);
    for (uint64_t e = strtoull(args[0], NULL, 10); e <= to; e++, l->count++) {
        uint64_t begin = now_ms();
        int rc = read_object(l, e, e % OBJECTS);
        if (rc == 0)
            say("good %" PRIu64 " %" PRIu64, e, now_ms() - begin);
        else
            say("lost %" PRIu64 " %" PRIu64 " %d %s", e, now_ms() - begin, rc, tiercel_why(NULL));
    }
}

/* ---- one process ---- */

static void open_cont(struct load *l, const char *name, unsigned flags)
{
    l->cont_name = name;
    must("opening a container", tiercel_cont_open(&l->cont, l->pool, name, flags, NULL));
}

static void make(const char *uri, char **names, int count)
{
    struct tiercel_error err;
    struct tiercel_pool *pool;
    if (tiercel_pool_create(uri, &err) < 0 && err.code != -EEXIST)
        must("making the pool", err.code);
    must("connecting", tiercel_pool_connect(&pool, uri, TIERCEL_RW, NULL));
    for (int i = 0; i < count; i++)
        must("making a container", tiercel_cont_create(pool, names[i], NULL, NULL));
    must("disconnecting", tiercel_pool_disconnect(pool));
}

static void anchor(struct load *l, char **names, int count)
{
    for (int i = 0; i < count; i++)
        open_cont(l, names[i], TIERCEL_RO); /* stays open: disconnecting closes it */
    say("ready");
    while (goes_on(1000))
        ;
}

static int run(struct load *l, const char *mode, char **args, int count)
{
    bool counts = strcmp(mode, "count") == 0, writes = strcmp(mode, "write") == 0;
    if (count > 1)
        l->state = mix(strtoull(args[1], NULL, 10));
    l->plant = count == 3 ? args[2] : NULL;
    open_cont(l, args[0], writes ? TIERCEL_RW | TIERCEL_NOSLIP : counts ? TIERCEL_RW : TIERCEL_RO);
    if (writes)
        write_all(l);
    else if (counts && count > 1)
        count_all(l, args[1]);
    else if (strcmp(mode, "sum") == 0)
        sum_all(l, args + 1, count - 1);
    else if (strcmp(mode, "read") == 0)
        read_all(l);
    else if (strcmp(mode, "wait") == 0)
        wait_all(l);
    else if (strcmp(mode, "watch") == 0)
        watch_all(l);
    else if (strcmp(mode, "verify") == 0 && count >= 4)
        verify_all(l, args + 2, count - 2);
    else if (strcmp(mode, "survey") == 0 && count == 4)
        survey(l, args + 2);
    else
        return 64;
    must("closing", tiercel_cont_close(l->cont));
    return 0;
}

int main(int argc, char **argv)
{
    static struct load l;
    int rc = 0;
    if (argc < 4) {
        fputs("load make|anchor|write|read|wait|count|sum|watch|verify|survey POOL CONT...\n", stderr);
        return 64;
    }
    if (strcmp(argv[1], "make") == 0) {
        make(argv[2], argv + 3, argc - 3);
    } else {
        must("connecting", tiercel_pool_connect(&l.pool, argv[2], TIERCEL_RW, NULL));
        if (strcmp(argv[1], "anchor") == 0)
            anchor(&l, argv + 3, argc - 3);
        else
            rc = run(&l, argv[1], argv + 3, argc - 3);
        must("disconnecting", tiercel_pool_disconnect(l.pool));
    }
    say("done %" PRIu64, l.count);
    return rc;
}
