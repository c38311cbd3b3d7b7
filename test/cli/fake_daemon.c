// SPDX-License-Identifier: Apache-2.0
/* A stand-in for tierceld, for the tests of the command line: the same options, files, control protocol and ways to
 * start and stop (docs/decisions/0050 and 0051), but no tier behind them. A node counts as up when its socket is in the
 * tier's directory, so that all nodes of a test share one runtime directory.
 *
 * $FAKE_TIERCELD asks for trouble, words separated by spaces: `fail=R` rank R does not start; `silent=R` rank R runs but
 * never listens; `deaf=R` rank R ignores `stop` and SIGTERM; `old` answers with bytes of another protocol. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/control.h"

#define CONNECTIONS_MAX 32
#define MOUNTS_MAX      8
#define NODES_MAX       4096

static struct {
    const char *name, *nodes_path, *key_path, *runtime, *log;
    int key_fd, ready_fd;
    bool daemonise, rank_auto;
    unsigned rank, nodes;
    char dir[3000], sock[4000], pid[4000];
    char *addresses[NODES_MAX];
    time_t started;
    char mounts[MOUNTS_MAX][1024];
    unsigned requests;
    bool stopping;
} d = {.key_fd = -1, .ready_fd = -1};

struct connection {
    int fd;
    bool waits; /* in wait-ready */
    uint64_t deadline_ms;
    unsigned told;
};
static struct connection connections[CONNECTIONS_MAX];

static void fail(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
static void fail(const char *fmt, ...)
{
    fputs("tierceld: ", stderr);
    va_list args;
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static bool trouble(const char *what, bool with_rank)
{
    const char *wish = getenv("FAKE_TIERCELD");
    char word[64];
    snprintf(word, sizeof word, with_rank ? "%s=%u" : "%s", what, d.rank);
    for (const char *p = wish; p != NULL && (p = strstr(p, word)) != NULL; p++) {
        char after = p[strlen(word)];
        if (after == '\0' || after == ' ')
            return true;
    }
    return false;
}

static uint64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

/* ---- start ---- */

static void parse(int argc, char **argv)
{
    enum { NAME = 1, NODES, RANK, KEY, KEY_FD, RUNTIME, LOG, READY_FD, FOREGROUND, DAEMONISE, IGNORED };
    static const struct option options[] = {{"name", 1, NULL, NAME},
                                            {"nodes", 1, NULL, NODES},
                                            {"rank", 1, NULL, RANK},
                                            {"key", 1, NULL, KEY},
                                            {"key-fd", 1, NULL, KEY_FD},
                                            {"runtime", 1, NULL, RUNTIME},
                                            {"log", 1, NULL, LOG},
                                            {"ready-fd", 1, NULL, READY_FD},
                                            {"foreground", 0, NULL, FOREGROUND},
                                            {"daemonise", 0, NULL, DAEMONISE},
                                            {"cache-size", 1, NULL, IGNORED},
                                            {"arity", 1, NULL, IGNORED},
                                            {"metrics", 1, NULL, IGNORED},
                                            {"roots", 1, NULL, IGNORED},
                                            {"link-rate", 1, NULL, IGNORED},
                                            {"storage-rate", 1, NULL, IGNORED},
                                            {"readahead", 1, NULL, IGNORED},
                                            {"encrypt", 0, NULL, IGNORED},
                                            {"keeper", 0, NULL, IGNORED},
                                            {"bulk", 1, NULL, IGNORED},
                                            {"threads", 1, NULL, IGNORED},
                                            {NULL, 0, NULL, 0}};
    int o;
    while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (o) {
        case NAME: d.name = optarg; break;
        case NODES: d.nodes_path = optarg; break;
        case RANK:
            d.rank_auto = strcmp(optarg, "auto") == 0;
            d.rank = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case KEY: d.key_path = optarg; break;
        case KEY_FD: d.key_fd = (int)strtol(optarg, NULL, 10); break;
        case RUNTIME: d.runtime = optarg; break;
        case LOG: d.log = optarg; break;
        case READY_FD: d.ready_fd = (int)strtol(optarg, NULL, 10); break;
        case DAEMONISE: d.daemonise = true; break;
        case '?': exit(2);
        default: break;
        }
    }
    if (d.name == NULL || d.nodes_path == NULL || d.runtime == NULL || (d.key_path == NULL && d.key_fd < 0))
        fail("--name, --nodes, --runtime and a key are needed");
}

static void check_key(const char *line)
{
    if (strspn(line, "0123456789abcdef") != 64 || (line[64] != '\n' && line[64] != '\0'))
        fail("the key is not 64 hex digits");
}

static void read_key(void)
{
    char line[66] = "";
    struct stat st;
    FILE *f = d.key_fd >= 0 ? NULL : fopen(d.key_path, "re");
    if (d.key_fd >= 0) { /* byte by byte: the node list may follow */
        for (size_t i = 0; i < 65 && read(d.key_fd, &line[i], 1) == 1 && line[i] != '\n'; i++)
            ;
    } else if (f == NULL || fstat(fileno(f), &st) != 0 || fgets(line, sizeof line, f) == NULL) {
        fail("%s: %s", d.key_path, strerror(errno));
    } else if ((st.st_mode & 077) != 0) {
        fail("%s: open to others; run `chmod 600 %s`", d.key_path, d.key_path);
    }
    check_key(line);
    if (f != NULL)
        fclose(f);
}

static void read_nodes(void)
{
    bool piped = strcmp(d.nodes_path, "-") == 0;
    char path[4000], line[300];
    snprintf(path, sizeof path, "%s/nodes", d.dir);
    FILE *in = piped ? stdin : fopen(d.nodes_path, "re"), *out = piped ? fopen(path, "we") : NULL;
    if (in == NULL)
        fail("%s: %s", d.nodes_path, strerror(errno));
    while (fgets(line, sizeof line, in) != NULL && d.nodes < NODES_MAX) {
        if (out != NULL)
            fputs(line, out);
        line[strcspn(line, " \n")] = '\0'; /* without the group */
        d.addresses[d.nodes++] = strdup(line);
    }
    if (out != NULL)
        fclose(out);
    if (!piped)
        fclose(in);
    const char *me = getenv("SLURMD_NODENAME"); /* "auto": by host name; the fake srun gives one to each */
    for (unsigned i = 0; d.rank_auto && me != NULL && i < d.nodes; i++) {
        if (strcmp(d.addresses[i], me) == 0)
            d.rank = i;
    }
    if (d.nodes == 0 || d.rank >= d.nodes)
        fail("rank %u is not in a list of %u nodes", d.rank, d.nodes);
}

static int listen_control(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    snprintf(d.sock, sizeof d.sock, "%s/node-%u.sock", d.dir, d.rank);
    snprintf(d.pid, sizeof d.pid, "%s/node-%u.pid", d.dir, d.rank);
    FILE *f = fopen(d.pid, "we");
    if (f == NULL)
        fail("%s: %s", d.pid, strerror(errno));
    fprintf(f, "%d\n", (int)getpid());
    fclose(f);
    memcpy(addr.sun_path, d.sock, strlen(d.sock) < sizeof addr.sun_path ? strlen(d.sock) : sizeof addr.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    umask(077);
    if (trouble("silent", true))
        return fd;
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof addr) != 0 || listen(fd, 64) != 0)
        fail("%s: %s", d.sock, strerror(errno));
    return fd;
}

/* The first process stays until the second says that it listens. */
static int start(void)
{
    int ready[2] = {-1, -1};
    if (d.daemonise) {
        if (pipe2(ready, O_CLOEXEC) != 0)
            fail("pipe: %s", strerror(errno));
        pid_t child = fork();
        if (child > 0) {
            char c;
            close(ready[1]);
            exit(read(ready[0], &c, 1) == 1 ? 0 : 1);
        }
        close(ready[0]);
        setsid();
    }
    int fd = listen_control();
    char log[4000];
    snprintf(log, sizeof log, "%s/node-%u.log", d.dir, d.rank);
    int out = open(d.log != NULL ? d.log : log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (out < 0)
        fail("%s: %s", d.log, strerror(errno));
    dprintf(out, "level=info msg=\"rank %u of %u listens\"\n", d.rank, d.nodes);
    if (trouble("silent", true))
        dprintf(out, "level=error msg=\"cannot listen: no such luck\"\n");
    if (d.daemonise) {
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        dup2(null, 0);
        dup2(out, 1);
        dup2(out, 2);
        if (write(ready[1], "r", 1) != 1)
            exit(1);
        close(ready[1]);
    }
    if (d.ready_fd >= 0 && write(d.ready_fd, "ready\n", 6) != 6)
        exit(1);
    return fd;
}

/* ---- answers ---- */

static void send_frame(int fd, char kind, json_t *json)
{
    char *text = json_dumps(json, 0);
    uint8_t head[5];
    size_t len = strlen(text);
    tl_put_u32(head, (uint32_t)len + 1);
    head[4] = (uint8_t)kind;
    if (trouble("old", false))
        memcpy(head, "HTTP/", 5);
    if (send(fd, head, 5, MSG_NOSIGNAL | MSG_MORE) == 5 && send(fd, text, len, MSG_NOSIGNAL) != (ssize_t)len)
        shutdown(fd, SHUT_RDWR);
    free(text);
    json_decref(json);
}

static void send_error(int fd, int number, const char *sentence)
{
    send_frame(fd, 'e',
               json_pack("{s:s, s:s, s:i}", "error", sentence, "code", strerrorname_np(number), "errno", number));
}

static bool node_up(unsigned rank)
{
    char path[4000];
    snprintf(path, sizeof path, "%s/node-%u.sock", d.dir, rank);
    return access(path, F_OK) == 0;
}

static unsigned nodes_up(void)
{
    unsigned up = 0;
    for (unsigned i = 0; i < d.nodes; i++)
        up += node_up(i) ? 1u : 0u;
    return up;
}

static json_t *status(void)
{
    json_t *members = json_array(), *mounts = json_array();
    for (unsigned i = 0; i < d.nodes; i++) {
        unsigned children = (2 * i + 1 < d.nodes ? 1u : 0u) + (2 * i + 2 < d.nodes ? 1u : 0u);
        json_t *parent = i > 0 ? json_integer((i - 1) / 2) : json_null();
        json_array_append_new(members,
                              json_pack("{s:i, s:s, s:s, s:O, s:i, s:i, s:[o]}", "rank", i, "address", d.addresses[i],
                                        "state", node_up(i) ? "up" : "down", "parent", parent, "subtree",
                                        (int)children + 1, "children", children, "parents", parent));
    }
    for (unsigned i = 0; i < MOUNTS_MAX; i++) {
        if (d.mounts[i][0] != '\0')
            json_array_append_new(mounts,
                                  json_pack("{s:s, s:s, s:i}", "path", d.mounts[i], "source", "/", "requests", 12345));
    }
    json_t *tree = json_pack("{s:i, s:i, s:i, s:s, s:n}", "tree", 0, "root", 0, "arity", 2, "for", "all", "parent");
    return json_pack("{s:s, s:i, s:i, s:b, s:i, s:i, s:i, s:s, s:I, s:[o], s:o, s:o}", "tier", d.name, "rank", d.rank,
                     "nodes", d.nodes, "ready", nodes_up() == d.nodes, "root", 0, "roots", 1, "arity", 2, "version",
                     "0.1.0-fake", "uptime_s", (json_int_t)(time(NULL) - d.started), "trees", tree, "members", members,
                     "mounts", mounts);
}

static json_t *counters(unsigned rank)
{
    /* They move, so that rates can be seen. */
    json_int_t t = (json_int_t)(now_ms() % 100000000u) * (rank + 1);
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "requests", t * 5, "hits", t * 4,
                     "misses", t, "failed", (json_int_t)0, "bytes_from_peer", t * 4096, "bytes_from_source", t * 100,
                     "bytes_to_peers", t * 4000, "bytes_served", t * 20000, "source_lists", t / 100, "source_opens",
                     t / 200, "source_reads", t / 50, "cached_bytes", (json_int_t)(1 << 28) + t);
}

static json_t *stat_all(void)
{
    json_t *nodes = json_array(), *total = json_object();
    for (unsigned i = 0; i < d.nodes; i++) {
        json_t *c = counters(i), *value;
        const char *key;
        json_object_foreach(c, key, value) json_object_set_new(
            total, key, json_integer(json_integer_value(value) + json_integer_value(json_object_get(total, key))));
        json_array_append_new(
            nodes, json_pack("{s:i, s:i, s:o}", "rank", i, "parent", i > 0 ? (int)((i - 1) / 2) : -1, "counters", c));
    }
    return json_pack("{s:o, s:o}", "nodes", nodes, "total", total);
}

static void mount_verb(int fd, const char *path, bool add)
{
    for (unsigned i = 0; i < MOUNTS_MAX; i++) {
        bool this = add ? d.mounts[i][0] == '\0' : strcmp(d.mounts[i], path) == 0;
        if (!this)
            continue;
        snprintf(d.mounts[i], sizeof d.mounts[i], "%s", add ? path : "");
        send_frame(fd, 'r', json_pack("{s:s}", "path", path));
        return;
    }
    char sentence[1200];
    snprintf(sentence, sizeof sentence, "%s: not mounted by this tier; `tiercel status` lists the mounts", path);
    send_error(fd, ENOENT, sentence);
}

static void answer(struct connection *c, char **args, int count)
{
    const char *verb = args[0], *arg = count > 1 ? args[1] : "";
    d.requests++;
    if (strcmp(verb, "ping") == 0 || (strcmp(verb, "stop") == 0 && !trouble("deaf", true))) {
        send_frame(c->fd, 'r', json_pack("{s:i}", "rank", d.rank));
        d.stopping = verb[0] == 's';
    } else if (strcmp(verb, "status") == 0) {
        send_frame(c->fd, 'r', status());
    } else if (strcmp(verb, "stat") == 0 && strcmp(arg, "all") == 0) {
        send_frame(c->fd, 'r', stat_all());
    } else if (strcmp(verb, "stat") == 0) {
        send_frame(c->fd, 'r',
                   json_pack("{s:i, s:o, s:{s:i, s:i}, s:{s:I, s:I}}", "rank", d.rank, "counters", counters(d.rank),
                             "fuse", "lookups", 1234567, "inodes", 77, "memory", "rss_bytes", (json_int_t)7 << 20,
                             "cached_bytes", (json_int_t)300 << 20));
    } else if (strcmp(verb, "metrics") == 0) {
        send_frame(c->fd, 'r', json_pack("{s:s}", "text", "# TYPE fake gauge\nfake 1\n"));
    } else if (strcmp(verb, "flush") == 0) {
        send_frame(c->fd, 'r', json_pack("{s:s, s:i}", "path", arg, "nodes", d.nodes));
    } else if (strcmp(verb, "mount") == 0 || strcmp(verb, "umount") == 0) {
        mount_verb(c->fd, arg, verb[0] == 'm');
    } else if (strcmp(verb, "wait-ready") == 0) {
        c->waits = true;
        c->told = UINT32_MAX;
        c->deadline_ms = now_ms() + strtoull(arg, NULL, 10);
    } else if (strcmp(verb, "stop") == 0) {
        send_frame(c->fd, 'r', json_object());
    } else {
        send_error(c->fd, EINVAL, "no such request; this is only a fake");
    }
}

static void look_again(struct connection *c)
{
    unsigned up = nodes_up();
    bool ready = up == d.nodes, late = now_ms() >= c->deadline_ms;
    if (ready || up != c->told)
        send_frame(c->fd, ready ? 'r' : 'p',
                   json_pack("{s:i, s:i, s:b}", "ready_nodes", up, "nodes", d.nodes, "ready", ready));
    c->told = up;
    if (!ready && late)
        send_error(c->fd, ETIMEDOUT, "not all nodes are ready yet; give them more time");
    c->waits = !ready && !late;
}

/* One request; false: the connection is over. */
static bool serve(struct connection *c)
{
    uint8_t head[4];
    char text[TL_CONTROL_REQUEST_MAX + 1], *args[TL_CONTROL_ARGS_MAX] = {NULL};
    if (recv(c->fd, head, 4, MSG_WAITALL) != 4)
        return false;
    uint32_t len = tl_get_u32(head);
    if (len == 0 || len > TL_CONTROL_REQUEST_MAX || recv(c->fd, text, len, MSG_WAITALL) != (ssize_t)len)
        return false;
    text[len] = '\0';
    int count = 0;
    for (char *p = text; p < text + len && count < (int)TL_CONTROL_ARGS_MAX; p += strlen(p) + 1)
        args[count++] = p;
    answer(c, args, count);
    return true;
}

/* ---- loop ---- */

static void accept_one(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    for (unsigned i = 0; fd >= 0 && i < CONNECTIONS_MAX; i++) {
        if (connections[i].fd >= 0)
            continue;
        connections[i] = (struct connection){.fd = fd};
        return;
    }
    if (fd >= 0)
        close(fd);
}

static void turn(int listener, int watch, int signals)
{
    struct pollfd p[CONNECTIONS_MAX + 3] = {
        {.fd = listener, .events = POLLIN}, {.fd = watch, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
    bool waits = false;
    for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
        p[i + 3] = (struct pollfd){.fd = connections[i].fd, .events = POLLIN};
        waits |= connections[i].waits;
    }
    if (trouble("silent", true))
        p[0].fd = -1;
    if (poll(p, CONNECTIONS_MAX + 3, waits ? 50 : -1) < 0)
        return;
    char buf[4096];
    if ((p[1].revents & POLLIN) != 0 && read(watch, buf, sizeof buf) < 0)
        fail("inotify: %s", strerror(errno));
    if ((p[2].revents & POLLIN) != 0 && read(signals, buf, sizeof buf) > 0)
        d.stopping = !trouble("deaf", true);
    if ((p[0].revents & POLLIN) != 0)
        accept_one(listener);
    for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
        struct connection *c = &connections[i];
        if (c->fd >= 0 && p[i + 3].fd == c->fd && p[i + 3].revents != 0 && !serve(c)) {
            close(c->fd);
            *c = (struct connection){.fd = -1};
        }
        if (c->fd >= 0 && c->waits)
            look_again(c);
    }
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    d.started = time(NULL);
    snprintf(d.dir, sizeof d.dir, "%s/%s", d.runtime, d.name);
    mkdir(d.runtime, 0700);
    mkdir(d.dir, 0700);
    read_key();
    read_nodes();
    if (trouble("fail", true))
        fail("127.0.0.1:%u: address already in use; choose another port", d.rank);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int listener = start();
    int watch = inotify_init1(IN_CLOEXEC), signals = signalfd(-1, &set, SFD_CLOEXEC);
    if (inotify_add_watch(watch, d.dir, IN_CREATE | IN_DELETE) < 0)
        fail("%s: %s", d.dir, strerror(errno));
    for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
        connections[i].fd = -1;
    while (!d.stopping)
        turn(listener, watch, signals);
    unlink(d.sock);
    unlink(d.pid);
    return 0;
}
