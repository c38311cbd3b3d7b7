// SPDX-License-Identifier: Apache-2.0
/* What the tests of pools share: a pool in a folder of its own, calls that block or not, and other processes that do as they are told. Of the library
 * only what a program sees is used. */
#ifndef TL_TEST_CLIENT_SCENE_H
#define TL_TEST_CLIENT_SCENE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include <cmocka.h>

#include "tiercel/pool.h"

#define MAX TIERCEL_EPOCH_MAX

struct scene {
    char where[96];
    struct tiercel_pool *pool;
    struct tiercel_cont *cont; /* "c", made with the scene, opened for writing */
    struct tiercel_queue *q;
    bool async; /* calls through ev_of have an event */
    struct tiercel_event ev;
};

/* For cmocka: a scene that blocks, and one that does not. */
int scene_setup(void **state);
int scene_setup_async(void **state);
int scene_teardown(void **state);

/* rc = ended(x, tiercel_...(..., ev_of(x))): what the call gave, or its event. */
struct tiercel_event *ev_of(struct scene *x);
int ended(struct scene *x, int rc);

struct tiercel_cont *scene_open(struct scene *x, const char *name, unsigned flags);
void scene_create(struct scene *x, const char *name);
struct tiercel_epochs epochs_of(struct tiercel_cont *c);
bool same_epochs(struct tiercel_epochs a, struct tiercel_epochs b);

/* Holds from this epoch on, and commits, through x->cont. */
void hold(struct scene *x, uint64_t epoch);
void commit(struct scene *x, uint64_t epoch);

/* ---- events of the scene's queue ---- */

#define LONG_MS 30000 /* never reached, unless something hangs */

void begin(struct scene *x, struct tiercel_event *ev); /* init */
struct tiercel_event *next_event(struct scene *x);
void expect(struct scene *x, struct tiercel_event *ev, int error); /* it is the next, with this result; fini */
void nothing_has_completed(struct scene *x);
/* The pool's worker has come this far: all that was queued before is done, or waits for others. */
void worker_is_here(struct scene *x);

/* ---- objects ---- */

struct tiercel_bytes text(const char *s);
/* One number as the content of an object. */
int put(struct tiercel_cont *c, uint64_t epoch, uint64_t object, uint64_t number) TIERCEL_MUST_CHECK;
/* The number that is read, or -errno; 0 if there is none. */
int64_t got(struct tiercel_cont *c, uint64_t epoch, uint64_t object);

/* ---- other processes ---- */

struct peer;
struct peer *peer_start(struct scene *x);
/* Sends a line (see peer.c for what it may say) and waits for the number that is the answer. */
int64_t peer_ask(struct peer *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void peer_tell(struct peer *p, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* does not wait: */
int64_t peer_hear(struct peer *p);                                                          /* that is here */
void peer_kill(struct peer *p);                                                             /* -9; frees it */
void peer_stop(struct peer *p); /* stands still, and is dead to those who go by what it says */
void peer_go_on(struct peer *p);
void peer_end(struct peer *p); /* it ends by itself, without closing anything that it was not told to close; frees it */

/* Bytes as hexadecimal digits, for lines. out: 2 * len + 1. */
void to_hex(const void *bytes, size_t len, char *out);

#endif
