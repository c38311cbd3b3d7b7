// SPDX-License-Identifier: Apache-2.0
/* What carries out a call tells of its event, and an event that is aborted reaches it. Any thread. */
#ifndef TL_CLIENT_EVENT_H
#define TL_CLIENT_EVENT_H

#include "tiercel/event.h"

/* The part of a call that runs which its event knows. It lives until tl_event_complete is called for the event. */
struct tl_running {
    _Atomic int stop; /* an early end is asked for */
    void (*wake)(
        struct tl_running *
            r); /* after stop was set: what waits should look. Called under the queue's lock: takes none. May be NULL */
};

/* 0: it runs, to be completed once. -EINVAL: it was not initialised, was used before, is a parent, or its parent is launched already. */
int tl_event_launch(struct tiercel_event *ev, struct tl_running *running) TIERCEL_MUST_CHECK;
/* rc: 0 or a negative errno. why: the sentence of an error, from malloc; the event's from now on. The event, and its queue, may be gone when
 * this returns. */
void tl_event_complete(struct tiercel_event *ev, int rc, char *why);

#endif
