// SPDX-License-Identifier: Apache-2.0
/* What the busy file system knows of its source: one record a name that was ever seen, shared by all mounts, and what
 * has been touched since the last reset, so that operations can be divided by distinct things.
 *
 * Records are never freed (a test file system lives for minutes; the tree bounds them): a pointer is the kernel's node
 * number, and stays good. One lock guards all fields; any thread. */
#ifndef TL_LAB_BUSYFS_TREE_H
#define TL_LAB_BUSYFS_TREE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#define BUSY_MOUNTS_MAX 64u
#define BUSY_CHUNK_SIZE (256u << 10) /* the unit in which reads are compared with distinct data */
#define BUSY_PAGE_SIZE  4096u

/* A fault to be injected at one name. */
struct busy_fault {
    int error;      /* positive errno, 0: none */
    uint64_t after; /* this many operations go well first */
    uint64_t count; /* then this many fail, 0: all */
};

struct busy_node {
    struct busy_node *parent; /* NULL: the root */
    struct busy_node *chain;  /* next in the hash bucket */
    struct busy_node *next;   /* next in the list of all */
    char *name;
    mode_t type;                    /* S_IFMT bits; a name that changes type becomes another record */
    bool missing;                   /* a name that was looked for and was not there */
    uint64_t known_by;              /* bit a mount: its kernel may hold this node */
    uint64_t seen[BUSY_MOUNTS_MAX]; /* signature of the contents that this mount's page cache holds */
    /* since the last reset */
    uint64_t epoch; /* of the fields below; an older one means all of them are empty */
    bool opened, listed, linked, looked_up;
    uint8_t *pages;     /* a bit a page read */
    uint64_t pages_len; /* bytes of the map */
    /* injected */
    struct busy_fault open_fault, read_fault;
    uint64_t change_after; /* the file changes at this read, counted from 1; 0: never */
    uint32_t generation;   /* how often it has changed so */
};

struct busy_distinct {
    uint64_t files_opened, chunks, bytes, directories, links, missing, names;
};

struct busy_tree {
    pthread_mutex_t lock;
    int source_fd; /* O_PATH of the source directory */
    struct busy_node *root, *all;
    struct busy_node **buckets;
    uint64_t count, bucket_count;
    uint64_t epoch;
    struct busy_distinct distinct;
};

/* 0, or -errno: the source cannot be opened, no memory. */
int busy_tree_init(struct busy_tree *t, const char *source);
/* The record of name below parent, made when there is none. NULL: no memory. */
struct busy_node *busy_tree_child(struct busy_tree *t, struct busy_node *parent, const char *name, mode_t type,
                                  bool missing);
/* The record of a path relative to the root ("" or "/": the root); made from what the source shows. NULL: none. */
struct busy_node *busy_tree_find(struct busy_tree *t, const char *path);
/* Path relative to the source, "." for the root. 0, or -ENAMETOOLONG. */
int busy_tree_path(const struct busy_node *n, char *out, size_t size);
/* Attributes as the mounts show them (an injected change included). 0 or -errno. */
int busy_tree_stat(struct busy_tree *t, struct busy_node *n, struct stat *st);

enum busy_touch { BUSY_TOUCH_NAME, BUSY_TOUCH_MISSING, BUSY_TOUCH_OPEN, BUSY_TOUCH_LIST, BUSY_TOUCH_LINK };
/* Counts a distinct thing, once a reset. */
void busy_tree_touch(struct busy_tree *t, struct busy_node *n, enum busy_touch what);
/* Counts the distinct pages, bytes and chunks of a read that gave len bytes at offset. */
void busy_tree_touch_read(struct busy_tree *t, struct busy_node *n, uint64_t offset, uint64_t len);
/* Notes that a mount's kernel was told of this node. */
void busy_tree_known(struct busy_tree *t, struct busy_node *n, uint32_t mount);
/* True when the mount's page cache may be kept: the contents are those it saw when it last asked. */
bool busy_tree_unchanged(struct busy_tree *t, struct busy_node *n, uint32_t mount, const struct stat *st);
/* Passes one operation by a fault: the errno that it must fail with, or 0. */
int busy_tree_fault(struct busy_tree *t, struct busy_fault *f);
/* Passes one read by an injected change: true when the file changes now. */
bool busy_tree_change(struct busy_tree *t, struct busy_node *n);
void busy_tree_reset(struct busy_tree *t);

#endif
