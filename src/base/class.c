// SPDX-License-Identifier: Apache-2.0
/* See class.h. */
#include "base/class.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLICATED 0x0100u
#define ERASURE    0x8000u
#define COPIES_MAX 255u
#define DATA_MAX   511u
#define PARITY_MAX 63u
#define PARITY     6u /* bits */

uint16_t tl_class_replicated(uint64_t copies)
{
    return copies == 0 || copies > COPIES_MAX ? 0 : (uint16_t)(REPLICATED | copies);
}

uint16_t tl_class_erasure(uint64_t data, uint64_t parity)
{
    if (data == 0 || data > DATA_MAX || parity == 0 || parity > PARITY_MAX)
        return 0;
    return (uint16_t)(ERASURE | data << PARITY | parity);
}

int tl_class_name(uint16_t number, char out[TL_CLASS_NAME])
{
    unsigned low = number & COPIES_MAX, data = number >> PARITY & DATA_MAX, parity = number & PARITY_MAX;
    int rc = 0;
    if (number == 0)
        snprintf(out, TL_CLASS_NAME, "default");
    else if (number == TL_CLASS_S)
        snprintf(out, TL_CLASS_NAME, "S");
    else if (number == tl_class_replicated(low))
        snprintf(out, TL_CLASS_NAME, "RP_%u", low);
    else if (number == tl_class_erasure(data, parity))
        snprintf(out, TL_CLASS_NAME, "EC_%uP%u", data, parity);
    else
        rc = -EINVAL;
    if (rc != 0)
        snprintf(out, TL_CLASS_NAME, "0x%04x", number);
    return rc;
}

/* Whatever number the text may mean has one name, which must be the text. */
int tl_class_parse(const char *text, uint16_t *out)
{
    char name[TL_CLASS_NAME], *end = NULL;
    uint16_t number = 0;
    if (strcmp(text, "S") == 0) {
        number = TL_CLASS_S;
    } else if (strncmp(text, "RP_", 3) == 0) {
        number = tl_class_replicated(strtoull(text + 3, NULL, 10));
    } else if (strncmp(text, "EC_", 3) == 0) {
        uint64_t data = strtoull(text + 3, &end, 10);
        number = *end == 'P' ? tl_class_erasure(data, strtoull(end + 1, NULL, 10)) : 0;
    }
    if (tl_class_name(number, name) != 0 || strcmp(name, text) != 0)
        return -EINVAL;
    *out = number;
    return 0;
}

unsigned tl_class_redundancy(uint16_t number)
{
    if ((number & ERASURE) != 0)
        return number & PARITY_MAX;
    return (number & REPLICATED) != 0 ? (number & COPIES_MAX) - 1 : 0;
}
