// SPDX-License-Identifier: Apache-2.0
/* Telling the kernel to forget, from a thread of its own.
 *
 * The kernel carries out an invalidation inside our write(): it waits for the directory's lock or for a page's, and
 * whoever holds that may be waiting for an answer of the very loop that would write. So the owner queues jobs and a
 * helper thread writes them; it touches nothing of the front but the session's descriptor. The queue is bounded: when
 * it is full, all jobs not yet begun are replaced by the one job the owner passes then, which must cover them. */
#ifndef TL_FRONT_FUSE_NOTIFY_H
#define TL_FRONT_FUSE_NOTIFY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

#define TL_NOTIFY_JOBS_MAX 16u

struct fuse_session;

/* One message: an entry (name_len > 0), or an inode's attributes and pages. */
struct tl_notify_item {
    uint64_t inode;   /* node id; of an entry: the directory's */
    uint32_t name_at; /* in the job's names */
    uint8_t name_len;
};

struct tl_notify_job {
    struct tl_notify_job *next;
    struct tl_notify_item *items;
    char *names; /* each with a NUL */
    size_t item_count, item_cap, names_len, names_cap;
    bool failed; /* memory ran out while it was built: incomplete */
};

struct tl_notify {
    struct fuse_session *session;
    _Atomic uint8_t *mark; /* set while anything is to be written; outlives the daemon */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct tl_notify_job *head, **tail; /* under lock, as job_count and stop */
    uint32_t job_count;
    bool stop;
    bool busy; /* a job is being written; under lock */
    bool started;
    _Atomic bool ended;            /* the thread is past its last message */
    _Atomic uint64_t sent, failed; /* messages */
};

struct tl_notify_job *tl_notify_job_new(void); /* NULL: no memory */
void tl_notify_job_free(struct tl_notify_job *job);
void tl_notify_job_inode(struct tl_notify_job *job, uint64_t inode);
void tl_notify_job_entry(struct tl_notify_job *job, uint64_t dir, const char *name, size_t name_len);

int tl_notify_start(struct tl_notify *n, struct fuse_session *session,
                    _Atomic uint8_t *mark) TL_MUST_CHECK; /* 0, -errno */
/* True if push() would drop the jobs that wait: the next job must cover everything. */
bool tl_notify_full(struct tl_notify *n);
bool tl_notify_idle(struct tl_notify *n);                             /* everything pushed has been written */
void tl_notify_push(struct tl_notify *n, struct tl_notify_job **job); /* takes the job */
/* Drops what waits and asks the thread to end. It may be inside the kernel, waiting for a lock that is free only when
 * we answer a request: the owner keeps answering until `ended` is true, and then calls join. */
void tl_notify_stop(struct tl_notify *n);
void tl_notify_join(struct tl_notify *n); /* does nothing if it was never started */

#endif
