// SPDX-License-Identifier: Apache-2.0
/* The control socket of busyfs: one request a connection. The client sends NUL-terminated words and shuts its side; the
 * answer is text up to the end: JSON, with "error" when the request could not be carried out. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lab/busyfs.h"

#include "base/time.h"

enum { REQUEST_MAX = 8192, WORDS_MAX = 8 };

static void print_counters(FILE *out, const struct busy_counters *c)
{
#define BUSY_PRINT(name) fprintf(out, "\"" #name "\": %" PRIu64 ", ", (uint64_t)atomic_load(&c->name));
    BUSY_COUNTERS(BUSY_PRINT)
#undef BUSY_PRINT
    /* What the metadata server did, opens apart: those have a figure of their own. */
    fprintf(out, "\"metadata\": %" PRIu64,
            (uint64_t)(atomic_load(&c->lookups) + atomic_load(&c->getattrs) + atomic_load(&c->readlinks) +
                       atomic_load(&c->readdirs) + atomic_load(&c->statfs)));
}

static void add_counters(struct busy_counters *sum, const struct busy_counters *c)
{
#define BUSY_ADD(name) atomic_fetch_add(&sum->name, atomic_load(&c->name));
    BUSY_COUNTERS(BUSY_ADD)
#undef BUSY_ADD
}

static uint64_t us(uint64_t ns)
{
    return ns / TL_NS_PER_US;
}

static void print_stat(struct busy_fs *fs, FILE *out)
{
    struct busy_counters sum;
    memset(&sum, 0, sizeof(sum));
    for (uint32_t i = 0; i < fs->mount_count; i++)
        add_counters(&sum, &fs->mounts[i].counters);
    fprintf(out, "{");
    print_counters(out, &sum);
    pthread_mutex_lock(&fs->tree.lock);
    struct busy_distinct d = fs->tree.distinct;
    pthread_mutex_unlock(&fs->tree.lock);
    fprintf(out,
            ", \"distinct\": {\"files_opened\": %" PRIu64 ", \"chunks\": %" PRIu64 ", \"bytes\": %" PRIu64
            ", \"directories\": %" PRIu64 ", \"links\": %" PRIu64 ", \"missing\": %" PRIu64 ", \"names\": %" PRIu64 "}",
            d.files_opened, d.chunks, d.bytes, d.directories, d.links, d.missing, d.names);
    pthread_mutex_lock(&fs->model.lock);
    fprintf(out,
            ", \"model\": {\"servers\": %" PRIu32 ", \"service_us\": %" PRIu64 ", \"latency_us\": %" PRIu64
            ", \"bandwidth\": %" PRIu64 ", \"wait_max_us\": %" PRIu64 ", \"service_total_us\": %" PRIu64 "}",
            fs->model.servers, us(fs->model.service_ns), us(fs->model.latency_ns), fs->model.bandwidth,
            us(fs->model.wait_max_ns), us(fs->model.service_total_ns));
    pthread_mutex_unlock(&fs->model.lock);
    fprintf(out, ", \"mounts\": [");
    for (uint32_t i = 0; i < fs->mount_count; i++) {
        fprintf(out, "%s{", i > 0 ? ", " : "");
        print_counters(out, &fs->mounts[i].counters);
        fprintf(out, "}");
    }
    fprintf(out, "]}\n");
}

static int do_reset(struct busy_fs *fs)
{
    for (uint32_t i = 0; i < fs->mount_count; i++) {
#define BUSY_ZERO(name) atomic_store(&fs->mounts[i].counters.name, 0);
        BUSY_COUNTERS(BUSY_ZERO)
#undef BUSY_ZERO
    }
    busy_tree_reset(&fs->tree);
    busy_model_reset(&fs->model);
    return 0;
}

/* Everything the kernels hold is forgotten, leaves first: a directory's names go before it does. */
static int do_drop(struct busy_fs *fs)
{
    pthread_mutex_lock(&fs->tree.lock);
    struct busy_node *all = fs->tree.all; /* later records are in front of it: not known to anybody before now */
    pthread_mutex_unlock(&fs->tree.lock);
    for (struct busy_node *n = all; n != NULL; n = n->next)
        if (n->known_by != 0 || n->parent == NULL)
            busy_invalidate(fs, n);
    return 0;
}

static uint64_t number(const char *word, uint64_t otherwise)
{
    return word == NULL ? otherwise : strtoull(word, NULL, 10);
}

/* fail open|read PATH ERRNO [AFTER [COUNT]] */
static int do_fail(struct busy_fs *fs, char **words, int count)
{
    struct busy_node *n = count >= 4 ? busy_tree_find(&fs->tree, words[2]) : NULL;
    if (n == NULL)
        return count >= 4 ? -ENOENT : -EINVAL;
    struct busy_fault f = {.error = (int)number(words[3], 0),
                           .after = count > 4 ? number(words[4], 0) : 0,
                           .count = count > 5 ? number(words[5], 0) : 0};
    struct busy_fault *where = strcmp(words[1], "open") == 0 ? &n->open_fault : &n->read_fault;
    pthread_mutex_lock(&fs->tree.lock);
    *where = f;
    pthread_mutex_unlock(&fs->tree.lock);
    return 0;
}

/* change PATH [K]: the file becomes another one (other bytes, later times), now or at its K-th read from now. */
static int do_change(struct busy_fs *fs, char **words, int count)
{
    struct busy_node *n = count >= 2 ? busy_tree_find(&fs->tree, words[1]) : NULL;
    uint64_t k = count >= 3 ? number(words[2], 0) : 0;
    if (n == NULL)
        return count >= 2 ? -ENOENT : -EINVAL;
    pthread_mutex_lock(&fs->tree.lock);
    n->change_after = k;
    n->generation += k == 0 ? 1 : 0;
    pthread_mutex_unlock(&fs->tree.lock);
    if (k == 0)
        busy_invalidate(fs, n);
    return 0;
}

static int carry_out(struct busy_fs *fs, char **words, int count, FILE *out)
{
    const char *verb = count > 0 ? words[0] : "";
    int rc = 0;
    if (strcmp(verb, "stat") == 0) {
        print_stat(fs, out);
        return 0;
    }
    if (strcmp(verb, "reset") == 0)
        rc = do_reset(fs);
    else if (strcmp(verb, "drop") == 0)
        rc = do_drop(fs);
    else if (strcmp(verb, "set") == 0 && count == 3)
        rc = busy_model_set(&fs->model, words[1], number(words[2], 0));
    else if (strcmp(verb, "fail") == 0)
        rc = do_fail(fs, words, count);
    else if (strcmp(verb, "change") == 0)
        rc = do_change(fs, words, count);
    else if (strcmp(verb, "quit") == 0)
        atomic_store(&fs->ending, true);
    else
        rc = -EINVAL;
    if (rc == 0)
        fprintf(out, "{}\n");
    return rc;
}

static int split(char *bytes, size_t len, char **words)
{
    int count = 0;
    for (size_t at = 0; at < len && count < WORDS_MAX; at += strlen(bytes + at) + 1)
        words[count++] = bytes + at;
    return count;
}

static void answer(struct busy_fs *fs, int fd)
{
    char request[REQUEST_MAX + 1], *words[WORDS_MAX] = {NULL};
    size_t len = 0;
    ssize_t got;
    while (len < REQUEST_MAX && (got = read(fd, request + len, REQUEST_MAX - len)) > 0)
        len += (size_t)got;
    request[len] = '\0';
    FILE *out = fdopen(fd, "w");
    if (out == NULL) {
        close(fd);
        return;
    }
    int rc = carry_out(fs, words, split(request, len, words), out);
    if (rc != 0)
        fprintf(out, "{\"error\": \"%s: %s\"}\n", words[0] == NULL ? "" : words[0], strerror(-rc));
    fclose(out);
}

static void *serve(void *arg)
{
    struct busy_fs *fs = ((struct busy_fs **)arg)[0];
    int listener = (int)(intptr_t)((void **)arg)[1];
    free(arg);
    while (!atomic_load(&fs->ending)) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            answer(fs, fd);
        else if (errno != EINTR && errno != ECONNABORTED)
            break;
    }
    unlink(fs->control);
    kill(getpid(), SIGTERM);
    return NULL;
}

int busy_control_start(struct busy_fs *fs)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (strlen(fs->control) >= sizeof(addr.sun_path))
        return -ENAMETOOLONG;
    strcpy(addr.sun_path, fs->control);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    unlink(fs->control);
    void **arg = calloc(2, sizeof(*arg));
    pthread_t thread;
    int rc = arg == NULL ? -ENOMEM : 0;
    if (rc == 0 && (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 || listen(fd, 16) != 0))
        rc = -errno;
    if (rc == 0) {
        arg[0] = fs;
        arg[1] = (void *)(intptr_t)fd;
        rc = -pthread_create(&thread, NULL, serve, arg);
    }
    if (rc == 0) {
        pthread_detach(thread);
    } else {
        free(arg);
        close(fd);
    }
    return rc;
}
