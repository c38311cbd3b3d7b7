// SPDX-License-Identifier: Apache-2.0
/* Checking a pool: each kind of damage is planted, found, and called by its name. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "store/embedded.h"
#include "store/pools.h"

#define LARGE 200000u

static uint8_t bytes[1 << 20], back[1 << 20];

struct findings {
    uint32_t count;
    char text[8192];
};

static void note_finding(void *ctx, const char *finding)
{
    struct findings *f = ctx;
    size_t used = strlen(f->text);
    f->count++;
    snprintf(f->text + used, sizeof f->text - used, "%s\n", finding);
}

static struct findings findings;

/* How many are damage; they are in `findings`. */
static int check_pool(struct tl_store *s, bool repair)
{
    memset(&findings, 0, sizeof findings);
    return (s->ops->check)(s, repair, note_finding, &findings);
}

static void assert_finds(struct tl_store *s, int damage, const char *text)
{
    int rc = check_pool(s, false);
    if (rc != damage || strstr(findings.text, text) == NULL)
        fail_msg("%d findings, not %d, or not \"%s\":\n%s", rc, damage, text, findings.text);
}

static void assert_sound(struct tl_store *s)
{
    int rc = check_pool(s, false);
    if (rc != 0)
        fail_msg("%d findings:\n%s", rc, findings.text);
}

/* A pool with records "a" (inlined), "b" (large), and "c" (large, in the segments behind), closed and opened again. */
static struct tl_store *make_filled(char *where, size_t size)
{
    pool_make(where, size);
    struct tl_store *s = pool_open(where);
    memset(bytes, 'x', sizeof bytes);
    assert_int_equal(write_one(s, "a", "short", 5), 0);
    assert_int_equal(write_one(s, "b", bytes, LARGE), 0);
    write_and_flush(s, "c", bytes, sizeof bytes);
    assert_int_equal(s->ops->change(s, &id, nothing, NULL), 0);
    s->ops->close(s);
    s = pool_open(where);
    assert_sound(s);
    assert_int_equal(findings.count, 0);
    return s;
}

static void a_flipped_bit_in_a_payload_is_found(void **state)
{
    (void)state;
    char where[256];
    struct tl_store *s = make_filled(where, sizeof where);
    spoil(where, "ext.0", 4096 + 70000);
    assert_finds(s, 1,
                 "ext.0, offset 69632: these bytes are not what was written: "
                 "container 01000000000000000000000000000000, key b\n");
    spoil(where, "ext.0", 4096 + 70000);
    assert_sound(s);
    spoil(where, "meta.mdb",
          0); /* in nobody's way: only the copy that is mapped counts, and no page begins like this */
    assert_sound(s);
    s->ops->close(s);
    pool_destroy(where);
}

static void a_file_that_is_missing_or_cut_short_is_found(void **state)
{
    (void)state;
    char where[256], path[300], beside[300];
    struct tl_store *s = make_filled(where, sizeof where);
    snprintf(path, sizeof path, "%s/ext.0", where);
    snprintf(beside, sizeof beside, "%s/aside", where);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    s->ops->close(s);
    s = pool_open(where);
    assert_int_equal(rename(path, beside), 0);
    assert_finds(s, 3, "ext.0 is missing; records refer to 1248576 bytes of it\n");
    assert_non_null(strstr(findings.text, ": the file is missing: container"));
    assert_int_equal(rename(beside, path), 0);
    assert_sound(s);
    assert_int_equal(truncate(path, 1 << 20), 0);
    assert_finds(s, 2, "ext.0 was cut short: it has 1048576 of ");
    assert_non_null(strstr(findings.text, "key c\n"));
    assert_null(strstr(findings.text, "key b\n"));
    s->ops->close(s);
    pool_destroy(where);
}

/* ---- what LMDB says is wrong ---- */

static void put_raw(struct tl_store *s, int table, const void *key, size_t key_len, const void *value, size_t value_len)
{
    struct tl_embedded *e = (struct tl_embedded *)s;
    const MDB_dbi tables[] = {e->state, e->index, e->files, e->live};
    MDB_val k = {key_len, (void *)(uintptr_t)key}, v = {value_len, (void *)(uintptr_t)value};
    MDB_txn *txn;
    assert_int_equal(mdb_txn_begin(e->env, NULL, 0, &txn), 0);
    if (value != NULL)
        assert_int_equal(mdb_put(txn, tables[table], &k, &v, 0), 0);
    else
        assert_int_equal(mdb_del(txn, tables[table], &k, NULL), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
}

enum { STATE, INDEX, FILES, LIVE };

static void wrong_counts_are_found_and_put_right(void **state)
{
    (void)state;
    char where[256];
    uint8_t key[8], value[8];
    struct tl_store *s = make_filled(where, sizeof where);
    tl_put_u32(key, 0);
    tl_put_u32(key + 4, 0);
    tl_put_u64(value, 77);
    put_raw(s, LIVE, key, 8, value, 8);
    assert_finds(s, 1, "ext.0, offset 0: 77 bytes are said to be live, and records refer to 1044480\n");
    put_raw(s, LIVE, key, 8, NULL, 0);
    assert_finds(s, 1, "ext.0, offset 0: no bytes are said to be live, and records refer to 1044480\n");
    tl_put_u32(key + 4, 9);
    put_raw(s, LIVE, key, 8, value, 8);
    assert_finds(s, 2, "a count of live bytes makes no sense: file 0, segment 9\n");
    assert_int_equal(check_pool(s, true), 2);
    assert_non_null(strstr(findings.text, "put right"));
    assert_sound(s);
    assert_int_equal(read_one(s, "c", back, sizeof back), 0);
    s->ops->close(s);
    pool_destroy(where);
}

static void senseless_records_are_found_and_nothing_is_given_back(void **state)
{
    (void)state;
    char where[256];
    uint8_t key[20] = {1}, value[100] = {3, 'a', 'b', 'c'};
    struct tl_store *s = make_filled(where, sizeof where);
    key[16] = 'z';
    put_raw(s, INDEX, key, 17, value, 6);
    assert_finds(s, 1, "the record makes no sense: container 01000000000000000000000000000000, key z\n");
    size_t place = tl_place_put(value + 4, bytes, 1000, 0, 1 << 30);
    put_raw(s, INDEX, key, 17, value, 4 + place);
    assert_finds(s, 1, "ext.0, offset 1073741824: nothing was written there: ");
    assert_int_equal(check_pool(s, true), 1);
    assert_null(strstr(findings.text, "given back"));
    key[17] = 1;
    put_raw(s, INDEX, key, 17, NULL, 0);
    put_raw(s, STATE, key, 5, value, 5);
    assert_finds(s, 1, "no such value can have been put into the state");
    put_raw(s, STATE, key, 5, NULL, 0);
    tl_put_u32(key, 3);
    put_raw(s, FILES, key, 4, value, 9);
    assert_finds(s, 1, "what it says of ext.3 makes no sense");
    s->ops->close(s);
    pool_destroy(where);
}

/* The child that looks first ends; the parent says why. */
static void an_index_that_cannot_be_walked_is_found(void **state)
{
    (void)state;
    enum { RECORDS = 3000 };
    char where[256], path[300], key[16];
    pool_make(where, sizeof where);
    struct tl_store *s = pool_open(where);
    for (uint32_t i = 0; i < RECORDS; i++) {
        snprintf(key, sizeof key, "%08u", i);
        assert_int_equal(write_one(s, key, bytes, 100), 0);
    }
    assert_int_equal(s->ops->flush(s), 0);
    assert_int_equal(s->ops->change(s, &id, nothing, NULL), 0);
    assert_sound(s);
    snprintf(path, sizeof path, "%s/meta.mdb", where);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t *saved = malloc((size_t)st.st_size - 12288), wild[4096];
    assert_non_null(saved);
    assert_int_equal(pread(fd, saved, (size_t)st.st_size - 12288, 12288), st.st_size - 12288);
    memset(wild, 0xa5, sizeof wild);
    for (off_t at = 12288 + 16 * 4096; at < st.st_size; at += 4096)
        assert_int_equal(pwrite(fd, wild, sizeof wild, at), sizeof wild);
    assert_finds(s, 1, "meta.mdb cannot be read to its end");
    assert_int_equal(ftruncate(fd, 12288 + 16 * 4096), 0);
    assert_finds(s, 1, "meta.mdb cannot be read to its end");
    assert_int_equal(pwrite(fd, saved, (size_t)st.st_size - 12288, 12288), st.st_size - 12288);
    assert_sound(s);
    close(fd);
    free(saved);
    s->ops->close(s);
    pool_destroy(where);
}

/* ---- space ---- */

/* Killed between a transaction and the punching. */
static void leaked_space_is_no_damage_and_is_given_back(void **state)
{
    (void)state;
    char where[256];
    struct tl_store_space before, after;
    const struct tl_slice keys[] = {{"c", 1}};
    uint8_t zeros[4096] = {1};
    struct tl_store *s = make_filled(where, sizeof where);
    assert_int_equal(write_one(s, "d", bytes, sizeof bytes), 0);
    write_and_flush(s, "e", bytes, sizeof bytes);
    assert_int_equal(s->ops->change(s, &id, nothing, NULL), 0);
    assert_int_equal(s->ops->erase(s, &id, keys, 1), 0);
    assert_int_equal(s->ops->erase(s, &id, &(struct tl_slice){"d", 1}, 1), 0);
    assert_sound(s);
    int fd = tl_embedded_read_fd((struct tl_embedded *)s, 0);
    for (off_t at = 1 << 20; at < 2 << 20; at += 4096)
        assert_int_equal(pwrite(fd, zeros, sizeof zeros, at), 4096); /* as if it had not been punched */
    assert_int_equal(fsync(fd), 0);
    assert_finds(s, 0, "note: ext.0, offset 1048576: nothing refers to 1048576 bytes\n");
    assert_int_equal(s->ops->space(s, &before), 0);
    assert_int_equal(check_pool(s, true), 0);
    assert_non_null(strstr(findings.text, "given back"));
    assert_int_equal(s->ops->space(s, &after), 0);
    assert_true(before.used_bytes - after.used_bytes >= 1 << 20);
    assert_sound(s);
    assert_int_equal(findings.count, 0);
    assert_int_equal(read_one(s, "b", back, LARGE), 0);
    assert_int_equal(read_one(s, "e", back, sizeof back), 0);
    s->ops->close(s);
    pool_destroy(where);
}

static void what_a_killed_writer_had_allocated_is_given_back(void **state)
{
    (void)state;
    char where[256], path[300];
    struct stat st;
    struct tl_store *s = make_filled(where, sizeof where);
    s->ops->close(s);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        s = pool_open(where);
        if (s == NULL || write_one(s, "x", bytes, sizeof bytes) != 0)
            _exit(1);
        raise(SIGKILL);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    snprintf(path, sizeof path, "%s/ext.0", where);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size > 32 << 20);
    s = pool_open(where);
    /* The kernel ends what a ring had under way after the process, and lets go of the file then. */
    for (int i = 0; i < 600 && check_pool(s, false) == 0 && findings.count == 0; i++) {
        uint32_t seen;
        assert_int_equal(s->ops->changes(s, &id, &seen), 0);
        (void)s->ops->wait(s, &id, seen, 100);
    }
    assert_finds(s, 0, "note: ext.0: ");
    assert_int_equal(check_pool(s, true), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size < 2 << 20);
    assert_sound(s);
    assert_int_equal(findings.count, 0);
    assert_int_equal(read_one(s, "c", back, sizeof back), 0);
    s->ops->close(s);
    pool_destroy(where);
}

static void what_waits_for_a_transaction_is_told(void **state)
{
    (void)state;
    char where[256];
    struct tl_store *s = make_filled(where, sizeof where);
    uint64_t at = (uint64_t)atomic_load(&((struct tl_embedded *)s)->page->files[0].end);
    write_and_flush(s, "x", "short", 5);
    assert_finds(s, 0, "note: ext.0: 1 index blocks wait for the next transaction\n");
    spoil(where, "ext.0", (off_t)at + 50);
    assert_finds(s, 1, "ext.0: of the index blocks up to offset ");
    spoil(where, "ext.0", (off_t)at + 50);
    assert_int_equal(s->ops->change(s, &id, nothing, NULL), 0);
    assert_sound(s);
    s->ops->close(s);
    pool_destroy(where);
}

static void who_repairs_is_alone(void **state)
{
    (void)state;
    char where[256], byte;
    int to[2], from[2], status;
    struct tl_store *s = make_filled(where, sizeof where);
    assert_true(pipe(to) == 0 && pipe(from) == 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct tl_store *mine = pool_open(where);
        bool ok = mine != NULL && write(from[1], "x", 1) == 1 && read(to[0], &byte, 1) == 1;
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(read(from[0], &byte, 1), 1);
    assert_int_equal(check_pool(s, true), -EBUSY);
    assert_int_equal(check_pool(s, false), 0);
    assert_int_equal(write(to[1], "x", 1), 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(check_pool(s, true), 0);
    s->ops->close(s);
    pool_destroy(where);
    for (int i = 0; i < 2; i++) {
        close(to[i]);
        close(from[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flipped_bit_in_a_payload_is_found),
        cmocka_unit_test(a_file_that_is_missing_or_cut_short_is_found),
        cmocka_unit_test(wrong_counts_are_found_and_put_right),
        cmocka_unit_test(senseless_records_are_found_and_nothing_is_given_back),
        cmocka_unit_test(an_index_that_cannot_be_walked_is_found),
        cmocka_unit_test(leaked_space_is_no_damage_and_is_given_back),
        cmocka_unit_test(what_a_killed_writer_had_allocated_is_given_back),
        cmocka_unit_test(what_waits_for_a_transaction_is_told),
        cmocka_unit_test(who_repairs_is_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
