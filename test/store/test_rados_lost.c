// SPDX-License-Identifier: Apache-2.0
/* What a pool in a cluster says when objects of it are lost for good: the state of a container, that of the pool, a part of an index. Through the public
 * interface and the commands, on a cluster of test/store/rados.sh; what is lost is taken away with `rados`, behind Tiercel's back. */
#include "client/scene.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#define NOBODY "s.00000000000000000000000000000000" /* the state of the pool */
#define LONG_S 20                                   /* no answer takes as long, with timeout=30 */

static char said[16384]; /* what the last command has written */

/* A command of the shell, with $URI, $NS and $TIERCEL; its exit code. */
static int sh(const struct scene *x, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int sh(const struct scene *x, const char *fmt, ...)
{
    char command[1024], text[1400];
    const char *space = x->where + strlen("rados:///");
    struct timespec begin, end;
    va_list args;
    va_start(args, fmt);
    vsnprintf(command, sizeof command, fmt, args);
    va_end(args);
    snprintf(text, sizeof text, "exec 2>&1; URI='%s' NS=%.*s; ra() { rados -p meta -N $NS \"$@\"; }; %s", x->where,
             (int)strcspn(space, "?"), space, command);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    FILE *f = popen(text, "r"); // NOLINT: a test's own words
    assert_non_null(f);
    size_t n = fread(said, 1, sizeof said - 1, f);
    said[n] = 0;
    int status = pclose(f);
    clock_gettime(CLOCK_MONOTONIC, &end);
    if (end.tv_sec - begin.tv_sec >= LONG_S)
        fail_msg("%s: %lld s: %s", text, (long long)(end.tv_sec - begin.tv_sec), said);
    if (getenv("SHOW") != NULL)
        printf("%s\n%s\n", command, said);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#define RUN(x, code, ...)                                                                                              \
    do {                                                                                                               \
        int is_code = sh(x, __VA_ARGS__);                                                                              \
        if (is_code != (code))                                                                                         \
            fail_msg("exit code %d instead of %d: %s", is_code, code, said);                                           \
    } while (0)

static void says(const char *text, const char *word)
{
    if (strstr(text, word) == NULL)
        fail_msg("\"%s\" is not in: %s", word, text);
}

static void state_of(const struct scene *x, const char *label, char out[40])
{
    struct tiercel_cont *c = NULL;
    struct tiercel_cont_info info;
    assert_int_equal(tiercel_cont_open(&c, x->pool, label, TIERCEL_RO, NULL), 0);
    assert_int_equal(tiercel_cont_query(c, &info, NULL), 0);
    assert_int_equal(tiercel_cont_close(c), 0);
    strcpy(out, "s.");
    to_hex(info.uuid.bytes, sizeof info.uuid.bytes, out + 2);
}

static int write_one(struct tiercel_cont *c, uint64_t epoch, uint64_t object, uint64_t number)
{
    int rc = put(c, epoch, object, number);
    return rc == 0 ? tiercel_epoch_commit(c, epoch, NULL, NULL) : rc;
}

/* ---- the state of a container ---- */

static const struct {
    const char *name, *command; /* $S: the object */
    bool open_ones_know;        /* who has it open is told, too; else he has what was lost in memory */
} ways[] = {
    {"removed", "ra rm $S", true},
    {"truncated",
     "k=$(mktemp); ra listomapkeys $S | head -n 1 | tr -d '\\n' >$k; ra rmomapkey $S --omap-key-file $k; rm $k", false},
    {"garbage", "ra rm $S; head -c 4096 /dev/urandom | ra put $S -", true},
};

static void others_stay_usable(struct scene *x, struct tiercel_cont *other, uint64_t *epoch)
{
    ++*epoch;
    assert_int_equal(write_one(other, *epoch, 1, *epoch), 0);
    assert_int_equal(got(other, 0, 1), *epoch);
    RUN(x, 0, "echo new | $TIERCEL put $URI/third 2 && [ $($TIERCEL get $URI/third 2) = new ]");
}

static void who_has_it_open_is_told(struct scene *x, bool knows, const char *object)
{
    struct tiercel_cont *c;
    struct tiercel_error err;
    int64_t read = got(x->cont, 0, 1);
    if (!knows) {
        assert_int_equal(read, 7);
        return;
    }
    assert_int_equal(read, -EBADMSG);
    says(tiercel_why(NULL), "container c");
    says(tiercel_why(NULL), object);
    says(tiercel_why(NULL), "tiercel pool check");
    assert_int_equal(write_one(x->cont, 2, 1, 8), -EBADMSG);
    says(tiercel_why(NULL), "container c");
    assert_int_equal(tiercel_epoch_commit(x->cont, 2, NULL, NULL), -EBADMSG);
    says(tiercel_why(NULL), "container c: epoch 2 cannot be committed");
    assert_int_equal(tiercel_cont_set_attr(x->cont, "a", "b", 1), -EBADMSG);
    assert_int_equal(tiercel_cont_open(&c, x->pool, "c", TIERCEL_RW, &err), -EBADMSG);
    says(err.message, "container c ");
    says(err.message, "its state is lost or damaged");
    says(err.message, object);
    says(err.message, "tiercel cont destroy --force");
}

static void who_opens_it_is_told(struct scene *x, bool all, const char *object)
{
    static const char *const refused[] = {"get $URI/c 1",
                                          "put $URI/c 1 </dev/null",
                                          "cont evict $URI/c",
                                          "cont prop $URI/c class",
                                          "cont prop $URI/c class default",
                                          "cont snap list $URI/c",
                                          "cont query $URI/c",
                                          "cont destroy $URI/c",
                                          "cont copy $URI/c $URI/copy"};
    for (size_t i = 0; i < (all ? sizeof refused / sizeof *refused : 2); i++) {
        RUN(x, 1, "$TIERCEL %s", refused[i]);
        says(said, "container c");
        says(said, object);
    }
    RUN(x, 1, "$TIERCEL cont list $URI");
    says(said, "container c: its state is lost or damaged");
    says(said, object);
    says(said, "other ");
    RUN(x, 1, "$TIERCEL pool check $URI");
    says(said, "container c: its state is lost or damaged");
    says(said, object);
    says(said, "tiercel cont destroy --force");
    RUN(x, 0, "$TIERCEL pool query $URI");
    says(said, "3 containers");
}

static void a_container_without_its_state_is_told_by_name(void **state)
{
    struct scene *x = *state;
    char object[40];
    uint64_t epoch = 0, held = 1;
    scene_create(x, "other");
    scene_create(x, "third");
    struct tiercel_cont *other = scene_open(x, "other", TIERCEL_RW);
    assert_int_equal(tiercel_epoch_hold(other, &held, NULL, NULL), 0);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        if (getenv("SHOW") != NULL)
            printf("---- %s\n", ways[i].name);
        hold(x, 1);
        assert_int_equal(write_one(x->cont, 1, 1, 7), 0);
        state_of(x, "c", object);
        RUN(x, 0, "S=%s; %s", object, ways[i].command);
        who_has_it_open_is_told(x, ways[i].open_ones_know, object);
        who_opens_it_is_told(x, i == 0, object);
        others_stay_usable(x, other, &epoch);
        if (strcmp(ways[i].name, "removed") == 0) /* nor was it made anew */
            RUN(x, 1, "ra ls | grep %s", object);
        (void)!tiercel_cont_close(x->cont);
        RUN(x, 0, "ra ls | grep -q i.%s", object + 2); /* who closes a container that is lost takes nothing away */
        RUN(x, 0, "$TIERCEL cont destroy --force $URI/c");
        RUN(x, 0, "$TIERCEL pool check $URI && $TIERCEL cont list $URI");
        scene_create(x, "c");
        x->cont = scene_open(x, "c", TIERCEL_RW);
    }
    assert_int_equal(tiercel_cont_close(other), 0);
}

/* ---- the state of the pool ---- */

static void the_pools_state_is(struct scene *x, const char *command, bool open_ones_know)
{
    static const char *const refused[] = {"pool query $URI",  "pool check $URI",    "pool check --repair $URI",
                                          "cont list $URI",   "cont create $URI/d", "put $URI/c 1 </dev/null",
                                          "pool destroy $URI"};
    uint64_t epoch = 1;
    hold(x, 1);
    RUN(x, 0, "S=%s; %s", NOBODY, command);
    assert_int_equal(write_one(x->cont, epoch, 1, 7), 0); /* who has a container open needs it no more */
    assert_int_equal(got(x->cont, 0, 1), 7);
    if (open_ones_know)
        assert_int_equal(tiercel_cont_create(x->pool, "d", NULL, NULL), -EBADMSG);
    for (size_t i = 0; i < (open_ones_know ? sizeof refused / sizeof *refused : 2); i++) {
        RUN(x, 1, "$TIERCEL %s", refused[i]);
        says(said, "its state, the list of its containers, is lost or damaged: " NOBODY " in RADOS pool 'meta'");
        says(said, "tiercel pool destroy --force");
    }
    assert_int_equal(write_one(x->cont, 2, 1, 8), 0);
    assert_int_equal(got(x->cont, 0, 1), 8);
    RUN(x, 1, "$TIERCEL pool destroy --force $URI"); /* it is open here */
}

static void a_pool_whose_state_is_removed_is_told(void **state)
{
    the_pools_state_is(*state, "ra rm $S", true);
    RUN(*state, 1, "ra ls | grep -q " NOBODY); /* nor was it made anew */
}

static void a_pool_whose_state_is_emptied_is_told(void **state)
{
    the_pools_state_is(*state, "ra clearomap $S", false);
}

/* ---- a part of an index ---- */

#define OBJECTS 24u

static void let_go(struct scene *x)
{
    assert_int_equal(tiercel_cont_close(x->cont), 0);
    assert_int_equal(tiercel_pool_disconnect(x->pool), 0);
}

static void take_again(struct scene *x)
{
    struct tiercel_error err;
    if (tiercel_pool_connect(&x->pool, x->where, TIERCEL_RW, &err) != 0)
        fail_msg("%s", err.message);
    x->cont = scene_open(x, "c", TIERCEL_RW);
}

static void write_all(struct scene *x, uint64_t epoch)
{
    hold(x, epoch);
    for (uint64_t i = 0; i < OBJECTS; i++)
        assert_int_equal(put(x->cont, epoch, i, 100 * epoch + i), 0);
    commit(x, epoch);
    assert_int_equal(tiercel_snap_create(x->cont, epoch, NULL), 0);
}

/* What was in the shard is told as lost, with these words; the rest is there. */
static unsigned read_all(struct scene *x, uint64_t epoch, const bool *lost, const char *words)
{
    unsigned count = 0;
    for (uint64_t i = 0; i < OBJECTS; i++) {
        int64_t is = got(x->cont, epoch, i);
        if (!lost[i]) {
            assert_int_equal(is, 100 * epoch + i);
            continue;
        }
        count++;
        assert_int_equal(is, -EBADMSG);
        says(tiercel_why(NULL), "container c: ");
        says(tiercel_why(NULL), words);
    }
    return count;
}

static void as_if_never_written(struct scene *x, uint64_t epoch, const bool *lost)
{
    for (uint64_t i = 0; i < OBJECTS; i++)
        assert_int_equal(got(x->cont, epoch, i), lost[i] ? 0 : 100 * epoch + i);
}

static void a_lost_part_of_an_index_is_made_anew_and_stays_lost(void **state)
{
    struct scene *x = *state;
    char object[40];
    bool lost[OBJECTS] = {false};
    write_all(x, 1);
    state_of(x, "c", object);
    assert_int_equal(read_all(x, 1, lost, ""), 0);
    RUN(x, 0, "ra rm i.%s.3", object + 2);
    for (uint64_t i = 0; i < OBJECTS; i++)
        lost[i] = got(x->cont, 1, i) == -EBADMSG;
    unsigned count = read_all(x, 1, lost, "there is no such object");
    assert_true(count > 0 && count < OBJECTS / 2);
    hold(x, 2);
    for (uint64_t i = 0; i < OBJECTS; i++)
        assert_int_equal(put(x->cont, 2, i, 200 + i), lost[i] ? -EBADMSG : 0);
    let_go(x);
    RUN(x, 1, "$TIERCEL pool check $URI");
    says(said, "what shard 3 of its index says is damaged: i.");
    says(said, "tiercel pool check --repair makes it anew");
    RUN(x, 1, "$TIERCEL pool check --repair $URI");
    says(said, "container c: shard 3 of 16 of its index, i.");
    says(said, "what it had up to epoch 1 is given up: that of objects 0.");
    take_again(x);
    for (unsigned round = 0; round < 2; round++) { /* before it is written again, and after */
        assert_int_equal(read_all(x, 1, lost, "it was lost, and made anew after epoch 1; what it had is unknown"),
                         count);
        struct tiercel_anchor anchor = {.len = 0};
        struct tiercel_oid oids[OBJECTS];
        unsigned n = OBJECTS;
        assert_int_equal(tiercel_list_objects(x->cont, 0, &anchor, oids, &n, NULL), -EBADMSG);
        if (round == 0)
            write_all(x, 2);
    }
    let_go(x);
    RUN(x, 1, "$TIERCEL cont copy $URI/c $URI/copy"); /* it would not know */
    says(said, "container c");
    for (unsigned i = 0; i < 2; i++) {
        RUN(x, 1, "$TIERCEL pool check %s $URI", i == 0 ? "" : "--repair");
        says(said, "it was lost, and made anew after epoch 1");
        says(said, "tiercel pool check --accept-loss");
        assert_null(strstr(said, "is given up"));
    }
    RUN(x, 0, "$TIERCEL pool check --accept-loss $URI");
    says(said, "that is accepted");
    RUN(x, 0, "$TIERCEL pool check $URI");
    take_again(x);
    as_if_never_written(x, 1, lost);
    memset(lost, 0, sizeof lost);
    assert_int_equal(read_all(x, 2, lost, ""), 0);
    RUN(x, 0, "ra rm i.%s.5; $TIERCEL cont destroy --force $URI/c && $TIERCEL pool check $URI", object + 2);
}

static int gone(void **state)
{
    struct scene *x = *state;
    char where[sizeof x->where];
    struct scene after = {.pool = NULL};
    memcpy(where, x->where, sizeof where);
    int rc = scene_teardown(state);
    memcpy(after.where, where, sizeof where);
    if (sh(&after, "$TIERCEL pool destroy --force $URI") == 0 && sh(&after, "[ -z \"$(ra ls)\" ]") == 0)
        return rc;
    puts(said);
    return -1;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_container_without_its_state_is_told_by_name, scene_setup, gone),
        cmocka_unit_test_setup_teardown(a_lost_part_of_an_index_is_made_anew_and_stays_lost, scene_setup, gone),
        cmocka_unit_test_setup_teardown(a_pool_whose_state_is_removed_is_told, scene_setup, gone),
        cmocka_unit_test_setup_teardown(a_pool_whose_state_is_emptied_is_told, scene_setup, gone),
    };
    const char *pools = getenv("TIERCEL_TEST_POOLS");
    if (getenv("CEPH_CONF") == NULL || pools == NULL || strncmp(pools, "rados:", 6) != 0) {
        puts("no cluster: test/store/rados.sh runs this");
        return 77;
    }
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
