// SPDX-License-Identifier: Apache-2.0
#include "lab/busyfs_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/hash.h"

enum { BUCKETS = 1 << 16 };

static struct busy_node *node_new(struct busy_node *parent, const char *name, mode_t type, bool missing)
{
    struct busy_node *n = calloc(1, sizeof(*n));
    char *copy = strdup(name);
    if (n == NULL || copy == NULL) {
        free(n);
        free(copy);
        return NULL;
    }
    n->parent = parent;
    n->name = copy;
    n->type = type;
    n->missing = missing;
    return n;
}

int busy_tree_init(struct busy_tree *t, const char *source)
{
    memset(t, 0, sizeof(*t));
    pthread_mutex_init(&t->lock, NULL);
    t->epoch = 1;
    t->bucket_count = BUCKETS;
    t->source_fd = open(source, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (t->source_fd < 0)
        return -errno;
    t->buckets = calloc(BUCKETS, sizeof(*t->buckets));
    t->root = node_new(NULL, "", S_IFDIR, false);
    if (t->buckets == NULL || t->root == NULL)
        return -ENOMEM;
    t->all = t->root;
    t->count = 1;
    return 0;
}

struct busy_node *busy_tree_child(struct busy_tree *t, struct busy_node *parent, const char *name, mode_t type,
                                  bool missing)
{
    check(parent != NULL && name[0] != '\0');
    uint64_t slot = tl_hash64(name, strlen(name), (uint64_t)(uintptr_t)parent) % t->bucket_count;
    pthread_mutex_lock(&t->lock);
    struct busy_node *n = t->buckets[slot];
    while (n != NULL &&
           !(n->parent == parent && n->type == type && n->missing == missing && strcmp(n->name, name) == 0))
        n = n->chain;
    if (n == NULL && (n = node_new(parent, name, type, missing)) != NULL) {
        n->chain = t->buckets[slot];
        t->buckets[slot] = n;
        n->next = t->all;
        t->all = n;
        t->count++;
    }
    pthread_mutex_unlock(&t->lock);
    return n;
}

struct busy_node *busy_tree_find(struct busy_tree *t, const char *path)
{
    char copy[PATH_MAX], *save = NULL;
    struct busy_node *n = t->root;
    if (strlen(path) >= sizeof(copy))
        return NULL;
    strcpy(copy, path);
    for (char *name = strtok_r(copy, "/", &save); name != NULL && n != NULL; name = strtok_r(NULL, "/", &save)) {
        char rel[PATH_MAX];
        struct stat st;
        struct busy_node *parent = n;
        struct busy_node probe = {.parent = parent, .name = name};
        n = NULL;
        if (busy_tree_path(&probe, rel, sizeof(rel)) == 0 && fstatat(t->source_fd, rel, &st, AT_SYMLINK_NOFOLLOW) == 0)
            n = busy_tree_child(t, parent, name, st.st_mode & S_IFMT, false);
    }
    return n;
}

int busy_tree_path(const struct busy_node *n, char *out, size_t size)
{
    size_t at = size - 1;
    out[at] = '\0';
    for (; n->parent != NULL; n = n->parent) {
        size_t len = strlen(n->name);
        if (len + 1 > at)
            return -ENAMETOOLONG;
        if (out[at] != '\0')
            out[--at] = '/';
        at -= len;
        memcpy(out + at, n->name, len);
    }
    if (out[at] == '\0')
        out[--at] = '.';
    memmove(out, out + at, size - at);
    return 0;
}

int busy_tree_stat(struct busy_tree *t, struct busy_node *n, struct stat *st)
{
    char path[PATH_MAX];
    int rc = busy_tree_path(n, path, sizeof(path));
    if (rc != 0)
        return rc;
    if (fstatat(t->source_fd, path, st, AT_SYMLINK_NOFOLLOW) != 0)
        return -errno;
    pthread_mutex_lock(&t->lock);
    st->st_mtim.tv_sec += n->generation;
    st->st_ctim.tv_sec += n->generation;
    pthread_mutex_unlock(&t->lock);
    return 0;
}

/* Empties what belongs to an earlier reset. Locked. */
static void refresh(struct busy_tree *t, struct busy_node *n)
{
    if (n->epoch == t->epoch)
        return;
    n->epoch = t->epoch;
    n->opened = n->listed = n->linked = n->looked_up = false;
    if (n->pages != NULL)
        memset(n->pages, 0, n->pages_len);
}

static void touch_flag(bool *flag, uint64_t *counter)
{
    *counter += *flag ? 0 : 1;
    *flag = true;
}

void busy_tree_touch(struct busy_tree *t, struct busy_node *n, enum busy_touch what)
{
    pthread_mutex_lock(&t->lock);
    refresh(t, n);
    switch (what) {
    case BUSY_TOUCH_NAME: touch_flag(&n->looked_up, &t->distinct.names); break;
    case BUSY_TOUCH_MISSING: touch_flag(&n->looked_up, &t->distinct.missing); break;
    case BUSY_TOUCH_OPEN: touch_flag(&n->opened, &t->distinct.files_opened); break;
    case BUSY_TOUCH_LIST: touch_flag(&n->listed, &t->distinct.directories); break;
    case BUSY_TOUCH_LINK: touch_flag(&n->linked, &t->distinct.links); break;
    }
    pthread_mutex_unlock(&t->lock);
}

/* A bit map that reaches to page `last`; false: no memory (the read is then not counted as distinct). Locked. */
static bool pages_reach(struct busy_node *n, uint64_t last)
{
    uint64_t need = last / 8 + 1;
    if (need <= n->pages_len)
        return true;
    uint64_t len = need + need / 2 + 64;
    uint8_t *grown = realloc(n->pages, len);
    if (grown == NULL)
        return false;
    memset(grown + n->pages_len, 0, len - n->pages_len);
    n->pages = grown;
    n->pages_len = len;
    return true;
}

/* True when no page of this chunk was read before. Locked; the map reaches over the chunk's pages that exist. */
static bool chunk_is_new(const struct busy_node *n, uint64_t chunk)
{
    uint64_t first = chunk * (BUSY_CHUNK_SIZE / BUSY_PAGE_SIZE) / 8;
    for (uint64_t i = first; i < first + BUSY_CHUNK_SIZE / BUSY_PAGE_SIZE / 8 && i < n->pages_len; i++)
        if (n->pages[i] != 0)
            return false;
    return true;
}

void busy_tree_touch_read(struct busy_tree *t, struct busy_node *n, uint64_t offset, uint64_t len)
{
    if (len == 0)
        return;
    uint64_t end = offset + len;
    pthread_mutex_lock(&t->lock);
    refresh(t, n);
    if (pages_reach(n, (end - 1) / BUSY_PAGE_SIZE)) {
        for (uint64_t chunk = offset / BUSY_CHUNK_SIZE; chunk <= (end - 1) / BUSY_CHUNK_SIZE; chunk++)
            t->distinct.chunks += chunk_is_new(n, chunk) ? 1 : 0;
        for (uint64_t page = offset / BUSY_PAGE_SIZE; page <= (end - 1) / BUSY_PAGE_SIZE; page++) {
            uint8_t bit = (uint8_t)(1u << (page % 8));
            if ((n->pages[page / 8] & bit) != 0)
                continue;
            uint64_t start = page * BUSY_PAGE_SIZE;
            t->distinct.bytes += end - start < BUSY_PAGE_SIZE ? end - start : BUSY_PAGE_SIZE;
            n->pages[page / 8] |= bit;
        }
    }
    pthread_mutex_unlock(&t->lock);
}

void busy_tree_known(struct busy_tree *t, struct busy_node *n, uint32_t mount)
{
    pthread_mutex_lock(&t->lock);
    n->known_by |= 1ull << mount;
    pthread_mutex_unlock(&t->lock);
}

bool busy_tree_unchanged(struct busy_tree *t, struct busy_node *n, uint32_t mount, const struct stat *st)
{
    const uint64_t parts[] = {(uint64_t)st->st_mtim.tv_sec, (uint64_t)st->st_mtim.tv_nsec,
                              (uint64_t)st->st_ctim.tv_sec, (uint64_t)st->st_ctim.tv_nsec,
                              (uint64_t)st->st_size,        st->st_ino};
    uint64_t signature = tl_hash64(parts, sizeof(parts), 0) | 1;
    pthread_mutex_lock(&t->lock);
    bool same = n->seen[mount] == signature || n->seen[mount] == 0;
    n->seen[mount] = signature;
    pthread_mutex_unlock(&t->lock);
    return same;
}

int busy_tree_fault(struct busy_tree *t, struct busy_fault *f)
{
    int error = 0;
    pthread_mutex_lock(&t->lock);
    if (f->error != 0 && f->after > 0) {
        f->after--;
    } else if (f->error != 0) {
        error = f->error;
        if (f->count > 0 && --f->count == 0)
            f->error = 0;
    }
    pthread_mutex_unlock(&t->lock);
    return error;
}

bool busy_tree_change(struct busy_tree *t, struct busy_node *n)
{
    pthread_mutex_lock(&t->lock);
    bool now = n->change_after > 0 && --n->change_after == 0;
    if (now)
        n->generation++;
    pthread_mutex_unlock(&t->lock);
    return now;
}

void busy_tree_reset(struct busy_tree *t)
{
    pthread_mutex_lock(&t->lock);
    t->epoch++;
    memset(&t->distinct, 0, sizeof(t->distinct));
    pthread_mutex_unlock(&t->lock);
}
