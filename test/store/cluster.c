// SPDX-License-Identifier: Apache-2.0
/* See cluster.h. */
#include "store/cluster.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/time.h"

const struct tl_store_id cluster_id = {{1}};

/* ---- pools ---- */

void cluster_make(char *where, size_t size, const char *data)
{
    static unsigned pools;
    const struct tl_store_config config = {.create = true};
    struct tl_store *s;
    struct tl_error err = {.code = 0};
    snprintf(where, size, "rados:///test-%d-%u?pool=meta&data=%s&timeout=30&lease=%d", (int)getpid(), pools++, data,
             CLUSTER_LEASE_S);
    if (tl_store_rados_open(&s, where, &config, &err) != 0)
        fail_msg("%s", err.msg);
    s->ops->close(s);
}

struct tl_store *cluster_open(const char *where)
{
    const struct tl_store_config config = {.create = false};
    struct tl_store *s = NULL;
    struct tl_error err = {.code = 0};
    if (tl_store_rados_open(&s, where, &config, &err) != 0)
        fprintf(stderr, "%s\n", err.msg);
    return s;
}

void cluster_destroy(const char *where)
{
    struct tl_error err = {.code = 0};
    uint64_t end = tl_time_mono_ns() + 10 * CLUSTER_LEASE_S * TL_NS_PER_S;
    int rc;
    while ((rc = tl_store_rados_destroy(where, &err)) == -EBUSY && tl_time_mono_ns() < end)
        usleep(100000);
    if (rc != 0)
        fail_msg("%s", err.msg);
    assert_null(cluster_open(where));
}

bool cluster_is_there(void)
{
    bool there = getenv("CEPH_CONF") != NULL;
    if (!there)
        puts("no cluster: run by tools/rados-dev");
    return there;
}

void cluster_sh(const char *where, const char *command)
{
    char text[1024];
    const char *space = where + strlen("rados:///");
    snprintf(text, sizeof text, "NS=%.*s; set -e; %s", (int)strcspn(space, "?"), space, command);
    int status = system(text); // NOLINT: a test's own words
    if (status != 0)
        fail_msg("%s: %d", text, status);
}

/* ---- in a pool ---- */

int cluster_put_number(void *ctx, struct tl_store_tx *tx)
{
    return tx->ops->put(tx, (struct tl_slice){"n", 1}, (struct tl_slice){ctx, 4});
}

static const uint8_t *payload(void)
{
    static uint8_t bytes[CLUSTER_PAYLOAD_MAX];
    for (size_t i = 0; bytes[0] == 0 && i < sizeof bytes; i++)
        bytes[sizeof bytes - 1 - i] = (uint8_t)(1 + i * i % 251);
    return bytes;
}

int cluster_write(struct tl_store *s, const void *key, size_t key_len, size_t len)
{
    assert_true(len <= CLUSTER_PAYLOAD_MAX);
    const struct tl_record r = {.key = {key, key_len}, .meta = {"about", 5}, .payload = {payload(), len}};
    return s->ops->write(s, &cluster_id, &r);
}

static int keep_last(void *ctx, const struct tl_found *f)
{
    struct cluster_found *x = ctx;
    memcpy(x->place, f->place.at, f->place.len);
    x->place_len = f->place.len;
    x->count++;
    return 0;
}

unsigned cluster_find(struct tl_store *s, struct cluster_found *x, const void *prefix, size_t len)
{
    struct tl_slice p = {prefix, len};
    *x = (struct cluster_found){.count = 0};
    assert_int_equal(s->ops->scan(s, &cluster_id, p, p, keep_last, x), 0);
    return x->count;
}

void cluster_compare(struct tl_store *s, const struct cluster_found *x)
{
    static uint8_t back[CLUSTER_PAYLOAD_MAX];
    memset(back, 0, sizeof back);
    assert_int_equal(s->ops->read(s, (struct tl_slice){x->place, x->place_len}, 0, back, sizeof back), 0);
    assert_memory_equal(back, payload(), sizeof back);
}

uint64_t cluster_used(struct tl_store *s)
{
    struct tl_store_space space;
    assert_int_equal(s->ops->space(s, &space), 0);
    return space.used_bytes;
}

static void *change_and_tell(void *arg)
{
    struct cluster_changer *x = arg;
    while (atomic_load(&x->stop) == 0) {
        if (x->s->ops->change(x->s, &cluster_id, cluster_put_number, "0002") != 0)
            return x;
        x->s->ops->wake(x->s, &cluster_id);
    }
    return NULL;
}

void cluster_change_begin(struct cluster_changer *x, struct tl_store *s)
{
    *x = (struct cluster_changer){.s = s};
    assert_int_equal(pthread_create(&x->thread, NULL, change_and_tell, x), 0);
}

void cluster_change_end(struct cluster_changer *x)
{
    void *failed;
    atomic_store(&x->stop, 1);
    assert_int_equal(pthread_join(x->thread, &failed), 0);
    assert_null(failed);
}
