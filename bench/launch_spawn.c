// SPDX-License-Identifier: Apache-2.0
/* How long a program takes from its start to its end, and how much of the processor.
 *
 *   launch-spawn ROUNDS COUNT PROGRAM [ARG]...     prints, as JSON, ROUNDS microseconds of one start each: "wall", what a tenth
 *                                                  of COUNT one after another stay below (who else uses the processor
 *                                                  makes the others wait for a time slice), and "cpu", user and system time, their
 *                                                  mean; one start before is not counted. With BENCH_TURNS (test/lab/turns.h) another
 *                                                  launch-spawn has its rounds in between
 *
 * What PROGRAM prints is thrown away. One that does not end with 0 ends this with 1. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/time.h"
#include "lab/turns.h"

#define COUNT_MAX  10000
#define ROUNDS_MAX 100

static void start(char **argv, const posix_spawn_file_actions_t *actions)
{
    extern char **environ;
    pid_t pid;
    int status = 0, rc = posix_spawn(&pid, argv[0], actions, NULL, argv, environ);
    if (rc == 0 && waitpid(pid, &status, 0) == pid && status == 0)
        return;
    fprintf(stderr, "launch-spawn: %s: %s, status %d\n", argv[0], strerror(rc), status);
    exit(1);
}

static int by_size(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Of all children that have ended, in microseconds. */
static double cpu_us(void)
{
    struct rusage use;
    getrusage(RUSAGE_CHILDREN, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e6 +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

static void print(const char *name, const double *values, int count)
{
    printf("\"%s\": [", name);
    for (int i = 0; i < count; i++)
        printf("%s%.1f", i > 0 ? ", " : "", values[i]);
    printf("]");
}

int main(int argc, char **argv)
{
    int rounds = argc > 3 ? atoi(argv[1]) : 0, count = argc > 3 ? atoi(argv[2]) : 0;
    if (rounds < 1 || rounds > ROUNDS_MAX || count < 1 || count > COUNT_MAX) {
        fputs("usage: launch-spawn ROUNDS COUNT PROGRAM [ARG]...\n", stderr);
        return 2;
    }
    static uint64_t took[COUNT_MAX];
    double wall[ROUNDS_MAX], cpu[ROUNDS_MAX];
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    turns_begin();
    start(argv + 3, &actions);
    for (int round = 0; round < rounds; round++) {
        turns_take();
        double before = cpu_us();
        for (int i = 0; i < count; i++) {
            uint64_t begin = tl_time_mono_ns();
            start(argv + 3, &actions);
            took[i] = tl_time_mono_ns() - begin;
        }
        cpu[round] = (cpu_us() - before) / count;
        qsort(took, (size_t)count, sizeof took[0], by_size);
        wall[round] = (double)took[count / 10] / 1e3;
        turns_give();
    }
    printf("{");
    print("wall", wall, rounds);
    printf(", ");
    print("cpu", cpu, rounds);
    printf("}\n");
    posix_spawn_file_actions_destroy(&actions);
    return 0;
}
