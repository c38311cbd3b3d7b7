// SPDX-License-Identifier: Apache-2.0
#include "client/scene.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* TIERCEL_TEST_POOLS: uris of new pools, with %d for a number; else they are directories. */
static int new_place(char *out, size_t size)
{
    static int number;
    const char *base = getenv("TMPDIR"), *given = getenv("TIERCEL_TEST_POOLS"), *at;
    if (base == NULL && access("/dev/shm", W_OK) == 0)
        base = "/dev/shm"; /* memory, if there is a file system of it: disks are what the store's tests are about */
    if (given == NULL || (at = strstr(given, "%d")) == NULL) {
        snprintf(out, size, "%.60s/tl-client-XXXXXX", base != NULL ? base : "/tmp");
        return mkdtemp(out) != NULL ? 0 : -1;
    }
    snprintf(out, size, "%.*s%d-%d%s", (int)(at - given), given, (int)getpid(), number++, at + 2);
    return 0;
}

static int setup(void **state, bool async)
{
    struct scene *x = calloc(1, sizeof *x);
    struct tiercel_error err = {.code = 0};
    if (x == NULL)
        return -1;
    *state = x;
    x->async = async;
    if (new_place(x->where, sizeof x->where) != 0 || tiercel_queue_create(&x->q) != 0)
        return -1;
    if (tiercel_pool_create(x->where, &err) != 0 || tiercel_pool_connect(&x->pool, x->where, TIERCEL_RW, &err) != 0 ||
        tiercel_cont_create(x->pool, "c", NULL, &err) != 0 ||
        tiercel_cont_open(&x->cont, x->pool, "c", TIERCEL_RW, &err) != 0) {
        fprintf(stderr, "%s\n", err.message);
        return -1;
    }
    return 0;
}

int scene_setup(void **state)
{
    return setup(state, false);
}

int scene_setup_async(void **state)
{
    return setup(state, true);
}

static int unlink_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

int scene_teardown(void **state)
{
    struct scene *x = *state;
    int rc = tiercel_cont_close(x->cont);
    rc = tiercel_pool_disconnect(x->pool) | rc;
    rc = tiercel_queue_destroy(x->q, 0) | rc;
    nftw(x->where, unlink_one, 16, FTW_DEPTH | FTW_PHYS);
    free(x);
    return rc;
}

struct tiercel_event *ev_of(struct scene *x)
{
    if (!x->async)
        return NULL;
    assert_int_equal(tiercel_event_init(&x->ev, x->q, NULL), 0);
    return &x->ev;
}

int ended(struct scene *x, int rc)
{
    struct tiercel_event *out = NULL;
    if (!x->async || rc != 0)
        return rc;
    assert_int_equal(tiercel_queue_poll(x->q, 30000, &out, 1), 1);
    assert_ptr_equal(out, &x->ev);
    rc = out->error;
    if (rc != 0)
        assert_true(strlen(tiercel_why(out)) > 20);
    assert_int_equal(tiercel_event_fini(out), 0);
    return rc;
}

struct tiercel_cont *scene_open(struct scene *x, const char *name, unsigned flags)
{
    struct tiercel_cont *c = NULL;
    struct tiercel_error err = {.code = 0};
    if (tiercel_cont_open(&c, x->pool, name, flags, &err) != 0)
        fail_msg("%s", err.message);
    return c;
}

void scene_create(struct scene *x, const char *name)
{
    struct tiercel_error err = {.code = 0};
    if (tiercel_cont_create(x->pool, name, NULL, &err) != 0)
        fail_msg("%s", err.message);
}

struct tiercel_epochs epochs_of(struct tiercel_cont *c)
{
    struct tiercel_epochs e;
    if (tiercel_epoch_query(c, &e, NULL) != 0)
        fail_msg("%s", tiercel_why(NULL));
    return e;
}

bool same_epochs(struct tiercel_epochs a, struct tiercel_epochs b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

void hold(struct scene *x, uint64_t epoch)
{
    assert_int_equal(ended(x, tiercel_epoch_hold(x->cont, &epoch, NULL, ev_of(x))), 0);
}

void commit(struct scene *x, uint64_t epoch)
{
    assert_int_equal(ended(x, tiercel_epoch_commit(x->cont, epoch, NULL, ev_of(x))), 0);
}

/* ---- events of the scene's queue ---- */

void begin(struct scene *x, struct tiercel_event *ev)
{
    assert_int_equal(tiercel_event_init(ev, x->q, NULL), 0);
}

struct tiercel_event *next_event(struct scene *x)
{
    struct tiercel_event *ev = NULL;
    assert_int_equal(tiercel_queue_poll(x->q, LONG_MS, &ev, 1), 1);
    return ev;
}

void expect(struct scene *x, struct tiercel_event *ev, int error)
{
    struct tiercel_event *got_ev = next_event(x);
    assert_ptr_equal(got_ev, ev);
    if (ev->error != error)
        fail_msg("%d instead of %d: %s", ev->error, error, tiercel_why(ev));
    assert_int_equal(tiercel_event_fini(ev), 0);
}

void nothing_has_completed(struct scene *x)
{
    assert_int_equal(tiercel_queue_query(x->q, TIERCEL_EVENTS_COMPLETED, NULL, 0), 0);
}

void worker_is_here(struct scene *x)
{
    struct tiercel_event ev;
    assert_int_equal(tiercel_event_init(&ev, NULL, NULL), 0);
    assert_int_equal(tiercel_epoch_query(x->cont, NULL, &ev), 0);
    assert_int_equal(tiercel_event_wait(&ev, LONG_MS), 1);
    assert_int_equal(tiercel_event_fini(&ev), 0);
}

/* ---- objects ---- */

struct tiercel_bytes text(const char *s)
{
    return (struct tiercel_bytes){.at = s, .len = strlen(s)};
}

int put(struct tiercel_cont *c, uint64_t epoch, uint64_t object, uint64_t number)
{
    return tiercel_array_write(c, epoch, (struct tiercel_oid){1, object}, 0, &number, sizeof number, NULL);
}

int64_t got(struct tiercel_cont *c, uint64_t epoch, uint64_t object)
{
    uint64_t number = 0, len = sizeof number;
    int rc = tiercel_array_read(c, epoch, (struct tiercel_oid){1, object}, 0, &number, &len, NULL);
    return rc != 0 ? rc : len == 0 ? 0 : (int64_t)number;
}

/* ---- other processes ---- */

struct peer {
    struct scene *x;
    pid_t pid;
    FILE *to, *from;
};

struct peer *peer_start(struct scene *x)
{
    struct peer *p = calloc(1, sizeof *p);
    char *const args[] = {(char *)(uintptr_t)PEER, x->where, NULL};
    posix_spawn_file_actions_t actions;
    int to[2], from[2];
    assert_non_null(p);
    p->x = x;
    assert_int_equal(pipe2(to, O_CLOEXEC), 0);
    assert_int_equal(pipe2(from, O_CLOEXEC), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, to[0], 0);
    posix_spawn_file_actions_adddup2(&actions, from[1], 1);
    assert_int_equal(posix_spawn(&p->pid, PEER, &actions, NULL, args, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(to[0]);
    close(from[1]);
    p->to = fdopen(to[1], "w");
    p->from = fdopen(from[0], "r");
    assert_non_null(p->to);
    assert_non_null(p->from);
    return p;
}

static void send(struct peer *p, const char *fmt, va_list args)
{
    vfprintf(p->to, fmt, args);
    fputc('\n', p->to);
    fflush(p->to);
}

int64_t peer_hear(struct peer *p)
{
    char line[64];
    if (fgets(line, sizeof line, p->from) == NULL)
        return INT64_MIN; /* it has died */
    return strtoll(line, NULL, 10);
}

void peer_tell(struct peer *p, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    send(p, fmt, args);
    va_end(args);
}

int64_t peer_ask(struct peer *p, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    send(p, fmt, args);
    va_end(args);
    return peer_hear(p);
}

static void gone(struct peer *p)
{
    int status = 0;
    fclose(p->to); /* it ends when it hears no more */
    assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
    fclose(p->from);
    free(p);
}

struct living {
    struct scene *x;
    int handles;
};

static int see_handle(void *ctx, const struct tiercel_handle_info *info)
{
    ((struct living *)ctx)->handles += !info->ended;
    return 0;
}

static int see_container(void *ctx, const struct tiercel_cont_info *info)
{
    (void)!tiercel_cont_list_handles(((struct living *)ctx)->x->pool, info->label, see_handle, ctx);
    return 0;
}

static int living_handles(struct scene *x)
{
    struct living l = {.x = x};
    (void)!tiercel_cont_list(x->pool, see_container, &l);
    return l.handles;
}

/* Whether nothing is told any more of a process that has ended: its handle; where we are not connected ourselves, its connection. */
static bool is_forgotten(struct scene *x, int living_before)
{
    if (x->pool != NULL)
        return living_handles(x) < living_before;
    struct tiercel_pool *alone = NULL;
    return tiercel_pool_connect(&alone, x->where, TIERCEL_EX, NULL) == 0 && tiercel_pool_disconnect(alone) == 0;
}

/* Ends it in one way or another, as the others see it. */
static void signal_peer(struct peer *p, int how)
{
    struct scene *x = p->x;
    const char *lease = getenv("TIERCEL_TEST_LEASE_S"); /* some stores learn of a death later */
    int ticks = lease != NULL ? atoi(lease) * 40 : 0;   /* and never of that of one that only shared a handle */
    int before = lease != NULL && x->pool != NULL ? living_handles(x) : 0;
    kill(p->pid, how);
    if (how == SIGKILL)
        gone(p);
    while (ticks-- > 0 && !is_forgotten(x, before))
        usleep(25000);
}

void peer_kill(struct peer *p)
{
    signal_peer(p, SIGKILL);
}

void peer_stop(struct peer *p)
{
    signal_peer(p, SIGSTOP);
}

void peer_go_on(struct peer *p)
{
    kill(p->pid, SIGCONT);
}

void peer_end(struct peer *p)
{
    gone(p);
}

void to_hex(const void *bytes, size_t len, char *out)
{
    const uint8_t *b = bytes;
    for (size_t i = 0; i < len; i++)
        sprintf(out + 2 * i, "%02x", b[i]);
}
