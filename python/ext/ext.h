// SPDX-License-Identifier: Apache-2.0
/* The C half of Python's tiercel: the public interface of libtiercel, call by call, as types of Python. What makes it pleasant to
 * use (mappings, arrays, epochs as context managers, asyncio) is in Python, in python/tiercel.
 *
 * Threads: every field here is guarded by the GIL, which is released around calls of the library. `users` counts the calls that are under way
 * in other threads and the locks that are held; an object is not closed under them.
 *
 * After fork, a child shares its parent's objects but must not use them, and above all must not close them: that would end the parent's
 * handle. Each object remembers whose it is. */
#ifndef TIERCEL_PYTHON_EXT_H
#define TIERCEL_PYTHON_EXT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>
#include <tiercel/pool.h>

struct pool_object {
    PyObject_HEAD struct tiercel_pool *pool; /* NULL: closed */
    pid_t owner;
    int users;
};

struct cont_object {
    PyObject_HEAD struct tiercel_cont *cont; /* NULL: closed */
    struct pool_object *pool;
    pid_t owner;
    int users;
};

struct queue_object {
    PyObject_HEAD struct tiercel_queue *queue;
    pid_t owner;
};

extern PyTypeObject pool_type, cont_type, queue_type, call_type, lock_type;
extern PyTypeObject *epochs_type, *pool_info_type, *pool_health_type, *cont_info_type, *handle_info_type, *change_type;

/* ---- errors: module.c. All return NULL, for `return`. ---- */

/* An exception of the class for this errno, with the sentence. */
PyObject *raise_error(int code, const char *sentence);
/* For what the library has just returned to this thread. */
PyObject *raise_why(int code);
PyObject *raise_struct(int code, const struct tiercel_error *err);

/* ---- values: values.c ---- */

/* For PyArg_Parse's "O&": an int of up to 128 bits, or a pair of ints (hi, lo); an int of up to 64 bits. */
int parse_oid(PyObject *value, void *oid);
int parse_u64(PyObject *value, void *u64);
PyObject *oid_new(struct tiercel_oid oid);
PyObject *uuid_new(const struct tiercel_uuid *uuid);
PyObject *epochs_new(const struct tiercel_epochs *epochs);
PyObject *pool_info_new(const struct tiercel_pool_info *info);
PyObject *pool_health_new(const struct tiercel_pool_health *health);
PyObject *cont_info_new(const struct tiercel_cont_info *info);
PyObject *handle_info_new(const struct tiercel_handle_info *info);
PyObject *change_new(const struct tiercel_change *change);
PyObject *bytes_new(struct tiercel_bytes bytes);
int values_ready(PyObject *module);
/* Appends and lets go of value, which may be NULL for an exception that is set already. 0, -1. */
int append(PyObject *list, PyObject *value);

/* ---- objects in use ---- */

/* The library's handle, in use until the _end. NULL with an exception: it is closed, or another process's. */
struct tiercel_pool *pool_begin(struct pool_object *pool);
void pool_end(struct pool_object *pool);
struct tiercel_cont *cont_begin(struct cont_object *cont);
void cont_end(struct cont_object *cont);

extern PyMethodDef epoch_methods[], object_methods[], listing_methods[]; /* of the container */
int cont_type_ready(void);
PyObject *lock_new(struct cont_object *cont, struct tiercel_lock *lock, const struct tiercel_lock_value *value);

/* ---- calls: call.c ---- */

/* A call of the library, with all that it points to. It runs at once, or in the background of a queue; then it is also what the
 * program holds in its hands meanwhile. */
struct call {
    PyObject_HEAD struct tiercel_event event;
    int (*run)(struct call *call, struct tiercel_event *ev);
    PyObject *(*finish)(struct call *call); /* the result; NULL: None */
    struct cont_object *cont;               /* in use while it runs */
    struct tiercel_cont *handle;            /* cont's, as it was when the call began */
    struct queue_object *queue;
    enum { CALL_NEW, CALL_RUNNING, CALL_DONE } state;
    int error;
    PyObject *sentence;

    /* Parameters and results: what the function needs of them. */
    uint64_t epoch, last, offset, len;
    struct tiercel_oid oid;
    unsigned flags;
    int timeout_ms;
    struct tiercel_epochs epochs;
    struct tiercel_aggregated aggregated;
    PyObject *key;  /* bytes */
    PyObject *kept; /* what ios point into */
    Py_buffer buffer;
    struct tiercel_lock *lock;
    struct tiercel_lock_value value;
    struct tiercel_io *ios;
    struct tiercel_extent *extents; /* of all ios */
    Py_buffer *buffers;             /* of all ios */
    unsigned io_count;
};

/* A call of this container. NULL with an exception. */
struct call *call_new(struct cont_object *cont, int (*run)(struct call *, struct tiercel_event *),
                      PyObject *(*finish)(struct call *));
/* Consumes the call. queue None or NULL: carries it out and returns the result. A queue: begins it, and returns the call itself. */
PyObject *call_launch(struct call *call, PyObject *queue);
/* The same for calls that wait for other processes: a signal's handler may end them with its exception. timeout_ms:
 * TimeoutError after that; -1: none. */
PyObject *call_wait(struct call *call, PyObject *queue, int timeout_ms);
/* Until something of the queue has ended: 1; 0: the time is over; -1: a signal's handler has raised. */
int call_sleep_on(struct tiercel_queue *queue, int timeout_ms);
/* finish functions */
PyObject *finish_epochs(struct call *call);
PyObject *finish_len(struct call *call);

static inline struct tiercel_bytes call_key(const struct call *call)
{
    return (struct tiercel_bytes){.at = PyBytes_AS_STRING(call->key), .len = (size_t)PyBytes_GET_SIZE(call->key)};
}

#endif
