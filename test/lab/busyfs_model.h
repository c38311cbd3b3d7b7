// SPDX-License-Identifier: Apache-2.0
/* The service times of a busy parallel file system: one metadata server for all nodes, one data pipe for all nodes.
 *
 * A request reserves its place in virtual time (who is served when follows from the arrivals alone) and then sleeps
 * until that absolute moment. So a loaded machine cannot stretch the queue, waiting costs no processor time, and a
 * late wake-up is not passed on to the next request. Any thread. */
#ifndef TL_LAB_BUSYFS_MODEL_H
#define TL_LAB_BUSYFS_MODEL_H

#include <pthread.h>
#include <stdint.h>

#define BUSY_SERVERS_MAX 256u

struct busy_model {
    pthread_mutex_t lock;
    uint32_t servers;    /* metadata operations served at once, 1..BUSY_SERVERS_MAX; 0: no metadata cost */
    uint64_t service_ns; /* of one metadata operation */
    uint64_t latency_ns; /* the way there and back, paid by every operation, in parallel */
    uint64_t bandwidth;  /* bytes a second of the pipe; 0: no limit */
    uint64_t server_free_ns[BUSY_SERVERS_MAX];
    uint64_t pipe_free_ns;
    uint64_t wait_max_ns;      /* longest time any operation took since the last reset */
    uint64_t service_total_ns; /* metadata service time handed out since the last reset */
};

void busy_model_init(struct busy_model *m);
/* Forgets queues and statistics; settings stay. */
void busy_model_reset(struct busy_model *m);
/* One metadata operation: returns when it has been served. */
void busy_model_metadata(struct busy_model *m);
/* `bytes` through the pipe: returns when they have arrived. */
void busy_model_data(struct busy_model *m, uint64_t bytes);
/* Changes a setting: "servers", "service-us", "latency-us", "bandwidth" (bytes a second). 0, or -EINVAL. */
int busy_model_set(struct busy_model *m, const char *key, uint64_t value);

#endif
