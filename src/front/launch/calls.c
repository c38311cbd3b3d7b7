// SPDX-License-Identifier: Apache-2.0
/* The calls that a supervisor hears of, as a table, and the filter that is made of it.
 *
 * A filter sees numbers and registers, not paths. Opens that cannot need content (O_PATH, directories), and looks whether a
 * file exists or may be executed, go by without a message. io_uring is said not to exist: its opens pass no filter. Programs of
 * another architecture than ours go by as a whole: files that are not there yet cannot be read by them. */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "front/launch/fault.h"

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#elif defined(__powerpc64__)
#define OUR_ARCH AUDIT_ARCH_PPC64LE
#else
#define OUR_ARCH 0 /* no call is heard of: the rung's probe says so */
#endif

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#define TMPFILE_BIT (O_TMPFILE & ~O_DIRECTORY)

static const struct tl_call calls[] = {
    {SYS_openat, TL_CALL_OPEN, 0, 1, -1, -1, 2},
    {SYS_openat2, TL_CALL_OPEN2, 0, 1, -1, -1, 2},
    {SYS_faccessat, TL_CALL_ACCESS, 0, 1, -1, -1, 2},
    {SYS_faccessat2, TL_CALL_ACCESS, 0, 1, -1, -1, 2},
    {SYS_execve, TL_CALL_EXEC, -1, 0, -1, -1, -1},
    {SYS_execveat, TL_CALL_EXEC, 0, 1, -1, -1, 4},
    {SYS_mkdirat, TL_CALL_MAKE, 0, 1, -1, -1, -1},
    {SYS_mknodat, TL_CALL_MAKE, 0, 1, -1, -1, -1},
    {SYS_symlinkat, TL_CALL_MAKE, 1, 2, -1, -1, -1},
    {SYS_unlinkat, TL_CALL_CHANGE, 0, 1, -1, -1, -1},
    {SYS_truncate, TL_CALL_CHANGE, -1, 0, -1, -1, -1},
    {SYS_fchmodat, TL_CALL_CHANGE, 0, 1, -1, -1, -1},
    {SYS_fchmodat2, TL_CALL_CHANGE, 0, 1, -1, -1, -1},
    {SYS_fchownat, TL_CALL_CHANGE, 0, 1, -1, -1, -1},
    {SYS_utimensat, TL_CALL_CHANGE, 0, 1, -1, -1, -1},
    {SYS_setxattr, TL_CALL_CHANGE, -1, 0, -1, -1, -1},
    {SYS_lsetxattr, TL_CALL_CHANGE, -1, 0, -1, -1, -1},
    {SYS_removexattr, TL_CALL_CHANGE, -1, 0, -1, -1, -1},
    {SYS_lremovexattr, TL_CALL_CHANGE, -1, 0, -1, -1, -1},
    {SYS_renameat2, TL_CALL_MOVE, 0, 1, 2, 3, -1},
    {SYS_linkat, TL_CALL_MOVE, 0, 1, 2, 3, -1},
#ifdef SYS_renameat
    {SYS_renameat, TL_CALL_MOVE, 0, 1, 2, 3, -1},
#endif
#ifdef SYS_open /* the calls that newer architectures do without */
    {SYS_open, TL_CALL_OPEN, -1, 0, -1, -1, 1},
    {SYS_creat, TL_CALL_CHANGE, -1, 0, -1, -1, -1},
    {SYS_access, TL_CALL_ACCESS, -1, 0, -1, -1, 1},
    {SYS_mkdir, TL_CALL_MAKE, -1, 0, -1, -1, -1},
    {SYS_mknod, TL_CALL_MAKE, -1, 0, -1, -1, -1},
    {SYS_symlink, TL_CALL_MAKE, -1, 1, -1, -1, -1},
    {SYS_unlink, TL_CALL_CHANGE, -1, 0, -1, -1, -1},
    {SYS_rmdir, TL_CALL_CHANGE, -1, 0, -1, -1, -1},
    {SYS_chmod, TL_CALL_CHANGE, -1, 0, -1, -1, -1},
    {SYS_chown, TL_CALL_CHANGE, -1, 0, -1, -1, -1},
    {SYS_lchown, TL_CALL_CHANGE, -1, 0, -1, -1, -1},
    {SYS_utime, TL_CALL_CHANGE, -1, 0, -1, -1, -1},
    {SYS_utimes, TL_CALL_CHANGE, -1, 0, -1, -1, -1},
    {SYS_futimesat, TL_CALL_CHANGE, 0, 1, -1, -1, -1},
    {SYS_rename, TL_CALL_MOVE, -1, 0, -1, 1, -1},
    {SYS_link, TL_CALL_MOVE, -1, 0, -1, 1, -1},
#endif
};
#define CALL_COUNT (sizeof calls / sizeof calls[0])

const struct tl_call *tl_call_find(int number)
{
    for (size_t i = 0; i < CALL_COUNT; i++) /* the frequent ones come first */
        if (calls[i].number == number)
            return &calls[i];
    return NULL;
}

/* ---- the filter ---- */

#define FILTER_MAX (CALL_COUNT * 6 + 16)
#define LOW_WORD   (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4u : 0u)

struct program {
    struct sock_filter code[FILTER_MAX];
    unsigned short len;
};

static void add(struct program *p, struct sock_filter instruction)
{
    check(p->len < FILTER_MAX);
    p->code[p->len++] = instruction;
}

static void add_return(struct program *p, uint32_t action)
{
    add(p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action));
}

static void add_argument(struct program *p, int which)
{
    uint32_t at = (uint32_t)offsetof(struct seccomp_data, args) + (uint32_t)which * 8 + LOW_WORD;
    add(p, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at));
}

/* What is done with one call, given that the number was compared. */
static void add_call(struct program *p, const struct tl_call *c)
{
    if (c->kind == TL_CALL_OPEN) {
        add_argument(p, c->flags);
        add(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_PATH, 2, 0));
        add(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, TMPFILE_BIT, 2, 0));
        add(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_DIRECTORY, 0, 1));
        add_return(p, SECCOMP_RET_ALLOW);
    } else if (c->kind == TL_CALL_ACCESS) {
        add_argument(p, c->flags);
        add(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, R_OK | W_OK, 1, 0));
        add_return(p, SECCOMP_RET_ALLOW);
    }
    add_return(p, SECCOMP_RET_USER_NOTIF);
}

static void make_filter(struct program *p)
{
    uint32_t arch = offsetof(struct seccomp_data, arch), number = offsetof(struct seccomp_data, nr);
    p->len = 0;
    add(p, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, arch));
    add(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCH, 1, 0));
    add_return(p, SECCOMP_RET_ALLOW);
    add(p, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, number));
    for (size_t i = 0; i < CALL_COUNT; i++) {
        unsigned short at = p->len;
        add(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)calls[i].number, 0, 0));
        add_call(p, &calls[i]);
        p->code[at].jf = (uint8_t)(p->len - at - 1);
    }
    add(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1));
    add_return(p, SECCOMP_RET_ERRNO | ENOSYS);
    add_return(p, SECCOMP_RET_ALLOW);
}

static int install(const struct sock_fprog *program, unsigned long flags)
{
    long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, program);
    return fd >= 0 ? (int)fd : -errno;
}

int tl_filter_install(struct tl_error *err)
{
    struct program p;
    make_filter(&p);
    struct sock_fprog program = {.len = p.len, .filter = p.code};
    unsigned long flags = SECCOMP_FILTER_FLAG_NEW_LISTENER;
    if (OUR_ARCH == 0)
        return tl_error_set(err, -ENOTSUP, "calls of programs cannot be heard of on this architecture");
    int fd = install(&program, flags | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
    if (fd == -EACCES &&
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0) /* who is not privileged gives up set-ID programs */
        fd = install(&program, flags | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
    if (fd == -EBUSY)
        return tl_error_set(err, fd,
                            "somebody listens to the calls of this process already (a container's manager, or another "
                            "launch with other paths), and there can be only one");
    if (fd == -EINVAL)
        return tl_error_set(err, fd,
                            "this kernel cannot hand calls to a supervisor so that signals do not break them: Linux "
                            "5.19 is needed");
    if (fd < 0)
        return tl_error_set(err, fd,
                            "calls of programs cannot be handed to a supervisor: %s; a seccomp profile of this "
                            "container may forbid it",
                            strerror(-fd));
    return fd;
}
