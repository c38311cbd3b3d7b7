// SPDX-License-Identifier: Apache-2.0
// Locks that are held. See ext.h.
#include <unistd.h>

#include "ext.h"

struct lock_object {
    PyObject_HEAD struct tiercel_lock *lock; /* NULL: released */
    struct cont_object *cont;                /* in use until then */
    struct tiercel_lock_value value;
};

PyObject *lock_new(struct cont_object *cont, struct tiercel_lock *lock, const struct tiercel_lock_value *value)
{
    struct lock_object *self = PyObject_New(struct lock_object, &lock_type);
    if (!self)
        return NULL;
    self->lock = lock;
    self->cont = (struct cont_object *)Py_NewRef((PyObject *)cont);
    self->cont->users++;
    self->value = *value;
    return (PyObject *)self;
}

/* Not in a child of the process that has it. */
static int let_go(struct lock_object *self, const struct tiercel_lock_value *value)
{
    struct tiercel_lock *lock = self->lock;
    int rc;
    self->lock = NULL;
    if (!lock)
        return 0;
    if (self->cont->owner != getpid())
        return 0;
    Py_BEGIN_ALLOW_THREADS rc = tiercel_unlock(lock, value);
    Py_END_ALLOW_THREADS cont_end(self->cont);
    return rc;
}

static void lock_dealloc(PyObject *self)
{
    struct lock_object *l = (struct lock_object *)self;
    (void)let_go(l, NULL);
    Py_DECREF((PyObject *)l->cont);
    PyObject_Free(self);
}

/* release(): the value stays. release(epoch, user): what the next holder is shown. */
static PyObject *lock_release(PyObject *self, PyObject *args)
{
    struct tiercel_lock_value value = {.valid = 1};
    Py_buffer user = {0};
    if (!PyArg_ParseTuple(args, "|O&y*:release", parse_u64, &value.epoch, &user))
        return NULL;
    if (user.len > (Py_ssize_t)sizeof value.user) {
        PyBuffer_Release(&user);
        return PyErr_Format(PyExc_ValueError, "a lock's value has room for %zu bytes of the user's", sizeof value.user);
    }
    if (user.len > 0)
        memcpy(value.user, user.buf, (size_t)user.len);
    PyBuffer_Release(&user);
    int rc = let_go((struct lock_object *)self, PyTuple_GET_SIZE(args) > 0 ? &value : NULL);
    if (rc < 0)
        return raise_why(rc);
    Py_RETURN_NONE;
}

static PyObject *get_valid(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((struct lock_object *)self)->value.valid);
}

static PyObject *get_epoch(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(((struct lock_object *)self)->value.epoch);
}

static PyObject *get_user(PyObject *self, void *Py_UNUSED(closure))
{
    struct tiercel_lock_value *value = &((struct lock_object *)self)->value;
    return bytes_new((struct tiercel_bytes){.at = value->user, .len = sizeof value->user});
}

static PyGetSetDef getters[] = {{"valid", get_valid, NULL, "False: nobody has set it, or its last holder died.", NULL},
                                {"epoch", get_epoch, NULL, "The last epoch that was committed under this lock.", NULL},
                                {"user", get_user, NULL, "48 bytes of the user's.", NULL},
                                {0}};

static PyMethodDef methods[] = {{"release", lock_release, METH_VARARGS, "(epoch, user): with a value, or as it was."},
                                {0}};

PyTypeObject lock_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "tiercel._tiercel.HeldLock",
    .tp_basicsize = sizeof(struct lock_object),
    .tp_dealloc = lock_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_doc = "A lock that is held, and the value that came with it.",
    .tp_methods = methods,
    .tp_getset = getters,
};
