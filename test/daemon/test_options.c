// SPDX-License-Identifier: Apache-2.0
/* Command line, key and node list of tierceld. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <errno.h>

#include "daemon/options.h"

static const char key_text[] = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

static void sizes_have_units_and_limits(void **state)
{
    (void)state;
    uint64_t value = 0;
    assert_int_equal(tl_parse_size("4096", &value), 0);
    assert_true(value == 4096);
    assert_int_equal(tl_parse_size("4G", &value), 0);
    assert_true(value == 4ull << 30);
    assert_int_equal(tl_parse_size("16MiB", &value), 0);
    assert_true(value == 16ull << 20);
    const char *const bad[] = {"",    "G", "-1", "+1", "4X", "4GG", "18446744073709551615K", "99999999999999999999",
                               "1.5G"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_true(tl_parse_size(bad[i], &value) < 0);
}

static void a_key_is_64_hex_digits(void **state)
{
    (void)state;
    uint8_t key[TL_KEY_SIZE];
    assert_int_equal(tl_parse_key(key_text, key), 0);
    for (unsigned i = 0; i < TL_KEY_SIZE; i++)
        assert_int_equal(key[i], i);
    char changed[80];
    snprintf(changed, sizeof changed, "%s\n", key_text);
    assert_int_equal(tl_parse_key(changed, key), 0);
    snprintf(changed, sizeof changed, "%s0", key_text);
    assert_true(tl_parse_key(changed, key) < 0);
    snprintf(changed, sizeof changed, "%.63s", key_text);
    assert_true(tl_parse_key(changed, key) < 0);
    snprintf(changed, sizeof changed, "g%s", key_text + 1);
    assert_true(tl_parse_key(changed, key) < 0);
}

static void a_key_may_say_when_it_expires(void **state)
{
    (void)state;
    uint8_t key[TL_KEY_SIZE];
    uint64_t expires = 7;
    char line[160];
    const struct {
        const char *behind;
        int rc;
        uint64_t expires;
    } lines[] = {{"", 0, 0},
                 {"\n", 0, 0},
                 {" 1700000000\n", 0, 1700000000},
                 {" 0", 0, 0},
                 {" ", -EINVAL, 0},
                 {" x\n", -EINVAL, 0},
                 {" -1", -EINVAL, 0},
                 {" 12 \n", -EINVAL, 0},
                 {" 1700000000\n\n", -EINVAL, 0},
                 {"1700000000", -EINVAL, 0},
                 {" 99999999999999999999", -EINVAL, 0}};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        snprintf(line, sizeof line, "%s%s", key_text, lines[i].behind);
        assert_int_equal(tl_parse_key_line(line, key, &expires), lines[i].rc);
        if (lines[i].rc == 0)
            assert_int_equal(expires, lines[i].expires);
    }
}

static int parse_list(struct tl_options *o, const char *text, struct tl_error *err)
{
    char *copy = strdup(text);
    assert_non_null(copy);
    memset(o, 0, sizeof *o);
    memset(err, 0, sizeof *err);
    int rc = tl_parse_nodes(o, copy, "list", err);
    free(copy);
    return rc;
}

static void a_node_list_is_a_host_a_line(void **state)
{
    (void)state;
    struct tl_options o;
    struct tl_error err;
    assert_int_equal(parse_list(&o, "# job 7\n a.b.c \n10.0.0.1:99 # root\r\n\n[::1]\n[fe80::1]:5\nlast:65535", &err),
                     0);
    assert_int_equal(o.node_count, 5);
    char expected[64];
    snprintf(expected, sizeof expected, "a.b.c:%u", tl_default_port(o.key));
    assert_string_equal(o.addresses[0], expected);
    assert_string_equal(o.addresses[1], "10.0.0.1:99");
    snprintf(expected, sizeof expected, "[::1]:%u", tl_default_port(o.key));
    assert_string_equal(o.addresses[2], expected);
    assert_string_equal(o.addresses[3], "[fe80::1]:5");
    assert_string_equal(o.addresses[4], "last:65535");
    tl_options_fini(&o);
}

static void groups_are_named_behind_the_hosts(void **state)
{
    (void)state;
    struct tl_options o;
    struct tl_error err;
    assert_int_equal(parse_list(&o, "n0 rack2\nn1:5\track1 # first\nn2  rack2 \nn3 rack1\nn4 x", &err), 0);
    static const uint32_t expected[] = {0, 1, 0, 1, 4};
    assert_int_equal(o.node_count, 5);
    assert_memory_equal(o.groups, expected, sizeof expected);
    assert_string_equal(o.addresses[1], "n1:5");
    tl_options_fini(&o);
    assert_int_equal(parse_list(&o, "n0\nn1", &err), 0);
    assert_null(o.groups);
    tl_options_fini(&o);
}

static void a_bad_line_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "names no node"},
        {"# nothing\n\n", "names no node"},
        {"good\nhost:0\n", "line 2"},
        {"host:65536", "line 1"},
        {"host:12x", "line 1"},
        {"host:", "line 1"},
        {":12", "line 1"},
        {"a rack1 c", "line 1"},
        {"a rack1\nb\nc\n", "2 of 3 nodes have no group"},
        {"::1", "line 1"},
        {"[::1", "line 1"},
        {"[::1]x", "line 1"},
        {"a:5\nb\na:5\n", "a:5 stands in it twice"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tl_options o;
        struct tl_error err;
        assert_true(parse_list(&o, cases[i].text, &err) < 0);
        if (strstr(err.msg, cases[i].says) == NULL)
            fail_msg("'%s' was refused with '%s', not with '%s'", cases[i].text, err.msg, cases[i].says);
        tl_options_fini(&o);
    }
}

static void we_find_ourselves_in_the_list(void **state)
{
    (void)state;
    struct tl_options o;
    struct tl_error err;
    assert_int_equal(parse_list(&o, "203.0.113.1:5\n127.0.0.1:5\n203.0.113.2:5\n", &err), 0);
    assert_int_equal(tl_find_own_rank(&o, &err), 0);
    assert_int_equal(o.rank, 1);
    tl_options_fini(&o);
    assert_int_equal(parse_list(&o, "203.0.113.1:5\n203.0.113.2:5\n", &err), 0);
    assert_true(tl_find_own_rank(&o, &err) < 0);
    assert_non_null(strstr(err.msg, "--rank"));
    tl_options_fini(&o);
    assert_int_equal(parse_list(&o, "127.0.0.1:5\n127.0.0.1:6\n", &err), 0);
    assert_true(tl_find_own_rank(&o, &err) < 0);
    assert_non_null(strstr(err.msg, "--rank"));
    tl_options_fini(&o);
}

struct files {
    char dir[64], key[96], nodes[96];
};

static int make_files(void **state)
{
    struct files *f = calloc(1, sizeof *f);
    assert_non_null(f);
    strcpy(f->dir, "/tmp/tl-options-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->key, sizeof f->key, "%s/key", f->dir);
    snprintf(f->nodes, sizeof f->nodes, "%s/nodes", f->dir);
    FILE *key = fopen(f->key, "w"), *nodes = fopen(f->nodes, "w");
    assert_non_null(key);
    assert_non_null(nodes);
    fprintf(key, "%s\n", key_text);
    fprintf(nodes, "127.0.0.1:5001\n127.0.0.1:5002\n");
    fclose(key);
    fclose(nodes);
    chmod(f->key, 0600);
    *state = f;
    return 0;
}

static int drop_files(void **state)
{
    struct files *f = *state;
    unlink(f->key);
    unlink(f->nodes);
    rmdir(f->dir);
    free(f);
    return 0;
}

/* Parses `tierceld --nodes F --key F` and more. */
static int parse(struct files *f, struct tl_options *o, struct tl_error *err, const char *more1, const char *more2)
{
    const char *args[] = {"tierceld", "--nodes", f->nodes, "--key", f->key, more1, more2, NULL};
    int count = more1 == NULL ? 5 : more2 == NULL ? 6 : 7;
    char *argv[8];
    bool done = false;
    for (int i = 0; i <= count; i++)
        argv[i] = i < count ? strdup(args[i]) : NULL;
    memset(err, 0, sizeof *err);
    extern int optind;
    optind = 0;
    int rc = tl_options_parse(o, count, argv, &done, err);
    for (int i = 0; i < count; i++)
        free(argv[i]);
    return rc;
}

static void the_command_line_is_read(void **state)
{
    struct tl_options o;
    struct tl_error err;
    assert_int_equal(parse(*state, &o, &err, "--rank", "1"), 0);
    assert_int_equal(o.rank, 1);
    assert_int_equal(o.node_count, 2);
    assert_int_equal(o.key[31], 0x1f);
    tl_options_fini(&o);
}

static void a_bad_option_is_named(void **state)
{
    static const char *const bad[][2] = {
        {"--rank", "2"},      {"--rank", "x"},         {"--arity", "0"},       {"--roots", "3"},    {"--roots", "17"},
        {"--link-rate", "x"}, {"--arity", "257"},      {"--cache-size", "1K"}, {"--threads", "65"}, {"--name", "../up"},
        {"--name", "a b"},    {"--readahead", "much"}, {"--no-such", NULL},    {"stray", NULL}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct tl_options o;
        struct tl_error err;
        assert_true(parse(*state, &o, &err, bad[i][0], bad[i][1]) < 0);
        if (strstr(err.msg, bad[i][0]) == NULL)
            fail_msg("%s was refused with '%s', which does not name it", bad[i][0], err.msg);
        tl_options_fini(&o);
    }
}

static void a_key_that_others_can_read_is_refused(void **state)
{
    struct files *f = *state;
    struct tl_options o;
    struct tl_error err;
    chmod(f->key, 0640);
    assert_true(parse(f, &o, &err, "--rank", "0") < 0);
    assert_non_null(strstr(err.msg, "chmod 600"));
    tl_options_fini(&o);
    unlink(f->key);
    assert_true(parse(f, &o, &err, "--rank", "0") < 0);
    assert_non_null(strstr(err.msg, f->key));
    tl_options_fini(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_have_units_and_limits),
        cmocka_unit_test(a_key_is_64_hex_digits),
        cmocka_unit_test(a_key_may_say_when_it_expires),
        cmocka_unit_test(a_node_list_is_a_host_a_line),
        cmocka_unit_test(groups_are_named_behind_the_hosts),
        cmocka_unit_test(a_bad_line_is_named),
        cmocka_unit_test(we_find_ourselves_in_the_list),
        cmocka_unit_test_setup_teardown(the_command_line_is_read, make_files, drop_files),
        cmocka_unit_test_setup_teardown(a_bad_option_is_named, make_files, drop_files),
        cmocka_unit_test_setup_teardown(a_key_that_others_can_read_is_refused, make_files, drop_files),
    };
    return cmocka_run_group_tests_name("daemon options", tests, NULL, NULL);
}
