// SPDX-License-Identifier: Apache-2.0
/* See raw.h. */
#include "raw.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <lmdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/prng.h"
#include "base/time.h"

#define PIECE     (1u << 20)
#define DEPTH     8u
#define RANKS_MAX 64u

double raw_now(void)
{
    return (double)tl_time_mono_ns() / 1e9;
}

void raw_check(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

double raw_cpu(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double raw_median(double *at, size_t n)
{
    qsort(at, n, sizeof *at, compare);
    return n % 2 == 1 ? at[n / 2] : (at[n / 2 - 1] + at[n / 2]) / 2;
}

uint8_t *raw_data(uint32_t rank, size_t len)
{
    struct tl_prng p;
    void *at;
    errno = posix_memalign(&at, 4096, len);
    raw_check(errno == 0, "memory");
    tl_prng_init(&p, 1, rank);
    for (size_t i = 0; i < len; i += 8) {
        uint64_t word = tl_prng_next(&p);
        memcpy((uint8_t *)at + i, &word, len - i < 8 ? len - i : 8);
    }
    return at;
}

/* ---- ranks ---- */

static void put_byte(int fd)
{
    raw_check(write(fd, "x", 1) == 1, "telling a rank");
}

static void get_byte(int fd)
{
    char byte;
    raw_check(read(fd, &byte, 1) == 1, "waiting for a rank");
}

static _Noreturn void be_rank(uint32_t rank, const struct raw_ranks *what, const int to[2], const int from[2])
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    void *own = what->begin != NULL ? what->begin(what->ctx, rank) : NULL;
    put_byte(from[1]);
    get_byte(to[0]);
    what->work(what->ctx, rank, own);
    put_byte(from[1]);
    get_byte(to[0]);
    if (rank == 0 && what->commit != NULL)
        what->commit(what->ctx, own);
    put_byte(from[1]);
    get_byte(to[0]);
    if (what->end != NULL)
        what->end(what->ctx, rank, own);
    _exit(0);
}

double raw_run_ranks(uint32_t ranks, const struct raw_ranks *what)
{
    int to[RANKS_MAX][2], from[RANKS_MAX][2], status;
    double start = 0, end = 0;
    pid_t pids[RANKS_MAX];
    raw_check(ranks <= RANKS_MAX, "that many ranks");
    for (uint32_t i = 0; i < ranks; i++) {
        raw_check(pipe(to[i]) == 0 && pipe(from[i]) == 0 && (pids[i] = fork()) >= 0, "starting a rank");
        if (pids[i] == 0)
            be_rank(i, what, to[i], from[i]);
    }
    for (int step = 0; step < 3; step++) { /* all are ready; have worked; the commit is done */
        for (uint32_t i = 0; i < ranks; i++)
            get_byte(from[i][0]);
        start = step == 0 ? raw_now() : start;
        end = raw_now();
        for (uint32_t i = 0; i < ranks; i++)
            put_byte(to[i][1]);
    }
    for (uint32_t i = 0; i < ranks; i++) {
        raw_check(waitpid(pids[i], &status, 0) == pids[i] && status == 0, "a rank");
        for (int k = 0; k < 2; k++) {
            close(to[i][k]);
            close(from[i][k]);
        }
    }
    return end - start;
}

/* ---- checkpoints ---- */

struct checkpoint {
    const char *directory;
    size_t bytes;
};

struct own {
    char path[4096];
    int fd, commit_fd;
    uint8_t *data;
    struct io_uring ring;
};

static struct own *begin(const struct checkpoint *c, uint32_t rank, int flags)
{
    struct own *o = calloc(1, sizeof *o);
    raw_check(o != NULL, "memory");
    snprintf(o->path, sizeof o->path, "%s/rank.%u", c->directory, rank);
    o->data = raw_data(rank, c->bytes);
    o->fd = open(o->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | flags, 0600);
    raw_check(o->fd >= 0, o->path);
    return o;
}

static void *begin_direct(void *ctx, uint32_t rank)
{
    const struct checkpoint *c = ctx;
    struct own *o = begin(c, rank, O_DIRECT);
    char path[4200];
    snprintf(path, sizeof path, "%s/commit", c->directory);
    raw_check(posix_fallocate(o->fd, 0, (off_t)c->bytes) == 0 && fsync(o->fd) == 0, "space");
    o->commit_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_DIRECT, 0600);
    raw_check(o->commit_fd >= 0 && posix_fallocate(o->commit_fd, 0, 4096) == 0 && fsync(o->commit_fd) == 0, path);
    raw_check(io_uring_queue_init(DEPTH, &o->ring, 0) == 0, "io_uring");
    return o;
}

static void work_direct(void *ctx, uint32_t rank, void *own)
{
    const struct checkpoint *c = ctx;
    struct own *o = own;
    (void)rank;
    for (size_t at = 0, done = 0; done < c->bytes;) {
        struct io_uring_cqe *cqe;
        size_t len = c->bytes - at < PIECE ? c->bytes - at : PIECE;
        if (at < c->bytes && at - done < DEPTH * (size_t)PIECE) {
            struct io_uring_sqe *sqe = io_uring_get_sqe(&o->ring);
            io_uring_prep_write(sqe, o->fd, o->data + at, (unsigned)len, at);
            raw_check(io_uring_submit(&o->ring) == 1, "io_uring_submit");
            at += len;
            continue;
        }
        raw_check(io_uring_wait_cqe(&o->ring, &cqe) == 0 && cqe->res > 0, "io_uring");
        done += (size_t)cqe->res;
        io_uring_cqe_seen(&o->ring, cqe);
    }
    raw_check(fdatasync(o->fd) == 0, "fdatasync");
}

static void commit_direct(void *ctx, void *own)
{
    struct own *o = own;
    (void)ctx;
    raw_check(pwrite(o->commit_fd, o->data, 4096, 0) == 4096 && fdatasync(o->commit_fd) == 0, "the commit");
}

static void end(void *ctx, uint32_t rank, void *own)
{
    struct own *o = own;
    char path[4200];
    (void)rank;
    unlink(o->path);
    snprintf(path, sizeof path, "%s/commit", ((const struct checkpoint *)ctx)->directory);
    unlink(path);
    snprintf(path, sizeof path, "%s.done", o->path);
    unlink(path);
}

double raw_direct(const char *directory, uint32_t ranks, size_t bytes)
{
    struct checkpoint c = {directory, bytes};
    const struct raw_ranks what = {begin_direct, work_direct, commit_direct, end, &c};
    return raw_run_ranks(ranks, &what);
}

static void *begin_file(void *ctx, uint32_t rank)
{
    return begin(ctx, rank, 0);
}

static void work_file(void *ctx, uint32_t rank, void *own)
{
    const struct checkpoint *c = ctx;
    struct own *o = own;
    char path[4200];
    (void)rank;
    for (size_t at = 0; at < c->bytes;) {
        ssize_t n = write(o->fd, o->data + at, c->bytes - at < PIECE ? c->bytes - at : PIECE);
        raw_check(n > 0, "write");
        at += (size_t)n;
    }
    snprintf(path, sizeof path, "%s.done", o->path);
    raw_check(fsync(o->fd) == 0 && rename(o->path, path) == 0, "fsync and rename");
}

double raw_files(const char *directory, uint32_t ranks, size_t bytes)
{
    struct checkpoint c = {directory, bytes};
    const struct raw_ranks what = {begin_file, work_file, NULL, end, &c};
    return raw_run_ranks(ranks, &what);
}

/* ---- LMDB ---- */

struct lmdb {
    char path[4096];
    MDB_env *env;
    MDB_dbi table;
    uint8_t *value;
};

static void lmdb_begin(struct lmdb *l, const char *directory, size_t value_len)
{
    MDB_txn *txn;
    snprintf(l->path, sizeof l->path, "%s/raw.mdb", directory);
    l->value = raw_data(0, value_len);
    raw_check(mdb_env_create(&l->env) == 0 && mdb_env_set_mapsize(l->env, 4ull << 30) == 0 &&
                  mdb_env_open(l->env, l->path, MDB_NOSUBDIR | MDB_NOTLS | MDB_NORDAHEAD, 0600) == 0 &&
                  mdb_txn_begin(l->env, NULL, 0, &txn) == 0 && mdb_dbi_open(txn, NULL, 0, &l->table) == 0 &&
                  mdb_txn_commit(txn) == 0,
              l->path);
}

static void lmdb_end(struct lmdb *l)
{
    char lock[4200];
    mdb_env_close(l->env);
    free(l->value);
    unlink(l->path);
    snprintf(lock, sizeof lock, "%s-lock", l->path);
    unlink(lock);
}

static void key_of(char key[24], uint32_t i)
{
    snprintf(key, 24, "key-%016u", i);
}

static double lmdb_put_all(struct lmdb *l, uint32_t count, size_t value_len)
{
    char key[24];
    MDB_txn *txn;
    double start = raw_now();
    raw_check(mdb_txn_begin(l->env, NULL, 0, &txn) == 0, "a transaction");
    for (uint32_t i = 0; i < count; i++) {
        key_of(key, i);
        MDB_val k = {20, key}, v = {value_len, l->value};
        raw_check(mdb_put(txn, l->table, &k, &v, 0) == 0, "mdb_put");
    }
    raw_check(mdb_txn_commit(txn) == 0, "mdb_txn_commit");
    return raw_now() - start;
}

double raw_lmdb_put(const char *directory, uint32_t count, size_t value_len)
{
    struct lmdb l;
    lmdb_begin(&l, directory, value_len);
    double seconds = lmdb_put_all(&l, count, value_len);
    lmdb_end(&l);
    return seconds;
}

double raw_lmdb_get(const char *directory, uint32_t count, size_t value_len, uint32_t gets, bool snapshot_each)
{
    struct lmdb l;
    struct tl_prng p;
    char key[24];
    MDB_txn *txn;
    lmdb_begin(&l, directory, value_len);
    lmdb_put_all(&l, count, value_len);
    tl_prng_init(&p, 2, 0);
    raw_check(mdb_txn_begin(l.env, NULL, MDB_RDONLY, &txn) == 0, "a transaction");
    double start = raw_cpu();
    for (uint32_t i = 0; i < gets; i++) {
        MDB_val k = {20, key}, v;
        key_of(key, (uint32_t)tl_prng_below(&p, count));
        if (snapshot_each) {
            mdb_txn_reset(txn);
            raw_check(mdb_txn_renew(txn) == 0, "mdb_txn_renew");
        }
        raw_check(mdb_get(txn, l.table, &k, &v) == 0 && v.mv_size == value_len, "mdb_get");
        memcpy(l.value, v.mv_data, value_len);
    }
    double seconds = raw_cpu() - start;
    mdb_txn_abort(txn);
    lmdb_end(&l);
    return seconds;
}
