// SPDX-License-Identifier: Apache-2.0
/* A tree that did not come through a tier: it was unpacked from an archive, and is whole from the start. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/time.h"
#include "front/tree/internal.h"

/* import-PID of processes that have ended. */
static void tidy(const struct tl_place *p)
{
    DIR *dir = opendir(p->tier_dir);
    for (struct dirent *e = dir != NULL ? readdir(dir) : NULL; e != NULL; e = readdir(dir)) {
        char path[PATH_MAX];
        int pid;
        snprintf(path, sizeof path, "%s/%s", p->tier_dir, e->d_name);
        if (sscanf(e->d_name, "import-%d", &pid) == 1 && kill(pid, 0) != 0 && errno == ESRCH)
            tl_place_erase(path);
    }
    if (dir != NULL)
        closedir(dir);
}

int tl_tree_stage(char *stage, size_t size, struct tl_error *err)
{
    struct tl_place p;
    char root[PATH_MAX];
    int rc = tl_place_find(&p, NULL, "/", true, err);
    if (rc != 0)
        return rc;
    tidy(&p);
    int n = snprintf(stage, size, "%s/import-%d", p.tier_dir, (int)getpid());
    snprintf(root, sizeof root, "%s/root", stage);
    if (n >= (int)size)
        return tl_error_set(err, -ENAMETOOLONG, "%s: too long", p.tier_dir);
    tl_place_erase(stage); /* of a process that had this number before */
    if (mkdir(stage, 0700) != 0 || mkdir(root, 0700) != 0)
        return tl_error_set(err, -errno, "cannot make %s: %s", root, strerror(errno));
    return 0;
}

void tl_tree_unstage(const char *stage)
{
    tl_place_erase(stage);
}

struct found {
    struct tl_index_file *files;
    size_t count, room;
};

static int push(struct found *f, const struct stat *st)
{
    if (f->count == f->room) {
        size_t room = f->room * 2 + 256;
        struct tl_index_file *grown = reallocarray(f->files, room, sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        f->files = grown;
        f->room = room;
    }
    f->files[f->count++] =
        (struct tl_index_file){.ino = st->st_ino,
                               .size_bytes = (uint64_t)st->st_size,
                               .atime_ns = tl_time_from_parts(st->st_atim.tv_sec, (uint32_t)st->st_atim.tv_nsec),
                               .mtime_ns = tl_time_from_parts(st->st_mtim.tv_sec, (uint32_t)st->st_mtim.tv_nsec),
                               .mode = st->st_mode & 0777};
    return 0;
}

static int find_files(const char *path, struct found *f)
{
    char *const paths[] = {(char *)(uintptr_t)path, NULL};
    int rc = 0;
    FTS *walk = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    if (walk == NULL)
        return -errno;
    for (FTSENT *e = fts_read(walk); rc == 0 && e != NULL; e = rc == 0 ? fts_read(walk) : NULL)
        rc = e->fts_info == FTS_F ? push(f, e->fts_statp) : 0;
    fts_close(walk);
    return rc;
}

/* The index of a tree in which nothing is missing. */
static int write_index(const char *stage, const char *source)
{
    char path[PATH_MAX], index[PATH_MAX];
    struct found f = {.files = NULL};
    struct tl_index_head *head = NULL;
    snprintf(path, sizeof path, "%s/root%s", stage, source);
    snprintf(index, sizeof index, "%s/index", stage);
    int rc = find_files(path, &f);
    if (rc == 0)
        rc = tl_index_write(index, source, TL_INDEX_IMPORTED, f.files, f.count);
    if (rc == 0)
        rc = tl_index_map(stage, &head);
    if (rc == 0) {
        atomic_store(&head->left, 0);
        atomic_store(&head->filled, tl_index_bytes_all(head));
        atomic_store(&head->attributes, 1);
    }
    tl_index_unmap(head);
    free(f.files);
    return rc;
}

int tl_tree_adopt(const char *stage, const char *source, struct tl_error *err)
{
    struct tl_place p;
    int rc = tl_place_find(&p, NULL, source, true, err);
    if (rc != 0)
        return rc;
    rc = write_index(stage, source);
    if (rc != 0)
        return tl_error_set(err, rc, "the tree of %s cannot be made: %s", source, strerror(-rc));
    int lock = tl_place_lock(&p, err);
    if (lock < 0)
        return lock;
    rc = tl_tree_exchange(&p, stage, err);
    close(lock);
    return rc;
}
