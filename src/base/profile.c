// SPDX-License-Identifier: Apache-2.0
#include "base/profile.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

#define MAGIC        "tiercel-profile "
#define VERSION      "1"
#define BUCKETS      (1u << 14)
#define NUMBER_MAX   UINT32_MAX
#define LINE_EXTRA   32u /* bytes of a line beside its path */
#define PROGRAM_WORD "program "
#define MERGED_WORD  "merged "

void tl_profile_fini(struct tl_profile *p)
{
    free(p->lines);
    free(p->paths);
    free(p->buckets);
    memset(p, 0, sizeof *p);
}

/* ---- lines ---- */

static uint32_t bucket_of(enum tl_profile_kind kind, const char *path, size_t len)
{
    return (uint32_t)(tl_hash64(path, len, (uint64_t)kind) % BUCKETS);
}

/* Room for one line more. */
static int grow(struct tl_profile *p, size_t path_len)
{
    if (p->buckets == NULL && (p->buckets = calloc(BUCKETS, sizeof *p->buckets)) == NULL)
        return -ENOMEM;
    if (p->line_count == p->line_room) {
        uint32_t room = p->line_room == 0 ? 256 : p->line_room * 2;
        struct tl_profile_line *lines = realloc(p->lines, room * sizeof *lines);
        if (lines == NULL)
            return -ENOMEM;
        p->lines = lines;
        p->line_room = room;
    }
    if (p->path_bytes + path_len > p->path_room) {
        uint64_t room = p->path_room == 0 ? 65536 : p->path_room * 2;
        char *paths = realloc(p->paths, room);
        if (paths == NULL)
            return -ENOMEM;
        p->paths = paths;
        p->path_room = room;
    }
    return 0;
}

static bool path_valid(const char *path, size_t len)
{
    bool slash_at_end = len > 1 && path[len - 1] == '/';
    return len > 0 && len <= TL_PROFILE_PATH_MAX && path[0] == '/' && !slash_at_end && memchr(path, 0, len) == NULL;
}

/* Is b's range within a's? */
static bool covers(const struct tl_profile_line *a, uint32_t first, uint32_t count)
{
    uint64_t a_end = a->count == 0 ? UINT64_MAX : (uint64_t)a->first + a->count;
    uint64_t end = count == 0 ? UINT64_MAX : (uint64_t)first + count;
    return a->first <= first && end <= a_end;
}

int tl_profile_add(struct tl_profile *p, enum tl_profile_kind kind, const char *path, size_t path_len, uint32_t first,
                   uint32_t count)
{
    bool blob = kind == TL_PROFILE_LIST || kind == TL_PROFILE_ENTRY || kind == TL_PROFILE_XATTRS;
    if (!path_valid(path, path_len) || (!blob && kind != TL_PROFILE_FILE) || (blob && (first != 0 || count != 0)) ||
        (uint64_t)first + count > NUMBER_MAX)
        return -EINVAL;
    if (p->line_count == TL_PROFILE_LINES_MAX ||
        p->path_bytes + path_len + (uint64_t)LINE_EXTRA * p->line_count > TL_PROFILE_SIZE_MAX / 2)
        return -EFBIG; /* half: escaped, each byte may take two */
    int rc = grow(p, path_len);
    if (rc != 0)
        return rc;
    uint32_t bucket = bucket_of(kind, path, path_len), same = 0;
    for (uint32_t at = p->buckets[bucket]; at != 0; at = p->lines[at - 1].same) {
        const struct tl_profile_line *l = &p->lines[at - 1];
        if (l->kind == kind && l->path_len == path_len && memcmp(p->paths + l->path_at, path, path_len) == 0 &&
            covers(l, first, count))
            return 0;
    }
    same = p->buckets[bucket];
    p->buckets[bucket] = p->line_count + 1;
    memcpy(p->paths + p->path_bytes, path, path_len);
    p->lines[p->line_count++] = (struct tl_profile_line){.path_at = p->path_bytes,
                                                         .path_len = (uint16_t)path_len,
                                                         .kind = (uint8_t)kind,
                                                         .first = first,
                                                         .count = count,
                                                         .same = same};
    p->path_bytes += path_len;
    return 0;
}

int tl_profile_merge(struct tl_profile *p, const struct tl_profile *older)
{
    for (uint32_t i = 0; i < older->line_count; i++) {
        const struct tl_profile_line *l = &older->lines[i];
        int rc = tl_profile_add(p, (enum tl_profile_kind)l->kind, older->paths + l->path_at, l->path_len, l->first,
                                l->count);
        if (rc == -ENOMEM)
            return rc;
        if (rc == -EFBIG)
            break;
    }
    p->merged = older->merged > NUMBER_MAX - p->merged ? NUMBER_MAX : p->merged + older->merged;
    return 0;
}

/* ---- text in ---- */

struct text {
    const char *at, *end; /* what is left */
    uint32_t line;
};

/* The next line without its newline. False: there is none, or its newline is missing. */
static bool next_line(struct text *t, const char **line, size_t *len)
{
    const char *stop = t->at < t->end ? memchr(t->at, '\n', (size_t)(t->end - t->at)) : NULL;
    if (stop == NULL)
        return false;
    *line = t->at;
    *len = (size_t)(stop - t->at);
    t->at = stop + 1;
    t->line++;
    return true;
}

static bool starts(const char *line, size_t len, const char *word)
{
    return len >= strlen(word) && memcmp(line, word, strlen(word)) == 0;
}

/* A number and, unless it is the last, the blank behind it. */
static bool take_number(const char **at, const char *end, bool last, uint32_t *out)
{
    uint64_t n = 0;
    const char *start = *at;
    while (*at < end && **at >= '0' && **at <= '9' && n <= NUMBER_MAX)
        n = n * 10 + (uint64_t)(*(*at)++ - '0');
    bool padded = *at - start > 1 && *start == '0';
    if (*at == start || padded || n > NUMBER_MAX || (last ? *at != end : *at == end || *(*at)++ != ' '))
        return false;
    *out = (uint32_t)n;
    return true;
}

/* 0 with the length of the unescaped path in out, -EBADMSG. */
static int unescape(const char *at, const char *end, char out[TL_PROFILE_PATH_MAX], size_t *out_len)
{
    size_t len = 0;
    for (; at < end; at++) {
        char c = *at;
        if (c == '\\') {
            if (++at == end || (*at != 'n' && *at != '\\'))
                return -EBADMSG;
            c = *at == 'n' ? '\n' : '\\';
        }
        if (len == TL_PROFILE_PATH_MAX)
            return -EBADMSG;
        out[len++] = c;
    }
    *out_len = len;
    return 0;
}

static int parse_line(struct tl_profile *p, const char *line, size_t len)
{
    const char *at = line + 2, *end = line + len;
    char path[TL_PROFILE_PATH_MAX];
    size_t path_len = 0;
    uint32_t first = 0, count = 0;
    if (len < 3 || line[1] != ' ')
        return -EBADMSG;
    bool file = line[0] == TL_PROFILE_FILE;
    if (file && (!take_number(&at, end, false, &first) || !take_number(&at, end, false, &count)))
        return -EBADMSG;
    if (unescape(at, end, path, &path_len) != 0)
        return -EBADMSG;
    uint32_t before = p->line_count;
    int rc = tl_profile_add(p, (enum tl_profile_kind)line[0], path, path_len, first, count);
    if (rc == 0 && p->line_count == before)
        return -EBADMSG; /* said twice */
    return rc == -EINVAL ? -EBADMSG : rc;
}

static int parse_head(struct tl_profile *p, struct text *t, struct tl_error *err)
{
    const char *line;
    size_t len;
    if (!next_line(t, &line, &len) || !starts(line, len, MAGIC))
        return tl_error_set(err, -EPROTO, "not a profile: it does not begin with `" MAGIC VERSION "`");
    if (len != strlen(MAGIC VERSION) || memcmp(line, MAGIC VERSION, len) != 0)
        return tl_error_set(err, -EPROTO,
                            "a profile of version %.*s, this is a program for version " VERSION
                            "; remove it (tiercel profile rm), the next start makes a new one",
                            (int)(len - strlen(MAGIC) < 20 ? len - strlen(MAGIC) : 20), line + strlen(MAGIC));
    if (!next_line(t, &line, &len) || !starts(line, len, PROGRAM_WORD) ||
        len - strlen(PROGRAM_WORD) > TL_PROFILE_PROGRAM_MAX || memchr(line, 0, len) != NULL)
        return tl_error_set(err, -EBADMSG, "line 2 of the profile does not name a program");
    memcpy(p->program, line + strlen(PROGRAM_WORD), len - strlen(PROGRAM_WORD));
    bool good = next_line(t, &line, &len) && starts(line, len, MERGED_WORD);
    const char *at = good ? line + strlen(MERGED_WORD) : NULL;
    if (!good || !take_number(&at, line + len, true, &p->merged))
        return tl_error_set(err, -EBADMSG, "line 3 of the profile does not say how many starts it comes from");
    return 0;
}

int tl_profile_parse(struct tl_profile *out, const char *text, size_t len, struct tl_error *err)
{
    struct text t = {.at = text, .end = text + len};
    const char *line;
    size_t line_len;
    memset(out, 0, sizeof *out);
    if (len > TL_PROFILE_SIZE_MAX)
        return tl_error_set(err, -EFBIG, "a profile of more than %u MiB", TL_PROFILE_SIZE_MAX >> 20);
    int rc = parse_head(out, &t, err);
    while (rc == 0 && t.at < t.end) {
        rc = next_line(&t, &line, &line_len) ? parse_line(out, line, line_len) : -EBADMSG;
        if (rc == -EBADMSG)
            tl_error_set(err, rc, "the profile is damaged at or after line %u", t.line);
        else if (rc != 0)
            tl_error_set(err, rc, "the profile has more than %u lines, or is too long", TL_PROFILE_LINES_MAX);
    }
    if (rc != 0)
        tl_profile_fini(out);
    return rc;
}

/* ---- text out ---- */

static size_t escape(char *out, const char *path, size_t len)
{
    size_t used = 0;
    for (size_t i = 0; i < len; i++) {
        if (path[i] == '\n' || path[i] == '\\')
            out[used++] = '\\';
        out[used++] = path[i] == '\n' ? 'n' : path[i];
    }
    return used;
}

int tl_profile_write(const struct tl_profile *p, char **text, size_t *len)
{
    size_t room = sizeof p->program + 128 + 2 * p->path_bytes + (size_t)LINE_EXTRA * p->line_count;
    char *out = malloc(room);
    if (out == NULL)
        return -ENOMEM;
    size_t used =
        (size_t)snprintf(out, room, MAGIC VERSION "\n" PROGRAM_WORD "%s\n" MERGED_WORD "%u\n", p->program, p->merged);
    for (uint32_t i = 0; i < p->line_count; i++) {
        const struct tl_profile_line *l = &p->lines[i];
        out[used++] = (char)l->kind;
        out[used++] = ' ';
        if (l->kind == TL_PROFILE_FILE)
            used += (size_t)snprintf(out + used, room - used, "%u %u ", l->first, l->count);
        used += escape(out + used, p->paths + l->path_at, l->path_len);
        out[used++] = '\n';
    }
    check(used <= room);
    *text = out;
    *len = used;
    return 0;
}
