// SPDX-License-Identifier: Apache-2.0
/* What the rows dlopen, rpath and rpath-outside load from the tree. */
int plugin_answer(int n);

int plugin_answer(int n)
{
    return n + 2;
}
