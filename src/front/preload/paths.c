// SPDX-License-Identifier: Apache-2.0
/* Paths to trees; see paths.h. The walk is the kernel's: name by name, links put in front of what is left. Names are looked
 * up at their real place, but ".." and absolute links are followed in the program's own view. */
#include "front/preload/paths.h"

#include <errno.h>
#include <fcntl.h>

#include "front/preload/raw.h"

/* Cuts the word that begins at *at off its ':'; NULL at the end. */
static char *next_word(char **at)
{
    char *word = *at;
    if (word == NULL)
        return NULL;
    for (char *c = word; *c != '\0'; c++) {
        if (*c == ':') {
            *c = '\0';
            *at = c + 1;
            return word;
        }
    }
    *at = NULL;
    return word;
}

bool tl_paths_parse(struct tl_paths *p, const char *words)
{
    size_t len = tl_length(words);
    if (len >= sizeof p->text)
        return false;
    tl_copy(p->text, words, len + 1);
    char *at = p->text;
    const char *flags = next_word(&at);
    p->socket = next_word(&at);
    p->folder = next_word(&at);
    p->count = 0;
    p->absent = p->notified = p->audited = false;
    for (; p->folder != NULL && *flags != '\0'; flags++) {
        p->absent = p->absent || *flags == 'a';
        p->notified = p->notified || *flags == 'n';
        p->audited = p->audited || *flags == 'l';
    }
    while (at != NULL && p->count < TL_PATHS_MAX) {
        const char *path = next_word(&at);
        const char *tree = next_word(&at);
        const char *index = next_word(&at);
        if (index == NULL || path[0] != '/' || tree[0] != '/')
            return false;
        bool link = tl_paths_match_tree(p, tree) != NULL;
        p->pairs[p->count++] = (struct tl_path_pair){path, tree, index, tl_length(path), tl_length(tree), link};
    }
    return p->folder != NULL && at == NULL && p->count > 0;
}

static bool is_below(const char *path, const char *dir, size_t len)
{
    return tl_same(path, dir, len) && (path[len] == '/' || path[len] == '\0');
}

const struct tl_path_pair *tl_paths_match(const struct tl_paths *p, const char *path)
{
    for (size_t i = 0; i < p->count; i++)
        if (is_below(path, p->pairs[i].path, p->pairs[i].path_len))
            return &p->pairs[i];
    return NULL;
}

const struct tl_path_pair *tl_paths_match_tree(const struct tl_paths *p, const char *path)
{
    for (size_t i = 0; i < p->count; i++)
        if (is_below(path, p->pairs[i].tree, p->pairs[i].tree_len))
            return &p->pairs[i];
    return NULL;
}

size_t tl_paths_reverse(const struct tl_paths *p, char *path, size_t size)
{
    size_t len = tl_length(path);
    const struct tl_path_pair *pair = tl_paths_match_tree(p, path);
    if (pair == NULL || len - pair->tree_len + pair->path_len >= size)
        return len;
    char rest[PATH_MAX];
    size_t rest_len = len - pair->tree_len;
    if (rest_len >= sizeof rest)
        return len;
    tl_copy(rest, path + pair->tree_len, rest_len + 1);
    tl_copy(path, pair->path, pair->path_len);
    tl_copy(path + pair->path_len, rest, rest_len + 1);
    return pair->path_len + rest_len;
}

bool tl_paths_map(const struct tl_path_pair *pair, const char *path, char real[PATH_MAX])
{
    size_t rest = tl_length(path) - pair->path_len;
    if (pair->tree_len + rest >= PATH_MAX)
        return false;
    tl_copy(real, pair->tree, pair->tree_len);
    tl_copy(real + pair->tree_len, path + pair->path_len, rest + 1);
    return true;
}

static unsigned name_text(const char *name)
{
    if (name[0] == '/')
        return TL_TEXT_EMPTY_NAMES;
    if (name[0] != '.')
        return TL_TEXT_PLAIN;
    if (name[1] == '/' || name[1] == '\0')
        return TL_TEXT_EMPTY_NAMES;
    return name[1] == '.' && (name[2] == '/' || name[2] == '\0') ? TL_TEXT_UP : TL_TEXT_PLAIN;
}

unsigned tl_paths_text(const char *path)
{
    unsigned text = path[0] != '/' ? name_text(path) : TL_TEXT_PLAIN;
    for (const char *c = path; *c != '\0'; c++)
        if (*c == '/')
            text |= name_text(c + 1);
    return text;
}

/* Takes the last name off an absolute path. */
static void drop_name(char *path, size_t *len)
{
    while (*len > 0 && path[*len - 1] != '/')
        --*len;
    if (*len > 0)
        --*len;
    path[*len] = '\0';
}

/* Appends a name to a path without a slash at its end ("" is the root). */
static bool add_name(char *path, size_t *len, const char *name, size_t n)
{
    if (*len + n + 2 > PATH_MAX)
        return false;
    path[(*len)++] = '/';
    tl_copy(path + *len, name, n);
    *len += n;
    path[*len] = '\0';
    return true;
}

static bool set_start(char *path, size_t *len, const char *start)
{
    *len = tl_length(start);
    if (*len >= PATH_MAX)
        return false;
    tl_copy(path, start, *len + 1);
    if (*len == 1)
        *len = 0; /* "/" */
    path[*len] = '\0';
    return true;
}

static size_t name_length(const char *s)
{
    size_t n = 0;
    while (s[n] != '\0' && s[n] != '/')
        n++;
    return n;
}

static bool is_dot(const char *name, size_t n)
{
    return n == 1 && name[0] == '.';
}

static bool is_up(const char *name, size_t n)
{
    return n == 2 && name[0] == '.' && name[1] == '.';
}

bool tl_paths_touch(const struct tl_paths *p, const char *start, const char *path)
{
    char at[PATH_MAX];
    size_t len = 0;
    if (!set_start(at, &len, path[0] == '/' ? "/" : start))
        return false;
    if (tl_paths_match(p, at) != NULL)
        return true;
    for (const char *name = path; *name != '\0';) {
        size_t n = name_length(name);
        if (is_up(name, n))
            drop_name(at, &len);
        else if (n > 0 && !is_dot(name, n) && !add_name(at, &len, name, n))
            return false;
        if (tl_paths_match(p, at) != NULL)
            return true;
        name += n + (name[n] == '/');
    }
    return false;
}

/* ---- the walk ---- */

struct walking {
    const struct tl_paths *paths;
    const char *proc_self;
    unsigned how;
    size_t len, floor; /* of out->path; what it may not go above */
    int links;
    bool ended;          /* at a link that is meant itself */
    char rest[PATH_MAX]; /* still to go */
    size_t at;           /* in rest */
    struct tl_walk *out;
};

/* out->real and out->pair from out->path. */
static int place(struct walking *w)
{
    struct tl_walk *out = w->out;
    out->pair = tl_paths_match(w->paths, out->path);
    if (out->pair != NULL)
        return tl_paths_map(out->pair, out->path, out->real) ? 0 : -ENAMETOOLONG;
    static const char self[] = "/proc/self";
    size_t len = sizeof self - 1, self_len = w->proc_self != NULL ? tl_length(w->proc_self) : 0;
    if (self_len > 0 && is_below(out->path, self, len)) {
        if (w->len - len + self_len >= PATH_MAX)
            return -ENAMETOOLONG;
        tl_copy(out->real, w->proc_self, self_len);
        tl_copy(out->real + self_len, out->path + len, w->len - len + 1);
        return 0;
    }
    tl_copy(out->real, w->len == 0 ? "/" : out->path, w->len == 0 ? 2 : w->len + 1);
    return 0;
}

/* Whether the path is a directory because something below it is served, be it there or not. */
static bool is_above(const struct tl_paths *p, const char *path, size_t len)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->pairs[i].path_len > len && is_below(p->pairs[i].path, path, len))
            return true;
    return false;
}

/* Puts a link's target in front of what is left. */
static int follow(struct walking *w, const char *target, size_t n)
{
    char rest[PATH_MAX];
    size_t left = tl_length(w->rest + w->at);
    if (++w->links > TL_LINKS_MAX || (w->how & TL_WALK_NO_LINKS) != 0)
        return -ELOOP;
    if (n == 0 || n + 1 + left >= sizeof rest)
        return n == 0 ? -ENOENT : -ENAMETOOLONG;
    tl_copy(rest, target, n);
    rest[n] = '/'; /* a slash too many does no harm in between; at the end it would */
    tl_copy(rest + n + (left > 0), w->rest + w->at, left + 1);
    size_t all = n + (left > 0) + left;
    tl_copy(w->rest, rest, all);
    w->rest[all] = '\0';
    w->at = 0;
    if (target[0] != '/') {
        drop_name(w->out->path, &w->len);
    } else if ((w->how & TL_WALK_BENEATH) != 0) {
        return -EXDEV;
    } else {
        w->len = (w->how & TL_WALK_IN_ROOT) != 0 ? w->floor : 0;
        w->out->path[w->len] = '\0';
    }
    return 0;
}

static bool is_last(const struct walking *w)
{
    const char *c = w->rest + w->at;
    while (*c == '/')
        c++;
    return *c == '\0';
}

/* The path has come to a link that is a pair of its own: on to what that names, unless the link itself is meant. */
static int pass_link(struct walking *w, bool meant)
{
    struct tl_walk *out = w->out;
    w->ended = meant;
    if (meant) {
        out->pair = NULL;
        tl_copy(out->real, out->path, w->len + 1);
        return 0;
    }
    tl_copy(out->path, out->real, tl_length(out->real) + 1);
    w->len = tl_paths_reverse(w->paths, out->path, sizeof out->path);
    return place(w);
}

/* The name just appended: a link is followed, a missing one ends the walk. */
static int look(struct walking *w)
{
    char target[PATH_MAX];
    bool last = is_last(w), slash = w->rest[w->at] == '/';
    int rc = place(w);
    bool meant = last && !slash && (w->how & TL_WALK_FOLLOW) == 0;
    if (rc == 0 && w->out->pair != NULL && w->out->pair->link && w->len == w->out->pair->path_len)
        return pass_link(w, meant);
    if (rc != 0 || (meant && (w->how & TL_WALK_EXISTING) == 0))
        return rc;
    long n = tl_raw4(SYS_readlinkat, AT_FDCWD, tl_arg(w->out->real), tl_arg(target), sizeof target - 1);
    if (n == -EINVAL || (n == -ENOENT && is_above(w->paths, w->out->path, w->len)))
        return 0; /* not a link */
    if (n == -ENOENT && last)
        return (w->how & TL_WALK_EXISTING) != 0 ? -ENOENT : 0;
    if (n < 0 || (last && !slash && (w->how & TL_WALK_FOLLOW) == 0))
        return n < 0 ? (int)n : 0;
    target[n] = '\0';
    bool proc = is_below(w->out->path, "/proc", 5);
    if (proc && (last || target[0] != '/')) /* the kernel's own links lead where no text does */
        return 0;
    if (proc)
        n = (long)tl_paths_reverse(w->paths, target, sizeof target);
    return follow(w, target, (size_t)n);
}

static int go_up(struct walking *w)
{
    if (w->len > w->floor || (w->how & (TL_WALK_BENEATH | TL_WALK_IN_ROOT)) == 0)
        drop_name(w->out->path, &w->len);
    else if ((w->how & TL_WALK_BENEATH) != 0)
        return -EXDEV;
    return 0;
}

int tl_paths_walk(const struct tl_paths *p, const char *start, const char *path, unsigned how, const char *proc_self,
                  struct tl_walk *out)
{
    struct walking w; /* its large part is not set to zero */
    w.paths = p, w.proc_self = proc_self, w.how = how, w.out = out;
    w.at = 0, w.links = 0, w.ended = false;
    size_t len = tl_length(path);
    bool from_root = path[0] == '/' && (how & TL_WALK_IN_ROOT) == 0;
    if (len >= PATH_MAX || !set_start(out->path, &w.len, from_root ? "/" : start))
        return -ENAMETOOLONG;
    if (path[0] == '/' && (how & TL_WALK_BENEATH) != 0)
        return -EXDEV;
    w.floor = from_root ? 0 : w.len;
    tl_copy(w.rest, path, len + 1);
    while (w.rest[w.at] != '\0') { /* names are bounded by PATH_MAX, links by TL_LINKS_MAX */
        const char *name = w.rest + w.at;
        size_t n = name_length(name);
        int rc = 0;
        w.at += n;
        if (is_up(name, n))
            rc = go_up(&w);
        else if (n > 0 && !is_dot(name, n))
            rc = add_name(out->path, &w.len, name, n) ? look(&w) : -ENAMETOOLONG;
        if (rc != 0)
            return rc;
        w.at += w.rest[w.at] == '/';
    }
    out->slash = len > 0 && path[len - 1] == '/';
    int rc = w.ended ? 0 : place(&w);
    if (rc == 0 && w.len == 0)
        tl_copy(out->path, "/", 2);
    return rc;
}
