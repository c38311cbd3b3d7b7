// SPDX-License-Identifier: Apache-2.0
/* One mount from open to close, and the settings agreed with the kernel. Owner thread only.
 *
 * The host polls an epoll descriptor that holds /dev/fuse: so that we can look away from the device while the table of
 * waiting requests is full, and the host's loop sleeps instead of spinning. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/time.h"
#include "front/fuse/internal.h"
#include "front/fuse/ops_write.h"

/* Read-ahead requests the kernel may have under way: of 128 KiB, for a dozen processes that start at once. */
#define BACKGROUND_MAX 64u
/* How long a close waits for the helper thread to come out of the kernel. */
#define CLOSE_ROUNDS   500
#define CLOSE_ROUND_MS 10

/* The kernel's first message: what we want of what it offers. */
static void op_init(void *userdata, struct fuse_conn_info *conn)
{
    struct tl_fuse *f = userdata;
    /* - ASYNC_READ: several reads of one file at once, as read-ahead makes them.
     * - PARALLEL_DIROPS: look-ups in one directory need not queue.
     * - READDIRPLUS without READDIRPLUS_AUTO: a directory's names and attributes always come together; AUTO asks for
     *   the second half of a large directory again, in another way.
     * - CACHE_SYMLINKS: a link's target is asked for once.
     * - EXPLICIT_INVAL_DATA: pages are dropped when we say so, not when attributes look changed.
     * Off, deliberately: AUTO_INVAL_DATA (as above), EXPORT_SUPPORT (needs "." and ".." look-ups of forgotten inodes),
     * WRITEBACK_CACHE, ATOMIC_O_TRUNC and HANDLE_KILLPRIV (nothing is written), POSIX_LOCKS and FLOCK_LOCKS (the
     * kernel's own are what programs need), SPLICE_* (measured no faster). */
    conn->want = conn->capable & (FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS |
                                  FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_EXPLICIT_INVAL_DATA);
    f->no_open = (conn->capable & FUSE_CAP_NO_OPEN_SUPPORT) != 0;
    f->no_opendir = (conn->capable & FUSE_CAP_NO_OPENDIR_SUPPORT) != 0;
    f->parallel_dirops = (conn->want & FUSE_CAP_PARALLEL_DIROPS) != 0;
    conn->max_background = BACKGROUND_MAX;
    conn->congestion_threshold = BACKGROUND_MAX * 3 / 4;
    /* libfuse derives the largest request, in pages, from max_write: reads then fit what a node answers. */
    conn->max_write = TL_READ_SIZE_MAX;
    /* max_readahead stays the kernel's offer, 128 KiB: only root can raise it, and 1 MiB measured no better. */
    f->inited = true;
}

static void count_answer(struct tl_fuse *f)
{
    uint64_t ns = tl_time_mono_ns() - f->began_ns, us = ns / TL_NS_PER_US;
    uint32_t bucket = us == 0 ? 0 : 64u - (uint32_t)__builtin_clzll(us);
    f->stats.latency[bucket < TL_LATENCY_BUCKETS ? bucket : TL_LATENCY_BUCKETS - 1]++;
    f->stats.latency_ns += ns;
}

/* libfuse reads and writes the device through these. Before 3.17 it takes the wish for PARALLEL_DIROPS and does not pass
 * it on (libfuse pull request 861): without it, look-ups in one directory queue behind each other, and a node's twelve
 * processes start one after the other. So the flag is put into the answer to INIT here: the first thing written. */
static ssize_t device_writev(int fd, struct iovec *iov, int count, void *userdata)
{
    struct tl_fuse *f = userdata;
    const struct fuse_out_header *header = iov[0].iov_base;
    struct fuse_init_out out;
    struct iovec changed[2];
    if (header->unique != 0) {
        tl_guard_end(&f->guard, header->unique);
        count_answer(f);
    }
    if (header->unique != 0 && f->parallel_dirops) { /* unique 0: a notification, from the helper thread */
        f->parallel_dirops = false;
        if (header->error == 0 && count == 2 && iov[1].iov_len <= sizeof out) {
            memcpy(&out, iov[1].iov_base, iov[1].iov_len);
            out.flags |= FUSE_PARALLEL_DIROPS;
            changed[0] = iov[0];
            changed[1] = (struct iovec){.iov_base = &out, .iov_len = iov[1].iov_len};
            iov = changed;
        }
    }
    if (header->unique != 0 && (f->replaying || (f->inited && f->inodes.keep.head->complete == 0)))
        return tl_fuse_answer_init(f, iov, count);
    return writev(fd, iov, count);
}

static ssize_t device_read(int fd, void *buf, size_t size, void *userdata)
{
    (void)userdata;
    return read(fd, buf, size);
}

static const struct fuse_custom_io device_io = {.writev = device_writev, .read = device_read};

const struct fuse_lowlevel_ops tl_fuse_ops = {
    .init = op_init,
    .lookup = tl_fuse_op_lookup,
    .forget = tl_fuse_op_forget,
    .forget_multi = tl_fuse_op_forget_multi,
    .getattr = tl_fuse_op_getattr,
    .readlink = tl_fuse_op_readlink,
    .open = tl_fuse_op_open,
    .read = tl_fuse_op_read,
    .opendir = tl_fuse_op_opendir,
    .readdir = tl_fuse_op_readdir,
    .readdirplus = tl_fuse_op_readdirplus,
    .statfs = tl_fuse_op_statfs,
    .getxattr = tl_fuse_op_getxattr,
    .listxattr = tl_fuse_op_listxattr,
    .ioctl = tl_fuse_op_ioctl,
    .setattr = tl_fuse_op_setattr,
    .mknod = tl_fuse_op_mknod,
    .mkdir = tl_fuse_op_mkdir,
    .unlink = tl_fuse_op_unlink,
    .rmdir = tl_fuse_op_unlink,
    .symlink = tl_fuse_op_symlink,
    .rename = tl_fuse_op_rename,
    .link = tl_fuse_op_link,
    .create = tl_fuse_op_create,
    .write = tl_fuse_op_write,
    .fallocate = tl_fuse_op_fallocate,
    .setxattr = tl_fuse_op_setxattr,
    .removexattr = tl_fuse_op_removexattr,
};

/* Watches the device, or not. */
static int watch(struct tl_fuse *f, bool on)
{
    struct epoll_event ev = {.events = on ? EPOLLIN : 0u};
    return epoll_ctl(f->poll_fd, EPOLL_CTL_MOD, f->fd, &ev) == 0 ? 0 : -errno;
}

static int open_tables(struct tl_fuse *f, const struct tl_fuse_config *config)
{
    f->source_root = strdup(config->source_root);
    f->mountpoint = strdup(config->mountpoint);
    f->dirbuf = malloc(TL_FUSE_DIRBUF_SIZE);
    if (f->source_root == NULL || f->mountpoint == NULL || f->dirbuf == NULL)
        return -ENOMEM;
    int rc = f->taken_over ? 0 : tl_inodes_init(&f->inodes); /* else it has them already */
    if (rc == 0)
        tl_guard_init(&f->guard, f->inodes.keep.head);
    return rc != 0 ? rc : tl_pending_init(&f->pending);
}

static int open_session(struct tl_fuse *f, const struct tl_fuse_config *config, struct tl_error *err)
{
    char name[] = "tiercel", flag[] = "-o", options[] = "fsname=tiercel,subtype=tiercel,ro,default_permissions";
    char *argv[] = {name, flag, options, NULL};
    struct fuse_args args = FUSE_ARGS_INIT(3, argv);
    tl_fuse_catch_log();
    f->session = fuse_session_new(&args, &tl_fuse_ops, sizeof tl_fuse_ops, f);
    fuse_opt_free_args(&args);
    if (f->session == NULL)
        return tl_error_set(err, -ENOMEM, "cannot mount at %s: libfuse could not start a session", f->mountpoint);
    int rc = tl_fuse_mount(f->session, config, err);
    if (rc != 0)
        return rc;
    f->mounted_here = config->fd < 0 || (f->taken_over && f->inodes.keep.head->mounted_here != 0);
    f->fd = fuse_session_fd(f->session);
    rc = fuse_session_custom_io(f->session, &device_io, f->fd);
    return rc == 0 ? 0 : tl_error_set(err, rc, "cannot mount at %s: libfuse refused its device", f->mountpoint);
}

static int open_polling(struct tl_fuse *f)
{
    int flags = fcntl(f->fd, F_GETFL);
    if (flags < 0 || fcntl(f->fd, F_SETFL, flags | O_NONBLOCK) != 0)
        return -errno;
    f->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev = {.events = EPOLLIN};
    if (f->poll_fd < 0 || epoll_ctl(f->poll_fd, EPOLL_CTL_ADD, f->fd, &ev) != 0)
        return -errno;
    return tl_notify_start(&f->notify, f->session, &f->inodes.keep.head->forgetting);
}

static struct tl_fuse *new_fuse(const struct tl_front_host *host, uint32_t front)
{
    struct tl_fuse *f = calloc(1, sizeof *f);
    if (f == NULL)
        return NULL;
    f->host = *host;
    f->front = front;
    f->uid = getuid();
    f->fd = f->poll_fd = f->inodes.keep.fd = -1;
    tl_guard_init(&f->guard, NULL);
    return f;
}

/* What is the same for a new mount and one that is taken over. Frees f when it fails. */
static int open_rest(struct tl_fuse *f, const struct tl_fuse_config *config, struct tl_error *err)
{
    f->map_owner = config->map_owner;
    f->links_inside = config->links_inside;
    int rc = open_tables(f, config);
    if (rc != 0)
        tl_error_set(err, rc, "cannot mount at %s: out of memory", config->mountpoint);
    else
        rc = open_session(f, config, err);
    if (rc != 0 && config->fd >= 0 && f->fd < 0)
        close(config->fd); /* taken over in every case */
    if (rc == 0) {
        rc = open_polling(f);
        if (rc != 0)
            tl_error_set(err, rc, "cannot serve the mount at %s: %s", config->mountpoint, strerror(-rc));
    }
    if (rc != 0)
        tl_fuse_close(f);
    return rc;
}

int tl_fuse_open(struct tl_fuse **out, const struct tl_fuse_config *config, const struct tl_front_host *host,
                 struct tl_error *err)
{
    check(config->mountpoint != NULL && config->source_root != NULL && config->source_root[0] == '/');
    struct tl_fuse *f = new_fuse(host, config->front);
    if (f == NULL) {
        if (config->fd >= 0)
            close(config->fd);
        return tl_error_set(err, -ENOMEM, "cannot mount at %s: out of memory", config->mountpoint);
    }
    int rc = open_rest(f, config, err);
    if (rc == 0)
        tl_fuse_describe(f, config);
    if (rc == 0)
        *out = f;
    return rc;
}

int tl_fuse_take_over(struct tl_fuse **out, const struct tl_fuse_legacy *legacy, const struct tl_front_host *host,
                      struct tl_error *err)
{
    struct tl_fuse *f = new_fuse(host, legacy->front);
    uint32_t dropped = 0;
    int rc = f != NULL ? tl_inodes_adopt(&f->inodes, legacy->keep_fd, &dropped) : -ENOMEM;
    if (f == NULL)
        close(legacy->keep_fd);
    if (rc != 0) {
        close(legacy->fd);
        free(f);
        return tl_error_set(err, rc, "what the daemon before left of a mount cannot be taken over: %s",
                            rc == -EPROTO    ? "another version of tierceld made it"
                            : rc == -EBADMSG ? "it is damaged"
                                             : strerror(-rc));
    }
    const struct tl_keep_head *head = f->inodes.keep.head;
    f->taken_over = true;
    const struct tl_fuse_config config = {.mountpoint = head->path,
                                          .fd = legacy->fd,
                                          .source_root = head->source,
                                          .map_owner = head->map_owner != 0,
                                          .links_inside = head->links_inside != 0,
                                          .pid = head->pid};
    rc = open_rest(f, &config, err);
    if (rc == 0 && (rc = tl_fuse_go_on(f, legacy->crashed, dropped, err)) != 0) {
        f->mounted_here = false; /* the caller decides what becomes of it */
        tl_fuse_close(f);
    }
    if (rc == 0)
        *out = f;
    return rc;
}

/* The kernel's answer is ours, not libfuse's: EIO for a request that has killed daemons, ENOTCONN at the end. */
static void refuse(struct tl_fuse *f, uint64_t unique, int error)
{
    const struct fuse_out_header out = {.len = sizeof out, .error = -error, .unique = unique};
    tl_guard_end(&f->guard, unique);
    ssize_t put = write(f->fd, &out, sizeof out);
    (void)put; /* who asked is gone, or the mount is */
}

static void give_up(struct tl_fuse *f, const struct fuse_in_header *in)
{
    char text[160];
    f->stats.errors++;
    f->guard.given_up++;
    snprintf(text, sizeof text,
             "a request was given up, since daemons crashed %u times while it was in work: "
             "operation=%u inode=%llx",
             TL_GUARD_GIVE_UP, in->opcode, (unsigned long long)in->nodeid);
    if (f->host.note != NULL)
        f->host.note(f->host.ctx, f->front, text);
    refuse(f, in->unique, EIO);
}

/* One message: to libfuse, which calls an operation of ours, unless it has killed daemons. */
static void process(struct tl_fuse *f, void *message, size_t size)
{
    const struct fuse_in_header *in = message;
    struct fuse_buf buf = {.mem = message, .size = size};
    bool answered = in->opcode != FUSE_FORGET && in->opcode != FUSE_BATCH_FORGET && in->opcode != FUSE_INTERRUPT;
    f->began_ns = tl_time_mono_ns();
    if (in->opcode == FUSE_INIT)
        tl_fuse_keep_init(f, message, size);
    switch (answered ? tl_guard_begin(&f->guard, in->unique) : TL_GUARD_SERVE) {
    case TL_GUARD_SERVE: fuse_session_process_buf(f->session, &buf); break;
    case TL_GUARD_REFUSE: give_up(f, in); break;
    case TL_GUARD_WAIT:
        if (tl_guard_defer(&f->guard, in->unique, message, size) != 0)
            refuse(f, in->unique, ENOMEM);
    }
}

static void process_deferred(struct tl_fuse *f)
{
    struct tl_guard_message *m;
    while ((m = tl_guard_next(&f->guard)) != NULL) { /* each is answered, or is the suspect from now on */
        process(f, m->bytes, m->size);
        free(m);
    }
}

/* One message of the kernel. 1: handled, 0: none waits, negative: the mount has ended. */
static int serve_one(struct tl_fuse *f)
{
    bool was_inited = f->inited;
    int rc = fuse_session_receive_buf(f->session, &f->buf);
    if (rc == -EAGAIN || rc == -EINTR)
        return 0;
    if (rc <= 0)
        return rc == 0 ? -ENODEV : rc;
    process(f, f->buf.mem, f->buf.size);
    process_deferred(f);
    if (f->inited && !was_inited)
        f->inodes.keep.head->epoch = f->epoch = tl_fuse_inc_epoch(f) == 0; /* nothing is known yet: harmless */
    return fuse_session_exited(f->session) ? -ENODEV : 1;
}

int tl_fuse_ready(struct tl_fuse *f, int max)
{
    int count = 0, rc = f->ended ? -ENODEV : 1;
    while (rc > 0 && count < max && !f->paused) {
        rc = serve_one(f);
        count += rc > 0 ? 1 : 0;
        if (tl_pending_full(&f->pending))
            f->paused = watch(f, false) == 0;
    }
    if (rc >= 0)
        return count;
    if (!f->ended) {
        f->ended = true;
        (void)epoll_ctl(f->poll_fd, EPOLL_CTL_DEL, f->fd, NULL); /* it would be readable for ever */
        f->host.ended(f->host.ctx, f->front, rc == -ENODEV ? 0 : rc);
    }
    return rc;
}

void tl_fuse_resume(struct tl_fuse *f)
{
    if (!f->closing)
        process_deferred(f);
    if (f->paused && !tl_pending_full(&f->pending))
        f->paused = f->ended ? false : watch(f, true) != 0;
}

int tl_fuse_fd(struct tl_fuse *f)
{
    return f->poll_fd;
}

void tl_fuse_stats(struct tl_fuse *f, struct tl_fuse_stats *out)
{
    *out = f->stats;
    out->errors += f->notify.failed;
    out->inodes = f->inodes.count;
    out->given_up = f->guard.given_up;
}

/* Ends what waits for the node. */
static void fail_pending(struct tl_fuse *f)
{
    uint64_t id;
    struct tl_fuse_op op;
    while (f->pending.slots != NULL && tl_pending_any(&f->pending, &id) && tl_pending_take(&f->pending, id, &op)) {
        f->host.cancel(f->host.ctx, f->front, id);
        fuse_reply_err(op.req, ENOTCONN);
    }
    for (struct tl_guard_message *m; (m = tl_guard_any(&f->guard)) != NULL; free(m))
        refuse(f, ((const struct fuse_in_header *)(const void *)m->bytes)->unique, ENOTCONN);
}

/* Ends the helper thread. It may be in the kernel, waiting for a lock whose holder waits for us: so go on answering
 * (everything with an error) until it is out. False: it is stuck on something else. */
static bool end_helper(struct tl_fuse *f)
{
    if (!f->notify.started)
        return true;
    tl_notify_stop(&f->notify);
    for (int i = 0; i < CLOSE_ROUNDS && !f->notify.ended; i++) {
        struct pollfd p = {.fd = f->fd, .events = POLLIN};
        if (!f->ended && poll(&p, 1, CLOSE_ROUND_MS) > 0 && serve_one(f) < 0)
            f->ended = true;
        else if (f->ended)
            poll(NULL, 0, CLOSE_ROUND_MS);
    }
    if (!f->notify.ended)
        return false;
    tl_notify_join(&f->notify);
    return true;
}

void tl_fuse_close(struct tl_fuse *f)
{
    if (f == NULL)
        return;
    f->closing = true;
    fail_pending(f);
    if (!end_helper(f))
        return; /* its memory and descriptor must stay: a leak is better than a crash */
    if (f->session != NULL) {
        if (f->mounted_here && f->taken_over) /* libfuse does not know where it is */
            tl_fuse_unmount(f->mountpoint);
        else if (f->mounted_here)
            fuse_session_unmount(f->session);
        fuse_session_destroy(f->session);
    }
    if (f->poll_fd >= 0)
        close(f->poll_fd);
    free(f->buf.mem);
    if (f->pending.slots != NULL)
        tl_pending_fini(&f->pending);
    tl_guard_fini(&f->guard);
    tl_inodes_fini(&f->inodes);
    free(f->dirbuf);
    free(f->source_root);
    free(f->mountpoint);
    free(f);
}
