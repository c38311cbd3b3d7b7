// SPDX-License-Identifier: Apache-2.0
/* Names of tiers and where they live. */
#include <errno.h>
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

#include <tiercel/tiercel.h>

static char base[64];

static int setup(void **state)
{
    (void)state;
    static const char *const names[] = {"TIERCEL_NAME", "TIERCEL_RUNTIME_DIR", "XDG_RUNTIME_DIR", "SLURM_JOB_ID",
                                        "PBS_JOBID"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
    snprintf(base, sizeof base, "/tmp/tiercel-places-XXXXXX");
    return mkdtemp(base) != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", base);
    return system(command);
}

static const char *name_of(const char *given)
{
    static char name[TIERCEL_NAME_MAX + 1];
    return tiercel_tier_name(given, name, sizeof name, NULL) == 0 ? name : "(error)";
}

static void the_name_is_given_or_the_environments_or_the_jobs_or_default(void **state)
{
    (void)state;
    assert_string_equal(name_of(NULL), "default");
    setenv("PBS_JOBID", "12[3].server", 1);
    assert_string_equal(name_of(NULL), "pbs-12_3_.server");
    setenv("SLURM_JOB_ID", "4711", 1);
    assert_string_equal(name_of(NULL), "slurm-4711");
    setenv("TIERCEL_NAME", "mine", 1);
    assert_string_equal(name_of(NULL), "mine");
    assert_string_equal(name_of("a.b_c-1"), "a.b_c-1");
}

static void what_is_no_name_is_refused_with_its_origin(void **state)
{
    (void)state;
    static const char *const bad[] = {"", ".hidden", "-x", "a/b", "..", "a b", "\xc3\xa4"};
    struct tiercel_error err;
    char name[TIERCEL_NAME_MAX + 1], longest[TIERCEL_NAME_MAX + 2];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(tiercel_tier_name(bad[i], name, sizeof name, &err), -EINVAL);
    memset(longest, 'x', sizeof longest - 1);
    longest[TIERCEL_NAME_MAX + 1] = '\0';
    assert_int_equal(tiercel_tier_name(longest, name, sizeof name, &err), -EINVAL);
    longest[TIERCEL_NAME_MAX] = '\0';
    assert_int_equal(tiercel_tier_name(longest, name, sizeof name, &err), 0);
    assert_int_equal(tiercel_tier_name(longest, name, sizeof name - 1, &err), -ENOBUFS);
    setenv("TIERCEL_NAME", "a/b", 1);
    assert_int_equal(tiercel_tier_name(NULL, name, sizeof name, &err), -EINVAL);
    assert_non_null(strstr(err.message, "$TIERCEL_NAME"));
}

static void the_runtime_folder_follows_the_environment(void **state)
{
    (void)state;
    char dir[TIERCEL_PATH_SIZE], expected[TIERCEL_PATH_SIZE];
    struct tiercel_error err;
    snprintf(expected, sizeof expected, "/tmp/tiercel-%u", (unsigned)geteuid());
    assert_int_equal(tiercel_runtime_dir(0, dir, sizeof dir, &err), 0);
    assert_string_equal(dir, expected);
    setenv("XDG_RUNTIME_DIR", "/nonexistent/run", 1); /* as a batch job inherits it from the login node */
    assert_int_equal(tiercel_runtime_dir(0, dir, sizeof dir, &err), 0);
    assert_string_equal(dir, expected);
    setenv("XDG_RUNTIME_DIR", base, 1);
    assert_int_equal(tiercel_runtime_dir(1, dir, sizeof dir, &err), 0); /* lasting */
    assert_string_equal(dir, expected);
    snprintf(expected, sizeof expected, "%s/tiercel", base);
    assert_int_equal(tiercel_runtime_dir(0, dir, sizeof dir, &err), 0);
    assert_string_equal(dir, expected);
    setenv("TIERCEL_RUNTIME_DIR", "/x/y", 1);
    assert_int_equal(tiercel_runtime_dir(0, dir, sizeof dir, &err), 0);
    assert_string_equal(dir, "/x/y");
    assert_int_equal(tiercel_runtime_dir(1, dir, 3, &err), -ENOBUFS);
    setenv("TIERCEL_RUNTIME_DIR", "x/y", 1);
    assert_int_equal(tiercel_runtime_dir(0, dir, sizeof dir, &err), -EINVAL);
}

static void a_folder_that_others_can_open_is_refused_with_the_remedy(void **state)
{
    (void)state;
    struct tiercel_error err;
    char path[128];
    assert_int_equal(tiercel_dir_check(base, &err), 0);
    assert_int_equal(chmod(base, 0750), 0);
    assert_int_equal(tiercel_dir_check(base, &err), -EPERM);
    assert_non_null(strstr(err.message, "chmod 700"));
    assert_int_equal(chmod(base, 0700), 0);
    snprintf(path, sizeof path, "%s/link", base);
    assert_int_equal(symlink(base, path), 0);
    assert_int_equal(tiercel_dir_check(path, &err), -ENOTDIR); /* a link could be anybody's */
    if (geteuid() != 0)
        assert_int_equal(tiercel_dir_check("/", &err), -EPERM);
    snprintf(path, sizeof path, "%s/none", base);
    assert_int_equal(tiercel_dir_check(path, &err), -ENOENT);
}

static void make(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", base, name);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fclose(f);
}

static void a_tier_is_found_with_its_ranks_in_order(void **state)
{
    (void)state;
    struct tiercel_error err;
    struct tiercel *t;
    char dir[TIERCEL_PATH_SIZE], path[128];
    unsigned ranks[8];
    setenv("TIERCEL_RUNTIME_DIR", base, 1);
    assert_int_equal(tiercel_tier_dir("one", dir, sizeof dir, &err), -ENOENT);
    assert_non_null(strstr(err.message, "tiercel up --name one"));
    snprintf(path, sizeof path, "%s/one", base);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(tiercel_tier_dir("one", dir, sizeof dir, &err), 0);
    assert_string_equal(dir, path);
    assert_int_equal(tiercel_open(&t, "one", TIERCEL_ANY_RANK, 100, &err), -ENOENT);
    make("one/node-10.sock");
    make("one/node-2.sock");
    make("one/node-2.log");
    make("one/node-.sock");
    make("one/node--1.sock");
    make("one/node-3.sock.x");
    assert_int_equal(tiercel_local_ranks(dir, ranks, 8, &err), 2);
    assert_int_equal(ranks[0], 2);
    assert_int_equal(ranks[1], 10);
    assert_int_equal(tiercel_open(&t, "one", TIERCEL_ANY_RANK, 100, &err), -ECONNREFUSED);
    assert_int_equal(tiercel_open(&t, "one", 7, 100, &err), -ENOENT);
    assert_int_equal(chmod(path, 0755), 0);
    assert_int_equal(tiercel_open(&t, "one", TIERCEL_ANY_RANK, 100, &err), -EPERM);
}

static void codes_have_words(void **state)
{
    (void)state;
    assert_string_equal(tiercel_strerror(-ESTALE), tiercel_strerror(ESTALE));
    assert_string_equal(tiercel_strerror(0), "success");
    assert_string_equal(tiercel_strerror(-123456), "unknown error");
    assert_string_equal(tiercel_strerror(-ENOENT), "No such file or directory");
    assert_true(tiercel_version()[0] >= '0');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_name_is_given_or_the_environments_or_the_jobs_or_default, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_name_is_refused_with_its_origin, setup, teardown),
        cmocka_unit_test_setup_teardown(the_runtime_folder_follows_the_environment, setup, teardown),
        cmocka_unit_test_setup_teardown(a_folder_that_others_can_open_is_refused_with_the_remedy, setup, teardown),
        cmocka_unit_test_setup_teardown(a_tier_is_found_with_its_ranks_in_order, setup, teardown),
        cmocka_unit_test(codes_have_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
