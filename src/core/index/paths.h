// SPDX-License-Identifier: Apache-2.0
/* A bounded pool of paths, in blocks of 64 bytes that are chained: paths are short, few are long. One owner thread. */
#ifndef TL_CORE_INDEX_PATHS_H
#define TL_CORE_INDEX_PATHS_H

#include <stdint.h>

#include "base/check.h"

#define TL_PATH_NONE UINT32_MAX

struct tl_paths;

int tl_paths_new(struct tl_paths **out, uint32_t blocks) TL_MUST_CHECK; /* 0, -ENOMEM */
void tl_paths_free(struct tl_paths *p);
/* Keeps a copy. A handle, or TL_PATH_NONE: the pool is full. len may be 0. */
uint32_t tl_paths_put(struct tl_paths *p, const char *path, uint16_t len);
/* Copies the len bytes that were put into out. */
void tl_paths_get(const struct tl_paths *p, uint32_t handle, char *out, uint16_t len);
void tl_paths_drop(struct tl_paths *p, uint32_t handle, uint16_t len); /* TL_PATH_NONE is fine */
uint32_t tl_paths_used(const struct tl_paths *p);                      /* blocks */

#endif
