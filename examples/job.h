// SPDX-License-Identifier: Apache-2.0
/* What the examples have in common: they end on the first error, and the ranks of a group write through one handle. */
#ifndef EXAMPLES_JOB_H
#define EXAMPLES_JOB_H

#include <errno.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <tiercel/pool.h>

/* Ends the whole job, with the library's own sentence. */
static inline void give_up(const char *doing, const char *why)
{
    int parallel = 0;
    fprintf(stderr, "%s: %s\n", doing, why);
    MPI_Initialized(&parallel);
    if (parallel)
        MPI_Abort(MPI_COMM_WORLD, 1);
    exit(1);
}

/* For calls that block. */
static inline void must(const char *doing, int rc)
{
    if (rc < 0)
        give_up(doing, tiercel_why(NULL));
}

/* For calls with an event: waits until it has completed, and lets go of it. */
static inline void must_complete(const char *doing, struct tiercel_event *ev)
{
    must(doing, tiercel_event_wait(ev, TIERCEL_FOREVER));
    if (ev->error < 0)
        give_up(doing, tiercel_why(ev));
    must(doing, tiercel_event_fini(ev));
}

static inline struct tiercel_bytes key_of(const void *at, size_t len)
{
    return (struct tiercel_bytes){.at = at, .len = len};
}

/* A group of ranks, and the handle through which they write as one. */
struct job {
    MPI_Comm comm;
    int rank, ranks;
    struct tiercel_pool *pool;
    struct tiercel_cont *cont;
    struct tiercel_epochs epochs; /* when it was opened: the same in all ranks */
};

#define JOB_TICKET_SIZE 1024

/* What rank 0 tells the others: the handles as bytes, and where in the history of the container they begin. */
struct job_ticket {
    struct tiercel_epochs epochs;
    size_t pool_len, cont_len;
    unsigned char pool[JOB_TICKET_SIZE], cont[JOB_TICKET_SIZE];
};

/* Makes pool and container, if they are not there yet, and opens them. */
static inline void job_open_first(struct job *job, const char *uri, const char *label, unsigned flags)
{
    struct tiercel_error err;
    if (tiercel_pool_create(uri, &err) < 0 && err.code != -EEXIST)
        give_up("pool create", err.message);
    must("pool connect", tiercel_pool_connect(&job->pool, uri, TIERCEL_RW, NULL));
    if (tiercel_cont_create(job->pool, label, NULL, &err) < 0 && err.code != -EEXIST)
        give_up("container create", err.message);
    must("container open", tiercel_cont_open(&job->cont, job->pool, label, flags, NULL));
}

/* What earlier jobs have committed is final as soon as none of them holds an epoch below. One that was killed does until the storage takes it
 * for dead: at once in a directory, after a lease in a cluster. */
static inline void job_await_earlier(struct job *job)
{
    struct tiercel_epochs now;
    must("query", tiercel_epoch_query(job->cont, &now, NULL));
    if (now.ghpce > now.ghce)
        must("wait for earlier jobs to end", tiercel_epoch_wait(job->cont, now.ghpce, NULL, NULL));
}

/* Collective: rank 0 opens, the others get the same handle. With `hold`, what the job may write begins at job->epochs.lhe,
 * and all that was committed before can be read. */
static inline void job_open(struct job *job, MPI_Comm comm, const char *uri, const char *label, unsigned flags,
                            int hold)
{
    struct job_ticket ticket = {.pool_len = JOB_TICKET_SIZE, .cont_len = JOB_TICKET_SIZE};
    job->comm = comm;
    MPI_Comm_rank(comm, &job->rank);
    MPI_Comm_size(comm, &job->ranks);
    if (job->rank == 0) {
        uint64_t first_free = 0;
        job_open_first(job, uri, label, flags);
        if (hold) {
            job_await_earlier(job);
            must("hold", tiercel_epoch_hold(job->cont, &first_free, NULL, NULL));
        }
        must("query", tiercel_epoch_query(job->cont, &ticket.epochs, NULL));
        must("pool to bytes", tiercel_pool_local2global(job->pool, ticket.pool, &ticket.pool_len));
        must("container to bytes", tiercel_cont_local2global(job->cont, ticket.cont, &ticket.cont_len));
    }
    MPI_Bcast(&ticket, sizeof ticket, MPI_BYTE, 0, comm);
    if (job->rank != 0) {
        must("pool from bytes", tiercel_pool_global2local(&job->pool, ticket.pool, ticket.pool_len, NULL));
        must("container from bytes",
             tiercel_cont_global2local(&job->cont, job->pool, ticket.cont, ticket.cont_len, NULL));
    }
    job->epochs = ticket.epochs;
}

/* Collective. Rank 0 closes last: with it the handle ends for all. */
static inline void job_close(struct job *job)
{
    if (job->rank == 0)
        MPI_Barrier(job->comm);
    must("container close", tiercel_cont_close(job->cont));
    must("pool disconnect", tiercel_pool_disconnect(job->pool));
    if (job->rank != 0)
        MPI_Barrier(job->comm);
}

#endif
