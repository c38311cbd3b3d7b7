// SPDX-License-Identifier: Apache-2.0
/* The RADOS store at its limits, and where its threads and librados' meet: watches that are lost, processes that come and go, keys of any
 * bytes, large states, neighbours in the same RADOS pool. Runs inside `tools/rados-dev run`. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/prng.h"
#include "base/time.h"
#include "store/store.h"

static const struct tl_store_id id = {{1}};

static void make(char *where, size_t size, const char *data)
{
    static unsigned pools;
    const struct tl_store_config config = {.create = true};
    struct tl_store *s;
    struct tl_error err = {.code = 0};
    snprintf(where, size, "rados:///sound-%d-%u?pool=meta&data=%s&timeout=30&lease=3", (int)getpid(), pools++, data);
    if (tl_store_rados_open(&s, where, &config, &err) != 0)
        fail_msg("%s", err.msg);
    s->ops->close(s);
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

static void destroy(const char *where)
{
    struct tl_error err = {.code = 0};
    uint64_t end = tl_time_mono_ns() + 30 * TL_NS_PER_S;
    int rc;
    while ((rc = tl_store_rados_destroy(where, &err)) == -EBUSY && tl_time_mono_ns() < end)
        usleep(100000);
    if (rc != 0)
        fail_msg("%s", err.msg);
}

/* A command of the shell, in which $NS is the pool's namespace. */
static void sh(const char *where, const char *command)
{
    char text[1024];
    const char *space = where + strlen("rados:///");
    snprintf(text, sizeof text, "NS=%.*s; set -e; %s", (int)strcspn(space, "?"), space, command);
    int status = system(text); // NOLINT: a test's own words
    if (status != 0)
        fail_msg("%s: %d", text, status);
}

static int put_number(void *ctx, struct tl_store_tx *tx)
{
    return tx->ops->put(tx, (struct tl_slice){"n", 1}, (struct tl_slice){ctx, 4});
}

/* ---- watches ---- */

struct sleeper {
    struct tl_store *s;
    _Atomic int *stop;
    _Atomic uint32_t *seen; /* the number of changes that all have heard of */
    _Atomic uint32_t woken;
    pthread_t thread;
};

static void *sleep_again_and_again(void *arg)
{
    struct sleeper *x = arg;
    while (atomic_load(x->stop) == 0)
        if (x->s->ops->wait(x->s, &id, atomic_load(x->seen), 5000) == 0)
            atomic_fetch_add(&x->woken, 1);
    return NULL;
}

/* Its object is taken away under the watch again and again, and many threads that sleep find that at the same moment. */
static void a_watch_that_was_lost_is_begun_anew(void **state)
{
    (void)state;
    enum { SLEEPERS = 8, TIMES = 12 };
    struct sleeper list[SLEEPERS];
    _Atomic int stop = 0;
    _Atomic uint32_t seen = 0;
    char where[256];
    make(where, sizeof where, "data");
    struct tl_store *s = open_pool(where), *other = open_pool(where);
    for (int i = 0; i < SLEEPERS; i++) {
        list[i] = (struct sleeper){.s = s, .stop = &stop, .seen = &seen};
        assert_int_equal(pthread_create(&list[i].thread, NULL, sleep_again_and_again, &list[i]), 0);
    }
    for (int k = 0; k < TIMES; k++) {
        uint32_t woken[SLEEPERS], now;
        for (int i = 0; i < SLEEPERS; i++)
            woken[i] = atomic_load(&list[i].woken);
        for (int i = 0; i <= k; i++) /* its generation begins anew, and ends above what was seen */
            assert_int_equal(other->ops->change(other, &id, put_number, "0001"), 0);
        for (int i = 0; i < SLEEPERS; i++) {
            for (int n = 0; n < 1000 && atomic_load(&list[i].woken) == woken[i]; n++)
                usleep(10000);
            assert_int_not_equal(atomic_load(&list[i].woken), woken[i]);
        }
        assert_int_equal(s->ops->changes(s, &id, &now), 0);
        atomic_store(&seen, now);
        if (k + 1 < TIMES)
            sh(where, "rados -p meta -N $NS rm s.01000000000000000000000000000000");
    }
    sh(where,
       "for i in $(seq 50); do n=$(rados -p meta -N $NS listwatchers s.01000000000000000000000000000000 | grep -c "
       "watcher=) || n=0; [ $n = 1 ] && exit 0; sleep .1; done; exit 1");
    atomic_store(&stop, 1);
    s->ops->wake(s, &id);
    for (int i = 0; i < SLEEPERS; i++)
        assert_int_equal(pthread_join(list[i].thread, NULL), 0);
    other->ops->close(other);
    s->ops->close(s);
    destroy(where);
}

/* ---- processes that come and go ---- */

static void *change_and_tell(void *arg)
{
    struct sleeper *x = arg;
    while (atomic_load(x->stop) == 0) {
        if (x->s->ops->change(x->s, &id, put_number, "0002") != 0)
            return x;
        x->s->ops->wake(x->s, &id);
    }
    return NULL;
}

static int come_and_go(const char *where, unsigned number)
{
    uint32_t seen = 0;
    struct tl_store_lock *l;
    struct tl_store_lock_value v;
    const struct tl_slice name = {"l", 1};
    struct tl_store *s = open_pool(where);
    if (s == NULL)
        return 1;
    (void)s->ops->changes(s, &id, &seen);
    (void)s->ops->wait(s, &id, seen, number % 7); /* often before the watch is there */
    if (s->ops->lock(s, &id, name, true, (int)(number % 5) * 10, NULL, &l, &v) == 0)
        (void)s->ops->unlock(s, l, &v);
    if (number % 3 == 0 && s->ops->change(s, &id, put_number, "0003") != 0)
        return 2;
    s->ops->wake(s, &id);
    s->ops->close(s);
    return 0;
}

/* Forked while librados' threads of the parent are busy; each of them is told things until its very end. */
static void processes_come_and_go_while_words_are_on_their_way(void **state)
{
    (void)state;
    enum { AT_ONCE = 4 };
    const char *env = getenv("TIERCEL_TEST_PROCESSES");
    unsigned wanted = env != NULL ? (unsigned)strtoul(env, NULL, 10) : 60, begun = 0;
    char where[256];
    _Atomic int stop = 0;
    void *failed;
    make(where, sizeof where, "data");
    struct tl_store *s = open_pool(where);
    struct sleeper changer = {.s = s, .stop = &stop};
    assert_int_equal(s->ops->change(s, &id, put_number, "0000"), 0);
    assert_int_equal(pthread_create(&changer.thread, NULL, change_and_tell, &changer), 0);
    for (unsigned ended = 0; ended < wanted; ended++) {
        for (; begun < wanted && begun < ended + AT_ONCE; begun++) {
            pid_t pid = fork();
            assert_true(pid >= 0);
            if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                alarm(60);
                _exit(come_and_go(where, begun));
            }
        }
        int status;
        assert_true(wait(&status) > 0);
        if (status != 0)
            fail_msg("a process has ended with %s %d", WIFSIGNALED(status) ? "signal" : "code",
                     WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        struct tl_store *here = open_pool(where); /* and in this one */
        assert_non_null(here);
        uint32_t seen = 0;
        assert_int_equal(here->ops->changes(here, &id, &seen), 0);
        (void)here->ops->wait(here, &id, seen, ended % 7);
        here->ops->close(here);
    }
    atomic_store(&stop, 1);
    assert_int_equal(pthread_join(changer.thread, &failed), 0);
    assert_null(failed);
    s->ops->close(s);
    destroy(where);
}

/* ---- checks ---- */

static uint8_t bytes[100000], back[100000];

static int write_one(struct tl_store *s, const void *key, size_t key_len, size_t len)
{
    const struct tl_record r = {.key = {key, key_len}, .meta = {"about", 5}, .payload = {bytes, len}};
    return s->ops->write(s, &id, &r);
}

struct finding {
    uint8_t place[TL_STORE_PLACE_MAX];
    size_t place_len;
    unsigned count;
};

static int keep_last(void *ctx, const struct tl_found *f)
{
    struct finding *x = ctx;
    memcpy(x->place, f->place.at, f->place.len);
    x->place_len = f->place.len;
    x->count++;
    return 0;
}

/* How many begin so. */
static unsigned find(struct tl_store *s, struct finding *x, const void *prefix, size_t len)
{
    struct tl_slice p = {prefix, len};
    *x = (struct finding){.count = 0};
    assert_int_equal(s->ops->scan(s, &id, p, p, keep_last, x), 0);
    return x->count;
}

static uint64_t used_by(struct tl_store *s)
{
    struct tl_store_space space;
    assert_int_equal(s->ops->space(s, &space), 0);
    return space.used_bytes;
}

static void count_words(void *ctx, const char *finding)
{
    *(unsigned *)ctx += strstr(finding, "bytes were counted") != NULL;
}

/* As soon as the leases of those who were killed have ended. */
static int repair(struct tl_store *s, unsigned *recounts)
{
    uint64_t end = tl_time_mono_ns() + 30 * TL_NS_PER_S;
    int rc;
    *recounts = 0;
    while ((rc = (s->ops->check)(s, true, count_words, recounts)) == -EBUSY && tl_time_mono_ns() < end)
        usleep(100000);
    return rc;
}

static void write_some_and_die(const char *where)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct tl_store *s = open_pool(where);
        for (char key = 'a'; key < 'u'; key++)
            if (s == NULL || write_one(s, (char[2]){key, 0}, 2, key < 'k' ? sizeof bytes : 10) != 0)
                _exit(1);
        if (s->ops->flush(s) != 0)
            _exit(2);
        raise(SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

static void what_the_killed_have_used_is_counted_by_a_repair(void **state)
{
    (void)state;
    char where[256], names[20][2];
    struct tl_slice keys[20];
    struct finding x;
    unsigned recounts;
    make(where, sizeof where, "data,ec21");
    write_some_and_die(where);
    struct tl_store *s = open_pool(where);
    assert_int_equal(find(s, &x, "", 0), 20);
    assert_int_equal(used_by(s), 0);
    assert_int_equal(repair(s, &recounts), 0);
    assert_int_equal(recounts, 1);
    assert_true(used_by(s) > 10 * sizeof bytes && used_by(s) < 11 * sizeof bytes);
    assert_int_equal(repair(s, &recounts), 0);
    assert_int_equal(recounts, 0);
    for (unsigned i = 0; i < 20; i++) {
        names[i][0] = (char)('a' + i);
        names[i][1] = 0;
        keys[i] = (struct tl_slice){names[i], 2};
    }
    assert_int_equal(s->ops->erase(s, &id, keys, 20), 0);
    assert_int_equal(used_by(s), 0);
    s->ops->close(s);
    destroy(where);
}

/* Payloads behind an entry that makes no sense are named by records that were not looked at. */
static void a_repair_takes_nothing_away_that_a_damaged_index_may_name(void **state)
{
    (void)state;
    char where[256];
    struct finding x;
    unsigned recounts;
    make(where, sizeof where, "data");
    struct tl_store *s = open_pool(where);
    assert_int_equal(write_one(s, "key", 3, sizeof bytes), 0);
    assert_int_equal(s->ops->flush(s), 0);
    sh(where, "for o in $(rados -p meta -N $NS ls | grep ^i); do rados -p meta -N $NS setomapval $o \"$(printf "
              "'a\\001')\" damaged; done");
    assert_true(repair(s, &recounts) > 0);
    sh(where, "for o in $(rados -p meta -N $NS ls | grep ^i); do rados -p meta -N $NS rmomapkey $o \"$(printf "
              "'a\\001')\"; done");
    assert_int_equal(find(s, &x, "key", 3), 1);
    assert_int_equal(s->ops->read(s, (struct tl_slice){x.place, x.place_len}, 0, back, sizeof back), 0);
    assert_memory_equal(back, bytes, sizeof bytes);
    assert_int_equal(repair(s, &recounts), 0);
    s->ops->close(s);
    destroy(where);
}

/* ---- limits ---- */

#define KEYS      2500u
#define POOL_KEYS 700u /* of them, as src/pool makes them */

struct key {
    uint8_t bytes[TL_STORE_KEY_MAX];
    size_t len;
};

static int compare_keys(const void *a, const void *b)
{
    const struct key *x = a, *y = b;
    int c = memcmp(x->bytes, y->bytes, x->len < y->len ? x->len : y->len);
    return c != 0 ? c : x->len < y->len ? -1 : x->len > y->len;
}

/* Of arrays whose chunks lie in many shards, and what lies beside them: oid, tag, dkey, akey, chunk, version. */
static size_t make_pool_key(uint8_t *out, unsigned i, struct tl_prng *p)
{
    static const char *const names[] = {"d", "da", "", "e"};
    uint8_t *at = out;
    memset(at, 0, 16);
    at[15] = (uint8_t)(i % 3); /* the object */
    at += 16;
    *at++ = (uint8_t) "PQRVVVVV"[i % 8];
    for (int k = 0; k < 2; k++) {
        size_t len = strlen(names[i / 8 % 4]);
        memcpy(at, names[i / 8 % 4], len);
        at += len;
        memcpy(at, i % 11 == 0 && k == 0 ? "\0\377\0\1" : "\0\1", i % 11 == 0 && k == 0 ? 4 : 2);
        at += i % 11 == 0 && k == 0 ? 4 : 2;
    }
    uint64_t chunk =
        tl_prng_below(p, 6) < 3 ? tl_prng_below(p, 5000) : tl_prng_below(p, 3) << 12 | tl_prng_next(p) >> 44;
    for (int k = 56; k >= 0; k -= 8)
        *at++ = (uint8_t)(chunk >> k);
    for (int k = 0; k < 28; k++)
        *at++ = (uint8_t)(255 - (i + (unsigned)k) % 3);
    return (size_t)(at - out);
}

/* Sorted, each once. */
static struct key *make_keys(unsigned *count)
{
    static const uint8_t alphabet[] = {0, 1, 2, 'a', 254, 255};
    struct key *keys = calloc(KEYS, sizeof *keys);
    struct tl_prng p;
    assert_non_null(keys);
    tl_prng_init(&p, 3, 4);
    for (unsigned i = 0; i < KEYS; i++) {
        size_t most = i % 7 == 0 ? TL_STORE_KEY_MAX : 24;
        keys[i].len = i % 50 == 0 ? TL_STORE_KEY_MAX : 1 + tl_prng_below(&p, most);
        for (size_t k = 0; k < keys[i].len; k++)
            keys[i].bytes[k] = alphabet[tl_prng_below(&p, sizeof alphabet)];
        if (i % 2 == 0 && keys[i].len > 17) /* of one object: in one place */
            memset(keys[i].bytes, 1, 17);
        if (i % 200 == 0) /* the longest that it can be for the cluster */
            memset(keys[i].bytes, i % 400 == 0 ? 0 : 1, keys[i].len);
        if (i < POOL_KEYS)
            keys[i].len = make_pool_key(keys[i].bytes, i, &p);
    }
    qsort(keys, KEYS, sizeof *keys, compare_keys);
    *count = 0;
    for (unsigned i = 0; i < KEYS; i++)
        if (*count == 0 || compare_keys(&keys[*count - 1], &keys[i]) != 0)
            keys[(*count)++] = keys[i];
    return keys;
}

struct walk {
    const struct key *next;
    unsigned count, stop_after;
};

static int is_next(struct walk *w, struct tl_slice key)
{
    assert_int_equal(key.len, w->next->len);
    assert_memory_equal(key.at, w->next->bytes, key.len);
    w->next++;
    return ++w->count == w->stop_after ? 7 : 0;
}

static int is_next_record(void *ctx, const struct tl_found *f)
{
    assert_int_equal(f->payload_len, f->key.len % 20);
    return is_next(ctx, f->key);
}

static int is_next_entry(void *ctx, struct tl_slice key, struct tl_slice value)
{
    assert_int_equal(value.len, key.len % 20);
    return is_next(ctx, key);
}

struct keys {
    struct key *list;
    unsigned count;
};

static int put_keys(void *ctx, struct tl_store_tx *tx)
{
    const struct keys *k = ctx;
    const struct key *keys = k->list;
    int rc = 0;
    for (unsigned i = k->count; rc == 0 && i-- > 0;)
        rc =
            tx->ops->put(tx, (struct tl_slice){keys[i].bytes, keys[i].len}, (struct tl_slice){bytes, keys[i].len % 20});
    return rc;
}

static int walk_keys(void *ctx, struct tl_store_tx *tx)
{
    return tx->ops->each(tx, (struct tl_slice){"", 0}, is_next_entry, ctx);
}

/* What begins with the first bytes of some key, from some other key on, is what is there between the two. */
static void compare_scan(struct tl_store *s, const struct key *keys, unsigned count, struct tl_prng *p)
{
    const struct key *of = &keys[tl_prng_below(p, count)], *from = &keys[tl_prng_below(p, count)];
    struct tl_slice prefix = {of->bytes, tl_prng_below(p, of->len + 1)}, start = {from->bytes, from->len};
    struct walk w = {.next = keys, .stop_after = 1 + (unsigned)tl_prng_below(p, 700)};
    const struct key *end = keys + count;
    while (w.next < end && (w.next->len < prefix.len || memcmp(w.next->bytes, prefix.at, prefix.len) != 0 ||
                            compare_keys(w.next, from) < 0))
        w.next++;
    unsigned expected = 0;
    while (w.next + expected < end && w.next[expected].len >= prefix.len &&
           memcmp(w.next[expected].bytes, prefix.at, prefix.len) == 0)
        expected++;
    unsigned all = expected;
    expected = expected < w.stop_after ? expected : w.stop_after;
    int rc = s->ops->scan(s, &id, prefix, start, is_next_record, &w);
    assert_int_equal(w.count, expected);
    assert_int_equal(rc, all >= w.stop_after ? 7 : 0);
}

static void keys_of_any_bytes_are_found_in_order(void **state)
{
    (void)state;
    char where[256];
    struct tl_prng p;
    unsigned count;
    struct key *keys = make_keys(&count);
    struct keys all = {keys, count};
    make(where, sizeof where, "data");
    struct tl_store *s = open_pool(where);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(write_one(s, keys[i].bytes, keys[i].len, keys[i].len % 20), 0);
    assert_int_equal(s->ops->flush(s), 0);
    assert_int_equal(s->ops->change(s, &id, put_keys, &all), 0);
    s->ops->close(s);
    s = open_pool(where);
    struct walk w = {.next = keys};
    assert_int_equal(s->ops->scan(s, &id, (struct tl_slice){"", 0}, (struct tl_slice){"", 0}, is_next_record, &w), 0);
    assert_int_equal(w.count, count);
    w = (struct walk){.next = keys};
    assert_int_equal(s->ops->look(s, &id, walk_keys, &w), 0);
    assert_int_equal(w.count, count);
    tl_prng_init(&p, 5, 6);
    for (unsigned i = 0; i < 600; i++)
        compare_scan(s, keys, count, &p);
    struct tl_slice *some = calloc(count, sizeof *some);
    for (unsigned i = 0; i < count; i++)
        some[i] = (struct tl_slice){keys[i].bytes, keys[i].len};
    assert_int_equal(s->ops->erase(s, &id, some, count), 0);
    assert_int_equal(s->ops->scan(s, &id, (struct tl_slice){"", 0}, (struct tl_slice){"", 0}, is_next_record, &w), 0);
    assert_int_equal(used_by(s), 0);
    free(some);
    free(keys);
    s->ops->close(s);
    destroy(where);
}

/* What a store that has not written it finds, too: it cannot know but from the mark. */
static void a_long_array_is_in_many_shards(void **state)
{
    enum { GROUPS = 32 };
    static uint8_t list[GROUPS][64];
    struct tl_slice keys[GROUPS];
    char where[256];
    struct finding x;
    (void)state;
    make(where, sizeof where, "data");
    struct tl_store *s = open_pool(where), *other = open_pool(where);
    for (unsigned i = 0; i < GROUPS; i++) {
        memset(list[i], 7, 16);
        memcpy(list[i] + 16, "Vd\0\1a\0\1", 7);
        memset(list[i] + 23, 0, 8);
        list[i][28] = (uint8_t)(i * 16 >> 8); /* chunk i * 4096 */
        list[i][29] = (uint8_t)(i * 16);
        keys[i] = (struct tl_slice){list[i], 60};
        assert_int_equal(write_one(s, list[i], 60, 100), 0);
        if (i % 9 == 0)
            assert_int_equal(s->ops->flush(s), 0);
    }
    assert_int_equal(s->ops->flush(s), 0);
    sh(where, "n=0; for o in $(rados -p meta -N $NS ls | grep ^i); do "
              "[ $(rados -p meta -N $NS listomapkeys $o | wc -c) -gt 40 ] && n=$((n + 1)); done; [ $n -ge 8 ]");
    assert_int_equal(find(other, &x, "", 0), GROUPS);
    assert_int_equal(find(other, &x, list[0], 16), GROUPS);
    assert_int_equal(find(other, &x, list[0], 23), GROUPS);
    assert_int_equal(find(other, &x, list[9], 31), 1);
    assert_int_equal(other->ops->erase(other, &id, keys, GROUPS), 0);
    assert_int_equal(find(s, &x, list[0], 16), 0);
    other->ops->close(other);
    s->ops->close(s);
    destroy(where);
}

#define ENTRIES 10000u
#define LARGE   3u

static int put_entries(void *ctx, struct tl_store_tx *tx)
{
    static char value[TL_STORE_VALUE_MAX + 1];
    char key[16];
    int rc = 0;
    for (unsigned i = *(unsigned *)ctx, n = 0; rc == 0 && n < 1000; n++) {
        snprintf(key, sizeof key, "h%07u", i + n);
        rc = tx->ops->put(tx, (struct tl_slice){key, 8},
                          (struct tl_slice){value, (i + n) % 4000 == 7 ? TL_STORE_VALUE_MAX : 60});
    }
    if (rc == 0 && tx->ops->put(tx, (struct tl_slice){"x", 1}, (struct tl_slice){value, sizeof value}) != -EINVAL)
        rc = -EPROTO;
    return rc;
}

static int count_entry(void *ctx, struct tl_slice key, struct tl_slice value)
{
    unsigned *counts = ctx;
    (void)key;
    counts[value.len == TL_STORE_VALUE_MAX] += value.len == 60 || value.len == TL_STORE_VALUE_MAX;
    return 0;
}

static int count_entries(void *ctx, struct tl_store_tx *tx)
{
    memset(ctx, 0, 2 * sizeof(unsigned));
    return tx->ops->each(tx, (struct tl_slice){"h", 1}, count_entry, ctx);
}

/* Reading it takes many answers of the cluster, between which others change it. */
static void a_large_state_is_read_while_it_changes(void **state)
{
    (void)state;
    char where[256];
    unsigned counts[2];
    void *failed;
    _Atomic int stop = 0;
    make(where, sizeof where, "data");
    struct tl_store *s = open_pool(where);
    for (unsigned i = 0; i < ENTRIES; i += 1000)
        assert_int_equal(s->ops->change(s, &id, put_entries, &i), 0);
    struct sleeper changer = {.s = s, .stop = &stop};
    assert_int_equal(pthread_create(&changer.thread, NULL, change_and_tell, &changer), 0);
    for (unsigned i = 0; i < 3; i++) {
        struct tl_store *other = open_pool(where);
        uint64_t begin = tl_time_mono_ns();
        assert_int_equal(other->ops->look(other, &id, count_entries, counts), 0);
        assert_true(tl_time_mono_ns() - begin < 10 * TL_NS_PER_S);
        assert_int_equal(counts[0], ENTRIES - LARGE);
        assert_int_equal(counts[1], LARGE);
        other->ops->close(other);
    }
    atomic_store(&stop, 1);
    assert_int_equal(pthread_join(changer.thread, &failed), 0);
    assert_null(failed);
    assert_int_equal(s->ops->change(s, &id, put_number, "0004"), 0);
    s->ops->close(s);
    destroy(where);
}

/* Another pool in the same RADOS pools, and objects of none. */
static void neighbours_are_left_alone(void **state)
{
    (void)state;
    char where[256], beside[256];
    struct finding x;
    unsigned recounts;
    make(where, sizeof where, "data");
    make(beside, sizeof beside, "data");
    sh(where, "echo x | rados -p data put d.left -; echo x | rados -p meta put s.left -");
    struct tl_store *s = open_pool(where), *other = open_pool(beside);
    assert_int_equal(write_one(s, "here", 4, sizeof bytes), 0);
    assert_int_equal(s->ops->flush(s), 0);
    assert_int_equal(write_one(other, "there", 5, sizeof bytes), 0);
    assert_int_equal(other->ops->flush(other), 0);
    assert_int_equal(other->ops->change(other, &id, put_number, "0005"), 0);
    assert_int_equal(find(s, &x, "", 0), 1);
    assert_int_equal(repair(s, &recounts), 0);
    assert_int_equal(other->ops->claim(other, 5, true), 0);
    assert_int_equal(s->ops->claimed(s, 5), 0);
    s->ops->close(s);
    destroy(where);
    assert_int_equal(find(other, &x, "there", 5), 1);
    assert_int_equal(other->ops->read(other, (struct tl_slice){x.place, x.place_len}, 0, back, sizeof back), 0);
    assert_int_equal(other->ops->claimed(other, 5), 1);
    other->ops->close(other);
    destroy(beside);
    sh(where, "rados -p data rm d.left; rados -p meta rm s.left");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_watch_that_was_lost_is_begun_anew),
        cmocka_unit_test(processes_come_and_go_while_words_are_on_their_way),
        cmocka_unit_test(what_the_killed_have_used_is_counted_by_a_repair),
        cmocka_unit_test(a_repair_takes_nothing_away_that_a_damaged_index_may_name),
        cmocka_unit_test(keys_of_any_bytes_are_found_in_order),
        cmocka_unit_test(a_long_array_is_in_many_shards),
        cmocka_unit_test(a_large_state_is_read_while_it_changes),
        cmocka_unit_test(neighbours_are_left_alone),
    };
    if (getenv("CEPH_CONF") == NULL) {
        puts("no cluster: run by tools/rados-dev");
        return 77;
    }
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
