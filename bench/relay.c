// SPDX-License-Identifier: Apache-2.0
/* What plain TCP does, for comparison: a round trip, and bytes relayed down a tree with the same number of copies.
 *
 *   relay answer PORT                     answers each request of 64 bytes with 4 KiB, until its peer closes
 *   relay ask HOST PORT COUNT             microseconds of COUNT round trips to it, as JSON
 *   relay pass PORT BYTES CHILD...        takes BYTES from its parent into memory, handing them on to CHILDs (host:port) as they
 *                                         arrive; says so to its parent when all below have them. Its memory is there before
 *   relay pass-new PORT BYTES CHILD...    the same, into memory that nobody has touched yet, as that of a cache is
 *   relay send BYTES CHILD...             the root of such a tree: prints the seconds until all nodes have all bytes
 *
 * One blocking process a node; TCP_NODELAY. The listeners say "ready" on standard output. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/time.h"

enum { ASK = 64, ANSWER = 4096, PIECE = 256 << 10, CHILDREN_MAX = 64 };

static void die(const char *what)
{
    fprintf(stderr, "relay: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void set_nodelay(int fd)
{
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static int accept_one(const char *port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 || listen(fd, 1) != 0)
        die(port);
    puts("ready");
    fflush(stdout);
    int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    if (peer < 0)
        die(port);
    set_nodelay(peer);
    close(fd);
    return peer;
}

static int connect_to(const char *host, const char *port)
{
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found = NULL;
    if (getaddrinfo(host, port, &hints, &found) != 0)
        die(host);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) != 0)
        die(host);
    freeaddrinfo(found);
    set_nodelay(fd);
    return fd;
}

/* "host:port" */
static int connect_child(char *address)
{
    char *colon = strrchr(address, ':');
    if (colon == NULL)
        die(address);
    *colon = '\0';
    return connect_to(address, colon + 1);
}

/* False: the peer has closed. */
static bool get_all(int fd, char *buf, size_t len)
{
    for (size_t have = 0; have < len;) {
        ssize_t got = read(fd, buf + have, len - have);
        if (got <= 0)
            return false;
        have += (size_t)got;
    }
    return true;
}

static void put_all(int fd, const char *buf, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t put = write(fd, buf + done, len - done);
        if (put <= 0)
            die("write");
        done += (size_t)put;
    }
}

static void answer(const char *port)
{
    static char ask[ASK], reply[ANSWER];
    int fd = accept_one(port);
    while (get_all(fd, ask, sizeof(ask)))
        put_all(fd, reply, sizeof(reply));
}

static void ask(const char *host, const char *port, int count)
{
    static char request[ASK], reply[ANSWER];
    int fd = connect_to(host, port);
    for (int i = 0; i < count; i++) {
        uint64_t start = tl_time_mono_ns();
        put_all(fd, request, sizeof(request));
        if (!get_all(fd, reply, sizeof(reply)))
            die("closed");
        printf("%s%.1f", i > 0 ? ", " : "[", (double)(tl_time_mono_ns() - start) / 1e3);
    }
    printf("]\n");
}

/* Waits until everybody below has everything. */
static void wait_for(const int *children, int count)
{
    char done;
    for (int i = 0; i < count; i++)
        if (!get_all(children[i], &done, 1))
            die("child");
}

static void pass_on(const char *port, size_t bytes, bool ready, int count, char **addresses)
{
    int children[CHILDREN_MAX];
    char *memory = malloc(bytes);
    if (memory == NULL)
        die("memory");
    if (ready)
        memset(memory, 1, bytes);
    int parent = accept_one(port);
    for (int i = 0; i < count; i++)
        children[i] = connect_child(addresses[i]);
    for (size_t have = 0; have < bytes;) {
        size_t want = bytes - have < PIECE ? bytes - have : PIECE;
        if (!get_all(parent, memory + have, want))
            die("parent");
        for (int i = 0; i < count; i++)
            put_all(children[i], memory + have, want);
        have += want;
    }
    wait_for(children, count);
    put_all(parent, "!", 1);
    free(memory);
}

static void send_all(size_t bytes, int count, char **addresses)
{
    int children[CHILDREN_MAX];
    char *memory = malloc(bytes);
    if (memory == NULL)
        die("memory");
    memset(memory, 1, bytes);
    for (int i = 0; i < count; i++)
        children[i] = connect_child(addresses[i]);
    uint64_t start = tl_time_mono_ns();
    for (size_t at = 0; at < bytes; at += PIECE)
        for (int i = 0; i < count; i++)
            put_all(children[i], memory + at, bytes - at < PIECE ? bytes - at : PIECE);
    wait_for(children, count);
    printf("%.6f\n", (double)(tl_time_mono_ns() - start) / 1e9);
    free(memory);
}

int main(int argc, char **argv)
{
    const char *verb = argc > 2 ? argv[1] : "";
    if (strcmp(verb, "answer") == 0)
        answer(argv[2]);
    else if (strcmp(verb, "ask") == 0 && argc == 5)
        ask(argv[2], argv[3], atoi(argv[4]));
    else if ((strcmp(verb, "pass") == 0 || strcmp(verb, "pass-new") == 0) && argc >= 4 && argc - 4 <= CHILDREN_MAX)
        pass_on(argv[2], strtoull(argv[3], NULL, 10), strcmp(verb, "pass") == 0, argc - 4, argv + 4);
    else if (strcmp(verb, "send") == 0 && argc >= 4 && argc - 3 <= CHILDREN_MAX)
        send_all(strtoull(argv[2], NULL, 10), argc - 3, argv + 3);
    else {
        fputs("usage: relay answer PORT | ask HOST PORT COUNT | pass|pass-new PORT BYTES CHILD... | send BYTES "
              "CHILD...\n",
              stderr);
        return 2;
    }
    return 0;
}
