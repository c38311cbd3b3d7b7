// SPDX-License-Identifier: Apache-2.0
#include "daemon/options.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/credential.h"
#include "core/overlay/forest.h"

#define NODE_LIST_MAX (16u << 20) /* bytes */

static const char usage[] =
    "usage: tierceld --nodes FILE --key FILE [options]\n"
    "One daemon of a Tiercel tier; `tiercel up` starts them.\n"
    "\n"
    "  --nodes FILE        node list: host[:port] [group] a line (-: standard input)\n"
    "  --rank N|auto       our line in it, from 0 (auto: by host name or address)\n"
    "  --key FILE          the job's key: 64 hex digits, and when it expires if it does (seconds since 1970); mode "
    "0600\n"
    "  --key-fd N          read the key from this descriptor instead: as in the file, or in a MUNGE credential\n"
    "  --name TIER         name of the tier (default: default)\n"
    "  --runtime DIR       where sockets, logs and keys of tiers lie\n"
    "  --cache-size BYTES  cache limit, with K, M or G (default: a quarter of memory, at most 16G)\n"
    "  --values-share N    percent of it that values of local programs may take (default 25; 0: none)\n"
    "  --values-dir DIR    where values go that memory has no room for; yours alone (mode 0700)\n"
    "  --values-dir-size BYTES  limit of that (default 8G)\n"
    "  --roots N|auto      nodes that read the source, each its share (default auto); the same on all nodes\n"
    "  --arity N|auto      children a node (default auto); the same on all nodes\n"
    "  --link-rate BYTES   of a node's link a second, for auto; 100G for 800 Gbit/s\n"
    "  --storage-rate BYTES  of the storage a second, for auto\n"
    "  --metrics WHERE     counters for Prometheus: a port of 127.0.0.1, unix (node-RANK.metrics in the\n"
    "                      runtime folder), unix:/PATH, or off (default)\n"
    "  --source URL,...    read from these web servers, the next where one fails, instead of the file system\n"
    "  --readahead BYTES   files up to this size are fetched whole, or `always` (default 1M)\n"
    "  --revalidate SECONDS  look at the storage again so often for changes (default 0: never)\n"
    "  --keep-once         drop what programs have read, where no other node asks us: their kernel has it\n"
    "  --encrypt           encrypt what goes over the network; the same on all nodes\n"
    "  --bulk WAY          auto, tcp, or a libfabric provider such as `tcp;ofi_rxm`\n"
    "  --threads N         threads that read the source (default 16)\n"
    "  --log FILE          where to log (default: standard error)\n"
    "  --ready-fd N        write `ready` there once peers can connect\n"
    "  --daemonise         go to the background once ready\n"
    "  --foreground        stay in the foreground (default)\n"
    "  --keeper            with a keeper process, which starts the daemon again when it dies (default with "
    "--daemonise)\n"
    "  --no-keeper         without\n"
    "  --help, --version\n";

enum {
    OPT_NODES = 256,
    OPT_RANK,
    OPT_KEY,
    OPT_KEY_FD,
    OPT_NAME,
    OPT_RUNTIME,
    OPT_CACHE,
    OPT_VALUES,
    OPT_VALUES_DIR,
    OPT_VALUES_DIR_SIZE,
    OPT_ROOTS,
    OPT_ARITY,
    OPT_LINK_RATE,
    OPT_STORAGE_RATE,
    OPT_METRICS,
    OPT_SOURCE,
    OPT_READAHEAD,
    OPT_REVALIDATE,
    OPT_KEEP_ONCE,
    OPT_ENCRYPT,
    OPT_BULK,
    OPT_THREADS,
    OPT_LOG,
    OPT_READY,
    OPT_DAEMONISE,
    OPT_FOREGROUND,
    OPT_KEEPER,
    OPT_NO_KEEPER,
    OPT_KEEPER_FDS,
    OPT_HELP,
    OPT_VERSION,
};

static const struct option options[] = {
    {"nodes", required_argument, NULL, OPT_NODES},
    {"rank", required_argument, NULL, OPT_RANK},
    {"key", required_argument, NULL, OPT_KEY},
    {"key-fd", required_argument, NULL, OPT_KEY_FD},
    {"name", required_argument, NULL, OPT_NAME},
    {"runtime", required_argument, NULL, OPT_RUNTIME},
    {"cache-size", required_argument, NULL, OPT_CACHE},
    {"values-share", required_argument, NULL, OPT_VALUES},
    {"values-dir", required_argument, NULL, OPT_VALUES_DIR},
    {"values-dir-size", required_argument, NULL, OPT_VALUES_DIR_SIZE},
    {"roots", required_argument, NULL, OPT_ROOTS},
    {"arity", required_argument, NULL, OPT_ARITY},
    {"link-rate", required_argument, NULL, OPT_LINK_RATE},
    {"storage-rate", required_argument, NULL, OPT_STORAGE_RATE},
    {"metrics", required_argument, NULL, OPT_METRICS},
    {"source", required_argument, NULL, OPT_SOURCE},
    {"readahead", required_argument, NULL, OPT_READAHEAD},
    {"revalidate", required_argument, NULL, OPT_REVALIDATE},
    {"keep-once", no_argument, NULL, OPT_KEEP_ONCE},
    {"encrypt", no_argument, NULL, OPT_ENCRYPT},
    {"bulk", required_argument, NULL, OPT_BULK},
    {"threads", required_argument, NULL, OPT_THREADS},
    {"log", required_argument, NULL, OPT_LOG},
    {"ready-fd", required_argument, NULL, OPT_READY},
    {"daemonise", no_argument, NULL, OPT_DAEMONISE},
    {"foreground", no_argument, NULL, OPT_FOREGROUND},
    {"keeper", no_argument, NULL, OPT_KEEPER},
    {"no-keeper", no_argument, NULL, OPT_NO_KEEPER},
    {"keeper-fds", required_argument, NULL, OPT_KEEPER_FDS}, /* for keepers only */
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

/* What the options name, before it is read. */
struct raw {
    const char *nodes, *key, *rank, *runtime;
    int key_fd;
    bool keeper, no_keeper;
    struct tl_forest_speeds speeds;
};

int tl_parse_size(const char *text, uint64_t *out)
{
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (end == text || errno != 0 || *text == '-' || *text == '+')
        return -EINVAL;
    static const char units[] = "KMGT";
    const char *unit = *end == 0 ? NULL : strchr(units, *end);
    if (*end != 0 && (unit == NULL || (end[1] != 0 && strcmp(end + 1, "iB") != 0)))
        return -EINVAL;
    unsigned shift = unit == NULL ? 0 : 10 * (unsigned)(unit - units + 1);
    if (value > UINT64_MAX >> shift)
        return -EINVAL;
    *out = (uint64_t)value << shift;
    return 0;
}

static int parse_number(const char *option, const char *text, uint64_t min, uint64_t max, uint32_t *out,
                        struct tl_error *err)
{
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (end == text || *end != 0 || errno != 0 || *text == '-' || value < min || value > max)
        return tl_error_set(err, -EINVAL, "%s %s: give a whole number from %llu to %llu", option, text,
                            (unsigned long long)min, (unsigned long long)max);
    *out = (uint32_t)value;
    return 0;
}

static int parse_bytes(const char *option, const char *text, uint64_t min, uint64_t *out, struct tl_error *err)
{
    if (tl_parse_size(text, out) != 0 || *out < min)
        return tl_error_set(err, -EINVAL, "%s %s: give a number of bytes, such as 512M or 4G, at least %llu", option,
                            text, (unsigned long long)min);
    return 0;
}

static int copy_text(const char *option, const char *text, char *out, size_t size, struct tl_error *err)
{
    if (*text == 0 || strlen(text) >= size)
        return tl_error_set(err, -EINVAL, "%s: empty, or longer than %zu bytes", option, size - 1);
    memcpy(out, text, strlen(text) + 1);
    return 0;
}

static int parse_name(const char *text, char *out, struct tl_error *err)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    if (text[0] == '.' || strspn(text, allowed) != strlen(text))
        return tl_error_set(err, -EINVAL, "--name %s: use letters, digits, '.', '_' and '-', not first '.'", text);
    return copy_text("--name", text, out, TL_TIER_NAME_MAX, err);
}

/* 0 in *out: to be chosen. */
static int parse_auto(const char *option, const char *arg, uint32_t max, uint32_t *out, struct tl_error *err)
{
    *out = 0;
    return strcmp(arg, "auto") == 0 ? 0 : parse_number(option, arg, 1, max, out, err);
}

static int parse_metrics(const char *arg, struct tl_options *o, struct tl_error *err)
{
    uint32_t port;
    bool path = strncmp(arg, "unix:/", 6) == 0, word = strcmp(arg, "off") == 0 || strcmp(arg, "unix") == 0;
    if (!path && !word && parse_number("--metrics", arg, 1, 65535, &port, err) != 0)
        return tl_error_set(err, -EINVAL, "--metrics %s: must be a port from 1 to 65535, unix, unix:/PATH, or off",
                            arg);
    return copy_text("--metrics", arg, o->metrics, sizeof o->metrics, err);
}

static int take_option(struct tl_options *o, struct raw *raw, int option, const char *arg, struct tl_error *err)
{
    uint32_t number = 0;
    int rc = 0;
    switch (option) {
    case OPT_NODES: raw->nodes = arg; return 0;
    case OPT_RANK: raw->rank = arg; return 0;
    case OPT_KEY:
        raw->key = arg;
        raw->key_fd = -1;
        return 0;
    case OPT_RUNTIME: raw->runtime = arg; return 0;
    case OPT_KEY_FD:
        rc = parse_number("--key-fd", arg, 0, 1024, &number, err);
        raw->key_fd = (int)number;
        raw->key = NULL; /* the later of the two counts */
        return rc;
    case OPT_NAME: return parse_name(arg, o->tier, err);
    case OPT_CACHE: return parse_bytes("--cache-size", arg, 8u << 20, &o->cache_size_bytes, err);
    case OPT_ROOTS: return parse_auto("--roots", arg, TL_FOREST_ROOTS_MAX, &o->roots, err);
    case OPT_ARITY: return parse_auto("--arity", arg, TL_FOREST_ARITY_MAX, &o->arity, err);
    case OPT_LINK_RATE: return parse_bytes("--link-rate", arg, 1, &raw->speeds.link_bytes_per_s, err);
    case OPT_STORAGE_RATE: return parse_bytes("--storage-rate", arg, 1, &raw->speeds.storage_bytes_per_s, err);
    case OPT_METRICS: return parse_metrics(arg, o, err);
    case OPT_SOURCE: o->source = arg; return 0;
    case OPT_READAHEAD:
        o->readahead_bytes = UINT64_MAX;
        return strcmp(arg, "always") == 0 ? 0 : parse_bytes("--readahead", arg, 0, &o->readahead_bytes, err);
    case OPT_REVALIDATE: return parse_number("--revalidate", arg, 0, 86400 * 7, &o->revalidate_s, err);
    case OPT_KEEP_ONCE: o->keep_once = true; return 0;
    case OPT_ENCRYPT: o->encrypt = true; return 0;
    case OPT_BULK: return copy_text("--bulk", arg, o->bulk, sizeof o->bulk, err);
    case OPT_VALUES: return parse_number("--values-share", arg, 0, 90, &o->values_share, err);
    case OPT_VALUES_DIR: return copy_text("--values-dir", arg, o->values_dir, sizeof o->values_dir, err);
    case OPT_VALUES_DIR_SIZE: return parse_bytes("--values-dir-size", arg, 1u << 20, &o->values_dir_bytes, err);
    case OPT_THREADS: return parse_number("--threads", arg, 1, 64, &o->threads, err);
    case OPT_LOG: return copy_text("--log", arg, o->log, sizeof o->log, err);
    case OPT_READY:
        rc = parse_number("--ready-fd", arg, 0, 1024, &number, err);
        o->ready_fd = (int)number;
        return rc;
    case OPT_DAEMONISE: o->daemonise = true; return 0;
    case OPT_FOREGROUND: o->daemonise = false; return 0;
    case OPT_KEEPER: raw->keeper = true; return 0;
    case OPT_NO_KEEPER: raw->no_keeper = true; return 0;
    case OPT_KEEPER_FDS:
        if (sscanf(arg, "%d,%d", &o->keeper_fd, &o->mender_fd) != 2 || o->keeper_fd < 3 || o->mender_fd < 3)
            return tl_error_set(err, -EINVAL, "--keeper-fds is for keepers only");
        return 0;
    default: return tl_error_set(err, -EINVAL, "an option that tierceld does not know; see tierceld --help");
    }
}

/* Reads a descriptor to its end. NUL-terminated in *out, malloc'd. */
static int read_all(int fd, char **out)
{
    size_t used = 0, room = 4096;
    char *text = malloc(room);
    while (text != NULL) {
        ssize_t got = read(fd, text + used, room - used - 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            int rc = got < 0 ? -errno : 0;
            text[used] = 0;
            *out = rc == 0 ? text : NULL;
            if (rc != 0)
                free(text);
            return rc;
        }
        used += (size_t)got;
        if (used > NODE_LIST_MAX) {
            free(text);
            return -EFBIG;
        }
        if (room - used < 2) {
            char *grown = realloc(text, room * 2);
            if (grown == NULL)
                free(text);
            text = grown;
            room *= 2;
        }
    }
    return -ENOMEM;
}

/* A key that others can read is no key. */
static int check_key_file(int fd, const char *path, struct tl_error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return tl_error_set(err, -errno, "key file %s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid())
        return tl_error_set(err, -EPERM, "key file %s: must be a regular file of yours (uid %u)", path, geteuid());
    if ((st.st_mode & 077) != 0)
        return tl_error_set(err, -EPERM, "key file %s: mode %04o lets others read it; run: chmod 600 %s", path,
                            st.st_mode & 07777, path);
    return 0;
}

static int read_key(struct tl_options *o, const struct raw *raw, char **rest, struct tl_error *err)
{
    const char *name = raw->key != NULL ? raw->key : "descriptor";
    int fd = raw->key != NULL ? open(raw->key, O_RDONLY | O_CLOEXEC) : raw->key_fd;
    if (fd < 0 && raw->key == NULL)
        return tl_error_set(err, -EINVAL, "no key: give --key FILE or --key-fd N");
    if (fd < 0)
        return tl_error_set(err, -errno, "key file %s: %s", name, strerror(errno));
    char *text = NULL;
    int rc = raw->key != NULL ? check_key_file(fd, name, err) : 0;
    if (rc == 0 && (rc = read_all(fd, &text)) != 0)
        tl_error_set(err, rc, "key %s: %s", name, strerror(-rc));
    if (raw->key != NULL || fd > 2)
        close(fd);
    if (rc != 0)
        return rc;
    /* with --nodes - the node list follows the key's line on the same descriptor */
    char *line_end = strchr(text, '\n'), *sealed = NULL;
    if (line_end != NULL && line_end[1] != 0) {
        *rest = strdup(line_end + 1);
        line_end[1] = 0;
    }
    if (tl_credential_is(text)) {
        sealed = text;
        text = NULL;
        rc = tl_credential_open(sealed, &text, err);
        free(sealed);
        if (rc != 0)
            return rc;
    }
    if (tl_parse_key_line(text, o->key, &o->key_expires_s) != 0)
        rc = tl_error_set(err, -EINVAL,
                          "key %s: must be 64 hex digits on one line; make one with: "
                          "(umask 077; od -An -tx1 -N32 /dev/urandom | tr -d ' \\n' > FILE)",
                          name);
    explicit_bzero(text, strlen(text));
    free(text);
    return rc;
}

static int parse_node_text(struct tl_options *o, char *text, const char *name, struct tl_error *err)
{
    o->nodes_text = strdup(text); /* parsing cuts it up, and a keeper hands it on */
    if (o->nodes_text == NULL)
        return tl_error_set(err, -ENOMEM, "node list %s: out of memory", name);
    return tl_parse_nodes(o, text, name, err);
}

static int read_nodes(struct tl_options *o, const struct raw *raw, char *rest, struct tl_error *err)
{
    if (raw->nodes == NULL)
        return tl_error_set(err, -EINVAL, "no node list: give --nodes FILE, one host a line");
    if (strcmp(raw->nodes, "-") == 0 && rest != NULL)
        return parse_node_text(o, rest, "from the launcher", err);
    bool from_stdin = strcmp(raw->nodes, "-") == 0;
    int fd = from_stdin ? STDIN_FILENO : open(raw->nodes, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return tl_error_set(err, -errno, "node list %s: %s", raw->nodes, strerror(errno));
    char *text = NULL;
    int rc = read_all(fd, &text);
    if (!from_stdin)
        close(fd);
    if (rc != 0)
        return tl_error_set(err, rc, "node list %s: %s", raw->nodes, strerror(-rc));
    rc = parse_node_text(o, text, raw->nodes, err);
    free(text);
    return rc;
}

static int choose_rank(struct tl_options *o, const struct raw *raw, struct tl_error *err)
{
    if (raw->rank == NULL || strcmp(raw->rank, "auto") == 0) {
        if (o->node_count == 1)
            return 0;
        return tl_find_own_rank(o, err);
    }
    return parse_number("--rank", raw->rank, 0, o->node_count - 1, &o->rank, err);
}

/* <runtime>/<tier>: as the command finds it, too. */
static int choose_runtime(struct tl_options *o, const struct raw *raw, struct tl_error *err)
{
    const char *env = getenv("TIERCEL_RUNTIME_DIR"), *xdg = getenv("XDG_RUNTIME_DIR");
    int len;
    if (raw->runtime != NULL || (env != NULL && *env != 0))
        len = snprintf(o->runtime, sizeof o->runtime, "%s/%s", raw->runtime != NULL ? raw->runtime : env, o->tier);
    else if (xdg != NULL && access(xdg, W_OK) == 0)
        len = snprintf(o->runtime, sizeof o->runtime, "%s/tiercel/%s", xdg, o->tier);
    else
        len = snprintf(o->runtime, sizeof o->runtime, "/tmp/tiercel-%u/%s", geteuid(), o->tier);
    if (len < 0 || len > 80) /* a Unix socket's path has 107 bytes at most */
        return tl_error_set(err, -ENAMETOOLONG, "runtime folder %s: longer than 80 bytes; set TIERCEL_RUNTIME_DIR",
                            o->runtime);
    return 0;
}

/* What was not said is chosen, from what all nodes know alike. */
static int choose_forest(struct tl_options *o, const struct raw *raw, struct tl_error *err)
{
    if (o->roots > o->node_count)
        return tl_error_set(err, -EINVAL, "--roots %u: more than the %u nodes of the list", o->roots, o->node_count);
    struct tl_forest f = {.node_count = o->node_count, .roots = o->roots, .arity = o->arity};
    tl_forest_choose(&f, &raw->speeds);
    o->roots = f.roots;
    o->arity = f.arity;
    return 0;
}

static uint64_t default_cache_size(void)
{
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t size = memory / 4, max = 16ull << 30, min = 64ull << 20;
    return size > max ? max : size < min ? min : size;
}

int tl_options_parse(struct tl_options *o, int argc, char **argv, bool *done, struct tl_error *err)
{
    *o = (struct tl_options){.tier = "default",
                             .bulk = "auto",
                             .metrics = "off",
                             .threads = 16,
                             .values_share = 25,
                             .values_dir_bytes = 8ull << 30,
                             .ready_fd = -1,
                             .keeper_fd = -1,
                             .mender_fd = -1,
                             .readahead_bytes = 1u << 20,
                             .cache_size_bytes = default_cache_size()};
    struct raw raw = {.key_fd = -1};
    *done = false;
    opterr = 0;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == OPT_HELP || option == OPT_VERSION) {
            fputs(option == OPT_HELP ? usage : "tierceld " TIERCEL_VERSION "\n", stdout);
            *done = true;
            return 0;
        }
        if (option == '?')
            return tl_error_set(err, -EINVAL, "option %s: unknown, or its value is missing; see tierceld --help",
                                argv[optind - 1]);
        int rc = take_option(o, &raw, option, optarg, err);
        if (rc != 0)
            return rc;
    }
    if (optind < argc)
        return tl_error_set(err, -EINVAL, "%s: tierceld takes options only; see tierceld --help", argv[optind]);
    char *rest = NULL;
    int rc = read_key(o, &raw, &rest, err);
    if (rc == 0)
        rc = read_nodes(o, &raw, rest, err);
    free(rest);
    o->keeper = o->keeper_fd < 0 && !raw.no_keeper && (raw.keeper || o->daemonise);
    if (rc == 0)
        rc = choose_forest(o, &raw, err);
    if (rc == 0)
        rc = choose_rank(o, &raw, err);
    return rc == 0 ? choose_runtime(o, &raw, err) : rc;
}

void tl_options_fini(struct tl_options *o)
{
    for (uint32_t i = 0; i < o->node_count; i++)
        free(o->addresses[i]);
    free(o->addresses);
    free(o->groups);
    free(o->nodes_text);
    o->nodes_text = NULL;
    memset(o->key, 0, sizeof o->key);
    o->addresses = NULL;
    o->groups = NULL;
    o->node_count = 0;
}
