// SPDX-License-Identifier: Apache-2.0
/* A directory's catalog for web servers. */
#include "base/catalog.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/failing_alloc.h"

enum { CHUNK = 4096 };

static const struct tl_attr directory = {.ino = 1, .version = 1, .mode = S_IFDIR | 0755, .nlink = 2, .access = 5};

static struct tl_attr file_of(uint64_t size)
{
    return (struct tl_attr){
        .ino = 2, .version = 7, .mode = S_IFREG | 0644, .nlink = 1, .access = 4, .size_bytes = size};
}

/* Files "a" of 3 chunks, "b" empty, "c" of 1, a link and a directory. Blob malloc'd. */
static void *make_listing(size_t *len)
{
    struct tl_listing_builder *b = NULL;
    void *blob = NULL;
    struct tl_attr a = file_of(2 * CHUNK + 1), none = file_of(0), c = file_of(CHUNK), link = file_of(4);
    link.mode = S_IFLNK | 0777;
    assert_int_equal(tl_listing_builder_new(&b, &directory), 0);
    assert_int_equal(tl_listing_builder_add(b, "c", 1, &c, NULL, 0), 0);
    assert_int_equal(tl_listing_builder_add(b, "a", 1, &a, NULL, 0), 0);
    assert_int_equal(tl_listing_builder_add(b, "b", 1, &none, NULL, 0), 0);
    assert_int_equal(tl_listing_builder_add(b, "link", 4, &link, "some", 4), 0);
    assert_int_equal(tl_listing_builder_add(b, "bb", 2, &directory, NULL, 0), 0);
    assert_int_equal(tl_listing_builder_finish(b, &blob, len), 0);
    tl_listing_builder_free(b);
    return blob;
}

static const struct tl_hash digests[] = {{1, 2}, {3, 4}, {5, 6}, {7, 8}, {9, 9}};

static void *make(size_t digest_count, size_t *len)
{
    size_t listing_len;
    void *listing = make_listing(&listing_len), *bytes = NULL;
    assert_int_equal(tl_catalog_make(listing, listing_len, CHUNK, digests, digest_count, &bytes, len), 0);
    free(listing);
    return bytes;
}

static void every_name_leads_to_its_digests(void **state)
{
    (void)state;
    size_t len;
    void *bytes = make(4, &len);
    struct tl_catalog c;
    struct tl_listing_entry e;
    uint32_t first;
    assert_int_equal(tl_catalog_open(&c, bytes, len), 0);
    assert_int_equal(c.chunk_size, CHUNK);
    assert_int_equal(c.listing.count, 5);
    assert_int_equal(tl_catalog_find(&c, "a", &e, &first), 0);
    assert_int_equal(first, 0);
    assert_int_equal(e.attr.size_bytes, 2 * CHUNK + 1);
    assert_true(tl_hash_equal(tl_catalog_digest(&c, first + 2), digests[2]));
    assert_int_equal(tl_catalog_find(&c, "c", &e, &first), 0);
    assert_true(tl_hash_equal(tl_catalog_digest(&c, first), digests[3]));
    assert_int_equal(tl_catalog_find(&c, "link", &e, &first), 0);
    assert_memory_equal(e.target, "some", 4);
    assert_int_equal(tl_catalog_find(&c, "bb", &e, &first), 0);
    static const char *const missing[] = {"", "A", "aa", "bbb", "d", "lin", "links", "zz"};
    for (size_t i = 0; i < sizeof missing / sizeof missing[0]; i++)
        assert_int_equal(tl_catalog_find(&c, missing[i], &e, &first), -ENOENT);
    tl_catalog_fini(&c);
    free(bytes);
}

static void no_flipped_bit_and_no_cut_goes_unseen(void **state)
{
    (void)state;
    size_t len;
    uint8_t *bytes = make(4, &len);
    struct tl_catalog c;
    for (size_t bit = 0; bit < len * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(tl_catalog_open(&c, bytes, len), -EBADMSG);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t cut = 0; cut < len; cut++) {
        uint8_t *exact = malloc(cut + (cut == 0));
        assert_non_null(exact);
        memcpy(exact, bytes, cut);
        assert_int_equal(tl_catalog_open(&c, exact, cut), -EBADMSG);
        free(exact);
    }
    assert_int_equal(tl_catalog_open(&c, bytes, len), 0);
    tl_catalog_fini(&c);
    free(bytes);
}

static void there_are_as_many_digests_as_chunks(void **state)
{
    (void)state;
    struct tl_catalog c;
    for (size_t count = 0; count <= 5; count++) {
        size_t len;
        void *bytes = make(count, &len);
        assert_int_equal(tl_catalog_open(&c, bytes, len), count == 4 ? 0 : -EBADMSG);
        if (count == 4)
            tl_catalog_fini(&c);
        free(bytes);
    }
}

static void without_memory_nothing_leaks(void **state)
{
    (void)state;
    size_t len;
    void *bytes = make(4, &len);
    struct tl_catalog c;
    int rc = -ENOMEM;
    for (unsigned fail = 0; rc == -ENOMEM; fail++) {
        tl_failing_alloc_at((long)fail);
        rc = tl_catalog_open(&c, bytes, len);
        tl_failing_alloc_at(-1);
    }
    assert_int_equal(rc, 0);
    tl_catalog_fini(&c);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_leads_to_its_digests),
        cmocka_unit_test(no_flipped_bit_and_no_cut_goes_unseen),
        cmocka_unit_test(there_are_as_many_digests_as_chunks),
        cmocka_unit_test(without_memory_nothing_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
