// SPDX-License-Identifier: Apache-2.0
/* The node list and the job's key: parsing, and finding ourselves in the list. */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <limits.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "daemon/options.h"

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Its end is the first byte behind the digits. */
static int parse_digits(const char *text, uint8_t key[TL_KEY_SIZE], const char **end)
{
    for (size_t i = 0; i < TL_KEY_SIZE; i++) {
        int high = hex_value(text[2 * i]);
        int low = high < 0 ? -1 : hex_value(text[2 * i + 1]);
        if (low < 0)
            return -EINVAL;
        key[i] = (uint8_t)(high << 4 | low);
    }
    *end = text + 2 * TL_KEY_SIZE;
    return 0;
}

static bool line_ends(const char *text)
{
    return text[0] == 0 || (text[0] == '\n' && text[1] == 0);
}

int tl_parse_key(const char *text, uint8_t key[TL_KEY_SIZE])
{
    const char *end;
    int rc = parse_digits(text, key, &end);
    return rc != 0 || line_ends(end) ? rc : -EINVAL;
}

int tl_parse_key_line(const char *text, uint8_t key[TL_KEY_SIZE], uint64_t *expires_s)
{
    const char *end;
    uint64_t expires = 0;
    int rc = parse_digits(text, key, &end);
    if (rc != 0)
        return rc;
    if (*end == ' ') {
        const char *digits = ++end;
        for (; *end >= '0' && *end <= '9' && end - digits < 12; end++)
            expires = expires * 10 + (uint64_t)(*end - '0');
        if (end == digits)
            return -EINVAL;
    }
    if (!line_ends(end))
        return -EINVAL;
    *expires_s = expires;
    return 0;
}

uint16_t tl_default_port(const uint8_t key[TL_KEY_SIZE])
{
    return (uint16_t)(20000 + tl_hash64(key, TL_KEY_SIZE, 0) % 20000);
}

/* Splits "host[:port]" or "[v6][:port]" in place. 0 with *port (0: none given), -EINVAL. */
static int split_address(char *text, char **host, uint16_t *port)
{
    char *colon = NULL;
    *host = text;
    if (*text == '[') {
        char *end = strchr(text, ']');
        if (end == NULL || (end[1] != 0 && end[1] != ':'))
            return -EINVAL;
        colon = end[1] == ':' ? end + 1 : NULL;
    } else {
        colon = strchr(text, ':');
        if (colon != NULL && strchr(colon + 1, ':') != NULL)
            return -EINVAL; /* a bare v6 address: ambiguous, wants brackets */
    }
    *port = 0;
    if (colon == NULL)
        return **host == 0 ? -EINVAL : 0;
    char *end = NULL;
    long value = strtol(colon + 1, &end, 10);
    if (end == colon + 1 || *end != 0 || value < 1 || value > 65535)
        return -EINVAL;
    *colon = 0;
    *port = (uint16_t)value;
    return **host == 0 ? -EINVAL : 0;
}

/* One node of the list while it is being read. */
struct named {
    const char *group; /* "": none; in the text */
    uint32_t rank;
};

/* Cuts the group off. */
static const char *split_group(char *line)
{
    char *end = line + strcspn(line, " \t");
    if (*end == 0)
        return end;
    *end++ = 0;
    return end + strspn(end, " \t");
}

static int add_node(struct tl_options *o, char *line, uint32_t *room, struct named **names)
{
    char *host = NULL;
    uint16_t port = 0;
    const char *group = split_group(line);
    if (group[strcspn(group, " \t,;")] != 0 || split_address(line, &host, &port) != 0 || strpbrk(host, " \t,;") != NULL)
        return -EINVAL;
    if (o->node_count == *room) {
        uint32_t more = *room == 0 ? 16 : *room * 2;
        char **grown = realloc(o->addresses, sizeof *grown * more);
        if (grown == NULL)
            return -ENOMEM;
        o->addresses = grown;
        struct named *more_names = realloc(*names, sizeof **names * more);
        if (more_names == NULL)
            return -ENOMEM;
        *names = more_names;
        *room = more;
    }
    char address[300];
    int len = snprintf(address, sizeof address, "%s:%u", host, port != 0 ? port : tl_default_port(o->key));
    if (len < 0 || (size_t)len >= sizeof address)
        return -EINVAL;
    (*names)[o->node_count] = (struct named){.group = group, .rank = o->node_count};
    o->addresses[o->node_count] = strdup(address);
    return o->addresses[o->node_count] == NULL ? -ENOMEM : (o->node_count++, 0);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int refuse_twins(const struct tl_options *o, const char *name, struct tl_error *err)
{
    const char **sorted = malloc(sizeof *sorted * o->node_count);
    if (sorted == NULL)
        return -ENOMEM;
    memcpy(sorted, o->addresses, sizeof *sorted * o->node_count);
    qsort(sorted, o->node_count, sizeof *sorted, by_text);
    int rc = 0;
    for (uint32_t i = 1; i < o->node_count && rc == 0; i++)
        if (strcmp(sorted[i - 1], sorted[i]) == 0)
            rc = tl_error_set(err, -EINVAL, "node list %s: %s stands in it twice; give each node one line", name,
                              sorted[i]);
    free(sorted);
    return rc;
}

static int by_group(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    int order = strcmp(x->group, y->group);
    return order != 0 ? order : (x->rank > y->rank) - (x->rank < y->rank);
}

/* Each group is called by its first node. */
static int take_groups(struct tl_options *o, struct named *names, const char *list, struct tl_error *err)
{
    uint32_t without = 0, first = o->node_count;
    for (uint32_t i = 0; i < o->node_count; i++)
        if (names[i].group[0] == 0) {
            without++;
            first = first == o->node_count ? i : first;
        }
    if (without == o->node_count)
        return 0;
    if (without > 0)
        return tl_error_set(
            err, -EINVAL,
            "node list %s: %u of %u nodes have no group, %s among them; name one for each node, or for none", list,
            without, o->node_count, o->addresses[first]);
    o->groups = calloc(o->node_count, sizeof *o->groups);
    if (o->groups == NULL)
        return tl_error_set(err, -ENOMEM, "node list %s: out of memory", list);
    qsort(names, o->node_count, sizeof *names, by_group);
    for (uint32_t i = 0, head = 0; i < o->node_count; i++) {
        if (strcmp(names[head].group, names[i].group) != 0)
            head = i;
        o->groups[names[i].rank] = names[head].rank;
    }
    return 0;
}

static int read_lines(struct tl_options *o, char *text, struct named **names, const char *name, struct tl_error *err)
{
    uint32_t room = 0, number = 0;
    char *save = NULL;
    for (char *line = text; line != NULL; line = save) {
        number++;
        save = strchr(line, '\n');
        if (save != NULL)
            *save++ = 0;
        line[strcspn(line, "#\r")] = 0;
        line += strspn(line, " \t");
        for (size_t len = strlen(line); len > 0 && (line[len - 1] == ' ' || line[len - 1] == '\t'); len--)
            line[len - 1] = 0;
        if (*line == 0)
            continue;
        int rc = o->node_count < TL_NODES_MAX ? add_node(o, line, &room, names) : -E2BIG;
        if (rc == -EINVAL)
            return tl_error_set(err, rc,
                                "node list %s, line %u: '%s' is not host, host:port or [v6]:port, and perhaps a group",
                                name, number, line);
        if (rc != 0)
            return tl_error_set(err, rc, "node list %s, line %u: %s", name, number,
                                rc == -E2BIG ? "more than 65,536 nodes" : "out of memory");
    }
    if (o->node_count == 0)
        return tl_error_set(err, -EINVAL, "node list %s names no node; write one host a line", name);
    return 0;
}

int tl_parse_nodes(struct tl_options *o, char *text, const char *name, struct tl_error *err)
{
    struct named *names = NULL;
    int rc = read_lines(o, text, &names, name, err);
    if (rc == 0)
        rc = refuse_twins(o, name, err);
    if (rc == 0)
        rc = take_groups(o, names, name, err);
    free(names);
    return rc;
}

/* ---- which of them are we? ---- */

static bool same_host(const char *address, const char *name)
{
    size_t len = strlen(name);
    return len > 0 && strncasecmp(address, name, len) == 0 && address[len] == ':';
}

static bool is_own_name(const char *address)
{
    char name[256] = "", shortened[256];
    if (gethostname(name, sizeof name - 1) != 0)
        return false;
    snprintf(shortened, sizeof shortened, "%s", name);
    shortened[strcspn(shortened, ".")] = 0;
    if (same_host(address, name) || same_host(address, shortened))
        return true;
    size_t len = strcspn(address, ".:"); /* the list has the long name, the machine the short one */
    return address[len] == '.' && strlen(shortened) == len && strncasecmp(address, shortened, len) == 0 &&
           strspn(address, "0123456789.") < len;
}

static bool is_own_interface(const char *address, const struct ifaddrs *all)
{
    for (const struct ifaddrs *i = all; i != NULL; i = i->ifa_next) {
        char text[INET6_ADDRSTRLEN + 2] = "";
        if (i->ifa_addr == NULL)
            continue;
        if (i->ifa_addr->sa_family == AF_INET) {
            struct sockaddr_in v4;
            memcpy(&v4, i->ifa_addr, sizeof v4);
            inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
        } else if (i->ifa_addr->sa_family == AF_INET6) {
            struct sockaddr_in6 v6;
            memcpy(&v6, i->ifa_addr, sizeof v6);
            text[0] = '[';
            inet_ntop(AF_INET6, &v6.sin6_addr, text + 1, sizeof text - 2);
            strcat(text, "]");
        }
        if (same_host(address, text))
            return true;
    }
    return false;
}

int tl_find_own_rank(struct tl_options *o, struct tl_error *err)
{
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) != 0)
        all = NULL;
    uint32_t found = 0, rank = 0;
    for (uint32_t i = 0; i < o->node_count; i++)
        if (is_own_name(o->addresses[i]) || is_own_interface(o->addresses[i], all)) {
            rank = found++ == 0 ? i : rank;
        }
    if (all != NULL)
        freeifaddrs(all);
    if (found == 0)
        return tl_error_set(err, -ENOENT,
                            "this machine is not in the node list, neither by name nor by address; "
                            "add it, or say which line it is with --rank");
    if (found > 1)
        return tl_error_set(err, -EINVAL, "%u lines of the node list are this machine; say which one with --rank",
                            found);
    o->rank = rank;
    return 0;
}
