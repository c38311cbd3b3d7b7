// SPDX-License-Identifier: Apache-2.0
/* A man in the middle for tests: one relayed connection at a time, whose bytes a test may look at and change.
 *
 * Without threads: the test calls proxy_turn() in its loop. What it relays at once is small, so that a change hits
 * what it is meant for. */
#ifndef TL_TEST_NET_PROXY_H
#define TL_TEST_NET_PROXY_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/loopback.h"

enum { PROXY_UP = 0, PROXY_DOWN = 1 }; /* from the dialler to the listener, and back */
#define PROXY_RECORD_MAX (256u << 10)

struct proxy {
    char address[LOOPBACK_ADDRESS_MAX]; /* dial this */
    const char *target;                 /* relayed to this */
    int listen_fd, fds[2];              /* the dialler's and the listener's connection, -1: none */
    uint64_t passed[2];                 /* bytes relayed in each direction since the connection began */
    uint8_t *recorded[2];               /* the first PROXY_RECORD_MAX of them, before any change */
    /* Sees bytes at position `at` of a direction; may change them, and returns how many of them go on, or -1 to cut the
     * connection. May also send bytes of its own to `out`. NULL: all pass. */
    int (*meddle)(struct proxy *p, int direction, uint64_t at, uint8_t *bytes, int len, int out);
    uint64_t where; /* for meddle */
    int bit, done;
};

void proxy_open(struct proxy *p, const char *target);
void proxy_close(struct proxy *p);
void proxy_cut(struct proxy *p);  /* both connections are closed; the next dial makes new ones */
bool proxy_turn(struct proxy *p); /* true: something moved */

/* A blocking connection to "a.b.c.d:port". */
int proxy_dial(const char *address);
struct sockaddr_in proxy_sockaddr(const char *address);

#endif
