// SPDX-License-Identifier: Apache-2.0
/* The embedded store is killed, or finds the disk full, at every call by which it changes anything on the disk (steps.h). Each time, the
 * state is the old or the new, whole, and checking the pool finds no damage.
 *
 * Rounds of records are written, each by an attempt: a few records, one state. The state says which attempt made which round, and each
 * record says by which it was written. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "store/pools.h"
#include "store/steps.h"

#define STEPS_MAX 400u
#define KEPT      3u /* rounds that are not erased */

static const uint32_t sizes[] = {100, 600, 70000,
                                 TL_STORE_PAYLOAD_MAX}; /* each round leaves a segment when it is erased */
enum { SIZES = sizeof sizes / sizeof *sizes };

static uint8_t payload[TL_STORE_PAYLOAD_MAX], back[TL_STORE_PAYLOAD_MAX];

/* ---- rounds ---- */

struct round {
    uint32_t number, attempt;
};

static void make_payload(const struct round *r, uint32_t i)
{
    uint64_t word = (r->attempt * 0x9e3779b97f4a7c15ull) ^ ((r->number * SIZES + i) * 0xd1b54a32d192ed03ull);
    for (uint32_t at = 0; at < sizes[i]; at += 8, word += 0xbf58476d1ce4e5b9ull)
        memcpy(payload + at, &word, sizes[i] - at < 8 ? sizes[i] - at : 8);
}

/* As containers do it: nobody writes a key that another one writes. */
static void name(char *out, size_t size, const struct round *r, uint32_t i)
{
    snprintf(out, size, "%08u.%08u.%u", r->number, r->attempt, i);
}

static int write_round(struct tl_store *s, const struct round *r)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < SIZES; i++) {
        char key[32];
        uint8_t attempt[4];
        name(key, sizeof key, r, i);
        make_payload(r, i);
        tl_put_u32(attempt, r->attempt);
        struct tl_record record = {.key = {key, strlen(key)}, .meta = {attempt, 4}, .payload = {payload, sizes[i]}};
        rc = s->ops->write(s, &id, &record);
    }
    int flushed = s->ops->flush(s); /* after an error it begins anew */
    return rc == 0 ? flushed : rc;
}

/* State: "n" -> how many rounds there are; "r" and a number -> the attempt that made this round. */
static int commit(void *ctx, struct tl_store_tx *tx)
{
    const struct round *r = ctx;
    uint8_t key[5] = "r", attempt[4], next[4];
    tl_put_u32(key + 1, r->number);
    tl_put_u32(attempt, r->attempt);
    tl_put_u32(next, r->number + 1);
    int rc = tx->ops->put(tx, (struct tl_slice){key, 5}, (struct tl_slice){attempt, 4});
    return rc == 0 ? tx->ops->put(tx, (struct tl_slice){"n", 1}, (struct tl_slice){next, 4}) : rc;
}

static int get_rounds(void *ctx, struct tl_store_tx *tx)
{
    struct tl_slice v;
    int rc = tx->ops->get(tx, (struct tl_slice){"n", 1}, &v);
    *(uint32_t *)ctx = rc == 0 ? tl_get_u32(v.at) : 0;
    return rc == -ENOENT ? 0 : rc;
}

static int get_attempt(void *ctx, struct tl_store_tx *tx)
{
    struct round *r = ctx;
    struct tl_slice v;
    uint8_t key[5] = "r";
    tl_put_u32(key + 1, r->number);
    int rc = tx->ops->get(tx, (struct tl_slice){key, 5}, &v);
    if (rc == 0)
        r->attempt = tl_get_u32(v.at);
    return rc;
}

static int erase_attempt(struct tl_store *s, const struct round *r)
{
    char keys[SIZES][32];
    struct tl_slice slices[SIZES];
    for (uint32_t i = 0; i < SIZES; i++) {
        name(keys[i], sizeof keys[i], r, i);
        slices[i] = (struct tl_slice){keys[i], strlen(keys[i])};
    }
    return s->ops->erase(s, &id, slices, SIZES);
}

static int erase_round(struct tl_store *s, uint32_t number)
{
    struct round r = {.number = number};
    int rc = s->ops->look(s, &id, get_attempt, &r);
    return rc == 0 ? erase_attempt(s, &r) : rc;
}

/* Everything that a checkpoint does. */
static int do_round(struct tl_store *s, const struct round *r)
{
    struct round copy = *r;
    int rc = write_round(s, r);
    rc = rc == 0 ? s->ops->change(s, &id, commit, &copy) : rc;
    return rc == 0 && r->number >= KEPT ? erase_round(s, r->number - KEPT) : rc;
}

/* ---- what is there afterwards ---- */

struct seen {
    uint32_t attempt, len;
    uint8_t place[TL_STORE_PLACE_MAX];
    size_t place_len;
    uint32_t count;
};

static int see(void *ctx, const struct tl_found *f)
{
    struct seen *out = ctx;
    out->attempt = tl_get_u32(f->meta.at);
    out->len = f->payload_len;
    out->place_len = f->place.len;
    memcpy(out->place, f->place.at, f->place.len);
    out->count++;
    return 0;
}

static void assert_round_is_whole(struct tl_store *s, uint32_t number)
{
    struct round r = {.number = number};
    assert_int_equal(s->ops->look(s, &id, get_attempt, &r), 0);
    for (uint32_t i = 0; i < SIZES; i++) {
        struct seen seen = {.count = 0};
        char key[32];
        name(key, sizeof key, &r, i);
        struct tl_slice prefix = {key, strlen(key)};
        assert_int_equal(s->ops->scan(s, &id, prefix, prefix, see, &seen), 0);
        assert_int_equal(seen.count, 1);
        assert_int_equal(seen.attempt, r.attempt);
        assert_int_equal(seen.len, sizes[i]);
        assert_int_equal(s->ops->read(s, (struct tl_slice){seen.place, seen.place_len}, 0, back, sizes[i]), 0);
        make_payload(&r, i);
        assert_memory_equal(back, payload, sizes[i]);
    }
}

static void print_finding(void *ctx, const char *finding)
{
    (void)ctx;
    if (strncmp(finding, "note: ", 6) != 0)
        fprintf(stderr, "%s\n", finding);
}

static uint32_t assert_whole(struct tl_store *s)
{
    uint32_t rounds;
    assert_non_null(s);
    assert_int_equal(s->ops->look(s, &id, get_rounds, &rounds), 0);
    for (uint32_t n = rounds > KEPT - 1 ? rounds - (KEPT - 1) : 0; n < rounds; n++)
        assert_round_is_whole(s, n);
    assert_int_equal((s->ops->check)(s, false, print_finding, NULL), 0);
    return rounds;
}

/* ---- killed at every step ---- */

static _Noreturn void attempt(const char *where, const struct round *r, enum steps_mode mode, unsigned at, bool no_ring,
                              int report)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    steps_arm(mode, at, no_ring);
    struct tl_store *s = pool_open(where);
    int rc = s == NULL ? -1 : do_round(s, r);
    if (s != NULL)
        s->ops->close(s);
    unsigned count = steps_count();
    if (write(report, &count, sizeof count) != sizeof count)
        rc = -1;
    _exit(rc == 0 ? 0 : 1);
}

/* How many steps it took; 0: it was killed. */
static unsigned run_attempt(const char *where, const struct round *r, enum steps_mode mode, unsigned at, bool no_ring)
{
    int ends[2], status;
    unsigned count = 0;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        attempt(where, r, mode, at, no_ring, ends[1]);
    close(ends[1]);
    bool ended = read(ends[0], &count, sizeof count) == sizeof count;
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(ended ? status == 0 : WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    return count;
}

/* watched: somebody else has the pool open all the time, so that the shared page stays. */
static void kill_at_every_step(bool watched, enum steps_mode mode, bool no_ring)
{
    char where[256];
    struct round r = {0, 0};
    pool_make(where, sizeof where);
    for (; r.number < KEPT; r.number++)
        assert_true(run_attempt(where, &r, STEPS_COUNT, 0, no_ring) > 0);
    struct tl_store *s = watched ? pool_open(where) : NULL;
    unsigned at = 1, ended = 0, committed = 0;
    for (; at < STEPS_MAX && ended == 0; at++) {
        r.attempt = at;
        ended = run_attempt(where, &r, mode, at, no_ring);
        s = watched ? s : pool_open(where);
        uint32_t rounds = assert_whole(s);
        assert_true(rounds == r.number || rounds == r.number + 1);
        if (rounds > r.number)
            committed++;
        r.number = rounds;
        if (at % 3 == 0) { /* who comes next can go on */
            struct round mine = {r.number, 1000000 + at};
            assert_int_equal(do_round(s, &mine), 0);
            assert_int_equal(assert_whole(s), ++r.number);
        }
        if (!watched)
            s->ops->close(s);
    }
    assert_true(ended > 10 && at < STEPS_MAX);
    assert_true(committed > 1); /* some died after their transaction */
    print_message("killed at each of %u steps, %u times after the commit\n", at - 2, committed - 1);
    if (watched)
        s->ops->close(s);
    pool_destroy(where);
}

static void killed_alone(void **state)
{
    (void)state;
    kill_at_every_step(false, STEPS_KILL, false);
}

static void killed_beside_others(void **state)
{
    (void)state;
    kill_at_every_step(true, STEPS_KILL, false);
}

static void killed_in_the_middle_of_writes(void **state)
{
    (void)state;
    kill_at_every_step(false, STEPS_TEAR, false);
}

static void killed_beside_others_without_rings(void **state)
{
    (void)state;
    kill_at_every_step(true, STEPS_TEAR, true);
}

static void the_power_goes(void **state)
{
    (void)state;
    kill_at_every_step(false, STEPS_POWER, true);
}

/* One for the flush of each process, and two for the transaction, whatever the data's size. */
static void a_commit_waits_three_times_for_the_device(void **state)
{
    (void)state;
    char where[256];
    struct round r = {0, 7};
    pool_make(where, sizeof where);
    struct tl_store *s = pool_open(where);
    for (int times = 0; times < 3; times++, r.number++) {
        steps_arm(STEPS_COUNT, 0, false);
        assert_int_equal(write_round(s, &r), 0);
        assert_int_equal(steps_syncs(), 1);
        assert_int_equal(s->ops->change(s, &id, commit, &r), 0);
        assert_int_equal(steps_syncs(), 3);
        assert_int_equal(s->ops->flush(s), 0); /* nothing was written */
        assert_int_equal(steps_syncs(), 3);
        steps_free_disk();
    }
    s->ops->close(s);
    pool_destroy(where);
}

/* ---- making and destroying ---- */

static _Noreturn void make_or_destroy(const char *where, bool make, unsigned at)
{
    const struct tl_store_config config = {.create = true, .map_bytes = 64 << 20};
    struct tl_store *s;
    struct tl_error err;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    steps_arm(STEPS_KILL, at, false);
    int rc = make ? tl_store_embedded_open(&s, where, &config, &err) : tl_store_embedded_destroy(where, &err);
    if (rc == 0 && make)
        s->ops->close(s);
    _exit(rc == 0 ? 0 : 1);
}

/* true: it was killed */
static bool run_make_or_destroy(const char *where, bool make, unsigned at)
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        make_or_destroy(where, make, at);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) || status == 0);
    return WIFSIGNALED(status);
}

static void killed_while_it_is_made_or_destroyed(void **state)
{
    (void)state;
    char where[256];
    struct tl_error err;
    unsigned at = 1;
    for (bool killed = true; killed && at < STEPS_MAX; at++) {
        pool_make(where, sizeof where);
        pool_destroy(where);
        killed = run_make_or_destroy(where, true, at);
        const struct tl_store_config config = {.map_bytes = 64 << 20};
        struct tl_store *s;
        int rc = tl_store_embedded_open(&s, where, &config, &err); /* it is a pool, or can be made one */
        if (rc == -ENOENT)
            assert_false(run_make_or_destroy(where, true, 0));
        else
            assert_int_equal(rc, 0);
        if (rc == 0)
            s->ops->close(s);
        s = pool_open(where);
        const struct round r = {0, 0};
        assert_int_equal(do_round(s, &r), 0);
        assert_int_equal(assert_whole(s), 1);
        s->ops->close(s);
        for (unsigned down = 1; run_make_or_destroy(where, false, down); down++)
            assert_true(down < STEPS_MAX); /* a little more each time */
        assert_int_equal(access(where, F_OK), -1);
    }
    assert_true(at > 8 && at < STEPS_MAX);
}

/* ---- a full disk at every step ---- */

static void tolerate(int rc)
{
    if (rc != 0 && rc != -ENOSPC)
        fail_msg("%s instead of ENOSPC", strerror(-rc));
}

/* In a process of its own. */
static _Noreturn void find_full(const char *where, const struct round *r, unsigned at, bool no_ring)
{
    struct round again = *r;
    struct tl_error err = {.code = 0};
    const struct tl_store_config config = {.map_bytes = 256 << 20, .buffer_bytes = 2 << 20};
    struct tl_store *s = NULL;
    steps_arm(STEPS_FULL, at, no_ring);
    int rc = tl_store_embedded_open(&s, where, &config, &err);
    tolerate(rc);
    if (rc == 0) {
        rc = do_round(s, r);
        tolerate(rc);
        assert_true(rc == 0 || steps_disk_was_full());
        assert_whole(s);
    }
    bool reached = steps_count() >= at;
    steps_free_disk();
    if (s == NULL)
        s = pool_open(where);
    again.number = assert_whole(s);
    assert_true(again.number >= r->number && (rc != 0 || again.number > r->number));
    again.attempt += 1000000;
    assert_int_equal(do_round(s, &again), 0);
    assert_int_equal(assert_whole(s), again.number + 1);
    s->ops->close(s);
    _exit(reached ? 0 : 77);
}

static void full_at_every_step(bool no_ring)
{
    char where[256];
    struct round r = {0, 0};
    pool_make(where, sizeof where);
    for (; r.number < KEPT; r.number++)
        assert_true(run_attempt(where, &r, STEPS_COUNT, 0, no_ring) > 0);
    int status = 0;
    unsigned at = 1;
    for (; at < STEPS_MAX && status == 0; at++) {
        r.attempt = at;
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            find_full(where, &r, at, no_ring);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77));
        struct tl_store *s = pool_open(where);
        r.number = assert_whole(s);
        s->ops->close(s);
    }
    assert_true(at > 10 && at < STEPS_MAX);
    pool_destroy(where);
}

static void the_disk_is_full_at_every_step(void **state)
{
    (void)state;
    full_at_every_step(false);
}

static void the_disk_is_full_at_every_step_without_rings(void **state)
{
    (void)state;
    full_at_every_step(true);
}

/* ---- a disk that is really full ---- */

/* Takes space until so much is left. */
static void leave(const char *ballast, uint64_t bytes)
{
    struct statvfs fs;
    int fd = open(ballast, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && statvfs(ballast, &fs) == 0);
    uint64_t there = fs.f_bavail * fs.f_bsize;
    if (there > bytes)
        assert_int_equal(posix_fallocate(fd, 0, (off_t)(there - bytes)), 0);
    close(fd);
}

static int on_a_small_disk(void)
{
    const struct tl_store_config config = {.create = true, .map_bytes = 64 << 20};
    struct tl_store *s;
    struct tl_error err;
    struct round r = {0, 1};
    unsigned refused = 0;
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tiercel-test", "/mnt", "tmpfs", 0, "size=48m") != 0)
        return 77;
    assert_int_equal(tl_store_embedded_open(&s, "/mnt/pool", &config, &err), 0);
    for (; r.number < KEPT; r.number++)
        assert_int_equal(do_round(s, &r), 0);
    for (uint64_t left = 0; left < 4 << 20; left += left < 65536 ? 4096 : 524288) {
        bool flushed = left % 8192 != 0; /* full before, or after the flush */
        if (flushed)
            assert_int_equal(write_round(s, &r), 0);
        leave("/mnt/ballast", left);
        int rc = flushed ? s->ops->change(s, &id, commit, &r) : do_round(s, &r);
        tolerate(rc);
        refused += rc != 0;
        uint32_t now = assert_whole(s);
        assert_true(now == r.number + 1 || (rc != 0 && now == r.number));
        assert_int_equal(unlink("/mnt/ballast"), 0);
        if (now == r.number)
            assert_int_equal(erase_attempt(s, &r), 0);
        r = (struct round){now, r.attempt + 1};
        assert_int_equal(do_round(s, &r), 0);
        assert_int_equal(assert_whole(s), ++r.number);
    }
    s->ops->close(s);
    return refused > 5 ? 0 : 1;
}

static void the_disk_is_really_full(void **state)
{
    (void)state;
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(on_a_small_disk());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip(); /* mounting wants root */
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_alone),
        cmocka_unit_test(killed_beside_others),
        cmocka_unit_test(killed_in_the_middle_of_writes),
        cmocka_unit_test(killed_beside_others_without_rings),
        cmocka_unit_test(the_power_goes),
        cmocka_unit_test(a_commit_waits_three_times_for_the_device),
        cmocka_unit_test(killed_while_it_is_made_or_destroyed),
        cmocka_unit_test(the_disk_is_full_at_every_step),
        cmocka_unit_test(the_disk_is_full_at_every_step_without_rings),
        cmocka_unit_test(the_disk_is_really_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
