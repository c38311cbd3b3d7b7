// SPDX-License-Identifier: Apache-2.0
/* The index of a tree: a file that all its users map. It never changes but for its flags and its counter. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "front/tree/internal.h"

#define PAGE 4096u
#define NAME 1024u /* what tmpfs needs for a file without content, about */

static const char magic[8] = "TLTREE3";

static int by_ino(const void *a, const void *b)
{
    uint64_t x = ((const struct tl_index_file *)a)->ino, y = ((const struct tl_index_file *)b)->ino;
    return x < y ? -1 : x > y;
}

static int write_all(int fd, const void *bytes, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = write(fd, (const char *)bytes + at, len - at);
        if (n < 0 && errno != EINTR)
            return -errno;
        at += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* An empty file is whole as it is, one that cannot be read is never filled. */
static bool waits_for_content(const struct tl_index_file *f)
{
    return f->size_bytes > 0 && (f->mode & S_IRUSR) != 0;
}

int tl_index_write(const char *path, const char *source, uint64_t names, struct tl_index_file *files, size_t count)
{
    struct tl_index_head *h = calloc(1, sizeof *h);
    if (h == NULL)
        return -ENOMEM;
    memcpy(h->magic, magic, sizeof magic);
    snprintf(h->source, sizeof h->source, "%s", source);
    h->names = names;
    h->count = count;
    int64_t left = 0;
    for (size_t i = 0; i < count; i++)
        left += waits_for_content(&files[i]);
    atomic_store(&h->left, left);
    if (count > 0)
        qsort(files, count, sizeof *files, by_ino);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    int rc = fd < 0 ? -errno : write_all(fd, h, sizeof *h); /* written, not mapped: a full file system says so */
    if (rc == 0)
        rc = write_all(fd, files, count * sizeof *files);
    if (fd >= 0)
        close(fd);
    free(h);
    return rc;
}

uint64_t tl_index_bytes(const struct tl_index_file *f)
{
    return waits_for_content(f) ? (f->size_bytes + PAGE - 1) / PAGE * PAGE : 0;
}

uint64_t tl_index_bytes_all(const struct tl_index_head *h)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < h->count; i++)
        sum += tl_index_bytes(&h->files[i]);
    return sum;
}

uint64_t tl_index_taken(const struct tl_index_head *h)
{
    return atomic_load(&h->filled) + h->count * (NAME + sizeof h->files[0]);
}

static size_t size_of(uint64_t count)
{
    return sizeof(struct tl_index_head) + count * sizeof(struct tl_index_file);
}

int tl_index_map(const char *dir, struct tl_index_head **out)
{
    char path[PATH_MAX];
    struct stat st;
    snprintf(path, sizeof path, "%s/index", dir);
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW), rc = 0;
    if (fd < 0)
        return -errno;
    struct tl_index_head *h = MAP_FAILED;
    if (fstat(fd, &st) != 0)
        rc = -errno;
    else if (!S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof *h)
        rc = -EBADMSG;
    else
        h = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (rc == 0 && h == MAP_FAILED)
        rc = -errno;
    close(fd);
    if (rc != 0)
        return rc;
    uint64_t room = ((uint64_t)st.st_size - sizeof *h) / sizeof(struct tl_index_file);
    if (memcmp(h->magic, magic, sizeof magic) != 0 || h->count != room || size_of(room) != (size_t)st.st_size ||
        memchr(h->source, '\0', sizeof h->source) == NULL) {
        munmap(h, (size_t)st.st_size);
        return -EBADMSG;
    }
    *out = h;
    return 0;
}

void tl_index_unmap(struct tl_index_head *h)
{
    if (h != NULL)
        munmap(h, size_of(h->count));
}

const struct tl_index_file *tl_index_find(const struct tl_index_head *h, uint64_t ino)
{
    struct tl_index_file key = {.ino = ino};
    return bsearch(&key, h->files, h->count, sizeof key, by_ino);
}
