// SPDX-License-Identifier: Apache-2.0
/* The memory of other processes, and whose they are; see hear.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "front/launch/hear.h"

int tl_memory_get(pid_t pid, uint64_t address, void *out, size_t len)
{
    struct iovec here = {out, len}, there = {(void *)(uintptr_t)address, len}; /* NOLINT: an address elsewhere */
    ssize_t n = process_vm_readv(pid, &here, 1, &there, 1, 0);
    if (n < 0)
        return -errno;
    return (size_t)n == len ? 0 : -EFAULT;
}

int tl_memory_put(pid_t pid, uint64_t address, const void *bytes, size_t len)
{
    struct iovec here = {(void *)(uintptr_t)bytes, len}, there = {(void *)(uintptr_t)address, len};
    ssize_t n = process_vm_writev(pid, &here, 1, &there, 1, 0);
    if (n < 0)
        return -errno;
    return (size_t)n == len ? 0 : -EFAULT;
}

/* Page by page: what follows the text need not be there. */
int tl_memory_text(pid_t pid, uint64_t address, char out[PATH_MAX])
{
    size_t page = 4096;
    for (size_t at = 0; at < PATH_MAX;) {
        size_t n = page - (size_t)((address + at) % page);
        n = n < PATH_MAX - at ? n : PATH_MAX - at;
        n = n < 256 ? n : 256; /* most paths are short */
        int rc = tl_memory_get(pid, address + at, out + at, n);
        if (rc != 0)
            return rc;
        if (memchr(out + at, '\0', n) != NULL)
            return 0;
        at += n;
    }
    return -ENAMETOOLONG;
}

/* An ordinary user's processes stay that user's: NO_NEW_PRIVS. root's may become anybody's. */
bool tl_memory_is_ours(pid_t pid)
{
    char path[32];
    struct stat st;
    if (geteuid() != 0)
        return true;
    snprintf(path, sizeof path, "/proc/%d", (int)pid);
    return stat(path, &st) == 0 && st.st_uid == 0;
}
