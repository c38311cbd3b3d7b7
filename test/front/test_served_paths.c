// SPDX-License-Identifier: Apache-2.0
/* Where paths lead that come by served ones (front/preload/paths.h), against a tree of a few names. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "front/preload/clean.h"
#include "front/preload/paths.h"

static char base[64], tree[96];
static struct tl_paths paths;

static const char *in(const char *dir, const char *name)
{
    static char text[4][PATH_MAX];
    static unsigned turn;
    char *out = text[turn++ % 4];
    snprintf(out, PATH_MAX, "%s/%s", dir, name);
    return out;
}

static void make_file(const char *path)
{
    FILE *f = fopen(path, "w");
    check(f != NULL && fclose(f) == 0);
}

/* /lus/app, which is nowhere, lies at BASE/tree; BASE/alias is another name of it, as a link would be. */
static int setup(void **state)
{
    char words[1024], target[128];
    (void)state;
    snprintf(base, sizeof base, "/tmp/tl-paths-XXXXXX");
    check(mkdtemp(base) != NULL);
    snprintf(tree, sizeof tree, "%s/tree", base);
    check(mkdir(tree, 0700) == 0 && mkdir(in(tree, "lib"), 0700) == 0 && mkdir(in(tree, "many"), 0700) == 0);
    make_file(in(tree, "lib/x.so"));
    make_file(in(tree, "many/a"));
    make_file(in(base, "outside"));
    check(symlink("x.so", in(tree, "lib/relative")) == 0 && symlink("/lus/app/many/a", in(tree, "lib/absolute")) == 0);
    check(symlink("lib", in(tree, "to-lib")) == 0 && symlink("loop", in(tree, "loop")) == 0);
    snprintf(target, sizeof target, "%s/outside", base);
    check(symlink(target, in(tree, "out")) == 0 && symlink("/lus/app/lib", in(base, "into")) == 0);
    snprintf(words, sizeof words, "al:/sock:/folder:/lus/app:%s:/index:%s/alias:%s:/index", tree, base, tree);
    check(tl_paths_parse(&paths, words));
    return 0;
}

static int teardown(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", base);
    return system(command);
}

/* Walks; the result's path, or an error's name. */
static const char *walk(const char *start, const char *path, unsigned how)
{
    static struct tl_walk w;
    int rc = tl_paths_walk(&paths, start, path, how, NULL, &w);
    return rc == 0 ? w.path : strerrorname_np(-rc);
}

static void words_are_read_and_bad_ones_refused(void **state)
{
    static struct tl_paths p;
    (void)state;
    assert_true(paths.absent && paths.audited && !paths.notified);
    assert_string_equal(paths.socket, "/sock");
    assert_int_equal(paths.count, 2);
    assert_false(paths.pairs[0].link);
    assert_true(paths.pairs[1].link);
    assert_false(tl_paths_parse(&p, ""));
    assert_false(tl_paths_parse(&p, "a:/sock:/folder"));
    assert_false(tl_paths_parse(&p, "a:/sock:/folder:/path:/tree"));
    assert_false(tl_paths_parse(&p, "a:/sock:/folder:path:/tree:/index"));
    char *longer = calloc(1, TL_PATHS_TEXT + 1);
    memset(longer, 'a', TL_PATHS_TEXT);
    assert_false(tl_paths_parse(&p, longer));
    free(longer);
}

static void a_path_below_a_served_one_is_matched_by_whole_names(void **state)
{
    (void)state;
    assert_non_null(tl_paths_match(&paths, "/lus/app"));
    assert_non_null(tl_paths_match(&paths, "/lus/app/lib"));
    assert_null(tl_paths_match(&paths, "/lus/apple"));
    assert_null(tl_paths_match(&paths, "/lus"));
    char text[PATH_MAX];
    snprintf(text, sizeof text, "%s/lib/x.so", tree);
    tl_paths_reverse(&paths, text, sizeof text);
    assert_string_equal(text, "/lus/app/lib/x.so");
}

static void the_text_of_a_path_tells_what_is_unusual(void **state)
{
    (void)state;
    assert_int_equal(tl_paths_text("/a/b.c/..d/.e/f."), TL_TEXT_PLAIN);
    assert_int_equal(tl_paths_text("//a"), TL_TEXT_EMPTY_NAMES);
    assert_int_equal(tl_paths_text("/a/./b"), TL_TEXT_EMPTY_NAMES);
    assert_int_equal(tl_paths_text("./b"), TL_TEXT_EMPTY_NAMES);
    assert_int_equal(tl_paths_text("/a/.."), TL_TEXT_UP);
    assert_int_equal(tl_paths_text("../a//b"), TL_TEXT_UP | TL_TEXT_EMPTY_NAMES);
}

static void a_walk_goes_as_the_kernel_would(void **state)
{
    (void)state;
    assert_string_equal(walk("/", "/lus/app/lib/x.so", TL_WALK_FOLLOW), "/lus/app/lib/x.so");
    assert_string_equal(walk("/", "//lus/./app//lib/x.so", TL_WALK_FOLLOW), "/lus/app/lib/x.so");
    assert_string_equal(walk("/", "/lus/app/lib/../many/a", TL_WALK_FOLLOW), "/lus/app/many/a");
    assert_string_equal(walk("/", "/lus/app/to-lib/../many/a", TL_WALK_FOLLOW), "/lus/app/many/a");
    assert_string_equal(walk("/", "/lus/app/../../etc", TL_WALK_FOLLOW), "/etc");
    assert_string_equal(walk("/lus/app/lib", "../many/a", TL_WALK_FOLLOW), "/lus/app/many/a");
    assert_string_equal(walk("/lus", "app/lib", TL_WALK_FOLLOW), "/lus/app/lib");
    assert_string_equal(walk("/", "..", TL_WALK_FOLLOW), "/");
}

static void a_walk_follows_links_into_and_out_of_what_is_served(void **state)
{
    (void)state;
    assert_string_equal(walk("/", "/lus/app/lib/relative", TL_WALK_FOLLOW), "/lus/app/lib/x.so");
    assert_string_equal(walk("/", "/lus/app/lib/relative", 0), "/lus/app/lib/relative");
    assert_string_equal(walk("/", "/lus/app/lib/absolute", TL_WALK_FOLLOW), "/lus/app/many/a");
    assert_string_equal(walk("/", "/lus/app/to-lib/x.so", 0), "/lus/app/lib/x.so");
    assert_string_equal(walk("/", in(base, "into/x.so"), 0), "/lus/app/lib/x.so");
    assert_string_equal(walk("/", "/lus/app/out", TL_WALK_FOLLOW), in(base, "outside"));
    assert_string_equal(walk("/", "/lus/app/loop", TL_WALK_FOLLOW), "ELOOP");
    assert_string_equal(walk("/", "/lus/app/lib/relative", TL_WALK_FOLLOW | TL_WALK_NO_LINKS), "ELOOP");
}

static void a_missing_name_is_told_unless_it_is_the_last(void **state)
{
    (void)state;
    assert_string_equal(walk("/", "/lus/app/none/x", TL_WALK_FOLLOW), "ENOENT");
    assert_string_equal(walk("/", "/lus/app/lib/none", TL_WALK_FOLLOW), "/lus/app/lib/none");
    assert_string_equal(walk("/", "/lus/app/lib/none", TL_WALK_FOLLOW | TL_WALK_EXISTING), "ENOENT");
    assert_string_equal(walk("/", "/lus/app/lib/x.so/y", TL_WALK_FOLLOW), "ENOTDIR");
    assert_string_equal(walk("/", "/lus/none/y", TL_WALK_FOLLOW), "ENOENT");
    char long_path[PATH_MAX + 8];
    memset(long_path, 'a', sizeof long_path);
    long_path[0] = '/';
    long_path[sizeof long_path - 1] = '\0';
    assert_string_equal(walk("/", long_path, 0), "ENAMETOOLONG");
}

static void a_walk_stays_where_it_was_told_to(void **state)
{
    (void)state;
    assert_string_equal(walk("/lus/app/lib", "../many/a", TL_WALK_BENEATH), "EXDEV");
    assert_string_equal(walk("/lus/app", "lib/../many/a", TL_WALK_BENEATH), "/lus/app/many/a");
    assert_string_equal(walk("/lus/app", "/many/a", TL_WALK_BENEATH), "EXDEV");
    assert_string_equal(walk("/lus/app", "/../../many/a", TL_WALK_IN_ROOT), "/lus/app/many/a");
    assert_string_equal(walk("/lus/app", "lib/absolute", TL_WALK_FOLLOW | TL_WALK_BENEATH), "EXDEV");
}

static void another_name_is_a_link_to_the_first(void **state)
{
    static struct tl_walk w;
    (void)state;
    assert_string_equal(walk("/", in(base, "alias/lib/x.so"), TL_WALK_FOLLOW), "/lus/app/lib/x.so");
    assert_string_equal(walk("/", in(base, "alias"), TL_WALK_FOLLOW), "/lus/app");
    assert_int_equal(tl_paths_walk(&paths, "/", in(base, "alias"), 0, NULL, &w), 0);
    assert_null(w.pair);
    assert_string_equal(w.real, in(base, "alias"));
}

static void directories_with_links_are_told_from_those_without(void **state)
{
    char path[PATH_MAX];
    (void)state;
    for (int i = 0; i < 2; i++) { /* looked at, and remembered */
        snprintf(path, sizeof path, "%s/many/none", tree);
        assert_int_equal(tl_clean_look(path), TL_CLEAN_ALL);
        snprintf(path, sizeof path, "%s/lib/none", tree);
        assert_int_equal(tl_clean_look(path), TL_CLEAN_WAY);
        snprintf(path, sizeof path, "%s/to-lib/none", tree);
        assert_int_equal(tl_clean_look(path), TL_CLEAN_NOT);
        snprintf(path, sizeof path, "%s/nowhere/none", tree);
        assert_int_equal(tl_clean_look(path), TL_CLEAN_MISSING);
        assert_string_equal(path + strlen(tree), "/nowhere/none");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_read_and_bad_ones_refused),
        cmocka_unit_test(a_path_below_a_served_one_is_matched_by_whole_names),
        cmocka_unit_test(the_text_of_a_path_tells_what_is_unusual),
        cmocka_unit_test(a_walk_goes_as_the_kernel_would),
        cmocka_unit_test(a_walk_follows_links_into_and_out_of_what_is_served),
        cmocka_unit_test(a_missing_name_is_told_unless_it_is_the_last),
        cmocka_unit_test(a_walk_stays_where_it_was_told_to),
        cmocka_unit_test(another_name_is_a_link_to_the_first),
        cmocka_unit_test(directories_with_links_are_told_from_those_without),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
