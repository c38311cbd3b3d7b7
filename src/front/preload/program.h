// SPDX-License-Identifier: Apache-2.0
/* What kind of program a file is: whom the kernel would load to run it. Needs no C library. */
#ifndef TL_FRONT_PRELOAD_PROGRAM_H
#define TL_FRONT_PRELOAD_PROGRAM_H

#include <linux/limits.h>

#define TL_SCRIPTS_MAX 5 /* scripts whose interpreter is a script, as the kernel allows */

struct tl_program {
    enum { TL_PROGRAM_OTHER, TL_PROGRAM_SCRIPT, TL_PROGRAM_DYNAMIC } kind;
    char *interpreter, *word; /* in text; word, of a script, may be NULL */
    char text[PATH_MAX];
};

/* What cannot be read is for the kernel to judge. */
void tl_program_inspect(struct tl_program *p, int dir, const char *path);

#endif
