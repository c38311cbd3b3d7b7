// SPDX-License-Identifier: Apache-2.0
/* One program that does, each on request, what unmodified programs do with files: a row of the acceptance table each.
 *
 *   rows NAME TREE OUTSIDE     does the row NAME below the directory TREE; prints what it found
 *
 * It runs once natively and once under `tiercel run`, and must print the same and end the same. So a row prints what it
 * sees (contents, sizes, errors by name), and nothing that may differ between two file systems (device numbers, inode
 * numbers, block counts). The tree is the one that `accept` makes. Linked twice: with the C library as a library, and static. */
#ifndef TL_TEST_LAUNCH_ROWS_H
#define TL_TEST_LAUNCH_ROWS_H

#include <stdbool.h>
#include <stddef.h>

struct row {
    const char *name;
    void (*run)(void);
};

/* Each ends with an entry whose name is NULL. */
extern const struct row rows_names[], rows_data[], rows_exec[], rows_sandbox[];

/* What the machine does not have: the row is left out, if the native run says so. */
#define ROW_SKIPPED 77

/* The directory's path, and a path below it; the latter in one of a few buffers that take turns. */
const char *tree(void);
const char *in_tree(const char *name);
/* A path of the directory `outside`, which lies beside the tree. */
const char *outside(const char *name);

/* Ends the row with 1 if this does not hold, saying what and errno. */
void expect(bool holds, const char *what);
/* Prints a call's result: "what: ok", or "what: ENOENT". */
void tell(const char *what, long result);
/* Prints up to 64 bytes of a file's content, of a path or a descriptor (which it closes). */
void tell_content(const char *path);
void tell_fd(int fd);
/* Prints kind, mode, size and time of change, by stat or lstat. */
void tell_stat(const char *path, bool follow);
/* Waits for a child, prints how it ended. */
void tell_child(int pid);
/* Length and a sum of bytes. */
void tell_sum(const char *what, const void *bytes, size_t len);

#endif
