// SPDX-License-Identifier: Apache-2.0
/* Rung "inject": a supervisor answers the calls that name served paths, and a preloaded library spares most of them the way. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "front/inject/inject.h"
#include "front/launch/preload.h"
#include "front/launch/rung.h"
#include "front/launch/tend.h"

struct ctx {
    struct tl_served served;
    struct tl_inject inject;
};

static int child(void *arg, int channel, struct tl_error *err)
{
    struct ctx *c = arg;
    int rc = tl_preload_set(&c->served, true, err);
    int listener = rc == 0 ? tl_inject_filter(err) : rc;
    if (listener < 0)
        return listener;
    rc = tl_fds_send(channel, listener, -1);
    close(listener);
    return rc == 0 ? 0 : tl_error_set(err, rc, "cannot reach the supervisor");
}

static int start(void *arg, int channel, struct tl_error *err)
{
    struct ctx *c = arg;
    int listener = -1, ignored = -1;
    if (tl_preload_paths(&c->served, true, &c->inject.paths, err) != 0)
        return err->code;
    c->inject.served = &c->served;
    c->inject.hear.answer = tl_inject_answer;
    c->inject.hear.ctx = &c->inject;
    if (tl_fds_receive(channel, &listener, &ignored) != 0) {
        err->code = 0; /* the command has said why */
        return -EPIPE;
    }
    int rc = tl_filler_start(&c->served, err);
    if (rc == 0)
        rc = tl_hear_prepare(&c->inject.hear, err);
    if (rc == 0)
        tl_hear_begin(&c->inject.hear, listener);
    return rc;
}

static void end(void *arg)
{
    tl_filler_end(&((struct ctx *)arg)->served);
}

/* 0 if a supervisor may look into the programs that it is an ancestor of. */
static int may_trace(struct tl_error *err)
{
    char scope = '0';
    int fd = open("/proc/sys/kernel/yama/ptrace_scope", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (read(fd, &scope, 1) != 1)
            scope = '0';
        close(fd);
    }
    if (scope <= '1' || (scope == '2' && geteuid() == 0))
        return 0;
    return tl_error_set(err, -EPERM,
                        "programs may not be looked into (kernel.yama.ptrace_scope is %c); ask for `sysctl "
                        "kernel.yama.ptrace_scope=1`",
                        scope);
}

static int trial(struct tl_error *err)
{
    int fd = tl_inject_filter(err); /* no call that it would stop is made any more */
    return fd < 0 ? fd : 0;
}

int tl_rung_inject_probe(struct tl_error *err)
{
    int rc = tl_rung_preload_probe(err);
    if (rc == 0)
        rc = may_trace(err);
    return rc == 0 ? tl_rung_try(trial, err) : rc;
}

int tl_rung_inject_enter(struct tl_launch *l, struct tl_error *err)
{
    static struct ctx c; /* the supervisor's threads use it to the end */
    if (tl_preload_has(&l->plan))
        return 0;
    int rc = may_trace(err);
    if (rc == 0)
        rc = tl_served_open(&c.served, l, true, err);
    if (rc != 0)
        return rc;
    rc = tl_tend_split(&(struct tl_tend){child, start, end, &c}, err);
    tl_served_close(&c.served);
    return rc == 0 ? tl_preload_wrap(l, err) : rc;
}
