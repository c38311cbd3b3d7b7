// SPDX-License-Identifier: Apache-2.0
#include "lab/busyfs_model.h"

#include <errno.h>
#include <string.h>

#include "base/time.h"

void busy_model_init(struct busy_model *m)
{
    memset(m, 0, sizeof(*m));
    pthread_mutex_init(&m->lock, NULL);
}

void busy_model_reset(struct busy_model *m)
{
    pthread_mutex_lock(&m->lock);
    memset(m->server_free_ns, 0, sizeof(m->server_free_ns));
    m->pipe_free_ns = 0;
    m->wait_max_ns = 0;
    m->service_total_ns = 0;
    pthread_mutex_unlock(&m->lock);
}

static void sleep_until(uint64_t when_ns)
{
    struct timespec ts = tl_time_to_timespec((int64_t)when_ns);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR) {
    }
}

/* The server that is free first; ties go to the lowest number. */
static uint32_t first_free(const struct busy_model *m)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < m->servers; i++)
        if (m->server_free_ns[i] < m->server_free_ns[best])
            best = i;
    return best;
}

static void note_wait(struct busy_model *m, uint64_t now, uint64_t done)
{
    if (done - now > m->wait_max_ns)
        m->wait_max_ns = done - now;
}

void busy_model_metadata(struct busy_model *m)
{
    uint64_t now = tl_time_mono_ns(), done = now;
    pthread_mutex_lock(&m->lock);
    if (m->servers > 0) {
        uint32_t i = first_free(m);
        uint64_t start = m->server_free_ns[i] > now ? m->server_free_ns[i] : now;
        m->server_free_ns[i] = start + m->service_ns;
        m->service_total_ns += m->service_ns;
        done = m->server_free_ns[i];
    }
    done += m->latency_ns;
    note_wait(m, now, done);
    pthread_mutex_unlock(&m->lock);
    if (done > now)
        sleep_until(done);
}

void busy_model_data(struct busy_model *m, uint64_t bytes)
{
    uint64_t now = tl_time_mono_ns(), done = now;
    pthread_mutex_lock(&m->lock);
    if (m->bandwidth > 0) {
        uint64_t start = m->pipe_free_ns > now ? m->pipe_free_ns : now;
        m->pipe_free_ns = start + bytes * TL_NS_PER_S / m->bandwidth;
        done = m->pipe_free_ns;
    }
    done += m->latency_ns;
    note_wait(m, now, done);
    pthread_mutex_unlock(&m->lock);
    if (done > now)
        sleep_until(done);
}

int busy_model_set(struct busy_model *m, const char *key, uint64_t value)
{
    int rc = 0;
    pthread_mutex_lock(&m->lock);
    if (strcmp(key, "servers") == 0 && value <= BUSY_SERVERS_MAX)
        m->servers = (uint32_t)value;
    else if (strcmp(key, "service-us") == 0)
        m->service_ns = value * TL_NS_PER_US;
    else if (strcmp(key, "latency-us") == 0)
        m->latency_ns = value * TL_NS_PER_US;
    else if (strcmp(key, "bandwidth") == 0)
        m->bandwidth = value;
    else
        rc = -EINVAL;
    pthread_mutex_unlock(&m->lock);
    return rc;
}
