// SPDX-License-Identifier: Apache-2.0
/* Taking a pool's files away. The file that says what the directory is goes first, and the index last: what is left of a pool whose
 * destruction was interrupted is no pool, and is destroyed by doing it again. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/embedded.h"

static bool is_ours(const char *name)
{
    static const char *const names[] = {"meta.mdb-lock", "owners", "locks"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    if (strncmp(name, "ext.", 4) != 0 && strncmp(name, "pool.", 5) != 0)
        return false;
    const char *digit = strchr(name, '.') + 1;
    if (*digit == 0)
        return false;
    while (isdigit((unsigned char)*digit))
        digit++;
    return *digit == 0;
}

static int take_away(int dir)
{
    int again = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = again < 0 ? NULL : fdopendir(again);
    struct dirent *entry;
    int rc = d == NULL ? -errno : 0;
    if (d == NULL && again >= 0)
        close(again);
    while (rc == 0 && (entry = readdir(d)) != NULL)
        if (is_ours(entry->d_name) && unlinkat(dir, entry->d_name, 0) != 0 && errno != ENOENT)
            rc = -errno;
    if (d != NULL)
        closedir(d);
    return rc;
}

int tl_store_embedded_destroy(const char *directory, struct tl_error *err)
{
    struct stat st;
    int dir = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC), page = -1;
    int rc = dir < 0 ? -errno : 0;
    if (rc == 0 && fstatat(dir, "pool", &st, 0) != 0 && fstatat(dir, "meta.mdb", &st, 0) != 0)
        rc = -errno;
    if (rc == -ENOENT || rc == -ENOTDIR) {
        if (dir >= 0)
            close(dir);
        return tl_error_set(err, rc, "%s is no pool: %s", directory, strerror(-rc));
    }
    rc = rc == 0 ? tl_page_seize(directory, &page) : rc; /* who waits for that finds that it is gone */
    if (rc == 0) {
        rc = unlinkat(dir, "pool", 0) == 0 || errno == ENOENT ? 0 : -errno;
        rc = rc == 0 ? take_away(dir) : rc;
        if (rc == 0 && (unlinkat(dir, "page", 0) != 0 || (unlinkat(dir, "meta.mdb", 0) != 0 && errno != ENOENT)))
            rc = -errno;
        close(page);
    }
    if (dir >= 0)
        close(dir);
    if (rc == 0 && rmdir(directory) != 0 && errno != ENOTEMPTY && errno != EEXIST && errno != EBUSY)
        rc = -errno;
    if (rc == -EBUSY)
        return tl_error_set(err, rc, "pool %s cannot be destroyed: a process has it open", directory);
    return rc == 0 ? 0 : tl_error_set(err, rc, "pool %s cannot be destroyed: %s", directory, strerror(-rc));
}
