// SPDX-License-Identifier: Apache-2.0
// What there is in a container: objects, keys, extents, differences. Listings come in pieces: each function returns
// (entries, anchor), with an anchor of None at the end. See ext.h.
#include "ext.h"

#define KEYS_A_PIECE    256u
#define ENTRIES_A_PIECE 256u

/* The anchor of a listing, as bytes; None: at the beginning. */
static int parse_anchor(PyObject *value, void *anchor)
{
    if (value == Py_None)
        return 1;
    if (!PyBytes_Check(value) || PyBytes_GET_SIZE(value) != sizeof(struct tiercel_anchor)) {
        PyErr_SetString(PyExc_TypeError, "an anchor is what the last call has returned, or None");
        return 0;
    }
    memcpy(anchor, PyBytes_AS_STRING(value), sizeof(struct tiercel_anchor));
    return 1;
}

/* Consumes the list. */
static PyObject *piece(PyObject *list, const struct tiercel_anchor *anchor)
{
    if (!list)
        return NULL;
    PyObject *next = anchor->end ? Py_NewRef(Py_None) : PyBytes_FromStringAndSize((const char *)anchor, sizeof *anchor);
    return Py_BuildValue("(NN)", list, next);
}

static PyObject *objects(PyObject *self, PyObject *args)
{
    struct tiercel_oid oids[ENTRIES_A_PIECE];
    struct tiercel_anchor anchor = {0};
    unsigned count = ENTRIES_A_PIECE;
    uint64_t epoch;
    int rc;
    if (!PyArg_ParseTuple(args, "O&|O&:list_objects", parse_u64, &epoch, parse_anchor, &anchor))
        return NULL;
    struct tiercel_cont *cont = cont_begin((struct cont_object *)self);
    if (!cont)
        return NULL;
    Py_BEGIN_ALLOW_THREADS rc = tiercel_list_objects(cont, epoch, &anchor, oids, &count, NULL);
    Py_END_ALLOW_THREADS cont_end((struct cont_object *)self);
    PyObject *list = rc < 0 ? raise_why(rc) : PyList_New(0);
    for (unsigned i = 0; list && i < count; i++)
        if (append(list, oid_new(oids[i])) < 0)
            Py_CLEAR(list);
    return piece(list, &anchor);
}

struct key_listing {
    uint64_t epoch;
    struct tiercel_oid oid;
    Py_buffer dkey; /* none: dkeys are listed */
    bool flat;      /* of a key-value object */
    struct tiercel_anchor anchor;
    unsigned count;
    struct tiercel_bytes keys[KEYS_A_PIECE];
    char buf[KEYS_A_PIECE * TIERCEL_KEY_MAX];
};

static int list_some(struct key_listing *l, struct tiercel_cont *cont)
{
    struct tiercel_bytes dkey = {.at = l->dkey.buf, .len = (size_t)l->dkey.len};
    l->count = KEYS_A_PIECE;
    if (l->flat)
        return tiercel_kv_list(cont, l->epoch, l->oid, &l->anchor, l->buf, sizeof l->buf, l->keys, &l->count, NULL);
    if (!l->dkey.obj)
        return tiercel_list_dkeys(cont, l->epoch, l->oid, &l->anchor, l->buf, sizeof l->buf, l->keys, &l->count, NULL);
    return tiercel_list_akeys(cont, l->epoch, l->oid, dkey, &l->anchor, l->buf, sizeof l->buf, l->keys, &l->count,
                              NULL);
}

static PyObject *keys_of(PyObject *self, struct key_listing *l)
{
    int rc;
    struct tiercel_cont *cont = cont_begin((struct cont_object *)self);
    if (!cont)
        return NULL;
    Py_BEGIN_ALLOW_THREADS rc = list_some(l, cont);
    Py_END_ALLOW_THREADS cont_end((struct cont_object *)self);
    PyObject *list = rc < 0 ? raise_why(rc) : PyList_New(0);
    for (unsigned i = 0; list && i < l->count; i++)
        if (append(list, bytes_new(l->keys[i])) < 0)
            Py_CLEAR(list);
    return piece(list, &l->anchor);
}

static PyObject *list_keys(PyObject *self, PyObject *args, const char *format, bool flat)
{
    PyObject *result = NULL;
    struct key_listing *l = PyMem_Calloc(1, sizeof *l);
    if (!l)
        return PyErr_NoMemory();
    l->flat = flat;
    if (PyArg_ParseTuple(args, format, parse_u64, &l->epoch, parse_oid, &l->oid, parse_anchor, &l->anchor))
        result = keys_of(self, l);
    PyMem_Free(l);
    return result;
}

static PyObject *kv_list(PyObject *self, PyObject *args)
{
    return list_keys(self, args, "O&O&|O&:kv_list", true);
}

static PyObject *dkeys(PyObject *self, PyObject *args)
{
    return list_keys(self, args, "O&O&|O&:list_dkeys", false);
}

static PyObject *akeys(PyObject *self, PyObject *args)
{
    PyObject *result = NULL;
    struct key_listing *l = PyMem_Calloc(1, sizeof *l);
    if (!l)
        return PyErr_NoMemory();
    if (PyArg_ParseTuple(args, "O&O&y*|O&:list_akeys", parse_u64, &l->epoch, parse_oid, &l->oid, &l->dkey, parse_anchor,
                         &l->anchor))
        result = keys_of(self, l);
    PyBuffer_Release(&l->dkey);
    PyMem_Free(l);
    return result;
}

/* ([(first, count)], anchor, record_size) */
static PyObject *extents(PyObject *self, PyObject *args)
{
    struct tiercel_extent found[ENTRIES_A_PIECE];
    struct tiercel_anchor anchor = {0};
    struct tiercel_oid oid;
    uint64_t epoch, record_size = 0;
    unsigned count = ENTRIES_A_PIECE;
    Py_buffer d, a;
    int rc = 0;
    if (!PyArg_ParseTuple(args, "O&O&y*y*|O&:list_extents", parse_u64, &epoch, parse_oid, &oid, &d, &a, parse_anchor,
                          &anchor))
        return NULL;
    struct tiercel_cont *cont = cont_begin((struct cont_object *)self);
    if (cont) {
        struct tiercel_bytes dkey = {.at = d.buf, .len = (size_t)d.len}, akey = {.at = a.buf, .len = (size_t)a.len};
        Py_BEGIN_ALLOW_THREADS rc =
            tiercel_list_extents(cont, epoch, oid, dkey, akey, &anchor, found, &count, &record_size, NULL);
        Py_END_ALLOW_THREADS cont_end((struct cont_object *)self);
    }
    PyBuffer_Release(&d);
    PyBuffer_Release(&a);
    if (!cont)
        return NULL;
    PyObject *list = rc < 0 ? raise_why(rc) : PyList_New(0);
    for (unsigned i = 0; list && i < count; i++)
        if (append(list, Py_BuildValue("(KK)", found[i].first, found[i].count)) < 0)
            Py_CLEAR(list);
    PyObject *result = piece(list, &anchor);
    return result ? Py_BuildValue("(NK)", result, record_size) : NULL;
}

static PyObject *allocate(PyObject *self, PyObject *args)
{
    uint64_t count = 1, first;
    int rc;
    if (!PyArg_ParseTuple(args, "|O&:oid_allocate", parse_u64, &count))
        return NULL;
    struct tiercel_cont *cont = cont_begin((struct cont_object *)self);
    if (!cont)
        return NULL;
    Py_BEGIN_ALLOW_THREADS rc = tiercel_oid_allocate(cont, count, &first);
    Py_END_ALLOW_THREADS cont_end((struct cont_object *)self);
    return rc < 0 ? raise_why(rc) : PyLong_FromUnsignedLongLong(first);
}

/* Called without the GIL. */
static int change_one(void *list, const struct tiercel_change *change)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    int rc = append(list, change_new(change)) < 0;
    PyGILState_Release(gil);
    return rc;
}

static PyObject *diff(PyObject *self, PyObject *args)
{
    uint64_t from, to;
    int rc;
    if (!PyArg_ParseTuple(args, "O&O&:diff", parse_u64, &from, parse_u64, &to))
        return NULL;
    PyObject *list = PyList_New(0);
    struct tiercel_cont *cont = list ? cont_begin((struct cont_object *)self) : NULL;
    if (!cont) {
        Py_XDECREF(list);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS rc = tiercel_cont_diff(cont, from, to, change_one, list);
    Py_END_ALLOW_THREADS cont_end((struct cont_object *)self);
    if (rc == 0)
        return list;
    Py_DECREF(list);
    return rc < 0 ? raise_why(rc) : NULL;
}

PyMethodDef listing_methods[] = {{"list_objects", objects, METH_VARARGS, "(epoch, anchor=None): ([oid], anchor)"},
                                 {"kv_list", kv_list, METH_VARARGS, "(epoch, oid, anchor=None): ([key], anchor)"},
                                 {"list_dkeys", dkeys, METH_VARARGS, "(epoch, oid, anchor=None): ([dkey], anchor)"},
                                 {"list_akeys", akeys, METH_VARARGS, "(epoch, oid, dkey, anchor=None)"},
                                 {"list_extents", extents, METH_VARARGS, "(epoch, oid, dkey, akey, anchor=None)"},
                                 {"oid_allocate", allocate, METH_VARARGS, "(count=1): the first of that many ids."},
                                 {"cont_diff", diff, METH_VARARGS, "(from, to): [Change]"},
                                 {0}};
