// SPDX-License-Identifier: Apache-2.0
/* Another process in the tests of pools: carries out a line at a time, and answers each with a number: 0 or more, or -errno.
 *
 *   connect FLAGS | disconnect | open NAME FLAGS | close | destroy NAME FLAGS | evict-pool | evict NAME
 *   attach HEX HEX            pool and container from another process
 *   hold E | flush E | commit E | discard E E | slip E | wait E | ghce | lhe | put E OBJECT NUMBER | get E OBJECT
 *   commit-at E | wait-at E   when it was done, in nanoseconds of the monotonic clock
 *   said TEXT                 1: the last error's sentence has TEXT in it; 0
 *   lock NAME MODE TIMEOUT_MS | unlock EPOCH | lvb          lvb: the value's epoch, or -1 if it is not valid */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tiercel/pool.h"

struct self {
    const char *where;
    struct tiercel_pool *pool;
    struct tiercel_cont *cont;
    struct tiercel_lock *lock;
    struct tiercel_lock_value value;
};

struct line {
    char verb[32], name[4096], more[4096];
    uint64_t n[3];
};

static size_t from_hex(const char *hex, uint8_t *out)
{
    size_t n = 0;
    unsigned byte = 0;
    for (; sscanf(hex + 2 * n, "%2x", &byte) == 1; n++)
        out[n] = (uint8_t)byte;
    return n;
}

static int attach(struct self *s, const struct line *l)
{
    uint8_t bytes[2048];
    int rc = tiercel_pool_global2local(&s->pool, bytes, from_hex(l->name, bytes), NULL);
    return rc != 0 ? rc : tiercel_cont_global2local(&s->cont, s->pool, bytes, from_hex(l->more, bytes), NULL);
}

static int64_t close_all(struct self *s, int with_pool)
{
    int rc = tiercel_cont_close(s->cont);
    s->cont = NULL;
    if (!with_pool)
        return rc;
    rc = tiercel_pool_disconnect(s->pool);
    s->pool = NULL;
    return rc;
}

static int64_t of_names(struct self *s, const struct line *l, unsigned flags)
{
    if (strcmp(l->verb, "connect") == 0)
        return tiercel_pool_connect(&s->pool, s->where, (unsigned)strtoul(l->name, NULL, 10), NULL);
    if (strcmp(l->verb, "disconnect") == 0)
        return close_all(s, 1);
    if (strcmp(l->verb, "open") == 0)
        return tiercel_cont_open(&s->cont, s->pool, l->name, flags, NULL);
    if (strcmp(l->verb, "close") == 0)
        return close_all(s, 0);
    if (strcmp(l->verb, "destroy") == 0)
        return tiercel_cont_destroy(s->pool, l->name, flags, NULL);
    if (strcmp(l->verb, "evict") == 0)
        return tiercel_cont_evict(s->pool, l->name, NULL);
    if (strcmp(l->verb, "evict-pool") == 0)
        return tiercel_pool_evict(s->where, NULL);
    if (strcmp(l->verb, "attach") == 0)
        return attach(s, l);
    return -EOPNOTSUPP;
}

static int64_t of_locks(struct self *s, const struct line *l)
{
    int timeout_ms = 0;
    unsigned mode = 0;
    if (strcmp(l->verb, "lvb") == 0)
        return s->value.valid ? (int64_t)s->value.epoch : -1;
    if (strcmp(l->verb, "lock") == 0 && sscanf(l->more, "%u %d", &mode, &timeout_ms) == 2)
        return tiercel_lock(s->cont, l->name, mode, timeout_ms, &s->lock, &s->value, NULL);
    if (strcmp(l->verb, "unlock") != 0)
        return -EOPNOTSUPP;
    s->value = (struct tiercel_lock_value){.valid = 1, .epoch = l->n[0]};
    return tiercel_unlock(s->lock, &s->value);
}

static int64_t get(struct self *s, const uint64_t n[3])
{
    uint64_t number = 0, len = sizeof number;
    int rc = tiercel_array_read(s->cont, n[0], (struct tiercel_oid){1, n[1]}, 0, &number, &len, NULL);
    return rc != 0 ? rc : len == 0 ? 0 : (int64_t)number;
}

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t of_times(struct self *s, const struct line *l)
{
    int rc = -EOPNOTSUPP;
    if (strcmp(l->verb, "said") == 0)
        return strstr(tiercel_why(NULL), l->name) != NULL;
    if (strcmp(l->verb, "commit-at") == 0)
        rc = tiercel_epoch_commit(s->cont, l->n[0], NULL, NULL);
    if (strcmp(l->verb, "wait-at") == 0)
        rc = tiercel_epoch_wait(s->cont, l->n[0], NULL, NULL);
    return rc == 0 ? now() : rc;
}

static int64_t of_epochs(struct self *s, const struct line *l)
{
    struct tiercel_epochs e;
    uint64_t n[3];
    memcpy(n, l->n, sizeof n);
    if (strcmp(l->verb, "hold") == 0) {
        int rc = tiercel_epoch_hold(s->cont, &n[0], NULL, NULL);
        return rc == 0 ? (int64_t)n[0] : rc;
    }
    if (strcmp(l->verb, "flush") == 0)
        return tiercel_epoch_flush(s->cont, n[0], NULL, NULL);
    if (strcmp(l->verb, "commit") == 0)
        return tiercel_epoch_commit(s->cont, n[0], NULL, NULL);
    if (strcmp(l->verb, "discard") == 0)
        return tiercel_epoch_discard(s->cont, n[0], n[1], NULL, NULL);
    if (strcmp(l->verb, "slip") == 0)
        return tiercel_epoch_slip(s->cont, n[0], NULL, NULL);
    if (strcmp(l->verb, "wait") == 0)
        return tiercel_epoch_wait(s->cont, n[0], NULL, NULL);
    if (strcmp(l->verb, "put") == 0)
        return tiercel_array_write(s->cont, n[0], (struct tiercel_oid){1, n[1]}, 0, &n[2], sizeof n[2], NULL);
    if (strcmp(l->verb, "get") == 0)
        return get(s, n);
    int rc = tiercel_epoch_query(s->cont, &e, NULL);
    if (strcmp(l->verb, "ghce") == 0)
        return rc == 0 ? (int64_t)e.ghce : rc;
    if (strcmp(l->verb, "lhe") == 0)
        return rc == 0 ? (int64_t)e.lhe : rc;
    return -EOPNOTSUPP;
}

int main(int argc, char **argv)
{
    struct self s = {.where = argc > 1 ? argv[1] : ""};
    char text[9000];
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(text, sizeof text, stdin) != NULL) {
        struct line l = {.verb = ""};
        int at = 0;
        if (sscanf(text, "%31s %n", l.verb, &at) != 1)
            continue;
        sscanf(text + at, "%4095s %4095[^\n]", l.name, l.more);
        sscanf(text + at, "%" SCNu64 " %" SCNu64 " %" SCNu64, &l.n[0], &l.n[1], &l.n[2]);
        int64_t rc = of_names(&s, &l, (unsigned)strtoul(l.more, NULL, 10));
        rc = rc == -EOPNOTSUPP ? of_locks(&s, &l) : rc;
        rc = rc == -EOPNOTSUPP ? of_times(&s, &l) : rc;
        rc = rc == -EOPNOTSUPP ? of_epochs(&s, &l) : rc;
        printf("%" PRId64 "\n", rc);
    }
    _exit(0); /* nothing is closed: whatever it has open ends with it */
}
