// SPDX-License-Identifier: Apache-2.0
// Values of the public interface as values of Python, and back. See ext.h.
#include "ext.h"

PyTypeObject *epochs_type, *pool_info_type, *pool_health_type, *cont_info_type, *handle_info_type, *change_type;

int parse_u64(PyObject *value, void *u64)
{
    PyObject *index = PyNumber_Index(value); /* NumPy's integers, too */
    if (!index)
        return 0;
    uint64_t number = PyLong_AsUnsignedLongLong(index);
    Py_DECREF(index);
    if (number == UINT64_MAX && PyErr_Occurred())
        return 0;
    *(uint64_t *)u64 = number;
    return 1;
}

int parse_oid(PyObject *value, void *oid)
{
    struct tiercel_oid *out = oid;
    if (PyTuple_Check(value) && PyTuple_GET_SIZE(value) == 2)
        return parse_u64(PyTuple_GET_ITEM(value, 0), &out->hi) && parse_u64(PyTuple_GET_ITEM(value, 1), &out->lo);
    PyObject *index = PyNumber_Index(value), *bits = PyLong_FromLong(64), *high = NULL;
    if (index && bits)
        high = PyNumber_Rshift(index, bits);
    int ok = high && parse_u64(high, &out->hi); /* negative numbers and those above 128 bits fail here */
    if (ok)
        out->lo = PyLong_AsUnsignedLongLongMask(index);
    Py_XDECREF(high);
    Py_XDECREF(bits);
    Py_XDECREF(index);
    return ok;
}

PyObject *oid_new(struct tiercel_oid oid)
{
    PyObject *high = PyLong_FromUnsignedLongLong(oid.hi), *low = PyLong_FromUnsignedLongLong(oid.lo);
    PyObject *bits = PyLong_FromLong(64), *shifted = NULL, *result = NULL;
    if (high && low && bits)
        shifted = PyNumber_Lshift(high, bits);
    if (shifted)
        result = PyNumber_Or(shifted, low);
    Py_XDECREF(shifted);
    Py_XDECREF(bits);
    Py_XDECREF(low);
    Py_XDECREF(high);
    return result;
}

PyObject *uuid_new(const struct tiercel_uuid *uuid)
{
    const uint8_t *b = uuid->bytes;
    char text[37];
    snprintf(text, sizeof text, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
    return PyUnicode_FromString(text);
}

PyObject *bytes_new(struct tiercel_bytes bytes)
{
    return PyBytes_FromStringAndSize(bytes.at, (Py_ssize_t)bytes.len);
}

int append(PyObject *list, PyObject *value)
{
    if (!value)
        return -1;
    int rc = PyList_Append(list, value);
    Py_DECREF(value);
    return rc;
}

/* A named tuple of these values; consumes them. NULL if one of them is. */
static PyObject *sequence_of(PyTypeObject *type, PyObject **values, Py_ssize_t count)
{
    PyObject *result = PyStructSequence_New(type);
    for (Py_ssize_t i = 0; i < count; i++) {
        if (result && values[i])
            PyStructSequence_SetItem(result, i, values[i]);
        else
            Py_CLEAR(result);
    }
    return result;
}

static PyObject *u64(uint64_t number)
{
    return PyLong_FromUnsignedLongLong(number);
}

PyObject *epochs_new(const struct tiercel_epochs *e)
{
    PyObject *values[] = {u64(e->hce), u64(e->lre), u64(e->lhe), u64(e->ghce), u64(e->glre), u64(e->ghpce)};
    return sequence_of(epochs_type, values, 6);
}

static PyObject *if_known(bool known, uint64_t value)
{
    return known ? u64(value) : Py_NewRef(Py_None);
}

PyObject *pool_health_new(const struct tiercel_pool_health *h)
{
    const bool targets = (h->known & TIERCEL_KNOWS_TARGETS) != 0, rebuild = (h->known & TIERCEL_KNOWS_REBUILD) != 0;
    PyObject *values[] = {PyUnicode_FromString(tiercel_pool_state_name(h->state)),
                          if_known(targets, h->map_version),
                          if_known(targets, h->targets),
                          if_known(targets, h->targets_up),
                          if_known(targets, h->targets_in),
                          if_known(targets, h->targets_disabled),
                          if_known(rebuild, h->rebuild_done),
                          if_known(rebuild, h->rebuild_total),
                          if_known(rebuild, h->missing)};
    return sequence_of(pool_health_type, values, 9);
}

PyObject *pool_info_new(const struct tiercel_pool_info *info)
{
    PyObject *values[] = {PyUnicode_DecodeFSDefault(info->uri),
                          uuid_new(&info->uuid),
                          u64(info->total_bytes),
                          u64(info->free_bytes),
                          u64(info->used_bytes),
                          u64(info->containers),
                          u64(info->redundancy),
                          pool_health_new(&info->health)};
    return sequence_of(pool_info_type, values, 8);
}

PyObject *cont_info_new(const struct tiercel_cont_info *info)
{
    PyObject *values[] = {uuid_new(&info->uuid),    PyUnicode_FromString(info->label),
                          u64(info->created_ns),    u64(info->ghce),
                          u64(info->glre),          u64(info->ghpce),
                          u64(info->readable_from), u64(info->handles),
                          u64(info->snapshots)};
    return sequence_of(cont_info_type, values, 9);
}

PyObject *handle_info_new(const struct tiercel_handle_info *info)
{
    PyObject *values[] = {uuid_new(&info->uuid),
                          PyBool_FromLong((info->flags & TIERCEL_RW) != 0),
                          PyBool_FromLong((info->flags & TIERCEL_NOSLIP) != 0),
                          PyBool_FromLong(info->ended),
                          u64(info->hce),
                          u64(info->lre),
                          u64(info->lhe)};
    return sequence_of(handle_info_type, values, 7);
}

PyObject *change_new(const struct tiercel_change *c)
{
    PyObject *extent = c->array ? Py_BuildValue("(KK)", c->extent.first, c->extent.count) : Py_NewRef(Py_None);
    PyObject *values[] = {oid_new(c->oid), bytes_new(c->dkey),         bytes_new(c->akey),
                          extent,          PyBool_FromLong(c->before), PyBool_FromLong(c->after)};
    return sequence_of(change_type, values, 6);
}

static PyStructSequence_Field epochs_fields[] = {
    {"hce", "highest epoch that this handle has committed"},
    {"lre", "lowest epoch that it refers to: what it may read stays from here on"},
    {"lhe", "lowest epoch that it holds: where it may write; EPOCH_MAX: nothing"},
    {"ghce", "highest epoch that is final for all"},
    {"glre", "lowest lre of all handles"},
    {"ghpce", "highest epoch that anybody has committed"},
    {0}};

static PyStructSequence_Field pool_fields[] = {{"uri", "where it is"},
                                               {"uuid", "its name"},
                                               {"total_bytes", "of the file system"},
                                               {"free_bytes", "of the file system"},
                                               {"used_bytes", "by the pool"},
                                               {"containers", "how many"},
                                               {"redundancy", "how many lost targets it survives"},
                                               {"health", "a PoolHealth"},
                                               {0}};

static PyStructSequence_Field health_fields[] = {
    {"state", "'healthy', 'rebuilding', 'degraded', 'unavailable', 'unknown'"},
    {"map_version", "of the map of targets. Here and below None: unknown"},
    {"targets", "what data lies on"},
    {"targets_up", "that run"},
    {"targets_in", "that are used"},
    {"targets_disabled", "not up, or not in"},
    {"rebuild_done", "copies of objects that are where they should be"},
    {"rebuild_total", "of so many"},
    {"missing", "copies that there are none of"},
    {0}};

static PyStructSequence_Field cont_fields[] = {
    {"uuid", "its name"},
    {"label", "the name that it was given, or ''"},
    {"created_ns", "since 1970"},
    {"ghce", "highest epoch that is final for all"},
    {"glre", "lowest epoch that somebody refers to"},
    {"ghpce", "highest epoch that anybody has committed"},
    {"readable_from", "every epoch from here on is readable, and the snapshots"},
    {"handles", "how many are open"},
    {"snapshots", "how many"},
    {0}};

static PyStructSequence_Field handle_fields[] = {{"uuid", "its name"},
                                                 {"writes", "whether it was opened for writing"},
                                                 {"noslip", "whether what it refers to stays when it commits"},
                                                 {"ended", "whether its processes have all ended"},
                                                 {"hce", "highest epoch that it has committed"},
                                                 {"lre", "lowest epoch that it refers to"},
                                                 {"lhe", "lowest epoch that it holds; EPOCH_MAX: nothing"},
                                                 {0}};

static PyStructSequence_Field change_fields[] = {{"oid", "the object"},
                                                 {"dkey", "its first key"},
                                                 {"akey", "its second key"},
                                                 {"extent", "(first, count) of the records of an array, or None"},
                                                 {"before", "whether there was something"},
                                                 {"after", "whether there is something"},
                                                 {0}};

int values_ready(PyObject *module)
{
    static PyStructSequence_Desc descs[] = {
        {"tiercel.Epochs", "The epochs of a container, as one of its handles sees them.", epochs_fields, 6},
        {"tiercel.PoolInfo", "What a pool says of itself.", pool_fields, 8},
        {"tiercel.PoolHealth", "How the place is in which a pool lives.", health_fields, 9},
        {"tiercel.ContainerInfo", "What a container says of itself.", cont_fields, 9},
        {"tiercel.HandleInfo", "An open handle of a container, of whichever process.", handle_fields, 7},
        {"tiercel.Change", "A value that is different in two epochs.", change_fields, 6}};
    PyTypeObject **types[] = {&epochs_type,    &pool_info_type,   &pool_health_type,
                              &cont_info_type, &handle_info_type, &change_type};
    static const char *const names[] = {"Epochs", "PoolInfo", "PoolHealth", "ContainerInfo", "HandleInfo", "Change"};
    for (int i = 0; i < 6; i++) {
        *types[i] = PyStructSequence_NewType(&descs[i]);
        if (!*types[i] || PyModule_AddObjectRef(module, names[i], (PyObject *)*types[i]) < 0)
            return -1;
    }
    return 0;
}
