// SPDX-License-Identifier: Apache-2.0
/* Checkpoints with a blocking barrier: the plain way.
 *
 *     mpirun -n 4 checkpoint POOL STEPS EVERY [RESULT]
 *
 * Computes STEPS steps of heat.h and saves the plate after each EVERY of them; a POOL is made if there is none. Whenever it is
 * killed, run it again: it goes on where the last checkpoint was committed, and the RESULT file is the same as if nothing
 * had happened.
 *
 * All ranks write through one handle, at the epoch that rank 0 holds. When all have flushed, rank 0 commits it: the checkpoint
 * becomes true as a whole, for all, at that moment. A job that dies before has not begun it. */
#include <inttypes.h>

#include "heat.h"
#include "job.h"

#define SIZE 256

/* Two objects: the plate as an array of bytes, in the order of its rows, and what belongs to it by name. */
static const struct tiercel_oid plate = {.lo = 1}, about = {.lo = 2};

static struct tiercel_bytes step_key(void)
{
    return key_of("step", 4);
}

/* What the last checkpoint says, which is none if nothing was ever committed. Returns the step after which it was made. */
static uint64_t restart(struct job *job, struct heat *h)
{
    uint64_t at = job->epochs.ghce; /* all ranks were told the same */
    uint64_t step, step_len = sizeof step, len = heat_bytes(h);
    if (at == 0)
        return 0;
    must("read the step", tiercel_kv_get(job->cont, at, about, step_key(), &step, &step_len, 0, NULL));
    must("read the plate", tiercel_array_read(job->cont, at, plate, heat_offset(h), heat_rows(h), &len, NULL));
    if (len != heat_bytes(h))
        give_up("restart", "the plate is shorter than it should be");
    return step;
}

static void checkpoint(struct job *job, struct heat *h, uint64_t step)
{
    uint64_t epoch = job->epochs.lhe++;
    must("write the plate",
         tiercel_array_write(job->cont, epoch, plate, heat_offset(h), heat_rows(h), heat_bytes(h), NULL));
    if (job->rank == 0)
        must("write the step", tiercel_kv_put(job->cont, epoch, about, step_key(), &step, sizeof step, 0, NULL));
    must("flush", tiercel_epoch_flush(job->cont, epoch, NULL, NULL));

    MPI_Barrier(job->comm); /* now all of it is on disk */
    if (job->rank == 0) {
        must("commit", tiercel_epoch_commit(job->cont, epoch, NULL, NULL));
        printf("step %" PRIu64 " is epoch %" PRIu64 "\n", step, epoch);
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    struct job job;
    struct heat heat;
    MPI_Init(&argc, &argv);
    if (argc < 4)
        give_up("usage", "checkpoint POOL STEPS EVERY [RESULT]");
    uint64_t steps = strtoull(argv[2], NULL, 10), every = strtoull(argv[3], NULL, 10);

    job_open(&job, MPI_COMM_WORLD, argv[1], "heat", TIERCEL_RW, 1);
    heat_start(&heat, job.comm, SIZE);
    uint64_t step = restart(&job, &heat);
    if (job.rank == 0)
        printf("begins after step %" PRIu64 "\n", step);

    while (step < steps) {
        heat_step(&heat);
        step++;
        if (step % every == 0 || step == steps)
            checkpoint(&job, &heat, step);
    }

    if (argc > 4)
        heat_save(&heat, argv[4]);
    heat_free(&heat);
    job_close(&job);
    MPI_Finalize();
    return 0;
}
