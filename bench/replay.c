// SPDX-License-Identifier: Apache-2.0
/* replay TRACE --prefix DIR [--procs N] [--json]: performs the file operations of a recorded import (bench/record) in N
 * processes at once, with no interpreter, so that two cores can carry the operations of many nodes.
 *
 * What a mapped library costs depends on which pages its program touches. The trace knows only the mappings, so the
 * replay touches one page in each 384 KiB of a mapping: with the kernel's read-ahead around a fault that reads about
 * the bytes that the real import of torch reads (177 of 194 MB). An operation that ends otherwise than it was recorded is a
 * mismatch; any mismatch makes the exit status 1. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/time.h"

enum { SLOTS = 4096, OPS_MAX = 1 << 20, TOUCH_STEP = 384 << 10, BUFFER = 8 << 20, PROCS_MAX = 1024 };

enum op {
    OP_EXEC,
    OP_OPEN,
    OP_STAT,
    OP_LSTAT,
    OP_ACCESS,
    OP_READLINK,
    OP_FSTAT,
    OP_TTY,
    OP_LIST,
    OP_READ,
    OP_MAP,
    OP_CLOSE
};
static const char *const op_names[] = {"exec",  "open", "stat", "lstat", "access", "readlink",
                                       "fstat", "tty",  "list", "read",  "map",    "close"};
enum { OP_COUNT = sizeof(op_names) / sizeof(op_names[0]) };

struct step {
    enum op op;
    bool fails; /* recorded with an error */
    int slot;
    uint64_t offset, length;
    char *path; /* relative to the prefix */
};

struct trace {
    struct step *steps;
    size_t count;
};

/* What one process did; in memory that the parent shares. */
struct tally {
    uint64_t ops, bytes, mismatches;
    char first_mismatch[160];
};

static void die(const char *what)
{
    perror(what);
    exit(2);
}

/* One line of the trace. False: a comment, or not a step. */
static bool parse_line(char *line, struct step *s)
{
    char *save = NULL, *word[6];
    line[strcspn(line, "\n")] = '\0';
    if (line[0] == '#' || line[0] == '\0')
        return false;
    for (int i = 0; i < 5; i++)
        if ((word[i] = strtok_r(i == 0 ? line : NULL, " ", &save)) == NULL)
            return false;
    word[5] = save;
    for (int i = 0; i < (int)OP_COUNT; i++) {
        if (strcmp(word[0], op_names[i]) != 0)
            continue;
        s->op = (enum op)i;
        s->slot = word[1][0] == '-' ? -1 : atoi(word[1]) % SLOTS;
        s->offset = strtoull(word[2], NULL, 0);
        s->length = strtoull(word[3], NULL, 0);
        s->fails = strcmp(word[4], "0") != 0;
        s->path = strdup(word[5] == NULL ? "-" : word[5]);
        return s->path != NULL;
    }
    return false;
}

static void load(struct trace *t, const char *name)
{
    FILE *f = fopen(name, "re");
    char *line = NULL;
    size_t size = 0;
    if (f == NULL)
        die(name);
    t->steps = calloc(OPS_MAX, sizeof(*t->steps));
    if (t->steps == NULL)
        die(name);
    while (t->count < OPS_MAX && getline(&line, &size, f) > 0)
        t->count += parse_line(line, &t->steps[t->count]) ? 1 : 0;
    free(line);
    fclose(f);
    if (t->count == 0) {
        fprintf(stderr, "replay: %s: no operations; record one with bench/record MODULE FILE\n", name);
        exit(2);
    }
}

static int touch(int fd, uint64_t offset, uint64_t length)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return -1;
    if (offset >= (uint64_t)st.st_size)
        return 0;
    if (length > (uint64_t)st.st_size - offset)
        length = (uint64_t)st.st_size - offset;
    volatile const char *p = mmap(NULL, length, PROT_READ, MAP_PRIVATE, fd, (off_t)offset);
    if (p == MAP_FAILED)
        return -1;
    char sum = 0;
    for (uint64_t at = 0; at < length; at += TOUCH_STEP)
        sum = (char)(sum ^ p[at]);
    munmap((void *)(uintptr_t)p, length);
    return sum & 0;
}

static int do_exec(int root, const char *path)
{
    struct stat st;
    int fd = openat(root, path, O_RDONLY | O_CLOEXEC);
    int rc = fd < 0 || fstat(fd, &st) != 0 ? -1 : touch(fd, 0, (uint64_t)st.st_size);
    if (fd >= 0)
        close(fd);
    return rc;
}

static int do_list(int fd, char *buf)
{
    long got;
    do
        got = syscall(SYS_getdents64, fd, buf, 32768);
    while (got > 0);
    return (int)got;
}

static int do_read(const struct step *s, int fd, char *buf, struct tally *t)
{
    size_t want = s->length < BUFFER ? (size_t)s->length : (size_t)BUFFER;
    /* A recorded 0 is the read that found the end. */
    ssize_t got = pread(fd, buf, want > 0 ? want : 1, (off_t)s->offset);
    t->bytes += got > 0 ? (uint64_t)got : 0;
    return got == (ssize_t)want ? 0 : -1;
}

static int perform(const struct step *s, int root, int *slots, char *buf, struct tally *t)
{
    struct stat st;
    struct termios tty;
    int fd = s->slot >= 0 ? slots[s->slot] : -1;
    switch (s->op) {
    case OP_EXEC: return do_exec(root, s->path);
    case OP_OPEN:
        fd = openat(root, s->path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && s->slot >= 0)
            slots[s->slot] = fd;
        else if (fd >= 0)
            close(fd);
        return fd < 0 ? -1 : 0;
    case OP_STAT: return fstatat(root, s->path, &st, 0);
    case OP_LSTAT: return fstatat(root, s->path, &st, AT_SYMLINK_NOFOLLOW);
    case OP_ACCESS: return faccessat(root, s->path, R_OK, 0);
    case OP_READLINK: return readlinkat(root, s->path, buf, 4096) < 0 ? -1 : 0;
    case OP_FSTAT: return fstat(fd, &st);
    case OP_TTY: return ioctl(fd, TCGETS, &tty);
    case OP_LIST: return do_list(fd, buf);
    case OP_READ: return do_read(s, fd, buf, t);
    case OP_MAP: return touch(fd, s->offset, s->length);
    case OP_CLOSE: slots[s->slot] = -1; return close(fd);
    }
    return -1;
}

/* One process: all steps in order. */
static void run(const struct trace *trace, int root, struct tally *t)
{
    static int slots[SLOTS];
    char *buf = malloc(BUFFER);
    if (buf == NULL)
        die("replay");
    memset(slots, -1, sizeof(slots));
    for (size_t i = 0; i < trace->count; i++) {
        const struct step *s = &trace->steps[i];
        int rc = perform(s, root, slots, buf, t);
        t->ops++;
        if ((rc != 0) == s->fails)
            continue;
        if (t->mismatches++ == 0)
            snprintf(t->first_mismatch, sizeof(t->first_mismatch), "step %zu: %s %.80s: %s", i, op_names[s->op],
                     s->path, rc == 0 ? "succeeded, failed when recorded" : strerror(errno));
    }
    free(buf);
}

/* All processes wait at a pipe until the last is there: closing it lets them go at once. */
static void run_all(const struct trace *trace, int root, struct tally *tallies, int procs)
{
    int gate[2];
    if (pipe2(gate, O_CLOEXEC) != 0)
        die("replay: pipe");
    for (int i = 0; i < procs; i++) {
        char nothing;
        pid_t pid = fork();
        if (pid < 0)
            die("replay: fork");
        if (pid > 0)
            continue;
        close(gate[1]);
        if (read(gate[0], &nothing, 1) != 0)
            _exit(2);
        run(trace, root, &tallies[i]);
        _exit(0);
    }
    close(gate[0]);
    close(gate[1]);
    int status;
    while (wait(&status) > 0)
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            tallies[0].mismatches++;
}

static double seconds(struct timeval tv)
{
    return (double)tv.tv_sec + (double)tv.tv_usec / 1e6;
}

static void print_result(const struct tally *sum, int procs, uint64_t wall_ns)
{
    struct rusage used;
    getrusage(RUSAGE_CHILDREN, &used);
    printf("{\"wall_s\": %.6f, \"cpu_s\": %.6f, \"procs\": %d, \"ops\": %" PRIu64 ", \"bytes\": %" PRIu64
           ", \"mismatches\": %" PRIu64 "}\n",
           (double)wall_ns / 1e9, seconds(used.ru_utime) + seconds(used.ru_stime), procs, sum->ops, sum->bytes,
           sum->mismatches);
    if (sum->mismatches > 0)
        fprintf(stderr, "replay: %" PRIu64 " of %" PRIu64 " operations ended otherwise than recorded: %s\n",
                sum->mismatches, sum->ops, sum->first_mismatch);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"prefix", 1, NULL, 'p'}, {"procs", 1, NULL, 'n'}, {NULL, 0, NULL, 0}};
    const char *prefix = NULL;
    int procs = 1, c;
    struct trace trace = {0};
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 'p')
            prefix = optarg;
        else if (c == 'n')
            procs = atoi(optarg);
        else
            return 2;
    }
    if (prefix == NULL || optind + 1 != argc || procs < 1 || procs > PROCS_MAX) {
        fputs("usage: replay --prefix DIR [--procs N] TRACE\n", stderr);
        return 2;
    }
    load(&trace, argv[optind]);
    struct tally *tallies =
        mmap(NULL, sizeof(*tallies) * PROCS_MAX, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (tallies == MAP_FAILED)
        die("replay");
    uint64_t start = tl_time_mono_ns();
    int root = open(prefix, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        die(prefix);
    run_all(&trace, root, tallies, procs);
    uint64_t wall_ns = tl_time_mono_ns() - start;
    struct tally sum = tallies[0];
    for (int i = 1; i < procs; i++) {
        sum.ops += tallies[i].ops;
        sum.bytes += tallies[i].bytes;
        sum.mismatches += tallies[i].mismatches;
    }
    print_result(&sum, procs, wall_ns);
    return sum.mismatches > 0;
}
