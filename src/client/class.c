// SPDX-License-Identifier: Apache-2.0
/* Names of object classes (tiercel/pool.h). */
#include <errno.h>
#include <stdio.h>

#include "base/class.h"
#include "tiercel/pool.h"

_Static_assert(TIERCEL_CLASS_S == TL_CLASS_S && TIERCEL_CLASS_NAME == TL_CLASS_NAME, "two headers say the same");
_Static_assert(TIERCEL_CLASS_RP(3u) == 0x0103u && TIERCEL_CLASS_EC(2u, 1u) == 0x8081u, "numbers as in base/class.h");

int tiercel_class_parse(const char *name, unsigned *out)
{
    uint16_t number;
    if (name == NULL || out == NULL || tl_class_parse(name, &number) != 0)
        return -EINVAL;
    *out = number;
    return 0;
}

int tiercel_class_name(unsigned object_class, char out[TIERCEL_CLASS_NAME])
{
    if (out == NULL)
        return -EINVAL;
    if (object_class <= UINT16_MAX)
        return tl_class_name((uint16_t)object_class, out);
    snprintf(out, TIERCEL_CLASS_NAME, "0x%x", object_class);
    return -EINVAL;
}
