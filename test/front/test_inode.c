// SPDX-License-Identifier: Apache-2.0
/* The inode table: identity, life time, paths; random operations against a naive model. */
#include "front/fuse/inode.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/prng.h"

static struct tl_attr file_attr(uint64_t version)
{
    return (struct tl_attr){.mode = S_IFREG | 0644, .version = version, .size_bytes = version * 10, .nlink = 1};
}

static const struct tl_attr dir_attr = {.mode = S_IFDIR | 0755, .version = 5, .nlink = 2};

static uint64_t bind(struct tl_inodes *t, uint64_t parent, const char *name, const struct tl_attr *attr)
{
    struct tl_inode *inode;
    assert_int_equal(tl_inodes_bind(t, parent, name, strlen(name), attr, &inode), 0);
    return tl_inode_id(inode);
}

static void assert_path(const struct tl_inodes *t, const char *root, uint64_t id, const char *name, const char *want)
{
    char buf[256];
    int len = tl_inodes_path(t, root, tl_inodes_get(t, id), name, name != NULL ? strlen(name) : 0, buf, sizeof buf);
    assert_int_equal(len, strlen(want));
    assert_memory_equal(buf, want, (size_t)len);
}

static void the_same_version_keeps_its_node_id_and_a_new_one_gets_a_new_id(void **state)
{
    (void)state;
    struct tl_inodes t;
    assert_int_equal(tl_inodes_init(&t), 0);
    struct tl_attr v1 = file_attr(1), v2 = file_attr(2);
    uint64_t a = bind(&t, TL_INODE_ROOT, "a", &v1);
    assert_int_equal(bind(&t, TL_INODE_ROOT, "a", &v1), a);
    uint64_t b = bind(&t, TL_INODE_ROOT, "a", &v2);
    assert_int_not_equal(a, b);
    assert_int_equal(tl_inodes_get(&t, a)->version, 1); /* whoever has it open reads on */
    assert_ptr_equal(tl_inodes_find(&t, TL_INODE_ROOT, "a", 1), tl_inodes_get(&t, b));
    tl_inodes_verify(&t);
    tl_inodes_forget(&t, a, 1);
    assert_non_null(tl_inodes_get(&t, a));
    tl_inodes_forget(&t, a, 1);
    assert_null(tl_inodes_get(&t, a));
    tl_inodes_forget(&t, b, 1);
    assert_int_equal(t.count, 1);
    tl_inodes_verify(&t);
    tl_inodes_fini(&t);
}

static void a_directory_keeps_its_node_id_whatever_its_contents(void **state)
{
    (void)state;
    struct tl_inodes t;
    assert_int_equal(tl_inodes_init(&t), 0);
    struct tl_attr changed = dir_attr, file = file_attr(9);
    changed.version = 77;
    uint64_t d = bind(&t, TL_INODE_ROOT, "d", &dir_attr);
    assert_int_equal(bind(&t, TL_INODE_ROOT, "d", &changed), d);
    assert_int_not_equal(bind(&t, TL_INODE_ROOT, "d", &file), d); /* but not when it is none any more */
    tl_inodes_verify(&t);
    tl_inodes_fini(&t);
}

static void an_unbound_name_gets_a_new_inode_for_the_same_version(void **state)
{
    (void)state;
    struct tl_inodes t;
    assert_int_equal(tl_inodes_init(&t), 0);
    struct tl_attr v1 = file_attr(1);
    uint64_t a = bind(&t, TL_INODE_ROOT, "a", &v1);
    tl_inodes_unbind(&t, tl_inodes_get(&t, a));
    assert_null(tl_inodes_find(&t, TL_INODE_ROOT, "a", 1));
    assert_int_not_equal(bind(&t, TL_INODE_ROOT, "a", &v1), a);
    tl_inodes_verify(&t);
    tl_inodes_fini(&t);
}

static void a_directory_lives_as_long_as_something_known_lies_below(void **state)
{
    (void)state;
    struct tl_inodes t;
    assert_int_equal(tl_inodes_init(&t), 0);
    struct tl_attr v1 = file_attr(1);
    uint64_t d = bind(&t, TL_INODE_ROOT, "d", &dir_attr), e = bind(&t, d, "e", &dir_attr), x = bind(&t, e, "x", &v1);
    tl_inodes_forget(&t, d, 1);
    tl_inodes_forget(&t, e, 1);
    assert_path(&t, "/r", x, NULL, "/r/d/e/x");
    assert_int_equal(t.count, 4);
    tl_inodes_forget(&t, x, 1);
    assert_int_equal(t.count, 1);
    tl_inodes_verify(&t);
    uint64_t again = bind(&t, TL_INODE_ROOT, "d", &dir_attr); /* slots come again, ids do not */
    assert_int_not_equal(again, d);
    assert_int_not_equal(again, e);
    assert_int_not_equal(again, x);
    tl_inodes_fini(&t);
}

static void paths_are_built_below_any_root_and_have_a_limit(void **state)
{
    (void)state;
    struct tl_inodes t;
    assert_int_equal(tl_inodes_init(&t), 0);
    uint64_t d = bind(&t, TL_INODE_ROOT, "d", &dir_attr);
    assert_path(&t, "/", TL_INODE_ROOT, NULL, "/");
    assert_path(&t, "/", TL_INODE_ROOT, "x", "/x");
    assert_path(&t, "/", d, NULL, "/d");
    assert_path(&t, "/", d, "odd \n\xff name", "/d/odd \n\xff name");
    assert_path(&t, "/a/b", TL_INODE_ROOT, NULL, "/a/b");
    assert_path(&t, "/a/b", d, "x", "/a/b/d/x");
    char small[6];
    const struct tl_inode *inode = tl_inodes_get(&t, d);
    assert_int_equal(tl_inodes_path(&t, "/a/b", inode, NULL, 0, small, sizeof small), 6);
    assert_int_equal(tl_inodes_path(&t, "/a/b", inode, "x", 1, small, sizeof small), -ENAMETOOLONG);
    tl_inodes_fini(&t);
}

static void unknown_ids_are_harmless(void **state)
{
    (void)state;
    struct tl_inodes t;
    assert_int_equal(tl_inodes_init(&t), 0);
    struct tl_attr v1 = file_attr(1);
    struct tl_inode *out;
    const uint64_t odd[] = {0, 2, 1ull << 32 | 1, 1ull << 32, UINT32_MAX, UINT64_MAX};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        assert_null(tl_inodes_get(&t, odd[i]));
        assert_null(tl_inodes_find(&t, odd[i], "a", 1));
        assert_int_equal(tl_inodes_bind(&t, odd[i], "a", 1, &v1, &out), -ESTALE);
        tl_inodes_forget(&t, odd[i], 1);
    }
    tl_inodes_forget(&t, TL_INODE_ROOT, 1000);
    assert_non_null(tl_inodes_get(&t, TL_INODE_ROOT));
    tl_inodes_verify(&t);
    tl_inodes_fini(&t);
}

/* The model: what each id handed out stands for, by plain arrays and strings. */
#define MODEL_MAX 3000
struct model_inode {
    uint64_t id, version, nlookup;
    char path[64];
    int parent; /* index, -1: the root */
    bool dir, bound;
};

struct model {
    struct model_inode inodes[MODEL_MAX];
    int count;
};

static int model_find(const struct model *m, const char *path)
{
    for (int i = 0; i < m->count; i++)
        if (m->inodes[i].bound && strcmp(m->inodes[i].path, path) == 0)
            return i;
    return -1;
}

static bool model_alive(const struct model *m, int i)
{
    if (m->inodes[i].nlookup > 0)
        return true;
    for (int k = 0; k < m->count; k++) /* children are made after their parents, and depth is bounded by 3 */
        for (int up = m->inodes[k].nlookup > 0 ? m->inodes[k].parent : -1; up >= 0; up = m->inodes[up].parent)
            if (up == i)
                return true;
    return false;
}

/* What died takes its name with it. */
static void model_settle(struct model *m)
{
    for (int i = 0; i < m->count; i++)
        if (m->inodes[i].bound && !model_alive(m, i))
            m->inodes[i].bound = false;
}

static void model_bind(struct model *m, struct tl_inodes *t, struct tl_prng *rng)
{
    int parent = m->count > 0 && tl_prng_below(rng, 3) != 0 ? (int)tl_prng_below(rng, (uint64_t)m->count) : -1;
    if (parent >= 0 && (!m->inodes[parent].dir || !model_alive(m, parent) || strlen(m->inodes[parent].path) > 6))
        parent = -1;
    char name[2] = {(char)('a' + tl_prng_below(rng, 6)), '\0'}, path[64];
    snprintf(path, sizeof path, "%.60s/%s", parent >= 0 ? m->inodes[parent].path : "", name);
    bool dir = tl_prng_below(rng, 2) == 0;
    struct tl_attr attr = dir ? dir_attr : file_attr(1 + tl_prng_below(rng, 3));
    uint64_t id = bind(t, parent >= 0 ? m->inodes[parent].id : TL_INODE_ROOT, name, &attr);
    int old = model_find(m, path);
    /* Paths of a replaced directory's children would be ambiguous here: the parent decides, too. */
    if (old >= 0 && m->inodes[old].parent == parent && m->inodes[old].dir == dir &&
        (dir || m->inodes[old].version == attr.version)) {
        assert_int_equal(id, m->inodes[old].id);
        m->inodes[old].nlookup++;
        return;
    }
    for (int i = 0; i < m->count; i++) {
        assert_int_not_equal(id, m->inodes[i].id); /* ids are never used twice */
        if (m->inodes[i].bound && m->inodes[i].parent == parent && strcmp(m->inodes[i].path, path) == 0)
            m->inodes[i].bound = false;
    }
    m->inodes[m->count] = (struct model_inode){
        .id = id, .version = attr.version, .nlookup = 1, .parent = parent, .dir = dir, .bound = true};
    memcpy(m->inodes[m->count++].path, path, sizeof path);
}

static void random_operations_agree_with_a_naive_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct model *m = calloc(1, sizeof *m);
        struct tl_inodes t;
        struct tl_prng rng;
        assert_non_null(m);
        assert_int_equal(tl_inodes_init(&t), 0);
        tl_prng_init(&rng, seed, 0);
        for (int step = 0; step < 400; step++) {
            uint64_t what = tl_prng_below(&rng, 10);
            int i = m->count > 0 ? (int)tl_prng_below(&rng, (uint64_t)m->count) : -1;
            if (what < 6 || i < 0) {
                model_bind(m, &t, &rng);
            } else if (what < 9) {
                uint64_t n = 1 + tl_prng_below(&rng, 3);
                m->inodes[i].nlookup -= n < m->inodes[i].nlookup ? n : m->inodes[i].nlookup;
                tl_inodes_forget(&t, m->inodes[i].id, n);
            } else if (model_alive(m, i)) {
                tl_inodes_unbind(&t, tl_inodes_get(&t, m->inodes[i].id));
                m->inodes[i].bound = false;
            }
            model_settle(m);
            uint32_t alive = 1;
            for (int k = 0; k < m->count; k++) {
                bool lives = model_alive(m, k);
                alive += lives ? 1 : 0;
                assert_int_equal(tl_inodes_get(&t, m->inodes[k].id) != NULL, lives);
                if (lives)
                    assert_path(&t, "/", m->inodes[k].id, NULL, m->inodes[k].path);
            }
            assert_int_equal(t.count, alive);
            tl_inodes_verify(&t);
        }
        tl_inodes_fini(&t);
        free(m);
    }
}

static void many_names_stay_findable_and_cheap(void **state)
{
    (void)state;
    struct tl_inodes t;
    assert_int_equal(tl_inodes_init(&t), 0);
    struct tl_attr v1 = file_attr(1);
    static uint64_t ids[20000];
    char name[16];
    for (int i = 0; i < 20000; i++) {
        snprintf(name, sizeof name, "n%d", i);
        ids[i] = bind(&t, TL_INODE_ROOT, name, &v1);
    }
    assert_true(t.bucket_count >= 20000);
    for (int i = 0; i < 20000; i++) {
        snprintf(name, sizeof name, "n%d", i);
        assert_ptr_equal(tl_inodes_find(&t, TL_INODE_ROOT, name, strlen(name)), tl_inodes_get(&t, ids[i]));
    }
    for (int i = 0; i < 20000; i++)
        tl_inodes_forget(&t, ids[i], 1);
    assert_int_equal(t.count, 1);
    tl_inodes_verify(&t);
    tl_inodes_fini(&t);
}

static void count_one(void *ctx, const struct tl_inode *inode)
{
    (void)inode;
    (*(int *)ctx)++;
}

static void a_visit_sees_what_lies_below_and_nothing_else(void **state)
{
    (void)state;
    struct tl_inodes t;
    assert_int_equal(tl_inodes_init(&t), 0);
    struct tl_attr v1 = file_attr(1);
    uint64_t d = bind(&t, TL_INODE_ROOT, "d", &dir_attr), e = bind(&t, d, "e", &dir_attr);
    bind(&t, e, "x", &v1);
    bind(&t, TL_INODE_ROOT, "y", &v1);
    int all = 0, below = 0;
    tl_inodes_visit_below(&t, tl_inodes_get(&t, TL_INODE_ROOT), count_one, &all);
    tl_inodes_visit_below(&t, tl_inodes_get(&t, d), count_one, &below);
    assert_int_equal(all, 5);
    assert_int_equal(below, 3);
    tl_inodes_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_version_keeps_its_node_id_and_a_new_one_gets_a_new_id),
        cmocka_unit_test(a_directory_keeps_its_node_id_whatever_its_contents),
        cmocka_unit_test(an_unbound_name_gets_a_new_inode_for_the_same_version),
        cmocka_unit_test(a_directory_lives_as_long_as_something_known_lies_below),
        cmocka_unit_test(paths_are_built_below_any_root_and_have_a_limit),
        cmocka_unit_test(unknown_ids_are_harmless),
        cmocka_unit_test(random_operations_agree_with_a_naive_model),
        cmocka_unit_test(many_names_stay_findable_and_cheap),
        cmocka_unit_test(a_visit_sees_what_lies_below_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
