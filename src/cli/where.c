// SPDX-License-Identifier: Apache-2.0
/* The options that down, wait and restart share. */
#include <stdlib.h>

#include "cli/tier.h"

int cli_where_parse(const struct cli_verb *self, struct cli_where *w, const char *here_help, const char *timeout_help,
                    int argc, char **argv)
{
    const struct cli_option options[] = {
        CLI_OPTION_NAME(&w->name),
        {"here", 0, CLI_FLAG, &w->here, NULL, here_help},
        {"runtime", 0, CLI_TEXT, &w->runtime, "DIR", "look for the tier below DIR"},
        {"timeout", 0, CLI_SECONDS, &w->timeout_ms, "S", timeout_help},
        CLI_OPTION_JSON(&w->json),
        {"keep-trees", 0, CLI_FLAG, &w->keep_trees, NULL,
         "leave what trees have in shared memory to the next tier of this name"},
    };
    size_t count = sizeof options / sizeof options[0] - (w->keeps ? 0 : 1);
    int go = cli_parse(self, options, count, &argc, &argv, 0);
    if (go == CLI_GO && w->runtime != NULL)
        setenv("TIERCEL_RUNTIME_DIR", w->runtime, 1);
    return go;
}
