// SPDX-License-Identifier: Apache-2.0
/* Object classes: how the data of an object is protected. Numbers and names, which are those of DAOS; include/tiercel/pool.h shows the same to
 * programs. 0 is no class: the default of whoever is asked.
 *
 *   S        0x0101           one copy
 *   RP_n     0x0100 | n       n copies
 *   EC_kPp   0x8000 | k<<6 | p   k pieces, and p more of parity */
#ifndef TL_BASE_CLASS_H
#define TL_BASE_CLASS_H

#include <stdint.h>

#include "base/check.h"

#define TL_CLASS_S    0x0101u
#define TL_CLASS_NAME 16u /* bytes of a name, with its 0 */

/* 0: there is no such class. */
uint16_t tl_class_replicated(uint64_t copies);
uint16_t tl_class_erasure(uint64_t data, uint64_t parity);

/* "default" is 0. 0, -EINVAL. */
int tl_class_parse(const char *text, uint16_t *out) TL_MUST_CHECK;
/* 0; -EINVAL: there is no such class, and out shows its number. */
int tl_class_name(uint16_t number, char out[TL_CLASS_NAME]);
/* How many places at once may be lost, without loss of data. */
unsigned tl_class_redundancy(uint16_t number);

#endif
