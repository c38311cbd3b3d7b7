// SPDX-License-Identifier: Apache-2.0
/* Checkpoints with a non-blocking barrier: saving goes on while the computation does.
 *
 *     mpirun -n 4 checkpoint_nonblocking POOL STEPS EVERY [RESULT]
 *
 * As checkpoint.c, whose pools it can go on with. But nobody waits: every rank copies its rows, has them written and flushed in the
 * background, and says so in an MPI_Ibarrier. Up to IN_FLIGHT checkpoints are on their way at once, each in an epoch of its
 * own; their barriers may end in any order. Rank 0 commits an epoch when its barrier has ended;
 * tiercel_epoch_commit_in_order sees to it that none becomes true before the one before it. */
#include <inttypes.h>
#include <string.h>

#include "heat.h"
#include "job.h"

#define SIZE      256
#define IN_FLIGHT 3

static const struct tiercel_oid plate = {.lo = 1}, about = {.lo = 2};

static struct tiercel_bytes step_key(void)
{
    return key_of("step", 4);
}

enum stage { FREE, WRITING, MEETING, COMMITTING };

/* A checkpoint on its way. Nothing in it moves or changes while a call or a barrier uses it. */
struct saving {
    enum stage stage;
    uint64_t epoch, step;
    double *rows;                             /* a copy: the computation goes on */
    struct tiercel_event saved;               /* completes when these three have */
    struct tiercel_event write, label, flush; /* carried out in the order in which they were called */
    MPI_Comm comm; /* its own: the barriers of two checkpoints have nothing to do with each other */
    MPI_Request barrier;
    struct tiercel_event committed; /* of rank 0 */
};

/* As in checkpoint.c. */
static uint64_t restart(struct job *job, struct heat *h)
{
    uint64_t at = job->epochs.ghce;
    uint64_t step, step_len = sizeof step, len = heat_bytes(h);
    if (at == 0)
        return 0;
    must("read the step", tiercel_kv_get(job->cont, at, about, step_key(), &step, &step_len, 0, NULL));
    must("read the plate", tiercel_array_read(job->cont, at, plate, heat_offset(h), heat_rows(h), &len, NULL));
    if (len != heat_bytes(h))
        give_up("restart", "the plate is shorter than it should be");
    return step;
}

static void begin(struct saving *s, struct job *job, struct heat *h, uint64_t step)
{
    s->stage = WRITING;
    s->epoch = job->epochs.lhe++;
    s->step = step;
    memcpy(s->rows, heat_rows(h), heat_bytes(h));

    must("event", tiercel_event_init(&s->saved, NULL, NULL));
    must("event", tiercel_event_init(&s->write, NULL, &s->saved));
    must("write the plate",
         tiercel_array_write(job->cont, s->epoch, plate, heat_offset(h), s->rows, heat_bytes(h), &s->write));
    if (job->rank == 0) {
        must("event", tiercel_event_init(&s->label, NULL, &s->saved));
        must("write the step",
             tiercel_kv_put(job->cont, s->epoch, about, step_key(), &s->step, sizeof s->step, 0, &s->label));
    }
    must("event", tiercel_event_init(&s->flush, NULL, &s->saved));
    must("flush", tiercel_epoch_flush(job->cont, s->epoch, NULL, &s->flush));
    must("all are launched", tiercel_event_barrier(&s->saved));
}

/* Whether the event has completed; with `wait`, it has. */
static int is_complete(const char *doing, struct tiercel_event *ev, int wait)
{
    int complete = tiercel_event_wait(ev, wait ? TIERCEL_FOREVER : 0);
    must(doing, complete);
    if (complete && ev->error < 0)
        give_up(doing, tiercel_why(ev));
    return complete;
}

/* Takes a checkpoint as far as it goes; with `wait`, to its end. */
static void advance(struct saving *s, struct job *job, int wait)
{
    int met = 1;
    if (s->stage == WRITING && is_complete("save", &s->saved, wait)) {
        must("event", tiercel_event_fini(&s->write));
        if (job->rank == 0)
            must("event", tiercel_event_fini(&s->label));
        must("event", tiercel_event_fini(&s->flush));
        must("event", tiercel_event_fini(&s->saved));
        MPI_Ibarrier(s->comm, &s->barrier); /* says: mine is on disk */
        s->stage = MEETING;
    }
    if (s->stage == MEETING) {
        if (wait)
            MPI_Wait(&s->barrier, MPI_STATUS_IGNORE);
        else
            MPI_Test(&s->barrier, &met, MPI_STATUS_IGNORE);
        if (met && job->rank == 0) {
            must("event", tiercel_event_init(&s->committed, NULL, NULL));
            must("commit", tiercel_epoch_commit_in_order(job->cont, s->epoch, NULL, &s->committed));
        }
        if (met)
            s->stage = job->rank == 0 ? COMMITTING : FREE;
    }
    if (s->stage == COMMITTING && is_complete("commit", &s->committed, wait)) {
        must("event", tiercel_event_fini(&s->committed));
        printf("step %" PRIu64 " is epoch %" PRIu64 "\n", s->step, s->epoch);
        fflush(stdout);
        s->stage = FREE;
    }
}

static void compute(struct job *job, struct heat *h, uint64_t steps, uint64_t every)
{
    struct saving savings[IN_FLIGHT] = {{0}};
    for (int i = 0; i < IN_FLIGHT; i++) {
        savings[i].rows = malloc(heat_bytes(h));
        if (!savings[i].rows)
            give_up("copies", "no memory");
        MPI_Comm_dup(job->comm, &savings[i].comm);
    }

    uint64_t step = restart(job, h);
    if (job->rank == 0)
        printf("begins after step %" PRIu64 "\n", step);
    int next = 0; /* of savings: the one that was begun first, if it is not free */
    while (step < steps) {
        heat_step(h);
        step++;
        if (step % every == 0 || step == steps) {
            advance(&savings[next], job, 1); /* all are in flight: only now somebody waits */
            begin(&savings[next], job, h, step);
            next = (next + 1) % IN_FLIGHT;
        }
        for (int i = 0; i < IN_FLIGHT; i++)
            advance(&savings[(next + i) % IN_FLIGHT], job, 0);
    }

    for (int i = 0; i < IN_FLIGHT; i++) {
        struct saving *oldest = &savings[(next + i) % IN_FLIGHT];
        advance(oldest, job, 1);
        MPI_Comm_free(&oldest->comm);
        free(oldest->rows);
    }
}

int main(int argc, char **argv)
{
    struct job job;
    struct heat heat;
    MPI_Init(&argc, &argv);
    if (argc < 4)
        give_up("usage", "checkpoint_nonblocking POOL STEPS EVERY [RESULT]");

    job_open(&job, MPI_COMM_WORLD, argv[1], "heat", TIERCEL_RW, 1);
    heat_start(&heat, job.comm, SIZE);
    compute(&job, &heat, strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
    if (argc > 4)
        heat_save(&heat, argv[4]);
    heat_free(&heat);
    job_close(&job);
    MPI_Finalize();
    return 0;
}
