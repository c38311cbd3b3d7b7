// SPDX-License-Identifier: Apache-2.0
/* Hearing calls of programs and answering them: what rungs "fault" and "inject" share.
 *
 * A seccomp filter stops a call and hands it to a supervisor (seccomp user notification), which says what becomes of it. Here are
 * the installing of a filter, the threads that hear and answer, and what they read of the processes that call. Which calls
 * are handed over, and what is said to them, is the rung's: its filter and its tl_hear.answer. */
#ifndef TL_FRONT_LAUNCH_HEAR_H
#define TL_FRONT_LAUNCH_HEAR_H

#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/check.h"
#include "base/error.h"

/* ---- hear.c ---- */

/* Puts the filter over this process and all it becomes and starts. no_new_privs: gives up set-ID programs in any case; else only
 * where the kernel asks for it. Descriptor of its listener, or -errno with a sentence: -EBUSY (somebody listens to calls already:
 * no process can have two). */
int tl_hear_install(const struct sock_fprog *program, bool no_new_privs, struct tl_error *err) TL_MUST_CHECK;

struct tl_reply {
    enum {
        TL_REPLY_GO_ON, /* in the kernel, as it is */
        TL_REPLY_VALUE, /* the call gives this, or -errno */
        TL_REPLY_FD,    /* the call gives a copy of this descriptor, which is closed then */
        TL_REPLY_NONE,  /* it has been answered */
    } kind;
    long value;
    bool cloexec;
};

struct tl_hear {
    struct tl_reply (*answer)(void *ctx, const struct seccomp_notif *n); /* may take as long as the tier takes */
    void *ctx;
    /* hear.c's own */
    int listener;
    pthread_mutex_t ear; /* held by who hears */
    unsigned threads;    /* under ear */
    _Atomic unsigned idle;
};

/* Starts the threads, which wait. answer and ctx are set. h is theirs until the process ends. 0, or -errno with a sentence. */
int tl_hear_prepare(struct tl_hear *h, struct tl_error *err) TL_MUST_CHECK;
/* Lets them hear, until the process ends. In the thread that prepared. */
void tl_hear_begin(struct tl_hear *h, int listener);
/* Waits until no process is left under the filter. */
void tl_hear_wait_for_the_end(const struct tl_hear *h);
/* Called by who answers, before what may take as long as the tier takes: other calls are heard meanwhile. What it did
 * before, it did alone. */
void tl_hear_take_time(void);

/* ---- memory.c: of other processes ----
 * What is read from a process that has ended meanwhile, and whose number somebody else has, does no harm: the answer to a call
 * reaches only the process that made it, and that one has waited all along if it is there to get it. */

/* 0 or -errno (-EPERM: it may not be looked into, -EFAULT). */
int tl_memory_get(pid_t pid, uint64_t address, void *out, size_t len) TL_MUST_CHECK;
int tl_memory_put(pid_t pid, uint64_t address, const void *bytes, size_t len) TL_MUST_CHECK;
/* A text. -ENAMETOOLONG: longer than a path can be. */
int tl_memory_text(pid_t pid, uint64_t address, char out[PATH_MAX]) TL_MUST_CHECK;
/* Whether the process is this user's: who has become another may not see what we may. */
bool tl_memory_is_ours(pid_t pid);

#endif
