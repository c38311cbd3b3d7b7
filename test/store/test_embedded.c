// SPDX-License-Identifier: Apache-2.0
/* The embedded store: what every store must do, and what only files on a disk can suffer. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/pools.h"
#include "store/suite.h"

static void a_flipped_bit_is_noticed(void **state)
{
    (void)state;
    static uint8_t bytes[200000], back[200000], place_bytes[TL_STORE_PLACE_MAX];
    struct tl_slice place = {place_bytes, 0};
    char where[256], path[300];
    pool_make(where, sizeof where);
    struct tl_store *s = pool_open(where);
    memset(bytes, 'x', sizeof bytes);
    write_and_flush(s, "key", bytes, sizeof bytes);
    assert_int_equal(s->ops->change(s, &id, nothing, NULL), 0);
    assert_int_equal(s->ops->scan(s, &id, (struct tl_slice){"", 0}, (struct tl_slice){"", 0}, keep_place, &place), 0);
    assert_int_equal(s->ops->read(s, place, 0, back, sizeof back), 0);
    snprintf(path, sizeof path, "%s/ext.0", where);
    spoil(where, "ext.0", 4096 + 70000);
    assert_int_equal(s->ops->read(s, place, 0, back, sizeof back), -EBADMSG);
    assert_int_equal(s->ops->read(s, place, 0, back, 65536), 0); /* what is whole can still be read */
    assert_int_equal(truncate(path, 100000), 0);
    assert_int_equal(s->ops->read(s, place, 131072, back, 10), -EBADMSG);
    s->ops->close(s);
    pool_destroy(where);
}

/* Those are read from a mapping, which grows with the file, and ends where the file ends. */
static void small_payloads_are_read_wherever_they_are(void **state)
{
    (void)state;
    static uint8_t large[1 << 20], small[600], back[600];
    char where[256], path[300];
    pool_make(where, sizeof where);
    struct tl_store *s = pool_open(where);
    memset(small, 's', sizeof small);
    write_and_flush(s, "a", small, sizeof small);
    assert_int_equal(s->ops->change(s, &id, nothing, NULL), 0);
    assert_int_equal(read_one(s, "a", back, sizeof back), 0);
    for (uint32_t i = 0; i < 66; i++)
        assert_int_equal(write_one(s, "large", large, sizeof large), 0);
    write_and_flush(s, "b", small, sizeof small);
    assert_int_equal(s->ops->change(s, &id, nothing, NULL), 0);
    for (int opened = 0; opened < 2; opened++) {
        assert_int_equal(read_one(s, "b", back, sizeof back), 0);
        assert_memory_equal(back, small, sizeof back);
        assert_int_equal(read_one(s, "a", back, 10), 0);
        assert_memory_equal(back, small, 10);
        s->ops->close(s);
        s = pool_open(where);
    }
    s->ops->close(s);
    snprintf(path, sizeof path, "%s/ext.0", where);
    assert_int_equal(truncate(path, 40 << 20), 0);
    s = pool_open(where);
    assert_int_equal(read_one(s, "b", back, sizeof back), -EBADMSG);
    assert_int_equal(read_one(s, "a", back, sizeof back), 0);
    s->ops->close(s);
    pool_destroy(where);
}

/* Flushed, and not taken over yet: a damaged index block must not pass for an empty one. */
static void a_damaged_index_block_stops_transactions(void **state)
{
    (void)state;
    char where[256], path[300];
    pool_make(where, sizeof where);
    struct tl_store *s = pool_open(where);
    write_and_flush(s, "key", "short", 5);
    snprintf(path, sizeof path, "%s/ext.0", where);
    spoil(where, "ext.0", 4096 + 50);
    assert_int_equal(s->ops->change(s, &id, nothing, NULL), -EBADMSG);
    spoil(where, "ext.0", 4096 + 50);
    assert_int_equal(s->ops->change(s, &id, nothing, NULL), 0);
    s->ops->close(s);
    pool_destroy(where);
}

/* On a tmpfs of 6 MiB. What was accepted is there after a flush that says so, and a write that was refused is not. */
static int fill_up(void)
{
    const char where[] = "/mnt/pool";
    const struct tl_store_config config = {.create = true, .map_bytes = 64 << 20};
    static uint8_t bytes[500];
    struct tl_store *s;
    struct tl_error err;
    uint32_t accepted = 0, found = 0;
    int rc = 0;
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tiercel-test", "/mnt", "tmpfs", 0, "size=6m") != 0)
        return 77;
    if (tl_store_embedded_open(&s, where, &config, &err) != 0)
        return 1;
    for (; rc == 0 && accepted < 100000; accepted += rc == 0) {
        char key[16];
        snprintf(key, sizeof key, "%08u", accepted);
        struct tl_record r = {.key = {key, 8}, .meta = {"", 0}, .payload = {bytes, sizeof bytes}};
        rc = s->ops->write(s, &id, &r);
    }
    if (rc != -ENOSPC || accepted < 2000)
        return 2;
    rc = s->ops->flush(s); /* the last records have no room for their index block */
    if (rc != -ENOSPC)
        return 3;
    if (s->ops->change(s, &id, nothing, NULL) != 0)
        return 4;
    rc = s->ops->scan(s, &id, (struct tl_slice){"", 0}, (struct tl_slice){"", 0}, count_one, &found);
    s->ops->close(s);
    return rc == 0 && found == 0 ? 0 : 5; /* nothing of what was not flushed counts */
}

static void a_full_disk_is_told_by_the_flush_at_the_latest(void **state)
{
    (void)state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(fill_up());
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip(); /* mounting wants root */
    assert_int_equal(status, 0);
}

static void what_is_no_pool_is_refused(void **state)
{
    (void)state;
    char where[256], path[300];
    struct tl_store *s;
    struct tl_error err;
    struct tl_store_config config = {.map_bytes = 1 << 20};
    assert_int_equal(tl_store_embedded_open(&s, "/nowhere", &config, &err), -ENOENT);
    assert_non_null(strstr(err.msg, "/nowhere is no pool"));
    pool_make(where, sizeof where);
    config.create = true;
    assert_int_equal(tl_store_embedded_open(&s, where, &config, &err), -EEXIST);
    config.create = false;
    snprintf(path, sizeof path, "%s/pool", where);
    FILE *f = fopen(path, "w");
    fputs("tiercel-pool 2\n", f);
    fclose(f);
    assert_int_equal(tl_store_embedded_open(&s, where, &config, &err), -EPROTO);
    assert_non_null(strstr(err.msg, "tiercel-pool 2"));
    pool_destroy(where);
}

static void a_pool_opened_for_reading_is_not_changed(void **state)
{
    (void)state;
    char where[256];
    struct tl_error err;
    pool_make(where, sizeof where);
    struct tl_store *s = pool_open(where), *reader;
    write_and_flush(s, "key", "short", 5);
    assert_int_equal(s->ops->change(s, &id, nothing, NULL), 0);
    s->ops->close(s); /* LMDB: once a process */
    const struct tl_store_config config = {.read_only = true, .map_bytes = 256 << 20};
    assert_int_equal(tl_store_embedded_open(&reader, where, &config, &err), 0);
    uint8_t place_bytes[TL_STORE_PLACE_MAX], back[5];
    struct tl_slice place = {place_bytes, 0};
    assert_int_equal(
        reader->ops->scan(reader, &id, (struct tl_slice){"", 0}, (struct tl_slice){"", 0}, keep_place, &place), 0);
    assert_int_equal(reader->ops->read(reader, place, 0, back, 5), 0);
    assert_memory_equal(back, "short", 5);
    struct tl_record r = {.key = {"k", 1}, .meta = {"", 0}, .payload = {"", 0}};
    assert_int_equal(reader->ops->write(reader, &id, &r), -EROFS);
    assert_int_equal(reader->ops->change(reader, &id, nothing, NULL), -EROFS);
    assert_int_equal(reader->ops->erase(reader, &id, NULL, 0), -EROFS);
    reader->ops->close(reader);
    pool_destroy(where);
}

/* ---- a directory that cannot be written to ---- */

static int read_only_reader(const char *where)
{
    const struct tl_store_config config = {.read_only = true, .map_bytes = 64 << 20};
    struct tl_store *s;
    struct tl_error err;
    struct tl_store_lock *lock;
    struct tl_store_lock_value value;
    uint8_t place_bytes[TL_STORE_PLACE_MAX], back[5];
    uint32_t seen;
    struct tl_slice place = {place_bytes, 0}, none = {"", 0};
    if (tl_store_embedded_open(&s, where, &config, &err) != 0) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    if (s->ops->scan(s, &id, none, none, keep_place, &place) != 0 || s->ops->read(s, place, 0, back, 5) != 0)
        return 2;
    if (s->ops->claim(s, 1, true) != -EROFS || s->ops->claim(s, 1, false) != 0 || s->ops->claimed(s, 1) != 1)
        return 3;
    if (s->ops->lock(s, &id, (struct tl_slice){"l", 1}, false, -1, NULL, &lock, &value) != -EROFS)
        return 4;
    if (s->ops->changes(s, &id, &seen) != 0 || s->ops->wait(s, &id, seen, 1) != -ETIMEDOUT)
        return 5;
    s->ops->wake(s, &id);
    s->ops->close(s);
    return 0;
}

/* As a user who may not write there: 1; on a file system that is mounted for reading: 2. */
static int read_only_place(const char *where, int way)
{
    char sibling[300];
    snprintf(sibling, sizeof sibling, "%s/pool", where);
    if (way == 2 && (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
                     mount(where, "/mnt", NULL, MS_BIND, NULL) != 0 ||
                     mount(NULL, "/mnt", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) != 0))
        return 77;
    if (way == 1 && (setgid(65534) != 0 || setuid(65534) != 0 || access(sibling, R_OK) != 0))
        return 77;
    return read_only_reader(way == 2 ? "/mnt" : where);
}

static void a_pool_in_a_read_only_place_can_be_read(void **state)
{
    (void)state;
    char where[256], path[300];
    const char *const files[] = {"pool", "page", "meta.mdb", "meta.mdb-lock", "owners", "locks", "ext.0"};
    pool_make(where, sizeof where);
    struct tl_store *s = pool_open(where);
    write_and_flush(s, "key", "short", 5);
    assert_int_equal(s->ops->change(s, &id, nothing, NULL), 0);
    s->ops->close(s);
    assert_int_equal(chmod(where, 0755), 0);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", where, files[i]);
        assert_int_equal(chmod(path, 0444), 0);
    }
    for (int way = 1; way <= 2; way++) {
        int status;
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            _exit(read_only_place(where, way));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 77) /* both want root */
            assert_int_equal(status, 0);
    }
    pool_destroy(where);
}

static void a_pool_that_is_open_is_not_destroyed(void **state)
{
    (void)state;
    char where[256];
    struct tl_error err;
    pool_make(where, sizeof where);
    for (int reads = 0; reads <= 1; reads++) {
        const struct tl_store_config config = {.read_only = reads, .map_bytes = 64 << 20};
        struct tl_store *s;
        assert_int_equal(tl_store_embedded_open(&s, where, &config, &err), 0);
        assert_int_equal(tl_store_embedded_destroy(where, &err), -EBUSY);
        s->ops->close(s);
    }
    pool_destroy(where);
    assert_int_equal(tl_store_embedded_destroy(where, &err), -ENOENT);
}

/* A table that is full says so; what has no value takes no room in it. */
static void more_locks_than_there_is_room_for_are_refused(void **state)
{
    (void)state;
    char where[256], name[16];
    struct tl_store_lock *lock;
    struct tl_store_lock_value value = {.valid = true};
    uint32_t count = 0;
    int rc = 0;
    pool_make(where, sizeof where);
    struct tl_store *s = pool_open(where);
    for (int with_value = 0; with_value <= 1; with_value++)
        for (count = 0; rc == 0 && count < 5000; count += rc == 0) {
            struct tl_store_lock_value before;
            snprintf(name, sizeof name, "%u", count);
            rc = s->ops->lock(s, &id, (struct tl_slice){name, strlen(name)}, true, 0, NULL, &lock, &before);
            if (rc == 0)
                assert_int_equal(s->ops->unlock(s, lock, with_value ? &value : NULL), 0);
        }
    assert_int_equal(rc, -ENOSPC);
    assert_int_equal(count, 4096);
    assert_int_equal(s->ops->lock(s, &id, (struct tl_slice){"7", 1}, true, 0, NULL, &lock, &value), 0);
    assert_true(value.valid);
    assert_int_equal(s->ops->unlock(s, lock, NULL), 0);
    s->ops->close(s);
    pool_destroy(where);
}

int main(void)
{
    const struct suite_store embedded = {"embedded", pool_make, pool_open, pool_destroy};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flipped_bit_is_noticed),
        cmocka_unit_test(small_payloads_are_read_wherever_they_are),
        cmocka_unit_test(a_damaged_index_block_stops_transactions),
        cmocka_unit_test(a_full_disk_is_told_by_the_flush_at_the_latest),
        cmocka_unit_test(what_is_no_pool_is_refused),
        cmocka_unit_test(a_pool_opened_for_reading_is_not_changed),
        cmocka_unit_test(a_pool_in_a_read_only_place_can_be_read),
        cmocka_unit_test(a_pool_that_is_open_is_not_destroyed),
        cmocka_unit_test(more_locks_than_there_is_room_for_are_refused),
    };
    return suite_run(&embedded) + cmocka_run_group_tests(tests, NULL, NULL);
}
