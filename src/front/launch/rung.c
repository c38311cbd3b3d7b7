// SPDX-License-Identifier: Apache-2.0
/* The table of rungs, and what their probes share. */
#include "front/launch/rung.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

const struct tl_rung tl_rungs[] = {
    {.name = "bind",
     .summary = "files in shared memory, bound over the paths in a private namespace",
     .probe = tl_rung_bind_probe,
     .enter = tl_rung_bind_enter,
     .condition = "paths that are complete in shared memory (tiercel tree fill)",
     .limits = "setuid programs (sudo, ping) have no special rights; all files appear as the user's own"},
    {.name = "fuse",
     .summary = "FUSE in a private namespace",
     .probe = tl_rung_fuse_probe,
     .enter = tl_rung_fuse_enter,
     .limits = "setuid programs (sudo, ping) have no special rights; what other users own appears as nobody's"},
#ifdef __x86_64__
    {.name = "inject",
     .summary = "a supervisor that answers the command's calls, and a library preloaded into it",
     .probe = tl_rung_inject_probe,
     .enter = tl_rung_inject_enter,
     .anywhere = true,
     .limits =
         "setuid programs have no special rights; io_uring is refused; programs that may not be looked into see what "
         "is natively there"},
    {.name = "preload",
     .summary = "a library preloaded into the command",
     .probe = tl_rung_preload_probe,
     .enter = tl_rung_preload_enter,
     .anywhere = true,
     .limits = "static programs, Go programs and raw system calls go to the source, without the tier"},
#endif
    {.name = "fault",
     .summary = "files in shared memory, at a path of their own, filled when they are opened",
     .probe = tl_rung_fault_probe,
     .enter = tl_rung_fault_enter,
     .condition = "paths of a run with --how fault",
     .limits =
         "the program is started at another path ($TIERCEL_PREFIX); paths inside scripts and files lead to the source; "
         "setuid programs have no special rights; files that were not opened yet show no read permission"},
};
const size_t tl_rung_count = sizeof tl_rungs / sizeof tl_rungs[0];

const struct tl_rung *tl_rung_find(const char *name)
{
    for (size_t i = 0; i < tl_rung_count; i++)
        if (strcmp(tl_rungs[i].name, name) == 0)
            return &tl_rungs[i];
    return NULL;
}

int tl_rung_try(int (*trial)(struct tl_error *err), struct tl_error *err)
{
    struct tl_error outcome = {.code = -EIO, .msg = "the process that tried it ended at once"};
    int result[2];
    if (pipe2(result, O_CLOEXEC) != 0)
        return tl_error_set(err, -errno, "cannot try it: no pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0) {
        struct tl_error own = {.code = 0};
        own.code = trial(&own);
        _exit(write(result[1], &own, sizeof own) == (ssize_t)sizeof own ? 0 : 1);
    }
    int fork_error = errno;
    close(result[1]);
    ssize_t n = 0;
    if (pid > 0) {
        n = read(result[0], &outcome, sizeof outcome); /* less than a pipe's buffer: in one piece */
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    close(result[0]);
    if (pid < 0)
        return tl_error_set(err, -fork_error, "cannot try it: no process: %s", strerror(fork_error));
    if (n == (ssize_t)sizeof outcome && outcome.code == 0)
        return 0;
    outcome.msg[sizeof outcome.msg - 1] = '\0';
    return tl_error_set(err, outcome.code < 0 ? outcome.code : -EIO, "%s", outcome.msg);
}
