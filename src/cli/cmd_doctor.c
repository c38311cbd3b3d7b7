// SPDX-License-Identifier: Apache-2.0
#include "cli/cli.h"

int cmd_doctor(const struct cli_verb *self, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return cli_usage(self, "not there yet");
}
