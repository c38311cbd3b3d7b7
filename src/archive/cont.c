// SPDX-License-Identifier: Apache-2.0
/* What exporting and importing a container have in common: names, digests, sentences. */
#include "archive/cont.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- names ---- */

static bool plain(unsigned char c, bool first)
{
    return c < 128 && (isalnum(c) || strchr("-_:+=@", c) != NULL || (c == '.' && !first)) && c != '\0';
}

void tl_cont_name_escape(char out[TL_CONT_NAME_SIZE], struct tiercel_bytes name)
{
    const unsigned char *bytes = name.at;
    char *at = out;
    for (size_t i = 0; i < name.len && i < TIERCEL_KEY_MAX; i++) {
        if (plain(bytes[i], i == 0))
            *at++ = (char)bytes[i];
        else
            at += snprintf(at, 4, "%%%02X", bytes[i]);
    }
    if (name.len == 0)
        *at++ = '%';
    *at = '\0';
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int tl_cont_name_parse(const char *text, size_t len, uint8_t *out)
{
    int n = 0;
    if (len == 1 && text[0] == '%')
        return 0;
    for (size_t i = 0; i < len;) {
        if (n == (int)TIERCEL_KEY_MAX)
            return -1;
        if (text[i] != '%') {
            if (!plain((unsigned char)text[i], i == 0))
                return -1;
            out[n++] = (uint8_t)text[i++];
            continue;
        }
        int high = i + 2 < len ? hex_digit(text[i + 1]) : -1, low = i + 2 < len ? hex_digit(text[i + 2]) : -1;
        if (high < 0 || low < 0)
            return -1;
        out[n++] = (uint8_t)(high << 4 | low);
        i += 3;
    }
    return len > 0 ? n : -1;
}

void tl_cont_oid_text(char out[48], struct tiercel_oid oid)
{
    if (oid.hi == 0)
        snprintf(out, 48, "%" PRIu64, oid.lo);
    else
        snprintf(out, 48, "%" PRIu64 ".%" PRIu64, oid.hi, oid.lo);
}

/* ---- paths ---- */

/* Digits up to `end`, without leading zeros: a number has one way to be written. */
static bool parse_number(const char *text, const char *end, uint64_t *out)
{
    char digits[24], *rest;
    size_t len = (size_t)(end - text);
    if (len == 0 || len >= sizeof digits || !isdigit((unsigned char)text[0]) || (text[0] == '0' && len > 1))
        return false;
    memcpy(digits, text, len);
    digits[len] = '\0';
    errno = 0;
    unsigned long long n = strtoull(digits, &rest, 10);
    *out = n;
    return *rest == '\0' && errno == 0;
}

static bool parse_oid(const char *text, const char *end, struct tiercel_oid *out)
{
    const char *dot = memchr(text, '.', (size_t)(end - text));
    out->hi = 0;
    if (dot == NULL)
        return parse_number(text, end, &out->lo);
    return parse_number(text, dot, &out->hi) && parse_number(dot + 1, end, &out->lo) && out->hi != 0;
}

/* "weights.array-8", perhaps with ".extents" */
static bool parse_akey(const char *text, struct tl_cont_path *out)
{
    static const char extents[] = ".extents";
    const char *end = text + strlen(text), *dot = end;
    out->extents = strlen(text) > sizeof extents && strcmp(end - (sizeof extents - 1), extents) == 0;
    end -= out->extents ? sizeof extents - 1 : 0;
    while (dot > text && (dot == end || *dot != '.'))
        dot--;
    if (*dot != '.')
        return false;
    int n = tl_cont_name_parse(text, (size_t)(dot - text), out->akey);
    out->akey_len = n >= 0 ? (size_t)n : 0;
    if (n < 0)
        return false;
    if (strcmp(dot, ".value") == 0) /* and nothing behind it */
        return true;
    const char *number = dot + strlen(".array-");
    return strncmp(dot, ".array-", strlen(".array-")) == 0 && parse_number(number, end, &out->record_size) &&
           out->record_size > 0;
}

bool tl_cont_path_parse(const char *path, struct tl_cont_path *out)
{
    static const char epoch[] = "epoch-";
    *out = (struct tl_cont_path){0};
    if (strncmp(path, epoch, sizeof epoch - 1) != 0)
        return false;
    const char *number = path + sizeof epoch - 1, *first = strchr(number, '/');
    const char *second = first != NULL ? strchr(first + 1, '/') : NULL;
    if (second == NULL || !parse_number(number, first, &out->epoch) || !parse_oid(first + 1, second, &out->oid))
        return false;
    out->digest = strcmp(second + 1, ".digest") == 0;
    if (out->digest)
        return true;
    const char *third = strchr(second + 1, '/');
    int n = third != NULL ? tl_cont_name_parse(second + 1, (size_t)(third - second - 1), out->dkey) : -1;
    out->dkey_len = n >= 0 ? (size_t)n : 0;
    return n >= 0 && strchr(third + 1, '/') == NULL && parse_akey(third + 1, out);
}

/* ---- digests ---- */

int tl_cont_digest_init(struct tl_cont_digest *d)
{
    *d = (struct tl_cont_digest){.all = tl_hasher_new(0)};
    return d->all != NULL ? 0 : -ENOMEM;
}

void tl_cont_digest_fini(struct tl_cont_digest *d)
{
    tl_hasher_free(d->hasher);
    tl_hasher_free(d->all);
    *d = (struct tl_cont_digest){0};
}

int tl_cont_digest_value(struct tl_cont_digest *d, const char *path)
{
    if (d->hasher == NULL)
        d->hasher = tl_hasher_new(0);
    if (d->hasher == NULL)
        return -ENOMEM;
    tl_hasher_add(d->hasher, path, strlen(path) + 1);
    d->next = UINT64_MAX; /* so that the first bytes say where they lie */
    return 0;
}

void tl_cont_digest_bytes(struct tl_cont_digest *d, uint64_t at, const void *bytes, size_t len)
{
    if (at != d->next) {
        uint8_t place[8];
        for (unsigned i = 0; i < sizeof place; i++)
            place[i] = (uint8_t)(at >> 8 * i);
        tl_hasher_add(d->hasher, place, sizeof place);
    }
    tl_hasher_add(d->hasher, bytes, len);
    d->next = at + len;
}

static void hash_text(struct tl_hash h, char out[33])
{
    snprintf(out, 33, "%016" PRIx64 "%016" PRIx64, h.hi, h.lo);
}

void tl_cont_digest_object(struct tl_cont_digest *d, const char *path, char out[33])
{
    hash_text(d->hasher != NULL ? tl_hasher_digest(d->hasher) : (struct tl_hash){0}, out);
    tl_hasher_free(d->hasher);
    d->hasher = NULL;
    tl_cont_digest_other(d, path, out, 32);
}

void tl_cont_digest_other(struct tl_cont_digest *d, const char *path, const void *bytes, size_t len)
{
    tl_hasher_add(d->all, path, strlen(path) + 1);
    if (len > 0)
        tl_hasher_add(d->all, bytes, len);
}

void tl_cont_digest_end(struct tl_cont_digest *d, char out[33])
{
    hash_text(tl_hasher_digest(d->all), out);
}

/* ---- sentences ---- */

int tl_cont_why(struct tl_error *err, int rc, const char *what)
{
    const char *why = tiercel_why(NULL);
    if (why[0] != '\0') /* it names the thing itself */
        return tl_error_set(err, rc, "%s", why);
    return tl_error_set(err, rc, "%s: %s", what, tiercel_strerror(rc));
}

void tl_cont_progress(const char *verb, uint64_t bytes, bool done)
{
    static bool shown;
    static uint64_t last;
    if (!isatty(STDERR_FILENO) || (done && !shown) || (!done && shown && bytes - last < (16u << 20)))
        return;
    fprintf(stderr, "\r\033[K");
    if (!done)
        fprintf(stderr, "%s %" PRIu64 " MiB", verb, bytes >> 20);
    fflush(stderr);
    shown = !done;
    last = bytes;
}
