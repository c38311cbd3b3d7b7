// SPDX-License-Identifier: Apache-2.0
/* Node lists: host files of people and of batch systems, and lists for this machine alone. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/tier.h"

#define FILE_SIZE_MAX (16 << 20)

void cli_nodes_fini(struct cli_nodes *nodes)
{
    for (size_t i = 0; i < nodes->count; i++) {
        free(nodes->list[i].text);
        free(nodes->list[i].host);
        free(nodes->list[i].group);
    }
    free(nodes->list);
    *nodes = (struct cli_nodes){0};
}

static int out_of_memory(struct tiercel_error *err, const char *what)
{
    return cli_error(err, -ENOMEM, "%s: out of memory", what);
}

static int add(struct cli_nodes *nodes, const char *text, const char *host, size_t host_len, const char *group)
{
    if ((nodes->count & (nodes->count - 1)) == 0) { /* at powers of two the list doubles */
        size_t room = nodes->count == 0 ? 1 : 2 * nodes->count;
        struct cli_node *list = realloc(nodes->list, room * sizeof *list);
        if (list == NULL)
            return -ENOMEM;
        nodes->list = list;
    }
    struct cli_node *n = &nodes->list[nodes->count++];
    n->text = strdup(text);
    n->host = strndup(host, host_len);
    n->group = *group != '\0' ? strdup(group) : NULL;
    return n->text != NULL && n->host != NULL && (*group == '\0' || n->group != NULL) ? 0 : -ENOMEM;
}

/* ---- one line ---- */

static const char *check_port(const char *port)
{
    char *end;
    unsigned long v = strtoul(port, &end, 10);
    bool good = isdigit((unsigned char)port[0]) && *end == '\0' && v >= 1 && v <= 65535;
    return good ? NULL : "a port must be a number from 1 to 65535";
}

static const char *check_v6(const char *text, const char **host, size_t *host_len)
{
    const char *close = strchr(text, ']');
    char plain[INET6_ADDRSTRLEN];
    struct in6_addr addr;
    if (close == NULL || (size_t)(close - text) > sizeof plain)
        return "'[' begins an IPv6 address; write [address] or [address]:port";
    *host = text + 1;
    *host_len = (size_t)(close - text) - 1;
    snprintf(plain, sizeof plain, "%.*s", (int)*host_len, *host);
    if (inet_pton(AF_INET6, plain, &addr) != 1)
        return "not an IPv6 address between the brackets";
    if (close[1] == '\0')
        return NULL;
    return close[1] == ':' ? check_port(close + 2) : "after ']' only :port may follow";
}

/* What is wrong with host[:port], or NULL, with the host's place in it. */
static const char *check_node(const char *text, const char **host, size_t *host_len)
{
    if (text[0] == '[')
        return check_v6(text, host, host_len);
    const char *colon = strchr(text, ':');
    if (colon != NULL && strchr(colon + 1, ':') != NULL)
        return "an IPv6 address needs brackets; write [address] or [address]:port";
    *host = text;
    *host_len = colon != NULL ? (size_t)(colon - text) : strlen(text);
    if (*host_len == 0)
        return "the host is missing before ':'";
    if (*host_len > 253)
        return "longer than a host name can be";
    if (text[0] == '-')
        return "a host name cannot begin with '-'";
    for (size_t i = 0; i < *host_len; i++) {
        if (!isalnum((unsigned char)text[i]) && strchr(".-_", text[i]) == NULL)
            return "a host name has letters, digits, '.', '-' and '_' only";
    }
    return colon != NULL ? check_port(colon + 1) : NULL;
}

const char *cli_group_check(const char *name)
{
    for (const char *p = name; *p != '\0'; p++)
        if (!isalnum((unsigned char)*p) && strchr(".-_:/", *p) == NULL)
            return "a group's name has letters, digits and \".-_:/\" only";
    return strlen(name) > 64 ? "a group's name has at most 64 letters" : NULL;
}

/* ---- a file ---- */

struct parser {
    struct cli_nodes *nodes;
    const char *from;
    bool once;
    unsigned line;
    unsigned *lines;           /* line of each node, for the sentence about duplicates */
    struct hsearch_data names; /* text -> rank + 1 */
};

static int bad_line(const struct parser *p, struct tiercel_error *err, const char *text, const char *what)
{
    return cli_error(err, -EINVAL, "%s:%u: %.100s: %s", p->from, p->line, text, what);
}

static int add_line(struct parser *p, const char *text, const char *group, struct tiercel_error *err)
{
    const char *host = NULL;
    size_t host_len = 0;
    const char *wrong = check_node(text, &host, &host_len);
    if (wrong != NULL)
        return bad_line(p, err, text, wrong);
    ENTRY key = {.key = (char *)(uintptr_t)text}, *found;
    if (hsearch_r(key, FIND, &found, &p->names) != 0) {
        if (p->once)
            return 0;
        char why[96];
        snprintf(why, sizeof why, "is on line %u already; a node is listed once", p->lines[(uintptr_t)found->data]);
        return bad_line(p, err, text, why);
    }
    if (p->nodes->count == CLI_NODES_MAX)
        return cli_error(err, -E2BIG, "%s: more than %d nodes; split them into several tiers", p->from, CLI_NODES_MAX);
    size_t rank = p->nodes->count;
    if (add(p->nodes, text, host, host_len, group) < 0)
        return out_of_memory(err, p->from);
    p->lines[rank] = p->line;
    ENTRY entry = {.key = p->nodes->list[rank].text, .data = (void *)rank};
    return hsearch_r(entry, ENTER, &found, &p->names) != 0 ? 0 : out_of_memory(err, p->from);
}

/* One line, which is cut up in place. */
static int parse_line(struct parser *p, char *line, struct tiercel_error *err)
{
    static const char space[] = " \t\r\v\f";
    line[strcspn(line, "#")] = '\0';
    char *text = line + strspn(line, space);
    if (*text == '\0')
        return 0;
    char *end = text + strcspn(text, space);
    char *group = end + strspn(end, space);
    *end = '\0';
    end = group + strcspn(group, space);
    char *more = end + strspn(end, space);
    const char *what = *more != '\0' ? more : cli_group_check((*end = '\0', group)) != NULL ? group : NULL;
    if (what != NULL) {
        char why[160];
        snprintf(why, sizeof why, "\"%.60s\" follows; write one host[:port] a line, and perhaps the name of a group",
                 what);
        return bad_line(p, err, text, why);
    }
    return add_line(p, text, group, err);
}

/* All nodes have a group, or none: else nobody knows what is meant. */
static int check_groups(const struct parser *p, struct tiercel_error *err)
{
    size_t with = 0;
    const struct cli_node *without = NULL;
    for (size_t i = 0; i < p->nodes->count; i++) {
        with += p->nodes->list[i].group != NULL;
        if (p->nodes->list[i].group == NULL && without == NULL)
            without = &p->nodes->list[i];
    }
    return with == 0 || without == NULL
               ? 0
               : cli_error(err, -EINVAL,
                           "%s: %s has no group, and %zu of %zu nodes have one; name it for all, or for none", p->from,
                           without->text, with, p->nodes->count);
}

static int parse_lines(struct parser *p, char *text, struct tiercel_error *err)
{
    int rc = 0;
    while (rc == 0 && text != NULL) { /* a round a line */
        char *next = strchr(text, '\n');
        if (next != NULL)
            *next++ = '\0';
        p->line++;
        rc = parse_line(p, text, err);
        text = next;
    }
    if (rc == 0 && p->nodes->count == 0)
        rc = cli_error(err, -EINVAL, "%s: no host in it; write one host[:port] a line", p->from);
    return rc == 0 ? check_groups(p, err) : rc;
}

int cli_nodes_parse(struct cli_nodes *out, const char *text, const char *from, bool once, struct tiercel_error *err)
{
    size_t lines = 1;
    for (const char *p = text; *p != '\0'; p++)
        lines += *p == '\n';
    struct cli_nodes nodes = {0};
    struct parser p = {.nodes = &nodes, .from = from, .once = once};
    char *copy = strdup(text);
    p.lines = calloc(lines, sizeof *p.lines);
    bool table = hcreate_r(2 * lines + 16, &p.names) != 0;
    int rc = copy != NULL && p.lines != NULL && table ? parse_lines(&p, copy, err) : out_of_memory(err, from);
    if (table)
        hdestroy_r(&p.names);
    free(p.lines);
    free(copy);
    if (rc < 0)
        cli_nodes_fini(&nodes);
    else
        *out = nodes;
    return rc;
}

int cli_text_read(char **out, const char *path, const char *what, struct tiercel_error *err)
{
    FILE *f = fopen(path, "re");
    struct stat st;
    if (f == NULL || fstat(fileno(f), &st) != 0 || S_ISDIR(st.st_mode)) {
        int code = f == NULL ? errno : EISDIR;
        if (f != NULL)
            fclose(f);
        return cli_error(err, -code, "%s: %s; name a %s", path, strerror(code), what);
    }
    char *text = malloc(FILE_SIZE_MAX + 1);
    size_t len = text != NULL ? fread(text, 1, FILE_SIZE_MAX + 1, f) : 0;
    int rc = text == NULL ? out_of_memory(err, path) : 0;
    if (rc == 0 && ferror(f))
        rc = cli_error(err, -EIO, "%s: cannot be read", path);
    else if (rc == 0 && len > FILE_SIZE_MAX)
        rc = cli_error(err, -EFBIG, "%s: larger than 16 MiB; is it a %s?", path, what);
    else if (rc == 0 && memchr(text, '\0', len) != NULL)
        rc = cli_error(err, -EINVAL, "%s: has NUL bytes in it; is it a %s?", path, what);
    fclose(f);
    if (rc == 0) {
        text[len] = '\0';
        *out = text;
    } else {
        free(text);
    }
    return rc;
}

int cli_nodes_read(struct cli_nodes *out, const char *path, struct tiercel_error *err)
{
    char *text = NULL;
    int rc = cli_text_read(&text, path, "host file", err);
    if (rc == 0)
        rc = cli_nodes_parse(out, text, path, false, err);
    free(text);
    return rc;
}

/* ---- this machine ---- */

/* A port that nobody has, held by *fd until it is closed. */
static int free_port(int *fd, unsigned *port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    *fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*fd < 0 || bind(*fd, (struct sockaddr *)&addr, len) != 0 ||
        getsockname(*fd, (struct sockaddr *)&addr, &len) != 0)
        return -errno;
    *port = ntohs(addr.sin_port);
    return 0;
}

int cli_nodes_here(struct cli_nodes *out, int n, struct tiercel_error *err)
{
    struct cli_nodes nodes = {0};
    int *fds = calloc((size_t)n, sizeof *fds);
    int rc = fds == NULL ? out_of_memory(err, "node list") : 0;
    int held = 0;
    while (rc == 0 && held < n) { /* all are held until the last is found, so that they differ */
        unsigned port = 0;
        char text[32];
        rc = free_port(&fds[held], &port);
        if (rc < 0) {
            if (fds[held] >= 0)
                close(fds[held]);
            cli_error(err, rc, "127.0.0.1: no free port for node %d: %s; start fewer nodes, or raise `ulimit -n`", held,
                      strerror(-rc));
            break;
        }
        held++;
        snprintf(text, sizeof text, "127.0.0.1:%u", port);
        if (add(&nodes, text, "127.0.0.1", 9, "") < 0)
            rc = out_of_memory(err, "node list");
    }
    for (int i = 0; i < held; i++)
        close(fds[i]);
    free(fds);
    if (rc < 0)
        cli_nodes_fini(&nodes);
    else
        *out = nodes;
    return rc;
}

char *cli_nodes_text(const struct cli_nodes *nodes)
{
    size_t size = 1;
    for (size_t i = 0; i < nodes->count; i++)
        size += strlen(nodes->list[i].text) + (nodes->list[i].group != NULL ? strlen(nodes->list[i].group) : 0) + 2;
    char *text = malloc(size), *p = text;
    if (text == NULL)
        return NULL;
    for (size_t i = 0; i < nodes->count; i++) {
        p = stpcpy(p, nodes->list[i].text);
        if (nodes->list[i].group != NULL)
            p = stpcpy(stpcpy(p, " "), nodes->list[i].group);
        *p++ = '\n';
    }
    *p = '\0';
    return text;
}
