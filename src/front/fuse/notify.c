// SPDX-License-Identifier: Apache-2.0
/* The helper thread that writes invalidations; see notify.h. */
#include "front/fuse/notify.h"

#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fuse_lowlevel.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define THREAD_STACK_SIZE (256u << 10)

struct tl_notify_job *tl_notify_job_new(void)
{
    return calloc(1, sizeof(struct tl_notify_job));
}

void tl_notify_job_free(struct tl_notify_job *job)
{
    if (job == NULL)
        return;
    free(job->items);
    free(job->names);
    free(job);
}

/* Makes room for `more` elements of `size` bytes beyond `len`. */
static void *grown(void *old, size_t len, size_t more, size_t size, size_t *cap)
{
    if (len + more <= *cap)
        return old;
    size_t want = (len + more) * 2;
    void *p = realloc(old, want * size);
    if (p != NULL)
        *cap = want;
    return p;
}

static void add_item(struct tl_notify_job *job, const struct tl_notify_item *item)
{
    void *items = grown(job->items, job->item_count, 1, sizeof *item, &job->item_cap);
    if (items == NULL) {
        job->failed = true;
        return;
    }
    job->items = items;
    job->items[job->item_count++] = *item;
}

void tl_notify_job_inode(struct tl_notify_job *job, uint64_t inode)
{
    struct tl_notify_item item = {.inode = inode};
    add_item(job, &item);
}

void tl_notify_job_entry(struct tl_notify_job *job, uint64_t dir, const char *name, size_t name_len)
{
    check(name_len >= 1 && name_len <= UINT8_MAX);
    char *names = grown(job->names, job->names_len, name_len + 1, 1, &job->names_cap);
    if (names == NULL || job->names_len > UINT32_MAX - 256) {
        job->failed = true;
        return;
    }
    job->names = names;
    struct tl_notify_item item = {.inode = dir, .name_at = (uint32_t)job->names_len, .name_len = (uint8_t)name_len};
    memcpy(names + job->names_len, name, name_len);
    names[job->names_len + name_len] = '\0';
    job->names_len += name_len + 1;
    add_item(job, &item);
}

static void send_item(struct tl_notify *n, const struct tl_notify_job *job, const struct tl_notify_item *item)
{
    int rc;
    if (item->name_len == 0)
        rc = fuse_lowlevel_notify_inval_inode(n->session, item->inode, 0, 0);
    else
        rc = fuse_lowlevel_notify_inval_entry(n->session, item->inode, job->names + item->name_at, item->name_len);
    n->sent++;
    if (rc != 0 && rc != -ENOENT) /* ENOENT: the kernel no longer knows it, which is what we want */
        n->failed++;
}

/* The next job, waiting for one; NULL: stop. */
static struct tl_notify_job *next_job(struct tl_notify *n)
{
    pthread_mutex_lock(&n->lock);
    if (n->busy && n->head == NULL)
        *n->mark = 0;
    n->busy = false;
    while (n->head == NULL && !n->stop)
        pthread_cond_wait(&n->wake, &n->lock);
    struct tl_notify_job *job = n->stop ? NULL : n->head;
    if (job != NULL) {
        n->head = job->next;
        if (n->head == NULL)
            n->tail = &n->head;
        n->job_count--;
        n->busy = true;
    }
    pthread_mutex_unlock(&n->lock);
    return job;
}

static bool stopping(struct tl_notify *n)
{
    pthread_mutex_lock(&n->lock);
    bool stop = n->stop;
    pthread_mutex_unlock(&n->lock);
    return stop;
}

static void *run(void *arg)
{
    struct tl_notify *n = arg;
    for (struct tl_notify_job *job; (job = next_job(n)) != NULL;) {
        for (size_t i = 0; i < job->item_count && !stopping(n); i++)
            send_item(n, job, &job->items[i]);
        tl_notify_job_free(job);
    }
    n->ended = true;
    return NULL;
}

int tl_notify_start(struct tl_notify *n, struct fuse_session *session, _Atomic uint8_t *mark)
{
    *n = (struct tl_notify){.session = session, .mark = mark, .tail = &n->head};
    pthread_mutex_init(&n->lock, NULL);
    pthread_cond_init(&n->wake, NULL);
    sigset_t all, old;
    sigfillset(&all); /* signals are for the owner's threads */
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, THREAD_STACK_SIZE);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&n->thread, &attr, run, n);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    n->started = rc == 0;
    return -rc;
}

static void drop_waiting(struct tl_notify *n)
{
    for (struct tl_notify_job *job = n->head, *next; job != NULL; job = next) {
        next = job->next;
        tl_notify_job_free(job);
    }
    n->head = NULL;
    n->tail = &n->head;
    n->job_count = 0;
}

bool tl_notify_full(struct tl_notify *n)
{
    pthread_mutex_lock(&n->lock);
    bool full = n->job_count >= TL_NOTIFY_JOBS_MAX;
    pthread_mutex_unlock(&n->lock);
    return full;
}

bool tl_notify_idle(struct tl_notify *n)
{
    pthread_mutex_lock(&n->lock);
    bool idle = n->job_count == 0 && !n->busy;
    pthread_mutex_unlock(&n->lock);
    return idle;
}

void tl_notify_push(struct tl_notify *n, struct tl_notify_job **job)
{
    pthread_mutex_lock(&n->lock);
    if (n->job_count >= TL_NOTIFY_JOBS_MAX)
        drop_waiting(n);
    (*job)->next = NULL;
    *n->tail = *job;
    n->tail = &(*job)->next;
    n->job_count++;
    *n->mark = 1;
    pthread_cond_signal(&n->wake);
    pthread_mutex_unlock(&n->lock);
    *job = NULL;
}

void tl_notify_stop(struct tl_notify *n)
{
    if (!n->started)
        return;
    pthread_mutex_lock(&n->lock);
    drop_waiting(n);
    n->stop = true;
    pthread_cond_signal(&n->wake);
    pthread_mutex_unlock(&n->lock);
}

void tl_notify_join(struct tl_notify *n)
{
    if (!n->started)
        return;
    pthread_join(n->thread, NULL);
    pthread_cond_destroy(&n->wake);
    pthread_mutex_destroy(&n->lock);
    n->started = false;
}
