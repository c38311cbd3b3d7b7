// SPDX-License-Identifier: Apache-2.0
#include "cache/reader.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/evict.h"

#define TRIES_MAX 64u /* the same key replaced under our eyes so often: it is as good as not there */
#define NO_MAP    UINT64_MAX
#define NO_HOLD   UINT32_MAX

void tl_reader_init(struct tl_reader *r, const struct tl_directory_head *head, const void *values,
                    _Atomic uint8_t *uses, struct tl_holds *holds)
{
    const uint8_t *base = (const uint8_t *)head;
    *r = (struct tl_reader){.head = head,
                            .buckets = (const struct tl_bucket *)(const void *)(base + head->buckets_at),
                            .entries = (const struct tl_entry *)(const void *)(base + head->entries_at),
                            .values = values,
                            .values_fd = -1,
                            .uses = uses,
                            .holds = holds};
}

/* ---- mapping ---- */

static int map(int fd, size_t len, int protection, void **out)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return -errno;
    if ((uint64_t)st.st_size < len)
        return -EPROTO;
    void *p = mmap(NULL, len, protection, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (p == MAP_FAILED)
        return -errno;
    *out = p;
    return 0;
}

static int map_directory(struct tl_reader *r, int fd)
{
    struct tl_directory_head head;
    if (pread(fd, &head, sizeof head, 0) != (ssize_t)sizeof head || head.magic != TL_DIRECTORY_MAGIC ||
        head.version != TL_DIRECTORY_VERSION || head.head_bytes != sizeof head ||
        (head.buckets & (head.buckets - 1)) != 0 || head.buckets == 0 ||
        head.buckets_at + head.buckets * sizeof(struct tl_bucket) > head.total_bytes ||
        head.entries_at + head.entries * sizeof(struct tl_entry) > head.total_bytes)
        return -EPROTO;
    void *p = NULL;
    int rc = map(fd, (size_t)head.total_bytes, PROT_READ, &p);
    if (rc == 0) {
        tl_reader_init(r, p, NULL, NULL, NULL);
        r->head_bytes = (size_t)head.total_bytes;
    }
    return rc;
}

int tl_reader_map(struct tl_reader *r, int directory_fd, int values_fd, int uses_fd, int holds_fd, struct tl_error *err)
{
    void *p = NULL;
    *r = (struct tl_reader){.values_fd = values_fd, .mapped = 1};
    int rc = map_directory(r, directory_fd);
    r->mapped = 1;
    r->values_fd = values_fd;
    if (rc == 0)
        rc = map(uses_fd, r->head->entries, PROT_READ | PROT_WRITE, &p);
    if (rc == 0) {
        r->uses = p;
        rc = map(holds_fd, TL_HOLDS_BYTES, PROT_READ | PROT_WRITE, &p);
    }
    if (rc == 0) {
        r->holds = p;
        r->values_bytes = (size_t)r->head->values_bytes;
        rc = map(values_fd, r->values_bytes, PROT_READ, &p);
        if (rc == 0)
            r->values = p;
        else if (rc == -ENOMEM) /* `ulimit -v`: values are mapped one by one */
            rc = 0;
    }
    if (rc != 0) {
        tl_reader_unmap(r);
        return tl_error_set(err, rc,
                            rc == -EPROTO ? "the daemon's cache is of another version; restart it with this one: %s"
                                          : "the cache's memory cannot be mapped: %s",
                            strerror(-rc));
    }
    return 0;
}

static void unmap(const volatile void *p, size_t len)
{
    if (p != NULL)
        munmap((void *)(uintptr_t)p, len);
}

void tl_reader_unmap(struct tl_reader *r)
{
    if (r->mapped) {
        unmap(r->values, r->values_bytes);
        unmap(r->holds, TL_HOLDS_BYTES);
        unmap(r->uses, r->head != NULL ? r->head->entries : 0);
        unmap(r->head, r->head_bytes);
    }
    *r = (struct tl_reader){.values_fd = -1};
}

/* ---- looking up ---- */

/* The entry of the key, as it was a moment ago. Its number, or UINT32_MAX. */
static uint32_t look_up(const struct tl_reader *r, struct tl_hash key, struct tl_entry_view *view)
{
    struct tl_key_spot spot = tl_key_spot(key, r->head->seed, r->head->buckets);
    for (uint32_t i = 0; i < 2; i++) {
        const struct tl_bucket *b = &r->buckets[spot.bucket[i]];
        for (uint32_t way = 0; way < TL_BUCKET_WAYS; way++) {
            uint64_t seen = atomic_load_explicit(&b->ways[way], memory_order_acquire); /* with publish() of table.c */
            uint32_t entry = (uint32_t)seen - 1;
            if ((uint32_t)(seen >> 32) != spot.tag || (uint32_t)seen == 0 || entry >= r->head->entries)
                continue;
            for (uint32_t tries = 0; tries < TRIES_MAX; tries++)
                if (tl_entry_read(&r->entries[entry], view)) {
                    if (tl_hash_equal(view->key, key) && tl_meta_unpack(view->meta).state == TL_VALUE_READY)
                        return entry;
                    break;
                }
        }
    }
    return UINT32_MAX;
}

int tl_reader_has(const struct tl_reader *r, struct tl_hash key)
{
    struct tl_entry_view view;
    return look_up(r, key, &view) != UINT32_MAX;
}

/* Says that the place is read. The hold's number, UINT32_MAX: all are in use. */
static uint32_t hold(struct tl_holds *h, uint64_t place)
{
    uint32_t top = atomic_load(&h->top);
    top = top > TL_HOLDS_MAX ? TL_HOLDS_MAX : top;
    for (uint32_t i = 0; i < TL_HOLDS_MAX; i++) {
        uint64_t none = 0;
        if (atomic_load_explicit(&h->place[i], memory_order_relaxed) != 0) /* the exchange decides */
            continue;
        while (i >= top && !atomic_compare_exchange_weak(&h->top, &top, i + 1)) {
        }
        if (atomic_compare_exchange_strong(&h->place[i], &none, place + 1))
            return i;
    }
    return NO_HOLD;
}

/* Where the value's bytes are in this process. */
static int show(const struct tl_reader *r, const struct tl_entry_view *v, struct tl_value *out)
{
    out->map_skip = NO_MAP;
    out->bytes = v->size == 0 ? (const void *)r->head : r->values + v->place;
    if (r->values != NULL || v->size == 0)
        return 0;
    uint64_t skip = v->place % (uint64_t)sysconf(_SC_PAGESIZE);
    void *p = mmap(NULL, v->size + skip, PROT_READ, MAP_SHARED, r->values_fd, (off_t)(v->place - skip));
    if (p == MAP_FAILED)
        return -ENOMEM;
    out->bytes = (const uint8_t *)p + skip;
    out->map_skip = skip;
    return 0;
}

/* An entry that an earlier manager filled, and this one has not checked yet. */
static int is_sound(const struct tl_reader *r, const struct tl_entry_view *v, const struct tl_value *h)
{
    if (tl_meta_unpack(v->meta).era == (uint32_t)atomic_load(&r->head->era))
        return 1;
    return tl_hash_equal(tl_hash_bytes(h->bytes, v->size, 0), v->digest);
}

int tl_reader_get(struct tl_reader *r, struct tl_hash key, struct tl_value *out)
{
    struct tl_entry_view v;
    for (uint32_t tries = 0; tries < TRIES_MAX; tries++) {
        uint32_t entry = look_up(r, key, &v);
        if (entry == UINT32_MAX)
            return -ENOENT;
        *out = (struct tl_value){
            .size = v.size, .digest = v.digest, .class = tl_meta_unpack(v.meta).class, .entry = entry, .hold = NO_HOLD};
        if (v.size > 0) {
            out->hold = hold(r->holds, v.place);
            if (out->hold == NO_HOLD)
                return -EMFILE;
            if (atomic_load(&r->entries[entry].turn) != v.turn) { /* it went before the manager could see the hold */
                atomic_store(&r->holds->place[out->hold], 0);
                continue;
            }
        }
        int rc = show(r, &v, out);
        if (rc == 0 && !is_sound(r, &v, out))
            rc = -ENOENT;
        if (rc != 0) {
            tl_reader_let_go(r, out);
            return rc;
        }
        tl_evict_used(r->uses, entry);
        return 0;
    }
    return -ENOENT;
}

void tl_reader_let_go(struct tl_reader *r, struct tl_value *held)
{
    if (held->bytes != NULL && held->map_skip != NO_MAP)
        munmap((void *)(uintptr_t)((const uint8_t *)held->bytes - held->map_skip), held->size + held->map_skip);
    if (held->hold != NO_HOLD)
        atomic_store(&r->holds->place[held->hold], 0);
    *held = (struct tl_value){.hold = NO_HOLD, .map_skip = NO_MAP};
}
