// SPDX-License-Identifier: Apache-2.0
/* Files kept open between operations, so that a large file is opened at the storage once.
 *
 * A table of slots, searched linearly: it has a few hundred, and each search goes with a read from storage. Several
 * workers may read one file at once; the first opens it, the others wait for that. A file is closed when all its
 * chunks have been read, when something was wrong with it, when nobody used it for a while, or when the table is full
 * and it is the least recently used. */
#include "source/posix.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/time.h"

/* An open file keeps a deleted one's space, and its file system from being unmounted: not for longer than a reader
 * may pause. */
#define IDLE_MAX_NS (20 * TL_NS_PER_S)

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

/* Gives a slot free; its descriptor is closed. */
static void drop(struct tl_posix_files *f, struct tl_posix_file *file)
{
    check(file->used && file->refs == 0 && f->open_count > 0);
    if (file->fd >= 0)
        close(file->fd);
    *file = (struct tl_posix_file){.fd = -1};
    f->open_count--;
}

void tl_posix_files_fini(struct tl_posix_files *f)
{
    if (f->slots == NULL)
        return;
    for (uint32_t i = 0; i < f->slot_count; i++)
        if (f->slots[i].used)
            drop(f, &f->slots[i]);
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

/* Closes the least recently used idle file. */
static void make_room(struct tl_posix_files *f)
{
    struct tl_posix_file *oldest = NULL;
    for (uint32_t i = 0; i < f->slot_count; i++) {
        struct tl_posix_file *file = &f->slots[i];
        if (file->used && file->refs == 0 && (oldest == NULL || file->last_used_ns < oldest->last_used_ns))
            oldest = file;
    }
    if (oldest != NULL)
        drop(f, oldest);
}

static struct tl_posix_file *take_slot(struct tl_posix_files *f, struct tl_hash key, uint64_t chunk_count)
{
    if (f->open_count >= f->open_max)
        make_room(f);
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
        drop(f, file);
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
        file = take_slot(f, key, chunk_count);
        unlock(f);
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

void tl_posix_files_put(struct tl_posix_files *f, struct tl_posix_file *file, uint32_t chunks_read, bool bad)
{
    lock(f);
    check(file->used && !file->opening && file->refs > 0);
    file->chunks_left -= chunks_read < file->chunks_left ? chunks_read : file->chunks_left;
    file->doomed = file->doomed || bad;
    file->last_used_ns = tl_time_mono_ns();
    file->refs--;
    if (file->refs == 0 && (file->doomed || file->chunks_left == 0 || f->open_count > f->open_max))
        drop(f, file);
    unlock(f);
}

uint64_t tl_posix_files_expire(struct tl_posix_files *f, uint64_t now_ns)
{
    uint64_t next_ns = UINT64_MAX;
    lock(f);
    for (uint32_t i = 0; i < f->slot_count; i++) {
        struct tl_posix_file *file = &f->slots[i];
        if (!file->used || file->refs > 0)
            continue;
        if (file->last_used_ns + IDLE_MAX_NS <= now_ns)
            drop(f, file);
        else if (file->last_used_ns + IDLE_MAX_NS < next_ns)
            next_ns = file->last_used_ns + IDLE_MAX_NS;
    }
    unlock(f);
    return next_ns;
}
