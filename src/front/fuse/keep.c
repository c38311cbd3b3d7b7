// SPDX-License-Identifier: Apache-2.0
/* The memory of a mount that outlives its daemon; see keep.h. */
#include "front/fuse/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "front/fuse/inode.h"

#define MAGIC  0x7469657263656c4bull
#define FORMAT 1u

_Static_assert(sizeof(struct tl_keep_head) <= TL_KEEP_CHUNK_SIZE, "the head has one chunk");

static void *map_chunk(int fd, uint32_t chunk)
{
    void *p = mmap(NULL, TL_KEEP_CHUNK_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)chunk * TL_KEEP_CHUNK_SIZE);
    return p == MAP_FAILED ? NULL : p;
}

static bool room_for_one(struct tl_keep *k)
{
    if (k->chunk_count < k->chunk_cap)
        return true;
    uint32_t cap = k->chunk_cap == 0 ? 8 : k->chunk_cap * 2;
    void **chunks = realloc(k->chunks, cap * sizeof *chunks);
    if (chunks == NULL)
        return false;
    k->chunks = chunks;
    k->chunk_cap = cap;
    return true;
}

/* Maps the next chunk that the file has. */
static int map_next(struct tl_keep *k)
{
    void *p = room_for_one(k) ? map_chunk(k->fd, k->chunk_count) : NULL;
    if (p == NULL)
        return -ENOMEM;
    k->chunks[k->chunk_count++] = p;
    return 0;
}

int tl_keep_make(struct tl_keep *k)
{
    *k = (struct tl_keep){.fd = memfd_create("tiercel-mount", MFD_CLOEXEC)};
    int rc = k->fd < 0 ? -errno : 0;
    if (rc == 0 && ftruncate(k->fd, TL_KEEP_CHUNK_SIZE) != 0)
        rc = -errno;
    if (rc == 0)
        rc = map_next(k);
    if (rc != 0) {
        tl_keep_fini(k);
        return rc;
    }
    k->head = k->chunks[0];
    k->head->magic = MAGIC;
    k->head->format = FORMAT;
    k->head->head_size = sizeof *k->head;
    k->head->inode_size = sizeof(struct tl_inode);
    k->head->chunk_count = 1;
    return 0;
}

static int check_head(const struct tl_keep_head *h, uint64_t file_size)
{
    if (h->magic != MAGIC)
        return -EBADMSG;
    if (h->format != FORMAT || h->head_size != sizeof *h || h->inode_size != sizeof(struct tl_inode))
        return -EPROTO;
    if (h->chunk_count < 1 || h->chunk_count > TL_KEEP_CHUNKS_MAX ||
        file_size < (uint64_t)h->chunk_count * TL_KEEP_CHUNK_SIZE || h->complete == 0)
        return -EBADMSG;
    if (h->init_len > sizeof h->init || h->reply_len > sizeof h->reply || h->path[sizeof h->path - 1] != 0 ||
        h->source[0] != '/' || h->source[sizeof h->source - 1] != 0)
        return -EBADMSG;
    for (uint32_t i = 1; i < h->chunk_count; i++)
        if (h->kinds[i] != TL_KEEP_INODES && h->kinds[i] != TL_KEEP_NAMES)
            return -EBADMSG;
    return 0;
}

int tl_keep_open(struct tl_keep *k, int fd)
{
    *k = (struct tl_keep){.fd = fd};
    struct stat st;
    int rc = fstat(fd, &st) == 0 ? 0 : -errno;
    if (rc == 0 && st.st_size < (off_t)TL_KEEP_CHUNK_SIZE)
        rc = -EBADMSG;
    if (rc == 0)
        rc = map_next(k);
    if (rc == 0)
        k->head = k->chunks[0];
    if (rc == 0)
        rc = check_head(k->head, (uint64_t)st.st_size);
    while (rc == 0 && k->chunk_count < k->head->chunk_count)
        rc = map_next(k);
    if (rc != 0)
        tl_keep_fini(k);
    return rc;
}

void tl_keep_fini(struct tl_keep *k)
{
    for (uint32_t i = 0; i < k->chunk_count; i++)
        munmap(k->chunks[i], TL_KEEP_CHUNK_SIZE);
    free(k->chunks);
    if (k->fd >= 0)
        close(k->fd);
    *k = (struct tl_keep){.fd = -1};
}

/* The pages are allocated here, where a lack of memory can be told: at their first touch it would be a SIGBUS. What a daemon
 * that died between growing the file and counting the chunk has left is used again. */
void *tl_keep_add(struct tl_keep *k, enum tl_keep_kind kind)
{
    uint32_t i = k->chunk_count;
    off_t at = (off_t)i * TL_KEEP_CHUNK_SIZE;
    if (i == TL_KEEP_CHUNKS_MAX || fallocate(k->fd, 0, at, TL_KEEP_CHUNK_SIZE) != 0 || map_next(k) != 0)
        return NULL;
    memset(k->chunks[i], 0, TL_KEEP_CHUNK_SIZE);
    k->head->kinds[i] = (uint8_t)kind;
    atomic_store_explicit(&k->head->chunk_count, i + 1, memory_order_release);
    return k->chunks[i];
}
