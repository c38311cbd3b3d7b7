// SPDX-License-Identifier: Apache-2.0
/* A daemon for tests of trees: knows `list`, `fetch` and `cache trees`, and answers them from the file system. A process for each connection. */
#ifndef TL_TEST_FRONT_TREE_DAEMON_H
#define TL_TEST_FRONT_TREE_DAEMON_H

#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

struct tree_daemon {
    char socket[108];
    pid_t pid;
    struct tree_daemon_shared {
        _Atomic int lists, fetches;
        _Atomic unsigned changes; /* what ping says */
        _Atomic int fail;         /* errno for the fetches to come; 0: none */
        _Atomic uint64_t most;    /* bytes that trees may have; 0: any number */
        _Atomic int closed;       /* so many connections are closed at once, as by a daemon that has too many */
        _Atomic int halves;       /* so many fetches stop in the middle, post `half` and wait for `go` */
        sem_t half, go;
    } * shared;
};

/* Listens at folder/node-0.sock, owned by uid. */
void tree_daemon_start(struct tree_daemon *d, const char *folder, uid_t uid);
void tree_daemon_wait_half(struct tree_daemon *d); /* until a fetch has stopped in the middle */
void tree_daemon_kill(struct tree_daemon *d);

#endif
