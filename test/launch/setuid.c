// SPDX-License-Identifier: Apache-2.0
/* Lies outside the tree with mode 4755: whether setuid programs have their rights, and find the tree. */
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    printf("effective user %u; the file: %d\n", geteuid(), argc > 1 && access(argv[1], F_OK) == 0);
    return 0;
}
