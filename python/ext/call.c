// SPDX-License-Identifier: Apache-2.0
// Calls of the library, at once or in the background, and the queue that tells of those that have completed. See ext.h.
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "ext.h"

#define POLL_BATCH 32
#define LOOK_MS    1000

struct call *call_new(struct cont_object *cont, int (*run)(struct call *, struct tiercel_event *),
                      PyObject *(*finish)(struct call *))
{
    struct call *call = PyObject_New(struct call, &call_type);
    if (!call)
        return NULL;
    PyObject head = call->ob_base;
    *call = (struct call){.ob_base = head, .run = run, .finish = finish, .timeout_ms = TIERCEL_FOREVER};
    call->cont = (struct cont_object *)Py_NewRef((PyObject *)cont);
    return call;
}

static void call_dealloc(PyObject *self)
{
    struct call *call = (struct call *)self;
    if (call->lock && call->cont->owner == getpid()) { /* it came, but nobody has asked for it */
        Py_BEGIN_ALLOW_THREADS(void) tiercel_unlock(call->lock, NULL);
        Py_END_ALLOW_THREADS
    }
    for (unsigned i = 0; i < call->io_count; i++)
        PyBuffer_Release(&call->buffers[i]);
    PyMem_Free(call->buffers);
    PyMem_Free(call->extents);
    PyMem_Free(call->ios);
    PyBuffer_Release(&call->buffer); /* fine if there is none */
    Py_XDECREF(call->key);
    Py_XDECREF(call->kept);
    Py_XDECREF(call->sentence);
    Py_XDECREF((PyObject *)call->queue);
    Py_XDECREF((PyObject *)call->cont);
    PyObject_Free(self);
}

/* The call has ended: its result, or an exception. */
static PyObject *result_of(struct call *call)
{
    if (call->error < 0)
        return raise_error(call->error, call->sentence ? PyUnicode_AsUTF8(call->sentence) : "");
    if (!call->finish)
        Py_RETURN_NONE;
    return call->finish(call);
}

static void ended(struct call *call, int error, const char *why)
{
    call->state = CALL_DONE;
    call->error = error < 0 ? error : 0;
    if (error < 0 && !(call->sentence = PyUnicode_DecodeUTF8(why, (Py_ssize_t)strlen(why), "replace")))
        PyErr_Clear();
}

/* The container is in use while the library's function runs, not until the event completes: whoever closes it ends what waits. */
static int begin(struct call *call, struct tiercel_event *ev)
{
    int rc;
    call->handle = cont_begin(call->cont);
    if (!call->handle)
        return -1;
    call->state = CALL_RUNNING;
    Py_BEGIN_ALLOW_THREADS rc = call->run(call, ev);
    Py_END_ALLOW_THREADS if (!ev || rc < 0) ended(call, rc, rc < 0 ? tiercel_why(NULL) : "");
    cont_end(call->cont);
    return 0;
}

/* Begins it; the queue has a reference to it from now on. 0, or -1 with an exception. */
static int begin_in(struct call *call, struct tiercel_queue *queue)
{
    int rc = tiercel_event_init(&call->event, queue, NULL);
    if (rc < 0) {
        raise_why(rc);
        return -1;
    }
    call->event.user = Py_NewRef((PyObject *)call);
    if (begin(call, &call->event) == 0 && call->state == CALL_RUNNING)
        return 0;
    if (call->state == CALL_DONE)
        Py_XDECREF(result_of(call)); /* its exception */
    (void)tiercel_event_fini(&call->event);
    Py_DECREF((PyObject *)call);
    return -1;
}

/* The call of an event that was polled. The queue's reference is the caller's now. */
static struct call *take(struct tiercel_event *ev)
{
    struct call *call = ev->user;
    ended(call, ev->error, ev->error < 0 ? tiercel_why(ev) : "");
    (void)tiercel_event_fini(ev);
    return call;
}

PyObject *call_launch(struct call *call, PyObject *queue)
{
    PyObject *result = NULL;
    if (!queue || queue == Py_None) {
        result = begin(call, NULL) == 0 ? result_of(call) : NULL;
    } else if (!PyObject_TypeCheck(queue, &queue_type)) {
        PyErr_SetString(PyExc_TypeError, "queue must be a Queue or None");
    } else {
        call->queue = (struct queue_object *)Py_NewRef(queue);
        if (begin_in(call, call->queue->queue) == 0)
            result = Py_NewRef((PyObject *)call);
    }
    Py_DECREF((PyObject *)call);
    return result;
}

/* Waits for the queue up to timeout_ms, but no longer than LOOK_MS. 1, 0, -1: a signal came (an exception if its handler has raised one), or errno
 * says what. Signals are blocked from the look at those that have come until the wait begins, so that none is missed in between; but a
 * thread of some other library may take one, and then nothing ends the wait. Hence LOOK_MS. */
static int wait_a_while(struct tiercel_queue *queue, int64_t timeout_ms)
{
    int64_t ms = timeout_ms < 0 || timeout_ms > LOOK_MS ? LOOK_MS : timeout_ms;
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    struct pollfd fd = {.fd = tiercel_queue_fd(queue), .events = POLLIN};
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = PyErr_CheckSignals() < 0 ? -1 : 0;
    if (rc == 0) {
        Py_BEGIN_ALLOW_THREADS rc = ppoll(&fd, 1, &time, &before);
        Py_END_ALLOW_THREADS
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Until the queue has something, a signal's handler raises, or the time is over. 1, -1 (exception), 0. */
int call_sleep_on(struct tiercel_queue *queue, int timeout_ms)
{
    const int64_t end = now_ms() + timeout_ms;
    for (;;) {
        int64_t left = timeout_ms < 0 ? -1 : end - now_ms();
        int rc = wait_a_while(queue, timeout_ms >= 0 && left < 0 ? 0 : left);
        if (PyErr_Occurred())
            return -1;
        if (rc < 0 && errno != EINTR) {
            raise_error(-errno, strerror(errno));
            return -1;
        }
        if (rc > 0 || (rc == 0 && timeout_ms >= 0 && left <= LOOK_MS))
            return rc;
    }
}

static void abort_event(struct tiercel_event *ev)
{
    Py_BEGIN_ALLOW_THREADS(void) tiercel_event_abort(ev);
    Py_END_ALLOW_THREADS
}

static PyObject *wait_in(struct call *call, struct tiercel_queue *queue, int timeout_ms)
{
    struct tiercel_event *ev;
    int rc, polled;
    if (begin_in(call, queue) < 0)
        return NULL;
    rc = call_sleep_on(queue, timeout_ms);
    if (rc <= 0)
        abort_event(&call->event);
    Py_BEGIN_ALLOW_THREADS /* after an abort, too, it ends before the call returns: its memory is in use */
        polled = tiercel_queue_poll(queue, TIERCEL_FOREVER, &ev, 1);
    Py_END_ALLOW_THREADS if (polled != 1) Py_FatalError("tiercel: a call was lost by its queue");
    PyObject *done = (PyObject *)take(ev), *result = NULL;
    if (rc > 0 || (rc == 0 && call->error != -ECANCELED)) /* it may have succeeded just before */
        result = result_of(call);
    else if (rc == 0)
        raise_error(-ETIMEDOUT, "the time is over, and what was waited for has not come");
    Py_DECREF(done);
    return result;
}

PyObject *call_wait(struct call *call, PyObject *queue, int timeout_ms)
{
    struct tiercel_queue *own;
    if (queue && queue != Py_None)
        return call_launch(call, queue);
    int rc = tiercel_queue_create(&own);
    PyObject *result = NULL;
    if (rc < 0) {
        raise_why(rc);
    } else {
        result = wait_in(call, own, timeout_ms);
        (void)tiercel_queue_destroy(own, 0);
    }
    Py_DECREF((PyObject *)call);
    return result;
}

PyObject *finish_epochs(struct call *call)
{
    return epochs_new(&call->epochs);
}

PyObject *finish_len(struct call *call)
{
    return PyLong_FromUnsignedLongLong(call->len);
}

/* ---- what a program sees of a call ---- */

static PyObject *call_result(PyObject *self, PyObject *Py_UNUSED(none))
{
    struct call *call = (struct call *)self;
    if (call->state != CALL_DONE) {
        PyErr_SetString(PyExc_RuntimeError, "the call has not completed: poll its queue");
        return NULL;
    }
    return result_of(call);
}

static PyObject *call_abort(PyObject *self, PyObject *Py_UNUSED(none))
{
    struct call *call = (struct call *)self;
    if (call->state == CALL_RUNNING && call->queue && call->queue->owner == getpid())
        abort_event(&call->event);
    Py_RETURN_NONE;
}

static PyMethodDef call_methods[] = {
    {"result", call_result, METH_NOARGS, "The call's result, or its exception; RuntimeError if it has not completed."},
    {"abort", call_abort, METH_NOARGS, "Ask for an early end; it completes with ECANCELED then, or as if nothing was."},
    {0}};

PyTypeObject call_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "tiercel._tiercel.Call",
    .tp_basicsize = sizeof(struct call),
    .tp_dealloc = call_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_doc = "A call of the library that runs in the background.",
    .tp_methods = call_methods,
};

/* ---- queues ---- */

static PyObject *queue_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    if (!PyArg_ParseTuple(args, ":Queue") || (kwargs && PyDict_Size(kwargs) > 0))
        return NULL;
    struct queue_object *self = (struct queue_object *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    self->owner = getpid();
    int rc = tiercel_queue_create(&self->queue);
    if (rc < 0) {
        self->queue = NULL;
        Py_DECREF((PyObject *)self);
        return raise_why(rc);
    }
    return (PyObject *)self;
}

/* Calls under way hold the queue: there are none. */
static void queue_dealloc(PyObject *self)
{
    struct queue_object *q = (struct queue_object *)self;
    if (q->queue && q->owner == getpid())
        (void)tiercel_queue_destroy(q->queue, 0);
    Py_TYPE(self)->tp_free(self);
}

static PyObject *queue_fileno(PyObject *self, PyObject *Py_UNUSED(none))
{
    return PyLong_FromLong(tiercel_queue_fd(((struct queue_object *)self)->queue));
}

static PyObject *queue_poll(PyObject *self, PyObject *args)
{
    struct queue_object *q = (struct queue_object *)self;
    struct tiercel_event *events[POLL_BATCH];
    int timeout_ms = 0, count;
    if (!PyArg_ParseTuple(args, "|i:poll", &timeout_ms))
        return NULL;
    if (q->owner != getpid())
        return raise_error(-EBADF, "this queue is another process's: make one after the fork");
    Py_BEGIN_ALLOW_THREADS count = tiercel_queue_poll(q->queue, timeout_ms, events, POLL_BATCH);
    Py_END_ALLOW_THREADS if (count < 0) return raise_why(count);
    PyObject *list = PyList_New(count);
    for (int i = 0; i < count; i++) {
        struct call *call = take(events[i]);
        if (list)
            PyList_SET_ITEM(list, i, (PyObject *)call);
        else
            Py_DECREF((PyObject *)call);
    }
    return list;
}

static PyMethodDef queue_methods[] = {
    {"fileno", queue_fileno, METH_NOARGS, "A descriptor that is readable while there is a call to be polled."},
    {"poll", queue_poll, METH_VARARGS,
     "The calls that have completed; waits for the first up to timeout_ms (-1: ever)."},
    {0}};

PyTypeObject queue_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "tiercel._tiercel.Queue",
    .tp_basicsize = sizeof(struct queue_object),
    .tp_new = queue_new,
    .tp_dealloc = queue_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Where calls that run in the background arrive when they have completed.",
    .tp_methods = queue_methods,
};
