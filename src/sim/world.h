// SPDX-License-Identifier: Apache-2.0
/* The simulated world: virtual time, the events to come, one seed, one trace, and what was found to be wrong.
 *
 * Nothing here knows networks or nodes: each part registers a handler for its kind of event. All chance comes from
 * tl_world_draw: a pure hash of (seed, stream, three numbers that name the occasion). A fault that is taken away
 * leaves every other draw as it was. The trace is a hash over every delivery and action; same seed, same trace, with
 * every compiler. One owner thread. */
#ifndef TL_SIM_WORLD_H
#define TL_SIM_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/prng.h"
#include "sim/queue.h"

enum tl_world_kind {
    TL_WORLD_NET,     /* simnet.c: something on the wire */
    TL_WORLD_STORAGE, /* storage.c: an operation's completion */
    TL_WORLD_TIMER,   /* node.c: a node's deadline */
    TL_WORLD_PROCESS, /* workload*.c: a process goes on */
    TL_WORLD_FAULT,   /* faults.c: something breaks or heals */
    TL_WORLD_KINDS,
};

/* Streams of chance: one a use. Adding one at the end leaves the others alone. */
enum tl_world_stream {
    TL_STREAM_LATENCY = 1,
    TL_STREAM_DELAY,
    TL_STREAM_MESSAGE_LOSS,
    TL_STREAM_REFUSE,
    TL_STREAM_AGAIN,
    TL_STREAM_READ_FAULT,
    TL_STREAM_LOST_DOWN,
    TL_STREAM_STORAGE,
    TL_STREAM_STORAGE_ERROR,
    TL_STREAM_SCHEDULE,
    TL_STREAM_PROCESS,
    TL_STREAM_CATALOG,
    TL_STREAM_NODE,
    TL_STREAM_VERIFY,
    TL_STREAM_CANCEL,
    TL_WORLD_STREAMS,
};

typedef void (*tl_world_fn)(void *ctx, const struct tl_sim_event *ev);

#define TL_VIOLATION_MAX 400

struct tl_world {
    uint64_t now_ns;
    uint64_t seed;
    uint64_t trace;
    uint64_t events; /* handled so far */
    struct tl_queue queue;
    struct {
        tl_world_fn fn;
        void *ctx;
    } handlers[TL_WORLD_KINDS];
    uint64_t violations; /* how many */
    uint64_t violation_ns;
    char violation[TL_VIOLATION_MAX]; /* the first, a sentence */
};

void tl_world_init(struct tl_world *w, uint64_t seed);
void tl_world_fini(struct tl_world *w);
void tl_world_handle(struct tl_world *w, enum tl_world_kind kind, tl_world_fn fn, void *ctx);

/* Something will happen at time_ns (not before now). */
void tl_world_at(struct tl_world *w, uint64_t time_ns, enum tl_world_kind kind, uint32_t node, uint16_t tag, void *ptr);
/* Moves time to the next event and handles it. False: nothing is left to happen. */
bool tl_world_step(struct tl_world *w);
/* Handles all events up to time_ns and moves time there. */
void tl_world_run_until(struct tl_world *w, uint64_t time_ns);

static inline uint64_t tl_world_draw(const struct tl_world *w, enum tl_world_stream stream, uint64_t a, uint64_t b,
                                     uint64_t c)
{
    return tl_prng_draw(w->seed, (uint64_t)stream, a, b, c);
}

/* True with a probability of ppm millionths. */
static inline bool tl_world_chance(const struct tl_world *w, enum tl_world_stream stream, uint32_t ppm, uint64_t a,
                                   uint64_t b, uint64_t c)
{
    return ppm != 0 && tl_prng_scale(tl_world_draw(w, stream, a, b, c), 1000000) < ppm;
}

/* Adds to the trace. */
static inline void tl_world_trace(struct tl_world *w, uint64_t what, uint64_t a, uint64_t b)
{
    uint64_t h = w->trace ^ what ^ (w->now_ns * 0x9e3779b97f4a7c15ull);
    h = (h ^ (h >> 29)) * 0xbf58476d1ce4e5b9ull + a;
    h = (h ^ (h >> 32)) * 0x94d049bb133111ebull + b;
    w->trace = h ^ (h >> 31);
}

/* Something that must never happen has happened: a sentence, printf style. The first is kept, all are counted. */
void tl_world_violation(struct tl_world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
