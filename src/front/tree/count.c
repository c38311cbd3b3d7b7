// SPDX-License-Identifier: Apache-2.0
/* What trees take, for the daemon, whose limit they count for. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "front/tree/internal.h"

int tl_tree_folder_of(int fd, const char *path, char *out, size_t size)
{
    static const char root[] = "/root";
    char link[64], name[3 * PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, name, sizeof name);
    size_t len = n > 0 ? (size_t)n : 0, tail = strlen(path) + sizeof root - 1;
    if (len >= sizeof name || len <= tail || memcmp(name + len - strlen(path), path, strlen(path)) != 0 ||
        memcmp(name + len - tail, root, sizeof root - 1) != 0)
        return -ENOENT;
    name[len - tail] = '\0'; /* TIER/HASH */
    char *slash = strrchr(name, '/');
    if (slash == NULL || slash == name || (size_t)(slash - name) >= size)
        return -ENOENT;
    *slash = '\0';
    memcpy(out, name, (size_t)(slash - name) + 1);
    return 0;
}

void tl_tree_count(const char *folder, struct tl_tree_use *use)
{
    DIR *dir = opendir(folder);
    for (struct dirent *e = dir != NULL ? readdir(dir) : NULL; e != NULL; e = readdir(dir)) {
        char path[PATH_MAX];
        struct tl_index_head *index;
        if (e->d_name[0] == '.' || snprintf(path, sizeof path, "%s/%s", folder, e->d_name) >= (int)sizeof path ||
            tl_index_map(path, &index) != 0)
            continue;
        use->trees++;
        use->complete += atomic_load(&index->left) <= 0;
        use->bytes += tl_index_taken(index);
        tl_index_unmap(index);
    }
    if (dir != NULL)
        closedir(dir);
}
