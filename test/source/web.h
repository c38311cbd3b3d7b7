// SPDX-License-Identifier: Apache-2.0
/* For tests that with_web.py runs: the folder behind the servers, and orders to them. Paths are as the source knows them. */
#ifndef TL_TEST_SOURCE_WEB_H
#define TL_TEST_SOURCE_WEB_H

#include <stddef.h>

#define WEB_ROOT "/tree" /* in the servers' folder */

extern char web_urls[2][64];

void web_begin(int argc, char **argv); /* from main: takes the arguments, makes WEB_ROOT */
/* Change the folder, and export it anew. */
void web_make_dir(const char *path);
void web_put_file(const char *path, const void *bytes, size_t len);
void web_put_link(const char *path, const char *target);
void web_remove(const char *path);
/* Only the bytes on the server, behind the catalog's back. */
void web_change_file(const char *path, const void *bytes, size_t len);
/* An order to server 0 or 1, such as "/-fault?500&1&file"; the answer, in a buffer that the next call uses again. */
const char *web_order(unsigned server, const char *path);

#endif
