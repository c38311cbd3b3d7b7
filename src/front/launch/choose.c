// SPDX-License-Identifier: Apache-2.0
/* Which rung is taken. They are tried, best first: a probe before would do the same work twice in each start. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "front/launch/rung.h"

int tl_rung_enter(const struct tl_rung *r, struct tl_launch *l, struct tl_error *err)
{
    for (size_t i = 0; !r->anywhere && i < l->plan.count; i++)
        if (l->plan.mounts[i].absent)
            return tl_error_set(err, -ENOENT, "path %s cannot be served: %s; check its spelling",
                                l->plan.mounts[i].point, strerror(ENOENT));
    return r->enter(l, err);
}

int tl_rung_enter_best(struct tl_launch *l, struct tl_error *err)
{
    struct tl_error first = {.code = 0}, why;
    for (size_t i = 0; i < tl_rung_count; i++) {
        int rc = tl_rung_enter(&tl_rungs[i], l, &why);
        if (rc == 0)
            return 0;
        if (rc != -EAGAIN && first.code == 0)
            first = why;
    }
    if (first.code == 0)
        first = why;
    return tl_error_set(err, first.code, "%s", first.msg);
}

/* A sentence as a field: without tabs and line ends. */
static void print_field(const char *text)
{
    putchar('\t');
    for (; text != NULL && *text != '\0'; text++)
        putchar(*text == '\t' || *text == '\n' ? ' ' : *text);
}

void tl_rung_tell(void)
{
    for (size_t i = 0; i < tl_rung_count; i++) {
        const struct tl_rung *r = &tl_rungs[i];
        struct tl_error why = {.code = 0};
        bool can = r->probe(&why) == 0;
        printf("%s\t%s", r->name, can ? "yes" : "no");
        print_field(r->summary);
        print_field(r->condition);
        print_field(r->limits);
        print_field(can ? "" : why.msg);
        putchar('\n');
        fflush(stdout); /* the next probe forks */
    }
}
