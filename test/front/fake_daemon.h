// SPDX-License-Identifier: Apache-2.0
/* A daemon for launcher tests: a process with a control socket that knows `attach`, and serves what it is given from
 * a fake host. Its counters lie in shared memory. */
#ifndef TL_TEST_FRONT_FAKE_DAEMON_H
#define TL_TEST_FRONT_FAKE_DAEMON_H

#include <stdatomic.h>
#include <sys/types.h>

struct fake_daemon {
    char socket[128];
    pid_t pid;
    struct fake_daemon_shared {
        _Atomic int attached, refuse; /* refuse: attach answers with an error */
        _Atomic int map_owner;        /* of the last attach */
        char last_source[256];
    } * shared;
};

/* Starts it, listening at folder/node-0.sock; uid owns the socket and counts as the tier's user. */
void fake_daemon_start(struct fake_daemon *d, const char *folder, uid_t uid);
void fake_daemon_kill(struct fake_daemon *d); /* as if it crashed; NULL-safe on a daemon that was not started */

#endif
