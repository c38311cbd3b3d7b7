// SPDX-License-Identifier: Apache-2.0
/* See tree_daemon.h. */
#include "front/tree_daemon.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/control.h"
#include "base/listing.h"
#include "base/time.h"
#include "base/xattrs.h"

static void reply(int fd, char kind, const char *json)
{
    char frame[512];
    size_t len = strlen(json);
    check(len + 5 <= sizeof frame);
    tl_put_u32(frame, (uint32_t)len + 1);
    frame[4] = kind;
    memcpy(frame + 5, json, len);
    (void)!send(fd, frame, len + 5, MSG_NOSIGNAL);
}

static void refuse(int fd, int code)
{
    char json[256];
    snprintf(json, sizeof json, "{\"error\": \"fake: %s\", \"code\": \"E\", \"errno\": %d}", strerror(code), code);
    reply(fd, TL_CONTROL_ERROR, json);
}

static int64_t ns(struct timespec t)
{
    return tl_time_from_parts(t.tv_sec, (uint32_t)t.tv_nsec);
}

static struct tl_attr attr_of(int dir_fd, const char *name)
{
    struct stat st;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return (struct tl_attr){.status = -errno};
    struct tl_attr a = {.ino = st.st_ino,
                        .size_bytes = (uint64_t)st.st_size,
                        .blocks = (uint64_t)st.st_blocks,
                        .atime_ns = ns(st.st_atim),
                        .mtime_ns = ns(st.st_mtim),
                        .ctime_ns = ns(st.st_ctim),
                        .mode = st.st_mode,
                        .nlink = (uint32_t)st.st_nlink,
                        .uid = st.st_uid,
                        .gid = st.st_gid};
    a.access = (uint8_t)((st.st_mode >> 6) & 7); /* as its owner */
    a.version = S_ISREG(st.st_mode) ? tl_attr_version(st.st_dev, a.ino, a.size_bytes, a.mtime_ns, a.ctime_ns) : 0;
    return a;
}

static void list(int client, const char *path, int out)
{
    DIR *dir = opendir(path);
    struct tl_listing_builder *b = NULL;
    if (dir == NULL) {
        refuse(client, errno);
        return;
    }
    struct tl_attr self = attr_of(dirfd(dir), ".");
    check(tl_listing_builder_new(&b, &self) == 0);
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        char target[4096];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        struct tl_attr a = attr_of(dirfd(dir), e->d_name);
        ssize_t n = S_ISLNK(a.mode) ? readlinkat(dirfd(dir), e->d_name, target, sizeof target) : 0;
        check(tl_listing_builder_add(b, e->d_name, strlen(e->d_name), &a, n > 0 ? target : NULL, (size_t)n) == 0);
    }
    closedir(dir);
    void *blob;
    size_t len;
    char json[64];
    check(tl_listing_builder_finish(b, &blob, &len) == 0);
    tl_listing_builder_free(b);
    check(pwrite(out, blob, len, 0) == (ssize_t)len);
    free(blob);
    close(out);
    snprintf(json, sizeof json, "{\"bytes\": %zu}", len);
    reply(client, TL_CONTROL_RESULT, json);
}

/* In two halves, with a stop between them if the test wants one. 0 or an errno. */
static int copy(struct tree_daemon *d, int in, int out, uint64_t size)
{
    static char bytes[1 << 16];
    bool stopped = false;
    for (uint64_t at = 0; at < size;) {
        size_t piece = size / 2 > 0 && size / 2 < sizeof bytes ? size / 2 : sizeof bytes;
        ssize_t n = pread(in, bytes, piece, (off_t)at);
        check(n > 0);
        if (pwrite(out, bytes, (size_t)n, (off_t)at) != n)
            return errno;
        at += (uint64_t)n;
        if (!stopped && atomic_load(&d->shared->halves) > 0) {
            atomic_fetch_sub(&d->shared->halves, 1);
            sem_post(&d->shared->half);
            sem_wait(&d->shared->go);
        }
        stopped = true;
    }
    return 0;
}

static void fetch(struct tree_daemon *d, int client, const char *path, const char *version, int out)
{
    struct tl_attr a = attr_of(AT_FDCWD, path);
    int in = open(path, O_RDONLY | O_CLOEXEC), code = in < 0 ? errno : atomic_load(&d->shared->fail);
    char json[160];
    if (code == 0 && version[0] != '\0' && strtoull(version, NULL, 10) != a.version)
        code = ESTALE;
    if (code == 0)
        code = copy(d, in, out, a.size_bytes);
    if (in >= 0)
        close(in);
    close(out);
    atomic_fetch_add(&d->shared->fetches, 1);
    if (code != 0) {
        refuse(client, code);
        return;
    }
    snprintf(json, sizeof json, "{\"bytes\": %llu, \"version\": \"%llu\", \"mode\": %u}",
             (unsigned long long)a.size_bytes, (unsigned long long)a.version, a.mode);
    reply(client, TL_CONTROL_RESULT, json);
}

/* One attribute, where the storage has it. */
static void xattrs(int client, const char *path, int out)
{
    struct tl_xattrs_builder b = {.count = 0};
    char value[64], json[64];
    void *blob;
    size_t size;
    ssize_t len = lgetxattr(path, "user.colour", value, sizeof value);
    check(tl_xattrs_begin(&b) == 0);
    check(len < 0 || tl_xattrs_add(&b, "user.colour", value, (size_t)len, 0) == 0);
    tl_xattrs_finish(&b, &blob, &size);
    check(write(out, blob, size) == (ssize_t)size);
    free(blob);
    close(out);
    snprintf(json, sizeof json, "{\"bytes\": %zu}", size);
    reply(client, TL_CONTROL_RESULT, json);
}

static _Noreturn void serve(struct tree_daemon *d, int client)
{
    for (;;) { /* until the client goes */
        static char bytes[16384];
        union {
            char bytes[CMSG_SPACE(sizeof(int))];
            struct cmsghdr align;
        } control;
        struct iovec iov = {.iov_base = bytes, .iov_len = sizeof bytes - 1};
        struct msghdr msg = {
            .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
        ssize_t n = recvmsg(client, &msg, MSG_CMSG_CLOEXEC);
        if (n <= 0)
            _exit(0);
        check(n > 4 && tl_get_u32(bytes) == (uint32_t)n - 4 && bytes[n - 1] == '\0');
        bytes[n] = '\0'; /* an empty version, if there is none */
        const char *verb = bytes + 4, *path = verb + strlen(verb) + 1, *version = path + strlen(path) + 1;
        int fd = -1;
        if (CMSG_FIRSTHDR(&msg) != NULL)
            memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof fd);
        if (strcmp(verb, "ping") == 0) {
            char json[64];
            snprintf(json, sizeof json, "{\"changes\": %u}", atomic_load(&d->shared->changes));
            reply(client, TL_CONTROL_RESULT, json);
            continue;
        }
        if (strcmp(verb, "cache") == 0) {
            uint64_t most = atomic_load(&d->shared->most);
            if (most != 0 && strtoull(version, NULL, 10) > most)
                refuse(client, ENOSPC);
            else
                reply(client, TL_CONTROL_RESULT, "{}");
            continue;
        }
        check(fd >= 0);
        if (strcmp(verb, "list") == 0) {
            atomic_fetch_add(&d->shared->lists, 1);
            list(client, path, fd);
        } else if (strcmp(verb, "xattrs") == 0) {
            xattrs(client, path, fd);
        } else {
            check(strcmp(verb, "fetch") == 0);
            fetch(d, client, path, version, fd);
        }
    }
}

static _Noreturn void listen_for_ever(struct tree_daemon *d, int fd)
{
    setpgid(0, 0);
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        bool close_it = client >= 0 && atomic_load(&d->shared->closed) > 0;
        if (close_it)
            atomic_fetch_sub(&d->shared->closed, 1);
        if (client >= 0 && !close_it && fork() == 0)
            serve(d, client);
        close(client);
    }
}

void tree_daemon_start(struct tree_daemon *d, const char *folder, uid_t uid)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(d->socket, sizeof d->socket, "%s/node-0.sock", folder);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", d->socket);
    d->shared = mmap(NULL, sizeof *d->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(d->shared != MAP_FAILED);
    atomic_store(&d->shared->changes, 1);
    check(sem_init(&d->shared->half, 1, 0) == 0 && sem_init(&d->shared->go, 1, 0) == 0);
    (void)unlink(d->socket);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 64) == 0);
    check(chown(d->socket, uid, uid) == 0);
    fflush(NULL);
    d->pid = fork();
    check(d->pid >= 0);
    if (d->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        listen_for_ever(d, fd);
    }
    (void)setpgid(d->pid, d->pid); /* here, too: kill must find the group */
    close(fd);
}

void tree_daemon_wait_half(struct tree_daemon *d)
{
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 20;
    int rc;
    while ((rc = sem_timedwait(&d->shared->half, &limit)) != 0 && errno == EINTR)
        continue;
    check(rc == 0);
}

void tree_daemon_kill(struct tree_daemon *d)
{
    if (d->pid <= 0)
        return;
    kill(-d->pid, SIGKILL);
    waitpid(d->pid, NULL, 0);
    d->pid = 0;
    munmap(d->shared, sizeof *d->shared);
}
