// SPDX-License-Identifier: Apache-2.0
/* What the files of the mount share. Not for others; tests may look inside. */
#ifndef TL_FRONT_FUSE_INTERNAL_H
#define TL_FRONT_FUSE_INTERNAL_H

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/listing.h"
#include "front/fuse/fuse.h"
#include "front/fuse/guard.h"
#include "front/fuse/inode.h"
#include "front/fuse/notify.h"
#include "front/fuse/pending.h"

/* How long the kernel may keep names, attributes and missing names: until we invalidate them. The protocol has no word
 * for "for ever", and the kernel turns seconds into ticks: ten years is far from any overflow and beyond every job. */
#define TL_FUSE_FOREVER_S 315360000.0

/* A directory's entries for one READDIR message; the kernel asks for a page up to a few. */
#define TL_FUSE_DIRBUF_SIZE (64u << 10)

struct tl_fuse {
    struct tl_front_host host;
    uint32_t front;
    bool map_owner, links_inside; /* as in the config */
    bool mounted_here;            /* the mount is ours to undo */
    bool taken_over;              /* another daemon made it */
    bool replaying, agreed;       /* takeover.c: INIT is given to libfuse once more, and its answer is the same */
    bool parallel_dirops;         /* to be added to the answer to INIT: see session.c */
    bool inited;                  /* the kernel has said INIT */
    bool no_open, no_opendir;     /* the kernel takes ENOSYS for an answer, and then opens without asking */
    bool epoch;                   /* the kernel knows NOTIFY_INC_EPOCH: probed after INIT */
    bool closing;                 /* every request is answered with an error */
    bool ended;                   /* the host has been told */
    bool paused;                  /* the pending table is full: fd is not watched */
    uid_t uid;                    /* the tier's user */
    int fd;                       /* /dev/fuse; libfuse closes it */
    int poll_fd;                  /* epoll with fd in it: what the host polls */
    char *source_root, *mountpoint;
    struct fuse_session *session;
    struct fuse_buf buf; /* libfuse allocates and reuses it */
    char *dirbuf;
    struct tl_inodes inodes; /* with what outlives us */
    struct tl_guard guard;
    struct tl_pending pending;
    struct tl_notify notify;
    struct tl_fuse_stats stats;
    uint64_t began_ns; /* when the request came that is being handled now */
};

extern const struct fuse_lowlevel_ops tl_fuse_ops;

/* mount.c: mounts the session at config's place or takes over its descriptor. 0 or -errno with a sentence. */
int tl_fuse_mount(struct fuse_session *session, const struct tl_fuse_config *config,
                  struct tl_error *err) TL_MUST_CHECK;
/* Catches what libfuse prints, for the sentence of the error. */
void tl_fuse_catch_log(void);

/* takeover.c: what outlives us is written down, */
void tl_fuse_describe(struct tl_fuse *f, const struct tl_fuse_config *config);
void tl_fuse_keep_init(struct tl_fuse *f, const void *message, size_t size);
ssize_t tl_fuse_answer_init(struct tl_fuse *f, const struct iovec *iov, int count);
/* and gone on with. 0 or -errno with a sentence. */
int tl_fuse_go_on(struct tl_fuse *f, bool crashed, uint32_t dropped, struct tl_error *err) TL_MUST_CHECK;

/* session.c: looks at the kernel's messages again when a full pending table has room. */
void tl_fuse_resume(struct tl_fuse *f);

/* ops.c: handles a request for names or attributes: from the listing at hand, or by asking the node for it. */
void tl_fuse_begin(struct tl_fuse *f, struct tl_fuse_op *op);
/* Registers op and sends its request; replies itself when that cannot be done. request->id is filled in. */
void tl_fuse_ask(struct tl_fuse *f, struct tl_fuse_op *op, struct tl_request *request);
/* The entry of op's inode in the listing of its directory, or of itself alone; of the root: its attributes only. -ESTALE: the
 * name leads to something else by now, and what the inode stands for has no attributes any more. */
int tl_fuse_find_inode(struct tl_fuse *f, const struct tl_fuse_op *op, const struct tl_listing *listing,
                       struct tl_listing_entry *entry) TL_MUST_CHECK;
/* Replies with -status, counted. */
void tl_fuse_fail(struct tl_fuse *f, fuse_req_t req, int status);

/* ops_meta.c, ops_dir.c, ops_xattr.c, ops_read.c: replies to op, all there. */
void tl_fuse_reply_lookup(struct tl_fuse *f, const struct tl_fuse_op *op, const struct tl_listing *listing);
void tl_fuse_reply_getattr(struct tl_fuse *f, const struct tl_fuse_op *op, const struct tl_listing *listing);
void tl_fuse_reply_readlink(struct tl_fuse *f, const struct tl_fuse_op *op, const struct tl_listing *listing);
void tl_fuse_reply_readdir(struct tl_fuse *f, const struct tl_fuse_op *op, const struct tl_listing *listing);
void tl_fuse_reply_xattr(struct tl_fuse *f, const struct tl_fuse_op *op, const void *blob, size_t len);
void tl_fuse_reply_held(struct tl_fuse *f, const struct tl_fuse_op *op, const struct tl_listing *listing);
void tl_fuse_reply_read(struct tl_fuse *f, const struct tl_fuse_op *op, const struct tl_answer *answer);

/* attr.c: attributes as the kernel gets them. */
void tl_fuse_stat(const struct tl_fuse *f, const struct tl_attr *attr, struct stat *st);
/* The same for an entry of dir: a link is as long as the target that is shown. */
void tl_fuse_stat_entry(const struct tl_fuse *f, uint64_t dir, const struct tl_listing_entry *entry, struct stat *st);
/* What readlink says for a link that is an entry of dir. Its length or -errno. */
int tl_fuse_link(const struct tl_fuse *f, uint64_t dir, const struct tl_listing_entry *entry,
                 char out[TL_LINK_MAX]) TL_MUST_CHECK;
/* Inode, attributes and timeouts for one entry; the inode has one more look-up. 0 or -errno. */
int tl_fuse_entry(struct tl_fuse *f, uint64_t dir, const struct tl_listing_entry *entry,
                  struct fuse_entry_param *e) TL_MUST_CHECK;
/* How long the kernel may keep that a name is missing in dir. */
double tl_fuse_negative_s(const struct tl_fuse *f, uint64_t dir);

/* invalidate.c: the name of this inode leads to something else by now, and the kernel shall ask again. */
void tl_fuse_drop_entry(struct tl_fuse *f, struct tl_inode *inode);
/* Tries NOTIFY_INC_EPOCH: all names the kernel knows are asked for again. 0, -errno (-EINVAL before Linux 6.16). */
int tl_fuse_inc_epoch(struct tl_fuse *f);

/* The kernel-side handlers, put together in session.c. */
void tl_fuse_op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void tl_fuse_op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void tl_fuse_op_readlink(fuse_req_t req, fuse_ino_t ino);
void tl_fuse_op_statfs(fuse_req_t req, fuse_ino_t ino);
void tl_fuse_op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void tl_fuse_op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void tl_fuse_op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg, struct fuse_file_info *fi,
                      unsigned flags, const void *in_buf, size_t in_size, size_t out_size);
void tl_fuse_op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void tl_fuse_op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void tl_fuse_op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void tl_fuse_op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void tl_fuse_op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void tl_fuse_op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup);
void tl_fuse_op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);

#endif
