// SPDX-License-Identifier: Apache-2.0
/* See scene.h. */
#include "pool/scene.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pool/place.h"

struct tl_pool *scene_connect(const char *where, unsigned flags)
{
    struct tl_pool *pool = NULL;
    struct tl_error err = {.code = 0};
    if (tl_pool_connect(&pool, where, flags, &err) != 0)
        fprintf(stderr, "%s\n", err.msg);
    return pool;
}

struct tl_cont *scene_open(struct tl_pool *pool, const char *name, unsigned flags)
{
    struct tl_cont *c = NULL;
    struct tl_error err = {.code = 0};
    tl_pool_lock(pool);
    if (tl_cont_open(&c, pool, name, flags, &err) != 0)
        fprintf(stderr, "%s\n", err.msg);
    tl_pool_unlock(pool);
    return c;
}

void scene_new(struct scene *x)
{
    struct tl_error err = {.code = 0};
    assert_true(place_new(x->where, sizeof x->where, place_base(), "pool"));
    assert_int_equal(tl_pool_create(x->where, NULL, &err), 0);
    x->pool = scene_connect(x->where, TIERCEL_RW);
    assert_non_null(x->pool);
    tl_pool_lock(x->pool);
    int rc = tl_cont_create(x->pool, "c", NULL, &err);
    tl_pool_unlock(x->pool);
    assert_int_equal(rc, 0);
    x->cont = scene_open(x->pool, "c", TIERCEL_RW);
    assert_non_null(x->cont);
    assert_int_equal(hold(x->cont, 1, NULL), 0);
}

void scene_free(struct scene *x)
{
    struct tl_error err = {.code = 0};
    assert_int_equal(tl_cont_close(x->cont), 0);
    assert_int_equal(tl_pool_disconnect(x->pool), 0);
    if (place_destroy(x->where, &err) != 0)
        fail_msg("%s", err.msg);
}

struct tiercel_bytes text(const char *t)
{
    return (struct tiercel_bytes){t, strlen(t)};
}

struct tiercel_oid oid_of(uint64_t lo)
{
    return (struct tiercel_oid){7, lo};
}

/* ---- with the lock ---- */

static struct tl_pool *locked(struct tl_cont *c)
{
    struct tl_pool *p = tl_cont_pool(c);
    tl_pool_lock(p);
    return p;
}

static int unlocked(struct tl_pool *p, int rc)
{
    tl_pool_unlock(p);
    return rc;
}

int hold(struct tl_cont *c, uint64_t epoch, uint64_t *held)
{
    struct tl_pool *p = locked(c);
    int rc = tl_cont_hold(c, &epoch, NULL);
    if (held != NULL)
        *held = epoch;
    return unlocked(p, rc);
}

int flush(struct tl_cont *c, uint64_t epoch)
{
    struct tl_pool *p = locked(c);
    return unlocked(p, tl_cont_flush(c, epoch, NULL));
}

int commit(struct tl_cont *c, uint64_t epoch)
{
    struct tl_pool *p = locked(c);
    return unlocked(p, tl_cont_commit(c, epoch, NULL));
}

int discard(struct tl_cont *c, uint64_t first, uint64_t last)
{
    struct tl_pool *p = locked(c);
    return unlocked(p, tl_cont_discard(c, first, last, NULL));
}

int slip(struct tl_cont *c, uint64_t epoch)
{
    struct tl_pool *p = locked(c);
    return unlocked(p, tl_cont_slip(c, epoch, NULL));
}

int snapshot(struct tl_cont *c, uint64_t epoch, bool create)
{
    struct tl_pool *p = locked(c);
    return unlocked(p, tl_cont_snapshot(c, epoch, create));
}

struct tiercel_epochs epochs(struct tl_cont *c)
{
    struct tiercel_epochs e = {.hce = 0};
    struct tl_pool *p = locked(c);
    assert_int_equal(unlocked(p, tl_cont_epochs(c, &e)), 0);
    return e;
}

int update(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey, unsigned flags,
           const struct tiercel_io *ios, unsigned count)
{
    struct tl_error err = {.code = 0};
    struct tl_pool *p = locked(c);
    int rc = unlocked(p, tl_cont_update(c, epoch, oid, dkey, flags, ios, count, &err));
    assert_int_equal(rc, err.code); /* each error has its sentence */
    return rc;
}

int fetch(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey, unsigned flags,
          struct tiercel_io *ios, unsigned count)
{
    struct tl_error err = {.code = 0};
    struct tl_pool *p = locked(c);
    int rc = unlocked(p, tl_cont_fetch(c, epoch, oid, dkey, flags, ios, count, &err));
    assert_int_equal(rc, err.code);
    return rc;
}

int put_single(struct tl_cont *c, uint64_t epoch, uint64_t oid, const char *akey, const char *value)
{
    const struct tiercel_io io = {.akey = text(akey),
                                  .record_size = strlen(value),
                                  .buffer = (void *)(uintptr_t)value,
                                  .buffer_len = strlen(value)};
    return update(c, epoch, oid_of(oid), text("d"), 0, &io, 1);
}

bool is_single(struct tl_cont *c, uint64_t epoch, uint64_t oid, const char *akey, const char *value)
{
    char room[256];
    struct tiercel_io io = {.akey = text(akey), .buffer = room, .buffer_len = sizeof room};
    int rc = fetch(c, epoch, oid_of(oid), text("d"), value == NULL ? TIERCEL_IF_THERE : 0, &io, 1);
    if (value == NULL)
        return rc == -ENOENT;
    bool same = rc == 0 && io.buffer_len == strlen(value) && memcmp(room, value, io.buffer_len) == 0;
    if (!same)
        fprintf(stderr, "epoch %llu, object %llu, akey %s: %d, \"%.*s\" instead of \"%s\"\n", (unsigned long long)epoch,
                (unsigned long long)oid, akey, rc, rc == 0 ? (int)io.buffer_len : 0, room, value);
    return same;
}

int put_array(struct tl_cont *c, uint64_t epoch, uint64_t oid, uint64_t record_size, uint64_t first, uint64_t count,
              const void *bytes)
{
    const struct tiercel_extent x = {first, count};
    const struct tiercel_io io = {.akey = text("a"),
                                  .extents = &x,
                                  .extent_count = 1,
                                  .record_size = record_size,
                                  .buffer = (void *)(uintptr_t)bytes,
                                  .buffer_len = count * record_size};
    return update(c, epoch, oid_of(oid), text("d"), 0, &io, 1);
}

int get_array(struct tl_cont *c, uint64_t epoch, uint64_t oid, uint64_t record_size, uint64_t first, uint64_t count,
              void *out)
{
    const struct tiercel_extent x = {first, count};
    struct tiercel_io io = {.akey = text("a"),
                            .extents = &x,
                            .extent_count = 1,
                            .record_size = record_size,
                            .buffer = out,
                            .buffer_len = count * record_size};
    return fetch(c, epoch, oid_of(oid), text("d"), 0, &io, 1);
}

int punch(struct tl_cont *c, uint64_t epoch, uint64_t oid, const char *dkey, const char *akey)
{
    const struct tiercel_bytes d = text(dkey == NULL ? "" : dkey), a = text(akey == NULL ? "" : akey);
    struct tl_error err = {.code = 0};
    struct tl_pool *p = locked(c);
    return unlocked(p, tl_cont_punch(c, epoch, oid_of(oid), dkey == NULL ? NULL : &d, akey == NULL ? NULL : &a,
                                     akey != NULL, 0, &err));
}

int clear(struct tl_cont *c, uint64_t epoch, uint64_t oid, uint64_t first, uint64_t count)
{
    struct tl_error err = {.code = 0};
    struct tl_pool *p = locked(c);
    return unlocked(p, tl_cont_array_clear(c, epoch, oid_of(oid), text("d"), text("a"),
                                           (struct tiercel_extent){first, count}, &err));
}

int array_end(struct tl_cont *c, uint64_t epoch, uint64_t oid, uint64_t *end)
{
    struct tl_pool *p = locked(c);
    return unlocked(p, tl_cont_array_end(c, epoch, oid_of(oid), text("d"), text("a"), end));
}

int list_extents(struct tl_cont *c, uint64_t epoch, uint64_t oid, unsigned count, struct tiercel_extent *out,
                 unsigned room, unsigned *found, uint64_t *record_size)
{
    struct tiercel_anchor anchor = {.end = 0};
    *found = 0;
    for (unsigned i = 0; i <= room && anchor.end == 0; i++) {
        unsigned n = count < room - *found ? count : room - *found;
        struct tl_pool *p = locked(c);
        int rc = unlocked(p, tl_cont_list_extents(c, epoch, oid_of(oid), text("d"), text("a"), &anchor, out + *found,
                                                  &n, record_size));
        if (rc != 0)
            return rc;
        *found += n;
    }
    return anchor.end == 1 ? 0 : -E2BIG;
}

/* ---- children ---- */

int child_begin(int (*fn)(void *ctx), void *ctx)
{
    fflush(NULL);
    int pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(fn(ctx));
    }
    return pid;
}

int child_end(int pid)
{
    int status;
    if (pid <= 0 || waitpid(pid, &status, 0) != pid)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}
