// SPDX-License-Identifier: Apache-2.0
/* The supervisor: hears of calls and answers them.
 *
 * One thread hears. Most calls it answers itself, at once: they are about other files, or about ones that are whole. The rest
 * goes to other threads, so that a slow file keeps nobody waiting who wants another one. If this process ended while one of the
 * programs lives, their calls would fail (ENOSYS): so it does nothing else, and ends when the last of them has. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/hash.h"
#include "front/launch/fault.h"

#define THREADS    8u
#define QUEUE_MAX  256u /* calls that wait for a thread; then hearing waits, too */
#define STACK_SIZE (512u << 10)

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif
#ifndef SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

static struct {
    pthread_mutex_t lock;
    pthread_cond_t filled, drained;
    struct seccomp_notif calls[QUEUE_MAX];
    unsigned first, count;
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER, .drained = PTHREAD_COND_INITIALIZER};

/* ---- answers ---- */

/* A caller that has been killed meanwhile is no error. */
static void answer(int listener, uint64_t id, const struct tl_verdict *v)
{
    struct seccomp_notif_resp r = {.id = id, .error = v->error};
    if (v->fd >= 0) {
        struct seccomp_notif_addfd add = {.id = id,
                                          .flags = SECCOMP_ADDFD_FLAG_SEND,
                                          .srcfd = (uint32_t)v->fd,
                                          .newfd_flags = v->cloexec ? O_CLOEXEC : 0};
        int rc = ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add) < 0 ? -errno : 0;
        close(v->fd);
        if (rc == 0 || rc == -ENOENT)
            return;
        r.error = rc; /* it has too many files open */
    }
    r.flags = v->go_on ? SECCOMP_USER_NOTIF_FLAG_CONTINUE : 0;
    (void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &r);
}

static void *work(void *arg)
{
    struct tl_supervised *s = arg;
    for (;;) { /* as long as the process lives */
        pthread_mutex_lock(&queue.lock);
        while (queue.count == 0)
            pthread_cond_wait(&queue.filled, &queue.lock);
        struct seccomp_notif n = queue.calls[queue.first];
        queue.first = (queue.first + 1) % QUEUE_MAX;
        queue.count--;
        pthread_cond_signal(&queue.drained);
        pthread_mutex_unlock(&queue.lock);
        struct tl_verdict v = tl_fault_answer(s, &n);
        answer(s->listener, n.id, &v);
    }
    return NULL;
}

static void leave_to_others(const struct seccomp_notif *n)
{
    pthread_mutex_lock(&queue.lock);
    while (queue.count == QUEUE_MAX)
        pthread_cond_wait(&queue.drained, &queue.lock);
    queue.calls[(queue.first + queue.count) % QUEUE_MAX] = *n;
    queue.count++;
    pthread_cond_signal(&queue.filled);
    pthread_mutex_unlock(&queue.lock);
}

/* ---- names of files that are known to be whole ---- */

/* Hashes of paths as programs write them. A file that is whole stays so while its tree is the same one, and programs cannot
 * make its name lead elsewhere. Only for the thread that hears. */
#define KNOWN_COUNT 8192u
static uint64_t known[KNOWN_COUNT];

static bool is_known(const struct tl_supervised *s, uint64_t hash)
{
    for (size_t i = 0; i < s->count; i++)
        if (!tl_tree_is_current(s->trees[i])) {
            memset(known, 0, sizeof known); /* and again with each call, until something was filled from the new tree */
            return false;
        }
    return known[hash % KNOWN_COUNT] == hash && hash != 0;
}

static void remember(uint64_t hash)
{
    known[hash % KNOWN_COUNT] = hash;
}

/* ---- what can be told at once ---- */

static bool in_some_tree(const struct tl_supervised *s, const char *path)
{
    for (size_t i = 0; i < s->count; i++)
        if (tl_name_below(path, tl_tree_path(s->trees[i])))
            return true;
    return strncmp(path, "/proc/", 6) == 0 && strstr(path, "/fd/") != NULL; /* wherever that leads */
}

static bool names_a_tree(const struct tl_supervised *s, const struct seccomp_notif *n, int dir, int path)
{
    char name[2 * PATH_MAX];
    int dir_fd = dir >= 0 ? (int)n->data.args[dir] : AT_FDCWD;
    return tl_name_read(n->pid, dir_fd, n->data.args[path], false, name) == 0 && in_some_tree(s, name);
}

static uint64_t flags_of(const struct seccomp_notif *n, const struct tl_call *c)
{
    struct open_how how = {.flags = 0};
    if (c->kind != TL_CALL_OPEN2)
        return n->data.args[c->flags];
    return tl_memory_read(n->pid, n->data.args[c->flags], &how, sizeof how.flags) == 0 ? how.flags : 0;
}

/* A file that lies there whole, or what is no file: nothing has to be waited for. A link may lead to a file system that does
 * not answer, if it is not one within the tree. */
static bool is_ready(const char *name, uint64_t hash)
{
    struct stat st;
    char target[2];
    if (fstatat(AT_FDCWD, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return true; /* the kernel says why */
    if (S_ISLNK(st.st_mode)) {
        ssize_t n = readlink(name, target, sizeof target);
        if (n <= 0 || target[0] == '/' || stat(name, &st) != 0)
            return false;
    }
    if (!S_ISREG(st.st_mode))
        return true;
    if ((st.st_mode & S_IRUSR) == 0)
        return false;
    remember(hash);
    return true;
}

/* True: the call may go on as it is. */
static bool is_fine(const struct tl_supervised *s, const struct seccomp_notif *n)
{
    const struct tl_call *c = tl_call_find(n->data.nr);
    char name[2 * PATH_MAX];
    if (c == NULL || n->pid == 0)
        return true; /* not to be seen from here: another process namespace above ours */
    if (c->kind == TL_CALL_EXEC)
        return false; /* rare, and its interpreters have to be looked at */
    if (c->kind == TL_CALL_MOVE && names_a_tree(s, n, c->dir2, c->path2))
        return false;
    int dir_fd = c->dir >= 0 ? (int)n->data.args[c->dir] : AT_FDCWD;
    if (tl_name_read(n->pid, dir_fd, n->data.args[c->path], false, name) != 0 || !in_some_tree(s, name))
        return true;
    if (c->kind != TL_CALL_OPEN && c->kind != TL_CALL_OPEN2 && c->kind != TL_CALL_ACCESS)
        return false;
    uint64_t flags = flags_of(n, c);
    bool changes =
        c->kind == TL_CALL_ACCESS ? (flags & W_OK) != 0 : (flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) != 0;
    if (changes || strncmp(name, "/proc/", 6) == 0)
        return false;
    uint64_t hash = tl_hash64(name, strlen(name), 0);
    return is_known(s, hash) || is_ready(name, hash);
}

/* ---- life ---- */

/* A thread of its own for the end, so that hearing a call costs one call. */
static void *wait_for_the_end(void *arg)
{
    struct pollfd p = {.fd = ((const struct tl_supervised *)arg)->listener, .events = 0};
    while (poll(&p, 1, -1) < 0 || (p.revents & POLLHUP) == 0)
        continue;
    _exit(0);
}

static int start_thread(void *(*run)(void *), struct tl_supervised *s)
{
    pthread_attr_t attr;
    pthread_t thread;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    int rc = -pthread_create(&thread, &attr, run, s);
    pthread_attr_destroy(&attr);
    return rc;
}

int tl_supervise_start(struct tl_supervised *s, struct tl_error *err)
{
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < THREADS; i++)
        rc = start_thread(work, s);
    return rc == 0 ? 0 : tl_error_set(err, rc, "cannot start the threads that fill files: %s", strerror(-rc));
}

void tl_supervise(struct tl_supervised *s, bool until_the_end)
{
    const struct tl_verdict go_on = {.go_on = true, .fd = -1};
    (void)ioctl(s->listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP); /* Linux 6.6 */
    if (until_the_end)
        (void)start_thread(wait_for_the_end,
                           s); /* without it this process stays when all have gone: no harm to anybody */
    for (;;) {                 /* until the last process has gone */
        struct seccomp_notif n;
        memset(&n, 0, sizeof n);
        if (ioctl(s->listener, SECCOMP_IOCTL_NOTIF_RECV, &n) != 0)
            continue; /* the caller was killed before it was heard */
        if (is_fine(s, &n))
            answer(s->listener, n.id, &go_on);
        else
            leave_to_others(&n);
    }
}
