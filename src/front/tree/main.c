// SPDX-License-Identifier: Apache-2.0
/* tiercel-tree: the trees of a tier. Used by `tiercel tree`.
 *
 *   tiercel-tree fill --socket CONTROL_SOCKET PATH    makes the tree of PATH complete
 *   tiercel-tree list [--json]
 *   tiercel-tree remove PATH | --all | --unused       --unused: says which are left, and who uses them
 *
 * The tier is the one of $TIERCEL_NAME, or the job's. Exit codes: 0, 1 (with a sentence), 2 (usage). */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/time.h"
#include "front/tree/internal.h"

#define SHOW_EACH_NS (TL_NS_PER_S / 10)

static int report(const struct tl_error *err)
{
    fprintf(stderr, "tiercel: %s\n", err->msg);
    return 1;
}

/* ---- fill ---- */

static void show(uint64_t files, uint64_t bytes, const char *end)
{
    fprintf(stderr, "\r%" PRIu64 " files, %" PRIu64 " MB in shared memory%s", files, bytes / 1000000, end);
}

static void told(void *ctx, uint64_t files, uint64_t bytes)
{
    uint64_t *seen = ctx; /* files, bytes, when it was last shown */
    uint64_t now = tl_time_mono_ns();
    seen[0] = files;
    seen[1] = bytes;
    if (now - seen[2] < SHOW_EACH_NS || !isatty(2))
        return;
    seen[2] = now;
    show(files, bytes, " ");
}

static int fill(const char *socket, const char *path)
{
    struct tl_tree *t;
    struct tl_error err = {.code = 0};
    uint64_t seen[3] = {0, 0, 0};
    char real[PATH_MAX];
    if (realpath(path, real) == NULL) {
        tl_error_set(&err, -errno, "%s: %s", path, strerror(errno));
        return report(&err);
    }
    int rc = tl_tree_open(&t, socket, real, &err);
    if (rc != 0)
        return report(&err);
    rc = tl_tree_fill(t, told, seen, &err);
    if (seen[2] != 0)
        show(seen[0], seen[1], "\n");
    if (rc == 0)
        printf("%s\n", tl_tree_path(t));
    tl_tree_close(t);
    return rc == 0 ? 0 : report(&err);
}

/* ---- list ---- */

static void print_tree(const char *dir, const struct tl_index_head *index, bool json, bool first)
{
    uint64_t bytes = 0, waiting = 0, taken = tl_index_taken(index);
    int64_t left = atomic_load(&index->left);
    for (uint64_t i = 0; i < index->count; i++)
        bytes += index->files[i].size_bytes;
    waiting = left > 0 ? (uint64_t)left : 0;
    if (!json) {
        printf("%-9s %8" PRIu64 " files %9" PRIu64 " MB, in memory %9" PRIu64 " MB  %s\n",
               waiting == 0 ? "complete" : "in part", index->count, bytes / 1000000, taken / 1000000, index->source);
        return;
    }
    printf("%s{\"source\": \"", first ? "" : ", ");
    for (const char *s = index->source; *s != '\0'; s++)
        printf(*s == '"' || *s == '\\' ? "\\%c" : (unsigned char)*s < 0x20 ? "\\u%04x" : "%c", *s);
    printf("\", \"complete\": %s, \"files\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"memory_bytes\": %" PRIu64
           ", \"missing\": %" PRIu64 ", \"path\": \"%s/root\"}",
           waiting == 0 ? "true" : "false", index->count, bytes, taken, waiting, dir);
}

static int list(bool json)
{
    struct tl_place p;
    struct tl_error err = {.code = 0};
    if (tl_place_find(&p, NULL, "/", false, &err) != 0 && err.code != -ENOENT)
        return report(&err);
    DIR *dir = err.code == 0 ? opendir(p.tier_dir) : NULL;
    bool first = true;
    if (json)
        printf("{\"trees\": [");
    for (struct dirent *e = dir != NULL ? readdir(dir) : NULL; e != NULL; e = readdir(dir)) {
        char path[PATH_MAX];
        struct tl_index_head *index;
        snprintf(path, sizeof path, "%s/%s", p.tier_dir, e->d_name);
        if (e->d_name[0] == '.' || strncmp(e->d_name, "new-", 4) == 0 || tl_index_map(path, &index) != 0)
            continue;
        print_tree(path, index, json, first);
        first = false;
        tl_index_unmap(index);
    }
    if (dir != NULL)
        closedir(dir);
    if (json)
        printf("]}\n");
    return fflush(stdout) == 0 ? 0 : 1;
}

/* ---- remove ---- */

static int remove_all(void)
{
    struct tl_place p;
    struct tl_error err = {.code = 0};
    if (tl_place_find(&p, NULL, "/", false, &err) != 0)
        return err.code == -ENOENT ? 0 : report(&err);
    int lock = tl_place_lock(&p, &err);
    if (lock < 0)
        return report(&err);
    tl_place_erase(p.tier_dir);
    close(lock);
    return 0;
}

/* Takes the tree away, unless somebody uses it. */
static bool remove_unused(const struct tl_place *p, const char *name)
{
    char path[PATH_MAX], beside[PATH_MAX];
    struct tl_index_head *index;
    snprintf(path, sizeof path, "%s/%s", p->tier_dir, name);
    snprintf(beside, sizeof beside, "%s/new-%d", p->tier_dir, (int)getpid());
    if (tl_index_map(path, &index) != 0)
        return true;
    bool imported = index->names == TL_INDEX_IMPORTED; /* nobody could make it anew */
    int user = imported ? 0 : tl_place_user(path);
    bool gone = !imported && user == 0 && rename(path, beside) == 0;
    if (gone)
        atomic_store(&index->gone, 1);
    else if (imported)
        fprintf(stderr,
                "tiercel: the tree of %s came from an archive, and stays, %" PRIu64
                " MB in shared memory; else: tiercel tree remove %s\n",
                index->source, tl_index_taken(index) / 1000000, index->source);
    else
        fprintf(stderr,
                "tiercel: the tree of %s stays, %" PRIu64
                " MB in shared memory: process %d uses it, or may; later: tiercel tree remove %s\n",
                index->source, tl_index_taken(index) / 1000000, user, index->source);
    tl_index_unmap(index);
    if (gone)
        tl_place_erase(beside);
    return gone;
}

/* Under the tier's lock, so that nobody opens one meanwhile. */
static int remove_all_unused(void)
{
    struct tl_place p;
    struct tl_error err = {.code = 0};
    bool all = true;
    if (tl_place_find(&p, NULL, "/", false, &err) != 0)
        return err.code == -ENOENT ? 0 : report(&err);
    int lock = tl_place_lock(&p, &err);
    if (lock < 0)
        return report(&err);
    tl_place_tidy(&p);
    DIR *dir = opendir(p.tier_dir);
    for (struct dirent *e = dir != NULL ? readdir(dir) : NULL; e != NULL; e = readdir(dir))
        if (e->d_name[0] != '.' && strncmp(e->d_name, "import-", 7) != 0 && !remove_unused(&p, e->d_name))
            all = false;
    if (dir != NULL)
        closedir(dir);
    if (all) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s/lock", p.tier_dir);
        (void)unlink(path);
        (void)rmdir(p.tier_dir); /* an import may be on its way there */
    }
    close(lock);
    return 0;
}

static int remove_one(const char *path)
{
    struct tl_error err = {.code = 0};
    char real[PATH_MAX];
    return tl_tree_remove(realpath(path, real) != NULL ? real : path, &err) == 0 ? 0 : report(&err);
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "fill") == 0 && strcmp(argv[2], "--socket") == 0)
        return fill(argv[3], argv[4]);
    if (argc >= 2 && argc <= 3 && strcmp(argv[1], "list") == 0 && (argc == 2 || strcmp(argv[2], "--json") == 0))
        return list(argc == 3);
    if (argc == 3 && strcmp(argv[1], "remove") == 0)
        return strcmp(argv[2], "--all") == 0      ? remove_all()
               : strcmp(argv[2], "--unused") == 0 ? remove_all_unused()
                                                  : remove_one(argv[2]);
    fprintf(stderr, "usage: tiercel-tree fill --socket SOCKET PATH | list [--json] | remove PATH | --all | --unused\n"
                    "People use it through: tiercel tree\n");
    return 2;
}
