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
#include <sys/syscall.h>
#include <unistd.h>

#include "front/launch/fault.h"
#include "front/preload/paths.h"

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#elif defined(__powerpc64__)
#define OUR_ARCH AUDIT_ARCH_PPC64LE
#else
#define OUR_ARCH 0 /* no call is heard of: the rung's probe says so */
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

#define FILTER_MAX (CALL_COUNT * 9 + 24)
#define LOW_WORD   (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4u : 0u)
#define CHANGING   (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)

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

static void add_test(struct program *p, uint32_t bits, uint8_t if_set, uint8_t if_not)
{
    add(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, if_set, if_not));
}

/* A call that changes nothing goes on if it comes from the stub's page: the stub makes it again, from elsewhere, if the file has
 * no content yet (front/preload/stub.h). */
static void add_origin(struct program *p)
{
#if defined(__x86_64__)
    uint32_t at = offsetof(struct seccomp_data, instruction_pointer);
    add(p, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at + 4));
    add(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(TL_PAGE_ADDRESS >> 32), 0, 4));
    add(p, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at));
    add(p, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, ~(uint32_t)(TL_PAGE_SIZE - 1)));
    add(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)TL_PAGE_ADDRESS, 0, 1));
    add_return(p, SECCOMP_RET_ALLOW);
#endif
    add_return(p, SECCOMP_RET_USER_NOTIF);
}

/* What is done with one call, given that the number was compared. */
static void add_call(struct program *p, const struct tl_call *c)
{
    if (c->kind == TL_CALL_OPEN) {
        add_argument(p, c->flags);
        add_test(p, O_PATH, 2, 0);
        add_test(p, TMPFILE_BIT | CHANGING, 2, 0);
        add_test(p, O_DIRECTORY, 0, 2);
        add_return(p, SECCOMP_RET_ALLOW);
        add_return(p, SECCOMP_RET_USER_NOTIF);
        add_origin(p);
    } else if (c->kind == TL_CALL_ACCESS) {
        add_argument(p, c->flags);
        add_test(p, R_OK | W_OK, 1, 0);
        add_return(p, SECCOMP_RET_ALLOW);
        add_test(p, W_OK, 0, 1);
        add_return(p, SECCOMP_RET_USER_NOTIF);
        add_origin(p);
    } else if (c->kind == TL_CALL_OPEN2) {
        add_origin(p);
    } else {
        add_return(p, SECCOMP_RET_USER_NOTIF);
    }
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

int tl_filter_install(struct tl_error *err)
{
    struct program p;
    make_filter(&p);
    struct sock_fprog program = {.len = p.len, .filter = p.code};
    if (OUR_ARCH == 0)
        return tl_error_set(err, -ENOTSUP, "calls of programs cannot be heard of on this architecture");
    return tl_hear_install(&program, false, err);
}
