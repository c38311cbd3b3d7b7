// SPDX-License-Identifier: Apache-2.0
/* One open store a pool and process, however many connections there are: LMDB allows a process no second one. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "pool/internal.h"

static pthread_mutex_t all_mutex = PTHREAD_MUTEX_INITIALIZER; /* of the list, and of opening and closing */
static struct tl_shared *all;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* A child has none of its parent's stores: it opens them anew. */
static void in_child(void)
{
    all = NULL;
    pthread_mutex_init(&all_mutex, NULL);
}

static void see_forks(void)
{
    pthread_atfork(NULL, NULL, in_child);
}

bool tl_shared_is_rados(const char *uri)
{
    return strncmp(uri, "rados:", 6) == 0;
}

/* What the store is opened by, and known by from then on: the directory that a uri names, or the uri itself. */
static int place_of(const char *uri, char *out, size_t size, struct tl_error *err)
{
    const char *path = uri, *scheme = strstr(uri, "://");
    if (scheme != NULL && strncmp(uri, "file://", 7) == 0)
        path = uri + 7;
    else if (scheme != NULL && !tl_shared_is_rados(uri))
        return tl_error_set(
            err, -EOPNOTSUPP,
            "pool %s: there is no store of this kind; use a directory, file:///path, or rados:///name?...", uri);
    if (*path == 0 || (scheme != NULL && *path != '/' && !tl_shared_is_rados(uri)))
        return tl_error_set(err, -EINVAL, "pool %s: this names no directory; use a path, or file:///path", uri);
    if (snprintf(out, size, "%s", path) >= (int)size)
        return tl_error_set(err, -ENAMETOOLONG, "pool %.64s...: its path is too long", uri);
    return 0;
}

static struct tl_shared *find(const char *path)
{
    struct stat st;
    if (!tl_shared_is_rados(path) && stat(path, &st) != 0)
        return NULL;
    for (struct tl_shared *s = all; s != NULL; s = s->next)
        if (tl_shared_is_rados(path) ? strcmp(s->path, path) == 0 : s->device == st.st_dev && s->inode == st.st_ino)
            return s;
    return NULL;
}

static int open_store(struct tl_store **out, const char *path, const struct tl_store_config *config,
                      struct tl_error *err)
{
    return tl_shared_is_rados(path) ? tl_store_rados_open(out, path, config, err)
                                    : tl_store_embedded_open(out, path, config, err);
}

int tl_shared_destroy(const char *path, struct tl_error *err)
{
    return tl_shared_is_rados(path) ? tl_store_rados_destroy(path, err) : tl_store_embedded_destroy(path, err);
}

/* By which another process, or a later connection, finds it. 0, -errno. */
static int identify(struct tl_shared *s, const char *path)
{
    struct stat st;
    if (getrandom(&s->writer, sizeof s->writer, 0) != sizeof s->writer)
        return -errno;
    if (tl_shared_is_rados(path)) {
        snprintf(s->path, sizeof s->path, "%s", path);
        return 0;
    }
    if (stat(path, &st) != 0 || realpath(path, s->path) == NULL)
        return -errno;
    s->device = st.st_dev;
    s->inode = st.st_ino;
    return 0;
}

int tl_shared_ask(struct tl_store **out, const char *uri, struct tl_error *err)
{
    const struct tl_store_config config = {.ask_only = true, .read_only = true};
    char path[4096];
    int rc = place_of(uri, path, sizeof path, err);
    if (rc == 0 && !tl_shared_is_rados(path))
        rc = tl_error_set(err, -EOPNOTSUPP, "pool %s is a directory: connect to it", uri);
    return rc == 0 ? open_store(out, path, &config, err) : rc;
}

static int open_new(struct tl_shared **out, const char *path, bool create, struct tl_error *err)
{
    struct tl_store_config config = {.create = create};
    struct tl_shared *s = calloc(1, sizeof *s);
    if (s == NULL)
        return tl_error_set(err, -ENOMEM, "pool %s: out of memory", path);
    int rc = open_store(&s->store, path, &config, err);
    if ((rc == -EROFS || rc == -EACCES) && !create) { /* then what is there can be read at least */
        config.read_only = s->read_only = true;
        rc = open_store(&s->store, path, &config, err);
    }
    if (rc == 0 && (rc = identify(s, path)) != 0)
        tl_error_set(err, rc, "pool %s: %s", path, tl_store_strerror(rc));
    if (rc != 0) {
        if (s->store != NULL)
            s->store->ops->close(s->store);
        free(s);
        return rc;
    }
    pthread_mutex_init(&s->mutex, NULL);
    s->next = all;
    all = s;
    *out = s;
    return 0;
}

int tl_shared_open(struct tl_shared **out, const char *uri, bool create, struct tl_error *err)
{
    char path[4096];
    int rc = place_of(uri, path, sizeof path, err);
    if (rc != 0)
        return rc;
    pthread_once(&once, see_forks);
    pthread_mutex_lock(&all_mutex);
    struct tl_shared *s = find(path);
    if (s != NULL && create)
        rc = tl_error_set(err, -EEXIST, "pool %s is there already; choose another place", uri);
    else if (s == NULL)
        rc = open_new(&s, path, create, err);
    if (rc == 0)
        s->refs++;
    pthread_mutex_unlock(&all_mutex);
    if (rc != 0)
        return rc;
    pthread_mutex_lock(&s->mutex);
    *out = s;
    return 0;
}

void tl_shared_release(struct tl_shared *s)
{
    pthread_mutex_unlock(&s->mutex);
    pthread_mutex_lock(&all_mutex);
    bool last = --s->refs == 0;
    for (struct tl_shared **at = &all; last && *at != NULL; at = &(*at)->next) {
        if (*at == s) {
            *at = s->next;
            break;
        }
    }
    if (last) { /* still under the lock: who opens it anew must not meet the old one */
        s->store->ops->close(s->store);
        pthread_mutex_destroy(&s->mutex);
        free(s->marks);
        free(s);
    }
    pthread_mutex_unlock(&all_mutex);
}

/* ---- marks ---- */

int tl_shared_claim(struct tl_shared *s, uint64_t mark, bool exclusive)
{
    for (unsigned i = 0; i < s->mark_count; i++) {
        if (s->marks[i].mark == mark) {
            s->marks[i].count++;
            return 0;
        }
    }
    if (s->mark_count == s->mark_room) {
        unsigned room = s->mark_room * 2 + 8;
        struct tl_mark *grown = reallocarray(s->marks, room, sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        s->marks = grown;
        s->mark_room = room;
    }
    int rc = s->store->ops->claim(s->store, mark, exclusive);
    if (rc == 0)
        s->marks[s->mark_count++] = (struct tl_mark){mark, 1};
    return rc;
}

void tl_shared_unclaim(struct tl_shared *s, uint64_t mark)
{
    for (unsigned i = 0; i < s->mark_count; i++) {
        if (s->marks[i].mark != mark)
            continue;
        if (--s->marks[i].count == 0) {
            s->store->ops->unclaim(s->store, mark);
            s->marks[i] = s->marks[--s->mark_count];
        }
        return;
    }
}
