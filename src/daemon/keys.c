// SPDX-License-Identifier: Apache-2.0
/* The job's keys: one that this node proves, and others that it accepts while a tier goes from one to the next.
 *
 * `tiercel rekey` adds a key on all nodes, then has all of them use it, then retires the others (docs/decisions/0015). Each
 * step may be repeated. The keeper holds the keys, so that a daemon that is started anew has them, too. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/control.h"
#include "base/hash.h"
#include "base/time.h"
#include "daemon/daemon.h"

#define LINE_MAX_BYTES 100u /* of a key as text */

/* What a person may see of a key. */
static uint32_t name_of(const struct tl_daemon_key *key)
{
    return (uint32_t)tl_hash64(key->bytes, sizeof key->bytes, 0x6b6579);
}

static uint64_t now_s(void)
{
    return tl_time_real_ns() / TL_NS_PER_S;
}

static void when(uint64_t s, char out[32])
{
    time_t t = (time_t)s;
    struct tm tm;
    if (gmtime_r(&t, &tm) == NULL || strftime(out, 32, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
        snprintf(out, 32, "second %llu", (unsigned long long)s);
}

/* On the clock that cannot be set: once a key is known, a clock that jumps moves nothing. */
static uint64_t mono_of(uint64_t expires_s)
{
    if (expires_s == 0)
        return 0;
    uint64_t left_s = expires_s > now_s() ? expires_s - now_s() : 0;
    return tl_time_mono_ns() + left_s * TL_NS_PER_S;
}

void tl_keys_apply(struct tl_daemon *d)
{
    struct tl_net_key keys[TL_NET_KEYS_MAX] = {0};
    for (uint32_t i = 0; i < d->key_count; i++) {
        memcpy(keys[i].bytes, d->keys[i].bytes, sizeof keys[i].bytes);
        keys[i].expires_ns = mono_of(d->keys[i].expires_s);
    }
    d->net->ops->keys(d->net, keys, d->key_count);
    explicit_bzero(keys, sizeof keys);
}

void tl_keys_wipe(struct tl_daemon *d)
{
    explicit_bzero(d->keys, sizeof d->keys);
    d->key_count = 0;
}

/* ---- across daemons ---- */

static void keep(struct tl_daemon *d)
{
    char text[LINE_MAX_BYTES * TL_NET_KEYS_MAX];
    size_t at = 0;
    for (uint32_t i = 0; i < d->key_count; i++) {
        for (size_t k = 0; k < TL_KEY_SIZE; k++)
            at += (size_t)snprintf(text + at, sizeof text - at, "%02x", d->keys[i].bytes[k]);
        at += (size_t)snprintf(text + at, sizeof text - at, " %llu\n", (unsigned long long)d->keys[i].expires_s);
    }
    int fd = memfd_create("tierceld-keys", MFD_CLOEXEC);
    if (fd < 0 || write(fd, text, at) != (ssize_t)at)
        tl_log("error", "cannot keep the new key for a daemon after this one: %s", strerror(errno));
    else
        tl_kept_hold(d, TL_KEEPER_KEYS, fd, -1, NULL);
    if (fd >= 0)
        close(fd);
    explicit_bzero(text, sizeof text);
}

static int take_kept(struct tl_daemon *d)
{
    char text[LINE_MAX_BYTES * TL_NET_KEYS_MAX + 1];
    ssize_t len = pread(d->kept[TL_KEEPER_KEYS].fds[0], text, sizeof text - 1, 0);
    close(d->kept[TL_KEEPER_KEYS].fds[0]);
    d->kept[TL_KEEPER_KEYS].fds[0] = -1;
    if (len <= 0)
        return -EPROTO;
    text[len] = 0;
    char *rest = NULL;
    int rc = 0;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL && rc == 0 && d->key_count < TL_NET_KEYS_MAX;
         line = strtok_r(NULL, "\n", &rest)) {
        struct tl_daemon_key *key = &d->keys[d->key_count++];
        rc = tl_parse_key_line(line, key->bytes, &key->expires_s);
    }
    explicit_bzero(text, sizeof text);
    return rc == 0 && d->key_count > 0 ? 0 : -EPROTO;
}

int tl_keys_open(struct tl_daemon *d, struct tl_error *err)
{
    if (d->options.keeper_fd >= 0 && d->kept[TL_KEEPER_KEYS].fds[0] >= 0) {
        int rc = take_kept(d);
        return rc == 0 ? 0 : tl_error_set(err, rc, "the keys that the daemon before left cannot be read");
    }
    memcpy(d->keys[0].bytes, d->options.key, sizeof d->keys[0].bytes);
    d->keys[0].expires_s = d->options.key_expires_s;
    d->key_count = 1;
    if (d->keys[0].expires_s == 0 || now_s() < d->keys[0].expires_s || d->restarts > 0)
        return 0; /* a daemon that comes after another one goes on with its mounts, whatever the key */
    char text[32];
    when(d->keys[0].expires_s, text);
    return tl_error_set(err, -EKEYEXPIRED, "the key expired at %s: start the tier anew (tiercel up makes a key)", text);
}

/* ---- rekey ---- */

static void say(const struct tl_daemon *d, const char *what)
{
    char until[32] = "never";
    if (d->keys[0].expires_s != 0)
        when(d->keys[0].expires_s, until);
    tl_log("info", "rekey %s: using key=%08x expires=%s, accepting %u", what, name_of(&d->keys[0]), until,
           d->key_count);
}

static uint32_t find(const struct tl_daemon *d, const uint8_t bytes[TL_KEY_SIZE])
{
    uint32_t i = 0;
    while (i < d->key_count && memcmp(d->keys[i].bytes, bytes, TL_KEY_SIZE) != 0)
        i++;
    return i;
}

/* Behind the one in use; the oldest makes room. */
static void add(struct tl_daemon *d, const struct tl_daemon_key *key)
{
    if (find(d, key->bytes) < d->key_count)
        return;
    if (d->key_count < TL_NET_KEYS_MAX)
        d->key_count++;
    for (uint32_t i = d->key_count - 1; i > 1; i--)
        d->keys[i] = d->keys[i - 1];
    d->keys[1] = *key;
}

static int use(struct tl_daemon *d, const struct tl_daemon_key *key, struct tl_error *err)
{
    uint32_t at = find(d, key->bytes);
    if (at == d->key_count)
        return tl_error_set(err, -ENOENT, "node %u does not know this key; add it first", d->options.rank);
    struct tl_daemon_key chosen = d->keys[at];
    for (; at > 0; at--)
        d->keys[at] = d->keys[at - 1];
    d->keys[0] = chosen;
    return 0;
}

/* Only the key in use is left, if it is this one. */
static int retire(struct tl_daemon *d, const struct tl_daemon_key *key, struct tl_error *err)
{
    if (memcmp(d->keys[0].bytes, key->bytes, TL_KEY_SIZE) != 0)
        return tl_error_set(err, -EBUSY, "node %u does not use this key yet; the others stay", d->options.rank);
    explicit_bzero(&d->keys[1], sizeof d->keys - sizeof d->keys[0]);
    d->key_count = 1;
    return 0;
}

/* The key as one argument: the line of a key file. */
static int change(struct tl_daemon *d, const char *step, const char *line, struct tl_error *err)
{
    struct tl_daemon_key key = {0};
    int rc = 0;
    if (line == NULL || tl_parse_key_line(line, key.bytes, &key.expires_s) != 0)
        return tl_error_set(err, -EINVAL, "rekey wants add, use or retire, and a key of 64 hex digits");
    if (key.expires_s != 0 && now_s() >= key.expires_s)
        rc = tl_error_set(err, -EKEYEXPIRED,
                          "node %u: the new key has expired already; compare the clocks of the nodes", d->options.rank);
    else if (strcmp(step, "add") == 0)
        add(d, &key);
    else if (strcmp(step, "use") == 0)
        rc = use(d, &key, err);
    else if (strcmp(step, "retire") == 0)
        rc = retire(d, &key, err);
    else
        rc = tl_error_set(err, -EINVAL, "rekey %.20s: give add, use or retire", step);
    explicit_bzero(&key, sizeof key);
    return rc;
}

void tl_verb_rekey(struct tl_daemon *d, struct tl_control *c)
{
    const char *step = tl_control_arg(c, 1);
    struct tl_error err = {0};
    int rc = step == NULL ? 0 : change(d, step, tl_control_arg(c, 2), &err);
    if (rc != 0) {
        tl_control_fail(c, &err);
        return;
    }
    if (step != NULL) {
        tl_keys_apply(d);
        keep(d);
        say(d, step);
    }
    char name[16];
    snprintf(name, sizeof name, "%08x", name_of(&d->keys[0]));
    tl_control_reply(c, TL_CONTROL_RESULT,
                     json_pack("{s:i, s:s, s:I, s:i}", "rank", d->options.rank, "key", name, "expires_s",
                               (json_int_t)d->keys[0].expires_s, "accepted", (int)d->key_count));
}
