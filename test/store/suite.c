// SPDX-License-Identifier: Apache-2.0
/* See suite.h. */
#include "store/suite.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
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

static const struct suite_store *store;

struct scene {
    char where[256];
    struct tl_store *s;
    struct tl_store_id id;
};

static void scene_new(struct scene *x)
{
    memset(x, 0, sizeof *x);
    store->make(x->where, sizeof x->where);
    x->s = store->open(x->where);
    memset(x->id.bytes, 7, sizeof x->id.bytes);
}

static void scene_free(struct scene *x)
{
    x->s->ops->close(x->s);
    store->destroy(x->where);
}

static struct tl_slice text(const char *t)
{
    return (struct tl_slice){t, strlen(t)};
}

/* ---- state ---- */

struct step {
    const char *put, *value, *del;
    int end; /* what the transaction gives */
};

static int take_step(void *ctx, struct tl_store_tx *tx)
{
    const struct step *s = ctx;
    int rc = 0;
    if (s->put != NULL)
        rc = tx->ops->put(tx, text(s->put), text(s->value));
    if (rc == 0 && s->del != NULL)
        rc = tx->ops->del(tx, text(s->del));
    return rc != 0 ? rc : s->end;
}

static int change(struct scene *x, const char *put, const char *value, const char *del, int end)
{
    struct step s = {put, value, del, end};
    return x->s->ops->change(x->s, &x->id, take_step, &s);
}

static int join_one(void *ctx, struct tl_slice key, struct tl_slice value)
{
    char *out = ctx;
    size_t used = strlen(out);
    snprintf(out + used, 256 - used, "%.*s=%.*s ", (int)key.len, (const char *)key.at, (int)value.len,
             (const char *)value.at);
    return 0;
}

static int join_all(void *ctx, struct tl_store_tx *tx)
{
    return tx->ops->each(tx, text("k"), join_one, ctx);
}

static const char *all_of(struct scene *x)
{
    static char out[256];
    out[0] = 0;
    assert_int_equal(x->s->ops->look(x->s, &x->id, join_all, out), 0);
    return out;
}

static void a_transaction_happens_as_a_whole_or_not_at_all(void **state)
{
    (void)state;
    struct scene x;
    scene_new(&x);
    assert_string_equal(all_of(&x), "");
    assert_int_equal(change(&x, "k2", "two", NULL, 0), 0);
    assert_int_equal(change(&x, "k1", "one", NULL, 0), 0);
    assert_int_equal(change(&x, "other", "left out", NULL, 0), 0);
    assert_string_equal(all_of(&x), "k1=one k2=two ");
    assert_int_equal(change(&x, "k3", "three", "k1", -42), -42);
    assert_string_equal(all_of(&x), "k1=one k2=two ");
    assert_int_equal(change(&x, "k3", "three", "k1", 0), 0);
    assert_string_equal(all_of(&x), "k2=two k3=three ");
    assert_int_equal(change(&x, "k4", "four", "missing", 0), -ENOENT);
    assert_string_equal(all_of(&x), "k2=two k3=three ");
    struct step s = {"k9", "", NULL, 0};
    assert_int_equal(x.s->ops->look(x.s, &x.id, take_step, &s), -EROFS);
    x.id.bytes[3] = 9; /* another container */
    assert_string_equal(all_of(&x), "");
    x.id.bytes[3] = 7;
    x.s->ops->close(x.s);
    x.s = store->open(x.where);
    assert_string_equal(all_of(&x), "k2=two k3=three ");
    scene_free(&x);
}

static int count_up(void *ctx, struct tl_store_tx *tx)
{
    struct tl_slice value;
    uint8_t bytes[8];
    uint64_t n = 0;
    (void)ctx;
    int rc = tx->ops->get(tx, text("n"), &value);
    if (rc == 0)
        n = tl_get_u64(value.at);
    tl_put_u64(bytes, n + 1);
    return rc != 0 && rc != -ENOENT ? rc : tx->ops->put(tx, text("n"), (struct tl_slice){bytes, 8});
}

static int get_count(void *ctx, struct tl_store_tx *tx)
{
    struct tl_slice value;
    int rc = tx->ops->get(tx, text("n"), &value);
    *(uint64_t *)ctx = rc == 0 ? tl_get_u64(value.at) : 0;
    return rc == -ENOENT ? 0 : rc;
}

static void no_update_is_lost_between_processes(void **state)
{
    (void)state;
    enum { PROCESSES = 3, TIMES = 20 };
    struct scene x;
    uint64_t n;
    scene_new(&x);
    x.s->ops->close(x.s);
    pid_t pids[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] != 0)
            continue;
        struct tl_store *s = store->open(x.where);
        bool ok = s != NULL;
        for (int k = 0; ok && k < TIMES; k++)
            ok = s->ops->change(s, &x.id, count_up, NULL) == 0;
        _exit(ok ? 0 : 1);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    x.s = store->open(x.where);
    assert_int_equal(x.s->ops->look(x.s, &x.id, get_count, &n), 0);
    assert_int_equal(n, PROCESSES * TIMES);
    scene_free(&x);
}

/* Forked before anything is open, and with it threads: an address sanitizer's child would now and then wait for ever for a lock of its allocator,
 * which a thread of the parent had. */
static pid_t change_when_told(const struct scene *x, int from)
{
    char byte;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid != 0)
        return pid;
    if (read(from, &byte, 1) != 1)
        _exit(2);
    struct tl_store *s = store->open(x->where);
    _exit(s != NULL && s->ops->change(s, &x->id, count_up, NULL) == 0 ? 0 : 1);
}

static void who_waits_is_woken_by_a_change(void **state)
{
    (void)state;
    struct scene x;
    uint32_t seen;
    int to[2], status = -1;
    scene_new(&x);
    x.s->ops->close(x.s);
    assert_int_equal(pipe(to), 0);
    pid_t pid = change_when_told(&x, to[0]), ended = 0;
    x.s = store->open(x.where);
    assert_int_equal(x.s->ops->changes(x.s, &x.id, &seen), 0);
    assert_int_equal(x.s->ops->wait(x.s, &x.id, seen, 1), -ETIMEDOUT);
    assert_int_equal(write(to[1], "x", 1), 1);
    uint32_t now = seen;
    for (int i = 0; i < 60 && now == seen; i++) {
        (void)x.s->ops->wait(x.s, &x.id, seen, 1000);
        assert_int_equal(x.s->ops->changes(x.s, &x.id, &now), 0);
        ended = ended == 0 ? waitpid(pid, &status, WNOHANG) : ended;
        if (now == seen && ended == pid && status != 0)
            fail_msg("who was to change it has ended with status %d", status);
    }
    assert_int_not_equal(now, seen);
    if (ended == 0)
        assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(to[0]);
    close(to[1]);
    scene_free(&x);
}

/* ---- records ---- */

static uint8_t payload[TL_STORE_PAYLOAD_MAX + 1];

static void make_payload(uint64_t seed, uint32_t len)
{
    struct tl_prng p;
    tl_prng_init(&p, seed, len);
    for (uint32_t i = 0; i < len; i += 8) {
        uint64_t word = tl_prng_next(&p);
        memcpy(payload + i, &word, len - i < 8 ? len - i : 8);
    }
}

static int write_record(struct tl_store *s, const struct tl_store_id *id, const char *key, uint64_t seed, uint32_t len)
{
    make_payload(seed, len);
    struct tl_record r = {.key = text(key), .meta = text("meta"), .payload = {payload, len}};
    return s->ops->write(s, id, &r);
}

static int nothing(void *ctx, struct tl_store_tx *tx)
{
    (void)ctx, (void)tx;
    return 0;
}

static void settle(struct scene *x)
{
    assert_int_equal(x->s->ops->flush(x->s), 0);
    assert_int_equal(x->s->ops->change(x->s, &x->id, nothing, NULL), 0);
}

struct found {
    char keys[4096];
    uint8_t place[TL_STORE_PLACE_MAX];
    size_t place_len;
    uint32_t payload_len, count, stop_after;
};

static int note(void *ctx, const struct tl_found *f)
{
    struct found *out = ctx;
    size_t used = strlen(out->keys);
    if (used + f->key.len + 2 < sizeof out->keys)
        snprintf(out->keys + used, sizeof out->keys - used, "%.*s ", (int)f->key.len, (const char *)f->key.at);
    assert_true(f->meta.len == 4 && memcmp(f->meta.at, "meta", 4) == 0);
    assert_true(f->place.len <= sizeof out->place);
    memcpy(out->place, f->place.at, f->place.len);
    out->place_len = f->place.len;
    out->payload_len = f->payload_len;
    return ++out->count == out->stop_after ? 77 : 0;
}

static struct found *find(struct scene *x, const char *prefix, const char *from)
{
    static struct found f;
    memset(&f, 0, sizeof f);
    assert_int_equal(x->s->ops->scan(x->s, &x->id, text(prefix), text(from), note, &f), 0);
    return &f;
}

static int read_part(struct scene *x, const struct found *f, uint32_t offset, void *out, uint32_t len)
{
    return x->s->ops->read(x->s, (struct tl_slice){f->place, f->place_len}, offset, out, len);
}

static void records_are_found_in_the_order_of_their_keys(void **state)
{
    (void)state;
    struct scene x;
    scene_new(&x);
    static const char *const keys[] = {"b", "a", "bb", "c", "ba", "b/", "aa"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        assert_int_equal(write_record(x.s, &x.id, keys[i], i, 10), 0);
    settle(&x);
    assert_string_equal(find(&x, "", "")->keys, "a aa b b/ ba bb c ");
    assert_string_equal(find(&x, "b", "")->keys, "b b/ ba bb ");
    assert_string_equal(find(&x, "b", "ba")->keys, "ba bb ");
    assert_string_equal(find(&x, "", "b0")->keys, "ba bb c ");
    assert_string_equal(find(&x, "b", "a")->keys, "b b/ ba bb ");
    assert_string_equal(find(&x, "x", "")->keys, "");
    struct found f = {.stop_after = 2};
    assert_int_equal(x.s->ops->scan(x.s, &x.id, text(""), text(""), note, &f), 77);
    assert_string_equal(f.keys, "a aa ");
    x.id.bytes[0] = 0; /* another container, which sorts before */
    assert_string_equal(find(&x, "", "")->keys, "");
    scene_free(&x);
}

static void payloads_of_all_sizes_come_back(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {0, 1, 511, 512, 513, 4096, 65535, 65536, 65537, 300000, TL_STORE_PAYLOAD_MAX};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    static uint8_t back[TL_STORE_PAYLOAD_MAX];
    struct scene x;
    char key[16];
    scene_new(&x);
    for (int pass = 0; pass < 2; pass++) { /* the second time, after it was opened anew */
        for (uint32_t i = 0; pass == 0 && i < SIZES; i++) {
            snprintf(key, sizeof key, "key%02u", i);
            assert_int_equal(write_record(x.s, &x.id, key, i, sizes[i]), 0);
        }
        settle(&x);
        for (uint32_t i = 0; i < SIZES; i++) {
            snprintf(key, sizeof key, "key%02u", i);
            const struct found *f = find(&x, key, "");
            make_payload(i, sizes[i]);
            assert_int_equal(f->payload_len, sizes[i]);
            assert_int_equal(read_part(&x, f, 0, back, sizes[i]), 0);
            assert_memory_equal(back, payload, sizes[i]);
            if (sizes[i] < 3)
                continue;
            assert_int_equal(read_part(&x, f, sizes[i] / 3, back, sizes[i] / 2), 0);
            assert_memory_equal(back, payload + sizes[i] / 3, sizes[i] / 2);
            assert_int_equal(read_part(&x, f, sizes[i] - 1, back, 2), -EINVAL);
        }
        x.s->ops->close(x.s);
        x.s = store->open(x.where);
    }
    scene_free(&x);
}

enum { AT_ONCE = 40 };

/* All of them, or all but the first and last byte. */
static int read_at_once(struct scene *x, const struct found *f, uint8_t *const *out, uint32_t cut)
{
    const struct tl_store_ops *ops = x->s->ops;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < AT_ONCE; i++)
        rc = ops->begin_read(x->s, (struct tl_slice){f[i].place, f[i].place_len}, cut, out[i],
                             f[i].payload_len - 2 * cut);
    int late = ops->end_reads(x->s);
    assert_true(rc == 0 || rc == late); /* an early error is the first one */
    assert_int_equal(ops->end_reads(x->s), 0);
    return late;
}

static void several_payloads_are_read_at_once(void **state)
{
    (void)state;
    static struct found f[AT_ONCE];
    uint8_t *out[AT_ONCE];
    char key[16];
    struct scene x;
    scene_new(&x);
    if (x.s->ops->begin_read == NULL) { /* then read is as fast */
        scene_free(&x);
        return;
    }
    for (uint32_t i = 0; i < AT_ONCE; i++) {
        snprintf(key, sizeof key, "key%02u", i);
        assert_int_equal(write_record(x.s, &x.id, key, i, i * i * 500 + 2), 0);
    }
    settle(&x);
    for (uint32_t i = 0; i < AT_ONCE; i++) {
        snprintf(key, sizeof key, "key%02u", i);
        f[i] = *find(&x, key, "");
        out[i] = malloc(f[i].payload_len);
        assert_non_null(out[i]);
    }
    for (uint32_t cut = 0; cut < 2; cut++) {
        assert_int_equal(read_at_once(&x, f, out, cut), 0);
        for (uint32_t i = 0; i < AT_ONCE; i++) {
            make_payload(i, f[i].payload_len);
            assert_memory_equal(out[i], payload + cut, f[i].payload_len - 2 * cut);
        }
    }
    struct tl_slice gone = text("key20");
    assert_int_equal(x.s->ops->erase(x.s, &x.id, &gone, 1), 0);
    assert_int_equal(read_at_once(&x, f, out, 0), -ENOENT);
    f[20] = f[19];
    assert_int_equal(read_at_once(&x, f, out, 0), 0);
    for (uint32_t i = 0; i < AT_ONCE; i++)
        free(out[i]);
    scene_free(&x);
}

static void what_is_too_large_is_refused(void **state)
{
    (void)state;
    static char key[TL_STORE_KEY_MAX + 2];
    struct scene x;
    scene_new(&x);
    memset(key, 'k', sizeof key - 1);
    assert_int_equal(write_record(x.s, &x.id, key, 1, 1), -EINVAL);
    assert_int_equal(write_record(x.s, &x.id, "", 1, 1), -EINVAL);
    assert_int_equal(write_record(x.s, &x.id, "k", 1, TL_STORE_PAYLOAD_MAX + 1), -EINVAL);
    key[TL_STORE_KEY_MAX] = 0;
    assert_int_equal(write_record(x.s, &x.id, key, 1, 1), 0);
    settle(&x);
    assert_int_equal(find(&x, "", "")->count, 1);
    scene_free(&x);
}

static void erased_records_are_gone_and_their_space_is_free(void **state)
{
    (void)state;
    enum { COUNT = 24 };
    static char names[COUNT][8];
    static struct tl_slice keys[COUNT];
    struct tl_store_space before, after;
    struct scene x;
    scene_new(&x);
    for (uint32_t i = 0; i < COUNT; i++) {
        snprintf(names[i], sizeof names[i], "k%02u", i);
        keys[i] = text(names[i]);
        assert_int_equal(write_record(x.s, &x.id, names[i], i, TL_STORE_PAYLOAD_MAX), 0);
    }
    settle(&x);
    assert_int_equal(x.s->ops->space(x.s, &before), 0);
    struct found kept = *find(&x, "k01", "");
    assert_int_equal(x.s->ops->erase(x.s, &x.id, keys, COUNT - 1), 0);
    assert_int_equal(x.s->ops->erase(x.s, &x.id, keys, 2), 0); /* they are not there any more */
    assert_string_equal(find(&x, "", "")->keys, "k23 ");
    assert_int_equal(x.s->ops->space(x.s, &after), 0);
    assert_true(before.used_bytes - after.used_bytes >= (COUNT - 4) * (uint64_t)TL_STORE_PAYLOAD_MAX);
    uint8_t byte;
    assert_int_equal(read_part(&x, &kept, TL_STORE_PAYLOAD_MAX / 2, &byte, 1), -ENOENT);
    make_payload(COUNT - 1, TL_STORE_PAYLOAD_MAX);
    static uint8_t back[TL_STORE_PAYLOAD_MAX];
    assert_int_equal(read_part(&x, find(&x, "k23", ""), 0, back, sizeof back), 0);
    assert_memory_equal(back, payload, sizeof back);
    scene_free(&x);
}

/* ---- processes that write, and die ---- */

#define ROUNDS_MAX 2000u

/* Writes rounds of records until it is killed; the state says how many rounds are whole. */
static _Noreturn void write_for_ever(const struct scene *x, uint32_t who)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that ends early leaves nobody who fills the disk */
    struct tl_store *s = store->open(x->where);
    struct tl_store_id id = x->id;
    id.bytes[15] = (uint8_t)who;
    uint64_t round = 0;
    if (s == NULL || s->ops->look(s, &id, get_count, &round) != 0)
        _exit(1);
    for (uint64_t last = round + ROUNDS_MAX; round < last; round++) { /* it is killed long before */
        for (uint32_t i = 0; i < 5; i++) {
            char key[32];
            snprintf(key, sizeof key, "%08u.%u", (unsigned)round, i);
            if (write_record(s, &id, key, round * 5 + i, (uint32_t)(round * 5 + i) * 997 % 90000) != 0)
                _exit(2);
        }
        if (s->ops->flush(s) != 0 || s->ops->change(s, &id, count_up, NULL) != 0)
            _exit(3);
    }
    _exit(4);
}

static void assert_rounds_are_whole(struct scene *x, uint32_t who)
{
    static uint8_t back[90000];
    uint64_t rounds;
    x->id.bytes[15] = (uint8_t)who;
    assert_int_equal(x->s->ops->look(x->s, &x->id, get_count, &rounds), 0);
    for (uint64_t n = 0; n < rounds * 5; n++) {
        char key[32];
        snprintf(key, sizeof key, "%08u.%u", (unsigned)(n / 5), (unsigned)(n % 5));
        const struct found *f = find(x, key, "");
        assert_int_equal(f->count, 1);
        assert_int_equal(f->payload_len, n * 997 % 90000);
        assert_int_equal(read_part(x, f, 0, back, f->payload_len), 0);
        make_payload(n, f->payload_len);
        assert_memory_equal(back, payload, f->payload_len);
    }
}

static void who_is_killed_leaves_whole_rounds(void **state)
{
    (void)state;
    enum { KILLS = 12, WRITERS = 2 };
    struct scene x;
    struct tl_prng p;
    scene_new(&x);
    x.s->ops->close(x.s);
    tl_prng_init(&p, 5, 0);
    for (int kill_number = 0; kill_number < KILLS; kill_number++) {
        pid_t pids[WRITERS];
        for (uint32_t i = 0; i < WRITERS; i++) {
            pids[i] = fork();
            assert_true(pids[i] >= 0);
            if (pids[i] == 0)
                write_for_ever(&x, i);
        }
        x.s = store->open(x.where);
        uint32_t seen = 0, changes = (uint32_t)tl_prng_below(&p, 12);
        for (uint32_t i = 0; i < changes; i++) { /* so many rounds later, and at any time within one */
            x.id.bytes[15] = (uint8_t)(i % WRITERS);
            assert_int_equal(x.s->ops->changes(x.s, &x.id, &seen), 0);
            (void)x.s->ops->wait(x.s, &x.id, seen, 1000);
        }
        (void)x.s->ops->wait(x.s, &x.id, seen, 1 + (unsigned)tl_prng_below(&p, 8));
        for (uint32_t i = 0; i < WRITERS; i++) {
            int status;
            kill(pids[i], SIGKILL);
            assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
            assert_true(WIFSIGNALED(status));
        }
        if (kill_number % 3 == 0) { /* nobody has it open: the page is made anew */
            x.s->ops->close(x.s);
            x.s = store->open(x.where);
        }
        for (uint32_t i = 0; i < WRITERS; i++)
            assert_rounds_are_whole(&x, i);
        x.s->ops->close(x.s);
    }
    x.s = store->open(x.where);
    scene_free(&x);
}

int suite_run(const struct suite_store *s)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_transaction_happens_as_a_whole_or_not_at_all),
        cmocka_unit_test(no_update_is_lost_between_processes),
        cmocka_unit_test(who_waits_is_woken_by_a_change),
        cmocka_unit_test(records_are_found_in_the_order_of_their_keys),
        cmocka_unit_test(payloads_of_all_sizes_come_back),
        cmocka_unit_test(several_payloads_are_read_at_once),
        cmocka_unit_test(what_is_too_large_is_refused),
        cmocka_unit_test(erased_records_are_gone_and_their_space_is_free),
        cmocka_unit_test(who_is_killed_leaves_whole_rounds),
    };
    store = s;
    return cmocka_run_group_tests_name(s->name, tests, NULL, NULL) + suite_locks_run(s);
}
