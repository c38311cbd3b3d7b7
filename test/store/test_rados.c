// SPDX-License-Identifier: Apache-2.0
/* The RADOS store: what every store must do, and what only a cluster can suffer. Runs inside `tools/rados-dev run`, which starts one. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/class.h"
#include "base/prng.h"
#include "base/time.h"
#include "store/cluster.h"
#include "store/rados.h"
#include "store/suite.h"

static void make(char *where, size_t size)
{
    const char *data = getenv("TIERCEL_TEST_DATA");
    cluster_make(where, size, data != NULL ? data : "data");
}

/* ---- what only a cluster can suffer ---- */

static const struct tl_slice none = {"", 0};

static int nothing(void *ctx, struct tl_store_tx *tx)
{
    (void)ctx, (void)tx;
    return 0;
}

static int put_one(void *ctx, struct tl_store_tx *tx)
{
    return tx->ops->put(tx, (struct tl_slice){"k", 1}, (struct tl_slice){ctx, strlen(ctx)});
}

struct place {
    uint8_t bytes[TL_STORE_PLACE_MAX];
    size_t len;
};

static int keep_place(void *ctx, const struct tl_found *f)
{
    struct place *out = ctx;
    memcpy(out->bytes, f->place.at, f->place.len);
    out->len = f->place.len;
    return 0;
}

static int count_found(void *ctx, const struct tl_found *f)
{
    (void)f;
    ++*(int *)ctx;
    return 0;
}

static uint8_t bytes[200000], back[200000];

static void write_one(struct tl_store *s, const char *key, size_t len)
{
    const struct tl_record r = {.key = {key, strlen(key)}, .meta = none, .payload = {bytes, len}};
    assert_int_equal(s->ops->write(s, &cluster_id, &r), 0);
}

static int read_one(struct tl_store *s)
{
    struct place p = {.len = 0};
    assert_int_equal(s->ops->scan(s, &cluster_id, none, none, keep_place, &p), 0);
    return s->ops->read(s, (struct tl_slice){p.bytes, p.len}, 0, back, sizeof back);
}

static void count_findings(void *ctx, const char *finding)
{
    assert_true(strlen(finding) > 20);
    ++*(int *)ctx;
}

static void a_cluster_that_cannot_be_used_is_named_in_time(void **state)
{
    char dir[] = "/tmp/tl-rados-conf-XXXXXX", dead[64], other[64], keyless[64], text[768];
    assert_non_null(mkdtemp(dir));
    snprintf(dead, sizeof dead, "%s/dead.conf", dir);
    snprintf(other, sizeof other, "%s/other.conf", dir);
    snprintf(keyless, sizeof keyless, "%s/keyless.conf", dir);
    snprintf(text, sizeof text,
             "sed 's,^keyring.*,keyring = /nowhere,' $CEPH_CONF >%s;"
             "{ grep -v 'mon host' $CEPH_CONF; echo '[global]'; echo 'mon host = v2:127.0.0.1:1'; } >%s;"
             "{ grep -v '^keyring' $CEPH_CONF; echo '[global]'; echo 'keyring = %s/keyring'; } >%s;"
             "ceph-authtool -C %s/keyring -g -n client.admin >/dev/null",
             keyless, dead, dir, other, dir);
    cluster_sh("rados:///x", text);
    const struct {
        const char *options, *conf;
        int rc;
        const char *word;
    } cases[] = {
        {"", "", -EINVAL, "pool="},
        {"pool=meta&pol=x", "", -EINVAL, "pol=x"},
        {"pool=meta&timeout=soon", "", -EINVAL, "timeout=soon"},
        {"pool=meta&conf=/nowhere", "", -ENOTCONN, "/nowhere"},
        {"pool=nosuch", "", -ENODEV, "'nosuch'"},
        {"pool=meta&data=nosuch", "", -ENODEV, "'nosuch'"},
        {"pool=meta&data=data,nosuch", "", -ENODEV, "'nosuch'"},
        {"pool=meta&data=data,meta", "", -EINVAL, "both of class RP_3"},
        {"pool=meta&data=ec21,,data", "", -EINVAL, "with commas"},
        {"pool=ec21", "", -EOPNOTSUPP, "erasure-coded"},
        {"pool=meta&user=nobody", "", -EKEYREJECTED, "client.nobody"},
        {"pool=meta&timeout=5&conf=", keyless, -ENOKEY, "keyring="},
        {"pool=meta&timeout=5&conf=", other, -EKEYREJECTED, "client.admin"},
        {"pool=meta&timeout=2&conf=", dead, -ETIMEDOUT, "within 2 s"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tl_store_config config = {.create = true};
        struct tl_store *s = NULL;
        struct tl_error err = {.code = 0};
        uint64_t begin = tl_time_mono_ns();
        snprintf(text, sizeof text, "rados:///bad?%s%s", cases[i].options, cases[i].conf);
        int rc = tl_store_rados_open(&s, text, &config, &err);
        if (rc != cases[i].rc || strstr(err.msg, cases[i].word) == NULL)
            fail_msg("%s: %d: %s", text, rc, err.msg);
        assert_true(tl_time_mono_ns() - begin < 10 * TL_NS_PER_S);
        assert_null(s);
    }
    const struct tl_store_config config = {.create = false};
    struct tl_error err;
    struct tl_store *s;
    for (int i = 0; i < 2; i++) /* nothing was half made */
        assert_int_equal(
            tl_store_rados_open(&s, i == 0 ? "rados:///bad?pool=meta" : "rados:///bad?pool=ec21", &config, &err),
            -ENOENT);
    snprintf(text, sizeof text, "rm -r %s", dir);
    cluster_sh("rados:///x", text);
}

static void what_is_damaged_lost_or_left_is_found(void **state)
{
    (void)state;
    char where[256];
    int said = 0;
    cluster_make(where, sizeof where, "ec21");
    struct tl_store *s = cluster_open(where);
    write_one(s, "key", sizeof bytes);
    assert_int_equal(s->ops->flush(s), 0);
    assert_int_equal(read_one(s), 0);
    assert_int_equal((s->ops->check)(s, false, count_findings, &said), 0);
    assert_int_equal(said, 0);
    cluster_sh(where, "o=$(rados -p ec21 -N $NS ls); head -c 200000 /dev/urandom | rados -p ec21 -N $NS put $o -");
    assert_int_equal(read_one(s), -EBADMSG);
    assert_int_equal((s->ops->check)(s, false, count_findings, &said), 1);
    cluster_sh(where,
               "o=$(rados -p ec21 -N $NS ls); rados -p ec21 -N $NS rm $o; echo x | rados -p ec21 -N $NS put d.left -");
    assert_int_equal(read_one(s), -ENOENT);
    said = 0;
    assert_int_equal((s->ops->check)(s, false, count_findings, &said), 1);
    assert_int_equal(said, 2);
    struct tl_store *other = cluster_open(where);
    assert_int_equal((s->ops->check)(s, true, count_findings, &said), -EBUSY);
    other->ops->close(other);
    assert_int_equal((s->ops->check)(s, true, count_findings, &said), 1);
    cluster_sh(where, "[ -z \"$(rados -p ec21 -N $NS ls)\" ]");
    s->ops->close(s);
    cluster_destroy(where);
}

static void write_in(struct tl_store *s, const char *key, uint16_t class, int rc)
{
    const struct tl_record r = {
        .key = {key, strlen(key)}, .meta = none, .payload = {bytes, sizeof bytes}, .class = class};
    assert_int_equal(s->ops->write(s, &cluster_id, &r), rc);
}

static int read_found(void *ctx, const struct tl_found *f)
{
    struct tl_store *s = ctx;
    memset(back, 0xff, sizeof back);
    assert_int_equal(s->ops->read(s, f->place, 0, back, sizeof back), 0);
    assert_memory_equal(bytes, back, sizeof back);
    return 0;
}

/* Its own RADOS pool each, in which it is looked for by reading, erasing, checking and destroying, too. */
static void payloads_lie_where_their_class_says(void **state)
{
    const uint16_t rp3 = tl_class_replicated(3), ec21 = tl_class_erasure(2, 1);
    const struct tl_slice keys[] = {{"copied", 6}, {"coded", 5}};
    char where[256];
    int said = 0;
    (void)state;
    cluster_make(where, sizeof where, "ec21,data");
    struct tl_store *s = cluster_open(where);
    const struct tl_store_classes *c = s->ops->classes(s);
    assert_true(c->count == 2 && c->list[0] == ec21 && c->list[1] == rp3 && c->index == rp3);
    write_in(s, "coded", 0, 0);
    write_in(s, "copied", rp3, 0);
    write_in(s, "other", tl_class_replicated(2), -EINVAL); /* which is no reason to lose the others */
    write_in(s, "more", ec21, 0);
    assert_int_equal(s->ops->flush(s), 0);
    cluster_sh(where, "[ $(rados -p ec21 -N $NS ls | wc -l) = 2 ] && [ $(rados -p data -N $NS ls | wc -l) = 1 ]");
    assert_int_equal(s->ops->scan(s, &cluster_id, none, none, read_found, s), 0);
    assert_int_equal((s->ops->check)(s, false, count_findings, &said), 0);
    /* Of one name, but in the other RADOS pool: no record means this one. */
    cluster_sh(where, "o=$(rados -p data -N $NS ls); rados -p data -N $NS get $o - | rados -p ec21 -N $NS put $o -");
    assert_int_equal((s->ops->check)(s, true, count_findings, &said), 0);
    assert_int_equal(said, 1);
    cluster_sh(where, "[ $(rados -p ec21 -N $NS ls | wc -l) = 2 ] && [ $(rados -p data -N $NS ls | wc -l) = 1 ]");
    assert_int_equal(s->ops->erase(s, &cluster_id, keys, 2), 0);
    cluster_sh(where, "[ $(rados -p ec21 -N $NS ls | wc -l) = 1 ] && [ $(rados -p data -N $NS ls | wc -l) = 0 ]");
    write_in(s, "last", rp3, 0);
    assert_int_equal(s->ops->flush(s), 0);
    s->ops->close(s);
    cluster_destroy(where);
    cluster_sh(where, "for p in meta data ec21; do [ -z \"$(rados -p $p -N $NS ls)\" ]; done");
}

/* What the pool's object says of its RADOS pools is what counts when it is opened. */
static void a_pool_knows_its_rados_pools(void **state)
{
    static const char *const others[] = {"data", "ec21,data", "data,ec21,meta", "data,", "nosuch"};
    const struct tl_store_config config = {.create = false};
    char where[256], text[300];
    struct tl_store *s;
    struct tl_error err;
    (void)state;
    cluster_make(where, sizeof where, "data,ec21");
    const int base = (int)(strstr(where, "&data=") - where);
    snprintf(text, sizeof text, "%.*s&lease=%d", base, where, CLUSTER_LEASE_S);
    s = cluster_open(text);
    assert_non_null(s);
    assert_int_equal(s->ops->classes(s)->count, 2);
    s->ops->close(s);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        snprintf(text, sizeof text, "%.*s&lease=%d&data=%s", base, where, CLUSTER_LEASE_S, others[i]);
        assert_int_equal(tl_store_rados_open(&s, text, &config, &err), -EINVAL);
        assert_non_null(strstr(err.msg, "'data,ec21'"));
    }
    cluster_sh(where, "rados -p meta -N $NS setxattr pool data 'RP_3 meta,XX_3 data'");
    assert_int_equal(tl_store_rados_open(&s, where, &config, &err), -EBADMSG);
    cluster_sh(where, "rados -p meta -N $NS setxattr pool data 'RP_3 meta,RP_3 data,EC_2P1 ec21'");
    cluster_destroy(where);
}

static void a_full_cluster_refuses_at_once(void **state)
{
    (void)state;
    char where[256];
    make(where, sizeof where);
    struct tl_store *s = cluster_open(where);
    struct tl_slice key = {"one", 3};
    write_one(s, "one", sizeof bytes);
    assert_int_equal(s->ops->flush(s), 0);
    cluster_sh(
        where,
        "printf 'osd set-nearfull-ratio 1e-6\nosd set-backfillfull-ratio 2e-6\nosd set-full-ratio 1e-5\n' | ceph "
        ">/dev/null 2>&1");
    uint64_t begin = tl_time_mono_ns();
    const struct tl_record r = {.key = {"two", 3}, .meta = none, .payload = {bytes, sizeof bytes}};
    int rc = 0;
    for (int i = 0; rc == 0 && i < 400; i++) { /* until OSDs and this client have noticed */
        rc = s->ops->write(s, &cluster_id, &r);
        rc = rc == 0 ? s->ops->flush(s) : rc;
        if (rc == 0)
            usleep(50000);
    }
    assert_int_equal(rc, -ENOSPC);
    (void)s->ops->flush(s);
    assert_int_equal(s->ops->change(s, &cluster_id, put_one, "v"), -ENOSPC);
    assert_int_equal(s->ops->erase(s, &cluster_id, &key, 1), 0); /* giving back goes */
    assert_true(tl_time_mono_ns() - begin < 40 * TL_NS_PER_S);
    cluster_sh(where,
               "printf 'osd set-full-ratio .95\nosd set-backfillfull-ratio .9\nosd set-nearfull-ratio .85\n' | ceph "
               ">/dev/null 2>&1");
    for (int i = 0; i < 400 && (rc = s->ops->change(s, &cluster_id, put_one, "v")) == -ENOSPC; i++)
        usleep(50000);
    assert_int_equal(rc, 0);
    write_one(s, "three", sizeof bytes);
    assert_int_equal(s->ops->flush(s), 0);
    s->ops->close(s);
    cluster_destroy(where);
}

/* While no OSD answers; librados itself would wait for ever for a watch, and for watchers to be told. */
static void sleep_lock_and_close(struct tl_store *s)
{
    uint64_t begin = tl_time_mono_ns();
    struct tl_store_lock *l;
    struct tl_store_lock_value v;
    assert_int_equal(s->ops->wait(s, &cluster_id, 0, 500), -ETIMEDOUT);
    assert_true(tl_time_mono_ns() - begin < 2 * TL_NS_PER_S);
    assert_int_equal(s->ops->lock(s, &cluster_id, (struct tl_slice){"l", 1}, true, 500, NULL, &l, &v), -ETIMEDOUT);
    s->ops->wake(s, &cluster_id);
    assert_int_equal(s->ops->wait(s, &cluster_id, 0, 500), 0);
    s->ops->close(s);
    assert_true(tl_time_mono_ns() - begin < 20 * TL_NS_PER_S);
}

static void everything_ends_within_the_timeout(void **state)
{
    (void)state;
    char where[256], quick[300];
    uint32_t n;
    make(where, sizeof where);
    snprintf(quick, sizeof quick, "%.*stimeout=2&lease=%d", (int)(strstr(where, "timeout") - where), where,
             CLUSTER_LEASE_S);
    struct tl_store *s = cluster_open(quick), *other = cluster_open(quick);
    assert_int_equal(s->ops->change(s, &cluster_id, put_one, "before"), 0);
    cluster_sh(where, "for i in 0 1 2; do $RADOS_TOOL stall $RADOS_DEV osd.$i; done");
    uint64_t begin = tl_time_mono_ns();
    write_one(s, "key", sizeof bytes);
    assert_int_equal(s->ops->flush(s), -ETIMEDOUT);
    assert_int_equal(s->ops->change(s, &cluster_id, put_one, "during"), -ETIMEDOUT);
    assert_int_equal(s->ops->changes(s, &cluster_id, &n), -ETIMEDOUT);
    assert_int_equal(s->ops->scan(s, &cluster_id, none, none, keep_place, NULL), -ETIMEDOUT);
    assert_true(tl_time_mono_ns() - begin < 20 * TL_NS_PER_S);
    sleep_lock_and_close(other);
    cluster_sh(where, "for i in 0 1 2; do $RADOS_TOOL cont $RADOS_DEV osd.$i; done");
    int rc = -ETIMEDOUT;
    for (int i = 0; i < 20 && rc == -ETIMEDOUT; i++)
        rc = s->ops->change(s, &cluster_id, put_one, "after");
    assert_int_equal(rc, 0);
    rc = -ESTALE; /* its leases have ended meanwhile, and it may find that out only now */
    for (int i = 0; i < 20 && rc == -ESTALE; i++) {
        assert_int_equal(s->ops->changes(s, &cluster_id, &n), 0);
        write_one(s, "key", sizeof bytes);
        rc = s->ops->flush(s);
    }
    assert_int_equal(rc, 0);
    assert_int_equal(read_one(s), 0);
    s->ops->close(s);
    cluster_destroy(where);
}

/* Its first records ask what others have said of it, while renewals of its mark are on their way that are older than a lease allows. */
static void *write_the_first(void *arg)
{
    struct tl_store *s = arg;
    const struct tl_record r = {.key = {"key", 3}, .meta = none, .payload = {bytes, sizeof bytes}};
    int rc = s->ops->write(s, &cluster_id, &r);
    return (void *)(intptr_t)(rc == 0 ? s->ops->flush(s) : rc);
}

static void who_begins_to_write_while_nobody_answers_goes_on(void **state)
{
    (void)state;
    char where[256];
    pthread_t writer;
    void *rc;
    make(where, sizeof where);
    struct tl_store *s = cluster_open(where);
    assert_int_equal(s->ops->change(s, &cluster_id, put_one, "v"), 0);
    assert_int_equal(s->ops->claim(s, 7, true), 0);
    cluster_sh(where, "for i in 0 1 2; do $RADOS_TOOL stall $RADOS_DEV osd.$i; done");
    assert_int_equal(pthread_create(&writer, NULL, write_the_first, s), 0);
    usleep(CLUSTER_LEASE_S * 1000000 +
           200000); /* how long nobody answers: shorter than what OSDs are taken for dead after */
    cluster_sh(where, "for i in 0 1 2; do $RADOS_TOOL cont $RADOS_DEV osd.$i; done");
    assert_int_equal(pthread_join(writer, &rc), 0);
    assert_int_equal((intptr_t)rc, 0);
    assert_int_equal(read_one(s), 0);
    s->ops->close(s);
    cluster_destroy(where);
}

enum { BEGINNERS = 4, BEGUN = 60 };

struct beginner {
    struct tl_store *s;
    pthread_barrier_t *together;
    unsigned number;
    int failed;
};

static int count_one(void *ctx, const struct tl_found *f)
{
    (void)f;
    ++*(unsigned *)ctx;
    return 0;
}

static void *begin_containers(void *arg)
{
    struct beginner *b = arg;
    for (unsigned i = 0; i < BEGUN; i++) {
        const struct tl_store_id container = {{9, (uint8_t)i}};
        char key[32];
        const struct timespec apart = {.tv_nsec = (long)(tl_prng_draw(1, i, b->number, 0, 0) % 2000000)};
        pthread_barrier_wait(b->together);
        nanosleep(&apart, NULL); /* in any step of the others */
        snprintf(key, sizeof key, "key of %p", (void *)b);
        struct tl_record r = {.key = {key, strlen(key)}, .meta = {"m", 1}, .payload = {"", 0}};
        unsigned found = 0; /* any number of those that there will be */
        int rc =
            b->s->ops->scan(b->s, &container, (struct tl_slice){"", 0}, (struct tl_slice){"", 0}, count_one, &found);
        rc = rc == 0 ? b->s->ops->write(b->s, &container, &r) : rc;
        rc = rc == 0 ? b->s->ops->flush(b->s) : rc;
        b->failed = b->failed == 0 ? rc : b->failed;
    }
    return NULL;
}

static int no_change(void *ctx, struct tl_store_tx *tx)
{
    (void)ctx, (void)tx;
    return 0;
}

/* Each of them makes the index, or finds it half made by another. */
static void several_begin_a_container_at_once(void **state)
{
    (void)state;
    char where[256];
    pthread_t threads[BEGINNERS];
    pthread_barrier_t together;
    struct beginner b[BEGINNERS];
    make(where, sizeof where);
    assert_int_equal(pthread_barrier_init(&together, NULL, BEGINNERS), 0);
    for (unsigned i = 0; i < BEGINNERS; i++) {
        b[i] = (struct beginner){cluster_open(where), &together, i, 0};
        assert_non_null(b[i].s);
    }
    for (unsigned i = 0; i < BEGINNERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, begin_containers, &b[i]), 0);
    for (unsigned i = 0; i < BEGINNERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (unsigned i = 0; i < BEGUN; i++) {
        const struct tl_store_id container = {{9, (uint8_t)i}};
        unsigned found = 0;
        assert_int_equal(b[0].s->ops->change(b[0].s, &container, no_change, NULL), 0);
        assert_int_equal(b[0].s->ops->scan(b[0].s, &container, (struct tl_slice){"", 0}, (struct tl_slice){"", 0},
                                           count_one, &found),
                         0);
        assert_int_equal(found, BEGINNERS);
    }
    for (unsigned i = 0; i < BEGINNERS; i++) {
        assert_int_equal(b[i].failed, 0);
        b[i].s->ops->close(b[i].s);
    }
    pthread_barrier_destroy(&together);
    cluster_destroy(where);
}

/* As if all leases of the pool had ended. */
static void break_leases(const char *where)
{
    cluster_sh(
        where,
        "rados -p meta -N $NS lock info pool tiercel | jq -r '.lockers[] | .name + \" \" + .cookie' | "
        "while read -r name cookie; do rados -p meta -N $NS lock break pool tiercel $name --lock-cookie $cookie; done");
}

/* Until it has noticed that something was not its own for a while. */
static void until_interrupted(struct tl_store *s, uint64_t before)
{
    struct tl_rados *r = (struct tl_rados *)s;
    for (int tries = 0; tries < 600 && atomic_load(&r->interrupts) == before; tries++)
        usleep(50000);
    assert_true(atomic_load(&r->interrupts) != before);
}

static void ignore_finding(void *ctx, const char *finding)
{
    (void)ctx, (void)finding;
}

static void have_it_alone(struct tl_store *other, const char *where)
{
    int rc = -EBUSY;
    for (int tries = 0; tries < 60 && rc == -EBUSY; tries++) { /* until nobody renews in between */
        break_leases(where);
        rc = (other->ops->check)(other, true, ignore_finding, NULL); /* `check` is a macro */
    }
    assert_true(rc >= 0);
}

/* A process that lives goes on, even if a lease of it ended unnoticed. One that lost a mark since it looked, or whose pool somebody had alone, is
 * refused, perhaps without knowing why. */
static void who_was_taken_for_dead_adds_nothing(void **state)
{
    (void)state;
    enum { LIVES, EXPIRED, MARK_LOST, POOL_LOST, CASES };
    const char *keys[CASES] = {"key", "expired", "mark lost", "pool lost"};
    char where[256];
    uint32_t n;
    make(where, sizeof where);
    struct tl_store *s = cluster_open(where), *other = cluster_open(where);
    assert_int_equal(s->ops->claim(s, 7, false), 0);
    for (int i = 0; i < CASES; i++) {
        assert_int_equal(s->ops->changes(s, &cluster_id, &n), 0);
        write_one(s, keys[i], sizeof bytes);
        const uint64_t interrupts = atomic_load(&((struct tl_rados *)s)->interrupts);
        if (i == EXPIRED)
            break_leases(where);
        else if (i == MARK_LOST)
            cluster_sh(where, "rados -p meta -N $NS rm m.0000000000000007");
        else if (i == POOL_LOST)
            have_it_alone(other, where);
        if (i >= MARK_LOST)
            until_interrupted(s, interrupts);
        assert_int_equal(other->ops->fence(other, &cluster_id), 0);
        assert_int_equal(s->ops->flush(s), i >= MARK_LOST ? -ESTALE : 0);
    }
    assert_int_equal(read_one(s), 0);
    assert_int_equal(s->ops->changes(s, &cluster_id, &n), 0);
    write_one(s, "later", sizeof bytes);
    assert_int_equal(s->ops->flush(s), 0);
    int found = 0;
    assert_int_equal(s->ops->scan(s, &cluster_id, none, none, count_found, &found), 0);
    assert_int_equal(found, 3);
    other->ops->close(other);
    s->ops->close(s);
    cluster_destroy(where);
}

/* As if its lease had ended. */
#define LOCK_INFO "o=$(rados -p meta -N $NS ls | grep ^l); i=$(rados -p meta -N $NS lock info $o tiercel); "
#define LOCK_BREAK                                                                                                     \
    LOCK_INFO "rados -p meta -N $NS lock break $o tiercel $(echo \"$i\" | jq -r .lockers[0].name)"                     \
              " --lock-cookie $(echo \"$i\" | jq -r .lockers[0].cookie)"

/* Whose lease ended unnoticed has it still; whom another one has followed is told so, and his value is not taken. */
static void who_lost_a_lock_writes_no_value(void **state)
{
    (void)state;
    char where[256];
    struct tl_store_lock *l, *m;
    struct tl_store_lock_value v, w = {.valid = true, .epoch = 7}, late = {.valid = true, .epoch = 6};
    const struct tl_slice name = {"l", 1};
    make(where, sizeof where);
    struct tl_store *s = cluster_open(where), *other = cluster_open(where);
    assert_int_equal(s->ops->change(s, &cluster_id, nothing, NULL), 0);
    assert_int_equal(s->ops->lock(s, &cluster_id, name, true, 0, NULL, &l, &v), 0);
    cluster_sh(where, LOCK_BREAK);
    cluster_sh(where, "for try in $(seq 100); do " LOCK_INFO
                      "echo \"$i\" | jq -e '.lockers[0]' >/dev/null && exit; done; exit 1");
    assert_int_equal(s->ops->unlock(s, l, NULL), 0);

    assert_int_equal(s->ops->lock(s, &cluster_id, name, true, 0, NULL, &l, &v), 0);
    int rc = -EAGAIN;
    for (int tries = 0; tries < 60 && rc == -EAGAIN; tries++) { /* until it is not renewed in between */
        cluster_sh(where, LOCK_BREAK);
        rc = other->ops->lock(other, &cluster_id, name, true, 0, NULL, &m, &v);
    }
    assert_int_equal(rc, 0);
    assert_false(v.valid);
    assert_int_equal(s->ops->lock(s, &cluster_id, name, true, 0, NULL, &l, &v), -EAGAIN);
    assert_int_equal(other->ops->unlock(other, m, &w), 0);
    assert_int_equal(s->ops->unlock(s, l, &late), -ESTALE);
    assert_int_equal(s->ops->lock(s, &cluster_id, name, false, 0, NULL, &l, &v), 0);
    assert_true(v.valid && v.epoch == 7);
    assert_int_equal(s->ops->unlock(s, l, NULL), 0);
    other->ops->close(other);
    s->ops->close(s);
    cluster_destroy(where);
}

/* As an administrator does, or what fences hosts for him. Another process, with a number of its own, is let in. */
static void who_is_on_the_blocklist_is_told_so(void **state)
{
    (void)state;
    char where[256];
    int rc = 0, found;
    make(where, sizeof where);
    struct tl_store *s = cluster_open(where);
    cluster_sh(where, "a=$(rados -p meta -N $NS lock info pool tiercel | jq -r .lockers[0].addr); "
                      "ceph osd blocklist add $a >/dev/null 2>&1");
    for (int i = 0; i < 400 && rc == 0; i++, usleep(25000)) /* until the OSD has heard of it */
        rc = s->ops->change(s, &cluster_id, put_one, "v");
    assert_int_equal(rc, -ESHUTDOWN);
    assert_non_null(strstr(tl_store_strerror(rc), "ceph osd blocklist ls"));
    write_one(s, "key", sizeof bytes);
    assert_int_equal(s->ops->flush(s), -ESHUTDOWN);
    assert_int_equal(s->ops->scan(s, &cluster_id, none, none, count_found, &found), -ESHUTDOWN);
    struct tl_store *other = cluster_open(where);
    assert_non_null(other);
    assert_int_equal(other->ops->change(other, &cluster_id, put_one, "v"), 0);
    other->ops->close(other);
    cluster_sh(where, "ceph osd blocklist clear >/dev/null 2>&1");
    for (int i = 0; i < 400 && (rc = s->ops->change(s, &cluster_id, put_one, "v")) == -ESHUTDOWN; i++)
        usleep(25000);
    assert_int_equal(rc, 0);
    s->ops->close(s);
    cluster_destroy(where);
}

/* `test_store_rados suite`: what every store must do; `test_store_rados own`: the rest; without: all. A second word names a test. */
int main(int argc, char **argv)
{
    const struct suite_store rados = {"rados", make, cluster_open, cluster_destroy};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cluster_that_cannot_be_used_is_named_in_time),
        cmocka_unit_test(what_is_damaged_lost_or_left_is_found),
        cmocka_unit_test(payloads_lie_where_their_class_says),
        cmocka_unit_test(a_pool_knows_its_rados_pools),
        cmocka_unit_test(several_begin_a_container_at_once),
        cmocka_unit_test(who_lost_a_lock_writes_no_value),
        cmocka_unit_test(who_is_on_the_blocklist_is_told_so),
        cmocka_unit_test(a_full_cluster_refuses_at_once),
        cmocka_unit_test(everything_ends_within_the_timeout),
        cmocka_unit_test(who_begins_to_write_while_nobody_answers_goes_on),
        cmocka_unit_test(who_was_taken_for_dead_adds_nothing),
    };
    if (!cluster_is_there())
        return 77;
    if (argc > 2)
        cmocka_set_test_filter(argv[2]);
    int failed = argc < 2 || strcmp(argv[1], "own") != 0 ? suite_run(&rados) : 0;
    if (argc < 2 || strcmp(argv[1], "suite") != 0)
        failed += cmocka_run_group_tests(tests, NULL, NULL);
    return failed;
}
