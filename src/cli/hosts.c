// SPDX-License-Identifier: Apache-2.0
/* Lists of hosts as people and batch systems write them: `a,n[1-4,09],rack2n[01-16]`, or @FILE. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/tier.h"

#define BRACKETS_MAX 8 /* of one item */

/* A growing list with commas. */
struct list {
    FILE *f;
    char *text;
    size_t len;
    unsigned count;
};

static int begin(struct list *out)
{
    *out = (struct list){.count = 0};
    out->f = open_memstream(&out->text, &out->len);
    return out->f != NULL ? 0 : -ENOMEM;
}

static void put(struct list *out, const char *head, int head_len, const char *number, const char *tail, int tail_len)
{
    if (out->count++ < CLI_NODES_MAX)
        fprintf(out->f, "%s%.*s%s%.*s", out->count > 1 ? "," : "", head_len, head, number, tail_len, tail);
}

static int end(struct list *out)
{
    return fclose(out->f) == 0 && out->text != NULL ? 0 : -ENOMEM;
}

/* "7", "1-4", "007-120"; where it ends, NULL: it is none. */
static const char *range_of(const char *p, unsigned long *low, unsigned long *high, int *width)
{
    char *at;
    if (!isdigit((unsigned char)*p))
        return NULL;
    *low = *high = strtoul(p, &at, 10);
    *width = *p == '0' ? (int)(at - p) : 0;
    if (*at == '-' && isdigit((unsigned char)at[1]))
        *high = strtoul(at + 1, &at, 10);
    return *low <= *high && *high - *low < CLI_NODES_MAX ? at : NULL;
}

/* One item with its first bracket written out. 0, -EINVAL. */
static int put_item(struct list *out, const char *item, int len)
{
    const char *open = memchr(item, '[', (size_t)len), *p = open;
    const char *close = open != NULL ? memchr(open, ']', (size_t)(item + len - open)) : NULL;
    if (open == NULL)
        put(out, item, len, "", "", 0);
    while (p != NULL && (open == NULL || p != close)) {
        unsigned long low, high;
        int width;
        if (close == NULL || (p = range_of(p + 1, &low, &high, &width)) == NULL || (*p != ',' && *p != ']'))
            return -EINVAL;
        for (unsigned long n = low; n <= high; n++) {
            char number[24];
            snprintf(number, sizeof number, "%0*lu", width, n);
            put(out, item, (int)(open - item), number, close + 1, (int)(item + len - close - 1));
        }
    }
    return 0;
}

/* All items with their first brackets written out; *more: some have another one. */
static int write_out(struct list *out, const char *list, bool *more)
{
    const char *item = list;
    int depth = 0, rc = 0;
    for (const char *p = list; rc == 0; p++) {
        depth += *p == '[' ? 1 : *p == ']' ? -1 : 0;
        if (*p != 0 && !(*p == ',' && depth == 0))
            continue;
        rc = p > item ? put_item(out, item, (int)(p - item)) : -EINVAL;
        item = p + 1;
        if (*p == 0)
            break;
    }
    fflush(out->f);
    *more = out->text != NULL && strpbrk(out->text, "[]") != NULL;
    return rc;
}

static int from_file(char **out, const char *path, struct tiercel_error *err)
{
    struct cli_nodes nodes = {0};
    struct list list;
    int rc = cli_nodes_read(&nodes, path, err);
    if (rc != 0)
        return rc;
    rc = begin(&list);
    if (rc == 0) {
        for (size_t i = 0; i < nodes.count; i++)
            put(&list, nodes.list[i].host, (int)strlen(nodes.list[i].host), "", "", 0);
        rc = end(&list);
    }
    *out = list.text;
    cli_nodes_fini(&nodes);
    return rc == 0 ? 0 : cli_error(err, rc, "%s: out of memory", path);
}

int cli_hosts(char **out, const char *text, struct tiercel_error *err)
{
    if (text[0] == '@')
        return from_file(out, text + 1, err);
    char *now = strdup(text);
    bool more = true;
    int rc = now != NULL ? 0 : -ENOMEM;
    for (int i = 0; rc == 0 && more; i++) {
        struct list next;
        rc = i < BRACKETS_MAX ? begin(&next) : -EINVAL;
        if (rc != 0)
            break;
        rc = write_out(&next, now, &more);
        int ended = end(&next);
        rc = rc == 0 && next.count > CLI_NODES_MAX ? -E2BIG : rc == 0 ? ended : rc;
        free(now);
        now = next.text;
    }
    if (rc == 0) {
        *out = now;
        return 0;
    }
    free(now);
    if (rc == -E2BIG)
        return cli_error(err, rc, "%.100s: more than %d hosts", text, CLI_NODES_MAX);
    return cli_error(err, rc, "%.100s: %s", text,
                     rc == -EINVAL ? "not a list of hosts; write h1,h2,h3, or n[1-4,7], or @FILE" : strerror(-rc));
}
