# SPDX-License-Identifier: Apache-2.0
"""Calls of the library under asyncio: each event loop has a queue, whose descriptor it watches while calls are under way."""
from __future__ import annotations

import asyncio
import weakref
from typing import Any, Callable, TypeVar

from ._tiercel import Call, Queue

T = TypeVar("T")


class _Calls:
    """The calls that one loop has under way."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.queue = Queue()
        self._loop = weakref.ref(loop)
        self._waiting: dict[Call[Any], asyncio.Future[None]] = {}

    def launch(self, begin: Callable[[Queue], Call[T]]) -> tuple[Call[T], asyncio.Future[None]]:
        loop = asyncio.get_running_loop()
        call = begin(self.queue)
        done = self._waiting[call] = loop.create_future()
        if len(self._waiting) == 1:
            loop.add_reader(self.queue.fileno(), self._arrived)
        return call, done

    def _arrived(self) -> None:
        for call in self.queue.poll():
            self._waiting.pop(call).set_result(None)
        loop = self._loop()
        if not self._waiting and loop is not None:
            loop.remove_reader(self.queue.fileno())


_of_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Calls] = weakref.WeakKeyDictionary()


async def run(begin: Callable[[Queue], Call[T]]) -> T:
    """Begins a call and waits for its result. When the task is cancelled the call is, too, if that can be; in any case it has
    ended before the cancellation goes on, so that nothing touches its buffers any more."""
    loop = asyncio.get_running_loop()
    calls = _of_loops.get(loop)
    if calls is None:
        calls = _of_loops[loop] = _Calls(loop)
    call, done = calls.launch(begin)
    cancelled = None
    while not done.done():
        try:
            await asyncio.wait([done])
        except asyncio.CancelledError as e:
            cancelled = e
            call.abort()
    if cancelled is not None:
        raise cancelled
    return call.result()
