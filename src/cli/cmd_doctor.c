// SPDX-License-Identifier: Apache-2.0
/* tiercel doctor: what this machine allows, which way `run` will take, and what to do about the rest.
 *
 * What decides is tried, not guessed: a child makes the namespaces and the mount that `run` will make. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/tier.h"

enum state { GOOD, NOTE, BAD }; /* as it should be; works, but; in the way of `run` */

struct doctor {
    bool json;
    json_t *checks;
    bool can_mount, has_programs;
    char why_not[512];
};

static const char *const state_names[] = {"ok", "note", "bad"};

/* One finding. remedy: "" if there is nothing to do. */
static void say(struct doctor *d, enum state state, const char *name, const char *detail, const char *remedy)
{
    static const char *const colors[] = {"\033[32m", "\033[33m", "\033[31m"};
    json_array_append_new(d->checks, json_pack("{s:s, s:s, s:s, s:s}", "name", name, "state", state_names[state],
                                               "detail", detail, "remedy", remedy));
    if (d->json)
        return;
    bool color = cli_color();
    printf("%s%-4s%s  %-16s %s\n", color ? colors[state] : "", state_names[state], color ? "\033[0m" : "", name,
           detail);
    if (remedy[0] != '\0')
        printf("%24s%s\n", "-> ", remedy);
}

static void why_not(struct doctor *d, const char *reason)
{
    if (d->why_not[0] == '\0')
        snprintf(d->why_not, sizeof d->why_not, "%.511s", reason);
}

/* ---- what decides: kernel, /dev/fuse, namespaces, the mount ---- */

static bool kernel_from(const struct utsname *u, unsigned major, unsigned minor)
{
    unsigned a = 0, b = 0;
    return sscanf(u->release, "%u.%u", &a, &b) == 2 && (a > major || (a == major && b >= minor));
}

static void check_kernel(struct doctor *d)
{
    struct utsname u;
    char detail[256];
    if (uname(&u) != 0 || !kernel_from(&u, 5, 4)) {
        snprintf(detail, sizeof detail, "%.60s: older than 5.4, which Tiercel needs", u.release);
        say(d, BAD, "kernel", detail, "use a machine with a newer kernel");
        why_not(d, detail);
        return;
    }
    snprintf(detail, sizeof detail, "%.60s: opens without messages%s%s", u.release,
             kernel_from(&u, 6, 9) ? ", request resend (6.9)" : "",
             kernel_from(&u, 6, 16) ? ", invalidation of all names at once (6.16)" : "");
    say(d, GOOD, "kernel", detail, "");
}

static bool check_fuse_device(struct doctor *d)
{
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fd >= 0) {
        close(fd);
        say(d, GOOD, "/dev/fuse", "can be opened", "");
        return true;
    }
    char detail[128];
    snprintf(detail, sizeof detail, "cannot be opened: %s", strerror(errno));
    say(d, BAD, "/dev/fuse", detail,
        errno == ENOENT ? "ask for the fuse module (`modprobe fuse`), or for the device in this container"
                        : "ask for mode 0666, as systemd and udev set it");
    snprintf(d->why_not, sizeof d->why_not, "/dev/fuse %s", detail);
    return false;
}

static bool write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return ok;
}

/* How far the child got, as its exit code; errno beside it through the pipe. */
enum step { STEP_NAMESPACE = 1, STEP_MAP, STEP_PRIVATE, STEP_MOUNT };

static enum step try_mount(bool with_fuse)
{
    char map[64], data[96];
    uid_t uid = geteuid();
    gid_t gid = getegid();
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
        return STEP_NAMESPACE;
    write_text("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "%u %u 1", uid, uid);
    if (!write_text("/proc/self/uid_map", map))
        return STEP_MAP;
    snprintf(map, sizeof map, "%u %u 1", gid, gid);
    if (!write_text("/proc/self/gid_map", map))
        return STEP_MAP;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return STEP_PRIVATE;
    if (!with_fuse)
        return 0;
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    snprintf(data, sizeof data, "fd=%d,rootmode=40000,user_id=%u,group_id=%u", fd, uid, gid);
    return mount("tiercel-doctor", "/tmp", "fuse.tiercel", MS_NOSUID | MS_NODEV | MS_RDONLY, data) == 0 ? 0
                                                                                                        : STEP_MOUNT;
}

/* Runs try_mount in a child, whose namespaces and mount go with it. */
static enum step try_in_child(bool with_fuse, int *code)
{
    int result[2];
    *code = 0;
    if (pipe2(result, O_CLOEXEC) != 0)
        return STEP_NAMESPACE;
    pid_t pid = fork();
    if (pid == 0) {
        enum step step = try_mount(with_fuse);
        int reply[2] = {(int)step, errno};
        _exit(write(result[1], reply, sizeof reply) == (ssize_t)sizeof reply ? 0 : 1);
    }
    close(result[1]);
    int reply[2] = {STEP_NAMESPACE, errno};
    if (pid > 0) {
        ssize_t n = read(result[0], reply, sizeof reply);
        waitpid(pid, NULL, 0);
        if (n != (ssize_t)sizeof reply)
            reply[0] = STEP_NAMESPACE;
    }
    close(result[0]);
    *code = reply[1];
    return (enum step)reply[0];
}

static const char *namespace_remedy(int code)
{
    if (code == ENOSPC)
        return "ask for user namespaces: `sysctl user.max_user_namespaces` is used up or 0";
    if (access("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", F_OK) == 0)
        return "ask for an AppArmor profile for Tiercel, or kernel.apparmor_restrict_unprivileged_userns=0";
    if (access("/proc/sys/kernel/unprivileged_userns_clone", F_OK) == 0)
        return "ask for `sysctl kernel.unprivileged_userns_clone=1`";
    return "ask for user namespaces (in a container: for a profile that allows unshare and mount)";
}

static void check_namespaces(struct doctor *d, bool fuse)
{
    int code;
    char detail[256];
    enum step step = try_in_child(fuse, &code);
    if (step == STEP_NAMESPACE || step == STEP_MAP || step == STEP_PRIVATE) {
        snprintf(detail, sizeof detail, "refused: %s", strerror(code));
        say(d, BAD, "namespaces", detail, namespace_remedy(code));
        snprintf(d->why_not, sizeof d->why_not, "user namespaces are %s", detail);
        return;
    }
    say(d, GOOD, "namespaces", "a private user and mount namespace was made", "");
    if (!fuse)
        return;
    if (step == STEP_MOUNT) {
        snprintf(detail, sizeof detail, "refused in the namespace: %s", strerror(code));
        say(d, BAD, "mount", detail, "ask whether a security module (AppArmor, SELinux, Landlock, seccomp) forbids it");
        snprintf(d->why_not, sizeof d->why_not, "the mount was %s", detail);
        return;
    }
    say(d, GOOD, "mount", "a FUSE mount in it was made, and went with it", "");
    d->can_mount = true;
}

static bool in_path(const char *name, char out[TIERCEL_PATH_SIZE])
{
    const char *path = getenv("PATH");
    char *copy = strdup(path != NULL ? path : "/usr/bin:/bin"), *rest = NULL;
    bool found = false;
    for (char *dir = copy != NULL ? strtok_r(copy, ":", &rest) : NULL; dir != NULL && !found;
         dir = strtok_r(NULL, ":", &rest)) {
        int n = snprintf(out, TIERCEL_PATH_SIZE, "%s/%s", dir, name);
        found = n > 0 && n < TIERCEL_PATH_SIZE && access(out, X_OK) == 0;
    }
    free(copy);
    return found;
}

static void check_fusermount(struct doctor *d)
{
    char path[TIERCEL_PATH_SIZE], detail[TIERCEL_PATH_SIZE + 64];
    struct stat st;
    if (geteuid() == 0) {
        say(d, GOOD, "fusermount3", "not needed: root mounts by itself", "");
        return;
    }
    if (!in_path("fusermount3", path)) {
        say(d, NOTE, "fusermount3", "not found: `tiercel mount` will not work, `tiercel run` does not need it",
            "ask for the package fuse3, if you want plain mounts");
        return;
    }
    bool setuid = stat(path, &st) == 0 && (st.st_mode & S_ISUID) != 0 && st.st_uid == 0;
    snprintf(detail, sizeof detail, "%s%s", path, setuid ? "" : ": not setuid root, so `tiercel mount` will not work");
    say(d, setuid ? GOOD : NOTE, "fusermount3", detail, setuid ? "" : "ask for `chmod u+s`, if you want plain mounts");
}

/* ---- programs, places, limits ---- */

static void check_programs(struct doctor *d)
{
    static const char *const names[] = {"tierceld", "tiercel-launch"};
    d->has_programs = true;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[TIERCEL_PATH_SIZE];
        struct tiercel_error err = {0};
        if (cli_helper(names[i], path, &err) == 0) {
            say(d, GOOD, names[i], path, "");
            continue;
        }
        say(d, BAD, names[i], err.message, "");
        d->has_programs = false;
        why_not(d, err.message);
    }
}

static void check_runtime(struct doctor *d)
{
    char dir[TIERCEL_PATH_SIZE], detail[TIERCEL_PATH_SIZE + 64];
    struct tiercel_error err = {0};
    struct statvfs fs;
    int rc = tiercel_runtime_dir(0, dir, sizeof dir, &err);
    if (rc == 0)
        rc = tiercel_dir_check(dir, &err);
    if (rc < 0 && rc != -ENOENT) {
        say(d, BAD, "runtime folder", err.message, "");
        why_not(d, err.message);
        return;
    }
    if (strlen(dir) > 60) {
        snprintf(detail, sizeof detail, "%s: so long that sockets below it will not fit (107 bytes in all)", dir);
        say(d, BAD, "runtime folder", detail, "set TIERCEL_RUNTIME_DIR to a shorter path");
        why_not(d, detail);
        return;
    }
    snprintf(detail, sizeof detail, "%s%s", dir, rc == -ENOENT ? " (made by the first `tiercel up`)" : "");
    bool full = statvfs(dir, &fs) == 0 && fs.f_bavail == 0;
    say(d, full ? BAD : GOOD, "runtime folder", detail,
        full ? "its file system is full: make room, or set TIERCEL_RUNTIME_DIR" : "");
}

static uint64_t read_number(const char *path)
{
    char text[32];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        close(fd);
    if (n <= 0 || text[0] < '0' || text[0] > '9')
        return UINT64_MAX;
    text[n] = '\0';
    return strtoull(text, NULL, 10);
}

static void check_memory(struct doctor *d)
{
    char a[CLI_UNIT_SIZE], b[CLI_UNIT_SIZE], detail[160];
    int fd = memfd_create("tiercel-doctor", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, 1 << 20) != 0) {
        snprintf(detail, sizeof detail, "shared memory (memfd) is refused: %s", strerror(errno));
        say(d, BAD, "memory", detail, "ask for memfd_create in this container's profile");
        why_not(d, detail);
    } else {
        struct sysinfo info = {0};
        sysinfo(&info);
        uint64_t total = (uint64_t)info.totalram * info.mem_unit, group = read_number("/sys/fs/cgroup/memory.max");
        snprintf(detail, sizeof detail, "%s in this machine%s%s", cli_bytes(a, total),
                 group < total ? ", of which this job may use " : "", group < total ? cli_bytes(b, group) : "");
        say(d, group < total / 16 ? NOTE : GOOD, "memory", detail,
            group < total ? "give the cache its share of the job's memory with `tiercel up --cache-size`" : "");
    }
    if (fd >= 0)
        close(fd);
}

static void check_limits(struct doctor *d)
{
    char detail[160], a[CLI_UNIT_SIZE];
    struct rlimit files = {0}, locked = {0};
    getrlimit(RLIMIT_NOFILE, &files);
    getrlimit(RLIMIT_MEMLOCK, &locked);
    snprintf(detail, sizeof detail, "%llu now, up to %llu", (unsigned long long)files.rlim_cur,
             (unsigned long long)files.rlim_max);
    bool few = files.rlim_max < 1024;
    say(d, few ? NOTE : GOOD, "open files", detail,
        few ? "raise `ulimit -Hn` to 1024 or more for trees with many children" : "");
    bool any = locked.rlim_cur == RLIM_INFINITY;
    snprintf(detail, sizeof detail, "%s", any ? "no limit" : cli_bytes(a, locked.rlim_cur));
    strcat(detail, any ? "" : ": enough for TCP, which is used where a fabric cannot pin the cache");
    say(d, GOOD, "locked memory", detail, "");
    time_t now = time(NULL);
    bool wrong = now < 1735689600; /* 2025 */
    struct tm tm;
    char clock[64] = "unknown";
    if (gmtime_r(&now, &tm) != NULL)
        strftime(clock, sizeof clock, "%Y-%m-%d %H:%M:%S UTC", &tm);
    say(d, wrong ? NOTE : GOOD, "clock", clock,
        wrong ? "set the clock: logs of several machines will not fit together" : "");
}

/* ---- between machines ---- */

static void check_launchers(struct doctor *d)
{
    char path[TIERCEL_PATH_SIZE], detail[TIERCEL_PATH_SIZE + 128];
    const char *slurm = getenv("SLURM_JOB_ID"), *pbs = getenv("PBS_NODEFILE"), *ssh = getenv("TIERCEL_SSH");
    if (slurm != NULL) {
        bool srun = in_path("srun", path);
        snprintf(detail, sizeof detail, "inside job %.40s%s", slurm,
                 srun ? "; `tiercel up` uses srun" : ", but no srun in PATH");
        say(d, srun ? GOOD : BAD, "Slurm", detail, srun ? "" : "add Slurm's bin directory to PATH, or use --hostfile");
    }
    if (pbs != NULL) {
        bool readable = access(pbs, R_OK) == 0;
        snprintf(detail, sizeof detail, "node file %.2000s%s", pbs,
                 readable ? "; `tiercel up` uses ssh" : " cannot be read");
        say(d, readable ? GOOD : BAD, "PBS", detail, readable ? "" : "use --hostfile");
    }
    if (slurm == NULL && pbs == NULL)
        say(d, GOOD, "batch system", "not inside a Slurm or PBS job; `tiercel up` starts one node here", "");
    bool found = ssh != NULL || in_path("ssh", path);
    snprintf(detail, sizeof detail, "%.4000s",
             ssh != NULL ? ssh
             : found     ? path
                         : "not found: `up --hostfile` will not work");
    say(d, found ? GOOD : NOTE, "ssh", detail, found ? "" : "install an ssh client");
}

/* In a child: loading a fabric library runs its start-up code. */
static bool loads(const char *library)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(dlopen(library, RTLD_LAZY | RTLD_LOCAL) != NULL ? 0 : 1);
    int status;
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static void check_network(struct doctor *d)
{
    struct cli_nodes nodes = {0};
    struct tiercel_error err = {0};
    bool ports = cli_nodes_here(&nodes, 4, &err) == 0;
    say(d, ports ? GOOD : BAD, "ports",
        ports ? "free ports on 127.0.0.1; host files without ports use one of 20000 to 39999" : err.message, "");
    cli_nodes_fini(&nodes);
    bool fabric = loads("libfabric.so.1");
    say(d, GOOD, "libfabric", fabric ? "libfabric.so.1 was found" : "no libfabric.so.1: all data goes over TCP", "");
}

static void check_munge(struct doctor *d)
{
    struct tiercel_error why = {0};
    bool slurm = getenv("SLURM_JOB_ID") != NULL, here = cli_auth_probe(&why) == 0;
    char detail[sizeof why.message + 80];
    if (here)
        snprintf(detail, sizeof detail, "munged makes credentials; %s",
                 slurm ? "the key goes to the job's nodes in them" : "`tiercel up --auth munge` sends keys in them");
    else
        snprintf(detail, sizeof detail, "not in use: keys go over ssh or srun as they are (%s)", why.message);
    say(d, GOOD, "MUNGE", detail, "");
}

static void check_tier(struct doctor *d)
{
    struct tiercel *t;
    struct tiercel_error err = {0};
    char detail[256];
    int rc = tiercel_open(&t, NULL, TIERCEL_ANY_RANK, 2000, &err);
    if (rc == 0) {
        snprintf(detail, sizeof detail, "up: %.200s", tiercel_socket_path(t));
        say(d, GOOD, "tier", detail, "");
        tiercel_close(t);
    } else if (rc == -ENOENT) {
        say(d, GOOD, "tier", "none is up here; `tiercel run` will start one of its own", "");
    } else {
        say(d, NOTE, "tier", err.message, "");
    }
}

static int conclude(struct doctor *d)
{
    bool served = d->can_mount && d->has_programs && d->why_not[0] == '\0';
    const char *way = served ? "FUSE in a private namespace" : "the plain file system";
    if (d->json) {
        json_t *run = json_pack("{s:b, s:s, s:s}", "served", served, "way", way, "reason", d->why_not);
        int rc = cli_print_json(json_pack("{s:o, s:o}", "run", run, "checks", d->checks));
        return rc == CLI_OK && !served ? CLI_FAILED : rc;
    }
    json_decref(d->checks);
    if (served)
        printf("\n`tiercel run` will serve files through %s.\nSetuid programs (sudo, ping) have no special rights in "
               "it.\n",
               way);
    else
        printf("\n`tiercel run` will start programs on %s, without the tier: %s.\n", way, d->why_not);
    int rc = cli_finish();
    return rc == CLI_OK && !served ? CLI_FAILED : rc;
}

int cmd_doctor(const struct cli_verb *self, int argc, char **argv)
{
    struct doctor d = {0};
    const struct cli_option options[] = {CLI_OPTION_JSON(&d.json)};
    int go = cli_parse(self, options, sizeof options / sizeof options[0], &argc, &argv, 0);
    if (go != CLI_GO)
        return go;
    d.checks = json_array();
    check_kernel(&d);
    check_namespaces(&d, check_fuse_device(&d));
    check_fusermount(&d);
    check_programs(&d);
    check_runtime(&d);
    check_memory(&d);
    check_limits(&d);
    check_launchers(&d);
    check_munge(&d);
    check_network(&d);
    check_tier(&d);
    return conclude(&d);
}
