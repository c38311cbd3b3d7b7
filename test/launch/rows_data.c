// SPDX-License-Identifier: Apache-2.0
/* Rows about content: reading, mapping, descriptors, and several readers at once. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch/rows.h"

enum { BIG = 1 << 20 }; /* at least the size of the file `big` */

static size_t read_whole(const char *name, uint8_t *out, size_t size)
{
    int fd = open(in_tree(name), O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    ssize_t n = 0;
    expect(fd >= 0, "a file can be opened");
    while (len < size && (n = read(fd, out + len, size - len)) > 0)
        len += (size_t)n;
    expect(n >= 0, "a file can be read");
    close(fd);
    return len;
}

static uint8_t content[BIG + 1];

static void row_fopen(void)
{
    char line[128];
    FILE *file = fopen(in_tree("lines"), "re");
    expect(file != NULL, "fopen");
    while (fgets(line, sizeof line, file) != NULL)
        fputs(line, stdout);
    expect(fseek(file, -4, SEEK_END) == 0 && fgets(line, sizeof line, file) != NULL, "fseek");
    fputs(line, stdout);
    fclose(file);
}

static void row_read(void)
{
    static const char *const names[] = {"big", "empty", "file", "many/f17"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        tell_sum(names[i], content, read_whole(names[i], content, sizeof content));
}

static void row_pread(void)
{
    struct stat st;
    uint8_t a[64], b[64];
    int fd = open(in_tree("big"), O_RDONLY | O_CLOEXEC);
    expect(fd >= 0 && fstat(fd, &st) == 0, "a file can be opened");
    tell_sum("middle", a, (size_t)pread(fd, a, sizeof a, st.st_size / 2));
    printf("at the end: %zd\n", pread(fd, a, sizeof a, st.st_size - 7));
    printf("beyond: %zd\n", pread(fd, a, sizeof a, st.st_size + 100));
    struct iovec iov[2] = {{a, sizeof a}, {b, sizeof b}};
    printf("in two: %zd\n", preadv(fd, iov, 2, 262144 - 32)); /* over the end of a chunk */
    tell_sum("first", a, sizeof a);
    tell_sum("second", b, sizeof b);
    printf("lseek: %lld\n", (long long)lseek(fd, -10, SEEK_END));
    printf("rest: %zd\n", read(fd, a, sizeof a));
    close(fd);
}

static void row_mmap(void)
{
    struct stat st;
    int fd = open(in_tree("big"), O_RDONLY | O_CLOEXEC);
    expect(fd >= 0 && fstat(fd, &st) == 0, "a file can be opened");
    uint8_t *shared = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    uint8_t *own = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    expect(shared != MAP_FAILED && own != MAP_FAILED, "a file can be mapped");
    close(fd);
    tell_sum("shared", shared, (size_t)st.st_size);
    own[5] ^= 0xff;
    tell_sum("private, changed", own, (size_t)st.st_size);
    tell_sum("shared, unchanged", shared, (size_t)st.st_size);
}

/* A mapping's name is the path that was opened: debuggers, profilers and loaders look there. */
static void row_maps(void)
{
    char line[PATH_MAX + 128];
    int fd = open(in_tree("big"), O_RDONLY | O_CLOEXEC);
    expect(fd >= 0 && mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) != MAP_FAILED, "a file can be mapped");
    FILE *maps = fopen("/proc/self/maps", "re");
    bool found = false;
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL)
        found = found || strstr(line, in_tree("big")) != NULL;
    printf("in maps: %d\n", found);
    close(fd);
}

static void row_procfd(void)
{
    char link[64], path[PATH_MAX] = "";
    int fd = open(in_tree("dir/a"), O_RDONLY | O_CLOEXEC);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    tell("readlink", readlink(link, path, sizeof path - 1));
    printf("%s\n", path);
    close(fd);
}

static void row_procfd_reopen(void)
{
    char link[64];
    int fd = open(in_tree("dir/a"), O_RDONLY | O_CLOEXEC);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    tell_content(link);
    tell_fd(fd);
}

static void row_opath(void)
{
    struct stat st;
    char link[64];
    int fd = open(in_tree("file"), O_PATH | O_CLOEXEC), dir = open(in_tree("dir"), O_PATH | O_DIRECTORY | O_CLOEXEC);
    tell("O_PATH", fd);
    tell("fstat", fstat(fd, &st));
    printf("size %lld\n", (long long)st.st_size);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    tell_content(link);
    int file = openat(dir, "a", O_RDONLY | O_CLOEXEC);
    tell("openat", file);
    if (file >= 0)
        tell_fd(file);
    close(fd);
    close(dir);
}

static void row_sendfile(void)
{
    int ends[2], fd = open(in_tree("lines"), O_RDONLY | O_CLOEXEC);
    char text[64] = "";
    expect(fd >= 0 && pipe2(ends, O_CLOEXEC) == 0, "a file can be opened");
    printf("sendfile: %zd\n", sendfile(ends[1], fd, NULL, 10));
    printf("splice: %zd\n", splice(fd, NULL, ends[1], NULL, 10, 0));
    printf("read: %zd %s\n", read(ends[0], text, sizeof text - 1), text);
    close(fd);
}

static void row_cloexec(void)
{
    int with = open(in_tree("file"), O_RDONLY | O_CLOEXEC), without = open(in_tree("file"), O_RDONLY);
    printf("%d %d\n", fcntl(with, F_GETFD), fcntl(without, F_GETFD));
    printf("%x\n", (unsigned)fcntl(with, F_GETFL) & O_ACCMODE);
    int lowest = dup(with);
    close(with);
    int again = open(in_tree("file"), O_RDONLY | O_CLOEXEC);
    printf("the lowest descriptor: %d\n", again == with && lowest > again);
}

static void row_locks(void)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    int fd = open(in_tree("file"), O_RDONLY | O_CLOEXEC);
    tell("flock", flock(fd, LOCK_SH | LOCK_NB));
    tell("fcntl", fcntl(fd, F_SETLK, &lock));
    close(fd);
}

static void row_inotify(void)
{
    union {
        struct inotify_event event;
        char bytes[4096];
    } buffer;
    int in = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    tell("watch", inotify_add_watch(in, in_tree("dir"), IN_OPEN));
    tell("watch none", inotify_add_watch(in, in_tree("none"), IN_OPEN));
    tell_content(in_tree("dir/a"));
    struct pollfd p = {.fd = in, .events = POLLIN};
    printf("events: %d\n", poll(&p, 1, 1000));
    if (read(in, &buffer, sizeof buffer) > 0)
        printf("%s\n", buffer.event.name);
    close(in);
}

/* ---- several at once ---- */

static void *reader(void *arg)
{
    static const char *const names[] = {"file", "dir/a", "many/f3", "many/f44", "rellink"};
    size_t *bytes = arg;
    for (int i = 0; i < 200; i++) {
        char text[64], path[PATH_MAX];
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", tree(), names[i % 5]); /* in_tree is for one thread */
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        expect(fd >= 0 && stat(path, &st) == 0, "a thread can open");
        ssize_t n = read(fd, text, sizeof text);
        expect(n > 0, "a thread can read");
        *bytes += (size_t)n;
        close(fd);
    }
    return NULL;
}

static void row_threads(void)
{
    pthread_t threads[8];
    size_t bytes[8] = {0};
    for (size_t i = 0; i < 8; i++)
        expect(pthread_create(&threads[i], NULL, reader, &bytes[i]) == 0, "pthread_create");
    for (size_t i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        printf("%zu\n", bytes[i]);
    }
}

static void on_alarm(int sig)
{
    (void)sig;
}

/* A program with a timer sees no EINTR from calls on files. */
static void row_sigalrm(void)
{
    struct sigaction action = {.sa_handler = on_alarm}; /* without SA_RESTART */
    struct itimerval timer = {.it_interval.tv_usec = 2000, .it_value.tv_usec = 2000}, none = {0};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
    int failed = 0;
    for (int i = 0; i < 400; i++) {
        char name[32], text[16];
        snprintf(name, sizeof name, "many/f%d", i % 60);
        int fd = open(in_tree(name), O_RDONLY | O_CLOEXEC);
        failed += fd < 0 || read(fd, text, sizeof text) <= 0;
        close(fd);
    }
    setitimer(ITIMER_REAL, &none, NULL);
    printf("failed: %d\n", failed);
}

static void row_fork(void)
{
    int fd = open(in_tree("lines"), O_RDONLY | O_CLOEXEC);
    char text[8] = "";
    expect(read(fd, text, 4) == 4, "a file can be read");
    fflush(stdout);
    for (int i = 0; i < 3; i++) { /* the offset is shared */
        pid_t pid = fork();
        if (pid == 0) {
            expect(read(fd, text, 4) == 4, "a child can read");
            printf("%s\n", text);
            tell_content(in_tree("dir/a"));
            fflush(stdout);
            _exit(0);
        }
        tell_child(pid);
        fflush(stdout);
    }
    close(fd);
}

/* ---- io_uring: calls that no seccomp filter sees ---- */

struct ring {
    int fd;
    uint8_t *sq, *cq;
    struct io_uring_sqe *sqes;
    struct io_uring_params p;
};

static bool ring_open(struct ring *r)
{
    r->fd = (int)syscall(SYS_io_uring_setup, 4, &r->p);
    if (r->fd < 0)
        return false;
    size_t sq = r->p.sq_off.array + r->p.sq_entries * sizeof(uint32_t);
    size_t cq = r->p.cq_off.cqes + r->p.cq_entries * sizeof(struct io_uring_cqe);
    r->sq = mmap(NULL, sq, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQ_RING);
    r->cq = mmap(NULL, cq, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_CQ_RING);
    r->sqes = mmap(NULL, r->p.sq_entries * sizeof *r->sqes, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQES);
    expect(r->sq != MAP_FAILED && r->cq != MAP_FAILED && r->sqes != MAP_FAILED, "a ring can be mapped");
    return true;
}

/* One request, waited for. */
static int ring_call(struct ring *r, const struct io_uring_sqe *request)
{
    uint32_t *tail = (uint32_t *)(void *)(r->sq + r->p.sq_off.tail);
    uint32_t *head = (uint32_t *)(void *)(r->cq + r->p.cq_off.head);
    uint32_t slot = *tail % r->p.sq_entries;
    r->sqes[slot] = *request;
    ((uint32_t *)(void *)(r->sq + r->p.sq_off.array))[slot] = slot;
    __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
    expect(syscall(SYS_io_uring_enter, r->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1, "a request is taken");
    const struct io_uring_cqe *cqes = (const struct io_uring_cqe *)(const void *)(r->cq + r->p.cq_off.cqes);
    int result = cqes[*head % r->p.cq_entries].res;
    __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
    return result;
}

static void row_io_uring(void)
{
    struct ring r = {.fd = -1};
    if (!ring_open(&r)) { /* programs that use rings go on without where there are none; so may a rung say */
        tell("io_uring_setup", -1);
        exit(ROW_SKIPPED);
    }
    char text[16] = "";
    int fd = ring_call(&r, &(struct io_uring_sqe){.opcode = IORING_OP_OPENAT,
                                                  .fd = AT_FDCWD,
                                                  .addr = (uintptr_t)in_tree("file"),
                                                  .open_flags = O_RDONLY | O_CLOEXEC});
    printf("open: %d\n", fd < 0 ? fd : 0);
    int n = ring_call(&r, &(struct io_uring_sqe){
                              .opcode = IORING_OP_READ, .fd = fd, .addr = (uintptr_t)text, .len = sizeof text - 1});
    printf("read: %d %s\n", n, text);
    printf("none: %d\n",
           ring_call(&r, &(struct io_uring_sqe){
                             .opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = (uintptr_t)in_tree("none")}));
    close(fd);
    close(r.fd);
}

const struct row rows_data[] = {{"fopen", row_fopen},
                                {"read", row_read},
                                {"pread", row_pread},
                                {"mmap", row_mmap},
                                {"maps", row_maps},
                                {"procfd", row_procfd},
                                {"procfd-reopen", row_procfd_reopen},
                                {"opath", row_opath},
                                {"sendfile", row_sendfile},
                                {"cloexec", row_cloexec},
                                {"locks", row_locks},
                                {"inotify", row_inotify},
                                {"threads", row_threads},
                                {"sigalrm", row_sigalrm},
                                {"fork", row_fork},
                                {"io_uring", row_io_uring},
                                {NULL, NULL}};
