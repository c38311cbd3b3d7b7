// SPDX-License-Identifier: Apache-2.0
#include "cache/table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/time.h"

#define GROW_ENTRIES    1024u /* entries whose pages are made at a time: a multiple of all of their sizes in pages */
#define ENTRIES_LEAST   1024u
#define PAGE_ROUND      65536u /* pages of all systems */
#define INTERRUPTED_MAX 1000
#define PRIVATE_COST    36u /* of an entry: what the policy and we know of it, in memory that is not shared */
#define ENTRY_COST      (sizeof(struct tl_entry) + sizeof(struct tl_extra) + 1 + PRIVATE_COST)

static uint64_t round_up(uint64_t n)
{
    return (n + PAGE_ROUND - 1) / PAGE_ROUND * PAGE_ROUND;
}

static uint32_t buckets_for(uint32_t entries)
{
    uint32_t n = 1;
    while (n * (uint64_t)TL_BUCKET_WAYS < entries * 2ull) /* half full when all entries are used */
        n *= 2;
    return n;
}

/* Offsets of the parts, and the size of the whole. */
static struct tl_directory_head lay_out(uint32_t entries)
{
    struct tl_directory_head h = {.magic = TL_DIRECTORY_MAGIC,
                                  .version = TL_DIRECTORY_VERSION,
                                  .head_bytes = sizeof h,
                                  .entries = entries,
                                  .buckets = buckets_for(entries)};
    h.jobs_at = round_up(sizeof h);
    h.crumbs_at = h.jobs_at + round_up(TL_VALUE_JOBS * sizeof(struct tl_job_row));
    h.buckets_at = h.crumbs_at + round_up(TL_VALUE_CRUMBS * sizeof(struct tl_crumb));
    h.entries_at = h.buckets_at + round_up(h.buckets * sizeof(struct tl_bucket));
    h.extras_at = h.entries_at + round_up(entries * sizeof(struct tl_entry));
    h.total_bytes = h.extras_at + round_up(entries * sizeof(struct tl_extra));
    return h;
}

/* ---- memory ---- */

static int make_pages(int fd, uint64_t at, uint64_t len)
{
    int rc = -EINTR;
    for (int i = 0; i < INTERRUPTED_MAX && rc == -EINTR; i++)
        rc = fallocate(fd, 0, (off_t)at, (off_t)len) == 0 ? 0 : -errno;
    return rc == -ENOSPC || rc == -EFBIG ? -ENOMEM : rc;
}

static int memory_file(const char *name, uint64_t size)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    if (ftruncate(fd, (off_t)size) != 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    return fd;
}

static int map_both(struct tl_table *t, const struct tl_directory_head *h)
{
    void *p = mmap(NULL, h->total_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, t->fd, 0);
    if (p == MAP_FAILED)
        return -errno;
    uint8_t *base = p;
    t->head = p;
    t->jobs = (struct tl_job_row *)(void *)(base + h->jobs_at);
    t->crumbs = (struct tl_crumb *)(void *)(base + h->crumbs_at);
    t->buckets = (struct tl_bucket *)(void *)(base + h->buckets_at);
    t->entries = (struct tl_entry *)(void *)(base + h->entries_at);
    t->extras = (struct tl_extra *)(void *)(base + h->extras_at);
    t->uses_bytes = round_up(h->entries);
    void *uses = mmap(NULL, t->uses_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, t->uses_fd, 0);
    if (uses == MAP_FAILED)
        return -errno;
    t->uses = uses;
    t->next = malloc(h->entries * sizeof *t->next);
    t->free = TL_ENTRY_NONE;
    return t->next == NULL ? -ENOMEM : 0;
}

/* The next entries get their pages. The sizes are such that pages of one step are not those of another. */
static int grow(struct tl_table *t)
{
    const struct tl_directory_head *h = t->head;
    uint32_t n = h->entries - t->ready < GROW_ENTRIES ? h->entries - t->ready : GROW_ENTRIES;
    int rc = make_pages(t->fd, h->entries_at + t->ready * sizeof(struct tl_entry), n * sizeof(struct tl_entry));
    if (rc == 0)
        rc = make_pages(t->fd, h->extras_at + t->ready * sizeof(struct tl_extra), n * sizeof(struct tl_extra));
    if (rc == 0)
        rc = make_pages(t->uses_fd, t->ready, n);
    if (rc == 0) {
        t->ready += n;
        t->bytes += n * ENTRY_COST;
    }
    return rc;
}

static int start(struct tl_table *t, const struct tl_directory_head *h)
{
    t->fd = memory_file("tiercel-directory", h->total_bytes);
    if (t->fd < 0)
        return t->fd;
    t->uses_fd = memory_file("tiercel-uses", round_up(h->entries));
    if (t->uses_fd < 0)
        return t->uses_fd;
    int rc = make_pages(t->fd, 0, h->entries_at);
    if (rc == 0)
        rc = map_both(t, h);
    if (rc == 0) {
        t->bytes = h->entries_at;
        *t->head = *h;
        rc = grow(t);
    }
    return rc;
}

int tl_table_init(struct tl_table *t, uint32_t entries, uint64_t seed, uint64_t limit_max_bytes, uint64_t values_bytes,
                  struct tl_error *err)
{
    entries = entries < ENTRIES_LEAST ? ENTRIES_LEAST : entries;
    struct tl_directory_head h = lay_out(entries);
    h.limit_max_bytes = limit_max_bytes;
    h.values_bytes = values_bytes;
    h.era = 1;
    h.seed = seed;
    if (seed == 0 && getrandom(&h.seed, sizeof h.seed, GRND_NONBLOCK) != (ssize_t)sizeof h.seed)
        h.seed = tl_time_real_ns();
    *t = (struct tl_table){.fd = -1, .uses_fd = -1};
    int rc = start(t, &h);
    if (rc != 0) {
        tl_table_fini(t);
        return tl_error_set(err, rc, "no memory for a directory of %u values: %s", entries, strerror(-rc));
    }
    return 0;
}

void tl_table_fini(struct tl_table *t)
{
    if (t->uses != NULL)
        munmap((void *)(uintptr_t)t->uses, t->uses_bytes);
    if (t->head != NULL)
        munmap(t->head, t->head->total_bytes);
    if (t->fd >= 0)
        close(t->fd);
    if (t->uses_fd >= 0)
        close(t->uses_fd);
    free(t->next);
    *t = (struct tl_table){.fd = -1, .uses_fd = -1};
}

/* ---- entries ---- */

/* The way that leads from a key's buckets to this entry. NULL: none. */
static _Atomic uint64_t *way_of(const struct tl_table *t, const struct tl_key_spot *spot, uint32_t entry)
{
    for (uint32_t i = 0; i < 2 * TL_BUCKET_WAYS; i++) {
        _Atomic uint64_t *way = &t->buckets[spot->bucket[i / TL_BUCKET_WAYS]].ways[i % TL_BUCKET_WAYS];
        if (atomic_load_explicit(way, memory_order_relaxed) == ((uint64_t)spot->tag << 32 | (entry + 1)))
            return way;
    }
    return NULL;
}

uint32_t tl_table_find(const struct tl_table *t, struct tl_hash key)
{
    struct tl_key_spot spot = tl_key_spot(key, t->head->seed, t->head->buckets);
    for (uint32_t i = 0; i < 2 * TL_BUCKET_WAYS; i++) {
        /* Our own stores: no order is needed. */
        uint64_t seen = atomic_load_explicit(&t->buckets[spot.bucket[i / TL_BUCKET_WAYS]].ways[i % TL_BUCKET_WAYS],
                                             memory_order_relaxed);
        if ((uint32_t)seen == 0 || (uint32_t)(seen >> 32) != spot.tag)
            continue;
        const struct tl_entry *e = &t->entries[(uint32_t)seen - 1];
        if (atomic_load_explicit(&e->key_hi, memory_order_relaxed) == key.hi &&
            atomic_load_explicit(&e->key_lo, memory_order_relaxed) == key.lo)
            return (uint32_t)seen - 1;
    }
    return TL_ENTRY_NONE;
}

uint64_t tl_table_growth(const struct tl_table *t)
{
    bool grows = t->free == TL_ENTRY_NONE && t->fresh == t->ready && t->ready < t->head->entries;
    return grows ? GROW_ENTRIES * ENTRY_COST : 0;
}

int tl_table_reserve(struct tl_table *t, uint32_t *entry)
{
    if (t->free == TL_ENTRY_NONE && t->fresh == t->ready) {
        int rc = t->ready == t->head->entries ? -ENOSPC : grow(t);
        if (rc != 0)
            return rc;
    }
    if (t->free != TL_ENTRY_NONE) {
        *entry = t->free;
        t->free = t->next[t->free];
    } else {
        *entry = t->fresh++;
    }
    t->extras[*entry] = (struct tl_extra){.label_place = UINT64_MAX};
    t->used++;
    return 0;
}

void tl_table_release(struct tl_table *t, uint32_t entry)
{
    check(t->used > 0);
    t->next[entry] = t->free;
    t->free = entry;
    t->used--;
}

void tl_table_change(struct tl_table *t, uint32_t entry, const struct tl_entry_view *v)
{
    struct tl_entry *e = &t->entries[entry];
    uint64_t turn = atomic_load_explicit(&e->turn, memory_order_relaxed);
    check((turn & 1) == 0);
    atomic_store(&e->turn, turn + 1);
    /* Releases: after the odd turn, and each pairs with a reader's acquire in tl_entry_read. */
    atomic_store_explicit(&e->key_hi, v->key.hi, memory_order_release);
    atomic_store_explicit(&e->key_lo, v->key.lo, memory_order_release);
    atomic_store_explicit(&e->size, v->size, memory_order_release);
    atomic_store_explicit(&e->place, v->place, memory_order_release);
    atomic_store_explicit(&e->digest_hi, v->digest.hi, memory_order_release);
    atomic_store_explicit(&e->digest_lo, v->digest.lo, memory_order_release);
    atomic_store_explicit(&e->meta, v->meta, memory_order_release);
    atomic_store(&e->turn, turn + 2);
}

/* A free way, in the bucket that has more of them. */
static _Atomic uint64_t *free_way(const struct tl_table *t, const struct tl_key_spot *spot)
{
    _Atomic uint64_t *found = NULL;
    uint32_t best = 0;
    for (uint32_t k = 0; k < 2; k++) {
        struct tl_bucket *b = &t->buckets[spot->bucket[k]];
        uint32_t count = 0;
        _Atomic uint64_t *way = NULL;
        for (uint32_t i = 0; i < TL_BUCKET_WAYS; i++)
            if (atomic_load_explicit(&b->ways[i], memory_order_relaxed) == 0) { /* our own stores */
                count++;
                way = &b->ways[i];
            }
        if (count > best) {
            best = count;
            found = way;
        }
    }
    return found;
}

int tl_table_publish(struct tl_table *t, uint32_t entry, const struct tl_entry_view *view, uint32_t old)
{
    struct tl_key_spot spot = tl_key_spot(view->key, t->head->seed, t->head->buckets);
    _Atomic uint64_t *way = old != TL_ENTRY_NONE ? way_of(t, &spot, old) : free_way(t, &spot);
    check(old == TL_ENTRY_NONE || way != NULL);
    if (way == NULL)
        return -EXFULL;
    tl_table_change(t, entry, view);
    atomic_store(way, (uint64_t)spot.tag << 32 | (entry + 1));
    return 0;
}

uint32_t tl_table_rivals(const struct tl_table *t, struct tl_hash key, uint32_t out[2 * TL_BUCKET_WAYS])
{
    struct tl_key_spot spot = tl_key_spot(key, t->head->seed, t->head->buckets);
    uint32_t n = 0;
    for (uint32_t i = 0; i < 2 * TL_BUCKET_WAYS; i++) {
        uint64_t seen = atomic_load_explicit(&t->buckets[spot.bucket[i / TL_BUCKET_WAYS]].ways[i % TL_BUCKET_WAYS],
                                             memory_order_relaxed); /* our own stores */
        if ((uint32_t)seen != 0)
            out[n++] = (uint32_t)seen - 1;
    }
    return n;
}

void tl_table_remove(struct tl_table *t, uint32_t entry)
{
    struct tl_entry_view v = tl_table_view(t, entry);
    struct tl_key_spot spot = tl_key_spot(v.key, t->head->seed, t->head->buckets);
    _Atomic uint64_t *way = way_of(t, &spot, entry);
    if (way != NULL) /* else another entry has taken its place */
        atomic_store(way, 0);
    const struct tl_entry_view none = {.meta = 0};
    tl_table_change(t, entry, &none);
    tl_table_release(t, entry);
}

/* ---- after a crash ---- */

static int take_over(struct tl_table *t)
{
    struct tl_directory_head h;
    struct stat directory, uses;
    if (pread(t->fd, &h, sizeof h, 0) != (ssize_t)sizeof h || fstat(t->fd, &directory) != 0 ||
        fstat(t->uses_fd, &uses) != 0)
        return -EPROTO;
    struct tl_directory_head own = lay_out(h.entries);
    if (h.magic != own.magic || h.version != own.version || h.head_bytes != own.head_bytes ||
        h.entries < ENTRIES_LEAST || h.total_bytes != own.total_bytes || h.buckets != own.buckets ||
        h.entries_at != own.entries_at || (uint64_t)directory.st_size != h.total_bytes ||
        (uint64_t)uses.st_size < h.entries)
        return -EPROTO;
    int rc = map_both(t, &h);
    if (rc != 0)
        return rc;
    /* How far the entries' pages were made is not written down; but what was ever written is there, without a gap. */
    off_t hole = lseek(t->fd, (off_t)h.entries_at, SEEK_HOLE);
    uint64_t there = hole > (off_t)h.entries_at ? ((uint64_t)hole - h.entries_at) / sizeof(struct tl_entry) : 0;
    there = (there + GROW_ENTRIES - 1) / GROW_ENTRIES * GROW_ENTRIES;
    t->ready = there > h.entries ? h.entries : (uint32_t)there;
    t->fresh = t->ready;
    t->used = t->fresh;
    t->bytes = h.entries_at + t->ready * ENTRY_COST;
    atomic_fetch_add(&t->head->era, 1);
    memset((void *)t->buckets, 0, h.buckets * sizeof(struct tl_bucket));
    if (t->ready == 0)
        return grow(t);
    /* The last step of growth may not have been finished. */
    rc = make_pages(t->fd, h.entries_at, t->ready * sizeof(struct tl_entry));
    if (rc == 0)
        rc = make_pages(t->fd, h.extras_at, t->ready * sizeof(struct tl_extra));
    return rc == 0 ? make_pages(t->uses_fd, 0, t->ready) : rc;
}

int tl_table_adopt(struct tl_table *t, int fd, int uses_fd, struct tl_error *err)
{
    *t = (struct tl_table){.fd = fd, .uses_fd = uses_fd};
    int rc = take_over(t);
    if (rc != 0) {
        tl_table_fini(t);
        return tl_error_set(err, rc, "the directory of values that an earlier daemon left cannot be used: %s",
                            rc == -EPROTO ? "it is of another version" : strerror(-rc));
    }
    return 0;
}

void tl_table_forget(struct tl_table *t, uint32_t entry)
{
    struct tl_entry *e = &t->entries[entry];
    const struct tl_entry_view none = {.meta = 0};
    atomic_store(&e->turn, (atomic_load(&e->turn) + 1) & ~1ull);
    tl_table_change(t, entry, &none);
    tl_table_release(t, entry);
}

bool tl_table_keep(struct tl_table *t, uint32_t entry)
{
    struct tl_entry_view v;
    if (!tl_entry_read(&t->entries[entry], &v) || tl_table_find(t, v.key) != TL_ENTRY_NONE)
        return false;
    struct tl_key_spot spot = tl_key_spot(v.key, t->head->seed, t->head->buckets);
    _Atomic uint64_t *way = free_way(t, &spot);
    if (way != NULL)
        atomic_store(way, (uint64_t)spot.tag << 32 | (entry + 1));
    return way != NULL;
}
