// SPDX-License-Identifier: Apache-2.0
/* Trees in shared memory (front/tree/tree.h) and the node's limit: what they take is taken from chunks and values, and they may not
 * take nearly all of it.
 *
 * Their files are the programs', but their content comes through us. So we ask each tree for what it takes, now and then, add what we
 * give meanwhile, and refuse what would be too much: then the program reads the source itself. Folders are those that our
 * own environment names, and those that come with descriptors. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/time.h"
#include "daemon/daemon.h"
#include "front/tree/tree.h"

#define LOOK_NS    (5 * TL_NS_PER_S) /* between two looks at all trees, while there is something to do */
#define PAGE       4096u
#define LEAST_PART 8u /* of the limit, which trees leave to chunks and values */

uint64_t tl_trees_bytes(const struct tl_daemon *d)
{
    const struct tl_trees *t = &d->values.trees;
    return t->counted_bytes + t->since_bytes + t->pending_bytes;
}

void tl_trees_look(struct tl_daemon *d)
{
    struct tl_trees *t = &d->values.trees;
    struct tl_tree_use use = {0};
    for (uint32_t i = 0; i < t->folder_count; i++)
        tl_tree_count(t->folders[i], &use);
    t->count = use.trees;
    t->counted_bytes = use.bytes;
    t->since_bytes = 0;
    t->looked_ns = tl_time_mono_ns();
}

static void add_folder(struct tl_trees *t, const char *folder)
{
    for (uint32_t i = 0; i < t->folder_count; i++)
        if (strcmp(t->folders[i], folder) == 0)
            return;
    char *copy = t->folder_count < TL_TREE_FOLDERS_MAX ? strdup(folder) : NULL;
    if (copy != NULL)
        t->folders[t->folder_count++] = copy;
}

void tl_trees_open(struct tl_daemon *d)
{
    char folder[4096], socket[sizeof d->options.tier + 16];
    struct tl_error ignored;
    snprintf(socket, sizeof socket, "/%s/node.sock", d->options.tier); /* the folder's name is all that matters */
    if (tl_tree_folder(socket, folder, sizeof folder, &ignored) == 0)
        add_folder(&d->values.trees, folder);
    tl_trees_look(d);
}

void tl_trees_close(struct tl_daemon *d)
{
    struct tl_trees *t = &d->values.trees;
    for (uint32_t i = 0; i < t->folder_count; i++)
        free(t->folders[i]);
    *t = (struct tl_trees){.folder_count = 0};
}

void tl_trees_tick(struct tl_daemon *d)
{
    if (tl_time_mono_ns() - d->values.trees.looked_ns > LOOK_NS)
        tl_trees_look(d);
}

uint64_t tl_trees_most(const struct tl_daemon *d)
{
    uint64_t limit = d->pressure.limit_bytes, least = tl_node_limit_min(), pinned = 0;
    struct tl_cache_stats s;
    least = limit / LEAST_PART > least ? limit / LEAST_PART : least;
    if (d->values.cache != NULL) {
        tl_cache_stats(d->values.cache, &s);
        pinned = s.classes[TL_VALUE_PINNED].cost_bytes + s.table_bytes;
    }
    return limit > least + pinned ? limit - least - pinned : 0;
}

int tl_trees_room(struct tl_daemon *d, uint64_t bytes, struct tl_error *err)
{
    uint64_t most = tl_trees_most(d);
    if (bytes > most || tl_trees_bytes(d) > most - bytes)
        tl_trees_look(d); /* some may have gone */
    uint64_t now = tl_trees_bytes(d);
    if (bytes <= most && now <= most - bytes)
        return 0;
    return tl_error_set(
        err, -ENOSPC,
        "trees in shared memory have %llu MB and are to have %llu MB more, but the cache's limit of %llu "
        "MB leaves them %llu: raise it (tiercel cache limit), remove some (tiercel tree list, remove), "
        "or name a smaller folder",
        (unsigned long long)(now >> 20), (unsigned long long)((bytes + (1u << 20) - 1) >> 20),
        (unsigned long long)(d->pressure.limit_bytes >> 20), (unsigned long long)(most >> 20));
}

int tl_trees_begin(struct tl_daemon *d, int fd, const char *path, uint64_t bytes, uint64_t *taken)
{
    struct tl_trees *t = &d->values.trees;
    char folder[4096];
    struct tl_error ignored;
    *taken = 0;
    if (tl_tree_folder_of(fd, path, folder, sizeof folder) != 0)
        return 0; /* a file of memory, but not of a tree */
    add_folder(t, folder);
    bytes = (bytes + PAGE - 1) / PAGE * PAGE;
    int rc = tl_trees_room(d, bytes, &ignored);
    if (rc == 0)
        t->pending_bytes += *taken = bytes;
    return rc;
}

void tl_trees_end(struct tl_daemon *d, uint64_t taken, bool whole)
{
    struct tl_trees *t = &d->values.trees;
    check(t->pending_bytes >= taken);
    t->pending_bytes -= taken;
    t->since_bytes += whole ? taken : 0;
}
