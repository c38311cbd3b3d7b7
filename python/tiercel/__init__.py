# SPDX-License-Identifier: Apache-2.0
"""Pools, containers and epochs of Tiercel.

A pool is storage, a directory for example. It holds containers; a container holds objects: mappings, NumPy arrays, bytes. What
is written belongs to an epoch, and is there for others once that is committed: as a whole or not at all.

    import numpy as np
    import tiercel

    tiercel.create("/scratch/me/pool")
    with tiercel.connect("/scratch/me/pool") as pool:
        pool.create("results")
        with pool.open("results") as cont:
            with cont.epoch() as e:               # commits at its end; an exception takes it all back
                e.array(1).store(np.arange(1000.0))
                e.kv(2)["temperature"] = b"21.5"
            print(cont.array(1).load().mean(), cont.kv(2)["temperature"])

A process that ends without having committed, however it ends, has written nothing. Objects have numbers of 128 bits; ``cont.new_oid()``
gives one that nobody has. Their upper 16 bits are a class: how the data is protected (:func:`oid_of_class`). docs/epochs.md of Tiercel tells the model.

Errors are OSErrors with an errno and a sentence that says what is wrong and what to do: see :class:`Error`.

Threads may share everything here; blocking calls release the interpreter's lock. Calls that may take long have an
``_async`` twin for asyncio. After a fork the child has to connect and open anew (or use :meth:`Container.to_bytes`).
"""
from ._containers import Attributes, Container, Epoch, Hold, Lock, Pool, View, Writer, connect, create, destroy, evict
from ._errors import (Busy, Canceled, Closed, Damaged, Denied, Error, Exists, NoSpace, NotFound, NotHeld, Stale,
                      TimedOut)
from ._objects import KV, Array
from ._tiercel import EPOCH_MAX, Change, ContainerInfo, Epochs, HandleInfo, PoolHealth, PoolInfo, oid_of_class, version as __version__

__all__ = [
    "Array", "Attributes", "Busy", "Canceled", "Change", "Closed", "Container", "ContainerInfo", "Damaged", "Denied",
    "EPOCH_MAX", "Epoch", "Epochs", "Error", "Exists", "HandleInfo", "Hold", "KV", "Lock", "NoSpace", "NotFound", "NotHeld", "Pool",
    "PoolHealth", "PoolInfo", "Stale", "TimedOut", "View", "Writer", "connect", "create", "destroy", "evict",
    "oid_of_class",
]
