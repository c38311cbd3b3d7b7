// SPDX-License-Identifier: Apache-2.0
/* What all hooked calls have in common; see stub.h. */
#include "front/preload/stub.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "front/preload/ask.h"
#include "front/preload/path_calls.h"
#include "front/preload/stub_find.h"

/* Of the program's C library. */
extern int *__errno_location(void) __attribute__((weak));
extern char **environ __attribute__((weak));

static struct tl_paths the_paths;
static _Atomic int
    state;           /* 0: not looked yet, 1: nothing served, 2: served, 3: somebody is looking, 4: it spares calls */
static bool is_root; /* whom the kernel lets read what has no read bits */

/* ---- start ---- */

/* A copy of tl_raw_begin at the place from which the supervisor's filter lets everything pass. Without it calls are
 * slower, not wrong. */
static void use_page(void)
{
    size_t len = (size_t)(tl_raw_end - (const char *)(uintptr_t)tl_raw_begin);
    long page = tl_raw(SYS_mmap, (long)TL_PAGE_ADDRESS, (long)TL_PAGE_SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (page != (long)TL_PAGE_ADDRESS)
        return;
    tl_copy((void *)TL_PAGE_ADDRESS, (const void *)(uintptr_t)tl_raw_begin, len);
    if (tl_raw3(SYS_mprotect, page, (long)TL_PAGE_SIZE, PROT_READ | PROT_EXEC) == 0)
        tl_raw = (tl_raw_fn)TL_PAGE_ADDRESS;
    else
        tl_raw2(SYS_munmap, page, (long)TL_PAGE_SIZE);
}

static const char *variable(const char *name)
{
    size_t n = tl_length(name);
    for (char **e = &environ != NULL ? environ : NULL; e != NULL && *e != NULL; e++)
        if (tl_same(*e, name, n) && (*e)[n] == '=')
            return *e + n + 1;
    return NULL;
}

const struct tl_paths *tl_stub_paths(void)
{
    int now = atomic_load(&state), expected = 0;
    if (now != 0)
        return now == 2 ? &the_paths : NULL;
    if (&environ == NULL || environ == NULL || !atomic_compare_exchange_strong(&state, &expected, 3))
        return NULL; /* before the C library is ready: only loaders run then */
    const char *words = variable(TL_PATHS_VARIABLE);
    bool served = words != NULL && tl_paths_parse(&the_paths, words);
    bool spares = !served && variable(TL_SPARE_VARIABLE) != NULL;
    if (spares || (served && the_paths.notified))
        use_page();
    is_root = tl_raw2(SYS_geteuid, 0, 0) == 0;
    atomic_store(&state, served ? 2 : spares ? 4 : 1);
    return served ? &the_paths : NULL;
}

bool tl_stub_opens(void)
{
    return tl_stub_paths() != NULL || atomic_load(&state) == 4;
}

static __attribute__((constructor)) void start(void)
{
    tl_stub_paths();
}

long tl_stub_libc(long rc)
{
    if (rc >= 0 || rc < -4095)
        return rc;
    if (__errno_location != NULL)
        *__errno_location() = (int)-rc;
    return -1;
}

/* ---- the calls ---- */

struct request {
    const struct tl_paths *paths;
    const struct tl_path_call *call;
    long tried; /* what the kernel said to the call as it is; 0: it has not been asked */
    long nr, a[6];
};

/* A call where nothing is at another place than its name says. If the supervisor only fills (rung "fault"), it has not heard of
 * an open for reading from our page. A file without content may not be read: then the call is made where it is heard. */
static long call_plain(const struct request *r)
{
    long rc = r->tried;
    if (rc == 0)
        rc = tl_raw_often(r->nr, r->a[0], r->a[1], r->a[2], r->a[3], r->a[4], r->a[5]);
    bool reads = r->call != NULL && (r->call->kind == TL_PATH_OPEN || r->call->kind == TL_PATH_ACCESS);
    if (rc == -EACCES && reads && atomic_load(&state) == 4)
        rc = tl_raw_begin(r->nr, r->a[0], r->a[1], r->a[2], r->a[3], r->a[4], r->a[5]);
    return rc;
}

static const char *path_of(const struct request *r)
{
    return (const char *)(uintptr_t)r->a[r->call->path];
}

static int dir_of(const struct request *r)
{
    return r->call->dir < 0 ? AT_FDCWD : (int)r->a[r->call->dir];
}

/* openat2's flags are in memory. */
static long flags_of(const struct request *r)
{
    if (r->nr == SYS_openat2) {
        const struct open_how *how = (const struct open_how *)(uintptr_t)r->a[2];
        return how != NULL ? (long)how->flags : 0;
    }
    if (r->nr == SYS_creat)
        return O_CREAT | O_WRONLY | O_TRUNC;
    return r->call->flags < 0 ? 0 : r->a[r->call->flags];
}

static bool follows(const struct request *r)
{
    return tl_path_call_follows(r->call, flags_of(r));
}

/* The call, with another path if there is one. */
static inline __attribute__((always_inline)) long pass(const struct request *r, const struct tl_found *f)
{
    struct request other;
    if (f->place != TL_FOUND_AS_IS) {
        other = *r;
        other.a[r->call->path] = tl_arg(f->real);
        if (r->call->dir >= 0)
            other.a[r->call->dir] = AT_FDCWD;
        r = &other;
    }
    return tl_raw_often(r->nr, r->a[0], r->a[1], r->a[2], r->a[3], r->a[4], r->a[5]);
}

/* What an open that would change something says on a read-only file system. 0: it would not. */
static long refuse_open(const struct request *r, struct tl_found *f)
{
    long flags = flags_of(r), rc = 0;
    if (f->place == TL_FOUND_IN_TREE)
        rc = tl_refuse_open(f->real, flags, follows(r));
    if ((rc == -ENOENT || rc == -EROFS) && tl_find_again(r->paths, dir_of(r), path_of(r), follows(r), f))
        rc = f->place == TL_FOUND_IN_TREE ? tl_refuse_open(f->real, flags, follows(r)) : 0;
    return rc;
}

/* The real path of an open descriptor, or of a relative path: "" if not in a tree. */
static bool tree_path_of(const struct request *r, char out[PATH_MAX])
{
    struct tl_found f;
    const char *path = path_of(r);
    if (tl_find_is_proc(path)) { /* the kernel's links may lead into a tree, along the way or at the end */
        if (tl_find_by_walk(r->paths, "/", path, true, &f) != 0)
            return false;
        long n = f.place == TL_FOUND_IN_TREE
                     ? 0
                     : tl_raw4(SYS_readlinkat, AT_FDCWD, tl_arg(f.real), tl_arg(out), PATH_MAX - 1);
        if (n > 0) {
            out[n] = '\0';
            return tl_find_is_tree(r->paths, out);
        }
    } else if (tl_find_is_tree(r->paths, path)) {
        tl_copy(out, path, tl_length(path) + 1);
        return true;
    } else if (tl_find(r->paths, dir_of(r), path, true, true, &f) != 0) {
        return false;
    }
    if (f.place != TL_FOUND_IN_TREE)
        return false;
    tl_copy(out, f.real, tl_length(f.real) + 1);
    return true;
}

/* An open that met a file without content: has it filled. If that fails, the source itself is opened. */
static long fill_and_open(const struct request *r, const struct tl_found *f, long fd)
{
    char real[PATH_MAX];
    if (f->place == TL_FOUND_IN_TREE)
        tl_copy(real, f->real, tl_length(f->real) + 1);
    else if (f->place == TL_FOUND_ELSEWHERE || !tree_path_of(r, real))
        return fd;
    int rc = tl_ask_fill_if_needed(r->paths, real);
    if (rc == 0)
        return fd >= 0 ? fd : pass(r, f);
    if (fd >= 0)
        tl_raw2(SYS_close, fd, 0);
    tl_paths_reverse(r->paths, real, sizeof real);
    long own = tl_raw4(SYS_openat, AT_FDCWD, tl_arg(real), flags_of(r) & ~(long)O_CREAT, 0);
    if (own >= 0)
        return own;
    return rc == -EACCES || rc == -EPERM || rc == -ENOENT ? rc : -EIO;
}

static long call_open(const struct request *r, struct tl_found *f)
{
    struct request without;
    struct stat st;
    long rc = refuse_open(r, f);
    if (rc != 0)
        return rc;
    if (f->place == TL_FOUND_IN_TREE && r->nr != SYS_openat2 && r->call->flags >= 0 && (flags_of(r) & O_CREAT) != 0) {
        without = *r;
        without.a[r->call->flags] &= ~(long)O_CREAT;
        r = &without;
    }
    rc = r->tried != 0 ? r->tried : pass(r, f);
    if (rc == -ENOENT && tl_find_again(r->paths, dir_of(r), path_of(r), follows(r), f))
        rc = pass(r, f);
    if (rc == -EACCES)
        return fill_and_open(r, f, rc);
    bool ours = f->place == TL_FOUND_IN_TREE ||
                (f->place == TL_FOUND_AS_IS && path_of(r) != NULL &&
                 (path_of(r)[0] != '/' || tl_find_is_proc(path_of(r)) || tl_find_is_tree(r->paths, path_of(r))));
    if (rc >= 0 && is_root && ours && (flags_of(r) & (O_PATH | O_DIRECTORY)) == 0 &&
        tl_raw2(SYS_fstat, rc, tl_arg(&st)) == 0 && tl_ask_needed(&st))
        return fill_and_open(r, f, rc);
    return rc;
}

static long look(const struct request *r, struct tl_found *f)
{
    long rc = r->tried != 0 ? r->tried : pass(r, f);
    if (rc == -ENOENT && tl_find_again(r->paths, dir_of(r), path_of(r), follows(r), f))
        rc = pass(r, f);
    return rc;
}

/* What has no content yet shows the permissions that it will have. */
static long call_look(const struct request *r, struct tl_found *f)
{
    long rc = look(r, f);
    if (rc != 0 || (f->place == TL_FOUND_AS_IS && path_of(r) != NULL && path_of(r)[0] == '/'))
        return rc;
    if (r->nr == SYS_stat || r->nr == SYS_lstat)
        tl_stub_mend_stat(r->paths, (struct stat *)(uintptr_t)r->a[1]);
    else if (r->nr == SYS_newfstatat)
        tl_stub_mend_stat(r->paths, (struct stat *)(uintptr_t)r->a[2]);
    else if (r->nr == SYS_statx)
        tl_stub_mend_statx(r->paths, (struct statx *)(uintptr_t)r->a[4]);
    return rc;
}

static long call_access(const struct request *r, struct tl_found *f)
{
    long rc = look(r, f), mode = r->a[r->call->path + 1];
    char real[PATH_MAX];
    struct stat st;
    if (rc == -EACCES && (mode & R_OK) != 0 && tree_path_of(r, real) &&
        tl_raw4(SYS_newfstatat, AT_FDCWD, tl_arg(real), tl_arg(&st), 0) == 0 && tl_stub_readable(r->paths, &st)) {
        struct request rest = *r;
        rest.a[r->call->path + 1] &= ~(long)R_OK;
        rc = pass(&rest, f);
    }
    return rc == 0 && (mode & W_OK) != 0 && tree_path_of(r, real) ? -EROFS : rc;
}

/* Links of /proc show trees: they are told as the program knows them. */
static long call_link(const struct request *r, struct tl_found *f)
{
    char text[PATH_MAX];
    struct request whole = *r;
    char *out = (char *)(uintptr_t)r->a[r->call->path + 1];
    long size = (int)r->a[r->call->path + 2];
    if (out == NULL || size <= 0) /* the kernel's to refuse */
        return pass(r, f);
    whole.a[r->call->path + 1] = tl_arg(text);
    whole.a[r->call->path + 2] = sizeof text - 1;
    long n = look(&whole, f);
    if (n <= 0)
        return n;
    text[n] = '\0';
    if (f->place != TL_FOUND_IN_TREE && text[0] == '/')
        n = (long)tl_paths_reverse(r->paths, text, sizeof text);
    n = n < size ? n : size;
    tl_copy(out, text, (size_t)n);
    return n;
}

static long call_change(const struct request *r, struct tl_found *f)
{
    struct tl_found second = {.place = TL_FOUND_AS_IS};
    const struct tl_path_call *c = r->call;
    if (f->place == TL_FOUND_IN_TREE)
        return tl_refuse_change(f->real, c->kind == TL_PATH_MAKE);
    if (c->path2 < 0)
        return pass(r, f);
    const char *path2 = (const char *)(uintptr_t)r->a[c->path2];
    int rc = tl_find(r->paths, c->dir2 < 0 ? AT_FDCWD : (int)r->a[c->dir2], path2, false, true, &second);
    if (rc != 0 || second.place != TL_FOUND_IN_TREE)
        return rc != 0 ? rc : pass(r, f);
    return tl_refuse_change(second.real, c->nr == SYS_link || c->nr == SYS_linkat);
}

/* openat2 that must not leave its directory: the kernel finds in place what is inside. It may have to be filled. */
static bool stays_within(const struct request *r)
{
    const struct open_how *how = (const struct open_how *)(uintptr_t)r->a[2];
    return r->nr == SYS_openat2 && how != NULL && (how->resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT)) != 0;
}

static long call_within(const struct request *r)
{
    const struct open_how *how = (const struct open_how *)(uintptr_t)r->a[2];
    struct tl_found none = {.place = TL_FOUND_AS_IS};
    char base[PATH_MAX];
    bool in_tree;
    struct tl_walk w;
    struct stat st;
    long rc = pass(r, &none);
    if (rc != -EACCES && !(rc >= 0 && is_root && (how->flags & O_PATH) == 0 &&
                           tl_raw2(SYS_fstat, rc, tl_arg(&st)) == 0 && tl_ask_needed(&st)))
        return rc;
    if (!tl_find_start(r->paths, dir_of(r), base, &in_tree) || !in_tree ||
        tl_paths_walk(r->paths, base, path_of(r),
                      TL_WALK_FOLLOW | ((how->resolve & RESOLVE_IN_ROOT) != 0 ? TL_WALK_IN_ROOT : TL_WALK_BENEATH),
                      NULL, &w) != 0 ||
        w.pair == NULL)
        return rc;
    int filled = tl_ask_fill_if_needed(r->paths, w.real);
    if (filled == 0)
        return rc >= 0 ? rc : pass(r, &none);
    if (rc >= 0)
        tl_raw2(SYS_close, rc, 0);
    return filled == -EACCES || filled == -EPERM ? filled : -EIO;
}

static inline __attribute__((always_inline)) long call(const struct request *r)
{
    if (r->paths == NULL || r->call == NULL)
        return call_plain(r);
    if (stays_within(r))
        return call_within(r);
    if (r->call->kind == TL_PATH_EXEC) {
        bool at = r->nr == SYS_execveat;
        char *const *argv = (char *const *)(uintptr_t)r->a[at ? 2 : 1];
        char *const *envp = (char *const *)(uintptr_t)r->a[at ? 3 : 2];
        return tl_stub_exec(dir_of(r), path_of(r), argv, envp, at ? (int)r->a[4] : 0);
    }
    bool changes = r->call->kind == TL_PATH_CHANGE || r->call->kind == TL_PATH_MAKE;
    struct tl_found found;
    int rc = tl_find(r->paths, dir_of(r), path_of(r), follows(r),
                     changes || (r->call->kind == TL_PATH_OPEN && tl_path_writes(flags_of(r))), &found);
    if (rc != 0)
        return rc;
    switch ((enum tl_path_call_kind)r->call->kind) {
    case TL_PATH_OPEN: return call_open(r, &found);
    case TL_PATH_ACCESS: return call_access(r, &found);
    case TL_PATH_LINK: return call_link(r, &found);
    case TL_PATH_CHANGE:
    case TL_PATH_MAKE: return call_change(r, &found);
    case TL_PATH_LOOK:
    case TL_PATH_ENTER:
    case TL_PATH_EXEC: break;
    }
    return call_look(r, &found);
}

long tl_stub_call(long nr, long a, long b, long c, long d, long e, long f)
{
    const struct request r = {tl_stub_paths(), tl_path_call_find(nr), 0, nr, {a, b, c, d, e, f}};
    return call(&r);
}

long tl_stub_call_after(long tried, long nr, long a, long b, long c, long d)
{
    const struct request r = {tl_stub_paths(), tl_path_call_find(nr), tried, nr, {a, b, c, d, 0, 0}};
    return call(&r);
}

bool tl_stub_is_plain(const char *path, bool opens)
{
    const struct tl_paths *p = tl_stub_paths();
    if (p == NULL)
        return true;
    if (path == NULL || (opens && is_root))
        return false;
    unsigned text = tl_paths_text(path);
    if (path[0] != '/')
        return (text & TL_TEXT_UP) == 0;
    return text == TL_TEXT_PLAIN && tl_paths_match(p, path) == NULL;
}

/* A path that is not looked at for what is served may be in a tree all the same: by the tree's name, or by a link of /proc. */
static bool in_tree_by_name(const struct tl_paths *p, const char *path, char out[PATH_MAX])
{
    if (tl_find_is_tree(p, path)) {
        tl_copy(out, path, tl_length(path) + 1);
        return true;
    }
    long n = tl_find_is_proc(path) ? tl_raw4(SYS_readlinkat, AT_FDCWD, tl_arg(path), tl_arg(out), PATH_MAX - 1) : 0;
    out[n > 0 ? n : 0] = '\0';
    return n > 0 && tl_find_is_tree(p, out);
}

static int locate(int dir, const char *path, bool follow, bool careful, char out[PATH_MAX])
{
    const struct tl_paths *p = tl_stub_paths();
    struct tl_found f;
    struct stat st;
    int rc = p != NULL ? tl_find(p, dir, path, follow, careful, &f) : 0;
    if (p == NULL || rc != 0)
        return rc;
    bool as_is = f.place == TL_FOUND_AS_IS;
    long there = tl_raw4(SYS_newfstatat, as_is ? dir : AT_FDCWD, tl_arg(as_is ? path : f.real), tl_arg(&st),
                         follow ? 0 : AT_SYMLINK_NOFOLLOW);
    if (there == -ENOENT && tl_find_again(p, dir, path, follow, &f))
        there = tl_raw4(SYS_newfstatat, AT_FDCWD, tl_arg(f.real), tl_arg(&st), 0);
    if (there == 0 && f.place == TL_FOUND_IN_TREE && tl_ask_needed(&st))
        rc = tl_ask_fill(p, f.real);
    else if (there == 0 && f.place == TL_FOUND_AS_IS && tl_ask_needed(&st) && in_tree_by_name(p, path, out))
        rc = tl_ask_fill(p, out);
    if (f.place == TL_FOUND_AS_IS || rc != 0) /* what cannot be filled is tried by its own name */
        return 0;
    tl_copy(out, f.real, tl_length(f.real) + 1);
    return 1;
}

int tl_stub_locate(int dir, const char *path, bool follow, char out[PATH_MAX])
{
    return locate(dir, path, follow, false, out);
}

int tl_stub_locate_file(int dir, const char *path, bool follow, char out[PATH_MAX])
{
    return locate(dir, path, follow, true, out);
}
