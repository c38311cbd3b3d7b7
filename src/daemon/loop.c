// SPDX-License-Identifier: Apache-2.0
/* The epoll loop: waits for what is ready or due, and gives each its turn. It never spins: when nothing is to be done, it sleeps. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/time.h"
#include "daemon/daemon.h"

#define EVENTS_MAX 64

int tl_loop_watch(struct tl_daemon *d, int fd, enum tl_watch_kind kind, uint32_t index, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.u64 = (uint64_t)kind << 32 | index};
    return epoll_ctl(d->epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0 ? 0 : -errno;
}

void tl_loop_unwatch(struct tl_daemon *d, int fd)
{
    epoll_ctl(d->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

static void take_signal(struct tl_daemon *d)
{
    struct signalfd_siginfo info;
    if (read(d->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        tl_log("info", "stopping signal=%s", strsignal((int)info.ssi_signo));
        d->stopping = true;
    }
}

static void dispatch(struct tl_daemon *d, const struct epoll_event *ev)
{
    uint32_t index = (uint32_t)ev->data.u64;
    switch ((enum tl_watch_kind)(ev->data.u64 >> 32)) {
    case TL_WATCH_SOURCE: tl_drive_source(d); break;
    case TL_WATCH_FRONT: tl_fronts_ready(d, index); break;
    case TL_WATCH_LISTEN: tl_control_accept(d); break;
    case TL_WATCH_CONTROL: tl_control_ready(d, index, ev->events); break;
    case TL_WATCH_SIGNAL: take_signal(d); break;
    case TL_WATCH_MOUNTS: tl_fronts_mounts_changed(d); break;
    case TL_WATCH_KEEPER: tl_kept_lost(d); break;
    case TL_WATCH_METRICS: tl_metrics_ready(d, index, ev->events); break;
    case TL_WATCH_VALUES: tl_session_ready(d, index, ev->events); break;
    case TL_WATCH_LOWER: tl_lower_ready(d); break;
    }
}

/* The transport takes all of its events before anything else is done: it keeps what they point to until its next poll. */
static void turn(struct tl_daemon *d, const struct epoll_event *events, int count)
{
    int ours = 0;
    for (int i = 0; i < count; i++) {
        if ((events[i].data.u64 & TL_NET_EPOLL) == 0)
            ours++;
        else
            d->net->ops->ready(d->net, events[i].data.u64, events[i].events);
    }
    if (ours < count)
        tl_drive_net(d);
    for (int i = 0; ours > 0 && i < count; i++)
        if ((events[i].data.u64 & TL_NET_EPOLL) == 0)
            dispatch(d, &events[i]);
}

/* Milliseconds until something is due, rounded up: never a turn too early. */
static int timeout_ms(struct tl_daemon *d)
{
    uint64_t at = tl_drive_deadline(d), control = tl_control_deadline(d), metrics = tl_metrics_deadline(d),
             values = tl_values_deadline(d), now = tl_time_mono_ns();
    at = control < at ? control : at;
    at = metrics < at ? metrics : at;
    at = values < at ? values : at;
    if (at == UINT64_MAX)
        return -1;
    if (at <= now)
        return 0;
    uint64_t ms = (at - now + TL_NS_PER_MS - 1) / TL_NS_PER_MS;
    return ms > 3600000 ? 3600000 : (int)ms;
}

int tl_loop_run(struct tl_daemon *d, struct tl_error *err)
{
    const struct tl_event first = {.type = TL_EV_TIMER};
    tl_drive_event(d, &first); /* the core makes its first connections */
    tl_drive_queue(d);
    while (!d->stopping) {
        struct epoll_event events[EVENTS_MAX];
        int count = epoll_wait(d->epoll_fd, events, EVENTS_MAX, timeout_ms(d));
        if (count < 0 && errno != EINTR)
            return tl_error_set(err, -errno, "epoll_wait: %s", strerror(errno));
        turn(d, events, count);
        tl_drive_timers(d);
        tl_drive_memory(d);
        tl_fronts_reap(d);
        tl_control_tick(d);
        tl_metrics_tick(d);
        tl_values_tick(d);
    }
    return 0;
}
