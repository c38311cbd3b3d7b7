// SPDX-License-Identifier: Apache-2.0
/* Which nodes are near each other: from a topology file of people, or from Slurm's switches. */
#include <ctype.h>
#include <errno.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/tier.h"

static const char space[] = " \t\r\v\f";

static void forget_groups(struct cli_nodes *nodes)
{
    for (size_t i = 0; i < nodes->count; i++) {
        free(nodes->list[i].group);
        nodes->list[i].group = NULL;
    }
}

/* ---- a topology file ---- */

/* Nodes of one host are a list: a host may run several, on different ports. */
struct topology {
    struct cli_nodes *nodes;
    const char *path;
    struct hsearch_data hosts; /* host -> its first node's rank */
    size_t *next;              /* of the same host; nodes->count: none */
    unsigned *line_of;         /* by the first node's rank: where the host is named; 0: not yet */
    unsigned line;
};

static int take_memory(struct topology *t, struct tiercel_error *err)
{
    size_t n = t->nodes->count;
    t->next = calloc(n, sizeof *t->next);
    t->line_of = calloc(n, sizeof *t->line_of);
    if (t->next == NULL || t->line_of == NULL || hcreate_r(2 * n + 16, &t->hosts) == 0)
        return cli_error(err, -ENOMEM, "%s: out of memory", t->path);
    for (size_t i = n; i-- > 0;) { /* backwards, so that a host leads to its first node */
        ENTRY entry = {.key = t->nodes->list[i].host, .data = (void *)i}, *found;
        t->next[i] = n;
        if (hsearch_r(entry, FIND, &found, &t->hosts) != 0) {
            t->next[i] = (size_t)(uintptr_t)found->data;
            found->data = (void *)i;
        } else if (hsearch_r(entry, ENTER, &found, &t->hosts) == 0) {
            return cli_error(err, -ENOMEM, "%s: out of memory", t->path);
        }
    }
    return 0;
}

static int take_host(struct topology *t, const char *group, char *host, struct tiercel_error *err)
{
    ENTRY key = {.key = host}, *found;
    if (hsearch_r(key, FIND, &found, &t->hosts) == 0)
        return cli_error(err, -EINVAL, "%s:%u: %.100s: is not in the node list; name its hosts as they are there",
                         t->path, t->line, host);
    size_t first = (size_t)(uintptr_t)found->data;
    if (t->line_of[first] != 0)
        return cli_error(err, -EINVAL, "%s:%u: %.100s: is on line %u already; a host is in one group", t->path, t->line,
                         host, t->line_of[first]);
    t->line_of[first] = t->line;
    for (size_t i = first; i < t->nodes->count; i = t->next[i]) {
        struct cli_node *n = &t->nodes->list[i];
        if (n->group != NULL && strcmp(n->group, group) != 0)
            return cli_error(err, -EINVAL, "%s:%u: %.100s: is in group %s here, and in %s in the node list", t->path,
                             t->line, host, group, n->group);
        if (n->group == NULL && (n->group = strdup(group)) == NULL)
            return cli_error(err, -ENOMEM, "%s: out of memory", t->path);
    }
    return 0;
}

/* One line, which is cut up in place. */
static int take_line(struct topology *t, char *line, struct tiercel_error *err)
{
    char *save = NULL;
    line[strcspn(line, "#")] = '\0';
    const char *group = strtok_r(line, space, &save);
    if (group == NULL)
        return 0;
    const char *wrong = cli_group_check(group);
    if (wrong != NULL)
        return cli_error(err, -EINVAL, "%s:%u: %.100s: %s", t->path, t->line, group, wrong);
    char *host = strtok_r(NULL, space, &save);
    if (host == NULL)
        return cli_error(err, -EINVAL, "%s:%u: group %.64s has no host; write `group host...` a line", t->path, t->line,
                         group);
    int rc = 0;
    for (; rc == 0 && host != NULL; host = strtok_r(NULL, space, &save))
        rc = take_host(t, group, host, err);
    return rc;
}

static int take_file(struct topology *t, char *text, struct tiercel_error *err)
{
    int rc = take_memory(t, err);
    while (rc == 0 && text != NULL) { /* a round a line */
        char *next = strchr(text, '\n');
        if (next != NULL)
            *next++ = '\0';
        t->line++;
        rc = take_line(t, text, err);
        text = next;
    }
    for (size_t i = 0; rc == 0 && i < t->nodes->count; i++) {
        ENTRY key = {.key = t->nodes->list[i].host}, *found;
        if (hsearch_r(key, FIND, &found, &t->hosts) != 0 && t->line_of[(size_t)(uintptr_t)found->data] == 0)
            rc = cli_error(err, -EINVAL, "%s: %s is missing; put every host of the node list in a group", t->path,
                           t->nodes->list[i].host);
    }
    return rc;
}

int cli_groups_read(struct cli_nodes *nodes, const char *path, struct tiercel_error *err)
{
    struct topology t = {.nodes = nodes, .path = path};
    char *text = NULL;
    int rc = cli_text_read(&text, path, "topology file", err);
    if (rc == 0)
        rc = take_file(&t, text, err);
    hdestroy_r(&t.hosts);
    free(t.next);
    free(t.line_of);
    free(text);
    return rc;
}

/* ---- Slurm's switches ---- */

/* One range of a bracket, "7", "1-4", "007-120", against the digits of a host's name. */
static bool range_has(const char *range, size_t len, const char *digits, size_t digit_count)
{
    char *end;
    unsigned long low = strtoul(range, &end, 10), high = low;
    size_t width = (size_t)(end - range);
    if ((size_t)(end - range) < len && *end == '-')
        high = strtoul(end + 1, &end, 10);
    unsigned long value = strtoul(digits, NULL, 10);
    bool padded = width > 1 && range[0] == '0', plain = digit_count == 1 || digits[0] != '0';
    return width > 0 && value >= low && value <= high && (padded ? digit_count == width : plain);
}

/* Brackets with numbers; *pattern is behind the opening one and goes behind the closing one. */
static bool bracket_has(const char **pattern, const char *end, const char *digits, size_t digit_count)
{
    bool found = false;
    const char *p = *pattern;
    while (p < end && *p != ']') {
        size_t len = strcspn(p, ",]");
        found = found || range_has(p, len, digits, digit_count);
        p += len;
        p += p < end && *p == ',';
    }
    *pattern = p < end ? p + 1 : p;
    return found;
}

/* One item of a host list, like `rack3n[1-16]`. */
static bool item_has(const char *p, const char *end, const char *host)
{
    while (p < end && *host != '\0') {
        if (*p != '[') {
            if (*p++ != *host++)
                return false;
            continue;
        }
        size_t digits = strspn(host, "0123456789");
        p++;
        if (digits == 0 || !bracket_has(&p, end, host, digits))
            return false;
        host += digits;
    }
    return p == end && *host == '\0';
}

bool cli_hostlist_has(const char *list, size_t list_len, const char *host)
{
    const char *end = list + list_len, *item = list;
    int depth = 0;
    for (const char *p = list; p <= end; p++) {
        if (p < end && (*p == '[' || *p == ']'))
            depth += *p == '[' ? 1 : -1;
        if (p < end && !(*p == ',' && depth == 0))
            continue;
        if (item_has(item, p, host))
            return true;
        item = p + 1;
    }
    return false;
}

/* The value of `name=` in a line, up to a blank; NULL: not there. */
static const char *field(const char *line, size_t line_len, const char *name, size_t *len)
{
    const char *at = line, *end = line + line_len;
    size_t name_len = strlen(name);
    while (at < end) {
        size_t word = strcspn(at, " \t\n");
        if (word > name_len && strncmp(at, name, name_len) == 0 && at[name_len] == '=') {
            *len = word - name_len - 1;
            return at + name_len + 1;
        }
        at += word;
        at += strspn(at, " \t\r");
        at += at < end && *at == '\n';
    }
    return NULL;
}

/* Gives the nodes below this switch its name as their group, if it is a leaf. */
static int take_switch(struct cli_nodes *nodes, const char *line, size_t line_len, size_t *grouped)
{
    size_t name_len, list_len, ignored;
    const char *name = field(line, line_len, "SwitchName", &name_len);
    const char *list = field(line, line_len, "Nodes", &list_len);
    if (name == NULL || list == NULL || field(line, line_len, "Switches", &ignored) != NULL)
        return 0;
    for (size_t i = 0; i < nodes->count; i++) {
        struct cli_node *n = &nodes->list[i];
        if (n->group != NULL || !cli_hostlist_has(list, list_len, n->host))
            continue;
        n->group = strndup(name, name_len);
        if (n->group == NULL)
            return -ENOMEM;
        if (cli_group_check(n->group) == NULL)
            ++*grouped;
    }
    return 0;
}

int cli_groups_switches(struct cli_nodes *nodes, const char *text, struct tiercel_error *err)
{
    size_t grouped = 0;
    int rc = 0;
    for (const char *line = text; rc == 0 && *line != '\0';) { /* a round a line */
        size_t len = strcspn(line, "\n");
        rc = take_switch(nodes, line, len, &grouped);
        line += len + (line[len] == '\n');
    }
    bool several = false; /* one switch for all tells nothing */
    for (size_t i = 1; grouped == nodes->count && i < nodes->count; i++)
        several = several || strcmp(nodes->list[i].group, nodes->list[0].group) != 0;
    if (rc == 0 && several)
        return 1;
    forget_groups(nodes);
    if (rc == 0 && grouped > 0 && grouped < nodes->count)
        cli_say("scontrol show topology: %zu of %zu nodes are below no switch, so it is not used; see --topology",
                nodes->count - grouped, nodes->count);
    return rc == 0 ? 0 : cli_error(err, rc, "groups of %zu nodes: out of memory", nodes->count);
}
