// SPDX-License-Identifier: Apache-2.0
/* What a container should show, told the slow way: a list of all writes that ever were, and for each question a look through all of it. */
#ifndef TEST_POOL_ORACLE_H
#define TEST_POOL_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ORACLE_OBJECTS   3u
#define ORACLE_KEYS      5u /* dkeys, and akeys: numbers, in the order of their bytes */
#define ORACLE_HANDLES   4u
#define ORACLE_WRITES    4096u
#define ORACLE_SNAPSHOTS 64u

struct oracle_slot { /* a place for a value */
    unsigned object, dkey, akey;
};

enum oracle_kind { ORACLE_SINGLE = 1, ORACLE_ARRAY, ORACLE_CLEAR, ORACLE_PUNCH_DKEY, ORACLE_PUNCH_OBJECT };

struct oracle_write {
    enum oracle_kind kind;
    struct oracle_slot slot;
    uint64_t size; /* of the value; of a record */
    uint64_t first, count;
    uint64_t epoch, order;
    unsigned handle;
    bool dead;
};

struct oracle_handle {
    bool open, noslip;
    unsigned id;
    uint64_t hce, lhe, lre;
};

enum oracle_keeps { ORACLE_KEEPS_NOTHING, ORACLE_KEEPS_UNTIL_SWEPT, ORACLE_KEEPS };

struct oracle {
    uint64_t ghce, ghpce, swept;
    enum oracle_keeps keeps; /* beside what handles refer to, epochs from `kept` on */
    uint64_t kept;
    struct oracle_handle handles[ORACLE_HANDLES];
    unsigned handle_ids;
    uint64_t snapshots[ORACLE_SNAPSHOTS];
    unsigned snapshot_count;
    struct oracle_write writes[ORACLE_WRITES];
    unsigned write_count;
};

/* ---- epochs: 0 or the error ---- */

void oracle_open(struct oracle *o, unsigned h, bool noslip);
void oracle_close(struct oracle *o, unsigned h);
int oracle_hold(struct oracle *o, unsigned h, uint64_t *epoch);
int oracle_commit(struct oracle *o, unsigned h, uint64_t epoch);
int oracle_discard(struct oracle *o, unsigned h, uint64_t first, uint64_t last);
int oracle_slip(struct oracle *o, unsigned h, uint64_t epoch);
int oracle_snapshot(struct oracle *o, uint64_t epoch, bool create);
void oracle_aggregate(struct oracle *o);
int oracle_may_write(const struct oracle *o, unsigned h, uint64_t epoch);
int oracle_may_read(const struct oracle *o, uint64_t epoch);
uint64_t oracle_readable_from(const struct oracle *o);

/* ---- objects ---- */

/* Adds it; its epoch, handle and order are set. False: the list is full. */
bool oracle_write(struct oracle *o, unsigned h, uint64_t epoch, struct oracle_write w);
/* Byte i of what this write wrote. */
uint8_t oracle_byte(const struct oracle_write *w, uint64_t i);

enum oracle_view { ORACLE_NOTHING, ORACLE_VALUE, ORACLE_RECORDS, ORACLE_MIXED };
struct oracle_piece {
    uint64_t first, count;
    const struct oracle_write *write;
};
struct oracle_seen {
    enum oracle_view view; /* MIXED: of several kinds or record sizes: what is seen then is not promised */
    const struct oracle_write *value;
    uint64_t record_size;
    unsigned count; /* of pieces: ascending, those of one write next to each other are one */
    struct oracle_piece pieces[2 * ORACLE_WRITES];
};
void oracle_look(const struct oracle *o, struct oracle_slot slot, uint64_t epoch, struct oracle_seen *out);
enum oracle_view oracle_view(const struct oracle *o, struct oracle_slot slot, uint64_t epoch);

#endif
