// SPDX-License-Identifier: Apache-2.0
/* Making a tree complete: several threads take names from one walk, so that the waits for the storage overlap. */
#include <errno.h>
#include <fts.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "front/tree/control.h"
#include "front/tree/internal.h"

#define HELPERS 5u /* beside the caller's own thread */

struct whole {
    struct tl_tree *tree;
    pthread_mutex_t lock; /* of all below */
    FTS *walk;
    uint64_t files, bytes;
    int rc; /* the first error; then all stop */
    struct tl_error *err;
};

struct name {
    char path[2 * PATH_MAX];
    struct stat st;
};

/* The next file or directory. False: there is none, or somebody failed. */
static bool next_name(struct whole *w, struct name *out)
{
    pthread_mutex_lock(&w->lock);
    FTSENT *e = w->rc == 0 ? fts_read(w->walk) : NULL;
    while (e != NULL && e->fts_info != FTS_F && e->fts_info != FTS_D)
        e = fts_read(w->walk);
    if (e != NULL) {
        snprintf(out->path, sizeof out->path, "%s", e->fts_accpath);
        out->st = *e->fts_statp;
    }
    pthread_mutex_unlock(&w->lock);
    return e != NULL;
}

/* Content, then attributes. 0 or -errno. */
static int complete(struct tl_tree *t, int control, const struct name *n)
{
    int rc = 0;
    if (S_ISREG(n->st.st_mode) && (n->st.st_mode & S_IRUSR) == 0)
        rc = tl_fill_file(t, control, n->path, &n->st);
    struct stat st;
    if (rc == 0 && control >= 0)
        rc = lstat(n->path, &st) == 0 ? 0 : -errno;
    if (rc == 0 && control >= 0 && (st.st_mode & S_IRUSR) != 0)
        rc = tl_blob_copy_xattrs(control, n->path + strlen(t->prefix), n->path, st.st_mode);
    return rc;
}

static void account(struct whole *w, const struct name *n, int rc)
{
    bool file = S_ISREG(n->st.st_mode);
    pthread_mutex_lock(&w->lock);
    w->files += file;
    w->bytes += file ? (uint64_t)n->st.st_size : 0;
    if (rc != 0 && w->rc == 0)
        w->rc = tl_error_set(w->err, rc, "cannot keep %s in shared memory: %s%s", n->path + strlen(w->tree->prefix),
                             strerror(-rc),
                             rc == -ENOSPC   ? "; make room (df /dev/shm, tiercel cache), or name a smaller folder"
                             : rc == -ESTALE ? "; it has changed at the source: try again"
                                             : "; see the daemon's log");
    pthread_mutex_unlock(&w->lock);
}

/* Over a connection of its own. told: as of tl_tree_fill; NULL in all threads but the caller's. */
static void work(struct whole *w, int control, void (*told)(void *ctx, uint64_t files, uint64_t bytes), void *ctx)
{
    struct name n;
    while (next_name(w, &n)) {
        account(w, &n, complete(w->tree, control, &n));
        if (told == NULL)
            continue;
        pthread_mutex_lock(&w->lock);
        uint64_t files = w->files, bytes = w->bytes;
        pthread_mutex_unlock(&w->lock);
        told(ctx, files, bytes);
    }
}

static void *help(void *arg)
{
    struct whole *w = arg;
    struct tl_error ignored;
    int control = tl_control_connect(w->tree->socket, &ignored);
    if (control < 0)
        return NULL; /* the others do it */
    work(w, control, NULL, NULL);
    close(control);
    return NULL;
}

static void work_together(struct whole *w, int control, void (*told)(void *ctx, uint64_t files, uint64_t bytes),
                          void *ctx)
{
    pthread_t helpers[HELPERS];
    unsigned count = 0;
    while (control >= 0 && count < HELPERS && pthread_create(&helpers[count], NULL, help, w) == 0)
        count++;
    work(w, control, told, ctx);
    while (count > 0)
        pthread_join(helpers[--count], NULL);
}

/* All at once, before anything is brought in vain. */
static int ask_room(struct tl_tree *t, int control, struct tl_error *err)
{
    const struct tl_tree_view *view = tl_tree_look(t);
    if (view == NULL)
        return 0; /* it is gone: filling it will say so */
    uint64_t all = tl_index_bytes_all(view->index), there = atomic_load(&view->index->filled);
    return all > there ? tl_fill_room(control, all - there, err) : 0;
}

int tl_tree_fill(struct tl_tree *t, void (*told)(void *ctx, uint64_t files, uint64_t bytes), void *ctx,
                 struct tl_error *err)
{
    struct whole w = {.tree = t, .lock = PTHREAD_MUTEX_INITIALIZER, .err = err};
    char *const paths[] = {t->path, NULL};
    int control = t->socket[0] != '\0' ? tl_control_connect(t->socket, err) : -1;
    if (t->socket[0] != '\0' && control < 0)
        return control;
    w.rc = control >= 0 ? ask_room(t, control, err) : 0;
    w.walk = w.rc == 0 ? fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL) : NULL;
    if (w.rc == 0 && w.walk == NULL)
        w.rc = tl_error_set(err, -errno, "cannot walk through %s: %s", t->path, strerror(errno));
    if (w.rc == 0)
        work_together(&w, control, told, ctx);
    if (w.rc == 0 && told != NULL)
        told(ctx, w.files, w.bytes);
    if (w.walk != NULL)
        fts_close(w.walk);
    if (control >= 0)
        close(control);
    struct tl_tree_view *view = w.rc == 0 ? tl_tree_look(t) : NULL;
    if (view != NULL) {
        atomic_store(&view->index->left, 0); /* who was killed between a file and its count made it too large */
        atomic_store(&view->index->filled, tl_index_bytes_all(view->index));
        atomic_store(&view->index->attributes, 1);
    }
    return w.rc;
}
