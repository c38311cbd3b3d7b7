// SPDX-License-Identifier: Apache-2.0
#include "checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <lmdb.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef HAVE_SQLITE
#include <sqlite3.h>
#endif

#define PIECE (1u << 20) /* of values and of writes */
/* Of those tried (2 to 32 writes of 256 KiB to 4 MiB), the fastest on the machine of docs/benchmarks.md. */
#define RAW_PIECE (4u << 20)
#define DEPTH     4u
#define STEP      (256ull << 20) /* space is allocated in steps of it, as the store does */
#define MAP       (64ull << 30)

void bench_with_parent(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static void nothing(struct bench_rank *r)
{
    (void)r;
}

static void name_of(const struct bench_rank *r, const char *what, char out[4096])
{
    snprintf(out, 4096, "%s/%s-%u", r->dir, what, r->rank);
}

/* ---- raw ---- */

static struct io_uring ring;
static int raw_fd = -1, mark_fd = -1;
static uint64_t raw_end, raw_allocated;
static uint8_t *mark;

static void raw_join(struct bench_rank *r)
{
    char path[4096];
    name_of(r, "raw", path);
    raw_fd = open(path, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
    int rc = raw_fd < 0 ? -errno : io_uring_queue_init(DEPTH, &ring, 0);
    if (rc < 0)
        bench_die(path, rc);
    if (r->rank != 0)
        return;
    snprintf(path, sizeof path, "%s/mark", r->dir);
    mark_fd = open(path, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
    mark = aligned_alloc(4096, 4096);
    if (mark_fd < 0 || mark == NULL || fallocate(mark_fd, 0, 0, 4096) != 0)
        bench_die(path, errno);
    memset(mark, 1, 4096);
}

static void reap(void)
{
    struct io_uring_cqe *cqe;
    int rc = io_uring_wait_cqe(&ring, &cqe);
    if (rc < 0 || cqe->res < 0)
        bench_die("raw write", rc < 0 ? rc : cqe->res);
    io_uring_cqe_seen(&ring, cqe);
}

static void raw_write(struct bench_rank *r)
{
    unsigned under_way = 0;
    size_t whole = (r->len + 4095) / 4096 * 4096;
    if (raw_end + whole > raw_allocated) {
        uint64_t more = whole > STEP ? whole : STEP;
        if (fallocate(raw_fd, 0, (off_t)raw_allocated, (off_t)more) != 0)
            bench_die("raw file", errno);
        raw_allocated += more;
    }
    for (size_t at = 0; at < whole; at += RAW_PIECE) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
        io_uring_prep_write(sqe, raw_fd, r->bytes + at, whole - at < RAW_PIECE ? (unsigned)(whole - at) : RAW_PIECE,
                            raw_end + at);
        io_uring_submit(&ring);
        if (++under_way == DEPTH) {
            reap();
            under_way--;
        }
    }
    for (; under_way > 0; under_way--)
        reap();
    if (fdatasync(raw_fd) != 0)
        bench_die("raw sync", errno);
    raw_end += whole;
}

static void raw_commit(struct bench_rank *r)
{
    (void)r;
    mark[0]++;
    if (pwrite(mark_fd, mark, 4096, 0) != 4096 || fdatasync(mark_fd) != 0)
        bench_die("raw mark", errno);
}

/* ---- files ---- */

static void files_write(struct bench_rank *r)
{
    char path[4096], fresh[4096];
    name_of(r, "file", path);
    name_of(r, "file.new", fresh);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    for (size_t at = 0; fd >= 0 && at < r->len;) {
        ssize_t n = write(fd, r->bytes + at, r->len - at < PIECE ? r->len - at : PIECE);
        if (n <= 0)
            bench_die(fresh, errno);
        at += (size_t)n;
    }
    if (fd < 0 || fsync(fd) != 0 || close(fd) != 0 || rename(fresh, path) != 0)
        bench_die(fresh, errno);
}

/* ---- LMDB ---- */

static MDB_env *env;
static MDB_dbi dbi;

static void lmdb_check(int rc)
{
    if (rc != 0)
        bench_die(mdb_strerror(rc), rc > 0 ? rc : EIO);
}

static void lmdb_join(struct bench_rank *r)
{
    char path[4096];
    MDB_txn *txn;
    snprintf(path, sizeof path, "%s/lmdb", r->dir);
    lmdb_check(mdb_env_create(&env));
    lmdb_check(mdb_env_set_mapsize(env, MAP));
    lmdb_check(mdb_env_open(env, path, MDB_NOSUBDIR, 0600));
    lmdb_check(mdb_txn_begin(env, NULL, 0, &txn));
    lmdb_check(mdb_dbi_open(txn, NULL, 0, &dbi));
    lmdb_check(mdb_txn_commit(txn));
}

static void lmdb_write(struct bench_rank *r)
{
    MDB_txn *txn;
    lmdb_check(mdb_txn_begin(env, NULL, 0, &txn));
    for (size_t at = 0; at < r->len; at += PIECE) {
        char key[40];
        int n = snprintf(key, sizeof key, "%08u-%012zu", r->rank, at);
        MDB_val k = {(size_t)n, key}, v = {r->len - at < PIECE ? r->len - at : PIECE, r->bytes + at};
        lmdb_check(mdb_put(txn, dbi, &k, &v, 0));
    }
    lmdb_check(mdb_txn_commit(txn));
}

static void lmdb_commit(struct bench_rank *r)
{
    MDB_txn *txn;
    MDB_val k = {5, "epoch"}, v = {4, r->bytes};
    lmdb_check(mdb_txn_begin(env, NULL, 0, &txn));
    lmdb_check(mdb_put(txn, dbi, &k, &v, 0));
    lmdb_check(mdb_txn_commit(txn));
}

static void lmdb_end(struct bench_rank *r)
{
    (void)r;
    mdb_env_close(env);
}

/* ---- SQLite ---- */

#ifdef HAVE_SQLITE
static sqlite3 *db;
static sqlite3_stmt *insert;

static void sqlite_run(const char *sql)
{
    char *why = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK)
        bench_die(why != NULL ? why : sql, EIO);
}

static void sqlite_open(struct bench_rank *r)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/sqlite", r->dir);
    if (sqlite3_open(path, &db) != SQLITE_OK || sqlite3_busy_timeout(db, 60000) != SQLITE_OK)
        bench_die(path, EIO);
    sqlite_run("PRAGMA journal_mode=WAL");
    sqlite_run("PRAGMA synchronous=FULL");
}

static void sqlite_begin(struct bench_rank *r)
{
    sqlite_open(r);
    sqlite_run("CREATE TABLE data (rank INTEGER, piece INTEGER, bytes BLOB, PRIMARY KEY (rank, piece))");
    sqlite_run("CREATE TABLE mark (id INTEGER PRIMARY KEY, epoch INTEGER)");
    sqlite_run("INSERT INTO mark VALUES (1, 0)");
    sqlite3_close(db);
}

static void sqlite_join(struct bench_rank *r)
{
    sqlite_open(r);
    if (sqlite3_prepare_v2(db, "INSERT OR REPLACE INTO data VALUES (?, ?, ?)", -1, &insert, NULL) != SQLITE_OK)
        bench_die(sqlite3_errmsg(db), EIO);
}

static void sqlite_write(struct bench_rank *r)
{
    sqlite_run("BEGIN IMMEDIATE");
    for (size_t at = 0; at < r->len; at += PIECE) {
        sqlite3_bind_int64(insert, 1, r->rank);
        sqlite3_bind_int64(insert, 2, (sqlite3_int64)at);
        sqlite3_bind_blob64(insert, 3, r->bytes + at, r->len - at < PIECE ? r->len - at : PIECE, SQLITE_STATIC);
        if (sqlite3_step(insert) != SQLITE_DONE)
            bench_die(sqlite3_errmsg(db), EIO);
        sqlite3_reset(insert);
    }
    sqlite_run("COMMIT");
}

static void sqlite_commit(struct bench_rank *r)
{
    (void)r;
    sqlite_run("UPDATE mark SET epoch = epoch + 1");
}

static void sqlite_end(struct bench_rank *r)
{
    (void)r;
    sqlite3_finalize(insert);
    sqlite3_close(db);
}
#endif

static const struct bench_way ways[] = {
    {"raw", nothing, raw_join, raw_write, raw_commit, nothing},
    {"files", nothing, nothing, files_write, nothing, nothing},
    {"lmdb", nothing, lmdb_join, lmdb_write, lmdb_commit, lmdb_end},
#ifdef HAVE_SQLITE
    {"sqlite", sqlite_begin, sqlite_join, sqlite_write, sqlite_commit, sqlite_end},
#endif
};

const struct bench_way *bench_way_find(const char *name)
{
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        if (strcmp(ways[i].name, name) == 0)
            return &ways[i];
    return NULL;
}
