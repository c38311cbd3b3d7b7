// SPDX-License-Identifier: Apache-2.0
/* The daemon's side of its keeper (keeper.h): what is held for the next daemon, and what the one before left. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "daemon/daemon.h"

int tl_kept_take(struct tl_daemon *d, struct tl_error *err)
{
    int link = d->options.keeper_fd, fds[2], rc = 0;
    struct tl_keeper_message m = {.word = TL_KEEPER_HOLD};
    for (uint32_t id = 0; id < TL_KEEPER_HOLDS; id++)
        d->kept[id].fds[0] = d->kept[id].fds[1] = -1;
    if (link < 0)
        return 0;
    fcntl(link, F_SETFD, FD_CLOEXEC);
    fcntl(d->options.mender_fd, F_SETFD, FD_CLOEXEC);
    while (rc == 0 && m.word == TL_KEEPER_HOLD) {
        rc = tl_keeper_receive(link, &m, fds);
        if (rc == 0 && m.word == TL_KEEPER_HOLD && m.id < TL_KEEPER_HOLDS) {
            memcpy(d->kept[m.id].fds, fds, sizeof fds);
            d->kept[m.id].text = m.text[0] != 0 ? strdup(m.text) : NULL;
        }
    }
    if (rc != 0 || m.word != TL_KEEPER_BEGIN)
        return tl_error_set(err, rc != 0 ? rc : -EPROTO, "the keeper says nothing that can be understood: %s",
                            strerror(rc != 0 ? -rc : EPROTO));
    d->restarts = m.restarts;
    d->after_crash = m.crashed != 0;
    d->may_refuse = m.fallback != 0;
    rc = tl_loop_watch(d, link, TL_WATCH_KEEPER, 0, EPOLLIN);
    return rc == 0 ? 0 : tl_error_set(err, rc, "keeper: %s", strerror(-rc));
}

static void say(struct tl_daemon *d, const struct tl_keeper_message *m, int first, int second)
{
    int rc = d->options.keeper_fd < 0 ? 0 : tl_keeper_send(d->options.keeper_fd, m, first, second);
    if (rc != 0)
        tl_log("error", "the keeper does not listen: %s; if this daemon dies, so do its mounts", strerror(-rc));
}

void tl_kept_hold(struct tl_daemon *d, uint32_t id, int first, int second, const char *text)
{
    struct tl_keeper_message m = {.word = TL_KEEPER_HOLD, .id = id};
    snprintf(m.text, sizeof m.text, "%s", text != NULL ? text : "");
    say(d, &m, first, second);
}

void tl_kept_drop(struct tl_daemon *d, uint32_t id)
{
    const struct tl_keeper_message m = {.word = TL_KEEPER_DROP, .id = id};
    say(d, &m, -1, -1);
}

void tl_kept_ready(struct tl_daemon *d)
{
    const struct tl_keeper_message m = {.word = TL_KEEPER_READY};
    say(d, &m, -1, -1);
}

void tl_kept_restart(struct tl_daemon *d, const char *program)
{
    struct tl_keeper_message m = {.word = TL_KEEPER_RESTART};
    snprintf(m.text, sizeof m.text, "%s", program != NULL ? program : "");
    say(d, &m, -1, -1);
}

void tl_kept_lost(struct tl_daemon *d)
{
    tl_log("warning", "the keeper is gone; going on without: if this daemon dies, so do its mounts");
    tl_loop_unwatch(d, d->options.keeper_fd);
    close(d->options.keeper_fd);
    d->options.keeper_fd = -1;
    tl_daemon_write_pid(d);
}
