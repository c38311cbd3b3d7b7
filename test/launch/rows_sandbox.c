// SPDX-License-Identifier: Apache-2.0
/* Rows about programs that lock themselves in: what stands between them and the tree must not need to look into them. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "launch/rows.h"

static void use_the_tree(void)
{
    struct stat st;
    tell("stat", stat(in_tree("file"), &st));
    tell_content(in_tree("dir/a"));
    tell("none", stat(in_tree("none"), &st));
    tell("chdir", chdir(in_tree("dir")));
    tell_content("deep/b");
}

/* As ssh-agent and others do: nobody but root may look into this process. */
static void row_nondumpable(void)
{
    tell("prctl", prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
    use_the_tree();
}

/* A filter of its own, as browsers and container tools have. */
static void row_own_filter(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mount, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};
    expect(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
    tell("filter", prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
    use_the_tree();
}

/* Landlock: it may read below the tree, and nothing else. */
static void row_landlock(void)
{
    struct landlock_ruleset_attr attr = {.handled_access_fs =
                                             LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR};
    int rules = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (rules < 0)
        exit(ROW_SKIPPED); /* not in this kernel */
    struct landlock_path_beneath_attr below = {.allowed_access = attr.handled_access_fs,
                                               .parent_fd = open(tree(), O_PATH | O_CLOEXEC)};
    tell("rule", syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &below, 0));
    expect(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
    tell("restrict", syscall(SYS_landlock_restrict_self, rules, 0));
    use_the_tree();
    tell("outside", open(outside("file"), O_RDONLY | O_CLOEXEC));
}

/* Few descriptors: what serves the tree takes none of the program's. */
static void row_few_files(void)
{
    struct rlimit few = {.rlim_cur = 4, .rlim_max = 4};
    expect(setrlimit(RLIMIT_NOFILE, &few) == 0, "setrlimit");
    use_the_tree();
    int fd = open(in_tree("file"), O_RDONLY);
    printf("descriptor %d\n", fd);
    tell("one more", open(in_tree("file"), O_RDONLY));
    close(fd);
}

const struct row rows_sandbox[] = {{"nondumpable", row_nondumpable}, {"own-filter", row_own_filter},
                                   {"landlock", row_landlock},       {"few-files", row_few_files},
                                   {"read-tree", use_the_tree},      {NULL, NULL}};
