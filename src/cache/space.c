// SPDX-License-Identifier: Apache-2.0
/* Slots of powers of two in a sparse memory file; see space.h.
 *
 * A slot's pages are a prefix of it. Each slot has a record: its pages, and a link for the one list it is in when free: `warm`
 * (with pages, the pool), `cold` (without), or limbo. Slots beyond `fresh` have never been used. Small slots are made
 * a row at a time, so that their pages come in one system call. */
#include "cache/space.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/time.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u /* Linux 6.3 */
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

#define NONE            UINT32_MAX
#define INTERRUPTED_MAX 1000
#define SIZE_MAX_BYTES  (1ull << 46)        /* address space has 47 bits */
#define ROW_BYTES       (64u << 10)         /* small slots are made in rows of so much */
#define SHRINKS_MAX     4u                  /* steps of the pool's shrinking in one call */
#define PAGE_SLOW_NS    (10 * TL_NS_PER_US) /* a page that takes longer is not one that this system had at hand */
#define UNIT_QUICK      8u                  /* pages that are made before the clock is looked at again */
#define SLOTS_WANTED    64u                 /* of each class */
#define SLOTS_LEAST     4u

enum slot_state { UNUSED, IN_USE, LIMBO, FREE };

struct slot {
    uint32_t next;  /* in its list */
    uint32_t pages; /* that are there */
    uint32_t held;  /* the sweep that found it held */
    uint32_t state;
};

struct class
{
    uint64_t at; /* where its range begins */
    struct slot *slots;
    uint32_t count, fresh;
    uint32_t warm, cold, limbo; /* heads of lists */
    uint32_t swept;             /* of those of limbo that the sweep is about */
};

struct tl_space {
    int fd;
    uint8_t *base;
    uint64_t size, limit;
    uint32_t shift; /* a page has 1 << shift bytes */
    struct class classes[TL_SPACE_CLASSES];
    uint32_t class_count;
    uint64_t warm_classes; /* bits */
    uint32_t sweep, sweep_class;
    uint64_t sweep_held;
    bool adopting;
    bool slow; /* the last pages were */
    struct tl_space_stats stats;
    void *records;
    size_t records_size;
};

/* ---- the file ---- */

static int memory_file(void)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd = memfd_create("tiercel-values", flags | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("tiercel-values", flags);
    return fd >= 0 ? fd : -errno;
}

/* fallocate that survives signals. 0 or -errno. */
static int change_pages(int fd, int mode, uint64_t offset, uint64_t len)
{
    int rc = -EINTR;
    for (int i = 0; i < INTERRUPTED_MAX && rc == -EINTR; i++)
        rc = fallocate(fd, mode, (off_t)offset, (off_t)len) == 0 ? 0 : -errno;
    return rc;
}

static uint64_t slot_bytes(const struct tl_space *s, uint32_t class)
{
    return 1ull << (s->shift + class);
}

static uint64_t page_bytes(const struct tl_space *s, const struct slot *slot)
{
    return (uint64_t)slot->pages << s->shift;
}

/* Ranges, one after another, each aligned to its slots, of `least` slots or more. False: they do not fit into address space. */
static bool lay_out_with(struct tl_space *s, const struct tl_space_config *c, uint64_t least)
{
    uint64_t at = 0;
    size_t records = 0;
    for (uint32_t k = 0; k < TL_SPACE_CLASSES; k++) {
        uint64_t count = 2 * (c->limit_max_bytes >> (s->shift + k));
        count = count < least ? least : count;
        count = count > c->slots_max ? c->slots_max : count;
        at = (at + slot_bytes(s, k) - 1) & ~(slot_bytes(s, k) - 1);
        s->classes[k] = (struct class){
            .at = at, .count = (uint32_t)count, .warm = NONE, .cold = NONE, .limbo = NONE, .swept = NONE};
        at += count * slot_bytes(s, k);
        records += count;
        s->class_count = k + 1;
        if (at > SIZE_MAX_BYTES)
            return false;
        if (slot_bytes(s, k) >= c->limit_max_bytes)
            break;
    }
    s->size = at;
    s->records_size = records * sizeof(struct slot);
    return true;
}

/* Many slots of all sizes, as far as address space goes: a value whose size was not known may lie in a large one. */
static bool lay_out(struct tl_space *s, const struct tl_space_config *c)
{
    for (uint64_t least = SLOTS_WANTED; least >= SLOTS_LEAST; least /= 2)
        if (lay_out_with(s, c, least))
            return true;
    return false;
}

static int map_file(struct tl_space *s, const struct tl_space_config *c)
{
    s->fd = c->fd >= 0 ? c->fd : memory_file();
    if (s->fd < 0)
        return s->fd;
    if (!c->adopt && ftruncate(s->fd, (off_t)s->size) != 0)
        return -errno;
    /* Clients that have the descriptor cannot change the size under us. A file that is not of memory knows no seals. */
    if (c->fd < 0 && fcntl(s->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        return -errno;
    void *base = mmap(NULL, s->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, s->fd, 0);
    if (base == MAP_FAILED)
        return -errno;
    s->base = base;
    (void)madvise(base, s->size,
                  MADV_DONTDUMP); /* a core dump need not hold the cache; that it may is no reason to fail */
    return 0;
}

/* Records of slots: pages that are never touched cost nothing. */
static int make_records(struct tl_space *s)
{
    void *p = mmap(NULL, s->records_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return -ENOMEM;
    s->records = p;
    struct slot *next = p;
    for (uint32_t k = 0; k < s->class_count; k++) {
        s->classes[k].slots = next;
        next += s->classes[k].count;
    }
    return 0;
}

int tl_space_new(struct tl_space **out, const struct tl_space_config *config, struct tl_error *err)
{
    check(config->slots_max > 0 && config->slots_max < NONE);
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    if (config->limit_bytes < page || config->limit_bytes > config->limit_max_bytes)
        return tl_error_set(err, -EINVAL, "a limit of %llu bytes for values is out of range: choose %llu to %llu bytes",
                            (unsigned long long)config->limit_bytes, (unsigned long long)page,
                            (unsigned long long)config->limit_max_bytes);
    struct tl_space *s = calloc(1, sizeof *s);
    if (s == NULL)
        return tl_error_set(err, -ENOMEM, "no memory for the cache's tables");
    s->fd = -1;
    s->limit = config->limit_bytes;
    s->shift = (uint32_t)__builtin_ctzll(page);
    s->adopting = config->adopt;
    int rc = lay_out(s, config) ? make_records(s) : -ENOMEM;
    if (rc == 0)
        rc = map_file(s, config);
    if (rc != 0) {
        if (s->fd == config->fd)
            s->fd = -1;
        tl_space_free(s);
        return tl_error_set(
            err, rc,
            "cannot create shared memory for %llu bytes of values: %s; see `ulimit -v`, `ulimit -n` and "
            "the kernel's vm.memfd_noexec",
            (unsigned long long)config->limit_max_bytes, strerror(-rc));
    }
    *out = s;
    return 0;
}

void tl_space_free(struct tl_space *s)
{
    if (s == NULL)
        return;
    if (s->base != NULL)
        munmap(s->base, s->size);
    if (s->records != NULL)
        munmap(s->records, s->records_size);
    if (s->fd >= 0)
        close(s->fd);
    free(s);
}

/* ---- slots ---- */

static bool find(const struct tl_space *s, uint64_t place, uint32_t *class, uint32_t *slot)
{
    for (uint32_t k = 0; k < s->class_count; k++) {
        const struct class *c = &s->classes[k];
        if (place >= c->at && place < c->at + c->count * slot_bytes(s, k)) {
            *class = k;
            *slot = (uint32_t)((place - c->at) >> (s->shift + k));
            return true;
        }
    }
    return false;
}

static struct slot *slot_at(const struct tl_space *s, uint64_t place, uint32_t *class, uint32_t *index)
{
    check(find(s, place, class, index));
    return &s->classes[*class].slots[*index];
}

static uint64_t place_of(const struct tl_space *s, uint32_t class, uint32_t slot)
{
    return s->classes[class].at + slot * slot_bytes(s, class);
}

/* Makes pages. The mapping's entries come with them, where the kernel can: else at the first touch. 0 or -errno. */
static int make_unit(struct tl_space *s, uint64_t from, uint64_t len)
{
    int rc = change_pages(s->fd, 0, from, len);
    if (rc == 0)
        (void)madvise(s->base + from, len, MADV_POPULATE_WRITE);
    return rc == 0 ? 0 : rc == -ENOSPC || rc == -EFBIG || rc == -ENOMEM ? -ENOMEM : rc;
}

/* Makes as many of these pages, from the first on, as a short time allows. A page takes 0.5 us where the kernel has one, 30 us and
 * now and then a millisecond where it is a virtual machine that has to ask its host first: the units follow. *made: bytes, also
 * after an error. 0; -EAGAIN: not all of them; or -errno. */
static int make_pages(struct tl_space *s, uint64_t from, uint64_t len, uint64_t *made)
{
    uint64_t began = tl_time_mono_ns(), last = began, unit = (uint64_t)(s->slow ? 1 : UNIT_QUICK) << s->shift;
    int rc = 0;
    for (*made = 0; *made < len && rc == 0;) {
        if (last - began > TL_SPACE_TIME_NS)
            return -EAGAIN;
        uint64_t n = unit > len - *made ? len - *made : unit;
        rc = make_unit(s, from + *made, n);
        uint64_t now = tl_time_mono_ns();
        *made += rc == 0 ? n : 0;
        s->slow = now - last > (n >> s->shift) * PAGE_SLOW_NS;
        unit = s->slow ? 1ull << s->shift : 2 * unit;
        last = now;
    }
    return rc;
}

/* A free slot into its list. */
static void push_free(struct tl_space *s, uint32_t k, uint32_t index)
{
    struct class *c = &s->classes[k];
    struct slot *slot = &c->slots[index];
    uint32_t *head = slot->pages > 0 ? &c->warm : &c->cold;
    slot->state = FREE;
    slot->next = *head;
    *head = index;
    s->stats.pool_bytes += page_bytes(s, slot);
    if (slot->pages > 0)
        s->warm_classes |= 1ull << k;
}

static uint32_t pop(struct tl_space *s, uint32_t k, uint32_t *head)
{
    struct class *c = &s->classes[k];
    uint32_t index = *head;
    *head = c->slots[index].next;
    s->stats.pool_bytes -= page_bytes(s, &c->slots[index]);
    if (c->warm == NONE)
        s->warm_classes &= ~(1ull << k);
    return index;
}

/* So many bytes more stay below the limit, as far as the pool has them. */
static bool make_way(struct tl_space *s, uint64_t need)
{
    for (uint32_t i = 0; i < SHRINKS_MAX && s->stats.used_bytes + need > s->limit; i++)
        if (tl_space_shrink(s, s->stats.used_bytes + need - s->limit) == 0)
            break;
    return s->stats.used_bytes + need <= s->limit;
}

/* A row of small slots that have never been used, with their pages; as far as the limit and a short time allow. */
static void make_row(struct tl_space *s, uint32_t k)
{
    struct class *c = &s->classes[k];
    uint32_t row = (uint32_t)(ROW_BYTES / slot_bytes(s, k));
    uint64_t made;
    row = row > c->count - c->fresh ? c->count - c->fresh : row;
    if (row < 2 || s->adopting || !make_way(s, row * slot_bytes(s, k)))
        return;
    (void)make_pages(s, place_of(s, k, c->fresh), row * slot_bytes(s, k), &made); /* who wants more asks for it */
    s->stats.used_bytes += made;
    uint32_t first = c->fresh, last_pages = (uint32_t)(made >> s->shift) & ((1u << k) - 1);
    c->fresh += (uint32_t)((made + slot_bytes(s, k) - 1) >> (s->shift + k));
    for (uint32_t i = c->fresh; i > first; i--) {
        c->slots[i - 1].pages = i == c->fresh && last_pages != 0 ? last_pages : 1u << k;
        push_free(s, k, i - 1);
    }
}

int tl_space_take(struct tl_space *s, uint64_t bytes, uint64_t *place)
{
    check(bytes > 0);
    uint32_t k = 0;
    while (k < s->class_count && slot_bytes(s, k) < bytes)
        k++;
    if (k == s->class_count)
        return -EFBIG;
    struct class *c = &s->classes[k];
    if (c->warm == NONE && slot_bytes(s, k) < ROW_BYTES && c->cold == NONE)
        make_row(s, k);
    uint32_t index;
    if (c->warm != NONE)
        index = pop(s, k, &c->warm);
    else if (c->cold != NONE)
        index = pop(s, k, &c->cold);
    else if (c->fresh < c->count)
        index = c->fresh++;
    else
        return -ENOSPC;
    c->slots[index].state = IN_USE;
    *place = place_of(s, k, index);
    return 0;
}

static uint64_t round_up(const struct tl_space *s, uint64_t bytes)
{
    return ((bytes - 1) >> s->shift << s->shift) + (1ull << s->shift);
}

int tl_space_extend(struct tl_space *s, uint64_t place, uint64_t bytes)
{
    uint32_t k, index;
    struct slot *slot = slot_at(s, place, &k, &index);
    check(slot->state == IN_USE && bytes <= slot_bytes(s, k));
    uint64_t have = page_bytes(s, slot), want = round_up(s, bytes);
    if (want <= have)
        return 0;
    uint64_t need = want - have;
    if (!make_way(s, need))
        return -ENOSPC;
    uint64_t made;
    int rc = make_pages(s, place_of(s, k, index) + have, need, &made);
    slot->pages += (uint32_t)(made >> s->shift);
    s->stats.used_bytes += made;
    return rc;
}

/* ---- giving back ---- */

void tl_space_give(struct tl_space *s, uint64_t place, bool unseen)
{
    uint32_t k, index;
    struct slot *slot = slot_at(s, place, &k, &index);
    check(slot->state == IN_USE);
    if (unseen) {
        push_free(s, k, index);
        return;
    }
    slot->state = LIMBO;
    slot->next = s->classes[k].limbo;
    s->classes[k].limbo = index;
    s->stats.limbo++;
    s->stats.limbo_bytes += page_bytes(s, slot);
}

void tl_space_sweep_begin(struct tl_space *s)
{
    s->sweep++;
    s->sweep_class = 0;
    s->sweep_held = 0;
    for (uint32_t k = 0; k < s->class_count; k++) {
        struct class *c = &s->classes[k];
        check(c->swept == NONE); /* the one before has come to its end */
        c->swept = c->limbo;
        c->limbo = NONE;
    }
}

void tl_space_hold(struct tl_space *s, uint64_t place)
{
    uint32_t k, index;
    if (find(s, place, &k, &index)) /* what readers say is not believed */
        s->classes[k].slots[index].held = s->sweep;
}

static void sweep_slot(struct tl_space *s, uint32_t k, uint32_t index)
{
    struct class *c = &s->classes[k];
    struct slot *slot = &c->slots[index];
    c->swept = slot->next;
    if (slot->held == s->sweep) {
        slot->next = c->limbo;
        c->limbo = index;
        s->sweep_held += page_bytes(s, slot);
        return;
    }
    s->stats.limbo--;
    s->stats.limbo_bytes -= page_bytes(s, slot);
    push_free(s, k, index);
}

bool tl_space_sweep_end(struct tl_space *s, uint32_t slots)
{
    for (uint32_t n = 0; s->sweep_class < s->class_count; n++) {
        uint32_t k = s->sweep_class, index = s->classes[k].swept;
        if (index == NONE)
            s->sweep_class++;
        else if (n >= slots)
            return false;
        else
            sweep_slot(s, k, index);
    }
    s->stats.held_bytes = s->sweep_held;
    return true;
}

/* Takes up to so many bytes from the end of the pages of the slot at the head of the pool. What came free. */
static uint64_t punch_one(struct tl_space *s, uint32_t k, uint64_t bytes)
{
    struct class *c = &s->classes[k];
    uint32_t index = pop(s, k, &c->warm);
    struct slot *slot = &c->slots[index];
    uint64_t have = page_bytes(s, slot), n = round_up(s, bytes);
    n = n > have ? have : n;
    int rc = change_pages(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, place_of(s, k, index) + have - n, n);
    if (rc == 0) {
        slot->pages -= (uint32_t)(n >> s->shift);
        s->stats.used_bytes -= n;
    }
    push_free(s, k, index);
    return rc == 0 ? n : 0; /* no kernel is known to refuse: then they stay, and count */
}

uint64_t tl_space_shrink(struct tl_space *s, uint64_t bytes)
{
    uint64_t done = 0;
    bytes = bytes > TL_SPACE_STEP ? TL_SPACE_STEP : bytes;
    while (done < bytes && s->warm_classes != 0) {
        uint64_t n = punch_one(s, 63u - (uint32_t)__builtin_clzll(s->warm_classes), bytes - done);
        if (n == 0)
            break;
        done += n;
    }
    return done;
}

/* ---- after a crash ---- */

int tl_space_claim(struct tl_space *s, uint64_t place, uint64_t bytes)
{
    uint32_t k, index;
    check(s->adopting);
    if (bytes == 0 || !find(s, place, &k, &index) || place_of(s, k, index) != place || bytes > slot_bytes(s, k))
        return -EINVAL;
    struct class *c = &s->classes[k];
    struct slot *slot = &c->slots[index];
    if (slot->state != UNUSED)
        return -EINVAL;
    slot->state = IN_USE;
    slot->pages = (uint32_t)(round_up(s, bytes) >> s->shift);
    s->stats.used_bytes += page_bytes(s, slot);
    if (index >= c->fresh)
        c->fresh = index + 1;
    return 0;
}

void tl_space_claim_held(struct tl_space *s, uint64_t place)
{
    uint32_t k, index;
    check(s->adopting);
    if (!find(s, place, &k, &index) || s->classes[k].slots[index].state != UNUSED)
        return;
    uint64_t at = place_of(s, k, index);
    off_t hole = lseek(s->fd, (off_t)at, SEEK_HOLE);
    uint64_t len = hole > (off_t)at ? (uint64_t)hole - at : 0;
    len = len > slot_bytes(s, k) ? slot_bytes(s, k) : len;
    if (len > 0 && tl_space_claim(s, at, len) == 0)
        tl_space_give(s, at, false);
}

int tl_space_adopted(struct tl_space *s)
{
    int rc = 0;
    for (uint32_t k = 0; k < s->class_count && rc == 0; k++) {
        struct class *c = &s->classes[k];
        uint64_t from = c->at; /* what lies between claimed pages goes, in as few calls as there are gaps */
        for (uint32_t i = 0; i <= c->count && rc == 0; i++) {
            if (i < c->fresh && c->slots[i].state == UNUSED)
                push_free(s, k, i);
            if (i < c->fresh && c->slots[i].state == FREE)
                continue;
            uint64_t to = place_of(s, k, i < c->fresh ? i : c->count);
            if (to > from)
                rc = change_pages(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, to - from);
            if (i >= c->fresh)
                break;
            from = to + page_bytes(s, &c->slots[i]);
        }
    }
    s->adopting = false;
    return rc;
}

/* ---- facts ---- */

void tl_space_set_limit(struct tl_space *s, uint64_t bytes)
{
    s->limit = bytes;
}

uint64_t tl_space_limit(const struct tl_space *s)
{
    return s->limit;
}

uint64_t tl_space_slot(const struct tl_space *s, uint64_t place)
{
    uint32_t k, index;
    check(find(s, place, &k, &index));
    return place_of(s, k, index);
}

uint64_t tl_space_room(const struct tl_space *s, uint64_t place)
{
    uint32_t k, index;
    check(find(s, place, &k, &index));
    return slot_bytes(s, k);
}

uint64_t tl_space_pages(const struct tl_space *s, uint64_t place)
{
    uint32_t k, index;
    return page_bytes(s, slot_at(s, place, &k, &index));
}

void *tl_space_at(const struct tl_space *s, uint64_t place)
{
    return s->base + place;
}

int tl_space_fd(const struct tl_space *s)
{
    return s->fd;
}

uint64_t tl_space_size(const struct tl_space *s)
{
    return s->size;
}

uint64_t tl_space_bytes_max(const struct tl_space *s)
{
    return slot_bytes(s, s->class_count - 1);
}

uint64_t tl_space_page(const struct tl_space *s)
{
    return 1ull << s->shift;
}

void tl_space_stats(const struct tl_space *s, struct tl_space_stats *out)
{
    *out = s->stats;
}
