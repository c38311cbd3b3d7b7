// SPDX-License-Identifier: Apache-2.0
/* Which kernel requests are in work, remembered beyond the daemon's death: so that one that kills each daemon that takes it
 * up is given up, while the rest goes on.
 *
 * A daemon that crashed counts against every request that it had in work. One with two such deaths is a suspect: it is taken up
 * alone, while all others wait, so that the third death finds the culprit and nobody else. A request with three is answered EIO.
 * A daemon that was killed from outside (SIGKILL) counts against nobody; if it is killed for ever, the keeper gives up. One owner
 * thread. */
#ifndef TL_FRONT_FUSE_GUARD_H
#define TL_FRONT_FUSE_GUARD_H

#include "front/fuse/keep.h"

#define TL_GUARD_SUSPECT 2u
#define TL_GUARD_GIVE_UP 3u

/* Bit 63 of a request's number: the kernel sends it again. (linux/fuse.h of Linux 6.9) */
#define TL_FUSE_UNIQUE_RESEND (1ull << 63)

/* A request that waits for its turn: the message. */
struct tl_guard_message {
    struct tl_guard_message *next;
    size_t size;
    uint8_t bytes[];
};

struct tl_guard_queue {
    struct tl_guard_message *first, **last;
};

struct tl_guard {
    struct tl_keep_head *head;
    struct tl_guard_queue suspects, others; /* those that wait */
    uint64_t suspect;                       /* the one in work; 0: none */
    uint32_t in_work;
    uint64_t given_up;
};

void tl_guard_init(struct tl_guard *g, struct tl_keep_head *head);
void tl_guard_fini(struct tl_guard *g);
/* A daemon has ended, and another goes on: crashed, or killed from outside. */
void tl_guard_died(struct tl_guard *g, bool crashed);
enum tl_guard_verdict { TL_GUARD_SERVE, TL_GUARD_WAIT, TL_GUARD_REFUSE };
/* The request is to be taken up: serve it; or let it wait (tl_guard_defer); or answer it EIO. */
enum tl_guard_verdict tl_guard_begin(struct tl_guard *g, uint64_t unique);
/* It has been answered. */
void tl_guard_end(struct tl_guard *g, uint64_t unique);
/* Keeps the message of a request that has to wait. 0, -ENOMEM. */
int tl_guard_defer(struct tl_guard *g, uint64_t unique, const void *message, size_t size) TL_MUST_CHECK;
/* The next message that waits, if its turn has come; it is to begin again. The caller frees it. */
struct tl_guard_message *tl_guard_next(struct tl_guard *g);
/* Some message that waits, for closing. The caller frees it. */
struct tl_guard_message *tl_guard_any(struct tl_guard *g);

#endif
