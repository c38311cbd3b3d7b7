// SPDX-License-Identifier: Apache-2.0
/* The two sides of bench/rados.c: a container, and librados by itself (rados_sides.c). What does not work ends the process with a sentence. */
#ifndef TL_BENCH_RADOS_H
#define TL_BENCH_RADOS_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include <rados/librados.h>

#define BENCH_PIECE (1u << 20) /* bytes of an object of the raw side, as of the store's */

struct bench_cont { /* what rank 0 has made and the others join */
    uint8_t handle[4096];
    size_t handle_len;
    char state[64]; /* the name of the object of its state */
};

struct bench_rank {
    unsigned number;
    const uint8_t *bytes;
    size_t len, piece;
};

struct bench_side {
    const char *name;
    /* Connects; rank 0 is first, and makes what the others find. space: the namespace, which is the pool's name. */
    void (*begin)(const struct bench_rank *r, const char *space, struct bench_cont *c);
    /* Until all is safe. The time at which the payloads were, if there is something to be written behind them; else 0. */
    uint64_t (*write)(const struct bench_rank *r, uint64_t round);
    void (*commit)(void); /* by rank 0 */
    /* The bytes of the last round, as many objects on their way as ours has. */
    void (*read)(const struct bench_rank *r, uint64_t round, uint8_t *into);
    void (*clean)(const struct bench_rank *r, uint64_t round);
    void (*end)(void);
};

/* An array of one container: every rank writes its object and flushes; rank 0 commits the epoch. */
extern const struct bench_side bench_ours;
/* What any store of this kind has to do: objects by write_full; behind them the names of all in one omap; then one omap is compared and set. */
extern const struct bench_side bench_raw;

void bench_pool_create(const char *space);
void bench_wait_epoch(uint64_t epoch); /* of bench_ours: until it is final */
rados_t bench_connect(void);
void bench_die(const char *what, int code) __attribute__((noreturn));

/* ---- processes ---- */

void *bench_share(size_t size);
void bench_barrier_init(pthread_barrier_t *b, unsigned count);
/* Runs in a child, which ends with this process. */
void bench_fork(void (*run)(void *arg, unsigned number), void *arg, unsigned number);
void bench_wait_children(unsigned count);
void bench_print(const char *name, const double *values, unsigned count, const char *behind);

/* ---- rados_stall.c ---- */

int bench_stall(const char *space, unsigned kills);

#endif
