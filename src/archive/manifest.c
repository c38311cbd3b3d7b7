// SPDX-License-Identifier: Apache-2.0
#include "archive/manifest.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static void put_path(FILE *f, const char *path)
{
    for (const char *p = path; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        if (c <= ' ' || c == 127 || c == '%')
            fprintf(f, "%%%02X", c);
        else
            putc(c, f);
    }
}

/* %XX undone, up to the end of the line. 0, -EBADMSG. */
static int get_path(const char *text, char *out, size_t size)
{
    size_t n = 0;
    for (; *text != '\n' && *text != '\0'; text++) {
        unsigned c = (unsigned char)*text;
        if (c == '%' && sscanf(text + 1, "%2X", &c) == 1)
            text += 2;
        if (n + 1 >= size || c == 0)
            return -EBADMSG;
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return 0;
}

int tl_manifest_begin(struct tl_manifest *m)
{
    m->file = open_memstream(&m->text, &m->len);
    return m->file != NULL ? 0 : -ENOMEM;
}

void tl_manifest_head(struct tl_manifest *m, const char *source, bool all)
{
    fputs("tiercel-archive 1\nsource ", m->file);
    put_path(m->file, source);
    fprintf(m->file, "\nholds %s\n", all ? "all" : "profile");
}

void tl_manifest_add(struct tl_manifest *m, const struct tl_manifest_line *line)
{
    fprintf(m->file, "%c %04o %" PRId64 " %" PRIu64 " %s ", line->type, line->mode & TL_MANIFEST_MODE, line->mtime_ns,
            line->size_bytes, line->digest != NULL ? line->digest : "-");
    put_path(m->file, line->path);
    if (line->target != NULL) {
        putc(' ', m->file);
        put_path(m->file, line->target);
    }
    putc('\n', m->file);
    m->count++;
}

int tl_manifest_end(struct tl_manifest *m)
{
    fprintf(m->file, "end %" PRIu64 "\n", m->count);
    bool failed = ferror(m->file) != 0;
    failed |= fclose(m->file) != 0;
    m->file = NULL;
    return failed ? -ENOMEM : 0;
}

void tl_manifest_fini(struct tl_manifest *m)
{
    if (m->file != NULL)
        fclose(m->file);
    free(m->text);
    *m = (struct tl_manifest){0};
}

int tl_manifest_read_head(const char *text, char *source, bool *all, const char **rest)
{
    static const char first[] = "tiercel-archive 1\nsource ", whole[] = "holds all\n", part[] = "holds profile\n";
    if (strncmp(text, first, sizeof first - 1) != 0)
        return -EBADMSG;
    text += sizeof first - 1;
    int rc = get_path(text, source, PATH_MAX);
    text += strcspn(text, "\n");
    text += *text == '\n';
    *all = strncmp(text, whole, sizeof whole - 1) == 0;
    if (rc != 0 || (!*all && strncmp(text, part, sizeof part - 1) != 0))
        return -EBADMSG;
    *rest = text + (*all ? sizeof whole : sizeof part) - 1;
    return 0;
}

void tl_manifest_difference(const char *a, const char *b, char *out, size_t size)
{
    size_t same = 0, line = 0;
    for (; a[same] != '\0' && a[same] == b[same]; same++)
        if (a[same] == '\n')
            line = same + 1;
    const char *path = a[line] != '\0' ? a + line : b + line;
    for (int i = 0; i < 5 && *path != '\n' && *path != '\0'; i++) { /* type, permissions, time, size, digest */
        path += strcspn(path, " \n");
        path += *path == ' ';
    }
    snprintf(out, size, "%.*s", (int)strcspn(path, " \n"), path);
}

void tl_manifest_id(const char *text, size_t len, char out[TL_MANIFEST_ID_SIZE])
{
    unsigned char digest[32];
    crypto_generichash(digest, sizeof digest, (const unsigned char *)text, len, NULL, 0);
    sodium_bin2hex(out, TL_MANIFEST_ID_SIZE, digest, sizeof digest);
}
