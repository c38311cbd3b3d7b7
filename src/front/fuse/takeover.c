// SPDX-License-Identifier: Apache-2.0
/* Taking over a mount from a daemon that ended: what is kept for it, and how it goes on. Owner thread only.
 *
 * To the kernel nothing happens: the descriptor stays open (the keeper has it, too), and INIT was long ago. libfuse, which is
 * new, is given the INIT that the kernel sent then, and its answer is not sent but compared with the one of then. FUSE_NOTIFY_RESEND
 * then makes the kernel send once more what the other daemon had read and not answered. */
#include <errno.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "front/fuse/internal.h"

#define NOTIFY_RESEND    7         /* enum fuse_notify_code; newer than the headers we build with, as the next */
#define HAS_RESEND_FLAG2 (1u << 7) /* bit 39 of INIT's flags: Linux 6.9 */

void tl_fuse_describe(struct tl_fuse *f, const struct tl_fuse_config *config)
{
    struct tl_keep_head *head = f->inodes.keep.head;
    head->map_owner = config->map_owner;
    head->links_inside = config->links_inside;
    head->mounted_here = f->mounted_here;
    head->pid = config->pid;
    strncpy(head->path, config->mountpoint, sizeof head->path - 1);
    strncpy(head->source, config->source_root, sizeof head->source - 1);
}

void tl_fuse_keep_init(struct tl_fuse *f, const void *message, size_t size)
{
    struct tl_keep_head *head = f->inodes.keep.head;
    if (head->complete != 0 || size > sizeof head->init)
        return;
    memcpy(head->init, message, size);
    head->init_len = (uint32_t)size;
}

/* The answer to INIT: sent and kept, or only compared with the one that was sent. */
ssize_t tl_fuse_answer_init(struct tl_fuse *f, const struct iovec *iov, int count)
{
    struct tl_keep_head *head = f->inodes.keep.head;
    uint8_t reply[TL_KEEP_REPLY_MAX];
    size_t len = 0, total = 0;
    for (int i = 0; i < count; i++) {
        total += iov[i].iov_len;
        if (i > 0 && len + iov[i].iov_len <= sizeof reply) {
            memcpy(reply + len, iov[i].iov_base, iov[i].iov_len);
            len += iov[i].iov_len;
        }
    }
    if (f->taken_over) {
        f->agreed = head->reply_len == len && memcmp(head->reply, reply, len) == 0;
        return (ssize_t)total;
    }
    ssize_t put = writev(f->fd, iov, count);
    if (put == (ssize_t)total && head->init_len > 0) {
        memcpy(head->reply, reply, len);
        head->reply_len = (uint32_t)len;
        head->complete = 1;
    }
    return put;
}

static bool kernel_resends(const struct tl_keep_head *head)
{
    struct fuse_init_in in = {.major = 0};
    size_t len = head->init_len - sizeof(struct fuse_in_header);
    if (head->init_len <= sizeof(struct fuse_in_header))
        return false;
    memcpy(&in, head->init + sizeof(struct fuse_in_header), len < sizeof in ? len : sizeof in);
    return (in.flags & FUSE_INIT_EXT) != 0 && (in.flags2 & HAS_RESEND_FLAG2) != 0;
}

static int resend(struct tl_fuse *f)
{
    const struct fuse_out_header msg = {.len = sizeof msg, .error = NOTIFY_RESEND};
    return write(f->fd, &msg, sizeof msg) == (ssize_t)sizeof msg ? 0 : -errno;
}

/* Agrees with the libfuse of this process on what the kernel and the one before agreed on. */
static int replay_init(struct tl_fuse *f)
{
    struct tl_keep_head *head = f->inodes.keep.head;
    uint8_t message[TL_KEEP_INIT_MAX];
    memcpy(message, head->init, head->init_len);
    const struct fuse_buf buf = {.mem = message, .size = head->init_len};
    f->replaying = true;
    fuse_session_process_buf(f->session, &buf);
    f->replaying = false;
    return f->inited && f->agreed ? 0 : -EPROTO;
}

int tl_fuse_go_on(struct tl_fuse *f, bool crashed, uint32_t dropped, struct tl_error *err)
{
    struct tl_keep_head *head = f->inodes.keep.head;
    if (!kernel_resends(head))
        return tl_error_set(err, -ENOTSUP,
                            "the mount at %s ends: this kernel cannot repeat what was under way (Linux 6.9)",
                            f->mountpoint);
    int rc = replay_init(f);
    if (rc != 0)
        return tl_error_set(err, rc, "the mount at %s ends: this tierceld wants other settings than the one before",
                            f->mountpoint);
    tl_guard_died(&f->guard, crashed);
    f->epoch = head->epoch != 0;
    rc = resend(f);
    if (rc != 0 && rc != -ENODEV && rc != -ENOTCONN && rc != -EPERM) /* ended meanwhile: the next read says so */
        return tl_error_set(err, rc, "the mount at %s ends: the kernel does not repeat what was under way: %s",
                            f->mountpoint, strerror(-rc));
    if (head->forgetting != 0)
        tl_fuse_invalidate(f, "", 0);
    if (dropped > 0 && f->host.note != NULL) {
        char text[96];
        snprintf(text, sizeof text, "%u names of the mount were not whole, and are stale now", dropped);
        f->host.note(f->host.ctx, f->front, text);
    }
    return 0;
}

int tl_fuse_keep_fd(const struct tl_fuse *f)
{
    return f->inodes.keep.fd;
}

int tl_fuse_device_fd(const struct tl_fuse *f)
{
    return f->fd;
}

void tl_fuse_place(const struct tl_fuse *f, const char **path, const char **source, int *pid)
{
    *path = f->mountpoint;
    *source = f->source_root;
    *pid = f->inodes.keep.head->pid;
}
