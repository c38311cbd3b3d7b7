// SPDX-License-Identifier: Apache-2.0
/* See table.h. */
#include "pool/table.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pool/place.h"

struct table *table_new(struct scene *x)
{
    scene_new(x);
    struct table *t = mmap(NULL, sizeof *t, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(t != MAP_FAILED);
    memcpy(t->where, x->where, sizeof t->where);
    t->pool_len = sizeof t->pool;
    t->cont_len = sizeof t->cont;
    tl_pool_lock(x->pool);
    assert_int_equal(tl_pool_local2global(x->pool, t->pool, &t->pool_len), 0);
    assert_int_equal(tl_cont_local2global(x->cont, t->cont, &t->cont_len), 0);
    tl_pool_unlock(x->pool);
    assert_int_equal(pipe2(t->up, O_CLOEXEC), 0);
    assert_int_equal(pipe2(t->down, O_CLOEXEC), 0);
    return t;
}

void table_free(struct table *t, struct scene *x)
{
    for (int i = 0; i < 2; i++) {
        close(t->up[i]);
        close(t->down[i]);
    }
    munmap(t, sizeof *t);
    scene_free(x);
}

bool tell(int fd)
{
    return write(fd, "", 1) == 1;
}

bool hear(int fd)
{
    char c;
    return read(fd, &c, 1) == 1;
}

bool attach(struct table *t, struct tl_pool **pool, struct tl_cont **c)
{
    struct tl_error err = {.code = 0};
    if (tl_pool_global2local(pool, t->pool, t->pool_len, &err) != 0)
        return false;
    tl_pool_lock(*pool);
    int rc = tl_cont_global2local(c, *pool, t->cont, t->cont_len, &err);
    tl_pool_unlock(*pool);
    if (rc != 0)
        fprintf(stderr, "%s\n", err.msg);
    return rc == 0;
}

bool come(const struct table *t, const char *name, struct tl_pool **pool, struct tl_cont **c)
{
    *pool = scene_connect(t->where, TIERCEL_RW);
    *c = *pool == NULL ? NULL : scene_open(*pool, name, TIERCEL_RW);
    return *c != NULL;
}

bool leave(struct tl_pool *pool, struct tl_cont *c)
{
    return tl_cont_close(c) == 0 && tl_pool_disconnect(pool) == 0;
}

/* ---- deaths ---- */

static int count_living(void *ctx, const struct tiercel_handle_info *info)
{
    *(int *)ctx += !info->ended;
    return 0;
}

static int living(const struct scene *x)
{
    int n = 0;
    tl_pool_lock(x->pool);
    (void)!tl_cont_list_handles(x->pool, "c", count_living, &n);
    tl_pool_unlock(x->pool);
    return n;
}

/* Its handle is known as ended; where we are not connected ourselves, its connection has gone. */
static bool is_forgotten(const struct scene *x, int before)
{
    struct tl_pool *alone = NULL;
    struct tl_error err = {.code = 0};
    if (x->pool != NULL)
        return living(x) < before;
    return tl_pool_connect(&alone, x->where, TIERCEL_EX, &err) == 0 && tl_pool_disconnect(alone) == 0;
}

void child_kill(const struct scene *x, int pid)
{
    unsigned ticks = place_lease_s() * 40; /* those who shared a handle are not missed */
    int before = ticks > 0 && x->pool != NULL ? living(x) : 0;
    kill(pid, SIGKILL);
    assert_int_equal(child_end(pid), -SIGKILL);
    while (ticks-- > 0 && !is_forgotten(x, before))
        usleep(25000);
}
