// SPDX-License-Identifier: Apache-2.0
/* libtiercel: the public C API of Tiercel, a cache tier for the nodes of a job.
 *
 * This part is for control: where a tier lives on this machine, and calls to its daemons. C99, and C++.
 *
 * Conventions
 * - Functions return 0 (or a count) for success and a negative errno on failure. `err` may be NULL; otherwise it
 *   receives the code and one sentence that names the thing, the cause and what to do. It is written on failure only.
 * - Strings are NUL-terminated bytes. Sizes are bytes, times milliseconds. Out-parameters are written on success only.
 * - Threads: functions without a `struct tiercel` may be called from any thread, but read the environment, so do not
 *   change that at the same time. One `struct tiercel` belongs to one thread at a time; open several for several.
 * - The library never prints, never exits, installs no signal handlers, and raises no SIGPIPE. Its descriptors are
 *   closed on exec.
 *
 * On disk: <runtime>/<tier>/ holds `key`, `nodes` and, for each daemon on this machine, node-<rank>.sock, .log and
 * .pid. All of it belongs to the user and is closed to others. */
#ifndef TIERCEL_TIERCEL_H
#define TIERCEL_TIERCEL_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define TIERCEL_API        __attribute__((visibility("default")))
#define TIERCEL_MUST_CHECK __attribute__((warn_unused_result))
#else
#define TIERCEL_API
#define TIERCEL_MUST_CHECK
#endif

#define TIERCEL_NAME_MAX  64   /* bytes of a tier's name */
#define TIERCEL_PATH_SIZE 4096 /* enough for every path that this library returns, NUL included */
#define TIERCEL_ANY_RANK  (-1)
#define TIERCEL_FOREVER   (-1)

struct tiercel_error {
    int code;           /* a negative errno; 0 if never set */
    char message[1024]; /* one sentence, cut when too long; no newline at its end */
};

/* A connection to one daemon. */
struct tiercel;

/* "0.1.0". Never freed. */
TIERCEL_API const char *tiercel_version(void);

/* What a code means, in a few plain words ("no such file or directory", "the daemon did not answer in time"), for a
 * negative or positive errno. Never NULL, never freed. Prefer err->message, which knows the thing and the remedy. */
TIERCEL_API const char *tiercel_strerror(int code);

/* ---- names and places ---- */

/* The tier's name: `given` if not NULL, else $TIERCEL_NAME, else slurm-$SLURM_JOB_ID, else pbs-$PBS_JOBID, else
 * "default". A name is 1 to TIERCEL_NAME_MAX letters, digits, '.', '_' or '-' and begins with a letter or digit; other
 * bytes in a job's id become '_'. out_size: at least TIERCEL_NAME_MAX + 1. 0, -EINVAL (not a name), -ENOBUFS. */
TIERCEL_API int tiercel_tier_name(const char *given, char *out, size_t out_size,
                                  struct tiercel_error *err) TIERCEL_MUST_CHECK;

/* Where tiers of this user live on this machine: $TIERCEL_RUNTIME_DIR, else $XDG_RUNTIME_DIR/tiercel if
 * $XDG_RUNTIME_DIR is a directory, else /tmp/tiercel-UID. With `lasting` the second is left out, because the system
 * removes it when the user's last login session ends; tiers that span machines live in a lasting place. The directory
 * need not exist. 0, -EINVAL (not an absolute path), -ENOBUFS. */
TIERCEL_API int tiercel_runtime_dir(int lasting, char *out, size_t out_size,
                                    struct tiercel_error *err) TIERCEL_MUST_CHECK;

/* 0 if path is a directory (no link) that belongs to this user and is closed to all others (mode 0700), else
 * -ENOENT, -ENOTDIR, -EPERM (owner or mode) or what lstat gave, with the remedy. */
TIERCEL_API int tiercel_dir_check(const char *path, struct tiercel_error *err) TIERCEL_MUST_CHECK;

/* The directory of a tier that is there, looked for in both places of tiercel_runtime_dir; checked as by
 * tiercel_dir_check, with its parent. name: NULL for the rule of tiercel_tier_name.
 * 0, -ENOENT (no such tier on this machine), and the errors of the functions above. */
TIERCEL_API int tiercel_tier_dir(const char *name, char *out, size_t out_size,
                                 struct tiercel_error *err) TIERCEL_MUST_CHECK;

/* Ranks that have a control socket in this tier directory, ascending, at most max of them; the daemons behind them may
 * be dead. Returns how many were written, or -errno of reading the directory. */
TIERCEL_API int tiercel_local_ranks(const char *tier_dir, unsigned *ranks, size_t max,
                                    struct tiercel_error *err) TIERCEL_MUST_CHECK;

/* ---- calls ---- */

/* Connects to the daemon of this rank on this machine, or with TIERCEL_ANY_RANK to the lowest rank that answers.
 * Blocks up to timeout_ms (TIERCEL_FOREVER: no limit). The caller closes *out.
 * 0; -ENOENT: no such tier, or no such rank, on this machine; -ECONNREFUSED: its daemon is gone; -ETIMEDOUT: the
 * daemon takes no connections; -ENAMETOOLONG: the socket's path does not fit; -EPERM: owner or mode of the directory;
 * -ENOMEM, -EMFILE. */
TIERCEL_API int tiercel_open(struct tiercel **out, const char *name, int rank, int timeout_ms,
                             struct tiercel_error *err) TIERCEL_MUST_CHECK;

/* The same for a control socket by its path. */
TIERCEL_API int tiercel_open_socket(struct tiercel **out, const char *path, int timeout_ms,
                                    struct tiercel_error *err) TIERCEL_MUST_CHECK;

/* Path of the control socket; valid until close. */
TIERCEL_API const char *tiercel_socket_path(const struct tiercel *t);

/* Process id of the daemon at the other end, as the kernel recorded it at connect. */
TIERCEL_API int tiercel_server_pid(const struct tiercel *t);

/* Called in the caller's thread, inside tiercel_call: with the JSON text of a progress report, valid for the call, or
 * with NULL when a signal has interrupted the wait. Returns 0 to go on, anything else to give up. */
typedef int (*tiercel_progress_fn)(void *ctx, const char *json);

/* Sends a request and waits for its result: argv is a NULL-terminated list, verb first, of at most 64 strings and
 * 65536 bytes. passed_fd >= 0 travels along (the caller keeps and closes its own); -1: none. Blocks up to timeout_ms
 * for the whole call, TIERCEL_FOREVER: no limit. progress may be NULL. *json (may be NULL if not wanted) is the result's
 * JSON text, NUL-terminated, to be freed with tiercel_free.
 * 0; an error of the daemon (its errno, its sentence); -ETIMEDOUT; -ECANCELED: progress gave up; -ECONNRESET: the
 * daemon went away; -EBADMSG: not an answer of this protocol; -E2BIG, -EINVAL: argv; -ENOTCONN: an earlier call broke
 * off, so this connection is of no more use; -ENOMEM. After -ETIMEDOUT, -ECANCELED, -ECONNRESET and -EBADMSG the
 * connection can only be closed; a request that got through may still be carried out. */
TIERCEL_API int tiercel_call(struct tiercel *t, const char *const argv[], int passed_fd, int timeout_ms,
                             tiercel_progress_fn progress, void *ctx, char **json,
                             struct tiercel_error *err) TIERCEL_MUST_CHECK;

/* Frees what tiercel_call returned. NULL is fine. */
TIERCEL_API void tiercel_free(void *p);

/* Closes the connection. NULL is fine. */
TIERCEL_API void tiercel_close(struct tiercel *t);

#ifdef __cplusplus
}
#endif

#endif
