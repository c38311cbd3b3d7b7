// SPDX-License-Identifier: Apache-2.0
/* Two processes that take turns in what they measure, so that what else the machine does, and how fast its processor is for
 * the moment, hits both alike. BENCH_TURNS=first:A:B in one of them and second:A:B in the other; A and B are FIFOs. Without it
 * nobody is waited for. Both have to take equally many turns; if one ends before, the other does not wait any more. */
#ifndef TL_BENCH_TURNS_H
#define TL_BENCH_TURNS_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int turns_in = -1, turns_out = -1;
static bool turns_mine; /* the first turn needs no word of the other */

static inline void turns_begin(void)
{
    char words[4096];
    const char *given = getenv("BENCH_TURNS");
    if (given == NULL || given[0] == '\0')
        return;
    snprintf(words, sizeof words, "%s", given);
    const char *who = strtok(words, ":"), *a = strtok(NULL, ":"), *b = strtok(NULL, ":");
    if (b == NULL) {
        fprintf(stderr, "BENCH_TURNS=%s: not first:FIFO:FIFO or second:FIFO:FIFO\n", given);
        exit(2);
    }
    turns_mine = strcmp(who, "first") == 0;
    (void)signal(SIGPIPE, SIG_IGN);
    int there = open(a, (turns_mine ? O_WRONLY : O_RDONLY) | O_CLOEXEC); /* waits for the other */
    int back = open(b, (turns_mine ? O_RDONLY : O_WRONLY) | O_CLOEXEC);
    if (there < 0 || back < 0) {
        fprintf(stderr, "%s, %s: %s\n", a, b, strerror(errno));
        exit(1);
    }
    turns_in = turns_mine ? back : there;
    turns_out = turns_mine ? there : back;
}

static inline void turns_take(void)
{
    char word;
    if (turns_in >= 0 && !turns_mine)
        (void)!read(turns_in, &word, 1);
    turns_mine = false;
}

static inline void turns_give(void)
{
    if (turns_out >= 0)
        (void)!write(turns_out, "t", 1);
}

#endif
