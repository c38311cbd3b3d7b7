// SPDX-License-Identifier: Apache-2.0
/* tiercel doctor: what this machine allows, which way `run` will take, and what to do about the rest.
 *
 * What decides is tried, not guessed: tiercel-launch, which serves, is asked to try each of its ways. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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
    json_t *ways;
    bool can_serve, has_programs;
    char way[64], way_summary[128]; /* the first that is taken for every path */
    char some[320];                 /* which paths are served by a better one */
    char why_no_way[512];           /* of the best one */
    char why_not[512];              /* what else is in the way, of all of them */
};

static const char *const state_names[] = {"ok", "note", "bad"};

enum { TEXT_COLUMN = 22, LINE_END = 100 };

/* Prints text at TEXT_COLUMN, in lines that end before LINE_END; `head` ends before the first. The line so far has `column` of it. */
static void print_wrapped(int column, const char *head, const char *text)
{
    column += printf("%*s", TEXT_COLUMN - column, head);
    for (bool first = true; *text != '\0'; first = false) {
        int word = (int)strcspn(text, " ");
        bool fits = column + 1 + word <= LINE_END;
        if (!first)
            printf("%s%*s", fits ? "" : "\n", fits ? 1 : TEXT_COLUMN, "");
        printf("%.*s", word, text);
        column = (fits ? column + !first : TEXT_COLUMN) + word;
        text += text[word] == ' ' ? word + 1 : word;
    }
    printf("\n");
}

/* One finding. remedy: "" if there is nothing to do. */
static void say(struct doctor *d, enum state state, const char *name, const char *detail, const char *remedy)
{
    static const char *const colors[] = {"\033[32m", "\033[33m", "\033[31m"};
    json_array_append_new(d->checks, json_pack("{s:s, s:s, s:s, s:s}", "name", name, "state", state_names[state],
                                               "detail", detail, "remedy", remedy));
    if (d->json)
        return;
    bool color = cli_color();
    printf("%s%-4s%s  %-16s", color ? colors[state] : "", state_names[state], color ? "\033[0m" : "", name);
    print_wrapped(TEXT_COLUMN, "", detail);
    if (remedy[0] != '\0')
        print_wrapped(0, "-> ", remedy);
}

static void why_not(struct doctor *d, const char *reason)
{
    if (d->why_not[0] == '\0')
        snprintf(d->why_not, sizeof d->why_not, "%.511s", reason);
}

/* ---- the kernel ---- */

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

/* ---- the ways to serve: what tiercel-launch --probe tells ---- */

struct way {
    const char *name, *can, *summary, *condition, *limits, *why;
};

enum { WAY_FIELDS = 6 };

static void print_way(const struct way *w, const char *state, const char *why, const char *remedy)
{
    const char *color = strncmp(state, "taken", 5) == 0 ? "\033[32m" : strcmp(state, "no") == 0 ? "\033[33m" : "";
    bool colored = cli_color() && color[0] != '\0';
    printf("  %s%-8s%s  %-8s", colored ? color : "", state, colored ? "\033[0m" : "", w->name);
    print_wrapped(20, "", w->summary);
    if (why[0] != '\0')
        print_wrapped(0, "why: ", why);
    if (remedy[0] != '\0')
        print_wrapped(0, "-> ", remedy);
    if (why[0] == '\0' && w->condition[0] != '\0')
        print_wrapped(0, "if: ", w->condition);
    if (why[0] == '\0' && w->limits[0] != '\0')
        print_wrapped(0, "but: ", w->limits);
}

/* One way. A sentence ends where its remedy begins: "cause; remedy". */
static void say_way(struct doctor *d, const struct way *w)
{
    char why[512], *remedy = NULL;
    snprintf(why, sizeof why, "%.511s", w->why);
    if ((remedy = strstr(why, "; ")) != NULL) {
        *remedy = '\0';
        remedy += 2;
    }
    bool can = strcmp(w->can, "yes") == 0, first = can && d->way[0] == '\0', some = first && w->condition[0] != '\0';
    const char *state = some ? "taken if" : first ? "taken" : can ? "possible" : "no";
    if (strcmp(w->name, "source") == 0 && !first)
        state = "always";
    json_array_append_new(d->ways, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "name", w->name, "state", state,
                                             "summary", w->summary, "condition", w->condition, "limits", w->limits,
                                             "reason", why, "remedy", remedy != NULL ? remedy : ""));
    if (!d->json)
        print_way(w, state, why, remedy != NULL ? remedy : "");
    if (some && d->some[0] == '\0')
        snprintf(d->some, sizeof d->some, "%.200s are served through `%.60s`", w->condition, w->name);
    if (first && !some) {
        snprintf(d->way, sizeof d->way, "%.60s", w->name);
        snprintf(d->way_summary, sizeof d->way_summary, "%.120s", w->summary);
    }
    if (!can && d->why_no_way[0] == '\0')
        snprintf(d->why_no_way, sizeof d->why_no_way, "%.511s", why);
}

/* Starts it; what it prints. NULL if it cannot be started. */
static FILE *start_probe(const char *program, pid_t *pid)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return NULL;
    *pid = fork();
    if (*pid == 0) {
        dup2(ends[1], 1);
        execl(program, program, "--probe", (char *)NULL);
        _exit(1);
    }
    close(ends[1]);
    FILE *out = *pid > 0 ? fdopen(ends[0], "re") : NULL;
    if (out == NULL)
        close(ends[0]);
    return out;
}

static void check_ways(struct doctor *d)
{
    static const struct way source = {"source", "yes", "the files as they are, without the tier", "", "", ""};
    char program[TIERCEL_PATH_SIZE], line[2048];
    struct tiercel_error err = {0};
    pid_t pid = -1;
    if (!d->json)
        printf("Ways in which `tiercel run` can serve files, best first (--how WAY asks for one):\n\n");
    fflush(stdout);
    FILE *out = cli_helper("tiercel-launch", program, &err) == 0 ? start_probe(program, &pid) : NULL;
    while (out != NULL && fgets(line, sizeof line, out) != NULL) {
        char *rest = line;
        const char *fields[WAY_FIELDS];
        line[strcspn(line, "\n")] = '\0';
        for (int i = 0; i < WAY_FIELDS; i++) {
            fields[i] = strsep(&rest, "\t");
            if (fields[i] == NULL)
                fields[i] = "";
        }
        say_way(d, &(struct way){fields[0], fields[1], fields[2], fields[3], fields[4], fields[5]});
    }
    if (out != NULL)
        fclose(out);
    if (pid > 0)
        waitpid(pid, NULL, 0);
    d->can_serve = d->way[0] != '\0';
    say_way(d, &source);
    if (!d->json)
        printf("\nThis machine:\n\n");
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
    if (!d->can_serve)
        why_not(d, d->why_no_way[0] != '\0' ? d->why_no_way : "tiercel-launch knows no way");
    bool served = d->can_serve && d->has_programs && d->why_not[0] == '\0';
    if (d->json) {
        json_t *run = json_pack("{s:b, s:s, s:s, s:s}", "served", served, "how", served ? d->way : "source", "way",
                                served ? d->way_summary : "the plain file system", "reason", d->why_not);
        int rc = cli_print_json(json_pack("{s:o, s:o, s:o}", "run", run, "ways", d->ways, "checks", d->checks));
        return rc == CLI_OK && !served ? CLI_FAILED : rc;
    }
    json_decref(d->checks);
    json_decref(d->ways);
    if (served)
        printf("\n`tiercel run` will serve files through %s (%s).\n", d->way_summary, d->way);
    else
        printf("\n`tiercel run` will start programs on the plain file system, without the tier: %s.\n", d->why_not);
    if (d->some[0] != '\0')
        printf("But %s.\n", d->some);
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
    d.ways = json_array();
    check_ways(&d);
    check_kernel(&d);
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
