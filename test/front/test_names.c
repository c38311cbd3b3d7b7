// SPDX-License-Identifier: Apache-2.0
/* What the supervisor of rung "fault" reads of programs: the paths they name, and what they are executed by. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "front/launch/fault.h"

static void names_are_compared_as_if_there_were_no_links(void **state)
{
    (void)state;
    assert_true(tl_name_below("/t/app", "/t/app"));
    assert_true(tl_name_below("/t/app/", "/t/app"));
    assert_true(tl_name_below("/t/app/lib/x", "/t/app"));
    assert_true(tl_name_below("//t//app/./lib", "/t/app"));
    assert_true(tl_name_below("/t/other/../app/x", "/t/app"));
    assert_true(tl_name_below("/../t/app/.hidden", "/t/app"));
    assert_false(tl_name_below("/t/app2", "/t/app"));
    assert_false(tl_name_below("/t/ap", "/t/app"));
    assert_false(tl_name_below("/t/app/../x", "/t/app"));
    assert_false(tl_name_below("/", "/t/app"));
    assert_false(tl_name_below("", "/t/app"));
    assert_false(tl_name_below("/../..", "/t/app"));
}

static int read_own(int dir_fd, const char *path, bool empty, char out[2 * PATH_MAX])
{
    return tl_name_read((uint32_t)getpid(), dir_fd, (uint64_t)(uintptr_t)path, empty, out);
}

static void paths_are_made_absolute(void **state)
{
    (void)state;
    char out[2 * PATH_MAX], expected[64];
    check(chdir("/proc/sys") == 0);
    int dir = open("/usr", O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(read_own(AT_FDCWD, "/etc/../x", false, out), 0);
    assert_string_equal(out, "/etc/../x");
    assert_int_equal(read_own(AT_FDCWD, "kernel", false, out), 0);
    assert_string_equal(out, "/proc/sys/kernel");
    assert_int_equal(read_own(dir, "lib/x", false, out), 0);
    assert_string_equal(out, "/usr/lib/x");
    assert_int_equal(read_own(dir, "", false, out), -ENOENT);
    assert_int_equal(read_own(dir, "", true, out), 0);
    assert_string_equal(out, "/usr");
    assert_int_equal(read_own(AT_FDCWD, "/proc/self/fd/3", false, out), 0);
    snprintf(expected, sizeof expected, "/proc/%d/fd/3", (int)getpid());
    assert_string_equal(out, expected);
    assert_int_equal(read_own(AT_FDCWD, "/dev/fd/3", false, out), 0);
    assert_string_equal(out, expected);
    assert_int_equal(read_own(12345, "x", false, out), -ENOENT); /* no such descriptor */
    close(dir);
    assert_int_equal(read_own(AT_FDCWD, (const char *)8, false, out), -EFAULT);
}

static void a_path_is_not_read_beyond_its_page(void **state)
{
    (void)state;
    char out[2 * PATH_MAX], *pages = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(pages != MAP_FAILED && munmap(pages + 2 * 4096, 4096) == 0);
    char *end = pages + 2 * 4096;
    memcpy(end - 5, "/abc", 5);
    assert_int_equal(read_own(AT_FDCWD, end - 5, false, out), 0);
    assert_string_equal(out, "/abc");
    memset(pages, 'x', 2 * 4096); /* a path over the border between two pages, and one without an end */
    pages[4096 - 300] = '/';
    pages[4096 + 300] = '\0';
    assert_int_equal(read_own(AT_FDCWD, pages + 4096 - 300, false, out), 0);
    assert_int_equal(strlen(out), 600);
    memset(pages, '/', 2 * 4096);
    assert_int_equal(read_own(AT_FDCWD, end - 10, false, out), -EFAULT);
    assert_int_equal(read_own(AT_FDCWD, pages, false, out), -ENAMETOOLONG);
    munmap(pages, 2 * 4096);
}

static int interpreter(const void *bytes, size_t len, char out[PATH_MAX], bool *is_script)
{
    int fd = memfd_create("program", MFD_CLOEXEC);
    check(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
    int rc = tl_interpreter_of(fd, out, is_script);
    close(fd);
    return rc;
}

static void interpreters_of_scripts(void **state)
{
    (void)state;
    static const struct {
        const char *head, *interpreter;
    } rows[] = {{"#!/bin/sh\n", "/bin/sh"},
                {"#! \t/bin/sh -e\n", "/bin/sh"},
                {"#!bin/own", "bin/own"},
                {"#!/usr/bin/env a b", "/usr/bin/env"},
                {"#!\n", NULL},
                {"#!", NULL},
                {"# !/bin/sh\n", NULL},
                {"", NULL},
                {"echo", NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char out[PATH_MAX];
        bool is_script;
        int rc = interpreter(rows[i].head, strlen(rows[i].head), out, &is_script);
        assert_int_equal(rc, rows[i].interpreter != NULL);
        if (rc == 1)
            assert_string_equal(out, rows[i].interpreter);
    }
}

static void interpreters_of_programs(void **state)
{
    (void)state;
    struct {
        ElfW(Ehdr) head;
        ElfW(Phdr) program[2];
        char path[16];
    } file = {.head = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32},
                       .e_phoff = sizeof file.head,
                       .e_phentsize = sizeof file.program[0],
                       .e_phnum = 2},
              .program = {{.p_type = PT_LOAD}, {.p_type = PT_INTERP, .p_filesz = 16}},
              .path = "/lib/ld.so"};
    char out[PATH_MAX];
    bool is_script;
    file.program[1].p_offset = offsetof(__typeof__(file), path);
    assert_int_equal(interpreter(&file, sizeof file, out, &is_script), 1);
    assert_string_equal(out, "/lib/ld.so");
    assert_false(is_script);
    memset(file.path, 'x', sizeof file.path); /* no end */
    assert_int_equal(interpreter(&file, sizeof file, out, &is_script), 0);
    file.program[1].p_filesz = ~0ul;
    assert_int_equal(interpreter(&file, sizeof file, out, &is_script), 0);
    file.program[1].p_filesz = 16;
    file.head.e_phnum = 65535;
    assert_int_equal(interpreter(&file, sizeof file, out, &is_script), 0);
    file.head.e_phnum = 2;
    file.head.e_phoff = ~0ul - 7;
    assert_int_equal(interpreter(&file, sizeof file, out, &is_script), 0);
    assert_int_equal(interpreter(&file, sizeof file.head - 1, out, &is_script), 0);
}

static void calls_are_found_by_their_number(void **state)
{
    (void)state;
    assert_int_equal(tl_call_find(SYS_openat)->kind, TL_CALL_OPEN);
    assert_int_equal(tl_call_find(SYS_execveat)->kind, TL_CALL_EXEC);
    assert_int_equal(tl_call_find(SYS_renameat2)->kind, TL_CALL_MOVE);
    assert_null(tl_call_find(SYS_read));
    assert_null(tl_call_find(-1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_compared_as_if_there_were_no_links),
        cmocka_unit_test(paths_are_made_absolute),
        cmocka_unit_test(a_path_is_not_read_beyond_its_page),
        cmocka_unit_test(interpreters_of_scripts),
        cmocka_unit_test(interpreters_of_programs),
        cmocka_unit_test(calls_are_found_by_their_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
