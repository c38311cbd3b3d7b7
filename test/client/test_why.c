// SPDX-License-Identifier: Apache-2.0
/* Sentences of errors. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "client/why.h"

static void sentences_name_the_thing_the_cause_and_the_remedy(void **state)
{
    static const struct tiercel_epochs held = {.hce = 10, .lre = 10, .lhe = 11, .ghce = 10, .glre = 7, .ghpce = 10};
    static const struct tiercel_epochs none = {.lhe = TIERCEL_EPOCH_MAX};
    static const struct {
        struct tl_about about;
        int code;
        const char *sentence;
    } rows[] = {
        {{.verb = TL_DO_COMMIT, .kind = "container", .name = "ckpt", .epoch = 9, .numbers = &held},
         -EROFS,
         "container ckpt: epoch 9 cannot be committed: it is not held (lowest held epoch 11); hold it first"},
        {{.verb = TL_DO_WRITE, .kind = "container", .name = "ckpt", .epoch = 9, .numbers = &none},
         -EROFS,
         "container ckpt: nothing can be written at epoch 9: it is not held (nothing is held); hold it first"},
        {{.verb = TL_DO_READ, .kind = "container", .name = "c", .epoch = 3, .numbers = &held},
         -ESTALE,
         "container c: epoch 3 cannot be read: it was aggregated; readable are snapshots, and all epochs from 7 on"},
        {{.verb = TL_DO_SNAP_CREATE, .kind = "container", .name = "c", .epoch = 12, .numbers = &held},
         -ENOENT,
         "container c: epoch 12 cannot become a snapshot: only epochs from 7 to 10 can; commit it first, or take "
         "another"},
        {{.verb = TL_DO_HOLD, .kind = "container", .name = "c", .epoch = TIERCEL_EPOCH_MAX - 1},
         -EACCES,
         "container c: epoch 18446744073709551614 cannot be held: it was opened for reading only; open it, and its "
         "pool, "
         "with TIERCEL_RW"},
        {{.verb = TL_DO_LOCK, .kind = "container", .name = "c", .thing = "x"},
         -EAGAIN,
         "container c: lock 'x' cannot be had: somebody holds it; try again, or with a timeout"},
        {{.verb = TL_DO_COMMIT, .kind = "container", .name = "c", .epoch = 3},
         -ESHUTDOWN,
         "container c: epoch 3 cannot be committed: the cluster has this process, or all of its host, on its "
         "blocklist; what is not committed is lost: start it anew, or have it taken off (see `ceph osd blocklist ls`)"},
        {{.verb = TL_DO_POOL_QUERY, .kind = "pool", .name = "/p"},
         -ENODEV,
         "pool /p: it cannot be asked: No such device"},
    };
    char text[TL_WHY_MAX];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        tl_why_make(text, &rows[i].about, rows[i].code, NULL);
        assert_string_equal(text, rows[i].sentence);
    }
}

static void every_verb_has_a_sentence_for_every_code(void **state)
{
    static const int codes[] = {EBADF,  EACCES, EROFS,        EOVERFLOW, EINVAL,  EEXIST,    ENOENT,
                                EIO,    ENOSPC, ESTALE,       ENOMEM,    EBUSY,   ECANCELED, ETIMEDOUT,
                                EAGAIN, EFBIG,  ENAMETOOLONG, EPERM,     ENOBUFS, ESHUTDOWN};
    char text[TL_WHY_MAX];
    (void)state;
    for (int v = TL_DO_ANY; v < TL_DO_COUNT; v++)
        for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
            const struct tl_about about = {.verb = (enum tl_verb)v, .kind = "container", .name = "c", .thing = "x"};
            tl_why_make(text, &about, -codes[i], NULL);
            if (strlen(text) < 20 || strpbrk(text, "{}") != NULL)
                fail_msg("verb %d, code %d: '%s'", v, codes[i], text);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sentences_name_the_thing_the_cause_and_the_remedy),
        cmocka_unit_test(every_verb_has_a_sentence_for_every_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
