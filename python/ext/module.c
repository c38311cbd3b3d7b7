// SPDX-License-Identifier: Apache-2.0
// The module tiercel._tiercel: exceptions, functions of pools that are not connected, and constants. See ext.h.
#include <errno.h>

#include "ext.h"

static PyObject *error_types; /* {errno: class}, filled by tiercel/_errors.py */

PyObject *raise_error(int code, const char *sentence)
{
    PyObject *number = PyLong_FromLong(-code), *type, *args;
    if (!number)
        return NULL;
    type = PyDict_GetItemWithError(error_types, number); /* borrowed */
    if (!type)
        type = PyExc_OSError;
    args = Py_BuildValue("(Os)", number, sentence && *sentence ? sentence : tiercel_strerror(code));
    if (args)
        PyErr_SetObject(type, args);
    Py_XDECREF(args);
    Py_DECREF(number);
    return NULL;
}

PyObject *raise_why(int code)
{
    return raise_error(code, tiercel_why(NULL));
}

PyObject *raise_struct(int code, const struct tiercel_error *err)
{
    return raise_error(code, err->message);
}

static PyObject *create(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *uri;
    struct tiercel_pool_options options = {0};
    struct tiercel_error err = {0};
    int rc;
    if (!PyArg_ParseTuple(args, "s|O&zz:create_pool", &uri, parse_u64, &options.size_bytes, &options.nodes,
                          &options.classes))
        return NULL;
    Py_BEGIN_ALLOW_THREADS rc = tiercel_pool_create_with(uri, &options, &err);
    Py_END_ALLOW_THREADS if (rc < 0) return raise_struct(rc, &err);
    Py_RETURN_NONE;
}

static PyObject *evict(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *uri;
    struct tiercel_error err = {0};
    int rc;
    if (!PyArg_ParseTuple(args, "s:evict_pool", &uri))
        return NULL;
    Py_BEGIN_ALLOW_THREADS rc = tiercel_pool_evict(uri, &err);
    Py_END_ALLOW_THREADS if (rc < 0) return raise_struct(rc, &err);
    Py_RETURN_NONE;
}

static PyObject *destroy(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *uri;
    struct tiercel_error err = {0};
    unsigned flags = 0;
    int rc;
    if (!PyArg_ParseTuple(args, "s|I:destroy_pool", &uri, &flags))
        return NULL;
    Py_BEGIN_ALLOW_THREADS rc = tiercel_pool_destroy(uri, flags, &err);
    Py_END_ALLOW_THREADS if (rc < 0) return raise_struct(rc, &err);
    Py_RETURN_NONE;
}

/* Names of object classes are words of the library's; a wrong one is a ValueError. */
static PyObject *oid_of_class(PyObject *Py_UNUSED(module), PyObject *args)
{
    struct tiercel_oid oid;
    const char *name;
    unsigned object_class;
    if (!PyArg_ParseTuple(args, "O&s:oid_of_class", parse_oid, &oid, &name))
        return NULL;
    if (tiercel_class_parse(name, &object_class) != 0)
        return PyErr_Format(PyExc_ValueError, "'%s' is no object class; S, RP_2, RP_3, EC_2P1 are some, and default",
                            name);
    return oid_new(tiercel_oid_of_class(oid, object_class));
}

static PyMethodDef functions[] = {{"create_pool", create, METH_VARARGS, "Make a pool."},
                                  {"evict_pool", evict, METH_VARARGS, "End all connections of all processes."},
                                  {"destroy_pool", destroy, METH_VARARGS, "Remove a pool and all that is in it."},
                                  {"oid_of_class", oid_of_class, METH_VARARGS,
                                   "(oid, name): the number of an object of that class: \"EC_2P1\", \"default\"."},
                                  {0}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "tiercel._tiercel",
    .m_doc = "The public interface of libtiercel, call by call. Use tiercel, which is made of it.",
    .m_size = -1,
    .m_methods = functions,
};

static int add_constants(PyObject *module)
{
    static const struct {
        const char *name;
        long value;
    } constants[] = {
        {"RO", TIERCEL_RO},
        {"RW", TIERCEL_RW},
        {"EX", TIERCEL_EX},
        {"NOSLIP", TIERCEL_NOSLIP},
        {"FORCE", TIERCEL_FORCE},
        {"IF_MISSING", TIERCEL_IF_MISSING},
        {"IF_THERE", TIERCEL_IF_THERE},
        {"COMMITTED", TIERCEL_COMMITTED},
        {"LOCK_SHARED", TIERCEL_LOCK_SHARED},
        {"LOCK_EXCLUSIVE", TIERCEL_LOCK_EXCLUSIVE},
        {"KEY_MAX", TIERCEL_KEY_MAX},
    };
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++)
        if (PyModule_AddIntConstant(module, constants[i].name, constants[i].value) < 0)
            return -1;
    if (PyModule_AddStringConstant(module, "version", tiercel_version()) < 0)
        return -1;
    PyObject *max = PyLong_FromUnsignedLongLong(TIERCEL_EPOCH_MAX);
    int rc = PyModule_AddObjectRef(module, "EPOCH_MAX", max); /* an exception if there is none */
    Py_XDECREF(max);
    return rc;
}

static int add_types(PyObject *module)
{
    return cont_type_ready() < 0 || PyModule_AddType(module, &pool_type) < 0 ||
                   PyModule_AddType(module, &cont_type) < 0 || PyModule_AddType(module, &queue_type) < 0 ||
                   PyModule_AddType(module, &call_type) < 0 || PyModule_AddType(module, &lock_type) < 0 ||
                   values_ready(module) < 0
               ? -1
               : 0;
}

PyMODINIT_FUNC PyInit__tiercel(void);

PyMODINIT_FUNC PyInit__tiercel(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (!module)
        return NULL;
    error_types = PyDict_New();
    if (!error_types || PyModule_AddObjectRef(module, "error_types", error_types) < 0 || add_constants(module) < 0 ||
        add_types(module) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
