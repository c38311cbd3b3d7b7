// SPDX-License-Identifier: Apache-2.0
/* The inode table; what it is for is in inode.h.
 *
 * Slots live in pages that are added as needed and never moved (inode_store.c). Bound inodes are chained in a hash table by
 * (parent slot, name), which doubles when it has more inodes than buckets. Slot 0 is never used, so that 0 can end
 * chains; slot 1 is the root. */
#include "front/fuse/inode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "front/fuse/inode_store.h"

#define BUCKETS_FIRST 256u

_Static_assert(sizeof(struct tl_inode) <= 64, "an inode shall stay within one cache line");

uint32_t tl_inode_hash(uint32_t parent, const char *name, size_t name_len)
{
    return (uint32_t)tl_hash64(name, name_len, parent);
}

int tl_inodes_init(struct tl_inodes *t)
{
    memset(t, 0, sizeof *t);
    int rc = tl_keep_make(&t->keep);
    t->buckets = calloc(BUCKETS_FIRST, sizeof *t->buckets);
    t->bucket_count = BUCKETS_FIRST;
    if (rc == 0 && t->buckets == NULL)
        rc = -ENOMEM;
    struct tl_inode *root = NULL;
    for (uint32_t slot = 0; rc == 0 && slot <= TL_INODE_ROOT; slot++)
        rc = (root = tl_slot_take(t)) == NULL ? -ENOMEM : 0;
    if (rc != 0) {
        tl_inodes_fini(t);
        return rc;
    }
    t->count = 1;
    root->nlookup = 1; /* the kernel never forgets the root */
    root->type = S_IFDIR;
    return 0;
}

void tl_inodes_fini(struct tl_inodes *t)
{
    tl_keep_fini(&t->keep);
    free(t->pages);
    free(t->name_pages);
    free(t->buckets);
    memset(t, 0, sizeof *t);
    t->keep.fd = -1;
}

struct tl_inode *tl_inodes_get(const struct tl_inodes *t, uint64_t id)
{
    uint64_t slot = id & UINT32_MAX;
    if (slot == 0 || slot >= t->slot_end)
        return NULL;
    struct tl_inode *inode = tl_at_slot(t, (uint32_t)slot);
    return inode->type != 0 && inode->generation == id >> 32 ? inode : NULL;
}

struct tl_inode *tl_inodes_parent(const struct tl_inodes *t, const struct tl_inode *inode)
{
    return tl_at_slot(t, inode->slot == TL_INODE_ROOT ? TL_INODE_ROOT : inode->parent);
}

static uint32_t bucket_of(const struct tl_inodes *t, uint32_t hash)
{
    return hash & (t->bucket_count - 1);
}

struct tl_inode *tl_inodes_find_bound(const struct tl_inodes *t, uint32_t parent, uint32_t hash, const char *name,
                                      size_t name_len)
{
    for (uint32_t slot = t->buckets[bucket_of(t, hash)]; slot != 0;) {
        struct tl_inode *inode = tl_at_slot(t, slot);
        if (inode->hash == hash && inode->parent == parent && inode->name_len == name_len &&
            memcmp(tl_inode_name(t, inode), name, name_len) == 0)
            return inode;
        slot = inode->next;
    }
    return NULL;
}

struct tl_inode *tl_inodes_find(const struct tl_inodes *t, uint64_t parent_id, const char *name, size_t name_len)
{
    const struct tl_inode *parent = tl_inodes_get(t, parent_id);
    if (parent == NULL)
        return NULL;
    return tl_inodes_find_bound(t, parent->slot, tl_inode_hash(parent->slot, name, name_len), name, name_len);
}

void tl_inodes_chain(struct tl_inodes *t, struct tl_inode *inode)
{
    uint32_t *head = &t->buckets[bucket_of(t, inode->hash)];
    inode->next = *head;
    *head = inode->slot;
}

/* Twice the buckets. Without memory the table stays as it is: slower, not wrong. */
static void grow_buckets(struct tl_inodes *t)
{
    uint32_t old_count = t->bucket_count, *old = t->buckets;
    uint32_t *buckets = calloc((size_t)old_count * 2, sizeof *buckets);
    if (buckets == NULL)
        return;
    t->buckets = buckets;
    t->bucket_count = old_count * 2;
    for (uint32_t i = 0; i < old_count; i++) {
        for (uint32_t slot = old[i], next; slot != 0; slot = next) {
            next = tl_at_slot(t, slot)->next;
            tl_inodes_chain(t, tl_at_slot(t, slot));
        }
    }
    free(old);
}

void tl_inodes_unbind(struct tl_inodes *t, struct tl_inode *inode)
{
    if (!inode->bound)
        return;
    uint32_t *link = &t->buckets[bucket_of(t, inode->hash)];
    while (*link != inode->slot) {
        check(*link != 0);
        link = &tl_at_slot(t, *link)->next;
    }
    *link = inode->next;
    inode->next = 0;
    inode->bound = false;
    t->bound_count--;
}

/* Frees inode if nobody needs it, and then perhaps its parents: the loop ends at the root, which stays. */
void tl_inodes_collect(struct tl_inodes *t, struct tl_inode *inode)
{
    while (inode->nlookup == 0 && inode->children == 0) {
        struct tl_inode *parent = tl_at_slot(t, inode->parent);
        tl_inodes_unbind(t, inode);
        tl_slot_give(t, inode);
        t->count--;
        check(parent->children > 0);
        parent->children--;
        inode = parent;
    }
}

/* What tells one version of something from the next. Regular files have it from the source. */
static uint64_t identity(const struct tl_attr *attr)
{
    if (attr->version != 0)
        return attr->version;
    return tl_attr_version(attr->rdev, attr->ino, attr->size_bytes, attr->mtime_ns, attr->ctime_ns);
}

bool tl_inode_matches(const struct tl_inode *inode, const struct tl_attr *attr)
{
    if ((attr->mode & S_IFMT) != inode->type)
        return false;
    return S_ISDIR(attr->mode) || (inode->version == identity(attr) && inode->size_bytes == attr->size_bytes);
}

static int add_inode(struct tl_inodes *t, struct tl_inode *parent, uint32_t hash, const char *name, size_t name_len,
                     const struct tl_attr *attr, struct tl_inode **out)
{
    uint32_t name_at;
    if (tl_name_put(t, name, name_len, &name_at) != 0)
        return -ENOMEM;
    struct tl_inode *inode = tl_slot_take(t);
    if (inode == NULL) {
        tl_name_give(t, name_at);
        return -ENOMEM;
    }
    inode->name_at = name_at;
    inode->name_len = (uint8_t)name_len;
    inode->version = identity(attr);
    inode->size_bytes = attr->size_bytes;
    inode->parent = parent->slot;
    inode->hash = hash;
    inode->bound = true;
    tl_slot_commit(t, inode, (uint16_t)(attr->mode & S_IFMT));
    parent->children++;
    t->count++;
    t->bound_count++;
    if (t->bound_count > t->bucket_count)
        grow_buckets(t);
    tl_inodes_chain(t, inode);
    *out = inode;
    return 0;
}

int tl_inodes_bind(struct tl_inodes *t, uint64_t parent_id, const char *name, size_t name_len,
                   const struct tl_attr *attr, struct tl_inode **out)
{
    check(name_len >= 1 && name_len <= TL_NAME_MAX);
    check((attr->mode & S_IFMT) != 0);
    struct tl_inode *parent = tl_inodes_get(t, parent_id);
    if (parent == NULL)
        return -ESTALE;
    uint32_t hash = tl_inode_hash(parent->slot, name, name_len);
    struct tl_inode *old = tl_inodes_find_bound(t, parent->slot, hash, name, name_len), *inode = old;
    if (old == NULL || !tl_inode_matches(old, attr)) {
        int rc = add_inode(t, parent, hash, name, name_len, attr, &inode);
        if (rc != 0)
            return rc;
        if (old != NULL)
            tl_inodes_unbind(t, old);
    }
    inode->nlookup++;
    *out = inode;
    return 0;
}

void tl_inodes_forget(struct tl_inodes *t, uint64_t id, uint64_t n)
{
    struct tl_inode *inode = tl_inodes_get(t, id);
    if (inode == NULL || id == TL_INODE_ROOT)
        return;
    inode->nlookup -= n < inode->nlookup ? n : inode->nlookup;
    tl_inodes_collect(t, inode);
}

int tl_inodes_path(const struct tl_inodes *t, const char *root, const struct tl_inode *inode, const char *name,
                   size_t name_len, char *buf, size_t cap)
{
    size_t root_len = strcmp(root, "/") == 0 ? 0 : strlen(root);
    size_t len = root_len + (name_len > 0 ? name_len + 1 : 0);
    for (const struct tl_inode *i = inode; i->slot != TL_INODE_ROOT; i = tl_at_slot(t, i->parent))
        len += i->name_len + 1u;
    if (len == 0) { /* the root of a whole tree */
        check(cap >= 1);
        buf[0] = '/';
        return 1;
    }
    if (len > cap)
        return -ENAMETOOLONG;
    char *end = buf + len;
    if (name_len > 0) {
        end -= name_len;
        memcpy(end, name, name_len);
        *--end = '/';
    }
    for (const struct tl_inode *i = inode; i->slot != TL_INODE_ROOT; i = tl_at_slot(t, i->parent)) {
        end -= i->name_len;
        memcpy(end, tl_inode_name(t, i), i->name_len);
        *--end = '/';
    }
    check(end == buf + root_len);
    memcpy(buf, root, root_len);
    return (int)len;
}

static bool is_below(const struct tl_inodes *t, const struct tl_inode *inode, const struct tl_inode *top)
{
    while (inode != top && inode->slot != TL_INODE_ROOT)
        inode = tl_at_slot(t, inode->parent);
    return inode == top;
}

void tl_inodes_visit_below(const struct tl_inodes *t, const struct tl_inode *top, tl_inodes_visit_fn fn, void *ctx)
{
    for (uint32_t slot = 1; slot < t->slot_end; slot++) {
        const struct tl_inode *inode = tl_at_slot(t, slot);
        if (inode->type != 0 && is_below(t, inode, top))
            fn(ctx, inode);
    }
}

void tl_inodes_verify(const struct tl_inodes *t)
{
    uint32_t count = 0, bound = 0, children = 0, listed = 0;
    for (uint32_t slot = 1; slot < t->slot_end; slot++) {
        const struct tl_inode *inode = tl_at_slot(t, slot);
        check(inode->slot == slot);
        if (inode->type == 0)
            continue;
        count++;
        children += inode->children;
        bound += inode->bound ? 1 : 0;
        check(inode->nlookup > 0 || inode->children > 0);
        if (slot != TL_INODE_ROOT)
            check(tl_at_slot(t, inode->parent)->type != 0);
        if (inode->bound)
            check(tl_inodes_find_bound(t, inode->parent, inode->hash, tl_inode_name(t, inode), inode->name_len) ==
                  inode);
    }
    for (uint32_t slot = t->free_head; slot != 0; slot = tl_at_slot(t, slot)->next)
        listed++;
    check(count == t->count && bound == t->bound_count);
    check(children == count - 1);
    check(listed == t->slot_end - 1 - count);
}
