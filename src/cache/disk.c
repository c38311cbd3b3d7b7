// SPDX-License-Identifier: Apache-2.0
/* Values in a directory of a local disk: DIR/ab/KEY, a head and then label and bytes.
 *
 * A file is written under another name, and renamed when it is whole; what is left under such names is removed at the next start.
 * The head has a digest of itself, and the bytes' digest is checked at each read, so that a file which the disk or somebody has
 * altered is a miss. No fsync: after a crash of the machine such files fail their check.
 *
 * A table in memory knows each key's size, and S3-FIFO which one goes. It is filled by looking through the directory at the start. */
#include "cache/backend.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/evict.h"

#define MAGIC        0x31454c4946564c54ull
#define LIMIT_LEAST  (1ull << 20)
#define FILE_COST    4096u /* of an inode and its directory's entry, beside the bytes */
#define ENTRIES_MOST (1u << 20)
#define NONE         UINT32_MAX
#define NAME_SIZE    48u

struct file_head {
    uint64_t magic;
    struct tl_hash key, digest;
    uint64_t size;
    uint32_t class, label_len;
    uint64_t check; /* of all before it */
};

struct known {
    struct tl_hash key;
    uint64_t size; /* of the file */
    uint32_t next; /* in its bucket, or free */
    bool used;
};

struct disk {
    struct tl_backend base;
    int dir;
    struct known *known;
    uint32_t entries, fresh, free;
    uint32_t *buckets; /* heads; as many as entries */
    struct tl_evict *evict;
    uint32_t temporary; /* names of files that are being written */
    struct tl_backend_stats stats;
};

/* ---- the table ---- */

static uint32_t *bucket_of(const struct disk *d, struct tl_hash key)
{
    return &d->buckets[(key.hi ^ key.lo * 0x9e3779b97f4a7c15ull) % d->entries];
}

static uint32_t find(const struct disk *d, struct tl_hash key)
{
    uint32_t i = *bucket_of(d, key);
    while (i != NONE && !tl_hash_equal(d->known[i].key, key))
        i = d->known[i].next;
    return i;
}

static uint64_t cost(uint64_t size)
{
    return (size + FILE_COST - 1) / FILE_COST * FILE_COST + FILE_COST;
}

static bool add(struct disk *d, struct tl_hash key, uint64_t size)
{
    uint32_t i = d->free != NONE ? d->free : d->fresh, *bucket = bucket_of(d, key);
    if (i == d->entries)
        return false;
    if (i == d->free)
        d->free = d->known[i].next;
    else
        d->fresh++;
    d->known[i] = (struct known){.key = key, .size = size, .next = *bucket, .used = true};
    *bucket = i;
    tl_evict_insert(d->evict, 0, i, (uint32_t)(cost(size) / FILE_COST), key.lo ^ key.hi);
    d->stats.used_bytes += cost(size);
    d->stats.values++;
    return true;
}

static void forget(struct disk *d, uint32_t i)
{
    uint32_t *link = bucket_of(d, d->known[i].key);
    while (*link != i)
        link = &d->known[*link].next;
    *link = d->known[i].next;
    tl_evict_remove(d->evict, i);
    d->stats.used_bytes -= cost(d->known[i].size);
    d->stats.values--;
    d->known[i].used = false;
    d->known[i].next = d->free;
    d->free = i;
}

/* ---- files ---- */

static void name_of(struct tl_hash key, char out[NAME_SIZE])
{
    snprintf(out, NAME_SIZE, "%02x/%016llx%016llx", (unsigned)(key.hi >> 56), (unsigned long long)key.hi,
             (unsigned long long)key.lo);
}

static bool key_of(const char *name, struct tl_hash *out)
{
    char half[17] = {0};
    if (strlen(name) != 32 || strspn(name, "0123456789abcdef") != 32)
        return false;
    memcpy(half, name, 16);
    out->hi = strtoull(half, NULL, 16);
    out->lo = strtoull(name + 16, NULL, 16);
    return true;
}

static void remove_file(struct disk *d, uint32_t i)
{
    char name[NAME_SIZE];
    name_of(d->known[i].key, name);
    (void)unlinkat(d->dir, name, 0); /* gone already is as good */
    forget(d, i);
}

/* All of the pieces. 0, -errno. */
static int write_all(int fd, struct iovec *iov, int count)
{
    while (count > 0) {
        ssize_t n = writev(fd, iov, count);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        for (; count > 0 && (size_t)n >= iov->iov_len; iov++, count--)
            n -= (ssize_t)iov->iov_len;
        if (count > 0) {
            iov->iov_base = (uint8_t *)iov->iov_base + n;
            iov->iov_len -= (size_t)n;
        }
    }
    return 0;
}

static int read_all(int fd, void *to, uint64_t len, uint64_t at)
{
    for (uint64_t done = 0; done < len;) {
        ssize_t n = pread(fd, (uint8_t *)to + done, len - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EBADMSG;
        done += (uint64_t)n;
    }
    return 0;
}

static uint64_t check_of(const struct file_head *h)
{
    return tl_hash64(h, offsetof(struct file_head, check), MAGIC);
}

static int read_head(int fd, struct tl_hash key, struct file_head *h, struct tl_stored *out)
{
    struct tl_stored s = {.key = key};
    int rc = read_all(fd, h, sizeof *h, 0);
    if (rc != 0)
        return rc;
    if (h->magic != MAGIC || h->check != check_of(h) || !tl_hash_equal(h->key, key) || h->class > TL_VALUE_PINNED ||
        h->label_len >= sizeof s.label)
        return -EBADMSG;
    s.digest = h->digest;
    s.size = h->size;
    s.class = (enum tl_value_class)h->class;
    rc = read_all(fd, s.label, h->label_len, sizeof *h);
    if (rc == 0)
        *out = s;
    return rc;
}

/* The entry's file and head; what is not as it should be is dropped. Its descriptor, -ENOENT, -EBADMSG. */
static int open_value(struct disk *d, struct tl_hash key, struct file_head *h, struct tl_stored *out)
{
    char name[NAME_SIZE];
    uint32_t i = find(d, key);
    if (i == NONE)
        return -ENOENT;
    name_of(key, name);
    int fd = openat(d->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int rc = fd < 0 ? -errno : read_head(fd, key, h, out);
    if (rc == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    d->stats.damaged += rc == -EBADMSG;
    remove_file(d, i);
    return rc == -EBADMSG ? rc : -ENOENT;
}

/* ---- what a back end does ---- */

static int make_room(struct disk *d, uint64_t bytes)
{
    if (bytes > d->stats.limit_bytes)
        return -EFBIG;
    while (d->stats.used_bytes + bytes > d->stats.limit_bytes || (d->free == NONE && d->fresh == d->entries)) {
        uint32_t victim = tl_evict_victim(d->evict, 0);
        if (victim == TL_EVICT_NONE)
            return -ENOSPC;
        d->stats.evictions++;
        remove_file(d, victim);
    }
    return 0;
}

static int write_file(struct disk *d, const char *name, const struct tl_stored *what, const void *bytes)
{
    char temporary[NAME_SIZE], folder[3] = {name[0], name[1], 0};
    size_t label_len = strnlen(what->label, sizeof what->label - 1);
    struct file_head h = {.magic = MAGIC,
                          .key = what->key,
                          .digest = what->digest,
                          .size = what->size,
                          .class = (uint32_t)what->class,
                          .label_len = (uint32_t)label_len};
    h.check = check_of(&h);
    struct iovec iov[] = {{.iov_base = &h, .iov_len = sizeof h},
                          {.iov_base = (void *)(uintptr_t)what->label, .iov_len = label_len},
                          {.iov_base = (void *)(uintptr_t)bytes, .iov_len = what->size}};
    snprintf(temporary, sizeof temporary, "tmp-%u", d->temporary++);
    if (mkdirat(d->dir, folder, 0700) != 0 && errno != EEXIST)
        return -errno;
    int fd = openat(d->dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    int rc = write_all(fd, iov, 3);
    if (close(fd) != 0 && rc == 0)
        rc = -errno;
    if (rc == 0 && renameat(d->dir, temporary, d->dir, name) != 0)
        rc = -errno;
    if (rc != 0)
        (void)unlinkat(d->dir, temporary, 0);
    return rc;
}

static int put(struct tl_backend *b, const struct tl_stored *what, const void *bytes)
{
    struct disk *d = (struct disk *)b;
    char name[NAME_SIZE];
    uint64_t size = sizeof(struct file_head) + strnlen(what->label, sizeof what->label - 1) + what->size;
    if (!tl_hash_equal(tl_hash_bytes(what->size > 0 ? bytes : "", what->size, 0), what->digest))
        return -EBADMSG;
    uint32_t old = find(d, what->key);
    if (old != NONE)
        remove_file(d, old);
    int rc = make_room(d, cost(size));
    name_of(what->key, name);
    if (rc == 0)
        rc = write_file(d, name, what, bytes);
    if (rc != 0)
        return rc;
    check(add(d, what->key, size)); /* make_room left an entry */
    d->stats.puts++;
    return 0;
}

static int look(struct tl_backend *b, struct tl_hash key, struct tl_stored *out)
{
    struct file_head h;
    int fd = open_value((struct disk *)b, key, &h, out);
    if (fd >= 0)
        close(fd);
    return fd >= 0 ? 0 : -ENOENT;
}

static int get(struct tl_backend *b, struct tl_hash key, struct tl_stored *out, void *bytes, uint64_t room)
{
    struct disk *d = (struct disk *)b;
    struct file_head h;
    struct tl_stored s;
    int fd = open_value(d, key, &h, &s);
    d->stats.gets++;
    d->stats.misses += fd < 0;
    if (fd < 0)
        return fd;
    int rc = s.size > room ? -ENOBUFS : read_all(fd, bytes, s.size, sizeof h + h.label_len);
    close(fd);
    if (rc == 0 && !tl_hash_equal(tl_hash_bytes(s.size > 0 ? bytes : "", s.size, 0), s.digest))
        rc = -EBADMSG;
    uint32_t i = find(d, key);
    if (rc == 0) {
        tl_evict_touch(d->evict, i);
        *out = s;
    } else if (rc != -ENOBUFS) {
        d->stats.damaged += rc == -EBADMSG;
        remove_file(d, i);
    }
    return rc;
}

static int drop(struct tl_backend *b, struct tl_hash key)
{
    struct disk *d = (struct disk *)b;
    uint32_t i = find(d, key);
    if (i == NONE)
        return -ENOENT;
    remove_file(d, i);
    return 0;
}

static void each(struct tl_backend *b, bool (*fn)(void *ctx, const struct tl_stored *what), void *ctx)
{
    struct disk *d = (struct disk *)b;
    bool more = true;
    for (uint32_t i = 0; i < d->fresh && more; i++) {
        struct file_head h;
        struct tl_stored s;
        int fd = d->known[i].used ? open_value(d, d->known[i].key, &h, &s) : -1;
        if (fd < 0)
            continue;
        close(fd);
        more = fn(ctx, &s);
    }
}

static void stats(struct tl_backend *b, struct tl_backend_stats *out)
{
    *out = ((struct disk *)b)->stats;
}

static void close_disk(struct tl_backend *b)
{
    struct disk *d = (struct disk *)b;
    if (d->dir >= 0)
        close(d->dir);
    tl_evict_free(d->evict);
    free(d->known);
    free(d->buckets);
    free(d);
}

/* ---- opening ---- */

static int open_dir(struct disk *d, int at, const char *path, struct tl_error *err)
{
    struct stat st;
    d->dir = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (d->dir < 0)
        return tl_error_set(err, -errno, "cache directory %s: %s; it must be a directory of yours, not a link", path,
                            strerror(errno));
    if (fstat(d->dir, &st) != 0)
        return tl_error_set(err, -errno, "cache directory %s: %s", path, strerror(errno));
    if (st.st_uid != geteuid())
        return tl_error_set(err, -EPERM,
                            "cache directory %s: belongs to user %u, not to you (%u); name one of your own", path,
                            (unsigned)st.st_uid, (unsigned)geteuid());
    if ((st.st_mode & 077) != 0)
        return tl_error_set(err, -EPERM, "cache directory %s: open to other users (mode %04o); run `chmod 700 %s`",
                            path, (unsigned)st.st_mode & 07777, path);
    return 0;
}

static int open_below(struct disk *d, const char *path, const char *below, struct tl_error *err)
{
    int rc = open_dir(d, AT_FDCWD, path, err), above = d->dir;
    if (rc != 0 || below == NULL)
        return rc;
    rc = mkdirat(above, below, 0700) == 0 || errno == EEXIST ? 0 : -errno;
    d->dir = -1;
    rc = rc == 0 ? open_dir(d, above, below, err)
                 : tl_error_set(err, rc, "cache directory %s/%s: %s", path, below, strerror(-rc));
    close(above);
    return rc;
}

/* The files of one folder. Those that cannot be values are left alone. */
static void look_through(struct disk *d, const char *folder)
{
    int fd = openat(d->dir, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        struct tl_hash key;
        struct stat st;
        char name[NAME_SIZE];
        if (!key_of(e->d_name, &key) || fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
            continue;
        name_of(key, name);
        if (strncmp(name, folder, 2) == 0 && find(d, key) == NONE && make_room(d, cost((uint64_t)st.st_size)) == 0)
            (void)add(d, key, (uint64_t)st.st_size);
        else
            (void)unlinkat(fd, e->d_name, 0); /* in no place for it, or beyond the limit */
    }
    closedir(dir);
}

static int take_stock(struct disk *d)
{
    int fd = openat(d->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        int rc = -errno;
        if (fd >= 0)
            close(fd);
        return rc;
    }
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        if (strncmp(e->d_name, "tmp-", 4) == 0)
            (void)unlinkat(d->dir, e->d_name, 0);
        else if (strlen(e->d_name) == 2 && strspn(e->d_name, "0123456789abcdef") == 2)
            look_through(d, e->d_name);
    }
    closedir(dir);
    return 0;
}

int tl_backend_disk(struct tl_backend **out, const char *path, const char *below, uint64_t limit_bytes,
                    struct tl_error *err)
{
    static const struct tl_backend_ops ops = {.name = "disk",
                                              .put = put,
                                              .look = look,
                                              .get = get,
                                              .drop = drop,
                                              .each = each,
                                              .stats = stats,
                                              .close = close_disk};
    if (limit_bytes < LIMIT_LEAST)
        return tl_error_set(err, -EINVAL,
                            "a limit of %llu bytes for the cache directory is too small: choose 1 MiB or more",
                            (unsigned long long)limit_bytes);
    struct disk *d = calloc(1, sizeof *d);
    if (d == NULL)
        return tl_error_set(err, -ENOMEM, "out of memory");
    d->base.ops = &ops;
    d->dir = -1;
    d->free = NONE;
    d->stats.limit_bytes = limit_bytes;
    d->entries = limit_bytes / FILE_COST / 2 < ENTRIES_MOST ? (uint32_t)(limit_bytes / FILE_COST / 2) : ENTRIES_MOST;
    d->known = calloc(d->entries, sizeof *d->known);
    d->buckets = malloc(d->entries * sizeof *d->buckets);
    int rc = d->known == NULL || d->buckets == NULL ? -ENOMEM : tl_evict_new(&d->evict, d->entries, 1, NULL);
    if (rc != 0)
        (void)tl_error_set(err, rc, "out of memory for the table of the cache directory");
    for (uint32_t i = 0; rc == 0 && i < d->entries; i++)
        d->buckets[i] = NONE;
    if (rc == 0)
        rc = open_below(d, path, below, err);
    if (rc == 0) {
        rc = take_stock(d);
        if (rc != 0)
            (void)tl_error_set(err, rc, "cache directory %s: %s", path, strerror(-rc));
    }
    if (rc != 0) {
        close_disk(&d->base);
        return rc;
    }
    *out = &d->base;
    return 0;
}
