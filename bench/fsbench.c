// SPDX-License-Identifier: Apache-2.0
/* Rates and times of file system calls, for bench/run.
 *
 *   fsbench make DIR                       2,000 files of 4 KiB in 20 directories, and 64 MiB in DIR/large
 *   fsbench rates ROUNDS NAME=DIR...       rates of each call in each DIR; the DIRs take turns in each round, and a round's rate
 *                                          is the median of its slices of a hundred calls or a MiB. With BENCH_TURNS (test/lab/turns.h)
 *                                          another fsbench measures in between
 *   fsbench stream FILE...                 seconds to read each FILE in pieces of 128 KiB, once
 *   fsbench touch FILE...                  seconds to read 4 KiB of each 256 KiB of each FILE, once, without read-ahead
 *   fsbench first DIR FIRST COUNT          microseconds of the first read of 4 KiB of DIR/f-FIRST and those after it
 *
 * Prints JSON. Whatever does not end as it should (a missing name that is there, a short read) ends the program with 1. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/time.h"
#include "lab/turns.h"

enum {
    DIRS = 20,
    FILES = 100,
    ALL = DIRS * FILES,
    SMALL = 4096,
    PIECE = 128 << 10,
    CHUNK = 256 << 10,
    LARGE = 64 << 20,
    HOT = 4 << 20,
    SLICE = 1 << 20
};
enum { PASSES = 5, ROUNDS_MAX = 101, PLACES_MAX = 4 };

static char buffer[PIECE];

static void die(const char *what)
{
    fprintf(stderr, "fsbench: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void file_name(char *out, size_t size, const char *dir, int i)
{
    snprintf(out, size, "%s/dir-%d/file-%d", dir, i / FILES, i % FILES);
}

static void write_file(const char *name, size_t bytes)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        die(name);
    for (size_t at = 0; at < bytes; at += sizeof(buffer)) {
        size_t len = bytes - at < sizeof(buffer) ? bytes - at : sizeof(buffer);
        memset(buffer, (int)(at / sizeof(buffer)) + 1, len);
        if (write(fd, buffer, len) != (ssize_t)len)
            die(name);
    }
    close(fd);
}

static void make(const char *dir)
{
    char name[4096];
    for (int i = 0; i < ALL; i++) {
        snprintf(name, sizeof(name), "%s/dir-%d", dir, i / FILES);
        if (i % FILES == 0 && mkdir(name, 0755) != 0 && errno != EEXIST)
            die(name);
        file_name(name, sizeof(name), dir, i);
        write_file(name, SMALL);
    }
    snprintf(name, sizeof(name), "%s/large", dir);
    write_file(name, LARGE);
}

static int by_size(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* One call on file i. */
typedef void (*call_fn)(const char *name);

static void call_stat(const char *name)
{
    struct stat st;
    if (stat(name, &st) != 0)
        die(name);
}

static void call_missing(const char *name)
{
    struct stat st;
    char none[4096];
    snprintf(none, sizeof(none), "%s-none", name);
    if (stat(none, &st) == 0 || errno != ENOENT)
        die(none);
}

static void call_open(const char *name)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        die(name);
    close(fd);
}

/* The middle of the slices: who else uses the processor interrupts a few of them, not most. */
static double middle(double *slices, size_t count)
{
    qsort(slices, count, sizeof(slices[0]), by_size);
    return slices[count / 2];
}

/* Calls a second: a slice is one directory's files. */
static double rate_of(call_fn call)
{
    static double slices[PASSES * DIRS];
    char name[4096];
    uint64_t start = 0;
    for (int i = 0; i < PASSES * ALL; i++) {
        if (i % FILES == 0)
            start = tl_time_mono_ns();
        file_name(name, sizeof(name), ".", i % ALL);
        call(name);
        if (i % FILES == FILES - 1)
            slices[i / FILES] = FILES * 1e9 / (double)(tl_time_mono_ns() - start);
    }
    return middle(slices, PASSES * DIRS);
}

/* Bytes a second of the large file's beginning in pieces of this size. No more than the processor's caches hold: of more, how the
 * pages happen to lie in the host's memory decides, by a factor of two between copies of one file. */
static double read_rate(size_t piece)
{
    static double slices[LARGE / SLICE];
    const char *name = "large";
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        die(name);
    for (int i = 0; i < LARGE / SLICE; i++) {
        uint64_t start = tl_time_mono_ns();
        for (off_t at = 0; at < SLICE; at += (off_t)piece)
            if (pread(fd, buffer, piece, (i * SLICE + at) % HOT) != (ssize_t)piece)
                die(name);
        slices[i] = SLICE * 1e9 / (double)(tl_time_mono_ns() - start);
    }
    close(fd);
    return middle(slices, LARGE / SLICE);
}

enum { CALLS = 5 };
static const char *const call_names[CALLS] = {"stat", "missing", "open-close", "read-4k", "read-128k"};

static double measure(int call, const char *dir)
{
    static const call_fn calls[] = {call_stat, call_missing, call_open};
    if (chdir(dir) != 0) /* how deep the place lies shall not count */
        die(dir);
    turns_take();
    double rate = call < 3 ? rate_of(calls[call]) : read_rate(call == 3 ? SMALL : PIECE);
    turns_give();
    return rate;
}

static void rates(int rounds, int places, char **args)
{
    static double got[CALLS][PLACES_MAX][ROUNDS_MAX];
    char *dirs[PLACES_MAX];
    turns_begin();
    for (int p = 0; p < places; p++) {
        dirs[p] = strchr(args[p], '=');
        if (dirs[p] == NULL)
            die(args[p]);
        *dirs[p]++ = '\0';
        for (int call = 0; call < CALLS; call++)
            measure(call, dirs[p]); /* warm */
    }
    for (int round = 0; round < rounds; round++)
        for (int call = 0; call < CALLS; call++)
            for (int p = 0; p < places; p++)
                got[call][(p + round) % places][round] = measure(call, dirs[(p + round) % places]);
    printf("{");
    for (int call = 0; call < CALLS; call++) {
        printf("%s\"%s\": {", call > 0 ? ", " : "", call_names[call]);
        for (int p = 0; p < places; p++) {
            printf("%s\"%s\": [", p > 0 ? ", " : "", args[p]);
            for (int round = 0; round < rounds; round++)
                printf("%s%.0f", round > 0 ? ", " : "", got[call][p][round]);
            printf("]");
        }
        printf("}");
    }
    printf("}\n");
}

static double stream(const char *name)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    ssize_t got;
    if (fd < 0)
        die(name);
    uint64_t start = tl_time_mono_ns();
    while ((got = read(fd, buffer, sizeof(buffer))) > 0) {
    }
    if (got < 0)
        die(name);
    close(fd);
    return (double)(tl_time_mono_ns() - start) / 1e9;
}

static double touch(const char *name)
{
    struct stat st;
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0)
        die(name);
    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
    uint64_t start = tl_time_mono_ns();
    for (off_t at = 0; at < st.st_size; at += CHUNK)
        if (pread(fd, buffer, SMALL, at) <= 0)
            die(name);
    close(fd);
    return (double)(tl_time_mono_ns() - start) / 1e9;
}

static double first_read(const char *dir, int i)
{
    char name[4096];
    snprintf(name, sizeof(name), "%s/f-%d", dir, i);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        die(name);
    uint64_t start = tl_time_mono_ns();
    if (pread(fd, buffer, SMALL, 0) != SMALL)
        die(name);
    double took = (double)(tl_time_mono_ns() - start) / 1e3;
    close(fd);
    return took;
}

int main(int argc, char **argv)
{
    const char *verb = argc > 2 ? argv[1] : "";
    if (strcmp(verb, "make") == 0) {
        make(argv[2]);
    } else if (strcmp(verb, "rates") == 0 && argc > 3 && argc - 3 <= PLACES_MAX && atoi(argv[2]) <= ROUNDS_MAX) {
        rates(atoi(argv[2]), argc - 3, argv + 3);
    } else if (strcmp(verb, "stream") == 0 || strcmp(verb, "touch") == 0) {
        for (int i = 2; i < argc; i++)
            printf("%s%.6f%s", i > 2 ? ", " : "[", verb[0] == 's' ? stream(argv[i]) : touch(argv[i]),
                   i + 1 == argc ? "]\n" : "");
    } else if (strcmp(verb, "first") == 0 && argc == 5) {
        for (int i = 0; i < atoi(argv[4]); i++)
            printf("%s%.1f", i > 0 ? ", " : "[", first_read(argv[2], atoi(argv[3]) + i));
        printf("]\n");
    } else {
        fputs("usage: fsbench make DIR | rates ROUNDS NAME=DIR... | stream|touch FILE... | first DIR FIRST COUNT\n",
              stderr);
        return 2;
    }
    return 0;
}
