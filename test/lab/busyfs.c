// SPDX-License-Identifier: Apache-2.0
/* busyfs --source DIR --control SOCKET [options] MOUNTPOINT...
 *
 * Mounts the file system at every mount point, says "ready" on standard output, serves until SIGTERM or `busyctl SOCKET
 * quit`, unmounts. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lab/busyfs.h"

enum { STACK_BYTES = 256 << 10 };

static const char usage[] =
    "usage: busyfs --source DIR --control SOCKET [options] MOUNTPOINT...\n"
    "  --servers M        metadata operations served at once (default 4; 0: metadata costs nothing)\n"
    "  --service-us T     service time of one metadata operation (default 1000)\n"
    "  --latency-us L     added to every operation, in parallel (default 0)\n"
    "  --bandwidth B      bytes a second of the one data pipe (default 650000000; 0: no limit)\n"
    "  --timeout S        seconds that kernels keep entries and attributes (default 86400; NFS: 1)\n"
    "  --readahead-kb K   read-ahead of the mounts, to be set as root (default 0: the kernel's)\n"
    "  --threads N        requests served at once for each mount (default 24)\n";

static void *serve_mount(void *arg)
{
    struct busy_mount *m = arg;
    struct fuse_buf buf = {.mem = NULL};
    while (!fuse_session_exited(m->session)) {
        int got = fuse_session_receive_buf(m->session, &buf);
        if (got == -EINTR)
            continue;
        if (got <= 0)
            break;
        fuse_session_process_buf(m->session, &buf);
    }
    free(buf.mem);
    return NULL;
}

static int start_threads(struct busy_mount *m)
{
    pthread_attr_t attr;
    int rc = 0;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    for (uint32_t i = 0; i < m->fs->threads && rc == 0; i++) {
        pthread_t thread;
        rc = -pthread_create(&thread, &attr, serve_mount, m);
    }
    pthread_attr_destroy(&attr);
    return rc;
}

/* The kernel offers 128 KiB; only root may raise it, and only once the mount answers. 0 or -errno. */
static int raise_readahead(struct busy_mount *m)
{
    struct stat st;
    char path[128], value[32];
    if (stat(m->dir, &st) != 0)
        return -errno;
    snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", major(st.st_dev), minor(st.st_dev));
    int len = snprintf(value, sizeof(value), "%u", m->fs->readahead_kb);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = write(fd, value, (size_t)len) == len ? 0 : -errno;
    close(fd);
    return rc;
}

static int start_mount(struct busy_fs *fs, uint32_t i, const char *dir)
{
    char name[] = "busyfs", opt[] = "-o", opts[] = "ro,allow_other,default_permissions,fsname=busyfs,subtype=busyfs";
    char *argv[] = {name, opt, opts, NULL};
    struct fuse_args args = FUSE_ARGS_INIT(3, argv);
    struct busy_mount *m = &fs->mounts[i];
    m->fs = fs;
    m->index = i;
    m->dir = dir;
    m->session = fuse_session_new(&args, &busy_ops, sizeof(busy_ops), m);
    fuse_opt_free_args(&args);
    if (m->session == NULL || fuse_session_mount(m->session, dir) != 0) {
        fprintf(stderr, "busyfs: %s: cannot mount here; /dev/fuse and the right to mount are needed (root)\n", dir);
        return -EPERM;
    }
    int rc = start_threads(m);
    if (rc == 0 && fs->readahead_kb > 0 && (rc = raise_readahead(m)) != 0)
        fprintf(stderr, "busyfs: %s: cannot set its read-ahead: %s; run as root or leave --readahead-kb out\n", dir,
                strerror(-rc));
    return rc;
}

static uint64_t number(const char *option, const char *text)
{
    char *end = NULL;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0') {
        fprintf(stderr, "busyfs: --%s %s: not a number\n", option, text);
        exit(2);
    }
    return value;
}

static void set_option(struct busy_fs *fs, const char *name, const char *value)
{
    if (strcmp(name, "source") == 0)
        fs->source = value;
    else if (strcmp(name, "control") == 0)
        fs->control = value;
    else if (strcmp(name, "timeout") == 0)
        fs->timeout_s = (double)number(name, value);
    else if (strcmp(name, "readahead-kb") == 0)
        fs->readahead_kb = (uint32_t)number(name, value);
    else if (strcmp(name, "threads") == 0)
        fs->threads = (uint32_t)number(name, value);
    else if (busy_model_set(&fs->model, name, number(name, value)) != 0) {
        fprintf(stderr, "busyfs: --%s %s: out of range\n", name, value);
        exit(2);
    }
}

/* Fills fs from the command line; returns the index of the first mount point. */
static int parse(struct busy_fs *fs, int argc, char **argv)
{
    static const struct option options[] = {
        {"source", 1, NULL, 0},     {"control", 1, NULL, 0},   {"servers", 1, NULL, 0}, {"service-us", 1, NULL, 0},
        {"latency-us", 1, NULL, 0}, {"bandwidth", 1, NULL, 0}, {"timeout", 1, NULL, 0}, {"readahead-kb", 1, NULL, 0},
        {"threads", 1, NULL, 0},    {NULL, 0, NULL, 0},
    };
    int index = 0, c;
    busy_model_init(&fs->model);
    fs->timeout_s = 86400;
    fs->threads = 24;
    set_option(fs, "servers", "4");
    set_option(fs, "service-us", "1000");
    set_option(fs, "bandwidth", "650000000");
    while ((c = getopt_long(argc, argv, "", options, &index)) == 0)
        set_option(fs, options[index].name, optarg);
    if (c != -1 || fs->source == NULL || fs->control == NULL || optind == argc || fs->threads == 0 ||
        argc - optind > (int)BUSY_MOUNTS_MAX) {
        fputs(usage, stderr);
        exit(2);
    }
    return optind;
}

/* Every read of a file in the source needs a descriptor while the file is open on some node. */
static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    static struct busy_fs fs; /* static: threads use it until the process ends */
    sigset_t signals;
    int first = parse(&fs, argc, argv), rc = 0, got = 0;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); /* inherited by all threads; sigwait below takes them */
    signal(SIGPIPE, SIG_IGN);
    raise_file_limit();
    if ((rc = busy_tree_init(&fs.tree, fs.source)) != 0) {
        fprintf(stderr, "busyfs: --source %s: %s\n", fs.source, strerror(-rc));
        return 1;
    }
    for (int i = first; i < argc && rc == 0; i++) {
        rc = start_mount(&fs, fs.mount_count, argv[i]);
        fs.mount_count += rc == 0 ? 1 : 0;
    }
    if (rc == 0 && (rc = busy_control_start(&fs)) != 0)
        fprintf(stderr, "busyfs: --control %s: %s\n", fs.control, strerror(-rc));
    if (rc == 0) {
        puts("ready");
        fflush(stdout);
        sigwait(&signals, &got);
    }
    for (uint32_t i = 0; i < fs.mount_count; i++)
        umount2(fs.mounts[i].dir, MNT_DETACH);
    unlink(fs.control);
    /* The kernel ends what is open when /dev/fuse closes; the threads go with the process. */
    _exit(rc == 0 ? 0 : 1);
}
