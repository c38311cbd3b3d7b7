// SPDX-License-Identifier: Apache-2.0
/* Inside the sources: the instance that all kinds share, and the posix source. The HTTP source is in http.h.
 *
 *   queue.c          the instance: queues, workers, submit and reap
 *   posix_list.c     a directory -> a listing blob
 *   posix_entry.c    one name -> the listing of that name alone
 *   posix_xattrs.c   all extended attributes of a file
 *   posix_read.c     chunks of a file, each verified to be of the wanted version
 *   posix_files.c    descriptors kept open between the operations of one file
 *   posix_attr.c     statx -> tl_attr, and what the user may do with a file
 *   posix_exclude.c  directories never entered: our own mounts, and kernel file systems
 *
 * Everything here runs in the workers, unless it says otherwise. */
#ifndef TL_SOURCE_POSIX_H
#define TL_SOURCE_POSIX_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/listing.h"
#include "source/source.h"

#define TL_SOURCE_PATH_MAX  4095u      /* bytes of a path; Linux takes no longer ones */
#define TL_SOURCE_PAGE_SIZE (1u << 20) /* bytes of names asked for in one getdents */

/* posix_attr.c: how the user's rights on a file are found. */
enum tl_posix_rights {
    TL_RIGHTS_BITS = 1, /* by owner and permission bits; the kernel is asked where these do not decide */
    TL_RIGHTS_ALL,      /* full root: no bits hold it back */
    TL_RIGHTS_ASK,      /* some capabilities, or a user namespace: the kernel is always asked */
};
enum tl_posix_rights tl_posix_rights_now(void);
/* Attributes of name in the open directory dirfd ("": of dirfd itself). 0 or -errno. *dev is the device's number. */
int tl_posix_stat(int dirfd, const char *name, struct statx *out, uint64_t *dev);
/* What of statx a version is made of. */
uint64_t tl_posix_version(const struct statx *st);
/* Fills all of *out, asking the kernel for access where needed. */
void tl_posix_attr(enum tl_posix_rights rights, int dirfd, const char *name, const struct statx *st,
                   struct tl_attr *out);

/* posix_exclude.c: an immutable set of absolute directories, counted. Any thread. */
struct tl_posix_exclude {
    atomic_uint refs;
    size_t count;
    char *paths[];
};
int tl_posix_exclude_new(struct tl_posix_exclude **out, const char *const *paths, size_t count) TL_MUST_CHECK;
void tl_posix_exclude_unref(struct tl_posix_exclude *x);
/* Path is an excluded directory, or below one. */
bool tl_posix_exclude_covers(const struct tl_posix_exclude *x, const char *path);
/* The excluded directory dir/name, or NULL: it is none. */
const char *tl_posix_exclude_find(const struct tl_posix_exclude *x, const char *dir, const char *name);
/* What is shown in place of an excluded directory: empty, 0555, ours. */
void tl_posix_exclude_attr(const char *path, struct tl_attr *out);

/* posix_exclude.c: devices known to hold real files. */
#define TL_POSIX_DEVICES 1024u
struct tl_posix_devices {
    pthread_mutex_t lock;
    uint64_t known[TL_POSIX_DEVICES]; /* 0: free */
};
/* True if the open directory lies on a file system of the kernel's own (proc, sysfs, ...). One fstatfs a device. */
bool tl_posix_is_pseudo(struct tl_posix_devices *d, int fd, uint64_t dev);

/* posix_files.c */
struct tl_posix_file {
    struct tl_hash key; /* of path and version */
    int fd;             /* -1 while it is being opened, and after that failed */
    int status;         /* why opening failed */
    bool used, opening, doomed;
    uint32_t refs;
    uint64_t chunks_left; /* until everything has been read once */
    uint64_t last_used_ns;
};
struct tl_posix_files {
    pthread_mutex_t lock;
    pthread_cond_t opened;
    struct tl_posix_file *slots;
    uint32_t slot_count, open_max, open_count;
};
int tl_posix_files_init(struct tl_posix_files *f, uint32_t open_max, uint32_t threads) TL_MUST_CHECK;
void tl_posix_files_fini(struct tl_posix_files *f);
/* Opens through `open` (which returns a descriptor or -errno) unless that file is open or being opened: then it waits
 * for that. 0 with a reference in *out, or -errno. */
int tl_posix_files_get(struct tl_posix_files *f, struct tl_hash key, uint64_t chunk_count, int (*open)(void *ctx),
                       void *ctx, struct tl_posix_file **out) TL_MUST_CHECK;
/* Notes what was read of it. When nothing is left, or something was wrong with it (bad), nobody gets it any more. */
void tl_posix_files_note(struct tl_posix_files *f, struct tl_posix_file *file, uint32_t chunks_read, bool bad);
/* Gives it back: it stays open for the next one, or is closed, which may take a request to the storage. */
void tl_posix_files_put(struct tl_posix_files *f, struct tl_posix_file *file);
/* Closes what nobody has used for a while. Returns when to come again (monotonic ns), UINT64_MAX: never. */
uint64_t tl_posix_files_expire(struct tl_posix_files *f, uint64_t now_ns);

/* A page of a directory's names, looked at by the worker that listed it and, when the storage turns out to be slow, by
 * workers that have nothing else to do: they take a few names at a time. Lives on the first worker's stack. */
struct tl_posix_walk {
    struct tl_source *source;
    const char *path;
    const struct tl_posix_exclude *exclude;
    int fd;

    pthread_mutex_t lock; /* the four below; taken with no other lock held */
    struct tl_listing_builder *builder;
    const char *page; /* struct dirent64 records */
    size_t page_len, taken;
    int status; /* the first error: ends the walk */

    /* Under the source's lock. */
    bool published;
    uint32_t helpers; /* inside tl_posix_walk_help */
    struct tl_posix_walk *next;
};

struct tl_posix_counters {
    _Atomic uint64_t lists, opens, reads, lstats, readlinks, bytes, errors;
};

/* How a kind of source carries out operations. path is that of the op, NUL-terminated and canonical; page:
 * TL_SOURCE_PAGE_SIZE bytes of scratch memory, or NULL. Each reports what has become of the op. */
struct tl_http;
struct tl_source_way {
    void (*list)(struct tl_source *s, const struct tl_source_op *op, const char *path, void *page);
    void (*entry)(struct tl_source *s, const struct tl_source_op *op, const char *path);
    void (*xattrs)(struct tl_source *s, const struct tl_source_op *op, const char *path);
    void (*read)(struct tl_source *s, const struct tl_source_op *op, const char *path);
    void (*close)(struct tl_http *http); /* only if there is one; after the workers have ended */
};

/* An operation in the queue: the path is still the owner's. */
struct tl_source {
    const struct tl_source_way *way;
    struct tl_http *http;           /* NULL: posix */
    struct tl_source_config config; /* exclude: see below */
    enum tl_posix_rights rights;
    struct tl_posix_counters counters;
    struct tl_posix_devices devices;
    struct tl_posix_files files;
    int event_fd;

    pthread_mutex_t lock; /* everything below */
    pthread_cond_t work;
    struct tl_posix_exclude *exclude;
    struct tl_source_op *ops; /* ring of queue_max */
    uint32_t op_first, op_count;
    uint32_t accepted;           /* submitted, last completion not reaped: at most queue_max */
    struct tl_source_done *done; /* ring of queue_max * TL_SOURCE_CHUNKS_MAX */
    uint32_t done_first, done_count;
    bool signalled; /* event_fd is readable: exactly while done_count > 0 */
    _Atomic bool stopping;
    pthread_t *threads;
    uint32_t thread_count;
    struct tl_posix_walk *walks; /* published: in want of helpers */
    pthread_cond_t helped;       /* a helper has left a walk */
};

/* queue.c: starts an instance, which takes http over. 0, or -errno: http is still the caller's. */
int tl_source_start(struct tl_source **out, const struct tl_source_config *config, const struct tl_source_way *way,
                    struct tl_http *http, struct tl_error *err) TL_MUST_CHECK;
/* posix_read.c: every chunk of the op lies inside the file, and is whole. */
bool tl_source_lens_valid(const struct tl_source_op *op, uint32_t chunk_size);

/* queue.c: hands a completion to the owner. */
void tl_posix_report(struct tl_source *s, const struct tl_source_done *done);
/* queue.c: the set in force now, with a reference. */
struct tl_posix_exclude *tl_posix_exclude_ref(struct tl_source *s);

/* queue.c: lets idle workers into the walk; ends that, and waits until they have left. The latter may be called for a
 * walk that was not published. */
void tl_posix_walk_publish(struct tl_source *s, struct tl_posix_walk *w);
void tl_posix_walk_finish(struct tl_source *s, struct tl_posix_walk *w);
/* queue.c: an operation waits for a worker. */
bool tl_posix_work_waits(struct tl_source *s);
/* Takes part in a walk until nothing is left of it (true), or until other work waits. */
bool tl_posix_walk_help(struct tl_posix_walk *w);

/* posix_list.c: attributes of name in the directory that is open as dirfd and, for a link, its target (up to TL_LINK_MAX + 1
 * bytes). 0 (attr->status may still say what went wrong), or -ENOENT: there is no such name. */
int tl_posix_look_at(struct tl_source *s, int dirfd, const char *name, struct tl_attr *attr, char *target,
                     size_t *target_len);
/* posix_list.c: adds a name to the listing; one with attributes that no file has is broken (-EIO), not the listing. */
int tl_posix_add(struct tl_listing_builder *b, const char *name, const struct tl_attr *attr, const char *target,
                 size_t target_len);

/* Carry out one operation whose path is `path` (NUL-terminated, canonical) and report it. page: TL_SOURCE_PAGE_SIZE
 * bytes of scratch memory. */
/* The listing of an excluded directory. 0, -ENOMEM. */
int tl_posix_list_excluded(const char *path, void **blob, size_t *len) TL_MUST_CHECK;
void tl_posix_list(struct tl_source *s, const struct tl_source_op *op, const char *path, void *page);
void tl_posix_entry(struct tl_source *s, const struct tl_source_op *op, const char *path);
void tl_posix_xattrs(struct tl_source *s, const struct tl_source_op *op, const char *path);
void tl_posix_read(struct tl_source *s, const struct tl_source_op *op, const char *path);

#endif
