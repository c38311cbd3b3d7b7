// SPDX-License-Identifier: Apache-2.0
/* The HTTP source when servers fail, lie, and change. Run by with_web.py: both servers have the same folder. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/time.h"
#include "source/conformance.h"
#include "source/web.h"

enum { CHUNKS = 8, SIZE = CHUNKS * TL_TEST_CHUNK - 100 };
#define FILE_PATH WEB_ROOT "/file"

static char said[2048]; /* the latest warning */
static uint32_t said_count;
static uint8_t bytes[SIZE], buffer[CHUNKS * TL_TEST_CHUNK];
static struct tl_attr attr;

static void warn(const char *sentence)
{
    snprintf(said, sizeof said, "%s", sentence);
    said_count++;
}

static struct tl_source *open_urls(const char *urls)
{
    struct tl_source *s = NULL;
    struct tl_error err;
    struct tl_source_config config = tl_test_source_config();
    config.warn = warn;
    config.threads = 1; /* warnings one at a time */
    said[0] = '\0';
    said_count = 0;
    if (tl_source_http_open(&s, &config, urls, 1, &err) != 0)
        fail_msg("%s", err.msg);
    return s;
}

static struct tl_source *open_both(void)
{
    char urls[256];
    snprintf(urls, sizeof urls, "%s,%s/", web_urls[0], web_urls[1]);
    struct tl_source *s = open_urls(urls);
    attr = tl_test_source_attr(s, WEB_ROOT, "file");
    web_order(0, "/-seen");
    web_order(1, "/-seen");
    return s;
}

static void fault(unsigned server, const char *kind, const char *word)
{
    char order[128];
    snprintf(order, sizeof order, "/-fault?%s&9&%s", kind, word);
    web_order(server, order);
}

static int setup(void **state)
{
    (void)state;
    web_order(0, "/-heal");
    web_order(1, "/-heal");
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    web_put_file(FILE_PATH, bytes, SIZE);
    memset(buffer, 0, sizeof buffer);
    return 0;
}

/* What comes of reading all of it. */
static int read_all(struct tl_source *s)
{
    int status;
    uint32_t n = tl_test_source_read(s, FILE_PATH, &attr, 0, CHUNKS, buffer, &status);
    assert_true(status != 0 || n == CHUNKS);
    if (status == 0)
        assert_memory_equal(buffer, bytes, SIZE);
    return status;
}

static void assert_said(const char *word)
{
    if (strstr(said, word) == NULL)
        fail_msg("\"%s\" is not in: %s", word, said);
}

static void the_next_server_is_asked_where_one_fails(void **state)
{
    (void)state;
    static const struct {
        const char *kind, *says;
    } faults[] = {{"500", "500"},
                  {"404", "is not there"},
                  {"close", "cut short"},
                  {"cut", "cut short"},
                  {"stall", "too slow"},
                  {"alter", "not what was exported"},
                  {"length", "not what was exported"}};
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        setup(NULL);
        struct tl_source *s = open_both();
        fault(0, faults[i].kind, "file");
        uint64_t began = tl_time_mono_ns();
        assert_int_equal(read_all(s), 0);
        assert_true(tl_time_mono_ns() - began < 10 * TL_NS_PER_S);
        assert_said(faults[i].says);
        assert_said(web_urls[0]);
        assert_int_equal(said_count, 1);
        tl_source_close(s);
    }
}

static void what_came_before_the_fault_is_not_asked_for_again(void **state)
{
    (void)state;
    struct tl_source *s = open_both();
    struct tl_source_stats stats;
    fault(0, "cut", "file");
    assert_int_equal(read_all(s), 0);
    tl_source_stats(s, &stats);
    assert_int_equal(stats.bytes, SIZE);
    assert_int_equal(stats.errors, 0);
    tl_source_close(s);
}

static void who_failed_is_asked_last_for_a_while(void **state)
{
    (void)state;
    struct tl_source *s = open_both();
    fault(0, "500", "file");
    for (int i = 0; i < 5; i++)
        assert_int_equal(read_all(s), 0);
    assert_string_equal(web_order(0, "/-seen"), "500 " FILE_PATH "\n");
    assert_int_equal(said_count, 1);
    fault(1, "500", "file"); /* now the first one is needed, and has come back */
    web_order(0, "/-heal");
    assert_int_equal(read_all(s), 0);
    tl_source_close(s);
}

static void without_any_server_there_is_an_error_that_names_it(void **state)
{
    (void)state;
    struct tl_source *s = open_both();
    fault(0, "500", "");
    fault(1, "500", "");
    assert_int_equal(read_all(s), -EIO);
    tl_source_close(s);
    s = open_urls("http://127.0.0.1:9/x"); /* the discard port: nobody listens */
    struct tl_listing l;
    assert_int_equal(tl_test_source_list(s, WEB_ROOT, &l), -EHOSTUNREACH);
    assert_said("http://127.0.0.1:9/x" WEB_ROOT);
    assert_said("is the server up");
    tl_source_close(s);
}

static void bytes_that_are_wrong_everywhere_are_nobodys(void **state)
{
    (void)state;
    struct tl_source *s = open_both();
    int status;
    bytes[5 * TL_TEST_CHUNK] ^= 1;
    web_change_file(FILE_PATH, bytes, SIZE); /* and no new catalog */
    assert_int_equal(tl_test_source_read(s, FILE_PATH, &attr, 0, CHUNKS, buffer, &status), 5);
    assert_int_equal(status, -EIO);
    assert_said("tiercel export --http");
    web_change_file(FILE_PATH, bytes, SIZE - 1);
    assert_int_equal(tl_test_source_read(s, FILE_PATH, &attr, 0, CHUNKS, buffer, &status), 0);
    assert_int_equal(status, -EIO);
    web_put_file(FILE_PATH, bytes, SIZE);
    assert_int_equal(read_all(s), -ESTALE); /* attr is that of the catalog before */
    tl_source_close(s);
}

static void a_catalog_that_is_damaged_is_none(void **state)
{
    (void)state;
    static const char *const kinds[] = {"alter", "cut", "500"};
    struct tl_listing l;
    for (size_t i = 0; i < 3; i++) {
        setup(NULL);
        struct tl_source *s = open_both();
        web_put_file(FILE_PATH, bytes, SIZE); /* another catalog than the one that is kept */
        fault(0, kinds[i], WEB_ROOT "/.tiercel-list");
        assert_int_equal(tl_test_source_list(s, WEB_ROOT, &l), 0);
        free((void *)(uintptr_t)l.bytes);
        assert_int_equal(said_count, 1);
        web_put_file(FILE_PATH, bytes, SIZE);
        fault(1, kinds[i], WEB_ROOT "/.tiercel-list");
        assert_int_equal(tl_test_source_list(s, WEB_ROOT, &l), -EIO);
        tl_source_close(s);
    }
}

static void a_catalog_is_sent_again_only_if_it_changed(void **state)
{
    (void)state;
    struct tl_source *s = open_both();
    struct tl_listing l;
    assert_int_equal(tl_test_source_list(s, WEB_ROOT, &l), 0);
    free((void *)(uintptr_t)l.bytes);
    assert_string_equal(web_order(0, "/-seen"), "304 " WEB_ROOT "/.tiercel-list\n");
    assert_int_equal(read_all(s), 0); /* and not at all for a file of it */
    assert_string_equal(web_order(0, "/-seen"), "206 " FILE_PATH "\n");
    tl_source_close(s);
}

static void a_server_without_ranges_will_do_for_small_files(void **state)
{
    (void)state;
    static uint8_t large[5 << 20];
    int status;
    struct tl_source *s = open_both();
    fault(0, "norange", "");
    assert_int_equal(tl_test_source_read(s, FILE_PATH, &attr, 3, 2, buffer, &status), 2);
    assert_memory_equal(buffer, bytes + 3 * TL_TEST_CHUNK, 2 * TL_TEST_CHUNK);
    web_put_file(WEB_ROOT "/large", large, sizeof large);
    struct tl_attr of = tl_test_source_attr(s, WEB_ROOT, "large");
    fault(1, "norange", "large");
    assert_int_equal(
        tl_test_source_read(s, WEB_ROOT "/large", &of, sizeof large / TL_TEST_CHUNK - 2, 2, buffer, &status), 0);
    assert_int_equal(status, -EIO);
    assert_said("knows no ranges");
    web_remove(WEB_ROOT "/large");
    tl_source_close(s);
}

static void closing_does_not_wait_for_a_server(void **state)
{
    (void)state;
    struct tl_source *s = open_both();
    struct tl_source_op op = {.path = FILE_PATH,
                              .path_len = sizeof FILE_PATH - 1,
                              .version = attr.version,
                              .file_size_bytes = SIZE,
                              .count = 1,
                              .dst = {buffer},
                              .lens = {TL_TEST_CHUNK}};
    fault(0, "stall", "file");
    fault(1, "stall", "file");
    assert_int_equal(tl_source_submit(s, &op), 0);
    uint64_t began = tl_time_mono_ns();
    tl_source_close(s);
    assert_true(tl_time_mono_ns() - began < 3 * TL_NS_PER_S);
}

static void an_address_that_is_none_is_refused_with_a_sentence(void **state)
{
    (void)state;
    static const char *const bad[] = {"",           "/lus/app",       "ftp://host/x",       "http://",   "http:///x",
                                      "http://a b", "http://a/x?y=1", "http://a,",          ",http://a", "http://a,b",
                                      "HTTP://a",   "http://a/#part", "file:///etc/passwd", "http"};
    const struct tl_source_config config = tl_test_source_config();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct tl_source *s = NULL;
        struct tl_error err = {0};
        assert_int_equal(tl_source_http_open(&s, &config, bad[i], 0, &err), -EINVAL);
        assert_non_null(strstr(err.msg, "--source"));
    }
}

int main(int argc, char **argv)
{
    web_begin(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_next_server_is_asked_where_one_fails, setup),
        cmocka_unit_test_setup(what_came_before_the_fault_is_not_asked_for_again, setup),
        cmocka_unit_test_setup(who_failed_is_asked_last_for_a_while, setup),
        cmocka_unit_test_setup(without_any_server_there_is_an_error_that_names_it, setup),
        cmocka_unit_test_setup(bytes_that_are_wrong_everywhere_are_nobodys, setup),
        cmocka_unit_test_setup(a_catalog_that_is_damaged_is_none, setup),
        cmocka_unit_test_setup(a_catalog_is_sent_again_only_if_it_changed, setup),
        cmocka_unit_test_setup(a_server_without_ranges_will_do_for_small_files, setup),
        cmocka_unit_test_setup(closing_does_not_wait_for_a_server, setup),
        cmocka_unit_test(an_address_that_is_none_is_refused_with_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
