// SPDX-License-Identifier: Apache-2.0
/* Locks of containers, by name, and the values that go with them.
 *
 * Between processes a lock is a byte of a file, locked by fcntl for the process: the kernel lets go of it however the process ends, and
 * a child has none. Between threads of one process it is an entry in a list. The last byte of all is for the table of values.
 *
 * A value lies in the shared page. Who gets a lock for writing marks its value dirty, and clears that when letting go: so who finds it dirty
 * while having the lock knows that somebody died. A value that is not valid needs no place in the table, unless its lock is held for
 * writing. Waiters sleep on a counter of the container, and look again each second, since who dies wakes nobody. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/time.h"
#include "store/embedded.h"

#define TABLE_BYTE INT64_MAX
#define AGAIN_NS   TL_NS_PER_S
#define ALL        (1u << 31) /* of those who wait: the bit that all have; the others go by name */

enum { FREE = 0, DIRTY, VALID }; /* of a value */

struct tl_held {
    struct tl_held *next;
    uint64_t byte;
    uint32_t readers; /* 0: for writing */
};

struct tl_store_lock {
    struct tl_hash name;
    _Atomic uint32_t *let_go; /* of its container */
    bool exclusive;
    bool was_valid;
};

static uint64_t byte_of(struct tl_hash name)
{
    return name.lo & (INT64_MAX >> 1);
}

static uint32_t bit_of(struct tl_hash name)
{
    return 1u << (name.hi % 31);
}

/* 0, -EAGAIN, -errno */
static int lock_byte(const struct tl_locks *l, uint64_t byte, short type, bool wait)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1};
    int rc;
    do
        rc = fcntl(l->fd, wait ? F_SETLKW : F_SETLK, &lock) == 0 ? 0 : -errno;
    while (rc == -EINTR);
    return rc == -EACCES ? -EAGAIN : rc;
}

void tl_locks_open(struct tl_locks *l, const char *directory, struct tl_page_access *page)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/locks", directory);
    *l = (struct tl_locks){.fd = -1, .page = page, .pid = getpid()};
    check(pthread_mutex_init(&l->mutex, NULL) == 0);
    if (page->writable)
        l->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
}

static void forget_all(struct tl_locks *l)
{
    while (l->held != NULL) {
        struct tl_held *h = l->held;
        l->held = h->next;
        free(h);
    }
}

void tl_locks_close(struct tl_locks *l)
{
    if (l->page == NULL)
        return;
    forget_all(l);
    if (l->fd >= 0)
        close(l->fd);
    pthread_mutex_destroy(&l->mutex);
    *l = (struct tl_locks){.fd = -1};
}

/* ---- values; the table's byte is locked ---- */

/* The value, or a place for it if there is none; NULL: no room. */
static struct tl_page_value *find_value(struct tl_locks *l, struct tl_hash name)
{
    struct tl_page_locks *t = &l->page->page->locks;
    struct tl_page_value *room = NULL;
    uint32_t used = atomic_load(&t->used);
    used = used < TL_PAGE_VALUES ? used : TL_PAGE_VALUES;
    for (uint32_t i = 0; i < used; i++) {
        bool is_free = atomic_load(&t->values[i].state) == FREE;
        if (!is_free && tl_hash_equal(t->values[i].name, name))
            return &t->values[i];
        if (is_free && room == NULL)
            room = &t->values[i];
    }
    if (room == NULL && used < TL_PAGE_VALUES) {
        room = &t->values[used];
        atomic_store(&room->state, FREE);
        atomic_store(&t->used, used + 1);
    }
    return room;
}

/* We have got the lock: what is its value? */
static int take_value(struct tl_locks *l, struct tl_store_lock *lock, struct tl_store_lock_value *out)
{
    *out = (struct tl_store_lock_value){.valid = false};
    int rc = lock_byte(l, TABLE_BYTE, F_WRLCK, true);
    if (rc != 0)
        return rc;
    struct tl_page_value *v = find_value(l, lock->name);
    if (v != NULL && atomic_load(&v->state) == VALID) {
        *out = (struct tl_store_lock_value){.valid = true, .epoch = v->epoch};
        memcpy(out->user, v->user, sizeof out->user);
    }
    lock->was_valid = out->valid;
    if (lock->exclusive && v != NULL) {
        v->name = lock->name;
        atomic_store(&v->state, DIRTY);
    }
    rc = lock->exclusive && v == NULL ? -ENOSPC : 0;
    check(lock_byte(l, TABLE_BYTE, F_UNLCK, false) == 0);
    return rc;
}

/* We let go of it, having had it for writing. */
static int leave_value(struct tl_locks *l, const struct tl_store_lock *lock, const struct tl_store_lock_value *value)
{
    bool valid = value != NULL ? value->valid : lock->was_valid;
    int rc = lock_byte(l, TABLE_BYTE, F_WRLCK, true);
    if (rc != 0)
        return rc;
    struct tl_page_value *v = find_value(l, lock->name);
    /* If the page was made anew meanwhile, a value that we do not bring is not known any more. */
    bool known = v != NULL && atomic_load(&v->state) == DIRTY;
    if (v != NULL && valid && (value != NULL || known)) {
        v->name = lock->name;
        if (value != NULL) {
            v->epoch = value->epoch;
            memcpy(v->user, value->user, sizeof v->user);
        }
        atomic_store(&v->state, VALID);
    } else if (known) {
        atomic_store(&v->state, FREE);
    }
    check(lock_byte(l, TABLE_BYTE, F_UNLCK, false) == 0);
    return v == NULL && value != NULL ? -ENOSPC : 0;
}

/* ---- locks; with the mutex ---- */

static struct tl_held **find_held(struct tl_locks *l, uint64_t byte)
{
    if (l->pid != getpid()) { /* a child has none of its parent's */
        l->pid = getpid();
        forget_all(l);
    }
    struct tl_held **at = &l->held;
    while (*at != NULL && (*at)->byte != byte)
        at = &(*at)->next;
    return at;
}

/* One more of our threads has it. 0, -EAGAIN, -ENOMEM, -errno. */
static int hold(struct tl_locks *l, uint64_t byte, bool exclusive)
{
    struct tl_held *h = *find_held(l, byte);
    if (h != NULL) {
        if (exclusive || h->readers == 0)
            return -EAGAIN;
        h->readers++;
        return 0;
    }
    h = malloc(sizeof *h);
    int rc = h == NULL ? -ENOMEM : lock_byte(l, byte, exclusive ? F_WRLCK : F_RDLCK, false);
    if (rc != 0) {
        free(h);
        return rc;
    }
    *h = (struct tl_held){.next = l->held, .byte = byte, .readers = exclusive ? 0 : 1};
    l->held = h;
    return 0;
}

static void let_go(struct tl_locks *l, uint64_t byte)
{
    struct tl_held **at = find_held(l, byte), *h = *at;
    if (h == NULL || (h->readers > 0 && --h->readers > 0))
        return;
    check(lock_byte(l, byte, F_UNLCK, false) == 0); /* letting go asks for nothing */
    *at = h->next;
    free(h);
}

static int try(struct tl_locks *l, struct tl_store_lock *lock, struct tl_store_lock_value *value)
{
    pthread_mutex_lock(&l->mutex);
    int rc = hold(l, byte_of(lock->name), lock->exclusive);
    if (rc == 0) {
        rc = take_value(l, lock, value);
        if (rc != 0)
            let_go(l, byte_of(lock->name));
    }
    pthread_mutex_unlock(&l->mutex);
    return rc;
}

/* ---- waiting ---- */

static int wait_for(struct tl_locks *l, struct tl_store_lock *lock, int timeout_ms, const _Atomic int *stop,
                    struct tl_store_lock_value *value)
{
    uint64_t end = UINT64_MAX;
    if (timeout_ms >= 0)
        end = tl_time_mono_ns() + (unsigned)timeout_ms * TL_NS_PER_MS;
    for (;;) {
        uint32_t seen = atomic_load(lock->let_go);
        int rc = try(l, lock, value);
        if (rc != -EAGAIN || timeout_ms == 0)
            return rc;
        if (stop != NULL && atomic_load(stop) != 0)
            return -ECANCELED;
        uint64_t now = tl_time_mono_ns();
        if (now >= end)
            return -ETIMEDOUT;
        (void)tl_page_wait(lock->let_go, seen, end - now < AGAIN_NS ? end : now + AGAIN_NS, ALL | bit_of(lock->name));
    }
}

static _Atomic uint32_t *counter_of(const struct tl_locks *l, const struct tl_store_id *id)
{
    return &l->page->page->let_go[tl_hash64(id->bytes, sizeof id->bytes, 0) % TL_PAGE_COUNTERS];
}

int tl_locks_lock(struct tl_locks *l, const struct tl_store_id *id, struct tl_slice name, bool exclusive,
                  int timeout_ms, const _Atomic int *stop, struct tl_store_lock **out,
                  struct tl_store_lock_value *value)
{
    uint8_t whole[sizeof id->bytes + TL_STORE_KEY_MAX];
    if (name.len == 0 || name.len > TL_STORE_KEY_MAX)
        return -EINVAL;
    if (l->fd < 0)
        return -EROFS;
    struct tl_store_lock *lock = calloc(1, sizeof *lock);
    if (lock == NULL)
        return -ENOMEM;
    memcpy(whole, id->bytes, sizeof id->bytes);
    memcpy(whole + sizeof id->bytes, name.at, name.len);
    lock->name = tl_hash_bytes(whole, sizeof id->bytes + name.len, 0x6c6f636b);
    lock->let_go = counter_of(l, id);
    lock->exclusive = exclusive;
    int rc = wait_for(l, lock, timeout_ms, stop, value);
    if (rc != 0)
        free(lock);
    else
        *out = lock;
    return rc;
}

int tl_locks_unlock(struct tl_locks *l, struct tl_store_lock *lock, const struct tl_store_lock_value *value)
{
    pthread_mutex_lock(&l->mutex);
    int rc = lock->exclusive ? leave_value(l, lock, value) : 0;
    let_go(l, byte_of(lock->name));
    pthread_mutex_unlock(&l->mutex);
    tl_page_wake(l->page, lock->let_go, bit_of(lock->name));
    free(lock);
    return rc;
}

void tl_locks_wake(struct tl_locks *l, const struct tl_store_id *id)
{
    tl_page_wake(l->page, counter_of(l, id), ALL);
}
