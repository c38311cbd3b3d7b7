// SPDX-License-Identifier: Apache-2.0
/* Permissions of files that have no content yet: the tree shows them without read bits, its index knows what they will be.
 * Indices are mapped when first needed, and stay. */
#include <fcntl.h>
#include <linux/stat.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "front/preload/ask.h"
#include "front/preload/stub.h"
#include "front/tree/internal.h"

struct index {
    const struct tl_index_head *head; /* NULL: cannot be had */
    uint64_t count;
    dev_t dev;
};

static struct index indices[TL_PATHS_MAX];
static _Atomic int mapped[TL_PATHS_MAX]; /* 0: not yet, 1: somebody is at it, 2: yes */

static void map(const char *path, struct index *out)
{
    struct stat st;
    long fd = tl_raw4(SYS_openat, AT_FDCWD, tl_arg(path), O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
    if (fd < 0)
        return;
    if (tl_raw2(SYS_fstat, fd, tl_arg(&st)) == 0 && st.st_size >= (long)sizeof *out->head) {
        long at = tl_raw(SYS_mmap, 0, st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        out->head = at > 0 ? (const struct tl_index_head *)at : NULL;
        out->count = ((uint64_t)st.st_size - sizeof *out->head) / sizeof out->head->files[0];
        out->dev = st.st_dev;
    }
    tl_raw2(SYS_close, fd, 0);
}

static const struct tl_index_file *search(const struct index *in, uint64_t ino)
{
    uint64_t from = 0, to = in->head != NULL ? in->count : 0;
    while (from < to) {
        uint64_t mid = from + (to - from) / 2;
        const struct tl_index_file *f = &in->head->files[mid];
        if (f->ino == ino)
            return f;
        if (f->ino < ino)
            from = mid + 1;
        else
            to = mid;
    }
    return NULL;
}

/* The file's entry, if it is one of ours. */
static const struct tl_index_file *find(const struct tl_paths *p, dev_t dev, uint64_t ino)
{
    for (size_t i = 0; i < p->count; i++) {
        int fresh = 0;
        if (atomic_compare_exchange_strong(&mapped[i], &fresh, 1)) {
            map(p->pairs[i].index, &indices[i]);
            atomic_store(&mapped[i], 2);
        }
        if (atomic_load(&mapped[i]) != 2 || indices[i].dev != dev)
            continue;
        const struct tl_index_file *f = search(&indices[i], ino);
        if (f != NULL)
            return f;
    }
    return NULL;
}

void tl_stub_mend_stat(const struct tl_paths *p, struct stat *st)
{
    const struct tl_index_file *f = tl_ask_needed(st) ? find(p, st->st_dev, st->st_ino) : NULL;
    if (f != NULL)
        st->st_mode = (st->st_mode & S_IFMT) | (f->mode & 07777);
}

void tl_stub_mend_statx(const struct tl_paths *p, struct statx *st)
{
    if ((st->stx_mode & (S_IFMT | S_IRUSR)) != S_IFREG)
        return;
    dev_t dev = (st->stx_dev_minor & 0xff) | (dev_t)st->stx_dev_major << 8 | (dev_t)(st->stx_dev_minor & ~0xffu) << 12;
    const struct tl_index_file *f = find(p, dev, st->stx_ino);
    if (f != NULL)
        st->stx_mode = (__u16)((st->stx_mode & S_IFMT) | (f->mode & 07777));
}

bool tl_stub_readable(const struct tl_paths *p, const struct stat *st)
{
    const struct tl_index_file *f = find(p, st->st_dev, st->st_ino);
    return f != NULL && (f->mode & S_IRUSR) != 0;
}
