// SPDX-License-Identifier: Apache-2.0
/* See link.h. */
#include "front/fuse/link.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* A piece of a path. */
struct span {
    const char *at;
    size_t len;
};

static void skip(struct span *s, size_t n)
{
    s->at += n;
    s->len -= n;
}

/* Path is top, or below it. */
static bool at_or_below(struct span path, const char *top)
{
    size_t len = strlen(top);
    while (len > 0 && top[len - 1] == '/')
        len--;
    return path.len >= len && memcmp(path.at, top, len) == 0 && (path.len == len || path.at[len] == '/');
}

/* Takes "/", "./" and "../" off the front. How many "..". */
static uint32_t skip_dots(struct span *s)
{
    uint32_t ups = 0;
    for (;;) {
        while (s->len > 0 && s->at[0] == '/')
            skip(s, 1);
        const char *slash = memchr(s->at, '/', s->len);
        size_t len = slash != NULL ? (size_t)(slash - s->at) : s->len;
        bool up = len == 2 && memcmp(s->at, "..", 2) == 0;
        if (!up && !(len == 1 && s->at[0] == '.'))
            return ups;
        ups += up ? 1 : 0;
        skip(s, len);
    }
}

/* Directories of the kernel's own, which the source shows empty wherever they are mounted. These are their places on every
 * Linux system; a list that is the same on all nodes gives links that are the same on all nodes. */
static bool shown_empty(const struct tl_link_place *place, struct span path)
{
    return at_or_below(path, "/proc") || at_or_below(path, "/sys") || at_or_below(path, "/dev") ||
           at_or_below(path, place->mountpoint);
}

/* What of the target lies below the top of the mount. False: the target is to be left as it is. */
static bool below_top(const struct tl_link_place *place, struct span target, struct span *rest)
{
    bool whole = strcmp(place->root, "/") == 0;
    *rest = target;
    if (target.at[0] != '/')
        return whole && skip_dots(rest) > place->depth; /* above / there is / */
    while (rest->len > 1 && rest->at[1] == '/')
        skip(rest, 1);
    if (shown_empty(place, *rest) || !at_or_below(*rest, place->root))
        return false;
    if (!whole)
        skip(rest, strlen(place->root));
    return skip_dots(rest) == 0 || whole;
}

static bool append(char *out, size_t *used, const char *bytes, size_t len)
{
    if (len > TL_LINK_MAX - *used)
        return false;
    memcpy(out + *used, bytes, len);
    *used += len;
    return true;
}

int tl_link_inside(const struct tl_link_place *place, const char *target, size_t len, char out[TL_LINK_MAX])
{
    check(len >= 1 && len <= TL_LINK_MAX);
    size_t used = 0;
    struct span rest;
    if (!below_top(place, (struct span){target, len}, &rest)) {
        bool fits = append(out, &used, target, len);
        check(fits);
        return (int)len;
    }
    bool fits = true;
    for (uint32_t i = 0; fits && i < place->depth; i++)
        fits = append(out, &used, "../", 3);
    if (rest.len > 0)
        fits = fits && append(out, &used, rest.at, rest.len);
    else if (used > 0)
        used--; /* the slash */
    else
        fits = append(out, &used, ".", 1);
    return fits ? (int)used : -ENAMETOOLONG;
}
