// SPDX-License-Identifier: Apache-2.0
/* Opening, making anew and removing trees; see tree.h and internal.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "front/tree/control.h"
#include "front/tree/internal.h"

#define PING_TIMEOUT_MS 30000u

/* ---- the view ---- */

static struct tl_tree_view *view_new(const char *dir, const char *source, int *rc)
{
    struct tl_tree_view *v = calloc(1, sizeof *v);
    *rc = v == NULL ? -ENOMEM : tl_index_map(dir, &v->index);
    if (*rc == 0 && strcmp(v->index->source, source) != 0)
        *rc = -EBADMSG; /* another path with the same hash */
    if (*rc == 0)
        return v;
    if (v != NULL)
        tl_index_unmap(v->index);
    free(v);
    return NULL;
}

struct tl_tree_view *tl_tree_look(struct tl_tree *t)
{
    struct tl_tree_view *v = atomic_load(&t->view);
    int rc;
    if (atomic_load(&v->index->gone) == 0)
        return v;
    struct tl_tree_view *newer = view_new(t->dir, t->source, &rc);
    if (newer == NULL)
        return NULL;
    newer->older = v;
    if (atomic_compare_exchange_strong(&t->view, &v, newer))
        return newer;
    tl_index_unmap(newer->index); /* another thread was first */
    free(newer);
    return v;
}

/* ---- making it, under the tier's lock ---- */

/* A number that is another one when the tier may see another source: another daemon, a flush, a file that was found changed. */
static int ask_changes(int control, uint64_t *out, struct tl_error *err)
{
    static const char *const args[] = {"ping", NULL};
    char answer[PATH_MAX + 512];
    int rc = tl_control_ask(control, args, -1, PING_TIMEOUT_MS, answer, sizeof answer, err);
    if (rc == 0)
        *out = tl_control_number(answer, "changes");
    return rc;
}

/* Whether the tree shows what the tier sees of the source now. 1, 0, or -errno with a sentence. */
static int is_current(const struct tl_tree *t, struct tl_index_head *index, int control, uint64_t changes,
                      struct tl_error *err)
{
    uint64_t names;
    if (atomic_load(&index->stale) != 0)
        return 0;
    if (changes != 0 && atomic_load(&index->seen) == changes)
        return 1;
    int rc = tl_skeleton_names(control, t->source, &names, err);
    if (rc != 0 || names != index->names)
        return rc;
    atomic_store(&index->seen, changes);
    return 1;
}

static void mark_gone(const char *dir)
{
    struct tl_index_head *index;
    if (tl_index_map(dir, &index) != 0)
        return;
    atomic_store(&index->gone, 1);
    tl_index_unmap(index);
}

int tl_tree_exchange(const struct tl_place *p, const char *beside, struct tl_error *err)
{
    if (rename(beside, p->dir) == 0) /* nothing was there */
        return 0;
    int rc = 0;
    if (renameat2(AT_FDCWD, beside, AT_FDCWD, p->dir, RENAME_EXCHANGE) != 0)
        rc = tl_error_set(err, -errno, "cannot put %s in its place: %s", beside, strerror(errno));
    else
        mark_gone(beside);
    tl_place_erase(beside);
    return rc;
}

/* Makes the skeleton beside, and puts it in the place of what is there. */
static int make_anew(const struct tl_place *p, const char *source, int control, struct tl_error *err)
{
    char beside[PATH_MAX];
    snprintf(beside, sizeof beside, "%s/new-%d", p->tier_dir, (int)getpid());
    tl_place_tidy(p);
    if (mkdir(beside, 0700) != 0)
        return tl_error_set(err, -errno, "cannot make %s: %s", beside, strerror(errno));
    int rc = tl_skeleton_make(control, source, beside, err);
    if (rc == 0)
        return tl_tree_exchange(p, beside, err);
    tl_place_erase(beside);
    return rc;
}

static bool is_complete(const struct tl_index_head *index)
{
    return atomic_load(&index->left) <= 0 && atomic_load(&index->attributes) != 0;
}

static struct tl_tree_view *drop(struct tl_tree_view *v)
{
    tl_index_unmap(v->index);
    free(v);
    return NULL;
}

/* Uses what is there, or makes it if that is wanted. control: -1 if there is no daemon. */
static int prepare(struct tl_tree *t, const struct tl_place *p, int control, bool make, struct tl_error *err)
{
    uint64_t changes = 0;
    int rc;
    struct tl_tree_view *v = view_new(p->dir, t->source, &rc);
    if (v != NULL && v->index->names == TL_INDEX_IMPORTED)
        control = -1; /* it is what it is, wherever the source may be */
    if (v != NULL && !make && !is_complete(v->index))
        v = drop(v);
    rc = control >= 0 && (v != NULL || make) ? ask_changes(control, &changes, err) : 0;
    int current = rc == 0 && v != NULL && control >= 0 ? is_current(t, v->index, control, changes, err) : 1;
    rc = current < 0 ? current : rc;
    if (v != NULL && (rc != 0 || current == 0))
        v = drop(v);
    if (rc != 0)
        return rc;
    if (v == NULL && !make)
        return tl_error_set(err, -ENOENT,
                            "%s is not complete in shared memory, or has changed since; make it so with: tiercel tree "
                            "fill %s",
                            t->source, t->source);
    if (v == NULL) {
        rc = make_anew(p, t->source, control, err);
        if (rc != 0)
            return rc;
        v = view_new(p->dir, t->source, &rc);
        if (v == NULL)
            return tl_error_set(err, rc, "cannot use the tree of %s in %s: %s", t->source, p->dir, strerror(-rc));
        atomic_store(&v->index->seen, changes);
    }
    atomic_store(&t->view, v);
    return 0;
}

static int set_names(struct tl_tree *t, const struct tl_place *p, const char *socket, const char *source,
                     struct tl_error *err)
{
    if (source[0] != '/' || strcmp(source, "/") == 0 || strlen(source) >= PATH_MAX / 2 ||
        (socket != NULL && strlen(socket) >= sizeof t->socket))
        return tl_error_set(err, -EINVAL,
                            "%s cannot be kept in shared memory: not an absolute path below /, or too long", source);
    snprintf(t->socket, sizeof t->socket, "%s", socket != NULL ? socket : "");
    snprintf(t->source, sizeof t->source, "%s", source);
    snprintf(t->dir, sizeof t->dir, "%s", p->dir);
    snprintf(t->prefix, sizeof t->prefix, "%s/root", p->dir);
    snprintf(t->path, sizeof t->path, "%s%s", t->prefix, source);
    return 0;
}

static int open_or_find(struct tl_tree **out, const char *socket, const char *source, bool make, struct tl_error *err)
{
    struct tl_place p;
    struct tl_tree *t = calloc(1, sizeof *t);
    if (t == NULL)
        return tl_error_set(err, -ENOMEM, "out of memory");
    int control = -1, lock = -1;
    int rc = tl_place_find(&p, socket, source, make, err);
    if (rc == 0)
        rc = set_names(t, &p, socket, source, err);
    if (rc == 0 && socket != NULL)
        rc = (control = tl_control_connect(socket, err)) < 0 ? control : 0;
    if (rc == 0)
        rc = (lock = tl_place_lock(&p, err)) < 0 ? lock : 0;
    if (rc == 0)
        rc = prepare(t, &p, control, make, err);
    if (lock >= 0)
        close(lock);
    if (control >= 0)
        close(control);
    if (rc != 0)
        free(t);
    else
        *out = t;
    return rc;
}

int tl_tree_open(struct tl_tree **out, const char *socket, const char *source, struct tl_error *err)
{
    return open_or_find(out, socket, source, socket != NULL, err);
}

int tl_tree_find(struct tl_tree **out, const char *socket, const char *source, struct tl_error *err)
{
    return open_or_find(out, socket, source, false, err);
}

void tl_tree_close(struct tl_tree *t)
{
    if (t == NULL)
        return;
    for (struct tl_tree_view *v = atomic_load(&t->view); v != NULL;) {
        struct tl_tree_view *older = v->older;
        tl_index_unmap(v->index);
        free(v);
        v = older;
    }
    free(t);
}

int tl_tree_remove(const char *source, struct tl_error *err)
{
    struct tl_place p;
    char beside[PATH_MAX];
    int rc = tl_place_find(&p, NULL, source, false, err);
    int lock = rc == 0 ? tl_place_lock(&p, err) : rc;
    if (lock < 0)
        return lock;
    snprintf(beside, sizeof beside, "%s/new-%d", p.tier_dir, (int)getpid());
    tl_place_tidy(&p);
    mark_gone(p.dir);
    if (rename(p.dir, beside) == 0)
        tl_place_erase(beside);
    else if (errno == ENOENT)
        rc = tl_error_set(err, -ENOENT, "there is no tree of %s in %s", source, p.tier_dir);
    else
        rc = tl_error_set(err, -errno, "cannot remove the tree of %s in %s: %s", source, p.tier_dir, strerror(errno));
    close(lock);
    return rc;
}

/* ---- using it ---- */

const char *tl_tree_prefix(const struct tl_tree *t)
{
    return t->prefix;
}

const char *tl_tree_path(const struct tl_tree *t)
{
    return t->path;
}

bool tl_tree_is_complete(const struct tl_tree *t)
{
    const struct tl_index_head *index = atomic_load(&t->view)->index;
    return atomic_load(&index->gone) == 0 && is_complete(index);
}

bool tl_tree_is_current(const struct tl_tree *t)
{
    return atomic_load(&atomic_load(&t->view)->index->gone) == 0;
}

int tl_tree_fault(struct tl_tree *t, const char *path)
{
    char full[PATH_MAX];
    struct stat st;
    int n = snprintf(full, sizeof full, "%s%s%s", t->path, path[0] != '\0' ? "/" : "", path);
    if (n >= (int)sizeof full)
        return -ENAMETOOLONG;
    if (lstat(full, &st) != 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || (st.st_mode & S_IRUSR) != 0)
        return 0;
    return tl_fill_file(t, -1, full, &st);
}
