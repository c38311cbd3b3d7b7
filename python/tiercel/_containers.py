# SPDX-License-Identifier: Apache-2.0
"""Pools, containers, epochs, locks."""
from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Iterator, MutableMapping
from types import TracebackType
from typing import TYPE_CHECKING, Optional, Type, Union

from . import _aio, _tiercel
from ._errors import Canceled
from ._objects import KV, Array
from ._tiercel import (EPOCH_MAX, EX, FORCE, LOCK_EXCLUSIVE, LOCK_SHARED, NOSLIP, RO, RW, Change, ContainerInfo, Epochs,
                       HandleInfo, HeldLock, PoolHealth, PoolInfo, oid_of_class)

if TYPE_CHECKING:
    from ._tiercel import Buffer

Path = Union[str, "os.PathLike[str]"]
_Type = Optional[Type[BaseException]]
_Value = Optional[BaseException]
_Trace = Optional[TracebackType]
_MODES = {"r": RO, "rw": RW, "exclusive": EX}


def _flags(mode: str) -> int:
    if mode not in _MODES:
        raise ValueError(f"mode must be one of {', '.join(map(repr, _MODES))}, not {mode!r}")
    return _MODES[mode]


def _milliseconds(timeout: float | None) -> int:
    if timeout is None:
        return -1
    if timeout < 0:
        raise ValueError("timeout must not be negative")
    return min(int(timeout * 1000), 2**31 - 1)


def create(uri: Path, *, size: int = 0, nodes: Iterable[str] = (), classes: Iterable[str] = ()) -> None:
    """Makes a pool, in a directory, or with ``rados:///name`` in a Ceph cluster. :class:`Exists`: there is one. With any of the others it gets
    RADOS pools of its own: size: bytes that it may hold, without copies; nodes: hosts that it lies on; classes: object classes that it
    offers, the default first."""
    _tiercel.create_pool(os.fspath(uri), size, ",".join(nodes) or None, ",".join(classes) or None)


def connect(uri: Path, mode: str = "rw") -> Pool:
    """Connects to a pool. mode: "r", "rw", or "exclusive": nobody else is connected. :class:`NotFound`, :class:`Busy`."""
    return Pool(os.fspath(uri), _flags(mode))


def evict(uri: Path) -> None:
    """Ends all connections of all processes to a pool; what they had not committed is discarded."""
    _tiercel.evict_pool(os.fspath(uri))


def destroy(uri: Path, force: bool = False) -> None:
    """Removes a pool. :class:`Busy`: somebody is connected; with `force` they are evicted."""
    _tiercel.destroy_pool(os.fspath(uri), FORCE if force else 0)


class Pool(_tiercel.Pool):
    """A connection to a pool; closed at the end of a ``with``. Made by :func:`connect`.

    ``check(repair=False)`` looks at everything that is stored, and returns how much of it is damaged, and its findings."""

    __slots__ = ("__weakref__",)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def info(self) -> PoolInfo:
        """Where it is, how full it is, and how."""
        return self.query()

    def wait(self, since: PoolHealth | None = None, timeout: float | None = None) -> PoolHealth:
        """Sleeps until the state or the map is another than in ``since`` (None: not at all), and says how it is: so a program learns that
        the pool has become degraded, and that this has ended. :class:`TimedOut`."""
        if since is None:
            return self.health_wait("", 0, _milliseconds(timeout))
        return self.health_wait(since.state, since.map_version or 0, _milliseconds(timeout))

    @property
    def containers(self) -> list[ContainerInfo]:
        """All containers in it."""
        return self.cont_list()

    @property
    def classes(self) -> list[str]:
        """The object classes that it offers, the default first: how data can be protected."""
        return self.pool_classes()

    def create(self, label: str | None = None, *, object_class: str = "default") -> str:
        """Makes a container; returns its UUID. :class:`Exists`: there is one with this label. object_class: of objects whose numbers name
        none (:func:`oid_of_class`); "default": the pool's first."""
        uuid = self.cont_create(label)
        try:
            if object_class != "default":
                self.cont_set_prop(uuid, "class", object_class)
        except BaseException:
            self.cont_destroy(uuid, 0)
            raise
        return uuid

    def open(self, name: str, mode: str = "rw", *, noslip: bool = False, snapshot: int = 0) -> Container:
        """Opens a container by its label or UUID. mode: "r" or "rw". noslip: what the handle refers to stays readable when it
        commits. snapshot: opens that epoch for reading."""
        if mode == "exclusive":
            raise ValueError("a container is opened for 'r' or 'rw'; connect to the pool exclusively")
        return Container(self, name, _flags(mode) | (NOSLIP if noslip else 0), snapshot)

    def open_shared(self, handle: bytes) -> Container:
        """The same handle that another process has: what its :meth:`Container.to_bytes` gave."""
        return Container(self, handle)

    def destroy(self, name: str, force: bool = False) -> None:
        """Removes a container. :class:`Busy`: somebody has it open; with `force` they are evicted."""
        self.cont_destroy(name, FORCE if force else 0)

    def rename(self, name: str, label: str) -> None:
        """Gives a container another label; "": none. Other properties: ``cont_get_prop``, ``cont_set_prop``."""
        self.cont_set_prop(name, "label", label)

    def handles(self, name: str) -> list[HandleInfo]:
        """All handles of a container, of all processes."""
        return self.cont_list_handles(name)

    def evict(self, name: str) -> int:
        """Closes all handles of a container, of all processes. How many there were."""
        return self.cont_evict(name)


class View:
    """A container at one epoch: what can be read there. ``cont.at(epoch)``."""

    __slots__ = ("container", "epoch")

    def __init__(self, container: Container, epoch: int) -> None:
        self.container = container
        self.epoch = epoch

    def __repr__(self) -> str:
        return f"<tiercel.{type(self).__name__} {self.epoch or 'now'}>"

    def kv(self, oid: int) -> KV:
        """The object as a mapping of keys to bytes."""
        return KV(self, oid)

    def array(self, oid: int) -> Array:
        """The object as an array."""
        return Array(self, oid)

    def objects(self) -> Iterator[int]:
        """The numbers of all objects in it, ascending."""
        anchor, epoch = None, self.epoch or self.container._now()
        while True:
            oids, anchor = self.container.list_objects(epoch, anchor)
            yield from oids
            if anchor is None:
                return

    def _writable(self) -> int:
        """The epoch to write at."""
        raise ValueError("this is for reading: write in a `with container.epoch() as e`, through e")


class Epoch(View):
    """An epoch that is being written: ``with cont.epoch() as e``, or ``async with``.

    At the end it is flushed and committed; an exception discards what was written in it. If the handle held nothing before, it
    holds nothing afterwards: a hold keeps later epochs from becoming final for others."""

    __slots__ = ("_lets_go", "_open")

    def __init__(self, container: Container) -> None:
        super().__init__(container, 0)
        self._lets_go = False
        self._open = False

    def _writable(self) -> int:
        if not self._open:
            raise ValueError("this epoch has ended: write in a new one")
        return self.epoch

    def _begin(self, held: int) -> None:
        if self._open or self.container._open_epoch is not None:
            raise RuntimeError("this handle has an epoch open already; open the container once more for a second one")
        self._lets_go = held == EPOCH_MAX
        self.epoch = held
        self._open = True
        self.container._open_epoch = self

    def _end(self) -> None:
        self._open = False
        self.container._open_epoch = None

    def __enter__(self) -> Epoch:
        cont = self.container
        self._begin(cont.epochs().lhe)
        if self._lets_go:
            try:
                self.epoch = cont.epoch_hold(0)
            except BaseException:
                self._end()
                raise
        return self

    def __exit__(self, kind: _Type, value: _Value, trace: _Trace) -> None:
        cont = self.container
        self._end()
        if kind is None:
            try:
                cont.epoch_commit(self.epoch)
            except BaseException:
                self._abandon()
                raise
            if self._lets_go:
                cont.epoch_hold(EPOCH_MAX)
        else:
            self._abandon()

    def _abandon(self) -> None:
        """Takes back what was written. Whoever calls raises what has gone wrong; that the handle was closed meanwhile, and all
        of it taken back by that, is nothing to add."""
        cont = self.container
        try:
            if self._lets_go:
                cont.epoch_hold(EPOCH_MAX)
            else:
                cont.epoch_discard(self.epoch, self.epoch)
        except OSError:
            pass

    async def __aenter__(self) -> Epoch:
        cont = self.container
        self._begin(cont.epochs().lhe)
        if self._lets_go:
            try:
                self.epoch = await cont.hold_async()
            except BaseException:
                self._end()
                raise
        return self

    async def __aexit__(self, kind: _Type, value: _Value, trace: _Trace) -> None:
        cont = self.container
        self._end()
        if kind is None:
            try:
                await cont.commit_async(self.epoch)
            except BaseException:
                self._abandon()
                raise
            if self._lets_go:
                await cont.hold_async(EPOCH_MAX)
        else:
            self._abandon()


class Writer(View):
    """A part of an epoch, of one of several processes that write through the same handle: ``with cont.writer(epoch) as w``.

    At the end it is flushed. One of the processes, when all have done so, commits the epoch."""

    __slots__ = ()

    def _writable(self) -> int:
        return self.epoch

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: _Type, value: _Value, trace: _Trace) -> None:
        if kind is None:
            self.container.flush(self.epoch)

    async def __aenter__(self) -> Writer:
        return self

    async def __aexit__(self, kind: _Type, value: _Value, trace: _Trace) -> None:
        if kind is None:
            await self.container.flush_async(self.epoch)


class Hold:
    """Epochs that are held: ``with cont.hold() as first``. All epochs in it follow each other; afterwards nothing is held."""

    __slots__ = ("_container", "_epoch")

    def __init__(self, container: Container, epoch: int) -> None:
        self._container = container
        self._epoch = epoch

    def __enter__(self) -> int:
        return self._container.epoch_hold(self._epoch)

    def __exit__(self, *exc: object) -> None:
        if not self._container.closed:
            self._container.epoch_hold(EPOCH_MAX)


class Lock:
    """A lock of a container, for all processes: ``with cont.lock("name") as lock``, or ``async with``.

    `epoch` and `user` (48 bytes) go from one holder to the next, if somebody has set them and the last holder of the exclusive
    lock has not died: `valid`. What is assigned to them is what the next holder is shown."""

    __slots__ = ("name", "_container", "_mode", "_timeout_ms", "_held", "_valid", "_epoch", "_user", "_changed",
                 "__weakref__")

    def __init__(self, container: Container, name: str, shared: bool, timeout: float | None) -> None:
        self.name = name
        self._container = container
        self._mode = LOCK_SHARED if shared else LOCK_EXCLUSIVE
        self._timeout_ms = _milliseconds(timeout)
        self._held: HeldLock | None = None
        self._valid, self._epoch, self._user, self._changed = False, 0, bytes(48), False

    @property
    def valid(self) -> bool:
        """Whether the value is to be believed."""
        return self._valid

    @property
    def epoch(self) -> int:
        """By convention the last epoch that was committed under this lock."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._epoch, self._changed = epoch, True

    @property
    def user(self) -> bytes:
        """48 bytes of the program's."""
        return self._user

    @user.setter
    def user(self, user: bytes) -> None:
        if len(user) > 48:
            raise ValueError("a lock's value has room for 48 bytes")
        self._user, self._changed = bytes(user).ljust(48, b"\0"), True

    def acquire(self) -> Lock:
        """:class:`Busy`: held by others, and the timeout was 0. :class:`TimedOut`."""
        self._check()
        return self._has(self._container.lock_acquire(self.name.encode(), self._mode, self._timeout_ms))

    async def acquire_async(self) -> Lock:
        """:meth:`acquire`, without waiting in this thread."""
        self._check()
        name, mode, timeout = self.name.encode(), self._mode, self._timeout_ms
        return self._has(await _aio.run(lambda q: self._container.lock_acquire(name, mode, timeout, q)))

    def release(self) -> None:
        """Lets go of it; the next holder is shown what was assigned to `epoch` and `user`."""
        held, self._held = self._held, None
        if held is None:
            raise RuntimeError("this lock is not held")
        self._container._locks.discard(self)
        if self._changed and self._mode == LOCK_EXCLUSIVE:
            held.release(self._epoch, self._user)
        else:
            held.release()

    def _check(self) -> None:
        if self._held is not None:
            raise RuntimeError("this lock is held already, by this object")

    def _has(self, held: HeldLock) -> Lock:
        self._held = held
        self._valid, self._epoch, self._user, self._changed = held.valid, held.epoch, held.user, False
        self._container._locks.add(self)
        return self

    def __enter__(self) -> Lock:
        return self.acquire()

    def __exit__(self, *exc: object) -> None:
        if self._held is not None:
            self.release()

    async def __aenter__(self) -> Lock:
        return await self.acquire_async()

    async def __aexit__(self, *exc: object) -> None:
        if self._held is not None:
            self.release()


class Attributes(MutableMapping[str, bytes]):
    """The attributes of a container: names and bytes, outside epochs."""

    __slots__ = ("_container",)

    def __init__(self, container: Container) -> None:
        self._container = container

    def __getitem__(self, name: str) -> bytes:
        try:
            return self._container.get_attr(name)
        except FileNotFoundError:
            raise KeyError(name) from None

    def __setitem__(self, name: str, value: Buffer) -> None:
        self._container.set_attr(name, value)

    def __delitem__(self, name: str) -> None:
        self[name]  # KeyError if there is none
        self._container.set_attr(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._container.list_attrs())

    def __len__(self) -> int:
        return len(self._container.list_attrs())


class Container(_tiercel.Container):
    """A handle of a container; closed at the end of a ``with``. Made by :meth:`Pool.open`.

    Reading: ``cont.kv(oid)``, ``cont.array(oid)`` show what is committed now, ``cont.at(epoch)`` an epoch. Writing:
    ``with cont.epoch() as e`` and the same through ``e``."""

    __slots__ = ("_open_epoch", "_locks", "_snapshot", "__weakref__")

    def __init__(self, pool: Pool, name: str | bytes, flags: int = RW, snapshot: int = 0) -> None:
        self._snapshot = snapshot
        self._open_epoch: Epoch | None = None
        self._locks: set[Lock] = set()

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the handle: what was not committed is discarded, locks are let go, calls that wait end with :class:`Canceled`.
        Twice is fine. :class:`Busy`: another thread is in a call on it."""
        for lock in list(self._locks):
            lock.release()
        super().close()

    def copy(self, to: Pool, label: str | None = None, *, verify: bool = True) -> str:
        """Copies all readable epochs into another pool, of any kind; returns the UUID of the copy. label: None: the same. verify: reads it all back, and
        compares. What was interrupted goes on when it is called again. :class:`Exists`: the label; :class:`Busy`: somebody copies the same."""
        return super().copy(to, label, verify)

    @property
    def info(self) -> ContainerInfo:
        """Its names, its epochs for all, how many have it open."""
        return self.query()

    @property
    def attrs(self) -> Attributes:
        """Its attributes."""
        return Attributes(self)

    # ---- objects ----

    def _now(self) -> int:
        """The epoch that is read where none is said; 0 before the first."""
        return self._snapshot or self.epochs().ghce

    def at(self, epoch: int) -> View:
        """What can be read at an epoch; 0: now."""
        return View(self, epoch)

    def kv(self, oid: int) -> KV:
        """An object as a mapping, for reading, as it is committed now."""
        return KV(View(self, 0), oid)

    def array(self, oid: int) -> Array:
        """An object as an array, for reading, as it is committed now."""
        return Array(View(self, 0), oid)

    def objects(self) -> Iterator[int]:
        """The numbers of all objects that are committed now."""
        return View(self, 0).objects()

    def new_oid(self, count: int = 1, object_class: str = "default") -> int:
        """A number for an object that nobody else gets; the first of `count` of them. Of a class: how its data is protected, "RP_3" or
        "EC_2P1" for example; "default": as the container's property "class" says."""
        return oid_of_class(self.oid_allocate(count), object_class)

    # ---- epochs ----

    def epoch(self) -> Epoch:
        """An epoch to write in: ``with cont.epoch() as e``."""
        return Epoch(self)

    def writer(self, epoch: int) -> Writer:
        """An epoch that the handle holds, to write this process's part of it: ``with cont.writer(epoch) as w``. It is flushed at
        the end, and not committed."""
        return Writer(self, epoch)

    def hold(self, epoch: int = 0) -> Hold:
        """Holds epochs from this one on (0: the first that nobody has committed), for all of a ``with``."""
        return Hold(self, epoch)

    def flush(self, epoch: int) -> Epochs:
        """All that this process has written at or below it is durable."""
        return self.epoch_flush(epoch)

    def commit(self, epoch: int) -> Epochs:
        """All that was flushed through this handle at or below it is final."""
        return self.epoch_commit(epoch)

    def discard(self, first: int, last: int | None = None) -> Epochs:
        """What was written through this handle there never was. The epochs stay held."""
        return self.epoch_discard(first, first if last is None else last)

    def slip(self, epoch: int) -> Epochs:
        """This handle reads nothing below any more."""
        return self.epoch_slip(epoch)

    def wait(self, epoch: int, timeout: float | None = None) -> Epochs:
        """Sleeps until the epoch is final for all, whoever commits it. :class:`TimedOut`, :class:`Canceled`."""
        return self.epoch_wait(epoch, _milliseconds(timeout))

    async def hold_async(self, epoch: int = 0) -> int:
        """Holds epochs from this one on; returns the first. EPOCH_MAX lets go."""
        return await _aio.run(lambda q: self.epoch_hold(epoch, q))

    async def flush_async(self, epoch: int) -> Epochs:
        """:meth:`flush`, without waiting in this thread."""
        return await _aio.run(lambda q: self.epoch_flush(epoch, q))

    async def commit_async(self, epoch: int) -> Epochs:
        """:meth:`commit`, without waiting in this thread."""
        return await _aio.run(lambda q: self.epoch_commit(epoch, q))

    async def commit_in_order_async(self, epoch: int) -> Epochs:
        """:meth:`commit`, once all held epochs below have been committed."""
        return await _aio.run(lambda q: self.epoch_commit_in_order(epoch, q))

    async def wait_async(self, epoch: int) -> Epochs:
        """:meth:`wait`, without waiting in this thread; limit it by asyncio.timeout."""
        return await _aio.run(lambda q: self.epoch_wait(epoch, -1, q))

    async def committed(self, after: int | None = None) -> AsyncIterator[int]:
        """Each time something has become final: the highest epoch of it. Ends when the container is closed."""
        last = self.epochs().ghce if after is None else after
        while True:
            try:
                last = (await self.wait_async(last + 1)).ghce
            except Canceled:
                return
            yield last

    # ---- snapshots, locks, upkeep ----

    @property
    def snapshots(self) -> list[int]:
        """The epochs that are kept readable."""
        return self.snap_list()

    def snapshot(self, epoch: int | None = None) -> int:
        """Keeps an epoch readable (None: the highest that is final); returns it."""
        epoch = self.epochs().ghce if epoch is None else epoch
        self.snap_create(epoch)
        return epoch

    def drop_snapshot(self, epoch: int) -> None:
        """Lets an epoch go. :class:`NotFound`."""
        self.snap_destroy(epoch)

    def lock(self, name: str, *, shared: bool = False, timeout: float | None = None) -> Lock:
        """A lock of this container, by its name: ``with cont.lock("name")``. timeout: seconds; 0: tries."""
        return Lock(self, name, shared, timeout)

    def aggregate(self) -> tuple[int, int, int]:
        """Erases what nobody can read any more: (only snapshots are readable below, records erased, their bytes)."""
        return self.cont_aggregate()

    async def aggregate_async(self) -> tuple[int, int, int]:
        """:meth:`aggregate`, without waiting in this thread."""
        return await _aio.run(self.cont_aggregate)

    def diff(self, old: int, new: int) -> list[Change]:
        """The values that are different in two epochs."""
        return self.cont_diff(old, new)
