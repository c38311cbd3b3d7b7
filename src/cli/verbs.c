// SPDX-License-Identifier: Apache-2.0
/* Tables of verbs: `tiercel VERB`, and verbs that have verbs of their own, as `tiercel cont create`. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

/* How many letters must be changed, added, taken away, or swapped with a neighbour, to turn a into b. */
static size_t edit_distance(const char *a, const char *b)
{
    enum { LEN_MAX = 15 };
    size_t d[LEN_MAX + 1][LEN_MAX + 1], la = strlen(a), lb = strlen(b);
    if (la > LEN_MAX || lb > LEN_MAX)
        return LEN_MAX;
    for (size_t i = 0; i <= la; i++) {
        for (size_t j = 0; j <= lb; j++) {
            if (i == 0 || j == 0) {
                d[i][j] = i + j;
                continue;
            }
            size_t best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            best = d[i - 1][j] + 1 < best ? d[i - 1][j] + 1 : best;
            best = d[i][j - 1] + 1 < best ? d[i][j - 1] + 1 : best;
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            d[i][j] = swapped && d[i - 2][j - 2] + 1 < best ? d[i - 2][j - 2] + 1 : best;
        }
    }
    return d[la][lb];
}

/* "cont create" is found as "create". */
static const char *last_word(const char *name)
{
    const char *space = strrchr(name, ' ');
    return space != NULL ? space + 1 : name;
}

const struct cli_verb *cli_verb_find(const struct cli_verb *verbs, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(last_word(verbs[i].name), name) == 0)
            return &verbs[i];
    }
    return NULL;
}

int cli_verb_unknown(const struct cli_verb *verbs, size_t count, const char *of, const char *name)
{
    const char *near = NULL;
    size_t least = 3; /* further away is no typing mistake */
    for (size_t i = 0; i < count; i++) {
        size_t distance = edit_distance(name, last_word(verbs[i].name));
        if (verbs[i].summary != NULL && distance < least && distance < strlen(last_word(verbs[i].name))) {
            least = distance;
            near = verbs[i].name;
        }
    }
    if (near != NULL)
        cli_say("%s: no such verb; did you mean `tiercel %s`?", name, near);
    else
        cli_say("%s: no such verb; `tiercel %s%s--help` lists them", name, of, of[0] != '\0' ? " " : "");
    return CLI_USAGE;
}

int cli_verb_group(const struct cli_verb *self, const struct cli_verb *verbs, size_t count, int argc, char **argv)
{
    const char *name = argc > 0 ? argv[0] : NULL;
    if (name == NULL)
        return cli_usage(self, "no verb; `tiercel %s --help` lists them", self->name);
    if (strcmp(name, "--help") != 0 && strcmp(name, "-h") != 0) {
        const struct cli_verb *verb = cli_verb_find(verbs, count, name);
        return verb != NULL ? verb->run(verb, argc - 1, argv + 1) : cli_verb_unknown(verbs, count, self->name, name);
    }
    printf("usage: tiercel %s %s\n\n", self->name, self->usage);
    if (self->more != NULL)
        printf("%s\n\n", self->more);
    for (size_t i = 0; i < count; i++)
        printf("  %-10s %s\n", last_word(verbs[i].name), verbs[i].summary);
    printf("\n`tiercel %s VERB --help` tells the options of a verb.\n", self->name);
    return cli_finish();
}
