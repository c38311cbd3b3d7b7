// SPDX-License-Identifier: Apache-2.0
/* The start of a program whose file, script's interpreter or loader is served: made again with the words that the kernel would
 * have given the interpreter. As front/preload/stub_exec.c does it from inside. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "front/inject/inject.h"
#include "front/preload/ask.h"
#include "front/preload/program.h"

#define WORDS_MAX  (3 * TL_SCRIPTS_MAX + 4)
#define ARGUMENTS  131072u /* as many as we are ready to copy */
#define READ_AHEAD 64u     /* pointers read at once */

/* What is to be started instead: path, then words in the place of the first argument. */
struct start {
    char path[PATH_MAX];
    char *words[WORDS_MAX]; /* malloc'd; in order */
    size_t count;
    bool changed;
};

/* Puts a word before the others. */
static bool put_first(struct start *s, const char *text)
{
    char *copy = s->count < WORDS_MAX ? strdup(text) : NULL;
    if (copy == NULL)
        return false;
    memmove(s->words + 1, s->words, s->count * sizeof s->words[0]);
    s->words[0] = copy;
    s->count++;
    return true;
}

/* Where path leads, filled. True if that is a place of ours. */
static bool locate(struct tl_inject *in, pid_t pid, int dir, const char *path, bool follow, struct tl_walk *walk)
{
    struct stat st;
    enum tl_place_kind kind;
    if (tl_inject_place(in, pid, dir, path, follow ? TL_WALK_FOLLOW : 0, &kind, walk) != 0 || kind == TL_PLACE_AS_IS ||
        strcmp(walk->real, path) == 0)
        return false;
    if (kind == TL_PLACE_SERVED && stat(walk->real, &st) == 0 && tl_ask_needed(&st) &&
        tl_served_fill(in->served, walk->real) != 0)
        return false; /* what cannot be filled is tried by its own name */
    return true;
}

/* The first argument of the program itself, for a loader that is told it. */
static void first_argument(pid_t pid, uint64_t argv, const char *path, char out[PATH_MAX])
{
    uint64_t first = 0;
    if (argv == 0 || tl_memory_get(pid, argv, &first, sizeof first) != 0 || first == 0 ||
        tl_memory_text(pid, first, out) != 0)
        memcpy(out, path, strlen(path) + 1);
}

/* 0: started by its interpreter, in *name now; 1: to be started as it is, at s->path; -errno. */
static int step(struct tl_inject *in, const struct seccomp_notif *n, uint64_t argv, char name[PATH_MAX], int dir,
                bool follow, struct start *s)
{
    static _Thread_local struct tl_walk walk, inner_walk;
    static _Thread_local struct tl_program p;
    char own[PATH_MAX];
    pid_t pid = (pid_t)n->pid;
    bool ours = locate(in, pid, dir, name, follow, &walk);
    const char *file = ours ? walk.real : name;
    memcpy(s->path, file, strlen(file) + 1);
    s->changed = s->changed || ours;
    if (!ours && name[0] != '/') {
        char base[PATH_MAX + 64];
        bool in_tree;
        if (!tl_inject_directory(in, pid, dir, base, &in_tree) || strlen(base) + strlen(name) + 2 > sizeof base)
            return 1;
        strcat(strcat(base, "/"), name);
        tl_program_inspect(&p, AT_FDCWD, base);
    } else {
        tl_program_inspect(&p, AT_FDCWD, file);
    }
    if (p.kind == TL_PROGRAM_OTHER)
        return 1;
    bool inner = locate(in, pid, AT_FDCWD, p.interpreter, true, &inner_walk);
    if (!inner && (p.kind == TL_PROGRAM_DYNAMIC || !s->changed))
        return 1;
    if (p.kind == TL_PROGRAM_DYNAMIC) { /* the loader takes a name without a slash for a library */
        if (s->count == 0)
            first_argument(pid, argv, name, own);
        else
            memcpy(own, s->words[0], strlen(s->words[0]) + 1);
        if (s->count > 0) {
            free(s->words[0]);
            memmove(s->words, s->words + 1, --s->count * sizeof s->words[0]);
        }
        bool fits = put_first(s, file) && put_first(s, own) && put_first(s, "--argv0") && put_first(s, p.interpreter);
        memcpy(s->path, inner_walk.real, strlen(inner_walk.real) + 1);
        s->changed = true;
        return fits ? 1 : -ENOMEM;
    }
    if (s->count > 0) { /* the interpreter's own first word gives way to the file that it is */
        free(s->words[0]);
        memmove(s->words, s->words + 1, --s->count * sizeof s->words[0]);
    }
    const char *script = dir != AT_FDCWD && name[0] != '/' ? walk.path : name;
    bool fits = put_first(s, script) && (p.word == NULL || put_first(s, p.word)) && put_first(s, p.interpreter);
    s->changed = true;
    memcpy(name, p.interpreter, strlen(p.interpreter) + 1);
    return fits ? 0 : -ENOMEM;
}

/* The pointers of the old arguments from the second on; malloc'd. */
static int read_arguments(pid_t pid, uint64_t argv, uint64_t **out, size_t *count)
{
    uint64_t *list = NULL;
    for (size_t n = 0; argv != 0 && n < ARGUMENTS; n++) {
        if (n % READ_AHEAD == 0) {
            uint64_t *grown = realloc(list, (n + READ_AHEAD) * sizeof *list);
            if (grown == NULL)
                break;
            list = grown;
        }
        if (tl_memory_get(pid, argv + n * sizeof *list, list + n, sizeof *list) != 0)
            break;
        if (list[n] == 0) {
            *out = list;
            *count = n;
            return 0;
        }
    }
    free(list);
    *out = NULL;
    *count = 0;
    return argv == 0 ? 0 : -E2BIG;
}

/* The new words and the old arguments as the process' memory: a list of pointers, then the texts. */
static int write_start(const struct start *s, const uint64_t *old, size_t old_count, struct tl_again *again,
                       size_t pointers[WORDS_MAX])
{
    size_t kept = old_count > 1 ? old_count - 1 : 0, at = (s->count + kept + 1) * sizeof(uint64_t);
    size_t size = at + strlen(s->path) + 1;
    for (size_t i = 0; i < s->count; i++)
        size += strlen(s->words[i]) + 1;
    again->bytes = calloc(1, size);
    if (again->bytes == NULL)
        return -ENOMEM;
    again->len = size;
    for (size_t i = 0; i < s->count; i++) {
        uint64_t offset = at;
        memcpy(again->bytes + i * sizeof offset, &offset, sizeof offset);
        pointers[i] = i * sizeof offset;
        memcpy(again->bytes + at, s->words[i], strlen(s->words[i]) + 1);
        at += strlen(s->words[i]) + 1;
    }
    if (kept > 0)
        memcpy(again->bytes + s->count * sizeof *old, old + 1, kept * sizeof *old);
    memcpy(again->bytes + at, s->path, strlen(s->path) + 1);
    again->args[0].offset = at;
    again->pointers = pointers;
    again->pointer_count = s->count;
    return 0;
}

static struct tl_reply start(struct tl_inject *in, const struct seccomp_notif *n, uint64_t argv, struct start *s)
{
    bool at = n->data.nr == SYS_execveat;
    struct tl_again again = {.args = {{at ? 1 : 0, 0}, {at ? 2 : 1, 0}, {-1, 0}}};
    size_t pointers[WORDS_MAX], old_count = 0;
    uint64_t *old = NULL;
    struct tl_reply reply = {.kind = TL_REPLY_NONE};
    if (s->count == 0)
        return tl_again_path(in, n, at ? 1 : 0, s->path) ? reply : (struct tl_reply){.kind = TL_REPLY_GO_ON};
    int rc = read_arguments((pid_t)n->pid, argv, &old, &old_count);
    if (rc == 0)
        rc = write_start(s, old, old_count, &again, pointers);
    if (rc != 0)
        reply = (struct tl_reply){.kind = TL_REPLY_VALUE, .value = rc};
    else if (!tl_again(in, n, &again))
        reply.kind = TL_REPLY_GO_ON;
    free(old);
    free(again.bytes);
    return reply;
}

struct tl_reply tl_inject_exec(struct tl_inject *in, const struct seccomp_notif *n, int dir, const char *path,
                               bool follow)
{
    tl_hear_take_time(); /* files may have to be filled, and native ones may lie on a slow file system */
    char name[PATH_MAX];
    struct start s = {.count = 0, .changed = false};
    uint64_t argv = n->data.args[n->data.nr == SYS_execveat ? 2 : 1];
    struct tl_reply reply = {.kind = TL_REPLY_GO_ON};
    int rc = 0;
    memcpy(name, path, strlen(path) + 1);
    for (int depth = 0; rc == 0 && depth < TL_SCRIPTS_MAX; depth++) {
        rc = step(in, n, argv, name, dir, follow, &s);
        dir = AT_FDCWD;
        follow = true;
    }
    if (rc <= 0)
        reply = (struct tl_reply){.kind = TL_REPLY_VALUE, .value = rc == 0 ? -ELOOP : rc};
    else if (s.changed)
        reply = start(in, n, argv, &s);
    while (s.count > 0)
        free(s.words[--s.count]);
    return reply;
}
