// SPDX-License-Identifier: Apache-2.0
/* Files kept open between operations, so that a large file is opened at the storage once.
 *
 * A table of slots, searched linearly: it has a few hundred, and each search goes with a read from storage. Several
 * workers may read one file at once; the first opens it, the others wait for that. A file is closed when all its
 * chunks have been read, when something was wrong with it, when nobody used it for a while, or when the table is full
 * and it is the least recently used. Descriptors are closed with no lock held: that may be a request to the storage. */
#include "source/posix.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/time.h"

/* An open file keeps a deleted one's space, and its file system from being unmounted: not for longer than a
 * program that starts may pause between two of its libraries. */
#define IDLE_MAX_NS (120 * TL_NS_PER_S)

static void lock(struct tl_posix_files *f)
{
    check(pthread_mutex_lock(&f->lock) == 0);
}

static void unlock(struct tl_posix_files *f)
{
    check(pthread_mutex_unlock(&f->lock) == 0);
}

int tl_posix_files_init(struct tl_posix_files *f, uint32_t open_max, uint32_t threads)
{
    /* Each worker holds one at most, so there is always a free slot beside the idle ones. */
    uint32_t slot_count = open_max + threads;
    check(slot_count >= open_max);
    struct tl_posix_file *slots = calloc(slot_count, sizeof *slots);
    if (slots == NULL)
        return -ENOMEM;
    check(pthread_mutex_init(&f->lock, NULL) == 0);
    check(pthread_cond_init(&f->opened, NULL) == 0);
    f->slots = slots;
    f->slot_count = slot_count;
    f->open_max = open_max;
    f->open_count = 0;
    return 0;
}

/* Gives a slot free. Returns its descriptor, -1: none, for close_file after unlock. */
static int drop(struct tl_posix_files *f, struct tl_posix_file *file)
{
    check(file->used && file->refs == 0 && f->open_count > 0);
    int fd = file->fd;
    *file = (struct tl_posix_file){.fd = -1};
    f->open_count--;
    return fd;
}

static void close_file(int fd)
{
    if (fd >= 0)
        close(fd);
}

void tl_posix_files_fini(struct tl_posix_files *f)
{
    if (f->slots == NULL)
        return;
    for (uint32_t i = 0; i < f->slot_count; i++)
        if (f->slots[i].used)
            close_file(drop(f, &f->slots[i]));
    check(f->open_count == 0);
    free(f->slots);
    f->slots = NULL;
    pthread_cond_destroy(&f->opened);
    pthread_mutex_destroy(&f->lock);
}

static struct tl_posix_file *find(struct tl_posix_files *f, struct tl_hash key)
{
    for (uint32_t i = 0; i < f->slot_count; i++) {
        struct tl_posix_file *file = &f->slots[i];
        if (file->used && !file->doomed && tl_hash_equal(file->key, key))
            return file;
    }
    return NULL;
}

/* Drops the least recently used idle file, if there is one. Returns its descriptor or -1. */
static int make_room(struct tl_posix_files *f)
{
    struct tl_posix_file *oldest = NULL;
    for (uint32_t i = 0; i < f->slot_count; i++) {
        struct tl_posix_file *file = &f->slots[i];
        if (file->used && file->refs == 0 && (oldest == NULL || file->last_used_ns < oldest->last_used_ns))
            oldest = file;
    }
    return oldest != NULL ? drop(f, oldest) : -1;
}

static struct tl_posix_file *take_slot(struct tl_posix_files *f, struct tl_hash key, uint64_t chunk_count)
{
    uint32_t i = 0;
    while (i < f->slot_count && f->slots[i].used)
        i++;
    check(i < f->slot_count);
    f->slots[i] = (struct tl_posix_file){
        .key = key, .fd = -1, .used = true, .opening = true, .refs = 1, .chunks_left = chunk_count};
    f->open_count++;
    return &f->slots[i];
}

/* Lets go of a reference to a file that could not be opened. Returns why. */
static int give_up(struct tl_posix_files *f, struct tl_posix_file *file)
{
    int status = file->status;
    check(status < 0 && file->doomed);
    if (--file->refs == 0)
        (void)drop(f, file); /* there is no descriptor */
    return status;
}

int tl_posix_files_get(struct tl_posix_files *f, struct tl_hash key, uint64_t chunk_count, int (*open)(void *ctx),
                       void *ctx, struct tl_posix_file **out)
{
    lock(f);
    struct tl_posix_file *file = find(f, key);
    if (file != NULL) {
        file->refs++;
        while (file->opening)
            check(pthread_cond_wait(&f->opened, &f->lock) == 0);
    } else {
        int surplus = f->open_count >= f->open_max ? make_room(f) : -1;
        file = take_slot(f, key, chunk_count);
        unlock(f);
        close_file(surplus);
        int fd = open(ctx);
        lock(f);
        file->opening = false;
        file->fd = fd >= 0 ? fd : -1;
        file->status = fd >= 0 ? 0 : fd;
        file->doomed = fd < 0;
        check(pthread_cond_broadcast(&f->opened) == 0);
    }
    int rc = file->status < 0 ? give_up(f, file) : 0;
    unlock(f);
    if (rc == 0)
        *out = file;
    return rc;
}

void tl_posix_files_note(struct tl_posix_files *f, struct tl_posix_file *file, uint32_t chunks_read, bool bad)
{
    lock(f);
    check(file->used && !file->opening && file->refs > 0);
    file->chunks_left -= chunks_read < file->chunks_left ? chunks_read : file->chunks_left;
    file->doomed = file->doomed || bad || file->chunks_left == 0;
    unlock(f);
}

void tl_posix_files_put(struct tl_posix_files *f, struct tl_posix_file *file)
{
    int fd = -1;
    lock(f);
    check(file->used && !file->opening && file->refs > 0);
    file->last_used_ns = tl_time_mono_ns();
    file->refs--;
    if (file->refs == 0 && (file->doomed || f->open_count > f->open_max))
        fd = drop(f, file);
    unlock(f);
    close_file(fd);
}

uint64_t tl_posix_files_expire(struct tl_posix_files *f, uint64_t now_ns)
{
    uint64_t next_ns = UINT64_MAX;
    lock(f);
    for (uint32_t i = 0; i < f->slot_count; i++) {
        struct tl_posix_file *file = &f->slots[i];
        if (!file->used || file->refs > 0)
            continue;
        uint64_t due_ns = file->last_used_ns + IDLE_MAX_NS;
        if (due_ns <= now_ns) {
            int fd = drop(f, file);
            unlock(f);
            close_file(fd);
            lock(f);
        } else if (due_ns < next_ns) {
            next_ns = due_ns;
        }
    }
    unlock(f);
    return next_ns;
}
