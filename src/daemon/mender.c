// SPDX-License-Identifier: Apache-2.0
/* The mender: sleeps in read() until keeper and daemon are gone, however that came about, and takes away the mounts they left.
 *
 * Nobody else could: the kernel keeps a mount whose server is gone, and programs that enter it get ENOTCONN for ever. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "daemon/daemon.h"
#include "daemon/keeper.h"

struct mender {
    char *paths[TL_FRONTS_MAX];
};

void tl_mender_note(int fd, bool mounted, const char *path)
{
    char note[PATH_MAX + 2];
    int len = snprintf(note, sizeof note, "%c%s", mounted ? '+' : '-', path);
    if (fd < 0 || len >= (int)sizeof note)
        return;
    /* A pipe takes up to 4096 bytes in one piece, and a longer path is no mount point. */
    if (write(fd, note, (size_t)len + 1) != len + 1)
        tl_log("warning", "the process that cleans up after this daemon is gone");
}

static void take_note(struct mender *m, const char *note)
{
    unsigned free_place = TL_FRONTS_MAX, i;
    for (i = 0; i < TL_FRONTS_MAX; i++) {
        if (m->paths[i] == NULL)
            free_place = i;
        else if (strcmp(m->paths[i], note + 1) == 0)
            break;
    }
    if (i < TL_FRONTS_MAX && note[0] == '-') {
        free(m->paths[i]);
        m->paths[i] = NULL;
    } else if (i == TL_FRONTS_MAX && note[0] == '+' && free_place < TL_FRONTS_MAX) {
        m->paths[free_place] = strdup(note + 1);
    }
}

static _Noreturn void run(int fd)
{
    static char text[2 * PATH_MAX];
    struct mender m = {.paths = {NULL}};
    size_t used = 0;
    for (;;) { /* until the last writer is gone */
        ssize_t got = read(fd, text + used, sizeof text - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        used += (size_t)got;
        char *at = text, *end;
        for (; (end = memchr(at, 0, used)) != NULL; at = end + 1) {
            take_note(&m, at);
            used -= (size_t)(end + 1 - at);
        }
        memmove(text, at, used);
        if (used == sizeof text) /* cannot be: no note is that long */
            break;
    }
    for (unsigned i = 0; i < TL_FRONTS_MAX; i++)
        if (m.paths[i] != NULL && tl_fuse_unmount(m.paths[i]) == 0)
            tl_log("warning", "no daemon is left: unmounted path=%s", m.paths[i]);
    _exit(0);
}

int tl_mender_start(int read_fd)
{
    int pid = fork();
    if (pid != 0)
        return pid < 0 ? -errno : pid;
    prctl(PR_SET_NAME, "tierceld-mender");
    if (dup2(read_fd, 3) != 3) /* it must hold nothing that others wait to see closed */
        _exit(1);
    (void)close_range(4, ~0u, 0);
    /* What ends the daemon must not end it: it has to be the last. */
    static const int ignored[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE};
    for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++)
        signal(ignored[i], SIG_IGN);
    (void)chdir("/");
    run(3);
}
