// SPDX-License-Identifier: Apache-2.0
/* A program whose ELF interpreter lies in the tree. */
#include <stdio.h>

int main(void)
{
    puts("started by the tree's own loader");
    return 0;
}
