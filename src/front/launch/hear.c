// SPDX-License-Identifier: Apache-2.0
/* See hear.h. One thread hears at a time, for the kernel wakes all who listen for each call. It answers what it hears and
 * goes on hearing, without a word to the others; only if an answer may take long, because the tier has to be waited for, it
 * first leaves hearing to another one. If none is free there is one more: a slow file keeps nobody waiting who wants another
 * one. */
#include "front/launch/hear.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define THREADS     4u
#define THREADS_MAX 256u /* as many calls wait for the tier at once; then hearing waits, too */
#define STACK_SIZE  (512u << 10)

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV /* 5.19 */
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS /* 6.6 */
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif
#ifndef SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

/* ---- the filter ---- */

static int install(const struct sock_fprog *program)
{
    unsigned long flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, program);
    return fd >= 0 ? (int)fd : -errno;
}

int tl_hear_install(const struct sock_fprog *program, bool no_new_privs, struct tl_error *err)
{
    int fd = no_new_privs ? -EACCES : install(program);
    if (fd == -EACCES &&
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0) /* what the kernel asks of who is not privileged */
        fd = install(program);
    if (fd == -EBUSY)
        return tl_error_set(err, fd,
                            "somebody listens to the calls of this process already (a container's manager, or another "
                            "launch with other paths), and there can be only one; start outside of it, or use --how "
                            "preload");
    if (fd == -EINVAL)
        return tl_error_set(err, fd,
                            "this kernel cannot hand calls to a supervisor so that signals do not break them: Linux "
                            "5.19 is needed");
    if (fd < 0)
        return tl_error_set(err, fd,
                            "calls of programs cannot be handed to a supervisor: %s; a seccomp profile of this "
                            "container may forbid it",
                            strerror(-fd));
    return fd;
}

/* ---- answers ---- */

/* Who made the call may be gone: no error. */
static void reply(const struct tl_hear *h, uint64_t id, struct tl_reply r)
{
    struct seccomp_notif_resp resp = {.id = id};
    if (r.kind == TL_REPLY_NONE)
        return;
    if (r.kind == TL_REPLY_FD) {
        struct seccomp_notif_addfd add = {.id = id,
                                          .flags = SECCOMP_ADDFD_FLAG_SEND,
                                          .srcfd = (uint32_t)r.value,
                                          .newfd_flags = r.cloexec ? O_CLOEXEC : 0};
        int rc = ioctl(h->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add) < 0 ? -errno : 0;
        close((int)r.value);
        if (rc == 0)
            return;
        r = (struct tl_reply){.kind = TL_REPLY_VALUE, .value = rc}; /* too many open files */
    }
    if (r.kind == TL_REPLY_GO_ON)
        resp.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    else if (r.value < 0)
        resp.error = (int)r.value;
    else
        resp.val = r.value;
    (void)ioctl(h->listener, SECCOMP_IOCTL_NOTIF_SEND, &resp);
}

/* ---- threads ---- */

static _Thread_local struct tl_hear *held; /* the one whose ear this thread holds */

static bool is_over(const struct tl_hear *h)
{
    struct pollfd p = {.fd = h->listener, .events = 0};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLHUP) != 0;
}

static void *work(void *arg)
{
    struct tl_hear *h = arg;
    struct seccomp_notif n;
    for (;;) { /* until the last process under the filter has ended */
        if (held == NULL) {
            atomic_fetch_add(&h->idle, 1);
            pthread_mutex_lock(&h->ear);
            atomic_fetch_sub(&h->idle, 1);
            held = h;
        }
        memset(&n, 0, sizeof n);
        if (ioctl(h->listener, SECCOMP_IOCTL_NOTIF_RECV, &n) == 0)
            reply(h, n.id, h->answer(h->ctx, &n));
        else if (errno != EINTR && (errno != ENOENT || is_over(h))) /* ENOENT: who made the call was killed; or that */
            break;
    }
    if (held != NULL)
        pthread_mutex_unlock(&h->ear);
    return NULL;
}

static int start_thread(struct tl_hear *h)
{
    pthread_attr_t attr;
    pthread_t thread;
    int rc = -pthread_attr_init(&attr);
    if (rc != 0)
        return rc;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    rc = -pthread_create(&thread, &attr, work, h);
    pthread_attr_destroy(&attr);
    h->threads += rc == 0;
    return rc;
}

int tl_hear_prepare(struct tl_hear *h, struct tl_error *err)
{
    int rc = 0;
    pthread_mutex_init(&h->ear, NULL);
    h->threads = 0;
    atomic_init(&h->idle, 0);
    pthread_mutex_lock(&h->ear);
    while (rc == 0 && h->threads < THREADS)
        rc = start_thread(h);
    return h->threads > 0 ? 0 : tl_error_set(err, rc, "cannot start the threads that answer calls: %s", strerror(-rc));
}

void tl_hear_begin(struct tl_hear *h, int listener)
{
    h->listener = listener;
    (void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
    pthread_mutex_unlock(&h->ear);
}

void tl_hear_wait_for_the_end(const struct tl_hear *h)
{
    struct pollfd p = {.fd = h->listener, .events = 0};
    while (poll(&p, 1, -1) < 0 || (p.revents & POLLHUP) == 0)
        continue;
}

void tl_hear_take_time(void)
{
    struct tl_hear *h = held;
    if (h == NULL)
        return;
    if (atomic_load(&h->idle) == 0 && h->threads < THREADS_MAX)
        (void)start_thread(h); /* without it hearing waits for this answer */
    held = NULL;
    pthread_mutex_unlock(&h->ear);
}
