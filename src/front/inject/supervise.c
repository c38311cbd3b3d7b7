// SPDX-License-Identifier: Apache-2.0
/* The threads that answer. One hears at a time, for the kernel wakes all who listen for each call. It answers what it hears and
 * goes on hearing, without a word to the others; only if an answer may take long, because the tier has to be waited for, it
 * first leaves hearing to another one. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "front/inject/inject.h"

#define THREADS    12
#define STACK_SIZE (512u << 10)

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS /* 6.6 */
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif
#ifndef SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

/* Who made the call may be gone: no error. */
static void reply(const struct tl_inject *in, uint64_t id, struct tl_reply r)
{
    struct seccomp_notif_resp resp = {.id = id};
    if (r.kind == TL_REPLY_NONE)
        return;
    if (r.kind == TL_REPLY_FD) {
        struct seccomp_notif_addfd add = {.id = id,
                                          .flags = SECCOMP_ADDFD_FLAG_SEND,
                                          .srcfd = (uint32_t)r.value,
                                          .newfd_flags = r.cloexec ? O_CLOEXEC : 0};
        int rc = ioctl(in->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add) < 0 ? -errno : 0;
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
    (void)ioctl(in->listener, SECCOMP_IOCTL_NOTIF_SEND, &resp);
}

static pthread_mutex_t ear = PTHREAD_MUTEX_INITIALIZER; /* held by who hears */
static _Thread_local bool hears;

void tl_inject_take_time(void)
{
    if (hears)
        pthread_mutex_unlock(&ear);
    hears = false;
}

static void *work(void *arg)
{
    struct tl_inject *in = arg;
    struct seccomp_notif n;
    for (;;) { /* as long as the process lives */
        if (!hears)
            pthread_mutex_lock(&ear);
        hears = true;
        memset(&n, 0, sizeof n);
        if (ioctl(in->listener, SECCOMP_IOCTL_NOTIF_RECV, &n) == 0)
            reply(in, n.id, tl_inject_answer(in, &n));
        else if (errno != EINTR && errno != ENOENT) /* ENOENT: who made the call was killed */
            break;
    }
    tl_inject_take_time();
    return NULL;
}

int tl_inject_start(struct tl_inject *in, struct tl_error *err)
{
    pthread_attr_t attr;
    pthread_t thread;
    int rc = pthread_attr_init(&attr), started = 0;
    (void)ioctl(in->listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
    if (rc == 0) {
        pthread_attr_setstacksize(&attr, STACK_SIZE);
        for (; rc == 0 && started < THREADS; started += rc == 0)
            rc = pthread_create(&thread, &attr, work, in);
        pthread_attr_destroy(&attr);
    }
    return started > 0 ? 0 : tl_error_set(err, -rc, "cannot start the threads that answer calls: %s", strerror(rc));
}
