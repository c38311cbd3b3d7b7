// SPDX-License-Identifier: Apache-2.0
/* The transports between two processes on loopback: round trips, bulk, idleness; and plain blocking TCP beside them.
 *
 *   overlay_net [BACKEND...]     plain, tcp, tcp-encrypted, ofi (tcp;ofi_rxm); without: all
 *
 * Prints a JSON object a line: {"metric", "value", "unit"}. A backend that this machine lacks gives a null and a reason. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/time.h"
#include "net/transport.h"

enum { TRIPS = 4000, WARM = 500, READ_LEN = 1 << 20, WINDOW = 4, READS = 2000, REGION = 64 << 20, IDLE_S = 3 };

static char address_text[2][32]; /* of ports that were free a moment ago */
static const char *const addresses[] = {address_text[0], address_text[1]};

struct side {
    struct tl_net *net;
    struct tl_peer peer;
    bool up, down;
    uint32_t messages, reads, errors;
};

static double cpu_s(int who)
{
    struct rusage u;
    getrusage(who, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void print(const char *backend, const char *what, double value, const char *unit)
{
    printf("{\"metric\": \"%s-%s\", \"value\": %.4g, \"unit\": \"%s\"}\n", backend, what, value, unit);
    fflush(stdout);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, compare);
    return values[count / 2];
}

/* ---- plain TCP, blocking ---- */

static void move_all(int fd, char *bytes, size_t len, bool out)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = out ? send(fd, bytes + done, len - done, MSG_NOSIGNAL) : recv(fd, bytes + done, len - done, 0);
        if (n <= 0)
            _exit(0);
        done += (size_t)n;
    }
}

static void plain_answer(int listener)
{
    static char bytes[4096];
    int one = 1, fd = accept(listener, NULL, NULL);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    for (;;) { /* until the other side closes */
        uint32_t ask[16];
        move_all(fd, (char *)ask, sizeof ask, false);
        move_all(fd, bytes, ask[0], true);
    }
}

static void plain(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&a, len) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&a, &len) != 0)
        exit(1);
    pid_t child = fork();
    if (child == 0)
        plain_answer(listener);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0)
        exit(1);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    static const uint32_t sizes[] = {64, 4096};
    static double times[TRIPS];
    for (size_t s = 0; s < 2; s++) {
        static char bytes[4096];
        for (int i = 0; i < WARM + TRIPS; i++) {
            uint32_t ask[16] = {sizes[s]};
            uint64_t start = tl_time_mono_ns();
            move_all(fd, (char *)ask, sizeof ask, true);
            move_all(fd, bytes, sizes[s], false);
            if (i >= WARM)
                times[i - WARM] = (double)(tl_time_mono_ns() - start) / 1e3;
        }
        print("plain", s == 0 ? "rtt-64" : "rtt-4k", median(times, TRIPS), "us");
    }
    close(fd);
    close(listener);
    waitpid(child, NULL, 0);
}

/* ---- the transports ---- */

static void find_ports(void)
{
    int fds[2];
    for (int i = 0; i < 2; i++) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof a;
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (bind(fds[i], (struct sockaddr *)&a, len) != 0 || getsockname(fds[i], (struct sockaddr *)&a, &len) != 0)
            exit(1);
        snprintf(address_text[i], sizeof address_text[i], "127.0.0.1:%u", ntohs(a.sin_port));
    }
    close(fds[0]);
    close(fds[1]);
}

static int open_backend(struct tl_net **out, const char *backend, uint32_t rank, struct tl_error *err)
{
    struct tl_net_config config = {.rank = rank, .node_count = 2, .addresses = addresses, .protocol_version = 1};
    config.encrypt = strcmp(backend, "tcp-encrypted") == 0;
    if (strcmp(backend, "ofi") == 0)
        return tl_net_ofi_open(out, &config, "tcp;ofi_rxm", err);
    return tl_net_tcp_open(out, &config, err);
}

static void note(struct side *s, struct tl_net_event *ev, bool echo)
{
    struct tl_net_payload payload = {.region = 0, .offset = 0, .len = 4096};
    switch (ev->type) {
    case TL_NET_UP:
        s->up = true;
        s->peer = ev->peer;
        return;
    case TL_NET_DOWN: s->down = true; return;
    case TL_NET_MESSAGE:
        s->messages++;
        if (echo && s->net->ops->send(s->net, ev->peer, ev->header, 64, ev->header[0] == 1 ? &payload : NULL, 0) != 0)
            s->errors++;
        s->net->ops->release(s->net, ev);
        return;
    case TL_NET_READ:
        s->reads++;
        s->errors += ev->status != 0;
        return;
    case TL_NET_SENT:
    case TL_NET_WRITABLE: return;
    }
}

/* One sleep and what came of it. */
static void turn(struct side *s, bool echo)
{
    uint64_t next;
    struct tl_net_event events[32];
    if (s->net->ops->arm(s->net, &next) == 0) {
        uint64_t now = tl_time_mono_ns();
        int wait_ms = next == UINT64_MAX ? 1000 : next <= now ? 0 : (int)((next - now) / 1000000 + 1);
        struct pollfd fd = {.fd = s->net->ops->fd(s->net), .events = POLLIN};
        poll(&fd, 1, wait_ms < 1000 ? wait_ms : 1000);
    }
    int count = s->net->ops->poll(s->net, events, 32, tl_time_mono_ns());
    for (int i = 0; i < count; i++)
        note(s, &events[i], echo);
}

static void expose(struct tl_net *net)
{
    int fd = memfd_create("overlay_net", MFD_CLOEXEC);
    void *base = MAP_FAILED;
    if (fd >= 0 && ftruncate(fd, REGION) == 0)
        base = mmap(NULL, REGION, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (base == MAP_FAILED || net->ops->expose(net, fd, base, REGION, TL_REGION_SERVE | TL_REGION_LAND) != 0)
        exit(1);
    memset(base, 0x42, REGION);
}

static void serve(const char *backend)
{
    struct side s = {0};
    struct tl_error err = {0};
    if (open_backend(&s.net, backend, 1, &err) != 0)
        _exit(1);
    expose(s.net);
    while (!s.down)
        turn(&s, true);
    s.net->ops->close(s.net);
    _exit(0);
}

static void trips(struct side *s, const char *backend, const char *what, uint8_t kind)
{
    static double times[TRIPS];
    uint8_t header[64] = {kind};
    double cpu = 0;
    for (int i = 0; i < WARM + TRIPS; i++) {
        uint64_t start = tl_time_mono_ns();
        uint32_t had = s->messages;
        if (i == WARM)
            cpu = cpu_s(RUSAGE_SELF);
        if (s->net->ops->send(s->net, s->peer, header, sizeof header, NULL, 0) != 0)
            exit(1);
        while (s->messages == had && !s->down)
            turn(s, false);
        if (i >= WARM)
            times[i - WARM] = (double)(tl_time_mono_ns() - start) / 1e3;
    }
    cpu = (cpu_s(RUSAGE_SELF) - cpu) / TRIPS * 1e6;
    print(backend, what, median(times, TRIPS), "us");
    printf("{\"metric\": \"%s-%s-cpu\", \"value\": %.4g, \"unit\": \"us\"}\n", backend, what, cpu);
}

static void bulk(struct side *s, const char *backend)
{
    uint32_t asked = 0;
    uint64_t start = tl_time_mono_ns();
    double cpu = cpu_s(RUSAGE_SELF);
    s->reads = 0;
    while (s->reads < READS && !s->down && s->errors == 0) {
        for (; asked < READS && asked - s->reads < WINDOW; asked++)
            if (s->net->ops->read(s->net, s->peer, 0, (uint64_t)(asked % 32) * READ_LEN, 0,
                                  (uint64_t)(32 + asked % 32) * READ_LEN, READ_LEN, UINT64_MAX / 2, asked) != 0)
                exit(1);
        turn(s, false);
    }
    double seconds = (double)(tl_time_mono_ns() - start) / 1e9, bytes = (double)READS * READ_LEN;
    print(backend, "read-1m", bytes / seconds / 1e6, "MB/s");
    print(backend, "read-1m-reader-cpu", (cpu_s(RUSAGE_SELF) - cpu) / (bytes / 1e9), "s/GB");
}

static void idle(struct side *s, const char *backend)
{
    double cpu = cpu_s(RUSAGE_SELF);
    uint32_t wakes = 0;
    for (uint64_t end = tl_time_mono_ns() + IDLE_S * TL_NS_PER_S; tl_time_mono_ns() < end; wakes++)
        turn(s, false); /* the loop wakes itself once a second */
    print(backend, "idle-cpu", (cpu_s(RUSAGE_SELF) - cpu) / IDLE_S * 100, "percent");
    print(backend, "idle-wakes", (double)wakes - IDLE_S, "count");
}

/* In a process of its own, so that backends do not see each other's memory and processor time. */
static void run(const char *backend)
{
    struct side s = {0};
    struct tl_error err = {0};
    if (open_backend(&s.net, backend, 0, &err) != 0) {
        printf("{\"metric\": \"%s\", \"value\": null, \"reason\": \"%s\"}\n", backend, err.msg);
        exit(0);
    }
    expose(s.net);
    for (uint64_t end = tl_time_mono_ns() + 5 * TL_NS_PER_S; !s.up && tl_time_mono_ns() < end;) {
        struct tl_peer peer;
        s.down = false;
        (void)s.net->ops->connect(s.net, 1, tl_time_mono_ns(), &peer); /* until the other side listens */
        while (!s.up && !s.down)
            turn(&s, false);
    }
    if (!s.up)
        exit(1);
    for (uint64_t end = tl_time_mono_ns() + TL_NS_PER_S / 5; tl_time_mono_ns() < end;) {
        struct pollfd fd = {.fd = s.net->ops->fd(s.net), .events = POLLIN};
        poll(&fd, 1, 10); /* the fabric is probed meanwhile */
        struct tl_net_event ev;
        s.net->ops->poll(s.net, &ev, 0, tl_time_mono_ns());
        uint64_t next;
        s.net->ops->arm(s.net, &next);
    }
    trips(&s, backend, "rtt-64", 0);
    trips(&s, backend, "rtt-4k", 1);
    bulk(&s, backend);
    idle(&s, backend);
    s.net->ops->close(s.net);
    exit(s.errors == 0 ? 0 : 1);
}

int main(int argc, char **argv)
{
    static const char *const all[] = {"plain", "tcp", "tcp-encrypted", "ofi"};
    int status = 0;
    for (int i = 0; i < (argc > 1 ? argc - 1 : 4); i++) {
        const char *backend = argc > 1 ? argv[i + 1] : all[i];
        if (strcmp(backend, "plain") == 0) {
            plain();
            continue;
        }
        find_ports();
        pid_t server = fork();
        if (server == 0)
            serve(backend);
        pid_t client = fork();
        if (client == 0)
            run(backend);
        int ended = 0;
        waitpid(client, &ended, 0);
        status |= ended != 0;
        kill(server, SIGTERM); /* in case it never saw a client */
        waitpid(server, NULL, 0);
    }
    return status;
}
