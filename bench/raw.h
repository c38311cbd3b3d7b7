// SPDX-License-Identifier: Apache-2.0
/* What pools are compared with: the same work done by hand. Each function does it once, in a directory that is there, takes its files
 * away again, and gives the time in seconds; whatever fails ends the program with a sentence.
 *
 * Ranks are processes. They have their data in memory, wait for each other, and then the clock starts; it stops when the last one has
 * done all that makes the data durable. */
#ifndef TL_BENCH_RAW_H
#define TL_BENCH_RAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- ranks: what they all do, and then one of them, as a commit ---- */

struct raw_ranks {
    void *(*begin)(void *ctx, uint32_t rank); /* in the rank, before the clock starts; its result is given to work */
    void (*work)(void *ctx, uint32_t rank, void *own);
    void (*commit)(void *ctx, void *own); /* in rank 0, when all have worked; NULL: nothing */
    void (*end)(void *ctx, uint32_t rank, void *own);
    void *ctx;
};
double raw_run_ranks(uint32_t ranks, const struct raw_ranks *what);

/* The data of a rank: bytes that do not compress, at an address that O_DIRECT takes. */
uint8_t *raw_data(uint32_t rank, size_t len);

/* ---- checkpoints ---- */

/* io_uring and O_DIRECT, 1 MiB at a time, 8 under way, into space that was allocated before; one fdatasync a rank; then 4 KiB and
 * one fdatasync more, as the commit. */
double raw_direct(const char *directory, uint32_t ranks, size_t bytes);
/* A file a rank: write, fsync, rename. */
double raw_files(const char *directory, uint32_t ranks, size_t bytes);

/* ---- keys and values, with LMDB ---- */

/* So many values in one transaction, in the order of their keys. */
double raw_lmdb_put(const char *directory, uint32_t count, size_t value_len);
/* Gets of values by keys at random, each copied out: CPU time. A snapshot for all, or one for each (a read transaction renewed). */
double raw_lmdb_get(const char *directory, uint32_t count, size_t value_len, uint32_t gets, bool snapshot_each);

/* ---- the rest ---- */

double raw_now(void);                      /* seconds */
double raw_cpu(void);                      /* of this process: what needs no device takes as long, on an idle machine */
double raw_median(double *at, size_t n);   /* sorts them */
void raw_check(bool ok, const char *what); /* or ends the program, with errno */

#endif
