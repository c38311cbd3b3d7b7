// SPDX-License-Identifier: Apache-2.0
/* Producers that are in each other's way: all add to one number, under the lock manager.
 *
 *     mpirun -n 4 counter POOL TIMES [victim]
 *
 * Each rank has a handle of its own, and adds 1 TIMES times to a counter, and, in the same epoch, to a count of its own. With `victim` there is
 * one more producer, which kills itself in the middle: it holds the lock, has written and flushed, and has not committed. In the
 * end the counter is the sum of what all have counted: no update was lost, and none was done by half.
 *
 * A lock has a value, which goes from one holder to the next: the last epoch that was committed under it. The next holder reads
 * there and writes above. Others' epochs, and what their holds keep from being final, do not matter to it. When a holder dies, the
 * value is not valid; the last epoch that anybody has committed (ghpce) takes its place, and what the dead had not committed is gone. */
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "job.h"

extern char **environ;

static const struct tiercel_oid counts = {.lo = 1};
static const char label[] = "counter";

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t count_at(struct tiercel_cont *cont, uint64_t epoch, const char *key)
{
    uint64_t count = 0, len = sizeof count;
    int rc = tiercel_kv_get(cont, epoch, counts, key_of(key, strlen(key)), &count, &len, 0, NULL);
    if (rc != -ENOENT)
        must("get", rc);
    return count;
}

static void add_at(struct tiercel_cont *cont, uint64_t from, uint64_t to, const char *key)
{
    uint64_t count = count_at(cont, from, key) + 1;
    must("put", tiercel_kv_put(cont, to, counts, key_of(key, strlen(key)), &count, sizeof count, 0, NULL));
}

/* The last epoch that was committed under the lock. */
static uint64_t last_epoch(const struct tiercel_lock_value *value, const struct tiercel_epochs *now)
{
    return value->valid ? value->epoch : now->ghpce;
}

/* Returns 1 if the lock came from a holder that had died. */
static int add(struct tiercel_cont *cont, const char *me, int die)
{
    struct tiercel_lock *lock;
    struct tiercel_lock_value value;
    struct tiercel_epochs now;
    must("lock", tiercel_lock(cont, label, TIERCEL_LOCK_EXCLUSIVE, TIERCEL_FOREVER, &lock, &value, NULL));
    must("query", tiercel_epoch_query(cont, &now, NULL));
    const int inherited = !value.valid && now.ghpce > 0;
    const uint64_t last = last_epoch(&value, &now);
    const uint64_t epoch = later(last + 1, now.lhe);

    add_at(cont, last, epoch, "all");
    add_at(cont, last, epoch, me);
    must("flush", tiercel_epoch_flush(cont, epoch, NULL, NULL));
    if (die)
        raise(SIGKILL);
    must("commit", tiercel_epoch_commit(cont, epoch, NULL, NULL));

    value = (struct tiercel_lock_value){.valid = 1, .epoch = epoch};
    must("unlock", tiercel_unlock(lock, &value));
    return inherited;
}

/* A handle of one's own, that holds whatever nobody has committed. */
static void open_mine(struct tiercel_pool **pool, struct tiercel_cont **cont, const char *uri)
{
    uint64_t first = 0;
    must("pool connect", tiercel_pool_connect(pool, uri, TIERCEL_RW, NULL));
    must("container open", tiercel_cont_open(cont, *pool, label, TIERCEL_RW, NULL));
    must("hold", tiercel_epoch_hold(*cont, &first, NULL, NULL));
}

static void close_mine(struct tiercel_pool *pool, struct tiercel_cont *cont)
{
    must("container close", tiercel_cont_close(cont));
    must("pool disconnect", tiercel_pool_disconnect(pool));
}

/* The process without MPI that does not come back: mpirun would end the whole job if it lost a rank. */
static int be_victim(const char *uri, uint64_t times)
{
    struct tiercel_pool *pool;
    struct tiercel_cont *cont;
    open_mine(&pool, &cont, uri);
    for (uint64_t i = 0; i <= times; i++)
        (void)add(cont, "victim", i == times);
    return 1;
}

static pid_t start_victim(const char *uri, const char *times)
{
    pid_t victim;
    char self[] = "/proc/self/exe", mark[] = "--victim", pool[4096], count[32];
    char *args[] = {self, pool, count, mark, NULL};
    snprintf(pool, sizeof pool, "%s", uri);
    snprintf(count, sizeof count, "%s", times);
    if (posix_spawn(&victim, self, NULL, NULL, args, environ) != 0)
        give_up("victim", "cannot be started");
    return victim;
}

static void wait_for_death(pid_t victim)
{
    int status;
    if (waitpid(victim, &status, 0) != victim || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        give_up("victim", "did not die as it should");
}

/* What the last holder left, read as the next holder would. Returns 0 if it is what all have counted. */
static int compare(struct tiercel_cont *cont, int ranks, uint64_t times, int inherited)
{
    struct tiercel_lock *lock;
    struct tiercel_lock_value value;
    struct tiercel_epochs now;
    int wrong = 0;
    must("lock", tiercel_lock(cont, label, TIERCEL_LOCK_SHARED, TIERCEL_FOREVER, &lock, &value, NULL));
    must("query", tiercel_epoch_query(cont, &now, NULL));
    uint64_t last = last_epoch(&value, &now);
    uint64_t victims = count_at(cont, last, "victim"), sum = victims;
    for (int rank = 0; rank < ranks; rank++) {
        char me[32];
        snprintf(me, sizeof me, "rank %d", rank);
        uint64_t count = count_at(cont, last, me);
        wrong |= count != times;
        sum += count;
    }
    uint64_t all = count_at(cont, last, "all");
    must("unlock", tiercel_unlock(lock, NULL));
    printf("counter %" PRIu64 ", sum %" PRIu64 ", of the victim %" PRIu64 ", inherited %d\n", all, sum, victims,
           inherited);
    return wrong || all != sum;
}

static int run(const char *uri, const char *times_arg, int with_victim)
{
    struct tiercel_pool *pool;
    struct tiercel_cont *cont;
    int rank, ranks, inherited = 0, all_inherited = 0, wrong = 0;
    const uint64_t times = strtoull(times_arg, NULL, 10);
    char me[32];
    pid_t victim = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    snprintf(me, sizeof me, "rank %d", rank);

    if (rank == 0) { /* makes what is missing */
        struct job job = {.comm = MPI_COMM_SELF};
        job_open_first(&job, uri, label, TIERCEL_RW);
        close_mine(job.pool, job.cont);
        if (with_victim)
            victim = start_victim(uri, times_arg);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    open_mine(&pool, &cont, uri);

    for (uint64_t i = 0; i < times; i++) {
        if (victim > 0 && i == times / 2) { /* the others go on: they get the lock that it leaves */
            wait_for_death(victim);
            victim = 0;
        }
        inherited += add(cont, me, 0);
    }
    MPI_Reduce(&inherited, &all_inherited, 1, MPI_INT, MPI_SUM, 0, MPI_COMM_WORLD);
    if (rank == 0)
        wrong = compare(cont, ranks, times, all_inherited);
    close_mine(pool, cont);
    return wrong;
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[3], "--victim") == 0)
        return be_victim(argv[1], strtoull(argv[2], NULL, 10) / 2);
    MPI_Init(&argc, &argv);
    if (argc < 3)
        give_up("usage", "counter POOL TIMES [victim]");
    int wrong = run(argv[1], argv[2], argc > 3);
    MPI_Finalize();
    return wrong;
}
