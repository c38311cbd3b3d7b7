// SPDX-License-Identifier: Apache-2.0
/* Opening a pool in a directory, and transactions of its containers' state; see embedded.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/class.h"
#include "base/time.h"
#include "store/embedded.h"

#define FORMAT     "tiercel-pool 1\n"
#define MAP_BYTES  (64ull << 30)
#define READERS    1024u
#define LOCK_BYTES (READERS * 64 + 4096) /* of LMDB: 64 for each that reads at a time, and a little more */

const char *const tl_embedded_tables[TL_EMBEDDED_TABLES] = {"state", "index", "files", "live"};

int tl_embedded_error(int lmdb_error)
{
    switch (lmdb_error) {
    case 0: return 0;
    case MDB_NOTFOUND: return -ENOENT;
    case MDB_MAP_FULL:
    case MDB_TXN_FULL: return -ENOSPC;
    case MDB_READERS_FULL: return -EUSERS;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID: return -EBADMSG;
    case MDB_VERSION_MISMATCH: return -EPROTO;
    default: return lmdb_error > 0 ? -lmdb_error : -EIO;
    }
}

void tl_embedded_path(const struct tl_embedded *e, uint32_t file, char *out, size_t size)
{
    snprintf(out, size, "%s/ext.%u", e->directory, file);
}

int tl_embedded_read_fd(struct tl_embedded *e, uint32_t file)
{
    char path[4200];
    if (e->read_fds[file] >= 0)
        return e->read_fds[file];
    tl_embedded_path(e, file, path, sizeof path);
    int fd = open(path, (e->config.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -errno;
    e->read_fds[file] = fd;
    return fd;
}

/* ---- transactions ---- */

struct transaction {
    struct tl_store_tx tx;
    struct tl_embedded *e;
    MDB_txn *txn;
    const struct tl_store_id *id;
    bool writes, changed;
};

struct state_key {
    uint8_t bytes[16 + TL_STORE_KEY_MAX];
    MDB_val val;
};

static int state_key(const struct transaction *t, struct tl_slice key, struct state_key *out)
{
    if (key.len > TL_STORE_KEY_MAX)
        return -EINVAL;
    memcpy(out->bytes, t->id->bytes, 16);
    if (key.len > 0)
        memcpy(out->bytes + 16, key.at, key.len);
    out->val = (MDB_val){16 + key.len, out->bytes};
    return 0;
}

static int tx_get(struct tl_store_tx *tx, struct tl_slice key, struct tl_slice *value)
{
    struct transaction *t = (struct transaction *)tx;
    struct state_key k;
    MDB_val v;
    int rc = state_key(t, key, &k);
    rc = rc == 0 ? tl_embedded_error(mdb_get(t->txn, t->e->state, &k.val, &v)) : rc;
    if (rc == 0)
        *value = (struct tl_slice){v.mv_data, v.mv_size};
    return rc;
}

static int tx_put(struct tl_store_tx *tx, struct tl_slice key, struct tl_slice value)
{
    struct transaction *t = (struct transaction *)tx;
    struct state_key k;
    MDB_val v = {value.len, (void *)(uintptr_t)value.at};
    int rc = !t->writes ? -EROFS : value.len > TL_STORE_VALUE_MAX ? -EINVAL : state_key(t, key, &k);
    t->changed |= rc == 0;
    return rc == 0 ? tl_embedded_error(mdb_put(t->txn, t->e->state, &k.val, &v, 0)) : rc;
}

static int tx_del(struct tl_store_tx *tx, struct tl_slice key)
{
    struct transaction *t = (struct transaction *)tx;
    struct state_key k;
    int rc = !t->writes ? -EROFS : state_key(t, key, &k);
    t->changed |= rc == 0;
    return rc == 0 ? tl_embedded_error(mdb_del(t->txn, t->e->state, &k.val, NULL)) : rc;
}

static int tx_each(struct tl_store_tx *tx, struct tl_slice prefix,
                   int (*fn)(void *ctx, struct tl_slice key, struct tl_slice value), void *ctx)
{
    struct transaction *t = (struct transaction *)tx;
    struct state_key first;
    MDB_cursor *cursor;
    int rc = state_key(t, prefix, &first);
    rc = rc == 0 ? tl_embedded_error(mdb_cursor_open(t->txn, t->e->state, &cursor)) : rc;
    if (rc != 0)
        return rc;
    MDB_val k = first.val, v;
    int found = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
    while (rc == 0 && found == 0 && k.mv_size >= first.val.mv_size &&
           memcmp(k.mv_data, first.bytes, first.val.mv_size) == 0) {
        rc = fn(ctx, (struct tl_slice){(const uint8_t *)k.mv_data + 16, k.mv_size - 16},
                (struct tl_slice){v.mv_data, v.mv_size});
        found = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return rc == 0 && found != 0 && found != MDB_NOTFOUND ? tl_embedded_error(found) : rc;
}

static const struct tl_store_tx_ops tx_ops = {.get = tx_get, .put = tx_put, .del = tx_del, .each = tx_each};

static int take_idle(struct tl_embedded *e)
{
    if (e->idle != NULL)
        return mdb_txn_renew(e->idle);
    int rc = mdb_txn_begin(e->env, NULL, MDB_RDONLY, &e->idle);
    if (rc == 0 && (rc = mdb_cursor_open(e->idle, e->index, &e->cursor)) != 0) {
        mdb_txn_abort(e->idle);
        e->idle = NULL;
    }
    return rc;
}

int tl_embedded_begin(struct tl_embedded *e, MDB_txn **out)
{
    if (e->lockless && tl_page_has_writer(&e->access))
        return -EBUSY;
    if (e->idle_taken) /* by who calls us */
        return tl_embedded_error(mdb_txn_begin(e->env, NULL, MDB_RDONLY, out));
    int rc = take_idle(e);
    if (rc == 0) {
        e->idle_taken = true;
        *out = e->idle;
    }
    return tl_embedded_error(rc);
}

int tl_embedded_cursor(struct tl_embedded *e, MDB_txn *txn, MDB_cursor **out)
{
    *out = e->cursor;
    return tl_embedded_error(txn == e->idle ? mdb_cursor_renew(txn, e->cursor) : mdb_cursor_open(txn, e->index, out));
}

void tl_embedded_end(struct tl_embedded *e, MDB_txn *txn, MDB_cursor *cursor)
{
    if (cursor != NULL && cursor != e->cursor)
        mdb_cursor_close(cursor);
    if (txn != e->idle) {
        mdb_txn_abort(txn);
        return;
    }
    mdb_txn_reset(txn); /* keeps no page from being used again */
    e->idle_taken = false;
}

static int transact(struct tl_embedded *e, const struct tl_store_id *id, bool writes, tl_store_tx_fn fn, void *ctx)
{
    struct transaction t = {.tx = {&tx_ops}, .e = e, .id = id, .writes = writes};
    if (writes && e->config.read_only)
        return -EROFS;
    int rc = writes ? tl_embedded_error(mdb_txn_begin(e->env, NULL, 0, &t.txn)) : tl_embedded_begin(e, &t.txn);
    if (rc != 0)
        return rc;
    rc = writes ? tl_embedded_take_over(e, t.txn) : 0;
    rc = rc == 0 ? fn(ctx, &t.tx) : rc;
    if (writes)
        rc = tl_embedded_finish(e, t.txn, rc);
    else
        tl_embedded_end(e, t.txn, NULL);
    if (rc == 0 && t.changed)
        tl_page_wake(&e->access, tl_page_counter(e->page, id), UINT32_MAX);
    return rc;
}

static int embedded_change(struct tl_store *s, const struct tl_store_id *id, tl_store_tx_fn fn, void *ctx)
{
    return transact((struct tl_embedded *)s, id, true, fn, ctx);
}

static int embedded_look(struct tl_store *s, const struct tl_store_id *id, tl_store_tx_fn fn, void *ctx)
{
    return transact((struct tl_embedded *)s, id, false, fn, ctx);
}

/* ---- the rest ---- */

static int embedded_changes(struct tl_store *s, const struct tl_store_id *id, uint32_t *out)
{
    *out = atomic_load(tl_page_counter(((struct tl_embedded *)s)->page, id));
    return 0;
}

static int embedded_wait(struct tl_store *s, const struct tl_store_id *id, uint32_t seen, unsigned timeout_ms)
{
    uint64_t until_ns = tl_time_mono_ns() + timeout_ms * TL_NS_PER_MS;
    return tl_page_wait(tl_page_counter(((struct tl_embedded *)s)->page, id), seen, until_ns, UINT32_MAX);
}

static void embedded_wake(struct tl_store *s, const struct tl_store_id *id)
{
    struct tl_embedded *e = (struct tl_embedded *)s;
    tl_page_wake(&e->access, tl_page_counter(e->page, id), UINT32_MAX);
    tl_locks_wake(&e->locks, id);
}

static int embedded_claim(struct tl_store *s, uint64_t mark, bool exclusive)
{
    return tl_owners_claim(&((struct tl_embedded *)s)->owners, mark, exclusive);
}

static void embedded_unclaim(struct tl_store *s, uint64_t mark)
{
    tl_owners_unclaim(&((struct tl_embedded *)s)->owners, mark);
}

static int embedded_claimed(struct tl_store *s, uint64_t mark)
{
    return tl_owners_claimed(&((struct tl_embedded *)s)->owners, mark);
}

static int embedded_lock(struct tl_store *s, const struct tl_store_id *id, struct tl_slice name, bool exclusive,
                         int timeout_ms, const _Atomic int *stop, struct tl_store_lock **out,
                         struct tl_store_lock_value *value)
{
    return tl_locks_lock(&((struct tl_embedded *)s)->locks, id, name, exclusive, timeout_ms, stop, out, value);
}

static int embedded_unlock(struct tl_store *s, struct tl_store_lock *lock, const struct tl_store_lock_value *value)
{
    return tl_locks_unlock(&((struct tl_embedded *)s)->locks, lock, value);
}

static int embedded_space(struct tl_store *s, struct tl_store_space *out)
{
    struct tl_embedded *e = (struct tl_embedded *)s;
    struct statvfs fs;
    struct stat st;
    char path[4200];
    if (statvfs(e->directory, &fs) != 0)
        return -errno;
    *out = (struct tl_store_space){.total_bytes = fs.f_blocks * fs.f_frsize, .free_bytes = fs.f_bavail * fs.f_frsize};
    snprintf(path, sizeof path, "%s/meta.mdb", e->directory);
    if (stat(path, &st) == 0)
        out->used_bytes += (uint64_t)st.st_blocks * 512;
    for (uint32_t i = 0; i < TL_EMBEDDED_FILES; i++) {
        tl_embedded_path(e, i, path, sizeof path);
        if (stat(path, &st) != 0)
            break; /* files are made in the order of their numbers */
        out->used_bytes += (uint64_t)st.st_blocks * 512;
    }
    return 0;
}

static void embedded_close(struct tl_store *s)
{
    struct tl_embedded *e = (struct tl_embedded *)s;
    tl_stream_close(e->stream);
    if (e->idle != NULL) {
        mdb_cursor_close(e->cursor);
        mdb_txn_abort(e->idle);
    }
    if (e->env != NULL)
        mdb_env_close(e->env);
    for (uint32_t i = 0; i < TL_EMBEDDED_FILES; i++) {
        if (e->mapped[i].len > 0)
            munmap((void *)(uintptr_t)e->mapped[i].at, e->mapped[i].len);
        if (e->read_fds[i] >= 0)
            close(e->read_fds[i]);
    }
    tl_locks_close(&e->locks);
    tl_owners_close(&e->owners);
    tl_page_close(&e->access);
    free(e->scratch);
    free(e->pending);
    free(e->dead);
    free(e);
}

/* What protects a directory is not ours. */
static const struct tl_store_classes *embedded_classes(const struct tl_store *s)
{
    static const struct tl_store_classes classes = {.list = {TL_CLASS_S}, .count = 1, .index = TL_CLASS_S};
    (void)s;
    return &classes;
}

/* One target, which is there as long as we are. */
static int embedded_health(struct tl_store *s, const _Atomic int *stop, struct tl_store_health *out)
{
    (void)s, (void)stop;
    *out = (struct tl_store_health){.map_version = 1,
                                    .state = TL_STORE_HEALTHY,
                                    .targets = 1,
                                    .up = 1,
                                    .in = 1,
                                    .silent = -1,
                                    .rebuild_known = true};
    return 0;
}

static int embedded_targets(struct tl_store *s, int (*fn)(void *ctx, const struct tl_store_target *t), void *ctx)
{
    struct tl_store_space space;
    struct utsname here;
    int rc = embedded_space(s, &space);
    if (rc != 0)
        return rc;
    const struct tl_store_target t = {.host = uname(&here) == 0 ? here.nodename : "",
                                      .up = true,
                                      .in = true,
                                      .total_bytes = space.total_bytes,
                                      .used_bytes = space.total_bytes - space.free_bytes};
    return fn(ctx, &t);
}

static void embedded_rest(struct tl_store *s)
{
    (void)s;
}

static const struct tl_store_ops ops = {
    .name = "embedded",
    .close = embedded_close,
    .space = embedded_space,
    .health = embedded_health,
    .targets = embedded_targets,
    .rest = embedded_rest,
    .classes = embedded_classes,
    .change = embedded_change,
    .look = embedded_look,
    .write = tl_embedded_write,
    .flush = tl_embedded_flush,
    .scan = tl_embedded_scan,
    .read = tl_embedded_read,
    .damage = tl_embedded_damage,
    .erase = tl_embedded_erase,
    .changes = embedded_changes,
    .wait = embedded_wait,
    .wake = embedded_wake,
    .claim = embedded_claim,
    .unclaim = embedded_unclaim,
    .claimed = embedded_claimed,
    .lock = embedded_lock,
    .unlock = embedded_unlock,
    .check = tl_embedded_check,
};

/* ---- opening ---- */

/* Makes the directory, and in it, last and in one step, the file that says what it is. */
static int make_pool(const char *directory, struct tl_error *err)
{
    char path[4200], beside[4300], index[4200];
    snprintf(path, sizeof path, "%s/pool", directory);
    snprintf(index, sizeof index, "%s/meta.mdb", directory);
    snprintf(beside, sizeof beside, "%s.%d", path, (int)getpid());
    if (mkdir(directory, 0700) != 0 && errno != EEXIST)
        return tl_error_set(err, -errno, "pool %s cannot be made: %s", directory, strerror(errno));
    if (access(index, F_OK) == 0 && access(path, F_OK) != 0)
        return tl_error_set(err, -ENOTEMPTY,
                            "pool %s cannot be made: there is what is left of one that was destroyed; destroy it again",
                            directory);
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool ok = fd >= 0 && write(fd, FORMAT, strlen(FORMAT)) == (ssize_t)strlen(FORMAT) && fsync(fd) == 0;
    int rc = ok && link(beside, path) == 0 ? 0 : -errno;
    if (fd >= 0)
        close(fd);
    unlink(beside);
    if (rc == 0 || rc == -EEXIST)
        return rc == 0 ? 0 : tl_error_set(err, rc, "pool %s is there already; choose another directory", directory);
    return tl_error_set(err, rc, "pool %s cannot be made: %s", directory, strerror(-rc));
}

static int check_format(const struct tl_embedded *e, struct tl_error *err)
{
    char path[4200], text[64] = "";
    snprintf(path, sizeof path, "%s/pool", e->directory);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), rc = fd < 0 ? -errno : 0;
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    if (rc != 0)
        return tl_error_set(err, rc, "%s is no pool: %s: %s; make one with: tiercel pool create %s", e->directory, path,
                            strerror(-rc), e->directory);
    if (n == (ssize_t)strlen(FORMAT) && memcmp(text, FORMAT, strlen(FORMAT)) == 0)
        return 0;
    text[strcspn(text, "\n")] = 0;
    return tl_error_set(err, -EPROTO,
                        "pool %s has the format \"%s\", which this release does not know; it needs a newer one",
                        e->directory, text);
}

static int open_tables(struct tl_embedded *e)
{
    MDB_txn *txn;
    unsigned create = e->config.read_only ? 0 : MDB_CREATE;
    int rc = mdb_txn_begin(e->env, NULL, e->config.read_only ? MDB_RDONLY : 0, &txn);
    if (rc != 0)
        return tl_embedded_error(rc);
    MDB_dbi *const tables[TL_EMBEDDED_TABLES] = {&e->state, &e->index, &e->files, &e->live};
    for (size_t i = 0; rc == 0 && i < TL_EMBEDDED_TABLES; i++)
        rc = mdb_dbi_open(txn, tl_embedded_tables[i], create, tables[i]);
    if (rc == 0)
        rc = mdb_txn_commit(txn);
    else
        mdb_txn_abort(txn);
    return tl_embedded_error(rc);
}

/* LMDB maps the file of its locks as it is: space that is not there would end the process when a page of it is touched. Before LMDB has it
 * open: closing it later would let go of LMDB's locks. */
static int make_lock_file(const struct tl_embedded *e)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/meta.mdb-lock", e->directory);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    int rc = -posix_fallocate(fd, 0, LOCK_BYTES);
    close(fd);
    return rc;
}

static int try_env(struct tl_embedded *e, unsigned flags)
{
    char path[4200];
    int dead, rc = mdb_env_create(&e->env);
    snprintf(path, sizeof path, "%s/meta.mdb", e->directory);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(e->env, 8);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(e->env, READERS);
    if (rc == 0)
        rc = mdb_env_set_mapsize(e->env, e->config.map_bytes);
    if (rc == 0)
        rc = mdb_env_open(e->env, path, MDB_NOSUBDIR | MDB_NOTLS | MDB_NORDAHEAD | flags, 0600);
    if (rc == 0 && (flags & MDB_NOLOCK) == 0)
        rc = mdb_reader_check(e->env, &dead); /* who was killed while reading must not keep old pages */
    if (rc != 0 && e->env != NULL) {
        mdb_env_close(e->env);
        e->env = NULL;
    }
    return tl_embedded_error(rc);
}

static int open_env(struct tl_embedded *e)
{
    int rc = e->config.read_only ? 0 : make_lock_file(e);
    rc = rc == 0 ? try_env(e, e->config.read_only ? MDB_RDONLY : 0) : rc;
    e->lockless = e->config.read_only && !e->access.writable;
    if (e->config.read_only && (rc == -EACCES || rc == -EROFS || rc == -EPERM)) { /* LMDB wants to write its locks */
        e->lockless = true;
        rc = tl_page_has_writer(&e->access) ? -EBUSY : try_env(e, MDB_RDONLY | MDB_NOLOCK);
    }
    return rc == 0 ? open_tables(e) : rc;
}

/* The path stays the same wherever the process goes. */
static int find_directory(struct tl_embedded *e, const char *directory, struct tl_error *err)
{
    char *whole = realpath(directory, NULL);
    int rc = whole == NULL ? -errno : 0;
    if (rc == 0 && snprintf(e->directory, sizeof e->directory, "%s", whole) >= (int)sizeof e->directory)
        rc = -ENAMETOOLONG;
    free(whole);
    if (rc == -ENOENT || rc == -ENOTDIR)
        return tl_error_set(err, rc, "%s is no pool: %s; make one with: tiercel pool create %s", directory,
                            strerror(-rc), directory);
    return rc == 0 ? 0 : tl_error_set(err, rc, "pool %s cannot be opened: %s", directory, strerror(-rc));
}

static int open_all(struct tl_embedded *e)
{
    int rc = tl_page_open(e->directory, e->config.read_only, &e->access);
    if (rc != 0)
        return rc;
    e->page = e->access.page;
    tl_owners_open(&e->owners, e->directory);
    tl_locks_open(&e->locks, e->directory, &e->access);
    rc = open_env(e);
    rc = rc == 0 && e->access.first ? tl_embedded_reset_page(e) : rc;
    return rc == 0 && e->access.first ? tl_page_ready(&e->access) : rc;
}

int tl_store_embedded_open(struct tl_store **out, const char *directory, const struct tl_store_config *config,
                           struct tl_error *err)
{
    struct tl_embedded *e = calloc(1, sizeof *e);
    if (e == NULL)
        return tl_error_set(err, -ENOMEM, "pool %s: out of memory", directory);
    e->store.ops = &ops;
    e->config = *config;
    e->config.map_bytes = config->map_bytes != 0 ? config->map_bytes : MAP_BYTES;
    e->access.fd = e->owners.fd = e->locks.fd = -1;
    for (uint32_t i = 0; i < TL_EMBEDDED_FILES; i++)
        e->read_fds[i] = -1;
    int rc = config->create ? make_pool(directory, err) : 0;
    rc = rc == 0 ? find_directory(e, directory, err) : rc;
    rc = rc == 0 ? check_format(e, err) : rc;
    if (rc == 0) {
        rc = open_all(e);
        if (rc == -EBUSY && e->lockless)
            tl_error_set(err, rc,
                         "pool %s cannot be read: somebody writes to it, and this user may not write the locks there",
                         directory);
        else if (rc == -ESTALE)
            rc = tl_error_set(err, -ENOENT, "%s is no pool any more: it was destroyed just now", directory);
        else if (rc != 0)
            tl_error_set(err, rc, "pool %s cannot be opened: %s", directory, strerror(-rc));
    }
    if (rc != 0)
        embedded_close(&e->store);
    else
        *out = &e->store;
    return rc;
}
