// SPDX-License-Identifier: Apache-2.0
/* The wire format: every message at the borders of its fields, every truncation, every change of one byte, and random
 * mutations. What the decoder lets through encodes to the very same bytes: there is one encoding for each message.
 *
 * With a folder as its argument, writes one message of each kind into it: the corpus of the fuzzer (fuzz_wire.c). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "core/wire/wire.h"

#define MESSAGES_MAX 64u
#define MUTATIONS    400000u /* below a second */

static char long_path[TL_PATH_MAX];
static struct tl_wire messages[MESSAGES_MAX];
static const char *names[MESSAGES_MAX];
static size_t message_count;

static struct tl_wire *add(const char *name, enum tl_wire_type type)
{
    assert_true(message_count < MESSAGES_MAX);
    names[message_count] = name;
    messages[message_count] = (struct tl_wire){.type = type};
    return &messages[message_count++];
}

static void add_gets(void)
{
    struct tl_wire *m = add("get-list-root", TL_WIRE_GET);
    m->get.op = TL_OP_LIST;
    m->get.count = 1;
    m->get.path = "/";
    m->get.path_len = 1;
    m = add("get-longest-path", TL_WIRE_GET);
    m->get.op = TL_OP_LIST;
    m->get.count = 1;
    m->get.path = long_path;
    m->get.path_len = TL_PATH_MAX - 1;
    m = add("get-entry", TL_WIRE_GET);
    m->get.op = TL_OP_ENTRY;
    m->get.count = 1;
    m->get.path = "/home/name";
    m->get.path_len = 10;
    m = add("get-xattrs", TL_WIRE_GET);
    m->get.op = TL_OP_XATTRS;
    m->get.count = 1;
    m->get.path = "/file";
    m->get.path_len = 5;
    m = add("get-read", TL_WIRE_GET);
    m->get.req = UINT64_MAX;
    m->get.op = TL_OP_READ;
    m->get.version = 1;
    m->get.file_size_bytes = 1;
    m->get.count = 1;
    m->get.path = "/a/\xff\n b";
    m->get.path_len = 7;
    m = add("get-last-chunks", TL_WIRE_GET);
    m->get.req = 7;
    m->get.op = TL_OP_READ;
    m->get.version = UINT64_MAX;
    m->get.file_size_bytes = UINT64_MAX;
    m->get.first = UINT32_MAX - TL_WIRE_GET_CHUNKS_MAX;
    m->get.count = TL_WIRE_GET_CHUNKS_MAX;
    m->get.path = "/huge";
    m->get.path_len = 5;
}

static void add_data(void)
{
    struct tl_wire *m = add("data-error", TL_WIRE_DATA);
    m->data.key = (struct tl_hash){1, 2};
    m->data.status = -ENOENT;
    m = add("data-error-lowest", TL_WIRE_DATA);
    m->data.req = UINT64_MAX;
    m->data.chunk = UINT32_MAX;
    m->data.status = -4095;
    m = add("data-inline", TL_WIRE_DATA);
    m->data.mode = TL_DATA_INLINE;
    m->data.len = 1;
    m->data.digest = (struct tl_hash){UINT64_MAX, UINT64_MAX};
    m = add("data-inline-longest", TL_WIRE_DATA);
    m->data.mode = TL_DATA_INLINE;
    m->data.len = TL_INLINE_MAX;
    m = add("data-pull", TL_WIRE_DATA);
    m->data.mode = TL_DATA_PULL;
    m->data.len = 1;
    m->data.loan = 1;
    m = add("data-pull-longest", TL_WIRE_DATA);
    m->data.mode = TL_DATA_PULL;
    m->data.len = TL_WIRE_PULL_MAX;
    m->data.addr = UINT64_MAX;
    m->data.loan = UINT64_MAX;
    m->data.key = (struct tl_hash){UINT64_MAX, UINT64_MAX};
}

static void add_floods(void)
{
    struct tl_wire *m = add("flood-flush-all", TL_WIRE_FLOOD);
    m->flood.kind = TL_FLOOD_FLUSH;
    m->flood.path = "";
    m = add("flood-flush-longest", TL_WIRE_FLOOD);
    m->flood.kind = TL_FLOOD_FLUSH;
    m->flood.id = UINT64_MAX;
    m->flood.hops = UINT8_MAX;
    m->flood.path = long_path;
    m->flood.path_len = TL_PATH_MAX - 1;
    m = add("flood-gather", TL_WIRE_FLOOD);
    m->flood.kind = TL_FLOOD_GATHER;
    m->flood.id = 3;
    m->flood.path = "";
    m = add("report-zero", TL_WIRE_REPORT);
    m = add("report-full", TL_WIRE_REPORT);
    memset(&m->report.report.counters, 0xff, sizeof m->report.report.counters);
    m->report.id = m->report.report.incarnation = UINT64_MAX;
    m->report.report.parent = UINT32_MAX;
    m->report.report.rank = m->report.report.children = m->report.report.subtree = 0x01020304;
    m = add("flooded-none", TL_WIRE_FLOODED);
    m = add("flooded-all", TL_WIRE_FLOODED);
    m->flooded.id = UINT64_MAX;
    m->flooded.nodes = UINT32_MAX;
    m->flooded.complete = true;
}

static int make_messages(void **state)
{
    (void)state;
    memset(long_path, 'p', sizeof long_path);
    long_path[0] = '/';
    struct tl_wire *m = add("hello-zero", TL_WIRE_HELLO);
    m = add("hello-full", TL_WIRE_HELLO);
    m->hello.protocol = m->hello.rank = m->hello.node_count = m->hello.arity = m->hello.roots = UINT32_MAX;
    m->hello.job_id = m->hello.incarnation = UINT64_MAX;
    m = add("join-leaf", TL_WIRE_JOIN);
    m->join.subtree = 1;
    m = add("join-most", TL_WIRE_JOIN);
    m->join.tree = TL_FOREST_TREES_MAX - 1;
    m->join.subtree = UINT32_MAX;
    m = add("join-leave", TL_WIRE_JOIN);
    add_gets();
    add_data();
    m = add("done", TL_WIRE_DONE);
    m->done.loan = UINT64_MAX;
    add("ping", TL_WIRE_PING);
    add("pong", TL_WIRE_PONG);
    add_floods();
    return 0;
}

static void assert_get_equal(const struct tl_wire *a, const struct tl_wire *b)
{
    assert_true(a->get.req == b->get.req && a->get.op == b->get.op && a->get.version == b->get.version);
    assert_true(a->get.file_size_bytes == b->get.file_size_bytes);
    assert_true(a->get.first == b->get.first && a->get.count == b->get.count && a->get.path_len == b->get.path_len);
    assert_memory_equal(a->get.path, b->get.path, a->get.path_len);
}

static void assert_hello_equal(const struct tl_wire *a, const struct tl_wire *b)
{
    assert_true(a->hello.protocol == b->hello.protocol && a->hello.rank == b->hello.rank);
    assert_true(a->hello.node_count == b->hello.node_count && a->hello.arity == b->hello.arity);
    assert_true(a->hello.roots == b->hello.roots && a->hello.job_id == b->hello.job_id);
    assert_true(a->hello.incarnation == b->hello.incarnation);
}

static void assert_data_equal(const struct tl_wire *a, const struct tl_wire *b)
{
    assert_true(a->data.req == b->data.req && tl_hash_equal(a->data.key, b->data.key));
    assert_true(a->data.chunk == b->data.chunk && a->data.status == b->data.status && a->data.mode == b->data.mode);
    assert_true(a->data.len == b->data.len && tl_hash_equal(a->data.digest, b->data.digest));
    assert_true(a->data.addr == b->data.addr && a->data.loan == b->data.loan);
}

static void assert_flood_equal(const struct tl_wire *a, const struct tl_wire *b)
{
    assert_true(a->flood.kind == b->flood.kind && a->flood.id == b->flood.id && a->flood.hops == b->flood.hops);
    assert_true(a->flood.path_len == b->flood.path_len);
    assert_memory_equal(a->flood.path, b->flood.path, a->flood.path_len);
}

static void assert_report_equal(const struct tl_wire *a, const struct tl_wire *b)
{
    const struct tl_report *x = &a->report.report, *y = &b->report.report;
    assert_true(a->report.id == b->report.id && x->rank == y->rank && x->parent == y->parent);
    assert_true(x->children == y->children && x->subtree == y->subtree && x->incarnation == y->incarnation);
    assert_memory_equal(&x->counters, &y->counters, sizeof x->counters);
}

static void assert_message_equal(const struct tl_wire *a, const struct tl_wire *b)
{
    assert_int_equal(a->type, b->type);
    switch (a->type) {
    case TL_WIRE_HELLO: assert_hello_equal(a, b); break;
    case TL_WIRE_JOIN: assert_true(a->join.tree == b->join.tree && a->join.subtree == b->join.subtree); break;
    case TL_WIRE_GET: assert_get_equal(a, b); break;
    case TL_WIRE_DATA: assert_data_equal(a, b); break;
    case TL_WIRE_DONE: assert_true(a->done.loan == b->done.loan); break;
    case TL_WIRE_PING:
    case TL_WIRE_PONG: break;
    case TL_WIRE_FLOOD: assert_flood_equal(a, b); break;
    case TL_WIRE_REPORT: assert_report_equal(a, b); break;
    case TL_WIRE_FLOODED:
        assert_true(a->flooded.id == b->flooded.id && a->flooded.nodes == b->flooded.nodes);
        assert_int_equal(a->flooded.complete, b->flooded.complete);
        break;
    }
}

static uint8_t encoded[TL_HEADER_MAX];

static size_t encode(size_t i)
{
    int len = tl_wire_encode(&messages[i], encoded, sizeof encoded);
    assert_true(len > 0);
    return (size_t)len;
}

static void every_message_comes_back_as_it_was(void **state)
{
    (void)state;
    for (size_t i = 0; i < message_count; i++) {
        size_t len = encode(i);
        struct tl_wire out;
        assert_int_equal(tl_wire_decode(&out, encoded, len), 0);
        assert_message_equal(&messages[i], &out);
    }
}

static void every_kind_of_message_is_among_them(void **state)
{
    (void)state;
    for (enum tl_wire_type type = TL_WIRE_HELLO; type <= TL_WIRE_FLOODED; type++) {
        size_t count = 0;
        for (size_t i = 0; i < message_count; i++)
            count += messages[i].type == type;
        assert_true(count > 0);
    }
}

static void a_buffer_that_is_too_small_is_said_and_not_overrun(void **state)
{
    (void)state;
    for (size_t i = 0; i < message_count; i++) {
        size_t len = encode(i);
        for (size_t max = 0; max < len; max++) {
            uint8_t *exact = malloc(max + 1); /* sanitizers see what is written behind it */
            assert_non_null(exact);
            exact[max] = 0xa5;
            assert_int_equal(tl_wire_encode(&messages[i], exact, max), -EMSGSIZE);
            assert_int_equal(exact[max], 0xa5);
            free(exact);
        }
    }
}

static void every_truncation_and_every_addition_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < message_count; i++) {
        size_t len = encode(i);
        for (size_t cut = 0; cut <= len + 1; cut++) {
            uint8_t *exact = malloc(cut == 0 ? 1 : cut);
            assert_non_null(exact);
            memset(exact, 0, cut);
            memcpy(exact, encoded, cut < len ? cut : len);
            struct tl_wire out;
            assert_int_equal(tl_wire_decode(&out, exact, cut), cut == len ? 0 : -EBADMSG);
            free(exact);
        }
    }
    struct tl_wire out;
    assert_int_equal(tl_wire_decode(&out, NULL, 0), -EBADMSG);
}

/* Refused, or the one encoding of what it says. True: let through. */
static bool decodes_canonically(const uint8_t *bytes, size_t len)
{
    struct tl_wire out;
    uint8_t again[TL_HEADER_MAX];
    int rc = tl_wire_decode(&out, bytes, len);
    if (rc != 0) {
        assert_int_equal(rc, -EBADMSG);
        return false;
    }
    assert_int_equal(tl_wire_encode(&out, again, sizeof again), len);
    assert_memory_equal(again, bytes, len);
    return true;
}

static void every_change_of_one_byte_is_refused_or_says_something_else(void **state)
{
    (void)state;
    for (size_t i = 0; i < message_count; i++) {
        size_t len = encode(i), step = len > 600 ? 97 : 1; /* inside a long path all bytes are alike */
        for (size_t at = 0; at < len; at += at < 80 ? 1 : step)
            for (uint32_t value = 0; value < 256; value++) {
                uint8_t before = encoded[at];
                encoded[at] = (uint8_t)value;
                (void)decodes_canonically(encoded, len);
                encoded[at] = before;
            }
    }
}

static void random_mutations_never_get_through_in_two_spellings(void **state)
{
    (void)state;
    static uint8_t bytes[TL_HEADER_MAX];
    struct tl_prng p;
    tl_prng_init(&p, 3, 0);
    uint32_t through = 0;
    for (uint32_t k = 0; k < MUTATIONS; k++) {
        size_t i = (size_t)tl_prng_below(&p, message_count);
        size_t len = encode(i);
        if (len > 1000 && k % 16 != 0)
            continue; /* the long ones cost more */
        memcpy(bytes, encoded, len);
        for (uint64_t changes = 1 + tl_prng_below(&p, 4); changes > 0; changes--) {
            size_t at = (size_t)tl_prng_below(&p, tl_prng_below(&p, 2) == 0 ? len : (len < 64 ? len : 64));
            static const uint8_t borders[] = {0, 1, 2, 0x7f, 0x80, 0xff, '/'};
            bool border = tl_prng_below(&p, 2) == 0;
            bytes[at] = border ? borders[tl_prng_below(&p, sizeof borders)] : (uint8_t)tl_prng_next(&p);
        }
        if (tl_prng_below(&p, 8) == 0)
            len = (size_t)tl_prng_below(&p, len + 1);
        through += decodes_canonically(bytes, len);
    }
    assert_true(through > MUTATIONS / 20); /* the mutations are not all trivial */
}

/* Writes value, width bytes, over a good message and expects a refusal. */
static void assert_refused(const char *name, size_t at, uint64_t value, size_t width)
{
    for (size_t i = 0; i < message_count; i++) {
        if (strcmp(names[i], name) != 0)
            continue;
        size_t len = encode(i);
        assert_true(at + width <= len);
        for (size_t k = 0; k < width; k++)
            encoded[at + k] = (uint8_t)(value >> (8 * k));
        struct tl_wire out;
        if (tl_wire_decode(&out, encoded, len) != -EBADMSG)
            fail_msg("%s with %llu at byte %zu was let through", name, (unsigned long long)value, at);
        return;
    }
    fail_msg("no message is called %s", name);
}

static void what_breaks_a_limit_is_refused(void **state)
{
    (void)state;
    assert_refused("ping", 0, 0, 1);                        /* magic */
    assert_refused("ping", 1, 0, 1);                        /* type */
    assert_refused("ping", 1, 11, 1);                       /* type */
    assert_refused("join-leaf", 2, TL_FOREST_TREES_MAX, 1); /* tree */
    assert_refused("get-read", 10, 0, 1);                   /* op */
    assert_refused("get-read", 10, 3, 1);                   /* op */
    assert_refused("get-read", 10, 9, 1);                   /* op */
    assert_refused("get-read", 11, 0, 8);                   /* a file without version */
    assert_refused("get-read", 19, 0, 8);                   /* of size 0 has no chunks */
    assert_refused("get-read", 27, 1, 4);                   /* beyond its end */
    assert_refused("get-read", 31, 0, 4);                   /* no chunk */
    assert_refused("get-read", 31, 2, 4);                   /* one too many */
    assert_refused("get-last-chunks", 31, 65, 4);           /* more than a GET may ask for */
    assert_refused("get-list-root", 19, 1, 8);              /* with a size */
    assert_refused("get-list-root", 27, 1, 4);              /* with a second chunk */
    assert_refused("get-list-root", 37, 'a', 1);            /* a path that is not absolute */
    assert_refused("get-read", 38, 0, 1);                   /* NUL in a path */
    assert_refused("data-error", 30, 0, 4);                 /* an error without status */
    assert_refused("data-error", 30, 1, 4);                 /* with a positive one */
    assert_refused("data-error", 30, (uint32_t)-4096, 4);   /* with one that is no errno */
    assert_refused("data-error", 34, 3, 1);                 /* mode */
    assert_refused("data-error", 35, 1, 4);                 /* with bytes */
    assert_refused("data-error", 39, 1, 8);                 /* with a digest */
    assert_refused("data-error", 55, 1, 8);                 /* with an address */
    assert_refused("data-inline", 30, (uint32_t)-5, 4);     /* bytes and an error */
    assert_refused("data-inline", 35, 0, 4);                /* no bytes */
    assert_refused("data-inline", 35, TL_INLINE_MAX + 1, 4);
    assert_refused("data-inline", 55, 1, 8); /* with an address */
    assert_refused("data-inline", 63, 1, 8); /* with a loan */
    assert_refused("data-pull", 35, TL_WIRE_PULL_MAX + 1, 4);
    assert_refused("data-pull", 63, 0, 8);   /* without a loan */
    assert_refused("flood-gather", 2, 0, 1); /* kind */
    assert_refused("flood-gather", 2, 3, 1); /* kind */
    assert_refused("flooded-all", 14, 2, 1); /* neither true nor false */
    assert_refused("report-zero", 34, 0, 2); /* another number of counters */
    assert_refused("report-zero", 34, 0xffff, 2);
}

static void what_is_longer_than_a_header_is_refused(void **state)
{
    (void)state;
    static uint8_t bytes[TL_HEADER_MAX + 1] = {0x54, TL_WIRE_PING};
    struct tl_wire out;
    assert_int_equal(tl_wire_decode(&out, bytes, 2), 0);
    assert_int_equal(tl_wire_decode(&out, bytes, sizeof bytes), -EBADMSG);
}

static void keys_tell_kinds_paths_and_versions_apart(void **state)
{
    (void)state;
    struct tl_hash keys[] = {tl_object_key(TL_OP_LIST, "/a", 2, 0),
                             tl_object_key(TL_OP_LIST, "/b", 2, 0),
                             tl_object_key(TL_OP_READ, "/a", 2, 1),
                             tl_object_key(TL_OP_READ, "/a", 2, 2),
                             tl_object_key(TL_OP_READ, "/a", 2, 1ull << 63 | 1),
                             tl_object_key(TL_OP_ENTRY, "/a", 2, 0),
                             tl_object_key(TL_OP_ENTRY, "/b", 2, 0),
                             tl_object_key(TL_OP_XATTRS, "/a", 2, 0)};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        for (size_t k = 0; k < i; k++)
            assert_false(tl_hash_equal(keys[i], keys[k]));
}

static void chunks_cover_a_file_without_gap(void **state)
{
    (void)state;
    const uint64_t c = TL_CHUNK_SIZE;
    const uint64_t sizes[] = {1, c - 1, c, c + 1, 2 * c, 10 * c + 7, UINT32_MAX * c - 1, UINT32_MAX * c};
    assert_int_equal(tl_chunk_count(0), 0);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint32_t count = tl_chunk_count(sizes[i]);
        assert_true((count - 1) * c < sizes[i] && count * c >= sizes[i]);
        assert_int_equal(tl_chunk_len(sizes[i], 0), sizes[i] < c ? sizes[i] : c);
        assert_true((count - 1) * c + tl_chunk_len(sizes[i], count - 1) == sizes[i]);
    }
    assert_int_equal(tl_chunk_count(UINT64_MAX), UINT32_MAX); /* what lies beyond 1 PiB has no number */
}

static int write_corpus(const char *folder)
{
    (void)make_messages(NULL);
    for (size_t i = 0; i < message_count; i++) {
        char path[512];
        (void)snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        int len = tl_wire_encode(&messages[i], encoded, sizeof encoded);
        FILE *f = fopen(path, "wb");
        if (len < 0 || f == NULL || fwrite(encoded, 1, (size_t)len, f) != (size_t)len || fclose(f) != 0) {
            (void)fprintf(stderr, "%s: not written\n", path);
            return 1;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return write_corpus(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_comes_back_as_it_was),
        cmocka_unit_test(every_kind_of_message_is_among_them),
        cmocka_unit_test(a_buffer_that_is_too_small_is_said_and_not_overrun),
        cmocka_unit_test(every_truncation_and_every_addition_is_refused),
        cmocka_unit_test(every_change_of_one_byte_is_refused_or_says_something_else),
        cmocka_unit_test(random_mutations_never_get_through_in_two_spellings),
        cmocka_unit_test(what_breaks_a_limit_is_refused),
        cmocka_unit_test(what_is_longer_than_a_header_is_refused),
        cmocka_unit_test(keys_tell_kinds_paths_and_versions_apart),
        cmocka_unit_test(chunks_cover_a_file_without_gap),
    };
    return cmocka_run_group_tests(tests, make_messages, NULL);
}
