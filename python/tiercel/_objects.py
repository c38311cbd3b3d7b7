# SPDX-License-Identifier: Apache-2.0
"""Objects at an epoch: mappings and arrays. They are cheap to make: nothing is read or written by that."""
from __future__ import annotations

import errno
import json
from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any, Union

from . import _aio, _tiercel
from ._errors import Error
from ._tiercel import IF_MISSING, IF_THERE

if TYPE_CHECKING:
    import numpy

    from ._containers import View
    from ._tiercel import Buffer

    DType = numpy.dtype[Any]
    NDArray = numpy.ndarray[Any, Any]

Key = Union[str, bytes]

# An array is the bytes that C programs reach by tiercel_array_read: records of 1 byte under empty keys. What NumPy has to know of
# them lies beside, under an akey of its own.
_DKEY, _DATA, _TYPE = b"", b"", b"numpy"


def _key_bytes(key: Key) -> bytes:
    if isinstance(key, str):
        return key.encode()
    if isinstance(key, bytes):
        return key
    raise TypeError(f"a key is str or bytes, not {type(key).__name__}")


class _Object:
    __slots__ = ("_view", "oid")

    def __init__(self, view: View, oid: int) -> None:
        self._view = view
        self.oid = oid

    @property
    def _cont(self) -> _tiercel.Container:
        return self._view.container

    @property
    def _from(self) -> int:
        return self._view.epoch

    @property
    def _fixed(self) -> int:
        """The same for what takes several calls: "now" is one epoch for all of them."""
        return self._view.epoch or self._view.container._now()

    @property
    def _to(self) -> int:
        return self._view._writable()

    def __repr__(self) -> str:
        return f"<tiercel.{type(self).__name__} {self.oid:#x} at {self._view!r}>"

    def punch(self) -> None:
        """Takes the object away, from this epoch on."""
        self._cont.punch(self._to, self.oid)


class KV(_Object, MutableMapping[bytes, bytes]):
    """A mapping from keys to bytes. Keys are bytes of up to 200; a str is its UTF-8. Values are anything with bytes in it
    (bytes, bytearray, memoryview, arrays). Iteration goes in ascending order of the keys."""

    __slots__ = ()

    def __getitem__(self, key: Key) -> bytes:
        value = self._cont.kv_get(self._from, self.oid, _key_bytes(key))
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: Key, value: Buffer) -> None:
        self._cont.kv_put(self._to, self.oid, _key_bytes(key), value)

    def __delitem__(self, key: Key) -> None:
        try:
            self._cont.kv_remove(self._to, self.oid, _key_bytes(key), IF_THERE)
        except FileNotFoundError:
            raise KeyError(key) from None

    def add(self, key: Key, value: Buffer) -> None:
        """Puts a value where none is; :class:`Exists` if there is one."""
        self._cont.kv_put(self._to, self.oid, _key_bytes(key), value, IF_MISSING)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, (str, bytes)) and self._cont.kv_get(self._from, self.oid, _key_bytes(key)) is not None

    def __iter__(self) -> Iterator[bytes]:
        anchor, epoch = None, self._fixed
        while True:
            keys, anchor = self._cont.kv_list(epoch, self.oid, anchor)
            yield from keys
            if anchor is None:
                return

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def clear(self) -> None:
        self.punch()


class Array(_Object):
    """An array: bytes, as C programs see it, or a NumPy array with shape and dtype.

    `store` and `load` take and give a whole NumPy array; slices of its first dimensions read and write a part: ``a[10:20] = x``.
    `write`, `read` and `read_into` move bytes. Nothing is copied on the way where the memory is contiguous."""

    __slots__ = ()

    # ---- bytes ----

    @property
    def nbytes(self) -> int:
        """Where it ends."""
        return self._cont.array_size(self._from, self.oid)

    def resize(self, nbytes: int) -> None:
        """Cuts it, or makes it longer with zeros."""
        self._cont.array_set_size(self._to, self.oid, nbytes)

    def clear(self, offset: int, nbytes: int) -> None:
        """Zeros, which take no space."""
        self._cont.array_punch(self._to, self.oid, offset, nbytes)

    def write(self, buffer: Buffer, offset: int = 0) -> None:
        """Writes the bytes of a contiguous buffer."""
        self._cont.array_write(self._to, self.oid, offset, buffer)

    def read_into(self, buffer: Buffer, offset: int = 0) -> int:
        """Fills a buffer; how many bytes there were before the array's end. Holes are zeros."""
        return self._cont.array_read_into(self._from, self.oid, offset, buffer)

    def read(self, nbytes: int = -1, offset: int = 0) -> bytearray:
        """That many bytes, or all to the end."""
        epoch = self._fixed
        there = max(0, self._cont.array_size(epoch, self.oid) - offset)
        out = bytearray(there if nbytes < 0 else min(nbytes, there))
        del out[self._cont.array_read_into(epoch, self.oid, offset, out):]
        return out

    async def write_async(self, buffer: Buffer, offset: int = 0) -> None:
        """The same, without waiting. The buffer must not change until then."""
        cont, epoch = self._cont, self._to
        await _aio.run(lambda q: cont.array_write(epoch, self.oid, offset, buffer, q))

    async def read_into_async(self, buffer: Buffer, offset: int = 0) -> int:
        """The same, without waiting. The buffer is not defined until then."""
        cont, epoch = self._cont, self._from
        return await _aio.run(lambda q: cont.array_read_into(epoch, self.oid, offset, buffer, q))

    # ---- NumPy ----

    def store(self, array: Any) -> None:
        """The whole of an array (or of what numpy.asarray makes one of): values, shape, dtype."""
        import numpy
        array = _contiguous(numpy.asarray(array))
        if self._cont.array_size(self._to, self.oid) > array.nbytes:
            self.resize(array.nbytes)
        kind = _described(array.dtype, array.shape)
        ios: list[_tiercel.Io] = [(_TYPE, kind, len(kind), None)]
        if array.nbytes > 0:
            ios.append((_DATA, _as_bytes(array), 1, [(0, array.nbytes)]))
        self._cont.update(self._to, self.oid, _DKEY, ios)

    def create(self, shape: Any, dtype: Any = float) -> None:
        """An array of zeros that takes no space, for parts to be written, by several processes for example."""
        import numpy
        dtype = numpy.dtype(dtype)
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        kind = _described(dtype, shape)
        self._cont.update(self._to, self.oid, _DKEY, [(_TYPE, kind, len(kind), None)])
        self.resize(0)
        self.resize(_bytes_of(dtype, shape))

    def load(self, out: Any = None) -> NDArray:
        """The whole array, new or into `out`, which must be of its shape and dtype, writable and C-contiguous."""
        epoch = self._fixed
        dtype, shape = self._kind(epoch)
        return self._load(epoch, dtype, shape, 0, out)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._kind(self._from)[1]

    @property
    def dtype(self) -> DType:
        return self._kind(self._from)[0]

    def __len__(self) -> int:
        shape = self.shape
        if not shape:
            raise TypeError("len() of an array without dimensions")
        return shape[0]

    def __getitem__(self, index: Any) -> Any:
        epoch = self._fixed
        dtype, shape = self._kind(epoch)
        start, part = _part(shape, index)
        result = self._load(epoch, dtype, part, start * dtype.itemsize, None)
        return result if part or index == () else result[()]

    def __setitem__(self, index: Any, value: Any) -> None:
        import numpy
        dtype, shape = self._kind(self._to)
        start, part = _part(shape, index)
        value = numpy.asarray(value, dtype)
        if value.shape != part:
            value = numpy.broadcast_to(value, part)
        if value.nbytes > 0:
            self.write(_as_bytes(_contiguous(value)), start * dtype.itemsize)

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray:
        array = self.load()
        return array if dtype is None else array.astype(dtype, copy=False)

    def _load(self, epoch: int, dtype: DType, shape: tuple[int, ...], offset: int, out: Any) -> NDArray:
        import numpy
        if out is None:
            out = numpy.empty(shape, dtype)
        elif not isinstance(out, numpy.ndarray) or out.dtype != dtype or out.shape != shape:
            raise ValueError(f"out must be an array of shape {shape} and dtype {dtype}")
        elif not (out.flags.c_contiguous and out.flags.writeable):
            raise ValueError("out must be writable and C-contiguous")
        if out.nbytes > 0 and self._cont.array_read_into(epoch, self.oid, offset, _as_bytes(out)) < out.nbytes:
            raise ValueError(f"{self!r} is shorter than its shape says")
        array: NDArray = out
        return array

    def _kind(self, epoch: int) -> tuple[DType, tuple[int, ...]]:
        import numpy
        kind = bytearray(1024)
        try:
            (_, length), = self._cont.fetch(epoch, self.oid, _DKEY, [(_TYPE, kind, 0, None)], IF_THERE)
        except FileNotFoundError:
            raise ValueError(f"{self!r} was not stored as a NumPy array: read its bytes") from None
        except Error as e:
            if e.errno != errno.ENOBUFS:
                raise  # else: a dtype with very many fields
            kind = bytearray(1 << 20)
            (_, length), = self._cont.fetch(epoch, self.oid, _DKEY, [(_TYPE, kind, 0, None)], IF_THERE)
        text = json.loads(kind[:length])
        return numpy.dtype(_tuples(text["dtype"])), tuple(text["shape"])


def _described(dtype: DType, shape: tuple[int, ...]) -> bytes:
    if dtype.hasobject:
        raise TypeError(f"arrays of dtype {dtype} hold addresses of objects, which mean nothing in a file")
    descr = dtype.str if dtype.fields is None else dtype.descr
    return json.dumps({"dtype": descr, "shape": shape}).encode()


def _tuples(descr: Any) -> Any:
    """JSON has no tuples, and numpy.dtype wants them for fields and for their shapes."""
    if not isinstance(descr, list):
        return descr
    return [(name, _tuples(kind), *(tuple(shape) for shape in rest)) for name, kind, *rest in descr]


def _bytes_of(dtype: DType, shape: tuple[int, ...]) -> int:
    size = dtype.itemsize
    for n in shape:
        size *= n
    return size


def _contiguous(array: NDArray) -> NDArray:
    import numpy
    return array if array.flags.c_contiguous else numpy.ascontiguousarray(array)


def _as_bytes(array: NDArray) -> NDArray:
    """The same memory, as bytes: some dtypes (datetime64, float16) are not known to the buffer protocol."""
    import numpy
    flat: NDArray = array.reshape(-1).view(numpy.uint8)
    return flat


def _part(shape: tuple[int, ...], index: Any) -> tuple[int, tuple[int, ...]]:
    """Where the part begins, in elements, and its shape. Parts are contiguous: ints for the first dimensions, then maybe one slice."""
    index = index if isinstance(index, tuple) else (index,)
    if index == (Ellipsis,):
        return 0, shape
    if len(index) > len(shape):
        raise IndexError(f"too many indices: the array has {len(shape)} dimensions")
    below = [1]  # elements of what one step of each dimension spans
    for n in reversed(shape):
        below.insert(0, below[0] * n)
    start = 0
    for dim, i in enumerate(index):
        if isinstance(i, slice):
            first, last, step = i.indices(shape[dim])
            rest = index[dim + 1:]
            if step != 1 or any(r != slice(None) for r in rest):
                raise IndexError("only contiguous parts can be read or written: ints, then at most one slice without a step")
            count = max(0, last - first)
            return start + first * below[dim + 1], (count, *shape[dim + 1:])
        i = i.__index__()
        if not -shape[dim] <= i < shape[dim]:
            raise IndexError(f"index {i} is out of bounds for dimension {dim} of {shape[dim]}")
        start += (i + shape[dim] if i < 0 else i) * below[dim + 1]
    return start, shape[len(index):]
