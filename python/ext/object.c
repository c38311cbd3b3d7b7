// SPDX-License-Identifier: Apache-2.0
// What is in a container: key-value objects, arrays of bytes, and the values under dkey and akey that both are made of. See ext.h.
#include <errno.h>

#include "ext.h"

/* ---- key-value ---- */

static int run_put(struct call *c, struct tiercel_event *ev)
{
    return tiercel_kv_put(c->handle, c->epoch, c->oid, call_key(c), c->buffer.buf, (uint64_t)c->buffer.len, c->flags,
                          ev);
}

static PyObject *kv_put(PyObject *self, PyObject *args)
{
    PyObject *key, *queue = NULL;
    struct call *call = call_new((struct cont_object *)self, run_put, NULL);
    if (!call)
        return NULL;
    if (!PyArg_ParseTuple(args, "O&O&Sy*|IO:kv_put", parse_u64, &call->epoch, parse_oid, &call->oid, &key,
                          &call->buffer, &call->flags, &queue)) {
        Py_DECREF((PyObject *)call);
        return NULL;
    }
    call->key = Py_NewRef(key);
    return call_launch(call, queue);
}

/* bytes, or None if there is nothing. Values of a few KiB are read at once; of larger ones the size comes first. */
static PyObject *kv_get(PyObject *self, PyObject *args)
{
    char small[4096];
    uint64_t epoch, len = sizeof small;
    struct tiercel_oid oid;
    Py_buffer key;
    PyObject *large = NULL;
    int rc;
    if (!PyArg_ParseTuple(args, "O&O&y*:kv_get", parse_u64, &epoch, parse_oid, &oid, &key))
        return NULL;
    struct tiercel_cont *cont = cont_begin((struct cont_object *)self);
    if (!cont) {
        PyBuffer_Release(&key);
        return NULL;
    }
    struct tiercel_bytes k = {.at = key.buf, .len = (size_t)key.len};
    Py_BEGIN_ALLOW_THREADS rc = tiercel_kv_get(cont, epoch, oid, k, small, &len, 0, NULL);
    Py_END_ALLOW_THREADS for (int tries = 0; rc == -ENOBUFS && tries < 8; tries++)
    { /* it may grow in between, above ghce */
        Py_XSETREF(large, PyBytes_FromStringAndSize(NULL, (Py_ssize_t)len));
        if (!large)
            break;
        Py_BEGIN_ALLOW_THREADS rc = tiercel_kv_get(cont, epoch, oid, k, PyBytes_AS_STRING(large), &len, 0, NULL);
        Py_END_ALLOW_THREADS
    }
    cont_end((struct cont_object *)self);
    PyBuffer_Release(&key);
    if (rc < 0)
        Py_CLEAR(large);
    if (rc == -ENOENT)
        Py_RETURN_NONE;
    if (rc < 0)
        return PyErr_Occurred() ? NULL : raise_why(rc);
    if (!large)
        return PyBytes_FromStringAndSize(small, (Py_ssize_t)len);
    (void)_PyBytes_Resize(&large, (Py_ssize_t)len);
    return large;
}

static int run_remove(struct call *c, struct tiercel_event *ev)
{
    return tiercel_kv_remove(c->handle, c->epoch, c->oid, call_key(c), c->flags, ev);
}

static PyObject *kv_remove(PyObject *self, PyObject *args)
{
    PyObject *key, *queue = NULL;
    struct call *call = call_new((struct cont_object *)self, run_remove, NULL);
    if (!call)
        return NULL;
    if (!PyArg_ParseTuple(args, "O&O&S|IO:kv_remove", parse_u64, &call->epoch, parse_oid, &call->oid, &key,
                          &call->flags, &queue)) {
        Py_DECREF((PyObject *)call);
        return NULL;
    }
    call->key = Py_NewRef(key);
    return call_launch(call, queue);
}

/* ---- arrays of bytes ---- */

static int run_write(struct call *c, struct tiercel_event *ev)
{
    return tiercel_array_write(c->handle, c->epoch, c->oid, c->offset, c->buffer.buf, (uint64_t)c->buffer.len, ev);
}

static int run_read(struct call *c, struct tiercel_event *ev)
{
    return tiercel_array_read(c->handle, c->epoch, c->oid, c->offset, c->buffer.buf, &c->len, ev);
}

static int run_size(struct call *c, struct tiercel_event *ev)
{
    return tiercel_array_size(c->handle, c->epoch, c->oid, &c->len, ev);
}

static int run_set_size(struct call *c, struct tiercel_event *ev)
{
    return tiercel_array_set_size(c->handle, c->epoch, c->oid, c->len, ev);
}

static int run_punch(struct call *c, struct tiercel_event *ev)
{
    return tiercel_array_punch(c->handle, c->epoch, c->oid, c->offset, c->len, ev);
}

/* (epoch, oid, offset, buffer, queue): array_write and array_read_into. */
static PyObject *transfer(PyObject *self, PyObject *args, const char *format,
                          int (*run)(struct call *, struct tiercel_event *), PyObject *(*finish)(struct call *))
{
    PyObject *queue = NULL;
    struct call *call = call_new((struct cont_object *)self, run, finish);
    if (!call)
        return NULL;
    if (!PyArg_ParseTuple(args, format, parse_u64, &call->epoch, parse_oid, &call->oid, parse_u64, &call->offset,
                          &call->buffer, &queue)) {
        Py_DECREF((PyObject *)call);
        return NULL;
    }
    call->len = (uint64_t)call->buffer.len;
    return call_launch(call, queue);
}

static PyObject *array_write(PyObject *self, PyObject *args)
{
    return transfer(self, args, "O&O&O&y*|O:array_write", run_write, NULL);
}

static PyObject *array_read_into(PyObject *self, PyObject *args)
{
    return transfer(self, args, "O&O&O&w*|O:array_read_into", run_read, finish_len);
}

static PyObject *array_size(PyObject *self, PyObject *args)
{
    struct call *call = call_new((struct cont_object *)self, run_size, finish_len);
    if (!call)
        return NULL;
    if (PyArg_ParseTuple(args, "O&O&:array_size", parse_u64, &call->epoch, parse_oid, &call->oid))
        return call_launch(call, NULL);
    Py_DECREF((PyObject *)call);
    return NULL;
}

static PyObject *array_set_size(PyObject *self, PyObject *args)
{
    struct call *call = call_new((struct cont_object *)self, run_set_size, NULL);
    if (!call)
        return NULL;
    if (PyArg_ParseTuple(args, "O&O&O&:array_set_size", parse_u64, &call->epoch, parse_oid, &call->oid, parse_u64,
                         &call->len))
        return call_launch(call, NULL);
    Py_DECREF((PyObject *)call);
    return NULL;
}

static PyObject *array_punch(PyObject *self, PyObject *args)
{
    struct call *call = call_new((struct cont_object *)self, run_punch, NULL);
    if (!call)
        return NULL;
    if (PyArg_ParseTuple(args, "O&O&O&O&:array_punch", parse_u64, &call->epoch, parse_oid, &call->oid, parse_u64,
                         &call->offset, parse_u64, &call->len))
        return call_launch(call, NULL);
    Py_DECREF((PyObject *)call);
    return NULL;
}

/* ---- values under dkey and akey ---- */

static int run_update(struct call *c, struct tiercel_event *ev)
{
    return tiercel_update(c->handle, c->epoch, c->oid, call_key(c), c->flags, c->ios, c->io_count, ev);
}

static int run_fetch(struct call *c, struct tiercel_event *ev)
{
    return tiercel_fetch(c->handle, c->epoch, c->oid, call_key(c), c->flags, c->ios, c->io_count, ev);
}

/* [(record_size, buffer_len)] */
static PyObject *finish_fetch(struct call *c)
{
    PyObject *list = PyList_New(0);
    for (unsigned i = 0; list && i < c->io_count; i++)
        if (append(list, Py_BuildValue("(KK)", c->ios[i].record_size, c->ios[i].buffer_len)) < 0)
            Py_CLEAR(list);
    return list;
}

/* How many extents all ios have; -1: they are not of the form that is asked for. */
static Py_ssize_t count_extents(PyObject *ios)
{
    Py_ssize_t count = 0;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(ios); i++) {
        PyObject *io = PyTuple_GET_ITEM(ios, i);
        if (!PyTuple_Check(io) || PyTuple_GET_SIZE(io) != 4) {
            PyErr_SetString(PyExc_TypeError, "each of ios is (akey, buffer, record_size, [(first, count)] or None)");
            return -1;
        }
        PyObject *extents = PyTuple_GET_ITEM(io, 3);
        count += PyList_Check(extents) ? PyList_GET_SIZE(extents) : 0;
    }
    return count;
}

/* One of ios; its extents go to `room`. How many, or -1. */
static Py_ssize_t parse_io(PyObject *tuple, struct tiercel_io *io, Py_buffer *buffer, struct tiercel_extent *room,
                           bool writable)
{
    PyObject *target, *extents;
    const char *akey;
    Py_ssize_t akey_len;
    if (!PyArg_ParseTuple(tuple, "y#OO&O", &akey, &akey_len, &target, parse_u64, &io->record_size, &extents))
        return -1;
    io->akey = (struct tiercel_bytes){.at = akey, .len = (size_t)akey_len};
    if (target != Py_None) {
        if (PyObject_GetBuffer(target, buffer, writable ? PyBUF_CONTIG : PyBUF_CONTIG_RO) < 0)
            return -1;
        io->buffer = buffer->buf;
        io->buffer_len = (uint64_t)buffer->len;
    }
    if (!PyList_Check(extents))
        return 0;
    Py_ssize_t count = PyList_GET_SIZE(extents);
    for (Py_ssize_t i = 0; i < count; i++) {
        unsigned long long first, records;
        if (!PyArg_ParseTuple(PyList_GET_ITEM(extents, i), "KK", &first, &records))
            return -1;
        room[i] = (struct tiercel_extent){.first = first, .count = records};
    }
    io->extents = room;
    io->extent_count = (unsigned)count;
    return count;
}

static int parse_ios(struct call *call, PyObject *list, bool writable)
{
    PyObject *ios = PyList_AsTuple(list); /* the akeys lie in it: it stays as long as the call */
    if (!ios)
        return -1;
    call->kept = ios;
    Py_ssize_t count = PyTuple_GET_SIZE(ios), extents = count_extents(ios);
    if (extents < 0)
        return -1;
    call->ios = PyMem_Calloc((size_t)count + 1, sizeof *call->ios);
    call->buffers = PyMem_Calloc((size_t)count + 1, sizeof *call->buffers);
    call->extents = PyMem_Calloc((size_t)extents + 1, sizeof *call->extents);
    if (!call->ios || !call->buffers || !call->extents) {
        PyErr_NoMemory();
        return -1;
    }
    struct tiercel_extent *room = call->extents;
    for (Py_ssize_t i = 0; i < count; i++) {
        call->io_count++; /* what was parsed of it is released with the call */
        Py_ssize_t used = parse_io(PyTuple_GET_ITEM(ios, i), &call->ios[i], &call->buffers[i], room, writable);
        if (used < 0)
            return -1;
        room += used;
    }
    return 0;
}

/* (epoch, oid, dkey, ios, flags=0) */
static PyObject *with_ios(PyObject *self, PyObject *args, bool writable,
                          int (*run)(struct call *, struct tiercel_event *), PyObject *(*finish)(struct call *))
{
    PyObject *dkey, *ios;
    struct call *call = call_new((struct cont_object *)self, run, finish);
    if (!call)
        return NULL;
    if (!PyArg_ParseTuple(args, "O&O&SO!|I", parse_u64, &call->epoch, parse_oid, &call->oid, &dkey, &PyList_Type, &ios,
                          &call->flags) ||
        parse_ios(call, ios, writable) < 0) {
        Py_DECREF((PyObject *)call);
        return NULL;
    }
    call->key = Py_NewRef(dkey);
    return call_launch(call, NULL);
}

static PyObject *update(PyObject *self, PyObject *args)
{
    return with_ios(self, args, false, run_update, NULL);
}

static PyObject *fetch(PyObject *self, PyObject *args)
{
    return with_ios(self, args, true, run_fetch, finish_fetch);
}

/* (epoch, oid, dkey=None, akey=None) */
static PyObject *punch(PyObject *self, PyObject *args)
{
    uint64_t epoch;
    struct tiercel_oid oid;
    Py_buffer d = {0}, a = {0};
    int rc = 0;
    if (!PyArg_ParseTuple(args, "O&O&|z*z*:punch", parse_u64, &epoch, parse_oid, &oid, &d, &a))
        return NULL;
    struct tiercel_cont *cont = cont_begin((struct cont_object *)self);
    if (cont) {
        struct tiercel_bytes dkey = {.at = d.buf, .len = (size_t)d.len}, akey = {.at = a.buf, .len = (size_t)a.len};
        Py_BEGIN_ALLOW_THREADS rc =
            tiercel_punch(cont, epoch, oid, d.obj ? &dkey : NULL, a.obj ? &akey : NULL, a.obj ? 1 : 0, 0, NULL);
        Py_END_ALLOW_THREADS cont_end((struct cont_object *)self);
    }
    PyBuffer_Release(&d);
    PyBuffer_Release(&a);
    if (!cont)
        return NULL;
    if (rc < 0)
        return raise_why(rc);
    Py_RETURN_NONE;
}

PyMethodDef object_methods[] = {
    {"kv_put", kv_put, METH_VARARGS, "(epoch, oid, key, value, flags=0, queue=None)"},
    {"kv_get", kv_get, METH_VARARGS, "(epoch, oid, key): bytes, or None."},
    {"kv_remove", kv_remove, METH_VARARGS, "(epoch, oid, key, flags=0, queue=None)"},
    {"array_write", array_write, METH_VARARGS, "(epoch, oid, offset, buffer, queue=None)"},
    {"array_read_into", array_read_into, METH_VARARGS, "(epoch, oid, offset, buffer, queue=None): how much there was."},
    {"array_size", array_size, METH_VARARGS, "(epoch, oid)"},
    {"array_set_size", array_set_size, METH_VARARGS, "(epoch, oid, size)"},
    {"array_punch", array_punch, METH_VARARGS, "(epoch, oid, offset, len)"},
    {"update", update, METH_VARARGS, "(epoch, oid, dkey, [(akey, buffer, record_size, extents)], flags=0)"},
    {"fetch", fetch, METH_VARARGS, "(epoch, oid, dkey, ios as in update, flags=0): [(record_size, len)]"},
    {"punch", punch, METH_VARARGS, "(epoch, oid, dkey=None, akey=None)"},
    {0}};
