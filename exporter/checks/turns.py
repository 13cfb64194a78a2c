"""Work that one check wants done, some of it at a time, and all of it shared with other checks.

Knows nothing of the work. What waits here for its turn has not begun, so another check that wants the same
begins it: nobody waits behind the many dead ends of a zone that also names his host.
"""

import asyncio
import collections
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Turns(Generic[K, V]):
    """Has `start` begin or join the work on each key, for at most `at_once` keys at the same time.

    Once a task was cancelled, as all are when their owner closes, nothing more is begun.
    """

    def __init__(self, at_once: int, start: Callable[[K], asyncio.Task[V]]) -> None:
        self.tasks: dict[K, asyncio.Task[V]] = {}
        self.waiting: collections.deque[K] = collections.deque()
        self._at_once = at_once
        self._start = start
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def stop(self) -> None:
        """Begin nothing more; what is under way goes on, for whoever shares it."""
        self._at_once = 0

    def add(self, keys: Iterable[K]) -> None:
        """Put keys in line that are not there yet."""
        self.waiting.extend(keys)
        self._begin()

    async def finish(self, within_seconds: float) -> None:
        """Wait until all is done, but no longer than this."""
        try:
            async with asyncio.timeout(within_seconds):
                await self._idle.wait()
        except TimeoutError:
            self.stop()

    def _begin(self) -> None:
        while self.waiting and self._under_way < self._at_once:
            key = self.waiting.popleft()
            task = self.tasks[key] = self._start(key)
            if not task.done():
                self._under_way += 1
                task.add_done_callback(self._end)
        if not self._under_way:
            self._idle.set()
        else:
            self._idle.clear()

    def _end(self, task: asyncio.Task[V]) -> None:
        self._under_way -= 1
        if task.cancelled():
            self.stop()
        self._begin()
