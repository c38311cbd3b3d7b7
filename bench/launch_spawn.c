// SPDX-License-Identifier: Apache-2.0
/* How long a program takes from its start to its end.
 *
 *   launch-spawn ROUNDS COUNT PROGRAM [ARG]...     prints, as JSON, ROUNDS times the microseconds of one start, each what a tenth
 *                                                  of COUNT one after another stay below (who else uses the processor
 *                                                  makes the others wait for a time slice); one start before is not counted
 *
 * What PROGRAM prints is thrown away. One that does not end with 0 ends this with 1. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/time.h"

#define COUNT_MAX 10000

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

int main(int argc, char **argv)
{
    int rounds = argc > 3 ? atoi(argv[1]) : 0, count = argc > 3 ? atoi(argv[2]) : 0;
    if (rounds < 1 || count < 1 || count > COUNT_MAX) {
        fputs("usage: launch-spawn ROUNDS COUNT PROGRAM [ARG]...\n", stderr);
        return 2;
    }
    static uint64_t took[COUNT_MAX];
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    start(argv + 3, &actions);
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < count; i++) {
            uint64_t begin = tl_time_mono_ns();
            start(argv + 3, &actions);
            took[i] = tl_time_mono_ns() - begin;
        }
        qsort(took, (size_t)count, sizeof took[0], by_size);
        printf("%s%.1f", round > 0 ? ", " : "[", (double)took[count / 10] / 1e3);
    }
    printf("]\n");
    posix_spawn_file_actions_destroy(&actions);
    return 0;
}
