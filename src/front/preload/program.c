// SPDX-License-Identifier: Apache-2.0
#include "front/preload/program.h"

#include <elf.h>
#include <fcntl.h>

#include "front/preload/raw.h"

#define LINE_MAX_BYTES 256 /* as much of a script's first line as the kernel reads */
#define HEADERS_MAX    64  /* of an ELF file; usual are 13 */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* "#!interpreter word" as the kernel splits it: one word, blanks in it kept. */
static void read_script(struct tl_program *p, size_t n)
{
    char *at = p->text + 2, *end = p->text + n;
    for (char *c = at; c < end; c++) {
        if (*c == '\n' || *c == '\0') {
            end = c;
            break;
        }
    }
    *end = '\0';
    while (end > at && is_blank(end[-1]))
        *--end = '\0';
    while (is_blank(*at))
        at++;
    p->interpreter = at;
    p->word = NULL;
    while (*at != '\0' && !is_blank(*at))
        at++;
    if (*at != '\0') {
        *at++ = '\0';
        while (is_blank(*at))
            at++;
        p->word = at;
    }
    p->kind = p->interpreter[0] != '\0' ? TL_PROGRAM_SCRIPT : TL_PROGRAM_OTHER;
}

static void read_elf(struct tl_program *p, long fd)
{
    Elf64_Ehdr head;
    Elf64_Phdr parts[HEADERS_MAX];
    tl_copy(&head, p->text, sizeof head);
    if (head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_phentsize != sizeof parts[0] || head.e_phnum > HEADERS_MAX)
        return;
    long size = (long)(head.e_phnum * sizeof parts[0]);
    if (tl_raw4(SYS_pread64, fd, tl_arg(parts), size, (long)head.e_phoff) != size)
        return;
    for (size_t i = 0; i < head.e_phnum; i++) {
        if (parts[i].p_type != PT_INTERP || parts[i].p_filesz < 2 || parts[i].p_filesz >= sizeof p->text)
            continue;
        long n = (long)parts[i].p_filesz;
        if (tl_raw4(SYS_pread64, fd, tl_arg(p->text), n, (long)parts[i].p_offset) != n)
            return;
        p->text[n] = '\0';
        p->interpreter = p->text;
        p->kind = TL_PROGRAM_DYNAMIC;
        return;
    }
}

/* What cannot be read is for the kernel to judge. */
void tl_program_inspect(struct tl_program *p, int dir, const char *path)
{
    p->kind = TL_PROGRAM_OTHER;
    p->interpreter = p->word = NULL;
    long fd = tl_raw4(SYS_openat, dir, tl_arg(path), O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
    if (fd < 0)
        return;
    long n = tl_raw4(SYS_pread64, fd, tl_arg(p->text), LINE_MAX_BYTES, 0);
    if (n > 2 && p->text[0] == '#' && p->text[1] == '!')
        read_script(p, (size_t)n);
    else if (n >= (long)sizeof(Elf64_Ehdr) && tl_same(p->text, ELFMAG, SELFMAG))
        read_elf(p, fd);
    tl_raw2(SYS_close, fd, 0);
}
