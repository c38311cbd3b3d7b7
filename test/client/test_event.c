// SPDX-License-Identifier: Apache-2.0
/* Events and queues by themselves: what runs is begun and ended by the test. The cases are those of the event queue tests of DAOS 0.3,
 * and those that event.h promises beyond them. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/event.h"
#include "client/why.h"

#define EVENTS 16

struct scene {
    struct tiercel_queue *q;
    struct tiercel_event ev[EVENTS], parent;
    struct tl_running work[EVENTS];
    struct tiercel_event *out[EVENTS * 2];
};

static int setup(void **state)
{
    struct scene *x = calloc(1, sizeof *x);
    *state = x;
    return x == NULL || tiercel_queue_create(&x->q) != 0;
}

static int teardown(void **state)
{
    struct scene *x = *state;
    int rc = tiercel_queue_destroy(x->q, 0);
    free(x);
    return rc;
}

static void init(struct scene *x, int first, int end, struct tiercel_event *parent)
{
    for (int i = first; i < end; i++)
        assert_int_equal(tiercel_event_init(&x->ev[i], x->q, parent), 0);
}

static void launch(struct scene *x, int first, int end)
{
    for (int i = first; i < end; i++)
        assert_int_equal(tl_event_launch(&x->ev[i], &x->work[i]), 0);
}

static void finish(struct scene *x, int first, int end)
{
    for (int i = first; i < end; i++)
        tl_event_complete(&x->ev[i], 0, NULL);
}

static void fini(struct scene *x, int first, int end)
{
    for (int i = first; i < end; i++)
        assert_int_equal(tiercel_event_fini(&x->ev[i]), 0);
}

static bool readable(const struct scene *x)
{
    struct pollfd p = {.fd = tiercel_queue_fd(x->q), .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

/* ---- queues ---- */

static void queues_come_and_go(void **state)
{
    struct tiercel_queue *q = NULL;
    (void)state;
    assert_int_equal(tiercel_queue_create(NULL), -EINVAL);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(tiercel_queue_create(&q), 0);
        assert_true(tiercel_queue_fd(q) >= 0);
        assert_int_equal(tiercel_queue_destroy(q, i % 2), 0);
    }
    assert_int_equal(tiercel_queue_destroy(NULL, 0), 0);
    assert_int_equal(tiercel_queue_fd(NULL), -EINVAL);
}

static void a_query_counts_what_runs_and_what_has_completed(void **state)
{
    static const struct {
        int launched, finished, polled;
    } rows[] = {{0, 0, 0}, {1, 0, 0}, {1, 1, 0}, {1, 1, 1}, {9, 4, 0}, {9, 4, 2}, {16, 15, 7}, {16, 16, 16}};
    struct scene *x = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const int l = rows[i].launched, f = rows[i].finished, p = rows[i].polled;
        init(x, 0, l, NULL);
        launch(x, 0, l);
        finish(x, 0, f);
        assert_int_equal(tiercel_queue_poll(x->q, 0, x->out, p > 0 ? p : 1), p > 0 ? p : f > 0 ? 1 : 0);
        const int taken = p > 0 ? p : f > 0 ? 1 : 0;
        assert_int_equal(tiercel_queue_query(x->q, TIERCEL_EVENTS_RUNNING, NULL, 0), l - f);
        assert_int_equal(tiercel_queue_query(x->q, TIERCEL_EVENTS_COMPLETED, NULL, 0), f - taken);
        assert_int_equal(tiercel_queue_query(x->q, TIERCEL_EVENTS_ALL, x->out, EVENTS * 2), l - taken);
        assert_int_equal(readable(x), f > taken);
        for (int e = f; e < l; e++)
            assert_ptr_equal(x->out[e - f], &x->ev[e]); /* those that run come first */
        for (int e = taken; e < f; e++)
            assert_ptr_equal(x->out[l - f + e - taken], &x->ev[e]);
        finish(x, f, l);
        assert_int_equal(tiercel_queue_poll(x->q, 0, x->out, EVENTS), l - taken);
        fini(x, 0, l);
    }
}

static void a_query_shows_no_more_than_there_is_room_for(void **state)
{
    struct scene *x = *state;
    init(x, 0, 4, NULL);
    launch(x, 0, 4);
    finish(x, 0, 2);
    x->out[3] = NULL;
    assert_int_equal(tiercel_queue_query(x->q, TIERCEL_EVENTS_ALL, x->out, 3), 4);
    assert_ptr_equal(x->out[2], &x->ev[0]);
    assert_null(x->out[3]);
    assert_int_equal(tiercel_queue_query(x->q, (enum tiercel_event_which)0, x->out, 3), -EINVAL);
    assert_int_equal(tiercel_queue_query(NULL, TIERCEL_EVENTS_ALL, x->out, 3), -EINVAL);
    finish(x, 2, 4);
    assert_int_equal(tiercel_queue_poll(x->q, 0, x->out, EVENTS), 4);
    fini(x, 0, 4);
}

static void events_are_handed_out_as_they_complete(void **state)
{
    static const int order[] = {3, 0, 7, 1, 6, 2, 5, 4};
    struct scene *x = *state;
    init(x, 0, 8, NULL);
    launch(x, 0, 8);
    for (int i = 0; i < 8; i++)
        tl_event_complete(&x->ev[order[i]], i % 2 == 0 ? 0 : -i, NULL);
    assert_int_equal(tiercel_queue_poll(x->q, 0, x->out, 5), 5);
    assert_int_equal(tiercel_queue_poll(x->q, 0, x->out + 5, 5), 3);
    for (int i = 0; i < 8; i++) {
        assert_ptr_equal(x->out[i], &x->ev[order[i]]);
        assert_int_equal(x->out[i]->error, i % 2 == 0 ? 0 : -i);
    }
    fini(x, 0, 8);
}

static void polling_for_ever_ends_when_nothing_runs(void **state)
{
    struct scene *x = *state;
    assert_int_equal(tiercel_queue_poll(x->q, TIERCEL_FOREVER, x->out, 1), 0);
    init(x, 0, 1, NULL);
    assert_int_equal(tiercel_queue_poll(x->q, TIERCEL_FOREVER, x->out, 1), 0);
    launch(x, 0, 1);
    assert_int_equal(tiercel_queue_poll(x->q, 0, x->out, 1), 0);
    assert_int_equal(tiercel_queue_poll(x->q, 1, x->out, 1), 0);
    finish(x, 0, 1);
    assert_int_equal(tiercel_queue_poll(x->q, TIERCEL_FOREVER, x->out, 1), 1);
    assert_int_equal(tiercel_queue_poll(x->q, TIERCEL_FOREVER, x->out, 1), 0);
    fini(x, 0, 1);
}

static void what_makes_no_sense_is_refused(void **state)
{
    struct scene *x = *state;
    struct tiercel_event zero = {.error = 0};
    const struct {
        const char *what;
        int got;
    } rows[] = {
        {"poll without a queue", tiercel_queue_poll(NULL, 0, x->out, 1)},
        {"poll into nothing", tiercel_queue_poll(x->q, 0, NULL, 1)},
        {"poll for none", tiercel_queue_poll(x->q, 0, x->out, 0)},
        {"poll before now", tiercel_queue_poll(x->q, -2, x->out, 1)},
        {"init of nothing", tiercel_event_init(NULL, x->q, NULL)},
        {"its own parent", tiercel_event_init(&zero, x->q, &zero)},
        {"a parent that is none", tiercel_event_init(&x->ev[0], x->q, &zero)},
        {"test of what is no event", tiercel_event_test(&zero)},
        {"wait for nothing", tiercel_event_wait(NULL, 0)},
        {"abort of what is no event", tiercel_event_abort(&zero)},
        {"barrier for what is no event", tiercel_event_barrier(&zero)},
        {"launch of what is no event", tl_event_launch(&zero, &x->work[0])},
        {"fini of nothing", tiercel_event_fini(NULL)},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].got != -EINVAL)
            fail_msg("%s: %d instead of -EINVAL", rows[i].what, rows[i].got);
    }
    assert_true(strlen(tiercel_why(NULL)) > 10);
}

static void a_busy_queue_is_destroyed_by_force_only(void **state)
{
    struct tiercel_queue *q = NULL;
    struct tiercel_event ev[2];
    struct tl_running work = {.stop = 0};
    (void)state;
    assert_int_equal(tiercel_queue_create(&q), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(tiercel_event_init(&ev[i], q, NULL), 0);
    assert_int_equal(tl_event_launch(&ev[0], &work), 0);
    assert_int_equal(tiercel_queue_destroy(q, 0), -EBUSY);
    tl_event_complete(&ev[0], 0, NULL);
    assert_int_equal(tiercel_queue_destroy(q, 0), -EBUSY); /* not polled */
    assert_non_null(strstr(tiercel_why(NULL), "1 that were not polled"));
    assert_int_equal(tiercel_queue_destroy(q, 1), 0);
    assert_int_equal(tiercel_event_fini(&ev[0]), 0); /* though the queue is gone */
    assert_int_equal(tiercel_event_fini(&ev[1]), 0);
}

/* ---- one event ---- */

static void an_event_goes_through_its_states(void **state)
{
    struct scene *x = *state;
    struct tiercel_event *ev = &x->ev[0];
    init(x, 0, 1, NULL);
    assert_int_equal(tiercel_event_test(ev), -EINVAL);
    assert_int_equal(tiercel_event_abort(ev), -EINVAL);
    launch(x, 0, 1);
    assert_int_equal(tl_event_launch(ev, &x->work[0]), -EINVAL);
    assert_int_equal(tiercel_event_test(ev), 0);
    assert_int_equal(tiercel_event_wait(ev, 1), 0);
    assert_int_equal(tiercel_event_fini(ev), -EBUSY);
    assert_string_equal(tiercel_why(ev), "");
    tl_event_complete(ev, -ENOSPC, strdup("there is no space"));
    assert_int_equal(tiercel_event_fini(ev), -EBUSY);
    assert_int_equal(tiercel_event_test(ev), 1);
    assert_int_equal(tiercel_queue_poll(x->q, 0, x->out, 1), 0); /* out of the queue */
    assert_int_equal(tiercel_event_test(ev), 1);
    assert_int_equal(ev->error, -ENOSPC);
    assert_string_equal(tiercel_why(ev), "there is no space");
    assert_int_equal(tl_event_launch(ev, &x->work[0]), -EINVAL); /* used already */
    assert_int_equal(tiercel_event_fini(ev), 0);
    assert_int_equal(tiercel_event_fini(ev), 0);
    init(x, 0, 1, NULL);
    assert_int_equal(ev->error, 0);
    launch(x, 0, 1);
    finish(x, 0, 1);
    assert_int_equal(tiercel_event_wait(ev, TIERCEL_FOREVER), 1);
    fini(x, 0, 1);
}

static void an_error_without_a_sentence_has_its_meaning(void **state)
{
    struct scene *x = *state;
    init(x, 0, 1, NULL);
    launch(x, 0, 1);
    tl_event_complete(&x->ev[0], -ENOMEM, NULL);
    assert_int_equal(tiercel_event_test(&x->ev[0]), 1);
    assert_string_equal(tiercel_why(&x->ev[0]), tiercel_strerror(-ENOMEM));
    fini(x, 0, 1);
}

static void events_without_a_queue_are_asked_themselves(void **state)
{
    struct tiercel_event ev;
    struct tl_running work = {.stop = 0};
    (void)state;
    assert_int_equal(tiercel_event_init(&ev, NULL, NULL), 0);
    assert_int_equal(tl_event_launch(&ev, &work), 0);
    assert_int_equal(tiercel_event_test(&ev), 0);
    tl_event_complete(&ev, 0, NULL);
    assert_int_equal(tiercel_event_fini(&ev), -EBUSY);
    assert_int_equal(tiercel_event_wait(&ev, 0), 1);
    assert_int_equal(tiercel_event_fini(&ev), 0);
}

/* ---- parents ---- */

static void a_test_does_not_complete_a_child(void **state)
{
    struct scene *x = *state;
    assert_int_equal(tiercel_event_init(&x->parent, x->q, NULL), 0);
    init(x, 0, 2, &x->parent);
    launch(x, 0, 2);
    assert_int_equal(tiercel_event_test(&x->ev[0]), -EINVAL);
    finish(x, 0, 2);
    assert_int_equal(tiercel_event_test(&x->ev[0]), -EINVAL);
    assert_int_equal(tiercel_event_wait(&x->ev[1], 0), -EINVAL);
    assert_int_equal(tiercel_event_test(&x->parent), -EINVAL); /* nobody has asked for its end yet */
    assert_int_equal(tiercel_queue_poll(x->q, 0, x->out, EVENTS), 0);
    assert_int_equal(tiercel_event_barrier(&x->parent), 0);
    assert_int_equal(tiercel_event_test(&x->parent), 1);
    fini(x, 0, 2);
    assert_int_equal(tiercel_event_fini(&x->parent), 0);
}

static void the_parent_is_handed_out_with_its_last_child(void **state)
{
    struct scene *x = *state;
    assert_int_equal(tiercel_event_init(&x->parent, x->q, NULL), 0);
    init(x, 0, 5, &x->parent);
    launch(x, 0, 5);
    finish(x, 0, 2);
    assert_int_equal(tiercel_queue_query(x->q, TIERCEL_EVENTS_ALL, NULL, 0), 0); /* children are not handed out */
    assert_int_equal(tiercel_queue_destroy(x->q, 0), -EBUSY);
    assert_int_equal(tiercel_event_fini(&x->parent), -EBUSY);
    assert_int_equal(tiercel_event_barrier(&x->parent), 0);
    assert_int_equal(tiercel_event_barrier(&x->parent), -EINVAL);
    assert_int_equal(tiercel_queue_query(x->q, TIERCEL_EVENTS_RUNNING, x->out, 1), 1);
    assert_ptr_equal(x->out[0], &x->parent);
    tl_event_complete(&x->ev[2], -EIO, strdup("the first that failed"));
    tl_event_complete(&x->ev[3], -ENOSPC, strdup("the second"));
    assert_int_equal(tiercel_queue_poll(x->q, 0, x->out, EVENTS), 0);
    assert_false(readable(x));
    finish(x, 4, 5);
    assert_true(readable(x));
    assert_int_equal(tiercel_queue_poll(x->q, TIERCEL_FOREVER, x->out, EVENTS), 1);
    assert_ptr_equal(x->out[0], &x->parent);
    assert_int_equal(x->parent.error, -EIO);
    assert_int_equal(x->ev[3].error, -ENOSPC);
    fini(x, 2, 3);
    assert_string_equal(tiercel_why(&x->parent), "the first that failed");
    assert_string_equal(tiercel_why(&x->ev[3]), "the second");
    fini(x, 0, 5);
    assert_int_equal(tiercel_event_fini(&x->parent), 0);
}

static void families_have_rules(void **state)
{
    struct scene *x = *state;
    struct tiercel_queue *other = NULL;
    struct tiercel_event stranger;
    assert_int_equal(tiercel_queue_create(&other), 0);
    assert_int_equal(tiercel_event_init(&x->parent, x->q, NULL), 0);
    assert_int_equal(tiercel_event_barrier(&x->parent), -EINVAL); /* no children */
    assert_int_equal(tiercel_event_init(&stranger, other, &x->parent), -EINVAL);
    init(x, 0, 2, &x->parent);
    assert_int_equal(tiercel_event_init(&stranger, x->q, &x->ev[0]), -EINVAL); /* a child's child */
    assert_int_equal(tl_event_launch(&x->parent, &x->work[0]), -EINVAL);       /* itself not a call's */
    launch(x, 0, 1);
    finish(x, 0, 1);
    assert_int_equal(tiercel_event_barrier(&x->parent), 0);
    assert_int_equal(tl_event_launch(&x->ev[1], &x->work[1]), -EINVAL); /* too late */
    assert_int_equal(tiercel_event_init(&stranger, x->q, &x->parent), -EINVAL);
    assert_int_equal(tiercel_event_wait(&x->parent, TIERCEL_FOREVER), 1);
    fini(x, 0, 2);
    assert_int_equal(tiercel_event_fini(&x->parent), 0);
    assert_int_equal(tiercel_queue_destroy(other, 0), 0);
}

/* ---- aborting ---- */

static int wake_pipe[2];

static void *end_when_stopped(void *arg)
{
    struct scene *x = arg;
    for (int i = 0; i < EVENTS; i++) {
        char word;
        if (read(wake_pipe[0], &word, 1) != 1)
            abort();
        for (int e = 0; e < EVENTS; e++)
            if (x->work[e].stop == 1) {
                x->work[e].stop = 2;
                tl_event_complete(&x->ev[e], -ECANCELED, NULL);
                break;
            }
    }
    return NULL;
}

static void wake(struct tl_running *r)
{
    if (r->stop != 1 || write(wake_pipe[1], "x", 1) != 1)
        abort();
}

static void destroying_by_force_stops_what_runs(void **state)
{
    struct scene *x = calloc(1, sizeof *x);
    pthread_t thread;
    (void)state;
    assert_int_equal(pipe(wake_pipe), 0);
    assert_int_equal(tiercel_queue_create(&x->q), 0);
    init(x, 0, EVENTS, NULL);
    for (int i = 0; i < EVENTS; i++)
        x->work[i].wake = wake;
    launch(x, 0, EVENTS);
    assert_int_equal(pthread_create(&thread, NULL, end_when_stopped, x), 0);
    assert_int_equal(tiercel_queue_destroy(x->q, 1), 0);
    pthread_join(thread, NULL);
    for (int i = 0; i < EVENTS; i++)
        assert_int_equal(x->ev[i].error, -ECANCELED);
    fini(x, 0, EVENTS);
    close(wake_pipe[0]);
    close(wake_pipe[1]);
    free(x);
}

static void aborting_a_parent_reaches_its_children(void **state)
{
    struct scene *x = *state;
    assert_int_equal(tiercel_event_init(&x->parent, x->q, NULL), 0);
    init(x, 0, 3, &x->parent);
    init(x, 3, 5, NULL);
    launch(x, 0, 5);
    finish(x, 0, 1);
    assert_int_equal(tiercel_event_abort(&x->parent), 0);
    assert_int_equal(tiercel_event_abort(&x->ev[4]), 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(x->work[i].stop, i == 1 || i == 2 || i == 4);
    finish(x, 1, 5);
    assert_int_equal(tiercel_event_abort(&x->ev[4]), 0); /* over: nothing happens */
    assert_int_equal(tiercel_event_barrier(&x->parent), 0);
    assert_int_equal(tiercel_queue_poll(x->q, 0, x->out, EVENTS), 3);
    fini(x, 0, 5);
    assert_int_equal(tiercel_event_fini(&x->parent), 0);
}

/* ---- other threads ---- */

static void *finish_all(void *arg)
{
    finish(arg, 0, EVENTS);
    return NULL;
}

static void an_event_loop_sees_what_completes(void **state)
{
    struct scene *x = *state;
    struct epoll_event want = {.events = EPOLLIN}, got;
    int loop = epoll_create1(EPOLL_CLOEXEC), seen = 0;
    pthread_t thread;
    init(x, 0, EVENTS, NULL);
    launch(x, 0, EVENTS);
    assert_int_equal(epoll_ctl(loop, EPOLL_CTL_ADD, tiercel_queue_fd(x->q), &want), 0);
    assert_int_equal(epoll_wait(loop, &got, 1, 0), 0);
    assert_int_equal(pthread_create(&thread, NULL, finish_all, x), 0);
    while (seen < EVENTS) {
        assert_int_equal(epoll_wait(loop, &got, 1, 10000), 1);
        int n = tiercel_queue_poll(x->q, 0, x->out, 3);
        assert_true(n > 0);
        seen += n;
    }
    assert_int_equal(epoll_wait(loop, &got, 1, 0), 0);
    pthread_join(thread, NULL);
    close(loop);
    fini(x, 0, EVENTS);
}

static void *wait_for_own(void *arg)
{
    struct tiercel_event *ev = arg;
    return (void *)(intptr_t)tiercel_event_wait(ev, TIERCEL_FOREVER);
}

static void threads_wait_each_for_its_own(void **state)
{
    struct scene *x = *state;
    pthread_t threads[4];
    init(x, 0, EVENTS, NULL);
    launch(x, 0, EVENTS);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, wait_for_own, &x->ev[i]), 0);
    finish(x, 0, EVENTS);
    for (int i = 0; i < 4; i++) {
        void *rc = NULL;
        pthread_join(threads[i], &rc);
        assert_int_equal((intptr_t)rc, 1);
    }
    assert_int_equal(tiercel_queue_poll(x->q, 0, x->out, EVENTS), EVENTS - 4);
    fini(x, 0, EVENTS);
}

#define ROUNDS  200
#define THREADS 3

/* Workers complete what producers launch; pollers take each exactly once. */
struct crowd {
    struct tiercel_queue *q;
    _Atomic int polled;
    struct {
        struct tiercel_event ev[ROUNDS];
        struct tl_running work;
    } producer[THREADS];
    _Atomic int next;
};

static void *produce(void *arg)
{
    struct crowd *c = arg;
    const int me = c->next++;
    for (int i = 0; i < ROUNDS; i++) {
        struct tiercel_event *ev = &c->producer[me].ev[i];
        if (tiercel_event_init(ev, c->q, NULL) != 0 || tl_event_launch(ev, &c->producer[me].work) != 0)
            abort();
        ev->user = ev;
        tl_event_complete(ev, 0, NULL);
    }
    return NULL;
}

static void *consume(void *arg)
{
    struct crowd *c = arg;
    struct tiercel_event *out[7];
    while (c->polled < THREADS * ROUNDS) {
        int n = tiercel_queue_poll(c->q, 20, out, 7);
        for (int i = 0; i < n; i++) {
            if (out[i]->user != out[i] || tiercel_event_fini(out[i]) != 0)
                abort();
            out[i]->user = NULL;
            c->polled++;
        }
    }
    return NULL;
}

static void many_threads_lose_nothing_and_see_nothing_twice(void **state)
{
    struct crowd *c = calloc(1, sizeof *c);
    pthread_t threads[2 * THREADS];
    (void)state;
    assert_int_equal(tiercel_queue_create(&c->q), 0);
    for (int i = 0; i < 2 * THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, i % 2 ? produce : consume, c), 0);
    for (int i = 0; i < 2 * THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(c->polled, THREADS * ROUNDS);
    assert_int_equal(tiercel_queue_query(c->q, TIERCEL_EVENTS_ALL, NULL, 0), 0);
    assert_int_equal(tiercel_queue_destroy(c->q, 0), 0);
    free(c);
}

int main(void)
{
#define scene_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queues_come_and_go),
        scene_test(a_query_counts_what_runs_and_what_has_completed),
        scene_test(a_query_shows_no_more_than_there_is_room_for),
        scene_test(events_are_handed_out_as_they_complete),
        scene_test(polling_for_ever_ends_when_nothing_runs),
        scene_test(what_makes_no_sense_is_refused),
        cmocka_unit_test(a_busy_queue_is_destroyed_by_force_only),
        scene_test(an_event_goes_through_its_states),
        scene_test(an_error_without_a_sentence_has_its_meaning),
        cmocka_unit_test(events_without_a_queue_are_asked_themselves),
        scene_test(a_test_does_not_complete_a_child),
        scene_test(the_parent_is_handed_out_with_its_last_child),
        scene_test(families_have_rules),
        cmocka_unit_test(destroying_by_force_stops_what_runs),
        scene_test(aborting_a_parent_reaches_its_children),
        scene_test(an_event_loop_sees_what_completes),
        scene_test(threads_wait_each_for_its_own),
        cmocka_unit_test(many_threads_lose_nothing_and_see_nothing_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
