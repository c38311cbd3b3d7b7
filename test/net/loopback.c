// SPDX-License-Identifier: Apache-2.0
#include "net/loopback.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/time.h"

enum { MAPPINGS_MAX = 16 };

static struct world {
    loopback_open_fn open;
    char text[TL_NET_SUITE_NODES][LOOPBACK_ADDRESS_MAX];
    const char *addresses[TL_NET_SUITE_NODES];
    struct tl_net *nets[TL_NET_SUITE_NODES];
    bool frozen[TL_NET_SUITE_NODES];
    int fds[MAPPINGS_MAX];
    void *bases[MAPPINGS_MAX];
    size_t sizes[MAPPINGS_MAX];
    uint32_t mappings;
    uint64_t skew_ns;
} world;

/* An address of this process alone, and ports one after the other, below those that the kernel gives to whoever wants any: so
 * nobody takes one between here and its use. */
void loopback_address(char out[LOOPBACK_ADDRESS_MAX])
{
    enum { PORT_FIRST = 10000, PORTS = 20000, TRIES = 100 };
    static uint32_t next;
    uint32_t pid = (uint32_t)getpid();
    struct sockaddr_in a = {.sin_family = AF_INET};
    a.sin_addr.s_addr = htonl((127u << 24) | ((1 + pid / 65536 % 250) << 16) | (pid % 65536));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), rc = -1;
    check(fd >= 0);
    for (uint32_t i = 0; i < TRIES && rc != 0; i++) {
        a.sin_port = htons((uint16_t)(PORT_FIRST + next++ % PORTS));
        rc = bind(fd, (struct sockaddr *)&a, sizeof a);
    }
    check(rc == 0);
    close(fd);
    char host[INET_ADDRSTRLEN];
    check(inet_ntop(AF_INET, &a.sin_addr, host, sizeof host) != NULL);
    snprintf(out, LOOPBACK_ADDRESS_MAX, "%s:%u", host, ntohs(a.sin_port));
}

static void setup(struct tl_net_suite_env *env)
{
    loopback_open_fn open = world.open;
    (void)env;
    memset(&world, 0, sizeof world);
    world.open = open;
    for (uint32_t i = 0; i < TL_NET_SUITE_NODES; i++) {
        loopback_address(world.text[i]);
        world.addresses[i] = world.text[i];
    }
}

static void teardown(struct tl_net_suite_env *env)
{
    (void)env;
    for (uint32_t i = 0; i < world.mappings; i++) {
        munmap(world.bases[i], world.sizes[i]);
        close(world.fds[i]);
    }
}

static int open_node(struct tl_net_suite_env *env, struct tl_net_config *config, struct tl_net **out,
                     struct tl_error *err)
{
    (void)env;
    config->addresses = world.addresses;
    int rc = world.open(out, config, err);
    if (rc == 0) {
        world.nets[config->rank] = *out;
        world.frozen[config->rank] = false;
    }
    return rc;
}

/* A closed descriptor is what a peer sees of a death, by kill -9 just as by close(). */
static void kill_node(struct tl_net_suite_env *env, uint32_t rank, struct tl_net *net)
{
    (void)env;
    net->ops->close(net);
    world.nets[rank] = NULL;
}

static void freeze(struct tl_net_suite_env *env, uint32_t rank, bool frozen)
{
    (void)env;
    world.frozen[rank] = frozen;
}

static void wait_ready(struct tl_net_suite_env *env, uint64_t until_ns)
{
    struct pollfd fds[TL_NET_SUITE_NODES];
    nfds_t count = 0;
    uint64_t now = env->now(env), wait_ns = until_ns > now ? until_ns - now : 0;
    for (uint32_t i = 0; i < TL_NET_SUITE_NODES; i++)
        if (world.nets[i] != NULL && !world.frozen[i])
            fds[count++] = (struct pollfd){.fd = world.nets[i]->ops->fd(world.nets[i]), .events = POLLIN};
    struct timespec ts = {.tv_sec = (time_t)(wait_ns / TL_NS_PER_S), .tv_nsec = (long)(wait_ns % TL_NS_PER_S)};
    ppoll(fds, count, &ts, NULL);
}

static uint64_t clock_now(struct tl_net_suite_env *env)
{
    (void)env;
    return tl_time_mono_ns() + world.skew_ns;
}

void loopback_skew(uint64_t ns)
{
    world.skew_ns += ns;
}

static void memory(struct tl_net_suite_env *env, size_t size, int *fd, void **base)
{
    (void)env;
    check(world.mappings < MAPPINGS_MAX);
    *fd = memfd_create("tiercel-test", MFD_CLOEXEC);
    check(*fd >= 0 && ftruncate(*fd, (off_t)size) == 0);
    *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    check(*base != MAP_FAILED);
    world.fds[world.mappings] = *fd;
    world.bases[world.mappings] = *base;
    world.sizes[world.mappings++] = size;
}

void loopback_env(struct tl_net_suite_env *env, loopback_open_fn open)
{
    world.open = open;
    env->checks_identity = true;
    env->setup = setup;
    env->teardown = teardown;
    env->open = open_node;
    env->kill = kill_node;
    env->freeze = freeze;
    env->wait = wait_ready;
    env->now = clock_now;
    env->memory = memory;
}
