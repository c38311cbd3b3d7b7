// SPDX-License-Identifier: Apache-2.0
/* Whether LMDB's pages can be read at all. LMDB trusts its file: a page that points astray ends the process, by an assertion or a
 * signal. So a child looks first. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/embedded.h"

static void give_up(MDB_env *env, const char *what)
{
    (void)env, (void)what;
    _exit(1);
}

static uint32_t sum_of(const MDB_val *v) /* every byte is read */
{
    uint32_t sum = 0;
    for (size_t i = 0; i < v->mv_size; i++)
        sum += ((const uint8_t *)v->mv_data)[i];
    return sum;
}

static int walk_table(MDB_txn *txn, const char *name)
{
    volatile uint32_t sum = 0;
    MDB_cursor *cursor;
    MDB_dbi table;
    MDB_val k, v;
    int rc = mdb_dbi_open(txn, name, 0, &table);
    rc = rc == 0 ? mdb_cursor_open(txn, table, &cursor) : rc;
    if (rc != 0)
        return rc;
    for (rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST); rc == 0; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT))
        sum = sum + sum_of(&k) + sum_of(&v);
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* In the child. Without locks: what the parent reads keeps the pages from being used again. The number of the table that is damaged,
 * from 1 on. */
static uint8_t walk(const struct tl_embedded *e)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
    const struct rlimit none = {0, 0};
    MDB_env *env;
    MDB_txn *txn;
    char path[4200];
    snprintf(path, sizeof path, "%s/meta.mdb", e->directory);
    setrlimit(RLIMIT_CORE, &none);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        signal(signals[i], SIG_DFL); /* whatever the process does about them is not the child's to do */
    if (mdb_env_create(&env) != 0 || mdb_env_set_assert(env, give_up) != 0 || mdb_env_set_maxdbs(env, 8) != 0 ||
        mdb_env_set_mapsize(env, e->config.map_bytes) != 0 ||
        mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOTLS | MDB_RDONLY | MDB_NOLOCK, 0600) != 0 ||
        mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) != 0)
        return UINT8_MAX;
    for (uint8_t i = 0; i < TL_EMBEDDED_TABLES; i++)
        if (walk_table(txn, tl_embedded_tables[i]) != 0)
            return (uint8_t)(i + 1);
    return 0;
}

int tl_embedded_walk(const struct tl_embedded *e)
{
    int ends[2];
    uint8_t result = UINT8_MAX;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -errno;
    pid_t pid = fork();
    if (pid == 0) {
        result = walk(e);
        _exit(write(ends[1], &result, 1) == 1 ? 0 : 1);
    }
    int rc = pid < 0 ? -errno : 0;
    close(ends[1]);
    while (rc == 0 && read(ends[0], &result, 1) < 0 && errno == EINTR) /* nothing: it died */
        ;
    close(ends[0]);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    if (rc == 0 && result != 0)
        rc = -EBADMSG;
    return rc;
}
