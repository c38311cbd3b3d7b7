// SPDX-License-Identifier: Apache-2.0
/* For tests: preloaded into a daemon, it makes certain look-ups deadly. The daemon itself has nothing of the kind.
 *
 * A look-up of a name that begins with "poison-" kills the daemon by SIGSEGV while it is being processed. */
#include <dlfcn.h>
#include <linux/fuse.h>
#include <signal.h>
#include <string.h>

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

static void look_at(const struct fuse_buf *buf)
{
    const struct fuse_in_header *in = buf->mem;
    const char *name = (const char *)(in + 1);
    if (in->opcode == FUSE_LOOKUP && strncmp(name, "poison-", 7) == 0) {
        signal(SIGSEGV, SIG_DFL);
        raise(SIGSEGV);
    }
}

void fuse_session_process_buf(struct fuse_session *se, const struct fuse_buf *buf)
{
    static void (*real)(struct fuse_session * se, const struct fuse_buf *buf);
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "fuse_session_process_buf");
    look_at(buf);
    real(se, buf);
}
