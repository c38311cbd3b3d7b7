// SPDX-License-Identifier: Apache-2.0
// Pools. See ext.h.
#include <errno.h>
#include <unistd.h>

#include "ext.h"

#define HANDLE_BYTES_MAX 1024

struct tiercel_pool *pool_begin(struct pool_object *pool)
{
    if (!pool->pool) {
        raise_error(-EBADF, "the pool is closed");
        return NULL;
    }
    if (pool->owner != getpid()) {
        raise_error(-EBADF, "the pool was connected before the fork, by another process: connect anew");
        return NULL;
    }
    pool->users++;
    return pool->pool;
}

void pool_end(struct pool_object *pool)
{
    pool->users--;
}

/* Pool(uri, flags), or Pool(bytes) of another process's. */
static PyObject *pool_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    struct tiercel_error err = {0};
    struct tiercel_pool *pool = NULL;
    const char *uri = NULL, *bytes = NULL;
    Py_ssize_t len = 0;
    unsigned flags = TIERCEL_RW;
    int rc;
    bool shared = PyTuple_GET_SIZE(args) == 1 && PyBytes_Check(PyTuple_GET_ITEM(args, 0));
    if (kwargs && PyDict_Size(kwargs) > 0)
        return PyErr_Format(PyExc_TypeError, "Pool takes no keywords");
    if (shared ? !PyArg_ParseTuple(args, "y#:Pool", &bytes, &len) : !PyArg_ParseTuple(args, "s|I:Pool", &uri, &flags))
        return NULL;
    struct pool_object *self = (struct pool_object *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    self->owner = getpid();
    Py_BEGIN_ALLOW_THREADS rc = shared ? tiercel_pool_global2local(&pool, bytes, (size_t)len, &err)
                                       : tiercel_pool_connect(&pool, uri, flags, &err);
    Py_END_ALLOW_THREADS if (rc < 0)
    {
        Py_DECREF((PyObject *)self);
        return raise_struct(rc, &err);
    }
    self->pool = pool;
    return (PyObject *)self;
}

static void pool_dealloc(PyObject *self)
{
    struct pool_object *p = (struct pool_object *)self;
    if (p->pool && p->owner == getpid()) {
        Py_BEGIN_ALLOW_THREADS(void) tiercel_pool_disconnect(p->pool);
        Py_END_ALLOW_THREADS
    }
    Py_TYPE(self)->tp_free(self);
}

static PyObject *pool_close(PyObject *self, PyObject *Py_UNUSED(none))
{
    struct pool_object *p = (struct pool_object *)self;
    struct tiercel_pool *pool = p->pool;
    int rc;
    if (!pool || p->owner != getpid())
        Py_RETURN_NONE;
    if (p->users > 0)
        return raise_error(-EBUSY, "another thread uses the pool: let it end first");
    p->pool = NULL;
    Py_BEGIN_ALLOW_THREADS rc = tiercel_pool_disconnect(pool);
    Py_END_ALLOW_THREADS if (rc < 0) return raise_why(rc);
    Py_RETURN_NONE;
}

static PyObject *pool_query(PyObject *self, PyObject *Py_UNUSED(none))
{
    struct tiercel_pool_info info;
    int rc;
    struct tiercel_pool *pool = pool_begin((struct pool_object *)self);
    if (!pool)
        return NULL;
    Py_BEGIN_ALLOW_THREADS rc = tiercel_pool_query(pool, &info);
    Py_END_ALLOW_THREADS pool_end((struct pool_object *)self);
    return rc < 0 ? raise_why(rc) : pool_info_new(&info);
}

/* The event is ours: it has ended before this returns. 0, -1 with an exception. */
static int wait_in(struct tiercel_pool *pool, struct tiercel_queue *queue, struct tiercel_pool_health *now,
                   int timeout_ms)
{
    struct tiercel_event event, *ended;
    int rc = tiercel_event_init(&event, queue, NULL), slept, polled;
    if (rc == 0)
        rc = tiercel_pool_wait(pool, now, &event);
    if (rc < 0)
        return raise_why(rc), -1;
    slept = call_sleep_on(queue, timeout_ms);
    if (slept <= 0)
        (void)tiercel_event_abort(&event);
    Py_BEGIN_ALLOW_THREADS polled = tiercel_queue_poll(queue, TIERCEL_FOREVER, &ended, 1);
    Py_END_ALLOW_THREADS if (polled != 1) Py_FatalError("tiercel: a call was lost by its queue");
    rc = event.error;
    if (slept == 0 && rc == -ECANCELED)
        raise_error(-ETIMEDOUT, "the time is over, and nothing has changed");
    else if (slept >= 0 && rc < 0)
        raise_error(rc, tiercel_why(&event));
    (void)tiercel_event_fini(&event);
    return slept < 0 || rc < 0 ? -1 : 0;
}

static PyObject *pool_wait(PyObject *self, PyObject *args)
{
    const char *state;
    unsigned long long version;
    int timeout_ms = TIERCEL_FOREVER;
    if (!PyArg_ParseTuple(args, "sK|i:health_wait", &state, &version, &timeout_ms))
        return NULL;
    struct tiercel_pool_health now = {.map_version = version, .asked = *state != 0};
    for (uint32_t i = TIERCEL_POOL_UNKNOWN; i <= TIERCEL_POOL_UNAVAILABLE; i++)
        if (strcmp(state, tiercel_pool_state_name(i)) == 0)
            now.state = i;
    struct tiercel_queue *queue;
    int rc = tiercel_queue_create(&queue);
    if (rc < 0)
        return raise_why(rc);
    struct tiercel_pool *pool = pool_begin((struct pool_object *)self);
    rc = pool ? wait_in(pool, queue, &now, timeout_ms) : -1;
    if (pool)
        pool_end((struct pool_object *)self);
    (void)tiercel_queue_destroy(queue, 0);
    return rc < 0 ? NULL : pool_health_new(&now);
}

static PyObject *pool_cont_create(PyObject *self, PyObject *args)
{
    struct tiercel_error err = {0};
    struct tiercel_uuid uuid;
    const char *label;
    int rc;
    if (!PyArg_ParseTuple(args, "z:cont_create", &label))
        return NULL;
    struct tiercel_pool *pool = pool_begin((struct pool_object *)self);
    if (!pool)
        return NULL;
    Py_BEGIN_ALLOW_THREADS rc = tiercel_cont_create(pool, label, &uuid, &err);
    Py_END_ALLOW_THREADS pool_end((struct pool_object *)self);
    return rc < 0 ? raise_struct(rc, &err) : uuid_new(&uuid);
}

static PyObject *pool_cont_destroy(PyObject *self, PyObject *args)
{
    struct tiercel_error err = {0};
    const char *name;
    unsigned flags = 0;
    int rc;
    if (!PyArg_ParseTuple(args, "s|I:cont_destroy", &name, &flags))
        return NULL;
    struct tiercel_pool *pool = pool_begin((struct pool_object *)self);
    if (!pool)
        return NULL;
    Py_BEGIN_ALLOW_THREADS rc = tiercel_cont_destroy(pool, name, flags, &err);
    Py_END_ALLOW_THREADS pool_end((struct pool_object *)self);
    if (rc < 0)
        return raise_struct(rc, &err);
    Py_RETURN_NONE;
}

static PyObject *pool_cont_evict(PyObject *self, PyObject *args)
{
    struct tiercel_error err = {0};
    const char *name;
    int rc;
    if (!PyArg_ParseTuple(args, "s:cont_evict", &name))
        return NULL;
    struct tiercel_pool *pool = pool_begin((struct pool_object *)self);
    if (!pool)
        return NULL;
    Py_BEGIN_ALLOW_THREADS rc = tiercel_cont_evict(pool, name, &err);
    Py_END_ALLOW_THREADS pool_end((struct pool_object *)self);
    return rc < 0 ? raise_struct(rc, &err) : PyLong_FromLong(rc);
}

/* Called without the GIL. */
static int list_one(void *list, const struct tiercel_cont_info *info)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    int rc = append(list, cont_info_new(info)) < 0;
    PyGILState_Release(gil);
    return rc;
}

static PyObject *pool_cont_list(PyObject *self, PyObject *Py_UNUSED(none))
{
    int rc;
    PyObject *list = PyList_New(0);
    struct tiercel_pool *pool = list ? pool_begin((struct pool_object *)self) : NULL;
    if (!pool) {
        Py_XDECREF(list);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS rc = tiercel_cont_list(pool, list_one, list);
    Py_END_ALLOW_THREADS pool_end((struct pool_object *)self);
    if (rc == 0)
        return list;
    Py_DECREF(list);
    return rc < 0 ? raise_why(rc) : NULL;
}

/* Called without the GIL. */
static int list_handle(void *list, const struct tiercel_handle_info *info)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    int rc = append(list, handle_info_new(info)) < 0;
    PyGILState_Release(gil);
    return rc;
}

static PyObject *pool_handles(PyObject *self, PyObject *args)
{
    const char *name;
    int rc;
    if (!PyArg_ParseTuple(args, "s:cont_list_handles", &name))
        return NULL;
    PyObject *list = PyList_New(0);
    struct tiercel_pool *pool = list ? pool_begin((struct pool_object *)self) : NULL;
    if (!pool) {
        Py_XDECREF(list);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS rc = tiercel_cont_list_handles(pool, name, list_handle, list);
    Py_END_ALLOW_THREADS pool_end((struct pool_object *)self);
    if (rc == 0)
        return list;
    Py_DECREF(list);
    return rc < 0 ? raise_why(rc) : NULL;
}

static PyObject *pool_classes(PyObject *self, PyObject *Py_UNUSED(args))
{
    unsigned classes[32], count = 32;
    char name[TIERCEL_CLASS_NAME];
    struct tiercel_pool *pool = pool_begin((struct pool_object *)self);
    if (!pool)
        return NULL;
    int rc = tiercel_pool_classes(pool, classes, &count);
    pool_end((struct pool_object *)self);
    PyObject *list = rc == 0 ? PyList_New(0) : raise_why(rc);
    for (unsigned i = 0; list && i < count && i < 32; i++) {
        (void)tiercel_class_name(classes[i], name);
        if (append(list, PyUnicode_FromString(name)) < 0)
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *pool_get_prop(PyObject *self, PyObject *args)
{
    struct tiercel_error err = {0};
    const char *name, *prop;
    char value[256];
    int rc;
    if (!PyArg_ParseTuple(args, "ss:cont_get_prop", &name, &prop))
        return NULL;
    struct tiercel_pool *pool = pool_begin((struct pool_object *)self);
    if (!pool)
        return NULL;
    Py_BEGIN_ALLOW_THREADS rc = tiercel_cont_get_prop(pool, name, prop, value, sizeof value, &err);
    Py_END_ALLOW_THREADS pool_end((struct pool_object *)self);
    return rc < 0 ? raise_struct(rc, &err) : PyUnicode_FromString(value);
}

static PyObject *pool_set_prop(PyObject *self, PyObject *args)
{
    struct tiercel_error err = {0};
    const char *name, *prop, *value;
    int rc;
    if (!PyArg_ParseTuple(args, "sss:cont_set_prop", &name, &prop, &value))
        return NULL;
    struct tiercel_pool *pool = pool_begin((struct pool_object *)self);
    if (!pool)
        return NULL;
    Py_BEGIN_ALLOW_THREADS rc = tiercel_cont_set_prop(pool, name, prop, value, &err);
    Py_END_ALLOW_THREADS pool_end((struct pool_object *)self);
    if (rc < 0)
        return raise_struct(rc, &err);
    Py_RETURN_NONE;
}

static void tell_one(void *list, const char *finding)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    if (append(list, PyUnicode_FromString(finding)) < 0)
        PyErr_Clear(); /* the count will tell that one is missing */
    PyGILState_Release(gil);
}

static PyObject *pool_check(PyObject *self, PyObject *args)
{
    int rc, repair = 0;
    if (!PyArg_ParseTuple(args, "|p:check", &repair))
        return NULL;
    PyObject *list = PyList_New(0);
    struct tiercel_pool *pool = list ? pool_begin((struct pool_object *)self) : NULL;
    if (!pool) {
        Py_XDECREF(list);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS rc = tiercel_pool_check(pool, repair, tell_one, list);
    Py_END_ALLOW_THREADS pool_end((struct pool_object *)self);
    if (rc < 0) {
        Py_DECREF(list);
        return raise_why(rc);
    }
    return Py_BuildValue("(iN)", rc, list);
}

static PyObject *pool_to_bytes(PyObject *self, PyObject *Py_UNUSED(none))
{
    char bytes[HANDLE_BYTES_MAX];
    size_t len = sizeof bytes;
    int rc;
    struct tiercel_pool *pool = pool_begin((struct pool_object *)self);
    if (!pool)
        return NULL;
    Py_BEGIN_ALLOW_THREADS rc = tiercel_pool_local2global(pool, bytes, &len);
    Py_END_ALLOW_THREADS pool_end((struct pool_object *)self);
    return rc < 0 ? raise_why(rc) : PyBytes_FromStringAndSize(bytes, (Py_ssize_t)len);
}

static PyObject *pool_closed(PyObject *self, void *Py_UNUSED(closure))
{
    struct pool_object *p = (struct pool_object *)self;
    return PyBool_FromLong(!p->pool || p->owner != getpid());
}

static PyGetSetDef pool_getters[] = {{"closed", pool_closed, NULL, "Whether it was closed.", NULL}, {0}};

static PyMethodDef pool_methods[] = {
    {"close", pool_close, METH_NOARGS, "Disconnect. Twice is fine."},
    {"query", pool_query, METH_NOARGS, "A PoolInfo."},
    {"health_wait", pool_wait, METH_VARARGS, "(state, map_version, timeout_ms=-1): a PoolHealth."},
    {"cont_create", pool_cont_create, METH_VARARGS, "Make a container; its UUID."},
    {"cont_destroy", pool_cont_destroy, METH_VARARGS, "Remove a container."},
    {"cont_evict", pool_cont_evict, METH_VARARGS, "Close a container for all."},
    {"cont_list", pool_cont_list, METH_NOARGS, "A list of ContainerInfo."},
    {"cont_list_handles", pool_handles, METH_VARARGS, "A list of HandleInfo."},
    {"pool_classes", pool_classes, METH_NOARGS, "Names of the object classes it offers."},
    {"cont_get_prop", pool_get_prop, METH_VARARGS, "(container, property)"},
    {"cont_set_prop", pool_set_prop, METH_VARARGS, "(container, property, value)"},
    {"check", pool_check, METH_VARARGS, "(damaged, [sentences])"},
    {"to_bytes", pool_to_bytes, METH_NOARGS, "The connection, for another process."},
    {0}};

PyTypeObject pool_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "tiercel._tiercel.Pool",
    .tp_basicsize = sizeof(struct pool_object),
    .tp_new = pool_new,
    .tp_dealloc = pool_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_doc = "A connection to a pool.",
    .tp_methods = pool_methods,
    .tp_getset = pool_getters,
};
