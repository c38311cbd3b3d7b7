// SPDX-License-Identifier: Apache-2.0
/* The files that the kernel opens by itself when it executes one: the interpreter of a script, and the loader of an ELF
 * program. No filter hears of these. What is odd is left to the kernel to refuse. */
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <string.h>
#include <unistd.h>

#include "front/launch/fault.h"

#define HEAD_MAX    256 /* what the kernel looks at for #! */
#define HEADERS_MAX 64

static int script(const char *head, size_t len, char out[PATH_MAX])
{
    size_t at = 2;
    while (at < len && (head[at] == ' ' || head[at] == '\t'))
        at++;
    size_t n = 0;
    while (at + n < len && strchr(" \t\n", head[at + n]) == NULL) /* strchr finds the NUL, too */
        n++;
    memcpy(out, head + at, n);
    out[n] = '\0';
    return n > 0;
}

static int elf(int fd, const char *head, char out[PATH_MAX])
{
    ElfW(Ehdr) e;
    ElfW(Phdr) headers[HEADERS_MAX];
    memcpy(&e, head, sizeof e);
    if (e.e_phentsize != sizeof headers[0] || e.e_phnum == 0 || e.e_phnum > HEADERS_MAX)
        return 0;
    ssize_t size = (ssize_t)(e.e_phnum * sizeof headers[0]);
    if (pread(fd, headers, (size_t)size, (off_t)e.e_phoff) != size)
        return 0;
    for (int i = 0; i < e.e_phnum; i++) {
        if (headers[i].p_type != PT_INTERP)
            continue;
        size_t len = headers[i].p_filesz;
        if (len < 2 || len > PATH_MAX || pread(fd, out, len, (off_t)headers[i].p_offset) != (ssize_t)len)
            return 0;
        return memchr(out, '\0', len) != NULL;
    }
    return 0;
}

int tl_interpreter_of(int fd, char out[PATH_MAX], bool *is_script)
{
    char head[HEAD_MAX];
    ssize_t n = pread(fd, head, sizeof head, 0);
    *is_script = n > 2 && head[0] == '#' && head[1] == '!';
    if (*is_script)
        return script(head, (size_t)n, out);
    if (n >= (ssize_t)sizeof(ElfW(Ehdr)) && memcmp(head, ELFMAG, SELFMAG) == 0 &&
        head[EI_CLASS] == (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32))
        return elf(fd, head, out);
    return 0;
}
