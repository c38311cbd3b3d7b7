// SPDX-License-Identifier: Apache-2.0
/* The mounts that this daemon serves, and what it is to them: their host. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "daemon/daemon.h"

#define EXCLUDED_MAX      4096
#define REQUESTS_PER_TURN 64 /* kernel requests of one mount before others get their turn */

static void host_request(void *ctx, uint32_t front, const struct tl_request *request)
{
    tl_record_request(ctx, request);
    tl_drive_request(ctx, front, request);
}

static void host_cancel(void *ctx, uint32_t front, uint64_t id)
{
    tl_drive_cancel(ctx, front, id);
}

static const void *host_bytes(void *ctx, uint64_t addr)
{
    return tl_arena_at(((struct tl_daemon *)ctx)->arena, addr);
}

static int host_peek(void *ctx, enum tl_op op, const char *path, uint16_t path_len, struct tl_ref *ref)
{
    int rc = tl_node_peek(((struct tl_daemon *)ctx)->node, op, path, path_len, ref);
    if (rc == 0)
        tl_record_blob(ctx, op, path, path_len);
    return rc;
}

static void host_held(void *ctx, const struct tl_request *object, struct tl_held *out)
{
    tl_node_held(((struct tl_daemon *)ctx)->node, object, out);
}

static void host_ended(void *ctx, uint32_t front, int status)
{
    struct tl_daemon *d = ctx;
    struct tl_mount *m = &d->mounts[front];
    tl_log("info", "mount ended path=%s why=%s", m->path, status == 0 ? "unmounted" : strerror(-status));
    m->ended = true;
}

static void host_note(void *ctx, uint32_t front, const char *text)
{
    struct tl_daemon *d = ctx;
    tl_log("error", "mount path=%s: %s", d->mounts[front].path, text);
}

void tl_fronts_init(struct tl_daemon *d)
{
    d->host = (struct tl_front_host){.ctx = d,
                                     .rank = d->options.rank,
                                     .request = host_request,
                                     .cancel = host_cancel,
                                     .bytes = host_bytes,
                                     .peek = host_peek,
                                     .held = host_held,
                                     .ended = host_ended,
                                     .note = host_note};
}

/* ---- what the source must not enter: mounts of ours, whose contents would be our own answers ---- */

struct excluded {
    char *paths[EXCLUDED_MAX];
    size_t count;
};

static void exclude(struct excluded *x, const char *path)
{
    char *copy = x->count < EXCLUDED_MAX ? strdup(path) : NULL;
    if (copy != NULL)
        x->paths[x->count++] = copy;
}

/* The kernel writes blanks and backslashes in paths as \ooo. In place. */
static void unescape(char *text)
{
    char *out = text;
    for (const char *in = text; *in != 0;) {
        if (in[0] == '\\' && in[1] != 0 && in[2] != 0 && in[3] != 0) {
            *out++ = (char)((in[1] - '0') * 64 + (in[2] - '0') * 8 + (in[3] - '0'));
            in += 4;
        } else {
            *out++ = *in++;
        }
    }
    *out = 0;
}

/* Mounts of other daemons in our mount namespace: several run on one machine with `tiercel up -N`. */
static void exclude_others(struct excluded *x)
{
    FILE *f = fopen("/proc/self/mountinfo", "re");
    char *line = NULL;
    size_t room = 0;
    while (f != NULL && getline(&line, &room, f) > 0) {
        char *path = line;
        const char *type = strstr(line, " - ");
        if (type == NULL || strncmp(type, " - fuse.tiercel ", 16) != 0)
            continue;
        for (int field = 0; field < 4 && path != NULL; field++) {
            path = strchr(path, ' ');
            path = path == NULL ? NULL : path + 1;
        }
        if (path == NULL || path > type)
            continue;
        path[strcspn(path, " ")] = 0;
        unescape(path);
        exclude(x, path);
    }
    free(line);
    if (f != NULL)
        fclose(f);
}

static void exclude_mounts(struct tl_daemon *d)
{
    struct excluded *x = calloc(1, sizeof *x);
    if (x == NULL)
        return;
    for (uint32_t i = 0; i < TL_FRONTS_MAX; i++)
        if (d->mounts[i].path != NULL && d->mounts[i].pid == 0) /* a holder's namespace is not ours */
            exclude(x, d->mounts[i].path);
    exclude_others(x);
    int rc = tl_source_set_exclude(d->source, (const char *const *)x->paths, x->count);
    if (rc != 0)
        tl_log("error", "cannot exclude mount points from the source: %s", strerror(-rc));
    for (size_t i = 0; i < x->count; i++)
        free(x->paths[i]);
    free(x);
}

/* The mount table has changed. */
void tl_fronts_mounts_changed(struct tl_daemon *d)
{
    char skip[4096];
    if (lseek(d->mounts_fd, 0, SEEK_SET) == 0) /* the kernel says it once for each time that we look */
        while (read(d->mounts_fd, skip, sizeof skip) > 0)
            continue;
    exclude_mounts(d);
}

int tl_fronts_watch(struct tl_daemon *d, struct tl_error *err)
{
    d->mounts_fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
    if (d->mounts_fd < 0)
        return tl_error_set(err, -errno, "/proc/self/mountinfo: %s; is /proc mounted?", strerror(errno));
    tl_fronts_mounts_changed(d);
    int rc = tl_loop_watch(d, d->mounts_fd, TL_WATCH_MOUNTS, 0, EPOLLPRI);
    return rc == 0 ? 0 : tl_error_set(err, rc, "/proc/self/mountinfo: %s", strerror(-rc));
}

static void add_stats(struct tl_fuse_stats *sum, const struct tl_fuse_stats *one)
{
    const uint64_t *from = (const uint64_t *)one;
    uint64_t *to = (uint64_t *)sum;
    for (size_t k = 0; k < sizeof *sum / sizeof *to; k++)
        to[k] += from[k];
}

void tl_fronts_stats(const struct tl_daemon *d, struct tl_fuse_stats *sum)
{
    *sum = d->past;
    for (uint32_t i = 0; i < TL_FRONTS_MAX; i++) {
        struct tl_fuse_stats one;
        if (d->mounts[i].fuse == NULL)
            continue;
        tl_fuse_stats(d->mounts[i].fuse, &one);
        add_stats(sum, &one);
    }
}

/* Counters never go back, also when a mount ends. */
static void keep_stats(struct tl_daemon *d, struct tl_fuse *fuse)
{
    struct tl_fuse_stats last;
    tl_fuse_stats(fuse, &last);
    last.inodes = 0;
    add_stats(&d->past, &last);
}

static void free_mount(struct tl_daemon *d, uint32_t front)
{
    struct tl_mount *m = &d->mounts[front];
    if (m->fuse != NULL) {
        tl_loop_unwatch(d, tl_fuse_fd(m->fuse));
        keep_stats(d, m->fuse);
        tl_fuse_close(m->fuse);
        tl_kept_drop(d, front);
        if (m->pid == 0)
            tl_mender_note(d->options.mender_fd, false, m->path);
    }
    free(m->path);
    free(m->source);
    *m = (struct tl_mount){0};
    exclude_mounts(d);
}

int tl_fronts_add(struct tl_daemon *d, const char *path, const char *source_root, int fd, bool map_owner, int pid,
                  struct tl_error *err)
{
    uint32_t front = 0;
    while (front < TL_FRONTS_MAX && d->mounts[front].path != NULL)
        front++;
    if (front == TL_FRONTS_MAX) {
        if (fd >= 0)
            close(fd);
        return tl_error_set(err, -EBUSY, "mount %s: this daemon serves %u mounts already; unmount one", path,
                            TL_FRONTS_MAX);
    }
    struct tl_mount *m = &d->mounts[front];
    *m = (struct tl_mount){.path = strdup(path), .source = strdup(source_root), .pid = pid};
    if (m->path == NULL || m->source == NULL) {
        free_mount(d, front);
        if (fd >= 0)
            close(fd);
        return tl_error_set(err, -ENOMEM, "mount %s: out of memory", path);
    }
    exclude_mounts(d);
    const struct tl_fuse_config config = {
        .mountpoint = path,
        .fd = fd,
        .source_root = source_root,
        .front = front,
        .map_owner = map_owner,
        .pid = pid,
        .links_inside = fd < 0, /* a launcher mounts at the source's own place */
    };
    int rc = tl_fuse_open(&m->fuse, &config, &d->host, err);
    if (rc == 0) {
        rc = tl_loop_watch(d, tl_fuse_fd(m->fuse), TL_WATCH_FRONT, front, EPOLLIN);
        if (rc != 0)
            tl_error_set(err, rc, "mount %s: %s", path, strerror(-rc));
    }
    if (rc != 0) {
        free_mount(d, front);
        return rc;
    }
    tl_kept_hold(d, front, tl_fuse_device_fd(m->fuse), tl_fuse_keep_fd(m->fuse), pid == 0 ? path : NULL);
    if (pid == 0)
        tl_mender_note(d->options.mender_fd, true, path);
    tl_log("info", "mounted path=%s source=%s holder=%d", path, source_root, pid);
    return (int)front;
}

/* False: it is not taken over. */
static bool take_over(struct tl_daemon *d, uint32_t front, struct tl_error *err)
{
    struct tl_mount *m = &d->mounts[front];
    const struct tl_fuse_legacy legacy = {
        .fd = d->kept[front].fds[0], .keep_fd = d->kept[front].fds[1], .front = front, .crashed = d->after_crash};
    const char *path, *source;
    d->kept[front].fds[0] = d->kept[front].fds[1] = -1;
    if (tl_fuse_take_over(&m->fuse, &legacy, &d->host, err) != 0)
        return false;
    tl_fuse_place(m->fuse, &path, &source, &m->pid);
    m->path = strdup(path);
    m->source = strdup(source);
    int rc = m->path == NULL || m->source == NULL
                 ? -ENOMEM
                 : tl_loop_watch(d, tl_fuse_fd(m->fuse), TL_WATCH_FRONT, front, EPOLLIN);
    if (rc == 0)
        return true;
    tl_error_set(err, rc, "mount: %s", strerror(-rc));
    free_mount(d, front);
    return false;
}

/* Programs that use the mount get ENOTCONN, and the plain directory once they ask for its name again. */
static void end_kept(struct tl_daemon *d, uint32_t front, const struct tl_error *why)
{
    const char *path = d->kept[front].text;
    tl_kept_drop(d, front);
    int rc = path != NULL ? tl_fuse_unmount(path) : 0; /* one in a holder's namespace is the holder's */
    tl_log("error", "%s path=%s unmount=%s", why->msg, path != NULL ? path : "-", strerror(-rc));
    if (path != NULL)
        tl_mender_note(d->options.mender_fd, false, path);
}

int tl_fronts_take_over(struct tl_daemon *d, struct tl_error *err)
{
    for (uint32_t front = 0; front < TL_FRONTS_MAX; front++) {
        struct tl_error why;
        if (d->kept[front].fds[0] < 0)
            continue;
        if (take_over(d, front, &why)) {
            tl_log("info", "mount taken over path=%s", d->mounts[front].path);
        } else if (why.code == -EPROTO && d->may_refuse) {
            return tl_error_set(err, why.code, "%s", why.msg); /* the keeper goes on with the program before */
        } else {
            end_kept(d, front, &why);
        }
        free(d->kept[front].text);
        d->kept[front].text = NULL;
    }
    exclude_mounts(d);
    return 0;
}

uint32_t tl_fronts_count_of(const struct tl_daemon *d, int pid)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < TL_FRONTS_MAX; i++)
        count += d->mounts[i].fuse != NULL && !d->mounts[i].ended && d->mounts[i].pid == pid;
    return count;
}

int tl_fronts_remove(struct tl_daemon *d, const char *path, struct tl_error *err)
{
    for (uint32_t i = 0; i < TL_FRONTS_MAX; i++)
        if (d->mounts[i].fuse != NULL && d->mounts[i].pid == 0 && strcmp(d->mounts[i].path, path) == 0) {
            free_mount(d, i);
            return 0;
        }
    return tl_error_set(err, -ENOENT, "%s is not a mount of this tier on this node; tiercel status lists them", path);
}

void tl_fronts_ready(struct tl_daemon *d, uint32_t front)
{
    struct tl_mount *m = &d->mounts[front];
    if (m->fuse == NULL || m->ended)
        return;
    tl_fuse_ready(m->fuse, REQUESTS_PER_TURN);
    tl_drive_queue(d);
}

void tl_fronts_answer(struct tl_daemon *d, const struct tl_answer *answer)
{
    uint32_t front = (uint32_t)(answer->id >> TL_FRONT_SHIFT);
    check(front < TL_FRONTS_MAX);
    struct tl_mount *m = &d->mounts[front];
    if (m->fuse == NULL)
        return; /* it was unmounted meanwhile */
    struct tl_answer own = *answer;
    own.id &= (1ull << TL_FRONT_SHIFT) - 1;
    tl_fuse_answer(m->fuse, &own);
}

void tl_fronts_invalidate(struct tl_daemon *d, const char *path, uint16_t path_len)
{
    for (uint32_t i = 0; i < TL_FRONTS_MAX; i++)
        if (d->mounts[i].fuse != NULL)
            tl_fuse_invalidate(d->mounts[i].fuse, path, path_len);
}

void tl_fronts_reap(struct tl_daemon *d)
{
    for (uint32_t i = 0; i < TL_FRONTS_MAX; i++)
        if (d->mounts[i].ended)
            free_mount(d, i);
}

void tl_fronts_close(struct tl_daemon *d)
{
    for (uint32_t i = 0; i < TL_FRONTS_MAX; i++)
        if (d->mounts[i].path != NULL)
            free_mount(d, i);
}
