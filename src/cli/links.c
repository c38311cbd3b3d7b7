// SPDX-License-Identifier: Apache-2.0
/* How fast this machine's link is: as its driver tells in /sys. */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "cli/tier.h"

#define MBIT_BYTES 125000u

static bool same_address(const struct sockaddr *a, const struct sockaddr *b)
{
    if (a == NULL || b == NULL || a->sa_family != b->sa_family)
        return false;
    const struct sockaddr_in *a4 = (const void *)a, *b4 = (const void *)b;
    const struct sockaddr_in6 *a6 = (const void *)a, *b6 = (const void *)b;
    if (a->sa_family == AF_INET)
        return a4->sin_addr.s_addr == b4->sin_addr.s_addr;
    return a->sa_family == AF_INET6 && memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof a6->sin6_addr) == 0;
}

/* The interface that has one of a host's addresses; false: none here. */
static bool interface_of(const struct ifaddrs *interfaces, const char *host, bool numeric, char name[IF_NAMESIZE])
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = numeric ? AI_NUMERICHOST : 0};
    struct addrinfo *found = NULL;
    bool here = false;
    if (getaddrinfo(host, NULL, &hints, &found) != 0)
        return false;
    for (const struct addrinfo *a = found; a != NULL; a = a->ai_next)
        for (const struct ifaddrs *i = interfaces; i != NULL && !here; i = i->ifa_next)
            if (same_address(i->ifa_addr, a->ai_addr)) {
                snprintf(name, IF_NAMESIZE, "%s", i->ifa_name);
                here = true;
            }
    freeaddrinfo(found);
    return here;
}

/* Mbit/s, as its driver says; 0: it does not (a loopback, a bridge, a link that is down). */
static uint64_t speed_of(const char *name)
{
    char path[64 + IF_NAMESIZE];
    long long speed = 0;
    snprintf(path, sizeof path, "/sys/class/net/%s/speed", name);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return 0;
    if (fscanf(f, "%lld", &speed) != 1 || speed < 0 || speed > 100000000)
        speed = 0; /* -1, or 2^32 - 1: not known */
    fclose(f);
    return (uint64_t)speed;
}

uint64_t cli_link_rate(const struct cli_nodes *nodes)
{
    struct ifaddrs *interfaces = NULL;
    char name[IF_NAMESIZE];
    uint64_t mbits = 0;
    bool found = false;
    if (getifaddrs(&interfaces) != 0)
        return 0;
    for (size_t i = 0; !found && i < nodes->count; i++) { /* a name is looked up only if it is this machine's */
        bool here = cli_host_is_here(nodes->list[i].host);
        found = interface_of(interfaces, nodes->list[i].host, !here, name);
    }
    freeifaddrs(interfaces);
    if (found)
        mbits = speed_of(name);
    return mbits * MBIT_BYTES;
}
