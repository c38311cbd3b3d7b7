// SPDX-License-Identifier: Apache-2.0
/* Producers and consumers: a simulation writes frames, an analysis works on each as soon as it is final.
 *
 *     mpirun -n 4 pipeline POOL FRAMES private     results go into a container of their own
 *     mpirun -n 4 pipeline POOL FRAMES shared      results go where the frames are
 *
 * The first half of the ranks produces, the other half consumes; each half writes through a handle of its own. A frame is an epoch:
 * the array is overwritten each time, and a reader at an epoch sees the frame of that epoch, whatever was written since.
 * Consumers learn of a new frame by an event that completes when its epoch is final. Nobody polls, and no rank of one half sends a
 * message to the other: these could be two jobs.
 *
 * Two things to know. A consumer's reference keeps the frames that it has not read: TIERCEL_NOSLIP leaves it in place when the consumer
 * commits, and tiercel_epoch_slip moves it on. And a hold keeps all later epochs from becoming final for others; so in a
 * shared container a consumer holds one only as long as it writes. */
#include <inttypes.h>
#include <string.h>

#include "job.h"

#define FRAME_NUMBERS 65536u /* of each producer */

static const struct tiercel_oid frames_oid = {.lo = 1}, results_oid = {.lo = 2};

/* Number i of a producer's part of a frame: what a simulation would have computed. */
static uint64_t number_of(uint64_t frame, int producer, uint64_t i)
{
    return frame * 1000003 + (uint64_t)producer * 7919 + i;
}

static uint64_t sum_of(const uint64_t *numbers)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < FRAME_NUMBERS; i++)
        sum += numbers[i];
    return sum;
}

static struct tiercel_bytes result_key(char buf[32], uint64_t frame)
{
    return key_of(buf, (size_t)snprintf(buf, 32, "frame %06" PRIu64, frame));
}

static uint64_t *new_numbers(void)
{
    uint64_t *numbers = calloc(FRAME_NUMBERS, sizeof *numbers);
    if (!numbers)
        give_up("numbers", "no memory");
    return numbers;
}

static void produce(struct job *job, uint64_t frames)
{
    const uint64_t len = FRAME_NUMBERS * sizeof(uint64_t);
    uint64_t *numbers = new_numbers();
    for (uint64_t frame = 0; frame < frames; frame++) {
        uint64_t epoch = job->epochs.lhe + frame;
        for (uint64_t i = 0; i < FRAME_NUMBERS; i++)
            numbers[i] = number_of(frame, job->rank, i);
        must("write", tiercel_array_write(job->cont, epoch, frames_oid, (uint64_t)job->rank * len, numbers, len, NULL));
        must("flush", tiercel_epoch_flush(job->cont, epoch, NULL, NULL));
        MPI_Barrier(job->comm);
        if (job->rank == 0)
            must("commit", tiercel_epoch_commit(job->cont, epoch, NULL, NULL));
    }
    free(numbers);
}

/* Sleeps until the epoch is final. A program with other things to do would put tiercel_queue_fd into its event loop. */
static void wait_for(struct tiercel_cont *cont, struct tiercel_queue *queue, uint64_t epoch)
{
    struct tiercel_event ready, *done;
    must("event", tiercel_event_init(&ready, queue, NULL));
    must("wait", tiercel_epoch_wait(cont, epoch, NULL, &ready));
    must("poll", tiercel_queue_poll(queue, TIERCEL_FOREVER, &done, 1));
    if (done->error < 0)
        give_up("wait", tiercel_why(done));
    must("event", tiercel_event_fini(done));
}

/* One number of a frame: the sum of all of its parts. Consumer r has parts r, r + consumers, ... */
static uint64_t analyse(struct job *from, uint64_t epoch, int parts, uint64_t *numbers)
{
    const uint64_t len = FRAME_NUMBERS * sizeof(uint64_t);
    uint64_t mine = 0, all = 0;
    for (int part = from->rank; part < parts; part += from->ranks) {
        uint64_t got = len;
        must("read", tiercel_array_read(from->cont, epoch, frames_oid, (uint64_t)part * len, numbers, &got, NULL));
        if (got != len)
            give_up("read", "a final frame is not whole");
        mine += sum_of(numbers);
    }
    MPI_Reduce(&mine, &all, 1, MPI_UINT64_T, MPI_SUM, 0, from->comm);
    return all; /* rank 0's */
}

/* A result of its own epoch; of rank 0. Held from before: `to` is written by consumers only, and they hold it all the time. */
static void put_result(struct job *to, int held, uint64_t frame, uint64_t sum)
{
    char buf[32];
    uint64_t epoch = 0, let_go = TIERCEL_EPOCH_MAX;
    if (held)
        epoch = to->epochs.lhe++;
    else
        must("hold", tiercel_epoch_hold(to->cont, &epoch, NULL, NULL));
    must("put", tiercel_kv_put(to->cont, epoch, results_oid, result_key(buf, frame), &sum, sizeof sum, 0, NULL));
    must("commit", tiercel_epoch_commit(to->cont, epoch, NULL, NULL)); /* flushes what this process has written */
    if (!held)
        must("let go", tiercel_epoch_hold(to->cont, &let_go, NULL, NULL));
}

static void consume(struct job *from, struct job *to, uint64_t first, uint64_t frames, int parts)
{
    struct tiercel_queue *queue;
    uint64_t *numbers = new_numbers();
    must("queue", tiercel_queue_create(&queue));
    for (uint64_t frame = 0; frame < frames; frame++) {
        uint64_t epoch = first + frame;
        wait_for(from->cont, queue, epoch);
        uint64_t sum = analyse(from, epoch, parts, numbers);
        if (to->rank == 0) { /* all have read it: the sum is there */
            put_result(to, from != to, frame, sum);
            must("slip", tiercel_epoch_slip(from->cont, epoch + 1, NULL, NULL));
        }
    }
    must("queue", tiercel_queue_destroy(queue, 0));
    free(numbers);
}

/* What was to be found, without any storage. Returns how many results differ. */
static int compare(struct job *job, uint64_t frames, int parts)
{
    int wrong = 0;
    for (uint64_t frame = 0; frame < frames; frame++) {
        char buf[32];
        uint64_t expected = 0, found = 0, len = sizeof found;
        for (int part = 0; part < parts; part++)
            for (uint64_t i = 0; i < FRAME_NUMBERS; i++)
                expected += number_of(frame, part, i);
        must("get",
             tiercel_kv_get(job->cont, TIERCEL_EPOCH_NOW, results_oid, result_key(buf, frame), &found, &len, 0, NULL));
        wrong += found != expected;
    }
    printf("%" PRIu64 " frames, %d wrong\n", frames, wrong);
    return wrong;
}

static int run(const char *uri, uint64_t frames, int shared)
{
    int rank, ranks, wrong = 0;
    MPI_Comm half;
    struct job from, to;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (ranks < 2)
        give_up("ranks", "it takes two");
    const int parts = ranks / 2, producer = rank < parts;
    MPI_Comm_split(MPI_COMM_WORLD, !producer, rank, &half);

    if (producer)
        job_open(&from, half, uri, "frames", TIERCEL_RW, 1);
    uint64_t first = producer ? from.epochs.lhe : 0; /* its number is all that consumers have to be told */
    MPI_Bcast(&first, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD);
    if (!producer)
        job_open(&from, half, uri, "frames", shared ? TIERCEL_RW | TIERCEL_NOSLIP : TIERCEL_RO, 0);
    if (!producer && !shared)
        job_open(&to, half, uri, "results", TIERCEL_RW, 1);
    MPI_Barrier(MPI_COMM_WORLD); /* consumers refer to the first frame before there is a second */

    if (producer) {
        produce(&from, frames);
        job_close(&from);
    } else {
        consume(&from, shared ? &from : &to, first, frames, parts);
    }
    MPI_Barrier(MPI_COMM_WORLD); /* without the producers' hold all results are final */
    if (!producer) {
        if (rank == parts)
            wrong = compare(shared ? &from : &to, frames, parts);
        if (!shared)
            job_close(&to);
        job_close(&from);
    }
    MPI_Comm_free(&half);
    return wrong;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    if (argc != 4 || (strcmp(argv[3], "private") != 0 && strcmp(argv[3], "shared") != 0))
        give_up("usage", "pipeline POOL FRAMES private|shared");
    int wrong = run(argv[1], strtoull(argv[2], NULL, 10), strcmp(argv[3], "shared") == 0);
    MPI_Finalize();
    return wrong != 0;
}
