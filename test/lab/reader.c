// SPDX-License-Identifier: Apache-2.0
/* The program of a scenario in the lab: reads files one after the other and knows what their bytes have to be.
 *
 *   reader make DIR FILES BYTES                 makes them, as the simulator's workload `files` has them
 *   reader read DIR FILES BYTES FIRST GAP_MS    reads all, FIRST first, GAP_MS between two; prints JSON
 *
 * An error or a wrong byte is counted, and it goes on: {"reads": N, "errors": N, "wrong": N, "longest_ms": N, "error": "..."} */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/time.h"

#define A_DIRECTORY 20u
#define PIECE       65536u

static unsigned char buffer[PIECE];

static void fill(unsigned char *out, uint32_t file, uint64_t offset, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        uint64_t at = offset + i;
        out[i] = (unsigned char)(file * 131u + at * 7u + (at >> 8) * 13u);
    }
}

static void path_of(char *out, size_t max, const char *dir, uint32_t file)
{
    snprintf(out, max, "%s/dir%u/file%u", dir, file / A_DIRECTORY, file);
}

static int make(const char *dir, uint32_t files, uint64_t bytes)
{
    char path[4096];
    for (uint32_t file = 0; file < files; file++) {
        snprintf(path, sizeof path, "%s/dir%u", dir, file / A_DIRECTORY);
        if (file % A_DIRECTORY == 0 && mkdir(path, 0755) != 0)
            return 1;
        path_of(path, sizeof path, dir, file);
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        for (uint64_t at = 0; fd >= 0 && at < bytes;) {
            size_t len = bytes - at < PIECE ? (size_t)(bytes - at) : PIECE;
            fill(buffer, file, at, len);
            if (write(fd, buffer, len) != (ssize_t)len)
                return 1;
            at += len;
        }
        if (fd < 0 || close(fd) != 0)
            return 1;
    }
    return 0;
}

/* 0, 1: other bytes than there should be, -errno. */
static int read_one(const char *path, uint32_t file, uint64_t bytes)
{
    static unsigned char want[PIECE];
    int fd = open(path, O_RDONLY | O_CLOEXEC), result = 0;
    uint64_t at = 0;
    if (fd < 0)
        return -errno;
    for (ssize_t n = 1; n > 0 && result == 0; at += n > 0 ? (uint64_t)n : 0) {
        n = read(fd, buffer, PIECE);
        if (n < 0)
            result = -errno;
        fill(want, file, at, n > 0 ? (size_t)n : 0);
        if (n > 0 && memcmp(buffer, want, (size_t)n) != 0)
            result = 1;
    }
    close(fd);
    return result == 0 && at != bytes ? 1 : result;
}

static void read_all(const char *dir, uint32_t files, uint64_t bytes, uint32_t first, long gap_ms)
{
    char path[4096], why[4200] = "";
    uint32_t errors = 0, wrong = 0;
    uint64_t longest_ns = 0;
    const struct timespec gap = {.tv_sec = gap_ms / 1000, .tv_nsec = gap_ms % 1000 * 1000000};
    for (uint32_t i = 0; i < files; i++) {
        uint32_t file = (first + i) % files;
        path_of(path, sizeof path, dir, file);
        uint64_t start_ns = tl_time_mono_ns();
        int rc = read_one(path, file, bytes);
        uint64_t took_ns = tl_time_mono_ns() - start_ns;
        longest_ns = took_ns > longest_ns ? took_ns : longest_ns;
        errors += rc < 0;
        wrong += rc > 0;
        if (rc != 0)
            snprintf(why, sizeof why, "%s: %s", path, rc < 0 ? strerror(-rc) : "wrong bytes");
        nanosleep(&gap, NULL); /* the pace of the program, not a wait for a state */
    }
    printf("{\"reads\": %u, \"errors\": %u, \"wrong\": %u, \"longest_ms\": %llu, \"error\": \"%s\"}\n", files, errors,
           wrong, (unsigned long long)(longest_ns / 1000000), why);
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "make") == 0)
        return make(argv[2], (uint32_t)strtoul(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
    if (argc != 7 || strcmp(argv[1], "read") != 0 || strtoul(argv[3], NULL, 10) == 0) {
        fprintf(stderr, "usage: reader make DIR FILES BYTES | reader read DIR FILES BYTES FIRST GAP_MS\n");
        return 2;
    }
    read_all(argv[2], (uint32_t)strtoul(argv[3], NULL, 10), strtoull(argv[4], NULL, 10),
             (uint32_t)strtoul(argv[5], NULL, 10), strtol(argv[6], NULL, 10));
    return 0;
}
