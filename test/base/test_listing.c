// SPDX-License-Identifier: Apache-2.0
/* Directory listings: round trips against a naive model, every limit, hostile bytes, every allocation failed once. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/failing_alloc.h"
#include "base/hash.h"
#include "base/listing.h"
#include "base/prng.h"

static const struct tl_attr DIRECTORY = {.mode = S_IFDIR | 0755, .nlink = 2, .ino = 7, .version = 9, .access = 5};
static const struct tl_attr FILE_ATTR = {.mode = S_IFREG | 0644, .nlink = 1, .size_bytes = 3, .version = 1};
static const struct tl_attr LINK_ATTR = {.mode = S_IFLNK | 0777, .nlink = 1, .size_bytes = 3, .version = 1};

static struct tl_listing_builder *builder(void)
{
    struct tl_listing_builder *b = NULL;
    assert_int_equal(tl_listing_builder_new(&b, &DIRECTORY), 0);
    return b;
}

static int add_file(struct tl_listing_builder *b, const char *name)
{
    return tl_listing_builder_add(b, name, strlen(name), &FILE_ATTR, NULL, 0);
}

/* Fields one by one: structs have padding. */
static void assert_attr_equal(const struct tl_attr *a, const struct tl_attr *b)
{
    assert_true(a->ino == b->ino && a->size_bytes == b->size_bytes && a->blocks == b->blocks);
    assert_true(a->atime_ns == b->atime_ns && a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns);
    assert_true(a->version == b->version && a->mode == b->mode && a->nlink == b->nlink);
    assert_true(a->uid == b->uid && a->gid == b->gid && a->rdev == b->rdev);
    assert_true(a->access == b->access && a->status == b->status);
}

/* The naive model: unsorted names, searched one by one. */
struct model_entry {
    uint8_t name[TL_NAME_MAX];
    size_t name_len;
    char *target;
    size_t target_len;
    struct tl_attr attr;
};

static struct tl_attr random_attr(struct tl_prng *p)
{
    static const uint32_t types[] = {S_IFREG, S_IFDIR, S_IFLNK, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK};
    if (tl_prng_below(p, 20) == 0)
        return (struct tl_attr){.status = -(int32_t)(1 + tl_prng_below(p, 4095))};
    return (struct tl_attr){
        .ino = tl_prng_next(p),
        .size_bytes = tl_prng_next(p) >> 1,
        .blocks = tl_prng_next(p),
        .atime_ns = (int64_t)tl_prng_next(p),
        .mtime_ns = (int64_t)tl_prng_next(p),
        .ctime_ns = (int64_t)tl_prng_next(p),
        .version = tl_prng_next(p) | 1,
        .mode = types[tl_prng_below(p, 7)] | (uint32_t)tl_prng_below(p, 010000),
        .nlink = (uint32_t)tl_prng_next(p),
        .uid = (uint32_t)tl_prng_next(p),
        .gid = (uint32_t)tl_prng_next(p),
        .rdev = (uint32_t)tl_prng_next(p),
        .access = (uint8_t)tl_prng_below(p, 8),
    };
}

static uint8_t random_name_byte(struct tl_prng *p, bool small_alphabet)
{
    if (small_alphabet)
        return (uint8_t)("ab.\xff"[tl_prng_below(p, 4)]);
    uint8_t c = (uint8_t)(1 + tl_prng_below(p, 255));
    return c == '/' ? 0x80 : c;
}

static size_t model_find(const struct model_entry *model, size_t count, const uint8_t *name, size_t len)
{
    for (size_t i = 0; i < count; i++)
        if (model[i].name_len == len && memcmp(model[i].name, name, len) == 0)
            return i;
    return count;
}

/* A name that is in order and not in the model yet. Small alphabets and short names make neighbours and prefixes. */
static void random_entry(struct tl_prng *p, const struct model_entry *model, size_t count, struct model_entry *out)
{
    bool dots, taken;
    do {
        bool small = tl_prng_below(p, 2) == 0;
        out->name_len = 1 + tl_prng_below(p, tl_prng_below(p, 8) == 0 ? TL_NAME_MAX : 12);
        for (size_t i = 0; i < out->name_len; i++)
            out->name[i] = random_name_byte(p, small);
        dots = out->name[0] == '.' && (out->name_len == 1 || (out->name_len == 2 && out->name[1] == '.'));
        taken = model_find(model, count, out->name, out->name_len) < count;
    } while (dots || taken);
    out->attr = random_attr(p);
    out->target = NULL;
    out->target_len = 0;
    if (out->attr.status == 0 && S_ISLNK(out->attr.mode)) {
        out->target_len = 1 + tl_prng_below(p, tl_prng_below(p, 50) == 0 ? TL_LINK_MAX : 40);
        out->target = malloc(out->target_len);
        assert_non_null(out->target);
        for (size_t i = 0; i < out->target_len; i++)
            out->target[i] = (char)(1 + tl_prng_below(p, 255));
    }
}

static void assert_entry_equal(const struct tl_listing_entry *e, const struct model_entry *m)
{
    assert_int_equal(e->name_len, m->name_len);
    assert_memory_equal(e->name, m->name, m->name_len);
    assert_int_equal(e->target_len, m->target_len);
    if (m->target_len > 0)
        assert_memory_equal(e->target, m->target, m->target_len);
    else
        assert_null(e->target);
    assert_attr_equal(&e->attr, &m->attr);
}

static void compare_with_model(const struct tl_listing *l, const struct model_entry *model, size_t count,
                               struct tl_prng *p)
{
    assert_int_equal(l->count, count);
    struct tl_listing_entry e, before;
    for (uint32_t i = 0; i < l->count; i++) {
        tl_listing_at(l, i, &e);
        size_t at = model_find(model, count, (const uint8_t *)e.name, e.name_len);
        assert_true(at < count);
        assert_entry_equal(&e, &model[at]);
        if (i > 0) {
            size_t shorter = e.name_len < before.name_len ? e.name_len : before.name_len;
            int order = memcmp(before.name, e.name, shorter);
            assert_true(order < 0 || (order == 0 && before.name_len < e.name_len));
        }
        before = e;
    }
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(tl_listing_find(l, (const char *)model[i].name, model[i].name_len, &e), 0);
        assert_entry_equal(&e, &model[i]);
    }
    for (int i = 0; i < 200; i++) {
        struct model_entry absent;
        random_entry(p, model, count, &absent);
        free(absent.target);
        assert_int_equal(tl_listing_find(l, (const char *)absent.name, absent.name_len, &e), -ENOENT);
    }
}

static void random_directories_come_back_as_they_were(void **state)
{
    (void)state;
    static struct model_entry model[1500];
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct tl_prng p;
        tl_prng_init(&p, seed, 0);
        size_t count = tl_prng_below(&p, seed == 1 ? 1 : seed < 10 ? 60 : 1500);
        struct tl_listing_builder *b = builder();
        for (size_t i = 0; i < count; i++) {
            random_entry(&p, model, i, &model[i]);
            const struct model_entry *m = &model[i];
            assert_int_equal(
                tl_listing_builder_add(b, (const char *)m->name, m->name_len, &m->attr, m->target, m->target_len), 0);
        }
        void *blob;
        size_t len;
        assert_int_equal(tl_listing_builder_finish(b, &blob, &len), 0);
        tl_listing_builder_free(b);
        struct tl_listing l, again;
        assert_int_equal(tl_listing_open(&l, blob, len), 0);
        assert_int_equal(tl_listing_reopen(&again, blob, len), 0);
        assert_int_equal(again.count, l.count);
        struct tl_attr self;
        tl_listing_self(&l, &self);
        assert_attr_equal(&self, &DIRECTORY);
        compare_with_model(&l, model, count, &p);
        for (size_t i = 0; i < count; i++)
            free(model[i].target);
        free(blob);
    }
}

static void the_order_of_adding_does_not_change_the_blob(void **state)
{
    (void)state;
    static const char *names[] = {"b", "a", "ab", "abc", "\xff", "0", "B", " "};
    void *first = NULL;
    size_t first_len = 0;
    for (size_t turn = 0; turn < 8; turn++) {
        struct tl_listing_builder *b = builder();
        for (size_t i = 0; i < 8; i++)
            assert_int_equal(add_file(b, names[(i * 3 + turn) % 8]), 0);
        void *blob;
        size_t len;
        assert_int_equal(tl_listing_builder_finish(b, &blob, &len), 0);
        tl_listing_builder_free(b);
        if (first == NULL) {
            first = blob;
            first_len = len;
            continue;
        }
        assert_int_equal(len, first_len);
        assert_memory_equal(blob, first, len);
        free(blob);
    }
    free(first);
}

static void a_name_twice_is_refused(void **state)
{
    (void)state;
    struct tl_listing_builder *b = builder();
    assert_int_equal(add_file(b, "x"), 0);
    assert_int_equal(add_file(b, "y"), 0);
    assert_int_equal(add_file(b, "x"), 0);
    void *blob;
    size_t len;
    assert_int_equal(tl_listing_builder_finish(b, &blob, &len), -EEXIST);
    tl_listing_builder_free(b);
}

static void bad_names_targets_and_attributes_are_refused(void **state)
{
    (void)state;
    struct tl_listing_builder *b = builder();
    char name[TL_NAME_MAX + 1];
    memset(name, 'n', sizeof name);
    assert_int_equal(tl_listing_builder_add(b, name, TL_NAME_MAX + 1, &FILE_ATTR, NULL, 0), -EINVAL);
    assert_int_equal(tl_listing_builder_add(b, name, 0, &FILE_ATTR, NULL, 0), -EINVAL);
    assert_int_equal(tl_listing_builder_add(b, "a\0b", 3, &FILE_ATTR, NULL, 0), -EINVAL);
    assert_int_equal(add_file(b, "a/b"), -EINVAL);
    assert_int_equal(add_file(b, "."), -EINVAL);
    assert_int_equal(add_file(b, ".."), -EINVAL);
    static char target[TL_LINK_MAX + 1];
    memset(target, 't', sizeof target);
    assert_int_equal(tl_listing_builder_add(b, "l", 1, &LINK_ATTR, target, TL_LINK_MAX + 1), -EINVAL);
    assert_int_equal(tl_listing_builder_add(b, "l", 1, &LINK_ATTR, NULL, 0), -EINVAL);
    assert_int_equal(tl_listing_builder_add(b, "l", 1, &LINK_ATTR, "a\0b", 3), -EINVAL);
    assert_int_equal(tl_listing_builder_add(b, "l", 1, &FILE_ATTR, "t", 1), -EINVAL);
    struct tl_attr bad = FILE_ATTR;
    bad.mode = 0644;
    assert_int_equal(tl_listing_builder_add(b, "f", 1, &bad, NULL, 0), -EINVAL);
    bad = FILE_ATTR;
    bad.version = 0;
    assert_int_equal(tl_listing_builder_add(b, "f", 1, &bad, NULL, 0), -EINVAL);
    bad = FILE_ATTR;
    bad.size_bytes = 1ull << 63;
    assert_int_equal(tl_listing_builder_add(b, "f", 1, &bad, NULL, 0), -EINVAL);
    bad = FILE_ATTR;
    bad.status = 5;
    assert_int_equal(tl_listing_builder_add(b, "f", 1, &bad, NULL, 0), -EINVAL);
    /* The longest of everything is fine, and so are "..." and ".x". */
    assert_int_equal(tl_listing_builder_add(b, name, TL_NAME_MAX, &FILE_ATTR, NULL, 0), 0);
    assert_int_equal(tl_listing_builder_add(b, "l", 1, &LINK_ATTR, target, TL_LINK_MAX), 0);
    assert_int_equal(add_file(b, "..."), 0);
    assert_int_equal(add_file(b, ".x"), 0);
    tl_listing_builder_free(b);
    assert_int_equal(tl_listing_builder_new(&b, &FILE_ATTR), -EINVAL);
    tl_listing_builder_free(NULL);
}

static void of_a_failed_name_only_the_error_is_kept(void **state)
{
    (void)state;
    struct tl_listing_builder *b = builder();
    struct tl_attr attr = FILE_ATTR;
    attr.status = -EACCES;
    assert_int_equal(tl_listing_builder_add(b, "f", 1, &attr, NULL, 0), 0);
    void *blob;
    size_t len;
    assert_int_equal(tl_listing_builder_finish(b, &blob, &len), 0);
    tl_listing_builder_free(b);
    struct tl_listing l;
    struct tl_listing_entry e;
    assert_int_equal(tl_listing_open(&l, blob, len), 0);
    assert_int_equal(tl_listing_find(&l, "f", 1, &e), 0);
    assert_attr_equal(&e.attr, &(struct tl_attr){.status = -EACCES});
    free(blob);
}

static void a_directory_beyond_the_blob_limit_is_refused_not_cut(void **state)
{
    (void)state;
    struct tl_listing_builder *b = builder();
    char name[TL_NAME_MAX + 1];
    int rc = 0;
    uint32_t added = 0;
    for (; added < TL_LISTING_SIZE_MAX / TL_NAME_MAX && rc == 0; added++) {
        snprintf(name, sizeof name, "%0*u", (int)TL_NAME_MAX, added * 2654435761u);
        rc = tl_listing_builder_add(b, name, TL_NAME_MAX, &FILE_ATTR, NULL, 0);
    }
    assert_int_equal(rc, -EFBIG);
    void *blob;
    size_t len;
    assert_int_equal(tl_listing_builder_finish(b, &blob, &len), 0);
    tl_listing_builder_free(b);
    assert_in_range(len, TL_LISTING_SIZE_MAX - 1000, TL_LISTING_SIZE_MAX);
    struct tl_listing l;
    assert_int_equal(tl_listing_open(&l, blob, len), 0);
    assert_int_equal(l.count, added - 1);
    free(blob);
}

/* A small blob with a file, a link, a failed name and a long-named directory. */
static uint8_t *small_blob(size_t *len)
{
    struct tl_listing_builder *b = builder();
    struct tl_attr failed = {.status = -EIO}, dir = DIRECTORY;
    assert_int_equal(add_file(b, "file"), 0);
    assert_int_equal(tl_listing_builder_add(b, "link", 4, &LINK_ATTR, "../to", 5), 0);
    assert_int_equal(tl_listing_builder_add(b, "bad", 3, &failed, NULL, 0), 0);
    assert_int_equal(tl_listing_builder_add(b, "files", 5, &dir, NULL, 0), 0);
    void *blob;
    assert_int_equal(tl_listing_builder_finish(b, &blob, len), 0);
    tl_listing_builder_free(b);
    return blob;
}

/* Opens bytes in a buffer of exactly their size (so that a sanitizer sees one byte too far) and, if they are taken,
 * uses everything. Returns the result of open. */
static int open_and_use(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len + 1);
    assert_non_null(copy);
    uint8_t *exact = realloc(copy, len > 0 ? len : 1);
    assert_non_null(exact);
    memcpy(exact, bytes, len);
    struct tl_listing l;
    int rc = tl_listing_open(&l, exact, len);
    uint64_t sum = 0;
    if (rc == 0) {
        struct tl_listing_entry e;
        for (uint32_t i = 0; i < l.count; i++) {
            tl_listing_at(&l, i, &e);
            assert_in_range(e.name_len, 1, TL_NAME_MAX);
            sum += tl_hash64(e.name, e.name_len, 0);
            if (e.target_len > 0)
                sum += tl_hash64(e.target, e.target_len, 0);
            struct tl_listing_entry same;
            assert_int_equal(tl_listing_find(&l, e.name, e.name_len, &same), 0);
            assert_ptr_equal(same.name, e.name);
        }
        assert_int_equal(tl_listing_find(&l, "zzz", 3, &e), -ENOENT);
    }
    free(exact);
    return sum == 1 ? 1 : rc; /* sum: so that the reads are not optimised away */
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    size_t len;
    uint8_t *blob = small_blob(&len);
    assert_int_equal(open_and_use(blob, len), 0);
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(open_and_use(blob, cut), -EBADMSG);
    uint8_t *longer = calloc(1, len + 1);
    assert_non_null(longer);
    memcpy(longer, blob, len);
    assert_int_equal(open_and_use(longer, len + 1), -EBADMSG);
    free(longer);
    free(blob);
}

static void every_changed_byte_is_refused_or_harmless(void **state)
{
    (void)state;
    size_t len;
    uint8_t *blob = small_blob(&len);
    unsigned refused = 0, harmless = 0;
    for (size_t i = 0; i < len; i++) {
        uint8_t old = blob[i];
        for (int value = 0; value < 256; value++) {
            blob[i] = (uint8_t)value;
            int rc = open_and_use(blob, len);
            assert_true(rc == 0 || rc == -EBADMSG);
            if (rc == 0)
                harmless++;
            else
                refused++;
        }
        blob[i] = old;
    }
    assert_true(refused > 0 && harmless > 0);
    free(blob);
}

static void random_damage_and_random_bytes_never_crash(void **state)
{
    (void)state;
    size_t len;
    uint8_t *blob = small_blob(&len);
    uint8_t *copy = malloc(len);
    assert_non_null(copy);
    struct tl_prng p;
    tl_prng_init(&p, 5, 0);
    for (int turn = 0; turn < 20000; turn++) {
        memcpy(copy, blob, len);
        for (uint64_t n = 1 + tl_prng_below(&p, 6); n > 0; n--) {
            static const uint32_t extreme[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0xffffff00, 88, 255};
            uint64_t at = tl_prng_below(&p, len - 3);
            if (tl_prng_below(&p, 2) == 0)
                copy[at] = (uint8_t)tl_prng_next(&p);
            else
                tl_put_u32(copy + at, extreme[tl_prng_below(&p, 8)]);
        }
        int rc = open_and_use(copy, len);
        assert_true(rc == 0 || rc == -EBADMSG);
    }
    free(copy);
    free(blob);
}

static void names_out_of_order_and_wrong_targets_are_refused(void **state)
{
    (void)state;
    size_t len;
    uint8_t *blob = small_blob(&len); /* bad, file, files, link */
    const size_t first = 16 + 88, strings = first + 4 * 88;
    uint8_t *at = blob + strings; /* "badfilefileslink../to" */
    assert_memory_equal(at, "badfilefileslink../to", 21);
    at[0] = 'z';
    assert_int_equal(open_and_use(blob, len), -EBADMSG);
    memcpy(at, "bad", 3);
    blob[first + 88 + 86] = 5; /* file takes a byte of files */
    assert_int_equal(open_and_use(blob, len), -EBADMSG);
    blob[first + 88 + 86] = 4;
    tl_put_u16(blob + first + 88 + 84, 1); /* a target for a plain file */
    assert_int_equal(open_and_use(blob, len), -EBADMSG);
    tl_put_u16(blob + first + 88 + 84, 0);
    assert_int_equal(open_and_use(blob, len), 0);
    free(blob);
}

static void the_same_name_twice_is_refused_in_a_blob_too(void **state)
{
    (void)state;
    struct tl_listing_builder *b = builder();
    void *blob;
    size_t len;
    assert_int_equal(add_file(b, "a"), 0);
    assert_int_equal(add_file(b, "b"), 0);
    assert_int_equal(tl_listing_builder_finish(b, &blob, &len), 0);
    tl_listing_builder_free(b);
    assert_int_equal(open_and_use(blob, len), 0);
    ((char *)blob)[len - 1] = 'a';
    assert_int_equal(open_and_use(blob, len), -EBADMSG);
    free(blob);
}

/* Builds a directory in which every array grows; returns the first error. */
static int build_growing(void)
{
    struct tl_listing_builder *b = NULL;
    int rc = tl_listing_builder_new(&b, &DIRECTORY);
    char name[64];
    for (int i = 0; i < 100 && rc == 0; i++) {
        snprintf(name, sizeof name, "a-rather-long-name-%d", i);
        rc = add_file(b, name);
    }
    void *blob = NULL;
    size_t len;
    if (rc == 0)
        rc = tl_listing_builder_finish(b, &blob, &len);
    free(blob);
    tl_listing_builder_free(b);
    return rc;
}

static void every_failed_allocation_is_reported(void **state)
{
    (void)state;
    long nth = 0;
    for (; nth < 1000; nth++) {
        tl_failing_alloc_at(nth);
        int rc = build_growing();
        bool hit = tl_failing_alloc_hit() != 0;
        tl_failing_alloc_at(-1);
        if (!hit) {
            assert_int_equal(rc, 0);
            break;
        }
        assert_int_equal(rc, -ENOMEM);
    }
    assert_in_range(nth, 5, 100);
}

static void versions_change_with_each_part_and_are_never_zero(void **state)
{
    (void)state;
    uint64_t v = tl_attr_version(1, 2, 3, 4, 5);
    assert_true(v != 0 && v == tl_attr_version(1, 2, 3, 4, 5));
    assert_true(v != tl_attr_version(2, 2, 3, 4, 5) && v != tl_attr_version(1, 3, 3, 4, 5));
    assert_true(v != tl_attr_version(1, 2, 4, 4, 5) && v != tl_attr_version(1, 2, 3, 5, 5));
    assert_true(v != tl_attr_version(1, 2, 3, 4, 6) && v != tl_attr_version(1, 2, 3, 4, -5));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_directories_come_back_as_they_were),
        cmocka_unit_test(the_order_of_adding_does_not_change_the_blob),
        cmocka_unit_test(a_name_twice_is_refused),
        cmocka_unit_test(bad_names_targets_and_attributes_are_refused),
        cmocka_unit_test(of_a_failed_name_only_the_error_is_kept),
        cmocka_unit_test(a_directory_beyond_the_blob_limit_is_refused_not_cut),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_changed_byte_is_refused_or_harmless),
        cmocka_unit_test(random_damage_and_random_bytes_never_crash),
        cmocka_unit_test(names_out_of_order_and_wrong_targets_are_refused),
        cmocka_unit_test(the_same_name_twice_is_refused_in_a_blob_too),
        cmocka_unit_test(every_failed_allocation_is_reported),
        cmocka_unit_test(versions_change_with_each_part_and_are_never_zero),
    };
    return cmocka_run_group_tests_name("listing", tests, NULL, NULL);
}
