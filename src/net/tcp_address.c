// SPDX-License-Identifier: Apache-2.0
/* "host:port" and "[v6]:port" to socket addresses. */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/tcp.h"

struct split {
    char host[NI_MAXHOST];
    char port[8];
};

static int split_address(const char *address, struct split *out, struct tl_error *err)
{
    const char *host = address, *end, *colon;
    if (address[0] == '[') {
        host = address + 1;
        end = strchr(host, ']');
        colon = end != NULL && end[1] == ':' ? end + 1 : NULL;
    } else {
        end = colon = strrchr(address, ':');
    }
    if (end == NULL || colon == NULL || end == host || (size_t)(end - host) >= sizeof out->host)
        return tl_error_set(err, -EINVAL, "address '%.200s' is not host:port or [v6]:port: correct the node list",
                            address);
    char *rest;
    long port = strtol(colon + 1, &rest, 10);
    if (*rest != '\0' || rest == colon + 1 || port < 1 || port > 65535)
        return tl_error_set(err, -EINVAL, "address '%.200s' has no port between 1 and 65535: correct the node list",
                            address);
    memcpy(out->host, host, (size_t)(end - host));
    out->host[end - host] = '\0';
    snprintf(out->port, sizeof out->port, "%ld", port);
    return 0;
}

int tcp_address_check(const char *address, struct tl_error *err)
{
    struct split split;
    return split_address(address, &split, err);
}

int tcp_address_resolve(const char *address, bool passive, struct tcp_addresses *out, struct tl_error *err)
{
    struct split split;
    int rc = split_address(address, &split, err);
    if (rc != 0)
        return rc;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0)};
    struct addrinfo *found = NULL;
    int gai = getaddrinfo(split.host, split.port, &hints, &found);
    if (gai != 0)
        return tl_error_set(err, gai == EAI_MEMORY ? -ENOMEM : -EHOSTUNREACH,
                            "host name '%.200s' of the node list cannot be resolved (%s): correct the name, or use the "
                            "node's address",
                            split.host, gai_strerror(gai));
    out->count = 0;
    for (struct addrinfo *a = found; a != NULL && out->count < TCP_ADDRESS_MAX; a = a->ai_next) {
        memcpy(&out->list[out->count].addr, a->ai_addr, a->ai_addrlen);
        out->list[out->count].len = a->ai_addrlen;
        out->count++;
    }
    freeaddrinfo(found);
    return 0;
}
