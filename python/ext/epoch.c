// SPDX-License-Identifier: Apache-2.0
// The epochs of a container, and its locks. See ext.h.
#include "ext.h"

static int run_query(struct call *c, struct tiercel_event *ev)
{
    return tiercel_epoch_query(c->handle, &c->epochs, ev);
}

static int run_hold(struct call *c, struct tiercel_event *ev)
{
    return tiercel_epoch_hold(c->handle, &c->epoch, &c->epochs, ev);
}

static int run_flush(struct call *c, struct tiercel_event *ev)
{
    return tiercel_epoch_flush(c->handle, c->epoch, &c->epochs, ev);
}

static int run_commit(struct call *c, struct tiercel_event *ev)
{
    return tiercel_epoch_commit(c->handle, c->epoch, &c->epochs, ev);
}

static int run_commit_in_order(struct call *c, struct tiercel_event *ev)
{
    return tiercel_epoch_commit_in_order(c->handle, c->epoch, &c->epochs, ev);
}

static int run_discard(struct call *c, struct tiercel_event *ev)
{
    return tiercel_epoch_discard(c->handle, c->epoch, c->last, &c->epochs, ev);
}

static int run_slip(struct call *c, struct tiercel_event *ev)
{
    return tiercel_epoch_slip(c->handle, c->epoch, &c->epochs, ev);
}

static int run_wait(struct call *c, struct tiercel_event *ev)
{
    return tiercel_epoch_wait(c->handle, c->epoch, &c->epochs, ev);
}

static int run_aggregate(struct call *c, struct tiercel_event *ev)
{
    return tiercel_cont_aggregate(c->handle, &c->aggregated, ev);
}

static PyObject *finish_hold(struct call *c)
{
    return PyLong_FromUnsignedLongLong(c->epoch);
}

static PyObject *finish_aggregate(struct call *c)
{
    return Py_BuildValue("(KKK)", c->aggregated.below, c->aggregated.records, c->aggregated.bytes);
}

static PyObject *query(PyObject *self, PyObject *Py_UNUSED(none))
{
    struct call *call = call_new((struct cont_object *)self, run_query, finish_epochs);
    return call ? call_launch(call, NULL) : NULL;
}

/* Methods of one epoch, and maybe a queue. */
static PyObject *of_epoch(PyObject *self, PyObject *args, int (*run)(struct call *, struct tiercel_event *),
                          PyObject *(*finish)(struct call *))
{
    PyObject *queue = NULL;
    uint64_t epoch;
    if (!PyArg_ParseTuple(args, "O&|O", parse_u64, &epoch, &queue))
        return NULL;
    struct call *call = call_new((struct cont_object *)self, run, finish);
    if (!call)
        return NULL;
    call->epoch = epoch;
    return call_launch(call, queue);
}

static PyObject *hold(PyObject *self, PyObject *args)
{
    return of_epoch(self, args, run_hold, finish_hold);
}

static PyObject *flush(PyObject *self, PyObject *args)
{
    return of_epoch(self, args, run_flush, finish_epochs);
}

static PyObject *commit(PyObject *self, PyObject *args)
{
    return of_epoch(self, args, run_commit, finish_epochs);
}

static PyObject *slip(PyObject *self, PyObject *args)
{
    return of_epoch(self, args, run_slip, finish_epochs);
}

static PyObject *commit_in_order(PyObject *self, PyObject *args)
{
    PyObject *queue;
    uint64_t epoch;
    if (!PyArg_ParseTuple(args, "O&O!:commit_in_order", parse_u64, &epoch, &queue_type, &queue))
        return NULL;
    return of_epoch(self, args, run_commit_in_order, finish_epochs);
}

static PyObject *discard(PyObject *self, PyObject *args)
{
    PyObject *queue = NULL;
    uint64_t first, last;
    if (!PyArg_ParseTuple(args, "O&O&|O:discard", parse_u64, &first, parse_u64, &last, &queue))
        return NULL;
    struct call *call = call_new((struct cont_object *)self, run_discard, finish_epochs);
    if (!call)
        return NULL;
    call->epoch = first;
    call->last = last;
    return call_launch(call, queue);
}

static PyObject *wait_for(PyObject *self, PyObject *args)
{
    PyObject *queue = NULL;
    uint64_t epoch;
    int timeout_ms = TIERCEL_FOREVER;
    if (!PyArg_ParseTuple(args, "O&|iO:wait", parse_u64, &epoch, &timeout_ms, &queue))
        return NULL;
    struct call *call = call_new((struct cont_object *)self, run_wait, finish_epochs);
    if (!call)
        return NULL;
    call->epoch = epoch;
    return call_wait(call, queue, timeout_ms);
}

static PyObject *aggregate(PyObject *self, PyObject *args)
{
    PyObject *queue = NULL;
    if (!PyArg_ParseTuple(args, "|O:aggregate", &queue))
        return NULL;
    struct call *call = call_new((struct cont_object *)self, run_aggregate, finish_aggregate);
    return call ? call_launch(call, queue) : NULL;
}

/* ---- locks ---- */

static int run_lock(struct call *c, struct tiercel_event *ev)
{
    return tiercel_lock(c->handle, PyBytes_AS_STRING(c->key), c->flags, c->timeout_ms, &c->lock, &c->value, ev);
}

static PyObject *finish_lock(struct call *c)
{
    if (!c->lock)
        return PyErr_Format(PyExc_RuntimeError, "the lock that this call has brought was taken already");
    PyObject *lock = lock_new(c->cont, c->lock, &c->value);
    if (lock)
        c->lock = NULL;
    return lock;
}

static PyObject *lock(PyObject *self, PyObject *args)
{
    PyObject *queue = NULL, *name;
    unsigned mode = TIERCEL_LOCK_EXCLUSIVE;
    int timeout_ms = TIERCEL_FOREVER;
    if (!PyArg_ParseTuple(args, "S|IiO:lock", &name, &mode, &timeout_ms, &queue))
        return NULL;
    struct call *call = call_new((struct cont_object *)self, run_lock, finish_lock);
    if (!call)
        return NULL;
    call->key = Py_NewRef(name);
    call->flags = mode;
    call->timeout_ms = timeout_ms; /* the library's own: it tells a held lock from one that did not come in time */
    return call_wait(call, queue, TIERCEL_FOREVER);
}

PyMethodDef epoch_methods[] = {
    {"epochs", query, METH_NOARGS, "Epochs, as they are now."},
    {"epoch_hold", hold, METH_VARARGS, "(epoch, queue=None): what is held then."},
    {"epoch_flush", flush, METH_VARARGS, "(epoch, queue=None): Epochs."},
    {"epoch_commit", commit, METH_VARARGS, "(epoch, queue=None): Epochs."},
    {"epoch_commit_in_order", commit_in_order, METH_VARARGS, "(epoch, queue): a Call."},
    {"epoch_discard", discard, METH_VARARGS, "(first, last, queue=None): Epochs."},
    {"epoch_slip", slip, METH_VARARGS, "(epoch, queue=None): Epochs."},
    {"epoch_wait", wait_for, METH_VARARGS, "(epoch, timeout_ms=-1, queue=None): Epochs."},
    {"cont_aggregate", aggregate, METH_VARARGS, "(queue=None): (below, records, bytes)."},
    {"lock_acquire", lock, METH_VARARGS, "(name, mode, timeout_ms=-1, queue=None): a HeldLock."},
    {0}};
