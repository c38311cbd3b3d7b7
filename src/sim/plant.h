// SPDX-License-Identifier: Apache-2.0
/* Bugs planted on purpose, in the driver, to see the checkers find them. */
#ifndef TL_SIM_PLANT_H
#define TL_SIM_PLANT_H

/* name, what it does */
#define TL_PLANTS(X)                                                                                                   \
    X(NONE, "none", "no bug")                                                                                          \
    X(TWICE_ANSWERED, "twice-answered", "some answers are given to the process twice")                                 \
    X(NEVER_ANSWERED, "never-answered", "one answer is lost")                                                          \
    X(WRONG_BYTES, "wrong-bytes", "bytes in an arena turn into others after they were verified")                       \
    X(LOST_FETCHED, "lost-fetched", "one completion of storage never reaches its node")                                \
    X(DOUBLE_FETCH, "double-fetch", "a fetch goes to storage twice")                                                   \
    X(FETCHED_AGAIN, "fetched-again", "a chunk's bytes are read from storage a second time, later")                    \
    X(OVER_LIMIT, "over-limit", "nodes hold four times of what they may")                                              \
    X(DOUBLE_FREE, "double-free", "an extent is freed while it is still held")                                         \
    X(CHATTER, "chatter", "every message is sent thirty times")                                                        \
    X(CACHED_ERROR, "cached-error", "an error of storage stays once it has happened")                                  \
    X(GOES_ROUND, "goes-round", "a node asks storage, though it has somebody to ask")                                  \
    X(ASKS_AGAIN, "asks-again", "the root asks storage for what it holds")                                             \
    X(CYCLE, "cycle", "a node believes that the root asks it")

enum tl_plant {
#define TL_PLANT_ENUM(id, name, what) TL_PLANT_##id,
    TL_PLANTS(TL_PLANT_ENUM)
#undef TL_PLANT_ENUM
        TL_PLANT_COUNT
};

#endif
