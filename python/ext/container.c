// SPDX-License-Identifier: Apache-2.0
// Containers: opening, closing, attributes, snapshots. Their epochs are in epoch.c, what is in them in object.c and listing.c.
#include <errno.h>
#include <unistd.h>

#include "ext.h"

#define HANDLE_BYTES_MAX 1024

struct tiercel_cont *cont_begin(struct cont_object *cont)
{
    if (!cont->cont) {
        raise_error(-EBADF, "the container is closed");
        return NULL;
    }
    if (cont->owner != getpid()) {
        raise_error(-EBADF, "the container was opened before the fork, by another process: open it anew");
        return NULL;
    }
    cont->users++;
    return cont->cont;
}

void cont_end(struct cont_object *cont)
{
    cont->users--;
}

struct opening {
    struct tiercel_cont *cont;
    const char *name;
    const char *bytes;
    Py_ssize_t len;
    unsigned flags;
    uint64_t snapshot;
    struct tiercel_error err;
};

static int open_as_asked(struct opening *o, struct tiercel_pool *pool)
{
    if (o->bytes)
        return tiercel_cont_global2local(&o->cont, pool, o->bytes, (size_t)o->len, &o->err);
    if (o->snapshot > 0)
        return tiercel_cont_open_snapshot(&o->cont, pool, o->name, o->snapshot, &o->err);
    return tiercel_cont_open(&o->cont, pool, o->name, o->flags, &o->err);
}

/* Container(pool, name, flags, snapshot), or Container(pool, bytes) of another process's. */
static PyObject *cont_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    struct opening o = {.flags = TIERCEL_RW};
    struct pool_object *pool;
    int rc;
    bool shared = PyTuple_GET_SIZE(args) == 2 && PyBytes_Check(PyTuple_GET_ITEM(args, 1));
    if (kwargs && PyDict_Size(kwargs) > 0)
        return PyErr_Format(PyExc_TypeError, "Container takes no keywords");
    if (shared ? !PyArg_ParseTuple(args, "O!y#:Container", &pool_type, &pool, &o.bytes, &o.len)
               : !PyArg_ParseTuple(args, "O!s|IO&:Container", &pool_type, &pool, &o.name, &o.flags, parse_u64,
                                   &o.snapshot))
        return NULL;
    struct cont_object *self = (struct cont_object *)type->tp_alloc(type, 0);
    struct tiercel_pool *handle = self ? pool_begin(pool) : NULL;
    if (!handle) {
        Py_XDECREF((PyObject *)self);
        return NULL;
    }
    self->owner = getpid();
    self->pool = (struct pool_object *)Py_NewRef((PyObject *)pool);
    Py_BEGIN_ALLOW_THREADS rc = open_as_asked(&o, handle);
    Py_END_ALLOW_THREADS pool_end(pool);
    if (rc < 0) {
        Py_DECREF((PyObject *)self);
        return raise_struct(rc, &o.err);
    }
    self->cont = o.cont;
    return (PyObject *)self;
}

static void cont_dealloc(PyObject *self)
{
    struct cont_object *c = (struct cont_object *)self;
    if (c->cont && c->owner == getpid()) {
        Py_BEGIN_ALLOW_THREADS(void) tiercel_cont_close(c->cont);
        Py_END_ALLOW_THREADS
    }
    Py_XDECREF((PyObject *)c->pool);
    Py_TYPE(self)->tp_free(self);
}

static PyObject *cont_close(PyObject *self, PyObject *Py_UNUSED(none))
{
    struct cont_object *c = (struct cont_object *)self;
    struct tiercel_cont *cont = c->cont;
    int rc;
    if (!cont || c->owner != getpid())
        Py_RETURN_NONE;
    if (c->users > 0)
        return raise_error(-EBUSY, "another thread uses the container, or one of its locks is held: let it end first");
    c->cont = NULL;
    Py_BEGIN_ALLOW_THREADS rc = tiercel_cont_close(cont);
    Py_END_ALLOW_THREADS if (rc < 0 && rc != -EBADF) /* it was evicted: that is closed, too */
        return raise_why(rc);
    Py_RETURN_NONE;
}

static PyObject *cont_query(PyObject *self, PyObject *Py_UNUSED(none))
{
    struct tiercel_cont_info info;
    int rc;
    struct tiercel_cont *cont = cont_begin((struct cont_object *)self);
    if (!cont)
        return NULL;
    Py_BEGIN_ALLOW_THREADS rc = tiercel_cont_query(cont, &info, NULL);
    Py_END_ALLOW_THREADS cont_end((struct cont_object *)self);
    return rc < 0 ? raise_why(rc) : cont_info_new(&info);
}

/* ---- attributes ---- */

static PyObject *set_attr(PyObject *self, PyObject *args)
{
    const char *name;
    Py_buffer value = {0};
    int rc;
    if (!PyArg_ParseTuple(args, "sz*:set_attr", &name, &value))
        return NULL;
    struct tiercel_cont *cont = cont_begin((struct cont_object *)self);
    if (cont) {
        static const char empty; /* no bytes are a value; no address means none */
        const void *at = value.obj && !value.buf ? &empty : value.buf;
        Py_BEGIN_ALLOW_THREADS rc = tiercel_cont_set_attr(cont, name, at, (size_t)value.len);
        Py_END_ALLOW_THREADS cont_end((struct cont_object *)self);
    }
    PyBuffer_Release(&value);
    if (!cont)
        return NULL;
    if (rc < 0)
        return raise_why(rc);
    Py_RETURN_NONE;
}

static PyObject *get_attr(PyObject *self, PyObject *args)
{
    const char *name;
    size_t len = TIERCEL_ATTR_MAX;
    int rc;
    if (!PyArg_ParseTuple(args, "s:get_attr", &name))
        return NULL;
    struct tiercel_cont *cont = cont_begin((struct cont_object *)self);
    if (!cont)
        return NULL;
    PyObject *value = PyBytes_FromStringAndSize(NULL, TIERCEL_ATTR_MAX), *result = NULL;
    if (value) {
        Py_BEGIN_ALLOW_THREADS rc = tiercel_cont_get_attr(cont, name, PyBytes_AS_STRING(value), &len);
        Py_END_ALLOW_THREADS result =
            rc < 0 ? raise_why(rc) : PyBytes_FromStringAndSize(PyBytes_AS_STRING(value), (Py_ssize_t)len);
        Py_DECREF(value);
    }
    cont_end((struct cont_object *)self);
    return result;
}

/* Called without the GIL. */
static int attr_one(void *list, const char *name, size_t len)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    int rc = append(list, PyUnicode_DecodeUTF8(name, (Py_ssize_t)strlen(name), "surrogateescape")) < 0;
    PyGILState_Release(gil);
    (void)len;
    return rc;
}

static PyObject *list_attrs(PyObject *self, PyObject *Py_UNUSED(none))
{
    int rc;
    PyObject *list = PyList_New(0);
    struct tiercel_cont *cont = list ? cont_begin((struct cont_object *)self) : NULL;
    if (!cont) {
        Py_XDECREF(list);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS rc = tiercel_cont_list_attrs(cont, attr_one, list);
    Py_END_ALLOW_THREADS cont_end((struct cont_object *)self);
    if (rc == 0)
        return list;
    Py_DECREF(list);
    return rc < 0 ? raise_why(rc) : NULL;
}

/* ---- snapshots ---- */

static PyObject *snapshot(PyObject *self, PyObject *args,
                          int (*change)(struct tiercel_cont *, uint64_t, struct tiercel_event *))
{
    uint64_t epoch;
    int rc;
    if (!PyArg_ParseTuple(args, "O&", parse_u64, &epoch))
        return NULL;
    struct tiercel_cont *cont = cont_begin((struct cont_object *)self);
    if (!cont)
        return NULL;
    Py_BEGIN_ALLOW_THREADS rc = change(cont, epoch, NULL);
    Py_END_ALLOW_THREADS cont_end((struct cont_object *)self);
    if (rc < 0)
        return raise_why(rc);
    Py_RETURN_NONE;
}

static PyObject *snap_create(PyObject *self, PyObject *args)
{
    return snapshot(self, args, tiercel_snap_create);
}

static PyObject *snap_destroy(PyObject *self, PyObject *args)
{
    return snapshot(self, args, tiercel_snap_destroy);
}

/* Asks how many there are, then for that many; again if there are more by then. */
static int all_snapshots(struct tiercel_cont *cont, uint64_t **epochs, unsigned *count)
{
    for (unsigned room = 16;;) {
        *count = room;
        *epochs = PyMem_RawMalloc(room * sizeof **epochs);
        int rc = *epochs ? tiercel_snap_list(cont, *epochs, count, NULL) : -ENOMEM;
        if (rc < 0 || *count <= room)
            return rc;
        PyMem_RawFree(*epochs);
        room = *count;
    }
}

static PyObject *snap_list(PyObject *self, PyObject *Py_UNUSED(none))
{
    uint64_t *epochs = NULL;
    unsigned count = 0;
    int rc;
    struct tiercel_cont *cont = cont_begin((struct cont_object *)self);
    if (!cont)
        return NULL;
    Py_BEGIN_ALLOW_THREADS rc = all_snapshots(cont, &epochs, &count);
    Py_END_ALLOW_THREADS cont_end((struct cont_object *)self);
    PyObject *list = rc < 0 ? raise_why(rc) : PyList_New(0);
    for (unsigned i = 0; list && i < count; i++)
        if (append(list, PyLong_FromUnsignedLongLong(epochs[i])) < 0)
            Py_CLEAR(list);
    PyMem_RawFree(epochs);
    return list;
}

static PyObject *to_bytes(PyObject *self, PyObject *Py_UNUSED(none))
{
    char bytes[HANDLE_BYTES_MAX];
    size_t len = sizeof bytes;
    int rc;
    struct tiercel_cont *cont = cont_begin((struct cont_object *)self);
    if (!cont)
        return NULL;
    Py_BEGIN_ALLOW_THREADS rc = tiercel_cont_local2global(cont, bytes, &len);
    Py_END_ALLOW_THREADS cont_end((struct cont_object *)self);
    return rc < 0 ? raise_why(rc) : PyBytes_FromStringAndSize(bytes, (Py_ssize_t)len);
}

/* While it copies, a signal's handler may end it with its exception. */
static int copy_goes_on(void *ctx, const struct tiercel_copied *so_far)
{
    (void)ctx, (void)so_far;
    PyGILState_STATE gil = PyGILState_Ensure();
    int raised = PyErr_CheckSignals();
    PyGILState_Release(gil);
    return raised;
}

static PyObject *copy(PyObject *self, PyObject *args)
{
    PyObject *to;
    const char *label;
    int verify;
    struct tiercel_copied done = {.stage = 0};
    struct tiercel_error err = {0};
    int rc;
    if (!PyArg_ParseTuple(args, "O!zp:copy", &pool_type, &to, &label, &verify))
        return NULL;
    const struct tiercel_copy_options options = {.flags = verify ? 0 : TIERCEL_COPY_UNVERIFIED,
                                                 .progress = copy_goes_on};
    struct tiercel_cont *cont = cont_begin((struct cont_object *)self);
    struct tiercel_pool *pool = cont ? pool_begin((struct pool_object *)to) : NULL;
    if (!pool) {
        if (cont)
            cont_end((struct cont_object *)self);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS rc = tiercel_cont_copy(cont, pool, label, &options, &done, &err);
    Py_END_ALLOW_THREADS pool_end((struct pool_object *)to);
    cont_end((struct cont_object *)self);
    if (rc < 0)
        return PyErr_Occurred() ? NULL : raise_struct(rc, &err);
    return uuid_new(&done.uuid);
}

static PyObject *get_closed(PyObject *self, void *Py_UNUSED(closure))
{
    struct cont_object *c = (struct cont_object *)self;
    return PyBool_FromLong(!c->cont || c->owner != getpid());
}

static PyObject *get_pool(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef((PyObject *)((struct cont_object *)self)->pool);
}

static PyGetSetDef getters[] = {{"closed", get_closed, NULL, "Whether it was closed.", NULL},
                                {"pool", get_pool, NULL, "The pool that it was opened through.", NULL},
                                {0}};

static PyMethodDef cont_methods[] = {{"close", cont_close, METH_NOARGS, "Close the handle. Twice is fine."},
                                     {"query", cont_query, METH_NOARGS, "A ContainerInfo."},
                                     {"set_attr", set_attr, METH_VARARGS, "Set an attribute; None takes it away."},
                                     {"get_attr", get_attr, METH_VARARGS, "An attribute's bytes."},
                                     {"list_attrs", list_attrs, METH_NOARGS, "The names of the attributes."},
                                     {"snap_create", snap_create, METH_VARARGS, "Keep an epoch readable."},
                                     {"snap_destroy", snap_destroy, METH_VARARGS, "Let an epoch go."},
                                     {"snap_list", snap_list, METH_NOARGS, "The epochs of the snapshots, ascending."},
                                     {"copy", copy, METH_VARARGS, "Copy it into another pool; the copy's UUID."},
                                     {"to_bytes", to_bytes, METH_NOARGS, "The handle, for another process."},
                                     {0}};

/* The methods of all files, in one table. */
static PyMethodDef all_methods[64];

static int gather(void)
{
    PyMethodDef *tables[] = {cont_methods, epoch_methods, object_methods, listing_methods};
    size_t count = 0;
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        for (PyMethodDef *method = tables[i]; method->ml_name; method++) {
            if (count + 1 >= sizeof all_methods / sizeof *all_methods)
                return -1;
            all_methods[count++] = *method;
        }
    return 0;
}

int cont_type_ready(void)
{
    if (gather() < 0) {
        PyErr_SetString(PyExc_SystemError, "tiercel: more methods than there is room for");
        return -1;
    }
    return PyType_Ready(&cont_type);
}

PyTypeObject cont_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "tiercel._tiercel.Container",
    .tp_basicsize = sizeof(struct cont_object),
    .tp_new = cont_new,
    .tp_dealloc = cont_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_doc = "A handle of a container.",
    .tp_methods = all_methods,
    .tp_getset = getters,
};
