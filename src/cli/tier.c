// SPDX-License-Identifier: Apache-2.0
/* The directory of a tier: made, locked, written, read, cleared.
 *
 * The lock (flock on the directory) keeps two `up` or `down` of one tier apart; it goes with the process. */
#include "cli/tier.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TRIES_MAX      10
#define PING_MS        3000
#define TAIL_BYTES_MAX 4096

static const char *const launcher_names[] = {[CLI_LOCAL] = "local", [CLI_SSH] = "ssh", [CLI_SLURM] = "slurm"};

const char *cli_launcher_name(enum cli_launcher l)
{
    return launcher_names[l];
}

void cli_tier_init(struct cli_tier *t)
{
    memset(t, 0, sizeof *t);
    t->lock_fd = -1;
}

void cli_tier_fini(struct cli_tier *t)
{
    if (t->lock_fd >= 0)
        close(t->lock_fd);
    cli_nodes_fini(&t->nodes);
    explicit_bzero(t->key, sizeof t->key);
    t->lock_fd = -1;
}

/* ---- making and locking ---- */

static int make_dir(const char *path, struct tiercel_error *err)
{
    int made = mkdir(path, 0700) == 0;
    if (!made && errno != EEXIST)
        return cli_error(err, -errno, "%s: cannot be made: %s; set TIERCEL_RUNTIME_DIR to a place of your own", path,
                         strerror(errno));
    int rc = tiercel_dir_check(path, err);
    return rc < 0 ? rc : made;
}

/* 0, -EAGAIN: the directory was removed meanwhile, try again; or an error. */
static int lock_dir(struct cli_tier *t, struct tiercel_error *err)
{
    int fd = open(t->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? -EAGAIN : cli_error(err, -errno, "%s: %s", t->dir, strerror(errno));
    struct stat mine, there;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        close(fd);
        return cli_error(err, -EBUSY, "%s: another `tiercel` is starting or ending this tier; wait for it", t->dir);
    }
    if (fstat(fd, &mine) != 0 || stat(t->dir, &there) != 0 || mine.st_ino != there.st_ino) {
        close(fd);
        return -EAGAIN;
    }
    t->lock_fd = fd;
    return 0;
}

int cli_tier_make(struct cli_tier *t, const char *name, bool lasting, struct tiercel_error *err)
{
    int rc = tiercel_tier_name(name, t->name, sizeof t->name, err);
    if (rc == 0)
        rc = tiercel_runtime_dir(lasting, t->runtime, sizeof t->runtime, err);
    if (rc == 0)
        rc = cli_path(t->dir, err, "%s/%s", t->runtime, t->name);
    if (rc == 0)
        rc = make_dir(t->runtime, err);
    if (rc < 0)
        return rc;
    for (int i = 0; i < TRIES_MAX; i++) {
        int made = make_dir(t->dir, err);
        rc = made < 0 ? made : lock_dir(t, err);
        if (rc != -EAGAIN)
            return rc < 0 ? rc : !made;
    }
    return cli_error(err, -EBUSY, "%s: comes and goes; is another `tiercel` at work on this tier?", t->dir);
}

/* ---- writing ---- */

static int write_file(const struct cli_tier *t, const char *name, const char *text, struct tiercel_error *err)
{
    char path[TIERCEL_PATH_SIZE], fresh[TIERCEL_PATH_SIZE];
    int rc = cli_path(path, err, "%s/%s", t->dir, name);
    if (rc == 0)
        rc = cli_path(fresh, err, "%s/.%s.new", t->dir, name);
    if (rc < 0)
        return rc;
    unlink(fresh);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    size_t len = strlen(text);
    ssize_t n = fd >= 0 ? write(fd, text, len) : -1;
    int code = n < 0 ? errno : (size_t)n == len ? 0 : ENOSPC;
    if (fd >= 0 && close(fd) != 0 && code == 0)
        code = errno;
    if (code == 0 && rename(fresh, path) != 0)
        code = errno;
    return code == 0 ? 0 : cli_error(err, -code, "%s: cannot be written: %s", path, strerror(code));
}

int cli_lifetime(const char *text, uint64_t *out_s, struct tiercel_error *err)
{
    static const char units[] = "smhd";
    static const uint64_t seconds[] = {1, 60, 3600, 86400};
    char *end = NULL;
    unsigned long long n = strtoull(text, &end, 10);
    const char *unit = *end != '\0' ? strchr(units, *end) : units;
    if (text[0] < '0' || text[0] > '9' || n == 0 || n > 100000000 || unit == NULL || (*end != '\0' && end[1] != '\0'))
        return cli_error(err, -EINVAL, "%.40s: a key's lifetime is seconds, or with m, h or d, like 8h", text);
    *out_s = n * seconds[unit - units];
    return 0;
}

int cli_tier_make_key(struct cli_tier *t, struct tiercel_error *err)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char raw[32];
    if (getrandom(raw, sizeof raw, 0) != (ssize_t)sizeof raw)
        return cli_error(err, -errno, "no random bytes for the tier's key: %s", strerror(errno));
    for (size_t i = 0; i < sizeof raw; i++) {
        t->key[2 * i] = digits[raw[i] >> 4];
        t->key[2 * i + 1] = digits[raw[i] & 15];
    }
    explicit_bzero(raw, sizeof raw);
    if (t->key_lifetime_s > 0)
        snprintf(t->key + 64, sizeof t->key - 64, " %llu\n", (unsigned long long)time(NULL) + t->key_lifetime_s);
    else
        snprintf(t->key + 64, sizeof t->key - 64, "\n");
    return 0;
}

int cli_tier_write_key(const struct cli_tier *t, struct tiercel_error *err)
{
    return t->munge ? 0 : write_file(t, "key", t->key, err);
}

int cli_tier_write_launch(const struct cli_tier *t, struct tiercel_error *err)
{
    json_t *launch = json_pack("{s:s, s:s, s:s, s:I, s:I}", "launcher", cli_launcher_name(t->launcher), "auth",
                               t->munge ? "munge" : "key", "tierceld", t->tierceld, "srun_pid", (json_int_t)t->srun_pid,
                               "srun_started", (json_int_t)t->srun_started);
    char *text = launch != NULL ? json_dumps(launch, JSON_INDENT(2)) : NULL;
    int rc = text != NULL ? write_file(t, "launch.json", text, err)
                          : cli_error(err, -ENOMEM, "%s/launch.json: out of memory", t->dir);
    free(text);
    json_decref(launch);
    return rc;
}

int cli_tier_write(struct cli_tier *t, struct tiercel_error *err)
{
    char *nodes = cli_nodes_text(&t->nodes);
    int rc = nodes != NULL ? cli_tier_make_key(t, err) : cli_error(err, -ENOMEM, "node list: out of memory");
    if (rc == 0)
        rc = cli_tier_write_key(t, err);
    if (rc == 0)
        rc = write_file(t, "nodes", nodes, err);
    if (rc == 0)
        rc = cli_tier_write_launch(t, err);
    free(nodes);
    return rc;
}

/* ---- reading ---- */

static int read_launch(struct cli_tier *t, struct tiercel_error *err)
{
    char path[TIERCEL_PATH_SIZE];
    int rc = cli_path(path, err, "%s/launch.json", t->dir);
    if (rc < 0)
        return rc;
    json_t *launch = json_load_file(path, 0, NULL);
    const char *name = cli_json_text(launch, "launcher");
    t->launcher = CLI_LOCAL; /* also for a tier that somebody started by hand */
    for (size_t i = 0; i < sizeof launcher_names / sizeof launcher_names[0]; i++) {
        if (strcmp(name, launcher_names[i]) == 0)
            t->launcher = (enum cli_launcher)i;
    }
    t->munge = strcmp(cli_json_text(launch, "auth"), "munge") == 0;
    rc = cli_path(t->tierceld, err, "%s", cli_json_text(launch, "tierceld"));
    t->srun_pid = (pid_t)cli_json_u64(launch, "srun_pid");
    t->srun_started = cli_json_u64(launch, "srun_started");
    json_decref(launch);
    return rc;
}

int cli_tier_load(struct cli_tier *t, const char *name, bool lock, struct tiercel_error *err)
{
    int rc = tiercel_tier_name(name, t->name, sizeof t->name, err);
    if (rc == 0)
        rc = tiercel_tier_dir(t->name, t->dir, sizeof t->dir, err);
    if (rc == 0)
        rc = cli_path(t->runtime, err, "%.*s", (int)(strlen(t->dir) - strlen(t->name) - 1), t->dir);
    if (rc == 0 && lock)
        rc = lock_dir(t, err);
    if (rc == -EAGAIN)
        rc = cli_error(err, -ENOENT, "%s: is gone; another `tiercel` has just ended this tier", t->dir);
    if (rc == 0)
        rc = read_launch(t, err);
    char path[TIERCEL_PATH_SIZE];
    struct tiercel_error ignored;
    if (rc == 0 && cli_path(path, &ignored, "%s/nodes", t->dir) == 0 && cli_nodes_read(&t->nodes, path, &ignored) < 0)
        t->nodes = (struct cli_nodes){0}; /* half a start: what is on this machine can still be ended */
    return rc;
}

static bool is_log(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot != NULL && strcmp(dot, ".log") == 0;
}

int cli_tier_clear(const struct cli_tier *t, enum cli_clear what, struct tiercel_error *err)
{
    DIR *dir = opendir(t->dir);
    if (dir == NULL)
        return errno == ENOENT ? 0 : cli_error(err, -errno, "%s: %s", t->dir, strerror(errno));
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        bool kept = what == CLI_CLEAR_BUT_LOGS && is_log(entry->d_name);
        if (!kept && strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(dirfd(dir), entry->d_name, 0); /* what stays makes rmdir fail, and that is reported */
    }
    closedir(dir);
    if (what == CLI_CLEAR_INSIDE || rmdir(t->dir) == 0 || errno == ENOENT || what == CLI_CLEAR_BUT_LOGS)
        return 0;
    return cli_error(err, -errno, "%s: cannot be removed: %s; look what is in it", t->dir, strerror(errno));
}

/* ---- looking ---- */

static bool answers(const char *dir, unsigned rank)
{
    char path[TIERCEL_PATH_SIZE];
    struct tiercel_error ignored;
    struct tiercel *c;
    if (cli_path(path, &ignored, "%s/node-%u.sock", dir, rank) < 0 || tiercel_open_socket(&c, path, PING_MS, NULL) < 0)
        return false;
    const char *const ping[] = {"ping", NULL};
    bool ok = tiercel_call(c, ping, -1, PING_MS, NULL, NULL, NULL, NULL) == 0;
    tiercel_close(c);
    return ok;
}

unsigned cli_tier_alive(const struct cli_tier *t)
{
    unsigned *ranks = calloc(CLI_RANKS_MAX, sizeof *ranks);
    int count = ranks != NULL ? tiercel_local_ranks(t->dir, ranks, CLI_RANKS_MAX, NULL) : 0;
    unsigned alive = 0;
    for (int i = 0; i < count; i++)
        alive += answers(t->dir, ranks[i]);
    free(ranks);
    return alive;
}

bool cli_host_is_here(const char *host)
{
    char own[256];
    if (gethostname(own, sizeof own) != 0)
        return false;
    own[sizeof own - 1] = '\0';
    size_t short_own = strcspn(own, "."), short_host = strcspn(host, ".");
    if (strcasecmp(own, host) == 0)
        return true;
    /* one of them without its domain */
    bool one_short = own[short_own] == '\0' || host[short_host] == '\0';
    return one_short && short_own == short_host && strncasecmp(own, host, short_own) == 0;
}

void cli_show_tail(const char *path, int lines)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return;
    char text[TAIL_BYTES_MAX + 1];
    off_t size = lseek(fd, 0, SEEK_END);
    ssize_t n = pread(fd, text, TAIL_BYTES_MAX, size > TAIL_BYTES_MAX ? size - TAIL_BYTES_MAX : 0);
    close(fd);
    if (n <= 0)
        return;
    text[n] = '\0';
    char *p = text + n;
    if (p[-1] == '\n')
        *--p = '\0';
    for (int i = 0; i < lines && p > text; i++) {
        do
            p--;
        while (p > text && p[-1] != '\n');
    }
    for (char *line = strtok(p, "\n"); line != NULL; line = strtok(NULL, "\n"))
        fprintf(stderr, "  | %s\n", line);
}
